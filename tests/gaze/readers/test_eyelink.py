# SPDX-License-Identifier: Apache-2.0
"""EyeLink .asc files: samples, eyes, blinks, trials, fixations, and what is wrong with a file."""

from __future__ import annotations

import gzip
import re
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError
from gazeray.gaze.readers import READERS, GazeTable, ReadError, eyelink
from gazeray.gaze.readers.base import GazeFile
from tests.gaze.tiny_dataset import declared

NAN = float("nan")
LEFT, BOTH = "LEFT", "LEFT\tRIGHT"


def block(start: int, rows: list[str], eyes: str = LEFT, more: str = "", kind: str = "GAZE", hz: float = 1000) -> str:
    about = f"{kind}\t{eyes}\tRATE\t{hz:7.2f}\tTRACKING\tCR\tFILTER\t2{more}"
    head = f"START\t{start} \t{eyes}\tSAMPLES\tEVENTS\nPRESCALER\t1\nPUPIL\tAREA\nEVENTS\t{about}\nSAMPLES\t{about}\n"
    return head + "".join(f"{row}\n" for row in rows) + f"END\t{start + 90} \tSAMPLES\tEVENTS\tRES\t  47.75\t  45.92\n"


def row(time: float | str, *xy: float | None, tail: str = "\t...") -> str:
    cells = [f"\t{'   .' if x is None else f'{x:7.1f}'}\t{'   .' if y is None else f'{y:7.1f}'}\t  778.0"
             for x, y in zip(xy[::2], xy[1::2], strict=True)]  # fmt: skip
    return f"{time}{''.join(cells)}{tail}"


PREAMBLE = (
    "** CONVERTED FROM a.edf\n** TYPE: EDF_FILE BINARY EVENT SAMPLE TAGGED\n**\n\n"
    "MSG\t90 !CAL Cal coeff:(X=a+bx+cy)\n   -0  187.55  7.0443\n"
    "MSG\t95 DISPLAY_COORDS 0 0 1919 1079\n"
)
ROWS = [row(100, 10, 20), row(101, None, None), row(102, 30.5, 40.5), row(103, -5, 50)]
PLAIN = PREAMBLE + block(100, ROWS)


def read(data: str | bytes, kind: str = "samples", fixed: dict[str, str] | None = None, **section: Any) -> GazeTable:
    both: dict[str, Any] = {"samples": None, kind: {"reader": "eyelink", "path": "{participant}.asc", **section}}
    spec = declared(**both).gaze()["samples" if kind == "samples" else "fixations"]
    raw = data.encode() if isinstance(data, str) else data
    return eyelink.read_eyelink(GazeFile(raw, "P1.asc", spec, {"participant": "P1", **(fixed or {})}))


def trials(table: GazeTable) -> list[str]:
    return [table.ids[code][1] for code in table.codes]


def xs(table: GazeTable) -> list[float]:
    return table.columns["x_px"].tolist()


def test_samples_come_out_with_times_lost_ones_and_line_numbers() -> None:
    table = read(PLAIN)
    assert table.columns["timestamp_ms"].tolist() == [100, 101, 102, 103]
    np.testing.assert_array_equal(table.columns["x_px"], [10, NAN, 30.5, -5])
    np.testing.assert_array_equal(table.columns["y_px"], [20, NAN, 40.5, 50])
    lines = PLAIN.split("\n")
    assert [lines[number - 1] for number in table.rows] == ROWS
    assert trials(table) == ["1"] * 4
    assert (table.n_rows, table.rejects, table.notes) == (4, [], [])
    assert table.header == {"sampling_hz": 1000, "screen_width_px": 1920, "screen_height_px": 1080}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN.replace("\n", "\r\n"), id="crlf"),
        pytest.param(b"\xef\xbb\xbf" + PLAIN.encode(), id="byte_order_mark"),
        pytest.param(PLAIN.encode("utf-16"), id="utf_16"),
        pytest.param(gzip.compress(PLAIN.encode()), id="gzip"),
        pytest.param(PLAIN.replace("!CAL Cal", "Übung").encode("latin-1"), id="latin_1_message"),
        pytest.param(PLAIN.removesuffix("\n"), id="no_newline_at_the_end"),
        pytest.param(PLAIN.replace("\t...", ""), id="no_flags"),
        pytest.param(PLAIN.replace("\t...", "\t  127.0\tC.R"), id="input_and_flags"),
        pytest.param(PLAIN.replace("\t...", "\t  1.5\t  -2.5\t  47.7\t  45.9\t..."), id="velocity_and_resolution"),
        pytest.param(PLAIN.replace("\t...", "\t 1.0\t 2.0\t 600.0\tM............"), id="remote_target"),
        pytest.param(re.sub("\t +", "\t", PLAIN), id="tabs_alone"),
        pytest.param(PLAIN.replace("\t", " "), id="blanks_instead_of_tabs"),
    ],
)
def test_variants_of_the_same_file_read_the_same(data: str | bytes) -> None:
    table, plain = read(data), read(PLAIN)
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(table.columns[name], values)
    assert table.rows.tolist() == plain.rows.tolist()
    assert table.rejects == []


