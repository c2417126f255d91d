# SPDX-License-Identifier: Apache-2.0
"""Presentations of Tobii exports: fixations over their edges, stimuli shown twice, recordings, messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.gaze.mending import cut_to_windows
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.readers.test_tobii import read, trials
from tests.gaze.tiny_dataset import declared

Row = dict[str, Any]
TIME, STIMULUS = "Recording timestamp [ms]", "Presented Stimulus name"
KIND, NUMBER, LASTS = "Eye movement type", "Eye movement type index", "Eye movement event duration [ms]"
X, Y = "Gaze point X [DACS px]", "Gaze point Y [DACS px]"
FIX_X, FIX_Y = "Fixation point X [DACS px]", "Fixation point Y [DACS px]"


def gaze(time: float, stimulus: str = "", number: int = 0, lasts: float = 0, **more: Any) -> Row:
    """A row of the eye tracker; in a fixation where it has a number."""
    row = {TIME: time, "Sensor": "Eye Tracker", "Participant name": "P1", STIMULUS: stimulus, X: 100, Y: 50}
    row |= {"Validity left": "Valid", "Validity right": "Valid", KIND: "Saccade", NUMBER: 1, LASTS: 10}
    if number:
        row |= {KIND: "Fixation", NUMBER: number, LASTS: lasts, FIX_X: 100 * number, FIX_Y: 50}
    return row | more


def export(rows: list[Row]) -> str:
    """The rows as a tab-separated export, a column for each key."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return "\n".join(["\t".join(names), *("\t".join(str(row.get(name, "")) for name in names) for row in rows)]) + "\n"


def fixations(rows: list[Row], **section: Any) -> GazeTable:
    return cut_to_windows(read(export(rows), "fixations", **section))


def spans(table: GazeTable) -> list[tuple[str, float, float]]:
    """Trial, onset and duration of every fixation."""
    lasts = table.columns["duration_ms"].tolist()
    return list(zip([pair[1] for pair in trials(table)], table.columns["onset_ms"].tolist(), lasts, strict=True))


def test_fixation_over_two_stimuli_is_cut_at_the_row_where_the_second_begins() -> None:
    rows = [gaze(time, "a" if time < 250 else "b", 1, 300) for time in range(100, 400, 10)]
    rows += [gaze(time, "b") for time in range(400, 500, 10)]
    assert spans(fixations(rows)) == [("a", 100, 150), ("b", 250, 150)]


