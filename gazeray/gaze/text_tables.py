# SPDX-License-Identifier: Apache-2.0
"""Small tables of a data set (trials, participants) as text: of one file, of many, or what gaze files say."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gazeray.gaze.declaration import TableSpec, TrialsSpec
from gazeray.gaze.files import placeholders
from gazeray.gaze.readers.base import ReadError, unpacked
from gazeray.gaze.readers.cells import parquet_columns, parquet_names, runs
from gazeray.gaze.readers.delimited import DICTIONARY, parse
from gazeray.gaze.readers.names import names_in, words_of
from gazeray.gaze.readers.plain_text import check_columns, delimiter_hint, open_text, row_names_hint
from gazeray.gaze.readers.vendor_tables import first_of_events
from gazeray.tables import Reject

PARQUET = b"PAR1"
"""The first bytes of a Parquet file."""


@dataclass(frozen=True)
class TextTable:
    """A small table as text: `spec` says what its columns are called, `columns` maps the file's names to cells, `rows`
    are row numbers (first data row: 1; -1: the row is a whole file) and `sources` the files they are of."""

    source: str
    spec: TableSpec
    columns: dict[str, list[str]]
    rows: list[int]
    sources: list[str] = field(default_factory=list)

    def find(self, name: str) -> list[str] | None:
        """The cells of a column under gazeray's name or the file's, None when there is no such column."""
        return self.columns.get(self.spec.column(name))

    def place(self, index: int) -> str:
        """Where the row at `index` is, for a message."""
        return str(self.rows[index]) if self.rows[index] >= 0 else self.sources[index]

    def reject(self, index: int, stage: str, reason: str, participant: str = "", trial: str = "") -> Reject:
        """The row at `index` cannot be used."""
        return Reject(self.sources[index], self.rows[index], stage, reason, participant, trial)


def read_text_table(data: bytes, source: str, spec: TableSpec) -> tuple[TextTable, list[Reject]]:
    """A csv, tsv (also gzipped) or Parquet file as text, and its rows with the wrong number of fields as rejects.

    Raises ReadError: empty, damaged, another encoding, an unbalanced quote, a column twice, header without rows.
    """
    plain = unpacked(data, source)
    header, records = _parquet_records(plain, source) if plain[:4] == PARQUET else _csv_records(plain, source, spec)
    declared = {name for own in spec.columns.values() for name in ([own] if isinstance(own, str) else own)}
    twice = sorted({name for name in header if header.count(name) > 1} & (declared | set(spec.needed)))
    if twice:
        raise ReadError(source, f"column {', '.join(map(repr, twice))} is there more than once")
    if not records:
        raise ReadError(source, "a header without rows")
    fields = {row: len(cells) for row, cells in enumerate(records, start=1)}
    rejects = [
        Reject(source, row, "trials", f"{count} fields instead of {len(header)}")
        for row, count in fields.items()
        if count != len(header)
    ]
    rows = [row for row, count in fields.items() if count == len(header)]
    columns = {name: [records[row - 1][index] for row in rows] for index, name in enumerate(header)}
    return TextTable(source, spec, columns, rows, [source] * len(rows)), rejects


def trials_in_gaze(data: bytes, source: str, spec: TrialsSpec, used: Collection[str]) -> TextTable:
    """The trials that the rows of a delimited or Parquet file of gaze name: of the rows of a trial that say the same in
    the columns `used` (names of the file) the first; with `repeats: number` of each presentation. Rows that name no
    trial, or cannot be read, are none: they are rejected where the gaze is.

    Raises ReadError as `read_text_table`, and for a column that is missing.
    """
    plain = unpacked(data, source)
    people = [] if "participant" in placeholders(spec.path) else [spec.column("participant")]
    trials = [name for name in spec.trial_columns if name not in placeholders(spec.path)]
    text = None if plain[:4] == PARQUET else open_text(plain, source, spec)
    names = text.names if text else parquet_names(plain, source)
    there = [name for name in names if name in used]
    check_columns([*people, *trials, *there], names, source, delimiter_hint(text, [*people, *trials]) if text else "")
    if not there:  # the path says it all
        return TextTable(source, spec, {}, [1], [source])
    if text:
        kinds = dict.fromkeys(there, DICTIONARY)
        table, rows, _, _ = parse(text.data, source, text.delimiter, text.names, text.skip, kinds)
    else:
        table = parquet_columns(plain, source, there)
        rows = np.arange(1, table.num_rows + 1)
    cells = {name: names_in(source, name, table[name]) for name in there}
    keys = [codes for _, codes in cells.values()]
    if spec.repeats == "number":
        none = np.zeros(len(rows), dtype=np.int64)
        person, trial = (first_of_events(none, *(cells[name][1] for name in own))[0] for own in (people, trials))
        keys.append(runs(person, trial)[0])
    first = first_of_events(*keys)[1]
    columns = {name: [words[at] for at in codes[first].tolist()] for name, (words, codes) in cells.items()}
    kept = [at for at in range(len(first)) if all(columns[name][at] for name in trials)]
    columns = {name: [words[at] for at in kept] for name, words in columns.items()}
    return TextTable(source, spec, columns, [int(rows[first[at]]) for at in kept], [source] * len(kept))


def with_ids(table: TextTable, ids: Mapping[str, str]) -> TextTable:
    """The table with what its path says in columns of that name."""
    return TextTable(
        table.source,
        table.spec,
        table.columns | {name: [value] * len(table.rows) for name, value in ids.items()},
        table.rows,
        table.sources,
    )


def stacked(source: str, tables: Sequence[TextTable]) -> TextTable:
    """Tables below each other; a cell of a column that a table does not have is empty."""
    if len(tables) == 1:
        return tables[0]
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns = {
        name: [cell for table in tables for cell in table.columns.get(name, [""] * len(table.rows))] for name in names
    }
    rows = [row for table in tables for row in table.rows]
    return TextTable(source, tables[0].spec, columns, rows, [one for table in tables for one in table.sources])


def _csv_records(data: bytes, source: str, spec: TableSpec) -> tuple[list[str], list[list[str]]]:
    """Header and rows of delimited text; blank lines are skipped, quoted cells may span lines."""
    opened = open_text(data, source, spec)
    if hint := delimiter_hint(opened, spec.needed_columns):
        check_columns(spec.needed_columns, opened.names, source, hint)
    text = io.StringIO(opened.data.decode(), newline="")
    for _ in range(opened.skip):
        text.readline()
    try:
        reader = csv.reader(text, delimiter=opened.delimiter, strict=True)
        records = [[cell.strip() for cell in cells] for cells in reader if cells]
    except csv.Error as error:
        raise ReadError(source, f"cannot be parsed: {error}") from error
    if records and all(len(cells) != len(opened.names) for cells in records):
        fields = f"the first has {len(records[0])} fields instead of {len(opened.names)}"
        raise ReadError(source, f"no row with the columns of the header: {fields}{row_names_hint(opened)}")
    return opened.names, records


def _parquet_records(data: bytes, source: str) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a Parquet file as text."""
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error
    columns = [[word or "" for word in words_of(column)] for column in table.columns]
    return list(table.column_names), [list(cells) for cells in zip(*columns, strict=True)]
