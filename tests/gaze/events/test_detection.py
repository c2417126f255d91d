# SPDX-License-Identifier: Apache-2.0
"""The detectors against simulated gaze with known events, at stated rates and noise."""

from __future__ import annotations

import functools
import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from benchmarks.known_gaze import KnownGaze, simulate_gaze, to_px
from gazeray.gaze.events import (
    DETECTORS,
    FIXATION,
    FIXATIONS,
    LOST,
    OSCILLATION,
    SACCADE,
    SACCADES,
    Events,
    EventsConfig,
    Screen,
    detect,
)
from gazeray.gaze.events.registry import register_detector
from tests.gaze.events.test_dispersion import slow_idt

SCREEN = Screen(1600, 1200, 400, 300, 600)
IN_DEG = ("idt", "ivt", "adaptive")


def samples_of(known: KnownGaze) -> dict[str, np.ndarray]:
    x, y = to_px(SCREEN, known.x_deg, known.y_deg)
    return {"timestamp_ms": known.timestamp_ms, "x_px": x, "y_px": y}


@functools.cache
def simulated(hz: float, noise: float, blinks: int = 0, oscillation: float = 0.0) -> KnownGaze:
    return simulate_gaze(3, hz, 80, noise, blinks, oscillation)


def found_by(detector: str, known: KnownGaze) -> Events:
    return detect(samples_of(known), SCREEN, EventsConfig.model_validate({"detector": detector}))


def matches(known: KnownGaze, events: Events) -> list[tuple[int, int]]:
    """Known fixation -> the detected one that shares 80 % of the time that either lasts."""
    onset = events.fixations["onset_ms"]
    end = onset + events.fixations["duration_ms"]
    found = []
    for number, (start, stop) in enumerate(known.fixations):
        for other in range(len(onset)):
            if min(stop, end[other]) - max(start, onset[other]) >= 0.8 * max(stop - start, end[other] - onset[other]):
                found.append((number, other))
    return found


