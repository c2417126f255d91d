# SPDX-License-Identifier: Apache-2.0
"""The velocity of gaze over a window of time, as in Olsen (2012), "The Tobii I-VT fixation filter"."""

from __future__ import annotations

import numpy as np

from gazeray.gaze.events.samples import Floats, Prepared


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
