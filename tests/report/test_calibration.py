# SPDX-License-Identifier: Apache-2.0
"""The section on calibration: its figures, its sentence, and its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gazeray.report.blocks import Cell, Table, Text
from gazeray.report.results import Results, read_results
from gazeray.report.sections import calibration
from gazeray.storage import Folder
from tests.report import fabricate as made
from tests.report.pages import change

SMALL = made.Scene(participants=12, trials=12, folds=3, epochs=2, maps_per_participant=0)


def results_of(folder: Path, scene: made.Scene) -> Results:
    run = Folder(folder / "run")
    made.fabricate(run, scene)
    change(run, "manifest.json", lambda manifest: manifest["config"].update(scores={"resamples": 200}))
    return read_results(run)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(tmp_path_factory.mktemp("small"), SMALL)


def saying(results: Results, scores: np.ndarray) -> Results:
    """The run, where the model forecasts `scores` (N, K)."""
    place = results.predictions.column_names.index("scores")
    return replace(results, predictions=results.predictions.set_column(place, "scores", pa.array(scores.tolist())))


def forecasts(results: Results, sure: float) -> np.ndarray:
    """Probabilities that the labels follow, to the power of `sure`."""
    labels = np.array([SMALL.classes.index(name) for name in results.predictions["label"].to_pylist()])
    seen = np.random.default_rng(0).normal(size=len(labels)) + 1.5 * labels
    powers = np.exp(-0.5 * sure * (seen[:, None] - 1.5 * np.arange(2)) ** 2)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def words(results: Results) -> list[str]:
    return [block.words for block in calibration.section(results).blocks if isinstance(block, Text)]


@pytest.mark.parametrize(
    ("sure", "start"),
    [(1.0, "Nothing shows that the model’s probabilities are off"), (8.0, "The model is surer than it should be"),
     (0.15, "The model could be surer")],
)  # fmt: skip
def test_sentence_says_what_the_slope_means(results: Results, undrawn: None, sure: float, start: str) -> None:
    assert words(saying(results, forecasts(results, sure)))[0].startswith(start)


def test_class_that_is_said_too_often_is_named(results: Results, undrawn: None) -> None:
    pushed = forecasts(results, 1.0) * [1.0, 4.0]
    sentence = words(saying(results, pushed / pushed.sum(axis=1, keepdims=True)))[0]
    assert "it says “pseudoword” too often" in sentence


def test_forecasts_of_nothing_are_said_to_tell_nothing(results: Results, undrawn: None) -> None:
    scores = np.random.default_rng(1).permutation(forecasts(results, 4.0))
    assert "tell nothing of the class" in words(saying(results, scores))[0]


def labels_of(results: Results) -> np.ndarray:
    return np.array([SMALL.classes.index(name) for name in results.predictions["label"].to_pylist()])


def test_model_that_always_says_the_same_is_off_where_that_is(results: Results, undrawn: None) -> None:
    n = results.predictions.num_rows
    said = words(saying(results, np.tile([0.5, 0.5], (n, 1))))[0]
    assert said == "It says the same of all trials, which tells nothing of the class."
    said = words(saying(results, np.tile([0.1, 0.9], (n, 1))))[0]
    assert said.startswith("It says the same of all trials, which tells nothing of the class; and it says “pseudo")
    assert "too often: 0.90" in said


def test_forecasts_that_are_right_but_for_rounding_are_not_off(results: Results, undrawn: None) -> None:
    sure = np.where(labels_of(results)[:, None] == np.arange(2), 1 - 1e-6, 1e-6)
    assert words(saying(results, sure))[0].startswith("Nothing shows that the model’s probabilities are off")


def test_forecasts_that_are_always_wrong_are_not_said_to_tell_nothing(results: Results, undrawn: None) -> None:
    wrong = np.where(labels_of(results)[:, None] == np.arange(2), 0.1, 0.9)
    said = words(saying(results, wrong))[0]
    assert said.startswith("The model is surer than it should be: where it says")
    assert "with 90 %, about 0 % are so by the fitted line (slope −1.25" in said
    assert said.endswith("go against the class, not with it.")


def test_class_without_trials_leaves_nothing_to_say(results: Results, undrawn: None) -> None:
    one = results.predictions.filter(pc.equal(results.predictions["label"], SMALL.classes[0]))
    assert words(replace(results, predictions=one))[0].startswith("It cannot be said: a class was not tested")


def test_few_people_are_too_few_to_say(results: Results, undrawn: None) -> None:
    few = results.predictions.filter(pc.is_in(results.predictions["participant"], pa.array(["P01", "P02", "P03"])))
    assert words(replace(results, predictions=few))[0].startswith("Too few participants were held out to say")


def test_table_has_the_brier_score_of_the_run_beside_slope_and_miscalibration(results: Results, undrawn: None) -> None:
    (table,) = [block for block in calibration.section(results).blocks if isinstance(block, Table)]
    assert table.columns[1].head == "Brier score (lower is better)"
    name, brier, *_ = table.rows[0]
    assert name == "model"
    assert isinstance(brier, Cell)
    assert brier.words == f"{results.entry('cnn', 'brier')['value']:.3f}"


def test_model_without_class_weights_is_said_to_be_off_by_design(results: Results, undrawn: None) -> None:
    assert "by design" not in words(results)[1]
    config = results.config | {"train": {"class_weights": False}}
    assert "by design" in words(replace(results, manifest=results.manifest | {"config": config}))[1]


def test_every_class_of_three_has_a_diagram_and_two_have_one(results: Results, tmp_path: Path, undrawn: None) -> None:
    assert [figure.name for figure in calibration.section(results).figures()] == ["calibration"]
    scene = made.Scene(participants=8, trials=12, folds=2, classes=("a", "b", "c"), epochs=2, maps_per_participant=0)
    three = calibration.section(results_of(tmp_path, scene))
    assert [figure.name for figure in three.figures()] == [f"calibration-{place}" for place in range(3)]


def test_run_without_predictions_says_so(results: Results) -> None:
    assert words(replace(results, predictions=pa.table({}))) == ["No predictions."]
