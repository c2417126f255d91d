# SPDX-License-Identifier: Apache-2.0
"""Parallel coordinates of a search: a line for each setting that was tried, from value to value, to its score."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.blocks import Figure
from gazeray.report.figures import DARK, GREY, PAGE_IN, drawing, shorten
from gazeray.report.words import counted, number

COLOURS = "viridis"

WIDE = 30.0
"""Numbers above 0 whose largest is so many times the smallest are drawn on a logarithmic axis."""


class Axis(NamedTuple):
    """One axis: its name, where each of the N lines crosses it, 0 to 1 from below (N,), and ticks, place -> words."""

    name: str
    places: NDArray[np.float64]
    ticks: Mapping[float, str]


def figure(
    trials: Sequence[Mapping[str, Any]],
    logarithmic: Callable[[str], bool],
    key: str,
    name: str,
    words: Callable[[Any], str],
) -> Figure | None:
    """The figure; None where fewer than two trials were scored, or nothing varies among all.

    trials: each with setting (dotted key -> value), and `key`, its score or loss, None where it failed. logarithmic:
    does the search space say so of a key? name: of the score in words. words: of a value.
    """
    known = sorted({name for trial in trials for name in trial["setting"]})
    values = {name: [trial["setting"].get(name) for trial in trials] for name in known}
    varied = {name: of for name, of in values.items() if len({words(one) for one in of}) > 1}
    scores = np.array([math.nan if trial[key] is None else trial[key] for trial in trials], dtype=np.float64)
    scored = np.isfinite(scores)
    if scored.sum() < 2 or not varied:
        return None
    axes = [axis_of(name, of, logarithmic(name), words) for name, of in varied.items()]
    rises = key != "loss"
    best = int(np.nanargmax(scores if rises else -scores))
    chosen = ", ".join(f"{axis.name} {words(varied[axis.name][best])}" for axis in axes)
    failed = int(np.sum(~scored))
    caption = (
        f"Each line is a setting that was tried in a fold ({counted(len(trials), 'trial')}); its colour and where it "
        f"ends on the right: {name}, {'higher' if rises else 'lower'} is better. "
        + (f"Grey, dashed: {failed} without a score. " if failed else "")
        + "Where lines of one colour cross an axis close together, its value matters; where they are spread, it hardly "
        "does. Scores are of inner folds, and noisy."
    )
    alt = (
        f"Settings tried, {', '.join(axis.name for axis in axes)}. Best inner {name} {number(scores[best])}: {chosen}."
    )
    return Figure("parallel", coordinates([*axes, axis_of(name, scores.tolist(), False, words)], scores, rises), alt,
                  caption)  # fmt: skip


def axis_of(name: str, values: Sequence[Any], logarithmic: bool, words: Callable[[Any], str]) -> Axis:
    """The axis of values (N,): numbers where all are, else categories in their order; None is left out (NaN)."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        found = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        return _numbers(name, found, logarithmic)
    names = sorted({words(value) for value in there})
    places = {one: _even(place, len(names)) for place, one in enumerate(names)}
    lines = np.array([math.nan if value is None else places[words(value)] for value in values])
    return Axis(name, lines, {place: one for one, place in places.items()})


def _even(place: int, count: int) -> float:
    """Categories lie away from the ends, evenly."""
    return (place + 0.5) / count


def _numbers(name: str, values: NDArray[np.float64], logarithmic: bool) -> Axis:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    distinct = np.unique(values[np.isfinite(values)])
    logarithmic = low > 0 and (logarithmic or high > WIDE * low)
    scale: Callable[[Any], Any] = np.log10 if logarithmic else np.asarray
    start, end = float(scale(low)), float(scale(high))
    span = end - start or 1.0
    if len(distinct) <= 5:
        ticks = distinct.tolist()
    elif logarithmic:
        powers = [10.0**power for power in range(math.ceil(start), math.floor(end) + 1)]
        ticks = sorted({low, high, *(power for power in powers if _apart(power, (low, high), span))})
    else:
        ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    told = {(float(scale(tick)) - start) / span: f"{tick:.3g}".replace("-", "\N{MINUS SIGN}") for tick in ticks}
    return Axis(name, (scale(values) - start) / span, told)


def _apart(value: float, others: Sequence[float], span: float) -> bool:
    """Does a tick on a logarithmic axis leave room for the others'?"""
    return all(abs(math.log10(value / other)) > 0.12 * span for other in others)


def _two_lines(name: str, width: int) -> str:
    """A name on two lines of so many letters at most; of a dotted key that is too long the last part."""
    lines = textwrap.wrap(name if len(name) <= width else name.rpartition(".")[2], width)
    return "\n".join([*lines[:1], *([shorten(" ".join(lines[1:]), width)] if lines[1:] else [])])


@drawing()
def coordinates(axes: Sequence[Axis], scores: NDArray[np.float64], rises: bool) -> Any:
    """Axes side by side, the last one the score; lines (N,) coloured by scores (N,), the best drawn last and thickest.

    Lines without a score are grey and end before the last axis.
    """
    drawn = figures.new_figure(PAGE_IN, 3.3)
    axis = drawn.subplots()
    norm, colours = Normalize(float(np.nanmin(scores)), float(np.nanmax(scores))), matplotlib.colormaps[COLOURS]
    order = np.argsort(scores if rises else -scores, kind="stable")  # NaN last
    finite = [int(place) for place in order if np.isfinite(scores[place])]
    across = np.arange(len(axes))
    places = np.stack([one.places for one in axes], axis=1)
    for place in [int(place) for place in order if not np.isfinite(scores[place])]:
        axis.plot(across, places[place], color=GREY, linestyle="--", linewidth=0.8, alpha=0.7)
    for place in finite:
        wide = 2.6 if place == finite[-1] else 1.2
        axis.plot(across, places[place], color=colours(norm(scores[place])), linewidth=wide, alpha=0.85)
    for at, one in enumerate(axes):
        axis.axvline(at, color=DARK, linewidth=0.8)
        for tick, words in one.ticks.items():
            axis.plot([at - 0.015, at], [tick, tick], color=DARK, linewidth=0.8)
            label = axis.annotate(shorten(words, 18), (at, tick), (-5, 0), textcoords="offset points", ha="right",
                                  va="center", fontsize=7)  # fmt: skip
            label.set_bbox({"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6})
    axis.set_xticks(across, [_two_lines(one.name, max(9, int(100 / len(axes)))) for one in axes])
    axis.set(xlim=(-0.35, len(axes) - 0.9), ylim=(-0.05, 1.05), yticks=[])
    axis.spines[:].set_visible(False)
    axis.tick_params(axis="x", length=0)
    bar = drawn.colorbar(ScalarMappable(norm, COLOURS), ax=axis, pad=0.01, fraction=0.03)
    bar.outline.set_linewidth(0.5)
    return drawn
