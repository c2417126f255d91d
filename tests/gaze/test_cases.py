# SPDX-License-Identifier: Apache-2.0
"""Small inputs in the layout of public files that were once read wrong, each with what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazeray.config import ConfigError, validate
from gazeray.gaze.declaration import DatasetSpec, load_dataset
from gazeray.gaze.quality import TrialGaze
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import read_all

Trials = dict[tuple[str, str], TrialGaze]


def read(folder: Path, name: str, **changes: dict[str, Any]) -> Trials:
    """The trials of a declaration in a folder; `changes` are put into its sections."""
    declared = yaml.safe_load((folder / name).read_text())
    for section, keys in changes.items():
        declared[section] |= keys
    _, recordings = read_all(Folder(folder), validate(DatasetSpec, declared))
    return {(trial.participant, trial.trial): trial for one in recordings for trial in one.trials}


def fixations(trial: TrialGaze, *names: str) -> list[tuple[float, ...]]:
    assert trial.fixations is not None
    return [
        tuple(round(float(value), 3) for value in row)
        for row in zip(*map(trial.fixations.__getitem__, names), strict=True)
    ]


def n_samples(trials: Trials) -> dict[tuple[str, str], int]:
    return {ids: len(trial.samples["x_px"]) for ids, trial in trials.items() if trial.samples is not None}


def pairs(*trials: str, people: tuple[str, ...] = ("P1", "P2")) -> set[tuple[str, str]]:
    return {(person, trial) for person in people for trial in trials}


@pytest.mark.parametrize("run", ["01", "02"])
def test_bids_sidecars_are_inherited_from_all_folders_above(cases: Path, run: str) -> None:
    path = f"sub-{{participant}}/beh/sub-{{participant}}_task-FreeView_run-{run}_recording-eye1_physio.tsv.gz"
    trials = read(cases / "bids-inheritance", "samples.yaml", samples={"path": path})
    assert n_samples(trials) == {("01", trial): 99 for trial in "123"}
    assert trials["01", "1"].units["pupil_left"] == "a.u."


def test_bids_fixations_take_their_clock_from_the_inherited_sidecar(cases: Path) -> None:
    trials = read(cases / "bids-inheritance", "fixations.yaml")
    assert {ids: fixations(trial, "duration_ms") for ids, trial in trials.items()} == {
        ("01", trial): [(1980.0,)] for trial in "123"
    }


def test_bids_runs_and_both_eyes_are_one_person(cases: Path, tmp_path: Path) -> None:
    path = "sub-{participant}/beh/sub-{participant}_task-FreeView_run-{run}_recording-{eye}_physio.tsv.gz"
    rows = [f"sub-01,{run},{trial},{label}" for run in "12" for trial, label in zip("123", "abb", strict=True)]
    for part in sorted((cases / "bids-inheritance").rglob("*")):
        if part.is_file():
            copy = tmp_path / part.relative_to(cases / "bids-inheritance")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(part.read_bytes())
    (tmp_path / "trials.csv").write_text("\n".join(["participant,run,trial,condition", *rows]))
    declared = yaml.safe_load((tmp_path / "samples.yaml").read_text())
    declared["trials"]["columns"]["trial"] = ["run", "trial"]
    declared["participants"] = {"path": "participants.tsv", "columns": {"participant": "participant_id"}}
    declared["samples"] |= {"path": path, "eye": "mean"}
    _, (one,) = read_all(Folder(tmp_path), validate(DatasetSpec, declared))
    assert [(trial.participant, trial.trial) for trial in one.trials] == [
        ("01", f"{run}/{n}") for run in "12" for n in "123"
    ]
    assert all(trial.samples is not None and len(trial.samples["x_px"]) == 99 for trial in one.trials)


def test_eyelink_fixations_are_cut_to_their_trial(cases: Path) -> None:
    trials = read(cases / "eyelink-fixation-beyond-trial", "fixations.yaml")
    assert set(trials) == pairs("1", "2")
    for person in ("P1", "P2"):
        first = fixations(trials[person, "1"], "onset_ms", "x_px")
        assert first == [(1200.0, 500.0), (1440.0, 900.0)]
        durations = [row[0] for row in fixations(trials[person, "1"], "duration_ms")]
        assert durations == [pytest.approx(200, abs=2), 560]
        assert fixations(trials[person, "2"], "onset_ms", "duration_ms", "x_px") == [(2400.0, 600.0, 900.0)]


def test_gazepoint_medium_shown_twice_is_refused_by_name_or_two_trials(cases: Path, tmp_path: Path) -> None:
    folder = cases / "gazepoint-repeated-media"
    for kind in ("samples", "fixations"):
        assert set(read(folder, f"{kind}.yaml")) == pairs("page1")
    for part in folder.glob("*.csv"):
        (tmp_path / part.name).write_bytes(part.read_bytes())
    rows = [f"{person},{trial}" for person in ("P1", "P2") for trial in ("page1,a", "page2,b", "page2,a")]
    (tmp_path / "trials.csv").write_text("\n".join(["participant,trial,condition", *rows]))
    for kind, count in (("samples", None), ("fixations", 4)):
        (tmp_path / "all.yaml").write_text((folder / f"{kind}.yaml").read_text())
        trials = read(tmp_path, "all.yaml", trials={"repeats": "number"})
        assert set(trials) == pairs("page1", "page2", "page2#2")
        if count:
            assert {len(fixations(trial, "x_px")) for trial in trials.values()} == {count}
        joined = read(folder, f"{kind}.yaml", trials={"repeats": "join"})
        if count:
            assert len(fixations(joined["P1", "page2"], "x_px")) == 2 * count


def test_gazepoint_user_column_brackets_trials(cases: Path) -> None:
    folder = cases / "gazepoint-user-messages"
    assert n_samples(read(folder, "messages.yaml")) == dict.fromkeys(pairs("1", "2"), 30)
    assert read(folder, "dataset.yaml") == {}


def test_delimited_without_header_is_read_with_names_and_refused_without(cases: Path) -> None:
    folder = cases / "headerless-csv"
    for name in ("dataset.yaml", "asheader.yaml"):
        assert read(folder, name) == {}
    columns = {"timestamp_ms": "time", "x_px": "x", "y_px": "y", "trial": "trial"}
    trials = read(folder, "dataset.yaml", samples={"names": ["time", "x", "y", "trial"], "columns": columns})
    assert set(trials) == pairs("1", "2")
    rows = np.loadtxt(folder / "P1.csv", delimiter=",")
    assert n_samples(trials)["P1", "1"] == int((rows[:, 3] == 1).sum())
    samples = trials["P1", "1"].samples
    assert samples is not None
    assert samples["x_px"][0] == np.float32(rows[0, 1])


def test_imotions_preamble_is_no_header(cases: Path) -> None:
    assert set(read(cases / "headerless-csv", "imotions.yaml")) == pairs("pic1", "pic2")


def test_pupil_core_samples_out_of_order_are_sorted(cases: Path) -> None:
    trials = read(cases / "pupil-core-time-back", "dataset.yaml")
    assert n_samples(trials) == dict.fromkeys(pairs("Screen"), 600)
    assert all(
        trial.samples is not None and (np.diff(trial.samples["timestamp_ms"]) >= 0).all() for trial in trials.values()
    )


def test_key_that_a_reader_does_not_use_is_refused(cases: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_dataset(cases / "settings-ignored" / "delimited_eye.yaml")
    assert "samples.messages: the reader delimited has no use for this key" in str(caught.value)


def test_messages_cut_a_trial_that_the_path_names(cases: Path) -> None:
    trials = read(cases / "settings-ignored", "eyelink_messages.yaml")
    assert n_samples(trials) == dict.fromkeys(pairs("1", "2"), 20)


@pytest.mark.parametrize("name", ["placeholder.yaml", "star.yaml"])
def test_several_files_of_a_person_are_one_person(cases: Path, name: str) -> None:
    trials = read(cases / "several-files-per-person", name)
    assert set(trials) == pairs("1", "2", "3", "4")
    times = {ids: trial.samples["timestamp_ms"][0] for ids, trial in trials.items() if trial.samples is not None}
    assert [times["P1", trial] for trial in "1234"] == [1000, 2000, 500000, 501000]


@pytest.mark.parametrize("name", ["fixations.yaml", "fixations_workaround.yaml"])
def test_tobii_pro_lab_24_names_its_events_otherwise(cases: Path, name: str) -> None:
    trials = read(cases / "tobii-prolab-24-fixations", name)
    assert {ids: fixations(trial, "duration_ms") for ids, trial in trials.items()} == dict.fromkeys(
        pairs("pic_a", "pic_b"), [(200.0,)] * 3
    )


def test_tobii_pro_lab_24_samples(cases: Path) -> None:
    assert set(read(cases / "tobii-prolab-24-fixations", "samples.yaml")) == pairs("pic_a", "pic_b")


def test_trial_may_be_called_by_a_url_or_a_path(cases: Path) -> None:
    trials = read(cases / "trial-named-by-url", "dataset.yaml")
    assert set(trials) == pairs("http://www.example.org/ (CRC)", "images/face 1.jpg", people=("P01", "P02"))
