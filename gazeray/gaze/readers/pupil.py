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

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gazeray.gaze.readers.base import GazeSpec, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.vendor_tables import (
    build,
    chosen_gaze,
    first_of_events,
    id_columns,
    keys_of,
    open_sheet,
    time_units,
    with_ids,
)

LEAST_CONFIDENCE = 0.6
"""Below it Pupil Player itself takes gaze for lost (its default minimum data confidence)."""

X, Y = ("x_norm", "norm_pos_x"), ("y_norm", "norm_pos_y")
FROM_BOTTOM = ("y_norm", "norm_pos_y")
CLOUD_X, CLOUD_Y = "gaze x [px]", "gaze y [px]"


@register_reader("pupil", described=True, units={"x_px": "normalised", "y_px": "normalised"})
def read_pupil(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one export of Pupil Player; see `Reader`. Coordinates come out as fractions from the top left.

    A sample or fixation whose confidence is below LEAST_CONFIDENCE is lost. Gaze off a surface (on_surf False) keeps
    its place, outside 0 to 1. A fixation on a surface has a row for each frame of the world video: one fixation comes
    out, at the mean of its rows. Times: timestamps s, durations ms.
    Raises ReadError: empty, a column is missing, an export of Pupil Cloud.
    """
    sheet = open_sheet(data, source, spec)
    if sheet.find("timestamp [ns]", "start timestamp [ns]") and not spec.columns:
        raise ReadError(source, "an export of Pupil Cloud (columns in ns and px): use the reader pupil_cloud")
    x_name, y_name = sheet.column(spec, "x_px", *X), sheet.column(spec, "y_px", *Y)
    confidence = sheet.find("confidence")
    ids = id_columns(sheet, spec, fixed, {})
    if spec.kind == "samples":
        times = {"timestamp_ms": sheet.column(spec, "timestamp_ms", "gaze_timestamp", "timestamp")}
        number = None
    else:
        times = {
            "onset_ms": sheet.column(spec, "onset_ms", "start_timestamp"),
            "duration_ms": sheet.column(spec, "duration_ms", "duration"),
        }
        number = sheet.find("fixation_id", "id")
    flags = [confidence] if confidence else []
    text = {*ids.values(), *([number] if number else [])}
    cells = sheet.read(text, dict.fromkeys([*times.values(), x_name, y_name, *flags]), fixed)
    lost = {"gaze": ~(cells.values(confidence) >= LEAST_CONFIDENCE)} if confidence else {}
    x, y, _ = chosen_gaze(cells, {"gaze": (x_name, y_name)}, lost, spec, source)
    if y_name.lower() in FROM_BOTTOM:
        y = 1.0 - y
    keep = None
    if number:
        x, y, keep = _one_row_each(x, y, [*keys_of(cells, ids), *keys_of(cells, {"fixation": number})])
    found = {name: (theirs, cells.values(theirs)) for name, theirs in times.items()}
    columns = with_ids(cells, ids, **found, x_px=(x_name, x), y_px=(y_name, y))
    units = time_units("s", spec)
    if "duration_ms" in units:
        units["duration_ms"] = spec.units.get("duration_ms", "ms")
    return build(cells, sheet, spec, fixed, columns, units, keep)


@register_reader("pupil_cloud", described=True)
def read_pupil_cloud(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read gaze.csv or fixations.csv of Pupil Cloud; see `Reader`. Coordinates are px of the scene camera.

    A sample is lost where the device was not worn (worn 0). Times: timestamps ns, durations ms.
    Raises ReadError: empty, a column is missing.
    """
    sheet = open_sheet(data, source, spec)
    ids = id_columns(sheet, spec, fixed, {})
    worn = sheet.find("worn") if spec.kind == "samples" else None
    if spec.kind == "samples":
        times = {"timestamp_ms": sheet.column(spec, "timestamp_ms", "timestamp [ns]")}
        x_name, y_name = sheet.column(spec, "x_px", CLOUD_X), sheet.column(spec, "y_px", CLOUD_Y)
    else:
        times = {
            "onset_ms": sheet.column(spec, "onset_ms", "start timestamp [ns]"),
            "duration_ms": sheet.column(spec, "duration_ms", "duration [ms]"),
        }
        x_name = sheet.column(spec, "x_px", "fixation x [px]")
        y_name = sheet.column(spec, "y_px", "fixation y [px]")
    text = {*ids.values(), *([worn] if worn else [])}
    cells = sheet.read(text, dict.fromkeys([*times.values(), x_name, y_name]), fixed)
    lost = {"gaze": np.isin(cells.words(worn), ["0", "0.0", "false"])} if worn else {}
    x, y, _ = chosen_gaze(cells, {"gaze": (x_name, y_name)}, lost, spec, source)
    found = {name: (theirs, cells.values(theirs)) for name, theirs in times.items()}
    columns = with_ids(cells, ids, **found, x_px=(x_name, x), y_px=(y_name, y))
    units = time_units("ns", spec)
    if "duration_ms" in units:
        units["duration_ms"] = spec.units.get("duration_ms", "ms")
    table = build(cells, sheet, spec, fixed, columns, units)
    return replace(table, notes=[*table.notes, "gaze is in px of the scene camera, not of a screen"])


def _one_row_each(x: np.ndarray, y: np.ndarray, keys: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y (N,) as the mean over the rows of the same fixation, and (N,) the first row of each fixation."""
    code, first = first_of_events(*keys)
    there = ~np.isnan(x)
    n = np.bincount(code, there)
    means = []
    for values in (x, y):
        total = np.bincount(code, np.where(there, values, 0.0))
        means.append(np.where(n > 0, total / np.maximum(n, 1), np.nan)[code])
    keep = np.zeros(len(x), dtype=bool)
    keep[first] = True
    return means[0], means[1], keep
