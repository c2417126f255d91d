# SPDX-License-Identifier: Apache-2.0
"""Losses of the log-probabilities of classes or ordered levels (`gazeray.models.heads`); labels of -1 count nothing."""

from __future__ import annotations

import torch
from torch import Tensor

NEARLY_SURE = 1e-6
"""1 - p is taken to be at least this: below a gamma of 1 the slope of its power would be without limit."""


def focal_loss(
    log_p: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The focal loss (Lin et al. 2017), the weighted mean of (1 - p)^gamma (-log p) of the true classes.

    log_p: (B, K) log-probabilities. labels: (B,) int64, -1 counts nothing. gamma: 0 is cross-entropy. weights: (K,) of
    the classes; the mean is over the weights of the examples' classes. smoothing: the share of the target that is
    spread over all classes, each of which then has a term with its own p. Returns a scalar, 0 where no label counts.
    With gamma 0 it is `torch.nn.functional.cross_entropy` of the same arguments.
    """
    terms, own = _terms(log_p, labels, weights, smoothing)
    if gamma:
        terms = terms * (-torch.expm1(log_p)).clamp_min(NEARLY_SURE) ** gamma
    return terms.sum() / torch.where(own.sum() > 0, own.sum(), 1.0)


def published_focal_loss(
    log_p: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The published form: (1 - exp(-ce))^gamma ce with the weighted cross-entropy ce, and a plain mean.

    exp(-ce) is p to the power of the class's weight and not p: examples of a class that weighs much are taken for less
    sure than they are, so that a rare class counts twice. Arguments: as of `focal_loss`.
    """
    terms, _ = _terms(log_p, labels, weights, smoothing)
    loss, counted = terms.sum(dim=1), (labels >= 0).sum()
    if gamma:
        loss = loss * (-torch.expm1(-loss)).clamp_min(NEARLY_SURE) ** gamma
    return torch.where(labels >= 0, loss, 0.0).sum() / counted.clamp_min(1)


LOSSES = {"focal": focal_loss, "published": published_focal_loss}
"""By the names of the config."""


def _terms(log_p: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float) -> tuple[Tensor, Tensor]:
    """The terms (B, K) of the weighted cross-entropy, and each example's weight (B,); 0 where the label is -1."""
    known = (labels >= 0).to(log_p.dtype)
    weights = log_p.new_ones(log_p.shape[1]) if weights is None else weights.to(log_p)
    targets = torch.nn.functional.one_hot(labels.clamp_min(0), log_p.shape[1]).to(log_p)
    targets = (1 - smoothing) * targets + smoothing / log_p.shape[1]
    return -log_p * targets * weights * known[:, None], weights[labels.clamp_min(0)] * known
