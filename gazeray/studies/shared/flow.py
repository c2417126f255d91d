# SPDX-License-Identifier: Apache-2.0
"""How many people and trials (or pictures) of each class there were, who refused how many of them, and what is left.

The steps add up: what is declared is the sum of what was rejected and what is used. A trial counts once, under what
refused it; rejects of rows and whole files, which refuse no trial by themselves, are counted apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gazeray.report.sections.rejects import reject_kinds
from gazeray.tables import Reject, rejects_table
from gazeray.unit import Json

Key = tuple[str, str]
"""(participant, trial); of a picture ("", its name)."""

STAGES = ("trials", "labels", "read", "gaze", "pictures", "events", "quality", "render", "maps", "folds")
"""What may refuse a trial or a picture, in the order in which they see it."""

LATE = ("maps", "folds")
"""Those that see what was read well, and name in other files what was not, too."""

UNKNOWN = "unknown"
"""Stands for a stage where no reject tells of what is lost."""


@dataclass(frozen=True)
class Passed:
    """Which trials (or pictures) there were, which came through opening and through reading, and which are used."""

    declared: Collection[Key]
    opened: Collection[Key]
    read: Collection[Key]
    used: Collection[Key]


def flow(passed: Passed, rejects: Sequence[Reject], count: Callable[[Collection[Key]], Json]) -> Json:
    """The entry of the manifest.

    rejects: of all steps, in their order. count: what is told of some trials, such as how many of which people. Returns
    `steps`: first {step: declared, ...count}, then {step: rejected, stage, cause, ...count} by stage and most trials
    first, last {step: used, ...count}; `lost`: `count` of what of the declared is not used; `apart`: {stage, cause,
    rejects} of rejects that name no declared trial; `further`: rejects of trials that are used or counted already.
    """
    own: dict[Key, list[Reject]] = {key: [] for key in passed.declared}
    apart: list[Reject] = []
    for reject in rejects:
        own.get((reject.participant, reject.trial), apart).append(reject)
    lost = [key for key in passed.declared if key not in passed.used]
    refusers = [_refuser(key, own[key], passed) for key in lost]
    steps = []
    for stage, cause, places in _kinds(refusers):
        steps.append({"step": "rejected", "stage": stage, "cause": cause, **count([lost[place] for place in places])})
    return {
        "steps": [
            {"step": "declared", **count(passed.declared)},
            *steps,
            {"step": "used", **count([key for key in passed.declared if key in passed.used])},
        ],
        "apart": [{"stage": stage, "cause": cause, "rejects": len(places)} for stage, cause, places in _kinds(apart)],
        "further": sum(map(len, own.values())) - sum(one.stage != UNKNOWN for one in refusers),
    }


def _refuser(key: Key, own: Sequence[Reject], passed: Passed) -> Reject:
    """Which of a trial's rejects refused it.

    What was opened but not read, or read but not used, was refused by the last: those before were of some of its rows.
    What was not opened was refused by its row of the tables: for want of gaze, which is looked for in rows that are
    otherwise good, or else by the first reason. Others are of files that claim to hold it.
    """
    if key not in passed.read:
        own = [reject for reject in own if reject.stage not in LATE]
    if not own:
        return Reject("", -1, UNKNOWN, "no reason was recorded", *key)
    if key in passed.opened:
        return own[-1]
    rows = [reject for reject in own if reject.row >= 0]
    return next((reject for reject in rows if reject.stage == "gaze"), (rows or own)[0])


def _kinds(rejects: Sequence[Reject]) -> list[tuple[str, str, list[int]]]:
    """(stage, cause, places) of the kinds of rejects, by stage and most of them first."""
    kinds = reject_kinds(rejects_table(rejects)) if rejects else []
    rank = {stage: place for place, stage in enumerate(STAGES)}
    ordered = sorted(kinds, key=lambda kind: rank.get(kind.stage, len(rank)))
    return [(kind.stage, kind.reason, kind.places.tolist()) for kind in ordered]


# -- of people, trials and classes


def trials_flow(declared: Mapping[Key, str], passed: Passed, rejects: Sequence[Reject], classes: Sequence[str]) -> Json:
    """`flow` with people, trials, trials per class and those whose class is not known ("").

    It adds `people_lost`, the names of those of whom no trial is used, and `by_class`: how sure it is that the classes
    lose unlike shares, p by a test that takes trials for independent; p is None where there is nothing to compare.
    """

    def count(keys: Collection[Key]) -> Json:
        found = Counter(declared[key] for key in keys)
        return {
            "people": len({person for person, _ in keys}),
            "trials": len(keys),
            "classes": {name: found[name] for name in classes},
            "class_not_known": found[""],
        }

    told = flow(passed, rejects, count)
    people = {person for person, _ in declared} - {person for person, _ in passed.used}
    return {**told, "people_lost": sorted(people), "by_class": unlike(told["steps"])}


def unlike(steps: Sequence[Json]) -> Json:
    """Do the classes lose unlike shares of their trials? {test, p} of Fisher's exact test, or of chi-squared with more
    than two classes; p is None where nothing, or everything, is lost, or one class alone is there."""
    first, last = steps[0]["classes"], steps[-1]["classes"]
    table = np.array([[last[name], first[name] - last[name]] for name in first if first[name]], np.int64)
    test = "Fisher’s exact test" if len(table) == 2 else "chi-squared test"
    if len(table) < 2 or not table.sum(axis=0).all():
        return {"test": test, "p": None}
    from scipy.stats import chi2_contingency, fisher_exact  # here: a plan, and most runs, have nothing to test

    found = fisher_exact(table) if len(table) == 2 else chi2_contingency(table)
    return {"test": test, "p": float(found.pvalue)}


def pictures_flow(passed: Passed, rejects: Sequence[Reject]) -> Json:
    """`flow` of pictures, whose keys have no participant."""
    return flow(passed, rejects, lambda keys: {"pictures": len(keys)})


def flow_faults(manifest: Json, used: int | None) -> Iterator[str]:
    """What does not add up in the entry `flow`, one line each; runs of before have none.

    used: how many trials (or pictures) the rest of the run counts; None: that is not to be compared.
    """
    told = manifest.get("flow")
    if told is None:
        return
    first, *rejected, last = (_tally(step) for step in told["steps"])
    for what, total in first.items():
        added = last[what] + sum(step[what] for step in rejected)
        if added != total:
            yield f"manifest.json: flow: {what}: {total} declared, {added} rejected or used"
    for step in told["steps"]:
        if "classes" in step and step["trials"] != sum(step["classes"].values()) + step["class_not_known"]:
            yield f"manifest.json: flow: {step['step']}: {step['trials']} trials, its classes have another number"
    what = next(iter(first))
    if used is not None and last[what] != used:
        yield f"manifest.json: flow: {last[what]} {what} used, {used} elsewhere"
    named = (step[what] for step in told["steps"][1:-1] if step["stage"] != UNKNOWN)
    counted = sum(named) + sum(one["rejects"] for one in told["apart"]) + told["further"]
    if counted != manifest["counts"]["rejected"]:
        yield f"manifest.json: flow: {counted} rejects, {manifest['counts']['rejected']} counted"


def _tally(step: Json) -> dict[str, int]:
    """What adds up over the steps, by name."""
    totals = {name: int(step[name]) for name in ("trials", "pictures", "class_not_known") if name in step}
    return totals | {f"class {name}": int(count) for name, count in step.get("classes", {}).items()}
