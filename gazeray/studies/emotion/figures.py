# SPDX-License-Identifier: Apache-2.0
"""The drawings of the emotion study: each function takes plain arrays and returns a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.figures import BLUE, DARK, GREEN, GREY, HALF_IN, PAGE_IN, PALE, VERMILION, drawing, shorten

COLOURS = {"model": BLUE, "control": VERMILION, "baseline": DARK, "ceiling": GREEN}
"""Of a row, by its kind."""

BLIND = GREY
"""Of a row that sees neither gaze nor body."""

LEVELS = "viridis"

NOTHING = 1e-9
"""Falls of a score that are smaller are rounding."""

LARGE = 1e4
"""From here on an axis counts in thousands (k), millions (M)."""


class Rows(NamedTuple):
    """Scores of a label: values (R, 3) of value, low and high of its interval, NaN where undefined.

    lines: level lines, name -> value.
    """

    title: str
    values: NDArray[np.float64]
    lines: Mapping[str, float]


LINES = ((VERMILION, "--"), (DARK, ":"), (GREY, "-."))
"""Colour and style of the first, second and third level line."""


@drawing()
def dots(names: Sequence[str], colours: Sequence[str], panels: Sequence[Rows], xlabel: str) -> Any:
    """One panel per label, one row per name (R,): a point with its interval, and level lines through all rows."""
    labels = [shorten(name, 44) for name in names]
    figure = figures.new_figure(PAGE_IN, 0.95 + 0.235 * len(names))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    keys: dict[str, Line2D] = {}
    for axis, panel in zip(axes, panels, strict=True):
        for (name, value), (colour, line) in zip(panel.lines.items(), LINES, strict=False):
            axis.axvline(value, color=colour, linestyle=line, linewidth=1, zorder=1)
            keys.setdefault(name, Line2D([], [], color=colour, linestyle=line, linewidth=1, label=name))
        places = np.arange(len(labels))
        axis.hlines(places, panel.values[:, 1], panel.values[:, 2], color=colours, linewidth=1.6, zorder=2)
        axis.scatter(panel.values[:, 0], places, color=colours, s=16, zorder=3)
        axis.set_yticks(places, labels)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.set_title(shorten(panel.title, 50 // len(panels) + 10), loc="left")
        axis.set_xlabel(xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", color="#E3E6EA", linewidth=0.6)
        axis.set_axisbelow(True)
    figure.legend(handles=list(keys.values()), loc="outside upper left", ncols=max(1, len(keys)))
    return figure


@drawing()
def confusion(matrix: NDArray[np.int64], levels: Sequence[str]) -> Any:
    """The confusion matrix (K, K), rows true and columns predicted: the share of the row (%), and the number below."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    names = [shorten(name, 10) for name in levels]
    figure = figures.new_figure(HALF_IN, HALF_IN)
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = 8.5 if len(levels) <= 7 else 6
    for (row, column), value in np.ndenumerate(matrix):
        style = {"color": "white" if share[row, column] > 0.65 else DARK, "ha": "center", "textcoords": "offset points"}
        told = f"{100 * share[row, column]:.0f}" if total[row, 0] else "–"
        axis.annotate(told, (column, row), (0, 0), va="bottom", fontsize=size, **style)
        axis.annotate(str(value), (column, row), (0, -2), va="top", fontsize=0.7 * size, **style)
    turned = max(map(len, names)) > 4 and len(levels) > 3
    axis.set_xticks(range(len(levels)), names, rotation=90 if turned else 0)
    axis.set_yticks(range(len(levels)), names)
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


@drawing()
def usage(shares: Mapping[str, NDArray[np.float64]], levels: Sequence[str]) -> Any:
    """How often each level is used, (K,) shares by whom: the people filled, the others as outlines."""
    figure = figures.new_figure(HALF_IN, HALF_IN)
    axis = figure.subplots()
    places = np.arange(len(levels))
    (first, people), *others = shares.items()
    axis.bar(places, 100 * people, width=0.8, color=PALE, label=first)
    for (name, values), (colour, line, mark) in zip(
        others, ((BLUE, "-", "o"), (VERMILION, "--", "s"), (GREEN, ":", "^")), strict=False
    ):
        axis.plot(places, 100 * values, color=colour, linestyle=line, marker=mark, markersize=4, label=name)
    names = [shorten(name, 10) for name in levels]
    turned = max(map(len, names)) > 4 and len(levels) > 3
    axis.set_xticks(places, names, rotation=90 if turned else 0)
    axis.set(xlabel="level", ylabel="share of the trials (%)", ylim=(0, None))
    axis.tick_params(axis="x", length=0)
    figure.legend(loc="outside upper left", ncols=1)
    return figure


class Sure(NamedTuple):
    """How sure a row was and how often it was right, by B bins: (B,) each; trials in each bin."""

    sure: NDArray[np.float64]
    right: NDArray[np.float64]
    trials: NDArray[np.int64]


