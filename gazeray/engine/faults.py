# SPDX-License-Identifier: Apache-2.0
"""Faults of the storage, and the user's wish to stop, however Ray wraps them."""

from __future__ import annotations

import re

from gazeray.storage import StorageError

BAD_PLACE = (PermissionError, NotADirectoryError, IsADirectoryError, FileNotFoundError, FileExistsError)
STORAGE_FAULTS = {kind.__name__: kind for kind in (StorageError, OSError, *BAD_PLACE)}
WORKER_FAULT = re.compile(rf"^(?:[\w.]+\.)?({'|'.join(STORAGE_FAULTS)}): (.+)$", re.MULTILINE)


def storage_fault(error: BaseException | None) -> OSError | None:
    """The OSError behind an error; None when there is none. A worker's arrives in Ray's own, often as text only."""
    while error is not None:
        told = WORKER_FAULT.findall(str(error)) if _is_rays(error, "RayTaskError") else []
        if told:
            name, text = told[-1]
            return STORAGE_FAULTS[name](text)
        if isinstance(error, OSError) and not _is_rays(error, "RayError"):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _is_rays(error: BaseException, name: str) -> bool:
    """Is it Ray's error of this name, or one of its kind? Asked by name: importing Ray takes longer than a plan."""
    return any((kind.__module__, kind.__name__) == ("ray.exceptions", name) for kind in type(error).__mro__)


def interrupted(error: BaseException | None) -> bool:
    """Is this SIGINT, or what went wrong in tidying up after one?"""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
