# SPDX-License-Identifier: Apache-2.0
"""What tells a rating: the person's mean, the picture's, or simple features, none of which sees the rating it tells.

Ratings are the place of the level (0..K-1), or 1 for each class of several that have no order: values (N, D). Effects
are deviations from the overall mean, shrunken by what the ratings themselves say of how much people (pictures) differ
(variance components by the method of moments, Searle, Casella & McCulloch, Variance Components, 1992): where they
differ no more than chance makes them, effects are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 10
"""Into how many parts the known rows are dealt; each is predicted by the others."""

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Of the ridge regression, relative to the number of rows: how far features that are told by few are trusted."""

ROUNDS = 10
"""Of the two-way fit: people's effects given pictures', pictures' given people's."""


@dataclass(frozen=True)
class Ratings:
    """The ratings of N trials: who rated (N,) and what (N,), numbers from 0, and labels (N,), -1 where not known."""

    who: np.ndarray
    what: np.ndarray
    labels: np.ndarray
    classes: int
    ordered: bool

    @classmethod
    def of(cls, people: np.ndarray, stimuli: np.ndarray, labels: np.ndarray, classes: int, ordered: bool) -> Ratings:
        """people, stimuli: (N,) names."""
        numbers = [np.unique(names, return_inverse=True)[1] for names in (people, stimuli)]
        return cls(numbers[0], numbers[1], labels, classes, ordered)

    @property
    def values(self) -> np.ndarray:
        """(N, D) float64: the level; of three or more classes without order 1 for each class but the first, else 0."""
        if self.ordered or self.classes == 2:
            return self.labels[:, None].astype(np.float64)
        return np.eye(self.classes)[self.labels][:, 1:]

    def owner(self, column: str) -> np.ndarray:
        """(N,) who rated, or what, by the name of the column."""
        return {"participant": self.who, "stimulus": self.what}[column]


def components(values: np.ndarray, whose: np.ndarray, count: int) -> tuple[float, float]:
    """The variance of the owners' means in truth, and of the values (N, D) of one owner, whose (N,): 0 and 1 where
    there are fewer than two owners, or none has two values, so that nothing tells how much owners differ."""
    own = np.bincount(whose, minlength=count).astype(np.float64)
    present = int(np.count_nonzero(own))
    if present < 2 or present == len(values):
        return 0.0, 1.0
    between = float((own[:, None] * _means(values, whose, own) ** 2).sum())
    within = (float(((values - values.mean(axis=0)) ** 2).sum()) - between) / (len(values) - present)
    size = (len(values) - (own**2).sum() / len(values)) / (present - 1)
    return max(0.0, (between / (present - 1) - within) / size), max(0.0, within)


