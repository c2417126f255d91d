# SPDX-License-Identifier: Apache-2.0
"""What metrics.json says of a label: rows, gains, tests, and what each channel gives."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.metrics.ordinal import score_ordinal
from gazeray.metrics.permutation import claim
from gazeray.studies.emotion.predictors import ROWS
from gazeray.studies.emotion.scores import importance, score_label
from gazeray.studies.shared.classification import ScoresConfig, with_scores
from gazeray.study import Row
from tests.studies.emotion.rated import ALL_ROWS, NOTHING, SOMETHING, Rated, beside, predictions, run

FEW = ScoresConfig(resamples=200, permutations=199)


@pytest.fixture(scope="module")
def something() -> pa.Table:
    return run(replace(SOMETHING, repeats=2, gone=0.4), "participants", 0)


@pytest.fixture(scope="module")
def found(something: pa.Table) -> dict[str, Any]:
    return score_label(something, SOMETHING.target, ALL_ROWS, "series", FEW, 0, "participants")


def test_label_is_told_with_all_rows_in_plain_json(found: dict[str, Any], something: pa.Table) -> None:
    told = json.loads(json.dumps(found, allow_nan=False))
    assert list(told["rows"]) == list(ALL_ROWS)
    assert told["levels"] == [*"12345"]
    assert told["ordered"] is True
    assert told["n"] == sum(told["counts"]) == something.num_rows == np.sum(told["confusion"])
    assert told["metrics_shown"][:3] == ["balanced_accuracy", "accuracy", "qwk"]
    assert told["held_out"] == {"participants": 16, "stimuli": 15}
    assert told["metrics"]["qwk"]["chance"] == 0
    assert [sum(row) for row in told["confusion"]] == told["counts"]
    assert {name: own["n"] for name, own in told["per_class"].items()} == dict(
        zip("12345", told["counts"], strict=True)
    )
    hits = np.diagonal(told["confusion"]) / told["counts"]
    assert told["rows"]["series"]["balanced_accuracy"]["value"] == pytest.approx(hits.mean())
    assert [one["fold"] for one in told["per_fold"]] == [0, 1, 2]
    assert sum(one["n"] for one in told["per_fold"]) == told["n"]
    assert told["without_gaze"]["rows"] == [
        "majority", "participant_mean", "picture_mean", "additive", "nuisance", "without_gaze"
    ]  # fmt: skip
    assert told["without_gaze"]["best"] in ("picture_mean", "additive", "without_gaze")
    assert "auroc" not in told["permutation"]


def test_row_that_is_held_out_has_no_value_and_says_why(found: dict[str, Any]) -> None:
    for entry in found["rows"]["participant_mean"].values():
        assert entry == {"value": None, "ci95": None, "n": 0, "why": "participants are held out"}
    assert "participant_mean" not in found["rows"]["series"]["qwk"]["gain"]
    assert found["rows"]["majority"]["spearman"]["why"].endswith("all predictions are the same")
    assert found["rows"]["series"]["qwk"]["gain"]["majority"]["value"] == found["rows"]["series"]["qwk"]["value"]


def test_ceiling_that_the_ratings_do_not_have_is_no_row(something: pa.Table) -> None:
    """Nobody rated a picture twice; what is held out stays, with the reason."""
    place = something.column_names.index("arousal:retest")
    once = something.set_column(place, "arousal:retest", pa.nulls(len(something), something.schema.field(place).type))
    found = score_label(once, SOMETHING.target, ALL_ROWS, "series", FEW, 0, "participants")
    assert set(ALL_ROWS) - set(found["rows"]) == {"retest"}
    assert found["rows"]["participant_mean"]["qwk"]["value"] is None


def test_row_of_some_trials_is_scored_on_these_and_so_is_the_gain_over_it(
    found: dict[str, Any], something: pa.Table
) -> None:
    there = something["arousal:retest"].is_valid().to_numpy(zero_copy_only=False)
    assert 0 < there.sum() < len(there)
    entry = found["rows"]["retest"]["qwk"]
    assert entry["n"] == there.sum()
    assert entry["why"] == (f"the participant rated the picture only once, in {(~there).sum()} of {len(there)} trials")
    rows = {"series": ALL_ROWS["series"], "retest": ROWS["retest"]}
    alone = score_label(something.filter(pa.array(there)), SOMETHING.target, rows, "series", FEW, 0, "participants")
    assert entry["value"] == alone["rows"]["retest"]["qwk"]["value"]
    assert entry["ci95"] == alone["rows"]["retest"]["qwk"]["ci95"]
    assert found["rows"]["series"]["qwk"]["gain"]["retest"] == alone["rows"]["series"]["qwk"]["gain"]["retest"]
    assert "retest" not in found["permutation"]["gain"], "labels are exchanged among all trials"


def test_signals_that_follow_ratings_are_claimed_to_and_those_of_nothing_are_not(found: dict[str, Any]) -> None:
    def side(told: dict[str, Any]) -> str:
        entry = told["rows"]["series"]["balanced_accuracy"]
        return claim(entry["ci95"], 0.2, told["permutation"], told["held_out"]).side

    assert side(found) == "above"
    nothing = score_label(run(NOTHING, "participants", 1), NOTHING.target, ALL_ROWS, "series", FEW, 0, "participants")
    assert side(nothing) == "none"


def test_trials_without_a_label_and_those_that_the_model_says_nothing_of_are_not_scored() -> None:
    table, labels, features = NOTHING.draw(3)
    folds, scores = beside(table, labels, features, NOTHING.target)
    labels = np.where(np.arange(len(labels)) % 5 == 0, -1, labels)
    scores["ridge"][1::5] = np.nan
    told = predictions(table, labels, folds, scores, NOTHING.target)
    found = score_label(told, NOTHING.target, ROWS, "ridge", FEW, 0, "participants")
    assert found["n"] == len(labels) * 3 // 5 == found["rows"]["picture_mean"]["qwk"]["n"]
    kept = np.flatnonzero(np.arange(len(labels)) % 5 > 1)
    assert found == score_label(told.take(kept), NOTHING.target, ROWS, "ridge", FEW, 0, "participants")
    with pytest.raises(ValueError, match="arousal: no tested row has a label and scores of participant_mean"):
        score_label(told, NOTHING.target, ROWS, "participant_mean", FEW, 0, "participants")
    with pytest.raises(LookupError, match="arousal:series"):
        score_label(told, NOTHING.target, ROWS, "series", FEW, 0, "participants")


def test_row_without_a_column_is_left_out_and_order_of_the_trials_changes_nothing(something: pa.Table) -> None:
    rows = {**ALL_ROWS, "shift+500": Row("half a second later", "control")}
    one = score_label(something, SOMETHING.target, rows, "series", FEW, 0, "participants")
    assert list(one["rows"]) == list(ALL_ROWS)
    order = np.random.default_rng(0).permutation(something.num_rows)
    other = score_label(something.take(order), SOMETHING.target, rows, "series", FEW, 0, "participants")
    assert one["rows"] == other["rows"]
    assert one["confusion"] == other["confusion"]


def test_two_classes_have_the_area_under_roc_and_its_permutation_test() -> None:
    design = Rated(levels=2, pull=1.5)
    rows = {"series": ALL_ROWS["series"], **ROWS, "picture": Row("picture", "model")}
    told = run(design, "neither", 0)
    told = told.append_column("arousal:picture", told["arousal:picture_mean"])
    found = score_label(told, design.target, rows, "series", FEW, 0, "neither")
    assert found["metrics_shown"] == ["balanced_accuracy", "accuracy", "auroc", "log_loss", "ece"]
    assert found["rows"]["picture_mean"]["auroc"]["value"] > 0.7
    assert found["without_gaze"]["rows"][-1] == "picture", "it sees neither gaze nor body"
    assert found["permutation"]["design"] == "within participants"
    assert found["permutation"]["further"]["design"] == "within stimuli"
    assert found["permutation"]["auroc"]["metric"] == "auroc"


@pytest.mark.parametrize(
    ("pictures", "hold_out", "drawn"),
    [
        (15, "participants", {"participants": 16, "stimuli": 15}),
        (5, "participants", {"participants": 16}),
        (5, "stimuli", {"participants": 16, "stimuli": 5}),
        (1, "participants", {"participants": 16}),
    ],
)
def test_intervals_draw_people_and_pictures_but_not_a_handful_that_everybody_saw(
    pictures: int, hold_out: str, drawn: dict[str, int]
) -> None:
    table, labels, _ = replace(NOTHING, pictures=pictures).draw(4)
    prior = np.tile(np.bincount(labels, minlength=5) / len(labels), (len(labels), 1))
    scores = {"series": prior[:, ::-1], "prior": prior}
    told = predictions(table, labels, np.arange(len(labels)) % 4, scores, NOTHING.target)
    found = score_label(told, NOTHING.target, ALL_ROWS, "series", FEW, 0, hold_out)
    assert found["held_out"] == drawn
    assert found["rows"]["series"]["accuracy"]["ci95"] is not None
    assert found["without_gaze"] == {"best": None, "rows": []}


# -- channels


def test_channel_that_a_model_lives_by_is_important_and_another_is_not(something: pa.Table) -> None:
    target, keys = SOMETHING.target, ["participant", "trial", "fold", "regime"]
    whole = np.array(something["arousal:series"].to_pylist())
    rng = np.random.default_rng(0)

    def dropped(control: str, repeat: int, scores: np.ndarray, label: str = "arousal") -> pa.Table:
        count = something.num_rows
        own = {"control": [control] * count, "repeat": [repeat] * count, "label": [label] * count}
        table = pa.table(own)
        for name in keys:
            table = table.append_column(name, something[name])
        return with_scores(table, {"scores": scores})

    mixed = [whole[rng.permutation(len(whole))] for _ in range(3)]
    parts = [dropped("without_gsr", 0, mixed[0]), dropped("without_pupil", 0, whole), dropped("x", 0, whole, "valence")]
    parts += [dropped("permuted_gsr", repeat, scores) for repeat, scores in enumerate(mixed)]
    order = rng.permutation(6 * something.num_rows)
    found = importance(pa.concat_tables(parts).take(order), something, target, "series", FEW, 0, "participants")
    assert set(found) == {"without_gsr", "without_pupil", "permuted_gsr"}
    assert found["without_pupil"] == {
        name: {"value": 0.0, "ci95": [0.0, 0.0], "n": len(whole)} for name in ("balanced_accuracy", "qwk")
    }
    for control in ("without_gsr", "permuted_gsr"):
        assert found[control]["balanced_accuracy"]["ci95"][0] > 0

    def kappa(scores: np.ndarray) -> float:
        prior = np.array(something["arousal:prior"].to_pylist())
        labels = np.array([int(name) - 1 for name in something["arousal"].to_pylist()])
        return float(score_ordinal(labels, scores, prior, target.classes)["qwk"][0])

    drop = kappa(whole) - np.mean([kappa(scores) for scores in mixed])
    assert found["permuted_gsr"]["qwk"]["value"] == pytest.approx(drop)


def test_control_has_its_gain_over_the_row_that_it_is_of(something: pa.Table) -> None:
    """The other way round it is the model's, where the model is what is asked."""
    table = something.append_column("arousal:cut-1000", something["arousal:additive"])
    rows = {name: ALL_ROWS[name] for name in ("series", "ridge")} | {"cut-1000": Row("cut", "control")}
    found = {
        asked: score_label(table, SOMETHING.target, rows, "series", FEW, 0, "participants", asked)["rows"]
        for asked in ("series", "ridge", "nobody")
    }
    for metric in ("balanced_accuracy", "qwk"):
        gain, model = found["series"]["cut-1000"][metric]["gain"]["series"], found["series"]["series"][metric]["gain"]
        assert gain["value"] == pytest.approx(-model["cut-1000"]["value"])
        assert gain["ci95"] == pytest.approx([-bound for bound in reversed(model["cut-1000"]["ci95"])])
        values = {name: row[metric]["value"] for name, row in found["ridge"].items()}
        own = found["ridge"]["cut-1000"][metric]["gain"]
        assert own["ridge"]["value"] == pytest.approx(values["cut-1000"] - values["ridge"])
        assert "gain" not in found["nobody"]["cut-1000"][metric]
