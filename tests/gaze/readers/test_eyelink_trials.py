# SPDX-License-Identifier: Apache-2.0
"""EyeLink .asc files: which trial samples and fixations belong to, what messages say of trials, pupils."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazeray.gaze.dataset import open_dataset
from gazeray.gaze.mending import cut_to_windows
from gazeray.gaze.readers import GazeTable
from gazeray.gaze.readers.base import GazeFile, ReadError
from gazeray.gaze.readers.eyelink import eyelink_trials
from gazeray.gaze.recording import read_recording
from gazeray.storage import Folder
from tests.gaze.readers.test_eyelink import BOTH, NAN, PREAMBLE, block, read, row, trials, xs
from tests.gaze.tiny_dataset import declared

SYNC = {"start": r"^SYNCTIME (?P<trial>\w+)", "end": "^STOP"}


def lasting(table: GazeTable) -> list[tuple[str, float, float, float]]:
    """Trial, onset, duration and x of fixations, cut to their trials."""
    cut = cut_to_windows(table)
    columns = (cut.columns[name].tolist() for name in ("onset_ms", "duration_ms", "x_px"))
    return list(zip(trials(cut), *columns, strict=True))


def efix(start: int, end: int, x: float, eye: str = "L", pupil: str = "  900", step: int = 2) -> str:
    return f"EFIX {eye}   {start}\t{end}\t{end - start + step}\t  {x:5.1f}\t  400.0\t{pupil}"


def test_fixation_beyond_its_trial_is_cut_to_each_that_it_lasts_into() -> None:
    lines = ["SFIX L   1000", "MSG\t1200 SYNCTIME a", efix(1000, 1400, 1), "SFIX L   1440", "MSG\t2000 STOP",
             "MSG\t2400 SYNCTIME b", "MSG\t3000 STOP", efix(1440, 3400, 2), "SFIX L   3440",
             efix(3440, 3900, 3)]  # fmt: skip
    table = read(PREAMBLE + block(1000, lines), "fixations", messages=SYNC)
    assert lasting(table) == [("a", 1200, 202, 1), ("a", 1440, 560, 2), ("b", 2400, 600, 2)]
    assert [reject.reason for reject in table.rejects] == ["1 fixations lie outside any trial, this is the first"]
    assert table.n_rows == 3


def test_fixation_between_trialid_and_result_is_cut_and_needs_no_start_line() -> None:
    lines = ["MSG\t1200 TRIALID 1", "MSG\t1300 TRIAL_RESULT 0", efix(1100, 1398, 1)]
    assert lasting(read(PREAMBLE + block(1000, lines), "fixations")) == [("1", 1200, 100, 1)]


def test_name_of_several_words_is_noted() -> None:
    text = PREAMBLE + block(
        1000, ["MSG\t1000 TRIALID face 1", row(1002, 1, 1), "MSG\t1010 TRIALID dog", row(1012, 1, 1)]
    )
    table = read(text)
    assert trials(table) == ["face", "dog"]
    assert [note.partition(": ")[2] for note in table.notes if "TRIALID" in note] == ["TRIALID face 1"]
    assert not any("TRIALID" in note for note in read(text, messages={"start": r"TRIALID (?P<trial>.+)"}).notes)


def test_fixations_of_a_block_are_its_own_and_whole() -> None:
    text = PREAMBLE + block(1000, [efix(1000, 1400, 1)]) + block(500, [efix(500, 900, 2)])
    assert lasting(read(text, "fixations")) == [("1", 1000, 402, 1), ("2", 500, 402, 2)]


def test_clock_that_starts_again_tells_trials_apart() -> None:
    text = "".join(
        PREAMBLE + f"MSG\t995 TRIALID {name}\n"
        + block(1000, ["SFIX L 1000", *(row(1000 + 2 * step, x, 1) for step in range(45)), efix(1000, 1080, x)])
        + "MSG\t1091 TRIAL_RESULT 0\n"
        for x, name in enumerate(["a", "b", "a"])
    )  # fmt: skip
    table = read(text)
    assert table.ids == [("P1", "a"), ("P1", "b"), ("P1", "a")]
    assert table.codes.tolist() == [0] * 45 + [1] * 45 + [2] * 45 == xs(table)
    assert table.windows is not None
    assert table.windows.tolist() == [[995, 1091]] * 3
    assert lasting(read(text, "fixations")) == [("a", 1000, 82, 0), ("b", 1000, 82, 1), ("a", 1000, 82, 2)]


def test_trial_ends_at_the_latest_where_the_clock_starts_again() -> None:
    one = block(5000, ["MSG\t5001 TRIALID a", row(5002, 1, 1), efix(5002, 5050, 1)])
    two = block(100, [row(100, 2, 2), efix(100, 180, 2), "MSG\t150 TRIALID b", row(151, 3, 3)])
    table = read(PREAMBLE + one + two)
    assert list(zip(trials(table), xs(table), strict=True)) == [("a", 1), ("b", 3)]
    assert table.windows is not None
    assert table.windows.tolist() == [[5001, np.inf], [150, np.inf]]
    assert lasting(read(PREAMBLE + one + two, "fixations")) == [("a", 5002, 50, 1), ("b", 150, 32, 2)]


@pytest.mark.parametrize(
    ("said", "start", "window"),
    [
        pytest.param("MSG\t1020 -13 SYNCTIME a", r"^SYNCTIME (?P<trial>\w+)", 1033, id="will_happen"),
        pytest.param("MSG\t1020 10 SYNCTIME a", r"^SYNCTIME (?P<trial>\w+)", 1010, id="has_happened"),
        pytest.param("MSG\t1020 -13 SYNCTIME a", r"^-?\d+ SYNCTIME (?P<trial>\w+)", 1033, id="offset_in_the_pattern"),
        pytest.param("MSG\t1020 13 shown", r"^(?P<trial>\d+) shown", 1020, id="number_is_the_name"),
        pytest.param("MSG\t1020 13 shown a", r"^13 shown (?P<trial>\w+)", 1020, id="number_is_asked_for"),
        pytest.param("MSG\t1020 7654321 on a", r"on (?P<trial>\w+)", 1020, id="number_is_no_offset"),
        pytest.param("MSG\t1020 13", r"^(?P<trial>\d+)$", 1020, id="number_alone"),
    ],
)
def test_offset_before_a_message_moves_its_event(said: str, start: str, window: float) -> None:
    lines = [*(row(1000 + step, 1, 1) for step in range(20)), said, *(row(1020 + step, 1, 1) for step in range(40))]
    table = read(PREAMBLE + block(1000, lines), messages={"start": start})
    assert table.windows is not None
    assert table.windows[0, 0] == window
    assert table.columns["timestamp_ms"].tolist() == list(np.arange(window, 1060))


def test_messages_told_after_the_trial_bracket_it_by_their_offsets() -> None:
    lines = [*(row(1000 + step, 1, 1) for step in range(50)), "MSG\t1050 10 STOP", "MSG\t1050 30 SYNCTIME a"]
    table = read(PREAMBLE + block(1000, lines), messages=SYNC)
    assert table.columns["timestamp_ms"].tolist() == list(range(1020, 1040))


def test_messages_cut_the_trial_that_the_path_names() -> None:
    lines = [row(1000, 0, 0), "MSG\t1001 SYNCTIME x", row(1001, 1, 1), "MSG\t1002 STOP", row(1002, 2, 2)]
    table = read(PREAMBLE + block(1000, lines), fixed={"trial": "T9"}, messages=SYNC)
    assert (table.ids, xs(table)) == ([("P1", "T9")], [1])
    again = [*lines, "MSG\t1003 SYNCTIME x", row(1003, 3, 3)]
    table = read(PREAMBLE + block(1000, again), fixed={"trial": "T9"}, messages=SYNC)
    assert (table.ids, table.codes.tolist()) == ([("P1", "T9")] * 2, [0, 1])


def test_message_without_a_time_costs_itself_alone() -> None:
    text = PREAMBLE + block(1000, ["MSG\t1000 TRIALID 1", row(1000, 1, 1), "MSG\tx TRIALID 2", row(1001, 2, 2)])
    table = read(text)
    assert trials(table) == ["1", "1"]
    assert [(reject.reason, reject.trial) for reject in table.rejects] == [("MSG without a time", "1")]


# -- pupils


def test_pupils_come_along_and_are_lost_at_zero_and_in_blinks() -> None:
    rows = ["100\t 1.0\t 1.0\t 700.0\t 2.0\t 2.0\t 800.0\t.....", "101\t .\t .\t 0.0\t 2.0\t 2.0\t 801.0\t.....",
            "102\t 1.0\t 1.0\t 702.0\t 2.0\t 2.0\t .\t.....", "EBLINK L 102\t102\t1"]  # fmt: skip
    table = read(PREAMBLE + block(100, rows, BOTH))
    np.testing.assert_array_equal(table.columns["pupil_left"], [700, NAN, NAN])
    np.testing.assert_array_equal(table.columns["pupil_right"], [800, 801, NAN])
    assert table.units == dict.fromkeys(["pupil_left", "pupil_right"], "a.u. (area)")
    assert (table.rejects, table.eye) == ([], "")


def test_one_eye_gives_one_pupil_in_the_unit_of_the_file() -> None:
    text = (PREAMBLE + block(100, [row(100, 1, 1), efix(100, 150, 1), efix(152, 190, 1, pupil="0")])).replace(
        "AREA", "DIAMETER"
    )
    for kind, sizes in (("samples", [778]), ("fixations", [900, NAN])):
        table = read(text, kind)
        np.testing.assert_array_equal(table.columns["pupil_left"], sizes)
        assert (table.units, table.eye) == ({"pupil_left": "a.u. (diameter)"}, "left")
        assert "pupil_right" not in table.columns


def test_pupils_whose_unit_changes_are_left_out_with_a_note() -> None:
    text = PREAMBLE + block(100, [row(100, 1, 1)]) + block(200, [row(200, 1, 1)]).replace("AREA", "DIAMETER")
    table = read(text)
    assert not [name for name in table.columns if "pupil" in name]
    assert table.notes == ["pupils are left out, their unit changes in the file: AREA, DIAMETER"]


# -- what edf2asc may write otherwise


@pytest.mark.parametrize("word", [".", "-32768", "100000000", "-1", "0", "NaN", "missing"])
def test_whatever_stands_for_missing_is_lost(word: str) -> None:
    rows = [f"100\t{word}\t{word}\t    0.0\t...", row(101, 5, 6), row(102, 7, 7)]
    table = read(PREAMBLE + block(100, rows))
    np.testing.assert_array_equal(xs(table), [NAN, 5, 7])
    assert table.rejects == []


def test_decimal_commas_of_all_lines_are_read() -> None:
    lines = ["MSG\t100 !CAL VALIDATION HV9 R RIGHT GOOD ERROR 0,40 avg. 0,84 max OFFSET 0,1 deg. 1,0,2,0 pix.",
             "MSG\t100,5 TRIALID 1", row(100.5, 10.5, 20.5).replace(".", ","),
             "EFIX L 100,5\t120,5\t20,5\t1,5\t2,5\t900"]  # fmt: skip
    text = PREAMBLE + block(100, lines).replace("1000.00", "1000,00")
    table, fixations = read(text), read(text, "fixations")
    assert (xs(table), table.columns["y_px"].tolist(), table.header["sampling_hz"]) == ([10.5], [20.5], 1000)
    assert table.accuracy == [{"validation_right_deg": 0.4, "validation_right_max_deg": 0.84}]
    assert lasting(fixations) == [("1", 100.5, 20.5, 1.5)]


def test_truncated_last_line_costs_itself_alone() -> None:
    text = PREAMBLE + block(100, [row(100, 1, 1), row(101, 2, 2), row(102, 3, 3)]).split("\n" + row(102, 3, 3))[0]
    for cut in ("\n10", "\n102\t    3.0\t", "\n102\t    3.0\t    3"):
        table = read(text + cut)
        assert xs(table) == [1, 2]
        assert len(table.rejects) == 1
    fixations = read(text + "\n" + efix(100, 150, 1) + "\nEFIX L   160\t190\t32\t  10", "fixations")
    assert lasting(fixations) == [("1", 100, 52, 1)]
    fixations = read(text + "\n" + efix(100, 150, 1) + "\nEFIX L   160\t190\t32\t  100.0\t  40", "fixations")
    assert lasting(fixations) == [("1", 100, 52, 1)]
    assert [reject.reason for reject in fixations.rejects] == ["EFIX with 5 fields behind the eye instead of 6"]


def test_fixations_of_the_only_eye_recorded_are_taken() -> None:
    text = PREAMBLE + block(100, [efix(100, 150, 1), efix(152, 170, 1)]) + block(200, [efix(200, 250, 2, "R")], "RIGHT")
    table = read(text, "fixations")
    assert [(trial, x) for trial, _, _, x in lasting(table)] == [("1", 1), ("1", 1), ("2", 2)]
    np.testing.assert_array_equal(table.columns["pupil_right"], [NAN, NAN, 900])
    assert "fixations of the other eye, the only one recorded then: 1" in table.notes
    assert [x for *_, x in lasting(read(text, "fixations", eye="right"))] == [2]


# -- what messages say of trials


def validation(ms: int, mode: str, eye: str, said: str) -> str:
    return f"MSG\t{ms} !CAL VALIDATION HV9 {mode} {eye}  {said}"


def test_accuracy_is_that_of_the_last_validation_before_a_presentation() -> None:
    lines = [
        "MSG\t100 TRIALID 1", row(100, 1, 1, 1, 1, tail="\t....."),
        validation(101, "LR", "LEFT", "GOOD ERROR 0.40 avg. 0.84 max  OFFSET 0.11 deg. 3.7,2.4 pix."),
        validation(101, "LR", "RIGHT", "POOR ERROR 1.50 avg. 2.40 max  OFFSET 0.11 deg. 3.7,2.4 pix."),
        "MSG\t102 TRIALID 2", row(102, 1, 1, 1, 1, tail="\t....."), "MSG\t103 !CAL VALIDATION LR ABORTED",
        "MSG\t104 TRIALID 3", row(104, 1, 1, 1, 1, tail="\t....."),
        validation(9000, "R", "RIGHT", "GOOD ERROR 0.30 avg. 0.50 max  OFFSET 0.11 deg. 3.7,2.4 pix."),
        "MSG\t9001 TRIALID 1", row(9001, 1, 1, 1, 1, tail="\t....."),
    ]  # fmt: skip
    both = {"validation_left_deg": 0.4, "validation_left_max_deg": 0.84, "validation_right_deg": 1.5,
            "validation_right_max_deg": 2.4}  # fmt: skip
    right = {"validation_right_deg": 0.3, "validation_right_max_deg": 0.5}
    table = read(PREAMBLE + block(100, lines, BOTH))
    assert [trial for _, trial in table.ids] == ["1", "2", "3", "1"]
    assert table.accuracy == [{}, both, both, right]


def test_accuracy_of_a_block_and_of_a_whole_file_is_that_before_it() -> None:
    first = validation(90, "L", "LEFT", "GOOD ERROR 0.40 avg. 0.84 max  OFFSET 0.11 deg. 3.7,2.4 pix.\n")
    second = validation(195, "L", "LEFT", "GOOD ERROR 0.20 avg. 0.30 max  OFFSET 0.11 deg. 3.7,2.4 pix.\n")
    text = PREAMBLE + first + block(100, [row(100, 1, 1)]) + second + block(200, [row(200, 1, 1)])
    assert [own["validation_left_deg"] for own in read(text).accuracy] == [0.4, 0.2]
    assert [own["validation_left_deg"] for own in read(text, fixed={"trial": "T9"}).accuracy] == [0.4]


def told(text: str, fixed: dict[str, str] | None = None, **section: object) -> list[list[str]]:
    spec = declared(samples={"reader": "eyelink", "path": "{participant}.asc", **section}).samples
    assert spec is not None
    names, rows = eyelink_trials(GazeFile(text.encode(), "P1.asc", spec, {"participant": "P1", **(fixed or {})}))
    return [names, *rows]


VARIABLES = PREAMBLE + "".join(
    f"MSG\t{at} TRIALID {name}\n"
    + block(at, [f"MSG\t{at} SYNCTIME {name}", row(at, 500, 250), f"MSG\t{at + 80} STOP"])
    + f"MSG\t{at + 91} !V TRIAL_VAR condition {value}\nMSG\t{at + 92} TRIAL_RESULT 0\n{more}"
    for at, name, value, more in (
        (1000, "1", "two words", "MSG\t1093 !V TRIAL_VAR trial 7\n"), (2000, "2", "b", ""), (3000, "1", "c", "")
    )
)  # fmt: skip


def test_trial_variables_are_told_for_each_presentation() -> None:
    expected = [["trial", "condition", "var_trial"], ["1", "two words", "7"], ["2", "b", ""], ["1", "c", ""]]
    assert told(VARIABLES) == expected
    assert told(VARIABLES, messages=SYNC) == expected
    assert told(VARIABLES, {"trial": "T9"}) == [["trial", "condition", "var_trial"], ["T9", "c", "7"]]


def test_trial_variables_may_be_told_by_labels_and_data() -> None:
    data = ["!V TRIAL_VAR_DATA a the boy runs", "!V TRIAL_VAR_DATA b"]
    trial = [
        f"MSG\t{at} TRIALID {at}\n{row(at, 1, 1)}\nMSG\t{at} {said}" for at, said in zip((100, 101), data, strict=True)
    ]
    text = PREAMBLE + "MSG\t96 TRIAL_VAR_LABELS kind sentence\n" + block(100, trial)
    assert told(text) == [["trial", "kind", "sentence"], ["100", "a", "the boy runs"], ["101", "b", ""]]
    tabs = text.replace("a the boy runs", "very easy\tthe boy")
    assert told(tabs) == [["trial", "kind", "sentence"], ["100", "very easy", "the boy"], ["101", "b", ""]]
    unnamed = text.replace("MSG\t96 TRIAL_VAR_LABELS kind sentence\n", "")
    assert told(unnamed)[0] == ["trial", "VAR1", "VAR2", "VAR3", "VAR4"]


def test_file_without_variables_tells_its_trials() -> None:
    assert told(PREAMBLE + block(100, [row(100, 1, 1)]) + block(200, [row(200, 1, 1)])) == [["trial"], ["1"], ["2"]]
    with pytest.raises(ReadError, match="none of the 2 messages matches"):
        told(PREAMBLE, messages={"start": "^x"})


def test_variables_are_the_labels_of_a_data_set(tmp_path: Path) -> None:
    for person in ("P1", "P2"):
        (tmp_path / f"{person}.asc").write_text(VARIABLES)
    gaze = {"reader": "eyelink", "path": "{participant}.asc"}
    trials = {**gaze, "repeats": "number", "columns": {}}
    labels = {"condition": {"two words": "two", "b": "bee", "c": "sea"}}
    spec = declared(trials=trials, samples=gaze, labels=labels)
    data = open_dataset(spec, Folder(tmp_path))
    assert data.trials[["participant", "trial"]].to_numpy().tolist() == [
        [person, trial] for person in ("P1", "P2") for trial in ("1", "2", "1#2")
    ]
    first = read_recording(spec, Folder(tmp_path), data.recordings[0], data.trials)
    assert [(trial.trial, trial.samples["timestamp_ms"][0]) for trial in first.trials if trial.samples] == [
        ("1", 1000), ("2", 2000), ("1#2", 3000),
    ]  # fmt: skip


@pytest.mark.parametrize("repeats", ["refuse", "join"])
def test_trial_that_is_told_twice_alike_is_one(tmp_path: Path, repeats: str) -> None:
    """Whatever else the experiment wrote of each: what no label or geometry uses does not count."""
    again = VARIABLES.replace("condition c", "condition two words").replace("TRIAL_VAR trial 7", "TRIAL_VAR index 7")
    for person in ("P1", "P2"):
        (tmp_path / f"{person}.asc").write_text(again)
    gaze = {"reader": "eyelink", "path": "{participant}.asc"}
    trials = {**gaze, "repeats": repeats, "columns": {}}
    spec = declared(trials=trials, samples=gaze, labels={"condition": {"two words": "two", "b": "bee"}})
    data = open_dataset(spec, Folder(tmp_path))
    assert data.trials["trial"].tolist() == ["1", "2"] * 2
    assert not data.rejects
    first = read_recording(spec, Folder(tmp_path), data.recordings[0], data.trials)
    assert [trial.trial for trial in first.trials] == (["2"] if repeats == "refuse" else ["1", "2"])
    refused = [one.reason for one in first.rejects if "presented 2 times" in one.reason]
    assert len(refused) == (repeats == "refuse")


# -- against the obvious reader


def random_session(seed: int) -> tuple[str, list[tuple[str, float]], dict[str, float]]:
    """A file whose clock starts again, with trials, offsets and fixations anywhere; (trial, time) of its samples; and
    how long each trial is fixated in all."""
    rng = np.random.default_rng(seed)
    text, samples, fixated = "", [], {}
    for part in range(3):
        start = int(rng.integers(100, 5000))
        end = start + 2000
        edges = np.sort(rng.choice(np.arange(start, end), 6, replace=False)).tolist()
        windows = list(zip(edges[::2], edges[1::2], strict=True))
        events = [(float(at), row(at, 1, 1)) for at in range(start, end)]
        onset = start + int(rng.integers(0, 50))
        while onset + 40 < end:
            last = min(onset + int(rng.integers(20, 600)), end - 1)
            events += [(onset - 0.5, f"SFIX L {onset}"), (last + 0.5, efix(onset, last, 1, step=1))]
            for number, (first, stop) in enumerate(windows):
                inside = max(0, min(last + 1, stop) - max(onset, first))
                name = f"t{part}{number}"
                fixated[name] = fixated.get(name, 0) + inside
            onset = last + int(rng.integers(10, 60))
        for number, (first, stop) in enumerate(windows):
            late = int(rng.integers(0, 40)) if rng.random() < 0.5 else 0
            said = f"MSG\t{first + late} {f'{late} ' if late else ''}SYNCTIME t{part}{number}"
            events += [(first + late - 0.25, said), (stop - 0.25, f"MSG\t{stop} STOP")]
            samples += [(f"t{part}{number}", float(at)) for at in range(first, stop)]
        text += PREAMBLE + block(start, [line for _, line in sorted(events, key=lambda one: one[0])])
    return text, samples, fixated


@pytest.mark.parametrize("seed", range(5))
def test_random_session_agrees_with_how_it_was_made(seed: int) -> None:
    text, samples, fixated = random_session(seed)
    table = read(text, messages=SYNC)
    assert list(zip(trials(table), table.columns["timestamp_ms"].tolist(), strict=True)) == samples
    found: dict[str, float] = dict.fromkeys(fixated, 0)
    for trial, _, duration, _ in lasting(read(text, "fixations", messages=SYNC)):
        found[trial] += duration
    assert found == fixated
