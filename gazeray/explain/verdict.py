# SPDX-License-Identifier: Apache-2.0
"""The rules by which the checks of a map become words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeray.metrics.permutation import LEAST_UNITS

SAME, PARTLY = 0.8, 0.5
"""Median rank correlation with maps of random weights, from which a map counts as the same, and as partly the same.

Conventions of this package, not of Adebayo et al. (2018), who give no threshold: squared, they are about two thirds and
one quarter of the variance of the ranks.
"""
RESAMPLES = 1000


def spread(values: NDArray[np.float64]) -> dict[str, Any]:
    """{"median", "iqr": [25th, 75th percentile], "n"} of the finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"median": None, "iqr": None, "n": 0}
    low, median, high = np.percentile(finite, [25, 50, 75]).tolist()
    return {"median": median, "iqr": [low, high], "n": int(finite.size)}


def mean_interval(values: NDArray[np.float64], groups: NDArray[np.str_], seed: int) -> dict[str, Any]:
    """{"value": mean of values (N,), "ci95": percentile bootstrap over groups (N,), "groups": how many these are}.

    Whole groups (participants) are drawn, since examples of one person are not independent. ci95 is None with fewer
    than two groups; both are None without a value.
    """
    if not len(values):
        return {"value": None, "ci95": None, "groups": 0}
    _, group = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    if len(sums) < 2:
        return {"value": float(values.mean()), "ci95": None, "groups": len(sums)}
    drawn = np.random.default_rng(seed).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return {"value": float(values.mean()), "ci95": np.percentile(means, [2.5, 97.5]).tolist(), "groups": len(sums)}


def words(entry: Mapping[str, Any]) -> str:
    """The verdict on one method: does the map change with the weights; does it beat random order and plain dwell.

    Better or worse is said only where the 95 % interval of the gain excludes 0, and of `LEAST_UNITS` participants or
    more. entry: as
    `gazeray.explain.summary.MapSummary.figures` makes it, without n and verdict.
    """
    median = entry["randomisation_correlation"]["median"]
    if median is None:
        weights = "not checked against random weights"
    elif median >= SAME:
        weights = "looks the same with random weights: do not read it"
    elif median >= PARTLY:
        weights = "partly the same with random weights: read with care"
    else:
        weights = "changes with the weights"
    gains = (_gain(entry["gain_over_random"], "random order"), _gain(entry["gain_over_dwell"], "the order of dwell"))
    return "; ".join([weights, *gains])


def _gain(gain: Mapping[str, Any], what: str) -> str:
    if gain["value"] is None:
        return f"not compared with {what}"
    if gain["ci95"] is None or gain["groups"] < LEAST_UNITS:
        return f"too few participants to compare with {what}"
    low, high = gain["ci95"]
    if low > 0:
        return f"better than {what}"
    return f"worse than {what}" if high < 0 else f"cannot be told apart from {what}"
