# SPDX-License-Identifier: Apache-2.0
"""Small tables of a data set (trials, participants) as text: of one file, of many, or what gaze files say."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from gazeray.gaze.declaration import TableSpec
from gazeray.gaze.readers.base import ReadError, unpacked
from gazeray.gaze.readers.delimited import DICTIONARY, parse
from gazeray.gaze.readers.plain_text import open_text
from gazeray.tables import Reject


@dataclass(frozen=True)
class TextTable:
    """A small table as text: `spec` says what its columns are called, `columns` maps the file's names to cells, `rows`
    are row numbers (first data row: 1) and `sources` the files they are of."""

    source: str
    spec: TableSpec
    columns: dict[str, list[str]]
    rows: list[int]
    sources: list[str] = field(default_factory=list)

    def find(self, name: str) -> list[str] | None:
        """The cells of a column under gazeray's name or the file's, None when there is no such column."""
        return self.columns.get(self.spec.column(name))

    def reject(self, index: int, stage: str, reason: str, participant: str = "", trial: str = "") -> Reject:
        """The row at `index` cannot be used."""
        return Reject(self.sources[index], self.rows[index], stage, reason, participant, trial)


def read_text_table(
    data: bytes, source: str, spec: TableSpec, wanted: Collection[str] | None = None
) -> tuple[TextTable, list[Reject]]:
    """A csv, tsv (also gzipped) or Parquet file as text, and its rows with the wrong number of fields as rejects.

    With `wanted` (names of the file) the table is one of gaze: of rows that say the same in these columns the first is
    kept, and none that names no trial. Raises ReadError: empty, damaged, another encoding, an unbalanced quote, a
    column twice, header without rows.
    """
    plain = unpacked(data, source)
    if wanted is not None and plain[:4] != b"PAR1":
        return _gaze_rows(plain, source, spec, wanted)
    header, records = _parquet_records(plain, source) if plain[:4] == b"PAR1" else _csv_records(plain, source, spec)
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
    if wanted is not None:
        columns, rows = _distinct({name: columns[name] for name in header if name in wanted}, rows, spec)
    return TextTable(source, spec, columns, rows, [source] * len(rows)), rejects


def _gaze_rows(data: bytes, source: str, spec: TableSpec, wanted: Collection[str]) -> tuple[TextTable, list[Reject]]:
    """The trials that a delimited file of gaze names in its rows. The rows that cannot be read are rejected where the
    gaze is."""
    text = open_text(data, source, spec)
    there = [name for name in dict.fromkeys(text.names) if name in wanted]
    table, rows, _, _ = parse(
        text.data, source, text.delimiter, text.names, text.skip, dict.fromkeys(there, DICTIONARY)
    )
    frame = table.to_pandas().astype("str").where(table.to_pandas().notna(), "")
    frame.index = rows
    frame = frame.drop_duplicates()
    columns = {str(name): [str(cell).strip() for cell in frame[name]] for name in frame}
    columns, kept = _distinct(columns, [int(row) for row in frame.index], spec)
    return TextTable(source, spec, columns, kept, [source] * len(kept)), []


def _distinct(
    columns: dict[str, list[str]], rows: list[int], spec: TableSpec
) -> tuple[dict[str, list[str]], list[int]]:
    """The first of the rows that say the same, without those that name no trial."""
    own = spec.columns.get("trial", "trial")
    trial = [columns[name] for name in (own if isinstance(own, list) else [own]) if name in columns]
    seen: dict[tuple[str, ...], int] = {}
    for index, cells in enumerate(zip(*columns.values(), strict=True)):
        if all(part[index] for part in trial):
            seen.setdefault(cells, index)
    kept = list(seen.values())
    return {name: [cells[index] for index in kept] for name, cells in columns.items()}, [rows[at] for at in kept]


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
    text = io.StringIO(opened.data.decode(), newline="")
    for _ in range(opened.skip):
        text.readline()
    try:
        reader = csv.reader(text, delimiter=opened.delimiter, strict=True)
        records = [[cell.strip() for cell in cells] for cells in reader if cells]
    except csv.Error as error:
        raise ReadError(source, f"cannot be parsed: {error}") from error
    return opened.names, records


def _parquet_records(data: bytes, source: str) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a Parquet file as text."""
    try:
        table = pq.read_table(io.BytesIO(data))
        columns = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error
    return list(table.column_names), [list(cells) for cells in zip(*columns, strict=True)]


def _as_text(value: object) -> str:
    """A Parquet value as a csv file would have it: no value is "", true is "1", whole floats are ints."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value).strip()
