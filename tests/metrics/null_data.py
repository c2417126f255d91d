# SPDX-License-Identifier: Apache-2.0
"""Simulated data sets and simple learners, for counting how often data of nothing lead to a claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from gazeray.metrics.classification import Floats, score_all


class Design(NamedTuple):
    """A data set to simulate. whose: what the label belongs to. effect: of the label on two features, in sd."""

    whose: Literal["participant", "stimulus", "trial"]
    people: int
    stimuli: int
    hold_out: Literal["participants", "stimuli", "both"] = "participants"
    classes: int = 2
    features: int = 10
    effect: float = 0.0
    learner: Literal["ridge", "one of many"] = "ridge"
    alike: float = 1.0  # sd of what a feature has in common in the trials of a participant, and of a stimulus
    rare: float = 0.0  # share of the second of two classes; 0: classes are equally frequent
    uneven: bool = False  # from one trial to all, by person; else everybody saw every stimulus
    ease: float = 0.0  # sd of the log odds of the label among the stimuli, where the label is the trial's
    model: Literal["gaze", "stimulus"] = "gaze"  # stimulus: what the stimulus alone says, and noise


def simulated(design: Design, rng: np.random.Generator) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Participants and stimuli of N trials, labels (N,) and features (N, F)."""
    who, what = (values.ravel() for values in np.mgrid[: design.people, : design.stimuli])
    labels = _labels(design, who, what, rng)
    features = rng.normal(size=(len(who), design.features))
    for size, owner in ((design.people, who), (design.stimuli, what)):
        features += design.alike * rng.normal(size=(size, design.features))[owner]
    features[:, :2] += design.effect * (labels == 0)[:, None]
    if design.uneven:
        seen = rng.permuted(np.tile(np.arange(design.stimuli), (design.people, 1)), axis=1)
        kept = (seen < rng.integers(1, design.stimuli + 1, (design.people, 1))).ravel()
        who, what, labels, features = who[kept], what[kept], labels[kept], features[kept]
    names = {"participant": [f"p{number}" for number in who], "stimulus": [f"s{number}" for number in what]}
    return pa.table(names), labels, features


def _labels(design: Design, who: np.ndarray, what: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if design.ease:
        odds = rng.normal(0, design.ease, design.stimuli)[what]
        return np.asarray(rng.random(len(who)) < 1 / (1 + np.exp(-odds)), np.int64)
    if design.whose == "trial":
        if design.rare:
            return rng.permutation(_dealt(design, len(who)))
        each = np.tile(_dealt(design, design.stimuli), (design.people, 1))  # each participant has all classes
        return rng.permuted(each, axis=1).ravel()
    count, owner = {"participant": (design.people, who), "stimulus": (design.stimuli, what)}[design.whose]
    return rng.permutation(_dealt(design, count))[owner]


def _dealt(design: Design, count: int) -> np.ndarray:
    if design.rare:
        return (np.arange(count) < round(design.rare * count)).astype(np.int64)
    return np.arange(count) % design.classes


def ridge(known: np.ndarray, labels: np.ndarray, tested: np.ndarray, classes: int) -> np.ndarray:
    """(N_test, K) scores: least squares on the classes, which weigh the same, with a ridge penalty of 10."""
    mean, spread = known.mean(axis=0), known.std(axis=0)
    left, right = (np.column_stack([(x - mean) / spread, np.ones(len(x))]) for x in (known, tested))
    target, counts = np.eye(classes)[labels], np.bincount(labels, minlength=classes)
    weighed = left * (len(labels) / counts[labels])[:, None]
    penalty = 10.0 * classes * np.diag(np.append(np.ones(left.shape[1] - 1), 1e-9))
    return np.asarray(right @ np.linalg.solve(weighed.T @ left + penalty, weighed.T @ target))


def one_of_many(known: np.ndarray, labels: np.ndarray, tested: np.ndarray, classes: int) -> np.ndarray:
    """(N_test, K) scores by the one feature whose class means differ most: small changes of the labels change all."""
    mean, spread = known.mean(axis=0), known.std(axis=0)
    left, right = ((x - mean) / spread for x in (known, tested))
    means = np.eye(classes)[labels].T @ left / np.bincount(labels, minlength=classes)[:, None]
    chosen = means.std(axis=0).argmax()
    return np.asarray(-((right[:, [chosen]] - means[:, chosen]) ** 2))


LEARNERS = {"ridge": ridge, "one of many": one_of_many}


# -- the same as the package does, in less time


def logistic(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, penalty: float = 1.0
) -> np.ndarray:  # fmt: skip
    """`logistic_regression_scores` of two classes by Newton's method, which takes a tenth of the time."""
    spread = train.std(axis=0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    left, right = (np.column_stack([(x - train.mean(axis=0)) / spread, np.ones(len(x))]) for x in (train, test))
    counts = np.bincount(labels, minlength=classes)
    assert classes == 2
    if counts.min() == 0:
        return np.tile(np.eye(2)[counts.argmax()], (len(test), 1))
    weight = (len(labels) / (2 * counts))[labels]
    ridges, beta = penalty * np.append(np.ones(left.shape[1] - 1), 1e-9), np.zeros(left.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-left @ beta))
        slope = left.T @ (weight * (p - labels)) + ridges * beta
        step = np.linalg.solve((left * (weight * p * (1 - p))[:, None]).T @ left + np.diag(ridges), slope)
        beta -= step
        if np.abs(step).max() < 1e-9:
            break
    ones = 1 / (1 + np.exp(-right @ beta))
    return np.stack([1 - ones, ones], axis=1)


def unranked(*arguments: Any, ranked: bool = True, **named: Any) -> dict[str, Floats]:
    """`score_all` of balanced accuracy alone, by which all claims here go; those that rank examples are undefined."""
    found = score_all(*arguments, ranked=False, **named)["balanced_accuracy"]
    nothing: Sequence[str] = ("auroc", "average_precision") if ranked else ()
    return {"balanced_accuracy": found, **{name: np.full_like(found, np.nan) for name in nothing}}
