# SPDX-License-Identifier: Apache-2.0
"""Delimited text and Parquet as labs have them: no header, dates, decimal commas, two eyes, validity, channels."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from gazeray.gaze.readers.delimited import parse
from tests.gaze.tiny_dataset import GAZE, SAMPLES, declared

COLUMNS = SAMPLES["columns"]
EYES = {
    **{"trial": "trial", "timestamp_ms": "t"},
    **{"x_left_px": "xl", "y_left_px": "yl", "x_right_px": "xr", "y_right_px": "yr"},
}
TWO = "trial,t,xl,yl,xr,yr,vl,vr\n1,0,10,20,30,40,0,4\n1,1,,20,30,40,0,0\n1,2,12,22,32,42,4,0\n1,3,,,,,4,4\n"


def read(
    data: str | bytes, source: str = "gaze/P1.csv", fixed: dict[str, str] | None = None, **changes: Any
) -> GazeTable:
    spec = declared(samples={**SAMPLES, **changes}).samples
    assert spec is not None
    data = data.encode() if isinstance(data, str) else data
    return READERS[spec.reader].read(GazeFile(data, source, spec, {"participant": "P1"} if fixed is None else fixed))


def as_parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def fault(data: str | bytes, **changes: Any) -> str:
    with pytest.raises(ReadError) as caught:
        read(data, **changes)
    return caught.value.reason


def same(table: GazeTable, other: GazeTable) -> bool:
    names = ("timestamp_ms", "x_px", "y_px")
    alike = all(np.array_equal(table.columns[name], other.columns[name], equal_nan=True) for name in names)
    return alike and table.ids == other.ids and table.codes.tolist() == other.codes.tolist() and not table.rejects


# -- how the text is written


@pytest.mark.parametrize("word", ["n/a", "N/A", "NA", "nan", "."])
def test_words_for_no_value_are_parsed_at_once(word: str) -> None:
    data = GAZE.replace("210,110", f"{word},{word}")
    table = read(data)
    assert np.isnan(table.columns["x_px"][1])
    assert not table.rejects
    kinds = {"x": pa.float64()}
    assert parse(data.encode(), "x", ",", ["trial", "t", "x", "y"], 1, kinds)[0]["x"].type == pa.float64()


@pytest.mark.parametrize(
    ("data", "changes"),
    [
        pytest.param(GAZE.split("\n", 1)[1], {"names": ["trial", "t", "x", "y"]}, id="no_header"),
        pytest.param("made by me\nat home\n" + GAZE, {"skip_lines": 2}, id="lines_to_skip"),
        pytest.param("made by me\n# a\n\n# b\n" + GAZE, {"skip_lines": 1}, id="lines_to_skip_then_#"),
        pytest.param("#\n" + GAZE.split("\n", 1)[1], {"names": ["trial", "t", "x", "y"]}, id="#_and_no_header"),
        pytest.param(
            GAZE.replace(",", ";").replace("10;2", "10,0;2"), {"delimiter": ";", "decimal": ","}, id="decimal_comma"
        ),
        pytest.param(
            '"trial","t","x","y"\n"1","0","200","100"\n"1","10,0","210","110"\n"2","0","300","120"\n'
            '"2","10","310","130"\n',
            {"decimal": ","},
            id="quoted_decimal_comma",
        ),
        pytest.param(GAZE.replace("trial", "zähler").encode("cp1252"), {"encoding": "cp1252"}, id="cp1252"),
        pytest.param(GAZE.encode("utf-16-le"), {"encoding": "utf-16-le"}, id="utf_16_without_mark"),
        pytest.param(GAZE.encode("utf-16"), {"encoding": "latin-1"}, id="utf_16_mark_wins"),
        pytest.param(GAZE.encode("utf-8-sig"), {"encoding": "latin-1"}, id="utf_8_mark_wins"),
        pytest.param(GAZE.replace(",", "|"), {"delimiter": "|"}, id="bars"),
        pytest.param(GAZE.replace(",", " "), {"delimiter": " "}, id="spaces"),
    ],
)
def test_the_same_gaze_however_it_is_written(data: str | bytes, changes: dict[str, Any]) -> None:
    columns = {**COLUMNS, "trial": "zähler"} if "cp1252" in changes.values() else COLUMNS
    assert same(read(data, columns=columns, **changes), read(GAZE))


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        pytest.param("0,662.3,669.3,1\n3,660.3,670.1,1\n", {}, "as `names`", id="no_header"),
        pytest.param(
            "0,662.3,669.3,1\n3,660.3,670.1,1\n",
            {"columns": {"timestamp_ms": "0", "x_px": "662.3", "y_px": "669.3", "trial": "1"}},
            "as `names`",
            id="first_row_as_header",
        ),
        pytest.param(
            "a,0,662.3,669.3\na,3,660.3,670.1\n",
            {"columns": {"timestamp_ms": "0", "x_px": "662.3", "y_px": "669.3", "trial": "a"}},
            "as `names`",
            id="first_row_with_a_word_as_header",
        ),
        pytest.param("0,,NaN,1\n3,660.3,670.1,1\n", {}, "as `names`", id="lost_in_the_first_row"),
        pytest.param(GAZE.replace(",", ";"), {}, "declare delimiter: ';'", id="semicolons"),
        pytest.param(GAZE, {"delimiter": "\t"}, "declare delimiter: ','", id="commas"),
        pytest.param(
            GAZE.split("\n", 1)[1].replace(",", "\t"),
            {"names": ["trial", "t", "x", "y"]},
            "1 fields instead of 4; declare delimiter: '\\t'",
            id="no_header_and_tabs",
        ),
        pytest.param(
            GAZE.split("\n", 1)[1],
            {"names": ["trial", "t", "x", "y", "z"]},
            "the first has 4 fields instead of 5",
            id="one_name_too_many",
        ),
        pytest.param("trial;t;x;y\n1;0;1,5;2,5\n", {"delimiter": ";"}, "declare decimal: ','", id="decimal_comma"),
        pytest.param(
            "trial;t;x;y\n1;0;1.5;2.5\n", {"delimiter": ";", "decimal": ","}, "a decimal point", id="decimal_point"
        ),
        pytest.param(GAZE.replace("x", "ä").encode("latin-1"), {}, "declare its encoding", id="latin_1"),
        pytest.param(GAZE, {"encoding": "utf-16"}, "declare another encoding", id="not_utf_16"),
        pytest.param(GAZE.encode("utf-16-le"), {}, "encoding: utf-16-le", id="utf_16_without_mark"),
        pytest.param("trial,t,x,y\n1,2024-05-01T10:00:00,5,5\n", {}, "units: {timestamp_ms: iso}", id="date"),
        pytest.param("trial,t,x,y\n1,10:00:00.5,5,5\n", {}, "units: {timestamp_ms: iso}", id="time_of_day"),
        pytest.param(b"\0" * 500, {}, "zero bytes", id="zero_bytes"),
        pytest.param(b"PK\x03\x04" + b"\0" * 99, {}, "an Excel workbook or a zip archive, no text", id="xlsx"),
        pytest.param(b"\xd0\xcf\x11\xe0" + b"\0" * 99, {}, "an Excel workbook, no text", id="xls"),
        pytest.param(as_parquet(t=[1]), {}, "Parquet, no text", id="parquet"),
        pytest.param("a\n", {"skip_lines": 5}, "the file is empty", id="nothing_behind_the_lines_to_skip"),
    ],
)
def test_setting_that_is_wrong_for_a_file_is_told(data: str | bytes, changes: dict[str, Any], words: str) -> None:
    assert words in fault(data, **changes)


def test_columns_may_be_called_by_their_number() -> None:
    columns = {"trial": "0", "timestamp_ms": "1", "x_px": "2", "y_px": "3"}
    assert same(read("0,1,2,3\n" + GAZE.split("\n", 1)[1], columns=columns), read(GAZE))


def test_thousands_are_no_decimals() -> None:
    table = read("trial;t;x;y\n1;0;1.234,5;1\n1;1;2,5;1\n1;2;3,5;1\n", delimiter=";", decimal=",")
    assert table.columns["x_px"].tolist() == [2.5, 3.5]
    assert [reject.row for reject in table.rejects] == [1]


# -- times


@pytest.mark.parametrize(
    ("cells", "ms"),
    [
        (["2024-05-01T10:00:00.000", "2024-05-01T10:00:00.004"], 1714557600000.0),
        (["2024-05-01 10:00:00", "2024-05-01 10:00:00.004"], 1714557600000.0),
        (["2024-05-01T12:00:00+02:00", "2024-05-01T12:00:00.004+02:00"], 1714557600000.0),
        (["10:00:00", "10:00:00.004"], 36000000.0),
        (["9:59:59", "9:59:59,004"], 35999000.0),
    ],
)
def test_dates_and_times_of_day(cells: list[str], ms: float) -> None:
    rows = "".join(f'1,"{cell}",5,5\n' for cell in cells)
    table = read("trial,t,x,y\n" + rows, units={"timestamp_ms": "iso"})
    assert table.columns["timestamp_ms"].tolist() == [ms, ms + 4]
    assert not table.rejects


@pytest.mark.parametrize("cells", [["1000", "1004"], ["17.5", "18.5"]])
def test_number_is_no_year(cells: list[str]) -> None:
    rows = "".join(f"1,{cell},5,5\n" for cell in cells)
    assert "units: {timestamp_ms: iso} is declared" in fault("trial,t,x,y\n" + rows, units={"timestamp_ms": "iso"})


def test_row_without_a_date_is_rejected() -> None:
    table = read("trial,t,x,y\n1,,5,5\n1,10:00:00,5,5\n1,9:59:60,5,5\n", units={"timestamp_ms": "iso"})
    assert table.rows.tolist() == [2]
    assert {reject.row: reject.reason for reject in table.rejects} == {
        1: "column t: '' is not a time",
        3: "column t: '9:59:60' is no date or time of day",
    }


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_time_stamps_of_arrow(unit: Any) -> None:
    stamps = pa.array([1714557600, 1714557601], pa.timestamp("s")).cast(pa.timestamp(unit))
    data = as_parquet(trial=["1", "1"], t=stamps, x=[1.0, 2.0], y=[1.0, 2.0])
    table = read(data, reader="parquet", units={"timestamp_ms": "iso"})
    assert table.columns["timestamp_ms"].tolist() == [1714557600000.0, 1714557601000.0]
    assert "iso" in fault(data, reader="parquet")


def test_times_of_day_of_arrow_and_none() -> None:
    times = pa.array([1000, None, 3000], pa.time32("ms"))
    data = as_parquet(trial=["1"] * 3, t=times, x=[1.0] * 3, y=[1.0] * 3)
    table = read(data, reader="parquet", units={"timestamp_ms": "iso"})
    assert table.columns["timestamp_ms"].tolist() == [1000, 3000]
    assert [reject.row for reject in table.rejects] == [2]


def test_numbers_are_no_dates() -> None:
    data = as_parquet(trial=["1"], t=[2024], x=[1.0], y=[1.0])
    assert "not dates" in fault(data, reader="parquet", units={"timestamp_ms": "iso"})


RATE = {name: own for name, own in COLUMNS.items() if name != "timestamp_ms"}


def test_rate_in_the_place_of_times_counts_rejected_rows() -> None:
    table = read("trial,x,y\n1,5,5\n1,6\n1,oops,7\n2,8,8\n", columns=RATE, sampling_hz=250)
    assert table.columns["timestamp_ms"].tolist() == [0, 12]
    assert table.rows.tolist() == [1, 4]


def test_rate_counts_within_each_person() -> None:
    rows = ["A,1,1,1", "A,1,1", "A,1,2,2", "B,1,3,3", "A,1,4,4", "B,1,5,5", "B,1", "B,1,6,6"]
    path, columns = "all.csv", {**RATE, "participant": "who"}
    table = read("who,trial,x,y\n" + "\n".join(rows) + "\n", path, {}, path=path, columns=columns, sampling_hz=100)
    assert table.columns["x_px"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table.columns["timestamp_ms"].tolist() == [0, 20, 0, 30, 10, 30]


def test_rate_of_parquet() -> None:
    data = as_parquet(trial=["1", "1"], x=[1, 2], y=[1, 2])
    assert read(data, reader="parquet", columns=RATE, sampling_hz=50).columns["timestamp_ms"].tolist() == [0, 20]


# -- eyes, validity, channels


@pytest.mark.parametrize(
    ("eye", "x"),
    [
        ("best", [30, 30, 32, np.nan]),
        ("left", [10, np.nan, 12, np.nan]),
        ("right", [30, 30, 32, np.nan]),
        ("mean", [20, 30, 22, np.nan]),
    ],
)
def test_one_gaze_of_two_eyes(eye: str, x: list[float]) -> None:
    table = read(TWO, columns=EYES, eye=eye)
    np.testing.assert_array_equal(table.columns["x_px"], x)
    assert set(table.columns) == {"timestamp_ms", "x_px", "y_px"}
    assert len(table.notes) == 1


@pytest.mark.parametrize("valid", [[0], ["0"], [0.0], ["0.0"]])
def test_eyes_that_are_not_valid_are_lost(valid: list[Any]) -> None:
    columns = {**EYES, "validity_left": "vl", "validity_right": "vr"}
    table = read(TWO, columns=columns, eye="mean", valid=valid)
    np.testing.assert_array_equal(table.columns["x_px"], [10, 30, 32, np.nan])
    np.testing.assert_array_equal(table.columns["y_px"], [20, 40, 42, np.nan])
    assert table.units == {}


def test_bad_cell_of_an_eye_costs_its_row() -> None:
    table = read(TWO.replace("32,42", "32,oops"), columns=EYES, eye="left")
    assert table.rows.tolist() == [1, 2, 4]
    assert "column yr: 'oops'" in table.rejects[0].reason


def test_columns_of_one_eye_say_which_it_is() -> None:
    left = {name: own for name, own in EYES.items() if "right" not in name}
    assert read(TWO, columns=left).eye == "left"
    assert fault(TWO, columns=left, eye="right") == "no right eye in the file (there: left)"


def test_gaze_that_is_not_valid_is_lost() -> None:
    data = "trial,t,x,y,ok\n1,0,1,1,valid\n1,1,2,2,Invalid\n1,2,3,3,\n1,3,4,4,valid\n"
    table = read(data, columns={**COLUMNS, "validity": "ok"}, valid=["valid"])
    np.testing.assert_array_equal(table.columns["x_px"], [1, np.nan, np.nan, 4])
    np.testing.assert_array_equal(table.columns["y_px"], [1, np.nan, np.nan, 4])
    unknown = read(data, columns={**COLUMNS, "validity": "ok"}, valid=["yes"])
    assert unknown.notes == ["no row holds a word of `valid`: column ok"]


def test_validity_of_parquet_may_be_true_and_false() -> None:
    data = as_parquet(trial=["1", "1"], t=[0, 1], x=[1, 2], y=[1, 2], ok=[True, False])
    table = read(data, reader="parquet", columns={**COLUMNS, "validity": "ok"}, valid=[1])
    np.testing.assert_array_equal(table.columns["x_px"], [1, np.nan])


def test_declared_channels_come_along() -> None:
    data = "trial;t;x;y;p;ok\n1;0;1;1;3,5;1\n1;1;2;2;-1;1\n1;2;3;3;lost;1\n1;3;4;4;4,5;0\n1;4;5;5;;1\n"
    pupil = {"column": "p", "unit": "mm", "validity": "ok", "missing": [-1]}
    table = read(data, delimiter=";", decimal=",", channels={"pupil": pupil, "flag": {"column": "ok"}})
    np.testing.assert_array_equal(table.columns["pupil"], [3.5, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(table.columns["flag"], [1, 1, 1, 0, 1])
    assert table.units == {"pupil": "mm", "flag": ""}
    assert table.rejects == []
    assert "no column 'q'" in fault(data, delimiter=";", channels={"pupil": {"column": "q"}})


def test_channel_without_a_value_is_told() -> None:
    table = read("trial,t,x,y,p\n1,0,1,1,1e300\n", channels={"pupil": {"column": "p"}})
    assert np.isnan(table.columns["pupil"]).all()
    assert table.notes == ["no value in a channel: pupil"]


# -- names


def test_several_columns_name_a_trial() -> None:
    data = "block,trial,t,x,y\n1,01,0,1,1\n1,02,0,2,2\n2,01,0,3,3\n,01,0,4,4\n2,01,1,5,5\n"
    columns = {**COLUMNS, "trial": ["block", "trial"]}
    spec = declared(
        samples={**SAMPLES, "columns": columns},
        trials={"path": "trials.csv", "columns": {"trial": ["block", "trial"]}},
    ).samples
    assert spec is not None
    table = READERS["delimited"].read(GazeFile(data.encode(), "P1.csv", spec, {"participant": "P1"}))
    assert [table.ids[code][1] for code in table.codes] == ["1/1", "1/2", "2/1", "2/1"]
    assert [reject.reason for reject in table.rejects] == ["1 rows have no trial, this is the first"]


@pytest.mark.parametrize("name", ["9" * 5000, "x" * 1001, "a\x07b"])
def test_name_that_nobody_can_use_costs_its_rows(name: str) -> None:
    table = read(f"trial,t,x,y\n1,0,1,1\n{name},1,2,2\n{name},2,2,2\n1,3,3,3\n")
    assert table.rows.tolist() == [1, 4]
    assert table.ids == [("P1", "1")]
    assert [reject.row for reject in table.rejects] == [2]
    assert table.rejects[0].reason.startswith("2 rows have no usable trial, this is the first: ")
    assert len(table.rejects[0].reason) < 150


def test_byte_that_is_not_utf_8_in_parquet_costs_its_row() -> None:
    names = pa.array([b"1", b"\xff", b"1"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, names.buffers())
    for trial in (names, text, text.dictionary_encode()):  # Arrow checks the encoding of none of them
        table = read(as_parquet(trial=trial, t=[0, 1, 2], x=[1, 2, 3], y=[1, 2, 3]), reader="parquet")
        assert table.rows.tolist() == [1, 3]
        assert "not UTF-8" in table.rejects[0].reason


def test_numbers_of_parquet_may_be_decimal_or_dictionary() -> None:
    x = pa.array([Decimal("1.50"), Decimal("2.50")])
    y = pa.array(["1.5", "2.5"]).dictionary_encode()
    data = as_parquet(trial=pa.array([1, 1]).dictionary_encode(), t=[0, 1], x=x, y=y)
    table = read(data, reader="parquet")
    assert table.columns["x_px"].tolist() == table.columns["y_px"].tolist() == [1.5, 2.5]
    assert table.ids == [("P1", "1")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trial": [[1], [2]]}, "column 'trial' has the type list"),
        ({"trial": [{"a": 1}, {"a": 2}]}, "column 'trial' has the type struct"),
        ({"x": [[1.0], [2.0]]}, "column 'x' has the type list"),
        ({"x": [b"1", b"2"]}, "column 'x' has the type binary"),
        ({"x": [True, False]}, "column 'x' has the type bool"),
        ({"t": [1e300, 1e300]}, ""),
    ],
)
def test_columns_of_other_types_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    data = as_parquet(**{"trial": ["1", "1"], "t": [0, 1], "x": [1.0, 2.0], "y": [1.0, 2.0], **changes})
    if words:
        assert words in fault(data, reader="parquet")
        return
    table = read(data, reader="parquet")
    assert table.rows.tolist() == []
    assert [reject.row for reject in table.rejects] == [1, 2]


def test_numbers_that_overflow_cost_their_row() -> None:
    data = as_parquet(trial=["1"] * 3, t=[0, 1, 2], x=[1e300, 1.0, np.inf], y=[1.0, 1.0, 1.0])
    table = read(data, reader="parquet")
    assert table.rows.tolist() == [2]
    assert [reject.row for reject in table.rejects] == [1, 3]


def test_numbers_that_parquet_keeps_as_text_with_a_decimal_comma() -> None:
    data = as_parquet(trial=["1", "1"], t=["0,0", "4,0"], x=["1,5", "2,5"], y=["1", "2"])
    assert read(data, reader="parquet", decimal=",").columns["x_px"].tolist() == [1.5, 2.5]
    assert "declare decimal: ','" in fault(data, reader="parquet")
