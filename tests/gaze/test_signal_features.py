# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from gazeray.gaze.signal_features import feature_names, signal_features
from gazeray.gaze.signals_config import SignalsConfig

CFG = SignalsConfig()
TIME_S = np.linspace(0.0, 4.9, 301)
WINDOW = (100.0, 50.0, 800.0, 600.0)
NAMES = ("x", "y", "pupil_mm", "gsr", "heart_rate")
UNITS = {"gsr": "uS", "heart_rate": "bpm"}


def features(
    values: dict[str, np.ndarray], fixations: dict[str, np.ndarray] | None = None, units: dict[str, str] = UNITS
) -> dict[str, float]:
    """By name."""
    names = tuple(values)
    found = signal_features(np.array(list(values.values())), names, fixations, WINDOW, CFG, units)
    assert found.dtype == np.float64
    return dict(zip(feature_names(names), found.tolist(), strict=True))


def bumps(*at_s: float, height: float) -> np.ndarray:
    return sum((height * np.exp(-0.5 * ((TIME_S - at) / 0.3) ** 2) for at in at_s), np.zeros(301))


def test_known_signals_have_known_features() -> None:
    values = {
        "x": 0.5 * np.sign(TIME_S - 2.45),
        "y": np.zeros(301),
        "pupil_mm": 3 + 0.1 * TIME_S,
        "gsr": 4 + 0.2 * TIME_S + bumps(1.0, 3.0, height=0.4),
        "heart_rate": 80 - 2 * TIME_S,
    }
    fixations = {
        "duration_ms": np.array([200.0, 300.0, 400.0]),
        "x_px": np.array([100.0, 500.0, 500.0]),
        "y_px": np.array([100.0, 100.0, 700.0]),
    }
    found = features(values, fixations)
    assert found == {
        "n_fixations": 3,
        "mean_fixation_ms": 300,
        "mean_saccade": pytest.approx((400 + 600) / 2 / 800),
        "dispersion": pytest.approx(0.5, abs=1e-2),
        "pupil_mm_mean": pytest.approx(3.245),
        "pupil_mm_slope": pytest.approx(0.1),
        "gsr_mean": pytest.approx(values["gsr"].mean()),
        "gsr_slope": pytest.approx(np.polyfit(TIME_S, values["gsr"], 1)[0]),
        "heart_rate_mean": pytest.approx(75.1),
        "heart_rate_slope": pytest.approx(-2),
        "scr_count": 2,
    }


def test_means_and_slopes_are_of_what_is_there() -> None:
    rng = np.random.default_rng(0)
    heart = np.where(rng.random(301) < 0.3, np.nan, 80 + rng.normal(size=301))
    found, there = features({"heart_rate": heart}), ~np.isnan(heart)
    assert found["heart_rate_mean"] == pytest.approx(np.nanmean(heart))
    assert found["heart_rate_slope"] == pytest.approx(np.polyfit(TIME_S[there], heart[there], 1)[0])


def test_responses_of_a_resistance_are_where_it_falls() -> None:
    gsr = 4 + bumps(1.0, 2.0, 3.5, height=0.2)
    assert features({"gsr": gsr})["scr_count"] == 3
    assert features({"gsr": 1e6 / gsr}, units={"gsr": "ohm"})["scr_count"] == 3
    assert features({"gsr": 4 + bumps(2.0, height=0.04)})["scr_count"] == 0
    assert np.isnan(features({"gsr": gsr}, units={})["scr_count"])


def test_what_is_not_known_is_nan() -> None:
    lost = np.full(301, np.nan)
    found = features(dict.fromkeys(NAMES, lost))
    assert all(np.isnan(value) for value in found.values())
    one = np.where(np.arange(301) == 7, 3.0, np.nan)
    found = features({"pupil_mm": one, "gsr": one})
    assert (found["pupil_mm_mean"], found["gsr_mean"]) == (3, 3)
    assert np.isnan([found["pupil_mm_slope"], found["scr_count"]]).all()
    nothing = {name: np.zeros(0) for name in ("duration_ms", "x_px", "y_px")}
    found = features({"x": np.zeros(301), "y": np.zeros(301)}, nothing)
    assert (found["n_fixations"], found["dispersion"]) == (0, 0)
    assert np.isnan([found["mean_fixation_ms"], found["mean_saccade"]]).all()


def test_one_coordinate_alone_has_no_features() -> None:
    found = features({"x": np.zeros(301), "pupil_mm": np.full(301, 3.0)})
    assert list(found) == ["pupil_mm_mean", "pupil_mm_slope"]


def test_channels_decide_the_names() -> None:
    assert feature_names(("pupil", "dial")) == ["pupil_mean", "pupil_slope", "dial_mean", "dial_slope"]
    assert feature_names(()) == []
