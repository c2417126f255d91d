# SPDX-License-Identifier: Apache-2.0
"""Metrics of ratings: probabilities of ordered levels (or of two or more classes), for many resamples at once.

Shapes are those of `gazeray.metrics.classification`: labels (N,) in 0..K-1, scores (N, K), weights (R, G) with owner
(N,), results (R,), NaN where a metric is not defined. Scores are probabilities under the shares that levels have among
the trained rows, the `prior`: (K,), or (N, K) where each fold has its own.

Ratings are uneven, and two questions ask for two decisions, the same for every predictor:

* "Which level is it, each level counting the same?" is answered by argmax of p / prior. It maximises what is expected
  of the mean recall, which argmax p does not: that hardly ever says a rare level, whose recall is then near 0 however
  much a predictor knows. So `balanced_accuracy` and the recalls go by p / prior. Whoever was fitted with
  levels weighing the same is brought back to the natural prior first, and loses nothing by it.
* "Which level will it be?" is answered by argmax p: `accuracy`. It is right in the most trials.

What has a distance goes by the expected level, the mean of the level's places (0..K-1) under p: rounded, half up, for
`qwk`, `mae` and `within_one`, in steps of the scale; as it is for `ccc`. `spearman` takes it less what the prior alone
expects: the shares of the trained rows differ between folds and lie opposite to those of the tested ones, which would
put a predictor that knows nothing below 0. For the same reason `auroc` ranks by p / prior.

Expected levels are rounded to `LEVEL_STEP` and losses to `LOSS_STEP`, so that sums under integer weights are exact and
no result depends on the order of the examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from gazeray.metrics import classification
from gazeray.metrics.classification import (
    LOSS_STEP,
    RANKED_VALUES,
    Floats,
    Integers,
    checked_labels,
    checked_replicates,
    checked_scores,
    class_totals,
    in_blocks,
    mean_of_defined,
    ratio,
)

LOWER_IS_BETTER = frozenset({"mae", "log_loss", "ece"})
"""The metrics that fall as predictions get better: a gain in them is negative."""

LEVEL_STEP = 2.0**-16
"""To what expected levels are rounded, in steps of the scale."""

LEAST_P = 1e-6
"""A probability below this counts as this in the log loss: what was thought impossible costs 13.8, not infinity."""

BINS = 10
"""Of the calibration error: as wide as each other, from 0 to 1."""


def score_ordinal(
    labels: ArrayLike, scores: ArrayLike, prior: ArrayLike, levels: Sequence[str], ordered: bool = True,
    weights: ArrayLike | None = None, owner: ArrayLike | None = None, ranked: bool = True,
) -> dict[str, Floats]:  # fmt: skip
    """Every metric, each (R,), by name; those that rank examples (spearman, auroc) only where `ranked`.

    balanced_accuracy   mean recall over the levels that are present ("macro recall"), by p / prior
    accuracy            by argmax p
    qwk                 Cohen's kappa with quadratic weights (Cohen, Psychol. Bull. 70, 1968); 0 for a constant guess
    mae, within_one     mean distance in steps; share that is at most one step off
    spearman, ccc       rank correlation; concordance correlation (Lin, Biometrics 45, 1989, with 1 / n variances)
    auroc               of the last of two classes, or the mean of one class against the rest
    log_loss            mean of -log p of the true level, in nats
    ece                 expected calibration error of the level that is said (argmax p), in `BINS` bins
    recall_<level>      by p / prior

    The five in the middle for three or more ordered levels, auroc for the others: of two classes they say nothing more.
    Raises ValueError for arrays whose shapes or values do not fit the module's description.
    """
    p, share, count = checked_scores(scores, levels), checked_prior(prior, np.shape(scores)), len(levels)
    if checked_labels(labels, count).shape != p.shape[:1]:
        raise ValueError(f"labels must name {len(p)} examples, not {np.shape(labels)}")
    distances = ordered and count > 2
    decided = np.eye(count)
    columns = [
        decided[balanced(p, share).argmax(axis=1)],
        decided[p.argmax(axis=1)],
        _losses(p, labels),
        _off(p, labels),
    ]
    if distances:
        expected = expected_levels(p)
        columns += [decided[rounded(expected)], np.stack([expected, expected**2], axis=1)]
    totals = class_totals(labels, np.concatenate(columns, axis=1), count, weights, owner)
    by_prior, by_p, loss, off, *distant = np.split(totals, np.cumsum([one.shape[1] for one in columns])[:-1], axis=2)
    weight = by_p.sum(axis=(1, 2))
    recalls = classification.recalls(by_prior)
    metrics = {
        "balanced_accuracy": mean_of_defined(recalls),
        "accuracy": classification.accuracy(by_p),
        **(_distances(*distant) if distances else {}),
        "log_loss": ratio(loss.sum(axis=(1, 2)), weight),
        "ece": ratio(np.abs(off.sum(axis=1)).sum(axis=1), weight),
    }
    if ranked and distances:
        metrics["spearman"] = _spearman(labels, expected - expected_levels(share), count, weights, owner)
    elif ranked:
        metrics["auroc"] = _auroc(labels, balanced(p, share), count, weights, owner)
    shown = [name for name in ORDER if name in metrics]
    found = {name: metrics[name] for name in shown}
    return found | {f"recall_{name}": recall for name, recall in zip(levels, recalls.T, strict=True)}


ORDER = ("balanced_accuracy", "accuracy", "qwk", "mae", "within_one", "spearman", "ccc", "auroc", "log_loss", "ece")
"""In which metrics are told; the recalls follow."""


def why_undefined(metric: str) -> str:
    """What makes a metric undefined on some examples, in words."""
    if metric.startswith("recall_"):
        return "no example is of this level"
    return {
        "qwk": "all examples and all predictions are of one level",
        "ccc": "all examples and all predictions are of one level",
        "spearman": "all examples are of one level, or all predictions are the same",
    }.get(metric, "all examples are of one class")


def ordinal_chance(labels: ArrayLike, levels: Sequence[str], ordered: bool = True) -> dict[str, float]:
    """What each metric is for who knows nothing but the shares p_k of the levels among the labels (N,).

    Mean recall and recalls: one over the number of levels that the labels have, for the mean is over these, and nobody
    who knows the shares says another. Accuracy: the sum of p_k squared, of a guesser who draws levels by their shares.
    mae, within_one: always saying the mean level, rounded, which needs no more. Log loss: the entropy of the shares.
    qwk, spearman, ccc and ece: 0. AUROC: 1/2.
    """
    count = len(levels)
    shares = np.bincount(np.asarray(labels), minlength=count) / np.size(labels)
    even = 1.0 / int(np.count_nonzero(shares))
    distance = np.abs(np.arange(count) - rounded(expected_levels(shares[None]))[0])
    known = {
        "balanced_accuracy": even,
        "accuracy": float((shares**2).sum()),
        "qwk": 0.0,
        "mae": float(shares @ distance),
        "within_one": float(shares @ (distance <= 1)),
        "spearman": 0.0,
        "ccc": 0.0,
        "auroc": 0.5,
        "log_loss": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        "ece": 0.0,
    }
    return known | {f"recall_{name}": even for name in levels}


# -- decisions


def checked_prior(prior: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """The prior of every example, (N, K). Raises ValueError where it is neither (K,) nor (N, K), negative or NaN."""
    shares = np.asarray(prior, dtype=np.float64)
    if shares.shape not in (shape, shape[1:]):
        raise ValueError(f"prior must have shape {shape[1:]} or {shape}, not {shares.shape}")
    if not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise ValueError("prior must be finite and >= 0")
    return np.broadcast_to(shares, shape)


def balanced(scores: Floats, prior: Floats) -> Floats:
    """(N, K) p / prior, brought to a sum of 1: the probabilities where all levels are as frequent.

    What nobody was trained on (prior 0) is never said; a row that says nothing else has zeros.
    """
    ratios = ratio(scores, prior, undefined=0.0)
    return ratio(ratios, np.broadcast_to(ratios.sum(axis=1, keepdims=True), ratios.shape), undefined=0.0)


def expected_levels(scores: Floats) -> Floats:
    """(N,) the mean place of the level, 0..K-1, under the scores (N, K), brought to a sum of 1."""
    mean = ratio(scores @ np.arange(scores.shape[1]), scores.sum(axis=1))
    return np.asarray(np.round(mean / LEVEL_STEP) * LEVEL_STEP)


def rounded(expected: Floats) -> Integers:
    """(N,) the level nearest to an expected one, the upper of two that are as near."""
    return np.floor(expected + 0.5).astype(np.int64)


# -- what is summed over the examples


def _losses(scores: Floats, labels: ArrayLike) -> Floats:
    """(N, 1) -log of the probability of the true level."""
    loss = -np.log(np.maximum(scores[np.arange(len(scores)), np.asarray(labels)], LEAST_P))
    return np.asarray(np.round(loss[:, None] / LOSS_STEP) * LOSS_STEP)


def _off(scores: Floats, labels: ArrayLike) -> Floats:
    """(N, BINS) how much more often the level that is said is right than forecast, in the bin of its probability."""
    said, sure = scores.argmax(axis=1), scores.max(axis=1)
    bins = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    off = np.zeros((len(scores), BINS))
    off[np.arange(len(scores)), bins] = (said == np.asarray(labels)) - sure
    return np.asarray(np.round(off / LOSS_STEP) * LOSS_STEP)


def _distances(matrices: Floats, moments: Floats) -> dict[str, Floats]:
    """The metrics of distances from confusion matrices (R, K, K) of the rounded expected level and, by true level, the
    sums (R, K, 2) of the expected level and of its square."""
    place = np.arange(matrices.shape[1], dtype=np.float64)
    distance = np.abs(place[:, None] - place)
    truth, said = matrices.sum(axis=2), matrices.sum(axis=1)
    weight = truth.sum(axis=1)
    by_chance = np.einsum("ri,ij,rj->r", truth, distance**2, said)
    first, second = moments[:, :, 0].sum(axis=1), moments[:, :, 1].sum(axis=1)
    own, squared = truth @ place, truth @ place**2
    covariance = 2 * (weight * (moments[:, :, 0] @ place) - first * own)
    spread = weight * second - first**2 + weight * squared - own**2 + (first - own) ** 2
    return {
        "qwk": 1.0 - ratio(weight * (matrices * distance**2).sum(axis=(1, 2)), by_chance),
        "mae": ratio((matrices * distance).sum(axis=(1, 2)), weight),
        "within_one": ratio((matrices * (distance <= 1)).sum(axis=(1, 2)), weight),
        "ccc": ratio(covariance, spread),
    }


# -- ranks


def _spearman(
    labels: ArrayLike, values: Floats, count: int, weights: ArrayLike | None, owner: ArrayLike | None
) -> Floats:
    """Rank correlation, (R,), of labels and values (N,), an example of weight w counting as w examples."""
    ranks = _ranks(labels, values, count, weights, owner)
    mass, by_level, squares = ranks[:, :count], ranks[:, count:-1], ranks[:, -1]
    own = mass.cumsum(axis=1) - mass / 2  # of the levels, which are tied in themselves
    weight = mass.sum(axis=1)
    centre = weight * (weight / 2) ** 2  # the mean of ranks, squared and summed
    covariance = (own * by_level).sum(axis=1) - centre
    spreads = [np.sqrt(np.maximum(own_squares - centre, 0.0)) for own_squares in (squares, (own**2 * mass).sum(axis=1))]
    return ratio(covariance, spreads[0] * spreads[1])


def _auroc(labels: ArrayLike, scores: Floats, count: int, weights: ArrayLike | None, owner: ArrayLike | None) -> Floats:
    """AUROC, (R,), of the last of two classes, or the mean of one class against the rest over those present."""
    found = []
    for place in [1] if count == 2 else range(count):
        ranks = _ranks(labels, scores[:, place], count, weights, owner)
        hits, weight = ranks[:, place], ranks[:, :count].sum(axis=1)
        found.append(ratio(ranks[:, count + place] - hits**2 / 2, hits * (weight - hits)))
    return mean_of_defined(np.stack(found, axis=-1))


def _ranks(labels: ArrayLike, values: Floats, count: int, weights: ArrayLike | None, owner: ArrayLike | None) -> Floats:
    """(R, 2 K + 1): the weight of each level, the sum of its examples' ranks by the values (N,), and the sum of all
    squared ranks. The rank is the weight of all that is lower and half of what is tied, itself included."""
    truth, masses, groups = checked_replicates(labels, weights, owner, count, len(values))
    order = np.argsort(values, kind="stable")
    rising = values[order]
    starts = np.flatnonzero(np.append(True, rising[1:] != rising[:-1]))
    tie = np.cumsum(np.append(True, rising[1:] != rising[:-1])) - 1
    places = order if groups is None else groups[order]
    level = np.eye(count)[truth[0][order]]

    def measure(_: Integers, mass: Floats) -> Floats:
        mass = mass.take(places, axis=1)
        tied = mass if len(starts) == len(order) else np.add.reduceat(mass, starts, axis=1)
        rank = tied.cumsum(axis=1) - tied / 2
        squares = (tied * rank**2).sum(axis=1, keepdims=True)
        each = rank if len(starts) == len(order) else rank.take(tie, axis=1)
        return np.concatenate([mass @ level, (mass * each) @ level, squares], axis=1)

    return in_blocks(measure, truth, masses, RANKED_VALUES)
