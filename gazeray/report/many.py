# SPDX-License-Identifier: Apache-2.0
"""What a page shows of many people, folds or pictures: how they are spread, and the extremes by name.

A bar or a row for each of 5,000 people is read by nobody and makes the page slow and large. Up to `MANY` things are
shown one by one; of more, figures show the distribution, and tables name the first and last `EXTREMES` of an order.
Whoever cuts says how many are not shown, and in which file all of them are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.figures import BLUE, DARK, PALE, VERMILION, drawing
from gazeray.report.words import counted

MANY = 60
"""Up to so many things are shown one by one."""

EXTREMES = 10
"""How many of each end of an order are named, where there are many."""

BOXES = 20
"""Groups that have a box each, at most; of more the medians are a histogram."""

BINS = 25

T = TypeVar("T")


class Spread(NamedTuple):
    """Scores of many things: values (N,), what they are called on the axis, and what each of them is of.

    limits: of the axis. chance: drawn as a line. groups: values of each group, such as a fold, by its name.
    """

    values: NDArray[np.float64]
    label: str
    noun: str
    limits: tuple[float, float]
    chance: float
    groups: Sequence[tuple[str, NDArray[np.float64]]] = ()
    group: str = "fold"


def ends(order: Sequence[T]) -> list[tuple[int, T]]:
    """The first and last `EXTREMES` of an order, each with its place, from 1; everything where that is no more."""
    places = list(enumerate(order, start=1))
    return places if len(places) <= 2 * EXTREMES else [*places[:EXTREMES], *places[-EXTREMES:]]


def named(names: Sequence[str]) -> str:
    """Names in a row; of more than `MANY` the first ones, and how many more there are."""
    if len(names) <= MANY:
        return ", ".join(names)
    return f"{', '.join(names[:EXTREMES])} and {len(names) - EXTREMES} more"


def first(rows: Sequence[T]) -> Sequence[T]:
    """The rows that are shown where there is no order of better and worse: all of them, or of many the first ones."""
    return rows if len(rows) <= MANY else rows[:EXTREMES]


def quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(low), float(middle), float(high)


@drawing()
def spread(of: Spread) -> Any:
    """A histogram with median and quartiles; beside it, where there are groups, how far the values of each spread.

    Boxes: quartiles and median, whiskers: 5th and 95th percentile. Of more than `BOXES` groups a histogram of medians.
    """
    figure = figures.new_figure(figures.PAGE_IN, 3.3)
    left, *right = figure.subplots(1, 2 if of.groups else 1, width_ratios=(3, 2) if of.groups else (1,), squeeze=False)[
        0
    ]
    low, middle, high = quartiles(of.values)
    left.axvspan(low, high, color=PALE, linewidth=0)
    left.hist(of.values, bins=np.linspace(*of.limits, BINS + 1).tolist(), color=BLUE, edgecolor="white", linewidth=0.5)
    left.axvline(middle, color=DARK, linewidth=1.8, clip_on=False)
    left.axvline(of.chance, color=VERMILION, linestyle="--", linewidth=1.1)
    left.set(xlim=of.limits, xlabel=of.label, ylabel=f"{of.noun}s")
    left.set_title(f"{len(of.values)} {of.noun}s", loc="left")
    left.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for axis in right:
        (_boxes if len(of.groups) <= BOXES else _medians)(axis, of)
        axis.set_title(counted(len(of.groups), of.group), loc="left")
    keys = [
        Line2D([], [], color=DARK, linewidth=1.6, label=f"median {middle:.2f}"),
        Patch(color=PALE, label=f"quartiles {low:.2f} to {high:.2f}"),
        Line2D([], [], color=VERMILION, linestyle="--", linewidth=1.1, label=f"chance {of.chance:.2f}"),
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    return figure


def _boxes(axis: Any, of: Spread) -> None:
    """A box for each group."""
    axis.boxplot([values for _, values in of.groups], widths=0.62, whis=(5, 95), showfliers=False, patch_artist=True,
                 boxprops={"facecolor": PALE, "linewidth": 0.7}, whiskerprops={"linewidth": 0.8},
                 capprops={"linewidth": 0.8}, medianprops={"color": DARK, "linewidth": 1.6})  # fmt: skip
    axis.set_xticks(range(1, len(of.groups) + 1), [figures.shorten(name, 6) for name, _ in of.groups])
    axis.axhline(of.chance, color=VERMILION, linestyle="--", linewidth=1.1)
    axis.set(xlabel=of.group, ylim=of.limits, ylabel=of.label)
    axis.tick_params(axis="x", length=0)


def _medians(axis: Any, of: Spread) -> None:
    """A histogram of the medians of the groups."""
    middles = [float(np.median(values)) for _, values in of.groups]
    axis.hist(middles, bins=np.linspace(*of.limits, BINS + 1).tolist(), color=BLUE, edgecolor="white", linewidth=0.5)
    axis.axvline(float(np.median(middles)), color=DARK, linewidth=1.8, clip_on=False)
    axis.axvline(of.chance, color=VERMILION, linestyle="--", linewidth=1.1)
    axis.set(xlim=of.limits, xlabel=f"median {of.label} in a {of.group}", ylabel=f"{of.group}s")
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
