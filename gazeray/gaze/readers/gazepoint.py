# SPDX-License-Identifier: Apache-2.0
"""Gazepoint Analysis and Gazepoint Control: all_gaze.csv (samples, or fixations) and fixations.csv.

Column names after the Open Gaze API by Gazepoint, version 2.0: FPOG is the point of gaze filtered by the fixation
detector, BPOG the best point of gaze of both eyes, LPOG and RPOG those of one eye; coordinates are fractions of the
screen from its top left, times are seconds, and a flag that ends in V says whether a value is valid. In exports of
Gazepoint Analysis the column TIME names the start of the recording: TIME(2024/05/17 10:11:12.123).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np

from gazeray.gaze.readers.base import GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.vendor_tables import (
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    declared_pair,
    first_of_events,
    open_sheet,
    time_units,
)

PREFIXES = {"best": "BPOG", "left": "LPOG", "right": "RPOG", "fixation": "FPOG"}


KEYS = ("columns", "units", "missing", "channels", "delimiter", "eye", "messages")
UNITS = {"x_px": "normalised", "y_px": "normalised"}


@register_reader("gazepoint", supplies=("trial",), described=True, units=UNITS, keys=KEYS)
def read_gazepoint(file: GazeFile) -> GazeTable:
    """Read one export; see `Reader`. Coordinates come out as fractions of the screen.

    Samples: BPOG for eye best, LPOG or RPOG for one eye, the mean of both for mean; FPOG, with a note, where nothing
    else is there. Fixations: the last valid row of each FPOGID within a trial, which has the whole duration. A trial is
    a MEDIA_NAME (else a MEDIA_ID). Raises ReadError: empty, a column is missing, no row of fixations.
    """
    sheet = open_sheet(file)
    return (_samples if file.spec.kind == "samples" else _fixations)(sheet, sheet.ids(trial=("MEDIA_NAME", "MEDIA_ID")))


def _samples(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    spec = sheet.file.spec
    starts = [name for name in sheet.names if name.upper().startswith(("TIME(", "TIME ("))]
    time = sheet.column("timestamp_ms", "TIME", *starts)
    known = {eye: (f"{prefix}X", f"{prefix}Y") for eye, prefix in PREFIXES.items()}
    pairs = declared_pair(sheet, known) or _pairs(sheet, spec.eye)
    flags = {eye: flag for eye in pairs if eye in PREFIXES and (flag := sheet.find(f"{PREFIXES[eye]}V"))}
    cells = sheet.read(ids.values(), [time, *chain(*pairs.values()), *flags.values()])
    gaze, notes = chosen_gaze(cells, pairs, {eye: ~(cells.values(flag) > 0) for eye, flag in flags.items()})
    if "fixation" in pairs and "x_px" not in spec.columns:
        notes = ["no point of gaze but FPOG, which the fixation detector has filtered"]
    return build(cells, ids, cells.columns(timestamp_ms=time) | gaze, time_units("s", spec), notes=notes)


def _pairs(sheet: Sheet, eye: str) -> Pairs:
    """The columns of each eye that can be used. Raises ReadError when there is none for the eye asked for."""
    choices = {
        "best": (["best"], ["left", "right"], ["left"], ["right"], ["fixation"]),
        "left": (["left"],),
        "right": (["right"],),
        "mean": (["left", "right"], ["best"], ["left"], ["right"], ["fixation"]),
    }[eye]
    for eyes in choices:
        found = {eye: (sheet.find(PREFIXES[eye] + "X"), sheet.find(PREFIXES[eye] + "Y")) for eye in eyes}
        pairs = {eye: (x, y) for eye, (x, y) in found.items() if x and y}
        if len(pairs) == len(eyes):
            return pairs
    names = ", ".join(PREFIXES[eye] + "X" for eyes in choices for eye in eyes if len(eyes) == 1)
    raise sheet.error(f"no gaze for eye {eye}: no {names} (present: {', '.join(sheet.names)})")


def _fixations(sheet: Sheet, ids: Mapping[str, str]) -> GazeTable:
    onset, duration = sheet.column("onset_ms", "FPOGS"), sheet.column("duration_ms", "FPOGD")
    fpog = (sheet.column("x_px", "FPOGX"), sheet.column("y_px", "FPOGY"))
    number, flag = sheet.need("the number of the fixation", "FPOGID"), sheet.find("FPOGV")
    cells = sheet.read(ids.values(), [onset, duration, *fpog, number, flag])
    valid = cells.values(flag) > 0 if flag else np.ones(len(cells.rows), dtype=bool)
    backwards = np.flatnonzero(valid & ~np.isnan(cells.values(number)))[::-1]
    if not len(backwards):
        raise sheet.error(f"no row with a fixation ({number} and {flag or 'no FPOGV'})")
    first = first_of_events(*(key[backwards] for key in [*cells.keys(ids.values()), cells.values(number)]))[1]
    keep = np.isin(np.arange(len(cells.rows)), backwards[first])
    columns = cells.columns(onset_ms=onset, duration_ms=duration) | chosen_gaze(cells, {"fixation": fpog})[0]
    return build(cells, ids, columns, time_units("s", sheet.file.spec), keep)
