# SPDX-License-Identifier: Apache-2.0
"""What is done about times that cannot be right: a clock that steps back, units that are wrong, events that overlap or
last over the edge of their trial. Nothing is mended without being counted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gazeray.gaze.clock import interval_ms
from gazeray.gaze.readers.base import COORDINATES, TIME_UNITS_MS, GazeTable, ReadError
from gazeray.gaze.readers.cells import row_rejects

NEAR_MS = 200.0
"""A row that comes too late or too early by less belongs where its time says; by more, its time is wrong."""

OUT_OF_ORDER = 0.1
"""The largest share of rows out of order for which a clock can be mended."""

STEPS_MS = (0.1, 500.0)
"""Between samples: 10 kHz and 2 Hz; no eye tracker is faster or slower."""

FIXATION_MS = (5.0, 20e3)
"""What half of the fixations of a file last at least, at most."""

RAREST = 100.0
"""From the onset of a fixation to that of the next it is usually not so many times as long as fixations last."""

ONE_FIXATION_MS = (1.0, 60e3)
TOUCHING_MS = 20.0
"""Fixations that overlap by less touch: trackers round their times, and count the last sample in."""

HALF = 0.6
"""Where 0.5 is the edge of the screen, one coordinate in ten is no further out."""

PAUSE_MS = 2000.0
"""A step in the clock of a trial that no blink explains."""

MOST_DWELL = 1.5
"""Fixations of one eye cannot last longer than the time in which they lie. Some detectors let some of them overlap; two
eyes, two clocks, or onsets and durations in different units overlap nearly always."""

MOST_REACH = 3.0
"""From the first to the last fixation of a trial it is not so many times as long as its samples last."""


def in_order(time: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The rows of a clock (N,) in order of time, and those whose time is wrong, (K,); None: it cannot be mended.

    The longest run of times that never steps back is believed (Schensted 1961, "Longest increasing and decreasing
    subsequences"). Rows beside it that are off by less than NEAR_MS are sorted in, others are left out; with more than
    OUT_OF_ORDER of all rows beside it (but for a single one), the clock was set back or belongs to several recordings.
    """
    if not (np.diff(time) < 0).any():
        return np.arange(len(time)), np.empty(0, dtype=np.int64)
    kept = _longest_rising(time)
    beside = np.setdiff1d(np.arange(len(time)), kept, assume_unique=True)
    if len(beside) > max(1, OUT_OF_ORDER * len(time)) or len(kept) < 3:
        return None
    behind = np.searchsorted(kept, beside)
    before = time[kept[np.maximum(behind - 1, 0)]]
    after = time[kept[np.minimum(behind, len(kept) - 1)]]
    near = (time[beside] > np.minimum(before, after) - NEAR_MS) & (time[beside] < np.maximum(before, after) + NEAR_MS)
    good = np.sort(np.concatenate([kept, beside[near]]))
    return good[np.argsort(time[good], kind="stable")], beside[~near]


def _longest_rising(time: np.ndarray) -> np.ndarray:
    """The rows (K,) of a longest subsequence of times (N,) that never steps back."""
    tails: list[float] = []
    rows: list[int] = []
    previous = np.full(len(time), -1, dtype=np.int64)
    for row, value in enumerate(time.tolist()):
        place = bisect_right(tails, value)
        previous[row] = rows[place - 1] if place else -1
        if place == len(tails):
            tails.append(value)
            rows.append(row)
        else:
            tails[place], rows[place] = value, row
    chain, row = [], rows[-1]
    while row >= 0:
        chain.append(row)
        row = int(previous[row])
    return np.array(chain[::-1], dtype=np.int64)


def check_times(table: GazeTable, kind: str, source: str) -> GazeTable:
    """The table without the fixations that no eye makes; its rejects are those alone.

    Raises ReadError where the unit of the times must be wrong.
    """
    if kind == "samples":
        time = table.columns["timestamp_ms"]
        steps = np.diff(time)
        steps = steps[steps > 0]
        if len(steps) >= 10 and not STEPS_MS[0] <= (usual := float(np.median(steps))) <= STEPS_MS[1]:
            fault = f"samples are {usual:.4g} ms apart: the unit of timestamp_ms must be wrong"
            raise ReadError(source, f"{fault}; {_declare('timestamp_ms')}")
        return replace(table, rejects=[])
    duration = table.columns["duration_ms"]
    positive = duration[duration > 0]
    if len(positive) and not FIXATION_MS[0] <= (usual := float(np.median(positive))) <= FIXATION_MS[1]:
        fault = f"fixations last {usual:.4g} ms (median): the unit of duration_ms must be wrong"
        raise ReadError(source, f"{fault}; {_declare('duration_ms')}")
    steps = np.diff(table.columns["onset_ms"])
    steps = steps[steps > 0]
    if len(positive) and len(steps) >= 10 and (apart_ms := float(np.median(steps))) > RAREST * usual:
        what = f"fixations begin {apart_ms:.4g} ms apart and last {usual:.4g} ms (medians)"
        raise ReadError(source, f"{what}: the units of onset_ms and duration_ms cannot both be right")
    odd = (duration < 0) | ((duration > 0) & (duration < ONE_FIXATION_MS[0])) | (duration > ONE_FIXATION_MS[1])
    where = np.flatnonzero(odd)

    def reason(index: int) -> str:
        own = duration[where[index]]
        return f"negative duration: {own:g} ms" if own < 0 else f"no fixation lasts {own:g} ms"

    rejects = row_rejects(source, table.rows[where], "gaze", reason, lambda index: table.ids[table.codes[where[index]]])
    return replace(table.where(~odd), rejects=rejects)


