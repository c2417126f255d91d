# SPDX-License-Identifier: Apache-2.0
"""The scores of a run as text, for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from gazeray.metrics.classification import LOWER_IS_BETTER
from gazeray.report.results import HEADLINE, MODEL


def classification_table(metrics: dict[str, Any]) -> str:
    """The headline numbers as text: value, interval, chance and baselines, one line per metric."""
    blind = metrics.get("without_gaze") or {"rows": []}
    names = {name for entry in metrics["metrics"].values() for name in entry["baselines"]}
    baselines = sorted(names - set(blind["rows"]) | (names & {"majority"}))
    header = ["metric", "value", "95 % interval", "chance", *(name.replace("_", " ") for name in baselines)]
    rows = [
        [
            _named(name),
            _number(entry["value"]),
            _interval(entry["ci95"]),
            _number(entry["chance"]),
            *(_number(entry["baselines"].get(baseline)) for baseline in baselines),
        ]
        for name, entry in ((name, metrics["metrics"][name]) for name in metrics["metrics_shown"])
    ]
    lines = _aligned([header, *rows])
    test = metrics["permutation"]
    name = test["metric"].replace("_", " ")
    why = f" ({test['reason']})" if test.get("reason") else ""
    lines.append(f"permutation of labels {test['design']}, {name}: p = {_number(test['p'])}{why}")
    return "\n".join([*lines, *(_blind(metrics, **blind) if blind["rows"] else []), *_variants(metrics)])


def _blind(metrics: dict[str, Any], rows: Sequence[str], best: str) -> list[str]:
    """What can be had without gaze, a line each, and the gain of the model over the best of it."""
    shown = (HEADLINE, "auroc")
    cells = [["without gaze", *(name.replace("_", " ") for name in shown)]]
    for name in rows:
        entries = [metrics["rows"][name][metric] for metric in shown]
        label = metrics["predictors"][name]["label"]
        cells.append([label, *(_number(entry["value"]) for entry in entries), *filter(None, [entries[0].get("why")])])
    cells = [row + [""] * (max(map(len, cells)) - len(row)) for row in cells]
    gain = metrics["metrics"][shown[0]]["gain_ci95"].get(best)
    value, theirs = (metrics["rows"][name][shown[0]]["value"] for name in (MODEL, best))
    if value is None or theirs is None:
        return _aligned(cells)
    p = ((metrics["permutation"].get("gain") or {}).get(best) or {}).get("p")
    over = f"gain over {metrics['predictors'][best]['label']}, {shown[0].replace('_', ' ')}: {value - theirs:+.3f}"
    return [*_aligned(cells), f"{over} {_interval(gain)}, p = {_number(p)}"]


def predictors_table(metrics: dict[str, Any]) -> str:
    """Every predictor's scores as text, one line each: ceilings, models and baselines, best first within each kind."""
    shown = metrics["metrics_shown"]

    def place(key: str) -> tuple[int, float]:
        entry = metrics["rows"][key].get(shown[0]) or {}
        value = entry.get("value")
        falls = 1 if shown[0] in LOWER_IS_BETTER else -1
        kind = KINDS_OF_ROWS.index(metrics["predictors"][key]["kind"])
        return kind, falls * value if value is not None else float("inf")

    rows = [["", "", *map(_named, shown)]]
    for key in sorted(metrics["rows"], key=place):
        entries: Mapping[str, Any] = metrics["rows"][key]
        cells = ["" if not entries.get(name) else _number(entries[name]["value"]) for name in shown]
        rows.append([metrics["predictors"][key]["kind"], metrics["predictors"][key]["label"], *cells])
    return "\n".join([*_aligned(rows), *_variants(metrics)])


