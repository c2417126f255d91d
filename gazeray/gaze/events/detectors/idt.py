# SPDX-License-Identifier: Apache-2.0
"""I-DT in px and in deg: fixations by dispersion.

Salvucci & Goldberg (2000), "Identifying fixations and saccades in eye-tracking protocols", ETRA, section 3.2.
"""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.registry import NO_RUNS, DetectorConfig, Found, register_detector
from gazeray.gaze.events.samples import Bools, Floats, Prepared, Runs, covered, runs_of, window_velocity
from gazeray.gaze.events.screen import Screen


@register_detector("idt_px", about="dispersion in px", in_deg=False, bridges=False)
def detect_idt_px(gaze: Prepared, screen: Screen, cfg: DetectorConfig) -> Found:
    """I-DT in px: fixations alone; velocities in px mean nothing.

    A fixation starts at the first sample from which `min_duration_ms` of gaze has a dispersion of at most
    `dispersion_px`, and takes in every following sample until the dispersion would exceed it. The dispersion of a run
    is (max x - min x) + (max y - min y). Lost samples are left out. Two neighbouring valid samples more than
    `max_gap_ms` apart never share a fixation, whether lost samples or missing rows lie between them; a shorter gap
    counts into the fixation's duration.
    """
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
    if not (count := rows.size):
        return NO_RUNS
    time, x, y, starts = gaze.time_ms[rows], x[rows], y[rows], np.arange(count)
    # One past the first sample that completes the minimal duration from each start; beyond `count`: there is none.
    stops = np.maximum(np.searchsorted(time, time - gaze.step_ms + cfg.min_duration_ms), starts) + 1
    breaks = np.flatnonzero(np.diff(time) > cfg.max_gap_ms) + 1
    segment_stop = np.append(breaks, count)[np.searchsorted(breaks, starts, side="right")]
    fits = np.zeros(count, dtype=bool)
    possible = np.flatnonzero(stops <= segment_stop)
    windows = possible, stops[possible]
    fits[possible] = _spread(x, *windows) + _spread(y, *windows) <= limit

    candidates, found, after = np.flatnonzero(fits), [], 0
    xs, ys = x.tolist(), y.tolist()
    while (rank := int(np.searchsorted(candidates, after))) < candidates.size:
        start = int(candidates[rank])
        after = _extended(xs, ys, start, int(stops[start]), int(segment_stop[start]), limit)
        found.append((rows[start], rows[after - 1] + 1))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _spread(values: Floats, starts: Runs, stops: Runs) -> Floats:
    """max - min of values[start:stop] for many overlapping windows at once."""
    padded = np.append(values, values[-1])  # reduceat wants every index below the length; the pad is never reduced
    bounds = np.stack([starts, stops], axis=1).ravel()
    return np.asarray(np.maximum.reduceat(padded, bounds)[::2] - np.minimum.reduceat(padded, bounds)[::2])


def _extended(xs: list[float], ys: list[float], start: int, stop: int, end: int, limit: float) -> int:
    """The end, at most `end`, of the longest run from `start` within the dispersion `limit`; xs[start:stop] is."""
    left, right = min(xs[start:stop]), max(xs[start:stop])
    top, bottom = min(ys[start:stop]), max(ys[start:stop])
    while stop < end:
        left, right = min(left, xs[stop]), max(right, xs[stop])
        top, bottom = min(top, ys[stop]), max(bottom, ys[stop])
        if (right - left) + (bottom - top) > limit:
            break
        stop += 1
    return stop
