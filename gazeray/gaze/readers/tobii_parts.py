# SPDX-License-Identifier: Apache-2.0
"""Which presentation each row of gaze of a Tobii export belongs to, and from when to when a presentation lasts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gazeray.gaze.clock import copies
from gazeray.gaze.readers.text import bracketed
from gazeray.gaze.readers.vendor_tables import Cells, says_something

PAUSE = 5.0
"""Rows that are more than so many samples apart are not neighbours: the export leaves out what came between."""

LATE_MS = 200.0
"""A row that comes too late by less belongs where its time says; by more, its time is wrong, or the clock starts
again."""


@dataclass(frozen=True)
class Parts:
    """The presentations of a file. `names` of the trials where messages tell them, else empty; `codes` (N,) int, which
    of the P a row belongs to, -1: none; `windows` (P, 2) in ms."""

    names: list[str]
    codes: np.ndarray
    windows: np.ndarray

    @property
    def trial(self) -> pa.Array:
        """The name of the trial of each row (N,), null outside any."""
        return pa.array([*self.names, None], pa.string()).take(pa.array(self.codes % (len(self.names) + 1)))


@dataclass(frozen=True)
class Clock:
    """The rows of gaze, in the order of the file, those of a recording together.

    order   (G,) their indices
    group   (G,) int, the recording of each
    time    (G,) ms
    until   (G,) ms, when the next row of the recording comes; a sample later than `time` where none does
    step    ms from sample to sample
    """

    order: np.ndarray
    group: np.ndarray
    time: np.ndarray
    until: np.ndarray
    step: float


def clock_of(gaze: np.ndarray, group: np.ndarray, ms: np.ndarray, pause: float = PAUSE) -> Clock:
    """The clock of the rows of the mask `gaze` (N,) that have a time; `group` (N,) is the recording, `ms` the time.

    `pause` infinite: rows are events, not samples, and nobody knows when the last of a recording ends.
    """
    rows = np.flatnonzero(gaze & np.isfinite(ms))
    order = rows[np.argsort(group[rows], kind="stable")]
    own, time = group[order], ms[order]
    ahead = np.append(np.diff(time), np.nan)[: len(time)]
    ahead[np.flatnonzero(np.diff(own))] = np.nan  # behind the last row of a recording comes none
    positive = ahead[ahead > 0]
    step = float(np.median(positive)) if len(positive) else 0.0
    near = (ahead >= 0) & (ahead <= (pause * step if step else 0.0))
    return Clock(order, own, time, time + np.where(near, ahead, step if np.isfinite(pause) else np.inf), step)


def in_time(cells: Cells, gaze: np.ndarray, group: np.ndarray, ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the file as they should come, (M,), and those left out, (K,). Of each recording (`group`, (N,)) the
    rows of the mask `gaze` (N,) are put in order of `ms` (N,) where none of them is late by LATE_MS, and blocks that
    are there twice are left out. Other rows keep their place."""
    place, again = np.arange(len(ms)), np.zeros(len(ms), dtype=bool)
    rows = np.flatnonzero(gaze & np.isfinite(ms))
    order = rows[np.argsort(group[rows], kind="stable")]
    for own in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if (np.diff(ms[own]) < 0).any():
            its = cells.at(own)
            columns = {name: column.cells.to_pandas() for name, column in its.numbers.items()}
            columns |= {name: text.to_pandas() for name, text in its.text.items()}
            again[own] = copies(columns, ms[own])
        own = own[~again[own]]
        late = np.maximum.accumulate(ms[own]) - ms[own]
        if late.any() and late.max() < LATE_MS:
            place[own] = own[np.argsort(ms[own], kind="stable")]
    return place[~again], np.flatnonzero(again)


def parts_of_rows(clock: Clock, n: int, keys: Sequence[np.ndarray]) -> Parts:
    """A presentation lasts while the rows of a recording say the same in all `keys` (N,), to the row of gaze after it;
    `n` is N."""
    changes = np.ones(len(clock.order), dtype=bool)
    for own in (clock.group, *(key[clock.order] for key in keys)):
        changes[1:] &= own[1:] == own[:-1]
    changes[1:] = ~changes[1:]
    codes = np.full(n, -1, dtype=np.int64)
    codes[clock.order] = np.cumsum(changes) - 1
    first = np.flatnonzero(changes)
    last = np.append(first[1:], len(clock.order))[: len(first)] - 1
    return Parts([], codes, np.array([clock.time[first], clock.until[last]]).T.reshape(-1, 2))


