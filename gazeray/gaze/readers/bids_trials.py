# SPDX-License-Identifier: Apache-2.0
"""Trials of BIDS recordings: the rows of *_events.tsv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gazeray.gaze.files import identifier, trial_name
from gazeray.gaze.readers import bids_files, vendor_bids
from gazeray.gaze.readers.base import TIME_UNITS_MS, GazeFile, ReadError
from gazeray.gaze.readers.cells import row_rejects
from gazeray.gaze.readers.plain_text import header_of
from gazeray.gaze.readers.text import Spans, spans_apart
from gazeray.gaze.readers.vendor_tables import Cells, Sheet, decoded
from gazeray.tables import Reject


@dataclass(frozen=True)
class Trials:
    """Presentations of trials in ms, the rows that could not be used, and where they are from."""

    spans: Spans
    rejects: list[Reject]
    source: str


def trials_of_events(file: GazeFile, columns: Sequence[str]) -> Trials:
    """Trials from *_events.tsv: its rows with a duration above 0, in order of onset; named by the columns (n/a: no
    trial), or by their number.

    Raises ReadError: no such file, no such column, no such row, rows that overlap, another unit than one of time.
    """
    path = bids_files.table_beside(file, "events")
    if path is None:
        reason = "no trials: neither the path nor a column gives them, and there is no *_events.tsv for them"
        raise ReadError(file.source, reason)
    events = replace(file, data=file.beside[path], source=path, fixed={"participant": file.ids[0]})
    text, _ = decoded(events)
    names, skip = header_of(text, path, "\t")
    sheet = Sheet(events, text, "\t", names, skip, [])
    onset, duration = sheet.need("onset of trials", "onset"), sheet.need("duration of trials", "duration")
    named = [sheet.need("names of trials", column) for column in columns]
    cells = sheet.read(named, [onset, duration])
    units = vendor_bids.unit_of_events(
        bids_files.sidecar_of(file, "events"), {"onset_ms": onset, "duration_ms": duration}, {}, path
    )
    starts, lasts = (
        cells.values(name) * TIME_UNITS_MS[units[ours] or "s"]
        for ours, name in (("onset_ms", onset), ("duration_ms", duration))
    )
    parts = zip(*(cells.text[name].to_pylist() for name in named), strict=True) if named else None
    called = [_name(own) for own in parts] if parts else [str(row) for row in cells.rows]
    usable = np.array([bool(name) for name in called], dtype=bool) & (lasts > 0) & ~np.isnan(starts)
    if not usable.any():
        raise ReadError(file.source, f"no trials: no row of {path} has an onset and a duration above 0")
    used = np.flatnonzero(usable)
    rows = cells.rows[used]

    def fault(one: int, other: int) -> str:
        hint = "name them by a column that is n/a in all other rows, as columns.trial"
        return f"rows {rows[one]} and {rows[other]} of {path} overlap: which are trials? ({hint})"

    names_of = [called[row] for row in used.tolist()]
    spans = spans_apart(names_of, starts[used], (starts + lasts)[used], file.source, fault)
    return Trials(spans, _bad_rows(cells, onset, duration, path), path)


def _name(parts: Sequence[str | None]) -> str:
    """The name of a trial from the columns that give it; "" where one of them is empty."""
    own = [identifier(part or "") for part in parts]
    return "" if any(part in ("", "n/a") for part in own) else trial_name(own)


def _bad_rows(cells: Cells, onset: str, duration: str, path: str) -> list[Reject]:
    """The rows of *_events.tsv that have the wrong number of fields, or no number where one must be."""
    rejects = list(cells.rejects)
    for name in (onset, duration):
        column = cells.numbers[name]
        where = np.flatnonzero(column.bad)
        bad = cells.at(where).numbers[name]
        faults = [bad.fault(index, f"column {name}") for index in range(len(where))]
        rejects += row_rejects(path, cells.rows[where], "read", faults.__getitem__, lambda index: ("", ""))
    return rejects
