# SPDX-License-Identifier: Apache-2.0
"""The sections on folds: how each of them went, and who was tested where."""

from __future__ import annotations

from gazeray.report.blocks import ROW, TEXT, WIDE, Block, Cell, Code, Column, Heading, Section, Table, Text
from gazeray.report.results import Results
from gazeray.report.sections.classification import metric_order
from gazeray.report.words import metric_name, number


def untested(results: Results) -> list[str]:
    """What the run lacks: the participants who were to be tested and were not, as a sentence, if there are any."""
    tested = set(results.metrics.get("participants") or {})
    gone = sorted({name for fold in results.manifest.get("folds") or [] for name in fold["test"]} - tested)
    return [f"Never tested: {', '.join(gone)}"] if gone else []


def per_fold(results: Results) -> Section:
    """The section on the scores of each fold, with the traceback of those that failed."""
    scores = {fold["fold"]: fold["metrics"] for fold in results.metrics.get("folds") or []}
    rows = []
    keys = sorted({key for scored in scores.values() for key in scored}, key=metric_order)
    for fold in results.manifest.get("folds") or []:
        unit, scored = results.units.get(f"fold-{fold['fold']}", {"status": "not run"}), scores.get(fold["fold"])
        counts, best = unit.get("n"), unit.get("best_epoch")
        rows.append([
            fold["fold"],
            Cell(unit["status"], failed=unit["status"] != "done"),
            "" if best is None else f"{best} of {unit.get('epochs', '?')}",
            " / ".join(str(counts[side]) for side in ("train", "validation", "test")) if counts else "",
            *(number(scored.get(key)) if scored else "" for key in keys),
        ])  # fmt: skip
    words = (
        "Scores of each fold on its own test participants. Few people a fold: read the spread, not the single figure."
    )
    heads = ["best epoch", "trials: train / validation / test", *map(metric_name, keys)]
    columns = [Column("fold", ROW), Column("state", TEXT), *map(Column, heads)]
    table = Table("Scores per fold", columns, rows, style="compact")
    blocks: list[Block] = [Text(words, small=True), table]
    for unit in results.failed:
        if unit.get("traceback"):
            blocks += [Heading(f"Where {unit['unit']} failed"), Code(unit["traceback"])]
    return Section("per-fold", "Folds", "Folds", blocks)


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
