# SPDX-License-Identifier: Apache-2.0
"""The trials table of a data set: read, joined with the participants, checked row by row.

Each row comes out as a trial with its class and its geometry in px, or as a reject that says why not.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gazeray.gaze.declaration import DatasetSpec, TableSpec, canonical, plain_number
from gazeray.gaze.files import delimiter_of, identifier, is_unsafe
from gazeray.gaze.readers.base import SCREEN, SCREEN_COLUMNS, ReadError, unpacked
from gazeray.gaze.readers.cells import MISSING_CELLS
from gazeray.gaze.readers.delimited import check_utf8
from gazeray.tables import Reject

WINDOW_COLUMNS = ("window_left_px", "window_top_px", "window_width_px", "window_height_px")
TRIAL_COLUMNS = (
    *("participant", "trial", "stimulus", "label", "label_index"),
    *SCREEN_COLUMNS.values(),
    *WINDOW_COLUMNS,
    "row",
)


class _Unusable(ValueError):
    """Why a row cannot be used, and at which stage that was seen."""

    def __init__(self, stage: str, reason: str) -> None:
        self.stage = stage
        super().__init__(reason)


@dataclass(frozen=True)
class TextTable:
    """A small table as text: `columns` maps the file's names to cells, `rows` are row numbers (first data row: 1)."""

    source: str
    names: Mapping[str, str]
    columns: dict[str, list[str]]
    rows: list[int]

    def find(self, name: str) -> list[str] | None:
        """The cells of a column under gazeray's name or the file's, None when there is no such column."""
        return self.columns.get(self.names.get(name, name))


def read_text_table(data: bytes, source: str, spec: TableSpec) -> tuple[TextTable, list[Reject]]:
    """A csv, tsv (also gzipped) or Parquet file as text, and its rows with the wrong number of fields as rejects.

    Raises ReadError: empty, damaged, not UTF-8, an unbalanced quote, a column twice, header without rows.
    """
    data = unpacked(data, source)
    header, records = _parquet_records(data, source) if data[:4] == b"PAR1" else _csv_records(data, source, spec)
    twice = sorted({name for name in header if header.count(name) > 1} & set(spec.columns.values()))
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
    return TextTable(source, spec.columns, columns, rows), rejects


def _csv_records(data: bytes, source: str, spec: TableSpec) -> tuple[list[str], list[list[str]]]:
    """Header and rows of delimited text; blank lines are skipped, quoted cells may span lines."""
    check_utf8(data, source)
    text = io.StringIO(data.decode("utf-8-sig"), newline="")
    try:
        reader = csv.reader(text, delimiter=spec.delimiter or delimiter_of(source), strict=True)
        records = [[cell.strip() for cell in cells] for cells in reader if cells]
    except csv.Error as error:
        raise ReadError(source, f"cannot be parsed: {error}") from error
    return records[0], records[1:]


def _parquet_records(data: bytes, source: str) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a Parquet file as text."""
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error
    columns = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(cells) for cells in zip(*columns, strict=True)]


def _as_text(value: object) -> str:
    """A Parquet value as a csv file would have it: no value is "", true is "1", whole floats are ints."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value).strip()


