# SPDX-License-Identifier: Apache-2.0
"""The readers of Pupil Player and Pupil Cloud on small files written as their documentation describes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.pupil  # noqa: F401
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared, zipped

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
FIXED = {"participant": "P1", "trial": "1"}


def read(data: str | bytes, kind: str = "samples", reader: str = "pupil", **changes: Any) -> GazeTable:
    section = {"reader": reader, "path": "{participant}/{trial}/gaze.csv", **changes}
    spec = declared(**{"samples": None, kind: section}).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return READERS[reader].read(GazeFile(raw, "P1/1/gaze.csv", spec, FIXED))


def test_player_gaze_is_turned_to_the_top_left_and_low_confidence_is_lost() -> None:
    table = read(GAZE)
    np.testing.assert_allclose(table.columns["timestamp_ms"], [100_000, 100_005, 100_010])
    np.testing.assert_allclose(table.columns["x_px"], [0.25, 0.30, np.nan])
    np.testing.assert_allclose(table.columns["y_px"], [0.25, 0.30, np.nan])
    assert table.ids == [("P1", "1")]
    assert (table.n_rows, table.rejects) == (3, [])


def test_gaze_off_a_surface_keeps_its_place() -> None:
    table = read(SURFACE)
    np.testing.assert_allclose(table.columns["x_px"], [0.1, 1.2])
    np.testing.assert_allclose(table.columns["y_px"], [0.1, 0.1])


def test_player_fixations_last_milliseconds() -> None:
    table = read(FIXATIONS, "fixations")
    np.testing.assert_allclose(table.columns["onset_ms"], [100_500, 101_000])
    np.testing.assert_allclose(table.columns["duration_ms"], [220.5, 120])
    np.testing.assert_allclose(table.columns["x_px"], [0.2, np.nan])
    np.testing.assert_allclose(table.columns["y_px"], [0.1, np.nan])


def test_fixation_on_a_surface_is_the_mean_of_its_frames() -> None:
    table = read(ON_SURFACE, "fixations")
    np.testing.assert_allclose(table.columns["x_px"], [0.25, 0.5])
    np.testing.assert_allclose(table.columns["y_px"], [0.2, 0.5])
    assert table.rows.tolist() == [1, 3]
    assert table.n_rows == 3


def test_cloud_gaze_is_in_px_and_lost_where_not_worn() -> None:
    table = read(CLOUD, reader="pupil_cloud")
    np.testing.assert_allclose(table.columns["timestamp_ms"], [1.7e12, 1.7e12 + 5], rtol=1e-15)
    np.testing.assert_array_equal(table.columns["x_px"], [800.5, np.nan])
    np.testing.assert_array_equal(table.columns["y_px"], [600.25, np.nan])
    assert table.rejects == []
    assert any("scene camera" in note for note in table.notes)


def test_cloud_fixations_are_read() -> None:
    table = read(CLOUD_FIXATIONS, "fixations", "pupil_cloud")
    assert table.columns["duration_ms"].tolist() == [200]
    assert table.columns["x_px"].tolist() == [810.5]


def test_cloud_export_is_sent_to_its_own_reader() -> None:
    with pytest.raises(ReadError, match="use the reader pupil_cloud"):
        read(CLOUD)


def test_declared_columns_win_and_are_not_turned_over() -> None:
    columns = {"timestamp_ms": "world_timestamp", "x_px": "x_scaled", "y_px": "y_scaled"}
    table = read(SURFACE, columns=columns, units={"x_px": "px", "y_px": "px", "timestamp_ms": "ms"})
    assert table.columns["y_px"].tolist() == [9, 9]
    assert table.columns["timestamp_ms"].tolist() == [100, 100]


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
