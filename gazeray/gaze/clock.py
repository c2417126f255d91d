# SPDX-License-Identifier: Apache-2.0
"""What the time stamps of samples say: how fast the tracker sampled, and when, where the clock ticks more slowly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

WHOLE = 0.1
"""A mean this near to a whole number of samples per tick of the clock is that number: what lacks was dropped."""
PAUSE = 3.0
"""A step of more than so many usual ones is a pause."""
ONE = 1.62
"""A step of up to so many mean ones is a single interval; one of more holds samples that were dropped. In whole ms, of
no usual rate below 1000 Hz does a single interval become longer than that, and two of them stay longer."""
ENOUGH = 10
"""Steps from which on a clock contradicts a header."""
AGAIN = "the same as an earlier row: it is there twice"
SHARED = 0.1
"""Where more than this share of the samples have the stamp of the one before, the tracker is faster than its clock."""


def interval_ms(times_ms: np.ndarray, breaks: Sequence[int] | np.ndarray = ()) -> float:
    """Time from sample to sample, ms, by the whole clock; NaN where it never advances.

    The mean of the steps, so that a clock in whole ms gives 3.33 ms at 300 Hz and 0.5 ms at 2000 Hz. Pauses are left
    out, and a step over dropped samples is divided by the intervals that it holds. Equal times count: a tracker that
    samples faster than its clock ticks repeats them.

    times_ms: (N,), ms. breaks: the indices at which a new block begins, whose step from the block before is none.
    """
    steps = np.diff(np.asarray(times_ms, dtype=np.float64))
    within = np.ones(len(steps), dtype=bool)
    within[[index - 1 for index in breaks if 0 < index <= len(steps)]] = False
    steps = steps[within & (steps >= 0)]
    positive = steps[steps > 0]
    if not len(positive):
        return math.nan
    usual = float(np.median(positive))
    steps = steps[steps <= PAUSE * usual]
    mean = float(steps.mean())
    if len(steps) - np.count_nonzero(steps) > SHARED * len(steps):  # the usual step is a tick of the clock
        samples = round(usual / mean)
        return usual / samples if abs(usual / mean - samples) <= WHOLE and samples > 1 else mean
    intervals = steps / mean
    return float(steps.sum() / np.where(intervals <= ONE, intervals >= 0.5, np.round(intervals)).sum())


def clock_hz(times_ms: np.ndarray, breaks: Sequence[int] | np.ndarray = (), least: int = 1) -> float:
    """Samples per second, by `interval_ms`; NaN where the clock advances fewer than `least` times."""
    if np.count_nonzero(np.diff(times_ms) > 0) < least:
        return math.nan
    return round(1e3 / interval_ms(times_ms, breaks), 6)  # the stamps are not exact to the last bit


def clock_notes(header: Mapping[str, float], clock: float) -> list[str]:
    """A note when the sampling rate of the header differs from that of the clock, NaN if unknown, by more than 5 %."""
    said = header.get("sampling_hz")
    if said is None or not abs(clock - said) > 0.05 * said:
        return []
    return [f"the header says {said:g} Hz, the clock says {clock:.4g} Hz; the clock is used"]


def spread(times_ms: np.ndarray) -> np.ndarray:
    """The times (N,) of samples in ms, none decreasing; where many are equal, evenly between those of the clock.

    A tracker that samples faster than its clock ticks gives several samples the same stamp. They are put on lines
    through the middles of such groups, so that 2000 Hz in whole ms becomes a sample every half ms whether the stamps
    were rounded or cut off; over a pause no line is drawn. Where at most `SHARED` of the stamps are repeated they are
    returned as they are: then a few rows were written twice.
    """
    times = np.asarray(times_ms, dtype=np.float64)
    first = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
    count, ticks = len(times), times[first]
    if len(first) < 2 or count - len(first) <= max(1, SHARED * count):
        return times
    usual = float(np.median(np.diff(ticks)))
    stops = np.append(first[1:], count)
    begins = np.flatnonzero(np.diff(ticks, prepend=-np.inf) > PAUSE * usual)  # the first tick after each pause
    ends = np.append(begins[1:], len(ticks)) - 1
    at = np.concatenate([(first + stops - 1) / 2, first[begins] - 0.5, stops[ends] - 0.5])
    then = np.concatenate([ticks, ticks[begins] - usual / 2, ticks[ends] + usual / 2])
    order = np.lexsort((then, at))
    return np.asarray(np.interp(np.arange(count), at[order], then[order]))


def copies(columns: Mapping[str, Any], time: np.ndarray) -> np.ndarray:
    """Which rows (N,) are a block of lines that was written twice: the clock `time` (N,) steps back, and until it is
    where it was every row is in all `columns` (N,) the same as one from before."""
    block = np.cumsum(np.diff(time, prepend=time[:1]) < 0)
    if not block[-1:].any():
        return np.zeros(len(time), dtype=bool)
    same = pd.util.hash_pandas_object(pd.DataFrame(dict(columns)), index=False).to_numpy()
    _, first, which = np.unique(same, return_index=True, return_inverse=True)
    known = block[first[which]] < block
    begins = np.searchsorted(block, block)
    late = (begins > 0) & (time <= np.maximum.accumulate(time)[begins - 1])
    return np.asarray(known & late & ~np.isin(block, block[late & ~known]))
