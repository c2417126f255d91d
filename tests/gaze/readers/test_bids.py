# SPDX-License-Identifier: Apache-2.0
"""The BIDS reader on small recordings with their sidecars."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gazeray.gaze.readers.bids  # noqa: F401
from gazeray.gaze.files import Listing
from gazeray.gaze.readers import READERS, GazeTable, ReadError, vendor_bids
from gazeray.gaze.readers.base import GazeFile
from gazeray.storage import FileStat
from tests.gaze.tiny_dataset import declared, read_all, write, zipped

STEM = "sub-P1/beh/sub-P1_task-read"
PHYSIO, EVENTS = f"{STEM}_recording-eye1_physio.tsv.gz", f"{STEM}_recording-eye1_physioevents.tsv.gz"
# 250 Hz in ms ticks, first at 1000; one lost sample
SAMPLES = "1000\t100\t50\t900\n1004\t102\tn/a\t900\n1008\t104\t54\t901\n1012\t106\t56\t902\n"
SIDECAR: dict[str, Any] = {
    "Columns": ["timestamp", "x_coordinate", "y_coordinate", "pupil_size"],
    "PhysioType": "eyetrack",
    "RecordedEye": "left",
    "SampleCoordinateSystem": "gaze-on-screen",
    "SamplingFrequency": 250,
    "StartTime": 2.0,
    "x_coordinate": {"Units": "pixel"},
    "y_coordinate": {"Units": "pixel"},
}
EVENTS_SIDECAR: dict[str, Any] = {
    "Columns": ["onset", "duration", "trial_type", "message"],
    "ForeignIndexColumn": "timestamp",
}
EVENT_ROWS = (
    "1000\tn/a\tn/a\ttrial A\n1000\t4\tfixation\tn/a\n1004\t4\tsaccade\tn/a\n1007\tn/a\tn/a\ttrial B\n"
    "1008\t4\tfixation\tn/a\n"
)
RUN = "onset\tduration\ttrial_type\tname\n2.0\t0.006\tgo\tone\n1.5\t0\tcue\tnone\n2.008\t0.5\tgo\ttwo\n"
SCREEN = {"StimulusPresentation": {"ScreenDistance": 0.6, "ScreenSize": [0.4, 0.3], "ScreenResolution": [1000, 600]}}


def files(**changes: Any) -> dict[str, bytes]:
    """What lies beside a recording; `sidecar`, `events_sidecar`, `screen` update, `run` replaces."""
    beside = {
        f"{STEM}_recording-eye1_physio.json": json.dumps(SIDECAR | changes.get("sidecar", {})),
        f"{STEM}_recording-eye1_physioevents.json": json.dumps(EVENTS_SIDECAR | changes.get("events_sidecar", {})),
        f"{STEM}_events.json": json.dumps(changes.get("screen", {})),
        f"{STEM}_events.tsv": changes.get("run", RUN),
    }
    both = {PHYSIO: zipped(changes.get("samples", SAMPLES)), EVENTS: zipped(changes.get("events", EVENT_ROWS))}
    return {name: text.encode() for name, text in beside.items() if text} | both


def read(
    kind: str = "samples", fixed: dict[str, str] | None = None, beside: dict[str, bytes] | None = None, **changes: Any
) -> GazeTable:
    section = {"reader": "bids", "path": "sub-{participant}/beh/x.tsv", **changes}
    named = changes.get("columns", {}).get("trial", "trial")
    table = {"path": "trials.csv", "columns": {"participant": "participant", "trial": named}}
    spec = declared(**{"samples": None, "trials": table, kind: section}).gaze()[
        "samples" if kind == "samples" else "fixations"
    ]
    source = PHYSIO if kind == "samples" else EVENTS
    beside = files() if beside is None else beside
    listing = Listing.of(FileStat(path, 1, 0) for path in beside)
    near = {name: beside[name] for name in READERS["bids"].companions(source, listing)}
    return READERS["bids"].read(GazeFile(beside[source], source, spec, fixed or {"participant": "P1"}, near))


def trials(table: GazeTable) -> list[str]:
    return [table.ids[code][1] for code in table.codes]


ONE = {"participant": "P1", "trial": "1"}


def test_samples_are_on_the_clock_of_the_run() -> None:
    table = read(fixed=ONE)
    assert table.columns["timestamp_ms"].tolist() == [2000, 2004, 2008, 2012]
    np.testing.assert_array_equal(table.columns["x_px"], [100, np.nan, 104, 106])
    np.testing.assert_array_equal(table.columns["y_px"], [50, np.nan, 54, 56])
    assert table.header == {"sampling_hz": 250}
    assert table.eye == "left"
    assert (table.n_rows, table.rejects) == (4, [])


def test_trials_are_the_rows_of_the_run_that_last() -> None:
    table = read()
    assert trials(table) == ["1", "1", "3", "3"]
    assert table.rows.tolist() == [1, 2, 3, 4]


def test_trials_take_their_names_from_the_declared_column() -> None:
    assert trials(read(columns={"trial": "name"})) == ["one", "one", "two", "two"]


def test_samples_outside_every_trial_are_left_out_with_a_note() -> None:
    table = read(beside=files(run="onset\tduration\n2.008\t0.004\n"))
    assert table.rows.tolist() == [3]
    assert [reject.reason for reject in table.rejects] == ["3 samples lie outside any trial, this is the first"]


def test_row_without_a_usable_time_is_rejected_not_outside() -> None:
    table = read(beside=files(samples=SAMPLES.replace("1004", "soon").replace("1012", "n/a")))
    assert table.rows.tolist() == [1, 3]
    assert [reject.row for reject in table.rejects] == [2, 4]
    assert not any("outside" in note for note in table.notes)


def test_messages_bracket_trials() -> None:
    table = read(messages={"start": "trial (?P<trial>.)"})
    assert trials(table) == ["A", "A", "B", "B"]


def test_recording_without_time_stamps_is_counted_by_its_rate() -> None:
    beside = files(sidecar={"Columns": ["a", "x_coordinate", "y_coordinate", "pupil_size"], "SamplingFrequency": 500})
    assert read(fixed=ONE, beside=beside).columns["timestamp_ms"].tolist() == [2000, 2002, 2004, 2006]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("said", [True, False])
def test_unit_of_time_stamps_is_said_or_seen_from_the_rate(unit: str, said: bool) -> None:
    per_s = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    rows = "".join(f"{(5 + index * 0.004) * per_s!r}\t1\t2\t3\n" for index in range(3))
    sidecar = {"timestamp": {"Units": unit}} if said else {}
    table = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar))
    np.testing.assert_allclose(table.columns["timestamp_ms"], [2000, 2004, 2008])


def test_clock_that_contradicts_the_sidecar_is_used_and_noted() -> None:
    rows = "".join(f"{index * 5}\t1\t2\t3\n" for index in range(20))
    table = read(
        fixed=ONE, beside=files(samples=rows, sidecar={"SamplingFrequency": 500, "timestamp": {"Units": "ms"}})
    )
    assert table.columns["timestamp_ms"][1] == 2005
    assert "the header says 500 Hz, the clock says 200 Hz; the clock is used" in table.notes


def test_lengths_become_px_with_the_geometry_of_the_run() -> None:
    sidecar = {"x_coordinate": {"Units": "mm"}, "y_coordinate": {"Units": "mm"}}
    table = read(fixed=ONE, beside=files(sidecar=sidecar, screen=SCREEN))
    np.testing.assert_allclose(table.columns["x_px"][0], 100 * 1000 / 400)
    np.testing.assert_allclose(table.columns["y_px"][0], 50 * 600 / 300)
    assert table.header["distance_mm"] == 600


def test_degrees_count_from_the_centre_of_the_screen() -> None:
    sidecar = {"x_coordinate": {"Units": "deg"}, "y_coordinate": {"Units": "deg"}}
    rows = "1000\t5\t-3\t1\n1004\t0\t0\t1\n"
    table = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar, screen=SCREEN))
    assert table.origin == "screen_centre"
    assert table.columns["x_px"][0] == pytest.approx(600 * math.tan(math.radians(5)) * 1000 / 400)
    assert table.columns["y_px"][0] == pytest.approx(-600 * math.tan(math.radians(3)) * 600 / 300)
    assert (table.columns["x_px"][1], table.columns["y_px"][1]) == (0, 0)
    assert any(note.startswith("coordinates from the centre: y is taken to count downwards") for note in table.notes)


def test_origin_at_the_bottom_is_turned_over() -> None:
    screen = {"StimulusPresentation": SCREEN["StimulusPresentation"] | {"ScreenOrigin": ["bottom", "left"]}}
    assert read(fixed=ONE, beside=files(screen=screen)).columns["y_px"][0] == 550


@pytest.mark.parametrize("unit", ["mm", "deg"])
def test_units_that_need_a_screen_are_refused_without_one(unit: str) -> None:
    sidecar = {"x_coordinate": {"Units": unit}, "y_coordinate": {"Units": unit}}
    with pytest.raises(ReadError, match=f"coordinates in {unit} need the geometry of the screen"):
        read(fixed=ONE, beside=files(sidecar=sidecar))


def test_fixations_are_the_mean_gaze_of_the_recording() -> None:
    table = read("fixations")
    assert table.columns["onset_ms"].tolist() == [2000, 2008]
    assert table.columns["duration_ms"].tolist() == [4, 4]
    assert table.columns["x_px"].tolist() == [100, 105]
    assert table.columns["y_px"].tolist() == [50, 55]
    assert trials(table) == ["1", "3"]
    assert table.rows.tolist() == [2, 5]


def test_messages_bracket_the_trials_of_fixations_too() -> None:
    assert trials(read("fixations", messages={"start": "trial (?P<trial>.)"})) == ["A", "B"]


def test_fixations_in_seconds_with_their_own_coordinates_need_no_recording() -> None:
    units = {"x": {"Units": "pixel"}, "y": {"Units": "pixel"}}
    sidecar = {"Columns": ["onset", "duration", "trial_type", "x", "y"], "ForeignIndexColumn": None, **units}
    beside = files(events="2.0\t0.2\tfixation\t10\t20\n2.3\t0.1\tsaccade\t0\t0\n", events_sidecar=sidecar)
    beside = {name: data for name, data in beside.items() if "physio.tsv" not in name}
    table = read("fixations", fixed=ONE, beside=beside)
    assert table.columns["onset_ms"].tolist() == [2000]
    assert table.columns["duration_ms"].tolist() == [200]
    assert (table.columns["x_px"].tolist(), table.columns["y_px"].tolist()) == ([10], [20])


def test_sidecar_without_the_recording_entity_is_inherited() -> None:
    beside = files()
    beside[f"{STEM}_physio.json"] = beside.pop(f"{STEM}_recording-eye1_physio.json")
    assert read(fixed=ONE, beside=beside).n_rows == 4


def test_plain_and_utf_16_and_crlf_tables_read_the_same() -> None:
    for data in (SAMPLES.encode(), SAMPLES.replace("\n", "\r\n").encode(), SAMPLES.encode("utf-16")):
        table = read(fixed=ONE, beside=files() | {PHYSIO: data})
        assert table.columns["timestamp_ms"].tolist() == [2000, 2004, 2008, 2012]


@pytest.mark.parametrize(
    ("changes", "more", "reason"),
    [
        ({"samples": ""}, {}, "empty"),
        ({"sidecar": {"Columns": None}}, {}, "no sidecar"),
        ({"sidecar": {"Columns": ["timestamp", "a", "b", "c"]}}, {}, "no column for x_px"),
        ({"sidecar": {"SampleCoordinateSystem": "eye-in-head"}}, {}, "eye-in-head"),
        ({"sidecar": {"x_coordinate": {"Units": "inch"}, "y_coordinate": {"Units": "inch"}}}, {}, "inch"),
        ({"sidecar": {"SamplingFrequency": None}}, {}, "neither Units of timestamp"),
        ({"run": ""}, {}, "no trials"),
        ({"run": "onset\tduration\n1\t0\n"}, {}, "no trials"),
        ({}, {"eye": "right"}, "no right eye"),
    ],
)
def test_unusable_recording_raises_read_error(changes: dict[str, Any], more: dict[str, Any], reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(beside=files(**changes), **more)


def test_sidecar_that_is_not_json_raises_read_error() -> None:
    with pytest.raises(ReadError, match="is not JSON"):
        read(beside=files() | {f"{STEM}_recording-eye1_physio.json": b"{"})


def test_whole_data_set_finds_the_companions(tmp_path: Path) -> None:
    root = write(tmp_path, {**files(), "trials.csv": "participant,trial,condition\nP1,1,C\nP1,3,P\n"})
    path = "sub-{participant}/beh/sub-{participant}_task-read_recording-eye1_physio.tsv.gz"
    spec = declared(samples={"reader": "bids", "path": path})
    _, found = read_all(root, spec)
    assert [[trial.trial for trial in part.trials] for part in found] == [["1", "3"]]
    assert [reject for part in found for reject in part.rejects] == []


@pytest.mark.parametrize(("unit", "per_ms"), [("ms", 1.0), ("us", 1e3), ("ns", 1e6), ("s", 1e-3)])
@pytest.mark.parametrize("hz", [2000, 300])
def test_unit_of_stamps_fits_the_rate_where_whole_ms_repeat(hz: int, unit: str, per_ms: float) -> None:
    stamps = np.floor(np.arange(500) * 1e3 / hz) * per_ms
    assert vendor_bids.unit_of_stamps(stamps, {"SamplingFrequency": hz}, "timestamp", None, "x.tsv")[0] == unit
