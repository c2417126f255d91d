# SPDX-License-Identifier: Apache-2.0
"""Joining a Ray cluster, or starting one on this machine, and finding out how much of the work fits on it."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from gazeray.config import ConfigError, PerUnit, ResourcesConfig

ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else Ray's core prints its advice on actors; what fails arrives as an exception
}

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
"""For workers on Linux: glibc gives large blocks back to the system as soon as they are freed, and the next step of a
fit has every page of them zeroed again. That was a fourth of the time of a fit (benchmarks/page_faults.py)."""

GPU_SHARE = 0.25
"""Of a GPU, for a unit, where the config does not say."""

LOOK_EVERY_S = 2.0
SAY_EVERY_S = 30.0
"""How often a job that waits for a machine looks for one, and says that it waits."""


def joins_a_cluster() -> bool:
    """Does RAY_ADDRESS name a cluster? It may grow; the one that a job starts on this machine does not."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster for the time of the block: the one already joined, the one in RAY_ADDRESS, else this machine.

    Raises ConfigError when nothing answers at RAY_ADDRESS.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    _check_that_somebody_answers(address)
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it tells that tokens are on, each time
    options = {} if joins_a_cluster() else {"include_dashboard": False}
    if not joins_a_cluster():
        for name, value in KEEP_MEMORY.items():
            os.environ.setdefault(name, value)  # workers have it from here
    with _without_note_on_level():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        ray.shutdown()


def worker_environment() -> dict[str, str]:
    """What the environment of workers lacks, as far as this process knows: it is that of its own cluster's workers."""
    return {name: value for name, value in KEEP_MEMORY.items() if name not in os.environ}


@contextmanager
def _without_note_on_level() -> Iterator[None]:
    """Hold back what is written to stderr in the block, by C++ too; afterwards write it there, less one note.

    Ray's core writes it as it starts, whatever the level.
    """
    note = b"Set ray log level from environment variable"
    if sys.stderr is None:  # closed
        yield
        return
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if note not in line))


def _check_that_somebody_answers(address: str) -> None:
    """Raises ConfigError when nobody listens at host:port; Ray itself would try for minutes."""
    if address.startswith(("http://", "https://")):
        raise ConfigError([f"RAY_ADDRESS={address}: that is where jobs are submitted; to join, it takes HOST:6379"])
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # local, auto
        return
    try:
        socket.create_connection((host.removeprefix("ray://").strip("[]"), int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConfigError([f"RAY_ADDRESS={address}: no cluster to join: {error}"]) from error


def machines() -> list[Mapping[str, float]]:
    """What each machine of the cluster has in all: {"CPU": n, "GPU": n, ...}; those that have left do not count."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room(machine: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many times `wanted` fits on one machine. Shares add up: 0.1 of a GPU fits ten times."""
    return min(math.floor(machine.get(name, 0) / amount + 1e-9) for name, amount in wanted.items())


def per_worker(unit: PerUnit) -> dict[str, float]:
    """What a worker that does one unit at a time takes: {"CPU": n, "GPU": share}, the GPU only where one is used.

    Where the config leaves the GPU open, a unit takes a share of one when some machine has both the GPU and the CPUs.
    """
    wanted = {"CPU": float(unit.cpu)}
    if unit.gpu is not None:
        return wanted | ({"GPU": unit.gpu} if unit.gpu else {})
    shared = wanted | {"GPU": GPU_SHARE}
    return shared if any(room(machine, shared) for machine in machines()) else wanted


def workers_that_fit(resources: ResourcesConfig, say: Callable[[str], object] = print) -> int:
    """How many units can be done at the same time on the cluster as it is now, `resources.workers` at most.

    A machine counts only as far as it has everything that a unit takes, so machines without a GPU do not count for
    units that want one. A cluster that was joined may grow: when it has no room for a single unit, its autoscaler (if
    it has one) is asked for a machine, and this waits for one and says so, at once and again every SAY_EVERY_S; and
    `resources.workers` may be more than fit now.

    Raises ConfigError when nothing fits and the cluster is this machine's own.
    """
    fit, joined = _fit(resources.per_unit), joins_a_cluster()
    if not fit:
        if not joined:
            raise ConfigError([f"resources.per_unit: {_shortage(resources.per_unit, 'this machine has')}"])
        fit = _wait_for_room(resources.per_unit, say)
    if resources.workers is None:
        return fit
    return resources.workers if joined else min(resources.workers, fit)


def _fit(unit: PerUnit) -> int:
    wanted = per_worker(unit)
    return sum(room(machine, wanted) for machine in machines())


def _shortage(unit: PerUnit, whose: str) -> str:
    """One unit takes this, but the machines have that."""
    wanted = per_worker(unit)
    need = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    have = "; ".join(", ".join(f"{machine.get(name, 0):g} {name}" for name in wanted) for machine in machines())
    return f"one unit takes {need}, but {whose} {have or 'none'}"


def _wait_for_room(unit: PerUnit, say: Callable[[str], object]) -> int:
    """Wait until a unit fits somewhere; returns how many do then."""
    began = said = time.monotonic()
    lacks = _shortage(unit, "the machines of the cluster have")
    way_out = "The job goes on when one with room joins; if none will, stop it and lower resources.per_unit"
    say(f"waiting for a machine: {lacks}. {way_out}")
    demand = placement_group([per_worker(unit)])  # an autoscaler starts a machine only for what somebody asks of it
    try:
        while not (fit := _fit(unit)):
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() - said >= SAY_EVERY_S:
                said = time.monotonic()
                say(f"still waiting after {said - began:.0f} s: {_shortage(unit, 'the machines of the cluster have')}")
    finally:
        remove_placement_group(demand)
    say(f"a machine with room is there after {time.monotonic() - began:.0f} s")
    return fit
