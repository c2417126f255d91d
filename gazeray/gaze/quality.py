# SPDX-License-Identifier: Apache-2.0
"""How good the gaze of a trial is: the row of the quality table, and the gate that refuses trials.

What is measured and why: Holmqvist, Nyström & Mulvey (2012), "Eye tracker data quality: what it is and how to measure
it", ETRA, 45-52; Niehorster et al. (2020), "Characterizing gaze position signals and synthesizing noise during
fixations in eye-tracking data", Behavior Research Methods 52, 2515-2534.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from pydantic import Field

from gazeray.config import Section
from gazeray.gaze.clock import clock_hz, spread
from gazeray.gaze.events.screen import Screen
from gazeray.tables import ACCURACY, QUALITY


@dataclass(frozen=True)
class TrialGaze:
    """The gaze of one trial, in px of the screen (origin top left), NaN where lost.

    samples     timestamp_ms (N,) float64, x_px and y_px (N,) float32; None when the data set declares none
    fixations   onset_ms (M,) float64, duration_ms, x_px and y_px (M,) float32; None when the data set declares none
    Both are in order of time. A lost sample has NaN in both coordinates. Samples and fixations may have further
    columns, the channels: pupil_left, pupil_right, gsr, ... (N,) float32 with NaN where lost, hand labels (N,) str.
    `units` are those of the channels; `accuracy` is what the tracker said before the trial, deg (`tables.ACCURACY`).
    `has_gaze` is False where channels alone were recorded: then all coordinates are NaN.
    """

    participant: str
    trial: str
    samples: dict[str, np.ndarray] | None
    fixations: dict[str, np.ndarray] | None
    units: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    has_gaze: bool = True


class QualityConfig(Section):
    """Which trials are good enough; null = whatever it is.

    Half of the samples is the default limit of loss alone: a dwell map or a scanpath of less shows mostly what the
    tracker lost, while precision, accuracy and rate that suffice depend on the question, so that no number suits all.
    """

    max_lost_share: float | None = Field(0.5, ge=0, le=1, description="largest share of lost samples")
    max_off_screen_share: float | None = Field(None, ge=0, le=1, description="largest share of gaze off the screen")
    max_rms_s2s_deg: float | None = Field(None, gt=0, description="largest RMS of sample-to-sample distances, deg")
    max_bcea_deg2: float | None = Field(None, gt=0, description="largest bivariate contour ellipse area, deg2")
    max_validation_deg: float | None = Field(
        None, gt=0, description="largest mean error of the tracker's last validation, deg; the worse of two eyes"
    )
    min_sampling_hz: float | None = Field(None, gt=0, description="lowest sampling rate, Hz; 1 % less passes")
    min_duration_ms: float | None = Field(None, gt=0, description="shortest trial, ms")


Row = dict[str, str | int | float]


def inside(x_px: np.ndarray, y_px: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Which points (N,) lie in the window (left, top, width, height in px). Its left and top edge belong to it, its
    right and bottom edge do not, as for pixels. Lost points are not inside."""
    left, top, width, height = window
    return (x_px >= left) & (x_px < left + width) & (y_px >= top) & (y_px < top + height)


