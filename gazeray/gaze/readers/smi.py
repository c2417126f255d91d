# SPDX-License-Identifier: Apache-2.0
"""SMI text exports: samples of the IDF Converter and of BeGaze, fixations of the IDF Event Detector and of BeGaze.

Four layouts, told apart by the names of their columns, never by position:

    samples    "##" lines, then Time Type Trial ... L POR X [px] ... with SMP and MSG rows (IDF Converter, BeGaze 2)
               RecordingTime [ms] Trial ... Category Left ... Point of Regard Left X [px] ... (BeGaze 3, raw data)
    fixations  "Table Header for Fixations:", Event Type Trial Number Start End Duration Location X ... (BeGaze 2)
               Trial ... Category ... Event Start Trial Time [ms] ... Fixation Position X [px] ... (BeGaze 3, events)

Sources: SMI, BeGaze 2.3 Manual (2009), "Export File Format", which gives times of events in microseconds; the column
names that published BeGaze 3 exports carry. A time whose column names no unit is in microseconds: a recording of the
IDF Converter that says 50 Hz has rows that are 20 000 apart. Rows are line numbers, the first line of the file is 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import GazeSpec, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.cells import LARGEST, NUMBER
from gazeray.gaze.readers.text import Numbers, clock_hz, clock_notes, one_gaze, spans_by_messages, without_missing
from gazeray.gaze.readers.vendor_tables import (
    DELIMITERS,
    Cells,
    Pairs,
    Sheet,
    build,
    declared_pair,
    decoded,
    named,
    time_units,
    with_ids,
)
from gazeray.tables import Reject

HEADER_LINES = 500
"""The line with the names of the columns is among the first so many."""

SAMPLE_TIMES = ("RecordingTime [ms]", "Time", "Time [us]", "Time [ms]")
ONSETS = ("Start", "Event Start Raw Time [ms]", "Event Start Trial Time [ms]", "Fixation Start [ms]")
DURATIONS = ("Duration", "Event Duration [ms]", "Fixation Duration [ms]")
FIXATION_X = ("Location X", "Fixation Position X [px]", "Visual Intake Position X [px]", "Position X")
EYES = {"left": "left", "l": "left", "right": "right", "r": "right"}
NO_EYE = ("separator", "user event", "userevent", "information")
"""Categories of BeGaze rows that are no samples; their column Content holds a message."""

FIXATION = ("fixation", "visual intake")
ABOUT = {
    "Sample Rate": ("sampling_hz",),
    "Calibration Area": ("screen_width_px", "screen_height_px"),
    "Stimulus Dimension [mm]": ("screen_width_mm", "screen_height_mm"),
    "Head Distance [mm]": ("distance_mm",),
}
"""Line of the header -> what its cells are called in `GazeTable.header`."""


@dataclass(frozen=True)
class Export:
    """An opened export: its rows as a sheet, the line (from 1) of each, its messages as (line or time, text), and the
    cells of the lines before the table by what stands before the colon."""

    sheet: Sheet
    lines: np.ndarray
    messages: list[tuple[float, str]]
    about: dict[str, list[str]]

    @property
    def header(self) -> dict[str, float]:
        """The numbers of `ABOUT` that are above 0."""
        found = {}
        for name, ours in ABOUT.items():
            for key, cell in zip(ours, self.about.get(name, []), strict=False):
                if 0 < (value := _number(cell)) < LARGEST:
                    found[key] = value
        return found

    def at_lines(self, cells: Cells) -> Cells:
        """The cells with line numbers for row numbers."""
        rejects = [replace(reject, row=int(self.lines[reject.row - 1])) for reject in cells.rejects]
        return replace(cells, rows=self.lines[cells.rows - 1], rejects=rejects)


@register_reader("smi", supplies=("participant", "trial"), described=True)
def read_smi(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one SMI text export, plain or gzipped; see `Reader`.

    A sample at 0, 0 or in a blink is lost. The trial comes from the path, from `spec.messages`, or from the column
    Trial; the participant from the path, the column Participant, or the header line Subject. Raises ReadError: empty,
    damaged, no column of times or of gaze in px, an eye that was not recorded, no row of what is asked for.
    """
    text, notes = decoded(data, source)
    lines = text.split(b"\n")
    if spec.kind == "samples":
        return _samples(_open_samples(lines, source, spec, notes), spec, fixed)
    return _fixations(_open_fixations(lines, source, spec, notes), spec, fixed)


