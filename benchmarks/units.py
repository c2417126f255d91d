# SPDX-License-Identifier: Apache-2.0
"""What it costs to do many small units: 32 units of 0.5 s on two workers.

Each unit sleeps, so that the work takes its time on a busy machine too and all else is overhead: handing the unit out,
looking whether it is done, writing its result. With U units of T seconds on W workers the least time is U T / W.

Prints, from the clocks of the driver and of the workers (one machine, one clock):

* start-up: starting Ray, and from the call of `gazeray.engine.experiment.run` to the start of the first unit;
* the overhead per unit: (from the start of the first unit to the end of the last - least time) / U. The second worker
  may start later than the first; that counts;
* the same with the shut-down of the workers, and scoring nothing, up to the return of `run`.

Returns 1 when the overhead per unit, shut-down included, is 0.1 s or more.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
from rich.console import Console

from gazeray.config import JobConfig, PerUnit, ResourcesConfig, RunSettings
from gazeray.engine.cluster import cluster
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Row, Source, Summary
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

MOST_OVERHEAD_S = 0.1
"""Per unit."""


@dataclass(frozen=True)
class Sleep:
    """A predictor whose units take `seconds` and need no core."""

    count: int
    seconds: float
    round: int = 0

    @property
    def rows(self) -> Mapping[str, Row]:
        """It predicts nothing."""
        return {}

    def units(self) -> list[UnitSpec]:
        return [UnitSpec(f"unit-{number}") for number in range(self.count)]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        began = time.time()
        time.sleep(self.seconds)
        return {"began": began, "ended": time.time(), "process": os.getpid(), "said": "slept"}


@dataclass(frozen=True)
class Sleeping:
    """A study of no data. See `gazeray.study.Study`."""

    cfg: JobConfig
    predictor: Sleep

    name: ClassVar[str] = "sleeping"

    def open(self) -> Source[None]:
        return Source(None, [])

    def passes(self, source: Source[None], store: Folder) -> Generator[Pass, Store, None]:
        yield from ()

    def items(self, source: Source[None], stores: None) -> Items:
        return Items(pa.table({"item": ["one"]}), ("item",), [], "")

    def learning(self, ready: Ready[None, None]) -> None:
        """Nothing is learned."""

    def predictors(self, ready: Ready[None, None]) -> list[Predictor]:
        return [self.predictor]

    def summary(self, manifest: Json, finished: Finished, ready: Ready[None, None] | None) -> Summary:
        units = [unit.result() or {} for unit in finished.done.values()]
        return Summary({"rows": {}, "metrics_shown": [], "units": units}, {})

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        return []


@dataclass(frozen=True)
class Timing:
    """One run, seconds: called, first unit begun, last unit ended, returned; and how many workers.

    between: mean from the end of a unit to the start of the next one of the same worker, NaN where each did one.
    """

    called: float
    began: float
    ended: float
    returned: float
    workers: int
    between: float = math.nan

    def overheads(self, units: int, seconds: float) -> tuple[float, float]:
        """Seconds per unit beyond the least time of so many units of so many seconds: up to the end of the last unit,
        and up to the return. Whole rounds count: 5 units on 2 workers take 3."""
        least = math.ceil(units / self.workers) * seconds
        return (self.ended - self.began - least) / units, (self.returned - self.began - least) / units


def between_units(results: Sequence[Json]) -> float:
    """Mean seconds from the end of a unit to the start of the next one of the same worker, NaN where each did one.

    results: of units, each with began, ended (s) and process.
    """
    gaps, last = [], dict[int, float]()
    for result in sorted(results, key=lambda one: one["began"]):
        if result["process"] in last:
            gaps.append(result["began"] - last[result["process"]])
        last[result["process"]] = result["ended"]
    return sum(gaps) / len(gaps) if gaps else math.nan


def timed_units(units: int, seconds: float, workers: int, view: ProgressView | None = None) -> Timing:
    """Do the units in a fresh run folder; view: by default one that shows nothing. Raises RuntimeError when one is not
    done."""
    with tempfile.TemporaryDirectory() as folder:
        resources = ResourcesConfig(per_unit=PerUnit(gpu=0), workers=workers)
        study = Sleeping(JobConfig(resources=resources, run=RunSettings(dir=folder)), Sleep(units, seconds))
        called = time.time()
        outcome = run(study, "sleeping", view or ProgressView(Console(quiet=True)))
        returned = time.time()
    if outcome.failed or outcome.metrics is None:
        raise RuntimeError(f"units failed: {outcome.failed}")
    results = outcome.metrics["units"]
    began, ended = min(result["began"] for result in results), max(result["ended"] for result in results)
    used = len({result["process"] for result in results})
    return Timing(called, began, ended, returned, used, between_units(results))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--units", type=int, default=32, help="(default: 32)")
    parser.add_argument("--seconds", type=float, default=0.5, help="sleep of each unit (default: 0.5)")
    parser.add_argument("--workers", type=int, default=2, help="units at the same time (default: 2)")
    options = parser.parse_args(argv)
    if min(options.units, options.workers) < 1 or options.seconds <= 0:
        parser.error("--units and --workers must be at least 1, --seconds above 0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs
    load, start = os.getloadavg()[0], time.time()
    with cluster():
        ray_s = time.time() - start
        timing = timed_units(options.units, options.seconds, options.workers)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{options.units} units that sleep {options.seconds:g} s on {timing.workers} workers; {cores} cores, "
        f"load average {load:.1f}"
    )
    print(f"start-up: Ray {ray_s:.1f} s, then {timing.began - timing.called:.1f} s to the start of the first unit")
    working, whole = timing.overheads(options.units, options.seconds)
    print(f"units: {timing.ended - timing.began:.2f} s; shut-down {timing.returned - timing.ended:.2f} s")
    print(f"overhead per unit: {working:.3f} s; shut-down included {whole:.3f} s (aim: under {MOST_OVERHEAD_S:g} s)")
    return 0 if whole < MOST_OVERHEAD_S else 1


if __name__ == "__main__":
    sys.exit(main())
