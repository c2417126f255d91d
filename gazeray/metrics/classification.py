# SPDX-License-Identifier: Apache-2.0
"""Classification metrics for many replicates at once.

A replicate is the same set of N predictions under other weights (a bootstrap resample: weight = how often the example
was drawn) or under other labels (a permutation). Shapes, in every function:

    labels     (N,) or (R, N) integers in 0..K-1
    scores     (N, K) finite class probabilities (only their order counts, between classes and between examples, but for
               the Brier score, which is NaN where they are no probabilities)
    predicted  (N,) integers in 0..K-1; `score_all` takes the argmax of the scores, the lowest class on a tie
    weights    (R, N) finite and >= 0, or None for a single replicate of ones. Where examples come in groups of equal
               weight, such as the trials of a person: (R, G), with owner (N,), the group of each example
    result     (R,) float64, NaN where the metric is not defined for that replicate

R is the number of rows of the weights or labels, whichever has more; a single row stands for all. A replicate whose
weights are all zero leaves every metric undefined. Counts and sums of squared errors under integer weights are exact,
so results do not depend on the order of the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BLOCK_VALUES = 2**20
"""Values (replicates x examples) worked on at once: 8 MB per temporary array."""

RANKED_VALUES = 2**16
"""The same where examples are ranked, which takes many steps: what they work on stays near the processor."""

LOWER_IS_BETTER = frozenset({"brier"})
"""The metrics of `score_all` that fall as predictions get better: a gain in them is negative."""

LOSS_STEP = 2.0**-32
"""Squared errors are rounded to this, so that sums of them are as exact as counts are."""


def score_all(
    labels: ArrayLike, scores: ArrayLike, classes: Sequence[str], weights: ArrayLike | None = None,
    owner: ArrayLike | None = None, ranked: bool = True,
) -> dict[str, Floats]:  # fmt: skip
    """Every metric of this module, each (R,), by name; those that rank examples only where `ranked`.

    The names: accuracy, balanced_accuracy, weighted_f1, macro_f1, mcc, brier, auroc, average_precision, and
    recall_<class> for each class.
    Raises ValueError for arrays whose shapes or values do not fit the module's description.
    """
    checked, count = checked_scores(scores, classes), len(classes)
    columns = np.concatenate([np.eye(count)[checked.argmax(axis=1)], squared_errors(checked)], axis=1)
    totals = class_totals(labels, columns, count, weights, owner)
    matrices, errors = totals[:, :, :count], totals[:, :, count:]
    metrics = {
        "accuracy": accuracy(matrices),
        "balanced_accuracy": balanced_accuracy(matrices),
        "weighted_f1": weighted_f1(matrices),
        "macro_f1": macro_f1(matrices),
        "mcc": mcc(matrices),
        "brier": brier(matrices, errors),
    }
    if ranked:
        ranking = _ranking(labels, checked, classes, weights, owner)
        metrics |= {"auroc": ranking[:, 0], "average_precision": ranking[:, 1]}
    return metrics | {f"recall_{name}": recall for name, recall in zip(classes, recalls(matrices).T, strict=True)}


# -- the confusion matrix and what follows from it


def confusion(
    labels: ArrayLike, predicted: ArrayLike, classes: Sequence[str], weights: ArrayLike | None = None,
    owner: ArrayLike | None = None,
) -> Floats:  # fmt: skip
    """Weighted confusion matrices (R, K, K): rows = true class, columns = predicted class, from indices (N,).

    Raises ValueError for labels or weights that do not fit the module's description.
    """
    return class_totals(labels, np.eye(len(classes))[np.asarray(predicted)], len(classes), weights, owner)


def class_totals(
    labels: ArrayLike, columns: Floats, n_classes: int, weights: ArrayLike | None = None, owner: ArrayLike | None = None
) -> Floats:
    """Weighted sums (R, K, F) of the columns (N, F) over the examples of each true class.

    Raises ValueError for labels or weights that do not fit the module's description.
    """
    every = range(n_classes)
    truths, masses, groups = checked_replicates(labels, weights, owner, n_classes, len(columns))
    if groups is not None and len(truths) == 1:  # each group is summed once, and its sums are weighed
        sums = np.zeros((masses.shape[1], n_classes, columns.shape[1]))
        np.add.at(sums, (groups, truths[0]), columns)
        return (masses @ sums.reshape(len(sums), -1)).reshape(len(masses), n_classes, -1)

    def measure(truth: Integers, mass: Floats) -> Floats:
        mass = mass if groups is None else mass[:, groups]
        return np.stack([(mass * (truth == label)) @ columns for label in every], axis=1)

    return in_blocks(measure, truths, masses, BLOCK_VALUES)


def accuracy(confusion: Floats) -> Floats:
    """Share of the weight that is predicted right, (R,), from confusion matrices (R, K, K)."""
    return ratio(_diagonal(confusion).sum(axis=1), confusion.sum(axis=(1, 2)))


def recalls(confusion: Floats) -> Floats:
    """Recall per class, (R, K), from confusion matrices (R, K, K); NaN where a class has no examples."""
    return ratio(_diagonal(confusion), confusion.sum(axis=2))


def balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall over the classes that are present, (R,) (Brodersen et al., ICPR 2010), from (R, K, K)."""
    return mean_of_defined(recalls(confusion))


