# SPDX-License-Identifier: Apache-2.0
"""Baselines and ceilings against slow loops from their definitions, and against known figures of real fixations."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import multivariate_normal, norm

from gazeray.gaze.render import Window, heatmaps
from gazeray.metrics.resampling import grid_cells
from gazeray.models.fixation_density import inter_observer
from gazeray.models.fixation_density.centre_bias import (
    BANDWIDTHS,
    CELLS,
    centre_gaussian,
    centre_quarter,
    fit_centre_bias,
    mean_of_others,
    relative_counts,
    uniform,
)
from gazeray.models.fixation_density.inter_observer import gold_standard, other_observers, split_halves
from gazeray.models.fixation_density.kernels import (
    LEAST_SHARE,
    fixation_map,
    kernel_steps,
    mixture_shares,
)

SIZE, GRID = (90, 160), (18, 32)


def places(rng: np.random.Generator, n: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """x, y of n fixations about a place right of the centre and above it, px, inside the picture."""
    height, width = size
    x = np.clip(rng.normal(0.6 * width, 0.15 * width, n), 0, width - 0.01)
    return x, np.clip(rng.normal(0.4 * height, 0.12 * height, n), 0, height - 0.01)


def kernel(x: float, y: float, sigma: float, size: tuple[float, float], grid: tuple[int, int]) -> np.ndarray:
    """One Gaussian cut at the picture's edges and rescaled, (h, w)."""
    columns = np.diff(ndtr((np.linspace(0, size[1], grid[1] + 1) - x) / sigma))
    rows = np.diff(ndtr((np.linspace(0, size[0], grid[0] + 1) - y) / sigma))
    return rows[:, None] / rows.sum() * columns / columns.sum()


# -- kernels


def test_fixation_in_corner_lands_in_corner() -> None:
    for x, y, corner in ((0, 0, (0, 0)), (159.9, 0, (0, 31)), (0, 89.9, (17, 0)), (159.9, 89.9, (17, 31))):
        drawn = fixation_map([x], [y], SIZE, GRID, 4.0)
        assert np.unravel_index(drawn.argmax(), GRID) == corner
        assert tuple(grid_cells([x], [y], SIZE, GRID)[0]) == corner


def test_map_is_the_heatmap_of_equal_durations() -> None:
    x, y = places(np.random.default_rng(0), 20)
    drawn = fixation_map(x, y, SIZE, GRID, 7.0)
    x_px, y_px, duration_ms = (torch.from_numpy(value)[None] for value in (x, y, np.ones(20)))
    window = torch.tensor([Window(0, 0, 160, 90)])
    expected = heatmaps(x_px, y_px, duration_ms, window, GRID, 7.0)[0, 0].numpy()
    pixel_area = 25.0
    np.testing.assert_allclose(drawn, expected * pixel_area / (2 * np.pi * 49), atol=1e-6)


def test_mass_of_a_kernel_is_its_integral_over_the_pixel() -> None:
    fine = (np.arange(400_000) + 0.5) / 40_000  # 0 .. 10
    density = norm.pdf(fine, 1.5, 2.0).reshape(5, -1).mean(axis=1) * 2
    np.testing.assert_allclose(kernel_steps([1.5], 2.0, 10.0, 5, inside=False)[0], density, rtol=1e-6)
    np.testing.assert_allclose(kernel_steps([1.5], 2.0, 10.0, 5, inside=True)[0], density / density.sum(), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.inf, np.nan])
