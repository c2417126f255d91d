# SPDX-License-Identifier: Apache-2.0
"""From one grid to another: the size of a grid, the cell of a place, and maps averaged or interpolated onto a grid.

A picture of (H, W) px is seen on a grid of (h, w) cells. Positions are continuous px, origin at the top left corner of
the picture, x right, y down: cell column j of the grid covers [j, j + 1) * W / w.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

SMALLEST_SIDE = 32
"""Pictures are not shrunk below this side for a network, px."""


# -- sizes and places


def grid_size(size_px: Sequence[int], longest_px: int) -> tuple[int, int]:
    """The grid (h, w) of a picture (H, W): its longest side has `longest_px` cells, or its own px where that is less.

    The aspect is kept up to rounding, and no side is below 1. Raises ValueError where a number is below 1.
    """
    if min(*size_px, longest_px) < 1:
        raise ValueError(f"size {tuple(size_px)} and longest_px {longest_px} must be at least 1")
    share = min(1.0, longest_px / max(size_px))
    height, width = (max(1, round(side * share)) for side in size_px)
    return height, width


def input_size(height_px: int, width_px: int, longest_px: int) -> tuple[int, int]:
    """(h, w) at which a picture goes through a network: longest side at most `longest_px`, aspect kept, never enlarged.

    No side is below 32 px, at the cost of the aspect in pictures that are that narrow.
    """
    height, width = grid_size((height_px, width_px), longest_px)
    return max(SMALLEST_SIDE, height), max(SMALLEST_SIDE, width)


def same_aspect(map_size: tuple[int, int], size_px: tuple[int, int]) -> bool:
    """Has a map (H', W') the aspect of its picture (H, W)? 2 % off is allowed, and the rounding of a small map."""
    stretch = (map_size[1] / map_size[0]) / (size_px[1] / size_px[0])
    slack = 1.02 + 1 / min(map_size)
    return 1 / slack <= stretch <= slack


def grid_cells(x_px: ArrayLike, y_px: ArrayLike, size_px: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.int64]:
    """The cell of the grid (h, w) in which each fixation (N,) on a picture (H, W) lies, rows (y, x), (N, 2):
    floor(y * h / H), floor(x * w / W).

    Raises ValueError: a fixation that is not inside the picture (NaN is not), arrays of different shapes.
    """
    y, x = checked_places(x_px, y_px, size_px)
    return np.stack([np.floor(y * grid[0] / size_px[0]), np.floor(x * grid[1] / size_px[1])], axis=1).astype(np.int64)


def checked_places(
    x_px: ArrayLike, y_px: ArrayLike, size_px: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """y and x of fixations as (N,) float64. Raises ValueError as `grid_cells` does."""
    x, y = np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"x_px and y_px must have one shape (N,), not {x.shape} and {y.shape}")
    inside = (x >= 0) & (x < size_px[1]) & (y >= 0) & (y < size_px[0])
    if not inside.all():
        first = int(np.argmin(inside))
        place = f"({x[first]:g}, {y[first]:g})"
        raise ValueError(f"fixation {first} at {place} px is not inside the picture of {size_px[1]} x {size_px[0]} px")
    return y, x


# -- arrays (OpenCV)


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H0, W0, 3) uint8 or a map (H0, W0) brought to `size` (H, W); each axis by itself.

    An axis that shrinks takes the mean over the area of each new pixel; one that grows is interpolated linearly. The
    published code uses torchvision's Resize (bilinear, antialiased), whose weights fall off linearly over twice that
    area: a little blurrier. On screens such as those published 95 % of the values are within 1 of 255 of its, thin
    lines and edges differ by up to about 50.
    """
    height, width = size
    smaller = min(width, picture.shape[1]), min(height, picture.shape[0])
    shrunk = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR))


def to_grid(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A map (H, W) of any float type on the grid (h, w): area means where no side grows, else linear interpolation."""
    shrinks = grid[0] <= values.shape[0] and grid[1] <= values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (grid[1], grid[0]), interpolation=how))


def on_relative_grid(density: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A density (H, W) of a picture of any aspect on the cells (h, w) of relative coordinates, float32, of sum 1."""
    small = cv2.resize(density.astype(np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small / small.sum())


# -- tensors: resampling as thin matrices


def area_matrix(length: int, out: int) -> Tensor:
    """(out, length) float64 that averages `length` cells over `out` equal stretches, parts of cells by their part."""
    edges = torch.arange(out + 1, dtype=torch.float64) * length / out
    cell = torch.arange(length, dtype=torch.float64)
    upper = torch.minimum(edges[1:, None], cell + 1)
    lower = torch.maximum(edges[:-1, None], cell)
    return (upper - lower).clamp_min(0) * out / length


def linear_matrix(length: int, out: int) -> Tensor:
    """(out, length) float64 that interpolates between the centres of `length` cells at the centres of `out` cells.

    Beyond the outermost centres the value of the outermost cell is kept.
    """
    position = ((torch.arange(out, dtype=torch.float64) + 0.5) * length / out - 0.5).clamp(0, length - 1)
    cell = torch.arange(length, dtype=torch.float64)
    return (1 - (position[:, None] - cell).abs()).clamp_min(0)


def resize_matrix(length: int, out: int) -> Tensor:
    """(out, length) float64: averages over areas where the side shrinks, else interpolates linearly."""
    return (area_matrix if out < length else linear_matrix)(length, out)


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (..., h, w) at `size` (H, W): averaged over areas along a side that shrinks, else interpolated linearly."""
    for axis, out in ((-2, size[0]), (-1, size[1])):
        matrix = resize_matrix(maps.shape[axis], out).to(maps)
        maps = (maps.transpose(axis, -1) @ matrix.T).transpose(axis, -1)
    return maps


def pool_to(features: Tensor, longest_cells: int) -> Tensor:
    """Activations (..., C, h, w) averaged over areas so that no side has more than `longest_cells`; aspect kept.

    Smaller ones are returned as they are.
    """
    size = grid_size(features.shape[-2:], longest_cells)
    whole = [side // out if side % out == 0 else 1 for side, out in zip(features.shape[-2:], size, strict=True)]
    if max(whole) > 1:  # whole cells, as most are: forty times as fast as the weights of `resize`
        features = torch.nn.functional.avg_pool2d(features, whole)
    return features if size == features.shape[-2:] else resize(features, size)


def gaussian_matrix(length: int, sigma: Tensor) -> Tensor:
    """Blur along a side of `length` cells by Gaussians of sigma (R,), in cells: (R, length, length), rows sum to 1.

    At the edges the kernel is cut off and divided by what is left: a constant stays a constant.
    """
    cell = torch.arange(length, dtype=sigma.dtype, device=sigma.device)
    distance = (cell[:, None] - cell).square()
    return (-0.5 * distance / sigma[:, None, None].square()).softmax(2)


def spread_matrix(length: int, out: int, sigma: Tensor) -> Tensor:
    """(R, out, length): resample `length` cells to `out`, then blur by sigma (R,), in cells of the outcome."""
    return gaussian_matrix(out, sigma) @ resize_matrix(length, out).to(sigma)
