# SPDX-License-Identifier: Apache-2.0
"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext

ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the controller polls its workers this often; 2 s is the default
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


def has_gpus() -> bool:
    """Does the cluster have GPUs now?"""
    return ray.cluster_resources().get("GPU", 0) > 0
