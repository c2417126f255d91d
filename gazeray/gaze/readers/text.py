# SPDX-License-Identifier: Apache-2.0
"""What the text exports of eye trackers share: encodings, two eyes, trials bracketed by messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import TIMES, GazeFile, GazeTable, ReadError, unpacked
from gazeray.gaze.readers.spec import GazeSpec, MessagesSpec
from gazeray.tables import Reject

TOUCHING_MS = 20.0
"""Trials that overlap by less touch: their times are rounded, or a frame late."""

Eyes = dict[str, tuple[np.ndarray, np.ndarray]]
"""Eye -> x and y, each (N,) float64, NaN where lost."""


def as_bytes(file: GazeFile) -> bytes:
    """Text as bytes in an encoding that contains ASCII, without a byte-order mark, every line ended by a line feed.

    Raises ReadError: empty, damaged gzip, damaged UTF-16.
    """
    data = unpacked(file.data, file.source)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            reason = f"damaged UTF-16 text: {error.reason} near byte {error.start}"
            raise ReadError(file.source, reason) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def as_text(data: bytes) -> str:
    """UTF-8 text, else Latin-1, which every byte can be."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def without_missing(eyes: Eyes, spec: GazeSpec) -> Eyes:
    """The eyes with what the declaration calls missing made NaN; a sample whose x or y is lost is lost."""
    clean = {}
    for eye, (x, y) in eyes.items():
        lost = np.isnan(x) | np.isnan(y)
        if spec.missing:
            lost |= np.isin(x, spec.missing) | np.isin(y, spec.missing)
        clean[eye] = (np.where(lost, np.nan, x), np.where(lost, np.nan, y))
    return clean


def one_gaze(eyes: Eyes, spec: GazeSpec, source: str) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    """x and y (N,) of the eye that the declaration asks for, and notes on the choice.

    best: the eye with fewer lost samples in the file (the left one when equal). mean: the mean of both eyes where both
    are there, else the one that is there. Raises ReadError when the eye asked for is not in the file.
    """
    if spec.eye in ("left", "right") and spec.eye not in eyes and len(eyes.keys() & {"left", "right"}):
        raise ReadError(source, f"no {spec.eye} eye in the file (there: {', '.join(sorted(eyes))})")
    if len(eyes) == 1:
        return next(iter(eyes.values())), []
    if spec.eye == "mean":
        there = np.array([~np.isnan(x) for x, _ in eyes.values()])
        n = there.sum(axis=0)
        sums = [np.where(there, [eye[axis] for eye in eyes.values()], 0.0).sum(axis=0) for axis in (0, 1)]
        x, y = (np.where(n > 0, total / np.maximum(n, 1), np.nan) for total in sums)
        return (x, y), ["both eyes are in the file; their mean is used"]
    lost = {eye: int(np.isnan(eyes[eye][0]).sum()) for eye in sorted(eyes)}
    chosen = min(lost, key=lambda eye: lost[eye]) if spec.eye == "best" else spec.eye
    return eyes[chosen], [chosen_eye(chosen, lost)]


def chosen_eye(chosen: str, lost: Mapping[str, int]) -> str:
    """The note on the eye that was chosen; lost: eye -> its lost samples."""
    counts = ", ".join(f"{eye} {count}" for eye, count in lost.items())
    return f"both eyes are in the file; the {chosen} eye is used (lost samples: {counts})"


def eye_of_fixations(there: Sequence[str], spec: GazeSpec, source: str) -> tuple[str, list[str]] | None:
    """The eye (of `there`, at least one) whose fixations are used, and notes; None: the better one of both.

    Raises ReadError when the eye asked for is not there, and for the mean of events that begin at different times.
    """
    if spec.eye in ("left", "right") and spec.eye not in there:
        raise ReadError(source, f"no fixations of the {spec.eye} eye in the file (there: {', '.join(there)})")
    if len(there) < 2:
        return there[0], []
    if spec.eye == "mean":
        raise ReadError(source, "fixations of two eyes begin at different times and have no mean: ask for one eye")
    return None if spec.eye == "best" else (spec.eye, [f"both eyes are in the file; the {spec.eye} eye is used"])


def rejects_outside(source: str, kind: str, rows: np.ndarray, participant: str) -> list[Reject]:
    """One reject for the rows (M,) of a file that lie outside any trial; none when there are none."""
    reason = f"{len(rows)} {kind} lie outside any trial, this is the first"
    return [Reject(source, int(rows[0]), "read", reason, participant)] if len(rows) else []


