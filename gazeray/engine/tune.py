# SPDX-License-Identifier: Apache-2.0
"""The points of a search on a cluster: Ray Tune drives them. What Tune itself writes is scratch."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

from gazeray.config import ResourcesConfig
from gazeray.engine.cluster import per_worker, workers_that_fit
from gazeray.engine.faults import storage_fault
from gazeray.learn.fit import be_deterministic
from gazeray.learn.inner_search import InnerSearch, Point
from gazeray.learn.space import SearchError
from gazeray.storage import StorageError


class _Tell(tune.Callback):
    """Counts the points that Tune has ended. Tune saves its callbacks for a restore that we never ask for: empty."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.step()


def points_on_tune(
    work: InnerSearch, points: Sequence[Point], until: int, resources: ResourcesConfig, step: Callable[[], None]
) -> None:
    """Work on some points up to an epoch, as many at the same time as fit.

    Raises SearchError when a worker died again and again; StorageError.
    """
    _quiet_tune()
    each = {name.lower(): amount for name, amount in per_worker(resources.per_unit).items()}
    scheduler = None
    if work.search.scheduler == "asha":
        grace = min(work.search.grace_epochs, until)
        scheduler = ASHAScheduler(
            time_attr="epoch", max_t=until, grace_period=grace, reduction_factor=work.search.reduction
        )
    filesystem, path = work.run.sub("ray").arrow()
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_work_on_point, work=work), each),
        param_space={"point": tune.grid_search([(p.fold, p.setting) for p in points]), "until": until, **each},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            scheduler=scheduler,
            reuse_actors=True,
            max_concurrent_trials=workers_that_fit(resources),
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=3),
            callbacks=[_Tell(step)],
        ),
    )
    try:
        results = tuner.fit()
        for result in results:
            if result.error is not None:  # what a setting raises is written down; this is the storage or a death
                fault = storage_fault(result.error)
                if fault is not None:
                    raise StorageError(str(fault)) from result.error
                reason = " ".join(str(result.error).split())[:300]
                raise SearchError(f"a worker of the search died again and again: {reason}") from result.error
    finally:
        work.run.delete_folder("ray")


def _quiet_tune() -> None:
    """Tune without its own tables, and without a word about the result files that it was told not to write.

    Nor does it handle SIGINT: the job would take what there is of the search for the whole of it.
    """
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)


def _work_on_point(config: dict[str, Any], work: InnerSearch) -> None:
    """Tune's trainable: one point. What it raises is written down and must not stop the others."""
    be_deterministic(int(config["cpu"]))
    device = torch.device("cuda" if config.get("gpu") else "cpu")
    if config.get("gpu", 1) < 1:
        torch.cuda.set_per_process_memory_fraction(config["gpu"], device)
    work.try_work(Point(*config["point"]), config["until"], device, tune.report)
