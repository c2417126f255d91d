# SPDX-License-Identifier: Apache-2.0
"""Fixations, saccades and post-saccadic oscillations by velocity thresholds fitted to the noise of each trial.

Nyström & Holmqvist (2010), "An adaptive algorithm for fixation, saccade, and glissade detection in eyetracking data",
Behavior Research Methods 42, 188-204. What the paper calls a glissade is here a post-saccadic oscillation.

Four departures, the first three measured on simulated gaze: the smoothing window is 8 ms, not 20, and events begin and
end at the thresholds, not at the next local minimum of the velocity, since each of the two puts onsets up to 4 ms too
early and ends as much too late; an oscillation has a shortest duration, since noise alone crosses the offset threshold
after one in twenty saccades; and the thresholds have a least value.
"""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.registry import DetectorConfig, Found, register_detector
from gazeray.gaze.events.samples import Bools, Floats, Prepared, Runs, covered, runs_of
from gazeray.gaze.events.screen import Screen

MIN_HZ = 100.0
"""Below this the smoothing filter spans whole saccades."""
START_DEG_S = 200.0
"""Where the search for the peak threshold starts; the paper allows 100 to 300."""
LEAST_PEAK_DEG_S, LEAST_ONSET_DEG_S = 6.0, 3.0
"""Thresholds are never fitted lower. While it fixates the eye drifts mostly slower than 2 deg/s (Rucci & Poletti 2015,
Annual Review of Vision Science 1, 499-518), which is no saccade; 6 deg/s is the peak of a saccade of 0.06 deg (100/s
times its amplitude, Zuber et al. 1965, Science 150, 1459-1460), a few times the 0.01 deg that trackers resolve."""
LOCAL_MS = 40.0
"""Noise is taken over this time before a saccade, and an oscillation must begin within it after one (the paper's
shortest fixation)."""
LOCAL_WEIGHT = 0.3
"""Weight of the local noise in the offset threshold; the saccade onset threshold has the rest."""


def savgol_velocity(gaze: Prepared, window_ms: float) -> Floats:
    """The velocity at each sample, deg/s, (N,): the slope of a Savitzky-Golay filter of order 2 over `window_ms`.

    The window has an odd number of samples, at least 3, counted by the mean step of the segment. Position and time are
    both differentiated by sample number and divided, so that a clock that jitters or drifts is taken as it is. In the
    first and last half window of a segment the slope is that of its first and last window (order 1; elsewhere both
    orders have the same slope). NaN in segments shorter than the window.
    Raises ValueError when samples come at less than 100 Hz.
    """
    from scipy.signal import savgol_filter  # here, since it takes a second to import, in every worker

    if gaze.step_ms > 1000.0 / MIN_HZ + 1e-6:
        hz = 1000.0 / gaze.step_ms
        raise ValueError(f"detector adaptive needs {MIN_HZ:g} Hz or more, samples come at {hz:.1f} Hz")
    velocity = np.full(gaze.time_ms.size, np.nan)
    for start, stop in gaze.segments:
        if stop - start < 3:
            continue
        time = gaze.time_ms[start:stop]
        width = max(3, 2 * round(window_ms / 2 * (stop - start - 1) / (time[-1] - time[0])) + 1)
        if width <= stop - start:
            parts = gaze.x_deg[start:stop], gaze.y_deg[start:stop], time
            x, y, step_ms = (savgol_filter(part, width, 1, deriv=1) for part in parts)
            velocity[start:stop] = 1000.0 * np.hypot(x, y) / step_ms
    return velocity


def fitted_thresholds(velocity: Floats) -> tuple[float, float]:
    """Peak and onset thresholds, deg/s, from the velocities (N,) deg/s of a trial, NaN left out.

    The peak threshold P starts at 200 deg/s and becomes mean + 6 SD of the velocities below P until it moves by less
    than 1 deg/s (the paper's equation 3); the onset threshold is mean + 3 SD of the same velocities. Neither is below
    its least value, LEAST_PEAK_DEG_S and LEAST_ONSET_DEG_S, so that gaze without noise has no thresholds of rounding.
    """
    known = np.sort(velocity[np.isfinite(velocity)])
    if not known.size:
        return START_DEG_S, START_DEG_S
    sums, squares = np.cumsum(known), np.cumsum(known**2)
    peak = START_DEG_S
    for _ in range(100):
        below = max(1, int(np.searchsorted(known, peak)))
        mean = sums[below - 1] / below
        deviation = float(np.sqrt(max(0.0, squares[below - 1] / below - mean**2)))
        before, peak = peak, float(mean + 6 * deviation)
        if abs(before - peak) < 1.0:
            break
    return max(peak, LEAST_PEAK_DEG_S), max(float(mean + 3 * deviation), LEAST_ONSET_DEG_S)


