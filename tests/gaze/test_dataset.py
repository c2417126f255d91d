# SPDX-License-Identifier: Apache-2.0
"""Opening a data set: its trials, their geometry and classes, and the files of its recordings."""

from __future__ import annotations

import io
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.gaze.dataset import Recording, open_dataset
from gazeray.gaze.files import ids_in_path
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import (
    DECLARED,
    FILES,
    FIXATIONS,
    GAZE,
    PEOPLE,
    SAMPLES,
    TRIALS,
    declared,
    opened,
    pairs,
    reasons,
    write,
    zipped,
)


def test_trials_have_their_class_and_geometry(tmp_path: Path) -> None:
    data = opened(tmp_path, screen={"width_px": 1000, "height_px": 500, "width_mm": 400})
    assert data.label == "condition"
    assert data.classes == ["control", "pseudoword"]
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]
    assert data.trials["stimulus"].tolist() == ["1", "2", "1", "2"]
    assert data.trials["label"].tolist() == ["control", "pseudoword"] * 2
    assert data.trials["label_index"].tolist() == [0, 1, 0, 1]
    assert data.trials["row"].tolist() == [1, 2, 3, 4]
    first = data.trials.iloc[0]
    assert (first["screen_width_px"], first["screen_height_px"], first["screen_width_mm"]) == (1000, 500, 400)
    assert math.isnan(first["screen_height_mm"])
    assert math.isnan(first["distance_mm"])
    window = [first[f"window_{side}_px"] for side in ("left", "top", "width", "height")]
    assert window == [100, 50, 800, 400]
    assert data.rejects == []


def test_recordings_hold_the_files_of_one_participant_and_travel_as_rows(tmp_path: Path) -> None:
    data = opened(tmp_path)
    assert [recording.key for recording in data.recordings] == ["P1", "P2"]
    one = data.recordings[0]
    assert (one.participants, one.samples, one.fixations, one.refused) == (["P1"], ["gaze/P1.csv"], [], [])
    assert one.size == len(GAZE)
    assert one.mtime_ns == (tmp_path / "gaze/P1.csv").stat().st_mtime_ns
    rows = pa.Table.from_pylist([asdict(recording) for recording in data.recordings]).to_pylist()
    assert [Recording(**row) for row in rows] == data.recordings


def test_geometry_comes_from_columns_of_either_table(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h,mm\nP1,1200,600,300\nP2,800,500,\n")
    data = opened(
        tmp_path,
        table="participant,trial,condition,left\nP1,1,C,10\nP1,2,P,-20\nP2,1,C,30\nP2,2,P,40\n",
        participants=PEOPLE,
        screen={"width_mm": "mm"},
        stimulus={"width_px": 500, "height_px": "h", "left_px": "left", "top_px": 0},
    )
    assert data.trials["screen_width_px"].tolist() == [1200, 1200, 800, 800]
    assert data.trials["screen_width_mm"].tolist()[:2] == [300, 300]
    assert data.trials["screen_width_mm"].isna().tolist() == [False, False, True, True]
    assert data.trials["window_left_px"].tolist() == [10, -20, 30, 40]
    assert data.trials["window_height_px"].tolist() == [600, 600, 500, 500]


def test_stimulus_is_the_whole_screen_by_default(tmp_path: Path) -> None:
    first = opened(tmp_path, stimulus=None).trials.iloc[0]
    assert [first[f"window_{side}_px"] for side in ("left", "top", "width", "height")] == [0, 0, 1000, 500]


@pytest.mark.parametrize("written", ["0", "0.0", " 0", "00", "0e0", "-0"])
@pytest.mark.parametrize("raw", [0, 0.0, "0", "0.0"])
def test_numeric_labels_match_however_they_are_written(tmp_path: Path, written: str, raw: str | float) -> None:
    trials = TRIALS.replace(",C", f",{written}").replace(",P\n", ",1.0\n")
    data = opened(tmp_path, trials, labels={"condition": {raw: "no", 1: "yes"}})
    assert data.trials["label"].tolist() == ["no", "yes", "no", "yes"]


def test_classes_keep_the_declared_order_and_may_join_values(tmp_path: Path) -> None:
    trials = "participant,trial,condition\nP1,1,C\nP1,2,P\nP2,1,F\nP2,2,P\n"
    data = opened(tmp_path, trials, labels={"condition": {"P": "odd", "C": "even", "F": "even"}})
    assert data.classes == ["odd", "even"]
    assert data.trials["label_index"].tolist() == [1, 0, 1, 0]


def test_label_may_stand_in_the_participants_table(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h,group\nP1,1000,500,a\nP2,1000,500,b\n")
    data = opened(tmp_path, participants=PEOPLE, labels={"group": {"a": "typical", "b": "dyslexic"}}, screen={})
    assert data.trials["label_index"].tolist() == [0, 0, 1, 1]


def as_parquet(text: str) -> bytes:
    frame, buffer = pd.read_csv(io.StringIO(text)), io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("trials.csv.gz", zipped(TRIALS), id="gzip"),
        pytest.param("trials.csv", zipped(TRIALS), id="gzip_without_its_suffix"),
        pytest.param("trials.tsv", TRIALS.replace(",", "\t"), id="tsv"),
        pytest.param("trials.csv", "\ufeff" + TRIALS.replace("\n", "\r\n"), id="byte_order_mark_and_crlf"),
        pytest.param("trials.csv", TRIALS.replace("\n", "\n\n"), id="blank_lines"),
        pytest.param("trials.parquet", as_parquet(TRIALS), id="parquet"),
    ],
)
def test_trials_table_reads_the_same_in_every_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    write(tmp_path, {**{path: data for path, data in FILES.items() if path != "trials.csv"}, name: content})
    trials = {**DECLARED["trials"], "path": name.removesuffix(".gz")}
    data = open_dataset(declared(trials=trials), Folder(tmp_path))
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]
    assert data.trials["row"].tolist() == [1, 2, 3, 4]
    assert data.rejects == []


