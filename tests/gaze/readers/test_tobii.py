# SPDX-License-Identifier: Apache-2.0
"""The Tobii reader on small exports of Pro Lab and Studio, written as their manuals describe them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.tobii  # noqa: F401
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared, zipped

LAB = [
    "Recording timestamp [μs]\tSensor\tParticipant name\tPresented Stimulus name\tEvent\tGaze point X [DACS px]\t"
    "Gaze point Y [DACS px]\tGaze point left X [DACS px]\tGaze point left Y [DACS px]\tGaze point right X [DACS px]\t"
    "Gaze point right Y [DACS px]\tValidity left\tValidity right\tEye movement type\tEye movement type index\t"
    "Gaze event duration [ms]\tFixation point X [MCS px]\tFixation point Y [MCS px]\tRecording resolution width\t"
    "Recording resolution height",
    "0\t\tP1\t\tRecordingStart\t\t\t\t\t\t\t\t\t\t\t\t\t\t1920\t1080",
    "1000\tEye Tracker\tP1\tcat\t\t100\t50\t99\t49\t101\t51\tValid\tValid\tFixation\t1\t40\t100\t50\t1920\t1080",
    "2000\tMouse\tP1\tcat\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t1920\t1080",
    "9000\tEye Tracker\tP1\tcat\t\t102\t52\t\t\t102\t52\tInvalid\tValid\tFixation\t1\t40\t100\t50\t1920\t1080",
    "17000\tEye Tracker\tP1\tcat\t\t900\t900\t\t\t\t\tInvalid\tInvalid\tEyesNotFound\t1\t8\t\t\t1920\t1080",
    "25000\tEye Tracker\tP1\tdog\t\t300\t60\t299\t59\t301\t61\tValid\tValid\tSaccade\t1\t8\t\t\t1920\t1080",
    "33000\tEye Tracker\tP2\tdog\t\t310\t70\t309\t69\t311\t71\tValid\tValid\tFixation\t1\t60\t310\t70\t1920\t1080",
]
STUDIO = [
    "ParticipantName\tMediaName\tRecordingResolution\tRecordingTimestamp\tStudioEvent\tGazeEventType\tFixationIndex\t"
    "GazeEventDuration\tFixationPointX (MCSpx)\tFixationPointY (MCSpx)\tGazePointLeftX (ADCSpx)\t"
    "GazePointLeftY (ADCSpx)\tGazePointRightX (ADCSpx)\tGazePointRightY (ADCSpx)\tValidityLeft\tValidityRight\t",
    "P1\tcat\t1280 x 1024\t0\t\tFixation\t1\t33\t10\t20\t11,5\t20\t12\t21\t0\t0\t",
    "P1\tcat\t1280 x 1024\t17\t\tFixation\t1\t33\t10\t20\t12,5\t20\t12\t21\t1\t2\t",
    "P1\tcat\t1280 x 1024\t33\t\tSaccade\t\t17\t\t\t13,5\t20\t12\t21\t0\t4\t",
    "P1\tcat\t1280 x 1024\t40\tKeyPress\t\t\t\t\t\t\t\t\t\t\t\t",
    "P1\tdog\t1280 x 1024\t50\t\tFixation\t2\t17\t30\t40\t14,5\t20\t13\t22\t4\t0\t",
]


def text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def read(data: str | bytes, kind: str = "samples", fixed: dict[str, str] | None = None, **changes: Any) -> GazeTable:
    section = {"reader": "tobii", "path": "export.tsv", **changes}
    spec = declared(**{"samples": None, kind: section}).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return READERS["tobii"].read(GazeFile(raw, "export.tsv", spec, fixed or {}))


def trials(table: GazeTable) -> list[tuple[str, str]]:
    return [table.ids[code] for code in table.codes]


def test_pro_lab_samples_are_those_of_the_eye_tracker() -> None:
    table = read(text(LAB))
    assert trials(table) == [("P1", "cat")] * 3 + [("P1", "dog"), ("P2", "dog")]
    assert table.columns["timestamp_ms"].tolist() == [1, 9, 17, 25, 33]
    np.testing.assert_array_equal(table.columns["x_px"], [100, 102, np.nan, 300, 310])
    np.testing.assert_array_equal(table.columns["y_px"], [50, 52, np.nan, 60, 70])
    assert table.rows.tolist() == [2, 4, 5, 6, 7]
    assert (table.n_rows, table.rejects) == (7, [])
    assert table.header == {"screen_width_px": 1920, "screen_height_px": 1080}


@pytest.mark.parametrize(
    ("eye", "x"),
    [
        ("left", [99, np.nan, np.nan, 299, 309]),
        ("right", [101, 102, np.nan, 301, 311]),
        ("mean", [100, 102, np.nan, 300, 310]),
    ],
)
def test_declared_eye_is_used_and_its_own_validity_decides(eye: str, x: list[float]) -> None:
    np.testing.assert_array_equal(read(text(LAB), eye=eye).columns["x_px"], x)


def test_pro_lab_fixations_come_one_per_index_and_participant() -> None:
    table = read(text(LAB), "fixations")
    assert trials(table) == [("P1", "cat"), ("P2", "dog")]
    assert table.columns["onset_ms"].tolist() == [1, 33]
    assert table.columns["duration_ms"].tolist() == [16, 8]  # the rows of both end before the column says
    assert table.columns["x_px"].tolist() == [100, 310]
    assert table.columns["y_px"].tolist() == [50, 70]
    assert table.rows.tolist() == [2, 7]
    assert table.origin == "stimulus"


def test_studio_export_with_comma_decimals_uses_the_better_eye() -> None:
    table = read(text(STUDIO))
    assert trials(table) == [("P1", "cat")] * 3 + [("P1", "dog")]
    assert table.columns["timestamp_ms"].tolist() == [0, 17, 33, 50]
    np.testing.assert_array_equal(table.columns["x_px"], [11.5, 12.5, 13.5, np.nan])
    assert table.header == {"screen_width_px": 1280, "screen_height_px": 1024}
    assert any("the left eye is used (lost samples: left 2, right 3)" in note for note in table.notes)


def test_studio_fixations_come_from_the_event_columns() -> None:
    table = read(text(STUDIO), "fixations")
    assert trials(table) == [("P1", "cat"), ("P1", "dog")]
    assert table.columns["onset_ms"].tolist() == [0, 50]
    assert table.columns["duration_ms"].tolist() == [33, 17]
    assert table.columns["x_px"].tolist() == [10, 30]


@pytest.mark.parametrize(("name", "ms"), [("Recording timestamp [ms]", 1000.0), ("Recording timestamp", 1.0)])
def test_clock_unit_comes_from_the_name_or_from_the_steps(name: str, ms: float) -> None:
    table = read(text(LAB).replace("Recording timestamp [μs]", name))
    assert table.columns["timestamp_ms"][0] == ms
    assert any("counts in us" in note for note in table.notes) == (name == "Recording timestamp")


def test_gaze_in_px_of_the_display_is_preferred_and_mm_alone_is_refused() -> None:
    both = (
        text(LAB)
        .replace("Gaze point left X [DACS px]", "Gaze point X [MCS px]")
        .replace("Gaze point left Y [DACS px]", "Gaze point Y [MCS px]")
    )
    assert read(both).columns["x_px"][0] == 100
    with pytest.raises(ReadError, match="no column Gaze point X in px"):
        read(text(LAB).replace("DACS px", "DACS mm"))


def test_messages_in_the_event_column_bracket_trials() -> None:
    lines = list(LAB)
    lines.insert(4, "8500\t\tP1\t\ttrial 7" + "\t" * 15)
    table = read(text(lines), messages={"start": r"trial (?P<trial>\d+)"})
    assert trials(table)[0] == ("P1", "7")
    assert table.columns["timestamp_ms"].tolist() == [9, 17, 25]
    assert [reject.reason for reject in table.rejects] == ["2 samples lie outside any trial, this is the first"]


def test_declared_columns_and_the_path_win() -> None:
    columns = {
        "participant": "Presented Stimulus name",
        "x_px": "Gaze point left X [DACS px]",
        "y_px": "Gaze point right Y [DACS px]",
    }
    table = read(text(LAB), columns=columns, fixed={"trial": "9"})
    assert trials(table)[-1] == ("dog", "9")
    np.testing.assert_array_equal(table.columns["x_px"], [99, np.nan, np.nan, 299, 309])


def test_declared_columns_of_one_eye_keep_its_validity() -> None:
    columns = {"x_px": "GazePointRightX (ADCSpx)", "y_px": "GazePointRightY (ADCSpx)"}
    np.testing.assert_array_equal(read(text(STUDIO), columns=columns).columns["x_px"], [12, np.nan, np.nan, 13])


def test_one_declared_coordinate_alone_is_refused() -> None:
    with pytest.raises(ReadError, match="x_px alone"):
        read(text(LAB), columns={"x_px": "Gaze point left X [DACS px]"})


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(text(LAB).replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + text(LAB).encode(), id="byte_order_mark"),
        pytest.param(text(LAB).encode("utf-16"), id="utf_16"),
        pytest.param(zipped(text(LAB)), id="gzip"),
        pytest.param(text(LAB).replace("\t", ",").encode(), id="csv"),
        pytest.param(text(LAB).replace("\t", ";").replace("300;60", "300,0;60,0").encode(), id="comma_decimals"),
        pytest.param(text(LAB).replace("μ", "µ").encode("latin-1"), id="latin_1"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: bytes) -> None:
    table, plain = read(data), read(text(LAB))
    assert trials(table) == trials(plain)
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(table.columns[name], values)


def test_cell_that_is_no_number_rejects_its_row() -> None:
    table = read(text(LAB).replace("\t300\t60", "\tthree\t60"))
    assert table.rows.tolist() == [2, 4, 5, 7]
    assert [(reject.row, reject.reason.split(":")[0]) for reject in table.rejects] == [
        (6, "column Gaze point X [DACS px]")
    ]


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        ("", "samples", "empty"),
        (LAB[0] + "\n", "samples", "without rows"),
        (text(LAB).replace("Recording timestamp", "Clock"), "samples", "Recording timestamp"),
        (text(LAB).replace("Participant name", "Who"), "samples", "participant"),
        (text(LAB).replace("Fixation\t", "Glissade\t"), "fixations", "no row of fixations"),
        (text(LAB).replace("Eye Tracker", "Mouse"), "samples", "no row of samples"),
    ],
)
def test_unusable_file_raises_read_error(data: str, kind: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(data, kind)


@pytest.mark.parametrize(("scale", "unit"), [(1, "ms"), (1000, "us")])
@pytest.mark.parametrize("hz", [2000, 1200, 60])
def test_unit_of_a_clock_is_seen_from_its_steps_at_any_rate(hz: int, scale: int, unit: str) -> None:
    names = "Recording timestamp", "Participant name", "Presented Stimulus name"
    head = "\t".join([*names, "Gaze point X [DACS px]", "Gaze point Y [DACS px]"])
    times = np.floor(np.arange(200) * 1e3 / hz * scale).astype(int)
    table = read(text([head, *(f"{time}\tP1\tcat\t100\t50" for time in times)]))
    assert table.columns["timestamp_ms"].tolist() == pytest.approx((times / scale).tolist())
    assert f"by its steps it counts in {unit}" in table.notes[0]
