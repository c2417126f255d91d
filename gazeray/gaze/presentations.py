# SPDX-License-Identifier: Apache-2.0
"""The gaze files of a recording, read: which presentations of which trials they hold, and which of them a trial means.

Whatever is wrong with a file costs that file alone. What raises is storage that fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from gazeray.gaze.bracketing import Window, bracketed, is_bracketed
from gazeray.gaze.dataset import Recording
from gazeray.gaze.dataset_files import path_ids, readings_of
from gazeray.gaze.declaration import DatasetSpec, parts_in_path
from gazeray.gaze.files import EYE, natural, numbered, plain_part, spelt_there, trial_name
from gazeray.gaze.logs import LOG_MS, zero_of_gaze
from gazeray.gaze.mending import NEAR_MS, check_places, check_times, cut_to_windows
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import COORDINATES, IDS, TIMES, GazeFile, fetched
from gazeray.gaze.readers.spec import GazeSpec
from gazeray.gaze.two_eyes import one_of_two
from gazeray.storage import Folder
from gazeray.tables import Reject

Windows = Callable[[GazeTable], Sequence[Window]]
"""From the table of a file to the windows of the trials on its clock."""


@dataclass(frozen=True)
class Presentation:
    """The rows of one presentation of a trial: of which file, which rows of the file (N,), columns (N,) still in the
    unit and origin of the file; the table that they are of, and the presentation's place in it."""

    source: str
    rows: np.ndarray
    columns: dict[str, np.ndarray]
    table: GazeTable
    code: int


@dataclass
class GazeRead:
    """What the files of one kind (samples or fixations) hold.

    `gaze` is by (participant, trial), the presentations in order; `unclear` says of some why nobody can tell which is
    which. `failed` lists the files that could not be read: path, reason.
    """

    gaze: dict[tuple[str, str], list[Presentation]] = field(default_factory=dict)
    unclear: dict[tuple[str, str], str] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    n_rows: int = 0
    notes: list[str] = field(default_factory=list)
    headers: list[tuple[str, dict[str, float]]] = field(default_factory=list)


def read_files(
    spec: DatasetSpec,
    gaze: GazeSpec,
    root: Folder,
    recording: Recording,
    known: Mapping[tuple[str, str], Mapping[Any, Any]],
    hashing: Any,
) -> GazeRead:
    """Read files of one kind; one reject for each trial with gaze that is neither `known` ((participant, trial) -> its
    row) nor refused already."""
    read, parts = GazeRead(), parts_in_path(gaze, spec.trials)
    beside = {path: more for path, *more in recording.beside}
    eyes: dict[tuple[tuple[str, str], ...], list[tuple[str, Mapping[str, str], GazeTable]]] = {}
    for path in sorted(recording.samples if gaze.kind == "samples" else recording.fixations, key=natural):
        fixed = _ids_of(spec, gaze, path, known)
        try:
            file = _fetched(gaze, root, path, fixed, beside.get(path, []), hashing)
            table = _read_file(spec, file, partial(_windows, spec, file, parts, known))
        except ReadError as error:
            read.failed.append((path, error.reason))
            read.rejects.append(Reject(path, -1, "read", error.reason, *(fixed.get(name, "") for name in IDS)))
            continue
        read.n_rows += table.n_rows
        read.rejects += table.rejects
        read.headers.append((path, table.header))
        others = tuple((name, value) for name, value in fixed.items() if name != EYE)
        eyes.setdefault(others if EYE in fixed else (("path", path),), []).append((path, fixed, table))
    for files in eyes.values():
        try:
            path, table = one_of_two(files, gaze) if EYE in files[0][1] else (files[0][0], files[0][2])
        except ReadError as error:
            read.failed += [(path, error.reason) for path, _, _ in files]
            read.rejects.append(Reject(error.source, -1, "read", error.reason, files[0][1].get("participant", "")))
            continue
        read.notes += [f"{path}: {note}" for note in table.notes]
        _take_in(read, path, table, [plain_part(files[0][1][name]) for name in parts])
    _compare(read, spec.trials.repeats, set(known), set(recording.refused))
    return read


