# SPDX-License-Identifier: Apache-2.0
"""Tobii Pro Lab and Tobii Studio: the data export as TSV or CSV (samples, or fixations from its event columns).

Column names after the Tobii Pro Lab User Manual (data export) and the Tobii Studio User's Manual (data export). Both
give the same things under names that differ in blanks, capitals and a unit or coordinate system in brackets:
"Gaze point left X [DACS px]", "GazePointLeftX (ADCSpx)". ADCS and DACS are px of the display from its top left; MCS
are px of the medium shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gazeray.gaze.readers.base import GazeSpec, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.text import spans_by_messages
from gazeray.gaze.readers.vendor_tables import (
    Cells,
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    coordinate_names,
    declared_pair,
    first_of_events,
    keys_of,
    named,
    open_sheet,
    time_units,
    with_ids,
)

PARTICIPANT = ("participantname",)
TRIAL = ("presentedstimulusname", "presentedmedianame", "medianame")
EVENT = ("event", "studioevent")
EVENT_TYPE = ("eyemovementtype", "gazeeventtype")
EVENT_NUMBER = ("eyemovementtypeindex", "fixationindex", "gazeeventindex")
GAZE = {"combined": "gazepoint", "left": "gazepointleft", "right": "gazepointright"}

DISPLAY = ("", "px", "dacs px", "adcspx", "adcs px")
MEDIUM = ("mcs px", "mcspx")
TIME_UNITS = {"ms": "ms", "us": "us", "μs": "us", "µs": "us", "s": "s", "ns": "ns"}

SLOWEST_STEP_MS = 100
"""No tracker takes longer from sample to sample; a clock without a unit whose usual step is longer counts in us."""


@register_reader("tobii", supplies=("participant", "trial"), described=True)
def read_tobii(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one export; see `Reader`. Coordinates are px.

    Samples: the combined gaze point for eye best where the export has it, else the chosen eye. A sample is lost where
    Validity is Invalid (Pro Lab) or 2 and above (Studio, 0 to 4); for the combined gaze point where that holds for both
    eyes. Rows of other sensors and of events are left out. Fixations: one for each index of the event type Fixation.
    A trial is a presented stimulus, or what `messages` bracket in the column Event.
    Raises ReadError: empty, a column is missing, gaze not exported in px, no row of fixations.
    """
    sheet = open_sheet(data, source, spec)
    ids = _ids(sheet, spec, fixed)
    return (_samples if spec.kind == "samples" else _fixations)(sheet, spec, fixed, ids)


def _key(name: str) -> tuple[str, str]:
    """A column name without blanks, capitals and brackets; and what is in the brackets at its end."""
    base, tag = name, ""
    match = re.fullmatch(r"(.*?)\s*[\[(]([^\[\]()]*)[\])]", name.strip())
    if match:
        base, tag = match.groups()
    return re.sub(r"\s+", "", base).lower(), tag.strip().lower()


def _named(sheet: Sheet, *keys: str) -> str | None:
    """The first column with one of the keys, whatever is in its brackets."""
    by_key = {_key(name)[0]: name for name in reversed(sheet.names)}
    return next((by_key[key] for key in keys if key in by_key), None)


def _ids(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str]) -> dict[str, str]:
    """The columns of participant and trial, where neither the path nor messages give them."""
    found = {}
    for name, keys in (("participant", PARTICIPANT), ("trial", TRIAL)):
        if name in fixed or (name == "trial" and spec.messages):
            continue
        default = _named(sheet, *keys)
        found[name] = sheet.column(spec, name, *([default] if default else keys))
    return found


def _in_px(sheet: Sheet, key: str) -> str | None:
    """The column with that key in px: of the display if there is one, else of the medium."""
    tags = {tag: name for name in reversed(sheet.names) for base, tag in [_key(name)] if base == key}
    return next((tags[tag] for tag in (*DISPLAY, *MEDIUM) if tag in tags), None)


