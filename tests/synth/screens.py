# SPDX-License-Identifier: Apache-2.0
"""Simulated screen pictures: the simulated reading study as an eye tracker's software would export it, in PNG files.

The folders, names, sizes and crops are those of the pictures of Ryzhova et al. (2023), doi 10.1145/3588015.3590118:

    heatmap_fixed/10m23r2_1_C_a.png      one per reader and sentence, kind a
    scanpaths_fixed/10m23r2_1_C_b.png    one per reader, sentence and look
    heatmaps.yaml, scanpaths.yaml        how gazeray reads either

Everything is drawn on white. Scanpaths are those of `gazeray.gaze.scanpath`; heatmaps are half-transparent green,
yellow and red, as the published ones are; the colours' exact steps are ours.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gazeray.config import Section
from gazeray.gaze.render import Window, heatmaps
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.scanpath_look import ScanpathLook
from gazeray.storage import Folder
from gazeray.synth.files import picture_bytes, refuse_existing, stream, yaml_text
from gazeray.synth.reading import SCREEN_PX, design, make_reader, make_sentences, scanpath
from gazeray.synth.reading_parameters import ReadingSimulation

PICTURE_PX = (1500, 1000)
CROPS_PX = {"heatmaps": (0, 399, 1500, 599), "scanpaths": (100, 399, 1400, 599)}
FOLDERS = {"heatmaps": "heatmap_fixed", "scanpaths": "scanpaths_fixed"}

WINDOW = Window((SCREEN_PX[0] - PICTURE_PX[0]) / 2, (SCREEN_PX[1] - PICTURE_PX[1]) / 2, *PICTURE_PX)
"""The part of the simulated screen that is exported: its middle. The sentence lies in the middle of both crops."""

SIGMA_PX = 25.0
"""Of the exported heatmaps' Gaussians, 0.7 deg."""

GROUND = 0.05
"""Dwell below this share of the picture's greatest stays white."""

RAMP = np.array([[0, 200, 0], [255, 255, 0], [255, 0, 0]], dtype=np.float64)
"""Green, yellow, red: the colours of no, half and the greatest dwell."""

OPACITY = 0.6


class ScreensSimulation(Section):
    """What is drawn: readers, sentences and effects of `reading`, and the looks of the scanpaths."""

    reading: ReadingSimulation = Field(
        ReadingSimulation(readers=32, sentences=11), description="default: about as many pictures as were published"
    )
    looks: tuple[Literal["a", "b", "c"], ...] = Field(
        ("a", "b", "c"), min_length=1, description="kinds of scanpath picture"
    )


def simulate_screens(root: Folder, params: ScreensSimulation) -> None:
    """Write the pictures below `root`, and last heatmaps.yaml and scanpaths.yaml, which mark them as complete.

    Equal parameters give equal bytes. The fixations are the true ones of the simulated study, moved by each reader's
    calibration offset; the onsets are those of `reading.Scanpath`.
    scanpaths.yaml chooses look b where it was drawn, else the first one.

    Raises FileExistsError when the folder already holds a heatmaps.yaml: nothing is overwritten.
    """
    refuse_existing(root, "heatmaps.yaml")
    labels = design(params.reading)
    for reader in range(params.reading.readers):
        session = _session(params.reading, reader)
        for sentence in range(params.reading.sentences):
            name = f"{session}_{sentence + 1}_{'P' if labels[reader, sentence] else 'C'}"
            fixations = _fixations(params.reading, reader, sentence, bool(labels[reader, sentence]))
            root.write_bytes(f"{FOLDERS['heatmaps']}/{name}_a.png", _png(_heatmap(fixations)))
            for look in params.looks:
                root.write_bytes(f"{FOLDERS['scanpaths']}/{name}_{look}.png", _png(_scanpath(fixations, look)))
    chosen = "b" if "b" in params.looks else params.looks[0]
    root.write_text("scanpaths.yaml", yaml_text(_declaration("scanpaths", chosen)))
    root.write_text("heatmaps.yaml", yaml_text(_declaration("heatmaps", None)))


def _session(params: ReadingSimulation, reader: int) -> str:
    """The name of a reader's recording: number, sex, age, list."""
    rng = np.random.default_rng([params.seed, reader])
    return f"{reader + 1}{rng.choice(['f', 'm'])}{rng.integers(18, 36)}r{rng.integers(1, 5)}"


def _fixations(params: ReadingSimulation, reader: int, sentence: int, pseudoword: bool) -> Tensor:
    """x_px, y_px, duration_ms, onset_ms of one trial on the simulated screen, (4, 1, F) float32.

    The random stream is the one that `gazeray.synth.reading` gives this reader and sentence.
    """
    rng = stream(params.seed, 3, reader, sentence)
    who = make_reader(params, reader)
    path = scanpath(params, make_sentences(params)[sentence], who, pseudoword, rng)
    x_px, y_px = path.x_px + who.offset_px[0], path.y_px + who.offset_px[1]
    return torch.from_numpy(np.stack([x_px, y_px, path.duration_ms, path.onset_ms])[:, None].astype(np.float32))


def _scanpath(fixations: Tensor, look: Literal["a", "b", "c"]) -> np.ndarray:
    """The picture of a scanpath, (H, W, 3) uint8."""
    size = PICTURE_PX[1], PICTURE_PX[0]
    x_px, y_px, duration_ms, onset_ms = fixations
    window = torch.tensor([WINDOW])
    (picture,) = scanpaths(x_px, y_px, duration_ms, onset_ms, window, size, ScanpathLook(kind=look))
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _heatmap(fixations: Tensor) -> np.ndarray:
    """The picture of a heatmap, (H, W, 3) uint8: dwell as a share of the greatest, coloured, over white."""
    size = PICTURE_PX[1], PICTURE_PX[0]
    x_px, y_px, duration_ms, _ = fixations
    (dwell,) = heatmaps(x_px, y_px, duration_ms, torch.tensor([WINDOW]), size, SIGMA_PX)
    return coloured((dwell[0] / dwell.max()).numpy())


def coloured(share: np.ndarray) -> np.ndarray:
    """Shares 0..1 of the greatest dwell, any shape, as colours, (..., 3) uint8: RAMP at OPACITY over white.

    Below GROUND it stays white.
    """
    ramp = np.stack([np.interp(np.arange(256) / 255, [0, 0.5, 1], RAMP[:, channel]) for channel in range(3)], axis=1)
    table = np.round(255 + OPACITY * (ramp - 255)).astype(np.uint8)
    table[: round(GROUND * 255)] = 255
    return table[np.round(share * 255).astype(np.uint8)]


def _png(picture: np.ndarray) -> bytes:
    """Without a filter: lines on white are smallest so."""
    return picture_bytes(".png", picture, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)


def _declaration(kind: Literal["heatmaps", "scanpaths"], look: str | None) -> dict[str, object]:
    """How gazeray reads one kind of picture (`gazeray.gaze.screens.ScreensSpec`)."""
    return {
        "name": f"simulated reading screens, {kind}",
        "licence": "CC0-1.0",
        "labels": {"condition": {"C": "control", "P": "pseudoword"}},
        "pictures": {"path": f"{FOLDERS[kind]}/*.png"},
        "crop_px": list(CROPS_PX[kind]),
        "look": look,
    }
