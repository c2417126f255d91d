# SPDX-License-Identifier: Apache-2.0
"""I-DT in px and in deg: fixations by dispersion, see `gazeray.gaze.events.dispersion`."""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.dispersion import dispersion_runs
from gazeray.gaze.events.registry import NO_RUNS, DetectorConfig, Found, register_detector
from gazeray.gaze.events.samples import Bools, Floats, Prepared, Runs, covered, runs_of
from gazeray.gaze.events.screen import Screen
from gazeray.gaze.events.velocity import window_velocity


@register_detector("idt_px", about="dispersion in px", in_deg=False, bridges=False)
def detect_idt_px(gaze: Prepared, screen: Screen, cfg: DetectorConfig) -> Found:
    """I-DT in px: fixations alone, the same as `fixations_idt`; velocities in px mean nothing."""
    runs = _dispersion(gaze, gaze.x_px, gaze.y_px, gaze.usable, cfg.dispersion_px, cfg)
    return runs, NO_RUNS, NO_RUNS, np.full(gaze.time_ms.size, np.nan)


@register_detector("idt", about="dispersion in deg", bridges=False)
def detect_idt(gaze: Prepared, screen: Screen, cfg: DetectorConfig) -> Found:
    """I-DT in deg over slow samples: fixations, saccades, no oscillations, and the velocity (N,) deg/s.

    A dispersion threshold alone takes the slow end of each saccade into the next fixation, whose dispersion is then
    half used up. Samples from `velocity_deg_s` on (velocity as in I-VT) are therefore left out of it, like lost ones.
    Saccades are the runs of such samples outside fixations that last `min_saccade_ms`.
    """
    velocity = window_velocity(gaze, cfg.velocity_window_ms)
    fast = velocity >= cfg.velocity_deg_s
    fixations = _dispersion(gaze, gaze.x_deg, gaze.y_deg, gaze.usable & ~fast, cfg.dispersion_deg, cfg)
    saccades = gaze.lasting(runs_of(fast & ~covered(fixations, fast.size), gaze.breaks), cfg.min_saccade_ms)
    return fixations, saccades, NO_RUNS, velocity


def _dispersion(gaze: Prepared, x: Floats, y: Floats, counts: Bools, limit: float, cfg: DetectorConfig) -> Runs:
    """I-DT over the samples that count, as runs of all samples: the others inside a fixation belong to it."""
    rows = np.flatnonzero(counts)
    runs = dispersion_runs(
        gaze.time_ms[rows], x[rows], y[rows], gaze.step_ms, limit, cfg.min_duration_ms, cfg.max_gap_ms
    )
    if not len(runs):
        return NO_RUNS
    return np.stack([rows[runs[:, 0]], rows[runs[:, 1] - 1] + 1], axis=1).astype(np.int64)
