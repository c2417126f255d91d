# SPDX-License-Identifier: Apache-2.0
"""Cross-validation the published way, for benchmarks: one fold after the other in one process, plain torch.

In every epoch each picture is read, decoded and resized again. Initial weights, and the order in which the training
pictures are visited, are those of our units, since both sides take them from the same functions and seeds.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from gazeray.learn.folds import derive_seed
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.store import windows
from gazeray.study import Fold

CLASSES = ("control", "pseudoword")


@dataclass(frozen=True)
class Side:
    """How one side did with one seed.

    accuracy: mean test accuracy over the folds. losses: (folds, epochs), mean training loss of each epoch. steps: of
    the optimiser, in all. seconds: wall, and by phase.
    """

    accuracy: float
    losses: np.ndarray
    steps: int
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)


def decode(data: bytes, size: int) -> np.ndarray:
    """A PNG as RGB (size, size, 3) uint8. Both sides use it; Pillow takes as long."""
    screen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(cv2.resize(screen, (size, size), interpolation=cv2.INTER_AREA))


def network(options: argparse.Namespace) -> HeatmapCNN:
    """What both sides train."""
    return HeatmapCNN(3, (options.size, options.size), options.width, len(CLASSES), options.dropout)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass
class PublishedWay:
    """One fold after the other in this process, pictures decoded whenever they are needed; plain SGD, NCHW, all cores
    inside each operation. pictures: participant, path, label_index of each row, the pictures of a participant together.
    """

    options: argparse.Namespace
    root: Path
    pictures: pd.DataFrame
    seed: int
    steps: int = 0

    def run(self, folds: Sequence[Fold]) -> Side:
        """All folds."""
        torch.set_num_threads(cores())
        start = time.perf_counter()
        accuracies, losses = zip(*[self.fold(fold) for fold in folds], strict=True)
        return Side(float(np.mean(accuracies)), np.array(losses), self.steps, time.perf_counter() - start)

    def fold(self, fold: Fold) -> tuple[float, list[float]]:
        """Train all epochs and test the first of those with the best validation accuracy: the test accuracy, and the
        mean training loss of each epoch."""
        seed = derive_seed(self.seed, f"fold-{fold.fold}")  # seeds and names are those of gazeray.learn
        torch.manual_seed(derive_seed(seed, "model"))
        model = network(self.options).to(self.options.device)
        optimizer = torch.optim.SGD(model.parameters(), self.options.learning_rate)
        best, best_accuracy, losses = model.state_dict(), -1.0, []
        for epoch in range(1, self.options.epochs + 1):
            torch.manual_seed(derive_seed(seed, "epoch", epoch))
            losses.append(self.epoch(model, optimizer, self.visited(fold, derive_seed(seed, "order", epoch))))
            accuracy = self.accuracy(model, fold.validation.rows)
            if accuracy > best_accuracy:
                best_accuracy = accuracy
                best = {name: weights.clone() for name, weights in model.state_dict().items()}
        model.load_state_dict(best)
        return self.accuracy(model, fold.test), losses

    def visited(self, fold: Fold, seed: int) -> np.ndarray:
        """The training pictures in random order, (N,): that of a store with a shard per participant."""
        shard = self.pictures.groupby("participant").ngroup().to_numpy()
        return np.concatenate(list(windows(shard, fold.train, len(shard), seed)))

    def epoch(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, rows: np.ndarray) -> float:
        """One pass over the training pictures; returns the mean loss per picture."""
        model.train()
        total = 0.0
        for inputs, labels in self.batches(rows):
            value = torch.nn.functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item() * len(labels)
            self.steps += 1
        return total / len(rows)

    def accuracy(self, model: torch.nn.Module, rows: np.ndarray) -> float:
        """Share of these pictures that the model gets right."""
        model.eval()
        with torch.no_grad():
            hits = sum(int((model(inputs).argmax(1) == labels).sum()) for inputs, labels in self.batches(rows))
        return hits / len(rows)

    def batches(self, rows: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs (B, 3, S, S) in 0 to 1 and labels (B,), read from disk."""
        for start in range(0, len(rows), self.options.batch_size):
            batch = self.pictures.iloc[rows[start : start + self.options.batch_size]]
            images = [decode((self.root / path).read_bytes(), self.options.size) for path in batch["path"]]
            inputs = torch.stack([torch.from_numpy(image).permute(2, 0, 1).float().div(255) for image in images])
            labels = torch.tensor(batch["label_index"].tolist())
            yield inputs.contiguous().to(self.options.device), labels.to(self.options.device)
