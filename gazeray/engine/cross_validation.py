# SPDX-License-Identifier: Apache-2.0
"""Cross-validation by participant: plan, read, fold, fit, test, score, in one run folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save

from gazeray.config import digest
from gazeray.engine.cluster import cluster, workers_that_fit
from gazeray.engine.outcome import Outcome
from gazeray.engine.pipeline import Cache, cache_examples
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit
from gazeray.engine.run import RunFolder
from gazeray.engine.search import Chosen, InnerSearch, search
from gazeray.engine.units import UnitFolder, run_units
from gazeray.engine.variants import Variant, variants_of
from gazeray.learn.fit import Task, fit
from gazeray.learn.folds import Fold, derive_seed, inner_seed, inner_splits, outer_folds, split_rows
from gazeray.learn.space import settings_to_try, with_setting
from gazeray.storage import Folder
from gazeray.store import Examples
from gazeray.study import Plan, Split, Study
from gazeray.tables import DataError, Reject, rejects_table


@dataclass(frozen=True)
class FoldWork:
    """What a worker does with a fold: fit on its training people, test on its test people, write what was learned.

    A unit's spec: `fold`, and `chosen` (the number of a variant, and the epochs) when a search was made; then there are
    no validation people: everybody who is not tested is trained on.
    """

    study: Study
    variants: list[Variant]
    seed: int
    results: Folder

    def open(self) -> dict[int, Examples]:
        """Once per worker: the examples of each variant, as they are needed."""
        return {}

    def run(self, opened: dict[int, Examples], unit: Unit, folder: UnitFolder, device: torch.device) -> dict[str, Any]:
        chosen = unit.spec["chosen"]
        number = chosen["setting"] if chosen else 0
        variant = self.variants[number]
        if number not in opened:
            opened[number] = variant.source.open()
        examples, cfg = opened[number], variant.cfg
        split = split_rows(examples.index.participants, Fold(**unit.spec["fold"]), examples.index.stimuli)
        if chosen:
            known = np.sort(np.concatenate([split.train, split.validation]))
            split = Split(known, np.empty(0, np.int64), split.test)
            cfg = with_setting(cfg, {"train.epochs": chosen["epochs"]})
        task = Task(
            self.study, cfg, variant.plan, examples, split.train, split.validation, derive_seed(self.seed, unit.name)
        )
        model, progress = fit(task, device, folder)
        folder.write_history(progress.history)
        keep = partial(_keep_map, self.results)
        tested = self.study.test(cfg, variant.plan, model, examples, split, device, keep)
        fold = pa.array([unit.spec["fold"]["fold"]] * tested.predictions.num_rows, pa.int32())
        folder.folder.write_table("predictions.parquet", tested.predictions.append_column("fold", fold))
        for name, data in tested.files.items():
            folder.folder.write_bytes(name, data)
        weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
        folder.folder.write_bytes("checkpoint/model.safetensors", save(weights))
        return {
            "best_epoch": progress.best_epoch,
            "epochs": progress.epoch,
            "validation_loss": None if chosen else progress.best_loss,
            "n": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
            "metrics": tested.scores,
            "files": sorted(tested.files),
        }


def _keep_map(run: Folder, name: str, data: bytes) -> None:
    run.write_bytes(f"maps/{name}", data)


def plan_folds(cfg: Any, plan: Plan, participants: np.ndarray, stimuli: np.ndarray, labels: np.ndarray) -> list[Fold]:
    """The outer folds of examples (N,). Raises DataError when people, stimuli or classes do not suffice."""
    groups, unit = (stimuli, "stimuli") if cfg.folds.hold_out == "stimuli" else (participants, "participants")
    count = len(np.unique(groups))
    if count < cfg.folds.outer:
        raise DataError(
            [f"{count} {unit} have usable trials, fewer than folds.outer = {cfg.folds.outer}; lower folds.outer"]
        )
    missing = [plan.classes[c] for c in range(len(plan.classes)) if not np.any(labels == c)]
    if missing:
        raise DataError([f"no usable trial of class {name}; {plan.label} cannot be learned" for name in missing])
    try:
        folds = outer_folds(participants, stimuli, labels, cfg.folds, cfg.run.seed)
    except ValueError as error:
        raise DataError([str(error)]) from error
    for fold in folds:
        split = split_rows(participants, fold, stimuli)
        for side in ("train", "validation", "test"):
            if not len(getattr(split, side)):
                raise DataError([f"fold {fold.fold}: no example to {side} on; {_FEWER[cfg.folds.hold_out]}"])
        _check_classes(f"fold {fold.fold}", split.train, labels, plan, unit)
        if cfg.search is not None:
            known = np.sort(np.concatenate([split.train, split.validation]))
            try:
                inner = inner_splits(known, participants, stimuli, labels, cfg.folds, inner_seed(cfg.run.seed, fold))
            except ValueError as error:
                raise DataError([f"fold {fold.fold}: {error}; lower folds.inner"]) from error
            for number, (train, validation) in enumerate(inner):
                if not len(validation):
                    raise DataError([f"fold {fold.fold}, inner fold {number}: no example to validate on"])
                _check_classes(f"fold {fold.fold}, inner fold {number}", train, labels, plan, unit)
    return folds


_FEWER = {
    "participants": "lower folds.outer",
    "stimuli": "lower folds.outer",
    "both": "not everybody saw every stimulus: lower folds.outer or folds.stimuli, or hold out one of them",
}


def _check_classes(name: str, rows: np.ndarray, labels: np.ndarray, plan: Plan, unit: str) -> None:
    """Raises DataError when a class is not among the training rows."""
    seen = set(labels[rows])
    absent = [text for c, text in enumerate(plan.classes) if c not in seen]
    if absent:
        raise DataError([f"{name}: no training example has class {', '.join(absent)}; it takes more {unit}"])


def checked_plan(study: Study, cfg: Any) -> Plan:
    """The study's plan, once it is clear that people and classes suffice. Raises DataError, ConfigError."""
    settings_to_try(cfg)
    plan = study.plan(cfg)
    participants, stimuli = (np.asarray(plan.trials.column(name).to_pylist()) for name in ("participant", "stimulus"))
    plan_folds(cfg, plan, participants, stimuli, plan.trials.column("label_index").to_numpy())
    return plan


