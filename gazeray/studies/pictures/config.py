# SPDX-License-Identifier: Apache-2.0
"""What can be set in every study on picture sets."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from gazeray.config import ResourcesConfig, RunSettings, Section, StorageConfig, TrackingConfig, VariantsConfig
from gazeray.stimuli.recipes import TargetConfig
from gazeray.synth.saliency_parameters import SaliencySimulation

Metric = Literal[
    "information_gain", "auc_uniform", "auc_judd", "auc_borji", "auc_shuffled", "nss", "cc", "sim", "kl", "emd"
]

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


def different(what: str) -> AfterValidator:
    """Of a tuple: nothing, such as `a metric`, is named twice."""

    def check(values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"{what} is named twice")
        return values

    return AfterValidator(check)


class PicturesData(Section):
    """Which pictures and whose gaze."""

    dataset: str = Field("simulated", description="a picture set YAML, or 'simulated' for the embedded scenes")
    root: str | None = Field(None, description="folder or URI of the pictures; default: the folder of the YAML")
    cache_gb: float = Field(4.0, ge=0, description="share stores in memory up to this size, stream them above")
    simulate: SaliencySimulation = SaliencySimulation()


class ScoreConfig(Section):
    """How maps are compared with people."""

    longest_px: int = Field(200, ge=8, le=4096, description="longest side of the grid that all maps are scored on")
    metrics: Annotated[tuple[Metric, ...], different("a metric")] = Field(
        DEFAULT_METRICS, min_length=1, description="see docs/saliency_metrics.md"
    )
    max_negatives: int = Field(
        20000, ge=1, description="fixations of other pictures for the shuffled AUC; drawn by seed when there are more"
    )
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the pictures")


class BaselinesConfig(Section):
    """What stands beside the models."""

    observers: bool = Field(True, description="ceilings: leave-one-observer-out and split halves")
    splits: int = Field(10, ge=1, description="random halves of the observers")


class PictureFolds(Section):
    """Which pictures are tested when."""

    outer: int = Field(5, ge=3, description="folds of the pictures; inner folds are the others, each left out in turn")
    path: str | None = Field(
        None, description="CSV or Parquet file with the columns stimulus and fold: folds dealt elsewhere, not `outer`"
    )


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
    storage: StorageConfig = StorageConfig()
    tracking: TrackingConfig = TrackingConfig()
    variants: VariantsConfig = VariantsConfig()

    def only_scores(self) -> Self:
        """The same: what people look at is made of the scores of the run itself, and of no variant."""
        return self
