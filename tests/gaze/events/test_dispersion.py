# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.events import EventsConfig, detect


def fixations_idt(
    timestamp_ms: Any, x_px: Any, y_px: Any, dispersion_px: float, min_duration_ms: float, max_gap_ms: float = 75.0
) -> dict[str, Any]:
    """The fixations of one trial by the detector idt_px."""
    cfg = EventsConfig(dispersion_px=dispersion_px, min_duration_ms=min_duration_ms, max_gap_ms=max_gap_ms)
    return detect({"timestamp_ms": timestamp_ms, "x_px": x_px, "y_px": y_px}, None, cfg).fixations


def slow_idt(
    time: np.ndarray, x: np.ndarray, y: np.ndarray, dispersion: float, duration: float, gap: float
) -> list[tuple[float, float, float, float]]:
    """I-DT word by word from Salvucci & Goldberg (2000): grow a window, keep it or drop its first point."""
    step = float(np.median(np.diff(time)))
    points = [(t, a, b) for t, a, b in zip(time, x, y, strict=True) if np.isfinite(a) and np.isfinite(b)]

    def together(start: int, stop: int) -> bool:
        some = points[start:stop]
        if any(b[0] - a[0] > gap for a, b in pairwise(some)):
            return False
        xs, ys = [p[1] for p in some], [p[2] for p in some]
        return max(xs) - min(xs) + max(ys) - min(ys) <= dispersion

    def long_enough(start: int, stop: int) -> bool:
        return points[stop - 1][0] - points[start][0] + step >= duration - 1e-9

    found, start = [], 0
    while start < len(points):
        stop = start + 1
        while stop <= len(points) and not long_enough(start, stop):
            stop += 1
        if stop > len(points):
            break
        if not together(start, stop):
            start += 1
            continue
        while stop < len(points) and together(start, stop + 1):
            stop += 1
        some = points[start:stop]
        length = some[-1][0] - some[0][0] + step
        found.append((some[0][0], length, np.mean([p[1] for p in some]), np.mean([p[2] for p in some])))
        start = stop
    return found


def walk(seed: int, lost: float = 0.05) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places held for a while, with jitter and lost samples, at 100 Hz."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 800, (12, 2))
    held = rng.integers(3, 40, 12)
    xy = np.repeat(places, held, axis=0) + rng.normal(0, 4, (held.sum(), 2))
    xy[rng.random(len(xy)) < lost] = np.nan
    start = rng.integers(0, len(xy) - 20)
    xy[start : start + 15] = np.nan
    return np.arange(len(xy)) * 10.0, xy[:, 0], xy[:, 1]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dispersion", [15.0, 40.0, 150.0])
def test_fixations_agree_with_the_slow_way(seed: int, dispersion: float) -> None:
    time, x, y = walk(seed)
    found = fixations_idt(time, x, y, dispersion, 80.0, 75.0)
    slow = slow_idt(time, x, y, dispersion, 80.0, 75.0)
    assert len(slow) == len(found["onset_ms"])
    for number, (onset, length, mean_x, mean_y) in enumerate(slow):
        assert found["onset_ms"][number] == onset
        assert found["duration_ms"][number] == pytest.approx(length)
        assert found["x_px"][number] == pytest.approx(mean_x, abs=1e-2)
        assert found["y_px"][number] == pytest.approx(mean_y, abs=1e-2)


def test_two_steps_are_two_fixations_with_known_times_and_places() -> None:
    time = np.arange(60) * 10.0
    x = np.where(time < 300, 100.0, 500.0)
    found = fixations_idt(time, x, np.full(60, 50.0), 30.0, 100.0)
    assert found["onset_ms"].tolist() == [0.0, 300.0]
    assert found["duration_ms"].tolist() == [300.0, 300.0]
    assert found["x_px"].tolist() == [100.0, 500.0]
    assert found["y_px"].tolist() == [50.0, 50.0]


def test_short_gap_is_bridged_and_a_long_one_ends_the_fixation() -> None:
    time, x, y = np.arange(60) * 10.0, np.full(60, 10.0), np.full(60, 10.0)
    x[20:24] = np.nan
    assert len(fixations_idt(time, x, y, 30.0, 100.0, 75.0)["onset_ms"]) == 1
    x[20:40] = np.nan
    assert fixations_idt(time, x, y, 30.0, 100.0, 75.0)["onset_ms"].tolist() == [0.0, 400.0]


def test_gaze_that_never_rests_has_no_fixation() -> None:
    time = np.arange(50) * 10.0
    assert len(fixations_idt(time, time * 5, time * 0, 30.0, 100.0)["onset_ms"]) == 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_have_no_fixation(count: int) -> None:
    assert len(fixations_idt(np.zeros(count), np.zeros(count), np.zeros(count), 30.0, 100.0)["onset_ms"]) == 0


def test_all_lost_has_no_fixation() -> None:
    nan = np.full(50, np.nan)
    assert len(fixations_idt(np.arange(50) * 10.0, nan, nan, 30.0, 100.0)["onset_ms"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"timestamp_ms": [0, 10, 5]}, "backwards", id="time_runs_backwards"),
        pytest.param({"timestamp_ms": [0, np.nan, 5]}, "finite", id="time_is_not_finite"),
        pytest.param({"x_px": [1.0]}, "shape", id="other_shape"),
        pytest.param({"dispersion_px": 0.0}, "dispersion_px", id="no_dispersion"),
        pytest.param({"min_duration_ms": -1.0}, "min_duration_ms", id="negative_duration"),
        pytest.param({"max_gap_ms": 0.0}, "max_gap_ms", id="no_gap"),
    ],
)
def test_nonsense_raises_value_error(changes: dict[str, Any], message: str) -> None:
    plain: dict[str, Any] = {"timestamp_ms": [0, 10, 20], "x_px": [1.0, 1, 1], "y_px": [1.0, 1, 1]}
    with pytest.raises(ValueError, match=message):
        fixations_idt(**{**plain, "dispersion_px": 30.0, "min_duration_ms": 10.0, **changes})
