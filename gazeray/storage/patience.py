# SPDX-License-Identifier: Apache-2.0
"""Faults of a storage: what may pass is waited out, what lasts is raised at once under the name of its place."""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from gazeray.config import masked

T = TypeVar("T")

PATIENCE_S, FIRST_WAIT_S, LONGEST_WAIT_S = 90.0, 0.2, 10.0
"""How long a transient fault is waited out, and the waits between attempts: doubled each time, up to a quarter off."""

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


def retried(action: Callable[[], T], place: str, hint: str = "") -> T:
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
