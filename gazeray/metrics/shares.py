# SPDX-License-Identifier: Apache-2.0
"""Intervals of shares of few trials, where a bootstrap would find no spread: all right, or one trial."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


def wilson(hits: NDArray[np.int64], trials: NDArray[np.int64], level: float = 0.95) -> NDArray[np.float64]:
    """Score intervals (Wilson, 1927) of shares, (..., 2): low and high; 0 to 1 where there is no trial.

    hits, trials: (...) counts of independent trials.
    """
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    middle, spread = hits + z2 / 2, np.sqrt(z2 * (hits * (trials - hits) / np.maximum(trials, 1) + z2 / 4))
    return np.stack([np.maximum(middle - spread, 0.0), np.minimum(middle + spread, trials + z2)], -1) / (
        trials + z2
    )[..., None]  # fmt: skip


def mean_recall(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean recall of the classes that there are trials of, (P,), of confusions (P, K, K), rows true."""
    hits, trials = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2)
    return np.asarray((hits / np.maximum(trials, 1)).sum(axis=1) / np.maximum((trials > 0).sum(axis=1), 1))


def mean_recall_intervals(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """95 % intervals (P, 2) of `mean_recall`, over the trials of each confusion (P, K, K).

    The recalls are independent shares: what the mean may be off by is the root of the summed squares of what each of
    its Wilson intervals is off by (Newcombe, 1998, there of a difference). Of one class it is the Wilson interval.
    """
    hits, trials = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2)
    recalls, there = hits / np.maximum(trials, 1), trials > 0
    off = (wilson(hits, trials) - recalls[..., None]) ** 2 * there[..., None]
    off = np.sqrt(off.sum(axis=1)) / np.maximum(there.sum(axis=1), 1)[:, None]
    return np.asarray(np.clip(mean_recall(confusions)[:, None] + off * (-1.0, 1.0), 0.0, 1.0))
