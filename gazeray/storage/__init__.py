# SPDX-License-Identifier: Apache-2.0
"""Local folders and object stores alike: a `Folder` reads, lists and writes files below one root.

Writes are atomic: a reader sees the old file or the new one, never half of it. Locally that is a temporary file and a
rename; an object store shows an object only when its upload is complete. Faults that may pass (a server that is down,
busy or slow) are waited out for PATIENCE_S; those that cannot (no access, no space, no such file) are raised at once.
Credentials in a URI are used and never shown. docs/storage.md describes it for users.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from gazeray.config import ConfigError, StorageConfig
from gazeray.config import masked as masked
from gazeray.storage.patience import StorageError as StorageError
from gazeray.storage.patience import retried
from gazeray.storage.s3 import credentials_of, patient_s3, s3_options

T = TypeVar("T")

HASHED_AT_ONCE = 8 << 20
"""Bytes of a file that are in memory while it is hashed."""


@dataclass(frozen=True)
class FileStat:
    """A file below a folder: its path relative to the folder (posix), its size in bytes, its change time in ns."""

    path: str
    size: int
    mtime_ns: int


class UnsafePathError(ValueError):
    """A path from a table or a config would leave the folder it belongs to."""


ROWS_PER_GROUP = 1 << 17
"""Of a Parquet file that is written table by table."""

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


def split_uri(uri: str) -> tuple[str, str]:
    """(folder, name) of a file's URI; the options behind "?" stay with the folder."""
    place, mark, options = uri.partition("?")
    return place.rpartition("/")[0] + mark + options, place.rpartition("/")[2]


