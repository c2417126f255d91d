# SPDX-License-Identifier: Apache-2.0
"""Which labels may change places, where a score lies among those of exchanged labels, and what may be claimed."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from gazeray.metrics.classification import score_all
from gazeray.metrics.permutation import claim, exchanges, permutation_test
from tests.metrics.test_statistics import CLASSES, columns, reading_study


def within(
    labels: ArrayLike, scores: ArrayLike, people: ArrayLike, classes: list[str] = CLASSES, **more: Any
) -> dict[str, Any]:
    """The test where each participant is a fold and each row a trial of its own."""
    names = np.array([f"t{row}" for row in range(np.size(labels))])
    exchange, _ = exchanges(labels, people, names, names)
    return permutation_test(labels, scores, people, exchange, classes, **more)


# -- which labels may change places

WHO, WHAT = np.repeat(["a", "b", "c", "d"], 4), np.tile(["s", "t", "u", "v"], 4)


@pytest.mark.parametrize(
    ("labels", "stimuli", "name", "second"),
    [
        pytest.param(np.repeat([0, 1, 0, 1], 4), WHAT, "between participants", None, id="of_the_participant"),
        pytest.param(np.tile([0, 1, 1, 0], 4), WHAT, "between stimuli", None, id="of_the_stimulus"),
        pytest.param(np.arange(16) % 3 % 2, WHAT, "within participants", "within stimuli", id="of_the_trial"),
        pytest.param(
            np.tile([0, 1, 1, 0], 4), np.arange(16), "within participants", None, id="everybody_saw_other_stimuli"
        ),
        pytest.param(np.zeros(16, int), WHAT, "between participants", None, id="one_class"),
    ],
)
def test_exchange_follows_what_the_label_belongs_to(
    labels: np.ndarray, stimuli: np.ndarray, name: str, second: str | None
) -> None:
    first, further = exchanges(labels, WHO, stimuli, np.arange(16))
    assert first.name == name
    assert (None if further is None else further.name) == second
    assert first.of_people == (name == "between participants")
    for exchange in filter(None, (first, further)):
        for unit in np.unique(exchange.units):  # a unit has one label and lies in one block
            assert len(np.unique(labels[exchange.units == unit])) == 1
            assert len(np.unique(exchange.blocks[exchange.units == unit])) == 1


def test_trials_of_one_participant_that_several_folds_test_keep_one_label() -> None:
    people, trials = np.repeat(["a", "b", "c"], 8), np.tile(np.repeat(["1", "2", "3", "4"], 2), 3)
    labels = np.tile(np.repeat([0, 1, 1, 0], 2), 3)
    exchange, _ = exchanges(labels, people, np.char.add(people, trials), trials)
    assert np.bincount(exchange.units).tolist() == [2] * 12
    result = permutation_test(labels, np.eye(2)[labels], np.tile(["0", "1"], 12), exchange, CLASSES, n=999)
    assert result["units"] == 12
    assert result["p"] == pytest.approx(1 / 216, abs=0.01)  # 6 arrangements of each participant's four trials
    assert result["p_below"] is not None


def test_stimuli_that_were_held_out_change_places_for_all_participants_alike() -> None:
    rng, (who, what) = np.random.default_rng(3), (values.ravel() for values in np.mgrid[:5, :8])
    labels = (rng.random(40) < np.array([0.1, 0.9, 0.2, 0.9, 0.9, 0.1, 0.8, 0.2])[what]).astype(int)
    scores = columns(rng.normal(size=8)[what] + 0.1 * rng.normal(size=40))
    folds, trials = np.where(what < 4, "0", "1"), np.arange(40)
    table = labels.reshape(5, 8)
    orders = [list(order) for order in itertools.permutations(range(4))]
    every = np.stack([table[:, [*left, *(4 + np.array(right))]].ravel() for left in orders for right in orders])
    expected = score_all(every, scores, CLASSES)["balanced_accuracy"]
    spread = {}
    for unseen in (["stimulus"], ["participant", "stimulus"], ["participant"]):
        exchange, _ = exchanges(labels, who, what, trials, unseen)
        assert exchange.name == "within participants"
        found = permutation_test(labels, scores, folds, exchange, CLASSES, n=4000)
        spread[len(unseen), unseen[0]] = found["null_p95"] - found["null_mean"]
        assert "reason" not in found
        if "stimulus" in unseen:
            assert found["null_mean"] == pytest.approx(expected.mean(), abs=0.01)
            assert found["null_p95"] == pytest.approx(np.quantile(expected, 0.95), abs=0.02)
    assert spread[1, "participant"] < 0.8 * spread[1, "stimulus"]


def test_stimuli_change_places_alike_also_where_not_everybody_saw_them_all() -> None:
    rng, (who, what) = np.random.default_rng(4), (values.ravel() for values in np.mgrid[:6, :10])
    kept = rng.permutation(60)[:45]
    labels, who, what = rng.integers(0, 2, 45), who[kept], what[kept]
    exchange, _ = exchanges(labels, who, what, np.arange(45), ["stimulus"])
    scored = permutation_test(labels, np.eye(2)[labels], np.zeros(45, int), exchange, CLASSES, n=200)
    assert scored["value"] == 1.0
    assert scored["units"] == 45
    assert scored["null_mean"] < 0.8


def test_few_stimuli_that_were_held_out_allow_no_claim_however_many_people_saw_them() -> None:
    who, what = (values.ravel() for values in np.mgrid[:40, :4])
    labels = np.random.default_rng(5).integers(0, 2, 160)
    exchange, _ = exchanges(labels, who, what, np.arange(160), ["stimulus"])
    found = permutation_test(labels, np.eye(2)[labels], what, exchange, CLASSES, n=99)
    assert found["reason"].endswith("can be exchanged in 24 ways, too few for p < 0.025 whatever is predicted")


# -- where the score lies


def enumerated(labels: np.ndarray, groups: list[list[int]], scores: np.ndarray, metric: str) -> np.ndarray:
    """The metric of every arrangement of the labels within the groups of rows."""
    arrangements = []
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        other = labels.copy()
        for group, order in zip(groups, orders, strict=True):
            other[group] = labels[list(order)]
        arrangements.append(other)
    return score_all(arrangements, scores, CLASSES)[metric]


@pytest.mark.parametrize("metric", ["balanced_accuracy", "auroc", "average_precision", "mcc"])
def test_p_equals_the_enumeration_of_all_arrangements_within_people_and_folds(metric: str) -> None:
    labels, people = np.array([0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1]), np.repeat(["a", "b"], [8, 4])
    folds = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    scores = columns(np.array([0.2, 0.6, 0.4, 0.7, 0.1, 0.6, 0.8, 0.3, 0.4, 0.5, 0.7, 0.9]))
    observed = score_all(labels, scores, CLASSES)[metric][0]
    null = enumerated(labels, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]], scores, metric)
    exchange, _ = exchanges(labels, people, np.arange(12), np.arange(12))
    result = permutation_test(labels, scores, folds, exchange, CLASSES, metric, n=20_000, seed=17)
    wide = null.mean() + np.sqrt(2) * (null - null.mean())
    assert result["null_mean"] == pytest.approx(null.mean(), abs=0.01)
    assert result["p"] == pytest.approx(np.mean(wide >= observed - 1e-12), abs=0.01)
    assert result["p_below"] == pytest.approx(np.mean(wide <= observed + 1e-12), abs=0.01)  # two folds


def test_whole_people_exchange_labels_within_a_fold_and_across_where_a_fold_has_too_few() -> None:
    people = np.repeat([f"p{number:02d}" for number in range(16)], 3)
    labels, scores = np.repeat(np.arange(16) % 2, 3), columns(np.random.default_rng(1).random(48))
    exchange, _ = exchanges(labels, people, np.arange(48), np.arange(48))
    inside = permutation_test(labels, scores, np.repeat([0, 1], 24), exchange, CLASSES, n=500)
    across = permutation_test(labels, scores, people, exchange, CLASSES, n=500)
    assert inside["design"] == across["design"] == "between participants"
    assert inside["units"] == across["units"] == 16
    assert inside["p_below"] is not None
    assert across["p_below"] is None, "a fold that leaves one person out leaves the other labels to train on"
    assert across["p"] is not None
    assert "reason" not in inside | across


@pytest.mark.parametrize(("count", "ways"), [(6, 20), (7, 35), (8, 70)])
def test_too_few_people_for_any_answers_to_be_remarkable_are_said_so(count: int, ways: int) -> None:
    people, labels = np.repeat([f"p{number}" for number in range(count)], 5), np.repeat(np.arange(count) % 2, 5)
    result = within(labels, np.eye(2)[labels], people, n=2000)
    assert result["p"] == pytest.approx(1 / ways, abs=0.01)
    said = f"the labels of {count} participants can be exchanged in {ways} ways, too few for p < 0.025"
    assert result.get("reason", "").startswith(said if ways < 40 else "")
    assert ("reason" in result) == (ways < 40)


def test_people_who_are_recognised_do_not_lower_p() -> None:
    """Scores and labels both depend on the participant, so pooled AUROC is far above 0.5 with nothing learned."""
    rng = np.random.default_rng(15)
    n_people, n_trials = 10, 12
    people = np.repeat([f"P{number}" for number in range(n_people)], n_trials)
    p_values, observed = [], []
    for repeat in range(100):
        level = np.repeat(rng.normal(0, 1.5, n_people), n_trials)
        labels = (rng.random(len(people)) < 1 / (1 + np.exp(-level))).astype(int)
        scores = columns(1 / (1 + np.exp(-level - rng.normal(0, 1, len(people)))))
        result = within(labels, scores, people, metric="auroc", n=99, seed=repeat)
        p_values.append(result["p"])
        observed.append(result["value"])
    assert np.mean(observed) > 0.65
    assert np.median(p_values) == pytest.approx(0.5, abs=0.15)
    assert np.mean(np.array(p_values) < 0.05) <= 0.06


def test_p_is_the_smallest_possible_under_a_strong_effect() -> None:
    labels, scores, people = reading_study(12, 12, np.random.default_rng(16), spread=1.0, effect=3.0)
    result = within(labels, scores, people, n=199)
    assert result["p"] == 1 / 200
    assert result["p_below"] == 1.0
    assert result["value"] == score_all(labels, scores, CLASSES)["balanced_accuracy"][0]
    assert result["null_mean"] == pytest.approx(0.5, abs=0.02)
    assert result["null_mean"] < result["null_p95"] < result["value"]
    assert (result["metric"], result["n"], result["units"]) == ("balanced_accuracy", 199, 144)
    assert "reason" not in result
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_wrong_answers_throughout_are_below_in_every_fold() -> None:
    labels, _, people = reading_study(12, 12, np.random.default_rng(16), spread=1.0, effect=3.0)
    result = within(labels, np.eye(2)[1 - labels], people, n=199)
    assert (result["p"], result["p_below"]) == (1.0, 1 / 200)


def test_more_folds_make_the_same_score_less_remarkably_low() -> None:
    """What is left out leaves its opposite to train on, in all folds at once."""
    labels, scores, people = reading_study(16, 12, np.random.default_rng(3), spread=0.0, effect=-0.6)
    exchange, _ = exchanges(labels, people, np.arange(192), np.arange(192))
    found = [
        permutation_test(labels, scores, np.arange(192) // 12 % count, exchange, CLASSES, n=499)["p_below"]
        for count in (2, 16)
    ]
    assert found[0] < 0.025 < found[1]


def test_gain_over_itself_is_nothing_and_over_a_guesser_that_of_the_score() -> None:
    labels, scores, people = reading_study(12, 12, np.random.default_rng(16), spread=1.0, effect=3.0)
    over = {"itself": scores, "guesser": np.tile([0.9, 0.1], (len(labels), 1))}
    result = within(labels, scores, people, n=199, over=over)
    assert result["gain"]["itself"] == {"value": 0.0, "p": 1.0, "p_below": 1.0}
    assert result["gain"]["guesser"] == {"value": result["value"] - 0.5, "p": result["p"], "p_below": 1.0}
    turned = within(labels, over["guesser"], people, n=199, over={"model": scores})["gain"]["model"]
    assert turned == {"value": 0.5 - result["value"], "p": 1.0, "p_below": result["p"]}


def test_gain_of_equally_good_predictors_is_seldom_remarkable() -> None:
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels, scores, people = reading_study(10, 12, rng, spread=0.0, effect=1.5)
        other = columns(1 / (1 + np.exp(-1.5 * (labels - 0.5) - rng.normal(0, 1, len(labels)))))
        found.append(within(labels, scores, people, n=99, over={"other": other}, seed=seed)["gain"]["other"])
    for side in ("p", "p_below"):
        assert np.mean([one[side] < 0.025 for one in found]) <= 0.05
        assert np.median([one[side] for one in found]) == pytest.approx(0.5, abs=0.15)


def test_constant_predictor_has_p_one() -> None:
    labels, _, people = reading_study(6, 8, np.random.default_rng(18), spread=1.0, effect=1.0)
    result = within(labels, np.tile([0.9, 0.1], (len(labels), 1)), people, n=50)
    assert result["p"] == result["p_below"] == 1.0
    assert result["value"] == result["null_mean"] == 0.5


def test_predictor_of_the_person_alone_has_p_one() -> None:
    people = np.repeat(["a", "b", "c"], 4)
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1])
    result = within(labels, columns(np.repeat([0.2, 0.5, 0.8], 4)), people, metric="auroc", n=50)
    assert result["value"] > 0.7
    assert result["p"] == 1.0


def test_result_repeats_for_a_seed() -> None:
    labels, scores, people = reading_study(6, 8, np.random.default_rng(19), spread=1.0, effect=0.5)
    first = within(labels, scores, people, n=50, seed=1)
    assert first == within(labels, scores, people, n=50, seed=1)
    assert first != within(labels, scores, people, n=50, seed=2)


def test_one_class_gives_no_p_but_a_reason() -> None:
    result = within(np.zeros(6, int), columns(np.linspace(0, 1, 6)), np.repeat(["a", "b"], 3), n=50)
    assert [result[key] for key in ("p", "p_below", "null_mean", "null_p95", "gain")] == [None] * 5
    assert result["reason"] == "no two participants that could exchange their labels differ in them"


def test_metric_that_is_undefined_gives_no_p_but_a_reason() -> None:
    people = np.repeat(["a", "b"], 3)
    result = within([0, 1, 0, 1, 1, 0], np.eye(3)[[0, 1, 2, 0, 1, 2]], people, ["x", "y", "z"], metric="recall_z")
    assert (result["value"], result["p"]) == (None, None)
    assert result["reason"] == "recall_z is not defined on these labels"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metric": "f2"}, "metric 'f2' is not one of accuracy, balanced_accuracy"),
        ({"n": 0}, "n must be at least 1"),
    ],
)
def test_input_that_does_not_fit_raises_value_error(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        within([0, 1], np.eye(2), ["a", "a"], **more)


@pytest.mark.parametrize("missing", ["participants", "stimuli", "trials"])
def test_names_that_are_not_one_for_each_label_raise_value_error(missing: str) -> None:
    names = {key: ["a", "b"] for key in ("participants", "stimuli", "trials")} | {missing: ["a"]}
    with pytest.raises(ValueError, match=f"{missing} must be one name for each of 2 examples"):
        exchanges([0, 1], **names)


# -- what may be claimed


@pytest.mark.parametrize(
    ("ci95", "test", "side"),
    [
        pytest.param([0.6, 0.8], {"p": 0.001, "p_below": 1.0}, "above", id="both_agree"),
        pytest.param([0.6, 0.8], {"p": 0.03, "p_below": 1.0}, "mixed", id="p_not_small_enough"),
        pytest.param([0.6, 0.8], {"p": None, "p_below": None}, "mixed", id="p_unknown"),
        pytest.param([0.5, 0.8], {"p": 0.001, "p_below": 1.0}, "none", id="interval_touches_chance"),
        pytest.param([0.2, 0.4], {"p": 1.0, "p_below": 0.001}, "below", id="both_agree_below"),
        pytest.param([0.2, 0.4], {"p": 1.0, "p_below": 0.03}, "none", id="p_below_not_small_enough"),
        pytest.param([0.2, 0.4], {"p": 1.0, "p_below": None}, "none", id="exchanged_across_folds"),
        pytest.param([0.2, 0.4], {"p": 0.4}, "none", id="run_of_before_there_was_a_p_below"),
        pytest.param(None, {"p": 0.001, "p_below": 1.0}, "none", id="no_interval"),
        pytest.param([0.6, 0.8], {"p": 0.001, "reason": "few"}, "too_few", id="too_few_to_exchange"),
    ],
)
def test_claim_takes_interval_and_exchange_to_agree(
    ci95: list[float] | None, test: dict[str, Any], side: str
) -> None:  # fmt: skip
    assert claim(ci95, 0.5, test, {"participants": 6}).side == side


def test_claim_takes_six_of_all_that_was_held_out_and_says_why_there_is_none() -> None:
    found = claim([0.6, 0.8], 0.5, {"p": 0.001}, {"participants": 40, "stimuli": 5})
    assert found.side == "too_few"
    assert found.why == "5 stimuli were held out, and a claim takes at least 6"
    assert claim([0.6, 0.8], 0.5, {"p": 0.001}, {"participants": 40, "stimuli": 6}).side == "above"
    assert claim([0.6, 0.8], 0.5, {"p": None, "reason": "why"}, {"participants": 40}).why == "why"
