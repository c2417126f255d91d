# SPDX-License-Identifier: Apache-2.0
"""One Ray cluster for the whole test session, and the real recordings where there are some."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gazeray.engine.cluster import KEEP_MEMORY

ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    **KEEP_MEMORY,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """What Ray and the object store clients need to stay on this machine."""
    before = {name: os.environ.get(name) for name in [*ENVIRONMENT, "RAY_ADDRESS"]}
    os.environ.update(ENVIRONMENT)
    os.environ.pop("RAY_ADDRESS", None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def ray_cluster(environment: None) -> Iterator[None]:
    """A cluster of two CPUs on this machine, shared by all tests that need one."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Deterministic networks on one thread: several would wait for each other wherever the machine is busy."""
    import torch

    from gazeray.learn.fit import be_deterministic

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    be_deterministic(1)
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


def folder_of(variable: str, what: str) -> Path:
    """The folder that an environment variable names; the test is skipped where it names none."""
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is not set: no {what} on this machine")
    return Path(folder)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small inputs that once went wrong."""
    return folder_of("GAZERAY_CASES", "inputs that went wrong")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real recordings."""
    return folder_of("GAZERAY_REAL_DATA", "real recordings")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of the trained networks."""
    return folder_of("GAZERAY_REAL_WEIGHTS", "trained networks")
