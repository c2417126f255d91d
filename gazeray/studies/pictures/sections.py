# SPDX-License-Identifier: Apache-2.0
"""The sections that only the studies on pictures have: layers, drawn pictures, centre bias, penalties."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.report import many
from gazeray.report.blocks import NAME, WIDE, Block, Column, Figure, Heading, Section, Table, Text
from gazeray.report.figures import shorten
from gazeray.report.results import Results
from gazeray.report.words import counted, lookup, number
from gazeray.storage import Folder
from gazeray.studies.pictures import figures
from gazeray.studies.pictures.words import CENTRE, CHOSEN, GOLD, METRICS, PROBES, headline

GROUPS = ("best", "middle", "worst")
EXAMPLES = 4
"""Pictures drawn of each group, at most: what keeps the page at a few MB."""

PANELS = 24
"""Models whose inner scores are drawn, at most."""

CENTRES = {"human": "human maps", "mean_prediction": "mean prediction of the best model",
           "centre_bias": "centre bias (baseline)"}  # fmt: skip


# -- layers


def layers(results: Results) -> Section | None:
    """Score against layer, a panel per metric; None without layers or scores."""
    names, probes = list(results.metrics.get("layers") or []), list(results.metrics.get("probes") or [])
    rows = {probe: [f"model:{layer}:{probe}" for layer in names] for probe in probes}
    rows = {probe: keys for probe, keys in rows.items() if any(key in results.rows for key in keys)}
    if not names or not rows:
        return None
    panels = []
    for metric in results.shown:
        values = {probe: np.array([_with_bounds(results.entry(key, metric)) for key in keys])
                  for probe, keys in rows.items()}  # fmt: skip
        beside = {key: value for key in figures.REFERENCE_STYLES
                  if (value := results.entry(key, metric).get("value")) is not None}  # fmt: skip
        panels.append(figures.LayerPanel(lookup(METRICS, metric).head, values, beside))
    labels = {probe: PROBES[probe] for probe in rows}
    labels |= {key: results.label(key) for key in figures.REFERENCE_STYLES if key in results.rows}
    metric = headline(results) or results.shown[0]
    scores = {key: results.entry(key, metric).get("value") for keys in rows.values() for key in keys}
    said = "; ".join(f"{results.label(key)}: {number(scores[key], 2)}" for key in scores if key in results.rows)
    caption = (
        f"Scores on pictures that the probes never saw, from the first layer to the last; bars: 95 % interval over "
        f"{counted(results.metrics['n']['pictures'], 'picture')}. Level lines: predictors that do not depend on the "
        "layer."
    )
    alt = f"Scores by layer. {lookup(METRICS, metric).name}: {said}."
    figure = Figure("layers", figures.layer_chart(names, panels, labels), alt, caption)
    return Section("layers", "Layer by layer", "Layers", [figure])


def _with_bounds(entry: Mapping[str, Any]) -> list[float]:
    value = math.nan if entry.get("value") is None else entry["value"]
    return [value, *(entry.get("ci95") or (value, value))]


# -- drawn pictures


def pictures(run: Folder, results: Results) -> Section:
    """The best, middle and worst pictures, drawn; those without a map to draw (their unit failed) are left out.

    Raises ValueError when a file lacks picture, human map or fixations.
    """
    maps = results.maps.to_pylist()
    sorted_by = next((lookup(METRICS, row["metric"]).name for row in maps if row["value"] is not None), "")
    groups: dict[str, list[Figure]] = {why: [] for why in GROUPS}
    for row in maps:
        drawn = groups[row["why"]]
        if len(drawn) < EXAMPLES and (figure := _example(run, results, f"{row['why']}_{len(drawn) + 1}", row)):
            drawn.append(figure)
    title = "Best, middle and worst pictures" if sorted_by else "Pictures"
    if not any(groups.values()):
        return Section("pictures", title, "Pictures", [Text("The run folder holds no maps to draw.")])
    if sorted_by:
        order = (
            f"Sorted by the {sorted_by} of {results.label(str(results.best))}; the middle ones lie around the median."
        )
    elif results.best:
        order = "These are the first pictures: they could not be sorted by score."
    else:
        order = "No model was scored: these are the first pictures, with the centre bias."
    words = (
        f"{order} Human map and prediction each have their own colour scale, from 0 to their highest value. In the "
        "last panel the lines enclose 25, 50 and 75 % of the probability (the thickest line the least area), the "
        "points are fixations."
    )
    blocks: list[Block] = [Text(words)]
    for why, drawn in groups.items():
        blocks += [Heading(why.capitalize())] if sorted_by and drawn else []
        blocks += drawn
    return Section("pictures", title, "Pictures", blocks)


def _example(run: Folder, results: Results, name: str, row: Mapping[str, Any]) -> Figure | None:
    """One picture of the data set with the prediction, or else the centre bias; None where it has neither."""
    with np.load(io.BytesIO(run.read_bytes(row["path"])), allow_pickle=False) as stored:
        gone = sorted({"picture", "human", "cells"} - set(stored.files))
        if gone:
            raise ValueError(f"{row['path']}: holds no {', '.join(gone)}")
        shown = next((key for key in ("prediction", "centre_bias") if key in stored.files), None)
        if shown is None:
            return None
        log_density = stored[shown].astype(np.float64)
        density = np.exp(np.where(np.isfinite(log_density), log_density, -np.inf))
        title = shown.replace("_", " ")
        png = figures.overlay(stored["picture"], stored["human"], density, stored["cells"], title)
    words, parts = lookup(METRICS, row["metric"]), []
    if row["value"] is not None:
        parts.append(f"{words.name} {number(row['value'], 2)} {words.unit}".strip())
        ceiling = results.item_row(GOLD, row["stimulus"]).get(row["metric"])
        parts[0] += "" if ceiling is None else f" (gold standard {number(ceiling, 2)})"
    others = [key for key in results.shown if key != row["metric"]]
    scored = results.item_row(results.best or CENTRE, row["stimulus"])
    parts += [f"{METRICS[key].name} {number(scored[key], 2)}" for key in others if scored.get(key) is not None]
    fold = f" (fold {scored['fold']})" if "fold" in scored else ""
    caption = f"{row['stimulus']}{fold}{': ' if parts else ''}{', '.join(parts)}."
    return Figure(name, png, f"Picture, human map, {title}, fixations. {caption}", caption)


# -- centre bias


def centre(run: Folder) -> Section:
    """Where fixations and predictions lie within the picture, as centre.npz has it."""
    stored: dict[str, NDArray[np.floating[Any]]] = {}
    if run.exists("centre.npz"):
        with np.load(io.BytesIO(run.read_bytes("centre.npz")), allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    maps = {title: stored[name] for name, title in CENTRES.items() if name in stored}
    block: Block = Text("No densities over the pictures’ coordinates were written.")
    if maps:
        said = "; ".join(f"{title} {number(100 * _middle(values), 0)} %" for title, values in maps.items())
        caption = (
            f"Mean densities over relative coordinates, and their marginals. The middle quarter of the area holds: "
            f"{said} (evenly spread: 25 %)."
        )
        block = Figure("centre", figures.centre(maps), f"Centre bias. In the middle quarter: {said}.", caption)
    return Section("centre", "Centre bias", "Centre bias", [block])


def _middle(density: NDArray[np.floating[Any]]) -> float:
    """Share of the mass in the middle half of width and of height."""
    height, width = density.shape
    middle = density[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(middle.sum(dtype=np.float64) / (density.sum(dtype=np.float64) or 1.0))


# -- penalties


def penalties(results: Results) -> Section | None:
    """Which penalties and layers the inner folds chose; None where no model has a penalty."""
    rows = penalty_rows(results)
    if not rows:
        return None
    chosen, figure = chosen_layers(results), inner_figure(results)
    blocks: list[Block] = [Text(f"Read-out layer with the best inner score: {chosen}.")] if chosen else []
    heads = [Column("model", NAME), Column("chosen penalty", WIDE), Column("at an end of the grid (folds)")]
    cells = [[label, words, f"{ends} of {folds}"] for label, words, ends, folds in rows]
    blocks.append(Table("Chosen penalties", heads, cells, tall=len(rows) > 15))
    if any(ends for *_, ends, _ in rows):
        words = "Where a penalty at an end of the grid was chosen, a wider grid may score better."
        blocks.append(Text(words, small=True))
    blocks += [figure] if figure else []
    return Section("penalties", "Penalties chosen by inner folds", "Penalties", blocks)


def penalty_rows(results: Results) -> list[tuple[str, str, int, int]]:
    """Per model with a penalty: label, which was chosen in how many folds, how often at an end of the grid, folds."""
    rows = []
    for key in results.of_kind("model"):
        entry = results.predictors[key]
        chosen, tried = entry.get("penalty") or [], _grid(entry)
        if not chosen:
            continue
        counts = sorted(Counter(chosen).items())
        words = ", ".join(f"{value:g} ({counted(count, 'fold')})" for value, count in counts)
        ends = sum(value in (min(tried), max(tried)) for value in chosen) if len(tried) > 1 else 0
        rows.append((results.label(key), words, ends, len(chosen)))
    return rows


def chosen_layers(results: Results) -> str:
    """The layer that the inner folds chose in each fold, in words; empty where none was chosen."""
    folds = (results.predictors.get(CHOSEN) or {}).get("folds") or {}
    if len(folds) > many.MANY:
        counts = Counter(str(results.predictors.get(key, {}).get("layer")) for key in folds.values())
        return ", ".join(f"{layer} ({counted(count, 'fold')})" for layer, count in counts.most_common())
    by_fold = sorted(folds.items(), key=lambda item: int(item[0]))
    return ", ".join(f"{results.predictors[key].get('layer')} (fold {fold})" for fold, key in by_fold)


def _grid(entry: Mapping[str, Any]) -> list[float]:
    """The penalties that were tried for a model, as its first fold lists them; empty for what has none."""
    inner = entry.get("inner") or [[]]
    return [penalty for penalty, _ in inner[0]]


def inner_figure(results: Results) -> Figure | None:
    """Inner scores of the penalties; None where no penalty was tried out."""
    panels = []
    for key in results.of_kind("model"):
        entry = results.predictors[key]
        tried = _grid(entry)
        if len(tried) < 2:
            continue
        curves = np.array([[score for _, score in fold] for fold in entry["inner"]], dtype=np.float64)
        title = f"{shorten(entry['layer'], 18)}, {PROBES[entry['probe']]}"
        panels.append(figures.InnerCurves(title, tried, curves, [tried.index(value) for value in entry["penalty"]]))
    if not panels:
        return None
    caption = (
        "Inner score against penalty, a line per fold. Read-out: log-likelihood over an even density, bit per "
        "fixation, larger is better; ridge and pooled: mean squared error, smaller is better."
    )
    if len(panels) > PANELS:
        caption += f" The first {PANELS} of {len(panels)} models; the others are in metrics.json."
    alt = f"Inner scores by penalty of {counted(len(panels), 'model')}, {len(panels[0].penalties)} penalties each."
    return Figure("penalties", figures.inner_curves(panels[:PANELS]), alt, caption)