class Folder:
    """One root, local (`runs`, `/data/study`) or remote (`s3://bucket/prefix`), and the files below it.

    Relative paths use "/" and may not leave the root (UnsafePathError). `uri` names the root without credentials and
    options and may be shown. Pickled it holds what a worker needs to connect, credentials of the URI included.
    """

    def __init__(self, uri: str | Path, storage: StorageConfig | None = None) -> None:
        """`storage` says by which client an object store is asked; None: pyarrow's.

        Raises ConfigError. Only Amazon's S3 is contacted here, for the bucket's region where none is set.
        """
        text = str(uri)
        try:
            if text.startswith("s3://"):
                s3fs = dict(storage.options) if storage and storage.filesystem == "s3fs" else None
                root, options = s3_options(text, (s3fs or {}).get("endpoint_url"))
                self._open(f"s3://{root}", root, options, s3fs)
            elif "://" in text:
                _, root = pa.fs.FileSystem.from_uri(text)
                self._open(masked(text.partition("?")[0]).rstrip("/"), root.rstrip("/"), text, None)
            else:
                text = str(Path(text).expanduser().absolute())
                self._open(text, text.rstrip("/"), None, None)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            line = f"{text}: no folder or URI that can be opened: {' '.join(str(error).split())}"
            raise ConfigError([masked(line)]) from None

    def _open(
        self, uri: str, root: str, source: Mapping[str, Any] | str | None, s3fs: Mapping[str, Any] | None
    ) -> None:
        """source: the options of S3, the URI of another store, None for local. s3fs: its own options, None: pyarrow."""
        self.uri, self._root, self._source, self._s3fs, self._hint = uri, root, source, s3fs, ""
        self._noted: tuple[str, dict[str, dict[str, Any]]] | None = None
        if source is None:
            self._fs = pa.fs.LocalFileSystem()
        elif isinstance(source, str):
            self._fs, _ = pa.fs.FileSystem.from_uri(source)
        else:
            self._fs, self._hint = self._s3(source, attempts=1), credentials_of(source)
        self.is_local = isinstance(self._fs, pa.fs.LocalFileSystem)

    def _s3(self, options: Mapping[str, Any], attempts: int) -> Any:
        if self._s3fs is None:
            return patient_s3(options, attempts)
        from gazeray.storage.s3fs_client import (
            s3fs_client,  # here, since s3fs takes a second to import, in every worker
        )

        return s3fs_client(options, self._s3fs, attempts)

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "root": self._root, "source": self._source, "s3fs": self._s3fs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(**state)

    def __repr__(self) -> str:
        return f"Folder({self.uri!r})"

    def sub(self, path: str) -> Folder:
        """The folder `path` below this one."""
        below = copy.copy(self)
        below.uri, below._root = f"{self.uri.rstrip('/')}/{safe_relative(path)}", self.full(path)
        below._noted = self._noted
        return below

    def noting(self, files: dict[str, dict[str, Any]]) -> Folder:
        """The same folder, that notes what is written through it, or below it: path -> size and SHA-256, in `files`.

        What is deleted is noted no longer. A copy of it, in another process for instance, notes nothing.
        """
        same = copy.copy(self)
        same._noted = self._root, files
        return same

    def full(self, path: str) -> str:
        """The path as the file system spells it (bucket/key on S3)."""
        return f"{self._root}/{safe_relative(path)}"

    def arrow(self) -> tuple[Any, str]:
        """A pyarrow file system for other libraries, and the root's path in it."""
        return (self._s3(self._source, 9) if isinstance(self._source, dict) else self._fs), self._root

    def _try(self, action: Callable[[], T], path: str = "") -> T:
        return retried(action, f"{self.uri}/{path}".rstrip("/"), self._hint)

    # -- reading

    def exists(self, path: str = "") -> bool:
        """Is there a file (or folder) at `path`; without a path: is the root there."""
        info = self._try(lambda: self._fs.get_file_info(self.full(path) if path else self._root), path)
        return bool(info.type != pa.fs.FileType.NotFound)

    def stats(self, paths: Iterable[str]) -> dict[str, FileStat]:
        """Those of these files that are there."""
        full = {self.full(path): path for path in paths}
        infos = self._try(lambda: self._fs.get_file_info(list(full)))
        there = [info for info in infos if info.type == pa.fs.FileType.File]
        found = [FileStat(full[info.path], int(info.size), int(info.mtime_ns or 0)) for info in there]
        return {stat.path: stat for stat in found}

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """The bytes of those of these files that are there."""
        return {path: stat.size for path, stat in self.stats(paths).items()}

    def list(self, prefix: str = "") -> list[FileStat]:
        """Every file at or below the folder `prefix`, sorted by path; empty when there is none. Scrap is left out."""
        base = self.full(prefix) if prefix else self._root
        selector = pa.fs.FileSelector(base, recursive=True, allow_not_found=True)
        infos = self._try(lambda: self._fs.get_file_info(selector), prefix)
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

        return self._try(read, path)

    def read_range(self, path: str, start: int, size: int) -> bytes:
        """Up to `size` bytes of a file from byte `start` on; fewer at its end. Raises FileNotFoundError."""

        def read() -> bytes:
            with self._fs.open_input_file(self.full(path)) as file:
                file.seek(start)
                return bytes(file.read(size))

        return self._try(read, path)

    def sha256(self, path: str) -> str:
        """SHA-256 (hex) of a file, which is not held in memory. Raises FileNotFoundError."""

        def read() -> str:
            found = hashlib.sha256()
            with self._fs.open_input_stream(self.full(path), compression=None) as stream:
                while part := stream.read(HASHED_AT_ONCE):
                    found.update(part)
            return found.hexdigest()

        return self._try(read, path)

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
        self._write(path, lambda file: file.write(data))
        self._note(path, len(data), hashlib.sha256(data))

    def _note(self, path: str, size: int, sha256: hashlib._Hash) -> None:
        """Note what was written, where that is wanted."""
        if self._noted is not None:
            root, files = self._noted
            files[self.full(path).removeprefix(f"{root}/")] = {"size": size, "sha256": sha256.hexdigest()}

    def _write(self, path: str, fill: Callable[[Any], object]) -> None:
        """Write a file by filling an open one, anew in each attempt; nothing is seen of it before it is whole."""
        full = self.full(path)

        def write() -> None:
            if self.is_local:
                target = Path(full)
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
                try:
                    with part.open("wb") as file:
                        fill(file)
                        file.flush()
                        os.fsync(file.fileno())
                    part.replace(target)
                finally:
                    part.unlink(missing_ok=True)
            else:
                with self._fs.open_output_stream(full, compression=None) as stream:
                    fill(stream)

        self._try(write, path)

    def write_text(self, path: str, text: str) -> None:
        """Write a UTF-8 text file."""
        self.write_bytes(path, text.encode("utf-8"))

    def write_json(self, path: str, value: Any) -> None:
        """Write JSON, indented, with sorted keys, credentials in URIs masked: equal values give equal bytes. No NaN."""
        self.write_text(path, masked(json.dumps(value, indent=2, sort_keys=True, allow_nan=False)) + "\n")

    def write_table(self, path: str, table: pa.Table) -> None:
        """Write an Arrow table as Parquet (zstd)."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.write_bytes(path, buffer.getvalue())

    def write_tables(self, path: str, tables: Iterable[pa.Table]) -> tuple[int, Sequence[str]]:
        """Write tables, at least one, as one Parquet file (zstd), a few at a time in memory; its rows and columns.

        They are gathered in a file of this machine first: an upload that is cut off would look like a whole one.
        """
        with tempfile.TemporaryFile() as gathered:
            rows, writer = 0, None
            for table in _grouped(tables):
                writer = writer or pq.ParquetWriter(gathered, table.schema, compression="zstd")
                writer.write_table(table)
                rows += table.num_rows
            assert writer is not None
            writer.close()

            def fill(file: Any) -> None:
                gathered.seek(0)
                shutil.copyfileobj(gathered, file, 1 << 23)

            self._write(path, fill)
            size = gathered.tell()
            gathered.seek(0)
            self._note(path, size, hashlib.file_digest(gathered, "sha256"))
            return rows, writer.schema.names

    def delete_folder(self, path: str) -> None:
        """Delete a folder with all its files; nothing happens when it is not there."""
        self._delete(self._fs.delete_dir, path)

    def delete(self, path: str) -> None:
        """Delete one file; nothing happens when it is not there."""
        self._delete(self._fs.delete_file, path)

    def _delete(self, action: Callable[[str], None], path: str) -> None:
        if self.exists(path):
            with contextlib.suppress(FileNotFoundError):  # a first attempt did it and its answer was lost
                self._try(lambda: action(self.full(path)), path)
        if self._noted is not None:
            root, files = self._noted
            gone = self.full(path).removeprefix(f"{root}/")
            for name in [name for name in files if f"{name}/".startswith(f"{gone}/")]:
                del files[name]


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger tables."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= ROWS_PER_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
