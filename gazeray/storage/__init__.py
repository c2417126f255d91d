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
import errno
import hashlib
import io
import json
import logging
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from gazeray.config import ConfigError, StorageConfig
from gazeray.config import masked as masked
from gazeray.storage.s3 import credentials_of, patient_s3, s3_options

T = TypeVar("T")

PATIENCE_S, FIRST_WAIT_S, LONGEST_WAIT_S = 90.0, 0.2, 10.0
"""How long a transient fault is waited out, and the waits between attempts: doubled each time, up to a quarter off."""

HASHED_AT_ONCE = 8 << 20
"""Bytes of a file that are in memory while it is hashed."""

TRANSIENT_ERRNOS = {
    *(errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ESTALE, errno.ETIMEDOUT, errno.EPIPE),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN),
}

TRANSIENT_AWS = {
    *("NETWORK_CONNECTION", "INTERNAL_FAILURE", "SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING", "REQUEST_TIMEOUT"),
    *("NO_SUCH_UPLOAD", "408", "425", "429", "500", "502", "503", "504"),
}
"""What a file system, an object store (its names, HTTP status without one) may get over. All else is raised at once."""

_AWS_ERROR = re.compile(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))? during \w+ operation: (.*)", re.DOTALL)
_FOLDER = "is a directory"  # in pyarrow's words, who gives no number
_NO_NEWS = re.compile(r"^curlCode: \d+, |\(Request ID.*|^Unable to parse ExceptionName: |No response body\.?")
_DENIED = re.compile(r"DENIED|ACCESS_KEY|SIGNATURE|TOKEN|CLIENT|EXPIRED|\(HTTP status 40[013]\)")


_log, _jitter = logging.getLogger(__name__), random.Random()


class StorageError(OSError):
    """The storage refuses, or has not answered for longer than anyone should wait. The message names place, reason."""


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


def split_uri(uri: str) -> tuple[str, str]:
    """(folder, name) of a file's URI; the options behind "?" stay with the folder."""
    place, mark, options = uri.partition("?")
    return place.rpartition("/")[0] + mark + options, place.rpartition("/")[2]


def _retried(action: Callable[[], T], place: str, hint: str = "") -> T:
    """Run `action`; a transient OSError is waited out, any other is raised at once under the name of its `place`.

    hint: what to say where access is denied. Raises FileNotFoundError, PermissionError and their like as they are,
    StorageError for what an object store refuses and for a transient fault that outlasts PATIENCE_S.
    """
    begun, wait, told = time.monotonic(), FIRST_WAIT_S, False
    while True:
        try:
            return action()
        except OSError as error:
            if not _transient(error):
                raise _named(error, place, hint) from error
            waited = time.monotonic() - begun
            if waited + wait > PATIENCE_S:
                raise StorageError(f"{place}: tried for {waited:.0f} s: {_reason(error)}") from error
            if wait > 1 and not told:
                told = True
                _log.warning("%s: %s; trying again for up to %.0f s", place, _reason(error), PATIENCE_S)
        time.sleep(wait * _jitter.uniform(0.75, 1.0))
        wait = min(2 * wait, LONGEST_WAIT_S)


def _transient(error: OSError) -> bool:
    """May the same action succeed a little later?"""
    if error.errno is not None or _FOLDER in str(error):
        return error.errno in TRANSIENT_ERRNOS
    found = _AWS_ERROR.search(str(error))
    if found is None:
        return type(error) is OSError or isinstance(error, (ConnectionError, TimeoutError))
    name, status, text = found.groups()
    return (status if name == "UNKNOWN" and status else name) in TRANSIENT_AWS and "certificate" not in text


def _named(error: OSError, place: str, hint: str) -> OSError:
    """A lasting fault as the exception to raise, which names its place."""
    found = _AWS_ERROR.search(str(error))
    if (number := errno.EISDIR if _FOLDER in str(error) else error.errno) is not None:
        return OSError(number, os.strerror(number), place)  # of the class that belongs to the number
    if found is None:
        return type(error)(f"{place}: {_reason(error)}")
    if found[1] in ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND"):
        reason = "There is no such bucket" if found[1] == "NO_SUCH_BUCKET" else os.strerror(errno.ENOENT)
        return FileNotFoundError(errno.ENOENT, reason, place)
    return StorageError(f"{place}: {_reason(error)}" + (f" ({hint})" if _DENIED.search(found[0]) else ""))


def _reason(error: OSError) -> str:
    """What went wrong, in one line."""
    found = _AWS_ERROR.search(str(error))
    if found is None:
        return masked(" ".join(str(error).split()))
    name, status, text = found.groups()
    known = f"HTTP status {status}" if name == "UNKNOWN" and status else name.replace("_", " ").lower()
    return masked(f"{known}: {' '.join(_NO_NEWS.sub('', text).split())}".rstrip(" :"))


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
        return _retried(action, f"{self.uri}/{path}".rstrip("/"), self._hint)

    # -- reading

    def exists(self, path: str = "") -> bool:
        """Is there a file (or folder) at `path`; without a path: is the root there."""
        info = self._try(lambda: self._fs.get_file_info(self.full(path) if path else self._root), path)
        return bool(info.type != pa.fs.FileType.NotFound)

    def sizes(self, paths: Iterable[str]) -> dict[str, int]:
        """The bytes of those of these files that are there."""
        full = {self.full(path): path for path in paths}
        infos = self._try(lambda: self._fs.get_file_info(list(full)))
        return {full[info.path]: int(info.size) for info in infos if info.type == pa.fs.FileType.File}

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

        self._try(write, path)
        if self._noted is not None:
            root, files = self._noted
            files[full.removeprefix(f"{root}/")] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

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
