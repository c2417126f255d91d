# SPDX-License-Identifier: Apache-2.0
"""Grids and what is brought from one to another: against fine copies, torch, and plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gazeray.metrics.resampling import (
    area_matrix,
    gaussian_matrix,
    grid_cells,
    grid_size,
    input_size,
    linear_matrix,
    on_relative_grid,
    pool_to,
    resize,
    same_aspect,
    spread_matrix,
    to_grid,
)

SIZE, GRID = (90, 160), (18, 32)


# -- sizes and places


@pytest.mark.parametrize(
    ("size", "longest", "grid"),
    [
        ((600, 800), 200, (150, 200)),
        ((800, 600), 200, (200, 150)),
        ((100, 50), 200, (100, 50)),
        ((3, 999), 100, (1, 100)),
        ((1, 400), 100, (1, 100)),
    ],
)
def test_grid_keeps_the_aspect_and_never_grows(size: tuple[int, int], longest: int, grid: tuple[int, int]) -> None:
    assert grid_size(size, longest) == grid


@pytest.mark.parametrize("size", [((0, 5), 10), ((5, 5), 0)])
def test_side_below_one_raises(size: tuple[tuple[int, int], int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        grid_size(*size)


@pytest.mark.parametrize(
    ("picture", "size"),
    [((600, 800), (384, 512)), ((800, 600), (512, 384)), ((300, 400), (300, 400)), ((20, 2000), (32, 512))],
)
def test_input_keeps_the_aspect_and_is_never_enlarged_above_32_px(
    picture: tuple[int, int], size: tuple[int, int]
) -> None:
    assert input_size(*picture, 512) == size


@pytest.mark.parametrize(
    ("map_size", "same"), [((300, 400), True), ((12, 16), True), ((300, 410), False), ((400, 300), False)]
)
def test_aspect_is_the_pictures_up_to_two_percent(map_size: tuple[int, int], same: bool) -> None:
    assert same_aspect(map_size, (600, 800)) == same


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(160.0, 5.0, id="on_the_right_edge"),
        pytest.param(5.0, -0.01, id="above"),
        pytest.param(np.nan, 5.0, id="not_a_number"),
    ],
)
def test_fixation_outside_raises_and_is_named(x: float, y: float) -> None:
    with pytest.raises(ValueError, match=r"fixation 1 at .* not inside the picture of 160 x 90 px"):
        grid_cells([3.0, x], [3.0, y], SIZE, GRID)


# -- maps


@pytest.mark.parametrize(("length", "out"), [(6, 4), (7, 3), (5, 5), (3, 8)])
def test_area_averages_equal_those_of_a_fine_copy(length: int, out: int) -> None:
    values = np.random.default_rng(0).normal(size=length)
    fine = values.repeat(out).reshape(out, length).mean(1)  # every cell split into `out`, then blocks of `length`
    np.testing.assert_allclose(area_matrix(length, out).numpy() @ values, fine, rtol=1e-12)


@pytest.mark.parametrize(("length", "out"), [(4, 10), (5, 5), (1, 3), (8, 3)])
def test_linear_interpolation_equals_torch(length: int, out: int) -> None:
    values = torch.rand(1, 1, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(values, out, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(linear_matrix(length, out) @ values[0, 0], wanted, rtol=1e-12, atol=1e-12)


def test_a_constant_map_stays_constant_at_any_size() -> None:
    for size in ((2, 9), (9, 2), (1, 1), (30, 40)):
        torch.testing.assert_close(resize(torch.full((2, 4, 5), 3.5), size), torch.full((2, *size), 3.5))


def test_pooling_averages_areas_and_leaves_small_maps_alone() -> None:
    features = torch.rand(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert pool_to(features, 8) is features
    pooled = pool_to(features, 4)  # 5 x 8 to 2 x 4 (2.5 rounds to 2): 2.5 rows and 2 columns each
    weights = np.array([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]]) / 2.5
    columns = features.numpy().reshape(2, 5, 4, 2).mean(3)
    np.testing.assert_allclose(pooled.numpy(), np.einsum("or,crw->cow", weights, columns), rtol=1e-12)


def test_arrays_take_area_means_where_they_shrink_and_are_interpolated_where_they_grow() -> None:
    values = np.random.default_rng(0).random((12, 16))
    np.testing.assert_allclose(to_grid(values, (4, 8)), values.reshape(4, 3, 8, 2).mean((1, 3)), rtol=1e-6)
    grown = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], (24, 32), mode="bilinear")
    np.testing.assert_allclose(to_grid(values, (24, 32)), grown[0, 0].numpy(), rtol=1e-4)


def test_density_on_the_relative_grid_sums_to_one_and_keeps_its_mass_in_place() -> None:
    density = np.zeros((60, 80), np.float32)
    density[:30, :40] = 1
    small = on_relative_grid(density, (6, 8))
    assert small.sum() == pytest.approx(1)
    assert small[:3, :4].sum() == pytest.approx(1)


def test_spread_resamples_then_blurs_and_rows_sum_to_one() -> None:
    sigma = torch.tensor([0.7, 2.0], dtype=torch.float64)
    spread = spread_matrix(5, 9, sigma)
    assert spread.shape == (2, 9, 5)
    torch.testing.assert_close(spread.sum(2), torch.ones(2, 9, dtype=torch.float64))
    cell = np.arange(9)
    for found, width in zip(gaussian_matrix(9, sigma).numpy(), sigma.tolist(), strict=True):
        kernel = np.exp(-((cell[:, None] - cell) ** 2) / (2 * width**2))
        np.testing.assert_allclose(found, kernel / kernel.sum(1, keepdims=True), rtol=1e-12)
