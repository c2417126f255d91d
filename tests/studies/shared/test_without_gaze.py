# SPDX-License-Identifier: Apache-2.0
"""Predictors that never see gaze, and labels that need none."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import FoldsConfig
from gazeray.learn.folds import make_folds
from gazeray.metrics.classification import score_all
from gazeray.studies.shared import without_gaze
from gazeray.studies.shared.classification import (
    WITHOUT_GAZE,
    ScoresConfig,
    predictions_table,
    score_predictions,
    with_scores,
)
from gazeray.studies.shared.without_gaze import (
    Circumstances,
    gazeless_scores,
    given_away,
    trial_order,
    with_nuisance,
)
from gazeray.study import Side

CLASSES = ["no", "yes"]
PEOPLE, STIMULI = 12, 8


def study(seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Everybody sees every stimulus in an order of their own; some stimuli have more of a class."""
    rng = np.random.default_rng(seed)
    what = np.concatenate([rng.permutation(STIMULI) for _ in range(PEOPLE)])
    who = np.repeat(np.arange(PEOPLE), STIMULI)
    labels = (rng.random(len(who)) < 0.15 + 0.7 * (what % 2)).astype(np.int64)
    table = pa.table(
        {
            "participant": [f"P{number:02d}" for number in who],
            "stimulus": [f"S{number}" for number in what],
            "trial": [str(number) for number in np.tile(np.arange(STIMULI), PEOPLE)],
        }
    )
    quality = table.select(["participant", "trial"])
    for name in ("duration_ms", "sampling_hz"):
        quality = quality.append_column(name, pa.array(rng.normal(500, 50, len(who))))
    quality = quality.append_column("lost_share", pa.array([None, *rng.random(len(who) - 1)], pa.float64()))
    shuffled = quality.take(rng.permutation(len(who)))
    return with_nuisance(table, trial_order(table["participant"].to_pylist()), shuffled), labels


def with_words(table: pa.Table) -> pa.Table:
    """What was read has 100 to 300 words, of the first trial it is not known."""
    words = pa.array([None, *np.random.default_rng(3).integers(100, 300, len(table) - 1)], pa.float64())
    return table.append_column("words", words)


def scored(table: pa.Table, labels: np.ndarray, known: np.ndarray, *sides: Side) -> dict[str, np.ndarray]:
    test = np.sort(np.concatenate([side.rows for side in sides]))
    return gazeless_scores(Circumstances.of(table, labels), known, sides, test, 2)


def test_what_is_known_beside_gaze_is_found_by_participant_and_trial() -> None:
    table, _ = study()
    assert table["nuisance_order"].to_pylist() == [*range(1, STIMULI + 1)] * PEOPLE
    assert table["nuisance_lost"].null_count == 1
    assert trial_order(["a", "b", "a", "a", "b"]).tolist() == [1, 1, 2, 3, 2]
    bare = with_nuisance(table.select(["participant", "trial", "stimulus"]), np.arange(PEOPLE * STIMULI), None)
    assert bare["nuisance_rate_hz"].null_count == len(bare)
    here = Circumstances.of(bare, np.zeros(len(bare), np.int64))
    assert np.isnan(here.nuisance.values[:, 1:]).all()
    assert np.isfinite(here.nuisance.values[:, 0]).all()
    assert here.speed is None


def test_stimulus_alone_is_the_smoothed_share_of_each_class_over_its_overall_share() -> None:
    table = pa.table(
        {
            "participant": ["a", "b", "c", "d", "e", "e"],
            "stimulus": ["x", "x", "y", "y", "x", "new"],
            "trial": [*"000001"],
        }
    )
    table = with_nuisance(table, np.ones(6), None)
    labels = np.array([1, 1, 0, 1, 0, 0])
    found = scored(table, labels, np.arange(4), Side("test", np.array([4, 5]), ("participant",)))
    overall, k = np.array([0.25, 0.75]), without_gaze.SMOOTHING
    ratio = (np.array([0, 2]) + k * overall) / (2 + k) / overall
    np.testing.assert_allclose(found["stimulus_only"], [ratio / ratio.sum(), [0.5, 0.5]])
    assert np.isnan(found["participant_only"]).all()


