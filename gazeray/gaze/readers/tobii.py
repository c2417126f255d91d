# SPDX-License-Identifier: Apache-2.0
"""Tobii Pro Lab and Tobii Studio: the data export as TSV or CSV (samples, or fixations from its event columns).

What its columns are called is in `tobii_columns`, what a presentation is in `tobii_parts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gazeray.gaze.clock import AGAIN
from gazeray.gaze.readers.base import COORDINATES, IDS, TIME_UNITS_MS, GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.cells import row_rejects
from gazeray.gaze.readers.text import rejects_outside
from gazeray.gaze.readers.tobii_channels import CHANNELS, channels_of, mean_of_events
from gazeray.gaze.readers.tobii_columns import (
    FIXATION,
    GAZE,
    NAMES,
    Points,
    check_unit,
    clock_unit,
    first_text,
    fractions,
    key,
    media_columns,
    message_columns,
    named,
    on_display,
    points,
)
from gazeray.gaze.readers.tobii_parts import (
    PAUSE,
    Clock,
    Events,
    Parts,
    clock_of,
    events_of,
    in_time,
    parts_by_messages,
    parts_of_rows,
)
from gazeray.gaze.readers.vendor_tables import (
    PRESENTATION,
    Cells,
    Columns,
    Sheet,
    build,
    channel_columns,
    chosen_gaze,
    codes_of,
    first_of_events,
    is_any,
    open_sheet,
    says_something,
    trial_of_several,
)
from gazeray.tables import Reject

HEADER_LINES = 100
"""The line with the names of the columns is among the first so many; Studio 1.x and 2.x say other things before it."""

INVALID = ["invalid", "2", "3", "4", "2.0", "3.0", "4.0"]
MS_OR_US = 30.0
"""The duration of a fixation by its column, over what its rows last in ms: about 1 in ms, 1000 in us."""

SLOWEST_STEP = 225.0
"""From sample to sample: 10 Hz to 2 kHz are 0.5 to 100 in ms, 500 to 100 000 in us."""

KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")


@register_reader("tobii", supplies=("participant", "trial"), described=True, keys=KEYS)
def read_tobii(file: GazeFile) -> GazeTable:
    """Read one export; see `Reader`. Gaze counts in px of the display where the export says where that is, else from
    the stimulus (`GazeTable.origin`), in px or normalised.

    Samples: the combined gaze point for eye best where the export has it, else the chosen eye. A sample is lost where
    Validity is Invalid (Pro Lab) or 2 and above (Studio, 0 to 4); for the combined gaze point where that holds for both
    eyes. Rows of other sensors and of events are left out. Fixations: one for each index of the event type Fixation and
    each presentation that it has rows in, as long as its column says, but no longer than its rows.
    A presentation is a run of rows with the same presented stimulus, or what `messages` bracket in the columns Event
    and Event value. Raises ReadError: empty, a column is missing, gaze in mm alone, a clock whose unit nobody says, no
    row of fixations, several people where the path names one.
    """
    return (_samples if file.spec.kind == "samples" else _fixations)(_opened(file))


@dataclass(frozen=True)
class Export:
    """An export that was read. gaze: (N,) bool, rows of the eye tracker; group: (N,) int, the recording of a row; ms:
    (N,) its time; ids: the columns of participant and trial."""

    cells: Cells
    gaze: np.ndarray
    group: np.ndarray
    ms: np.ndarray
    ids: dict[str, str]
    notes: list[str]

    @property
    def sheet(self) -> Sheet:
        return self.cells.sheet

    @property
    def header(self) -> dict[str, float]:
        """The size of the screen, where the export says it."""
        parts = [named(self.sheet, f"screen_{side}") for side in ("width", "height")]
        columns = [name for name in (parts if all(parts) else [named(self.sheet, "screen")]) if name]
        said = [first_text(self.cells, name) for name in columns]
        texts = re.split(r"\s*[x×]\s*", said[0]) if len(said) == 1 else said
        sizes = [float(text) for text in texts if re.fullmatch(r"\d{1,6}(\.\d+)?", text)]
        return {"screen_width_px": sizes[0], "screen_height_px": sizes[1]} if len(sizes) == 2 else {}


def _opened(file: GazeFile) -> Sheet:
    """The export as a sheet; what Studio 1.x and 2.x write before the table gives the participant."""
    sheet = open_sheet(file)
    if named(sheet, "time") or "timestamp_ms" in file.spec.columns or "onset_ms" in file.spec.columns:
        return sheet
    lines = sheet.data.split(b"\n", HEADER_LINES)[:HEADER_LINES]
    said = [[cell.strip() for cell in line.decode().split("\t")] for line in lines]
    at = next((at for at, cells in enumerate(said) if {key(cell)[0] for cell in cells} >= {"timestamp", "number"}), 0)
    if not at:
        return sheet
    about = {cells[0].rstrip(":").lower(): cells[1] for cells in said[:at] if len(cells) > 1}
    person = next((about[name] for name in ("participant name", "participant", "subject") if about.get(name)), "")
    if person and not {"participant"} & {*file.fixed, *file.spec.columns}:
        file = replace(file, fixed={**file.fixed, "participant": person})
    return Sheet(file, b"\n".join(sheet.data.split(b"\n")[at:]), "\t", said[at], 1, sheet.notes)


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of participant and trial, where neither the path nor messages give them."""
    found = {name: [*filter(None, [named(sheet, name)]), *NAMES[name]] for name in IDS}
    told = sheet.file.spec.messages is not None or len(sheet.file.spec.trial_columns) > 1
    return sheet.ids(IDS[:1] if told else IDS, **found)


