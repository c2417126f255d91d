# SPDX-License-Identifier: Apache-2.0
"""Cross-validation from pictures on disk to scores, the published way against ours.

The task is that of the word-familiarity heatmaps (Ryzhova et al. 2023, doi 10.1145/3588015.3590118): colour heatmaps of
1500 x 200 px, exported as PNG, squeezed to a square, told apart by the two-convolution CNN. The pictures are drawn here
from simulated readers. Both sides have the same pictures, decoder, model, folds of readers, batch size, learning rate
and number of epochs (no early stopping), so they take the same number of optimiser steps, which is checked.

The published way: one fold after the other in one process; in every epoch each picture is read, decoded and resized
again; plain SGD; default (NCHW) memory format; all cores inside each operation; validation after every epoch, the
epoch with the best validation accuracy is tested.

Ours: `gazeray.engine.experiment.run` with a study that reads PNG: pictures are decoded once on Ray Data and kept as
uint8, the folds are units that one-thread workers take from a queue, all workers see the same shared memory,
channels_last. Everything counts: starting Ray and its workers, caching, checkpoints, predictions, scoring.

Prints the wall seconds of both sides, the ratio of their medians, both mean test accuracies (they agree up to chance:
ours keeps the epoch with the best validation loss, and the random numbers differ), and where our time goes.
`--preset published` has the published size (width 128, 340 pictures, 8 folds, 35 epochs): hours on two cores, meant
for `--device cuda`, where our units share the GPU and use bfloat16.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from exported_pictures import PICTURE_PX, draw_pictures
from rich.console import Console

from gazeray.config import FoldsConfig, JobConfig, PerUnit, ResourcesConfig, RunSettings, TrainConfig
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView, Stage
from gazeray.learn.fit import predict
from gazeray.learn.folds import make_folds
from gazeray.learn.trained import Trained
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder
from gazeray.store import Column, Shard, Store
from gazeray.study import (
    Finished,
    Fold,
    Items,
    Learner,
    Pass,
    Predictor,
    Ready,
    Row,
    Source,
    Summary,
    Variant,
)
from gazeray.unit import Json, UnitFolder

CLASSES = ("control", "pseudoword")

SMALL: dict[str, float] = {"width": 16, "size": 128, "people": 32, "trials": 10, "folds": 8, "epochs": 6}
SMALL |= {"batch_size": 16, "learning_rate": 0.002}
"""What is run without options: minutes on two cores, steps enough to learn something."""

PUBLISHED = {**SMALL, "width": 128, "people": 34, "epochs": 35, "batch_size": 32, "learning_rate": 0.01}
"""--preset published. The original has 32 readers with 7 to 11 pictures each, 340 in all."""


@dataclass(frozen=True)
class Side:
    """How one side did in one run: mean test accuracy over the folds, optimiser steps, wall seconds, and by phase."""

    accuracy: float
    steps: int
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)


def decode(data: bytes, size: int) -> np.ndarray:
    """A PNG as RGB (size, size, 3) uint8. Both sides use it; Pillow takes as long."""
    screen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(cv2.resize(screen, (size, size), interpolation=cv2.INTER_AREA))


# -- the published way


@dataclass
class PublishedWay:
    """One fold after the other in this process, pictures decoded whenever they are needed."""

    options: argparse.Namespace
    root: Path
    pictures: pd.DataFrame
    steps: int = 0

    def run(self, folds: Sequence[Fold]) -> Side:
        torch.set_num_threads(cores())
        start = time.perf_counter()
        accuracies = [self.fold(fold) for fold in folds]
        return Side(float(np.mean(accuracies)), self.steps, time.perf_counter() - start)

    def fold(self, fold: Fold) -> float:
        """Train, keep the best epoch by validation accuracy, test; returns the test accuracy."""
        torch.manual_seed(42)
        size, device = self.options.size, self.options.device
        model = HeatmapCNN(3, (size, size), self.options.width, len(CLASSES)).to(device)
        optimizer = torch.optim.SGD(model.parameters(), self.options.learning_rate)
        loss = torch.nn.CrossEntropyLoss()
        best, best_accuracy = model.state_dict(), -1.0
        for _ in range(self.options.epochs):
            model.train()
            for inputs, labels in self.batches(fold.train[torch.randperm(len(fold.train)).numpy()]):
                value = loss(model(inputs), labels)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                value.item()
                self.steps += 1
            accuracy = self.accuracy(model, fold.validation.rows)
            if accuracy > best_accuracy:
                best_accuracy = accuracy
                best = {name: weights.clone() for name, weights in model.state_dict().items()}
        model.load_state_dict(best)
        return self.accuracy(model, fold.test)

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


# -- ours


@dataclass(frozen=True)
class PictureLearner(Learner):
    """The CNN on exported pictures. See `gazeray.study.Learner`."""

    train: TrainConfig
    size: int
    width: int

    columns: Sequence[str] = ("picture",)
    targets: Sequence[str] = ("label_index",)

    def model(self) -> torch.nn.Module:
        return HeatmapCNN(3, (self.size, self.size), self.width, len(CLASSES))

    def logits(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 2). Pictures are kept as (S, S, 3), so that (B, 3, S, S) in channels_last takes no copy."""
        logits: torch.Tensor = model(batch["picture"].permute(0, 3, 1, 2).float().div_(255))
        return logits

    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], epoch: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.logits(model, batch), batch["label_index"])

    def predict(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"logits": self.logits(model, batch)}

    def metrics(self, predicted: Mapping[str, np.ndarray], targets: Mapping[str, Column]) -> dict[str, float]:
        logits, labels = (torch.from_numpy(np.asarray(one)) for one in (predicted["logits"], targets["label_index"]))
        return {"loss": float(torch.nn.functional.cross_entropy(logits, labels))}

    def tested(self, model: torch.nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        rows, predicted = predict(self, model, store, fold.test, device)
        hits = predicted["logits"].argmax(1) == store.plain("label_index")[rows]
        return {"metrics": {"accuracy": float(hits.mean())}}


@dataclass(frozen=True)
class PictureStudy:
    """The study of exported pictures. See `gazeray.study.Study`."""

    cfg: JobConfig
    size: int
    width: int
    root: Folder
    pictures: pd.DataFrame

    name: ClassVar[str] = "pictures"

    def open(self) -> Source[None]:
        return Source(None, [])

    def passes(self, source: Source[None], store: Folder) -> Generator[Pass, Store, Store]:
        pieces = [{"key": name, "pictures": own.to_dict("list")} for name, own in self.pictures.groupby("participant")]
        read, folder = ReadPictures(self.root, self.size), store.sub("stores/pictures")
        return (yield Pass.reading("read, decode, resize, cache", pieces, read, folder, memory=("picture",)))

    def items(self, source: Source[None], stores: Store) -> Items:
        folds = folds_of(self.cfg, stores.table)
        return Items(stores.table, ("participant", "trial"), folds, "")

    def learning(self, ready: Ready[None, Store]) -> None:
        """Nothing is searched for."""

    def predictors(self, ready: Ready[None, Store]) -> list[Predictor]:
        learner = PictureLearner(self.cfg.train, self.size, self.width)
        variants = [Variant({}, learner, ready.stores, "")]
        return [Trained({"cnn": Row("CNN", "model")}, variants, ready.items.folds, self.cfg.run.seed)]

    def summary(self, manifest: Json, finished: Finished, ready: Ready[None, Store] | None) -> Summary:
        """Optimiser steps follow from the epochs that were run and the rows that were trained on."""
        results = [unit.result() or {} for unit in finished.done.values()]
        batch = self.cfg.train.batch_size
        steps = sum(result["epochs"] * -(-result["n"]["train"] // batch) for result in results)
        accuracy = np.mean([result["metrics"]["accuracy"] for result in results])
        return Summary({"rows": {"cnn": {}}, "metrics_shown": [], "accuracy": float(accuracy), "steps": steps}, {})

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        return []


@dataclass(frozen=True)
class ReadPictures:
    """One reader's pictures to a shard: (N, S, S, 3) uint8."""

    root: Folder
    size: int

    def __call__(self, piece: Mapping[str, Any]) -> Shard:
        cv2.setNumThreads(1)
        rows = pa.table(piece["pictures"])
        files = [self.root.read_bytes(path) for path in piece["pictures"]["path"]]
        pictures = np.stack([decode(data, self.size) for data in files])
        return Shard(rows, {"picture": pictures}, content=hashlib.sha256(b"".join(files)).hexdigest())


class StageClock(ProgressView):
    """Shows nothing, and adds up the seconds of each phase of a job."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._phase, self._since = "start Ray", time.perf_counter()

    def to(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        self.to(name)
        with super().stage(name, total) as stage:
            yield stage
        self.to("start Ray" if name == "looking at the data" else "share")

    def units(self, total: int, done: int) -> None:
        self.to("start the workers")
        super().units(total, done)

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "started":
            self.to("folds")
        super().unit_event(name, kind, payload)
        if self._done == self._total:
            self.to("stop the workers")


def our_way(options: argparse.Namespace, root: Path, pictures: pd.DataFrame) -> Side:
    """The whole job in a fresh run folder, on a fresh Ray. Raises RuntimeError when a fold fails."""
    with tempfile.TemporaryDirectory() as runs:
        study = PictureStudy(job_config(options, runs), options.size, options.width, Folder(root), pictures)
        view = StageClock()
        outcome = run(study, "benchmark", view)
        view.to("over")
    if outcome.metrics is None or outcome.failed:
        raise RuntimeError(f"folds failed: {outcome.failed}")
    return Side(outcome.metrics["accuracy"], outcome.metrics["steps"], sum(view.seconds.values()), view.seconds)


def job_config(options: argparse.Namespace, runs: str) -> JobConfig:
    """The published training, in our config's words; patience so long that nothing stops early."""
    train = {"epochs": options.epochs, "patience": options.epochs, "batch_size": options.batch_size}
    train |= {"learning_rate": options.learning_rate, "weight_decay": 0.0, "optimizer": "sgd"}
    return JobConfig(
        train=TrainConfig.model_validate(train),
        folds=FoldsConfig(outer=options.folds, validation=1 / 7),
        resources=ResourcesConfig(per_unit=PerUnit(gpu=None if options.device == "cuda" else 0)),
        run=RunSettings(dir=runs),
    )


# -- both


def cores() -> int:
    return len(os.sched_getaffinity(0))


def folds_of(cfg: JobConfig, pictures: pa.Table) -> list[Fold]:
    """The folds that both sides use."""
    return make_folds(pictures, pictures["label_index"].to_numpy(), cfg.folds, cfg.run.seed)


def report(published: Sequence[Side], ours: Sequence[Side]) -> None:
    """Print both sides, the ratio, and where the time goes in our median run, the longest phase first."""
    medians = []
    for name, runs in (("published way", published), ("gazeray", ours)):
        medians.append(statistics.median(run.seconds for run in runs))
        walls = ", ".join(f"{run.seconds:.1f}" for run in runs)
        print(
            f"{name + ':':15} {medians[-1]:.1f} s (runs: {walls}); "
            f"mean test accuracy {np.mean([run.accuracy for run in runs]):.3f}; {runs[0].steps} optimiser steps"
        )
    print(f"ratio: {medians[0] / medians[1]:.2f} times faster (medians of {len(ours)} runs in turns)")
    median = sorted(ours, key=lambda run: run.seconds)[(len(ours) - 1) // 2]
    phases = sorted(median.phases.items(), key=lambda item: -item[1])
    print("gazeray, wall: " + ", ".join(f"{name} {s:.1f} s ({s / median.seconds:.0%})" for name, s in phases))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--preset", choices=["published"], help="the published size; single options still count")
    meanings = {
        "width": "channels of the first convolution",
        "size": "side of the squeezed picture, px",
        "people": "simulated readers",
        "trials": "pictures of each reader",
        "folds": "outer folds of readers",
        "epochs": "epochs per fold",
        "batch_size": "pictures per step",
        "learning_rate": "of plain SGD",
    }
    for name, meaning in meanings.items():
        small = SMALL[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(small), help=f"{meaning} (default: {small})")
    parser.add_argument("--repeats", type=int, default=1, help="turns of each side (default: 1)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args(argv)
    for name, value in (PUBLISHED if options.preset else SMALL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    if options.repeats < 1 or options.trials < 3:
        parser.error("--repeats must be at least 1, --trials 3")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs; a loop does not
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pictures = draw_pictures(root, options.people, options.trials)
        folds = folds_of(job_config(options, folder), pa.Table.from_pandas(pictures, preserve_index=False))
        megabytes = sum((root / path).stat().st_size for path in pictures["path"]) / 1e6
        print(
            f"{len(pictures)} pictures of {PICTURE_PX[0]} x {PICTURE_PX[1]} px ({megabytes:.1f} MB of PNG), "
            f"3 x {options.size} x {options.size}, width {options.width}, {options.folds} folds x {options.epochs} "
            f"epochs; {options.device}, {cores()} cores, load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        published, ours = [], []
        for _ in range(options.repeats):
            published.append(PublishedWay(options, root, pictures).run(folds))
            ours.append(our_way(options, root, pictures))
    steps = {run.steps for run in (*published, *ours)}
    if len(steps) > 1:
        raise RuntimeError(f"the sides took different numbers of optimiser steps: {sorted(steps)}")
    report(published, ours)
    return 0


if __name__ == "__main__":
    sys.exit(main())
