# SPDX-License-Identifier: Apache-2.0
"""The pool: its processes last, tell as they go, are replaced when they die, and say so when they cannot begin."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayTaskError
from rich.console import Console

from gazeray.engine import pool as pool_module
from gazeray.engine.pool import Pool
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import TaskQueue
from tests.processes import gone

ONE = {"CPU": 1.0}


class Heard(list[tuple[str, str, Any]]):
    """Every event."""

    def __call__(self, name: str, kind: str, payload: Any) -> None:
        self.append((name, kind, payload))

    def payloads(self, kind: str) -> list[Any]:
        return [payload for _, one, payload in self if one == kind]


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def pool(ray_cluster: None, shown: io.StringIO) -> Iterator[Pool]:
    pool = Pool(ProgressView(Console(file=shown, width=300)))
    yield pool
    pool.close()


def pid_job() -> Callable[[str], Any]:
    """Tells twice that it is at it, then says who it was. By value, since workers cannot import tests."""

    def set_up(device: str) -> Any:
        import os
        import uuid

        made = uuid.uuid4().hex

        def do(name: str, task: Any, tell: Any) -> tuple[str, dict[str, Any]]:
            tell("epoch", {"epoch": 1})
            tell("epoch", {"epoch": 2})
            return "done", {"pid": os.getpid(), "task": task, "made": made, "device": device}

        return do

    return set_up


def work(pool: Pool, tasks: dict[str, Any], job: Any = None, each: dict[str, float] = ONE, most: int = 2) -> Heard:
    heard = Heard()
    pool.work(job or pid_job(), tasks, TaskQueue([*tasks], heard), each, most)
    return heard


def test_processes_last_from_job_to_job_and_each_job_is_set_up_once_in_each(pool: Pool) -> None:
    tasks = {f"t{number}": {"number": number} for number in range(8)}
    first, second = work(pool, tasks), work(pool, tasks)
    done = [one.payloads("done") for one in (first, second)]
    assert [payload["task"] for payload in sorted(done[0], key=lambda one: one["task"]["number"])] == [*tasks.values()]
    pids = [{payload["pid"] for payload in one} for one in done]
    assert len(pids[0] | pids[1]) <= 2
    assert os.getpid() not in pids[0] | pids[1]
    for one in done:
        assert len({payload["made"] for payload in one}) == len({payload["pid"] for payload in one})
    assert {payload["device"] for payload in done[0]} == {"cpu"}


def test_events_of_a_task_come_in_their_order(pool: Pool) -> None:
    heard = work(pool, {"a": None, "b": None})
    for name in ("a", "b"):
        assert [kind for task, kind, _ in heard if task == name] == ["started", "epoch", "epoch", "done"]


def test_other_needs_are_other_processes_and_the_first_ones_end(pool: Pool) -> None:
    (before,) = work(pool, {"a": None}, most=1).payloads("done")
    (after,) = work(pool, {"a": None}, each={"CPU": 2.0}).payloads("done")
    assert before["pid"] != after["pid"]
    assert gone([before["pid"]])


def test_job_that_cannot_be_set_up_ends_the_work_with_its_traceback(pool: Pool) -> None:
    def set_up(device: str) -> Any:
        raise LookupError("no such network")

    with pytest.raises(RayTaskError, match="no such network"):
        work(pool, {"a": None}, set_up)
    assert not pool.members, "no process is left behind"


def test_says_once_what_it_waits_for(pool: Pool, shown: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else holds the machine; when it is free the work is done."""
    monkeypatch.setattr(pool_module, "SAY_AFTER_S", 0.2)

    @ray.remote(num_cpus=2)
    def other() -> None:
        time.sleep(3)

    held = other.remote()
    while ray.available_resources().get("CPU", 0) > 0:
        time.sleep(0.05)
    assert len(work(pool, {"a": None}).payloads("done")) == 1
    ray.get(held)
    (line,) = [line for line in shown.getvalue().splitlines() if "no worker has begun" in line]
    assert "no worker has begun after 0.2 s: one takes 1 CPU; free now: 0 of 2 CPU; log: " in line
    assert Path(line.rpartition("log: ")[2]).is_dir()


def test_processes_that_die_as_they_start_end_the_work(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stillborn:
        def __init__(self, device: str) -> None:
            os._exit(3)

    monkeypatch.setattr(pool_module, "PoolWorker", Stillborn)
    with pytest.raises(RuntimeError, match="workers die as they start: "):
        work(pool, {"a": None}, most=1)
