# SPDX-License-Identifier: Apache-2.0
"""I-VT: fixations and saccades by a fixed velocity threshold.

Salvucci & Goldberg (2000), "Identifying fixations and saccades in eye-tracking protocols", ETRA, section 3.1; the
velocity over a window of time and the merging of near fixations as in Olsen (2012), "The Tobii I-VT fixation filter".
"""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.registry import NO_RUNS, DetectorConfig, Found, register_detector
from gazeray.gaze.events.samples import Prepared, Runs, covered, runs_of, window_velocity
from gazeray.gaze.events.screen import Screen


@register_detector("ivt", about="fixed velocity")
def detect_ivt(gaze: Prepared, screen: Screen, cfg: DetectorConfig) -> Found:
    """Fixations, saccades, no oscillations, and the velocity (N,) deg/s.

    A fixation is a run of samples slower than `velocity_deg_s` that lasts `min_duration_ms`; a saccade is a run of
    samples that are not slower and lasts `min_saccade_ms`. Fixations at most `merge_gap_ms` and `merge_deg` apart are
    then merged, and a saccade between them is none.
    """
    velocity = window_velocity(gaze, cfg.velocity_window_ms)
    fixations = gaze.lasting(runs_of(velocity < cfg.velocity_deg_s, gaze.breaks), cfg.min_duration_ms)
    if cfg.merge_gap_ms > 0:
        fixations = merged(gaze, fixations, screen, cfg.merge_gap_ms, cfg.merge_deg)
    fast = (velocity >= cfg.velocity_deg_s) & ~covered(fixations, velocity.size)
    return fixations, gaze.lasting(runs_of(fast, gaze.breaks), cfg.min_saccade_ms), NO_RUNS, velocity


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