@register_detector("adaptive", about="velocity fitted to the noise")
def detect_adaptive(gaze: Prepared, screen: Screen, cfg: DetectorConfig) -> Found:
    """Fixations, saccades, post-saccadic oscillations, and the velocity (N,) deg/s.

    Velocities above `max_velocity_deg_s` are no eye movement: such samples and those around them that are faster than
    twice the median are left out. A saccade is found by a peak above the peak threshold that lasts a third of
    `min_saccade_ms`; it starts at the first sample below the onset threshold before it and ends at the first one below
    its own offset threshold after it (0.7 onset + 0.3 noise in the 40 ms before). An oscillation follows when the
    velocity, not as high as in the saccade, is over that offset threshold again within 40 ms for half of
    `min_saccade_ms`; it ends at the first sample below after the last such time. What is left and lasts
    `min_duration_ms` is a fixation. Raises ValueError below 100 Hz.
    """
    velocity = savgol_velocity(gaze, cfg.adaptive_window_ms)
    breaks = gaze.breaks
    velocity[_impossible(velocity, cfg.max_velocity_deg_s, breaks)] = np.nan
    limits = fitted_thresholds(velocity)
    saccades, oscillations = _saccades(gaze, velocity, limits, cfg, breaks)
    taken = covered(saccades, velocity.size) | covered(oscillations, velocity.size)
    fixations = gaze.lasting(runs_of(np.isfinite(velocity) & ~taken, breaks), cfg.min_duration_ms)
    return fixations, saccades, oscillations, velocity


def _impossible(velocity: Floats, limit_deg_s: float, breaks: Bools) -> Bools:
    """Samples (N,) too fast for an eye, with their whole excursion over twice the median velocity."""
    too_fast = velocity > limit_deg_s
    if not too_fast.any():
        return too_fast
    runs = runs_of(velocity > 2 * np.nanmedian(velocity), breaks)
    counts = np.append(0, np.cumsum(too_fast))
    return covered(runs[counts[runs[:, 1]] > counts[runs[:, 0]]], velocity.size) | too_fast


def _saccades(
    gaze: Prepared, velocity: Floats, limits: tuple[float, float], cfg: DetectorConfig, breaks: Bools
) -> tuple[Runs, Runs]:
    """Saccades and oscillations as runs of samples; `limits` are the peak and the onset threshold."""
    peak, onset = limits
    peaks = runs_of(velocity > peak, breaks)
    peaks = peaks[gaze.durations_ms(peaks) >= cfg.min_saccade_ms / 3]
    regions = runs_of(np.isfinite(velocity), breaks)
    region = np.searchsorted(regions[:, 0], peaks[:, 0], side="right") - 1
    local = max(1, round(LOCAL_MS / gaze.step_ms)) if gaze.step_ms > 0 else 1
    saccades, oscillations, free = [], [], 0
    for (first, last), number in zip(peaks.tolist(), region.tolist(), strict=True):
        if first < free:
            continue
        low, high = max(int(regions[number, 0]), free), int(regions[number, 1])
        start = _slow_before(velocity, first, low, onset)
        noise = velocity[max(low, start - local) : start]
        offset = onset
        if noise.size:
            level = noise.mean() + 3 * noise.std()
            if level < peak:  # else there is no quiet before this saccade to learn from
                offset = (1 - LOCAL_WEIGHT) * onset + LOCAL_WEIGHT * float(level)
        stop = _slow_after(velocity, last - 1, high, offset) + 1
        if gaze.time_ms[stop - 1] - gaze.time_ms[start] + gaze.step_ms < cfg.min_saccade_ms - 1e-6:
            continue
        saccades.append((start, stop))
        free = stop
        after = velocity[stop : min(stop + local, high)]
        rises = runs_of(after > offset)
        rises = rises[(rises[:, 1] - rises[:, 0]) * gaze.step_ms >= cfg.min_saccade_ms / 2 - 1e-6]
        if len(rises) and after.max() < velocity[start:stop].max():
            free = _slow_after(velocity, stop + int(rises[-1, 1]) - 1, high, offset) + 1
            oscillations.append((stop, free))
    return tuple(np.array(runs, dtype=np.int64).reshape(-1, 2) for runs in (saccades, oscillations))  # type: ignore[return-value]


def _slow_before(velocity: Floats, at: int, low: int, limit: float) -> int:
    """The nearest sample before `at` that is slower than `limit`; `low` when there is none from there on."""
    while at > low and velocity[at] >= limit:
        at -= 1
    return at


def _slow_after(velocity: Floats, at: int, high: int, limit: float) -> int:
    """The nearest sample after `at` that is slower than `limit`; `high` - 1 when there is none up to there."""
    while at < high - 1 and velocity[at] >= limit:
        at += 1
    return at
