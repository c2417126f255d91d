# SPDX-License-Identifier: Apache-2.0
"""Gradient maps against finite differences, against weights known beforehand, and their side effects (none)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gazeray.explain.gradients import class_gradients
from gazeray.models.heatmap_cnn import HeatmapCNN


def network(in_channels: int = 2) -> HeatmapCNN:
    """A float64 network whose batch statistics are not the identity."""
    torch.manual_seed(0)
    model = HeatmapCNN(in_channels, (18, 22), 4, 3).double()
    model(torch.rand(8, in_channels, 18, 22, dtype=torch.float64))
    return model


def pictures(n: int) -> torch.Tensor:
    return torch.rand(n, 2, 18, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_gradient_equals_finite_differences() -> None:
    model, x, targets, step = network(), pictures(2), torch.tensor([2, 0]), 1e-6
    gradients = class_gradients(model, x, targets)
    assert gradients.shape == x.shape
    model.eval()
    slopes = torch.empty_like(x)
    with torch.no_grad():
        for index in range(2):
            shifts = step * torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
            up, down = model(x[index] + shifts), model(x[index] - shifts)
            slopes[index] = ((up - down)[:, targets[index]] / (2 * step)).reshape(x.shape[1:])
    assert torch.allclose(gradients, slopes, rtol=1e-5, atol=1e-7)
    assert gradients.min() < 0 < gradients.max()


def test_linear_model_has_its_weights_as_gradient() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 5, 4))
    targets = torch.tensor([3, 0, 3])
    gradients = class_gradients(model, torch.rand(3, 2, 3, 5), targets)
    weight = model.get_parameter("1.weight").detach()
    assert torch.equal(gradients, weight[targets].reshape(3, 2, 3, 5))


def test_batch_composition_does_not_change_a_gradient() -> None:
    model, x, targets = network(), pictures(5), torch.tensor([0, 1, 2, 1, 0])
    together = class_gradients(model, x, targets)
    alone = torch.cat([class_gradients(model, x[i : i + 1], targets[i : i + 1]) for i in range(5)])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)


def test_model_is_left_as_it_was() -> None:
    model = network().train()
    model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    weight = model.get_parameter("layers.12.weight")
    kept = torch.ones_like(weight)
    weight.grad = kept.clone()
    with torch.no_grad():
        gradients = class_gradients(model, pictures(2), torch.tensor([0, 1]))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(weight.grad, kept)
    assert all(parameter.grad is None for parameter in model.parameters() if parameter is not weight)
    assert not gradients.requires_grad


def test_input_is_left_as_it_was() -> None:
    x = pictures(1)
    class_gradients(network(), x, torch.tensor([0]))
    assert torch.equal(x, pictures(1))
    assert not x.requires_grad
    assert x.grad is None


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        pytest.param(torch.tensor([0]), "targets must be int64 of shape", id="too_few_targets"),
        pytest.param(torch.tensor([0.0, 1.0]), "targets must be int64 of shape", id="float_targets"),
        pytest.param(torch.tensor([0, 3]), "targets must be classes 0 .. 2", id="target_beyond_classes"),
        pytest.param(torch.tensor([-1, 0]), "targets must be classes 0 .. 2", id="negative_target"),
    ],
)
def test_targets_that_do_not_fit_raise_value_error(targets: torch.Tensor, message: str) -> None:
    model = network().train()
    with pytest.raises(ValueError, match=message):
        class_gradients(model, pictures(2), targets)
    assert all(module.training for module in model.modules())


def test_model_without_logits_raises_value_error() -> None:
    with pytest.raises(ValueError, match="must give logits"):
        class_gradients(nn.Identity(), pictures(2), torch.tensor([0, 1]))
