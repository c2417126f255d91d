# SPDX-License-Identifier: Apache-2.0
"""Gaze drawn as pictures: duration-weighted Gaussian heatmaps, batched on tensors, on any device.

A Gaussian is separable, so the heatmap of a trial with N gaze points is Gy^T diag(d) Gx with Gy (N, H) and Gx (N, W):
two thin matrices and one product, instead of a convolution over every pixel of the screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gazeray.gaze.clock import interval_ms, spread

CHUNK_VALUES = 2**21
"""How many values of Gx and Gy are held at once (8 MiB in float32): it bounds the memory and stays near the caches."""

STORED = {"uint8": torch.uint8, "float16": torch.float16}
"""The types in which heatmaps are kept."""


class Window(NamedTuple):
    """The region of the screen that is drawn, px, origin at the top left of the screen. It may reach off the screen."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float


@torch.no_grad()
def heatmaps(
    x_px: Tensor, y_px: Tensor, duration_ms: Tensor, window: Tensor, size: tuple[int, int], sigma_px: float | Tensor
) -> Tensor:
    """Duration-weighted Gaussian heatmaps of B trials, in ms, (B, 1, H, W) float32 on the device of `x_px`.

    The value of a picture pixel is the sum over gaze points i of

        duration_ms[i] * exp(-((x - x_px[i])^2 + (y - y_px[i])^2) / (2 sigma_px^2)),

    averaged over the area of the pixel (exactly, by the error function). The Gaussian has peak 1: a lone fixation of
    200 ms far from every edge gives about 200 at its centre when sigma is much larger than a pixel, and the sum over
    the picture times the pixel's area in screen px, divided by 2 pi sigma^2, is its duration at every picture size.
    The Gaussian is not truncated and the window is not padded: gaze outside the window adds just the tail that reaches
    in, nothing is reflected at the edges and nothing is renormalised.

    Args:
        x_px, y_px: gaze positions on the screen, px, origin top left, y down, (B, N). NaN or infinite = absent.
        duration_ms: weights, ms, (B, N), not negative. 0 or NaN = absent, so `pad_trials` may pad all three.
        window: region of the screen that is drawn, [left, top, width, height] in px for each trial, (B, 4).
        size: (H, W) of the picture; row 0 is the top of the window, column 0 its left.
        sigma_px: standard deviation of the Gaussian in screen px (the same along x and y), one for all or (B,).

    Memory beyond inputs and output stays bounded (CHUNK_VALUES). For a sigma of 0.3 to 300 pixels of the picture the
    values are within 1e-4 of the greatest one of a float64 computation, under torch's default float32 matmul
    precision; autocast changes nothing. No gradients are recorded.

    Raises ValueError: shapes that do not fit, a size below 1, a duration that is negative or infinite, a window that
    is not finite or has no area, a sigma that is not positive and finite.
    """
    height, width = size
    x, y, duration, window = (tensor.to(x_px.device, torch.float32) for tensor in (x_px, y_px, duration_ms, window))
    sigma = torch.as_tensor(sigma_px, dtype=torch.float32, device=x.device)
    _check(x, y, duration, window, size, sigma)
    left, top, width_px, height_px = window.unbind(1)
    pixel_x_px, pixel_y_px = width_px / width, height_px / height  # px of the screen in a pixel of the picture, (B,)
    present = torch.isfinite(x) & torch.isfinite(y) & (duration > 0)
    column = torch.where(present, (x - left[:, None]) / pixel_x_px[:, None], 0.0)
    row = torch.where(present, (y - top[:, None]) / pixel_y_px[:, None], 0.0)
    sigma_columns, sigma_rows = sigma / pixel_x_px, sigma / pixel_y_px
    weight = torch.where(present, duration, 0.0) * (sigma_columns * sigma_rows * (math.pi / 2))[:, None]
    maps = torch.zeros(len(x), height, width, device=x.device)
    for trials, points in _chunks(present, height + width + 2):
        across = _erf_steps(column[trials, points], sigma_columns[trials], width)
        down = _erf_steps(row[trials, points], sigma_rows[trials], height)
        down *= weight[trials, points, None]
        maps[trials].baddbmm_(down.transpose(1, 2), across)  # in place: autocast leaves it in float32
    return maps.unsqueeze(1)


