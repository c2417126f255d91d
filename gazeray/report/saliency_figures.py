# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run that compares saliency predictors: each function takes plain arrays and returns a PNG.

Colours and style are those of `gazeray.report.figures`. Undefined values (NaN) leave gaps. Maps are drawn upright:
row 0 on top, origin at the top left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.example_figure import HEATMAP_COLOURS

PROBE_STYLES = [(figures.BLUE, "-", "o"), (figures.GREEN, "--", "s"), (figures.VERMILION, "-.", "^"),
                (figures.DARK, (0, (5, 1, 1, 1, 1, 1)), "D")]  # fmt: skip
"""Colour, line and marker of the first, second ... probe; begun anew where there are more."""

REFERENCE_STYLES = {
    "uniform": (figures.GREY, ":"),
    "centre_bias": (figures.GREY, "--"),
    "split_half": (figures.DARK, (0, (1, 3))),
    "other_observers": (figures.DARK, "-."),
    "gold_standard": (figures.DARK, (0, (6, 2))),
}
"""Colour and line of the predictors that stand as horizontal lines beside the layers."""

KIND_COLOURS = {"model": figures.BLUE, "baseline": figures.GREY, "ceiling": figures.GREEN}

MASS = (0.25, 0.5, 0.75)
"""Shares of the predicted probability that the lines of an overlay enclose."""

POINTS = 400
"""Pictures drawn as points per predictor, at most; boxes use all of them."""


@dataclass(frozen=True)
class LayerPanel:
    """One metric over layers. values: probe -> (L, 3) value, low and high of its interval. references: key -> value."""

    title: str
    values: Mapping[str, NDArray[np.float64]]
    references: Mapping[str, float]


@dataclass(frozen=True)
class Strip:
    """One predictor's scores on the pictures, (N,), in every panel."""

    label: str
    kind: str
    scores: Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class InnerCurves:
    """What a model's penalty was chosen by. scores: (folds, penalties). chosen: per fold the index."""

    title: str
    penalties: Sequence[float]
    scores: NDArray[np.float64]
    chosen: Sequence[int]


@dataclass(frozen=True)
class Scatter:
    """Scores of one metric on the pictures, (N,): of a predictor (y) against those of a ceiling (x)."""

    title: str
    xlabel: str
    ylabel: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def layer_chart(layers: Sequence[str], panels: Sequence[LayerPanel], labels: Mapping[str, str]) -> bytes:
    """Small multiples, one per metric: x the layers (L names), one line per probe with 95 % intervals.

    labels: probe or key of `REFERENCE_STYLES` -> its name in the legend; those that no panel holds are not shown.
    """
    widest = min(len(panels), 4 if len(layers) <= 6 else 2)
    columns = min(range(max(1, widest - 1), widest + 1), key=lambda count: (-len(panels) % count, -count))
    rows = math.ceil(len(panels) / columns)
    names = [figures.shorten(name, 16) for name in layers]
    turned = 0.056 * len(" ".join(names)) > figures.PAGE_IN / columns - 0.5
    probes = list(dict.fromkeys(probe for panel in panels for probe in panel.values))
    tall_in = 1.75 + (0.06 * max(map(len, names)) if turned else 0)
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN if columns > 1 else figures.PAGE_IN * 0.6, 0.55 + rows * tall_in)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for index, axis in enumerate(axes):
            if index >= len(panels):
                axis.remove()
                continue
            _layer_panel(axis, panels[index], probes)
            axis.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
            axis.set_xlim(-0.4, len(names) - 0.6)
        keys = [
            Line2D(
                [],
                [],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=3.5,
                label=figures.shorten(labels[probe], 30),
            )
            for probe, (colour, line, marker) in _styles(probes).items()
        ]
        drawn = [key for key in REFERENCE_STYLES if any(key in panel.references for panel in panels)]
        keys += [
            Line2D([], [], color=REFERENCE_STYLES[key][0], linestyle=REFERENCE_STYLES[key][1], linewidth=1.1,
                   label=figures.shorten(labels[key], 46))
            for key in drawn
        ]  # fmt: skip
        figure.legend(handles=keys, loc="outside upper left", ncols=3, handlelength=2.6)
        return figures.to_png(figure)


def _styles(probes: Sequence[str]) -> dict[str, tuple[Any, Any, str]]:
    return {probe: PROBE_STYLES[index % len(PROBE_STYLES)] for index, probe in enumerate(probes)}


def _layer_panel(axis: Any, panel: LayerPanel, probes: Sequence[str]) -> None:
    for key, value in panel.references.items():
        colour, line = REFERENCE_STYLES[key]
        axis.axhline(value, color=colour, linestyle=line, linewidth=1.1, zorder=1)
    for index, (probe, (colour, line, marker)) in enumerate(_styles(probes).items()):
        if probe not in panel.values:
            continue
        value, low, high = panel.values[probe].T
        places = np.arange(len(value)) + 0.09 * (index - (len(probes) - 1) / 2)
        axis.plot(places, value, color=colour, linestyle=line, marker=marker, markersize=3.5, linewidth=1.3, zorder=3)
        axis.vlines(places, low, high, color=colour, linewidth=1.0, zorder=2)
    axis.set_title(figures.shorten(panel.title, 40), loc="left")
    axis.yaxis.set_major_locator(MaxNLocator(5))


