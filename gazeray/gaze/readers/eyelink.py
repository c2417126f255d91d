# SPDX-License-Identifier: Apache-2.0
"""EyeLink .asc files, as edf2asc writes them: samples and the fixations that the tracker found.

Source of the layout: EyeLink user manual (SR Research), "Using ASC Files". Messages, samples and events belong
together by their order in the file, not by their times. Rows are line numbers, the first line of the file is 1.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from gazeray.gaze.clock import ENOUGH, clock_hz, clock_notes
from gazeray.gaze.events.samples import covered
from gazeray.gaze.readers.base import GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.cells import LARGEST, row_rejects
from gazeray.gaze.readers.eyelink_lines import (
    Event,
    Events,
    Lines,
    Samples,
    check_gaze,
    most_common,
    numbers,
    parse_samples,
    split_lines,
)
from gazeray.gaze.readers.eyelink_trials import Trials, accuracy, find_trials, name_notes, tell_trials
from gazeray.gaze.readers.text import (
    Eyes,
    as_bytes,
    chosen_eye,
    eye_of_fixations,
    one_gaze,
    rejects_outside,
    without_missing,
)

COORDS = re.compile(r"^(?:-?\d+\s+)?(DISPLAY|GAZE)_COORDS[^\w-]*" + r"(-?\d+\.?\d*)[\s,]+" * 3 + r"(-?\d+\.?\d*)")


def _opened(file: GazeFile) -> tuple[Lines, Events]:
    """The lines of a file. Raises ReadError: empty, damaged gzip, binary .edf."""
    data = as_bytes(file)
    if data.startswith(b"SR_RESEARCH"):
        reason = "a binary .edf file: convert it with edf2asc of the EyeLink Developers Kit, read the .asc"
        raise ReadError(file.source, reason)
    lines = split_lines(data)
    return lines, lines.events()


def eyelink_trials(file: GazeFile) -> tuple[list[str], list[list[str]]]:
    """What an .asc file says of its trials: names of columns and a row for each presentation; see `tell_trials`.

    Raises ReadError: empty, damaged gzip, binary .edf, messages that never match.
    """
    return tell_trials(file, _opened(file)[1])


@register_reader(
    "eyelink", supplies=("trial",), described=True, keys=("missing", "eye", "messages", "y_axis"), trials=eyelink_trials
)
def read_eyelink(file: GazeFile) -> GazeTable:
    """Read one .asc file, plain or gzipped; see `Reader`.

    Times are those of the tracker's clock. A sample is lost where the file has a dot and between SBLINK and EBLINK.
    Trials are those of `find_trials`; fixations that last over the edge of one are in each that they last into. Raises
    ReadError: empty, damaged gzip, binary .edf, HREF or RAW data, none of the rows asked for, an eye that was not
    recorded, messages that never match.
    """
    lines, events = _opened(file)
    return (_samples if file.spec.kind == "samples" else _fixations)(file, lines, events)


def _samples(file: GazeFile, lines: Lines, events: Events) -> GazeTable:
    """The samples as a GazeTable."""
    samples = parse_samples(lines, events, file.source)
    header, notes = _header(events)
    blinks = _blinks(samples, events)
    x, y, more = _gaze(file, samples, blinks)
    time_ms = samples.time_ms
    notes += clock_notes(header, clock_hz(time_ms, np.searchsorted(samples.lines, events.blocks), ENOUGH))
    x, y, moved = _on_screen(file, events, x, y)
    columns = {"timestamp_ms": time_ms, "x_px": x, "y_px": y}
    pupils = {f"pupil_{eye}": np.where(blinks[eye], np.nan, size) for eye, size in samples.pupils.items()}
    eye = next(iter(samples.eyes)) if len(samples.eyes) == 1 else ""
    trials = find_trials(file, events)
    starts = trials.positions(samples.lines, time_ms)
    table = _table(file, events, trials, columns, pupils, samples.lines, samples.broken, (starts, None))
    return replace(
        table, header=header, notes=[*notes, *more, *moved, *table.notes], eye=eye, n_rows=len(lines.samples)
    )


def _gaze(file: GazeFile, samples: Samples, blinks: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x and y (n,) of the eye to use, and notes. Where best is not recorded, the other eye is taken."""
    eyes = _eyes(file, samples, blinks)
    (x, y), notes = one_gaze(eyes, file.spec, file.source)
    if file.spec.eye == "best" and len(eyes) == 2:
        for eye, other in (("left", "right"), ("right", "left")):
            alone = samples.recorded[other] & ~samples.recorded[eye]
            if alone.any() and x is eyes[eye][0]:
                x, y = (np.where(alone, eyes[other][axis], eyes[eye][axis]) for axis in (0, 1))
                notes.append(f"samples of the {other} eye, the only one recorded then: {int(alone.sum())}")
                break
    return x, y, notes


