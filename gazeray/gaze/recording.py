# SPDX-License-Identifier: Apache-2.0
"""One recording: from its files to the gaze of each of its trials, in px of the screen.

Bad data never raises: it is rejected with its file, its row and the reason. What raises is storage that fails for
another reason than a file that is missing or forbidden, so that the step is tried again instead of losing a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from gazeray.gaze.dataset import Recording
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import ids_in_path
from gazeray.gaze.quality import TrialGaze, inside
from gazeray.gaze.readers import READERS, GazeTable, ReadError
from gazeray.gaze.readers.base import IDS, TIMES, GazeFile, GazeSpec, fetched
from gazeray.gaze.readers.cells import row_rejects
from gazeray.gaze.trials import WINDOW_COLUMNS
from gazeray.storage import Folder
from gazeray.tables import Reject, plain_rows

TYPES = {"timestamp_ms": np.float64, "onset_ms": np.float64}
"""The other columns are float32."""


@dataclass(frozen=True)
class RecordingGaze:
    """What was read of a recording.

    `sha256` is over the raw bytes of all its files; `n_rows` counts the data rows of its files, rejected ones included;
    `notes` say what should be known about its files, each after the file's name.
    """

    key: str
    sha256: str
    trials: list[TrialGaze]
    rejects: list[Reject]
    n_rows: int
    notes: list[str] = field(default_factory=list)


@dataclass
class _Read:
    """What the files of one kind (samples or fixations) hold.

    `gaze` and `origin` are by (participant, trial): columns still in the unit and origin of the file, and the file with
    the row numbers. `failed` lists the files that could not be read: path, reason.
    """

    gaze: dict[tuple[str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    origin: dict[tuple[str, str], tuple[str, np.ndarray]] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    n_rows: int = 0
    notes: list[str] = field(default_factory=list)
    headers: list[tuple[str, dict[str, float]]] = field(default_factory=list)


def read_recording(spec: DatasetSpec, root: Folder, recording: Recording, trials: pd.DataFrame) -> RecordingGaze:
    """Read the files of a recording (paths below `root`) and sort their rows into trials.

    `trials` are rows of `Dataset.trials`; those of other participants are ignored. A trial is rejected when it has no
    gaze, when time runs backwards, when all of its gaze is lost, off the screen or outside the stimulus window. Where
    samples and fixations are declared the samples decide, and a trial may have no fixations.
    Raises OSError when the storage fails.
    """
    hashing = hashlib.sha256()
    mine = trials[trials["participant"].isin(list(recording.participants))]
    geometry = {(row["participant"], row["trial"]): row for row in plain_rows(mine)}
    paths = {"samples": list(recording.samples), "fixations": list(recording.fixations)}
    read = {
        kind: _read_files(gaze, root, paths[kind], set(geometry), set(recording.refused), hashing)
        for kind, gaze in spec.gaze().items()
    }
    rejects = [reject for part in read.values() for reject in part.rejects]
    good = []
    for ids, row in geometry.items():
        trial, faults = _trial(spec, ids, row, read, paths)
        rejects += faults
        if trial is not None:
            good.append(trial)
    n_rows = sum(part.n_rows for part in read.values())
    notes = [note for part in read.values() for note in part.notes]
    headers = [header for part in read.values() for header in part.headers]
    notes += _contradictions(headers, next(iter(geometry.values()), {}))
    return RecordingGaze(recording.key, hashing.hexdigest(), good, rejects, n_rows, notes)


def _contradictions(headers: list[tuple[str, dict[str, float]]], row: Mapping[Any, Any]) -> list[str]:
    """Where the header of a file says something else about the screen than the declaration, which is believed."""
    return [
        f"{path}: the header says {name} {value:g}, the declaration {row[name]:g}; the declaration is used"
        for path, header in headers
        for name, value in sorted(header.items())
        if name in row and np.isfinite(row[name]) and not np.isclose(value, row[name], rtol=0.01)
    ]


def _read_files(
    spec: GazeSpec, root: Folder, paths: list[str], known: set[tuple[str, str]], refused: set[str], hashing: Any
) -> _Read:
    """Read files of one kind; one reject for each trial with gaze that is neither `known` nor `refused`."""
    read, trials = _Read(), [dict(zip(IDS, pair, strict=True)).items() for pair in known]
    for path in sorted(paths):
        readings = ids_in_path(spec.path, path)  # of several the one that fits a known trial counts
        fixed = next((ids for ids in readings if any(ids.items() <= trial for trial in trials)), readings[0])
        try:
            data = fetched(root, path)
            hashing.update(f"{spec.kind} {path} {len(data)}\n".encode())
            hashing.update(data)
            beside = _companions(spec, root, path, hashing)
            table = READERS[spec.reader].read(GazeFile(data, path, spec, fixed, beside))
        except ReadError as error:
            read.failed.append((path, error.reason))
            read.rejects.append(Reject(path, -1, "read", error.reason, **fixed))
            continue
        read.n_rows += table.n_rows
        read.rejects += table.rejects
        read.notes += [f"{path}: {note}" for note in table.notes]
        read.headers.append((path, table.header))
        if spec.kind == "fixations":
            table = _without_negative_durations(table, path)
            read.rejects += table.rejects
        for code, where in rows_by_code(table.codes):
            ids, rows = table.ids[code], table.rows[where]
            if ids in known:
                read.gaze[ids] = {name: values[where] for name, values in table.columns.items()}
                read.origin[ids] = (path, rows)
            elif "/".join(ids) not in refused:
                reason = f"gaze without trial: {len(rows)} rows of a trial that is not in the trials table"
                read.rejects.append(Reject(path, int(rows[0]), "gaze", reason, *ids))
    return read


def _companions(spec: GazeSpec, root: Folder, path: str, hashing: Any) -> dict[str, bytes]:
    """The files that belong to a gaze file, those that there are. Raises ReadError where one is forbidden."""
    found = {}
    for companion in READERS[spec.reader].companions(path):
        if root.exists(companion):
            try:
                found[companion] = fetched(root, companion)
            except ReadError as error:
                raise ReadError(path, f"{companion}, which belongs to it, {error.reason}") from error
            hashing.update(f"beside {companion} {len(found[companion])}\n".encode())
            hashing.update(found[companion])
    return found


def _without_negative_durations(table: GazeTable, source: str) -> GazeTable:
    """The table without the fixations of negative duration; its rejects are those alone."""
    duration_ms = table.columns["duration_ms"]
    where = np.flatnonzero(duration_ms < 0)
    rejects = row_rejects(
        source,
        table.rows[where],
        "gaze",
        lambda index: f"negative duration: {duration_ms[where[index]]:g} ms",
        lambda index: table.ids[table.codes[where[index]]],
    )
    return replace(table.where(duration_ms >= 0), rejects=rejects)


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


def _trial(
    spec: DatasetSpec,
    ids: tuple[str, str],
    row: Mapping[Any, Any],
    read: Mapping[Any, _Read],
    paths: Mapping[str, list[str]],
) -> tuple[TrialGaze | None, list[Reject]]:
    """The gaze of one trial in screen px, or None, and what is wrong with it. The first kind declared decides."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rejects: list[Reject] = []
    for index, (kind, gaze_spec) in enumerate(spec.gaze().items()):
        part, decides = read[kind], index == 0
        if ids not in part.gaze:
            if decides:
                path, reason = _why_none(gaze_spec, ids, part, paths[kind])
                return None, [Reject(path, -1, "gaze", f"trial without gaze: {reason}", *ids)]
            found[kind] = _empty(gaze_spec)
            continue
        gaze = _on_screen(part.gaze[ids], gaze_spec, row)
        source, rows = part.origin[ids]
        at, reason = _fault(gaze, rows, gaze_spec, row, decides)
        if reason and decides:
            return None, [Reject(source, at, "gaze", reason, *ids)]
        if reason:
            rejects.append(Reject(source, at, "gaze", f"{reason}; the trial is kept without its fixations", *ids))
        found[kind] = _empty(gaze_spec) if reason else gaze
    return TrialGaze(*ids, found.get("samples"), found.get("fixations")), rejects


