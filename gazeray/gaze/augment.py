# SPDX-License-Identifier: Apache-2.0
"""One random affine moves a picture and all that lies on it: gaze, scanpath, areas of interest.

Coordinates are those of the stimulus window: x from -1 (left edge) to 1 (right edge), y from -1 (top) to 1 (bottom).
Pictures are squeezed into that square as well, so a rotation turns the square, whatever shape the window has.

torchvision's v2 transforms move pictures, masks and key points together, too, and are the oracle of the tests. But a
call of theirs moves everything by one transform, so a batch would be a loop over its examples; here each example has
its own, in one call and on any device, and gaze that leaves the frame can be masked.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gazeray.gaze.augment_config import AugmentConfig


def random_affines(count: int, cfg: AugmentConfig, seed: int, plain_first: bool = False) -> np.ndarray:
    """Random affines A, (count, 2, 3) float32: a point p of the plain picture lies at A (p, 1) in the moved one.

    In this order: shear along x, rotation (positive is clockwise), scale, all around the centre; then a random crop,
    enlarged to the whole frame; then the flip. plain_first: the first is the identity.

    Raises ValueError for a count below 0.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, not {count}")
    rng = np.random.default_rng(seed)
    turn = np.radians(rng.uniform(-cfg.rotate_deg, cfg.rotate_deg, count))
    shear = np.tan(np.radians(rng.uniform(-cfg.shear_deg, cfg.shear_deg, count)))
    scale = rng.uniform(*cfg.scale, count)
    kept = 1 - rng.uniform(0, cfg.crop, (count, 2))  # of width and height
    centre = rng.uniform(-1, 1, (count, 2)) * (1 - kept)
    mirrored = np.where(rng.random(count) < cfg.flip, -1.0, 1.0)
    across = np.stack([np.cos(turn), -shear * np.cos(turn) - np.sin(turn)], axis=1)
    down = np.stack([np.sin(turn), -shear * np.sin(turn) + np.cos(turn)], axis=1)
    found = np.zeros((count, 2, 3))
    found[:, :, :2] = np.stack([across, down], axis=1) * scale[:, None, None]
    found[:, :, 2] = -centre
    found /= kept[:, :, None]
    found[:, 0] *= mirrored[:, None]
    if plain_first:
        found[:1] = np.eye(2, 3)
    return found.astype(np.float32) + 0.0  # no -0


def move_points(xy: Tensor, affine: Tensor, outside: Literal["keep", "mask"]) -> Tensor:
    """The points where they lie in the moved pictures, (B, 2, T) in the type of `xy`.

    xy: (B, 2, T), -1..1 over the stimulus window; gaze may lie off it. A point with a NaN is lost in both coordinates.
    affine: (B, 2, 3), see `random_affines`. outside: what becomes of a point that was in the frame and is no longer:
    kept, or NaN. The identity changes no point.

    Raises ValueError for shapes that do not fit.
    """
    if xy.ndim != 3 or xy.shape[1] != 2 or affine.shape != (len(xy), 2, 3):
        raise ValueError(f"xy (B, 2, T) and affine (B, 2, 3) do not fit: {tuple(xy.shape)}, {tuple(affine.shape)}")
    matrix = affine.to(xy)[..., None]
    # by hand, not by a matrix product, which may round to fewer bits on a GPU: a flip mirrors exactly
    moved = matrix[:, :, 0] * xy[:, None, 0] + matrix[:, :, 1] * xy[:, None, 1] + matrix[:, :, 2]
    if outside == "mask":
        left = _in_frame(xy) & ~_in_frame(moved)
        moved = moved.masked_fill(left[:, None], torch.nan)
    return moved


def _in_frame(xy: Tensor) -> Tensor:
    """(B, T) whether a point lies in the frame, its edges included."""
    return (xy.abs() <= 1).all(1)


def move_pictures(pictures: Tensor, affine: Tensor, fill: float = 0.0, nearest: bool = False) -> Tensor:
    """The pictures (B, C, H, W) moved, each by its own affine; same shape, type and device.

    affine: (B, 2, 3), see `random_affines`. fill: what lies where the picture does not reach. nearest: no values
    between those of the picture are made up, as masks and areas of interest need it; else bilinear.

    Raises ValueError for shapes that do not fit.
    """
    if pictures.ndim != 4 or affine.shape != (len(pictures), 2, 3):
        shapes = f"{tuple(pictures.shape)}, {tuple(affine.shape)}"
        raise ValueError(f"pictures (B, C, H, W) and affine (B, 2, 3) do not fit: {shapes}")
    if not len(pictures):
        return pictures
    values = pictures if pictures.dtype in (torch.float32, torch.float64) else pictures.float()
    grid = nn.functional.affine_grid(_inverse(affine.to(values)), list(pictures.shape), align_corners=False)
    mode = "nearest" if nearest else "bilinear"
    moved = nn.functional.grid_sample(values - fill, grid, mode, "zeros", align_corners=False) + fill
    return moved.to(pictures.dtype) if pictures.is_floating_point() else moved.round().to(pictures.dtype)


def _inverse(affine: Tensor) -> Tensor:
    """The affines that lead back, (B, 2, 3)."""
    (a, b, x), (c, d, y) = (row.unbind(1) for row in affine.unbind(1))
    inverse = torch.stack([d, -b, b * y - d * x, -c, a, c * x - a * y], dim=1) / (a * d - b * c)[:, None]
    return inverse.view(-1, 2, 3)
