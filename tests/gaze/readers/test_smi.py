# SPDX-License-Identifier: Apache-2.0
"""SMI text exports: both layouts of samples, both of fixations, eyes, trials, decimal commas, broken rows."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers import READERS, GazeTable, ReadError, smi
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared

NAN = float("nan")

IVIEW = """## [iView]
## Version:\tIDF Converter 3.0.20
## Sample Rate:\t50
## Number of Samples:\t4
## Subject:\tP07   \n\
## Calibration Area:\t1024\t768
## Stimulus Dimension [mm]:\t300\t200
## Head Distance [mm]:\t800
Time\tType\tTrial\tL Raw X [px]\tL POR X [px]\tL POR Y [px]\tR POR X [px]\tR POR Y [px]\tTiming
1000000\tMSG\t1\t# Message: start a.bmp
1020000\tSMP\t1\t9.9\t512.25\t300.50\t514.25\t302.50\t0
1040000\tSMP\t1\t9.9\t0.00\t0.00\t520.00\t310.00\t0
1050000\tMSG\t1\t# Message: start b.bmp
1060000\tSMP\t2\t9.9\t0.00\t0.00\t0.00\t0.00\t0
1080000\tSMP\t2\t9.9\t1.00\t0.00\t-3.00\t7.00\t0
"""
BEGAZE = """RecordingTime [ms],Trial,Stimulus,Participant,Category Group,Category Right,Category Left,\
Point of Regard Right X [px],Point of Regard Right Y [px],Point of Regard Left X [px],\
Point of Regard Left Y [px],Content
100.0,Trial001,a.png,P1,Information,Separator,Separator,-,-,-,-,start a
120.5,Trial001,a.png,P1,Eye,Fixation,Fixation,500.0,400.0,502.0,402.0,-
140.5,Trial001,a.png,P1,Eye,Blink,Fixation,510.0,410.0,512.0,412.0,-
160.5,Trial002,"b,c.png",P1,Eye,Saccade,Saccade,520.0,420.0,0.0,0.0,-
"""
EVENTS = """[BeGaze]
Sample Rate:\t50
Table Header for Fixations:
Event Type\tTrial\tNumber\tStart\tEnd\tDuration\tLocation X\tLocation Y\tDispersion X
Table Header for Saccades:
Event Type\tTrial\tNumber\tStart\tEnd\tDuration\tStart Loc.X
Table Header for User Events:
Event Type\tTrial\tNumber\tStart\tDescription
UserEvent\t1\t1\t900000\t# Message: start a
Fixation L\t1\t1\t1000000\t1200000\t200000\t100.5\t200.5\t3
Fixation R\t1\t1\t1010000\t1200000\t190000\t110.5\t210.5\t3
Saccade L\t1\t1\t1200000\t1220000\t20000\t1.0
UserEvent\t2\t2\t1210000\t# Message: start b
Fixation L\t2\t2\t1220000\t1520000\t300000\t300.5\t400.5\t3
"""
STATISTICS = """Trial\tParticipant\tCategory\tEye L/R\tEvent Start Trial Time [ms]\tEvent Duration [ms]\t\
Fixation Position X [px]\tFixation Position Y [px]
Trial001\tP1\tFixation\tLeft\t10,5\t200,0\t100,5\t200,5
Trial001\tP1\tSaccade\tLeft\t210,5\t20,0\t-\t-
Trial001\tP1\tFixation\tLeft\t230,5\t100,0\t120,5\t220,5
"""


def read(data: str | bytes, kind: str = "samples", fixed: dict[str, str] | None = None, **section: Any) -> GazeTable:
    both: dict[str, Any] = {"samples": None, kind: {"reader": "smi", "path": "{participant}.txt", **section}}
    spec = declared(**both).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return smi.read_smi(GazeFile(raw, "P1.txt", spec, {"participant": "P1"} if fixed is None else fixed))


def trials(table: GazeTable) -> list[str]:
    return [table.ids[code][1] for code in table.codes]


def xs(table: GazeTable) -> list[float]:
    return table.columns["x_px"].tolist()


def test_iview_samples_come_out_in_ms_with_the_header() -> None:
    table = read(IVIEW, eye="left")
    assert table.columns["timestamp_ms"].tolist() == [1020, 1040, 1060, 1080]
    np.testing.assert_array_equal(table.columns["x_px"], [512.25, NAN, NAN, 1])
    np.testing.assert_array_equal(table.columns["y_px"], [300.5, NAN, NAN, 0])
    assert trials(table) == ["1", "1", "2", "2"]
    assert [IVIEW.split("\n")[number - 1].split("\t")[0] for number in table.rows] == [
        "1020000", "1040000", "1060000", "1080000",
    ]  # fmt: skip
    assert table.header == {
        "sampling_hz": 50, "screen_width_px": 1024, "screen_height_px": 768, "screen_width_mm": 300,
        "screen_height_mm": 200, "distance_mm": 800,
    }  # fmt: skip
    assert table.rejects == []
    assert table.n_rows == 4


def test_eyes_of_iview_are_chosen_as_asked() -> None:
    np.testing.assert_array_equal(xs(read(IVIEW)), [514.25, 520, NAN, -3])
    np.testing.assert_array_equal(xs(read(IVIEW, eye="mean")), [513.25, 520, NAN, -1])
    assert "the right eye is used (lost samples: left 2, right 1)" in read(IVIEW).notes[0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(IVIEW.replace("\n", "\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + IVIEW.encode(), id="byte_order_mark"),
        pytest.param(IVIEW.encode("utf-16"), id="utf_16"),
        pytest.param(gzip.compress(IVIEW.encode()), id="gzip"),
        pytest.param(IVIEW.replace("IDF Conv", "für").encode("latin-1"), id="latin_1"),
        pytest.param(IVIEW.replace("SMP\t1\t9.9\t512.25\t300.50", "SMP\t1\t9.9\t512,25\t300,50"), id="decimal_comma"),
        pytest.param(IVIEW.replace("\t0\n", "\t0\t\n"), id="tab_at_the_end_of_rows"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: str | bytes) -> None:
    for eye in ("left", "right"):
        table, plain = read(data, eye=eye), read(IVIEW, eye=eye)
        for name, values in plain.columns.items():
            np.testing.assert_array_equal(table.columns[name], values)
        assert (table.rows.tolist(), table.rejects) == (plain.rows.tolist(), [])


def test_swapped_columns_are_found_by_name() -> None:
    head, body = IVIEW.split("Time\t", 1)
    rows = [line.split("\t") for line in ("Time\t" + body).splitlines()]
    order = [5, 0, 1, 2, 7, 6, 4, 3, 8]
    swapped = ["\t".join(cells[index] for index in order) if len(cells) == 9 else "" for cells in rows]
    table = read(head + "\n".join(swapped) + "\n", eye="left")
    np.testing.assert_array_equal(table.columns["x_px"], [512.25, NAN, NAN, 1])
    np.testing.assert_array_equal(table.columns["y_px"], [300.5, NAN, NAN, 0])


def test_trials_by_messages() -> None:
    table = read(IVIEW, messages={"start": "start (?P<trial>b).bmp"})
    assert trials(table) == ["b", "b"]
    assert [reject.reason for reject in table.rejects] == ["2 samples lie outside any trial, this is the first"]
    with pytest.raises(ReadError, match="none of the 2 messages"):
        read(IVIEW, messages={"start": "begin"})


def test_subject_of_the_header_is_the_participant_where_the_path_gives_none() -> None:
    assert read(IVIEW, fixed={}).ids[0] == ("P07", "1")
    with pytest.raises(ReadError, match="no column for participant"):
        read(IVIEW.replace("## Subject", "## Other"), fixed={})


def test_count_that_the_header_has_wrong_is_noted() -> None:
    assert (
        "the header counts other samples than the file has: 9, 4"
        in read(IVIEW.replace("Samples:\t4", "Samples:\t9")).notes
    )


def test_rate_that_the_clock_contradicts_is_noted() -> None:
    head = IVIEW.split("1000000\tMSG")[0].replace("Rate:\t50", "Rate:\t60")
    rows = "".join(f"{20000 * step}\tSMP\t1\t0\t1.0\t2.0\t1.0\t2.0\t0\n" for step in range(1, 20))
    assert "the header says 60 Hz, the clock says 50 Hz; the clock is used" in read(head + rows).notes


def test_broken_row_is_rejected_by_its_line() -> None:
    text = IVIEW.replace("520.00\t310.00", "52o.00\t310.00").replace("1060000\tSMP\t2\t9.9", "1060000\tSMP\t2")
    table = read(text, eye="right")
    assert xs(table) == [514.25, -3]
    assert sorted((reject.row, reject.reason) for reject in table.rejects) == [
        (12, "column R POR X [px]: '52o.00' is not a usable number"),
        (14, "8 fields instead of 9"),
    ]


def test_begaze_rows_that_are_no_samples_are_left_out_and_blinks_are_lost() -> None:
    table = read(BEGAZE, eye="right")
    assert table.columns["timestamp_ms"].tolist() == [120.5, 140.5, 160.5]
    np.testing.assert_array_equal(xs(table), [500, NAN, 520])
    assert trials(table) == ["Trial001", "Trial001", "Trial002"]
    np.testing.assert_array_equal(xs(read(BEGAZE, eye="left")), [502, 512, NAN])
    assert table.rejects == []


def test_begaze_with_tabs_reads_the_same_and_names_its_participant() -> None:
    text = BEGAZE.replace('"b,c.png"', "b.png").replace(",", "\t")
    table = read(text, eye="right", fixed={})
    np.testing.assert_array_equal(xs(table), [500, NAN, 520])
    assert table.ids[0] == ("P1", "Trial001")


def test_begaze_messages_are_in_the_content() -> None:
    assert trials(read(BEGAZE, messages={"start": "start (?P<trial>.)"})) == ["a", "a", "a"]


def test_one_column_for_both_eyes_is_enough() -> None:
    text = IVIEW.replace("L POR", "B POR").replace("R POR", "R Raw")
    np.testing.assert_array_equal(xs(read(text)), [512.25, NAN, NAN, 1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(IVIEW.replace("POR", "GVEC"), "no columns of the point of regard", id="no_gaze"),
        pytest.param("a\tb\n1\t2\n", "no line that names the columns", id="another_file"),
        pytest.param(IVIEW.split("1000000\tMSG")[0], "a header without rows", id="no_rows"),
        pytest.param(IVIEW.replace("SMP", "UE"), "no sample in the file", id="no_samples"),
        pytest.param(" \n", "empty", id="empty"),
    ],
)
def test_file_without_anything_to_use_raises(text: str, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(text)


def test_eye_that_was_not_recorded_raises() -> None:
    with pytest.raises(ReadError, match="no right eye in the file"):
        read(IVIEW.replace("R POR", "R Raw"), eye="right")


def test_event_export_gives_the_fixations_of_one_eye() -> None:
    table = read(EVENTS, "fixations")
    assert table.columns["onset_ms"].tolist() == [1000, 1220]
    assert table.columns["duration_ms"].tolist() == [200, 300]
    assert xs(table) == [100.5, 300.5]
    assert table.columns["y_px"].tolist() == [200.5, 400.5]
    assert trials(table) == ["1", "2"]
    assert table.notes == ["both eyes are in the file; the left eye is used (it fixated longer)"]
    assert table.header == {"sampling_hz": 50}
    assert xs(read(EVENTS, "fixations", eye="right")) == [110.5]
    assert xs(read(EVENTS.replace("\t", ","), "fixations", eye="left")) == [100.5, 300.5]


def test_event_export_tells_trials_by_user_events() -> None:
    table = read(EVENTS, "fixations", messages={"start": "start (?P<trial>.)"})
    assert trials(table) == ["a", "b"]


def test_event_export_without_the_eye_asked_for_raises() -> None:
    with pytest.raises(ReadError, match="no fixations of the right eye"):
        read(EVENTS.replace("Fixation R", "Saccade R"), "fixations", eye="right")
    with pytest.raises(ReadError, match="have no mean"):
        read(EVENTS, "fixations", eye="mean")


def test_event_statistics_with_decimal_commas_give_fixations_in_ms() -> None:
    table = read(STATISTICS, "fixations")
    assert table.columns["onset_ms"].tolist() == [10.5, 230.5]
    assert table.columns["duration_ms"].tolist() == [200, 100]
    assert xs(table) == [100.5, 120.5]
    assert table.rejects == []


def test_reader_is_registered_and_needs_no_columns() -> None:
    assert READERS["smi"].described
    assert READERS["smi"].supplies == ("participant", "trial")
