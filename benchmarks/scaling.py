# SPDX-License-Identifier: Apache-2.0
"""The same cross-validation on one worker and on two; the flow of units, and of their data, on several nodes.

Workers: the job is the heatmap study on simulated readers, as in `jobs/cv_heatmap.py` without maps: folds as units that
workers of one thread take from a queue, a fixed number of epochs. Counted is the time from the start of the first fold
to the end of the last, by the clocks of the workers, with one worker and with two on this machine, in turns; efficiency
= median(t1) / (2 median(t2)). Starting Ray and the workers, reading, and scoring are left out. What a fold takes is
printed for both: where it takes longer with two workers, they are in each other's way (cores that are shared with
something else, memory bandwidth).

Nodes: clusters of 1, 2 and 4 simulated nodes (`ray.cluster_utils.Cluster`: a raylet and an object store each, on this
machine), one worker each.

* The flow: `--units` units per node that sleep `--seconds`, so that two cores do for any number of nodes. Printed are
  the units per second from the start of the first to the end of the last, also as a share of what sleeping alone allows
  (one unit per node and `--seconds`; workers that start late cost some of it); how long a worker waits between two
  units; and the CPU time of the driver per unit. The last two must not grow with the nodes.
* The data: the folds from above. The examples are one object in the store of the first node, which the others pull.
  Counted are its copies in the stores of other nodes, as Ray's directory of objects knows them after the last fold,
  times its size; per unit: divided by the folds. Not counted are messages below 100 kB, which Ray sends inline (units,
  progress), and what goes through the run folder (checkpoints, results, predictions).
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.experimental
from ray.cluster_utils import Cluster
from rich.console import Console
from units import timed_units

from gazeray.engine.cluster import cluster
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView
from gazeray.learn.trained import Trained
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy, Prepared
from gazeray.study import Predictor
from gazeray.unit import Json, Unit, UnitFolder, Worker

STORE_BYTES = 100_000_000
"""Of each simulated node."""


class TimedFolds(Trained):
    """Folds whose results say when and where they were done."""

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        began = time.time()
        result = Trained.run(self, unit, worker, out)
        where = {"process": os.getpid(), "node": ray.get_runtime_context().get_node_id()}
        return {**result, **where, "began": began, "ended": time.time()}


@dataclass(frozen=True)
class TimedStudy(HeatmapStudy):
    """The heatmap study with timed CNNs; `shared` gets what the workers are given in place of the examples."""

    shared: list[Any] = field(default_factory=list)

    def predictors(self, ready: Prepared) -> list[Predictor]:
        self.shared.append(ready.stores.shared)
        cnn, *beside = super().predictors(ready)
        return [TimedFolds(**vars(cnn)), *beside]


@dataclass(frozen=True)
class Run:
    """One run of all folds: wall seconds, mean seconds of a fold, workers and nodes that did some.

    object_bytes: size of the examples in the object store; copies: in how many stores they are.
    """

    seconds: float
    fold_seconds: float
    workers: int
    nodes: int
    folds: int
    object_bytes: int
    copies: int

    @property
    def moved_bytes(self) -> int:
        """What other nodes than the first have pulled."""
        return self.object_bytes * (self.copies - 1)


def run_folds(options: argparse.Namespace, store: str, workers: int, turn: int = 0) -> Run:
    """The job on the cluster that is joined, with its examples in `store`. Raises RuntimeError when a fold fails."""
    study = TimedStudy(job_config(options, store, workers))
    outcome = run(study, f"turn-{workers}-{turn}", ProgressView(Console(quiet=True)))
    if outcome.failed or outcome.metrics is None:
        raise RuntimeError(f"folds failed: {outcome.failed}")
    units = [name for name in outcome.run.read_json("manifest.json")["units"] if name.startswith("fold-")]
    results = [outcome.run.read_json(f"units/{name}/result.json") for name in units]
    if study.shared == [None]:
        raise RuntimeError("the examples do not fit into data.cache_gb: they are streamed, and no object is moved")
    reference = study.shared[0].place
    place = ray.experimental.get_object_locations([reference])[reference]
    return Run(
        max(result["ended"] for result in results) - min(result["began"] for result in results),
        statistics.mean(result["ended"] - result["began"] for result in results),
        len({result["process"] for result in results}),
        len({result["node"] for result in results}),
        len(units),
        place["object_size"],
        len(place["node_ids"]),
    )


def job_config(options: argparse.Namespace, store: str, workers: int) -> HeatmapConfig:
    """The heatmap study's config: all epochs are run, so that each fold takes the same number of steps."""
    return HeatmapConfig.model_validate(
        {
            "data": {"simulate": {"readers": options.readers, "sentences": options.sentences}},
            "train": {"epochs": options.epochs, "patience": options.epochs},
            "folds": {"outer": options.folds},
            "explain": {"maps": False},
            "resources": {"per_unit": {"cpu": 1, "gpu": 0}, "workers": workers},
            "run": {"dir": store},
        }
    )


