# SPDX-License-Identifier: Apache-2.0
"""The heatmap study: which of two (or more) kinds of reading is it, judged by a small CNN from where the gaze dwelt.

After Ryzhova et al. (2023), doi 10.1145/3588015.3590118. Raw gaze becomes heatmaps or scanpaths of the stimulus window,
or the pictures come drawn; participants are held out; a logistic regression on simple features stands beside the CNN.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gazeray.config import ConfigError, digest, parse_yaml, validate
from gazeray.explain.checks import content, randomised_copy
from gazeray.explain.examples import ExampleBatch, MapSettings, explain_batch
from gazeray.explain.summary import MapSummary
from gazeray.gaze.dataset import Dataset, DatasetSpec, open_dataset
from gazeray.gaze.declaration import read_declaration
from gazeray.gaze.screens import ScreensSpec, open_screens
from gazeray.metrics.statistics import majority_scores
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder, split_uri
from gazeray.store import Examples
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.passes import ReadRecording, ReadScreens, network_input
from gazeray.studies.shared.classification import (
    class_weighted_loss,
    fold_scores,
    logistic_regression_scores,
    predictions_table,
    score_predictions,
    softmax,
)
from gazeray.study import FoldResult, Plan, Split, Stage
from gazeray.synth.reading import simulate
from gazeray.tables import DataError

__all__ = ["HeatmapConfig", "HeatmapStudy"]

SIMULATED = "simulated"
READING, SIMULATION = 1, 1
"""Raised when the code reads or draws, or simulates, the same input differently: older examples are then not reused."""

SUMMARY = "explain.npz"
"""What the maps add up to: in a unit's folder of its test examples, in the run folder of all of them."""


