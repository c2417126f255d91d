# SPDX-License-Identifier: Apache-2.0
"""Units, origins and clocks of BIDS: what sidecars say is converted or refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers import ReadError
from gazeray.gaze.readers.base import GazeFile
from gazeray.gaze.readers.vendor_bids import (
    index_column,
    lasting_ms,
    on_clock,
    screen_of,
    stamps_ms,
    start_ms,
    to_px,
    unit_of,
    unit_of_gaze,
    unit_of_stamps,
)
from tests.gaze.tiny_dataset import declared

SPEC = declared(samples={"reader": "bids", "path": "sub-{participant}/x_physio.tsv"}).gaze()["samples"]
KNOWN = {"ScreenSize": [0.4, 0.3], "ScreenResolution": [1000, 600], "ScreenDistance": 0.6}


def placed(unit: str, x: float, y: float, y_axis: str = "down", **said: Any) -> tuple[float, float, str]:
    """One point on the screen that StimulusPresentation describes, from the top left, and its unit."""
    screen = screen_of({"StimulusPresentation": {**KNOWN, **said}}, GazeFile(b"", "x_physio.tsv", SPEC))
    found = to_px(np.array([x]), np.array([y]), unit, screen, y_axis, "x")
    half = np.array((1000, 600) if found.unit == "px" else (1, 1)) / 2 * (found.origin == "screen_centre")
    return round(float(found.x[0] + half[0]), 6), round(float(found.y[0] + half[1]), 6), found.unit


@pytest.mark.parametrize(
    ("unit", "x", "y", "expected"),
    [
        ("pixel", 100, 50, (100, 50, "px")),
        ("pixels", 100, 50, (100, 50, "px")),
        ("mm", 40, 30, (100, 60, "px")),
        ("cm", 4, 3, (100, 60, "px")),
        ("m", 0.04, 0.03, (100, 60, "px")),
        ("normalised", 0.1, 0.2, (0.1, 0.2, "normalised")),
        ("deg", 0, 0, (500, 300, "px")),
        ("arcmin", 0, 0, (500, 300, "px")),
        ("rad", math.atan(100 / 600), 0, (750, 300, "px")),
    ],
)
def test_known_units_are_converted(unit: str, x: float, y: float, expected: tuple[float, float, str]) -> None:
    assert placed(unit, x, y) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (["top", "left"], (100, 50)),
        (["left", "top"], (100, 50)),
        (["Top", "LEFT"], (100, 50)),
        ("top-left", (100, 50)),
        (None, (100, 50)),
        (["n/a"], (100, 50)),
        (["bottom", "left"], (100, 550)),
        (["left", "bottom"], (100, 550)),
        (["top", "right"], (900, 50)),
        (["right", "bottom"], (900, 550)),
        (["center", "center"], (600, 350)),
        ("centre", (600, 350)),
        (["center", "left"], (100, 350)),
        (["top", "center"], (600, 50)),
        (["center", "bottom"], (600, 550)),
    ],
)
def test_known_origins_are_converted(origin: Any, expected: tuple[float, float]) -> None:
    assert placed("px", 100, 50, ScreenOrigin=origin) == (*expected, "px")
    assert placed("mm", 40, 25, ScreenOrigin=origin)[:2] == expected
    across, down = placed("normalised", 0.1, 1 / 12, ScreenOrigin=origin)[:2]
    assert (across * 1000, down * 600) == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("origin", [["top", "bottom"], ["left"], ["top", "left", "front"], "north", [1, 2], {"top": 1}])
def test_unknown_origin_is_refused(origin: Any) -> None:
    with pytest.raises(ReadError, match="ScreenOrigin is"):
        placed("px", 1, 1, ScreenOrigin=origin)


def test_y_that_is_declared_to_go_up_is_left_to_be_turned_over() -> None:
    assert placed("px", 100, 50, "up", ScreenOrigin=["bottom", "left"]) == (100, 50, "px")
    assert placed("px", 100, 50, "up", ScreenOrigin=["bottom", "right"]) == (900, 50, "px")
    assert placed("px", 100, 50, "up", ScreenOrigin=["center", "left"]) == (100, 350, "px")


def test_origin_of_a_draft_is_known_and_the_newer_key_wins() -> None:
    file = GazeFile(b"", "x_physio.tsv", SPEC)
    assert screen_of({"EnvironmentCoordinates": "center"}, file).origin == (0.5, 0.5)
    both = {"EnvironmentCoordinates": "center", "StimulusPresentation": {"ScreenOrigin": ["top", "left"]}}
    assert screen_of(both, file).origin == (0.0, 0.0)


@pytest.mark.parametrize(
    ("unit", "said", "reason"),
    [
        ("inch", {}, "gaze is in 'inch'"),
        ("arbitrary", {}, "gaze is in 'arbitrary'"),
        ("mm", {"ScreenSize": None}, "StimulusPresentation has no ScreenSize"),
        ("deg", {"ScreenDistance": "n/a"}, "StimulusPresentation has no ScreenDistance"),
        ("deg", {"ScreenDistance": 60}, "ScreenDistance is in m: 60 m is not possible"),
        ("deg", {"ScreenDistance": [0.1, 0, 0.6]}, "no ScreenDistance"),
        ("cm", {"ScreenSize": [40, 30]}, "ScreenSize is in m: 40 x 30 m is not possible"),
        ("deg", {"ScreenOrigin": ["top", "left"]}, "count from the centre"),
        ("px", {"ScreenOrigin": ["bottom", "left"], "ScreenResolution": None}, "ScreenResolution is not given"),
    ],
)
def test_what_cannot_be_converted_is_refused(unit: str, said: dict[str, Any], reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        placed(unit, 1, 1, **said)


def test_distance_as_three_coordinates() -> None:
    assert placed("rad", math.atan(100 / 600), 0, ScreenDistance=[0, 0, 0.6])[0] == 750


def test_units_of_gaze_come_from_the_columns_or_from_the_recording_or_not_at_all() -> None:
    names = ("x", "y")
    by_column = {"x": {"Units": "mm"}, "y": {"Units": "millimeters"}}
    assert unit_of_gaze(names, [by_column], "f") == "mm"
    assert unit_of_gaze(names, [{}, {"SampleCoordinateUnits": "pixel"}], "f") == "pixel"
    with pytest.raises(ReadError, match="gives no Units for x: declare them"):
        unit_of_gaze(names, [{"x": {"Units": "n/a"}}, {}], "f")
    with pytest.raises(ReadError, match="x, y have different Units: mm, px"):
        unit_of_gaze(names, [{"x": {"Units": "mm"}, "y": {"Units": "px"}}], "f")


@pytest.mark.parametrize(("said", "unit"), [("Seconds", "s"), ("msec", "ms"), ("µs", "us"), ("n/a", ""), ("mV", "mv")])
def test_spellings_of_units(said: str, unit: str) -> None:
    assert unit_of({"timestamp": {"Units": said}}, "timestamp") == unit


@pytest.mark.parametrize(
    ("stamps", "hz", "unit"),
    [
        (np.arange(100) // 2, 2000, "ms"),  # an integer clock that ticks every other sample
        (np.arange(100) // 4, 4000, "ms"),
        (np.arange(100) * 1000, 1000, "us"),
        (np.arange(100) * 0.02, 50, "s"),
        (np.concatenate([np.arange(50), 1e6 + np.arange(50)]), 1000, "ms"),  # a pause
    ],
)
def test_unit_of_stamps_is_seen_from_the_rate(stamps: np.ndarray, hz: float, unit: str) -> None:
    found, notes = unit_of_stamps(stamps.astype(float), {"SamplingFrequency": hz}, "timestamp", None, "f")
    assert found == unit
    assert notes == [f"the sidecar gives no Units for timestamp; seen from SamplingFrequency: {unit}"]


def test_unit_of_stamps_that_nothing_fits_is_refused() -> None:
    stamps = np.arange(100.0)
    with pytest.raises(ReadError, match=r"in none of s, ms, us, ns does it fit SamplingFrequency \(300 Hz"):
        unit_of_stamps(stamps, {"SamplingFrequency": 300}, "timestamp", None, "f")
    with pytest.raises(ReadError, match="timestamp is in 'ticks'"):
        unit_of_stamps(stamps, {"SamplingFrequency": 1000, "timestamp": {"Units": "ticks"}}, "timestamp", None, "f")
    assert unit_of_stamps(stamps, {"timestamp": {"Units": "ticks"}}, "timestamp", "ms", "f")[0] == "ms"


@pytest.mark.parametrize("bad", [np.nan, 9e9, 0.0])
def test_a_first_stamp_that_is_bad_moves_no_other(bad: float) -> None:
    stamps = 2_000_000 + 20.0 * np.arange(50)
    stamps[0] = bad
    ms = stamps_ms(stamps, np.arange(1, 51), "ms", {"SamplingFrequency": 50, "StartTime": 1.5}, "f")
    np.testing.assert_allclose(ms[1:], 1500 + 20.0 * np.arange(1, 50))


def test_start_time() -> None:
    assert [start_ms({"StartTime": said}, "f") for said in (-2.5, "1.5", None, "n/a")] == [-2500, 1500, 0, 0]
    with pytest.raises(ReadError, match="StartTime is 'noon'"):
        start_ms({"StartTime": "noon"}, "f")


def test_what_onsets_refer_to() -> None:
    assert index_column({"OnsetSource": "timestamp"}, "f") == "timestamp"
    assert index_column({"ForeignIndexColumn": "timestamp", "OnsetSource": "n/a"}, "f") == "timestamp"
    assert index_column({"OnsetSource": None}, "f") == ""
    with pytest.raises(ReadError, match="differ: time, timestamp"):
        index_column({"ForeignIndexColumn": "timestamp", "OnsetSource": "time"}, "f")


def test_a_clock_goes_on_beyond_its_ends_and_follows_pauses() -> None:
    clock = np.array([0.0, 1, 2, 3]), np.array([100.0, 110, 220, 230])
    ms, tick = on_clock(np.array([-1, 0, 1.5, 3, 4, np.nan]), clock)
    assert tick == pytest.approx(130 / 3)
    np.testing.assert_allclose(ms, [100 - tick, 100, 165, 230, 230 + tick, np.nan])


def test_durations_without_units_count_as_onsets_do_or_in_seconds() -> None:
    lasts = np.array([0.2, 0.3, np.nan])
    assert lasting_ms(lasts, "", 1.0)[0].tolist()[:2] == [200, 300]
    assert lasting_ms(lasts, "", 1.0)[1] == ["the sidecar gives no Units for durations; seen from their size: s"]
    assert lasting_ms(lasts * 1e3, "", 1.0)[1] == []
    assert lasting_ms(lasts * 1e6, "", 1e-3)[0].tolist()[:2] == [200, 300]
    assert lasting_ms(lasts, "ms", 1.0)[0].tolist()[:2] == [0.2, 0.3]
