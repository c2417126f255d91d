# SPDX-License-Identifier: Apache-2.0
"""The last layer of a network that tells classes, or ordered levels: features (B, F) to log-probabilities (B, K)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid, softplus

SMALLEST_GAP = 1e-3
"""Between two thresholds, in logits: no level between others can vanish."""


class ClassHead(nn.Module):
    """A logit per class."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.logits = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (B, K) float32 of features (B, F)."""
        return log_softmax(self.logits(x).float(), dim=1)


class OrdinalHead(nn.Module):
    """Proportional odds (McCullagh 1980): one number per example and K - 1 thresholds on the same scale.

    The logit of "higher than level k" is that number minus threshold k. The thresholds are the first one and the gaps
    after it, which are positive, so that they rise whatever is learned. A fresh head finds all levels equally probable
    where its number is 0.
    """

    def __init__(self, features: int, levels: int) -> None:
        super().__init__()
        self.position = nn.Linear(features, 1, bias=False)
        start = torch.logit(torch.arange(1, levels) / levels)
        self.first = nn.Parameter(start[:1])
        self.gaps = nn.Parameter(torch.log(torch.expm1(start.diff() - SMALLEST_GAP)))

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (B, K) float32 of features (B, F)."""
        thresholds = torch.cat([self.first, self.first + (softplus(self.gaps) + SMALLEST_GAP).cumsum(0)])
        return cumulative_log_probabilities(self.position(x).float() - thresholds)


def cumulative_log_probabilities(cumulative: Tensor) -> Tensor:
    """Log-probabilities (B, K) of K ordered levels.

    cumulative: (B, K - 1) logits of "higher than level k", which must fall from level to level. A level's probability
    is the difference of two neighbours, here without subtracting what is nearly the same.
    """
    above, below = logsigmoid(cumulative), logsigmoid(-cumulative)
    between = torch.log(-torch.expm1(cumulative.diff(dim=1)))
    return torch.cat([below[:, :1], above[:, :-1] + below[:, 1:] + between, above[:, -1:]], dim=1)
