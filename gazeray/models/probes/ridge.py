# SPDX-License-Identifier: Apache-2.0
"""Ridge regression of the human map on the features of each cell: exact, in one pass, without a gradient step.

All that least squares needs of the data are sums: of products, of features, of targets. They are kept per fold, so that
any set of folds can be left out afterwards, and the error on the folds left out follows from the same sums.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gazeray.metrics.resampling import resize
from gazeray.models.probes import (
    Column,
    Pictures,
    Probe,
    check_penalties,
    choose,
    columns,
    inverse_scale,
    ridge_slopes,
)


@dataclass(frozen=True)
class LinearMap:
    """value = features @ weights + intercept, on raw features. weights: (C,) float64."""

    weights: Tensor
    intercept: float


class NormalEquations:
    """The sums of a linear regression of one target on `channels` features, float64, one set per fold.

    Memory: folds x channels^2 x 8 bytes, however many pictures are added.
    """

    def __init__(self, channels: int, folds: int, device: torch.device | None = None) -> None:
        zeros = functools.partial(torch.zeros, dtype=torch.float64, device=device)
        self.channels, self.folds = channels, folds
        self.n, self.target, self.target_squared = zeros(folds), zeros(folds), zeros(folds)
        self.features, self.with_target = zeros(folds, channels), zeros(folds, channels)
        self.products = zeros(folds, channels, channels)

    def add(self, features: np.ndarray, target: np.ndarray, fold: int) -> None:
        """Add the cells of one picture: features (C, h, w), target (h, w).

        Raises ValueError for shapes that do not fit, a fold out of range, a value that is not finite.
        """
        if features.shape != (self.channels, *target.shape):
            raise ValueError(f"features {features.shape} do not fit {self.channels} channels, target {target.shape}")
        if not 0 <= fold < self.folds:
            raise ValueError(f"fold {fold} is not one of {self.folds}")
        x = torch.tensor(features, dtype=torch.float64).reshape(self.channels, -1).to(self.n.device)
        y = torch.tensor(target, dtype=torch.float64).flatten().to(self.n.device)
        if not (bool(torch.isfinite(x).all()) and bool(torch.isfinite(y).all())):
            raise ValueError("features or target hold values that are not finite")
        self.n[fold] += len(y)
        self.products[fold] += _outer(x)
        self.with_target[fold] += x @ y
        self.features[fold] += x.sum(1)
        self.target[fold] += y.sum()
        self.target_squared[fold] += y @ y

    def solve(self, left_out: Column, penalties: Sequence[float]) -> list[LinearMap]:
        """The minimum of mean squared error + penalty * |w|^2 over the cells of the other folds, per penalty.

        w belongs to features that are standardised by the mean and the (population) standard deviation of those cells;
        features that are constant there get 0; the intercept is not penalised. With n cells it is sklearn's
        Ridge(alpha=penalty * n) on standardised features. Raises ValueError where no cell is left, for a penalty
        that is lost in rounding.
        """
        kept = [fold for fold in range(self.folds) if fold not in left_out]
        n = self.n[kept].sum()
        if not n > 0:
            raise ValueError(f"no cell is left without folds {sorted(left_out)}")
        mean, mean_target = self.features[kept].sum(0) / n, self.target[kept].sum() / n
        covariance = self.products[kept].sum(0).div_(n).sub_(torch.outer(mean, mean))
        scale = inverse_scale(covariance.diagonal())
        covariance.mul_(scale[:, None]).mul_(scale)
        slope = scale * (self.with_target[kept].sum(0) / n - mean * mean_target)
        found = []
        for penalty in penalties:
            weights = ridge_slopes(covariance, slope[:, None], penalty)[:, 0] * scale
            found.append(LinearMap(weights, float(mean_target - weights @ mean)))
        return found

    def squared_error(self, model: LinearMap, fold: int) -> float:
        """The sum of squared errors of a linear map over the cells of one fold."""
        w, b, sums = model.weights, model.intercept, self.features[fold]
        predicted = w @ (self.products[fold] @ w) + 2 * b * (w @ sums) + self.n[fold] * b**2
        shared = w @ self.with_target[fold] + b * self.target[fold]
        return max(0.0, float(self.target_squared[fold] - 2 * shared + predicted))


def _outer(x: Tensor) -> Tensor:
    """x @ x.T of (C, n). NumPy knows that it is symmetric and does half of the work."""
    if x.device.type != "cpu":
        return x @ x.T
    values = x.numpy()
    return torch.from_numpy(values @ values.T)


@dataclass(frozen=True)
class RidgeProbe(Probe):
    """Maps by ridge regression, one linear map of the features per test fold; see `fit_ridge`.

    inner: mean squared error per cell of the feature grid, smaller is better. models: by test fold.
    """

    models: dict[int, LinearMap]

    def predict(self, features: np.ndarray, size: tuple[int, int], fold: int) -> np.ndarray:
        """The map (H, W) float32, interpolated from the feature grid (C, h, w)."""
        model = self.models[fold]
        values = torch.tensor(features, dtype=torch.float64).movedim(0, -1) @ model.weights + model.intercept
        map_: np.ndarray = resize(values, size).to(torch.float32).numpy()
        return map_


def fit_ridge(
    pictures: Pictures, folds: int, penalties: Sequence[float], device: torch.device | None = None
) -> RidgeProbe:
    """Ridge regression of the target, averaged over the cells of the feature grid, on the features. One pass.

    Each test fold's penalty (relative: see NormalEquations.solve) is the one with the least mean squared error over the
    inner folds: for each of the other folds, a model that has seen neither it nor the test fold. Every cell counts
    once. Raises ValueError for fewer than 3 folds, unusable penalties or features, a fold without pictures.
    """
    check_penalties(penalties)
    sets = columns(folds)
    sums: NormalEquations | None = None
    for picture in pictures(None):
        if sums is None:
            sums = NormalEquations(len(picture.features), folds, device)
        target = resize(torch.tensor(picture.target, dtype=torch.float64), picture.features.shape[1:])
        sums.add(picture.features, target.numpy(), picture.fold)
    if sums is None or not bool((sums.n > 0).all()):
        raise ValueError(f"every one of {folds} folds needs a picture")
    solved = {left_out: sums.solve(left_out, penalties) for left_out in sets}
    inner = {fold: _inner(sums, solved, fold, penalties) for fold in range(folds)}
    chosen = choose(inner, largest=False)
    best = [solved[frozenset([fold])][list(penalties).index(penalty)] for fold, penalty in chosen.items()]
    models = {fold: LinearMap(model.weights.cpu(), model.intercept) for fold, model in zip(chosen, best, strict=True)}
    return RidgeProbe(chosen, inner, models)


def _inner(
    sums: NormalEquations, solved: dict[Column, list[LinearMap]], fold: int, penalties: Sequence[float]
) -> dict[float, float]:
    """Mean squared error per penalty over the folds other than `fold`, each predicted without itself and `fold`."""
    others = [other for other in range(sums.folds) if other != fold]
    n = float(sums.n[others].sum())
    return {
        penalty: sum(sums.squared_error(solved[frozenset([fold, other])][index], other) for other in others) / n
        for index, penalty in enumerate(penalties)
    }
