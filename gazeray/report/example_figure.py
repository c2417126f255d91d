# SPDX-License-Identifier: Apache-2.0
"""One example of the gallery as a picture: its gaze heatmap beside the gradients of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures

HEATMAP_COLOURS = "YlGnBu"
GRADIENT_COLOURS = "RdBu_r"


@dataclass(frozen=True)
class Words:
    """What the panels are called, and the units of picture and map."""

    picture: str = "gaze heatmap"
    unit: str = "ms"
    method: str = "gradient"
    map_unit: str = "logit per ms"


@dataclass(frozen=True)
class _Places:
    """Where the panels of an example go, inches: side by side, or above each other when the window is a wide strip.

    Set by hand: every example of a window has the same size, and a layout engine takes ten times as long.
    """

    stacked: bool
    count: int
    panel: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """(width, height) of the figure."""
        across, tall = self.panel
        if self.stacked:
            return across + 1.55, self.count * (tall + 0.26) + 0.42
        return self.count * (across + 0.2) + 0.44, tall + 1.32

    def axis(self, index: int) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of the panel `index`."""
        across, tall = self.panel
        if self.stacked:
            return 0.52, 0.42 + (self.count - 1 - index) * (tall + 0.26), across, tall
        return 0.52 + index * (across + 0.2), 0.9, across, tall

    def bar(self, first: int, last: int) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) of a colour bar beside (below) the panels `first` to `last`."""
        start, end = self.axis(first), self.axis(last)
        if self.stacked:
            return start[0] + start[2] + 0.1, end[1], 0.08, start[1] + start[3] - end[1]
        return start[0], 0.42, end[0] + end[2] - start[0], 0.08

    def fractions(self, box: tuple[float, float, float, float]) -> list[float]:
        """A box in inches as shares of the figure."""
        return [value / self.size[index % 2] for index, value in enumerate(box)]


def _places(window_px: tuple[float, float], count: int) -> _Places:
    width, height = window_px
    stacked = width > 2.2 * height
    page = figures.PAGE_IN if stacked or count > 2 else figures.HALF_IN
    across = page - 1.55 if stacked else min((page - 0.44 - 0.2 * count) / count, 2.5 * width / height)
    return _Places(stacked, count, (across, across * height / width))


def example(
    heatmap: NDArray[np.floating[Any]],
    gradients: Mapping[str, tuple[str, NDArray[np.floating[Any]]]],
    window_px: tuple[float, float],
    words: Words | None = None,
) -> bytes:
    """A heatmap (H, W) beside signed maps on the stimulus' own axes: px, origin top left, y down.

    gradients: "predicted", "true" -> (class, (H, W)). They share one scale, symmetric about 0, whose end is the 99.5th
    percentile of their size; the lines are the heatmap at a quarter, half and three quarters of its highest value.
    window_px: (width, height). words: names and units; by default those of a gaze heatmap in ms and its gradient.
    """
    words = words or Words()
    places = _places(window_px, 1 + len(gradients))
    width, height = window_px
    dwell = np.asarray(heatmap, dtype=np.float64)
    signed = [np.asarray(values, dtype=np.float64) for _, values in gradients.values()]
    peak, limit = _largest([dwell], 100.0) or 1.0, _largest(signed, 99.5) or 1.0
    letters = int(places.panel[0] / 0.065)
    picture = {"extent": (0, width, height, 0), "aspect": "auto", "interpolation": "nearest"}
    with matplotlib.rc_context({**figures.STYLE, "axes.titlesize": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7}):
        figure = figures.new_figure(*places.size, layout=None)
        axes = [figure.add_axes(places.fractions(places.axis(index))) for index in range(places.count)]
        image = axes[0].imshow(dwell, cmap=HEATMAP_COLOURS, vmin=0, vmax=peak, **picture)
        axes[0].set_title(figures.shorten(words.picture, letters), loc="left", pad=3)
        _colour_bar(figure, image, places, (0, 0), words.unit)
        for axis, (kind, (name, _)), values in zip(axes[1:], gradients.items(), signed, strict=True):
            image = axis.imshow(values, cmap=GRADIENT_COLOURS, vmin=-limit, vmax=limit, **picture)
            _outline(axis, dwell, width, height)
            gap = " " if places.stacked else "\n"
            axis.set_title(f"{words.method}, {kind}:{gap}{figures.shorten(name, letters)}", loc="left", pad=3)
        _colour_bar(figure, image, places, (1, len(signed)), words.map_unit)
        for index, axis in enumerate(axes):
            _example_axes(axis, places, index)
        return figures.to_png(figure)


def _example_axes(axis: Any, places: _Places, index: int) -> None:
    leftmost, lowest = places.stacked or index == 0, not places.stacked or index == places.count - 1
    axis.spines[:].set_visible(True)
    axis.xaxis.set_major_locator(MaxNLocator(max(2, int(places.panel[0] / 0.45))))
    axis.yaxis.set_major_locator(MaxNLocator(max(2, int(places.panel[1] / 0.28))))
    axis.tick_params(labelleft=leftmost, labelbottom=lowest, length=2.5)
    axis.set_xlabel("x (px)" if lowest else "", labelpad=2)
    axis.set_ylabel("y (px)" if leftmost else "", labelpad=2)


def _colour_bar(figure: Any, image: Any, places: _Places, panels: tuple[int, int], unit: str) -> None:
    """The colour bar of the panels (first, last); a power of ten that its ticks share goes to the label."""
    box, low, high = places.bar(*panels), image.norm.vmin, image.norm.vmax
    signed = low < 0
    bar = figure.colorbar(image, cax=figure.add_axes(places.fractions(box)), extendfrac=0.04,
                          orientation="vertical" if places.stacked else "horizontal",
                          extend="both" if signed else "neither")  # fmt: skip
    power = math.floor(math.log10(high))
    power = power if not -2 <= power <= 3 else 0
    space = max(3, int(box[3] / 0.25 if places.stacked else box[2] / 0.4))
    bar.set_ticks([tick for tick in MaxNLocator(space, symmetric=signed).tick_values(low, high) if low <= tick <= high])
    bar.formatter = FuncFormatter(lambda value, _: f"{value / 10.0**power:.3g}".replace("-", "\N{MINUS SIGN}"))
    bar.set_label(f"{unit}, 1e{power}" if power else unit, labelpad=2)
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2.5)


def _largest(maps: Sequence[NDArray[np.float64]], percentile: float) -> float:
    """A percentile of the absolute finite values of `maps`; their maximum where that is 0; 0.0 when there are none."""
    values = np.abs(np.concatenate([item.ravel() for item in maps]))
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percentile) or values.max()) if values.size else 0.0


def _outline(axis: Any, dwell: NDArray[np.float64], width_px: float, height_px: float) -> None:
    """Contours of the heatmap, drawn at the centres of its pixels."""
    rows, columns = dwell.shape
    top = _largest([dwell], 100.0)
    levels = [top * share for share in (0.25, 0.5, 0.75)]
    finite = np.nan_to_num(dwell, posinf=0.0, neginf=0.0)
    if min(rows, columns) < 2 or not finite.min() < levels[-1] < finite.max():
        return
    x = (np.arange(columns) + 0.5) * width_px / columns
    y = (np.arange(rows) + 0.5) * height_px / rows
    axis.contour(x, y, finite, levels=levels, colors=figures.DARK, linewidths=0.6)
