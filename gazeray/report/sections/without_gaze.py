# SPDX-License-Identifier: Apache-2.0
"""What the gaze adds: the model beside what can be had without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gazeray.metrics.permutation import Claim, claim
from gazeray.report.blocks import ROW, Block, Cell, Column, Heading, Table, Text
from gazeray.report.results import HEADLINE, Results
from gazeray.report.words import interval, metric_name, number, p_alone

SHOWN = (HEADLINE, "auroc")


@dataclass(frozen=True)
class Gain:
    """The model's gain over the best that can be had without gaze, in the metric of the verdict.

    over: what that is called, value: its score; gain, ci95, p: of the difference. found: what may be claimed of it. By
    chance the best of several rows beats the model more often than a single one does: p below counts as many times as
    there are rows (Bonferroni). That the model beats the best needs no such thing.
    """

    over: str
    value: float
    gain: float
    ci95: list[float] | None
    p: float | None
    found: Claim


def best_gain(results: Results, model: str, metric: str, held: dict[str, int]) -> Gain | None:
    """The headline; None in runs that have no rows without gaze, and where the metric is undefined."""
    best = (results.metrics.get("without_gaze") or {}).get("best")
    value, entry = results.entry(best, metric).get("value"), results.gain(model, metric, best or "")
    if best is None or value is None or entry.get("value") is None:
        return None
    test = _tested(results, best, metric)
    rows = [
        name for name in results.metrics["without_gaze"]["rows"] if results.entry(name, metric).get("value") is not None
    ]
    if test.get("p_below") is not None:
        test["p_below"] = min(1.0, len(rows) * test["p_below"])
    found = claim(entry["ci95"], 0.0, test, held)
    p = test.get("p_below" if found.side == "below" else "p")
    return Gain(results.label(best), value, entry["value"], entry["ci95"], p, found)


def blocks(results: Results, model: str) -> list[Block]:
    """A row for everything that never sees gaze: its scores, and the model's gain over it."""
    rows = results.metrics.get("without_gaze") or {}
    if not rows:
        return []
    heads = [metric_name(key) for key in SHOWN]
    table = Table(
        "Without gaze",
        [Column("without gaze", ROW), *map(Column, heads),
         *(Column(name) for head in heads for name in (f"gain in {head}", "p"))],
        [_row(results, model, name) for name in rows["rows"]],
        shaded=[rows["rows"].index(rows["best"])],
    )  # fmt: skip
    words = (
        "Would the same score have been had without an eye tracker? Here are predictors that never see gaze, under the "
        "same folds, and the gain of the model over each, on the same resamples. p: one-sided, of the gain before it, "
        f"by the permutation test. Shaded: the best of them by {heads[0]}, which the verdict is about."
    )
    why = {results.label(name): results.entry(name, SHOWN[0]).get("why") for name in rows["rows"]}
    words += "".join(f" Undefined: {label} ({reason})." for label, reason in why.items() if reason)
    if low := _below_chance(results, rows["rows"]):
        words += (
            f" Below chance: {', '.join(low)}. What is tested leaves its opposite to be fitted to, most of all in "
            "counterbalanced designs, where everybody has as many of each class. That tells how the experiment was "
            "planned; a gain over such a row says nothing."
        )
    return [Heading("What can be had without gaze"), Text(words, small=True), table]


def _below_chance(results: Results, names: Sequence[str]) -> list[str]:
    """What the rows are called whose whole interval is below chance."""
    chance = ((results.metrics.get("metrics") or {}).get(SHOWN[0]) or {}).get("chance")
    bounds = {name: results.entry(name, SHOWN[0]).get("ci95") for name in names}
    return [results.label(name) for name, own in bounds.items() if own and chance is not None and own[1] < chance]


def _row(results: Results, model: str, name: str) -> list[object]:
    cells: list[object] = [results.label(name)]
    entries = {key: results.entry(name, key) for key in SHOWN}
    if entries[SHOWN[0]].get("value") is None:
        return [*cells, "undefined", *[""] * (3 * len(SHOWN) - 1)]
    cells += [Cell(number(entry.get("value")), interval(entry.get("ci95"))) for entry in entries.values()]
    for key in SHOWN:
        gain, p = results.gain(model, key, name), _tested(results, name, key).get("p")
        cells.append(Cell(number(gain.get("value"), signed=True), interval(gain.get("ci95"), signed=True)))
        cells.append(p_alone(p))
    return cells


def _tested(results: Results, name: str, metric: str) -> dict[str, Any]:
    """The permutation test of the gain over a predictor, and where nothing can be claimed the reason."""
    test = results.metrics.get("permutation") or {}
    if metric != SHOWN[0]:
        test = test.get(metric) or {}
    return {"reason": test.get("reason"), **((test.get("gain") or {}).get(name) or {})}
