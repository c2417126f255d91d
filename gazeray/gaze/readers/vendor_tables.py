# SPDX-License-Identifier: Apache-2.0
"""What the tabular exports of eye trackers share: finding columns by name, choosing an eye, one row per fixation.

A vendor's reader opens the export as a `Sheet`, reads the columns that it knows (`Sheet.read`), computes times and
coordinates from them, and hands both to `build`, which rejects what is no number and returns the `GazeTable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gazeray.gaze.readers.base import COORDINATES, IDS, TIMES, GazeSpec, GazeTable, ReadError, unpacked
from gazeray.gaze.readers.cells import MISSING_CELLS, check_columns, gaze_table, row_rejects
from gazeray.gaze.readers.delimited import header_of, parse
from gazeray.gaze.readers.text import Numbers, as_bytes, as_numbers, as_utf8, one_gaze, without_missing
from gazeray.tables import Reject

MISSING = (*MISSING_CELLS, "n/a", "N/A", "-", "null")
"""Cells without a value in vendors' exports."""

LARGEST = 1e20
"""No clock counts further, in whatever unit."""

DELIMITERS = "\t;,"
"""Tried on the header; the one that is there most often separates the columns."""

Pairs = dict[str, tuple[str, str]]
"""Eye -> the names of its columns of x and y."""


@dataclass(frozen=True)
class Cells:
    """Columns that were read; N rows of the `n_rows` of the file.

    rows      (N,) int64, the row in the file, the first data row is 1
    text      name -> (N,) Arrow array of strings, blanks around them removed
    numbers   name -> the column as numbers
    rejects   rows with the wrong number of fields
    """

    rows: np.ndarray
    n_rows: int
    text: dict[str, Any]
    numbers: dict[str, Numbers]
    rejects: list[Reject]

    def values(self, name: str) -> np.ndarray:
        """The numbers of a column (N,) float64, NaN where there is none."""
        return self.numbers[name].values

    def words(self, name: str) -> np.ndarray:
        """The text of a column as lower-case strings, (N,) of objects."""
        return pc.utf8_lower(self.text[name]).to_numpy(zero_copy_only=False)


@dataclass(frozen=True)
class Sheet:
    """A delimited text as UTF-8 `data`: what its columns are called, and how many lines come before the first row."""

    data: bytes
    source: str
    delimiter: str
    names: list[str]
    skip: int
    notes: list[str]

    def find(self, *names: str) -> str | None:
        """The first of the names that is a column, in the spelling of the file.

        Capitals do not count, unless there is a column with just these.
        """
        spelt = {name.lower(): name for name in reversed(self.names)}
        spelt |= {name.lower(): name for name in names if name in self.names}
        return next((spelt[name.lower()] for name in names if name.lower() in spelt), None)

    def need(self, what: str, *names: str) -> str:
        """Like `find`. Raises ReadError when there is none of them."""
        found = self.find(*names)
        if found is None:
            present = ", ".join(self.names)
            raise ReadError(self.source, f"no column for {what}: {' or '.join(map(repr, names))} (present: {present})")
        return found

    def column(self, spec: GazeSpec, name: str, *defaults: str) -> str:
        """The column for one of our names: the declared one, else the first default. Raises ReadError: neither."""
        return self.need(name, spec.columns[name]) if name in spec.columns else self.need(name, *defaults)

    def read(self, text: Iterable[str], numbers: Iterable[str], fixed: Mapping[str, str]) -> Cells:
        """Read columns. Raises ReadError when one of them is there twice or the text cannot be parsed."""
        kinds = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(text, pa.string())
        check_columns({name: name for name in kinds}, self.names, self.source)
        table, wrong = parse(self.data, self.source, self.delimiter, self.names, self.skip, kinds)
        n_rows = table.num_rows + len(wrong)
        if n_rows == 0:
            raise ReadError(self.source, "a header without rows")
        wrong_rows = np.array([number for number, _ in wrong], dtype=np.int64)
        rejects = row_rejects(
            self.source,
            wrong_rows,
            "read",
            lambda index: f"{wrong[index][1]} fields instead of {len(self.names)}",
            lambda index: (fixed.get("participant", ""), fixed.get("trial", "")),
        )
        rows = np.setdiff1d(np.arange(1, n_rows + 1, dtype=np.int64), wrong_rows, assume_unique=True)
        return Cells(
            rows,
            n_rows,
            {name: pc.utf8_trim_whitespace(table[name].combine_chunks()) for name in text},
            {name: _usable(as_numbers(table[name], MISSING)) for name in numbers},
            rejects,
        )


