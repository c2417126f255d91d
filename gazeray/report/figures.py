# SPDX-License-Identifier: Apache-2.0
"""The pictures of a run as a whole: each function takes plain arrays and returns a PNG as bytes.

Colours are those of Okabe and Ito (2008), told apart by all common forms of colour blindness; curves also differ by
line style, so that they survive a black-and-white printer. No pyplot: nothing global is touched but a scoped style.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

DPI = 110
PAGE_IN, HALF_IN = 8.6, 4.15
"""Widths of pictures, inches: at DPI one fills the text column of the page, two halves stand side by side."""

BLUE, VERMILION, GREEN, GREY, DARK = "#0072B2", "#D55E00", "#009E73", "#8A8A8A", "#2B2B2B"
PALE = "#A6CFE5"

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

SCORE_STYLES = {
    "model": (BLUE, "-", "model"),
    "logistic_regression": (VERMILION, "--", "logistic regression"),
}

BARS_PER_ROW = 35


@dataclass(frozen=True)
class Curve:
    """What one fit logged: one value per epoch (E,), NaN where it was undefined. Epochs count from 1."""

    name: str
    best_epoch: int | None
    epoch: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    validation_balanced_accuracy: NDArray[np.float64]


def shorten(text: str, limit: int = 18) -> str:
    """`text` on one line, unprintable characters marked, cut to `limit` characters with an ellipsis."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def new_figure(width_in: float, height_in: float, layout: Any = "constrained") -> Any:
    """An empty figure at DPI that no global state knows of. layout: a layout engine of matplotlib, or None."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Any) -> bytes:
    """The figure as PNG. A letter that the plotting font lacks becomes a box; the page's tables spell the name."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _grid(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a grid of `count` panels, at most `columns` wide."""
    columns = min(columns, count)
    return math.ceil(count / columns), columns


def roc(labels: NDArray[np.int64], scores: Mapping[str, NDArray[np.float64]], classes: Sequence[str]) -> bytes:
    """ROC curves (Fawcett 2006): two classes, the last one is positive; more, one panel per class against the rest.

    labels: (N,) class indices. scores: name ("model", "logistic_regression") -> (N, K); rows with NaN are left out.
    """
    positives = [len(classes) - 1] if len(classes) == 2 else list(range(len(classes)))
    rows, columns = _grid(len(positives), 3)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(HALF_IN if columns == 1 else PAGE_IN, HALF_IN if columns == 1 else 9.0 / columns * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, positive in zip(axes, positives, strict=False):
            _roc_panel(axis, labels, scores, positive)
            rest = shorten(classes[0]) if len(classes) == 2 else "the rest"
            axis.set_title(f"{shorten(classes[positive])} against {rest}", loc="left")
        for axis in axes[len(positives) :]:
            axis.remove()
        return to_png(figure)


def _roc_panel(axis: Any, labels: NDArray[np.int64], scores: Mapping[str, NDArray[np.float64]], positive: int) -> None:
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="chance, area 0.500")
    for name, values in scores.items():
        colour, line, title = SCORE_STYLES[name]
        usable = np.isfinite(values).all(axis=1)
        truth = labels[usable] == positive
        if truth.all() or not truth.any():
            axis.plot([], [], color=colour, linestyle=line, label=f"{title}: undefined, one class only")
            continue
        false_rate, true_rate, _ = roc_curve(truth, values[usable, positive])
        area = float(np.trapezoid(true_rate, false_rate))
        axis.plot(false_rate, true_rate, color=colour, linestyle=line, linewidth=1.5, label=f"{title}, area {area:.3f}")
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axis.set(xlabel="false positive rate", ylabel="true positive rate")
    axis.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> bytes:
    """The confusion matrix (K, K), rows true and columns predicted: counts, with the share of the row below."""
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    count, names = len(classes), [shorten(name, 14) for name in classes]
    side = min(PAGE_IN, max(HALF_IN, 1.2 + 0.75 * count))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(side, side)
        axis = figure.subplots()
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row in range(count):
            for column in range(count):
                ink = "white" if share[row, column] > 0.65 else DARK
                big = 15 if count <= 3 else 9
                axis.annotate(str(matrix[row, column]), (column, row), (0, 1), textcoords="offset points", color=ink,
                              ha="center", va="bottom", fontsize=big)  # fmt: skip
                percent = f"{100 * share[row, column]:.0f} %" if total[row, 0] else "no trial"
                axis.annotate(percent, (column, row), (0, -2), textcoords="offset points", color=ink,
                              ha="center", va="top", fontsize=0.6 * big + 1)  # fmt: skip
        sideways = {"rotation": 90, "va": "center"} if max(map(len, names)) > 6 else {}
        axis.set_xticks(range(count), names, rotation=0 if count <= 4 else 45, ha="center" if count <= 4 else "right")
        axis.set_yticks(range(count), names, **(sideways if count <= 4 else {}))
        axis.set(xlabel="predicted", ylabel="true")
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        return to_png(figure)


