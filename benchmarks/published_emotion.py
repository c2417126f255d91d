# SPDX-License-Identifier: Apache-2.0
"""Training on felt arousal and valence the published way: every item is made from its files in every epoch.

Written from the description of the published system. Per trial and epoch: the CSV is parsed and cleaned with pandas,
the scanpath is drawn with OpenCV, the JPEG is decoded and resized, and a frozen VGG16 sees it. No loading process,
batches of 8, AdamW, the published sizes, loss and recurrence. Where the published code averages the flags of the pupils
instead of their sizes, this one averages the sizes.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

from gazeray.learn.losses import published_focal_loss
from gazeray.models.emotion import Branch, Fusion, Head, PictureNet, ScanpathNet, SeriesNet

SAMPLES, SCANPATH_PX, PICTURE_PX, BATCH = 301, 180, 256, 8
LABELS = ("arousal", "valence")
FLAGS = {"FPOGX": "FPOGV", "FPOGY": "FPOGV", "LPMM": "LPMMV", "RPMM": "RPMMV", "GSR": "GSRV", "HR": "HRV"}


def network() -> tuple[torch.nn.Module, Fusion]:
    """A frozen VGG16 with the mean over its last layer, (B, 512), and the published network behind it."""
    features = torchvision.models.vgg16(weights=None).features.requires_grad_(False)
    vgg = torch.nn.Sequential(features, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    branches: dict[str, Branch] = {
        "series": SeriesNet(5, SAMPLES, "lstm_over_channels", "published"),
        "scanpath": ScanpathNet(SCANPATH_PX, "published"),
        "picture": PictureNet(torch.nn.Identity(), 512, "published"),
    }
    return vgg, Fusion(branches, {label: Head(7) for label in LABELS}, dropout=0.3)


@dataclass
class Spent:
    """Seconds by what they were spent on."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the seconds of the block."""
        start = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - start


class PublishedItems(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """A trial per file of `epochs`, made anew whenever it is asked for."""

    def __init__(self, root: Path, epochs: Sequence[Path], spent: Spent) -> None:
        self.root, self.epochs, self.spent = root, list(epochs), spent
        steps = [v2.Resize((PICTURE_PX, PICTURE_PX)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        self.picture = v2.Compose([*steps, v2.Normalize([0.5] * 3, [0.5] * 3)])

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        """series (5, 301), scanpath (1, 180, 180), picture (3, 256, 256), and the two levels from 0."""
        parts = self.epochs[place].stem.split("_")
        with self.spent.on("parse and clean CSV"):
            table = cleaned(pd.read_csv(self.epochs[place]))
        with self.spent.on("draw scanpath"):
            drawn = scanpath(table)
        with self.spent.on("decode and resize JPEG"):
            path = self.root / "Images" / f"{'_'.join(parts[1:-2])}.jpg"
            picture = self.picture(Image.open(path).convert("RGB"))
        item = {"series": torch.from_numpy(scaled(table)), "scanpath": torch.from_numpy(drawn)[None]}
        levels = {label: torch.tensor(int(level) - 1) for label, level in zip(LABELS, parts[-2:], strict=True)}
        return item | {"picture": picture} | levels


def cleaned(table: pd.DataFrame) -> pd.DataFrame:
    """What is not valid is interpolated between its neighbours; the first and the last row count as valid."""
    table = table.copy()
    for column, flag in FLAGS.items():
        lost = table[flag] == 0
        lost.iloc[[0, -1]] = False
        table[column] = table[column].astype(float).mask(lost).interpolate()
    table["PMM"] = ((table["LPMM"] + table["RPMM"]) / 2).rolling(10, center=True, min_periods=1).mean()
    table["GSR"] = table["GSR"].rolling(60, center=True, min_periods=1).mean()
    return table


def scaled(table: pd.DataFrame) -> np.ndarray:
    """(5, 301) float32: x, y, pupil, skin, heart by the published constants, skin by the trial's own spread."""
    gsr, spread = table["GSR"], table["GSR"].std()
    skin = (gsr - gsr.mean()) / spread if round(spread, 6) else 0 * gsr
    heart = (table["HR"] - 80) / 15
    rows = [2 * table["FPOGX"] - 1, 2 * table["FPOGY"] - 1, (table["PMM"] - 3) / 0.4, skin, heart]
    return np.stack(rows).astype(np.float32)


def scanpath(table: pd.DataFrame) -> np.ndarray:
    """(180, 180) uint8: from fixation to fixation a white line, at its end a half transparent disc whose radius is a
    fifth of the line's length."""
    canvas = np.zeros((SCANPATH_PX, SCANPATH_PX), np.uint8)
    at = np.flatnonzero(np.diff(table["FPOGID"].to_numpy())) + 1
    points = (table[["FPOGX", "FPOGY"]].to_numpy() * SCANPATH_PX).astype(int)
    last = points[0]
    for place in at:
        point = points[place]
        cv2.line(canvas, last.tolist(), point.tolist(), 255, 1)
        disc = np.zeros_like(canvas)
        cv2.circle(disc, point.tolist(), int(math.dist(last, point) / 5), 255, -1)
        canvas = np.where(disc > 0, (255 + canvas.astype(np.uint16)) // 2, canvas).astype(np.uint8)
        last = point
    cv2.line(canvas, last.tolist(), points[-1].tolist(), 255, 1)
    return canvas


class PublishedWay:
    """The training loop. Trials per second do not depend on how many there are: nothing is kept."""

    def __init__(self, root: Path, trials: int, seed: int) -> None:
        """`trials` of the trials below `root`, drawn at random."""
        torch.manual_seed(seed)
        self.spent, (self.vgg, self.model) = Spent(), network()
        epochs = sorted(root.glob("epochs/*/*.csv"))
        chosen = np.random.default_rng(seed).permutation(len(epochs))[:trials]
        self.items = PublishedItems(root, [epochs[place] for place in chosen], self.spent)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=1e-3)

    def epoch(self) -> float:
        """Trials per second of one epoch over the trials; batches of 8, the rest of the last one is dropped."""
        start, count = time.perf_counter(), 0
        self.model.train()
        loader = torch.utils.data.DataLoader(self.items, BATCH, shuffle=True, drop_last=True, num_workers=0)
        for batch in loader:
            inputs = {name: batch[name] for name in ("series", "scanpath")}
            with self.spent.on("frozen VGG16"), torch.no_grad():
                inputs["picture"] = self.vgg(batch["picture"])
            with self.spent.on("the other layers"):
                log_p = self.model(inputs)
                loss = sum(published_focal_loss(log_p[label], batch[label], 3.0) for label in LABELS)
                self.optimizer.zero_grad()
                torch.as_tensor(loss).backward()
                self.optimizer.step()
            count += len(batch["picture"])
        return count / (time.perf_counter() - start)
