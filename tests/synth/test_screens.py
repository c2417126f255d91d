# SPDX-License-Identifier: Apache-2.0
"""Simulated screens: published names and sizes, the fixations of the simulated study, and a trace of the label."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from gazeray.config import load_config, parse_yaml, validate
from gazeray.gaze.render import heatmaps, sample_durations
from gazeray.gaze.screen_pictures import read_screens
from gazeray.gaze.screens import ScreensSpec, open_screens
from gazeray.learn.folds import group_folds
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig
from gazeray.synth.reading import simulate
from gazeray.synth.reading_parameters import ReadingSimulation
from tests.synth.screens import SIGMA_PX, WINDOW, ScreensSimulation, coloured, simulate_screens

PAPER = Path(__file__).parent.parent.parent / "configs" / "cv_heatmap.paper.yaml"
STILL = {"noise_deg": 0.0, "drift_deg": 0.0, "blinks_per_min": 0.0, "lost_share": 0.0}
READING = ReadingSimulation(readers=3, sentences=4, effect=2.0, sampling_hz=500.0, **STILL)


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("screens"))
    simulate_screens(folder, ScreensSimulation(reading=READING))
    return folder


def spec_of(folder: Folder, kind: str) -> ScreensSpec:
    return validate(ScreensSpec, parse_yaml(folder.read_text(f"{kind}.yaml"), kind))


def picture(folder: Folder, path: str) -> np.ndarray:
    """A picture as RGB, (H, W, 3)."""
    return cv2.imdecode(np.frombuffer(folder.read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)[:, :, ::-1]


def test_files_have_the_published_names_sizes_and_class_shares(screens: Folder) -> None:
    names = [stat.path for stat in screens.list() if stat.path.endswith(".png")]
    form = r"(heatmap_fixed/\d+[fm]\d\dr\d_\d+_[CP]_a|scanpaths_fixed/\d+[fm]\d\dr\d_\d+_[CP]_[abc])\.png"
    assert len(names) == 3 * 4 * 4
    assert all(re.fullmatch(form, name) for name in names)
    assert all(name[-7] in "CP" and name[-5] in "abc" for name in names), "the places where published code looks"
    assert Counter(name[-7] for name in names) == {"C": 36, "P": 12}
    for name in names[:2] + names[-2:]:
        shown = picture(screens, name)
        assert shown.shape == (1000, 1500, 3)
        assert (shown[:300] == 255).all()
        assert (shown[700:] == 255).all()


@pytest.mark.parametrize(("kind", "looks"), [("heatmaps", ""), ("scanpaths", "b")])
def test_the_declarations_read_every_picture(screens: Folder, kind: str, looks: str) -> None:
    spec = spec_of(screens, kind)
    data = open_screens(spec, screens)
    assert (spec.look or "") == looks
    assert data.rejects == []
    assert data.trials.groupby("participant")["label"].value_counts().to_dict() == {
        (person, name): count for person in "123" for name, count in (("control", 3), ("pseudoword", 1))
    }
    reads = [read_screens(spec, screens, recording, (32, 64)) for recording in data.recordings]
    assert [len(read.ids) for read in reads] == [4, 4, 4]
    assert not any(read.rejects for read in reads)


def test_equal_parameters_give_equal_bytes_and_nothing_is_overwritten(tmp_path: Path, screens: Folder) -> None:
    few = {"readers": 2, "sentences": 2, "pseudoword_share": 0.5}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        params = ScreensSimulation(reading=ReadingSimulation(**few, seed=seed), looks=("c",))
        simulate_screens(Folder(tmp_path / name), params)
    first, same, other = (
        {stat.path: Folder(tmp_path / name).read_bytes(stat.path) for stat in Folder(tmp_path / name).list()}
        for name in "abc"
    )
    assert first == same
    assert not set(first.values()) & set(other.values()) - {first["heatmaps.yaml"], first["scanpaths.yaml"]}
    assert spec_of(Folder(tmp_path / "a"), "scanpaths").look == "c"
    with pytest.raises(FileExistsError, match=r"heatmaps\.yaml"):
        simulate_screens(screens, ScreensSimulation(reading=READING))


def test_heatmaps_show_the_gaze_of_the_simulated_reading_study(tmp_path: Path, screens: Folder) -> None:
    """Drawn again from the study's raw samples, which come by another way; saccades are all that differs."""
    simulate(Folder(tmp_path), READING)
    trials = pd.read_csv(tmp_path / "trials.csv")
    names = {tuple(stat.path.split("/")[1].split("_")[:2]): stat.path for stat in screens.list("heatmap_fixed")}
    names = {(re.match(r"\d+", session)[0], item): path for (session, item), path in names.items()}
    drawn, exported = [], []
    for person in (1, 2, 3):
        gaze = pd.read_csv(io.BytesIO((tmp_path / f"gaze/R{person:02d}.csv").read_bytes()))
        for trial in trials[trials["participant"] == f"R{person:02d}"].itertuples():
            mine = gaze[gaze["trial"] == trial.trial]
            duration = sample_durations(mine["t_ms"].to_numpy(), np.ones(len(mine), bool), 100)
            x, y, d = (torch.tensor(np.array(values))[None] for values in (mine["x_px"], mine["y_px"], duration))
            (dwell,) = heatmaps(x, y, d, torch.tensor([WINDOW]), (100, 150), SIGMA_PX)
            drawn.append(coloured((dwell[0] / dwell.max()).numpy()))
            path = names[str(person), str(int(trial.sentence[1:]))]
            assert path[-7] == trial.condition
            exported.append(picture(screens, path)[5::10, 5::10])
    apart = np.array([[np.abs(a.astype(float) - b).mean() for b in exported] for a in drawn])
    assert (apart.argmin(axis=1) == np.arange(12)).all()
    assert np.diag(apart).mean() < 0.3 * apart[~np.eye(12, dtype=bool)].mean()