def _why_none(spec: GazeSpec, ids: tuple[str, str], part: _Read, paths: list[str]) -> tuple[str, str]:
    """The file that should hold a trial, and why it does not."""
    mine = dict(zip(IDS, ids, strict=True)).items()
    failed = part.failed + [(path, "the file has no usable row of this trial") for path in paths]
    own = (pair for pair in failed if any(found.items() <= mine for found in ids_in_path(spec.path, pair[0])))
    return next(own, (spec.path, "the file has no usable row of this trial"))


def _empty(spec: GazeSpec) -> dict[str, np.ndarray]:
    return {name: np.empty(0, TYPES.get(name, np.float32)) for name in (*TIMES[spec.kind], "x_px", "y_px")}


def _on_screen(gaze: Mapping[str, np.ndarray], spec: GazeSpec, row: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """Coordinates in px from the top left of the screen, NaN in both where one is lost; the types of the tables."""
    region, found = "window" if spec.origin == "stimulus" else "screen", dict(gaze)
    for name, size, corner in (("x_px", "width_px", "left_px"), ("y_px", "height_px", "top_px")):
        factor = row[f"{region}_{size}"] if spec.unit(name) == "normalised" else 1.0
        found[name] = gaze[name] * factor + (row[f"window_{corner}"] if region == "window" else 0.0)
    lost = np.isnan(found["x_px"]) | np.isnan(found["y_px"])
    found["x_px"][lost] = found["y_px"][lost] = np.nan
    return {name: values.astype(TYPES.get(name, np.float32)) for name, values in found.items()}


def _fault(
    gaze: Mapping[str, np.ndarray], rows: np.ndarray, spec: GazeSpec, row: Mapping[Any, Any], decides: bool
) -> tuple[int, str]:
    """Row and reason why a trial cannot be used; the reason is "" when it can. Only deciding gaze must be in sight."""
    clock = TIMES[spec.kind][0]
    time, x_px, y_px = gaze[clock], gaze["x_px"], gaze["y_px"]
    back = np.flatnonzero(np.diff(time) < 0)
    if len(back):
        first = int(back[0])
        return int(rows[first + 1]), f"time runs backwards: from {time[first]:.10g} to {time[first + 1]:.10g} ms"
    if not decides:
        return -1, ""
    screen = (0.0, 0.0, row["screen_width_px"], row["screen_height_px"])
    reason = ""
    if np.isnan(x_px).all():
        reason = f"all {len(x_px)} {spec.kind} are lost"
    elif not inside(x_px, y_px, screen).any():
        reason = "gaze entirely off the screen"
    elif not inside(x_px, y_px, [row[name] for name in WINDOW_COLUMNS]).any():
        reason = "gaze entirely outside the stimulus window"
    return int(rows[0]), reason
