# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set for the emotion study."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gazeray.config import ConfigError, FoldsConfig, JobConfig, Section, StoreConfig, TrainConfig, check_watched
from gazeray.gaze.augment_config import AugmentConfig
from gazeray.gaze.events import EventsConfig
from gazeray.gaze.labels import Label
from gazeray.gaze.quality import QualityConfig
from gazeray.gaze.scanpath_look import ScanpathLook
from gazeray.gaze.signals_config import SignalsConfig
from gazeray.studies.shared.classification import ScoresConfig
from gazeray.synth.emotion_parameters import EmotionSimulation

Colour = tuple[float, float, float]

Branch = Literal["series", "scanpath", "picture"]
BRANCHES: tuple[Branch, ...] = ("series", "scanpath", "picture")

SMALLEST_PUBLISHED_PX = 76
"""`gazeray.models.emotion.SMALLEST_SCANPATH` of that size, which this page does not import: it takes seconds."""

WATCHED = {"loss": False, "balanced_accuracy": True, "qwk": True}
"""Metrics of the validation rows, means over the labels, and whether more is better."""


def subsets_of(branches: Sequence[Branch], rows: str) -> list[tuple[Branch, ...]]:
    """The branches of each model that `model.rows` asks for, smaller ones first, that of all last."""
    sizes = {"every_subset": range(1, len(branches)), "alone_and_all": (1,), "all": ()}[rows]
    some = [one for size in sizes if size < len(branches) for one in combinations(branches, size)]
    return [*some, tuple(branches)]


class EmotionData(StoreConfig):
    """Which recordings, and which labels; `simulate` shapes the embedded study."""

    dataset: str = Field("simulated", description="a data set YAML, or 'simulated' for the embedded study")
    root: str | None = Field(None, description="folder or URI of the recordings; default: the folder of the YAML")
    labels: list[str] | None = Field(None, min_length=1, description="labels to predict; default: all of the data set")
    simulate: EmotionSimulation = EmotionSimulation()


class ScanpathConfig(Section):
    """The picture of the scanpath."""

    side_px: int = Field(64, ge=32, le=1024, description="side of the square picture")
    look: ScanpathLook = ScanpathLook(kind="saccades")


class PictureConfig(Section):
    """The network that sees the stimulus."""

    arch: str = Field("mobilenet_v2", description="a torchvision classification network by name")
    weights: str = Field(
        "none", description="a torchvision weights name such as DEFAULT; a local or s3:// file; none: untrained"
    )
    sha256: str | None = Field(None, pattern="^[0-9a-fA-F]{64}$", description="of the weights file, checked")
    size_px: int = Field(96, ge=32, le=1024, description="side of the square that a stimulus is resized to")
    unfreeze: int = Field(0, ge=0, description="how many of the last blocks are trained; 0: all are frozen")
    batch_size: int = Field(8, ge=1, description="pictures that go through the frozen part together")
    mean: Colour | None = Field(None, description="of red, green, blue (0..1), removed; default: the weights' own")
    std: Colour | None = Field(None, description="of red, green, blue, divided by; default: the weights' own")

    @model_validator(mode="after")
    def _both_or_none(self) -> PictureConfig:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both of mean and std, or none of them")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be above 0, not {list(self.std)}")
        return self


