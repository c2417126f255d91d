# SPDX-License-Identifier: Apache-2.0
"""What all drawings share: the style, an empty figure, panels, colour bars, contours, and the way to a PNG.

Colours are those of Okabe and Ito (2008), told apart by all common forms of colour blindness; curves also differ by
line style, so that they survive a black-and-white printer. No pyplot: nothing global is touched but a scoped style.
Undefined values (NaN) leave gaps. Maps are drawn upright: row 0 on top, origin at the top left.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

DPI = 110
PAGE_IN, HALF_IN = 8.6, 4.15
"""Widths of figures, inches: at DPI one fills the text column of the page, two halves stand side by side."""

BLUE, VERMILION, GREEN, GREY, DARK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#2B2B2B"
PALE = "#A6CFE5"

AMOUNT_COLOURS, SIGNED_COLOURS = "YlGnBu", "RdBu_r"
"""Of maps from 0 upwards, and of maps around 0."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": DARK,
    "axes.linewidth": 0.7,
    "text.parse_math": False,
}
"""parse_math off: a participant called "$x" is a name, not a formula."""

SMALL = {"axes.titlesize": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7}
"""What is smaller in grids of maps."""

P = ParamSpec("P")


def drawing(style: Mapping[str, Any] | None = None) -> Callable[[Callable[P, Any]], Callable[P, bytes]]:
    """Turns a function that returns a matplotlib figure into one that returns a PNG, drawn in `STYLE` and `style`."""

    def decorate(draw: Callable[P, Any]) -> Callable[P, bytes]:
        @functools.wraps(draw)
        def png(*args: P.args, **kwargs: P.kwargs) -> bytes:
            return in_style(functools.partial(draw, *args, **kwargs), style or {})

        return png

    return decorate


def in_style(draw: Callable[[], Any], style: Mapping[str, Any]) -> bytes:
    """The figure that a function returns, drawn in `STYLE` and `style`, as PNG."""
    with matplotlib.rc_context({**STYLE, **style}):
        return to_png(draw())


def to_png(figure: Any) -> bytes:
    """The figure as PNG. A letter that the plotting font lacks becomes a box; the page's tables spell the name."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def new_figure(width_in: float, height_in: float, layout: Any = "constrained") -> Any:
    """An empty figure at DPI that no global state knows of. layout: a layout engine of matplotlib, or None."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def grid(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a grid of `count` panels, at most `columns` wide."""
    columns = min(columns, count)
    return math.ceil(count / columns), columns


def panels(count: int, columns: int, width_in: float, height_in: float) -> tuple[Any, list[Any]]:
    """A figure and its `count` panels, `columns` beside each other; places that are left over stay empty."""
    figure = new_figure(width_in, height_in)
    axes = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def shorten(text: str, limit: int = 18) -> str:
    """`text` on one line, unprintable characters marked, cut to `limit` characters with an ellipsis."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def map_axis(axis: Any, width_in: float, height_in: float) -> None:
    """A frame and short ticks around a map of this size, as many as it has room for."""
    axis.spines[:].set_visible(True)
    axis.xaxis.set_major_locator(MaxNLocator(max(2, int(width_in / 0.45))))
    axis.yaxis.set_major_locator(MaxNLocator(max(2, int(height_in / 0.29))))
    axis.tick_params(length=2.5)


def scale_end(maps: NDArray[np.float64], percentile: float) -> float:
    """A percentile of the finite values' sizes; their maximum where that is 0; 1.0 where there is nothing but 0."""
    sizes = np.abs(maps[np.isfinite(maps)])
    return float(np.percentile(sizes, percentile) or sizes.max()) or 1.0 if sizes.size else 1.0


def scale_bar(bar: Any, most: int) -> str:
    """Give a colour bar at most `most` ticks. Returns the power of ten that they share, for its label; often ""."""
    low, high = bar.mappable.norm.vmin, bar.mappable.norm.vmax
    power = math.floor(math.log10(high))
    power = power if not -2 <= power <= 3 else 0
    ticks = MaxNLocator(most, symmetric=low < 0).tick_values(low, high)
    shown = [float(tick) for tick in ticks if low <= tick <= high]
    bar.set_ticks(shown, labels=[f"{tick / 10.0**power:.4g}".replace("-", "\N{MINUS SIGN}") for tick in shown])
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(length=2.5)
    return f"1e{power}" if power else ""


def contours(
    axis: Any, values: NDArray[np.float64], levels: Sequence[float], size: tuple[float, float], **lines: Any
) -> None:
    """Lines of equal value of a map (H, W), drawn at the centres of its pixels on axes of (width, height)."""
    finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    inside = [level for level in levels if finite.min() < level < finite.max()]
    if min(finite.shape) < 2 or not inside:
        return
    y, x = ((np.arange(count) + 0.5) * side / count for count, side in zip(finite.shape, size[::-1], strict=True))
    axis.contour(x, y, finite, levels=inside, **lines)


def outline(axis: Any, picture: NDArray[np.float64], size: tuple[float, float]) -> None:
    """Contours of what the model was given (H, W), at a quarter, half and three quarters of its highest value."""
    top = np.nan_to_num(picture, posinf=0.0).max()
    contours(axis, picture, [share * top for share in (0.25, 0.5, 0.75)], size, colors=DARK, linewidths=0.6)
