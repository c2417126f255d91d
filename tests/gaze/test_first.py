# SPDX-License-Identifier: Apache-2.0
"""What a dry run says of the first gaze file of each kind, good and bad."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from gazeray.gaze.dataset import open_dataset
from gazeray.gaze.first import first_of_gaze
from gazeray.tables import Fault
from tests.gaze.tiny_dataset import FIXATIONS, GAZE, SAMPLES, declared, write, zipped

COLUMNS = "columns trial from trial, timestamp_ms from t, x_px from x, y_px from y"


def first(
    folder: Path, table: str | bytes | None = None, most_bytes: float = math.inf, files: Any = None, **changes: Any
) -> list[str]:
    """The lines on the tiny data set with the first person's samples replaced."""
    root = write(folder, files, **({} if table is None else {"gaze__P1": table}))
    spec = declared(**changes)
    data = open_dataset(spec, root)
    return first_of_gaze(spec, root, data.recordings, data.trials, most_bytes)


def only(lines: list[str]) -> str:
    assert len(lines) == 1
    return lines[0]


def test_a_good_file_is_told_with_trials_rows_rate_and_columns(tmp_path: Path) -> None:
    line = only(first(tmp_path))
    assert line == f"first samples file gaze/P1.csv: 2 trials, 4 rows, 100 Hz, {COLUMNS}"
    assert not isinstance(line, Fault)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        pytest.param(GAZE.replace("t,x", "time,x"), "no column 't'", id="wrong_column"),
        pytest.param("", "the file is empty", id="empty"),
        pytest.param(zipped(GAZE)[:-9], "truncated or damaged gzip", id="damaged"),
        pytest.param(b"\x89PNG\r\n\x1a\n\0\0\xff\n", "", id="no_text"),
        pytest.param(
            GAZE.replace("\n1,", "\nT1,").replace("\n2,", "\nT2,"),
            "none of its 4 rows belongs to a trial of the trials table; its trials: P1/T1, P1/T2 (participant/trial)",
            id="other_trials",
        ),
        pytest.param(GAZE.replace(",1", ",a"), "none of its 4 rows can be used; rejected were:", id="no_numbers"),
        pytest.param("trial,t,x,y\n", "", id="no_rows"),
    ],
)
def test_a_file_of_no_use_is_a_fault_that_says_why(tmp_path: Path, table: str | bytes, told: str) -> None:
    line = only(first(tmp_path, table))
    assert isinstance(line, Fault)
    assert line.startswith("first samples file gaze/P1.csv: ")
    assert told in line


def test_a_file_of_which_some_is_of_no_use_is_none(tmp_path: Path) -> None:
    line = only(first(tmp_path, GAZE + "9,0,1,1\n1,20,oops,1\n"))
    assert not isinstance(line, Fault)
    assert line.startswith("first samples file gaze/P1.csv: 2 trials, 6 rows, 100 Hz")
    assert "gaze without trial" in line


def test_gaze_off_the_screen_is_told_and_no_fault(tmp_path: Path) -> None:
    line = only(first(tmp_path, "trial,t,x,y\n1,0,-9,-8\n1,10,-9,-8\n2,0,-9,-8\n2,10,-9,-8\n"))
    assert not isinstance(line, Fault)
    assert "0 trials, 4 rows" in line
    assert "2 x gaze entirely off the screen" in line


def test_each_kind_is_opened_and_the_second_may_be_wrong_alone(tmp_path: Path) -> None:
    files = {"trials.csv": "participant,trial,condition\nP1,1,C\nP1,2,P\nP2,1,C\nP2,2,P\n"}
    files |= {"gaze/P1.csv": GAZE, "gaze/P2.csv": GAZE, "fixations/P2.csv": "trial,t,d,x,y\n1,0,200,200,100\n"}
    samples, fixations = first(tmp_path / "a", files=files, samples=SAMPLES, fixations=FIXATIONS)
    assert samples.startswith("first samples file gaze/P1.csv: 2 trials")
    assert fixations.startswith("first fixations file fixations/P2.csv: 1 trial, 1 row, columns trial from trial, ")
    files["fixations/P2.csv"] = "trial,t,dur,x,y\n1,0,200,200,100\n"
    samples, fixations = first(tmp_path / "b", files=files, samples=SAMPLES, fixations=FIXATIONS)
    assert (isinstance(samples, Fault), isinstance(fixations, Fault)) == (False, True)
    assert "no column 'd'" in fixations


def test_what_is_noted_of_the_file_is_told(tmp_path: Path) -> None:
    lines = "MSG 1 TRIALID 1\nSTART 1 LEFT RIGHT SAMPLES\nSAMPLES GAZE LEFT RIGHT RATE 500.00\n"
    lines += "".join(f"{t}\t200.0\t100.0\t900.0\t210.0\t100.0\t900.0\t...\n" for t in range(2, 60, 2)) + "END 60\n"
    table = {"reader": "eyelink", "path": "gaze/{participant}.asc"}
    files = {"trials.csv": "participant,trial,condition\nP1,1,C\nP2,1,P\n"}
    files |= {f"gaze/{name}.asc": lines for name in ("P1", "P2")}
    line, note = first(tmp_path, files=files, samples=table)
    told = "1 trial, 29 rows, 500 Hz, as eyelink has it, channels pupil_left, pupil_right"
    assert line == f"first samples file gaze/P1.asc: {told}"
    assert note.startswith("gaze/P1.asc: both eyes are in the file; the left eye is used")


def test_a_recording_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    assert first(tmp_path, "", most_bytes=-1) == []
