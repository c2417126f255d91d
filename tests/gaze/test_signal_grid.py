# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import firwin, kaiser_beta

from gazeray.gaze.clock import ONE, interval_ms
from gazeray.gaze.signal_grid import PASS, forward, on_grid, reach_ms

GRID = np.linspace(0.0, 4900.0, 301)
HALF_RATE = 300 / 4.9 / 2
"""Half the published grid's rate, Hz."""


def sine(time_ms: np.ndarray, hz: float) -> np.ndarray:
    return np.sin(2 * np.pi * hz * time_ms / 1e3 + 0.3)


def clock(hz: float, jitter: float = 0.0) -> np.ndarray:
    """Stamps over 5.2 s, moved at random by up to `jitter` of a step either way."""
    step = 1e3 / hz
    time = np.arange(0.0, 5200.0, step)
    time[1:] += np.random.default_rng(0).uniform(-jitter, jitter, len(time) - 1) * step
    return time


def put(time_ms: np.ndarray, values: np.ndarray, grid_ms: np.ndarray = GRID, max_gap_ms: float = 500.0) -> np.ndarray:
    """One channel on the grid."""
    return on_grid(time_ms, values[None], grid_ms, max_gap_ms, interval_ms(time_ms))[0]


@pytest.mark.parametrize("hz", [66.0, 91.0, 120.0, 250.0, 1000.0])
def test_slow_tones_keep_amplitude_and_phase(hz: float) -> None:
    for tone in (0.5, 1.0, 5.0, 10.0, 0.95 * PASS * HALF_RATE):
        found, right = put(clock(hz), sine(clock(hz), tone)), sine(GRID, tone)
        assert (found @ right) / (right @ right) == pytest.approx(1.0, abs=0.01), tone
        assert np.abs(found - right).max() < 0.04, tone


@pytest.mark.parametrize("hz", [91.0, 120.0, 250.0, 1000.0])
def test_tones_that_would_alias_are_gone(hz: float) -> None:
    for tone in (HALF_RATE * 1.02, 35.0, 40.0, 60.0, 61.2, 100.0, 300.0):
        if tone < hz / 2:
            found = put(clock(hz), sine(clock(hz), tone))[8:-8]
            assert 20 * np.log10(np.sqrt(np.mean(found**2)) / np.sqrt(0.5)) < -40.0, tone


def test_uneven_stamps_alias_no_more_than_twenty_db_below() -> None:
    time = clock(250.0, jitter=0.4)
    assert np.abs(put(time, sine(time, 5.0)) - sine(GRID, 5.0)).max() < 0.03
    found = put(time, sine(time, 40.0))[8:-8]
    assert 20 * np.log10(np.sqrt(np.mean(found**2)) / np.sqrt(0.5)) < -20.0


def test_low_pass_is_that_of_scipy_where_the_rates_are_whole_multiples() -> None:
    q, rng = 4, np.random.default_rng(1)
    time = np.arange(0.0, 4900.0 + 1e-6, 4900.0 / 300 / q)
    values = rng.normal(size=len(time)).cumsum()
    half = int(reach_ms(GRID) / (time[1] - time[0]))
    taps = firwin(2 * half + 1, 0.8 / q, window=("kaiser", kaiser_beta(40.0)))
    direct = np.convolve(values, taps, mode="same")[::q]
    np.testing.assert_allclose(put(time, values)[8:-8], direct[8:-8], atol=0.01 * values.std())


def test_straight_lines_stay_straight_up_to_both_ends() -> None:
    for hz in (40.0, 61.2, 91.0, 1000.0):
        time = clock(hz, jitter=0.3)
        np.testing.assert_allclose(put(time, 3.0 + 0.002 * time), 3.0 + 0.002 * GRID, atol=0.01)


def test_missing_rows_are_bridged_before_the_low_pass() -> None:
    time = clock(250.0)
    kept = time[(time <= 996) | (time >= 1404)]
    np.testing.assert_allclose(put(kept, 0.01 * kept), 0.01 * GRID, atol=0.002)
    masked = put(kept, 0.01 * kept, max_gap_ms=300.0)
    np.testing.assert_array_equal(np.isnan(masked), (GRID > 996) & (GRID < 1404))