def _gaze_columns(sheet: Sheet, spec: GazeSpec) -> Pairs:
    """The columns of x and y to choose from. Raises ReadError when there are none in px for the eye asked for."""
    found = {eye: (_in_px(sheet, f"{key}x"), _in_px(sheet, f"{key}y")) for eye, key in GAZE.items()}
    pairs = {eye: (x, y) for eye, (x, y) in found.items() if x and y}
    wanted = {"best": ["combined"], "mean": ["left", "right"]}.get(spec.eye, [spec.eye])
    if all(eye in pairs for eye in wanted):
        return {eye: pairs[eye] for eye in wanted}
    if spec.eye == "mean" and "combined" in pairs:
        return {"combined": pairs["combined"]}
    eyes = {eye: pair for eye, pair in pairs.items() if eye != "combined"}
    if spec.eye in ("left", "right") or not eyes:
        what = ", ".join(f"Gaze point {eye if eye != 'combined' else ''} X".replace("  ", " ") for eye in wanted)
        raise ReadError(sheet.source, f"no column {what} in px of the display (present: {', '.join(sheet.names)})")
    return eyes


def _invalid(cells: Cells, name: str) -> np.ndarray:
    """(N,) where a validity column says that the eye was not tracked: Invalid, or a code of 2 and above."""
    words = cells.words(name)
    return np.isin(words, ["invalid", "2", "3", "4", "2.0", "3.0", "4.0"])


