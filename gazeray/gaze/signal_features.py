# SPDX-License-Identifier: Apache-2.0
"""Simple numbers about the signals of a trial: what a linear model of felt arousal and valence gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gazeray.gaze.eda import conductance_us
from gazeray.gaze.signal_grid import Floats
from gazeray.gaze.signals_config import SignalsConfig

UNSUMMED = ("x", "y", "gsr_phasic")
"""Channels whose mean and slope say nothing: where the gaze is on average, and what has mean 0 by its making."""

GAZE_FEATURES = ("n_fixations", "mean_fixation_ms", "mean_saccade", "dispersion")

RESPONSE_US = 0.05
"""Least height of a skin conductance response, microsiemens (Boucsein 2012, "Electrodermal activity", 2.3.1.2)."""


def feature_names(names: Sequence[str]) -> list[str]:
    """The names of the values of `signal_features` for the channels `names`, in order."""
    found = [*GAZE_FEATURES] if {"x", "y"} <= {*names} else []
    for name in names:
        if name not in UNSUMMED:
            found += [f"{name}_mean", f"{name}_slope"]
    return [*found, *(["scr_count"] if _conductance_channel(names) else [])]


def signal_features(
    values: np.ndarray,
    names: Sequence[str],
    fixations: Mapping[str, np.ndarray] | None,
    window: Sequence[float],
    cfg: SignalsConfig,
    units: Mapping[str, str],
) -> Floats:
    """The features of one trial, (F,) float64, named by `feature_names(names)`; NaN where one is not known.

    n_fixations, mean_fixation_ms: of the fixations. mean_saccade: mean distance from one to the next, in widths of the
    window. dispersion: root mean square distance of the gaze from its mean, in half windows. <channel>_mean, and
    <channel>_slope: of the straight line of least squares, per second; that of heart_rate is its change. scr_count:
    skin conductance responses, peaks that rise by RESPONSE_US over what is around them once a straight line is taken
    off (no line where neurokit2 has parted them).

    values: (C, S), the series of the trial, NaN = lost. fixations: duration_ms, x_px, y_px (F,) of those in the window
    of time; None: not known. window: left, top, width, height of the stimulus, px. units: of the channels measured.
    """
    series = dict(zip(names, np.asarray(values, dtype=np.float64), strict=True))
    time_s = np.linspace(0.0, cfg.duration_ms / 1e3, cfg.samples)
    found = _of_gaze(series["x"], series["y"], fixations, window) if {"x", "y"} <= {*series} else []
    for name, channel in series.items():
        if name not in UNSUMMED:
            found += [_mean(channel), _slope(time_s, channel)]
    if skin := _conductance_channel(names):
        unit = "uS" if skin == "gsr_phasic" and cfg.eda == "tonic_phasic" else units.get(skin, "")
        found.append(_responses(time_s, series[skin], unit, detrend=skin == "gsr"))
    return np.array(found, dtype=np.float64)


def _conductance_channel(names: Sequence[str]) -> str:
    """The channel that skin conductance responses are counted in; "": none."""
    return next((name for name in ("gsr_phasic", "gsr") if name in names), "")


def _mean(channel: Floats) -> float:
    there = ~np.isnan(channel)
    return float(channel[there].mean()) if there.any() else np.nan


def _slope(time_s: Floats, channel: Floats) -> float:
    """Per second; NaN with fewer than two values."""
    there = ~np.isnan(channel)
    if there.sum() < 2:
        return np.nan
    time_s, channel = time_s[there] - time_s[there].mean(), channel[there]
    return float(time_s @ (channel - channel.mean()) / (time_s @ time_s))


def _of_gaze(x: Floats, y: Floats, fixations: Mapping[str, np.ndarray] | None, window: Sequence[float]) -> list[float]:
    """The values of GAZE_FEATURES."""
    there = ~np.isnan(x)
    dispersion = float(np.sqrt(x[there].var() + y[there].var())) if there.any() else np.nan
    if fixations is None:
        return [np.nan, np.nan, np.nan, dispersion]
    duration, x_px, y_px = (np.asarray(fixations[name], np.float64) for name in ("duration_ms", "x_px", "y_px"))
    steps = np.hypot(np.diff(x_px), np.diff(y_px)) / window[2]
    return [float(len(duration)), _mean(duration), _mean(steps), dispersion]


def _responses(time_s: Floats, channel: Floats, unit: str, detrend: bool) -> float:
    """How many; NaN where nothing is there, or the unit is not one of conductance or resistance."""
    from scipy.signal import find_peaks  # takes a while

    there = ~np.isnan(channel)
    values = conductance_us(channel, unit)
    if values is None or there.sum() < 3:
        return np.nan
    filled = np.interp(time_s, time_s[there], values[there])
    if detrend:
        filled = filled - _slope(time_s, filled) * time_s
    return float(len(find_peaks(filled, prominence=RESPONSE_US)[0]))
