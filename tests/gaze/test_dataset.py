# SPDX-License-Identifier: Apache-2.0
"""The declaration of a data set, its trials table and its recordings: right input and every kind of wrong one."""

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

from gazeray.config import ConfigError, validate
from gazeray.gaze.dataset import DataError, Dataset, Recording, load_dataset, open_dataset
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import ids_in_path
from gazeray.storage import Folder
from tests.gaze.tiny_dataset import DECLARED, FILES, FIXATIONS, GAZE, SAMPLES, TRIALS, declared, reasons, write, zipped

PEOPLE = {"path": "people.csv", "columns": {"participant": "who", "screen_width_px": "w", "screen_height_px": "h"}}


def opened(folder: Path, table: str | None = None, **changes: Any) -> Dataset:
    """Open the data set in a folder: what is there already, else FILES; `table` is what trials.csv is to hold."""
    write(folder, {"trials.csv": table} if (folder / "gaze").exists() and table else {})
    if not (folder / "trials.csv").exists():
        write(folder, {**FILES, "trials.csv": table or TRIALS})
    return open_dataset(declared(**changes), Folder(folder))


def pairs(data: Dataset) -> list[tuple[str, str]]:
    return list(zip(data.trials["participant"], data.trials["trial"], strict=True))


# -- the declaration


def test_declaration_is_read_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "name: tiny\nlabels: {answer: {0: wrong, 1: right}}\nscreen: {width_px: 100, height_px: 50}\n"
        "trials: {path: t.csv, columns: {participant: p, trial: n}}\n"
        "samples: {reader: delimited, path: 'g/{participant}.csv', units: {x_px: normalised}, missing: [-1],\n"
        "  columns: {trial: n, timestamp_ms: t, x_px: x, y_px: y}}\n"
    )
    spec = load_dataset(tmp_path / "d.yaml")
    assert spec.labels == {"answer": {"0": "wrong", "1": "right"}}
    assert spec.samples is not None
    assert spec.samples.missing == [-1.0]
    assert spec.fixations is None
    assert DatasetSpec.model_validate(spec.model_dump()) == spec


def test_every_mistake_in_a_declaration_is_reported_after_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "name: tiny\ncolour: blue\nscreen: {width_px: -3}\nlabels: {answer: {0: wrong, '0.0': right}}\n"
        "trials: {path: ../t.csv, columns: {participant: p}}\n"
        "samples: {reader: telepathy, path: 'g/{who}.csv', columns: {timestamp_ms: t},\n"
        "  units: {x_px: cm}, origin: moon}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_dataset(tmp_path / "d.yaml")
    for place, words in {
        "colour": "unknown key",
        "screen.width_px": "greater than 0",
        "labels.answer": "twice",
        "trials.path": "leaves its folder",
        "trials.columns": "trial",
        "samples.reader": "known: delimited, parquet",
        "samples.path": "{participant} and {trial}",
        "samples.columns": "x_px",
        "samples.units": "normalised",
        "samples.origin": "screen",
    }.items():
        assert any(
            line.startswith(f"{tmp_path / 'd.yaml'}: {place}: ") and words in line for line in caught.value.errors
        )


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        pytest.param("samples", None, "declare samples, fixations or both", id="no_gaze"),
        pytest.param(
            "samples", {**SAMPLES, "path": "all.csv"}, "participant is neither in the path", id="no_participant"
        ),
        pytest.param(
            "samples", {**SAMPLES, "path": "{participant}/{trial}.csv"}, "trial comes from the path", id="two_trials"
        ),
        pytest.param("samples", {**SAMPLES, "path": "/etc/{participant}"}, "leaves its folder", id="absolute_path"),
        pytest.param("samples", {**SAMPLES, "units": {"t": "ms"}}, "t: ms: no such column", id="unit_of_no_column"),
        pytest.param("samples", {**SAMPLES, "delimiter": ";;"}, "samples.delimiter", id="long_delimiter"),
        pytest.param("samples", {**SAMPLES, "missing": ["x"]}, "samples.missing.0", id="missing_is_text"),
        pytest.param("fixations", {**FIXATIONS, "columns": {"trial": "n"}}, "onset_ms", id="fixations_without_onset"),
        pytest.param("stimulus", {"width_px": 8, "height_px": 4}, "placed: centred", id="stimulus_without_place"),
        pytest.param(
            "stimulus", {"width_px": 8, "height_px": 4, "left_px": 1}, "both left_px and top_px", id="half_a_place"
        ),
        pytest.param(
            "stimulus",
            {"width_px": 8, "height_px": 4, "left_px": 1, "top_px": 1, "placed": "centred"},
            "either placed",
            id="two_places",
        ),
        pytest.param("screen", {"width_px": True}, "number or the name", id="screen_is_a_bool"),
        pytest.param("labels", {"condition": {False: "a", True: "b"}}, "in quotes", id="yaml_bool_as_label"),
        pytest.param("labels", {"condition": {"C": "a", "P": "a"}}, "two classes", id="one_class_declared"),
        pytest.param("notes", {"other": "text"}, "no such label: other (declared: condition)", id="note_of_no_label"),
        pytest.param(
            "trials",
            {"path": "t.csv", "columns": {"participant": "p", "trial": "n", "screen_widht_px": "w"}},
            "columns that nothing uses: screen_widht_px",
            id="mistyped_column",
        ),
        pytest.param(
            "trials", {**DECLARED["trials"], "path": "{trial}.csv"}, "placeholder", id="placeholder_in_trials"
        ),
    ],
)
def test_wrong_section_is_a_config_error(section: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=section) as caught:
        declared(**{section: value})
    assert len(caught.value.errors) == 1
    assert words in caught.value.errors[0]


