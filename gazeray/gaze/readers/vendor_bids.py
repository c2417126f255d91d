# SPDX-License-Identifier: Apache-2.0
"""Sidecars, clocks, screens and runs of BIDS eye tracking: what `bids` needs beside the tables themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import SCREEN_COLUMNS, TIME_UNITS_MS, GazeFile, ReadError
from gazeray.gaze.readers.plain_text import header_of
from gazeray.gaze.readers.text import Spans
from gazeray.gaze.readers.vendor_tables import Sheet, decoded

LENGTHS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
ANGLES_DEG = {"deg": 1.0, "degree": 1.0, "degrees": 1.0, "°": 1.0, "rad": 180 / np.pi}
SPELLINGS = {"sec": "s", "msec": "ms", "μs": "us", "µs": "us"}
for _word, _unit in (("second", "s"), ("millisecond", "ms"), ("microsecond", "us"), ("nanosecond", "ns")):
    SPELLINGS |= {_word: _unit, f"{_word}s": _unit}

Clock = tuple[np.ndarray, np.ndarray]
"""The clock of a recording: its time stamps as they stand, and the same in ms; (N,) each, sorted."""


@dataclass(frozen=True)
class Screen:
    """The screen as the sidecars describe it: sizes[0] in px and sizes[1] in mm, width and height each, and the
    distance in mm; 0 for what they do not say. `origin_bottom`: y counts from below."""

    sizes: tuple[tuple[float, float], tuple[float, float]]
    distance_mm: float
    origin_bottom: bool

    @property
    def header(self) -> dict[str, float]:
        """What is known, as `GazeTable.header` has it."""
        values = (*self.sizes[0], *self.sizes[1], self.distance_mm)
        return {name: value for name, value in zip(SCREEN_COLUMNS.values(), values, strict=True) if value > 0}


def bases(path: PurePosixPath) -> list[str]:
    """The name of a table without its ending: with its recording entity, then without."""
    stem = re.sub(r"_(physio|physioevents)\.tsv(\.gz)?$", "", path.name)
    return [stem, re.sub(r"_recording-[^_]+", "", stem)]


def reachable(file: GazeFile, end: str) -> tuple[str, bytes | None]:
    """The companion of a table with that ending: with its recording entity first, then without. Path, bytes or None."""
    path = PurePosixPath(file.source)
    paths = [str(path.with_name(f"{base}_{end}")) for base in bases(path)]
    return next(((path, file.beside[path]) for path in paths if path in file.beside), (paths[0], None))


def sidecar_of(file: GazeFile, suffix: str) -> dict[str, Any]:
    """The sidecars of a table merged: that without the recording entity, then that with it, which wins.

    Raises ReadError for one that is not a JSON object.
    """
    path, merged = PurePosixPath(file.source), dict[str, Any]()
    for base in reversed(bases(path)):
        name = str(path.with_name(f"{base}_{suffix}.json"))
        if name in file.beside:
            merged |= _json(file.beside[name], file.source, name)
    return merged


def _json(data: bytes, source: str, name: str) -> dict[str, Any]:
    """A JSON object. Raises ReadError when it is none."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(source, f"the sidecar {name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ReadError(source, f"the sidecar {name} is not a JSON object")
    return found


def screen_of(sidecar: Mapping[str, Any], file: GazeFile) -> Screen:
    """StimulusPresentation of *_events.json and of the sidecar: sizes and distance in m, resolution in px."""
    name, data = reachable(file, "events.json")
    said = dict(_dict(_json(data, file.source, name) if data else {}, "StimulusPresentation"))
    said |= _dict(sidecar, "StimulusPresentation")
    width_m, height_m = _two(said.get("ScreenSize"))
    origin = said.get("ScreenOrigin")
    bottom = isinstance(origin, list) and bool(origin) and str(origin[0]).lower() == "bottom"
    sizes = _two(said.get("ScreenResolution")), (1e3 * width_m, 1e3 * height_m)
    return Screen(sizes, 1e3 * _positive(said.get("ScreenDistance")), bottom)


def _dict(value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _positive(value: Any) -> float:
    """A finite number above 0, 0 for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
    return float(value) if plain else 0.0


def _two(value: Any) -> tuple[float, float]:
    """Width and height from a list of two numbers; 0, 0 for anything else."""
    pair = [_positive(one) for one in value] if isinstance(value, list) else []
    return (pair[0], pair[1]) if len(pair) == 2 and all(pair) else (0.0, 0.0)


def unit_of(sidecar: Mapping[str, Any], column: str) -> str:
    """What the sidecar gives as the Units of a column, "" when it does not."""
    unit = str(_dict(sidecar, column).get("Units", "")).strip().lower()
    return SPELLINGS.get(unit, unit)


def to_px(
    x: np.ndarray, y: np.ndarray, names: tuple[str, str], sidecar: Mapping[str, Any], screen: Screen, source: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Coordinates (N,) in px from the top left of the screen, and notes.

    Lengths count from the corner of the screen that ScreenOrigin names (default: top left), degrees from its centre,
    x to the right and y down (up where the origin is at the bottom). Without Units they are taken for px.
    Raises ReadError for a unit that needs a geometry which the sidecars do not give, and for an unknown one.
    """
    units = {unit_of(sidecar, name) for name in names}
    if len(units) > 1:
        raise ReadError(source, f"{names[0]} and {names[1]} have different Units: {', '.join(sorted(units))}")
    unit = units.pop()
    notes = [] if unit else [f"the sidecar gives no Units for {names[0]}; px are assumed"]
    sizes_px, sizes_mm = screen.sizes
    if unit in LENGTHS_MM or unit in ANGLES_DEG:
        if not all(sizes_px) or not all(sizes_mm) or (unit in ANGLES_DEG and not screen.distance_mm):
            need = "ScreenSize and ScreenResolution" + (" and ScreenDistance" if unit in ANGLES_DEG else "")
            raise ReadError(
                source, f"coordinates in {unit} need the geometry of the screen: StimulusPresentation has no {need}"
            )
        px_per_mm = [px / mm for px, mm in zip(sizes_px, sizes_mm, strict=True)]
        if unit in LENGTHS_MM:
            x, y = (values * LENGTHS_MM[unit] * scale for values, scale in zip((x, y), px_per_mm, strict=True))
        else:
            x, y = (
                size / 2 + screen.distance_mm * np.tan(np.deg2rad(values * ANGLES_DEG[unit])) * scale
                for values, size, scale in zip((x, y), sizes_px, px_per_mm, strict=True)
            )
            notes.append(f"coordinates in {unit} are taken to count from the centre of the screen")
    elif unit and unit not in ("pixel", "pixels", "px"):
        raise ReadError(source, f"{names[0]} is in {unit!r}, which is neither px, mm, cm, m nor degrees")
    if screen.origin_bottom:
        if not sizes_px[1]:
            raise ReadError(source, "ScreenOrigin is at the bottom, but ScreenResolution is not given")
        y = sizes_px[1] - y
    return x, y, notes


def times_ms(
    stamps: np.ndarray | None,
    rows: np.ndarray,
    sidecar: Mapping[str, Any],
    name: str | None,
    declared: str | None,
    source: str,
) -> np.ndarray:
    """Times (N,) in ms on the clock of the events: from time stamps (N,), or from `rows` (from 1) and the rate.

    The unit of stamps is the declared one, else their Units, else the one in which their usual step fits
    SamplingFrequency best. Raises ReadError when the sidecar says too little.
    """
    rate, start_ms = _positive(sidecar.get("SamplingFrequency")), sidecar.get("StartTime", 0)
    start_ms = 1e3 * start_ms if isinstance(start_ms, int | float) and abs(start_ms) < 1e12 else 0.0
    if stamps is None:
        if not rate:
            raise ReadError(source, "neither a column timestamp nor a SamplingFrequency")
        return np.asarray(start_ms + (rows - 1) * 1e3 / rate)
    there = stamps[~np.isnan(stamps)]
    first = there[0] if len(there) else 0.0
    return np.asarray(start_ms + (stamps - first) * tick_ms(stamps, sidecar, name or "", declared, source))


def tick_ms(stamps: np.ndarray, sidecar: Mapping[str, Any], name: str, declared: str | None, source: str) -> float:
    """ms per unit of the time stamps (N,); see `times_ms`."""
    unit = declared or unit_of(sidecar, name)
    if unit in TIME_UNITS_MS:
        return TIME_UNITS_MS[unit]
    rate, steps = _positive(sidecar.get("SamplingFrequency")), np.diff(stamps[~np.isnan(stamps)])
    steps = steps[steps > 0]
    if not rate or not len(steps):
        raise ReadError(source, f"the sidecar gives neither Units of {name} (s, ms, us, ns) nor a SamplingFrequency")
    step = float(np.median(steps))
    return min(TIME_UNITS_MS.values(), key=lambda tick: abs(np.log(step * tick / 1e3 * rate)))


def onsets_ms(
    onset: np.ndarray,
    duration: np.ndarray,
    sidecar: Mapping[str, Any],
    names: tuple[str, str],
    clock: Clock | None,
    declared: Mapping[str, str],
    source: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and durations (N,) of events in ms, on the clock of *_events.tsv.

    Where ForeignIndexColumn (OnsetSource) names the column of time stamps of the recording, onsets are such stamps, and
    durations are in their unit unless the sidecar gives another; else both are in s.
    Raises ReadError when onsets are stamps and there is no recording to read their clock from.
    """
    scale = {
        name: TIME_UNITS_MS.get(declared.get(ours) or unit_of(sidecar, name))
        for ours, name in zip(("onset_ms", "duration_ms"), names, strict=True)
    }
    foreign = sidecar.get("ForeignIndexColumn") or sidecar.get("OnsetSource")
    if foreign not in ("timestamp", "time"):
        return onset * (scale[names[0]] or 1e3), duration * (scale[names[1]] or 1e3)
    if clock is None:
        raise ReadError(source, "onsets are time stamps of the recording, and there is no *_physio.tsv.gz beside it")
    raw, ms = clock
    span = raw[-1] - raw[0]
    tick = (ms[-1] - ms[0]) / span if span > 0 else 1.0
    return ms[0] + (onset - raw[0]) * tick, duration * (scale[names[1]] or tick)


def events_spans(file: GazeFile, column: str | None) -> Spans:
    """Trials from *_events.tsv: its rows with a duration above 0, in order of onset; named by `column` or numbered.

    Raises ReadError when there is no such file, no such column, or no such row.
    """
    path, data = reachable(file, "events.tsv")
    if data is None:
        raise ReadError(file.source, f"no trials: neither the path nor a column gives them, and there is no {path}")
    text, _ = decoded(replace(file, data=data))
    names, skip = header_of(text, file.source, "\t")
    sheet = Sheet(replace(file, fixed={}), text, "\t", names, skip, [])
    onset, duration = sheet.need("onset of trials", "onset"), sheet.need("duration of trials", "duration")
    name = sheet.need("names of trials", column) if column else None
    cells = sheet.read([name], [onset, duration])
    starts, ends = 1e3 * cells.values(onset), 1e3 * (cells.values(onset) + cells.values(duration))
    called = cells.text[name].to_pylist() if name else [str(row) for row in cells.rows]
    order = [int(index) for index in np.argsort(starts, kind="stable") if ends[index] > starts[index] and called[index]]
    if not order:
        raise ReadError(file.source, f"no trials: no row of {path} has an onset and a duration above 0")
    return Spans([identifier(called[i]) for i in order], starts[order].tolist(), ends[order].tolist())
