# SPDX-License-Identifier: Apache-2.0
"""All recordings of WebQAmGaze through the declared data set: nothing is lost, nothing is rejected."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from gazeray.config import load_config
from gazeray.gaze.dataset import load_dataset, open_dataset
from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.shared.flow import flow_faults
from tests.gaze.tiny_dataset import read_all
from tests.studies.here import in_this_process

pytestmark = pytest.mark.real
CONFIG = Path(__file__).parents[2] / "configs/datasets/webqamgaze.yaml"


@pytest.fixture
def folder(real_data: Path) -> Path:
    return real_data / "reading_webqamgaze"


def test_every_recording_reads_without_a_reject(folder: Path) -> None:
    data, found = read_all(Folder(folder), load_dataset(CONFIG), "answer_correct")
    assert len(data.recordings) == len(found) == 68
    assert data.rejects + [reject for part in found for reject in part.rejects] == []
    trials = [trial for part in found for trial in part.trials]
    assert len(trials) == len(data.trials) == 680
    assert sum(len(trial.samples["x_px"]) for trial in trials if trial.samples) == 647_713
    assert sum(len(trial.fixations["x_px"]) for trial in trials if trial.fixations) == 113_766
    assert sum(part.n_rows for part in found) == 647_713 + 113_766
    rates = [1000 / np.median(np.diff(trial.samples["timestamp_ms"])) for trial in trials if trial.samples]
    assert 20 < np.median(rates) < 35


@pytest.mark.parametrize(
    ("label", "counts"),
    [("answer_correct", {"right": 492, "wrong": 188}), ("label_is", {"reading": 340, "seeking": 340})],
)
def test_labels_have_the_published_counts(folder: Path, label: str, counts: dict[str, int]) -> None:
    data = open_dataset(load_dataset(CONFIG), Folder(folder), label)
    assert data.trials["label"].value_counts().to_dict() == counts
    assert data.classes[-1] in ("right", "seeking")


@pytest.mark.nightly
def test_flow_of_people_and_trials_adds_up_where_a_gate_refuses_some(folder: Path, tmp_path: Path) -> None:
    gate = ["quality.min_sampling_hz=27", "quality.max_off_screen_share=0.1"]
    here = [f"data.dataset={CONFIG}", f"data.root={folder}", "data.label=answer_correct", f"run.dir={tmp_path}"]
    study = HeatmapStudy(load_config(HeatmapConfig, None, [*here, *gate, "resources.workers=0"]))
    source = study.open()
    store, _ = in_this_process(study.passes(source, Folder(tmp_path)))
    manifest = study.items(source, store).manifest
    first, *rejected, last = manifest["flow"]["steps"]
    assert (first["people"], first["trials"], first["classes"]) == (68, 680, {"wrong": 188, "right": 492})
    assert [(step["people"], step["trials"]) for step in rejected] == [(29, 106), (13, 99), (9, 22)]
    assert (last["people"], last["trials"], last["classes"]) == (55, 453, {"wrong": 124, "right": 329})
    assert len(manifest["flow"]["people_lost"]) == 13
    assert list(flow_faults(manifest, len(store))) == []


def test_one_participant_agrees_with_reading_row_by_row(folder: Path) -> None:
    data, found = read_all(Folder(folder), load_dataset(CONFIG), "answer_correct")
    part = next(part for part in found if part.key == "P002")
    with gzip.open(folder / "gaze/P002.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    with gzip.open(folder / "fixations/P002.csv.gz", "rt") as file:
        fixations = list(csv.DictReader(file))
    for trial in part.trials:
        mine = [row for row in rows if row["trial"] == trial.trial]
        assert trial.samples is not None
        assert trial.samples["timestamp_ms"].tolist() == [float(row["t_ms"]) for row in mine]
        assert trial.samples["x_px"].tolist() == [float(row["x_px"]) for row in mine]
        fixed = [row for row in fixations if row["trial"] == trial.trial]
        assert trial.fixations is not None
        assert trial.fixations["x_px"].tolist() == [float(row["x_stim_px"]) + 320 for row in fixed]
        assert trial.fixations["y_px"].tolist() == [float(row["y_stim_px"]) + 180 for row in fixed]
    assert data.trials["window_left_px"].min() < 0, "one screen is smaller than the stimulus"
