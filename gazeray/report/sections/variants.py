# SPDX-License-Identifier: Apache-2.0
"""The section on variants: does the finding hang on one seed, one detector, one gate? The specification curve.

After Simonsohn, Simmons and Nelson (2020): all settings in the order of their score, and below which setting has which
value. Nothing is left out: what has no score stands at the end, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from gazeray.report import figures
from gazeray.report.blocks import ROW, TEXT, WIDE, Block, Cell, Column, Figure, Heading, Listing, Section, Table, Text
from gazeray.report.figures import BLUE, DARK, GREY, PAGE_IN, VERMILION, drawing, shorten
from gazeray.report.results import Results
from gazeray.report.words import counted, interval, metric_name, number, p_alone

SEED = "run.seed"

ROWS_EACH = 12
"""Values of one setting that have a row of the matrix each, at most; of more, a row stands for several."""

REFERENCE = (
    "Simonsohn, U., Simmons, J. P., and Nelson, L. D. (2020). Specification curve analysis. Nature Human Behaviour 4, "
    "1208–1214. doi:10.1038/s41562-020-0912-z."
)


@dataclass(frozen=True)
class Curve:
    """The settings as they are drawn: P points, those with a score first, from the lowest to the highest.

    values, gains: (P, 3) of value, low and high, NaN where there is none. above, holds: (P,) may it be claimed? own:
    place of the config's own setting. keys: what varies. shown: key -> its values in order, and (P,) which of them.
    """

    points: Sequence[Mapping[str, Any]]
    values: np.ndarray
    gains: np.ndarray
    above: np.ndarray
    holds: np.ndarray
    own: int
    shown: Mapping[str, tuple[Sequence[str], np.ndarray]]
    chance: float | None
    metric: str
    beside: str

    @property
    def is_gain(self) -> bool:
        """Is the score a gain itself, as information gain is?"""
        there = np.isfinite(self.gains[:, 0])
        return bool(there.any()) and np.array_equal(self.gains[there], self.values[there])


def section(results: Results) -> Section | None:
    """The section of metrics.json `variants`; None where none were asked for."""
    found = results.metrics.get("variants") or {}
    if not found:
        return None
    drawn = curve(results)
    blocks: list[Block] = [Text(sentence, lead=lead) for lead, sentence in _said(found, drawn)]
    if found["scored"]:
        blocks.append(_figure(found, drawn))
    blocks += [Heading("All settings"), _table(results, drawn), *_left_out(results, drawn), Listing([REFERENCE], False)]
    return Section("variants", "Other settings, other seeds", "Variants", blocks)


# -- words


def _said(found: Mapping[str, Any], drawn: Curve) -> Iterator[tuple[str, str]]:
    """(first words in bold, sentence): whether the gain holds first."""
    holds, above, seeds = found["gain_holds"], found["above_chance"], found["seeds"]
    gain = f"gain over {drawn.beside}"
    spread = f" It runs from {_range(found['gain_range'], signed=True)}." if found["gain_range"] else ""
    everywhere = holds["of"] == found["count"]
    of = (
        counted(holds["of"], "setting")
        if everywhere
        else f"the {holds['of']} that have one, of {found['count']} settings"
    )
    if not holds["of"]:
        yield f"No setting has a {gain}.", ""
    elif holds["n"] < holds["of"]:
        yield f"The {gain} holds in {holds['n'] or 'none'} of {of}.", spread.strip()
    elif everywhere:
        yield f"The {gain} holds in all {of}.", spread.strip()
    else:
        yield f"The {gain} holds in all of {of}.", spread.strip()
    said = f"The analysis was done in {counted(found['count'], 'setting')}, all of which are shown"
    if found["range"]:
        said += f": {drawn.metric} runs from {_range(found['range'])}"
    if above["of"]:
        said += f", and is above chance in {above['n']} of {above['of']}"
    gone = found["count"] - found["scored"]
    said += f". {counted(gone, 'setting')} {'has' if gone == 1 else 'have'} no score, see the table." if gone else "."
    yield "", said
    if found["no_effect"]:
        yield (
            f"{' and '.join(found['no_effect'])} changed no number.",
            (
                "Settings that differ in nothing else give the same to the last digit: what they vary does not reach "
                f"this score, and the curve is the longer for it. Different among the {found['scored']} points: "
                f"{found['distinct']}."
            ),
        )
    if seeds["n"] > 1:
        yield (
            "",
            (
                f"With {seeds['n']} seeds the config’s own setting scores {number(seeds['mean'])} on average, standard "
                f"deviation {number(seeds['sd'])}, from {_range(seeds['range'])}. A seed deals the folds, draws the "
                "first weights and orders the examples: the intervals of a single run do not cover that."
            ),
        )


def _range(bounds: Sequence[float], signed: bool = False) -> str:
    return " to ".join(number(bound, 3, signed) for bound in bounds)


# -- the curve


def curve(results: Results) -> Curve:
    """The points in the order in which they are drawn."""
    found = results.metrics["variants"]
    points = sorted(found["settings"], key=lambda one: (one.get("value") is None, one.get("value") or 0.0))
    keys = list(dict.fromkeys(key for point in points for key in sorted(point["setting"])))
    keys.sort(key=lambda key: (key == SEED, key))
    shown = {}
    for key in keys:
        own = _own(results.config, key)
        theirs = [point["setting"].get(key, own) for point in points]
        order = sorted({exact_words(value): value for value in theirs}.items(), key=lambda item: _rank(item[1]))
        words = [word for word, _ in order]
        shown[key] = words, np.array([words.index(exact_words(value)) for value in theirs])
    chance = next((point["chance"] for point in points if point.get("chance") is not None), None)
    metric = next((point["metric"] for point in points if "metric" in point), "")
    return Curve(
        points,
        np.array([_bounds(point) for point in points]),
        np.array([_bounds(point.get("gain") or {}) for point in points]),
        np.array([point.get("against_chance") == "above" for point in points]),
        np.array([(point.get("gain") or {}).get("side") == "above" for point in points]),
        next(place for place, point in enumerate(points) if not point["setting"]),
        shown,
        chance,
        metric_name(metric).replace("_", " "),
        next((point["gain_over"] for point in points if "gain_over" in point), "what is had without gaze"),
    )


def _own(config: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key of a config."""
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


