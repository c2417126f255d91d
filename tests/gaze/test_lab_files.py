# SPDX-License-Identifier: Apache-2.0
"""Text as experiments and spreadsheets write it: the same gaze however it is written, or what to declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gazeray.config import ConfigError
from gazeray.gaze.dataset import open_dataset
from gazeray.gaze.recording import RecordingGaze, read_recording
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import FIXATIONS, GAZE, SAMPLES, TRIALS, declared, read_all, write

COLUMNS = SAMPLES["columns"]
LINES = [line.split(",") for line in GAZE.strip().split("\n")]
EYES = (("OS", 190), ("OD", 220))


def written(sep: str, end: str = "", first: str = "", head_end: str = "") -> str:
    """GAZE with other delimiters, with `end` behind each row and `first` before the header."""
    rows = [sep.join(cells) + (end if number else head_end) for number, cells in enumerate(LINES)]
    return first + "\n".join(rows) + "\n"


def recordings(folder: Path, gaze: str, table: str = TRIALS, **changes: Any) -> list[RecordingGaze]:
    """What is read of two people with the same gaze; `changes` are those of the declaration."""
    root = write(folder, {"trials.csv": table, "gaze/P1.csv": gaze, "gaze/P2.csv": gaze})
    return read_all(root, declared(**changes))[1]


def rows(one: RecordingGaze) -> dict[str, list[tuple[float, ...]]]:
    """Trial -> its samples, (time, x, y)."""
    found = {}
    for trial in one.trials:
        assert trial.samples is not None
        columns = (trial.samples[name].tolist() for name in ("timestamp_ms", "x_px", "y_px"))
        found[trial.trial] = list(zip(*columns, strict=True))
    return found


RIGHT = {"1": [(0, 200, 100), (10, 210, 110)], "2": [(0, 300, 120), (10, 310, 130)]}


def fault(folder: Path, gaze: str, **changes: Any) -> str:
    """Why nothing of the gaze of P1 can be read."""
    (one, _) = recordings(folder, gaze, **changes)
    assert not one.trials
    return one.rejects[0].reason


@pytest.mark.parametrize(
    ("gaze", "changes"),
    [
        pytest.param(written(";", first="sep=;\r\n"), {}, id="line_for_excel"),
        pytest.param(written(";", first="SEP=;\n"), {"delimiter": ";"}, id="line_for_excel_and_declared"),
        pytest.param(written(",", end=","), {}, id="delimiter_behind_rows"),
        pytest.param(written(",", head_end=","), {}, id="delimiter_behind_the_header"),
        pytest.param(written(",", end=",", head_end=","), {}, id="delimiter_behind_all"),
        pytest.param(
            written(",", end=",").split("\n", 1)[1],
            {"names": ["trial", "t", "x", "y"]},
            id="delimiter_behind_rows_without_header",
        ),
        pytest.param(written("    ", end="  ", first=" "), {"delimiter": " "}, id="columns_of_equal_width"),
        pytest.param(
            "".join(f"   {'   '.join(f'{float(cell):.7e}' for cell in cells)}\r\n" for cells in LINES[1:]),
            {"delimiter": " ", "names": ["trial", "t", "x", "y"]},
            id="save_ascii_of_matlab",
        ),
        pytest.param(
            "\n".join(f'"{number}" {" ".join(cells)}' for number, cells in enumerate(LINES)).split(" ", 1)[1],
            {"delimiter": " ", "names": ["row", "trial", "t", "x", "y"], "skip_lines": 1},
            id="row_names_of_r_as_the_error_says",
        ),
    ],
)
def test_the_same_gaze_however_it_is_written(tmp_path: Path, gaze: str, changes: dict[str, Any]) -> None:
    for one in recordings(tmp_path, gaze, samples={**SAMPLES, **changes}):
        assert rows(one) == RIGHT
        assert not one.rejects


def test_one_row_that_ends_otherwise_costs_that_row(tmp_path: Path) -> None:
    (one, _) = recordings(tmp_path, GAZE.replace("200,100\n", "200,100,\n"))
    assert rows(one) == RIGHT | {"1": RIGHT["1"][1:]}
    assert [(reject.row, reject.reason) for reject in one.rejects] == [(1, "5 fields instead of 4")]


def test_row_names_of_r_are_refused_with_what_to_declare(tmp_path: Path) -> None:
    gaze = "\n".join(" ".join(cells if not number else [f'"{number}"', *cells]) for number, cells in enumerate(LINES))
    reason = fault(tmp_path, gaze, samples={**SAMPLES, "delimiter": " "})
    assert reason.endswith("do rows begin with their number? declare all columns, as `names`, and skip_lines: 1")
    table = TRIALS.replace("\nP", "\n1,P")
    with pytest.raises(DataError, match="do rows begin with their number"):
        open_dataset(declared(), write(tmp_path / "table", {"trials.csv": table, "gaze/P1.csv": GAZE}))


def test_a_cell_of_any_size_is_a_cell(tmp_path: Path) -> None:
    large = '"' + '{""x"": 1, ""y"": 2},' * 10_000 + '"'
    table = TRIALS.replace("condition", "condition,webgazer_data").replace("C\n", f"C,{large}\n").replace("P\n", "P,\n")
    gaze = GAZE.replace("y\n", "y,more\n", 1).replace("0\n", "0,\n").replace("100,\n", f"100,{large}\n", 1)
    assert [rows(one) for one in recordings(tmp_path, gaze, table)] == [RIGHT, RIGHT]


def test_json_is_refused_by_name(tmp_path: Path) -> None:
    assert fault(tmp_path, '[{"trial": 1, "t": 0, "x": 1, "y": 2}]').startswith("JSON, no text of rows and columns")


@pytest.mark.parametrize("word", ["None", "null", "NULL", "n/a", "N/A", "#N/A", "<NA>", "-", "NaN", ""])
def test_words_for_nothing_are_lost_gaze(tmp_path: Path, word: str) -> None:
    (one, _) = recordings(tmp_path, GAZE.replace("210,110", f"{word},{word}"))
    assert one.trials[0].samples is not None
    assert np.isnan(one.trials[0].samples["x_px"]).tolist() == [False, True]
    assert not one.rejects


@pytest.mark.parametrize("number", ["0", "-1", "-32768", "9999"])
def test_numbers_that_look_like_lost_gaze_are_noted_unless_declared(tmp_path: Path, number: str) -> None:
    gaze = GAZE.replace("210,110", f"{number},{number}").replace("310,130", f"{number}.0,{number}")
    (one, _) = recordings(tmp_path, gaze)
    cause = f"gaze at {number}, {number} is taken as it stands; is it lost? declare it, as `missing`"
    assert one.notes == [f"gaze/P1.csv: {cause}: 2 of 4 rows"]
    (one, _) = recordings(tmp_path, gaze, samples={**SAMPLES, "missing": [float(number)]})
    assert not one.notes


def test_pupils_that_are_none_are_noted_unless_declared(tmp_path: Path) -> None:
    gaze = GAZE.replace("y\n", "y,p\n").replace("0\n", "0,-1\n").replace("100,-1", "100,3.5")
    channel: dict[str, Any] = {"column": "p", "unit": "mm"}
    (one, _) = recordings(tmp_path, gaze, samples={**SAMPLES, "channels": {"pupil_left": channel}})
    assert [note.split("; ")[0] for note in one.notes] == ["gaze/P1.csv: values of pupil_left that are not above 0"]
    channel["missing"] = [-1]
    (one, _) = recordings(tmp_path, gaze, samples={**SAMPLES, "channels": {"pupil_left": channel}})
    assert not one.notes


# -- tables and messages with a decimal comma

TIMED = "participant;trial;condition;start_ms;end_ms\n" + "".join(
    f"{who};1;C;0;1,5\n{who};2;P;5;6,5\n" for who in ("P1", "P2")
)
LONG = "t,x,y\n" + "".join(f"{time},{200 + time // 10},100\n" for time in range(0, 7000, 100))


def timed(**more: Any) -> dict[str, Any]:
    columns = {name: own for name, own in COLUMNS.items() if name != "trial"}
    table = {"path": "trials.csv", "delimiter": ";", "units": {"start_ms": "s", "end_ms": "s"}, **more}
    return {"trials": table, "samples": {**SAMPLES, "windows": "trials", "columns": columns}}


def test_times_with_a_decimal_comma_in_the_trials_table(tmp_path: Path) -> None:
    (one, _) = recordings(tmp_path, LONG, TIMED, **timed(decimal=","))
    assert {trial: (own[0][0], own[-1][0]) for trial, own in rows(one).items()} == {"1": (0, 1400), "2": (5000, 6400)}
    with pytest.raises(DataError, match=r"end_ms holds '1,5': a decimal comma\? declare decimal: ','"):
        recordings(tmp_path, LONG, TIMED, **timed())


def test_times_in_the_trials_table_of_people_in_one_file(tmp_path: Path) -> None:
    gaze = "who," + LONG.replace("\n", "\nP1,").removesuffix("P1,")
    gaze += gaze.split("\n", 1)[1].replace("P1", "P2").replace(",100\n", ",300\n")
    columns = {"participant": "who", **{name: own for name, own in COLUMNS.items() if name != "trial"}}
    samples = {**SAMPLES, "path": "gaze.csv", "windows": "trials", "columns": columns}
    rows_of = {"P1": ("1,C,0,900", "2,P,2000,2900"), "P2": ("1,C,500,1400", "2,P,5000,5900")}
    lines = [f"{who},{row}" for who, own in rows_of.items() for row in own]
    table = "participant,trial,condition,start_ms,end_ms\n" + "\n".join(lines) + "\n"
    root = write(tmp_path, {"trials.csv": table, "gaze.csv": gaze})
    (one,) = read_all(root, declared(samples=samples))[1]
    found = [(trial.participant, trial.trial, trial.samples) for trial in one.trials]
    assert [(who, trial, own["timestamp_ms"][0], own["y_px"][0]) for who, trial, own in found if own is not None] == [
        ("P1", "1", 0, 100),
        ("P1", "2", 2000, 100),
        ("P2", "1", 500, 300),
        ("P2", "2", 5000, 300),
    ]
    write(tmp_path, {"trials.csv": table.replace("2,P,5000", "2,P,1000")})
    (one,) = read_all(root, declared(samples=samples))[1]
    assert [(trial.participant, trial.trial) for trial in one.trials] == [("P1", "1"), ("P1", "2")]
    assert any(reject.participant == "P2" and "overlap" in reject.reason for reject in one.rejects)


def test_geometry_with_a_decimal_comma(tmp_path: Path) -> None:
    table = TRIALS.replace(",", ";").replace("condition", "condition;mm").replace("C\n", "C;531,2\n")
    table = table.replace("P\n", "P;531,2\n")
    screen = {"width_px": 1000, "height_px": 500, "width_mm": "mm"}
    spec = {"path": "trials.csv", "delimiter": ";"}
    root = write(tmp_path, {"trials.csv": table, "gaze/P1.csv": GAZE, "gaze/P2.csv": GAZE})
    data = open_dataset(declared(trials={**spec, "decimal": ","}, screen=screen), root)
    assert data.trials["screen_width_mm"].tolist() == [531.2] * 4
    with pytest.raises(DataError, match="declare decimal: ','"):
        open_dataset(declared(trials=spec, screen=screen), root)
    points = write(tmp_path / "points", {"trials.csv": table.replace(",", "."), "gaze/P1.csv": GAZE})
    with pytest.raises(DataError, match=r"screen_width_mm is not a number"):
        open_dataset(declared(trials={**spec, "decimal": ","}, screen=screen), points)


def test_messages_with_a_decimal_comma(tmp_path: Path) -> None:
    log = "time;text\n0,0;BEGIN 1\n1,5;END\n5,0;BEGIN 2\n6,5;END\n"
    columns = {name: own for name, own in COLUMNS.items() if name != "trial"}
    file = {"path": "log/{participant}.csv", "delimiter": ";", "unit": "s"}
    messages = {"start": "^BEGIN (?P<trial>.+)", "end": "^END", "file": file}
    write(tmp_path, {}, log__P1=log, log__P2=log)
    samples = {**SAMPLES, "columns": columns, "messages": messages}
    assert "a decimal comma? declare decimal: ','" in fault(tmp_path, LONG, samples=samples)
    file["decimal"] = ","
    (one, _) = recordings(tmp_path, LONG + "7000,1\n", samples=samples)
    assert [(reject.trial, reject.reason) for reject in one.rejects if "fields" in reject.reason] == [
        ("", "2 fields instead of 3")
    ]
    assert {trial: (own[0][0], own[-1][0]) for trial, own in rows(one).items()} == {"1": (0, 1400), "2": (5000, 6400)}


# -- times


@pytest.mark.parametrize(
    "words",
    [
        ("29.03.2026 14:03:06.000", "29.03.2026 14:03:06.010"),
        ("03/29/2026 02:03:06.00 PM", "03/29/2026 02:03:06.01 PM"),
        ("2026/03/29 14:03:06", "2026/03/29 14:03:07"),
        ("14:03:06:000", "14:03:06:010"),
        ("03:06.00", "03:06.01"),
        ("03:06", "03:07"),
    ],
)
def test_times_that_are_not_as_iso_8601_has_them_are_refused_with_how_it_has_them(
    tmp_path: Path, words: tuple[str, str]
) -> None:
    gaze = GAZE.replace(",0,", f",{words[0]},").replace(",10,", f",{words[1]},")
    assert "2026-11-28T14:03:05.123, or 14:03:05.123" in fault(tmp_path, gaze)
    assert "as ISO 8601 writes it" in fault(tmp_path, gaze, samples={**SAMPLES, "units": {"timestamp_ms": "iso"}})


def test_durations_of_parquet_are_times(tmp_path: Path) -> None:
    frame = pd.DataFrame([[float(cell) for cell in cells] for cells in LINES[1:]], columns=LINES[0])
    frame["t"] = pd.to_timedelta(frame["t"], unit="ms")
    samples = {**SAMPLES, "reader": "parquet", "path": "gaze/{participant}.parquet"}
    write(tmp_path, {"trials.csv": TRIALS})
    (tmp_path / "gaze").mkdir()
    for who in ("P1", "P2"):
        frame.to_parquet(tmp_path / f"gaze/{who}.parquet")
    root = write(tmp_path, {})
    (one, _) = read_all(root, declared(samples={**samples, "units": {"timestamp_ms": "iso"}}))[1]
    assert rows(one) == RIGHT
    (one, _) = read_all(root, declared(samples=samples))[1]
    assert one.rejects[0].reason.endswith("not numbers: declare its unit as iso")


def test_a_wrong_unit_is_refused_with_what_to_declare(tmp_path: Path) -> None:
    seconds = "trial,t,x,y\n" + "".join(f"{trial},{0.004 * row},200,100\n" for trial in "12" for row in range(20))
    assert fault(tmp_path, seconds).endswith("must be wrong; declare units: {timestamp_ms: ...}, one of ms, s, us, ns")
    lasting = "trial,t,d,x,y\n1,0,.25,200,100\n2,1,.25,200,100\n"
    write(tmp_path, {"trials.csv": TRIALS}, fixations__P1=lasting, fixations__P2=lasting)
    spec = declared(samples=None, fixations=FIXATIONS)
    data = open_dataset(spec, write(tmp_path, {}))
    one = read_recording(spec, write(tmp_path, {}), data.recordings[0], data.trials)
    assert one.rejects[0].reason.endswith("must be wrong; declare units: {duration_ms: ...}, one of ms, s, us, ns")


def test_a_pause_within_a_trial_is_noted(tmp_path: Path) -> None:
    (one, _) = recordings(tmp_path, GAZE + "2,5000,300,120\n2,5010,300,120\n")
    assert one.notes == ["P1: trials with a pause of more than 2 s between samples, such as two under one name: 1"]


# -- places and names


@pytest.mark.parametrize(("unit", "scales"), [("norm", (500, 250)), ("height", (500, 500)), ("px", (1, 1))])
def test_units_of_psychopy_count_from_the_middle(tmp_path: Path, unit: str, scales: tuple[int, int]) -> None:
    cells = [[*row[:2], (int(row[2]) - 500) / scales[0], (250 - int(row[3])) / scales[1]] for row in LINES[1:]]
    gaze = "trial,t,x,y\n" + "".join(",".join(map(str, row)) + "\n" for row in cells)
    place = {"units": {"x_px": unit, "y_px": unit}, "origin": "screen_centre", "y_axis": "up"}
    (one, _) = recordings(tmp_path, gaze, samples={**SAMPLES, **place})
    for trial, own in rows(one).items():
        np.testing.assert_allclose(own, RIGHT[trial], atol=1e-4)


def test_units_of_psychopy_that_are_declared_otherwise_are_refused(tmp_path: Path) -> None:
    gaze = "trial,t,x,y\n" + "".join(f"{trial},{row},{0.9 - row / 10},0.1\n" for trial in "12" for row in range(15))
    place: dict[str, Any] = {"origin": "screen_centre", "y_axis": "up"}
    assert "declare units: norm, height or normalised" in fault(tmp_path, gaze, samples={**SAMPLES, **place})
    place["units"] = {"x_px": "normalised", "y_px": "normalised"}
    assert "declare units: norm, or height" in fault(tmp_path, gaze, samples={**SAMPLES, **place})
    with pytest.raises(ConfigError, match="declare origin: screen_centre"):
        declared(samples={**SAMPLES, "units": {"x_px": "norm", "y_px": "norm"}})


def test_names_that_are_spelt_otherwise_are_named(tmp_path: Path) -> None:
    (one, _) = recordings(tmp_path, GAZE.replace("\n1,", "\n1.0,").replace("\n2,", "\n02,"))
    assert [reject.reason.split("; ")[1] for reject in one.rejects[:2]] == [
        "there it is spelt 'P1', '1': names are compared as text",
        "there it is spelt 'P1', '2': names are compared as text",
    ]
    root = write(tmp_path, {"trials.csv": TRIALS, "gaze/p1.csv": GAZE, "gaze/P2.csv": GAZE})
    rejects = open_dataset(declared(samples={**SAMPLES, "path": "gaze/{participant}.csv"}), root).rejects
    assert any(reject.reason.endswith("there it is spelt 'P1': names are compared as text") for reject in rejects)


def test_eyes_may_be_called_as_doctors_call_them(tmp_path: Path) -> None:
    files = {f"{who}_{eye}.csv": GAZE.replace(",200,", f",{x},") for who in ("P1", "P2") for eye, x in EYES}
    root = write(tmp_path, {"trials.csv": TRIALS, **files})
    samples = {**SAMPLES, "path": "{participant}_{eye}.csv"}
    for eye, x in (("left", 190.0), ("right", 220.0), ("mean", 205.0)):
        (one, _) = read_all(root, declared(samples={**samples, "eye": eye}))[1]
        assert rows(one)["1"][0][1] == x


def test_one_row_without_a_trial_costs_that_row(tmp_path: Path) -> None:
    three = GAZE.replace("1,10,210,110\n", "1,10,210,110\n,15,1,1\n1,20,220,120\n")
    (one, _) = recordings(tmp_path, three)
    assert rows(one) == RIGHT | {"1": [*RIGHT["1"], (20, 220, 120)]}
    assert [(reject.row, reject.reason) for reject in one.rejects] == [(3, "1 rows have no trial, this is the first")]
    (one, _) = recordings(tmp_path, three.replace(",15,1,1\n", ",15,1,1\n,16,1,1\n"))  # a time without a trial
    assert [trial.trial for trial in one.trials] == ["2"]
    assert any(reject.reason.startswith("presented 2 times") for reject in one.rejects)


@pytest.mark.parametrize("gaze_of", ["each", "all"])
def test_messages_of_all_people_in_one_file_say_whose_they_are(tmp_path: Path, gaze_of: str) -> None:
    later = {"P1": 0, "P2": 370}
    gaze = {
        who: [f"{time},{300 + time // 10},{100 if who == 'P1' else 300}" for time in range(shift, 2000, 10)]
        for who, shift in later.items()
    }
    log = "who,time,text\n" + "".join(
        f"{who},{shift + 1000 * trial},BEGIN {trial + 1}\n{who},{shift + 1000 * trial + 100},END\n"
        for who, shift in later.items()
        for trial in (0, 1)
    )
    files = {f"gaze/{who}.csv": "t,x,y\n" + "\n".join(own) + "\n" for who, own in gaze.items()}
    together = "who,t,x,y\n" + "".join(f"{who},{row}\n" for who, own in gaze.items() for row in own)
    root = write(tmp_path, {"trials.csv": TRIALS, "log.csv": log, "gaze.csv": together, **files})
    columns = {name: own for name, own in COLUMNS.items() if name != "trial"}
    file: dict[str, Any] = {"path": "log.csv", "columns": {"participant": "who"}}
    messages = {"start": "^BEGIN (?P<trial>.+)", "end": "^END", "file": file}
    samples = {**SAMPLES, "columns": columns, "messages": messages}
    if gaze_of == "all":
        samples |= {"path": "gaze.csv", "columns": {**columns, "participant": "who"}}
    trials = [trial for one in read_all(root, declared(samples=samples))[1] for trial in one.trials]
    begins = {
        (one.participant, one.trial): (own["timestamp_ms"][0], len(own["x_px"]), own["y_px"][0])
        for one in trials
        if (own := one.samples) is not None
    }
    assert begins == {
        ("P1", "1"): (0, 10, 100),
        ("P1", "2"): (1000, 10, 100),
        ("P2", "1"): (370, 10, 300),
        ("P2", "2"): (1370, 10, 300),
    }
    file["columns"] = {}
    if gaze_of == "each":
        with pytest.raises(ConfigError, match="one file of messages for all people: name its column"):
            declared(samples=samples)
    else:
        (one,) = read_all(root, declared(samples=samples))[1]
        assert "name their column of the participant" in one.rejects[0].reason


def test_an_eye_that_is_not_there_is_named_for_its_person(tmp_path: Path) -> None:
    root = write(tmp_path, {"trials.csv": TRIALS, "P1_R.csv": GAZE, "P2_L.csv": GAZE, "P2_R.csv": GAZE})
    _, (one, two) = read_all(root, declared(samples={**SAMPLES, "path": "{participant}_{eye}.csv", "eye": "left"}))
    assert rows(two) == RIGHT
    assert {(reject.participant, reject.reason.removeprefix("trial without gaze: ")) for reject in one.rejects} == {
        ("P1", "no file of the left eye (there: right)")
    }
