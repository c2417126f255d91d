# SPDX-License-Identifier: Apache-2.0
"""Many small pieces of work, called units, on one Ray TorchTrainer whose workers drain a queue; or in this process.

A unit is done when its `result.json` exists with the unit's hash; that file is written last. So a run that was killed
does again only what is missing, and a unit that was cut off resumes from the checkpoint of its last epoch. A unit that
raises is recorded in `failure.json` and the others go on. When a worker dies, Ray restarts the group, and the units
that were under way go back to the queue.
"""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
import ray.cloudpickle
import ray.train
import ray.train.torch
import torch
from ray.actor import ActorHandle
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer

from gazeray.config import ResourcesConfig
from gazeray.engine.cluster import per_worker, workers_that_fit
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import WAIT, UnitQueue
from gazeray.learn.fit import be_deterministic
from gazeray.storage import Folder
from gazeray.study import Predictor
from gazeray.unit import Json, Unit, UnitFolder, Worker

MAX_DEATHS = 3
"""How many workers a unit may take down with it before it is given up."""

Listener = Callable[[str, str, Json], None]
"""Hears (unit, kind, payload) of every event of the queue."""

Work = Mapping[str, tuple[Unit, Predictor]]
"""The units to do, by name, each with its predictor."""

Call = Callable[..., Any]
"""Calls a method of the queue, wherever it is: call("next", rank)."""


class StoppableTrainer(TorchTrainer):
    """A trainer that SIGINT stops with KeyboardInterrupt.

    Ray's own handler would end the process without a word, with exit code 0 or 1, and stay in place after the fit.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        """None: Python's own stays. The workers end with the driver's cluster or, where one was joined, its job."""


def drain_on_ray(
    queue: UnitQueue, work: Work, run: Folder, resources: ResourcesConfig, view: ProgressView,
    listen: Listener,
) -> None:  # fmt: skip
    """Drain the queue with one TorchTrainer. Its events are heard as they come."""
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}  # it lives as long as the driver does
    actor = ray.remote(UnitQueue).options(num_cpus=0, label_selector=here).remote(queue.names, queue.max_deaths)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(actor, listen, stop), daemon=True)
    watcher.start()
    try:
        _train(actor, work, run, resources, len(queue.names))
    except TrainingFailedError as error:  # what is done is done; the status names what is not
        view.line(f"the workers stopped: {' '.join(str(error).split())[:300]}")
    finally:
        stop.set()
        watcher.join()
        ray.kill(actor)


def drain_here(queue: UnitQueue, work: Work, worker: Worker, threads: int, listen: Listener) -> None:
    """Drain the queue in this process; predictors are serialised as they are for workers elsewhere."""

    def call(method: str, *words: Any) -> Any:
        answer = getattr(queue, method)(*words)
        for name, kind, payload in queue.drain():
            listen(name, kind, payload)
        return answer

    be_deterministic(threads)
    call("join", 0, 1)
    drain(call, call, ray.cloudpickle.loads(ray.cloudpickle.dumps(work)), worker, rank=0)


def _train(queue: ActorHandle, work: Work, run: Folder, resources: ResourcesConfig, units: int) -> None:
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
            elastic_resize_monitor_interval_s=1e9,  # never: a restart to make it larger would cut off its units
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
    """A worker's life."""
    queue, run = config["queue"], config["run"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    be_deterministic(config["cpu"])
    if device.type == "cuda" and config["gpu"] < 1:
        torch.cuda.set_per_process_memory_fraction(config["gpu"], device)

    def tell(method: str, *words: Any) -> None:
        getattr(queue, method).remote(*words)

    def call(method: str, *words: Any) -> Any:
        return ray.get(getattr(queue, method).remote(*words))

    call("join", rank, workers)
    drain(call, tell, config["work"], Worker(device, run), rank)


def drain(call: Call, tell: Call, work: Work, worker: Worker, rank: int) -> None:
    """Take a unit, do it, until nothing is left. call: a method of the queue; tell: the same without an answer."""
    while (name := call("next", rank)) is not None:
        if name == WAIT:
            time.sleep(0.2)
            continue
        unit, predictor = work[name]
        out = UnitFolder(worker.run, unit, partial(tell, "event", name))
        try:
            result = out.result()  # there when the worker died between the unit's end and telling of it
            if result is None:
                began = time.monotonic()
                result = predictor.run(unit, worker, out)
                result = {**result, "seconds": round(time.monotonic() - began, 3)}
                out.finish(result)
        except OSError as error:  # the storage: no failure can be written down, and the next unit would fare no better
            call("over", name, "storage", {"error": str(error)})
            return
        except Exception as error:  # whatever a unit raises is recorded, and must not stop the others
            out.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
            call("over", name, "failed", {"error": f"{type(error).__name__}: {error}"})
        else:
            call("over", name, "done", result)


def _watch(queue: ActorHandle, listen: Listener, stop: threading.Event) -> None:
    """Pass the queue's events on as they come."""
    while True:
        last = stop.is_set()
        for name, kind, payload in ray.get(queue.drain.remote()):
            listen(name, kind, payload)
        if last:
            return
        stop.wait(0.3)
