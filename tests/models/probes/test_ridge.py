# SPDX-License-Identifier: Apache-2.0
"""Ridge regression by normal equations: equal to scikit-learn on all cells stacked, for every column and penalty."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from gazeray.models.probes import Pictures, ProbePicture, choose, columns
from gazeray.models.probes.ridge import NormalEquations, fit_ridge

FOLDS, CHANNELS, PENALTIES = 4, 6, (1e-3, 0.1, 10.0)


def make_set(seed: int = 0, n: int = 9) -> list[ProbePicture]:
    """Pictures of two sizes, one channel constant, one nearly a copy of another, the target a noisy linear map."""
    rng, found = np.random.default_rng(seed), []
    weights = rng.normal(size=CHANNELS)
    for index in range(n):
        size = (4, 6) if index % 2 else (5, 4)
        features = rng.normal(2, 3, (CHANNELS, *size))
        features[1] = 7.25
        features[2] = features[3] + 0.1 * rng.normal(size=size)
        features = features.astype(np.float16)
        target = np.tensordot(weights, features.astype(np.float64), 1) / 20 + rng.normal(0, 0.3, size)
        drawn = target.repeat(3, 0).repeat(3, 1).astype(np.float32)  # the grid is three times as fine
        for array in (features, drawn):
            array.setflags(write=False)  # as arrays from shared memory are
        found.append(ProbePicture(features, index % FOLDS, np.zeros((0, 2), np.int64), drawn))
    return found


def passes(found: list[ProbePicture]) -> Pictures:
    def pictures(seed: int | None) -> Iterator[ProbePicture]:
        order = range(len(found)) if seed is None else np.random.default_rng(seed).permutation(len(found))
        return (found[index] for index in order)

    return pictures


def stacked(found: list[ProbePicture], folds: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """All cells (n, C) and their targets (n,), the target averaged by plain loops over 3 x 3 blocks."""
    rows, targets = [], []
    for picture in found:
        if picture.fold in folds:
            for y, x in np.ndindex(picture.features.shape[1:]):
                rows.append(picture.features[:, y, x].astype(np.float64))
                targets.append(picture.target[3 * y : 3 * y + 3, 3 * x : 3 * x + 3].astype(np.float64).mean())
    return np.array(rows), np.array(targets)


def by_sklearn(found: list[ProbePicture], left_out: set[int], penalty: float) -> tuple[np.ndarray, float]:
    """Raw weights and intercept: scikit-learn on features standardised by hand."""
    x, y = stacked(found, set(range(FOLDS)) - left_out)
    mean, std = x.mean(0), x.std(0)
    std[std == 0] = 1
    model = Ridge(alpha=penalty * len(y), solver="svd").fit((x - mean) / std, y)
    return model.coef_ / std, float(model.intercept_ - model.coef_ @ (mean / std))


def test_every_column_and_penalty_equals_sklearn_on_stacked_cells() -> None:
    found = make_set()
    sums = NormalEquations(CHANNELS, FOLDS)
    for picture in found:
        size = picture.features.shape[1:]
        target = picture.target.astype(np.float64).reshape(size[0], 3, size[1], 3).mean((1, 3))
        sums.add(picture.features, target, picture.fold)
    for left_out in columns(FOLDS):
        for penalty, model in zip(PENALTIES, sums.solve(left_out, PENALTIES), strict=True):
            weights, intercept = by_sklearn(found, set(left_out), penalty)
            np.testing.assert_allclose(model.weights.numpy(), weights, rtol=1e-6, atol=1e-9)
            assert model.intercept == pytest.approx(intercept, rel=1e-6, abs=1e-9)
            assert model.weights[1] == 0  # the constant channel
            for fold in range(FOLDS):
                x, y = stacked(found, {fold})
                wanted = float(((x @ weights + intercept - y) ** 2).sum())
                assert sums.squared_error(model, fold) == pytest.approx(wanted, rel=1e-9)


def test_inner_scores_choice_and_prediction_equal_explicit_fits() -> None:
    found = make_set()
    probe = fit_ridge(passes(found), FOLDS, PENALTIES)
    for fold in range(FOLDS):
        for penalty in PENALTIES:
            error, n = 0.0, 0
            for other in set(range(FOLDS)) - {fold}:
                weights, intercept = by_sklearn(found, {fold, other}, penalty)
                x, y = stacked(found, {other})
                error, n = error + float(((x @ weights + intercept - y) ** 2).sum()), n + len(y)
            assert probe.inner[fold][penalty] == pytest.approx(error / n, rel=1e-8)
        assert probe.chosen[fold] == min(PENALTIES, key=lambda penalty: probe.inner[fold][penalty])
        weights, intercept = by_sklearn(found, {fold}, probe.chosen[fold])
        tested = next(picture for picture in found if picture.fold == fold)
        wanted = np.tensordot(weights, tested.features.astype(np.float64), 1) + intercept
        size = tested.features.shape[1:]
        np.testing.assert_allclose(probe.predict(tested.features, size, fold), wanted, rtol=1e-5, atol=1e-6)
        assert probe.predict(tested.features, tested.target.shape, fold).shape == tested.target.shape


def test_a_test_picture_changes_nothing_in_the_model_that_is_tested_on_it() -> None:
    found = make_set()
    rng = np.random.default_rng(9)
    changed = [
        dataclasses.replace(
            picture,
            features=rng.normal(size=picture.features.shape).astype(np.float16),
            target=rng.random(picture.target.shape, dtype=np.float32),
        )
        if picture.fold == 2
        else picture
        for picture in found
    ]
    one, other = (fit_ridge(passes(each), FOLDS, PENALTIES) for each in (found, changed))
    assert torch.equal(one.models[2].weights, other.models[2].weights)
    assert one.models[2].intercept == other.models[2].intercept
    assert one.inner[2] == other.inner[2]
    assert not torch.equal(one.models[1].weights, other.models[1].weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"features": np.full((CHANNELS, 4, 6), np.inf, np.float16)}, "not finite", id="infinite_features"),
        pytest.param({"features": np.zeros((3, 4, 6), np.float16)}, "do not fit 6 channels", id="other_channels"),
        pytest.param({"fold": 4}, "fold 4 is not one of 4", id="fold_out_of_range"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    found = make_set()
    found[3] = dataclasses.replace(found[3], **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        fit_ridge(passes(found), FOLDS, PENALTIES)


def test_a_fold_without_pictures_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a picture"):
        fit_ridge(passes([picture for picture in make_set() if picture.fold != 1]), FOLDS, PENALTIES)


@pytest.mark.parametrize("penalties", [(), (0.0,), (-1.0,), (float("inf"),), (1.0, 1.0)])
def test_unusable_penalties_are_refused(penalties: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="penalt"):
        fit_ridge(passes(make_set()), FOLDS, penalties)


def test_a_penalty_that_is_lost_in_rounding_is_named() -> None:
    found = [dataclasses.replace(one, features=np.concatenate([one.features, one.features[2:3]])) for one in make_set()]
    with pytest.raises(ValueError, match=r"penalty 1e-300 is too small"):
        fit_ridge(passes(found), FOLDS, (1.0, 1e-300))
    assert fit_ridge(passes(found), FOLDS, (1.0, 1e-9)).chosen


def test_a_tiny_penalty_is_no_matter_where_features_tell_apart() -> None:
    found = make_set()
    sums = NormalEquations(CHANNELS, FOLDS)
    for picture in found:
        target = picture.target.reshape(picture.features.shape[1], 3, -1, 3).mean((1, 3))
        sums.add(picture.features, target, picture.fold)
    model = sums.solve(frozenset(), [1e-300])[0]
    x, y = stacked(found, set(range(FOLDS)))
    wanted = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    np.testing.assert_allclose(
        x @ model.weights.numpy() + model.intercept, np.column_stack([x, np.ones(len(x))]) @ wanted, rtol=1e-5
    )


def test_columns_are_single_folds_then_pairs() -> None:
    assert columns(3) == [frozenset(folds) for folds in ([0], [1], [2], [0, 1], [0, 2], [1, 2])]
    with pytest.raises(ValueError, match="at least 3"):
        columns(2)


def test_the_stronger_penalty_is_chosen_where_two_are_equal() -> None:
    assert choose({0: {1.0: 0.5, 2.0: 0.5, 3.0: 0.7}}, largest=False) == {0: 2.0}
    assert choose({0: {1.0: 0.5, 2.0: 0.5, 3.0: 0.7}}, largest=True) == {0: 3.0}
