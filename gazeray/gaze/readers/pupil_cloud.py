# SPDX-License-Identifier: Apache-2.0
"""Pupil Labs, Pupil Cloud and Neon Player (Neon, Invisible): gaze.csv, fixations.csv of a recording or an enrichment.

Column names after Pupil Labs' documentation of Neon and of Pupil Cloud: "Time Series Data Format", "Marker Mapper" and
"Reference Image Mapper". Gaze of a recording is in px of the scene camera; that of a surface in fractions of it, that
in a reference image in its px, both from the top left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gazeray.gaze.files import Listing
from gazeray.gaze.readers.base import COORDINATES, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.known_channels import Known, channel_values, channels_of
from gazeray.gaze.readers.pupil import times_of, units_of
from gazeray.gaze.readers.vendor_tables import (
    PRESENTATION,
    Cells,
    Channels,
    Columns,
    Sheet,
    build,
    chosen_gaze,
    open_sheet,
)


@dataclass(frozen=True)
class Layout:
    """Where gaze is: names of x and y without what they end in, the column that says whether it was detected there (""
    in a recording), and what the numbers mean."""

    pair: tuple[str, str]
    detected: str
    origin: str
    unit: str


LAYOUTS = {
    "samples": (
        Layout(  # Marker Mapper of Pupil Cloud, Neon Player
            ("gaze position on surface x [normalized]", "gaze position on surface y [normalized]"),
            *("gaze detected on surface", "screen", "normalised"),
        ),
        Layout(  # Reference Image Mapper of Pupil Cloud
            ("gaze position in reference image x [px]", "gaze position in reference image y [px]"),
            *("gaze detected in reference image", "stimulus", "px"),
        ),
        Layout(("gaze x [px]", "gaze y [px]"), "", "scene_camera", "px"),  # recordings of Neon and Invisible
    ),
    "fixations": (
        Layout(
            ("fixation x [normalized]", "fixation y [normalized]"),
            *("fixation detected on surface", "screen", "normalised"),
        ),
        Layout(("fixation x [px]", "fixation y [px]"), "fixation detected in reference image", "stimulus", "px"),
        Layout(("fixation x [px]", "fixation y [px]"), "", "scene_camera", "px"),
    ),
}

NAMES = {
    "timestamp_ms": ("timestamp [ns]",),
    "onset_ms": ("start timestamp [ns]",),
    "duration_ms": ("duration [ms]",),
    "recording": ("recording id",),
    "section": ("section id",),  # Pupil Cloud alone
}
"""Ours, or what is looked for -> the names of its column: the same in all versions of Pupil Cloud and Neon Player."""

CHANNELS = {  # of 3d_eye_states.csv of Neon, wherever it stands
    "pupil_left": (Known("pupil diameter left [mm]", "mm"),),
    "pupil_right": (Known("pupil diameter right [mm]", "mm"),),
    "pupil": (Known("pupil diameter [mm]", "mm"),),  # of 2023
}
EYE_STATES = ("3d_eye_states.csv", "3d_eye_states.csv.gz")

KEYS = ("columns", "units", "missing", "channels", "delimiter")


def _eye_states(source: str, files: Listing) -> list[str]:
    """The file of pupils beside a file of gaze, if there is one."""
    folder = source.rpartition("/")[0]
    return [path for name in EYE_STATES if (path := f"{folder}/{name}" if folder else name) in files.files][:1]


@register_reader("pupil_cloud", described=True, keys=KEYS, companions=_eye_states)
def read_pupil_cloud(file: GazeFile) -> GazeTable:
    """Read one gaze.csv or fixations.csv; see `Reader`. The table says what its coordinates count from.

    A sample is lost where the device was not worn (worn 0), a fixation where it was not detected on the surface or in
    the reference image; samples beside it keep their place. Each section of each recording is a presentation of its
    own. Pupils come from 3d_eye_states.csv beside the samples. Times: timestamps ns, durations ms.
    Raises ReadError: empty, a column is missing, several recordings in the file of one person.
    """
    sheet, of = open_sheet(file), file.spec.kind
    ids, worn, times = sheet.ids(), sheet.find("worn") if of == "samples" else None, times_of(sheet, NAMES)
    layout = _layout(sheet)
    pair = (sheet.column("x_px", layout.pair[0]), sheet.column("y_px", layout.pair[1]))
    detected = sheet.find(layout.detected) if of == "fixations" and layout.detected else None
    parts = [name for what in ("recording", "section") if (name := sheet.find(*NAMES[what]))]
    words, values = channels_of(sheet, CHANNELS)
    cells = sheet.read([*ids.values(), worn, detected, *parts, *words], [*times.values(), *pair], values)
    absent = [np.isin(cells.words(name), ["0", "0.0", "false"]) for name in (worn, detected) if name]
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, {"gaze": absent[0]} if absent else {})
    columns = cells.columns(**times) | gaze | _presentations(cells, parts, list(ids.values()))
    channels, notes = channel_values(cells, CHANNELS), list[str]()
    for path in file.beside if of == "samples" else ():
        if path.endswith(EYE_STATES):
            pupils, notes = _pupils(file, path, cells.values(times["timestamp_ms"]))
            channels = pupils | channels
    found = build(cells, ids, columns, units_of("ns", file), notes=notes, channels=channels)
    if pair[0].lower() != layout.pair[0]:  # a column of somebody's own
        return found
    return replace(found, origin=layout.origin, units=found.units | dict.fromkeys(COORDINATES, layout.unit))


def _pupils(file: GazeFile, path: str, stamps: np.ndarray) -> tuple[Channels, list[str]]:
    """The pupils of the file beside at the times `stamps` (N,) of the samples, NaN where it has none; and a note where
    it cannot be read."""
    try:
        sheet = open_sheet(
            replace(file, data=file.beside[path], source=path, spec=file.spec.model_copy(update={"channels": {}}))
        )
        time, values = sheet.need("the time", *NAMES["timestamp_ms"]), channels_of(sheet, CHANNELS)[1]
        cells = sheet.read([], [], [time, *values])
    except ReadError as error:
        return {}, [f"no pupils: {error}"]
    known, first = np.unique(cells.values(time), return_index=True)
    if not len(known):
        return {}, [f"no pupils: {path}: no row has the right number of fields"]
    at = np.minimum(np.searchsorted(known, stamps), len(known) - 1)
    same = known[at] == stamps
    return {
        name: (np.where(same, sizes[first][at], np.nan), unit)
        for name, (sizes, unit) in channel_values(cells, CHANNELS).items()
    }, []


def _layout(sheet: Sheet) -> Layout:
    """What the coordinates of the file mean: of those declared, else of those found, mapped ones first."""
    layouts, spec = LAYOUTS[sheet.file.spec.kind], sheet.file.spec
    wanted = spec.column("x_px") if "x_px" in spec.columns else None
    there = [
        one
        for one in layouts
        if sheet.find(one.pair[0])
        and (not one.detected or sheet.find(one.detected))
        and (wanted is None or wanted.lower() == one.pair[0])
    ]
    return there[0] if there else layouts[-1]


def _presentations(cells: Cells, parts: list[str], ids: list[str]) -> Columns:
    """The number of the section of the recording (N,) that each row belongs to, for `build`.

    Raises ReadError when the path names one person and the file holds several recordings, unless a column tells them
    apart.
    """
    if not parts:
        return {}
    sheet, code = cells.sheet, np.zeros(len(cells.rows), dtype=np.int64)
    for name in parts:
        number = cells.blocks(name)
        first = np.unique(number, return_index=True)[1]
        if name == parts[0] and len(first) > 1 and "participant" in sheet.file.fixed and not set(parts) & set(ids):
            raise sheet.error(
                f"several recordings under the name of one person: {', '.join(cells.keys([name])[0][first[:3]])}: say"
                f" which column names the participant or the trial ({' or '.join(parts)})"
            )
        code = pd.factorize(code * (number.max(initial=0) + 1) + number)[0]
    return {PRESENTATION: ("", code)}
