# SPDX-License-Identifier: Apache-2.0
"""The row of the quality table of one trial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.known_gaze import simulate_gaze, to_px
from gazeray.gaze.events import EventsConfig, Screen, detect
from gazeray.gaze.quality import MEASURED, QualityConfig, TrialGaze, bcea, gate, inside, rms_s2s, trial_quality
from gazeray.tables import QUALITY

WINDOW = (100.0, 50.0, 800.0, 400.0)
SCREEN = Screen(1000, 500, 400, 200, 600)


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


def test_sampling_rate_is_that_of_the_clock_without_its_pauses() -> None:
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


def noisy(seed: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.multivariate_normal([500, 250], [[9, 4], [4, 16]], n).T
    x[rng.random(n) < 0.1] = np.nan
    return x, y


@pytest.mark.parametrize("seed", range(3))
def test_rms_s2s_agrees_with_a_loop_over_pairs(seed: int) -> None:
    x, y = noisy(seed)
    squares = []
    for i in range(len(x) - 1):
        if not math.isnan(x[i]) and not math.isnan(x[i + 1]):
            squares.append(math.dist((x[i], y[i]), (x[i + 1], y[i + 1])) ** 2)
    assert rms_s2s(x, y) == pytest.approx(math.sqrt(sum(squares) / len(squares)))


@pytest.mark.parametrize("seed", range(3))
def test_bcea_agrees_with_the_formula_and_holds_its_share_of_the_gaze(seed: int) -> None:
    x, y = noisy(seed, 4000)
    known = ~np.isnan(x)
    sd_x, sd_y = x[known].std(ddof=1), y[known].std(ddof=1)
    rho = np.corrcoef(x[known], y[known])[0, 1]
    area = 2 * -math.log(0.32) * math.pi * sd_x * sd_y * math.sqrt(1 - rho**2)
    assert bcea(x, y) == pytest.approx(area)
    centred = np.stack([x[known] - x[known].mean(), y[known] - y[known].mean()])
    distance = (centred * np.linalg.solve(np.cov(centred), centred)).sum(axis=0)
    radius = area / (math.pi * math.sqrt(np.linalg.det(np.cov(centred))))
    assert (distance <= radius).mean() == pytest.approx(0.68, abs=0.02)


def test_rms_s2s_and_bcea_agree_with_pymovements() -> None:
    measure = pytest.importorskip("pymovements.measure.samples.measures")
    polars = pytest.importorskip("polars")
    x, y = noisy(0)
    x, y = x[~np.isnan(x)], y[~np.isnan(x)]
    frame = polars.DataFrame({"position": np.stack([x, y], axis=1).tolist()})
    found = frame.select(
        measure.rms_s2s("position", n_components=2), measure.bcea("position", n_components=2, confidence=68.0)
    )
    assert rms_s2s(x, y) == pytest.approx(found["rms_s2s"].item())
    assert bcea(x, y) == pytest.approx(found["bcea"].item())


def test_too_little_gaze_has_no_precision() -> None:
    one = np.array([1.0, np.nan, 2.0])
    assert math.isnan(rms_s2s(one, one))
    assert math.isnan(bcea(one[:2], one[:2]))
    assert bcea(one, one) == 0


def test_precision_over_detected_fixations_recovers_the_simulated_noise() -> None:
    """White noise of SD s has an RMS-S2S of 2 s over both axes; its ellipse has 2 k pi s^2."""
    wide = Screen(1600, 1200, 400, 300, 600)
    known = simulate_gaze(0, 500.0, 60, 0.05, blinks=5)
    x, y = to_px(wide, known.x_deg, known.y_deg)
    gaze = {"timestamp_ms": known.timestamp_ms, "x_px": x.astype(np.float32), "y_px": y.astype(np.float32)}
    trial = TrialGaze("P1", "7", gaze, None)
    found = detect(gaze, wide, EventsConfig(detector="ivt")).fixations
    row = trial_quality(trial, WINDOW, wide, found)
    assert row["rms_s2s_deg"] == pytest.approx(0.1, rel=0.03)
    ellipse = 2 * -math.log(0.32) * math.pi * 0.05**2
    assert isinstance(row["bcea_deg2"], float)
    assert ellipse * 0.95 < row["bcea_deg2"] < ellipse * 1.6  # the drift adds to it
    px_per_deg = math.tan(math.radians(1)) * 600 * 4
    assert row["rms_s2s_px"] == pytest.approx(0.1 * px_per_deg, rel=0.08)
    whole = trial_quality(trial, WINDOW, wide)
    assert float(whole["rms_s2s_deg"]) > 2 * float(row["rms_s2s_deg"])
    assert float(whole["bcea_deg2"]) > 100 * row["bcea_deg2"]


def test_precision_is_the_median_over_fixations() -> None:
    time = np.arange(30.0)
    x = np.concatenate([np.tile([0.0, 1.0], 5), np.tile([0.0, 2.0], 5), np.tile([0.0, 9.0], 5)])
    found = {"onset_ms": np.array([0.0, 10, 20]), "duration_ms": np.full(3, 10, np.float32)}
    gaze = TrialGaze("P1", "7", samples(list(time), list(x), [0.0] * 30), None)
    assert trial_quality(gaze, WINDOW, SCREEN, found)["rms_s2s_px"] == pytest.approx(2.0)
    assert trial_quality(gaze, WINDOW, SCREEN, found)["n_fixations"] == 3, "those detected, where none were read"
    assert trial_quality(gaze, WINDOW, SCREEN)["n_fixations"] == 0


def test_off_screen_share_is_of_the_samples_that_are_not_lost() -> None:
    gaze = TrialGaze("P1", "7", samples([0, 1, 2, 3], [10, 1000, math.nan, -1], [10, 10, math.nan, 10]), None)
    assert trial_quality(gaze, WINDOW, SCREEN)["off_screen_share"] == pytest.approx(2 / 3)
    assert math.isnan(float(trial_quality(gaze, WINDOW)["off_screen_share"]))


@pytest.mark.parametrize(
    ("x", "gap"),
    [
        pytest.param([1, 1, 1, 1, 1], 10, id="nothing_lost"),
        pytest.param([1, math.nan, math.nan, 1, 1], 30, id="in_the_middle"),
        pytest.param([math.nan, math.nan, 1, 1, 1], 20, id="at_the_start"),
        pytest.param([1, math.nan, math.nan, math.nan, math.nan], 40, id="at_the_end"),
        pytest.param([math.nan] * 5, 40, id="all_lost"),
    ],
)
def test_longest_gap_lasts_from_gaze_to_gaze(x: list[float], gap: float) -> None:
    assert quality(samples([0, 10, 20, 30, 40], x, x), None)["longest_gap_ms"] == gap


def test_degrees_are_not_known_without_geometry() -> None:
    gaze = TrialGaze("P1", "7", samples([0, 1, 2], [10, 11, 13], [10, 13, 10]), None)
    for screen in (None, Screen(1000, 500)):
        row = trial_quality(gaze, WINDOW, screen)
        assert math.isnan(float(row["rms_s2s_deg"]))
        assert math.isnan(float(row["bcea_deg2"]))
        assert float(row["rms_s2s_px"]) > 0
        assert float(row["bcea_px2"]) > 0


GOOD: dict[str, Any] = {
    "lost_share": 0.1,
    "off_screen_share": 0.1,
    "rms_s2s_deg": 0.1,
    "bcea_deg2": 0.2,
    "sampling_hz": 250.0,
    "duration_ms": 5000.0,
    "validation_left_deg": 0.4,
    "validation_right_deg": math.nan,
}


@pytest.mark.parametrize(
    ("limits", "changes", "reason"),
    [
        pytest.param({}, {}, "", id="good_trial_passes"),
        pytest.param({}, {"lost_share": 0.62}, "lost_share 0.62 > quality.max_lost_share 0.5", id="lost"),
        pytest.param({}, {"lost_share": 0.5}, "", id="the_limit_itself_passes"),
        pytest.param({"max_lost_share": None}, {"lost_share": 1.0}, "", id="no_limit"),
        pytest.param({}, {"lost_share": math.nan}, "", id="unknown_loss_passes"),
        pytest.param({"min_sampling_hz": 300}, {}, "sampling_hz 250 < quality.min_sampling_hz 300", id="slow_sampling"),
        pytest.param(
            {"max_rms_s2s_deg": 0.5},
            {"rms_s2s_deg": math.nan},
            "rms_s2s_deg is not known, quality.max_rms_s2s_deg 0.5",
            id="unknown_precision_is_refused",
        ),
        pytest.param(
            {"max_bcea_deg2": 0.1, "min_duration_ms": 6000},
            {"off_screen_share": 0.9},
            "bcea_deg2 0.2 > quality.max_bcea_deg2 0.1; duration_ms 5000 < quality.min_duration_ms 6000",
            id="all_reasons_at_once",
        ),
        pytest.param({"max_validation_deg": 0.4}, {}, "", id="validation_of_one_eye"),
        pytest.param(
            {"max_validation_deg": 1},
            {"validation_right_deg": 1.25},
            "validation_right_deg 1.25 > quality.max_validation_deg 1",
            id="validation_of_the_worse_eye",
        ),
        pytest.param(
            {"max_validation_deg": 1},
            {"validation_left_deg": math.nan},
            "validation_left_deg and validation_right_deg are not known, quality.max_validation_deg 1",
            id="no_validation_is_refused",
        ),
        pytest.param(
            {"max_off_screen_share": 0.05}, {}, "off_screen_share 0.1 > quality.max_off_screen_share 0.05", id="off"
        ),
    ],
)
def test_gate_says_why(limits: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    assert gate(GOOD | changes, QualityConfig.model_validate(limits)) == reason


def test_every_limit_is_of_a_column_of_the_quality_table() -> None:
    assert set(MEASURED) == set(QualityConfig.model_fields)
    assert {name for names in MEASURED.values() for name in names} <= set(QUALITY.names)


def test_accuracy_is_what_the_tracker_said_and_nan_where_it_did_not() -> None:
    fixations = {name: np.ones(1) for name in ("onset_ms", "duration_ms", "x_px", "y_px")}
    said = {"validation_left_deg": 0.4, "validation_left_max_deg": 0.84}
    row = trial_quality(TrialGaze("P1", "1", None, fixations, accuracy=said), (0, 0, 10, 10))
    assert {name: row[name] for name in said} == said
    assert np.isnan([row["validation_right_deg"], row["validation_right_max_deg"]]).all()
