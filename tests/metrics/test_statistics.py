# SPDX-License-Identifier: Apache-2.0
"""Intervals over what was held out, and chance levels: by simulation, by hand, by plain loops."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from sklearn import metrics as oracle

from gazeray.metrics import classification
from gazeray.metrics.bootstrap import bootstrap_interval, group_draws
from gazeray.metrics.classification import score_all
from gazeray.metrics.statistics import (
    chance_levels,
    majority_scores,
    participant_confusions,
    resampled,
    rows,
    summarise,
)

CLASSES = ["control", "pseudoword"]


def columns(positive: np.ndarray) -> np.ndarray:
    """Scores (N, 2) whose second column is `positive`."""
    return np.stack([1 - positive, positive], axis=1)


def reading_study(n_people: int, n_trials: int, rng: np.random.Generator, spread: float, effect: float) -> tuple:
    """Labels, scores, participants: every participant has an own level (sd `spread`) beside the effect of the label."""
    people = np.repeat([f"P{number:02d}" for number in range(n_people)], n_trials)
    labels = np.tile(np.arange(n_trials) % 2, n_people)
    level = np.repeat(rng.normal(0, spread, n_people), n_trials)
    evidence = level + effect * (labels - 0.5) + rng.normal(0, 1, len(labels))
    return labels, columns(1 / (1 + np.exp(-evidence))), people


def summary(
    labels: ArrayLike, scores: ArrayLike, people: ArrayLike, classes: list[str], baselines: dict[str, ArrayLike],
    n_resamples: int = 2000, seed: int = 0,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """The summary of one model beside its baselines."""
    found = resampled(labels, {"model": scores, **baselines}, people, classes, n_resamples, seed)
    return summarise(labels, classes, rows(found, "model"), "model")


def weights_of(people: ArrayLike, n_resamples: int, seed: int) -> np.ndarray:
    """(R, N): how often each example's participant, or other unit, is drawn."""
    names, owner = np.unique(people, return_inverse=True)
    return group_draws(len(names), n_resamples, seed)[:, owner]


# -- the bootstrap over participants


def test_interval_over_participants_covers_the_truth_where_the_one_over_trials_does_not() -> None:
    rng = np.random.default_rng(5)
    n_people, n_trials, true_accuracy, repeats = 24, 20, 0.7, 150
    people = np.repeat([f"P{number:02d}" for number in range(n_people)], n_trials)
    trials = np.array([f"T{number:04d}" for number in range(len(people))])
    covered, widths = np.zeros(2), np.zeros(2)
    for repeat in range(repeats):
        skill = np.repeat(rng.beta(true_accuracy * 3, (1 - true_accuracy) * 3, n_people), n_trials)
        labels = rng.integers(0, 2, len(people))
        predicted = np.where(rng.random(len(people)) < skill, labels, 1 - labels)
        for kind, units in enumerate((people, trials)):
            weights = weights_of(units, 300, seed=repeat)
            replicates = classification.accuracy(classification.confusion(labels, predicted, CLASSES, weights))
            low, high = bootstrap_interval(replicates) or (1.0, 0.0)
            covered[kind] += low <= true_accuracy <= high
            widths[kind] += high - low
    assert widths[0] > 1.8 * widths[1]
    assert 0.87 <= covered[0] / repeats <= 0.99
    assert covered[1] / repeats < 0.75


def test_crossed_resamples_are_those_of_a_plain_loop_over_participants_and_stimuli() -> None:
    rng = np.random.default_rng(21)
    labels, scores, people = reading_study(8, 6, rng, spread=1.0, effect=1.0)
    stimuli = np.tile([f"S{number}" for number in range(6)], 8)
    order = rng.permutation(len(labels))[:40]  # not everybody saw everything
    labels, scores, people, stimuli = labels[order], scores[order], people[order], stimuli[order]
    found = resampled(labels, {"model": scores}, people, CLASSES, 50, 7, stimuli)["model"]["accuracy"]
    (_, whose), (_, what) = (np.unique(names, return_inverse=True) for names in (people, stimuli))
    weights = group_draws(8, 50, 7)[:, whose] * group_draws(6, 50, (7, 1))[:, what]
    right = labels == scores.argmax(axis=1)
    assert found.replicates == pytest.approx((weights * right).sum(axis=1) / weights.sum(axis=1))
    assert found.groups == 6


