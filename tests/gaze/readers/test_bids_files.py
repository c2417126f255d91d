# SPDX-License-Identifier: Apache-2.0
"""Which files of a BIDS data set apply to a table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gazeray.gaze.files import Listing
from gazeray.gaze.readers import ReadError
from gazeray.gaze.readers.base import GazeFile
from gazeray.gaze.readers.bids_files import applicable, companions, number, positive, sidecar_of, table_beside
from gazeray.storage import FileStat
from tests.gaze.tiny_dataset import declared

FOLDER = "sub-01/ses-1/beh"
TABLE = f"{FOLDER}/sub-01_ses-1_task-read_run-02_recording-eye1_physio.tsv.gz"
SPEC = declared(samples={"reader": "bids", "path": "sub-{participant}/ses-1/beh/x_physio.tsv.gz"}).gaze()["samples"]


def companions_of(source: str, *paths: str) -> list[str]:
    return companions(source, Listing.of(FileStat(path, 1, 0) for path in (source, *paths)))


def merged(**sidecars: dict[str, Any]) -> dict[str, Any]:
    """The sidecars of TABLE; a path is spelt with __ for /, and without .json."""
    beside = {f"{name.replace('__', '/').replace('S', '-')}.json": json.dumps(own) for name, own in sidecars.items()}
    file = GazeFile(b"", TABLE, SPEC, {}, {name: text.encode() for name, text in beside.items()})
    return sidecar_of(file, "physio")


@pytest.mark.parametrize(
    "path",
    [
        "physio.json",
        "task-read_physio.json",
        "recording-eye1_physio.json",
        "sub-01/sub-01_physio.json",
        "sub-01/ses-1/sub-01_ses-1_task-read_physio.json",
        f"{FOLDER}/sub-01_ses-1_task-read_run-02_physio.json",
        f"{FOLDER}/sub-01_ses-1_task-read_run-02_recording-eye1_physio.json",
        "task-read_events.json",
        f"{FOLDER}/sub-01_ses-1_task-read_run-02_events.json",
    ],
)
def test_sidecar_above_with_no_other_entity_applies(path: str) -> None:
    assert companions_of(TABLE, path) == [path]


@pytest.mark.parametrize(
    "path",
    [
        "task-rest_physio.json",
        "acq-fast_physio.json",
        "recording-eye2_physio.json",
        "task-read_bold.json",
        "task-read_physio.txt",
        "sub-01/ses-2/sub-01_task-read_physio.json",
        "sub-01/ses-1/func/sub-01_ses-1_task-read_physio.json",
        "sub-0/physio.json",
        "sub-01/ses-1/beh/deeper/physio.json",
        f"{FOLDER}/sub-01_ses-1_task-read_run-01_physio.json",
    ],
)
def test_sidecar_in_a_sibling_folder_or_with_another_entity_does_not_apply(path: str) -> None:
    assert companions_of(TABLE, path) == []


def test_nearer_sidecar_wins_key_by_key_and_more_entities_win_within_a_folder() -> None:
    found = merged(
        physio={"a": 0, "b": 0, "c": 0, "d": 0},
        taskSread_physio={"b": 1, "c": 1, "d": 1},
        subS01__subS01_physio={"c": 2, "d": 2},
        subS01__subS01_taskSread_runS02_physio={"d": 3},
    )
    assert found == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_sidecars_of_the_same_rank_must_not_contradict_each_other() -> None:
    assert merged(taskSread_physio={"a": 1}, runS02_physio={"a": 1, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(ReadError, match=r"run-02_physio\.json and task-read_physio\.json contradict each other: a"):
        merged(taskSread_physio={"a": 1}, runS02_physio={"a": 2})


def test_nothing_is_inherited_from_beyond_the_data_set() -> None:
    source = f"derivatives/clean/{TABLE}"
    inside = "derivatives/clean/task-read_physio.json"
    paths = (inside, "task-read_physio.json", "derivatives/clean/dataset_description.json")
    assert companions_of(source, *paths) == [inside]
    assert companions_of(source, *paths[:2]) == ["task-read_physio.json", inside]


def test_of_tables_just_the_nearest_belongs() -> None:
    near = f"{FOLDER}/sub-01_ses-1_task-read_run-02_events.tsv"
    events = TABLE.replace("_physio.", "_physioevents.")
    assert companions_of(TABLE, "task-read_events.tsv") == ["task-read_events.tsv"]
    assert companions_of(TABLE, "task-read_events.tsv", near, events) == [near, events]
    assert companions_of(events, near, TABLE) == [near, TABLE]
    other = TABLE.replace("eye1", "eye2")
    assert companions_of(events, other, near) == [near]


def test_plain_and_packed_tables_belong_alike() -> None:
    plain = TABLE.replace("_physio.tsv.gz", "_physioevents.tsv")
    assert companions_of(TABLE, plain) == [plain]
    file = GazeFile(b"", TABLE, SPEC, {}, {plain: b""})
    assert (table_beside(file, "physioevents"), table_beside(file, "events")) == (plain, None)


def test_names_without_entities_and_odd_ones_do_no_harm() -> None:
    paths = ["", "physio", "_physio.json", "a/b/_physio.json", "sub-01/.json", "sub-01//physio.json"]
    assert applicable("physio.tsv", paths, "physio", (".json",)) == []
    assert applicable(TABLE, ["physio.json", "x_physio.json"], "physio", (".json",)) == ["physio.json"]


def test_numbers_of_sidecars() -> None:
    assert [positive(value) for value in (2, "0.5", -1, True, None, "n/a", [1], "inf", 1e400)] == [2, 0.5] + [0] * 7
    assert number("-1.5") == -1.5
