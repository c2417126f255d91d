# SPDX-License-Identifier: Apache-2.0
"""Saliency metrics against pysaliency: its published figures, random maps, and maps of real fixations.

Where pysaliency differs by definition: it scores a constant map NSS 0 and CC 0 (here undefined), takes a map that is 0
everywhere for the uniform density (here undefined), and its AUC_Judd adds noise to break ties (here its AUC with
thresholds at the fixations and unfixated pixels as negatives, which is AUC_Judd without that noise). It has neither
AUC-Borji nor the earth mover's distance.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from gazeray.metrics import saliency


@dataclass(frozen=True)
class Case:
    """Maps and targets (B, H, W) and fixations (N, 3), sorted by image."""

    maps: np.ndarray
    targets: np.ndarray
    fixations: np.ndarray


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    if importlib.util.find_spec("pysaliency") is None:
        pytest.skip("pysaliency is not installed")
    path = Path(__file__).parent / "pysaliency_oracle.py"
    spec = importlib.util.spec_from_file_location("pysaliency_oracle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.import_pysaliency()
    return module


def random_case(shape: tuple[int, int, int], levels: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    maps, targets = rng.random((2, *shape)) ** 2
    if levels:
        maps = np.round(maps * levels) / levels
    fixations = rng.integers(0, shape, (shape[0] * 30, 3))
    fixations = np.concatenate([fixations, fixations[:20]])
    return Case(maps, targets, fixations[np.argsort(fixations[:, 0], kind="stable")])


def osie_case(root: Path, n_images: int = 5, height: int = 150, width: int = 200) -> Case:
    """Pictures of OSIE on a grid: half of the observers' fixations, and the map of the other half."""
    table = pd.read_csv(root / "saliency_osie" / "fixations.csv.gz")
    table = table[table["x_px"].between(0, 800, inclusive="left") & table["y_px"].between(0, 600, inclusive="left")]
    maps, targets = np.zeros((2, n_images, height, width))
    fixations = []
    for index, (_, rows) in zip(range(n_images), table.groupby("image", sort=True), strict=False):
        y = (rows["y_px"] * height / 600).astype(int).to_numpy()
        x = (rows["x_px"] * width / 800).astype(int).to_numpy()
        first = rows["observer"].to_numpy() % 2 == 0
        np.add.at(maps[index], (y[~first], x[~first]), 1.0)
        np.add.at(targets[index], (y[first], x[first]), 1.0)
        fixations.append(np.stack([np.full(first.sum(), index), y[first], x[first]], axis=1))
    maps, targets = (gaussian_filter(each, (0, 6, 6), mode="constant") for each in (maps, targets))
    return Case(maps, targets, np.concatenate(fixations))


def check_against_pysaliency(oracle: Any, case: Case) -> None:
    model = oracle.model_of(case.maps)
    stimuli, fixations = oracle.stimuli_and_fixations(case.maps.shape, case.fixations)
    metrics = oracle.import_pysaliency().metrics
    pairs = list(zip(case.maps, case.targets, strict=True))
    maps, targets, rows = (torch.from_numpy(array) for array in (case.maps, case.targets, case.fixations))

    def agree(ours: Tensor, theirs: Any) -> None:
        np.testing.assert_allclose(ours.numpy(), np.array(theirs), rtol=0, atol=1e-6)

    agree(saliency.auc_uniform(maps, rows), model.AUC_per_image(stimuli, fixations))
    agree(saliency.auc_shuffled(maps, rows), model.AUC_per_image(stimuli, fixations, nonfixations="shuffled"))
    judd = model.AUC_per_image(stimuli, fixations, nonfixations="unfixated", thresholds="fixations")
    agree(saliency.auc_judd(maps, rows), judd)
    per_fixation = model.NSSs(stimuli, fixations)
    agree(saliency.nss(maps, rows), [per_fixation[fixations.n == image].mean() for image in range(len(maps))])
    agree(saliency.cc(maps, targets), [metrics.CC(*pair) for pair in pairs])
    agree(saliency.sim(maps, targets), [metrics.SIM(*pair) for pair in pairs])
    with np.errstate(divide="ignore"):  # it takes the log of pixels that are 0
        agree(saliency.kl(maps, targets), [metrics.MIT_KLDiv(*pair) for pair in pairs])


@pytest.mark.parametrize("levels", [0, 6], ids=["distinct", "ties"])
def test_random_maps_score_as_in_pysaliency(oracle: Any, levels: int) -> None:
    check_against_pysaliency(oracle, random_case((4, 60, 83), levels, seed=levels))


@pytest.mark.real
def test_maps_of_real_fixations_score_as_in_pysaliency(oracle: Any, real_data: Path) -> None:
    case = osie_case(real_data)
    check_against_pysaliency(oracle, case)
    scores = saliency.auc_uniform(torch.from_numpy(case.maps), torch.from_numpy(case.fixations))
    assert scores.min() > 0.8