def test_crossed_interval_covers_new_people_with_new_stimuli_where_the_one_over_people_does_not() -> None:
    rng, repeats, covered = np.random.default_rng(22), 60, np.zeros(2)
    whose, what = (values.ravel() for values in np.mgrid[:20, :20])
    people, stimuli = (np.char.add(letter, values.astype(str)) for letter, values in (("P", whose), ("S", what)))
    labels = rng.integers(0, 2, 400)
    for repeat in range(repeats):
        skill = 0.6 + rng.uniform(-0.1, 0.1, 20)[whose] + rng.uniform(-0.3, 0.3, 20)[what]
        guess = np.where(rng.random(400) < skill, labels, 1 - labels)
        for kind, crossed in enumerate((stimuli, None)):
            found = resampled(labels, {"model": np.eye(2)[guess]}, people, CLASSES, 200, repeat, crossed)
            low, high = found["model"]["accuracy"].interval or (1.0, 0.0)
            covered[kind] += low <= 0.6 <= high
    assert covered[0] / repeats >= 0.9
    assert covered[1] / repeats < 0.8


# -- the summary


def test_summary_equals_a_plain_loop_that_repeats_the_drawn_trials() -> None:
    rng = np.random.default_rng(6)
    labels, scores, people = reading_study(8, 6, rng, spread=1.0, effect=1.5)
    baseline = columns(np.round(rng.random(len(labels)), 1))
    found = summary(labels, scores, people, CLASSES, {"random": baseline}, n_resamples=60, seed=7)
    weights = weights_of(people, 60, seed=7).astype(int)

    def loop(predictor: np.ndarray, metric: str) -> np.ndarray:
        values = []
        for row in weights:
            truth, drawn = labels.repeat(row), predictor.repeat(row, axis=0)
            if metric == "auroc":
                values.append(oracle.roc_auc_score(truth, drawn[:, 1]))
            else:
                values.append(oracle.balanced_accuracy_score(truth, drawn.argmax(axis=1)))
        return np.array(values)

    for metric in ("auroc", "balanced_accuracy"):
        own, other = loop(scores, metric), loop(baseline, metric)
        entry = found[metric]
        assert entry["ci95"] == pytest.approx(np.quantile(own, [0.025, 0.975]), abs=1e-12)
        assert entry["baselines_ci95"]["random"] == pytest.approx(np.quantile(other, [0.025, 0.975]), abs=1e-12)
        assert entry["gain_ci95"]["random"] == pytest.approx(np.quantile(own - other, [0.025, 0.975]), abs=1e-12)
        assert entry["value"] == score_all(labels, scores, CLASSES)[metric][0]
        assert entry["baselines"]["random"] == score_all(labels, baseline, CLASSES)[metric][0]


def test_gain_is_paired_so_that_the_model_gains_exactly_nothing_over_itself() -> None:
    labels, scores, people = reading_study(6, 8, np.random.default_rng(8), spread=1.0, effect=1.0)
    for entry in summary(labels, scores, people, CLASSES, {"self": scores}, n_resamples=50).values():
        assert entry["gain_ci95"] == {"self": [0.0, 0.0]}
        assert entry["ci95"][0] < entry["ci95"][1]


