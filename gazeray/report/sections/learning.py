# SPDX-License-Identifier: Apache-2.0
"""The section on learning curves: what the fits logged, epoch by epoch; of many fits, how they are spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.blocks import Figure, Section, Text
from gazeray.report.results import Results
from gazeray.report.words import counted

CURVES = 20
"""Fits with panels of their own, at most."""


class Logged(NamedTuple):
    """What the fits logged: the loss in words, and a metric of validation by its key, its name and its limits."""

    loss: str = "cross-entropy, nats"
    metric: str = "balanced_accuracy"
    name: str = "balanced accuracy"
    limits: tuple[float, float] = (0, 1)


class Curve(NamedTuple):
    """What one fit logged: one value per epoch (E,), NaN where it was undefined. Epochs count from 1."""

    name: str
    best_epoch: int | None
    epoch: NDArray[np.float64]
    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    validation_metric: NDArray[np.float64]


def section(results: Results, logged: Logged | None = None) -> Section:
    """The section with the learning curves of the fits; by default those of a classification."""
    title, logged = "Learning curves", logged or Logged()
    units = [name for name, rows in results.epochs.items() if rows]
    curves = [_curve(results, name, logged.metric) for name in units]
    if not curves:
        return Section("learning", title, title, [Text("No fit logged an epoch.")])
    if len(curves) > CURVES:
        return Section("learning", title, title, [_spread_figure(curves, logged)])
    best = [f"{curve.name}: epoch {curve.best_epoch} of {len(curve.epoch)}" for curve in curves]
    caption = f"Loss ({logged.loss}) per epoch, one panel per fold; without validation, as the epochs were chosen."
    if any(np.isfinite(curve.validation_loss).any() for curve in curves):
        low, high = (f"{limit:g}".replace("-", "\N{MINUS SIGN}") for limit in logged.limits)
        caption = f"Loss ({logged.loss}) and {logged.name} ({low} to {high}) per epoch, one pair of panels per fold."
    png = learning_curves(curves, logged.name, logged.limits)
    figure = Figure("learning_curves", png, f"{title}. {'; '.join(best)}.", caption)
    return Section("learning", title, title, [figure])


def _spread_figure(curves: Sequence[Curve], logged: Logged) -> Figure:
    """Many fits in three panels: loss, metric, and how many of them there are."""
    epochs = np.array([curve.epoch.max() for curve in curves])
    best = np.array([curve.best_epoch for curve in curves if curve.best_epoch is not None])
    chosen = f"; the weights of epoch {np.median(best):g} were tested in the median fold" if best.size else ""
    caption = (
        f"Loss ({logged.loss}) and {logged.name} per epoch over {len(curves)} folds. Lines: medians, bands: quartiles, "
        "and 5th to 95th percentile, both over the folds that still fitted in that epoch; how many did is the line on "
        f"the right, bars: the epochs whose weights were tested. Folds fitted {epochs.min():g} to "
        f"{counted(epochs.max(), 'epoch')}{chosen}. The curve of each fold: metrics.jsonl in units/ of the run folder."
    )
    alt = f"Learning curves of {len(curves)} folds, {epochs.min():g} to {counted(epochs.max(), 'epoch')} each{chosen}."
    return Figure("learning_curves", learning_spread(curves, logged), alt, caption)


@figures.drawing()
def learning_spread(curves: Sequence[Curve], logged: Logged) -> Any:
    """Many fits: percentiles over them of the losses and of the metric per epoch, and how many fits each epoch has.

    Fits without validation have no panel of the metric.
    """
    validated = any(np.isfinite(curve.validation_loss).any() for curve in curves)
    figure = figures.new_figure(figures.PAGE_IN, 3.2)
    first, *middle, last = figure.subplots(1, 2 + validated)
    epochs = np.arange(1, 1 + int(max(curve.epoch.max() for curve in curves)))
    kinds = [("train_loss", figures.GREY, "--", first)]
    if validated:
        kinds += [("validation_loss", figures.BLUE, "-", first), ("validation_metric", figures.BLUE, "-", middle[0])]
        middle[0].set(ylabel=logged.name, ylim=logged.limits)
    for name, colour, line, axis in kinds:
        grid = _by_epoch(curves, name, len(epochs))
        there = np.isfinite(grid).any(axis=0)
        shares = np.nanpercentile(grid[:, there], [5, 25, 50, 75, 95], axis=0).T
        _band(axis, epochs[there], shares, colour, line)
    logarithmic = first.dataLim.y0 > 0 and first.dataLim.y1 > 30 * first.dataLim.y0
    first.set(ylabel="loss (log)" if logarithmic else "loss", yscale="log" if logarithmic else "linear")
    fitting = np.isfinite(_by_epoch(curves, "epoch", len(epochs))).sum(axis=0)
    last.step(epochs, fitting, where="mid", color=figures.DARK, linewidth=1.3)
    best = [curve.best_epoch for curve in curves if curve.best_epoch is not None]
    last.bar(epochs, np.bincount(best, minlength=len(epochs) + 1)[1 : len(epochs) + 1], color=figures.VERMILION)
    last.set(ylabel="folds", ylim=(0, None))
    for axis in (first, *middle, last):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    keys = [
        Line2D([], [], color=figures.GREY, linestyle="--", label="training"),
        *([Line2D([], [], color=figures.BLUE, label="validation")] if validated else []),
        Line2D([], [], color=figures.DARK, label="folds that still fitted"),
        Patch(color=figures.VERMILION, label="folds tested with this epoch"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    return figure


def _band(axis: Any, places: NDArray[Any], shares: NDArray[np.float64], colour: str, line: str) -> None:
    """Percentiles over places (N,): shares (N, 5) are the 5th, 25th, 50th, 75th and 95th; the middle one is a line."""
    for low, high, alpha in ((0, 4, 0.15), (1, 3, 0.3)):
        axis.fill_between(places, shares[:, low], shares[:, high], color=colour, alpha=alpha, linewidth=0)
    axis.plot(places, shares[:, 2], color=colour, linestyle=line, linewidth=1.5)


def _by_epoch(curves: Sequence[Curve], name: str, count: int) -> NDArray[np.float64]:
    """What the fits logged, (fits, count), NaN for epochs that a fit did not come to."""
    grid = np.full((len(curves), count), np.nan)
    for row, curve in enumerate(curves):
        grid[row, curve.epoch.astype(int) - 1] = getattr(curve, name)
    return grid


def _curve(results: Results, unit: str, metric: str) -> Curve:
    rows = results.epochs[unit]
    names = ("epoch", "train_loss", "validation_loss", f"validation_{metric}")
    arrays = [np.array([row.get(name) for row in rows], dtype=np.float64) for name in names]
    return Curve(unit.replace("-", " "), results.units[unit].get("best_epoch"), *arrays)


@figures.drawing()
def learning_curves(
    curves: Sequence[Curve], metric: str = "balanced accuracy", limits: tuple[float, float] = (0, 1)
) -> Any:
    """Small multiples, two panels per fit: loss above, a metric of the validation data below.

    Fits without validation (refits after a search) have the upper panel only.
    """
    validated = any(np.isfinite(curve.validation_loss).any() for curve in curves)
    rows, columns = figures.grid(len(curves), 5 if len(curves) > 8 else 4)
    losses = np.concatenate([np.r_[curve.train_loss, curve.validation_loss] for curve in curves])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    logarithmic = bool(losses.size) and losses.max() > 30 * losses.min()
    height_in = 0.4 + 2.5 * rows if validated else 0.6 + 1.5 * rows
    figure = figures.new_figure(figures.PAGE_IN if columns > 2 else 2.6 * columns + 1.4, height_in)
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
            lower.set_ylabel(metric.replace(" ", "\n"))
            upper.set_ylabel("loss (log)" if logarithmic else "loss")
    if logarithmic:
        axes[0, 0].set_yscale("log")
    if validated:
        axes[1, 0].set_ylim(limits)
    keys = [
        Line2D([], [], color=figures.GREY, linestyle="--", label="training"),
        *([Line2D([], [], color=figures.BLUE, label="validation")] if validated else []),
        Line2D([], [], color=figures.VERMILION, linestyle=":", label="epoch whose weights were tested"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=3)
    return figure


def _curve_panels(upper: Any, lower: Any, curve: Curve) -> None:
    upper.plot(curve.epoch, curve.train_loss, color=figures.GREY, linestyle="--", linewidth=1.1)
    upper.plot(curve.epoch, curve.validation_loss, color=figures.BLUE, linewidth=1.3)
    if lower is not upper:
        lower.plot(curve.epoch, curve.validation_metric, color=figures.BLUE, linewidth=1.3)
    if curve.epoch.size == 1:
        for line in (*upper.lines, *lower.lines):
            line.set_marker(".")
    for axis in {upper, lower}:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        if curve.best_epoch is not None:
            axis.axvline(curve.best_epoch, color=figures.VERMILION, linestyle=":", linewidth=1.2)
    best = "" if curve.best_epoch is None else f", best {curve.best_epoch}"
    upper.set_title(figures.shorten(f"{curve.name}{best}", 24), loc="left")