@pytest.mark.parametrize(
    ("unseen", "undefined"),
    [
        (("participant",), {"participant_only"}),
        (("stimulus",), {"stimulus_only"}),
        (("participant", "stimulus"), {"participant_only", "stimulus_only"}),
        ((), set()),
    ],
)
def test_row_is_undefined_where_what_it_goes_by_is_held_out(unseen: tuple[str, ...], undefined: set[str]) -> None:
    table, labels = study()
    known, test = np.arange(40), np.arange(40, 96)
    first = Side("one", test[::2], unseen)
    found = scored(table, labels, known, first, Side("other", test[1::2], ("participant", "stimulus")))
    for name, scores in found.items():
        assert np.isnan(scores[::2]).all() == (name in undefined), name
        assert np.isnan(scores[1::2]).all() == (name in OWN), name
        np.testing.assert_allclose(scores[~np.isnan(scores[:, 0])].sum(axis=1), 1.0)
    if len(unseen) == 2:
        np.testing.assert_array_equal(found["without_gaze"], found["nuisance"])


OWN = {"stimulus_only", "participant_only"}


@pytest.mark.parametrize("unseen", [("participant",), ("stimulus",), ()])
def test_labels_of_the_tested_change_no_score(unseen: tuple[str, ...]) -> None:
    table, labels = study()
    side = Side("test", np.arange(60, 96), unseen)
    flipped = labels.copy()
    flipped[60:] = 1 - flipped[60:]
    before, after = (scored(with_words(table), truth, np.arange(60), side) for truth in (labels, flipped))
    assert list(before) == list(WITHOUT_GAZE)
    for name in WITHOUT_GAZE:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_log_odds_that_a_known_row_is_fitted_with_do_not_hold_the_labels_of_its_own_person() -> None:
    table, labels = study()
    known, own = np.arange(96), np.arange(8)
    swapped = labels.copy()
    swapped[own] = labels[own][::-1]  # as many of each class, so that the overall shares stay
    assert (swapped != labels).any()
    before, after = (
        without_gaze._cross_fitted(Circumstances.of(table, truth), "stimulus", known, 2) for truth in (labels, swapped)
    )
    np.testing.assert_array_equal(before[own], after[own])
    assert (before != after).any()


def predicted(
    table: pa.Table, labels: np.ndarray, hold_out: str, classes: int = 2
) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """Predictions of all rows without gaze; the model's know half of the labels, those of the regression none."""
    rng = np.random.default_rng(1)
    names = [*CLASSES, "third"][:classes]
    folds = make_folds(table, labels, FoldsConfig(hold_out=hold_out, outer=4, stimuli=2), 0)  # type: ignore[arg-type]
    scores = {name: np.zeros((len(labels), classes)) for name in WITHOUT_GAZE if name != "reading_speed"}
    number = np.zeros(len(labels), np.int64)
    here = Circumstances.of(table, labels)
    for fold in folds:
        test = np.sort(fold.test)
        number[test] = fold.fold
        for name, theirs in gazeless_scores(here, fold.known, fold.tests, test, classes).items():
            scores[name][test] = theirs
    guess = {"scores": np.eye(classes)[np.where(rng.random(len(labels)) < 0.5, labels, 0)]}
    guess |= {
        "majority": np.eye(classes)[np.zeros(len(labels), int)],
        "logistic_regression": rng.random((len(labels), classes)),
    }
    ids = table.select(["participant", "trial", "stimulus"]).append_column("fold", pa.array(number))
    return predictions_table(ids, names, labels, {**guess, **scores}), scores


@pytest.mark.parametrize(
    ("hold_out", "unseen", "why"),
    [
        ("participants", ("participant",), {"participant_only": "participants are held out"}),
        ("stimuli", ("stimulus",), {"stimulus_only": "stimuli are held out"}),
        ("both", ("participant", "stimulus"),
         {"stimulus_only": "stimuli are held out", "participant_only": "participants are held out"}),
    ],
)  # fmt: skip
def test_scores_say_which_row_without_gaze_is_best_and_why_others_are_undefined(
    hold_out: str, unseen: Sequence[str], why: dict[str, str]
) -> None:
    table, labels = study()
    predictions, scores = predicted(table, labels, hold_out)
    found = score_predictions(predictions, CLASSES, ScoresConfig(resamples=100, permutations=99), 1, unseen)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["without_gaze"]["rows"] == ["majority", *scores]
    values = {name: found["rows"][name]["balanced_accuracy"]["value"] for name in found["without_gaze"]["rows"]}
    assert {name: found["rows"][name]["auroc"].get("why") for name in why} == why
    assert {name for name, value in values.items() if value is None} == set(why)
    best = found["without_gaze"]["best"]
    assert values[best] == max(value for value in values.values() if value is not None)
    assert values["nuisance"] == score_all(labels, scores["nuisance"], CLASSES)["balanced_accuracy"][0]
    gain = found["rows"]["cnn"]["balanced_accuracy"]["gain"][best]
    assert gain["value"] == found["rows"]["cnn"]["balanced_accuracy"]["value"] - values[best]
    assert found["permutation"]["gain"][best]["value"] == pytest.approx(gain["value"])
    for test in (found["permutation"], found["permutation"]["auroc"]):
        assert set(test["gain"]) == {*values, "logistic_regression"} - set(why)
    ranked = found["permutation"]["auroc"]
    assert (ranked["metric"], ranked["value"]) == ("auroc", found["rows"]["cnn"]["auroc"]["value"])
    assert ranked["gain"][best]["value"] == pytest.approx(found["rows"]["cnn"]["auroc"]["gain"][best]["value"])
    assert set(ranked) == set(found["permutation"]) - {"auroc", "further"}
    if hold_out == "participants":
        assert best in ("stimulus_only", "without_gaze")
        assert values["stimulus_only"] > 0.7


