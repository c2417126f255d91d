# SPDX-License-Identifier: Apache-2.0
"""Passes over a data set on Ray Data: actors that are set up once, and then do one piece after another.

A piece writes its own files, and these are the mark that it is done: the study hands over only what is missing.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from gazeray.engine.cluster import machines, quiet_data, room
from gazeray.engine.progress import ProgressView
from gazeray.learn.fit import be_deterministic
from gazeray.storage import StorageError
from gazeray.study import Pass
from gazeray.tables import DataError

MOST_BLOCKS = 1000
"""Of a pass. Progress and faults are seen block by block, and workers take them as they become free."""


class PieceWorker:
    """Sets up with the first piece, does one piece per call. Faults come back as rows, with their cause."""

    def __init__(self, make: Callable[[torch.device], Callable[[Mapping[str, Any]], None]], gpu: bool) -> None:
        be_deterministic(1)
        self.make, self.device = make, torch.device("cuda" if gpu else "cpu")
        self.do: Callable[[Mapping[str, Any]], None] | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        told = [self._try(json.loads(text)) for text in batch["item"]]
        return {kind: [faults.get(kind, "") for faults in told] for kind in ("storage", "data", "bug")}

    def _try(self, item: Mapping[str, Any]) -> dict[str, str]:
        """The fault by its kind. Nothing is raised here: Ray Data would keep the workers of a pass that raised."""
        try:
            if self.do is None:  # not in __init__: what goes wrong there, Ray tells without its cause
                self.do = self.make(self.device)
            self.do(item)
        except OSError as error:
            return {"storage": str(error) or type(error).__name__}
        except DataError as error:
            return {"data": json.dumps(error.errors)}
        except Exception as error:
            name = f"{item['key']} cannot be done: {type(error).__name__}: {error}"
            return {"bug": f"{name}\n{traceback.format_exc()}"}
        return {}


def _do_pieces(
    batch: dict[str, np.ndarray], make: Callable[[torch.device], Callable[[Mapping[str, Any]], None]]
) -> dict[str, list[str]]:
    """A task: what costs nothing to set up needs no worker of its own."""
    return PieceWorker(make, gpu=False)(batch)


def go_through(work: Pass, view: ProgressView) -> None:
    """Do the items of a pass: in actors what is set up once, on GPUs where the cluster has some; the rest in tasks.

    Raises StorageError when a worker could not read or write, DataError when the data make the pass impossible, and
    RuntimeError with the worker's traceback for anything else.
    """
    with view.stage(work.name, len(work.items)) as progress:
        if not work.items:
            return
        quiet_data()
        rows = [{"item": json.dumps(dict(item))} for item in work.items]
        on_gpu = work.network and _room(ON_GPU) > 0
        workers = max(1, min(_room(ON_GPU if on_gpu else ON_CPU), len(rows)))
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
        how: dict[str, Any] = {"batch_size": 1, "num_cpus": 1}
        if work.network:
            how |= {"fn_constructor_args": (work.make, on_gpu), "num_gpus": 1 if on_gpu else None}
            told = dataset.map_batches(PieceWorker, compute=ray.data.ActorPoolStrategy(size=workers), **how)
        else:
            told = dataset.map_batches(_do_pieces, fn_kwargs={"make": work.make}, **how)
        for row in told.iter_rows():
            if row["storage"]:
                raise StorageError(row["storage"])
            if row["data"]:
                raise DataError(json.loads(row["data"]))
            if row["bug"]:
                raise RuntimeError(row["bug"])
            progress.step()


ON_CPU = {"CPU": 1.0}
ON_GPU = {"CPU": 1.0, "GPU": 1.0}


def _room(wanted: Mapping[str, float]) -> int:
    return sum(room(machine, wanted) for machine in machines())
