# SPDX-License-Identifier: Apache-2.0
"""The search of the emotion study: a setting per fold, chosen on its inner folds, and nothing that is done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gazeray.engine.cli import main
from gazeray.report.text_tables import labels_table
from gazeray.storage import Folder
from gazeray.studies import EMOTION
from gazeray.studies.emotion.config import EmotionConfig
from tests.running import CONFIGS, HERE, findings, no_report

SMALL = [
    *("data.simulate.people=8", "data.simulate.pictures=6", "folds.outer=2", "folds.inner=2", "signals.samples=31"),
    *("model.branches=[series]", "train.epochs=2", "train.batch_size=16", "search.settings=3", "search.reduction=3"),
    *("search.grace_epochs=1", "scores.resamples=100", "scores.permutations=99", "controls.knock_out=false"),
    *("controls.permute=0", HERE),
]


def job(*words: str, report: Any = no_report) -> int:
    """jobs/tune_emotion.py in this process."""
    config = CONFIGS / "tune_emotion.yaml"
    return main(
        EMOTION.study, EmotionConfig, "tune_emotion", config, report, words, table=labels_table, plan=EMOTION.plan
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small search, with its report."""
    folder = tmp_path_factory.mktemp("runs")
    assert job(f"run.dir={folder}", *SMALL, report=EMOTION.report) == 0
    (run,) = folder.glob("tune_emotion-*")
    return run


def test_every_fold_has_its_own_trials_and_the_best_of_them_is_chosen(finished: Path) -> None:
    found = json.loads((finished / "metrics.json").read_text())["search"]
    assert found["chosen_by"] == "loss"
    assert set(found["space"]) == {"loss.gamma", "model.dropout", "train.learning_rate"}
    assert [fold["fold"] for fold in found["folds"]] == [0, 1]
    for fold in found["folds"]:
        assert len(fold["trials"]) == 3
        for trial in fold["trials"]:
            assert set(trial["setting"]) == {"loss.gamma", "model.dropout", "train.learning_rate"}
            assert 0.1 <= trial["setting"]["model.dropout"] <= 0.6
            assert trial["inner_folds"] == 2
        assert [trial["epochs"] for trial in fold["trials"] if trial["status"] == "stopped early"] == [1, 1]
        (best,) = [trial for trial in fold["trials"] if trial["status"] == "done"]
        assert best["loss"] == min(trial["loss"] for trial in fold["trials"])
        assert fold["chosen"] == {**best["setting"], "train.epochs": fold["chosen"]["train.epochs"]}
    first, second = ([trial["loss"] for trial in fold["trials"]] for fold in found["folds"])
    assert first != second


def test_report_draws_the_settings_as_parallel_coordinates(finished: Path) -> None:
    assert (finished / "figures/parallel.png").is_file()
    shown = (finished / "report.html").read_text()
    for words in ('aria-label="parallel"', "Settings tried", "Chosen setting per fold"):
        assert words in shown
    assert findings(Folder(finished)) == []


def test_a_fold_that_is_gone_is_searched_and_done_again_with_the_same_choice(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {path: path.stat().st_mtime_ns for path in finished.glob("units/*/result.json")}
    metrics = (finished / "metrics.json").read_bytes()
    shutil.rmtree(finished / "units/fold-1")
    assert job(f"run.dir={finished.parent}", *SMALL) == 0
    again = {path for path in finished.glob("units/*/result.json") if path.stat().st_mtime_ns != times[path]}
    assert again == {finished / "units/fold-1/result.json"}
    assert (finished / "metrics.json").read_bytes() == metrics
    assert job(f"run.dir={finished.parent}", *SMALL) == 0
    assert "nothing has changed" in "".join(capsys.readouterr())
