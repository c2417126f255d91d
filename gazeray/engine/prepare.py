# SPDX-License-Identifier: Apache-2.0
"""The data of a study made ready: its passes, its items, its folds. Variants of a study share the stores that are the
same."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from gazeray.engine.executor import Executor
from gazeray.engine.passes import raise_fault
from gazeray.learn.folds import guard
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.store.passes import healed
from gazeray.study import Pass, Ready, Source, Study
from gazeray.tables import DataError
from gazeray.unit import Json

D = TypeVar("D")
S = TypeVar("S")

Filled = dict[tuple[str, ...], Store]
"""Stores of this run by where they lie, and what they hold."""


def prepare(
    study: Study[D, S], source: Source[D], store: Folder, workers: Executor, filled: Filled | None = None
) -> Ready[D, S]:
    """Do the passes of a study, deal its folds and check them. Raises DataError, StorageError.

    filled: what passes of this run have filled so far, which is not gone through again; those of this study are added.
    """
    filled = {} if filled is None else filled
    cached = not filled  # the caches of many variants would fill the memory
    passes = study.passes(source, store)
    try:
        work = next(passes)
        while True:
            key = (work.folder.uri, *work.keys, *work.memory)
            if key not in filled:
                filled[key] = go_through(work, workers, cached)
            known = filled[key]
            work = passes.send(known.select(np.arange(len(known))))  # a study may change what it is given
    except StopIteration as end:
        stores: S = end.value
    items = study.items(source, stores)
    try:
        guard(items.folds, items.table)
    except ValueError as error:
        raise DataError([str(error)]) from error
    return Ready(source, stores, items)


def go_through(work: Pass, workers: Executor, cached: bool = True) -> Store:
    """One pass; the store that is there afterwards. cached: what of it is streamed may be kept for a while."""
    if work.damaged:
        workers.view.line(work.said_of(work.damaged))
    with workers.view.stage(work.name, len(work.pieces)) as progress:

        def hear(key: str, kind: str, told: Json) -> None:
            raise_fault(key, kind, told)
            if kind == "done":
                progress.step()

        def do(some: Pass) -> None:
            if some.pieces:
                workers.pieces(some, hear)

        do(work)
        store = healed(work, lambda: Store.open(work.folder, work.keys), do, workers.view.line)
        kept = len(work.keys) - len({piece["key"] for piece in work.pieces})
        progress.summary(f"{len(store)} examples, {len(store.rejects)} rejected, {kept} of {len(work.keys)} packs kept")
    workers.hold(store, work, cached)
    return store
