# SPDX-License-Identifier: Apache-2.0
"""Trials told by times outside the gaze files, on their clock, for whatever reader: by messages in a file of their own,
or by windows in the trials table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gazeray.gaze.files import identifier, ids_in_path
from gazeray.gaze.readers.base import GazeFile, GazeTable, ReadError
from gazeray.gaze.readers.cells import parsed_times, wrong_setting
from gazeray.gaze.readers.delimited import read_columns
from gazeray.gaze.readers.spec import GazeSpec, MessageFileSpec
from gazeray.gaze.readers.text import Spans, sorted_into, spans_apart, spans_by_messages
from gazeray.tables import Reject

Window = tuple[str, str, float, float]
"""Participant and trial, start and end in ms."""


def is_bracketed(spec: GazeSpec) -> bool:
    """Do trials come from another file than that of the gaze?"""
    return spec.windows is not None or (spec.messages is not None and spec.messages.file is not None)


def bracketed(table: GazeTable, file: GazeFile, windows: Sequence[Window]) -> GazeTable:
    """The rows of a file sorted into the trials that its file of messages brackets, or into `windows` of the trials
    table; those outside are counted.

    Raises ReadError: no such file or several, a column is missing, no message begins a trial, windows of a person that
    overlap, several people in the file and messages that do not say whose they are, nothing lies in a trial.
    """
    spec, source = file.spec, file.source
    if spec.windows:
        return _by_person(table, file, lambda person: _spans([own for own in windows if own[0] == person], source),
                          "the trials table")  # fmt: skip
    where = spec.messages.file if spec.messages else None
    if spec.messages is None or where is None:
        raise ValueError(f"{source}: no file of messages is declared")
    path, messages = where.path, spec.messages
    own = [name for name in file.beside if ids_in_path(path, name)]
    if len(own) != 1:
        raise ReadError(source, f"{len(own) or 'no'} files of messages match {path}" + ("" if own else " for it"))
    if "participant" not in where.columns and len({person for person, _ in table.ids}) > 1:
        raise ReadError(source, "messages of one person, and gaze of several: name their column of the participant")
    try:
        said = read_messages(file.beside[own[0]], own[0], where)
    except ReadError as error:
        raise ReadError(source, f"its messages in {error}") from error

    def spans_of(person: str) -> Spans:
        mine = [(at, words) for at, words, who in said if who in ("", person)]
        try:
            return spans_by_messages(mine, messages, own[0])
        except ReadError as error:
            raise ReadError(source, f"its messages in {error}") from error

    return _by_person(table, file, spans_of, own[0])


def _by_person(table: GazeTable, file: GazeFile, spans_of: Callable[[str], Spans], told: str) -> GazeTable:
    """The rows of each person in the spans of that person, which `told` tells; a person for whom that cannot be done
    (ReadError) is left out.

    Raises ReadError where nobody is left.
    """
    people = list(dict.fromkeys(person for person, _ in table.ids)) or [file.ids[0]]
    if len(people) == 1:
        return sorted_into(table, spans_of(people[0]), file, told)
    whose = np.array([people.index(person) for person, _ in table.ids], dtype=np.int64)[table.codes]
    parts, rejects = [], [replace(reject, trial=file.ids[1]) for reject in table.rejects]
    for number, person in enumerate(people):
        mine = table.where(whose == number)
        mine = replace(mine, ids=[(person, "")], codes=np.zeros_like(mine.codes))
        try:
            parts.append(sorted_into(mine, spans_of(person), file, told))
        except ReadError as error:
            rejects.append(Reject(file.source, -1, "read", error.reason, person))
    if not parts:
        raise ReadError(file.source, rejects[-1].reason)
    before = np.cumsum([0, *(len(part.ids) for part in parts)])
    return replace(
        table,
        ids=[pair for part in parts for pair in part.ids],
        codes=np.concatenate([part.codes + first for part, first in zip(parts, before[:-1], strict=True)]),
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in table.columns},
        rows=np.concatenate([part.rows for part in parts]),
        windows=np.concatenate([part.windows for part in parts if part.windows is not None]),
        rejects=[*rejects, *(reject for part in parts for reject in part.rejects)],
        accuracy=[],
    )


def _spans(windows: Sequence[Window], source: str) -> Spans:
    """Windows of the trials of a person in order of time. Raises ReadError where two of them overlap."""

    def fault(one: int, other: int) -> str:
        return f"the windows of the trials {windows[one][1]!r} and {windows[other][1]!r} overlap in the trials table"

    starts, ends = np.array([window[2:] for window in windows], dtype=np.float64).reshape(-1, 2).T
    return spans_apart([trial for _, trial, *_ in windows], starts, ends, source, fault)


def read_messages(data: bytes, source: str, spec: MessageFileSpec) -> list[tuple[float, str, str]]:
    """The messages of a file in order of time: ms, text, whose it is ("": it does not say); rows without one of them
    are left out. Raises ReadError."""
    time, text, person = spec.column("time"), spec.column("text"), spec.columns.get("participant")
    names = [time, text, *([person] if person else [])]
    columns, _, _, _ = read_columns(data, source, spec, dict.fromkeys(names, pa.string()))
    ms, bad = parsed_times(columns[time], spec.unit, spec.decimal)
    if bad.any() and (hint := wrong_setting(columns[time], bad, spec.unit, "unit: iso", spec.decimal)):
        raise ReadError(source, f"column {time!r} {hint}")
    people = [identifier(who or "") for who in columns[person].to_pylist()] if person else [""] * len(ms)
    rows = zip(ms.tolist(), columns[text].to_pylist(), people, strict=True)
    return sorted((at, words, who) for at, words, who in rows if at == at and words and (who or not person))
