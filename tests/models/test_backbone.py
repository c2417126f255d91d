# SPDX-License-Identifier: Apache-2.0
"""Frozen networks: the right activations come out, nothing changes inside, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from gazeray.models.backbone import (
    MEAN,
    STD,
    Backbone,
    default_layers,
    fingerprint,
)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(5)
    network: nn.Module = torchvision.models.resnet18(weights=None).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean, std=0.1)
    return network


def normalised(pictures: Tensor) -> Tensor:
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (MEAN, STD))
    return (pictures - mean) / std


def test_activations_are_those_of_the_network_step_by_step(resnet: nn.Module, pictures: Tensor) -> None:
    found = Backbone("resnet18", ["layer3", "layer1", "bn1"], resnet.state_dict(), seed=0)(pictures)
    with torch.no_grad():
        bn1 = resnet.bn1(resnet.conv1(normalised(pictures)))
        before_relu = bn1.clone()  # the ReLU that follows works in place
        layer1 = resnet.layer1(resnet.maxpool(resnet.relu(bn1)))
        layer3 = resnet.layer3(resnet.layer2(layer1))
    assert list(found) == ["layer3", "layer1", "bn1"]
    assert found["bn1"].min() < 0
    for name, wanted in {"bn1": before_relu, "layer1": layer1, "layer3": layer3}.items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=0)
    assert found["layer3"].shape == (2, 256, 4, 6)


def test_a_module_that_is_called_twice_gives_its_last_call(resnet: nn.Module, pictures: Tensor) -> None:
    found = Backbone("resnet18", ["layer1.0.relu", "layer1.0"], resnet.state_dict(), seed=0)(pictures)
    torch.testing.assert_close(found["layer1.0.relu"], found["layer1.0"], rtol=0, atol=0)
    alone = Backbone("resnet18", ["layer1.0.relu"], resnet.state_dict(), seed=0)(pictures)
    torch.testing.assert_close(alone["layer1.0.relu"], found["layer1.0"], rtol=0, atol=0)


def test_nothing_after_the_last_wanted_layer_is_computed(pictures: Tensor) -> None:
    backbone = Backbone("resnet18", ["layer1"], None, seed=0)
    called: list[str] = []
    for name in ("layer1", "layer2"):
        backbone.network.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: called.append(name))
    backbone(pictures)
    assert called == ["layer1"]


def test_a_backbone_stays_frozen_and_unchanged(pictures: Tensor) -> None:
    backbone = Backbone("resnet18", ["layer2"], None, seed=0)
    before = fingerprint(backbone)
    backbone.train()
    found = backbone(pictures)["layer2"]
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not found.requires_grad
    assert fingerprint(backbone) == before
    with torch.no_grad():
        backbone.network.bn1.running_mean[0] += 1e-6
    assert fingerprint(backbone) != before


def test_untrained_networks_follow_their_seed_and_leave_the_global_seed_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    prints = [fingerprint(Backbone("resnet18", ["layer1"], None, seed)) for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]
    torch.testing.assert_close(torch.rand(4), wanted, rtol=0, atol=0)


def test_untrained_activations_stay_in_the_range_of_float16() -> None:
    smooth = nn.functional.interpolate(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), (128, 128))
    for found in Backbone("resnet50", default_layers("resnet50"), None, seed=0)(smooth).values():
        assert found.abs().max() < 1000
        assert found.std() > 0.1


def offered(arch: str) -> list[str]:
    """The layers that an unknown one is answered with."""
    with pytest.raises(ValueError, match="has no layer 'none'") as told:
        Backbone(arch, ["none"], None, 0)
    return str(told.value).rpartition("valid: ")[2].split(", ")


@pytest.mark.parametrize(
    ("arch", "layers"),
    [
        ("resnet50", ["layer1", "layer2", "layer3", "layer4"]),
        ("vgg16", ["features.15", "features.22", "features.29", "features.30"]),
        ("convnext_tiny", ["features.1", "features.3", "features.5", "features.7"]),
        ("vit_b_16", [f"encoder.layers.encoder_layer_{block}" for block in (2, 5, 8, 11)]),
        ("regnet_y_400mf", [f"trunk_output.block{block}" for block in (1, 2, 3, 4)]),
    ],
)
def test_default_layers_are_the_stages(arch: str, layers: list[str]) -> None:
    assert default_layers(arch) == layers
    assert set(layers) <= set(offered(arch))


def test_layers_without_places_are_not_offered() -> None:
    names = offered("resnet18")
    assert "layer2.0.conv1" in names
    assert "fc" not in names
    assert "avgpool" not in names
    assert not [name for name in offered("mobilenet_v3_small") if name.endswith("avgpool")]


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "swin_t"])
def test_channels_come_before_places_in_every_family(arch: str, pictures: Tensor) -> None:
    found = Backbone(arch, default_layers(arch), None, seed=0)(pictures)
    for stride, kept in zip((4, 8, 16, 32), found.values(), strict=True):
        assert kept.shape[0] == 2
        assert kept.shape[2:] == (64 // stride, 96 // stride)


def test_an_unknown_network_lists_the_close_ones_first() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'resnet5': did you mean resnet50.*valid: alexnet"):
        Backbone("resnet5", ["layer1"], None, seed=0)


def test_an_unknown_layer_lists_the_close_ones_first() -> None:
    with pytest.raises(ValueError, match=r"resnet18 has no layer 'layer5'.*did you mean layer\d.*valid: conv1"):
        Backbone("resnet18", ["layer5"], None, seed=0)


@pytest.mark.parametrize("layers", [[], ["layer1", "layer1"]])
def test_layers_must_be_named_once(layers: list[str]) -> None:
    with pytest.raises(ValueError, match="each once"):
        Backbone("resnet18", layers, None, seed=0)


def test_a_prefix_is_removed_and_a_missing_classifier_does_not_matter(resnet: nn.Module, pictures: Tensor) -> None:
    plain = resnet.state_dict()
    prefixed = {f"module.{name}": value for name, value in plain.items() if not name.startswith("fc.")}
    other_classes = {**plain, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    wanted = Backbone("resnet18", ["layer4"], plain, seed=0)(pictures)["layer4"]
    for state in (prefixed, other_classes):
        found = Backbone("resnet18", ["layer4"], state, seed=0)(pictures)["layer4"]
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_weights_of_another_network_name_the_first_key_that_does_not_fit(resnet: nn.Module) -> None:
    state = resnet.state_dict()
    with pytest.raises(ValueError, match=r"do not fit resnet50: layer1.0.conv1.weight is \(64, 64, 3, 3\), not"):
        Backbone("resnet50", ["layer1"], state, seed=0)
    with pytest.raises(ValueError, match=r"do not fit resnet34: they lack layer1.2.conv1.weight \(64, 64, 3, 3\)"):
        Backbone("resnet34", ["layer1"], state, seed=0)
    with pytest.raises(ValueError, match=r"do not fit resnet18: it has no layer9\.weight"):
        Backbone("resnet18", ["layer1"], {**state, "layer9.weight": torch.zeros(1)}, seed=0)


def test_pictures_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pictures must be \(B, 3, h, w\)"):
        Backbone("resnet18", ["layer1"], None, seed=0)(torch.zeros(1, 1, 64, 64))


@pytest.fixture(scope="module")
def transformer() -> Backbone:
    return Backbone("vit_b_32", ["conv_proj", "encoder.layers.encoder_layer_0"], None, seed=0)


def test_a_transformer_sees_wide_pictures_whole_and_drops_filling_and_class_token(transformer: Backbone) -> None:
    block = "encoder.layers.encoder_layer_0"
    pictures = torch.rand(1, 3, 128, 224, generator=torch.Generator().manual_seed(2))
    found = transformer(pictures)
    assert {name: kept.shape for name, kept in found.items()} == dict.fromkeys(transformer.layers, (1, 768, 4, 7))
    network = transformer.network
    assert isinstance(network, torchvision.models.VisionTransformer)
    whole = torch.zeros(1, 3, 224, 224)
    whole[:, :, :128] = normalised(pictures)
    with torch.no_grad():
        patches = network.conv_proj(whole)
        tokens = torch.cat([network.class_token, patches.flatten(2).transpose(1, 2)], 1)
        tokens = network.encoder.layers[0](tokens + network.encoder.pos_embedding)
    torch.testing.assert_close(found["conv_proj"], patches[:, :, :4], rtol=1e-5, atol=1e-5)
    row, column = 2, 5
    torch.testing.assert_close(found[block][0, :, row, column], tokens[0, 1 + row * 7 + column], rtol=1e-4, atol=1e-4)


def test_a_transformer_takes_tall_pictures_of_any_size(transformer: Backbone) -> None:
    assert transformer(torch.rand(1, 3, 500, 330))["conv_proj"].shape == (1, 768, 7, 5)


def test_a_transformer_takes_weights_of_another_picture_size_and_old_names() -> None:
    state = torchvision.models.get_model("vit_b_32", weights=None, image_size=64).state_dict()
    old = {name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for name, v in state.items()}
    backbone = Backbone("vit_b_32", ["encoder.ln"], old, seed=0)
    assert backbone(torch.rand(1, 3, 64, 64))["encoder.ln"].shape == (1, 768, 2, 2)
    mlp = "encoder.layers.encoder_layer_0.mlp.0.weight"
    torch.testing.assert_close(backbone.network.state_dict()[mlp], state[mlp], rtol=0, atol=0)