def decoded(data: bytes, source: str) -> tuple[bytes, list[str]]:
    """The text as UTF-8 with line feeds, and a note when it was Latin-1. Raises ReadError: empty, damaged."""
    plain = as_bytes(unpacked(data, source), source)
    text = as_utf8(plain)
    notes = [] if text == plain else ["not UTF-8 text, read as Latin-1"]
    return text, notes


def open_sheet(data: bytes, source: str, spec: GazeSpec) -> Sheet:
    """A delimited text (plain or gzip; UTF-8, UTF-16 or Latin-1) with a header. Raises ReadError when it is none."""
    text, notes = decoded(data, source)
    first = next((line for line in text.split(b"\n", 20)[:20] if line.strip()), b"").decode()
    delimiter = spec.delimiter or max(DELIMITERS, key=first.count)
    names, skip = header_of(text, source, delimiter)
    return Sheet(text, source, delimiter, names, skip, notes)


def declared_pair(sheet: Sheet, spec: GazeSpec, known: Mapping[str, Sequence[str]]) -> Pairs | None:
    """The columns of x and y that a declaration names, None when it names none.

    They are called by the eye of `known` (eye -> its columns of x and y) that both belong to, so that its validity
    holds for them, else "declared". Raises ReadError when just one is named or one is not there.
    """
    named = [name for name in COORDINATES if name in spec.columns]
    if not named:
        return None
    if len(named) == 1:
        raise ReadError(sheet.source, f"the declaration names a column for {named[0]} alone: name x_px and y_px")
    pair = (sheet.column(spec, "x_px"), sheet.column(spec, "y_px"))
    return {next((eye for eye, names in known.items() if set(pair) <= set(names)), "declared"): pair}


