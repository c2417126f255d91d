# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from gazeray.gaze.clock import PAUSE
from gazeray.gaze.pupils import eyes_of, joined, pupil_name, without_margins


def test_two_eyes_go_before_one_pupil() -> None:
    assert eyes_of(["gsr", "pupil", "pupil_right", "pupil_left"]) == ["pupil_left", "pupil_right"]
    assert eyes_of(["pupil", "pupil_right"]) == ["pupil_right"]
    assert eyes_of(["pupil", "pupil_mm"]) == ["pupil"]
    assert eyes_of(["gsr"]) == []


def test_pupil_is_in_mm_only_where_all_its_eyes_are() -> None:
    assert pupil_name(["pupil_left", "pupil_right"], {"pupil_left": "mm", "pupil_right": "mm"}) == "pupil_mm"
    assert pupil_name(["pupil_left", "pupil_right"], {"pupil_left": "mm", "pupil_right": "px"}) == "pupil"
    assert pupil_name(["pupil_mm"], {}) == "pupil_mm"
    assert pupil_name(["pupil"], {}) == "pupil"


def test_mean_of_the_eyes_that_are_there_makes_no_step() -> None:
    left, right = np.linspace(3.0, 4.0, 50), np.linspace(3.4, 4.4, 50)
    whole = joined(np.stack([left, right]))
    np.testing.assert_allclose(whole, (left + right) / 2)
    left[10:20], right[30:33] = np.nan, np.nan
    np.testing.assert_allclose(joined(np.stack([left, right])), whole)
    right[:] = np.nan
    np.testing.assert_array_equal(joined(np.stack([left, right])), left)
    assert np.isnan(joined(np.full((2, 3), np.nan))).all()


def test_margins_as_by_plain_loops() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        time = np.cumsum(rng.choice([10.0, 10.0, 10.0, 80.0], 60))
        eyes = np.where(rng.random((2, 60)) < 0.05, np.nan, 3.0)
        found = without_margins(eyes, time, 25.0, 10.0)
        for eye, row in zip(eyes, found, strict=True):
            for k in range(60):
                lost = [
                    j
                    for j in range(60)
                    if np.isnan(eye[j])
                    or (j and time[j] - time[j - 1] > PAUSE * 10)
                    or (j < 59 and time[j + 1] - time[j] > PAUSE * 10)
                ]
                assert np.isnan(row[k]) == any(abs(time[j] - time[k]) <= 25.0 for j in lost)


def test_no_margin_leaves_all_as_it_is() -> None:
    eyes = np.array([[3.0, np.nan, 3.1]])
    assert without_margins(eyes, np.array([0.0, 1.0, 9.0]), 0.0, 1.0) is eyes


@pytest.mark.parametrize("n", [0, 1])
def test_margins_of_few_samples(n: int) -> None:
    assert without_margins(np.full((2, n), 3.0), np.arange(float(n)), 50.0, np.nan).shape == (2, n)
