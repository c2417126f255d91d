# SPDX-License-Identifier: Apache-2.0
"""What the heatmap study learns: a CNN that tells classes from pictures of gaze, and its checked maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch

from gazeray.config import TrainConfig, digest
from gazeray.explain.checks import content, randomised_copy
from gazeray.explain.examples import ExampleBatch, MapSettings, explain_batch
from gazeray.explain.summary import MapSummary
from gazeray.learn.fit import on_device
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.store import Column, Store
from gazeray.studies.heatmap.config import WATCHED, HeatmapConfig, PictureKind
from gazeray.studies.heatmap.passes import network_input
from gazeray.studies.shared.classification import (
    PREDICTIONS,
    balanced_accuracy,
    class_weights,
    fold_scores,
    predictions_table,
    softmax,
    with_regimes,
)
from gazeray.studies.shared.npz import npz
from gazeray.study import Fold, Learner
from gazeray.unit import Json, UnitFolder

SUMMARY = "explain.npz"
"""What the maps add up to: in a unit's folder of its test examples, in the run folder of all of them."""

IDS = ("participant", "trial", "stimulus", "window_width_px", "window_height_px")


@dataclass(frozen=True)
class HeatmapLearner(Learner):
    """See `gazeray.study.Learner`. weights: (K,) of the classes, once prepared; None: the classes as they are."""

    train: TrainConfig
    cfg: HeatmapConfig
    classes: tuple[str, ...]
    pictures: PictureKind
    weights: tuple[float, ...] | None = None

    columns: Sequence[str] = ("picture",)
    targets: Sequence[str] = ("label_index",)
    headline: str = "balanced_accuracy"
    watched: Mapping[str, bool] = field(default_factory=lambda: WATCHED)

    def prepare(self, rows: np.ndarray, store: Store) -> HeatmapLearner:
        """Count the classes of the training rows."""
        if not self.train.class_weights:
            return self
        weights = class_weights(store.plain("label_index")[rows], len(self.classes))
        return replace(self, weights=tuple(weights.tolist()))

    def fitted(self) -> Mapping[str, np.ndarray]:
        """The class weights, (K,)."""
        return {} if self.weights is None else {"class_weights": np.array(self.weights, np.float32)}

    def model(self) -> torch.nn.Module:
        """The two-conv CNN on as many channels as the pictures have."""
        size = (self.cfg.render.height_px, self.cfg.render.width_px)
        model = self.cfg.model
        network = HeatmapCNN(self.pictures.channels, size, model.width, len(self.classes), model.dropout)
        return network.to(memory_format=torch.channels_last)

    def inputs(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Pictures (B, C, H, W) float32: dwell in ms, everything else 0..1."""
        x = network_input(batch["picture"], self.cfg.render, self.pictures.kind == "screens")
        return x.contiguous(memory_format=torch.channels_last)

    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], epoch: int) -> torch.Tensor:
        """Cross-entropy, weighted by the training people's classes where asked."""
        return self._cross_entropy(model(self.inputs(batch)).float(), batch["label_index"])

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = None if self.weights is None else torch.tensor(self.weights, dtype=torch.float32).to(logits.device)
        return torch.nn.functional.cross_entropy(logits, labels, weight=weights)

    def predict(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Logits (B, K)."""
        return {"logits": model(self.inputs(batch))}

    def metrics(self, predicted: Mapping[str, np.ndarray], targets: Mapping[str, Column]) -> dict[str, float]:
        """Loss and balanced accuracy over the classes that are there."""
        logits, labels = predicted["logits"], np.asarray(targets["label_index"])
        loss = self._cross_entropy(torch.from_numpy(logits).float(), torch.from_numpy(labels))
        return {"loss": float(loss), "balanced_accuracy": balanced_accuracy(labels, logits)}

    def tested(self, model: torch.nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        """Predictions of the CNN; its maps and their checks."""
        test = np.sort(fold.test)
        own = None if self.cfg.folds.path is None else fold.fold  # folds of a file may test a trial several times
        ids = zip(store.plain("participant")[test], store.plain("trial")[test], strict=True)
        names = [map_name(participant, trial, own) for participant, trial in ids]
        logits, summary = self._walk(model, fold, test, names, store, device, out)
        labels, scores = store.plain("label_index")[test], softmax(logits)
        table = predictions_table(store.table.select(list(IDS)).take(test), self.classes, labels, {"scores": scores})
        if self.cfg.explain.maps:
            table = table.append_column("map", pa.array([f"maps/{name}" for name in names]))
        out.folder.write_table(PREDICTIONS, with_regimes(table, fold, test))
        if summary is not None:
            out.folder.write_bytes(SUMMARY, summary.to_npz())
        return {"metrics": fold_scores(labels, scores, self.classes)}

    def _walk(
        self, model: torch.nn.Module, fold: Fold, test: np.ndarray, names: Sequence[str], store: Store,
        device: torch.device, out: UnitFolder,
    ) -> tuple[np.ndarray, MapSummary | None]:  # fmt: skip
        """Logits (N, K) of the test rows, in their order; writes their maps, and returns what these add up to."""
        fresh: list[torch.nn.Module] = []
        if self.cfg.explain.maps:  # random weights; their batch statistics are those of some training pictures
            _, batch = next(iter(store.batches(fold.train, 256, self.columns)))
            x = self.inputs(on_device(batch, device))
            fresh = [randomised_copy(model, [x], seed) for seed in range(self.cfg.explain.random_networks)]
        lookup = dict(zip(test.tolist(), names, strict=True))
        first = 0 if self.cfg.folds.path is None else fold.fold * len(store)  # so that keys differ between its folds
        how = self.cfg.explain.model_dump(exclude={"maps", "random_networks"})
        settings = MapSettings(**how, fill=self.pictures.blank, seed=self.cfg.run.seed)
        labels, people = store.plain("label_index"), store.plain("participant")
        logits, parts = [], []
        for rows, batch in store.batches(test, self.train.batch_size, self.columns):
            x = self.inputs(on_device(batch, device))
            with torch.inference_mode():
                logits.append(model(x).double().cpu().numpy())
            if self.cfg.explain.maps:
                keys = (first + rows).tolist()
                examples = ExampleBatch(x, torch.from_numpy(labels[rows]), keys, people[rows].tolist())
                explained = explain_batch(model, fresh, examples, settings)
                parts.append(explained.summary)
                dwell = content(x, settings.fill).half().cpu().numpy()
                for i, row in enumerate(rows.tolist()):
                    arrays = {f"{name}_true": maps[i] for name, maps in explained.true.items()}
                    arrays |= {f"{name}_predicted": maps[i] for name, maps in explained.predicted.items()}
                    out.run.write_bytes(f"maps/{lookup[row]}", npz({"heatmap": dwell[i], **arrays}))
        return np.concatenate(logits), MapSummary.merge(parts) if parts else None


def map_name(participant: str, trial: str, fold: int | None = None) -> str:
    """A file name for one example (of a fold), safe and unique whatever the ids contain."""
    letters = (letter if letter.isascii() and letter.isalnum() else "-" for letter in f"{participant}_{trial}")
    tested = "" if fold is None else f"-fold-{fold}"
    return f"{''.join(letters)[:60]}-{digest([participant, trial])[:8]}{tested}.npz"
