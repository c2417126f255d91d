# SPDX-License-Identifier: Apache-2.0
"""S3 by s3fs, for endpoints and options that pyarrow's client lacks: as a pyarrow file system with the same errors."""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import aiohttp
import pyarrow as pa
import pyarrow.fs
from botocore import exceptions
from botocore.parsers import ResponseParserError
from s3fs import S3FileSystem

from gazeray.storage.s3 import CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S

OPTIONS = set(inspect.signature(S3FileSystem.__init__).parameters) - {
    *("self", "kwargs", "asynchronous", "loop", "session"),
    *("anon", "key", "secret", "token", "username", "password"),
}
"""What storage.options may hold. Credentials come from where pyarrow's client takes them."""

TOLD = (exceptions.BotoCoreError, ResponseParserError, aiohttp.ClientError)
"""What goes wrong before a store has answered, or while it does."""

LASTING = {
    "ACCESS_DENIED": (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
    "VALIDATION": (exceptions.ParamValidationError, exceptions.ProfileNotFound, exceptions.InvalidConfigError),
}
"""What of it no waiting heals, by the name that pyarrow has for it."""


def s3fs_client(options: Mapping[str, Any], more: Mapping[str, Any], attempts: int) -> pa.fs.PyFileSystem:
    """A client with these options (those of pyarrow.fs.S3FileSystem) and `more` of s3fs's own, which win.

    Nothing is cached. Raises ValueError where one of `more` is not among OPTIONS.
    """
    unknown = sorted(set(more) - OPTIONS)
    if unknown:
        raise ValueError(f"storage.options: unknown: {', '.join(unknown)} (allowed: {', '.join(sorted(OPTIONS))})")
    endpoint = options.get("endpoint_override")
    if endpoint and "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    style = "virtual" if options["force_virtual_addressing"] or not endpoint else "path"
    client: dict[str, Any] = {"region_name": options["region"]}
    if "tls_ca_file_path" in options:
        client["verify"] = options["tls_ca_file_path"]
    config = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": REQUEST_TIMEOUT_S,
        "retries": {"total_max_attempts": attempts, "mode": "standard"},
        "s3": {"addressing_style": style},
    }
    own: dict[str, Any] = {"anon": options["anonymous"], "endpoint_url": endpoint}
    for name, theirs in (("key", "access_key"), ("secret", "secret_key"), ("token", "session_token")):
        own[name] = options.get(theirs)
    own |= {
        **more,
        "client_kwargs": {**client, **more.get("client_kwargs", {})},
        "config_kwargs": {**config, **more.get("config_kwargs", {})},
    }
    system = S3FileSystem(**own, use_listings_cache=False, skip_instance_cache=True)
    system.retries = 1  # botocore tries again, `attempts` times
    return pa.fs.PyFileSystem(S3fsHandler(system))


class S3fsHandler(pa.fs.FSSpecHandler):
    """pyarrow's handler, but that no fault is taken for a file that is not there, and uploads are whole or none."""

    @staticmethod
    def _create_file_info(path: str, info: Mapping[str, Any]) -> Any:
        kind = pa.fs.FileType.Directory if info["type"] == "directory" else pa.fs.FileType.File
        return pa.fs.FileInfo(path, kind, size=info["size"], mtime=info.get("LastModified"))

    def get_file_info(self, paths: Sequence[str]) -> Any:
        with _in_words_of_pyarrow():
            return super().get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        base, infos = selector.base_dir.strip("/"), []
        with _in_words_of_pyarrow():
            found = self.fs.find(base, maxdepth=None if selector.recursive else 1, withdirs=True, detail=True)
        for path, info in found.items():
            if path.strip("/") != base:
                infos.append(self._create_file_info(path, info))
        if not infos and not selector.allow_not_found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), base)
        return infos

    def create_dir(self, path: str, recursive: bool) -> None:
        """Nothing: a folder is there when a file in it is."""

    def delete_dir(self, path: str) -> None:
        with _in_words_of_pyarrow():
            self.fs.rm(path, recursive=True)
            left = self.fs.find(path)  # s3fs says nothing of a file that the store refuses to delete
        if left:
            raise OSError(
                f"AWS Error ACCESS_DENIED during DeleteObjects operation: {len(left)} files could not be deleted"
            )

    def delete_file(self, path: str) -> None:
        with _in_words_of_pyarrow():
            self.fs.rm_file(path)

    def open_input_stream(self, path: str) -> Any:
        with _in_words_of_pyarrow():
            return pa.PythonFile(_Download(self.fs.open(path, "rb")), mode="r")

    def open_input_file(self, path: str) -> Any:
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return pa.PythonFile(_Upload(self.fs, path), mode="w")


class _Download(io.RawIOBase):
    """An open file of s3fs."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with _in_words_of_pyarrow():
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        self._file.close()
        super().close()


class _Upload(io.BytesIO):
    """What is written goes to the store as one object when it is closed."""

    def __init__(self, system: Any, path: str) -> None:
        super().__init__()
        self._system, self._path = system, path

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            with _in_words_of_pyarrow():
                self._system.pipe_file(self._path, data)


@contextlib.contextmanager
def _in_words_of_pyarrow() -> Iterator[None]:
    """Errors of s3fs as OSErrors that read like those of pyarrow's client, so that the same rules tell them apart."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (exceptions.ClientError, *TOLD)):
            cause = cause.__cause__
        if isinstance(cause, exceptions.ClientError):
            raise OSError(_line(cause)) from error
        if cause is not None:
            name = next((name for name, kinds in LASTING.items() if isinstance(cause, kinds)), "NETWORK_CONNECTION")
            raise OSError(f"AWS Error {name} during any operation: {cause}") from error
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(error)) from error
        raise


def _line(error: Any) -> str:
    """What a store answered: its name for the fault (UNKNOWN where only the HTTP status counts) and its message."""
    status, said = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), error.response["Error"]
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", said.get("Code", "")).upper()
    if status == 404 and name != "NO_SUCH_BUCKET":
        name = "NO_SUCH_KEY"
    elif status >= 500 or not re.fullmatch("[A-Z_]+", name):
        name = "ACCESS_DENIED" if status == 403 else "UNKNOWN"
    return f"AWS Error {name} (HTTP status {status}) during {error.operation_name} operation: {said.get('Message', '')}"
