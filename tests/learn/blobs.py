# SPDX-License-Identifier: Apache-2.0
"""A small learner with several inputs and two targets, and a store of blobs for it to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from gazeray.config import TrainConfig
from gazeray.learn.fit import predict
from gazeray.storage import Folder
from gazeray.store import Column, Shard, Store, write_shard
from gazeray.study import Fold
from gazeray.unit import Json, UnitFolder

EXAMPLES, SHARD = 60, 6


class TwoHeads(nn.Module):
    """A picture, a series of any length and a number to a class and a value."""

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.dropout = nn.Dropout(0.2)
        self.kind = nn.Linear(4 * 3 * 5 + 2, 2)
        self.value = nn.Linear(4 * 3 * 5 + 2, 1)

    def forward(self, picture: Tensor, series: Sequence[Tensor], age: Tensor) -> tuple[Tensor, Tensor]:
        """picture (B, 1, 8, 12), series B x (T, 1), age (B,) to logits (B, 2) and values (B,)."""
        mean = torch.stack([one.mean(dim=0) for one in series])
        x = torch.cat([self.picture(picture), mean, age[:, None]], dim=1)
        x = self.dropout(x)
        return self.kind(x), self.value(x)[:, 0]


@dataclass(frozen=True)
class BlobLearner:
    """See `gazeray.study.Learner`. spread: mean and standard deviation of the training ages, once prepared."""

    train: TrainConfig = field(default_factory=TrainConfig)
    spread: tuple[float, float] = (0.0, 1.0)

    columns: Sequence[str] = ("picture", "series", "age")
    targets: Sequence[str] = ("kind", "value")
    watched: Mapping[str, bool] = field(default_factory=lambda: {"loss": False, "accuracy": True, "error": False})
    headline: str = "accuracy"

    def with_train(self, train: TrainConfig) -> BlobLearner:
        """The same, fitted in another way."""
        return replace(self, train=train)

    def prepare(self, rows: np.ndarray, store: Store) -> BlobLearner:
        """Standardise ages."""
        age = store.plain("age")[rows]
        return replace(self, spread=(float(age.mean()), float(age.std())))

    def drawn(self, rows: np.ndarray, store: Store, seed: int) -> np.ndarray:
        """All, as they are."""
        return rows

    def fitted(self) -> Mapping[str, np.ndarray]:
        """The mean and the standard deviation of the training ages."""
        return {"age": np.array(self.spread, np.float64)}

    def model(self) -> nn.Module:
        """The network."""
        return TwoHeads()

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW, or SGD."""
        if self.train.optimizer == "sgd":
            return torch.optim.SGD(model.parameters(), self.train.learning_rate, self.train.momentum)
        return torch.optim.AdamW(model.parameters(), self.train.learning_rate)

    def _outputs(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        age = (batch["age"].float() - self.spread[0]) / self.spread[1]
        found: tuple[Tensor, Tensor] = model(batch["picture"].float(), batch["series"], age)
        return found

    def loss(self, model: nn.Module, batch: Mapping[str, Any], epoch: int) -> Tensor:
        """Cross-entropy of the kind plus the squared error of the value, which counts from the second epoch on."""
        logits, value = self._outputs(model, batch)
        whole = nn.functional.cross_entropy(logits, batch["kind"])
        return whole + min(1.0, epoch - 1.0) * nn.functional.mse_loss(value, batch["value"].float())

    def predict(self, model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """logits (B, 2), value (B,)."""
        assert set(batch) == set(self.columns), "targets have leaked"
        logits, value = self._outputs(model, batch)
        return {"logits": logits, "value": value}

    def metrics(self, predicted: Mapping[str, np.ndarray], targets: Mapping[str, Column]) -> dict[str, float]:
        """Cross-entropy, accuracy, mean absolute error."""
        kind, value = np.asarray(targets["kind"]), np.asarray(targets["value"])
        logits = torch.from_numpy(predicted["logits"])
        return {
            "loss": float(nn.functional.cross_entropy(logits, torch.from_numpy(kind))),
            "accuracy": float(np.mean(predicted["logits"].argmax(axis=1) == kind)),
            "error": float(np.mean(np.abs(predicted["value"] - value))),
        }

    def tested(self, model: nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        """The metrics of the tested rows."""
        rows, found = predict(self, model, store, fold.test, device)
        return {"metrics": self.metrics(found, store.take(rows, self.targets))}


def blob_shards(scale: float = 1.0, spoil: Sequence[int] = ()) -> dict[str, Shard]:
    """60 examples in ten shards: bright left or right half, series of 1 to 5 steps, ages; the value follows both.

    scale: brightness. spoil: rows whose inputs and targets are absurd.
    """
    rng = np.random.default_rng(0)
    kind = np.arange(EXAMPLES) % 2
    picture = rng.normal(0, 1, (EXAMPLES, 1, 8, 12))
    picture[kind == 0, :, :, :6] += 1.5
    picture[kind == 1, :, :, 6:] += 1.5
    picture = (picture * scale).astype(np.float16)
    level = rng.normal(0, 1, EXAMPLES)
    series = [np.full((1 + row % 5, 1), level[row], np.float32) for row in range(EXAMPLES)]
    age = rng.uniform(20, 60, EXAMPLES)
    value = level + (age - 40) / 20
    for row in spoil:
        picture[row], age[row], value[row], kind[row] = 1000, 1e6, -1e6, 1 - kind[row]
        series[row] = np.full((2, 1), 1e5, np.float32)
    shards = {}
    for start in range(0, EXAMPLES, SHARD):
        own = slice(start, start + SHARD)
        ids = {"participant": [f"P{start // SHARD}"] * SHARD, "trial": [str(row) for row in range(SHARD)]}
        plain = {"stimulus": ids["trial"], "kind": kind[own], "value": value[own], "age": age[own]}
        tensors = {"picture": picture[own], "series": series[own]}
        shards[f"{start // SHARD:02d}"] = Shard(pa.table({**ids, **plain}), tensors)
    return shards


def blobs(folder: Folder, spoil: Sequence[int] = ()) -> Store:
    """A store of them."""
    shards = blob_shards(spoil=spoil)
    for key, shard in shards.items():
        write_shard(folder, key, shard)
    return Store.open(folder, list(shards))
