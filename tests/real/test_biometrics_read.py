# SPDX-License-Identifier: Apache-2.0
"""Real data sets of pupils, skin conductance and heart rate without gaze, through their declarations."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gazeray.config import read_yaml, validate
from gazeray.gaze.dataset import DatasetSpec, load_dataset
from gazeray.gaze.quality import QualityConfig, gate, trial_quality
from gazeray.gaze.recording import RecordingGaze
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import read_all

pytestmark = pytest.mark.real
DATASETS = Path(__file__).parents[2] / "configs/datasets"


def rejects_of(found: list[RecordingGaze]) -> list[str]:
    return [reject.reason for part in found for reject in part.rejects]


def test_every_recording_of_ier2023_is_read_with_its_pupils(real_data: Path) -> None:
    folder = real_data / "emotion_ier2023"
    data, found = read_all(Folder(folder), load_dataset(DATASETS / "ier2023.yaml"))
    assert (len(data.recordings), len(data.trials), data.rejects, rejects_of(found)) == (24, 120, [], [])
    assert data.trials["label"].value_counts().to_dict() == {"without": 72, "arithmetic": 48}
    assert data.trials["stimulus"].nunique() == 1  # else the condition, which is the label, would be what was looked at
    assert sum(part.n_rows for part in found) == 804_187
    trials = {(one.participant, one.trial): one for part in found for one in part.trials}
    assert len(trials) == 120
    with (folder / "trials.csv").open(newline="") as text:
        for row in csv.DictReader(text):
            trial = trials[row["participant"], row["condition"]]
            samples = trial.samples
            assert samples is not None
            assert len(samples["timestamp_ms"]) == int(row["n"])
            np.testing.assert_allclose(np.isnan(samples["pupil_left"]).mean(), float(row["missing_pupil"]))
            assert np.nansum(samples["blink"]) == int(row["blinks"])
            quality = trial_quality(trial, [np.nan] * 4)
            np.testing.assert_allclose(quality["duration_ms"], 1e3 * float(row["dur_s"]), atol=0.1)
            assert 80 < float(quality["sampling_hz"]) < 95
            assert gate(quality, QualityConfig()) == ""
            assert trial.units["pupil_left"] == trial.units["pupil_right"] == "mm"
    sizes = np.concatenate([one.samples["pupil_left"] for one in trials.values() if one.samples])
    assert 1 < np.nanmin(sizes) < np.nanmax(sizes) < 9


def test_every_trial_of_rcqoea_is_read_from_the_one_table_of_all_people(real_data: Path) -> None:
    folder = real_data / "emotion_rcqoea"
    data, found = read_all(Folder(folder), load_dataset(DATASETS / "rcqoea.yaml"))
    assert (len(data.recordings), len(data.trials), data.rejects, rejects_of(found)) == (1, 1280, [], [])
    assert data.trials["label"].value_counts().to_dict() == {"mos < 4": 811, "mos >= 4": 469}
    assert data.trials["nuisance:order"].between(1, 40).all()
    table = pd.read_parquet(folder / "physio.parquet")
    assert found[0].n_rows == len(table) == 610_140
    assert len(found[0].trials) == 1280
    places = {
        (str(who), str(video)): at
        for at, (who, video) in enumerate(zip(table["participant"], table["video"], strict=True))
    }
    in_order = sorted(found[0].trials, key=lambda one: places[one.participant, one.trial])
    assert {tuple(one.units.items()) for one in in_order} == {(("gsr", "uS"), ("heart_rate", "bpm"))}
    for ours, theirs, factor in (("timestamp_ms", "t_s", 1e3), ("gsr", "gsr_us", 1), ("heart_rate", "hr_bpm", 1)):
        values = np.concatenate([one.samples[ours] for one in in_order if one.samples])
        np.testing.assert_allclose(values, factor * table[theirs].to_numpy(), rtol=1e-6)


def test_trials_with_every_signal_on_the_same_rows_are_read(real_data: Path) -> None:
    """The six trials of RCQoEA with gaze in degrees of the head, which are channels like the others."""
    folder = real_data / "emotion_rcqoea"
    units = {"gaze_azimuth": "deg", "gaze_elevation": "deg", "pupil_left": "mm", "pupil_right": "mm", "gsr": "us"}
    channels = {name: {"column": f"{name}_{unit}", "unit": unit.replace("us", "uS")} for name, unit in units.items()}
    channels["heart_rate"] = {"column": "hr_bpm", "unit": "bpm"}
    declared = read_yaml(DATASETS / "rcqoea.yaml")
    declared["samples"] |= {"reader": "delimited", "path": "joint.csv.gz", "channels": channels}
    data, found = read_all(Folder(folder), validate(DatasetSpec, declared))
    assert data.rejects == []
    with gzip.open(folder / "joint.csv.gz", "rt") as text:
        rows = defaultdict(list)
        for row in csv.DictReader(text):
            rows[row["participant"], row["video"]].append(row)
    assert len(rows) == 6
    assert {(one.participant, one.trial) for one in found[0].trials} == set(rows)
    for trial in found[0].trials:
        samples = trial.samples
        assert samples is not None
        assert not trial.has_gaze
        for name, own in channels.items():
            cells = [row[own["column"]] for row in rows[trial.participant, trial.trial]]
            values = np.array([float(cell or "nan") for cell in cells], np.float32)
            np.testing.assert_array_equal(samples[name], values)
            assert trial.units[name] == own["unit"]
