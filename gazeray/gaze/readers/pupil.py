# SPDX-License-Identifier: Apache-2.0
"""Pupil Labs, Pupil Player (Pupil Core): gaze_positions.csv, fixations.csv, and those of a surface.

Column names after Pupil Labs' documentation of Pupil Core, "Raw Data Exporter", "Fixation Detector" and "Surface
Tracker" (gaze_positions_on_surface_NAME.csv, fixations_on_surface_NAME.csv). Coordinates are fractions with the origin
at the bottom left, of the world video or of the surface: they are turned over here, so that 0, 0 is the top left. Only
where a surface is the screen is such gaze on a screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gazeray.gaze.readers.base import GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.known_channels import channel_values, channels_of
from gazeray.gaze.readers.vendor_tables import Sheet, build, chosen_gaze, first_of_events, open_sheet, time_units

LEAST_CONFIDENCE = 0.6
"""Below it Pupil Player itself takes gaze for lost (its default minimum data confidence)."""

NAMES = {
    "timestamp_ms": ("gaze_timestamp", "timestamp", "eye_timestamp"),  # Player 3.5; older; surfaces of 0.x
    "onset_ms": ("start_timestamp",),
    "duration_ms": ("duration",),
    "x_px": ("x_norm", "norm_pos_x"),  # gaze on a surface; other gaze, and fixations also on a surface
    "y_px": ("y_norm", "norm_pos_y"),
    "fixation": ("fixation_id", "id"),  # on a surface; else, and there in older ones
    "surface": ("on_surf", "on_srf", "x_norm"),  # Player 3.5; older; both
}
"""Ours, or what is looked for -> the names of its column; `surface` is there only in files of a surface."""

KEYS = ("columns", "units", "missing", "channels", "delimiter")
UNITS = {"x_px": "normalised", "y_px": "normalised"}


@register_reader("pupil", described=True, units=UNITS, keys=KEYS)
def read_pupil(file: GazeFile) -> GazeTable:
    """Read one export of Pupil Player; see `Reader`. Coordinates come out as fractions from the top left: of the screen
    in a file of a surface, else of the picture of the scene camera.

    A sample or fixation whose confidence is below LEAST_CONFIDENCE is lost. Gaze off a surface (on_surf False) keeps
    its place, outside 0 to 1. A fixation on a surface has a row for each frame of the world video: one fixation comes
    out, at the mean of its rows. Times: timestamps s, durations ms.
    Raises ReadError: empty, a column is missing, an export of Pupil Cloud, y_scaled declared without y_axis: up.
    """
    sheet = open_sheet(file)
    if sheet.find("timestamp [ns]", "start timestamp [ns]") and not file.spec.columns:
        raise sheet.error("an export of Pupil Cloud (columns in ns and px): use the reader pupil_cloud")
    pair, ids = (sheet.column("x_px", *NAMES["x_px"]), sheet.column("y_px", *NAMES["y_px"])), sheet.ids()
    upwards = file.spec.y_axis == "up"  # then y is turned over elsewhere
    if pair[1].lower() == "y_scaled" and not upwards:
        raise sheet.error("y_scaled counts from the bottom of the surface: declare y_axis: up, or take y_norm")
    confidence, times = sheet.find("confidence"), times_of(sheet, NAMES)
    number = sheet.find(*NAMES["fixation"]) if file.spec.kind == "fixations" else None
    words, values = channels_of(sheet, {})
    cells = sheet.read([*ids.values(), number, *words], [*times.values(), *pair, confidence], values)
    lost = {"gaze": ~(cells.values(confidence) >= LEAST_CONFIDENCE)} if confidence else {}
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, lost)
    (x_name, x), (y_name, y) = gaze.values()
    if y_name.lower() in NAMES["y_px"] and not upwards:
        y = 1.0 - y
    keep = None
    if number:
        parts = file.spec.trial_columns if len(file.spec.trial_columns) > 1 else []
        x, y, keep = _one_row_each(x, y, cells.keys([*ids.values(), *parts, number]))
    columns = cells.columns(**times) | {"x_px": (x_name, x), "y_px": (y_name, y)}
    found = build(cells, ids, columns, units_of("s", file), keep, channels=channel_values(cells, {}))
    return replace(found, origin=_origin(sheet, x_name))


def _origin(sheet: Sheet, x_name: str) -> str:
    """What coordinates count from: a surface, which is the screen, or the picture of the scene camera; "" for columns
    that are not Pupil Player's own."""
    if sheet.find(*NAMES["surface"]):
        return "screen"
    return "scene_camera" if x_name.lower() in NAMES["x_px"] else ""


def times_of(sheet: Sheet, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The columns of the times of samples or fixations, by our name. Raises ReadError when one is not there."""
    return {name: sheet.column(name, *names[name]) for name in time_units("", sheet.file.spec)}


def units_of(unit: str, file: GazeFile) -> dict[str, str]:
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
