# SPDX-License-Identifier: Apache-2.0
"""Saliency metrics against slow loops from their definitions; what is undefined, refused, and independent."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from gazeray.metrics import saliency, saliency_ranks

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
AT_FIXATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nss": saliency.nss,
    "auc_uniform": saliency.auc_uniform,
    "auc_judd": saliency.auc_judd,
    "auc_borji": lambda maps, fixations: saliency.auc_borji(maps, fixations, seed=3, splits=20),
    "auc_shuffled": saliency.auc_shuffled,
}
OF_TWO_MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cc": saliency.cc,
    "sim": saliency.sim,
    "kl": saliency.kl,
    "emd": lambda maps, targets: saliency.emd(maps, targets, longest_px=6),
}


def batch(
    n_images: int = 4, height: int = 23, width: int = 37, n_fixations: int = 60, seed: int = 0, levels: int = 0
) -> tuple[Tensor, Tensor]:
    """Random maps in float64 and unsorted fixations with repeats; `levels`: rounded to so many values, for ties."""
    rng = np.random.default_rng(seed)
    maps = rng.random((n_images, height, width)) ** 3
    if levels:
        maps = np.round(maps * levels) / levels
    fixations = rng.integers(0, (n_images, height, width), (n_fixations, 3))
    fixations = np.concatenate([fixations, fixations[: n_fixations // 4]])
    return torch.from_numpy(maps), torch.from_numpy(fixations)


def values_of(maps: Tensor, fixations: Tensor, image: int) -> list[float]:
    return [float(maps[image, y, x]) for i, y, x in fixations.tolist() if i == image]


# -- the definitions, in loops


def slow_auc(positives: list[float], negatives: list[float]) -> float:
    won = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p in positives for n in negatives)
    return won / (len(positives) * len(negatives))


def slow_judd(maps: Tensor, fixations: Tensor, image: int) -> float:
    fixated = {(y, x) for i, y, x in fixations.tolist() if i == image}
    height, width = maps.shape[1:]
    negatives = [float(maps[image, y, x]) for y in range(height) for x in range(width) if (y, x) not in fixated]
    positives = values_of(maps, fixations, image)
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(positives), reverse=True):
        false_alarms = sum(value >= threshold for value in negatives) / len(negatives)
        curve.append((false_alarms, sum(value >= threshold for value in positives) / len(positives)))
    curve.append((1.0, 1.0))
    return sum((right[0] - left[0]) * (right[1] + left[1]) / 2 for left, right in pairwise(curve))


def slow_nss(maps: Tensor, fixations: Tensor, image: int) -> float:
    pixels = maps[image].flatten().tolist()
    mean = math.fsum(pixels) / len(pixels)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in pixels) / len(pixels))
    scores = [(value - mean) / deviation for value in values_of(maps, fixations, image)]
    return math.fsum(scores) / len(scores)


def densities(*maps: Tensor) -> list[list[float]]:
    pixels = [each.double().flatten().tolist() for each in maps]
    pixels = [[value - min(0.0, *each) for value in each] for each in pixels]
    return [[value / math.fsum(each) for value in each] for each in pixels]


@pytest.mark.parametrize("levels", [0, 4], ids=["distinct", "ties"])
@pytest.mark.parametrize("device", DEVICES)
def test_each_auc_and_nss_equals_the_loop_from_its_definition(levels: int, device: str) -> None:
    maps, fixations = batch(levels=levels)
    scores = {name: score(maps.to(device), fixations.to(device)).cpu() for name, score in AT_FIXATIONS.items()}
    for image in range(len(maps)):
        positives = values_of(maps, fixations, image)
        others = [float(maps[image, y, x]) for i, y, x in fixations.tolist() if i != image]
        assert scores["auc_uniform"][image] == pytest.approx(slow_auc(positives, maps[image].flatten().tolist()))
        assert scores["auc_shuffled"][image] == pytest.approx(slow_auc(positives, others))
        assert scores["auc_judd"][image] == pytest.approx(slow_judd(maps, fixations, image))
        assert scores["nss"][image] == pytest.approx(slow_nss(maps, fixations, image))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", ["uniform", "few levels", "skewed", "signed", "one value much greater", "offset"])
def test_aucs_of_large_maps_are_exact_whatever_the_distribution(shape: str, dtype: torch.dtype) -> None:
    maps, fixations = batch(n_images=3, height=90, width=140, n_fixations=90, seed=1)
    maps = {
        "uniform": maps,
        "few levels": (maps * 5).round() - 2,
        "skewed": (-60 * maps).exp(),
        "signed": maps - maps.flip(1),
        "one value much greater": torch.where(maps == maps.amax(), 1e300 if dtype == torch.float64 else 1e30, maps),
        "offset": maps * 1e-3 + 1e4,
    }[shape].to(dtype)
    pixels = maps.flatten(1).double().numpy()
    everywhere, elsewhere = saliency.auc_uniform(maps, fixations), saliency.auc_judd(maps, fixations)
    for image in range(len(maps)):
        positives = np.array(values_of(maps, fixations, image))
        less = (pixels[image] < positives[:, None]).sum(1)
        equal = (pixels[image] == positives[:, None]).sum(1)
        assert float(everywhere[image]) == pytest.approx(float((less + equal / 2).mean() / pixels.shape[1]), abs=1e-12)
        own = {(y, x) for i, y, x in fixations.tolist() if i == image}
        free = np.array([v for at, v in enumerate(pixels[image]) if divmod(at, 140) not in own])
        thresholds = np.unique(positives)[::-1]
        fpr = [0, *((free >= t).mean() for t in thresholds), 1]
        tpr = [0, *((positives >= t).mean() for t in thresholds), 1]
        assert float(elsewhere[image]) == pytest.approx(float(np.trapezoid(tpr, fpr)), abs=1e-12)


def test_pixels_of_a_finer_picture_take_their_share_of_auc_judds_negatives() -> None:
    maps, fixations = batch(n_images=3, height=6, width=8, n_fixations=20, seed=4)
    finer = maps.repeat_interleave(4, 1).repeat_interleave(4, 2)
    jitter = torch.from_numpy(np.random.default_rng(5).integers(0, 4, (len(fixations), 2)))
    pixels = torch.cat([fixations[:, :1], fixations[:, 1:] * 4 + jitter], 1)
    once = torch.unique(pixels, dim=0)
    coarse = torch.cat([once[:, :1], once[:, 1:] // 4], 1)
    found = saliency.auc_judd(maps, fixations, coarse, torch.full((3,), 1 / 16))
    np.testing.assert_allclose(found, saliency.auc_judd(finer, pixels), atol=1e-12)
    assert (saliency.auc_judd(maps, fixations) - found).abs().max() > 0.01
    assert torch.equal(
        saliency.auc_judd(maps, fixations, torch.unique(fixations, dim=0)), saliency.auc_judd(maps, fixations)
    )


@pytest.mark.parametrize("coarse", [False, True], ids=["exact", "judd"])
@pytest.mark.parametrize("n_values", [50, 5000])
def test_the_search_of_the_gpu_counts_as_the_cells_of_the_cpu(n_values: int, coarse: bool) -> None:
    rng = np.random.default_rng(2)
    points, values = np.sort(np.round(rng.random(40), 2)), np.round(rng.standard_normal(n_values), 2)
    searched = saliency_ranks._credit_on_gpu(torch.from_numpy(points), torch.from_numpy(values), coarse)
    assert float(searched) == saliency_ranks._credit(points, values, coarse, saliency_ranks.Room())


def test_negative_zero_ties_with_zero() -> None:
    maps = torch.full((1, 50, 50), -0.0)
    maps[0, 0, 0], maps[0, 1, 1] = 0.0, 1.0
    fixations = torch.tensor([[0, 0, 0], [0, 1, 1]])
    zero, one = 2499 / 2 / 2500, 2499.5 / 2500
    assert saliency.auc_uniform(maps, fixations).tolist() == [(zero + one) / 2]


def test_auc_borji_is_the_mean_over_splits_of_random_pixels_and_approaches_auc_uniform() -> None:
    maps, fixations = batch()
    scores = saliency.auc_borji(maps, fixations, seed=5, splits=7)
    for image in range(len(maps)):
        positives, pixels = values_of(maps, fixations, image), maps[image].flatten()
        drawn = (np.random.default_rng(5).random(7 * len(positives)) * len(pixels)).astype(int).reshape(7, -1)
        splits = [slow_auc(positives, pixels[torch.from_numpy(split)].tolist()) for split in drawn]
        assert float(scores[image]) == pytest.approx(sum(splits) / 7)
    many = saliency.auc_borji(maps, fixations, seed=6, splits=3000)
    assert (many - saliency.auc_uniform(maps, fixations)).abs().max() < 0.01


def test_shuffled_auc_takes_given_negatives_as_often_as_they_are_given() -> None:
    maps, fixations = batch(levels=5)
    negatives = batch(seed=9, n_fixations=2500)[1]
    scores = saliency.auc_shuffled(maps, fixations, negatives)
    for image in range(len(maps)):
        expected = slow_auc(values_of(maps, fixations, image), values_of(maps, negatives, image))
        assert float(scores[image]) == pytest.approx(expected)


@pytest.mark.parametrize("device", DEVICES)
def test_metrics_of_two_maps_equal_the_loops_from_their_definitions(device: str) -> None:
    maps, _ = batch()
    targets = batch(seed=1)[0].clone()
    targets[0, :5] = 0.0
    maps[1] -= 0.3
    scores = {name: score(maps.to(device), targets.to(device)).cpu() for name, score in OF_TWO_MAPS.items()}
    for image in range(len(maps)):
        p, q = densities(maps[image], targets[image])
        assert float(scores["sim"][image]) == pytest.approx(math.fsum(map(min, p, q)))
        eps = saliency.MIT_EPS
        divergence = math.fsum(b * math.log(eps + b / (a + eps)) for a, b in zip(p, q, strict=True))
        assert float(scores["kl"][image]) == pytest.approx(divergence)
        correlation = np.corrcoef(maps[image].flatten(), targets[image].flatten())[0, 1]
        assert float(scores["cc"][image]) == pytest.approx(float(correlation))


def test_emd_equals_the_linear_programme_on_the_pixels() -> None:
    maps, targets = batch(n_images=2, height=3, width=4)[0], batch(n_images=2, height=3, width=4, seed=1)[0]
    y, x = np.divmod(np.arange(12), 4)
    cost = np.hypot(y[:, None] - y, x[:, None] - x)
    flows = [np.kron(np.eye(12), np.ones(12)), np.kron(np.ones(12), np.eye(12))]
    for image, score in enumerate(saliency.emd(maps, targets).tolist()):
        p, q = densities(maps[image], targets[image])
        best = linprog(cost.ravel(), A_eq=np.concatenate(flows), b_eq=np.concatenate([p, q]))
        assert score == pytest.approx(best.fun, abs=1e-8)


def test_emd_on_a_coarser_grid_is_in_pixels_of_the_map() -> None:
    maps, targets = torch.zeros(1, 40, 80), torch.zeros(1, 40, 80)
    maps[0, 0:2, 0:2], targets[0, 30:32, 40:42] = 1.0, 0.5
    assert saliency.emd(maps, targets, longest_px=40).tolist() == [pytest.approx(50.0)]
    assert saliency.emd(maps, targets, longest_px=1000).tolist() == [pytest.approx(50.0)]
    unlike = torch.zeros(1, 40, 81)
    unlike[0, :, 40] = 1.0
    assert saliency.emd(unlike, unlike, longest_px=7).tolist() == [pytest.approx(0.0, abs=1e-9)]


# -- likelihoods


def test_information_gain_is_the_mean_difference_in_bits() -> None:
    maps, fixations = batch()
    log_density = saliency.as_log_density(maps)
    uniform = torch.full_like(maps, -math.log(23 * 37))
    gain = saliency.information_gain(log_density, fixations, uniform)
    for image in range(len(maps)):
        logs = values_of(log_density, fixations, image)
        assert float(gain[image]) == pytest.approx((np.mean(logs) + math.log(23 * 37)) / math.log(2))


def test_as_log_density_sums_to_one_and_mixes_the_uniform_share() -> None:
    maps = torch.stack([batch()[0][0], torch.full((23, 37), 7.0, dtype=torch.float64)])
    density = saliency.as_log_density(maps, uniform_share=0.2).exp()
    assert density.sum((1, 2)).tolist() == [pytest.approx(1.0), pytest.approx(1.0)]
    assert float(density[0].min()) == pytest.approx(0.2 / (23 * 37))
    assert density[1].flatten().tolist() == [pytest.approx(1 / (23 * 37))] * (23 * 37)


def test_a_density_of_zero_at_a_fixation_costs_infinity() -> None:
    density = torch.zeros(1, 2, 2)
    density[0, 0, 0] = 1.0
    fixations = torch.tensor([[0, 1, 1]])
    uniform = torch.full((1, 2, 2), 0.25).log()
    assert saliency.information_gain(density.log(), fixations, uniform).tolist() == [-math.inf]


def test_maps_that_are_not_log_densities_are_refused() -> None:
    maps, fixations = batch()
    with pytest.raises(ValueError, match=r"log_density: the density of image 0 sums to .*, not to 1"):
        saliency.information_gain(maps, fixations, maps)
    with pytest.raises(ValueError, match="baseline_log_density: the density of image 0"):
        saliency.information_gain(saliency.as_log_density(maps), fixations, maps)


# -- what is undefined


@pytest.mark.parametrize("name", AT_FIXATIONS)
def test_an_image_without_fixation_is_undefined_and_the_others_are_not(name: str) -> None:
    maps, fixations = batch()
    scores = AT_FIXATIONS[name](maps, fixations[fixations[:, 0] != 2])
    assert torch.isnan(scores).tolist() == [False, False, True, False]
    assert torch.isnan(AT_FIXATIONS[name](maps, fixations[:0])).all()


def test_a_constant_map_is_undefined_for_nss_and_cc_and_at_chance_for_the_aucs() -> None:
    maps, fixations = batch()
    for constant in (0.0, 0.1, -1e8 / 3):
        maps[1] = constant
        assert torch.isnan(saliency.nss(maps, fixations)).tolist() == [False, True, False, False]
        assert torch.isnan(saliency.cc(maps, maps.roll(1, 0))).tolist() == [False, True, True, False]
        for name in ("auc_uniform", "auc_judd", "auc_borji", "auc_shuffled"):
            assert float(AT_FIXATIONS[name](maps, fixations)[1]) == 0.5


@pytest.mark.parametrize("name", ["sim", "kl", "emd"])
def test_a_map_without_mass_is_undefined_and_a_constant_one_is_the_uniform_density(name: str) -> None:
    maps, targets = batch()[0], batch(seed=1)[0]
    uniform = torch.ones_like(maps)
    assert torch.isfinite(OF_TWO_MAPS[name](uniform, targets)).all()
    maps[2] = 0.0
    assert torch.isnan(OF_TWO_MAPS[name](maps, targets)).tolist() == [False, False, True, False]
    assert torch.isnan(OF_TWO_MAPS[name](targets, maps)).tolist() == [False, False, True, False]


def test_judd_is_undefined_where_every_pixel_is_fixated_and_shuffled_without_negatives() -> None:
    maps = batch(n_images=1, height=2, width=2)[0]
    fixations = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])
    assert torch.isnan(saliency.auc_judd(maps, fixations)).all()
    assert torch.isnan(saliency.auc_shuffled(maps, fixations)).all()
    assert torch.isnan(saliency.auc_shuffled(maps, fixations, fixations[:0])).all()


# -- precision, independence, types


@pytest.mark.parametrize("name", AT_FIXATIONS)
def test_each_image_scores_the_same_alone_as_in_a_batch_whatever_the_order_of_the_rows(name: str) -> None:
    maps, fixations = batch()
    scores = AT_FIXATIONS[name](maps, fixations)
    torch.testing.assert_close(AT_FIXATIONS[name](maps, fixations.flip(0)), scores)
    if name == "auc_shuffled":
        return
    for image in range(len(maps)):
        own = fixations[fixations[:, 0] == image] * torch.tensor([0, 1, 1])
        assert torch.equal(AT_FIXATIONS[name](maps[image : image + 1], own), scores[image : image + 1])


@pytest.mark.parametrize("name", OF_TWO_MAPS)
def test_each_pair_scores_the_same_alone_as_in_a_batch(name: str) -> None:
    maps, targets = batch()[0], batch(seed=1)[0]
    alone = [OF_TWO_MAPS[name](maps[i : i + 1], targets[i : i + 1]) for i in range(len(maps))]
    assert torch.equal(OF_TWO_MAPS[name](maps, targets), torch.cat(alone))


def test_a_great_offset_changes_neither_nss_nor_cc() -> None:
    maps, fixations = batch()
    targets = batch(seed=1)[0]
    for offset in (1e3, -1e6, 1e8):
        torch.testing.assert_close(
            saliency.nss(maps + offset, fixations), saliency.nss(maps, fixations), rtol=0, atol=1e-6
        )
        torch.testing.assert_close(
            saliency.cc(maps + offset, targets - offset), saliency.cc(maps, targets), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_lower_precision_scores_as_the_same_values_in_float64(dtype: torch.dtype) -> None:
    maps, fixations = batch()
    maps, targets = maps.to(dtype), batch(seed=1)[0].to(dtype)
    for score in AT_FIXATIONS.values():
        torch.testing.assert_close(score(maps, fixations), score(maps.double(), fixations), rtol=0, atol=1e-6)
    for pair in OF_TWO_MAPS.values():
        assert pair(maps, targets).dtype == torch.float64
        torch.testing.assert_close(pair(maps, targets), pair(maps.double(), targets.double()), rtol=0, atol=1e-6)
        torch.testing.assert_close(pair(maps, targets.double()), pair(maps, targets), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_rows_of_any_integers_count_alike(dtype: torch.dtype) -> None:
    maps, fixations = batch(n_images=257, height=20, width=20, n_fixations=900)
    fixations = fixations[fixations[:, 0] < 256]
    for score in AT_FIXATIONS.values():
        torch.testing.assert_close(
            score(maps, fixations.to(dtype)), score(maps, fixations), rtol=0, atol=0, equal_nan=True
        )


def test_transposed_and_expanded_maps_score_as_their_copies() -> None:
    maps, fixations = batch()
    turned = maps.mT.contiguous().mT
    torch.testing.assert_close(saliency.nss(turned, fixations), saliency.nss(maps, fixations))
    assert torch.equal(saliency.auc_judd(turned, fixations), saliency.auc_judd(maps, fixations))
    one = maps[:1].expand(4, -1, -1)
    assert torch.equal(saliency.auc_uniform(one, fixations), saliency.auc_uniform(one.contiguous(), fixations))


def test_an_empty_batch_has_no_scores() -> None:
    maps, fixations = torch.zeros(0, 3, 4), torch.zeros(0, 3, dtype=torch.int64)
    for score in AT_FIXATIONS.values():
        assert score(maps, fixations).shape == (0,)
    for pair in OF_TWO_MAPS.values():
        assert pair(maps, maps).shape == (0,)


# -- what is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_refused_by_every_metric_naming_the_image(bad: float) -> None:
    maps, fixations = batch()
    good = maps.clone()
    maps[2, 5, 7] = bad
    for score in AT_FIXATIONS.values():
        with pytest.raises(ValueError, match="maps: image 2 has NaN"):
            score(maps, fixations)
    for pair in OF_TWO_MAPS.values():
        with pytest.raises(ValueError, match="maps: image 2 has NaN"):
            pair(maps, good)
        with pytest.raises(ValueError, match="targets: image 2 has NaN"):
            pair(good, maps)
    with pytest.raises(ValueError, match="maps: image 2 has NaN"):
        saliency.as_log_density(maps)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param([[0, 23, 0]], "y of row 0 is 23, not in 0..22", id="below_the_picture"),
        pytest.param([[0, 0, 0], [0, 0, 37]], "x of row 1 is 37, not in 0..36", id="right_of_the_picture"),
        pytest.param([[0, -1, 0]], "y of row 0 is -1", id="negative"),
        pytest.param([[4, 0, 0]], "image of row 0 is 4, not in 0..3", id="no_such_image"),
        pytest.param([[0, 0]], r"must have shape \(N, 3\)", id="two_columns"),
        pytest.param([[0.0, 1.0, 2.0]], "must be integers", id="floating_point"),
    ],
)
def test_fixations_that_do_not_fit_raise_value_error(rows: list[list[float]], message: str) -> None:
    maps, fixations = batch()
    with pytest.raises(ValueError, match="fixations.*" + message):
        saliency.nss(maps, torch.tensor(rows))
    with pytest.raises(ValueError, match="negatives.*" + message):
        saliency.auc_shuffled(maps, fixations, torch.tensor(rows))


def test_maps_and_settings_that_do_not_fit_raise_value_error() -> None:
    maps, fixations = batch()
    with pytest.raises(ValueError, match=r"maps must have shape \(B, H, W\)"):
        saliency.nss(maps[0], fixations)
    with pytest.raises(ValueError, match="maps must be floating point"):
        saliency.auc_uniform(maps.to(torch.uint8), fixations)
    with pytest.raises(ValueError, match="differ in shape"):
        saliency.cc(maps, maps[:, 1:])
    with pytest.raises(ValueError, match="eps must be positive"):
        saliency.kl(maps, maps, eps=0.0)
    with pytest.raises(ValueError, match="splits must be at least 1"):
        saliency.auc_borji(maps, fixations, seed=0, splits=0)
    with pytest.raises(ValueError, match="longest_px must be at least 1"):
        saliency.emd(maps, maps, longest_px=0)
    with pytest.raises(ValueError, match=r"uniform_share must be in 0\.\.1"):
        saliency.as_log_density(maps, uniform_share=1.5)
