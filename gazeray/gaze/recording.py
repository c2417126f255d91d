# SPDX-License-Identifier: Apache-2.0
"""One recording: from its files to the gaze of each of its trials, in px of the screen.

Bad data never raises: it is rejected with its file, its row and the reason. What raises is storage that fails for
another reason than a file that is missing or forbidden, so that the step is tried again instead of losing a person.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from gazeray.gaze.clock import AGAIN, copies
from gazeray.gaze.dataset import Recording
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import EYE, ids_in_path
from gazeray.gaze.mending import PAUSE_MS, apart, in_order, within_samples
from gazeray.gaze.presentations import GazeRead, Presentation, presented, read_files
from gazeray.gaze.quality import TrialGaze, inside
from gazeray.gaze.readers import GazeTable
from gazeray.gaze.readers.base import COORDINATES, IDS, TIMES
from gazeray.gaze.readers.cells import row_rejects
from gazeray.gaze.readers.spec import GazeSpec
from gazeray.gaze.trials import WINDOW_COLUMNS
from gazeray.storage import Folder
from gazeray.tables import Reject, plain_rows

TYPES = {"timestamp_ms": np.float64, "onset_ms": np.float64}
"""The other columns of numbers are float32."""


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


def read_recording(spec: DatasetSpec, root: Folder, recording: Recording, trials: pd.DataFrame) -> RecordingGaze:
    """Read the files of a recording (paths below `root`) and sort their rows into trials.

    `trials` are rows of `Dataset.trials`; those of other participants are ignored. A trial is rejected when it has no
    gaze, when it is presented again and `trials.repeats` does not say what to do about it, when its clock cannot be
    mended, when all of its gaze is lost, off the screen or outside the stimulus window. Where samples and fixations are
    declared the samples decide, and a trial may have no fixations. Raises OSError when the storage fails.
    """
    hashing = hashlib.sha256()
    mine = trials[trials["participant"].isin(list(recording.participants))]
    geometry = {(row["participant"], row["trial"]): row for row in plain_rows(mine)}
    read = {kind: read_files(spec, gaze, root, recording, geometry, hashing) for kind, gaze in spec.gaze().items()}
    rejects = [reject for part in read.values() for reject in part.rejects]
    paths = {"samples": list(recording.samples), "fixations": list(recording.fixations)}
    good, mended = [], Counter[str]()
    for ids, row in geometry.items():
        trial, faults = _trial(spec, ids, row, read, paths, mended)
        rejects += faults
        if trial is not None:
            good.append(trial)
    n_rows = sum(part.n_rows for part in read.values())
    notes = [note for part in read.values() for note in part.notes]
    headers = [header for part in read.values() for header in part.headers]
    notes += _contradictions(headers, next(iter(geometry.values()), {}))
    notes += [f"{recording.key}: {what}: {count}" for what, count in mended.items()]
    return RecordingGaze(recording.key, hashing.hexdigest(), good, rejects, n_rows, notes)


def _contradictions(headers: list[tuple[str, dict[str, float]]], row: Mapping[Any, Any]) -> list[str]:
    """Where the header of a file says something else about the screen than the declaration, which is believed."""
    return [
        f"{path}: the header says {name} {value:g}, the declaration {row[name]:g}; the declaration is used"
        for path, header in headers
        for name, value in sorted(header.items())
        if name in row and np.isfinite(row[name]) and not np.isclose(value, row[name], rtol=0.01)
    ]


def _trial(
    spec: DatasetSpec,
    ids: tuple[str, str],
    row: Mapping[Any, Any],
    read: Mapping[Any, GazeRead],
    paths: Mapping[str, list[str]],
    mended: Counter[str],
) -> tuple[TrialGaze | None, list[Reject]]:
    """The gaze of one trial in screen px, or None, and what is wrong with it. The first kind declared decides. What was
    mended is counted in `mended`."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rejects: list[Reject] = []
    units: dict[str, str] = {}
    accuracy: dict[str, float] = {}
    for index, (kind, gaze_spec) in enumerate(spec.gaze().items()):
        decides = index == 0
        one, why = presented(ids, spec.trials.repeats, read[kind])
        if one is None and not why and decides:
            path, why = _why_none(gaze_spec, ids, read[kind], paths[kind])
            return None, [Reject(path, -1, "gaze", f"trial without gaze: {why}", *ids)]
        if one is None and not why:
            found[kind] = _empty(gaze_spec)
            continue
        gaze: dict[str, np.ndarray] = {}
        source, at = (one.source, int(one.rows[0])) if one is not None else (gaze_spec.path, -1)
        if one is not None and not why:
            gaze, at, why, faults = _mended(one, gaze_spec, row, found.get("samples"), mended, ids)
            rejects += faults
            at, why = (at, why) if why else _fault(gaze, one.rows, gaze_spec, row, decides)
        if why and decides:
            return None, [*rejects, Reject(source, at, "gaze", why, *ids)]
        if why:
            rejects.append(Reject(source, at, "gaze", f"{why}; the trial is kept without its fixations", *ids))
        found[kind] = _empty(gaze_spec) if why else gaze
        if one is not None and not why:
            units |= {name: unit for name, unit in one.table.units.items() if name not in COORDINATES}
            accuracy |= one.table.accuracy[one.code] if one.table.accuracy else {}
    has_gaze = next(iter(spec.gaze().values())).has_gaze
    return TrialGaze(*ids, found.get("samples"), found.get("fixations"), units, accuracy, has_gaze), rejects


