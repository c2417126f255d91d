# SPDX-License-Identifier: Apache-2.0
"""Cross-validation from pictures on disk to scores, the published way against ours.

The task is that of the word-familiarity heatmaps (Ryzhova et al. 2023, doi 10.1145/3588015.3590118): colour heatmaps of
1500 x 200 px, exported as PNG, squeezed to a square, told apart by the two-convolution CNN. The pictures are drawn here
from simulated readers. Both sides have the same pictures, decoder, model, folds of readers, batch size, learning rate
and number of epochs (no early stopping), so they take the same number of optimiser steps, which is checked; the same
initial weights and order of the training pictures, from the same seeds; and the same rule: tested is the first epoch
with the best validation accuracy. What is left to chance is dropout: memory formats deal its random numbers to other
places. With `--dropout 0` the losses of both sides agree up to rounding.

The published way (`published_way.py`): one fold after the other in one process; in every epoch each picture is read,
decoded and resized again; plain SGD; default (NCHW) memory format; all cores inside each operation.

Ours: `gazeray.engine.experiment.run` with a study that reads PNG: pictures are decoded once and kept as uint8, the
folds are units that one-thread workers take from a queue, all workers see the same shared memory, channels_last.
Everything counts: starting Ray and its workers, caching, checkpoints, predictions, scoring.

Each of `--seeds` seeds deals other folds and starts from other weights; the sides take turns. Prints, for each seed,
the wall seconds and mean test accuracy of both sides; the ratio of their median seconds; how far the accuracies spread
over the seeds; where our time goes, and what of it is overhead: neither reading nor folds. Exit code 1 when the mean
accuracy of a side is outside the range of the other's seeds.

`--preset published` has the published size (width 128, 340 pictures, 8 folds, 35 epochs): hours on two cores, meant
for `--device cuda`, where our units share the GPU and use bfloat16.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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
from published_way import PublishedWay, Side, cores, decode, network
from rich.console import Console

from gazeray.config import FoldsConfig, JobConfig, PerUnit, ResourcesConfig, RunSettings, TrainConfig
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView, Stage
from gazeray.learn.fit import predict
from gazeray.learn.folds import make_folds
from gazeray.learn.trained import Trained
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
    Tried,
)
from gazeray.unit import Json, UnitFolder

SMALL: dict[str, float] = {"width": 16, "size": 128, "people": 32, "trials": 10, "folds": 8, "epochs": 6}
SMALL |= {"batch_size": 16, "learning_rate": 0.002, "dropout": 0.4}
"""What is run without options: minutes on two cores, steps enough to learn something."""

READING, FOLDS = "read, decode, resize, cache", "folds"
"""Our phases that do the work; all others are overhead."""

MOST_OVERHEAD_S = 8.0

PUBLISHED = {**SMALL, "width": 128, "people": 34, "epochs": 35, "batch_size": 32, "learning_rate": 0.01}
"""--preset published. The original has 32 readers with 7 to 11 pictures each, 340 in all."""


# -- ours


@dataclass(frozen=True)
class PictureLearner(Learner):
    """The CNN on exported pictures. See `gazeray.study.Learner`."""

    train: TrainConfig
    options: argparse.Namespace

    columns: Sequence[str] = ("picture",)
    targets: Sequence[str] = ("label_index",)
    watched: Mapping[str, bool] = field(default_factory=lambda: {"loss": False, "accuracy": True})

    def model(self) -> torch.nn.Module:
        return network(self.options)

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
        loss = float(torch.nn.functional.cross_entropy(logits, labels))
        return {"loss": loss, "accuracy": float((logits.argmax(1) == labels).double().mean())}

    def tested(self, model: torch.nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        rows, predicted = predict(self, model, store, fold.test, device)
        return {"metrics": self.metrics(predicted, store.take(rows, self.targets))}


@dataclass(frozen=True)
class PictureStudy:
    """The study of exported pictures. See `gazeray.study.Study`."""

    cfg: JobConfig
    options: argparse.Namespace
    root: Folder
    pictures: pd.DataFrame

    name: ClassVar[str] = "pictures"

    def open(self) -> Source[None]:
        return Source(None, [])

    def passes(self, source: Source[None], store: Folder) -> Generator[Pass, Store, Store]:
        pieces = [{"key": name, "pictures": own.to_dict("list")} for name, own in self.pictures.groupby("participant")]
        read, folder = ReadPictures(self.root, self.options.size), store.sub("stores/pictures")
        return (yield Pass.reading(READING, pieces, read, folder, memory=("picture",)))

    def items(self, source: Source[None], stores: Store) -> Items:
        folds = folds_of(self.cfg, stores.table)
        return Items(stores.table, ("participant", "trial"), folds, "")

    def learning(self, ready: Ready[None, Store]) -> None:
        """Nothing is searched for."""

    def predictors(self, ready: Ready[None, Store]) -> list[Predictor]:
        learner = PictureLearner(self.cfg.train, self.options)
        tried = [Tried({}, learner, ready.stores, "")]
        return [Trained({"cnn": Row("CNN", "model")}, tried, ready.items.folds, self.cfg.run.seed)]

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
        self._phase, self._since = "start", time.perf_counter()

    def to(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """A stage within another, as starting Ray is, leaves it waiting for the workers until its first step."""
        outer = self._phase
        self.to(name)
        with super().stage(name, total) as stage:
            step = stage.step

            def first_step(count: int = 1) -> None:
                self.to(name)
                step(count)

            stage.step = first_step  # type: ignore[method-assign]
            yield stage
        self.to("start the workers" if outer == READING else "between stages")

    def units(self, total: int, done: int) -> None:
        self.to("before the first fold")
        super().units(total, done)

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "started":
            self.to(FOLDS)
        super().unit_event(name, kind, payload)
        if self._done == self._total:
            self.to("after the last fold")


def our_way(options: argparse.Namespace, root: Path, pictures: pd.DataFrame, seed: int) -> Side:
    """The whole job in a fresh run folder, on a fresh Ray. Raises RuntimeError when a fold fails."""
    with tempfile.TemporaryDirectory() as runs:
        study = PictureStudy(job_config(options, runs, seed), options, Folder(root), pictures)
        view = StageClock()
        outcome = run(study, "benchmark", view)
        view.to("over")
        if outcome.metrics is None or outcome.failed:
            raise RuntimeError(f"folds failed: {outcome.failed}")
        losses = []
        for number in range(options.folds):
            epochs = outcome.run.read_text(f"units/fold-{number}/metrics.jsonl").splitlines()
            losses.append([json.loads(epoch)["train_loss"] for epoch in epochs])
    metrics = outcome.metrics
    return Side(metrics["accuracy"], np.array(losses), metrics["steps"], sum(view.seconds.values()), dict(view.seconds))


def job_config(options: argparse.Namespace, runs: str, seed: int) -> JobConfig:
    """The published training, in our config's words; patience so long that nothing stops early."""
    train = {"epochs": options.epochs, "patience": options.epochs, "batch_size": options.batch_size}
    train |= {"learning_rate": options.learning_rate, "weight_decay": 0.0, "optimizer": "sgd", "stop_on": "accuracy"}
    gpu = None if options.device == "cuda" else 0
    return JobConfig(
        train=TrainConfig.model_validate(train),
        folds=FoldsConfig(outer=options.folds, validation=1 / 7),
        resources=ResourcesConfig(per_unit=PerUnit(gpu=gpu), workers=options.workers),
        run=RunSettings(dir=runs, seed=seed),
    )


