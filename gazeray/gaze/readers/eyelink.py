# SPDX-License-Identifier: Apache-2.0
"""EyeLink .asc files, as edf2asc writes them: samples and the fixations that the tracker found.

Source of the layout: EyeLink user manual (SR Research), "Using ASC Files". Messages, samples and events belong
together by their order in the file, not by their times. Rows are line numbers, the first line of the file is 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import TIME_UNITS_MS, GazeSpec, GazeTable, ReadError, register_reader, unpacked
from gazeray.gaze.readers.cells import LARGEST, row_rejects
from gazeray.gaze.readers.eyelink_lines import Event, Events, Lines, Samples, check_gaze, parse_samples, split_lines
from gazeray.gaze.readers.text import (
    Eyes,
    Spans,
    as_bytes,
    clock_hz,
    clock_notes,
    one_gaze,
    spans_by_messages,
    without_missing,
)
from gazeray.tables import Reject

TRIAL_START = re.compile(r"^(?:-?\d+\s+)?TRIALID\b[:\s]*(\S*)")
TRIAL_END = re.compile(r"^(?:-?\d+\s+)?TRIAL_RESULT\b")
COORDS = re.compile(r"^(?:-?\d+\s+)?(DISPLAY|GAZE)_COORDS\W*" + r"(-?\d+\.?\d*)[\s,]+" * 3 + r"(-?\d+\.?\d*)")
DURATION_TOLERANCE_MS = 20.0
"""A fixation lasts from its first to its last sample and one sampling interval; more is a fault of the file."""


@register_reader("eyelink", supplies=("trial",), described=True)
def read_eyelink(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one .asc file, plain or gzipped; see `Reader`.

    Times are those of the tracker's clock. A sample is lost where the file has a dot and between SBLINK and EBLINK. The
    trial comes from the path, or from `spec.messages`, or from the messages TRIALID name ... TRIAL_RESULT, or is the
    number of the START...END block. Raises ReadError: empty, damaged gzip, binary .edf, HREF or RAW data, none of the
    rows asked for, an eye that was not recorded, messages that never match.
    """
    data = as_bytes(unpacked(data, source), source)
    if data.startswith(b"SR_RESEARCH"):
        raise ReadError(
            source, "a binary .edf file: convert it with edf2asc of the EyeLink Developers Kit, read the .asc"
        )
    if spec.columns:
        raise ReadError(source, f"an .asc file has no columns to name: leave out {', '.join(map(repr, spec.columns))}")
    lines = split_lines(data)
    events = lines.events()
    read = _samples if spec.kind == "samples" else _fixations
    return read(lines, events, source, spec, fixed)


