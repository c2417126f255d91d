# SPDX-License-Identifier: Apache-2.0
"""Units as the tasks of a pool.

A unit is done when its `result.json` exists with the unit's hash; that file is written last. So a run that was killed
does again only what is missing, and a unit that was cut off resumes from the checkpoint of its last epoch. A unit that
raises is recorded in `failure.json` and the others go on.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from gazeray.engine.pool import Event, Tell
from gazeray.learn.fit import be_deterministic
from gazeray.learn.trained import Trained
from gazeray.storage import Folder
from gazeray.study import Predictor, Row
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

Work = Mapping[str, tuple[Unit, Predictor]]
"""The units to do, by name, each with its predictor."""


@dataclass(frozen=True)
class OfVariant:
    """A predictor of a variant of the study: its units have a prefix, and know nothing of it.

    Seeds follow from the name without the prefix: a variant gives the numbers of a run of its own.
    """

    predictor: Predictor
    prefix: str

    @property
    def rows(self) -> Mapping[str, Row]:
        """Those of the predictor."""
        return self.predictor.rows

    @property
    def round(self) -> int:
        """That of the predictor."""
        return self.predictor.round

    def units(self) -> list[UnitSpec]:
        """Those of the predictor, without the prefix."""
        return list(self.predictor.units())

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Do it in a memory that only units of the same variant share; that of the variant before is dropped."""
        own = worker.memory.get(OfVariant)
        if own is None or own.prefix != self.prefix:
            own = worker.memory[OfVariant] = Worker(worker.device, worker.run, prefix=self.prefix)
        return self.predictor.run(replace(unit, name=unit.name.removeprefix(self.prefix)), own, out)


class UnitWorker:
    """Does one unit after another. See `gazeray.engine.pool.Do`."""

    def __init__(self, work: Work, run: Folder, threads: int, gpu: float, device: str) -> None:
        """threads: of a fit. gpu: the share of one that it may fill."""
        be_deterministic(threads)
        self.work, self.worker = work, Worker(torch.device(device), run)
        all_of = [each.predictor if isinstance(each, OfVariant) else each for _, each in work.values()]
        if any(isinstance(predictor, Trained) for predictor in all_of):
            torch.optim.SGD([torch.zeros(1)], 0.1)  # the first optimizer imports a compiler: now, not within a unit
        if device == "cuda" and gpu < 1:
            torch.cuda.set_per_process_memory_fraction(gpu, self.worker.device)

    def __call__(self, name: str, task: Any, tell: Tell) -> Event:
        unit, predictor = self.work[name]
        out = UnitFolder(self.worker.run, unit, tell)
        try:
            result = out.result()  # there when the worker died between the unit's end and telling of it
            if result is None:
                began = time.monotonic()
                result = predictor.run(unit, self.worker, out)
                result = {**result, "seconds": round(time.monotonic() - began, 3)}
                out.finish(result)
        except OSError as error:  # the storage: no failure can be written down, and the next unit would fare no better
            return "storage", {"error": str(error) or type(error).__name__}
        except Exception as error:  # whatever a unit raises is recorded, and must not stop the others
            return self._failed(out, error)
        return "done", result

    def _failed(self, out: UnitFolder, error: Exception) -> Event:
        text = f"{type(error).__name__}: {error}"
        try:
            out.fail(text, traceback.format_exc())
        except OSError as storage:
            return "storage", {"error": str(storage)}
        return "failed", {"error": text}