def plan_lines(study: Study, cfg: Any) -> list[str]:
    """What a run would do, for --dry-run. Raises DataError, ConfigError."""
    plan = checked_plan(study, cfg)
    trials = plan.trials
    people = len(set(trials.column("participant").to_pylist()))
    labels = trials.column("label_index").to_numpy()
    counts = ", ".join(f"{name} {int(np.sum(labels == c))}" for c, name in enumerate(plan.classes))
    workers = cfg.resources.workers or "as many as fit"
    return [
        f"data set: {plan.dataset} (licence {plan.licence or 'not stated'}) at {plan.root.uri}",
        f"people: {people}; recordings: {len(plan.recordings)}; rejected before reading: {len(plan.rejects)}",
        f"trials: {trials.num_rows}; label {plan.label}: {counts}",
        f"units: {_units_in_words(cfg)}",
        f"resources: {cfg.resources.per_unit.cpu} CPU per unit; units at the same time: {workers}",
    ]


def _units_in_words(cfg: Any) -> str:
    crossed = cfg.folds.hold_out == "both"
    folds = cfg.folds.outer * (cfg.folds.stimuli if crossed else 1)
    text = f"{folds} folds (held out: {cfg.folds.hold_out}), each up to {cfg.train.epochs} epochs"
    if cfg.search is None:
        return text
    settings = len(settings_to_try(cfg))
    return f"{text}; before that in each a search over {settings} settings x {cfg.folds.inner} inner folds"


