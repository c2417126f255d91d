# SPDX-License-Identifier: Apache-2.0
"""The section on scores: every predictor by every metric, why scores are undefined, and paired gains."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from gazeray.report.blocks import NAME, TEXT, Block, Cell, Column, Heading, Listing, Section, Table, Text
from gazeray.report.results import KINDS, Results
from gazeray.report.words import Metric, interval, lookup, number, p_value


class Gains(NamedTuple):
    """A table of paired gains over one predictor: its key, and what it is called at length and in short.

    without: metrics that are such a gain already.
    """

    over: str
    name: str
    short: str
    without: Collection[str] = ()


def section(
    results: Results, metrics: Mapping[str, Metric], by: str | None, noun: str, intro: str, gains: Sequence[Gains] = (),
    below: str = "",
) -> Section:  # fmt: skip
    """The score table of any study, with its gains; arguments as of `blocks`."""
    if not results.rows:
        return Section("scores", "Scores", "Scores", [Text("No unit finished: there are no scores.")])
    where = f"The scores of every predictor on every {noun} are in per_item.parquet in the run folder."
    shown = [Text(intro, small=True), *blocks(results, metrics, by, noun, gains, below)]
    return Section("scores", "Scores", "Scores", [*shown, Text(where)])


def blocks(
    results: Results, metrics: Mapping[str, Metric], by: str | None, noun: str, gains: Sequence[Gains] = (),
    below: str = "", label: str = "Scores",
) -> list[Block]:  # fmt: skip
    """The table of all scored predictors, why some scores are undefined, and the gains.

    metrics: every metric that a run may show, in words. by: the metric that sorts the models; None: in `order`. noun:
    what is scored, in the singular, such as "picture". below: a line under the table. label: of the table. Raises
    ValueError for a metric that is not known.
    """
    keys = ordered(results, metrics, by)
    entries = {key: {name: results.entry(key, name) for name in results.shown} for key in keys}
    found: list[Block] = [_table(label, results, metrics, entries, results.shown, False)]
    found += [Text(below, small=True)] if below else []
    if reasons := undefined(results, metrics, noun):
        found += [Text("–: undefined.", small=True), Listing(reasons)]
    for gain in gains:
        gained = gained_over(results, keys, gain)
        if gained:
            words = (
                f"Row minus {gain.short} on the same {noun}s, with the interval of the paired difference: an interval "
                "that holds 0 means that the two cannot be told apart."
            )
            shown = [name for name in results.shown if any(name in row for row in gained.values())]
            table = _table(f"Gains over {gain.name}", results, metrics, gained, shown, True)
            found += [Heading(f"Gain over {gain.name}"), Text(words, small=True), table]
    return found


def _table(
    label: str,
    results: Results,
    metrics: Mapping[str, Metric],
    entries: Mapping[str, Mapping[str, Mapping[str, Any]]],
    shown: Sequence[str],
    signed: bool,
) -> Table:
    """A row for every predictor of `entries` (predictor -> metric -> value, ci95, p), a column for each metric."""
    heads = [lookup(metrics, name).head for name in shown]
    rows = [
        [results.label(key), results.predictors[key]["kind"], *(_cell(row.get(name) or {}, signed) for name in shown)]
        for key, row in entries.items()
    ]
    return Table(
        label,
        [Column("predictor", NAME), Column("kind", TEXT), *map(Column, heads)],
        rows,
        shaded=[place for place, key in enumerate(entries) if key == results.best],
        tall=len(rows) > 25,
        style="compact scores",
    )


def _cell(entry: Mapping[str, Any], signed: bool) -> Cell:
    if entry.get("value") is None:
        return Cell("–")
    beside = [interval(entry.get("ci95"), 3, signed), "" if entry.get("p") is None else p_value(entry["p"])]
    return Cell(number(entry["value"], 3, signed), " ".join(filter(None, beside)))


def ordered(results: Results, metrics: Mapping[str, Metric], by: str | None) -> list[str]:
    """The scored predictors: models from the best to the worst by a metric, those without a value last, then
    baselines, then ceilings."""
    models, *others = (results.of_kind(kind) for kind in KINDS)
    if by:
        sign = -1 if lookup(metrics, by).rises else 1
        values = {key: results.entry(key, by).get("value") for key in models}
        place = {key: math.inf if value is None else sign * float(value) for key, value in values.items()}
        models.sort(key=place.__getitem__)
    return [*models, *(key for group in others for key in group)]


def gained_over(results: Results, keys: Sequence[str], gains: Gains) -> dict[str, dict[str, dict[str, Any]]]:
    """Predictor -> metric -> gain over one of them, only those that have one."""
    names = [name for name in results.shown if name not in gains.without]
    every = {key: {name: results.gain(key, name, gains.over) for name in names} for key in keys if key != gains.over}
    found = {key: {n: gain for n, gain in row.items() if gain.get("value") is not None} for key, row in every.items()}
    return {key: row for key, row in found.items() if row}


def undefined(results: Results, metrics: Mapping[str, Metric], noun: str) -> list[str]:
    """Why cells of the score table are empty, and which rows were scored on fewer items; a sentence for each reason.

    The reasons are those that the run wrote down with the scores.
    """
    whole = (results.metrics.get("n") or {}).get(f"{noun}s") or 0
    reasons: dict[str, dict[str, list[str]]] = {}
    for key, row in results.rows.items():
        for name in results.shown:
            entry = row.get(name) or {}
            reason = entry.get("why") or ""
            if entry.get("value") is not None:
                if not 0 < (entry.get("n") or 0) < whole:
                    continue
                reason = f"scored on {entry['n']} of {whole} {noun}s{reason and ', '}{reason}"
            reasons.setdefault(reason or "undefined", {}).setdefault(key, []).append(lookup(metrics, name).name)
    said = {
        reason: "; ".join(f"{results.label(key)} ({', '.join(names)})" for key, names in rows.items())
        for reason, rows in reasons.items()
    }
    return [f"{reason[0].upper()}{reason[1:]}: {rows}." for reason, rows in said.items()]
