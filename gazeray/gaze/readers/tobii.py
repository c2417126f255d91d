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
from itertools import chain

import numpy as np

from gazeray.gaze.readers.base import IDS, GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.text import spans_by_messages
from gazeray.gaze.readers.vendor_tables import (
    Cells,
    Columns,
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    declared_pair,
    first_of_events,
    in_spans,
    open_sheet,
)

EVENT = ("event", "studioevent")
GAZE = {"combined": "gazepoint", "left": "gazepointleft", "right": "gazepointright"}

MEDIUM = ("mcs px", "mcspx")
TIME_UNITS = {"ms": "ms", "us": "us", "μs": "us", "µs": "us", "s": "s", "ns": "ns"}


KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")


@register_reader("tobii", supplies=("participant", "trial"), described=True, keys=KEYS)
def read_tobii(file: GazeFile) -> GazeTable:
    """Read one export; see `Reader`. Coordinates are px.

    Samples: the combined gaze point for eye best where the export has it, else the chosen eye. A sample is lost where
    Validity is Invalid (Pro Lab) or 2 and above (Studio, 0 to 4); for the combined gaze point where that holds for both
    eyes. Rows of other sensors and of events are left out. Fixations: one for each index of the event type Fixation.
    A trial is a presented stimulus, or what `messages` bracket in the column Event.
    Raises ReadError: empty, a column is missing, gaze not exported in px, no row of fixations.
    """
    sheet = open_sheet(file)
    return (_samples if file.spec.kind == "samples" else _fixations)(sheet, _ids(sheet))


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


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of participant and trial, where neither the path nor messages give them."""
    trial = ("presentedstimulusname", "presentedmedianame", "medianame")
    keys = {"participant": ("participantname",), "trial": trial}
    found = {name: [*filter(None, [_named(sheet, *own)]), *own] for name, own in keys.items()}
    return sheet.ids(IDS[:1] if sheet.file.spec.messages else IDS, **found)


def _in_px(sheet: Sheet, key: str) -> str | None:
    """The column with that key in px: of the display if there is one, else of the medium."""
    tags = {tag: name for name in reversed(sheet.names) for base, tag in [_key(name)] if base == key}
    return next((tags[tag] for tag in ("", "px", "dacs px", "adcspx", "adcs px", *MEDIUM) if tag in tags), None)


def _gaze_columns(sheet: Sheet, asked: str) -> Pairs:
    """The columns of x and y to choose from. Raises ReadError when there are none in px for the eye asked for."""
    found = {eye: (_in_px(sheet, f"{key}x"), _in_px(sheet, f"{key}y")) for eye, key in GAZE.items()}
    pairs = {eye: (x, y) for eye, (x, y) in found.items() if x and y}
    wanted = {"best": ["combined"], "mean": ["left", "right"]}.get(asked, [asked])
    if all(eye in pairs for eye in wanted):
        return {eye: pairs[eye] for eye in wanted}
    if asked == "mean" and "combined" in pairs:
        return {"combined": pairs["combined"]}
    eyes = {eye: pair for eye, pair in pairs.items() if eye != "combined"}
    if asked in ("left", "right") or not eyes:
        what = ", ".join(f"Gaze point {eye if eye != 'combined' else ''} X".replace("  ", " ") for eye in wanted)
        raise sheet.error(f"no column {what} in px of the display (present: {', '.join(sheet.names)})")
    return eyes


def _clock(cells: Cells, name: str, like: np.ndarray, ours: str) -> tuple[str, list[str]]:
    """The unit of a clock: declared, in its name, ms in Tobii Studio, or seen from its steps in the rows `like`."""
    tag, units = _key(name)[1], cells.sheet.file.spec.units
    if ours in units or tag in TIME_UNITS:
        return units.get(ours, TIME_UNITS.get(tag, "ms")), []
    steps = np.diff(cells.values(name)[like])
    steps = steps[steps > 0]
    unit = "us" if len(steps) and np.median(steps) > 100 else "ms"  # no tracker takes 100 ms from sample to sample
    return unit, [f"{name} names no unit; by its steps it counts in {unit}"]


def _header(sheet: Sheet) -> dict[str, float]:
    """The size of the screen, where the export says it."""
    parts = [_named(sheet, f"recordingresolution{side}") for side in ("width", "height")]
    columns = [name for name in (parts if all(parts) else [_named(sheet, "recordingresolution")]) if name]
    if not columns:
        return {}
    cells = sheet.read(columns, [])
    said = [next(filter(None, cells.text[name].to_pylist()), "") for name in columns]
    texts = re.split(r"\s*[x×]\s*", said[0]) if len(said) == 1 else said
    sizes = [float(text) for text in texts if re.fullmatch(r"\d{1,6}(\.\d+)?", text)]
    return {"screen_width_px": sizes[0], "screen_height_px": sizes[1]} if len(sizes) == 2 else {}


def _samples(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    time = sheet.column("timestamp_ms", _named(sheet, "recordingtimestamp") or "Recording timestamp")
    known = {
        eye: [name for name in sheet.names if _key(name)[0] in (f"{key}x", f"{key}y")] for eye, key in GAZE.items()
    }
    pairs = declared_pair(sheet, known) or _gaze_columns(sheet, sheet.file.spec.eye)
    flags = {eye: name for eye in ("left", "right") if (name := _named(sheet, f"validity{eye}"))}
    sensor, event = _named(sheet, "sensor"), _named(sheet, *EVENT)
    cells = sheet.read([*ids.values(), *flags.values(), sensor, event], [time, *chain(*pairs.values())])
    invalid = ["invalid", "2", "3", "4", "2.0", "3.0", "4.0"]
    lost = {eye: np.isin(cells.words(name), invalid) for eye, name in flags.items()}
    if "combined" in pairs and lost:
        lost["combined"] = np.logical_and.reduce(list(lost.values()))
    gaze, notes = chosen_gaze(cells, pairs, lost)
    keep = np.ones(len(cells.rows), dtype=bool)  # samples of the eye tracker, not of a mouse and not events
    if sensor:
        keep = np.char.startswith(cells.words(sensor).astype(str), "eye")
    elif event:
        keep = ~((cells.words(event) != "") & np.isnan(cells.values(next(iter(pairs.values()))[0])))
    unit, clock_note = _clock(cells, time, keep, "timestamp_ms")
    if any(_key(pair[0])[1] in MEDIUM for pair in pairs.values()):
        notes = [*notes, "gaze is in px of the medium (MCS), not of the display"]
    inside, trial, more = _by_messages(cells, event)
    columns = cells.columns(timestamp_ms=time) | gaze | trial
    notes = [*notes, *more, *clock_note]
    return build(cells, ids, columns, {"timestamp_ms": unit}, keep & inside, notes, _header(sheet))


def _by_messages(cells: Cells, event: str | None) -> tuple[np.ndarray, Columns, list[str]]:
    """The rows (N,) inside a trial that messages bracket, the column of its names, and notes; all rows and no column
    where messages do not tell the trials."""
    sheet, file = cells.sheet, cells.sheet.file
    if "trial" in file.fixed or file.spec.messages is None:
        return np.ones(len(cells.rows), dtype=bool), {}, []
    if event is None:
        raise sheet.error("no column Event for the messages that bracket trials")
    texts = cells.text[event].to_pylist()
    spans = spans_by_messages([(row, text) for row, text in enumerate(texts) if text], file.spec.messages, file.source)
    return *in_spans(spans, np.arange(len(texts)), event), spans.notes()


def _fixations(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    kind = sheet.need("the type of event", _named(sheet, "eyemovementtype", "gazeeventtype") or "Eye movement type")
    number = _named(sheet, "eyemovementtypeindex", "fixationindex", "gazeeventindex") or "Eye movement type index"
    number = sheet.need("the number of the event", number)
    onset = sheet.column("onset_ms", _named(sheet, "recordingtimestamp") or "Recording timestamp")
    duration = sheet.column("duration_ms", _named(sheet, "gazeeventduration") or "Gaze event duration")
    x_name = sheet.column("x_px", _in_px(sheet, "fixationpointx") or "Fixation point X")
    y_name = sheet.column("y_px", _in_px(sheet, "fixationpointy") or "Fixation point Y")
    recording, event = _named(sheet, "recordingname"), _named(sheet, *EVENT)
    cells = sheet.read([*ids.values(), kind, number, recording, event], [onset, duration, x_name, y_name])
    inside = np.flatnonzero((cells.words(kind) == "fixation") & (cells.words(number) != ""))
    if not len(inside):
        raise sheet.error(f"no row of fixations: {kind!r} never says Fixation with a number in {number!r}")
    people = cells.keys([ids["participant"]] if "participant" in ids else [])
    keys = [*people, cells.words(number), *([cells.words(recording)] if recording else [])]
    keep = np.zeros(len(cells.rows), dtype=bool)
    keep[inside[first_of_events(*(key[inside] for key in keys))[1]]] = True
    unit, notes = _clock(cells, onset, inside, "onset_ms")
    declared = sheet.file.spec.units.get("duration_ms")
    units = {"onset_ms": unit, "duration_ms": declared or TIME_UNITS.get(_key(duration)[1], "ms")}
    if _key(x_name)[1] in MEDIUM:
        notes = [*notes, "fixation points are in px of the medium (MCS), not of the display"]
    gaze, _ = chosen_gaze(cells, {"fixation": (x_name, y_name)})
    in_trial, trial, more = _by_messages(cells, event)
    columns = cells.columns(onset_ms=onset, duration_ms=duration) | gaze | trial
    return build(cells, ids, columns, units, keep & in_trial, [*notes, *more], _header(sheet))
