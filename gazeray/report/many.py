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

MANY = 60
"""Up to so many things are shown one by one."""

EXTREMES = 10
"""How many of each end of an order are named, where there are many."""

BOXES = 20
"""Groups that have a box each, at most; more are a band over the groups sorted by their medians."""

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

    Boxes: quartiles and median, whiskers: 5th and 95th percentile. Of more than `BOXES` groups the same as bands over
    the groups, from the lowest to the highest median.
    """
    figure = figures.new_figure(figures.PAGE_IN, 3.3)
    left, *right = figure.subplots(1, 2 if of.groups else 1, width_ratios=(3, 2) if of.groups else (1,), squeeze=False)[
        0
    ]
    low, middle, high = quartiles(of.values)
    left.axvspan(low, high, color=PALE, alpha=0.55, linewidth=0)
    left.hist(of.values, bins=np.linspace(*of.limits, BINS + 1).tolist(), color=BLUE, edgecolor="white", linewidth=0.5)
    left.axvline(middle, color=DARK, linewidth=1.6)
    left.axvline(of.chance, color=VERMILION, linestyle="--", linewidth=1.1)
    left.set(xlim=of.limits, xlabel=of.label, ylabel=f"{of.noun}s")
    left.set_title(f"{len(of.values)} {of.noun}s", loc="left")
    left.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for axis in right:
        (_boxes if len(of.groups) <= BOXES else _bands)(axis, of)
        axis.axhline(of.chance, color=VERMILION, linestyle="--", linewidth=1.1)
        axis.set(ylim=of.limits, ylabel=of.label)
        axis.set_title(f"{len(of.groups)} {of.group}s", loc="left")
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
    axis.set_xlabel(of.group)
    axis.tick_params(axis="x", length=0)


def _bands(axis: Any, of: Spread) -> None:
    """Percentiles over the groups, sorted by their medians."""
    shares = np.array([np.percentile(values, [5, 25, 50, 75, 95]) for _, values in of.groups])
    band(axis, np.arange(1, len(shares) + 1), shares[np.argsort(shares[:, 2], kind="stable")], BLUE)
    axis.set(xlim=(1, len(shares)), xlabel=f"{of.group}s, from the lowest median to the highest")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def band(axis: Any, places: NDArray[Any], shares: NDArray[np.float64], colour: str, line: Any = "-") -> None:
    """Percentiles over places (N,): shares (N, 5) are the 5th, 25th, 50th, 75th and 95th; the middle one is a line."""
    for low, high, alpha in ((0, 4, 0.15), (1, 3, 0.3)):
        axis.fill_between(places, shares[:, low], shares[:, high], color=colour, alpha=alpha, linewidth=0)
    axis.plot(places, shares[:, 2], color=colour, linestyle=line, linewidth=1.5)
