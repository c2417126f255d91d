# SPDX-License-Identifier: Apache-2.0
"""The network that sees the stimulus, cut in two: what is frozen and run once per picture, what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gazeray.config import ConfigError
from gazeray.storage import Folder
from gazeray.studies.emotion.config import PictureConfig
from gazeray.unit import Json

if TYPE_CHECKING:
    import torch

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = {"mobilenet_v2": 19, "resnet18": 5, "resnet50": 5, "vgg16": 13}
"""How many blocks some networks have: a plan with one of them, untrained, need not import what builds networks."""


@dataclass(frozen=True)
class OpenedNetwork:
    """The weights (None: untrained) with their SHA-256, and the mean and standard deviation that they want removed."""

    weights: Mapping[str, torch.Tensor] | None
    state: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def open_network(cfg: PictureConfig, seed: int) -> OpenedNetwork:
    """Check that network, weights, picture size and trained blocks fit each other. Raises ConfigError."""
    untrained = cfg.weights == "none" and cfg.sha256 is None
    if untrained and cfg.unfreeze <= BLOCKS.get(cfg.arch, -1):
        return OpenedNetwork(None, "none", cfg.mean or IMAGENET[0], cfg.std or IMAGENET[1])

    # here, since they take seconds, and what is above needs none of them
    from gazeray.models.backbone import loaded_network
    from gazeray.models.trunk import block_names, feature_count
    from gazeray.studies.shared.networks import as_config_errors
    from gazeray.weights import load_weights, normalisation

    with as_config_errors("picture"):
        blocks = len(block_names(cfg.arch))
        feature_count(cfg.arch, cfg.size_px)
        weights, state = load_weights(cfg.weights, cfg.arch, cfg.sha256)
        if weights is not None:
            loaded_network(cfg.arch, weights, seed)
    if cfg.unfreeze > blocks:
        raise ConfigError([f"picture.unfreeze: {cfg.arch} has no {cfg.unfreeze} blocks (allowed: 0 to {blocks})"])
    mean, std = normalisation(cfg.weights, cfg.arch)
    return OpenedNetwork(weights, state, cfg.mean or mean, cfg.std or std)


@dataclass(frozen=True)
class PictureNetwork:
    """A torchvision network of which the last `unfreeze` blocks are trained; travels to the workers.

    state: SHA-256 of the weights, or none: untrained, initialised from `seed`. folder, file: where the weights lie for
    the workers. size_px: side of the square that pictures are squeezed into. mean, std: of red, green and blue, 0..1.
    """

    arch: str
    state: str
    folder: Folder
    file: str
    size_px: int
    unfreeze: int
    seed: int
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]

    @classmethod
    def of(cls, cfg: PictureConfig, opened: OpenedNetwork, store: Folder, seed: int) -> Self:
        """The network of a config. store: the folder below which all stores lie."""
        file = f"trunk-{opened.state}.safetensors"  # not the whole network, which other studies keep
        return cls(cfg.arch, opened.state, store.sub("weights"), file, cfg.size_px, cfg.unfreeze, seed, opened.mean,
                   opened.std)  # fmt: skip

    @property
    def features(self) -> int:
        """How many features a picture has behind the trained part."""
        from gazeray.models.trunk import feature_count

        return feature_count(self.arch, self.size_px)

    def frozen(self) -> torch.nn.Module:
        """What is run once: normalised pictures (B, 3, S, S) to what lies at the cut, (B, c, h, w); the pooled features
        (B, F) where nothing is trained. In evaluation mode and without gradients, which is how it stays."""
        from torch import nn

        from gazeray.models.trunk import Pooled

        blocks = self._blocks()
        before = nn.Sequential(*blocks[: len(blocks) - self.unfreeze])
        whole = before if self.unfreeze else nn.Sequential(*before, Pooled())
        return whole.eval().requires_grad_(False)

    def tail(self) -> torch.nn.Module:
        """What is trained, from the same weights on: what lies at the cut, (B, c, h, w), to pooled features (B, F),
        single precision. Where nothing is trained, what comes in goes out."""
        from torch import nn

        from gazeray.models.trunk import AsFloat, Pooled

        if not self.unfreeze:
            return AsFloat()
        return nn.Sequential(AsFloat(), *self._blocks()[-self.unfreeze :], Pooled()).train()

    def _blocks(self) -> list[torch.nn.Module]:
        """All blocks with their weights."""
        from safetensors.torch import load

        from gazeray.models.backbone import loaded_network
        from gazeray.models.trunk import blocks_of

        state = None if self.state == "none" else load(self.folder.read_bytes(self.file))
        return list(blocks_of(loaded_network(self.arch, state, self.seed)).values())

    @property
    def facts(self) -> Json:
        """What the manifest says of it."""
        from gazeray.models.trunk import block_names

        names = block_names(self.arch)
        return {
            "arch": self.arch,
            "sha256": self.state,
            "size_px": self.size_px,
            "mean": list(self.mean),
            "std": list(self.std),
            "blocks": len(names),
            "trained": list(names[len(names) - self.unfreeze :]),
        }
