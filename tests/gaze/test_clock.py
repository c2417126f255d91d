# SPDX-License-Identifier: Apache-2.0
"""Rates by the clock: known rates whose stamps are whole ms, with pauses, dropped samples and late ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.known_gaze import simulate_gaze, to_px
from gazeray.gaze.clock import ENOUGH, clock_hz, clock_notes, copies, interval_ms, spread
from gazeray.gaze.events import DETECTORS, EventsConfig, Screen, detect
from gazeray.gaze.quality import QualityConfig, TrialGaze, gate, trial_quality
from gazeray.gaze.render import sample_durations

RATES = [4000, 2000, 1500, 1250, 1200, 1000, 800, 600, 500, 400, 350, 300, 250, 240, 150, 120, 90, 60, 50, 29.97]
TRACKERS = [2000, 1000, 600, 500, 300, 250, 240, 150, 120, 90, 60, 50, 30, 29.97, 25]
SCREEN = Screen(1600, 1200, 400, 300, 600)

Rounded = Callable[[np.ndarray], np.ndarray]
whole_ms = pytest.mark.parametrize("rounded", [np.floor, np.round], ids=["cut", "rounded"])


def stamps(hz: float, seconds: float = 20.0) -> np.ndarray:
    return np.arange(int(hz * seconds)) * 1e3 / hz


def paused(times: np.ndarray) -> np.ndarray:
    rows = np.arange(len(times))
    return times + 700 * (rows > len(times) // 3) + 4321 * (rows > len(times) // 2)


@pytest.mark.parametrize("hz", RATES)
def test_exact_stamps_give_the_exact_rate(hz: float) -> None:
    assert clock_hz(stamps(hz)) == pytest.approx(hz, rel=1e-9)
    assert clock_hz(paused(stamps(hz))) == pytest.approx(hz, rel=1e-9)


@whole_ms
@pytest.mark.parametrize("hz", RATES)
def test_whole_ms_give_the_rate_with_and_without_pauses(hz: float, rounded: Rounded) -> None:
    assert clock_hz(rounded(stamps(hz))) == pytest.approx(hz, rel=1e-3)
    assert clock_hz(rounded(paused(stamps(hz)))) == pytest.approx(hz, rel=1e-3)


@whole_ms
@pytest.mark.parametrize("hz", TRACKERS)
@pytest.mark.parametrize("dropped", [0.01, 0.04])
def test_dropped_samples_do_not_slow_the_rate(hz: float, dropped: float, rounded: Rounded) -> None:
    times = rounded(stamps(hz))
    kept = np.random.default_rng(0).random(len(times)) >= dropped
    assert clock_hz(times[kept]) == pytest.approx(hz, rel=3e-3)


@pytest.mark.parametrize("hz", [60.0, 250.0, 1000.0])
def test_late_stamps_that_are_caught_up_with_do_not_change_the_rate(hz: float) -> None:
    step = 1e3 / hz
    late = 2.4 * step * (np.random.default_rng(0).random(len(stamps(hz))) < 0.05)
    times = np.maximum.accumulate(stamps(hz) + late + 0.05 * step)  # those behind a late one wait, then come at once
    assert clock_hz(times) == pytest.approx(hz, rel=0.03)


@pytest.mark.parametrize("spread_of", [0.1, 0.3, 0.45])
def test_a_webcam_whose_steps_vary_has_the_mean_rate(spread_of: float) -> None:
    steps = 33 * (1 + spread_of * np.random.default_rng(0).uniform(-1, 1, 2000))
    assert clock_hz(np.cumsum(steps)) == pytest.approx(1e3 / steps[1:].mean(), rel=1e-6)


def test_a_few_samples_have_the_rate_that_is_there() -> None:
    assert clock_hz(np.array([0.0, 10.0])) == 100
    assert clock_hz(np.array([0.0, 3.0, 7.0, 10.0])) == 300
    assert clock_hz(np.array([0.0, 0, 1, 1, 2])) == 2000


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0, 5.0]])
def test_a_clock_that_never_advances_has_no_rate(times: list[float]) -> None:
    assert math.isnan(clock_hz(np.array(times)))
    assert math.isnan(interval_ms(np.array(times)))


def test_the_step_into_a_new_block_counts_in_no_rate() -> None:
    times = np.concatenate([np.arange(100) * 2.0, 50 + np.arange(100) * 2.0])
    assert clock_hz(times, [100]) == 500
    assert interval_ms(np.concatenate([np.arange(20) * 4.0, 80 + np.arange(20) * 2.0]), [20]) < 4


def test_a_header_is_contradicted_from_ten_steps_on_and_beyond_five_percent() -> None:
    header = {"sampling_hz": 500.0}
    assert clock_notes(header, clock_hz(np.arange(11) * 4.0, least=ENOUGH)) == [
        "the header says 500 Hz, the clock says 250 Hz; the clock is used"
    ]
    assert clock_notes(header, clock_hz(np.arange(10) * 4.0, least=ENOUGH)) == []
    assert clock_notes(header, clock_hz(np.arange(99) * 2.09)) == []
    assert clock_notes({}, 250.0) == []
    for hz in (2000, 300):
        assert clock_notes({"sampling_hz": float(hz)}, clock_hz(np.floor(stamps(hz)))) == []


# -- spread


@whole_ms
@pytest.mark.parametrize("hz", [4000, 2000, 1250, 1200])
def test_spread_stamps_rise_and_are_off_by_less_than_a_tick(hz: float, rounded: Rounded) -> None:
    exact = paused(stamps(hz, 1.0))
    found = spread(rounded(exact))
    assert (np.diff(found) > 0).all()
    assert np.abs(found - exact).max() <= 1.0 + 1e-9


def test_spread_stamps_of_2000_hz_are_half_a_ms_apart() -> None:
    np.testing.assert_allclose(np.diff(spread(np.floor(stamps(2000)))), 0.5)
    np.testing.assert_allclose(np.diff(spread(np.round(stamps(2000))))[4:-4], 0.5)


@pytest.mark.parametrize("hz", [1000, 300, 60])
def test_stamps_of_a_clock_that_is_fast_enough_stay(hz: float) -> None:
    times = np.floor(stamps(hz))
    assert spread(times) is times
    few = np.sort(np.concatenate([times, times[::50]]))  # a row in fifty is there twice
    assert spread(few) is few


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0, 5.0]])
def test_stamps_without_a_second_tick_stay(times: list[float]) -> None:
    np.testing.assert_array_equal(spread(np.array(times)), times)


# -- what is made of the clock


@whole_ms
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_whole_ms_at_2000_hz_have_the_fixations_of_exact_stamps(detector: str, rounded: Rounded) -> None:
    known = simulate_gaze(1, 2000.0, 30, 0.02, blinks=3)
    x_px, y_px = to_px(SCREEN, known.x_deg, known.y_deg)
    cfg = EventsConfig.model_validate({"detector": detector})
    exact, whole = (
        detect({"timestamp_ms": times, "x_px": x_px, "y_px": y_px}, SCREEN, cfg).fixations
        for times in (known.timestamp_ms, rounded(known.timestamp_ms))
    )
    assert len(whole["onset_ms"]) == len(exact["onset_ms"]) >= 25
    np.testing.assert_allclose(whole["duration_ms"], exact["duration_ms"], atol=1.0)
    np.testing.assert_allclose(whole["onset_ms"], exact["onset_ms"], atol=1.0)
    np.testing.assert_allclose(whole["x_px"], exact["x_px"], atol=0.5)


@whole_ms
@pytest.mark.parametrize("hz", [1000, 500, 300, 60, 29.97])
def test_an_event_of_whole_ms_lasts_as_long_as_one_of_exact_stamps(hz: float, rounded: Rounded) -> None:
    times = stamps(hz, 2.0)
    gaze = {"x_px": np.full(len(times), 700.0), "y_px": np.full(len(times), 300.0)}
    found = detect({"timestamp_ms": rounded(times), **gaze}, None, EventsConfig()).fixations
    assert found["duration_ms"].tolist() == pytest.approx([len(times) * 1e3 / hz], abs=1.01)


@pytest.mark.parametrize("hz", [2000, 300, 60])
def test_the_quality_of_a_trial_has_the_rate_and_the_gate_takes_it_for_that(hz: float) -> None:
    times = np.floor(stamps(hz, 3.0) + 0.4)
    place = np.full(len(times), 100.0, np.float32)
    trial = TrialGaze("P", "1", {"timestamp_ms": times, "x_px": place, "y_px": place}, None)
    row = trial_quality(trial, (0, 0, 800, 600))
    assert row["sampling_hz"] == pytest.approx(hz, rel=1e-3)
    assert gate(row, QualityConfig(min_sampling_hz=hz)) == ""
    assert "sampling_hz" in gate(row, QualityConfig(min_sampling_hz=1.02 * hz))


def test_samples_that_share_a_tick_share_its_time() -> None:
    dwell = sample_durations(np.floor(stamps(2000, 1.0)), np.ones(2000, dtype=bool), max_gap_ms=50)
    np.testing.assert_allclose(dwell, 0.5)


def test_block_of_rows_that_is_there_twice_is_known_by_every_column() -> None:
    clock = np.arange(100) * 4.0
    time, x = np.r_[clock[:30], clock[20:]], np.r_[np.arange(30.0), np.arange(20.0, 100)]
    x[[5, 25, 35]] = np.nan  # rows 25 and 35 are the same one, lost
    kind = np.array(["fix"] * len(x))
    assert np.flatnonzero(copies({"time": time, "x": x, "kind": kind}, time)).tolist() == list(range(30, 40))
    kind[31] = "sac"
    assert not copies({"time": time, "x": x, "kind": kind}, time).any()
    assert not copies({"time": clock // 8}, clock // 8).any()  # a tracker that is faster than its clock ticks
    assert not copies({"time": clock[[0, 1, 3, 2, 4]]}, clock[[0, 1, 3, 2, 4]]).any()
    assert copies({}, np.empty(0)).tolist() == []
