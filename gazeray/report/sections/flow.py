# SPDX-License-Identifier: Apache-2.0
"""The section on the flow of people and trials, or of pictures: from what the tables name to what is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gazeray.report import many
from gazeray.report.blocks import ROW, WIDE, Block, Cell, Column, Section, Table, Text
from gazeray.report.results import Results
from gazeray.report.words import counted, number, p_value

CAUSES = 20
"""Causes of rejection that have a row of their own, at most."""

SURE = 0.01
"""Classes that lose unlike shares with a smaller p are warned of."""

UNKNOWN_CLASS = "class not known"


def section(results: Results) -> list[Section]:
    """The section; nothing for a run that did not write down the flow."""
    told = results.manifest.get("flow")
    if told is None:
        return []
    shown = table(told["steps"], results.manifest.get("classes") or [])
    blocks: list[Block] = [*map(Text, unlike(told)), Text(_words(told), small=True), shown]
    return [Section("flow", "From what was recorded to what is used", "Flow", blocks)]


def ends(results: Results) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was declared and what is used, people and trials of each; of runs of before as far as their counts tell."""
    steps, counts = (results.manifest.get("flow") or {}).get("steps"), results.counts
    if steps:
        return steps[0], steps[-1]
    return {"trials": counts["trials"]}, {"trials": counts["examples"], "people": counts["participants"]}


def unlike(told: Mapping[str, Any]) -> list[str]:
    """A warning where the classes lose clearly unlike shares of their trials, and a word where only trials, and not
    participants, say so; nothing where they do not."""
    test = told.get("by_class") or {}
    if test.get("p") is None or min(test["p"], test.get("p_trials", 1.0)) >= SURE:
        return []
    first, last = told["steps"][0]["classes"], told["steps"][-1]["classes"]
    shares = {name: (first[name] - last[name]) / count for name, count in first.items() if count}
    ordered = sorted(shares, key=lambda name: -shares[name])
    lost = "Trials lost: " + ", ".join(
        f"{name} {first[name] - last[name]} of {first[name]} ({_percent(shares[name])})" for name in ordered
    )
    if test["p"] >= SURE:
        return [
            f"{lost}. Whether the loss depends on the label cannot be told: by trials it seems to "
            f"({p_value(test['p_trials'])}), but they are of {counted(test['people'], 'participant')} "
            f"({test['test']}, {p_value(test['p'])})."
        ]
    return [
        f"Warning: the loss depends on the label. {lost}; {test['test']}, {p_value(test['p'])}. What is scored is no "
        "fair sample of what was recorded, and what made trials unusable may itself tell the classes apart."
    ]


def _words(told: Mapping[str, Any]) -> str:
    """What the table means, who lost everything, and which rejects are in none of its rows."""
    noun = "trial" if "trials" in told["steps"][0] else "picture"
    words = f"Each {noun} counts once, under what refused it. Shares are of the first row of the same column."
    gone = told.get("people_lost") or []
    if gone:
        words += f" {counted(len(gone), 'participant')} lost all trials: {many.named(gone)}."
    apart = sum(one["rejects"] for one in told["apart"])
    others = [f"{counted(apart, 'reject')} of files and rows that name no {noun}"] if apart else []
    if told["further"]:
        others.append(f"{counted(told['further'], 'reject')} within {noun}s that are used, or counted here already")
    return words + (f" Not in this table: {' and '.join(others)}." if others else "")


def table(steps: Sequence[Mapping[str, Any]], classes: Sequence[str] = ()) -> Table:
    """A row for what was declared, each cause of rejection, and what is used; of many causes, those of most trials.

    classes: in the order of their columns.
    """
    heads = ["trials", *classes, UNKNOWN_CLASS] if "trials" in steps[0] else ["pictures"]
    counts = [_counts(step, classes) for step in steps]
    if heads[-1] == UNKNOWN_CLASS and not counts[0][-1]:
        heads, counts = heads[:-1], [own[:-1] for own in counts]
    people = [[str(step["people"])] if "people" in step else [] for step in steps]
    refused, whole = range(1, len(steps) - 1), counts[0]
    largest = sorted(sorted(refused, key=lambda place: -counts[place][0])[:CAUSES])
    rows: list[list[object]] = [["declared", "", *people[0], *map(str, whole)]]
    for place in largest:
        step = steps[place]
        rows.append([f"refused: {step['stage']}", step["cause"], *people[place], *_cells(counts[place], whole)])
    others = [counts[place] for place in refused if place not in largest]
    if others:  # the same people may be in several of them
        sums = [sum(column) for column in zip(*others, strict=True)]
        cells = [*([""] if people[0] else []), *_cells(sums, whole)]
        rows.append(["refused: others", counted(len(others), "cause"), *cells])
    rows.append(["used", "", *people[-1], *_cells(counts[-1], whole)])
    heads = [*(["people"] if people[0] else []), *heads]
    columns = [Column("step", ROW), Column("cause", WIDE), *map(Column, heads)]
    return Table("Flow", columns, rows, shaded=(0, len(rows) - 1))


def _counts(step: Mapping[str, Any], classes: Sequence[str]) -> list[int]:
    """What of a step adds up over the steps: trials, those of each class, those of none that is known; or pictures."""
    if "trials" not in step:
        return [step["pictures"]]
    return [step["trials"], *(step["classes"][name] for name in classes), step["class_not_known"]]


def _cells(counts: Sequence[int], whole: Sequence[int]) -> list[Cell]:
    return [Cell(str(count), _part(count, of)) for count, of in zip(counts, whole, strict=True)]


def _part(count: int, whole: int) -> str:
    return f"({_percent(count / whole)})" if 0 < count < whole else ""


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)}\N{NO-BREAK SPACE}%"
