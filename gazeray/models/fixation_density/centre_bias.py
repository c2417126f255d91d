# SPDX-License-Identifier: Apache-2.0
"""Baselines: what can be said of the fixations on a picture without looking at it, from fixations on other pictures.

Fixations of pictures of any size meet on relative coordinates (x / W, y / H) as counts on a square of CELLS x CELLS
cells: `relative_counts` of each picture, added up. The fixations on the other pictures are then a difference of
counts, and each baseline is drawn from them for a picture of any size by two thin matrices. Binning shifts a fixation
by at most 1 / (2 CELLS) of the picture's side.

Sources: Tatler 2007, J Vision 7(14):4 (people look at the centre of any picture); Judd, Durand & Torralba 2012,
MIT-CSAIL-TR-2012-001 (centre and other observers as baselines); Kuemmerer, Wallis & Bethge 2015, PNAS
112:16054-16059 (a fitted centre bias as the baseline of the information gain).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gazeray.metrics.resampling import grid_cells
from gazeray.models.fixation_density.kernels import Floats, Ints, kernel_steps, mixture_shares

CELLS = 256
"""Cells of the relative coordinates along each side."""

BANDWIDTHS = tuple(np.geomspace(0.01, 0.2, 14).tolist())
"""Candidates of the centre bias's kernel, as a share of the picture's side, a factor of 1.26 apart."""


def relative_counts(x_px: ArrayLike, y_px: ArrayLike, size_px: tuple[int, int]) -> Ints:
    """How many fixations on a picture of (H, W) px lie in each cell of the relative coordinates, (CELLS, CELLS).

    Row = y, column = x. Counts of several pictures may be added. Raises ValueError for a fixation outside the picture.
    """
    y, x = grid_cells(x_px, y_px, size_px, (CELLS, CELLS)).T
    return np.bincount(y * CELLS + x, minlength=CELLS * CELLS).reshape(CELLS, CELLS).astype(np.int64)


def uniform(grid: tuple[int, int]) -> Floats:
    """The log-density that knows nothing, (h, w): -log(h w) everywhere."""
    return np.full(grid, -math.log(grid[0] * grid[1]))


def gaussian(mean: tuple[float, float], sigma: tuple[float, float], grid: tuple[int, int]) -> Floats:
    """The log-density of a Gaussian with axes along the picture's sides, (h, w), normalised over the grid.

    mean, sigma: (x, y) as shares of width and height. Evaluated at the pixels' centres.
    """
    x, y = ((np.arange(pixels) + 0.5) / pixels for pixels in (grid[1], grid[0]))
    exponent = ((y[:, None] - mean[1]) / sigma[1]) ** 2 + ((x - mean[0]) / sigma[0]) ** 2
    return np.asarray(-exponent / 2 - np.log(np.exp(-exponent / 2).sum()))


def centre_quarter(grid: tuple[int, int]) -> Floats:
    """The log-density of a Gaussian at the picture's centre, sigmas a quarter of its width and height, (h, w)."""
    return gaussian((0.5, 0.5), (0.25, 0.25), grid)


def centre_gaussian(others: Ints, grid: tuple[int, int]) -> Floats:
    """The log-density of the Gaussian that fits the fixations on the other pictures best, (h, w).

    Mean and standard deviation (population) of the relative x and of the relative y: the maximum likelihood of a
    Gaussian without correlation and without edges; then normalised over the grid.

    others: (CELLS, CELLS) counts. Raises ValueError where there are fewer than two different positions along an axis.
    """
    places, total = (np.arange(CELLS) + 0.5) / CELLS, _positive(others.sum())
    means, sigmas = [], []
    for axis, name in ((0, "x"), (1, "y")):
        share = others.sum(axis=axis) / total
        mean = float(share @ places)
        sigma = math.sqrt(float(share @ (places - mean) ** 2))
        if sigma < 1 / CELLS:
            raise ValueError(f"a Gaussian cannot be fitted: all fixations on other pictures have the same {name}")
        means.append(mean)
        sigmas.append(sigma)
    return gaussian((means[0], means[1]), (sigmas[0], sigmas[1]), grid)


