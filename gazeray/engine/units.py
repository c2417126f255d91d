# SPDX-License-Identifier: Apache-2.0
"""Many small fits, called units, on one Ray TorchTrainer whose workers drain a queue.

A unit is done when its `result.json` exists with the unit's hash; that file is written last. So a run that was killed
does again only what is missing, and a unit that was cut off resumes from the checkpoint of its last epoch. A unit that
raises is recorded in `failure.json` and the others go on. When a worker dies, Ray restarts the group, and the units
that were under way go back to the queue.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from gazeray.config import ResourcesConfig
from gazeray.engine.cluster import per_worker, this_machine, workers_that_fit
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit, UnitQueue
from gazeray.learn.fit import be_deterministic
from gazeray.storage import Folder, StorageError

NEVER_S = 1e9
"""A group at work is never restarted to make it larger: that would cut off its units."""

MAX_DEATHS = 3
"""How many workers a unit may take down with it before it is given up."""


class UnitFolder:
    """Where one unit keeps its files: checkpoint, metrics.jsonl, whatever it writes, and result.json at the end."""

    def __init__(self, run: Folder, unit: Unit, queue: Any = None) -> None:
        self.unit = unit
        self.folder = run.sub(f"units/{unit.name}")
        self.queue = queue
        self._checkpoint = f"checkpoint/{unit.hash[:10]}.safetensors"

    def load(self) -> bytes | None:
        """The state after the last epoch, if there is one for this hash."""
        return self.folder.read_bytes(self._checkpoint) if self.folder.exists(self._checkpoint) else None

    def save(self, state: bytes, history: list[dict[str, Any]]) -> None:
        """Keep the state after an epoch and tell the driver."""
        self.folder.write_bytes(self._checkpoint, state)
        self.write_history(history)
        if self.queue is not None:
            self.queue.event.remote(self.unit.name, "epoch", history[-1])

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """metrics.jsonl: one line per epoch."""
        self.folder.write_text("metrics.jsonl", "".join(_json_line(record) for record in history))

    def result(self) -> dict[str, Any] | None:
        """The result, when the unit is done and its hash is still the same."""
        if not self.folder.exists("result.json"):
            return None
        result: dict[str, Any] = self.folder.read_json("result.json")
        return result if result.get("hash") == self.unit.hash else None

    def finish(self, result: dict[str, Any]) -> None:
        """Write result.json, the mark of a finished unit; what was only there to resume from goes."""
        self.folder.write_json("result.json", {**self._record("done"), **result})
        self.folder.delete("failure.json")
        self.folder.delete(self._checkpoint)

    def fail(self, error: str, trace: str) -> None:
        """Write failure.json: why the unit did not finish."""
        self.folder.write_json("failure.json", {**self._record("failed"), "error": error, "traceback": trace})

    def _record(self, status: str) -> dict[str, Any]:
        return {"unit": self.unit.name, "hash": self.unit.hash, "status": status}


class Work(Protocol):
    """What the workers do with a unit. Our own driver sends it to the workers."""

    def open(self) -> Any:
        """Once per worker: whatever all units share."""

    def run(self, shared: Any, unit: Unit, folder: UnitFolder, device: torch.device) -> dict[str, Any]:
        """Do the unit; returns what goes into its result.json."""


def run_units(
    units: Sequence[Unit], work: Work, run: Folder, resources: ResourcesConfig, view: ProgressView
) -> dict[str, str]:
    """Do all units that are not done yet; returns {name: "done" or the error}.

    Raises StorageError when a worker could not read or write: no unit can be relied on until the storage works again.
    """
    done = {unit.name for unit in units if UnitFolder(run, unit).result() is not None}
    missing = [unit for unit in units if unit.name not in done]
    view.units(total=len(units), done=len(done))
    if missing:
        queue = ray.remote(UnitQueue).options(num_cpus=0, label_selector=this_machine()).remote(missing, MAX_DEATHS)
        stop = threading.Event()
        faults: list[str] = []
        watcher = threading.Thread(target=_watch, args=(queue, run, missing, view, stop, faults), daemon=True)
        watcher.start()
        try:
            _train(queue, work, run, resources, len(missing))
        except TrainingFailedError as error:  # what is done is done; the status names what is not
            view.line(f"the workers stopped: {' '.join(str(error).split())[:300]}")
        finally:
            stop.set()
            watcher.join()
            ray.kill(queue)
        if faults:
            raise StorageError(faults[0])
    return {unit.name: _status(UnitFolder(run, unit)) for unit in units}


def _status(folder: UnitFolder) -> str:
    if folder.result() is not None:
        return "done"
    if folder.folder.exists("failure.json"):
        failure = folder.folder.read_json("failure.json")
        if failure["hash"] == folder.unit.hash:
            return str(failure["error"])
    return "not finished: the workers stopped before it"


class StoppableTrainer(TorchTrainer):
    """A trainer that SIGINT stops with KeyboardInterrupt.

    Ray's own handler would end the process without a word, with exit code 0 or 1, and stay in place after the fit.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        """None: Python's own stays. The workers end with the driver's cluster or, where one was joined, its job."""


