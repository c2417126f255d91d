# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the emotion study: the published way makes the items it says, and both sides run at a tiny size."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from gazeray.storage import Folder
from gazeray.synth.emotion import simulate_emotion
from gazeray.synth.emotion_parameters import EmotionSimulation

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the published way, which is a neighbour of scripts."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("published_emotion")
    sys.modules.pop("published_emotion", None)


def test_items_of_the_published_way_have_the_published_shapes_and_labels(published: ModuleType, tmp_path: Path) -> None:
    simulate_emotion(Folder(tmp_path), EmotionSimulation(people=2, pictures=4))
    epochs = sorted(tmp_path.glob("epochs/*/*.csv"))
    spent = published.Spent()
    items = published.PublishedItems(tmp_path, epochs, spent)
    assert len(items) == 8
    for item, path in zip(items, epochs, strict=False):
        shapes = {name: tuple(item[name].shape) for name in ("series", "scanpath", "picture")}
        assert shapes == {"series": (5, 301), "scanpath": (1, 180, 180), "picture": (3, 256, 256)}
        assert np.isfinite(item["series"].numpy()).all()
        levels = [int(item[label]) + 1 for label in ("arousal", "valence")]
        assert levels == [int(level) for level in path.stem.split("_")[-2:]]
    assert set(spent.seconds) == {"parse and clean CSV", "draw scanpath", "decode and resize JPEG"}


def test_what_is_not_valid_is_interpolated_and_fixations_are_drawn_where_they_lie(published: ModuleType) -> None:
    table = pd.DataFrame({column: np.full(301, 0.5) for column in published.FLAGS})
    table[list(set(published.FLAGS.values()))] = 1
    table["FPOGID"] = np.repeat([1, 2], [100, 201])
    table.loc[100:, ["FPOGX", "FPOGY"]] = 0.9, 0.1  # the upper right corner
    table.loc[50:59, "HR"], table.loc[50:59, "HRV"] = 0.0, 0
    clean = published.cleaned(table)
    assert (clean["HR"] == 0.5).all()
    drawn = published.scanpath(clean)
    assert drawn[:60, 120:].sum() > drawn[120:].sum() == 0


@pytest.mark.slow
@pytest.mark.nightly
def test_both_sides_run_and_a_ratio_is_printed() -> None:
    tiny = ["--people", "4", "--pictures", "6", "--sample", "8", "--epochs", "2"]
    words = [sys.executable, str(FOLDER / "emotion.py"), *tiny]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"first epoch: [\d.]+ times faster \(aim: 3\); from the second on: [\d.]+ \(aim: 10\)", done.stdout
    )
