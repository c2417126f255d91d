# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import pickle
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.config import ConfigError
from gazeray.storage import Folder, StorageError, UnsafePathError, masked, patience, safe_relative, split_uri
from gazeray.storage.patience import retried


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


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits a hundred times shorter."""
    monkeypatch.setattr("gazeray.storage.patience.FIRST_WAIT_S", 0.002)
    monkeypatch.setattr("gazeray.storage.patience.LONGEST_WAIT_S", 0.1)
    monkeypatch.setattr("gazeray.storage.patience.PATIENCE_S", 0.3)


def failing_fsync(monkeypatch: pytest.MonkeyPatch, *failures: OSError, last: OSError | None = None) -> list[float]:
    """os.fsync raises these in turn, then `last` for ever (or works); returns the list of the times of its calls."""
    real, left, calls = os.fsync, list(failures), []

    def fsync(fd: int) -> None:
        calls.append(time.monotonic())
        if left:
            raise left.pop(0)
        if last:
            raise last
        real(fd)

    monkeypatch.setattr("os.fsync", fsync)
    return calls


@pytest.mark.parametrize("error", [OSError("once"), OSError(errno.EIO, "I/O"), OSError(errno.ESTALE, "stale handle")])
def test_transient_error_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: None, error: OSError
) -> None:
    calls = failing_fsync(monkeypatch, error, error)
    Folder(tmp_path).write_text("x.txt", "there")
    assert (tmp_path / "x.txt").read_text() == "there"
    assert len(calls) == 3


def test_transient_error_that_lasts_is_raised_when_patience_ends_and_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hasty: None
) -> None:
    calls = failing_fsync(monkeypatch, last=OSError(errno.EIO, "Input/output error"))
    with pytest.raises(StorageError, match=r"x\.txt: tried for \d+ s: .*Input/output error"):
        Folder(tmp_path).write_text("x.txt", "never")
    assert 0.1 < calls[-1] - calls[0] <= 0.3
    waits = np.diff(calls)
    assert waits[0] < 0.05 < waits[-1], "the waits grow"


def test_patience_is_longer_than_a_minute() -> None:
    """The waits that the constants give, without any jitter, last longer than a server takes to come back."""
    assert patience.PATIENCE_S >= 60
    assert patience.FIRST_WAIT_S < 1 < patience.LONGEST_WAIT_S <= 15


def test_long_outage_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    failing_fsync(monkeypatch, *[OSError(errno.EIO, "away") for _ in range(6)])
    Folder(tmp_path).write_text("x.txt", "there")
    (told,) = caplog.messages
    assert told == f"{tmp_path}/x.txt: [Errno {errno.EIO}] away; trying again for up to 90 s"


def test_short_hiccup_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    failing_fsync(monkeypatch, OSError(errno.EIO, "away"), OSError(errno.EIO, "away"))
    Folder(tmp_path).write_text("x.txt", "there")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, OSError),
        (errno.EDQUOT, OSError),
        (errno.EROFS, OSError),
        (errno.EFBIG, OSError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.ENAMETOOLONG, OSError),
    ],
)
def test_what_cannot_get_better_is_raised_at_once_and_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[OSError]
) -> None:
    calls = failing_fsync(monkeypatch, last=OSError(number, os.strerror(number)))
    with pytest.raises(kind) as caught:
        Folder(tmp_path).write_text("deep/x.txt", "never")
    assert len(calls) == 1
    assert str(caught.value) == f"[Errno {number}] {os.strerror(number)}: '{tmp_path}/deep/x.txt'"
    assert not list(tmp_path.rglob("*.part"))


AWS = "When uploading object with key 'a/x' in bucket 'studies': AWS Error {} during PutObject operation: {}"


@pytest.mark.parametrize(
    ("error", "text", "expected"),
    [
        ("NETWORK_CONNECTION", "curlCode: 7, Could not connect to server", True),
        ("NETWORK_CONNECTION", "curlCode: 60, SSL peer certificate or SSH remote key was not OK", False),
        ("SLOW_DOWN", "slow", True),
        ("INTERNAL_FAILURE", "m", True),
        ("UNKNOWN (HTTP status 500)", "No response body.", True),
        ("UNKNOWN (HTTP status 503)", "No response body.", True),
        ("UNKNOWN (HTTP status 429)", "No response body.", True),
        ("UNKNOWN (HTTP status 507)", "Unable to parse ExceptionName: XMinioStorageFull Message: full", False),
        ("UNKNOWN (HTTP status 301)", "No response body.", False),
        ("UNKNOWN (HTTP status 403)", "Unable to parse ExceptionName: QuotaExceeded Message: full", False),
        ("UNKNOWN (HTTP status 400)", "Unable to parse ExceptionName: ExpiredToken Message: m", False),
        ("ACCESS_DENIED", "No response body.", False),
        ("NO_SUCH_BUCKET", "The specified bucket does not exist", False),
        ("SIGNATURE_DOES_NOT_MATCH", "m", False),
    ],
)
def test_errors_of_an_object_store_are_told_apart(hasty: None, error: str, text: str, expected: bool) -> None:
    attempts: list[int] = []

    def action() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError(AWS.format(error, text))
        return "done"

    if expected:
        assert retried(action, "s3://studies/a/x") == "done"
    else:
        with pytest.raises(OSError, match="s3://studies/a/x"):
            retried(action, "s3://studies/a/x")
    assert len(attempts) == 1 + expected


def test_a_folder_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    (tmp_path / "x").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        Folder(tmp_path).read_bytes("x")
    assert caught.value.filename == f"{tmp_path}/x"
    with pytest.raises(IsADirectoryError, match="s3://studies/a/x"):
        retried(lambda: (_ for _ in ()).throw(OSError(errno.EISDIR, "Is a directory")), "s3://studies/a/x")


def test_denied_access_says_which_credentials_were_used() -> None:
    def action() -> None:
        raise OSError(AWS.format("ACCESS_DENIED", "No response body."))

    with pytest.raises(StorageError) as caught:
        retried(action, "s3://studies/a/x", "with the credentials of AWS_PROFILE")
    assert str(caught.value) == "s3://studies/a/x: access denied (with the credentials of AWS_PROFILE)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY:SEC/RET+x@bucket/x", "s3://***@bucket/x"),
        ("s3://KEY@bucket/x and s3://plain/x", "s3://***@bucket/x and s3://plain/x"),
        ("s3://b/x?access_key=KEY&secret_key=SECRET&region=r", "s3://b/x?access_key=***&secret_key=***&region=r"),
        ('{"dir": "s3://b?session_token=SECRET"}', '{"dir": "s3://b?session_token=***"}'),
        (
            "https://b/x?X-Amz-Credential=KEY&X-Amz-Signature=SECRET&v=1",
            "https://b/x?X-Amz-Credential=***&X-Amz-Signature=***&v=1",
        ),
        ("https://b/x?sv=1&sig=SECRET&design=2", "https://b/x?sv=1&sig=***&design=2"),
        (
            "https://b/x?Token=SECRET&n=1 https://osf.io/a?view_only=b",
            "https://b/x?Token=***&n=1 https://osf.io/a?view_only=b",
        ),
        ("http://localhost:9000/x", "http://localhost:9000/x"),
        ("jane@example.org, P1:x", "jane@example.org, P1:x"),
    ],
)
def test_credentials_in_a_uri_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_json_never_holds_the_credentials_of_a_uri(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_json("manifest.json", {"run": {"dir": "s3://KEY:SECRET@bucket/runs"}, "root": "s3://bucket"})
    assert folder.read_json("manifest.json") == {"run": {"dir": "s3://***@bucket/runs"}, "root": "s3://bucket"}


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://b/a/x.yaml", ("s3://b/a", "x.yaml")),
        ("s3://b/x.yaml?endpoint_override=http://h:9/", ("s3://b?endpoint_override=http://h:9/", "x.yaml")),
    ],
)
def test_uri_of_a_file_is_split_into_folder_and_name(uri: str, parts: tuple[str, str]) -> None:
    assert split_uri(uri) == parts


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Folder(tmp_path).read_bytes("gone.txt")
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{tmp_path}/gone.txt'"


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


def test_part_of_a_file_is_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_bytes("a.bin", bytes(range(100)))
    assert folder.read_range("a.bin", 10, 5) == bytes(range(10, 15))
    assert folder.read_range("a.bin", 0, 0) == b""
    assert folder.read_range("a.bin", 98, 5) == bytes([98, 99]), "it ends there"
    with pytest.raises(FileNotFoundError, match=re.escape("b.bin")):
        folder.read_range("b.bin", 0, 1)


def test_tables_one_after_the_other_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazeray.storage.ROWS_PER_GROUP", 5)
    folder, tables = (
        Folder(tmp_path),
        [pa.table({"x": [float(n)] * n, "who": [str(n)] * n}) for n in (0, 3, 4, 1, 9, 2)],
    )
    tables[0] = tables[1].slice(0, 0)
    assert folder.write_tables("deep/all.parquet", iter(tables)) == (19, ["x", "who"])
    assert folder.read_table("deep/all.parquet").equals(pa.concat_tables(tables))
    groups = pq.ParquetFile(tmp_path / "deep" / "all.parquet").metadata
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [7, 10, 2]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["all.parquet"]


def test_tables_that_cannot_be_made_leave_the_old_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write_tables("all.parquet", [pa.table({"x": [1]})])

    def broken() -> Iterator[pa.Table]:
        yield pa.table({"x": [2]})
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        folder.write_tables("all.parquet", broken())
    assert folder.read_table("all.parquet")["x"].to_pylist() == [1]


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


def test_file_uri_is_the_local_folder(tmp_path: Path) -> None:
    folder = Folder(f"file://{tmp_path}/x")
    folder.write_text("deep/a.txt", "there")
    assert folder.is_local
    assert (tmp_path / "x/deep/a.txt").read_text() == "there"
    assert pickle.loads(pickle.dumps(folder.sub("deep"))).read_text("a.txt") == "there"
    assert folder.sub("deep").uri == f"file://{tmp_path}/x/deep"