def _train(queue: Any, work: Work, run: Folder, resources: ResourcesConfig, units: int) -> None:
    """One TorchTrainer over the queue. What Ray itself writes is scratch and is removed again."""
    each = per_worker(resources.per_unit)
    gpu = each.get("GPU", 0.0)
    workers = min(units, workers_that_fit(resources))
    filesystem, path = run.sub("ray").arrow()
    trainer = StoppableTrainer(
        _drain_queue,
        train_loop_config={"queue": queue, "work": work, "run": run, "cpu": resources.per_unit.cpu, "gpu": gpu},
        scaling_config=ScalingConfig(
            num_workers=(1, workers),  # a group that lost a machine goes on with those that are left
            elastic_resize_monitor_interval_s=NEVER_S,
            use_gpu=bool(gpu),
            resources_per_worker=each,
        ),
        torch_config=TorchConfig(backend="gloo"),
        run_config=RunConfig(
            name=uuid.uuid4().hex,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=8 + MAX_DEATHS * units),
        ),
    )
    try:
        trainer.fit()
    finally:
        run.delete_folder("ray")


def _drain_queue(config: dict[str, Any]) -> None:
    """A worker's life: take a unit, do it, until nothing is left."""
    queue, work, run = config["queue"], config["work"], config["run"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    be_deterministic(config["cpu"])
    if device.type == "cuda" and config["gpu"] < 1:
        torch.cuda.set_per_process_memory_fraction(config["gpu"], device)
    ray.get(queue.join.remote(rank, workers))
    shared = work.open()
    while (unit := ray.get(queue.next.remote(rank))) is not None:
        if unit == "wait":
            time.sleep(0.2)
            continue
        folder = UnitFolder(run, unit, queue)
        try:
            result = folder.result()  # there when the worker died between the unit's end and telling of it
            if result is None:
                result = work.run(shared, unit, folder, device)
                folder.finish(result)
        except OSError as error:  # the storage: no failure can be written down, and the next unit would fare no better
            ray.get(queue.over.remote(unit.name, "storage", {"error": str(error)}))
            return
        except Exception as error:  # whatever a unit raises is recorded, and must not stop the others
            folder.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
            ray.get(queue.over.remote(unit.name, "failed", {"error": f"{type(error).__name__}: {error}"}))
        else:
            ray.get(queue.over.remote(unit.name, "done", result))


def _watch(
    queue: Any, run: Folder, units: Sequence[Unit], view: ProgressView, stop: threading.Event, faults: list[str]
) -> None:
    """Show the queue's events as they come; write down the units that were given up; collect faults of the storage."""
    by_name = {unit.name: unit for unit in units}
    while True:
        last = stop.is_set()
        for name, kind, payload in ray.get(queue.drain.remote()):
            if kind == "storage":
                kind = "failed"
                faults.append(payload["error"])
            if kind == "died":
                try:
                    UnitFolder(run, by_name[name]).fail(payload["error"], "")
                except OSError as error:
                    faults.append(str(error))
            view.unit_event(name, kind, payload)
        if last:
            return
        stop.wait(0.3)


def _json_line(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True) + "\n"