def test_sigma_that_is_not_positive_raises(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be positive and finite"):
        fixation_map([3.0], [3.0], SIZE, GRID, sigma)


def test_shares_of_a_mixture_are_the_most_likely_ones() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.gamma(1.0, 1.0, (2, 200, 3)), rng.integers(0, 3, (2, 200)).astype(float)
    values[0, :, 0] *= 1.5
    shares, likelihood = mixture_shares(values, weights)
    for fit in range(2):
        repeated = np.repeat(values[fit], weights[fit].astype(int), axis=0)
        steps = np.arange(0, 1.0001, 0.01)
        grid = [(a, b, 1 - a - b) for a, b in itertools.product(steps, steps) if a + b <= 1]
        tried = np.log(repeated @ np.array(grid).T + 1e-300).mean(axis=0)
        assert likelihood[fit] > tried.max() - 1e-4
        np.testing.assert_allclose(shares[fit], grid[tried.argmax()], atol=0.03)
    np.testing.assert_allclose(shares.sum(axis=-1), 1)


def test_useless_part_of_a_mixture_keeps_its_least_share() -> None:
    values = np.stack([np.ones(50), np.full(50, 1e-9)], axis=1)
    shares, _ = mixture_shares(values, np.ones(50))
    assert shares[1] == pytest.approx(LEAST_SHARE, rel=0.2)
    with pytest.raises(ValueError, match="no fixation"):
        mixture_shares(values, np.zeros(50))


# -- other pictures


@pytest.mark.parametrize(
    "density",
    [
        pytest.param(lambda counts: uniform(GRID), id="uniform"),
        pytest.param(lambda counts: centre_quarter(GRID), id="centre_quarter"),
        pytest.param(lambda counts: centre_gaussian(counts, GRID), id="centre_gaussian"),
        pytest.param(lambda counts: fit_centre_bias(np.stack([counts] * 3))[0].log_density(counts, GRID), id="bias"),
    ],
)
def test_density_sums_to_one(density: Callable[[np.ndarray], np.ndarray]) -> None:
    log_density = density(relative_counts(*places(np.random.default_rng(2), 100), SIZE))
    assert log_density.shape == GRID
    assert np.exp(log_density).sum() == pytest.approx(1)


def test_centre_gaussian_has_mean_and_spread_of_the_other_fixations() -> None:
    x, y = places(np.random.default_rng(3), 500)
    got = centre_gaussian(relative_counts(x, y, SIZE), (80, 120))
    columns, rows = np.meshgrid((np.arange(120) + 0.5) / 120, (np.arange(80) + 0.5) / 80)
    model = multivariate_normal([(x / 160).mean(), (y / 90).mean()], np.diag([(x / 160).var(), (y / 90).var()]))
    expected = model.logpdf(np.stack([columns, rows], axis=-1))
    np.testing.assert_allclose(got, expected - np.log(np.exp(expected).sum()), atol=0.1)
    with pytest.raises(ValueError, match="the same x"):
        centre_gaussian(relative_counts(np.full(5, 20.0), y[:5], SIZE), GRID)


def test_mean_of_others_is_the_map_of_their_moved_fixations() -> None:
    rng = np.random.default_rng(4)
    own, small, wide = places(rng, 30), places(rng, 40, (45, 80)), places(rng, 50, (100, 400))
    counts = [relative_counts(*own, SIZE), relative_counts(*small, (45, 80)), relative_counts(*wide, (100, 400))]
    got = mean_of_others(sum(counts) - counts[0], SIZE, GRID, 8.0)
    x = np.concatenate([small[0] * 2, wide[0] * 160 / 400])
    y = np.concatenate([small[1] * 2, wide[1] * 90 / 100])
    expected = fixation_map(x, y, SIZE, GRID, 8.0) / 90
    np.testing.assert_allclose(got, expected, atol=0.01 * expected.max())


def test_nobody_looked_at_any_other_picture_raises() -> None:
    nothing = np.zeros((CELLS, CELLS), dtype=np.int64)
    with pytest.raises(ValueError, match="no fixation on any other picture"):
        mean_of_others(nothing, SIZE, GRID, 8.0)
    with pytest.raises(ValueError, match="three groups"):
        fit_centre_bias(np.stack([relative_counts([3.0], [3.0], SIZE)] * 2 + [nothing]))


def slow_centre_bias(groups: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Bandwidth and uniform share that suit these groups when each is left out in turn, by loops; relative x, y."""
    found = []
    for bandwidth in BANDWIDTHS:
        values = []
        for left_out, (x, y) in enumerate(groups):
            rest = [group for g, group in enumerate(groups) if g != left_out]
            density = np.zeros((CELLS, CELLS))
            for ox, oy in zip(*(np.concatenate(values) for values in zip(*rest, strict=True)), strict=True):
                density += kernel(ox, oy, bandwidth, (1, 1), (CELLS, CELLS))
            density /= sum(len(group[0]) for group in rest)
            values += list(density[(y * CELLS).astype(int), (x * CELLS).astype(int)])
        shares = np.arange(0.001, 0.999, 0.001)
        likelihood = np.log((1 - shares) * np.array(values)[:, None] + shares / CELLS**2).mean(axis=0)
        found.append((likelihood.max(), bandwidth, shares[likelihood.argmax()]))
    return max(found)[1:]


def test_centre_bias_is_fitted_to_the_other_groups_by_likelihood() -> None:
    rng = np.random.default_rng(5)
    groups = [places(rng, n) for n in (25, 15, 20, 12)]
    groups[1] = (rng.uniform(0, 160, 15), rng.uniform(0, 90, 15))
    fitted = fit_centre_bias(np.stack([relative_counts(x, y, SIZE) for x, y in groups]))
    for g in (0, 1):
        bandwidth, share = slow_centre_bias([(x / 160, y / 90) for k, (x, y) in enumerate(groups) if k != g])
        assert fitted[g].bandwidth == bandwidth
        assert fitted[g].uniform_share == pytest.approx(share, abs=0.02)
    assert fitted[0].uniform_share > 3 * fitted[1].uniform_share, "the group that looks anywhere"


def test_centre_bias_of_a_group_does_not_depend_on_its_own_fixations() -> None:
    rng = np.random.default_rng(6)
    counts = np.stack([relative_counts(*places(rng, 30), SIZE) for _ in range(4)])
    before = fit_centre_bias(counts)
    counts[2] = relative_counts(rng.uniform(0, 160, 300), rng.uniform(0, 90, 300), SIZE)
    after = fit_centre_bias(counts)
    assert after[2].bandwidth == before[2].bandwidth
    assert after[2].uniform_share == pytest.approx(before[2].uniform_share, rel=1e-9)
    assert after[0] != before[0]


# -- other observers


def trial(rng: np.random.Generator, observers: int, each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixations of several observers on three common places, some anywhere: x, y, observer (numbered 3, 5, 7 ..)."""
    n = observers * each
    centres = np.array([[30, 20], [120, 30], [90, 75]])[rng.integers(0, 3, n)]
    x, y = np.clip(centres + rng.normal(0, 5, (n, 2)), 0, [159, 89]).T
    anywhere = rng.random(n) < 0.15
    x[anywhere], y[anywhere] = rng.uniform(0, 160, anywhere.sum()), rng.uniform(0, 90, anywhere.sum())
    return x, y, np.repeat(np.arange(observers) * 2 + 3, each)


def slow_gold_standard(
    x: np.ndarray, y: np.ndarray, who: np.ndarray, left_out: int, prior: np.ndarray, bandwidths: list[float]
) -> tuple[np.ndarray, float]:
    """The gold standard for one observer, by loops and a general optimiser: density (h, w) and bandwidth."""

    def kde(keep: np.ndarray, sigma: float) -> np.ndarray:
        return np.mean([kernel(x[i], y[i], sigma, SIZE, GRID) for i in np.flatnonzero(keep)], axis=0)

    others = who != left_out
    found = []
    for sigma in bandwidths:
        rows = []
        for o in np.unique(who[others]):
            density = kde(others & (who != o), sigma)
            for i in np.flatnonzero(who == o):
                at = int(y[i] / 90 * GRID[0]), int(x[i] / 160 * GRID[1])
                rows.append([density[at], np.exp(prior[at]), 1 / (GRID[0] * GRID[1])])
        values = np.array(rows)

        def loss(free: np.ndarray, values: np.ndarray = values) -> float:
            shares = LEAST_SHARE + (1 - 3 * LEAST_SHARE) * np.exp(free) / np.exp(free).sum()
            return float(-np.log(values @ shares).mean())

        result = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8})
        found.append((float(result.fun), sigma, result.x))
    _, sigma, free = min(found, key=lambda candidate: candidate[0])
    shares = LEAST_SHARE + (1 - 3 * LEAST_SHARE) * np.exp(free) / np.exp(free).sum()
    return shares[0] * kde(others, sigma) + shares[1] * np.exp(prior) + shares[2] / (GRID[0] * GRID[1]), sigma


