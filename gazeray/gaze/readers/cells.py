# SPDX-License-Identifier: Apache-2.0
"""From the columns of a file to a `GazeTable`: names, numbers, units of time, lost coordinates, rejected rows.

Shared by the readers of tabular files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import COORDINATES, IDS, TIME_UNITS_MS, TIMES, GazeSpec, GazeTable, ReadError
from gazeray.tables import Reject

MISSING_CELLS = ("", "nan", "NaN", "NAN", "NA", ".")
"""Cells that say that there is no value."""

LARGEST = 1e15
"""No coordinate in px and no time in ms is larger (a date is 2e12 ms); 1.8e308 and the like stand for an overflow."""

REJECTS_PER_FAULT = 100
"""Rows named one by one for the same fault in the same file; those beyond are counted in one more reject."""

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def wanted_columns(spec: GazeSpec, fixed: Mapping[str, str]) -> dict[str, str]:
    """Our name -> the file's name of every column to read: the ids that the path does not give, times, coordinates."""
    names = (*IDS, *TIMES[spec.kind], *COORDINATES)
    return {name: spec.columns[name] for name in names if name not in fixed}


def check_columns(wanted: Mapping[str, str], present: Sequence[str], source: str) -> None:
    """Raises ReadError naming the columns that are missing (and those present) or there twice."""
    missing = [name for name in dict.fromkeys(wanted.values()) if name not in present]
    if missing:
        raise ReadError(source, f"no column {', '.join(map(repr, missing))} (present: {', '.join(present)})")
    twice = [name for name in dict.fromkeys(wanted.values()) if list(present).count(name) > 1]
    if twice:
        raise ReadError(source, f"column {', '.join(map(repr, twice))} is there more than once")


def gaze_table(
    table: pa.Table,
    rows: np.ndarray,
    n_rows: int,
    source: str,
    spec: GazeSpec,
    fixed: Mapping[str, str],
    rejects: Sequence[Reject] = (),
) -> GazeTable:
    """The columns of a file (numbers, or text that should be numbers) as a GazeTable.

    `rows` (N,) are the row numbers of the N rows of `table`, `n_rows` counts all data rows of the file, `rejects` are
    the faults found so far. A row is rejected when a cell is not a number, when a time is missing, or when an id is.
    """
    wanted = wanted_columns(spec, fixed)
    people, trials = (_ids(table[wanted[name]]) if name in wanted else ([fixed[name]], None) for name in IDS)
    ids, codes = _pairs(people, trials, len(rows))
    found = GazeTable(ids, codes, {}, rows, n_rows, list(rejects))
    for number, name in enumerate(IDS):
        nameless = np.flatnonzero(np.isin(codes, [code for code, pair in enumerate(ids) if not pair[number]]))
        if len(nameless):
            reason = f"{len(nameless)} rows have no {name}, this is the first"
            found.rejects.append(Reject(source, int(rows[nameless[0]]), "read", reason))
    faulty = np.isin(codes, [code for code, pair in enumerate(ids) if not all(pair)])
    for name, theirs in wanted.items():
        if name in IDS:
            continue
        values, bad = _numbers(table[theirs], theirs, source)
        values = _converted(values, name, spec)
        bad |= np.abs(values) > LARGEST
        empty = np.zeros_like(bad) if name in COORDINATES else np.isnan(values) & ~bad
        for mask, fault in ((bad, "is not a usable number"), (empty, "is not a time")):
            found.rejects.extend(_faults(found, table[theirs], theirs, np.flatnonzero(mask & ~faulty), fault, source))
        faulty |= bad | empty
        found.columns[name] = values
    return replace(found.where(~faulty), rejects=found.rejects)


def row_rejects(
    source: str,
    rows: np.ndarray,
    stage: str,
    reason: Callable[[int], str],
    ids: Callable[[int], tuple[str, str]],
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


def _ids(cells: Any) -> tuple[list[str], np.ndarray]:
    """A column of names: the different names ("" = none), and (N,) which of them each row has.

    Whole floats read as ints: 3.0 is trial "3".
    """
    encoded = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
    encoded = pa.chunked_array(encoded.unify_dictionaries().chunks, type=encoded.type).combine_chunks()
    raw = encoded.dictionary.to_pylist()
    suffix = ".0" if pa.types.is_floating(encoded.type.value_type) else ""
    texts = ["" if name is None or name != name else identifier(str(name).removesuffix(suffix)) for name in raw]
    number: dict[str, int] = {}
    code = np.array([number.setdefault(text, len(number)) for text in [*texts, ""]])
    return list(number), code[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)]


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


def _numbers(cells: Any, name: str, source: str) -> tuple[np.ndarray, np.ndarray]:
    """A column as float64 (N,), NaN where it has no value, and where (N,) it holds something that is no number."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells = cells.cast(kind.value_type)
        kind = cells.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(cells)
        missing = pc.is_in(text, value_set=pa.array(MISSING_CELLS, type=kind), skip_nulls=True)
        number = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
        bad = pc.and_not(pc.and_not(pc.is_valid(text), missing), number)
        text = pc.utf8_ltrim(pc.if_else(number, text, None), characters="+")
        return _float64(text), bad.to_numpy(zero_copy_only=False).copy()
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.null()):
        raise ReadError(source, f"column {name!r} has the type {kind}, not numbers")
    return _float64(cells), np.zeros(len(cells), dtype=bool)


def _float64(cells: Any) -> np.ndarray:
    """A column that can be cast to float64, as an array; nulls become NaN."""
    cells = cells if cells.type == pa.float64() else pc.cast(cells, pa.float64(), safe=False)
    return np.asarray(cells.to_numpy(), dtype=np.float64)


def _converted(values: np.ndarray, name: str, spec: GazeSpec) -> np.ndarray:
    """Times in ms; coordinates that the declaration calls missing become NaN."""
    if name in COORDINATES:
        return np.where(np.isin(values, spec.missing), np.nan, values) if spec.missing else values
    factor = TIME_UNITS_MS[spec.unit(name)]
    return values if factor == 1.0 else values * factor