def cross_validate(study: Study, cfg: Any, job: str, view: ProgressView) -> Outcome:
    """Run the whole study, or what is missing of it.

    Raises DataError or ConfigError before anything is fitted when config or recordings make it impossible.
    """
    plan = checked_plan(study, cfg)
    run = RunFolder(cfg, job, study.name)
    view.line(f"run folder: {run.folder.uri}")
    with view.live(), cluster():
        workers_that_fit(cfg.resources, view.line)
        cache = cache_examples(study.reader(cfg, plan), plan, run.store, view)
        index = cache.index
        folds = plan_folds(cfg, plan, index.participants, index.stimuli, index.labels)
        _note_start(run, plan, cache, folds)
        variants = variants_of(study, cfg, plan, cache, run.store, view)
        chosen: list[Chosen] | None = None
        if cfg.search is not None:
            work = InnerSearch(study, cfg, run.manifest["config_hash"], variants, folds, run.folder)
            chosen = search(work, cfg.resources, view)
        units = [_unit(run, variants, fold, chosen) for fold in folds]
        run.note(unit_hashes={unit.name: unit.hash for unit in units})
        status = run_units(units, FoldWork(study, variants, cfg.run.seed, run.folder), run.folder, cfg.resources, view)
    failed = {name: state for name, state in status.items() if state != "done"}
    run.note(units={name: "failed" if name in failed else "done" for name in status}, failures=failed)
    with view.stage("scoring"):
        metrics = _score(study, cfg, plan, run, chosen, [unit for unit in units if unit.name not in failed])
    run.finish("failed" if failed else "done")
    return Outcome(run.folder, metrics, failed)


def _unit(run: RunFolder, variants: list[Variant], fold: Fold, chosen: list[Chosen] | None) -> Unit:
    """An outer fold as a unit: fitted as the config says, or refitted with what the search chose."""
    pick = None
    if chosen is not None:
        pick = {"setting": chosen[fold.fold].setting, "epochs": chosen[fold.fold].epochs}
    variant = variants[pick["setting"] if pick else 0]
    spec = {"fold": fold.__dict__, "chosen": pick}
    parts = [run.manifest["config_hash"], variant.source.cache.content, spec, variant.setting]
    return Unit(f"fold-{fold.fold}", spec, digest(parts))


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
        pictures=plan.own,
        notes_on_recordings=cache.notes,
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
    for name, table in cache.tables():
        run.folder.write_table(f"{name}.parquet", table)


def _order(reject: Reject) -> tuple[str, int, str]:
    return reject.source, reject.row, reject.reason


def _score(
    study: Study, cfg: Any, plan: Plan, run: RunFolder, chosen: list[Chosen] | None, done: list[Unit]
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
    results = [unit.result() or {} for unit in units]
    kept = [
        {name: unit.folder.read_bytes(name) for name in result["files"]}
        for unit, result in zip(units, results, strict=True)
    ]
    gathered, files = study.gather(cfg, plan, kept)
    for name, data in files.items():
        run.folder.write_bytes(name, data)
    metrics = {
        "study": study.name,
        "n": {
            "participants": len(set(predictions.column("participant").to_pylist())),
            "trials": predictions.num_rows,
            "rejected": run.manifest["counts"]["rejected"],
        },
        "failed": sorted(set(run.manifest["units"]) - {unit.name for unit in done}),
        "folds": [
            {
                "fold": unit.unit.spec["fold"]["fold"],
                "test": unit.unit.spec["fold"]["test"],
                "metrics": result["metrics"],
            }
            for unit, result in zip(units, results, strict=True)
        ],
        **({} if chosen is None else {"search": _search_record(cfg, chosen, units)}),
        **gathered,
        **study.score(cfg, plan, predictions),
    }
    run.folder.write_json("metrics.json", metrics)
    return metrics


def _search_record(cfg: Any, chosen: list[Chosen], units: list[UnitFolder]) -> dict[str, Any]:
    """What was tried and chosen in each outer fold; the inner score beside the outer one shows the optimism."""
    folds = []
    for unit in units:
        number = unit.unit.spec["fold"]["fold"]
        pick, result = chosen[number], unit.result()
        folds.append(
            {
                "fold": number,
                "chosen": {**pick.values, "train.epochs": pick.epochs},
                "inner_score": pick.inner_score,
                "outer_score": result["metrics"].get("balanced_accuracy"),  # type: ignore[index]
                "trials": pick.trials,
            }
        )
    return {
        "metric": "balanced_accuracy",
        "chosen_by": cfg.search.metric,
        "scheduler": cfg.search.scheduler,
        "space": cfg.search.space,
        "folds": folds,
    }
