# SPDX-License-Identifier: Apache-2.0
"""Heatmaps by gazeray against the usual way, one thread each: `python benchmarks/render.py`.

The usual way: the gaze of a trial as a duration histogram with one bin per screen pixel (float32; float64 takes as
long), `scipy.ndimage.gaussian_filter` over it, the result shrunk to the size of the picture by averaging. Ours:
`gazeray.gaze.render.heatmaps`, straight to the picture. Prints both sides in ms per trial, the ratio, and how well the
pictures agree; exit code 1 when the ratio is under 20 or a correlation under 0.99.

Without arguments the gaze is simulated. `--real` takes the raw webcam samples of `reading_webqamgaze` below the folder
that the environment variable GAZERAY_REAL_DATA names.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from gazeray.gaze.render import Window, heatmaps, pad_trials, sample_durations

SIZE = (128, 128)
SIGMA_PX = 40.0
MAX_GAP_MS = 100.0
LEAST_RATIO = 20.0
LEAST_CORRELATION = 0.99


@dataclass(frozen=True)
class Trial:
    """The gaze of one trial that fell on the screen: positions (px) and durations (ms), each (N,); the screen."""

    x_px: np.ndarray
    y_px: np.ndarray
    duration_ms: np.ndarray
    screen: Window


def simulated(n_trials: int, seed: int) -> list[Trial]:
    """Readers before a webcam, about 950 samples at 29 Hz on a 1920 x 1080 screen: lines of text, noise of 50 px."""
    rng, screen = np.random.default_rng(seed), Window(0, 0, 1920, 1080)
    trials = []
    for _ in range(n_trials):
        n_samples = max(200, int(rng.normal(950, 150)))
        times_ms = np.cumsum(rng.normal(1000 / 29, 3, n_samples).clip(1))
        lines = np.linspace(0, 8, n_samples, endpoint=False)
        x_px = 320 + 1280 * (lines % 1) + rng.normal(0, 50, n_samples)
        y_px = 220 + 80 * np.floor(lines) + rng.normal(0, 50, n_samples)
        trials.append(on_screen(times_ms, x_px, y_px, screen))
    return trials


def recorded(root: Path) -> list[Trial]:
    """Every trial of `reading_webqamgaze` below `root`: raw samples, px of each reader's own screen."""
    folder = root / "reading_webqamgaze"
    people = pd.read_csv(folder / "participants.csv", index_col="participant")[["screen_w", "screen_h"]]
    screens = {name: Window(0, 0, width, height) for name, width, height in people.itertuples()}
    trials = []
    for path in sorted((folder / "gaze").glob("*.csv.gz")):
        screen = screens[path.name.removesuffix(".csv.gz")]
        for _, samples in pd.read_csv(path).groupby("trial", sort=True):
            times_ms, x_px, y_px = (samples[column].to_numpy(float) for column in ("t_ms", "x_px", "y_px"))
            trials.append(on_screen(times_ms, x_px, y_px, screen))
    return trials


def on_screen(times_ms: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, screen: Window) -> Trial:
    """The samples on the screen with their dwell times: a histogram of the screen has no place for others."""
    inside = (x_px >= 0) & (x_px < screen.width_px) & (y_px >= 0) & (y_px < screen.height_px)
    duration_ms = sample_durations(times_ms, inside, MAX_GAP_MS)
    return Trial(x_px[inside], y_px[inside], duration_ms[inside], screen)


def by_scipy(trial: Trial) -> np.ndarray:
    """The heatmap (H, W) the usual way, in ms like ours: scipy's Gaussian has sum 1, ours peak 1."""
    histogram = np.zeros((int(trial.screen.height_px), int(trial.screen.width_px)), dtype=np.float32)
    np.add.at(histogram, (trial.y_px.astype(int), trial.x_px.astype(int)), trial.duration_ms.astype(np.float32))
    smooth = gaussian_filter(histogram, SIGMA_PX, mode="constant", truncate=4)
    picture: np.ndarray = cv2.resize(smooth, SIZE[::-1], interpolation=cv2.INTER_AREA) * (2 * math.pi * SIGMA_PX**2)
    return picture


def by_gazeray(trials: list[Trial]) -> np.ndarray:
    """The heatmaps (B, H, W) of all trials in one call, padding included."""
    x_px, y_px, duration_ms = (
        pad_trials([getattr(trial, name) for trial in trials]) for name in ("x_px", "y_px", "duration_ms")
    )
    window = torch.tensor([trial.screen for trial in trials])
    return heatmaps(x_px, y_px, duration_ms, window, SIZE, SIGMA_PX)[:, 0].numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=680, help="simulated trials (default: 680)")
    parser.add_argument("--scipy-trials", type=int, default=40, help="trials that scipy draws (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation and of scipy's choice of trials")
    parser.add_argument("--real", action="store_true", help="use the recordings below $GAZERAY_REAL_DATA")
    options = parser.parse_args()
    if min(options.trials, options.scipy_trials) < 1:
        parser.error("--trials and --scipy-trials must be at least 1")
    root = os.environ.get("GAZERAY_REAL_DATA")
    if options.real and not root:
        parser.error("--real needs the environment variable GAZERAY_REAL_DATA")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    trials = recorded(Path(root)) if options.real and root else simulated(options.trials, options.seed)
    n_scipy = min(options.scipy_trials, len(trials))
    chosen = np.random.default_rng(options.seed).choice(len(trials), n_scipy, replace=False)
    by_gazeray(trials[:8])  # the first call of either side pays for loading code
    by_scipy(trials[0])

    start = time.perf_counter()
    ours = by_gazeray(trials)
    ours_ms = (time.perf_counter() - start) * 1000 / len(trials)
    start = time.perf_counter()
    theirs = [by_scipy(trials[index]) for index in chosen]
    theirs_ms = (time.perf_counter() - start) * 1000 / n_scipy

    pairs = list(zip(ours[chosen], theirs, strict=True))
    correlations = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs]
    difference = max(float(np.abs(a - b).max() / b.max()) for a, b in pairs)
    ratio = theirs_ms / ours_ms
    n_samples = np.mean([len(trial.x_px) for trial in trials])
    print(
        f"{'recorded' if options.real else 'simulated'} trials: {len(trials)}, {n_samples:.0f} samples each on average"
    )
    print(f"scipy gaussian_filter: {theirs_ms:8.2f} ms per trial ({n_scipy} trials, one thread)")
    print(f"gazeray heatmaps:      {ours_ms:8.2f} ms per trial ({len(trials)} trials, one thread)")
    print(f"ratio: {ratio:.0f} times faster (at least {LEAST_RATIO:.0f})")
    print(f"correlation: min {min(correlations):.6f}, mean {np.mean(correlations):.6f} (at least {LEAST_CORRELATION})")
    print(f"greatest difference: {difference:.2%} of the peak")
    return 0 if ratio >= LEAST_RATIO and min(correlations) >= LEAST_CORRELATION else 1


if __name__ == "__main__":
    sys.exit(main())
