# SPDX-License-Identifier: Apache-2.0
"""The sections on folds: how each of them went, and who was tested where."""

from __future__ import annotations

from typing import Any

from gazeray.report.blocks import ROW, TEXT, WIDE, Block, Cell, Code, Column, Heading, Section, Table, Text
from gazeray.report.results import Results
from gazeray.report.sections.classification import metric_order
from gazeray.report.words import metric_name, number


def fold_rows(results: Results) -> list[dict[str, Any]]:
    """One row per planned fold: who was where, what its unit says, its scores (empty when it failed)."""
    scores = {fold["fold"]: fold.get("metrics") or {} for fold in results.metrics.get("folds") or []}
    unknown = {"status": "not run"}
    return [
        {**fold, "unit": results.units.get(f"fold-{fold['fold']}", unknown), "metrics": scores.get(fold["fold"], {})}
        for fold in results.manifest.get("folds") or []
    ]


def untested(results: Results) -> list[str]:
    """What the run lacks: the participants who were to be tested and were not, as a sentence, if there are any."""
    tested = set(results.metrics.get("participants") or {})
    gone = sorted({name for fold in results.manifest.get("folds") or [] for name in fold["test"]} - tested)
    return [f"Never tested: {', '.join(gone)}"] if gone else []


def per_fold(results: Results) -> Section:
    """The section on the scores of each fold, with the traceback of those that failed."""
    folds = fold_rows(results)
    keys = sorted({key for fold in folds for key in fold["metrics"]}, key=metric_order)
    words = (
        "Scores of each fold on its own test participants. Few people a fold: read the spread, not the single figure."
    )
    heads = ["best epoch", "trials: train / validation / test", *map(metric_name, keys)]
    columns = [Column("fold", ROW), Column("state", TEXT), *map(Column, heads)]
    table = Table("Scores per fold", columns, [_fold(fold, keys) for fold in folds], style="compact")
    blocks: list[Block] = [Text(words, small=True), table]
    for unit in results.failed:
        if unit.get("traceback"):
            blocks += [Heading(f"Where {unit['unit']} failed"), Code(unit["traceback"])]
    return Section("per-fold", "Folds", "Folds", blocks)


def _fold(fold: dict[str, Any], keys: list[str]) -> list[object]:
    unit, scored = fold["unit"], fold["metrics"]
    counts, best = unit.get("n") or {}, unit.get("best_epoch")
    return [
        fold["fold"],
        Cell(unit["status"], failed=unit["status"] != "done"),
        "" if best is None else f"{best} of {unit.get('epochs', '?')}",
        " / ".join(str(counts[side]) for side in ("train", "validation", "test")) if counts else "",
        *(number(scored.get(key)) if scored else "" for key in keys),
    ]


def tested(results: Results, hold_out: str) -> Section:
    """The section on who was tested where. hold_out: participants, stimuli, or both."""
    folds, blocks = results.manifest.get("folds") or [], []
    if hold_out != "stimuli":
        heads = [Column("tested", WIDE), Column("validated on", WIDE), Column("trained on", TEXT)]
        rows = [
            [fold["fold"], ", ".join(fold["test"]), ", ".join(fold["validation"]) or "nobody",
             f"the other {len(fold['train'])}"]
            for fold in folds
        ]  # fmt: skip
        blocks.append(Table("Participants per fold", [Column("fold", ROW), *heads], rows))
    if hold_out != "participants":
        held = [(fold["fold"], fold["stimuli"]) for fold in folds if fold.get("stimuli")]
        rows = [[fold, ", ".join(stimuli["test"]), len(stimuli["train"])] for fold, stimuli in held]
        heads = [Column("stimuli tested", WIDE), Column("stimuli trained on")]
        blocks.append(Table("Stimuli per fold", [Column("fold", ROW), *heads], rows))
    return Section("tested", "Who was tested where", "Who was tested", blocks)