def _read(sheet: Sheet, time: str, text: list[str | None], numbers: list[str]) -> Export:
    """Read the columns that samples and fixations need, besides those of `text` and `numbers`.

    Raises ReadError: the path names one person and the rows several; no unit of time.
    """
    ids, fixed = _ids(sheet), "participant" in sheet.file.fixed
    person, recording = ids.get("participant") or named(sheet, "participant"), named(sheet, "recording")
    tracker_time, sensor = named(sheet, "tracker_time"), named(sheet, "sensor")
    flags = [named(sheet, f"validity_{eye}") for eye in ("left", "right")]
    screen = [named(sheet, name) for name in ("screen_width", "screen_height", "screen")]
    words, values = channel_columns(sheet)
    parts = sheet.file.spec.trial_columns
    several = [sheet.need("trial", name) for name in parts if len(parts) > 1]
    own = [named(sheet, name) for name in CHANNELS]
    cells = sheet.read(
        [*ids.values(), person, recording, sensor, *flags, *screen, *message_columns(sheet), *words, *text, *several],
        [time, *numbers],
        [*filter(None, [tracker_time, *own]), *values, *media_columns(sheet).values()],
    )
    if not len(cells.rows):
        raise sheet.error("no row with as many fields as the header")
    gaze = _gaze_rows(cells, sensor, [*filter(None, flags)], tracker_time, numbers)
    people = codes_of(cells, person)
    if person:
        there = says_something(cells, person)
        if fixed and len(np.unique(people[there & np.isfinite(cells.values(time))])) > 1:
            raise sheet.error(f"the path names one participant, the column {person!r} several: name the column instead")
        latest = np.maximum.accumulate(np.where(there, np.arange(len(there)), np.argmax(there)))
        people = people[latest]  # rows of events may name nobody
    group = first_of_events(people, codes_of(cells, recording))[0]
    ours = "timestamp_ms" if sheet.file.spec.kind == "samples" else "onset_ms"
    unit, notes = _unit(cells, time, ours, group, gaze, tracker_time)
    ms = cells.values(time) * TIME_UNITS_MS[unit]
    place, again = in_time(cells, gaze, group, ms)
    late = int((np.diff(place) < 0).sum())
    if late or len(again):
        rejects = [*cells.rejects, *_rejects(sheet, cells.rows[again], AGAIN)]
        cells, gaze, group, ms = replace(cells.at(place), rejects=rejects), gaze[place], group[place], ms[place]
        notes = [*notes, f"rows out of order, sorted by time: {late}"] if late else notes
    return Export(cells, gaze, group, ms, ids, notes)