class ModelConfig(Section):
    """The branches and their fusion."""

    branches: tuple[Branch, ...] = Field(BRANCHES, min_length=1, description="what the model sees")
    rows: Literal["every_subset", "alone_and_all", "all"] = Field(
        "every_subset", description="which subsets of the branches are models of their own beside that of all"
    )
    size: Literal["small", "published"] = Field(
        "small", description="of all branches; published: 2.68 M in the scanpath's"
    )
    recurrence: Literal["lstm", "gru", "transformer", "lstm_over_channels"] = Field(
        "lstm", description="over time; lstm_over_channels: as published, over the filters of the convolution"
    )
    head: Literal["classes", "ordinal"] = Field("classes", description="of ordered labels; ordinal: cumulative logits")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of activations dropped in training, before the heads")

    @field_validator("branches")
    @classmethod
    def _each_once(cls, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
        if len(set(branches)) < len(branches):
            raise ValueError("a branch is there twice")
        return tuple(name for name in BRANCHES if name in branches)


class LossConfig(Section):
    """What is minimised: the sum over the labels."""

    gamma: float = Field(2.0, ge=0, description="of the focal loss; 0: cross-entropy")
    form: Literal["focal", "published"] = Field(
        "focal",
        description="focal: with the true p of the class; published: with exp of the weighted loss in its place",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all levels")
    balance: Literal["none", "classes", "published_over", "published_neutral"] = Field(
        "none", description="how training rows are drawn: as they are, levels alike, or by the published heuristics"
    )


class ControlsConfig(Section):
    """Questions to the signals, each a row of the table: would the score be there without what it is credited to?"""

    of: str = Field("series", description="the model that is asked: branches joined by '-', such as series-scanpath")
    shift_ms: list[float] = Field([], description="the window moved by so much, later (+) or earlier (-)")
    cut_ms: float | None = Field(None, gt=0, description="the last so many ms of the window are not seen")
    shuffle_labels: bool = Field(False, description="labels are shuffled within participants")
    swap_signals: bool = Field(False, description="trials get the signals of somebody else who saw the same picture")
    knock_out: bool = Field(True, description="each channel in turn is not seen in the test")
    permute: int = Field(10, ge=0, description="how often each channel is shuffled among the test rows; 0: not at all")

    @field_validator("of")
    @classmethod
    def _some_branches(cls, of: str) -> str:
        able = ["-".join(own) for own in subsets_of(BRANCHES, "every_subset")]
        if of not in able:
            raise ValueError(f"no such model (allowed: {', '.join(able)})")
        return of

    @field_validator("shift_ms")
    @classmethod
    def _other_windows(cls, shift_ms: list[float]) -> list[float]:
        names = [f"{ms:+g}" for ms in shift_ms]
        if len(set(names)) < len(names) or 0 in shift_ms:
            raise ValueError(f"each once in six digits, none 0, not {', '.join(names)}")
        return shift_ms

    @model_validator(mode="after")
    def _signals_are_seen(self) -> ControlsConfig:
        keys = [key for key in ("shift_ms", "cut_ms", "swap_signals") if getattr(self, key)]
        if keys and self.of == "picture":
            raise ValueError(f"{', '.join(keys)}: {self.of!r} sees no signals: let controls.of have series or scanpath")
        return self

    @property
    def asked(self) -> bool:
        """Is anything asked that needs the model `of`? Knocking out and permuting are asked of it where it is there."""
        return bool(self.fits or self.swap_signals)

    @property
    def windows(self) -> dict[str, tuple[float, float]]:
        """The controls that see another window: key -> by how many ms it is later, and how many its end is cut by."""
        cut = {f"cut-{self.cut_ms:g}": (0.0, self.cut_ms)} if self.cut_ms else {}
        return {f"shift{ms:+g}": (ms, 0.0) for ms in self.shift_ms} | cut

    @property
    def fits(self) -> list[str]:
        """The keys of the controls that are models of their own."""
        return [*self.windows, *["shuffled_labels"] * self.shuffle_labels]


class EmotionConfig(JobConfig):
    """All sections."""

    data: EmotionData = EmotionData()
    folds: FoldsConfig = FoldsConfig(outer=4)
    train: TrainConfig = TrainConfig(epochs=50)
    quality: QualityConfig = QualityConfig()
    events: EventsConfig = EventsConfig()
    signals: SignalsConfig = SignalsConfig()
    scanpath: ScanpathConfig = ScanpathConfig()
    picture: PictureConfig = PictureConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    scores: ScoresConfig = ScoresConfig()
    controls: ControlsConfig = ControlsConfig()

    def only_scores(self) -> Self:
        """The same without controls."""
        nothing = ControlsConfig(knock_out=False, permute=0)
        return self.model_copy(update={"controls": nothing})

    @model_validator(mode="after")
    def _metrics_are_watched(self) -> EmotionConfig:
        check_watched(self, WATCHED)
        return self

    @model_validator(mode="after")
    def _controlled_model_is_fitted(self) -> EmotionConfig:
        allowed = ["-".join(subset) for subset in self.subsets]
        if self.controls.of not in allowed and self.controls.asked:
            raise ValueError(f"controls.of: {self.controls.of!r} is no model here (allowed: {', '.join(allowed)})")
        if self.search is not None and self.controls.fits and self.controls.of == allowed[-1]:
            raise ValueError(
                f"controls.of: the settings of {self.controls.of!r} are searched, and its controls would have others"
            )
        return self

    @model_validator(mode="after")
    def _gaze_moves_as_a_whole(self) -> EmotionConfig:
        if self.augment.views and len({"x", "y"} & {*(self.signals.channels or ())}) == 1:
            raise ValueError("signals.channels: x and y are moved together (augment.views): name both or none")
        return self

    @model_validator(mode="after")
    def _something_is_seen(self) -> EmotionConfig:
        cut_ms, lasts_ms = self.controls.cut_ms, self.signals.duration_ms
        if cut_ms is not None and cut_ms >= lasts_ms:
            raise ValueError(f"controls.cut_ms: {cut_ms:g} leaves nothing of signals.duration_ms {lasts_ms:g}")
        return self

    @model_validator(mode="after")
    def _published_layers_fit(self) -> EmotionConfig:
        small = self.scanpath.side_px < SMALLEST_PUBLISHED_PX and "scanpath" in self.model.branches
        if self.model.size == "published" and small:
            few = f"must be at least {SMALLEST_PUBLISHED_PX}, or nothing is left behind the published layers"
            raise ValueError(f"scanpath.side_px: {self.scanpath.side_px} {few}; published is 180")
        return self

    @property
    def subsets(self) -> list[tuple[Branch, ...]]:
        """The branches of each model, that of all last."""
        return subsets_of(self.model.branches, self.model.rows)


def check_metrics(cfg: EmotionConfig, labels: Sequence[Label]) -> None:
    """Raises ConfigError for a metric that is watched and that no label has."""
    asked = {"train.stop_on": cfg.train.stop_on} | ({"search.metric": cfg.search.metric} if cfg.search else {})
    if not any(label.ordered and len(label.classes) > 2 for label in labels):
        faults = [f"{key}: qwk needs a label with three ordered levels" for key, name in asked.items() if name == "qwk"]
        if faults:
            raise ConfigError(faults)