def _check(x: Tensor, y: Tensor, duration: Tensor, window: Tensor, size: tuple[int, int], sigma: Tensor) -> None:
    """Raise ValueError where the arguments of `heatmaps` do not fit together."""
    check_gaze({"x_px": x, "y_px": y, "duration_ms": duration}, window, size)
    if sigma.shape not in ((), (len(x),)):
        raise ValueError(f"sigma_px must be a number or have shape ({len(x)},), not {tuple(sigma.shape)}")
    if not bool((torch.isfinite(sigma) & (sigma > 0)).all()):
        raise ValueError("sigma_px must be positive and finite")


def check_gaze(gaze: Mapping[str, Tensor], window: Tensor, size: tuple[int, int]) -> None:
    """Raise ValueError where the gaze of B trials, by name, their windows and the size of the picture do not fit.

    gaze: (B, N) each, duration_ms among them. window: (B, 4). size: (H, W).
    """
    duration = gaze["duration_ms"]
    if duration.ndim != 2 or any(tensor.shape != duration.shape for tensor in gaze.values()):
        *names, last = gaze
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in gaze.values())
        raise ValueError(f"{', '.join(names)} and {last} must have one shape (B, N), not {shapes}")
    if window.shape != (len(duration), 4):
        raise ValueError(f"window must have shape ({len(duration)}, 4), not {tuple(window.shape)}")
    if min(size) < 1:
        raise ValueError(f"size (H, W) must be at least (1, 1), not {tuple(size)}")
    if bool(((duration < 0) | torch.isinf(duration)).any()):
        raise ValueError("duration_ms must be finite and not negative")
    if not bool((torch.isfinite(window).all(1) & (window[:, 2:] > 0).all(1)).all()):
        raise ValueError("window must be finite with positive width and height")


