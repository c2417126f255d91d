# SPDX-License-Identifier: Apache-2.0
"""I-VT: fixations and saccades by a fixed velocity threshold.

Salvucci & Goldberg (2000), "Identifying fixations and saccades in eye-tracking protocols", ETRA, section 3.1; the
velocity over a window of time and the merging of near fixations as in Olsen (2012), "The Tobii I-VT fixation filter".
"""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.config import EventsConfig
from gazeray.gaze.events.samples import Floats, Prepared, Runs, covered, runs_of
from gazeray.gaze.events.screen import Screen


def window_velocity(gaze: Prepared, window_ms: float) -> Floats:
    """The velocity at each sample, deg/s, (N,): how far apart the gaze is at the two ends of a window around it.

    v[i] = |p[b] - p[a]| / (t[b] - t[a]), where a is the first and b the last sample within window / 2 of t[i] (and a
    quarter of a sample step, so that a clock that jitters does not change the width), at least one sample to either
    side; at the edges of a segment the window is cut off. NaN where there is no usable gaze, and for a lone sample.
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


def segment_breaks(gaze: Prepared) -> np.ndarray:
    """(N,) True at the first sample of each segment."""
    breaks = np.zeros(gaze.time_ms.size, dtype=bool)
    breaks[gaze.segments[:, 0]] = True
    return breaks


def detect_ivt(gaze: Prepared, screen: Screen, cfg: EventsConfig) -> tuple[Runs, Runs, Runs, Floats]:
    """Fixations, saccades, no oscillations, and the velocity (N,) deg/s.

    A fixation is a run of samples slower than `velocity_deg_s` that lasts `min_duration_ms`; a saccade is a run of
    samples that are not slower and lasts `min_saccade_ms`. Fixations at most `merge_gap_ms` and `merge_deg` apart are
    then merged, and a saccade between them is none.
    """
    velocity = window_velocity(gaze, cfg.velocity_window_ms)
    breaks = segment_breaks(gaze)
    fixations = runs_of(velocity < cfg.velocity_deg_s, breaks)
    # The tolerance keeps float error in timestamps from deciding about a run that is exactly long enough.
    fixations = fixations[gaze.durations_ms(fixations) >= cfg.min_duration_ms - 1e-6]
    if cfg.merge_gap_ms > 0:
        fixations = merged(gaze, fixations, screen, cfg.merge_gap_ms, cfg.merge_deg)
    fast = (velocity >= cfg.velocity_deg_s) & ~covered(fixations, velocity.size)
    saccades = runs_of(fast, breaks)
    saccades = saccades[gaze.durations_ms(saccades) >= cfg.min_saccade_ms - 1e-6]
    return fixations, saccades, np.zeros((0, 2), np.int64), velocity


def merged(gaze: Prepared, runs: Runs, screen: Screen, gap_ms: float, near_deg: float) -> Runs:
    """Fixations (F, 2) with neighbours joined: within one segment, from the last sample of one to the first of the
    next at most `gap_ms`, and their mean places at most `near_deg` apart. A merged fixation is compared with the next
    as a whole."""
    segment = np.searchsorted(gaze.segments[:, 0], runs[:, 0], side="right")
    sums = [np.append(0.0, np.cumsum(np.nan_to_num(values))) for values in (gaze.x_px, gaze.y_px)]

    def place(start: int, stop: int) -> list[float]:
        return [(values[stop] - values[start]) / (stop - start) for values in sums]

    found: list[tuple[int, int]] = []
    for number, (start, stop) in enumerate(runs.tolist()):
        if found and segment[number] == segment[number - 1]:
            first, last = found[-1]
            near = gaze.time_ms[start] - gaze.time_ms[last - 1] <= gap_ms + 1e-6
            if near and screen.angle_deg(*place(first, last), *place(start, stop)) <= near_deg:
                found[-1] = (first, stop)
                continue
        found.append((start, stop))
    return np.array(found, dtype=np.int64).reshape(-1, 2)
