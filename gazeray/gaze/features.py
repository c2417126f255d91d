# SPDX-License-Identifier: Apache-2.0
"""Simple numbers about how a text was read: the features of the logistic-regression baseline.

Fixation count and duration, regressions, saccade length and total dwell are the standard global measures of reading
(Rayner 1998, Psychological Bulletin 124:372-422); the dwell columns are a one-dimensional heatmap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

REGRESSION_WIDTH = 0.02
"""A leftward saccade is a regression when it is longer than this share of the window's width."""

SWEEP_WIDTH = 0.3
SWEEP_HEIGHT = 0.05
"""A leftward saccade longer than SWEEP_WIDTH of the width that also goes down by more than SWEEP_HEIGHT of the height
is a return sweep to the next line, not a regression."""

GLOBAL_FEATURES = (
    "n_fixations",
    "mean_duration_ms",
    "total_duration_ms",
    "n_regressions",
    "regression_share",
    "horizontal_extent_px",
    "mean_saccade_px",
)


def feature_names(columns: int) -> list[str]:
    """The names of the values of `reading_features`, in order; dwell_01 is the leftmost column.

    Raises ValueError when `columns` is negative.
    """
    if columns < 0:
        raise ValueError(f"columns must be >= 0, not {columns}")
    digits = max(2, len(str(columns)))
    return [*GLOBAL_FEATURES, *(f"dwell_{column:0{digits}d}" for column in range(1, columns + 1))]


def reading_features(
    fixations: Mapping[str, NDArray[np.floating]], window: tuple[float, float, float, float], columns: int
) -> NDArray[np.float32]:
    """The features of one trial, shape (7 + columns,), float32, named by `feature_names(columns)`.

    Only fixations inside the window count (its left and top edges belong to it, its right and bottom ones do not). A
    saccade is the step from one of them to the next. Without a fixation every value is 0; without a saccade those about
    saccades are. No value is NaN.

    n_fixations; mean_duration_ms and total_duration_ms of the fixations; n_regressions: leftward saccades longer than
    REGRESSION_WIDTH of the window's width, return sweeps left out (SWEEP_WIDTH, SWEEP_HEIGHT); regression_share: of the
    saccades; horizontal_extent_px: rightmost minus leftmost fixation; mean_saccade_px: mean Euclidean length;
    dwell_01 ...: summed fixation duration in ms in each of `columns` equal columns of the window, from the left.

    Args:
        fixations: onset_ms, duration_ms, x_px, y_px, each of shape (F,), in order of time; px of the screen. Fixations
            whose place or duration is not finite are left out.
        window: left, top, width, height of the stimulus on the screen, px.
        columns: number of dwell columns, >= 0.

    Raises:
        ValueError: window without area, negative `columns`, arrays of different length.
    """
    left, top, width, height = window
    if not (width > 0 and height > 0):
        raise ValueError(f"the window must have width and height > 0 px, not {width} x {height}")
    features = np.zeros(len(feature_names(columns)), dtype=np.float64)
    duration, x, y = (np.asarray(fixations[key], dtype=np.float64) for key in ("duration_ms", "x_px", "y_px"))
    if x.ndim != 1 or not duration.shape == x.shape == y.shape:
        raise ValueError(f"fixations need arrays of one length, not shapes {duration.shape}, {x.shape}, {y.shape}")
    x, y = (x - left) / width, (y - top) / height
    inside = np.isfinite(duration) & (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    duration, x, y = duration[inside], x[inside], y[inside]
    if duration.size:
        features[:3] = duration.size, duration.mean(), duration.sum()
        features[5] = np.ptp(x) * width
    if duration.size > 1:
        dx, dy = np.diff(x), np.diff(y)
        sweeps = (dx < -SWEEP_WIDTH) & (dy > SWEEP_HEIGHT)
        regressions = np.count_nonzero((dx < -REGRESSION_WIDTH) & ~sweeps)
        features[3:5] = regressions, regressions / dx.size
        features[6] = np.hypot(dx * width, dy * height).mean()
    if columns:
        features[7:] = np.bincount((x * columns).astype(np.int64), weights=duration, minlength=columns)
    return features.astype(np.float32)


def picture_features(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Simple features of drawn gaze, (N, 3 + columns) float32: what a reader sees without looking at any shape.

    ink of a pixel: how far its farthest channel is from white, 0..1. ink: mean over the picture. horizontal_extent,
    vertical_extent: from the first to the last column (row) with a pixel of at least 0.1 ink, as a share. ink_01 ...:
    mean ink of each of `columns` parts of the width, from the left.

    Args:
        pictures: (N, 3, H, W) uint8, RGB.
        columns: number of parts of the width, >= 0.
    """
    ink = (255 - pictures.min(axis=1)).astype(np.float32) / 255
    drawn = ink >= 0.1
    extents = [_extent(drawn.any(axis=1)), _extent(drawn.any(axis=2))]
    width = ink.shape[2]
    cumulated = np.pad(np.cumsum(ink.mean(axis=1, dtype=np.float64), axis=1), ((0, 0), (1, 0)))
    edges = np.linspace(0, width, columns + 1)
    at = np.array([np.interp(edges, np.arange(width + 1), row) for row in cumulated]).reshape(-1, columns + 1)
    parts = np.diff(at, axis=1) * (columns / width)
    return np.column_stack([ink.mean(axis=(1, 2)), *extents, parts]).astype(np.float32)


def _extent(marked: np.ndarray) -> np.ndarray:
    """From the first to the last true entry of each row of (N, M), as a share of M; 0 where none is."""
    first, last = marked.argmax(axis=1), marked.shape[1] - marked[:, ::-1].argmax(axis=1)
    return np.where(marked.any(axis=1), (last - first) / marked.shape[1], 0.0)