def _chunks(present: Tensor, values_per_point: int) -> Iterator[tuple[slice, slice]]:
    """Slices over trials and gaze points with at most CHUNK_VALUES values each, without the padding at the end."""
    n_trials, n_points = present.shape
    if n_points == 0:
        return
    ends = (present * torch.arange(1, n_points + 1, device=present.device)).amax(1).tolist()
    most_points = max(1, CHUNK_VALUES // values_per_point)
    start = 0
    while start < n_trials:
        stop, end = start + 1, ends[start]
        while stop < n_trials and (stop + 1 - start) * max(end, ends[stop]) <= most_points:
            end = max(end, ends[stop])
            stop += 1
        for first in range(0, end, most_points):
            yield slice(start, stop), slice(first, min(first + most_points, end))
        start = stop


def _erf_steps(position: Tensor, sigma: Tensor, n_pixels: int) -> Tensor:
    """erf((k + 1 - u) / (sigma sqrt 2)) - erf((k - u) / (sigma sqrt 2)) for the pixels k = 0 .. n_pixels - 1.

    `position` u (B, N) and `sigma` (B,) are in picture pixels; (B, N, n_pixels). Times sigma sqrt(pi / 2) it is the
    mean over the pixel of a Gaussian with peak 1.
    """
    edges = torch.arange(n_pixels + 1, dtype=position.dtype, device=position.device)
    scale = (1 / (sigma * math.sqrt(2)))[:, None, None]
    steps = (edges - position[:, :, None]).mul_(scale).erf_()
    return steps[:, :, 1:] - steps[:, :, :-1]


def pad_trials(trials: Sequence[np.ndarray]) -> Tensor:
    """One row per trial, (B, Nmax) float32, shorter trials padded with NaN at the end.

    Raises ValueError where an array is not one-dimensional.
    """
    for index, values in enumerate(trials):
        if values.ndim != 1:
            raise ValueError(f"trial {index} must be a one-dimensional array, not of shape {values.shape}")
    padded = np.full((len(trials), max(map(len, trials), default=0)), np.nan, dtype=np.float32)
    for row, values in zip(padded, trials, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def sample_durations(timestamp_ms: np.ndarray, valid: np.ndarray, max_gap_ms: float) -> np.ndarray:
    """How long the gaze dwelt at each raw sample, ms, (N,) float64: the weights with which samples are drawn.

    A sample lasts until the next one, at most `max_gap_ms`; the last one lasts one step of the clock (at most that).
    Where the tracker is faster than its clock the samples share its ticks (`clock.spread`).
    Lost samples (`valid` false) weigh 0, and so does a sample that stands alone, whose duration nobody knows.

    Args:
        timestamp_ms: times, ms, (N,), finite and never decreasing.
        valid: whether the gaze was found, bool (N,).
        max_gap_ms: longest time that one sample may stand for, ms, positive.

    Raises ValueError: shapes that do not fit, a time that is not finite or runs backwards, a gap that is not positive.
    """
    times_ms, found = np.asarray(timestamp_ms, dtype=np.float64), np.asarray(valid, dtype=bool)
    if times_ms.ndim != 1 or found.shape != times_ms.shape:
        raise ValueError(f"timestamp_ms and valid must have one shape (N,), not {times_ms.shape}, {found.shape}")
    if not max_gap_ms > 0:
        raise ValueError(f"max_gap_ms must be positive, not {max_gap_ms}")
    if not np.isfinite(times_ms).all():
        raise ValueError("timestamp_ms must be finite")
    if len(times_ms) < 2:
        return np.zeros(len(times_ms))
    steps_ms = np.diff(times_ms)
    if steps_ms.min() < 0:
        raise ValueError(f"timestamp_ms runs backwards at sample {int(np.argmax(steps_ms < 0)) + 1}")
    step_ms = interval_ms(times_ms)
    duration_ms = np.minimum(np.append(np.diff(spread(times_ms)), 0.0 if np.isnan(step_ms) else step_ms), max_gap_ms)
    return np.where(found, duration_ms, 0.0)


def encode(heatmap: Tensor, dtype: str, full_scale_ms: float) -> np.ndarray:
    """Heatmaps in ms, any shape, in the type in which they are kept.

    uint8: round(value / full_scale_ms * 255), cut at 0 and 255: wrong by at most full_scale_ms / 510 up to full scale.
    float16: the value in ms, cut at the greatest float16 (65504): wrong by at most 1 part in 2048 (from 6e-5 ms up).

    Raises ValueError: an unknown `dtype`, a full scale that is not positive and finite, a value that is not finite.
    """
    _check_storage(dtype, full_scale_ms)
    if not bool(torch.isfinite(heatmap).all()):
        raise ValueError("heatmap must be finite")
    if dtype == "uint8":
        stored = (heatmap * (255 / full_scale_ms)).round().clamp(0, 255)
    else:
        stored = heatmap.clamp(max=torch.finfo(torch.float16).max)
    encoded: np.ndarray = stored.to(STORED[dtype]).cpu().numpy()
    return encoded


def decode(stored: Tensor, dtype: str, full_scale_ms: float) -> Tensor:
    """What `encode` kept, back in ms, float32, of the same shape and on the same device.

    Raises ValueError: an unknown `dtype`, a full scale that is not positive and finite, a tensor of another type.
    """
    _check_storage(dtype, full_scale_ms)
    if stored.dtype != STORED[dtype]:
        raise ValueError(f"the stored heatmap must be {dtype}, not {stored.dtype}")
    values = stored.to(torch.float32)
    return values * (full_scale_ms / 255) if dtype == "uint8" else values


def _check_storage(dtype: str, full_scale_ms: float) -> None:
    if dtype not in STORED:
        raise ValueError(f"dtype must be one of {', '.join(STORED)}, not {dtype!r}")
    if not 0 < full_scale_ms < math.inf:
        raise ValueError(f"full_scale_ms must be positive and finite, not {full_scale_ms}")


def sigma_px_from_deg(sigma_deg: float, width_px: float, width_mm: float, distance_mm: float) -> float:
    """A visual angle (deg) as a length on the screen (px), centred straight ahead of the eye: 2 d tan(angle / 2).

    Args:
        sigma_deg: the angle, deg, between 0 and 180.
        width_px, width_mm: width of the screen.
        distance_mm: distance of the eye from the screen's centre.

    Raises ValueError where an argument is not positive and finite, or the angle is 180 deg or more.
    """
    given = {"sigma_deg": sigma_deg, "width_px": width_px, "width_mm": width_mm, "distance_mm": distance_mm}
    for name, value in given.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")
    if sigma_deg >= 180:
        raise ValueError(f"sigma_deg must be below 180, not {sigma_deg}")
    return 2 * distance_mm * math.tan(math.radians(sigma_deg) / 2) * width_px / width_mm
