# SPDX-License-Identifier: Apache-2.0
"""The section on participants: a bar for each; of many, how their scores are spread, and the extremes by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gazeray.metrics.shares import mean_recall, mean_recall_intervals
from gazeray.report import figures, many
from gazeray.report.blocks import NAME, Block, Cell, Column, Figure, Heading, Section, Table, Text, more
from gazeray.report.figures import BLUE, DARK, PAGE_IN, PALE, VERMILION, drawing, shorten
from gazeray.report.results import Results
from gazeray.report.words import counted, interval, number, plural

BARS_PER_ROW = 35

INTERVALS = (
    "Intervals: 95 %, over the trials of the participant (Wilson intervals of the recalls, combined as by Newcombe, "
    "1998): wide where trials are few, and where they overlap the order of people says little."
)


class People(NamedTuple):
    """Who was tested, by name: confusions (P, K, K), rows true and columns predicted."""

    names: list[str]
    confusions: NDArray[np.int64]

    @property
    def trials(self) -> NDArray[np.int64]:
        """Test trials (P,)."""
        return np.asarray(self.confusions.sum(axis=(1, 2)))

    @property
    def one_class(self) -> NDArray[np.bool_]:
        """Whether the trials of a participant are of one class only, (P,)."""
        return np.asarray((self.confusions.sum(axis=2) > 0).sum(axis=1) == 1)

    @property
    def balanced(self) -> NDArray[np.float64]:
        """Mean recall of the classes that a participant has trials of, (P,)."""
        return mean_recall(self.confusions)

    @property
    def intervals(self) -> NDArray[np.float64]:
        """95 % intervals of `balanced` over the trials of each participant, (P, 2)."""
        return mean_recall_intervals(self.confusions)

    @property
    def order(self) -> list[int]:
        """Rows, best first, equal ones by name."""
        return by_score(self.names, self.balanced)


def by_score(names: Sequence[str], values: NDArray[np.float64]) -> list[int]:
    """Indices, the highest value first, equal ones by name."""
    return sorted(range(len(names)), key=lambda index: (-values[index], names[index]))


def tested(results: Results) -> People | None:
    """Who was tested; None when that is nobody."""
    people = results.metrics.get("participants") or {}
    names = sorted(people)
    matrices = np.array([people[name]["confusion"] for name in names], dtype=np.int64)
    tested = [row for row, matrix in enumerate(matrices) if matrix.any()]
    return People([names[row] for row in tested], matrices[tested]) if tested else None


def section(results: Results) -> Section:
    """The section with the balanced accuracy of every participant; of many, how it is spread and the extremes."""
    people, classes = tested(results), results.classes
    if people is None:
        return Section("participants", "Participants", "Participants", [Text("Nobody was tested.")])
    values, chance = people.balanced, 1 / len(classes)
    alt = (
        f"Balanced accuracy of {counted(len(values), 'participant')}: lowest {values.min():.2f}, median "
        f"{np.median(values):.2f}, highest {values.max():.2f}, chance {chance:.2f}."
    )
    if len(values) > many.MANY:
        return Section("participants", "Participants", "Participants", _spread(results, people, chance, alt))
    png = bars(people.names, values, people.intervals, people.trials, people.one_class, chance)
    caption = (
        "Balanced accuracy (0 to 1) of each participant, best first; number of test trials in brackets. " + INTERVALS
    )
    if people.one_class.any():
        caption += (
            f" Pale: {people.one_class.sum()} with trials of one class only, where it is the recall of that class."
        )
    return Section("participants", "Participants", "Participants", [Figure("participants", png, alt, caption)])


def _spread(results: Results, people: People, chance: float, alt: str) -> list[Block]:
    """The distribution over many participants and within each fold, and the best and the worst of them."""
    fold_of = _fold_of(results, people.names)
    groups = []
    if fold_of:
        mine = np.array([fold_of[name] for name in people.names])
        groups = [(str(fold), people.balanced[mine == fold]) for fold in np.unique(mine)]
    low, middle, high = many.quartiles(people.balanced)
    caption = (
        f"Balanced accuracy (0 to 1) of {len(people.names)} participants: median {middle:.2f}, quartiles {low:.2f} and "
        f"{high:.2f}. {int((people.balanced <= chance).sum())} of them are at chance or below."
    )
    if groups:
        what = "those tested in each fold; box: quartiles and median, whiskers: 5th and 95th percentile"
        if len(groups) > many.BOXES:
            what = "the medians of those tested in each fold, and the median of these"
        caption += f" Right: {what}."
    if one := int(people.one_class.sum()):
        caption += (
            f" {one} {plural(one, 'has', 'have')} trials of one class only: the score is the recall of that class."
        )
    png = many.spread(many.Spread(people.balanced, "balanced accuracy", "participant", (0, 1), chance, groups))
    shown, bounds = many.ends(people.order), people.intervals
    rows = [
        [place, people.names[row], *([fold_of[people.names[row]]] if fold_of else []), people.trials[row],
         Cell(number(people.balanced[row]), interval(bounds[row]) + ", one class only" * bool(people.one_class[row]))]
        for place, row in shown
    ]  # fmt: skip
    heads = [*([Column("fold")] if fold_of else []), Column("test trials"), Column("balanced accuracy")]
    table = Table("Best and worst participants", [Column("place"), Column("participant", NAME), *heads], rows)
    ties = [int((people.balanced == end).sum()) for end in (people.balanced.max(), people.balanced.min())]
    words = (
        f"Places are by balanced accuracy, equal ones by name. {ties[0]} {plural(ties[0], 'has', 'have')} the "
        f"highest score, {ties[1]} {plural(ties[1], 'has', 'have')} the lowest: with few trials each, the ends tell "
        f"more of chance than of people. {INTERVALS}"
    )
    return [
        Figure("participants", png, alt, caption),
        Heading(f"The {many.EXTREMES} best and the {many.EXTREMES} worst"),
        Text(words, small=True),
        table,
        *more(len(people.names) - len(shown), "participants", "metrics.json in the run folder, under participants"),
    ]


def _fold_of(results: Results, names: Sequence[str]) -> dict[str, int]:
    """Participant -> the one fold that tested it; empty where that is not so for everybody."""
    pairs = [(name, fold["fold"]) for fold in results.metrics.get("folds") or [] for name in fold.get("test") or []]
    found = dict(pairs)
    return found if len(found) == len(pairs) and all(name in found for name in names) else {}


@drawing()
def bars(
    names: Sequence[str],
    values: NDArray[np.float64],
    intervals: NDArray[np.float64],
    trials: NDArray[np.int64],
    one_class: NDArray[np.bool_],
    chance: float,
) -> Any:
    """One bar per participant, best first, in rows of at most 35, the number of trials in brackets.

    values: (P,) scores in 0..1. intervals: (P, 2) of them. one_class: (P,) True draws the bar pale: the participant has
    trials of one class only.
    """
    order = by_score(names, values)
    rows = math.ceil(len(order) / BARS_PER_ROW)
    per_row = math.ceil(len(order) / rows)
    labels = [f"{shorten(name, 14)} ({count})" for name, count in zip(names, trials, strict=True)]
    figure, axes = figures.panels(rows, 1, PAGE_IN, 0.45 + rows * (1.6 + 0.065 * max(map(len, labels))))
    for row, axis in enumerate(axes):
        part = order[row * per_row : (row + 1) * per_row]
        axis.bar(range(len(part)), values[part], width=0.72, color=[PALE if one_class[i] else BLUE for i in part])
        for colour, width in (("white", 2.4), (DARK, 1.2)):  # a light edge, so that the line is seen on the bar
            axis.vlines(range(len(part)), *intervals[part].T, color=colour, linewidth=width, clip_on=False, zorder=3)
        axis.plot(range(len(part)), values[part], "o", color=DARK, markersize=2.5, clip_on=False, zorder=3)
        axis.axhline(chance, color=VERMILION, linestyle="--", linewidth=1)
        axis.set_xticks(range(len(part)), [labels[index] for index in part], rotation=90)
        axis.set(xlim=(-0.7, per_row - 0.3), ylim=(0, 1), ylabel="balanced accuracy")
        axis.tick_params(axis="x", length=0)
    keys: list[Any] = [Patch(color=BLUE, label="participant (trials)")]
    if one_class.any():
        keys.append(Patch(color=PALE, label="trials of one class only"))
    keys.append(Line2D([], [], color=VERMILION, linestyle="--", linewidth=1, label=f"chance {chance:.2f}"))
    keys.append(Line2D([], [], color=DARK, marker="o", markersize=2.5, linewidth=1.1, label="score, 95 % interval"))
    figure.legend(handles=keys, loc="outside upper left", ncols=len(keys))
    return figure
