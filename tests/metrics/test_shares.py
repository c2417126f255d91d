# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares of few trials against scipy, and of the mean recall against its formula, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from gazeray.metrics.shares import mean_recall, mean_recall_intervals, wilson


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (0, 12), (12, 12), (3, 7), (180, 400)])
def test_wilson_agrees_with_scipy(hits: int, trials: int) -> None:
    known = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert wilson(np.array([hits]), np.array([trials]))[0] == pytest.approx(list(known), abs=1e-12)


def test_nothing_is_known_without_a_trial() -> None:
    assert wilson(np.array([0]), np.array([0])).tolist() == [[0.0, 1.0]]


def by_hand(confusion: list[list[int]]) -> tuple[float, float, float]:
    """Mean recall, low and high, class by class."""
    rows = [(row[label], sum(row)) for label, row in enumerate(confusion) if sum(row)]
    value = sum(hits / trials for hits, trials in rows) / len(rows)
    ends = [binomtest(hits, trials).proportion_ci(0.95, method="wilson") for hits, trials in rows]
    low = math.sqrt(sum((hits / trials - end.low) ** 2 for (hits, trials), end in zip(rows, ends, strict=True)))
    high = math.sqrt(sum((end.high - hits / trials) ** 2 for (hits, trials), end in zip(rows, ends, strict=True)))
    return value, max(0.0, value - low / len(rows)), min(1.0, value + high / len(rows))


@pytest.mark.parametrize(
    "confusion",
    [[[9, 0], [0, 3]], [[5, 4], [1, 2]], [[0, 12], [0, 0]], [[1, 0], [0, 0]], [[3, 1], [2, 0]],
     [[4, 1, 0], [0, 0, 0], [2, 2, 3]]],
    ids=["all_right", "usual", "all_wrong_of_one_class", "one_trial", "one_class_never", "a_class_of_three_gone"],
)  # fmt: skip
def test_interval_of_the_mean_recall_is_that_of_the_formula_and_holds_the_score(confusion: list[list[int]]) -> None:
    matrices = np.array([confusion])
    value, low, high = by_hand(confusion)
    assert mean_recall(matrices)[0] == pytest.approx(value)
    assert mean_recall_intervals(matrices)[0] == pytest.approx([low, high], abs=1e-12)
    assert low <= value <= high


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, people = np.random.default_rng(0), 4000
    hits = [rng.binomial(trials, recall, people) for trials, recall in ((9, 0.8), (6, 0.6))]
    matrices = np.zeros((people, 2, 2), dtype=np.int64)
    for label, (trials, right) in enumerate(zip((9, 6), hits, strict=True)):
        matrices[:, label, label], matrices[:, label, 1 - label] = right, trials - right
    low, high = mean_recall_intervals(matrices).T
    assert 0.93 < np.mean((low <= 0.7) & (high >= 0.7)) < 0.98
