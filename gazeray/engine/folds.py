# SPDX-License-Identifier: Apache-2.0
"""Who is trained on, who stops the training, who is tested: folds of participants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fold:
    """One outer fold. The three lists of participants are disjoint and together everybody."""

    fold: int
    train: list[str]
    validation: list[str]
    test: list[str]


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from the run's seed and a name, the same on every machine and in every process."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def deal(participants: np.ndarray, labels: np.ndarray, groups: int, seed: int) -> list[list[str]]:
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
    for number, test in enumerate(deal(participants, labels, outer, derive_seed(seed, "outer"))):
        rest = np.isin(participants, test, invert=True)
        people = len(everybody) - len(test)
        if people < 2:
            raise ValueError(f"fold {number} leaves {people} participant to train on and to validate; it takes two")
        wanted = min(max(1, round(validation * people)), people - 1)
        chosen = draw(participants[rest], labels[rest], wanted, derive_seed(seed, "validation", number))
        folds.append(Fold(number, sorted(everybody - set(test) - set(chosen)), sorted(chosen), sorted(test)))
    return folds