def test_quoted_cells_of_the_trials_table_may_span_lines(tmp_path: Path) -> None:
    trials = 'participant,trial,condition,answer\nP1,1,C,"one\ntwo"\nP1,2,P,"a, b"\nP2,1,C,\nP2,2,P,x\n'
    assert opened(tmp_path, trials).trials["row"].tolist() == [1, 2, 3, 4]


# -- files


def test_dot_files_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "gaze/._P1.csv": b"\x00\x05\x16\x07", "gaze/.P3.csv": GAZE, ".git/gaze/P1.csv": GAZE})
    data = opened(tmp_path)
    assert [recording.samples for recording in data.recordings] == [["gaze/P1.csv"], ["gaze/P2.csv"]]
    assert data.rejects == []


@pytest.mark.parametrize("declared_suffix", ["", ".gz"])
def test_gaze_files_are_found_with_and_without_gz(tmp_path: Path, declared_suffix: str) -> None:
    write(tmp_path, {"trials.csv": TRIALS, "gaze/P1.csv": GAZE, "gaze/P2.csv.gz": zipped(GAZE)})
    data = opened(tmp_path, samples={**SAMPLES, "path": "gaze/{participant}.csv" + declared_suffix})
    assert [recording.samples for recording in data.recordings] == [["gaze/P1.csv"], ["gaze/P2.csv.gz"]]


def test_second_copy_of_a_file_is_rejected_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "gaze/P1.csv.gz": zipped(GAZE)})
    data = opened(tmp_path)
    assert data.recordings[0].samples == ["gaze/P1.csv"]
    assert reasons(data.rejects) == [("gaze/P1.csv.gz", -1, "a second copy: gaze/P1.csv is read instead")]


def test_files_per_trial_go_to_the_recording_of_their_participant(tmp_path: Path) -> None:
    part = "t,x,y\n0,200,100\n"
    write(tmp_path, {"trials.csv": TRIALS} | {f"g/P{p}/P{p}_{t}.csv": part for p in (1, 2) for t in (1, 2)})
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    samples = {**SAMPLES, "path": "g/{participant}/{participant}_{trial}.csv", "columns": columns}
    data = opened(tmp_path, samples=samples)
    assert [recording.samples for recording in data.recordings] == [
        ["g/P1/P1_1.csv", "g/P1/P1_2.csv"],
        ["g/P2/P2_1.csv", "g/P2/P2_2.csv"],
    ]


def test_underscores_in_ids_are_resolved_by_the_trials_table(tmp_path: Path) -> None:
    trials = "participant,trial,condition\na_b,1,C\na_b,2_x,P\n"
    part = "t,x,y\n0,200,100\n"
    write(tmp_path, {"trials.csv": trials, "a_b_1.csv": part, "a_b_2_x.csv": part, "c_d_9.csv": part})
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    data = opened(tmp_path, samples={**SAMPLES, "path": "{participant}_{trial}.csv", "columns": columns})
    assert data.recordings[0].samples == ["a_b_1.csv", "a_b_2_x.csv"]
    assert [(reject.source, reject.stage) for reject in data.rejects] == [("c_d_9.csv", "read")]