def _compare(read: GazeRead, repeats: str, known: set[tuple[str, str]], refused: set[str]) -> None:
    """Leave out the gaze of trials that the table does not have, one reject each but for those refused already; with
    `repeats: number`, note where the table has another number of presentations."""
    rows = Counter(known)
    if repeats == "number":
        named = known | {(participant, trial) for participant, _, trial in (pair.partition("\n") for pair in refused)}
        rows = Counter((participant, numbered(trial)[0]) for participant, trial in named)
    for ids in list(read.gaze):
        shown = read.gaze[ids]
        if repeats == "number" and rows[ids] and rows[ids] != len(shown):
            read.unclear[ids] = f"presented {len(shown)} times, the trials table has {rows[ids]} of it"
        if not rows[ids]:
            del read.gaze[ids]
            if "\n".join(ids) not in refused:
                reason = f"gaze without trial: {len(shown[0].rows)} rows of a trial that is not in the trials table"
                reason += spelt_there(ids, rows)
                read.rejects.append(Reject(shown[0].source, int(shown[0].rows[0]), "gaze", reason, *ids))


def _windows(
    spec: DatasetSpec,
    file: GazeFile,
    parts: Sequence[str],
    known: Mapping[tuple[str, str], Mapping[Any, Any]],
    table: GazeTable,
) -> list[Window]:
    """The trials that a file, read as `table`, may hold, where their times tell them; named without the parts that the
    path gives. Raises ReadError where they come from a log whose clock cannot be that of the gaze."""
    gaze, fixed = file.spec, file.fixed
    if gaze.windows is None:
        return []
    own = {name: plain_part(fixed[name]) for name in parts} | {name: fixed[name] for name in IDS if name in fixed}
    said = {ids: path_ids(ids, parts) for ids in known}
    mine = {ids: row for ids, row in known.items() if own.items() <= said[ids].items()}
    zero, log = 0.0, spec.trials.log
    if log is not None:
        zero = zero_of_gaze(log, table, gaze, file.source, [float(row[LOG_MS]) for row in mine.values()])
    return [
        (ids[0], said[ids]["trial"], float(row["start_ms"]) - zero, float(row["end_ms"]) - zero)
        for ids, row in mine.items()
    ]


def _ids_of(spec: DatasetSpec, gaze: GazeSpec, path: str, known: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What a path says; of several readings the one that fits a known trial."""
    readings, parts = readings_of(spec, gaze, path), parts_in_path(gaze, spec.trials)
    if len(readings) == 1:
        return readings[0]
    said = [path_ids(pair, parts) for pair in known]

    def fits(ids: Mapping[str, str]) -> bool:
        own = {name: plain_part(ids[name]) if parts else ids[name] for name in ("trial", *parts) if name in ids}
        own |= {name: ids[name] for name in IDS[:1] if name in ids}
        return any(own.items() <= one.items() for one in said)

    return next((ids for ids in readings if fits(ids)), readings[0])


def _fetched(
    gaze: GazeSpec, root: Folder, path: str, fixed: Mapping[str, str], beside: Sequence[str], hashing: Any
) -> GazeFile:
    """A file and those that belong to it. Raises ReadError where one is missing or forbidden, and OSError when the
    storage fails."""
    data = fetched(root, path)
    hashing.update(f"{gaze.kind} {path} {len(data)}\n".encode())
    hashing.update(data)
    further = {}
    for companion in beside:
        try:
            further[companion] = fetched(root, companion)
        except ReadError as error:
            raise ReadError(path, f"{companion}, which belongs to it, {error.reason}") from error
        hashing.update(f"beside {companion} {len(further[companion])}\n".encode())
        hashing.update(further[companion])
    return GazeFile(data, path, gaze, fixed, further)


def _read_file(spec: DatasetSpec, file: GazeFile, windows: Windows) -> GazeTable:
    """One file as a table whose times, units and origin are known; `windows` gives those of `bracketed`. Raises
    ReadError for whatever is wrong with it."""
    gaze, path = file.spec, file.source
    try:
        table = _parsed(file, windows)
    except ReadError:
        raise
    except Exception as error:  # whatever a damaged file makes a reader raise: it costs this file alone
        raise ReadError(path, f"cannot be read: {type(error).__name__}: {str(error)[:500]}") from error
    own, surface = table.origin, ("screen", "stimulus")  # a surface of glasses may be the stimulus, too
    if own and gaze.origin not in ("screen", own) and (own, gaze.origin) != surface:
        raise ReadError(path, f"origin: {gaze.origin} is declared, but the file has gaze that counts from {own}")
    origin = table.origin if gaze.origin == "screen" and table.origin else gaze.origin
    if origin == "scene_camera" != gaze.origin:
        reason = "gaze is in px of the scene camera, not of a screen: declare origin: scene_camera if that is meant"
        raise ReadError(path, reason)
    if origin == "stimulus" != gaze.origin and spec.stimulus is None:
        raise ReadError(path, "gaze counts from the top left of the stimulus: declare where it lay, as `stimulus`")
    units = {name: gaze.unit(name) for name in COORDINATES} | table.units
    units |= {name: unit for name, unit in gaze.units.items() if name in COORDINATES}
    table = replace(table, origin=origin, units=units)
    check_places(table, path)
    return table


def _parsed(file: GazeFile, windows: Windows) -> GazeTable:
    """The table of a file, its rows sorted into trials, its events within them. Raises ReadError."""
    spec, elsewhere = file.spec, is_bracketed(file.spec)
    read = READERS[spec.reader].read
    if elsewhere:
        plain = spec.model_copy(update={"messages": None})
        table = read(replace(file, spec=plain, fixed={"trial": "by messages", **file.fixed}))
        nameless = [replace(reject, trial=file.ids[1]) for reject in table.rejects]
        table = replace(table, rejects=nameless)
    else:
        table = read(file)
    checked = check_times(table, spec.kind, file.source)
    table = replace(checked, rejects=[*table.rejects, *checked.rejects])
    if elsewhere:
        table = bracketed(table, file, windows(table))
    return cut_to_windows(table) if spec.kind == "fixations" else table


def _take_in(read: GazeRead, path: str, table: GazeTable, parts: Sequence[str]) -> None:
    """Add the presentations of a table; `parts` are those of their trials' names that the path gives."""
    for code, where in rows_by_code(table.codes):
        participant, trial = table.ids[code]
        ids = participant, trial_name([*parts, trial])
        columns = {name: values[where] for name, values in table.columns.items()}
        read.gaze.setdefault(ids, []).append(Presentation(path, table.rows[where], columns, table, code))


def rows_by_code(codes: np.ndarray) -> Iterator[tuple[int, Any]]:
    """(code, index of its rows) for every code in (N,), by first appearance or by code; the order of rows is kept.

    The index is a slice (no copy) when the rows of no code are interrupted by another's.
    """
    if not len(codes):
        return
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    order = None
    if len(starts) > len(np.unique(codes[starts])):
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(codes)], strict=True):
        where = slice(start, stop) if order is None else order[start:stop]
        yield int(codes[start if order is None else order[start]]), where


