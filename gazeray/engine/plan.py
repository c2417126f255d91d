# SPDX-License-Identifier: Apache-2.0
"""What a run would do, in words: --dry-run. It needs neither Ray nor PyTorch, unless the study's own plan does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gazeray.config import JobConfig
from gazeray.engine.tracking import check_tracking
from gazeray.learn.space import settings_to_try, variant_of, variant_settings
from gazeray.storage import Folder


def plan_lines(cfg: Any, plan: Callable[[Any], Sequence[str]]) -> list[str]:
    """The lines of a plan. cfg: of any study. plan: config -> what the study says of its data and units.

    Raises DataError, ConfigError.
    """
    check_settings(cfg)
    workers = {None: "as many as fit", 0: "one, in this process"}.get(cfg.resources.workers, cfg.resources.workers)
    resources = f"resources: {cfg.resources.per_unit.cpu} CPU per unit; units at the same time: {workers}"
    return [*plan(cfg), *_variants(cfg), resources]


def _variants(cfg: Any) -> list[str]:
    """How many settings a robustness grid adds, and how many folds these have."""
    settings = variant_settings(cfg)
    if len(settings) == 1:
        return []
    units = "each with units as above"
    if isinstance(cfg, JobConfig):
        counts = [variant_of(cfg, setting).folds.count for setting in settings]
        known = [count for count in counts if count is not None]
        units = f"{sum(known)} folds together" if len(known) == len(counts) else units
    return [f"variants: {len(settings)} settings, the config's own among them; {units}"]


def check_settings(cfg: Any) -> None:
    """Before anything is looked at: the tracker can write, settings to try or to vary fit. Raises ConfigError."""
    check_tracking(cfg.tracking, Folder(cfg.run.dir, cfg.storage))
    if isinstance(cfg, JobConfig):
        settings_to_try(cfg)
    variant_settings(cfg)
