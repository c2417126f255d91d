# SPDX-License-Identifier: Apache-2.0
"""Times that cannot be right are mended where they can be, counted, and refused where they cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gazeray.gaze.mending import apart, check_times, cut_to_windows, in_order, within_samples
from gazeray.gaze.readers.base import GazeTable, ReadError
from gazeray.tables import Reject

CLOCK = np.arange(100) * 4.0


def table(**columns: object) -> GazeTable:
    values = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    n = len(next(iter(values.values())))
    return GazeTable([("P1", "1")], np.zeros(n, dtype=np.int64), values, np.arange(1, n + 1), n)


def fixation_table(onset: object, duration: object, windows: object = None) -> GazeTable:
    found = table(
        onset_ms=onset, duration_ms=duration, x_px=np.zeros(len(np.asarray(onset))), y_px=0 * np.asarray(onset)
    )
    return found if windows is None else GazeTable(**{**vars(found), "windows": np.asarray(windows, dtype=np.float64)})


def brute_rising(time: np.ndarray) -> int:
    best = np.ones(len(time), dtype=int)
    for row in range(len(time)):
        for before in range(row):
            if time[before] <= time[row]:
                best[row] = max(best[row], best[before] + 1)
    return int(best.max())


def test_clock_that_never_steps_back_is_left_alone() -> None:
    order = in_order(np.array([0.0, 0, 1, 5, 5]))
    assert order is not None
    assert order[0].tolist() == [0, 1, 2, 3, 4]
    assert not len(order[1])


@pytest.mark.parametrize("late", [1, 3, 10])
def test_rows_that_come_late_are_sorted_in(late: int) -> None:
    time = CLOCK.copy()
    time[50 : 50 + late + 1] = np.roll(time[50 : 50 + late + 1], -1)  # sample 50 comes `late` rows too late
    order = in_order(time)
    assert order is not None
    assert time[order[0]].tolist() == CLOCK.tolist()
    assert not len(order[1])


@pytest.mark.parametrize("wrong", [0.0, -1e6, 9e9, 1200.0])
def test_one_wrong_time_costs_one_row(wrong: float) -> None:
    time = CLOCK + 1e5
    time[50] = wrong
    order = in_order(time)
    assert order is not None
    assert order[1].tolist() == [50]
    assert time[order[0]].tolist() == np.delete(CLOCK + 1e5, 50).tolist()


def test_clock_that_starts_again_cannot_be_mended() -> None:
    assert in_order(np.r_[CLOCK, CLOCK]) is None
    assert in_order(CLOCK[::-1]) is None
    assert in_order(np.random.default_rng(0).permutation(CLOCK)) is None


def test_longest_run_is_the_longest_there_is() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        time = np.arange(40.0)
        where = rng.integers(0, 40, 3)
        time[where] = rng.uniform(-20, 60, 3)
        order = in_order(time)
        assert order is not None
        kept, wrong = order
        assert len(wrong) == 0 or len(wrong) <= 40 - brute_rising(time)
        assert (np.diff(time[kept]) >= 0).all()
        assert len(kept) + len(wrong) == 40


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("hz", [30, 60, 250, 1000])
def test_samples_in_a_wrong_unit_are_refused(factor: float, hz: int) -> None:
    time = np.arange(200) * 1e3 / hz
    assert not check_times(table(timestamp_ms=time), "samples", "a.csv").rejects
    if factor == 1e3 and hz == 1000:  # 1 Hz
        with pytest.raises(ReadError, match="unit of timestamp_ms"):
            check_times(table(timestamp_ms=time * factor), "samples", "a.csv")
    with pytest.raises(ReadError, match="unit of timestamp_ms must be wrong"):
        check_times(table(timestamp_ms=time * factor), "samples", "a.csv")


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_fixations_in_a_wrong_unit_are_refused(factor: float) -> None:
    onset, duration = np.arange(20) * 250.0, np.full(20, 200.0)
    assert not check_times(fixation_table(onset, duration), "fixations", "a.csv").rejects
    with pytest.raises(ReadError, match="unit of duration_ms must be wrong"):
        check_times(fixation_table(onset, duration * factor), "fixations", "a.csv")


def test_onsets_in_another_unit_than_durations_are_refused() -> None:
    onset, duration = np.arange(20) * 250.0, np.full(20, 200.0)
    with pytest.raises(ReadError, match="the units of onset_ms and duration_ms cannot both be right"):
        check_times(fixation_table(1e3 * onset, duration), "fixations", "a.csv")


@pytest.mark.parametrize(
    ("wrong", "words"), [(-3, "negative duration"), (0.2, "no fixation lasts 0.2 ms"), (2e5, "200000")]
)
def test_fixation_that_no_eye_makes_costs_a_row(wrong: float, words: str) -> None:
    found = check_times(fixation_table([0, 250, 500], [200, wrong, 200]), "fixations", "a.csv")
    assert found.columns["onset_ms"].tolist() == [0, 500]
    assert [(reject.row, words in reject.reason) for reject in found.rejects] == [(2, True)]


def test_fixations_are_cut_to_their_window() -> None:
    rejects = [Reject("a.csv", 7, "read", "no number")]
    found = fixation_table([900, 1500, 1900, 3000], [200, 100, 900, 50], [[1000, 2000]])
    found = cut_to_windows(replace(found, rejects=rejects))
    assert found.columns["onset_ms"].tolist() == [1000, 1500, 1900]
    assert found.columns["duration_ms"].tolist() == [100, 100, 100]
    assert found.rows.tolist() == [1, 2, 3]
    assert found.notes == [
        "fixations cut at the edge of a trial: 2 of 3",
        "fixations outside the time of their trial, left out: 1 of 4",
    ]
    assert found.rejects == rejects


def test_window_without_an_end_cuts_nothing_there() -> None:
    found = cut_to_windows(fixation_table([900, 1500], [200, 1e6], [[1000, np.inf]]))
    assert found.columns["duration_ms"].tolist() == [100, 1e6]


@pytest.mark.parametrize(
    ("onset", "duration", "kept", "durations", "overlapping"),
    [
        ([0, 200, 300], [210, 90, 100], [0, 1, 2], [200, 90, 100], 0),  # touching
        ([0, 100, 300], [250, 90, 100], [0, 1, 2], [100, 90, 100], 1),  # the second lies in the first
        ([0, 300, 300], [250, 90, 100], [0, 2], [250, 100], 1),  # two with one onset
        ([0, 300, 300], [250, 100, 90], [0, 1], [250, 100], 1),
        ([0, 300], [0, 100], [0, 1], [0, 100], 0),
        ([], [], [], [], 0),
    ],
)
def test_fixations_that_overlap_are_cut(
    onset: list[float], duration: list[float], kept: list[int], durations: list[float], overlapping: int
) -> None:
    parted = apart(np.array(onset, np.float64), np.array(duration, np.float64))
    assert parted is not None
    assert (parted[0].tolist(), parted[1].tolist(), parted[2]) == (kept, durations, overlapping)


def test_fixations_that_mostly_overlap_are_refused() -> None:
    assert apart(np.arange(10) * 0.25, np.full(10, 200.0)) is None  # onsets in s, durations in ms
    onset = np.sort(np.r_[np.arange(10) * 250.0, np.arange(10) * 250.0 + 8])  # two eyes
    assert apart(onset, np.full(20, 220.0)) is None


def test_sum_of_fixations_never_exceeds_their_time() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        onset = np.cumsum(rng.uniform(0, 300, 30))
        duration = rng.uniform(0, 250, 30)
        parted = apart(onset, duration)
        if parted is not None:
            assert parted[1].sum() <= (onset + duration).max() - onset[0] + 1e-9
            assert (onset[parted[0]][:-1] + parted[1][:-1] <= onset[parted[0]][1:] + 1e-9).all()


def test_fixations_are_cut_to_the_samples_of_their_trial() -> None:
    fixations = {"onset_ms": np.array([-100.0, 150, 380]), "duration_ms": np.array([200, 100, 1962], np.float32)}
    found, n, why = within_samples(fixations, CLOCK)
    assert (found["onset_ms"].tolist(), why) == ([0, 150, 380], "")
    assert found["duration_ms"].tolist() == [100, 100, 20]
    assert n == 2


def test_fixations_of_another_zero_are_compared_by_how_long_they_last() -> None:
    fixations = {"onset_ms": np.array([1e6, 1e6 + 200]), "duration_ms": np.array([150, 150], np.float32)}
    assert within_samples(fixations, CLOCK)[1:] == (0, "")
    far = fixations | {"onset_ms": np.array([1e6, 1e6 + 200e3])}
    assert within_samples(far, CLOCK)[2].startswith("fixations reach over 2.002e+05 ms, the trial over 400 ms")
    fixations["duration_ms"] = np.array([150e3, 150e3], np.float32)
    assert "another unit" in within_samples(fixations, CLOCK)[2]
