# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import ConfigError, validate
from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.signals import Series, channel_names, trial_series, unit_of
from gazeray.gaze.signals_config import SignalsConfig
from gazeray.tables import CHANNELS

WINDOW = (100.0, 50.0, 800.0, 600.0)
UNITS = {"pupil_left": "mm", "pupil_right": "mm", "gsr": "ohm", "heart_rate": "bpm"}
NAMES = ("x", "y", "pupil_mm", "gsr", "heart_rate")
GRID = np.linspace(0.0, 4900.0, 301)


def trial(duration_ms: float = 5000.0, hz: float = 300 / 4.9, begin_ms: float = 1e6, **channels: Any) -> TrialGaze:
    """A trial whose channels are straight lines, but for those given."""
    time = np.arange(0.0, duration_ms, 1e3 / hz)
    lines = {
        "x_px": 100.0 + 0.16 * time,
        "y_px": np.full(len(time), 50.0),
        "pupil_left": 3.0 + 1e-4 * time,
        "pupil_right": 3.2 + 1e-4 * time,
        "gsr": 2.6e5 - 3.0 * time,
        "heart_rate": 80.0 + 1e-3 * time,
    }
    samples = {name: np.array(values, np.float32) for name, values in (lines | channels).items() if values is not None}
    samples["timestamp_ms"] = begin_ms + np.asarray(channels.get("timestamp_ms", time), dtype=np.float64)
    return TrialGaze("p1", "t1", samples, None, UNITS)


def series(one: TrialGaze, shift_ms: float = 0.0, names: tuple[str, ...] = NAMES, **settings: Any) -> Series:
    return trial_series(one, WINDOW, names, SignalsConfig(**settings), shift_ms)


def row(found: Series, channel: str) -> dict[str, Any]:
    return next(one for one in found.quality if one["channel"] == channel)


def there(found: Series) -> list[int]:
    """How many points each channel has."""
    return (~np.isnan(found.values)).sum(axis=1).tolist()


def test_published_grid_and_units() -> None:
    found = series(trial())
    assert found.values.shape == (5, 301)
    assert found.values.dtype == np.float32
    assert found.fault == ""
    assert 300 / (GRID[-1] / 1e3) == pytest.approx(61.2, abs=0.05)
    lines = [0.0004 * GRID - 1, np.full(301, -1.0), 3.1 + 1e-4 * GRID, 2.6e5 - 3 * GRID, 80 + 1e-3 * GRID]
    np.testing.assert_allclose(found.values, lines, rtol=1e-5, atol=1e-4)


def test_quality_rows_are_those_of_the_table() -> None:
    found = series(trial())
    table = pa.Table.from_pylist(found.quality, schema=CHANNELS)
    assert table.column("channel").to_pylist() == list(NAMES)
    assert table.column("unit").to_pylist() == ["half windows", "half windows", "mm", "ohm", "bpm"]
    assert set(found.quality[0]) == set(CHANNELS.names)
    good = row(found, "gsr")
    assert (good["lost_share"], good["implausible_share"], good["gate"]) == (0, 0, "")
    assert good["longest_gap_ms"] == pytest.approx(4900 / 300, abs=1e-3)
    assert good["high"] == pytest.approx(2.6e5)
    assert good["low"] == pytest.approx(2.6e5 - 3 * 4900, abs=60)
    assert good["saturated_share"] == pytest.approx(2 / 301, abs=1e-4)


def test_window_of_time_is_what_counts() -> None:
    gsr = np.where(np.arange(307) < 150, np.nan, 2e5)
    assert row(series(trial(gsr=gsr), start_ms=2500, duration_ms=2000, samples=100), "gsr")["lost_share"] == 0
    early = series(trial(gsr=gsr), start_ms=0, duration_ms=2000, samples=100)
    assert row(early, "gsr")["lost_share"] == 1
    assert np.isnan(early.values[3]).all()