def parts_by_messages(cells: Cells, columns: Sequence[str], clock: Clock, group: np.ndarray, ms: np.ndarray) -> Parts:
    """Presentations that messages bracket, each recording (`group`, (N,)) on its own clock (`ms`, (N,)).

    A message is what the cells of `columns` of a row say, one blank between them. Raises ReadError when there is no
    such column, or none of the messages begins a trial.
    """
    sheet, spec = cells.sheet, cells.sheet.file.spec.messages
    if spec is None:
        raise ValueError(f"{sheet.file.source}: no messages are declared")
    if not columns:
        raise sheet.error("no column Event for the messages that bracket trials")
    spoken = np.logical_or.reduce([says_something(cells, name) for name in columns]) & np.isfinite(ms)
    rows = np.flatnonzero(spoken)
    texts = [cells.text[name].take(pa.array(rows)).to_pylist() for name in columns]
    words = [" ".join(filter(None, cells_of_row)) for cells_of_row in zip(*texts, strict=True)]
    start, end = re.compile(spec.start), re.compile(spec.end) if spec.end else None
    names, windows, codes = list[str](), [np.empty((0, 2))], np.full(len(cells.rows), -1, dtype=np.int64)
    for recording in np.unique(clock.group):
        mine = [(float(ms[row]), text) for row, text in zip(rows, words, strict=True) if group[row] == recording]
        spans = bracketed(sorted(mine, key=lambda message: message[0]), start, end)
        own = clock.order[clock.group == recording]
        inside = spans.codes(ms[own])
        codes[own] = np.where(inside >= 0, inside + len(names), -1)
        names += spans.names
        windows.append(spans.windows)
    if not names:
        raise sheet.error(f"none of the {len(rows)} messages matches messages.start {spec.start!r}")
    return Parts(names, codes, np.concatenate(windows))


@dataclass(frozen=True)
class Events:
    """The fixations of a file, M of them, one for each presentation that a fixation has rows of gaze in.

    rows      (M,) the row that says most of it, in the order of the file
    codes     (M,) its presentation
    onset     (M,) ms, the first row of the fixation
    extent    (M,) ms, from there to the row after its last
    duration  (M,) as the column says
    members   (K,) the rows of gaze of all fixations, `member_of` (K,) the place of each among the M
    outside   the first rows of the fixations that lie in no presentation
    """

    rows: np.ndarray
    codes: np.ndarray
    onset: np.ndarray
    extent: np.ndarray
    duration: np.ndarray
    members: np.ndarray
    member_of: np.ndarray
    outside: np.ndarray


def events_of(
    clock: Clock, fixed: np.ndarray, number: np.ndarray, parts: Parts, duration: np.ndarray, placed: np.ndarray
) -> Events:
    """The fixations: runs of rows of gaze of the mask `fixed` (N,) with the same `number` (N,), whatever other events
    come between. `duration` (N,) is what the rows say, `placed` (N,) where they say a place."""
    at = np.flatnonzero(fixed[clock.order])
    rows = clock.order[at]
    begins = np.ones(len(at), dtype=bool)
    begins[1:] = (np.diff(clock.group[at]) != 0) | (np.diff(number[rows]) != 0)
    event, first = np.cumsum(begins) - 1, np.flatnonzero(begins)
    last = np.append(first[1:], len(at))[: len(first)] - 1
    onset = clock.time[at[first]]
    extent = clock.until[at[last]] - onset
    said = np.full(len(first), np.nan)
    timed = np.flatnonzero(np.isfinite(duration[rows]))
    own, where = np.unique(event[timed], return_index=True)
    said[own] = duration[rows[timed[where]]]
    codes = parts.codes[rows]
    inside = np.flatnonzero(codes >= 0)
    pair = event[inside] * (len(parts.windows) + 1) + codes[inside]
    best = np.lexsort((rows[inside], ~placed[rows[inside]], pair))
    _, start = np.unique(pair[best], return_index=True)
    chosen = inside[best[start]]
    outside = np.setdiff1d(event, event[inside])
    order = np.argsort(rows[chosen], kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    member_of = place[np.unique(pair, return_inverse=True)[1]]
    chosen = chosen[order]
    owner = event[chosen]
    return Events(
        *(rows[chosen], codes[chosen], onset[owner], extent[owner], said[owner]),
        *(rows[inside], member_of, rows[first[outside]]),
    )