def compare_workers(options: argparse.Namespace) -> None:
    """One worker and two in turns, on one cluster."""
    turns: dict[int, list[Run]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as store, cluster():
        for turn in range(options.repeats):
            for workers, runs in turns.items():
                runs.append(run_folds(options, store, workers, turn))
    for workers, runs in turns.items():
        walls = ", ".join(f"{run.seconds:.1f}" for run in runs)
        fold_s = statistics.median(run.fold_seconds for run in runs)
        used = sorted({run.workers for run in runs})
        if used != [workers]:
            raise RuntimeError(f"{workers} workers were asked for, but {used} did folds: are there enough CPUs?")
        print(f"{workers} worker{'s' * (workers > 1)}: folds {walls} s; a fold takes {fold_s:.2f} s")
    one, two = (statistics.median(run.seconds for run in runs) for runs in turns.values())
    print(f"efficiency of two workers: {one / (2 * two):.2f} (medians {one:.1f} s and {two:.1f} s)")


@contextmanager
def simulated(nodes: int) -> Iterator[None]:
    """A cluster of simulated nodes of one CPU each, joined. Raises RuntimeError when another cluster is joined."""
    if ray.is_initialized():
        raise RuntimeError("simulated nodes need a process that has joined no cluster")
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    machines = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            machines.add_node(**node)
        ray.init(address=machines.address, log_to_driver=False, logging_level=logging.ERROR)
        with cluster():
            yield
    finally:
        ray.shutdown()
        machines.shutdown()


class DriverClock(ProgressView):
    """Shows nothing; CPU seconds of this process from the start of the first unit to the end of the last."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.cpu_s, self._began = 0.0, math.nan

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        super().unit_event(name, kind, payload)
        if math.isnan(self._began):
            self._began = time.process_time()
        self.cpu_s = time.process_time() - self._began


def sleep(options: argparse.Namespace, nodes: int) -> str:
    """Let `options.units` units per node sleep on the cluster that is joined; what came of it, in words."""
    count, clock = options.units * nodes, DriverClock()
    timing = timed_units(count, options.seconds, nodes, clock)
    wall_s = timing.ended - timing.began
    share = count * options.seconds / nodes / wall_s
    return (
        f"{count} units that sleep {options.seconds:g} s on {timing.workers} worker{'s' * (timing.workers > 1)}: "
        f"{count / wall_s:.2f} units per second, {share:.0%} of what sleeping allows; "
        f"{1e3 * timing.between:.1f} ms between units; driver {1e3 * clock.cpu_s / count:.1f} ms of CPU per unit"
    )


def compare_nodes(options: argparse.Namespace) -> None:
    """The flow of units, and the bytes moved, with each number of nodes."""
    for nodes in options.nodes:
        with simulated(nodes), tempfile.TemporaryDirectory() as store:
            name = f"{nodes} node{'s' * (nodes > 1)}"
            print(f"{name}: {sleep(options, nodes)}", flush=True)
            run = run_folds(options, store, nodes)
        moved, each = run.moved_bytes / 1e6, run.moved_bytes / run.folds / 1e6
        print(
            f"{name}: {run.folds} folds done on {run.nodes}; examples of "
            f"{run.object_bytes / 1e6:.2f} MB in {run.copies} stores; moved {moved:.2f} MB, {each:.3f} MB per unit",
            flush=True,
        )


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--readers", type=int, default=24, help="simulated readers (default: 24)")
    parser.add_argument("--sentences", type=int, default=12, help="sentences that each reads (default: 12)")
    parser.add_argument("--folds", type=int, default=8, help="(default: 8)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each fold (default: 20)")
    parser.add_argument("--repeats", type=int, default=3, help="turns with one and two workers (default: 3; 0: none)")
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 4], help="cluster sizes (default: 1 2 4)")
    parser.add_argument("--units", type=int, default=20, help="units per node that sleep (default: 20)")
    parser.add_argument("--seconds", type=float, default=0.5, help="sleep of each of them (default: 0.5)")
    options = parser.parse_args(argv)
    if options.units < 1 or options.seconds <= 0:
        parser.error("--units must be at least 1, --seconds above 0")
    if options.repeats < 0 or any(nodes < 1 for nodes in options.nodes):
        parser.error("--repeats must be at least 0, --nodes 1 each")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs
    print(
        f"{options.readers} readers x {options.sentences} sentences, {options.folds} folds x {options.epochs} epochs; "
        f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if options.repeats:
        compare_workers(options)
    compare_nodes(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
