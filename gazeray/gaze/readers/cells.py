# SPDX-License-Identifier: Apache-2.0
"""From the columns of a file to a `GazeTable`: names, numbers, units of time, lost coordinates, rejected rows.

Shared by the readers of tabular files.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import COORDINATES, IDS, TIME_UNITS_MS, TIMES, GazeFile, GazeTable, ReadError
from gazeray.tables import Reject

MISSING_CELLS = ("", "nan", "NaN", "NAN", "NA", ".")
"""Cells that say that there is no value."""

LARGEST = 1e15
"""No coordinate in px and no time in ms is larger (a date is 2e12 ms); 1.8e308 and the like stand for an overflow."""

REJECTS_PER_FAULT = 100
"""Rows named one by one for the same fault in the same file; those beyond are counted in one more reject."""

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Numbers:
    """A column as numbers. `values` (N,) float64, NaN where missing or bad; `bad` (N,) bool, no usable number there;
    `cells` what stands in the file."""

    values: np.ndarray
    bad: np.ndarray
    cells: Any

    def fault(self, index: int, name: str) -> str:
        """What is wrong with a bad cell."""
        return f"{name}: {str(self.cells[index].as_py()).strip()[:60]!r} is not a usable number"


def as_numbers(
    cells: Any, missing: Sequence[str] = MISSING_CELLS, comma: bool = True, largest: float = LARGEST
) -> Numbers:
    """An Arrow column of numbers, or of text in which a decimal point (or with `comma` a decimal comma) may stand.

    `missing` are the texts that stand for no value. Numbers beyond `largest` are not usable. Raises ValueError for a
    column of another type.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = cells.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(cells)
        text = pc.replace_substring(text, ",", ".") if comma else text
        absent = pc.is_in(text, value_set=pa.array(missing, kind), skip_nulls=True)
        number = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
        wrong = pc.and_not(pc.and_not(pc.is_valid(text), absent), number)
        bad = wrong.to_numpy(zero_copy_only=False)
        plain = pc.utf8_ltrim(pc.if_else(number, text, None), characters="+")
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.null():
        plain, bad = cells, np.zeros(len(cells), dtype=bool)
    else:
        raise ValueError(f"has the type {kind}, not numbers")
    plain = plain if plain.type == pa.float64() else pc.cast(plain, pa.float64(), safe=False)
    values = np.asarray(plain.to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = bad | (np.abs(values) > largest)
    return Numbers(np.where(bad, np.nan, values), bad, cells)


def wanted_columns(file: GazeFile) -> dict[str, str]:
    """Our name -> the file's name of every column to read: the ids that the path does not give, times, coordinates."""
    names = (*IDS, *TIMES[file.spec.kind], *COORDINATES)
    return {name: file.spec.columns[name] for name in names if name not in file.fixed}


def check_columns(wanted: Mapping[str, str], present: Sequence[str], source: str) -> None:
    """Raises ReadError naming the columns that are missing (and those present) or there twice."""
    missing = [name for name in dict.fromkeys(wanted.values()) if name not in present]
    if missing:
        raise ReadError(source, f"no column {', '.join(map(repr, missing))} (present: {', '.join(present)})")
    twice = [name for name in dict.fromkeys(wanted.values()) if list(present).count(name) > 1]
    if twice:
        raise ReadError(source, f"column {', '.join(map(repr, twice))} is there more than once")


def parquet_columns(data: bytes, source: str, wanted: Mapping[str, str]) -> pa.Table:
    """Columns of a Parquet file. Raises ReadError: not Parquet, truncated, no rows, a column that is missing."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        check_columns(wanted, file.schema_arrow.names, source)
        table = file.read(columns=list(dict.fromkeys(wanted.values())))
    except (pa.ArrowException, OSError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise ReadError(source, "a header without rows")
    return table


def gaze_table(
    file: GazeFile,
    columns: Mapping[str, tuple[str, Any]],
    units: Mapping[str, str],
    rows: np.ndarray,
    n_rows: int,
    rejects: Sequence[Reject] = (),
    missing: Sequence[float] = (),
) -> GazeTable:
    """The columns of a file (numbers, or text that should be numbers) as a GazeTable.

    `columns` are by our name: what messages call the column, and its N cells (Arrow); those of ids that the path gives
    are left out. `units` are those of the times. `rows` (N,) are row numbers, `n_rows` counts all data rows of the
    file, `rejects` are the faults found so far, a coordinate equal to one of `missing` is lost. A row is rejected when
    a cell is not a number, when a time is missing, or when an id is.
    """
    source = file.source
    people, trials = (
        different_names(columns[name][1]) if name in columns else ([given], None)
        for name, given in zip(IDS, file.ids, strict=True)
    )
    ids, codes = _pairs(people, trials, len(rows))
    found = GazeTable(ids, codes, {}, rows, n_rows, list(rejects))
    for number, name in enumerate(IDS):
        nameless = np.flatnonzero(np.isin(codes, [code for code, pair in enumerate(ids) if not pair[number]]))
        if len(nameless):
            reason = f"{len(nameless)} rows have no {name}, this is the first"
            found.rejects.append(Reject(source, int(rows[nameless[0]]), "read", reason))
    faulty = np.isin(codes, [code for code, pair in enumerate(ids) if not all(pair)])
    for name in (*TIMES[file.spec.kind], *COORDINATES):
        theirs, cells = columns[name]
        try:
            column = as_numbers(cells, comma=False, largest=np.inf)
        except ValueError as error:
            raise ReadError(source, f"column {theirs!r} {error}") from error
        values = column.values
        if name in COORDINATES:
            values = np.where(np.isin(values, missing), np.nan, values) if missing else values
        elif (factor := TIME_UNITS_MS[units[name]]) != 1.0:
            values = values * factor
        bad = column.bad | (np.abs(values) > LARGEST)
        empty = np.zeros_like(bad) if name in COORDINATES else np.isnan(values) & ~bad
        for mask, fault in ((bad, "is not a usable number"), (empty, "is not a time")):
            found.rejects.extend(_faults(found, cells, theirs, np.flatnonzero(mask & ~faulty), fault, source))
        faulty |= bad | empty
        found.columns[name] = values
    return replace(found.where(~faulty), rejects=found.rejects)


def row_rejects(
    source: str, rows: np.ndarray, stage: str, reason: Callable[[int], str], ids: Callable[[int], tuple[str, str]]
) -> list[Reject]:
    """One reject per row, and from REJECTS_PER_FAULT rows on a single one that counts the rest.

    `rows` (N,) are row numbers; `reason` and `ids` (participant, trial) are asked with an index into them.
    """
    named = [
        Reject(source, int(row), stage, reason(index), *ids(index))
        for index, row in enumerate(rows[:REJECTS_PER_FAULT])
    ]
    rest = len(rows) - len(named)
    if rest:
        more = f"{rest} more rows like this one, from here on: {reason(len(named))}"
        named.append(Reject(source, int(rows[len(named)]), stage, more))
    return named


def _faults(found: GazeTable, cells: Any, name: str, where: np.ndarray, fault: str, source: str) -> list[Reject]:
    """Rejects for the rows `where` (M,), each naming the column and what stands in the cell."""

    def reason(index: int) -> str:
        value = cells[int(where[index])].as_py()
        return f"column {name}: {'an empty cell' if value is None else repr(value)[:60]} {fault}"

    return row_rejects(source, found.rows[where], "read", reason, lambda index: found.ids[found.codes[where[index]]])


def different_names(cells: Any) -> tuple[list[str], np.ndarray]:
    """A column of names: the different names, the last of which is "" (none), and (N,) which of them each row has.

    Whole floats read as ints: 3.0 is trial "3".
    """
    encoded = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
    encoded = pa.chunked_array(encoded.unify_dictionaries().chunks, type=encoded.type).combine_chunks()
    raw = encoded.dictionary.to_pylist()
    suffix = ".0" if pa.types.is_floating(encoded.type.value_type) else ""
    texts = ["" if name is None or name != name else identifier(str(name).removesuffix(suffix)) for name in raw]
    number = {name: at for at, name in enumerate(dict.fromkeys(filter(None, texts)))}
    code = np.array([number.get(text, len(number)) for text in [*texts, ""]])
    return [*number, ""], code[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)]


def _pairs(
    participant: tuple[list[str], np.ndarray | None], trial: tuple[list[str], np.ndarray | None], n: int
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """The (participant, trial) pairs of a file and (n,) which of them each row has; codes None: the only name."""
    (people, person), (trials, code) = participant, trial
    if person is None or code is None:
        pairs = [(one, other) for one in people for other in trials]
        codes = code if person is None else person
        return pairs, np.zeros(n, dtype=np.int64) if codes is None else codes
    codes, present = pd.factorize(person * len(trials) + code)
    return [(people[both // len(trials)], trials[both % len(trials)]) for both in present], codes