def macro_f1(confusion: Floats) -> Floats:
    """Unweighted mean of F1 over all K classes, (R,), from (R, K, K).

    A class that is neither present nor predicted counts as F1 = 0.
    """
    return np.where(confusion.sum(axis=(1, 2)) > 0, _f1(confusion).mean(axis=1), np.nan)


def weighted_f1(confusion: Floats) -> Floats:
    """Mean of F1 over the classes, weighted by how much of each class there is, (R,), from (R, K, K)."""
    present = confusion.sum(axis=2)
    return ratio((present * _f1(confusion)).sum(axis=1), present.sum(axis=1))


def mcc(confusion: Floats) -> Floats:
    """Matthews correlation for K classes, (R,) (Gorodkin, Comput. Biol. Chem. 28, 2004), from (R, K, K).

    0 when all examples are of one class or all predictions are.
    """
    truth, chosen = confusion.sum(axis=2), confusion.sum(axis=1)
    total = truth.sum(axis=1)
    covariance = _diagonal(confusion).sum(axis=1) * total - (truth * chosen).sum(axis=1)
    spread = np.sqrt(_variance(truth)) * np.sqrt(_variance(chosen))
    return np.where(total > 0, ratio(covariance, spread, undefined=0.0), np.nan)


def _variance(margin: Floats) -> Floats:
    """(sum m)^2 - sum m^2 of a margin (R, K), written as sum over i != j of m_i m_j: exactly 0 for a single class."""
    return np.einsum("ri,ij,rj->r", margin, 1.0 - np.eye(margin.shape[1]), margin)


def _f1(confusion: Floats) -> Floats:
    """F1 per class (R, K); 0 for a class that is neither present nor predicted."""
    return ratio(2.0 * _diagonal(confusion), confusion.sum(axis=1) + confusion.sum(axis=2), undefined=0.0)


def _diagonal(confusion: Floats) -> Floats:
    return np.diagonal(confusion, axis1=1, axis2=2)


# -- probabilities


def squared_errors(scores: Floats) -> Floats:
    """(N, K): the sum over classes of (p - o)^2 of each forecast (N, K), were each class the true one (o = 1).

    Rounded to `LOSS_STEP`. NaN throughout where a row is no probabilities: outside 0..1, or a sum that is off 1 by more
    than 1e-6. Nothing is rescaled: what was rescaled is another forecast.
    """
    if (scores < 0).any() or (scores > 1).any() or (np.abs(scores.sum(axis=1) - 1) > 1e-6).any():
        return np.full(scores.shape, np.nan)
    errors = (scores**2).sum(axis=1, keepdims=True) - 2 * scores + 1
    return np.asarray(np.round(errors / LOSS_STEP) * LOSS_STEP)


