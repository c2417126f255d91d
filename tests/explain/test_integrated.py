# SPDX-License-Identifier: Apache-2.0
"""Integrated gradients and SmoothGrad: their axioms, plain loops as a second opinion, batching and bad input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gazeray.explain.gradients import class_gradients, integrated_gradients, smoothgrad
from gazeray.models.heatmap_cnn import HeatmapCNN

TARGETS = torch.tensor([2, 0, 1, 1, 0])


def network(in_channels: int = 2) -> HeatmapCNN:
    """A float64 network whose batch statistics are not the identity."""
    torch.manual_seed(0)
    model = HeatmapCNN(in_channels, (18, 22), 4, 3).double()
    model(torch.rand(8, in_channels, 18, 22, dtype=torch.float64))
    return model


def pictures(n: int = 5, in_channels: int = 2) -> Tensor:
    """Sparse pictures: half of the pixels blank."""
    x = torch.rand(n, in_channels, 18, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return (x - 0.5).clamp(min=0) * 4


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_integrated_gradients_sum_to_the_change_of_the_logit(in_channels: int, baseline: float) -> None:
    model, x = network(in_channels), pictures(5, in_channels)
    maps = integrated_gradients(model, x, TARGETS, steps=200, baseline=baseline)
    model.eval()
    with torch.no_grad():
        change = (model(x) - model(torch.full_like(x, baseline))).gather(1, TARGETS[:, None])[:, 0]
    error = (maps.sum(dim=(1, 2, 3)) - change).abs()
    assert change.abs().max() > 0.03
    assert error.max() < 0.02 * change.abs().max()
    few = integrated_gradients(model, x, TARGETS, steps=1, baseline=baseline).sum(dim=(1, 2, 3))
    assert (few - change).abs().mean() > 3 * error.mean()


def test_integrated_gradients_of_a_square_are_exact_with_one_midpoint() -> None:
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([(x**2).sum(dim=(1, 2, 3)), -x.sum(dim=(1, 2, 3))], dim=1)

    x = pictures(2)
    maps = integrated_gradients(Square(), x, torch.tensor([0, 1]), steps=1)
    assert torch.allclose(maps, torch.stack([x[0] ** 2, -x[1]]))


def test_integrated_gradients_equal_a_plain_loop() -> None:
    model, x = network(), pictures()
    base = 0.3
    expected = torch.zeros_like(x)
    for index in range(5):
        one, target = x[index : index + 1], TARGETS[index : index + 1]
        for step in range(7):
            expected[index] += class_gradients(model, base + (step + 0.5) / 7 * (one - base), target)[0] / 7
        expected[index] *= (one - base)[0]
    assert torch.allclose(integrated_gradients(model, x, TARGETS, 7, base), expected, rtol=1e-9, atol=1e-12)


def test_blank_pixels_get_no_integrated_gradient() -> None:
    x = pictures()
    assert (integrated_gradients(network(), x, TARGETS, 4)[x == 0] == 0).all()


def test_smoothgrad_equals_a_plain_loop() -> None:
    model, x, keys = network(), pictures(), [7, 3, 0, 12, 5]
    expected = torch.zeros_like(x)
    for index, key in enumerate(keys):
        rng = np.random.default_rng([9, key])
        spread = 0.2 * (x[index].max() - x[index].min())
        for _ in range(6):
            noise = torch.from_numpy(rng.standard_normal(x.shape[1:], np.float32)).double()
            noisy = (x[index] + spread * noise)[None]
            expected[index] += class_gradients(model, noisy, TARGETS[index : index + 1])[0] / 6
    assert torch.allclose(smoothgrad(model, x, TARGETS, keys, 6, 0.2, 9), expected, rtol=1e-9, atol=1e-12)


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    model, x = network(), pictures()
    same = smoothgrad(model, x, TARGETS, range(5), 3, noise_share=0)
    assert torch.allclose(same, class_gradients(model, x, TARGETS))


def test_seed_and_key_choose_the_noise() -> None:
    model, x, one = network(), pictures(1), TARGETS[:1]
    same = [smoothgrad(model, x, one, [4], seed=1) for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.allclose(same[0], smoothgrad(model, x, one, [4], seed=2))
    assert not torch.allclose(same[0], smoothgrad(model, x, one, [5], seed=1))


Draw = Callable[[nn.Module, Tensor, Tensor, list[int], int], Tensor]
BOTH: list[Draw] = [
    lambda model, x, targets, keys, rows: integrated_gradients(model, x, targets, 5, rows=rows),
    lambda model, x, targets, keys, rows: smoothgrad(model, x, targets, keys, 5, rows=rows),
]


@pytest.mark.parametrize("draw", BOTH, ids=["integrated_gradients", "smoothgrad"])
@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_batching_does_not_change_a_map_and_bounds_the_memory(draw: Draw, rows: int) -> None:
    model, x = network(), pictures()
    alone = [draw(model, x[i : i + 1], TARGETS[i : i + 1], [i], 3) for i in range(5)]
    sizes: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    together = draw(model, x, TARGETS, list(range(5)), rows)
    hook.remove()
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9, atol=1e-12)
    assert max(sizes) <= rows
    assert sum(sizes) == 25


@pytest.mark.parametrize("draw", BOTH, ids=["integrated_gradients", "smoothgrad"])
def test_model_and_input_are_left_as_they_were(draw: Draw) -> None:
    model, x = network().train(), pictures().float()
    model.float().layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    maps = draw(model, x, TARGETS, list(range(5)), 8)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(random_state, torch.random.get_rng_state())
    assert torch.equal(x, pictures().float())


@pytest.mark.parametrize("draw", BOTH, ids=["integrated_gradients", "smoothgrad"])
def test_no_example_gives_no_map(draw: Draw) -> None:
    assert draw(network(), pictures()[:0], TARGETS[:0], [], 8).shape == (0, 2, 18, 22)


@pytest.mark.parametrize("draw", BOTH, ids=["integrated_gradients", "smoothgrad"])
def test_target_that_is_no_class_raises_value_error(draw: Draw) -> None:
    with pytest.raises(ValueError, match="targets must be classes"):
        draw(network(), pictures(), TARGETS + 5, list(range(5)), 8)


def test_negative_seed_raises_value_error() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        smoothgrad(network(), pictures(), TARGETS, range(5), seed=-1)