def _samples(lines: Lines, events: Events, source: str, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    """The samples as a GazeTable."""
    samples = parse_samples(lines, events, source)
    header, notes = _header(events)
    starts = np.searchsorted(samples.lines, events.blocks)
    notes += clock_notes(header, clock_hz(samples.time_ms * TIME_UNITS_MS[spec.unit("timestamp_ms")], starts))
    x, y, more = _gaze(samples, events, source, spec)
    columns = {"timestamp_ms": samples.time_ms * TIME_UNITS_MS[spec.unit("timestamp_ms")], "x_px": x, "y_px": y}
    return _table(
        columns, samples.lines, samples.broken, len(lines.samples), events, source, spec, fixed, header, [*notes, *more]
    )


def _gaze(samples: Samples, events: Events, source: str, spec: GazeSpec) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x and y (n,) of the eye to use, and notes. Where best is not recorded, the other eye is taken."""
    eyes = without_missing(_without_blinks(samples, events), spec)
    x, y, notes = one_gaze(eyes, spec, source)
    if spec.eye == "best" and len(eyes) == 2:
        for eye, other in (("left", "right"), ("right", "left")):
            alone = samples.recorded[other] & ~samples.recorded[eye]
            if alone.any() and x is eyes[eye][0]:
                x, y = (np.where(alone, eyes[other][axis], eyes[eye][axis]) for axis in (0, 1))
                notes.append(f"{int(alone.sum())} samples are of the {other} eye, the only one recorded then")
                break
    return x, y, notes


def _without_blinks(samples: Samples, events: Events) -> Eyes:
    """The eyes with the samples of their blinks lost, block by block."""
    eyes = dict(samples.eyes)
    bounds = np.r_[0, np.searchsorted(samples.lines, events.blocks), len(samples.lines)]
    for eye, (x, y) in samples.eyes.items():
        closed = _block_spans(events, "EBLINK", eye)
        begun = _block_spans(events, "SBLINK", eye)
        lost = np.zeros(len(x), dtype=bool)
        for block in closed.keys() | begun.keys():
            done = closed.get(block, [])
            ended = {start for start, _ in done}
            spans = done + [(start, np.inf) for start, _ in begun.get(block, []) if start not in ended]
            rows = slice(bounds[block], bounds[block + 1])
            lost[rows] = _covered(samples.time_ms[rows], spans)
        eyes[eye] = (np.where(lost, np.nan, x), np.where(lost, np.nan, y))
    return eyes


def _block_spans(events: Events, word: str, eye: str) -> dict[int, list[tuple[float, float]]]:
    """Block (0: before the first START) -> (start, end) in ms of the events of an eye; a start alone ends at once."""
    spans: dict[int, list[tuple[float, float]]] = {}
    for event in events.eye.get(word, []):
        times = _floats(event.cells[:2])
        if event.eye == eye and len(times) and np.isfinite(times).all():
            block = int(np.searchsorted(events.blocks, event.line))
            spans.setdefault(block, []).append((times[0], times[-1]))
    return spans


def _covered(times: np.ndarray, spans: list[tuple[float, float]]) -> np.ndarray:
    """(n,) bool: which times (n,), in any order, lie in one of the spans, both ends included."""
    order = np.argsort(times, kind="stable")
    first = np.searchsorted(times[order], [start for start, _ in spans], side="left")
    behind = np.searchsorted(times[order], [end for _, end in spans], side="right")
    steps = np.zeros(len(times) + 1, dtype=np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, np.maximum(behind, first), -1)
    covered = np.empty(len(times), dtype=bool)
    covered[order] = np.cumsum(steps)[:-1] > 0
    return covered


def _fixations(lines: Lines, events: Events, source: str, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    """The fixations (EFIX lines) as a GazeTable. A fixation belongs to the trial in which it begins."""
    found = events.eye.get("EFIX", [])
    if not found:
        raise ReadError(source, "no fixation (EFIX line) in the file")
    check_gaze(events.layouts["EVENTS"], source, "events", "")
    header, notes = _header(events)
    eye, more = _fixation_eye(found, lines, events, source, spec)
    begun = {(event.eye, *event.cells[:1]): event.line for event in events.eye.get("SFIX", [])}
    used = [event for event in found if event.eye == eye]
    values, broken = np.full((len(used), 4), np.nan), {}
    for row, event in enumerate(used):
        start, end, duration, *xy = numbers = _floats(event.cells[:5]) + [np.nan] * (5 - len(event.cells[:5]))
        values[row] = (start, duration, *xy)
        if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST:
            broken[event.line] = "EFIX without five usable numbers: start, end, duration, x, y"
        elif abs(duration - (end - start)) > DURATION_TOLERANCE_MS:
            broken[event.line] = f"EFIX from {start:.10g} to {end:.10g} ms says that it lasts {duration:g} ms"
    good = np.array([event.line not in broken for event in used], dtype=bool)
    factors = [TIME_UNITS_MS[spec.unit(name)] for name in ("onset_ms", "duration_ms")]
    onset, duration_ms = (values[good, column] * factor for column, factor in enumerate(factors))
    x, y = without_missing({eye: (values[good, 2], values[good, 3])}, spec)[eye]
    columns = {"onset_ms": onset, "duration_ms": duration_ms, "x_px": x, "y_px": y}
    at = np.array([event.line for event in used], dtype=np.int64)[good]
    first = np.array([begun.get((event.eye, *event.cells[:1]), event.line) for event in used], dtype=np.int64)[good]
    return _table(columns, at, broken, len(used), events, source, spec, fixed, header, [*notes, *more], first)


def _fixation_eye(
    found: list[Event], lines: Lines, events: Events, source: str, spec: GazeSpec
) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice.

    Raises ReadError when the eye asked for is not there, and for the mean of events that begin at different times.
    """
    there = sorted({event.eye for event in found})
    if spec.eye in ("left", "right"):
        if spec.eye not in there:
            raise ReadError(source, f"no fixations of the {spec.eye} eye in the file (there: {', '.join(there)})")
        return spec.eye, [f"both eyes are in the file; the {spec.eye} eye is used"] if len(there) == 2 else []
    if len(there) == 1:
        return there[0], []
    if spec.eye == "mean":
        raise ReadError(source, "fixations of two eyes begin at different times and have no mean: ask for one eye")
    if len(lines.samples) and not any(word == "HREF" for part in events.layouts["SAMPLES"] for word in part.words):
        eyes = without_missing(_without_blinks(samples := parse_samples(lines, events, source), events), spec)
        lost = {eye: int(np.isnan(eyes[eye][0]).sum()) for eye in there if eye in eyes}
        if len(lost) == 2 and len(samples.lines):
            eye = min(lost, key=lambda eye: lost[eye])
            return eye, [f"both eyes are in the file; the {eye} eye is used (lost samples: {lost})"]
    count = {eye: sum(event.eye == eye for event in found) for eye in there}
    eye = max(count, key=lambda eye: count[eye])
    return eye, [f"both eyes are in the file, without samples; the {eye} eye is used (it has more fixations)"]


def _table(
    columns: dict[str, np.ndarray],
    lines: np.ndarray,
    broken: dict[int, str],
    n_rows: int,
    events: Events,
    source: str,
    spec: GazeSpec,
    fixed: Mapping[str, str],
    header: dict[str, float],
    notes: list[str],
    begun: np.ndarray | None = None,
) -> GazeTable:
    """Rows on `lines` (N,), sorted into trials by `begun` (N,), by default the same lines."""
    spans = _spans(events, source, spec, fixed)
    names = list(dict.fromkeys(spans.names))
    ids = [(fixed["participant"], name) for name in names]
    wrong = np.array(sorted(broken), dtype=np.int64)
    trial = spans.codes(wrong, names)
    rejects = row_rejects(
        source,
        wrong + 1,
        "read",
        lambda index: broken[int(wrong[index])],
        lambda index: ids[trial[index]] if trial[index] >= 0 else (fixed["participant"], ""),
    )
    codes = spans.codes(lines if begun is None else begun, names)
    outside = np.flatnonzero(codes < 0)
    if len(outside):
        reason = f"{len(outside)} {spec.kind} lie outside any trial, this is the first"
        rejects.append(Reject(source, int(lines[outside[0]]) + 1, "read", reason, fixed["participant"]))
    table = GazeTable(ids, codes, columns, lines + 1, n_rows)
    return replace(table.where(codes >= 0), rejects=rejects, header=header, notes=[*notes, *spans.notes()])


def _spans(events: Events, source: str, spec: GazeSpec, fixed: Mapping[str, str]) -> Spans:
    """The trials as ranges of lines."""
    if "trial" in fixed:
        return Spans([fixed["trial"]], [0], [np.inf])
    if spec.messages is not None:
        return spans_by_messages(events.messages, spec.messages, source)
    spans = Spans([], [], [])
    for line, text in events.messages:
        begins = TRIAL_START.match(text)
        if (begins or TRIAL_END.match(text)) and spans.ends and spans.ends[-1] == np.inf:
            spans.ends[-1] = line
        if begins:
            spans.names.append(identifier(begins[1]) or str(len(spans.names) + 1))
            spans.starts.append(line)
            spans.ends.append(np.inf)
    if spans.names:
        return spans
    ends = np.array([*events.ends, np.inf])
    blocks = events.blocks or [0]
    for number, (start, then) in enumerate(zip(blocks, [*blocks[1:], np.inf], strict=True), start=1):
        spans.names.append(str(number))
        spans.starts.append(start)
        spans.ends.append(min(float(ends[np.searchsorted(ends, start)]), then))
    return spans


def _header(events: Events) -> tuple[dict[str, float], list[str]]:
    """What the file says of itself: sampling_hz, screen_width_px, screen_height_px; and notes on contradictions."""
    header: dict[str, float] = {}
    layouts = events.layouts["SAMPLES"] or events.layouts["EVENTS"]
    rates = list(dict.fromkeys(layout.rate_hz for layout in layouts if layout.rate_hz is not None))
    rates = [rate for rate in rates if 0 < rate < LARGEST]
    if rates:
        header["sampling_hz"] = rates[0]
    coords = [match for _, text in events.messages if (match := COORDS.match(text))]
    for match in sorted(coords, key=lambda match: match[1] != "DISPLAY")[:1]:
        left, top, right, bottom = (float(match[group]) for group in range(2, 6))
        for name, size in (("screen_width_px", _pixels(left, right)), ("screen_height_px", _pixels(top, bottom))):
            if size > 0:
                header[name] = size
    more = f"the sampling rate changes in the file: {', '.join(f'{rate:g}' for rate in rates)} Hz"
    return header, [more] if len(rates) > 1 else []


def _pixels(first: float, last: float) -> float:
    """Pixels from the first to the last. 0..1919 are 1920, and so are 0..1920 as some experiments write: no screen
    has an odd number."""
    size = last - first + 1
    return size - 1 if size % 2 == 1 else size


def _floats(cells: tuple[str, ...]) -> list[float]:
    """Cells of an event line as numbers; NaN where there is none."""
    values = []
    for cell in cells:
        try:
            values.append(float(cell))
        except ValueError:
            values.append(np.nan)
    return values
