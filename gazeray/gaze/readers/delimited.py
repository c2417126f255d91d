# SPDX-License-Identifier: Apache-2.0
"""Delimited text (csv, tsv), plain or gzipped, one row per line; and Parquet.

A clean text is parsed straight to numbers. Where that fails it is parsed once more as text, so that just the rows at
fault are rejected, each with its row number, column and value.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gazeray.gaze.readers.base import COORDINATES, TIMES, GazeFile, GazeTable, ReadError, register_reader, unpacked
from gazeray.gaze.readers.cells import (
    MISSING_CELLS,
    Decimal,
    are_valid,
    as_numbers,
    gaze_table,
    measured,
    parquet_columns,
    row_rejects,
    wrong_setting,
)
from gazeray.gaze.readers.names import different_names, joined_names
from gazeray.gaze.readers.plain_text import check_columns, delimiter_hint, open_text, row_names_hint
from gazeray.gaze.readers.spec import EYE_COLUMNS, VALIDITY, FileSpec
from gazeray.gaze.readers.text import one_gaze, without_missing
from gazeray.tables import Reject

EYES = {"left": EYE_COLUMNS[:2], "right": EYE_COLUMNS[2:]}

NO_PLACE = 5000.0
"""No screen is so many px wide; 9999, 32767 and the like stand for lost gaze."""

OFTEN = 0.01
"""More rows than this share do not hold the same number in both coordinates by chance."""

ABOVE_0 = ("pupil", "heart_rate")
"""How the names of channels begin that no body has at 0 or below."""

DICTIONARY = pa.dictionary(pa.int32(), pa.string())

Parsed = tuple[pa.Table, np.ndarray, int, list[Reject]]
"""The columns, (N,) the number of each row (the first data row is 1), how many rows there are in all, the rejects."""


@register_reader(
    "delimited",
    keys=(
        *("columns", "units", "missing", "eye", "only", "valid", "channels", "sampling_hz", "y_axis"),
        *("delimiter", "encoding", "names", "skip_lines", "decimal"),
    ),
)
def read_delimited(file: GazeFile) -> GazeTable:
    """Read one csv or tsv file; see `Reader`.

    Raises ReadError: empty, damaged gzip, another encoding, delimiter or decimal sign than declared, numbers in the
    place of a header, header without rows, missing column, not parsable at all.
    """
    kinds, spec = _kinds(file), file.spec
    return _as_declared(file, *read_columns(file.data, file.source, spec, kinds, file.ids, spec.decimal))


@register_reader(
    "parquet",
    keys=("columns", "units", "missing", "eye", "only", "valid", "channels", "sampling_hz", "decimal", "y_axis"),
)
def read_parquet(file: GazeFile) -> GazeTable:
    """Read one Parquet file; see `Reader`. Numeric columns may also be stored as text, with the sign `decimal`.

    Raises ReadError: empty, not Parquet or truncated, no rows, missing column, a column that does not hold numbers.
    """
    table = parquet_columns(unpacked(file.data, file.source), file.source, list(_kinds(file)))
    return _as_declared(file, table, np.arange(1, table.num_rows + 1, dtype=np.int64), table.num_rows, [])


def _kinds(file: GazeFile) -> dict[str, Any]:
    """The file's name of every column to read -> its type: the ids that the path does not give, times, coordinates,
    channels, and what says whether they are valid."""
    spec = file.spec
    given = [name for name in (*TIMES[spec.kind], *COORDINATES, *EYE_COLUMNS) if name in spec.columns]
    numbers = [*(spec.column(name) for name in given), *(own.column for own in spec.channels.values())]
    dates = [spec.column(name) for name in given if spec.unit(name) == "iso"]
    words = [*(spec.column(name) for name in VALIDITY if name in spec.columns)]
    words += [*spec.only, *(own.validity for own in spec.channels.values() if own.validity)]
    words += [] if "participant" in file.fixed else [spec.column("participant")]
    words += [] if "trial" in file.fixed else spec.trial_columns
    return dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(dates, pa.string()) | dict.fromkeys(words, DICTIONARY)


def _as_declared(file: GazeFile, table: pa.Table, rows: np.ndarray, n_rows: int, rejects: list[Reject]) -> GazeTable:
    """The GazeTable of the columns that a declaration names, in the units that it names."""
    spec, source = file.spec, file.source
    table, rows, notes = _only_gaze(file, table, rows)
    given = [name for name in (*TIMES[spec.kind], *COORDINATES, *EYE_COLUMNS) if name in spec.columns]
    columns = {name: (spec.column(name), table[spec.column(name)]) for name in given}
    if "participant" not in file.fixed:
        columns["participant"] = (spec.column("participant"), table[spec.column("participant")])
    try:
        if "trial" not in file.fixed:
            parts = [table[name] for name in spec.trial_columns]
            columns["trial"] = (", ".join(spec.trial_columns), parts[0] if len(parts) == 1 else joined_names(parts))
        if spec.sampling_hz:
            people = columns["participant"][1] if "participant" in columns else None
            columns["timestamp_ms"] = ("sampling_hz", pa.array(_counted_ms(people, rows, spec.sampling_hz)))
        numbers = {name: as_numbers(table[own.column], decimal=spec.decimal) for name, own in spec.channels.items()}
        further = {
            name: measured(numbers[name].values, table[own.validity] if own.validity else None, own)
            for name, own in spec.channels.items()
        }
        valid = {name: are_valid(table[spec.column(name)], spec.valid) for name in VALIDITY if name in spec.columns}
    except ValueError as error:
        raise ReadError(source, f"a column {error}") from error
    units = {name: spec.unit(name) for name in TIMES[spec.kind]}
    channels = {name: (values, spec.channels[name].unit) for name, values in further.items()}
    channels |= {name: (values, "") for name, values in valid.items()}
    found = gaze_table(file, columns, units, rows, n_rows, rejects, spec.missing, channels)
    notes += [
        f"no row holds a word of `valid`: column {spec.column(name)}" for name, ok in valid.items() if not ok.any()
    ]
    for name, values in further.items():
        if np.isnan(values).all():
            hint = wrong_setting(numbers[name].cells, numbers[name].bad, "", "", spec.decimal)
            notes.append(f"no value in a channel: {name} {hint}".strip())
    if not spec.has_gaze:
        found = replace(found, columns=found.columns | {name: np.full(len(found.rows), np.nan) for name in COORDINATES})
    found = _with_one_gaze(replace(found, notes=notes), file)
    return replace(found, notes=[*found.notes, *_perhaps_lost(found)])


def _only_gaze(file: GazeFile, table: pa.Table, rows: np.ndarray) -> tuple[pa.Table, np.ndarray, list[str]]:
    """The rows of a table that are gaze by the key `only`, their numbers, and a note on how many are not.

    Raises ReadError where none is.
    """
    keep = np.ones(len(rows), dtype=bool)
    for name, words in file.spec.only.items():
        keep &= are_valid(table[name], words)
        if not keep.any():
            there = ", ".join(map(repr, different_names(table[name])[0][:-1][:10]))
            raise ReadError(file.source, f"only: no row with {name} {' or '.join(map(str, words))} (there: {there})")
    if keep.all():
        return table, rows, []
    notes = [f"rows that are no gaze by `only`: {int((~keep).sum())} of {len(keep)}"]
    return table.filter(pa.array(keep)), rows[keep], notes


def _perhaps_lost(found: GazeTable) -> list[str]:
    """Notes on numbers that stand for lost gaze, pupils or heart rates in most files, and were not declared to."""
    x_px, y_px = (found.columns[name] for name in COORDINATES)
    odd = (x_px == y_px) & ((x_px <= 0) | (x_px >= NO_PLACE))
    notes = []
    for value, rows in zip(*np.unique(x_px[odd], return_counts=True), strict=True):
        if rows > max(1, OFTEN * len(x_px)):
            cause = f"gaze at {value:.10g}, {value:.10g} is taken as it stands; is it lost? declare it, as `missing`"
            notes.append(f"{cause}: {rows} of {len(x_px)} rows")
    for name in found.columns:
        if name.startswith(ABOVE_0) and (rows := int((found.columns[name] <= 0).sum())):
            cause = f"values of {name} that are not above 0; are they lost? declare `missing` of the channel"
            notes.append(f"{cause}: {rows} of {len(x_px)} rows")
    return notes


def _counted_ms(people: Any, rows: np.ndarray, hz: float) -> np.ndarray:
    """Times (N,) ms of samples at a fixed rate: rows (N,), numbers in the file, count within each person (Arrow; None:
    one). A row that was left out between two of the same person keeps its place."""
    if people is None:
        return (rows - 1) * (1e3 / hz)
    person = different_names(people)[1]
    order = np.argsort(person, kind="stable")
    adjacent = np.diff(order, prepend=-1) == 1
    steps = np.where(adjacent, np.diff(rows[order], prepend=1), 1)
    counted = np.cumsum(steps)
    begins = np.flatnonzero(np.diff(person[order], prepend=-1))
    zero = np.where(order[begins] == 0, counted[begins] - (rows[:1] - 1), counted[begins])
    counted -= np.repeat(zero, np.diff([*begins, len(order)]))
    times = np.empty(len(rows))
    times[order] = counted * (1e3 / hz)
    return times


def _with_one_gaze(found: GazeTable, file: GazeFile) -> GazeTable:
    """The table with x_px and y_px of the eye that the declaration asks for, lost where they are not valid."""
    spec, columns = file.spec, dict(found.columns)
    valid = {name: columns.pop(name) for name in VALIDITY if name in columns}
    sides = {side: pair for side, pair in EYES.items() if pair[0] in columns}
    if not sides and not valid:
        return found
    eyes = {}
    for side, pair in (sides or {"": COORDINATES}).items():
        good = [valid[name] for name in ("validity", f"validity_{side}") if name in valid]
        lost = ~np.logical_and.reduce(good) if good else np.zeros(len(found.rows), dtype=bool)
        x_px, y_px = (np.where(lost, np.nan, columns.pop(name)) for name in pair)
        eyes[side] = (x_px, y_px)
    (x_px, y_px), notes = one_gaze(without_missing(eyes, spec), spec, file.source)
    columns |= {"x_px": x_px, "y_px": y_px}
    units = {name: unit for name, unit in found.units.items() if name in columns}
    eye = next(iter(sides)) if len(sides) == 1 else ""
    return replace(found, columns=columns, units=units, notes=[*found.notes, *notes], eye=eye)


def read_columns(
    data: bytes,
    source: str,
    spec: FileSpec,
    kinds: Mapping[str, Any],
    ids: tuple[str, str] = ("", ""),
    decimal: Decimal = ".",
) -> Parsed:
    """The columns of `kinds` (the file's name -> its type) of a delimited text, as `parse` returns them.

    Raises ReadError as `open_text`, and: a column is missing, not parsable at all, no row has the fields of the header.
    """
    text = open_text(data, source, spec)
    hint = delimiter_hint(text, list(kinds))
    check_columns(list(kinds), text.names, source, hint)
    parsed = parse(text.data, source, text.delimiter, text.names, text.skip, kinds, ids, decimal)
    if not len(parsed[1]):
        first = f"the first has {parsed[3][0].reason}" if parsed[3] else "there is none"
        raise ReadError(source, f"no row with the columns of the header: {first}{hint or row_names_hint(text)}")
    return parsed


def parse(
    data: bytes,
    source: str,
    delimiter: str,
    header: Sequence[str],
    skip: int,
    types: Mapping[str, Any],
    ids: tuple[str, str] = ("", ""),
    decimal: Decimal = ".",
) -> Parsed:
    """The columns of `types`; a row with the wrong number of fields is rejected, under the ids (participant, trial).

    `data` is UTF-8; its first `skip` lines (the header, and what comes before it) are left out. Raises ReadError when
    it cannot be parsed at all.
    Tried in turn: straight to the types; as text; as text in which a quote is an ordinary character. The last is for
    a stray quote, which would otherwise swallow the lines up to the next one (seen from the number of lines).
    """
    text = {name: DICTIONARY if kind == DICTIONARY else pa.string() for name, kind in types.items()}
    lines = sum(1 for line in islice(io.BytesIO(data), skip, None) if line.strip(b"\r\n")) if b'"' in data else None
    reason = ""
    for kinds, quote in ((types, '"'), (text, '"'), (text, False)):
        try:
            table, wrong = _parse_once(data, delimiter, header, skip, kinds, quote, decimal)
        except pa.ArrowInvalid as error:
            reason = str(error)
            continue
        n_rows = table.num_rows + len(wrong)
        if quote and lines is not None and n_rows != lines:
            continue
        if not quote:
            plain = {name: table[name].cast(pa.string()) for name in table.column_names}
            table = pa.table({name: pc.utf8_trim(cells, characters=' \t"') for name, cells in plain.items()})
        left_out = np.array([number for number, _ in wrong], dtype=np.int64)
        reasons = [f"{fields} fields instead of {len(header)}" for _, fields in wrong]
        rejects = row_rejects(source, left_out, "read", reasons.__getitem__, lambda index: ids)
        return table, np.setdiff1d(np.arange(1, n_rows + 1), left_out, assume_unique=True), n_rows, rejects
    raise ReadError(source, f"cannot be parsed: {reason}")


def _parse_once(
    data: bytes,
    delimiter: str,
    header: Sequence[str],
    skip: int,
    types: Mapping[str, Any],
    quote: str | bool,
    decimal: Decimal,
) -> tuple[pa.Table, list[tuple[int, int]]]:
    """One pass of the Arrow parser, and (row number, fields) of the rows that it left out for their number of fields.
    Raises pyarrow.ArrowInvalid for a cell that is not of its type."""
    wrong: list[tuple[int, int]] = []

    def leave_out(row: Any) -> str:
        wrong.append((row.number - skip, row.actual_columns))
        return "skip"

    table = pa.csv.read_csv(
        io.BytesIO(data),
        # one thread: row numbers of wrong rows are known only then, and parallelism is over files
        read_options=pa.csv.ReadOptions(use_threads=False, skip_rows=skip, column_names=list(header)),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=quote, invalid_row_handler=leave_out),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=list(MISSING_CELLS),
            decimal_point=decimal or ".",
        ),
    )
    return table, wrong