class TrialsReader:
    """Joins the trials with the participants and judges every row.

    `errors()` says what makes the data set as a whole unusable; only when it is empty may `read()` be called.
    """

    def __init__(self, spec: DatasetSpec, label: str, trials: TextTable, participants: TextTable | None) -> None:
        self._spec, self._label, self._trials, self._participants = spec, label, trials, participants
        self._persons: dict[str, int] = {}
        self.rejects: list[Reject] = []

    def errors(self) -> list[str]:
        """Columns that are declared but not in the file, or needed but nowhere."""
        tables = [self._trials] + ([self._participants] if self._participants else [])
        errors = [
            f"{table.source}: no column {name!r} (present: {', '.join(table.columns)})"
            for table in tables
            for name in dict.fromkeys(table.names.values())
            if name not in table.columns
        ]
        stimulus = dict(self._spec.stimulus or ()).items()
        named = {f"label {self._label}": self._label}
        for place, section in (("screen", dict(self._spec.screen).items()), ("stimulus", stimulus)):
            named |= {f"{place}.{key}": name for key, name in section if isinstance(name, str) and key != "placed"}
        for key in ("width_px", "height_px"):
            if dict(self._spec.screen)[key] is None:
                named[f"screen.{key} is not declared"] = SCREEN_COLUMNS[key]
        for what, name in named.items():
            if not any(name in table.names or name in table.columns for table in tables):
                present = "; ".join(f"{table.source}: {', '.join(table.columns)}" for table in tables)
                errors.append(f"{what}: no column {name!r} (present: {present})")
        return errors

    def read(self) -> tuple[pd.DataFrame, set[tuple[str, str]]]:
        """The usable trials, columns TRIAL_COLUMNS; and every (participant, trial) that the file names.

        The rows left out are in `rejects`. Geometry is float64 px or mm, NaN where not known.
        """
        self._persons = self._unique_participants()
        ids = self._ids()
        duplicate = _repeated(self._trials, [pair[:2] for pair in ids], "duplicate trial")
        columns = self._resolved()
        label = self._cells(self._label)
        good = []
        for index, (participant, trial, stimulus) in enumerate(ids):
            try:
                for what, called in (("participant", participant), ("trial", trial), ("stimulus", stimulus)):
                    if not called:
                        raise _Unusable("trials", f"no {what}")
                    if is_unsafe(called):
                        raise _Unusable("trials", f"unsafe name of the {what}: {called!r}")
                if index in duplicate:
                    raise _Unusable("trials", duplicate[index])
                if self._participants and participant not in self._persons:
                    reason = f"participant {participant!r} has no usable row in {self._participants.source}"
                    raise _Unusable("trials", reason)
                name, number = self._class_of(label[index])
                geometry = self._geometry({column: cells[index] for column, cells in columns.items()})
            except _Unusable as fault:
                row = self._trials.rows[index]
                reject = Reject(self._trials.source, row, fault.stage, str(fault), participant, trial)
                self.rejects.append(reject)
            else:
                good.append((participant, trial, stimulus, name, number, *geometry, self._trials.rows[index]))
        frame = pd.DataFrame(good, columns=list(TRIAL_COLUMNS))
        return frame, {(participant, trial) for participant, trial, _ in ids}

    def _ids(self) -> list[tuple[str, str, str]]:
        """Participant, trial and stimulus of every row; the stimulus is the trial when no column is declared."""
        names = ("participant", "trial", "stimulus" if "stimulus" in self._trials.names else "trial")
        found = [map(identifier, self._trials.columns[self._trials.names[name]]) for name in names]
        return list(zip(*found, strict=True))

    def _unique_participants(self) -> dict[str, int]:
        """Participant -> its row index in the participants table; contradicting rows are left out."""
        if self._participants is None:
            return {}
        table = self._participants
        names = [identifier(name) for name in table.columns[table.names["participant"]]]
        repeated = _repeated(table, names, "duplicate participant")
        for index, reason in repeated.items():
            self.rejects.append(Reject(table.source, table.rows[index], "trials", reason, names[index]))
        return {name: index for index, name in enumerate(names) if index not in repeated}

    def _cells(self, name: str) -> list[str]:
        """A column of the joined tables, one text per trial; the trials table comes first. "" = not known."""
        own = self._trials.find(name)
        if own is not None:
            return own
        other = self._participants.find(name) if self._participants else None
        if other is None:
            return [""] * len(self._trials.rows)
        rows = (self._persons.get(participant) for participant, _, _ in self._ids())
        return ["" if row is None else other[row] for row in rows]

    def _resolved(self) -> dict[str, Sequence[str | float]]:
        """Per trial, every part of the geometry that is declared, or that the tables have a column for."""
        screen = dict(self._spec.screen)
        found = {SCREEN_COLUMNS[key]: SCREEN_COLUMNS[key] if screen[key] is None else screen[key] for key in SCREEN}
        for key, value in dict(self._spec.stimulus or ()).items():
            if value is not None and key != "placed":
                found[f"window_{key}"] = value
        n = len(self._trials.rows)
        return {name: self._cells(value) if isinstance(value, str) else [value] * n for name, value in found.items()}

    def _class_of(self, raw: str) -> tuple[str, int]:
        """The class of a raw label value and its index in the declared order."""
        values = self._spec.labels[self._label]
        name = values.get(canonical(raw))
        if name is None and raw.strip() in MISSING_CELLS:
            raise _Unusable("labels", f"missing label {self._label}")
        if name is None:
            raise _Unusable("labels", f"label {self._label}: {raw!r} is not declared (declared: {', '.join(values)})")
        return name, class_names(self._spec, self._label).index(name)

    def _geometry(self, cells: Mapping[str, str | float]) -> list[float]:
        """Screen and stimulus window of one trial, in the order of SCREEN_COLUMNS and WINDOW_COLUMNS."""
        needed = ("screen_width_px", "screen_height_px", *WINDOW_COLUMNS)
        found = {name: _quantity(name, cell, name in needed) for name, cell in cells.items()}
        width, height = found["screen_width_px"], found["screen_height_px"]
        found.setdefault("window_width_px", width)
        found.setdefault("window_height_px", height)
        found.setdefault("window_left_px", (width - found["window_width_px"]) / 2)
        found.setdefault("window_top_px", (height - found["window_height_px"]) / 2)
        return [found[name] for name in (*SCREEN_COLUMNS.values(), *WINDOW_COLUMNS)]


def class_names(spec: DatasetSpec, label: str) -> list[str]:
    """The classes of a label in the declared order; the last is the positive one."""
    return list(dict.fromkeys(spec.labels[label].values()))


def _quantity(name: str, cell: str | float, needed: bool) -> float:
    """A cell of the geometry as a number; NaN when it is empty and not needed."""
    if isinstance(cell, int | float):
        return float(cell)
    if cell.strip() in MISSING_CELLS:
        if needed:
            raise _Unusable("trials", f"missing geometry: no {name}")
        return math.nan
    value = plain_number(cell)
    if value is None:
        raise _Unusable("trials", f"{name} is not a number: {cell!r}")
    if abs(value) > 1e6:  # px or mm
        raise _Unusable("trials", f"{name} is larger than any screen: {cell!r}")
    if value <= 0 and name not in ("window_left_px", "window_top_px"):
        raise _Unusable("trials", f"{name} must be greater than 0: {cell!r}")
    return value


def _repeated(table: TextTable, keys: Sequence[object], what: str) -> dict[int, str]:
    """Row index -> why, for rows that share their key: all but the first when they are equal, all when they differ."""
    groups: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    found: dict[int, str] = {}
    for same in (group for group in groups.values() if len(group) > 1):
        rows = ", ".join(str(table.rows[index]) for index in same)
        contents = {tuple(cells[index] for cells in table.columns.values()) for index in same}
        if len(contents) == 1:
            found |= dict.fromkeys(same[1:], f"{what}: the same as row {table.rows[same[0]]}")
        else:
            found |= dict.fromkeys(same, f"{what}: rows {rows} contradict each other")
    return found