def example(
    picture: NDArray[np.uint8],
    human: NDArray[np.floating[Any]],
    density: NDArray[np.floating[Any]],
    cells: NDArray[np.integer[Any]],
    name: str = "prediction",
) -> bytes:
    """A row of four panels: picture, human map, predicted density, and fixations over the picture.

    Args:
        picture: (h, w, 3) RGB. human, density: (h, w), not negative; each has a colour scale of its own, from 0 to its
            highest value. cells: (N, 2) rows (y, x) of the fixations on that grid.
        name: what the density is called.

    The lines in the last panel enclose `MASS` of the density where it is highest.
    """
    height, width = picture.shape[:2]
    across = min((figures.PAGE_IN - 0.4) / 4, 2.6 * width / height)
    tall = max(0.3, across * height / width)
    size = (4 * across + 0.4, tall + 0.32)
    titles = ("picture", "human map", name, f"{len(cells)} fixation{'' if len(cells) == 1 else 's'}")
    with matplotlib.rc_context({**figures.STYLE, "axes.titlesize": 7.5}):
        figure = figures.new_figure(*size, layout=None)
        for index, title in enumerate(titles):
            left = 0.05 + index * (across + 0.1)
            axis = figure.add_axes([left / size[0], 0.05 / size[1], across / size[0], tall / size[1]])
            axis.set_title(figures.shorten(title, max(12, int(across / 0.06))), loc="left", pad=3)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(True)
            placed = {"extent": (0, width, height, 0), "aspect": "auto"}
            if index in (0, 3):
                axis.imshow(picture if index == 0 else _pale(picture), **placed)
            else:
                values = np.nan_to_num(np.asarray((human, density)[index - 1], dtype=np.float64), posinf=0.0)
                axis.imshow(values, cmap=HEATMAP_COLOURS, vmin=0, vmax=values.max() or 1.0, **placed)
            if index == 3:
                _mass_lines(axis, np.asarray(density, dtype=np.float64))
                axis.plot(cells[:, 1] + 0.5, cells[:, 0] + 0.5, "o", markersize=2.6, color=figures.VERMILION,
                          markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
                axis.set(xlim=(0, width), ylim=(height, 0))
        return figures.to_png(figure)


def _pale(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in light greys, (h, w, 3): a ground on which lines and points are seen."""
    grey = picture.astype(np.float64).mean(axis=-1, keepdims=True)
    return np.broadcast_to(110 + 0.57 * grey, picture.shape).astype(np.uint8)


def mass_levels(density: NDArray[np.float64], shares: Sequence[float] = MASS) -> list[float]:
    """For each share the value above (or at) which the pixels of highest density hold at least it, rising.

    Equal levels are given once; a density without mass, or the same everywhere, has none.
    """
    ordered = np.sort(np.nan_to_num(density, posinf=0.0).ravel())[::-1]
    sums = np.cumsum(ordered)
    if not sums[-1] > 0 or ordered[0] <= ordered[-1] * (1 + 1e-9):
        return []
    places = np.searchsorted(sums, np.asarray(shares) * sums[-1])
    return sorted({float(ordered[min(place, len(ordered) - 1)]) for place in places})


def _mass_lines(axis: Any, density: NDArray[np.float64]) -> None:
    rows, columns = density.shape
    levels = [level for level in mass_levels(density) if density.min() < level < density.max()]
    if min(rows, columns) < 2 or not levels:
        return
    axis.contour(np.arange(columns) + 0.5, np.arange(rows) + 0.5, np.nan_to_num(density), levels=levels,
                 colors=figures.BLUE, linewidths=[0.7, 1.0, 1.4][-len(levels) :])  # fmt: skip


def centre(maps: Mapping[str, NDArray[np.floating[Any]]]) -> bytes:
    """Densities over the picture's relative coordinates, one panel each with one scale, and their marginals.

    maps: name -> (h, w) not negative, normalised here to a mean of 1: the value 2 means twice as much as if gaze were
    spread evenly.
    """
    even = {name: np.asarray(values, dtype=np.float64) for name, values in maps.items()}
    even = {name: values / (values.mean() or 1.0) for name, values in even.items()}
    top = max(float(values.max()) for values in even.values())
    styles = [(figures.DARK, "-"), (figures.BLUE, "--"), (figures.VERMILION, ":")]
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN, 4.4)
        parts = figure.subfigures(2, 1, height_ratios=(1.1, 1))
        panels = parts[0].subplots(1, len(even), squeeze=False).ravel()
        for axis, (name, values) in zip(panels, even.items(), strict=True):
            image = axis.imshow(values, cmap=HEATMAP_COLOURS, vmin=0, vmax=top, extent=(0, 1, 1, 0), aspect=0.75)
            axis.set_title(figures.shorten(name, 36), loc="left")
            axis.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axis.spines[:].set_visible(True)
        bar = parts[0].colorbar(image, ax=panels.tolist(), fraction=0.03, pad=0.01)
        bar.set_label("density (even = 1)")
        bar.outline.set_linewidth(0.5)
        marginals = parts[1].subplots(1, 2, sharey=True)
        for across, (axis, label) in enumerate(zip(marginals, ("x, from the left", "y, from the top"), strict=True)):
            axis.axhline(1, color=figures.GREY, linewidth=0.8, linestyle=":")
            for (name, values), (colour, line) in zip(even.items(), styles, strict=False):
                marginal = values.mean(axis=across)
                places = (np.arange(marginal.size) + 0.5) / marginal.size
                axis.plot(
                    places, marginal, color=colour, linestyle=line, linewidth=1.4, label=figures.shorten(name, 36)
                )
            axis.set(xlim=(0, 1), xlabel=f"{label} (share of the picture)")
        marginals[0].set_ylim(bottom=0)
        marginals[0].set_ylabel("density (even = 1)")
        parts[1].legend(*marginals[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(even))
        return figures.to_png(figure)


def distributions(titles: Sequence[str], strips: Sequence[Strip]) -> bytes:
    """One panel per metric, one row per predictor: a box (quartiles, median; whiskers 5 to 95 %) over the pictures."""
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN, 0.75 + 0.27 * len(strips))
        axes = figure.subplots(1, len(titles), sharey=True, squeeze=False).ravel()
        for column, (axis, title) in enumerate(zip(axes, titles, strict=True)):
            for row, strip in enumerate(strips):
                _strip(axis, strip.scores[column], row, KIND_COLOURS[strip.kind])
            axis.set_title(figures.shorten(title, 40), loc="left")
            axis.set_yticks(range(len(strips)), [figures.shorten(strip.label, 34) for strip in strips])
            axis.set_ylim(len(strips) - 0.5, -0.5)
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="x", color="#E3E6EA", linewidth=0.6)
            axis.set_axisbelow(True)
        return figures.to_png(figure)


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


def scatters(panels: Sequence[Scatter]) -> bytes:
    """One square panel per scatter, side by side; on the dotted line predictor and ceiling score the same."""
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.HALF_IN * len(panels), figures.HALF_IN + 0.4)
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False).ravel(), panels, strict=True):
            both = np.concatenate([panel.x, panel.y])
            low, high = float(both.min()), float(both.max())
            margin = 0.05 * (high - low) or 0.5
            ends = (low - margin, high + margin)
            axis.plot(ends, ends, color=figures.GREY, linestyle=":", linewidth=1)
            axis.plot(panel.x, panel.y, "o", color=figures.BLUE, markersize=3.2, alpha=0.6, markeredgewidth=0)
            axis.set(xlim=ends, ylim=ends, box_aspect=1)
            axis.set_xlabel(figures.shorten(panel.xlabel, 44))
            axis.set_ylabel(figures.shorten(panel.ylabel, 44))
            axis.set_title(figures.shorten(panel.title, 44), loc="left")
        return figures.to_png(figure)


def inner_curves(panels: Sequence[InnerCurves]) -> bytes:
    """Small multiples: the inner score of every penalty, a line per fold; the penalty that was taken has a point."""
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(figures.PAGE_IN if columns > 2 else 2.5 * columns + 0.6, 0.35 + 1.75 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for index, axis in enumerate(axes):
            if index >= len(panels):
                axis.remove()
                continue
            panel = panels[index]
            places = np.arange(len(panel.penalties))
            for curve, chosen in zip(panel.scores, panel.chosen, strict=True):
                axis.plot(places, curve, color=figures.BLUE, linewidth=0.9, alpha=0.7, marker=".", markersize=3)
                axis.plot(chosen, curve[chosen], "o", color=figures.VERMILION, markersize=4, zorder=3)
            step = math.ceil(len(places) / 5)
            axis.set_xticks(places[::step], [f"{penalty:g}" for penalty in panel.penalties[::step]])
            axis.set_title(figures.shorten(panel.title, 32), loc="left")
            axis.set_xlabel("penalty" if index + columns >= len(panels) else "")
            axis.yaxis.set_major_locator(MaxNLocator(4))
        keys = [Line2D([], [], color=figures.BLUE, label="one fold"),
                Line2D([], [], color=figures.VERMILION, marker="o", linestyle="none", label="taken")]  # fmt: skip
        figure.legend(handles=keys, loc="outside upper left", ncols=2)
        return figures.to_png(figure)
