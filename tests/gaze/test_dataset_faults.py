# SPDX-License-Identifier: Apache-2.0
"""What open_dataset rejects row by row, and what makes a study impossible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazeray.gaze.dataset import DataError, Dataset, open_dataset
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import (
    DECLARED,
    FILES,
    FIXATIONS,
    GAZE,
    PEOPLE,
    TRIALS,
    declared,
    opened,
    pairs,
    write,
    zipped,
)

# -- rows that cannot be used


def rejected(folder: Path, rows: str, **changes: Any) -> tuple[Dataset, list[tuple[int, str, str]]]:
    data = opened(folder, TRIALS + rows, **changes)
    assert {reject.source for reject in data.rejects} <= {"trials.csv", "people.csv"}
    return data, [(reject.row, reject.stage, reject.reason) for reject in data.rejects]


@pytest.mark.parametrize(
    ("row", "stage", "words"),
    [
        pytest.param("P1,3,", "labels", "missing label condition", id="missing_label"),
        pytest.param("P1,3,NA", "labels", "missing label condition", id="label_na"),
        pytest.param("P1,3,X", "labels", "'X' is not declared (declared: C, P)", id="label_not_declared"),
        pytest.param("P1,3,c", "labels", "'c' is not declared", id="label_in_other_case"),
        pytest.param(",3,C", "trials", "no participant", id="no_participant"),
        pytest.param("P1, ,C", "trials", "no trial", id="no_trial"),
        pytest.param("P1,a\x00b,C", "trials", "unsafe name of the trial", id="nul"),
        pytest.param("P1,a\x1bb,C", "trials", "unsafe name of the trial", id="control_character"),
        pytest.param("P1,a\u2028b,C", "trials", "unsafe name of the trial", id="line_separator"),
        pytest.param(f"P1,{'9' * 5000},C", "trials", "longer than 1000 characters", id="5000_digits"),
        pytest.param(f"{'x' * 5000},1,C", "trials", "longer than 1000 characters", id="5000_letters"),
        pytest.param("P1,3", "trials", "2 fields instead of 3", id="too_few_fields"),
        pytest.param("P1,3,C,C", "trials", "4 fields instead of 3", id="too_many_fields"),
    ],
)
def test_bad_row_of_the_trials_table_is_rejected_with_its_reason(
    tmp_path: Path, row: str, stage: str, words: str
) -> None:
    data, faults = rejected(tmp_path, row + "\n")
    assert len(data.trials) == 4
    assert [(number, where) for number, where, _ in faults] == [(5, stage)]
    assert words in faults[0][2]


def test_unsafe_stimulus_is_rejected_and_one_with_slashes_is_none(tmp_path: Path) -> None:
    trials = {**DECLARED["trials"], "columns": {**DECLARED["trials"]["columns"], "stimulus": "picture"}}
    text = "participant,trial,condition,picture\nP1,1,C,http://a.org/b?c=../d\nP1,2,P,a\x07b\nP2,1,C,a\\b\nP2,2,P,a\n"
    data = opened(tmp_path, text, trials=trials)
    assert data.trials["stimulus"].tolist() == ["http://a.org/b?c=../d", "a\\b", "a"]
    assert [(reject.row, reject.reason) for reject in data.rejects] == [(2, "unsafe name of the stimulus: 'a\\x07b'")]


@pytest.mark.parametrize("name", ["../../outside/secret", "/etc/passwd", "..\\secret", "gaze/P1"])
def test_name_that_is_a_path_reaches_no_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "outside", {"secret.csv": GAZE})
    root = tmp_path / "study"
    data = opened(root, TRIALS + f"{name},1,C\n")
    assert [reject.reason for reject in data.rejects] == ["trial without gaze: no file matches gaze/{participant}.csv"]
    assert [recording.samples for recording in data.recordings] == [["gaze/P1.csv"], ["gaze/P2.csv"]]


def test_identical_duplicate_keeps_the_first(tmp_path: Path) -> None:
    data, faults = rejected(tmp_path, "P1,2,P\nP1,2,P\n")
    assert data.trials["row"].tolist() == [1, 2, 3, 4]
    reason = "duplicate trial: the same as row 2"
    assert faults == [(5, "trials", reason), (6, "trials", reason)]
    assert data.recordings[0].refused == []


def test_contradicting_duplicates_are_all_rejected(tmp_path: Path) -> None:
    data, faults = rejected(tmp_path, "P1,2,C\n")
    assert data.trials["row"].tolist() == [1, 3, 4]
    reason = "duplicate trial (presented again? say so: trials.repeats): rows 2, 5 contradict each other in condition"
    assert faults == [(2, "trials", reason), (5, "trials", reason)]
    assert data.recordings[0].refused == ["P1\n2"]


def test_participant_unknown_to_the_participants_table_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h\nP1,1000,500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    reason = "participant 'P2' has no usable row in people.csv"
    assert faults == [(3, "trials", reason), (4, "trials", reason)]


def test_contradicting_rows_of_a_participant_take_their_trials_along(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h\nP1,1000,500\nP2,1000,500\nP2,800,600\nP1,1000,500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    assert [reason for _, _, reason in faults] == [
        "duplicate participant: the same as row 1",
        "duplicate participant: rows 2, 3 contradict each other in w, h",
        "duplicate participant: rows 2, 3 contradict each other in w, h",
        "participant 'P2' has no usable row in people.csv",
        "participant 'P2' has no usable row in people.csv",
    ]


@pytest.mark.parametrize(
    ("width", "words"),
    [
        ("", "missing geometry: no screen_width_px"),
        ("NA", "missing geometry: no screen_width_px"),
        ("wide", "screen_width_px is not a number: 'wide'"),
        ("inf", "screen_width_px is not a number"),
        ("1_000", "screen_width_px is not a number"),
        ("0", "screen_width_px must be greater than 0"),
        ("-1000", "screen_width_px must be greater than 0"),
    ],
)
def test_bad_geometry_rejects_the_trials_that_have_it(tmp_path: Path, width: str, words: str) -> None:
    write(tmp_path, people=f"who,w,h\nP1,1000,500\nP2,{width},500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    assert [row for row, _, _ in faults] == [3, 4]
    assert all(words in reason for _, _, reason in faults)


def test_participant_without_a_usable_trial_disappears(tmp_path: Path) -> None:
    data = opened(tmp_path, "participant,trial,condition\nP1,1,C\nP1,2,P\nP2,1,\nP2,2,\n")
    assert [recording.participants for recording in data.recordings] == [["P1"]]
    assert [reject.participant for reject in data.rejects] == ["P2", "P2"]


# -- what makes the study impossible


def impossible(folder: Path, **changes: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        open_dataset(declared(**changes), Folder(folder))
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert impossible(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: there is no such folder"]


def test_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert len(impossible(tmp_path / "file")) == 1


def test_empty_folder_is_an_error_also_with_dot_files_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"._trials.csv": "x", ".DS_Store": "x"})
    assert impossible(tmp_path) == [f"{tmp_path}: the folder is empty"]


def test_missing_trials_file_and_gaze_files_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, {"other.csv": "x"})
    errors = impossible(tmp_path, participants=PEOPLE, fixations=FIXATIONS)
    assert [error.split(" (")[0].removeprefix(f"{tmp_path}: ") for error in errors] == [
        "no file trials.csv",
        "no file people.csv",
        "no samples file matches gaze/{participant}.csv",
        "no fixations file matches fixations/{participant}.csv",
    ]
    assert all("there are: other.csv" in error for error in errors)


def test_missing_columns_are_named_with_those_present(tmp_path: Path) -> None:
    write(tmp_path, trials="who,trial\nP1,1\n", people="who,w\nP1,5\n")
    errors = impossible(
        tmp_path,
        participants=PEOPLE,
        screen={"distance_mm": "far"},
        stimulus={**DECLARED["stimulus"], "width_px": "sw"},
    )
    present = "trials.csv: who, trial; people.csv: who, w"
    assert errors == [
        "trials.csv: no column 'participant' (present: who, trial)",
        "people.csv: no column 'h' (present: who, w)",
        f"label condition: no column 'condition' (present: {present})",
        f"screen.distance_mm: no column 'far' (present: {present})",
        f"stimulus.width_px: no column 'sw' (present: {present})",
    ]


def test_unknown_size_of_the_screen_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    errors = impossible(tmp_path, screen={"width_px": 1000})
    present = "trials.csv: participant, trial, condition"
    assert errors == [f"screen.height_px is not declared: no column 'screen_height_px' (present: {present})"]


def test_unknown_label_lists_the_declared_ones(tmp_path: Path) -> None:
    write(tmp_path)
    labels = {"condition": {"C": "a", "P": "b"}, "other": {0: "a", 1: "b"}}
    for label, words in (("mood", "unknown label 'mood'"), (None, "name the label to use")):
        with pytest.raises(DataError, match=words) as caught:
            open_dataset(declared(labels=labels), Folder(tmp_path), label)
        assert caught.value.errors[0].endswith("(declared: condition, other)")
    assert open_dataset(declared(labels=labels), Folder(tmp_path), "condition").label == "condition"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("participant,trial,condition\n", "header without rows", id="header_without_rows"),
        pytest.param(zipped(TRIALS)[:-12], "gzip", id="truncated_gzip"),
        pytest.param(b"\xef\xbb\xbf", "the file is empty", id="byte_order_mark_alone"),
        pytest.param(b"\x00" * 99, "nothing but zero bytes", id="zero_bytes"),
        pytest.param(TRIALS.encode("utf-16-le"), "encoding: utf-16-le", id="utf_16_without_mark"),
        pytest.param(TRIALS.encode() + "Müller,1,C".encode("latin-1"), "declare its encoding", id="latin_1"),
        pytest.param(TRIALS + 'P3,"1,C\n', "cannot be parsed", id="unbalanced_quote"),
        pytest.param("participant,trial,trial\nP1,1,2\n", "more than once", id="column_twice"),
        pytest.param(b"PAR1" + b"\x00" * 20, "Parquet", id="damaged_parquet"),
    ],
)
def test_unreadable_trials_table_is_an_error(tmp_path: Path, content: str | bytes, words: str) -> None:
    write(tmp_path, {**FILES, "trials.csv": content})
    (error,) = impossible(tmp_path)
    assert error.startswith("trials.csv: ")
    assert words in error


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_encodings_with_a_mark_are_known_by_it(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, {**FILES, "trials.csv": TRIALS.encode(encoding)})
    assert pairs(open_dataset(declared(), Folder(tmp_path))) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]


def test_one_class_in_the_whole_data_set_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, trials=TRIALS.replace(",P\n", ",X\n"))
    (error,) = impossible(tmp_path)
    assert "all 2 trials are of one class, 'control'" in error
    assert "2 x label condition: 'X' is not declared" in error


def test_no_trial_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, trials=TRIALS.replace(",C", ",").replace(",P\n", ",\n"))
    (error,) = impossible(tmp_path)
    assert "no trial is left" in error
    assert "4 x missing label condition" in error


def test_delimiter_of_the_trials_table_is_guessed_for_the_message(tmp_path: Path) -> None:
    write(tmp_path, trials=TRIALS.replace(",", ";"))
    (error,) = impossible(tmp_path)
    assert error.startswith("trials.csv: no column 'participant', 'trial'")
    assert "declare delimiter: ';'" in error
