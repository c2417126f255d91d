# SPDX-License-Identifier: Apache-2.0
"""The readers: delimited text and Parquet, clean and broken."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.gaze.readers import READERS, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.base import GazeFile
from gazeray.gaze.readers.cells import MISSING_CELLS, REJECTS_PER_FAULT
from tests.gaze.tiny_dataset import FIXATIONS, GAZE, SAMPLES, declared, zipped

FIXED = {"participant": "P1"}


def read(data: str | bytes, source: str = "gaze/P1.csv", reader: str = "delimited", **changes: Any) -> GazeTable:
    spec = declared(samples={**SAMPLES, **changes}).samples
    assert spec is not None
    return READERS[reader].read(GazeFile(data.encode() if isinstance(data, str) else data, source, spec, FIXED))


def trials_of(table: GazeTable) -> list[str]:
    return [table.ids[code][1] for code in table.codes]


def as_parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_clean_file_comes_out_as_it_is() -> None:
    table = read(GAZE)
    assert trials_of(table) == ["1", "1", "2", "2"]
    assert {pair[0] for pair in table.ids} == {"P1"}
    assert table.columns["timestamp_ms"].tolist() == [0, 10, 0, 10]
    assert table.columns["x_px"].tolist() == [200, 210, 300, 310]
    assert table.columns["y_px"].tolist() == [100, 110, 120, 130]
    assert table.rows.tolist() == [1, 2, 3, 4]
    assert table.n_rows == 4
    assert table.rejects == []


@pytest.mark.parametrize(
    ("data", "source"),
    [
        pytest.param(GAZE.replace("\n", "\r\n"), "a.csv", id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + GAZE.encode(), "a.csv", id="byte_order_mark"),
        pytest.param(zipped(GAZE), "a.csv.gz", id="gzip"),
        pytest.param(zipped(GAZE), "a.csv", id="gzip_without_its_suffix"),
        pytest.param(GAZE, "a.csv.gz", id="plain_with_the_suffix_of_gzip"),
        pytest.param(GAZE.replace(",", "\t"), "a.tsv", id="tsv"),
        pytest.param(zipped(GAZE.replace(",", "\t")), "a.txt.gz", id="txt_gz_is_tab_separated"),
        pytest.param(GAZE.encode("utf-16"), "a.csv", id="utf_16"),
        pytest.param(b"\xfe\xff" + GAZE.encode("utf-16-be"), "a.csv", id="utf_16_big_endian"),
        pytest.param("# a,b\n\n#c\n" + GAZE, "a.csv", id="lines_of_#_before_the_header"),
        pytest.param("\n\n" + GAZE.replace("\n", "\n\n"), "a.csv", id="blank_lines"),
        pytest.param(GAZE.removesuffix("\n"), "a.csv", id="no_newline_at_the_end"),
        pytest.param(GAZE.replace(",", " , "), "a.csv", id="blanks_around_cells"),
        pytest.param(GAZE.replace("\n", "\r"), "a.csv", id="carriage_returns_alone"),
        pytest.param('"trial","t","x","y"\n' + GAZE.split("\n", 1)[1], "a.csv", id="quoted_header"),
        pytest.param(GAZE.replace("200", '"200"').replace("110\n", '"110"\n'), "a.csv", id="quoted_numbers"),
        pytest.param(GAZE.replace("210", "+2.1e2"), "a.csv", id="exponent_and_plus"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: str | bytes, source: str) -> None:
    table, plain = read(data, source), read(GAZE)
    assert trials_of(table) == trials_of(plain)
    assert table.rows.tolist() == plain.rows.tolist()
    assert table.rejects == []
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(table.columns[name], values)


def test_declared_delimiter_wins_over_the_suffix() -> None:
    assert read(GAZE.replace(",", ";"), delimiter=";").columns["x_px"].tolist() == [200, 210, 300, 310]


@pytest.mark.parametrize(("unit", "per_ms"), [("s", 1e-3), ("ms", 1), ("us", 1e3), ("ns", 1e6)])
def test_times_come_out_in_ms(unit: str, per_ms: float) -> None:
    data = f"trial,t,x,y\n1,{2000 * per_ms!r},1,1\n1,{2010.5 * per_ms!r},1,1\n"
    table = read(data, units={"timestamp_ms": unit})
    np.testing.assert_allclose(table.columns["timestamp_ms"], [2000, 2010.5], rtol=1e-12)


def test_both_times_of_fixations_are_converted() -> None:
    spec = declared(fixations={**FIXATIONS, "units": {"onset_ms": "s", "duration_ms": "us"}}).fixations
    assert spec is not None
    table = READERS["delimited"].read(GazeFile(b"trial,t,d,x,y\n1,1.5,250000,3,4\n", "f.csv", spec, FIXED))
    assert table.columns["onset_ms"].tolist() == [1500.0]
    assert table.columns["duration_ms"].tolist() == [250.0]


@pytest.mark.parametrize("cell", MISSING_CELLS)
def test_missing_coordinate_is_lost_not_rejected(cell: str) -> None:
    table = read(f"trial,t,x,y\n1,0,{cell},5\n1,10,6,7\n")
    assert np.isnan(table.columns["x_px"]).tolist() == [True, False]
    assert table.columns["y_px"].tolist() == [5, 7]
    assert table.rejects == []


@pytest.mark.parametrize("cell", MISSING_CELLS)
def test_row_without_a_time_is_rejected(cell: str) -> None:
    table = read(f"trial,t,x,y\n1,0,5,5\n1,{cell},6,7\n1,20,8,9\n")
    assert table.rows.tolist() == [1, 3]
    assert [(reject.row, reject.trial) for reject in table.rejects] == [(2, "1")]
    assert "column t" in table.rejects[0].reason


def test_declared_missing_values_are_lost_in_coordinates_only() -> None:
    table = read("trial,t,x,y\n1,-1,-1,5\n1,10,6,-9999.0\n", missing=[-1, -9999])
    assert table.columns["timestamp_ms"].tolist() == [-1, 10]
    assert np.isnan(table.columns["x_px"]).tolist() == [True, False]
    assert np.isnan(table.columns["y_px"]).tolist() == [False, True]


@pytest.mark.parametrize(
    "cell", ["abc", "1,5", "0x10", "1_000", "1e400", "inf", "-inf", "--1", "1.2.3", "\x00", "1e300", "-1e16"]
)
def test_non_numeric_cell_rejects_its_row_alone(cell: str) -> None:
    table = read(f'trial,t,x,y\n1,0,1,2\n1,10,"{cell}",4\n1,20,5,6\n')
    assert table.rows.tolist() == [1, 3]
    assert table.columns["x_px"].tolist() == [1, 5]
    assert [(reject.source, reject.row, reject.participant, reject.trial) for reject in table.rejects] == [
        ("gaze/P1.csv", 2, "P1", "1")
    ]
    assert "column x" in table.rejects[0].reason
    assert "not a usable number" in table.rejects[0].reason


@pytest.mark.parametrize("cell", ["inf", "1e17", "now"])
def test_unusable_time_rejects_its_row(cell: str) -> None:
    table = read(f"trial,t,x,y\n1,0,1,2\n1,{cell},3,4\n")
    assert table.rows.tolist() == [1]
    assert [reject.row for reject in table.rejects] == [2]


def test_clock_in_nanoseconds_since_1970_is_no_overflow() -> None:
    table = read("trial,t,x,y\n1,1700000000000000000,1,2\n", units={"timestamp_ms": "ns"})
    assert table.columns["timestamp_ms"].tolist() == [1.7e12]


def test_reason_names_the_value_of_the_bad_cell() -> None:
    assert "'abc'" in read("trial,t,x,y\n1,0,1,2\n1,10,abc,4\n").rejects[0].reason


def test_row_with_several_bad_cells_is_rejected_once() -> None:
    table = read("trial,t,x,y\n1,a,b,c\n1,10,1,2\n")
    assert [reject.row for reject in table.rejects] == [1]
    assert "column t" in table.rejects[0].reason


def test_wrong_number_of_fields_rejects_the_row_and_keeps_row_numbers_right() -> None:
    table = read("trial,t,x,y\n1,0,1,2\n1,10,3\n\n1,20,bad,6\n1,30,7,8,9\n1,40,9,10\n")
    assert table.rows.tolist() == [1, 5]
    assert table.columns["timestamp_ms"].tolist() == [0, 40]
    assert sorted(reject.row for reject in table.rejects) == [2, 3, 4]
    assert {reject.row: reject.reason for reject in table.rejects}[2] == "3 fields instead of 4"
    assert {reject.row: reject.reason for reject in table.rejects}[4] == "5 fields instead of 4"
    assert table.n_rows == 5


def test_stray_quote_does_not_swallow_the_rows_behind_it() -> None:
    table = read('trial,t,x,y\n1,0,1,2\n1,10,"3,4\n1,20,5,6\n1,30,"7,8\n1,40,9,10\n')
    assert table.n_rows == 5
    assert table.columns["timestamp_ms"].tolist() == [0, 10, 20, 30, 40]
    assert table.columns["x_px"].tolist() == [1, 3, 5, 7, 9]


def test_many_faults_are_counted_not_listed() -> None:
    rows = "".join(f"1,{index},oops,2\n" for index in range(1000))
    table = read("trial,t,x,y\n" + rows + "1,1000,1,2\n")
    assert table.rows.tolist() == [1001]
    assert len(table.rejects) == REJECTS_PER_FAULT + 1
    assert table.rejects[-1].row == REJECTS_PER_FAULT + 1
    assert f"{1000 - REJECTS_PER_FAULT} more rows" in table.rejects[-1].reason


def test_rows_without_a_trial_are_rejected_together() -> None:
    table = read("trial,t,x,y\n,0,1,2\n1,10,3,4\n ,20,5,6\n")
    assert table.rows.tolist() == [2]
    assert [(reject.row, reject.reason) for reject in table.rejects] == [(1, "2 rows have no trial, this is the first")]


def test_trial_called_na_is_a_name() -> None:
    assert trials_of(read("trial,t,x,y\nNA,0,1,2\n01,0,1,2\n")) == ["NA", "01"]


def test_ids_come_from_columns_when_the_path_gives_none() -> None:
    columns = {**SAMPLES["columns"], "participant": "who"}
    spec = declared(samples={**SAMPLES, "path": "all.csv", "columns": columns}).samples
    assert spec is not None
    data = b"who,trial,t,x,y\nP2,1,0,1,1\nP1,1,0,2,2\nP2,2,0,3,3\nP2,1,5,4,4\n"
    table = READERS["delimited"].read(GazeFile(data, "all.csv", spec, {}))
    assert [table.ids[code] for code in table.codes] == [("P2", "1"), ("P1", "1"), ("P2", "2"), ("P2", "1")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \n\n", "empty", id="blank"),
        pytest.param(b"\xef\xbb\xbf\n", "empty", id="byte_order_mark_alone"),
        pytest.param(zipped(""), "empty", id="gzip_of_nothing"),
        pytest.param(b"trial,t,x,y\n", "without rows", id="header_without_rows"),
        pytest.param(b"trial,t,x,y", "without rows", id="header_without_newline"),
        pytest.param(b"trial,t,x,y\n\n\n", "without rows", id="header_and_blank_lines"),
        pytest.param(zipped(GAZE * 100)[:-20], "gzip", id="truncated_gzip"),
        pytest.param(zipped(GAZE)[:10] + b"\x00" * 30, "gzip", id="damaged_gzip"),
        pytest.param(zipped(GAZE)[:-8] + b"\x00" * 8, "gzip", id="gzip_with_wrong_checksum"),
        pytest.param(GAZE.encode() + b"1,20,\xff,1\n", "UTF-8", id="not_utf_8"),
        pytest.param(b"trial,t,x\n1,2,3\n", "no column 'y' (present: trial, t, x)", id="missing_column"),
        pytest.param(b"trial,t,x,y,x\n1,2,3,4,5\n", "column 'x' is there more than once", id="column_twice"),
    ],
)
def test_unusable_file_raises_read_error(data: bytes, reason: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(data, "gaze/P1.csv")
    assert reason in caught.value.reason
    assert caught.value.source == "gaze/P1.csv"
    assert str(caught.value).startswith("gaze/P1.csv: ")


def slow_read(text: str) -> tuple[list[tuple[int, str, float, float, float]], list[int]]:
    """The obvious way, row by row: the usable rows, and the numbers of the others."""
    good, bad = [], []
    records = [cells for cells in csv.reader(io.StringIO(text)) if cells]

    def number(cell: str, may_miss: bool) -> float:
        if cell.strip() in MISSING_CELLS:
            if may_miss:
                return math.nan
            raise ValueError(cell)
        value = float(cell)
        if not math.isfinite(value) or (may_miss and abs(value) > 1e15):
            raise ValueError(cell)
        return value

    for row, cells in enumerate(records[1:], start=1):
        try:
            if len(cells) != 4 or not cells[0]:
                raise ValueError(cells)
            good.append((row, cells[0], number(cells[1], False), number(cells[2], True), number(cells[3], True)))
        except ValueError:
            bad.append(row)
    return good, bad


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_reads_as_row_by_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    odd = ["", "NaN", ".", "abc", "inf", " 7 ", "1e5", "-3.25", "1,2", "+4", "-", "1e999", "nan"]
    lines = ["trial,t,x,y"]
    for index in range(400):
        cells = [str(index // 100), str(index * 8), f"{rng.normal(500, 90):.2f}", f"{rng.normal(300, 90):.2f}"]
        if rng.random() < 0.15:
            cells[rng.integers(1, 4)] = str(rng.choice(odd))
        lines.append(",".join(cells))
        if rng.random() < 0.05:
            lines.append("")
    text = "\n".join(lines) + "\n"
    good, bad = slow_read(text)
    table = read(text)
    assert table.rows.tolist() == [row[0] for row in good]
    assert trials_of(table) == [row[1] for row in good]
    for index, name in enumerate(("timestamp_ms", "x_px", "y_px"), start=2):
        np.testing.assert_allclose(table.columns[name], [float(row[index]) for row in good], rtol=1e-12)
    assert sorted(reject.row for reject in table.rejects) == bad
    assert table.n_rows == len(good) + len(bad)


def test_row_numbers_are_right_beyond_one_block_of_the_parser() -> None:
    lines = [f"{index // 50_000},{index},{index}.5,1" for index in range(200_000)]
    lines[150_000] = "3,150000,1"
    lines[190_000] = "3,190000,x,1"
    table = read("trial,t,x,y\n" + "\n".join(lines) + "\n")
    assert sorted(reject.row for reject in table.rejects) == [150_001, 190_001]
    np.testing.assert_array_equal(table.columns["timestamp_ms"], table.rows - 1)


def test_parquet_reads_the_same_as_text() -> None:
    data = as_parquet(
        trial=[1, 1, 2, 2], t=[0, 10, 0, 10], x=[200.0, 210, 300, 310], y=[100, 110, 120, 130], note=["a"] * 4
    )
    table, plain = read(data, "P1.parquet", "parquet"), read(GAZE)
    assert trials_of(table) == trials_of(plain)
    assert table.rows.tolist() == plain.rows.tolist()
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(table.columns[name], values)


def test_parquet_nulls_are_lost_and_whole_float_trials_are_ints() -> None:
    data = as_parquet(
        trial=[3.0, 3.0, None], t=[0.0, None, 2.0], x=[None, 1.0, 2.0], y=pa.array([1.0, 2.0, 3.0], pa.float32())
    )
    table = read(data, "P1.parquet", "parquet")
    assert trials_of(table) == ["3"]
    assert np.isnan(table.columns["x_px"]).tolist() == [True]
    assert sorted(reject.row for reject in table.rejects) == [2, 3]


def test_parquet_numbers_stored_as_text_are_read_cell_by_cell() -> None:
    data = as_parquet(trial=["1", "1", "1"], t=["0", "10", "x"], x=["1.5", "NA", "2"], y=[1, 2, 3])
    table = read(data, "P1.parquet", "parquet")
    assert table.rows.tolist() == [1, 2]
    np.testing.assert_array_equal(table.columns["x_px"], [1.5, math.nan])
    assert [reject.row for reject in table.rejects] == [3]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"trial,t,x,y\n", "Parquet", id="text"),
        pytest.param(as_parquet(trial=["1"], t=[0], x=[1], y=[2])[:-30], "Parquet", id="truncated"),
        pytest.param(
            as_parquet(trial=["1"], t=[0], x=[1]), "no column 'y' (present: trial, t, x)", id="missing_column"
        ),
        pytest.param(as_parquet(trial=["1"], t=[0], x=[1], y=[[2]]), "not numbers", id="lists"),
        pytest.param(as_parquet(trial=pa.array([], pa.string()), t=[], x=[], y=[]), "without rows", id="no_rows"),
    ],
)
def test_unusable_parquet_raises_read_error(data: bytes, reason: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(data, "P1.parquet", "parquet")
    assert reason in caught.value.reason


def test_reader_name_can_be_taken_once() -> None:
    with pytest.raises(ValueError, match="delimited"):
        register_reader("delimited")(READERS["parquet"].read)
