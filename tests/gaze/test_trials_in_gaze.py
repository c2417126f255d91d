# SPDX-License-Identifier: Apache-2.0
"""Where trials come from: the rows of gaze itself, a log per person, blocks, messages in a file of their own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gazeray.gaze.dataset import Dataset
from gazeray.gaze.recording import RecordingGaze
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import FIXATIONS, SAMPLES, TRIALS, declared, pairs, read_all, reasons, write

COLUMNS = SAMPLES["columns"]
LABELLED = "trial,t,x,y,condition\n1,0,200,100,C\n1,10,210,110,C\n2,0,300,120,P\n2,10,310,130,P\n"
IN_GAZE = {"path": "gaze/{participant}.csv"}
ALL = [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]


def read(folder: Path, files: dict[str, str | bytes], **changes: Any) -> tuple[Dataset, list[RecordingGaze]]:
    return read_all(write(folder, files), declared(**{"trials": IN_GAZE, **changes}))


def both(text: str | bytes) -> dict[str, str | bytes]:
    return {"gaze/P1.csv": text, "gaze/P2.csv": text}


def gaze_of(found: list[RecordingGaze]) -> dict[tuple[str, str], list[float]]:
    return {
        (trial.participant, trial.trial): trial.samples["x_px"].tolist()
        for part in found
        for trial in part.trials
        if trial.samples
    }


def faults(data: Dataset, found: list[RecordingGaze]) -> list[tuple[str, int, str]]:
    return reasons([*data.rejects, *(reject for part in found for reject in part.rejects)])


def as_parquet(text: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pyarrow.csv.read_csv(io.BytesIO(text.encode())), buffer)
    return buffer.getvalue()


EVERYBODY = "who," + LABELLED.split("\n", 1)[0] + "\n"
EVERYBODY += "".join(f"{who},{line}\n" for line in LABELLED.splitlines()[1:] for who in ("P1", "P2"))


@pytest.mark.parametrize(
    ("files", "trials", "samples"),
    [
        pytest.param(both(LABELLED), IN_GAZE, {}, id="file_for_each_person"),
        pytest.param(
            both(LABELLED.split("\n", 1)[1].replace(",", ";")),
            IN_GAZE,
            {"names": ["trial", "t", "x", "y", "condition"], "delimiter": ";"},
            id="written_as_the_gaze_is",
        ),
        pytest.param(
            {"all.csv": EVERYBODY},
            {"path": "all.csv", "columns": {"participant": "who"}},
            {"path": "all.csv", "columns": {**COLUMNS, "participant": "who"}},
            id="one_file_for_everybody",
        ),
        pytest.param(
            {f"{who}.parquet": as_parquet(LABELLED) for who in ("P1", "P2")},
            {"path": "{participant}.parquet"},
            {"path": "{participant}.parquet", "reader": "parquet"},
            id="parquet",
        ),
        pytest.param(
            both(LABELLED.replace("trial", "nr").replace("condition", "group")),
            {**IN_GAZE, "columns": {"trial": "nr", "condition": "group"}},
            {"columns": {**COLUMNS, "trial": "nr"}},
            id="other_names",
        ),
        pytest.param(
            {
                f"{who}_{trial}.csv": f"t,x,y,condition\n0,{x},100,{label}\n1,{x + 10},100,{label}\n"
                for who in ("P1", "P2")
                for trial, x, label in (("1", 200, "C"), ("2", 300, "P"))
            },
            {"path": "{participant}_{trial}.csv"},
            {
                "path": "{participant}_{trial}.csv",
                "columns": {name: own for name, own in COLUMNS.items() if name != "trial"},
            },
            id="file_for_each_trial",
        ),
        pytest.param(
            both(LABELLED.replace("condition\n", "condition\n,0,1,1,P\n")), IN_GAZE, {}, id="rows_outside_any_trial"
        ),
    ],
)
def test_trials_are_taken_from_the_rows_of_gaze(
    tmp_path: Path, files: dict[str, str | bytes], trials: dict[str, Any], samples: dict[str, Any]
) -> None:
    data, found = read(tmp_path, files, trials=trials, samples={**SAMPLES, **samples})
    assert sorted(pairs(data)) == ALL
    assert data.trials.set_index(["participant", "trial"])["label"].to_dict() == {
        pair: "control" if pair[1] == "1" else "pseudoword" for pair in ALL
    }
    assert gaze_of(found) == {pair: [200, 210] if pair[1] == "1" else [300, 310] for pair in ALL}
    assert [words for _, _, words in faults(data, found) if "rows have no trial" not in words] == []


def test_label_that_changes_within_a_trial_is_told(tmp_path: Path) -> None:
    files = {**both(LABELLED), "gaze/P1.csv": LABELLED.replace("110,C", "110,P")}
    data, found = read(tmp_path, files)
    assert sorted(pairs(data)) == ALL[1:]
    told = faults(data, found)
    assert [(source, row) for source, row, _ in told] == [("gaze/P1.csv", 1), ("gaze/P1.csv", 2)]
    assert told[0][2].endswith("rows 1, 2 contradict each other in condition")


def test_labels_may_be_of_the_person_while_trials_are_of_the_gaze(tmp_path: Path) -> None:
    text = "t,x,y\n0,200,100\n1,210,100\n"
    files: dict[str, str | bytes] = {f"{who}_{nr}.csv": text for who in ("P1", "P2") for nr in "12"}
    columns = {name: own for name, own in COLUMNS.items() if name != "trial"}
    data, found = read(
        tmp_path,
        {**files, "people.csv": "participant,condition\nP1,C\nP2,P\n"},
        trials={"path": "{participant}_{trial}.csv"},
        participants={"path": "people.csv"},
        samples={**SAMPLES, "path": "{participant}_{trial}.csv", "columns": columns},
    )
    assert sorted(pairs(data)) == ALL
    assert set(gaze_of(found)) == set(ALL)


def test_presentations_in_the_rows_of_gaze_are_numbered(tmp_path: Path) -> None:
    again = LABELLED + "1,20,400,100,P\n1,30,410,100,P\n"
    data, found = read(tmp_path, both(again), trials={**IN_GAZE, "repeats": "number"})
    assert pairs(data)[:3] == [("P1", "1"), ("P1", "2"), ("P1", "1#2")]
    assert data.trials["label"].tolist()[:3] == ["control", "pseudoword", "pseudoword"]
    assert gaze_of(found)[("P1", "1#2")] == [400, 410]
    assert faults(data, found) == []
    refused = read(tmp_path / "refused", both(again.replace(",P\n1,30", ",C\n1,30").replace("410,100,P", "410,100,C")))
    assert "presented 2 times" in faults(*refused)[0][2]


def test_column_that_is_missing_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'trial' .present: nr, t, x, y, condition"):
        read(tmp_path, both(LABELLED.replace("trial", "nr")))
    with pytest.raises(DataError, match="label condition: no column 'condition'"):
        read(tmp_path / "label", both(LABELLED.replace("condition", "group")))


def test_file_that_cannot_be_read_costs_one_person(tmp_path: Path) -> None:
    data, found = read(tmp_path, {**both(LABELLED), "gaze/P3.csv": b"\xff\x00", "gaze/P4.csv": b"\0" * 90})
    assert sorted(pairs(data)) == ALL
    assert {source for source, _, _ in faults(data, found)} == {"gaze/P3.csv", "gaze/P4.csv"}


# -- a table in many files


def test_log_for_each_person(tmp_path: Path) -> None:
    logs = {f"log/{who}.csv": "trial,condition\n1,C\n2,P\n" for who in ("P1", "P2")}
    data, found = read(
        tmp_path, {**both(LABELLED), **logs, "log/P3.csv": "\n"}, trials={"path": "log/{participant}.csv"}
    )
    assert sorted(pairs(data)) == ALL
    assert len(gaze_of(found)) == 4
    assert reasons(data.rejects) == [("log/P3.csv", -1, "the file is empty")]


def test_log_for_each_run_of_a_person(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for who in ("P1", "P2"):
        for run in ("01", "02"):
            files[f"log/{who}_{run}.csv"] = "trial,condition\n1,C\n2,P\n"
            files[f"gaze/{who}_{run}.csv"] = LABELLED.replace("200", run).replace(",condition", ",c")
    data, found = read(
        tmp_path,
        files,
        trials={"path": "log/{participant}_{run}.csv", "columns": {"trial": ["run", "trial"]}},
        samples={**SAMPLES, "path": "gaze/{participant}_{run}.csv"},
    )
    assert pairs(data)[:4] == [("P1", "1/1"), ("P1", "1/2"), ("P1", "2/1"), ("P1", "2/2")]
    assert gaze_of(found)[("P2", "2/1")] == [2, 210]
    assert len(gaze_of(found)) == 8
    assert faults(data, found) == []


@pytest.mark.parametrize(("later", "told"), [(1000, ""), (0, "on clocks of their own, which cannot be joined")])
def test_trial_of_several_runs_is_joined_on_one_clock(tmp_path: Path, later: int, told: str) -> None:
    """The run, which only the path says and nothing uses, makes no two trials of what the rows call one."""
    rows = [f"{trial},{at + run * later},{200 + run},100,{'CP'[trial - 1]}\n" for run in (0, 1) for trial in (1, 2)
            for at in (0, 300)]  # fmt: skip
    texts = ["trial,t,x,y,condition\n" + "".join(rows[run * 4 : run * 4 + 4]) for run in (0, 1)]
    files: dict[str, str | bytes] = {f"gaze/{who}_{run}.csv": texts[run] for who in ("P1", "P2") for run in (0, 1)}
    path = "gaze/{participant}_{run}.csv"
    trials = {"path": path, "repeats": "join"}
    data, found = read(tmp_path, files, trials=trials, samples={**SAMPLES, "path": path})
    assert sorted(pairs(data)) == ALL
    assert not data.rejects
    if told:
        assert told in found[0].rejects[0].reason
    else:
        assert gaze_of(found)[("P1", "1")] == [200, 200, 201, 201]


# -- blocks, each with trials and a clock of its own

BLOCKS = "participant,block,trial,condition\n" + "".join(
    f"{who},{block},{trial},{'CP'[trial % 2]}\n" for who in ("P1", "P2") for block in (1, 2) for trial in (1, 2)
)
BLOCK_TRIALS = {"path": "trials.csv", "columns": {"trial": ["block", "trial"]}}
NAMES = ["1/1", "1/2", "2/1", "2/2"]


def test_clock_that_starts_again_in_each_block(tmp_path: Path) -> None:
    rows = "".join(
        f"{block},{trial},{t},{block * 100 + trial},100\n" for block in (1, 2) for trial in (1, 2) for t in (0, 4, 8)
    )
    text = "block,trial,t,x,y\n" + rows
    samples = {**SAMPLES, "columns": {**COLUMNS, "trial": ["block", "trial"]}}
    data, found = read(tmp_path, {"trials.csv": BLOCKS, **both(text)}, trials=BLOCK_TRIALS, samples=samples)
    assert [name for _, name in pairs(data)] == NAMES * 2
    assert gaze_of(found)[("P1", "2/1")] == [201] * 3
    assert len(gaze_of(found)) == 8
    assert faults(data, found) == []


def test_block_in_the_path(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"trials.csv": BLOCKS}
    for who in ("P1", "P2"):
        for block in (1, 2):
            rows = "".join(f"{trial},{t},{block * 100 + trial},100\n" for trial in (1, 2) for t in (0, 4, 8))
            files[f"gaze/{who}/block{block:02}.csv"] = "trial,t,x,y\n" + rows
    samples = {**SAMPLES, "path": "gaze/{participant}/block{block}.csv"}
    data, found = read(tmp_path, files, trials=BLOCK_TRIALS, samples=samples)
    assert [name for _, name in pairs(data)] == NAMES * 2
    assert {pair: x[0] for pair, x in gaze_of(found).items() if pair[0] == "P2"} == {
        ("P2", "1/1"): 101,
        ("P2", "1/2"): 102,
        ("P2", "2/1"): 201,
        ("P2", "2/2"): 202,
    }
    assert faults(data, found) == []


def test_blocks_in_gaze_and_trials_alike(tmp_path: Path) -> None:
    rows = "".join(f"{b},{n},{t},{b * 100 + n},100,{'CP'[n % 2]}\n" for b in (1, 2) for n in (1, 2) for t in (0, 4))
    data, found = read(
        tmp_path,
        both("block,trial,t,x,y,condition\n" + rows),
        trials={**IN_GAZE, "columns": {"trial": ["block", "trial"]}},
        samples={**SAMPLES, "columns": {**COLUMNS, "trial": ["block", "trial"]}},
    )
    assert [name for _, name in pairs(data)] == NAMES * 2
    assert len(gaze_of(found)) == 8
    assert faults(data, found) == []


# -- messages in a file of their own

NO_TRIAL = {name: own for name, own in COLUMNS.items() if name != "trial"}
START, END = "^BEGIN (?P<trial>.+)", "^END"


def messages(unit: str, **more: Any) -> dict[str, Any]:
    file = {"path": "log/{participant}.csv", "columns": {"time": "when", "text": "what"}, "unit": unit, **more}
    return {"start": START, "end": END, "file": file}


LOGS = {
    "ms": "when,what\n100,BEGIN 1\n200,END\n50,start\n300,BEGIN 2\n400,END\n",
    "s": "when,what\n0.1,BEGIN 1\n0.2,END\n0.05,start\n0.3,BEGIN 2\n0.4,END\n",
    "us": "when,what\n100000,BEGIN 1\n200000,END\n300000,BEGIN 2\n400000,END\n",
    "iso": "when,what\n10:00:00.100,BEGIN 1\n10:00:00.200,END\n10:00:00.300,BEGIN 2\n10:00:00.400,END\n",
}


@pytest.mark.parametrize("unit", list(LOGS))
def test_messages_in_a_file_bracket_the_trials(tmp_path: Path, unit: str) -> None:
    clock = (lambda t: f"10:00:00.{t:03}") if unit == "iso" else str
    text = "t,x,y\n" + "".join(f"{clock(t)},{t + 100},100\n" for t in range(0, 500, 10))
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, **both(text)}
    files |= {f"log/{who}.csv": LOGS[unit] for who in ("P1", "P2")}
    units = {"units": {"timestamp_ms": "iso"}} if unit == "iso" else {}
    samples = {**SAMPLES, "columns": NO_TRIAL, "messages": messages(unit), **units}
    _, found = read(tmp_path, files, trials={"path": "trials.csv"}, samples=samples)
    assert gaze_of(found)[("P1", "1")] == list(range(200, 300, 10))
    assert gaze_of(found)[("P2", "2")] == list(range(400, 500, 10))
    assert reasons(found[0].rejects) == [("gaze/P1.csv", 1, "30 samples lie outside any trial, this is the first")]


def test_gaze_and_messages_on_two_clocks_are_told(tmp_path: Path) -> None:
    text = "t,x,y\n" + "".join(f"{t},{t + 100},100\n" for t in range(0, 500, 10))
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, **both(text)}
    files |= {f"log/{who}.csv": LOGS["us"] for who in ("P1", "P2")}
    samples = {**SAMPLES, "columns": NO_TRIAL, "messages": messages("ms")}
    _, found = read(tmp_path, files, trials={"path": "trials.csv"}, samples=samples)
    told = "the samples from 0 to 0.49 s, the trials of log/P1.csv from 100 to 400 s"
    assert found[0].rejects[0].reason == f"all gaze lies outside every trial: {told}"


def test_bad_row_of_a_file_with_messages_is_of_no_trial(tmp_path: Path) -> None:
    text = "t,x,y\n" + "".join(f"{t},{t + 100},100\n" for t in range(0, 500, 10)) + "450,left,1\n"
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, **both(text)}
    files |= {f"log/{who}.csv": LOGS["ms"] for who in ("P1", "P2")}
    samples = {**SAMPLES, "columns": NO_TRIAL, "messages": messages("ms")}
    _, found = read(tmp_path, files, trials={"path": "trials.csv"}, samples=samples)
    assert [(one.row, one.participant, one.trial) for one in found[0].rejects] == [(51, "P1", ""), (1, "P1", "")]


def test_fixations_are_cut_where_messages_end_a_trial(tmp_path: Path) -> None:
    text = "t,d,x,y\n50,100,200,100\n160,80,210,100\n350,40,300,100\n"
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, "fixations/P1.csv": text, "fixations/P2.csv": text}
    files |= {f"log/{who}.tsv": "# a log\n" + LOGS["s"].replace(",", "\t") for who in ("P1", "P2")}
    columns = {name: own for name, own in FIXATIONS["columns"].items() if name != "trial"}
    told = messages("s", path="log/{participant}.tsv")
    fixations = {**FIXATIONS, "columns": columns, "messages": told}
    _, found = read(tmp_path, files, trials={"path": "trials.csv"}, samples=None, fixations=fixations)
    spans = {
        trial.trial: list(zip(trial.fixations["onset_ms"], trial.fixations["duration_ms"], strict=True))
        for trial in found[0].trials
        if trial.fixations
    }
    assert spans == {"1": [(100, 50), (160, 40)], "2": [(350, 40)]}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("when,what\n10:00,BEGIN 1\n", "declare unit: iso"),
        ("when;what\n1;BEGIN 1\n", "declare delimiter: ';'"),
        ("when,what\n1,HELLO\n", "none of the 1 messages matches"),
        ("", "the file is empty"),
    ],
)
def test_messages_that_cannot_be_read_cost_their_file(tmp_path: Path, log: str, words: str) -> None:
    text = "t,x,y\n" + "".join(f"{t},{t + 100},100\n" for t in range(0, 500, 10))
    files: dict[str, str | bytes] = {"trials.csv": TRIALS, **both(text), "log/P1.csv": log, "log/P2.csv": LOGS["ms"]}
    samples = {**SAMPLES, "columns": NO_TRIAL, "messages": messages("ms")}
    _, found = read(tmp_path, files, trials={"path": "trials.csv"}, samples=samples)
    assert {pair[0] for pair in gaze_of(found)} == {"P2"}
    assert found[0].rejects[0].reason.startswith("its messages in log/P1.csv: ")
    assert words in found[0].rejects[0].reason