def test_declaration_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", f"file://{tmp_path}/none.yaml"):
        with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
            load_dataset(path)


# -- what comes out


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


# -- rows that cannot be used


def rejected(folder: Path, rows: str, **changes: Any) -> tuple[Dataset, list[tuple[int, str, str]]]:
    data = opened(folder, TRIALS + rows, **changes)
    assert {reject.source for reject in data.rejects} <= {"trials.csv", "people.csv"}
    return data, [(reject.row, reject.stage, reject.reason) for reject in data.rejects]


@pytest.mark.parametrize(
    ("row", "stage", "words"),
    [
        pytest.param("P1,3,", "labels", "missing label condition", id="missing_label"),
        pytest.param("P1,3,NA", "labels", "missing label condition", id="label_na"),
        pytest.param("P1,3,X", "labels", "'X' is not declared (declared: C, P)", id="label_not_declared"),
        pytest.param("P1,3,c", "labels", "'c' is not declared", id="label_in_other_case"),
        pytest.param(",3,C", "trials", "no participant", id="no_participant"),
        pytest.param("P1, ,C", "trials", "no trial", id="no_trial"),
        pytest.param("../secret,3,C", "trials", "unsafe name of the participant", id="climbing_participant"),
        pytest.param("P1,../../etc/passwd,C", "trials", "unsafe name of the trial", id="climbing_trial"),
        pytest.param("P1,a\\b,C", "trials", "unsafe name of the trial", id="backslash"),
        pytest.param("P1,/etc,C", "trials", "unsafe name of the trial", id="absolute"),
        pytest.param("P1,a\x00b,C", "trials", "unsafe name of the trial", id="nul"),
        pytest.param("P1,a\x1bb,C", "trials", "unsafe name of the trial", id="control_character"),
        pytest.param("P1,3", "trials", "2 fields instead of 3", id="too_few_fields"),
        pytest.param("P1,3,C,C", "trials", "4 fields instead of 3", id="too_many_fields"),
    ],
)
def test_bad_row_of_the_trials_table_is_rejected_with_its_reason(
    tmp_path: Path, row: str, stage: str, words: str
) -> None:
    data, faults = rejected(tmp_path, row + "\n")
    assert len(data.trials) == 4
    assert [(number, where) for number, where, _ in faults] == [(5, stage)]
    assert words in faults[0][2]


