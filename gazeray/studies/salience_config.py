# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set for the salience study, and for scoring maps that were made elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from gazeray.config import ResourcesConfig, RunSettings, Section
from gazeray.gaze.pictures.targets import TargetConfig
from gazeray.synth.salience import SalienceSimulation

Metric = Literal[
    "information_gain", "auc_uniform", "auc_judd", "auc_borji", "auc_shuffled", "nss", "cc", "sim", "kl", "emd"
]
ProbeKind = Literal["readout", "ridge", "pooled"]
Positive = Annotated[float, Field(gt=0)]


def _different(penalties: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(penalties)) < len(penalties):
        raise ValueError("a penalty is named twice")
    return penalties


Penalties = Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_different)]

DEFAULT_METRICS: tuple[Metric, ...] = (
    "information_gain",
    "auc_uniform",
    "auc_shuffled",
    "auc_judd",
    "nss",
    "cc",
    "sim",
    "kl",
)


class PicturesData(Section):
    """Which pictures and whose gaze."""

    dataset: str = Field("simulated", description="a picture set YAML, or 'simulated' for the embedded scenes")
    root: str | None = Field(None, description="folder or URI of the pictures; default: the folder of the YAML")
    cache_gb: float = Field(4.0, ge=0, description="features and targets that a worker keeps in memory, read above it")
    simulate: SalienceSimulation = SalienceSimulation()


class ScoreConfig(Section):
    """How maps are compared with people."""

    longest_px: int = Field(200, ge=8, le=4096, description="longest side of the grid that all maps are scored on")
    metrics: tuple[Metric, ...] = Field(DEFAULT_METRICS, min_length=1, description="see docs/saliency.md")
    max_negatives: int = Field(
        20000, ge=1, description="fixations of other pictures for the shuffled AUC; drawn by seed when there are more"
    )
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the pictures")

    @field_validator("metrics")
    @classmethod
    def _once(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError("a metric is named twice")
        return metrics


class BaselinesConfig(Section):
    """What stands beside the models."""

    observers: bool = Field(True, description="ceilings: leave-one-observer-out and split halves")
    splits: int = Field(10, ge=1, description="random halves of the observers")


class PictureFolds(Section):
    """Which pictures are tested when."""

    outer: int = Field(5, ge=3, description="folds of the pictures; inner folds are the others, each left out in turn")


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

    kinds: tuple[ProbeKind, ...] = Field(("readout", "ridge", "pooled"), min_length=1, description="which probes")
    readout: ReadoutConfig = ReadoutConfig()
    ridge: RidgeConfig = RidgeConfig()
    pooled: PooledConfig = PooledConfig()

    @field_validator("kinds")
    @classmethod
    def _once(cls, kinds: tuple[ProbeKind, ...]) -> tuple[ProbeKind, ...]:
        if len(set(kinds)) < len(kinds):
            raise ValueError("a probe is named twice")
        return kinds


class ShowConfig(Section):
    """What the report shows."""

    pictures: int = Field(4, ge=0, le=20, description="best, middle and worst pictures, so many of each")


class PictureScoring(Section):
    """The sections that all jobs on picture sets share."""

    data: PicturesData = PicturesData()
    targets: TargetConfig = TargetConfig()
    folds: PictureFolds = PictureFolds()
    baselines: BaselinesConfig = BaselinesConfig()
    score: ScoreConfig = ScoreConfig()
    show: ShowConfig = ShowConfig()
    resources: ResourcesConfig = ResourcesConfig()
    run: RunSettings = RunSettings()


class SalienceConfig(PictureScoring):
    """The config of jobs/probe_salience.py."""

    backbone: BackboneConfig = BackboneConfig()
    probes: ProbesConfig = ProbesConfig()


class MapsConfig(Section):
    """The maps to score."""

    path: str | None = Field(
        None,
        description="folder or URI of the maps: <stimulus>.png, .npy or .npz, any size; null: of the embedded scenes",
    )
    label: str | None = Field(None, min_length=1, description="how the report calls them; default: the folder's name")
    kind: Literal["saliency", "density", "log_density"] = Field(
        "saliency", description="what the values are; saliency maps are read as densities where a metric needs one"
    )


class ScoreMapsConfig(PictureScoring):
    """The config of jobs/score_maps.py."""

    maps: MapsConfig = MapsConfig()