@pytest.mark.parametrize(
    ("hold_out", "own", "outer", "classes"),
    [
        ("participants", "stimulus_only", 12, 2),
        ("participants", "stimulus_only", 4, 3),
        ("stimuli", "participant_only", 12, 2),
    ],
)
def test_counterbalanced_design_does_not_give_the_tested_labels_away(
    hold_out: str, own: str, outer: int, classes: int
) -> None:
    """Latin square: the labels that are known leave over those that are tested, and nothing else is to be known."""
    who, what = np.divmod(np.arange(144), 12)
    labels = (who + what) % classes
    ids = {"participant": [f"P{number:02d}" for number in who], "stimulus": [f"S{number:02d}" for number in what]}
    table = pa.table({**ids, "trial": ids["stimulus"]})
    table = with_nuisance(table, np.random.default_rng(2).random(144), None)
    here, names = Circumstances.of(table, labels), [*CLASSES, "third"][:classes]
    found = {name: np.zeros((144, classes)) for name in (own, "nuisance", "without_gaze")}
    for fold in make_folds(table, labels, FoldsConfig(hold_out=hold_out, outer=outer), 0):  # type: ignore[arg-type]
        test = np.sort(fold.test)
        scores = gazeless_scores(here, fold.known, fold.tests, test, classes)
        for name in found:
            found[name][test] = scores[name]
    areas = {name: score_all(labels, scores, names)["auroc"][0] for name, scores in found.items()}
    assert areas[own] < 0.3
    assert areas["without_gaze"] == pytest.approx(areas["nuisance"], abs=0.1)
    assert areas["without_gaze"] < 0.6


def test_three_classes_have_rows_without_gaze_too() -> None:
    table, labels = study()
    labels = labels + (np.arange(len(labels)) % 3 == 0) * labels
    predictions, scores = predicted(table, labels, "participants", 3)
    found = score_predictions(predictions, [*CLASSES, "third"], ScoresConfig(resamples=100, permutations=99), 1)
    np.testing.assert_allclose(scores["without_gaze"].sum(axis=1), 1.0)
    assert found["rows"]["stimulus_only"]["balanced_accuracy"]["value"] > 1 / 3


def test_chance_is_the_least_that_can_be_had_without_gaze() -> None:
    """Labels of nothing: leaving people out makes their stimuli's shares wrong, and a gain over that is none."""
    rng = np.random.default_rng(5)
    for seed in range(5):
        table, _ = study(seed)
        predictions, _ = predicted(table, rng.permutation(np.arange(96) % 2), "participants")
        found = score_predictions(predictions, CLASSES, ScoresConfig(resamples=100, permutations=99), seed)
        assert found["rows"][found["without_gaze"]["best"]]["balanced_accuracy"]["value"] >= 0.5


def test_model_rows_of_any_name_are_scored_beside_the_same_baselines() -> None:
    table, labels = study()
    predictions, _ = predicted(table, labels, "participants")
    guess = np.random.default_rng(2).random((len(labels), 2))
    predictions = with_scores(predictions.rename_columns({"scores": "fused"}), {"branch": guess})
    cfg = ScoresConfig(resamples=100, permutations=99)
    found = score_predictions(predictions, CLASSES, cfg, 1, models={"fusion": "fused", "branch": "branch"})
    assert list(found["rows"])[:2] == ["fusion", "branch"]
    assert found["rows"]["branch"]["auroc"]["value"] == score_all(labels, guess, CLASSES)["auroc"][0]
    assert {"branch", "nuisance", "logistic_regression"} <= set(found["rows"]["fusion"]["balanced_accuracy"]["gain"])
    assert "branch" not in found["without_gaze"]["rows"]