def test_fractions_of_ms_at_2000_hz_are_kept() -> None:
    times = [f"{100 + step / 2:.1f}" for step in range(30)]
    table = read(PREAMBLE + block(100, [row(time, 1, 2) for time in times], hz=2000))
    assert table.columns["timestamp_ms"].tolist() == [float(time) for time in times]
    assert table.notes == []


def test_rate_that_the_clock_contradicts_is_noted() -> None:
    rows = [row(100 + 5 * step, 1, 2) for step in range(20)]
    notes = read(PREAMBLE + block(100, rows, hz=500)).notes
    assert notes == ["the header says 500 Hz, the clock says 200 Hz; the clock is used"]


def test_pause_between_blocks_does_not_slow_the_clock() -> None:
    text = PREAMBLE + "".join(block(at, [row(at + 2 * step, 1, 2) for step in range(20)], hz=500) for at in (0, 9000))
    assert read(text).notes == []


def test_samples_in_a_blink_are_lost() -> None:
    rows = ["SBLINK L 101", *[row(100 + step, 7, 7) for step in range(5)], "EBLINK L 101\t103\t3"]
    np.testing.assert_array_equal(xs(read(PREAMBLE + block(100, rows))), [7, NAN, NAN, NAN, 7])


def test_blink_that_never_ends_lasts_to_the_end_of_its_block() -> None:
    rows = [row(100, 7, 7), "SBLINK L 101", row(101, 7, 7), row(102, 7, 7)]
    text = PREAMBLE + block(100, rows) + block(200, [row(200, 8, 8)])
    np.testing.assert_array_equal(xs(read(text)), [7, NAN, NAN, 8])


def test_blink_of_one_eye_leaves_the_other() -> None:
    rows = [row(100 + step, 1, 1, 2, 2, tail="\t.....") for step in range(4)] + ["EBLINK R 101\t102\t2"]
    text = PREAMBLE + block(100, rows, BOTH)
    assert xs(read(text, eye="left")) == [1, 1, 1, 1]
    np.testing.assert_array_equal(xs(read(text, eye="right")), [2, NAN, NAN, 2])
    assert xs(read(text, eye="mean")) == [1.5, 1, 1, 1.5]


def test_best_eye_is_the_one_with_fewer_lost_samples() -> None:
    rows = [row(100, None, None, 2, 3, tail="\t....."), row(101, 1, 1, 4, 5, tail="\t.....")]
    table = read(PREAMBLE + block(100, rows, BOTH))
    assert xs(table) == [2, 4]
    assert table.notes == ["both eyes are in the file; the right eye is used (lost samples: left 1, right 0)"]


def test_eye_that_was_not_recorded_raises() -> None:
    with pytest.raises(ReadError, match=r"no right eye in the file .there: left."):
        read(PLAIN, eye="right")


