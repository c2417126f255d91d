# SPDX-License-Identifier: Apache-2.0
"""What the emotion study cannot answer is refused in words by its parts; the whole job: tests/jobs/."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.config import ConfigError, validate
from gazeray.storage import Folder
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.courses import courses
from gazeray.studies.emotion.source import deal
from gazeray.studies.emotion.summary import score_faults
from gazeray.tables import DataError
from tests.studies.emotion.tiny_trials import CHANNELS, LABELS, PEOPLE, PICTURES, SAMPLES, config, label, trials


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"controls": {"shift_ms": [500, 500]}}, "controls.shift_ms: each once"),
        ({"controls": {"shift_ms": [1234567, 1234568]}}, "controls.shift_ms: each once in six digits"),
        ({"controls": {"shift_ms": [0]}}, "none 0"),
        ({"controls": {"shift_ms": [float("nan")]}}, "controls.shift_ms.0: input should be a finite number"),
        ({"controls": {"cut_ms": 4900}}, "controls.cut_ms: 4900 leaves nothing of signals.duration_ms 4900"),
        ({"controls": {"of": "smell"}}, "controls.of: no such model (allowed: series, scanpath, "),
        ({"controls": {"of": "picture-series"}}, "controls.of: no such model"),
        ({"controls": {"of": "picture", "cut_ms": 100}}, "cut_ms: 'picture' sees no signals"),
        ({"model": {"branches": ["series", "series"]}}, "a branch is there twice"),
        ({"signals": {"channels": []}}, "signals.channels: "),
        ({"signals": {"start_ms": float("inf")}}, "signals.start_ms: input should be a finite number"),
        ({"signals": {"plausible": {"gsr": [5, 1]}}}, "gsr: the lowest value is not below the highest"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(EmotionConfig, sections)
    assert message in " | ".join(caught.value.errors)


def dealt(known: np.ndarray, **folds: Any) -> None:
    """Folds of `PEOPLE` x `PICTURES` trials, of which `known` (N,) have the second of two labels."""
    people, pictures = np.indices((PEOPLE, PICTURES)).reshape(2, -1)
    table = pa.table({
        "participant": people.astype(str), "trial": pictures.astype(str), "stimulus": pictures.astype(str),
        "arousal_index": people % 3, "felt.valence_index": np.where(known, pictures % 3, -1),
    })  # fmt: skip
    deal(config(folds={"outer": 3, **folds}), table, LABELS)


def test_a_label_that_a_fold_cannot_learn_is_refused_by_name() -> None:
    person = np.repeat(np.arange(PEOPLE), PICTURES)
    dealt(person < PEOPLE)
    with pytest.raises(DataError, match=r"felt\.valence, which 16 of 192 trials have, is known of none to train on"):
        dealt(person == 0)
    picture = np.tile(np.arange(PICTURES), PEOPLE)
    with pytest.raises(DataError, match=r"felt\.valence, which 12 of 192 trials have, is known of none to train on"):
        dealt(picture == 0, hold_out="stimuli")


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"outer": PEOPLE + 1}, "12 participants have usable trials, fewer than folds.outer = 13"),
        ({"hold_out": "stimuli", "outer": PICTURES + 1}, "16 stimuli have usable trials, fewer than folds.outer = 17"),
        ({"hold_out": "both", "stimuli": PICTURES + 1}, "16 stimuli have usable trials, fewer than folds.stimuli = 17"),
        ({"hold_out": "neither", "outer": 193}, "192 trials are usable, fewer than folds.outer = 193"),
    ],
)
def test_too_few_of_what_is_held_out_are_called_by_their_name(folds: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        dealt(np.ones(PEOPLE * PICTURES, bool), **folds)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "cell", [[0.5, 0.6, 0.1], [0.5, 0.5], [None, None, None], [float("nan")] * 3, [1.5, -0.5, 0.0], 3.0, "1"]
)
def test_probabilities_that_are_none_are_told(cell: Any) -> None:
    manifest = {"data": {"labels": [{"name": "arousal", "levels": ["1", "2", "3"], "ordered": True}]}}
    table = pa.table({"arousal": ["1", None], "arousal:series": [cell, None], "arousal:ridge": [[0.2, 0.3, 0.5], None]})
    found = list(score_faults(table, manifest))
    assert found == ["predictions.parquet: arousal:series: 3 probabilities that sum to 1 are needed in every row"]
    strange = table.set_column(0, "arousal", pa.array(["9", None])).select(["arousal", "arousal:ridge"])
    assert list(score_faults(strange, manifest)) == ["predictions.parquet: arousal: 9: none of the levels 1, 2, 3"]


def test_a_channel_that_nobody_has_is_a_course_of_nothing(tmp_path: Path) -> None:
    series = np.random.default_rng(0).normal(size=(PEOPLE * PICTURES, len(CHANNELS), SAMPLES)).astype(np.float32)
    series[:, 2] = np.nan
    series[:PICTURES, 1] = np.nan  # one person
    store = trials(Folder(tmp_path), series=series)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = courses(store, CHANNELS, (label("arousal"),), config().signals)
    with np.load(io.BytesIO(data)) as found:
        assert np.isnan(found["arousal:pupil_mm"]).all()
        assert np.isfinite(found["arousal:y"]).all()
