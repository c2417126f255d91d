# SPDX-License-Identifier: Apache-2.0
"""From one recording to the examples of the heatmap study: raw gaze is drawn, screen pictures are taken as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from gazeray.gaze.dataset import DatasetSpec, Recording
from gazeray.gaze.events import FIXATIONS, SACCADES, Events, Screen, detect
from gazeray.gaze.features import feature_names, picture_features, reading_features
from gazeray.gaze.quality import TrialGaze, gate, trial_quality
from gazeray.gaze.recording import read_recording
from gazeray.gaze.render import decode, encode, heatmaps, pad_trials, sample_durations, sigma_px_from_deg
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.screen_pictures import read_screens
from gazeray.gaze.screens import ScreensRecording, ScreensSpec
from gazeray.storage import Folder
from gazeray.store import Column, Shard
from gazeray.studies.heatmap.config import HeatmapConfig, RenderConfig
from gazeray.tables import QUALITY, Reject, plain_rows

Geometry = Mapping[str, Any]
"""A row of the trials table: which screen, which window."""


@dataclass(frozen=True)
class Drawable:
    """A trial: its gaze, its fixations, those that are drawn, its geometry, and x, y and dwell for the heatmap.

    Trials without declared fixations have detected ones, for their features. They are drawn only where the data set
    declares none at all, so that a study never mixes two ways of finding what is drawn.
    """

    gaze: TrialGaze
    fixations: Mapping[str, np.ndarray]
    drawn: Mapping[str, np.ndarray]
    row: Geometry
    dwell: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ReadRecording:
    """One recording's files to a shard: pictures (N, C, H, W), features (N, F), events. Runs in the workers."""

    spec: DatasetSpec
    root: Folder
    trials: pd.DataFrame
    cfg: HeatmapConfig

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        torch.set_num_threads(1)
        rows = [row for participant in recording["participants"] for row in self.rows_of.get(participant, [])]
        mine = self.trials.iloc[sorted(rows)]
        gaze = read_recording(self.spec, self.root, Recording(**recording), mine)
        geometry = {(row["participant"], row["trial"]): row for row in plain_rows(mine)}
        kept: list[Drawable] = []
        rejects, quality, events = list(gaze.rejects), [], []
        for trial in gaze.trials:
            row = geometry[trial.participant, trial.trial]
            try:
                found = self.events(trial, row)
            except ValueError as error:  # what the detector cannot work on, such as too few samples per second
                reason = f"events.detector {self.cfg.events.detector}: {error}"
                rejects.append(Reject(str(recording["key"]), -1, "events", reason, trial.participant, trial.trial))
                continue
            fixations = _fixations(trial, found)
            own = trial_quality(trial, window_of(row), screen_of(row), fixations)
            own["gate"] = gate(own, self.cfg.quality)
            quality.append(own)
            events.append((trial, fixations, found))
            drawn = fixations if self.spec.fixations is None else trial.fixations or fixations
            drawable = Drawable(trial, fixations, drawn, row, self.dwell(trial, drawn))
            stage, reason = ("quality", str(own["gate"])) if own["gate"] else ("render", self.nothing(drawable))
            if reason:
                rejects.append(Reject(str(recording["key"]), -1, stage, reason, trial.participant, trial.trial))
            else:
                kept.append(drawable)
        rows = ids_table([(one.gaze.participant, one.gaze.trial) for one in kept])
        columns: dict[str, Column] = {"picture": self.pictures(kept), "features": self.features(kept)}
        qualities = pa.Table.from_pylist(quality, schema=QUALITY)
        return Shard(rows, columns, rejects, qualities, gaze.sha256, gaze.n_rows, _event_tables(events), gaze.notes)

    @cached_property
    def rows_of(self) -> Mapping[str, list[int]]:
        """Participant -> the rows of its trials: found once for all recordings that a worker reads."""
        found: dict[str, list[int]] = {}
        for row, participant in enumerate(self.trials["participant"].tolist()):
            found.setdefault(participant, []).append(row)
        return found

    def events(self, trial: TrialGaze, row: Geometry) -> Events | None:
        """The fixations and saccades found in the trial's samples; None where it has none."""
        if trial.samples is None:
            return None
        screen = screen_of(row)
        known = self.cfg.events.in_deg or not screen.unknown()
        return detect(trial.samples, screen if known else None, self.cfg.events)

    def dwell(self, trial: TrialGaze, fixations: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x and y in px of the screen, and how long the gaze was there in ms."""
        samples = trial.samples
        if self.cfg.render.source == "fixations" or samples is None:
            return fixations["x_px"], fixations["y_px"], fixations["duration_ms"]
        x, y = samples["x_px"], samples["y_px"]
        valid = np.isfinite(x) & np.isfinite(y)
        return x, y, sample_durations(samples["timestamp_ms"], valid, self.cfg.render.max_gap_ms)

    def nothing(self, one: Drawable) -> str:
        """Why a trial cannot be drawn, since a blank picture is no measurement; "" when it can."""
        x, y, duration = one.dwell
        if not np.any((duration > 0) & np.isfinite(x) & np.isfinite(y)):
            return f"nothing to draw: no {self.cfg.render.source} with a duration"
        if self.cfg.render.kind != "heatmap" and not len(one.drawn["onset_ms"]):
            return "nothing to draw: no fixation for the scanpath"
        return ""

    def pictures(self, kept: Sequence[Drawable]) -> np.ndarray:
        """The pictures of some trials, (N, C, H, W), in the type in which they are kept."""
        render = self.cfg.render
        size = (render.height_px, render.width_px)
        if not kept:
            return np.empty((0, render.channels, *size), render.dtype)
        windows = torch.tensor([window_of(one.row) for one in kept], dtype=torch.float32)
        parts = []
        if render.kind != "scanpath":
            x, y, duration = (pad_trials([one.dwell[axis] for one in kept]) for axis in range(3))
            sigma = torch.tensor([sigma_px_of(render, one.row) for one in kept], dtype=torch.float32)
            drawn = heatmaps(x, y, torch.nan_to_num(duration), windows, size, sigma)
            parts.append(encode(drawn, render.dtype, render.full_scale_ms))
        if render.kind != "heatmap":
            names = ("x_px", "y_px", "duration_ms")
            x, y, duration = (pad_trials([one.drawn[name] for one in kept]) for name in names)
            # from the trial's first onset: a date in ms is too large for float32
            onset = pad_trials([one.drawn["onset_ms"] - one.drawn["onset_ms"].min() for one in kept])
            drawn = scanpaths(x, y, torch.nan_to_num(duration), onset, windows, size, render.scanpath)
            parts.append(encode(drawn, render.dtype, 1.0))
        return np.concatenate(parts, axis=1)

    def features(self, kept: Sequence[Drawable]) -> np.ndarray:
        """The simple gaze features, (N, F) float32."""
        columns = self.cfg.features.columns
        if not kept:
            return np.empty((0, len(feature_names(columns))), np.float32)
        return np.stack([reading_features(one.fixations, window_of(one.row), columns) for one in kept])


@dataclass(frozen=True)
class ReadScreens:
    """One participant's screen pictures to a shard: pictures (N, 3, H, W) uint8, features (N, F)."""

    spec: ScreensSpec
    root: Folder
    cfg: HeatmapConfig

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        size = (self.cfg.render.height_px, self.cfg.render.width_px)
        read = read_screens(self.spec, self.root, ScreensRecording(**recording), size)
        features = picture_features(read.pictures, self.cfg.features.columns)
        columns: dict[str, Column] = {"picture": read.pictures, "features": features}
        return Shard(ids_table(read.ids), columns, read.rejects, content=read.sha256, rows_read=read.n)


def ids_table(ids: Sequence[tuple[str, str]]) -> pa.Table:
    """(participant, trial) of some examples as a table."""
    schema = pa.schema({"participant": pa.string(), "trial": pa.string()})
    return pa.Table.from_pylist([dict(zip(schema.names, pair, strict=True)) for pair in ids], schema=schema)


def network_input(stored: torch.Tensor, render: RenderConfig, screens: bool) -> torch.Tensor:
    """Stored pictures (B, C, H, W) as the network's input, float32: dwell in ms, everything else 0..1."""
    if screens:
        return stored.to(torch.float32) / 255
    if render.kind == "heatmap":
        return decode(stored, render.dtype, render.full_scale_ms)
    if render.kind == "scanpath":
        return decode(stored, render.dtype, 1.0)
    dwell = decode(stored[:, :1], render.dtype, render.full_scale_ms)
    return torch.cat([dwell, decode(stored[:, 1:], render.dtype, 1.0)], dim=1)


def sigma_px_of(render: RenderConfig, row: Geometry) -> float:
    """The Gaussian's standard deviation on a trial's screen, px."""
    if render.sigma_deg is None:
        return float(render.sigma_px or 0)
    width, width_mm, distance = row["screen_width_px"], row["screen_width_mm"], row["distance_mm"]
    return sigma_px_from_deg(render.sigma_deg, float(width), float(width_mm), float(distance))


def window_of(row: Geometry) -> tuple[float, float, float, float]:
    """left, top, width, height of the stimulus on the screen, px."""
    left, top, width, height = (float(row[f"window_{side}_px"]) for side in ("left", "top", "width", "height"))
    return left, top, width, height


def screen_of(row: Geometry) -> Screen:
    """The trial's screen; NaN where not known."""
    names = ("screen_width_px", "screen_height_px", "screen_width_mm", "screen_height_mm", "distance_mm")
    return Screen(*(float(row[name]) for name in names))


def _fixations(trial: TrialGaze, found: Events | None) -> Mapping[str, np.ndarray]:
    """The trial's own fixations; where the data set has none for it, those detected in its samples."""
    if trial.fixations is not None and (found is None or len(trial.fixations["onset_ms"])):
        return trial.fixations
    assert found is not None, "a data set has samples or fixations"
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
