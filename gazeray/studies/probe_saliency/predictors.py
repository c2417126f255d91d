# SPDX-License-Identifier: Apache-2.0
"""Linear probes as a predictor: a unit fits one probe to one layer over all folds and penalties at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from gazeray.models.probes import Probe, ProbePicture
from gazeray.models.probes.pooled import PooledProbe, fit_pooled, pool
from gazeray.models.probes.readout import ReadoutProbe, ReadoutSettings, fit_readout
from gazeray.models.probes.ridge import RidgeProbe, fit_ridge
from gazeray.store import Store
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.pictures.predictors import Everybody, score_predictions
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.study import Row
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

PROBES = {"readout": "read-out", "ridge": "ridge", "pooled": "pooled"}

POOLED_AT_ONCE = 64
"""Pictures of a fold for which the training maps are gone through once."""

WEIGHTS = "checkpoint/model.safetensors"

HISTORY = "history"
"""The training losses so far, beside the state of a read-out."""


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


@dataclass(frozen=True)
class Probes:
    """Fits a probe to a layer over all folds, and predicts each picture by the model that never saw its fold.

    features: the pictures of `shards`, joined with a column per layer.
    """

    cfg: ProbeSaliencyConfig
    shards: PictureShards
    features: Store
    probings: Sequence[Probing]
    round: int = 0

    @property
    def rows(self) -> Mapping[str, Row]:
        """One for each layer and probe."""
        return {one.predictor: Row(f"{one.layer}, {PROBES[one.probe]}", "model") for one in self.probings}

    def units(self) -> list[UnitSpec]:
        """One for each layer and probe."""
        return [UnitSpec(one.unit, asdict(one)) for one in self.probings]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Fit, predict, score."""
        probing = Probing(**unit.spec)
        everybody = Everybody.shared(self.cfg, self.shards, worker)
        table = everybody.score_table(worker)
        probe = self._fit(probing, out, worker.device)
        if not isinstance(probe, PooledProbe):  # which is made of all the training maps
            out.folder.write_bytes(WEIGHTS, save_tensors(_weights(probe)))
        predicted = self._predicted(probe, probing.layer)
        score_predictions(everybody, table, probing.predictor, predicted, probing.probe == "readout")
        folds = range(self.shards.folds)
        inner = [list(map(list, probe.inner[fold].items())) for fold in folds]
        return {"penalty": [probe.chosen[fold] for fold in folds], "inner": inner, **table.write(out.folder)}

    def _predicted(self, probe: Probe, layer: str) -> Iterator[tuple[PictureData, np.ndarray]]:
        """Each picture with its map, by the model of its fold."""
        if not isinstance(probe, PooledProbe):
            for picture, features in self._walk(layer, None):
                yield picture, probe.predict(features, picture.grid, picture.info.fold)
            return
        waiting: dict[int, list[tuple[PictureData, torch.Tensor]]] = {}
        for picture, features in self._walk(layer, None):
            waiting.setdefault(picture.info.fold, []).append((picture, pool(features)))
            if len(waiting[picture.info.fold]) == POOLED_AT_ONCE:
                yield from _pooled_maps(probe, picture.info.fold, waiting.pop(picture.info.fold))
        for fold, some in waiting.items():
            yield from _pooled_maps(probe, fold, some)

    def _fit(self, probing: Probing, out: UnitFolder, device: torch.device) -> ReadoutProbe | RidgeProbe | PooledProbe:
        own, folds = self.cfg.probes, self.shards.folds

        def pictures(seed: int | None) -> Iterator[ProbePicture]:
            for picture, features in self._walk(probing.layer, seed):
                yield ProbePicture(features, picture.info.fold, picture.cells, picture.target)

        if probing.probe == "ridge":
            return fit_ridge(pictures, folds, own.ridge.penalties, device)
        if probing.probe == "pooled":
            return fit_pooled(pictures, folds, own.pooled.penalties, own.pooled.map_px, device)
        settings = ReadoutSettings(**{one.name: getattr(own.readout, one.name) for one in fields(ReadoutSettings)})
        state, history = _resumed(out)

        def keep(epoch: int, state: dict[str, torch.Tensor], loss: float) -> None:
            history.append({"epoch": epoch, "train_loss": loss})
            losses = torch.tensor([record["train_loss"] for record in history], dtype=torch.float64)
            out.save(save_tensors({**state, HISTORY: losses}), history)

        probe = fit_readout(pictures, folds, settings, self.cfg.run.seed, device, state, keep)
        out.write_history(history)
        return probe

    def _walk(self, layer: str, seed: int | None) -> Iterator[tuple[PictureData, np.ndarray]]:
        """All pictures with their features, shard by shard; a seed shuffles the shards, and the pictures in each."""
        keys = self.shards.shards
        rng = None if seed is None else np.random.default_rng(seed)
        if rng is not None:
            rng.shuffle(keys)
        for key in keys:
            features = self.features.take(self.shards.rows_of(key), [layer])[layer]
            pairs = list(zip(self.shards.load(key), features, strict=True))
            if rng is not None:
                rng.shuffle(pairs)
            yield from pairs


def _weights(probe: ReadoutProbe | RidgeProbe) -> dict[str, torch.Tensor]:
    """What was fitted, float64: `fold-K.<name>` of the model that is tested on fold K, as its class names it."""
    found = {}
    for fold, model in probe.models.items():
        for name, value in vars(model).items():
            own = torch.as_tensor(value, dtype=torch.float64).cpu()
            found[f"fold-{fold}.{name}"] = own.clone(memory_format=torch.contiguous_format)  # no views of each other
    return found


def _pooled_maps(
    probe: PooledProbe, fold: int, some: Sequence[tuple[PictureData, torch.Tensor]]
) -> Iterator[tuple[PictureData, np.ndarray]]:
    pictures = [picture for picture, _ in some]
    pooled = torch.stack([values for _, values in some])
    return zip(pictures, probe.predict_batch(pooled, [picture.grid for picture in pictures], fold), strict=True)


def _resumed(out: UnitFolder) -> tuple[dict[str, torch.Tensor] | None, list[dict[str, Any]]]:
    """The state after the last epoch and the history up to it; None and [] at the start."""
    data = out.load()
    if data is None:
        return None, []
    state = load_tensors(data)
    losses = state.pop(HISTORY).tolist()
    return state, [{"epoch": epoch, "train_loss": loss} for epoch, loss in enumerate(losses, 1)]
