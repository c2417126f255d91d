# SPDX-License-Identifier: Apache-2.0
"""Controls that are models of their own: denied what the score is credited to, does it go?

The window is moved or ends earlier (does the rating scale leak in?), or the labels are shuffled within participants
(nothing is left to be learned). What is done to a fitted model in the test alone, such as a channel that is not seen or
signals of somebody else, is the learner's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gazeray.learn.folds import derive_seed
from gazeray.store import Store
from gazeray.studies.emotion.config import ControlsConfig
from gazeray.studies.emotion.learner import EmotionLearner
from gazeray.studies.emotion.passes import series_column
from gazeray.study import Row


def controls(
    cfg: ControlsConfig, asked: EmotionLearner, store: Store, labels: Sequence[str], window_ms: float, seed: int
) -> Mapping[str, tuple[Row, EmotionLearner, Store]]:
    """Key -> its row, its learner and its store, for every one of `cfg.fits`.

    asked: the learner of the model that is asked. labels: their names. window_ms: how long its window is.
    """
    found = {}
    for ms in cfg.shift_ms:
        words = f"window {abs(ms):g} ms {'later' if ms > 0 else 'earlier'}"
        found[f"shift{ms:+g}"] = words, replace(asked, series=series_column(ms)), store
    if cfg.cut_ms:
        words = f"without the last {cfg.cut_ms:g} ms"
        found[f"cut-{cfg.cut_ms:g}"] = words, replace(asked, seen_ms=window_ms - cfg.cut_ms), store
    if cfg.shuffle_labels:
        found["shuffled_labels"] = (
            "trained on shuffled labels",
            asked,
            store.with_table(shuffled(store.table, labels, seed)),
        )
    return {key: (Row(words, "control"), learner, own) for key, (words, learner, own) in found.items()}


def shuffled(table: pa.Table, labels: Sequence[str], seed: int) -> pa.Table:
    """The table (N rows) with the labels' indices in random order within each participant; those of a trial stay
    together."""
    people = np.array(table.column("participant").to_pylist(), np.str_)
    rng = np.random.default_rng(derive_seed(seed, "shuffled_labels"))
    order = np.arange(len(people))
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        order[own] = rng.permutation(own)
    for name in (f"{label}_index" for label in labels):
        place = table.column_names.index(name)
        table = table.set_column(place, name, table.column(name).take(order))
    return table