def test_unsafe_stimulus_is_rejected(tmp_path: Path) -> None:
    trials = {**DECLARED["trials"], "columns": {**DECLARED["trials"]["columns"], "stimulus": "picture"}}
    text = "participant,trial,condition,picture\nP1,1,C,a\nP1,2,P,../b\nP2,1,C,a\nP2,2,P,a\n"
    data = opened(tmp_path, text, trials=trials)
    assert data.trials["stimulus"].tolist() == ["a", "a", "a"]
    assert [(reject.row, reject.reason) for reject in data.rejects] == [(2, "unsafe name of the stimulus: '../b'")]


def test_malicious_participant_reaches_no_file_outside_the_root(tmp_path: Path) -> None:
    write(tmp_path / "outside", {"secret.csv": GAZE})
    root = tmp_path / "study"
    data = opened(root, TRIALS + "../../outside/secret,1,C\n")
    assert [reject.reason for reject in data.rejects] == ["unsafe name of the participant: '../../outside/secret'"]
    assert [recording.samples for recording in data.recordings] == [["gaze/P1.csv"], ["gaze/P2.csv"]]


def test_identical_duplicate_keeps_the_first(tmp_path: Path) -> None:
    data, faults = rejected(tmp_path, "P1,2,P\nP1,2,P\n")
    assert data.trials["row"].tolist() == [1, 2, 3, 4]
    reason = "duplicate trial: the same as row 2"
    assert faults == [(5, "trials", reason), (6, "trials", reason)]
    assert data.recordings[0].refused == []


def test_contradicting_duplicates_are_all_rejected(tmp_path: Path) -> None:
    data, faults = rejected(tmp_path, "P1,2,C\n")
    assert data.trials["row"].tolist() == [1, 3, 4]
    reason = "duplicate trial: rows 2, 5 contradict each other"
    assert faults == [(2, "trials", reason), (5, "trials", reason)]
    assert data.recordings[0].refused == ["P1/2"]


def test_participant_unknown_to_the_participants_table_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h\nP1,1000,500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    reason = "participant 'P2' has no usable row in people.csv"
    assert faults == [(3, "trials", reason), (4, "trials", reason)]


def test_contradicting_rows_of_a_participant_take_their_trials_along(tmp_path: Path) -> None:
    write(tmp_path, people="who,w,h\nP1,1000,500\nP2,1000,500\nP2,800,600\nP1,1000,500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    assert [reason for _, _, reason in faults] == [
        "duplicate participant: the same as row 1",
        "duplicate participant: rows 2, 3 contradict each other",
        "duplicate participant: rows 2, 3 contradict each other",
        "participant 'P2' has no usable row in people.csv",
        "participant 'P2' has no usable row in people.csv",
    ]


@pytest.mark.parametrize(
    ("width", "words"),
    [
        ("", "missing geometry: no screen_width_px"),
        ("NA", "missing geometry: no screen_width_px"),
        ("wide", "screen_width_px is not a number: 'wide'"),
        ("inf", "screen_width_px is not a number"),
        ("1_000", "screen_width_px is not a number"),
        ("0", "screen_width_px must be greater than 0"),
        ("-1000", "screen_width_px must be greater than 0"),
    ],
)
def test_bad_geometry_rejects_the_trials_that_have_it(tmp_path: Path, width: str, words: str) -> None:
    write(tmp_path, people=f"who,w,h\nP1,1000,500\nP2,{width},500\n")
    data, faults = rejected(tmp_path, "", participants=PEOPLE, screen={})
    assert pairs(data) == [("P1", "1"), ("P1", "2")]
    assert [row for row, _, _ in faults] == [3, 4]
    assert all(words in reason for _, _, reason in faults)


def test_participant_without_a_usable_trial_disappears(tmp_path: Path) -> None:
    data = opened(tmp_path, "participant,trial,condition\nP1,1,C\nP1,2,P\nP2,1,\nP2,2,\n")
    assert [recording.participants for recording in data.recordings] == [["P1"]]
    assert [reject.participant for reject in data.rejects] == ["P2", "P2"]


# -- what makes the study impossible