def test_eye_that_changes_between_blocks_is_taken_as_recorded() -> None:
    text = PREAMBLE + block(100, [row(100, 1, 1), row(101, 1, 1)]) + block(200, [row(200, 2, 2)], "RIGHT")
    table = read(text)
    assert xs(table) == [1, 1, 2]
    assert "samples of the right eye, the only one recorded then: 1" in table.notes
    np.testing.assert_array_equal(xs(read(text, eye="left")), [1, 1, NAN])


def test_declared_missing_values_are_lost() -> None:
    np.testing.assert_array_equal(xs(read(PLAIN, missing=[-5])), [10, NAN, 30.5, NAN])


@pytest.mark.parametrize(
    ("edges", "xy"),
    [
        pytest.param("-960 -540 959 539", (970, 560), id="from_the_middle"),
        pytest.param("-960 540 959 -540", (970, 520), id="from_the_middle_upwards"),
        pytest.param("0 1079 1919 0", (10, 1059), id="from_the_bottom"),
        pytest.param("1920 0 3839 1079", (-1910, 20), id="second_screen"),
    ],
)
def test_coordinates_of_another_origin_are_brought_to_the_top_left(edges: str, xy: tuple[float, float]) -> None:
    text = PREAMBLE.replace("0 0 1919 1079", edges) + block(100, [ROWS[0], "EFIX L 100\t150\t51\t10\t20\t9"])
    for kind in ("samples", "fixations"):
        table = read(text, kind)
        assert (table.columns["x_px"][0], table.columns["y_px"][0]) == xy
        assert table.notes == [
            "coordinates of another origin, brought to the top left of the screen: the file has "
            f"{edges} for left, top, right, bottom"
        ]
        assert (table.header["screen_width_px"], table.header["screen_height_px"]) == (1920, 1080)
    with pytest.raises(ReadError, match=f"the coordinates of the screen change in the file: .*{edges}"):
        read(text + PREAMBLE)


def test_declared_origin_that_the_file_confirms_is_left_to_the_declaration() -> None:
    text = PREAMBLE.replace("0 0 1919 1079", "-960 540 959 -540") + block(100, [ROWS[0]])
    assert xs(read(text, origin="screen_centre", y_axis="up")) == [10]
    for wrong in ({"origin": "screen_centre"}, {"y_axis": "up"}):
        with pytest.raises(ReadError, match="contradict the file: left, top, right, bottom are 0 0 1919 1079"):
            read(PREAMBLE + block(100, [ROWS[0]]), **wrong)


