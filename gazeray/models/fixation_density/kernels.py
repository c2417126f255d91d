# SPDX-License-Identifier: Apache-2.0
"""What all fixation densities are made of: Gaussian kernels that are exact over a pixel, and shares of a mixture.

A picture of (H, W) px is seen on a score grid of (h, w) pixels. A density is a (h, w) array that sums to 1 over the
grid's pixels; a log-density is its natural logarithm. Positions are continuous px, origin at the top left corner of
the picture, x right, y down: pixel column j covers [j, j + 1).

A Gaussian is separable, so the kernel of a fixation is the outer product of two vectors, the mass in each row and the
mass in each column, and the sum of the kernels of N fixations is one matrix product.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from gazeray.metrics.resampling import checked_places

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_SHARE = 1e-3
"""Of every part of a fitted mixture, at least: so no fit gives any pixel the probability 0."""

EM_STEPS = 200
EM_TOLERANCE = 1e-4
"""A fit ends when none of its shares has moved by as much as this in a step."""


def kernel_steps(position: ArrayLike, sigma: float, extent: float, pixels: int, *, inside: bool) -> Floats:
    """The mass of one-dimensional Gaussians in each of `pixels` equal parts of [0, extent], (N, pixels).

    Exact, by the error function. `inside`: what falls beside [0, extent] is given back in proportion, so that each row
    sums to 1 (for densities); else it is lost (for maps). position (N,), the means, sigma and extent have one unit.

    Raises ValueError where sigma is not positive and finite.
    """
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be positive and finite, not {sigma}")
    means, row = np.unique(np.asarray(position, dtype=np.float64), return_inverse=True)  # many are whole px
    edges = np.linspace(0, extent, pixels + 1)
    reached = erf((edges - means[:, None]) / (sigma * math.sqrt(2)))
    mass: Floats = np.diff(reached, axis=1) / 2
    if inside:
        mass /= mass.sum(axis=1, keepdims=True)
    return mass[row]


def kernels(
    x_px: ArrayLike, y_px: ArrayLike, size_px: tuple[int, int], grid: tuple[int, int], sigma_px: float, *, inside: bool
) -> tuple[Floats, Floats]:
    """The mass of each fixation's Gaussian in the rows (N, h) and in the columns (N, w) of the grid.

    Their outer product is the fixation's kernel. Arguments as for `grid_cells` and `kernel_steps`. Raises ValueError.
    """
    y, x = checked_places(x_px, y_px, size_px)
    rows = kernel_steps(y, sigma_px, size_px[0], grid[0], inside=inside)
    return rows, kernel_steps(x, sigma_px, size_px[1], grid[1], inside=inside)


def fixation_map(
    x_px: ArrayLike, y_px: ArrayLike, size_px: tuple[int, int], grid: tuple[int, int], sigma_px: float
) -> Floats:
    """The sum of the fixations' Gaussians, (h, w): each counts 1, its mass in each pixel of the grid.

    Nothing is truncated, padded or normalised; what falls beside the picture is lost. Proportional to
    `gazeray.gaze.render.heatmaps` with equal durations. Raises ValueError as `grid_cells` and `kernel_steps` do.
    """
    rows, columns = kernels(x_px, y_px, size_px, grid, sigma_px, inside=False)
    return np.asarray(rows.T @ columns)


def mixture_shares(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The shares of C given densities under which N fixations are most likely, and that likelihood.

    Expectation maximisation from equal shares (Dempster, Laird & Rubin 1977, J R Stat Soc B 39:1-38), many fits at
    once; the problem is concave, so there is one answer. At the end each share is raised to at least LEAST_SHARE.

    Args:
        values: the densities at the fixations, (..., N, C), not negative; at least one of the C is positive wherever
            the weight is.
        weights: how often each fixation counts, (..., N), 0 = not at all.

    Returns: shares (..., C), which sum to 1; mean natural log-likelihood per fixation (...). Raises ValueError where a
    fit has no fixation.
    """
    total = weights.sum(axis=-1)
    if not (total > 0).all():
        raise ValueError("the shares of a mixture cannot be fitted to no fixation")
    parts = values.shape[-1]
    shares = np.full((*weights.shape[:-1], parts), 1 / parts)
    moving = np.ones((*weights.shape[:-1], 1), dtype=bool)
    for _ in range(EM_STEPS):
        ratio = weights / _mixed(values, shares, weights)
        step = shares * np.matmul(ratio[..., None, :], values)[..., 0, :] / total[..., None] - shares
        shares = shares + np.where(moving, step, 0.0)
        moving &= np.abs(step).max(axis=-1, keepdims=True) >= EM_TOLERANCE  # a fit's end does not depend on the others
        if not moving.any():
            break
    shares = LEAST_SHARE + (1 - parts * LEAST_SHARE) * shares
    likelihood = (weights * np.log(_mixed(values, shares, weights))).sum(axis=-1) / total
    return shares, likelihood


def _mixed(values: Floats, shares: Floats, weights: Floats) -> Floats:
    """The mixture's density at the fixations, (..., N); 1 where the weight is 0."""
    mixed = np.matmul(values, shares[..., None])[..., 0]
    return np.where(weights > 0, mixed, 1.0)