@dataclass(frozen=True)
class Spans:
    """Presentations of trials as ranges of positions (lines of the file, or times) that do not overlap, in order: the
    name of the trial, first position, end (exclusive). A name may come back."""

    names: list[str]
    starts: list[float]
    ends: list[float]

    @property
    def windows(self) -> np.ndarray:
        """(S, 2) float64, start and end of each."""
        return np.array([self.starts, self.ends], dtype=np.float64).T.reshape(-1, 2)

    def codes(self, positions: np.ndarray) -> np.ndarray:
        """(N,) int, the span that a position lies in; -1: in none."""
        if not self.names:
            return np.full(len(positions), -1)
        span = np.searchsorted(np.array(self.starts), positions, side="right") - 1
        return np.where((span >= 0) & (positions < np.array(self.ends)[span]), span, -1)

    def overlapping(self, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The events, from `starts` to `ends` (N,), that last into spans: index of the event (M,) and of the span (M,),
        one pair for each span that an event shares more than its edge with; an event of no length lies in one."""
        if not self.names:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first = np.searchsorted(np.array(self.ends), starts, side="right")
        behind = np.searchsorted(np.array(self.starts), ends, side="left")
        behind = np.where(ends > starts, behind, np.where(self.codes(starts) >= 0, first + 1, first))
        count = np.where(np.isnan(starts) | np.isnan(ends), 0, np.maximum(behind - first, 0))
        event = np.repeat(np.arange(len(starts)), count)
        before = np.repeat(np.cumsum(count) - count, count)
        return event, first[event] + np.arange(len(event)) - before


def spans_apart(
    names: Sequence[str], starts: np.ndarray, ends: np.ndarray, source: str, fault: Callable[[int, int], str]
) -> Spans:
    """Spans from `starts` to `ends` (S,) ms in order of time, each cut where it touches the next.

    Raises ReadError where two overlap by more: what `fault` says of their indices.
    """
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    wrong = np.flatnonzero(ends[:-1] - starts[1:] > TOUCHING_MS)
    if len(wrong):
        raise ReadError(source, fault(int(order[wrong[0]]), int(order[wrong[0] + 1])))
    ends[:-1] = np.minimum(ends[:-1], starts[1:])
    return Spans([names[index] for index in order.tolist()], starts.tolist(), ends.tolist())


def sorted_into(table: GazeTable, spans: Spans, file: GazeFile, told: str) -> GazeTable:
    """The rows of a table in the spans (ms) that they lie in or, fixations, last into; one reject for those outside.

    `file` is what the table was read of, its trial the one that the path gives, if any; `told` is what tells the spans.
    Raises ReadError: several people, nothing lies in any span.
    """
    people = list(dict.fromkeys(person for person, _ in table.ids))
    if len(people) > 1:
        raise ReadError(file.source, f"{told} tell the trials of one person, and the file holds several")
    person, kind = people[0] if people else file.ids[0], file.spec.kind
    times = table.columns[TIMES[kind][0]]
    if kind == "samples":
        codes = spans.codes(times)
        index, span = np.flatnonzero(codes >= 0), codes[codes >= 0]
    else:
        index, span = spans.overlapping(times, times + table.columns["duration_ms"])
    if len(times) and spans.names and not len(index):
        lies = f"the {kind} from {times.min() / 1e3:.6g} to {times.max() / 1e3:.6g} s"
        where = f"the trials of {told} from {spans.starts[0] / 1e3:.6g} to {spans.ends[-1] / 1e3:.6g} s"
        raise ReadError(file.source, f"all gaze lies outside every trial: {lies}, {where}")
    outside = np.ones(len(times), dtype=bool)
    outside[index] = False
    rejects = [replace(reject, trial=file.ids[1]) for reject in table.rejects]
    rejects += rejects_outside(file.source, kind, table.rows[outside], person)
    ids = [(person, file.ids[1] or name) for name in spans.names]
    found = replace(table.where(index), codes=span, ids=ids, windows=spans.windows, accuracy=[])
    return replace(found, rejects=rejects)


def spans_by_messages(messages: Sequence[tuple[float, str]], spec: MessagesSpec, source: str) -> Spans:
    """Trials from messages (position, text) in order, as the declaration brackets them.

    Raises ReadError when no message begins a trial.
    """
    spans = bracketed(messages, re.compile(spec.start), re.compile(spec.end) if spec.end else None)
    if not spans.names:
        raise ReadError(source, f"none of the {len(messages)} messages matches messages.start {spec.start!r}")
    return spans


def bracketed(messages: Sequence[tuple[float, str]], start: re.Pattern[str], end: re.Pattern[str] | None) -> Spans:
    """Trials from messages (position, text) in order; a group `trial` of `start` names them, else they are counted.

    A trial begins at its start message and ends at the next end message, the next start, or never (infinity).
    """
    spans = Spans([], [], [])
    for position, text in messages:
        begins = start.search(text)
        if (begins or (end and end.search(text))) and spans.ends and spans.ends[-1] == np.inf:
            spans.ends[-1] = position
        if begins:
            name = identifier(begins.groupdict().get("trial") or "")
            spans.names.append(name or str(len(spans.names) + 1))
            spans.starts.append(position)
            spans.ends.append(np.inf)
    return spans
