# SPDX-License-Identifier: Apache-2.0
"""Who is trained on, who stops the training, who is tested: folds of participants, of stimuli, or of both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gazeray.config import FoldsConfig
from gazeray.study import Split


@dataclass(frozen=True)
class Fold:
    """One outer fold. The three lists of participants are disjoint and together everybody.

    stimuli: where stimuli are held out, those of each side (train, validation, test); no test stimulus is on another
    side. When only stimuli are held out the lists of participants are empty: everybody is on every side.
    """

    fold: int
    train: list[str]
    validation: list[str]
    test: list[str]
    stimuli: dict[str, list[str]] | None = None


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from the run's seed and a name, the same on every machine and in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def assign_folds(participants: np.ndarray, labels: np.ndarray, groups: int, seed: int) -> list[list[str]]:
    """Deal the participants into groups whose sizes differ by at most one, with similar class shares.

    participants, labels: (N,) one entry per example. Participants are put in order of their class shares (ties in
    random order) and every consecutive `groups` of them go to different groups, in random order: a randomised block
    design. Deterministic in the seed, and independent of the order of the examples.

    Raises ValueError when there are fewer participants than groups.
    """
    rng = np.random.default_rng(seed)
    order = _by_class_shares(participants, labels, rng)
    if len(order) < groups:
        raise ValueError(f"{len(order)} participants cannot fill {groups} folds")
    dealt: list[list[str]] = [[] for _ in range(groups)]
    for start in range(0, len(order), groups):
        block = order[start : start + groups]
        for group, person in zip(rng.permutation(groups), block, strict=False):
            dealt[group].append(str(person))
    return [sorted(group) for group in dealt]


def draw(participants: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[str]:
    """Draw `count` participants whose class shares are spread like everybody's: one from each of `count` strata.

    participants, labels: (N,) one entry per example. The strata are equal parts of the participants in the order of
    their class shares.
    """
    rng = np.random.default_rng(seed)
    strata = np.array_split(_by_class_shares(participants, labels, rng), count)
    return sorted(str(rng.choice(stratum)) for stratum in strata)


def _by_class_shares(participants: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The participants in the order of their class shares, the rarest class first; ties in random order."""
    people, who = np.unique(participants, return_inverse=True)
    counts = np.zeros((len(people), int(labels.max()) + 1))
    np.add.at(counts, (who, labels), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    rarest_last = np.argsort(-counts.sum(axis=0), kind="stable")
    return np.asarray(people[np.lexsort([rng.permutation(len(people)), *(shares[:, c] for c in rarest_last)])])


def participant_folds(
    participants: np.ndarray, labels: np.ndarray, outer: int, validation: float, seed: int
) -> list[Fold]:
    """Outer folds in which every participant is tested exactly once, each with its own validation people.

    participants, labels: (N,) one entry per example. validation: share (0 to 0.5) of the training participants that
    decides when to stop; at least one, and they are neither trained nor tested on.

    Raises ValueError when the participants do not suffice.
    """
    everybody = set(map(str, np.unique(participants)))
    folds = []
    for number, test in enumerate(assign_folds(participants, labels, outer, derive_seed(seed, "outer"))):
        rest = np.isin(participants, test, invert=True)
        people = len(everybody) - len(test)
        if people < 2:
            raise ValueError(f"fold {number} leaves {people} participant to train on and to validate; it takes two")
        wanted = min(max(1, round(validation * people)), people - 1)
        chosen = draw(participants[rest], labels[rest], wanted, derive_seed(seed, "validation", number))
        folds.append(Fold(number, sorted(everybody - set(test) - set(chosen)), sorted(chosen), sorted(test)))
    return folds


def outer_folds(
    participants: np.ndarray, stimuli: np.ndarray, labels: np.ndarray, cfg: FoldsConfig, seed: int
) -> list[Fold]:
    """The outer folds that `cfg.hold_out` asks for; every example is tested exactly once.

    participants, stimuli, labels: (N,) one entry per example. `participants`: see `participant_folds`. `stimuli`: the
    same with stimuli in their place. `both`: every participant fold is crossed with every one of `cfg.stimuli` stimulus
    folds, and neither the person nor the stimulus of a test example was trained on.

    Raises ValueError when participants or stimuli do not suffice.
    """
    if cfg.hold_out == "stimuli":
        found = participant_folds(stimuli, labels, cfg.outer, cfg.validation, seed)
        return [
            Fold(fold.fold, [], [], [], {"train": fold.train, "validation": fold.validation, "test": fold.test})
            for fold in found
        ]
    people = participant_folds(participants, labels, cfg.outer, cfg.validation, seed)
    if cfg.hold_out == "participants":
        return people
    everything = set(map(str, np.unique(stimuli)))
    folds: list[Fold] = []
    for fold in people:
        for test in assign_folds(stimuli, labels, cfg.stimuli, derive_seed(seed, "stimuli")):
            known = sorted(everything - set(test))
            sides = {"train": known, "validation": known, "test": test}
            folds.append(Fold(len(folds), fold.train, fold.validation, fold.test, sides))
    return folds


def split_rows(participants: np.ndarray, fold: Fold, stimuli: np.ndarray | None = None) -> Split:
    """The rows of a fold's three sides. participants, stimuli: (N,) one entry per example.

    Raises ValueError when somebody is on two sides, or a test stimulus is on another side.
    """
    if fold.stimuli is not None and stimuli is None:
        raise ValueError(f"fold {fold.fold}: the stimuli of the examples are needed")
    people = [fold.train, fold.validation, fold.test]
    held = None if fold.stimuli is None else [fold.stimuli[side] for side in ("train", "validation", "test")]
    twice = _on_two_sides(people)
    if held is not None:
        twice |= set(held[2]) & (set(held[0]) | set(held[1]))
        if not any(people):
            twice |= _on_two_sides(held)
    if twice:
        raise ValueError(f"fold {fold.fold}: on two sides: {', '.join(sorted(twice))}")
    rows = []
    for side in range(3):
        mask = np.isin(participants, people[side]) if any(people) else np.ones(len(participants), bool)
        if held is not None and stimuli is not None:
            mask &= np.isin(stimuli, held[side])
        rows.append(np.flatnonzero(mask))
    return Split(*rows)


def _on_two_sides(sides: Sequence[Sequence[str]]) -> set[str]:
    first, second, third = map(set, sides)
    return (first & second) | (first & third) | (second & third)


def inner_seed(seed: int, fold: Fold) -> int:
    """The seed of an outer fold's inner folds."""
    return derive_seed(seed, "inner", fold.fold)


def inner_splits(
    rows: np.ndarray, participants: np.ndarray, stimuli: np.ndarray, labels: np.ndarray, cfg: FoldsConfig, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, validation rows) of the inner folds of an outer fold's training rows (M,).

    participants, stimuli, labels: (N,) one entry per example. What the outer folds hold out the inner ones do too; with
    `both`, inner fold i holds out its people and its stimuli at once.

    Raises ValueError when participants or stimuli do not suffice.
    """
    held = {"participants": [participants], "stimuli": [stimuli], "both": [participants, stimuli]}[cfg.hold_out]
    dealt = [
        assign_folds(groups[rows], labels[rows], cfg.inner, derive_seed(seed, "inner", number))
        for number, groups in enumerate(held)
    ]
    splits = []
    for inner in range(cfg.inner):
        outside = [np.isin(groups[rows], parts[inner]) for groups, parts in zip(held, dealt, strict=True)]
        splits.append((rows[~np.any(outside, axis=0)], rows[np.all(outside, axis=0)]))
    return splits