def test_row_that_comes_too_late_parts_neither_a_fixation_nor_a_presentation() -> None:
    rows = [gaze(time, "a" if time < 250 else "b", 1 + time // 250, 150) for time in range(100, 400, 10)]
    for at in (5, 14):  # within a fixation, and where the stimulus changes
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
    table = fixations(rows)
    assert spans(table) == [("a", 100, 150), ("b", 250, 150)]
    assert table.notes == ["rows out of order, sorted by time: 2"]
    assert read(export(rows)).columns["timestamp_ms"].tolist() == [*range(100, 400, 10)]


def test_block_of_rows_that_is_there_twice_costs_these_rows() -> None:
    rows = [gaze(time, "a", 1 + time // 250, 150) for time in range(100, 400, 10)]
    table = fixations([*rows[:20], *rows[10:]])
    assert spans(table) == [("a", 100, 150), ("a", 250, 150)]
    assert [reject.row for reject in table.rejects] == list(range(21, 31))
    assert len(read(export([*rows[:20], *rows[10:]])).rows) == 30


def test_fixation_that_begins_or_ends_beside_a_stimulus_is_cut_to_it() -> None:
    rows = [gaze(time, "a" if 150 <= time < 250 else "", 1, 300) for time in range(100, 400, 10)]
    assert spans(fixations([gaze(90), *rows, gaze(400)])) == [("a", 150, 100)]


def test_rows_of_other_sensors_and_of_events_have_no_say_in_windows() -> None:
    rows = [gaze(time, "a", 1, 200) for time in range(100, 300, 10)]
    mouse = {TIME: 195, "Sensor": "Mouse", "Participant name": "P1", STIMULUS: "b", KIND: "Fixation", NUMBER: 1}
    rows[10:10] = [mouse, {TIME: 196, "Participant name": "P1", "Event": "KeyboardEvent", STIMULUS: ""}]
    table = fixations(rows)
    assert spans(table) == [("a", 100, 200)]
    assert table.notes == []


def test_fixations_last_as_long_as_their_rows_in_any_export() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        stimulus = np.repeat(rng.choice(["a", "b", "c", ""], 12), rng.integers(3, 40, 12))
        number = np.repeat(rng.permutation(np.arange(60) * rng.integers(0, 2, 60)), rng.integers(1, 25, 60))
        n = min(len(stimulus), len(number))
        stimulus, number = stimulus[:n], number[:n]
        lengths = {one: 10 * int((number == one).sum()) for one in number}
        rows = [gaze(10 * at, stimulus[at], number[at], lengths[number[at]]) for at in range(n)]
        if not ((number > 0) & (stimulus != "")).any():
            continue
        table = fixations(rows)
        for name in "abc":
            mine = [code for code, pair in enumerate(table.ids) if pair[1] == name]
            dwell = table.columns["duration_ms"][np.isin(table.codes, mine)].sum()
            assert dwell == 10 * ((number > 0) & (stimulus == name)).sum()


def test_fixation_of_which_the_export_holds_a_part_lasts_as_long_as_its_rows() -> None:
    rows = [gaze(time, "a", 1, 500) for time in range(100, 200, 10)]
    rows += [gaze(time, "a", 2, 100) for time in range(200, 300, 10)]
    rows += [gaze(time, "a", 3, 109) for time in range(300, 400, 10)]
    rows += [gaze(time, "b", 4, 400) for time in range(5000, 5100, 10)]  # what came between was not exported
    table = read(export(rows), "fixations")
    assert spans(table) == [("a", 100, 100), ("a", 200, 100), ("a", 300, 109), ("b", 5000, 100)]
    assert table.notes == ["fixations of which the export holds a part, as long as their rows: 2 of 4"]


def test_export_thinned_to_one_row_for_each_fixation_keeps_the_durations() -> None:
    rows = [gaze(100, "a", 1, 240), gaze(350, "a", 2, 180), gaze(600, "b", 3, 900), gaze(1600, "b", 4, 700)]
    assert spans(fixations(rows)) == [("a", 100, 240), ("a", 350, 180), ("b", 600, 900), ("b", 1600, 700)]


def test_stimulus_shown_twice_is_two_presentations() -> None:
    shown = ["a", "b", "a", "", "a"]
    rows = [gaze(100 * at + 10 * step, name, at + 1, 100) for at, name in enumerate(shown) for step in range(10)]
    named = [("P1", name) for name in shown if name]
    assert fixations(rows).ids == named
    assert [pair for pair in read(export(rows)).ids if pair[1]] == named
    assert spans(fixations(rows))[-1] == ("a", 400, 100)


def test_other_stimulus_id_of_the_same_name_is_another_presentation() -> None:
    rows = [gaze(10 * step, "a", 1, 200, StimuliID=step // 10) for step in range(20)]
    assert read(export(rows)).ids == [("P1", "a")] * 2
    assert spans(fixations(rows)) == [("a", 0, 100), ("a", 100, 100)]


def test_recordings_of_a_person_have_clocks_and_numbers_of_their_own() -> None:
    one = [gaze(10 * step, "a", 1, 100, **{"Recording name": "Rec 1"}) for step in range(10)]
    two = [gaze(10 * step + 5, "a", 1, 60, **{"Recording name": "Rec 2"}) for step in range(6)]
    table = fixations([*one, *two])
    assert table.ids == [("P1", "a")] * 2
    assert spans(table) == [("a", 0, 100), ("a", 5, 60)]
    mixed = fixations([row for pair in zip(one[:6], two, strict=True) for row in pair])
    assert sorted(spans(mixed)) == [("a", 0, 60), ("a", 5, 60)]
    assert read(export([*one, *two])).ids == [("P1", "a")] * 2


def test_header_that_comes_again_is_no_other_person() -> None:
    rows = [row | {"Sensor": ""} for row in (gaze(time, "a", 1, 100) for time in range(0, 100, 10))]
    head = {name: name for name in rows[0]}
    text = export([{name: row[name] for name in row if name != "Sensor"} for row in (*rows[:5], head, *rows[5:])])
    assert len(read(text, fixed={"participant": "P1"}).rows) == 10
    assert spans(cut_to_windows(read(text, "fixations", {"participant": "P1"}))) == [("a", 0, 100)]


def test_people_of_a_file_do_not_come_between_each_other() -> None:
    rows = [gaze(10 * step, "a", 1, 100, **{"Participant name": who}) for step in range(10) for who in ("P1", "P2")]
    table = fixations(rows)
    assert sorted(table.ids) == [("P1", "a"), ("P2", "a")]
    assert table.columns["duration_ms"].tolist() == [100, 100]
    with pytest.raises(ReadError, match="the path names one participant"):
        read(export(rows), fixed={"participant": "P1"})


def test_rows_without_participant_cost_no_fixation() -> None:
    rows = [gaze(10 * step, "a", 1, 100) for step in range(10)]
    rows[0]["Participant name"] = rows[4]["Participant name"] = ""
    assert spans(fixations(rows)) == [("a", 10, 90)]
    assert read(export(rows)).rows.tolist() == [2, 3, 4, 6, 7, 8, 9, 10]


def test_bad_row_costs_a_row() -> None:
    rows = [gaze(10 * step, "a", 1, 100) for step in range(10)]
    rows[0] |= {FIX_X: "three", X: "four"}
    rows[3] |= {TIME: "late", LASTS: "long"}
    rows[5] |= {TIME: ""}
    table = read(export(rows), "fixations")
    assert spans(table) == [("a", 0, 100)]
    assert table.columns["x_px"].tolist() == [100]
    samples = read(export(rows))
    assert samples.ids == [("P1", "a")]
    assert samples.rows.tolist() == [2, 3, 5, 7, 8, 9, 10]
    assert sorted(reject.row for reject in samples.rejects) == [1, 4, 6]


def test_fixations_outside_any_trial_are_counted() -> None:
    rows = [gaze(10 * step, "a" if step < 10 else "", step // 10 + 1, 100) for step in range(30)]
    table = read(export(rows), "fixations")
    assert spans(table) == [("a", 0, 100)]
    assert [reject.reason for reject in table.rejects] == ["2 fixations lie outside any trial, this is the first"]


def test_messages_are_the_event_with_its_value() -> None:
    rows = [gaze(10 * step, "a", step // 10 + 1, 100) for step in range(30)]
    start = {TIME: 55, "Participant name": "P1", "Event": "ImageStimulusStart", "Event value": "face 1"}
    end = {TIME: 155, "Participant name": "", "Event": "ImageStimulusEnd", "Event value": "face 1"}
    rows[6:6], rows[17:17] = [start], [end]
    messages = {"start": "^ImageStimulusStart (?P<trial>.+)", "end": "^ImageStimulusEnd"}
    samples = read(export(rows), messages=messages)
    assert samples.ids == [("P1", "face 1")]
    assert samples.columns["timestamp_ms"].tolist() == list(range(60, 160, 10))
    assert spans(fixations(rows, messages=messages)) == [("face 1", 55, 45), ("face 1", 100, 55)]


def test_messages_cut_the_trial_that_the_path_names() -> None:
    rows = [gaze(10 * step, "a", step // 10 + 1, 100) for step in range(30)]
    rows[6:6] = [{TIME: 55, "Participant name": "P1", "Event": "go"}]
    table = read(export(rows), fixed={"trial": "7"}, messages={"start": "^go$"})
    assert table.ids == [("P1", "7")]
    assert table.columns["timestamp_ms"][0] == 60
    assert spans(cut_to_windows(read(export(rows), "fixations", {"trial": "7"}, messages={"start": "go"})))[0] == (
        *("7", 55, 45),
    )
    with pytest.raises(ReadError, match="none of the 1 messages"):
        read(export(rows), fixed={"trial": "7"}, messages={"start": "stop"})


def test_messages_of_each_recording_bracket_on_its_own_clock() -> None:
    rows = []
    for name in ("Rec 1", "Rec 2"):
        own = [gaze(10 * step, "", 1, 100) for step in range(10)]
        own[2:2] = [{TIME: 15, "Participant name": "P1", "Event": "trial", "Event value": name[-1]}]
        rows += [row | {"Recording name": name} for row in own]
    table = read(export(rows), messages={"start": r"trial (?P<trial>\d)"})
    assert table.ids == [("P1", "1"), ("P1", "2")]
    assert np.bincount(table.codes).tolist() == [8, 8]


def test_several_columns_name_a_trial_together() -> None:
    rows = [gaze(10 * step, "a" if step < 5 else "b", 1, 100, **{"Timeline name": "T 1"}) for step in range(10)]
    trial = ["Timeline name", STIMULUS]
    section = {"reader": "tobii", "path": "export.tsv", "columns": {"trial": trial}}
    table = {"path": "trials.csv", "columns": {"participant": "participant", "trial": ["timeline", "picture"]}}
    spec = declared(trials=table, samples=section, fixations=section)
    for kind, own in spec.gaze().items():
        found = READERS["tobii"].read(GazeFile(export(rows).encode(), "export.tsv", own, {}))
        assert found.ids == [("P1", "T 1/a"), ("P1", "T 1/b")]
        assert np.bincount(found.codes).tolist() == ([5, 5] if kind == "samples" else [1, 1])
