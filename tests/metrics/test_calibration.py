# SPDX-License-Identifier: Apache-2.0
"""Reliability diagrams and slopes against plain loops, and against forecasts of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from gazeray.metrics.calibration import Calibration, calibrations
from gazeray.metrics.statistics import Draws


def believed(
    shares: tuple[float, ...], people: int, trials: int, sure: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with these shares, the probabilities of a world of equal classes to the power of `sure`, and people."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(shares), people * trials, p=shares)
    seen = rng.normal(size=len(labels)) + 1.5 * labels
    powers = np.exp(-0.5 * sure * (seen[:, None] - 1.5 * np.arange(len(shares))) ** 2)
    names = np.repeat([f"P{number:03d}" for number in range(people)], trials)
    return labels, powers / powers.sum(axis=1, keepdims=True), names


def measured(
    labels: np.ndarray, scores: np.ndarray, people: np.ndarray, resamples: int = 200, crossed: np.ndarray | None = None
) -> Calibration:
    draws = Draws.of(len(labels), people, crossed)
    return calibrations(labels, {"model": scores}, scores.shape[1], draws, resamples, 0)["model"]


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.5, 0.3, 0.2)], ids=["two_classes", "three_classes"])
def test_curve_slope_and_miscalibration_equal_plain_loops(shares: tuple[float, ...]) -> None:
    labels, scores, people = believed(shares, 12, 10, 1.3, 0)
    found, count = measured(labels, scores, people), len(shares)
    weight = 1 / np.bincount(labels)[labels]
    rows = list(zip(labels, scores, weight, strict=True))
    off = 0.0
    for k, curve in enumerate(found.curves):
        order = np.argsort(scores[:, k])
        assert curve.counts.tolist() == [20] * 6
        for place, own in enumerate(np.split(order, 6)):
            total = sum(weight[i] for i in own)
            forecast = sum(weight[i] * scores[i, k] for i in own) / total
            observed = sum(weight[i] for i in own if labels[i] == k) / total
            assert curve.forecast[place] == pytest.approx(forecast)
            assert curve.observed[place] == pytest.approx(observed)
            off += total / count * (forecast - observed) ** 2
    assert found.miscalibration == pytest.approx(off)
    said = [sum(w * p[c] for _, p, w in rows) / count for c in range(count)]
    assert [own.value for own in found.means] == pytest.approx(said)
    rise = sum(w * (p[c] - said[c]) * ((c == y) - 1 / count) for y, p, w in rows for c in range(count))
    run = sum(w * (p[c] - said[c]) ** 2 for _, p, w in rows for c in range(count))
    assert found.slope.value == pytest.approx(rise / run)


def test_resamples_equal_repeated_trials_of_people_and_of_stimuli() -> None:
    labels, scores, people = believed((0.6, 0.4), 9, 8, 1.0, 1)
    stimuli = np.tile([f"S{number}" for number in range(8)], 9)
    found = measured(labels, scores, people, 20, stimuli).slope.replicates
    draws = Draws.of(len(labels), people, stimuli)
    (weights,) = draws.weights(20, 0)
    for value, times in zip(found, weights[:, draws.owner].astype(int), strict=True):
        truth, forecast = labels.repeat(times), scores.repeat(times, axis=0)
        weight = 1 / np.bincount(truth)[truth]
        spread, together = np.cov(forecast[:, 0], truth == 0, aweights=weight, ddof=0)[0]
        assert value == pytest.approx(together / spread)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.6, 0.3, 0.1)])
def test_slope_tells_forecasts_that_can_be_believed_from_those_too_sure_and_too_careful(
    shares: tuple[float, ...],
) -> None:
    slopes = [measured(*believed(shares, 100, 200, sure, 2), 2).slope.value for sure in (1.0, 3.0, 0.4)]
    assert slopes[0] == pytest.approx(1, abs=0.05)
    assert slopes[1] < 0.9
    assert slopes[2] > 1.1
    curve = measured(*believed(shares, 100, 200, 1.0, 3), 2).curves[-1]
    np.testing.assert_allclose(curve.observed, curve.forecast, atol=0.06)


def test_class_that_is_said_too_often_shows_in_the_means_and_not_in_the_slope() -> None:
    labels, scores, people = believed((0.7, 0.3), 100, 50, 1.0, 4)
    pushed = scores * [1.0, 3.0]
    found = measured(labels, pushed / pushed.sum(axis=1, keepdims=True), people)
    low, high = found.means[1].interval or (np.nan, np.nan)
    assert low > 0.55
    assert high < 0.75
    assert found.slope.value == pytest.approx(1, abs=0.15)
    right = measured(labels, scores, people).means[1].interval or (np.nan, np.nan)
    assert right[0] < 0.5 < right[1]


def test_interval_of_the_slope_covers_1_where_forecasts_can_be_believed() -> None:
    covered = 0
    for seed in range(60):
        low, high = measured(*believed((0.7, 0.3), 30, 12, 1.0, seed), 200).slope.interval or (np.nan, np.nan)
        covered += low <= 1 <= high
    assert covered >= 52


def test_miscalibration_of_forecasts_that_can_be_believed_is_about_what_the_resamples_add() -> None:
    both = [measured(*believed((0.5, 0.5), 20, 10, 1.0, seed), 200) for seed in range(30)]
    off, noise = (np.mean([getattr(one, name) for one in both]) for name in ("miscalibration", "noise"))
    assert 0.6 * off < noise < 1.4 * off
    sure = measured(*believed((0.5, 0.5), 20, 10, 6.0, 0), 200)
    assert sure.miscalibration is not None
    assert sure.noise is not None
    assert sure.miscalibration > 3 * sure.noise


def test_equal_forecasts_share_a_bin_and_a_bin_of_one_class_has_no_interval() -> None:
    scores = np.repeat([[0.9, 0.1], [0.4, 0.6]], 50, axis=0)
    labels = np.concatenate([np.zeros(50, int), np.arange(50) % 2])
    curve = measured(labels, scores, np.tile([f"P{number}" for number in range(10)], 10)).curves[1]
    assert curve.counts.tolist() == [50, 50]
    assert curve.observed == pytest.approx([0.0, (25 / 25) / (25 / 25 + 25 / 75)])
    assert np.isnan(curve.interval[0]).all()
    assert curve.interval[1][0] < curve.observed[1] < curve.interval[1][1]


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        pytest.param([0] * 20, [[0.6, 0.4]] * 20, id="one_class"),
        pytest.param([0, 1] * 10, [[2.0, -1.0]] * 20, id="no_probabilities"),
        pytest.param([0, 1] * 10, [[0.5, 0.5]] * 20, id="nothing_forecast"),
    ],
)
def test_slope_is_undefined(labels: list[int], scores: list[list[float]]) -> None:
    found = measured(np.array(labels), np.array(scores), np.repeat(list("abcd"), 5))
    assert np.isnan(found.slope.value)
    assert found.slope.interval is None


def test_single_group_has_no_interval() -> None:
    labels, scores, _ = believed((0.5, 0.5), 4, 10, 1.0, 0)
    found = measured(labels, scores, np.full(40, "P1"))
    assert found.slope.interval is None
    assert found.noise is None
    assert np.isnan(found.curves[0].interval).all()