@pytest.mark.parametrize("kind", ["HREF", "PUPIL"])
def test_data_that_is_not_gaze_raises(kind: str) -> None:
    with pytest.raises(ReadError, match=f"the samples are {kind} data"):
        read(PREAMBLE + block(100, ROWS, kind=kind))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"SR_RESEARCH_COMBINED_FILE\x00\x01", "binary .edf file: convert it with edf2asc", id="edf"),
        pytest.param(b" \n\n", "empty", id="blank"),
        pytest.param(gzip.compress(PLAIN.encode())[:60], "gzip", id="truncated_gzip"),
        pytest.param("hello\nworld\n", "no sample line", id="no_samples"),
        pytest.param("\n".join(ROWS), "no START or SAMPLES line says which eyes", id="samples_alone"),
    ],
)
def test_file_without_anything_to_use_raises(data: str | bytes, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        read(data)


def test_keys_that_mean_nothing_to_the_reader_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read(PLAIN, columns={"x_px": "x"}, units={"timestamp_ms": "us"}, delimiter=",", eye="both")
    assert [error.split(": ")[0] for error in caught.value.errors] == [
        "samples.delimiter", "samples.columns", "samples.units", "samples.eye",
    ]  # fmt: skip


def test_trials_go_from_trialid_to_result_and_what_is_between_is_counted() -> None:
    rows = [
        row(100, 0, 0), "MSG\t101 TRIALID first one", row(101, 1, 1), row(102, 2, 2), "MSG\t103 TRIAL_RESULT 0",
        row(103, 3, 3), "MSG\t104 TRIALID 2", row(104, 4, 4), "MSG\t105 TRIALID: third", row(105, 5, 5),
    ]  # fmt: skip
    table = read(PREAMBLE + block(100, rows))
    assert list(zip(trials(table), xs(table), strict=True)) == [("first", 1), ("first", 2), ("2", 4), ("third", 5)]
    assert [reject.reason for reject in table.rejects] == ["2 samples lie outside any trial, this is the first"]
    assert table.n_rows == 6


@pytest.mark.parametrize("section", [{}, {"messages": {"start": r"TRIALID (?P<trial>\d)"}}])
def test_trial_that_comes_back_is_presented_again(section: dict[str, Any]) -> None:
    rows = ["MSG\t100 TRIALID 7", row(100, 1, 1), "MSG\t101 TRIALID 7", row(101, 2, 2), "MSG\t102 TRIALID 8",
            row(102, 3, 3), "MSG\t103 TRIALID 7", row(103, 4, 4)]  # fmt: skip
    table = read(PREAMBLE + block(100, rows), **section)
    assert [trial for _, trial in table.ids] == ["7", "7", "8", "7"]
    assert table.codes.tolist() == [0, 1, 2, 3]
    assert table.windows is not None
    assert table.windows.tolist() == [[100, 101], [101, 102], [102, 103], [103, np.inf]]


def test_declared_messages_win_over_trialid() -> None:
    rows = ["MSG\t100 TRIALID 7", row(100, 1, 1), "MSG\t101 show pic_3.png", row(101, 2, 2), "MSG\t102 hide",
            row(102, 3, 3), "MSG\t103 show other", row(103, 4, 4)]  # fmt: skip
    text = PREAMBLE + block(100, rows)
    table = read(text, messages={"start": "show (?P<trial>pic_\\d)?", "end": "hide"})
    assert list(zip(trials(table), xs(table), strict=True)) == [("pic_3", 2), ("2", 4)]
    with pytest.raises(ReadError, match=r"none of the 6 messages matches messages.start"):
        read(text, messages={"start": "begin"})


def test_blocks_are_trials_where_no_message_tells() -> None:
    text = PREAMBLE + block(100, ROWS[:2]) + block(200, ROWS[2:])
    assert trials(read(text)) == ["1", "1", "2", "2"]


def test_trial_in_the_path_takes_the_whole_file() -> None:
    text = PREAMBLE + block(100, ["MSG\t99 TRIALID 5", *ROWS])
    assert trials(read(text, fixed={"trial": "T9"})) == ["T9"] * 4


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("101\t   1.0", "2 fields instead of 5"),
        ("101\t   1.0\t   2.0\t 3.0\t...\t...", "6 fields instead of 5"),
        ("101\t   x1.0\t   2.0\t 3.0\t...", "x0: 'x1.0' is not a usable number"),
        ("101 2\t   1.0\t   2.0\t 3.0\t...", "time: '101 2' is not a usable number"),
        ("101\t   1e300\t   2.0\t 3.0\t...", "x0: '1e+300' is not a usable number"),
    ],
)
def test_broken_line_is_rejected_and_the_rest_kept(broken: str, reason: str) -> None:
    text = PREAMBLE + block(100, [row(100, 1, 1), broken, row(102, 3, 3), row(103, 4, 4)])
    table = read(text)
    assert xs(table) == [1, 3, 4]
    assert [(reject.row, reject.reason, reject.trial) for reject in table.rejects] == [
        (text.split("\n").index(broken) + 1, reason, "1")
    ]
    assert table.n_rows == 4


def test_samples_before_any_header_are_rejected() -> None:
    table = read(row(50, 9, 9) + "\n" + PLAIN)
    assert len(table.rows) == 4
    assert [(reject.row, reject.reason[:27]) for reject in table.rejects] == [(1, "no START or SAMPLES line be")]


EVENTS = [
    "SFIX L   100", row(100, 1, 1), "MSG\t101 TRIAL_RESULT 0", row(101, 1, 1),
    "EFIX L   100\t101\t2\t  141.0\t  132.2\t    791",
    "MSG\t102 TRIALID b", row(102, 3, 3), "ESACC L  102\t103\t2\t   .\t   .\t  852.1\t  616.2\t 2.3\t    102",
    "EFIX L   102\t110\t9\t  -3.5\t  12.0\t    791\t 40.1\t 41.2", "EFIX L   111\t120\t9999\t  1.0\t  2.0\t    791",
]  # fmt: skip