def _open_samples(lines: list[bytes], source: str, spec: GazeSpec, notes: list[str]) -> Export:
    """An export of samples."""
    times = (spec.columns["timestamp_ms"],) if "timestamp_ms" in spec.columns else SAMPLE_TIMES
    at, delimiter, names = _header_line(lines, source, spec, times)
    mark = b"%sMSG%s" % (delimiter.encode(), delimiter.encode())
    body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
    said = [number for number in body if mark in lines[number]] if "Type" in names else []
    messages = [(float(number + 1), lines[number].split(mark, 1)[1].decode()) for number in said]
    if said:
        apart = set(said)
        body = [number for number in body if number not in apart]
    return _export(lines, at, body, names, delimiter, source, notes, messages)


def _open_fixations(lines: list[bytes], source: str, spec: GazeSpec, notes: list[str]) -> Export:
    """An export of events, of which the fixations are rows; the positions of messages are times."""
    onsets = (spec.columns["onset_ms"],) if "onset_ms" in spec.columns else ONSETS
    titles = {}
    for number, line in enumerate(lines[:HEADER_LINES]):
        if found := re.match(rb"Table Header for ([\w ]+)", line):
            titles[found[1].decode().strip()] = number + 1
    if "Fixations" not in titles:
        at, delimiter, names = _header_line(lines, source, spec, onsets)
        body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
        return _export(lines, at, body, names, delimiter, source, notes, [])
    start = titles["Fixations"]
    at, delimiter, names = _header_line(lines[: start + 1], source, spec, onsets, start)
    body = [number for number, line in enumerate(lines) if line.startswith(b"Fixation")]
    messages = []
    if "User Events" in titles and titles["User Events"] < len(lines):
        columns = _cells(lines[titles["User Events"]], delimiter)
        for line in lines:
            cells = dict(zip(columns, _cells(line, delimiter), strict=False)) if line.startswith(b"UserEvent") else {}
            if not np.isnan(time := _number(cells.get("Start", ""))):
                messages.append((time, cells.get("Description", "")))
    return _export(lines, at, body, names, delimiter, source, notes, sorted(messages))


def _header_line(
    lines: list[bytes], source: str, spec: GazeSpec, times: tuple[str, ...], first: int = 0
) -> tuple[int, str, list[str]]:
    """Number, delimiter and cells of the first line that names a column of times."""
    for number in range(first, min(len(lines), HEADER_LINES)):
        if lines[number].startswith(b"##"):
            continue
        for delimiter in [spec.delimiter] if spec.delimiter else DELIMITERS:
            names = _cells(lines[number], delimiter)
            if len(names) > 1 and set(times) & set(names):
                return number, delimiter, names
    raise ReadError(source, f"no line that names the columns of {spec.kind}, such as {' or '.join(map(repr, times))}")


def _export(
    lines: list[bytes],
    at: int,
    body: list[int],
    names: list[str],
    delimiter: str,
    source: str,
    notes: list[str],
    messages: list[tuple[float, str]],
) -> Export:
    """The rows on the lines `body`, with the names of line `at`. Rows may end with a delimiter."""
    if not body:
        raise ReadError(source, "a header without rows")
    if lines[body[0]].count(delimiter.encode()) == len(names) and lines[body[0]].endswith(delimiter.encode()):
        names = [*names, ""]
    about: dict[str, list[str]] = {}
    for line in lines[:at]:
        key, _, rest = line.removeprefix(b"##").decode().partition(":")
        about.setdefault(key.strip(), [cell.strip() for cell in rest.strip().split("\t")])
    data = b"\n".join([lines[at], *(lines[number] for number in body), b""])
    sheet = Sheet(data, source, delimiter, names, 1, notes)
    return Export(sheet, np.array(body, dtype=np.int64) + 1, messages, about)