def try_bandwidths(monkeypatch: pytest.MonkeyPatch, bandwidths_px: list[float]) -> None:
    """Let the gold standard try these, px of a picture of SIZE."""
    monkeypatch.setattr(inter_observer, "BANDWIDTHS", tuple(px / max(SIZE) for px in bandwidths_px))


def test_gold_standard_is_the_most_likely_mixture_of_the_other_observers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, who = trial(np.random.default_rng(7), 5, 6)
    prior, bandwidths = centre_quarter(GRID), [3.0, 5.0, 8.0, 14.0]
    try_bandwidths(monkeypatch, bandwidths)
    gold = gold_standard(x, y, who, SIZE, GRID, prior)
    assert gold is not None
    assert gold.observers.tolist() == [3, 5, 7, 9, 11]
    for row, observer in ((0, 3), (3, 9)):
        expected, sigma = slow_gold_standard(x, y, who, observer, prior, bandwidths)
        assert gold.bandwidth_px[row] == pytest.approx(sigma)
        np.testing.assert_allclose(np.exp(gold.log_density[row]), expected, atol=0.01 * expected.max())
        assert np.exp(gold.log_density[row]).sum() == pytest.approx(1)


def test_own_fixations_decide_nothing() -> None:
    rng = np.random.default_rng(8)
    x, y, who = trial(rng, 4, 8)
    before = gold_standard(x, y, who, SIZE, GRID, uniform(GRID))
    drawn_before = other_observers(x, y, who, SIZE, GRID, 6.0)
    x[who == 5], y[who == 5] = rng.uniform(0, 160, 8), rng.uniform(0, 90, 8)
    after = gold_standard(x, y, who, SIZE, GRID, uniform(GRID))
    drawn_after = other_observers(x, y, who, SIZE, GRID, 6.0)
    assert before is not None
    assert after is not None
    assert drawn_before is not None
    assert drawn_after is not None
    np.testing.assert_allclose(after.log_density[1], before.log_density[1], atol=1e-9)
    np.testing.assert_allclose(drawn_after[1][1], drawn_before[1][1], atol=1e-12)
    assert np.abs(after.log_density[0] - before.log_density[0]).max() > 0.1


