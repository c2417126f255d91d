# SPDX-License-Identifier: Apache-2.0
"""The saliency study: which layer of which network knows where people look?

Features of a frozen network are computed once; linear probes of each layer are fitted and tested over folds of the
pictures, and stand in one table with baselines that never look at the picture and with ceilings from its observers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from gazeray.config import ConfigError, digest
from gazeray.models.backbone import Backbone, default_layers
from gazeray.models.probes import Probe, ProbePicture
from gazeray.models.probes.pooled import PooledProbe, fit_pooled, pool
from gazeray.models.probes.readout import ReadoutSettings, fit_readout
from gazeray.models.probes.ridge import fit_ridge
from gazeray.storage import Folder
from gazeray.studies.pictures.passes import PictureData
from gazeray.studies.pictures.predictors import PictureWork, ScoreTable, Shared, score_predictions
from gazeray.studies.pictures.study import (
    PicturePlan,
    describe_pictures,
    plan_pictures,
    prepare_pictures,
    prepared_run,
    score_pictures,
)
from gazeray.studies.pictures.summary import Models
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.studies.probe_saliency.passes import Extract, FeatureFiles, features_folder, features_pass
from gazeray.study import Compared, Pass, Prepared
from gazeray.weights import WeightsError, load_weights

__all__ = ["ProbeSaliencyConfig", "ProbeSaliencyStudy"]

PROBES = {"readout": "read-out", "ridge": "ridge", "pooled": "pooled"}


@dataclass(frozen=True)
class ProbeSaliencyPlan:
    """The pictures, the layers, and the weights (None: untrained) with their SHA-256."""

    pictures: PicturePlan
    layers: tuple[str, ...]
    weights: dict[str, torch.Tensor] | None
    state: str


@dataclass(frozen=True)
class Probing:
    """A unit: one probe of one layer."""

    probe: str
    layer: str

    @property
    def unit(self) -> str:
        """The unit's name, safe as a folder."""
        return f"{self.probe}-{self.layer.replace('/', '-')}"

    @property
    def predictor(self) -> str:
        """Its name in the tables."""
        return f"model:{self.layer}:{self.probe}"