def participants(
    names: Sequence[str],
    values: NDArray[np.float64],
    trials: NDArray[np.int64],
    one_class: NDArray[np.bool_],
    chance: float,
    ylabel: str,
) -> bytes:
    """One bar per participant, best first, in rows of at most 35, the number of trials in brackets.

    values: (P,) scores in 0..1. one_class: (P,) True draws the bar pale: the participant has trials of one class only.
    """
    order = sorted(range(len(names)), key=lambda index: (-values[index], names[index]))
    rows = math.ceil(len(order) / BARS_PER_ROW)
    per_row = math.ceil(len(order) / rows)
    labels = [f"{shorten(name, 14)} ({count})" for name, count in zip(names, trials, strict=True)]
    name_in = 0.065 * max(map(len, labels))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(PAGE_IN, 0.45 + rows * (1.6 + name_in))
        axes = figure.subplots(rows, 1, squeeze=False).ravel()
        for row, axis in enumerate(axes):
            part = order[row * per_row : (row + 1) * per_row]
            colours = [PALE if one_class[index] else BLUE for index in part]
            axis.bar(range(len(part)), values[part], width=0.72, color=colours)
            axis.plot(range(len(part)), values[part], "o", color=DARK, markersize=2.5, clip_on=False, zorder=3)
            axis.axhline(chance, color=VERMILION, linestyle="--", linewidth=1)
            axis.set_xticks(range(len(part)), [labels[index] for index in part], rotation=90)
            axis.set(xlim=(-0.7, per_row - 0.3), ylim=(0, 1), ylabel=ylabel)
            axis.tick_params(axis="x", length=0)
        keys: list[Any] = [Patch(color=BLUE, label="participant (trials)")]
        if one_class.any():
            keys.append(Patch(color=PALE, label="trials of one class only"))
        keys.append(Line2D([], [], color=VERMILION, linestyle="--", linewidth=1, label=f"chance {chance:.2f}"))
        figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
        return to_png(figure)


def learning_curves(curves: Sequence[Curve]) -> bytes:
    """Small multiples, two panels per fit: loss above, balanced accuracy of the validation participants below.

    Fits without validation participants (refits after a search) have the upper panel only.
    """
    validated = any(np.isfinite(curve.validation_loss).any() for curve in curves)
    rows, columns = _grid(len(curves), 5 if len(curves) > 8 else 4)
    losses = np.concatenate([np.r_[curve.train_loss, curve.validation_loss] for curve in curves])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    logarithmic = bool(losses.size) and losses.max() > 30 * losses.min()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(PAGE_IN if columns > 2 else 2.6 * columns + 1.4, 0.4 + 2.5 * rows)
        if not validated:
            figure.set_size_inches(figure.get_figwidth(), 0.6 + 1.5 * rows)
        axes = figure.subplots((1 + validated) * rows, columns, squeeze=False, sharex="all", sharey="row")
        for row in range(1 + validated, (1 + validated) * rows):
            axes[row, 0].sharey(axes[row % 2 if validated else 0, 0])
        for index in range(rows * columns):
            row, column = divmod(index, columns)
            upper, lower = axes[(1 + validated) * row, column], axes[(1 + validated) * row + validated, column]
            if index >= len(curves):
                for axis in {upper, lower}:
                    axis.remove()
                continue
            _curve_panels(upper, lower, curves[index])
            last = index + columns >= len(curves)
            lower.tick_params(labelbottom=last)
            lower.set_xlabel("epoch" if last else "")
            if column == 0:
                lower.set_ylabel("balanced\naccuracy")
                upper.set_ylabel("loss (log)" if logarithmic else "loss")
        if logarithmic:
            axes[0, 0].set_yscale("log")
        if validated:
            axes[1, 0].set_ylim(0, 1)
        figure.legend(handles=_curve_keys(validated), loc="outside upper left", ncols=3)
        return to_png(figure)