def _eyes(file: GazeFile, samples: Samples, blinks: dict[str, np.ndarray]) -> Eyes:
    """The eyes, lost in their blinks and where the declaration says so."""
    open_eyes = {
        eye: (np.where(blinks[eye], np.nan, x), np.where(blinks[eye], np.nan, y))
        for eye, (x, y) in samples.eyes.items()
    }
    return without_missing(open_eyes, file.spec)


def _blinks(samples: Samples, events: Events) -> dict[str, np.ndarray]:
    """Eye -> (n,) bool, the samples in its blinks, block by block."""
    blinks = {}
    bounds = np.r_[0, np.searchsorted(samples.lines, events.blocks), len(samples.lines)]
    for eye in samples.eyes:
        closed, begun = (_block_spans(events, word, eye) for word in ("EBLINK", "SBLINK"))
        blinks[eye] = np.zeros(len(samples.lines), dtype=bool)
        for block in closed.keys() | begun.keys():
            done = closed.get(block, [])
            ended = {start for start, _ in done}
            spans = done + [(start, np.inf) for start, _ in begun.get(block, []) if start not in ended]
            rows = slice(bounds[block], bounds[block + 1])
            blinks[eye][rows] = _within(samples.time_ms[rows], spans)
    return blinks


def _block_spans(events: Events, word: str, eye: str) -> dict[int, list[tuple[float, float]]]:
    """Block (0: before the first START) -> (start, end) in ms of the events of an eye; a start alone ends at once."""
    spans: dict[int, list[tuple[float, float]]] = {}
    for event in events.eye.get(word, []):
        times = numbers(event.cells[:2])
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
    """The fixations (EFIX lines) as a GazeTable."""
    found = events.eye.get("EFIX", [])
    if not found:
        raise ReadError(file.source, "no fixation (EFIX line) in the file")
    check_gaze(events.layouts["EVENTS"], file.source, "events", "")
    header, notes = _header(events)
    used, more = _used_fixations(file, found, lines, events)
    usual = most_common(np.array([len(event.cells) for event in used]))
    values, broken = np.full((len(used), 6), np.nan), {}
    for row, event in enumerate(used):
        values[row] = cells = (numbers(event.cells[:6]) + [np.nan] * 6)[:6]
        start, end, duration = cells[:3]
        if len(event.cells) < usual:
            broken[event.line] = f"EFIX with {len(event.cells)} fields behind the eye instead of {usual}"
        elif not np.isfinite(cells[:5]).all() or np.abs(cells[:5]).max() > LARGEST:
            broken[event.line] = "EFIX without five usable numbers: start, end, duration, x, y"
        elif abs(duration - (end - start)) > 20:  # it lasts from its first to its last sample and one interval
            broken[event.line] = f"EFIX from {start:.10g} to {end:.10g} ms says that it lasts {duration:g} ms"
    good = np.array([event.line not in broken for event in used], dtype=bool)
    onset, duration_ms, pupil = values[good][:, [0, 2, 5]].T
    x, y = values[good][:, 3], values[good][:, 4]
    x, y = without_missing({"": (x, y)}, file.spec)[""]
    x, y, moved = _on_screen(file, events, x, y)
    columns = {"onset_ms": onset, "duration_ms": duration_ms, "x_px": x, "y_px": y}
    eyes = np.array([event.eye for event in used])
    size = np.where(pupil > 0, pupil, np.nan)
    pupils = {f"pupil_{eye}": np.where(eyes[good] == eye, size, np.nan) for eye in sorted(set(eyes.tolist()))}
    at = np.array([event.line for event in used], dtype=np.int64)[good]
    trials = find_trials(file, events)
    where = trials.positions(at, onset), trials.positions(at, onset + duration_ms)
    table = _table(file, events, trials, columns, pupils, at, broken, where)
    eye = found[0].eye if len({event.eye for event in found}) == 1 else ""
    return replace(table, header=header, notes=[*notes, *more, *moved, *table.notes], eye=eye, n_rows=len(used))