class ProbeSaliencyStudy:
    """See `gazeray.study.Comparison`."""

    name = "probe_saliency"
    config = ProbeSaliencyConfig

    def plan(self, cfg: ProbeSaliencyConfig) -> ProbeSaliencyPlan:
        """Check network, layers and weights, and look at the pictures. Raises ConfigError, DataError."""
        own = cfg.backbone
        try:
            layers = own.layers if own.layers is not None else tuple(default_layers(own.arch))
            weights, state = load_weights(own.weights, own.arch, own.sha256)
            Backbone(own.arch, layers, weights, cfg.run.seed)
        except WeightsError as error:
            raise ConfigError([f"backbone.weights: {error}"]) from error
        except ValueError as error:
            raise ConfigError([f"backbone: {error}"]) from error
        pictures = plan_pictures(cfg)
        if not pictures.found.gaze and "readout" in cfg.probes.kinds and cfg.probes.readout.train_on == "fixations":
            raise ConfigError(["probes.readout.train_on: the picture set has maps and no fixations (allowed: maps)"])
        return ProbeSaliencyPlan(pictures, layers, weights, state)

    def describe(self, cfg: ProbeSaliencyConfig, plan: ProbeSaliencyPlan) -> list[str]:
        """What a run would do."""
        weights = "untrained" if plan.weights is None else f"weights {cfg.backbone.weights} ({plan.state[:12]})"
        return [
            *describe_pictures(cfg, plan.pictures),
            f"network: {cfg.backbone.arch}, {weights}; layers: {', '.join(plan.layers)}",
            f"units: {cfg.folds.outer} of baselines, {len(_probings(cfg, plan.layers))} of probes "
            f"({', '.join(cfg.probes.kinds)}), each over all folds and inner folds",
        ]

    def prepare(
        self, cfg: ProbeSaliencyConfig, plan: ProbeSaliencyPlan, store: Folder, go_through: Callable[[Pass], None]
    ) -> Prepared:
        """The pictures, then the features of the layers."""
        ready = prepare_pictures(cfg, plan.pictures, store, go_through)
        weights = _kept_weights(plan, store)
        files = FeatureFiles(features_folder(store, cfg.backbone, plan.state, ready.pictures, cfg.run.seed))
        found = plan.pictures.found
        extract = Extract(found.root, files, cfg.backbone, plan.layers, found.spec.max_pixels, cfg.run.seed, weights)
        go_through(features_pass(ready.shards, extract))
        units = {one.unit: {"kind": "probe", **one.__dict__} for one in _probings(cfg, plan.layers)}
        network = {
            "arch": cfg.backbone.arch,
            "weights": cfg.backbone.weights,
            "sha256": plan.state,
            "layers": list(plan.layers),
            "longest_px": cfg.backbone.longest_px,
            "precision": files.precision() or cfg.backbone.precision,
        }
        content = digest([ready.content, plan.state, files.folder.uri.rpartition("/")[2]])
        return prepared_run(cfg, plan.pictures, ready, units, {"backbone": network}, content, files)

    def work(self, cfg: ProbeSaliencyConfig, prepared: Prepared, run: Folder) -> ProbeWork:
        """Baselines, and probes."""
        shards, files = prepared.own
        return ProbeWork(cfg, shards, files)

    def score(
        self, cfg: ProbeSaliencyConfig, prepared: Prepared, done: Mapping[str, Folder], failed: Sequence[str]
    ) -> Compared:
        """The table of predictors."""
        layers = tuple(prepared.manifest["backbone"]["layers"])
        finished = [one for one in _probings(cfg, layers) if one.unit in done]
        entries, chosen = {}, _Best()
        for one in finished:
            result = done[one.unit].read_json("result.json")
            entries[one.predictor] = {
                "kind": "model",
                "label": f"{one.layer}, {PROBES[one.probe]}",
                "layer": one.layer,
                "probe": one.probe,
                "density": one.probe == "readout",
                "penalty": result["penalty"],
                "inner": result["inner"],
            }
            if one.probe == "readout":
                chosen.see(one.predictor, result)
        units = {one.predictor: [one.unit] for one in finished}
        more = {"layers": list(layers), "probes": list(cfg.probes.kinds)}
        models = Models(entries, units, chosen.folds if len(chosen.seen) > 1 else {}, more)
        return score_pictures(cfg, self.name, prepared, models, done, failed)


class _Best:
    """For each fold the predictor with the best inner log-likelihood."""

    def __init__(self) -> None:
        self.folds: dict[int, str] = {}
        self.scores: dict[int, float] = {}
        self.seen: list[str] = []

    def see(self, predictor: str, result: Mapping[str, Any]) -> None:
        self.seen.append(predictor)
        for fold, scores in enumerate(result["inner"]):
            best = max(score for _, score in scores)
            if best > self.scores.get(fold, -np.inf):
                self.scores[fold], self.folds[fold] = best, predictor


def _probings(cfg: ProbeSaliencyConfig, layers: Sequence[str]) -> list[Probing]:
    return [Probing(probe, layer) for layer in layers for probe in cfg.probes.kinds]


def _kept_weights(plan: ProbeSaliencyPlan, store: Folder) -> tuple[Folder, str] | None:
    """The weights in the store, where all workers can read them; None: untrained."""
    if plan.weights is None:
        return None
    folder, name = store.sub("weights"), f"{plan.state}.safetensors"
    if not folder.exists(name):
        folder.write_bytes(name, save_tensors({key: value.contiguous() for key, value in plan.weights.items()}))
    return folder, name


