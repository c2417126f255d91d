# SPDX-License-Identifier: Apache-2.0
"""Draws, intervals, p values and entries: by hand, by simulation, and by loops that repeat what was drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gazeray.metrics.bootstrap import (
    Estimate,
    bootstrap_interval,
    bootstrap_p,
    draws_in_parts,
    entry,
    group_draws,
    mean_over,
    ratio_over,
    row,
)

# -- draws, intervals, p values


def test_draws_are_as_many_as_there_are_groups() -> None:
    draws = group_draws(7, 500, seed=1)
    assert draws.shape == (500, 7)
    assert draws.dtype == np.float64
    assert (draws.sum(axis=1) == 7).all()
    assert set(np.unique(draws)) >= {0.0, 1.0, 2.0, 3.0}


def test_draws_have_the_moments_of_drawing_with_replacement() -> None:
    draws = group_draws(10, 20_000, seed=2)
    np.testing.assert_allclose(draws.mean(axis=0), 1.0, atol=0.03)
    np.testing.assert_allclose(draws.var(axis=0), 1 - 1 / 10, atol=0.05)


def test_draws_repeat_for_a_seed_and_differ_between_seeds() -> None:
    np.testing.assert_array_equal(group_draws(20, 10, seed=3), group_draws(20, 10, seed=3))
    assert (group_draws(20, 10, seed=3) != group_draws(20, 10, seed=4)).any()


def test_no_resamples_raise() -> None:
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        group_draws(5, 0, 0)


def test_interval_is_the_percentiles_of_what_is_defined() -> None:
    values = np.arange(101.0)
    assert bootstrap_interval(values) == pytest.approx((2.5, 97.5))
    assert bootstrap_interval(np.append(values, [np.nan] * 101)) == pytest.approx((2.5, 97.5))
    assert bootstrap_interval(np.append(values, [np.nan] * 102)) is None
    assert bootstrap_interval([]) is None


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        pytest.param([1.0] * 99, 0.02, id="all_above"),
        pytest.param([-1.0] * 99, 0.02, id="all_below"),
        pytest.param([1.0] * 95 + [-1.0] * 4, 0.1, id="four_below"),
        pytest.param([0.0] * 99, 1.0, id="nothing_gained"),
        pytest.param([1e-15] * 50 + [-1e-15] * 49, 1.0, id="rounding"),
        pytest.param([1.0] * 99 + [np.nan] * 99, 0.02, id="half_undefined"),
        pytest.param([1.0] * 99 + [np.nan] * 100, None, id="most_undefined"),
        pytest.param([], None, id="none"),
    ],
)
def test_p_is_twice_the_smaller_tail(differences: list[float], p: float | None) -> None:
    assert bootstrap_p(differences) == (None if p is None else pytest.approx(p))


def test_p_of_no_difference_is_uniform() -> None:
    rng = np.random.default_rng(3)
    found = [mean_over(rng.normal(size=40), group_draws(40, 400, seed)).p or 0 for seed in range(300)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


# -- means and ratios over items


def test_mean_skips_what_is_undefined_and_its_interval_covers_it() -> None:
    draws = group_draws(4, 500, 0)
    found = mean_over(np.array([1.0, 2.0, 3.0, np.nan]), draws)
    assert (found.value, found.n) == (2.0, 3)
    assert found.interval is not None
    assert 1 <= found.interval[0] < 2 < found.interval[1] <= 3
    nothing, alone = mean_over(np.full(4, np.nan), draws), mean_over(np.array([1.0, np.nan, np.nan, np.nan]), draws)
    assert np.isnan(nothing.value)
    assert (alone.value, alone.n) == (1.0, 1)
    assert nothing.interval is alone.interval is nothing.p is alone.p is None


def test_mean_equals_a_loop_that_repeats_the_drawn_items() -> None:
    values, draws = np.random.default_rng(1).normal(size=9), group_draws(9, 30, 1)
    loop = [values.repeat(drawn.astype(int)).mean() for drawn in draws]
    np.testing.assert_allclose(mean_over(values, draws).replicates, loop, rtol=1e-12)


def test_interval_of_a_mean_has_the_textbook_width() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = mean_over(values, group_draws(400, 4000, 1)).interval
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_ratio_is_of_means_over_the_items_that_both_have() -> None:
    above, below = np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 5.0])
    found = ratio_over(above, below, group_draws(3, 200, 0))
    assert (found.value, found.n) == (0.75, 2)
    undefined = ratio_over(above, -below, group_draws(3, 200, 0))
    assert np.isnan(undefined.value)
    assert undefined.interval is None


# -- entries


def test_gain_is_paired() -> None:
    values = np.random.default_rng(0).normal(size=50) * 10
    found = row(values + 1, group_draws(50, 500, 0), {"centre_bias": values})
    gain = found["gain"]["centre_bias"]
    assert gain["value"] == pytest.approx(1)
    assert gain["ci95"] == pytest.approx([1, 1])
    assert gain["p"] == pytest.approx(2 / 501)
    assert found["ci95"][1] - found["ci95"][0] > 1
    assert found["n"] == 50
    assert "why" not in found


def test_entry_is_plain_json_with_none_where_undefined() -> None:
    undefined = mean_over(np.full(3, np.nan), group_draws(3, 100, 0))
    found = entry(undefined, {"other": undefined}, "the picture has no fixations")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    nothing = {"value": None, "ci95": None, "p": None}
    assert found == {"value": None, "ci95": None, "n": 0, "gain": {"other": nothing},
                     "why": "the picture has no fixations"}  # fmt: skip


def test_difference_of_estimates_is_taken_draw_by_draw() -> None:
    first, second = (Estimate(value, np.array([value, value + 1]), 4, 2) for value in (3.0, 1.0))
    assert first.minus(second).value == 2.0
    assert first.minus(second).replicates.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_draws_in_parts_are_the_draws(rows: int) -> None:
    parts = list(draws_in_parts(5, 20, 3, rows))
    assert max(map(len, parts)) <= rows
    np.testing.assert_array_equal(np.concatenate(parts), group_draws(5, 20, 3))
