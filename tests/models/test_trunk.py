# SPDX-License-Identifier: Apache-2.0
"""The blocks of a network, one after the other, are what the network does before it pools and classifies."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from gazeray.models.backbone import loaded_network, without_head
from gazeray.models.trunk import AsFloat, Pooled, block_names, blocks_of, feature_count


@pytest.fixture(autouse=True)
def small_networks(one_thread: None) -> None:
    """Several threads would wait for each other."""


def classified(network: nn.Module, pictures: Tensor) -> Tensor:
    """What the network's own forward pass hands to its classifier, (B, F)."""
    head = next(getattr(network, name) for name in ("classifier", "fc", "head") if hasattr(network, name))
    kept: list[Tensor] = []
    head.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        network(pictures)
    return kept[0].flatten(1)


@pytest.mark.parametrize(
    ("arch", "blocks", "last"),
    [
        ("densenet121", 8, "features.denseblock4"),
        ("efficientnet_b0", 9, "features.8"),
        ("mnasnet0_5", 10, "layers.14"),
        ("regnet_y_400mf", 5, "trunk_output.block4"),
        ("shufflenet_v2_x0_5", 5, "conv5"),
        ("swin_t", 8, "features.7"),
        ("convnext_tiny", 8, "features.7"),
    ],
)
def test_blocks_are_the_network_up_to_its_classifier(arch: str, blocks: int, last: str) -> None:
    network = loaded_network(arch, None, seed=2)
    found = blocks_of(network)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        pooled = nn.Sequential(*found.values(), Pooled())(pictures)
    torch.testing.assert_close(pooled, classified(network, pictures), rtol=1e-4, atol=1e-5)
    assert tuple(found) == block_names(arch)
    assert (len(found), list(found)[-1]) == (blocks, last)
    assert feature_count(arch, 64) == pooled.shape[1]


def test_every_block_has_weights_of_its_own() -> None:
    for arch in ("vgg16_bn", "alexnet", "squeezenet1_1", "resnet50", "mobilenet_v3_small"):
        with torch.device("meta"):
            network = torchvision.models.get_model(arch, weights=None)
        parts = [list(block.parameters()) for block in blocks_of(network).values()]
        assert all(parts)
        behind = ("classifier", "fc")
        wanted = [one for name, one in network.named_parameters() if name.split(".")[0] not in behind]
        assert [id(one) for own in parts for one in own] == [id(one) for one in wanted]


def test_networks_that_are_no_chain_are_refused_with_the_way_out() -> None:
    for arch in ("vit_b_16", "googlenet", "inception_v3"):
        with pytest.raises(ValueError, match=f"{arch} is no chain.*allowed: all networks of torchvision but googlenet"):
            block_names(arch)
    with pytest.raises(ValueError, match=r"unknown network 'vgg': did you mean vgg"):
        feature_count("vgg", 64)
    with pytest.raises(ValueError, match="pictures of 16 px are too small for alexnet"):
        feature_count("alexnet", 16)


def test_a_state_without_classifier_is_enough_and_leaves_the_classifier_0() -> None:
    whole = loaded_network("resnet18", None, seed=4)
    state = without_head(whole.state_dict())
    assert "fc.weight" in whole.state_dict()
    assert not [name for name in state if name.startswith("fc.")]
    again = loaded_network("resnet18", state, seed=0)
    assert not again.get_parameter("fc.weight").any()
    for name, value in state.items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert not again.training
    assert torch.isfinite(again(torch.rand(1, 3, 64, 64))).all()


def test_halves_become_single_and_the_pool_is_a_mean() -> None:
    values = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(Pooled()(values), values.mean(-1).mean(-1))
    assert AsFloat()(values) is values
    assert AsFloat()(values.half()).dtype == torch.float32
