# SPDX-License-Identifier: Apache-2.0
"""What the report draws beside scores: mean courses of the channels, and pictures before and after they are moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gazeray.gaze.labels import Label
from gazeray.gaze.signals_config import SignalsConfig
from gazeray.store import Store
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.pictures import PAIRS, augmentation_pairs
from gazeray.studies.emotion.source import EmotionTrials
from gazeray.studies.shared.npz import npz

COURSES, AUGMENTATION = "courses.npz", "augmentation.npz"
"""Files of the run folder."""

ROWS = 4096
"""Trials whose series are in memory at once."""


def courses(store: Store, channels: Sequence[str], labels: Sequence[Label], cfg: SignalsConfig) -> bytes:
    """The mean course of each channel at each level, and its spread, as a .npz.

    In the file: times_ms (T,); `<label>:<channel>` (K, T), the mean over the trials of that level, and `...:sd`, their
    standard deviation. Each trial counts by how much it differs from the mean that its
    participant's trials have in that channel, plus the mean over the participants: people differ more than levels.
    NaN where nothing is known.
    """
    people, whose = np.unique(store.plain("participant"), return_inverse=True)
    own = _means(store, whose, len(people), len(channels))
    there = np.isfinite(own)
    offset = own - np.where(there, own, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    levels = {label.name: store.plain(f"{label.name}_index") for label in labels}
    sums = {label.name: np.zeros((3, len(label.classes), len(channels), cfg.samples)) for label in labels}
    for rows, values in _series(store):
        values -= offset[whose[rows], :, None]
        there = np.isfinite(values)
        filled = np.where(there, values, 0.0)
        for name, total in sums.items():
            for level in range(total.shape[1]):
                at = levels[name][rows] == level
                total[:, level] += there[at].sum(axis=0), filled[at].sum(axis=0), (filled[at] ** 2).sum(axis=0)
    found = {"times_ms": cfg.start_ms + np.linspace(0.0, cfg.duration_ms, cfg.samples)}
    for name, (count, first, second) in sums.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = first / count
            spread = np.sqrt(np.maximum(second / count - mean**2, 0.0))
        for place, channel in enumerate(channels):
            found |= {f"{name}:{channel}": mean[:, place], f"{name}:{channel}:sd": spread[:, place]}
    return npz(found)


def _series(store: Store) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(row numbers, series (n, C, T) float64) of all examples, some at a time."""
    parts = np.array_split(np.arange(len(store)), -(-len(store) // ROWS))
    for rows in parts:
        yield rows, np.asarray(store.take(rows, ["series"])["series"], np.float64)


def _means(store: Store, whose: np.ndarray, people: int, channels: int) -> np.ndarray:
    """(people, C) the mean of each channel over all trials of a participant; NaN where there is none."""
    total, count = np.zeros((people, channels)), np.zeros((people, channels))
    for rows, values in _series(store):
        there = np.isfinite(values)
        np.add.at(count, whose[rows], there.sum(axis=2))
        np.add.at(total, whose[rows], np.where(there, values, 0.0).sum(axis=2))
    with np.errstate(invalid="ignore"):
        return total / count


def pairs(found: EmotionTrials, store: Store, cfg: EmotionConfig) -> bytes:
    """See `augmentation_pairs`: one trial each of some pictures."""
    stimuli, first = np.unique(store.plain("stimulus"), return_index=True)
    rows = first[: 2 * PAIRS]  # some may be refused
    gaze = np.zeros((len(rows), 2, 0))
    if "x" in found.channels and "y" in found.channels:
        places = [found.channels.index(name) for name in ("x", "y")]
        gaze = np.asarray(store.take(rows, ["series"])["series"])[:, places]
    trials = [(name, found.pictures.paths[name], own) for name, own in zip(stimuli, gaze, strict=False)]
    return augmentation_pairs(found.root, trials, cfg.augment, cfg.run.seed, cfg.picture.size_px)
