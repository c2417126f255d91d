# SPDX-License-Identifier: Apache-2.0
"""The grid on which a picture is scored, and the human map on it: fixations blurred by one of three recipes."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from gazeray.gaze.render import heatmaps
from gazeray.metrics.resampling import resized, same_aspect
from gazeray.stimuli.readers.base import Gaze, in_picture
from gazeray.stimuli.recipes import PUBLISHED_SIDE_PX, PUBLISHED_SIGMA_PX, TRUNCATE, TargetConfig


def draw_target(
    gaze: Gaze, size_px: tuple[int, int], grid: tuple[int, int], config: TargetConfig, px_per_deg: float | None = None
) -> np.ndarray:
    """The human map of a picture (H, W) px on its grid (h, w), float32 from 0 to 1 (its maximum); see `TargetConfig`.

    Raises ValueError: no fixation, one outside the picture, `sigma_deg` without `px_per_deg`.
    """
    if not len(gaze):
        raise ValueError("no fixations to draw")
    if not in_picture(gaze, size_px).all():
        raise ValueError("a fixation is outside the picture")
    if config.recipe == "gaussian":
        drawn = _gaussian(gaze, size_px, grid, config.sigma_of(size_px[0], px_per_deg))
    elif config.recipe == "salicon":
        drawn = resized(_salicon(gaze, size_px, config.sigma_of(size_px[0])), grid)
    else:
        drawn = resized(_published(gaze, size_px), grid)
    return np.asarray(drawn / drawn.max(), dtype=np.float32)


def map_target(values: np.ndarray, size_px: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """A fixation map that comes with a picture (H, W) px, on its grid (h, w), float32 from 0 to 1 (its maximum).

    values: (H', W'), not negative, finite, not all 0, of any size with the picture's aspect: each cell takes the mean
    over its area. Raises ValueError: other values, another aspect than the picture's.
    """
    if values.ndim != 2 or not np.isfinite(values).all() or not (values >= 0).all() or not values.any():
        raise ValueError("a map must be (H, W), finite, not negative and not all 0")
    if not same_aspect((values.shape[0], values.shape[1]), size_px):
        have, want = (f"{width} x {height}" for height, width in (values.shape, size_px))
        raise ValueError(f"the map of {have} px has another aspect than its picture of {want} px")
    drawn = resized(np.asarray(values, dtype=np.float32), grid)
    return np.asarray(drawn / drawn.max(), dtype=np.float32)


def _gaussian(gaze: Gaze, size_px: tuple[int, int], grid: tuple[int, int], sigma_px: float) -> np.ndarray:
    """Sum of Gaussians, averaged over each cell, (h, w)."""
    x, y = (torch.from_numpy(np.asarray(values, dtype=np.float32))[None] for values in (gaze.x_px, gaze.y_px))
    window = torch.tensor([[0.0, 0.0, size_px[1], size_px[0]]])
    return np.asarray(heatmaps(x, y, torch.ones_like(x), window, grid, sigma_px)[0, 0])


def _salicon(gaze: Gaze, size_px: tuple[int, int], sigma_px: float) -> np.ndarray:
    """SALICON's map at full size (H, W), minimum subtracted."""
    fixated = np.zeros(size_px, np.float32)
    fixated[gaze.y_px.astype(np.int64), gaze.x_px.astype(np.int64)] = 1
    side = 2 * int(TRUNCATE * sigma_px + 0.5) + 1
    blurred = cv2.GaussianBlur(fixated, (side, side), sigma_px, borderType=cv2.BORDER_REFLECT)
    drawn = blurred - blurred.min()
    return drawn if drawn.any() else blurred


def _published(gaze: Gaze, size_px: tuple[int, int]) -> np.ndarray:
    """Counts on 256 x 256, blurred there."""
    side = PUBLISHED_SIDE_PX
    y, x = (
        np.minimum(np.floor(values).astype(np.int64) * side // length, side - 1)
        for values, length in zip((gaze.y_px, gaze.x_px), size_px, strict=True)
    )
    counts = np.zeros((side, side), np.float32)
    np.add.at(counts, (y, x), 1)
    return np.asarray(cv2.GaussianBlur(counts, (0, 0), PUBLISHED_SIGMA_PX))