def _why_none(spec: GazeSpec, ids: tuple[str, str], part: GazeRead, paths: list[str]) -> tuple[str, str]:
    """The file that should hold a trial, and why it does not."""
    mine = dict(zip(IDS, ids, strict=True)).items()
    failed = part.failed + [(path, "the file has no usable row of this trial") for path in paths]

    def may_hold(path: str) -> bool:
        said = ({name: value for name, value in ids.items() if name != EYE} for ids in ids_in_path(spec.path, path))
        return any(ids.items() <= mine for ids in said)

    own = (pair for pair in failed if may_hold(pair[0]))
    return next(own, (spec.path, "the file has no usable row of this trial"))


def _empty(spec: GazeSpec) -> dict[str, np.ndarray]:
    return {name: np.empty(0, TYPES.get(name, np.float32)) for name in (*TIMES[spec.kind], "x_px", "y_px")}


def _mended(
    one: Presentation,
    spec: GazeSpec,
    row: Mapping[Any, Any],
    samples: Mapping[str, np.ndarray] | None,
    mended: Counter[str],
    ids: tuple[str, str],
) -> tuple[dict[str, np.ndarray], int, str, list[Reject]]:
    """The gaze of a presentation in screen px, in order of time and (fixations) without overlap; the row and the reason
    why there is none ("": there is); and the rows that were left out."""
    kind, rows = spec.kind, one.rows
    gaze = _on_screen(one.columns, one.table, row, spec.y_axis)
    time = gaze[TIMES[kind][0]]
    rejects: list[Reject] = []
    if kind == "fixations" and len(np.unique(time)) < len(time):
        again = pd.DataFrame(one.columns).duplicated().to_numpy()
    else:
        again = copies(one.columns, time)
    if again.any():
        rejects = row_rejects(one.source, rows[again], "gaze", lambda at: AGAIN, lambda at: ids)
        gaze, rows = {name: values[~again] for name, values in gaze.items()}, rows[~again]
        time = time[~again]
    order = in_order(time)
    if order is None:
        first = int(np.flatnonzero(np.diff(time) < 0)[0])
        why = f"time runs backwards: from {time[first]:.10g} to {time[first + 1]:.10g} ms"
        return {}, int(rows[first + 1]), why, rejects
    kept, wrong = order
    rejects += row_rejects(
        one.source,
        rows[wrong],
        "gaze",
        lambda at: f"time runs backwards: to {time[wrong[at]]:.10g} ms",
        lambda at: ids,
    )
    if moved := int((np.diff(kept) < 0).sum()):
        mended[f"{kind} out of order, sorted by time"] += moved
    if len(kept) < len(time) or moved:
        gaze = {name: values[kept] for name, values in gaze.items()}
    if kind == "samples":
        if (np.diff(gaze["timestamp_ms"]) > PAUSE_MS).any():
            what = f"trials with a pause of more than {PAUSE_MS / 1e3:g} s between samples, such as two under one name"
            mended[what] += 1
        return gaze, -1, "", rejects
    if samples is not None and len(samples["timestamp_ms"]):
        gaze, n, why = within_samples(gaze, samples["timestamp_ms"])
        if why:
            return {}, int(one.rows[0]), why, rejects
        if n:
            mended["fixations beyond the samples of their trial, cut or left out"] += n
    parted = apart(gaze["onset_ms"], gaze["duration_ms"])
    if parted is None:
        why = "fixations overlap: two eyes or two clocks, onset and duration in different units, or ends for durations"
        return {}, int(one.rows[0]), why, rejects
    kept, duration, overlapping = parted
    if overlapping:
        mended["fixations that last into the next one, cut where it begins"] += overlapping
    gaze = {name: values[kept] for name, values in gaze.items()} | {"duration_ms": duration.astype(np.float32)}
    return gaze, -1, "", rejects


