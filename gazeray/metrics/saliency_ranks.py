# SPDX-License-Identifier: Apache-2.0
"""What the AUCs of `saliency` count: how many fixations of an image outscore each of its negatives.

On the CPU no negative is sorted, and few are searched. Each falls into a cell of float32 numbers with the same leading
bits; only one that shares its cell with a fixated value is compared with the fixated values. The counts are exact for
every distribution of the values: rounding to float32 and dropping trailing bits keep the order, so a value in a lower
cell is a lower value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_CELL_BITS = 14
"""At most 2**14 cells between the lowest and the highest fixated value: their counts stay in the cache."""
SEARCHED = 1024
"""Up to so many negatives a search of each is quicker than cells."""


@dataclass(frozen=True)
class Points:
    """Pixels of the images of a batch, in the order of the images.

    image   (N,) int64, index of the image
    pixel   (N,) int64, y * W + x
    ends    (B + 1,) int64 on the CPU: the points of image b are ends[b]:ends[b + 1]
    """

    image: Tensor
    pixel: Tensor
    ends: np.ndarray

    @property
    def counts(self) -> Tensor:
        """Points per image, (B,) float64, on the device of the points."""
        return torch.from_numpy(np.diff(self.ends)).to(self.image.device, torch.float64)

    def of(self, image: int) -> slice:
        """The points of one image."""
        return slice(int(self.ends[image]), int(self.ends[image + 1]))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the points of each image, (B,) float64, of `values` (N,); NaN for an image without points."""
        zeros = torch.zeros(len(self.ends) - 1, dtype=torch.float64, device=values.device)
        return zeros.index_add(0, self.image, values.double()) / self.counts


def checked_points(points: Tensor, maps: Tensor, name: str) -> Points:
    """The rows (image, y, x) of `points` (N, 3), integers, for `maps` (B, H, W), on the device of the maps.

    Raises ValueError, naming `name` and the row, for another shape or type and for a row outside the maps.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"{name} must have shape (N, 3): image, y, x; not {tuple(points.shape)}")
    if points.dtype.is_floating_point or points.dtype.is_complex or points.dtype == torch.bool:
        raise ValueError(f"{name} must be integers, not {points.dtype}")
    columns = points.to("cpu", torch.int64).T.contiguous()
    for column, size, what in zip(columns, maps.shape, ("image", "y", "x"), strict=True):
        outside = (column < 0) | (column >= size)
        if bool(outside.any()):
            row = int(outside.nonzero()[0])
            raise ValueError(f"{name}: {what} of row {row} is {int(column[row])}, not in 0..{size - 1}")
    image, pixel = columns[0], columns[1] * maps.shape[2] + columns[2]
    if bool((image[1:] < image[:-1]).any()):
        order = torch.argsort(image, stable=True)
        image, pixel = image[order], pixel[order]
    return _points(image, pixel, len(maps), maps.device)


def distinct(points: Points, n_pixels: int) -> Points:
    """The points without repeats, for maps of `n_pixels` pixels."""
    kept = torch.unique(points.image * n_pixels + points.pixel)
    return _points(kept // n_pixels, kept % n_pixels, len(points.ends) - 1, kept.device)


def _points(image: Tensor, pixel: Tensor, n_images: int, device: torch.device) -> Points:
    ends = np.searchsorted(image.cpu().numpy(), np.arange(n_images + 1))
    return Points(image.to(device), pixel.to(device), ends)


def values_at(maps: Tensor, points: Points) -> Tensor:
    """The values (N,) of `maps` (B, H, W) at the points, float32 or float64."""
    width = maps.shape[2]
    return at_least_float32(maps[points.image, points.pixel // width, points.pixel % width])


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float64 if they are, else in float32."""
    return values if values.dtype == torch.float64 else values.to(torch.float32)


def refuse_not_finite(sums: Tensor, name: str) -> None:
    """Raises ValueError, naming the image, where a sum over the pixels of an image, (B,), is not finite."""
    if not bool(torch.isfinite(sums).all()):
        image = int((~torch.isfinite(sums)).nonzero()[0])
        raise ValueError(f"{name}: image {image} has NaN, infinity, or values too great to be summed")