def _samples(export: Export, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    """The samples as a GazeTable."""
    sheet = export.sheet
    time = sheet.column(spec, "timestamp_ms", *SAMPLE_TIMES)
    pairs = declared_pair(sheet, spec, _gaze_columns(sheet))
    pairs = pairs or _gaze_columns(sheet)
    if not pairs:
        present = ", ".join(sheet.names)
        raise ReadError(sheet.source, f"no columns of the point of regard, such as 'L POR X [px]' (present: {present})")
    states = {eye: sheet.find(f"Category {eye.title()}", f"{eye[:1].upper()} Event Info") for eye in pairs}
    kinds = [sheet.find(name) for name in ("Type", "Category Group", "Category Left", "Category Right", "Category")]
    content = sheet.find("Content")
    fixed, ids = _ids(export, spec, fixed)
    text = dict.fromkeys(name for name in (*ids.values(), *states.values(), *kinds, content) if name)
    numbers = dict.fromkeys([time, *(name for pair in pairs.values() for name in pair)])
    cells = export.at_lines(sheet.read(text, numbers, fixed))
    is_sample, messages = _is_sample(cells, [name for name in kinds if name]), list(export.messages)
    if content:
        said, contents = np.flatnonzero(~is_sample), cells.text[content].to_pylist()
        messages += [(float(cells.rows[row]), contents[row] or "") for row in said]
    cells = _only(cells, is_sample, sheet.source, "sample")
    eyes = {}
    for eye, (x_name, y_name) in pairs.items():
        x, y, state = cells.values(x_name), cells.values(y_name), states[eye]
        lost = (x == 0) & (y == 0)
        lost |= cells.words(state) == "blink" if state else False
        eyes[eye] = (np.where(lost, np.nan, x), np.where(lost, np.nan, y))
    x_px, y_px, notes = one_gaze(without_missing(eyes, spec), spec, sheet.source)
    units = time_units(_unit(time), spec)
    columns = {"timestamp_ms": (time, cells.values(time)), "x_px": ("x_px", x_px), "y_px": ("y_px", y_px)}
    found = _built(export, cells, spec, fixed, ids, columns, units, cells.rows, sorted(messages))
    counted = _number(next(iter(export.about.get("Number of Samples", [])), ""))
    if counted > 0 and counted != len(cells.rows):
        notes.append(f"the header counts {counted:.0f} samples, the file has {len(cells.rows)}")
    breaks = np.flatnonzero(np.diff(found.codes)) + 1
    notes += clock_notes(export.header, clock_hz(found.columns["timestamp_ms"], breaks))
    return replace(found, header=export.header, notes=[*found.notes, *notes])


def _fixations(export: Export, spec: GazeSpec, fixed: Mapping[str, str]) -> GazeTable:
    """The fixations as a GazeTable."""
    sheet = export.sheet
    onset, duration = sheet.column(spec, "onset_ms", *ONSETS), sheet.column(spec, "duration_ms", *DURATIONS)
    x_name = sheet.column(spec, "x_px", *FIXATION_X)
    y_name = sheet.column(spec, "y_px", *(name.replace("X", "Y") for name in FIXATION_X))
    category, side = sheet.find("Event Type", "Category"), sheet.find("Event Type", "Eye L/R", "Eye")
    fixed, ids = _ids(export, spec, fixed)
    text = dict.fromkeys(name for name in (*ids.values(), category, side) if name)
    cells = export.at_lines(sheet.read(text, dict.fromkeys([onset, duration, x_name, y_name]), fixed))
    if category:
        words = cells.words(category).tolist()
        is_fixation = np.array([(word or "").startswith(FIXATION) for word in words], dtype=bool)
        cells = _only(cells, is_fixation, sheet.source, "fixation")
    notes: list[str] = []
    if side:
        eye_of = np.array([EYES.get((word or "").split(" ")[-1], "") for word in cells.words(side)])
        eye, notes = _fixation_eye(eye_of, cells.values(duration), spec, sheet.source)
        cells = _only(cells, np.isin(eye_of, [eye, ""]), sheet.source, f"fixation of the {eye} eye")
    eyes = without_missing({"one": (cells.values(x_name), cells.values(y_name))}, spec)
    units = time_units(_unit(onset), spec)
    columns = {"onset_ms": (onset, cells.values(onset)), "duration_ms": (duration, cells.values(duration))}
    columns |= {"x_px": ("x_px", eyes["one"][0]), "y_px": ("y_px", eyes["one"][1])}
    at = cells.values(onset)
    if spec.messages is not None and "trial" not in fixed and (np.diff(at) < 0).any():
        raise ReadError(sheet.source, "times start again within the file, so that messages cannot tell its trials")
    found = _built(export, cells, spec, fixed, ids, columns, units, at, export.messages)
    return replace(found, header=export.header, notes=[*found.notes, *notes])


def _gaze_columns(sheet: Sheet) -> Pairs:
    """The columns of the point of regard in px: of the left and the right eye, else of both together."""
    pairs = {}
    for eye, names in (("left", ("L POR", "Point of Regard Left")), ("right", ("R POR", "Point of Regard Right"))):
        found = [sheet.find(*(f"{name} {axis} [px]" for name in names)) for axis in "XY"]
        if found[0] and found[1]:
            pairs[eye] = (found[0], found[1])
    both = [sheet.find(f"B POR {axis} [px]", f"Point of Regard Binocular {axis} [px]") for axis in "XY"]
    if not pairs and both[0] and both[1]:
        pairs["binocular"] = (both[0], both[1])
    return pairs


def _fixation_eye(eye_of: np.ndarray, duration: np.ndarray, spec: GazeSpec, source: str) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice; "" where the file names no eye.

    best: the eye that fixated longer in all, since such files have no samples. Raises ReadError when the eye asked for
    is not there, and for the mean of events that begin at different times.
    """
    total = {eye: float(np.nansum(duration[eye_of == eye])) for eye in ("left", "right") if (eye_of == eye).any()}
    if spec.eye in ("left", "right") and total and spec.eye not in total:
        raise ReadError(source, f"no fixations of the {spec.eye} eye in the file (there: {', '.join(total)})")
    if len(total) < 2:
        return next(iter(total), ""), []
    if spec.eye == "mean":
        raise ReadError(source, "fixations of two eyes begin at different times and have no mean: ask for one eye")
    if spec.eye != "best":
        return spec.eye, [f"both eyes are in the file; the {spec.eye} eye is used"]
    eye = max(total, key=lambda eye: total[eye])
    return eye, [f"both eyes are in the file; the {eye} eye is used (it fixated longer)"]


def _ids(export: Export, spec: GazeSpec, fixed: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The ids that hold for the whole file, and the columns of the others; a trial told by messages is in neither.

    Raises ReadError when the file names no participant or no trial.
    """
    sheet, fixed, columns = export.sheet, dict(fixed), {}
    subject = next(iter(export.about.get("Subject", [])), "")
    if "participant" not in fixed:
        if "participant" not in spec.columns and subject and sheet.find("Participant", "Subject") is None:
            fixed["participant"] = identifier(subject)
        else:
            columns["participant"] = sheet.column(spec, "participant", "Participant", "Subject")
    if "trial" not in fixed and spec.messages is None:
        columns["trial"] = sheet.column(spec, "trial", "Trial")
    return fixed, columns


def _is_sample(cells: Cells, kinds: list[str]) -> np.ndarray:
    """(N,) bool, which rows are samples, by the columns of types and categories."""
    sample = np.ones(len(cells.rows), dtype=bool)
    for name in kinds:
        words = cells.words(name)
        sample &= words == "smp" if name == "Type" else ~np.isin(words.astype(str), NO_EYE)
    return sample


def _only(cells: Cells, keep: np.ndarray, source: str, what: str) -> Cells:
    """The rows of the mask `keep` (N,). Raises ReadError when there is none."""
    if not keep.any():
        raise ReadError(source, f"no {what} in the file")
    if keep.all():
        return cells
    text = {name: values.filter(pa.array(keep)) for name, values in cells.text.items()}
    numbers = {
        name: Numbers(part.values[keep], part.bad[keep], part.cells.filter(pa.array(keep)))
        for name, part in cells.numbers.items()
    }
    return replace(cells, rows=cells.rows[keep], text=text, numbers=numbers)


def _built(
    export: Export,
    cells: Cells,
    spec: GazeSpec,
    fixed: Mapping[str, str],
    ids: Mapping[str, str],
    columns: Mapping[str, tuple[str, np.ndarray]],
    units: Mapping[str, str],
    positions: np.ndarray,
    messages: list[tuple[float, str]],
) -> GazeTable:
    """The GazeTable; where messages tell the trials, by the `positions` (N,) of rows and messages."""
    source = export.sheet.source
    if "trial" in fixed or spec.messages is None:
        return build(cells, export.sheet, spec, fixed, with_ids(cells, ids, **columns), units)
    spans = spans_by_messages(messages, spec.messages, source)
    names = list(dict.fromkeys(spans.names))
    codes = spans.codes(positions, names)
    inside = codes >= 0
    if not inside.any():
        raise ReadError(source, f"none of the {len(codes)} {spec.kind} lies in a trial")
    told = with_ids(cells, ids, trial=("trial of the messages", named(codes, names)), **columns)
    found = build(cells, export.sheet, spec, fixed, told, units, keep=inside)
    rejects, outside = list(found.rejects), np.flatnonzero(~inside)
    if len(outside):
        reason = f"{len(outside)} {spec.kind} lie outside any trial, this is the first"
        rejects.append(Reject(source, int(cells.rows[outside[0]]), "read", reason, fixed.get("participant", "")))
    return replace(found, rejects=rejects, notes=[*found.notes, *spans.notes()])


def _cells(line: bytes, delimiter: str) -> list[str]:
    """The cells of one line, without quotes and blanks around them."""
    return [cell.strip().strip('"').strip() for cell in line.decode().split(delimiter)]


def _number(cell: str) -> float:
    """A number with a decimal point or comma; NaN when the cell holds none."""
    text = cell.strip().replace(",", ".")
    return float(text) if re.fullmatch(NUMBER, text) else np.nan


def _unit(column: str) -> str:
    """The unit in the brackets of a column's name, microseconds when it has none."""
    found = re.search(r"\[(ms|s|us|ns)\]", column)
    return found[1] if found else "us"