def _on_screen(
    columns: Mapping[str, np.ndarray], table: GazeTable, row: Mapping[Any, Any], y_axis: str
) -> dict[str, np.ndarray]:
    """Coordinates in px from the top left of the screen, NaN in both where one is lost; the types of the tables."""
    region, found = "window" if table.origin == "stimulus" else "screen", dict(columns)
    centred = 0.5 if table.origin == "screen_centre" else 0.0
    for name, side, corner in (("x_px", "width_px", "left_px"), ("y_px", "height_px", "top_px")):
        size = row[f"{region}_{side}"]
        scales = {"normalised": size, "norm": size / 2, "height": row[f"{region}_height_px"]}
        place = columns[name] * scales.get(table.units[name], 1.0)
        if name == "y_px" and y_axis == "up":
            place = (0.0 if centred else size) - place
        found[name] = place + centred * size + (row[f"window_{corner}"] if region == "window" else 0.0)
    numbers = {name: values for name, values in found.items() if values.dtype.kind == "f"}
    with np.errstate(over="ignore"):
        found |= {name: values.astype(TYPES.get(name, np.float32)) for name, values in numbers.items()}
    for name in numbers:
        if np.isinf(found[name]).any():  # what float32 does not hold is lost
            found[name] = np.where(np.isinf(found[name]), np.nan, found[name]).astype(found[name].dtype)
    lost = np.isnan(found["x_px"]) | np.isnan(found["y_px"])
    found["x_px"][lost] = found["y_px"][lost] = np.nan
    return found


def _fault(
    gaze: Mapping[str, np.ndarray], rows: np.ndarray, spec: GazeSpec, row: Mapping[Any, Any], decides: bool
) -> tuple[int, str]:
    """Row and reason why a trial cannot be used; the reason is "" when it can. Only deciding gaze must be in sight;
    where there are channels alone, one of them must hold a value."""
    x_px, y_px = gaze["x_px"], gaze["y_px"]
    if not decides:
        return -1, ""
    screen = (0.0, 0.0, row["screen_width_px"], row["screen_height_px"])
    reason = ""
    if not spec.has_gaze:
        if all(np.isnan(gaze[name]).all() for name in spec.channels):
            reason = f"all {len(x_px)} {spec.kind} are lost in every channel ({', '.join(spec.channels)})"
    elif np.isnan(x_px).all():
        reason = f"all {len(x_px)} {spec.kind} are lost"
    elif not inside(x_px, y_px, screen).any():
        reason = "gaze entirely off the screen"
    elif not inside(x_px, y_px, [row[name] for name in WINDOW_COLUMNS]).any():
        reason = "gaze entirely outside the stimulus window"
    return int(rows[0]), reason
