# SPDX-License-Identifier: Apache-2.0
"""Delimited text (csv, tsv), plain or gzipped, UTF-8 with or without a byte-order mark, one row per line; and Parquet.

A clean text is parsed straight to numbers. Where that fails it is parsed once more as text, so that just the rows at
fault are rejected, each with its row number, column and value.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from gazeray.gaze.readers.base import (
    IDS,
    TIMES,
    GazeFile,
    GazeTable,
    ReadError,
    register_reader,
    unpacked,
)
from gazeray.gaze.readers.cells import (
    MISSING_CELLS,
    gaze_table,
    parquet_columns,
    row_rejects,
    wanted_columns,
)
from gazeray.gaze.readers.plain_text import check_columns, open_text
from gazeray.gaze.readers.spec import FileSpec
from gazeray.tables import Reject

DICTIONARY = pa.dictionary(pa.int32(), pa.string())

Parsed = tuple[pa.Table, np.ndarray, int, list[Reject]]
"""The columns, (N,) the number of each row (the first data row is 1), how many rows there are in all, the rejects."""


@register_reader(
    "delimited",
    keys=(
        *("columns", "units", "missing", "eye", "valid", "channels", "sampling_hz"),
        *("delimiter", "encoding", "names", "skip_lines", "decimal"),
    ),
)
def read_delimited(file: GazeFile) -> GazeTable:
    """Read one csv or tsv file; see `Reader`.

    Raises ReadError: empty, damaged gzip, not UTF-8, header without rows, missing column, not parsable at all.
    """
    wanted = wanted_columns(file)
    kinds = {theirs: DICTIONARY if ours in IDS else pa.float64() for ours, theirs in wanted.items()}
    return _as_declared(file, wanted, *read_columns(file.data, file.source, file.spec, kinds, file.ids))


@register_reader("parquet", keys=("columns", "units", "missing", "eye", "valid", "channels", "sampling_hz"))
def read_parquet(file: GazeFile) -> GazeTable:
    """Read one Parquet file; see `Reader`. Numeric columns may also be stored as text.

    Raises ReadError: empty, not Parquet or truncated, no rows, missing column, a column that does not hold numbers.
    """
    wanted = wanted_columns(file)
    table = parquet_columns(unpacked(file.data, file.source), file.source, wanted)
    return _as_declared(file, wanted, table, np.arange(1, table.num_rows + 1, dtype=np.int64), table.num_rows, [])


def _as_declared(
    file: GazeFile, wanted: Mapping[str, str], table: pa.Table, rows: np.ndarray, n_rows: int, rejects: list[Reject]
) -> GazeTable:
    """The GazeTable of the columns that a declaration names, in the units that it names."""
    columns = {ours: (theirs, table[theirs]) for ours, theirs in wanted.items()}
    units = {name: file.spec.unit(name) for name in TIMES[file.spec.kind]}
    return gaze_table(file, columns, units, rows, n_rows, rejects, file.spec.missing)


def read_columns(
    data: bytes, source: str, spec: FileSpec, kinds: Mapping[str, Any], ids: tuple[str, str] = ("", "")
) -> Parsed:
    """The columns of `kinds` (the file's name -> its type) of a delimited text, as `parse` returns them.

    Raises ReadError as `open_text`, and: a column is missing, not parsable at all.
    """
    text = open_text(data, source, spec)
    check_columns(list(kinds), text.names, source)
    return parse(text.data, source, text.delimiter, text.names, text.skip, kinds, ids)


def parse(
    data: bytes,
    source: str,
    delimiter: str,
    header: Sequence[str],
    skip: int,
    types: Mapping[str, Any],
    ids: tuple[str, str] = ("", ""),
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
            table, wrong = _parse_once(data, delimiter, header, skip, kinds, quote)
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
    data: bytes, delimiter: str, header: Sequence[str], skip: int, types: Mapping[str, Any], quote: str | bool
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
            column_types=dict(types), include_columns=list(types), null_values=list(MISSING_CELLS)
        ),
    )
    return table, wrong
