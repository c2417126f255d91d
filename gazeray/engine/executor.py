# SPDX-License-Identifier: Apache-2.0
"""Where passes and units are done: on a Ray cluster, or, with resources.workers=0, in this process without Ray.

Both use the same queue and the same serialisation, and give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import ray
import torch

from gazeray.config import ResourcesConfig
from gazeray.engine import passes, search, units
from gazeray.engine.cluster import cluster, workers_that_fit
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import UnitQueue
from gazeray.learn.inner_search import InnerSearch, Point
from gazeray.storage import Folder
from gazeray.store import Held, Store
from gazeray.study import Pass
from gazeray.unit import Worker

_SHELF: list[Held] = []
"""Columns in this process, by number, so that they are not copied when predictors are serialised."""


@dataclass
class Executor:
    """Does passes, points of a search, and units; holds what all workers share.

    workers: how many units at the same time. left_gb: what of data.cache_gb is left; columns that fit go where all
    workers can map them, the others are streamed. here: in this process, for debuggers, tests and tiny data.
    """

    resources: ResourcesConfig
    workers: int
    cache_gb: float
    view: ProgressView
    here: bool = False

    def __post_init__(self) -> None:
        self.left_gb = self.cache_gb

    @property
    def device(self) -> torch.device:
        """Of this process: a GPU where there is one and the config does not say otherwise."""
        return torch.device("cuda" if torch.cuda.is_available() and self.resources.per_unit.gpu != 0 else "cpu")

    def pieces(self, work: Pass) -> Iterable[passes.Fault]:
        """Do the pieces of a pass; yields the fault, or none, of each."""
        return passes.pieces_here(work, self.device) if self.here else passes.pieces_on_ray(work)

    def hold(self, store: Store, work: Pass) -> None:
        """Give the store that a pass filled its place in memory."""
        if not work.memory or not len(store):
            return
        size_gb = store.bytes_of(work.memory) / 1e9
        if size_gb > self.left_gb:
            left = f"{self.left_gb:g} left of data.cache_gb"
            self.view.line(f"{work.name}: {size_gb:.2f} GB, streamed from the shards ({left})")
            store.cache_bytes = self.left_gb * 1e9 / self.workers
            return
        store.shared = self._share(store.read(work.memory))
        self.left_gb -= size_gb
        self.view.line(f"{work.name}: {size_gb * 1e3:.1f} MB in shared memory")

    def _share(self, held: Held) -> Callable[[], Held]:
        """Put columns where all workers can map them; what comes back travels to them."""
        if not self.here:
            return partial(_from_ray, ray.put(held))
        for values in held.values():
            for one in values if isinstance(values, list) else [values]:
                one.flags.writeable = False  # as in shared memory
        _SHELF.append(held)
        return partial(_from_shelf, len(_SHELF) - 1)

    def points(self, work: InnerSearch, points: Sequence[Point], until: int, step: Callable[[], None]) -> None:
        """Work on points of a search up to an epoch. Raises StorageError, SearchError."""
        if self.here:
            search.points_here(work, points, until, self.device, self.resources.per_unit.cpu, step)
        else:
            search.points_on_tune(work, points, until, self.resources, step)

    def drain(self, queue: UnitQueue, work: units.Work, run: Folder, listen: units.Listener) -> None:
        """Do all units of the queue; `listen` hears every event. Raises nothing for a unit that fails."""
        if self.here:
            units.drain_here(queue, work, Worker(self.device, run), self.resources.per_unit.cpu, listen)
        else:
            units.drain_on_ray(queue, work, run, self.resources, self.view, listen)


def _from_ray(reference: object) -> Held:
    held: Held = ray.get(reference)
    return held


def _from_shelf(number: int) -> Held:
    return _SHELF[number]


@contextmanager
def executor(resources: ResourcesConfig, cache_gb: float, view: ProgressView) -> Iterator[Executor]:
    """What does the work of a run, for the time of the block. Raises ConfigError when no unit fits on the machines."""
    if resources.workers == 0:
        threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
        view.line("in this process, without Ray (resources.workers=0)")
        try:
            yield Executor(resources, 1, cache_gb, view, here=True)
        finally:
            _SHELF.clear()
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(deterministic)
        return
    with cluster():
        yield Executor(resources, workers_that_fit(resources, view.line), cache_gb, view)
