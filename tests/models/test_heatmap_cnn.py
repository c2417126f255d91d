# SPDX-License-Identifier: Apache-2.0
"""The heatmap network: the published layers and parameter count, and any picture size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gazeray.models.heatmap_cnn import HeatmapCNN


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_published_size_has_published_parameter_count() -> None:
    model = HeatmapCNN(in_channels=3, size=(128, 128), width=128, classes=2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 938_242


def test_layers_come_in_the_published_order() -> None:
    layers = list(HeatmapCNN(1, (128, 128), 8, 2).layers)
    block = [nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.BatchNorm2d, nn.Dropout]
    assert [type(layer) for layer in layers] == [nn.BatchNorm2d, *block, *block, nn.Flatten, nn.Linear]
    assert not any(layer.affine for layer in layers if isinstance(layer, nn.BatchNorm2d))
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.4, 0.4]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(layer.kernel_size, layer.stride, layer.padding) for layer in convolutions] == [
        ((3, 3), (1, 1), (0, 0)),
        ((5, 5), (2, 2), (0, 0)),
    ]


@pytest.mark.parametrize("size", [(16, 16), (16, 300), (17, 40), (40, 17), (127, 64), (18, 19), (129, 136)])
def test_any_picture_size_gives_logits(size: tuple[int, int]) -> None:
    model = HeatmapCNN(in_channels=2, size=size, width=4, classes=3)
    assert model(pictures(2, 2, *size)).shape == (2, 3)


@pytest.mark.parametrize("size", [(15, 16), (16, 15), (1, 1), (0, 128)])
def test_too_small_picture_raises_value_error_with_the_smallest_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"at least \(16, 16\)"):
        HeatmapCNN(1, size, 4, 2)


def test_picture_of_another_shape_raises_value_error() -> None:
    model = HeatmapCNN(1, (32, 40), 4, 2)
    for shape in ((2, 1, 40, 32), (2, 3, 32, 40), (1, 32, 40)):
        with pytest.raises(ValueError, match=r"pictures must be \(B, 1, 32, 40\)"):
            model(pictures(*shape))


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_gives_the_same_numbers(training: bool) -> None:
    torch.manual_seed(1)
    model = HeatmapCNN(3, (40, 64), 8, 2, dropout=0.0).train(training)
    x = pictures(4, 3, 40, 64)
    expected = model(x)
    twin = HeatmapCNN(3, (40, 64), 8, 2, dropout=0.0).train(training)
    twin.load_state_dict(model.state_dict())
    twin = twin.to(memory_format=torch.channels_last)
    assert torch.allclose(twin(x.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(2)
    model = HeatmapCNN(1, (32, 32), 8, 2)
    x = pictures(2, 1, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
