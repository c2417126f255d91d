# SPDX-License-Identifier: Apache-2.0
"""The section on scores item by item: distributions for each predictor, and the best model against the ceilings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.blocks import Block, Figure, Section, Text
from gazeray.report.results import Results
from gazeray.report.sections.scores import ordered
from gazeray.report.words import Metric, counted, lookup, number

MODELS = 6
"""Models beside the baselines, at most."""

POINTS = 400
"""Items drawn as points per predictor, at most; boxes use all of them."""

SCATTERED = 2000
"""Items drawn as points against a ceiling, at most; of more, hexagons are the darker the more items they hold."""

KIND_COLOURS = {"model": figures.BLUE, "baseline": figures.GREY, "ceiling": figures.GREEN}


def section(
    results: Results,
    metrics: Mapping[str, Metric],
    noun: str,
    shown: Sequence[str],
    keys: Sequence[str],
    ceilings: Sequence[tuple[str, str]],
) -> Section:
    """Distributions of the metrics `shown` for the predictors `keys`; the best model against (metric, ceiling)."""
    spread = spread_figure(results, metrics, noun, shown, keys)
    blocks: list[Block] = [spread or Text(f"There are no scores per {noun}.")]
    ceiling = ceiling_figure(results, metrics, noun, ceilings)
    return Section("spread", f"Scores over {noun}s", f"Over {noun}s", [*blocks, *([ceiling] if ceiling else [])])


def compared(results: Results, metrics: Mapping[str, Metric], by: str | None, first: Sequence[str | None]) -> list[str]:
    """The predictors of the distributions: some models (`first`, then the best by a metric), baselines, ceilings."""
    keys = ordered(results, metrics, by)
    pinned = [key for key in first if key in results.rows]
    models = [key for key in keys if results.predictors[key]["kind"] == "model" and key not in pinned]
    return [*[*pinned, *models][:MODELS], *(key for key in keys if results.predictors[key]["kind"] != "model")]


def spread_figure(
    results: Results, metrics: Mapping[str, Metric], noun: str, shown: Sequence[str], keys: Sequence[str]
) -> Figure | None:
    """Distributions over the items; None without scores per item."""
    names = [name for name in shown if name in results.shown and name in results.per_item.column_names]
    if not names or not keys:
        return None
    strips: dict[str, list[NDArray[np.float64]]] = {}
    said = []
    for key in keys:
        scored = results.item_scores(key, names)
        strips[key] = [_numbers(scored[name]) for name in names]
        first = strips[key][0][np.isfinite(strips[key][0])]
        said.append(f"{results.label(key)} {number(float(np.median(first)), 2) if first.size else 'undefined'}")
    most = max(scores[0].size for scores in strips.values())
    points = f"One point per {noun}."
    if most > POINTS:
        points = f"Points: at most {POINTS} of the {most} {noun}s for each predictor; boxes are of all."
    caption = (
        f"{points} Box: quartiles, orange line: median, whiskers: 5th and 95th percentile. Blue: models, "
        "grey: baselines, green: ceilings."
    )
    left_out = len(results.of_kind("model")) - sum(results.predictors[key]["kind"] == "model" for key in keys)
    if left_out:
        caption += f" {counted(left_out, 'more model')}: see per_item.parquet."
    alt = f"Distributions over {noun}s. Median {lookup(metrics, names[0]).name}: {'; '.join(said)}."
    png = distributions(results, [lookup(metrics, name).head for name in names], strips)
    return Figure("spread", png, alt, caption)


def ceiling_figure(
    results: Results, metrics: Mapping[str, Metric], noun: str, ceilings: Sequence[tuple[str, str]]
) -> Figure | None:
    """The best model against the ceilings, item by item; None where either has no scores."""
    if results.best is None:
        return None
    panels, said = [], []
    for name, ceiling in ceilings:
        left, right = results.item_scores(ceiling, [name]), results.item_scores(results.best, [name])
        if not all(name in side.column_names for side in (left, right)):
            continue
        place = pc.index_in(right[results.item], value_set=left[results.item])
        both = np.stack([_numbers(left[name].take(place)), _numbers(right[name])], axis=1)
        both = both[np.isfinite(both).all(axis=1)]
        if not len(both):
            continue
        words = lookup(metrics, name)
        panels.append((words.head, results.label(ceiling), both))
        part = f"{int((both[:, 1] > both[:, 0]).sum())} of {counted(len(both), noun)}"
        said.append(f"By {words.name} the model is above the ceiling on {part}{_correlation(both, noun)}")
    if not panels:
        return None
    points = f"One point per {noun}"
    if any(len(both) > SCATTERED for *_, both in panels):
        points = f"The darker a hexagon, the more {noun}s it holds"
    caption = f"{points}; on the dotted line both score the same. {'. '.join(said)}."
    return Figure(
        "ceiling",
        scatters(panels, results.label(results.best)),
        f"Best model against ceilings. {'; '.join(said)}.",
        caption,
    )


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as numbers (N,), NaN for what is missing."""
    return np.asarray(pc.cast(column, pa.float64()).to_numpy())


