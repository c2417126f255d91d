# SPDX-License-Identifier: Apache-2.0
"""The first gaze file of each kind, read as a run would, in words: a wrong column shows before the work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from gazeray.gaze.clock import clock_hz
from gazeray.gaze.dataset import Recording, why_rejected
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import EYE, ids_in_path
from gazeray.gaze.readers.spec import GazeSpec
from gazeray.gaze.recording import RecordingGaze, read_recording
from gazeray.storage import Folder
from gazeray.tables import Fault, Reject

NAMED = 5
"""Unknown trials that are named."""


def first_of_gaze(
    spec: DatasetSpec, root: Folder, recordings: Sequence[Recording], trials: pd.DataFrame, most_bytes: float
) -> list[str]:
    """Lines on the first file of each declared kind; a Fault where it cannot be read or has no row of a known trial.

    trials: see `Dataset`. most_bytes: recordings that are larger are not opened. Raises OSError when the storage fails.
    """
    lines = []
    for kind, gaze in spec.gaze().items():
        own = next((one for one in recordings if getattr(one, kind)), None)
        if own is None or own.size > most_bytes:
            continue
        path, alone = getattr(own, kind)[0], spec.model_copy(update={"samples": None, "fixations": None, kind: gaze})
        paths = [other for other in getattr(own, kind) if _but_the_eye(gaze, other) == _but_the_eye(gaze, path)]
        parts = (paths, []) if kind == "samples" else ([], paths)
        read = read_recording(alone, root, replace(own, samples=parts[0], fixations=parts[1]), trials)
        known = set(zip(trials["participant"].tolist(), trials["trial"].tolist(), strict=True))
        lines += [_said(gaze, path, read, known), *read.notes]
    return lines


def _but_the_eye(gaze: GazeSpec, path: str) -> dict[str, str]:
    """What a path says, but for the eye: two files that differ in it alone are read as one."""
    return {name: value for name, value in ids_in_path(gaze.path, path)[0].items() if name != EYE}


def _said(gaze: GazeSpec, path: str, read: RecordingGaze, known: set[tuple[str, str]]) -> str:
    """What a file of one kind holds, or why that is of no use."""
    name = f"first {gaze.kind} file {path}"
    rejects = [one for one in read.rejects if one.source == path and (one.row >= 0 or one.stage == "read")]
    strangers = [one for one in rejects if one.row >= 0 and (one.participant, one.trial) not in known and one.trial]
    faulty = [one for one in rejects if one.stage == "gaze" and one.row >= 0 and one not in strangers]
    if not read.n_rows and not read.trials:
        return Fault(f"{name}: {rejects[0].reason if rejects else 'no rows'}")
    rows = _many(read.n_rows, "row")
    if not read.trials and not faulty:
        if strangers:
            return Fault(f"{name}: none of its {rows} belongs to a trial of the trials table; {_named(strangers)}")
        return Fault(f"{name}: none of its {rows} can be used{why_rejected(rejects)}")
    columns = ", ".join(f"{ours} from {theirs}" for ours, theirs in gaze.columns.items())
    named = f"columns {columns}" if columns else f"as {gaze.reader} has it"
    rates = [clock_hz(one.samples["timestamp_ms"]) for one in read.trials if one.samples is not None]
    rate = [f"{np.nanmedian(rates):.4g} Hz"] if np.isfinite(rates).any() else []
    channels = sorted({name for one in read.trials for name in one.units})
    named += f", channels {', '.join(channels)}" if channels else ""
    found = [_many(len(read.trials), "trial"), rows, *rate, named]
    return f"{name}: {', '.join(found)}{why_rejected(rejects)}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _named(rejects: Sequence[Reject]) -> str:
    """The trials of the file that nobody knows."""
    ids = [f"{one.participant}/{one.trial}" for one in rejects]
    return f"its trials: {', '.join(ids[:NAMED])}{', ...' * (len(ids) > NAMED)} (participant/trial)"