def test_short_trials_are_masked_where_they_have_ended() -> None:
    found = series(trial(duration_ms=3000))
    assert found.fault == ""
    np.testing.assert_array_equal(np.isnan(found.values[0]), GRID > 2990)
    too_short = series(trial(duration_ms=1000))
    assert "signals.min_share 0.5 of the time from 0 to 4900 ms: x 0.206" in too_short.fault
    assert series(trial(duration_ms=1000), min_share=0.1).fault == ""


def test_long_trials_are_clipped() -> None:
    np.testing.assert_allclose(series(trial(duration_ms=60_000)).values, series(trial()).values, rtol=1e-6)


def test_shift_moves_the_window_and_masks_what_it_lacks() -> None:
    later = series(trial(duration_ms=9000), shift_ms=500.0)
    np.testing.assert_allclose(later.values[4], 80.5 + 1e-3 * GRID, rtol=1e-6)
    earlier = series(trial(), shift_ms=-500.0)
    np.testing.assert_array_equal(np.isnan(earlier.values[0]), GRID < 500)


def test_implausible_values_are_lost_and_counted() -> None:
    heart = np.full(307, 80.0)
    heart[100:110], heart[200] = 0.0, 500.0
    found = row(series(trial(heart_rate=heart)), "heart_rate")
    assert found["implausible_share"] == found["lost_share"] == pytest.approx(11 / 301, abs=1e-3)
    assert (found["low"], found["high"]) == (80, 80)
    gsr = np.full(307, 2e5)
    gsr[:30] = 0.0  # a limit of 0 is implausible itself
    assert row(series(trial(gsr=gsr)), "gsr")["implausible_share"] == pytest.approx(30 / 301, abs=1e-3)
    assert row(series(trial(gsr=gsr), plausible={}), "gsr")["implausible_share"] == 0


def test_implausible_pupil_of_one_eye_leaves_the_other() -> None:
    left = np.full(307, 3.0)
    left[100:120] = 12.0
    found = series(trial(pupil_left=left, pupil_right=np.full(307, 3.2)))
    np.testing.assert_allclose(found.values[2], 3.1, rtol=1e-6)
    assert row(found, "pupil_mm")["implausible_share"] == pytest.approx(10 / 301, abs=1e-3)
    assert row(found, "pupil_mm")["lost_share"] == 0


def test_short_losses_are_bridged_and_long_ones_masked() -> None:
    gsr, heart = np.full((2, 307), 1e5)
    gsr[50:70], heart[50:120] = np.nan, np.nan
    found = series(trial(gsr=gsr, heart_rate=heart / 1e3), blink_margin_ms=0)
    assert there(found) == [301, 301, 301, 301, 301 - 70]
    assert row(found, "heart_rate")["longest_gap_ms"] == pytest.approx(71 * 4900 / 300)


def test_blink_margins_are_taken_off_pupils_alone() -> None:
    lost = np.full(307, 3.0)
    lost[100:104] = np.nan
    lines = dict.fromkeys(("pupil_left", "pupil_right", "gsr"), lost)
    found = series(trial(**lines), blink_margin_ms=50, max_gap_ms=0)
    assert there(found)[2:4] == [301 - 4 - 6, 301 - 4]
    assert row(found, "pupil_mm")["lost_share"] == pytest.approx(4 / 301, abs=1e-4)


def test_baseline_is_the_mean_of_the_first_ms_of_the_trial() -> None:
    found = series(trial(), baseline_ms=200, start_ms=200, duration_ms=4000)
    grid = 200 + np.linspace(0, 4000, 301)
    first = np.arange(0, 200, 4900 / 300).mean()
    np.testing.assert_allclose(found.values[2], 1e-4 * (grid - first), atol=1e-6)
    assert row(found, "pupil_mm")["low"] > 3


def test_pupil_without_a_baseline_is_masked_and_its_gate_says_so() -> None:
    eye = np.where(np.arange(307) < 30, np.nan, 3.0)
    found = series(trial(pupil_left=eye, pupil_right=eye), baseline_ms=200)
    assert there(found) == [301, 301, 0, 301, 301]
    assert row(found, "pupil_mm")["gate"] == "no value in signals.baseline_ms 200"


