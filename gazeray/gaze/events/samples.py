# SPDX-License-Identifier: Apache-2.0
"""Samples made ready for a detector: clock checked, short gaps bridged, blinks cut out; runs of samples, velocity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Runs = NDArray[np.int64]
"""Stretches of samples as (first, one past the last), shape (F, 2), in order of time, none overlapping."""


@dataclass(frozen=True)
class Prepared:
    """The samples of a trial; timestamps rise strictly, except for the detector in px.

    time_ms, x_px, y_px, x_deg, y_deg   (N,) float64; NaN where not usable; deg all NaN without geometry
    usable      (N,) valid or bridged, and not beside a blink
    segments    runs of usable samples without a break in time
    step_ms     time from sample to sample by the whole clock, ms; 0 where it never advances
    """

    time_ms: Floats
    x_px: Floats
    y_px: Floats
    x_deg: Floats
    y_deg: Floats
    usable: Bools
    segments: Runs
    step_ms: float

    def durations_ms(self, runs: Runs) -> Floats:
        """From the first to the last sample of each run, plus one sample step."""
        return self.time_ms[runs[:, 1] - 1] - self.time_ms[runs[:, 0]] + self.step_ms

    def lasting(self, runs: Runs, least_ms: float) -> Runs:
        """The runs that last so long; a tolerance keeps the float error of timestamps from deciding."""
        return runs[self.durations_ms(runs) >= least_ms - 1e-6]

    @property
    def breaks(self) -> Bools:
        """(N,) True at the first sample of each segment."""
        first = np.zeros(self.time_ms.size, dtype=bool)
        first[self.segments[:, 0]] = True
        return first


def columns(samples: Mapping[str, np.ndarray]) -> tuple[Floats, Floats, Floats]:
    """timestamp_ms, x_px and y_px of a trial as float64; a sample with either coordinate lost is NaN in both.

    Raises ValueError: arrays that differ in shape, timestamps that are not finite or run backwards.
    """
    time, x, y = (np.array(samples[name], dtype=np.float64) for name in ("timestamp_ms", "x_px", "y_px"))
    if time.ndim != 1 or not time.shape == x.shape == y.shape:
        raise ValueError(f"samples need three arrays of one length, not shapes {time.shape}, {x.shape}, {y.shape}")
    if not np.isfinite(time).all():
        raise ValueError(f"timestamp_ms at index {int(np.argmin(np.isfinite(time)))} is not a finite number")
    backwards = np.flatnonzero(np.diff(time) < 0)
    if backwards.size:
        raise ValueError(f"timestamp_ms runs backwards at index {int(backwards[0]) + 1}")
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x[lost] = y[lost] = np.nan
    return time, x, y


def bridged(time_ms: Floats, x: Floats, y: Floats, max_gap_ms: float, pad_ms: float) -> tuple[Floats, Floats]:
    """x and y (N,) with short gaps filled linearly and blinks widened.

    Neighbouring valid samples at most `max_gap_ms` apart are joined by a line. A longer time without gaze is a blink
    (or a loss of tracking): samples less than `pad_ms` before or after it are lost as well, since the half-closed lid
    displaces the pupil's centre. The same holds for a loss longer than `max_gap_ms` at the start or end of the trial.
    """
    valid = np.flatnonzero(np.isfinite(x))
    if not valid.size:
        return x, y
    at = time_ms[valid]
    before = np.concatenate([[time_ms[0]], at])
    after = np.concatenate([at, [time_ms[-1]]])
    long = after - before > max_gap_ms
    first_open = np.searchsorted(time_ms, before[long], side="right")
    # A gap at the edge of the trial has no valid sample on its outer side.
    first_open[before[long] < at[0]] = 0
    stop = np.searchsorted(time_ms, after[long], side="left")
    stop[after[long] > at[-1]] = time_ms.size
    first_padded = np.minimum(np.searchsorted(time_ms, before[long] - pad_ms, side="right"), first_open)
    stop_padded = np.maximum(np.searchsorted(time_ms, after[long] + pad_ms, side="left"), stop)
    blink = covered(np.stack([first_padded, stop_padded], axis=1), time_ms.size)
    lost = blink | (time_ms < at[0]) | (time_ms > at[-1])
    x, y = (np.where(lost, np.nan, np.interp(time_ms, at, values[valid])) for values in (x, y))
    return x, y


def runs_of(mask: Bools, breaks: Bools | None = None) -> Runs:
    """The runs of True in `mask` (N,); `breaks` (N,) is True where a run may not reach back to the sample before."""
    edge = np.diff(mask.astype(np.int8), prepend=0, append=0)
    starts, stops = edge[:-1] == 1, edge[1:] == -1
    if breaks is not None:
        cut = mask & breaks
        starts = starts | cut
        stops = stops | (mask & np.append(cut[1:], False))
    return np.stack([np.flatnonzero(starts), np.flatnonzero(stops) + 1], axis=1).astype(np.int64)


def covered(runs: Runs, count: int) -> Bools:
    """Which of `count` samples lie in any of the runs."""
    depth = np.zeros(count + 1, dtype=np.int64)
    np.add.at(depth, runs[:, 0], 1)
    np.add.at(depth, runs[:, 1], -1)
    return np.asarray(np.cumsum(depth[:-1]) > 0)


def window_velocity(gaze: Prepared, window_ms: float) -> Floats:
    """The velocity at each sample, deg/s, (N,): how far apart the gaze is at the two ends of a window around it.

    v[i] = |p[b] - p[a]| / (t[b] - t[a]), where a is the first and b the last sample within window / 2 of t[i] (and a
    quarter of a sample step, so that a clock that jitters does not change the width), at least one sample to either
    side; at the edges of a segment the window is cut off. NaN where there is no usable gaze, and for a lone sample.
    As in Olsen (2012), "The Tobii I-VT fixation filter".
    """
    velocity = np.full(gaze.time_ms.size, np.nan)
    half_ms = window_ms / 2 + gaze.step_ms / 4
    for start, stop in gaze.segments:
        if stop - start < 2:
            continue
        time, own = gaze.time_ms[start:stop], np.arange(stop - start)
        low = np.minimum(np.searchsorted(time, time - half_ms), own - 1).clip(0) + start
        high = np.maximum(np.searchsorted(time, time + half_ms, side="right") - 1, own + 1) + start
        high = np.minimum(high, stop - 1)
        path = np.hypot(gaze.x_deg[high] - gaze.x_deg[low], gaze.y_deg[high] - gaze.y_deg[low])
        velocity[start:stop] = 1000.0 * path / (gaze.time_ms[high] - gaze.time_ms[low])
    return velocity
