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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import IDS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.cells import LARGEST, NUMBER, Numbers
from gazeray.gaze.readers.text import clock_hz, clock_notes, eye_of_fixations, rejects_outside, spans_by_messages
from gazeray.gaze.readers.vendor_tables import (
    DELIMITERS,
    Cells,
    Columns,
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    declared_pair,
    decoded,
    in_spans,
    time_units,
)

HEADER_LINES = 500
"""The line with the names of the columns is among the first so many."""

SAMPLE_TIMES = ("RecordingTime [ms]", "Time", "Time [us]", "Time [ms]")
ONSETS = ("Start", "Event Start Raw Time [ms]", "Event Start Trial Time [ms]", "Fixation Start [ms]")
FIXATION_X = ("Location X", "Fixation Position X [px]", "Visual Intake Position X [px]", "Position X")
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

    def read(self, text: Iterable[str | None], numbers: Iterable[str | None]) -> Cells:
        """See `Sheet.read`; with line numbers for row numbers."""
        cells = self.sheet.read(text, numbers)
        rejects = [replace(reject, row=int(self.lines[reject.row - 1])) for reject in cells.rejects]
        return replace(cells, rows=self.lines[cells.rows - 1], rejects=rejects)


KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")


@register_reader("smi", supplies=("participant", "trial"), described=True, keys=KEYS)
def read_smi(file: GazeFile) -> GazeTable:
    """Read one SMI text export, plain or gzipped; see `Reader`.

    A sample at 0, 0 or in a blink is lost. The trial comes from the path, from `spec.messages`, or from the column
    Trial; the participant from the path, the column Participant, or the header line Subject. Raises ReadError: empty,
    damaged, no column of times or of gaze in px, an eye that was not recorded, no row of what is asked for.
    """
    text, notes = decoded(file)
    lines = text.split(b"\n")
    if file.spec.kind == "samples":
        return _samples(_open_samples(file, lines, notes))
    return _fixations(_open_fixations(file, lines, notes))


def _open_samples(file: GazeFile, lines: list[bytes], notes: list[str]) -> Export:
    """An export of samples."""
    at, delimiter, names = _header_line(file, lines, "timestamp_ms", SAMPLE_TIMES)
    mark = b"%sMSG%s" % (delimiter.encode(), delimiter.encode())
    body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
    said = [number for number in body if mark in lines[number]] if "Type" in names else []
    messages = [(float(number + 1), lines[number].split(mark, 1)[1].decode()) for number in said]
    apart = set(said)
    body = [number for number in body if number not in apart] if said else body
    return _export(file, lines, at, body, names, delimiter, notes, messages)


def _open_fixations(file: GazeFile, lines: list[bytes], notes: list[str]) -> Export:
    """An export of events, of which the fixations are rows; the positions of messages are times."""
    titles = {}
    for number, line in enumerate(lines[:HEADER_LINES]):
        if found := re.match(rb"Table Header for ([\w ]+)", line):
            titles[found[1].decode().strip()] = number + 1
    if "Fixations" not in titles:
        at, delimiter, names = _header_line(file, lines, "onset_ms", ONSETS)
        body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
        return _export(file, lines, at, body, names, delimiter, notes, [])
    start = titles["Fixations"]
    at, delimiter, names = _header_line(file, lines[: start + 1], "onset_ms", ONSETS, start)
    body = [number for number, line in enumerate(lines) if line.startswith(b"Fixation")]
    messages = []
    if "User Events" in titles and titles["User Events"] < len(lines):
        columns = _cells(lines[titles["User Events"]], delimiter)
        for line in lines:
            cells = dict(zip(columns, _cells(line, delimiter), strict=False)) if line.startswith(b"UserEvent") else {}
            if not np.isnan(time := _number(cells.get("Start", ""))):
                messages.append((time, cells.get("Description", "")))
    return _export(file, lines, at, body, names, delimiter, notes, sorted(messages))


def _header_line(
    file: GazeFile, lines: list[bytes], time: str, defaults: tuple[str, ...], first: int = 0
) -> tuple[int, str, list[str]]:
    """Number, delimiter and cells of the first line that names a column of times: the declared one, or a default."""
    times = (file.spec.columns[time],) if time in file.spec.columns else defaults
    for number in range(first, min(len(lines), HEADER_LINES)):
        if lines[number].startswith(b"##"):
            continue
        for delimiter in [file.spec.delimiter] if file.spec.delimiter else DELIMITERS:
            names = _cells(lines[number], delimiter)
            if len(names) > 1 and set(times) & set(names):
                return number, delimiter, names
    reason = f"no line that names the columns of {file.spec.kind}, such as {' or '.join(map(repr, times))}"
    raise ReadError(file.source, reason)


