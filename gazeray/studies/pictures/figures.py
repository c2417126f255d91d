# SPDX-License-Identifier: Apache-2.0
"""The drawings of the studies on pictures: each function takes plain arrays and returns a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.figures import BLUE, DARK, GREEN, GREY, VERMILION, drawing, shorten
from gazeray.report.words import counted

PROBE_STYLES = [(BLUE, "-", "o"), (GREEN, "--", "s"), (VERMILION, "-.", "^"), (DARK, (0, (5, 1, 1, 1, 1, 1)), "D")]
"""Colour, line and marker of the first, second ... probe; begun anew where there are more."""

REFERENCE_STYLES = {
    "uniform": (GREY, ":"),
    "centre_bias": (GREY, "--"),
    "split_half": (DARK, (0, (1, 3))),
    "other_observers": (DARK, "-."),
    "gold_standard": (DARK, (0, (6, 2))),
}
"""Colour and line of the predictors that stand as horizontal lines beside the layers."""

MASS = (0.25, 0.5, 0.75)
"""Shares of the predicted probability that the lines of an overlay enclose."""


class LayerPanel(NamedTuple):
    """One metric over layers. values: probe -> (L, 3) value, low and high of its interval. references: key -> value."""

    title: str
    values: Mapping[str, NDArray[np.float64]]
    references: Mapping[str, float]


class InnerCurves(NamedTuple):
    """What a model's penalty was chosen by. scores: (folds, penalties). chosen: per fold the index."""

    title: str
    penalties: Sequence[float]
    scores: NDArray[np.float64]
    chosen: Sequence[int]


@drawing()
def layer_chart(layers: Sequence[str], panels: Sequence[LayerPanel], labels: Mapping[str, str]) -> Any:
    """Small multiples, one per metric: x the layers (L names), one line per probe with 95 % intervals.

    labels: probe or key of `REFERENCE_STYLES` -> its name in the legend; those that no panel holds are not shown.
    """
    widest = min(len(panels), 4 if len(layers) <= 6 else 2)
    columns = min(range(max(1, widest - 1), widest + 1), key=lambda count: (-len(panels) % count, -count))
    names = [shorten(name, 16) for name in layers]
    turned = 0.056 * len(" ".join(names)) > figures.PAGE_IN / columns - 0.5
    probes = list(dict.fromkeys(probe for panel in panels for probe in panel.values))
    styles = {probe: PROBE_STYLES[index % len(PROBE_STYLES)] for index, probe in enumerate(probes)}
    tall_in = 1.75 + (0.06 * max(map(len, names)) if turned else 0)
    rows, _ = figures.grid(len(panels), columns)
    width_in = figures.PAGE_IN if columns > 1 else figures.PAGE_IN * 0.6
    figure, axes = figures.panels(len(panels), columns, width_in, 0.55 + rows * tall_in)
    for axis, panel in zip(axes, panels, strict=True):
        _layer_panel(axis, panel, styles)
        axis.set_xticks(range(len(names)), names, rotation=90 if turned else 0)
        axis.set_xlim(-0.4, len(names) - 0.6)
    keys = [
        Line2D([], [], color=colour, linestyle=line, marker=marker, markersize=3.5, label=shorten(labels[probe], 30))
        for probe, (colour, line, marker) in styles.items()
    ]
    keys += [
        Line2D([], [], color=colour, linestyle=line, linewidth=1.1, label=shorten(labels[key], 46))
        for key, (colour, line) in REFERENCE_STYLES.items()
        if any(key in panel.references for panel in panels)
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=3, handlelength=2.6)
    return figure


def _layer_panel(axis: Any, panel: LayerPanel, styles: Mapping[str, tuple[Any, Any, str]]) -> None:
    for key, value in panel.references.items():
        colour, line = REFERENCE_STYLES[key]
        axis.axhline(value, color=colour, linestyle=line, linewidth=1.1, zorder=1)
    for index, (probe, (colour, line, marker)) in enumerate(styles.items()):
        if probe not in panel.values:
            continue
        value, low, high = panel.values[probe].T
        places = np.arange(len(value)) + 0.09 * (index - (len(styles) - 1) / 2)
        axis.plot(places, value, color=colour, linestyle=line, marker=marker, markersize=3.5, linewidth=1.3, zorder=3)
        axis.vlines(places, low, high, color=colour, linewidth=1.0, zorder=2)
    axis.set_title(shorten(panel.title, 40), loc="left")
    axis.yaxis.set_major_locator(MaxNLocator(5))