def exact_words(value: Any) -> str:
    """A value as a config has it: values that differ have other words."""
    if isinstance(value, list | tuple):
        return ", ".join(map(exact_words, value)) or "[]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {exact_words(one)}" for key, one in value.items()) + "}"
    if isinstance(value, float):
        short = f"{value:.4g}"
        return short if float(short) == value else repr(value)
    return str(value)


def _rank(value: Any) -> tuple[int, float, str]:
    """Sorts numbers by size, then words."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if plain else (1, 0.0, exact_words(value))


def _bounds(entry: Mapping[str, Any]) -> tuple[float, float, float]:
    value = entry.get("value")
    if value is None:
        return np.nan, np.nan, np.nan
    low, high = entry.get("ci95") or (value, value)
    return value, low, high


def _figure(found: Mapping[str, Any], drawn: Curve) -> Figure:
    """The curve with its words."""
    chance = "" if drawn.chance is None else f", dashed: chance ({number(drawn.chance, 2)})"
    chance = f", dashed: {drawn.beside}" if drawn.is_gain else chance
    held = f"a gain over {drawn.beside} that holds"
    panels = held if drawn.chance is None else f"above chance (upper panel), {held} (middle panel)"
    gone = " Crosses: no score." if found["scored"] < found["count"] else ""
    caption = (
        f"Specification curve: every column is a setting, in the order of {drawn.metric}. Bars: 95 % intervals{chance}"
        f". Blue: {panels}; grey: it cannot be claimed. Squares: the values of each "
        f"setting. Orange: the config’s own setting.{gone}"
    )
    holds = found["gain_holds"]
    alt = (
        f"Specification curve of {counted(found['count'], 'setting')}: {drawn.metric} from {_range(found['range'])}; "
        f"the gain holds in {holds['n']} of {holds['of']}."
    )
    return Figure("variants", specification_curve(drawn), alt, caption)


@drawing()
def specification_curve(drawn: Curve) -> Any:
    """Scores, gains, and the matrix of settings, all with the same columns."""
    rows = sum(min(len(words), ROWS_EACH) for words, _ in drawn.shown.values())
    gained = bool(np.isfinite(drawn.gains[:, 0]).any()) and not drawn.is_gain
    heights = [1.9, *([1.5] if gained else []), max(0.35, 0.165 * rows + 0.1 * len(drawn.shown))]
    figure = figures.new_figure(PAGE_IN, sum(heights) + 0.35)
    axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    claimed = drawn.holds if drawn.chance is None else drawn.above
    _bars(axes[0], drawn, drawn.values, claimed, 0.0 if drawn.is_gain else drawn.chance, drawn.metric)
    if gained:
        _bars(axes[1], drawn, drawn.gains, drawn.holds, 0.0, "gain over\n" + _folded(drawn.beside))
    _matrix(axes[-1], drawn)
    axes[-1].set(xlim=(-0.8, len(drawn.points) - 0.2))
    axes[-1].set_xlabel(f"{len(drawn.points)} settings, by {drawn.metric}")
    return figure


def _folded(words: str) -> str:
    """A few words on two lines."""
    parts = words.split(" ")
    return words if len(parts) < 4 else " ".join(parts[: len(parts) // 2]) + "\n" + " ".join(parts[len(parts) // 2 :])


def _bars(axis: Any, drawn: Curve, bounds: np.ndarray, claimed: np.ndarray, line: float | None, label: str) -> None:
    """Dots with intervals, (P, 3), blue where something may be claimed."""
    count = len(drawn.points)
    dot = float(np.clip(160 / count, 1.6, 5.0))
    _band(axis, drawn)
    if line is not None:
        axis.axhline(line, color=DARK, linestyle="--", linewidth=0.8)
    for where, colour in ((~claimed, GREY), (claimed, BLUE)):
        there = np.flatnonzero(where & np.isfinite(bounds[:, 0]))
        axis.vlines(
            there, bounds[there, 1], bounds[there, 2], color=colour, linewidth=float(np.clip(dot / 3, 0.5, 1.4))
        )
        axis.plot(there, bounds[there, 0], "o", color=colour, markersize=dot)
    axis.plot([drawn.own], [bounds[drawn.own, 0]], "o", color=VERMILION, markersize=max(dot, 3.5), zorder=4)
    gone = int(np.isnan(drawn.values[:, 0]).sum())
    if gone:
        words = "no score" if gone / count > 0.07 else ""
        axis.axvspan(count - gone - 0.5, count - 0.5, color=GREY, alpha=0.1, linewidth=0)
        axis.text(count - gone / 2 - 0.5, 0.5, words, transform=axis.get_xaxis_transform(), ha="center", color=GREY)
    axis.set_ylabel(label)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.tick_params(axis="x", length=0, labelbottom=False)
    axis.spines["bottom"].set_visible(False)


def _band(axis: Any, drawn: Curve) -> None:
    """The column of the config's own setting."""
    half = min(0.5, 0.02 * len(drawn.points) + 0.05)
    axis.axvspan(drawn.own - half, drawn.own + half, color=VERMILION, alpha=0.14, linewidth=0)


