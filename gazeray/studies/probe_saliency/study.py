# SPDX-License-Identifier: Apache-2.0
"""Linear probes: which layer of which network knows where people look?

Features of a frozen network are computed once; linear probes of each layer are fitted and tested over folds of the
pictures, and stand in one table with baselines that never look at the picture and with ceilings from its observers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from gazeray.config import ConfigError, digest
from gazeray.models.backbone import Backbone, default_layers
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.passes import PicturesReady
from gazeray.studies.pictures.predictors import PictureBaselines
from gazeray.studies.pictures.study import (
    PicturePlan,
    describe_pictures,
    picture_checked,
    picture_items,
    picture_summary,
    plan_pictures,
    prepare_pictures,
)
from gazeray.studies.pictures.summary import Models
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.studies.probe_saliency.passes import Extract, features_folder, features_pass, precision_of
from gazeray.studies.probe_saliency.predictors import Probes, Probing
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Source, Summary
from gazeray.unit import Json
from gazeray.weights import WeightsError, load_weights

__all__ = ["ProbeSaliencyConfig", "ProbeSaliencyStudy"]


@dataclass(frozen=True)
class ProbeSaliencyPlan:
    """The pictures, the layers, and the weights (None: untrained) with their SHA-256."""

    pictures: PicturePlan
    layers: tuple[str, ...]
    weights: dict[str, torch.Tensor] | None
    state: str


@dataclass(frozen=True)
class Stores:
    """The pictures, and the same joined with the features of all layers. folder: where the features lie."""

    pictures: PicturesReady
    features: Store
    folder: Folder


Prepared = Ready[ProbeSaliencyPlan, Stores]


@dataclass(frozen=True)
class ProbeSaliencyStudy:
    """See `gazeray.study.Study`."""

    cfg: ProbeSaliencyConfig

    name: ClassVar[str] = "probe_saliency"

    def open(self) -> Source[ProbeSaliencyPlan]:
        """Check network, layers and weights, and look at the pictures. Raises ConfigError, DataError."""
        cfg = self.cfg
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
        plan = ProbeSaliencyPlan(pictures, layers, weights, state)
        return Source(plan, self._lines(plan))

    def _lines(self, plan: ProbeSaliencyPlan) -> list[str]:
        cfg = self.cfg
        weights = "untrained" if plan.weights is None else f"weights {cfg.backbone.weights} ({plan.state[:12]})"
        return [
            *describe_pictures(cfg, plan.pictures),
            f"network: {cfg.backbone.arch}, {weights}; layers: {', '.join(plan.layers)}",
            f"units: {cfg.folds.outer} of baselines, {len(_probings(cfg, plan.layers))} of probes "
            f"({', '.join(cfg.probes.kinds)}), each over all folds and inner folds",
        ]

    def passes(self, source: Source[ProbeSaliencyPlan], store: Folder) -> Generator[Pass, Store, Stores]:
        """The pictures, then the features of the layers."""
        cfg, plan = self.cfg, source.data
        ready = yield from prepare_pictures(cfg, plan.pictures, store)
        folder = features_folder(store, cfg.backbone, plan.state, ready.pictures, cfg.run.seed)
        found, weights = plan.pictures.found, _kept_weights(plan, store)
        extract = Extract(found.root, folder, cfg.backbone, plan.layers, found.spec.max_pixels, cfg.run.seed, weights)
        features = yield from features_pass(ready.shards, extract)
        return Stores(ready, features, folder)

    def items(self, source: Source[ProbeSaliencyPlan], stores: Stores) -> Items:
        """The pictures."""
        plan, own, ready = source.data, self.cfg.backbone, stores.pictures
        network = {
            "arch": own.arch,
            "weights": own.weights,
            "sha256": plan.state,
            "layers": list(plan.layers),
            "longest_px": own.longest_px,
            "precision": precision_of(stores.folder) or own.precision,
        }
        content = digest([ready.content, plan.state, stores.folder.uri.rpartition("/")[2]])
        return picture_items(plan.pictures, ready, ready.shards, content, {"backbone": network})

    def learning(self, ready: Prepared) -> None:
        """Nothing that a search could steer: probes choose their penalties on inner folds by themselves."""

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """Baselines and ceilings, then the probes."""
        shards = ready.stores.pictures.shards
        probes = Probes(self.cfg, shards, ready.stores.features, _probings(self.cfg, ready.source.data.layers))
        return [PictureBaselines(self.cfg, shards), probes]

    def summary(self, manifest: Json, finished: Finished, ready: Prepared | None) -> Summary:
        """The table of predictors."""
        models = self._models(manifest["backbone"]["layers"], finished)
        return picture_summary(self.cfg, manifest, models, finished, ready.stores.pictures.shards if ready else None)

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        """Pictures and their folds."""
        return picture_checked(run, manifest, finished)

    def _models(self, layers: Sequence[str], finished: Finished) -> Models:
        """The probes whose units are done, and in each fold the layer whose read-out was the best on inner folds."""
        done = [one for one in _probings(self.cfg, layers) if one.unit in finished.done]
        entries, chosen = {}, _Best()
        for one in done:
            result = finished.done[one.unit].result() or {}
            entries[one.predictor] = {
                "layer": one.layer,
                "probe": one.probe,
                "density": one.probe == "readout",
                "penalty": result["penalty"],
                "inner": result["inner"],
            }
            if one.probe == "readout":
                chosen.see(one.predictor, result)
        units = {one.predictor: [one.unit] for one in done}
        more = {"layers": list(layers), "probes": list(self.cfg.probes.kinds)}
        return Models(entries, units, chosen.folds if len(chosen.seen) > 1 else {}, more)


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