def test_reading_speed_is_words_per_minute_of_the_recording() -> None:
    table = pa.table({"participant": [*"aabb"], "stimulus": [*"xyxy"], "trial": [*"0101"]})
    quality = table.select(["participant", "trial"]).append_column("duration_ms", pa.array([30_000.0, 60_000, 0, None]))
    for name in ("sampling_hz", "lost_share"):
        quality = quality.append_column(name, pa.array([1.0] * 4))
    table = with_nuisance(table, np.ones(4), quality).append_column("words", pa.array([100.0, 100, 100, 100]))
    speed = Circumstances.of(table, np.zeros(4, np.int64)).speed
    assert speed is not None
    np.testing.assert_array_equal(speed.values[:, 0], [200, 100, np.nan, np.nan])


def test_reading_speed_that_goes_with_the_label_is_found_by_its_row_and_by_all_together() -> None:
    table, _ = study()
    labels = np.random.default_rng(9).integers(0, 2, len(table))
    words = np.where(labels == 1, 1.4, 1.0) * np.array(table["nuisance_duration_ms"].to_pylist())
    table = table.append_column("words", pa.array(words))
    found = scored(table, labels, np.arange(48), Side("test", np.arange(48, 96), ("participant",)))
    right = {name: (scores.argmax(axis=1) == labels[48:]).mean() for name, scores in found.items()}
    assert right["reading_speed"] == 1.0
    assert right["without_gaze"] > 0.9
    assert right["nuisance"] < 0.8


def test_declared_numbers_and_texts_are_features_of_the_circumstances() -> None:
    table, labels = study()
    device = ["laptop" if label else "tower" for label in labels]
    device[0], device[95] = None, "phone"  # type: ignore[call-overload]
    table = table.append_column("nuisance:device", pa.array(device)).append_column(
        "nuisance:age", pa.array(labels * 5.0)
    )
    here = Circumstances.of(table, labels)
    assert here.nuisance.values.shape[1] == 4 + 3 + 1
    assert here.nuisance.marked == [0, 1, 2, 3, 4, 7], "the categories of a text are known together"
    known, asked = here.nuisance.filled(np.arange(48), np.arange(48, 96))
    assert np.isfinite(known).all()
    laptop, phone, tower = known[:, 4:7].T
    assert laptop[0] == pytest.approx((labels[1:48] == 1).mean())
    assert not phone.any(), "nobody who is known has one"
    assert (laptop + tower)[1:].tolist() == [1] * 47
    assert asked[-1, 4:7].tolist() == [0, 1, 0]
    found = scored(table, labels, np.arange(48), Side("test", np.arange(48, 96), ("participant",)))
    assert (found["nuisance"].argmax(axis=1) == labels[48:]).all()
    with pytest.raises(KeyError):
        Circumstances.of(table.drop_columns(["nuisance_order"]), labels)


@pytest.mark.parametrize(
    ("people", "stimuli", "labels", "said"),
    [
        pytest.param("aabb", "xyyx", [0, 1, 1, 0], "a function of the stimulus", id="stimulus"),
        pytest.param("aabb", "xyzx", [0, 1, 0, 1], "a function of trial order", id="order"),
        pytest.param("aabb", "xyxy", [0, 1, 1, 1], "", id="neither"),
        pytest.param("aabb", "xyzw", [0, 1, 1, 0], "", id="stimuli_that_one_person_saw"),
        pytest.param("ab", "xy", [0, 1], "", id="one_trial_each"),
    ],
)
def test_label_that_needs_no_gaze_is_found(people: str, stimuli: str, labels: list[int], said: str) -> None:
    table = pa.table({"participant": [*people], "stimulus": [*stimuli]})
    found = given_away(table, trial_order(people), np.array(labels), CLASSES, "task")
    assert len(found) == bool(said)
    for sentence in found:
        assert f"“task” is {said}" in sentence
        assert sentence.endswith("of each label: no 1, yes 1).")


