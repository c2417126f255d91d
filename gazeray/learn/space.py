# SPDX-License-Identifier: Apache-2.0
"""The settings that a search tries: drawn once, before anything is fitted, the same for every outer fold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from gazeray.config import ConfigError, JobConfig, validate
from gazeray.learn.folds import derive_seed

FIXED = ("data", "folds", "search", "scores", "explain", "resources", "run", "storage")
"""Sections that are not hyper-parameters."""

C = TypeVar("C", bound=BaseModel)

Setting = dict[str, Any]
"""Dotted key -> value."""


class SearchError(RuntimeError):
    """The search cannot go on: nothing of a fold is left to choose from, or its workers die. What is done is kept."""


def settings_to_try(cfg: JobConfig) -> list[Setting]:
    """The settings of `cfg.search`: the whole grid when the space is lists and no larger than `search.settings`, else
    that many draws from it, seeded by run.seed. An empty space gives one empty setting (only the epochs are chosen).

    Raises ConfigError with every mistake in the space, each with its path.
    """
    if cfg.search is None:
        return [{}]
    errors: list[str] = []
    space = dict(_leaves(cfg.search.space, "", errors))
    for key, choice in space.items():
        errors += _faults(cfg, key, choice)
    if errors:
        raise ConfigError([f"search.space.{line}" for line in errors])
    lists = [choice for choice in space.values() if isinstance(choice, list)]
    if len(lists) == len(space) and np.prod([len(choice) for choice in lists]) <= cfg.search.settings:
        found = [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]
    else:
        rng = np.random.default_rng(derive_seed(cfg.run.seed, "search"))
        found = [{key: _draw(choice, rng) for key, choice in space.items()} for _ in range(cfg.search.settings)]
        found = [setting for number, setting in enumerate(found) if setting not in found[:number]]
    for setting in found:
        with_setting(cfg, setting)
    return found


def with_setting(cfg: C, setting: Setting) -> C:
    """The config with some values replaced. Raises ConfigError when they do not fit together."""
    values = cfg.model_dump(mode="json")
    for key, value in setting.items():
        *path, last = key.split(".")
        node = values
        for part in path:
            node = node[part]
        node[last] = value
    return validate(type(cfg), values, "search.space")


def _leaves(space: Mapping[str, Any], prefix: str, errors: list[str]) -> Iterator[tuple[str, Any]]:
    """(dotted key, list or range) of a space laid out as the config."""
    for name, value in space.items():
        key = f"{prefix}{name}"
        if "." in str(name):
            errors.append(f"{key}: lay the space out as the config, {str(name).replace('.', ': {')}: ...{'}'}")
        elif isinstance(value, Mapping) and not {"low", "high"} <= value.keys():
            yield from _leaves(value, f"{key}.", errors)
        else:
            yield key, value


def _faults(cfg: JobConfig, key: str, choice: Any) -> list[str]:
    """What is wrong with one entry of the space."""
    if key.partition(".")[0] in FIXED:
        return [f"{key}: not a hyper-parameter (not allowed: {', '.join(FIXED)})"]
    if key in ("train.epochs", "train.patience"):
        return [f"{key}: leave it out; the epochs are chosen from the inner learning curves, up to train.epochs"]
    if not _exists(cfg, key):
        return [f"{key}: unknown key"]
    if isinstance(choice, list):
        return [] if choice else [f"{key}: an empty list"]
    if not isinstance(choice, Mapping):
        return [f"{key}: must be a list of values, or low, high and log (got {choice!r})"]
    unknown = sorted(set(choice) - {"low", "high", "log"})
    numbers = [choice["low"], choice["high"]]
    if unknown:
        return [f"{key}: unknown key {', '.join(unknown)} (allowed: high, log, low)"]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return [f"{key}: low and high must be numbers"]
    if not numbers[0] < numbers[1] or (choice.get("log") and numbers[0] <= 0):
        return [f"{key}: low must be below high, and above 0 with log (got {numbers[0]} and {numbers[1]})"]
    return []


def _exists(cfg: JobConfig, key: str) -> bool:
    """Is there such a setting, and is it a value rather than a section?"""
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, BaseModel) or part not in type(node).model_fields:
            return False
        node = getattr(node, part)
    return not isinstance(node, BaseModel)


def _draw(choice: Any, rng: np.random.Generator) -> Any:
    """One value: of a list, or from a range (whole numbers when both ends are)."""
    if isinstance(choice, list):
        return choice[int(rng.integers(len(choice)))]
    low, high = choice["low"], choice["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    if choice.get("log"):
        value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return round(value) if whole else value
    return int(rng.integers(low, high + 1)) if whole else float(rng.uniform(low, high))