def sum_credits(
    maps: Tensor, fixations: Points, negatives: Callable[[int], Tensor] | None = None, coarse: bool = False
) -> Tensor:
    """For each image: how many fixations outscore a negative, summed over its negatives, a tie counting half, (B,).

    `negatives(image)`: the pixels (M,) of an image's negatives; None for all its pixels.
    `coarse`: thresholds at the fixated values alone; a negative between two of them, or at the lower one, gets the mean
    of what it would get just below and just above the lower one. Sums of halves, exact in float64. Raises ValueError,
    naming the image, where a pixel of `maps` (B, H, W) is not finite.
    """
    positives = values_at(maps, fixations)
    totals = torch.zeros(len(maps), dtype=positives.dtype, device=maps.device)
    credits = torch.zeros(len(maps), dtype=torch.float64, device=maps.device)
    for image, pixels in enumerate(maps):
        values, own = at_least_float32(pixels.reshape(-1)), positives[fixations.of(image)]
        totals[image] = values.sum()  # while the image is in the cache
        if negatives is not None:
            values = torch.index_select(values, 0, negatives(image))
        if len(own) == 0:
            continue
        if maps.is_cuda:
            credits[image] = _credit_on_gpu(own.sort().values, values, coarse)
        else:
            credits[image] = _credit(np.sort(own.numpy()), values.numpy(), coarse)
    refuse_not_finite(totals, "maps")
    return credits


def _credit_on_gpu(points: Tensor, values: Tensor, coarse: bool) -> Tensor:
    """The summed credit of `values` (M,) against the rising `points` (N,), N > 0, by binary search of each value."""
    levels = torch.cat([points.new_zeros(1), _mean_rank(points)]) if coarse else None
    upto = torch.searchsorted(points, values, right=True)
    ranks = levels[upto] if levels is not None else (upto + torch.searchsorted(points, values)) / 2
    return (len(points) - ranks.double()).sum()


def _mean_rank(points: Tensor) -> Tensor:
    """For each of the rising points: the points less than it, and half of those equal to it."""
    return (torch.searchsorted(points, points) + torch.searchsorted(points, points, right=True)) / 2


def _credit(points: np.ndarray, values: np.ndarray, coarse: bool) -> float:
    """As `_credit_on_gpu`, on the CPU: by cells where there are many values."""
    n, upto = len(points), np.searchsorted(points, points, side="right")
    levels = np.empty(n + 1)
    levels[0] = n
    levels[1:] = n - ((upto + np.searchsorted(points, points)) / 2 if coarse else upto)
    if len(values) <= SEARCHED:
        return _searched_credit(points, values, levels, coarse)

    signed = bool(points[0] < 0)
    keys = _keys(points, signed)
    low, high = int(keys[0]), int(keys[-1])
    shift = max(0, (high - low).bit_length() - min(MOST_CELL_BITS, len(values).bit_length() - 3))
    low, high = (low >> shift) - 1, (high >> shift) + 1
    cell_of_point = (keys >> shift) - low
    table = np.repeat(levels, np.diff(cell_of_point, prepend=0, append=high - low + 1))
    table[cell_of_point] = -1.0
    cell = _keys(values, signed)
    cell >>= shift
    np.maximum(cell, low, out=cell)
    np.minimum(cell, high, out=cell)
    cell -= low
    credit = torch.index_select(torch.from_numpy(table), 0, torch.from_numpy(cell))
    near = values[credit.numpy() < 0]
    return float(credit.sum()) + len(near) + _searched_credit(points, near, levels, coarse)


def _searched_credit(points: np.ndarray, values: np.ndarray, levels: np.ndarray, coarse: bool) -> float:
    upto = np.searchsorted(points, values, side="right")
    if coarse:
        return float(levels[upto].sum())
    return len(points) * len(values) - float((upto + np.searchsorted(points, values)).sum()) / 2


def _keys(values: np.ndarray, signed: bool) -> np.ndarray:
    """New int32 numbers that never fall where `values` rise: the bits of the float32 values (-0 made 0).

    Not `signed`: the keys of negative values are negative, in no order.
    """
    with np.errstate(over="ignore"):  # beyond float32: infinity, in order too
        bits = (values.astype(np.float32, copy=False) + np.float32(0)).view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF) if signed else bits
