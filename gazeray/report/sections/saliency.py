# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run that compares saliency predictors, with their words, from what its run folder holds."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.report import saliency_figures as figures
from gazeray.report.figure import Figure
from gazeray.report.figures import shorten
from gazeray.report.sections.saliency_results import KINDS, SaliencyResults
from gazeray.report.sections.saliency_words import (
    CENTRE,
    CHOSEN,
    GOLD,
    METRICS,
    OTHERS,
    counted,
    headline,
    metric,
    probe_name,
)
from gazeray.report.words import number
from gazeray.storage import Folder

GROUPS = ("best", "middle", "worst")
EXAMPLES = 4
"""Pictures drawn of each group, at most: what keeps the page at a few MB."""

MODELS, PANELS = 6, 24
"""Models beside the baselines in the distributions, and models whose inner scores are drawn, at most."""

SPREAD = ("information_gain", "auc_shuffled", "nss", "cc", "auc_uniform", "sim")
"""The distributions show the first three of these that were scored."""

CENTRES = {"human": "human maps", "mean_prediction": "mean prediction of the best model",
           "centre_bias": "centre bias (baseline)"}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One drawn picture of the data set, and why: it is among the best, middle or worst predicted."""

    picture: Figure
    why: str


def all_figures(results: SaliencyResults) -> list[Figure]:
    """Every picture of the run as a whole that it has the data for."""
    drawn = (layers_figure(results), centre_figure(results), spread_figure(results), ceiling_figure(results),
             inner_figure(results))  # fmt: skip
    return [picture for picture in drawn if picture is not None]


def _value(entry: Mapping[str, Any]) -> float:
    value = entry.get("value")
    return math.nan if value is None else float(value)


def _with_bounds(entry: Mapping[str, Any]) -> list[float]:
    value = _value(entry)
    return [value, *(entry.get("ci95") or (value, value))]


def layers_figure(results: SaliencyResults) -> Figure | None:
    """Score against layer, a panel per metric; None without layers or scores."""
    layers, probes = list(results.metrics.get("layers") or []), list(results.metrics.get("probes") or [])
    rows = {probe: [f"model:{layer}:{probe}" for layer in layers] for probe in probes}
    rows = {probe: keys for probe, keys in rows.items() if any(key in results.rows for key in keys)}
    if not layers or not rows:
        return None
    panels = []
    for name in results.shown:
        values = {probe: np.array([_with_bounds(results.entry(key, name)) for key in keys])
                  for probe, keys in rows.items()}  # fmt: skip
        beside = {key: _value(results.entry(key, name)) for key in figures.REFERENCE_STYLES}
        beside = {key: value for key, value in beside.items() if math.isfinite(value)}
        panels.append(figures.LayerPanel(metric(name).head, values, beside))
    labels = {probe: probe_name(probe) for probe in rows}
    labels |= {key: results.label(key) for key in figures.REFERENCE_STYLES if key in results.rows}
    name = headline(results.metrics) or results.shown[0]
    scores = {key: _value(results.entry(key, name)) for keys in rows.values() for key in keys if key in results.rows}
    said = "; ".join(f"{results.label(key)}: {number(value, 2)}" for key, value in scores.items())
    pictures = counted(results.metrics["n"]["pictures"], "picture")
    caption = (
        f"Scores on pictures that the probes never saw, from the first layer to the last; bars: 95 % interval over "
        f"{pictures}. Level lines: predictors that do not depend on the layer."
    )
    png = figures.layer_chart(layers, panels, labels)
    return Figure("layers", png, f"Scores by layer. {metric(name).name}: {said}.", caption)


def centre_figure(results: SaliencyResults) -> Figure | None:
    """Where fixations and predictions lie within the picture; None when the run did not write it down."""
    maps = {title: results.centre[name] for name, title in CENTRES.items() if name in results.centre}
    if not maps:
        return None
    middle = {title: _share_in_the_middle(values) for title, values in maps.items()}
    said = "; ".join(f"{title} {number(100 * share, 0)} %" for title, share in middle.items())
    caption = (
        f"Mean densities over relative coordinates, and their marginals. The middle quarter of the area holds: "
        f"{said} (evenly spread: 25 %)."
    )
    return Figure("centre", figures.centre(maps), f"Centre bias. In the middle quarter: {said}.", caption)


def _share_in_the_middle(density: NDArray[np.floating[Any]]) -> float:
    """Share of the mass in the middle half of width and of height."""
    height, width = density.shape
    middle = density[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return float(middle.sum(dtype=np.float64) / (density.sum(dtype=np.float64) or 1.0))


def _compared(results: SaliencyResults) -> list[str]:
    """The predictors of the distributions: some models (the best ones), all baselines and ceilings."""
    name = headline(results.metrics)
    models = [key for key in results.of_kind("model") if key != CHOSEN]
    if name is not None:
        models = ranked(results, models, name)
    first = [key for key in (results.best, CHOSEN) if key in results.rows]
    models = [*first, *(key for key in models if key not in first)][:MODELS]
    return [*models, *results.of_kind("baseline"), *results.of_kind("ceiling")]


def ranked(results: SaliencyResults, keys: list[str], name: str) -> list[str]:
    """Predictors from the best to the worst by one metric; those without a value come last."""
    sign = -1 if metric(name).rises else 1
    values = {key: _value(results.entry(key, name)) for key in keys}
    return sorted(keys, key=lambda key: (not math.isfinite(values[key]), sign * np.nan_to_num(values[key])))


def spread_figure(results: SaliencyResults) -> Figure | None:
    """Distributions over the pictures; None without scores per picture."""
    names = [name for name in SPREAD if name in results.shown and name in results.per_image.column_names][:3]
    compared = [key for key in _compared(results) if key in results.rows] if results.rows else []
    if not names or not compared:
        return None
    strips, said = [], []
    for key in compared:
        rows = list(results.per_picture(key, names).values())
        scores = [np.array([row[name] for row in rows], dtype=np.float64) for name in names]
        strips.append(figures.Strip(results.label(key), results.metrics["predictors"][key]["kind"], scores))
        first = scores[0][np.isfinite(scores[0])]
        said.append(f"{results.label(key)} {number(float(np.median(first)), 2) if first.size else 'undefined'}")
    caption = (
        "One point per picture. Box: quartiles, red line: median, whiskers: 5th and 95th percentile. Blue: models, "
        "grey: baselines, green: ceilings."
    )
    left_out = len(results.of_kind("model")) - sum(strip.kind == KINDS[0] for strip in strips)
    if left_out:
        caption += f" {counted(left_out, 'more model')}: see per_image.parquet."
    alt = f"Distributions over pictures. Median {METRICS[names[0]].name}: {'; '.join(said)}."
    return Figure("spread", figures.distributions([metric(name).head for name in names], strips), alt, caption)


def ceiling_figure(results: SaliencyResults) -> Figure | None:
    """The best model against the ceilings, picture by picture; None where either has no scores."""
    if results.best is None:
        return None
    panels, said = [], []
    for name, ceiling in (("information_gain", GOLD), ("nss", OTHERS)):
        left, right = results.per_picture(ceiling, [name]), results.per_picture(results.best, [name])
        pairs = [(left[stimulus].get(name), row.get(name)) for stimulus, row in right.items() if stimulus in left]
        both = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2)
        both = both[np.isfinite(both).all(axis=1)]
        if not len(both):
            continue
        words = metric(name).head
        panels.append(
            figures.Scatter(words, results.label(ceiling), results.label(results.best), both[:, 0], both[:, 1])
        )
        above = int((both[:, 1] > both[:, 0]).sum())
        part = f"{above} of {counted(len(both), 'picture')}"
        said.append(f"By {METRICS[name].name} the model is above the ceiling on {part}{_correlation(both)}")
    if not panels:
        return None
    caption = f"One point per picture; on the dotted line both score the same. {'. '.join(said)}."
    return Figure("ceiling", figures.scatters(panels), f"Best model against ceilings. {'; '.join(said)}.", caption)


def _correlation(pairs: NDArray[np.float64]) -> str:
    if len(pairs) < 3 or not pairs.std(axis=0).all():
        return ""
    return f" (correlation over pictures {number(float(np.asarray(np.corrcoef(pairs.T))[0, 1]), 2)})"


def inner_figure(results: SaliencyResults) -> Figure | None:
    """Inner scores of the penalties; None where no penalty was tried out."""
    panels = []
    for key in results.of_kind("model"):
        entry = results.metrics["predictors"][key]
        penalties = grid(entry)
        if len(penalties) < 2:
            continue
        curves = [[score for _, score in tried] for tried in entry["inner"]]
        chosen = [penalties.index(value) for value in entry["penalty"]]
        title = f"{shorten(entry['layer'], 18)}, {probe_name(entry['probe'])}"
        panels.append(figures.InnerCurves(title, penalties, np.array(curves, dtype=np.float64), chosen))
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


def grid(entry: Mapping[str, Any]) -> list[float]:
    """The penalties that were tried for a model, as its first fold lists them; empty for what has none."""
    inner = entry.get("inner") or [[]]
    return [penalty for penalty, _ in inner[0]]


def read_examples(run: Folder, results: SaliencyResults) -> list[Example]:
    """The best, middle and worst pictures, drawn; those without a map to draw (their unit failed) are left out.

    Raises ValueError when a file lacks picture, human map or fixations.
    """
    examples: list[Example] = []
    for why in GROUPS:
        drawn: list[Figure] = []
        for row in results.maps:
            if row["why"] == why and len(drawn) < EXAMPLES:
                picture = _example(run, results, f"{why}_{len(drawn) + 1}", row)
                drawn += [] if picture is None else [picture]
        examples += [Example(picture, why) for picture in drawn]
    return examples


def _example(run: Folder, results: SaliencyResults, name: str, row: Mapping[str, Any]) -> Figure | None:
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
        png = figures.example(stored["picture"], stored["human"], density, stored["cells"], title)
    words, parts = metric(row["metric"]), []
    if row["value"] is not None:
        parts.append(f"{words.name} {number(row['value'], 2)} {words.unit}".strip())
        ceiling = results.per_picture(GOLD, [row["metric"]]).get(row["stimulus"], {}).get(row["metric"])
        parts[0] += "" if ceiling is None else f" (gold standard {number(ceiling, 2)})"
    others = [key for key in results.shown if key != row["metric"]]
    scored = results.per_picture(results.best or CENTRE, [*others, "fold"]).get(row["stimulus"], {})
    parts += [f"{METRICS[key].name} {number(scored[key], 2)}" for key in others if scored.get(key) is not None]
    fold = f" (fold {scored['fold']})" if "fold" in scored else ""
    caption = f"{row['stimulus']}{fold}{': ' if parts else ''}{', '.join(parts)}."
    return Figure(name, png, f"Figure, human map, {title}, fixations. {caption}", caption)
