# SPDX-License-Identifier: Apache-2.0
"""EyeLink .asc files, as edf2asc writes them: samples and the fixations that the tracker found.

Source of the layout: EyeLink user manual (SR Research), "Using ASC Files". Messages, samples and events belong
together by their order in the file, not by their times. Rows are line numbers, the first line of the file is 1.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from gazeray.gaze.events.samples import covered
from gazeray.gaze.readers.base import TIME_UNITS_MS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.cells import LARGEST, row_rejects
from gazeray.gaze.readers.eyelink_lines import Event, Events, Lines, Samples, check_gaze, parse_samples, split_lines
from gazeray.gaze.readers.text import (
    Eyes,
    Spans,
    as_bytes,
    bracketed,
    clock_hz,
    clock_notes,
    eye_of_fixations,
    one_gaze,
    rejects_outside,
    spans_by_messages,
    without_missing,
)

TRIAL_START = re.compile(r"^(?:-?\d+\s+)?TRIALID\b[:\s]*(?P<trial>\S*)")
COORDS = re.compile(r"^(?:-?\d+\s+)?(DISPLAY|GAZE)_COORDS\W*" + r"(-?\d+\.?\d*)[\s,]+" * 3 + r"(-?\d+\.?\d*)")


@register_reader("eyelink", supplies=("trial",), described=True, keys=("missing", "eye", "messages"))
def read_eyelink(file: GazeFile) -> GazeTable:
    """Read one .asc file, plain or gzipped; see `Reader`.

    Times are those of the tracker's clock. A sample is lost where the file has a dot and between SBLINK and EBLINK. The
    trial comes from the path, or from `spec.messages`, or from the messages TRIALID name ... TRIAL_RESULT, or is the
    number of the START...END block. Raises ReadError: empty, damaged gzip, binary .edf, HREF or RAW data, none of the
    rows asked for, an eye that was not recorded, messages that never match.
    """
    data, named = as_bytes(file), ", ".join(map(repr, file.spec.columns))
    if data.startswith(b"SR_RESEARCH"):
        reason = "a binary .edf file: convert it with edf2asc of the EyeLink Developers Kit, read the .asc"
        raise ReadError(file.source, reason)
    if named:
        raise ReadError(file.source, f"an .asc file has no columns to name: leave out {named}")
    lines = split_lines(data)
    return (_samples if file.spec.kind == "samples" else _fixations)(file, lines, lines.events())


def _samples(file: GazeFile, lines: Lines, events: Events) -> GazeTable:
    """The samples as a GazeTable."""
    samples = parse_samples(lines, events, file.source)
    header, notes = _header(events)
    time_ms = samples.time_ms * TIME_UNITS_MS[file.spec.unit("timestamp_ms")]
    notes += clock_notes(header, clock_hz(time_ms, np.searchsorted(samples.lines, events.blocks)))
    x, y, more = _gaze(file, samples, events)
    columns = {"timestamp_ms": time_ms, "x_px": x, "y_px": y}
    table = _table(file, events, columns, samples.lines, samples.broken, len(lines.samples))
    return replace(table, header=header, notes=[*notes, *more, *table.notes])


def _gaze(file: GazeFile, samples: Samples, events: Events) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x and y (n,) of the eye to use, and notes. Where best is not recorded, the other eye is taken."""
    eyes = without_missing(_without_blinks(samples, events), file.spec)
    (x, y), notes = one_gaze(eyes, file.spec, file.source)
    if file.spec.eye == "best" and len(eyes) == 2:
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
        closed, begun = (_block_spans(events, word, eye) for word in ("EBLINK", "SBLINK"))
        lost = np.zeros(len(x), dtype=bool)
        for block in closed.keys() | begun.keys():
            done = closed.get(block, [])
            ended = {start for start, _ in done}
            spans = done + [(start, np.inf) for start, _ in begun.get(block, []) if start not in ended]
            rows = slice(bounds[block], bounds[block + 1])
            lost[rows] = _within(samples.time_ms[rows], spans)
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


def _within(times: np.ndarray, spans: list[tuple[float, float]]) -> np.ndarray:
    """(n,) bool: which times (n,), in any order, lie in one of the spans, both ends included."""
    order = np.argsort(times, kind="stable")
    first = np.searchsorted(times[order], [start for start, _ in spans], side="left")
    behind = np.searchsorted(times[order], [end for _, end in spans], side="right")
    inside = np.empty(len(times), dtype=bool)
    inside[order] = covered(np.stack([first, np.maximum(behind, first)], axis=1), len(times))
    return inside


