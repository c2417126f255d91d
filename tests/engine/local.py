# SPDX-License-Identifier: Apache-2.0
"""A study's whole path in this process, without a cluster: what its tests are about is not where it runs."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch
from gazeray.engine.cross_validation import FoldWork, plan_folds
from gazeray.engine.pipeline import Cache, ExampleSource, ShardWriter, _open_cache
from gazeray.engine.variants import Variant

from gazeray.engine.queue import Unit
from gazeray.engine.units import UnitFolder
from gazeray.learn.folds import Fold
from gazeray.learn.space import settings_to_try, with_setting
from gazeray.storage import Folder
from gazeray.study import Plan


def read_here(study: Any, cfg: Any, store: Folder) -> tuple[Plan, Cache]:
    """Read every recording, one after the other."""
    plan = study.plan(cfg)
    writer = ShardWriter(study.reader(cfg, plan), store)
    for recording in plan.recordings:
        writer.write(recording)
    return plan, _open_cache(plan, store)


def folds_of(cfg: Any, plan: Plan, cache: Cache) -> list[Fold]:
    index = cache.index
    return plan_folds(cfg, plan, index.participants, index.stimuli, index.labels)


def variants_here(study: Any, cfg: Any, store: Folder) -> tuple[list[Variant], list[Fold]]:
    """The variants of a search over sections that change no picture, and the outer folds."""
    plan, cache = read_here(study, cfg, store)
    source = ExampleSource(cache, 1000, None)
    variants = [Variant(own, with_setting(cfg, own), plan, source) for own in settings_to_try(cfg)]
    return variants, folds_of(cfg, plan, cache)


def predictions_here(study: Any, cfg: Any, run: Folder) -> pa.Table:
    """Fit and test every fold; everybody's predictions."""
    variants, folds = variants_here(study, cfg, run.sub("examples"))
    work = FoldWork(study, variants, cfg.run.seed, run)
    opened: dict[int, Any] = {}
    parts = []
    for fold in folds:
        unit = Unit(f"fold-{fold.fold}", {"fold": fold.__dict__, "chosen": None}, "0" * 64)
        folder = UnitFolder(run, unit)
        folder.finish(work.run(opened, unit, folder, torch.device("cpu")))
        parts.append(folder.folder.read_table("predictions.parquet"))
    return pa.concat_tables(parts)
