# SPDX-License-Identifier: Apache-2.0
"""Which training rows an epoch draws where some levels are rare, and how much each level then counts.

Every way is a list of pools, each with the number of rows that are drawn from it: without replacement as far as the
pool goes, so that no row of it comes twice before every other came once. From that list follow both the rows of an
epoch and how often each is expected, which is what the levels' shares in training are counted from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Balance = Literal["none", "classes", "published_over", "published_neutral"]

Pool = tuple[np.ndarray, int]
"""Some of the rows, and how many of them are drawn."""


@dataclass(frozen=True)
class Levels:
    """What the training rows are of one label: index (N,) int64, -1 = not known; how many levels there are; has the
    label an order?"""

    index: np.ndarray
    count: int
    ordered: bool

    def pools(self) -> list[np.ndarray]:
        """The rows of each level."""
        return [np.flatnonzero(self.index == level) for level in range(self.count)]


def pools(labels: Sequence[Levels], how: Balance) -> list[Pool]:
    """What an epoch draws from N training rows with one label or several.

    none               every row once
    classes            as many rows as there are: each label as many as the others, and within it each level that is
                       there. With two labels, one half of an epoch is even over the levels of the first, the other half
                       over those of the second
    published_over     k rows from each level of each label, or all that it has. k is the size of the smallest end of a
                       scale (of a label without order: of its smallest class), published as the least of arousal 7,
                       valence 1, valence 7
    published_neutral  all rows with a rare level of any label, and k others. k is the size of the largest rare level. A
                       level is rare with less than half of an equal share; of the published counts these are arousal 6
                       and 7, valence 1, 2, 6 and 7, as published. Without a rare level: every row

    A row whose labels are all -1 is drawn by `none` alone.
    """
    levels = [[own for own in label.pools() if len(own)] for label in labels]
    if how == "none" or not any(levels):
        everything = np.arange(len(labels[0].index))
        return [(everything, len(everything))]
    if how == "classes":
        return _alike(levels, len(labels[0].index))
    if how == "published_over":
        ends = [own for label, theirs in zip(labels, levels, strict=True)
                for own in (theirs[:: max(1, len(theirs) - 1)] if label.ordered else theirs)]  # fmt: skip
        k = min(map(len, ends))
        return [(own, min(k, len(own))) for theirs in levels for own in theirs]
    rare = [own for label in labels for own in label.pools()
            if 0 < len(own) < np.count_nonzero(label.index >= 0) / (2 * label.count)]  # fmt: skip
    known = np.flatnonzero(np.any([label.index >= 0 for label in labels], axis=0))
    if not rare:
        return [(known, len(known))]
    kept = np.unique(np.concatenate(rare))
    neutral = np.setdiff1d(known, kept)
    return [(kept, len(kept)), (neutral, min(len(neutral), max(map(len, rare))))]


def _alike(levels: Sequence[Sequence[np.ndarray]], rows: int) -> list[Pool]:
    """Every label the same number of `rows`, every level of it too; what is left over goes to the first ones."""
    levels = [theirs for theirs in levels if theirs]
    shares = np.array_split(np.arange(rows), len(levels))
    return [
        (own, len(part))
        for theirs, share in zip(levels, shares, strict=True)
        for own, part in zip(theirs, np.array_split(share, len(theirs)), strict=True)
    ]


def drawn(plan: Sequence[Pool], seed: int) -> np.ndarray:
    """(M,) int64, the rows of an epoch: places among the N training rows, some perhaps several times."""
    rng = np.random.default_rng(seed)
    parts = []
    for own, count in plan:
        whole, rest = divmod(count, len(own)) if count else (0, 0)
        parts += [np.tile(own, whole), rng.choice(own, rest, replace=False)]
    return np.concatenate(parts)


def expected(plan: Sequence[Pool], rows: int) -> np.ndarray:
    """(N,) float64, how often each of the N rows is drawn on average."""
    often = np.zeros(rows)
    for own, count in plan:
        often[own] += count / max(1, len(own))
    return often


def level_counts(label: Levels, often: np.ndarray) -> np.ndarray:
    """(K,) float64, how often each level is seen where row n is seen `often` (N,)."""
    known = label.index >= 0
    return np.bincount(label.index[known], often[known], minlength=label.count)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """(K,) weights with which classes that are seen `counts` (K,) times count the same.

    The weight of a class is N / (K_present * N_class), as scikit-learn's "balanced"; one that is absent weighs nothing.
    """
    weights = np.zeros(len(counts))
    there = counts > 0
    weights[there] = counts.sum() / (np.count_nonzero(there) * counts[there])
    return weights
