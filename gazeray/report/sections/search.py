# SPDX-License-Identifier: Apache-2.0
"""The section on the search: what was chosen in every outer fold, and how much the inner scores promised too much.

In nested cross-validation the outer score belongs to the procedure "search, then fit"; the inner score of the chosen
setting is the best of many and leans towards optimism (Cawley and Talbot, JMLR 11, 2010).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gazeray.report.results import Results
from gazeray.report.words import metric_name, number

TRIALS = 300


@dataclass(frozen=True)
class FoldChoice:
    """One outer fold: the chosen setting in words, its scores, and by how much the inner one flatters."""

    fold: Any
    chosen: str
    inner: str
    outer: str
    optimism: str


@dataclass(frozen=True)
class Search:
    """What the section shows. metric: of the scores; chosen_by: what the settings were ranked by."""

    metric: str
    chosen_by: str
    space: list[tuple[str, str]]
    folds: list[FoldChoice]
    mean: FoldChoice | None
    trials: list[list[str]]
    more_trials: int


def read_search(results: Results) -> Search | None:
    """The search of metrics.json; None when the run did not search."""
    search = results.metrics.get("search") or {}
    folds = sorted(search.get("folds") or [], key=lambda entry: int(entry["fold"]))
    if not folds:
        return None
    metric = str(search.get("metric", "balanced_accuracy"))
    chosen_by = str(search.get("chosen_by", metric))
    trials = [(entry, trial) for entry in folds for trial in _best_first(entry.get("trials") or [], chosen_by)]
    return Search(
        metric=metric_name(metric),
        chosen_by="loss (cross-entropy)" if chosen_by == "loss" else metric_name(chosen_by),
        space=[(name, value_words(values)) for name, values in _leaves(search.get("space") or {})],
        folds=[_fold(entry) for entry in folds],
        mean=_mean(folds),
        trials=[_trial(entry, trial) for entry, trial in trials[:TRIALS]],
        more_trials=max(0, len(trials) - TRIALS),
    )


def _fold(entry: Mapping[str, Any]) -> FoldChoice:
    inner, outer = entry.get("inner_score"), entry.get("outer_score")
    optimism = None if inner is None or outer is None else inner - outer
    chosen = setting_words(entry.get("chosen") or {})
    return FoldChoice(entry["fold"], chosen, number(inner), number(outer), number(optimism, signed=True))


def _mean(folds: list[Any]) -> FoldChoice | None:
    """The mean over the folds whose two scores are both known; None for fewer than two."""
    both = [(entry.get("inner_score"), entry.get("outer_score")) for entry in folds]
    known = [(inner, outer) for inner, outer in both if inner is not None and outer is not None]
    if len(known) < 2:
        return None
    inner, outer = (math.fsum(pair[side] for pair in known) / len(known) for side in (0, 1))
    return FoldChoice(
        "mean", f"of {len(known)} folds", number(inner), number(outer), number(inner - outer, signed=True)
    )


def _best_first(trials: list[Any], chosen_by: str) -> list[Any]:
    """The trials of a fold in the order of the search; those without a score last."""

    def rank(trial: Mapping[str, Any]) -> float:
        value = trial.get("loss") if chosen_by == "loss" else trial.get("score")
        return math.inf if value is None else float(value) if chosen_by == "loss" else -float(value)

    return sorted(trials, key=rank)


def _trial(entry: Mapping[str, Any], trial: Mapping[str, Any]) -> list[str]:
    """Fold, setting, score, loss, inner folds, epochs, status."""
    scores = [number(trial.get("score")), number(trial.get("loss"))]
    counts = ["" if trial.get(name) is None else str(trial[name]) for name in ("inner_folds", "epochs")]
    return [str(entry["fold"]), setting_words(trial.get("setting") or {}), *scores, *counts, str(trial.get("status"))]


def _leaves(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, list or range) of a space that is laid out as the config."""
    for name, value in space.items():
        if isinstance(value, Mapping) and not {"low", "high"} <= set(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def setting_words(setting: Mapping[str, Any]) -> str:
    """A setting as "key = value, key = value", by key."""
    return ", ".join(f"{name} = {value_words(setting[name])}" for name in sorted(setting))


def value_words(value: Any) -> str:
    """A value, a list of values, or a range, in words."""
    if isinstance(value, list | tuple):
        return ", ".join(value_words(item) for item in value)
    if isinstance(value, Mapping):
        scale = " (logarithmic)" if value.get("log") else ""
        return f"{value_words(value['low'])} to {value_words(value['high'])}{scale}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
