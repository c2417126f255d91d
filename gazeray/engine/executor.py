# SPDX-License-Identifier: Apache-2.0
"""Where passes, points of a search, and units are done: on a Ray cluster, or, with resources.workers=0, in this process
without Ray.

Both use the same queue and the same serialisation, and give the same numbers. Nothing is started, and no column is
read, before there is something to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import ray
import torch
from ray import cloudpickle

from gazeray.config import PerUnit, ResourcesConfig
from gazeray.engine import search
from gazeray.engine.cluster import cluster, machines, per_worker, room, workers_that_fit
from gazeray.engine.passes import PieceWorker, pieces_of, raise_fault
from gazeray.engine.pool import Job, Pool
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Listener, TaskQueue
from gazeray.engine.units import UnitWorker, Work
from gazeray.learn.inner_search import InnerSearch, Point
from gazeray.storage import Folder
from gazeray.store import Held, Store
from gazeray.store.passes import healed, verified
from gazeray.study import Pass
from gazeray.unit import Json

T = TypeVar("T")


class Executor:
    """Does what a run has to do; holds what all workers share.

    here: in this process, for debuggers, tests and tiny data. left_gb: what of data.cache_gb is left; columns that fit
    go where all workers can map them, the others are streamed.
    """

    def __init__(self, resources: ResourcesConfig, cache_gb: float, view: ProgressView) -> None:
        self.resources, self.left_gb, self.view = resources, cache_gb, view
        self.here = resources.workers == 0
        self.pool = Pool(view)
        self._shelves: list[Shelf] = []
        self._unread: list[tuple[Pass, Store]] = []
        self._began = ExitStack()
        self.has_begun = False

    # -- from the first task to the last

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.close()
        self._began.close()
        _SHELF.clear()

    def begin(self) -> None:
        """Before anything is done: start or join Ray, read into memory what is to lie there, compare what is streamed
        with its notes.

        Raises ConfigError when nothing answers at RAY_ADDRESS; StorageError.
        """
        self._start()
        for shelf in self._shelves:
            shelf.fill()
        while self._unread:
            work, store = self._unread.pop()
            self._heal(work, store, partial(verified, work, store, self._do))

    def _start(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            if self.here:
                self.view.line("in this process, without Ray (resources.workers=0)")
                self._began.enter_context(_torch_left_as_it_is())
            else:
                with self.view.stage("starting Ray"):
                    self._began.enter_context(cluster())

    @property
    def device(self) -> str:
        """Of this process: a GPU where there is one and the config does not say otherwise."""
        return "cuda" if torch.cuda.is_available() and self.resources.per_unit.gpu != 0 else "cpu"

    # -- what is done

    def pieces(self, work: Pass, listen: Listener) -> None:
        """Do the pieces of a pass; `listen` hears how each ended (`gazeray.engine.passes.raise_fault`)."""
        self.begin()
        self._pieces(work, listen)

    def _pieces(self, work: Pass, listen: Listener) -> None:
        job, tasks = partial(PieceWorker, work.make), pieces_of(work)
        queue = TaskQueue([*tasks], listen)
        if self.here:
            _drain_here(job, tasks, queue, self.device if work.network else "cpu")
            return
        most = workers_that_fit(ResourcesConfig(per_unit=PerUnit(cpu=1, gpu=0)), self.view.line)  # waits for a machine
        each, gpus = {"CPU": 1.0}, sum(room(machine, {"CPU": 1.0, "GPU": 1.0}) for machine in machines())
        if work.network and gpus:
            each, most = each | {"GPU": 1.0}, gpus
        self.pool.work(job, tasks, queue, each, most)

    def points(self, work: InnerSearch, points: Sequence[Point], until: int, step: Callable[[], None]) -> None:
        """Work on points of a search up to an epoch. Raises ConfigError, StorageError, SearchError."""
        self.begin()
        if self.here:
            search.points_here(work, points, until, torch.device(self.device), self.resources.per_unit.cpu, step)
        else:
            self.pool.close()  # Tune brings workers of its own
            search.points_on_tune(work, points, until, self.resources, step)

    def units(self, work: Work, run: Folder, listen: Listener) -> None:
        """Do some units; `listen` hears every event. Raises nothing for a unit that fails, ConfigError where none fits
        on the machines."""
        self.begin()
        tasks, threads = dict.fromkeys(work), self.resources.per_unit.cpu

        def hear(name: str, kind: str, payload: Json) -> None:
            if kind == "storage":  # nothing more is begun
                queue.close()
            listen(name, kind, payload)

        queue = TaskQueue([*tasks], hear)
        if self.here:
            _drain_here(partial(UnitWorker, work, run, threads, 1.0), tasks, queue, self.device)
            return
        fit, each = workers_that_fit(self.resources, self.view.line), per_worker(self.resources.per_unit)
        self.pool.work(partial(UnitWorker, work, run, threads, each.get("GPU", 0.0)), tasks, queue, each, fit)

    # -- memory

    def hold(self, store: Store, work: Pass, cached: bool = True) -> None:
        """Give the store that a pass filled its place in memory. cached: where it is streamed, with a cache."""
        if not work.memory or not len(store):
            return
        size_gb = store.bytes_of(work.memory) / 1e9
        if size_gb > self.left_gb:
            left = f"{self.left_gb:g} left of data.cache_gb"
            self.view.line(f"{work.name}: {size_gb:.2f} GB, streamed from the shards ({left})")
            sharers = 1 if self.here else self.resources.workers or os.cpu_count() or 1
            store.cache_bytes = self.left_gb * 1e9 / sharers if cached else 0.0
            self._unread.append((work, store))
            return

        def read() -> Held:
            self.view.line(f"{work.name}: {size_gb * 1e3:.1f} MB into shared memory")
            return self._heal(work, store, partial(store.read, work.memory))

        shelf = Shelf(read, self.here)
        store.shared = shelf
        self._shelves.append(shelf)
        self.left_gb -= size_gb

    def _heal(self, work: Pass, store: Store, read: Callable[[], T]) -> T:
        """What `read` gives of the packs of a pass, those that are damaged done again. Raises StorageError."""
        return healed(work, read, self._do, self.view.line, store)

    def _do(self, work: Pass) -> None:
        self._start()
        self._pieces(work, raise_fault)


def _drain_here(job: Job, tasks: Mapping[str, Any], queue: TaskQueue, device: str) -> None:
    """Do the tasks in this process, serialised as they are for workers elsewhere."""
    do = cloudpickle.loads(cloudpickle.dumps(job))(device)
    while (name := queue.next(0)) is not None:
        queue.over(name, *do(name, tasks[name], partial(queue.listen, name)))


class Shelf:
    """Some columns of a store where all workers can map them. See `Store.shared`.

    They are read when somebody asks for them, and put into shared memory when workers are to. here: in this process,
    for no other.
    """

    def __init__(self, read: Callable[[], Held], here: bool) -> None:
        self.read, self.here = read, here
        self.held: Held | None = None
        self.place: Any = None

    def fill(self) -> None:
        """Put the columns where the workers can map them. Raises StorageError."""
        if self.place is not None:
            return
        held = self()
        if self.here:
            self.place = len(_SHELF)
            _SHELF.append(held)
        else:
            self.place, self.held = ray.put(held), None

    def __call__(self) -> Held:
        """The columns, which are read-only."""
        if self.held is not None:
            return self.held
        if self.place is not None:
            return _SHELF[self.place] if self.here else ray.get(self.place)
        self.held = self.read()
        for values in self.held.values():
            for one in values if isinstance(values, list) else [values]:
                one.flags.writeable = False  # as in shared memory
        return self.held

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "read": None, "held": None}


_SHELF: list[Held] = []
"""Columns in this process, by number, so that they are not copied when predictors are serialised."""


@contextmanager
def _torch_left_as_it_is() -> Iterator[None]:
    """Its settings, for the time of the block."""
    threads, deterministic = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(deterministic)