def _gaze_rows(
    cells: Cells, sensor: str | None, flags: list[str], tracker_time: str | None, numbers: list[str]
) -> np.ndarray:
    """(N,) bool, samples of the eye tracker, not those of a mouse and not events."""
    if sensor:
        return np.asarray(pc.starts_with(pc.utf8_lower(cells.text[sensor]), "eye").to_numpy(zero_copy_only=False), bool)
    there = np.logical_or.reduce([np.isfinite(cells.values(name)) for name in numbers])
    if flags or tracker_time:  # only rows of the eye tracker have them
        said = [says_something(cells, name) for name in flags]
        said += [np.isfinite(cells.values(tracker_time))] if tracker_time else []
        return np.logical_or.reduce([there, *said])
    spoken = [says_something(cells, name) for name in message_columns(cells.sheet)[:1]]
    return ~(spoken[0] & ~there) if spoken else np.ones(len(cells.rows), dtype=bool)


def _unit(
    cells: Cells, name: str, ours: str, group: np.ndarray, gaze: np.ndarray, tracker_time: str | None
) -> tuple[str, list[str]]:
    """The unit of a clock: declared, in its name, ms in Tobii Studio, told by the clock of the tracker, which counts in
    us, or by its steps; and a note on the last. Raises ReadError when nothing says it."""
    tag, declared = key(name)[1], cells.sheet.file.spec.units.get(ours)
    if declared == "iso":
        raise cells.sheet.error(f"units.{ours}: iso: the column {name!r} is read as a number")
    if said := declared or clock_unit(tag):
        return said, []
    if key(name)[0] in NAMES["tracker_time"]:
        return "us", []
    if " " not in name and key(name)[0] in NAMES["time"]:
        return "ms", []
    order = np.flatnonzero(gaze)[np.argsort(group[gaze], kind="stable")]
    steps, together = np.diff(cells.values(name)[order]), np.diff(group[order]) == 0
    forward = together & (steps > 0)
    if tracker_time:
        theirs = np.diff(cells.values(tracker_time)[order])
        both = forward & (theirs > 0)
        if both.any():
            ratio = np.log10(np.median(theirs[both] / steps[both]))
            return {0: "us", 1: "ms", 2: "s"}.get(round(ratio / 3), "ms"), []
    if not forward.any():
        raise cells.sheet.error(f"no unit in the name of {name!r}, nor do its steps tell it: declare units.{ours}")
    unit = "us" if np.median(steps[forward]) > SLOWEST_STEP else "ms"
    return unit, [f"no unit in the name of a clock, by its steps it counts in {unit}: {name}"]


def _placed(export: Export, found: list[Points], media: Mapping[str, str], rows: np.ndarray) -> tuple[Cells, Points]:
    """The cells with coordinates from the top left of the display where the export tells them in the `rows` (N,), and
    what they are now; else those of the medium."""
    if export.sheet.file.spec.origin == "screen" or found[0].where != "medium":
        for one in found:
            if one.where != "medium":
                return export.cells, one
            if moved := on_display(export.cells, one, media, rows):
                return moved
    best = min(found, key=lambda one: one.unit != "normalised")
    return fractions(export.cells, best, media)


def _wanted(found: list[Points], asked: str, sheet: Sheet) -> list[Points]:
    """The columns of each coordinate system for the eye asked for. Raises ReadError when there are none."""
    wanted = {"best": ["combined"], "mean": ["left", "right"]}.get(asked, [asked])
    chosen = []
    for one in found:
        pairs = {eye: pair for eye, pair in one.pairs.items() if eye != "combined"}
        if set(wanted) <= one.pairs.keys():
            pairs = {eye: one.pairs[eye] for eye in wanted}
        elif "declared" in one.pairs or (asked == "mean" and "combined" in one.pairs):
            pairs = dict(one.pairs)
        elif asked in ("left", "right"):
            continue
        chosen += [replace(one, pairs=pairs)] if pairs else []
    if not chosen:
        what = " ".join(["Gaze point", *(wanted if asked in ("left", "right") else []), "X"])
        raise sheet.error(f"no column {what} in px of the display or the medium (present: {', '.join(sheet.names)})")
    return chosen