def impossible(folder: Path, **changes: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        open_dataset(declared(**changes), Folder(folder))
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert impossible(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: there is no such folder"]


def test_root_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert len(impossible(tmp_path / "file")) == 1


def test_empty_folder_is_an_error_also_with_dot_files_in_it(tmp_path: Path) -> None:
    write(tmp_path, {"._trials.csv": "x", ".DS_Store": "x"})
    assert impossible(tmp_path) == [f"{tmp_path}: the folder is empty"]


def test_missing_trials_file_and_gaze_files_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, {"other.csv": "x"})
    errors = impossible(tmp_path, participants=PEOPLE, fixations=FIXATIONS)
    assert [error.split(" (")[0].removeprefix(f"{tmp_path}: ") for error in errors] == [
        "no file trials.csv",
        "no file people.csv",
        "no samples file matches gaze/{participant}.csv",
        "no fixations file matches fixations/{participant}.csv",
    ]
    assert all("there are: other.csv" in error for error in errors)


def test_missing_columns_are_named_with_those_present(tmp_path: Path) -> None:
    write(tmp_path, trials="who,trial\nP1,1\n", people="who,w\nP1,5\n")
    errors = impossible(
        tmp_path,
        participants=PEOPLE,
        screen={"distance_mm": "far"},
        stimulus={**DECLARED["stimulus"], "width_px": "sw"},
    )
    present = "trials.csv: who, trial; people.csv: who, w"
    assert errors == [
        "trials.csv: no column 'participant' (present: who, trial)",
        "people.csv: no column 'h' (present: who, w)",
        f"label condition: no column 'condition' (present: {present})",
        f"screen.distance_mm: no column 'far' (present: {present})",
        f"stimulus.width_px: no column 'sw' (present: {present})",
    ]


def test_unknown_size_of_the_screen_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    errors = impossible(tmp_path, screen={"width_px": 1000})
    present = "trials.csv: participant, trial, condition"
    assert errors == [f"screen.height_px is not declared: no column 'screen_height_px' (present: {present})"]


def test_unknown_label_lists_the_declared_ones(tmp_path: Path) -> None:
    write(tmp_path)
    labels = {"condition": {"C": "a", "P": "b"}, "other": {0: "a", 1: "b"}}
    for label, words in (("mood", "unknown label 'mood'"), (None, "name the label to use")):
        with pytest.raises(DataError, match=words) as caught:
            open_dataset(declared(labels=labels), Folder(tmp_path), label)
        assert caught.value.errors[0].endswith("(declared: condition, other)")
    assert open_dataset(declared(labels=labels), Folder(tmp_path), "condition").label == "condition"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("participant,trial,condition\n", "header without rows", id="header_without_rows"),
        pytest.param(zipped(TRIALS)[:-12], "gzip", id="truncated_gzip"),
        pytest.param(TRIALS.encode("utf-16"), "UTF-8", id="utf_16"),
        pytest.param(TRIALS + 'P3,"1,C\n', "cannot be parsed", id="unbalanced_quote"),
        pytest.param("participant,trial,trial\nP1,1,2\n", "more than once", id="column_twice"),
        pytest.param(b"PAR1" + b"\x00" * 20, "Parquet", id="damaged_parquet"),
    ],
)
def test_unreadable_trials_table_is_an_error(tmp_path: Path, content: str | bytes, words: str) -> None:
    write(tmp_path, {**FILES, "trials.csv": content})
    (error,) = impossible(tmp_path)
    assert error.startswith("trials.csv: ")
    assert words in error


def test_one_class_in_the_whole_data_set_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, trials=TRIALS.replace(",P\n", ",X\n"))
    (error,) = impossible(tmp_path)
    assert "all 2 trials are of one class, 'control'" in error
    assert "2 x label condition: 'X' is not declared" in error


def test_no_trial_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path, trials=TRIALS.replace(",C", ",").replace(",P\n", ",\n"))
    (error,) = impossible(tmp_path)
    assert "no trial is left" in error
    assert "4 x missing label condition" in error


def test_config_of_webqamgaze_is_valid() -> None:
    spec = load_dataset(Path(__file__).parents[2] / "configs/datasets/webqamgaze.yaml")
    assert list(spec.labels) == ["answer_correct", "label_is"]
    assert spec.fixations is not None
    assert spec.fixations.origin == "stimulus"
    assert "trial order" in spec.notes["label_is"]
    assert validate(DatasetSpec, spec.model_dump()) == spec
