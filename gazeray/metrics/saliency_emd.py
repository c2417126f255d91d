# SPDX-License-Identifier: Apache-2.0
"""The transport problem behind `saliency.emd`: two densities, summed over the cells of a coarser grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def transport_px(source: Floats, sink: Floats, longest_px: int) -> float:
    """The least mean distance, in px, that takes the density `source` (H, W) to `sink` (H, W); NaN if either has NaN.

    Exact between the cells of a grid whose longest side has at most `longest_px` cells, aspect kept.
    """
    import ot  # takes a second to import, and only this metric needs it

    if np.isnan(source).any() or np.isnan(sink).any():
        return float("nan")
    height, width = source.shape
    shrink = min(1.0, longest_px / max(height, width))
    rows, columns = _overlaps(height, max(1, round(height * shrink))), _overlaps(width, max(1, round(width * shrink)))
    masses = [(rows @ density @ columns.T).ravel() for density in (source, sink)]
    y = (np.arange(len(rows)) + 0.5) * height / len(rows)
    x = (np.arange(len(columns)) + 0.5) * width / len(columns)
    centres = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    occupied = [mass > 0 for mass in masses]
    distances = np.linalg.norm(centres[occupied[0]][:, None] - centres[occupied[1]], axis=2)
    left, right = (mass[kept] / mass[kept].sum() for mass, kept in zip(masses, occupied, strict=True))
    return float(ot.emd2(left, right, distances, numItermax=10_000_000))


def _overlaps(n_pixels: int, n_cells: int) -> Floats:
    """How much of each pixel lies in each cell, (n_cells, n_pixels), each column summing to 1."""
    edges = np.arange(n_cells + 1)[:, None] * n_pixels / n_cells
    pixels = np.arange(n_pixels)
    covered = np.clip(edges - pixels, 0.0, 1.0)
    overlaps: Floats = np.diff(covered, axis=0)
    return overlaps
