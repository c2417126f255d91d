# SPDX-License-Identifier: Apache-2.0
"""Heatmaps of simulated readers as a vendor's program exports them: PNGs of the screen, for benchmarks to read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from gazeray.gaze.render import Window, heatmaps, pad_trials
from gazeray.synth.reading import SCREEN_PX, ReadingSimulation, design, make_reader, make_sentences, scanpath

PICTURE_PX = (1500, 200)
"""Width and height of an exported screen, cropped to the sentence."""


def draw_pictures(root: Path, people: int, trials: int) -> pd.DataFrame:
    """Export one PNG per simulated trial: green over yellow to red, half transparent, on white.

    Returns one row per picture: participant, trial, stimulus, label_index, path (below `root`).
    """
    params = ReadingSimulation(readers=people, sentences=trials)
    sentences, pseudoword = make_sentences(params), design(params)
    left, top = ((screen - size) / 2 for screen, size in zip(SCREEN_PX, PICTURE_PX, strict=True))
    window = torch.tensor([Window(left, top, *PICTURE_PX)])
    pictures = []
    for number in range(people):
        reader = make_reader(params, number)
        for trial, sentence in enumerate(sentences):
            label = int(pseudoword[number, trial])
            rng = np.random.default_rng([params.seed, number, trial])
            gaze = scanpath(params, sentence, reader, bool(label), rng)
            x_px, y_px, duration_ms = (pad_trials([values]) for values in (gaze.x_px, gaze.y_px, gaze.duration_ms))
            dwell = heatmaps(x_px, y_px, duration_ms, window, PICTURE_PX[::-1], 25.0)[0, 0].numpy()
            participant, item = f"{number + 1:03d}", f"{trial + 1:03d}"
            path = f"{participant}/{item}_{'CP'[label]}.png"
            (root / participant).mkdir(exist_ok=True)
            cv2.imwrite(str(root / path), cv2.cvtColor(coloured(dwell), cv2.COLOR_RGB2BGR))
            pictures.append((participant, item, item, label, path))
    return pd.DataFrame(pictures, columns=["participant", "trial", "stimulus", "label_index", "path"])


def coloured(dwell: np.ndarray) -> np.ndarray:
    """Dwell (H, W) relative to its peak as an RGB picture (H, W, 3) uint8."""
    level = dwell / dwell.max()
    colour = np.stack([np.minimum(2 * level, 1), np.minimum(2 - 2 * level, 1), np.zeros_like(level)], axis=2)
    opacity = 0.6 * np.minimum(level / 0.1, 1)[..., None]
    return np.asarray((255 * (1 - opacity + opacity * colour)).round(), np.uint8)
