# SPDX-License-Identifier: Apache-2.0
"""From the samples of a trial to its fixations and saccades, by the detector that the config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gazeray.gaze.events.adaptive import detect_adaptive
from gazeray.gaze.events.config import EventsConfig
from gazeray.gaze.events.dispersion import dispersion_runs
from gazeray.gaze.events.samples import Bools, Floats, Prepared, Runs, bridged, columns, covered, runs_of
from gazeray.gaze.events.screen import Screen
from gazeray.gaze.events.velocity import detect_ivt, segment_breaks, window_velocity
from gazeray.tables import FIXATIONS as PLAIN_FIXATIONS

LOST, FIXATION, SACCADE, OSCILLATION, OTHER = range(5)
"""Codes of samples: lost (or in a blink), fixation, saccade, post-saccadic oscillation, none of these."""

FIXATIONS = pa.schema([*PLAIN_FIXATIONS, ("x_deg", pa.float32()), ("y_deg", pa.float32())])
"""Detected fixations: x_deg and y_deg from the centre of the screen, NaN without geometry."""

SACCADES = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("onset_ms", pa.float64()),
        ("duration_ms", pa.float32()),
        *((f"{end}_{axis}_px", pa.float32()) for end in ("start", "end") for axis in "xy"),
        ("amplitude_deg", pa.float32()),
        ("peak_velocity_deg_s", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Events:
    """What was found in a trial, in order of time.

    fixations   onset_ms (F,) float64; duration_ms, x_px, y_px, x_deg, y_deg (F,) float32: the mean places
    saccades    onset_ms (S,) float64; duration_ms, start_x_px, start_y_px, end_x_px, end_y_px, amplitude_deg,
                peak_velocity_deg_s (S,) float32
    codes       (N,) uint8, one per sample: LOST, FIXATION, SACCADE, OSCILLATION or OTHER
    An event lasts from its first to its last sample plus one sample step. A lost sample that an event bridges has the
    code of that event.
    """

    fixations: dict[str, NDArray[np.floating]]
    saccades: dict[str, NDArray[np.floating]]
    codes: NDArray[np.uint8]


Found = tuple[Runs, Runs, Runs, Floats]
"""Fixations, saccades, oscillations as runs of samples, and the velocity of each sample in deg/s."""


def detect_idt(gaze: Prepared, screen: Screen, cfg: EventsConfig) -> Found:
    """I-DT in deg over slow samples: fixations, saccades, no oscillations, and the velocity (N,) deg/s.

    A dispersion threshold alone takes the slow end of each saccade into the next fixation, whose dispersion is then
    half used up. Samples from `velocity_deg_s` on (velocity as in I-VT) are therefore left out of it, like lost ones.
    Saccades are the runs of such samples outside fixations that last `min_saccade_ms`.
    """
    velocity = window_velocity(gaze, cfg.velocity_window_ms)
    fast = velocity >= cfg.velocity_deg_s
    fixations = _dispersion(gaze, gaze.x_deg, gaze.y_deg, gaze.usable & ~fast, cfg.dispersion_deg, cfg)
    saccades = runs_of(fast & ~covered(fixations, fast.size), segment_breaks(gaze))
    saccades = saccades[gaze.durations_ms(saccades) >= cfg.min_saccade_ms - 1e-6]
    return fixations, saccades, _NONE, velocity


def detect_idt_px(gaze: Prepared, screen: Screen, cfg: EventsConfig) -> Found:
    """I-DT in px: fixations alone, the same as `fixations_idt`; velocities in px mean nothing."""
    runs = _dispersion(gaze, gaze.x_px, gaze.y_px, gaze.usable, cfg.dispersion_px, cfg)
    return runs, _NONE, _NONE, np.full(gaze.time_ms.size, np.nan)


_NONE = np.zeros((0, 2), np.int64)
DETECTORS: dict[str, Callable[[Prepared, Screen, EventsConfig], Found]] = {
    "idt_px": detect_idt_px,
    "idt": detect_idt,
    "ivt": detect_ivt,
    "adaptive": detect_adaptive,
}


def detect(samples: Mapping[str, np.ndarray], screen: Screen | None, cfg: EventsConfig) -> Events:
    """Fixations and saccades of one trial.

    Args:
        samples: timestamp_ms, x_px, y_px, each (N,); NaN in either coordinate = lost. Timestamps must not decrease; of
            samples with the same timestamp the first counts and the others get its code (in idt_px all count).
        screen: None only with detector idt_px, and then deg are NaN.
        cfg: which detector, and the thresholds.

    Raises ValueError: what of the screen the detector needs and is not known; arrays of different shape; a timestamp
    that is not finite or runs backwards; samples further apart than `max_gap_ms`, or at fewer than 100 Hz with detector
    adaptive.
    """
    unknown = ["the whole screen"] if screen is None else screen.unknown()
    if cfg.detector != "idt_px" and unknown:
        raise ValueError(f"detector {cfg.detector} works in deg and needs to know of the screen: {', '.join(unknown)}")
    time, x, y = columns(samples)
    screen = screen or Screen(np.nan, np.nan)
    keep = (np.diff(time, prepend=-np.inf) > 0) | (cfg.detector == "idt_px")
    gaze = _prepare(time[keep], x[keep], y[keep], screen, cfg)
    if gaze.step_ms > cfg.max_gap_ms:
        raise ValueError(f"samples are {gaze.step_ms:.4g} ms apart, more than max_gap_ms {cfg.max_gap_ms:g}")
    fixations, saccades, oscillations, velocity = DETECTORS[cfg.detector](gaze, screen, cfg)
    codes = np.where(gaze.usable, OTHER, LOST).astype(np.uint8)
    for code, runs in ((FIXATION, fixations), (SACCADE, saccades), (OSCILLATION, oscillations)):
        codes[covered(runs, codes.size)] = code
    return Events(
        _fixation_table(gaze, fixations),
        _saccade_table(gaze, saccades, velocity, screen),
        codes[np.cumsum(keep) - 1],
    )


def _prepare(time: Floats, x: Floats, y: Floats, screen: Screen, cfg: EventsConfig) -> Prepared:
    """Samples with strictly rising timestamps made ready for the detector."""
    if cfg.detector in ("ivt", "adaptive"):
        x, y = bridged(time, x, y, cfg.max_gap_ms, cfg.blink_pad_ms)
    elif cfg.detector == "idt":
        padded, _ = bridged(time, x, y, cfg.max_gap_ms, cfg.blink_pad_ms)
        x, y = (np.where(np.isfinite(padded), values, np.nan) for values in (x, y))
    usable = np.isfinite(x)
    breaks = np.diff(time, prepend=time[:1]) > cfg.max_gap_ms
    step = float(np.median(np.diff(time))) if time.size > 1 else 0.0
    return Prepared(time, x, y, *screen.to_deg(x, y), usable, runs_of(usable, breaks), step)


def _dispersion(gaze: Prepared, x: Floats, y: Floats, counts: Bools, limit: float, cfg: EventsConfig) -> Runs:
    """I-DT over the samples that count, as runs of all samples: the others inside a fixation belong to it."""
    rows = np.flatnonzero(counts)
    runs = dispersion_runs(
        gaze.time_ms[rows], x[rows], y[rows], gaze.step_ms, limit, cfg.min_duration_ms, cfg.max_gap_ms
    )
    if not len(runs):
        return _NONE
    return np.stack([rows[runs[:, 0]], rows[runs[:, 1] - 1] + 1], axis=1).astype(np.int64)


def _fixation_table(gaze: Prepared, runs: Runs) -> dict[str, NDArray[np.floating]]:
    found: dict[str, NDArray[np.floating]] = {
        "onset_ms": gaze.time_ms[runs[:, 0]],
        "duration_ms": gaze.durations_ms(runs).astype(np.float32),
    }
    for name in ("x_px", "y_px", "x_deg", "y_deg"):
        values, usable = getattr(gaze, name), gaze.usable
        means = [values[start:stop][usable[start:stop]].mean() for start, stop in runs]
        found[name] = np.array(means, dtype=np.float32)
    return found


def _saccade_table(gaze: Prepared, runs: Runs, velocity: Floats, screen: Screen) -> dict[str, NDArray[np.floating]]:
    first, last = runs[:, 0], runs[:, 1] - 1
    ends = gaze.x_px[first], gaze.y_px[first], gaze.x_px[last], gaze.y_px[last]
    found: dict[str, NDArray[np.floating]] = {
        "duration_ms": gaze.durations_ms(runs),
        **dict(zip(("start_x_px", "start_y_px", "end_x_px", "end_y_px"), ends, strict=True)),
        "amplitude_deg": screen.angle_deg(*ends),
        "peak_velocity_deg_s": np.array([velocity[start:stop].max() for start, stop in runs], dtype=np.float64),
    }
    found = {name: values.astype(np.float32) for name, values in found.items()}
    return {"onset_ms": gaze.time_ms[first], **found}