def _export(
    file: GazeFile,
    lines: list[bytes],
    at: int,
    body: list[int],
    names: list[str],
    delimiter: str,
    notes: list[str],
    messages: list[tuple[float, str]],
) -> Export:
    """The rows on the lines `body`, with the names of line `at`. Rows may end with a delimiter."""
    if not body:
        raise ReadError(file.source, "a header without rows")
    if lines[body[0]].count(delimiter.encode()) == len(names) and lines[body[0]].endswith(delimiter.encode()):
        names = [*names, ""]
    about: dict[str, list[str]] = {}
    for line in lines[:at]:
        key, _, rest = line.removeprefix(b"##").decode().partition(":")
        about.setdefault(key.strip(), [cell.strip() for cell in rest.strip().split("\t")])
    subject, known = about.get("Subject", [""])[0], {*file.fixed, *file.spec.columns, *map(str.lower, names)}
    if subject and not {"participant", "subject"} & known:
        file = replace(file, fixed={**file.fixed, "participant": identifier(subject)})
    data = b"\n".join([lines[at], *(lines[number] for number in body), b""])
    sheet = Sheet(file, data, delimiter, names, 1, notes)
    return Export(sheet, np.array(body, dtype=np.int64) + 1, messages, about)


def _samples(export: Export) -> GazeTable:
    """The samples as a GazeTable."""
    sheet, spec = export.sheet, export.sheet.file.spec
    time = sheet.column("timestamp_ms", *SAMPLE_TIMES)
    pairs = declared_pair(sheet, _gaze_columns(sheet)) or _gaze_columns(sheet)
    if not pairs:
        present = ", ".join(sheet.names)
        raise sheet.error(f"no columns of the point of regard, such as 'L POR X [px]' (present: {present})")
    states = {eye: sheet.find(f"Category {eye.title()}", f"{eye[:1].upper()} Event Info") for eye in pairs}
    kinds = [sheet.find(name) for name in ("Type", "Category Group", "Category Left", "Category Right", "Category")]
    content, ids = sheet.find("Content"), _ids(sheet)
    cells = export.read([*ids.values(), *states.values(), *kinds, content], [time, *chain(*pairs.values())])
    is_sample, messages = np.ones(len(cells.rows), dtype=bool), list(export.messages)
    for name in filter(None, kinds):  # rows of BeGaze that are no samples have a message in their column Content
        no_eye, words = ("separator", "user event", "userevent", "information"), cells.words(name)
        is_sample &= words == "smp" if name == "Type" else ~np.isin(words.astype(str), no_eye)
    if content:
        said, contents = np.flatnonzero(~is_sample), cells.text[content].to_pylist()
        messages += [(float(cells.rows[row]), contents[row] or "") for row in said]
    cells = _only(cells, is_sample, "sample")
    lost = {}
    for eye, (x_name, y_name) in pairs.items():
        lost[eye] = (cells.values(x_name) == 0) & (cells.values(y_name) == 0)
        if state := states[eye]:
            lost[eye] |= cells.words(state) == "blink"
    gaze, notes = chosen_gaze(cells, pairs, lost)
    columns = cells.columns(timestamp_ms=time) | gaze
    found = _built(export, cells, ids, columns, time_units(_unit(time), spec), cells.rows, sorted(messages))
    counted = _number(next(iter(export.about.get("Number of Samples", [])), ""))
    if counted > 0 and counted != len(cells.rows):
        notes = [*notes, f"the header counts {counted:.0f} samples, the file has {len(cells.rows)}"]
    breaks = np.flatnonzero(np.diff(found.codes)) + 1
    notes += clock_notes(export.header, clock_hz(found.columns["timestamp_ms"], breaks))
    return replace(found, notes=[*found.notes, *notes])


