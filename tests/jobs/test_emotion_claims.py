# SPDX-License-Identifier: Apache-2.0
"""What the simulated study is for: with its effect signals add to person and picture, without it nothing does.

`python -m pytest -m nightly tests/jobs/test_emotion_claims.py -s` prints the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazeray.report.results import Results, read_results
from gazeray.report.text_tables import labels_table
from gazeray.studies.emotion.views import views
from gazeray.studies.emotion.words import against, verdict
from tests.running import HERE, run_emotion

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

QUICK = [HERE, "controls.knock_out=false", "controls.permute=0", "scores.resamples=500", "scores.permutations=199"]
SIGNALS = "model.branches=[series]"
MARGIN = 0.05
"""Macro recall of arousal that signals must have over participant + picture; seeds of the run give 0.09 and more."""

NO_EFFECT = ["data.simulate.effect=0", "model.branches=[series, scanpath]", "train.epochs=20", "train.patience=6"]


def told(folder: Path, *words: str) -> Results:
    """A run with its default sizes, as its report sees it."""
    outcome, _ = run_emotion(f"run.dir={folder}", *QUICK, *words)
    assert outcome.failed == {}
    assert outcome.metrics is not None
    print(*words, labels_table(outcome.metrics), sep="\n")
    return read_results(outcome.run)


def of(results: Results, label: str) -> Results:
    return {view.metrics["label"]: view for view in views(results)}[label]


def recall(view: Results, row: str) -> Any:
    """Macro recall of a row: value, ci95, gain."""
    return view.entry(row, "balanced_accuracy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all runs, which share the recordings."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def strangers(folder: Path) -> Results:
    """Default effects, people held out."""
    return told(folder, SIGNALS, "controls.swap_signals=true")


def test_signals_tell_arousal_beyond_person_and_picture(strangers: Results) -> None:
    view = of(strangers, "arousal")
    gain = view.gain("series", "balanced_accuracy", "additive")
    assert gain["value"] > MARGIN
    assert view.metrics["permutation"]["gain"]["additive"]["p"] < 0.05
    assert view.gain("series", "qwk", "additive")["value"] > 2 * MARGIN
    assert "Arousal: the model tells it above chance" in verdict(strangers, views(strangers))


def test_it_is_the_response_of_the_person_who_is_asked(strangers: Results) -> None:
    swapped = recall(of(strangers, "arousal"), "swapped_signals")
    assert swapped["gain"]["series"]["ci95"][1] < 0


def test_the_published_split_is_higher_than_that_of_people_and_pictures_never_seen(folder: Path) -> None:
    published = told(folder, SIGNALS, "folds.hold_out=stimuli")
    honest = told(folder, SIGNALS, "folds.hold_out=both", "folds.stimuli=2")
    assert "This split leaks: the same people are on both sides" in verdict(published, views(published))
    assert "leaks" not in verdict(honest, views(honest))
    for row in ("series", "ridge", "without_gaze"):
        assert recall(of(published, "arousal"), row)["value"] > recall(of(honest, "arousal"), row)["value"]


def test_levels_of_signals_tell_who_it_is_so_that_the_published_split_is_higher(
    folder: Path, strangers: Results
) -> None:
    """Where signals are scaled within each person, there is no level left that would tell."""
    levels = "signals.scale=training_people"
    published, honest = told(folder, SIGNALS, levels, "folds.hold_out=stimuli"), told(folder, SIGNALS, levels)
    found = [recall(of(one, "arousal"), "series")["value"] for one in (published, honest)]
    assert found[0] > found[1] + MARGIN
    assert recall(of(strangers, "arousal"), "series")["value"] > found[1] + MARGIN


# -- without any effect


def nothing_is_claimed(results: Results) -> None:
    """No model of signals or scanpath is better than what can be had without, label by label."""
    for view in views(results):
        known = [row for row in ("additive", "picture_mean", "majority") if recall(view, row)["value"] is not None]
        assert against(view, known[0]).side != "above"
        for key in view.of_kind("model"):
            assert recall(view, key)["ci95"][0] <= recall(view, known[0])["value"]
    assert "It is better than" not in verdict(results, views(results))


def test_without_an_effect_nothing_is_claimed_of_people_never_seen(folder: Path) -> None:
    found = told(folder, *NO_EFFECT)
    nothing_is_claimed(found)
    assert "All of it is the stimulus" in verdict(found, views(found))


def test_without_an_effect_nothing_is_claimed_of_people_and_pictures_never_seen(folder: Path) -> None:
    found = told(folder, *NO_EFFECT, "folds.hold_out=both", "folds.outer=2", "folds.stimuli=2")
    nothing_is_claimed(found)
    assert "All of it is" not in verdict(found, views(found))


@pytest.mark.parametrize(
    ("hold_out", "row", "leak"),
    [
        ("neither", "additive", "every person and every picture is on both sides"),
        ("stimuli", "participant_mean", "the same people are on both sides"),
    ],
)
def test_without_an_effect_splits_that_leak_look_good_and_the_verdict_says_why(
    folder: Path, hold_out: str, row: str, leak: str
) -> None:
    found = told(folder, *NO_EFFECT, f"folds.hold_out={hold_out}", "folds.outer=3")
    view = of(found, "arousal")
    assert view.entry(row, "qwk")["ci95"][0] > 0
    assert recall(view, row)["value"] > 1 / 7
    nothing_is_claimed(found)
    said = verdict(found, views(found))
    assert "This split leaks: " in said
    assert leak in said
    assert ("All of it " in said) == (hold_out == "neither")