def trial_quality(
    trial: TrialGaze,
    window: Sequence[float],
    screen: Screen | None = None,
    fixations: Mapping[str, np.ndarray] | None = None,
) -> Row:
    """The row of the quality table (`tables.QUALITY`) for one trial.

    Args:
        trial: samples, fixations or both.
        window: of the stimulus: left, top, width, height in px.
        screen: None when nothing is known of it; then what needs it is NaN.
        fixations: onset_ms and duration_ms (F,) of the fixations detected in the trial's samples. Precision is taken
            over them, the median of all; None or none: over the trial as a whole, where saccades count as noise.

    n_samples, n_fixations   how many were read, lost ones included; fixations that were not read are those detected
    duration_ms     first to last sample; without samples: first onset to the end of the last fixation
    sampling_hz     samples per second by the whole clock (`clock.clock_hz`); NaN where it never advances
    lost_share      lost samples / samples; NaN without samples, and where no gaze was recorded
    outside_share   samples outside the window / samples that are not lost (without samples: the same of fixations)
    off_screen_share   the same with the whole screen for the window
    longest_gap_ms  the longest time without gaze: between neighbouring samples that are not lost, or from the first or
                    to the last sample of the trial; with nothing lost it is the longest sampling step; NaN where no
                    gaze was recorded
    rms_s2s_px, rms_s2s_deg   see `rms_s2s`
    bcea_px2, bcea_deg2       see `bcea`
    validation_left_deg, ...  see `tables.ACCURACY`; NaN where the tracker's file does not say
    gate            "": see `gate`

    Raises ValueError for a trial with neither samples nor fixations.
    """
    gaze = trial.samples if trial.samples is not None else trial.fixations
    if gaze is None:
        raise ValueError(f"participant {trial.participant} trial {trial.trial}: neither samples nor fixations")
    valid = ~(np.isnan(gaze["x_px"]) | np.isnan(gaze["y_px"]))
    whole = (0.0, 0.0, screen.width_px, screen.height_px) if screen is not None else (math.nan,) * 4
    found: Row = {
        "participant": trial.participant,
        "trial": trial.trial,
        "n_samples": 0 if trial.samples is None else len(trial.samples["x_px"]),
        "n_fixations": _count(trial.fixations if trial.fixations is not None else fixations),
        **_times(trial, valid),
        "outside_share": _share_out(gaze, valid, window),
        "off_screen_share": _share_out(gaze, valid, whole),
        **_precision(trial.samples, screen, fixations),
        **{name: trial.accuracy.get(name, math.nan) for name in ACCURACY},
        "gate": "",
    }
    return {name: found[name] for name in QUALITY.names}


def _times(trial: TrialGaze, valid: np.ndarray) -> dict[str, float]:
    duration_ms = sampling_hz = lost_share = longest_gap_ms = math.nan
    samples, fixations = trial.samples, trial.fixations
    if samples is not None and len(valid):
        time = samples["timestamp_ms"]
        duration_ms = float(time[-1] - time[0])
        sampling_hz = clock_hz(time)
        if trial.has_gaze:
            lost_share = float(1 - valid.mean())
            longest_gap_ms = float(np.diff(np.concatenate([time[:1], time[valid], time[-1:]])).max())
    elif samples is None and fixations is not None and len(valid):
        duration_ms = float((fixations["onset_ms"] + fixations["duration_ms"]).max() - fixations["onset_ms"][0])
    found = {"duration_ms": duration_ms, "sampling_hz": sampling_hz, "lost_share": lost_share}
    return found | {"longest_gap_ms": longest_gap_ms}


def _share_out(gaze: Mapping[str, np.ndarray], valid: np.ndarray, window: Sequence[float]) -> float:
    """The share of valid points outside a window; NaN without any, or when the window is not known."""
    if not valid.any() or np.isnan(window).any():
        return math.nan
    return float((valid & ~inside(gaze["x_px"], gaze["y_px"], window)).sum() / valid.sum())


def _count(fixations: Mapping[str, np.ndarray] | None) -> int:
    return 0 if fixations is None else len(fixations["onset_ms"])


def _precision(
    samples: Mapping[str, np.ndarray] | None, screen: Screen | None, fixations: Mapping[str, np.ndarray] | None
) -> dict[str, float]:
    """RMS-S2S and BCEA in px and deg: the median over the fixations, else those of the trial as a whole."""
    names = ("rms_s2s_px", "rms_s2s_deg", "bcea_px2", "bcea_deg2")
    if samples is None:
        return dict.fromkeys(names, math.nan)
    x_px, y_px = (samples[name].astype(np.float64) for name in ("x_px", "y_px"))
    x_deg, y_deg = screen.to_deg(x_px, y_px) if screen is not None else (x_px * np.nan, y_px * np.nan)
    parts = [(0, len(x_px))]
    if fixations is not None and len(fixations["onset_ms"]):
        time, onset = spread(samples["timestamp_ms"]), np.asarray(fixations["onset_ms"], np.float64)
        # Half a microsecond: onset + duration, a float32, may miss the sample after the fixation by its rounding.
        ends = onset + np.asarray(fixations["duration_ms"], np.float64) - 5e-4
        parts = list(zip(np.searchsorted(time, onset), np.searchsorted(time, ends), strict=True))
    units = ((x_px, y_px), (x_deg, y_deg))
    steps = [_squared_steps(x, y) for x, y in units]
    columns = [[_root_mean(squares[a : max(a, b - 1)]) for a, b in parts] for squares in steps]
    columns += [[bcea(x[a:b], y[a:b]) for a, b in parts] for x, y in units]
    return {
        name: median([one for one in column if not math.isnan(one)] or [math.nan])
        for name, column in zip(names, columns, strict=True)
    }


