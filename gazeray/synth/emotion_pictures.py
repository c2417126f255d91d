# SPDX-License-Identifier: Apache-2.0
"""Simulated pictures that are felt: what is in them can be seen.

Valence is in the things: round and green where pleasant, spiky and red where not. Arousal is in their size, their
colour's strength and the contrast of the ground. How bright the ground is means nothing, but the pupil answers to it.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.files import stream

Floats = NDArray[np.float64]

WORDS = ("dog", "falcon", "koi fish", "old_mill", "night sky", "rock_pool", "stairs", "white_water rapid", "market")
"""What pictures are called: some names have spaces, some underscores, and none tells what is felt."""

NEUTRAL = 4.0
"""The middle level of the scales."""


@dataclass(frozen=True)
class Content:
    """One picture. name: without a suffix. valence, arousal: mean of what is felt, levels. brightness: of the ground,
    0..1. things: (N, 3), x and y of the centre and the radius, in heights of the picture (x to 4/3)."""

    name: str
    valence: float
    arousal: float
    brightness: float
    things: Floats


def make_contents(params: EmotionSimulation) -> list[Content]:
    """All pictures. Their valence is spread as evenly as a normal distribution can be, in a random order."""
    rng, count = stream(params.seed, 0), params.pictures
    even = [NormalDist().inv_cdf((place + 0.5) / count) for place in range(count)]
    from_neutral = rng.permutation(even)
    beside = params.arousal_sd * rng.standard_normal(count)
    steepness = params.v_shape * np.where(from_neutral < 0, 1.1, 0.9)
    arousal = 2.0 + steepness * np.abs(from_neutral) + beside
    valence = NEUTRAL + 0.2 + params.valence_sd * from_neutral
    return [_content(params, at, float(valence[at]), float(arousal[at])) for at in range(count)]


def _content(params: EmotionSimulation, picture: int, valence: float, arousal: float) -> Content:
    """Two to four things, one in each quarter of the picture at most."""
    rng = stream(params.seed, 1, picture)
    quarters = rng.permutation(4)[: int(rng.integers(2, 5))]
    x = (0.28 + 0.44 * (quarters % 2) + rng.uniform(-0.08, 0.08, len(quarters))) * 4 / 3
    y = 0.28 + 0.44 * (quarters // 2) + rng.uniform(-0.06, 0.06, len(quarters))
    radius = np.clip(0.05 + 0.02 * arousal + rng.normal(0, 0.008, len(quarters)), 0.04, 0.18)
    name = f"{WORDS[picture % len(WORDS)]} {picture // len(WORDS) + 1}"
    return Content(name, valence, arousal, float(rng.uniform(0.3, 0.7)), np.stack([x, y, radius], axis=1))


def paint(params: EmotionSimulation, picture: int, content: Content) -> NDArray[np.uint8]:
    """The picture, (H, W, 3) uint8 RGB."""
    rng, (width, height) = stream(params.seed, 2, picture), params.picture_px
    contrast = np.clip(0.03 + 0.03 * content.arousal, 0.02, 0.3)
    ground = rng.normal(0, contrast, (max(height // 8, 3), max(width // 8, 4)))
    texture = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    grey = 255 * np.clip(content.brightness + texture, 0, 1)
    canvas = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
    pleasant = float(np.clip((content.valence - 1) / 6, 0, 1))
    strength = float(np.clip(0.25 + 0.11 * content.arousal, 0, 1))
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(0.36 * pleasant, strength, 0.85))
    for x, y, radius in content.things * height:
        outline = _outline(pleasant, float(rng.uniform(0, 2 * np.pi)))
        cv2.fillPoly(canvas, [np.rint(outline * radius + (x, y)).astype(np.int32)], colour, cv2.LINE_AA)
    return canvas


def _outline(pleasant: float, turned: float) -> Floats:
    """A star of nine spikes around 0, 0, (36, 2), the rounder the more pleasant (0..1); the largest radius is 1."""
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    radius = 1 - 0.65 * (1 - pleasant) * (1 - np.abs(np.cos(4.5 * angle)))
    return np.stack([radius * np.cos(angle + turned), radius * np.sin(angle + turned)], axis=1)
