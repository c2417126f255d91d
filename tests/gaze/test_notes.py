# SPDX-License-Identifier: Apache-2.0
"""Notes on many files: one line for each cause, with how many files it is of."""

from __future__ import annotations

import pytest

from gazeray.gaze.notes import by_cause


def test_a_cause_of_many_files_is_one_line_with_the_first_three() -> None:
    notes = [
        f"P{number:02d}.asc: both eyes are in the file; the left eye is used (lost samples: left {number}, right 90)"
        for number in range(1, 30)
    ]
    assert by_cause(notes) == [
        "both eyes are in the file; the left eye is used: 29 files (P01.asc, P02.asc, P03.asc, ...)"
    ]


def test_a_note_of_one_file_stays_with_its_detail() -> None:
    notes = ["P1.asc: both eyes are in the file; the left eye is used (lost samples: left 12, right 30)"]
    assert by_cause(notes) == notes


def test_causes_of_most_files_come_first_and_others_as_they_came() -> None:
    notes = ["b.csv: one", "a.csv: two", "c.csv: three", "a.csv: three", "c.csv: three"]
    assert by_cause(notes) == ["three: 2 files (c.csv, a.csv)", "b.csv: one", "a.csv: two"]


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        pytest.param(
            "the header says 500 Hz, the clock says 248.1 Hz; the clock is used",
            "the header says 500 Hz, the clock says 1002 Hz; the clock is used",
            "the header says 500 Hz, the clock says 248.1 to 1002 Hz; the clock is used: 2 files (a, b)",
            id="numbers_in_the_cause",
        ),
        pytest.param(
            "12 samples are of the left eye, the only one recorded then",
            "3 samples are of the left eye, the only one recorded then",
            "3 to 12 samples are of the left eye, the only one recorded then: 2 files (a, b)",
            id="number_first",
        ),
        pytest.param(
            "trials that begin more than once, taken together: 3 (2 times)",
            "trials that begin more than once, taken together: T4 (3 times), 7 (2 times)",
            "trials that begin more than once, taken together: 2 files (a, b)",
            id="detail_behind_a_colon",
        ),
        pytest.param(
            "the right eye is used (it has more fixations)",
            "the right eye is used (it has more fixations)",
            "the right eye is used (it has more fixations): 2 files (a, b)",
            id="same_detail",
        ),
        pytest.param(
            "the header says screen_width_px 1024, the declaration 1e+03; the declaration is used",
            "the header says screen_width_px 800, the declaration 1e+03; the declaration is used",
            "the header says screen_width_px 800 to 1024, the declaration 1e+03; the declaration is used"
            ": 2 files (a, b)",
            id="exponent",
        ),
    ],
)
def test_what_differs_from_file_to_file_does_not_part_a_cause(first: str, second: str, line: str) -> None:
    assert by_cause([f"a: {first}", f"b: {second}"]) == [line]


def test_other_words_are_another_cause() -> None:
    notes = ["a: the left eye is used", "b: the right eye is used", "c: X1 names no unit", "d: X2 names no unit"]
    assert by_cause(notes) == notes


def test_a_cause_that_holds_a_hash_is_left_as_it_is() -> None:
    assert by_cause(["a: column #3 is odd #", "b: column #4 is odd #"]) == ["column #3 to 4 is odd #: 2 files (a, b)"]


def test_a_file_with_two_notes_of_one_cause_is_one_file() -> None:
    notes = ["a: trials come back: 1", "a: trials come back: 2"]
    assert by_cause(notes) == notes
    assert by_cause([*notes, "b: trials come back: 1"]) == ["trials come back: 2 files (a, b)"]


def test_notes_without_a_file_stay_and_come_once() -> None:
    assert by_cause(["simulated", "simulated", "a: one"]) == ["simulated", "a: one"]
    assert by_cause([]) == []
