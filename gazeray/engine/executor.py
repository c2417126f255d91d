# SPDX-License-Identifier: Apache-2.0
"""Where passes and units are done: on a Ray cluster, or, with resources.workers=0, in this process without Ray.

Both use the same queue and the same serialisation, and give the same numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import ray
import torch

from gazeray.config import ResourcesConfig
from gazeray.engine import passes, search, units
from gazeray.engine.cluster import cluster, workers_that_fit
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import UnitQueue
from gazeray.learn.inner_search import InnerSearch, Point
from gazeray.storage import Folder
from gazeray.store import Held
from gazeray.study import Pass
from gazeray.unit import Worker


class Executor(Protocol):
    """Does passes, points of a search, and units; holds what all workers share."""

    workers: int

    def pieces(self, work: Pass) -> Iterable[passes.Fault]:
        """Do the pieces of a pass; yields the fault, or none, of each."""

    def share(self, held: Held) -> Callable[[], Held]:
        """Put columns where all workers can map them; what comes back travels to them."""

    def points(self, work: InnerSearch, points: Sequence[Point], until: int, step: Callable[[], None]) -> None:
        """Work on points of a search up to an epoch. Raises StorageError, SearchError."""

    def drain(
        self, queue: UnitQueue, work: units.Work, run: Folder, view: ProgressView, listen: units.Listener
    ) -> None:
        """Do all units of the queue; `listen` hears every event. Raises nothing for a unit that fails."""


@dataclass
class RayExecutor:
    """On the cluster that is joined."""

    resources: ResourcesConfig
    workers: int

    def pieces(self, work: Pass) -> Iterable[passes.Fault]:
        return passes.pieces_on_ray(work)

    def share(self, held: Held) -> Callable[[], Held]:
        return _InObjectStore(ray.put(held))

    def points(self, work: InnerSearch, points: Sequence[Point], until: int, step: Callable[[], None]) -> None:
        search.points_on_tune(work, points, until, self.resources, step)

    def drain(
        self, queue: UnitQueue, work: units.Work, run: Folder, view: ProgressView, listen: units.Listener
    ) -> None:
        units.drain_on_ray(queue, work, run, self.resources, view, listen)


@dataclass
class LocalExecutor:
    """In this process: for debuggers, tests and tiny data."""

    resources: ResourcesConfig
    workers: int = 1

    @property
    def device(self) -> torch.device:
        """A GPU where there is one and the config does not say otherwise."""
        return torch.device("cuda" if torch.cuda.is_available() and self.resources.per_unit.gpu != 0 else "cpu")

    def pieces(self, work: Pass) -> Iterable[passes.Fault]:
        return passes.pieces_here(work, self.device)

    def share(self, held: Held) -> Callable[[], Held]:
        return _OnShelf.put(held)

    def points(self, work: InnerSearch, points: Sequence[Point], until: int, step: Callable[[], None]) -> None:
        search.points_here(work, points, until, self.device, self.resources.per_unit.cpu, step)

    def drain(
        self, queue: UnitQueue, work: units.Work, run: Folder, view: ProgressView, listen: units.Listener
    ) -> None:
        units.drain_here(queue, work, Worker(self.device, run), self.resources.per_unit.cpu, listen)


@dataclass(frozen=True)
class _InObjectStore:
    """Columns in Ray's object store, mapped and not copied."""

    reference: object

    def __call__(self) -> Held:
        held: Held = ray.get(self.reference)
        return held


@dataclass(frozen=True)
class _OnShelf:
    """Columns in this process, by number, so that they are not copied when predictors are serialised."""

    number: int

    _SHELF = {}  # type: ignore[var-annotated]  # noqa: RUF012
    _NUMBERS = itertools.count()

    @classmethod
    def put(cls, held: Held) -> _OnShelf:
        for values in held.values():
            for one in [values] if not isinstance(values, list) else values:
                one.flags.writeable = False  # as in shared memory
        number = next(cls._NUMBERS)
        cls._SHELF[number] = held
        return cls(number)

    def __call__(self) -> Held:
        held: Held = self._SHELF[self.number]
        return held

    @classmethod
    def clear(cls) -> None:
        cls._SHELF.clear()


@contextmanager
def executor(resources: ResourcesConfig, view: ProgressView) -> Iterator[Executor]:
    """What does the work of a run, for the time of the block. Raises ConfigError when no unit fits on the machines."""
    if resources.workers == 0:
        threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
        view.line("in this process, without Ray (resources.workers=0)")
        try:
            yield LocalExecutor(resources)
        finally:
            _OnShelf.clear()
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(deterministic)
        return
    with cluster():
        yield RayExecutor(resources, workers_that_fit(resources, view.line))
