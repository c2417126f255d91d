# SPDX-License-Identifier: Apache-2.0
"""The linear read-out: finds what was planted, learns nothing from test pictures, goes on where it stopped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gazeray.metrics.resampling import resize
from gazeray.models.probes import Pictures, ProbePicture, columns
from gazeray.models.probes.readout import ReadoutFit, ReadoutSettings, fit_readout

FOLDS, CHANNELS = 3, 6
PLANTED = np.array([1.5, -1.0, 0.0, 0.0, 0.0, 0.0])
PLAIN = ReadoutSettings(
    epochs=6,
    batch_size=4,
    learning_rate=0.1,
    penalties=(1e-4, 1.0),
    blur_px=1.0,
    learn_blur=False,
    centre_bias=False,
    train_on="fixations",
    longest_px=32,
)


def make_set(n: int = 12, n_fixations: int = 200, seed: int = 0, centre: float = 0.0) -> list[ProbePicture]:
    """Pictures of two sizes, looked at by exp(planted . features), interpolated to a grid four times as fine."""
    rng, found = np.random.default_rng(seed), []
    for index in range(n):
        height, width = (6, 8) if index % 2 else (8, 6)
        features = rng.normal(size=(CHANNELS, height, width)).astype(np.float16)
        features[5] *= 100  # a loud channel that says nothing
        planted = torch.from_numpy(np.tensordot(PLANTED, features.astype(float), 1))[None, None]
        wanted = torch.nn.functional.interpolate(planted, scale_factor=4, mode="bilinear")[0, 0].numpy()
        y, x = np.mgrid[: 4 * height, : 4 * width]
        wanted -= centre * (((y + 0.5) / (4 * height) - 0.5) ** 2 + ((x + 0.5) / (4 * width) - 0.5) ** 2)
        density = np.exp(wanted) / np.exp(wanted).sum()
        drawn = rng.choice(density.size, n_fixations, p=density.ravel())
        cells = np.stack(np.unravel_index(drawn, density.shape), 1).astype(np.int64)
        target = (density / density.max()).astype(np.float32)
        for array in (features, cells, target):
            array.setflags(write=False)  # as arrays from shared memory are
        found.append(ProbePicture(features, index % FOLDS, cells, target))
    return found


def passes(found: list[ProbePicture]) -> Pictures:
    def pictures(seed: int | None) -> Iterator[ProbePicture]:
        order = range(len(found)) if seed is None else np.random.default_rng(seed).permutation(len(found))
        return (found[index] for index in order)

    return pictures


def settings(**changes: Any) -> ReadoutSettings:
    return dataclasses.replace(PLAIN, **changes)


def bits(probe: Any, picture: ProbePicture) -> float:
    """Log-likelihood of the fixations over uniform, bits per fixation, by a plain loop."""
    log_density = probe.predict(picture.features, picture.target.shape, picture.fold)
    values = [log_density[y, x] + math.log(log_density.size) for y, x in picture.cells]
    return float(np.mean(values)) / math.log(2)


@pytest.mark.parametrize("train_on", ["fixations", "maps"])
def test_a_planted_readout_is_found(train_on: str) -> None:
    found = make_set()
    probe = fit_readout(passes(found), FOLDS, settings(train_on=train_on, epochs=40), seed=0)
    for fold, model in probe.models.items():
        weights = model.weights.numpy()
        assert np.corrcoef(weights, PLANTED)[0, 1] > 0.98
        assert abs(weights[5]) < 0.002
        assert probe.chosen[fold] == 1e-4
        assert probe.inner[fold][1e-4] > probe.inner[fold][1.0] > 0
    truth = [np.log(p.target[p.cells[:, 0], p.cells[:, 1]] / p.target.mean()).mean() / math.log(2) for p in found]
    assert np.mean([bits(probe, picture) for picture in found]) > 0.95 * np.mean(truth)


def test_every_prediction_is_a_density_of_the_size_that_is_asked_for() -> None:
    found = make_set()
    probe = fit_readout(passes(found), FOLDS, settings(epochs=2, centre_bias=True, learn_blur=True), seed=0)
    for size in ((24, 32), (7, 50), (1, 1)):
        log_density = probe.predict(found[0].features, size, 0)
        assert log_density.dtype == np.float32
        assert log_density.shape == size
        assert np.exp(log_density.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("train_on", ["fixations", "maps"])
def test_a_test_picture_changes_no_bit_of_the_model_that_is_tested_on_it(train_on: str) -> None:
    found = make_set()
    rng = np.random.default_rng(9)
    changed = [
        dataclasses.replace(
            picture,
            features=rng.normal(2, 5, picture.features.shape).astype(np.float16),
            cells=picture.cells[::-2] // 2,
            target=picture.target[::-1].copy(),
        )
        if picture.fold == 1
        else picture
        for picture in found
    ]
    chosen = settings(train_on=train_on, centre_bias=True, learn_blur=True)
    one, other = (fit_readout(passes(each), FOLDS, chosen, seed=3) for each in (found, changed))
    assert one.inner[1] == other.inner[1]
    for name in ("weights", "log_prior"):
        assert torch.equal(getattr(one.models[1], name), getattr(other.models[1], name))
        assert not torch.equal(getattr(one.models[0], name), getattr(other.models[0], name))
    assert one.models[1].centre_weight == other.models[1].centre_weight
    assert one.models[1].blur_share == other.models[1].blur_share


def test_inner_models_have_seen_neither_fold() -> None:
    found = make_set()
    changed = [
        dataclasses.replace(picture, cells=picture.cells // 3) if picture.fold in (0, 2) else picture
        for picture in found
    ]
    fits = [ReadoutFit(passes(each), FOLDS, PLAIN, 3, None, None) for each in (found, changed)]
    for fit in fits:
        fit.train_epoch()
    for row, column in enumerate(column for column in columns(FOLDS) for _ in PLAIN.penalties):
        same = torch.equal(fits[0].values["weights"][row], fits[1].values["weights"][row])
        assert same == (column == {0, 2})


def test_a_resumed_fit_gives_the_same_bits() -> None:
    pictures = passes(make_set())
    chosen, states = settings(epochs=4, centre_bias=True, learn_blur=True), []
    whole = fit_readout(pictures, FOLDS, chosen, 5, on_epoch=lambda epoch, state, loss: states.append(state))
    assert [int(state["epoch"]) for state in states] == [1, 2, 3, 4]
    for state in (states[1], states[3]):
        resumed = fit_readout(pictures, FOLDS, chosen, 5, state=state)
        assert resumed.inner == whole.inner
        for fold in range(FOLDS):
            assert torch.equal(resumed.models[fold].weights, whole.models[fold].weights)
            assert resumed.models[fold].blur_share == whole.models[fold].blur_share


def test_a_state_of_other_settings_is_refused() -> None:
    states: list[dict[str, Tensor]] = []
    pictures = passes(make_set())
    fit_readout(pictures, FOLDS, settings(epochs=1), 5, on_epoch=lambda epoch, state, loss: states.append(state))
    with pytest.raises(ValueError, match="its settings or folds are others"):
        fit_readout(pictures, FOLDS, settings(penalties=(1.0,)), 5, state=states[0])


def test_the_seed_decides_the_order_and_nothing_else_is_random() -> None:
    pictures = passes(make_set())
    fits = [fit_readout(pictures, FOLDS, settings(epochs=2), seed) for seed in (1, 1, 2)]
    assert torch.equal(fits[0].models[0].weights, fits[1].models[0].weights)
    assert not torch.equal(fits[0].models[0].weights, fits[2].models[0].weights)


def slow_cross_entropy(
    weights: np.ndarray, scale: np.ndarray, beta: float, prior: np.ndarray, blur: float, picture: ProbePicture
) -> float:
    """The definition, pixel by pixel, on the grid of the target: interpolate, blur, softmax, mean over fixations."""
    height, width = picture.target.shape
    values = np.tensordot(weights * scale, picture.features.astype(np.float64), 1)

    def at(side: int, length: int, index: int) -> list[tuple[int, float]]:
        position = min(max((index + 0.5) * length / side - 0.5, 0), length - 1)
        first = min(int(position), length - 2)
        return [(first, 1 - (position - first)), (first + 1, position - first)]

    enlarged = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        for row, share in at(height, values.shape[0], y):
            for column, other in at(width, values.shape[1], x):
                enlarged[y, x] += share * other * values[row, column]
    blurred = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        down = np.exp(-0.5 * ((np.arange(height) - y) / blur) ** 2)
        across = np.exp(-0.5 * ((np.arange(width) - x) / blur) ** 2)
        kernel = np.outer(down, across)
        blurred[y, x] = (kernel * enlarged).sum() / kernel.sum()
    logits = blurred + beta * prior
    log_density = logits - np.log(np.exp(logits).sum())
    return float(-np.mean([log_density[y, x] for y, x in picture.cells]))


@pytest.fixture
def begun() -> tuple[ReadoutFit, list[ProbePicture], dict[str, Tensor]]:
    """A fit in double precision, away from its start, that trains on the grid of the targets."""
    found = make_set(centre=6.0)
    fit = ReadoutFit(passes(found), FOLDS, settings(centre_bias=True, learn_blur=True), 0, None, None)
    generator = torch.Generator().manual_seed(1)
    fit.values = {name: value.to(torch.float64) for name, value in fit.values.items()}
    for name in ("weights", "centre_weight", "log_blur"):
        noise = torch.randn(fit.values[name].shape, generator=generator, dtype=torch.float64)
        fit.values[name] = fit.values[name] + 0.3 * noise
    fit.penalty = fit.penalty.to(torch.float64)
    return fit, found, {name: fit.values[name] for name in ("weights", "centre_weight", "log_blur")}


def looked_at(picture: ProbePicture) -> Tensor:
    counts = torch.zeros(picture.target.shape, dtype=torch.float64)
    for y, x in picture.cells:
        counts[y, x] += 1
    return counts / counts.sum()


def test_the_loss_is_that_of_the_definition(begun: tuple[ReadoutFit, list[ProbePicture], dict[str, Tensor]]) -> None:
    fit, found, parameters = begun
    rows = torch.tensor([1, 6, 11])
    for picture in found[:2]:
        features = torch.tensor(picture.features, dtype=torch.float64)
        losses = fit.cross_entropy(parameters, rows, features, looked_at(picture))
        for row, loss in zip(rows.tolist(), losses.tolist(), strict=True):
            wanted = slow_cross_entropy(
                parameters["weights"][row].numpy(),
                fit.values["scale"][row // 2].numpy(),
                float(parameters["centre_weight"][row]),
                resize(fit.values["log_prior"], picture.target.shape)[row // 2].numpy(),
                math.exp(parameters["log_blur"][row]),
                picture,
            )
            assert loss == pytest.approx(wanted, rel=1e-9)


def test_gradients_equal_finite_differences(begun: tuple[ReadoutFit, list[ProbePicture], dict[str, Tensor]]) -> None:
    fit, found, parameters = begun
    picture, rows = found[1], torch.tensor([1, 6])
    features, looked = torch.tensor(picture.features, dtype=torch.float64), looked_at(picture)

    def loss(values: dict[str, Tensor]) -> Tensor:
        return fit.cross_entropy(values, rows, features, looked).sum()

    tracked = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    loss(tracked).backward()
    for name, place in (("weights", (1, 0)), ("weights", (6, 5)), ("centre_weight", (1,)), ("log_blur", (6,))):
        ends = []
        for step in (1e-5, -1e-5):
            moved = {key: value.clone() for key, value in parameters.items()}
            moved[name][place] += step
            ends.append(float(loss(moved)))
        gradient = tracked[name].grad
        assert gradient is not None
        assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)
        assert abs(float(gradient[place])) > 1e-6
    assert tracked["weights"].grad is not None
    assert not tracked["weights"].grad[2].any()  # a model that was not asked for


def test_training_stops_where_the_penalised_loss_has_no_slope() -> None:
    found = make_set()
    fit = ReadoutFit(passes(found), FOLDS, settings(epochs=160, batch_size=12, penalties=(0.1,)), 0, None, None)
    while fit.epoch < 160:
        fit.train_epoch()
    parameters = {name: fit.values[name].clone().requires_grad_() for name in ("weights", "centre_weight", "log_blur")}
    rows, training = torch.tensor([2]), [picture for picture in found if picture.fold != 2]
    total = sum(
        fit.cross_entropy(parameters, rows, torch.tensor(p.features, dtype=torch.float32), looked_at(p).float()).sum()
        for p in training
    )
    (total / len(training) + 0.1 * parameters["weights"][2].square().sum()).backward()
    assert parameters["weights"].grad is not None
    assert parameters["weights"].grad[2].abs().max() < 1e-3
    assert parameters["weights"][2].abs().max() > 0.1


def test_a_centre_bias_is_taken_from_the_training_pictures_and_helps() -> None:
    found = make_set(centre=30.0)
    without, with_bias = (
        fit_readout(passes(found), FOLDS, settings(centre_bias=flag, epochs=20), 0) for flag in (False, True)
    )
    for fold in range(FOLDS):
        prior = with_bias.models[fold].log_prior
        assert prior[24, 32] > prior[2, 2] + 2
        assert with_bias.models[fold].centre_weight > 0.5
        assert without.models[fold].centre_weight == 0
        assert max(with_bias.inner[fold].values()) > max(without.inner[fold].values()) + 0.3


def test_a_learned_blur_leaves_its_start_and_a_fixed_one_does_not() -> None:
    found = make_set()
    learned, fixed = (
        fit_readout(passes(found), FOLDS, settings(learn_blur=flag, blur_px=4.0, epochs=20), 0)
        for flag in (True, False)
    )
    for fold in range(FOLDS):
        assert fixed.models[fold].blur_share == pytest.approx(4 / 32)
        assert learned.models[fold].blur_share < 3 / 32
        assert max(learned.inner[fold].values()) > max(fixed.inner[fold].values())


def test_a_coarser_training_grid_gives_nearly_the_same_density() -> None:
    found = make_set()
    fine = fit_readout(passes(found), FOLDS, settings(epochs=30, penalties=(0.01,)), 0)
    coarse = fit_readout(passes(found), FOLDS, settings(epochs=30, penalties=(0.01,), longest_px=16, blur_px=0.5), 0)
    for picture in found[:3]:
        one, other = (probe.predict(picture.features, (24, 32), picture.fold) for probe in (fine, coarse))
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_pictures_without_fixations_change_nothing_but_the_scale_of_features() -> None:
    found = make_set(n=9)
    empty = dataclasses.replace(found[0], cells=np.zeros((0, 2), np.int64))
    one, other = (
        ReadoutFit(passes(each), FOLDS, settings(batch_size=100), 0, None, None) for each in (found, [*found, empty])
    )
    losses = [fit.train_epoch() for fit in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert int(other.values["n_pictures"]) == 9


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda p: dataclasses.replace(p, features=p.features * np.float16("inf")), "not finite", id="inf"),
        pytest.param(lambda p: dataclasses.replace(p, features=p.features[:3]), "3 channels", id="channels"),
        pytest.param(lambda p: dataclasses.replace(p, fold=3), "fold 3", id="fold"),
    ],
)
def test_a_picture_that_does_not_fit_is_named(spoil: Callable[[ProbePicture], ProbePicture], message: str) -> None:
    found = make_set()
    with np.errstate(invalid="ignore"):
        found[4] = spoil(found[4])
    with pytest.raises(ValueError, match=message):
        fit_readout(passes(found), FOLDS, PLAIN, 0)


def test_a_fold_without_fixations_is_an_error() -> None:
    found = [p if p.fold else dataclasses.replace(p, cells=np.zeros((0, 2), np.int64)) for p in make_set()]
    with pytest.raises(ValueError, match="3 folds needs a picture with fixations"):
        fit_readout(passes(found), FOLDS, PLAIN, 0)


@pytest.mark.parametrize("penalties", [(), (0.0,), (1.0, 1.0)])
def test_unusable_penalties_are_refused(penalties: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="penalt"):
        fit_readout(passes(make_set()), FOLDS, settings(penalties=penalties), 0)
