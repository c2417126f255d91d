# SPDX-License-Identifier: Apache-2.0
"""One recording as every study of gaze sees it: its trials with their events, those that are good enough apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gazeray.gaze.dataset import DatasetSpec, Recording
from gazeray.gaze.events import FIXATIONS, SACCADES, Events, EventsConfig, Screen, detect
from gazeray.gaze.quality import QualityConfig, TrialGaze, gate, trial_quality
from gazeray.gaze.recording import RecordingGaze, read_recording
from gazeray.storage import Folder
from gazeray.tables import QUALITY, Reject, plain_rows

Geometry = Mapping[str, Any]
"""A row of the trials table: which screen, which window."""


@dataclass(frozen=True)
class Seen:
    """A trial that is good enough: its gaze, its fixations, those that are drawn, its geometry.

    Trials without declared fixations have detected ones, for their features. They are drawn only where the data set
    declares none at all, so that a study never mixes two ways of finding what is drawn.
    """

    gaze: TrialGaze
    fixations: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]
    row: Geometry


@dataclass(frozen=True)
class SeenRecording:
    """What was seen of a recording. rejects: of reading, detecting and gating. quality, events: of all trials read."""

    read: RecordingGaze
    trials: list[Seen]
    rejects: list[Reject]
    quality: pa.Table
    events: dict[str, pa.Table]


@dataclass(frozen=True)
class SeeRecording:
    """Reads a recording, detects its events and gates its trials. trials: all those of the data set."""

    spec: DatasetSpec
    root: Folder
    trials: pd.DataFrame
    detecting: EventsConfig
    gating: QualityConfig

    def __call__(self, recording: Mapping[str, Any]) -> SeenRecording:
        """See the class. Raises OSError when the storage fails."""
        rows = [row for participant in recording["participants"] for row in self.rows_of.get(participant, [])]
        mine = self.trials.iloc[sorted(rows)]
        read = read_recording(self.spec, self.root, Recording(**recording), mine)
        geometry = {(row["participant"], row["trial"]): row for row in plain_rows(mine)}
        kept: list[Seen] = []
        rejects, quality, events = list(read.rejects), [], []
        for trial in read.trials:
            row = geometry[trial.participant, trial.trial]
            try:
                found = self.events(trial, row)
            except ValueError as error:  # what the detector cannot work on, such as too few samples per second
                reason = f"events.detector {self.detecting.detector}: {error}"
                rejects.append(Reject(str(recording["key"]), -1, "events", reason, trial.participant, trial.trial))
                continue
            fixations = _fixations(trial, found)
            own = trial_quality(trial, window_of(row), screen_of(row), fixations)
            own["gate"] = gate(own, self.gating)
            quality.append(own)
            events.append((trial, fixations, found))
            if own["gate"]:
                reason = str(own["gate"])
                rejects.append(Reject(str(recording["key"]), -1, "quality", reason, trial.participant, trial.trial))
            else:
                drawn = fixations if self.spec.fixations is None else trial.fixations or fixations
                kept.append(Seen(trial, fixations, drawn, row))
        table = pa.Table.from_pylist(quality, schema=QUALITY)
        return SeenRecording(read, kept, rejects, table, _event_tables(events))

    @cached_property
    def rows_of(self) -> Mapping[str, list[int]]:
        """Participant -> the rows of its trials: found once for all recordings that a worker reads."""
        found: dict[str, list[int]] = {}
        for row, participant in enumerate(self.trials["participant"].tolist()):
            found.setdefault(participant, []).append(row)
        return found

    def events(self, trial: TrialGaze, row: Geometry) -> Events | None:
        """The fixations and saccades found in the trial's samples; None where they have no gaze: other signals may be
        as slow as they like."""
        if trial.samples is None or not trial.has_gaze:
            return None
        screen = screen_of(row)
        known = self.detecting.in_deg or not screen.unknown()
        return detect(trial.samples, screen if known else None, self.detecting)


def ids_table(ids: Sequence[tuple[str, str]]) -> pa.Table:
    """(participant, trial) of some examples as a table."""
    schema = pa.schema({"participant": pa.string(), "trial": pa.string()})
    return pa.Table.from_pylist([dict(zip(schema.names, pair, strict=True)) for pair in ids], schema=schema)


def window_of(row: Geometry) -> tuple[float, float, float, float]:
    """left, top, width, height of the stimulus on the screen, px."""
    left, top, width, height = (float(row[f"window_{side}_px"]) for side in ("left", "top", "width", "height"))
    return left, top, width, height


def screen_of(row: Geometry) -> Screen:
    """The trial's screen; NaN where not known."""
    names = ("screen_width_px", "screen_height_px", "screen_width_mm", "screen_height_mm", "distance_mm")
    return Screen(*(float(row[name]) for name in names))


def _fixations(trial: TrialGaze, found: Events | None) -> Mapping[str, np.ndarray]:
    """The trial's own fixations; where the data set has none for it, those detected in its samples; none without
    gaze."""
    if trial.fixations is not None and (found is None or len(trial.fixations["onset_ms"])):
        return trial.fixations
    if found is None:
        return {name: np.empty(0) for name in ("onset_ms", "duration_ms", "x_px", "y_px")}
    return found.fixations


def _event_tables(
    events: Sequence[tuple[TrialGaze, Mapping[str, np.ndarray], Events | None]],
) -> dict[str, pa.Table]:
    """The tables `fixations` and `saccades` of a recording."""
    fixations = [(trial, found) for trial, found, _ in events]
    saccades = [(trial, found.saccades) for trial, _, found in events if found is not None]
    return {"fixations": _events_table(fixations, FIXATIONS), "saccades": _events_table(saccades, SACCADES)}


def _events_table(trials: Sequence[tuple[TrialGaze, Mapping[str, np.ndarray]]], schema: pa.Schema) -> pa.Table:
    """The events of some trials; columns that a trial's do not have are NaN."""
    if not trials:
        return schema.empty_table()
    counts = [len(found["onset_ms"]) for _, found in trials]
    columns: dict[str, Any] = {
        name: [one for (trial, _), count in zip(trials, counts, strict=True) for one in [getattr(trial, name)] * count]
        for name in ("participant", "trial")
    }
    for name in schema.names[len(columns) :]:
        parts = [found.get(name, np.full(count, np.nan)) for (_, found), count in zip(trials, counts, strict=True)]
        columns[name] = np.concatenate(parts)
    return pa.table(columns, schema=schema)
