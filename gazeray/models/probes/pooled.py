# SPDX-License-Identifier: Apache-2.0
"""The pooled probe: globally averaged features to a whole map, linearly. It knows what is in a picture, not where.

The design (average over all positions, one linear layer to a square map, squared error) is that of published SALICON
probes of a ResNet's pooled output. Here it is least squares with an L2 penalty in closed form: no sigmoid, no gradient
steps, a frozen network. Its prediction is a weighted sum of the training maps, so the weights of the linear layer,
often more than a hundred million, are never formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gazeray.metrics.resampling import resize
from gazeray.models.probes import Pictures, Probe, check_penalties, choose, columns, inverse_scale, ridge_slopes

MAPS_AT_ONCE = 256
"""Training maps that are in float32 at the same time."""

INNER_SIDE = 32
"""Penalties are compared on maps averaged down to so many cells a side."""


@dataclass(frozen=True)
class Weighing:
    """How a picture's pooled features become weights of the training maps: offset + (pooled - mean) @ slopes.

    training: (n,) which maps. mean: (C,). slopes: (C, n). offset: 1 / n, the weight in the mean map.
    """

    training: Tensor
    mean: Tensor
    slopes: Tensor

    def weights(self, pooled: Tensor) -> Tensor:
        """(B, n) weights of the training maps for pooled features (B, C)."""
        return 1 / len(self.training) + (pooled - self.mean) @ self.slopes


@dataclass(frozen=True)
class PooledProbe(Probe):
    """Maps as weighted sums of training maps; see `fit_pooled`.

    inner: mean squared error per cell of the maps at 32 x 32, smaller is better. maps: (n, side, side) float16, of all
    pictures. weighings: by test fold.
    """

    maps: Tensor
    weighings: dict[int, Weighing]

    def predict(self, features: np.ndarray, size: tuple[int, int], fold: int) -> np.ndarray:
        """The map (H, W) float32 of a picture of test fold `fold`. features: (C, h, w)."""
        return self.predict_batch(pool(features)[None], [size], fold)[0]

    def predict_batch(self, pooled: Tensor, sizes: Sequence[tuple[int, int]], fold: int) -> list[np.ndarray]:
        """The maps (H, W) float32 of B pictures of one test fold. pooled: (B, C) of `pool`. sizes: (H, W) of each.

        The training maps are gone through once for the whole batch, some at a time.
        """
        weighing = self.weighings[fold]
        weights = weighing.weights(pooled.to(weighing.mean)).to(torch.float32)
        squares = weights.new_zeros(len(weights), self.maps[0].numel())
        for start in range(0, len(weighing.training), MAPS_AT_ONCE):
            some = slice(start, start + MAPS_AT_ONCE)
            squares += weights[:, some] @ self.maps[weighing.training[some]].flatten(1).to(torch.float32)
        shaped = squares.reshape(len(weights), *self.maps.shape[1:])
        return [resize(square, size).cpu().numpy() for square, size in zip(shaped, sizes, strict=True)]


def fit_pooled(
    pictures: Pictures, folds: int, penalties: Sequence[float], map_px: int = 256, device: torch.device | None = None
) -> PooledProbe:
    """Least squares from pooled, standardised features to maps of map_px x map_px, the targets squashed to squares.

    The minimum of squared error per picture + penalty * |w|^2 for every pixel: with n training pictures sklearn's
    Ridge(alpha=penalty * n). Means and standard deviations are those of the column's own training pictures. Each test
    fold's penalty is the one with the least mean squared error over the inner folds, on maps of 32 x 32. One pass; the
    maps of all pictures are kept in memory, 2 bytes a pixel.

    Raises ValueError for fewer than 3 folds, unusable penalties or features, a fold without pictures.
    """
    check_penalties(penalties)
    sets = columns(folds)
    pooled, maps, small, fold_of = _gather(pictures, map_px, device)
    if set(fold_of.tolist()) != set(range(folds)):
        raise ValueError(f"every one of {folds} folds needs a picture, and there is no other fold")
    errors = {fold: dict.fromkeys(penalties, 0.0) for fold in range(folds)}
    for pair in (left_out for left_out in sets if len(left_out) == 2):
        training = _without(fold_of, pair)
        for penalty, weighing in zip(penalties, _weighings(pooled, training, penalties), strict=True):
            for judged in pair:
                rows = (fold_of == judged).nonzero()[:, 0]
                predicted = weighing.weights(pooled[rows]) @ small[training]
                (tested,) = pair - {judged}
                errors[tested][penalty] += float((predicted - small[rows]).square().sum())
    inner = {}
    for fold, sums in errors.items():
        n_values = len(_without(fold_of, frozenset([fold]))) * small.shape[1]
        inner[fold] = {penalty: error / n_values for penalty, error in sums.items()}
    chosen = choose(inner, largest=False)
    weighings = {
        fold: _weighings(pooled, _without(fold_of, frozenset([fold])), [chosen[fold]])[0] for fold in range(folds)
    }
    return PooledProbe(chosen, inner, maps, weighings)


def pool(features: np.ndarray) -> Tensor:
    """The mean of each channel (C,) float64. Raises ValueError where it is not finite."""
    pooled = torch.tensor(features, dtype=torch.float64).mean((1, 2))
    if not bool(torch.isfinite(pooled).all()):
        raise ValueError("features hold values that are not finite")
    return pooled


def _gather(pictures: Pictures, map_px: int, device: torch.device | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pooled features (n, C) float64, maps (n, side, side) float16, small maps (n, 1024) float64, folds (n,)."""
    pooled, maps, small, folds = [], [], [], []
    for picture in pictures(None):
        target = torch.tensor(picture.target, dtype=torch.float64)
        pooled.append(pool(picture.features))
        maps.append(resize(target, (map_px, map_px)).to(torch.float16))
        small.append(resize(target, (INNER_SIDE, INNER_SIDE)).flatten())
        folds.append(picture.fold)
    if not pooled:
        raise ValueError("there are no pictures")
    return (
        torch.stack(pooled).to(device),
        torch.stack(maps).to(device),
        torch.stack(small).to(device),
        torch.tensor(folds, device=device),
    )


def _without(fold_of: Tensor, left_out: frozenset[int]) -> Tensor:
    """The pictures outside the folds left out."""
    return (~torch.isin(fold_of, torch.tensor(sorted(left_out), device=fold_of.device))).nonzero()[:, 0]


def _weighings(pooled: Tensor, training: Tensor, penalties: Sequence[float]) -> list[Weighing]:
    """The ridge solution of each penalty for these training pictures; pooled: (all, C)."""
    mean = pooled[training].mean(0)
    centred = pooled[training] - mean
    scale = inverse_scale(centred.square().mean(0))
    standard = centred * scale
    covariance = standard.T @ standard / len(training)
    found = []
    for penalty in penalties:
        slopes = ridge_slopes(covariance, standard.T / len(training), penalty)
        found.append(Weighing(training, mean, scale[:, None] * slopes))
    return found