def test_fixations_belong_to_the_trial_in_which_they_begin() -> None:
    table = read(PREAMBLE + "MSG\t99 TRIALID a\n" + block(100, EVENTS), "fixations")
    assert trials(table) == ["a", "b"]
    assert table.columns["onset_ms"].tolist() == [100, 102]
    assert table.columns["duration_ms"].tolist() == [2, 9]
    assert xs(table) == [141, -3.5]
    assert table.columns["y_px"].tolist() == [132.2, 12]
    assert [reject.reason for reject in table.rejects] == ["EFIX from 111 to 120 ms says that it lasts 9999 ms"]
    assert table.n_rows == 3


def test_fixations_come_from_the_eye_that_the_samples_come_from() -> None:
    fixes = ["EFIX L   100\t109\t10\t 1.0\t 1.0\t 7", "EFIX R   101\t110\t10\t 2.0\t 2.0\t 7"]
    rows = [row(100, None, None, 2, 2, tail="\t....."), row(101, 1, 1, 2, 2, tail="\t.....")]
    text = PREAMBLE + block(100, rows + fixes, BOTH)
    assert xs(read(text, "fixations")) == [2]
    assert xs(read(text, "fixations", eye="left")) == [1]
    assert xs(read(PREAMBLE + block(100, [*fixes, fixes[0]], BOTH), "fixations")) == [1, 1]
    with pytest.raises(ReadError, match="have no mean"):
        read(text, "fixations", eye="mean")


def test_fixations_in_angles_raise() -> None:
    with pytest.raises(ReadError, match="the events are HREF data"):
        read(PREAMBLE + block(100, EVENTS, kind="HREF"), "fixations")


def test_file_without_fixations_raises() -> None:
    with pytest.raises(ReadError, match="no fixation"):
        read(PLAIN, "fixations")


def line_by_line(text: str) -> tuple[list[float], list[float], list[float]]:
    """The obvious reader of the left eye, one line after the other."""
    times, x, y = [], [], []
    blink = False
    for line in text.split("\n"):
        words = line.split()
        if line.startswith("SBLINK L"):
            blink = True
        elif line.startswith("EBLINK L"):
            blink = False
        elif line[:1].isdigit():
            lost = blink or "." in words[1:3]
            times.append(float(words[0]))
            x.append(NAN if lost else float(words[1]))
            y.append(NAN if lost else float(words[2]))
    return times, x, y


def random_file(seed: int, n_blocks: int = 3) -> str:
    rng = np.random.default_rng(seed)
    text, time = PREAMBLE, 100
    for _ in range(n_blocks):
        rows, blink = [], 0
        for _ in range(200):
            if blink == 0 and rng.random() < 0.02:
                blink, start = int(rng.integers(2, 20)), time
                rows.append(f"SBLINK L {time}")
            xy = (None, None) if rng.random() < 0.1 else tuple(rng.uniform(-50, 2000, 2).round(1))
            rows.append(row(time, *xy))
            if blink == 1:
                rows.append(f"EBLINK L {start}\t{time}\t{time - start + 1}")
            blink = max(0, blink - 1)
            time += 2
        if blink:
            rows.append(f"EBLINK L {start}\t{time}\t{time - start + 1}")
        text += block(time - 400, rows, hz=500)
        time += 1000
    return text


@pytest.mark.parametrize("seed", range(5))
def test_random_file_agrees_with_reading_line_by_line(seed: int) -> None:
    text = random_file(seed)
    table = read(text)
    for name, values in zip(("timestamp_ms", "x_px", "y_px"), line_by_line(text), strict=True):
        np.testing.assert_array_equal(table.columns[name], values)
    assert trials(table) == [str(number) for number in (1, 2, 3) for _ in range(200)]


def test_reader_is_registered_and_needs_no_columns() -> None:
    assert READERS["eyelink"].described
    assert READERS["eyelink"].supplies == ("trial",)