def labels_table(metrics: dict[str, Any]) -> str:
    """A table per label as text: every row's macro recall and what stands beside it, and by how much the model's is
    higher.

    Rows are in the order of `KINDS_OF_ROWS`, best first within each; a star marks the best that never sees gaze. What
    metrics.json says of a leak comes first.
    """
    leaks = [] if not metrics.get("leaks") else textwrap.wrap(f"this split leaks: {metrics['leaks']}", TERMINAL)
    tables = [_label(metrics, name, own) for name, own in metrics["labels"].items()]
    return "\n".join([*leaks, "\n\n".join(tables), *_variants(metrics)])


def _label(metrics: dict[str, Any], name: str, own: Mapping[str, Any]) -> str:
    model, rows, best = metrics["model"], own["rows"], own["without_gaze"]["best"]
    shown = [HEADLINE, "qwk" if "qwk" in own["metrics_shown"] else "auroc"]
    known = {key: metrics["predictors"][key] for key in rows}

    def place(key: str) -> tuple[int, float]:
        value = rows[key][HEADLINE]["value"]
        return KINDS_OF_ROWS.index(known[key]["kind"]), float("inf") if value is None else -value

    cells = [["", name, "recall", SHORT[shown[1]], "the model's gain"]]
    for key in sorted(rows, key=place):
        gain = {} if known[key]["kind"] == "control" else rows[model][HEADLINE].get("gain", {}).get(key) or {}
        told = "" if gain.get("value") is None else f"{gain['value']:+.3f} {_interval(gain['ci95'])}"
        label = known[key]["label"] if len(known[key]["label"]) <= LONGEST else key
        values = [rows[key][metric]["value"] for metric in shown]
        scores = ["-" if value is None else _number(value) for value in values]
        cells.append([known[key]["kind"], label + " *" * (key == best), *scores, told])
    test = own["permutation"]
    why = f" ({test['reason']})" if test.get("reason") else ""
    told = (
        f"{name}: {own['n']} trials, {len(own['levels'])} levels; chance {_number(own['metrics'][HEADLINE]['chance'])}"
    )
    return "\n".join([*_aligned(cells), f"{told}, permutation p = {_number(test['p'])}{why}"])


SHORT = {"qwk": "kappa", "auroc": "auroc"}
"""What stands beside the recall, in a word."""

LONGEST = 27
"""Letters of a row's label, at most, so that a row is a line of a terminal: a longer one is told by its key."""


def _variants(metrics: dict[str, Any]) -> list[str]:
    """How far the headline goes over all settings and over the seeds, on lines of a terminal; nothing without
    variants."""
    found = metrics.get("variants")
    if not found:
        return []
    lines = [f"variants: {found['count']} settings, {found['scored']} of them scored"]
    if found["no_effect"]:
        lines.append(f"  {found['distinct']} of these differ: no number changes with {', '.join(found['no_effect'])}")
    first = next((point for point in found["settings"] if "metric" in point), None)
    if first is not None and found["range"]:
        lines.append(f"  {first['metric'].replace('_', ' ')} {_range(found['range'])}")
        shares = {f"gain over {first['gain_over']} holds": found["gain_holds"], "above chance": found["above_chance"]}
        lines += [f"  {what} in {one['n']} of {one['of']}" for what, one in shares.items() if one["of"]]
    if found["seeds"]["n"] > 1:
        seeds = found["seeds"]
        spread = f"mean {_number(seeds['mean'])}, sd {_number(seeds['sd'])}, {_range(seeds['range'])}"
        lines.append(f"  {seeds['n']} seeds: {spread}")
    return [short for line in lines for short in textwrap.wrap(line, TERMINAL, subsequent_indent="    ")]


def _range(bounds: Sequence[float]) -> str:
    return " to ".join(map(_number, bounds))


TERMINAL = 80
"""Columns of a terminal that nobody has made wider."""

KINDS_OF_ROWS = ("ceiling", "model", "control", "baseline")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text in columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _named(metric: str) -> str:
    return metric.replace("_", " ") + (" (lower is better)" if metric in LOWER_IS_BETTER else "")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "undefined" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
