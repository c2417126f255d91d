# SPDX-License-Identifier: Apache-2.0
"""Worker processes on a Ray cluster: one set of them reads the data and fits the models of a run.

Starting a process and importing PyTorch takes seconds, so the workers of a run live from its first task to its last,
as long as what each of them takes of its machine stays the same. A worker does one task at a time, and what it tells on
the way reaches the driver as it is told. A worker that dies takes its task with it and nothing else: another one
takes its place when there is room, and the task goes back to the queue.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from gazeray.engine.cluster import worker_environment
from gazeray.engine.queue import MAX_DEATHS, TaskQueue
from gazeray.unit import Json

if TYPE_CHECKING:
    from gazeray.engine.progress import ProgressView

SAY_AFTER_S = 60.0
"""When no worker has begun by then, a line says what it waits for."""

Event = tuple[str, Json]
"""(kind, payload): what a worker tells of a task."""

Tell = Callable[[str, Json], None]

Do = Callable[[str, Any, Tell], Event]
"""do(name, task, tell): does a task, tells what happens meanwhile, returns how it ended. What it raises ends all."""

Job = Callable[[str], Do]
"""Sets up a process for the tasks of one kind: called once with its device, "cpu" or "cuda". Travels to the workers."""


class PoolWorker:
    """A process of the pool. A job is set up with its first task here."""

    def __init__(self, device: str) -> None:
        self.device, self.job = device, ""
        self.do: Do | None = None

    @ray.method(num_returns="streaming")
    def work(self, job: str, setup: Sequence[Any], name: str, task: Any) -> Iterator[tuple[str, Json, bool]]:
        """Do one task of a job: yields (kind, payload, is it the last) as it comes. setup: a reference to the Job."""
        told: queue.SimpleQueue[tuple[str, Json, bool] | BaseException] = queue.SimpleQueue()

        def run() -> None:
            try:
                if self.do is None or self.job != job:
                    self.do = None  # what the job before kept in memory goes first
                    self.do, self.job = ray.get(setup[0])(self.device), job
                told.put((*self.do(name, task, lambda kind, payload: told.put((kind, payload, False))), True))
            except BaseException as error:
                told.put(error)

        thread = threading.Thread(target=run)
        thread.start()
        is_last = False
        while not is_last:
            event = told.get()
            if isinstance(event, BaseException):
                raise event
            is_last = event[2]
            yield event
        thread.join()


@dataclass
class _Member:
    """A worker of the pool. begun: there as soon as its process is; None once that was seen. task: under way."""

    actor: ActorHandle
    begun: Any
    task: str | None = None


@dataclass
class Pool:
    """The workers, by rank. each: what one of them takes of its machine, {"CPU": n, "GPU": share}."""

    view: ProgressView
    each: Mapping[str, float] = field(default_factory=dict)
    members: dict[int, _Member] = field(default_factory=dict)
    hired: int = 0
    stillborn: int = 0

    def work(self, job: Job, tasks: Mapping[str, Any], queue: TaskQueue, each: Mapping[str, float], most: int) -> None:
        """Do the tasks of a queue on at most so many workers, each of which takes `each`; the queue hears every event.

        Raises RayTaskError: a job could not be set up. RuntimeError: workers die as they start.
        """
        try:
            self._staff(each, most, len(tasks))
            self._drain(uuid.uuid4().hex, [ray.put(job)], tasks, queue)
        except BaseException:
            self.close()  # some of them may be in the middle of something
            raise

    def close(self) -> None:
        """End all processes."""
        for rank in [*self.members]:
            ray.kill(self.members.pop(rank).actor)

    def _staff(self, each: Mapping[str, float], most: int, tasks: int) -> None:
        """Have a worker for each task, `most` at most; those that are there already first."""
        if self.each != each:
            self.close()
            self.each = each
        for rank in [*self.members][most:]:
            ray.kill(self.members.pop(rank).actor)
        while len(self.members) < min(most, tasks):
            self._hire()

    def _hire(self) -> None:
        gpu = self.each.get("GPU", 0)
        options: dict[str, Any] = {"num_cpus": self.each["CPU"], "num_gpus": gpu, "scheduling_strategy": "SPREAD"}
        if lacks := worker_environment():
            options["runtime_env"] = {"env_vars": lacks}
        actor = ray.remote(PoolWorker).options(**options).remote("cuda" if gpu else "cpu")
        self.members[self.hired] = _Member(actor, actor.__ray_ready__.remote())
        self.hired += 1

    def _drain(self, job: str, setup: list[Any], tasks: Mapping[str, Any], queue: TaskQueue) -> None:
        streams: dict[Any, int] = {}
        say_at, said, self.stillborn = time.monotonic() + SAY_AFTER_S, False, 0
        while True:
            for rank, member in self.members.items():
                if member.begun is None and member.task is None and (name := queue.next(rank)) is not None:
                    member.task = name
                    streams[member.actor.work.remote(job, setup, name, tasks[name])] = rank
            if not streams and not queue.is_left():
                return
            starting = {member.begun: rank for rank, member in self.members.items() if member.begun is not None}
            watched = [*streams, *starting]
            seen, _ = ray.wait(watched, timeout=None if streams or said else max(0.0, say_at - time.monotonic()))
            if streams:
                say_at = time.monotonic() + SAY_AFTER_S  # somebody was at work: counted is the time that nobody is
            if not seen:
                self.view.line(self._what_is_waited_for())
                said = True
            for one in ray.wait(watched, num_returns=len(watched), timeout=0)[0]:  # nobody talks the others down
                try:
                    if one in streams:
                        self._hear(one, streams, queue)
                    else:
                        ray.get(one)
                        self.members[starting[one]].begun = None
                except RayTaskError:
                    raise
                except RayError as error:
                    self._replace(starting[one] if one in starting else streams.pop(one), queue, error)

    def _replace(self, rank: int, queue: TaskQueue, error: RayError) -> None:
        """A process was ended: by a signal, for want of memory, with its machine. Another one takes its place."""
        member = self.members.pop(rank)
        self.stillborn = self.stillborn + 1 if member.begun is not None else 0
        if self.stillborn > MAX_DEATHS * (len(self.members) + 1):
            text = " ".join(str(error).split())[:500]
            raise RuntimeError(f"workers die as they start: {text}") from error
        ray.kill(member.actor)
        queue.lost(rank)
        self._hire()

    def _hear(self, stream: Any, streams: dict[Any, int], queue: TaskQueue) -> None:
        """Take one event from a worker; after the last one of its task it is free."""
        member = self.members[streams[stream]]
        kind, payload, is_last = ray.get(next(stream))
        assert member.task is not None
        name = member.task
        if is_last:
            del streams[stream]
            member.task = None
        (queue.over if is_last else queue.listen)(name, kind, payload)

    def _what_is_waited_for(self) -> str:
        """What a worker takes, what is free, where the log is."""
        free, whole = ray.available_resources(), ray.cluster_resources()
        wants = ", ".join(f"{amount:g} {name}" for name, amount in self.each.items())
        have = ", ".join(f"{free.get(name, 0):g} of {whole.get(name, 0):g} {name}" for name in self.each)
        logs = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR).address_info["session_dir"]
        return f"no worker has begun after {SAY_AFTER_S:g} s: one takes {wants}; free now: {have}; log: {logs}/logs"
