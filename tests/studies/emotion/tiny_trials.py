# SPDX-License-Identifier: Apache-2.0
"""Trials of the emotion study as tensors: pupils that follow arousal, scanpaths and pictures that follow valence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from gazeray.gaze.augment import random_affines
from gazeray.gaze.labels import Label
from gazeray.storage import Folder
from gazeray.store import Shard, Store, write_shard
from gazeray.studies.emotion.config import Branch, EmotionConfig
from gazeray.studies.emotion.learner import EmotionLearner
from gazeray.study import Fold, Side

PEOPLE, PICTURES, SAMPLES, SIDE, FEATURES = 12, 16, 40, 32, 6
CHANNELS = ("x", "y", "pupil_mm")


def label(name: str, levels: int = 3, ordered: bool = True) -> Label:
    classes = tuple(str(1 + level) for level in range(levels))
    return Label(name, classes, ordered, name, {text: place for place, text in enumerate(classes)})


LABELS = (label("arousal"), label("felt.valence"))


@dataclass(frozen=True)
class Network:
    """Stands in for `PictureNetwork`: one trained layer behind what is stored."""

    features: int = FEATURES

    def tail(self) -> torch.nn.Module:
        torch.manual_seed(7)
        return torch.nn.Linear(FEATURES, FEATURES)


def config(**sections: Any) -> EmotionConfig:
    """Small settings; sections replace them, key by key."""
    base: dict[str, dict[str, Any]] = {
        "signals": {"samples": SAMPLES, "scale": "training_people"},
        "scanpath": {"side_px": SIDE},
        "loss": {"gamma": 0.0},
        "model": {"dropout": 0.1},
        "train": {"epochs": 8, "batch_size": 32, "learning_rate": 3e-3, "patience": 8},
        "controls": {"knock_out": False, "permute": 0},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return EmotionConfig(**base)  # type: ignore[arg-type]


def learner(cfg: EmotionConfig | None = None, branches: Sequence[Branch] = ("series",), **more: Any) -> EmotionLearner:
    cfg = cfg or config()
    network: Any = Network() if "picture" in branches else None
    return EmotionLearner(cfg.train, cfg, more.pop("labels", LABELS), CHANNELS, tuple(branches), network, **more)


def trials(
    folder: Folder, effect: float = 1.0, views: int = 0, seed: int = 0, levels: int = 3, **replaced: np.ndarray
) -> Store:
    """A shard per person, everybody saw every picture. effect: of arousal on the pupil, of valence on scanpath and
    picture. replaced: whole columns (N, ...) in place of those made here."""
    rng = np.random.default_rng(seed)
    rows = PEOPLE * PICTURES
    arousal, valence = rng.integers(0, levels, (2, rows))
    series = rng.normal(0, 1, (rows, len(CHANNELS), SAMPLES)).astype(np.float32)
    series[:, :2] /= 3
    series[:, 2] = 3 + 0.4 * (series[:, 2] + effect * (arousal - 1)[:, None])
    series[rng.random(rows) < 0.1, :2, 5:15] = np.nan
    series[rng.random(rows) < 0.1, 2, 10:20] = np.nan
    scanpath = rng.integers(0, 60, (rows, 1, SIDE, SIDE)).astype(np.uint8)
    for row in np.flatnonzero(valence) if effect else ():
        scanpath[row, 0, :: 4 // valence[row]] = 255
    stimulus = np.tile(np.arange(PICTURES), PEOPLE)
    affine = np.stack([random_affines(1 + views, config(augment={"views": views}).augment, 1, True)] * rows)
    seen = rng.normal(0, 1, (rows, 1 + views, FEATURES)) + effect * 2 * (valence - 1)[:, None, None]
    columns: dict[str, np.ndarray] = {
        "arousal_index": arousal, "felt.valence_index": valence, "series": series, "scanpath": scanpath,
        "picture": seen.astype(np.float16), "affine": affine,
    } | replaced  # fmt: skip
    plain = ("arousal_index", "felt.valence_index")
    for person in range(PEOPLE):
        own = slice(person * PICTURES, (person + 1) * PICTURES)
        table = pa.table({
            "participant": [f"P{person:02}"] * PICTURES, "trial": [str(trial) for trial in range(PICTURES)],
            "stimulus": [f"picture {number}" for number in stimulus[own]],
            **{name: columns[name][own] for name in plain},
        })  # fmt: skip
        tensors = {name: values[own] for name, values in columns.items() if name not in plain}
        write_shard(folder, f"{person:02}", Shard(table, tensors))
    return Store.open(folder, [f"{person:02}" for person in range(PEOPLE)])


ROWS = np.arange(PEOPLE * PICTURES)
TRAIN, VALIDATION, TEST = np.split(ROWS, [8 * PICTURES, 10 * PICTURES])
FOLD = Fold(3, TRAIN, Side("validation", VALIDATION, ("participant",)), (Side("test", TEST, ("participant",)),))
