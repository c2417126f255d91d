# SPDX-License-Identifier: Apache-2.0
"""Fixations out of raw gaze samples: the dispersion detector I-DT.

Salvucci & Goldberg (2000), "Identifying fixations and saccades in eye-tracking protocols", ETRA, section 3.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeray.gaze.events.samples import Floats, check_samples


def fixations_idt(
    timestamp_ms: ArrayLike,
    x_px: ArrayLike,
    y_px: ArrayLike,
    dispersion_px: float,
    min_duration_ms: float,
    max_gap_ms: float = 75.0,
) -> dict[str, NDArray[np.floating]]:
    """The fixations of one trial: runs of samples that stay together long enough (I-DT).

    A fixation starts at the first sample from which `min_duration_ms` of gaze has a dispersion of at most
    `dispersion_px`, and takes in every following sample until the dispersion would exceed it. The dispersion of a run
    is (max x - min x) + (max y - min y). Its duration is the time from its first to its last sample plus one sample
    step (the median step of the trial; 0 when there is only one sample), and its place is the mean of its samples.

    Lost samples are left out. Two neighbouring valid samples more than `max_gap_ms` apart never share a fixation,
    whether lost samples or missing rows lie between them; a shorter gap counts into the fixation's duration.

    Args:
        timestamp_ms: shape (N,), ms, not decreasing.
        x_px: shape (N,), px; NaN = lost. A sample with either coordinate lost is lost.
        y_px: shape (N,), px; NaN = lost.
        dispersion_px: the largest dispersion of a fixation, px, > 0.
        min_duration_ms: the shortest fixation, ms, >= 0.
        max_gap_ms: the longest time between neighbouring valid samples of a fixation, ms, > 0.

    Returns:
        onset_ms (float64), duration_ms, x_px, y_px (float32), each of shape (F,), in order of time.

    Raises:
        ValueError: arrays of different shape or not one-dimensional, a timestamp that is not finite or runs backwards,
            a threshold out of range.
    """
    _check_thresholds(dispersion_px, min_duration_ms, max_gap_ms)
    time, x, y = (np.asarray(values, dtype=np.float64) for values in (timestamp_ms, x_px, y_px))
    check_samples(time, x, y)
    step = float(np.median(np.diff(time))) if time.size > 1 else 0.0
    valid = np.isfinite(x) & np.isfinite(y)
    time, x, y = time[valid], x[valid], y[valid]
    runs = dispersion_runs(time, x, y, step, dispersion_px, min_duration_ms, max_gap_ms)
    first, last = runs[:, 0], runs[:, 1] - 1
    return {
        "onset_ms": time[first],
        "duration_ms": (time[last] - time[first] + step).astype(np.float32),
        "x_px": np.array([x[start:stop].mean() for start, stop in runs], dtype=np.float32),
        "y_px": np.array([y[start:stop].mean() for start, stop in runs], dtype=np.float32),
    }


def _check_thresholds(dispersion_px: float, min_duration_ms: float, max_gap_ms: float) -> None:
    if not dispersion_px > 0:
        raise ValueError(f"dispersion_px must be > 0, not {dispersion_px}")
    if not min_duration_ms >= 0:
        raise ValueError(f"min_duration_ms must be >= 0, not {min_duration_ms}")
    if not max_gap_ms > 0:
        raise ValueError(f"max_gap_ms must be > 0, not {max_gap_ms}")


def dispersion_runs(
    time: Floats, x: Floats, y: Floats, step: float, dispersion_px: float, min_duration_ms: float, max_gap_ms: float
) -> NDArray[np.int64]:
    """The fixations as (first, one past the last) indices into the valid samples, shape (F, 2)."""
    count = time.size
    if count == 0:
        return np.zeros((0, 2), dtype=np.int64)
    starts = np.arange(count)
    # One past the first sample that completes the minimal duration from each start; beyond `count`: there is none.
    stops = np.maximum(np.searchsorted(time, time - step + min_duration_ms), starts) + 1
    breaks = np.flatnonzero(np.diff(time) > max_gap_ms) + 1
    segment_stop = np.append(breaks, count)[np.searchsorted(breaks, starts, side="right")]
    fits = np.zeros(count, dtype=bool)
    possible = np.flatnonzero(stops <= segment_stop)
    windows = possible, stops[possible]
    fits[possible] = _spread(x, *windows) + _spread(y, *windows) <= dispersion_px

    candidates, found, after = np.flatnonzero(fits), [], 0
    xs, ys = x.tolist(), y.tolist()
    while (rank := int(np.searchsorted(candidates, after))) < candidates.size:
        start = int(candidates[rank])
        after = _extended(xs, ys, start, int(stops[start]), int(segment_stop[start]), dispersion_px)
        found.append((start, after))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _spread(values: Floats, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Floats:
    """max - min of values[start:stop] for many overlapping windows at once."""
    padded = np.append(values, values[-1])  # reduceat wants every index below the length; the pad is never reduced
    bounds = np.stack([starts, stops], axis=1).ravel()
    return np.asarray(np.maximum.reduceat(padded, bounds)[::2] - np.minimum.reduceat(padded, bounds)[::2])


def _extended(xs: list[float], ys: list[float], start: int, stop: int, limit: int, dispersion_px: float) -> int:
    """The end of the longest run from `start` that holds its dispersion; xs[start:stop] is known to."""
    left, right = min(xs[start:stop]), max(xs[start:stop])
    top, bottom = min(ys[start:stop]), max(ys[start:stop])
    while stop < limit:
        left, right = min(left, xs[stop]), max(right, xs[stop])
        top, bottom = min(top, ys[stop]), max(bottom, ys[stop])
        if (right - left) + (bottom - top) > dispersion_px:
            break
        stop += 1
    return stop