@drawing()
def reliability(found: Mapping[str, Sure]) -> Any:
    """How often the most probable level was right against how probable it was, above the trials of each bin."""
    figure = figures.new_figure(HALF_IN, HALF_IN + 0.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="calibrated")
    styles = ((BLUE, "-", "o"), (VERMILION, "--", "s"))
    for (name, own), (colour, line, mark) in zip(found.items(), styles, strict=False):
        upper.plot(own.sure, own.right, color=colour, linestyle=line, marker=mark, markersize=4, linewidth=1.4,
                   label=shorten(name, 26))  # fmt: skip
        lower.plot(own.sure, own.trials, color=colour, linestyle=line, marker=mark, markersize=3, linewidth=1.2)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that was right")
    lower.set(xlabel="probability of the most probable level", ylabel="trials", ylim=(0, None))
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True, min_n_ticks=1))
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=3, columnspacing=1.0)
    return figure


class Drops(NamedTuple):
    """What a label loses without each channel: by kind of question, values (C, 3) of value, low and high."""

    title: str
    values: Mapping[str, NDArray[np.float64]]


@drawing()
def importance(channels: Sequence[str], panels: Sequence[Drops], xlabel: str) -> Any:
    """One panel per label, one row per channel (C,): what the score falls by, with intervals, a mark per question."""
    figure = figures.new_figure(PAGE_IN, 1.0 + 0.34 * len(channels))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    places = np.arange(len(channels))
    styles = ((BLUE, "o"), (VERMILION, "s"))
    for axis, panel in zip(axes, panels, strict=True):
        axis.axvline(0, color=GREY, linewidth=0.9)
        for index, ((name, values), (colour, mark)) in enumerate(zip(panel.values.items(), styles, strict=False)):
            at = places + 0.22 * (index - (len(panel.values) - 1) / 2)
            axis.hlines(at, values[:, 1], values[:, 2], color=colour, linewidth=1.5)
            axis.plot(values[:, 0], at, mark, color=colour, markersize=4, label=name)
        axis.set_yticks(places, [shorten(name, 24) for name in channels])
        axis.set_ylim(len(channels) - 0.5, -0.5)
        axis.set_title(shorten(panel.title, 50 // len(panels) + 10), loc="left")
        axis.set_xlabel(xlabel)
        widest = max(float(np.nanmax(np.abs(values), initial=0)) for values in panel.values.values())
        if widest < NOTHING:  # else the axis shows rounding
            axis.set_xlim(-0.05, 0.05)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.tick_params(axis="y", length=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


class Course(NamedTuple):
    """Mean of a channel over time per level, (K, T), and its standard deviation over trials, (K, T); NaN: no trial."""

    title: str
    mean: NDArray[np.float64]
    spread: NDArray[np.float64] | None


@drawing()
def courses(panels: Sequence[Course], times_ms: NDArray[np.float64], levels: Sequence[str]) -> Any:
    """One panel per channel, one line per level, from dark (first) to light (last); times_ms (T,)."""
    rows, columns = figures.grid(len(panels), 3)
    figure, axes = figures.panels(len(panels), columns, PAGE_IN if columns > 1 else HALF_IN + 0.6, 0.45 + 1.9 * rows)
    colours = matplotlib.colormaps[LEVELS](np.linspace(0, 0.92, len(levels)))
    for index, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        for level, (mean, colour) in enumerate(zip(panel.mean, colours, strict=True)):
            axis.plot(times_ms / 1000, mean, color=colour, linewidth=1.3)
            if panel.spread is not None and level in (0, len(levels) - 1):
                low, high = mean - panel.spread[level], mean + panel.spread[level]
                axis.fill_between(times_ms / 1000, low, high, color=colour, alpha=0.12, linewidth=0)
        axis.set_title(shorten(panel.title, 34), loc="left")
        axis.set_xlabel("time (s)" if index + columns >= len(panels) else "")
        axis.yaxis.set_major_locator(MaxNLocator(4))
        if np.nanmax(np.abs(panel.mean), initial=0) >= LARGE:
            axis.yaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_major_locator(MaxNLocator(5))
    keys = [Line2D([], [], color=colour, linewidth=2, label=shorten(name, 16))
            for name, colour in zip(levels, colours, strict=True)]  # fmt: skip
    figure.legend(handles=keys, loc="outside upper left", ncols=min(len(keys), 9), title="level", alignment="left")
    return figure


@drawing({"axes.titlesize": 7})
def pairs(
    before: NDArray[np.uint8], after: NDArray[np.uint8], gaze: tuple[NDArray[np.floating[Any]], NDArray[Any]]
) -> Any:
    """Pictures (P, H, W, 3) with the gaze on them, (P, 2, T) in -1..1 (x right, y down), above the same moved."""
    count = len(before)
    across = min(count, 5)
    rows = -(-count // across)
    height_in = (PAGE_IN / across) * before.shape[1] / before.shape[2]
    figure = figures.new_figure(PAGE_IN, rows * (2 * height_in + 0.4))
    axes = figure.subplots(2 * rows, across, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for place in range(count):
        row, column = divmod(place, across)
        for below, (pictures, points, name) in enumerate(((before, gaze[0], "before"), (after, gaze[1], "after"))):
            axis = axes[2 * row + below, column]
            axis.imshow(pictures[place], extent=(-1, 1, 1, -1), aspect="auto")
            for colour, width in (("white", 2.2), (VERMILION, 1.0)):
                axis.plot(*points[place], color=colour, linewidth=width, clip_on=True)
            axis.set(xlim=(-1.05, 1.05), ylim=(1.05, -1.05))
            axis.set_title(f"{place + 1}, {name}", loc="left", pad=2)
    return figure
