# SPDX-License-Identifier: Apache-2.0
"""How good the gaze of a trial is: the row of the quality table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrialGaze:
    """The gaze of one trial, in px of the screen (origin top left), NaN where lost.

    samples     timestamp_ms (N,) float64, x_px and y_px (N,) float32; None when the data set declares none
    fixations   onset_ms (M,) float64, duration_ms, x_px and y_px (M,) float32; None when the data set declares none
    Both are in order of time. A lost sample has NaN in both coordinates.
    """

    participant: str
    trial: str
    samples: dict[str, np.ndarray] | None
    fixations: dict[str, np.ndarray] | None


def inside(x_px: np.ndarray, y_px: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Which points (N,) lie in the window (left, top, width, height in px). Its left and top edge belong to it, its
    right and bottom edge do not, as for pixels. Lost points are not inside."""
    left, top, width, height = window
    return (x_px >= left) & (x_px < left + width) & (y_px >= top) & (y_px < top + height)


def trial_quality(trial: TrialGaze, window: Sequence[float]) -> dict[str, str | int | float]:
    """The row of the quality table (`tables.QUALITY`) for one trial; `window` is left, top, width, height in px.

    n_samples, n_fixations   how many were read, lost ones included
    duration_ms     first to last sample; without samples: first onset to the end of the last fixation
    sampling_hz     1000 / median time between samples; NaN with fewer than two samples or a median of 0
    lost_share      lost samples / samples; NaN without samples
    outside_share   samples outside the window / samples that are not lost (without samples: the same of fixations)
    """
    samples, fixations = trial.samples, trial.fixations
    gaze = samples if samples is not None else fixations
    if gaze is None:
        raise ValueError(f"participant {trial.participant} trial {trial.trial}: neither samples nor fixations")
    valid = ~(np.isnan(gaze["x_px"]) | np.isnan(gaze["y_px"]))
    outside = valid & ~inside(gaze["x_px"], gaze["y_px"], window)
    duration_ms = sampling_hz = lost_share = math.nan
    if samples is not None and len(valid):
        time = samples["timestamp_ms"]
        duration_ms = float(time[-1] - time[0])
        step_ms = float(np.median(np.diff(time))) if len(time) > 1 else 0.0
        sampling_hz = 1000.0 / step_ms if step_ms > 0 else math.nan
        lost_share = float(1 - valid.mean())
    elif fixations is not None and len(valid):
        duration_ms = float((fixations["onset_ms"] + fixations["duration_ms"]).max() - fixations["onset_ms"][0])
    return {
        "participant": trial.participant,
        "trial": trial.trial,
        "n_samples": 0 if samples is None else len(samples["x_px"]),
        "n_fixations": 0 if fixations is None else len(fixations["x_px"]),
        "duration_ms": duration_ms,
        "sampling_hz": sampling_hz,
        "lost_share": lost_share,
        "outside_share": float(outside.sum() / valid.sum()) if valid.any() else math.nan,
    }
