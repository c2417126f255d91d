# SPDX-License-Identifier: Apache-2.0
"""The Gazepoint reader on small files written as its documentation describes them."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.gazepoint  # noqa: F401
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared, zipped

COLUMNS = (
    "MEDIA_ID,MEDIA_NAME,CNT,TIME(2024/05/17 10:11:12.123),TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,"
    "LPOGX,LPOGY,LPOGV,RPOGX,RPOGY,RPOGV,BPOGX,BPOGY,BPOGV,"
)
ROWS = [
    "0,cat.png,1,0.00000,100,0.30,0.40,0.00000,0.00000,1,1,0.31,0.41,1,0.29,0.39,1,0.305,0.405,1,",
    "0,cat.png,2,0.01667,200,0.31,0.41,0.00000,0.01667,1,1,0.32,0.42,1,0.00,0.00,0,0.315,0.415,1,",
    "0,cat.png,3,0.03333,300,0.32,0.42,0.00000,0.03333,1,1,0.33,0.43,0,0.00,0.00,0,0.325,0.425,0,",
    "0,cat.png,4,0.05000,400,0.70,0.80,0.05000,0.00000,2,0,0.71,0.81,1,0.69,0.79,1,0.705,0.805,1,",
    "1,dog.png,5,0.00000,500,0.50,0.60,0.00000,0.01667,1,1,0.51,0.61,1,0.49,0.59,1,0.505,0.605,1,",
]
ALL = "\n".join([COLUMNS, *ROWS]) + "\n"


def read(data: str | bytes, kind: str = "samples", fixed: dict[str, str] | None = None, **changes: Any) -> GazeTable:
    section = {"reader": "gazepoint", "path": "{participant}_all_gaze.csv", **changes}
    spec = declared(**{"samples": None, kind: section}).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return READERS["gazepoint"].read(GazeFile(raw, "P1_all_gaze.csv", spec, fixed or {"participant": "P1"}))


def trials(table: GazeTable) -> list[str]:
    return [table.ids[code][1] for code in table.codes]


def test_samples_are_best_gaze_in_ms_as_fractions_of_the_screen() -> None:
    table = read(ALL)
    np.testing.assert_allclose(table.columns["timestamp_ms"], [0, 16.67, 33.33, 50, 0])
    np.testing.assert_array_equal(table.columns["x_px"], [0.305, 0.315, np.nan, 0.705, 0.505])
    np.testing.assert_array_equal(table.columns["y_px"], [0.405, 0.415, np.nan, 0.805, 0.605])
    assert trials(table) == ["cat.png"] * 4 + ["dog.png"]
    assert table.rows.tolist() == [1, 2, 3, 4, 5]
    assert (table.n_rows, table.rejects) == (5, [])
    assert READERS["gazepoint"].units == {"x_px": "normalised", "y_px": "normalised"}


@pytest.mark.parametrize(
    ("eye", "x"),
    [
        ("left", [0.31, 0.32, np.nan, 0.71, 0.51]),
        ("right", [0.29, np.nan, np.nan, 0.69, 0.49]),
        ("mean", [0.30, 0.32, np.nan, 0.70, 0.50]),
    ],
)
def test_declared_eye_is_used_and_its_own_flag_decides(eye: str, x: list[float]) -> None:
    np.testing.assert_allclose(read(ALL, eye=eye).columns["x_px"], x)


def test_without_best_gaze_the_eye_with_fewer_losses_is_used_and_noted() -> None:
    table = read(ALL.replace("BPOG", "OTHER"))
    np.testing.assert_array_equal(table.columns["x_px"], [0.31, 0.32, np.nan, 0.71, 0.51])
    assert any("left eye is used" in note for note in table.notes)


def test_filtered_gaze_alone_is_used_with_a_note() -> None:
    table = read(ALL.replace("BPOG", "A").replace("LPOG", "B").replace("RPOG", "C"))
    np.testing.assert_array_equal(table.columns["x_px"], [0.30, 0.31, 0.32, np.nan, 0.50])
    assert any("FPOG" in note for note in table.notes)


def test_fixations_are_the_last_valid_row_of_each_number_in_each_trial() -> None:
    table = read(ALL, "fixations")
    rows = list(csv.reader(io.StringIO(ALL)))[1:]
    expected: dict[tuple[str, str], tuple[float, ...]] = {}
    for row in rows:
        if row[10] == "1":
            expected[row[1], row[9]] = (1e3 * float(row[7]), 1e3 * float(row[8]), float(row[5]), float(row[6]))
    found = zip(*(table.columns[name] for name in ("onset_ms", "duration_ms", "x_px", "y_px")), strict=True)
    np.testing.assert_allclose(list(found), list(expected.values()))
    assert trials(table) == ["cat.png", "dog.png"]
    assert table.rows.tolist() == [3, 5]


def test_declared_columns_win() -> None:
    columns = {"trial": "MEDIA_ID", "timestamp_ms": "CNT", "x_px": "LPOGX", "y_px": "RPOGY"}
    table = read(ALL, columns=columns, units={"timestamp_ms": "ms"})
    assert trials(table) == ["0"] * 4 + ["1"]
    assert table.columns["timestamp_ms"].tolist() == [1, 2, 3, 4, 5]
    assert table.columns["x_px"].tolist() == [0.31, 0.32, 0.33, 0.71, 0.51]
    assert table.columns["y_px"].tolist() == [0.39, 0, 0, 0.79, 0.59]


def test_declared_columns_of_one_eye_keep_its_validity() -> None:
    table = read(ALL, columns={"x_px": "LPOGX", "y_px": "LPOGY"}, eye="right")
    np.testing.assert_array_equal(table.columns["x_px"], [0.31, 0.32, np.nan, 0.71, 0.51])


def test_trial_of_the_path_needs_no_column() -> None:
    data = ALL.replace("MEDIA_ID", "A").replace("MEDIA_NAME", "B")
    assert read(data, fixed={"participant": "P1", "trial": "7"}).ids == [("P1", "7")]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ALL.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + ALL.encode(), id="byte_order_mark"),
        pytest.param(ALL.encode("utf-16"), id="utf_16"),
        pytest.param(zipped(ALL), id="gzip"),
        pytest.param(ALL.replace(",", ";").replace(".", ",").replace(",png", ".png").encode(), id="comma_decimals"),
        pytest.param(ALL.replace(",", "\t").encode(), id="tabs"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: bytes) -> None:
    table, plain = read(data), read(ALL)
    assert trials(table) == trials(plain)
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(table.columns[name], values)


def test_latin_1_is_read_with_a_note() -> None:
    table = read(ALL.replace("cat", "hündin").encode("latin-1"))
    assert trials(table)[0] == "hündin.png"
    assert "not UTF-8 text, read as Latin-1" in table.notes


def test_swapped_columns_are_found_by_name() -> None:
    cells = [row.split(",") for row in ALL.splitlines()]
    swapped = "\n".join(",".join(reversed(row)) for row in cells)
    np.testing.assert_array_equal(read(swapped).columns["x_px"], read(ALL).columns["x_px"])


def test_cell_that_is_no_number_rejects_its_row() -> None:
    table = read(ALL.replace("0.315,", "oops,"))
    assert table.rows.tolist() == [1, 3, 4, 5]
    assert [(reject.row, reject.participant) for reject in table.rejects] == [(2, "P1")]
    assert "BPOGX" in table.rejects[0].reason
    assert "oops" in table.rejects[0].reason


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        ("", "samples", "empty"),
        (COLUMNS + "\n", "samples", "without rows"),
        (ALL.replace("TIME(", "WHEN("), "samples", "timestamp_ms"),
        (ALL.replace("POGX", "P"), "samples", "BPOGX"),
        (ALL.replace("FPOGID", "N"), "fixations", "FPOGID"),
        ("\n".join([COLUMNS, ROWS[3]]), "fixations", "no row with a fixation"),
    ],
)
def test_unusable_file_raises_read_error(data: str, kind: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(data, kind)


def test_column_that_is_there_twice_is_refused_only_where_it_is_needed() -> None:
    assert read(ALL.replace("LPOGY", "LPOGX")).n_rows == 5
    with pytest.raises(ReadError, match="more than once"):
        read(ALL.replace("LPOGX", "BPOGX"))


def test_declared_name_finds_the_column_with_its_own_capitals() -> None:
    columns = {"x_px": "bpogx", "y_px": "BPOGY"}
    data = ALL.replace("LPOGX", "bpogx")
    assert read(data, columns=columns).columns["x_px"][0] == 0.31