def test_observers_who_agree_get_a_greater_kernel_share_than_those_who_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    x, y, who = trial(rng, 8, 10)
    agree = gold_standard(x, y, who, SIZE, GRID, centre_quarter(GRID))
    shuffled = rng.uniform(0, 160, 80), rng.uniform(0, 90, 80)
    try_bandwidths(monkeypatch, [3.0, 5.0, 8.0])
    differ = gold_standard(*shuffled, who, SIZE, GRID, centre_quarter(GRID))
    assert agree is not None
    assert differ is not None
    assert agree.shares[:, 0].min() > 0.6
    assert differ.shares[:, 0].max() < 0.4


def test_one_observer_with_thousands_of_fixations_leaves_the_others_judged() -> None:
    rng = np.random.default_rng(10)
    x, y = places(rng, 3004)
    who = np.zeros(3004, dtype=np.int64)
    who[[1, 2]], who[[1501, 1502]] = 1, 2
    gold = gold_standard(x, y, who, SIZE, GRID, centre_quarter(GRID))
    assert gold is not None
    assert np.isfinite(gold.log_density).all()


def test_centre_bias_of_another_grid_raises() -> None:
    x, y, who = trial(np.random.default_rng(13), 3, 2)
    with pytest.raises(ValueError, match="the grid's shape"):
        gold_standard(x, y, who, SIZE, GRID, uniform((18, 31)))


def test_other_observers_are_drawn_without_oneself() -> None:
    x, y, who = trial(np.random.default_rng(11), 3, 5)
    drawn = other_observers(x, y, who, SIZE, GRID, 6.0)
    assert drawn is not None
    for observer, got in zip(*drawn, strict=True):
        keep = who != observer
        np.testing.assert_allclose(got, fixation_map(x[keep], y[keep], SIZE, GRID, 6.0), atol=1e-12)


