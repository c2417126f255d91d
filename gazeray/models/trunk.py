# SPDX-License-Identifier: Apache-2.0
"""The convolutional trunk of a torchvision network as a sequence of blocks, so that it can be cut between two of them:
what lies before the cut is frozen and run once per picture, what lies behind it is trained."""

from __future__ import annotations

import functools

import torch
import torchvision
from torch import Tensor, nn

from gazeray.models.backbone import check_known, empty_network

NO_CHAINS = ("googlenet", "inception_v3", "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32")
"""Networks that are more than modules one after the other: they convert their input, or put in tokens of their own."""

_CONTAINERS = ("features", "layers", "trunk_output")
_BEHIND = ("avgpool", "flatten", "classifier", "fc", "head")


def blocks_of(network: nn.Module) -> dict[str, nn.Sequential]:
    """The trunk of a network block by block, in order, by the name of the first module of each.

    A block begins with a module that has weights (a stage, a residual block, a convolution) and takes what follows it
    without any: normalisation, activation, pooling. vgg16 has 13, resnet50 its stem and four stages, mobilenet_v2 19.
    """
    parts: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        if name in _CONTAINERS:
            parts += [(f"{name}.{inner}", module) for inner, module in child.named_children()]
        elif name not in _BEHIND:
            parts.append((name, child))
    if isinstance(network, torchvision.models.DenseNet):
        parts.append(("relu", nn.ReLU()))  # which its forward pass calls as a function
    blocks: dict[str, list[nn.Module]] = {}
    for name, module in parts:
        if not blocks or any(weight.ndim > 1 for weight in module.parameters()):
            blocks[name] = []
        blocks[list(blocks)[-1]].append(module)
    return {name: nn.Sequential(*modules) for name, modules in blocks.items()}


@functools.lru_cache(maxsize=8)
def block_names(arch: str) -> tuple[str, ...]:
    """The names of a network's blocks.

    Raises ValueError for a network that is unknown, or no sequence of blocks.
    """
    check_known(arch)
    if arch in NO_CHAINS:
        raise ValueError(
            f"{arch} is no chain of convolutional blocks that could be cut (allowed: all networks of torchvision but "
            f"{', '.join(NO_CHAINS)})"
        )
    return tuple(blocks_of(empty_network(arch)))


@functools.lru_cache(maxsize=8)
def feature_count(arch: str, size_px: int) -> int:
    """How many channels the trunk of a network ends with, for square pictures of `size_px`.

    Raises ValueError as `block_names` does, and where pictures are too small for the network.
    """
    block_names(arch)
    trunk = nn.Sequential(*blocks_of(empty_network(arch).eval()).values(), Pooled())
    try:
        with torch.no_grad():
            return int(trunk(torch.empty(1, 3, size_px, size_px, device="meta")).shape[1])
    except RuntimeError as error:
        raise ValueError(f"pictures of {size_px} px are too small for {arch}: {error}") from error


class Pooled(nn.Module):
    """The mean over all places: (B, C, h, w) to (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.mean((2, 3))


class AsFloat(nn.Module):
    """Stored halves in single precision; what is single already stays as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.float()
