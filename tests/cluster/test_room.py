# SPDX-License-Identifier: Apache-2.0
"""How many units fit on a cluster, and what a job does when none does. The machines are told, none is started."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

from gazeray.config import ConfigError, PerUnit, ResourcesConfig
from gazeray.engine import cluster as engine
from gazeray.engine.cluster import cluster, per_worker, workers_that_fit
from gazeray.engine.executor import Executor
from gazeray.engine.passes import raise_fault
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder
from gazeray.study import Pass

Machine = dict[str, float]
HEAD: Machine = {"memory": 8e9}
CPUS: Machine = {"CPU": 16.0, "memory": 64e9}
GPUS: Machine = {"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0}


class Machines:
    """A cluster as ray.nodes() tells it: one list of machines after the other, the last one for good."""

    def __init__(self, *states: list[Machine]) -> None:
        self.states = list(states)
        self.looks = 0

    def nodes(self) -> list[dict[str, Any]]:
        self.looks += 1
        now = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        gone = {"Alive": False, "Resources": {"CPU": 1000.0, "GPU": 1000.0}}
        return [gone, *({"Alive": True, "Resources": machine} for machine in now)]


@pytest.fixture
def demand(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is asked of the autoscaler; all of it must be taken back in the end."""
    asked: list[Any] = []
    taken: list[Any] = []
    monkeypatch.setattr(engine, "placement_group", lambda bundles: asked.append(bundles) or bundles)
    monkeypatch.setattr(engine, "remove_placement_group", taken.append)
    yield asked
    assert taken == asked


def fit(
    monkeypatch: pytest.MonkeyPatch,
    machines: list[Machine],
    joined: bool = True,
    workers: int | None = None,
    **unit: Any,
) -> int:
    monkeypatch.setattr(ray, "nodes", Machines(machines).nodes)
    if joined:
        monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    return workers_that_fit(ResourcesConfig(per_unit=PerUnit(**unit), workers=workers), pytest.fail)


@pytest.mark.parametrize(
    ("machines", "unit", "expected"),
    [
        pytest.param([CPUS], {}, 16, id="one_unit_per_core"),
        pytest.param([HEAD, CPUS, CPUS], {"cpu": 5}, 6, id="no_unit_spans_two_machines"),
        pytest.param([HEAD, CPUS, GPUS], {}, 4, id="units_on_gpus_do_not_count_machines_without_one"),
        pytest.param([HEAD, CPUS, GPUS], {"gpu": 0}, 20, id="units_without_gpu_use_every_core"),
        pytest.param([HEAD, CPUS, GPUS], {"cpu": 8}, 2, id="gpu_beside_too_few_cores_is_not_used"),
        pytest.param([GPUS, GPUS], {"cpu": 2, "gpu": 0.25}, 4, id="cores_run_out_before_gpus"),
        pytest.param([{"CPU": 64.0, "GPU": 0.3}], {"gpu": 0.1}, 3, id="shares_of_a_gpu_add_up_in_spite_of_rounding"),
        pytest.param([{"CPU": 64.0, "GPU": 8.0}], {"gpu": 2}, 4, id="several_gpus_per_unit"),
    ],
)
def test_units_that_fit(
    monkeypatch: pytest.MonkeyPatch, machines: list[Machine], unit: dict[str, Any], expected: int
) -> None:
    assert fit(monkeypatch, machines, **unit) == expected


def test_gpu_is_taken_where_a_machine_has_one_beside_enough_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", Machines([HEAD, CPUS, GPUS]).nodes)
    assert per_worker(PerUnit()) == {"CPU": 1.0, "GPU": 0.25}
    assert per_worker(PerUnit(cpu=8)) == {"CPU": 8.0}
    assert per_worker(PerUnit(gpu=0)) == {"CPU": 1.0}
    assert per_worker(PerUnit(cpu=8, gpu=1)) == {"CPU": 8.0, "GPU": 1.0}


