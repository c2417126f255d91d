# SPDX-License-Identifier: Apache-2.0
"""The networks of the emotion study: shapes, published sizes, what is too small."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from gazeray.models.emotion import Fusion, Head, PictureNet, Recurrence, ScanpathNet, SeriesNet, Size
from gazeray.models.norms import settled_norms

RECURRENCES, SIZES = get_args(Recurrence), get_args(Size)
SEVEN = {"arousal": Head(7), "valence": Head(7)}


def parameters(network: nn.Module) -> int:
    return sum(one.numel() for one in network.parameters())


def test_published_sizes() -> None:
    """Counted from the layers that are described; of the scanpath's network 2.68 M is published."""
    scanpath = ScanpathNet(180, "published")
    series = SeriesNet(5, 301, "lstm_over_channels", "published")
    picture = PictureNet(nn.Identity(), 512, "published")
    conv = [(1 * 25 + 1) * 32, (32 * 25 + 1) * 64, (64 * 25 + 1) * 128 + 2 * 128, (128 * 25 + 1) * 256]
    assert parameters(scanpath) == sum(conv) + (256 * 7 * 7 + 1) * 128 + 2 * 128 == 2_682_752
    lstm = 4 * 64 * (148 + 64 + 2)
    assert parameters(series) == (5 * 3 + 1) * 64 + (64 * 3 + 1) * 64 + lstm + (64 + 1) * 20 + 2 * 20 == 69_500
    assert parameters(picture) == (512 + 1) * 512 + (512 + 1) * 64 + 2 * 64 == 295_616
    branches = {"series": series, "scanpath": scanpath, "picture": picture}
    whole = Fusion(branches, SEVEN, 0.3)
    behind = parameters(whole) - sum(map(parameters, branches.values()))
    assert behind == (212 + 1) * 64 + (64 + 1) * 16 + 2 * (16 + 1) * 7 == 14_910
    alone = Fusion({"scanpath": scanpath}, SEVEN, 0.3)
    assert parameters(alone) - parameters(scanpath) == 2 * (128 + 1) * 7, "separate networks: two layers on the branch"


def test_published_recurrence_runs_over_the_filters() -> None:
    """64 steps of 148 values: the recurrent layer takes 148 numbers a step, over time it takes the 64 filters."""
    over_channels = SeriesNet(5, 301, "lstm_over_channels", "published").recurrence
    over_time = SeriesNet(5, 301, "lstm", "published").recurrence
    assert [next(one.parameters()).shape[1] for one in (over_channels, over_time)] == [148, 64]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("samples", [8, 9, 60])
def test_series_of_any_length_have_features(recurrence: Recurrence, size: Size, samples: int) -> None:
    network = SeriesNet(4, samples, recurrence, size)
    assert network(torch.randn(3, 4, samples)).shape == (3, network.features)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_time_matters(recurrence: Recurrence) -> None:
    torch.manual_seed(0)
    network, x = SeriesNet(2, 64, recurrence).eval(), torch.randn(2, 2, 64)
    assert not torch.allclose(network(x), network(x.flip(2)), atol=1e-4)


@pytest.mark.parametrize(("size", "smallest"), [("small", 16), ("published", 76)])
def test_scanpaths_that_are_too_small_are_refused(size: Size, smallest: int) -> None:
    network = ScanpathNet(smallest, size)
    assert network(torch.zeros(2, 1, smallest, smallest, dtype=torch.uint8)).shape == (2, network.features)
    with pytest.raises(ValueError, match=f"{smallest} px or more, not {smallest - 1}"):
        ScanpathNet(smallest - 1, size)


def test_series_that_are_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="5 samples are too few"):
        SeriesNet(4, 5, "lstm", "published")


def test_scanpaths_are_scaled_to_plus_and_minus_one() -> None:
    network = ScanpathNet(32)
    seen: list[torch.Tensor] = []
    network.layers.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    network(torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 32, 32))
    assert seen[0][:, 0, 0, 0].tolist() == [-1, 1]


def test_labels_of_any_name_have_a_head_of_their_kind() -> None:
    heads = {"felt.arousal": Head(7, True), "": Head(2), "items": Head(3)}
    network = Fusion({"series": SeriesNet(2, 16), "scanpath": ScanpathNet(16)}, heads, 0.0)
    found = network({"series": torch.randn(2, 2, 16), "scanpath": torch.zeros(2, 1, 16, 16)})
    assert {name: one.shape[1] for name, one in found.items()} == {"felt.arousal": 7, "": 2, "items": 3}
    for one in found.values():
        torch.testing.assert_close(one.exp().sum(dim=1), torch.ones(2))


def test_settled_norms_leave_statistics_alone_and_training_on() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm2d(2).eval()))
    with settled_norms(network):
        assert torch.isfinite(network[0](torch.randn(1, 3))).all()
    assert network[0].running_mean.tolist() == [0, 0, 0]
    assert [network.training, network[0].training, network[1][0].training] == [True, True, False]


@pytest.mark.parametrize("size", SIZES)
def test_the_tail_of_the_picture_is_trained_with_the_rest(size: Size) -> None:
    tail = nn.Sequential(nn.Conv2d(4, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = PictureNet(tail, 8, size)
    network(torch.randn(3, 4, 5, 5).half()).square().sum().backward()
    gradient = tail[0].weight.grad
    assert gradient is not None
    assert gradient.any()
