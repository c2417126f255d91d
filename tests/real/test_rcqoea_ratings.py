# SPDX-License-Identifier: Apache-2.0
"""Real ratings of videos: what others say of the same video tells what a new person will say, and order nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gazeray.gaze.labels import Target
from gazeray.metrics.ordinal import score_ordinal
from gazeray.studies.shared.without_gaze import with_nuisance
from tests.studies.emotion.rated import beside

pytestmark = pytest.mark.real
HIGH = Target("mos", ("mos < 4", "mos >= 4"), True)


def auroc(folder: Path, hold_out: str) -> dict[str, float]:
    """Area under ROC of mos >= 4, by row, in eight folds."""
    with (folder / "emotion_rcqoea/trials.csv").open() as file:
        trials = list(csv.DictReader(file))
    names = {"participant": [one["participant"] for one in trials], "trial": [one["video"] for one in trials]}
    table = pa.table({**names, "stimulus": names["trial"]})
    table = with_nuisance(table, np.array([float(one["order"]) for one in trials]), None)
    labels = np.array([int(float(one["mos"]) >= 4) for one in trials])
    nothing = np.random.default_rng(0).normal(size=(len(trials), 4))
    _, found = beside(table, labels, nothing, HIGH, hold_out, outer=8)
    return {
        name: float(score_ordinal(labels, scores, found["prior"], HIGH.classes)["auroc"][0])
        for name, scores in found.items()
        if np.isfinite(scores).all()
    }


def test_other_people_tell_what_a_new_person_says_of_a_video(real_data: Path) -> None:
    found = auroc(real_data, "participants")
    assert found["picture_mean"] == pytest.approx(0.739, abs=0.02)
    assert found["other_people"] == pytest.approx(0.739, abs=0.02)
    assert found["without_gaze"] == pytest.approx(found["picture_mean"], abs=0.02)
    assert "participant_mean" not in found
    for name in ("ridge", "nuisance", "majority"):
        assert found[name] < 0.54, name


def test_with_new_videos_too_nothing_is_left_but_the_ceiling(real_data: Path) -> None:
    found = auroc(real_data, "both")
    assert found.pop("other_people") == pytest.approx(0.739, abs=0.02)
    assert set(found) == {"majority", "ridge", "nuisance", "without_gaze", "prior"}
    assert max(found.values()) < 0.54
