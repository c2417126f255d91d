# SPDX-License-Identifier: Apache-2.0
"""Trials of a log with a clock of its own, on small files of the form that EmoEye has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gazeray.config import ConfigError, read_yaml, validate
from gazeray.gaze.dataset import DataError, load_dataset, open_dataset
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.recording import read_recording
from gazeray.storage import Folder
from gazeray.synth.emotion import simulate_emotion
from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.emotion_raw import simulate_raw
from tests.gaze.tiny_dataset import declared, read_all, reasons, write

CONFIG = Path(__file__).parents[2] / "configs/datasets/emoeye_raw.yaml"
STEP_S, ROWS = 0.01634, 1500
PICTURES = [("dog 7", 2000.0, 4, 6), ("falcon_1", 9000.5, 4, 5), ("koi fish 1", 16000.0, 5, 1)]
"""Picture, its onset in ms since the log began, arousal, valence."""


def log_of(start: str = "13/05/19 10:11:02.500", comma: str = ",", pictures: Any = PICTURES) -> str:
    """A log of OpenSesame: a row before the first picture, and two rows for each picture."""
    lines = [("form_response", "Image", "start_time_system", "time_Images"), ("", "welcome", start, "0")]
    for name, onset, arousal, valence in pictures:
        lines += [(f"{arousal}", name, start, f"{onset:g}"), (f"{valence}", name, start, f"{onset:g}")]
    return "".join(comma.join(line) + "\n" for line in lines)


def gaze_of(start: str = "2019/05/13 10:11:00.000") -> str:
    """25 s of an all_gaze export; FPOGX is the time in s / 100, so that a sample tells when it was taken."""
    names = f"CNT,TIME({start}),FPOGX,FPOGY,FPOGID,FPOGV,LPMM,LPMMV,RPMM,RPMMV,GSR,GSRV,HR,HRV"
    rows = (f"{n},{n * STEP_S:.5f},{n * STEP_S / 100:.7f},.5,1,1,3.1,1,3.3,1,262256,1,85,1" for n in range(ROWS))
    return "\n".join([names, *rows]) + "\n"


def files(**changes: str) -> dict[str, str | bytes]:
    logs = {f"raw_data/our scale OS files/subject-{who}.csv": log_of() for who in "12"}
    gaze = {f"raw_data/all gaze/User {who}_all_gaze.csv": gaze_of() for who in "12"}
    places = {"log": "raw_data/our scale OS files/subject-2.csv", "gaze": "raw_data/all gaze/User 2_all_gaze.csv"}
    return {**logs, **gaze, **{places[name]: text for name, text in changes.items()}}


def spec_with(**log: Any) -> DatasetSpec:
    """The declaration of EmoEye with some keys of its log replaced."""
    spec = read_yaml(CONFIG)
    spec["trials"]["log"] |= log
    return validate(DatasetSpec, spec)


def test_trials_are_cut_by_the_clock_of_the_log_and_labelled_from_the_rows_below(tmp_path: Path) -> None:
    root = write(tmp_path, files())
    data, found = read_all(root, load_dataset(CONFIG), "valence")
    assert data.rejects == []
    assert [reject for part in found for reject in part.rejects if "lie outside" not in reject.reason] == []
    assert data.trials["stimulus"].tolist() == ["dog 7", "falcon_1", "koi fish 1"] * 2
    assert data.trials["trial"].tolist() == ["1", "2", "3"] * 2
    assert data.trials["label"].tolist() == ["6", "5", "1"] * 2
    assert data.trials["row"].tolist() == [2, 4, 6] * 2
    arousal, _ = read_all(root, load_dataset(CONFIG), "arousal")
    assert arousal.trials["label"].tolist() == ["4", "4", "5"] * 2
    for trial, (_, onset, *_) in zip(found[0].trials, PICTURES, strict=True):
        assert trial.samples is not None
        expected = (2500 + onset) / 1e3  # the log began 2.5 s after the gaze
        taken = trial.samples["x_px"] / 1920 * 100
        first = np.ceil(expected / STEP_S) * STEP_S
        np.testing.assert_allclose(taken[0], first, atol=1e-3)
        np.testing.assert_allclose(trial.samples["timestamp_ms"], taken * 1e3, atol=1)
        assert len(taken) in (301, 302)
        assert {"pupil_left", "pupil_right", "gsr", "heart_rate"} <= set(trial.samples)
    assert found[0].trials[0].units == {"pupil_left": "mm", "pupil_right": "mm", "gsr": "ohm", "heart_rate": "bpm"}


def test_offset_moves_every_window(tmp_path: Path) -> None:
    root = write(tmp_path, files())
    firsts = []
    for offset_ms in (0.0, 817.0):  # 50 samples
        _, found = read_all(root, spec_with(offset_ms=offset_ms), "valence")
        firsts.append([one.samples["timestamp_ms"][0] for one in found[0].trials if one.samples])
    np.testing.assert_allclose(np.subtract(firsts[1], firsts[0]), 817, atol=0.01)


@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_delimiter_is_that_of_the_first_line(tmp_path: Path, comma: str) -> None:
    root = write(tmp_path, files(log=log_of(comma=comma)))
    if comma != "\t":
        data, _ = read_all(root, load_dataset(CONFIG), "valence")
        assert (len(data.trials), data.rejects) == (6, [])
        return
    data, _ = read_all(root, load_dataset(CONFIG), "valence")
    assert data.trials["participant"].unique().tolist() == ["1"]
    assert "no column" in data.rejects[0].reason


def test_person_whose_clocks_are_too_far_apart_is_rejected_naming_both(tmp_path: Path) -> None:
    root = write(tmp_path, files(log=log_of("13/05/19 11:11:02.500")))
    data, found = read_all(root, load_dataset(CONFIG), "valence")
    assert [len(part.trials) for part in found] == [3, 0]
    refused = [reject for reject in found[1].rejects if reject.stage == "gaze"]
    assert [(one.participant, one.trial) for one in refused] == [("2", "1"), ("2", "2"), ("2", "3")]
    for one in refused:
        assert "the log began at 2019-05-13 11:11:02.500, that of the gaze at 2019-05-13 10:11:00.000" in one.reason
        assert "3602.5 s apart: more than trials.log.most_apart_s 1000" in one.reason
    assert len(data.trials) == 6
    _, found = read_all(root, spec_with(most_apart_s=4000), "valence")
    assert "apart" not in " ".join(one.reason for one in found[1].rejects)  # then nothing lies in the windows
    assert found[1].trials == []


def test_gaze_file_that_does_not_tell_its_clock_is_rejected(tmp_path: Path) -> None:
    for header in ("TIME", "TIME(0000/00/00 00:00:00.000)"):
        root = write(tmp_path, files(gaze=gaze_of().replace("TIME(2019/05/13 10:11:00.000)", header)))
        _, found = read_all(root, load_dataset(CONFIG), "valence")
        assert "nothing in the file tells when its clock began" in found[1].rejects[0].reason
        assert len(found[0].trials) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(log_of("2019-05-13 10:11"), "'2019-05-13 10:11' is not written as %d/%m/%y", id="another_format"),
        pytest.param(log_of().replace("time_Images", "onset"), "no column 'time_Images'", id="no_onsets"),
        pytest.param(log_of(pictures=[]), "1 rows, the first trial is row 2", id="no_trial"),
        pytest.param("", "empty", id="empty"),
    ],
)
def test_log_that_cannot_be_used_costs_its_person_alone(tmp_path: Path, text: str, reason: str) -> None:
    data, found = read_all(write(tmp_path, files(log=text)), load_dataset(CONFIG), "valence")
    assert any(reason in one.reason for one in data.rejects), reasons(data.rejects)
    assert [len(part.trials) for part in found] == [3]


def test_rows_without_a_time_or_an_answer_are_rejected_alone(tmp_path: Path) -> None:
    lines = log_of().splitlines()
    lines[2] = lines[2].replace("2000", "soon")  # the onset of the first picture
    del lines[-1]  # the answer on the last
    data, _ = read_all(write(tmp_path, files(log="\n".join(lines) + "\n")), load_dataset(CONFIG), "valence")
    mine = [(one.trial, one.reason) for one in data.rejects if one.participant == "2"]
    assert len(mine) == 2
    assert mine[0][0] == "1"
    assert "'13/05/19 10:11:02.500 + soon'" in mine[0][1]
    assert mine[1] == ("3", "missing label valence")


def test_label_of_the_wrong_row_would_be_seen(tmp_path: Path) -> None:
    """below counts rows: with none both labels are the same answer."""
    data, _ = read_all(write(tmp_path, files()), spec_with(below={"arousal": 0, "valence": 0}), "valence")
    assert data.trials["label"].tolist() == ["4", "4", "5"] * 2


@pytest.mark.parametrize("decimal", [".", ","])
def test_comma_decimals_of_onsets_are_read(tmp_path: Path, decimal: str) -> None:
    text = log_of(comma=";").replace("9000.5", "9000,5")
    spec = read_yaml(CONFIG)
    spec["trials"]["decimal"] = decimal
    data, found = read_all(write(tmp_path, files(log=text)), validate(DatasetSpec, spec), "valence")
    assert data.rejects == []
    np.testing.assert_allclose(*(part.trials[1].samples["timestamp_ms"] for part in found if part.trials[1].samples))


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ({"below": {"arousal": -1}}, "rows below a trial are counted"),
        ({"below": {"mood": 0}}, "no such label: mood"),
        ({"response": None}, "needs the column of the answers"),
        ({"format": "%H:%M"}, "must tell the date and the time of day"),
        ({"format": "%d/%m/%Q"}, "cannot be read again"),
        ({"duration_ms": 0}, "greater than 0"),
        ({"most_apart": 5}, "most_apart"),
    ],
)
def test_mistakes_in_the_declaration_are_named(log: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        spec_with(**log)


@pytest.mark.parametrize("change", [{"windows": None}, {"path": "all_gaze.csv", "columns": {"participant": "who"}}])
def test_gaze_must_be_cut_by_the_log(change: dict[str, Any]) -> None:
    spec = read_yaml(CONFIG)
    spec["samples"] |= change
    with pytest.raises(ConfigError, match=r"trials\.log tells the times of one person's trials"):
        validate(DatasetSpec, spec)


def test_nobody_left_ends_the_study(tmp_path: Path) -> None:
    bad = {name: text for name, text in files().items() if "all gaze" in name}
    logs = {f"raw_data/our scale OS files/subject-{who}.csv": log_of("soon") for who in "12"}
    with pytest.raises(DataError, match="none of 2 files can be read"):
        read_all(write(tmp_path, bad | logs), load_dataset(CONFIG), "valence")


def test_both_labels_of_a_trial_are_read_and_one_that_is_missing_costs_itself(tmp_path: Path) -> None:
    text = log_of(pictures=[("dog 7", 2000.0, 4, ""), *PICTURES[1:]])
    root = write(tmp_path, files(log=text))
    data = open_dataset(load_dataset(CONFIG), root, ["arousal", "valence"])
    assert data.trials["arousal_index"].tolist() == [3, 3, 4] * 2
    assert data.trials["valence_index"].tolist() == [5, 4, 0, -1, 4, 0]
    assert ["the trial is kept for arousal" in one.reason for one in data.rejects] == [True]


def test_answer_in_the_rows_below_has_no_column_of_its_own() -> None:
    spec = read_yaml(CONFIG)
    spec["labels"]["arousal"]["column"] = "form_response"
    with pytest.raises(ConfigError, match="arousal: an answer in the rows below is not in a column of its own"):
        validate(DatasetSpec, spec)


def test_declaration_without_a_log_is_dumped_as_before_there_was_the_key() -> None:
    """Stores are named by a hash of it."""
    assert "log" not in declared().model_dump(mode="json")["trials"]
    assert load_dataset(CONFIG).model_dump(mode="json")["trials"]["log"]["step"] == 2


def test_simulated_study_gives_the_same_trials_cut_and_uncut(tmp_path: Path) -> None:
    params = EmotionSimulation(people=3, pictures=4, strangers=1)
    simulate_emotion(Folder(tmp_path / "cut"), params)
    simulate_raw(Folder(tmp_path / "raw"), params)
    data = open_dataset(load_dataset(CONFIG), Folder(tmp_path / "raw"), ["arousal", "valence"])
    assert data.rejects == []
    found = [read_recording(data.spec, Folder(tmp_path / "raw"), one, data.trials) for one in data.recordings]
    assert [len(part.trials) for part in found] == [4, 4, 0]  # the last is the stranger
    answers = {(one.participant, one.trial): one for one in data.trials.itertuples()}
    for trial in (one for part in found for one in part.trials):
        row = answers[trial.participant, trial.trial]
        said = f"{row.stimulus}_{row.arousal_index + 1}_{row.valence_index + 1}.csv"
        [path] = [one for one in (tmp_path / "cut/epochs" / trial.participant).iterdir() if one.name.endswith(said)]
        epoch = pd.read_csv(path)
        assert trial.samples is not None
        assert 301 == len(epoch) <= len(trial.samples["timestamp_ms"]) <= 302
        for channel, column, flag in (("gsr", "GSR", "GSRV"), ("pupil_left", "LPMM", "LPMMV")):
            values = epoch[column].where(epoch[flag] == 1).to_numpy(np.float32)
            np.testing.assert_allclose(trial.samples[channel][:301], values, rtol=1e-5, err_msg=f"{path} {channel}")