def test_asked_workers_are_cut_to_what_fits_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(monkeypatch, [CPUS], joined=False, workers=40) == 16
    assert fit(monkeypatch, [CPUS], joined=False, workers=3) == 3
    assert fit(monkeypatch, [CPUS], joined=True, workers=40) == 40


@pytest.mark.parametrize("address", [None, "local"])
def test_unit_that_does_not_fit_on_this_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, demand: list[Any], address: str | None
) -> None:
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match="one unit takes 1 CPU, 2 GPU, but this machine has 4 CPU, 1 GPU"):
        fit(monkeypatch, [GPUS], joined=False, gpu=2)
    assert demand == []


def test_job_without_room_says_so_at_once_asks_for_a_machine_and_goes_on_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, demand: list[Any]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(engine.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(engine.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    machines = Machines([HEAD])
    monkeypatch.setattr(ray, "nodes", machines.nodes)
    said: list[tuple[float, str]] = []

    def say(line: str) -> None:
        said.append((clock[0] - 100, line))
        if len(said) == 3:
            machines.states = [[HEAD, CPUS, CPUS]]

    assert workers_that_fit(ResourcesConfig(per_unit=PerUnit(cpu=8)), say) == 4
    times, lines = zip(*said, strict=True)
    assert times == (0, 30, 60, 60)
    assert "waiting for a machine: one unit takes 8 CPU, but the machines of the cluster have 0 CPU" in lines[0]
    assert lines[1].startswith("still waiting after 30 s: one unit takes 8 CPU")
    assert lines[3] == "a machine with room is there after 60 s"
    assert demand == [[{"CPU": 8.0}]]


def test_demand_is_taken_back_when_the_wait_is_cut_off(monkeypatch: pytest.MonkeyPatch, demand: list[Any]) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.time, "sleep", interrupt)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "nodes", Machines([HEAD]).nodes)
    with pytest.raises(KeyboardInterrupt):
        workers_that_fit(ResourcesConfig(), lambda line: None)
    assert len(demand) == 1


def test_address_where_nobody_answers_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray would try for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=rf"RAY_ADDRESS=127.0.0.1:{port}: no cluster to join: .*refused"), cluster():
        pass


def test_address_of_the_dashboard_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ConfigError, match="that is where jobs are submitted; to join, it takes HOST:6379"), cluster():
        pass


@pytest.mark.parametrize(("address", "options"), [(None, {"include_dashboard": False}), ("10.0.0.1:6379", {})])
def test_cluster_is_joined_without_a_runtime_environment(
    monkeypatch: pytest.MonkeyPatch, address: str | None, options: dict[str, Any]
) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **arguments: given.append(arguments))
    monkeypatch.setattr(ray, "shutdown", lambda: given.append({"shutdown": True}))
    monkeypatch.setattr(engine, "_check_that_somebody_answers", lambda address: None)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with cluster():
        assert os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
    said = {"log_to_driver": False, "logging_level": logging.WARNING}
    assert given == [{"address": address or "local", **said, **options}, {"shutdown": True}]


def test_pass_waits_for_a_machine_as_units_do(
    monkeypatch: pytest.MonkeyPatch, demand: list[Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "LOOK_EVERY_S", 0.001)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "nodes", Machines([HEAD], [HEAD], [HEAD, CPUS]).nodes)
    done: list[Any] = []
    with Executor(ResourcesConfig(), 1.0, ProgressView(Console(quiet=True))) as workers:
        monkeypatch.setattr(workers.pool, "work", lambda job, tasks, queue, *room: done.append(room))
        work = Pass("reading", [{"key": "a"}], lambda device: lambda piece: None, Folder(tmp_path), ["a"])
        workers._pieces(work, raise_fault)
    assert done == [({"CPU": 1.0}, 16)]
    assert demand == [[{"CPU": 1.0}]]
