# SPDX-License-Identifier: Apache-2.0
"""From the columns of a file to a `GazeTable`: names, numbers, units of time, lost coordinates, rejected rows.

Shared by the readers of tabular files.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gazeray.gaze.files import canonical
from gazeray.gaze.readers.base import IDS, TIME_UNITS_MS, TIMES, GazeFile, GazeTable, ReadError
from gazeray.gaze.readers.names import fault_of_name, names_in, unusable_names
from gazeray.gaze.readers.plain_text import check_columns
from gazeray.gaze.readers.spec import ChannelSpec, Word
from gazeray.tables import Reject

MISSING_CELLS = (
    *("", "nan", "NaN", "NAN", "NA", ".", "-", "n/a", "N/A", "#N/A", "<NA>"),
    *("None", "null", "NULL"),  # Python; JavaScript, SQL
)
"""Cells that say that there is no value."""

LARGEST = 1e15
"""No coordinate in px and no time in ms is larger (a date is 2e12 ms); 1.8e308 and the like stand for an overflow."""

REJECTS_PER_FAULT = 100
"""Rows named one by one for the same fault in the same file; those beyond are counted in one more reject."""

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
ISO = re.compile(r"\d{4}-\d\d-\d\d|\d{8}T\d\d|\d{1,2}:\d\d:\d\d(?!:)")
DATE = re.compile(rf"{ISO.pattern}|\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{1,2}}:\d\d")
WRITTEN = "2026-11-28T14:03:05.123, or 14:03:05.123"
"""How ISO 8601 writes a date with a time, and a time of day."""


Decimal = Literal["", ".", ","]
"""The decimal sign of text; "": either."""


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
    cells: Any, missing: Sequence[str] = MISSING_CELLS, decimal: Decimal = "", largest: float = LARGEST
) -> Numbers:
    """An Arrow column of numbers, or of text with the sign `decimal`.

    `missing` are the texts that stand for no value. Numbers beyond `largest` are not usable. Raises ValueError for a
    column of another type.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        cells, kind = cells.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(cells)
        absent = pc.is_in(text, value_set=pa.array(missing, kind), skip_nulls=True)
        text = text if decimal != "," else pc.replace_substring(text, ".", "?")
        text = text if decimal == "." else pc.replace_substring(text, ",", ".")
        number = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
        wrong = pc.and_not(pc.and_not(pc.is_valid(text), absent), number)
        bad = wrong.to_numpy(zero_copy_only=False)
        plain = pc.utf8_ltrim(pc.if_else(number, text, None), characters="+")
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or kind == pa.null():
        plain, bad = cells, np.zeros(len(cells), dtype=bool)
    else:
        hint = ": declare its unit as iso" if _is_time(kind) else ""
        raise ValueError(f"has the type {kind}, not numbers{hint}")
    plain = plain if plain.type == pa.float64() else pc.cast(plain, pa.float64(), safe=False)
    values = np.asarray(plain.to_numpy(zero_copy_only=False), dtype=np.float64)
    bad = bad | (np.abs(values) > largest)
    return Numbers(np.where(bad, np.nan, values), bad, cells)


def _is_time(kind: Any) -> bool:
    """Does Arrow have it as dates with times, times of day, or durations?"""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind))


def are_valid(words: Any, valid: Sequence[Word]) -> np.ndarray:
    """(N,) bool, which of the words of an Arrow column are among `valid`; 1, "1" and 1.0 are the same word."""
    words = words.cast(pa.int8()) if pa.types.is_boolean(words.type) else words
    words, known = words.cast(pa.string()), {canonical(word) for word in valid}
    mine = [word for word in pc.unique(words).to_pylist() if word is not None and canonical(word) in known]
    return np.asarray(pc.is_in(words, value_set=pa.array(mine, pa.string())).to_numpy(zero_copy_only=False), dtype=bool)


