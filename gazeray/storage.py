# SPDX-License-Identifier: Apache-2.0
"""Local folders and object stores alike: a `Folder` reads, lists and writes files below one root.

Writes are atomic: a reader sees the old file or the new one, never half of it. Locally that is a temporary file and a
rename; an object store shows an object only when its upload is complete.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from gazeray.config import ConfigError

T = TypeVar("T")

ATTEMPTS = 4
FIRST_WAIT_S = 0.2


@dataclass(frozen=True)
class FileStat:
    """A file below a folder: its path relative to the folder (posix), its size in bytes, its change time in ns."""

    path: str
    size: int
    mtime_ns: int


class UnsafePathError(ValueError):
    """A path from a table or a config would leave the folder it belongs to."""


_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]")
"""The beginning of a URI or of a Windows path with a drive."""


_SCRAP = re.compile(r"/\.[^/]*\.[0-9a-f]{32}\.part$")
"""What a process that was killed in the middle of a local write leaves behind."""


def safe_relative(path: str) -> str:
    """`path` as a clean relative posix path.

    Raises UnsafePathError when it is empty, absolute, or climbs out with "..".
    """
    pure = PurePosixPath(path.replace("\\", "/"))
    if not path or pure.is_absolute() or ".." in pure.parts or _ELSEWHERE.match(path) or "\0" in path:
        raise UnsafePathError(f"path {path!r} leaves its folder")
    return str(pure)


def _retried(action: Callable[[], T]) -> T:
    """Run `action`; a transient OSError (not: missing, not: permission) is retried with doubling waits."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError):
            raise
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(FIRST_WAIT_S * 2**attempt)
    raise AssertionError("unreachable")


class Folder:
    """One root, local (`runs`, `/data/study`) or remote (`s3://bucket/prefix`), and the files below it.

    Relative paths use "/" and may not leave the root (UnsafePathError). The object pickles as its URI, so that it can
    travel to workers, which open their own connection.
    """

    def __init__(self, uri: str | Path) -> None:
        try:
            self.uri = str(uri) if "://" in str(uri) else str(Path(uri).expanduser().absolute())
            self._connect()
        except (ValueError, RuntimeError, OSError) as error:
            raise ConfigError(
                [f"{uri}: no folder or URI that can be opened: {' '.join(str(error).split())}"]
            ) from error

    def _connect(self) -> None:
        if "://" in self.uri:
            self._fs, self._root = pa.fs.FileSystem.from_uri(self.uri)
        else:
            self._fs, self._root = pa.fs.LocalFileSystem(), self.uri
        self._root = self._root.rstrip("/")
        self.is_local = isinstance(self._fs, pa.fs.LocalFileSystem)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.uri = state["uri"]
        self._connect()

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def sub(self, path: str) -> Folder:
        """The folder `path` below this one."""
        return Folder(f"{self.uri.rstrip('/')}/{safe_relative(path)}")

    def full(self, path: str) -> str:
        """The path as the file system spells it (bucket/key on S3)."""
        return f"{self._root}/{safe_relative(path)}"

    def arrow(self) -> tuple[Any, str]:
        """The pyarrow file system and the root's path in it."""
        return self._fs, self._root

    # -- reading

    def exists(self, path: str = "") -> bool:
        """Is there a file (or folder) at `path`; without a path: is the root there."""
        info = _retried(lambda: self._fs.get_file_info(self.full(path) if path else self._root))
        return bool(info.type != pa.fs.FileType.NotFound)

    def stat(self, path: str) -> FileStat:
        """Size and change time of one file. Raises FileNotFoundError."""
        info = _retried(lambda: self._fs.get_file_info(self.full(path)))
        if info.type != pa.fs.FileType.File:
            raise FileNotFoundError(f"{self.uri}/{path}: no such file")
        return FileStat(path, int(info.size), int(info.mtime_ns or 0))

    def list(self, prefix: str = "") -> list[FileStat]:
        """Every file at or below the folder `prefix`, sorted by path; empty when there is none. Scrap is left out."""
        base = self.full(prefix) if prefix else self._root
        selector = pa.fs.FileSelector(base, recursive=True, allow_not_found=True)
        infos = _retried(lambda: self._fs.get_file_info(selector))
        start = len(self._root) + 1
        return sorted(
            (
                FileStat(info.path[start:], int(info.size), int(info.mtime_ns or 0))
                for info in infos
                if info.type == pa.fs.FileType.File and not _SCRAP.search(info.path)
            ),
            key=lambda stat: stat.path,
        )

    def read_bytes(self, path: str) -> bytes:
        """The whole file. Raises FileNotFoundError."""

        def read() -> bytes:
            with self._fs.open_input_stream(self.full(path), compression=None) as stream:
                return bytes(stream.read())

        return _retried(read)

    def read_text(self, path: str) -> str:
        """The whole file as UTF-8 (a byte-order mark is dropped)."""
        return self.read_bytes(path).decode("utf-8-sig")

    def read_json(self, path: str) -> Any:
        """The whole file as JSON."""
        return json.loads(self.read_bytes(path))

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file as an Arrow table."""
        return pq.read_table(io.BytesIO(self.read_bytes(path)), columns=None if columns is None else list(columns))

    # -- writing

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write the whole file at once; parents are made, an old file is replaced."""
        full = self.full(path)

        def write() -> None:
            if self.is_local:
                target = Path(full)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
                try:
                    with part.open("wb") as file:
                        file.write(data)
                        file.flush()
                        os.fsync(file.fileno())
                    part.replace(target)
                finally:
                    part.unlink(missing_ok=True)
            else:
                with self._fs.open_output_stream(full, compression=None) as stream:
                    stream.write(data)

        _retried(write)

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 text file."""
        self.write_bytes(path, text.encode("utf-8"))

    def write_json(self, path: str, value: Any) -> None:
        """Write JSON, indented and with sorted keys, so that equal values give equal bytes. NaN is refused."""
        self.write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write an Arrow table as Parquet (zstd)."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.write_bytes(path, buffer.getvalue())

    def delete_folder(self, path: str) -> None:
        """Delete a folder with all its files; nothing happens when it is not there."""
        if self.exists(path):
            _retried(lambda: self._fs.delete_dir(self.full(path)))

    def delete(self, path: str) -> None:
        """Delete one file; nothing happens when it is not there."""
        if self.exists(path):
            _retried(lambda: self._fs.delete_file(self.full(path)))