def _means(values: np.ndarray, whose: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(G, D) the mean of each owner's values less that of all; 0 for an owner without values. own (G,): how many."""
    sums = np.zeros((len(own), values.shape[1]))
    np.add.at(sums, whose, values - values.mean(axis=0))
    return np.asarray(sums / np.maximum(own, 1)[:, None])


def _trust(n: np.ndarray, between: float, within: float) -> np.ndarray:
    """(G, 1) how far the mean of n (G,) values is believed, 0 to 1."""
    return np.asarray(n * between / np.maximum(n * between + within, 1e-300))[:, None]


def shrunken(values: np.ndarray, whose: np.ndarray, count: int) -> np.ndarray:
    """(G, D) effects of G = `count` owners of the values (N, D), whose (N,): 0 for an owner without values."""
    own = np.bincount(whose, minlength=count).astype(np.float64)
    return _means(values, whose, own) * _trust(own, *components(values, whose, count))


def effects(ratings: Ratings, rows: np.ndarray, owners: Sequence[str]) -> dict[str, np.ndarray]:
    """{participant or stimulus: its effects (G, D)} from the ratings of some rows, of one owner or of both at once."""
    values = ratings.values[rows]
    found = {owner: np.zeros((int(ratings.owner(owner).max()) + 1, values.shape[1])) for owner in owners}
    for _ in range(ROUNDS if len(owners) > 1 else 1):
        for owner in owners:
            rest = values - sum(found[one][ratings.owner(one)[rows]] for one in owners if one != owner)
            found[owner] = shrunken(rest, ratings.owner(owner)[rows], len(found[owner]))
    return found


def told(ratings: Ratings, known: np.ndarray, asked: np.ndarray, owners: Sequence[str]) -> dict[str, np.ndarray]:
    """{owner: the effects (N_asked, D) of the owners of the asked rows}, from the known rows (labelled)."""
    return {name: own[ratings.owner(name)[asked]] for name, own in effects(ratings, known, owners).items()}


def parts(ratings: Ratings, known: np.ndarray, unseen: Sequence[str]) -> np.ndarray:
    """(N_known,) the known rows dealt into `PARTS` parts as the tested rows are: of people, or of stimuli, or where
    neither is held out of trials (all of a person's of a picture). unseen: what tested rows share with no known row."""
    pairs = ratings.who * (int(ratings.what.max()) + 1) + ratings.what
    whose = ratings.owner(unseen[0]) if unseen else pairs
    names, number = np.unique(whose[known], return_inverse=True)
    return np.asarray((np.random.default_rng(0).permutation(len(names)) % PARTS)[number])


def cross_fitted(ratings: Ratings, known: np.ndarray, owners: Sequence[str], part: np.ndarray) -> dict[str, np.ndarray]:
    """What `told` would have said of the known rows had they been tested: {owner: (N_known, D)}.

    part (N_known,): each part is told by the others. Means of all would hold the row's own rating, and whoever learned
    from them how far to trust them would trust them too far.
    """
    found = {owner: np.zeros((len(known), ratings.values.shape[1])) for owner in owners}
    for one in np.unique(part):
        own = part == one
        if own.all():
            continue
        for owner, values in told(ratings, known[~own], known[own], owners).items():
            found[owner][own] = values
    return found


def regressed(
    left: np.ndarray, values: np.ndarray, right: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a ridge regression says of known rows (N, D), each part by the others, and of asked ones (M, D).

    left (N, F), values (N, D): features and values of the known rows; right (M, F): features of the asked ones. Both
    are deviations from the mean value, as effects are. Features are standardised; of `PENALTIES` the one is taken with
    the least squared error in the parts.
    """
    spread = left.std(axis=0)
    scale = np.where(spread > 0, spread, np.inf)  # what is the same in all rows tells nothing
    known, asked = ((own - left.mean(axis=0)) / scale for own in (left, right))

    def fitted(some: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        middle = known[some].mean(axis=0)
        own, target = known[some] - middle, values[some] - values[some].mean(axis=0)
        return middle, np.linalg.solve(own.T @ own + penalty * len(own) * np.eye(own.shape[1]), own.T @ target)

    best, found, chosen = np.inf, np.zeros_like(values), PENALTIES[-1]
    for penalty in PENALTIES:
        cross, error = np.zeros_like(values), 0.0
        for one in np.unique(part):
            own = part == one
            if not own.all():
                middle, slope = fitted(~own, penalty)
                cross[own] = (known[own] - middle) @ slope
                error += float(((values[own] - values[~own].mean(axis=0) - cross[own]) ** 2).sum())
        if error < best:
            best, found, chosen = error, cross, penalty
    middle, slope = fitted(np.ones(len(known), bool), chosen)
    return found, (asked - middle) @ slope


def tells(effect: np.ndarray, values: np.ndarray) -> bool:
    """Whether effects (N, D) that never saw the row's own value (N, D) are higher where that is higher.

    In a counterbalanced design (a Latin square) it is the opposite: everybody has as many of each level, so that the
    ratings that are known leave over those that are tested. A regression would subtract and be right. That tells how
    the experiment was planned, and nothing of what people or pictures are like.
    """
    return float((effect * (values - values.mean(axis=0))).sum()) > 0


# -- ceilings: they may see the ratings of those who are tested


def others(ratings: Ratings) -> np.ndarray:
    """(N, D) what everybody else said of the picture of a row: the shrunken deviation of their mean from their overall
    mean, tested people among them; NaN where nobody else rated it. The row's person is left out of both means: what
    rates high in all would otherwise be told of others as low."""
    rated = np.flatnonzero(ratings.labels >= 0)
    values, who, what = ratings.values, ratings.who, ratings.what
    people, stimuli = int(who.max()) + 1, int(what.max()) + 1
    sums, counts = np.zeros((people, stimuli, values.shape[1])), np.zeros((people, stimuli))
    np.add.at(sums, (who[rated], what[rated]), values[rated])
    np.add.at(counts, (who[rated], what[rated]), 1.0)
    left, n = sums.sum(axis=0)[what] - sums[who, what], counts.sum(axis=0)[what] - counts[who, what]
    rest, all_n = sums.sum(axis=(0, 1)) - sums.sum(axis=1)[who], counts.sum() - counts.sum(axis=1)[who]
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = left / n[:, None] - rest / all_n[:, None]
    trust = _trust(n, *components(values[rated], what[rated], stimuli))
    return np.asarray(np.where(n[:, None] > 0, deviation * trust, np.nan))


def again(ratings: Ratings) -> np.ndarray:
    """(N, D) the mean of a person's other ratings of a row's picture, less the mean of all; NaN where there is none."""
    rated = ratings.labels >= 0
    values = np.where(rated[:, None], ratings.values, 0.0)
    pairs = np.unique(ratings.who * (int(ratings.what.max()) + 1) + ratings.what, return_inverse=True)[1]
    sums, counts = np.zeros((int(pairs.max()) + 1, values.shape[1])), np.bincount(pairs, weights=rated)
    np.add.at(sums, pairs, values)
    n = counts[pairs] - rated
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (sums[pairs] - values) / n[:, None]
    return np.asarray(np.where(n[:, None] > 0, mean - ratings.values[rated].mean(axis=0), np.nan))
