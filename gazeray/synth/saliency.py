# SPDX-License-Identifier: Apache-2.0
"""A simulated free-viewing study: scenes with objects, faces and signs, and where observers fixate on them.

    stimuli/scene_001.jpg    the pictures
    fixations.csv            stimulus, observer, x_px, y_px, duration_ms
    dataset.yaml             how gazeray reads them

Each fixation is drawn from a mixture that is known (`mixture`): a Gaussian at each thing, one at the centre of the
picture and the uniform density. It is the embedded data of the saliency study and its test: with `effect` 0 the gaze
does not depend on what is in the picture. Fixations of a trial are independent of each other, which real ones are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gazeray.storage import Folder
from gazeray.synth.files import csv_text, picture_bytes, refuse_existing, stream, yaml_text
from gazeray.synth.saliency_parameters import SaliencySimulation
from gazeray.synth.saliency_scene import KINDS, Thing, make_scene, paint

Floats = NDArray[np.float64]

# The keys of `stream`: (0, picture) scene, (1, picture) background, (2, observer) style, (3, picture, observer)
# fixations, (4,) bad rows.


@dataclass(frozen=True)
class Mixture:
    """Where one observer looks on one picture: K Gaussians cut at the picture's edges, the last part is even.

    weights: (K + 1,), sum 1. mean_px, sigma_px: (K, 2), x and y.
    """

    weights: Floats
    mean_px: Floats
    sigma_px: Floats


def scene(params: SaliencySimulation, picture: int) -> list[Thing]:
    """What is in picture number `picture` (from 0)."""
    return make_scene(stream(params.seed, 0, picture), params.width_px, params.height_px)


def mixture(params: SaliencySimulation, picture: int, observer: int) -> Mixture:
    """Where observer number `observer` (from 0) looks on a picture."""
    style = np.exp(params.observer_cv * stream(params.seed, 2, observer).standard_normal(4))
    kinds = dict(zip(KINDS, (params.objects, params.faces, params.text) * style[:3], strict=True))
    things = scene(params, picture)
    size = np.array([params.width_px, params.height_px], dtype=np.float64)
    weights = [params.centre * style[3], *(params.effect * kinds[thing.kind] for thing in things), params.anywhere]
    mean = [size / 2, *(np.array([thing.x_px, thing.y_px]) for thing in things)]
    # Sigma as a share of the picture (the centre bias), and of the half extents of a thing; the noise comes on top.
    sigma = np.stack([0.22 * size, *(0.45 * np.array([thing.half_width_px, thing.half_height_px]) for thing in things)])
    return Mixture(np.array(weights) / sum(weights), np.stack(mean), np.hypot(sigma, params.noise_px))


def draw_fixations(params: SaliencySimulation, picture: int, observer: int) -> Floats:
    """One trial's fixations, rows (x_px, y_px, duration_ms), (N, 3), inside the picture.

    With `effect` 0 they are the same whatever the scene. Durations are gamma distributed, 250 ms on average.
    """
    rng = stream(params.seed, 3, picture, observer)
    parts = mixture(params, picture, observer)
    order = np.r_[0, len(parts.weights) - 1, 1 : len(parts.weights) - 1]  # the centre, anywhere, the things
    rows = []
    for _ in range(max(1, int(rng.poisson(params.fixations)))):
        part = int(rng.choice(order, p=parts.weights[order]))
        x, y = _place(params, parts, part, rng)
        rows.append((x, y, rng.gamma(6.0, 250 / 6)))
    return np.array(rows)


def _place(params: SaliencySimulation, parts: Mixture, part: int, rng: np.random.Generator) -> tuple[float, float]:
    """A place inside the picture, px, from one part of the mixture."""
    if part == len(parts.mean_px):
        return float(rng.uniform(0, params.width_px)), float(rng.uniform(0, params.height_px))
    while True:
        x, y = rng.normal(parts.mean_px[part], parts.sigma_px[part])
        if 0 <= x < params.width_px and 0 <= y < params.height_px:
            return float(x), float(y)


def simulate_saliency(root: Folder, params: SaliencySimulation) -> None:
    """Write the study below `root`, and last dataset.yaml, which marks it as complete.

    Equal parameters give equal bytes. The bad rows stand at random places in the table.

    Raises FileExistsError when the folder already holds a dataset.yaml: nothing is overwritten.
    """
    refuse_existing(root, "dataset.yaml")
    rows = []
    for picture in range(params.pictures):
        painted = paint(scene(params, picture), stream(params.seed, 1, picture), params.width_px, params.height_px)
        data = picture_bytes(".jpg", painted, cv2.IMWRITE_JPEG_QUALITY, 92)
        root.write_bytes(f"stimuli/{name_of(picture)}.jpg", data)
        for observer in range(params.observers):
            for x, y, duration in draw_fixations(params, picture, observer):
                rows.append([name_of(picture), f"O{observer + 1:02d}", _cut(x), _cut(y), f"{duration:.0f}"])
    header = ("stimulus", "observer", "x_px", "y_px", "duration_ms")
    root.write_text("fixations.csv", csv_text(header, _with_bad_rows(params, rows)))
    root.write_text("dataset.yaml", yaml_text(DECLARATION))


def name_of(picture: int) -> str:
    """The stimulus of picture number `picture` (from 0)."""
    return f"scene_{picture + 1:03d}"


def _cut(px: float) -> str:
    """Two decimals, never rounded up: a place inside the picture stays inside."""
    return f"{math.floor(100 * px) / 100:.2f}"


def _with_bad_rows(params: SaliencySimulation, rows: list[list[str]]) -> list[list[str]]:
    """The rows, and between them `bad_rows` more: by turns right of the picture, and not a number."""
    rng = stream(params.seed, 4)
    for number in range(params.bad_rows):
        at = int(rng.integers(len(rows) + 1))
        stimulus, observer, _, y, duration = rows[min(at, len(rows) - 1)]
        x = f"{params.width_px + 20.0:.2f}" if number % 2 == 0 else "nan"
        rows.insert(at, [stimulus, observer, x, y, duration])
    return rows


DECLARATION: dict[str, object] = {
    "name": "simulated free viewing",
    "licence": "CC0-1.0",
    "notes": ["Simulated: the sizes of all effects are assumptions."],
    "pictures": {"path": "stimuli/{stimulus}.jpg"},
    "fixations": {
        "reader": "table",
        "path": "fixations.csv",
        "columns": {"stimulus": "stimulus", "observer": "observer", "x_px": "x_px", "y_px": "y_px"},
    },
}
"""How gazeray reads the study."""
