# SPDX-License-Identifier: Apache-2.0
"""Can probabilities be believed: what happened where a class was forecast with a probability.

Classes count the same, as in the Brier score (`gazeray.metrics.classification.brier`): what is observed is how frequent
a class would be if all classes were equally frequent. N examples, K classes, B bins, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeray.metrics.bootstrap import TIE, Estimate, bootstrap_interval
from gazeray.metrics.classification import Floats, checked_labels, class_totals, squared_errors
from gazeray.metrics.statistics import Draws

PER_BIN = 20
"""Examples that a bin should have: of fewer the observed share says little."""

MOST_BINS = 10


@dataclass(frozen=True)
class Curve:
    """Of one class, by bins of its forecasts: mean forecast (B,), observed share (B,), its 95 % intervals (B, 2), and
    examples (B,). Intervals are NaN where undefined, and where a bin has examples of the class alone, or none: all
    resamples then agree, which says nothing."""

    forecast: Floats
    observed: Floats
    interval: Floats
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """What forecasts are worth.

    curves: of each class. means: the mean forecast of each class, 1 / K where forecasts can be believed (calibration in
    the large). slope: by how much the observed share rises where the forecast rises by 1, by least squares over all
    classes, each about its means: 1 where forecasts can be believed, less where they are too extreme, 0 where they say
    nothing. Either can be right without the other (Van Calster et al., BMC Med. 17, 2019, who fit the slope to log
    odds, which forecasts of 0 and 1 do not have). miscalibration: mean squared distance of the curves from the
    diagonal, summed over classes: the reliability term of the Brier score (Murphy, J. Appl. Meteorol. 12, 1973). It is
    never below 0 and too high with few examples in a bin; noise: by how much the resamples exceed it, which is about
    what chance adds to it. Both None where undefined.
    """

    curves: list[Curve]
    means: list[Estimate]
    slope: Estimate
    miscalibration: float | None
    noise: float | None


def calibrations(
    labels: ArrayLike, scores: Mapping[str, Floats], classes: int, draws: Draws, n_resamples: int, seed: int
) -> dict[str, Calibration]:
    """{predictor: calibration} of probabilities {predictor: (N, K)}, intervals over what was held out (`draws`).

    labels (N,) in 0..K-1. Bins have equally many examples, with equal forecasts in one, and stay the same in all
    resamples. All is undefined (NaN) where a class has no example, and where the scores are no probabilities.
    Raises ValueError for arrays that do not fit each other.
    """
    truth = checked_labels(labels, classes)
    binned = {name: _Binned.of(theirs) for name, theirs in scores.items()}
    whole = {name: own.measured(class_totals(truth, own.columns, classes)) for name, own in binned.items()}
    parts: dict[str, list[tuple[Floats, ...]]] = {name: [] for name in binned}
    for weights in draws.weights(n_resamples, seed):
        for name, own in binned.items():
            parts[name].append(own.measured(class_totals(truth, own.columns, classes, weights, draws.owner)))
    return {
        name: _calibration(
            own, whole[name], tuple(map(np.concatenate, zip(*parts[name], strict=True))), min(draws.counts)
        )
        for name, own in binned.items()
    }


def _calibration(binned: _Binned, whole: tuple[Floats, ...], drawn: tuple[Floats, ...], groups: int) -> Calibration:
    forecast, observed, means, slope, off = (values[0] for values in whole)
    curves = []
    for label, bins in enumerate(binned.bins):
        counts = np.bincount(bins, minlength=binned.count)
        there = counts > 0
        bounds = [bootstrap_interval(values) if groups > 1 else None for values in drawn[1][:, label].T]
        interval = np.array([[np.nan] * 2 if bound is None or bound[0] == bound[1] else bound for bound in bounds])
        curves.append(Curve(forecast[label][there], observed[label][there], interval[there], counts[there]))
    noise = np.nanmean(drawn[4]) - off if groups > 1 and np.isfinite(drawn[4]).any() else np.nan
    return Calibration(
        curves,
        [
            Estimate(float(own), theirs, len(binned.columns), groups)
            for own, theirs in zip(means, drawn[2].T, strict=True)
        ],
        Estimate(float(slope), drawn[3], len(binned.columns), groups),
        float(off) if np.isfinite(off) else None,
        float(noise) if np.isfinite(noise) else None,
    )


@dataclass(frozen=True)
class _Binned:
    """Columns (N, F) whose means over the examples of each class are all that is asked: 1, the forecasts, the sum of
    their squares, and for each class which bin, and the forecast in it."""

    columns: Floats
    bins: list[NDArray[np.int64]]
    count: int

    @classmethod
    def of(cls, scores: Floats) -> _Binned:
        """Of probabilities (N, K)."""
        n = len(scores)
        count = min(MOST_BINS, max(2, n // PER_BIN))
        ends = np.linspace(0, 1, count + 1)[1:-1]
        bins = [np.searchsorted(np.unique(np.quantile(own, ends)), own, side="right") for own in scores.T]
        within = np.stack([np.eye(count)[own] for own in bins], axis=1)  # (N, K, B)
        squares = (scores**2).sum(axis=1, keepdims=True)
        valid = np.where(np.isnan(squared_errors(scores)[:, :1]), np.nan, 1.0)
        columns = [valid, scores, squares, within.reshape(n, -1), (within * scores[:, :, None]).reshape(n, -1)]
        return cls(np.concatenate(columns, axis=1), bins, count)

    def measured(self, totals: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Of totals (R, K, F): forecasts and observed shares (R, K, B), mean forecasts (R, K), slope and
        miscalibration (R,)."""
        classes = totals.shape[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = totals[:, :, 1:] / totals[:, :, :1]
            said = means[:, :, :classes].mean(axis=1)
            true = np.diagonal(means[:, :, :classes], axis1=1, axis2=2).mean(axis=1)
            spread = means[:, :, classes].mean(axis=1) - (said**2).sum(axis=1)
            slope = np.where(spread > TIE, (true - 1 / classes) / spread, np.nan)
            within, sums = np.split(means[:, :, classes + 1 :], 2, axis=2)
            within, sums = (values.reshape(len(means), classes, classes, -1) for values in (within, sums))
            share = within.mean(axis=1)  # of all examples, classes counting the same: (R, K, B)
            forecast = sums.mean(axis=1) / share
            observed = np.diagonal(within, axis1=1, axis2=2).transpose(0, 2, 1) / (classes * share)
        off = np.where(share > 0, share * (forecast - observed) ** 2, 0.0).sum(axis=(1, 2))
        return forecast, observed, said, slope, np.where(np.isfinite(true), off, np.nan)
