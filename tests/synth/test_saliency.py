# SPDX-License-Identifier: Apache-2.0
"""Simulated free viewing: a raw study that reads back, gaze from a known density, ceilings that find it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import ndtr
from scipy.stats import chisquare

from gazeray.config import parse_yaml, validate
from gazeray.metrics.resampling import grid_cells
from gazeray.models.fixation_density.centre_bias import fit_centre_bias, relative_counts
from gazeray.models.fixation_density.inter_observer import gold_standard
from gazeray.stimuli.dataset import PictureSetSpec, clean_gaze, open_pictures
from gazeray.storage import Folder
from gazeray.synth.saliency import (
    SaliencySimulation,
    draw_fixations,
    mixture,
    name_of,
    scene,
    simulate_saliency,
)
from gazeray.synth.saliency_scene import paint

SMALL = SaliencySimulation(pictures=4, observers=3, bad_rows=4)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("probe_saliency"))
    simulate_saliency(folder, SMALL)
    return folder


def rows_of(folder: Folder) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(folder.read_text("fixations.csv"))))


def decoded(folder: Folder, picture: int) -> np.ndarray:
    """A picture as RGB, (H, W, 3)."""
    data = np.frombuffer(folder.read_bytes(f"stimuli/{name_of(picture)}.jpg"), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert shown is not None
    return shown[:, :, ::-1]


def test_study_holds_pictures_a_table_and_its_declaration(study: Folder) -> None:
    names = {stat.path for stat in study.list()}
    assert names == {"dataset.yaml", "fixations.csv"} | {f"stimuli/scene_00{k}.jpg" for k in range(1, 5)}
    assert decoded(study, 0).shape == (240, 320, 3)


def test_study_reads_back_as_it_was_drawn_and_bad_rows_are_rejected(study: Folder) -> None:
    spec = validate(PictureSetSpec, parse_yaml(study.read_text("dataset.yaml"), "dataset.yaml"))
    opened = open_pictures(spec, study)
    assert [picture.stimulus for picture in opened.pictures] == [name_of(k) for k in range(4)]
    assert opened.observers == ["O01", "O02", "O03"]
    assert [reject.reason for reject in opened.rejects] == ["x_px: no value"] * 2
    outside = 0
    for picture in range(4):
        gaze, rejects = clean_gaze(name_of(picture), opened.gaze[name_of(picture)], 320, 240)
        outside += sum(int(reject.reason.split()[0]) for reject in rejects)
        for observer in range(3):
            mine, expected = gaze.observer == observer, draw_fixations(SMALL, picture, observer)
            np.testing.assert_allclose(gaze.x_px[mine], expected[:, 0], atol=0.011)
            np.testing.assert_allclose(gaze.y_px[mine], expected[:, 1], atol=0.011)
    assert outside == 2


def test_table_has_just_the_bad_rows_that_were_asked_for(study: Folder) -> None:
    x = np.array([float(row["x_px"]) for row in rows_of(study)])
    y = np.array([float(row["y_px"]) for row in rows_of(study)])
    assert np.isnan(x).sum() == 2
    assert (x >= 320).sum() == 2
    good = np.isfinite(x) & (x < 320)
    assert (x[good] >= 0).all()
    assert ((y >= 0) & (y < 240)).all()


def test_equal_parameters_give_equal_bytes_and_another_seed_does_not(study: Folder, tmp_path: Path) -> None:
    again, other = Folder(tmp_path / "again"), Folder(tmp_path / "other")
    simulate_saliency(again, SMALL)
    simulate_saliency(other, SMALL.model_copy(update={"seed": 1}))
    for stat in study.list():
        assert again.read_bytes(stat.path) == study.read_bytes(stat.path)
    assert other.read_bytes("fixations.csv") != study.read_bytes("fixations.csv")
    assert other.read_bytes("stimuli/scene_001.jpg") != study.read_bytes("stimuli/scene_001.jpg")
    with pytest.raises(FileExistsError, match="already holds"):
        simulate_saliency(again, SMALL)


def test_things_are_inside_the_picture_and_apart() -> None:
    kinds = set()
    for picture in range(60):
        things = scene(SaliencySimulation(), picture)
        assert things
        taken = np.zeros((240, 320), dtype=int)
        for thing in things:
            kinds.add(thing.kind)
            left, right = thing.x_px - thing.half_width_px, thing.x_px + thing.half_width_px
            top, bottom = thing.y_px - thing.half_height_px, thing.y_px + thing.half_height_px
            assert left >= 0
            assert top >= 0
            assert right <= 320
            assert bottom <= 240
            taken[int(top) : int(bottom), int(left) : int(right)] += 1
        assert taken.max() == 1
    assert kinds == {"object", "face", "text"}


def test_things_stand_out_from_the_background_where_the_scene_says() -> None:
    params = SaliencySimulation()
    things = scene(params, 1)
    full, bare = (paint(what, np.random.default_rng(0), 320, 240).astype(float) for what in (things, []))
    changed = np.abs(full - bare).max(axis=2) > 20
    for thing in things:
        assert changed[int(thing.y_px), int(thing.x_px)]
    area = sum(4 * thing.half_width_px * thing.half_height_px for thing in things)
    assert 0.5 * area < changed.sum() < 1.2 * area


def true_density(
    params: SaliencySimulation, picture: int, observer: int | None = None, grid: tuple[int, int] | None = None
) -> np.ndarray:
    """The density from which a picture's fixations are drawn, (h, w), sum 1 over the grid's pixels, exact over each.

    observer: a number from 0, or None for the mean over all observers. grid: (h, w), default the picture's size.
    """
    size = (params.height_px, params.width_px)
    observers = range(params.observers) if observer is None else [observer]
    height, width = grid or size
    density = np.zeros((height, width))
    for who in observers:
        parts = mixture(params, picture, who)
        down, across = (
            masses(parts.mean_px[:, axis], parts.sigma_px[:, axis], size[1 - axis], pixels)
            for axis, pixels in ((1, height), (0, width))
        )
        density += (parts.weights[:-1, None] * down).T @ across + parts.weights[-1] / (height * width)
    return density / len(observers)


def masses(mean: np.ndarray, sigma: np.ndarray, extent: int, pixels: int) -> np.ndarray:
    """The mass of Gaussians cut at 0 and `extent` in each of the pixels of a side, (K, pixels)."""
    reached = ndtr((np.linspace(0, extent, pixels + 1) - mean[:, None]) / sigma[:, None])
    return np.diff(reached, axis=1) / (reached[:, -1:] - reached[:, :1])


def test_true_density_sums_to_one_and_peaks_on_the_face() -> None:
    params = SaliencySimulation(observers=2, faces=20)
    picture = next(k for k in range(60) if [thing.kind for thing in scene(params, k)].count("face") == 1)
    (face,) = (thing for thing in scene(params, picture) if thing.kind == "face")
    for grid in ((240, 320), (60, 80)):
        density = true_density(params, picture, grid=grid)
        assert density.sum() == pytest.approx(1)
        peak = np.unravel_index(density.argmax(), grid)
        assert peak == pytest.approx((face.y_px * grid[0] / 240, face.x_px * grid[1] / 320), abs=2)
    each = [true_density(params, picture, observer) for observer in range(2)]
    np.testing.assert_allclose(np.mean(each, axis=0), true_density(params, picture))
    assert np.abs(each[0] - each[1]).max() > 0.1 * each[0].max(), "observers differ"


def test_fixations_follow_the_true_density() -> None:
    params = SaliencySimulation(fixations=200, observers=40, width_px=128, height_px=96)
    drawn = [draw_fixations(params, 2, observer) for observer in range(40)]
    rows = np.concatenate(drawn)
    y, x = grid_cells(rows[:, 0], rows[:, 1], (96, 128), (6, 8)).T
    counts = np.bincount(y * 8 + x, minlength=48)
    expected = np.zeros((6, 8))
    for observer, fixations in enumerate(drawn):
        expected += len(fixations) * true_density(params, 2, observer, (6, 8))
    assert chisquare(counts, expected.ravel()).pvalue > 0.01
    assert chisquare(counts, np.full(48, counts.mean())).pvalue < 1e-6
    assert rows[:, 2].mean() == pytest.approx(250, rel=0.05)


def test_tracker_noise_adds_its_variance() -> None:
    still, noisy = (mixture(SaliencySimulation(noise_px=noise), 0, 0).sigma_px for noise in (0, 10))
    np.testing.assert_allclose(noisy**2 - still**2, 100)


def test_without_effect_gaze_does_not_depend_on_the_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    params = SaliencySimulation(effect=0)
    before = draw_fixations(params, 0, 0)
    np.testing.assert_allclose(true_density(params, 0, 3), true_density(params, 1, 3))
    seen = SaliencySimulation()
    assert np.abs(true_density(seen, 0, 3) - true_density(seen, 1, 3)).max() > true_density(seen, 0, 3).max() / 2
    monkeypatch.setattr("gazeray.synth.saliency.scene", lambda params, picture: scene(params, 7))
    np.testing.assert_array_equal(draw_fixations(params, 0, 0), before)


def divergence(truth: np.ndarray, log_density: np.ndarray) -> float:
    """Kullback-Leibler divergence of a log-density from the true density, bits."""
    return float((truth * (np.log(truth) - log_density)).sum() / np.log(2))


def test_gold_standard_approaches_the_true_density_with_more_observers() -> None:
    params, size, grid = SaliencySimulation(observers=48, pictures=9, observer_cv=0.2), (240, 320), (60, 80)
    gaze = [[draw_fixations(params, picture, observer) for observer in range(48)] for picture in range(9)]
    joined = [np.concatenate(rows) for rows in gaze]
    counts = np.stack([relative_counts(rows[:, 0], rows[:, 1], size) for rows in joined])
    bias, far = fit_centre_bias(counts.reshape(3, 3, *counts.shape[1:]).sum(axis=1)), []
    for picture in (0, 4):
        truth = true_density(params, picture, grid=grid)
        prior = bias[picture // 3].log_density(counts.sum(axis=0) - counts[picture], grid)
        row = [divergence(truth, prior)]
        for observers in (6, 16, 48):
            who = np.repeat(np.arange(observers), [len(rows) for rows in gaze[picture][:observers]])
            x, y, _ = np.concatenate(gaze[picture][:observers]).T
            gold = gold_standard(x, y, who, size, grid, prior)
            assert gold is not None
            row.append(divergence(truth, np.log(np.exp(gold.log_density).mean(axis=0))))
        far.append(row)
    means = np.mean(far, axis=0)
    assert (np.diff(means) < 0).all()
    assert means[-1] < 0.15 * means[0]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"effect": -1}, id="negative_effect"),
        pytest.param({"centre": 0}, id="no_centre"),
        pytest.param({"pictures": 2}, id="too_few_pictures"),
        pytest.param({"noise": 1}, id="unknown_key"),
    ],
)
def test_wrong_parameters_raise(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SaliencySimulation.model_validate(wrong)