def measured(values: np.ndarray, words: Any, spec: ChannelSpec) -> np.ndarray:
    """The numbers of a declared channel (N,), NaN where they are lost: equal to one of `missing`, or not valid by the
    Arrow column of `words` (None: there is no such column)."""
    lost = np.isin(values, spec.missing) if spec.missing else np.zeros(len(values), dtype=bool)
    if words is not None:
        lost |= ~are_valid(words, spec.valid)
    return np.where(lost, np.nan, values)


def parquet_names(data: bytes, source: str) -> list[str]:
    """The names of the columns of a Parquet file. Raises ReadError: not Parquet, truncated."""
    try:
        return list(pq.ParquetFile(io.BytesIO(data)).schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error


def parquet_columns(data: bytes, source: str, wanted: Sequence[str]) -> pa.Table:
    """Columns of a Parquet file. Raises ReadError: not Parquet, truncated, no rows, a column that is missing."""
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        check_columns(wanted, file.schema_arrow.names, source)
        table = file.read(columns=list(dict.fromkeys(wanted)))
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
    are left out; what is neither an id nor a time is a coordinate. `units` are those of the times. `rows` (N,) are row
    numbers, `n_rows` counts all data rows of the file, `rejects` are the faults found so far, a coordinate equal to one
    of `missing` is lost. A row is rejected when a cell is not a number, when a time is missing, or when an id is.
    `channels` are by name: values (N,) and unit.
    Rows of a person that name the same trial are one presentation while no other row of that person comes between that
    can be used, and while `presentation` (N,) int, what else tells presentations apart, stays the same. `windows`
    (S, 2) are start and end, ms, of presentation 0, 1, ...
    """
    source, times, rejects, channels = file.source, TIMES[file.spec.kind], list(rejects), channels or {}
    for name in IDS:
        bad = _bad_names(file, columns, name, presentation is None) if name in columns else None
        if bad is not None:  # they part no presentations
            rejects.append(_unusable(source, columns[name][1], bad, rows, name))
            columns = {ours: (theirs, cells.filter(pa.array(~bad))) for ours, (theirs, cells) in columns.items()}
            channels = {ours: (values[~bad], unit) for ours, (values, unit) in channels.items()}
            rows, presentation = rows[~bad], None if presentation is None else presentation[~bad]
    people, trials = (
        names_in(source, *columns[name]) if name in columns else ([given], None)
        for name, given in zip(IDS, file.ids, strict=True)
    )
    numbers = [*times, *(name for name in columns if name not in (*IDS, *times))]
    parsed = {name: _values(file, name, *columns[name], units, missing) for name in numbers}
    ignored = np.logical_or.reduce([bad | empty for _, bad, empty in parsed.values()])
    ids, codes, begins = _presentations(people, trials, ignored, presentation)
    found = GazeTable(ids, codes, {}, rows, n_rows, rejects)
    if presentation is not None and windows is not None:
        found = replace(found, windows=windows[presentation[begins]])
    for number, name in enumerate(IDS):
        nameless = np.flatnonzero(np.isin(codes, [code for code, pair in enumerate(ids) if not pair[number]]))
        if len(nameless):
            reason = f"{len(nameless)} rows have no {name}, this is the first"
            found.rejects.append(Reject(source, int(rows[nameless[0]]), "read", reason))
    faulty = np.isin(codes, [code for code, pair in enumerate(ids) if not all(pair)])
    for name in numbers:
        (theirs, cells), (values, bad, empty) = columns[name], parsed[name]
        what = "no date or time of day" if units.get(name) == "iso" else "not a usable number"
        for mask, fault in ((bad, f"is {what}"), (empty, "is not a time")):
            found.rejects.extend(_faults(found, cells, theirs, np.flatnonzero(mask & ~faulty), fault, source))
        faulty |= bad | empty
        found.columns[name] = values
    for name, (channel, unit) in channels.items():
        found.columns[name], found.units[name] = channel, unit
    return replace(found.where(~faulty), rejects=found.rejects)


def _bad_names(file: GazeFile, columns: Mapping[str, tuple[str, Any]], name: str, by_name: bool) -> np.ndarray | None:
    """(N,) bool, rows whose id nobody can use; else, of samples whose presentations are told by name, single rows
    without a trial between two of the same person and trial. None: there are none."""
    bad = unusable_names(file.source, *columns[name])
    if bad is not None or name != "trial" or not by_name or file.spec.kind != "samples":
        return bad
    names, code = names_in(file.source, *columns["trial"])
    none = len(names) - 1
    lone = np.zeros(len(code), dtype=bool)
    lone[1:-1] = (code[1:-1] == none) & (code[:-2] == code[2:]) & (code[:-2] != none)
    if "participant" in columns:
        person = names_in(file.source, *columns["participant"])[1]
        lone[1:-1] &= person[:-2] == person[2:]
    return lone if lone.any() else None


def _unusable(source: str, cells: Any, bad: np.ndarray, rows: np.ndarray, name: str) -> Reject:
    """One reject for the rows whose id is `bad` (N,)."""
    first = int(np.argmax(bad))
    fault = fault_of_name(cells, first)
    reason = f"{bad.sum()} rows have no {'usable ' * bool(fault)}{name}, this is the first{fault and f': {fault}'}"
    return Reject(source, int(rows[first]), "read", reason)


def _values(
    file: GazeFile, name: str, theirs: str, cells: Any, units: Mapping[str, str], missing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column as `parsed_times` gives it, what is `missing` lost; which cells (N,) are no usable numbers, which are no
    times for being empty. Raises ReadError where its type or most of its cells are no such numbers."""
    decimal, is_time = file.spec.decimal, name in TIMES[file.spec.kind]
    try:
        values, bad = parsed_times(cells, units.get(name, ""), decimal)
    except ValueError as error:
        raise ReadError(file.source, f"column {theirs!r} {error}") from error
    iso = f"units: {{{name}: iso}}"
    if bad.any() and (hint := wrong_setting(cells, bad, units.get(name, "px"), iso, decimal)):
        raise ReadError(file.source, f"column {theirs!r} {hint}")
    if missing and not is_time:
        values = np.where(np.isin(values, missing), np.nan, values)
    bad = bad | (np.abs(values) > LARGEST)
    return values, bad, np.isnan(values) & ~bad & is_time


def parsed_times(cells: Any, unit: str, decimal: Decimal = ".") -> tuple[np.ndarray, np.ndarray]:
    """Numbers (N,), in ms where `unit` is one of times, NaN where there are none; and which cells (N,) are neither
    numbers nor empty.

    Raises ValueError for a column of another type.
    """
    if unit == "iso":
        return iso_ms(cells)
    column = as_numbers(cells, decimal=decimal, largest=np.inf)
    factor = TIME_UNITS_MS.get(unit, 1.0)
    return (column.values if factor == 1.0 else column.values * factor), column.bad


def wrong_setting(cells: Any, bad: np.ndarray, unit: str, iso: str, decimal: Decimal = ".") -> str:
    """What a declaration should say, where more than half of the cells of a column are bad (N,) and the first of them
    tells why; else "". `iso` is how it says that they are dates."""
    if 2 * bad.sum() <= len(cells) - cells.null_count:
        return ""
    text = str(cells[int(np.argmax(bad))].as_py()).strip()
    if DATE.match(text) and unit in TIME_UNITS_MS:
        written = "" if ISO.match(text) else f" and write it as {WRITTEN}"
        return f"holds {text!r}, no number: a date or a time of day? declare {iso}{written}"
    if unit == "iso":
        return f"holds {text!r}, no date or time of day as ISO 8601 writes it ({WRITTEN}): {iso} is declared"
    if decimal == "." and COMMA_NUMBER.fullmatch(text):
        return f"holds {text!r}: a decimal comma? declare decimal: ','"
    if decimal == "," and re.match(NUMBER, text):
        return f"holds {text!r}: a decimal point? decimal: ',' is declared"
    return ""


def iso_ms(cells: Any) -> tuple[np.ndarray, np.ndarray]:
    """Dates with times, or times of day, as ISO 8601 writes them (text), or Arrow time stamps and durations: ms (N,)
    since 1970 or midnight, NaN where there is none; and which cells (N,) are something else.

    Raises ValueError for a column of another type.
    """
    cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    if _is_time(cells.type):
        whole = cells.cast(pa.int32()) if pa.types.is_time32(cells.type) else cells.cast(pa.int64())
        stamps = whole.to_numpy(zero_copy_only=False).astype(np.float64)
        return stamps * TIME_UNITS_MS[str(cells.type.unit)], np.zeros(len(cells), dtype=bool)
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.null()):
        raise ValueError(f"has the type {kind}, not dates or times of day")
    text = pd.Series(cells.cast(pa.string()).to_pandas()).str.strip()
    absent = text.isna() | text.isin(MISSING_CELLS)
    dated = text.where(~text.str.match(r"\d{1,2}:", na=False), "1970-01-01T" + text).str.replace(",", ".")
    shaped = text.str.match(ISO.pattern, na=False)  # pandas takes a number for a year
    stamps = pd.to_datetime(dated.where(shaped), format="ISO8601", errors="coerce", utc=True)
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


