# SPDX-License-Identifier: Apache-2.0
"""Which gaze is which trial's: what is shown twice, several files of a person, two eyes in two files, bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.readers import READERS, GazeTable
from gazeray.gaze.readers.spec import SamplesSpec
from gazeray.gaze.two_eyes import one_of_two
from tests.gaze.tiny_dataset import FIXATIONS, SAMPLES, declared, read_all, reasons, write

HEADER = "trial,t,x,y\n"
ONCE = "1,0,200,100\n1,10,210,110\n"
TWO = "2,20,300,120\n2,30,310,130\n"
AGAIN = "1,40,400,100\n1,50,410,110\n1,60,420,120\n"
TRIALS = "participant,trial,condition\nP1,1,C\nP1,2,P\n"


def trials_of(root: Any, **changes: Any) -> tuple[dict[str, TrialGaze], list[tuple[str, int, str]]]:
    data, recordings = read_all(root, declared(**changes))
    found = {trial.trial: trial for one in recordings for trial in one.trials}
    return found, reasons([*data.rejects, *(reject for one in recordings for reject in one.rejects)])


def x_of(trial: TrialGaze) -> list[float]:
    assert trial.samples is not None
    return [float(value) for value in trial.samples["x_px"]]


def repeating(repeats: str) -> dict[str, Any]:
    return {"path": "trials.csv", "repeats": repeats}


def test_trial_presented_again_is_refused_by_name(tmp_path: Path) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": HEADER + ONCE + TWO + AGAIN})
    found, why = trials_of(root)
    assert list(found) == ["2"]
    ((source, row, reason),) = why
    assert (source, row) == ("gaze/P1.csv", 1)
    assert reason.startswith("presented 2 times (gaze/P1.csv row 1, gaze/P1.csv row 5): say what it means")


def test_rows_without_a_trial_part_presentations(tmp_path: Path) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": HEADER + ONCE + ",15,0,0\n,16,0,0\n" + AGAIN + TWO})
    assert list(trials_of(root)[0]) == ["2"]


@pytest.mark.parametrize("row", [HEADER, "?,?,?,?\n", "7,x,200,100\n"])
def test_row_that_is_rejected_parts_no_presentations(tmp_path: Path, row: str) -> None:
    gaze = HEADER + "1,0,200,100\n" + row + "1,10,210,100\n2,20,300,100\n" + row + "2,30,310,100\n" + row
    found, why = trials_of(write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze}))
    assert {trial: x_of(one) for trial, one in found.items()} == {"1": [200, 210], "2": [300, 310]}
    assert [number for _, number, _ in why] == [2, 5, 7]


def test_presentations_are_numbered_by_the_rows_of_the_trials_table(tmp_path: Path) -> None:
    rows = "participant,trial,condition\nP1,1,C\nP1,2,P\nP1,1,P\n"
    root = write(tmp_path, {"trials.csv": rows, "gaze/P1.csv": HEADER + ONCE + TWO + AGAIN})
    found, why = trials_of(root, trials=repeating("number"))
    assert {name: x_of(trial) for name, trial in found.items()} == {
        "1": [200, 210],
        "2": [300, 310],
        "1#2": [400, 410, 420],
    }
    assert not why


def test_other_number_of_presentations_than_rows_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": HEADER + ONCE + TWO + AGAIN})
    found, why = trials_of(root, trials=repeating("number"))
    assert list(found) == ["2"]
    assert [reason for _, _, reason in why] == ["presented 2 times, the trials table has 1 of it"]


def test_presentations_may_be_joined(tmp_path: Path) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": HEADER + ONCE + TWO + AGAIN})
    found, why = trials_of(root, trials=repeating("join"))
    assert x_of(found["1"]) == [200, 210, 400, 410, 420]
    assert not why


def test_fixations_of_fewer_presentations_than_the_samples_are_nobodys(tmp_path: Path) -> None:
    rows = "participant,trial,condition\nP1,1,C\nP1,2,P\nP1,1,P\n"
    fixations = "trial,t,d,x,y\n1,0,8,200,100\n2,20,8,300,100\n"
    files = {"trials.csv": rows, "gaze/P1.csv": HEADER + ONCE + TWO + AGAIN, "fixations/P1.csv": fixations}
    found, why = trials_of(write(tmp_path, files), trials=repeating("number"), fixations=FIXATIONS)
    counts = {name: len(trial.fixations["x_px"]) for name, trial in found.items() if trial.fixations is not None}
    assert counts == {"1": 0, "2": 1, "1#2": 0}
    reason = "presented 1 times, the trials table has 2 of it; the trial is kept without its fixations"
    assert {why for _, _, why in why} == {reason}


def test_unknown_trial_is_one_reject_however_often_it_is_presented(tmp_path: Path) -> None:
    other = "9,20,300,120\n"
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": HEADER + other + ONCE + other + TWO})
    found, why = trials_of(root)
    assert list(found) == ["1", "2"]
    assert [reason for _, _, reason in why] == ["gaze without trial: 1 rows of a trial that is not in the trials table"]


@pytest.mark.parametrize(
    "path", ["gaze/{participant}_{run}.csv", "gaze/{participant}_*.csv", "gaze/{participant}*.csv"]
)
def test_several_files_of_a_person_are_read_together(tmp_path: Path, path: str) -> None:
    files = {"trials.csv": TRIALS, "gaze/P1_2.csv": HEADER + ONCE, "gaze/P1_10.csv": HEADER + TWO}
    found, why = trials_of(write(tmp_path, files), samples={**SAMPLES, "path": path})
    assert {name: x_of(trial) for name, trial in found.items()} == {"1": [200, 210], "2": [300, 310]}
    assert not why


def test_trial_in_two_files_is_presented_twice(tmp_path: Path) -> None:
    files = {"trials.csv": TRIALS, "gaze/P1_2.csv": HEADER + ONCE, "gaze/P1_10.csv": HEADER + AGAIN + TWO}
    samples = {**SAMPLES, "path": "gaze/{participant}_{run}.csv"}
    found, why = trials_of(write(tmp_path, files), samples=samples)
    assert list(found) == ["2"]
    assert "presented 2 times (gaze/P1_2.csv row 1, gaze/P1_10.csv row 1)" in why[0][2]


def test_trial_numbers_that_start_again_in_each_run(tmp_path: Path) -> None:
    rows = "participant,run,trial,condition\nP1,1,1,C\nP1,1,2,P\nP1,2,1,P\n"
    files = {"trials.csv": rows, "gaze/P1_run-01.csv": HEADER + ONCE + TWO, "gaze/P1_run-02.csv": HEADER + AGAIN}
    files["gaze/P1_run-03.csv"] = HEADER + ONCE
    found, why = trials_of(
        write(tmp_path, files),
        trials={"path": "trials.csv", "columns": {"trial": ["run", "trial"]}},
        samples={**SAMPLES, "path": "gaze/{participant}_run-{run}.csv"},
    )
    assert {name: x_of(trial) for name, trial in found.items()} == {
        "1/1": [200, 210],
        "1/2": [300, 310],
        "2/1": [400, 410, 420],
    }
    assert why == [("gaze/P1_run-03.csv", -1, "participant 'P1' run '3' is not in the trials table")]


def test_trial_of_a_run_without_a_file_is_rejected(tmp_path: Path) -> None:
    rows = "participant,run,trial,condition\nP1,1,1,C\nP1,1,2,P\nP1,2,1,P\n"
    found, why = trials_of(
        write(tmp_path, {"trials.csv": rows, "gaze/P1_run-01.csv": HEADER + ONCE + TWO}),
        trials={"path": "trials.csv", "columns": {"trial": ["run", "trial"]}},
        samples={**SAMPLES, "path": "gaze/{participant}_run-{run}.csv"},
    )
    assert list(found) == ["1/1", "1/2"]
    assert why == [("trials.csv", 3, "trial without gaze: no file matches gaze/{participant}_run-{run}.csv")]


@pytest.mark.parametrize("name", ["http://example.org/a b?c=1#top", "images/face 1.jpg", "..\\up", "../../etc/passwd"])
def test_trial_may_be_called_anything(tmp_path: Path, name: str) -> None:
    files = {"trials.csv": TRIALS.replace("P1,1", f"P1,{name}")}
    files["gaze/P1.csv"] = HEADER + ONCE.replace("1,", f"{name},", 1).replace("\n1,", f"\n{name},") + TWO
    found, why = trials_of(write(tmp_path, files))
    assert list(found) == [name, "2"]
    assert not why


EYES = {
    "trials.csv": TRIALS,
    "gaze/P1_left.csv": HEADER + ONCE + TWO,
    "gaze/P1_right.csv": HEADER + "1,0,220,100\n1,10,,\n" + TWO,
}


@pytest.mark.parametrize(
    ("eye", "x"), [("best", [200, 210]), ("left", [200, 210]), ("right", [220, np.nan]), ("mean", [210, 210])]
)
def test_two_eyes_in_two_files(tmp_path: Path, eye: str, x: list[float]) -> None:
    samples = {**SAMPLES, "path": "gaze/{participant}_{eye}.csv", "eye": eye}
    found, why = trials_of(write(tmp_path, EYES), samples=samples)
    np.testing.assert_array_equal(x_of(found["1"]), x)
    assert not why


def test_eyes_with_other_times_have_no_mean(tmp_path: Path) -> None:
    files = {**EYES, "gaze/P1_right.csv": HEADER + "1,1,220,100\n1,11,230,100\n" + TWO}
    samples = {**SAMPLES, "path": "gaze/{participant}_{eye}.csv", "eye": "mean"}
    found, why = trials_of(write(tmp_path, files), samples=samples)
    assert not found
    assert why[0] == ("gaze/P1_left.csv", -1, "the two eyes have other times, and no mean: ask for one eye")


def test_eye_that_no_file_is_of_is_named(tmp_path: Path) -> None:
    files = {name: content for name, content in EYES.items() if "right" not in name}
    samples = {**SAMPLES, "path": "gaze/{participant}_{eye}.csv", "eye": "right"}
    assert trials_of(write(tmp_path, files), samples=samples)[1][0][2] == "no file of the right eye (there: left)"


@pytest.mark.parametrize(
    ("eye", "kept", "words"),
    [("right", 2, ""), ("best", 0, "3 files of an unnamed eye, left, right: not two eyes; ask for left or right")],
)
def test_third_file_does_not_matter_where_one_eye_is_asked_for(tmp_path: Path, eye: str, kept: int, words: str) -> None:
    files = {**EYES, "gaze/P1_cyclopean.csv": HEADER + ONCE + TWO}
    samples = {**SAMPLES, "path": "gaze/{participant}_{eye}.csv", "eye": eye}
    found, why = trials_of(write(tmp_path, files), samples=samples)
    assert len(found) == kept
    assert not words or why[0][2] == words


def test_mean_of_two_eyes_has_the_accuracy_of_both() -> None:
    accuracy = ({"validation_left_deg": 0.3}, {"validation_right_deg": 0.5})
    row = {"timestamp_ms": np.zeros(1), "x_px": np.ones(1), "y_px": np.ones(1)}
    files = [
        (side, {"eye": side}, GazeTable([("P", "1")], np.zeros(1, int), row, np.ones(1, int), 1, accuracy=[own]))
        for side, own in zip(("left", "right"), accuracy, strict=True)
    ]
    spec = SamplesSpec.model_validate({**SAMPLES, "path": "{participant}_{eye}.csv", "eye": "mean"})
    assert one_of_two(files, spec)[1].accuracy == [accuracy[0] | accuracy[1]]


@pytest.mark.parametrize(
    "error", [KeyError("x"), IndexError(3), MemoryError(), RecursionError("deep"), ZeroDivisionError()]
)
def test_whatever_a_reader_raises_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    known = READERS["delimited"]
    files = {"trials.csv": TRIALS + "P2,1,P\n", "gaze/P1.csv": HEADER + ONCE + TWO, "gaze/P2.csv": HEADER + ONCE}

    def reader(file: Any) -> Any:
        if file.source == "gaze/P2.csv":
            raise error
        return known.read(file)

    monkeypatch.setitem(READERS, "delimited", type(known)(**{**vars(known), "read": reader}))
    found, why = trials_of(write(tmp_path, files))
    assert list(found) == ["1", "2"]
    assert why[0][0] == "gaze/P2.csv"
    assert type(error).__name__ in why[0][2]


def test_clock_that_steps_back_by_a_sample_is_sorted_and_counted(tmp_path: Path) -> None:
    times = [*range(0, 200, 10)]
    times[7], times[8] = times[8], times[7]
    gaze = HEADER + "".join(f"1,{time},{200 + time},100\n" for time in times) + "2,300,300,120\n"
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze})
    _, (one,) = read_all(root, declared())
    assert x_of(one.trials[0]) == [200 + time for time in sorted(times)]
    assert one.notes == ["P1: samples out of order, sorted by time: 1"]


def test_block_of_rows_that_is_there_twice_is_read_once(tmp_path: Path) -> None:
    rows = [f"1,{time},{200 + time},100\n" for time in range(0, 200, 10)]
    gaze = HEADER + "".join([*rows[:15], *rows[5:], "2,300,300,120\n"])
    found, why = trials_of(write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze}))
    assert x_of(found["1"]) == [200 + time for time in range(0, 200, 10)]
    assert [row for _, row, _ in why] == list(range(16, 26))
    assert {reason for *_, reason in why} == {"the same as an earlier row: it is there twice"}


def test_time_far_off_costs_a_row(tmp_path: Path) -> None:
    times = [*range(1000, 1200, 10)]
    times[7] = 0
    gaze = HEADER + "".join(f"1,{time},{200 + time / 10},100\n" for time in times) + "2,1300,300,120\n"
    found, why = trials_of(write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze}))
    assert len(x_of(found["1"])) == 19
    assert why == [("gaze/P1.csv", 8, "time runs backwards: to 0 ms")]


def test_fixations_in_other_units_than_their_onsets_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{trial},{trial * 10 + 0.25 * number},200,300,100\n" for trial in (1, 2) for number in range(10))
    files = {"trials.csv": TRIALS, "fixations/P1.csv": "trial,t,d,x,y\n" + rows}
    found, why = trials_of(write(tmp_path, files), samples=None, fixations=FIXATIONS)
    assert not found
    assert all("onset and duration in different units" in reason for _, _, reason in why)


@pytest.mark.parametrize(("unit", "works"), [("ms", False), ("s", True)])
def test_durations_in_s_need_their_unit(tmp_path: Path, unit: str, works: bool) -> None:
    rows = "".join(f"{trial},{trial * 10 + 0.25 * number},0.2,300,100\n" for trial in (1, 2) for number in range(10))
    files = {"trials.csv": TRIALS, "fixations/P1.csv": "trial,t,d,x,y\n" + rows}
    units = {"onset_ms": unit, "duration_ms": unit}
    found, why = trials_of(write(tmp_path, files), samples=None, fixations={**FIXATIONS, "units": units})
    assert bool(found) == works
    assert works or "fixations last 0.2 ms (median): the unit of duration_ms must be wrong" in why[0][2]


WINDOWS = "participant,trial,condition,start_ms,end_ms\nP1,a,C,1000,1100\nP1,b,P,1100,1150\n"
WINDOW_TRIALS = {"path": "trials.csv"}


def test_trials_are_told_by_their_times_in_the_trials_table(tmp_path: Path) -> None:
    rows = "t,x,y\n" + "".join(f"{time},{time / 10},100\n" for time in range(950, 1200, 10))
    samples = {
        "reader": "delimited",
        "path": "gaze/{participant}.csv",
        "windows": "trials",
        "columns": {"timestamp_ms": "t", "x_px": "x", "y_px": "y"},
    }
    root = write(tmp_path, {"trials.csv": WINDOWS, "gaze/P1.csv": rows})
    found, why = trials_of(root, samples=samples, trials=WINDOW_TRIALS)
    assert x_of(found["a"]) == [100 + step for step in range(10)]
    assert x_of(found["b"]) == [110 + step for step in range(5)]
    assert why == [("gaze/P1.csv", 1, "10 samples lie outside any trial, this is the first")]
    in_s = WINDOWS.replace("1000,1100", "1.0,1.1").replace("1100,1150", "1.1,1.15")
    write(tmp_path, {"trials.csv": in_s})
    trials = {"path": "trials.csv", "units": {"start_ms": "s", "end_ms": "s"}}
    assert x_of(trials_of(root, samples=samples, trials=trials)[0]["a"]) == x_of(found["a"])


def test_fixations_are_cut_to_the_windows_of_the_trials_table(tmp_path: Path) -> None:
    fixations = {
        "reader": "delimited",
        "path": "fixations/{participant}.csv",
        "windows": "trials",
        "columns": {"onset_ms": "t", "duration_ms": "d", "x_px": "x", "y_px": "y"},
    }
    files = {"trials.csv": WINDOWS, "fixations/P1.csv": "t,d,x,y\n900,150,200,100\n1060,300,300,110\n2000,90,1,1\n"}
    root = write(tmp_path, files)
    _, (one,) = read_all(root, declared(samples=None, fixations=fixations, trials=WINDOW_TRIALS))
    spans = {
        trial.trial: list(zip(trial.fixations["onset_ms"], trial.fixations["duration_ms"], strict=True))
        for trial in one.trials
        if trial.fixations is not None
    }
    assert spans == {"a": [(1000, 50), (1060, 40)], "b": [(1100, 50)]}
    assert one.notes == ["fixations/P1.csv: fixations cut at the edge of a trial: 3 of 3"]


def test_windows_that_overlap_or_end_before_they_begin_are_refused(tmp_path: Path) -> None:
    samples = {
        "reader": "delimited",
        "path": "gaze/{participant}.csv",
        "windows": "trials",
        "columns": {"timestamp_ms": "t", "x_px": "x", "y_px": "y"},
    }
    gaze = "t,x,y\n1000,100,100\n1100,100,100\n1200,100,100\n"
    root = write(tmp_path, {"trials.csv": WINDOWS.replace("1100,1150", "1070,1150"), "gaze/P1.csv": gaze})
    assert (
        "the windows of the trials 'a' and 'b' overlap"
        in trials_of(root, samples=samples, trials=WINDOW_TRIALS)[1][0][2]
    )
    write(tmp_path, {"trials.csv": WINDOWS.replace("1100,1150", "1090,1150")})  # rounded times: they touch
    found, _ = trials_of(root, samples=samples, trials=WINDOW_TRIALS)
    assert {name: trial.samples["timestamp_ms"].tolist() for name, trial in found.items() if trial.samples} == {
        "a": [1000],
        "b": [1100],
    }
    write(tmp_path, {"trials.csv": WINDOWS.replace("1100,1150", "1190,1150") + "P1,c,P,1190,1300\n"})
    found, why = trials_of(root, samples=samples, trials=WINDOW_TRIALS)
    assert list(found) == ["a", "c"]
    assert why[0][2] == "no time from start_ms to end_ms: from '1190' to '1150'"


@pytest.mark.parametrize(
    ("origin", "y_axis", "unit", "given", "place"),
    [
        ("screen", "down", "px", (200, 100), (200, 100)),
        ("screen", "up", "px", (200, 100), (200, 400)),
        ("screen_centre", "down", "px", (-300, -150), (200, 100)),
        ("screen_centre", "up", "px", (-300, 150), (200, 100)),
        ("screen", "up", "normalised", (0.2, 0.8), (200, 100)),
        ("screen_centre", "up", "normalised", (-0.3, 0.3), (200, 100)),
        ("stimulus", "down", "px", (100, 50), (200, 100)),
        ("stimulus", "up", "px", (100, 350), (200, 100)),
    ],
)
def test_origins_are_brought_to_the_top_left_of_the_screen(
    tmp_path: Path, origin: str, y_axis: str, unit: str, given: tuple[float, float], place: tuple[float, float]
) -> None:
    gaze = HEADER + "".join(f"{trial},{10 * n},{given[0]},{given[1]}\n" for trial in (1, 2) for n in range(20))
    samples = {**SAMPLES, "origin": origin, "y_axis": y_axis, "units": {"x_px": unit, "y_px": unit}}
    found, why = trials_of(write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze}), samples=samples)
    assert not why
    assert found["1"].samples is not None
    assert found["1"].samples["x_px"][0] == pytest.approx(place[0], abs=1e-3)
    assert found["1"].samples["y_px"][0] == pytest.approx(place[1], abs=1e-3)


@pytest.mark.parametrize(("unit", "value", "words"), [("px", 0.4, "fractions, not px"), ("normalised", 400, "px, not")])
def test_coordinates_in_the_wrong_unit_are_refused(tmp_path: Path, unit: str, value: float, words: str) -> None:
    gaze = HEADER + "".join(f"{trial},{10 * n},{value},{value}\n" for trial in (1, 2) for n in range(20))
    samples = {**SAMPLES, "units": {"x_px": unit, "y_px": unit}}
    found, why = trials_of(write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": gaze}), samples=samples)
    assert not found
    assert words in why[0][2]