def test_gate_masks_a_channel_and_keeps_the_trial() -> None:
    gsr = np.where(np.arange(307) % 3, np.nan, 2e5)
    found = series(trial(gsr=gsr), max_lost_share={"gsr": 0.5, "heart_rate": 0.5})
    assert there(found) == [301, 301, 301, 0, 301]
    assert found.fault == ""
    assert row(found, "gsr")["gate"] == "lost_share 0.6645 > signals.max_lost_share.gsr 0.5"
    assert row(found, "heart_rate")["gate"] == ""


def test_channel_that_is_lost_throughout_is_masked() -> None:
    found = series(trial(gsr=np.full(307, np.nan), heart_rate=np.zeros(307), pupil_left=None, pupil_right=None))
    assert there(found) == [301, 301, 0, 0, 0]
    assert found.fault == ""
    for name, implausible in (("gsr", 0), ("heart_rate", 1), ("pupil_mm", 0)):
        lost = row(found, name)
        assert (lost["lost_share"], lost["implausible_share"], lost["flat"]) == (1, implausible, False)
        assert np.isnan([lost["low"], lost["high"], lost["saturated_share"]]).all()
        assert lost["longest_gap_ms"] == pytest.approx(4900, abs=1)


def test_trial_of_which_all_is_lost_is_a_fault() -> None:
    lost = dict.fromkeys(("x_px", "y_px", "pupil_left", "pupil_right", "gsr", "heart_rate"), np.full(307, np.nan))
    for settings in ({}, {"min_share": 0.0}):
        assert "no channel is there" in series(trial(**lost), **settings).fault
    assert series(trial(**(lost | {"gsr": np.full(307, 2e5)}))).fault == ""


def test_flat_and_saturated_channels_are_told() -> None:
    gsr = np.minimum(2e5 + np.arange(307.0), 2e5 + 153)
    found = series(trial(gsr=gsr, heart_rate=np.full(307, 80.0)))
    assert (row(found, "heart_rate")["flat"], row(found, "heart_rate")["saturated_share"]) == (True, 1)
    assert (row(found, "gsr")["flat"], row(found, "gsr")["saturated_share"]) == (False, pytest.approx(0.5, abs=0.01))


def test_repeated_stamps_count_once_or_are_spread() -> None:
    time = np.arange(0.0, 5000.0, 4900 / 300)
    again = np.sort(np.append(time, time[[50, 100]]))
    values = 80 + 1e-3 * again
    twice = trial(timestamp_ms=again, heart_rate=values, **dict.fromkeys(("x_px", "y_px", "gsr"), values),
                  **dict.fromkeys(("pupil_left", "pupil_right"), values / 30))  # fmt: skip
    np.testing.assert_allclose(series(twice).values[4], 80 + 1e-3 * GRID, rtol=1e-6)
    coarse = np.floor(time / 50) * 50  # a clock that ticks every 50 ms
    found = series(trial(timestamp_ms=coarse))
    np.testing.assert_allclose(found.values[4, 5:-5], 80 + 1e-3 * GRID[5:-5], atol=0.03)
    stuck = series(trial(timestamp_ms=np.zeros(307)))
    assert there(stuck) == [1] * 5
    assert "no channel is there" in stuck.fault


def test_clocks_that_jump() -> None:
    time = np.arange(0.0, 5000.0, 4900 / 300)
    forth = np.where(time > 2000, time + 3.6e6, time)
    found = series(trial(timestamp_ms=forth), min_share=0.3)
    np.testing.assert_array_equal(np.isnan(found.values[0]), GRID > 2000)
    assert found.fault == ""
    back = np.where(time > 2000, time - 1000, time)
    found = series(trial(timestamp_ms=back))
    assert there(found)[4] == int((back[-1] + 1e-3 >= GRID).sum())
    assert np.nanmax(np.abs(np.diff(found.values[4]))) < 1.1  # the second time over is left out


@pytest.mark.parametrize("hz", [16.0, 61.2, 250.0])
def test_one_sample(hz: float) -> None:
    found = series(trial(duration_ms=0.1, hz=hz))
    assert there(found) == [1] * 5
    assert "no channel is there" in found.fault
    assert row(found, "gsr")["flat"] is False
    assert row(found, "gsr")["longest_gap_ms"] == 0


