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
from gazeray.gaze.readers.plain_text import check_columns
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
    return {name: file.spec.column(name) for name in names if name not in file.fixed}


def parquet_columns(data: bytes, source: str, wanted: Mapping[str, str]) -> pa.Table:
    """Columns of a Parquet file. Raises ReadError: not Parquet, truncated, no rows, a column that is missing."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        check_columns(list(wanted.values()), file.schema_arrow.names, source)
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
    channels: Mapping[str, tuple[np.ndarray, str]] | None = None,
    presentation: np.ndarray | None = None,
    windows: np.ndarray | None = None,
) -> GazeTable:
    """The columns of a file (numbers, or text that should be numbers) as a GazeTable.

    `columns` are by our name: what messages call the column, and its N cells (Arrow); those of ids that the path gives
    are left out. `units` are those of the times. `rows` (N,) are row numbers, `n_rows` counts all data rows of the
    file, `rejects` are the faults found so far, a coordinate equal to one of `missing` is lost. A row is rejected when
    a cell is not a number, when a time is missing, or when an id is. `channels` are by name: values (N,) and unit.
    Rows of a person that name the same trial are one presentation while no other row of that person comes between, and
    while `presentation` (N,) int, what else tells presentations apart, stays the same. `windows` (S, 2) are start and
    end, ms, of presentation 0, 1, ...
    """
    source = file.source
    people, trials = (
        different_names(columns[name][1]) if name in columns else ([given], None)
        for name, given in zip(IDS, file.ids, strict=True)
    )
    ids, codes, first = _presentations(people, trials, len(rows), presentation)
    found = GazeTable(ids, codes, {}, rows, n_rows, list(rejects))
    if presentation is not None and windows is not None:
        found = replace(found, windows=windows[presentation[first]])
    for number, name in enumerate(IDS):
        nameless = np.flatnonzero(np.isin(codes, [code for code, pair in enumerate(ids) if not pair[number]]))
        if len(nameless):
            reason = f"{len(nameless)} rows have no {name}, this is the first"
            found.rejects.append(Reject(source, int(rows[nameless[0]]), "read", reason))
    faulty = np.isin(codes, [code for code, pair in enumerate(ids) if not all(pair)])
    for name in (*TIMES[file.spec.kind], *COORDINATES):
        theirs, cells = columns[name]
        try:
            values, bad = parsed_times(cells, units.get(name, ""))
        except ValueError as error:
            raise ReadError(source, f"column {theirs!r} {error}") from error
        if name in COORDINATES and missing:
            values = np.where(np.isin(values, missing), np.nan, values)
        bad = bad | (np.abs(values) > LARGEST)
        empty = np.zeros_like(bad) if name in COORDINATES else np.isnan(values) & ~bad
        for mask, fault in ((bad, "is not a usable number"), (empty, "is not a time")):
            found.rejects.extend(_faults(found, cells, theirs, np.flatnonzero(mask & ~faulty), fault, source))
        faulty |= bad | empty
        found.columns[name] = values
    for name, (channel, unit) in (channels or {}).items():
        found.columns[name], found.units[name] = channel, unit
    return replace(found.where(~faulty), rejects=found.rejects)


def parsed_times(cells: Any, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,), in ms where `unit` is one of times, NaN where there are none; and which cells (N,) are neither
    numbers nor empty.

    Raises ValueError for a column of another type.
    """
    if unit == "iso":
        return iso_ms(cells)
    column = as_numbers(cells, comma=False, largest=np.inf)
    factor = TIME_UNITS_MS.get(unit, 1.0)
    return (column.values if factor == 1.0 else column.values * factor), column.bad


def iso_ms(cells: Any) -> tuple[np.ndarray, np.ndarray]:
    """Dates with times, or times of day, as ISO 8601 writes them (text), or Arrow time stamps: ms (N,) since 1970 or
    midnight, NaN where there is none; and which cells (N,) are something else."""
    cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    if pa.types.is_timestamp(cells.type) or pa.types.is_time(cells.type):
        series = cells.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64)
        return series * (TIME_UNITS_MS[str(cells.type.unit)]), np.zeros(len(cells), dtype=bool)
    text = pd.Series(cells.cast(pa.string()).to_pandas()).str.strip()
    absent = text.isna() | text.isin(MISSING_CELLS)
    dated = text.where(~text.str.match(r"^\d{1,2}:", na=False), "1970-01-01T" + text)
    stamps = pd.to_datetime(dated.where(~absent), format="ISO8601", errors="coerce", utc=True)
    ms = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1)
    return ms.to_numpy(np.float64), (stamps.isna() & ~absent).to_numpy(bool)


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


def _presentations(
    participant: tuple[list[str], np.ndarray | None],
    trial: tuple[list[str], np.ndarray | None],
    n: int,
    further: np.ndarray | None,
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """The P presentations (participant, trial) of a file in the order in which they begin, (n,) which of them each row
    belongs to, and (P,) the index of the first row of each; codes None: the only name. See `gaze_table`."""
    (people, person), (trials, code) = participant, trial
    if code is None and further is None and person is None:
        return [(people[0], trials[0])], np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64)
    person = np.zeros(n, dtype=np.int64) if person is None else person
    code = np.zeros(n, dtype=np.int64) if code is None else code
    further = np.zeros(n, dtype=np.int64) if further is None else further
    order = np.argsort(person, kind="stable")  # rows of other people do not come between
    changes = np.zeros(n, dtype=bool)
    changes[:1] = True
    for key in (person[order], code[order], further[order]):
        changes[1:] |= key[1:] != key[:-1]
    run = np.empty(n, dtype=np.int64)
    run[order] = np.cumsum(changes) - 1
    first = order[np.flatnonzero(changes)]
    place = np.empty(len(first), dtype=np.int64)
    begins = np.argsort(first, kind="stable")
    place[begins] = np.arange(len(first))
    ids = [(people[person[row]], trials[code[row]]) for row in first[begins].tolist()]
    return ids, place[run], first[begins]
