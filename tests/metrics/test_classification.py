# SPDX-License-Identifier: Apache-2.0
"""Weighted, batched classification metrics against scikit-learn and against plain loops from the definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as oracle

from gazeray.metrics import classification
from gazeray.metrics.classification import (
    accuracy,
    auroc,
    balanced_accuracy,
    confusion,
    macro_f1,
    mcc,
    recalls,
    score_all,
    weighted_f1,
)

NAMES = ["a", "b", "c", "d"]


class Example:
    """N random predictions, R weightings; probabilities on a coarse grid, so that most are tied."""

    def __init__(self, n_classes: int, seed: int, present: list[int] | None = None, whole: bool = True) -> None:
        rng = np.random.default_rng(seed)
        n_examples, n_replicates = 60, 7
        self.classes = NAMES[:n_classes]
        self.labels = rng.choice(present if present else n_classes, n_examples)
        likely = rng.random((n_examples, n_classes)) + 0.3 * np.eye(n_classes)[self.labels]
        self.scores = rng.multinomial(8, likely / likely.sum(axis=1, keepdims=True)) / 8
        draws = rng.poisson(1.0, (n_replicates, n_examples))
        self.weights = draws.astype(float) if whole else draws * rng.random((n_replicates, n_examples))
        self.predicted = self.scores.argmax(axis=1)


EXAMPLES = [
    pytest.param(Example(2, 0), id="two_classes"),
    pytest.param(Example(2, 1, whole=False), id="two_classes_fractional_weights"),
    pytest.param(Example(3, 2), id="three_classes"),
    pytest.param(Example(3, 3, whole=False), id="three_classes_fractional_weights"),
    pytest.param(Example(3, 4, present=[0, 2]), id="middle_class_absent"),
    pytest.param(Example(4, 5, present=[1, 2]), id="two_of_four_classes_absent"),
]


def sklearn_scores(example: Example, weights: np.ndarray) -> dict[str, float]:
    """Every metric of one replicate by scikit-learn; the classes that are absent are left out of the means by hand."""
    truth, chosen, every = example.labels, example.predicted, list(range(len(example.classes)))
    present = sorted({int(label) for label, weight in zip(truth, weights, strict=True) if weight > 0})
    ranked = [1] if len(every) == 2 else present
    common = {"sample_weight": weights, "zero_division": 0}
    recall = oracle.recall_score(truth, chosen, labels=every, average=None, **common)
    expected = {
        "accuracy": oracle.accuracy_score(truth, chosen, sample_weight=weights),
        "balanced_accuracy": float(np.mean(recall[present])),
        "weighted_f1": oracle.f1_score(truth, chosen, labels=every, average="weighted", **common),
        "macro_f1": oracle.f1_score(truth, chosen, labels=every, average="macro", **common),
        "mcc": oracle.matthews_corrcoef(truth, chosen, sample_weight=weights),
        "brier": oracle.brier_score_loss(
            truth, example.scores, labels=every, sample_weight=alike(truth, weights), scale_by_half=False
        ),
    }
    for name, function in (("auroc", oracle.roc_auc_score), ("average_precision", oracle.average_precision_score)):
        each = [function(truth == label, example.scores[:, label], sample_weight=weights) for label in ranked]
        expected[name] = float(np.mean(each))
    for label, name in enumerate(example.classes):
        expected[f"recall_{name}"] = float(recall[label]) if label in present else np.nan
    return expected


def alike(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weights with which each class weighs the same."""
    return np.asarray(weights / np.bincount(labels, weights)[labels])


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_metric_equals_scikit_learn_on_every_replicate(example: Example) -> None:
    found = score_all(example.labels, example.scores, example.classes, example.weights)
    expected = [sklearn_scores(example, weights) for weights in example.weights]
    assert list(found) == list(expected[0])
    for name, values in found.items():
        assert values.shape == (len(example.weights),)
        np.testing.assert_allclose(values, [row[name] for row in expected], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("example", EXAMPLES)
def test_confusion_equals_scikit_learn_and_has_true_classes_in_rows(example: Example) -> None:
    found = confusion(example.labels, example.predicted, example.classes, example.weights)
    for matrix, weights in zip(found, example.weights, strict=True):
        every = range(len(example.classes))
        expected = oracle.confusion_matrix(example.labels, example.predicted, labels=every, sample_weight=weights)
        np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-12)
    assert confusion([0, 0, 1], [0, 1, 1], ["a", "b"]).tolist() == [[[1, 1], [0, 1]]]