def _fixations(export: Export) -> GazeTable:
    """The fixations as a GazeTable."""
    sheet, spec = export.sheet, export.sheet.file.spec
    onset = sheet.column("onset_ms", *ONSETS)
    duration = sheet.column("duration_ms", "Duration", "Event Duration [ms]", "Fixation Duration [ms]")
    pair = sheet.column("x_px", *FIXATION_X), sheet.column("y_px", *(name.replace("X", "Y") for name in FIXATION_X))
    category, side = sheet.find("Event Type", "Category"), sheet.find("Event Type", "Eye L/R", "Eye")
    ids = _ids(sheet)
    cells = export.read([*ids.values(), category, side], [onset, duration, *pair])
    if category:
        words = cells.words(category).tolist()
        is_fixation = np.array([(word or "").startswith(FIXATION) for word in words], dtype=bool)
        cells = _only(cells, is_fixation, "fixation")
    notes: list[str] = []
    if side:
        eyes = {"left": "left", "l": "left", "right": "right", "r": "right"}
        eye_of = np.array([eyes.get((word or "").split(" ")[-1], "") for word in cells.words(side)])
        eye, notes = _fixation_eye(eye_of, cells.values(duration), sheet.file)
        cells = _only(cells, np.isin(eye_of, [eye, ""]), f"fixation of the {eye} eye")
    at = cells.values(onset)
    if spec.messages is not None and "trial" not in sheet.file.fixed and (np.diff(at) < 0).any():
        raise sheet.error("times start again within the file, so that messages cannot tell its trials")
    columns = cells.columns(onset_ms=onset, duration_ms=duration) | chosen_gaze(cells, {"fixation": pair})[0]
    found = _built(export, cells, ids, columns, time_units(_unit(onset), spec), at, export.messages)
    return replace(found, notes=[*found.notes, *notes])


def _gaze_columns(sheet: Sheet) -> Pairs:
    """The columns of the point of regard in px: of the left and the right eye, else of both together."""
    pairs: Pairs = {}
    for eye in ("left", "right", "binocular"):
        names = (f"{eye[0].upper()} POR", f"Point of Regard {eye.title()}")
        x, y = (sheet.find(*(f"{name} {axis} [px]" for name in names)) for axis in "XY")
        if x and y and (eye != "binocular" or not pairs):
            pairs[eye] = (x, y)
    return pairs


def _fixation_eye(eye_of: np.ndarray, duration: np.ndarray, file: GazeFile) -> tuple[str, list[str]]:
    """The eye whose fixations are used, and a note when there was a choice; "" where the file names no eye. best: the
    eye that fixated longer in all, since such files have no samples. Raises ReadError as `eye_of_fixations`."""
    total = {eye: float(np.nansum(duration[eye_of == eye])) for eye in ("left", "right") if (eye_of == eye).any()}
    if not total:
        return "", []
    chosen = eye_of_fixations(list(total), file.spec, file.source)
    if chosen:
        return chosen
    eye = max(total, key=lambda eye: total[eye])
    return eye, [f"both eyes are in the file; the {eye} eye is used (it fixated longer)"]


def _ids(sheet: Sheet) -> dict[str, str]:
    """The columns of the ids; a trial told by messages is in none. Raises ReadError when one is not there."""
    names = IDS if sheet.file.spec.messages is None else IDS[:1]
    return sheet.ids(names, participant=("Participant", "Subject"), trial=("Trial",))


def _only(cells: Cells, keep: np.ndarray, what: str) -> Cells:
    """The rows of the mask `keep` (N,). Raises ReadError when there is none."""
    if not keep.any():
        raise cells.sheet.error(f"no {what} in the file")
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
    ids: Mapping[str, str],
    columns: Columns,
    units: Mapping[str, str],
    positions: np.ndarray,
    messages: list[tuple[float, str]],
) -> GazeTable:
    """The GazeTable; where messages tell the trials, by the `positions` (N,) of rows and messages."""
    file = export.sheet.file
    if "trial" in file.fixed or file.spec.messages is None:
        return build(cells, ids, columns, units, header=export.header)
    spans = spans_by_messages(messages, file.spec.messages, file.source)
    inside, trial = in_spans(spans, positions, "trial of the messages")
    if not inside.any():
        raise export.sheet.error(f"none of the {len(inside)} {file.spec.kind} lies in a trial")
    found = build(cells, ids, columns | trial, units, inside, spans.notes(), export.header)
    return replace(
        found, rejects=[*found.rejects, *rejects_outside(file.source, file.spec.kind, cells.rows[~inside], file.ids[0])]
    )


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
