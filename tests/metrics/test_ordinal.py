# SPDX-License-Identifier: Apache-2.0
"""Metrics of ratings against scikit-learn, SciPy, the published formula, and plain loops over repeated rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sk

from gazeray.metrics.ordinal import (
    BINS,
    LEAST_P,
    LOWER_IS_BETTER,
    ORDER,
    balanced,
    expected_levels,
    ordinal_chance,
    rounded,
    score_ordinal,
    why_undefined,
)
from gazeray.metrics.statistics import resampled

SEVEN = [*"1234567"]


def ratings(seed: int, n: int, count: int, known: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,) of uneven shares, probabilities (n, count) that know something of them, and those shares (count,)."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.full(count, 2.0))
    labels = rng.choice(count, n, p=prior)
    distance = (np.arange(count) - (labels + rng.normal(0, 1.5, n))[:, None]) ** 2
    scores = prior * np.exp(-known * distance / 4)
    return labels, scores / scores.sum(axis=1, keepdims=True), prior


def by_libraries(labels: np.ndarray, scores: np.ndarray, prior: np.ndarray) -> dict[str, float]:
    """Every metric of three or more levels, by scikit-learn, SciPy and the formulas as they are published."""
    count = scores.shape[1]
    decided, said, expected = (scores / prior).argmax(axis=1), scores.argmax(axis=1), expected_levels(scores)
    level = rounded(expected)
    bins = [(scores.max(axis=1) > low / BINS) & (scores.max(axis=1) <= (low + 1) / BINS) for low in range(BINS)]
    gaps = [
        abs((said[own] == labels[own]).mean() - scores[own].max(axis=1).mean()) * own.mean()
        for own in bins
        if own.any()
    ]
    covariance = np.mean((expected - expected.mean()) * (labels - labels.mean()))
    lin = 2 * covariance / (expected.var() + labels.var() + (expected.mean() - labels.mean()) ** 2)
    recalls = sk.recall_score(labels, decided, labels=range(count), average=None, zero_division=np.nan)
    return {
        "balanced_accuracy": sk.balanced_accuracy_score(labels, decided),
        "accuracy": sk.accuracy_score(labels, said),
        "qwk": sk.cohen_kappa_score(labels, level, weights="quadratic"),
        "mae": sk.mean_absolute_error(labels, level),
        "within_one": float(np.mean(np.abs(labels - level) <= 1)),
        "spearman": float(spearmanr(labels, expected).statistic),
        "ccc": lin,
        "log_loss": sk.log_loss(labels, scores, labels=range(count)),
        "ece": sum(gaps),
        **{f"recall_{place + 1}": recall for place, recall in enumerate(recalls)},
    }


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("count", [3, 5, 7])
def test_every_metric_equals_the_libraries_on_all_rows_and_on_rows_that_are_repeated(count: int) -> None:
    labels, scores, prior = ratings(count, 90, count)
    weights = np.random.default_rng(1).integers(0, 4, (6, 90))
    levels = SEVEN[:count]
    found, whole = (score_ordinal(labels, scores, prior, levels, True, some) for some in (weights, None))
    assert list(whole) == [name for name in ORDER if name != "auroc"] + [f"recall_{level}" for level in levels]
    for place, times in enumerate([np.ones(90, int), *weights]):
        again = np.repeat(np.arange(90), times)
        expected = by_libraries(labels[again], scores[again], prior)
        for name, value in expected.items():
            own = (whole if place == 0 else found)[name][max(0, place - 1)]
            np.testing.assert_allclose(own, value, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("count", "ordered"), [(2, True), (2, False), (4, False)])
def test_two_classes_and_unordered_ones_have_the_area_under_roc_in_place_of_distances(
    count: int, ordered: bool
) -> None:
    labels, scores, prior = ratings(3, 80, count)
    weights = np.random.default_rng(2).integers(0, 3, (4, 80))
    found = score_ordinal(labels, scores, prior, SEVEN[:count], ordered, weights)
    assert [*found][:4] == ["balanced_accuracy", "accuracy", "auroc", "log_loss"]
    assert not {"qwk", "mae", "within_one", "spearman", "ccc"} & set(found)
    ratios = balanced(scores, np.broadcast_to(prior, scores.shape))
    for place, times in enumerate(weights):
        again = np.repeat(np.arange(80), times)
        present = [1] if count == 2 else np.unique(labels[again])
        each = [sk.roc_auc_score(labels[again] == one, ratios[again, one]) for one in present]
        np.testing.assert_allclose(found["auroc"][place], np.mean(each), atol=1e-12)


def test_weights_of_groups_are_those_of_their_rows_and_a_prior_of_each_row_is_that_of_all() -> None:
    labels, scores, prior = ratings(4, 60, 5)
    owner, weights = np.arange(60) % 7, np.random.default_rng(3).integers(0, 4, (5, 7))
    by_group = score_ordinal(labels, scores, np.tile(prior, (60, 1)), SEVEN[:5], True, weights, owner)
    by_row = score_ordinal(labels, scores, prior, SEVEN[:5], True, weights[:, owner])
    for name, values in by_row.items():
        np.testing.assert_array_equal(by_group[name], values, err_msg=name)


def test_results_do_not_depend_on_the_order_of_the_examples() -> None:
    labels, scores, prior = ratings(5, 200, 7)
    weights, order = np.random.default_rng(4).integers(0, 5, (3, 200)), np.random.default_rng(5).permutation(200)
    one = score_ordinal(labels, scores, prior, SEVEN, True, weights)
    other = score_ordinal(labels[order], scores[order], prior, SEVEN, True, weights[:, order])
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


# -- what the published tables say

COUNTS = {"arousal": [8200, 6300, 5850, 4700, 2700, 800, 600], "valence": [1000, 1300, 3500, 12000, 8200, 2050, 1100]}
DIAGONALS = {"arousal": [63, 52, 56, 52, 51, 62, 73], "valence": [36, 25, 32, 45, 27, 46, 50]}


@pytest.mark.parametrize(("label", "macro", "raw"), [("arousal", 0.584, 0.566), ("valence", 0.373, 0.374)])
def test_published_confusions_give_the_published_accuracy_and_the_lower_raw_one(
    label: str, macro: float, raw: float
) -> None:
    labels, said = (np.repeat(np.arange(7), 100), np.concatenate([np.arange(100) < hits for hits in DIAGONALS[label]]))
    scores = np.eye(7)[np.where(said, labels, (labels + 1) % 7)]
    weights = np.repeat(COUNTS[label], 100)[None]
    found = score_ordinal(labels, scores, np.full(7, 1 / 7), SEVEN, True, weights)
    assert found["balanced_accuracy"][0] == pytest.approx(macro, abs=0.0006)
    assert found["accuracy"][0] == pytest.approx(raw, abs=0.002)
    majority = max(COUNTS[label]) / sum(COUNTS[label])
    assert (found["accuracy"][0] < majority) == (label == "valence"), "below its own majority class"


# -- the two decisions


def test_mean_recall_goes_by_p_over_prior_and_accuracy_by_p() -> None:
    prior = np.array([0.9, 0.1])
    scores = np.array([[0.8, 0.2], [0.95, 0.05]])
    found = score_ordinal([1, 0], scores, prior, ["low", "high"])
    assert found["balanced_accuracy"][0] == 1.0
    assert found["accuracy"][0] == 0.5


def test_forecast_of_the_shares_is_at_chance_however_the_folds_differ_in_them() -> None:
    """The shares that are left to train on lie opposite to those that are tested; nobody may be punished for it."""
    labels = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    fold = np.arange(100) % 3 == 0
    fold[:30] = True
    prior = np.stack([np.bincount(labels[fold != side], minlength=4) / (fold != side).sum() for side in fold])
    found = score_ordinal(labels, prior, prior, SEVEN[:4])
    assert found["balanced_accuracy"][0] == 0.25
    assert np.isnan(found["spearman"][0]), "it says the same of everybody"
    two = score_ordinal((labels > 1).astype(int), prior[:, :2], prior[:, :2], ["no", "yes"])
    assert two["auroc"][0] == 0.5


def test_level_that_nobody_was_trained_on_is_never_said_and_costs_a_finite_loss() -> None:
    prior = np.array([0.5, 0.5, 0.0])
    scores = np.array([[0.6, 0.4, 0.0], [0.3, 0.7, 0.0], [0.5, 0.5, 0.0]])
    assert balanced(scores, np.broadcast_to(prior, (3, 3))).argmax(axis=1).tolist() == [0, 1, 0]
    found = score_ordinal([0, 1, 2], scores, prior, SEVEN[:3])
    assert found["recall_3"][0] == 0
    assert found["log_loss"][0] == pytest.approx(-(np.log(0.6) + np.log(0.7) + np.log(LEAST_P)) / 3)


def test_constant_guess_has_kappa_and_concordance_of_zero_and_no_rank_correlation() -> None:
    found = score_ordinal([0, 1, 2, 2], np.tile([0.2, 0.5, 0.3], (4, 1)), [0.3, 0.3, 0.4], SEVEN[:3])
    assert found["qwk"][0] == 0
    assert found["ccc"][0] == 0
    assert np.isnan(found["spearman"][0])


def test_what_is_undefined_is_nan_and_says_why() -> None:
    scores = np.eye(3)[[1, 1]]
    found = score_ordinal([1, 1], scores, np.full(3, 1 / 3), SEVEN[:3])
    undefined = [name for name, (value,) in found.items() if np.isnan(value)]
    assert undefined == ["qwk", "spearman", "ccc", "recall_1", "recall_3"]
    assert found["balanced_accuracy"][0] == found["accuracy"][0] == 1
    assert [why_undefined(name) for name in undefined] == [
        "all examples and all predictions are of one level",
        "all examples are of one level, or all predictions are the same",
        "all examples and all predictions are of one level",
        "no example is of this level",
        "no example is of this level",
    ]
    assert np.isnan(score_ordinal([1, 1], scores[:, :2] / 1.0 + [[0, 0]], [0.5, 0.5], ["a", "b"])["auroc"][0])
    assert why_undefined("auroc") == "all examples are of one class"
    nobody = score_ordinal([0, 1], np.eye(3)[:2], np.full(3, 1 / 3), SEVEN[:3], True, np.zeros((1, 2)))
    assert all(np.isnan(value[0]) for value in nobody.values())


def test_chance_of_mean_recall_is_that_of_the_levels_that_are_there() -> None:
    """Whoever always says one level scores so: less would call nothing above chance."""
    labels = np.array([0, 0, 2, 2, 2, 5])
    always = np.tile(np.eye(7)[2], (6, 1))
    chance = ordinal_chance(labels, SEVEN)["balanced_accuracy"]
    assert chance == pytest.approx(1 / 3)
    assert score_ordinal(labels, always, np.full(7, 1 / 7), SEVEN)["balanced_accuracy"][0] == pytest.approx(chance)


def test_chance_is_what_who_knows_the_shares_alone_scores() -> None:
    labels, _, _ = ratings(6, 5000, 7)
    shares = np.bincount(labels, minlength=7) / 5000
    chance = ordinal_chance(labels, SEVEN)
    alone = score_ordinal(labels, np.tile(shares, (5000, 1)), shares, SEVEN)
    for name in ("balanced_accuracy", "qwk", "mae", "within_one", "ccc", "log_loss"):
        assert alone[name][0] == pytest.approx(chance[name], abs=1e-4), name
    drawn = np.eye(7)[np.random.default_rng(0).choice(7, 5000, p=shares)]
    assert score_ordinal(labels, drawn, shares, SEVEN)["accuracy"][0] == pytest.approx(chance["accuracy"], abs=0.02)
    assert set(alone) | {"auroc"} == set(chance)
    assert set(ORDER) > LOWER_IS_BETTER


@pytest.mark.parametrize(
    ("labels", "scores", "prior", "message"),
    [
        pytest.param([0, 3], np.full((2, 3), 1 / 3), np.full(3, 1 / 3), "0..2", id="label_outside_the_levels"),
        pytest.param([0], np.full((2, 3), 1 / 3), np.full(3, 1 / 3), "2 examples", id="too_few_labels"),
        pytest.param([0, 1], np.full((2, 2), 0.5), np.full(2, 0.5), "shape", id="too_few_columns"),
        pytest.param([0, 1], np.full((2, 3), np.nan), np.full(3, 1 / 3), "finite", id="nan"),
        pytest.param([0, 1], np.full((2, 3), 1 / 3), np.full(2, 0.5), "prior must have shape", id="prior_of_two"),
        pytest.param([0, 1], np.full((2, 3), 1 / 3), [1.5, -0.5, 0], "prior must be finite", id="negative_prior"),
    ],
)
def test_what_does_not_fit_raises_value_error(
    labels: Sequence[int], scores: object, prior: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score_ordinal(labels, scores, prior, SEVEN[:3])


# -- resamples


def test_crossed_resamples_of_ratings_are_those_of_a_plain_loop() -> None:
    labels, scores, prior = ratings(7, 48, 4)
    who, what = (
        np.array([f"{kind}{n}" for n in part.ravel()]) for kind, part in zip("ps", np.indices((6, 8)), strict=True)
    )
    guess = np.tile(prior, (48, 1))

    def measure(labels: Any, theirs: Any, levels: Any, weights: Any = None, owner: Any = None) -> dict[str, np.ndarray]:
        return score_ordinal(labels, theirs, prior, levels, True, weights, owner)

    found = resampled(labels, {"model": scores, "guess": guess}, who, SEVEN[:4], 5, 0, what, measure=measure)
    people = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), 5)
    stimuli = np.random.default_rng((0, 1)).multinomial(8, np.full(8, 1 / 8), 5)
    for draw in range(5):
        again = np.repeat(np.arange(48), np.outer(people[draw], stimuli[draw]).ravel())
        for name, theirs in (("model", scores), ("guess", guess)):
            own = score_ordinal(labels[again], theirs[again], prior, SEVEN[:4])
            for metric, values in own.items():
                np.testing.assert_allclose(found[name][metric].replicates[draw], values[0], err_msg=metric)