def test_summary_is_plain_json_and_repeats_for_a_seed() -> None:
    labels, scores, people = reading_study(6, 8, np.random.default_rng(9), spread=1.0, effect=1.0)
    baselines = {"majority": majority_scores(labels, len(labels), CLASSES)}
    first = summary(labels, scores, people, CLASSES, baselines, n_resamples=50, seed=1)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first == summary(labels, scores, people, CLASSES, baselines, n_resamples=50, seed=1)
    assert first != summary(labels, scores, people, CLASSES, baselines, n_resamples=50, seed=2)
    keys = {"value", "ci95", "chance", "baselines", "baselines_ci95", "gain_ci95", "ceiling"}
    assert all(set(entry) == keys for entry in first.values())
    assert set(first) == set(score_all(labels, scores, CLASSES))
    assert first["balanced_accuracy"]["baselines"] == {"majority": 0.5}


def test_summary_does_not_depend_on_the_order_of_the_trials_or_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    labels, scores, people = reading_study(6, 8, rng, spread=1.0, effect=1.0)
    first = summary(labels, scores, people, CLASSES, {}, n_resamples=50)
    order = rng.permutation(len(labels))
    monkeypatch.setattr(classification, "BLOCK_VALUES", 500)
    assert summary(labels[order], scores[order], people[order], CLASSES, {}, n_resamples=50) == first


def test_one_class_gives_none_where_undefined_and_numbers_elsewhere() -> None:
    labels, scores, people = reading_study(4, 6, np.random.default_rng(11), spread=1.0, effect=1.0)
    found = summary(np.zeros_like(labels), scores, people, CLASSES, {"same": scores}, n_resamples=50)
    for metric in ("auroc", "average_precision", "recall_pseudoword"):
        assert found[metric] == {
            "value": None,
            "ci95": None,
            "chance": None,
            "baselines": {"same": None},
            "baselines_ci95": {"same": None},
            "gain_ci95": {"same": None},
            "ceiling": None,
            "why": "no example is of this class" if "recall" in metric else "all examples are of one class",
        }
    assert found["accuracy"]["value"] == found["recall_control"]["value"]
    assert found["accuracy"]["ci95"] is not None


def test_single_participant_has_values_but_no_intervals() -> None:
    labels, scores, people = reading_study(1, 10, np.random.default_rng(12), spread=1.0, effect=1.0)
    for entry in summary(labels, scores, people, CLASSES, {"same": scores}, n_resamples=50).values():
        assert entry["value"] is not None
        assert entry["ci95"] is entry["baselines_ci95"]["same"] is entry["gain_ci95"]["same"] is None


def test_class_of_a_single_participant_has_an_interval_over_the_resamples_that_drew_it() -> None:
    """The one participant with the class is drawn in 1 - (1 - 1/P)^P of the resamples, about 65 % for P = 10."""
    labels, scores, people = reading_study(10, 4, np.random.default_rng(13), spread=1.0, effect=1.0)
    rare = np.where(people == "P00", labels, 0)
    assert summary(rare, scores, people, CLASSES, {}, n_resamples=400)["auroc"]["ci95"] is not None


