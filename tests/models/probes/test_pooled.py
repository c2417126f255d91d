# SPDX-License-Identifier: Apache-2.0
"""The pooled probe: equal to scikit-learn's ridge regression from pooled features to whole maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from gazeray.models.probes import Pictures, ProbePicture
from gazeray.models.probes.pooled import fit_pooled, pool

FOLDS, CHANNELS, SIDE, PENALTIES = 3, 5, 64, (1e-3, 0.1, 10.0)


def make_set(n: int = 14) -> list[ProbePicture]:
    """Pictures whose mean activations say which of two blobs is looked at; targets that float16 holds exactly."""
    rng, found = np.random.default_rng(4), []
    blobs = rng.random((2, SIDE, SIDE))
    for index in range(n):
        share = rng.random()
        features = rng.normal(0, 0.2, (CHANNELS, 3, 4 + index % 2)) + share * np.arange(CHANNELS)[:, None, None]
        features = features.astype(np.float16)
        target = (share * blobs[0] + (1 - share) * blobs[1]).astype(np.float16).astype(np.float32)
        for array in (features, target):
            array.setflags(write=False)  # as arrays from shared memory are
        found.append(ProbePicture(features, index % FOLDS, np.zeros((0, 2), np.int64), target))
    return found


def passes(found: list[ProbePicture]) -> Pictures:
    def pictures(seed: int | None) -> Iterator[ProbePicture]:
        return iter(found)

    return pictures


def by_sklearn(found: list[ProbePicture], left_out: set[int], penalty: float, picture: ProbePicture) -> np.ndarray:
    """The map (side, side) float64 that scikit-learn predicts for a picture."""
    training = [each for each in found if each.fold not in left_out]
    x = np.array([each.features.astype(np.float64).mean((1, 2)) for each in training])
    y = np.array([each.target.ravel() for each in training], dtype=np.float64)
    mean, std = x.mean(0), x.std(0)
    model = Ridge(alpha=penalty * len(x), solver="svd").fit((x - mean) / std, y)
    tested = (picture.features.astype(np.float64).mean((1, 2)) - mean) / std
    wanted: np.ndarray = model.predict(tested[None]).reshape(SIDE, SIDE)
    return wanted


def test_batch_and_single_predictions_agree_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    found = make_set()
    probe = fit_pooled(passes(found), FOLDS, [0.1], SIDE)
    own = [picture for picture in found if picture.fold == 1]
    together = probe.predict_batch(torch.stack([pool(one.features) for one in own]), [(SIDE, SIDE)] * len(own), 1)
    monkeypatch.setattr("gazeray.models.probes.pooled.MAPS_AT_ONCE", 3)
    for one, map_ in zip(own, together, strict=True):
        np.testing.assert_allclose(probe.predict(one.features, (SIDE, SIDE), 1), map_, atol=1e-6)


def test_predictions_inner_scores_and_choice_equal_sklearn() -> None:
    found = make_set()
    probe = fit_pooled(passes(found), FOLDS, PENALTIES, SIDE)
    for fold in range(FOLDS):
        for penalty in PENALTIES:
            errors = []
            for other in set(range(FOLDS)) - {fold}:
                for picture in (each for each in found if each.fold == other):
                    wrong = by_sklearn(found, {fold, other}, penalty, picture) - picture.target
                    errors.append((wrong.reshape(32, 2, 32, 2).mean((1, 3)) ** 2).mean())
            assert probe.inner[fold][penalty] == pytest.approx(np.mean(errors), rel=1e-8)
        assert probe.chosen[fold] == min(PENALTIES, key=lambda penalty: probe.inner[fold][penalty])
    for picture in found:
        wanted = by_sklearn(found, {picture.fold}, probe.chosen[picture.fold], picture)
        np.testing.assert_allclose(probe.predict(picture.features, (SIDE, SIDE), picture.fold), wanted, atol=1e-5)


def test_maps_come_back_at_the_size_that_is_asked_for() -> None:
    found = make_set()
    probe = fit_pooled(passes(found), FOLDS, PENALTIES, map_px=8)
    assert probe.maps.shape == (len(found), 8, 8)
    square = probe.predict(found[0].features, (8, 8), 0)
    assert probe.predict(found[0].features, (4, 2), 0) == pytest.approx(
        square.reshape(4, 2, 2, 4).mean((1, 3)), abs=1e-6
    )
    assert probe.predict(found[0].features, (12, 20), 0).shape == (12, 20)


def test_position_is_not_used() -> None:
    found = make_set()
    probe = fit_pooled(passes(found), FOLDS, PENALTIES, SIDE)
    flipped = found[0].features[:, ::-1, ::-1].copy()
    np.testing.assert_allclose(
        probe.predict(flipped, (SIDE, SIDE), 0), probe.predict(found[0].features, (SIDE, SIDE), 0), atol=1e-6
    )


def test_a_test_picture_changes_nothing_in_the_model_that_is_tested_on_it() -> None:
    found = make_set()
    changed = [
        dataclasses.replace(picture, features=picture.features * 3 + 1, target=picture.target[::-1].copy())
        if picture.fold == 1
        else picture
        for picture in found
    ]
    one, other = (fit_pooled(passes(each), FOLDS, PENALTIES, SIDE) for each in (found, changed))
    probed = found[1].features
    assert np.array_equal(one.predict(probed, (SIDE, SIDE), 1), other.predict(probed, (SIDE, SIDE), 1))
    assert one.inner[1] == other.inner[1]
    assert not np.array_equal(one.predict(probed, (SIDE, SIDE), 0), other.predict(probed, (SIDE, SIDE), 0))


def test_features_that_are_not_finite_and_empty_folds_are_refused() -> None:
    found = make_set()
    found[2] = dataclasses.replace(found[2], features=np.full((CHANNELS, 3, 4), np.nan, np.float16))
    with pytest.raises(ValueError, match="not finite"):
        fit_pooled(passes(found), FOLDS, PENALTIES, SIDE)
    with pytest.raises(ValueError, match="needs a picture"):
        fit_pooled(passes([picture for picture in make_set() if picture.fold != 2]), FOLDS, PENALTIES, SIDE)
    with pytest.raises(ValueError, match="no pictures"):
        fit_pooled(passes([]), FOLDS, PENALTIES, SIDE)


def test_maps_are_kept_in_half_precision() -> None:
    assert fit_pooled(passes(make_set()), FOLDS, PENALTIES, 16).maps.dtype == torch.float16


def test_a_penalty_that_is_lost_in_rounding_is_named() -> None:
    found = [dataclasses.replace(one, features=one.features.repeat(2, 0)) for one in make_set()]
    with pytest.raises(ValueError, match=r"penalty 1e-300 is too small"):
        fit_pooled(passes(found), FOLDS, (1.0, 1e-300), SIDE)