def near(share: float, yes: float, people: int = 20, stimuli: int = 20, seed: int = 0) -> list[str]:
    """What is said of a label that is that of its stimulus in a share of the trials, and of which so many are yes."""
    rng = np.random.default_rng(seed)
    who, what = (
        np.repeat(np.arange(people), stimuli),
        np.concatenate([rng.permutation(stimuli) for _ in range(people)]),
    )
    labels = (what < yes * stimuli).astype(np.int64)
    labels = np.where(rng.random(len(who)) < share, labels, 1 - labels)
    table = pa.table({"participant": [f"P{number}" for number in who], "stimulus": [f"S{number}" for number in what]})
    return given_away(table, trial_order(table["participant"].to_pylist()), labels, CLASSES, "task")


def test_label_that_nearly_goes_with_its_stimulus_is_told_with_how_often_it_is_right() -> None:
    (sentence,) = near(0.96, 0.5)
    assert sentence.startswith(
        "“task” is all but a function of the stimulus: it is right in 96 % of trials, the majority"
    )
    assert near(0.85, 0.5) == [], "not nearly"
    assert len(near(1.0, 0.5)) == 1
    assert "all but" not in near(1.0, 0.5)[0]


def test_label_that_nearly_goes_with_trial_order_is_told() -> None:
    people = np.repeat(np.arange(10), 10).astype(str)
    labels = np.tile(np.arange(10) >= 5, 10).astype(np.int64)
    labels[[3, 47]] = 1 - labels[[3, 47]]
    table = pa.table({"participant": people, "stimulus": np.arange(100).astype(str)})
    (sentence,) = given_away(table, trial_order(people), labels, CLASSES, "task")
    assert sentence == (
        "“task” is all but a function of trial order: it is right in 98 % of trials, the majority class in 50 %."
    )


@pytest.mark.parametrize("yes", [0.0, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("people", [2, 3, 20])
def test_near_function_is_not_told_of_labels_of_nothing_however_uneven(yes: float, people: int) -> None:
    """Labels that have nothing to do with their stimuli; of two people each agrees with the other by chance."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        who, what = np.repeat(np.arange(people), 12).astype(str), np.tile(np.arange(12), people).astype(str)
        labels = (rng.random(len(who)) < yes).astype(np.int64)
        labels[:2] = 0, 1
        table = pa.table({"participant": who, "stimulus": what})
        assert given_away(table, np.full(len(who), np.nan), labels, CLASSES, "task") == []


def test_stimuli_of_one_person_each_say_nothing_nearly() -> None:
    table = pa.table({"participant": [*"aabbccdd"], "stimulus": [*"stuvwxyz"]})
    assert given_away(table, np.full(8, np.nan), np.array([0, 1] * 4), CLASSES, "task") == []


def test_few_stimuli_that_two_people_saw_are_no_function_by_chance() -> None:
    """Twenty people with ten stimuli of their own each, but for some that the first two share."""
    for shared in (1, 2, 3):
        for seed in range(30):
            labels = (np.random.default_rng(seed).random(200) < (0.5, 0.05)[seed % 2]).astype(np.int64)
            labels[-2:] = 0, 1
            what = np.arange(200)
            what[10 : 10 + shared] = what[:shared]
            labels[10 : 10 + shared] = labels[:shared]
            table = pa.table({"participant": np.repeat(np.arange(20), 10).astype(str), "stimulus": what.astype(str)})
            assert given_away(table, np.full(200, np.nan), labels, CLASSES, "task") == []


def test_function_of_the_stimuli_that_most_trials_share_is_told_in_spite_of_others() -> None:
    what = np.tile(np.arange(10), 6)
    labels = what % 2
    what[what > 6] = 100 + np.arange(18)  # three of ten are everybody's own
    table = pa.table({"participant": np.repeat(np.arange(6), 10).astype(str), "stimulus": what.astype(str)})
    (sentence,) = given_away(table, np.full(60, np.nan), labels, CLASSES, "task")
    assert sentence.startswith("“task” is a function of the stimulus")


@pytest.mark.parametrize("values", [[0.0, 1.0], ["left", "right"], [None, "right"], [np.nan, 1.0]])
def test_label_that_stands_in_a_declared_column_under_another_name_is_told(values: list[object]) -> None:
    labels = np.arange(8) // 2 % 2
    table = pa.table({"participant": [*"aabbccdd"], "stimulus": [*"stuvwxyz"]})
    beside = pa.table({"nuisance:hand": [values[label] for label in labels], "words": [float(n) for n in labels]})
    (sentence,) = given_away(table, np.full(8, np.nan), labels, CLASSES, "task", beside)
    assert sentence == (
        "“task” is a function of “hand”: whoever knows it needs no gaze (values of each label: no 1, yes 1)."
    )