def test_no_sample() -> None:
    nothing = series(TrialGaze("p1", "t1", None, {"onset_ms": np.zeros(1)}, UNITS))
    empty = series(trial(duration_ms=0))
    beyond = series(trial(duration_ms=1000), start_ms=2000)
    for found, when in ((nothing, "from 0 to 4900 ms"), (empty, "from 0 to 4900 ms"), (beyond, "from 2000 to 6900 ms")):
        assert found.fault == f"no sample {when}"
        assert found.values.shape == (5, 301)
        assert np.isnan(found.values).all()
        table = pa.Table.from_pylist(found.quality, schema=CHANNELS)
        assert np.isnan(table.column("lost_share").to_numpy()).all()
        assert table.column("gate").to_pylist() == [""] * 5


def test_pupil_in_another_unit_than_the_data_set_is_lost() -> None:
    one = trial()
    odd = TrialGaze(one.participant, one.trial, one.samples, None, UNITS | {"pupil_left": "px"})
    assert there(series(odd)) == [301, 301, 0, 301, 301]


def test_only_the_channels_asked_for() -> None:
    assert series(trial(), names=("gsr",)).values.shape == (1, 301)
    assert series(trial(), names=()).fault.startswith("no channel is there")


def test_faster_recordings_lose_what_would_alias() -> None:
    time = np.arange(0.0, 5000.0, 4.0)
    gsr = 2e5 + 1e3 * np.sin(2 * np.pi * 2 * time / 1e3) + 1e3 * np.sin(2 * np.pi * 60 * time / 1e3)
    found = series(trial(hz=250.0, gsr=gsr), names=("gsr",)).values[0]
    np.testing.assert_allclose(found, 2e5 + 1e3 * np.sin(2 * np.pi * 2 * GRID / 1e3), atol=40)


def test_channels_are_named_in_order() -> None:
    cfg = SignalsConfig()
    assert channel_names(["heart_rate", "pupil_right", "gsr", "pupil_left"], UNITS, True, cfg) == NAMES
    assert channel_names(["pupil", "dial"], {}, False, cfg) == ("pupil", "dial")
    assert channel_names([], {}, True, cfg) == ("x", "y")
    assert channel_names([], {}, False, cfg) == ()
    some = SignalsConfig(channels=["gsr", "x"])
    assert channel_names(["heart_rate", "gsr"], UNITS, True, some) == ("x", "gsr")


def test_settings_that_name_no_channel_say_which_there_are() -> None:
    cfg = SignalsConfig(channels=["gsr", "hr"], max_lost_share={"pupil": 0.5}, plausible={"gsrr": (0, 1)})
    with pytest.raises(ConfigError) as error:
        channel_names(["gsr", "pupil_left"], UNITS, True, cfg)
    known = "(the data set has: x, y, pupil_mm, gsr)"
    assert error.value.errors == [
        f"signals.channels: no channel 'hr' {known}",
        f"signals.max_lost_share: no channel 'pupil' {known}",
        f"signals.plausible: no channel 'gsrr' {known}",
    ]


def test_grid_too_coarse_to_part_skin_conductance_is_refused() -> None:
    with pytest.raises(ConfigError, match="tonic_phasic needs a grid of 10 points"):
        validate(SignalsConfig, {"samples": 9, "eda": "tonic_phasic"})
    with pytest.raises(ConfigError, match="more than one in 10 s"):
        validate(SignalsConfig, {"duration_ms": 3e6, "eda": "tonic_phasic"})


def test_every_channel_has_the_unit_of_what_it_is_made_of() -> None:
    units = {"gsr": "ohm", "pupil_left": "px"}
    made_of = {"x": ["x_px"], "pupil_mm": [], "pupil": ["pupil_left"], "gsr": ["gsr"], "gsr_tonic": ["gsr_tonic"]}
    assert [unit_of(name, columns, units) for name, columns in made_of.items()] == [
        "half windows", "mm", "px", "ohm", "uS",
    ]  # fmt: skip