@pytest.mark.parametrize("example", EXAMPLES)
def test_single_metrics_equal_their_entry_in_score_all(example: Example) -> None:
    found = score_all(example.labels, example.scores, example.classes, example.weights)
    matrices = confusion(example.labels, example.predicted, example.classes, example.weights)
    from_matrix: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "weighted_f1": weighted_f1,
        "macro_f1": macro_f1,
        "mcc": mcc,
    }
    for name, metric in from_matrix.items():
        np.testing.assert_allclose(metric(matrices), found[name], rtol=1e-14)
    for label, name in enumerate(example.classes):
        np.testing.assert_allclose(recalls(matrices)[:, label], found[f"recall_{name}"], rtol=1e-14)


def auroc_by_pairs(labels: np.ndarray, score: np.ndarray, weights: np.ndarray, positive: int) -> float:
    won = total = 0.0
    for i in np.flatnonzero(labels == positive):
        for j in np.flatnonzero(labels != positive):
            pair = weights[i] * weights[j]
            total += pair
            won += pair * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return won / total


def average_precision_by_thresholds(labels: np.ndarray, score: np.ndarray, weights: np.ndarray, positive: int) -> float:
    result = recall_before = 0.0
    all_positives = weights[labels == positive].sum()
    for threshold in sorted(set(score.tolist()), reverse=True):
        called = score >= threshold
        hits = weights[called & (labels == positive)].sum()
        if hits > 0:
            result += (hits / all_positives - recall_before) * hits / weights[called].sum()
            recall_before = hits / all_positives
    return result


@pytest.mark.parametrize("example", EXAMPLES)
def test_ranking_metrics_equal_plain_loops_over_pairs_and_thresholds(example: Example) -> None:
    ranked = [1] if len(example.classes) == 2 else sorted(set(example.labels.tolist()))
    found = score_all(example.labels, example.scores, example.classes, example.weights)
    for slow, name in ((auroc_by_pairs, "auroc"), (average_precision_by_thresholds, "average_precision")):
        expected = [
            np.mean([slow(example.labels, example.scores[:, label], weights, label) for label in ranked])
            for weights in example.weights
        ]
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("example", EXAMPLES)
def test_brier_score_equals_a_plain_loop_over_examples_and_classes(example: Example) -> None:
    found = score_all(example.labels, example.scores, example.classes, example.weights)["brier"]
    for value, weights in zip(found, example.weights, strict=True):
        of_class: dict[int, list[float]] = {}
        for label, forecast, weight in zip(example.labels, example.scores, weights, strict=True):
            error = sum((p - (k == label)) ** 2 for k, p in enumerate(forecast))
            total = of_class.setdefault(int(label), [0.0, 0.0])
            total[0] += weight * error
            total[1] += weight
        assert value == pytest.approx(np.mean([a / b for a, b in of_class.values() if b > 0]), abs=1e-9)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.1)])
def test_brier_score_of_even_forecasts_is_chance_and_the_lowest_is_had_by_probabilities_of_equal_classes(
    shares: tuple[float, ...],
) -> None:
    classes, rng = [str(c) for c in range(len(shares))], np.random.default_rng(3)
    labels = rng.choice(len(shares), 40_000, p=shares)
    seen = rng.normal(size=len(labels)) + 1.5 * labels
    density = np.exp(-0.5 * (seen[:, None] - 1.5 * np.arange(len(shares))) ** 2)
    even = density / density.sum(axis=1, keepdims=True)
    uneven = density * shares / (density * shares).sum(axis=1, keepdims=True)
    scored = {
        name: score_all(labels, forecast, classes)["brier"].item()
        for name, forecast in (("even", even), ("uneven", uneven), ("sure", even**2 / (even**2).sum(1)[:, None]))
    }
    constant = np.full((len(labels), len(shares)), 1 / len(shares))
    assert score_all(labels, constant, classes)["brier"].item() == pytest.approx(1 - 1 / len(shares), abs=1e-9)
    assert scored["even"] < scored["sure"]
    assert scored["even"] < scored["uneven"] or len(set(shares)) == 1


