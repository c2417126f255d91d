# SPDX-License-Identifier: Apache-2.0
"""How sure a number is, for every study: draws of groups, percentile intervals, and a predictor's entry for a metric.

Groups (participants, pictures, ...) are what is drawn, never single examples of one group: those resemble each other.
Two predictors are compared on the same draws (paired). Shapes: R draws, G groups, P items of which each is a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
TIE = 1e-12
"""Differences below this are rounding: two values of a metric that are this close count as equal."""


def group_draws(groups: int, resamples: int, seed: int | Sequence[int]) -> Floats:
    """How often each group is drawn in each of R = `resamples` resamples, (R, G) float64; every row sums to G.

    As many groups as there are, with replacement (cluster bootstrap, Field & Welsh, J. R. Stat. Soc. B 69, 2007).
    Raises ValueError for resamples < 1.
    """
    return np.concatenate(list(draws_in_parts(groups, resamples, seed, resamples)))


def draws_in_parts(groups: int, resamples: int, seed: int | Sequence[int], rows: int) -> Iterator[Floats]:
    """The same draws, at most so many rows at a time: many groups would fill the memory. Raises ValueError as well."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    rng, share = np.random.default_rng(seed), np.full(groups, 1.0 / groups)
    for start in range(0, resamples, rows):
        yield rng.multinomial(groups, share, size=min(rows, resamples - start)).astype(np.float64)


def bootstrap_interval(values: ArrayLike) -> list[float] | None:
    """95 % percentile interval [low, high] of the replicates `values` (R,) (Efron & Tibshirani, 1993, chapter 13).

    NaN replicates are dropped; None when fewer than half of the replicates are defined.
    """
    defined = _defined(values)
    if defined is None:
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def bootstrap_p(differences: ArrayLike) -> float | None:
    """Two-sided p of the replicates of a paired difference (R,): 2 (1 + smaller tail) / (1 + R), at most 1.

    The tails are the replicates on either side of 0, those at 0 in both; never 0 (Davison & Hinkley, 1997, chapter 4).
    NaN replicates are dropped; None when fewer than half of the replicates are defined.
    """
    defined = _defined(differences)
    if defined is None:
        return None
    tail = min(np.count_nonzero(defined <= TIE), np.count_nonzero(defined >= -TIE))
    return min(1.0, 2 * (1 + tail) / (1 + len(defined)))


def _defined(values: ArrayLike) -> Floats | None:
    """The replicates that are not NaN; None where there are none or they are fewer than half."""
    replicates = np.asarray(values, dtype=np.float64)
    defined = replicates[~np.isnan(replicates)]
    return None if len(defined) == 0 or 2 * len(defined) < len(replicates) else defined


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap.

    value: NaN where undefined. replicates: (R,), the same number on each resample, NaN where undefined there. n: the
    items that it was computed from. groups: how many of the drawn groups these belong to; one cannot be resampled.
    """

    value: float
    replicates: Floats
    n: int
    groups: int

    @property
    def interval(self) -> list[float] | None:
        """The 95 % percentile interval [low, high]; None where undefined."""
        return bootstrap_interval(self.replicates) if self.groups > 1 else None

    @property
    def p(self) -> float | None:
        """Of a paired difference, see `bootstrap_p`; None where undefined."""
        return bootstrap_p(self.replicates) if self.groups > 1 else None

    def minus(self, other: Estimate) -> Estimate:
        """The paired difference of two numbers of the same items on the same draws."""
        return Estimate(self.value - other.value, self.replicates - other.replicates, self.n, self.groups)


def mean_over(values: Floats, draws: Floats) -> Estimate:
    """The mean over the items where `values` (P,) is not NaN, and its bootstrap. draws: (R, P)."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = (draws @ np.where(defined, values, 0.0)) / (draws @ defined.astype(np.float64))
    n = int(defined.sum())
    return Estimate(float(values[defined].mean()) if n else np.nan, replicates, n, n)


def ratio_over(above: Floats, below: Floats, draws: Floats) -> Estimate:
    """The ratio of two means over the items that have both; undefined where the mean of `below` is not positive.

    above, below: (P,), NaN where undefined. draws: (R, P).
    """
    defined = np.isfinite(above) & np.isfinite(below)
    n = int(defined.sum())
    if not n or below[defined].mean() <= 0:
        return Estimate(np.nan, np.full(len(draws), np.nan), n, n)
    upper, lower = (draws @ np.where(defined, values, 0.0) for values in (above, below))
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = np.where(lower > 0, upper / lower, np.nan)
    return Estimate(float(above[defined].mean() / below[defined].mean()), replicates, n, n)


def entry(own: Estimate, gains: Mapping[str, Estimate] | None = None, why: str = "") -> dict[str, Any]:
    """One predictor's entry for one metric, ready for JSON: value, ci95, n, and where there is any gain and why.

    gains: {key of another predictor: the paired difference}, each {value, ci95, p}. why: the reason, where the value is
    None or some items have none. None: undefined.
    """
    found: dict[str, Any] = {"value": number(own.value), "ci95": own.interval, "n": own.n}
    if gains:
        found["gain"] = {
            over: {"value": number(gain.value), "ci95": gain.interval, "p": gain.p} for over, gain in gains.items()
        }
    return found | ({"why": why} if why else {})


def row(values: Floats, draws: Floats, over: Mapping[str, Floats] | None = None, why: str = "") -> dict[str, Any]:
    """The entry of a mean over items, with its paired gain over other predictors.

    values: (P,) per item, NaN where undefined. draws: (R, P). over: {key of another predictor: its values (P,)}.
    """
    gains = {key: mean_over(values - theirs, draws) for key, theirs in (over or {}).items()}
    return entry(mean_over(values, draws), gains, why)


def number(value: float) -> float | None:
    """A plain float; None for NaN."""
    return None if np.isnan(value) else float(value)