def rms_s2s(x: np.ndarray, y: np.ndarray) -> float:
    """Precision from sample to sample: sqrt(mean((x[i+1] - x[i])^2 + (y[i+1] - y[i])^2)) (Holmqvist et al. 2012).

    x, y: shape (N,), NaN = lost, in px or deg; the result is in the same unit. Pairs with a lost sample are left out;
    NaN when no pair is left.
    """
    return _root_mean(_squared_steps(x, y))


def _squared_steps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x[1:] - x[:-1]) ** 2 + (y[1:] - y[:-1]) ** 2


def _root_mean(squares: np.ndarray) -> float:
    """Of the finite ones; `np.mean` costs more than the few squares of a fixation."""
    squares = squares[np.isfinite(squares)]
    return float(np.sqrt(np.add.reduce(squares) / squares.size)) if squares.size else math.nan


def bcea(x: np.ndarray, y: np.ndarray) -> float:
    """Bivariate contour ellipse area: the ellipse that holds 68 % of the gaze, were it normally distributed.

    2 k pi sd_x sd_y sqrt(1 - rho^2) with k = -ln(1 - 0.68) and sample standard deviations (Crossland & Rubin 2002,
    "The use of an infrared eyetracker to measure fixation stability", Optometry and Vision Science 79, 735-739).

    x, y: shape (N,), NaN = lost, in px or deg; the result is in px2 or deg2. Gaze that lies on a line has area 0; NaN
    with fewer than two samples that are not lost.
    """
    valid = np.isfinite(x) & np.isfinite(y)
    n = np.count_nonzero(valid)
    if n < 2:
        return math.nan
    x, y = x[valid], y[valid]
    a, b = x - np.add.reduce(x) / n, y - np.add.reduce(y) / n
    determinant = (a @ a) * (b @ b) - (a @ b) ** 2
    return float(-2 * math.log(1 - 0.68) * math.pi * math.sqrt(max(0.0, determinant)) / (n - 1))


MEASURED = {
    "max_lost_share": ("lost_share",),
    "max_off_screen_share": ("off_screen_share",),
    "max_rms_s2s_deg": ("rms_s2s_deg",),
    "max_bcea_deg2": ("bcea_deg2",),
    "max_validation_deg": ("validation_left_deg", "validation_right_deg"),
    "min_sampling_hz": ("sampling_hz",),
    "min_duration_ms": ("duration_ms",),
}
"""Key of QualityConfig -> the columns of the quality table that it limits, of which one at least must be known."""

RATE_SLACK = 0.99
"""Part of the lowest rate that suffices: a clock in whole ms shows 60 Hz as 59.9 or 60.1 in a trial of seconds."""


def gate(row: Mapping[str, str | int | float | None], cfg: QualityConfig) -> str:
    """Why a trial is not good enough, "" when it is: "lost_share 0.62 > quality.max_lost_share 0.5".

    `row` is a row of the quality table. Several reasons are joined by "; ". A measure that is not known (NaN: degrees
    without geometry, a rate without samples) cannot keep what its limit asks, and the trial is refused; only a loss
    that is not known passes, since a data set of fixations, or of channels alone, has none to tell and the limit is
    there by default.
    """
    reasons = []
    for key, columns in MEASURED.items():
        limit, sign = getattr(cfg, key), ">" if key.startswith("max") else "<"
        if limit is None:
            continue
        known = {
            name: float(value) for name in columns if isinstance(value := row[name], int | float) and value == value
        }
        if not known and key != "max_lost_share":
            reasons.append(
                f"{' and '.join(columns)} {'are' if columns[1:] else 'is'} not known, quality.{key} {limit:g}"
            )
        for name, value in known.items():
            if value > limit if sign == ">" else value < limit * (RATE_SLACK if name == "sampling_hz" else 1.0):
                reasons.append(f"{name} {value:.4g} {sign} quality.{key} {limit:g}")
    return "; ".join(reasons)
