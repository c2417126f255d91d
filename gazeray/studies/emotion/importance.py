# SPDX-License-Identifier: Apache-2.0
"""What a fitted model says of its test rows when it does not see a channel, or sees that of another row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gazeray.learn.fit import autocast, on_device
from gazeray.learn.folds import derive_seed
from gazeray.models.emotion import Fusion
from gazeray.store import Store
from gazeray.studies.shared.classification import with_scores
from gazeray.study import Fold

if TYPE_CHECKING:
    from gazeray.studies.emotion.learner import EmotionLearner

IMPORTANCE = "importance.parquet"
"""Of a unit: a row per control, repeat, label and tested row, with the class probabilities."""

SWAPPED = "swapped_signals"
"""The row of a model that is tested with the signals of others who saw the same picture."""


def importance(
    learner: EmotionLearner, model: Fusion, table: pa.Table, rows: np.ndarray, store: Store, fold: Fold,
    device: torch.device,
) -> pa.Table:  # fmt: skip
    """Natural class probabilities under each control, as the column `scores` beside control, repeat and label.

    table: what says who and where the tested rows (N,) are, in their order. `without_<channel>`: masked, as what was
    lost is. `permuted_<channel>`, and `permuted_<branch>` of branches beside the series: of another tested row of the
    fold, drawn anew in each repeat; a channel is taken scaled, with its mask.
    """
    parts = []
    with torch.inference_mode():
        for control, repeat, found in _controlled(learner, model, rows, store, fold, device):
            for label in learner.labels:
                count = len(rows)
                own = pa.table(
                    {"control": [control] * count, "repeat": [repeat] * count, "label": [label.name] * count}
                )
                for name in table.column_names:
                    own = own.append_column(name, table.column(name))
                parts.append(with_scores(own, {"scores": found[label.name].cpu().numpy()}))
    return pa.concat_tables(parts)


def swapped(
    learner: EmotionLearner, model: Fusion, rows: np.ndarray, store: Store, fold: Fold, device: torch.device
) -> dict[str, np.ndarray]:
    """Natural class probabilities (N, K) by label with the series and the scanpath of another tested row of the same
    stimulus, each of somebody else; NaN where nobody else who is tested saw it.

    What is left of the score is what the signals say of the picture, or of anybody who sees it.
    """
    donors = _donors(store.plain("stimulus")[rows], store.plain("participant")[rows], learner.cfg.run.seed, fold.fold)
    with torch.inference_mode():
        made = _branches(learner, model, rows, store, device)[1]
        with autocast(learner.train, device):
            others = {name: own[np.maximum(donors, 0)] for name, own in made.items() if name != "picture"}
            found = learner.natural(model.fused({**made, **others}))
    return {name: np.where(donors[:, None] < 0, np.nan, own.cpu().numpy()) for name, own in found.items()}


def _donors(stimuli: np.ndarray, people: np.ndarray, seed: int, fold: int) -> np.ndarray:
    """(N,) the row whose signals each row gets, of the same stimulus and of somebody else; -1: there is none."""
    donors = np.full(len(stimuli), -1)
    rng = np.random.default_rng(derive_seed(seed, SWAPPED, fold))
    for row in range(len(stimuli)):
        others = np.flatnonzero((stimuli == stimuli[row]) & (people != people[row]))
        if len(others):
            donors[row] = rng.choice(others)
    return donors


def _controlled(
    learner: EmotionLearner, model: Fusion, rows: np.ndarray, store: Store, fold: Fold, device: torch.device
) -> Iterator[tuple[str, int, dict[str, Tensor]]]:
    """(control, repeat, natural probabilities (N, K) by label), the rows in their order."""
    controls, channels = learner.cfg.controls, learner.channels if "series" in learner.branches else ()
    series, made = _branches(learner, model, rows, store, device)

    def shuffled(what: str) -> Iterator[tuple[str, int, np.ndarray]]:
        for repeat in range(controls.permute):
            rng = np.random.default_rng(derive_seed(learner.cfg.run.seed, "permuted", what, fold.fold, repeat))
            yield f"permuted_{what}", repeat, rng.permutation(len(rows))

    def found(changed: dict[str, Tensor]) -> dict[str, Tensor]:
        with autocast(learner.train, device):
            return learner.natural(model.fused({**made, **changed}))

    for place, name in enumerate(channels):
        both = [place, len(channels) + place]  # the channel and its mask
        if controls.knock_out:
            gone = series.clone()
            gone[:, both] = 0.0
            yield f"without_{name}", 0, found({"series": _in_batches(learner, model, gone, device)})
        for control, repeat, order in shuffled(name):
            mixed = series.clone()
            mixed[:, both] = series[order][:, both]
            yield control, repeat, found({"series": _in_batches(learner, model, mixed, device)})
    for branch in learner.branches:
        for control, repeat, order in shuffled(branch) if branch != "series" else ():
            yield control, repeat, found({branch: made[branch][order]})


def _branches(
    learner: EmotionLearner, model: Fusion, rows: np.ndarray, store: Store, device: torch.device
) -> tuple[Tensor, dict[str, Tensor]]:
    """The series that the model is fed with, (N, 2 C, T) on the CPU; what each branch makes of its input, (N, F)."""
    series: list[Tensor] = []
    made: dict[str, list[Tensor]] = {name: [] for name in learner.branches}
    for _, batch in store.batches(rows, learner.train.batch_size, learner.columns):
        inputs = learner.inputs(on_device(batch, device), moved=False)
        with autocast(learner.train, device):
            for name, parts in made.items():
                parts.append(model.branches[name](inputs[name]))
        series.append(inputs["series"].cpu() if "series" in inputs else torch.empty(0))
    return torch.cat(series), {name: torch.cat(parts) for name, parts in made.items()}


def _in_batches(learner: EmotionLearner, model: Fusion, series: Tensor, device: torch.device) -> Tensor:
    """What the branch makes of series (N, 2 C, T), (N, F)."""
    with autocast(learner.train, device):
        parts = [model.branches["series"](part.to(device)) for part in series.split(learner.train.batch_size)]
    return torch.cat(parts)