# -- both


def folds_of(cfg: JobConfig, pictures: pa.Table) -> list[Fold]:
    """The folds that both sides use."""
    return make_folds(pictures, pictures["label_index"].to_numpy(), cfg.folds, cfg.run.seed)


def both(options: argparse.Namespace, root: Path, pictures: pd.DataFrame, seed: int) -> tuple[Side, Side]:
    """The published way and ours with one seed. Raises RuntimeError where they take different numbers of steps."""
    folds = folds_of(job_config(options, "", seed), pa.Table.from_pandas(pictures, preserve_index=False))
    published = PublishedWay(options, root, pictures, seed).run(folds)
    ours = our_way(options, root, pictures, seed)
    if published.steps != ours.steps:
        raise RuntimeError(f"the sides took {published.steps} and {ours.steps} optimiser steps")
    print(
        f"seed {seed}: published way {published.seconds:.1f} s, test accuracy {published.accuracy:.3f}; "
        f"gazeray {ours.seconds:.1f} s, {ours.accuracy:.3f}; {ours.steps} optimiser steps each",
        flush=True,
    )
    return published, ours


def report(turns: Sequence[tuple[Side, Side]]) -> bool:
    """Print both sides, the ratio, and where the time goes in our median run, the longest phase first; returns whether
    the mean accuracy of each side lies within the range of the other's."""
    medians, ranges, means = [], [], []
    for name, runs in zip(("published way", "gazeray"), zip(*turns, strict=True), strict=True):
        accuracies, losses = [run.accuracy for run in runs], np.mean([run.losses.mean(0) for run in runs], axis=0)
        medians.append(statistics.median(run.seconds for run in runs))
        ranges.append((min(accuracies), max(accuracies)))
        means.append(statistics.mean(accuracies))
        print(
            f"{name + ':':15} {medians[-1]:.1f} s; mean test accuracy {means[-1]:.3f} ({ranges[-1][0]:.3f} to "
            f"{ranges[-1][1]:.3f} over {len(runs)} seeds, standard deviation {statistics.stdev(accuracies):.3f}); "
            f"training loss {losses[0]:.3f} in the first epoch, {losses[-1]:.3f} in the last"
        )
    print(f"ratio: {medians[0] / medians[1]:.2f} times faster (medians of {len(turns)} runs in turns)")
    agree = all(low <= mean <= high for mean, (low, high) in zip(means, reversed(ranges), strict=True))
    print(f"the mean accuracy of each side lies {'' if agree else 'NOT '}within the range of the other's seeds")
    median = sorted((ours for _, ours in turns), key=lambda run: run.seconds)[(len(turns) - 1) // 2]
    phases = sorted(median.phases.items(), key=lambda item: -item[1])
    print("gazeray, wall: " + ", ".join(f"{name} {s:.1f} s ({s / median.seconds:.0%})" for name, s in phases))
    overhead = median.seconds - median.phases[READING] - median.phases[FOLDS]
    print(f"overhead, all that is neither reading nor folds: {overhead:.1f} s (aim: at most {MOST_OVERHEAD_S:g} s)")
    return agree


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
        "dropout": "share of the activations dropped after each pooling",
    }
    for name, meaning in meanings.items():
        small = SMALL[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(small), help=f"{meaning} (default: {small})")
    parser.add_argument("--seeds", type=int, default=5, help="turns of each side, a seed each (default: 5)")
    parser.add_argument("--workers", type=int, help="folds at a time, ours (default: as many as fit; 0: without Ray)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args(argv)
    for name, value in (PUBLISHED if options.preset else SMALL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    if options.seeds < 2 or options.trials < 3:
        parser.error("--seeds must be at least 2, --trials 3")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs; a loop does not
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pictures = draw_pictures(root, options.people, options.trials)
        megabytes = sum((root / path).stat().st_size for path in pictures["path"]) / 1e6
        print(
            f"{len(pictures)} pictures of {PICTURE_PX[0]} x {PICTURE_PX[1]} px ({megabytes:.1f} MB of PNG), "
            f"3 x {options.size} x {options.size}, width {options.width}, {options.folds} folds x {options.epochs} "
            f"epochs; {options.device}, {cores()} cores, load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        turns = [both(options, root, pictures, seed) for seed in range(options.seeds)]
    return 0 if report(turns) else 1


if __name__ == "__main__":
    sys.exit(main())
