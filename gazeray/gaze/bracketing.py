# SPDX-License-Identifier: Apache-2.0
"""Trials told by times outside the gaze files, on their clock, for whatever reader: by messages in a file of their own,
or by windows in the trials table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from gazeray.gaze.files import ids_in_path
from gazeray.gaze.readers.base import GazeFile, GazeTable, ReadError
from gazeray.gaze.readers.cells import parsed_times, wrong_setting
from gazeray.gaze.readers.delimited import read_columns
from gazeray.gaze.readers.spec import GazeSpec, MessageFileSpec
from gazeray.gaze.readers.text import Spans, sorted_into, spans_apart, spans_by_messages


def is_bracketed(spec: GazeSpec) -> bool:
    """Do trials come from another file than that of the gaze?"""
    return spec.windows is not None or (spec.messages is not None and spec.messages.file is not None)


def bracketed(table: GazeTable, file: GazeFile, windows: Sequence[tuple[str, float, float]]) -> GazeTable:
    """The rows of a file sorted into the trials that its file of messages brackets, or into `windows` (trial, start and
    end in ms) of the trials table; those outside are counted.

    Raises ReadError: no such file or several, a column is missing, no message begins a trial, more than one person,
    windows that overlap, nothing lies in a trial.
    """
    spec, source = file.spec, file.source
    if spec.windows:
        return sorted_into(table, _spans(windows, source), file, "the trials table")
    where = spec.messages.file if spec.messages else None
    if spec.messages is None or where is None:
        raise ValueError(f"{source}: no file of messages is declared")
    path = where.path
    own = [name for name in file.beside if ids_in_path(path, name)]
    if len(own) != 1:
        raise ReadError(source, f"{len(own) or 'no'} files of messages match {path}" + ("" if own else " for it"))
    try:
        messages = read_messages(file.beside[own[0]], own[0], where)
        spans = spans_by_messages(messages, spec.messages, own[0])
    except ReadError as error:
        raise ReadError(source, f"its messages in {error}") from error
    return sorted_into(table, spans, file, own[0])


def _spans(windows: Sequence[tuple[str, float, float]], source: str) -> Spans:
    """Windows of trials in order of time. Raises ReadError where two of them overlap."""

    def fault(one: int, other: int) -> str:
        return f"the windows of the trials {windows[one][0]!r} and {windows[other][0]!r} overlap in the trials table"

    starts, ends = np.array([window[1:] for window in windows], dtype=np.float64).reshape(-1, 2).T
    return spans_apart([name for name, *_ in windows], starts, ends, source, fault)


def read_messages(data: bytes, source: str, spec: MessageFileSpec) -> list[tuple[float, str]]:
    """The messages of a file, (ms, text) in order of time; rows without either are left out. Raises ReadError."""
    time, text = spec.column("time"), spec.column("text")
    columns, _, _, _ = read_columns(data, source, spec, {time: pa.string(), text: pa.string()})
    ms, bad = parsed_times(columns[time], spec.unit)
    if bad.any() and (hint := wrong_setting(columns[time], bad, spec.unit, "unit: iso")):
        raise ReadError(source, f"column {time!r} {hint}")
    pairs = zip(ms.tolist(), columns[text].to_pylist(), strict=True)
    return sorted((at, words) for at, words in pairs if at == at and words)