def _lost(cells: Cells, pairs: Pairs, flags: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Eye -> where (N,) it is invalid; the combined gaze point where all eyes are."""
    lost = {eye: _invalid(cells, name) for eye, name in flags.items()}
    if "combined" in pairs and lost:
        lost["combined"] = np.logical_and.reduce(list(lost.values()))
    return lost


def _of_tracker(cells: Cells, extra: Mapping[str, str | None], x: np.ndarray) -> np.ndarray:
    """(N,) rows that are samples of the eye tracker, not of a mouse and not events."""
    if extra["sensor"]:
        return np.char.startswith(cells.words(extra["sensor"]).astype(str), "eye")
    if extra["event"]:
        return ~((cells.words(extra["event"]) != "") & np.isnan(x))
    return np.ones(len(cells.rows), dtype=bool)


def _clock(cells: Cells, name: str, like: np.ndarray, spec: GazeSpec, ours: str) -> tuple[str, list[str]]:
    """The unit of a clock: declared, in its name, ms in Tobii Studio, or seen from its steps in the rows `like`."""
    tag = _key(name)[1]
    if ours in spec.units or tag in TIME_UNITS:
        return spec.units.get(ours, TIME_UNITS.get(tag, "ms")), []
    steps = np.diff(cells.values(name)[like])
    steps = steps[steps > 0]
    unit = "us" if len(steps) and np.median(steps) > SLOWEST_STEP_MS else "ms"
    return unit, [f"{name} names no unit; by its steps it counts in {unit}"]


def _header(sheet: Sheet, fixed: Mapping[str, str]) -> dict[str, float]:
    """The size of the screen, where the export says it."""
    parts = [_named(sheet, "recordingresolutionwidth"), _named(sheet, "recordingresolutionheight")]
    columns = [name for name in parts if name] if all(parts) else []
    whole = _named(sheet, "recordingresolution")
    columns = columns or ([whole] if whole else [])
    cells = sheet.read(columns, [], fixed) if columns else None
    said = [next(filter(None, cells.text[name].to_pylist()), "") for name in columns] if cells else []
    texts = re.split(r"\s*[x×]\s*", said[0]) if len(said) == 1 else said
    sizes = [float(text) for text in texts if re.fullmatch(r"\d{1,6}(\.\d+)?", text)]
    return {"screen_width_px": sizes[0], "screen_height_px": sizes[1]} if len(sizes) == 2 else {}


def _samples(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str], ids: Mapping[str, str]) -> GazeTable:
    clock = _named(sheet, "recordingtimestamp")
    time = sheet.column(spec, "timestamp_ms", clock or "Recording timestamp")
    known = {
        eye: [name for name in sheet.names if _key(name)[0] in (f"{key}x", f"{key}y")] for eye, key in GAZE.items()
    }
    pairs = declared_pair(sheet, spec, known) or _gaze_columns(sheet, spec)
    found = {eye: _named(sheet, f"validity{eye}") for eye in ("left", "right")}
    flags = {eye: name for eye, name in found.items() if name}
    extra = {"sensor": _named(sheet, "sensor"), "event": _named(sheet, *EVENT)}
    text = {*ids.values(), *flags.values(), *filter(None, extra.values())}
    cells = sheet.read(text, dict.fromkeys([time, *(name for pair in pairs.values() for name in pair)]), fixed)
    x, y, notes = chosen_gaze(cells, pairs, _lost(cells, pairs, flags), spec, sheet.source)
    keep = _of_tracker(cells, extra, cells.values(next(iter(pairs.values()))[0]))
    unit, clock_note = _clock(cells, time, keep, spec, "timestamp_ms")
    if any(_key(pair[0])[1] in MEDIUM for pair in pairs.values()):
        notes = [*notes, "gaze is in px of the medium (MCS), not of the display"]
    x_name, y_name = coordinate_names(pairs)
    columns = with_ids(cells, ids, timestamp_ms=(time, cells.values(time)), x_px=(x_name, x), y_px=(y_name, y))
    if spec.messages and "trial" not in fixed:
        keep, columns["trial"], more = _by_messages(sheet, cells, extra["event"], spec, keep)
        notes = notes + more
    table = build(cells, sheet, spec, fixed, columns, {"timestamp_ms": unit}, keep)
    return replace(table, notes=table.notes + notes + clock_note, header=_header(sheet, fixed))


def _by_messages(
    sheet: Sheet, cells: Cells, event: str | None, spec: GazeSpec, keep: np.ndarray
) -> tuple[np.ndarray, tuple[str, Any], list[str]]:
    """The rows (N,) inside a trial that messages bracket, the column of its names, and notes."""
    if event is None or spec.messages is None:
        raise ReadError(sheet.source, "no column Event for the messages that bracket trials")
    texts = cells.text[event].to_pylist()
    spans = spans_by_messages([(row, text) for row, text in enumerate(texts) if text], spec.messages, sheet.source)
    names = list(dict.fromkeys(spans.names))
    codes = spans.codes(np.arange(len(texts)), names)
    return keep & (codes >= 0), (event, named(codes, names)), spans.notes()


def _fixations(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str], ids: Mapping[str, str]) -> GazeTable:
    kind = sheet.need("the type of event", _named(sheet, *EVENT_TYPE) or "Eye movement type")
    number = sheet.need("the number of the event", _named(sheet, *EVENT_NUMBER) or "Eye movement type index")
    clock, length = _named(sheet, "recordingtimestamp"), _named(sheet, "gazeeventduration")
    onset = sheet.column(spec, "onset_ms", clock or "Recording timestamp")
    duration = sheet.column(spec, "duration_ms", length or "Gaze event duration")
    point = (_in_px(sheet, "fixationpointx"), _in_px(sheet, "fixationpointy"))
    x_name = sheet.column(spec, "x_px", point[0] or "Fixation point X")
    y_name = sheet.column(spec, "y_px", point[1] or "Fixation point Y")
    recording, event = _named(sheet, "recordingname"), _named(sheet, *EVENT)
    text = {*ids.values(), kind, number, *filter(None, (recording, event))}
    cells = sheet.read(text, dict.fromkeys([onset, duration, x_name, y_name]), fixed)
    inside = np.flatnonzero((cells.words(kind) == "fixation") & (cells.words(number) != ""))
    if not len(inside):
        raise ReadError(sheet.source, f"no row of fixations: {kind!r} never says Fixation with a number in {number!r}")
    people = {name: column for name, column in ids.items() if name == "participant"}
    keys = [key[inside] for key in (*keys_of(cells, people), cells.words(number))]
    if recording:
        keys.append(cells.words(recording)[inside])
    keep = np.zeros(len(cells.rows), dtype=bool)
    keep[inside[first_of_events(*keys)[1]]] = True
    x, y, _ = chosen_gaze(cells, {"fixation": (x_name, y_name)}, {}, spec, sheet.source)
    unit, notes = _clock(cells, onset, inside, spec, "onset_ms")
    units = time_units("ms", spec) | {"onset_ms": unit}
    units["duration_ms"] = spec.units.get("duration_ms", TIME_UNITS.get(_key(duration)[1], "ms"))
    if _key(x_name)[1] in MEDIUM:
        notes = [*notes, "fixation points are in px of the medium (MCS), not of the display"]
    times = {"onset_ms": (onset, cells.values(onset)), "duration_ms": (duration, cells.values(duration))}
    columns = with_ids(cells, ids, **times, x_px=(x_name, x), y_px=(y_name, y))
    if spec.messages and "trial" not in fixed:
        keep, columns["trial"], more = _by_messages(sheet, cells, event, spec, keep)
        notes = notes + more
    table = build(cells, sheet, spec, fixed, columns, units, keep)
    return replace(table, notes=table.notes + notes, header=_header(sheet, fixed))
