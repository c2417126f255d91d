# SPDX-License-Identifier: Apache-2.0
"""Nested cross-validation: hyper-parameters chosen by inner folds, on Ray Tune.

A point is a setting in an outer fold. It fits fresh models on the inner folds of that fold's training people, an epoch
of each in turn, and its score after an epoch is their mean. Inner fits are units: each keeps its checkpoint and its
metrics.jsonl under `units/fold-K/setting-S/inner-I/`, so that a search that was killed goes on where it was. What Tune
itself writes is scratch. Nobody who is tested in the outer fold is seen here.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler

from gazeray.config import JobConfig, ResourcesConfig, digest
from gazeray.engine.cluster import per_worker, workers_that_fit
from gazeray.engine.faults import storage_fault
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit
from gazeray.engine.units import UnitFolder
from gazeray.engine.variants import Variant
from gazeray.learn.fit import Fit, Task, be_deterministic
from gazeray.learn.folds import Fold, derive_seed, inner_seed, inner_splits, split_rows
from gazeray.storage import Folder, StorageError
from gazeray.study import Study


class SearchError(RuntimeError):
    """The search cannot go on: nothing of a fold is left to choose from, or its workers die. What is done is kept."""


TRIAL = "trial.json"
"""A point's learning curve so far, its state and why it ended."""


@dataclass(frozen=True)
class Point:
    """One setting (its number among the variants) in one outer fold (its number among the folds)."""

    fold: int
    setting: int

    @property
    def name(self) -> str:
        return f"fold-{self.fold}/setting-{self.setting}"


@dataclass(frozen=True)
class Chosen:
    """What an outer fold is refitted with (a variant's number and values), and the table of all that was tried."""

    setting: int
    values: dict[str, Any]
    epochs: int
    inner_score: float
    trials: list[dict[str, Any]]


@dataclass(frozen=True)
class InnerSearch:
    """Everything a worker needs to work on a point."""

    study: Study
    cfg: JobConfig
    config_hash: str
    variants: list[Variant]
    folds: list[Fold]
    run: Folder

    def hash(self, point: Point) -> str:
        """Changes with anything that the point's curve depends on."""
        variant, fold = self.variants[point.setting], self.folds[point.fold]
        return digest([self.config_hash, variant.source.cache.content, fold.__dict__, variant.setting])

    def trial(self, point: Point) -> dict[str, Any] | None:
        """What is known of a point so far, if it is still about the same."""
        path = f"units/{point.name}/{TRIAL}"
        record: dict[str, Any] | None = self.run.read_json(path) if self.run.exists(path) else None
        return record if record and record["hash"] == self.hash(point) else None

    def write(self, point: Point, state: str, curve: Sequence[dict[str, float]], error: str | None = None) -> None:
        """Write trial.json; state: running, done, stopped or failed."""
        record = {"hash": self.hash(point), "setting": self.variants[point.setting].setting, "state": state}
        self.run.write_json(f"units/{point.name}/{TRIAL}", {**record, "curve": list(curve), "error": error})

    def work(self, point: Point, until: int, device: torch.device, report: Callable[[dict[str, float]], None]) -> None:
        """Train the inner models of a point up to an epoch, or until their mean score no longer rises."""
        fits = self._fits(point, device)
        curve: list[dict[str, float]] = []
        state = "running"
        while state == "running" and len(curve) < until:
            epoch = len(curve) + 1
            for fit in fits:
                while fit.progress.epoch < epoch:
                    fit.epoch()
            curve.append(_mean([fit.progress.history[epoch - 1] for fit in fits], self.cfg))
            waited = epoch - best_epoch(curve)
            state = "done" if epoch >= self.cfg.train.epochs or waited >= self.cfg.train.patience else "running"
            self.write(point, state, curve)
            if state == "done":
                self.close(point, epoch)
            report(curve[-1])  # Tune may end the process here

    def close(self, point: Point, epochs: int) -> None:
        """Mark the inner units of a point as done; what was only there to go on from goes."""
        for unit in self.units(point):
            UnitFolder(self.run, unit).finish({"epochs": epochs})

    def units(self, point: Point) -> list[Unit]:
        """The inner fits of a point."""
        inner = range(self.cfg.folds.inner)
        return [Unit(f"{point.name}/inner-{number}", {}, digest([self.hash(point), number])) for number in inner]

    def _fits(self, point: Point, device: torch.device) -> list[Fit]:
        """A fresh model (or one that goes on from its checkpoint) for each inner fold."""
        variant, seed = self.variants[point.setting], inner_seed(self.cfg.run.seed, self.folds[point.fold])
        examples = variant.source.open()
        index, fold = examples.index, self.folds[point.fold]
        split = split_rows(index.participants, fold, index.stimuli)
        rows = np.sort(np.concatenate([split.train, split.validation]))
        splits = inner_splits(rows, index.participants, index.stimuli, index.labels, self.cfg.folds, seed)
        fits = []
        for unit, (train, validation) in zip(self.units(point), splits, strict=True):
            own = derive_seed(seed, unit.name)
            task = Task(self.study, variant.cfg, variant.plan, examples, train, validation, own)
            fits.append(Fit(task, device, UnitFolder(self.run, unit)))
        return fits