def _matrix(axis: Any, drawn: Curve) -> None:
    """A row for each value of everything that varies, a square where a setting has it."""
    count = len(drawn.points)
    size = float(np.clip(400 / count, 1.8, 6.0))
    scored = np.isfinite(drawn.values[:, 0])
    _band(axis, drawn)
    place, ticks, labels = 0.0, [], []
    for key, (words, which) in drawn.shown.items():
        groups = np.array_split(np.arange(len(words)), min(len(words), ROWS_EACH))
        row_of = {int(value): row for row, group in enumerate(groups) for value in group}
        rows = np.array([row_of[int(value)] for value in which]) + place
        for row, group in enumerate(groups):
            names = words[group[0]] if len(group) == 1 else f"{words[group[0]]} … {words[group[-1]]}"
            ticks.append(place + row)
            labels.append(f"{key}:  {shorten(names, 20)}" if row == 0 else shorten(names, 20))
            axis.axhline(place + row, color=GREY, alpha=0.25, linewidth=0.4, zorder=0)
        own = np.arange(count) == drawn.own
        for where, mark, colour in (
            (scored & ~own, "s", DARK), (scored & own, "s", VERMILION), (~scored, "x", GREY),
        ):  # fmt: skip
            axis.plot(np.flatnonzero(where), rows[where], mark, color=colour, markersize=size, linestyle="none")
        place += len(groups) + 0.6
    axis.set_yticks(ticks, labels)
    axis.set_ylim(place - 0.6 - 0.4, -0.6)
    axis.tick_params(length=0, labelbottom=False)
    axis.spines[:].set_visible(False)


