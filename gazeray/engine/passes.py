# SPDX-License-Identifier: Apache-2.0
"""Passes over a data set: workers that are set up once, and then do one piece after another.

A piece writes its own shard, whose note is the mark that it is done: the study hands over only what is missing. Faults
come back as rows, told by their kind: the storage's, the data's, or a bug.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from gazeray.engine.cluster import machines, quiet_data, room
from gazeray.learn.fit import be_deterministic
from gazeray.storage import StorageError
from gazeray.study import Pass
from gazeray.tables import DataError

BLOCKS_PER_CORE, LEAST_BLOCKS = 8, 64
"""Of a pass. Progress and faults are seen block by block, and workers take them as they become free."""

Make = Callable[[torch.device], Callable[[Mapping[str, Any]], None]]
Fault = dict[str, str]
"""What went wrong in a piece: {kind: what}, kind storage, data or bug; {} when nothing did."""


class PieceWorker:
    """Sets up with the first piece, does one piece per call."""

    def __init__(self, make: Make, device: torch.device) -> None:
        be_deterministic(1)
        self.make, self.device = make, device
        self.do: Callable[[Mapping[str, Any]], None] | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        told = [self.tell(text) for text in batch["piece"]]
        return {kind: [faults.get(kind, "") for faults in told] for kind in ("storage", "data", "bug")}

    def tell(self, text: str) -> Fault:
        """Do a piece (JSON). Nothing is raised here: Ray Data would keep the workers of a pass that raised."""
        piece = json.loads(text)
        try:
            if self.do is None:  # not in __init__: what goes wrong there, Ray tells without its cause
                self.do = self.make(self.device)
            self.do(piece)
        except OSError as error:
            return {"storage": str(error) or type(error).__name__}
        except DataError as error:
            return {"data": json.dumps(error.errors)}
        except Exception as error:
            name = f"{piece['key']} cannot be done: {type(error).__name__}: {error}"
            return {"bug": f"{name}\n{traceback.format_exc()}"}
        return {}


def _do_pieces(batch: dict[str, np.ndarray], make: Make) -> dict[str, list[str]]:
    """A task: what costs nothing to set up needs no worker of its own."""
    return PieceWorker(make, torch.device("cpu"))(batch)


def pieces_on_ray(work: Pass) -> Iterable[Fault]:
    """Do the pieces of a pass on the cluster: in actors what is set up once, on GPUs where there are some; the rest in
    tasks. Yields the fault, or none, of each piece."""
    quiet_data()
    rows = [{"piece": json.dumps(dict(piece))} for piece in work.pieces]
    cores = sum(room(machine, {"CPU": 1.0}) for machine in machines())
    blocks = min(len(rows), max(LEAST_BLOCKS, BLOCKS_PER_CORE * cores))
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    how: dict[str, Any] = {"batch_size": 1, "num_cpus": 1}
    if not work.network:
        told = dataset.map_batches(_do_pieces, fn_kwargs={"make": work.make}, **how)
    else:
        gpus = sum(room(machine, {"CPU": 1.0, "GPU": 1.0}) for machine in machines())
        workers = max(1, min(gpus or cores, len(rows)))
        device = torch.device("cuda" if gpus else "cpu")
        how |= {"fn_constructor_args": (work.make, device), "num_gpus": 1 if gpus else None}
        told = dataset.map_batches(PieceWorker, compute=ray.data.ActorPoolStrategy(size=workers), **how)
    yield from told.iter_rows()


def pieces_here(work: Pass, device: torch.device) -> Iterable[Fault]:
    """The same in this process."""
    worker = PieceWorker(work.make, device if work.network else torch.device("cpu"))
    for piece in work.pieces:
        yield worker.tell(json.dumps(dict(piece)))


def raise_fault(fault: Fault) -> None:
    """Raises StorageError: a worker could not read or write. DataError: the data make the pass impossible. RuntimeError
    with the worker's traceback: anything else."""
    if fault.get("storage"):
        raise StorageError(fault["storage"])
    if fault.get("data"):
        raise DataError(json.loads(fault["data"]))
    if fault.get("bug"):
        raise RuntimeError(fault["bug"])