def _presentations(
    participant: tuple[list[str], np.ndarray | None],
    trial: tuple[list[str], np.ndarray | None],
    ignored: np.ndarray,
    further: np.ndarray | None,
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """The P presentations (participant, trial) of a file in the order in which they begin, (n,) which of them each row
    belongs to, and (P,) the index of the first row of each; codes None: the only name. Rows `ignored` (n,) part none.
    See `gaze_table`."""
    (people, person), (trials, code) = participant, trial
    n = len(ignored)
    if code is None and further is None and person is None:
        return [(people[0], trials[0])], np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64)
    person, code, further = (np.zeros(n, dtype=np.int64) if own is None else own for own in (person, code, further))
    if ignored.any() and not ignored.all():
        code, further = _bridged(person, ignored, code, further)
    run, first = runs(person, code, further)
    return [(people[person[row]], trials[code[row]]) for row in first.tolist()], run, first


def _bridged(person: np.ndarray, ignored: np.ndarray, *keys: np.ndarray) -> list[np.ndarray]:
    """The keys (each (N,) int), those of rows `ignored` (N,) made those of the rows of the person around them where
    these agree."""
    order = np.argsort(person, kind="stable")
    good, places = order[~ignored[order]], np.flatnonzero(ignored[order])
    behind = np.cumsum(~ignored[order])[places]  # how many good rows come before
    row, before, after = order[places], good[np.maximum(behind - 1, 0)], good[np.minimum(behind, len(good) - 1)]
    alike = np.logical_and.reduce([key[before] == key[after] for key in (person, *keys)])
    alike &= (person[row] == person[before]) & (behind > 0) & (behind < len(good))
    bridged = [key.copy() for key in keys]
    for key in bridged:
        key[row[alike]] = key[before[alike]]
    return bridged


def runs(person: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of rows of a person in which all keys (each (N,) int) stay the same, whatever rows of other people come
    between: (N,) int, the run of each row, counted as they begin, and (R,) the first row of each."""
    order = np.argsort(person, kind="stable")
    changes = np.zeros(len(person), dtype=bool)
    changes[:1] = True
    for key in (person[order], *(own[order] for own in keys)):
        changes[1:] |= key[1:] != key[:-1]
    run = np.empty(len(person), dtype=np.int64)
    run[order] = np.cumsum(changes) - 1
    first = order[np.flatnonzero(changes)]
    place = np.empty(len(first), dtype=np.int64)
    begins = np.argsort(first, kind="stable")
    place[begins] = np.arange(len(first))
    return place[run], first[begins]
