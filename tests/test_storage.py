# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import ConfigError
from gazeray.storage import Folder, UnsafePathError, safe_relative


def test_written_bytes_are_read_back_and_listed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_bytes("a/b/c.bin", b"\x00gaze")
    assert folder.read_bytes("a/b/c.bin") == b"\x00gaze"
    assert [stat.path for stat in folder.list()] == ["a/b/c.bin"]
    assert folder.list()[0].size == 5
    assert folder.list("nothing/here") == []


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/passwd", "", "a\\..\\..\\x", "C:\\x", "s3://bucket/x", "a\0b"]
)
def test_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePathError):
        safe_relative(path)
    with pytest.raises(UnsafePathError):
        Folder(tmp_path).write_bytes(path, b"")


def test_colon_in_a_file_name_is_no_harm(tmp_path: Path) -> None:
    Folder(tmp_path).write_bytes("gaze/P:0.csv", b"x")
    assert Folder(tmp_path).read_bytes(Folder(tmp_path).list()[0].path) == b"x"


@pytest.mark.parametrize("uri", ["foo://x", "s3://bucket/my folder", "~nobody-here/x"])
def test_root_that_cannot_be_opened_is_a_config_error(uri: str) -> None:
    with pytest.raises(ConfigError, match="no folder or URI"):
        Folder(uri)


def test_failed_write_leaves_the_old_file_and_no_scrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write_text("x.txt", "old")
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(PermissionError("disk says no")))
    with pytest.raises(PermissionError):
        folder.write_text("x.txt", "new")
    assert folder.read_text("x.txt") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_transient_error_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    real, failures = os.fsync, [OSError("once"), OSError("twice")]

    def flaky(fd: int) -> None:
        if failures:
            raise failures.pop()
        real(fd)

    monkeypatch.setattr("os.fsync", flaky)
    monkeypatch.setattr("gazeray.storage.FIRST_WAIT_S", 0.001)
    Folder(tmp_path).write_text("x.txt", "there")
    assert (tmp_path / "x.txt").read_text() == "there"


def test_lasting_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("always")))
    monkeypatch.setattr("gazeray.storage.FIRST_WAIT_S", 0.001)
    with pytest.raises(OSError, match="always"):
        Folder(tmp_path).write_text("x.txt", "never")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        Folder(tmp_path).read_bytes("gone.txt")


def test_json_is_the_same_bytes_for_equal_values_and_refuses_nan(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_json("a.json", {"b": 1, "a": [1.5, None]})
    folder.write_json("b.json", {"a": [1.5, None], "b": 1})
    assert folder.read_bytes("a.json") == folder.read_bytes("b.json")
    with pytest.raises(ValueError, match="JSON"):
        folder.write_json("c.json", {"x": float("nan")})


def test_table_round_trip(tmp_path: Path) -> None:
    table = pa.table({"x": np.arange(3), "name": ["a", "b", "ü"]})
    folder = Folder(tmp_path)
    folder.write_table("t.parquet", table)
    assert folder.read_table("t.parquet").equals(table)
    assert folder.read_table("t.parquet", ["x"]).column_names == ["x"]


def test_folder_travels_by_pickle(tmp_path: Path) -> None:
    Folder(tmp_path).write_text("x", "here")
    assert pickle.loads(pickle.dumps(Folder(tmp_path))).read_text("x") == "here"


def test_delete_is_silent_about_what_is_not_there(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.delete("x")
    folder.delete_folder("d")
    folder.write_text("d/x", "1")
    folder.delete_folder("d")
    assert folder.list() == []
