# SPDX-License-Identifier: Apache-2.0
"""The sections on folds: how each of them went, and who was tested where.

Of many folds: how their scores are spread, and the extremes; of many people in a fold: the first ones, and how many
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gazeray.report import many
from gazeray.report.blocks import ROW, TEXT, WIDE, Block, Cell, Code, Column, Heading, Section, Table, Text, more
from gazeray.report.results import Results
from gazeray.report.sections.classification import metric_order
from gazeray.report.words import metric_name, number

FEW = ("accuracy", "balanced_accuracy", "mcc", "brier", "auroc")
"""What is shown of each fold: of few people the finer scores, and those of single classes, are mostly noise."""


def untested(results: Results) -> list[str]:
    """What the run lacks: the participants who were to be tested and were not, as a sentence, if there are any."""
    tested = set(results.metrics.get("participants") or {})
    gone = sorted({name for fold in results.manifest.get("folds") or [] for name in fold["test"]} - tested)
    return [f"Never tested: {many.named(gone)}"] if gone else []


def per_fold(results: Results) -> Section:
    """The section on the scores of each fold, with the traceback of those that failed."""
    folds = results.manifest.get("folds") or []
    scores = {fold["fold"]: fold["metrics"] for fold in results.metrics.get("folds") or []}
    keys = sorted({key for scored in scores.values() for key in scored}, key=metric_order)
    words = (
        "Scores of each fold on its own test trials. They are few: read the spread, not the single figure. Further "
        "scores are in metrics.json in the run folder, under folds."
    )
    blocks: list[Block] = [Text(words, small=True)]
    shown = list(folds)
    if len(folds) > many.MANY:
        best = sorted(folds, key=lambda fold: _rank(scores.get(fold["fold"]), keys))
        shown = [fold for _, fold in many.ends(best)]
        by = f", by {metric_name(_leading(keys))}" if keys else ""
        blocks += [_spread(scores, keys), Heading(f"The {many.EXTREMES} first and the {many.EXTREMES} last folds{by}")]
    few = [key for key in keys if key in FEW]
    heads = ["best epoch", "trials: train / validation / test", *map(metric_name, few)]
    columns = [Column("fold", ROW), Column("state", TEXT), *map(Column, heads)]
    rows = [_fold_row(results, fold["fold"], scores.get(fold["fold"]), few) for fold in shown]
    blocks.append(Table("Scores per fold", columns, rows, style="compact"))
    blocks += more(len(folds) - len(shown), "folds", "metrics.json in the run folder, under folds")
    failures = [unit for unit in results.failed if unit.get("traceback")]
    for unit in many.first(failures):
        blocks += [Heading(f"Where {unit['unit']} failed"), Code(unit["traceback"])]
    blocks += more(len(failures) - len(many.first(failures)), "failures", "units/ in the run folder, failure.json")
    return Section("per-fold", "Folds", "Folds", blocks)


def _leading(keys: Sequence[str]) -> str:
    """The metric that folds are sorted by."""
    return "balanced_accuracy" if "balanced_accuracy" in keys else keys[0]


def _rank(scored: Mapping[str, float | None] | None, keys: Sequence[str]) -> float:
    """Sorts folds from the best to the worst; those without a score last."""
    value = (scored or {}).get(_leading(keys)) if keys else None
    return float("inf") if value is None else -value


def _spread(scores: Mapping[int, Mapping[str, float | None]], keys: Sequence[str]) -> Table:
    """How each score is spread over the folds."""
    rows = []
    for key in keys:
        values = np.array([scored[key] for scored in scores.values() if scored.get(key) is not None], dtype=np.float64)
        parts = np.percentile(values, [0, 25, 50, 75, 100]).tolist() if values.size else [None] * 5
        rows.append([metric_name(key), values.size, *map(number, parts)])
    heads = ("folds", "lowest", "first quartile", "median", "third quartile", "highest")
    return Table("Scores over folds", [Column("score", ROW), *map(Column, heads)], rows)


def _fold_row(results: Results, fold: int, scored: Mapping[str, Any] | None, keys: Sequence[str]) -> list[object]:
    unit = results.units.get(f"fold-{fold}", {"status": "not run"})
    counts, best = unit.get("n"), unit.get("best_epoch")
    beside = results.units.get(f"baselines-{fold}", unit)  # runs of before have no such units
    state = unit["status"] if unit["status"] != "done" or beside["status"] == "done" else "baselines failed"
    return [
        fold,
        Cell(state, failed=state != "done"),
        "" if best is None else f"{best} of {unit.get('epochs', '?')}",
        " / ".join(str(counts[side]) for side in ("train", "validation", "test")) if counts else "",
        *(number(scored.get(key)) if scored else "" for key in keys),
    ]


def tested(results: Results, hold_out: str) -> Section:
    """The section on who was tested where. hold_out: participants, stimuli, or both."""
    folds = results.manifest.get("folds") or []
    blocks: list[Block] = []
    if hold_out != "stimuli":
        heads = [Column("tested", WIDE), Column("validated on", WIDE), Column("trained on", TEXT)]
        rows = [
            [fold["fold"], many.named(fold["test"]), many.named(fold["validation"]) or "nobody",
             f"the other {len(fold['train'])}"]
            for fold in many.first(folds)
        ]  # fmt: skip
        blocks.append(Table("Participants per fold", [Column("fold", ROW), *heads], rows))
    if hold_out != "participants":
        held = [(fold["fold"], fold["stimuli"]) for fold in folds if fold.get("stimuli")]
        rows = [[fold, many.named(stimuli["test"]), len(stimuli["train"])] for fold, stimuli in many.first(held)]
        heads = [Column("stimuli tested", WIDE), Column("stimuli trained on")]
        blocks.append(Table("Stimuli per fold", [Column("fold", ROW), *heads], rows))
    where = "manifest.json in the run folder, under folds"
    blocks += more(len(folds) - len(many.first(folds)), "folds", where)
    if any(len(names) > many.MANY for fold in folds for names in _listed(fold)):
        blocks.append(Text(f"All names: see {where}."))
    return Section("tested", "Who was tested where", "Who was tested", blocks)


def _listed(fold: Mapping[str, Any]) -> list[Sequence[str]]:
    """The lists of names of a fold that the section shows."""
    return [fold["test"], fold["validation"], (fold.get("stimuli") or {}).get("test", ())]