def _correlation(pairs: NDArray[np.float64], noun: str) -> str:
    if len(pairs) < 3 or not pairs.std(axis=0).all():
        return ""
    return f" (correlation over {noun}s {number(float(np.asarray(np.corrcoef(pairs.T))[0, 1]), 2)})"


@figures.drawing()
def distributions(results: Results, titles: Sequence[str], strips: Mapping[str, Sequence[NDArray[np.float64]]]) -> Any:
    """One panel per metric, one row per predictor: a box (quartiles, median; whiskers 5 to 95 %) over the items.

    strips: predictor -> its scores on the items, (N,), in every panel.
    """
    labels = [figures.shorten(results.label(key), 34) for key in strips]
    figure = figures.new_figure(figures.PAGE_IN, 0.75 + 0.27 * len(strips))
    axes = figure.subplots(1, len(titles), sharey=True, squeeze=False).ravel()
    for column, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for row, (key, scores) in enumerate(strips.items()):
            _strip(axis, scores[column], row, KIND_COLOURS[results.predictors[key]["kind"]])
        axis.set_title(figures.shorten(title, 40), loc="left")
        axis.set_yticks(range(len(strips)), labels)
        axis.set_ylim(len(strips) - 0.5, -0.5)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#E3E6EA", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure


def _strip(axis: Any, scores: NDArray[np.float64], row: int, colour: str) -> None:
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return
    shown = finite[:: math.ceil(finite.size / POINTS)]
    scatter = (np.arange(shown.size) * 0.6180339887) % 1.0 - 0.5  # spread evenly, and the same every time
    axis.plot(shown, row + 0.6 * scatter, ".", color=colour, markersize=3, alpha=0.5, markeredgewidth=0)
    line = {"color": colour, "linewidth": 1.0}
    axis.boxplot(finite, positions=[row], widths=0.55, orientation="horizontal", whis=(5, 95), showfliers=False,
                 boxprops=line, whiskerprops=line, capprops=line,
                 medianprops={"color": figures.VERMILION, "linewidth": 1.8})  # fmt: skip


@figures.drawing()
def scatters(panels: Sequence[tuple[str, str, NDArray[np.float64]]], ylabel: str) -> Any:
    """One square panel per scatter, side by side; on the dotted line predictor and ceiling score the same.

    panels: title, name of the ceiling, scores (N, 2) on the items of the ceiling (x) and of the predictor `ylabel` (y).
    """
    figure, axes = figures.panels(len(panels), len(panels), figures.HALF_IN * len(panels), figures.HALF_IN + 0.4)
    for axis, (title, xlabel, both) in zip(axes, panels, strict=True):
        low, high = float(both.min()), float(both.max())
        margin = 0.05 * (high - low) or 0.5
        ends = (low - margin, high + margin)
        axis.plot(ends, ends, color=figures.GREY, linestyle=":", linewidth=1)
        if len(both) > SCATTERED:
            axis.hexbin(*both.T, gridsize=45, extent=(*ends, *ends), mincnt=1, cmap="Blues", linewidths=0.1)
        else:
            axis.plot(*both.T, "o", color=figures.BLUE, markersize=3.2, alpha=0.6, markeredgewidth=0)
        axis.set(xlim=ends, ylim=ends, box_aspect=1)
        axis.set(xlabel=figures.shorten(xlabel, 44), ylabel=figures.shorten(ylabel, 44))
        axis.set_title(figures.shorten(title, 44), loc="left")
    return figure
