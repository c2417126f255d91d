# SPDX-License-Identifier: Apache-2.0
"""Real EyeLink and SMI exports: counts, times and coordinates against pymovements and against reading line by line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gazeray.gaze.readers import GazeTable, ReadError
from gazeray.gaze.readers.eyelink_lines import split_lines
from tests.gaze.readers import test_eyelink, test_smi

pytestmark = pytest.mark.real
BINOCULAR = "sp_tool_gpl3/eyelink_data_example.asc"
IVIEW = "sp_tool_gpl3/smi_data_example_recording1_Samples.txt"


@pytest.fixture
def folder(real_data: Path) -> Path:
    return real_data / "vendor_exports"


def eyelink(path: Path, kind: str = "samples", **section: object) -> GazeTable:
    return test_eyelink.read(path.read_bytes(), kind, **section)


def test_eyelink_example_has_the_published_counts(folder: Path) -> None:
    table = eyelink(folder / BINOCULAR)
    assert len(table.rows) == table.n_rows == 10_294
    assert table.header == {"sampling_hz": 1000, "screen_width_px": 1680, "screen_height_px": 1050}
    assert table.rejects == []
    assert table.ids == [("P1", "1")]
    np.testing.assert_array_equal(np.diff(table.columns["timestamp_ms"]), 1)
    events = split_lines((folder / BINOCULAR).read_bytes()).events()
    assert sum(len(events.eye[word]) for word in ("EFIX", "ESACC", "EBLINK")) == 155


def test_fixations_in_angles_of_the_eyelink_example_are_refused(folder: Path) -> None:
    with pytest.raises(ReadError, match="the events are HREF data"):
        eyelink(folder / BINOCULAR, "fixations")


@pytest.mark.parametrize("name", ["sp_tool_gpl3/eyelink_data_example.edf", "eyelinkio_bsd3/test_raw.edf"])
def test_binary_edf_says_how_to_convert_it(folder: Path, name: str) -> None:
    with pytest.raises(ReadError, match="convert it with edf2asc"):
        eyelink(folder / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "eyes"),
    [
        (BINOCULAR, ("left", "right")),
        ("pymovements_mit/eyelink_binocular_example.asc", ("left", "right")),
        ("pymovements_mit/eyelink_monocular_example.asc", ("left",)),
        ("pymovements_mit/eyelink_monocular_no_dummy_example.asc", ("left",)),
    ],
)
def test_eyelink_samples_agree_with_pymovements(folder: Path, name: str, eyes: tuple[str, ...]) -> None:
    pymovements = pytest.importorskip("pymovements")
    gaze = pymovements.gaze.from_asc(folder / name, encoding="utf-8")
    gaze.unnest()
    theirs = gaze.samples
    for eye in eyes:
        mine = test_eyelink.read((folder / name).read_bytes(), eye=eye, fixed={"trial": "all"})
        np.testing.assert_array_equal(mine.columns["timestamp_ms"], theirs["time"].to_numpy())
        for axis in "xy":
            column = f"{axis}_{eye}_pix" if len(eyes) == 2 else f"{axis}_pix"
            if column not in theirs.columns:
                column = f"pixel_{axis}{eye[0]}" if len(eyes) == 2 else f"pixel_{axis}"
            values = theirs[column].to_numpy().astype(float)
            kept = ~np.isnan(mine.columns[f"{axis}_px"])
            np.testing.assert_array_equal(mine.columns[f"{axis}_px"][kept], values[kept])
            assert kept.sum() > 0.4 * len(kept)


def test_eyelink_samples_agree_with_reading_line_by_line(folder: Path) -> None:
    path = folder / "pymovements_mit/eyelink_monocular_no_dummy_example.asc"
    table = eyelink(path)
    for name, values in zip(("timestamp_ms", "x_px", "y_px"), test_eyelink.line_by_line(path.read_text()), strict=True):
        np.testing.assert_array_equal(table.columns[name], values)


def test_eyelink_fixations_are_those_of_the_lines(folder: Path) -> None:
    table = eyelink(folder / "pymovements_mit/eyelink_monocular_no_dummy_example.asc", "fixations")
    assert table.ids == [("P1", "TEXT")]
    assert table.columns["onset_ms"].tolist() == [647815, 647927]
    assert table.columns["duration_ms"].tolist() == [86, 326]
    assert table.columns["x_px"].tolist() == [868.5, 708.1]


def test_iview_example_has_the_samples_that_its_header_counts(folder: Path) -> None:
    table = test_smi.read((folder / IVIEW).read_bytes())
    assert len(table.rows) == 56_116
    assert (table.rejects, table.notes) == ([], [])
    counts = {trial: int((table.codes == code).sum()) for code, (_, trial) in enumerate(table.ids) if trial}
    assert list(counts) == ["1", "2", "3", "4", "5"]
    assert sum(counts.values()) == 56_116
    assert table.header["sampling_hz"] == 50
    rows = csv.reader((folder / IVIEW).read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    samples = [cells for cells in rows if cells[1:2] == ["SMP"]]
    x = np.array([float(cells[9]) for cells in samples])
    y = np.array([float(cells[10]) for cells in samples])
    lost = (x == 0) & (y == 0)
    np.testing.assert_array_equal(table.columns["x_px"], np.where(lost, np.nan, x))
    np.testing.assert_array_equal(table.columns["y_px"], np.where(lost, np.nan, y))
    times = np.array([float(cells[0]) for cells in samples])
    np.testing.assert_allclose(table.columns["timestamp_ms"], times / 1000, rtol=1e-15)


def test_didec_excerpt_reads(folder: Path) -> None:
    table = test_smi.read((folder / "pymovements_mit/didec_example.txt").read_bytes())
    assert table.columns["timestamp_ms"][:2].tolist() == [70590726.108, 70590730.097]
    assert table.columns["x_px"][:2].tolist() == [858.16, 844.17]
    assert len(table.rows) == 15
    assert table.rejects == []
