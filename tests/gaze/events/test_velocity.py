# SPDX-License-Identifier: Apache-2.0
"""Velocities and thresholds against slow second implementations, and both classic detectors against pymovements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.known_gaze import simulate_gaze, to_px
from gazeray.gaze.events import EventsConfig, Screen, detect
from gazeray.gaze.events.detectors.adaptive import (
    LEAST_ONSET_DEG_S,
    LEAST_PEAK_DEG_S,
    fitted_thresholds,
    savgol_velocity,
)
from gazeray.gaze.events.samples import Prepared, bridged, runs_of, window_velocity
from tests.gaze.events.test_dispersion import fixations_idt

SCREEN = Screen(1600, 1200, 400, 300, 600)


def prepared(time: np.ndarray, x_deg: np.ndarray, y_deg: np.ndarray) -> Prepared:
    x, y = to_px(SCREEN, x_deg, y_deg)
    usable = np.isfinite(x_deg)
    step = float(np.median(np.diff(time)))
    return Prepared(time, x, y, x_deg, y_deg, usable, runs_of(usable), step)


def jittered(seed: int) -> Prepared:
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(1.0, 4.0, 400))
    place = np.cumsum(rng.normal(0, 0.2, (2, 400)), axis=1)
    place[:, rng.random(400) < 0.02] = np.nan
    return prepared(time, *place)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window_ms", [1.0, 20.0, 50.0])
def test_window_velocity_agrees_with_the_slow_way(seed: int, window_ms: float) -> None:
    gaze = jittered(seed)
    slow = np.full(400, np.nan)
    reach = window_ms / 2 + gaze.step_ms / 4
    for i in range(400):
        if math.isnan(gaze.x_deg[i]):
            continue
        ends = []
        for direction in (-1, 1):
            j = i
            while 0 <= j + direction < 400 and not math.isnan(gaze.x_deg[j + direction]):
                if abs(gaze.time_ms[j + direction] - gaze.time_ms[i]) > reach and j != i:
                    break
                j += direction
            ends.append(j)
        a, b = ends
        if a != b:
            path = math.hypot(gaze.x_deg[b] - gaze.x_deg[a], gaze.y_deg[b] - gaze.y_deg[a])
            slow[i] = 1000 * path / (gaze.time_ms[b] - gaze.time_ms[a])
    np.testing.assert_allclose(window_velocity(gaze, window_ms), slow)


def test_both_velocities_of_steady_motion_are_exact_on_an_irregular_clock() -> None:
    time = np.cumsum(np.random.default_rng(0).uniform(1.0, 3.0, 300))
    gaze = prepared(time, 0.03 * time, 0.04 * time)
    np.testing.assert_allclose(window_velocity(gaze, 20.0), 50.0)
    np.testing.assert_allclose(savgol_velocity(gaze, 20.0), 50.0)


def test_thresholds_agree_with_the_loop_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    velocity = np.abs(np.concatenate([rng.normal(0, 8, 5000), rng.uniform(20, 600, 500), [np.nan] * 10]))
    peak, before = 200.0, math.inf
    while abs(before - peak) >= 1:
        below = velocity[velocity < peak]
        before, peak = peak, below.mean() + 6 * below.std()
    found_peak, found_onset = fitted_thresholds(velocity)
    assert found_peak == pytest.approx(peak)
    assert found_onset == pytest.approx(below.mean() + 3 * below.std())
    assert found_peak < 100


@pytest.mark.parametrize("scale", [0.0, 1e-13, 1e-3, 0.5])
def test_thresholds_of_gaze_without_noise_are_the_least_ones(scale: float) -> None:
    velocity = scale * np.abs(np.random.default_rng(0).normal(0, 1, 1000))
    assert fitted_thresholds(velocity) == (LEAST_PEAK_DEG_S, LEAST_ONSET_DEG_S)


def test_gap_is_bridged_by_a_line_and_a_blink_is_widened() -> None:
    time = np.arange(40) * 10.0
    x = np.arange(40.0)
    x[5:9] = np.nan
    x[20:30] = np.nan
    found, _ = bridged(time, x, x, 75.0, 20.0)
    np.testing.assert_allclose(found[:18], np.arange(18.0))
    # Lost from 200 to 290 ms: the samples up to 20 ms before the last valid one's end and after the first go as well.
    assert np.flatnonzero(np.isnan(found)).tolist() == list(range(18, 32))


def test_loss_at_the_edges_is_never_extrapolated() -> None:
    time = np.arange(30) * 10.0
    x = np.full(30, 1.0)
    x[:3] = x[-12:] = np.nan
    found, _ = bridged(time, x, x, 75.0, 20.0)
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 1, 2, *range(16, 30)]


def test_ivt_agrees_with_pymovements_without_merging() -> None:
    ivt = pytest.importorskip("pymovements.events.detection.ivt").ivt
    known = simulate_gaze(1, 500.0, 60, 0.08, blinks=4)
    x, y = to_px(SCREEN, known.x_deg, known.y_deg)
    cfg = EventsConfig(detector="ivt", merge_gap_ms=0.0, max_gap_ms=3.0, blink_pad_ms=0.0)
    found = detect({"timestamp_ms": known.timestamp_ms, "x_px": x, "y_px": y}, SCREEN, cfg).fixations
    velocity = window_velocity(prepared(known.timestamp_ms, known.x_deg, known.y_deg), cfg.velocity_window_ms)
    # pymovements leaves out the last sample's step: its shortest duration is one step shorter for the same samples.
    theirs = ivt(
        velocities=np.stack([velocity, np.zeros_like(velocity)], axis=1),
        timesteps=known.timestamp_ms.astype(int),
        minimum_duration=int(cfg.min_duration_ms) - 2,
        velocity_threshold=cfg.velocity_deg_s,
    ).frame
    assert len(theirs) > 60
    assert theirs["onset"].to_list() == found["onset_ms"].tolist()
    assert theirs["offset"].to_list() == (found["onset_ms"] + found["duration_ms"] - 2).tolist()


def test_idt_agrees_with_pymovements_where_a_sample_lies_between_fixations() -> None:
    """pymovements counts the first sample beyond the dispersion into the fixation that it ends and starts the next one
    after it. With one sample in flight between two places the onsets are the same and its ends one sample later."""
    idt = pytest.importorskip("pymovements.events.detection.idt").idt
    rng = np.random.default_rng(0)
    parts = []
    for number in range(30):
        place = np.array([10.0 * (number % 2), 5.0 * (number % 3)])
        parts += [place + rng.normal(0, 0.05, (int(rng.integers(30, 90)), 2)), np.array([[100.0 + number, 100.0]])]
    gaze = np.concatenate(parts[:-1])
    time = np.arange(len(gaze)) * 4
    found = fixations_idt(time, gaze[:, 0], gaze[:, 1], 1.0, 80.0)
    theirs = idt(positions=gaze, timesteps=time, minimum_duration=80, dispersion_threshold=1.0).frame
    assert theirs["onset"].to_list() == found["onset_ms"].tolist()
    ends = (found["onset_ms"] + found["duration_ms"]).tolist()
    assert theirs["offset"].to_list()[:-1] == ends[:-1]
    assert theirs["offset"].to_list()[-1] == ends[-1] - 4
