# SPDX-License-Identifier: Apache-2.0
"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext

from gazeray.config import ConfigError, PerUnit, ResourcesConfig

ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the controller polls its workers this often; 2 s is the default
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more to start; units resume after any death
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


@contextmanager
def cluster() -> Iterator[None]:
    """A Ray cluster for the time of the block: the one already joined, the one in RAY_ADDRESS, else this machine."""
    if ray.is_initialized():
        yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS", "local")
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # it tells that tokens are on, each time
    # Workers on this machine inherit the environment; a runtime_env would only slow their start.
    options = {"include_dashboard": False} if address == "local" else {"runtime_env": {"env_vars": ENVIRONMENT}}
    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        ray.shutdown()


def quiet_data() -> None:
    """Ray Data without its own progress bars and chatter: the job shows its own."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.execution").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def per_worker(unit: PerUnit) -> dict[str, float]:
    """What a worker that does one unit at a time takes: {"CPU": n, "GPU": share}, the GPU only where one is used."""
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    gpu = unit.gpu if unit.gpu is not None else (0.25 if has_gpus else 0.0)
    return {"CPU": float(unit.cpu), **({"GPU": gpu} if gpu else {})}


def workers_that_fit(resources: ResourcesConfig) -> int:
    """How many units can be done at the same time on the cluster as it is now.

    Raises ConfigError when it is none and the cluster is this machine's own, which will not grow.
    """
    wanted = per_worker(resources.per_unit)
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = sum(min(int(machine.get(name, 0) / amount) for name, amount in wanted.items()) for machine in machines)
    may_grow = "RAY_ADDRESS" in os.environ
    if not fit and not may_grow:
        have = ", ".join(f"{machine.get(name, 0):g} {name}" for machine in machines for name in wanted)
        need = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
        raise ConfigError([f"resources.per_unit: one unit takes {need}, but this machine has {have}"])
    if resources.workers is None:
        return max(1, fit)
    return resources.workers if may_grow else min(resources.workers, fit)
