# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from gazeray.gaze.features import feature_names, reading_features

WINDOW = (100.0, 50.0, 1000.0, 200.0)


def features(*fixations: tuple[float, float, float], columns: int = 4) -> dict[str, float]:
    """Features by name of (x, y, duration) fixations."""
    x, y, duration = (np.array([f[axis] for f in fixations], dtype=np.float64) for axis in range(3))
    found = {"onset_ms": np.cumsum(duration), "x_px": x, "y_px": y, "duration_ms": duration}
    return dict(zip(feature_names(columns), reading_features(found, WINDOW, columns).tolist(), strict=True))


def test_known_reading_has_known_features() -> None:
    got = features((150, 100, 200), (450, 100, 300), (350, 100, 100), (1050, 100, 400))
    assert got == {
        "n_fixations": 4,
        "mean_duration_ms": 250,
        "total_duration_ms": 1000,
        "n_regressions": 1,
        "regression_share": pytest.approx(1 / 3),
        "horizontal_extent_px": 900,
        "mean_saccade_px": pytest.approx(1100 / 3),
        "dwell_01": 200,
        "dwell_02": 400,
        "dwell_03": 0,
        "dwell_04": 400,
    }


def test_return_sweep_is_no_regression() -> None:
    assert features((1000, 80, 200), (150, 120, 200))["n_regressions"] == 0
    assert features((1000, 80, 200), (150, 80, 200))["n_regressions"] == 1


def test_small_step_back_is_no_regression() -> None:
    assert features((500, 80, 200), (490, 80, 200))["n_regressions"] == 0


def test_fixations_outside_the_window_do_not_count() -> None:
    inside = features((500, 100, 200))
    assert features((500, 100, 200), (99, 100, 500), (1100, 100, 500), (500, 49, 500), (500, 250, 500)) == inside


def test_first_and_last_column_are_left_and_right() -> None:
    assert features((100, 100, 7))["dwell_01"] == 7
    assert features((1099.9, 100, 7))["dwell_04"] == 7


def test_no_fixation_gives_zeros() -> None:
    assert set(features().values()) == {0}


def test_lost_fixations_are_left_out() -> None:
    assert features((np.nan, 100, 200), (500, 100, 200), (600, 100, np.nan)) == features((500, 100, 200))


def test_nonsense_raises_value_error() -> None:
    empty = {key: np.zeros(0) for key in ("onset_ms", "duration_ms", "x_px", "y_px")}
    with pytest.raises(ValueError, match="window"):
        reading_features(empty, (0, 0, 0, 10), 4)
    with pytest.raises(ValueError, match="columns"):
        feature_names(-1)
    with pytest.raises(ValueError, match="length"):
        reading_features({**empty, "x_px": np.zeros(2)}, WINDOW, 4)