@pytest.mark.parametrize("noise_deg", [0.01, 0.03, 0.05])
@pytest.mark.parametrize("hz", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("detector", IN_DEG)
def test_known_fixations_are_found_and_begin_within_two_samples(detector: str, hz: float, noise_deg: float) -> None:
    known = simulated(hz, noise_deg)
    events = found_by(detector, known)
    pairs = matches(known, events)
    assert len(pairs) >= 0.95 * len(known.fixations)
    assert len(events.fixations["onset_ms"]) <= 1.05 * len(known.fixations)
    late = [events.fixations["onset_ms"][other] - known.fixations[number, 0] for number, other in pairs]
    samples_late = np.abs(late) * hz / 1000
    assert np.median(samples_late) <= 2
    assert np.quantile(samples_late, 0.95) <= 3


@pytest.mark.parametrize("hz", [250.0, 500.0, 1000.0])
@pytest.mark.parametrize("detector", IN_DEG)
def test_known_saccades_are_found_with_onset_amplitude_and_velocity(detector: str, hz: float) -> None:
    known = simulated(hz, 0.02)
    events = found_by(detector, known).saccades
    assert len(events["onset_ms"]) == len(known.saccades)
    assert np.median(np.abs(events["onset_ms"] - known.saccades[:, 0])) <= 2000 / hz
    np.testing.assert_allclose(events["amplitude_deg"], known.amplitudes_deg, rtol=0.1, atol=0.2)
    # A minimum-jerk movement peaks at 15/8 of its mean velocity; smoothing over the window takes some of it.
    peak = 15 / 8 * known.amplitudes_deg / np.diff(known.saccades, axis=1)[:, 0] * 1000
    large = known.amplitudes_deg > 8
    assert np.median(events["peak_velocity_deg_s"][large] / peak[large]) == pytest.approx(0.95, abs=0.06)


@pytest.mark.parametrize("detector", IN_DEG)
def test_blinks_are_neither_saccades_nor_inside_fixations(detector: str) -> None:
    known = simulated(500.0, 0.02, blinks=8)
    events = found_by(detector, known)
    assert len(events.saccades["onset_ms"]) == len(known.saccades)
    assert len(events.fixations["onset_ms"]) == len(known.fixations) + 8
    for start, stop in known.blinks:
        inside = (known.timestamp_ms > start) & (known.timestamp_ms < stop)
        assert (events.codes[inside] == LOST).all()


@pytest.mark.parametrize("detector", IN_DEG)
def test_codes_agree_with_the_tables(detector: str) -> None:
    known = simulated(500.0, 0.03, blinks=5)
    events = found_by(detector, known)
    assert events.codes.dtype == np.uint8
    for code, table in ((FIXATION, events.fixations), (SACCADE, events.saccades)):
        inside = np.zeros(len(events.codes), dtype=bool)
        for onset, duration in zip(table["onset_ms"], table["duration_ms"], strict=True):
            inside |= (known.timestamp_ms > onset - 0.5) & (known.timestamp_ms < onset + duration - 0.5)
        np.testing.assert_array_equal(events.codes == code, inside)


def test_place_of_a_fixation_is_the_mean_of_its_samples() -> None:
    known = simulated(500.0, 0.02)
    events = found_by("ivt", known)
    raw = samples_of(known)
    for number, onset in enumerate(events.fixations["onset_ms"]):
        stop = onset + events.fixations["duration_ms"][number]
        inside = (raw["timestamp_ms"] >= onset) & (raw["timestamp_ms"] < stop - 1e-3)
        assert events.fixations["x_px"][number] == pytest.approx(raw["x_px"][inside].mean(), abs=1e-2)
        assert events.fixations["y_deg"][number] == pytest.approx(known.y_deg[inside].mean(), abs=1e-3)


def test_oscillations_are_found_where_there_are_some_and_seldom_else() -> None:
    with_some, without = simulated(500.0, 0.02, oscillation=0.08), simulated(500.0, 0.02)

    def count(known: KnownGaze) -> int:
        codes = found_by("adaptive", known).codes
        return int(((codes[1:] == OSCILLATION) & (codes[:-1] != OSCILLATION)).sum())

    assert count(with_some) >= 0.6 * len(with_some.saccades)
    assert count(without) <= 0.03 * len(without.saccades)


def test_adaptive_thresholds_leave_out_what_no_eye_can_do() -> None:
    known = simulated(500.0, 0.02)
    gaze = samples_of(known)
    middle = int(np.searchsorted(known.timestamp_ms, known.fixations[5].mean()))
    gaze["x_px"][middle] += 600
    events = detect(gaze, SCREEN, EventsConfig(detector="adaptive"))
    assert len(events.saccades["onset_ms"]) == len(known.saccades)


def test_idt_px_agrees_with_the_slow_way_and_has_no_degrees() -> None:
    known = simulated(250.0, 0.03, blinks=4)
    gaze = samples_of(known)
    found = detect(gaze, None, EventsConfig()).fixations
    slow = slow_idt(gaze["timestamp_ms"], gaze["x_px"], gaze["y_px"], 40.0, 80.0, 75.0)
    assert len(slow) > 20
    for number, name in enumerate(("onset_ms", "duration_ms", "x_px", "y_px")):
        np.testing.assert_allclose(found[name], [one[number] for one in slow], rtol=1e-5)
    assert np.isnan(found["x_deg"]).all()


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_tables_have_the_columns_of_their_schemas(detector: str) -> None:
    events = found_by(detector, simulated(500.0, 0.02))
    for found, schema in ((events.fixations, FIXATIONS), (events.saccades, SACCADES)):
        assert set(found) == set(schema.names) - {"participant", "trial"}
        for name, values in found.items():
            assert pa.from_numpy_dtype(values.dtype) == schema.field(name).type


@pytest.mark.parametrize("detector", list(DETECTORS))
@pytest.mark.parametrize(
    ("time", "x"),
    [
        pytest.param([], [], id="no_sample"),
        pytest.param([5.0], [700.0], id="one_sample"),
        pytest.param([5.0], [math.nan], id="one_lost_sample"),
        pytest.param(np.arange(200) * 2.0, np.full(200, np.nan), id="all_lost"),
        pytest.param(np.full(50, 7.0), np.full(50, 700.0), id="one_time_for_all"),
        pytest.param(np.arange(20) * 8.0, [700.0, math.nan] * 10, id="every_other"),
    ],
)
def test_too_little_gaze_gives_whole_results(detector: str, time: list[float], x: list[float]) -> None:
    gaze = {"timestamp_ms": np.array(time), "x_px": np.array(x), "y_px": np.array(x)}
    events = detect(gaze, SCREEN, EventsConfig.model_validate({"detector": detector, "min_duration_ms": 100}))
    assert len(events.codes) == len(time)
    assert not len(events.saccades["onset_ms"])
    assert len(events.fixations["onset_ms"]) == (len(time) == 20)


@pytest.mark.parametrize("detector", list(DETECTORS))
@pytest.mark.parametrize("wobble_px", [0.0, 1e-10, 1e-3])
def test_constant_gaze_is_one_fixation_of_its_whole_length(detector: str, wobble_px: float) -> None:
    """A wobble far below what any tracker resolves stands for the rounding of another machine."""
    wobble = wobble_px * np.random.default_rng(0).normal(0, 1, (2, 500))
    wobble[:, 200:210] *= 8
    gaze = {"timestamp_ms": np.arange(500) * 2.0, "x_px": 700.0 + wobble[0], "y_px": 300.0 + wobble[1]}
    events = detect(gaze, SCREEN, EventsConfig.model_validate({"detector": detector}))
    assert events.fixations["onset_ms"].tolist() == [0.0]
    assert events.fixations["duration_ms"].tolist() == [1000.0]
    assert (events.codes == FIXATION).all()


@pytest.mark.parametrize("detector", IN_DEG)
def test_duplicated_timestamps_change_nothing_but_the_codes_of_the_copies(detector: str) -> None:
    known = simulated(500.0, 0.02)
    gaze = samples_of(known)
    twice = np.sort(np.concatenate([np.arange(len(known.timestamp_ms)), np.arange(100, 5000, 50)]))
    plain = found_by(detector, known)
    copied = {name: values[twice] for name, values in gaze.items()}
    doubled = detect(copied, SCREEN, EventsConfig.model_validate({"detector": detector}))
    for name, values in plain.fixations.items():
        np.testing.assert_array_equal(doubled.fixations[name], values)
    np.testing.assert_array_equal(doubled.codes, plain.codes[twice])


@pytest.mark.parametrize("detector", IN_DEG)
def test_irregular_sampling_finds_the_same_fixations(detector: str) -> None:
    known = simulated(1000.0, 0.02)
    rng = np.random.default_rng(0)
    keep = np.sort(rng.choice(len(known.timestamp_ms), len(known.timestamp_ms) // 2, replace=False))
    gaze = {name: values[keep] for name, values in samples_of(known).items()}
    events = detect(gaze, SCREEN, EventsConfig.model_validate({"detector": detector}))
    pairs = matches(known, events)
    assert len(pairs) >= 0.95 * len(known.fixations)
    late = [events.fixations["onset_ms"][other] - known.fixations[number, 0] for number, other in pairs]
    assert np.median(np.abs(late)) <= 4


@pytest.mark.parametrize("detector", ["ivt", "adaptive", "idt"])
def test_short_gap_is_bridged_and_a_long_one_splits_the_fixation(detector: str) -> None:
    rng = np.random.default_rng(1)
    cfg = EventsConfig.model_validate({"detector": detector, "merge_gap_ms": 0.0})
    for lost, expected in ((30, 1), (60, 2)):
        place = rng.normal(700, 0.3, (2, 600))
        place[:, 300 : 300 + lost] = np.nan
        gaze = {"timestamp_ms": np.arange(600) * 2.0, "x_px": place[0], "y_px": place[1]}
        events = detect(gaze, SCREEN, cfg)
        assert len(events.fixations["onset_ms"]) == expected
        # 50 ms on either side of the blink are lost with it.
        assert (events.codes == LOST).sum() == (0 if expected == 1 else lost + 2 * 25)


def test_missing_rows_split_a_fixation_as_lost_samples_do() -> None:
    keep = np.r_[0:200, 300:500]
    gaze = {"timestamp_ms": keep * 2.0, "x_px": np.full(400, 700.0), "y_px": np.full(400, 300.0)}
    for detector in IN_DEG:
        events = detect(gaze, SCREEN, EventsConfig.model_validate({"detector": detector}))
        assert len(events.fixations["onset_ms"]) == 2, detector


def test_near_fixations_are_merged_over_a_small_saccade_only_where_asked() -> None:
    x = np.full(300, 800.0)
    x[150:] += to_px(SCREEN, 0.4, 0.0)[0] - 800
    x[149] = x[148:151].mean()
    gaze = {"timestamp_ms": np.arange(300) * 2.0, "x_px": x, "y_px": np.full(300, 600.0)}
    cfg = {"detector": "ivt", "velocity_deg_s": 15.0}
    merged = detect(gaze, SCREEN, EventsConfig.model_validate(cfg))
    apart = detect(gaze, SCREEN, EventsConfig.model_validate({**cfg, "merge_gap_ms": 0.0}))
    far = detect(gaze, SCREEN, EventsConfig.model_validate({**cfg, "merge_deg": 0.2}))
    assert [len(e.fixations["onset_ms"]) for e in (merged, apart, far)] == [1, 2, 2]
    assert [len(e.saccades["onset_ms"]) for e in (merged, apart, far)] == [0, 1, 1]


@pytest.mark.parametrize("detector", IN_DEG)
@pytest.mark.parametrize(
    ("screen", "message"),
    [
        pytest.param(None, "the whole screen", id="no_screen"),
        pytest.param(Screen(1600, 1200, 400, 300), "distance_mm", id="no_distance"),
        pytest.param(Screen(1600, 1200), "width_mm, height_mm, distance_mm", id="px_alone"),
    ],
)
def test_unknown_geometry_is_named(detector: str, screen: Screen | None, message: str) -> None:
    gaze = {name: np.zeros(3) for name in ("timestamp_ms", "x_px", "y_px")}
    with pytest.raises(ValueError, match=f"detector {detector} .*: {message}$"):
        detect(gaze, screen, EventsConfig.model_validate({"detector": detector}))


def test_adaptive_refuses_slow_sampling() -> None:
    gaze = {"timestamp_ms": np.arange(100) * 33.0, "x_px": np.zeros(100), "y_px": np.zeros(100)}
    with pytest.raises(ValueError, match=r"100 Hz or more, samples come at 30\.3 Hz"):
        detect(gaze, SCREEN, EventsConfig(detector="adaptive"))


def test_time_that_runs_backwards_raises() -> None:
    gaze = {"timestamp_ms": np.array([0.0, 4, 2]), "x_px": np.zeros(3), "y_px": np.zeros(3)}
    with pytest.raises(ValueError, match="backwards at index 2"):
        detect(gaze, SCREEN, EventsConfig(detector="ivt"))


def test_samples_further_apart_than_the_gap_raise() -> None:
    gaze = {"timestamp_ms": np.arange(100) * 100.0, "x_px": np.zeros(100), "y_px": np.zeros(100)}
    with pytest.raises(ValueError, match="samples are 100 ms apart, more than max_gap_ms 75"):
        detect(gaze, SCREEN, EventsConfig(detector="ivt"))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("detector", list(DETECTORS))
def test_events_of_wild_gaze_are_in_order_apart_and_long_enough(detector: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 1500
    time = np.cumsum(rng.choice([0.0, 1.0, 2.0, 3.0, 400.0], count, p=[0.05, 0.3, 0.4, 0.245, 0.005]))
    place = np.repeat(rng.uniform(-300, 1900, (50, 2)), 30, axis=0) + rng.normal(0, 10**seed / 1e3, (count, 2))
    place[rng.random((count, 2)) < 0.02] = np.nan
    place[700:800, 0] = np.nan
    gaze = {"timestamp_ms": time, "x_px": place[:, 0], "y_px": place[:, 1]}
    cfg = EventsConfig.model_validate({"detector": detector})
    events = detect(gaze, SCREEN, cfg)
    for table, shortest in ((events.fixations, cfg.min_duration_ms), (events.saccades, cfg.min_saccade_ms)):
        end = table["onset_ms"] + table["duration_ms"]
        assert (np.diff(table["onset_ms"]) > 0).all()
        # An event ends one sample step after its last sample, which may be later than the next sample.
        assert (table["onset_ms"][1:] >= end[:-1] - 3).all()
        assert (table["duration_ms"] >= shortest - 1e-3).all()
        assert all(np.isfinite(values).all() for values in table.values())
    assert len(events.codes) == count
    assert (events.codes[710:790] == LOST).all()


def test_unknown_detector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError) as caught:
        EventsConfig.model_validate({"detector": "best"})
    assert all(name in str(caught.value) for name in DETECTORS)


def test_detector_cannot_take_the_name_of_another() -> None:
    with pytest.raises(ValueError, match="'ivt' is registered already"):
        register_detector("ivt", about="")(DETECTORS["ivt"].find)
