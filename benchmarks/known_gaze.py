# SPDX-License-Identifier: Apache-2.0
"""Gaze with known events: fixations with drift and noise, saccades on the main sequence, blinks.

The oracle of the event detectors. Saccades move along a minimum-jerk path (Flash & Hogan 1985) and last
2.2 ms/deg x amplitude + 21 ms (Carpenter 1988, "Movements of the Eyes"); the drift of fixations is a random walk; the
noise of the eye tracker is white.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeray.gaze.events.screen import Screen

Floats = NDArray[np.float64]

DRIFT_DEG = 0.05
"""Standard deviation of the drift after one second, deg."""
LID_MS = 30.0
"""How long before and after a blink the closing lid displaces the gaze."""
LID_DEG = 3.0
"""How far it does, downwards."""


@dataclass(frozen=True)
class KnownGaze:
    """Simulated samples and what truly happened.

    timestamp_ms, x_deg, y_deg   (N,) float64; NaN while the eye is closed
    fixations   (F, 2) ms, onset and end; the gaze stands still from onset to end, blinks included
    saccades    (F - 1, 2) ms, onset and end of each movement
    amplitudes_deg   (F - 1,)
    blinks      (B, 2) ms, from the first displacement by the lid to the last
    """

    timestamp_ms: Floats
    x_deg: Floats
    y_deg: Floats
    fixations: Floats
    saccades: Floats
    amplitudes_deg: Floats
    blinks: Floats


def simulate_gaze(
    seed: int,
    sampling_hz: float = 500.0,
    n_fixations: int = 60,
    noise_deg: float = 0.02,
    blinks: int = 0,
    oscillation: float = 0.0,
    half_width_deg: float = 12.0,
) -> KnownGaze:
    """Gaze that wanders over a square of twice `half_width_deg`.

    Args:
        seed: of everything random.
        sampling_hz: samples per second.
        n_fixations: number of fixations, each 180 to 500 ms long; saccades have 2 deg or more.
        noise_deg: standard deviation of the noise of each sample and axis, deg.
        blinks: so many fixations (the first and last apart) are prolonged by a blink of 150 ms in their middle.
        oscillation: size of the damped oscillation (50 Hz, decaying by e in 10 ms) after each saccade, as a share of
            its amplitude.
        half_width_deg: the places lie within this distance of the centre in each axis, deg.

    Raises ValueError: fewer than 2 fixations, or more blinks than fixations between the first and the last.
    """
    if n_fixations < 2 or blinks > n_fixations - 2:
        raise ValueError(f"{n_fixations} fixations with {blinks} blinks: needs 2 fixations, and 2 more than blinks")
    rng = np.random.default_rng(seed)
    places = _places(rng, n_fixations, half_width_deg)
    steps = np.diff(places, axis=0)
    amplitudes = np.hypot(*steps.T)
    with_blink = np.sort(rng.choice(np.arange(1, n_fixations - 1), blinks, replace=False))
    lasting = rng.uniform(180, 500, n_fixations)
    lasting[with_blink] += 2 * 150.0 + 150.0 + 2 * LID_MS
    moving = 2.2 * amplitudes + 21.0
    onsets = np.concatenate([[0.0], np.cumsum(lasting[:-1] + moving)])
    fixations = np.stack([onsets, onsets + lasting], axis=1)
    saccades = np.stack([fixations[:-1, 1], fixations[1:, 0]], axis=1)

    time = np.arange(0, fixations[-1, 1], 1000.0 / sampling_hz)
    gaze = np.tile(places[0], (time.size, 1))
    for (start, stop), step in zip(saccades, steps, strict=True):
        gaze += _minimum_jerk((time - start) / (stop - start))[:, None] * step
        since = np.maximum(time - stop, 0.0)
        gaze += (oscillation * np.exp(-since / 10.0) * np.sin(2 * np.pi * since / 20.0))[:, None] * step
    gaze += np.cumsum(rng.normal(0, DRIFT_DEG / np.sqrt(sampling_hz), gaze.shape), axis=0)
    gaze += rng.normal(0, noise_deg, gaze.shape)
    middle = fixations[with_blink].mean(axis=1)
    shut = np.stack([middle - 75.0, middle + 75.0], axis=1)
    for start, stop in shut:
        away = np.maximum(np.maximum(start - time, time - stop), 0.0)
        gaze[:, 1] += LID_DEG * np.maximum(0.0, 1 - away / LID_MS)
        gaze[(time >= start) & (time < stop)] = np.nan
    wide = shut + np.array([-LID_MS, LID_MS])
    return KnownGaze(time, gaze[:, 0], gaze[:, 1], fixations, saccades, amplitudes, wide)


def _places(rng: np.random.Generator, count: int, half_width_deg: float) -> Floats:
    """Where the gaze rests, (count, 2) deg, each 2 deg or more from the one before."""
    places = [rng.uniform(-half_width_deg, half_width_deg, 2)]
    while len(places) < count:
        place = rng.uniform(-half_width_deg, half_width_deg, 2)
        if np.hypot(*(place - places[-1])) >= 2.0:
            places.append(place)
    return np.array(places)


def _minimum_jerk(phase: Floats) -> Floats:
    """The share of the way covered at each phase: 0 before 0, 1 after 1."""
    t = np.clip(phase, 0.0, 1.0)
    return np.asarray(t**3 * (10 - 15 * t + 6 * t**2))


def to_px(screen: Screen, x_deg: ArrayLike, y_deg: ArrayLike) -> tuple[Floats, Floats]:
    """The inverse of `Screen.to_deg`: places in deg from the centre, each within (-90, 90), as px."""
    x_mm, y_mm = (screen.distance_mm * np.tan(np.radians(np.asarray(deg, np.float64))) for deg in (x_deg, y_deg))
    x_px = x_mm * screen.width_px / screen.width_mm + screen.width_px / 2
    return x_px, y_mm * screen.height_px / screen.height_mm + screen.height_px / 2
