# SPDX-License-Identifier: Apache-2.0
"""A damaged or odd file costs what it holds, never the study."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.gaze.tiny_dataset import FILES, SAMPLES, TRIALS, declared, pairs, read_all, write


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


BAD_BYTE = pa.Array.from_buffers(pa.string(), 4, pa.array([b"1", b"2", b"\xff", b"2"], pa.binary()).buffers())
GAZE_COLUMNS: dict[str, Any] = {
    "trial": ["1", "1", "2", "2"],
    "t": [0, 10, 0, 10],
    "x": [200.0, 210.0, 300.0, 310.0],
    "y": [100.0] * 4,
}


@pytest.mark.parametrize(
    ("content", "kept", "words"),
    [
        pytest.param(parquet(**GAZE_COLUMNS), 2, "", id="sound"),
        pytest.param(parquet(**{**GAZE_COLUMNS, "trial": BAD_BYTE}), 2, "not UTF-8 text", id="bad_byte"),
        pytest.param(parquet(**{**GAZE_COLUMNS, "x": [1e300, 210.0, 300.0, 310.0]}), 2, "1e+300", id="overflow"),
        pytest.param(parquet(**{**GAZE_COLUMNS, "x": [[1.0]] * 4}), 0, "has the type list", id="nested"),
        pytest.param(parquet(**{**GAZE_COLUMNS, "trial": [b"1", b"1", b"2", b"2"]}), 2, "", id="binary_names"),
        pytest.param(parquet(**{**GAZE_COLUMNS, "y": [Decimal("60.5")] * 4}), 2, "", id="decimals"),
        pytest.param(
            parquet(**{**GAZE_COLUMNS, "y": pa.array(["50", "50", "60", "60"]).dictionary_encode()}),
            2,
            "",
            id="dictionary",
        ),
        pytest.param(
            parquet(trial=pa.array([], pa.string()), t=pa.array([], pa.float64()), x=[], y=[]), 0, "rows", id="no_rows"
        ),
        pytest.param(b"\0" * 4096, 0, "zero bytes", id="zero_bytes"),
        pytest.param(b"PAR1" + b"\0" * 40 + b"PAR1", 0, "Parquet", id="damaged"),
    ],
)
def test_odd_parquet_costs_what_it_holds(tmp_path: Path, content: bytes, kept: int, words: str) -> None:
    files = {"trials.csv": TRIALS, "gaze/P1.parquet": content, "gaze/P2.parquet": parquet(**GAZE_COLUMNS)}
    spec = declared(samples={**SAMPLES, "reader": "parquet", "path": "gaze/{participant}.parquet"})
    data, found = read_all(write(tmp_path, files), spec)
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]
    assert [len(part.trials) for part in found] == [kept, 2]
    told = [reject.reason for reject in found[0].rejects]
    assert bool(told) == bool(words)
    assert not words or words in told[0] or kept == 0


@pytest.mark.parametrize("column", ["participant", "trial", "condition"])
def test_byte_that_is_not_utf_8_costs_a_row_of_the_trials_table(tmp_path: Path, column: str) -> None:
    names = {"participant": ["P1", "P1", "P2", "P2"], "trial": ["1", "2", "1", "2"], "condition": ["C", "P", "C", "P"]}
    cells = [cell.encode() for cell in names[column]]
    cells[2] = b"\xff"
    text = pa.Array.from_buffers(pa.string(), 4, pa.array(cells, pa.binary()).buffers())
    files = {**FILES, "trials.parquet": parquet(**{**names, column: text})}
    data, _ = read_all(write(tmp_path, files), declared(trials={"path": "trials.parquet"}))
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "2")]
    assert [reject.row for reject in data.rejects] == [3]


def test_trials_table_may_hold_columns_of_any_type(tmp_path: Path) -> None:
    columns = {
        "participant": pa.array(["P1", "P1", "P2", "P2"]).dictionary_encode(),
        "trial": [Decimal(1), Decimal(2), Decimal(1), Decimal(2)],
        "condition": [b"C", b"P", b"C", b"P"],
        "more": [[1], [2], [3], [4]],
    }
    files = {**FILES, "trials.parquet": parquet(**columns)}
    data, found = read_all(write(tmp_path, files), declared(trials={"path": "trials.parquet"}))
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]
    assert [len(part.trials) for part in found] == [2, 2]


def test_channel_that_overflows_is_lost(tmp_path: Path) -> None:
    gaze = "trial,t,x,y,p\n1,0,200,100,1e300\n1,10,210,110,3.5\n2,0,300,120,1e39\n2,10,310,130,-inf\n"
    spec = declared(samples={**SAMPLES, "channels": {"pupil": {"column": "p", "unit": "mm"}}})
    _, found = read_all(write(tmp_path, {**FILES, "gaze/P1.csv": gaze, "gaze/P2.csv": gaze}), spec)
    first, second = (trial.samples for trial in found[0].trials)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first["pupil"], [np.nan, 3.5])
    np.testing.assert_array_equal(second["pupil"], [np.nan, np.nan])
