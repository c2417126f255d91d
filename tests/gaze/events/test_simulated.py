# SPDX-License-Identifier: Apache-2.0
"""The simulated gaze itself, since the detectors are judged by it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import known_gaze as synth
from benchmarks.known_gaze import simulate_gaze


def test_gaze_stands_still_in_fixations_and_moves_by_the_amplitude_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "DRIFT_DEG", 0.0)
    known = simulate_gaze(0, 1000.0, 20, noise_deg=0.0)
    places = []
    for start, stop in known.fixations:
        inside = (known.timestamp_ms >= start) & (known.timestamp_ms <= stop)
        places.append((known.x_deg[inside].mean(), known.y_deg[inside].mean()))
        assert np.ptp(known.x_deg[inside]) + np.ptp(known.y_deg[inside]) < 1e-9
    np.testing.assert_allclose(np.hypot(*np.diff(places, axis=0).T), known.amplitudes_deg)
    assert (known.amplitudes_deg >= 2).all()
    np.testing.assert_allclose(np.diff(known.saccades)[:, 0], 21 + 2.2 * known.amplitudes_deg)


def test_blink_loses_gaze_in_the_middle_of_a_fixation() -> None:
    known = simulate_gaze(0, 500.0, 20, blinks=3)
    assert np.isnan(known.x_deg).sum() == pytest.approx(3 * 75, abs=3)
    for start, stop in known.blinks:
        assert ((known.fixations[:, 0] + 100 < start) & (stop < known.fixations[:, 1] - 100)).sum() == 1


def test_same_seed_is_the_same_gaze_and_another_is_not() -> None:
    first, same, other = (simulate_gaze(seed, n_fixations=5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_deg, same.x_deg)
    assert len(first.x_deg) != len(other.x_deg)


@pytest.mark.parametrize(("fixations", "blinks"), [(1, 0), (4, 3)])
def test_too_few_fixations_raise_value_error(fixations: int, blinks: int) -> None:
    with pytest.raises(ValueError, match=f"{fixations} fixations with {blinks} blinks"):
        simulate_gaze(0, n_fixations=fixations, blinks=blinks)
