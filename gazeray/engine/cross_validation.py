# SPDX-License-Identifier: Apache-2.0
"""Cross-validation by participant: plan, read, fold, fit, test, score, in one run folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save

from gazeray.config import digest
from gazeray.engine.cluster import cluster, workers_that_fit
from gazeray.engine.fit import Task, fit
from gazeray.engine.folds import Fold, derive_seed, participant_folds
from gazeray.engine.pipeline import Cache, ExampleSource, cache_examples, share_examples
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit
from gazeray.engine.run import RunFolder
from gazeray.engine.units import UnitFolder, run_units
from gazeray.examples import Examples
from gazeray.storage import Folder
from gazeray.study import Plan, Split, Study
from gazeray.tables import DataError, Reject, rejects_table


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder, its metrics (None when no unit finished), the failed units with reasons."""

    run: Folder
    metrics: dict[str, Any] | None
    failed: dict[str, str]


@dataclass(frozen=True)
class FoldWork:
    """What a worker does with a fold: fit on its training people, test on its test people, write what was learned."""

    study: Study
    cfg: Any
    plan: Plan
    source: ExampleSource
    results: Folder

    def open(self) -> Examples:
        """The examples, once per worker."""
        return self.source.open()

    def run(self, examples: Examples, unit: Unit, folder: UnitFolder, device: torch.device) -> dict[str, Any]:
        split = split_rows(examples.index.participants, Fold(**unit.spec))
        seed = derive_seed(self.cfg.run.seed, unit.name)
        task = Task(self.study, self.cfg, self.plan, examples, split.train, split.validation, seed)
        model, progress = fit(task, device, folder)
        folder.write_history(progress.history)
        tested = self.study.test(self.cfg, self.plan, model, examples, split, device)
        for name, data in tested.maps.items():
            self.results.write_bytes(f"maps/{name}", data)
        fold = pa.array([unit.spec["fold"]] * tested.predictions.num_rows, pa.int32())
        folder.folder.write_table("predictions.parquet", tested.predictions.append_column("fold", fold))
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        folder.folder.write_bytes("checkpoint/model.safetensors", save(weights))
        return {
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,
            "validation_loss": progress.best_loss,
            "n": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "metrics": tested.scores,
        }


def split_rows(participants: np.ndarray, fold: Fold) -> Split:
    """The rows of a fold's people. Raises ValueError when somebody is on two sides."""
    sides = [set(fold.train), set(fold.validation), set(fold.test)]
    shared = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
    if shared:
        raise ValueError(f"fold {fold.fold}: participants on two sides: {', '.join(sorted(shared))}")
    return Split(*(np.flatnonzero(np.isin(participants, sorted(side))) for side in sides))


def plan_folds(cfg: Any, plan: Plan, participants: np.ndarray, labels: np.ndarray) -> list[Fold]:
    """The outer folds. Raises DataError when the people or the classes do not suffice."""
    people = len(np.unique(participants))
    if people < cfg.folds.outer:
        raise DataError(
            [f"{people} participants have usable trials, fewer than folds.outer = {cfg.folds.outer}; lower folds.outer"]
        )
    missing = [plan.classes[c] for c in range(len(plan.classes)) if not np.any(labels == c)]
    if missing:
        raise DataError([f"no usable trial of class {name}; {plan.label} cannot be learned" for name in missing])
    try:
        folds = participant_folds(participants, labels, cfg.folds.outer, cfg.folds.validation, cfg.run.seed)
    except ValueError as error:
        raise DataError([str(error)]) from error
    for fold in folds:
        seen = set(labels[np.isin(participants, fold.train)])
        absent = [name for c, name in enumerate(plan.classes) if c not in seen]
        if absent:
            raise DataError(
                [f"fold {fold.fold}: no training participant has class {', '.join(absent)}; it takes more people"]
            )
    return folds


def checked_plan(study: Study, cfg: Any) -> Plan:
    """The study's plan, once it is clear that people and classes suffice. Raises DataError, ConfigError."""
    plan = study.plan(cfg)
    participants = np.asarray(plan.trials.column("participant").to_pylist())
    plan_folds(cfg, plan, participants, plan.trials.column("label_index").to_numpy())
    return plan


def plan_lines(cfg: Any, plan: Plan) -> list[str]:
    """What a run would do, for --dry-run."""
    trials = plan.trials
    people = len(set(trials.column("participant").to_pylist()))
    labels = trials.column("label_index").to_numpy()
    counts = ", ".join(f"{name} {int(np.sum(labels == c))}" for c, name in enumerate(plan.classes))
    workers = cfg.resources.workers or "as many as fit"
    return [
        f"data set: {plan.dataset} (licence {plan.licence or 'not stated'}) at {plan.root.uri}",
        f"people: {people}; recordings: {len(plan.recordings)}; rejected before reading: {len(plan.rejects)}",
        f"trials: {trials.num_rows}; label {plan.label}: {counts}",
        f"units: {cfg.folds.outer} folds, each up to {cfg.train.epochs} epochs",
        f"resources: {cfg.resources.per_unit.cpu} CPU per unit; units at the same time: {workers}",
    ]