def test_rows_are_the_summary_in_the_common_form() -> None:
    rng = np.random.default_rng(14)
    labels, scores, people = reading_study(8, 6, rng, spread=1.0, effect=2.0)
    others = {"random": columns(rng.random(len(labels))), "same": scores}
    estimates = resampled(labels, {"cnn": scores, **others}, people, CLASSES, 99, seed=3)
    found = rows(estimates, "cnn")
    old = summarise(labels, CLASSES, found, "cnn")
    assert list(found) == ["cnn", "random", "same"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for metric, entry in found["cnn"].items():
        assert (entry["value"], entry["ci95"], entry["n"]) == (old[metric]["value"], old[metric]["ci95"], len(labels))
        for name, theirs in old[metric]["baselines"].items():
            gain = entry["gain"][name]
            assert gain["value"] == entry["value"] - theirs
            assert gain["ci95"] == old[metric]["gain_ci95"][name]
            assert found[name][metric] == {
                "value": theirs, "ci95": old[metric]["baselines_ci95"][name], "n": len(labels)
            }  # fmt: skip
        assert entry["gain"]["same"] == {"value": 0.0, "ci95": [0.0, 0.0], "p": 1.0}
    assert found["cnn"]["auroc"]["gain"]["random"]["p"] == pytest.approx(0.02)


def test_row_says_why_there_is_no_value() -> None:
    labels, scores, people = reading_study(4, 6, np.random.default_rng(11), spread=1.0, effect=1.0)
    found = rows(resampled(np.zeros_like(labels), {"cnn": scores}, people, CLASSES, 50), "cnn")["cnn"]
    assert found["auroc"] == {"value": None, "ci95": None, "n": 0, "why": "all examples are of one class"}
    assert found["recall_pseudoword"]["why"] == "no example is of this class"
    assert "why" not in found["accuracy"]


# -- chance and the trivial guess


@pytest.mark.parametrize("priors", [(0.75, 0.25), (0.5, 0.3, 0.2)], ids=["two_classes", "three_classes"])
def test_chance_levels_are_what_blind_guessers_score(priors: tuple[float, ...]) -> None:
    rng = np.random.default_rng(14)
    n_examples, n_classes = 200_000, len(priors)
    names = ["a", "b", "c"][:n_classes]
    labels = rng.choice(n_classes, n_examples, p=priors)
    draws_from_priors = score_all(labels, np.eye(n_classes)[rng.choice(n_classes, n_examples, p=priors)], names)
    draws_uniformly = score_all(labels, rng.random((n_examples, n_classes)), names)
    chance = chance_levels(labels, names)
    assert set(chance) == set(draws_uniformly)
    for metric, level in chance.items():
        guesser = draws_uniformly if metric.startswith("recall_") else draws_from_priors
        if metric == "brier":  # to say 1 / K of each class is better than any guess
            guesser = score_all(labels, np.full((n_examples, n_classes), 1 / n_classes), names)
        assert guesser[metric][0] == pytest.approx(level, abs=0.01), metric
    for metric in ("balanced_accuracy", "mcc", "auroc", "average_precision"):
        assert draws_uniformly[metric][0] == pytest.approx(chance[metric], abs=0.01), metric


def test_majority_scores_name_the_majority_class_of_training_in_every_row() -> None:
    scores = majority_scores([2, 0, 2, 1], 3, ["a", "b", "c"])
    assert scores.tolist() == [[0.0, 0.0, 1.0]] * 3
    assert majority_scores([1, 0], 1, CLASSES).argmax() == 0
    assert majority_scores([1, 1], 2, CLASSES).tolist() == [[0.0, 1.0]] * 2


# -- per participant


def test_participant_confusions_are_square_sorted_and_equal_scikit_learn() -> None:
    rng = np.random.default_rng(20)
    people = np.array([f"P{number}" for number in rng.integers(0, 12, 60)])
    labels, predicted = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    labels[people == "P10"] = 1
    predicted[people == "P10"] = 1
    found = participant_confusions(labels, predicted, people, ["a", "b", "c"])
    assert list(found) == sorted(set(people.tolist()))
    for person, entry in found.items():
        own = people == person
        expected = oracle.confusion_matrix(labels[own], predicted[own], labels=range(3))
        assert entry == {"confusion": expected.tolist()}
    json.dumps(found, allow_nan=False)


# -- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: majority_scores([], 5, CLASSES), "non-empty", id="majority_of_nothing"),
        pytest.param(lambda: majority_scores([2], 5, CLASSES), "must lie in 0..1", id="majority_label_unknown"),
        pytest.param(
            lambda: summary([0, 1], np.eye(2), ["a"], CLASSES, {}), "each of 2 examples", id="too_few_participants"
        ),
        pytest.param(
            lambda: summary([0, 1], np.eye(2), ["a", "b"], CLASSES, {"prior": np.ones((3, 2))}),
            "prior: labels must name 3 examples, not 2",
            id="baseline_of_other_length",
        ),
        pytest.param(
            lambda: participant_confusions([0, 1], [0], ["a", "a"], CLASSES), "same shape", id="too_few_predicted"
        ),
    ],
)
def test_input_that_does_not_fit_raises_value_error(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
