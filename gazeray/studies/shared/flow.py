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
import pyarrow as pa

from gazeray.gaze.files import LONGEST_NAME
from gazeray.study import Fold
from gazeray.tables import Reject, reject_kinds, rejects_table
from gazeray.unit import Json

Key = tuple[str, str]
"""(participant, trial); of a picture ("", its name)."""

STAGES = ("trials", "labels", "read", "gaze", "pictures", "events", "quality", "render", "maps", "folds")
"""What may refuse a trial or a picture, in the order in which they see it."""

LATE = ("maps", "folds")
"""Those that see what was read well, and name in other files what was not, too."""

SHUFFLES = 1999
"""Of the test whether classes lose unlike shares."""

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
    lose unlike shares, see `unlike`.
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
    known, lost = {key: name for key, name in declared.items() if name}, set(declared).difference(passed.used)
    return {**told, "people_lost": sorted(people), "by_class": unlike(known, lost)}


def flow_of_study(
    declared: Mapping[Key, str], trials: pa.Table, examples: pa.Table, folds: Sequence[Fold], rejects: Sequence[Reject],
    classes: Sequence[str],
) -> Json:  # fmt: skip
    """`trials_flow` from the tables to the folds. Rows that name no person or no trial are none.

    declared: as tables name them, with their class. trials: those that were opened; examples: what was read of them,
    the rows of the folds. Names that are too long are cut, as rejects have them.
    """
    read = _ids(examples)
    dealt = np.unique(np.concatenate([np.concatenate([fold.known, fold.test]) for fold in folds]))
    named = {
        (who[:LONGEST_NAME], trial[:LONGEST_NAME]): name for (who, trial), name in declared.items() if who and trial
    }
    used = {read[row] for row in dealt.tolist()}
    return trials_flow(named, Passed(named, set(_ids(trials)), set(read), used), rejects, classes)


def _ids(table: pa.Table) -> list[Key]:
    """(participant, trial) of every row."""
    return list(zip(table.column("participant").to_pylist(), table.column("trial").to_pylist(), strict=True))


def unlike(classes: Mapping[Key, str], lost: Collection[Key]) -> Json:
    """Do classes lose unlike shares of their trials? {test, p, people, p_trials}; p None where there is nothing to ask.

    classes: of every trial of which it is known. What takes one trial often takes its neighbours, or all of its
    participant, so participants are what counts: where the label is theirs, it is shuffled between them; else the
    signs of what each lost more of one class than of another are. p: the share of shuffles that are as unlike. people:
    who lost any. p_trials: as if trials were independent (Fisher's exact test; chi-squared of more than two classes).
    """
    names, label = np.unique(list(classes.values()), return_inverse=True)
    everybody, who = np.unique([person for person, _ in classes], return_inverse=True)
    gone = np.array([key in lost for key in classes], np.float64)
    if len(names) < 2 or not 0 < gone.sum() < len(gone):
        return {"test": "", "p": None, "people": 0, "p_trials": None}
    from scipy.stats import chi2_contingency, fisher_exact  # here: a plan, and most runs, have nothing to test

    counts, losses = np.zeros((2, len(everybody), len(names)))
    np.add.at(counts, (who, label), 1.0)
    np.add.at(losses, (who, label), gone)
    of_people = bool(((counts > 0).sum(axis=1) == 1).all())
    table = np.stack([losses.sum(axis=0), (counts - losses).sum(axis=0)], axis=1).astype(np.int64)
    by_trials = fisher_exact(table) if len(table) == 2 else chi2_contingency(table)
    return {
        "test": f"permutation test {'between' if of_people else 'within'} participants",
        "p": _between(counts, losses) if of_people else _within(counts, losses),
        "people": int(losses.any(axis=1).sum()),
        "p_trials": float(by_trials.pvalue),
    }


def _between(counts: np.ndarray, losses: np.ndarray) -> float:
    """p of the losses (P, K) of participants with trials (P, K) of one class each, who exchange their classes."""
    more = losses.sum(axis=1) - losses.sum() / counts.sum() * counts.sum(axis=1)
    own = np.tile(counts.argmax(axis=1), (1 + SHUFFLES, 1))
    own[1:] = np.random.default_rng(0).permuted(own[1:], axis=1)
    return _share_as_large(np.stack([(own == label) @ more for label in range(counts.shape[1])], axis=1))


def _within(counts: np.ndarray, losses: np.ndarray) -> float:
    """p of the losses (P, K) of participants with trials (P, K): each more or less of a class than their own share."""
    more = losses - losses.sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True) * counts
    signs = np.ones((1 + SHUFFLES, len(counts)))
    signs[1:] = np.random.default_rng(0).choice([-1.0, 1.0], (SHUFFLES, len(counts)))
    return _share_as_large(signs @ more)


def _share_as_large(sums: np.ndarray) -> float:
    """Of sums (R, K) over participants, which share is as far from 0 as the first row."""
    far = (sums**2).sum(axis=1)
    return float(np.mean(far >= far[0] * (1 - 1e-9) - 1e-9))


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
