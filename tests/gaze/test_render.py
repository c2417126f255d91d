# SPDX-License-Identifier: Apache-2.0
"""Heatmaps against loops in float64, against scipy's filter on a histogram, and against what they must conserve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gazeray.gaze import render
from gazeray.gaze.render import (
    Window,
    decode,
    encode,
    heatmaps,
    pad_trials,
    sample_durations,
    sigma_px_from_deg,
)

SCREEN = Window(0, 0, 1600, 900)
Points = Sequence[tuple[float, float, float]]


def draw(points: Points, window: Window, size: tuple[int, int], sigma_px: float) -> torch.Tensor:
    """The heatmap (H, W) of one trial given as (x, y, duration) triples."""
    x, y, duration = (torch.tensor([column]) for column in zip(*points, strict=True))
    return heatmaps(x, y, duration, torch.tensor([window]), size, sigma_px)[0, 0]


def looped(points: Points, window: Window, size: tuple[int, int], sigma_px: float) -> np.ndarray:
    """The definition in float64: each point, each pixel, each axis a mean of the Gaussian by `math.erf`."""

    def mean(start: float, stop: float, centre: float) -> float:
        near, far = ((edge - centre) / (sigma_px * math.sqrt(2)) for edge in (start, stop))
        return sigma_px * math.sqrt(math.pi / 2) * (math.erf(far) - math.erf(near)) / (stop - start)

    height, width = size
    step_x, step_y = window.width_px / width, window.height_px / height
    picture = np.zeros(size)
    for x, y, duration in points:
        for row in range(height):
            top = window.top_px + row * step_y
            for column in range(width):
                left = window.left_px + column * step_x
                picture[row, column] += duration * mean(left, left + step_x, x) * mean(top, top + step_y, y)
    return picture


def random_points(rng: np.random.Generator, n: int, window: Window, margin_px: float) -> Points:
    """Gaze in and around a window, in numbers that float32 holds exactly."""
    x = rng.uniform(window.left_px - margin_px, window.left_px + window.width_px + margin_px, n)
    y = rng.uniform(window.top_px - margin_px, window.top_px + window.height_px + margin_px, n)
    values = np.stack([x, y, rng.uniform(50, 500, n)], axis=1).astype(np.float32)
    return [(float(a), float(b), float(c)) for a, b, c in values]


def peak(picture: torch.Tensor) -> tuple[int, int]:
    row, column = divmod(int(picture.argmax()), picture.shape[1])
    return row, column


@pytest.mark.parametrize(
    ("x_px", "y_px", "corner"),
    [
        pytest.param(305, 205, (0, 0), id="top_left"),
        pytest.param(1095, 205, (0, 39), id="top_right"),
        pytest.param(305, 395, (9, 0), id="bottom_left"),
        pytest.param(1095, 395, (9, 39), id="bottom_right"),
    ],
)
def test_fixation_in_corner_lands_in_corner(x_px: float, y_px: float, corner: tuple[int, int]) -> None:
    window = Window(left_px=300, top_px=200, width_px=800, height_px=200)
    picture = draw([(x_px, y_px, 200.0)], window, (10, 40), 15.0)
    assert picture.shape == (10, 40)
    assert peak(picture) == corner


def test_picture_is_not_transposed() -> None:
    points = [(float(x), 450.0, 100.0) for x in range(200, 1400, 50)]
    picture = draw(points, SCREEN, (40, 40), 20.0)
    rows, columns = (int((picture.sum(axis) > 0.05 * picture.sum(axis).max()).sum()) for axis in (1, 0))
    assert columns > 4 * rows


def test_lone_fixation_far_from_edges_peaks_at_its_duration() -> None:
    picture = draw([(801.0, 451.0, 200.0)], SCREEN, (450, 800), 40.0)
    assert float(picture.max()) == pytest.approx(200, rel=1e-3)
    assert peak(picture) == (225, 400)


@pytest.mark.parametrize("size", [(450, 800), (90, 160), (9, 160), (9, 16)])
def test_sum_times_pixel_area_is_the_duration_at_every_size(size: tuple[int, int]) -> None:
    sigma_px, points = 40.0, [(700.0, 400.0, 200.0), (900.0, 500.0, 350.0)]
    picture = draw(points, SCREEN, size, sigma_px).double()
    area_px2 = SCREEN.width_px / size[1] * SCREEN.height_px / size[0]
    assert float(picture.sum()) * area_px2 / (2 * math.pi * sigma_px**2) == pytest.approx(550, rel=1e-4)


@pytest.mark.parametrize(("sigma_px", "margin_px"), [(4.0, 0.0), (30.0, 100.0), (2000.0, 300.0)])
def test_heatmap_equals_slow_loop(sigma_px: float, margin_px: float) -> None:
    window = Window(left_px=-20.5, top_px=130.25, width_px=900, height_px=210)
    points = random_points(np.random.default_rng(1), 40, window, margin_px)
    expected = looped(points, window, (14, 33), sigma_px)
    picture = draw(points, window, (14, 33), sigma_px)
    assert picture.dtype == torch.float32
    np.testing.assert_allclose(picture.numpy(), expected, rtol=0, atol=1e-4 * expected.max())


def test_heatmap_equals_scipy_filter_of_histogram() -> None:
    rng, window, sigma_px = np.random.default_rng(2), Window(0, 0, 480, 270), 12.0
    points = random_points(rng, 60, window, margin_px=0.0)
    histogram = np.zeros((270, 480))
    for x, y, duration in points:
        histogram[int(y), int(x)] += duration
    filtered = gaussian_filter(histogram, sigma_px, mode="constant", truncate=6) * 2 * math.pi * sigma_px**2
    expected = filtered.reshape(27, 10, 48, 10).mean((1, 3))
    picture = draw(points, window, (27, 48), sigma_px).numpy()
    assert np.corrcoef(picture.ravel(), expected.ravel())[0, 1] >= 0.99
    np.testing.assert_allclose(picture, expected, rtol=0, atol=0.03 * expected.max())


def test_gaze_outside_adds_only_the_tail_that_reaches_in() -> None:
    window = Window(100, 100, 400, 300)
    near, far = (draw([(x, 250.0, 200.0)], window, (30, 40), 20.0) for x in (90.0, -2000.0))
    np.testing.assert_allclose(near.numpy(), looped([(90.0, 250.0, 200.0)], window, (30, 40), 20.0), rtol=0, atol=1e-3)
    assert peak(near)[1] == 0
    assert float(far.abs().max()) == 0


def test_windows_and_sigmas_are_per_trial() -> None:
    rng = np.random.default_rng(3)
    windows = [Window(0, 0, 800, 600), Window(100.5, 50, 300, 700), Window(-50, 20, 1920, 1080)]
    sigmas_px = [10.0, 45.0, 30.0]
    trials = [random_points(rng, 20, window, margin_px=30.0) for window in windows]
    x, y, duration = (torch.tensor([[point[axis] for point in trial] for trial in trials]) for axis in range(3))
    pictures = heatmaps(x, y, duration, torch.tensor(windows), (12, 17), torch.tensor(sigmas_px))
    assert pictures.shape == (3, 1, 12, 17)
    for picture, trial, window, sigma_px in zip(pictures[:, 0], trials, windows, sigmas_px, strict=True):
        expected = looped(trial, window, (12, 17), sigma_px)
        np.testing.assert_allclose(picture.numpy(), expected, rtol=0, atol=1e-4 * expected.max())


def test_padding_lost_and_weightless_gaze_add_nothing() -> None:
    kept, nan, inf = (400.0, 300.0, 200.0), math.nan, math.inf
    absent = [(nan, 300.0, 9.0), (400.0, nan, 9.0), (400.0, 300.0, 0.0), (400.0, 300.0, nan), (inf, -inf, 9.0)]
    assert torch.equal(draw([absent[0], kept, *absent[1:]], SCREEN, (18, 32), 30.0), draw([kept], SCREEN, (18, 32), 30))
    assert not draw(absent, SCREEN, (18, 32), 30.0).any()


def test_trials_without_gaze_are_zero() -> None:
    empty = torch.empty(2, 0)
    window = torch.tensor([SCREEN, SCREEN])
    assert torch.equal(heatmaps(empty, empty, empty, window, (4, 6), 30.0), torch.zeros(2, 1, 4, 6))
    none = torch.empty(0, 5)
    assert heatmaps(none, none, none, torch.zeros(0, 4), (4, 6), 30.0).shape == (0, 1, 4, 6)


@pytest.mark.parametrize("chunk_values", [1, 100, 1000])
def test_chunks_do_not_change_the_picture(monkeypatch: pytest.MonkeyPatch, chunk_values: int) -> None:
    rng = np.random.default_rng(4)
    trials = [np.array(random_points(rng, n, SCREEN, 0.0)).reshape(-1, 3) for n in (0, 7, 30, 3, 0, 12)]
    x, y, duration = (pad_trials([trial[:, axis] for trial in trials]) for axis in range(3))
    window = torch.tensor([SCREEN] * len(trials))
    whole = heatmaps(x, y, duration, window, (9, 16), 40.0)
    monkeypatch.setattr(render, "CHUNK_VALUES", chunk_values)
    assert torch.allclose(heatmaps(x, y, duration, window, (9, 16), 40.0), whole, rtol=1e-5, atol=1e-3)
    for index, trial in enumerate(trials):
        expected = looped([tuple(point) for point in trial.tolist()], SCREEN, (9, 16), 40.0)
        np.testing.assert_allclose(whole[index, 0].numpy(), expected, rtol=0, atol=1e-4 * max(expected.max(), 1))


@pytest.mark.parametrize("chunk_values", [40, 170, 10_000])
def test_chunks_hold_each_point_once_and_stay_within_the_bound(
    monkeypatch: pytest.MonkeyPatch, chunk_values: int
) -> None:
    monkeypatch.setattr(render, "CHUNK_VALUES", chunk_values)
    lengths = torch.tensor([0, 7, 30, 3, 0, 12])
    present = torch.arange(40) < lengths[:, None]
    seen = torch.zeros(present.shape, dtype=torch.int64)
    for trials, points in render._chunks(present, values_per_point=10):
        seen[trials, points] += 1
        assert seen[trials, points].numel() * 10 <= chunk_values
    assert (seen[present] == 1).all()
    assert seen.max() == 1
    assert not seen[:, 30:].any()


def test_autocast_leaves_the_picture_alone() -> None:
    points = random_points(np.random.default_rng(5), 30, SCREEN, 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = draw(points, SCREEN, (9, 16), 40.0)
    assert torch.equal(picture, draw(points, SCREEN, (9, 16), 40.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"y_px": torch.zeros(2, 4)}, "one shape", id="other_length"),
        pytest.param({"x_px": torch.zeros(3)}, "one shape", id="one_dimensional"),
        pytest.param({"window": torch.ones(1, 4)}, "window must have shape", id="too_few_windows"),
        pytest.param({"window": torch.tensor([[0, 0, 0, 9.0]] * 2)}, "window must be finite", id="flat_window"),
        pytest.param({"window": torch.tensor([[math.nan, 0, 9, 9]] * 2)}, "window must be finite", id="nan_window"),
        pytest.param({"size": (0, 4)}, "size", id="no_rows"),
        pytest.param({"sigma_px": 0.0}, "sigma_px must be positive", id="sigma_zero"),
        pytest.param({"sigma_px": torch.tensor([1.0, math.nan])}, "sigma_px must be positive", id="sigma_nan"),
        pytest.param({"sigma_px": torch.ones(3)}, "sigma_px must be a number", id="too_many_sigmas"),
        pytest.param({"duration_ms": torch.full((2, 3), -1.0)}, "duration_ms", id="negative_duration"),
        pytest.param({"duration_ms": torch.full((2, 3), math.inf)}, "duration_ms", id="infinite_duration"),
    ],
)
def test_arguments_that_do_not_fit_raise_value_error(change: dict[str, object], message: str) -> None:
    gaze = {name: torch.ones(2, 3) for name in ("x_px", "y_px", "duration_ms")}
    arguments = {**gaze, "window": torch.tensor([[0, 0, 9, 9.0]] * 2), "size": (4, 4), "sigma_px": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        heatmaps(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [(0, 0, 0, 10), (0, 0, 10, -1), (math.nan, 0, 10, 10), (0, 0, math.inf, 10)])
def test_window_without_area_raises_value_error(values: tuple[float, float, float, float]) -> None:
    point = torch.ones(1, 1)
    with pytest.raises(ValueError, match="window must be finite"):
        heatmaps(point, point, point, torch.tensor([values]), (4, 4), 1.0)


def test_ragged_trials_are_padded_with_nan_at_the_end() -> None:
    padded = pad_trials([np.array([1.0, 2.0, 3.0]), np.array([]), np.array([4], dtype=np.int64)])
    expected = torch.tensor([[1, 2, 3], [math.nan] * 3, [4, math.nan, math.nan]])
    assert padded.dtype == torch.float32
    assert torch.equal(padded.nan_to_num(-1), expected.nan_to_num(-1))
    assert pad_trials([]).shape == (0, 0)


def test_two_dimensional_trial_raises_value_error() -> None:
    with pytest.raises(ValueError, match="trial 1 must be a one-dimensional array"):
        pad_trials([np.zeros(2), np.zeros((2, 2))])


def test_sample_lasts_until_the_next_at_most_the_gap() -> None:
    times_ms = np.array([0.0, 10.0, 30.0, 30.0, 1030.0, 1040.0])
    valid = np.array([True, False, True, True, True, True])
    durations_ms = sample_durations(times_ms, valid, max_gap_ms=100)
    np.testing.assert_array_equal(durations_ms, [10, 0, 0, 100, 10, 10])


def test_regular_samples_add_up_to_the_length_of_the_trial() -> None:
    durations_ms = sample_durations(np.arange(240) * (1000 / 120), np.ones(240, dtype=bool), max_gap_ms=50)
    assert durations_ms.sum() == pytest.approx(2000)


@pytest.mark.parametrize("n", [0, 1])
def test_sample_without_a_neighbour_weighs_nothing(n: int) -> None:
    np.testing.assert_array_equal(sample_durations(np.full(n, 5.0), np.ones(n, dtype=bool), 100), np.zeros(n))


@pytest.mark.parametrize(
    ("times_ms", "valid", "max_gap_ms", "message"),
    [
        pytest.param([0, 20, 10], [1, 1, 1], 100, "backwards at sample 2", id="time_backwards"),
        pytest.param([0, math.nan], [1, 1], 100, "finite", id="time_nan"),
        pytest.param([0, 1], [1], 100, "one shape", id="other_length"),
        pytest.param([0, 1], [1, 1], 0, "max_gap_ms", id="gap_zero"),
        pytest.param([0, 1], [1, 1], math.nan, "max_gap_ms", id="gap_nan"),
    ],
)
def test_bad_times_raise_value_error(times_ms: list[float], valid: list[int], max_gap_ms: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_durations(np.array(times_ms), np.array(valid, dtype=bool), max_gap_ms)


def test_uint8_is_wrong_by_at_most_half_a_step_and_saturates() -> None:
    values = torch.rand(3, 1, 20, 30, generator=torch.Generator().manual_seed(6)) * 1000
    stored = encode(values, "uint8", full_scale_ms=1000)
    assert stored.dtype == np.uint8
    assert stored.shape == (3, 1, 20, 30)
    back = decode(torch.from_numpy(stored), "uint8", full_scale_ms=1000)
    assert back.dtype == torch.float32
    assert float((back - values).abs().max()) <= 1000 / 510 + 1e-3
    assert encode(torch.tensor([0.0, 1000.0, 5000.0]), "uint8", 1000).tolist() == [0, 255, 255]


def test_float16_is_wrong_by_at_most_one_part_in_2048_and_stays_finite() -> None:
    values = 10 ** (torch.rand(2000, generator=torch.Generator().manual_seed(7)) * 8 - 4)
    stored = encode(values, "float16", full_scale_ms=1000)
    assert stored.dtype == np.float16
    back = decode(torch.from_numpy(stored), "float16", full_scale_ms=1000)
    assert back.dtype == torch.float32
    assert float(((back - values).abs() / values).max()) <= 1 / 2048
    assert encode(torch.tensor([1e6]), "float16", 1000).tolist() == [65504]


def test_storage_that_does_not_fit_raises_value_error() -> None:
    with pytest.raises(ValueError, match="uint8, float16, not 'int8'"):
        encode(torch.zeros(1), "int8", 1000)
    with pytest.raises(ValueError, match="full_scale_ms"):
        encode(torch.zeros(1), "uint8", 0)
    with pytest.raises(ValueError, match="heatmap must be finite"):
        encode(torch.tensor([math.nan]), "uint8", 1000)
    with pytest.raises(ValueError, match="must be uint8"):
        decode(torch.zeros(1), "uint8", 1000)


def test_degrees_become_pixels_by_the_exact_angle() -> None:
    assert sigma_px_from_deg(1.0, width_px=1920, width_mm=530, distance_mm=570) == pytest.approx(36.041, abs=1e-3)
    assert sigma_px_from_deg(90.0, width_px=1000, width_mm=500, distance_mm=300) == pytest.approx(1200)


@pytest.mark.parametrize("name", ["sigma_deg", "width_px", "width_mm", "distance_mm"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_geometry_that_is_not_positive_raises_value_error(name: str, value: float) -> None:
    geometry = {"sigma_deg": 1.0, "width_px": 1920.0, "width_mm": 530.0, "distance_mm": 570.0, name: value}
    with pytest.raises(ValueError, match=name):
        sigma_px_from_deg(**geometry)


def test_half_turn_raises_value_error() -> None:
    with pytest.raises(ValueError, match="below 180"):
        sigma_px_from_deg(180, 1920, 530, 570)