@pytest.mark.parametrize(
    "row", [pytest.param([0.5, 0.6], id="sum_above_1"), pytest.param([-0.2, 1.2], id="outside_0_to_1")]
)
def test_brier_score_of_what_is_no_probability_is_undefined_and_the_rest_is_not(row: list[float]) -> None:
    found = score_all([0, 1, 1], [[0.9, 0.1], [0.3, 0.7], row], ["a", "b"])
    assert {name for name, value in found.items() if np.isnan(value.item())} == {"brier"}


@pytest.mark.parametrize(
    ("scores", "expected"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5] * 4, 0.5)]
)
def test_auroc_of_perfect_reversed_and_constant_scores(scores: list[float], expected: float) -> None:
    columns = np.stack([1 - np.array(scores), np.array(scores)], axis=1)
    assert score_all([0, 0, 1, 1], columns, ["control", "pseudoword"])["auroc"].tolist() == [expected]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_auroc_by_ranks_equals_that_of_score_all_under_every_row_of_labels(n_classes: int) -> None:
    rng, classes = np.random.default_rng(n_classes), list("abc")[:n_classes]
    labels = rng.integers(0, n_classes, (50, 12))
    labels[0], labels[1] = 1, 0  # one class alone: undefined
    for scores in (rng.random((12, n_classes)), rng.integers(0, 3, (12, n_classes)) / 2):
        found = auroc(labels, scores, classes)
        np.testing.assert_allclose(found, score_all(labels, scores, classes)["auroc"], atol=1e-12)
        assert np.isnan(found[:2]).all()
    with pytest.raises(ValueError, match="labels must name 11"):
        auroc(labels, np.ones((11, n_classes)), classes)


def test_whole_weights_equal_repeated_examples() -> None:
    example = Example(3, 6)
    for row, weights in enumerate(example.weights.astype(int)):
        repeated = score_all(example.labels.repeat(weights), example.scores.repeat(weights, axis=0), example.classes)
        weighted = score_all(example.labels, example.scores, example.classes, example.weights)
        for name in repeated:
            np.testing.assert_allclose(weighted[name][row], repeated[name][0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_batched_labels_equal_one_call_per_row_of_labels(n_classes: int) -> None:
    example = Example(n_classes, 7)
    labels = np.random.default_rng(8).permuted(np.tile(example.labels, (len(example.weights), 1)), axis=1)
    plain = score_all(labels, example.scores, example.classes)
    weighted = score_all(labels, example.scores, example.classes, example.weights)
    for row in range(len(labels)):
        alone = score_all(labels[row], example.scores, example.classes)
        alone_weighted = score_all(labels[row], example.scores, example.classes, example.weights[[row]])
        for name in plain:
            assert plain[name][row] == alone[name][0]
            assert weighted[name][row] == alone_weighted[name][0]


def test_blocks_cover_every_replicate_once_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "BLOCK_VALUES", 130)
    assert [list(range(7))[rows] for rows in classification.blocks(7, 60)] == [[0, 1], [2, 3], [4, 5], [6]]
    assert len(list(classification.blocks(3, 1000))) == 3


def test_results_do_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example(3, 9)
    arguments = (example.labels, example.scores, example.classes, example.weights)
    whole = score_all(*arguments)
    monkeypatch.setattr(classification, "BLOCK_VALUES", 130)
    for name, values in score_all(*arguments).items():
        np.testing.assert_array_equal(values, whole[name])


def test_results_do_not_depend_on_the_order_of_the_examples() -> None:
    example = Example(3, 10)
    order = np.random.default_rng(11).permutation(len(example.labels))
    forward = score_all(example.labels, example.scores, example.classes, example.weights)
    shuffled = score_all(example.labels[order], example.scores[order], example.classes, example.weights[:, order])
    for name in forward:
        np.testing.assert_array_equal(forward[name], shuffled[name])


def test_tied_scores_predict_the_lowest_class() -> None:
    tied = score_all([0, 1, 1], np.full((3, 2), 0.5), ["a", "b"])
    assert tied["recall_a"].tolist() == [1.0]
    assert tied["recall_b"].tolist() == [0.0]


def test_constant_prediction_has_mcc_zero_and_balanced_accuracy_of_one_class_right() -> None:
    scores = np.tile([0.2, 0.7, 0.1], (9, 1))
    weights = np.random.default_rng(12).random((50, 9))
    found = score_all([0, 1, 2] * 3, scores, ["a", "b", "c"], weights)
    assert (found["mcc"] == 0).all()
    np.testing.assert_allclose(found["balanced_accuracy"], 1 / 3)


def test_one_class_leaves_ranking_and_absent_recall_undefined_and_the_rest_defined() -> None:
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    found = {name: values.item() for name, values in score_all([0, 0, 0], scores, ["a", "b"]).items()}
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"auroc", "average_precision", "recall_b"}
    assert found["accuracy"] == found["balanced_accuracy"] == found["recall_a"] == pytest.approx(2 / 3)
    assert found["mcc"] == 0
    assert np.isnan(score_all([1, 1, 1], scores, ["a", "b"])["average_precision"]).all()