def test_bursts_of_samples_with_pauses_between_stay_small() -> None:
    time = (np.arange(0.0, 5000.0, 400.0)[:, None] + np.arange(20) * 1e-3).ravel()
    found, within = put(time, 0.01 * time), GRID <= 4800
    np.testing.assert_allclose(found[within], 0.01 * GRID[within], atol=0.01)


def test_at_the_grids_own_rate_samples_stay_what_they_are() -> None:
    values = np.random.default_rng(2).normal(size=301)
    np.testing.assert_allclose(put(GRID, values), values)


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_gaps_are_bridged_as_by_pandas_or_masked_when_longer(limit: int) -> None:
    rng = np.random.default_rng(limit)
    time = np.arange(0.0, 3000.0, 10.0)
    for _ in range(20):
        values = rng.normal(size=300)
        values[rng.random(300) < rng.choice([0.1, 0.5, 0.9])] = np.nan
        series = pd.Series(values)
        runs = series.isna().groupby(series.notna().cumsum()).transform("sum")
        right = series.interpolate(limit_area="inside").mask(series.isna() & (runs > limit))
        np.testing.assert_allclose(put(time, values, time, 10.0 * (limit + 1)), right)


def test_random_stamps_and_losses_as_by_plain_loops() -> None:
    rng, grid = np.random.default_rng(3), np.linspace(0.0, 4900.0, 51)
    for _ in range(30):
        n = int(rng.integers(1, 60))
        time = np.sort(rng.choice(5000, n, replace=False)).astype(float)
        values = np.where(rng.random((2, n)) < 0.3, np.nan, rng.normal(size=(2, n)))
        usual = interval_ms(time)
        limit = 400.0 if np.isnan(usual) else max(400.0, ONE * usual)
        if usual < 105:  # ms: less than a step of the grid, and the low-pass is at work
            continue
        found = on_grid(time, values, grid, 400.0, usual)
        for channel, row in zip(values, found, strict=True):
            for at, got in zip(grid, row, strict=True):
                before = [k for k in range(n) if time[k] <= at and not np.isnan(channel[k])]
                after = [k for k in range(n) if time[k] >= at and not np.isnan(channel[k])]
                if not before or not after or time[after[0]] - time[before[-1]] > limit:
                    assert np.isnan(got)
                    continue
                a, b = before[-1], after[0]
                share = (at - time[a]) / (time[b] - time[a]) if b > a else 0.0
                assert got == pytest.approx(channel[a] + share * (channel[b] - channel[a]), abs=1e-9)


def test_one_usual_step_is_never_a_gap() -> None:
    time = np.arange(0.0, 5000.0, 62.5)  # 16 Hz, and no gap allowed
    assert not np.isnan(put(time, np.ones(80), max_gap_ms=0.0)).any()


def test_channels_lost_throughout_stay_lost() -> None:
    for hz in (61.2, 250.0):
        time = clock(hz)
        values = np.stack([np.full(len(time), np.nan), np.ones(len(time))])
        found = on_grid(time, values, GRID, 500.0, interval_ms(time))
        assert np.isnan(found[0]).all()
        np.testing.assert_allclose(found[1], 1.0)


def test_few_samples_give_what_they_can() -> None:
    assert np.isnan(on_grid(np.empty(0), np.empty((1, 0)), GRID, 500.0, np.nan)).all()
    alone = put(np.array([4900.0 / 300 * 7]), np.array([2.0]))
    assert np.flatnonzero(~np.isnan(alone)).tolist() == [7]
    two = put(np.array([0.0, 1.0]), np.array([1.0, 2.0]))  # a rate of 1000 Hz, over before the second point
    assert np.flatnonzero(~np.isnan(two)).tolist() == [0]


def test_only_samples_later_than_all_before_count() -> None:
    assert forward(np.array([0.0, 10, 10, 20, 5, 15, 30])).tolist() == [True, True, False, True, False, False, True]
    assert forward(np.empty(0)).tolist() == []
