# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes: a textured background with stones, and on it objects, faces and signs with a word.

The stones belong to the background: they draw no gaze. The scene is a list of things with their places; `paint` makes
the picture of it.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Kind = Literal["object", "face", "text"]

KINDS: tuple[Kind, ...] = ("object", "face", "text")

WORDS = ("OPEN", "CAFE", "EXIT", "TAXI", "BOOKS", "STOP", "SALE", "HOTEL", "BREAD", "TICKETS")

FINENESS = 4
"""Everything is painted at this multiple of the picture's size and then averaged down."""

SKIN = ((236, 196, 168), (206, 156, 120), (164, 112, 80), (112, 74, 52))
HAIR = ((40, 28, 20), (90, 56, 30), (190, 150, 80), (110, 110, 110))


@dataclass(frozen=True)
class Thing:
    """Something in a scene that may draw gaze: its centre and its half extents, px of the picture.

    look: which of the kind's forms, colours or words, 0..1 for each of three choices.
    """

    kind: Kind
    x_px: float
    y_px: float
    half_width_px: float
    half_height_px: float
    look: tuple[float, float, float]


def make_scene(rng: np.random.Generator, width_px: int, height_px: int) -> list[Thing]:
    """1-4 objects, 0-2 faces and 0-1 signs, anywhere inside the picture, apart from each other.

    Where no free place is found in 50 draws the thing is left out; the first one always has its place.
    """
    numbers = int(rng.integers(1, 5)), int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25])), int(rng.random() < 0.5)
    kinds = [kind for kind, number in zip(KINDS, numbers, strict=True) for _ in range(number)]
    things: list[Thing] = []
    for kind in (kinds[i] for i in rng.permutation(len(kinds))):
        half_height = float(rng.uniform(0.06, 0.1)) * min(width_px, height_px)
        half_width = half_height * {"object": float(rng.uniform(0.8, 1.3)), "face": 0.78, "text": 2.2}[kind]
        look = (float(rng.random()), float(rng.random()), float(rng.random()))
        for _ in range(50):
            x = float(rng.uniform(1.15 * half_width, width_px - 1.15 * half_width))
            y = float(rng.uniform(1.25 * half_height, height_px - 1.25 * half_height))
            thing = Thing(kind, x, y, half_width, half_height, look)
            if not any(_near(thing, other) for other in things):
                things.append(thing)
                break
    return things


def _near(a: Thing, b: Thing) -> bool:
    across = abs(a.x_px - b.x_px) < 1.25 * (a.half_width_px + b.half_width_px)
    return across and abs(a.y_px - b.y_px) < 1.35 * (a.half_height_px + b.half_height_px)


