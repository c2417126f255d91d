# SPDX-License-Identifier: Apache-2.0
"""Tobii exports of several versions: names of columns, coordinate systems, units of clocks, channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers import GazeTable, ReadError
from gazeray.gaze.readers.tobii_columns import clock_unit, key
from tests.gaze.readers.test_tobii import read, trials
from tests.gaze.readers.test_tobii_parts import FIX_X, FIX_Y, LASTS, STIMULUS, TIME, Row, X, Y, export, gaze

MEDIA = {
    "Presented Media width [px]": 800, "Presented Media height [px]": 400, "Presented Media position X [DACS px]": 100,
    "Presented Media position Y [DACS px]": 50, "Original Media width [px]": 1600, "Original Media height [px]": 800,
}  # fmt: skip
STUDIO_2 = """System Properties:
Operating System:\tWindows

Data Properties:
Participant Name:\tP7
Recording Name:\tRec 1
Recording Resolution:\t1280 x 1024

Timestamp\tDateTimeStamp\tNumber\tGazePointXLeft\tGazePointYLeft\tPupilLeft\tValidityLeft\tGazePointXRight\t\
GazePointYRight\tPupilRight\tValidityRight\tFixationIndex\tGazePointX\tGazePointY\tEvent\tEventKey\tData1\tData2\t\
Descriptor\tStimuliName\tStimuliID\tMediaWidth\tMediaHeight\tMediaPosX\tMediaPosY\tMappedFixationPointX\t\
MappedFixationPointY\tFixationDuration\tAoiIds\t
"""


def renamed(rows: list[Row], names: dict[str, str]) -> str:
    """The rows as an export in which columns have other names; "" leaves one out."""
    return export(
        [{names.get(name, name): cell for name, cell in row.items() if names.get(name, name)} for row in rows]
    )


def ten(step: float = 10, **more: Any) -> list[Row]:
    return [gaze(step * at, "a", 1, 100, **more) for at in range(10)]


def only(system: str, x: float, y: float, **more: Any) -> list[Row]:
    """Rows with gaze and fixations in one coordinate system alone."""
    rows = ten(**more)
    for row in rows:
        for name in (X, Y, FIX_X, FIX_Y):
            row.pop(name)
        row |= {
            f"{what} point {axis} [{system}]": at
            for what in ("Gaze", "Fixation")
            for axis, at in zip("XY", (x, y), strict=True)
        }
    return rows


def places(table: GazeTable) -> tuple[float, float]:
    return table.columns["x_px"][0], table.columns["y_px"][0]


@pytest.mark.parametrize("kind", ["samples", "fixations"])
@pytest.mark.parametrize(
    ("system", "place", "media", "right"),
    [
        ("DACS px", (300, 200), {}, (300, 200)),
        ("MCS norm", (0.25, 0.5), MEDIA, (300, 250)),
        ("MCS px", (400, 400), MEDIA, (300, 250)),
        ("MCSnorm", (0.25, 0.5), {"Presented Media width": 800, "Presented Media height": 400,
                                  "Presented Media position X (RCSpx)": 100, "Presented Media position Y (RCSpx)": 50},
         (300, 250)),
        ("MCSpx", (400, 400), {"MediaPosX (ADCSpx)": 30, "MediaPosY (ADCSpx)": 77, "MediaWidth": 1864,
                               "MediaHeight": 937}, (430, 477)),
    ],
)  # fmt: skip
def test_gaze_on_the_medium_becomes_px_of_the_display_by_the_export_itself(
    kind: str, system: str, place: tuple[float, float], media: Row, right: tuple[float, float]
) -> None:
    table = read(export(only(system, *place, **media)), kind)
    assert places(table) == right
    assert (table.origin, {name for name in table.units if name in ("x_px", "y_px")}) == ("", set())


@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_media_are_placed_row_by_row_and_a_row_without_place_is_lost(kind: str) -> None:
    rows = only("MCS norm", 0.5, 0.5, **MEDIA)
    for row in rows[5:]:
        row |= {STIMULUS: "b", "Presented Media position X [DACS px]": 600}
    rows[9]["Presented Media width [px]"] = ""
    table = read(export(rows), kind)
    x = table.columns["x_px"].tolist()
    assert x == pytest.approx([500] * 5 + [1000] * 4 + [np.nan] if kind == "samples" else [500, 1000], nan_ok=True)


@pytest.mark.parametrize("kind", ["samples", "fixations"])
@pytest.mark.parametrize(
    ("system", "place", "media", "unit", "right"),
    [
        ("MCS norm", (0.25, 0.5), {}, "normalised", (0.25, 0.5)),
        ("MCS px", (400, 400), {}, "px", (400, 400)),
        ("MCS px", (400, 400), {"Original Media width [px]": 1600, "Original Media height [px]": 800}, "normalised",
         (0.25, 0.5)),
        ("MCS px", (400, 400), dict(MEDIA) | {"Original Media width [px]": "", "Original Media height [px]": ""}, "px",
         (400, 400)),
    ],
)  # fmt: skip
def test_gaze_on_a_medium_whose_place_is_not_exported_counts_from_the_stimulus(
    kind: str, system: str, place: tuple[float, float], media: Row, unit: str, right: tuple[float, float]
) -> None:
    table = read(export(only(system, *place, **media)), kind)
    assert (table.origin, places(table)) == ("stimulus", right)
    assert table.units.get("x_px", "px") == unit


def test_declared_origin_stimulus_takes_the_columns_of_the_medium() -> None:
    rows = [row | {"Gaze point X [MCS norm]": 0.25, "Gaze point Y [MCS norm]": 0.5} | MEDIA for row in ten()]
    table = read(export(rows), origin="stimulus")
    assert (table.origin, table.units["x_px"], places(table)) == ("stimulus", "normalised", (0.25, 0.5))
    with pytest.raises(ReadError, match="gaze on the display alone"):
        read(export(ten()), origin="stimulus")
    assert places(read(export(rows))) == (100, 50)


def test_declared_columns_of_the_medium_are_placed_too_and_their_unit_is_known() -> None:
    rows = [row | {"Gaze point X [MCS norm]": 0.25, "Gaze point Y [MCS norm]": 0.5} | MEDIA for row in ten()]
    columns = {"x_px": "Gaze point X [MCS norm]", "y_px": "Gaze point Y [MCS norm]"}
    assert places(read(export(rows), columns=columns)) == (300, 250)
    with pytest.raises(ReadError, match=r"units\.x_px: .* is read as px"):
        read(export(rows), columns=columns, units={"x_px": "normalised", "y_px": "normalised"})


def test_missing_of_the_declaration_counts_as_the_file_has_it() -> None:
    rows = only("MCS norm", 0.5, 0.5, **MEDIA)
    rows[0]["Gaze point X [MCS norm]"] = -1
    assert np.isnan(read(export(rows), missing=[-1]).columns["x_px"][0])


@pytest.mark.parametrize("system", ["DACS mm", "HUCS mm", "TCS mm", "ADCSmm"])
@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_places_in_the_room_are_refused(system: str, kind: str) -> None:
    with pytest.raises(ReadError, match=r"no column (Gaze|Fixation) point X in px of the display"):
        read(export(only(system, 100, 50)), kind)
    columns = {name: f"{'Gaze' if kind == 'samples' else 'Fixation'} point {axis} [{system}]"
               for name, axis in (("x_px", "X"), ("y_px", "Y"))}  # fmt: skip
    with pytest.raises(ReadError, match="are not px or fractions"):
        read(export(only(system, 100, 50)), kind, columns=columns)


def test_gaze_of_glasses_is_on_the_picture_of_the_scene_camera() -> None:
    rows = only("MCS px", 400, 300, **{"Gaze point 3D X [HUCS mm]": 1.5, "Recording media width [px]": 1920})
    for row in rows:
        row.pop(STIMULUS)
    table = read(export(rows), fixed={"trial": "walk"})
    assert (table.origin, places(table)) == ("scene_camera", (400, 300))


@pytest.mark.parametrize(
    ("names", "version"),
    [
        ({}, "Pro Lab 24"),
        ({LASTS: "Gaze event duration [ms]"}, "Pro Lab 1.1xx"),
        ({TIME: "Recording timestamp", LASTS: "Gaze event duration", X: "Gaze point X", Y: "Gaze point Y",
          FIX_X: "Fixation point X", FIX_Y: "Fixation point Y"}, "Pro Lab, Excel"),
        ({X: "Gaze point X (RCSpx)", Y: "Gaze point Y (RCSpx)", LASTS: "Gaze event duration"}, "Pro Lab 1.3x"),
        ({STIMULUS: "Presented Media name"}, "Pro Lab"),
        ({TIME: "RecordingTimestamp", "Sensor": "", "Participant name": "ParticipantName", STIMULUS: "MediaName",
          "Eye movement type": "GazeEventType", "Eye movement type index": "FixationIndex", LASTS: "GazeEventDuration",
          X: "GazePointX (ADCSpx)", Y: "GazePointY (ADCSpx)", FIX_X: "FixationPointX (MCSpx)",
          FIX_Y: "FixationPointY (MCSpx)", "Validity left": "ValidityLeft", "Validity right": "ValidityRight"},
         "Studio 3.4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ["as it is", "backwards"])
def test_versions_of_the_names_read_the_same(names: dict[str, str], version: str, order: str) -> None:
    rows = ten()
    rows += [gaze(100 + row[TIME], "b", 2, 100) for row in rows]
    rows = [dict(list(row.items())[:: 1 if order == "as it is" else -1]) for row in rows]
    samples, fixations = read(renamed(rows, names)), read(renamed(rows, names), "fixations")
    assert samples.ids == fixations.ids == [("P1", "a"), ("P1", "b")]
    assert samples.columns["timestamp_ms"].tolist() == list(range(0, 200, 10))
    assert fixations.columns["onset_ms"].tolist() == [0, 100]
    assert fixations.columns["duration_ms"].tolist() == [100, 100]
    assert fixations.columns["x_px"].tolist() == [100, 200]
    assert samples.rejects == fixations.rejects == []


def test_all_data_export_of_studio_2_has_lines_before_its_table() -> None:
    def row(at: int, picture: str, number: int) -> str:
        cells = [20 * at, "", at + 1, 500, 300, 3.5, 0, 510, 310, -1, 4, number, 505, 305, "", "", "", "", "", picture]
        return "\t".join(map(str, [*cells, 1, 800, 400, 100, 50, 300, 200, 100, ""]))

    event = "\t".join(["50", "", "", *[""] * 11, "KeyPress", "13", "go", *[""] * 11])
    lines = [*(row(at, "a.jpg", 1) for at in range(5)), event, *(row(at, "b.jpg", 0) for at in range(5, 8))]
    text = STUDIO_2 + "\n".join(f"{line}\t" for line in lines) + "\n"
    samples, fixations = read(text), read(text, "fixations")
    assert trials(samples) == [("P7", "a.jpg")] * 5 + [("P7", "b.jpg")] * 3
    assert samples.columns["timestamp_ms"].tolist() == [0, 20, 40, 60, 80, 100, 120, 140]
    assert places(samples) == (505, 305)
    assert trials(fixations) == [("P7", "a.jpg")]
    assert places(fixations) == (400, 250)
    assert fixations.columns["duration_ms"].tolist() == [100]
    np.testing.assert_array_equal(samples.columns["pupil_right"], [np.nan] * 8)


@pytest.mark.parametrize(
    ("tag", "unit"),
    [("ms", "ms"), ("us", "us"), ("μs", "us"), ("µs", "us"), ("Î¼s", "us"), ("Âµs", "us"), ("?s", "us"),
     ("\ufffds", "us"), ("s", "s"), ("ns", "ns"), ("", None), ("px", None), ("hours", None)],
)  # fmt: skip
def test_unit_of_a_clock_is_in_the_brackets_however_spoilt(tag: str, unit: str | None) -> None:
    assert clock_unit(key(f"Recording timestamp [{tag}]")[1]) == unit


@pytest.mark.parametrize("hz", [10, 30, 60, 300, 1200, 2000])
@pytest.mark.parametrize(("unit", "per_s"), [("ms", 1e3), ("us", 1e6)])
@pytest.mark.parametrize("tracker", [False, True])
def test_clock_without_a_unit_is_told_by_the_tracker_or_by_its_steps(
    hz: int, unit: str, per_s: float, tracker: bool
) -> None:
    rows = ten()
    for at, row in enumerate(rows):
        row[TIME] = int(at * per_s / hz)
        if tracker:
            row["Eyetracker timestamp"] = 10**9 + int(at * 1e6 / hz)
    table = read(renamed(rows, {TIME: "Recording timestamp"}))
    np.testing.assert_allclose(table.columns["timestamp_ms"], np.arange(10) * 1e3 / hz, atol=1)
    assert any(f"counts in {unit}" in note for note in table.notes) != tracker


def test_one_wrong_time_has_no_say_in_the_unit_of_a_clock() -> None:
    rows = [row | {TIME: 10_000 * at, "Eyetracker timestamp": 10_000 * at} for at, row in enumerate(ten())]
    rows[5][TIME] = 10**9
    times = read(renamed(rows, {TIME: "Recording timestamp"})).columns["timestamp_ms"]
    assert times[[0, 1, 9]].tolist() == [0, 10, 90]


def test_clock_that_nothing_tells_is_refused_unless_declared() -> None:
    text = renamed(ten(step=0), {TIME: "Recording timestamp"})
    with pytest.raises(ReadError, match=r"declare units\.timestamp_ms"):
        read(text)
    assert read(text, units={"timestamp_ms": "us"}).columns["timestamp_ms"].tolist() == [0] * 10
    assert read(renamed(ten(step=0), {TIME: "RecordingTimestamp"})).notes == []


@pytest.mark.parametrize("factor", [1, 1000])
def test_duration_without_a_unit_is_told_by_the_rows(factor: int) -> None:
    rows = [row | {LASTS: 100 * factor} for row in ten()]
    table = read(renamed(rows, {LASTS: "Eye movement event duration"}), "fixations")
    assert table.columns["duration_ms"].tolist() == [100]
    thin = [gaze(300 * at, "a", at + 1, 200 * factor) for at in range(3)]
    table = read(renamed(thin, {LASTS: "Eye movement event duration"}), "fixations")
    assert table.columns["duration_ms"].tolist() == [200] * 3


def test_pupils_come_along_where_their_eye_is_valid() -> None:
    rows = [row | {"Pupil diameter left [mm]": "2,5", "Pupil diameter right [mm]": "3,5"} for row in ten()]
    rows = [row | {"Pupil diameter filtered [mm]": "3,0"} for row in rows]
    rows[1]["Validity left"] = "Invalid"
    rows[2]["Pupil diameter right [mm]"] = "-1,00"
    rows[3]["Pupil diameter filtered [mm]"] = "none"
    table = read(export(rows))
    assert len(table.rows) == 10
    np.testing.assert_array_equal(table.columns["pupil_left"][:3], [2.5, np.nan, 2.5])
    np.testing.assert_array_equal(table.columns["pupil_right"][:3], [3.5, 3.5, np.nan])
    np.testing.assert_array_equal(table.columns["pupil"][2:5], [3, np.nan, 3])
    assert table.units == {"pupil_left": "mm", "pupil_right": "mm", "pupil": "mm"}
    means = read(export(rows), "fixations").columns
    assert (means["pupil_left"][0], means["pupil_right"][0]) == (2.5, 3.5)


def test_skin_conductance_of_rows_of_its_own_lies_on_the_line_between_them() -> None:
    rows = ten()
    gsr = [{TIME: time, "Sensor": "GSR", "Participant name": "P1", "Galvanic skin response (GSR)": value}
           for time, value in ((5, 1.0), (45, 5.0), (3000, 9.0))]  # fmt: skip
    rows[1:1], rows[6:6] = gsr[:1], gsr[1:2]
    table = read(export([*rows, gsr[2]]))
    np.testing.assert_allclose(table.columns["gsr"][:6], [np.nan, 1.5, 2.5, 3.5, 4.5, np.nan])
    assert table.units == {"gsr": "uS"}
    held = [row | {"Galvanic skin response (GSR) [µS]": 0.5} for row in ten()]
    assert (read(export(held)).columns["gsr"] == 0.5).all()


def test_declared_channel_wins() -> None:
    rows = [row | {"Pupil diameter left [mm]": 2.5, "Eye openness left [mm]": 9} for row in ten()]
    channels = {"pupil_left": {"column": "Eye openness left [mm]", "unit": "mm", "missing": [3]}}
    assert (read(export(rows), channels=channels).columns["pupil_left"] == 9).all()


def test_file_of_one_eye_says_which() -> None:
    rows = [{name.replace("point", "point left"): cell for name, cell in row.items()} for row in ten()]
    assert read(export(rows)).eye == "left"
    assert read(export(ten())).eye == ""


def test_fixations_on_a_page_that_was_scrolled_lie_where_the_gaze_does() -> None:
    rows = only("MCSpx", 400, 300, **{"MediaPosX (ADCSpx)": 30, "MediaPosY (ADCSpx)": 77})
    for row in rows:
        row |= {"GazePointX (ADCSpx)": 431, "GazePointY (ADCSpx)": 178, "Gaze point Y [MCSpx]": 301}
        row["Gaze point X [MCSpx]"] = 401
    assert places(read(export(rows), "fixations")) == (430, 177)


def test_clock_of_the_tracker_counts_in_us() -> None:
    rows = [row | {"EyeTrackerTimestamp": 10_000 * at} for at, row in enumerate(ten())]
    table = read(export(rows), columns={"timestamp_ms": "EyeTrackerTimestamp"})
    assert table.columns["timestamp_ms"].tolist() == list(range(0, 100, 10))
