# SPDX-License-Identifier: Apache-2.0
"""The row of the quality table of one trial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.gaze.quality import TrialGaze, inside, trial_quality
from gazeray.tables import QUALITY

WINDOW = (100.0, 50.0, 800.0, 400.0)


def samples(time: list[float], x: list[float], y: list[float]) -> dict[str, np.ndarray]:
    return {
        "timestamp_ms": np.array(time, np.float64),
        "x_px": np.array(x, np.float32),
        "y_px": np.array(y, np.float32),
    }


def fixations(onset: list[float], duration: list[float], x: list[float]) -> dict[str, np.ndarray]:
    columns = {"duration_ms": duration, "x_px": x, "y_px": [100.0] * len(x)}
    return {"onset_ms": np.array(onset, np.float64)} | {name: np.array(v, np.float32) for name, v in columns.items()}


def quality(samples: Any, fixations: Any) -> dict[str, Any]:
    return trial_quality(TrialGaze("P1", "7", samples, fixations), WINDOW)


def test_row_has_the_columns_of_the_quality_table() -> None:
    row = quality(samples([0, 10], [200, 200], [100, 100]), None)
    assert list(row) == QUALITY.names
    assert pa.Table.from_pylist([row], schema=QUALITY).num_rows == 1
    assert (row["participant"], row["trial"]) == ("P1", "7")


def test_shares_of_samples_agree_with_counting_one_by_one() -> None:
    rng = np.random.default_rng(0)
    n = 500
    x, y = rng.uniform(-100, 1100, n), rng.uniform(-100, 600, n)
    x[rng.random(n) < 0.2] = np.nan
    lost = outside = 0
    for at_x, at_y in zip(x, y, strict=True):
        if math.isnan(at_x):
            lost += 1
        elif not (100 <= at_x < 900 and 50 <= at_y < 450):
            outside += 1
    row = quality(samples(list(np.arange(n) * 4.0), list(x), list(y)), None)
    assert row["n_samples"] == n
    assert row["lost_share"] == pytest.approx(lost / n)
    assert row["outside_share"] == pytest.approx(outside / (n - lost))


def test_sampling_rate_is_that_of_the_median_step() -> None:
    row = quality(samples([0, 10, 20, 500, 510], [1] * 5, [1] * 5), None)
    assert row["sampling_hz"] == pytest.approx(100)
    assert row["duration_ms"] == 510


def test_single_sample_has_no_rate() -> None:
    row = quality(samples([5], [200], [100]), None)
    assert math.isnan(row["sampling_hz"])
    assert row["duration_ms"] == 0


def test_repeated_timestamps_have_no_rate() -> None:
    assert math.isnan(quality(samples([5, 5, 5], [1] * 3, [1] * 3), None)["sampling_hz"])


def test_all_lost_has_no_outside_share() -> None:
    row = quality(samples([0, 1], [math.nan] * 2, [math.nan] * 2), None)
    assert row["lost_share"] == 1
    assert math.isnan(row["outside_share"])


def test_samples_count_where_both_are_there() -> None:
    row = quality(samples([0, 10], [200, 200], [100, 100]), fixations([0], [900], [0]))
    assert (row["n_samples"], row["n_fixations"], row["duration_ms"], row["outside_share"]) == (2, 1, 10, 0)


def test_fixations_alone_give_duration_and_outside_share() -> None:
    row = quality(None, fixations([100, 500], [200, 300], [50, 200]))
    assert (row["n_samples"], row["n_fixations"], row["duration_ms"], row["outside_share"]) == (0, 2, 700, 0.5)
    assert math.isnan(row["sampling_hz"])
    assert math.isnan(row["lost_share"])


def test_empty_gaze_has_no_numbers() -> None:
    row = quality(samples([], [], []), None)
    assert row["n_samples"] == 0
    assert all(math.isnan(row[name]) for name in ("duration_ms", "sampling_hz", "lost_share", "outside_share"))


def test_trial_with_neither_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="P1 trial 7"):
        quality(None, None)


def test_left_and_top_edge_belong_to_the_window() -> None:
    x = np.array([100, 99.9, 900, 899.9, 100, 100, np.nan])
    y = np.array([50, 50, 50, 50, 450, 449.9, 60])
    assert inside(x, y, WINDOW).tolist() == [True, False, False, True, False, True, False]