def _fixations(file: GazeFile, lines: Lines, events: Events) -> GazeTable:
    """The fixations (EFIX lines) as a GazeTable. A fixation belongs to the trial in which it begins."""
    found, spec = events.eye.get("EFIX", []), file.spec
    if not found:
        raise ReadError(file.source, "no fixation (EFIX line) in the file")
    check_gaze(events.layouts["EVENTS"], file.source, "events", "")
    header, notes = _header(events)
    eye, more = _fixation_eye(file, found, lines, events)
    begun = {(event.eye, *event.cells[:1]): event.line for event in events.eye.get("SFIX", [])}
    used = [event for event in found if event.eye == eye]
    values, broken = np.full((len(used), 4), np.nan), {}
    for row, event in enumerate(used):
        start, end, duration, *xy = numbers = _floats(event.cells[:5]) + [np.nan] * (5 - len(event.cells[:5]))
        values[row] = (start, duration, *xy)
        if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST:
            broken[event.line] = "EFIX without five usable numbers: start, end, duration, x, y"
        elif abs(duration - (end - start)) > 20:  # it lasts from its first to its last sample and one interval
            broken[event.line] = f"EFIX from {start:.10g} to {end:.10g} ms says that it lasts {duration:g} ms"
    good = np.array([event.line not in broken for event in used], dtype=bool)
    onset, duration_ms = (
        values[good, at] * TIME_UNITS_MS[spec.unit(name)] for at, name in enumerate(("onset_ms", "duration_ms"))
    )
    x, y = without_missing({eye: (values[good, 2], values[good, 3])}, spec)[eye]
    columns = {"onset_ms": onset, "duration_ms": duration_ms, "x_px": x, "y_px": y}
    at = np.array([event.line for event in used], dtype=np.int64)[good]
    first = np.array([begun.get((event.eye, *event.cells[:1]), event.line) for event in used], dtype=np.int64)[good]
    table = _table(file, events, columns, at, broken, len(used), first)
    return replace(table, header=header, notes=[*notes, *more, *table.notes])


def _fixation_eye(file: GazeFile, found: list[Event], lines: Lines, events: Events) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice. best: the eye with fewer lost samples,
    without samples that with more fixations. Raises ReadError as `eye_of_fixations`."""
    there = sorted({event.eye for event in found})
    chosen = eye_of_fixations(there, file.spec, file.source)
    if chosen:
        return chosen
    if len(lines.samples) and not any(word == "HREF" for part in events.layouts["SAMPLES"] for word in part.words):
        samples = parse_samples(lines, events, file.source)
        eyes = without_missing(_without_blinks(samples, events), file.spec)
        lost = {eye: int(np.isnan(eyes[eye][0]).sum()) for eye in there if eye in eyes}
        if len(lost) == 2 and len(samples.lines):
            eye = min(lost, key=lambda eye: lost[eye])
            return eye, [f"both eyes are in the file; the {eye} eye is used (lost samples: {lost})"]
    count = {eye: sum(event.eye == eye for event in found) for eye in there}
    eye = max(count, key=lambda eye: count[eye])
    return eye, [f"both eyes are in the file, without samples; the {eye} eye is used (it has more fixations)"]


def _table(
    file: GazeFile,
    events: Events,
    columns: dict[str, np.ndarray],
    lines: np.ndarray,
    broken: dict[int, str],
    n_rows: int,
    begun: np.ndarray | None = None,
) -> GazeTable:
    """Rows on `lines` (N,), sorted into trials by `begun` (N,), by default the same lines."""
    spans, participant = _spans(file, events), file.fixed["participant"]
    names = list(dict.fromkeys(spans.names))
    ids = [(participant, name) for name in names]
    wrong = np.array(sorted(broken), dtype=np.int64)
    trial = spans.codes(wrong, names)
    rejects = row_rejects(
        file.source,
        wrong + 1,
        "read",
        lambda index: broken[int(wrong[index])],
        lambda index: ids[trial[index]] if trial[index] >= 0 else (participant, ""),
    )
    codes = spans.codes(lines if begun is None else begun, names)
    rejects += rejects_outside(file.source, file.spec.kind, lines[codes < 0] + 1, participant)
    table = GazeTable(ids, codes, columns, lines + 1, n_rows)
    return replace(table.where(codes >= 0), rejects=rejects, notes=spans.notes())


def _spans(file: GazeFile, events: Events) -> Spans:
    """The trials as ranges of lines."""
    if "trial" in file.fixed:
        return Spans([file.fixed["trial"]], [0], [np.inf])
    if file.spec.messages is not None:
        return spans_by_messages(events.messages, file.spec.messages, file.source)
    if any(TRIAL_START.search(text) for _, text in events.messages):
        return bracketed(events.messages, TRIAL_START, re.compile(r"^(?:-?\d+\s+)?TRIAL_RESULT\b"))
    ends, blocks = np.array([*events.ends, np.inf]), events.blocks or [0]
    own = [float(ends[np.searchsorted(ends, start)]) for start in blocks]
    stops = [min(end, then) for end, then in zip(own, [*blocks[1:], np.inf], strict=True)]
    return Spans([str(number + 1) for number in range(len(blocks))], [float(start) for start in blocks], stops)


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