def best_epoch(curve: Sequence[dict[str, float]]) -> int:
    """The first epoch (from 1) with the best score."""
    return int(np.argmax([record["score"] for record in curve])) + 1


def _mean(records: Sequence[dict[str, Any]], cfg: JobConfig) -> dict[str, float]:
    """The inner folds' mean after an epoch; `score` is what is to be as great as possible."""
    assert cfg.search is not None
    names = ("validation_loss", "validation_balanced_accuracy")
    loss, accuracy = (float(np.mean([record[name] for record in records])) for name in names)
    score = accuracy if cfg.search.metric == "balanced_accuracy" else -loss
    return {"epoch": records[0]["epoch"], "loss": loss, "balanced_accuracy": accuracy, "score": score}


def search(work: InnerSearch, resources: ResourcesConfig, view: ProgressView) -> list[Chosen]:
    """The chosen setting and number of epochs of every outer fold.

    halving: all points of a rung are worked on up to its epochs before the best go on, so that the choice does not
    depend on how many workers ran. asha (Li et al. 2020): Tune's asynchronous scheduler; faster on many workers, and
    what it stops depends on who is first.

    Raises SearchError when every setting of a fold failed or a worker died again and again; StorageError.
    """
    cfg = work.cfg
    assert cfg.search is not None
    everything = [Point(fold, setting) for fold in range(len(work.folds)) for setting in range(len(work.variants))]
    alive = everything
    for until in rungs(cfg):
        todo = [point for point in alive if _is_missing(work.trial(point), until)]
        with view.stage(f"search up to epoch {until}", len(alive)) as stage:
            if len(todo) < len(alive):
                stage.step(len(alive) - len(todo))
            if todo:
                _tune(work, todo, until, resources, stage.step)
            failed = sum(_state(work.trial(point)) == "failed" for point in alive)
            stage.summary(f"{len(alive)} settings in {len(work.folds)} folds" + (f", {failed} failed" * bool(failed)))
        alive = _survivors(work, alive, until, cfg.search.reduction)
    for point in everything:
        trial = work.trial(point)
        if trial is None or trial["state"] == "failed":
            continue
        if not all(UnitFolder(work.run, unit).result() for unit in work.units(point)):
            work.close(point, len(trial["curve"]))
        if trial["state"] == "running":
            work.write(point, "stopped", trial["curve"])
    return [_choose(work, fold) for fold in range(len(work.folds))]


def rungs(cfg: JobConfig) -> list[int]:
    """The epochs up to which points are worked on together."""
    assert cfg.search is not None
    found, epochs = [], cfg.search.grace_epochs
    while cfg.search.scheduler == "halving" and epochs < cfg.train.epochs:
        found.append(epochs)
        epochs *= cfg.search.reduction
    return [*found, cfg.train.epochs]