def mean_of_others(others: Ints, size_px: tuple[int, int], grid: tuple[int, int], sigma_px: float) -> Floats:
    """The map of the other pictures' fixations, moved to the same relative places of this picture, (h, w).

    Each fixation gives a Gaussian of `sigma_px` px of this picture (H, W), as in `fixation_map`, divided by their
    number. others: (CELLS, CELLS) counts. Raises ValueError where there is no fixation or sigma is not positive.
    """
    rows = _from_cells(sigma_px / size_px[0], grid[0], inside=False)
    columns = _from_cells(sigma_px / size_px[1], grid[1], inside=False)
    return np.asarray(rows.T @ (others / _positive(others.sum())) @ columns)


@dataclass(frozen=True)
class CentreBias:
    """A fitted centre bias: a kernel density on relative coordinates, mixed with the uniform density.

    bandwidth: sigma of the kernels, as a share of the picture's side. uniform_share: 0..1.
    """

    bandwidth: float
    uniform_share: float

    def log_density(self, others: Ints, grid: tuple[int, int]) -> Floats:
        """The log-density on a picture, given the (CELLS, CELLS) counts of the other pictures, (h, w).

        Kernels are cut at the picture's edges and rescaled to keep their mass. Raises ValueError: no fixation.
        """
        rows, columns = (_from_cells(self.bandwidth, pixels, inside=True) for pixels in grid)
        density = rows.T @ (others / _positive(others.sum())) @ columns
        pixels = grid[0] * grid[1]
        return np.asarray(np.log((1 - self.uniform_share) * density + self.uniform_share / pixels))


def fit_centre_bias(groups: Ints) -> list[CentreBias]:
    """Bandwidth and uniform share for each group of pictures, from the pictures of the other groups alone.

    For group g and each of BANDWIDTHS: each other group is left out in turn, its fixations are judged under the kernel
    density of the remaining ones mixed with the uniform density, and the share is the most likely one; the bandwidth
    with the greatest likelihood is taken. Nothing on the pictures of g is used. A group per picture makes it
    leave-one-picture-out, which takes G times as long; the folds of a cross-validation serve as well.

    groups: (G, CELLS, CELLS) counts of the groups' fixations. Raises ValueError where fewer than three groups have a
    fixation.
    """
    sizes = groups.sum(axis=(1, 2))
    if (sizes > 0).sum() < 3:
        raise ValueError(f"the centre bias needs three groups of pictures with fixations, not {(sizes > 0).sum()}")
    group, row, column = np.nonzero(groups)
    weights = np.where(np.arange(len(groups))[:, None] == group, 0.0, groups[group, row, column])
    rest = np.maximum(sizes.sum() - sizes[:, None] - sizes[group], 1)  # fixations in the density, (G, places)
    found = []
    for bandwidth in BANDWIDTHS:
        smooth = _from_cells(bandwidth, CELLS, inside=True)
        maps = smooth.T @ groups.astype(np.float64) @ smooth
        at = maps[:, row, column]  # density of each group at each place, times its size, (G, places)
        kde = np.maximum(at.sum(axis=0) - at - maps[group, row, column], 0.0) / rest
        shares, likelihood = mixture_shares(np.stack([kde, np.full_like(kde, CELLS**-2.0)], axis=-1), weights)
        found.append((likelihood, shares[:, 1]))
    best = np.argmax([likelihood for likelihood, _ in found], axis=0)
    return [CentreBias(BANDWIDTHS[b], float(found[b][1][g])) for g, b in enumerate(best)]


@functools.lru_cache(maxsize=16)
def _from_cells(sigma: float, pixels: int, *, inside: bool) -> Floats:
    """The mass that a Gaussian at the centre of each cell has in each of the `pixels` of a side, (CELLS, pixels)."""
    steps = kernel_steps((np.arange(CELLS) + 0.5) / CELLS, sigma, 1.0, pixels, inside=inside)
    steps.flags.writeable = False
    return steps


def _positive(total: int) -> int:
    if total <= 0:
        raise ValueError("there is no fixation on any other picture")
    return total
