# SPDX-License-Identifier: Apache-2.0
"""Every key of a declaration means something to its reader, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from gazeray.config import ConfigError, validate
from gazeray.gaze.readers import READERS
from gazeray.gaze.readers.spec import FixationsSpec, GazeSpec, SamplesSpec

TIMES, PLACES = {"timestamp_ms": "t"}, {"x_px": "x", "y_px": "y"}
EYES = {"x_left_px": "xl", "y_left_px": "yl", "x_right_px": "xr", "y_right_px": "yr"}
PLAIN = {"columns": TIMES | PLACES}

KEYS: dict[str, dict[str, Any]] = {
    "delimiter": {"delimiter": ";"},
    "encoding": {"encoding": "latin-1"},
    "names": {"names": ["t", "x", "y"]},
    "skip_lines": {"skip_lines": 2},
    "decimal": {"decimal": ","},
    "units": {"units": {"timestamp_ms": "s"}},
    "missing": {"missing": [-1]},
    "channels": {"channels": {"pupil": {"column": "p"}}},
    "messages": {"messages": {"start": "BEGIN"}},
    "sampling_hz": {"sampling_hz": 250, "columns": PLACES},
    "only": {"only": {"Sensor": ["ET"]}},
    "valid": {"valid": [1], "columns": TIMES | PLACES | {"validity": "ok"}},
    "eye": {"eye": "left", "columns": TIMES | EYES},
    "columns": PLAIN,
}
"""What uses a key, with what it needs beside it."""


def errors(spec: type[GazeSpec] = SamplesSpec, **given: Any) -> list[str]:
    """The mistakes of a declaration of samples (or fixations)."""
    try:
        validate(spec, {"path": "{participant}/{trial}.csv", **given})
    except ConfigError as error:
        return error.errors
    return []


@pytest.mark.parametrize("key", list(KEYS))
@pytest.mark.parametrize("reader", sorted(READERS))
def test_key_is_used_by_the_reader_or_refused(reader: str, key: str) -> None:
    known = READERS[reader]
    given = {key: KEYS[key][key]} if known.described else PLAIN | KEYS[key]
    told = errors(reader=reader, **given)
    if key not in known.keys:
        words = "has no columns to name" if key == "columns" else "has no use for this key"
        assert any(line.startswith(f"{key}: the reader {reader} {words}") for line in told)
    else:
        assert told == []


@pytest.mark.parametrize("given", [{"origin": "screen_centre"}, {"y_axis": "up"}])
@pytest.mark.parametrize("reader", sorted(READERS))
def test_origin_that_the_format_knows_is_not_declared(reader: str, given: dict[str, str]) -> None:
    known = READERS[reader]
    told = errors(reader=reader, **given, **({} if known.described else PLAIN))
    if "y_axis" in known.keys:
        assert told == []
        return
    assert len(told) == 1
    assert told[0].startswith(f"{next(iter(given))}: {next(iter(given.values()))}: what the reader {reader} finds by")
    assert errors(reader=reader, **given, columns={"x_px": "x", "y_px": "y"}) == []


@pytest.mark.parametrize("reader", sorted(READERS))
def test_files_of_messages_and_of_eyes_go_with_every_reader(reader: str) -> None:
    known = READERS[reader]
    kind: Any = SamplesSpec if "samples" in known.kinds else FixationsSpec
    columns = {} if known.described else PLAIN
    told = {"messages": {"start": "a", "file": {"path": "{participant}.log"}}}
    assert errors(kind, reader=reader, **columns, **told) == []
    assert errors(kind, reader=reader, **columns, path="{participant}/{trial}_{eye}.csv", eye="left") == []


def test_every_key_that_means_nothing_is_in_the_list() -> None:
    told = errors(reader="parquet", delimiter=";", skip_lines=2, messages={"start": "x"}, origin="moon", **PLAIN)
    assert [line.split(":")[0] for line in told] == ["delimiter", "skip_lines", "messages", "origin"]
    assert "messages.file" in told[2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({**PLAIN, "eye": "mean"}, "eye: has no meaning here: no columns of two eyes to choose from"),
        ({**PLAIN, "valid": [1]}, "valid has no meaning without a column of validity"),
        ({"columns": TIMES | PLACES | {"validity": "ok"}}, "validity needs the key valid"),
        (
            {"columns": TIMES | PLACES | {"validity_left": "ok"}, "valid": [1]},
            "validity_left has no meaning without x_left_px",
        ),
        ({"columns": TIMES | PLACES | {"validity": "ok"}, "valid": [True]}, "write it in quotes"),
        ({**PLAIN, "sampling_hz": 250}, "timestamp_ms has no place beside sampling_hz"),
        ({"columns": PLACES, "sampling_hz": 0}, "greater than 0"),
        ({"columns": PLACES, "sampling_hz": 250, "only": {"kind": [1]}}, "only has no place beside sampling_hz"),
        (
            {"columns": PLACES, "sampling_hz": 250, "units": {"timestamp_ms": "s"}},
            "timestamp_ms has no unit beside sampling_hz",
        ),
        ({"columns": PLACES}, "does not say which column holds timestamp_ms"),
        ({"columns": TIMES | PLACES | EYES}, "x_px, y_px have no place beside the columns of the eyes"),
        ({"columns": TIMES | {"x_left_px": "x"}}, "does not say which column holds y_left_px"),
        ({"columns": TIMES | {"x_px": "x", "y_px": ["y", "z"]}}, "y_px: one column, not several"),
        ({**PLAIN, "names": ["t", "x"]}, "'y' is not one of names"),
        ({"columns": TIMES | {"x_px": "x", "y_px": "x"}}, "x_px and y_px cannot be one column, 'x'"),
        ({**PLAIN, "encoding": "klingon"}, "no such encoding"),
        ({**PLAIN, "decimal": ";"}, "'.' or ','"),
        ({**PLAIN, "delimiter": "tab"}, "delimiter"),
        ({**PLAIN, "skip_lines": -1}, "greater than or equal to 0"),
        (
            {**PLAIN, "units": {"timestamp_ms": "days"}},
            "timestamp_ms: days: no such unit (allowed: ms, s, us, ns, iso)",
        ),
        ({**PLAIN, "units": {"x_px": "iso"}}, "x_px: iso: no such unit (allowed: px, normalised, norm, height)"),
        ({**PLAIN, "channels": {"Pupil size": {"column": "p"}}}, "no name for a channel: Pupil size"),
        ({**PLAIN, "channels": {"x_px": {"column": "p"}}}, "no name for a channel: x_px"),
        ({**PLAIN, "channels": {"validity": {"column": "p"}}}, "no name for a channel: validity"),
        ({**PLAIN, "channels": {"pupil": {"unit": "mm"}}}, "channels.pupil.column"),
        ({**PLAIN, "channels": {"pupil": {"column": "p", "valid": [False]}}}, "write it in quotes"),
        ({**PLAIN, "messages": {"start": "x", "file": {"path": "a.log", "unit": "days"}}}, "no such unit"),
        ({**PLAIN, "messages": {"start": "(", "file": {"path": "a.log"}}}, "messages.start"),
        ({**PLAIN, "messages": {"start": "x", "file": {"path": "../a.log"}}}, "leaves its folder"),
    ],
)
def test_wrong_value_names_itself(given: dict[str, Any], words: str) -> None:
    told = errors(reader="delimited", **given)
    assert any(words in line for line in told), told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sampling_hz": 250}, "fixations have times of their own"),
        ({"eye": "left"}, "no columns of two eyes"),
        ({"units": {"duration_ms": "iso"}}, "duration_ms: iso: no such unit (allowed: ms, s, us, ns)"),
        ({"valid": [1]}, "valid has no meaning without a column of validity"),
    ],
)
def test_wrong_value_of_fixations_names_itself(given: dict[str, Any], words: str) -> None:
    columns = {"onset_ms": "t", "duration_ms": "d", "x_px": "x", "y_px": "y"}
    told = errors(FixationsSpec, reader="delimited", columns=columns, **given)
    assert any(words in line for line in told), told
