# SPDX-License-Identifier: Apache-2.0
"""Nested cross-validation: hyper-parameters chosen by inner folds.

A point is a setting in an outer fold. It fits fresh models on the inner folds of that fold's training rows, an epoch of
each in turn, and its score after an epoch is their mean. Inner fits are units: each keeps its checkpoint and its
metrics.jsonl under `units/fold-K/setting-S/inner-I/`, so that a search that was killed goes on where it was. Nobody who
is tested in the outer fold is seen here. Who drives the points, and where, is the engine's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from gazeray.config import FoldsConfig, SearchConfig, TrainConfig, digest
from gazeray.learn.fit import Fit, Task
from gazeray.learn.folds import derive_seed, inner_seed, inner_splits
from gazeray.learn.space import SearchError
from gazeray.storage import Folder
from gazeray.storage.seals import DamagedError, read_sealed, write_sealed
from gazeray.study import Chosen, Fold, Tried
from gazeray.unit import Json, Unit, UnitFolder

TRIAL = "trial.json"
"""A point's learning curve so far, its state and why it ended."""


@dataclass(frozen=True)
class Point:
    """One setting (its number among those that are tried) in one outer fold (its place among the folds)."""

    fold: int
    setting: int


@dataclass(frozen=True)
class InnerSearch:
    """Everything a worker needs to work on a point.

    table, labels: as in `make_folds`; labels spread the inner folds.
    """

    tried: Sequence[Tried]
    folds: Sequence[Fold]
    table: pa.Table
    labels: np.ndarray
    split: FoldsConfig
    search: SearchConfig
    train: TrainConfig
    seed: int
    config_hash: str
    run: Folder

    def name(self, point: Point) -> str:
        """Where a point's files lie, below units/."""
        return f"fold-{self.folds[point.fold].fold}/setting-{point.setting}"

    def hash(self, point: Point) -> str:
        """Changes with anything that the point's curve depends on."""
        one, fold = self.tried[point.setting], self.folds[point.fold]
        return digest([self.config_hash, one.content, fold.known.tolist(), one.setting])

    def trial(self, point: Point) -> Json | None:
        """What is known of a point so far, if it is still about the same. Raises DamagedError."""
        path = f"units/{self.name(point)}/{TRIAL}"
        record = read_sealed(self.run, path) if self.run.exists(path) else None
        return record if record and record["hash"] == self.hash(point) else None

    def forget_damaged(self) -> Iterator[str]:
        """Delete the curves that are not what was written, a line each: their points are worked on again."""
        for point in self.points():
            try:
                self.trial(point)
            except DamagedError as error:
                path = f"units/{self.name(point)}/{TRIAL}"
                self.run.delete(path)
                yield f"{path}: {error}; worked on again"

    def write(self, point: Point, state: str, curve: Sequence[Json], error: str | None = None) -> None:
        """Write trial.json; state: running, done, stopped or failed."""
        record = {"hash": self.hash(point), "setting": self.tried[point.setting].setting, "state": state}
        write_sealed(self.run, f"units/{self.name(point)}/{TRIAL}", {**record, "curve": list(curve), "error": error})

    def work(self, point: Point, until: int, device: torch.device, report: Callable[[Json], None]) -> None:
        """Train the inner models of a point up to an epoch, or until their mean score no longer rises."""
        fits = self.fits(point, device)
        curve: list[Json] = []
        state = "running"
        while state == "running" and len(curve) < until:
            epoch = len(curve) + 1
            for fit in fits:
                while fit.progress.epoch < epoch:
                    fit.epoch()
            curve.append(self._mean([fit.progress.history[epoch - 1] for fit in fits], fits[0].learner.watched))
            waited = epoch - best_epoch(curve)
            state = "done" if epoch >= self.train.epochs or waited >= self.train.patience else "running"
            self.write(point, state, curve)
            if state == "done":
                self.close(point, epoch)
            known = curve[-1]["score"] is not None
            report(curve[-1] if known else {**curve[-1], "score": -math.inf})  # whoever drives may end the process here

    def try_work(self, point: Point, until: int, device: torch.device, report: Callable[[Json], None]) -> None:
        """`work`; what a setting raises is written down and does not stop the others. OSError is the storage's."""
        try:
            self.work(point, until, device, report)
        except OSError:
            raise
        except Exception as error:
            trial = self.trial(point)
            self.write(point, "failed", trial["curve"] if trial else [], f"{type(error).__name__}: {error}")

    def close(self, point: Point, epochs: int) -> None:
        """Mark the inner units of a point as done; what was only there to go on from goes."""
        for unit in self.units(point):
            UnitFolder(self.run, unit).finish({"epochs": epochs})

    def units(self, point: Point) -> list[Unit]:
        """The inner fits of a point."""
        inner = range(self.split.inner)
        return [Unit(f"{self.name(point)}/inner-{one}", {}, digest([self.hash(point), one])) for one in inner]

    def fits(self, point: Point, device: torch.device) -> list[Fit]:
        """A fresh model (or one that goes on from its checkpoint) for each inner fold."""
        one, fold = self.tried[point.setting], self.folds[point.fold]
        seed = inner_seed(self.seed, fold)
        splits = inner_splits(fold.known, self.table, self.labels, self.split, seed)
        fits = []
        for unit, (train, validation) in zip(self.units(point), splits, strict=True):
            task = Task(one.learner, one.store, train, validation, derive_seed(seed, unit.name))
            fits.append(Fit(task, device, UnitFolder(self.run, unit)))
        return fits

    def _mean(self, records: Sequence[Json], watched: Mapping[str, bool]) -> Json:
        """The inner folds' mean after an epoch; `score` is what is to be as great as possible.

        None where a metric is undefined in one of them, as a correlation with predictions that are all the same is.
        """
        means = {name: float(np.mean([record[f"validation_{name}"] for record in records])) for name in watched}
        told = {name: value if math.isfinite(value) else None for name, value in means.items()}
        value = told[self.search.metric]
        score = value if value is None or watched[self.search.metric] else -value
        return {"epoch": records[0]["epoch"], **told, "score": score}

    # -- what is chosen

    def points(self) -> list[Point]:
        """Every setting in every fold."""
        return [Point(fold, setting) for fold in range(len(self.folds)) for setting in range(len(self.tried))]

    def is_missing(self, point: Point, until: int) -> bool:
        """Is a point still to be worked on up to this epoch? What failed is tried again."""
        trial = self.trial(point)
        if trial is None or trial["state"] == "failed":
            return True
        return trial["state"] == "running" and len(trial["curve"]) < until

    def survivors(self, points: Sequence[Point], until: int) -> list[Point]:
        """The best 1 in `search.reduction` points of each fold, by what was known at an epoch."""
        kept = []
        for fold in range(len(self.folds)):
            ranked = self._ranked([point for point in points if point.fold == fold], until)
            kept += sorted(ranked[: math.ceil(len(ranked) / self.search.reduction)], key=lambda point: point.setting)
        return kept

    def _ranked(self, points: Sequence[Point], until: int) -> list[Point]:
        """The points that have a score, the best up to an epoch first; the first setting of equals."""
        scores = {}
        for point in points:
            trial = self.trial(point)
            if trial is None or trial["state"] == "failed":
                continue
            known = [record["score"] for record in trial["curve"][:until] if record["score"] is not None]
            if known:
                scores[point] = max(known)
        return sorted(scores, key=lambda point: (-scores[point], point.setting))

    def end(self) -> None:
        """All rungs are over: whatever still runs was stopped."""
        for point in self.points():
            trial = self.trial(point)
            if trial is None or trial["state"] == "failed":
                continue
            if not all(UnitFolder(self.run, unit).result() for unit in self.units(point)):
                self.close(point, len(trial["curve"]))
            if trial["state"] == "running":
                self.write(point, "stopped", trial["curve"])

    def choose(self, fold: int) -> Chosen:
        """The best setting of a fold and its best epoch. Raises SearchError when every setting failed."""
        points = [Point(fold, setting) for setting in range(len(self.tried))]
        trials = [self.trial(point) for point in points]
        ranked = self._ranked(points, self.train.epochs)
        if not ranked:
            undefined = f"{self.search.metric} is undefined after every epoch"
            reasons = sorted({str(trial["error"] or undefined) for trial in trials if trial is not None})
            raise SearchError(
                f"fold-{self.folds[fold].fold}: every setting of the search failed: {'; '.join(reasons)[:500]}"
            )
        best = trials[ranked[0].setting]
        assert best is not None
        epochs = best_epoch(best["curve"])
        headline = self.tried[0].learner.headline
        rows = [self._row(trial, headline) for trial in trials if trial is not None]
        return Chosen(ranked[0].setting, best["setting"], epochs, best["curve"][epochs - 1][headline], rows)

    def _row(self, trial: Json, headline: str) -> Json:
        """A line of the table of what was tried."""
        curve = trial["curve"]
        best = curve[best_epoch(curve) - 1] if curve else {}
        return {
            "setting": trial["setting"],
            "score": best.get(headline),
            "loss": best.get("loss"),
            "inner_folds": self.split.inner,
            "epochs": len(curve),
            "status": "stopped early" if trial["state"] in ("stopped", "running") else trial["state"],
        }


def best_epoch(curve: Sequence[Json]) -> int:
    """The first epoch (from 1) with the best score."""
    return int(np.argmax([-math.inf if record["score"] is None else record["score"] for record in curve])) + 1


def rungs(search: SearchConfig, train: TrainConfig) -> list[int]:
    """The epochs up to which points are worked on together."""
    found, epochs = [], search.grace_epochs
    while search.scheduler == "halving" and epochs < train.epochs:
        found.append(epochs)
        epochs *= search.reduction
    return [*found, train.epochs]
