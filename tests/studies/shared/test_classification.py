# SPDX-License-Identifier: Apache-2.0
"""What metrics.json says of out-of-fold predictions: one table of rows, and beside it the older keys."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from gazeray.metrics.statistics import majority_scores
from gazeray.studies.shared.classification import ScoresConfig, predictions_table, score_predictions

CLASSES = ["control", "pseudoword"]
PEOPLE = ("participant",)


@pytest.fixture(scope="module")
def predictions() -> pa.Table:
    """Eight people of six trials; the model knows something, the regression a little less."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 0], 16)
    scores = {"majority": majority_scores(labels, 48, CLASSES)}
    for name, effect in (("scores", 2.0), ("logistic_regression", 1.0)):
        positive = 1 / (1 + np.exp(-effect * (labels - 0.5) - rng.normal(size=48)))
        scores[name] = np.stack([1 - positive, positive], axis=1)
    ids = pa.table(
        {
            "participant": [f"P{number // 6}" for number in range(48)],
            "trial": list(range(48)),
            "stimulus": [f"S{number % 6}" for number in range(48)],
            "fold": [number // 12 for number in range(48)],
        }
    )
    return predictions_table(ids, CLASSES, labels, scores)


def test_rows_and_older_keys_are_of_the_same_draws(predictions: pa.Table) -> None:
    found = score_predictions(predictions, CLASSES, ScoresConfig(resamples=100, permutations=99), seed=1, unseen=PEOPLE)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"rows", "metrics_shown", "metrics", "permutation", "held_out", "participants"}
    assert list(found["rows"]) == ["cnn", "logistic_regression", "majority"]
    assert found["metrics_shown"] == list(found["metrics"])
    for metric, old in found["metrics"].items():
        own = found["rows"]["cnn"][metric]
        assert (own["value"], own["ci95"], own["n"]) == (old["value"], old["ci95"], 48)
        for baseline in ("logistic_regression", "majority"):
            assert own["gain"][baseline]["ci95"] == old["gain_ci95"][baseline]
            assert found["rows"][baseline][metric]["value"] == old["baselines"][baseline]
            assert "gain" not in found["rows"][baseline][metric]


def test_another_seed_draws_other_intervals_around_the_same_values(predictions: pa.Table) -> None:
    cfg = ScoresConfig(resamples=100, permutations=99)
    first, second = (
        score_predictions(predictions, CLASSES, cfg, seed, PEOPLE)["rows"]["cnn"]["auroc"] for seed in (1, 2)
    )
    assert first["value"] == second["value"]
    assert first["ci95"] != second["ci95"]


def test_label_of_the_stimulus_is_exchanged_between_stimuli_and_intervals_draw_what_was_held_out(
    predictions: pa.Table,
) -> None:
    cfg = ScoresConfig(resamples=100, permutations=99)
    people, stimuli, both = (
        score_predictions(predictions, CLASSES, cfg, 1, unseen)
        for unseen in (PEOPLE, ("stimulus",), ("participant", "stimulus"))
    )
    assert {one["permutation"]["design"] for one in (people, stimuli, both)} == {"between stimuli"}
    assert people["held_out"] == {"participants": 8}
    assert stimuli["held_out"] == {"stimuli": 6}
    assert both["held_out"] == {"participants": 8, "stimuli": 6}
    low, high = zip(*(one["rows"]["cnn"]["accuracy"]["ci95"] for one in (people, stimuli, both)), strict=True)
    assert len(set(low)) == len(set(high)) == 3
    assert high[2] - low[2] > max(high[0] - low[0], high[1] - low[1])
    assert "per_person" not in people
    assert "further" not in people["permutation"]


def test_label_of_the_trial_has_a_second_question_within_stimuli(predictions: pa.Table) -> None:
    labels = [CLASSES[number // 5 % 2] for number in range(48)]
    place = predictions.schema.get_field_index("label")
    table = predictions.set_column(place, "label", pa.array(labels))
    found = score_predictions(table, CLASSES, ScoresConfig(resamples=100, permutations=99), 1, PEOPLE)["permutation"]
    assert (found["design"], found["further"]["design"]) == ("within participants", "within stimuli")
    assert found["value"] == found["further"]["value"]


def test_label_of_the_participant_is_scored_per_person_by_the_mean_of_their_trials(predictions: pa.Table) -> None:
    truth = np.repeat([0, 1], 24)
    place = predictions.schema.get_field_index("label")
    table = predictions.set_column(place, "label", pa.array([CLASSES[label] for label in truth]))
    found = score_predictions(table, CLASSES, ScoresConfig(resamples=100, permutations=99), 1, PEOPLE)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["permutation"]["design"] == "between participants"
    assert list(found["per_person"]) == ["cnn", "logistic_regression", "majority"]
    means = np.array(table["scores"].to_pylist()).reshape(8, 6, 2).mean(axis=1)
    right = means.argmax(axis=1) == np.repeat([0, 1], 4)
    entry = found["per_person"]["cnn"]["accuracy"]
    assert (entry["value"], entry["n"]) == (right.mean(), 8)
    assert entry["ci95"] is not None
    assert entry["value"] != found["rows"]["cnn"]["accuracy"]["value"]


def test_participants_that_were_trained_on_have_no_scores_per_person(predictions: pa.Table) -> None:
    place = predictions.schema.get_field_index("label")
    table = predictions.set_column(place, "label", pa.array([CLASSES[label] for label in np.repeat([0, 1], 24)]))
    nobody: list[list[float] | None] = [None] * 48
    some = [[0.5, 0.5], *nobody[1:]]
    cfg, kind = ScoresConfig(resamples=100, permutations=99), pa.list_(pa.float64())
    for unseen, known, shown in (
        (PEOPLE, nobody, True), (PEOPLE, some, False), (("stimulus",), nobody, False),
        (("participant", "stimulus"), nobody, True),
    ):  # fmt: skip
        beside = table.append_column("participant_only", pa.array(known, kind))
        assert ("per_person" in score_predictions(beside, CLASSES, cfg, 1, unseen)) == shown