def _declare(name: str) -> str:
    """What to do about a wrong unit."""
    return f"declare units: {{{name}: ...}}, one of {', '.join(TIME_UNITS_MS)}"


def check_places(table: GazeTable, source: str) -> None:
    """Raises ReadError where coordinates that should be px are fractions, or the other way round."""
    for name in COORDINATES:
        there = np.abs(table.columns[name][np.isfinite(table.columns[name])])
        if len(there) < 10:
            continue
        usual, unit = float(np.quantile(there, 0.9)), table.units[name]
        if unit == "px" and usual <= 1.5 and there.any():
            units = "norm, height or normalised" if table.origin == "screen_centre" else "normalised"
            raise ReadError(source, f"{name} lies between 0 and {usual:.3g}: fractions, not px; declare units: {units}")
        if unit == "normalised" and table.origin == "screen_centre" and usual > HALF:
            reason = f"{name} reaches {usual:.3g} from the middle of the screen, whose edge is at 0.5"
            raise ReadError(source, f"{reason}: PsychoPy's units? declare units: norm, or height")
        if unit != "px" and usual > 20:
            raise ReadError(source, f"{name} reaches {usual:.4g}: px, not {unit}; declare units: px")


def cut_to_windows(table: GazeTable) -> GazeTable:
    """Fixations that last over the edge of their presentation cut to it, those wholly outside left out, with a note
    each; the rejects stay."""
    if table.windows is None or not len(table.codes):
        return table
    starts, ends = table.windows[table.codes].T
    onset, duration = table.columns["onset_ms"], table.columns["duration_ms"]
    first, last = np.maximum(onset, starts), np.minimum(onset + duration, ends)
    # 1e-6: an end that is the same time written in another unit differs by rounding
    cut, inside = (first > onset + 1e-6) | (last < onset + duration - 1e-6), (last > first) | (duration == 0)
    columns = table.columns | {
        "onset_ms": np.where(cut, first, onset),
        "duration_ms": np.where(cut, last - first, duration),
    }
    n = int((cut & inside).sum())
    notes = [f"fixations cut at the edge of a trial: {n} of {int(inside.sum())}"] if n else []
    if not inside.all():
        notes.append(f"fixations outside the time of their trial, left out: {int((~inside).sum())} of {len(inside)}")
    kept = replace(table, columns=columns).where(inside)
    return replace(kept, rejects=table.rejects, notes=[*table.notes, *notes])


def apart(onset: np.ndarray, duration: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Fixations (N,) ms in order of onset without overlap: which of them, in order of onset (K,), their durations (K,),
    each cut where the next begins, and how many overlapped by more than TOUCHING_MS. Of two with one onset the longer
    one is kept.

    None where they last longer in all than MOST_DWELL times the time from the first to the last: their times are wrong.
    """
    if not len(onset):
        return np.empty(0, dtype=np.int64), np.empty(0), 0
    order = np.lexsort((duration, onset))
    onset, duration = onset[order], duration[order].astype(np.float64)
    ends = onset + duration
    if duration.sum() > MOST_DWELL * (ends.max() - onset[0]):
        return None
    over = np.maximum(ends[:-1] - onset[1:], 0.0)
    kept = duration - np.append(over, 0.0)
    there = (kept > 0) | (duration == 0)
    return order[there], kept[there], int((over > TOUCHING_MS).sum())


def within_samples(fixations: Mapping[str, np.ndarray], time: np.ndarray) -> tuple[dict[str, np.ndarray], int, str]:
    """The fixations of a trial cut to the time of its samples (N,) ms, how many were cut or lie outside, and why
    none of them can be used ("": they can).

    Where most fixations lie outside, the two kinds count from different zeros: then only how long they last, in all and
    from the first to the last, is compared with the trial.
    """
    onset, duration = fixations["onset_ms"], fixations["duration_ms"].astype(np.float64)
    if not len(time) or not len(onset):
        return dict(fixations), 0, ""
    start, end = float(time[0]), float(time[-1]) + float(np.fmax(interval_ms(time), 1.0))
    first, last = np.maximum(onset, start), np.minimum(onset + duration, end)
    inside = (last > first) | ((duration == 0) & (onset >= start) & (onset <= end))
    if 2 * inside.sum() < len(onset):
        total, lasts = float(duration.sum()), end - start
        reach = float((onset + duration).max() - onset.min())
        if total > 1.02 * lasts + TOUCHING_MS:
            why = f"fixations last {total:.4g} ms in all"
        elif reach > MOST_REACH * lasts + TOUCHING_MS:
            why = f"fixations reach over {reach:.4g} ms"
        else:
            return dict(fixations), 0, ""
        return {}, 0, f"{why}, the trial over {lasts:.4g} ms: their times are in another unit"
    over = inside & ((onset < start - TOUCHING_MS) | (onset + duration > end + TOUCHING_MS))
    found = {name: values[inside] for name, values in fixations.items()}
    found["onset_ms"], found["duration_ms"] = first[inside], (last - first)[inside].astype(np.float32)
    return found, int(over.sum() + (~inside).sum()), ""