def test_class_drawn_away_in_one_replicate_is_undefined_in_that_replicate_only() -> None:
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    found = score_all([0, 0, 1], scores, ["a", "b"], [[1, 1, 1], [2, 1, 0], [0, 0, 0]])
    assert np.isnan(found["auroc"]).tolist() == [False, True, True]
    assert np.isnan(found["accuracy"]).tolist() == [False, False, True]
    assert all(np.isnan(values[2]) for values in found.values())


GOOD = {"labels": [0, 1, 1], "scores": np.full((3, 2), 0.5), "classes": ["a", "b"], "weights": np.ones((2, 3))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"labels": [0, 1, 2]}, "labels must lie in 0..1", id="label_above_range"),
        pytest.param({"labels": [-1, 1, 1]}, "labels must lie in 0..1", id="label_below_range"),
        pytest.param({"labels": [0.0, 1.0, 1.0]}, "labels must be a non-empty array of integers", id="float_labels"),
        pytest.param({"labels": [0, 1]}, "labels must name 3 examples, not 2", id="too_few_labels"),
        pytest.param({"labels": np.zeros((5, 3), int)}, "5 replicates and weights have 2", id="replicates_disagree"),
        pytest.param({"scores": np.ones((3, 3))}, r"scores must have shape \(N, 2\)", id="too_many_columns"),
        pytest.param({"scores": np.ones((0, 2))}, r"scores must have shape \(N, 2\) with N > 0", id="no_examples"),
        pytest.param({"scores": np.full((3, 2), np.nan)}, "scores must be finite", id="nan_scores"),
        pytest.param({"classes": ["a", "a"]}, "two or more different names", id="class_named_twice"),
        pytest.param({"classes": ["a"]}, "two or more different names", id="one_class_name"),
        pytest.param({"weights": np.ones(3)}, r"weights must have shape \(R, 3\)", id="flat_weights"),
        pytest.param({"weights": -np.ones((2, 3))}, "weights must be finite and >= 0", id="negative_weights"),
        pytest.param({"weights": np.full((2, 3), np.inf)}, "weights must be finite and >= 0", id="infinite_weights"),
    ],
)
def test_input_that_does_not_fit_raises_value_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_all(**(GOOD | change))  # type: ignore[arg-type]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_of_groups_equal_the_weights_of_their_examples(n_classes: int) -> None:
    example, rng = Example(n_classes, 8), np.random.default_rng(1)
    owner = rng.integers(0, 9, len(example.labels))
    draws = rng.poisson(1.0, (7, 9)).astype(float)
    each = score_all(example.labels, example.scores, example.classes, draws[:, owner])
    together = score_all(example.labels, example.scores, example.classes, draws, owner)
    for name, values in each.items():
        np.testing.assert_array_equal(together[name], values, err_msg=name)
    without = score_all(example.labels, example.scores, example.classes, draws, owner, ranked=False)
    assert set(each) - set(without) == {"auroc", "average_precision"}
    with pytest.raises(ValueError, match="owner must name a column of weights"):
        score_all(example.labels, example.scores, example.classes, draws, owner + 1)