def paint(things: list[Thing], rng: np.random.Generator, width_px: int, height_px: int) -> Picture:
    """The picture of a scene, (H, W, 3) uint8 RGB. The background and the grain come from `rng`, the things do not."""
    canvas = _background(rng, width_px * FINENESS, height_px * FINENESS)
    painters = {"object": _object, "face": _face, "text": _sign}
    for thing in things:
        painters[thing.kind](canvas, thing)
    small = cv2.resize(canvas, (width_px, height_px), interpolation=cv2.INTER_AREA).astype(np.float64)
    grained = small + rng.normal(0, 3.0, (height_px, width_px, 1))
    return np.clip(np.round(grained), 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, width: int, height: int) -> Picture:
    """Wall and ground of one dull hue with soft patches, and stones, (height, width, 3)."""
    hue, horizon = float(rng.random()), float(rng.uniform(0.35, 0.75))
    wall, ground = _rgb(hue, 0.18, 0.72), _rgb(hue + 0.08, 0.25, 0.5)
    step = 1 / (1 + np.exp(-(np.arange(height) / height - horizon) * 60))[:, None, None]
    base = (1 - step) * np.array(wall) + step * np.array(ground)
    texture = np.zeros((height, width))
    for cells, strength in ((4, 14.0), (12, 9.0), (48, 7.0)):
        rough = rng.normal(0, strength, (max(2, cells * height // width), cells))
        texture += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    canvas = np.clip(base + texture[:, :, None], 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(6, 14))):
        centre = _point(rng.uniform(0, width), rng.uniform(horizon * height, height))
        radius = float(rng.uniform(0.012, 0.03)) * height
        tone = _rgb(hue + 0.08, 0.2, float(rng.uniform(0.4, 0.58)))
        cv2.ellipse(canvas, centre, _point(1.5 * radius, radius), 0, 0, 360, tone, -1, cv2.LINE_AA)
    return canvas


def _object(canvas: Picture, thing: Thing) -> None:
    """A ball, a box or a cone in a bright colour, with a shadow, a rim and a highlight."""
    x, y, a, b = _scaled(thing)
    form, hue, value = thing.look
    colour, rim = _rgb(hue, 0.85, 0.7 + 0.25 * value), _rgb(hue, 0.9, 0.35)
    width = max(1, round(0.07 * b))
    cv2.ellipse(canvas, _point(x, y + 0.95 * b), _point(1.05 * a, 0.18 * b), 0, 0, 360, (50, 50, 50), -1, cv2.LINE_AA)
    if form < 0.34:
        cv2.ellipse(canvas, _point(x, y), _point(a, b), 0, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.ellipse(canvas, _point(x, y), _point(a, b), 0, 0, 360, rim, width, cv2.LINE_AA)
    else:
        top = 1.0 if form < 0.67 else 0.15
        corners = [_point(x - top * a, y - b), _point(x + top * a, y - b), _point(x + a, y + b), _point(x - a, y + b)]
        cv2.fillPoly(canvas, [np.array(corners, dtype=np.int32)], colour, cv2.LINE_AA)
        cv2.polylines(canvas, [np.array(corners, dtype=np.int32)], True, rim, width, cv2.LINE_AA)
        cv2.line(canvas, _point(x - 0.55 * a, y + 0.2 * b), _point(x + 0.55 * a, y + 0.2 * b), rim, width, cv2.LINE_AA)
    shine = _rgb(hue, 0.3, 1.0)
    cv2.ellipse(canvas, _point(x, y - 0.45 * b), _point(0.14 * a, 0.1 * b), 0, 0, 360, shine, -1, cv2.LINE_AA)


def _face(canvas: Picture, thing: Thing) -> None:
    """Hair, head, ears, eyes, brows, nose and mouth, seen from the front."""
    x, y, a, b = _scaled(thing)
    skin, hair = SKIN[int(thing.look[0] * len(SKIN))], HAIR[int(thing.look[1] * len(HAIR))]
    dark = tuple(round(0.55 * tone) for tone in skin)
    line = max(1, round(0.05 * b))

    def oval(across: float, down: float, half_width: float, half_height: float, colour: tuple[int, ...]) -> None:
        """An ellipse at a place and of a size in half extents of the face."""
        place, axes = _point(x + across * a, y + down * b), _point(half_width * a, half_height * b)
        cv2.ellipse(canvas, place, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)

    oval(0, -0.18, 1.05, 0.92, hair)
    for side in (-1, 1):
        oval(side * 0.92, 0.1, 0.14, 0.2, skin)
    oval(0, 0.1, 0.9, 0.9, skin)
    cv2.ellipse(canvas, _point(x, y - 0.42 * b), _point(0.86 * a, 0.48 * b), 0, 180, 360, hair, -1, cv2.LINE_AA)
    for side in (-1, 1):
        oval(side * 0.38, 0.0, 0.2, 0.11, (248, 248, 248))
        oval(side * 0.38, 0.0, 0.09, 0.1, (40, 40, 60))
        brow = _point(x + side * 0.2 * a, y - 0.2 * b), _point(x + side * 0.56 * a, y - 0.24 * b)
        cv2.line(canvas, *brow, hair, line, cv2.LINE_AA)
    cv2.line(canvas, _point(x, y + 0.08 * b), _point(x - 0.08 * a, y + 0.34 * b), dark, line, cv2.LINE_AA)
    cv2.ellipse(canvas, _point(x, y + 0.5 * b), _point(0.36 * a, 0.18 * b), 0, 15, 165, (170, 50, 60), 2 * line)


def _sign(canvas: Picture, thing: Thing) -> None:
    """A board with a word on it."""
    x, y, a, b = _scaled(thing)
    board, ink = ((250, 246, 232), (30, 40, 90)) if thing.look[0] < 0.5 else ((40, 84, 60), (250, 246, 232))
    word = WORDS[int(thing.look[1] * len(WORDS))]
    cv2.rectangle(canvas, _point(x - a, y - b), _point(x + a, y + b), board, -1)
    cv2.rectangle(canvas, _point(x - a, y - b), _point(x + a, y + b), ink, max(1, round(0.08 * b)))
    stroke = max(1, round(0.16 * b))
    (width, height), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    scale = min(1.7 * a / width, 1.1 * b / height)
    (width, height), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, stroke)
    start = _point(x - width / 2, y + height / 2)
    cv2.putText(canvas, word, start, cv2.FONT_HERSHEY_DUPLEX, scale, ink, stroke, cv2.LINE_AA)


def _scaled(thing: Thing) -> tuple[float, float, float, float]:
    """Centre x, y and half extents on the canvas."""
    place = thing.x_px, thing.y_px, thing.half_width_px, thing.half_height_px
    x, y, a, b = (FINENESS * value for value in place)
    return x, y, a, b


def _point(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """A colour 0..255; the hue goes round."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
