# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from gazeray.config import ConfigError
from gazeray.gaze.eda import check_eda, conductance_us, tonic_phasic
from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.signal_features import feature_names, signal_features
from gazeray.gaze.signals import channel_names, trial_series
from gazeray.gaze.signals_config import SignalsConfig

needs_neurokit = pytest.mark.skipif(importlib.util.find_spec("neurokit2") is None, reason="neurokit2 is not installed")

TIME_S = np.linspace(0.0, 30.0, 481)
RESPONSES = 4 + 0.02 * TIME_S + sum(0.5 * np.exp(-0.5 * ((TIME_S - at) / 0.7) ** 2) for at in (6.0, 15.0, 24.0))
"""Skin conductance, microsiemens: a slow rise, and three responses."""


def test_conductance_of_each_unit() -> None:
    for unit, value in (("uS", 4.0), ("µS", 4.0), ("nS", 4000.0), ("ohm", 2.5e5), ("kohm", 250.0), ("Mohm", 0.25)):
        found = conductance_us(np.array([value, np.nan]), unit)
        assert found is not None
        np.testing.assert_allclose(found, [4.0, np.nan])
    assert conductance_us(np.array([1.0]), "a.u.") is None
    zero = conductance_us(np.array([0.0]), "ohm")
    assert zero is not None
    assert np.isnan(zero[0])


def test_missing_library_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'gazeray\[eda\]', or set it to raw"):
        channel_names(["gsr"], {"gsr": "uS"}, True, SignalsConfig(eda="tonic_phasic"))
    assert channel_names(["gsr"], {"gsr": "uS"}, True, SignalsConfig()) == ("x", "y", "gsr")


def test_what_cannot_be_parted_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no channel gsr \(the data set has: heart_rate\)"):
        check_eda(["heart_rate"], {})
    with pytest.raises(ConfigError, match="the unit of gsr is 'V', which is none of uS, nS, mS, S, ohm, kohm, Mohm"):
        check_eda(["gsr"], {"gsr": "V"})


@needs_neurokit
def test_parts_add_up_and_are_slow_and_fast() -> None:
    tonic, phasic = tonic_phasic(1e6 / RESPONSES, "ohm", 16.0)
    np.testing.assert_allclose(tonic + phasic, RESPONSES)
    assert np.ptp(tonic) < 0.3 * np.ptp(RESPONSES) + 0.6
    assert np.corrcoef(phasic[100:-100], (RESPONSES - 4 - 0.02 * TIME_S)[100:-100])[0, 1] > 0.95


@needs_neurokit
def test_parts_are_those_of_neurokit() -> None:
    import neurokit2

    right = neurokit2.eda_phasic(RESPONSES, sampling_rate=16.0, method="highpass")
    tonic, phasic = tonic_phasic(RESPONSES, "uS", 16.0)
    np.testing.assert_allclose(phasic, right["EDA_Phasic"])
    np.testing.assert_allclose(tonic[50:-50], right["EDA_Tonic"][50:-50], atol=0.05)


@needs_neurokit
def test_gaps_and_nothing_stay_lost() -> None:
    gsr = RESPONSES.copy()
    gsr[100:150] = np.nan
    for part in tonic_phasic(gsr, "uS", 16.0):
        np.testing.assert_array_equal(np.isnan(part), np.isnan(gsr))
    assert np.isnan(tonic_phasic(np.full(20, np.nan), "uS", 16.0)).all()


@needs_neurokit
def test_series_with_tonic_and_phasic_skin_conductance() -> None:
    cfg = SignalsConfig(eda="tonic_phasic", duration_ms=30_000, samples=481, max_lost_share={"gsr": 0.5})
    units = {"gsr": "uS", "heart_rate": "bpm"}
    names = channel_names(["gsr", "heart_rate"], units, False, cfg)
    assert names == ("gsr_phasic", "gsr_tonic", "heart_rate")
    lines = {"gsr": RESPONSES.astype(np.float32), "heart_rate": np.full(481, 80, np.float32)}
    nowhere = dict.fromkeys(("x_px", "y_px"), np.full(481, np.nan, np.float32))
    trial = TrialGaze("p", "t", {"timestamp_ms": TIME_S * 1e3, **nowhere, **lines}, None, units)
    found = trial_series(trial, (0, 0, 1, 1), names, cfg)
    assert [row["channel"] for row in found.quality] == ["gsr", "heart_rate"]
    np.testing.assert_allclose(found.values[0] + found.values[1], RESPONSES, rtol=1e-5)
    numbers = signal_features(found.values, names, None, (0, 0, 1, 1), cfg, units)
    features = dict(zip(feature_names(names), numbers, strict=True))
    assert features["scr_count"] == 3
    assert set(features) == {"gsr_tonic_mean", "gsr_tonic_slope", "heart_rate_mean", "heart_rate_slope", "scr_count"}
    only = trial_series(trial, (0, 0, 1, 1), ("gsr_tonic",), cfg)
    np.testing.assert_array_equal(only.values[0], found.values[1])
