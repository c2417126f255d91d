# SPDX-License-Identifier: Apache-2.0
"""Gazepoint Analysis and Gazepoint Control: all_gaze.csv (samples, or fixations) and fixations.csv.

Column names after the Open Gaze API by Gazepoint, version 2.0: FPOG is the point of gaze filtered by the fixation
detector, BPOG the best point of gaze of both eyes, LPOG and RPOG those of one eye; coordinates are fractions of the
screen from its top left, times are seconds, and a flag that ends in V says whether a value is valid. In exports of
Gazepoint Analysis the column TIME names the start of the recording: TIME(2024/05/17 10:11:12.123).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gazeray.gaze.readers.base import GazeSpec, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.vendor_tables import (
    Pairs,
    Sheet,
    build,
    chosen_gaze,
    coordinate_names,
    declared_pair,
    first_of_events,
    id_columns,
    keys_of,
    open_sheet,
    time_units,
    with_ids,
)

PREFIXES = {"best": "BPOG", "left": "LPOG", "right": "RPOG", "fixation": "FPOG"}
TRIAL = ("MEDIA_NAME", "MEDIA_ID")


@register_reader("gazepoint", supplies=("trial",), described=True, units={"x_px": "normalised", "y_px": "normalised"})
def read_gazepoint(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one export; see `Reader`. Coordinates come out as fractions of the screen.

    Samples: BPOG for eye best, LPOG or RPOG for one eye, the mean of both for mean; FPOG, with a note, where nothing
    else is there. Fixations: the last valid row of each FPOGID within a trial, which has the whole duration. A trial is
    a MEDIA_NAME (else a MEDIA_ID). Raises ReadError: empty, a column is missing, no row of fixations.
    """
    sheet = open_sheet(data, source, spec)
    ids = id_columns(sheet, spec, fixed, {"trial": TRIAL})
    return (_samples if spec.kind == "samples" else _fixations)(sheet, spec, fixed, ids)


def _samples(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str], ids: Mapping[str, str]) -> GazeTable:
    starts = [name for name in sheet.names if name.upper().startswith(("TIME(", "TIME ("))]
    time = sheet.column(spec, "timestamp_ms", "TIME", *starts)
    known = {eye: (f"{prefix}X", f"{prefix}Y") for eye, prefix in PREFIXES.items()}
    pairs = declared_pair(sheet, spec, known) or _pairs(sheet, spec)
    flags = {eye: sheet.find(f"{PREFIXES[eye]}V") for eye in pairs if eye in PREFIXES}
    names = dict.fromkeys([time, *(name for pair in pairs.values() for name in pair), *filter(None, flags.values())])
    cells = sheet.read(set(ids.values()), names, fixed)
    lost = {eye: ~(cells.values(flag) > 0) for eye, flag in flags.items() if flag}
    x, y, notes = chosen_gaze(cells, pairs, lost, spec, sheet.source)
    if "fixation" in pairs and "x_px" not in spec.columns:
        notes = ["no point of gaze but FPOG, which the fixation detector has filtered"]
    x_name, y_name = coordinate_names(pairs)
    columns = with_ids(cells, ids, timestamp_ms=(time, cells.values(time)), x_px=(x_name, x), y_px=(y_name, y))
    table = build(cells, sheet, spec, fixed, columns, time_units("s", spec))
    return replace(table, notes=table.notes + notes)


def _pairs(sheet: Sheet, spec: GazeSpec) -> Pairs:
    """The columns of each eye that can be used. Raises ReadError when there is none for the eye asked for."""
    choices = {
        "best": (["best"], ["left", "right"], ["left"], ["right"], ["fixation"]),
        "left": (["left"],),
        "right": (["right"],),
        "mean": (["left", "right"], ["best"], ["left"], ["right"], ["fixation"]),
    }[spec.eye]
    for eyes in choices:
        found = {eye: (sheet.find(PREFIXES[eye] + "X"), sheet.find(PREFIXES[eye] + "Y")) for eye in eyes}
        pairs = {eye: (x, y) for eye, (x, y) in found.items() if x and y}
        if len(pairs) == len(eyes):
            return pairs
    names = ", ".join(PREFIXES[eye] + "X" for eyes in choices for eye in eyes if len(eyes) == 1)
    raise ReadError(sheet.source, f"no gaze for eye {spec.eye}: no {names} (present: {', '.join(sheet.names)})")


def _fixations(sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str], ids: Mapping[str, str]) -> GazeTable:
    onset, duration = sheet.column(spec, "onset_ms", "FPOGS"), sheet.column(spec, "duration_ms", "FPOGD")
    fpog = {"fixation": (sheet.column(spec, "x_px", "FPOGX"), sheet.column(spec, "y_px", "FPOGY"))}
    x_name, y_name = fpog["fixation"]
    number, flag = sheet.need("the number of the fixation", "FPOGID"), sheet.find("FPOGV")
    names = dict.fromkeys([onset, duration, x_name, y_name, number, *([flag] if flag else [])])
    cells = sheet.read(set(ids.values()), names, fixed)
    valid = cells.values(flag) > 0 if flag else np.ones(len(cells.rows), dtype=bool)
    backwards = np.flatnonzero(valid & ~np.isnan(cells.values(number)))[::-1]
    if not len(backwards):
        raise ReadError(sheet.source, f"no row with a fixation ({number} and {flag or 'no FPOGV'})")
    first = first_of_events(*(key[backwards] for key in [*keys_of(cells, ids), cells.values(number)]))[1]
    keep = np.zeros(len(cells.rows), dtype=bool)
    keep[backwards[first]] = True
    x, y, _ = chosen_gaze(cells, fpog, {}, spec, sheet.source)
    times = {"onset_ms": (onset, cells.values(onset)), "duration_ms": (duration, cells.values(duration))}
    columns = with_ids(cells, ids, **times, x_px=(x_name, x), y_px=(y_name, y))
    return build(cells, sheet, spec, fixed, columns, time_units("s", spec), keep)
