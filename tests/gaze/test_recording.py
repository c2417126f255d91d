# SPDX-License-Identifier: Apache-2.0
"""From the files of a recording to the gaze of its trials, and what is rejected on the way."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.dataset import open_dataset
from gazeray.gaze.presentations import rows_by_code
from gazeray.gaze.recording import RecordingGaze, TrialGaze, read_recording
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import (
    DECLARED,
    FILES,
    FIXATIONS,
    GAZE,
    SAMPLES,
    TRIALS,
    declared,
    read_all,
    reasons,
    write,
    zipped,
)

FIXED = "trial,t,d,x,y\n1,0,200,200,100\n1,250,100,300,110\n2,5,150,400,120\n"


def read_first(folder: Path, gaze: str | bytes = GAZE, **changes: Any) -> RecordingGaze:
    """The recording of P1, whose samples file holds `gaze`."""
    root = write(folder, {**FILES, "gaze/P1.csv": gaze})
    return read_all(root, declared(**changes))[1][0]


def samples_of(trial: TrialGaze) -> dict[str, list[float]]:
    assert trial.samples is not None
    return {name: values.tolist() for name, values in trial.samples.items()}


def test_rows_are_sorted_into_trials(tmp_path: Path) -> None:
    found = read_first(tmp_path)
    assert found.key == "P1"
    assert [(trial.participant, trial.trial) for trial in found.trials] == [("P1", "1"), ("P1", "2")]
    assert samples_of(found.trials[0]) == {"timestamp_ms": [0, 10], "x_px": [200, 210], "y_px": [100, 110]}
    assert samples_of(found.trials[1]) == {"timestamp_ms": [0, 10], "x_px": [300, 310], "y_px": [120, 130]}
    assert found.trials[0].fixations is None
    assert found.trials[0].samples is not None
    assert {name: values.dtype for name, values in found.trials[0].samples.items()} == {
        "timestamp_ms": np.float64,
        "x_px": np.float32,
        "y_px": np.float32,
    }
    assert found.n_rows == 4
    assert found.rejects == []
    assert [trial.trial for trial in found.trials] == ["1", "2"]


INTERLEAVED = "trial,t,x,y\n2,0,300,99\n1,0,200,99\n2,5,310,99\n1,5,210,99\n2,9,320,99\n"


def test_interleaved_trials_are_presented_again_and_refused(tmp_path: Path) -> None:
    found = read_first(tmp_path, INTERLEAVED)
    assert found.trials == []
    assert [(reject.row, reject.trial) for reject in found.rejects] == [(2, "1"), (1, "2")]
    assert "presented 3 times" in found.rejects[1].reason
    assert "trials.repeats" in found.rejects[1].reason


def test_joined_presentations_keep_the_order_of_their_rows(tmp_path: Path) -> None:
    found = read_first(tmp_path, INTERLEAVED, trials={**DECLARED["trials"], "repeats": "join"})
    assert samples_of(found.trials[0])["x_px"] == [200, 210]
    assert samples_of(found.trials[1])["x_px"] == [300, 310, 320]


@pytest.mark.parametrize("interleaved", [False, True])
def test_grouping_agrees_with_a_dictionary(interleaved: bool) -> None:
    codes = np.random.default_rng(0).integers(0, 7, 500)
    codes = codes if interleaved else np.sort(codes)[::-1]
    slow: dict[int, list[int]] = {}
    for index, code in enumerate(codes):
        slow.setdefault(int(code), []).append(index)
    fast = {code: np.arange(500)[where].tolist() for code, where in rows_by_code(codes)}
    assert fast == slow
    assert list(rows_by_code(np.empty(0, np.int64))) == []


def test_trial_does_not_depend_on_the_form_of_the_files(tmp_path: Path) -> None:
    """One file per participant, one per trial and one for all give the same gaze."""
    lines = [line.split(",", 1) for line in GAZE.splitlines()[1:]]
    per_trial = {
        f"g/{person}-{trial}.csv": "t,x,y\n" + "".join(f"{rest}\n" for name, rest in lines if name == trial)
        for person in ("P1", "P2")
        for trial in ("1", "2")
    }
    for_all = "who," + GAZE.splitlines()[0] + "\n"
    for_all += "".join(f"{person},{line}\n" for line in GAZE.splitlines()[1:] for person in ("P2", "P1"))
    per_name = "who,t,x,y\n"
    by_trial = {
        f"s/{trial}.csv": per_name
        + "".join(f"{p},{rest}\n" for p in ("P1", "P2") for name, rest in lines if name == trial)
        for trial in ("1", "2")
    }
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    ways = [
        ("gaze/{participant}.csv", {"trial": "trial"}, {"gaze/P1.csv": GAZE, "gaze/P2.csv": GAZE}),
        ("g/{participant}-{trial}.csv", {}, per_trial),
        ("all.csv", {"participant": "who", "trial": "trial"}, {"all.csv": for_all}),
        ("s/{trial}.csv", {"participant": "who"}, by_trial),
    ]
    results = []
    for number, (path, ids, files) in enumerate(ways):
        root = write(tmp_path / str(number), {"trials.csv": TRIALS, **files})
        _, found = read_all(root, declared(samples={**SAMPLES, "path": path, "columns": ids | columns}))
        assert [part.rejects for part in found] == [[]] * len(found)
        results.append([(trial.participant, trial.trial, samples_of(trial)) for part in found for trial in part.trials])
    assert len(results[0]) == 4
    assert all(result == results[0] for result in results)


# -- units and origins: screen 1000 x 500 px, stimulus 800 x 400 px at 100, 50


@pytest.mark.parametrize(
    ("cells", "changes", "expected"),
    [
        pytest.param("200,100", {}, (200, 100), id="px_of_the_screen"),
        pytest.param("200,100", {"origin": "stimulus"}, (300, 150), id="px_of_the_stimulus"),
        pytest.param(
            "0.25,0.5", {"units": {"x_px": "normalised", "y_px": "normalised"}}, (250, 250), id="share_of_the_screen"
        ),
        pytest.param("0.25,100", {"units": {"x_px": "normalised"}}, (250, 100), id="share_in_x_only"),
        pytest.param(
            "0.25,0.5",
            {"units": {"x_px": "normalised", "y_px": "normalised"}, "origin": "stimulus"},
            (300, 250),
            id="share_of_the_stimulus",
        ),
    ],
)
def test_coordinates_come_out_in_px_of_the_screen(
    tmp_path: Path, cells: str, changes: dict[str, Any], expected: tuple[float, float]
) -> None:
    found = read_first(tmp_path, f"trial,t,x,y\n1,0,{cells}\n2,0,{cells}\n", samples={**SAMPLES, **changes})
    trial = samples_of(found.trials[0])
    assert (trial["x_px"], trial["y_px"]) == ([expected[0]], [expected[1]])


def test_missing_value_is_compared_before_the_conversion(tmp_path: Path) -> None:
    changes = {"units": {"x_px": "normalised"}, "missing": [-1]}
    found = read_first(
        tmp_path, "trial,t,x,y\n1,0,-1,100\n1,10,0.5,100\n2,0,0.5,9\n2,10,.6,60\n", samples={**SAMPLES, **changes}
    )
    trial = samples_of(found.trials[0])
    np.testing.assert_array_equal(trial["x_px"], [np.nan, 500])


def test_sample_with_one_coordinate_is_lost_in_both(tmp_path: Path) -> None:
    trial = samples_of(read_first(tmp_path, "trial,t,x,y\n1,0,,100\n1,5,200,\n1,10,200,100\n2,0,300,120\n").trials[0])
    np.testing.assert_array_equal(trial["x_px"], [np.nan, np.nan, 200])
    np.testing.assert_array_equal(trial["y_px"], [np.nan, np.nan, 100])


def test_window_of_each_trial_is_its_own(tmp_path: Path) -> None:
    table = "participant,trial,condition,left\nP1,1,C,0\nP1,2,P,150\nP2,1,C,0\nP2,2,P,0\n"
    root = write(tmp_path, {**FILES, "trials.csv": table})
    stimulus = {"width_px": 800, "height_px": 400, "left_px": "left", "top_px": 10}
    _, found = read_all(root, declared(stimulus=stimulus, samples={**SAMPLES, "origin": "stimulus"}))
    assert [samples_of(trial)["x_px"][0] for trial in found[0].trials] == [200, 450]


# -- rejected trials


@pytest.mark.parametrize(
    ("rows", "row", "reason"),
    [
        pytest.param(
            "1,0,200,100\n1,20,200,100\n1,10,200,100\n", 3, "time runs backwards: from 20 to 10 ms", id="time"
        ),
        pytest.param("1,0,,\n1,10,NaN,1\n", 1, "all 2 samples are lost", id="lost"),
        pytest.param("1,0,-5,100\n1,10,1000,100\n1,20,9,500\n", 1, "gaze entirely off the screen", id="off_screen"),
        pytest.param(
            "1,0,50,100\n1,10,900,100\n1,20,9,449\n", 1, "gaze entirely outside the stimulus window", id="outside"
        ),
    ],
)
def test_unusable_trial_is_rejected_and_the_next_one_kept(tmp_path: Path, rows: str, row: int, reason: str) -> None:
    found = read_first(tmp_path, "trial,t,x,y\n" + rows + "2,0,300,120\n")
    assert [trial.trial for trial in found.trials] == ["2"]
    assert [trial.trial for trial in found.trials] == ["2"]
    assert reasons(found.rejects) == [("gaze/P1.csv", row, reason)]
    assert (found.rejects[0].stage, found.rejects[0].participant, found.rejects[0].trial) == ("gaze", "P1", "1")


def test_equal_times_are_not_backwards(tmp_path: Path) -> None:
    assert len(read_first(tmp_path, "trial,t,x,y\n1,0,200,100\n1,0,201,100\n2,0,300,120\n").trials) == 2


def test_gaze_of_an_unknown_trial_is_one_reject(tmp_path: Path) -> None:
    found = read_first(tmp_path, GAZE + "9,0,1,1\n9,1,1,1\n9,2,1,1\n")
    assert len(found.trials) == 2
    assert reasons(found.rejects) == [
        ("gaze/P1.csv", 5, "gaze without trial: 3 rows of a trial that is not in the trials table")
    ]
    assert found.rejects[0].trial == "9"


def test_gaze_of_a_trial_rejected_earlier_is_left_out_without_a_word(tmp_path: Path) -> None:
    root = write(tmp_path, {**FILES, "trials.csv": TRIALS + "P1,3,\n", "gaze/P1.csv": GAZE + "3,0,1,1\n"})
    data, found = read_all(root, declared())
    assert [reject.reason for reject in data.rejects] == ["missing label condition"]
    assert [part.rejects for part in found] == [[], []]
    assert [trial.trial for trial in found[0].trials] == ["1", "2"]


def test_trial_without_rows_is_rejected(tmp_path: Path) -> None:
    found = read_first(tmp_path, "trial,t,x,y\n1,0,200,100\n")
    assert [trial.trial for trial in found.trials] == ["1"]
    assert reasons(found.rejects) == [
        ("gaze/P1.csv", -1, "trial without gaze: the file has no usable row of this trial")
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(zipped(GAZE * 50)[:-30], "truncated or damaged gzip", id="truncated_gzip"),
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("trial,t,x,y\n", "a header without rows", id="header_without_rows"),
        pytest.param("trial,t,x\n1,0,5\n", "no column 'y' (present: trial, t, x)", id="missing_column"),
        pytest.param(GAZE.encode() + b"1,20,\xff,1\n", "not UTF-8", id="not_utf_8"),
        pytest.param(b"\x00" * 999, "nothing but zero bytes", id="zero_bytes"),
        pytest.param("1,0,200.5,100\n1,10,201.5,100\n", "declare the names of the columns", id="no_header"),
    ],
)
def test_unusable_file_is_one_reject_and_takes_its_trials_along(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    found = read_first(tmp_path, content)
    assert found.trials == []
    assert found.trials == []
    assert [(reject.source, reject.row, reject.trial) for reject in found.rejects] == [
        ("gaze/P1.csv", -1, ""),
        ("gaze/P1.csv", -1, "1"),
        ("gaze/P1.csv", -1, "2"),
    ]
    assert reason in found.rejects[0].reason
    assert all(f"trial without gaze: {found.rejects[0].reason}" == reject.reason for reject in found.rejects[1:])


def test_file_that_has_vanished_is_rejected(tmp_path: Path) -> None:
    root = write(tmp_path)
    data = open_dataset(declared(), root)
    (tmp_path / "gaze/P1.csv").unlink()
    found = read_recording(declared(), root, data.recordings[0], data.trials)
    assert found.trials == []
    assert found.rejects[0].reason.startswith("cannot be read: ")


def test_failing_storage_raises_instead_of_losing_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path)
    data = open_dataset(declared(), root)

    def fail(self: Folder, path: str) -> bytes:
        raise OSError("connection lost")

    monkeypatch.setattr(Folder, "read_bytes", fail)
    with pytest.raises(OSError, match="connection lost"):
        read_recording(declared(), root, data.recordings[0], data.trials)


def test_file_without_a_usable_row_rejects_its_trials(tmp_path: Path) -> None:
    found = read_first(tmp_path, "trial,t,x,y\n1,,200,100\n2,0,300\n")
    assert found.trials == []
    assert [(reject.row, reject.stage) for reject in found.rejects] == [
        (2, "read"),
        (1, "read"),
        (-1, "gaze"),
        (-1, "gaze"),
    ]


def test_bad_rows_of_the_reader_are_passed_on_and_counted(tmp_path: Path) -> None:
    found = read_first(tmp_path, GAZE + "1,20,oops,1\n")
    assert [(reject.row, reject.trial) for reject in found.rejects] == [(5, "1")]
    assert found.n_rows == 5


# -- fixations


def with_fixations(folder: Path, fixations: str | bytes, gaze: str = GAZE, **changes: Any) -> RecordingGaze:
    root = write(folder, {**FILES, "gaze/P1.csv": gaze, "fixations/P1.csv": fixations, "fixations/P2.csv": FIXED})
    return read_all(root, declared(**{"fixations": FIXATIONS, **changes}))[1][0]


def fixations_of(trial: TrialGaze) -> dict[str, list[float]]:
    assert trial.fixations is not None
    return {name: values.tolist() for name, values in trial.fixations.items()}


LONG = "trial,t,x,y\n" + "".join(f"{trial},{t},300,100\n" for trial in "12" for t in range(0, 400, 50))


def test_fixations_stand_beside_the_samples(tmp_path: Path) -> None:
    found = with_fixations(tmp_path, FIXED, LONG)
    assert samples_of(found.trials[0])["timestamp_ms"] == list(range(0, 400, 50))
    assert fixations_of(found.trials[0]) == {
        "onset_ms": [0, 250],
        "duration_ms": [200, 100],
        "x_px": [200, 300],
        "y_px": [100, 110],
    }
    assert found.n_rows == 19
    assert [len(trial.fixations["x_px"]) for trial in found.trials if trial.fixations] == [2, 1]
    assert found.notes == []


def test_fixations_are_cut_to_the_time_of_their_samples(tmp_path: Path) -> None:
    more = "trial,t,d,x,y\n1,-100,150,200,100\n1,100,150,300,110\n1,350,300,300,110\n1,900,90,300,110\n2,0,90,9,9\n"
    found = with_fixations(tmp_path, more, LONG)
    fixations = fixations_of(found.trials[0])
    assert fixations["onset_ms"] == [0, 100, 350]
    assert fixations["duration_ms"] == [50, 150, 50]
    assert found.notes == ["P1: fixations beyond the samples of their trial, cut or left out: 3"]


def test_fixations_never_overlap(tmp_path: Path) -> None:
    rows = "1,0,110,200,100\n1,100,100,300,110\n1,150,40,300,110\n1,210,50,300,110\n1,300,40,300,110\n"
    found = with_fixations(tmp_path, "trial,t,d,x,y\n" + rows + "2,0,90,9,9\n", LONG)
    fixations = fixations_of(found.trials[0])
    assert fixations["onset_ms"] == [0, 100, 150, 210, 300]
    assert fixations["duration_ms"] == [100, 50, 40, 50, 40]
    assert [note.startswith("P1: fixations that last into the next one") for note in found.notes] == [True]


def test_fixation_that_is_there_twice_costs_a_row(tmp_path: Path) -> None:
    found = with_fixations(tmp_path, "trial,t,d,x,y\n1,0,110,200,100\n1,0,110,200,100\n2,0,90,300,90\n", samples=None)
    assert fixations_of(found.trials[0])["duration_ms"] == [110]
    assert reasons(found.rejects) == [("fixations/P1.csv", 2, "the same as an earlier row: it is there twice")]


def test_fixations_alone_are_enough(tmp_path: Path) -> None:
    found = with_fixations(tmp_path, FIXED, samples=None)
    assert [trial.samples for trial in found.trials] == [None, None]
    assert fixations_of(found.trials[1])["x_px"] == [400]


def test_negative_duration_rejects_the_row(tmp_path: Path) -> None:
    found = with_fixations(tmp_path, FIXED + "2,300,-5,400,120\n2,400,0,410,120\n", samples=None)
    assert fixations_of(found.trials[1])["onset_ms"] == [5, 400]
    assert reasons(found.rejects) == [("fixations/P1.csv", 4, "negative duration: -5 ms")]
    assert (found.rejects[0].participant, found.rejects[0].trial) == ("P1", "2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(FIXED.split("2,5,")[0], None, id="no_fixation_of_this_trial"),
        pytest.param(
            FIXED + "2,1,9,400,120\n", "time runs backwards: from 5 to 1 ms; the trial is kept", id="backwards"
        ),
    ],
)
def test_trial_with_samples_may_do_without_fixations(tmp_path: Path, content: str, reason: str | None) -> None:
    found = with_fixations(tmp_path, content)
    assert [trial.trial for trial in found.trials] == ["1", "2"]
    assert fixations_of(found.trials[1]) == {"onset_ms": [], "duration_ms": [], "x_px": [], "y_px": []}
    assert [reject.reason.startswith(str(reason)) for reject in found.rejects] == ([True] if reason else [])


def test_unreadable_fixations_file_is_one_reject_and_no_trial_is_lost(tmp_path: Path) -> None:
    found = with_fixations(tmp_path, b"\x1f\x8bbroken")
    assert len(found.trials) == 2
    assert [(reject.source, reject.row) for reject in found.rejects] == [("fixations/P1.csv", -1)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("1,0,50,,\n", "all 1 fixations are lost"),
        ("1,0,50,-9,1\n", "gaze entirely off the screen"),
        ("1,50,50,200,100\n1,0,50,200,100\n", "time runs backwards: from 50 to 0 ms"),
        ("", "trial without gaze: the file has no usable row of this trial"),
    ],
)
def test_fixations_decide_where_there_are_no_samples(tmp_path: Path, rows: str, reason: str) -> None:
    found = with_fixations(tmp_path, "trial,t,d,x,y\n" + rows + "2,5,150,400,120\n", samples=None)
    assert [trial.trial for trial in found.trials] == ["2"]
    assert [reject.reason for reject in found.rejects] == [reason]


# -- fingerprint


def test_hash_follows_the_bytes_of_all_files(tmp_path: Path) -> None:
    first = with_fixations(tmp_path / "a", FIXED)
    assert with_fixations(tmp_path / "b", FIXED).sha256 == first.sha256
    assert with_fixations(tmp_path / "c", FIXED + "\n").sha256 != first.sha256
    only = hashlib.sha256(f"samples gaze/P1.csv {len(GAZE)}\n{GAZE}".encode()).hexdigest()
    assert read_first(tmp_path / "d").sha256 == only


def test_hash_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    part = "t,x,y\n0,200,100\n"
    files = {"trials.csv": TRIALS} | {f"{p}_{t}.csv": part for p in ("P1", "P2") for t in (1, 2)}
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    spec = declared(samples={**SAMPLES, "path": "{participant}_{trial}.csv", "columns": columns})
    root = write(tmp_path, files)
    data = open_dataset(spec, root)
    one = data.recordings[0]
    flipped = type(one)(**{**vars(one), "samples": one.samples[::-1]})
    assert len(one.samples) == 2
    assert (
        read_recording(spec, root, flipped, data.trials).sha256 == read_recording(spec, root, one, data.trials).sha256
    )
