# SPDX-License-Identifier: Apache-2.0
"""The section on controls: would the score be there without what it is credited to?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.report.blocks import ROW, WIDE, Block, Cell, Column, Figure, Heading, Section, Table, Terms, Text
from gazeray.report.results import HEADLINE, Results
from gazeray.report.words import interval, number
from gazeray.studies.emotion import figures
from gazeray.studies.emotion.sections import bounds
from gazeray.studies.emotion.views import asked, chance_of, label_of
from gazeray.studies.emotion.words import METRICS, branch_name, heading, hold_out

KNOCKED, PERMUTED = "without_", "permuted_"

QUESTIONS = {
    "shift": (
        "window moved",
        "Does the window reach into something else, such as the rating scale or the picture before? Then the score "
        "rises as the window moves there.",
    ),
    "cut": (
        "end cut off",
        "Is it the end of the window that tells, when the answer may be under way already? Then the score falls "
        "without it.",
    ),
    "shuffled": (
        "labels shuffled within participants",
        "Does the way of fitting and testing give labels away? Then a model of shuffled labels scores, too. It must "
        "not.",
    ),
    "swapped": (
        "signals of somebody else, who saw the same picture",
        "Do the signals tell of this person’s own response, or of the picture alone? If of the picture, those of "
        "somebody else who saw it will do as well.",
    ),
}
"""What is done in each control and what it asks, by how its key begins."""


def section(results: Results, views: Sequence[Results]) -> Section | None:
    """The section; None for a run without controls."""
    blocks: list[Block] = []
    for view in views:
        keys = view.of_kind("control")
        if keys:
            blocks += [*([Heading(heading(view))] if len(views) > 1 else []), _table(view, keys)]
    of = asked(results)
    if blocks:
        words = (
            f"Asked of the model of {branch_name(of)}, in the same folds: fitted and tested on altered data, but for "
            "swapped signals, which the model meets in the test alone. Change: the control minus that model. An "
            "outcome is a reading of intervals, no proof: what passes in a small study may fail in a large one."
        )
        kinds = dict.fromkeys(kind(key) for view in views for key in view.of_kind("control"))
        blocks = [Text(words, small=True), Terms([QUESTIONS[one] for one in kinds if one in QUESTIONS]), *blocks]
    blocks += _importance(results, views)
    return Section("controls", "Controls", "Controls", blocks) if blocks else None


def _table(view: Results, keys: Sequence[str]) -> Table:
    of = asked(view)
    rows = []
    for key in keys:
        entry, change = view.entry(key, HEADLINE), paired(view, key, of)
        rows.append([
            view.label(key),
            Cell(number(entry.get("value")), interval(entry.get("ci95"))),
            Cell(number(change.get("value"), 3, True), interval(change.get("ci95"), 3, True)),
            outcome(view, key),
        ])  # fmt: skip
    own = view.entry(of, HEADLINE)
    rows.insert(0, [f"{view.label(of)}, as it is", Cell(number(own.get("value")), interval(own.get("ci95"))), "", ""])
    columns = [Column("control", ROW), Column(METRICS[HEADLINE].name), Column("change")]
    return Table(f"Controls of {label_of(view)}", [*columns, Column("outcome", WIDE)], rows, shaded=[0])


def kind(key: str) -> str:
    """How the key of a control begins: shift, cut, shuffled, swapped."""
    return re.split(r"[_+-]", key, maxsplit=1)[0]


def paired(view: Results, control: str, of: str) -> dict[str, Any]:
    """A control minus the model that it is of: value, and ci95 where the run paired the two; empty where undefined."""
    gain = view.gain(control, HEADLINE, of)
    if gain.get("value") is not None:
        return gain
    reverse = view.gain(of, HEADLINE, control)
    if reverse.get("value") is not None:
        turned = reverse.get("ci95")
        return {"value": -reverse["value"], "ci95": None if turned is None else [-bound for bound in turned[::-1]]}
    mine, theirs = (view.entry(key, HEADLINE).get("value") for key in (control, of))
    return {} if mine is None or theirs is None else {"value": mine - theirs}


def moved(view: Results, control: str, of: str) -> int | None:
    """Is a control clearly better (1) or worse (-1) than its model, or neither (0)? None: nobody can tell.

    By the paired interval; where there is none, by whether the intervals of the two lie apart.
    """
    ci95 = paired(view, control, of).get("ci95")
    if ci95 is None:
        mine, theirs = (view.entry(key, HEADLINE).get("ci95") for key in (control, of))
        if mine is None or theirs is None:
            return None
        ci95 = [mine[0] - theirs[1], mine[1] - theirs[0]]
    return int(ci95[0] > 0) - int(ci95[1] < 0)


def outcome(view: Results, key: str) -> str:
    """Does the model pass a control, in words."""
    of, chance = asked(view), chance_of(view)
    entry, plain = view.entry(key, HEADLINE), view.entry(of, HEADLINE)
    if entry.get("ci95") is None or plain.get("ci95") is None:
        return "cannot be told: there is no interval"
    side, name = moved(view, key, of), kind(key)
    if name == "shuffled":
        if entry["ci95"][0] <= chance:
            return "passes: at chance"
        known = {"stimuli": "the person", "neither": "person and picture"}.get(hold_out(view))
        return f"above chance: what knowing {known} gives" if known else "fails: above chance without any link"
    if plain["ci95"][0] <= chance:
        return "nothing to ask: unaltered, the model is not above chance"
    if name == "shift":
        return "fails: the score rises, look at what is there" if side == 1 else "passes: the score does not rise"
    if name == "cut":
        told = "fails: part of the score is in what was cut off" if side == -1 else "passes: the score does not fall"
        return told
    if name == "swapped":
        return (
            "passes: signals of others do worse" if side == -1
            else "does not pass: signals of somebody else do as well, so far as can be told"
        )  # fmt: skip
    return ""


# -- importance


def channels(results: Results, found: dict[str, Any]) -> list[str]:
    """The channels that were knocked out or permuted, in the order of the run, then by name."""
    order = [str(one["name"]) for one in results.manifest.get("channels") or []]
    names = {key.removeprefix(start) for key in found for start in (KNOCKED, PERMUTED) if key.startswith(start)}
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _drop(values: NDArray[np.float64]) -> Cell:
    """A fall, (3,) of value, low and high of its interval, as a cell."""
    value, *ends = values
    return Cell(number(value, 3, True), interval(ends, 3, True)) if np.isfinite(value) else Cell("–")


def _importance(results: Results, views: Sequence[Results]) -> list[Block]:
    """What the score falls by without each channel: a figure for all labels, and a table."""
    told = results.metrics.get("importance") or {}
    asked_of = [view for view in views if told.get(label_of(view))]
    if not asked_of:
        return []
    names = channels(results, {key: None for view in asked_of for key in told[label_of(view)]})
    kinds = {"not seen in the test": KNOCKED, "exchanged among the test trials": PERMUTED}
    panels = []
    for view in asked_of:
        own = told[label_of(view)]
        values = {
            words: np.array([bounds((own.get(f"{start}{name}") or {}).get(HEADLINE) or {}) for name in names])
            for words, start in kinds.items()
            if any(key.startswith(start) for key in own)
        }
        panels.append(figures.Drops(label_of(view), values))
    png = figures.importance(names, panels, f"fall in {METRICS[HEADLINE].name}")
    heads = [Column(f"{panel.title}: {words}") for panel in panels for words in panel.values]
    rows: list[list[object]] = []
    for place, name in enumerate(names):
        cells = [values[place] for panel in panels for values in panel.values.values()]
        rows.append([name, *map(_drop, cells)])
    said = "; ".join(f"{row[0]} {row[1].words}" for row in rows if isinstance(row[1], Cell))
    words = (
        f"What the fitted model of {branch_name(asked(results))} relies on: by how much macro recall falls where a "
        "channel is masked in the test as if it had been lost, and where it (or a whole branch) is exchanged among the "
        "test trials; 95 % intervals. Channels that tell the same stand in for each other: that none matters alone "
        "does not mean that none matters. Where the score is at chance there is nothing to fall."
    )
    alt = f"Fall of macro recall by channel, {panels[0].title}: {said}."
    caption = (
        "Fall of macro recall without each channel, with 95 % intervals: to the right of 0 the model does worse "
        "without it, to the left better."
    )
    figure = Figure("importance", png, alt, caption)
    table = Table("Importance of channels", [Column("channel", ROW), *heads], rows)
    return [Heading("Which channels the model relies on"), Text(words, small=True), figure, table]
