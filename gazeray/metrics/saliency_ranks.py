# SPDX-License-Identifier: Apache-2.0
"""What the AUCs of `saliency` count: how many fixations of an image outscore each of its negatives.

On the CPU the negatives are sorted where they are few, and the fixated values searched among them. Of many negatives
each falls into a cell of float32 numbers with the same leading bits, and only those in the cell of a fixated value are
sorted. The counts are exact for every distribution of the values: rounding to float32 and dropping trailing bits keep
the order, so a value in a lower cell is a lower value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_CELL_BITS = 14
"""At most 2**14 cells between the lowest and the highest fixated value: their counts stay in the cache."""
SORTED = 2**15
"""Up to so many negatives sorting them is quicker than cells."""


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
    columns = points.to("cpu", torch.int32 if points.dtype == torch.int32 else torch.int64).T.contiguous()
    for column, size, what in zip(columns, maps.shape, ("image", "y", "x"), strict=True):
        if len(column) and (int(column.min()) < 0 or int(column.max()) >= size):
            row = int(((column < 0) | (column >= size)).nonzero()[0])
            raise ValueError(f"{name}: {what} of row {row} is {int(column[row])}, not in 0..{size - 1}")
    image, pixel = columns[0], columns[1].to(torch.int64) * maps.shape[2] + columns[2]
    if bool((image[1:] < image[:-1]).any()):
        order = torch.argsort(image, stable=True)
        image, pixel = image[order], pixel[order]
    return _points(image, pixel, len(maps), maps.device)


def distinct(points: Points, n_pixels: int) -> Points:
    """The points without repeats, for maps of `n_pixels` pixels."""
    kept = torch.unique(points.image * n_pixels + points.pixel)
    return _points(kept // n_pixels, kept % n_pixels, len(points.ends) - 1, kept.device)


def _points(image: Tensor, pixel: Tensor, n_images: int, device: torch.device) -> Points:
    images = image.cpu().numpy()
    ends = np.searchsorted(images, np.arange(n_images + 1, dtype=images.dtype))  # of another type, all would be copied
    return Points(image.to(device, torch.int64), pixel.to(device), ends)


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


class Room:
    """Memory for the cells and credits of an image's negatives, used again: fresh pages cost more than the sums."""

    def __init__(self) -> None:
        self.cells, self.credits = np.empty(0, dtype=np.int32), torch.empty(0, dtype=torch.float64)

    def of(self, n: int) -> tuple[np.ndarray, Tensor]:
        """Room for n negatives: (n,) int32 and (n,) float64."""
        if len(self.cells) < n:
            self.cells, self.credits = np.empty(n, dtype=np.int32), torch.empty(n, dtype=torch.float64)
        return self.cells[:n], self.credits[:n]


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
    totals, credits, room = [], [], Room()
    for image, pixels in enumerate(maps):
        values, own = at_least_float32(pixels.reshape(-1)), positives[fixations.of(image)]
        totals.append(values.sum())  # while the image is in the cache
        credit: Tensor | float = 0.0
        if len(own):
            if negatives is not None:
                values = torch.index_select(values, 0, negatives(image))
            if maps.is_cuda:
                credit = _credit_on_gpu(own.sort().values, values, coarse)
            else:
                credit = _credit(np.sort(own.numpy()), values.numpy(), coarse, room)
        credits.append(torch.as_tensor(credit, dtype=torch.float64, device=maps.device))
    empty = maps.new_zeros(0, dtype=torch.float64)
    refuse_not_finite(torch.stack(totals) if totals else empty, "maps")
    return torch.stack(credits) if credits else empty


def _credit_on_gpu(points: Tensor, values: Tensor, coarse: bool) -> Tensor:
    """The summed credit of `values` (M,) against the rising `points` (N,), N > 0, by binary search of each value."""
    levels = torch.cat([points.new_zeros(1), _mean_rank(points)]) if coarse else None
    upto = torch.searchsorted(points, values, right=True)
    ranks = levels[upto] if levels is not None else (upto + torch.searchsorted(points, values)) / 2
    return (len(points) - ranks.double()).sum()


def _mean_rank(points: Tensor) -> Tensor:
    """For each of the rising points: the points less than it, and half of those equal to it."""
    return (torch.searchsorted(points, points) + torch.searchsorted(points, points, right=True)) / 2


def _credit(points: np.ndarray, values: np.ndarray, coarse: bool, room: Room) -> float:
    """As `_credit_on_gpu`, on the CPU: by sorting the values, or most of them into cells."""
    if len(values) <= SORTED:
        return _sorted_credit(points, np.sort(values), coarse)
    n, keys = len(points), _keys(points, np.empty(len(points), dtype=np.int32), signed := bool(points[0] < 0))
    spread, bits = int(keys[-1]) - int(keys[0]), min(MOST_CELL_BITS, len(values).bit_length() - 3)
    cell_of_point = keys >> (shift := max(0, spread.bit_length() - bits))
    low, high = int(cell_of_point[0]) - 1, int(cell_of_point[-1]) + 1
    lengths = np.empty(n + 1, dtype=np.int64)  # in cells: from each point to the next
    lengths[0], lengths[1:n], lengths[n] = 1, np.diff(cell_of_point), 2
    table = np.repeat(_levels(points) if coarse else np.arange(n, -1.0, -1.0), lengths)
    table[cell_of_point - low] = -1.0

    cells, credits = room.of(len(values))
    cell = torch.from_numpy(np.right_shift(_keys(values, cells, signed), shift, out=cells)).clamp_(low, high).sub_(low)
    torch.index_select(torch.from_numpy(table), 0, cell, out=credits)
    close = values[credits.numpy() < 0]
    return float(credits.sum()) + len(close) + _sorted_credit(points, np.sort(close), coarse)


def _levels(points: np.ndarray) -> np.ndarray:
    """What a value gets below the rising points (N,) and from each to the next, (N + 1,), where `coarse`."""
    return len(points) - np.concatenate([[0.0], _mean_rank(torch.from_numpy(points)).numpy()])


def _sorted_credit(points: np.ndarray, values: np.ndarray, coarse: bool) -> float:
    """The credit of rising values, by binary search of each point."""
    less = np.searchsorted(values, points)
    if coarse:
        return float(_levels(points) @ np.diff(np.concatenate([[0], less, [len(values)]])))
    return float((less + np.searchsorted(values, points, side="right")).sum()) / 2


def _keys(values: np.ndarray, out: np.ndarray, signed: bool) -> np.ndarray:
    """`out`, int32: numbers that never fall where `values` rise, the bits of the float32 values (-0 made 0).

    Not `signed`: the keys of negative values are negative, in no order.
    """
    with np.errstate(over="ignore"):  # beyond float32: infinity, in order too
        np.add(values, 0.0, out=out.view(np.float32), casting="same_kind")
    return np.bitwise_xor(out, (out >> 31) & 0x7FFFFFFF, out=out) if signed else out