def _samples(sheet: Sheet) -> GazeTable:
    declared = sheet.file.spec.columns
    time = sheet.column("timestamp_ms", named(sheet, "time") or "Recording timestamp")
    found = points(sheet, GAZE)
    eyes = {eye for one in found for eye in one.pairs}
    found = found if "x_px" in declared else _wanted(found, sheet.file.spec.eye, sheet)
    found = found[:1] if found and found[0].where == "display" else found
    names = [*chain.from_iterable(chain.from_iterable(one.pairs.values() for one in found))]
    export = _read(sheet, time, [named(sheet, "shown")], names)
    cells, media = export.cells, media_columns(sheet)
    lost = _lost(cells)
    cells, place = _placed(export, found, media, export.gaze)
    check_unit(sheet, place)
    gaze, notes = chosen_gaze(cells, place.pairs, lost | _of_both(lost))
    clock = clock_of(export.gaze, export.group, export.ms)
    parts, trial = _parts(export, clock)
    keep = export.gaze & np.isfinite(export.ms) & ((parts.codes >= 0) | (not parts.names))
    timeless = np.isnan(export.ms) & ~cells.numbers[time].bad & export.gaze
    columns: Columns = {"timestamp_ms": (time, export.ms)} | gaze | trial
    table = build(
        *(cells, export.ids, columns | {PRESENTATION: ("presentation", parts.codes)}, {"timestamp_ms": "ms"}),
        *(keep | cells.numbers[time].bad & export.gaze, [*notes, *export.notes], export.header),
        channels=channels_of(cells, clock, export.ms, lost),
    )
    outside = np.flatnonzero(export.gaze & np.isfinite(export.ms) & ~keep)
    rejects = rejects_outside(sheet.file.source, "samples", cells.rows[outside], sheet.file.ids[0])
    rejects += _rejects(sheet, cells.rows[timeless], f"column {time}: an empty cell is not a time")
    eye = next(iter(eyes)) if len(eyes) == 1 else ""
    return replace(_described(table, place, rejects), eye=eye if eye in ("left", "right") else "")


def _lost(cells: Cells) -> dict[str, np.ndarray]:
    """By eye, the rows (N,) in which the tracker calls it invalid."""
    flags = {eye: named(cells.sheet, f"validity_{eye}") for eye in ("left", "right")}
    return {eye: is_any(cells, flag, INVALID) for eye, flag in flags.items() if flag}