def test_scanpaths_lie_where_the_heatmaps_are(screens: Folder) -> None:
    for stat in screens.list("heatmap_fixed"):
        warm = (picture(screens, stat.path) != 255).any(axis=2)
        cyan = picture(screens, stat.path.replace("heatmap_fixed", "scanpaths_fixed"))[:, :, 0] < 128
        edges = [np.flatnonzero(ink.any(axis=0))[[0, -1]] for ink in (warm, cyan)]
        np.testing.assert_allclose(edges[0], edges[1], atol=60)


def test_pseudowords_leave_more_ink_in_the_crop(screens: Folder) -> None:
    """With a strong effect: more fixations, so more of the crop is not white."""
    spec = spec_of(screens, "scanpaths")
    data = open_screens(spec, screens)
    pictures = np.concatenate([read_screens(spec, screens, one, (64, 128)).pictures for one in data.recordings])
    labels = pd.concat([data.trials[data.trials["participant"].isin(one.participants)] for one in data.recordings])
    ink = 255 - pictures.astype(float).mean(axis=(1, 2, 3))
    pseudoword = labels["label_index"].to_numpy() == 1
    assert ink[pseudoword].mean() > 1.2 * ink[~pseudoword].mean()


def test_colours_go_from_white_over_green_and_yellow_to_red() -> None:
    white, green, yellow, red = coloured(np.array([0.0, 0.1, 0.5, 1.0])).astype(int)
    assert white.tolist() == [255, 255, 255]
    assert green.argmax() == 1
    assert min(yellow[:2]) >= 254 > yellow[2]
    assert red.argmax() == 0
    assert red[1] == red[2] < 128
    assert min(map(min, (green, yellow, red))) > 0, "half-transparent"


def test_paper_config_is_the_published_protocol() -> None:
    cfg = load_config(HeatmapConfig, PAPER)
    model = HeatmapCNN(3, (cfg.render.height_px, cfg.render.width_px), cfg.model.width, 2, cfg.model.dropout)
    assert sum(weights.numel() for weights in model.parameters()) == 938_242
    train = cfg.train
    assert (train.optimizer, train.learning_rate, train.momentum, train.weight_decay) == ("sgd", 0.01, 0, 0)
    assert (train.epochs, train.batch_size, train.class_weights, cfg.model.dropout) == (35, 32, False, 0.4)
    assert train.patience >= train.epochs
    readers = np.repeat([str(number) for number in range(32)], 10)
    folds = group_folds(readers, np.tile([0] * 8 + [1] * 2, 32), cfg.folds.outer, cfg.folds.validation, 0)
    assert {tuple(map(len, fold)) for fold in folds} == {(24, 4, 4)}