def test_too_few_observers_have_no_ceiling() -> None:
    x, y, who = trial(np.random.default_rng(12), 2, 4)
    assert gold_standard(x, y, who, SIZE, GRID, uniform(GRID)) is None
    assert other_observers(x, y, who, SIZE, GRID, 6.0) is not None
    assert other_observers(x[:4], y[:4], who[:4], SIZE, GRID, 6.0) is None
    assert split_halves(who[:4], 5, seed=0) == []
    assert split_halves(who[:0], 5, seed=0) == []


def test_halves_are_balanced_seeded_and_complete() -> None:
    who = np.repeat([4, 8, 15, 16, 23], [3, 1, 2, 5, 4])
    halves = split_halves(who, 40, seed=1)
    sizes = [len(set(who[first])) for first, _ in halves]
    assert set(sizes) == {2, 3}
    for first, second in halves:
        assert not set(who[first]) & set(who[second])
        assert sorted([*first, *second]) == list(range(15))
    again, other = split_halves(who, 40, seed=1), split_halves(who, 40, seed=2)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(halves, again, strict=True))
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(halves, other, strict=True))


# -- real fixations


def scores(values: np.ndarray, cells: np.ndarray) -> tuple[float, float]:
    """AUC against all pixels (half credit for ties) and NSS of one map."""
    at, ranked = values[cells[:, 0], cells[:, 1]], np.sort(values, axis=None)
    below = (np.searchsorted(ranked, at, "left") + np.searchsorted(ranked, at, "right")) / 2
    return float((below / values.size).mean()), float(((at - values.mean()) / values.std()).mean())


@pytest.mark.real
def test_baselines_and_ceilings_meet_the_known_figures_of_osie(real_data: Path) -> None:
    folder, size, grid = real_data / "saliency_osie", (600, 800), (150, 200)
    names = {path.name for path in (folder / "stimuli").iterdir()}
    gaze: dict[str, list[list[float]]] = {}
    with gzip.open(folder / "fixations.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["image"] in names:
                gaze.setdefault(row["image"], []).append([float(row[k]) for k in ("x_px", "y_px", "observer")])
    pictures = [np.array(rows).T for _, rows in sorted(gaze.items())]
    counts = np.stack([relative_counts(x, y, size) for x, y, _ in pictures])
    fold, total = np.arange(len(pictures)) % 5, counts.sum(axis=0)
    bias = fit_centre_bias(np.stack([counts[fold == k].sum(axis=0) for k in range(5)]))
    table: dict[str, list[tuple[float, float]]] = {}
    gain = []
    for k, (x, y, who) in enumerate(pictures):
        cells, prior = grid_cells(x, y, size, grid), bias[fold[k]].log_density(total - counts[k], grid)
        table.setdefault("quarter", []).append(scores(np.exp(centre_quarter(grid)), cells))
        table.setdefault("mean", []).append(scores(mean_of_others(total - counts[k], size, grid, 24.0), cells))
        drawn, gold = other_observers(x, y, who, size, grid, 24.0), gold_standard(x, y, who, size, grid, prior)
        assert drawn is not None
        assert gold is not None
        each = [scores(values, cells[who == o]) for o, values in zip(*drawn, strict=True)]
        table.setdefault("others", []).append((np.mean(each, axis=0)[0], np.mean(each, axis=0)[1]))
        own = gold.log_density[np.searchsorted(gold.observers, who), cells[:, 0], cells[:, 1]]
        gain.append((own - prior[cells[:, 0], cells[:, 1]]).mean() / np.log(2))
    for name, expected in {"quarter": (0.728, 0.81), "mean": (0.730, 0.82), "others": (0.930, 3.63)}.items():
        assert np.mean(table[name], axis=0) == pytest.approx(expected, abs=0.02), name
    assert np.mean(gain) == pytest.approx(2.27, abs=0.1), "bits per fixation; measured here, no published figure"
