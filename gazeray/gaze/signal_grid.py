# SPDX-License-Identifier: Apache-2.0
"""Channels from the times of their samples onto a fixed grid of times: gaps bridged or masked, no aliases.

Where samples come faster than the grid's points, every point is a weighted mean of the samples around it, by the
impulse response of a linear-phase low-pass (Kaiser window; Oppenheim & Schafer 2010, "Discrete-time signal processing",
7.5). It is taken at each sample's own distance from the point, so that uneven stamps need no even grid in between,
which would cost the amplitude of what is fast. It is symmetric, hence shifts nothing in time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gazeray.gaze.clock import ONE

SAME_RATE = 1.05
"""Samples that come up to so many times as fast as the grid's points are as fast as they."""
PASS, STOP = 0.6, 1.0
"""The low-pass keeps what is below the first and stops what is above the second, as shares of half the grid's rate."""
RIPPLE_DB = 40.0
"""By so much what is above is weaker, and by 1 % at most what is below changes."""
FINEST = 64
"""Where rows are missing, so many are put into a step of the grid at most, however fast the samples came."""
AT_ONCE_MS = 1e-3
"""A sample that is no farther from a point is at the point: stamps are not exact to the last bit."""
TAPS = 4096
"""Values of the impulse response on either side of its middle, in a table."""

Floats = NDArray[np.float64]


def forward(time_ms: Floats) -> NDArray[np.bool_]:
    """Which samples (N,) are later than all before them: not those with the stamp of another, nor those from where a
    clock steps back until it is where it was."""
    return np.asarray(time_ms > np.concatenate([[-np.inf], np.maximum.accumulate(time_ms)[:-1]]))


def reach_ms(grid_ms: Floats) -> float:
    """How far before and after a point of the grid the low-pass looks, ms."""
    step_ms = (grid_ms[-1] - grid_ms[0]) / (len(grid_ms) - 1)
    return float((RIPPLE_DB - 7.95) / (2.285 * np.pi * (STOP - PASS)) / 2 * step_ms)


def on_grid(time_ms: Floats, values: Floats, grid_ms: Floats, max_gap_ms: float, usual_ms: float) -> Floats:
    """The channels on the grid, (C, S); NaN where a point lies before the first or after the last sample of a channel
    that is not lost, or between two that are more than `max_gap_ms` apart. One usual step is never a gap.

    time_ms: (N,), rising. values: (C, N), NaN = lost. grid_ms: (S,), rising evenly. usual_ms: from sample
    to sample; NaN = not known. Between samples lie straight lines.
    """
    found = np.full((len(values), len(grid_ms)), np.nan)
    good = ~np.isnan(values)
    some = np.flatnonzero(good.any(axis=1))
    if not len(some):
        return found
    there = _bridged(time_ms, good, grid_ms, max(max_gap_ms, 0.0 if np.isnan(usual_ms) else ONE * usual_ms))
    step_ms = (grid_ms[-1] - grid_ms[0]) / (len(grid_ms) - 1)
    if step_ms > SAME_RATE * usual_ms:
        usual_ms = max(usual_ms, step_ms / FINEST)
        dense_ms = _without_pauses(time_ms, usual_ms)
        filled = np.array([np.interp(dense_ms, time_ms[good[c]], values[c, good[c]]) for c in some])
        found[some] = _low_passed(dense_ms, filled, grid_ms, usual_ms)
    else:
        for c in some:
            found[c] = np.interp(grid_ms, time_ms[good[c]], values[c, good[c]])
    found[~there] = np.nan
    return found


def _bridged(time_ms: Floats, good: NDArray[np.bool_], grid_ms: Floats, most_ms: float) -> NDArray[np.bool_]:
    """Which points (C, S) lie between two good samples that are at most so far apart."""
    edge = np.full((len(good), 1), np.inf)
    before = np.maximum.accumulate(np.where(good, time_ms, -np.inf), axis=1)
    after = np.minimum.accumulate(np.where(good, time_ms, np.inf)[:, ::-1], axis=1)[:, ::-1]
    before = np.concatenate([-edge, before], axis=1)[:, np.searchsorted(time_ms, grid_ms + AT_ONCE_MS, "right")]
    after = np.concatenate([after, edge], axis=1)[:, np.searchsorted(time_ms, grid_ms - AT_ONCE_MS, "left")]
    return np.asarray(after - before <= most_ms)


def _without_pauses(time_ms: Floats, usual_ms: float) -> Floats:
    """The times, and more of them about a usual step apart wherever rows are missing."""
    steps = np.diff(time_ms)
    pauses = np.flatnonzero(steps > ONE * usual_ms)
    more = [
        np.linspace(time_ms[at], time_ms[at + 1], int(np.ceil(steps[at] / usual_ms)), endpoint=False)[1:]
        for at in pauses
    ]
    return np.sort(np.concatenate([time_ms, *more])) if more else time_ms


def _low_passed(time_ms: Floats, values: Floats, grid_ms: Floats, usual_ms: float) -> Floats:
    """The channels (C, N), none of them lost, at the grid's points by the low-pass, (C, S)."""
    reach = reach_ms(grid_ms)
    time_ms, values = _mirrored(time_ms, values, reach)
    first = np.searchsorted(time_ms, grid_ms - reach)
    stop = np.searchsorted(time_ms, grid_ms + reach, "right")
    at = first[:, None] + np.arange(int((stop - first).max()))
    within = at < stop[:, None]
    at = np.minimum(at, len(time_ms) - 1)
    far = np.minimum(np.abs(time_ms[at] - grid_ms[:, None]) * (TAPS / reach), TAPS)
    width = np.concatenate([[usual_ms], (time_ms[2:] - time_ms[:-2]) / 2, [usual_ms]])[: len(time_ms)]
    weights = np.where(within, _response(reach)[np.rint(far).astype(np.intp)] * width[at], 0.0)
    total = weights.sum(axis=1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    return np.asarray(np.einsum("csk,sk->cs", values[:, at], weights))


def _mirrored(time_ms: Floats, values: Floats, reach: float) -> tuple[Floats, Floats]:
    """Before and after the samples they themselves, turned by half a turn about the first and the last one, so that the
    low-pass has both sides there, and keeps what is straight."""
    head = slice(int(np.searchsorted(time_ms, time_ms[0] + reach)), 0, -1)
    tail = slice(-2, -1 - len(time_ms) + int(np.searchsorted(time_ms, time_ms[-1] - reach)), -1)
    times = [2 * time_ms[0] - time_ms[head], time_ms, 2 * time_ms[-1] - time_ms[tail]]
    turned = [2 * values[:, :1] - values[:, head], values, 2 * values[:, -1:] - values[:, tail]]
    return np.concatenate(times), np.concatenate(turned, axis=1)


@lru_cache(maxsize=8)
def _response(reach: float) -> Floats:
    """The impulse response at distances from 0 to `reach` ms, (TAPS + 1,)."""
    from scipy.signal import firwin, kaiser_beta  # takes a while

    step_ms = reach / reach_ms(np.array([0.0, 1.0]))
    cutoff = (PASS + STOP) / 2 / (2 * step_ms)
    taps = firwin(2 * TAPS + 1, cutoff, window=("kaiser", kaiser_beta(RIPPLE_DB)), fs=TAPS / reach)
    return np.asarray(taps[TAPS:], dtype=np.float64)