@dataclass(frozen=True)
class ProbeWork(PictureWork):
    """Units of probes beside those of baselines."""

    cfg: ProbeSaliencyConfig
    features: FeatureFiles

    def predict(
        self, shared: Shared, spec: Mapping[str, Any], sheet: ScoreTable, folder: Any, device: torch.device
    ) -> dict[str, Any]:
        """Fit a probe to a layer over all folds, and predict each picture by the model that never saw its fold."""
        if spec["kind"] == "baselines":
            return super().predict(shared, spec, sheet, folder, device)
        probing = Probing(spec["probe"], spec["layer"])
        probe = self._fit(probing, shared, folder, device)

        predicted = self._predicted(probe, shared, probing.layer)
        score_predictions(shared, sheet, probing.predictor, predicted, probing.probe == "readout")
        folds = range(self.cfg.folds.outer)
        return {
            "penalty": [probe.chosen[fold] for fold in folds],
            "inner": [list(map(list, probe.inner[fold].items())) for fold in folds],
        }

    def _predicted(self, probe: Probe, shared: Shared, layer: str) -> Iterator[tuple[PictureData, np.ndarray]]:
        """Each picture with its map, by the model of its fold."""
        if not isinstance(probe, PooledProbe):
            for picture, features in self._walk(shared, layer, None):
                yield picture, probe.predict(features, picture.grid, picture.info.fold)
            return
        waiting: dict[int, list[tuple[PictureData, torch.Tensor]]] = {}
        for picture, features in self._walk(shared, layer, None):
            waiting.setdefault(picture.info.fold, []).append((picture, pool(features)))
            if len(waiting[picture.info.fold]) == POOLED_AT_ONCE:
                yield from _pooled_maps(probe, picture.info.fold, waiting.pop(picture.info.fold))
        for fold, some in waiting.items():
            yield from _pooled_maps(probe, fold, some)

    def _fit(self, probing: Probing, shared: Shared, folder: Any, device: torch.device) -> Probe:
        own, folds = self.cfg.probes, self.cfg.folds.outer

        def pictures(seed: int | None) -> Iterator[ProbePicture]:
            for picture, features in self._walk(shared, probing.layer, seed):
                yield ProbePicture(features, picture.info.fold, picture.cells, picture.target)

        if probing.probe == "ridge":
            return fit_ridge(pictures, folds, own.ridge.penalties, device)
        if probing.probe == "pooled":
            return fit_pooled(pictures, folds, own.pooled.penalties, own.pooled.map_px, device)
        settings = ReadoutSettings(**{one.name: getattr(own.readout, one.name) for one in fields(ReadoutSettings)})
        state, history = _resumed(folder)

        def keep(epoch: int, state: dict[str, torch.Tensor], loss: float) -> None:
            history.append({"epoch": epoch, "train_loss": loss})
            losses = torch.tensor([record["train_loss"] for record in history], dtype=torch.float64)
            folder.save(save_tensors({**state, HISTORY: losses}), history)

        probe = fit_readout(pictures, folds, settings, self.cfg.run.seed, device, state, keep)
        folder.write_history(history)
        return probe

    def _walk(self, shared: Shared, layer: str, seed: int | None) -> Iterator[tuple[PictureData, np.ndarray]]:
        """All pictures with their features, shard by shard; a seed shuffles the shards, and the pictures in each."""
        keys = list(self.shards.shards)
        rng = None if seed is None else np.random.default_rng(seed)
        if rng is not None:
            rng.shuffle(keys)
        for key in keys:
            features = shared.kept.get(f"{layer}/{key}", partial(self.features.load, layer, key), _bytes)
            pictures = list(shared.shard(key))
            if rng is not None:
                rng.shuffle(pictures)
            for picture in pictures:
                yield picture, features[picture.info.stimulus]


def _pooled_maps(
    probe: PooledProbe, fold: int, some: Sequence[tuple[PictureData, torch.Tensor]]
) -> Iterator[tuple[PictureData, np.ndarray]]:
    pictures = [picture for picture, _ in some]
    pooled = torch.stack([values for _, values in some])
    return zip(pictures, probe.predict_batch(pooled, [picture.grid for picture in pictures], fold), strict=True)


POOLED_AT_ONCE = 64
"""Pictures of a fold for which the training maps are gone through once."""

HISTORY = "history"
"""The training losses so far, beside the state of a read-out."""


def _resumed(folder: Any) -> tuple[dict[str, torch.Tensor] | None, list[dict[str, Any]]]:
    """The state after the last epoch and the history up to it; None and [] at the start."""
    data = folder.load()
    if data is None:
        return None, []
    state = load_tensors(data)
    losses = state.pop(HISTORY).tolist()
    return state, [{"epoch": epoch, "train_loss": loss} for epoch, loss in enumerate(losses, 1)]


def _bytes(features: Mapping[str, np.ndarray]) -> int:
    return sum(values.nbytes for values in features.values())
