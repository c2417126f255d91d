# SPDX-License-Identifier: Apache-2.0
"""The heatmap study: which of two (or more) kinds of reading is it, judged by a small CNN from where the gaze dwelt.

After Ryzhova et al. (2023), doi 10.1145/3588015.3590118. Raw gaze becomes duration-weighted heatmaps of the stimulus
window; participants are held out; a logistic regression on simple gaze features stands beside the CNN.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pydantic import Field, model_validator

from gazeray.config import ConfigError, DataConfig, JobConfig, Section, digest, parse_yaml, validate
from gazeray.examples import Examples, tensor_column
from gazeray.explain.gradients import class_gradients
from gazeray.gaze.dataset import Dataset, DatasetSpec, Recording, load_dataset, open_dataset
from gazeray.gaze.events import fixations_idt
from gazeray.gaze.features import feature_names, reading_features
from gazeray.gaze.recording import RecordingGaze, TrialGaze, read_recording
from gazeray.gaze.render import decode, encode, heatmaps, pad_trials, sample_durations, sigma_px_from_deg
from gazeray.metrics.statistics import majority_scores
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder
from gazeray.studies.classification import (
    ScoresConfig,
    class_weighted_loss,
    fold_scores,
    logistic_regression_scores,
    predictions_table,
    score_predictions,
    softmax,
)
from gazeray.study import Plan, Shard, Split, Stage, Tested
from gazeray.synth.reading import simulate
from gazeray.synth.reading_parameters import ReadingSimulation
from gazeray.tables import QUALITY, DataError, Reject

SIMULATED = "simulated"
READING, SIMULATION = 1, 1
"""Raised when the code reads or draws, or simulates, the same input differently: older examples are then not reused."""


class HeatmapData(DataConfig):
    """Which recordings; `simulate` shapes the embedded study."""

    simulate: ReadingSimulation = ReadingSimulation()


class RenderConfig(Section):
    """How gaze becomes a picture of the stimulus window."""

    source: Literal["samples", "fixations"] = Field("samples", description="what is drawn")
    height_px: int = Field(32, ge=1, le=4096, description="height of the picture")
    width_px: int = Field(64, ge=1, le=4096, description="width of the picture")
    sigma_px: float | None = Field(None, gt=0, description="Gaussian's standard deviation in px of the screen")
    sigma_deg: float | None = Field(None, gt=0, description="the same in degrees of visual angle; needs the geometry")
    dtype: Literal["uint8", "float16"] = Field("float16", description="how pictures are kept")
    full_scale_ms: float = Field(2000.0, gt=0, description="dwell that becomes 255 with dtype uint8")
    max_gap_ms: float = Field(100.0, gt=0, description="longest time that one sample stands for")

    @model_validator(mode="after")
    def _one_sigma(self) -> RenderConfig:
        if (self.sigma_px is None) == (self.sigma_deg is None):
            raise ValueError("give one of sigma_px and sigma_deg and set the other to null")
        return self


class EventsConfig(Section):
    """How fixations are found in samples (I-DT), where the data set brings none of its own."""

    dispersion_px: float = Field(40.0, gt=0)
    min_duration_ms: float = Field(80.0, gt=0)


class ModelConfig(Section):
    """The CNN."""

    width: int = Field(16, ge=1, description="channels of the first convolution; the second has twice as many")
    dropout: float = Field(0.4, ge=0, lt=1)


class ExplainConfig(Section):
    """What is kept to look at."""

    maps: bool = Field(True, description="gradient maps of every test example")


class FeaturesConfig(Section):
    """The simple features of the logistic regression."""

    columns: int = Field(16, ge=1, le=512, description="dwell columns across the stimulus window")


class HeatmapConfig(JobConfig):
    """Everything that can be set for this study."""

    data: HeatmapData = HeatmapData()
    render: RenderConfig = RenderConfig(sigma_px=40.0)
    events: EventsConfig = EventsConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig = ModelConfig()
    scores: ScoresConfig = ScoresConfig()
    explain: ExplainConfig = ExplainConfig()

    @model_validator(mode="after")
    def _model_fits_picture(self) -> HeatmapConfig:
        try:
            HeatmapCNN(1, (self.render.height_px, self.render.width_px), 1, 2)
        except ValueError as error:
            raise ValueError(f"render.height_px, render.width_px: too small for the model: {error}") from error
        return self


class HeatmapStudy:
    """See `gazeray.study.Study`."""

    name = "heatmap"
    config = HeatmapConfig
    tensors: Sequence[str] = ("picture",)

    def plan(self, cfg: HeatmapConfig) -> Plan:
        """Open the data set (simulate it first where asked) and check that it can be drawn as the config says."""
        spec, root = _open(cfg)
        _check_declared(cfg, spec)
        data = open_dataset(spec, root, cfg.data.label)
        _check_geometry(cfg, data)
        trials = pa.Table.from_pandas(data.trials, preserve_index=False)
        recordings = [asdict(recording) for recording in data.recordings]
        parts = [READING, spec.model_dump(mode="json", exclude={"notes", "licence", "name"})]
        parts += [section.model_dump(mode="json") for section in (cfg.render, cfg.events, cfg.features)]
        meaning = digest(parts)
        notes = [spec.notes[data.label]] if data.label in spec.notes else []
        return Plan(
            dataset=spec.name,
            licence=spec.licence,
            label=data.label,
            classes=data.classes,
            notes=notes,
            trials=trials,
            recordings=recordings,
            rejects=data.rejects,
            fingerprint=digest([meaning, root.uri, recordings, _digest_table(trials)]),
            meaning=meaning,
            root=root,
        )

    def reader(self, cfg: HeatmapConfig, plan: Plan) -> Stage:
        """Read, detect, render: one recording's files to its examples."""
        spec, _ = _open(cfg)
        trials = plan.trials.to_pandas()
        return Stage(ReadRecording(spec, plan.root, trials, cfg.render, cfg.events, cfg.features.columns))

    def model(self, cfg: HeatmapConfig, plan: Plan) -> torch.nn.Module:
        """The two-conv CNN on one channel of dwell."""
        size = (cfg.render.height_px, cfg.render.width_px)
        return HeatmapCNN(1, size, cfg.model.width, len(plan.classes), cfg.model.dropout)

    def inputs(self, cfg: HeatmapConfig, batch: Mapping[str, np.ndarray], device: torch.device) -> torch.Tensor:
        """Dwell in ms, (B, 1, H, W) float32 on the device."""
        stored = torch.from_numpy(batch["picture"]).to(device, non_blocking=True)
        dwell = decode(stored, cfg.render.dtype, cfg.render.full_scale_ms)
        return dwell.contiguous(memory_format=torch.channels_last)

    def loss(self, cfg: HeatmapConfig, plan: Plan, labels: np.ndarray) -> torch.nn.Module:
        """Cross-entropy, weighted by the training people's classes where asked."""
        return class_weighted_loss(labels, len(plan.classes), cfg.train.class_weights)

    def test(
        self,
        cfg: HeatmapConfig,
        plan: Plan,
        model: torch.nn.Module,
        examples: Examples,
        split: Split,
        device: torch.device,
    ) -> Tested:
        """Predictions of the CNN, the majority class and the logistic regression; gradient maps of the CNN."""
        logits, gradients = self._logits_and_gradients(cfg, model, examples, split.test, device)
        known = np.concatenate([split.train, split.validation])
        labels, classes = examples.index.labels, plan.classes
        features = [examples.take(rows, ["features"])["features"] for rows in (known, split.test)]
        scores = {
            "scores": softmax(logits),
            "majority": majority_scores(labels[known], len(split.test), classes),
            "logistic_regression": logistic_regression_scores(features[0], labels[known], features[1], len(classes)),
        }
        ids = examples.index.table.select(["participant", "trial", "stimulus", "window_width_px", "window_height_px"])
        table = predictions_table(ids.take(split.test), classes, labels[split.test], scores)
        names = [_map_name(*map(str, key)) for key in zip(table["participant"], table["trial"], strict=True)]
        maps = {}
        if cfg.explain.maps:
            table = table.append_column("map", pa.array([f"maps/{name}" for name in names]))
            maps = {name: _npz({key: values[i] for key, values in gradients.items()}) for i, name in enumerate(names)}
        return Tested(table, fold_scores(labels[split.test], scores["scores"], classes), maps)

    def _logits_and_gradients(
        self, cfg: HeatmapConfig, model: torch.nn.Module, examples: Examples, rows: np.ndarray, device: torch.device
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits (N, K) float64; heatmap (N, H, W) float16 and the two signed gradients (N, H, W) float32."""
        logits, parts = [], []
        for batch_rows, batch in examples.batches(rows, cfg.train.batch_size, self.tensors):
            x = self.inputs(cfg, batch, device)
            with torch.inference_mode():
                output = model(x).double().cpu()
            logits.append(output.numpy())
            if cfg.explain.maps:
                true = torch.from_numpy(examples.index.labels[batch_rows]).to(device)
                predicted = output.argmax(dim=1).to(device)
                part = {
                    "heatmap": x.half(),
                    "gradient_true": class_gradients(model, x, true),
                    "gradient_predicted": class_gradients(model, x, predicted),
                }
                parts.append({name: values[:, 0].cpu().numpy() for name, values in part.items()})
        gradients = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}
        return np.concatenate(logits), gradients

    def score(self, cfg: HeatmapConfig, plan: Plan, predictions: pa.Table) -> dict[str, Any]:
        """Metrics with intervals, chance and baselines; permutation test; confusion per participant."""
        return score_predictions(predictions, plan.classes, cfg.scores, cfg.run.seed)


Geometry = dict[Any, Any]
"""A row of the trials table: which screen, which window."""


@dataclass(frozen=True)
class ReadRecording:
    """One recording's files to a shard: pictures (N, 1, H, W) and features (N, F). Runs in the workers."""

    spec: DatasetSpec
    root: Folder
    trials: pd.DataFrame
    render: RenderConfig
    events: EventsConfig
    columns: int

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        torch.set_num_threads(1)
        mine = self.trials[self.trials["participant"].isin(recording["participants"])]
        gaze = read_recording(self.spec, self.root, Recording(**recording), mine)
        geometry = {(row["participant"], row["trial"]): Geometry(row) for row in mine.to_dict("records")}
        trials, rejects = self.drawable(gaze.trials, str(recording["key"]))
        rows = [geometry[trial.participant, trial.trial] for trial in trials]
        table = pa.table(
            {
                "participant": pa.array([trial.participant for trial in trials], pa.string()),
                "trial": pa.array([trial.trial for trial in trials], pa.string()),
                "picture": tensor_column(self.pictures(trials, rows)),
                "features": tensor_column(self.features(trials, rows)),
            }
        )
        return Shard(table, [*gaze.rejects, *rejects], _quality(gaze), gaze.sha256, gaze.n_rows)

    def drawable(self, trials: Sequence[TrialGaze], source: str) -> tuple[list[TrialGaze], list[Reject]]:
        """The trials with any dwell to draw; the others are rejected, since a blank picture is no measurement."""
        kept, rejects = [], []
        for trial in trials:
            x, y, duration = self.dwell(trial)
            if np.any((duration > 0) & np.isfinite(x) & np.isfinite(y)):
                kept.append(trial)
            else:
                reason = f"nothing to draw: no {self.render.source} with a duration"
                rejects.append(Reject(source, -1, "render", reason, trial.participant, trial.trial))
        return kept, rejects

    def pictures(self, trials: Sequence[TrialGaze], rows: Sequence[Geometry]) -> np.ndarray:
        """The heatmaps of some trials, (N, 1, H, W), in the type in which they are kept."""
        size = (self.render.height_px, self.render.width_px)
        if not trials:
            return np.empty((0, 1, *size), self.render.dtype)
        dwell = [self.dwell(trial) for trial in trials]
        x, y, duration = (pad_trials([part[axis] for part in dwell]) for axis in range(3))
        windows = torch.tensor([_window(row) for row in rows], dtype=torch.float32)
        sigma = torch.tensor([self.sigma_px(row) for row in rows], dtype=torch.float32)
        drawn = heatmaps(x, y, torch.nan_to_num(duration), windows, size, sigma)
        return encode(drawn, self.render.dtype, self.render.full_scale_ms)

    def dwell(self, trial: TrialGaze) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x and y in px of the screen, and how long the gaze was there in ms."""
        if self.render.source == "fixations":
            found = trial.fixations or {name: np.empty(0) for name in ("x_px", "y_px", "duration_ms")}
            return found["x_px"], found["y_px"], found["duration_ms"]
        samples = trial.samples
        assert samples is not None, "checked when the plan was made"
        x, y = samples["x_px"], samples["y_px"]
        duration = sample_durations(samples["timestamp_ms"], np.isfinite(x) & np.isfinite(y), self.render.max_gap_ms)
        return x, y, duration

    def sigma_px(self, row: Geometry) -> float:
        """The Gaussian's standard deviation on this trial's screen, px."""
        if self.render.sigma_px is not None:
            return self.render.sigma_px
        assert self.render.sigma_deg is not None, "the config has one of the two"
        width, width_mm, distance = row["screen_width_px"], row["screen_width_mm"], row["distance_mm"]
        return sigma_px_from_deg(self.render.sigma_deg, float(width), float(width_mm), float(distance))

    def features(self, trials: Sequence[TrialGaze], rows: Sequence[Geometry]) -> np.ndarray:
        """The simple gaze features, (N, F) float32: of the data set's fixations, else of detected ones."""
        if not trials:
            return np.empty((0, len(feature_names(self.columns))), np.float32)
        pairs = zip(trials, rows, strict=True)
        return np.stack([reading_features(self.fixations(trial), _window(row), self.columns) for trial, row in pairs])

    def fixations(self, trial: TrialGaze) -> Mapping[str, np.ndarray]:
        """The trial's own fixations; where the data set has none for it, those that I-DT finds in its samples."""
        samples = trial.samples
        if samples is None or (trial.fixations is not None and len(trial.fixations["onset_ms"])):
            assert trial.fixations is not None, "a data set has samples or fixations"
            return trial.fixations
        return fixations_idt(
            samples["timestamp_ms"],
            samples["x_px"],
            samples["y_px"],
            self.events.dispersion_px,
            self.events.min_duration_ms,
            self.render.max_gap_ms,
        )


def _open(cfg: HeatmapConfig) -> tuple[DatasetSpec, Folder]:
    """The declaration of the data set and its folder; the embedded one is simulated when it is not there yet."""
    if cfg.data.dataset != SIMULATED:
        path = cfg.data.dataset
        if "://" not in path and not Path(path).is_file():
            raise ConfigError([f"data.dataset: no such file: {path} (a data set YAML, or {SIMULATED!r})"])
        home = path.rpartition("/")[0] if "://" in path else str(Path(path).parent)
        return load_dataset(path), Folder(cfg.data.root if cfg.data.root is not None else home)
    params = cfg.data.simulate
    root = Folder(cfg.run.dir).sub(f"data/reading-{digest([SIMULATION, params.model_dump(mode='json')])[:10]}")
    if not root.exists("dataset.yaml"):
        simulate(root, params)
    source = f"{root.uri}/dataset.yaml"
    return validate(DatasetSpec, parse_yaml(root.read_text("dataset.yaml"), source), source), root


def _check_declared(cfg: HeatmapConfig, spec: DatasetSpec) -> None:
    if getattr(spec, cfg.render.source) is None:
        other = "samples" if cfg.render.source == "fixations" else "fixations"
        raise ConfigError([f"render.source: data set {spec.name} declares no {cfg.render.source} (allowed: {other})"])


def _check_geometry(cfg: HeatmapConfig, data: Dataset) -> None:
    """A sigma in degrees needs to know the screen."""
    if cfg.render.sigma_deg is None:
        return
    unknown = data.trials[["screen_width_mm", "distance_mm"]].isna().any(axis=1).sum()
    if unknown:
        raise DataError(
            [f"render.sigma_deg: {unknown} trials have no screen width_mm or distance_mm; declare them or use sigma_px"]
        )


def _window(row: Geometry) -> tuple[float, float, float, float]:
    left, top, width, height = (float(row[f"window_{side}_px"]) for side in ("left", "top", "width", "height"))
    return left, top, width, height


def _quality(gaze: RecordingGaze) -> pa.Table:
    return pa.Table.from_pylist(list(gaze.quality), schema=QUALITY)


def _digest_table(table: pa.Table) -> str:
    return hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()


def _map_name(participant: str, trial: str) -> str:
    """A file name for one example, safe and unique whatever the ids contain."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in f"{participant}_{trial}")[
        :60
    ]
    return f"{plain}-{digest([participant, trial])[:8]}.npz"


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
