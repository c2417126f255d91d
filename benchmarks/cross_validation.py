# SPDX-License-Identifier: Apache-2.0
"""Cross-validation from pictures on disk to scores, the published way against ours.

The task is that of the word-familiarity heatmaps (Ryzhova et al. 2023, doi 10.1145/3588015.3590118): colour heatmaps of
1500 x 200 px, exported as PNG, squeezed to a square, told apart by the two-convolution CNN. The pictures are drawn here
from simulated readers. Both sides have the same pictures, decoder, model, folds of readers, batch size, learning rate
and number of epochs (no early stopping), so they take the same number of optimiser steps, which is checked.

The published way: one fold after the other in one process; in every epoch each picture is read, decoded and resized
again; plain SGD; default (NCHW) memory format; all cores inside each operation; validation after every epoch, the
epoch with the best validation accuracy is tested.

Ours: `gazeray.engine.cross_validation.cross_validate` with a study that reads PNG: pictures are decoded once on Ray
Data and kept as uint8, the folds are units that one-thread workers take from a queue, all workers see the same shared
memory, channels_last. Everything counts: starting Ray and its workers, caching, checkpoints, predictions, scoring.

Prints the wall seconds of both sides, the ratio of their medians, both mean test accuracies (they agree up to chance:
ours keeps the epoch with the best validation loss, and the random numbers differ), and where the time goes.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from rich.console import Console

from gazeray.config import FoldsConfig, JobConfig, PerUnit, ResourcesConfig, RunSettings, TrainConfig, digest
from gazeray.engine.cross_validation import cross_validate
from gazeray.engine.progress import ProgressView
from gazeray.engine.progress import Stage as ProgressStage
from gazeray.gaze.render import Window, heatmaps, pad_trials
from gazeray.learn.folds import Fold, participant_folds
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder
from gazeray.store import Examples, tensor_column
from gazeray.study import FoldResult, Plan, Shard, Split, Stage
from gazeray.synth.reading import SCREEN_PX, ReadingSimulation, design, make_reader, make_sentences, scanpath
from gazeray.tables import QUALITY

PICTURE_PX = (1500, 200)
"""Width and height of an exported screen, cropped to the sentence."""

CLASSES = ["control", "pseudoword"]
SECONDS = "seconds "
"""So begin the scores of a fold that say how long a phase took."""

SMALL: dict[str, float] = {"width": 16, "size": 128, "people": 32, "trials": 10, "folds": 8, "epochs": 6}
SMALL |= {"batch_size": 16, "learning_rate": 0.002}
"""What is run without options: minutes on two cores, steps enough to learn something."""

PUBLISHED = {**SMALL, "width": 128, "people": 34, "epochs": 35, "batch_size": 32, "learning_rate": 0.01}
"""--preset published. The original has 32 readers with 7 to 11 pictures each, 340 in all."""


class Phases:
    """Seconds by phase of something that is always in one phase; `to(None)` stops the clock."""

    def __init__(self, phase: str | None = None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._phase, self._since = phase, time.perf_counter()

    def to(self, phase: str | None) -> None:
        now = time.perf_counter()
        if self._phase is not None:
            self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now


@dataclass(frozen=True)
class Side:
    """How one side did in one run: mean test accuracy over the folds, optimiser steps, wall seconds by phase.

    Where folds run at the same time `fold_seconds` has the phases within them, summed over the workers.
    """

    accuracy: float
    steps: int
    wall_seconds: dict[str, float]
    fold_seconds: dict[str, float] = field(default_factory=dict)
    workers: int = 1

    @property
    def seconds(self) -> float:
        return sum(self.wall_seconds.values())


def draw_pictures(root: Path, people: int, trials: int) -> pd.DataFrame:
    """Export one PNG per simulated trial: green over yellow to red, half transparent, on white.

    Returns one row per picture: participant, trial, stimulus, label_index, path (below `root`).
    """
    params = ReadingSimulation(readers=people, sentences=trials)
    sentences, pseudoword = make_sentences(params), design(params)
    left, top = ((screen - size) / 2 for screen, size in zip(SCREEN_PX, PICTURE_PX, strict=True))
    window = torch.tensor([Window(left, top, *PICTURE_PX)])
    pictures = []
    for number in range(people):
        reader = make_reader(params, number)
        for trial, sentence in enumerate(sentences):
            label = int(pseudoword[number, trial])
            rng = np.random.default_rng([params.seed, number, trial])
            gaze = scanpath(params, sentence, reader, bool(label), rng)
            x_px, y_px, duration_ms = (pad_trials([values]) for values in (gaze.x_px, gaze.y_px, gaze.duration_ms))
            dwell = heatmaps(x_px, y_px, duration_ms, window, PICTURE_PX[::-1], 25.0)[0, 0].numpy()
            participant, item = f"{number + 1:03d}", f"{trial + 1:03d}"
            path = f"{participant}/{item}_{'CP'[label]}.png"
            (root / participant).mkdir(exist_ok=True)
            cv2.imwrite(str(root / path), cv2.cvtColor(coloured(dwell), cv2.COLOR_RGB2BGR))
            pictures.append((participant, item, item, label, path))
    return pd.DataFrame(pictures, columns=["participant", "trial", "stimulus", "label_index", "path"])


def coloured(dwell: np.ndarray) -> np.ndarray:
    """Dwell (H, W) relative to its peak as an RGB picture (H, W, 3) uint8."""
    level = dwell / dwell.max()
    colour = np.stack([np.minimum(2 * level, 1), np.minimum(2 - 2 * level, 1), np.zeros_like(level)], axis=2)
    opacity = 0.6 * np.minimum(level / 0.1, 1)[..., None]
    return np.asarray((255 * (1 - opacity + opacity * colour)).round(), np.uint8)


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
    phases: Phases = field(default_factory=Phases)
    steps: int = 0

    def run(self, folds: Sequence[Fold]) -> Side:
        torch.set_num_threads(cores())
        self.phases.to("set up")
        accuracies = [self.fold(fold) for fold in folds]
        self.phases.to(None)
        return Side(float(np.mean(accuracies)), self.steps, self.phases.seconds)

    def fold(self, fold: Fold) -> float:
        """Train, keep the best epoch by validation accuracy, test; returns the test accuracy."""
        torch.manual_seed(42)
        size, device = self.options.size, self.options.device
        model = HeatmapCNN(3, (size, size), self.options.width, len(CLASSES)).to(device)
        optimizer = torch.optim.SGD(model.parameters(), self.options.learning_rate)
        loss = torch.nn.CrossEntropyLoss()
        train = self.pictures[self.pictures["participant"].isin(fold.train)]
        best, best_accuracy = model.state_dict(), -1.0
        for _ in range(self.options.epochs):
            model.train()
            for inputs, labels in self.batches(train.iloc[torch.randperm(len(train)).numpy()]):
                self.phases.to("train")
                value = loss(model(inputs), labels)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                value.item()
                self.steps += 1
            accuracy = self.accuracy(model, fold.validation, "validate")
            if accuracy > best_accuracy:
                best_accuracy = accuracy
                best = {name: weights.clone() for name, weights in model.state_dict().items()}
            self.phases.to("set up")
        model.load_state_dict(best)
        return self.accuracy(model, fold.test, "test")

    def accuracy(self, model: torch.nn.Module, people: Sequence[str], phase: str) -> float:
        """Share of these people's pictures that the model gets right."""
        model.eval()
        chosen = self.pictures[self.pictures["participant"].isin(people)]
        hits = 0
        with torch.no_grad():
            for inputs, labels in self.batches(chosen):
                self.phases.to(phase)
                hits += int((model(inputs).argmax(1) == labels).sum())
        return hits / len(chosen)

    def batches(self, pictures: pd.DataFrame) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs (B, 3, S, S) in 0 to 1 and labels (B,), read from disk."""
        for start in range(0, len(pictures), self.options.batch_size):
            self.phases.to("read, decode, resize")
            batch = pictures.iloc[start : start + self.options.batch_size]
            images = [decode((self.root / path).read_bytes(), self.options.size) for path in batch["path"]]
            inputs = torch.stack([torch.from_numpy(image).permute(2, 0, 1).float().div(255) for image in images])
            labels = torch.tensor(batch["label_index"].tolist())
            yield inputs.contiguous().to(self.options.device), labels.to(self.options.device)


# -- ours


class TimedCNN(HeatmapCNN):
    """The CNN, noting the phase of the training loop that it hears from the loop's calls."""

    def __init__(self, size: int, width: int, phases: Phases) -> None:
        super().__init__(3, (size, size), width, len(CLASSES))
        self.phases, self.steps = phases, 0

    def train(self, mode: bool = True) -> TimedCNN:
        self.phases.to("train" if mode else "validate")
        super().train(mode)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.phases.to("checkpoint")
        return super().state_dict(*args, **kwargs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        return super().forward(x)


@dataclass
class PictureStudy:
    """The study of exported pictures. See `gazeray.study.Study`. Seconds by phase travel among the scores of a fold."""

    size: int
    width: int
    root: Folder
    pictures: pd.DataFrame
    name: str = "pictures"
    config: type[JobConfig] = JobConfig
    tensors: Sequence[str] = ("picture",)

    def plan(self, cfg: JobConfig) -> Plan:
        recordings: list[dict[str, Any]] = [
            {"key": name, "trials": mine["trial"].tolist(), "paths": mine["path"].tolist()}
            for name, mine in self.pictures.groupby("participant")
        ]
        trials = pa.Table.from_pandas(self.pictures, preserve_index=False)
        content = digest([recordings, self.size])
        return Plan(
            dataset="pictures",
            licence=None,
            label="condition",
            classes=CLASSES,
            notes=[],
            trials=trials,
            recordings=recordings,
            rejects=[],
            fingerprint=content,
            meaning=content,
            root=self.root,
        )

    def reader(self, cfg: JobConfig, plan: Plan) -> Stage:
        return Stage(ReadPictures(self.root, self.size))

    def model(self, cfg: JobConfig, plan: Plan) -> torch.nn.Module:
        return TimedCNN(self.size, self.width, Phases())

    def inputs(self, cfg: JobConfig, plan: Plan, batch: Mapping[str, np.ndarray], device: torch.device) -> torch.Tensor:
        """Pictures are kept as (S, S, 3), so that (B, 3, S, S) in channels_last takes no copy."""
        return torch.from_numpy(batch["picture"]).to(device).permute(0, 3, 1, 2).float().div_(255)

    def loss(self, cfg: JobConfig, plan: Plan, labels: np.ndarray) -> torch.nn.Module:
        return torch.nn.CrossEntropyLoss()

    def test(
        self,
        cfg: JobConfig,
        plan: Plan,
        model: torch.nn.Module,
        examples: Examples,
        split: Split,
        device: torch.device,
        keep: Callable[[str, bytes], None],
    ) -> FoldResult:
        if not isinstance(model, TimedCNN):
            raise TypeError(f"the model must be the TimedCNN that this study made, not {type(model).__name__}")
        model.phases.to("test")
        seen, predicted = [], []
        with torch.inference_mode():
            for rows, batch in examples.batches(split.test, cfg.train.batch_size, self.tensors):
                seen.append(rows)
                predicted.append(model(self.inputs(cfg, plan, batch, device)).argmax(1).cpu().numpy())
        model.phases.to(None)
        table = examples.index.table.take(np.concatenate(seen))
        table = table.append_column("predicted", pa.array(np.concatenate(predicted)))
        hits = table["predicted"].to_numpy() == table["label_index"].to_numpy()
        seconds = {f"{SECONDS}{phase}": value for phase, value in model.phases.seconds.items()}
        return FoldResult(table, {"accuracy": float(hits.mean()), "steps": float(model.steps), **seconds})

    def score(self, cfg: JobConfig, plan: Plan, predictions: pa.Table) -> dict[str, Any]:
        """The folds' scores suffice."""
        return {}

    def gather(
        self, cfg: JobConfig, plan: Plan, files: Sequence[Mapping[str, bytes]]
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """There are no files."""
        return {}, {}


@dataclass(frozen=True)
class ReadPictures:
    """One reader's pictures to a shard: (N, S, S, 3) uint8."""

    root: Folder
    size: int

    def __call__(self, recording: Mapping[str, Any]) -> Shard:
        cv2.setNumThreads(1)
        files = [self.root.read_bytes(path) for path in recording["paths"]]
        table = pa.table(
            {
                "participant": pa.array([recording["key"]] * len(files), pa.string()),
                "trial": pa.array(recording["trials"], pa.string()),
                "picture": tensor_column(np.stack([decode(data, self.size) for data in files])),
            }
        )
        content = hashlib.sha256(b"".join(files)).hexdigest()
        return Shard(table, [], QUALITY.empty_table(), content, len(files))


class StageClock(ProgressView):
    """Shows nothing and notes when the stages of a job begin."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.phases, self.workers = Phases("start Ray"), 1

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[ProgressStage]:
        self.phases.to("read, decode, resize, cache" if name == "reading recordings" else name)
        with super().stage(name, total) as stage:
            yield stage
        self.phases.to("share")

    def units(self, total: int, done: int) -> None:
        self.phases.to("start the workers")
        super().units(total, done)

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "started":
            self.phases.to("folds")
            self.workers = max(self.workers, int(payload["rank"]) + 1)
        super().unit_event(name, kind, payload)
        if self._done == self._total:
            self.phases.to("stop Ray")


def our_way(options: argparse.Namespace, root: Path, pictures: pd.DataFrame) -> Side:
    """The whole job in a fresh run folder, on a fresh Ray. Raises RuntimeError when a fold fails."""
    study = PictureStudy(options.size, options.width, Folder(root), pictures)
    with tempfile.TemporaryDirectory() as runs:
        view = StageClock()
        outcome = cross_validate(study, job_config(options, runs), "benchmark", view)
        view.phases.to(None)
    if outcome.metrics is None or outcome.failed:
        raise RuntimeError(f"folds failed: {outcome.failed}")
    scores = [fold["metrics"] for fold in outcome.metrics["folds"]]
    fold_seconds: defaultdict[str, float] = defaultdict(float)
    for name, value in (item for score in scores for item in score.items() if item[0].startswith(SECONDS)):
        fold_seconds[name.removeprefix(SECONDS)] += value
    accuracy, steps = np.mean([score["accuracy"] for score in scores]), sum(score["steps"] for score in scores)
    return Side(float(accuracy), int(steps), view.phases.seconds, fold_seconds, view.workers)


def job_config(options: argparse.Namespace, runs: str) -> JobConfig:
    """The published training, in our config's words; patience so long that nothing stops early."""
    train = TrainConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=0.0,
        optimizer="sgd",
        patience=options.epochs,
    )
    return JobConfig(
        train=train,
        folds=FoldsConfig(outer=options.folds, validation=1 / 7),
        resources=ResourcesConfig(per_unit=PerUnit(gpu=None if options.device == "cuda" else 0)),
        run=RunSettings(dir=runs),
    )


# -- both


def cores() -> int:
    return len(os.sched_getaffinity(0))


def folds_of(options: argparse.Namespace, pictures: pd.DataFrame) -> list[Fold]:
    """The folds that our engine makes, for the published way to use too."""
    cfg = job_config(options, "")
    people, labels = pictures["participant"].to_numpy(str), pictures["label_index"].to_numpy()
    return participant_folds(people, labels, cfg.folds.outer, cfg.folds.validation, cfg.run.seed)


def shares(seconds: Mapping[str, float]) -> str:
    """The phases, the longest first."""
    total = sum(seconds.values())
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {value:.1f} s ({value / total:.0%})" for name, value in ordered)


def median_run(runs: Sequence[Side]) -> Side:
    """The run whose wall time is the (lower) median."""
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]


def report(published: Sequence[Side], ours: Sequence[Side]) -> None:
    """Print both sides, the ratio, and where the time goes in the median run of each."""
    for name, runs in (("published way", published), ("gazeray", ours)):
        walls = ", ".join(f"{run.seconds:.1f}" for run in runs)
        print(
            f"{name + ':':15} {statistics.median(run.seconds for run in runs):.1f} s (runs: {walls}); "
            f"mean test accuracy {np.mean([run.accuracy for run in runs]):.3f}; {runs[0].steps} optimiser steps"
        )
    ratio = statistics.median(run.seconds for run in published) / statistics.median(run.seconds for run in ours)
    print(f"ratio: {ratio:.2f} times faster (medians of {len(ours)} runs in turns)")
    theirs, mine = median_run(published), median_run(ours)
    print(f"published way, wall: {shares(theirs.wall_seconds)}")
    print(f"gazeray, wall: {shares(mine.wall_seconds)}")
    waiting = mine.wall_seconds["folds"] * mine.workers - sum(mine.fold_seconds.values())
    within = shares({**mine.fold_seconds, "other, waiting": waiting})
    print(f"gazeray, within the folds, {mine.workers} workers: {within}")


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
        folds = folds_of(options, pictures)
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
