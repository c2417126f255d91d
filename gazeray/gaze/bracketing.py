# SPDX-License-Identifier: Apache-2.0
"""Trials told by times outside the gaze files, on their clock, for whatever reader: by messages in a file of their own,
or by windows in the trials table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from gazeray.gaze.files import ids_in_path
from gazeray.gaze.readers.base import GazeFile, GazeTable, Kind, ReadError
from gazeray.gaze.readers.cells import parsed_times, wrong_setting
from gazeray.gaze.readers.delimited import read_columns
from gazeray.gaze.readers.spec import GazeSpec, MessageFileSpec
from gazeray.gaze.readers.text import Spans, rejects_outside, spans_by_messages


def is_bracketed(spec: GazeSpec) -> bool:
    """Do trials come from another file than that of the gaze?"""
    return spec.windows is not None or (spec.messages is not None and spec.messages.file is not None)


def bracketed(table: GazeTable, file: GazeFile, windows: Sequence[tuple[str, float, float]]) -> GazeTable:
    """The rows of a file sorted into the trials that its file of messages brackets, or into `windows` (trial, start and
    end in ms) of the trials table; those outside are counted.

    Raises ReadError: no such file or several, a column is missing, no message begins a trial, more than one person,
    windows that overlap.
    """
    spec, source = file.spec, file.source
    if spec.windows:
        spans = _spans(windows, source)
        person = _one_person(table, source)
        return _sorted_into(table, spec.kind, spans, [(person, name) for name in spans.names], source)
    where = spec.messages.file if spec.messages else None
    if spec.messages is None or where is None:
        raise ValueError(f"{source}: no file of messages is declared")
    path = where.path
    own = [name for name in file.beside if ids_in_path(path, name)]
    if len(own) != 1:
        raise ReadError(source, f"{len(own) or 'no'} files of messages match {path}" + ("" if own else " for it"))
    person = _one_person(table, source)
    try:
        messages = read_messages(file.beside[own[0]], own[0], where)
        spans = spans_by_messages(messages, spec.messages, own[0])
    except ReadError as error:
        raise ReadError(source, f"its messages in {error}") from error
    names = [file.fixed.get("trial", name) for name in spans.names]
    return _sorted_into(table, spec.kind, spans, [(person, name) for name in names], source)


def _one_person(table: GazeTable, source: str) -> str:
    """Whose gaze a file holds, "" where it holds none. Raises ReadError for that of several."""
    people = list(dict.fromkeys(person for person, _ in table.ids))
    if len(people) > 1:
        raise ReadError(source, "times tell the trials of one person, and the file holds several")
    return people[0] if people else ""


def _spans(windows: Sequence[tuple[str, float, float]], source: str) -> Spans:
    """Windows of trials in order of time. Raises ReadError where two of them overlap."""
    in_time = sorted(windows, key=lambda window: window[1:])
    for (before, _, end), (name, start, _) in pairwise(in_time):
        if start < end:
            raise ReadError(source, f"the windows of the trials {before!r} and {name!r} overlap in the trials table")
    return Spans([name for name, _, _ in in_time], [start for _, start, _ in in_time], [end for _, _, end in in_time])


def read_messages(data: bytes, source: str, spec: MessageFileSpec) -> list[tuple[float, str]]:
    """The messages of a file, (ms, text) in order of time; rows without either are left out. Raises ReadError."""
    time, text = spec.column("time"), spec.column("text")
    columns, _, _, _ = read_columns(data, source, spec, {time: pa.string(), text: pa.string()})
    ms, bad = parsed_times(columns[time], spec.unit, spec.decimal)
    if bad.any() and (hint := wrong_setting(columns[time], bad, spec.unit, "unit: iso", spec.decimal)):
        raise ReadError(source, f"column {time!r} {hint}")
    pairs = zip(ms.tolist(), columns[text].to_pylist(), strict=True)
    return sorted((at, words) for at, words in pairs if at == at and words)


def _sorted_into(table: GazeTable, kind: Kind, spans: Spans, ids: list[tuple[str, str]], source: str) -> GazeTable:
    """The rows of a table in the spans (in ms), of `ids`, that they lie in or, fixations, last into."""
    if kind == "samples":
        codes = spans.codes(table.columns["timestamp_ms"])
        index, span = np.flatnonzero(codes >= 0), codes[codes >= 0]
    else:
        onset = table.columns["onset_ms"]
        index, span = spans.overlapping(onset, onset + table.columns["duration_ms"])
    outside = np.setdiff1d(np.arange(len(table.codes)), index)
    rejects = rejects_outside(source, kind, table.rows[outside], ids[0][0] if ids else "")
    found = replace(table.where(index), codes=span, ids=ids, windows=spans.windows, accuracy=[])
    return replace(found, rejects=[*table.rejects, *rejects])