# -- tables


def _table(results: Results, drawn: Curve) -> Table:
    """Every setting in the order of the curve."""
    heads = [Column("setting", WIDE), Column(_items(results))]
    heads += [Column(drawn.metric), Column("gain"), Column("over", TEXT), Column("p"), Column("gain holds", TEXT)]
    rows = [[_setting(point), *_cells(results, point)] for point in drawn.points]
    columns = [Column(heads[0].head, ROW), *heads[1:]]
    return Table("All settings", columns, rows, shaded=[drawn.own], tall=len(rows) > 15, filterable=len(rows) > 15,
                 style="compact")  # fmt: skip


def _items(results: Results) -> str:
    """What is scored, in the plural."""
    return next((name for name in ("trials", "pictures") if name in results.counts), "items")


def _setting(point: Mapping[str, Any]) -> str:
    """What differs from the config, in words."""
    told = ", ".join(f"{key} = {exact_words(value)}" for key, value in sorted(point["setting"].items()))
    return told or "as in the config"


def _cells(results: Results, point: Mapping[str, Any]) -> list[object]:
    n = point.get("n") or {}
    items = next((n[key] for key in ("trials", "pictures") if key in n), point.get("items"))
    if point.get("value") is None:
        return [items, Cell(f"no score: {point.get('why', '')}", failed=True), "", "", "", ""]
    gain = point.get("gain") or {}
    told: list[object] = [items, Cell(number(point["value"]), interval(point["ci95"]))]
    if gain.get("value") is None:
        return [*told, "undefined", "", "", ""]
    held = {"above": "yes", "below": "no, it is a loss", "too_few": "too few to say"}.get(gain["side"], "no")
    value = Cell(number(gain["value"], signed=True), interval(gain["ci95"], signed=True))
    return [*told, value, results.label(gain["over"]), p_alone(gain.get("p")), held]


def _left_out(results: Results, drawn: Curve) -> list[Block]:
    """Which settings use other trials or pictures than the run itself, by reason; seeds change none."""
    rows: dict[tuple[str, str, str], list[object]] = {}
    for point in drawn.points:
        setting = _setting({"setting": {key: value for key, value in point["setting"].items() if key != SEED}})
        for side, told in (("left_out", "left out"), ("added", "added")):
            for reason, count in (point.get(side) or {}).items():
                rows[setting, side, reason] = [setting, told, count, reason]
    noun = _items(results)
    head = Heading(f"Other {noun} than the run itself")
    if not rows:
        return [Text(f"All settings that were done use the same {noun} as the run itself.")]
    heads = [Column("setting", ROW), Column(noun, TEXT), Column("how many"), Column("reason", WIDE)]
    table = Table(f"{noun.capitalize()} that differ", heads, list(rows.values()), tall=len(rows) > 15, style="compact")
    words = (
        f"Scores of settings that use other {noun} speak of these {noun}. Left out: used by the run itself, and not in "
        "this setting; added: the other way round. All of them are in variants.parquet in the run folder."
    )
    return [head, Text(words, small=True), table]