def brier(confusion: Floats, errors: Floats) -> Floats:
    """Brier score, (R,), over classes that count the same; lower is better. confusion, errors: (R, K, K).

    errors: the sums of `squared_errors` over the examples of each true class (rows). Per example it is the sum over all
    K classes of (p - o)^2 (Brier, Mon. Weather Rev. 78, 1950), from 0 to 2: of two classes twice the (p - o)^2 of one.
    It is the mean over the classes that are present of their examples' means. Every predictor here is fitted with
    classes weighing the same, so its probabilities are those of a world where classes are equally frequent. With plain
    means over an uneven label they would pay for that, and a forecast of the class shares would beat the model. So the
    forecast of 1 / K scores 1 - 1 / K, and the lowest expected score is had by the probabilities of that world.
    """
    return mean_of_defined(ratio(_diagonal(errors), confusion.sum(axis=2)))


# -- ranking metrics


def _ranking(
    labels: ArrayLike, scores: Floats, classes: Sequence[str], weights: ArrayLike | None, owner: ArrayLike | None
) -> Floats:
    """AUROC and average precision, (R, 2), of checked scores.

    AUROC: the weighted chance that a positive outscores a negative, a tie counting half (Hanley & McNeil, Radiology
    143, 1982). Average precision: the sum over thresholds of precision x gain in recall, tied scores being one
    threshold, without interpolation, as in scikit-learn; undefined for positives alone, where there is nothing to rank.
    Two classes: the last class is the positive one. More: the unweighted mean of one class against the rest over the
    classes that are present. NaN where only one class is present.
    """
    replicates = checked_replicates(labels, weights, owner, len(classes), len(scores))
    positives = [1] if len(classes) == 2 else range(len(classes))
    per_class = [_one_against_rest(label, scores[:, label], *replicates) for label in positives]
    return mean_of_defined(np.stack(per_class, axis=-1))


def _one_against_rest(
    positive: int, scores: Floats, labels: Integers, weights: Floats, groups: Integers | None
) -> Floats:
    """AUROC and average precision, (R, 2), of one score (N,) for one class; NaN where it or the rest is absent."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1]))
    places = order if groups is None else groups[order]

    def measure(truth: Integers, mass: Floats) -> Floats:
        mass = mass.take(places, axis=1)
        hits = mass * (truth.take(order, axis=1) == positive)
        misses = mass - hits
        if len(starts) < len(order):  # tied scores are one threshold
            hits, misses = np.add.reduceat(hits, starts, axis=1), np.add.reduceat(misses, starts, axis=1)
        hits_so_far, misses_so_far = hits.cumsum(axis=1), misses.cumsum(axis=1)
        n_hits, n_misses = hits_so_far[:, -1], misses_so_far[:, -1]
        pairs_won = (misses * (hits_so_far - 0.5 * hits)).sum(axis=1)
        precision = ratio(hits_so_far, hits_so_far + misses_so_far, undefined=0.0)
        gained = np.where(n_misses > 0, (hits * precision).sum(axis=1), np.nan)
        return np.stack([ratio(pairs_won, n_hits * n_misses), ratio(gained, n_hits)], axis=1)

    return in_blocks(measure, labels, weights, min(BLOCK_VALUES, RANKED_VALUES))


def auroc(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str]) -> Floats:
    """AUROC, (R,), as in `score_all`, of fixed scores (N, K) under many labels (R, N).

    By the ranks of the scores, which are the same under all labels, so that it costs one product of matrices for each
    class (Hanley & McNeil 1982). Raises ValueError for arrays that do not fit the module's description.
    """
    checked = checked_scores(scores, classes)
    truths, _, _ = checked_replicates(labels, None, None, len(classes), len(checked))
    positives = [1] if len(classes) == 2 else range(len(classes))
    per_class = []
    for label in positives:
        _, places, counts = np.unique(checked[:, label], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1; tied scores share the mean of theirs
        hits = (truths == label).astype(np.float64)
        n = hits.sum(axis=1)
        per_class.append(ratio(hits @ ranks - n * (n + 1) / 2, n * (len(checked) - n)))
    return mean_of_defined(np.stack(per_class, axis=-1))


# -- replicates


def blocks(n_replicates: int, n_examples: int, values: int | None = None) -> Iterator[slice]:
    """Slices over the replicates, each of at most `values` (BLOCK_VALUES) values, and at least one replicate."""
    step = max(1, (values or BLOCK_VALUES) // n_examples)
    return (slice(start, min(start + step, n_replicates)) for start in range(0, n_replicates, step))


def in_blocks(measure: Callable[[Integers, Floats], Floats], labels: Integers, weights: Floats, values: int) -> Floats:
    """`measure` on labels (1 or R, N) and weights (1 or R, N or G), block by block over the replicates."""

    def part(rows: slice) -> Floats:
        return measure(labels if len(labels) == 1 else labels[rows], weights if len(weights) == 1 else weights[rows])

    return np.concatenate([part(rows) for rows in blocks(max(len(labels), len(weights)), labels.shape[1], values)])


def ratio(numerator: Floats, denominator: Floats, undefined: float = np.nan) -> Floats:
    """numerator / denominator, and `undefined` where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, undefined), where=denominator > 0)


def mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1, dtype=np.float64))


# -- checks


def checked_labels(labels: ArrayLike, n_classes: int, name: str = "labels") -> Integers:
    """`labels` as int64. Raises ValueError when they are empty, not integers, not (N,) or (R, N), or not in 0..K-1."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{name} must be a non-empty array of integers, not {array.dtype} of shape {array.shape}")
    if array.min() < 0 or array.max() >= n_classes:
        raise ValueError(f"{name} must lie in 0..{n_classes - 1}, not in {array.min()}..{array.max()}")
    return array.astype(np.int64, copy=False)


def checked_groups(groups: ArrayLike, n_examples: int, name: str) -> tuple[NDArray[np.str_], Integers]:
    """The different groups, sorted, (G,), and which of them each example belongs to, (N,).

    Raises ValueError when there is not one for each example, or no example.
    """
    names = np.asarray(groups, dtype=np.str_)
    if names.shape != (n_examples,) or n_examples == 0:
        raise ValueError(f"{name} must be one name for each of {n_examples} examples, not {names.shape}")
    different, owner = np.unique(names, return_inverse=True)
    return different, owner.astype(np.int64)


def checked_scores(scores: ArrayLike, classes: Sequence[str]) -> Floats:
    """Scores (N, K) as float64. Raises ValueError for less than two classes, another shape, and what is not finite."""
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise ValueError(f"classes must be two or more different names, not {list(classes)}")
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(classes) or len(array) == 0:
        raise ValueError(f"scores must have shape (N, {len(classes)}) with N > 0, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("scores must be finite")
    return array


def checked_replicates(
    labels: ArrayLike, weights: ArrayLike | None, owner: ArrayLike | None, n_classes: int, n_examples: int
) -> tuple[Integers, Floats, Integers | None]:
    """Labels and weights as 2-d arrays, each of one row or of R rows; the groups of the examples where there are.

    Raises ValueError for arrays that do not fit the module's description.
    """
    truth = np.atleast_2d(checked_labels(labels, n_classes))
    mass = np.ones((1, n_examples)) if weights is None else np.asarray(weights, dtype=np.float64)
    groups = None if owner is None else np.asarray(owner, dtype=np.int64)
    if truth.shape[1] != n_examples:
        raise ValueError(f"labels must name {n_examples} examples, not {truth.shape[1]}")
    if groups is not None and (groups.shape != (n_examples,) or mass.ndim != 2 or groups.max() >= mass.shape[1]):
        raise ValueError(f"owner must name a column of weights {mass.shape} for each of {n_examples} examples")
    if mass.ndim != 2 or (groups is None and mass.shape[1] != n_examples) or len(mass) == 0:
        raise ValueError(f"weights must have shape (R, {n_examples}) with R > 0, not {mass.shape}")
    if not (np.isfinite(mass).all() and (mass >= 0).all()):
        raise ValueError("weights must be finite and >= 0")
    if 1 not in (len(truth), len(mass)) and len(truth) != len(mass):
        raise ValueError(f"labels have {len(truth)} replicates and weights have {len(mass)}")
    return truth, mass, groups
