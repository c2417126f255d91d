# SPDX-License-Identifier: Apache-2.0
"""How sure a score is: intervals over participants, chance levels, baselines, permutation tests.

The trials of one participant resemble each other, so participants are what is resampled, never single trials. An
interval says what another sample of people would give the models as they were fitted; it does not hold the variation
from fitting them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeray.metrics.bootstrap import TIE, Estimate, draws_in_parts, entry, number
from gazeray.metrics.classification import BLOCK_VALUES, Floats, Integers, blocks, checked_labels, score_all

# -- the bootstrap over participants


def resampled(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    participants: ArrayLike,
    classes: Sequence[str],
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Estimate]]:
    """{predictor: {metric of `classification.score_all`: on all examples, and on resamples of the participants}}.

    labels (N,), participants (N,), scores: predictor -> (N, K). All predictors meet the same resamples. Raises
    ValueError, naming the predictor, for arrays that do not fit each other, and for n_resamples < 1.
    """
    people, owner = _people(participants, np.size(labels))
    whole: dict[str, dict[str, Floats]] = {}
    for name, theirs in scores.items():
        try:
            whole[name] = score_all(labels, theirs, classes)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    at_once = max(1, BLOCK_VALUES // len(people))
    parts = [
        {name: score_all(labels, theirs, classes, draws, owner) for name, theirs in scores.items()}
        for draws in draws_in_parts(len(people), n_resamples, seed, at_once)
    ]

    def estimate(name: str, metric: str, value: float) -> Estimate:
        replicates = np.concatenate([part[name][metric] for part in parts])
        return Estimate(value, replicates, 0 if np.isnan(value) else len(owner), len(people))

    return {
        name: {metric: estimate(name, metric, float(value)) for metric, (value,) in metrics.items()}
        for name, metrics in whole.items()
    }


def rows(estimates: Mapping[str, Mapping[str, Estimate]], model: str) -> dict[str, dict[str, dict[str, Any]]]:
    """{predictor: {metric: `bootstrap.entry`}}; the model's entries have its gain over each of the others.

    Intervals are None for a single participant, who cannot be resampled, and where fewer than half of the resamples
    define the metric.
    """
    others = {name: theirs for name, theirs in estimates.items() if name != model}

    def one(name: str, metric: str, own: Estimate) -> dict[str, Any]:
        gains = {over: own.minus(theirs[metric]) for over, theirs in others.items()} if name == model else None
        missing = "no example is of this class" if metric.startswith("recall_") else "all examples are of one class"
        return entry(own, gains, missing if np.isnan(own.value) else "")

    return {
        name: {metric: one(name, metric, own) for metric, own in metrics.items()} for name, metrics in estimates.items()
    }


def summarise(
    labels: ArrayLike, classes: Sequence[str], found: Mapping[str, Mapping[str, Mapping[str, Any]]], model: str
) -> dict[str, dict[str, Any]]:
    """Every metric of the model with what it must be read against: the rows in the older form, and chance.

    labels (N,); found: as `rows` gives them. Per metric:

        value             on all examples
        ci95              [low, high], percentile bootstrap over participants
        chance            see `chance_levels`; None where the value is
        baselines         name -> value
        baselines_ci95    name -> [low, high]
        gain_ci95         name -> [low, high] of value minus baseline, both on the same resample (paired)
        ceiling           None: a study that knows one fills it in
        why               where the value is undefined: why
    """
    others = {name: theirs for name, theirs in found.items() if name != model}
    chance = chance_levels(labels, classes)
    return {
        metric: {
            "value": own["value"],
            "ci95": own["ci95"],
            "chance": None if own["value"] is None else chance[metric],
            "baselines": {name: theirs[metric]["value"] for name, theirs in others.items()},
            "baselines_ci95": {name: theirs[metric]["ci95"] for name, theirs in others.items()},
            "gain_ci95": {name: own["gain"][name]["ci95"] for name in others},
            "ceiling": None,
            **({"why": own["why"]} if "why" in own else {}),
        }
        for metric, own in found[model].items()
    }


# -- chance and the trivial guess


def chance_levels(labels: ArrayLike, classes: Sequence[str]) -> dict[str, float]:
    """What each metric of `score_all` is expected to be for a guesser who does not look at the gaze.

    With K classes of prior p_c (their shares in `labels`, (N,)), a guesser who draws class c with probability p_c,
    whatever the truth, is right with probability sum_c p_c * p_c: accuracy. Of the examples it calls c a share p_c is c
    (precision), and of the examples of c it calls a share p_c so (recall); hence F1_c = p_c, with macro F1 =
    sum_c p_c / K = 1 / K and weighted F1 = sum_c p_c * p_c (ratios of expectations: exact as N grows).
    Balanced accuracy and the recalls: 1 / K, the uniform guesser. MCC: 0. AUROC: 1/2. Average precision: precision is
    the prior of the positive class at every threshold; with more than two classes the mean over those present.
    """
    n_classes = len(classes)
    priors = _shares(labels, n_classes)
    agreement = float((priors**2).sum())
    precision = priors[1] if n_classes == 2 else priors[priors > 0].mean()
    levels = {
        "accuracy": agreement,
        "balanced_accuracy": 1.0 / n_classes,
        "weighted_f1": agreement,
        "macro_f1": 1.0 / n_classes,
        "mcc": 0.0,
        "auroc": 0.5,
        "average_precision": float(precision),
    }
    return levels | {f"recall_{name}": 1.0 / n_classes for name in classes}


def majority_scores(train_labels: ArrayLike, n: int, classes: Sequence[str]) -> Floats:
    """Scores (n, K) of the guesser that always says the training people's majority class: 1 for it, 0 for the others.

    On a tie it is the lowest class. Not the class frequencies, although they have the same argmax: a test fold that is
    rich in a class leaves fewer of it to train on, so that frequencies, ranked across folds, fall below chance.
    Raises ValueError without training labels or for labels outside 0..K-1.
    """
    return np.tile(np.eye(len(classes))[_shares(train_labels, len(classes)).argmax()], (n, 1))


def _shares(labels: ArrayLike, n_classes: int) -> Floats:
    """The share of each class among the labels, (K,)."""
    truth = checked_labels(labels, n_classes).ravel()
    return np.bincount(truth, minlength=n_classes) / truth.size


# -- permutations within participants


def permutation_test(
    labels: ArrayLike,
    scores: ArrayLike,
    participants: ArrayLike,
    classes: Sequence[str],
    metric: str = "balanced_accuracy",
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Do the predictions know more about a trial than whose it is: labels (N,) shuffled within participants.

    The predictions (scores, (N, K)) stay as they are, so a predictor that recognises people but not trials gains
    nothing. p = (1 + number of permutations >= observed) / (1 + n), never 0 (Phipson & Smyth, Stat. Appl. Genet. Mol.
    Biol. 9, 2010). Returns metric, value, p, n, null_mean, null_p95 (mean and 95th percentile of the permutations); p
    and the null are None, with a "reason", when no participant has two classes or the metric is not defined.
    Raises ValueError for arrays that do not fit each other, an unknown metric, or n < 1.
    """
    observed = score_all(labels, scores, classes)
    if metric not in observed:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(observed)}")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    value = observed[metric][0]
    _, owner = _people(participants, np.size(labels))
    truth = np.asarray(labels)
    members = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    mixed = [rows for rows in members if truth[rows].min() < truth[rows].max()]
    result = {"metric": metric, "value": number(value), "p": None, "n": n, "null_mean": None, "null_p95": None}
    if not mixed:
        return result | {"reason": "no participant has trials of two classes, so there is nothing to shuffle"}
    if np.isnan(value):
        return result | {"reason": f"{metric} is not defined on these labels"}
    rng = np.random.default_rng(seed)
    shuffles = (_shuffled(truth, mixed, rows.stop - rows.start, rng) for rows in blocks(n, len(truth)))
    ranked = metric in ("auroc", "average_precision")
    null = np.concatenate([score_all(shuffle, scores, classes, ranked=ranked)[metric] for shuffle in shuffles])
    p = (1 + np.count_nonzero(null >= value - TIE)) / (1 + n)
    return result | {"p": float(p), "null_mean": float(null.mean()), "null_p95": float(np.quantile(null, 0.95))}


