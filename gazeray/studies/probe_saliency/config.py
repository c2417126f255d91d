# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set for linear probes of a frozen network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gazeray.config import Section
from gazeray.studies.pictures.config import PictureScoring, different

ProbeKind = Literal["readout", "ridge", "pooled"]
Positive = Annotated[float, Field(gt=0)]
Penalties = Annotated[tuple[Positive, ...], Field(min_length=1), different("a penalty")]


class BackboneConfig(Section):
    """The frozen network whose layers are probed."""

    arch: str = Field("resnet50", description="a torchvision classification network by name")
    weights: str = Field(
        "none", description="a torchvision weights name such as DEFAULT; a local or s3:// file; none: untrained"
    )
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$", description="of the weights file, checked")
    layers: tuple[str, ...] | None = Field(None, description="modules to probe; default: the stages of the network")
    longest_px: int = Field(512, ge=32, le=4096, description="longest side of the network's input; aspect is kept")
    longest_cells: int = Field(64, ge=4, le=512, description="features are averaged down to this longest side")
    batch_size: int = Field(4, ge=1, description="pictures of the same size that go through together")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")


class ReadoutConfig(Section):
    """The 1x1 linear read-out to a log-density."""

    epochs: int = Field(30, ge=1, description="passes over the training pictures")
    batch_size: int = Field(8, ge=1, description="pictures per step")
    learning_rate: float = Field(0.01, gt=0, description="of Adam, falling to 0 along a cosine")
    penalties: Penalties = Field((0.01, 0.1, 1.0, 10.0), description="L2, tried on inner folds")
    blur_px: float = Field(2.0, gt=0, description="Gaussian blur, px of a grid whose longest side is longest_px")
    learn_blur: bool = Field(True, description="fit the blur too, from blur_px on")
    centre_bias: bool = Field(True, description="add the centre bias of the training pictures, with a fitted weight")
    train_on: Literal["fixations", "maps"] = Field("fixations", description="what the log-density is fitted to")
    longest_px: int = Field(100, ge=8, le=1024, description="longest side of the grid it is trained on")


class RidgeConfig(Section):
    """Ridge regression of the human map on the features of each cell."""

    penalties: Penalties = Field((1e-3, 1e-2, 1e-1, 1.0, 10.0), description="per cell, on standardised features")


class PooledConfig(Section):
    """The published variant: globally averaged features to a whole map."""

    penalties: Penalties = Field((0.1, 1.0, 10.0, 100.0, 1000.0), description="per picture, on standardised features")
    map_px: int = Field(256, ge=8, le=512, description="side of the square map")


class ProbesConfig(Section):
    """What is fitted to each layer."""

    kinds: Annotated[tuple[ProbeKind, ...], different("a probe")] = Field(
        ("readout", "ridge", "pooled"), min_length=1, description="which probes"
    )
    readout: ReadoutConfig = ReadoutConfig()
    ridge: RidgeConfig = RidgeConfig()
    pooled: PooledConfig = PooledConfig()


class ProbeSaliencyConfig(PictureScoring):
    """The config of jobs/probe_saliency.py."""

    backbone: BackboneConfig = BackboneConfig()
    probes: ProbesConfig = ProbesConfig()
