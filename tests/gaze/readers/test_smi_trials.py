# SPDX-License-Identifier: Apache-2.0
"""SMI exports: presentations, fixations over the edges of trials, pupils, glasses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.gaze.mending import cut_to_windows
from gazeray.gaze.readers import GazeTable, ReadError
from tests.gaze.readers.test_smi import BEGAZE, EVENTS, IVIEW, STATISTICS, read, trials

NAN = float("nan")
OVER = """Table Header for Fixations:
Event Type\tTrial\tNumber\tStart\tEnd\tDuration\tLocation X\tLocation Y\tAvg. Pupil Size X\tAvg Pupil Size Y
Table Header for User Events:
Event Type\tTrial\tNumber\tStart\tDescription
UserEvent\t1\t1\t1000000\t# Message: a.bmp
Fixation L\t1\t1\t1010000\t1410000\t400000\t100.5\t200.5\t17.0\t19.0
Fixation L\t1\t2\t1500000\t2100000\t600000\t110.5\t210.5\t0\t0
UserEvent\t2\t2\t1900000\t# Message: b.bmp
Fixation L\t2\t3\t2200000\t2500000\t300000\t120.5\t220.5\t20.0\t20.0
UserEvent\t2\t3\t2400000\t# Message: end
"""
DETAILS = (
    "Trial\tStimulus\tExport Start Trial Time [ms]\tExport End Trial Time [ms]\tParticipant\tCategory\t"
    "Event Start Trial Time [ms]\tEvent Duration [ms]\tFixation Position X [px]\tFixation Position Y [px]\n"
    "Trial001\ta.jpg\t0,0\t1000,0\tP1\tFixation\t100,0\t300,0\t10\t20\n"
    "Trial001\ta.jpg\t0,0\t1000,0\tP1\tFixation\t800,0\t500,0\t11\t20\n"
    "Trial002\ta.jpg\t0,0\t900,0\tP1\tFixation\t100,0\t300,0\t12\t20\n"
)


def spans(table: GazeTable) -> list[tuple[str, float, float]]:
    """Trial, onset and duration of every fixation, cut to its window."""
    found = cut_to_windows(table)
    times = (found.columns[name].tolist() for name in ("onset_ms", "duration_ms"))
    return list(zip(trials(found), *times, strict=True))


def fixations(data: str, **section: Any) -> GazeTable:
    return read(data, "fixations", **section)


def test_fixation_beyond_its_trial_is_cut_where_the_next_begins_and_lasts_into_it() -> None:
    assert spans(fixations(OVER)) == [("1", 1010, 400), ("1", 1500, 400), ("2", 1900, 200), ("2", 2200, 300)]


def test_fixation_that_the_next_trial_lists_again_is_not_there_twice() -> None:
    again = OVER.replace(
        "UserEvent\t2\t3", "Fixation L\t2\t9\t1900000\t2100000\t200000\t110.5\t210.5\t0\t0\nUserEvent\t2\t3"
    )
    assert sorted(spans(fixations(again))) == [("1", 1010, 400), ("1", 1500, 400), ("2", 1900, 200), ("2", 2200, 300)]


def test_trials_whose_times_contradict_their_user_events_are_left_as_they_are() -> None:
    text = OVER.replace("Fixation L\t2\t3\t2200000", "Fixation L\t2\t3\t1200000")
    assert spans(fixations(text)) == [("1", 1010, 400), ("1", 1500, 600), ("2", 1200, 300)]


def test_fixations_are_cut_to_what_messages_bracket() -> None:
    messages = {"start": "Message: (?P<trial>.)[.]bmp", "end": "end"}
    table = fixations(OVER, messages=messages)
    assert spans(table) == [("a", 1010, 400), ("a", 1500, 400), ("b", 1900, 200), ("b", 2200, 200)]
    short = OVER.replace("1000000\t# Message: a", "1420000\t# Message: a")
    table = fixations(short, messages=messages)
    assert [reject.reason for reject in table.rejects] == ["1 fixations lie outside any trial, this is the first"]


def test_messages_cut_the_trial_that_the_path_names() -> None:
    fixed = {"participant": "P1", "trial": "face"}
    table = fixations(OVER, fixed=fixed, messages={"start": "b.bmp"})
    assert table.ids == [("P1", "face")]
    assert spans(table) == [("face", 1900, 200), ("face", 2200, 300)]
    samples = read(IVIEW, fixed=fixed, messages={"start": "start b.bmp"})
    assert samples.ids == [("P1", "face")]
    assert samples.columns["timestamp_ms"].tolist() == [1060, 1080]


@pytest.mark.parametrize(
    ("cell", "rejected"), [("late", "is not a usable number"), ("", "is not a time")], ids=["bad", "empty"]
)
def test_fixation_with_a_bad_time_costs_itself(cell: str, rejected: str) -> None:
    table = fixations(OVER.replace("\t600000\t", f"\t{cell}\t"))
    assert spans(table) == [("1", 1010, 400), ("2", 2200, 300)]
    assert [rejected in reject.reason for reject in table.rejects] == [True]


def test_fixations_of_begaze_are_cut_to_the_part_of_the_trial_that_was_exported() -> None:
    table = fixations(DETAILS)
    assert spans(table) == [("Trial001", 100, 300), ("Trial001", 800, 200), ("Trial002", 100, 300)]


def test_stimulus_shown_again_is_another_presentation_by_its_trial() -> None:
    table = fixations(DETAILS, columns={"trial": "Stimulus"})
    assert table.ids == [("P1", "a.jpg")] * 2
    assert table.codes.tolist() == [0, 0, 1]
    rows = BEGAZE.replace('"b,c.png"', "a.png")
    assert read(rows, columns={"trial": "Stimulus"}).ids == [("P1", "a.png")] * 2


def test_header_that_comes_again_is_no_other_person() -> None:
    table = fixations(STATISTICS + STATISTICS.split("\n")[0] + "\n")
    assert len(table.rows) == 2
    head, *rows = BEGAZE.split("\n")
    table = read("\n".join([head, *rows[:2], head, *rows[2:]]))
    assert (len(table.rows), [reject.row for reject in table.rejects]) == (3, [4])


def test_path_that_names_one_of_several_people_is_refused() -> None:
    two = STATISTICS + "Trial001\tP2\tFixation\tLeft\t10,5\t200,0\t100,5\t200,5\n"
    with pytest.raises(ReadError, match="the path names one participant"):
        fixations(two)
    assert fixations(two, fixed={}, path="all.txt").ids == [("P1", "Trial001"), ("P2", "Trial001")]


@pytest.mark.parametrize(
    ("names", "unit"),
    [
        (["L Mapped Diameter [mm]"], "mm"),
        (["L Pupil Diameter [mm]"], "mm"),
        (["Pupil Diameter Left [mm]"], "mm"),
        (["L Dia X [px]", "L Dia Y [px]"], "px"),
        (["Pupil Size Left X [px]", "Pupil Size Left Y [px]"], "px"),
    ],
)
def test_pupils_of_all_versions_come_along(names: list[str], unit: str) -> None:
    cells = ["\t".join([value] * len(names)) for value in ("3,5", "0.00", "four", "3.7")]
    lines = IVIEW.splitlines()
    lines = [f"{line}\t{names[0]}" if len(names) == 1 and line.startswith("Time\t") else line for line in lines]
    lines = [
        f"{line}\t{names[0]}\t{names[1]}" if len(names) == 2 and line.startswith("Time\t") else line for line in lines
    ]
    rows = iter(cells)
    lines = [f"{line}\t{next(rows)}" if "\tSMP\t" in line else line for line in lines]
    table = read("\n".join(lines) + "\n")
    np.testing.assert_array_equal(table.columns["pupil_left"], [3.5, NAN, NAN, 3.7])
    assert table.units == {"pupil_left": unit}
    assert len(table.rows) == 4


def test_pupil_in_px_is_taken_where_that_in_mm_is_never_there() -> None:
    lines = [
        f"{line}\tL Dia X [px]\tL Dia Y [px]\tL Mapped Diameter [mm]" if line.startswith("Time\t")
        else f"{line}\t12\t14\t0.00" if "\tSMP\t" in line else line
        for line in IVIEW.splitlines()
    ]  # fmt: skip
    table = read("\n".join(lines) + "\n")
    assert table.columns["pupil_left"].tolist() == [13] * 4
    assert table.units == {"pupil_left": "px"}


def test_pupil_is_lost_in_a_blink_and_averaged_by_the_event_detector() -> None:
    lines = BEGAZE.splitlines()
    lines = [f"{line},{'Pupil Diameter Right [mm]' if at == 0 else '3.5'}" for at, line in enumerate(lines)]
    np.testing.assert_array_equal(read("\n".join(lines) + "\n").columns["pupil_right"], [3.5, NAN, 3.5])
    table = fixations(OVER)
    np.testing.assert_array_equal(table.columns["pupil"], [18, NAN, NAN, 20])
    assert table.units == {"pupil": "px"}


def test_gaze_of_glasses_is_on_the_picture_of_the_scene_camera_or_what_it_was_mapped_to() -> None:
    glasses = BEGAZE.replace("Right", "Binocular").replace("Fixation", "Visual Intake")
    assert read(glasses.replace("a.png", "P1-recording.avi")).origin == "scene_camera"
    assert read(glasses).origin == "stimulus"
    assert read(BEGAZE).origin == ""
    intake = STATISTICS.replace("Fixation Position", "Visual Intake Position").replace("Fixation", "Visual Intake")
    assert fixations(intake).origin == "scene_camera"


def test_file_of_one_eye_says_which() -> None:
    assert read(IVIEW.replace("R POR", "R Raw")).eye == "left"
    assert read(IVIEW).eye == ""


@pytest.mark.parametrize(("name", "ms"), [("Start", 1010), ("Start [ms]", 1010000), ("Fixation Start [ms]", 1010000)])
def test_time_without_a_unit_counts_in_us(name: str, ms: float) -> None:
    text = OVER.replace("\tStart\tEnd\tDuration", f"\t{name}\tEnd\tDuration")
    section = {"columns": {"onset_ms": name}} if name == "Start [ms]" else {}
    table = read(text, "fixations", **section)
    assert (table.columns["onset_ms"][0], table.columns["duration_ms"][0]) == (ms, 400)


def test_event_export_of_both_eyes_keeps_its_trials() -> None:
    assert spans(fixations(EVENTS)) == [("1", 1000, 200), ("2", 1220, 300)]