def presented(ids: tuple[str, str], repeats: str, read: GazeRead) -> tuple[Presentation | None, str]:
    """The presentation that a trial of the table means, None where there is no gaze of it; and why nobody can tell
    which one it means ("": it is clear)."""
    participant, trial = ids
    name, number = numbered(trial) if repeats == "number" else (trial, 1)
    shown, unclear = read.gaze.get((participant, name), []), read.unclear.get((participant, name), "")
    if not shown or unclear:
        return (shown[0] if shown else None), unclear
    if repeats == "join":
        return _joined(shown), _why_apart(shown)
    if repeats == "refuse" and len(shown) > 1:
        where = ", ".join(f"{one.source} row {one.rows[0]}" for one in shown[:3]) + (", ..." if len(shown) > 3 else "")
        choices = "number: each is a trial, join: all are one"
        return shown[0], f"presented {len(shown)} times ({where}): say what it means, as trials.repeats ({choices})"
    return shown[number - 1], ""


def _why_apart(shown: Sequence[Presentation]) -> str:
    """Why presentations cannot be joined: their clocks are not one ("": they are)."""
    for before, one in pairwise(shown):
        (_, end), (start, _) = (_times(own)[[0, -1]] for own in (before, one))
        if start < end - NEAR_MS:
            where = f"{one.source} row {one.rows[0]} is at {start:.10g} ms, after {end:.10g} ms"
            return f"presented {len(shown)} times on clocks of their own, which cannot be joined: {where}"
    return ""


def _times(one: Presentation) -> np.ndarray:
    """(N,) ms, when its samples are, or its fixations begin."""
    return next(one.columns[name] for name, *_ in TIMES.values() if name in one.columns)


def _joined(shown: Sequence[Presentation]) -> Presentation:
    """All presentations of a trial as one."""
    first = shown[0]
    if len(shown) == 1:
        return first
    names = [name for name in first.columns if all(name in one.columns for one in shown)]
    columns = {name: np.concatenate([one.columns[name] for one in shown]) for name in names}
    return replace(first, rows=np.concatenate([one.rows for one in shown]), columns=columns)
