# SPDX-License-Identifier: Apache-2.0
"""Passes over a data set: workers that are set up once, and then do one piece after another.

A piece writes its own pack, whose note is the mark that it is done: the study hands over only what is missing. Faults
come back as words, told by their kind: the storage's, the data's, or a bug.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gazeray.engine.pool import Event, Tell
from gazeray.learn.fit import be_deterministic
from gazeray.storage import StorageError
from gazeray.study import Pass
from gazeray.tables import DataError
from gazeray.unit import Json

Make = Callable[[torch.device], Callable[[Mapping[str, Any]], None]]


class PieceWorker:
    """Sets up with the first piece, does one piece per call. See `gazeray.engine.pool.Do`."""

    def __init__(self, make: Make, device: str) -> None:
        be_deterministic(1)
        self.make, self.device = make, torch.device(device)
        self.do: Callable[[Mapping[str, Any]], None] | None = None

    def __call__(self, key: str, piece: Mapping[str, Any], tell: Tell) -> Event:
        try:
            if self.do is None:
                self.do = self.make(self.device)
            self.do(piece)
        except OSError as error:
            return "storage", {"error": str(error) or type(error).__name__}
        except DataError as error:
            return "data", {"errors": error.errors}
        except Exception as error:
            name = f"{key} cannot be done: {type(error).__name__}: {error}"
            return "bug", {"error": f"{name}\n{traceback.format_exc()}"}
        return "done", {}


def pieces_of(work: Pass) -> dict[str, Json]:
    """The pieces of a pass by their keys, as what travels to the workers."""
    return {str(piece["key"]): json.loads(json.dumps(dict(piece))) for piece in work.pieces}


def raise_fault(key: str, kind: str, told: Mapping[str, Any]) -> None:
    """Raises StorageError: a worker could not read or write. DataError: the data make the pass impossible. RuntimeError
    with the worker's traceback: anything else that ended a piece. Hears of everything else in silence."""
    if kind == "storage":
        raise StorageError(told["error"])
    if kind == "data":
        raise DataError(told["errors"])
    if kind == "bug":
        raise RuntimeError(told["error"])
    if kind == "died":
        raise RuntimeError(f"{key} cannot be done: {told['error']}; was there memory enough?")