def test_information_gain_is_the_difference_of_pysaliency_log_likelihoods(oracle: Any) -> None:
    case = random_case((3, 40, 50), 0, seed=1)
    densities = case.maps / case.maps.sum((1, 2), keepdims=True)
    pysaliency = oracle.import_pysaliency()

    class Model(pysaliency.Model):  # type: ignore[misc, name-defined]
        def _log_density(self, stimulus: np.ndarray) -> np.ndarray:
            answer: np.ndarray = np.log(densities[int(stimulus[0, 0])])
            return answer

    stimuli, fixations = oracle.stimuli_and_fixations(case.maps.shape, case.fixations)
    gains = Model(caching=False).information_gains(stimuli, fixations, pysaliency.UniformModel())
    log_density, rows = torch.from_numpy(np.log(densities)), torch.from_numpy(case.fixations)
    uniform = torch.full_like(log_density, -np.log(40 * 50))
    ours = saliency.information_gain(log_density, rows, uniform).numpy()
    expected = [gains[fixations.n == image].mean() for image in range(3)]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.real
def test_the_published_figures_of_pysaliency_are_met(real_data: Path) -> None:
    known = json.loads((real_data / "reference_pysaliency" / "reference_metrics.json").read_text())
    grid = np.arange(40)
    squares = (grid - 20) ** 2 + (grid[:, None] - 20) ** 2
    centre = torch.from_numpy(np.exp(-0.5 * squares / np.sqrt(40**2 + 40**2)))
    image, y, x = (torch.tensor(known[name]) for name in ("image", "fix_y", "fix_x"))
    n = len(image)
    each = torch.stack([torch.arange(n), y, x], dim=1)  # a copy of the map for each fixation
    alone = centre.expand(n, -1, -1)
    rows = torch.stack([image, y, x], dim=1)
    maps = centre.expand(2, -1, -1)
    others = [[i, int(y[j]), int(x[j])] for i in range(n) for j in range(n) if image[j] != image[i]]

    def meets(scores: Tensor, name: str) -> None:
        np.testing.assert_allclose(scores.numpy(), known[name], rtol=0, atol=1e-6)

    meets(saliency.nss(alone, each), "NSS")
    meets(saliency.auc_uniform(alone, each), "AUC_uniform")
    meets(saliency.auc_uniform(maps, rows), "AUC_per_image")
    meets(saliency.auc_uniform(maps, rows).mean(), "AUC_mean_image_average")
    meets(saliency.nss(maps, rows).mean(), "NSS_image_average")
    meets(saliency.auc_shuffled(alone, each, torch.tensor(others)), "AUC_shuffled_and_sAUC")
    meets(saliency.auc_uniform(alone, each).mean(), "AUC_mean_fixation_average")
    meets(saliency.nss(alone, each).mean(), "NSS_mean")

    counts = np.zeros((2, 40, 40))
    np.add.at(counts, (image.numpy(), y.numpy(), x.numpy()), 1.0)
    free = [[i, *pixel] for i in range(n) for pixel in np.argwhere(counts[int(image[i])] == 0).tolist()]
    meets(saliency.auc_shuffled(alone, each, torch.tensor(free)), "AUC_unfixated")

    # pysaliency's figure of SIM, too, is that of its fixation map with repeated fixations counted once
    fixated = torch.from_numpy(gaussian_filter(np.minimum(counts, 1.0), (0, 10, 10), mode="reflect"))
    meets(saliency.cc(maps, fixated).mean(), "CC_vs_fixmap_kernel10_ignore_duplicates")
    meets(saliency.sim(maps, fixated).mean(), "SIM_vs_fixmap_kernel10")
    np.testing.assert_allclose(
        saliency.sim(maps, torch.ones_like(maps)).numpy(), known["SIM_vs_constant"], rtol=0, atol=1e-5
    )

    constant = torch.ones_like(maps)
    np.testing.assert_array_equal(saliency.auc_uniform(constant, rows).numpy(), known["const_model"]["AUC"])
    np.testing.assert_array_equal(saliency.auc_shuffled(constant, rows).numpy(), known["const_model"]["AUC"])
    assert known["const_model"]["NSS"] == known["const_model"]["CC"] == 0.0  # undefined here
    assert torch.isnan(saliency.nss(constant, rows)).all()
    assert torch.isnan(saliency.cc(constant, fixated)).all()


def test_constant_maps_are_where_pysaliency_differs(oracle: Any) -> None:
    case = random_case((2, 20, 30), 0, seed=2)
    metrics = oracle.import_pysaliency().metrics
    constant, rows = np.full((20, 30), 0.5), case.fixations[case.fixations[:, 0] == 0]
    assert metrics.NSS(constant, rows[:, 2], rows[:, 1]).mean() == 0.0
    assert metrics.CC(constant, case.maps[0]) == 0.0
    assert metrics.SIM(np.zeros((20, 30)), constant) == pytest.approx(1.0)
    ours = torch.from_numpy(constant)[None]
    target = torch.from_numpy(case.maps[:1])
    assert torch.isnan(saliency.nss(ours, torch.from_numpy(rows))).all()
    assert torch.isnan(saliency.cc(ours, target)).all()
    assert torch.isnan(saliency.sim(torch.zeros_like(ours), ours)).all()
