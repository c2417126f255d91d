# SPDX-License-Identifier: Apache-2.0
"""What stands beside the models: rows that know the person, the picture or the circumstances, and the ceilings.

A unit per fold, `baselines-K`, holds all of them for all labels. Baselines are fitted to the rows of the fold that are
not tested, each label on those of them where it is known. All give probabilities under the shares of the levels among
these rows (the prior): what is told of the level, by means or a ridge regression, goes through a logistic regression
that was fitted to what is told of the known rows by others of them. What tells nothing leaves the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.gaze.labels import Target
from gazeray.learn.trained import PerFold
from gazeray.store import Store
from gazeray.studies.emotion.two_way import Ratings, again, cross_fitted, others, parts, regressed, tells, told
from gazeray.studies.shared.baselines import KEY, beside_models, nuisance_label
from gazeray.studies.shared.classification import PREDICTIONS, logistic_regression_scores, with_regimes, with_scores
from gazeray.studies.shared.without_gaze import ORDER, Circumstances, Known, further_columns
from gazeray.study import Fold, Ready, Row
from gazeray.tables import table_digest
from gazeray.unit import Json, UnitFolder

FORMAT = 2
"""Raised when a row is fitted differently: units of before are then done again."""

ROWS = {
    "majority": Row("majority class", "baseline"),
    "participant_mean": Row("participant's mean", "baseline"),
    "picture_mean": Row("picture's mean", "baseline"),
    "additive": Row("participant + picture", "baseline"),
    "ridge": Row("ridge on simple features", "baseline"),
    "nuisance": Row("order, duration, rate, loss", "baseline"),
    "without_gaze": Row("all without gaze together", "baseline"),
    "other_people": Row("everybody else's ratings", "ceiling"),
    "retest": Row("same person's other ratings", "ceiling"),
}
"""The rows, in the order in which they are told; the columns of their scores are `<label>:<row>`."""

BLIND = ("majority", "participant_mean", "picture_mean", "additive", "nuisance", "without_gaze")
"""The rows that never see gaze or body."""

MEANS = {
    "participant_mean": ("participant",),
    "picture_mean": ("stimulus",),
    "additive": ("participant", "stimulus"),
}
"""Rows that go by who rated, what was rated, or both."""

PRIOR = "prior"
"""`<label>:prior`: the shares of the levels among the known rows of the fold."""


def baselines(
    ready: Ready[Any, Any], store: Store, labels: Sequence[Target], features: str = "features", key: str = KEY
) -> PerFold:
    """The predictor of the rows beside the models, of all labels, under the folds of the items.

    store: a row per item, with a table as `with_nuisance` makes it and a column `<label>_index` (-1: not known) for
    each label; after a search a fold has the store of its chosen setting. features: the store's column of simple
    features (F,), NaN where not known.
    """
    further = store.table.select([ORDER, *further_columns(store.table)])
    hashed = [FORMAT, [[one.name, list(one.classes), one.ordered] for one in labels], features, table_digest(further)]
    return beside_models(ready, store, rows_of(store.table), partial(_test, tuple(labels), features), hashed, key)


def rows_of(table: pa.Table) -> dict[str, Row]:
    """`ROWS`, with what the declaration adds to the circumstances in the name of their row."""
    return {**ROWS, "nuisance": replace(ROWS["nuisance"], label=nuisance_label(table))}


def _test(targets: Sequence[Target], features: str, store: Store, fold: Fold, out: UnitFolder) -> Json:
    """Fit everything to everybody who is not tested, and write what it says of the tested rows."""
    test = np.sort(fold.test)
    ids = with_regimes(store.table.select(["participant", "trial", "stimulus"]).take(test), fold, test)
    rows = np.concatenate([fold.known, test])
    values = np.asarray(store.take(rows, [features])[features], np.float64)
    measured = np.full((len(store.table), values.shape[1]), np.nan)
    measured[rows] = values
    simple = Known(measured, range(measured.shape[1]))
    scores: dict[str, np.ndarray] = {}
    for target in targets:
        labels = store.plain(f"{target.name}_index")
        own = scored(store.table, labels, target, simple, fold, test)
        scores |= {f"{target.name}:{row}": values for row, values in own.items()}
        names = [None if place < 0 else target.classes[place] for place in labels[test].tolist()]
        ids = ids.append_column(target.name, pa.array(names, pa.string()))
    out.folder.write_table(PREDICTIONS, with_scores(ids, scores))
    return {"n": {"known": len(fold.known), "test": len(test)}}


def scored(
    table: pa.Table, labels: np.ndarray, target: Target, simple: Known, fold: Fold, test: np.ndarray
) -> dict[str, np.ndarray]:
    """{row of `ROWS`, and `PRIOR`: probabilities (N_test, K)} of one label, NaN where a row is undefined.

    table: see `baselines`. labels (N,): -1 where not known. simple: the simple features of all rows. test: the rows of
    the fold's test regimes, sorted. Raises ValueError where the label is known of no row to fit to.
    """
    known, classes = fold.known[labels[fold.known] >= 0], len(target.classes)
    if not len(known):
        raise ValueError(f"fold {fold.fold}: {target.name} is known of no row that is not tested")
    here = Circumstances.of(table, labels)
    ratings = Ratings.of(here.owners["participant"], here.owners["stimulus"], labels, classes, target.ordered)
    fit = _Fit(ratings, known, np.bincount(labels[known], minlength=classes) / len(known))
    found = {name: np.full((len(test), classes), np.nan) for name in (*ROWS, PRIOR)}
    for unseen in {side.unseen for side in fold.tests}:
        at = np.isin(test, np.concatenate([side.rows for side in fold.tests if side.unseen == unseen]))
        asked, part = test[at], parts(ratings, known, unseen)
        found["majority"][at] = found[PRIOR][at] = fit.prior
        for name, owners in MEANS.items():
            effects = fit.of_owners(owners, unseen, asked, part)
            if effects:
                found[name][at] = fit.calibrated([_summed(effects)], len(asked))
        circumstances = fit.of_features(here.nuisance, asked, part)
        together = [circumstances, *fit.of_owners(MEANS["additive"], unseen, asked, part)]
        found["ridge"][at] = fit.calibrated([fit.of_features(simple, asked, part)], len(asked))
        found["nuisance"][at] = fit.calibrated([circumstances], len(asked))
        found["without_gaze"][at] = fit.calibrated(together, len(asked))
    several = int(ratings.what.max()) > 0  # with one, its ratings are all ratings
    for name, ceiling in (("other_people", others), ("retest", again)) if several else ():
        found[name] = fit.ceiling(ceiling(ratings), test)
    return found


Told = tuple[np.ndarray, np.ndarray]
"""What is told of the known rows (N, D), each by others, and of the asked ones (M, D): deviations from the mean."""


def _summed(effects: Sequence[Told]) -> Told:
    return sum(one for one, _ in effects[1:]) + effects[0][0], sum(one for _, one in effects[1:]) + effects[0][1]


@dataclass(frozen=True)
class _Fit:
    """One label, and the rows `known` that are labelled and not tested. prior: (K,) the shares of their levels."""

    ratings: Ratings
    known: np.ndarray
    prior: np.ndarray

    def of_owners(
        self, owners: Sequence[str], unseen: Sequence[str], asked: np.ndarray, part: np.ndarray
    ) -> list[Told]:
        """The effects of those owners that are not unseen. All are fitted at once, so that pictures which strict people
        rated do not count as low."""
        before, now = (
            cross_fitted(self.ratings, self.known, owners, part),
            told(self.ratings, self.known, asked, owners),
        )
        return [(before[owner], now[owner]) for owner in owners if owner not in unseen]

    def of_features(self, features: Known, asked: np.ndarray, part: np.ndarray) -> Told:
        """What features tell, by ridge regression."""
        left, right = features.filled(self.known, asked)
        return regressed(left, self.ratings.values[self.known], right, part)

    def calibrated(self, found: Sequence[Told], asked: int) -> np.ndarray:
        """(M, K) probabilities by a logistic regression on what is told of the rows, without what tells nothing, see
        `tells`; the prior where nothing tells."""
        values, labels = self.ratings.values[self.known], self.ratings.labels[self.known]
        some = [one for one in found if tells(one[0], values)]
        if not some:
            return np.tile(self.prior, (asked, 1))
        left, right = (np.concatenate(both, axis=1) for both in zip(*some, strict=True))
        return logistic_regression_scores(left, labels, right, len(self.prior), balanced=False)

    def ceiling(self, effect: np.ndarray, test: np.ndarray) -> np.ndarray:
        """(N_test, K) from what is told of all rows (N, D), NaN where nothing is; a row's own rating is not in it."""
        scores = np.full((len(test), len(self.prior)), np.nan)
        known, there = self.known[np.isfinite(effect[self.known, 0])], np.isfinite(effect[test, 0])
        if len(known) and there.any():
            fit = replace(self, known=known)
            scores[there] = fit.calibrated([(effect[known], effect[test[there]])], int(there.sum()))
        return scores


def why_missing(row: str, there: int, asked: int) -> str:
    """Why a row has probabilities for only so many (there) of the tested trials (asked)."""
    why = {
        "participant_mean": "participants are held out",
        "picture_mean": "stimuli are held out",
        "additive": "participants and stimuli are held out",
        "other_people": "nobody else rated the picture",
        "retest": "the participant rated the picture only once",
    }.get(row, "it says nothing of them")
    return f"{why}, in {asked - there} of {asked} trials" if there else why
