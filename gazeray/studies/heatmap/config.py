# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set for the heatmap study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gazeray.config import DataConfig, JobConfig, Section, check_watched
from gazeray.explain.methods import METHODS, MethodName, check_methods
from gazeray.gaze.events import EventsConfig
from gazeray.gaze.quality import QualityConfig
from gazeray.gaze.scanpath_look import ScanpathLook
from gazeray.studies.shared.classification import ScoresConfig
from gazeray.synth.reading_parameters import ReadingSimulation

SMALLEST_SIDE_PX = 16
"""As `SMALLEST_SIDE` of the network, which is not imported here: PyTorch takes seconds."""

WATCHED = {"loss": False, "balanced_accuracy": True}
"""Metrics of the validation people that may stop a fit or steer a search, and whether more is better."""


class HeatmapData(DataConfig):
    """Which recordings; `simulate` shapes the embedded study."""

    simulate: ReadingSimulation = ReadingSimulation()


class RenderConfig(Section):
    """How gaze becomes a picture of the stimulus window. Screen pictures are only cropped and shrunk."""

    kind: Literal["heatmap", "scanpath", "both"] = Field(
        "heatmap", description="dwell (1 channel), scanpath (3 channels) or both (4 channels)"
    )
    source: Literal["samples", "fixations"] = Field("samples", description="what a heatmap is drawn of")
    height_px: int = Field(32, ge=1, le=4096, description="height of the picture")
    width_px: int = Field(64, ge=1, le=4096, description="width of the picture")
    sigma_px: float | None = Field(None, gt=0, description="Gaussian's standard deviation in px of the screen")
    sigma_deg: float | None = Field(None, gt=0, description="the same in degrees of visual angle; needs the geometry")
    scanpath: ScanpathLook = ScanpathLook()
    dtype: Literal["uint8", "float16"] = Field("float16", description="how pictures are kept")
    full_scale_ms: float = Field(2000.0, gt=0, description="dwell that becomes 255 with dtype uint8")
    max_gap_ms: float = Field(100.0, gt=0, description="longest time that one sample stands for")

    @model_validator(mode="after")
    def _one_sigma(self) -> RenderConfig:
        if (self.sigma_px is None) == (self.sigma_deg is None):
            raise ValueError("give one of sigma_px and sigma_deg and set the other to null")
        return self

    @model_validator(mode="after")
    def _dark_ground(self) -> RenderConfig:
        if self.kind == "both" and self.scanpath.kind != "channels":
            raise ValueError("kind both needs scanpath.kind channels: the others are pictures of their own")
        return self

    @property
    def channels(self) -> int:
        """Channels of a picture drawn of raw gaze."""
        return {"heatmap": 1, "scanpath": self.scanpath.channels, "both": 4}[self.kind]

    @property
    def blank(self) -> float:
        """What a picture holds where nothing is drawn."""
        return self.scanpath.ground if self.kind == "scanpath" else 0.0


class ModelConfig(Section):
    """The CNN."""

    width: int = Field(16, ge=1, description="channels of the first convolution; the second has twice as many")
    dropout: float = Field(0.4, ge=0, lt=1, description="share of activations dropped in training")


class ExplainConfig(Section):
    """The maps of the test examples, and the checks that say whether to believe them."""

    maps: bool = Field(True, description="maps of every test example")
    methods: tuple[MethodName, ...] = Field(METHODS, min_length=1, description="which maps")
    steps: int = Field(32, ge=1, description="of integrated gradients")
    samples: int = Field(16, ge=1, description="noisy copies of smoothgrad")
    noise_share: float = Field(0.1, gt=0, description="noise of smoothgrad, of the picture's range")
    random_networks: int = Field(2, ge=0, description="networks with random weights that maps are compared with")
    check_share: float = Field(0.25, ge=0, le=1, description="share of the examples that go through the checks")

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
        check_methods(methods)
        return methods


class FeaturesConfig(Section):
    """The simple features of the logistic regression."""

    columns: int = Field(16, ge=1, le=512, description="dwell columns across the stimulus window")


class HeatmapConfig(JobConfig):
    """All sections."""

    data: HeatmapData = HeatmapData()
    quality: QualityConfig = QualityConfig()
    events: EventsConfig = EventsConfig()
    render: RenderConfig = RenderConfig(sigma_px=40.0)
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    scores: ScoresConfig = ScoresConfig()
    explain: ExplainConfig = ExplainConfig()

    def only_scores(self) -> Self:
        """The same without maps."""
        return self.model_copy(update={"explain": self.explain.model_copy(update={"maps": False})})

    def faults_of_search(self, tried: Sequence[Self]) -> list[str]:
        """Maps of folds that chose other pictures have no average: nothing may be tried that draws others."""
        if not self.explain.maps:
            return []
        drawn: dict[str, set[int | str]] = {
            "render.height_px": {one.render.height_px for one in tried},
            "render.width_px": {one.render.width_px for one in tried},
            "render.kind": {one.render.kind for one in tried},
            "render.scanpath.kind": {one.render.scanpath.kind for one in tried if one.render.kind != "heatmap"},
        }
        told = "maps of folds that choose other pictures have no average; set explain.maps=false, or leave it out"
        return [f"{key}: {told}" for key, values in drawn.items() if len(values) > 1]

    @model_validator(mode="after")
    def _metrics_are_watched(self) -> HeatmapConfig:
        check_watched(self, WATCHED)
        return self

    @model_validator(mode="after")
    def _something_is_held_out(self) -> HeatmapConfig:
        if self.folds.hold_out == "neither":
            raise ValueError(
                "folds.hold_out: 'neither' is not one of participants, stimuli, both: with trials split at random a "
                "model may know the reader or the text by sight"
            )
        return self

    @model_validator(mode="after")
    def _model_fits_picture(self) -> HeatmapConfig:
        size = self.render.height_px, self.render.width_px
        if min(size) < SMALLEST_SIDE_PX:
            told = f"at least ({SMALLEST_SIDE_PX}, {SMALLEST_SIDE_PX}), not {size}"
            raise ValueError(f"render.height_px, render.width_px: too small for the model: size (H, W) must be {told}")
        return self


@dataclass(frozen=True)
class PictureKind:
    """What the pictures are: their kind, their channels, and what they hold where nothing is drawn."""

    kind: str
    channels: int
    blank: float
