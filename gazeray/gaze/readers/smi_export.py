# SPDX-License-Identifier: Apache-2.0
"""The text exports of SMI opened: what their columns are called in which version, which lines are rows, what the lines
before the table and the messages say.

Sources: SMI, BeGaze 2.3 Manual (2009), "Export File Format", which gives times of events in microseconds; the names of
columns that published exports of the IDF Converter and of BeGaze 2 and 3 carry. Rows are line numbers, the first line
of the file is 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import GazeFile, ReadError
from gazeray.gaze.readers.cells import LARGEST, NUMBER
from gazeray.gaze.readers.vendor_tables import DELIMITERS, Cells, Sheet

HEADER_LINES = 500
"""The line with the names of the columns is among the first so many."""

NAMES: dict[str, tuple[str, ...]] = {
    "participant": (
        "Participant",  # BeGaze 3.x
        "Subject",  # BeGaze 2.x
    ),
    "trial": ("Trial",),  # IDF Converter, Event Detector, BeGaze 2.x and 3.x
    "time": (
        "RecordingTime [ms]",  # BeGaze 3.x, raw data
        "Time",  # IDF Converter 2.x and 3.x, BeGaze 2.x and 3.x: us
        "Time [us]",
        "Time [ms]",
    ),
    "onset": (
        "Start",  # Event Detector, BeGaze 2.x: us
        "Event Start Raw Time [ms]",  # BeGaze 3.x
        "Event Start Trial Time [ms]",  # BeGaze 3.x: since the trial began
        "Fixation Start [ms]",  # BeGaze 3.x, fixation details
    ),
    "duration": (
        "Duration",  # Event Detector, BeGaze 2.x
        "Event Duration [ms]",  # BeGaze 3.x
        "Fixation Duration [ms]",  # BeGaze 3.x, fixation details
    ),
    "x": (
        "Location X",  # Event Detector, BeGaze 2.x
        "Fixation Position X [px]",  # BeGaze 3.x
        "Visual Intake Position X [px]",  # BeGaze 3.x, glasses
        "Position X",  # BeGaze 3.x, fixation details
    ),
    "y": ("Location Y", "Fixation Position Y [px]", "Visual Intake Position Y [px]", "Position Y"),
    "category": ("Event Type", "Category"),  # Event Detector; BeGaze 3.x
    "side": ("Event Type", "Eye L/R", "Eye"),  # Event Detector; BeGaze 3.x; BeGaze 3.7
    "trial_start": ("Export Start Trial Time [ms]",),  # BeGaze 3.x: what of the trial was exported
    "trial_end": ("Export End Trial Time [ms]",),
}
"""Our name -> the names of the column, best first."""

PUPILS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mm", ("{L} Mapped Diameter [mm]",)),  # IDF Converter 3.x
    ("mm", ("{L} Pupil Diameter [mm]",)),  # BeGaze 3.x, layout of the IDF Converter
    ("mm", ("Pupil Diameter {Left} [mm]",)),  # BeGaze 3.x, raw data
    ("px", ("{L} Dia X [px]", "{L} Dia Y [px]")),  # IDF Converter 2.x and 3.x
    ("px", ("{L} Dia [px]",)),
    ("px", ("Pupil Size {Left} X [px]", "Pupil Size {Left} Y [px]")),  # BeGaze 3.x, raw data
)
"""Unit and columns of the size of a pupil, best first; of two the mean."""

FIXATION_PUPILS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mm", ("Average Pupil Diameter [mm]",)),  # BeGaze 3.x, fixation details
    ("mm", ("Fixation Average Pupil Diameter [mm]",)),  # BeGaze 3.7
    ("px", ("Avg. Pupil Size X", "Avg. Pupil Size Y")),  # Event Detector, BeGaze 2.x
    ("px", ("Avg. Pupil Size X", "Avg Pupil Size Y")),  # Event Detector
    ("px", ("Average Pupil Size [px] X", "Average Pupil Size [px] Y")),  # BeGaze 3.x, fixation details
    ("px", ("Fixation Average Pupil Size X [px]", "Fixation Average Pupil Size Y [px]")),  # BeGaze 3.7
)
ABOUT = {
    "Sample Rate": ("sampling_hz",),
    "Calibration Area": ("screen_width_px", "screen_height_px"),
    "Stimulus Dimension [mm]": ("screen_width_mm", "screen_height_mm"),
    "Head Distance [mm]": ("distance_mm",),
}
"""Line of the header -> what its cells are called in `GazeTable.header`."""


@dataclass(frozen=True)
class Export:
    """An opened export: its rows as a sheet, the line (from 1) of each, its messages as (line or time, text), the cells
    of the lines before the table by what stands before the colon, and the user events as (time, trial)."""

    sheet: Sheet
    lines: np.ndarray
    messages: list[tuple[float, str]]
    about: dict[str, list[str]]
    events: list[tuple[float, str]]

    @property
    def header(self) -> dict[str, float]:
        """The numbers of `ABOUT` that are above 0."""
        found = {}
        for name, ours in ABOUT.items():
            for key, cell in zip(ours, self.about.get(name, []), strict=False):
                if 0 < (value := number_of(cell)) < LARGEST:
                    found[key] = value
        return found

    def read(
        self, text: Iterable[str | None], numbers: Iterable[str | None], channels: Iterable[str | None] = ()
    ) -> Cells:
        """See `Sheet.read`; with line numbers for row numbers."""
        cells = self.sheet.read(text, numbers, channels)
        rejects = [replace(reject, row=int(self.lines[reject.row - 1])) for reject in cells.rejects]
        return replace(cells, rows=self.lines[cells.rows - 1], rejects=rejects)


def open_samples(file: GazeFile, lines: list[bytes], notes: list[str]) -> Export:
    """An export of samples."""
    at, delimiter, names = _header_line(file, lines, "timestamp_ms", NAMES["time"])
    mark = b"%sMSG%s" % (delimiter.encode(), delimiter.encode())
    body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
    said = [number for number in body if mark in lines[number]] if "Type" in names else []
    messages = [(float(number + 1), lines[number].split(mark, 1)[1].decode()) for number in said]
    apart = set(said)
    body = [number for number in body if number not in apart] if said else body
    return _export(file, lines, at, body, names, delimiter, notes, messages)


def open_fixations(file: GazeFile, lines: list[bytes], notes: list[str]) -> Export:
    """An export of events, of which the fixations are rows; the positions of messages are times."""
    titles = {}
    for number, line in enumerate(lines[:HEADER_LINES]):
        if found := re.match(rb"Table Header for ([\w ]+)", line):
            titles[found[1].decode().strip()] = number + 1
    if "Fixations" not in titles:
        at, delimiter, names = _header_line(file, lines, "onset_ms", NAMES["onset"])
        body = [number for number in range(at + 1, len(lines)) if lines[number].strip()]
        return _export(file, lines, at, body, names, delimiter, notes, [])
    start = titles["Fixations"]
    at, delimiter, names = _header_line(file, lines[: start + 1], "onset_ms", NAMES["onset"], start)
    body = [number for number, line in enumerate(lines) if line.startswith(b"Fixation")]
    messages, events = [], []
    if "User Events" in titles and titles["User Events"] < len(lines):
        columns = cells_of(lines[titles["User Events"]], delimiter)
        for line in lines:
            cells = dict(zip(columns, cells_of(line, delimiter), strict=False)) if line.startswith(b"UserEvent") else {}
            if not np.isnan(time := number_of(cells.get("Start", ""))):
                messages.append((time, cells.get("Description", "")))
                events.append((time, identifier(cells.get("Trial", ""))))
    export = _export(file, lines, at, body, names, delimiter, notes, sorted(messages, key=lambda message: message[0]))
    return replace(export, events=sorted(events))


def _header_line(
    file: GazeFile, lines: list[bytes], time: str, defaults: tuple[str, ...], first: int = 0
) -> tuple[int, str, list[str]]:
    """Number, delimiter and cells of the first line that names a column of times: the declared one, or a default."""
    times = (file.spec.columns[time],) if time in file.spec.columns else defaults
    for number in range(first, min(len(lines), HEADER_LINES)):
        if lines[number].startswith(b"##"):
            continue
        for delimiter in [file.spec.delimiter] if file.spec.delimiter else DELIMITERS:
            names = cells_of(lines[number], delimiter)
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
    return Export(sheet, np.array(body, dtype=np.int64) + 1, messages, about, [])


def cells_of(line: bytes, delimiter: str) -> list[str]:
    """The cells of one line, without quotes and blanks around them."""
    return [cell.strip().strip('"').strip() for cell in line.decode().split(delimiter)]


def number_of(cell: str) -> float:
    """A number with a decimal point or comma; NaN when the cell holds none."""
    text = cell.strip().replace(",", ".")
    return float(text) if re.fullmatch(NUMBER, text) else np.nan