@drawing({"axes.titlesize": 7.5})
def overlay(
    picture: NDArray[np.uint8],
    human: NDArray[np.floating[Any]],
    density: NDArray[np.floating[Any]],
    cells: NDArray[np.integer[Any]],
    name: str = "prediction",
) -> Any:
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
    titles = ("picture", "human map", name, counted(len(cells), "fixation"))
    figure = figures.new_figure(*size, layout=None)
    for index, title in enumerate(titles):
        left = 0.05 + index * (across + 0.1)
        axis = figure.add_axes([left / size[0], 0.05 / size[1], across / size[0], tall / size[1]])
        axis.set_title(shorten(title, max(12, int(across / 0.06))), loc="left", pad=3)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(True)
        placed = {"extent": (0, width, height, 0), "aspect": "auto"}
        if index in (0, 3):
            axis.imshow(picture if index == 0 else _pale(picture), **placed)
        else:
            values = np.nan_to_num(np.asarray((human, density)[index - 1], dtype=np.float64), posinf=0.0)
            axis.imshow(values, cmap=figures.AMOUNT_COLOURS, vmin=0, vmax=values.max() or 1.0, **placed)
    values = np.asarray(density, dtype=np.float64)
    levels = mass_levels(values)
    figures.contours(axis, values, levels, (width, height), colors=BLUE, linewidths=[0.7, 1.0, 1.4][-len(levels) :])
    axis.plot(cells[:, 1] + 0.5, cells[:, 0] + 0.5, "o", markersize=2.6, color=VERMILION, markeredgecolor="white",
              markeredgewidth=0.4)  # fmt: skip
    axis.set(xlim=(0, width), ylim=(height, 0))
    return figure


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


@drawing()
def centre(maps: Mapping[str, NDArray[np.floating[Any]]]) -> Any:
    """Densities over the picture's relative coordinates, one panel each with one scale, and their marginals.

    maps: name -> (h, w) not negative, normalised here to a mean of 1: the value 2 means twice as much as if gaze were
    spread evenly.
    """
    even = {name: np.asarray(values, dtype=np.float64) for name, values in maps.items()}
    even = {name: values / (values.mean() or 1.0) for name, values in even.items()}
    top = max(float(values.max()) for values in even.values())
    styles = [(DARK, "-"), (BLUE, "--"), (VERMILION, ":")]
    figure = figures.new_figure(figures.PAGE_IN, 4.4)
    parts = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    panels = parts[0].subplots(1, len(even), squeeze=False).ravel()
    for axis, (name, values) in zip(panels, even.items(), strict=True):
        image = axis.imshow(values, cmap=figures.AMOUNT_COLOURS, vmin=0, vmax=top, extent=(0, 1, 1, 0), aspect=0.75)
        axis.set_title(shorten(name, 36), loc="left")
        axis.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axis.spines[:].set_visible(True)
    bar = parts[0].colorbar(image, ax=panels.tolist(), fraction=0.03, pad=0.01)
    bar.set_label("density (even = 1)")
    bar.outline.set_linewidth(0.5)
    marginals = parts[1].subplots(1, 2, sharey=True)
    for across, (axis, label) in enumerate(zip(marginals, ("x, from the left", "y, from the top"), strict=True)):
        axis.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
        for (name, values), (colour, line) in zip(even.items(), styles, strict=False):
            marginal = values.mean(axis=across)
            places = (np.arange(marginal.size) + 0.5) / marginal.size
            axis.plot(places, marginal, color=colour, linestyle=line, linewidth=1.4, label=shorten(name, 36))
        axis.set(xlim=(0, 1), xlabel=f"{label} (share of the picture)")
    marginals[0].set_ylim(bottom=0)
    marginals[0].set_ylabel("density (even = 1)")
    parts[1].legend(*marginals[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(even))
    return figure


@drawing()
def inner_curves(panels: Sequence[InnerCurves]) -> Any:
    """Small multiples: the inner score of every penalty, a line per fold; the penalty that was taken has a point."""
    rows, columns = figures.grid(len(panels), 4)
    width_in = figures.PAGE_IN if columns > 2 else 2.5 * columns + 0.6
    figure, axes = figures.panels(len(panels), columns, width_in, 0.35 + 1.75 * rows)
    for index, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        places = np.arange(len(panel.penalties))
        for curve, chosen in zip(panel.scores, panel.chosen, strict=True):
            axis.plot(places, curve, color=BLUE, linewidth=0.9, alpha=0.7, marker=".", markersize=3)
            axis.plot(chosen, curve[chosen], "o", color=VERMILION, markersize=4, zorder=3)
        step = -(-len(places) // 5)
        axis.set_xticks(places[::step], [f"{penalty:g}" for penalty in panel.penalties[::step]])
        axis.set_title(shorten(panel.title, 32), loc="left")
        axis.set_xlabel("penalty" if index + columns >= len(panels) else "")
        axis.yaxis.set_major_locator(MaxNLocator(4))
    keys = [Line2D([], [], color=BLUE, label="one fold"),
            Line2D([], [], color=VERMILION, marker="o", linestyle="none", label="taken")]  # fmt: skip
    figure.legend(handles=keys, loc="outside upper left", ncols=2)
    return figure
