# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from gazeray.config import parse_yaml, validate
from gazeray.gaze.dataset import DatasetSpec, Recording, open_dataset
from gazeray.gaze.recording import read_recording
from gazeray.storage import Folder
from gazeray.synth.reading import (
    SCREEN_PX,
    WINDOW_PX,
    design,
    make_reader,
    make_sentences,
    record,
    scanpath,
    simulate,
)
from gazeray.synth.reading_parameters import ReadingSimulation


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("study"))
    simulate(folder, ReadingSimulation())
    return folder


def gaze_of(folder: Folder, participant: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(folder.read_bytes(f"gaze/{participant}.csv")))


def dwell_ratio(params: ReadingSimulation) -> float:
    """Dwell on the target word per trial, with a pseudoword over without; the same readers, sentences and luck."""
    sums = {True: 0.0, False: 0.0}
    sentences = make_sentences(params)
    for number in range(params.readers):
        reader = make_reader(params, number)
        for index, sentence in enumerate(sentences):
            for pseudoword in (True, False):
                path = scanpath(params, sentence, reader, pseudoword, np.random.default_rng([number, index]))
                sums[pseudoword] += path.duration_ms[path.word == sentence.target].sum()
    return sums[True] / sums[False]


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    few = {"readers": 3, "sentences": 4}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(Folder(tmp_path / name), ReadingSimulation(**few, seed=seed))
    first, same, other = (
        [(tmp_path / name / file).read_bytes() for file in ("trials.csv", "gaze/R01.csv", "gaze/R03.csv")]
        for name in "abc"
    )
    assert first == same
    assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))


def test_effect_makes_readers_dwell_longer_on_the_pseudoword() -> None:
    ratios = [dwell_ratio(ReadingSimulation(effect=effect)) for effect in (0.0, 0.5, 1.0, 2.0)]
    assert ratios[0] == 1.0
    assert ratios[0] < ratios[1] < ratios[2] < ratios[3]
    assert 2 < ratios[2] < 6


def test_without_effect_the_gaze_does_not_depend_on_the_label() -> None:
    """The very same random numbers give the very same recording, so that no trace can be left."""
    params = ReadingSimulation(effect=0.0)
    sentence, reader = make_sentences(params)[0], make_reader(params, 0)
    recordings = []
    for pseudoword in (True, False):
        rng = np.random.default_rng(5)
        path = scanpath(params, sentence, reader, pseudoword, rng)
        recordings.append(np.stack(record(params, path, reader, rng)))
    np.testing.assert_array_equal(*recordings)


def test_labels_are_balanced_over_readers_and_sentences() -> None:
    for readers, sentences in ((24, 12), (10, 8), (7, 12)):
        table = design(ReadingSimulation(readers=readers, sentences=sentences))
        assert table.shape == (readers, sentences)
        assert set(table.sum(axis=1)) == {round(0.25 * sentences)}
        assert np.ptp(table.sum(axis=0)) <= 1


def test_trials_table_names_every_reading_once(study: Folder) -> None:
    trials = pd.read_csv(io.BytesIO(study.read_bytes("trials.csv")))
    assert len(trials) == 24 * 12
    assert not trials.duplicated(["participant", "sentence"]).any()
    assert (trials["condition"] == "P").sum() == 24 * 3
    assert (trials["target_right_px"] > trials["target_left_px"]).all()


def test_recording_is_raw_gaze_at_120_hz_with_blinks_and_lost_samples(study: Folder) -> None:
    gaze = gaze_of(study, "R01")
    assert sorted(gaze["trial"].unique()) == list(range(1, 13))
    within = gaze.groupby("trial")["t_ms"].diff().dropna()
    assert np.allclose(within, 1000 / 120, atol=0.01)
    lost = gaze["x_px"].isna()
    assert (lost == gaze["y_px"].isna()).all()
    assert 0.01 < lost.mean() < 0.15
    runs = lost.groupby((lost != lost.shift()).cumsum()).sum()
    assert (runs == 1).any(), "single lost samples"
    assert (runs >= 12).any(), "a blink of 100 ms or more"
    noise = gaze.loc[~lost, "x_px"].diff().abs()
    assert noise.median() > 0.5


def test_gaze_stays_in_the_window_which_is_centred_on_the_screen(study: Folder) -> None:
    gaze = pd.concat([gaze_of(study, f"R{number:02}") for number in (1, 7, 24)]).dropna()
    left, top = ((screen - window) / 2 for screen, window in zip(SCREEN_PX, WINDOW_PX, strict=True))
    inside = gaze["x_px"].between(left, left + WINDOW_PX[0]) & gaze["y_px"].between(top, top + WINDOW_PX[1])
    assert inside.mean() > 0.99


def test_readers_differ_in_speed_and_in_tracker_offset() -> None:
    readers = [make_reader(ReadingSimulation(), number) for number in range(24)]
    assert np.std([reader.fixation_ms for reader in readers]) > 5
    assert np.std([reader.offset_px[0] for reader in readers]) > 3


def test_ordinary_reading_has_ordinary_fixations_and_regressions() -> None:
    params = ReadingSimulation()
    durations, back, steps = [], 0, 0
    for number in range(24):
        for index, sentence in enumerate(make_sentences(params)):
            path = scanpath(
                params, sentence, make_reader(params, number), False, np.random.default_rng([number, index])
            )
            durations.append(path.duration_ms)
            back += int((np.diff(path.word) < 0).sum())
            steps += len(path.word) - 1
    assert 200 < np.concatenate(durations).mean() < 250
    assert 0.08 < back / steps < 0.18


def test_gazeray_reads_the_simulated_study_without_a_reject(study: Folder) -> None:
    spec = validate(DatasetSpec, parse_yaml(study.read_text("dataset.yaml"), "dataset.yaml"))
    data = open_dataset(spec, study, None)
    assert data.classes == ["control", "pseudoword"]
    assert (len(data.trials), len(data.recordings), data.rejects) == (288, 24, [])
    recording: Recording = data.recordings[4]
    mine = data.trials[data.trials["participant"].isin(recording.participants)]
    gaze = read_recording(spec, study, recording, mine)
    assert len(gaze.trials) == 12
    assert gaze.rejects == []


def test_study_that_is_there_is_not_overwritten(study: Folder) -> None:
    with pytest.raises(FileExistsError, match=r"dataset\.yaml"):
        simulate(study, ReadingSimulation())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"readers": 1}, "readers", id="one_reader"),
        pytest.param({"effect": -1}, "effect", id="negative_effect"),
        pytest.param({"sentences": 2, "pseudoword_share": 0.1}, "at least", id="no_pseudoword_left"),
        pytest.param({"blink_ms": (300, 100)}, "blink_ms", id="falling_blink"),
        pytest.param({"efect": 1}, "efect", id="unknown_key"),
    ],
)
def test_nonsense_parameters_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ReadingSimulation(**values)
