# SPDX-License-Identifier: Apache-2.0
"""The tables of BIDS eye tracking: what their columns are called, the gaze and the channels in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.gaze.readers import bids_files, vendor_bids
from gazeray.gaze.readers.base import COORDINATES, IDS, TIMES, GazeFile, ReadError
from gazeray.gaze.readers.cells import MISSING_CELLS, Numbers
from gazeray.gaze.readers.spec import CHANNEL
from gazeray.gaze.readers.vendor_tables import (
    Cells,
    Channels,
    Columns,
    Pairs,
    Sheet,
    channel_columns,
    chosen_gaze,
    declared_channels,
    declared_pair,
    decoded,
)

TIME = (
    "timestamp",  # BIDS 1.11
    "eye_timestamp",  # drafts of BEP020: OpenNeuro ds004158, ds005166
    "time",  # mne-bids 0.20
)
GAZE = {
    "": (
        ("x_coordinate", "y_coordinate"),  # BIDS 1.11
        ("gaze_x", "gaze_y"),
        ("x", "y"),
    ),
    "left": (("xpos_left", "ypos_left"),),  # mne-bids 0.20
    "right": (("xpos_right", "ypos_right"),),  # mne-bids 0.20
    "eye1": (("eye1_x_coordinate", "eye1_y_coordinate"),),  # drafts of BEP020, as above
    "eye2": (("eye2_x_coordinate", "eye2_y_coordinate"),),  # drafts of BEP020, as above
}
"""Eye ("": the recorded one) -> the names of its columns of x and y."""

PUPIL = ("pupil_size", "eye1_pupil_size")  # BIDS 1.11; drafts of BEP020
"""Of the recorded eye, whichever that is."""

ROW = "foreign_index"
"""The column of events that counts the rows of the recording from 0, in drafts of BEP020."""

SAMPLES, EVENTS = ("physio", "eyetrack"), ("physioevents",)
"""The suffixes of tables; eyetrack: drafts of BEP020, as above."""


@dataclass(frozen=True)
class Recording:
    """One table; what its sidecars say, and what those of the samples say about the recording (`about`); the columns of
    *_events.tsv that the declaration names trials by (none: those of the table itself, or it names none)."""

    sheet: Sheet
    sidecar: Mapping[str, Any]
    about: Mapping[str, Any]
    named: list[str]

    @cached_property
    def screen(self) -> vendor_bids.Screen:
        return vendor_bids.screen_of(self.about, self.sheet.file)

    @property
    def eye(self) -> str:
        """The eye that was recorded, left or right; "": both, or the sidecar does not say."""
        eye = str(self.about.get("RecordedEye", "")).strip().lower()
        return eye if eye in ("left", "right") else ""

    @property
    def accuracy(self) -> dict[str, float]:
        """What the tracker said of its accuracy, degrees, as `GazeTable.accuracy` has it."""
        found = {}
        for key, name in (("AverageCalibrationError", "deg"), ("MaximalCalibrationError", "max_deg")):
            said = self.about.get(key)
            degrees = bids_files.positive(said[-1] if isinstance(said, list) and said else said)
            if self.eye and degrees:
                found[f"validation_{self.eye}_{name}"] = degrees
        return found


@dataclass(frozen=True)
class Samples:
    """The samples of a recording: its cells, which column is the clock (None: the rate is), ms (N,), x_px and y_px as
    `build` takes them, where on the screen these are, and notes."""

    cells: Cells
    time: str | None
    ms: np.ndarray
    gaze: Columns
    placed: vendor_bids.Placed
    notes: list[str]

    def clock(self, column: str) -> vendor_bids.Clock:
        """The clock that events refer to by a column, or by the number of a row. Raises ReadError: it has no time."""
        raw = self.cells.rows - 1.0 if column == ROW else self.cells.values(column)
        known = ~np.isnan(self.ms) & ~np.isnan(raw)
        if not known.any():
            raise self.cells.sheet.error("no usable time")
        return raw[known], self.ms[known]


def recording_of(file: GazeFile) -> Recording:
    """A table and its sidecars. Raises ReadError without names for its columns, or for gaze that is not on a screen."""
    suffix = bids_files.suffix_of(file.source)
    sidecar = bids_files.sidecar_of(file, suffix)
    about = bids_files.sidecar_of(file, "physio") if suffix in EVENTS else sidecar
    system = str(about.get("SampleCoordinateSystem", "gaze-on-screen")).strip().lower()
    if system != "gaze-on-screen":
        raise ReadError(
            file.source, f"SampleCoordinateSystem is {system!r}: only gaze-on-screen has a place on a screen"
        )
    text, notes = decoded(file)
    names, skip, more = _columns(text, sidecar, suffix, file.source)
    sheet, named = Sheet(file, text, "\t", names, skip, [*notes, *more]), file.spec.trial_columns
    # trial_type of *_physioevents is what kind of event a row is: a trial of that name is one of *_events.tsv
    if named and all(name != "trial_type" and sheet.find(name) for name in named):
        return Recording(sheet, sidecar, about, [])
    columns = {name: own for name, own in file.spec.columns.items() if name != "trial"}
    plain = replace(file, spec=file.spec.model_copy(update={"columns": columns}))
    return Recording(replace(sheet, file=plain), sidecar, about, named)


def _columns(text: bytes, sidecar: Mapping[str, Any], suffix: str, source: str) -> tuple[list[str], int, list[str]]:
    """The names of the columns, how many lines come before the first row, and notes. A header,
    which *_eyetrack.tsv should have and others have too, wins over the sidecar. Raises ReadError without either."""
    said = sidecar.get("Columns")
    named = isinstance(said, list) and bool(said) and all(isinstance(name, str) for name in said)
    before = len(text) - len(text.lstrip(b"\n"))
    header = [cell.strip().strip('"') for cell in text[before:].split(b"\n", 1)[0].decode().split("\t")]
    known = {*TIME, ROW, "onset", *(name for pairs in GAZE.values() for pair in pairs for name in pair)}
    is_header = bool(known & {name.lower() for name in header}) and len(set(header)) == len(header)
    if header == said or (is_header and all(np.isnan(bids_files.number(cell)) for cell in header)):
        notes = ["the table has a header, which is not Columns of its sidecar: the header is used"]
        return header, before + 1, notes if named and header != said else []
    if not named:
        raise ReadError(source, f"no sidecar *_{suffix}.json that names the Columns, here or in a folder above")
    return list(said or []), 0, []


def read_samples(recording: Recording, further: Sequence[str], ids: Sequence[str] = ()) -> Samples:
    """The samples of a recording, with the columns `further` as far as they hold numbers, and the text of `ids`."""
    sheet, sidecar, source = recording.sheet, recording.sidecar, recording.sheet.file.source
    spec = sheet.file.spec
    time = sheet.column("timestamp_ms") if "timestamp_ms" in spec.columns else sheet.find(*TIME)
    pairs = pairs_of(sheet)
    words, values = channel_columns(sheet)
    further = [name for name in further if sheet.names.count(name) == 1 and name not in ids]
    numbers = [time, *(name for pair in pairs.values() for name in pair)]
    cells = with_rows(sheet.read([*ids, *words], numbers, [*values, *further]))
    gaze, placed = on_screen(recording, cells, pairs)
    notes = list(placed.notes)
    if time is None:
        ms = vendor_bids.rows_ms(cells.rows, sidecar, source)
    else:
        stamps = cells.values(time)
        its_unit, more = vendor_bids.unit_of_stamps(stamps, sidecar, time, spec.units.get("timestamp_ms"), source)
        ms = vendor_bids.stamps_ms(stamps, cells.rows, its_unit, sidecar, source)
        notes += more
    return Samples(cells, time, ms, gaze, placed, notes)


def with_rows(cells: Cells) -> Cells:
    """The cells. Raises ReadError where no row has as many fields as there are names."""
    if not len(cells.rows):
        raise cells.sheet.error(f"no row fits the columns {', '.join(cells.sheet.names)}: {cells.rejects[0].reason}")
    return cells


def pairs_of(sheet: Sheet) -> Pairs:
    """Eye -> its columns of x and y. Raises ReadError: none, or the eye that is asked for is not to be told."""
    if declared := declared_pair(sheet, {}):
        return declared
    found = {}
    for eye, known in GAZE.items():
        there = ((sheet.find(x), sheet.find(y)) for x, y in known)
        pair = next(((x, y) for x, y in there if x and y), None)
        if pair:
            found[eye] = pair
    if "" in found:
        return {"": found[""]}
    if not found:
        sheet.need("x_px", *(x for x, _ in GAZE[""]))
        sheet.need("y_px", *(y for _, y in GAZE[""]))
    if {"eye1", "eye2"} <= set(found) and sheet.file.spec.eye in ("left", "right"):
        raise sheet.error(f"nothing says which of eye1, eye2 is the {sheet.file.spec.eye} eye: declare x_px and y_px")
    return found


def on_screen(recording: Recording, cells: Cells, pairs: Pairs) -> tuple[Columns, vendor_bids.Placed]:
    """x_px and y_px of the eye asked for, for `build`, and where on the screen they are. What is declared wins over the
    sidecars."""
    source, spec = recording.sheet.file.source, recording.sheet.file.spec
    gaze, notes = chosen_gaze(cells, pairs)
    names = [name for pair in pairs.values() for name in pair]
    declared = [spec.units.get(name, "") for name in COORDINATES]
    if declared[0] != declared[1]:
        raise ReadError(source, "x_px and y_px are declared in different units")
    unit = declared[0] or vendor_bids.unit_of_gaze(names, [recording.sidecar, recording.about], source)
    screen = recording.screen
    if spec.origin != "screen":
        screen = replace(screen, origin=vendor_bids.CENTRE if spec.origin == "screen_centre" else None)
    (x_name, x), (y_name, y) = gaze.values()
    placed = vendor_bids.to_px(x, y, unit, screen, spec.y_axis, source)
    return {"x_px": (x_name, placed.x), "y_px": (y_name, placed.y)}, replace(placed, notes=[*notes, *placed.notes])


def channels_of(recording: Recording, cells: Cells, used: Sequence[str | None], keep: np.ndarray) -> Channels:
    """The other columns of numbers, as far as the rows of the mask `keep` (N,) tell, under their own names where these
    are plain; the pupil's by the eye. A pupil of size 0 is none."""
    found = Channels()
    for name, column in cells.numbers.items():
        own = name.lower()
        if own in PUPIL and not (own.startswith("eye1") and "eye2_pupil_size" in cells.numbers):
            own = f"pupil_{recording.eye}" if recording.eye else "pupil"
        if name in used or own in (*IDS, *TIMES["samples"], *TIMES["fixations"], *COORDINATES, ROW):
            continue
        if CHANNEL.fullmatch(own) and _is_numeric(column, keep):
            unit = str(bids_files.part(recording.sidecar, name).get("Units") or "").strip()
            unit = {"arbitrary": "a.u.", "n/a": ""}.get(unit, unit)
            gone = (column.values <= 0) & own.startswith("pupil")
            found[own] = np.where(gone, np.nan, column.values), unit
    return found | declared_channels(cells)


def _is_numeric(column: Numbers, keep: np.ndarray) -> bool:
    """Does a column hold numbers in the rows of the mask (N,), and nothing but numbers where a value is there?"""
    lost = np.isnan(column.values)
    if not (keep & ~lost).any() or not pa.types.is_string(column.cells.type):
        return bool((keep & ~lost).any())
    words = column.cells.filter(pa.array(keep & lost)).unique().to_pylist()
    return all(word is None or word.strip() in MISSING_CELLS for word in words)
