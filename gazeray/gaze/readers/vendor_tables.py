# SPDX-License-Identifier: Apache-2.0
"""What the tabular exports of eye trackers share: finding columns by name, choosing an eye, one row per fixation.

A vendor's reader opens the export as a `Sheet`, reads the columns that it knows (`Sheet.read`), computes times and
coordinates from them, and hands both to `build`, which rejects what is no number and returns the `GazeTable`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gazeray.gaze.readers.base import COORDINATES, IDS, TIMES, GazeFile, GazeTable, ReadError
from gazeray.gaze.readers.cells import Numbers, as_numbers, gaze_table, measured, row_rejects
from gazeray.gaze.readers.delimited import parse
from gazeray.gaze.readers.names import joined_names
from gazeray.gaze.readers.plain_text import as_rows_end, check_columns, header_of
from gazeray.gaze.readers.spec import GazeSpec
from gazeray.gaze.readers.text import Spans, as_bytes, as_text, one_gaze, without_missing
from gazeray.tables import Reject

DELIMITERS = "\t;,"
"""Tried on the header; the one that is there most often separates the columns."""

Pairs = dict[str, tuple[str, str]]
"""Eye -> the names of its columns of x and y."""

Columns = dict[str, tuple[str, Any]]
"""Our name -> what messages call the column, and its values (N,): floats, or Arrow strings."""

PRESENTATION = "presentation"
"""Among `Columns`: (N,) int, what tells presentations of a trial apart besides rows of other trials in between."""

Channels = dict[str, tuple[np.ndarray, str]]
"""Name -> its values (N,), floats with NaN where lost or not valid, or str; and the unit."""


@dataclass(frozen=True)
class Cells:
    """Columns that were read of a sheet; N rows of the `n_rows` of the file.

    rows      (N,) int64, the row in the file, the first data row is 1
    text      name -> (N,) Arrow array of strings, blanks around them removed
    numbers   name -> the column as numbers
    rejects   rows with the wrong number of fields
    """

    sheet: Sheet
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

    def keys(self, names: Iterable[str]) -> list[np.ndarray]:
        """The text of columns, (N,) of objects each."""
        return [self.text[name].to_numpy(zero_copy_only=False) for name in names]

    def blocks(self, name: str, begins: np.ndarray | None = None) -> np.ndarray:
        """(N,) int, the number of the text of each row of a column whose rows come in blocks, each of the same text.

        An empty cell is that before it. So is a single one between two rows of the same text, a wrong cell, unless it
        `begins` something (N,) bool, or the row behind it does.
        """
        text = pd.Series(self.keys([name])[0]).replace("", None).ffill().bfill()
        code = pd.factorize(text, use_na_sentinel=False)[0]
        wrong = (code[:-2] == code[2:]) & (code[:-2] != code[1:-1])
        if begins is not None:
            wrong &= ~begins[1:-1] & ~begins[2:]
        code[1:-1] = np.where(wrong, code[:-2], code[1:-1])
        return code

    def columns(self, **names: str) -> Columns:
        """Columns of numbers for `build`, by our name."""
        return {ours: (theirs, self.values(theirs)) for ours, theirs in names.items()}

    def at(self, index: np.ndarray) -> Cells:
        """The rows of the mask or the indices (M,), which may come more than once."""
        index = np.flatnonzero(index) if index.dtype == bool else index
        take = pa.array(index)
        text = {name: cells.take(take) for name, cells in self.text.items()}
        numbers = {
            name: Numbers(column.values[index], column.bad[index], column.cells.take(take))
            for name, column in self.numbers.items()
        }
        return replace(self, rows=self.rows[index], text=text, numbers=numbers)


@dataclass(frozen=True)
class Sheet:
    """The delimited text of a file as UTF-8 `data`: what its columns are called, and how many lines come before the
    first row."""

    file: GazeFile
    data: bytes
    delimiter: str
    names: list[str]
    skip: int
    notes: list[str]

    def error(self, reason: str) -> ReadError:
        """The file cannot be used."""
        return ReadError(self.file.source, reason)

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
            raise self.error(f"no column for {what}: {' or '.join(map(repr, names))} (present: {present})")
        return found

    def column(self, name: str, *defaults: str) -> str:
        """The column for one of our names: the declared one, else the first default. Raises ReadError: neither."""
        spec = self.file.spec
        return self.need(name, spec.column(name)) if name in spec.columns else self.need(name, *defaults)

    def ids(self, names: Sequence[str] = IDS, **defaults: Sequence[str]) -> dict[str, str]:
        """participant, trial (or `names` of them) -> the column that holds it, for those that are not in the path; not
        for a trial that several columns give together, which `read` and `build` know of."""
        told = (*self.file.fixed, *(["trial"] if len(self.file.spec.trial_columns) > 1 else []))
        return {name: self.column(name, *defaults.get(name, ())) for name in names if name not in told}

    def read(
        self, text: Iterable[str | None], numbers: Iterable[str | None], channels: Iterable[str | None] = ()
    ) -> Cells:
        """Read columns (None: none); in those of `channels` what is no number is lost, and no fault of the row.

        Raises ReadError when one is there twice or the text cannot be parsed.
        """
        parts = self.file.spec.trial_columns if "trial" not in self.file.fixed else []
        text = [*text, *(parts if len(parts) > 1 else [])]
        texts, strict, loose = ([name for name in names if name] for names in (text, numbers, channels))
        every = [*strict, *(name for name in dict.fromkeys(loose) if name not in strict)]
        kinds = dict.fromkeys(every, pa.float64()) | dict.fromkeys(texts, pa.string())
        source = self.file.source
        check_columns(list(kinds), self.names, source)
        table, rows, n_rows, rejects = parse(
            self.data, source, self.delimiter, self.names, self.skip, kinds, self.file.ids
        )
        if n_rows == 0:
            raise self.error("a header without rows")
        words = {name: pc.utf8_trim_whitespace(table[name].combine_chunks()) for name in texts}
        # No clock counts further, in whatever unit (one in ns beyond 1e18); in ms and px it is checked again.
        usable = {name: as_numbers(table[name], largest=1e20) for name in every}
        for name in set(loose) - set(strict):
            usable[name] = replace(usable[name], bad=np.zeros(len(rows), dtype=bool))
        return Cells(self, rows, n_rows, words, usable, rejects)


def decoded(file: GazeFile) -> tuple[bytes, list[str]]:
    """The text as UTF-8 with line feeds, and a note when it was Latin-1. Raises ReadError: empty, damaged."""
    plain = as_bytes(file)
    text = as_text(plain).encode()
    return text, [] if text == plain else ["not UTF-8 text, read as Latin-1"]


def open_sheet(file: GazeFile) -> Sheet:
    """A delimited text (plain or gzip; UTF-8, UTF-16 or Latin-1) with a header. Raises ReadError when it is none."""
    text, notes = decoded(file)
    first = next((line for line in text.split(b"\n", 20)[:20] if line.strip()), b"").decode()
    delimiter = file.spec.delimiter or max(DELIMITERS, key=first.count)
    names, skip = header_of(text, file.source, delimiter)
    return Sheet(file, text, delimiter, as_rows_end(names, text, skip, delimiter), skip, notes)


def is_any(cells: Cells, name: str, words: list[str]) -> np.ndarray:
    """(N,) bool, where a column of text says one of the words, whatever its capitals."""
    text = pc.is_in(pc.utf8_lower(cells.text[name]), value_set=pa.array(words, pa.string()))
    return np.asarray(text.to_numpy(zero_copy_only=False), dtype=bool)


def says_something(cells: Cells, name: str) -> np.ndarray:
    """(N,) bool, where a column of text is not empty."""
    return ~is_any(cells, name, ["", "-"]) & cells.text[name].is_valid().to_numpy(zero_copy_only=False)


def codes_of(cells: Cells, name: str | None) -> np.ndarray:
    """(N,) int, rows with the same text have the same number; all 0 for None."""
    if name is None:
        return np.zeros(len(cells.rows), dtype=np.int64)
    indices = cells.text[name].dictionary_encode(null_encoding="encode").indices
    return indices.to_numpy(zero_copy_only=False).astype(np.int64)


def declared_pair(sheet: Sheet, known: Mapping[str, Sequence[str]]) -> Pairs | None:
    """The columns of x and y that a declaration names, None when it names none.

    They are called by the eye of `known` (eye -> its columns of x and y) that both belong to, so that its validity
    holds for them, else "declared". Raises ReadError when just one is named or one is not there.
    """
    there = [name for name in COORDINATES if name in sheet.file.spec.columns]
    if not there:
        return None
    if len(there) == 1:
        raise sheet.error(f"the declaration names a column for {there[0]} alone: name x_px and y_px")
    pair = (sheet.column("x_px"), sheet.column("y_px"))
    return {next((eye for eye, names in known.items() if set(pair) <= set(names)), "declared"): pair}


def chosen_gaze(cells: Cells, pairs: Pairs, lost: Mapping[str, np.ndarray] | None = None) -> tuple[Columns, list[str]]:
    """x_px and y_px (N,) of the eye asked for, NaN where lost, for `build`; and notes on the choice.

    `lost` (N,) marks, by eye, what the tracker calls invalid.
    """
    eyes = {}
    for eye, (x, y) in pairs.items():
        invalid = (lost or {}).get(eye, np.zeros(len(cells.rows), dtype=bool))
        eyes[eye] = (np.where(invalid, np.nan, cells.values(x)), np.where(invalid, np.nan, cells.values(y)))
    file = cells.sheet.file
    eyes = without_missing(eyes, file.spec)
    if "x_px" in file.spec.columns:  # one pair, which the declaration has chosen
        gaze, notes = next(iter(eyes.values())), list[str]()
    else:
        gaze, notes = one_gaze(eyes, file.spec, file.source)
    called = [" or ".join(names) for names in zip(*pairs.values(), strict=True)]
    return {"x_px": (called[0], gaze[0]), "y_px": (called[1], gaze[1])}, notes


def channel_columns(sheet: Sheet) -> tuple[list[str], list[str]]:
    """The columns that the declared channels need, in the spelling of the file: those of validity (for the `text` of
    `Sheet.read`) and those of values (for its `channels`). Raises ReadError when one is not there."""
    declared = sheet.file.spec.channels.items()
    words = [sheet.need(f"the validity of {name}", own.validity) for name, own in declared if own.validity]
    return words, [sheet.need(f"the channel {name}", own.column) for name, own in declared]


def declared_channels(cells: Cells) -> Channels:
    """The channels that the declaration names, for `build`, where `channel_columns` were read: NaN where the value is
    no number, missing or not valid."""
    sheet, found = cells.sheet, Channels()
    for name, own in sheet.file.spec.channels.items():
        words = cells.text[sheet.need(name, own.validity)] if own.validity else None
        found[name] = measured(cells.values(sheet.need(name, own.column)), words, own), own.unit
    return found


def in_spans(spans: Spans, span: np.ndarray, called: str) -> Columns:
    """The columns for `build` that say in which span (N,) int each row lies (-1: in none); the trial is `called` so in
    messages."""
    names = pa.array(spans.names, pa.string()).take(pa.array(span, mask=span < 0))
    return {"trial": (called, names), PRESENTATION: (called, span)}


def trial_of_several(cells: Cells) -> Columns:
    """The column of the trial for `build` where the declaration names several columns that give it together and that
    were read; none where it does not."""
    names = cells.sheet.file.spec.trial_columns
    if len(names) < 2 or "trial" in cells.sheet.file.fixed:
        return {}
    return {"trial": (" and ".join(names), joined_names([cells.text[name] for name in names]).dictionary_decode())}


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


def build(
    cells: Cells,
    ids: Mapping[str, str],
    columns: Columns,
    units: Mapping[str, str],
    keep: np.ndarray | None = None,
    notes: Sequence[str] = (),
    header: Mapping[str, float] | None = None,
    channels: Channels | None = None,
    windows: np.ndarray | None = None,
) -> GazeTable:
    """The GazeTable of the rows of the mask `keep` (N,).

    `ids` are the columns of participant and trial, `columns` the times, x_px and y_px, PRESENTATION, or the trial where
    it is in no column: what messages call each, and its values (N,), floats or Arrow strings. `units` are those of the
    times. `notes` come behind the sheet's. `windows` (S, 2), ms, are by PRESENTATION. Rows with a number that is none
    are rejected. Raises ReadError when no row is kept.
    """
    file, rejects = cells.sheet.file, list(cells.rejects)
    keep = np.ones(len(cells.rows), dtype=bool) if keep is None else keep
    if not keep.any():
        raise cells.sheet.error(f"no row of {file.spec.kind}")
    for name, column in cells.numbers.items():
        where = np.flatnonzero(column.bad & keep)
        bad = replace(column, cells=column.cells.take(pa.array(where)))
        fault = partial(bad.fault, name=f"column {name}")
        rejects += row_rejects(file.source, cells.rows[where], "read", fault, lambda index: file.ids)
        keep = keep & ~column.bad
    once: dict[int, Reject] = {}  # a row with several faults is rejected for the first of them
    for reject in rejects:
        once.setdefault(reject.row, reject)
    presentation = columns[PRESENTATION][1][keep] if PRESENTATION in columns else None
    named: Columns = {name: (theirs, cells.text[theirs]) for name, theirs in ids.items()}
    columns = trial_of_several(cells) | named | columns
    arrow = {  # nulls for NaN
        ours: (theirs, pa.chunked_array([pa.array(values, from_pandas=True).filter(pa.array(keep))]))
        for ours, (theirs, values) in columns.items()
        if ours not in file.fixed and ours != PRESENTATION
    }
    further = {name: (values[keep], unit) for name, (values, unit) in (channels or {}).items()}
    found = gaze_table(
        *(file, arrow, units, cells.rows[keep], cells.n_rows, list(once.values())),
        channels=further,
        presentation=presentation,
        windows=windows,
    )
    return replace(found, notes=[*cells.sheet.notes, *notes], header=dict(header or {}))
