# SPDX-License-Identifier: Apache-2.0
"""Units, origins and clocks of BIDS eye tracking: from what its sidecars say to px and ms. What they say is converted
or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gazeray.gaze.clock import interval_ms
from gazeray.gaze.readers.base import SCREEN_COLUMNS, TIME_UNITS_MS, GazeFile, ReadError
from gazeray.gaze.readers.bids_files import number, part, positive, sidecar_of

PIXELS = ("pixel", "pixels", "px", "pix")
NORMALISED = ("normalised", "normalized")
LENGTHS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
ANGLES_DEG = dict.fromkeys(("deg", "degree", "degrees", "°", "dva", "degrees of visual angle", "visual degrees"), 1.0)
ANGLES_DEG |= {"rad": 180 / np.pi, "radian": 180 / np.pi, "radians": 180 / np.pi, "arcmin": 1 / 60}
SPELLINGS = {"sec": "s", "msec": "ms", "μs": "us", "µs": "us", "usec": "us", "n/a": "", "none": ""}
for _word, _unit in (("second", "s"), ("millisecond", "ms"), ("microsecond", "us"), ("nanosecond", "ns")):
    SPELLINGS |= {_word: _unit, f"{_word}s": _unit}
SPELLINGS |= {
    f"{_word}{_end}": f"{_unit}"
    for _word, _unit in (("millimet", "mm"), ("centimet", "cm"), ("met", "m"))
    for _end in ("er", "re", "ers", "res")
}

ACROSS = {"left": 0.0, "center": 0.5, "right": 1.0}
DOWN = {"top": 0.0, "center": 0.5, "bottom": 1.0}
CENTRE = (0.5, 0.5)

SIZE_MM, DISTANCE_MM = (10.0, 20e3), (50.0, 20e3)
"""What is possible of a screen. Sidecars give sizes and distances in m, and now and then in cm (ScreenDistance: 60)."""

SHORTEST_MS, USUAL_S = 5.0, (0.05, 2.0)
"""Half of all fixations last longer than that; and between these, if their durations are in s."""

Clock = tuple[np.ndarray, np.ndarray]
"""The clock of a recording: what events refer to (its time stamps, or the number of the row), and the same in ms; (N,)
each, without NaN."""


@dataclass(frozen=True)
class Screen:
    """The screen as the sidecars describe it: sizes[0] in px and sizes[1] in mm, width and height each, and the
    distance in mm; 0 for what they do not say. `origin`: where 0, 0 is, as fractions of the width (from the left) and
    of the height (from the top); None: they do not say."""

    sizes: tuple[tuple[float, float], tuple[float, float]]
    distance_mm: float
    origin: tuple[float, float] | None

    @property
    def header(self) -> dict[str, float]:
        """What is known, as `GazeTable.header` has it."""
        values = (*self.sizes[0], *self.sizes[1], self.distance_mm)
        return {name: value for name, value in zip(SCREEN_COLUMNS.values(), values, strict=True) if value > 0}


@dataclass(frozen=True)
class Placed:
    """Coordinates (N,) in px or normalised, NaN where lost; `origin` as `GazeTable` has it; and notes."""

    x: np.ndarray
    y: np.ndarray
    unit: str
    origin: str
    notes: list[str]


def screen_of(sidecar: Mapping[str, Any], file: GazeFile) -> Screen:
    """StimulusPresentation of *_events.json and of the sidecar: sizes and distance in m, resolution in px.

    Raises ReadError for an origin that is none.
    """
    events = sidecar_of(file, "events")
    said = part(events, "StimulusPresentation") | part(sidecar, "StimulusPresentation")
    width_m, height_m = _two(said.get("ScreenSize"))
    distance = said.get("ScreenDistance")
    if isinstance(distance, list):  # X, Y, Z from the eye to the centre of the screen
        distance = distance[2] if len(distance) == 3 and distance[:2] == [0, 0] else None
    # EnvironmentCoordinates: what ScreenOrigin was called in drafts of BEP020
    older = sidecar.get("EnvironmentCoordinates") or events.get("EnvironmentCoordinates")
    origin = _origin(said.get("ScreenOrigin") or older, file.source)
    return Screen(
        (_two(said.get("ScreenResolution")), (1e3 * width_m, 1e3 * height_m)), 1e3 * positive(distance), origin
    )


def _origin(said: Any, source: str) -> tuple[float, float] | None:
    """Where 0, 0 is, from words such as top, left, in any order; None without words. Raises ReadError for others."""
    parts = said if isinstance(said, list) else [said]
    words = [word for one in parts if one is not None for word in re.split(r"[\s,_-]+", str(one).lower()) if word]
    words = ["center" if word in ("centre", "middle") else word for word in words]
    if words in ([], ["n/a"]):
        return None
    if words == ["center"]:
        words = ["center", "center"]
    for across, down in (words, words[::-1]) if len(words) == 2 else ():
        if across in ACROSS and down in DOWN:
            return ACROSS[across], DOWN[down]
    raise ReadError(source, f"ScreenOrigin is {said!r}: not one of top, center, bottom and one of left, center, right")


def _two(value: Any) -> tuple[float, float]:
    """Width and height from a list of two numbers; 0, 0 for anything else."""
    pair = [positive(one) for one in value] if isinstance(value, list) else []
    return (pair[0], pair[1]) if len(pair) == 2 and all(pair) else (0.0, 0.0)


def unit_of(sidecar: Mapping[str, Any], column: str) -> str:
    """What the sidecar gives as the Units of a column, "" when it does not."""
    unit = str(part(sidecar, column).get("Units") or "").strip().lower()
    return SPELLINGS.get(unit, unit)


def unit_of_gaze(names: Sequence[str], sidecars: Sequence[Mapping[str, Any]], source: str) -> str:
    """The unit of coordinates, from the first sidecar that gives it. Raises ReadError: none does, or they differ."""
    for sidecar in sidecars:
        # SampleCoordinateUnits: of all coordinates, in drafts of BEP020
        older = [
            str(sidecar.get(key) or "").strip().lower() for key in ("SampleCoordinateUnits", "SampleCoordinateUnit")
        ]
        older = [SPELLINGS.get(unit, unit) for unit in older]
        units = {unit_of(sidecar, name) or older[0] or older[1] for name in names}
        if len(units) > 1:
            reason = f"{', '.join(names)} have different Units: {', '.join(unit or 'none' for unit in sorted(units))}"
            raise ReadError(source, reason)
        if unit := units.pop():
            return unit
    raise ReadError(
        source, f"the sidecar gives no Units for {names[0]}: declare them, as units: {{x_px: px, y_px: px}}"
    )


def to_px(x: np.ndarray, y: np.ndarray, unit: str, screen: Screen, y_axis: str, source: str) -> Placed:
    """Coordinates (N,) in px or normalised, x to the right and y down, from the top left of the screen or its centre.

    Px, lengths and normalised coordinates count from the ScreenOrigin (default: top left), from an edge towards the
    other one. Angles count from the centre. With a `y_axis` that goes up y stays as it is, to be turned over later.
    Raises ReadError for a unit or an origin that needs a geometry which the sidecars do not give, for an unknown unit,
    and for angles from a corner.
    """
    origin = screen.origin or (0.0, 0.0)
    sizes = (1.0, 1.0) if unit in NORMALISED else screen.sizes[0]
    if unit in LENGTHS_MM:
        x, y = (values * LENGTHS_MM[unit] * scale for values, scale in _each(x, y, _px_per_mm(unit, screen, source)))
    elif unit in ANGLES_DEG:
        scales, distance = _px_per_mm(unit, screen, source), screen.distance_mm
        if screen.origin not in (None, CENTRE):
            raise ReadError(source, f"coordinates in {unit} count from the centre, but ScreenOrigin is another place")
        origin, factor = CENTRE, ANGLES_DEG[unit]
        x, y = (distance * np.tan(np.deg2rad(values * factor)) * scale for values, scale in _each(x, y, scales))
    elif unit not in PIXELS and unit not in NORMALISED:
        raise ReadError(source, f"gaze is in {unit!r}, which is neither px, mm, cm, m, degrees nor normalised")
    notes = []
    if origin[1] == 0.5 and y_axis == "down":
        notes = ["coordinates from the centre: y is taken to count downwards; if it does not, declare y_axis: up"]
    unit = "normalised" if unit in NORMALISED else "px"
    if origin == CENTRE:
        return Placed(x, y, unit, "screen_centre", notes)
    if y_axis == "up" and origin[1] == 1.0:
        origin = origin[0], 0.0
    if any(origin) and not all(sizes):
        raise ReadError(source, "ScreenOrigin is not the top left, and ScreenResolution is not given")
    x, y = (
        size - values if from_edge == 1.0 else values + size * from_edge
        for values, size, from_edge in zip((x, y), sizes, origin, strict=True)
    )
    return Placed(x, y, unit, "", notes)


def _each(x: np.ndarray, y: np.ndarray, scales: Sequence[float]) -> zip[tuple[np.ndarray, float]]:
    return zip((x, y), scales, strict=True)


def _px_per_mm(unit: str, screen: Screen, source: str) -> list[float]:
    """Px in a mm, across and down. Raises ReadError where the geometry of the screen is not known or not possible."""
    needed = {"ScreenSize": (screen.sizes[1], SIZE_MM), "ScreenResolution": (screen.sizes[0], (1.0, 1e6))}
    if unit in ANGLES_DEG:
        needed["ScreenDistance"] = ((screen.distance_mm, screen.distance_mm), DISTANCE_MM)
    if missing := [name for name, (values, _) in needed.items() if not all(values)]:
        why = f"StimulusPresentation has no {' and '.join(missing)}"
        raise ReadError(source, f"coordinates in {unit} need the geometry of the screen: {why}")
    for name, (values, (least, most)) in needed.items():
        if not least <= min(values) <= max(values) <= most:
            said = " x ".join(f"{value / 1e3:g}" for value in dict.fromkeys(values))
            raise ReadError(source, f"{name} is in m: {said} m is not possible (is it in cm?)")
    return [px / mm for px, mm in zip(*screen.sizes, strict=True)]


def start_ms(sidecar: Mapping[str, Any], source: str) -> float:
    """When the recording starts on the clock of the events: StartTime, 0 where it is not given. Raises ReadError."""
    said = sidecar.get("StartTime")
    if said in (None, "", "n/a"):
        return 0.0
    if np.isnan(number(said)):
        raise ReadError(source, f"StartTime is {said!r}, not a number of seconds")
    return 1e3 * number(said)


def rows_ms(rows: np.ndarray, sidecar: Mapping[str, Any], source: str) -> np.ndarray:
    """Times (N,) in ms of `rows` (from 1) without time stamps. Raises ReadError without a rate."""
    rate = positive(sidecar.get("SamplingFrequency"))
    if not rate:
        raise ReadError(source, "neither a column timestamp nor a SamplingFrequency")
    return np.asarray(start_ms(sidecar, source) + (rows - 1) * 1e3 / rate)


def stamps_ms(stamps: np.ndarray, rows: np.ndarray, unit: str, sidecar: Mapping[str, Any], source: str) -> np.ndarray:
    """Times (N,) in ms of time stamps (N,) in `unit`, of `rows` (from 1). The first row is at StartTime.

    Where the first stamps are bad, where the clock stood at the first row is seen from those that follow.
    """
    tick, there = TIME_UNITS_MS[unit], ~np.isnan(stamps)
    if not there.any():
        return np.full(len(stamps), np.nan)
    step = 1e3 / tick / (positive(sidecar.get("SamplingFrequency")) or np.inf)
    began = stamps[there][:11] - (rows[there][:11] - 1) * step
    usual = float(np.median(began))
    first = began[0] if abs(began[0] - usual) * tick < 1e3 else usual
    return np.asarray(start_ms(sidecar, source) + (stamps - first) * tick)


def unit_of_stamps(
    stamps: np.ndarray, sidecar: Mapping[str, Any], name: str, declared: str | None, source: str
) -> tuple[str, list[str]]:
    """The unit of time stamps (N,), and notes: the declared one, else their Units, else the one in which their step is
    that of SamplingFrequency, within a factor of 2.

    Raises ReadError when none fits.
    """
    unit = declared or unit_of(sidecar, name)
    if unit in TIME_UNITS_MS:
        return unit, []
    if unit:
        raise ReadError(source, f"{name} is in {unit!r}, which is neither s, ms, us nor ns")
    rate, step = positive(sidecar.get("SamplingFrequency")), interval_ms(stamps[~np.isnan(stamps)])
    if not rate or np.isnan(step):
        reason = f"the sidecar gives neither Units of {name} (s, ms, us, ns) nor a SamplingFrequency that tells it"
        raise ReadError(source, reason)
    fits = [unit for unit, tick in TIME_UNITS_MS.items() if 0.5 <= step * tick / 1e3 * rate <= 2]
    if not fits:
        reason = f"the sidecar gives no Units for {name}, and in none of s, ms, us, ns does it fit SamplingFrequency"
        raise ReadError(source, f"{reason} ({rate:g} Hz; it steps by {step:.4g})")
    return fits[0], [f"the sidecar gives no Units for {name}; seen from SamplingFrequency: {fits[0]}"]


def index_column(sidecar: Mapping[str, Any], source: str) -> str:
    """The column of the recording that the onsets of its events refer to: OnsetSource, or ForeignIndexColumn as it was
    called in drafts of BEP020; "": onsets are times. Raises ReadError where they contradict each other."""
    said = {
        str(sidecar[key]) for key in ("OnsetSource", "ForeignIndexColumn") if sidecar.get(key) not in (None, "", "n/a")
    }
    if len(said) > 1:
        raise ReadError(source, f"OnsetSource and ForeignIndexColumn differ: {', '.join(sorted(said))}")
    return said.pop() if said else ""


def unit_of_events(
    sidecar: Mapping[str, Any], names: Mapping[str, str], declared: Mapping[str, str], source: str
) -> dict[str, str]:
    """Our name -> unit of the onsets and durations (`names`: our name -> column) of events, "" where neither the
    declaration nor the sidecar gives it. Raises ReadError for one that is no unit of time."""
    units = {ours: declared.get(ours) or unit_of(sidecar, name) for ours, name in names.items()}
    for ours, unit in units.items():
        if unit and unit not in TIME_UNITS_MS:
            raise ReadError(source, f"{names[ours]} is in {unit!r}, which is neither s, ms, us nor ns")
    return units


def on_clock(values: np.ndarray, clock: Clock) -> tuple[np.ndarray, float]:
    """What events refer to (M,) as ms, between the samples and beyond them, and the ms in one of its units."""
    order = np.argsort(clock[0], kind="stable")
    raw, ms = clock[0][order], clock[1][order]
    tick = float((ms[-1] - ms[0]) / (raw[-1] - raw[0])) if raw[-1] > raw[0] else 1.0
    inside = np.interp(values, raw, ms)
    before, after = ms[0] + (values - raw[0]) * tick, ms[-1] + (values - raw[-1]) * tick
    return np.where(values < raw[0], before, np.where(values > raw[-1], after, inside)), tick


def lasting_ms(durations: np.ndarray, unit: str, tick: float) -> tuple[np.ndarray, list[str]]:
    """Durations (N,) in ms, and notes. Without a unit they count as onsets do (`tick` ms), unless just seconds, the
    unit of BIDS, give fixations that an eye can make."""
    if unit:
        return durations * TIME_UNITS_MS[unit], []
    known = durations[durations > 0]
    usual = float(np.median(known)) if len(known) else 0.0
    if usual * tick < SHORTEST_MS and USUAL_S[0] <= usual <= USUAL_S[1]:
        return durations * 1e3, ["the sidecar gives no Units for durations; seen from their size: s"]
    return durations * tick, []
