# SPDX-License-Identifier: Apache-2.0
"""From the samples of a trial to its fixations, saccades and oscillations, by the detector that the config names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from gazeray.gaze.clock import interval_ms, spread
from gazeray.gaze.events import detectors as detectors  # registers them
from gazeray.gaze.events.registry import DETECTORS, Detector, DetectorConfig
from gazeray.gaze.events.samples import Floats, Prepared, Runs, bridged, columns, covered, runs_of
from gazeray.gaze.events.screen import Screen
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


class EventsConfig(DetectorConfig):
    """How fixations and saccades are found in samples.

    idt_px needs no geometry of the screen; the other detectors work in degrees of visual angle and need all of it.
    """

    detector: Literal[*DETECTORS] = Field(  # type: ignore[valid-type]
        "idt_px", description="; ".join(f"{name}: {one.about}" for name, one in DETECTORS.items())
    )

    @property
    def in_deg(self) -> bool:
        """Does the detector need to know all of the screen?"""
        return DETECTORS[self.detector].in_deg


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


def detect(samples: Mapping[str, np.ndarray], screen: Screen | None, cfg: EventsConfig) -> Events:
    """Fixations and saccades of one trial.

    Args:
        samples: timestamp_ms, x_px, y_px, each (N,); NaN in either coordinate = lost. Timestamps must not decrease;
            where many are the same (the tracker is faster than its clock) they are spread evenly, see `clock.spread`.
            Of a few with the same timestamp the first counts and the others get its code (in idt_px all count).
        screen: None only with detector idt_px, and then deg are NaN.
        cfg: which detector, and the thresholds.

    Raises ValueError: what of the screen the detector needs and is not known; arrays of different shape; a timestamp
    that is not finite or runs backwards; samples further apart than `max_gap_ms`, or at fewer than 100 Hz with detector
    adaptive.
    """
    detector = DETECTORS[cfg.detector]
    unknown = ["the whole screen"] if screen is None else screen.unknown()
    if detector.in_deg and unknown:
        raise ValueError(f"detector {cfg.detector} works in deg and needs to know of the screen: {', '.join(unknown)}")
    time, x, y = columns(samples)
    time = spread(time)
    screen = screen or Screen(np.nan, np.nan)
    keep = (np.diff(time, prepend=-np.inf) > 0) | (not detector.in_deg)
    gaze = _prepare(time[keep], x[keep], y[keep], screen, detector, cfg)
    if gaze.step_ms > cfg.max_gap_ms:
        raise ValueError(f"samples are {gaze.step_ms:.4g} ms apart, more than max_gap_ms {cfg.max_gap_ms:g}")
    fixations, saccades, oscillations, velocity = detector.find(gaze, screen, cfg)
    codes = np.where(gaze.usable, OTHER, LOST).astype(np.uint8)
    for code, runs in ((FIXATION, fixations), (SACCADE, saccades), (OSCILLATION, oscillations)):
        codes[covered(runs, codes.size)] = code
    return Events(
        _fixation_table(gaze, fixations), _saccade_table(gaze, saccades, velocity, screen), codes[np.cumsum(keep) - 1]
    )


def _prepare(time: Floats, x: Floats, y: Floats, screen: Screen, detector: Detector, cfg: DetectorConfig) -> Prepared:
    """The samples as the detector takes them."""
    if detector.in_deg:
        lines = bridged(time, x, y, cfg.max_gap_ms, cfg.blink_pad_ms)
        beside_blink = np.isnan(lines[0])
        x, y = lines if detector.bridges else (np.where(beside_blink, np.nan, values) for values in (x, y))
    usable = np.isfinite(x)
    breaks = np.diff(time, prepend=time[:1]) > cfg.max_gap_ms
    step = interval_ms(time)
    step = 0.0 if np.isnan(step) else step
    return Prepared(time, x, y, *screen.to_deg(x, y), usable, runs_of(usable, breaks), step)


def _fixation_table(gaze: Prepared, runs: Runs) -> dict[str, NDArray[np.floating]]:
    found: dict[str, NDArray[np.floating]] = {
        "onset_ms": gaze.time_ms[runs[:, 0]],
        "duration_ms": gaze.durations_ms(runs).astype(np.float32),
    }
    kept = [start + np.flatnonzero(gaze.usable[start:stop]) for start, stop in runs]
    for name in ("x_px", "y_px", "x_deg", "y_deg"):
        values = getattr(gaze, name)
        means = [np.add.reduce(values[rows]) / rows.size for rows in kept]  # np.mean costs more than its few samples
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
