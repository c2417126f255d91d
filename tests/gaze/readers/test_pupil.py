# SPDX-License-Identifier: Apache-2.0
"""The readers of Pupil Player and Pupil Cloud on small files written as their documentation describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.pupil_cloud  # noqa: F401
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared, read_all, reasons, write, zipped

GAZE = (
    "gaze_timestamp,world_index,confidence,norm_pos_x,norm_pos_y,base_data\n"
    "100.000,0,0.98,0.25,0.75,100.0-0 100.1-1\n100.005,0,0.60,0.30,0.70,b\n100.010,1,0.59,0.40,0.60,c\n"
)
SURFACE = (
    "world_timestamp,world_index,gaze_timestamp,x_norm,y_norm,x_scaled,y_scaled,on_surf,confidence\n"
    "100.0,0,100.0,0.1,0.9,1,9,True,1.0\n100.0,0,100.1,1.2,0.9,12,9,False,1.0\n"
)
FIXATIONS = (
    "id,start_timestamp,duration,start_frame_index,end_frame_index,norm_pos_x,norm_pos_y,dispersion,confidence,method\n"
    "1,100.5,220.5,0,5,0.2,0.9,1.0,0.99,2d gaze\n2,101.0,120,6,9,0.4,0.8,1.0,0.30,2d gaze\n"
)
ON_SURFACE = (
    "world_timestamp,world_index,fixation_id,start_timestamp,duration,dispersion,norm_pos_x,norm_pos_y,x_scaled,"
    "y_scaled,on_surf\n"
    "100.5,0,1,100.5,220.5,1.0,0.20,0.90,2,9,True\n100.6,1,1,100.5,220.5,1.0,0.30,0.70,2,9,True\n"
    "101.0,2,2,101.0,120.0,1.0,0.50,0.50,5,5,True\n"
)
CLOUD = (
    "section id,recording id,timestamp [ns],gaze x [px],gaze y [px],worn,fixation id,blink id\n"
    "a,b,1700000000000000000,800.5,600.25,1.0,1,\na,b,1700000000005000000,801.5,601.25,0.0,,\n"
)
CLOUD_FIXATIONS = (
    "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],fixation x [px],"
    "fixation y [px]\na,b,1,1700000000000000000,1700000000200000000,200,810.5,610.5\n"
)
MAPPED = (  # Marker Mapper
    "section id,recording id,timestamp [ns],gaze detected on surface,gaze position on surface x [normalized],"
    "gaze position on surface y [normalized],fixation id,blink id\n"
    "a,b,1700000000000000000,True,0.25,0.75,1,\na,b,1700000000005000000,False,1.20,0.50,,\n"
    "a,b,1700000000010000000,False,,,,\n"
)
MAPPED_FIXATIONS = (
    "section id,recording id,fixation id,start timestamp [ns],end timestamp [ns],duration [ms],"
    "fixation detected on surface,fixation x [normalized],fixation y [normalized]\n"
    "a,b,1,1700000000000000000,1700000000200000000,200,True,0.4,0.6\n"
    "a,b,2,1700000000300000000,1700000000400000000,100,False,1.4,0.6\n"
)
FIXED = {"participant": "P1", "trial": "1"}


def read(
    data: str | bytes, kind: str = "samples", reader: str = "pupil", fixed: Any = None, **changes: Any
) -> GazeTable:
    section = {"reader": reader, "path": "{participant}/{trial}/gaze.csv", **changes}
    spec = declared(**{"samples": None, kind: section}).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return READERS[reader].read(GazeFile(raw, "P1/1/gaze.csv", spec, FIXED if fixed is None else fixed))


def test_player_gaze_is_turned_to_the_top_left_and_low_confidence_is_lost() -> None:
    table = read(GAZE)
    np.testing.assert_allclose(table.columns["timestamp_ms"], [100_000, 100_005, 100_010])
    np.testing.assert_allclose(table.columns["x_px"], [0.25, 0.30, np.nan])
    np.testing.assert_allclose(table.columns["y_px"], [0.25, 0.30, np.nan])
    assert table.ids == [("P1", "1")]
    assert (table.n_rows, table.rejects, table.origin) == (3, [], "scene_camera")


def test_gaze_off_a_surface_keeps_its_place() -> None:
    table = read(SURFACE)
    np.testing.assert_allclose(table.columns["x_px"], [0.1, 1.2])
    np.testing.assert_allclose(table.columns["y_px"], [0.1, 0.1])
    assert table.origin == read(SURFACE.replace("on_surf", "on_srf")).origin == "screen"


def test_player_fixations_last_milliseconds() -> None:
    table = read(FIXATIONS, "fixations")
    np.testing.assert_allclose(table.columns["onset_ms"], [100_500, 101_000])
    np.testing.assert_allclose(table.columns["duration_ms"], [220.5, 120])
    np.testing.assert_allclose(table.columns["x_px"], [0.2, np.nan])
    np.testing.assert_allclose(table.columns["y_px"], [0.1, np.nan])
    assert table.origin == "scene_camera"


def test_fixation_on_a_surface_is_the_mean_of_its_frames() -> None:
    table = read(ON_SURFACE, "fixations")
    np.testing.assert_allclose(table.columns["x_px"], [0.25, 0.5])
    np.testing.assert_allclose(table.columns["y_px"], [0.2, 0.5])
    assert table.rows.tolist() == [1, 3]
    assert (table.n_rows, table.origin) == (3, "screen")


def test_cloud_gaze_is_in_px_and_lost_where_not_worn() -> None:
    table = read(CLOUD, reader="pupil_cloud")
    np.testing.assert_allclose(table.columns["timestamp_ms"], [1.7e12, 1.7e12 + 5], rtol=1e-15)
    np.testing.assert_array_equal(table.columns["x_px"], [800.5, np.nan])
    np.testing.assert_array_equal(table.columns["y_px"], [600.25, np.nan])
    assert (table.rejects, table.notes, table.origin) == ([], [], "scene_camera")


def test_cloud_fixations_are_read() -> None:
    table = read(CLOUD_FIXATIONS, "fixations", "pupil_cloud")
    assert table.columns["duration_ms"].tolist() == [200]
    assert table.columns["x_px"].tolist() == [810.5]
    assert table.origin == "scene_camera"


def test_marker_mapper_is_on_the_surface_from_its_top_left() -> None:
    table = read(MAPPED, reader="pupil_cloud")
    np.testing.assert_array_equal(table.columns["x_px"], [0.25, 1.2, np.nan])
    np.testing.assert_array_equal(table.columns["y_px"], [0.75, 0.5, np.nan])
    assert (table.origin, table.units) == ("screen", {"x_px": "normalised", "y_px": "normalised"})
    neon_player = "\n".join(",".join(line.split(",")[2:6]) for line in MAPPED.splitlines())
    np.testing.assert_array_equal(read(neon_player, reader="pupil_cloud").columns["x_px"], table.columns["x_px"])


def test_fixations_beside_the_surface_are_lost() -> None:
    table = read(MAPPED_FIXATIONS, "fixations", "pupil_cloud")
    np.testing.assert_array_equal(table.columns["x_px"], [0.4, np.nan])
    assert (table.origin, table.units["y_px"]) == ("screen", "normalised")


def test_reference_image_mapper_is_in_px_of_the_stimulus() -> None:
    gaze = MAPPED.replace("detected on surface", "detected in reference image")
    gaze = gaze.replace("on surface", "in reference image").replace("[normalized]", "[px]")
    table = read(gaze, reader="pupil_cloud")
    assert (table.origin, table.units["x_px"]) == ("stimulus", "px")
    np.testing.assert_array_equal(table.columns["x_px"], [0.25, 1.2, np.nan])
    fixations = MAPPED_FIXATIONS.replace("detected on surface", "detected in reference image")
    table = read(fixations.replace("[normalized]", "[px]"), "fixations", "pupil_cloud")
    assert (table.origin, table.units["x_px"]) == ("stimulus", "px")
    np.testing.assert_array_equal(table.columns["x_px"], [0.4, np.nan])


def test_mapped_gaze_comes_before_that_of_the_camera() -> None:
    head, *rows = MAPPED.splitlines()
    both = "\n".join([f"{head},gaze x [px],gaze y [px]", *(f"{row},800,600" for row in rows)])
    assert read(both, reader="pupil_cloud").origin == "screen"
    table = read(both, reader="pupil_cloud", columns={"x_px": "gaze x [px]", "y_px": "gaze y [px]"})
    assert (table.origin, table.columns["x_px"].tolist()) == ("scene_camera", [800, 800, 800])


def test_columns_of_ones_own_count_as_declared() -> None:
    head, *rows = CLOUD.splitlines()
    own = "\n".join([f"{head},sx,sy", *(f"{row},80,60" for row in rows)])
    table = read(own, reader="pupil_cloud", columns={"x_px": "sx", "y_px": "sy"})
    assert (table.origin, table.units) == ("", {})


def test_two_recordings_of_one_name_are_never_mixed() -> None:
    two = CLOUD.replace("a,b,1700000000005000000", "a2,b2,1700000000005000000")
    with pytest.raises(ReadError, match=r"several recordings under the name of one person: b, b2.*recording id"):
        read(two, reader="pupil_cloud")
    path, trial = "{trial}.csv", {"trial": "1"}
    people = read(two, reader="pupil_cloud", fixed=trial, path=path, columns={"participant": "recording id"})
    assert people.ids == [("b", "1"), ("b2", "1")]
    person = {"participant": "P1"}
    sections = read(two, reader="pupil_cloud", fixed=person, path="{participant}.csv", columns={"trial": "section id"})
    assert sections.ids == [("P1", "a"), ("P1", "a2")]


@pytest.mark.parametrize("cell", ["", "b?"])
def test_wrong_name_of_a_recording_in_one_row_is_no_other_recording(cell: str) -> None:
    data = MAPPED.replace("a,b,1700000000005000000", f"a,{cell},1700000000005000000")
    assert read(data, reader="pupil_cloud").ids == [("P1", "1")]


def test_sections_of_a_recording_are_presentations() -> None:
    table = read(CLOUD.replace("a,b,1700000000005000000", "a2,b,1700000000005000000"), reader="pupil_cloud")
    assert table.ids == [("P1", "1"), ("P1", "1")]
    assert table.codes.tolist() == [0, 1]


def test_pupils_joined_to_the_gaze_come_along() -> None:
    head, *rows = CLOUD.splitlines()
    joined = "\n".join([f"{head},pupil diameter left [mm]", *(f"{row},3.5" for row in rows)])
    table = read(joined, reader="pupil_cloud")
    assert (table.columns["pupil_left"].tolist(), table.units["pupil_left"]) == ([3.5, 3.5], "mm")


def test_pupils_of_the_file_beside_are_joined_by_time(tmp_path: Path) -> None:
    states = (
        "section id,recording id,timestamp [ns],pupil diameter left [mm],pupil diameter right [mm]\n"
        "a,b,1700000000005000000,3.5,0\na,b,1700000000010000000,3.7,3.9\n"
    )
    head, one, two = CLOUD.splitlines()
    three = two.replace("05000000", "10000000").replace(",0.0,", ",1.0,")
    files = {f"{person}/1/gaze.csv": "\n".join([head, one, two, three]) for person in ("P1", "P2")}
    files |= {"P1/1/3d_eye_states.csv": states, "P2/1/3d_eye_states.csv": "broken"}
    root = write(tmp_path, {"trials.csv": "participant,trial,condition\nP1,1,C\nP2,1,P\n", **files})
    section = {"reader": "pupil_cloud", "path": "{participant}/{trial}/gaze.csv", "origin": "scene_camera"}
    screen = {"width_px": 1600, "height_px": 1200}
    _, (first, second) = read_all(root, declared(samples=section, stimulus=None, screen=screen))
    samples = first.trials[0].samples
    assert samples is not None
    np.testing.assert_allclose(samples["pupil_left"], [np.nan, 3.5, 3.7])
    np.testing.assert_allclose(samples["pupil_right"], [np.nan, np.nan, 3.9])
    assert first.trials[0].units["pupil_left"] == "mm"
    assert len(second.trials) == 1
    assert "no pupils" in second.notes[0]


PUPILS = (
    "pupil_timestamp,world_index,eye_id,confidence,norm_pos_x,norm_pos_y,diameter,method,diameter_3d\n"
    "100.001,0,0,0.99,0.5,0.5,31,2d c++,\n100.001,0,0,0.99,0.5,0.5,31,pye3d 0.3.0 real-time,3.1\n"
    "100.002,0,1,0.99,0.5,0.5,42,2d c++,\n100.002,0,1,0.99,0.5,0.5,42,pye3d 0.3.0 real-time,4.2\n"
    "100.009,0,0,0.59,0.5,0.5,33,2d c++,\n100.009,0,0,0.59,0.5,0.5,33,pye3d 0.3.0 real-time,3.3\n"
)


@pytest.mark.parametrize(
    ("data", "left", "right", "unit"),
    [
        pytest.param(PUPILS, 4.2, [3.1, 3.1, np.nan], "mm", id="3d"),
        pytest.param(PUPILS.replace("diameter_3d", "model"), 42, [31, 31, np.nan], "px", id="2d_alone"),
        pytest.param(PUPILS.replace("pupil_timestamp", "timestamp").replace("eye_id", "id"), 4.2, [3.1, 3.1, np.nan],
                     "mm", id="older_names"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["P1/gaze_positions.csv", "P1/surfaces/gaze_positions_on_surface_S.csv"])
def test_pupils_of_pupil_player_are_those_nearest_in_time(
    tmp_path: Path, place: str, data: str, left: float, right: list[float], unit: str
) -> None:
    gaze = GAZE.replace("norm_pos_x,norm_pos_y", "x_norm,y_norm")
    files = {place: gaze, place.replace("P1", "P2"): gaze, "P1/pupil_positions.csv": data}
    trials = "participant,trial,condition,start_ms,end_ms\nP1,1,C,0,1e9\nP2,1,P,0,1e9\n"
    root = write(tmp_path, {"trials.csv": trials, **files})
    section = {"reader": "pupil", "path": place.replace("P1", "{participant}"), "windows": "trials"}
    _, (first, second) = read_all(root, declared(samples=section, stimulus=None))
    samples = first.trials[0].samples
    assert samples is not None
    np.testing.assert_allclose(samples["pupil_left"], [left] * 3, rtol=1e-6)
    np.testing.assert_allclose(samples["pupil_right"], right, rtol=1e-6)
    assert first.trials[0].units == {"pupil_left": unit, "pupil_right": unit}
    assert second.trials[0].units == {}


def test_pupils_that_cannot_be_read_or_are_long_past_are_noted_or_lost() -> None:
    def pupils(data: str) -> GazeTable:
        spec = declared(samples={"reader": "pupil", "path": "{participant}/{trial}/gaze.csv"}).samples
        assert spec is not None
        beside = {"P1/1/pupil_positions.csv": data.encode()}
        return READERS["pupil"].read(GazeFile(GAZE.encode(), "P1/1/gaze.csv", spec, FIXED, beside))

    for data in ("broken", PUPILS.replace("confidence", "sureness"), PUPILS.replace("0.99", "0.1"), ""):
        found = pupils(data)
        assert "no pupils: " in found.notes[0]
        assert "pupil_left" not in found.columns
    assert np.isnan(pupils(PUPILS.replace("100.0", "99.0")).columns["pupil_left"]).all()


@pytest.mark.parametrize(("reader", "data"), [("pupil", GAZE), ("pupil_cloud", CLOUD)])
def test_gaze_of_the_scene_camera_is_refused_unless_declared(tmp_path: Path, reader: str, data: str) -> None:
    trials = "participant,trial,condition\nP1,1,C\nP2,1,P\n"
    root = write(tmp_path, {"trials.csv": trials, "P1/1.csv": data, "P2/1.csv": data})
    section = {"reader": reader, "path": "{participant}/{trial}.csv"}
    _, (one, _) = read_all(root, declared(samples=section, stimulus=None))
    assert one.trials == []
    assert "declare origin: scene_camera" in reasons(one.rejects)[0][2]
    screen = {"width_px": 1600, "height_px": 1200}
    _, (one, _) = read_all(root, declared(samples={**section, "origin": "scene_camera"}, stimulus=None, screen=screen))
    assert [trial.trial for trial in one.trials] == ["1"]
    samples = one.trials[0].samples
    assert samples is not None
    expected = (0.25 * 1600, 0.25 * 1200) if reader == "pupil" else (800.5, 600.25)
    assert (samples["x_px"][0], samples["y_px"][0]) == pytest.approx(expected)


def test_cloud_export_is_sent_to_its_own_reader() -> None:
    with pytest.raises(ReadError, match="use the reader pupil_cloud"):
        read(CLOUD)


def test_declared_columns_win_and_are_not_turned_over() -> None:
    columns = {"timestamp_ms": "world_timestamp", "x_px": "px", "y_px": "py"}
    data = SURFACE.replace("x_scaled", "px").replace("y_scaled", "py")
    table = read(data, columns=columns, units={"x_px": "px", "y_px": "px", "timestamp_ms": "ms"})
    assert table.columns["y_px"].tolist() == [9, 9]
    assert table.columns["timestamp_ms"].tolist() == [100, 100]


def test_scaled_gaze_counts_upwards_and_must_be_declared_so() -> None:
    columns = {"x_px": "x_scaled", "y_px": "y_scaled"}
    with pytest.raises(ReadError, match="y_scaled counts from the bottom"):
        read(SURFACE, columns=columns)
    assert read(SURFACE, columns=columns, y_axis="up").columns["y_px"].tolist() == [9, 9]
    columns = {"x_px": "x_norm", "y_px": "y_norm"}
    upwards = read(SURFACE, columns=columns, y_axis="up")  # turned over once, elsewhere
    np.testing.assert_allclose(upwards.columns["y_px"], [0.9, 0.9])


@pytest.mark.parametrize("origin", ["stimulus", "screen_centre"])
def test_scene_camera_has_no_other_origin(tmp_path: Path, origin: str) -> None:
    told = two_people(tmp_path, "pupil", GAZE, origin)
    assert f"origin: {origin} is declared, but the file has gaze that counts from scene_camera" in told


def test_surface_is_the_screen_or_the_stimulus_and_not_the_camera(tmp_path: Path) -> None:
    assert two_people(tmp_path, "pupil", SURFACE, "stimulus") == ""
    assert "counts from screen" in two_people(tmp_path, "pupil", SURFACE, "scene_camera")


def two_people(tmp_path: Path, reader: str, data: str, origin: str) -> str:
    """Why nothing of two files of the same content can be read, "" where it can; origin: as declared."""
    trials = "participant,trial,condition\nP1,1,C\nP2,1,P\n"
    root = write(tmp_path, {"trials.csv": trials, "P1/1.csv": data, "P2/1.csv": data})
    own = {"x_px": "norm_pos_x", "y_px": "norm_pos_y"} if origin == "screen_centre" else {}
    section = {"reader": reader, "path": "{participant}/{trial}.csv", "origin": origin, "columns": own}
    _, (one, _) = read_all(root, declared(samples=section))
    return "" if one.trials else reasons(one.rejects)[0][2]


def test_declared_channel_comes_along() -> None:
    table = read(SURFACE, channels={"frame": {"column": "world_index", "unit": "1", "missing": [1]}})
    assert (table.columns["frame"].tolist(), table.units["frame"]) == ([0, 0], "1")


def test_bad_row_costs_that_row() -> None:
    table = read(GAZE.replace("100.005,0,0.60,0.30", "100.005,0,0.60,oops"))
    assert table.rows.tolist() == [1, 3]
    assert [(reject.row, "norm_pos_x" in reject.reason) for reject in table.rejects] == [(2, True)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GAZE.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + GAZE.encode(), id="byte_order_mark"),
        pytest.param(GAZE.encode("utf-16"), id="utf_16"),
        pytest.param(zipped(GAZE), id="gzip"),
        pytest.param(GAZE.replace(",", ";").replace(".", ",").encode(), id="comma_decimals"),
        pytest.param(GAZE.replace(",b\n", ",é\n").encode("latin-1"), id="latin_1"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: bytes) -> None:
    for name, values in read(GAZE).columns.items():
        np.testing.assert_array_equal(read(data).columns[name], values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "empty"),
        ("gaze_timestamp,norm_pos_x,norm_pos_y\n", "without rows"),
        (GAZE.replace("norm_pos_y", "up"), "y_px"),
        (GAZE.replace("gaze_timestamp", "when"), "timestamp_ms"),
    ],
)
def test_unusable_file_raises_read_error(data: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(data)
