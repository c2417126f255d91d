# SPDX-License-Identifier: Apache-2.0
"""One bad gaze file never ends a study: whatever its bytes lead a parser to becomes its reject, with the reason."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.stimuli import dataset
from gazeray.stimuli.dataset import PictureSet
from gazeray.stimuli.readers import PICTURE_READERS
from gazeray.stimuli.readers.base import PictureFormat
from gazeray.tables import DataError
from tests.stimuli.tiny_pictures import SALICON, TABLE, annotation, jpegs, mat, opened, reasons, salicon_json

AB = jpegs("a.jpg", "b.jpg")
SPEC = {**TABLE, "path": "gaze/{observer}.any", "columns": {"stimulus": "image", "x_px": "x", "y_px": "y"}}
GOOD = "image,x,y\na,1,1\nb,2,2\n"


def beside_a_good_one(folder: Path, data: str | bytes) -> PictureSet:
    return opened(folder, {**AB, "gaze/1.any": GOOD, "gaze/2.any": data}, fixations=SPEC)


def parquet(names: pa.Array) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"image": names, "x": np.ones(len(names)), "y": np.ones(len(names))}), buffer)
    return buffer.getvalue()


def not_text() -> bytes:
    """A Parquet file with one byte in a name that no UTF-8 has."""
    names = pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff"))
    return parquet(names)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\xef\xbb\xbf", "the file is empty", id="byte_order_mark_alone"),
        pytest.param(b"\xef\xbb\xbf\r\n", "the file is empty", id="byte_order_mark_and_line"),
        pytest.param(gzip.compress(b"\xef\xbb\xbf"), "the file is empty", id="byte_order_mark_in_gzip"),
        pytest.param("image,x,y\n" + "a" * 200_000 + ",1,2\n", "name longer than 1000 characters", id="long_name"),
        pytest.param("x" * 200_000 + ",x,y\na,1,2\n", "the header cannot be parsed: field larger", id="long_header"),
        pytest.param(b"PAR1", "not a readable Parquet file", id="parquet_magic_alone"),
        pytest.param(parquet(pa.array([["a"], ["b"]])), "", id="parquet_lists_as_names"),
        pytest.param(parquet(pa.array([{"n": "a"}])), "", id="parquet_structs_as_names"),
        pytest.param(b"\x1f\x8b" + bytes(20), "truncated or damaged gzip", id="gzip_of_an_unknown_method"),
    ],
)
def test_table_that_cannot_be_used_is_rejected_and_the_others_kept(
    tmp_path: Path, data: str | bytes, reason: str
) -> None:
    found = beside_a_good_one(tmp_path, data)
    assert found.observers == ["1"]
    assert {source for source, _, _ in reasons(found.rejects)} == {"gaze/2.any"}
    assert reason in found.rejects[0].reason
    assert "\n" not in found.rejects[0].reason


@pytest.mark.parametrize("data", [not_text(), parquet(pa.array([b"a", b"\xfe"]))], ids=["text", "bytes"])
def test_name_in_parquet_that_is_not_utf8_costs_its_row(tmp_path: Path, data: bytes) -> None:
    found = beside_a_good_one(tmp_path, data)
    assert found.observers == ["1", "2"]
    assert reasons(found.rejects) == [("gaze/2.any", 2, "stimulus: not UTF-8 text")]


def test_whatever_a_reader_raises_is_the_reason_and_what_the_storage_raises_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(stream: BinaryIO, source: str, spec: Any, fixed: Any) -> Any:
        if source == "gaze/2.any":
            raise RecursionError("too\ndeep")
        return table.read(stream, source, spec, fixed)

    table = PICTURE_READERS["table"]
    monkeypatch.setitem(PICTURE_READERS, "table", PictureFormat(read, table.keys, table.in_path, table.needed))
    found = beside_a_good_one(tmp_path, GOOD)
    assert reasons(found.rejects) == [("gaze/2.any", -1, "cannot be read: RecursionError: too deep")]

    class Failing(dataset._Hashing):
        def readinto(self, buffer: Any) -> int:
            self._stream = self
            return super().readinto(buffer)

        def read(self, size: int = -1) -> bytes:
            raise OSError("the storage is gone")

    monkeypatch.setattr(dataset, "_Hashing", Failing)
    with pytest.raises(DataError, match=r"gaze/1\.any: cannot be read: the storage is gone"):
        beside_a_good_one(tmp_path, GOOD)


def test_file_that_may_not_be_read_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(dataset._Hashing):
        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            if buffer[:count] == b"abc":
                raise PermissionError(13, "Permission denied")
            return count

    monkeypatch.setattr(dataset, "_Hashing", Forbidden)
    found = beside_a_good_one(tmp_path, "abc")
    assert reasons(found.rejects) == [("gaze/2.any", -1, "cannot be read: Permission denied")]


def test_names_that_are_too_long_or_hold_control_signs_reject_their_rows(tmp_path: Path) -> None:
    long = "7" * 5000
    columns = {**TABLE["columns"]} if isinstance(TABLE["columns"], dict) else {}
    rows = ["a,1,1,1", f"a,{long},2,2", "a,x\x07y,3,3", f"{long},1,4,4", "b,12,5,5", f"a,{long[:900]},6,6"]
    text = "\n".join(["image,who,x,y", *rows])
    found = opened(tmp_path, {**AB, "fixations.csv": text}, fixations={**TABLE, "columns": columns})
    assert found.observers == ["1", "12", long[:900]]
    assert sorted(reasons(found.rejects)) == [
        ("fixations.csv", 2, f"observer: name longer than 1000 characters: '{long[:20]}'..."),
        ("fixations.csv", 3, "observer: unsafe name: 'x\\x07y'"),
        ("fixations.csv", 4, f"stimulus: name longer than 1000 characters: '{long[:20]}'..."),
    ]


def test_workers_and_images_of_salicon_with_such_names_are_rejected_too(tmp_path: Path) -> None:
    annotations = [annotation(7, 1, [[1, 1]]), annotation(7, cast(int, "9" * 5000), [[2, 2]])]
    annotations += [annotation(7, cast(int, "a\x00b"), [[3, 3]]), annotation(cast(int, "8" * 5000), 1, [[4, 4]])]
    found = opened(tmp_path, {**AB, "fixations.json": salicon_json(annotations)}, fixations=SALICON)
    assert len(found.gaze["a"]) == 1
    assert [(row, reason[:40]) for _, row, reason in reasons(found.rejects)[:3]] == [
        (2, "annotation: name longer than 1000 charac"),
        (3, "annotation: unsafe name: 'a\\x00b'"),
        (4, "annotation: name longer than 1000 charac"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            salicon_json([annotation(7, 1, [[1, 1]])]).replace('"worker_id": 1', f'"worker_id": {"9" * 5000}')
        ),
        pytest.param(b'{"annotations": [{"image_id": "\xff\xfe", "fixations": []}]}'),
        pytest.param('{"annotations": [{"image_id": "\\ud800", "worker_id": "\\ud800", "fixations": [[1, 1]]}]}'),
        pytest.param("[" * 100_000),
    ],
    ids=["number_of_5000_digits", "not_utf8", "half_a_pair", "deep"],
)
def test_odd_json_is_an_error_that_names_the_file_or_a_reject(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(DataError, match=r"fixations\.json: |no picture is left"):
        opened(tmp_path, {**AB, "fixations.json": text}, fixations=SALICON)


def test_damaged_gaze_files_are_rejected_whatever_the_damage(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good = mat(gaze=np.arange(8.0).reshape(4, 2))
    files: dict[str, str | bytes] = {**jpegs("good.jpg"), "good.mat": good}
    for number in range(60):
        broken = bytearray(good)
        broken[rng.integers(124, len(broken))] = rng.integers(256)
        files |= {f"{number}.mat": bytes(broken[: rng.integers(1, len(broken) + 1)]), **jpegs(f"{number}.jpg")}
    found = opened(tmp_path, files, fixations={"reader": "mat_folders", "path": "{stimulus}.mat"})
    assert "good" in found.gaze
    assert len(found.pictures) + sum(one.source.endswith(".jpg") for one in found.rejects) == 61
