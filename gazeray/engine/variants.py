# SPDX-License-Identifier: Apache-2.0
"""The study under each setting of a search, with the examples as that setting draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gazeray.config import digest
from gazeray.engine.pipeline import Cache, ExampleSource, cache_examples, share_examples
from gazeray.engine.progress import ProgressView
from gazeray.learn.space import Setting, settings_to_try, with_setting
from gazeray.storage import Folder
from gazeray.study import Plan, Study
from gazeray.tables import DataError

FITTING = ("model", "train")
"""Sections that change nothing about the examples."""


@dataclass(frozen=True)
class Variant:
    """One setting: its values, the config and plan with them, and the examples."""

    setting: Setting
    cfg: Any
    plan: Plan
    source: ExampleSource


def variants_of(study: Study, cfg: Any, plan: Plan, cache: Cache, store: Folder, view: ProgressView) -> list[Variant]:
    """A variant for every setting of the search; without a search one, for the config itself.

    Settings that draw the recordings in the same way share their examples. Raises DataError when a setting leaves other
    trials than the config does: settings can be compared on the same trials only.
    """
    drawn: dict[str, tuple[Plan, ExampleSource]] = {}
    left_gb = cfg.data.cache_gb
    variants = []
    for setting in settings_to_try(cfg):
        own = with_setting(cfg, setting)
        look = digest({key: value for key, value in setting.items() if key.partition(".")[0] not in FITTING})
        if look not in drawn:
            theirs = study.plan(own) if setting else plan
            same = theirs.fingerprint == plan.fingerprint
            its = cache if same else cache_examples(study.reader(own, theirs), theirs, store, view)
            if _ids(its) != _ids(cache):
                counts = f"{len(its.index)} usable trials, not the {len(cache.index)} of the config"
                raise DataError([f"search.space: {setting} leaves {counts}; settings are compared on the same trials"])
            source = share_examples(its, left_gb, cfg.data.window_examples, view)
            if source.reference is not None:
                left_gb -= its.bytes_total / 1e9
            drawn[look] = theirs, source
        variants.append(Variant(setting, own, *drawn[look]))
    return variants


def _ids(cache: Cache) -> list[tuple[str, str]]:
    table = cache.index.table
    return list(zip(table.column("participant").to_pylist(), table.column("trial").to_pylist(), strict=True))
