# SPDX-License-Identifier: Apache-2.0
"""Real GazeCom recordings, .arff and .coord: every row is read as it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gazeray.gaze.readers.gazecom  # noqa: F401
from gazeray.gaze.clock import clock_hz
from gazeray.gaze.readers import READERS, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("name", "n_rows"), [("arff_data_example.arff", 5002), ("dsf_coord_data_example.coord", 4200)])
def test_recording_agrees_with_reading_line_by_line(real_data: Path, name: str, n_rows: int) -> None:
    data = (real_data / "vendor_exports/sp_tool_gpl3" / name).read_bytes()
    spec = declared(samples={"reader": "gazecom", "path": "{participant}_{trial}.arff"}).samples
    assert spec is not None
    table = READERS["gazecom"].read(GazeFile(data, name, spec, {"participant": "P1", "trial": "1"}))
    expected = []
    for line in data.decode().replace(",", " ").splitlines():
        cells = line.split()
        if len(cells) == 4 and cells[0].isdigit():
            expected.append([float(cell) for cell in cells])
    times, x, y, confidence = np.array(expected).T
    lost = confidence == 0
    assert table.n_rows == len(expected) == n_rows
    assert table.rejects == []
    np.testing.assert_allclose(table.columns["timestamp_ms"], times / 1e3, rtol=1e-12)
    np.testing.assert_array_equal(table.columns["x_px"], np.where(lost, np.nan, x))
    np.testing.assert_array_equal(table.columns["y_px"], np.where(lost, np.nan, y))
    assert table.header == pytest.approx(
        {
            "screen_width_px": 1280,
            "screen_height_px": 720,
            "screen_width_mm": 400,
            "screen_height_mm": 225,
            "distance_mm": 450,
        }
    )
    rate = clock_hz(table.columns["timestamp_ms"])
    assert 240 < rate < 260


def test_labels_by_frame_are_not_taken_for_a_recording(real_data: Path) -> None:
    path = next((real_data / "gazecom/label_data").rglob("*.txt"))
    spec = declared(samples={"reader": "gazecom", "path": "{participant}_{trial}.txt"}).samples
    assert spec is not None
    with pytest.raises(ReadError, match="neither ARFF"):
        READERS["gazecom"].read(GazeFile(path.read_bytes(), path.name, spec, {"participant": "P1", "trial": "1"}))
