# SPDX-License-Identifier: Apache-2.0
"""The Gazepoint reader on small files written as its documentation describes them."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.gazepoint  # noqa: F401
from gazeray.gaze.mending import cut_to_windows
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


SHOWN_TWICE = "\n".join(
    [
        "MEDIA_ID,MEDIA_NAME,CNT,TIME(2024/05/17 10:11:12),TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,FPOGID,FPOGV,",
        "12,a,0,0.00000,100000000,0.10,0.5,0.00000,0.00000,1,1,",
        "12,a,1,0.20000,102000000,0.10,0.5,0.00000,0.20000,1,1,",
        "13,b,0,0.00000,150000000,0.20,0.5,0.00000,0.00000,1,1,",
        "13,b,1,0.30000,153000000,0.20,0.5,0.00000,0.30000,1,1,",
        "14,b,0,0.00000,250000000,0.30,0.5,0.00000,0.00000,1,1,",
        "14,b,1,0.40000,254000000,0.30,0.5,0.00000,0.40000,1,1,",
    ]
)


@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_medium_shown_twice_is_two_presentations_on_one_clock(kind: str) -> None:
    table = read(SHOWN_TWICE, kind)
    assert table.ids == [("P1", "a"), ("P1", "b"), ("P1", "b")]
    if kind == "samples":
        assert table.codes.tolist() == [0, 0, 1, 1, 2, 2]
        np.testing.assert_allclose(table.columns["timestamp_ms"], [0, 200, 0, 300, 10_000, 10_400])
    else:
        assert table.codes.tolist() == [0, 1, 2]
        np.testing.assert_allclose(table.columns["onset_ms"], [0, 0, 10_000])
        np.testing.assert_allclose(table.columns["duration_ms"], [200, 300, 400])
        np.testing.assert_allclose(table.columns["x_px"], [0.1, 0.2, 0.3])
        assert table.windows is not None
        np.testing.assert_allclose(table.windows, np.array([[0, np.inf], [0, np.inf], [10_000, np.inf]]))


@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_same_medium_shown_again_is_seen_by_the_clock(kind: str) -> None:
    again = SHOWN_TWICE.replace("14,b", "13,b")
    assert read(again, kind).ids == [("P1", "a"), ("P1", "b"), ("P1", "b")]
    without = again.replace("TIMETICK(", "OTHER(")
    assert read(without, kind).ids == [("P1", "a"), ("P1", "b"), ("P1", "b")]


def test_fixation_of_the_same_number_and_medium_is_another_where_the_tick_has_jumped() -> None:
    lines = SHOWN_TWICE.replace("14,b", "13,b").splitlines()
    table = read("\n".join([lines[0], lines[4], lines[6]]), "fixations")  # one row each: TIME 0.3 and 0.4
    np.testing.assert_allclose(table.columns["duration_ms"], [300, 400])
    assert table.ids == [("P1", "b"), ("P1", "b")]


@pytest.mark.parametrize("column", ["MEDIA_ID", "TIME(2024/05/17 10:11:12)", "TIMETICK(f=10000000)"])
@pytest.mark.parametrize("cell", ["", "x", "-5"])
def test_wrong_cell_costs_its_row_not_the_presentation(column: str, cell: str) -> None:
    head, *rows = SHOWN_TWICE.splitlines()
    more = [f"14,b,{n},{n / 10:.5f},{250_000_000 + n * 1_000_000},0.3,0.5,0.0,{n / 10:.5f},1,1," for n in range(5, 10)]
    cells = more[2].split(",")
    cells[head.split(",").index(column)] = cell
    for kind in ("samples", "fixations"):
        table = read("\n".join([head, *rows, *more[:2], ",".join(cells), *more[3:]]), kind)
        used = [table.ids[code] for code in dict.fromkeys(table.codes.tolist())]
        assert used == [("P1", "a"), ("P1", "b"), ("P1", "b")]
        assert kind == "fixations" or len(table.rows) + len(table.rejects) == 11


def test_several_columns_name_a_trial_together() -> None:
    section = {"reader": "gazepoint", "path": "{participant}.csv", "columns": {"trial": ["MEDIA_NAME", "MEDIA_ID"]}}
    table_of_trials = {"path": "trials.csv", "columns": {"participant": "participant", "trial": ["name", "nr"]}}
    spec = declared(samples=section, trials=table_of_trials).samples
    assert spec is not None
    table = READERS["gazepoint"].read(GazeFile(SHOWN_TWICE.encode(), "P1.csv", spec, {"participant": "P1"}))
    assert table.ids == [("P1", "a/12"), ("P1", "b/13"), ("P1", "b/14")]
    np.testing.assert_allclose(table.columns["timestamp_ms"], [0, 200, 0, 300, 0, 400])


def test_rows_out_of_order_are_no_new_presentation() -> None:
    lines = SHOWN_TWICE.splitlines()
    assert read("\n".join([lines[0], lines[2], lines[1]])).ids == [("P1", "a")]


def test_fixation_that_outlasts_a_medium_while_time_goes_on_is_cut_to_each() -> None:
    head = SHOWN_TWICE.splitlines()[0]
    rows = [f"{12 + (n > 2)},{'ab'[n > 2]},{n},{n / 10},{n}000000,0.5,0.5,0,{n / 10},1,1," for n in range(6)]
    table = cut_to_windows(read("\n".join([head, *rows]), "fixations"))
    assert [table.ids[code] for code in table.codes] == [("P1", "a"), ("P1", "b")]
    np.testing.assert_allclose(table.columns["onset_ms"], [0, 300])
    np.testing.assert_allclose(table.columns["duration_ms"], [200, 200])
    assert table.notes == ["fixations cut at the edge of a trial: 1 of 2"]


def logged(*messages: tuple[int, str], restart: int = 0) -> str:
    """A log as PyGaze writes it: 10 rows a second from 10 s on, one fixation of 1 s after the other; TIME begins anew
    at the row `restart`."""
    said, rows = dict(messages), []
    for n_row in range(40):
        time = 10 + n_row / 10 if n_row < restart or not restart else (n_row - restart) / 10
        zero = 10 + n_row // 10 if n_row < restart or not restart else max(0, (n_row // 10 * 10 - restart) / 10)
        cells: list[float | str] = [
            n_row,
            time,
            100_000_000 + n_row * 1_000_000,
            0.5,
            0.5,
            zero,
            time - zero,
            n_row // 10,
            1,
        ]
        cells += [0.5, 0.5, 1, 0.0031, 1, 0.0, 1, 15, n_row % 2, 1200, n_row % 2, 70, 0, 0.25, 1, said.get(n_row, "0")]
        rows.append("\t".join(map(str, cells)))
    names = "CNT TIME TIME_TICK FPOGX FPOGY FPOGS FPOGD FPOGID FPOGV BPOGX BPOGY BPOGV LPUPILD LPUPILV RPUPILD RPUPILV"
    names += " LPD LPV GSR GSRV HR HRV DIAL DIALV USER"
    return "\n".join(["\t".join(names.split()), *rows])


BRACKETS = {"start": r"START (?P<trial>\w+)", "end": "END"}
LOG = logged((5, "START a"), (15, "END"), (22, "START b"), (23, "START b"), (34, "END"))


def test_messages_in_the_column_user_bracket_samples() -> None:
    table = read(LOG, messages=BRACKETS)
    assert table.ids == [("P1", "a"), ("P1", "b")]
    assert table.rows.tolist() == [*range(6, 16), *range(23, 35)]
    assert [reject.reason for reject in table.rejects] == ["18 samples lie outside any trial, this is the first"]


def test_messages_cut_fixations_to_the_trial() -> None:
    table = cut_to_windows(read(LOG, "fixations", messages=BRACKETS))
    assert trials(table) == ["a", "a", "b", "b"]
    np.testing.assert_allclose(table.columns["onset_ms"], [10_500, 11_000, 12_200, 13_000])
    np.testing.assert_allclose(table.columns["duration_ms"], [400, 500, 700, 400])


def test_messages_cut_the_trial_that_the_path_names() -> None:
    fixed = {"participant": "P1", "trial": "7"}
    table = read(LOG, fixed=fixed, path="{participant}_{trial}.tsv", messages={"start": "START a", "end": "END"})
    assert (table.ids, table.rows.tolist()) == ([("P1", "7")], [*range(6, 16)])


def test_trial_begun_twice_is_two_presentations() -> None:
    log = logged((5, "START a"), (15, "END"), (22, "START a"), (34, "END"))
    assert read(log, messages=BRACKETS).ids == [("P1", "a"), ("P1", "a")]


def test_time_begun_anew_between_messages_goes_on_by_the_tick() -> None:
    log = logged((5, "START a"), (15, "END"), (22, "START b"), (34, "END"), restart=20)
    table = read(log, messages=BRACKETS)
    np.testing.assert_allclose(np.diff(table.columns["timestamp_ms"][10:]), 100)
    assert table.columns["timestamp_ms"][10] == pytest.approx(12_200)
    fixations = cut_to_windows(read(log, "fixations", messages=BRACKETS))
    np.testing.assert_allclose(fixations.columns["onset_ms"], [10_500, 11_000, 12_200, 13_000])
    with pytest.raises(ReadError, match="no TIMETICK to place messages by: row 21"):
        read(log.replace("TIME_TICK", "OTHER"), "fixations", messages=BRACKETS)


def test_log_without_media_says_how_to_declare_messages() -> None:
    with pytest.raises(ReadError, match=r"declare what brackets them in the column USER, as messages: \{start"):
        read(LOG)
    with pytest.raises(ReadError, match=r"messages\.file"):
        read(LOG.replace("USER", "OTHER"))
    with pytest.raises(ReadError, match="none of the 7 messages"):
        read(logged((5, "x"), (7, "y"), (9, "x")), messages=BRACKETS)


def test_messages_of_a_table_of_fixations_are_refused() -> None:
    lines = LOG.splitlines()
    with pytest.raises(ReadError, match="one row per fixation has no room for messages"):
        read("\n".join([lines[0], lines[10], lines[20]]), "fixations", messages=BRACKETS)


def test_channels_come_in_their_units_and_are_lost_where_not_valid() -> None:
    table = read(LOG, messages=BRACKETS, channels={"count": {"column": "CNT", "unit": "1", "missing": [6]}})
    assert table.units == {"pupil_left": "mm", "gsr": "ohm", "dial": "", "count": "1"}
    np.testing.assert_allclose(table.columns["pupil_left"], 3.1)
    np.testing.assert_array_equal(table.columns["gsr"][:3], [1200, np.nan, 1200])
    np.testing.assert_array_equal(table.columns["count"][:3], [5, np.nan, 7])
    newer = LOG.replace("LPUPILD", "LPMM").replace("LPUPILV", "LPMMV").replace("GSR\t", "GSR_US\t")
    table = read(newer.replace("0.0031", "3.25"), messages=BRACKETS)
    assert (table.units["gsr"], table.columns["pupil_left"][0]) == ("uS", 3.25)
    np.testing.assert_allclose(read(LOG.replace("0.0031", "3.1"), messages=BRACKETS).columns["pupil_left"], 3.1)
    older = LOG.replace("LPUPILD", "A").replace("LPUPILV", "B")
    table = read(older, messages=BRACKETS)
    assert table.units["pupil_left"] == "px"
    np.testing.assert_array_equal(table.columns["pupil_left"][:2], [15, np.nan])


def test_heart_rate_comes_in_bpm_and_is_lost_where_it_is_not_valid() -> None:
    header = "MEDIA_ID,MEDIA_NAME,CNT,TIME,BPOGX,BPOGY,BPOGV,GSR,GSRV,HR,HRV,\n"
    rows = [f"0,page,{row},{row / 60:.5f},0.4,0.5,1,1500,1,{70 + row},{int(row != 2)},\n" for row in range(4)]
    table = read(header + "".join(rows))
    assert (table.units["heart_rate"], table.units["gsr"]) == ("bpm", "ohm")
    np.testing.assert_array_equal(table.columns["heart_rate"], [70, 71, np.nan, 73])
    np.testing.assert_array_equal(table.columns["gsr"], [1500] * 4)


def test_one_eye_of_fixations_is_refused() -> None:
    with pytest.raises(ReadError, match="no fixations of the left eye"):
        read(ALL, "fixations", eye="left")


@pytest.mark.parametrize("ends", ["header", "rows", "neither"])
def test_header_and_rows_may_end_differently(ends: str) -> None:
    head, *rows = ALL.splitlines()
    data = [head if ends == "header" else head[:-1], *(row if ends == "rows" else row[:-1] for row in rows)]
    np.testing.assert_array_equal(read("\n".join(data)).columns["x_px"], read(ALL).columns["x_px"])
