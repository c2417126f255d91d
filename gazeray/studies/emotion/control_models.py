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
from gazeray.study import Row


def controls(
    cfg: ControlsConfig, asked: EmotionLearner, store: Store, labels: Sequence[str], seed: int
) -> Mapping[str, tuple[Row, EmotionLearner, Store]]:
    """Key -> its row, its learner and its store, for every one of `cfg.fits`.

    asked: the learner of the model that is asked. labels: their names.
    """
    found = {}
    for key, (later_ms, cut_ms) in cfg.windows.items():
        moved = f"window {abs(later_ms):g} ms {'later' if later_ms > 0 else 'earlier'}"
        words = f"without the last {cut_ms:g} ms" if cut_ms else moved
        found[key] = words, replace(asked, window=key), store
    if cfg.shuffle_labels:
        altered = store.with_table(shuffled(store.table, labels, seed))
        found["shuffled_labels"] = "trained on shuffled labels", asked, altered
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
