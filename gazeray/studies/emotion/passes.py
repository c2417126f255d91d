# SPDX-License-Identifier: Apache-2.0
"""From one recording to the examples of the emotion study: series of signals, scanpaths, and simple features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gazeray.gaze.quality import TrialGaze
from gazeray.gaze.render import encode, pad_trials
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.signal_features import feature_names, signal_features
from gazeray.gaze.signals import Series, trial_series
from gazeray.gaze.signals_config import SignalsConfig
from gazeray.store import Column, Shard
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.shared.recordings import Seen, SeenRecording, SeeRecording, ids_table, window_of
from gazeray.tables import CHANNELS, Reject


def series_column(shift_ms: float = 0.0) -> str:
    """The store's column of the series whose window is moved by so much."""
    return "series" if shift_ms == 0 else f"series@{shift_ms:+g}"


@dataclass(frozen=True)
class ReadTrials:
    """One recording's files to a shard: series (N, C, T) of each window, scanpath (N, 1, S, S), features (N, F).

    channels: those of the series, () without any. scanpath: are scanpaths drawn? Runs in the workers.
    """

    see: SeeRecording
    cfg: EmotionConfig
    channels: tuple[str, ...]
    scanpath: bool

    @property
    def columns(self) -> list[str]:
        """Those of the store."""
        shifts = [0.0, *self.cfg.controls.shift_ms] if self.channels else []
        return [*map(series_column, shifts), *["scanpath"] * self.scanpath, "features"]

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        torch.set_num_threads(1)
        seen = self.see(recording)
        kept: list[tuple[Seen, dict[str, Series]]] = []
        rejects, channels = list(seen.rejects), []
        for one in seen.trials:
            series = self.series(one)
            fault = self.fault(one, series)
            if series:
                channels += series["series"].quality
            if fault:
                ids = one.gaze.participant, one.gaze.trial
                rejects.append(Reject(str(recording["key"]), -1, "signals", fault, *ids))
            else:
                kept.append((one, series))
        rows = ids_table([(one.gaze.participant, one.gaze.trial) for one, _ in kept])
        tables = {**seen.events, "channels": pa.Table.from_pylist(channels, schema=CHANNELS)}
        read = seen.read
        notes = [*read.notes, *self.strangers(seen), *self.beyond(read.key, [series for _, series in kept])]
        return Shard(rows, self.tensors(kept), rejects, seen.quality, read.sha256, read.n_rows, tables, notes)

    def series(self, one: Seen) -> dict[str, Series]:
        """{column: the signals in its window}; none where there are no channels."""
        if not self.channels:
            return {}
        shifts = [0.0, *self.cfg.controls.shift_ms]
        window = window_of(one.row)
        return {series_column(ms): trial_series(one.gaze, window, self.channels, self.cfg.signals, ms) for ms in shifts}

    def fault(self, one: Seen, series: Mapping[str, Series]) -> str:
        """Why a trial cannot be used; "" when it can."""
        if series and series["series"].fault:
            return series["series"].fault
        if self.scanpath and not len(in_window(one.drawn, one.gaze, self.cfg.signals)["onset_ms"]):
            return "nothing to draw: no fixation for the scanpath"
        return ""

    def strangers(self, seen: SeenRecording) -> list[str]:
        """Channels of the files that no series has: neither the declaration nor the first recordings have them."""
        known = {*self.channels, "pupil_left", "pupil_right", "pupil", "gsr"}
        if self.cfg.signals.channels is not None:
            return []
        found = {
            name for trial in seen.read.trials for name, values in (trial.samples or {}).items()
            if values.dtype.kind == "f" and name not in ("timestamp_ms", "x_px", "y_px") and np.isfinite(values).any()
        }  # fmt: skip
        return [
            f"{seen.read.key}: channel {name} is not used, the first recordings have none: declare it"
            for name in sorted(found - known)
        ]

    def beyond(self, key: str, kept: Sequence[Mapping[str, Series]]) -> list[str]:
        """The moved windows in which used trials have nothing, such as those that lie behind their end."""
        counts = {
            ms: sum(bool(np.isnan(series[series_column(ms)].values).all()) for series in kept)
            for ms in (self.cfg.controls.shift_ms if self.channels else ())
        }
        return [
            f"{key}: trials with nothing in the window of controls.shift_ms {ms:+g}: {count} of {len(kept)}"
            for ms, count in counts.items() if count
        ]  # fmt: skip

    def tensors(self, kept: Sequence[tuple[Seen, Mapping[str, Series]]]) -> dict[str, Column]:
        """The columns of the trials that are used."""
        samples, side = self.cfg.signals.samples, self.cfg.scanpath.side_px
        found: dict[str, Column] = {}
        for name in self.columns:
            if name.startswith("series"):
                own = [series[name].values for _, series in kept]
                found[name] = np.stack(own) if own else np.empty((0, len(self.channels), samples), np.float32)
        if self.scanpath:
            found["scanpath"] = self.scanpaths([one for one, _ in kept]) if kept else np.empty((0, 1, side, side), "u1")
        features = [self.features(one, series) for one, series in kept]
        names = feature_names(self.channels)
        found["features"] = np.stack(features) if features else np.empty((0, len(names)), np.float64)
        return found

    def scanpaths(self, trials: Sequence[Seen]) -> np.ndarray:
        """(N, 1, S, S) uint8."""
        windows = torch.tensor([window_of(one.row) for one in trials], dtype=torch.float32)
        drawn = [in_window(one.drawn, one.gaze, self.cfg.signals) for one in trials]
        x, y, duration = (pad_trials([one[name] for one in drawn]) for name in ("x_px", "y_px", "duration_ms"))
        # from the trial's first onset: a date in ms is too large for float32
        onset = pad_trials([one["onset_ms"] - one["onset_ms"].min() for one in drawn])
        side = self.cfg.scanpath.side_px
        pictures = scanpaths(x, y, torch.nan_to_num(duration), onset, windows, (side, side), self.cfg.scanpath.look)
        return encode(pictures, "uint8", 1.0)

    def features(self, one: Seen, series: Mapping[str, Series]) -> np.ndarray:
        """The simple features of a trial, (F,) float64."""
        values = series["series"].values if series else np.empty((0, self.cfg.signals.samples), np.float32)
        fixations = in_window(one.fixations, one.gaze, self.cfg.signals)
        return signal_features(values, self.channels, fixations, window_of(one.row), self.cfg.signals, one.gaze.units)


def in_window(fixations: Mapping[str, np.ndarray], gaze: TrialGaze, cfg: SignalsConfig) -> Mapping[str, np.ndarray]:
    """The fixations (F,) that begin in the window of time, which counts from the trial's first sample."""
    onset = fixations["onset_ms"]
    if not len(onset):
        return fixations
    first = gaze.samples["timestamp_ms"][0] if gaze.samples is not None else onset[0]
    since = onset - first - cfg.start_ms
    own = (since >= 0) & (since <= cfg.duration_ms)
    return {name: values[own] for name, values in fixations.items()}
