# SPDX-License-Identifier: Apache-2.0
"""The BIDS reader on layouts of whole data sets: trials, two eyes, runs, drafts of the extension, other writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers import GazeTable, ReadError
from gazeray.gaze.recording import RecordingGaze
from tests.gaze.readers.test_bids import EVENTS, ONE, PHYSIO, SAMPLES, SIDECAR, STEM, files, read, trials
from tests.gaze.tiny_dataset import declared, read_all, write, zipped

SHOWN_TWICE = "onset\tduration\tname\n2.0\t0.004\tone\n2.004\t0.004\ttwo\n2.008\t0.1\tone\n"


def test_trial_shown_twice_is_two_presentations() -> None:
    table = read(columns={"trial": "name"}, beside=files(run=SHOWN_TWICE))
    assert table.ids == [("P1", "one"), ("P1", "two"), ("P1", "one")]
    assert table.codes.tolist() == [0, 1, 2, 2]
    assert table.windows is not None
    assert table.windows.tolist() == [[2000, 2004], [2004, 2008], [2008, 2108]]


@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_trials_may_be_named_by_the_type_of_the_events_of_the_run(kind: str) -> None:
    run = "onset\tduration\ttrial_type\n2.0\t0.008\tface\n2.008\t1\thouse\n"
    assert read(kind, columns={"trial": "trial_type"}, beside=files(run=run)).ids == [("P1", "face"), ("P1", "house")]


def test_a_sample_out_of_order_makes_no_second_presentation() -> None:
    rows = SAMPLES.replace("1004", "1011", 1)
    table = read(
        columns={"trial": "name"}, beside=files(samples=rows, run="onset\tduration\tname\n2\t.01\ta\n2.01\t1\tb\n")
    )
    assert (table.ids, table.codes.tolist()) == ([("P1", "a"), ("P1", "b")], [0, 1, 0, 1])


def test_fixation_over_the_edge_of_a_trial_has_a_row_in_each() -> None:
    table = read("fixations", beside=files(run="onset\tduration\n2.0\t0.002\n2.002\t0.1\n"))
    assert (table.rows.tolist(), table.codes.tolist()) == ([2, 2, 5], [0, 1, 1])
    assert table.windows is not None
    assert table.windows == pytest.approx(np.array([[2000, 2002], [2002, 2102]]))


def test_messages_cut_the_window_of_a_trial_that_the_path_names() -> None:
    messages = {"start": "trial A", "end": "trial B"}
    table = read(fixed={"participant": "P1", "trial": "nine"}, messages=messages)
    assert (table.ids, table.rows.tolist()) == ([("P1", "nine")], [1, 2])
    assert read("fixations", fixed={"participant": "P1", "trial": "nine"}, messages=messages).rows.tolist() == [2]


def test_trials_are_named_by_several_columns_and_not_where_one_is_empty() -> None:
    run = "onset\tduration\trun\ttrial\n2\t.004\t1\t07\n2.004\t.004\t1\tn/a\n2.008\t1\t2\t07\n"
    assert trials(read(columns={"trial": ["run", "trial"]}, beside=files(run=run))) == ["1/7", "2/7", "2/7"]
    assert trials(read(columns={"trial": ["Run", "Trial"]}, beside=files(run=run))) == ["1/7", "2/7", "2/7"]


def test_trials_may_be_named_by_columns_of_the_table_itself() -> None:
    names = ["timestamp", "x_coordinate", "y_coordinate", "block", "number"]
    rows = "0\t1\t1\t1\t1\n4\t1\t1\t1\t2\n8\t1\t1\t2\t1\n"
    beside = files(samples=rows, sidecar={"Columns": names})
    assert trials(read(columns={"trial": ["block", "number"]}, beside=beside)) == ["1/1", "1/2", "2/1"]
    assert trials(read(columns={"trial": "number"}, beside=beside)) == ["1", "2", "1"]


def test_rows_of_events_that_overlap_are_refused_and_rounding_is_not() -> None:
    with pytest.raises(ReadError, match=r"rows 1 and 2 of .*_events.tsv overlap: which are trials\? \(name them by"):
        read(beside=files(run="onset\tduration\n2.0\t60\n2.004\t0.004\n"))
    named = files(run="onset\tduration\tname\n2.0\t60\tn/a\n2.004\t0.004\ta\n")
    assert trials(read(columns={"trial": "name"}, beside=named)) == ["a"]
    table = read(beside=files(run="onset\tduration\n2.0\t0.009\n2.008\t0.1\n"))
    assert table.windows is not None
    assert table.windows.tolist() == [[2000, 2008], [2008, 2108]]


def test_a_bad_row_of_events_costs_a_row() -> None:
    table = read(beside=files(run="onset\tduration\nsoon\t1\n2.0\t0.1\n3\t4\t5\t6\n"))
    assert trials(table) == ["2"] * 4
    assert [(reject.source, reject.row) for reject in table.rejects] == [
        (f"{STEM}_events.tsv", 3),
        (f"{STEM}_events.tsv", 1),
    ]


def test_units_of_events_are_converted_or_refused() -> None:
    run = "onset\tduration\n2000\t8\n"
    units = {"onset": {"Units": "ms"}, "duration": {"Units": "milliseconds"}}
    assert read(beside=files(run=run, screen=units)).rows.tolist() == [1, 2]
    with pytest.raises(ReadError, match="onset is in 'frames'"):
        read(beside=files(run=run, screen={"onset": {"Units": "frames"}}))


def test_gaze_that_lies_in_no_trial_at_all_is_refused() -> None:
    with pytest.raises(
        ReadError, match=r"outside every trial: the samples from 2 to 2.012 s, the trials .* from 7 to 8 s"
    ):
        read(beside=files(run="onset\tduration\n7\t1\n"))


def test_pupils_and_other_numbers_are_channels() -> None:
    names = ["timestamp", "x_coordinate", "y_coordinate", "pupil_size", "distance", "Quality", "state", "empty"]
    rows = "0\t1\t1\t3.5\t600\t1\topen\tn/a\n4\t1\t1\t0\tn/a\t1\tshut\tn/a\n8\t1\t1\tlow\t601\t1\topen\tn/a\n"
    sidecar = {"Columns": names, "pupil_size": {"Units": "mm"}, "distance": {"Units": "mm"}}
    table = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar))
    assert set(table.columns) == {"timestamp_ms", "x_px", "y_px", "distance", "quality"}
    rows = rows.replace("low", "3.4")
    table = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar))
    np.testing.assert_array_equal(table.columns["pupil_left"], [3.5, np.nan, 3.4])
    np.testing.assert_array_equal(table.columns["distance"], [600, np.nan, 601])
    assert (table.units["pupil_left"], table.units["distance"], table.units["quality"]) == ("mm", "mm", "")
    cyclopean = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar | {"RecordedEye": "cyclopean"}))
    assert "pupil" in cyclopean.columns
    channels = {"state": {"column": "distance", "unit": "cm", "missing": [600]}}
    table = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar), channels=channels)
    np.testing.assert_array_equal(table.columns["state"], [np.nan, np.nan, 601])


def test_calibration_is_the_accuracy_of_every_presentation() -> None:
    sidecar = {"AverageCalibrationError": 0.3, "MaximalCalibrationError": "0.65"}
    expected = {"validation_left_deg": 0.3, "validation_left_max_deg": 0.65}
    assert read(beside=files(sidecar=sidecar)).accuracy == [expected] * 2
    assert read("fixations", beside=files(sidecar=sidecar)).accuracy == [expected] * 2
    assert read(beside=files(sidecar=sidecar | {"RecordedEye": "cyclopean"})).accuracy == []
    assert read(beside=files(sidecar={"AverageCalibrationError": "n/a"})).accuracy == []


@pytest.mark.parametrize("named", [True, False])
def test_header_in_the_table_itself_is_no_row(named: bool) -> None:
    header = "timestamp\tx_coordinate\ty_coordinate\tpupil_size\n"
    beside = files(samples=header + SAMPLES, sidecar={} if named else {"Columns": None})
    table = read(fixed=ONE, beside=beside)
    assert (table.n_rows, table.rows.tolist()) == (4, [1, 2, 3, 4])
    other = header.replace("pupil_size", "diameter")
    table = read(fixed=ONE, beside=files(samples=other + SAMPLES))
    assert "diameter" in table.columns
    assert "the table has a header, which is not Columns of its sidecar: the header is used" in table.notes


def test_table_that_no_sidecar_fits_is_refused() -> None:
    with pytest.raises(ReadError, match=r"no row fits the columns timestamp, .*: 5 fields instead of 4"):
        read(fixed=ONE, beside=files(samples=SAMPLES.replace("\t90", "\t1\t90")))


def test_a_first_message_that_looks_like_a_name_is_no_header() -> None:
    table = read("fixations", fixed=ONE, beside=files(events="1000\t4\tfixation\tonset\n1008\t4\tfixation\tn/a\n"))
    assert table.rows.tolist() == [1, 2]


def test_onsets_that_are_row_numbers() -> None:
    changes = {"Columns": ["foreign_index", "duration", "trial_type"], "ForeignIndexColumn": None}
    events = files(events="0\t0.2\tfixation\n2\t0.3\tfixation\n-1\t0.2\tsaccade\n", events_sidecar=changes)
    table = read("fixations", fixed=ONE, beside=events)
    assert table.columns["onset_ms"].tolist() == [2000, 2008]
    assert table.columns["duration_ms"].tolist() == [200, 300]


def test_onsets_refer_to_the_column_that_the_sidecar_names() -> None:
    changes = {
        "Columns": ["pupil_size", "duration", "trial_type"],
        "ForeignIndexColumn": None,
        "OnsetSource": "pupil_size",
    }
    rows = SAMPLES.replace("\t901\n", "\t910\n").replace("\t902\n", "\t920\n").replace("n/a\t900", "n/a\t905")
    beside = files(samples=rows, events="910\t100\tfixation\n915\t100\tfixation\n", events_sidecar=changes)
    assert read("fixations", fixed=ONE, beside=beside).columns["onset_ms"].tolist() == [2008, 2010]


@pytest.mark.parametrize(
    ("source", "without", "reason"),
    [("sample", "", "no column for OnsetSource of the events: 'sample'"), ("timestamp", "_physio.tsv.gz", "beside it")],
)
def test_onsets_that_refer_to_nothing_are_refused(source: str, without: str, reason: str) -> None:
    beside = files(events_sidecar={"ForeignIndexColumn": source})
    beside = {name: data for name, data in beside.items() if not without or not name.endswith(without)}
    with pytest.raises(ReadError, match=reason):
        read("fixations", fixed=ONE, beside=beside)


def test_coordinates_without_units_are_refused_unless_declared() -> None:
    sidecar = {"x_coordinate": {}, "y_coordinate": {}}
    with pytest.raises(ReadError, match="no Units for x_coordinate"):
        read(fixed=ONE, beside=files(sidecar=sidecar))
    table = read(fixed=ONE, beside=files(sidecar=sidecar), units={"x_px": "px", "y_px": "px"})
    assert table.columns["x_px"][0] == 100
    fixations = read("fixations", fixed=ONE, beside=files(sidecar=sidecar), units={"x_px": "px", "y_px": "px"})
    assert fixations.columns["x_px"].tolist() == [100, 105]


@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_normalised_coordinates_stay_so(kind: str) -> None:
    sidecar = {name: {"Units": "normalized"} for name in ("x_coordinate", "y_coordinate")}
    table = read(kind, fixed=ONE, beside=files(sidecar=sidecar))
    assert (table.units["x_px"], table.units["y_px"]) == ("normalised", "normalised")


@pytest.mark.parametrize(
    ("declaration", "origin", "y"),
    [
        ({}, ["center", "center"], 350),
        ({"y_axis": "up"}, ["center", "center"], 150),
        ({"origin": "screen_centre"}, ["top", "left"], 350),
        ({}, ["bottom", "left"], 400),
        ({"y_axis": "up"}, ["bottom", "left"], 400),
    ],
)
def test_origins_end_at_the_top_left_of_the_screen(
    tmp_path: Path, declaration: dict[str, str], origin: list[str], y: float
) -> None:
    screen = {"ScreenOrigin": origin, "ScreenResolution": [1000, 500]}
    (tmp_path / "events.json").write_text(json.dumps({"StimulusPresentation": screen}))
    samples = read_eyes(tmp_path, **declaration).trials[0].samples
    assert samples is not None
    assert samples["y_px"][1] == y


@pytest.mark.parametrize("system", ["gaze-in-world", "eye-in-head", "custom"])
@pytest.mark.parametrize("kind", ["samples", "fixations"])
def test_other_coordinate_systems_are_refused(kind: str, system: str) -> None:
    with pytest.raises(ReadError, match=f"SampleCoordinateSystem is '{system}'"):
        read(kind, fixed=ONE, beside=files(sidecar={"SampleCoordinateSystem": system}))


def test_both_eyes_in_one_table_as_mne_bids_names_them() -> None:
    names = ["time", "xpos_left", "ypos_left", "pupil_left", "xpos_right", "ypos_right", "pupil_right"]
    units = {name: {"Units": "pixel"} for name in names if "pos" in name}
    sidecar = {"Columns": names, "RecordedEye": "cyclopean", "time": {"Units": "s"}, **units}
    rows = "0\t1\t2\t9\t3\t4\t8\n0.004\tn/a\tn/a\t9\t3\t4\t8\n"
    best = read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar))
    assert (best.columns["x_px"].tolist(), best.columns["pupil_right"].tolist()) == ([3, 3], [8, 8])
    assert best.columns["pupil_left"].tolist() == [9, 9]
    assert read(fixed=ONE, beside=files(samples=rows, sidecar=sidecar), eye="mean").columns["x_px"].tolist() == [2, 3]


def eyetrack(**changes: Any) -> dict[str, str]:
    """A data set of the first drafts of BEP020: *_eyetrack.tsv with a header."""
    said = {"SampleCoordinateUnits": "pixel", "SampleCoordinateSystem": "gaze-on-screen", "SamplingFrequency": 250}
    return {
        "sub-P1/beh/sub-P1_eyetrack.tsv": "eye_timestamp\teye1_x_coordinate\teye1_y_coordinate\teye1_pupil_size\n"
        + SAMPLES,
        "eyetrack.json": json.dumps(said | changes),
        "sub-P1/beh/sub-P1_events.tsv": "onset\tduration\n0\t1\n",
        "trials.csv": "participant,trial,condition\nP1,1,C\nP1,2,P\n",
    }


def test_table_of_the_first_drafts(tmp_path: Path) -> None:
    spec = declared(samples={"reader": "bids", "path": "sub-{participant}/beh/sub-{participant}_eyetrack.tsv"})
    _, found = read_all(write(tmp_path, eyetrack(EnvironmentCoordinates="top-left", RecordedEye="Right")), spec)
    samples = found[0].trials[0].samples
    assert samples is not None
    np.testing.assert_array_equal(samples["x_px"], [100, np.nan, 104, 106])
    assert samples["pupil_right"].tolist() == [900, 900, 901, 902]


def test_two_eyes_in_a_draft_are_not_told_apart() -> None:
    names = ["eye_timestamp", "eye1_x_coordinate", "eye1_y_coordinate", "eye2_x_coordinate", "eye2_y_coordinate"]
    sidecar = {"Columns": names, "SampleCoordinateUnits": "pixel", "RecordedEye": "both"}
    beside = files(samples="0\t1\t2\t3\t4\n4\t1\t2\tn/a\tn/a\n", sidecar=sidecar)
    assert read(fixed=ONE, beside=beside).columns["x_px"].tolist() == [1, 1]
    with pytest.raises(ReadError, match="which of eye1, eye2 is the left eye"):
        read(fixed=ONE, beside=beside, eye="left")


def binocular(runs: int = 1) -> dict[str, str | bytes]:
    """A person, two eyes in a file each, sidecars at the root; the right eye has a lost sample, run 2 is 100 px on."""
    common = {name: value for name, value in SIDECAR.items() if name not in ("RecordedEye", "StartTime")}
    found: dict[str, str | bytes] = {
        "task-read_physio.json": json.dumps(common),
        "task-read_physioevents.json": json.dumps(
            {"Columns": ["onset", "duration", "trial_type"], "OnsetSource": "timestamp"}
        ),
        "participants.tsv": "participant_id\tage\nsub-P1\t30\n",
        "trials.csv": "participant,run,trial,condition\n"
        + "".join(f"P1,{run},{t},{'_CP'[t]}\n" for run in (1, 2) for t in (1, 2)),
    }
    for run in range(1, runs + 1):
        base = f"sub-P1/beh/sub-P1_task-read_run-0{run}"
        found[f"{base}_events.tsv"] = "onset\tduration\n0\t0.04\n0.04\t0.04\n"
        for eye, side, x in (("eye1", "left", 100), ("eye2", "right", 110)):
            rows = "".join(f"{5000 + 4 * at}\t{x + 100 * run}\t100\t900\n" for at in range(20))
            rows = rows.replace(f"5000\t{x + 100 * run}", "5000\tn/a") if side == "right" else rows
            error = {"RecordedEye": side, "StartTime": 0, "AverageCalibrationError": 0.3}
            found[f"{base}_recording-{eye}_physio.json"] = json.dumps(error)
            found[f"{base}_recording-{eye}_physio.tsv.gz"] = zipped(rows)
            found[f"{base}_recording-{eye}_physioevents.tsv.gz"] = zipped("5000\t40\tfixation\n5040\t36\tfixation\n")
    return found


def read_eyes(folder: Path, kind: str = "samples", runs: int = 1, **more: Any) -> RecordingGaze:
    suffix = "physio" if kind == "samples" else "physioevents"
    run = "{run}" if runs > 1 else "01"
    path = f"sub-{{participant}}/beh/sub-{{participant}}_task-read_run-{run}_recording-{{eye}}_{suffix}.tsv.gz"
    table = {"participant": "participant", "trial": ["run", "trial"] if runs > 1 else "trial"}
    root = write(folder, binocular(runs))
    if runs == 1:
        (folder / "trials.csv").write_text("participant,trial,condition\nP1,1,C\nP1,2,P\n")
    sections = {"samples": None, kind: {"reader": "bids", "path": path, **more}}
    people = {"path": "participants.tsv", "columns": {"participant": "participant_id"}}
    spec = declared(trials={"path": "trials.csv", "columns": table}, participants=people, **sections)
    _, found = read_all(root, spec)
    assert [reject for part in found for reject in part.rejects] == []
    return found[0]


@pytest.mark.parametrize(("eye", "x"), [("best", 200), ("left", 200), ("right", np.nan), ("mean", 200)])
def test_two_eyes_in_a_file_each_and_the_prefix_of_participants(tmp_path: Path, eye: str, x: float) -> None:
    found = read_eyes(tmp_path, eye=eye)
    assert [trial.trial for trial in found.trials] == ["1", "2"]
    samples = found.trials[0].samples
    assert samples is not None
    np.testing.assert_array_equal(samples["x_px"][:2], [x, {"right": 210, "mean": 205}.get(eye, 200)])
    assert {"pupil_left", "pupil_right"} & set(samples) == {
        "mean": {"pupil_left", "pupil_right"},
        "right": {"pupil_right"},
    }.get(eye, {"pupil_left"})


@pytest.mark.parametrize(("eye", "x"), [("best", 200), ("left", 200), ("right", 210)])
def test_fixations_of_two_eyes_in_a_file_each(tmp_path: Path, eye: str, x: float) -> None:
    found = read_eyes(tmp_path, "fixations", eye=eye)
    gaze = [trial.fixations for trial in found.trials]
    assert [one["x_px"].tolist() for one in gaze if one is not None] == [[x], [x]]
    assert [one["duration_ms"].tolist() for one in gaze if one is not None] == [[40], [36]]
    assert found.trials[0].accuracy == {f"validation_{'right' if eye == 'right' else 'left'}_deg": 0.3}


def test_rows_of_events_may_be_the_trials_table(tmp_path: Path) -> None:
    base = "sub-{participant}/beh/sub-{participant}_task-read_run-{run}"
    rows = "onset\tduration\tn\tcondition\n0\t0.04\t1\tC\n0.04\t0.04\t2\tP\n"
    here = {name: rows if name.endswith("events.tsv") else data for name, data in binocular(2).items()}
    spec = declared(
        trials={"path": f"{base}_events.tsv", "columns": {"trial": ["run", "n"]}},
        samples={"reader": "bids", "path": f"{base}_recording-eye1_physio.tsv.gz", "columns": {"trial": "n"}},
    )
    _, found = read_all(write(tmp_path, here), spec)
    assert [trial.trial for trial in found[0].trials] == ["1/1", "1/2", "2/1", "2/2"]


def test_trial_numbers_that_start_again_in_every_run(tmp_path: Path) -> None:
    found = read_eyes(tmp_path, runs=2)
    shown = {trial.trial: trial.samples for trial in found.trials}
    assert list(shown) == ["1/1", "1/2", "2/1", "2/2"]
    assert [one["x_px"][1] for one in shown.values() if one is not None] == [200, 200, 300, 300]


def test_sidecars_of_a_packed_and_a_plain_table_are_the_same() -> None:
    plain = {name.removesuffix(".gz"): data for name, data in files().items()}
    plain[PHYSIO.removesuffix(".gz")], plain[EVENTS.removesuffix(".gz")] = SAMPLES.encode(), b"1000\t4\tfixation\tn/a\n"
    table: GazeTable = read("fixations", fixed=ONE, beside={**plain, EVENTS: plain[EVENTS.removesuffix(".gz")]})
    assert table.columns["x_px"].tolist() == [100]