def _curve_panels(upper: Any, lower: Any, curve: Curve) -> None:
    upper.plot(curve.epoch, curve.train_loss, color=GREY, linestyle="--", linewidth=1.1)
    upper.plot(curve.epoch, curve.validation_loss, color=BLUE, linewidth=1.3)
    if lower is not upper:
        lower.plot(curve.epoch, curve.validation_balanced_accuracy, color=BLUE, linewidth=1.3)
    if curve.epoch.size == 1:
        for line in (*upper.lines, *lower.lines):
            line.set_marker(".")
    for axis in {upper, lower}:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        if curve.best_epoch is not None:
            axis.axvline(curve.best_epoch, color=VERMILION, linestyle=":", linewidth=1.2)
    best = "" if curve.best_epoch is None else f", best {curve.best_epoch}"
    upper.set_title(shorten(f"{curve.name}{best}", 24), loc="left")


def _curve_keys(validated: bool) -> list[Line2D]:
    return [
        Line2D([], [], color=GREY, linestyle="--", label="training participants"),
        *([Line2D([], [], color=BLUE, label="validation participants")] if validated else []),
        Line2D([], [], color=VERMILION, linestyle=":", label="epoch whose weights were tested"),
    ]


def histograms(columns: Mapping[str, NDArray[np.float64]]) -> bytes:
    """One histogram of trials per column: axis label with its unit -> (N,) values, NaN left out. Dashed: the median.

    A column whose values are all the same (to 1e-9) is a sentence instead: a single bar would show nothing.
    """
    rows, across = _grid(len(columns), 4)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(PAGE_IN if across > 2 else 2.4 * across + 0.5, 2.1 * rows)
        axes = figure.subplots(rows, across, squeeze=False).ravel()
        for index, (axis, (label, values)) in enumerate(zip(axes, columns.items(), strict=False)):
            finite = values[np.isfinite(values)]
            if finite.size and _all_equal(finite):
                same = f"{finite[0]:.4g} in all\n{finite.size} trials"
                axis.text(0.5, 0.5, same, ha="center", va="center", transform=axis.transAxes)
                axis.set(xticks=[], yticks=[])
            elif finite.size:
                axis.hist(finite, bins=_bins(finite), color=BLUE)
                axis.axvline(np.median(finite), color=VERMILION, linestyle="--", linewidth=1.2)
            else:
                axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
            axis.set(xlabel=label, ylabel="trials" if index % across == 0 else "")
            if not finite.size or not _all_equal(finite):
                axis.xaxis.set_major_locator(MaxNLocator(4))
                axis.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        for axis in axes[len(columns) :]:
            axis.remove()
        return to_png(figure)


def _all_equal(values: NDArray[np.float64]) -> bool:
    low, high = float(values.min()), float(values.max())
    return high - low <= 1e-9 * max(abs(low), abs(high))


def _bins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of at most 24 bins; bins of whole numbers hold equally many of them, so that no false gaps appear."""
    low, high = float(values.min()), float(values.max())
    if np.array_equal(values, np.round(values)):
        step = math.ceil((high - low + 1) / 24)
        return np.arange(low - 0.5, high + step, step)
    return np.linspace(low, high, min(24, max(8, int(math.sqrt(values.size)))) + 1)
