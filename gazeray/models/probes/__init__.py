# SPDX-License-Identifier: Apache-2.0
"""Linear probes: what one layer of a frozen network knows of where people look.

Three probes share one shape. `fit_readout`, `fit_ridge` and `fit_pooled` go over the pictures, fit one model per column
and penalty at once, choose each test fold's penalty on its inner folds, and return a `Probe`.

A column is the set of folds that a model never sees: {k} for the model that is tested on fold k, {k, j} for the inner
model that judges penalties for test fold k on fold j (and for test fold j on fold k: it is the same model).
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ProbePicture:
    """What a probe sees of one picture.

    features: (C, h, w) float16 or float32, the activations of one layer. fold: the fold that tests the picture.
    cells: (N, 2) int64, row and column of each fixation on the grid, repeats count. target: (H, W) float32, the human
    map on the grid, 0..1. Pictures of one set may differ in (h, w) and (H, W), not in C.
    """

    features: np.ndarray
    fold: int
    cells: np.ndarray
    target: np.ndarray


Pictures = Callable[[int | None], Iterator[ProbePicture]]
"""pictures(seed): one pass over all pictures, in an order that the seed decides; None: the order of the files."""


@dataclass(frozen=True)
class Probe(ABC):
    """A fitted probe. chosen: the penalty of each test fold. inner: for each test fold the inner score of each penalty;
    its unit and direction are the probe's."""

    chosen: dict[int, float]
    inner: dict[int, dict[float, float]]

    @abstractmethod
    def predict(self, features: np.ndarray, size: tuple[int, int], fold: int) -> np.ndarray:
        """The map (H, W) float32, `size` = (H, W), of a picture that belongs to test fold `fold`.

        features: (C, h, w). The model has seen no picture of that fold.
        """


Column = frozenset[int]


def columns(folds: int) -> list[Column]:
    """The sets of left-out folds: first {k} in order of k, then {k, j}. Raises ValueError below 3 folds."""
    if folds < 3:
        raise ValueError(f"nested cross-validation needs at least 3 folds, not {folds}")
    pairs = itertools.combinations(range(folds), 2)
    return [frozenset([fold]) for fold in range(folds)] + [frozenset(pair) for pair in pairs]


def check_penalties(penalties: Sequence[float]) -> None:
    """Raises ValueError where there is none, or one is not positive and finite, or is named twice."""
    if not penalties or not all(0 < penalty < float("inf") for penalty in penalties):
        raise ValueError(f"penalties must be positive and finite, at least one: {list(penalties)}")
    if len(set(penalties)) < len(penalties):
        raise ValueError(f"a penalty is named twice: {list(penalties)}")


def choose(inner: Mapping[int, Mapping[float, float]], largest: bool) -> dict[int, float]:
    """The penalty with the best inner score per test fold; the stronger penalty where two are equal."""
    sign = 1.0 if largest else -1.0
    return {fold: max(scores, key=lambda penalty: (sign * scores[penalty], penalty)) for fold, scores in inner.items()}


def ridge_slopes(covariance: Tensor, slopes: Tensor, penalty: float) -> Tensor:
    """The w of (covariance + penalty I) w = slopes: slopes (C, k); covariance (C, C) of standardised features.

    Raises ValueError for a penalty that is lost in the rounding of a covariance that has no inverse of its own.
    """
    system = covariance.clone()
    system.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(system)
    varies = covariance.diagonal() > 0
    rounding = len(system) * torch.finfo(system.dtype).eps
    if bool(failed) or bool((factor.diagonal().square()[varies] < rounding).any()):
        raise ValueError(f"penalty {penalty:g} is too small: it is lost in rounding, as some features repeat others")
    return torch.cholesky_solve(slopes, factor)


def inverse_scale(variance: Tensor) -> Tensor:
    """1 / standard deviation of each feature, 0 where a feature is constant (to rounding): such a feature has no say.

    variance: (..., C), not negative but for rounding.
    """
    constant = variance <= 1e-10 * variance.amax(dim=-1, keepdim=True)
    return torch.where(constant, 0.0, variance.clamp_min(torch.finfo(variance.dtype).tiny).rsqrt())