def chosen_gaze(
    cells: Cells, pairs: Pairs, lost: Mapping[str, np.ndarray], spec: GazeSpec, source: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """x and y (N,) of the eye asked for, NaN where lost, and notes on the choice.

    `lost` (N,) marks, by eye, what the tracker calls invalid.
    """
    eyes = {}
    for eye, (x, y) in pairs.items():
        x_values, y_values = cells.values(x), cells.values(y)
        invalid = lost.get(eye, np.zeros(len(x_values), dtype=bool))
        eyes[eye] = (np.where(invalid, np.nan, x_values), np.where(invalid, np.nan, y_values))
    eyes = without_missing(eyes, spec)
    if len(eyes) == 1:
        return *next(iter(eyes.values())), []
    return one_gaze(eyes, spec, source)


def named(codes: np.ndarray, names: Sequence[str]) -> Any:
    """Which of `names` each row has (N,), -1 for none, as a column of text."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=codes < 0), pa.array(names, pa.string()))


def first_of_events(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which event each row belongs to, (N,) int counted in the order of the file, and the first row of each event.

    Rows belong to the same event when all keys (each (N,)) are the same.
    """
    code = np.zeros(len(keys[0]), dtype=np.int64)
    for key in keys:
        number, values = pd.factorize(key, use_na_sentinel=False)
        code = pd.factorize(code * (len(values) + 1) + number)[0]
    first = np.unique(code, return_index=True)[1]
    return code, first


def time_units(unit: str, spec: GazeSpec) -> dict[str, str]:
    """Units of the times of samples or fixations: `unit` where the declaration does not name one."""
    return {name: spec.units.get(name, unit) for name in TIMES[spec.kind]}


def coordinate_names(pairs: Pairs) -> tuple[str, str]:
    """What messages call x and y that were taken from these columns."""
    return " or ".join(pair[0] for pair in pairs.values()), " or ".join(pair[1] for pair in pairs.values())


def keys_of(cells: Cells, ids: Mapping[str, str]) -> list[np.ndarray]:
    """The columns of the ids, (N,) of objects each."""
    return [cells.text[name].to_numpy(zero_copy_only=False) for name in ids.values()]


def build(
    cells: Cells,
    sheet: Sheet,
    spec: GazeSpec,
    fixed: Mapping[str, str],
    columns: Mapping[str, tuple[str, Any]],
    units: Mapping[str, str],
    keep: np.ndarray | None = None,
) -> GazeTable:
    """The GazeTable of the rows of the mask `keep` (N,).

    `columns` are by our name: what messages call the column, and its values (N,), floats or Arrow strings; ids that the
    path fixes may be missing. `units` are those of the times. Rows with a number that is none are rejected.
    Raises ReadError when no row is kept.
    """
    keep = np.ones(len(cells.rows), dtype=bool) if keep is None else keep
    if not keep.any():
        raise ReadError(sheet.source, f"no row of {spec.kind}")
    rejects = list(cells.rejects)
    known = (fixed.get("participant", ""), fixed.get("trial", ""))
    for name, column in cells.numbers.items():
        where = np.flatnonzero(column.bad & keep)
        reason = _fault_of(column, name, where)
        rejects += row_rejects(sheet.source, cells.rows[where], "read", reason, lambda index: known)
        keep = keep & ~column.bad
    mine = {ours: pair for ours, pair in columns.items() if ours not in fixed}
    arrays = {theirs: _array(values) for theirs, values in mine.values()}
    table = pa.table({name: pa.chunked_array([values.filter(pa.array(keep))]) for name, values in arrays.items()})
    update = {
        "columns": {ours: theirs for ours, (theirs, _) in mine.items()},
        "units": {**spec.units, **units},
        "missing": [],
    }
    inner = spec.model_copy(update=update)
    found = gaze_table(table, cells.rows[keep], cells.n_rows, sheet.source, inner, fixed, _in_order(rejects))
    return replace(found, notes=list(sheet.notes))


def id_columns(
    sheet: Sheet, spec: GazeSpec, fixed: Mapping[str, str], defaults: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """participant, trial -> the column that holds it, for those that the path does not give."""
    return {name: sheet.column(spec, name, *defaults.get(name, ())) for name in IDS if name not in fixed}


def with_ids(cells: Cells, ids: Mapping[str, str], **columns: tuple[str, Any]) -> dict[str, tuple[str, Any]]:
    """The ids as columns for `build`, before the others."""
    return {name: (theirs, cells.text[theirs]) for name, theirs in ids.items()} | columns


def _usable(column: Numbers) -> Numbers:
    """A clock in ns counts beyond 1e18: numbers up to LARGEST are usable here; in ms and px they are checked again."""
    bad = column.bad & ~(np.abs(column.values) <= LARGEST)
    return replace(column, bad=bad, values=np.where(bad, np.nan, column.values))


def _fault_of(column: Numbers, name: str, where: np.ndarray) -> Callable[[int], str]:
    return lambda index: column.fault(int(where[index]), f"column {name}")


def _array(values: Any) -> Any:
    """Floats with nulls for NaN; strings as they are."""
    return pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values


def _in_order(rejects: Sequence[Reject]) -> list[Reject]:
    """The first reject of each row: a row with several faults is rejected once."""
    seen: dict[int, Reject] = {}
    for reject in rejects:
        seen.setdefault(reject.row, reject)
    return list(seen.values())
