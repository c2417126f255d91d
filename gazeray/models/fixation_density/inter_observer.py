# SPDX-License-Identifier: Apache-2.0
"""Ceilings: how well the fixations of one observer follow from those of the other observers on the same picture.

Sources: Kuemmerer, Wallis & Bethge 2015, PNAS 112:16054-16059, and 2018, ECCV, LNCS 11220:798-814 (the gold standard
of the MIT/Tuebingen saliency benchmark: the other observers' kernel density, its bandwidth fitted by likelihood, mixed
with the centre bias and the uniform density); Judd, Durand & Torralba 2012, MIT-CSAIL-TR-2012-001 (other observers).

With one observer nothing here is defined, with two the gold standard is not: the functions return None (or no split).
Every fixation counts as that of the observer whose number it has: leave out those of which nobody knows who made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from gazeray.metrics.resampling import grid_cells
from gazeray.models.fixation_density.centre_bias import uniform
from gazeray.models.fixation_density.kernels import (
    Floats,
    Ints,
    fixation_map,
    kernels,
    mixture_shares,
)

BANDWIDTHS = tuple(np.geomspace(0.01, 0.16, 13).tolist())
"""Candidates of the gold standard's kernel, as a share of the picture's longer side, a factor of 1.26 apart."""

FITTED = 1000
"""At most so many fixations of a picture decide bandwidth and shares: three numbers need no more."""


@dataclass(frozen=True)
class GoldStandard:
    """The gold standard of one picture, for each of its O observers in turn.

    observers: (O,) their numbers, rising. log_density: (O, h, w), row i for the fixations of observers[i], from which
    it does not follow. bandwidth_px: (O,). shares: (O, 3) of the kernel density, the centre bias, the uniform density.
    """

    observers: Ints
    log_density: Floats
    bandwidth_px: Floats
    shares: Floats


def gold_standard(
    x_px: ArrayLike,
    y_px: ArrayLike,
    observer: ArrayLike,
    size_px: tuple[int, int],
    grid: tuple[int, int],
    centre_bias: Floats,
) -> GoldStandard | None:
    """The log-density of where each observer looks on a picture, from the other observers' fixations on it.

    For observer o the density is w1 KDE + w2 centre bias + w3 uniform, with the kernel density of the others'
    fixations. Its bandwidth and w are those under which the others predict each other best: each observer beside o is
    left out in turn and judged under the density of those who remain. The fixations of o decide nothing. Of more than
    FITTED fixations, FITTED spread evenly over their order, and each observer's first, are judged. Kernels are cut at
    the picture's edges and rescaled to keep their mass.

    Args:
        x_px, y_px, observer: fixations on the picture, px, and who made them, (N,).
        size_px: (H, W) of the picture. grid: (h, w) of the score grid.
        centre_bias: log-density (h, w) from other pictures.

    Returns None where fewer than three observers have a fixation. Raises ValueError: a fixation outside the picture, a
    centre bias of another shape.
    """
    if centre_bias.shape != grid:
        raise ValueError(f"centre_bias must have the grid's shape {grid}, not {centre_bias.shape}")
    candidates = np.asarray(BANDWIDTHS) * max(size_px)
    cells = grid_cells(x_px, y_px, size_px, grid)
    observers, first, owner = np.unique(np.asarray(observer, dtype=np.int64), return_index=True, return_inverse=True)
    if len(observers) < 3:
        return None
    judged = np.union1d(first, np.linspace(0, len(cells) - 1, min(len(cells), FITTED)).round().astype(np.int64))

    def drawn(sigma_px: float) -> tuple[Floats, Floats]:
        return kernels(x_px, y_px, size_px, grid, sigma_px, inside=True)

    at_cells = np.stack([_sums_at(*drawn(sigma), cells[judged], owner) for sigma in candidates])
    centre = np.exp(centre_bias[cells[judged, 0], cells[judged, 1]])
    best, shares = _fit(at_cells, np.bincount(owner), owner[judged], centre, grid[0] * grid[1])
    log_density = np.empty((len(observers), *grid))
    prior = np.stack([np.exp(centre_bias), np.exp(uniform(grid))])
    for chosen in np.unique(best):
        rows, columns = drawn(candidates[chosen])
        everybody = rows.T @ columns
        for o in np.flatnonzero(best == chosen):
            mine = owner == o
            others = np.maximum(everybody - rows[mine].T @ columns[mine], 0.0) / (~mine).sum()
            log_density[o] = np.log(shares[o, 0] * others + np.tensordot(shares[o, 1:], prior, 1))
    return GoldStandard(observers, log_density, candidates[best], shares)


def _sums_at(rows: Floats, columns: Floats, cells: Ints, owner: Ints) -> Floats:
    """The sum of each observer's kernels in the pixels of M fixations, (O, M).

    rows (N, h), columns (N, w): kernels of all fixations. cells: (M, 2). owner: (N,) whose kernel it is.
    """
    sums = np.empty((owner.max() + 1, len(cells)))
    for o in range(len(sums)):
        mine = owner == o
        sums[o] = np.einsum("kn,kn->n", rows[mine][:, cells[:, 0]], columns[mine][:, cells[:, 1]])
    return sums


def _fit(at_cells: Floats, counts: Ints, owner: Ints, centre: Floats, pixels: int) -> tuple[Ints, Floats]:
    """For each observer the best bandwidth's index (O,) and the shares (O, 3), fitted to the other observers.

    at_cells: (candidates, O, M) sums of each observer's kernels at the judged fixations. counts: (O,) kernels of each
    observer. owner: (M,) whose fixation is judged. centre: (M,) the centre bias there.
    """
    others = owner != np.arange(len(counts))[:, None]  # (O, M): the fixations that decide for observer o
    left = np.maximum(counts.sum() - counts[:, None] - counts[owner], 1)  # kernels of neither o nor the judged one
    own = at_cells[:, owner, np.arange(len(owner))][:, None]
    kde = np.maximum(at_cells.sum(axis=1, keepdims=True) - at_cells - own, 0.0) / left
    values = np.stack([kde, np.broadcast_to(centre, kde.shape), np.full(kde.shape, 1 / pixels)], axis=-1)
    shares, likelihood = mixture_shares(values, np.broadcast_to(others.astype(np.float64), kde.shape))
    best = likelihood.argmax(axis=0)
    return best, shares[best, np.arange(len(counts))]


def other_observers(
    x_px: ArrayLike,
    y_px: ArrayLike,
    observer: ArrayLike,
    size_px: tuple[int, int],
    grid: tuple[int, int],
    sigma_px: float,
) -> tuple[Ints, Floats] | None:
    """For each observer the map of the other observers' fixations on the same picture.

    Returns their numbers, rising, (O,), and the maps (O, h, w), each as `fixation_map` draws it; None where fewer than
    two observers have a fixation. Raises ValueError as `fixation_map` does.
    """
    x, y = np.asarray(x_px), np.asarray(y_px)
    observers, owner = np.unique(np.asarray(observer, dtype=np.int64), return_inverse=True)
    if len(observers) < 2:
        return None
    own = np.stack([fixation_map(x[owner == o], y[owner == o], size_px, grid, sigma_px) for o in range(len(observers))])
    return observers, np.maximum(own.sum(axis=0) - own, 0.0)


def split_halves(observer: ArrayLike, splits: int, seed: int) -> list[tuple[Ints, Ints]]:
    """Random halves of the observers: for each split the indices of the fixations of one half and of the other.

    Both halves have as many observers, or one has one more (which one is drawn). observer: (N,) who made each
    fixation. Equal seeds give equal halves. Empty where fewer than two observers have a fixation.
    """
    who = np.asarray(observer, dtype=np.int64)
    observers, rng = np.unique(who), np.random.default_rng(seed)
    if len(observers) < 2:
        return []
    halves = []
    for _ in range(splits):
        first = rng.permutation(observers)[: (len(observers) + int(rng.integers(2))) // 2]
        chosen = np.isin(who, first)
        halves.append((np.flatnonzero(chosen), np.flatnonzero(~chosen)))
    return halves