def _shuffled(labels: NDArray[Any], groups: Sequence[NDArray[np.intp]], n: int, rng: np.random.Generator) -> Integers:
    """`n` copies (n, N) of the labels (N,), each with the labels of every group of rows in a new order."""
    order = np.concatenate(groups)
    neighbours = np.tile(labels[order], (n, 1))  # each group side by side: it is shuffled where it lies
    start = 0
    for rows in groups:
        own = neighbours[:, start : start + len(rows)]
        rng.permuted(own, axis=1, out=own)
        start += len(rows)
    shuffled = np.tile(labels, (n, 1))
    shuffled[:, order] = neighbours
    return shuffled


# -- per participant


def participant_confusions(
    labels: ArrayLike, predicted: ArrayLike, participants: ArrayLike, classes: Sequence[str]
) -> dict[str, dict[str, list[list[int]]]]:
    """{participant: {"confusion": K x K counts}}, rows = true class, columns = predicted, sorted by participant.

    labels, predicted, participants: (N,). Raises ValueError for arrays that do not fit each other.
    """
    n_classes = len(classes)
    truth, chosen = checked_labels(labels, n_classes), checked_labels(predicted, n_classes, "predicted")
    if truth.shape != chosen.shape:
        raise ValueError(f"labels {truth.shape} and predicted {chosen.shape} must have the same shape")
    people, owner = _people(participants, truth.size)
    counts = np.zeros((len(people), n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (owner, truth, chosen), 1)
    return {str(person): {"confusion": count.tolist()} for person, count in zip(people, counts, strict=True)}


def _people(participants: ArrayLike, n_examples: int) -> tuple[NDArray[np.str_], Integers]:
    """The different participants, sorted, (P,), and which of them each example belongs to, (N,)."""
    names = np.asarray(participants, dtype=np.str_)
    if names.shape != (n_examples,) or n_examples == 0:
        raise ValueError(f"participants must be one name for each of {n_examples} examples, not {names.shape}")
    people, owner = np.unique(names, return_inverse=True)
    return people, owner.astype(np.int64)