def test_file_name_that_fits_two_trials_is_rejected(tmp_path: Path) -> None:
    trials = "participant,trial,condition\na_b,1,C\na,b_1,P\na,2,C\na,3,P\n"
    write(tmp_path, {"trials.csv": trials} | dict.fromkeys(["a_b_1.csv", "a_2.csv", "a_3.csv"], "t,x,y\n0,200,100\n"))
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    data = opened(tmp_path, samples={**SAMPLES, "path": "{participant}_{trial}.csv", "columns": columns})
    assert pairs(data) == [("a", "2"), ("a", "3")]
    assert data.rejects[0].source == "a_b_1.csv"
    assert "fits more than one" in data.rejects[0].reason


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("g/{participant}.csv", "g/P1.csv", [("P1", None)]),
        ("g/{participant}.csv.gz", "g/P1.csv", [("P1", None)]),
        ("g/{participant}.csv", "g/P1.csv.gz", [("P1", None)]),
        ("g/{participant}.csv", "g/a/P1.csv", []),
        ("g/{participant}.csv", "g/.csv", []),
        ("g/{participant}.csv", "g/P1xcsv", []),
        ("{participant}/{participant}_{trial}.csv", "P1/P1_7.csv", [("P1", "7")]),
        ("{participant}/{participant}_{trial}.csv", "P1/P2_7.csv", []),
        ("{participant}_{trial}.csv", "a_b_1.csv", [("a", "b_1"), ("a_b", "1")]),
        ("{participant}{trial}.csv", "P12.csv", [("P", "12"), ("P1", "2")]),
        ("all.csv", "all.csv.gz", [(None, None)]),
        ("g/{participant}.csv", "g/Zoe\u0308.csv", [("Zo\u00eb", None)]),
    ],
)
def test_ids_in_a_path_are_every_way_to_read_it(template: str, path: str, expected: list[tuple[Any, Any]]) -> None:
    assert [(ids.get("participant"), ids.get("trial")) for ids in ids_in_path(template, path)] == expected


def test_one_file_for_all_is_one_recording(tmp_path: Path) -> None:
    lines = [f"P{p},{t},0,200,100" for p in (1, 2) for t in (1, 2)]
    write(tmp_path, {"trials.csv": TRIALS, "all.csv": "\n".join(["who,trial,t,x,y", *lines])})
    columns = {**SAMPLES["columns"], "participant": "who"}
    data = opened(tmp_path, samples={**SAMPLES, "path": "all.csv", "columns": columns})
    assert [(recording.key, recording.participants) for recording in data.recordings] == [("all", ["P1", "P2"])]


def test_keys_are_unique_and_safe_as_file_names(tmp_path: Path) -> None:
    names = ["P1", "p1", "Zoë", "a b", ".hidden", "x-0123abcd", "plain", "x" * 150]
    trials = "participant,trial,condition\n" + "".join(f"{name},1,C\n{name},2,P\n" for name in names)
    write(tmp_path, {"trials.csv": trials} | {f"gaze/{name}_.csv": GAZE for name in names})
    data = opened(tmp_path, samples={**SAMPLES, "path": "gaze/{participant}_.csv"})
    keys = {recording.participants[0]: recording.key for recording in data.recordings}
    assert set(keys) == set(names) - {".hidden"}, "a file that begins with a dot is not seen"
    assert len({key.lower() for key in keys.values()}) == len(keys)
    assert all(key.replace("-", "").replace("_", "").isalnum() and key.isascii() for key in keys.values())
    assert keys["plain"] == "plain"
    assert max(map(len, keys.values())) <= 80


def test_two_files_of_the_same_participant_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "gaze/P1 .csv": GAZE})
    data = opened(tmp_path)
    assert data.recordings[0].samples == ["gaze/P1 .csv"]
    assert reasons(data.rejects) == [("gaze/P1.csv", -1, "gaze/P1 .csv is read for the same participant")]


def test_gaze_file_of_nobody_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "gaze/P9.csv": GAZE})
    assert reasons(opened(tmp_path).rejects) == [("gaze/P9.csv", -1, "participant 'P9' is not in the trials table")]


def test_trials_without_a_gaze_file_are_rejected(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "gaze/P2.csv").unlink()
    data = opened(tmp_path)
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    assert [(reject.source, reject.row, reject.stage, reject.participant) for reject in data.rejects] == [
        ("trials.csv", 3, "gaze", "P2"),
        ("trials.csv", 4, "gaze", "P2"),
    ]
    assert all(reject.reason.startswith("trial without gaze") for reject in data.rejects)


def test_missing_fixations_file_is_no_fault_where_samples_decide(tmp_path: Path) -> None:
    write(tmp_path, {**FILES, "fixations/P1.csv": "trial,t,d,x,y\n1,0,100,1,1\n"})
    data = opened(tmp_path, fixations=FIXATIONS)
    assert [recording.fixations for recording in data.recordings] == [["fixations/P1.csv"], []]
    assert len(data.trials) == 4
    assert data.rejects == []
