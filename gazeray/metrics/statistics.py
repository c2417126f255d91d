# SPDX-License-Identifier: Apache-2.0
"""How sure a score is: intervals over what was held out, chance levels, baselines.

The trials of one participant resemble each other, and so do those of one stimulus. So participants, stimuli or both are
what is resampled, never single trials. An interval says what another sample of them would give the models as they were
fitted; it does not hold the variation from fitting them again. What may be claimed: `gazeray.metrics.permutation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from gazeray.metrics.bootstrap import Estimate, draws_in_parts, entry
from gazeray.metrics.classification import BLOCK_VALUES, Floats, Integers, checked_groups, checked_labels, score_all

# -- the bootstrap over what was held out


class Measure(Protocol):
    """Metrics of what a predictor says, in the manner of `classification.score_all`."""

    def __call__(
        self, labels: ArrayLike, scores: Any, classes: Sequence[str], weights: Floats | None = None,
        owner: Integers | None = None,
    ) -> dict[str, Floats]:  # fmt: skip
        """{metric: (R,)} of labels (N,) under weights (R, G) of the groups that the examples belong to, owner (N,)."""


@dataclass(frozen=True)
class Draws:
    """What is resampled: N examples of groups, or of groups of two kinds that are drawn independently.

    cells (1 or 2, C): the groups of the examples that are drawn alike; owner (N,): which of these each example is.
    counts: how many groups there are of each kind.
    """

    cells: Integers
    owner: Integers
    counts: tuple[int, ...]

    @classmethod
    def of(cls, n_examples: int, groups: ArrayLike, crossed: ArrayLike | None = None) -> Draws:
        """groups, crossed: (N,) names, see `resampled`. Raises ValueError where they are not as many as examples."""
        drawn = [checked_groups(groups, n_examples, "groups")]
        if crossed is not None:
            drawn.append(checked_groups(crossed, n_examples, "crossed"))
        cells, owner = np.unique(np.stack([whose for _, whose in drawn]), axis=1, return_inverse=True)
        return cls(cells, owner.ravel(), tuple(len(names) for names, _ in drawn))

    def weights(self, n_resamples: int, seed: int) -> Iterator[Floats]:
        """How often each cell is drawn, (R, C) at a time, R as many as memory allows, until all resamples are had.

        Raises ValueError for n_resamples < 1.
        """
        at_once = max(1, BLOCK_VALUES // self.cells.shape[1])
        seeds: tuple[int | tuple[int, int], ...] = (seed, (seed, 1))
        streams = [
            draws_in_parts(count, n_resamples, own, at_once) for count, own in zip(self.counts, seeds, strict=False)
        ]
        for draws in zip(*streams, strict=True):
            yield np.prod([times[:, whose] for times, whose in zip(draws, self.cells, strict=True)], axis=0)


def resampled(
    labels: ArrayLike,
    scores: Mapping[str, Any],
    groups: ArrayLike,
    classes: Sequence[str],
    n_resamples: int = 2000,
    seed: int = 0,
    crossed: ArrayLike | None = None,
    *,
    measure: Measure | None = None,
) -> dict[str, dict[str, Estimate]]:
    """{predictor: {metric of `measure`: on all examples, and on resamples of the groups}}.

    measure: `classification.score_all` unless another is given. labels (N,), scores: predictor -> (N, K), or what else
    the measure takes. groups (N,): what was held out, participants or stimuli. crossed (N,): the stimuli, where both
    were. They are then drawn independently, and an example counts as often as its participant was drawn times as often
    as its stimulus was (pigeonhole bootstrap, Owen, Ann. Appl. Stat. 1, 2007). All predictors meet the same resamples.
    Raises ValueError, naming the predictor, for arrays that do not fit each other, and for n_resamples < 1.
    """
    draws, of = Draws.of(np.size(labels), groups, crossed), measure or score_all
    whole: dict[str, dict[str, Floats]] = {}
    for name, theirs in scores.items():
        try:
            whole[name] = of(labels, theirs, classes)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    parts = [
        {name: of(labels, theirs, classes, weights, draws.owner) for name, theirs in scores.items()}
        for weights in draws.weights(n_resamples, seed)
    ]

    def estimate(name: str, metric: str, value: float) -> Estimate:
        replicates = np.concatenate([part[name][metric] for part in parts])
        return Estimate(value, replicates, 0 if np.isnan(value) else len(draws.owner), min(draws.counts))

    return {
        name: {metric: estimate(name, metric, float(value)) for metric, (value,) in metrics.items()}
        for name, metrics in whole.items()
    }


def rows(
    estimates: Mapping[str, Mapping[str, Estimate]], model: str, why: Callable[[str], str] | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """{predictor: {metric: `bootstrap.entry`}}; the model's entries have its gain over each of the others.

    why: of a metric, what makes it undefined; those of `classification.score_all` unless given. Intervals are None for
    a single group, which cannot be resampled, and where fewer than half of the resamples define the metric.
    """
    others = {name: theirs for name, theirs in estimates.items() if name != model}

    def one(name: str, metric: str, own: Estimate) -> dict[str, Any]:
        gains = {over: own.minus(theirs[metric]) for over, theirs in others.items()} if name == model else None
        return entry(own, gains, (why or _missing)(metric) if np.isnan(own.value) else "")

    return {
        name: {metric: one(name, metric, own) for metric, own in metrics.items()} for name, metrics in estimates.items()
    }


def _missing(metric: str) -> str:
    """Why there is no value."""
    if metric == "brier":
        return "the scores are no probabilities: some are outside 0..1, or do not sum to 1"
    return "no example is of this class" if metric.startswith("recall_") else "all examples are of one class"


def summarise(
    labels: ArrayLike, classes: Sequence[str], found: Mapping[str, Mapping[str, Mapping[str, Any]]], model: str,
    chance: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Every metric of the model with what it must be read against: the rows in the older form, and chance.

    labels (N,); found: as `rows` gives them. chance: of each metric; that of `chance_levels` unless given. Per metric:

        value             on all examples
        ci95              [low, high], percentile bootstrap over what was held out
        chance            None where the value is
        baselines         name -> value
        baselines_ci95    name -> [low, high]
        gain_ci95         name -> [low, high] of value minus baseline, both on the same resample (paired)
        ceiling           None: a study that knows one fills it in
        why               where the value is undefined: why
    """
    others = {name: theirs for name, theirs in found.items() if name != model}
    chance = chance_levels(labels, classes) if chance is None else chance
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
    the prior of the positive class at every threshold; with more than two classes the mean over those present. Brier
    score: 1 - 1 / K, the forecast of 1 / K for every class; a guesser who draws classes scores worse.
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
        "brier": 1.0 - 1.0 / n_classes,
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
    people, owner = checked_groups(participants, truth.size, "participants")
    counts = np.zeros((len(people), n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (owner, truth, chosen), 1)
    return {str(person): {"confusion": count.tolist()} for person, count in zip(people, counts, strict=True)}
