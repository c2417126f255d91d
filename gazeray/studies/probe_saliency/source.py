# SPDX-License-Identifier: Apache-2.0
"""What linear probes of a network find before a picture is decoded: the pictures, the layers and the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gazeray.config import ConfigError
from gazeray.stimuli.dataset import PictureSet, first_picture
from gazeray.studies.pictures.source import open_set, scenes_lines
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.studies.shared.declared import SIMULATED
from gazeray.study import Source

if TYPE_CHECKING:
    import torch

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
STAGES = ("layer1", "layer2", "layer3", "layer4")
"""The `default_layers` of every one of them."""


@dataclass(frozen=True)
class Network:
    """The layers, and the weights (None: untrained) with their SHA-256."""

    layers: tuple[str, ...]
    weights: dict[str, torch.Tensor] | None
    state: str


@dataclass(frozen=True)
class ProbeSaliencyPlan(Network):
    """The network, and the pictures that are shown to it."""

    pictures: PictureSet


def plan(cfg: ProbeSaliencyConfig) -> Sequence[str]:
    """What a run would do. Raises ConfigError, DataError."""
    if cfg.data.dataset != SIMULATED:
        return open_probing(cfg).planned()
    network = open_network(cfg)
    return [*scenes_lines(cfg), *_lines(cfg, network)]


def open_probing(cfg: ProbeSaliencyConfig) -> Source[ProbeSaliencyPlan]:
    """Check network, layers and weights, and look at the pictures. Raises ConfigError, DataError."""
    network = open_network(cfg)
    pictures, lines = open_set(cfg)
    if not pictures.gaze and "readout" in cfg.probes.kinds and cfg.probes.readout.train_on == "fixations":
        raise ConfigError(["probes.readout.train_on: the picture set has maps and no fixations (allowed: maps)"])
    found = ProbeSaliencyPlan(network.layers, network.weights, network.state, pictures)
    return Source(found, [*lines, *_lines(cfg, network)], lambda most_bytes: first_picture(pictures))


def open_network(cfg: ProbeSaliencyConfig) -> Network:
    """The network with its layers and weights, which fit each other. Raises ConfigError."""
    own = cfg.backbone
    if own.arch in RESNETS and own.layers is None and own.weights == "none" and own.sha256 is None:
        return Network(STAGES, None, "none")  # nothing to check

    # here, since they take seconds, and what is above needs neither
    from gazeray.models.backbone import Backbone, default_layers
    from gazeray.studies.shared.networks import as_config_errors
    from gazeray.weights import load_weights

    with as_config_errors("backbone"):
        layers = own.layers if own.layers is not None else tuple(default_layers(own.arch))
        weights, state = load_weights(own.weights, own.arch, own.sha256)
        Backbone(own.arch, layers, weights, cfg.run.seed)
    return Network(layers, weights, state)


def _lines(cfg: ProbeSaliencyConfig, network: Network) -> list[str]:
    own, kinds = cfg.backbone, cfg.probes.kinds
    shown = "untrained" if network.weights is None else f"weights {own.weights} ({network.state[:12]})"
    return [
        f"network: {own.arch}, {shown}; layers: {', '.join(network.layers)}",
        f"units: {cfg.folds.outer} of baselines, {len(network.layers) * len(kinds)} of probes "
        f"({', '.join(kinds)}), each over all folds and inner folds",
    ]
