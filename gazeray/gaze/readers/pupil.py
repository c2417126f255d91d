# SPDX-License-Identifier: Apache-2.0
"""Pupil Labs, Pupil Player (Pupil Core): gaze_positions.csv, fixations.csv, and those of a surface.

Column names after Pupil Labs' documentation of Pupil Core, "Raw Data Exporter", "Fixation Detector" and "Surface
Tracker" (gaze_positions_on_surface_NAME.csv, fixations_on_surface_NAME.csv). Coordinates are fractions with the origin
at the bottom left, of the world video or of the surface: they are turned over here, so that 0, 0 is the top left. Only
where a surface is the screen is such gaze on a screen. The size of the pupils is in a file of its own, which has a row
for each picture of either eye, by the 2D and by the 3D detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gazeray.gaze.files import Listing
from gazeray.gaze.readers.base import TIME_UNITS_MS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.known_channels import channel_values, channels_of
from gazeray.gaze.readers.vendor_tables import (
    Channels,
    Sheet,
    build,
    chosen_gaze,
    first_of_events,
    open_sheet,
    time_units,
)

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

PUPILS = ("pupil_positions.csv", "pupil_positions.csv.gz")
SIDES = {"pupil_right": 0, "pupil_left": 1}
"""Channel -> eye_id."""

SIZES = (("diameter_3d", "mm"), ("diameter", "px"))
"""Columns of the size of a pupil and their units, best first; px are of the camera of the eye."""

NEAR_MS = 20.0
"""The cameras of the eyes take pictures at 30 to 200 Hz, and not at the time of the gaze that comes from both."""

KEYS = ("columns", "units", "missing", "channels", "delimiter")
UNITS = {"x_px": "normalised", "y_px": "normalised"}


def _pupil_file(source: str, files: Listing) -> list[str]:
    """The file of pupils beside a file of gaze, or above the folder of surfaces that it is in, if there is one."""
    folder = source.rpartition("/")[0]
    above = [folder.rpartition("/")[0]] if folder.rpartition("/")[2] == "surfaces" else []
    paths = (f"{place}/{name}" if place else name for place in (folder, *above) for name in PUPILS)
    return [path for path in paths if path in files.files][:1]


@register_reader("pupil", described=True, units=UNITS, keys=KEYS, companions=_pupil_file)
def read_pupil(file: GazeFile) -> GazeTable:
    """Read one export of Pupil Player; see `Reader`. Coordinates come out as fractions from the top left: of the screen
    in a file of a surface, else of the picture of the scene camera.

    A sample or fixation whose confidence is below LEAST_CONFIDENCE is lost. Gaze off a surface (on_surf False) keeps
    its place, outside 0 to 1. A fixation on a surface has a row for each frame of the world video: one fixation comes
    out, at the mean of its rows. The pupils of samples come from pupil_positions.csv beside them: each from the picture
    of its eye that is nearest in time, lost as gaze is. Times: timestamps s, durations ms.
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
    channels, notes = channel_values(cells, {}), list[str]()
    if file.spec.kind == "samples":
        for path in (path for path in file.beside if path.endswith(PUPILS)):
            pupils, notes = _pupils(file, path, cells.values(times["timestamp_ms"]))
            channels = pupils | channels
    found = build(cells, ids, columns, units_of("s", file), keep, notes=notes, channels=channels)
    return replace(found, origin=_origin(sheet, x_name))


def _pupils(file: GazeFile, path: str, stamps: np.ndarray) -> tuple[Channels, list[str]]:
    """The pupils of the file beside at the times `stamps` (N,) of the samples, in the unit of the gaze file; and a note
    where they cannot be had."""
    unit = units_of("s", file)["timestamp_ms"]
    if unit not in TIME_UNITS_MS:
        return {}, [f"no pupils: {path} counts its time in seconds, the gaze in {unit}"]
    plain = file.spec.model_copy(update={"columns": {}, "channels": {}, "delimiter": None})
    try:
        sheet = open_sheet(replace(file, data=file.beside[path], source=path, spec=plain))
        time, eye = sheet.need("the time", "pupil_timestamp", "timestamp"), sheet.need("the eye", "eye_id", "id")
        confidence, sizes = sheet.need("the confidence", "confidence"), [sheet.find(name) for name, _ in SIZES]
        cells = sheet.read([], [], [time, eye, confidence, *sizes])
    except ReadError as error:
        return {}, [f"no pupils: {error}"]
    ms, at = cells.values(time) * 1e3, stamps * TIME_UNITS_MS[unit]
    for name, (_, size_unit) in zip(sizes, SIZES, strict=True):
        values = cells.values(name) if name else np.full(len(ms), np.nan)
        values = np.where((values > 0) & (cells.values(confidence) >= LEAST_CONFIDENCE), values, np.nan)
        if name and np.isfinite(values).any():
            there = np.isfinite(ms) & np.isfinite(cells.values(name))  # the rows of the other detection have none
            rows = {side: np.flatnonzero((cells.values(eye) == number) & there) for side, number in SIDES.items()}
            return {side: (_nearest(ms[own], values[own], at), size_unit) for side, own in rows.items() if len(own)}, []
    return {}, [f"no pupils: {path}: no size with a confidence of {LEAST_CONFIDENCE:g}"]


def _nearest(ms: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The value (N,) that is nearest in time to each of `at` (N,) ms; NaN where none is nearer than NEAR_MS."""
    order = np.argsort(ms, kind="stable")
    ms, values = ms[order], values[order]
    after = np.clip(np.searchsorted(ms, at), 0, len(ms) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(ms[before] - at) <= np.abs(ms[after] - at), before, after)
    return np.where(np.abs(ms[nearest] - at) <= NEAR_MS, values[nearest], np.nan)


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