def _of_both(lost: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The combined gaze point is lost where both eyes are."""
    return {"combined": np.logical_and.reduce(list(lost.values()))} if lost else {}


def _rejects(sheet: Sheet, rows: np.ndarray, reason: str) -> list[Reject]:
    """One reject for each of the rows (M,), and from some hundred on one that counts the rest."""
    return row_rejects(sheet.file.source, rows, "read", lambda index: reason, lambda index: sheet.file.ids)


def _described(table: GazeTable, place: Points, rejects: list[Reject]) -> GazeTable:
    """The table with what its coordinates are, and further rejects."""
    origin = {"display": "", "medium": "stimulus", "camera": "scene_camera"}[place.where]
    units = dict.fromkeys(COORDINATES, place.unit) if place.unit != "px" else {}
    return replace(table, units=table.units | units, origin=origin, rejects=[*table.rejects, *rejects])


def _parts(export: Export, clock: Clock) -> tuple[Parts, Columns]:
    """The presentations, and the column of the trial where it is not one column of the file."""
    cells, sheet = export.cells, export.sheet
    if sheet.file.spec.messages is not None:
        parts = parts_by_messages(cells, message_columns(sheet), clock, export.group, export.ms)
        if (parts.codes < 0).all():
            raise sheet.error("no row of gaze lies in a trial that messages bracket")
        return parts, {"trial": ("the trial of the messages", parts.trial)}
    several = trial_of_several(cells)
    keys = [export.ids["trial"]] if "trial" in export.ids else sheet.file.spec.trial_columns if several else []
    shown = named(sheet, "shown") if keys else None
    parts = parts_of_rows(clock, len(cells.rows), [codes_of(cells, name) for name in [*keys, *filter(None, [shown])]])
    nowhere = np.logical_or.reduce([~says_something(cells, name) for name in keys]) if keys else False
    return replace(parts, codes=np.where(nowhere, -1, parts.codes)), several


def _fixations(sheet: Sheet) -> GazeTable:
    file, kind, number = sheet.file, named(sheet, "type"), named(sheet, "number")
    if kind is None and (number is None or key(number)[0] != "fixationindex"):
        kind = sheet.need("the type of event", "Eye movement type")
    number = sheet.need("the number of the event", number or "Eye movement type index")
    onset = sheet.column("onset_ms", named(sheet, "time") or "Recording timestamp")
    duration = sheet.column("duration_ms", named(sheet, "duration") or "Eye movement event duration")
    found = points(sheet, FIXATION)
    if not found:
        raise sheet.error(f"no column Fixation point X in px of the display (present: {', '.join(sheet.names)})")
    names = [*chain.from_iterable(chain.from_iterable(one.pairs.values() for one in found))]
    export = _read(sheet, onset, [kind, number, named(sheet, "shown")], [duration, *names])
    cells = export.cells
    fixed = is_any(cells, kind, ["fixation"]) if kind else np.ones(len(cells.rows), dtype=bool)
    fixed &= says_something(cells, number) & ~is_any(cells, number, ["0", "0.0", "0,0", "nan"])
    if "participant" in export.ids:
        fixed &= says_something(cells, export.ids["participant"])
    if not fixed.any():
        says = f"{kind!r} never says Fixation with a number in" if kind else "no number in"
        raise sheet.error(f"no row of fixations: {says} {number!r}")
    numbers = codes_of(cells, number)
    sparse = _rows_are_events(export, fixed, numbers)
    clock = clock_of(export.gaze, export.group, export.ms, np.inf if sparse else PAUSE)
    parts, trial = _parts(export, clock)
    cells, place = _placed(export, found, media_columns(sheet), fixed)
    check_unit(sheet, place)
    pair = next(iter(place.pairs.values()))
    placed = np.isfinite(cells.values(pair[0]) + cells.values(pair[1]))
    events = events_of(clock, fixed, numbers, parts, cells.values(duration), placed)
    lasts, notes = _durations(sheet, duration, events, np.inf if sparse else clock.step)
    mean = mean_of_events(channels_of(cells, clock, export.ms, _lost(cells)), events)
    own = cells.at(events.rows)
    columns: Columns = {"onset_ms": (onset, events.onset), "duration_ms": (duration, lasts)}
    columns |= chosen_gaze(own, place.pairs)[0] | {PRESENTATION: ("presentation", events.codes)}
    columns |= {name: (called, values.take(pa.array(events.rows))) for name, (called, values) in trial.items()}
    table = build(
        *(own, export.ids, columns, {"onset_ms": "ms", "duration_ms": "ms"}, None),
        *([*export.notes, *notes], export.header, mean, parts.windows),
    )
    return _described(table, place, rejects_outside(file.source, "fixations", cells.rows[events.outside], file.ids[0]))


def _rows_are_events(export: Export, fixed: np.ndarray, numbers: np.ndarray) -> bool:
    """Does the export hold but one row of most fixations, as those that were thinned out do?"""
    rows = np.flatnonzero(export.gaze & fixed)
    order = rows[np.argsort(export.group[rows], kind="stable")]
    events = 1 + np.count_nonzero(np.diff(numbers[order]) | np.diff(export.group[order]))
    return bool(len(rows) < 1.5 * events)


def _durations(sheet: Sheet, name: str, events: Events, step: float) -> tuple[np.ndarray, list[str]]:
    """How long the fixations last in ms, (M,), and notes: as the column says, but no longer than their rows, from which
    a sample may be missing (`step` ms)."""
    tag, declared = key(name)[1], sheet.file.spec.units.get("duration_ms")
    unit, notes = declared or clock_unit(tag), list[str]()
    if unit is None:
        known = (events.duration > 0) & (events.extent > 0) & np.isfinite(events.extent)
        ratio = events.duration[known] / events.extent[known]
        unit = "us" if len(ratio) and np.median(ratio) > MS_OR_US else "ms"
    lasts = events.duration * TIME_UNITS_MS[unit]
    beyond = lasts > events.extent + step
    if beyond.any():
        notes = [f"fixations of which the export holds a part, as long as their rows: {beyond.sum()} of {len(lasts)}"]
    return np.where(beyond, events.extent, lasts), notes
