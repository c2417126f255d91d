# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from gazeray.gaze.signal_scaling import Scaler
from gazeray.gaze.signals_config import SignalsConfig

NAMES = ("x", "pupil_mm", "gsr", "heart_rate")
PEOPLE = ["a", "b", "a", "c", "b", "a"]


def values() -> np.ndarray:
    """Six trials, each person with a level of its own; GSR in ohm."""
    rng = np.random.default_rng(0)
    level = np.array([{"a": 0.0, "b": 1.0, "c": 5.0}[name] for name in PEOPLE])[:, None, None]
    scale = np.array([0.3, 0.4, 4e4, 10.0])[:, None]
    found = np.array([0.0, 3.0, 2.6e5, 80.0])[:, None] + scale * (level + rng.normal(size=(6, 4, 50)))
    found[rng.random(found.shape) < 0.2] = np.nan
    return found.astype(np.float32)


def fit(scale: str, series: np.ndarray | None = None) -> Scaler:
    return Scaler.fit(
        values() if series is None else series, PEOPLE, NAMES, SignalsConfig.model_validate({"scale": scale})
    )


def test_masks_stand_behind_the_channels_and_lost_is_0() -> None:
    series = values()
    found = fit("training_people").apply(series)
    assert found.shape == (6, 8, 50)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found[:, 4:].numpy(), ~np.isnan(series))
    assert (found[:, :4][np.isnan(series)] == 0).all()
    assert torch.isfinite(found).all()


def test_training_people_have_mean_0_and_spread_1() -> None:
    series = values()
    found = fit("training_people").apply(series)[:, :4].numpy()
    flat = np.where(np.isnan(series), np.nan, found).transpose(1, 0, 2).reshape(4, -1)
    np.testing.assert_allclose(np.nanmean(flat, axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(flat, axis=1), 1, rtol=1e-5)


def test_other_people_do_not_move_the_scaler() -> None:
    scaler = fit("training_people")
    moved = values()
    moved[3] += 1e6
    one = Scaler.fit(values()[[0, 1, 2]], PEOPLE[:3], NAMES, SignalsConfig(scale="training_people"))
    torch.testing.assert_close(scaler.apply(values())[0], scaler.apply(moved)[0])
    np.testing.assert_allclose(one.mean[0], np.nanmean(values()[:3].astype(np.float64), axis=(0, 2)), rtol=1e-5)


def test_each_participant_by_the_own_trials() -> None:
    series = values()
    scaler = fit("participant")
    found = scaler.apply(series, PEOPLE)[:, :4].numpy()
    for name in "abc":
        own = np.array(PEOPLE) == name
        flat = np.where(np.isnan(series), np.nan, found)[own].transpose(1, 0, 2).reshape(4, -1)
        np.testing.assert_allclose(np.nanmean(flat, axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(np.nanstd(flat, axis=1), 1, rtol=1e-4)
    torch.testing.assert_close(scaler.apply(series[[3, 0]], ["c", "a"]), scaler.apply(series, PEOPLE)[[3, 0]])
    with pytest.raises(ValueError, match="nothing is known of: d"):
        scaler.apply(series[:1], ["d"])
    with pytest.raises(ValueError, match="nothing is known of: whom"):
        scaler.apply(series[:1])


def test_published_constants_and_skin_conductance_by_the_trial() -> None:
    series = values()
    found = fit("published").apply(series)[:, :4].numpy()
    gsr = series[:, 2] - np.nanmean(series[:, 2], axis=1, keepdims=True)
    gsr /= np.nanstd(gsr, axis=1, keepdims=True)
    right = np.nan_to_num(np.stack([series[:, 0], (series[:, 1] - 3) / 0.4, gsr, (series[:, 3] - 80) / 15], axis=1))
    np.testing.assert_allclose(found, right, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", ["training_people", "participant", "published"])
def test_flat_and_lost_channels_give_0(scale: str) -> None:
    series = values()
    series[:, 2] = 2.6e5
    series[:, 1] = np.nan
    found = fit(scale, series).apply(series, PEOPLE)
    assert (found[:, [1, 2, 5]] == 0).all()
    assert (found[:, 6] == 1).all()


def test_nobody_to_fit_on_leaves_values_as_they_are() -> None:
    nobody = Scaler.fit(np.empty((0, 4, 50), np.float32), [], NAMES, SignalsConfig(scale="training_people"))
    np.testing.assert_allclose(nobody.apply(values())[:, :4].numpy(), np.nan_to_num(values()))