class HeatmapStudy:
    """See `gazeray.study.Study`."""

    name = "heatmap"
    config = HeatmapConfig
    tensors: Sequence[str] = ("picture",)

    def plan(self, cfg: HeatmapConfig) -> Plan:
        """Open the data set (simulate it first where asked) and check that it can be drawn as the config says."""
        spec, root = _open(cfg)
        data: Any
        if isinstance(spec, ScreensSpec):
            data = open_screens(spec, root)
            if cfg.data.label not in (None, data.label):
                raise ConfigError([f"data.label: {spec.name} has no label {cfg.data.label!r} (allowed: {data.label})"])
        else:
            data = open_dataset(spec, root, cfg.data.label)
            _check_geometry(cfg, data)
        trials = pa.Table.from_pandas(data.trials, preserve_index=False)
        recordings = [asdict(recording) for recording in data.recordings]
        parts = [READING, spec.model_dump(mode="json", exclude={"notes", "licence", "name"})]
        parts += [part.model_dump(mode="json") for part in (cfg.render, cfg.events, cfg.quality, cfg.features)]
        meaning = digest(parts)
        return Plan(
            dataset=spec.name,
            licence=spec.licence,
            label=data.label,
            classes=data.classes,
            notes=[spec.notes[data.label]] if data.label in spec.notes else [],
            trials=trials,
            recordings=recordings,
            rejects=data.rejects,
            fingerprint=digest([meaning, root.uri, recordings, _digest_table(trials)]),
            meaning=meaning,
            root=root,
            own=_look(cfg, spec),
        )

    def reader(self, cfg: HeatmapConfig, plan: Plan) -> Stage:
        """Read, detect, gate, render: one recording's files to its examples."""
        spec, _ = _open(cfg)
        if isinstance(spec, ScreensSpec):
            return Stage(ReadScreens(spec, plan.root, cfg))
        return Stage(ReadRecording(spec, plan.root, plan.trials.to_pandas(), cfg))

    def model(self, cfg: HeatmapConfig, plan: Plan) -> torch.nn.Module:
        """The two-conv CNN on as many channels as the pictures have."""
        size = (cfg.render.height_px, cfg.render.width_px)
        return HeatmapCNN(plan.own["channels"], size, cfg.model.width, len(plan.classes), cfg.model.dropout)

    def inputs(
        self, cfg: HeatmapConfig, plan: Plan, batch: Mapping[str, np.ndarray], device: torch.device
    ) -> torch.Tensor:
        """Pictures (B, C, H, W) float32 on the device: dwell in ms, everything else 0..1."""
        stored = torch.from_numpy(batch["picture"]).to(device, non_blocking=True)
        x = network_input(stored, cfg.render, plan.own["kind"] == "screens")
        return x.contiguous(memory_format=torch.channels_last)

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
        keep: Callable[[str, bytes], None],
    ) -> FoldResult:
        """Predictions of the CNN, the majority class and the logistic regression; maps of the CNN and their checks."""
        ids = examples.index.table.select(["participant", "trial", "stimulus", "window_width_px", "window_height_px"])
        ids = ids.take(split.test)
        names = [_map_name(*map(str, key)) for key in zip(ids["participant"], ids["trial"], strict=True)]
        lookup = dict(zip(split.test.tolist(), names, strict=True))
        fresh = self._random_networks(cfg, plan, model, examples, split.train, device)
        settings = _map_settings(cfg, plan)
        logits, parts = [], []
        for rows, batch in examples.batches(split.test, cfg.train.batch_size, self.tensors):
            x = self.inputs(cfg, plan, batch, device)
            with torch.inference_mode():
                logits.append(model(x).double().cpu().numpy())
            if cfg.explain.maps:
                true = torch.from_numpy(examples.index.labels[rows])
                groups = examples.index.participants[rows].tolist()
                explained = explain_batch(model, fresh, ExampleBatch(x, true, rows.tolist(), groups), settings)
                parts.append(explained.summary)
                dwell = content(x, settings.fill).half().cpu().numpy()
                for i, row in enumerate(rows.tolist()):
                    arrays = {f"{name}_true": maps[i] for name, maps in explained.true.items()}
                    arrays |= {f"{name}_predicted": maps[i] for name, maps in explained.predicted.items()}
                    keep(lookup[row], _npz({"heatmap": dwell[i], **arrays}))
        known = np.concatenate([split.train, split.validation])
        labels, classes = examples.index.labels, plan.classes
        features = [examples.take(rows, ["features"])["features"] for rows in (known, split.test)]
        scores = {
            "scores": softmax(np.concatenate(logits)),
            "majority": majority_scores(labels[known], len(split.test), classes),
            "logistic_regression": logistic_regression_scores(features[0], labels[known], features[1], len(classes)),
        }
        table = predictions_table(ids, classes, labels[split.test], scores)
        if cfg.explain.maps:
            table = table.append_column("map", pa.array([f"maps/{name}" for name in names]))
        files = {SUMMARY: MapSummary.merge(parts).to_npz()} if parts else {}
        return FoldResult(table, fold_scores(labels[split.test], scores["scores"], classes), files)

    def _random_networks(
        self, cfg: HeatmapConfig, plan: Plan, model: torch.nn.Module, examples: Examples, rows: np.ndarray,
        device: torch.device,
    ) -> list[torch.nn.Module]:  # fmt: skip
        """Copies of the model with random weights; their batch statistics are those of some training pictures."""
        if not cfg.explain.maps:
            return []
        _, batch = next(iter(examples.batches(rows, 256, self.tensors)))
        x = self.inputs(cfg, plan, batch, device)
        return [randomised_copy(model, [x], seed) for seed in range(cfg.explain.random_networks)]

    def gather(
        self, cfg: HeatmapConfig, plan: Plan, files: Sequence[Mapping[str, bytes]]
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What the maps of all folds add up to: `explanations` for metrics.json, and explain.npz."""
        parts = [MapSummary.from_npz(own[SUMMARY]) for own in files if SUMMARY in own]
        if not parts:
            return {}, {}
        merged = MapSummary.merge(parts)
        return {"explanations": merged.figures(cfg.run.seed)}, {SUMMARY: merged.to_npz()}

    def score(self, cfg: HeatmapConfig, plan: Plan, predictions: pa.Table) -> dict[str, Any]:
        """Metrics with intervals, chance and baselines; permutation test; confusion per participant."""
        return score_predictions(predictions, plan.classes, cfg.scores, cfg.run.seed)


def _look(cfg: HeatmapConfig, spec: DatasetSpec | ScreensSpec) -> dict[str, Any]:
    """What the pictures are: their kind, their channels, and what they hold where nothing is drawn."""
    if isinstance(spec, ScreensSpec):
        return {"kind": "screens", "channels": 3, "blank": 1.0}
    return {"kind": cfg.render.kind, "channels": cfg.render.channels, "blank": cfg.render.blank}


def _map_settings(cfg: HeatmapConfig, plan: Plan) -> MapSettings:
    explain = cfg.explain
    return MapSettings(
        methods=explain.methods,
        steps=explain.steps,
        samples=explain.samples,
        noise_share=explain.noise_share,
        fill=plan.own["blank"],
        check_share=explain.check_share,
        seed=cfg.run.seed,
    )


def _open(cfg: HeatmapConfig) -> tuple[DatasetSpec | ScreensSpec, Folder]:
    """The declaration of the data set and its folder; the embedded one is simulated when it is not there yet."""
    if cfg.data.dataset != SIMULATED:
        path = cfg.data.dataset
        if "://" not in path and not Path(path).is_file():
            raise ConfigError([f"data.dataset: no such file: {path} (a data set YAML, or {SIMULATED!r})"])
        home = split_uri(path)[0] if "://" in path else str(Path(path).parent)
        return _declared(read_declaration(path), path), Folder(cfg.data.root if cfg.data.root is not None else home)
    params = cfg.data.simulate
    root = Folder(cfg.run.dir).sub(f"data/reading-{digest([SIMULATION, params.model_dump(mode='json')])[:10]}")
    if not root.exists("dataset.yaml"):
        simulate(root, params)
    source = f"{root.uri}/dataset.yaml"
    return _declared(parse_yaml(root.read_text("dataset.yaml"), source), source), root


def _declared(values: dict[str, Any], source: str) -> DatasetSpec | ScreensSpec:
    """Screen pictures where the declaration has a section `pictures`, else raw gaze. Raises ConfigError."""
    if "pictures" in values:
        return validate(ScreensSpec, values, source)
    return validate(DatasetSpec, values, source)


def _check_geometry(cfg: HeatmapConfig, data: Dataset) -> None:
    """What is asked for in degrees needs to know the screen. Raises ConfigError, DataError."""
    if cfg.render.source == "samples" and data.spec.samples is None and cfg.render.kind != "scanpath":
        raise ConfigError([f"render.source: data set {data.spec.name} declares no samples (allowed: fixations)"])
    errors = []
    needs = {"render.sigma_deg": (["screen_width_mm", "distance_mm"], cfg.render.sigma_deg is not None)}
    everything = ["screen_width_mm", "screen_height_mm", "distance_mm"]
    in_deg = cfg.events.detector != "idt_px" and data.spec.samples is not None
    needs["events.detector"] = (everything, in_deg)
    for gate in ("max_rms_s2s_deg", "max_bcea_deg2"):
        needs[f"quality.{gate}"] = (everything, getattr(cfg.quality, gate) is not None)
    for key, (columns, wanted) in needs.items():
        unknown = int(data.trials[columns].isna().any(axis=1).sum()) if wanted else 0
        if unknown:
            names = ", ".join(name.removeprefix("screen_") for name in columns)
            errors.append(f"{key}: {unknown} trials lack one of the screen's {names}, which degrees need: declare them")
    if errors:
        raise DataError(errors)


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
