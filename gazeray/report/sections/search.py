# SPDX-License-Identifier: Apache-2.0
"""The section on the search: what was chosen in every outer fold, and how much the inner scores promised too much.

In nested cross-validation the outer score belongs to the procedure "search, then fit"; the inner score of the chosen
setting is the best of many and leans towards optimism (Cawley and Talbot, JMLR 11, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gazeray.report import many
from gazeray.report.blocks import ROW, TEXT, WIDE, Block, Cell, Column, Heading, Section, Table, Terms, Text, more
from gazeray.report.results import Results
from gazeray.report.sections import parallel
from gazeray.report.words import metric_name, number

TRIALS = 300


def section(results: Results) -> Section | None:
    """The section on the search of metrics.json; None when the run did not search."""
    found = results.metrics.get("search") or {}
    folds = sorted(found.get("folds") or [], key=lambda entry: int(entry["fold"]))
    if not folds:
        return None
    metric, by = metric_name(str(found["metric"])), choice_name(results)
    intro = (
        f"In every outer fold the setting was chosen anew, by its mean {by} over inner folds of that fold’s training "
        f"data; the outer test data were looked at once, after the choice. Scores are {metric}. The inner score of a "
        "chosen setting is the best of many and flatters it (Cawley and Talbot, 2010): the outer score is the one to "
        "report. Optimism: inner minus outer score."
    )
    space = [(name, value_words(values)) for name, values in _leaves(found.get("space") or {})]
    blocks: list[Block] = [Text(intro), *([Terms(space)] if space else []), choices(folds)]
    blocks += more(len(folds) - len(_shown(folds)), "folds", "metrics.json in the run folder, under search")
    blocks += _tried(folds, found)
    return Section("search", "Search for the setting", "Search", blocks)


def choice_name(results: Results) -> str:
    """What the settings were ranked by, in words; empty when the run did not search."""
    found = results.metrics.get("search") or {}
    by = found.get("chosen_by", "")
    return "loss (cross-entropy)" if by == "loss" else metric_name(by)


def choices(folds: Sequence[Mapping[str, Any]]) -> Table:
    """What was chosen in every outer fold, its scores, by how much the inner one flatters, and the means of these.

    Of many folds the best and the worst by outer score are shown. The means are over all folds whose two scores are
    both known; there are none for fewer than two.
    """
    both = [(fold["inner_score"], fold["outer_score"]) for fold in folds]
    rows = [
        [fold["fold"], setting_words(fold["chosen"]), *_scores(fold["inner_score"], fold["outer_score"])]
        for fold in _shown(folds)
    ]
    known = [pair for pair in both if None not in pair]
    means = [math.fsum(side) / len(known) for side in zip(*known, strict=True)]
    foot = ["mean", f"of {len(known)} folds", *_scores(*means)] if len(known) > 1 else []
    heads = ("inner score", "outer score", "optimism")
    columns = [Column("fold", ROW), Column("chosen", WIDE), *map(Column, heads)]
    return Table("Chosen setting per fold", columns, rows, foot=foot)


def _shown(folds: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """All folds, or of many those with the best and the worst outer score; folds without one count as worst."""
    if len(folds) <= many.MANY:
        return folds
    scores = [-math.inf if fold["outer_score"] is None else fold["outer_score"] for fold in folds]
    order = sorted(range(len(folds)), key=lambda place: -scores[place])
    return [folds[place] for _, place in many.ends(order)]


def _scores(inner: float | None, outer: float | None) -> list[str]:
    optimism = None if inner is None or outer is None else inner - outer
    return [number(inner), number(outer), number(optimism, signed=True)]


def _tried(folds: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> list[Block]:
    """The settings of all folds, those of a fold best first; cut."""
    key, sign = ("loss", 1) if found["chosen_by"] == "loss" else ("score", -1)

    def rank(trial: Mapping[str, Any]) -> float:
        return math.inf if trial[key] is None else sign * float(trial[key])

    told = "inner loss" if key == "loss" else f"inner {metric_name(str(found['metric']))}"
    every = [trial for entry in folds for trial in entry["trials"]]
    figure = parallel.figure(every, _logarithmic(found.get("space") or {}), key, told, value_words)
    trials = [
        [entry["fold"], setting_words(trial["setting"]), number(trial["score"]), number(trial["loss"]),
         trial["inner_folds"], trial["epochs"], Cell(trial["status"], failed=trial["status"] == "failed")]
        for entry in folds for trial in sorted(entry["trials"], key=rank)
    ]  # fmt: skip
    heads = ("inner score", "inner loss", "inner folds", "epochs")
    columns = [Column("fold", ROW), Column("setting", WIDE), *map(Column, heads), Column("status", TEXT)]
    table = Table("Settings tried", columns, trials[:TRIALS], tall=len(trials) > 15, filterable=True)
    return [
        Heading("Settings tried"),
        *([figure] if figure else []),
        table,
        *more(len(trials) - TRIALS, "", "metrics.json in the run folder"),
    ]


def _logarithmic(space: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether the space says of a dotted key that its range is logarithmic."""
    ranges = {name: value for name, value in _leaves(space) if isinstance(value, Mapping)}
    return lambda name: bool((ranges.get(name) or {}).get("log"))


def _leaves(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, list or range) of a space that is laid out as the config."""
    for name, value in space.items():
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def setting_words(setting: Mapping[str, Any]) -> str:
    """A setting as "key = value, key = value", by key."""
    return ", ".join(f"{name} = {value_words(setting[name])}" for name in sorted(setting))


def value_words(value: Any) -> str:
    """A value, a list of values, or a range, in words."""
    if isinstance(value, list | tuple):
        return ", ".join(f"[{value_words(item)}]" if isinstance(item, list | tuple) else value_words(item)
                         for item in value)  # fmt: skip
    if isinstance(value, Mapping):
        scale = " (logarithmic)" if value.get("log") else ""
        return f"{value_words(value['low'])} to {value_words(value['high'])}{scale}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
