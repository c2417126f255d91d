# SPDX-License-Identifier: Apache-2.0
"""What stands beside the models of every study that tells classes apart, as a predictor of the one flow.

A unit per fold, `baselines-K`, fits and tests the majority class, a logistic regression on simple gaze features and the
rows that never see gaze; its table is joined with that of a model's unit. A study needs one line for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.gaze.declaration import NUISANCE_COLUMN, WORDS
from gazeray.learn.trained import PerFold
from gazeray.metrics.statistics import majority_scores
from gazeray.store import Store
from gazeray.studies.shared.classification import (
    BASELINES,
    PREDICTIONS,
    WITHOUT_GAZE,
    logistic_regression_scores,
    with_regimes,
    with_scores,
)
from gazeray.studies.shared.without_gaze import ORDER, Circumstances, further_columns, gazeless_scores
from gazeray.study import Fold, Ready, Row
from gazeray.tables import table_digest
from gazeray.unit import Json, UnitFolder

KEY = "baselines"
"""What its units are called by, unless a study says otherwise."""

KEYS = ("fold", KEY)
"""Whose units a fold is made of: `gazeray.learn.trained.Trained` and what stands beside it."""

FORMAT = 2
"""Raised when a row is fitted differently: units of before are then done again."""

JOINED_ON = ("fold", "participant", "trial", "regime")


def baselines(
    ready: Ready[Any, Any], store: Store, classes: Sequence[str], label: str = "label_index",
    features: str = "features", key: str = KEY,
) -> PerFold:  # fmt: skip
    """The predictor of the rows beside the models, under the folds of the items; of several targets each has its own.

    store: a row per item, with a table as `with_nuisance` makes it (words and declared columns behind it); after a
    search a fold has the store of its chosen setting. label: the table's column of class indices. features: the store's
    column of simple gaze features (F,). key: its units are `<key>-K`.
    """
    rows, further = _rows(store.table), store.table.select([ORDER, *further_columns(store.table)])
    hashed = [FORMAT, label, features, list(rows), table_digest(further)]
    return beside_models(ready, store, rows, partial(_test, tuple(classes), label, features), hashed, key)


def beside_models(
    ready: Ready[Any, Any], store: Store, rows: Mapping[str, Row], test: Callable[[Store, Fold, UnitFolder], Json],
    hashed: Sequence[Any], key: str = KEY,
) -> PerFold:  # fmt: skip
    """A predictor that fits and tests in one call per fold, under the folds of the items: `test(store, fold, out)`.

    store: a row per item; after a search a fold has the store of its chosen setting, and nobody to validate on. hashed:
    what results depend on beside config, items and folds.
    """
    folds, stores = ready.items.folds, [store] * len(ready.items.folds)
    if ready.searched is not None:
        tried = [ready.searched.tried[chosen.setting] for chosen in ready.searched.chosen]
        folds, stores = [fold.refitted for fold in folds], [one.store for one in tried]
        hashed = [*hashed, *([one.content, one.setting] for one in tried)]
    by_fold = {fold.fold: own for fold, own in zip(folds, stores, strict=True)}
    return PerFold(key, rows, folds, partial(_with_store, test, by_fold), hashed=list(hashed))


def _with_store(
    test: Callable[[Store, Fold, UnitFolder], Json], stores: Mapping[int, Store], fold: Fold, out: UnitFolder
) -> Json:
    return test(stores[fold.fold], fold, out)


def nuisance_label(table: pa.Table) -> str:
    """What the row of the circumstances is called: they, without an order that is not known of any example (N rows),
    and the columns that a declaration adds to them."""
    own, ordered = WITHOUT_GAZE["nuisance"].label, table.column(ORDER).null_count < table.num_rows
    declared = [name.removeprefix(NUISANCE_COLUMN) for name in further_columns(table) if name != WORDS]
    return ", ".join([own if ordered else own.removeprefix("order, "), *declared])


def _rows(table: pa.Table) -> dict[str, Row]:
    further = further_columns(table)
    rows = {name: row for name, row in BASELINES.items() if name != "reading_speed" or WORDS in further}
    return {**rows, "nuisance": replace(rows["nuisance"], label=nuisance_label(table))}


def _test(classes: tuple[str, ...], label: str, features: str, store: Store, fold: Fold, out: UnitFolder) -> Json:
    """Fit everything to everybody who is not tested, and write what it says of the tested rows."""
    test, known = np.sort(fold.test), np.concatenate([fold.train, fold.validation.rows])
    labels = store.plain(label)
    seen, asked = (np.asarray(store.take(rows, [features])[features]) for rows in (known, test))
    here = Circumstances.of(store.table, labels)
    scores = {
        "majority": majority_scores(labels[known], len(test), classes),
        "logistic_regression": logistic_regression_scores(seen, labels[known], asked, len(classes)),
        **gazeless_scores(here, known, fold.tests, test, len(classes)),
    }
    ids = with_regimes(store.table.select(["participant", "trial"]).take(test), fold, test)
    out.folder.write_table(PREDICTIONS, with_scores(ids, scores))
    return {"n": {"known": len(known), "test": len(test)}}


def whole_folds(done: Mapping[str, UnitFolder], folds: Iterable[int], keys: Sequence[str] = KEYS) -> list[int]:
    """The folds of which the units `<key>-K` of all keys are done: the others are not scored."""
    return [fold for fold in folds if all(f"{key}-{fold}" in done for key in keys)]


def joined_folds(done: Mapping[str, UnitFolder], folds: Sequence[int], keys: Sequence[str] = KEYS) -> pa.Table:
    """What the units `<key>-K` of these folds predict, side by side: the first key's table with the others' scores.

    Sorted by fold, participant and trial. Raises LookupError for a row of the first that another does not have.
    """
    parts = [reduce(joined, [done[f"{key}-{fold}"].folder.read_table(PREDICTIONS) for key in keys]) for fold in folds]
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in JOINED_ON[:3]])


def joined(predictions: pa.Table, beside: pa.Table) -> pa.Table:
    """Predictions with another predictor's scores behind their own, row by row of the same fold, participant, trial and
    regime. Raises LookupError for a row that the other does not have."""
    places = {key: place for place, key in enumerate(_keys(beside))}
    theirs = beside.take([places[key] for key in _keys(predictions)])
    at = 1 + max(predictions.column_names.index(name) for name in _scored(predictions))
    for place, name in enumerate(_scored(theirs)):
        predictions = predictions.add_column(at + place, name, theirs.column(name))
    return predictions


def _scored(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if pa.types.is_list(field.type)]


def _keys(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in JOINED_ON), strict=True)