def _state(trial: dict[str, Any] | None) -> str:
    return "missing" if trial is None else str(trial["state"])


def _is_missing(trial: dict[str, Any] | None, until: int) -> bool:
    """Is a point still to be worked on up to this epoch? What failed is tried again."""
    return _state(trial) in ("missing", "failed") or (_state(trial) == "running" and len(trial["curve"]) < until)  # type: ignore[index]


def _survivors(work: InnerSearch, points: Sequence[Point], until: int, reduction: int) -> list[Point]:
    """The best 1 in `reduction` points of each fold, by what was known at an epoch."""
    kept = []
    for fold in range(len(work.folds)):
        ranked = _ranked(work, [point for point in points if point.fold == fold], until)
        kept += sorted(ranked[: math.ceil(len(ranked) / reduction)], key=lambda point: point.setting)
    return kept


def _ranked(work: InnerSearch, points: Sequence[Point], until: int) -> list[Point]:
    """The points that have a score, the best up to an epoch first; the first setting of equals."""
    scores = {}
    for point in points:
        trial = work.trial(point)
        if trial is not None and trial["state"] != "failed" and trial["curve"]:
            scores[point] = max(record["score"] for record in trial["curve"][:until])
    return sorted(scores, key=lambda point: (-scores[point], point.setting))


def _choose(work: InnerSearch, fold: int) -> Chosen:
    """The best setting of a fold and its best epoch."""
    points = [Point(fold, setting) for setting in range(len(work.variants))]
    trials = [work.trial(point) for point in points]
    ranked = _ranked(work, points, work.cfg.train.epochs)
    if not ranked:
        reasons = sorted({str(trial["error"]) for trial in trials if trial is not None})
        raise SearchError(f"fold-{fold}: every setting of the search failed: {'; '.join(reasons)[:500]}")
    best = trials[ranked[0].setting]
    assert best is not None
    epochs = best_epoch(best["curve"])
    rows = [_row(trial, work.cfg.folds.inner) for trial in trials if trial is not None]
    return Chosen(ranked[0].setting, best["setting"], epochs, best["curve"][epochs - 1]["balanced_accuracy"], rows)


def _row(trial: dict[str, Any], inner_folds: int) -> dict[str, Any]:
    """A line of the table of what was tried."""
    curve = trial["curve"]
    best = curve[best_epoch(curve) - 1] if curve else {}
    status = {"stopped": "stopped early", "running": "stopped early"}.get(trial["state"], trial["state"])
    return {
        "setting": trial["setting"],
        "score": best.get("balanced_accuracy"),
        "loss": best.get("loss"),
        "inner_folds": inner_folds,
        "epochs": len(curve),
        "status": status,
    }


class _Tell(tune.Callback):
    """Counts the points that Tune has ended. Tune saves its callbacks for a restore that we never ask for: empty."""

    def __init__(self, step: Callable[[], None]) -> None:
        self.step = step

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.step()


def _tune(
    work: InnerSearch, points: Sequence[Point], until: int, resources: ResourcesConfig, step: Callable[[], None]
) -> None:
    """Work on some points up to an epoch, as many at the same time as fit."""
    assert work.cfg.search is not None
    _quiet_tune()
    each = {name.lower(): amount for name, amount in per_worker(resources.per_unit).items()}
    scheduler = None
    if work.cfg.search.scheduler == "asha":
        grace = min(work.cfg.search.grace_epochs, until)
        scheduler = ASHAScheduler(
            time_attr="epoch", max_t=until, grace_period=grace, reduction_factor=work.cfg.search.reduction
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
    point = Point(*config["point"])
    device = torch.device("cuda" if config.get("gpu") else "cpu")
    if config.get("gpu", 1) < 1:
        torch.cuda.set_per_process_memory_fraction(config["gpu"], device)
    try:
        work.work(point, config["until"], device, tune.report)
    except OSError:  # the storage: says nothing about the setting
        raise
    except Exception as error:
        trial = work.trial(point)
        work.write(point, "failed", trial["curve"] if trial else [], f"{type(error).__name__}: {error}")
