# SPDX-License-Identifier: Apache-2.0
"""Simulated ratings of pictures, and what the rows beside the models say of them under our own folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from gazeray.config import FoldsConfig
from gazeray.gaze.labels import Target
from gazeray.learn.folds import make_folds
from gazeray.metrics.classification import Floats
from gazeray.studies.emotion.predictors import ROWS, scored
from gazeray.studies.shared.classification import with_scores
from gazeray.studies.shared.without_gaze import Known, with_nuisance
from gazeray.study import Row

CUTS = {2: [0.6], 3: [0.3, 0.8], 5: [0.3, 0.6, 0.8, 0.93], 7: [0.28, 0.5, 0.7, 0.86, 0.95, 0.98]}
"""Cumulative shares of the levels, as uneven as ratings are."""

ALL_ROWS: dict[str, Row] = {"series": Row("series", "model"), **ROWS}


@dataclass(frozen=True)
class Rated:
    """People who rate pictures: standard deviations of what they and the pictures have in common, in those of the rest.

    effect: of the rating on one of the features of the signals, in the same unit. repeats: how often everybody rates
    every picture. gone: share of trials that are not there.
    """

    people: int = 16
    pictures: int = 15
    levels: int = 5
    style: float = 0.8
    pull: float = 0.8
    effect: float = 0.0
    repeats: int = 1
    gone: float = 0.0
    features: int = 6
    ordered: bool = True

    @property
    def target(self) -> Target:
        """The label."""
        return Target("arousal", tuple(str(level + 1) for level in range(self.levels)), self.ordered)

    def draw(self, seed: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
        """The table of the trials, labels (N,), features (N, F)."""
        rng = np.random.default_rng(seed)
        who, what, turn = (part.ravel() for part in np.indices((self.people, self.pictures, self.repeats)))
        kept = rng.random(len(who)) >= self.gone
        who, what, turn = who[kept], what[kept], turn[kept]
        style, pull = rng.normal(0, self.style, self.people)[who], rng.normal(0, self.pull, self.pictures)[what]
        own = rng.normal(size=len(who))
        latent = style + pull + own
        labels = np.searchsorted(np.quantile(latent, CUTS[self.levels]), latent)
        features = rng.normal(size=(len(who), self.features)) + rng.normal(size=(self.people, self.features))[who]
        features[:, 0] += self.effect * own
        table = pa.table(
            {
                "participant": [f"p{number:02}" for number in who],
                "trial": [f"t{number:02}-{time}" for number, time in zip(what, turn, strict=True)],
                "stimulus": [f"s{number:02}" for number in what],
            }
        )
        order = np.argsort(np.lexsort([rng.random(len(who)), who])) + 1.0  # everybody has an order of their own
        return with_nuisance(table, order, None), labels, features


def beside(
    table: pa.Table, labels: np.ndarray, features: np.ndarray, target: Target, hold_out: str = "participants",
    seed: int = 0, outer: int = 3,
) -> tuple[np.ndarray, dict[str, Floats]]:  # fmt: skip
    """(N,) the fold that tested a row, and {row: what it says of it, (N, K)} of all rows."""
    cfg = FoldsConfig(hold_out=hold_out, outer=outer, stimuli=2)
    number = np.zeros(len(labels), int)
    found = {name: np.full((len(labels), len(target.classes)), np.nan) for name in (*ROWS, "prior")}
    with threadpool_limits(1):  # many small regressions, whose threads would wait for each other
        for fold in make_folds(table, labels, cfg, seed):
            test = np.sort(fold.test)
            number[test] = fold.fold
            for name, values in scored(table, labels, target, Known(features, []), fold, test).items():
                found[name][test] = values
    return number, found


def predictions(
    table: pa.Table, labels: np.ndarray, folds: np.ndarray, scores: Mapping[str, Floats], target: Target
) -> pa.Table:
    """The table of the run, of one label."""
    found = table.select(["participant", "trial", "stimulus"]).append_column("fold", pa.array(folds))
    found = found.append_column("regime", pa.array(["test"] * len(labels)))
    names = [None if label < 0 else target.classes[label] for label in labels.tolist()]
    found = found.append_column(target.name, pa.array(names, pa.string()))
    return with_scores(found, {f"{target.name}:{name}": values for name, values in scores.items()})


def run(design: Rated, hold_out: Literal["participants", "stimuli", "both", "neither"], seed: int) -> pa.Table:
    """The predictions of one simulated study, in which the model is the regression on the signals' features."""
    table, labels, features = design.draw(seed)
    folds, scores = beside(table, labels, features, design.target, hold_out, seed)
    return predictions(table, labels, folds, {"series": scores["ridge"], **scores}, design.target)


NOTHING = Rated()
SOMETHING = replace(NOTHING, effect=4.0)
