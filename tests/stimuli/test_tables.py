# SPDX-License-Identifier: Apache-2.0
"""Tables of fixations on pictures: names, numbers, rows at fault."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.tables import DataError
from tests.stimuli.tiny_pictures import CSV, TABLE, jpegs, opened, reasons

AB = jpegs("a.jpg", "b.jpg")
NUMERIC = {"columns": {**TABLE["columns"], "stimulus": "image"}}


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_rows_come_out_by_picture_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = opened(tmp_path, {**AB, "fixations.csv": CSV})
    assert [picture.stimulus for picture in found.pictures] == ["a", "b"]
    assert found.observers == ["1", "2", "10"]
    assert found.gaze["a"].x_px.tolist() == [1.5, 5.25]
    assert found.gaze["a"].y_px.tolist() == [2.5, 6.0]
    assert found.gaze["a"].observer.tolist() == [1, 0]
    assert found.gaze["b"].observer.tolist() == [2]


@pytest.mark.parametrize(
    ("name", "data", "declared"),
    [
        pytest.param("fixations.csv.gz", gzip.compress(CSV.encode()), {}, id="gzip"),
        pytest.param("fixations.tsv", CSV.replace(",", "\t"), {"path": "fixations.tsv"}, id="tabs"),
        pytest.param("fixations.csv", CSV.replace(",", ";"), {"delimiter": ";"}, id="semicolons"),
        pytest.param("fixations.csv", CSV.replace(".jpg", ""), {}, id="names_without_suffix"),
        pytest.param("fixations.csv", CSV.replace(".jpg", ".JPEG"), {}, id="names_with_another_suffix"),
        pytest.param("fixations.csv", CSV.replace("a.jpg", "pictures/a.jpg"), {}, id="names_with_folder"),
        pytest.param("fixations.csv", "\ufeff" + CSV.replace("\n", "\r\n"), {}, id="byte_order_mark_and_crlf"),
    ],
)
def test_other_spellings_mean_the_same(tmp_path: Path, name: str, data: str | bytes, declared: dict[str, str]) -> None:
    plain = opened(tmp_path / "plain", {**AB, "fixations.csv": CSV})
    found = opened(tmp_path / "other", {**AB, name: data}, fixations={**TABLE, **declared})
    assert found.observers == plain.observers
    for stimulus, gaze in plain.gaze.items():
        for column in ("x_px", "y_px", "observer"):
            assert getattr(found.gaze[stimulus], column).tolist() == getattr(gaze, column).tolist()


def test_parquet_with_numbers_as_names_is_read(tmp_path: Path) -> None:
    data = parquet(image=[1001, 1001, 1002], who=[1.0, 2.0, None], x=[1, 2, 3], y=["4.5", "5", "6"])
    files = {**jpegs("1001.jpg", "1002.jpg"), "fixations.parquet": data}
    found = opened(tmp_path, files, fixations={**TABLE, "path": "fixations.parquet"})
    assert found.observers == ["1", "2"]
    assert found.gaze["1001"].y_px.tolist() == [4.5, 5.0]
    assert reasons(found.rejects) == [
        ("fixations.parquet", 3, "no observer"),
        ("pictures/1002.jpg", -1, "a picture without fixations"),
    ]


def test_rows_at_fault_are_rejected_with_their_number(tmp_path: Path) -> None:
    rows = ["a,1,5,5", "a,1,six,5", "a,1,7", ",1,8,8", "a,,8,8", "a,1,,9", "a,1,nan,9", "b,1,3,1e99999", "b,2,1,2"]
    found = opened(tmp_path, {**AB, "fixations.csv": "\n".join(["image,who,x,y", *rows])})
    assert sorted(reasons(found.rejects)) == [
        ("fixations.csv", 2, "x: 'six' is not a usable number"),
        ("fixations.csv", 3, "3 fields instead of 4"),
        ("fixations.csv", 4, "no stimulus"),
        ("fixations.csv", 5, "no observer"),
        ("fixations.csv", 6, "x: no value"),
        ("fixations.csv", 7, "x: no value"),
        ("fixations.csv", 8, "y: '1e99999' is not a usable number"),
    ]
    assert found.gaze["a"].x_px.tolist() == [5.0]
    assert found.gaze["b"].x_px.tolist() == [1.0]


def test_a_hundred_rows_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    found = opened(tmp_path, {**AB, "fixations.csv": CSV + "a,1,?,1\n" * 150})
    assert len(found.rejects) == 101
    assert found.rejects[-1].row == 104
    assert found.rejects[-1].reason.startswith("50 more rows like this one")


def test_offset_is_added_to_both_axes(tmp_path: Path) -> None:
    found = opened(tmp_path, {**AB, "fixations.csv": CSV}, fixations={**TABLE, "offset_px": -0.5})
    assert (found.gaze["b"].x_px.tolist(), found.gaze["b"].y_px.tolist()) == ([2.5], [3.5])


def test_names_come_from_the_path(tmp_path: Path) -> None:
    files = {"gaze/eva/a.csv": "x,y\n1,2\n", "gaze/bob/a.csv": "x,y\n3,4\n", "gaze/bob/b.csv": "x,y\n5,6\n"}
    spec = {"reader": "table", "path": "gaze/{observer}/{stimulus}.csv", "columns": {"x_px": "x", "y_px": "y"}}
    found = opened(tmp_path, {**AB, **files}, fixations=spec)
    assert found.observers == ["bob", "eva"]
    assert found.gaze["a"].x_px.tolist() == [3.0, 1.0]
    assert found.gaze["a"].observer.tolist() == [0, 1]


def test_path_with_two_readings_means_the_picture_that_is_there(tmp_path: Path) -> None:
    files = {**jpegs("c.jpg", "b_c.jpg", "z.jpg"), "gaze/a_b_c.csv": "x,y\n1,2\n", "gaze/a_b_z.csv": "x,y\n1,2\n"}
    spec = {"reader": "table", "path": "gaze/{observer}_{stimulus}.csv", "columns": {"x_px": "x", "y_px": "y"}}
    found = opened(tmp_path, files, fixations=spec)
    assert sorted(found.gaze) == ["b_c", "z"]
    assert found.observers == ["a", "a_b"]


def test_table_without_observers_says_so(tmp_path: Path) -> None:
    columns = {"stimulus": "image", "x_px": "x", "y_px": "y"}
    found = opened(tmp_path, {**AB, "fixations.csv": CSV}, fixations={**TABLE, "columns": columns})
    assert found.observers == []
    assert found.gaze["a"].observer.tolist() == [-1, -1]
    assert "which observer" in found.notes[-1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("image,who,x,y\n", "a header without rows", id="no_rows"),
        pytest.param("image,who,x\na,1,2\n", r"no column 'y' \(present: image, who, x\)", id="missing_column"),
        pytest.param(b"image,who,x,y\n\xff\xfe,1,2,3\n", "not UTF-8 text", id="latin"),
        pytest.param(gzip.compress(CSV.encode())[:-9], "truncated or damaged gzip", id="gzip_cut_off"),
        pytest.param(parquet(image=["a"], who=["1"], x=[1.0], y=[1.0])[:-9], "not UTF-8|Parquet", id="parquet_cut_off"),
        pytest.param(parquet(image=["a"], who=["1"], x=[[1.0]], y=[1.0]), "not numbers", id="lists"),
    ],
)
def test_table_that_cannot_be_used_is_an_error_with_the_reason(tmp_path: Path, data: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=rf"fixations.csv: .*({reason})"):
        opened(tmp_path, {**AB, "fixations.csv": data})


def test_one_bad_table_of_several_is_rejected_and_the_others_kept(tmp_path: Path) -> None:
    spec = {**TABLE, "path": "gaze/{observer}.csv", "columns": {"stimulus": "image", "x_px": "x", "y_px": "y"}}
    found = opened(tmp_path, {**AB, "gaze/1.csv": "image,x,y\na,1,1\nb,2,2\n", "gaze/2.csv": ""}, fixations=spec)
    assert reasons(found.rejects) == [("gaze/2.csv", -1, "the file is empty")]
    assert found.observers == ["1"]


def test_a_second_copy_of_the_table_is_not_read_twice(tmp_path: Path) -> None:
    found = opened(tmp_path, {**AB, "fixations.csv": CSV, "fixations.csv.gz": gzip.compress(CSV.encode())})
    assert len(found.gaze["a"]) == 2
    assert "second copy" in found.rejects[0].reason
