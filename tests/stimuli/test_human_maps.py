# SPDX-License-Identifier: Apache-2.0
"""Human maps: each recipe against a second way to compute it, corners, the grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.ndimage

from gazeray.config import ConfigError, validate
from gazeray.stimuli.human_maps import draw_target, map_target
from gazeray.stimuli.readers import Gaze
from gazeray.stimuli.recipes import TargetConfig

SIZE = (48, 64)


def gaze_at(points: object) -> Gaze:
    """points: (N, 2) of x, y."""
    xy = np.array(points, dtype=np.float32).reshape(-1, 2)
    return Gaze(xy[:, 0], xy[:, 1], np.zeros(len(xy), np.int32))


def some_gaze(n: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Gaze:
    return gaze_at(np.random.default_rng(seed).uniform(0, (size[1], size[0]), (n, 2)))


def area_mean(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Mean over blocks that divide the size."""
    height, width = (side // cells for side, cells in zip(values.shape, grid, strict=True))
    return values.reshape(grid[0], height, grid[1], width).mean((1, 3))


def test_gaussian_is_the_sum_of_gaussians_averaged_over_each_cell() -> None:
    gaze, grid, fine = some_gaze(7), (12, 16), 20
    y = (np.arange(SIZE[0] * fine) + 0.5) / fine
    x = (np.arange(SIZE[1] * fine) + 0.5) / fine
    drawn = np.zeros((len(y), len(x)))
    for place_x, place_y in zip(gaze.x_px, gaze.y_px, strict=True):
        drawn += np.exp(-((y[:, None] - place_y) ** 2 + (x[None] - place_x) ** 2) / (2 * 5.0**2))
    expected = area_mean(drawn, grid)
    found = draw_target(gaze, SIZE, grid, TargetConfig(sigma_px=5.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-4)


def test_salicon_recipe_agrees_with_scipy_and_ignores_repeats() -> None:
    size, grid = (480, 640), (120, 160)
    gaze = some_gaze(40, size)
    fixated = np.zeros(size)
    for x, y in zip(gaze.x_px, gaze.y_px, strict=True):
        fixated[int(y), int(x)] = 1
    blurred = scipy.ndimage.gaussian_filter(fixated, 19.0, truncate=4.0, mode="reflect")
    expected = area_mean(blurred - blurred.min(), grid)
    found = draw_target(gaze, size, grid, TargetConfig(recipe="salicon"))
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)
    twice = Gaze(*(np.concatenate([part, part[:5]]) for part in (gaze.x_px, gaze.y_px, gaze.observer)))
    np.testing.assert_array_equal(draw_target(twice, size, grid, TargetConfig(recipe="salicon")), found)


def test_salicon_sigma_goes_with_the_height() -> None:
    config = TargetConfig(recipe="salicon")
    assert (config.sigma_of(480), config.sigma_of(960)) == (19.0, 38.0)


def test_published_recipe_agrees_with_counts_of_one_based_rows_and_columns() -> None:
    size, rng = (480, 640), np.random.default_rng(4)
    rows, columns = rng.integers(1, 481, 300), rng.integers(1, 641, 300)
    counts = np.zeros((256, 256))
    for row, column in zip(rows, columns, strict=True):
        counts[min(int((row - 1) * 256 / 480), 255), min(int((column - 1) * 256 / 640), 255)] += 1
    radius = 4 * 10
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / 200.0)
    weights /= weights.sum()
    for axis in (0, 1):
        counts = scipy.ndimage.correlate1d(counts, weights, axis, mode="mirror")
    found = draw_target(
        gaze_at(np.stack([columns - 0.5, rows - 0.5], 1)), size, (256, 256), TargetConfig(recipe="published")
    )
    np.testing.assert_allclose(found, counts / counts.max(), atol=1e-4)


@pytest.mark.parametrize("recipe", ["gaussian", "salicon", "published"])
@pytest.mark.parametrize(
    ("x", "y", "corner"), [(0, 0, (0, 0)), (63.9, 0, (0, 31)), (0, 47.9, (23, 0)), (63, 47, (23, 31))]
)
def test_fixation_in_corner_lands_in_corner(recipe: str, x: float, y: float, corner: tuple[int, int]) -> None:
    config = validate(TargetConfig, {"recipe": recipe})
    found = draw_target(gaze_at([[x, y]]), SIZE, (24, 32), config)
    assert np.unravel_index(found.argmax(), found.shape) == corner
    assert found.max() == 1.0
    assert found[23 - corner[0], 31 - corner[1]] < 0.05


def test_grid_as_large_as_the_picture_peaks_at_the_fixated_pixel() -> None:
    found = draw_target(gaze_at([[30.5, 10.5]]), SIZE, SIZE, TargetConfig(sigma_px=2.0))
    assert np.unravel_index(found.argmax(), found.shape) == (10, 30)
    np.testing.assert_allclose(found[10, 28], np.exp(-0.5), atol=0.02)


@pytest.mark.parametrize(
    ("values", "sigma_px"),
    [({"sigma_px": 24.0}, 24.0), ({"sigma_deg": 1.5}, 36.0), ({}, 24.0), ({"sigma_deg": 1}, 24.0)],
)
def test_sigma_is_in_px_or_deg_or_a_share_of_the_height(values: dict[str, float], sigma_px: float) -> None:
    assert validate(TargetConfig, values).sigma_of(600, px_per_deg=24.0) == sigma_px


def test_sigma_in_deg_needs_the_px_per_deg() -> None:
    with pytest.raises(ValueError, match="px_per_deg"):
        draw_target(some_gaze(2), SIZE, (12, 16), TargetConfig(sigma_deg=1.0))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sigma_px": 3, "sigma_deg": 1}, "not both"),
        ({"recipe": "salicon", "sigma_px": 3}, "has its own sigma"),
        ({"recipe": "square"}, "'gaussian', 'salicon' or 'published'"),
        ({"sigma_px": 0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        validate(TargetConfig, values)


@pytest.mark.parametrize("points", [[], [[64.0, 5]], [[-0.01, 5]], [[3, 48.0]], [[np.nan, 3]]])
def test_nothing_to_draw_or_gaze_outside_is_an_error(points: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="fixation"):
        draw_target(gaze_at(points), SIZE, (12, 16), TargetConfig())


def test_map_is_averaged_over_each_cell_and_divided_by_its_maximum() -> None:
    values = np.random.default_rng(1).random(SIZE).astype(np.float32)
    expected = area_mean(values.astype(np.float64), (12, 16))
    np.testing.assert_allclose(map_target(values, SIZE, (12, 16)), expected / expected.max(), rtol=1e-5)
    half = cv2.resize(values, (32, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(map_target(half, SIZE, (12, 16)), expected / expected.max(), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((48, 48)), "another aspect"),
        (np.zeros(SIZE), "not all 0"),
        (np.full(SIZE, np.nan), "finite"),
        (-np.ones(SIZE), "not negative"),
        (np.ones((2, *SIZE)), r"must be \(H, W\)"),
    ],
)
def test_map_that_cannot_be_a_target_is_refused(values: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        map_target(values, SIZE, (12, 16))