def cross_validate(study: Study, cfg: Any, job: str, view: ProgressView) -> Outcome:
    """Run the whole study, or what is missing of it.

    Raises DataError or ConfigError before anything is fitted when config or recordings make it impossible.
    """
    plan = checked_plan(study, cfg)
    run = RunFolder(cfg, job, study.name)
    view.line(f"run folder: {run.folder.uri}")
    with view.live(), cluster():
        workers_that_fit(cfg.resources)
        cache = cache_examples(study.reader(cfg, plan), plan, run.store, view)
        folds = plan_folds(cfg, plan, cache.index.participants, cache.index.labels)
        _note_start(run, plan, cache, folds)
        source = share_examples(cache, cfg.data.cache_gb, cfg.data.window_examples, view)
        units = [_unit(run, cache, fold) for fold in folds]
        status = run_units(units, FoldWork(study, cfg, plan, source, run.folder), run.folder, cfg.resources, view)
    failed = {name: state for name, state in status.items() if state != "done"}
    run.note(units={name: "failed" if name in failed else "done" for name in status}, failures=failed)
    with view.stage("scoring"):
        metrics = _score(study, cfg, plan, run, cache, folds, [unit for unit in units if unit.name not in failed])
    run.finish("failed" if failed else "done")
    return Outcome(run.folder, metrics, failed)


def _unit(run: RunFolder, cache: Cache, fold: Fold) -> Unit:
    spec = {"fold": fold.fold, "train": fold.train, "validation": fold.validation, "test": fold.test}
    return Unit(f"fold-{fold.fold}", spec, digest([run.manifest["config_hash"], cache.content, spec]))


def _note_start(run: RunFolder, plan: Plan, cache: Cache, folds: list[Fold]) -> None:
    rejects = [*plan.rejects, *cache.rejects]
    participants = cache.index.participants
    run.forget_other_data(cache.content)
    run.note(
        data={
            "dataset": plan.dataset,
            "licence": plan.licence,
            "label": plan.label,
            "notes": plan.notes,
            "root": plan.root.uri,
            "fingerprint": cache.content,
        },
        classes=plan.classes,
        folds=[fold.__dict__ for fold in folds],
        counts={
            "recordings": len(plan.recordings),
            "participants": len(np.unique(participants)),
            "trials": plan.trials.num_rows,
            "examples": len(cache.index),
            "rejected": len(rejects),
            "rows_read": cache.rows_read,
        },
    )
    run.folder.write_table("rejects.parquet", rejects_table(sorted(rejects, key=_order)))
    run.folder.write_table("quality.parquet", cache.quality)


def _order(reject: Reject) -> tuple[str, int, str]:
    return reject.source, reject.row, reject.reason


def _score(
    study: Study, cfg: Any, plan: Plan, run: RunFolder, cache: Cache, folds: list[Fold], done: list[Unit]
) -> dict[str, Any] | None:
    """Put the units' predictions together, score them, write metrics.json."""
    if not done:
        run.forget_scores()
        return None
    units = [UnitFolder(run.folder, unit) for unit in done]
    predictions = pa.concat_tables([unit.folder.read_table("predictions.parquet") for unit in units])
    predictions = predictions.sort_by([("fold", "ascending"), ("participant", "ascending"), ("trial", "ascending")])
    run.folder.write_table("predictions.parquet", predictions)
    if "map" in predictions.column_names:
        ids = [field.name for field in predictions.schema if not pa.types.is_list(field.type)]
        index = predictions.select(ids)
        run.folder.write_table("maps/index.parquet", index.rename_columns({"map": "path"}))
    metrics = {
        "study": study.name,
        "n": {
            "participants": len(set(predictions.column("participant").to_pylist())),
            "trials": predictions.num_rows,
            "rejected": run.manifest["counts"]["rejected"],
        },
        "failed": sorted(set(run.manifest["units"]) - {unit.name for unit in done}),
        "folds": [
            {"fold": unit.unit.spec["fold"], "test": unit.unit.spec["test"], "metrics": unit.result()["metrics"]}  # type: ignore[index]
            for unit in units
        ],
        **study.score(cfg, plan, predictions),
    }
    run.folder.write_json("metrics.json", metrics)
    return metrics