def _used_fixations(file: GazeFile, found: list[Event], lines: Lines, events: Events) -> tuple[list[Event], list[str]]:
    """The fixations of one eye, and notes. best: where its eye is not recorded, those of the other."""
    eye, notes = _fixation_eye(file, found, lines, events)
    starts = events.layouts["START"]
    block = np.searchsorted(events.blocks, [event.line for event in found]) - 1
    alone = [at >= 0 and bool(starts[at].eyes) and eye not in starts[at].eyes for at in block.tolist()]
    other = [event.eye != eye and only and file.spec.eye == "best" for event, only in zip(found, alone, strict=True)]
    if any(other):
        notes = [*notes, f"fixations of the other eye, the only one recorded then: {sum(other)}"]
    return [event for event, more in zip(found, other, strict=True) if event.eye == eye or more], notes


def _fixation_eye(file: GazeFile, found: list[Event], lines: Lines, events: Events) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice. best: the eye with fewer lost samples,
    without samples that with more fixations. Raises ReadError as `eye_of_fixations`."""
    there = sorted({event.eye for event in found})
    chosen = eye_of_fixations(there, file.spec, file.source)
    if chosen:
        return chosen
    if len(lines.samples) and not any(word == "HREF" for part in events.layouts["SAMPLES"] for word in part.words):
        samples = parse_samples(lines, events, file.source)
        eyes = _eyes(file, samples, _blinks(samples, events))
        lost = {eye: int(np.isnan(eyes[eye][0]).sum()) for eye in there if eye in eyes}
        if len(lost) == 2 and len(samples.lines):
            eye = min(lost, key=lambda eye: lost[eye])
            return eye, [chosen_eye(eye, lost)]
    count = {eye: sum(event.eye == eye for event in found) for eye in there}
    eye = max(count, key=lambda eye: count[eye])
    return eye, [f"both eyes are in the file, without samples; the {eye} eye is used (it has more fixations)"]


def _table(
    file: GazeFile,
    events: Events,
    trials: Trials,
    columns: dict[str, np.ndarray],
    pupils: dict[str, np.ndarray],
    lines: np.ndarray,
    broken: dict[int, str],
    where: tuple[np.ndarray, np.ndarray | None],
) -> GazeTable:
    """Rows on `lines` (N,), sorted into trials by their positions `where`: of their start, and of their end (None: they
    have none). Messages without a time are broken lines too."""
    ids = [(file.fixed["participant"], name) for name in trials.spans.names]
    broken = broken | {said.line: "MSG without a time" for said in events.messages if np.isnan(said.ms)}
    wrong = np.array(sorted(broken), dtype=np.int64)
    near = wrong
    if not trials.by_line and len(lines):  # a broken line is where the good one before it is
        near = where[0][np.maximum(np.searchsorted(lines, wrong) - 1, 0)]
    mine = trials.spans.codes(near) if trials.by_line or len(lines) else np.full(len(wrong), -1)
    rejects = row_rejects(
        file.source,
        wrong + 1,
        "read",
        lambda index: broken[int(wrong[index])],
        lambda index: ids[mine[index]] if mine[index] >= 0 else (file.fixed["participant"], ""),
    )
    unit = "a.u." + "".join(f" ({kind.lower()})" for kind in events.pupils)
    notes = name_notes(file, events)
    if len(events.pupils) > 1:
        units = ", ".join(sorted(events.pupils))
        pupils, notes = {}, [*notes, f"pupils are left out, their unit changes in the file: {units}"]
    index, code = trials.holding(*where)
    outside = np.ones(len(lines), dtype=bool)
    outside[index] = False
    rejects += rejects_outside(file.source, file.spec.kind, lines[outside] + 1, file.fixed["participant"])
    return GazeTable(
        ids,
        code,
        {name: values[index] for name, values in (columns | pupils).items()},
        lines[index] + 1,
        len(lines),
        rejects,
        notes=notes,
        windows=trials.windows,
        units=dict.fromkeys(pupils, unit),
        accuracy=accuracy(trials, events.messages),
    )


def _header(events: Events) -> tuple[dict[str, float], list[str]]:
    """What the file says of itself: sampling_hz, screen_width_px, screen_height_px; and notes on contradictions."""
    header: dict[str, float] = {}
    layouts = events.layouts["SAMPLES"] or events.layouts["EVENTS"]
    rates = list(dict.fromkeys(layout.rate_hz for layout in layouts if layout.rate_hz is not None))
    rates = [rate for rate in rates if 0 < rate < LARGEST]
    if rates:
        header["sampling_hz"] = rates[0]
    for left, top, right, bottom in (_coords(events, "DISPLAY") or _coords(events, "GAZE"))[:1]:
        header["screen_width_px"], header["screen_height_px"] = _pixels(left, right), _pixels(top, bottom)
    more = f"the sampling rate changes in the file: {', '.join(f'{rate:g}' for rate in rates)} Hz"
    return header, [more] if len(rates) > 1 else []


def _coords(events: Events, kind: str) -> list[tuple[float, ...]]:
    """Left, top, right, bottom of the screen as the messages DISPLAY_COORDS (of the experiment) or GAZE_COORDS (of the
    tracker) have them."""
    found = [match for said in events.messages if (match := COORDS.match(said.text)) and match[1] == kind]
    edges = [tuple(float(match[group]) for group in range(2, 6)) for match in found]
    return [own for own in edges if own[0] != own[2] and own[1] != own[3]]


def _on_screen(
    file: GazeFile, events: Events, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x and y (n,) from the top left of the screen, where the file says that they count otherwise (from the middle,
    upwards) and the declaration says nothing; and a note then. Raises ReadError where that changes in the file, or the
    declaration contradicts it."""
    edges = _coords(events, "GAZE") or _coords(events, "DISPLAY")
    ways = {
        (left, top, float(np.sign(right - left)), float(np.sign(bottom - top))) for left, top, right, bottom in edges
    }
    declared = file.spec.origin == "screen_centre", file.spec.y_axis == "up"
    for left, top, right, bottom in edges if any(declared) else ():
        if declared != (abs(left + right) <= 2 and abs(top + bottom) <= 2, bottom < top):  # -960 to 960, or to 959
            has = " ".join(f"{edge:g}" for edge in (left, top, right, bottom))
            what = f"origin: {file.spec.origin} and y_axis: {file.spec.y_axis}"
            raise ReadError(file.source, f"{what} contradict the file: left, top, right, bottom are {has}")
    if file.spec.origin != "screen" or any(declared) or ways <= {(0.0, 0.0, 1.0, 1.0)}:
        return x, y, []
    if len(ways) > 1:
        said = "; ".join(" ".join(f"{edge:g}" for edge in own) for own in sorted(set(edges)))
        raise ReadError(file.source, f"the coordinates of the screen change in the file: {said}")
    left, top, across, down = ways.pop()
    note = "coordinates of another origin, brought to the top left of the screen: the file has "
    note += " ".join(f"{edge:g}" for edge in edges[0]) + " for left, top, right, bottom"
    return (x - left) * across, (y - top) * down, [note]


def _pixels(first: float, last: float) -> float:
    """Pixels from the first to the last or back. 0..1919 are 1920, and so are 0..1920 as some experiments write: no
    screen has an odd number."""
    size = abs(last - first) + 1
    return size - 1 if size % 2 == 1 else size
