# SPDX-License-Identifier: Apache-2.0
"""The settings that a search tries, the same for every outer fold, and those of a robustness grid: found once, before
anything is fitted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel

from gazeray.config import RESULT_FREE, ConfigError, JobConfig, validate
from gazeray.config.reading import unknown_key
from gazeray.learn.folds import derive_seed

FIXED = ("data", "folds", "search", "scores", "explain", "resources", "run", "storage", "tracking", "variants")
"""Sections that are not hyper-parameters."""

NOT_VARIED = ("data", "search", "scores", "explain", "show", "resources", "run", "storage", "tracking", "variants")
"""Sections that are no setting of an analysis: where its data lie, how it is run, what is shown. Seeds are asked for by
their number."""

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
    faults = cfg.faults_of_search([with_setting(cfg, setting) for setting in found])
    if faults:
        raise ConfigError([f"search.space.{line}" for line in faults])
    return found


def variant_settings(cfg: Any) -> list[Setting]:
    """What differs from the config in each setting of its robustness grid, by every seed; the first is {}, the config
    as it is, which is there whether the grid has its values or not. cfg: of any study.

    Raises ConfigError with every mistake in the grid, each with its path, or when there are more settings than allowed.
    """
    own, errors = cfg.variants, list[str]()
    grid = dict(_leaves(own.grid, "", errors))
    for key, choice in grid.items():
        errors += _varied_faults(cfg, key, choice)
    if errors:
        raise ConfigError([f"variants.grid.{line}" for line in errors])
    there = all(_value(cfg, key) in choice for key, choice in grid.items())  # is the config a point of its grid?
    count = (math.prod(len(choice) for choice in grid.values()) + (not there)) * own.seeds
    if count > own.settings:
        told = f"the grid and the seeds make {count} settings, and variants.settings allows {own.settings}"
        raise ConfigError([f"variants: {told}; ask for fewer, or raise it"])
    found: list[Setting] = []
    for values in [{}, *(dict(zip(grid, each, strict=True)) for each in itertools.product(*grid.values()))]:
        for step in range(own.seeds):
            setting = {**values, "run.seed": _value(cfg, "run.seed") + step}
            try:
                other = variant_of(cfg, setting)
            except ConfigError as error:
                errors += error.errors
                continue
            differs = {key: _value(other, key) for key in setting if _value(other, key) != _value(cfg, key)}
            if differs not in found:
                found.append(differs)
    if errors:
        raise ConfigError(list(dict.fromkeys(errors)))
    return found


def variant_of(cfg: Any, setting: Setting) -> Any:
    """The config of one setting of a robustness grid, which has no grid itself. Raises ConfigError."""
    return with_setting(cfg, {**setting, "variants": {}}, "variants.grid")


def with_setting(cfg: C, setting: Setting, source: str = "search.space") -> C:
    """The config with some values replaced. Raises ConfigError, which names `source`, when they do not fit together."""
    values = cfg.model_dump(mode="json")
    for key, value in setting.items():
        *path, last = key.split(".")
        node = values
        for part in path:
            node = node[part]
        node[last] = value
    return validate(type(cfg), values, source)


def _value(cfg: BaseModel, key: str) -> Any:
    """The value of a dotted key, as JSON has it."""
    node: Any = cfg.model_dump(mode="json")
    for part in key.split("."):
        node = node[part]
    return node


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
    if told := _unknown(cfg, key, FIXED):
        return [told]
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


def _varied_faults(cfg: BaseModel, key: str, choice: Any) -> list[str]:
    """What is wrong with one entry of a robustness grid."""
    if key.partition(".")[0] in NOT_VARIED:
        allowed = [name for name in type(cfg).model_fields if name not in NOT_VARIED]
        seeds = "; variants.seeds asks for several seeds" if key == "run.seed" else ""
        return [f"{key}: no setting of the analysis (allowed: {', '.join(allowed)}){seeds}"]
    if told := _unknown(cfg, key, NOT_VARIED):
        return [told]
    if _changes_no_result(key):
        return [f"{key}: changes no result, and is no setting of the analysis"]
    if not isinstance(choice, list):
        return [f"{key}: must be a list of values (got {choice!r})"]
    return [] if choice else [f"{key}: an empty list"]


def _unknown(cfg: BaseModel, key: str, fixed: Sequence[str]) -> str:
    """What is wrong with a key that names no value of the config; "" where it does. fixed: sections that may not be
    named."""
    node: Any = cfg
    place = ""
    for part in key.split("."):
        if not isinstance(node, BaseModel):
            return f"{key}: unknown key: {place} is a value, and is given a list of values"
        there, place = type(node).model_fields, f"{place}.{part}".lstrip(".")
        if part not in there:
            return unknown_key(place, (name for name in there if node is not cfg or name not in fixed))
        node = getattr(node, part)
    if isinstance(node, BaseModel):
        return f"{key}: a section: name the keys in it (allowed: {', '.join(type(node).model_fields)})"
    return ""


def _changes_no_result(key: str) -> bool:
    """Is a setting left out of the hash of the config?"""
    node: Any = RESULT_FREE
    for part in key.split("."):
        if part not in node:
            return False
        node = node[part] if isinstance(node, Mapping) else True
        if node is True:
            return True
    return False


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
