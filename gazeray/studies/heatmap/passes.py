# SPDX-License-Identifier: Apache-2.0
"""From one recording to the examples of the heatmap study: raw gaze is drawn, screen pictures are taken as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gazeray.gaze.features import feature_names, picture_features, reading_features
from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.render import decode, encode, heatmaps, pad_trials, sample_durations, sigma_px_from_deg
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.screen_pictures import read_screens
from gazeray.gaze.screens import ScreensRecording, ScreensSpec
from gazeray.storage import Folder
from gazeray.store import Column, Shard
from gazeray.studies.heatmap.config import HeatmapConfig, RenderConfig
from gazeray.studies.shared.recordings import Geometry, Seen, SeeRecording, ids_table, window_of
from gazeray.tables import Reject


@dataclass(frozen=True)
class Drawable(Seen):
    """A trial with x, y and dwell for the heatmap."""

    dwell: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ReadRecording:
    """One recording's files to a shard: pictures (N, C, H, W), features (N, F), events. Runs in the workers."""

    see: SeeRecording
    cfg: HeatmapConfig

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        torch.set_num_threads(1)
        seen = self.see(recording)
        kept: list[Drawable] = []
        rejects = list(seen.rejects)
        for one in seen.trials:
            drawable = Drawable(one.gaze, one.fixations, one.drawn, one.row, self.dwell(one.gaze, one.drawn))
            if reason := self.nothing(drawable):
                ids = one.gaze.participant, one.gaze.trial
                rejects.append(Reject(str(recording["key"]), -1, "render", reason, *ids))
            else:
                kept.append(drawable)
        rows = ids_table([(one.gaze.participant, one.gaze.trial) for one in kept])
        columns: dict[str, Column] = {"picture": self.pictures(kept), "features": self.features(kept)}
        read = seen.read
        return Shard(rows, columns, rejects, seen.quality, read.sha256, read.n_rows, seen.events, read.notes)

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
