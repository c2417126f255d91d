# SPDX-License-Identifier: Apache-2.0
"""Pupil Labs: exports of Pupil Player (Pupil Core) as `pupil`, and of Pupil Cloud (Neon, Invisible) as `pupil_cloud`.

Column names after Pupil Labs' documentation: Pupil Core, "Raw Data Exporter", "Fixation Detector" and "Surface Tracker"
(gaze_positions.csv, fixations.csv, gaze_positions_on_surface_NAME.csv, fixations_on_surface_NAME.csv), and Neon, "Time
Series Data Format" (gaze.csv, fixations.csv).

Coordinates of Pupil Player are fractions with the origin at the bottom left (of the world video, or of a surface): they
are turned over here, so that 0, 0 is the top left. Those of Pupil Cloud are px of the scene camera. Only where a
surface is the screen is such gaze on a screen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gazeray.gaze.readers.base import GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.vendor_tables import Sheet, build, chosen_gaze, first_of_events, open_sheet, time_units

LEAST_CONFIDENCE = 0.6
"""Below it Pupil Player itself takes gaze for lost (its default minimum data confidence)."""

X, Y = ("x_norm", "norm_pos_x"), ("y_norm", "norm_pos_y")


KEYS = ("columns", "units", "missing", "channels", "delimiter")
UNITS = {"x_px": "normalised", "y_px": "normalised"}


@register_reader("pupil", described=True, units=UNITS, keys=KEYS)
def read_pupil(file: GazeFile) -> GazeTable:
    """Read one export of Pupil Player; see `Reader`. Coordinates come out as fractions from the top left.

    A sample or fixation whose confidence is below LEAST_CONFIDENCE is lost. Gaze off a surface (on_surf False) keeps
    its place, outside 0 to 1. A fixation on a surface has a row for each frame of the world video: one fixation comes
    out, at the mean of its rows. Times: timestamps s, durations ms.
    Raises ReadError: empty, a column is missing, an export of Pupil Cloud.
    """
    sheet = open_sheet(file)
    if sheet.find("timestamp [ns]", "start timestamp [ns]") and not file.spec.columns:
        raise sheet.error("an export of Pupil Cloud (columns in ns and px): use the reader pupil_cloud")
    pair, ids, confidence = (sheet.column("x_px", *X), sheet.column("y_px", *Y)), sheet.ids(), sheet.find("confidence")
    times = _times(sheet, ("gaze_timestamp", "timestamp"), "start_timestamp", "duration")
    number = sheet.find("fixation_id", "id") if file.spec.kind == "fixations" else None
    cells = sheet.read([*ids.values(), number], [*times.values(), *pair, confidence])
    lost = {"gaze": ~(cells.values(confidence) >= LEAST_CONFIDENCE)} if confidence else {}
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, lost)
    (x_name, x), (y_name, y) = gaze.values()
    if y_name.lower() in Y:
        y = 1.0 - y
    keep = None
    if number:
        x, y, keep = _one_row_each(x, y, cells.keys([*ids.values(), number]))
    gaze = {"x_px": (x_name, x), "y_px": (y_name, y)}
    return build(cells, ids, cells.columns(**times) | gaze, _units("s", file), keep)


@register_reader("pupil_cloud", described=True, keys=KEYS)
def read_pupil_cloud(file: GazeFile) -> GazeTable:
    """Read gaze.csv or fixations.csv of Pupil Cloud; see `Reader`. Coordinates are px of the scene camera.

    A sample is lost where the device was not worn (worn 0). Times: timestamps ns, durations ms.
    Raises ReadError: empty, a column is missing.
    """
    sheet, of = open_sheet(file), "gaze" if file.spec.kind == "samples" else "fixation"
    ids, worn = sheet.ids(), sheet.find("worn") if of == "gaze" else None
    times = _times(sheet, ("timestamp [ns]",), "start timestamp [ns]", "duration [ms]")
    pair = (sheet.column("x_px", f"{of} x [px]"), sheet.column("y_px", f"{of} y [px]"))
    cells = sheet.read([*ids.values(), worn], [*times.values(), *pair])
    lost = {"gaze": np.isin(cells.words(worn), ["0", "0.0", "false"])} if worn else {}
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, lost)
    notes = ["gaze is in px of the scene camera, not of a screen"]
    return build(cells, ids, cells.columns(**times) | gaze, _units("ns", file), notes=notes)


def _times(sheet: Sheet, stamps: Sequence[str], onset: str, duration: str) -> dict[str, str]:
    """The columns of the times of samples or fixations, by our name."""
    if sheet.file.spec.kind == "samples":
        return {"timestamp_ms": sheet.column("timestamp_ms", *stamps)}
    return {"onset_ms": sheet.column("onset_ms", onset), "duration_ms": sheet.column("duration_ms", duration)}


def _units(unit: str, file: GazeFile) -> dict[str, str]:
    """`unit` for stamps, ms for durations, where the declaration does not name one."""
    return time_units(unit, file.spec) | {"duration_ms": file.spec.units.get("duration_ms", "ms")}


def _one_row_each(x: np.ndarray, y: np.ndarray, keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y (N,) as the mean over the rows of the same fixation, and (N,) the first row of each fixation."""
    code, first = first_of_events(*keys)
    there = ~np.isnan(x)
    n = np.bincount(code, there)
    means = []
    for values in (x, y):
        total = np.bincount(code, np.where(there, values, 0.0))
        means.append(np.where(n > 0, total / np.maximum(n, 1), np.nan)[code])
    return means[0], means[1], np.isin(np.arange(len(x)), first)
