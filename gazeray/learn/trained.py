# SPDX-License-Identifier: Apache-2.0
"""A learner as a predictor: one unit per fold, fitted on its training rows and tested on those it never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from gazeray.learn.fit import Fit, Task
from gazeray.learn.folds import derive_seed
from gazeray.study import Chosen, Fold, Learner, Learning, Ready, Row, Tried
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker


@dataclass(frozen=True)
class Trained:
    """Fits a model per fold. With `chosen` (one per fold, of a search) there are no validation rows: everybody who is
    not tested is trained on, for the chosen number of epochs. Units are named `<key>-K`; seeds come from the run's seed
    and that name, so that a study may train several models.
    """

    rows: Mapping[str, Row]
    tried: Sequence[Tried]
    folds: Sequence[Fold]
    seed: int
    chosen: Sequence[Chosen] | None = None
    key: str = "fold"
    round: int = 0

    @classmethod
    def of(cls, rows: Mapping[str, Row], learning: Learning, ready: Ready[Any, Any], seed: int) -> Trained:
        """What a study learns, in the settings that a search has chosen where there was one."""
        if ready.searched is not None:
            return cls(rows, ready.searched.tried, ready.items.folds, seed, ready.searched.chosen)
        one = Tried({}, learning.learner, learning.store, ready.items.content)
        return cls(rows, [one], ready.items.folds, seed)

    def units(self) -> list[UnitSpec]:
        """A unit for each fold."""
        specs = []
        for place, spec in enumerate(fold_units(self.key, self.folds)):
            own = self.chosen[place] if self.chosen is not None else None
            pick = {"setting": own.setting, "epochs": own.epochs} if own else None
            one = self.tried[own.setting if own else 0]
            hashed = [one.content, one.setting, spec.hashed]
            specs.append(replace(spec, spec={**spec.spec, "chosen": pick}, hashed=hashed))
        return specs

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Fit, test, and keep the weights."""
        fold, chosen = self.folds[unit.spec["fold"]], unit.spec["chosen"]
        one = self.tried[chosen["setting"] if chosen else 0]
        learner = one.learner
        if chosen:
            fold = fold.refitted
            learner = learner.with_train(learner.train.model_copy(update={"epochs": chosen["epochs"]}))
        validation = fold.validation.rows
        task = Task(learner, one.store, fold.train, validation, derive_seed(self.seed, unit.name))
        fit = Fit(task, worker.device, out)
        model = fit.run()
        out.write_history(fit.progress.history)
        found = fit.learner.tested(model, fold, one.store, worker.device, out)
        write_weights(model, fit.learner, out)
        return {
            "best_epoch": fit.progress.best_epoch,
            "epochs": fit.progress.epoch,
            f"validation_{learner.train.stop_on}": fit.progress.best,
            "n": {"train": len(fold.train), "validation": len(validation), "test": len(fold.test)},
            **found,
        }


def fold_units(prefix: str, folds: Sequence[Fold]) -> list[UnitSpec]:
    """A unit `<prefix>-K` for each fold, that says the fold's place and is done again where its sides change."""
    specs = []
    for place, fold in enumerate(folds):
        sides = [fold.train.tolist(), *([side.name, side.rows.tolist()] for side in (fold.validation, *fold.tests))]
        specs.append(UnitSpec(f"{prefix}-{fold.fold}", {"fold": place}, hashed=sides))
    return specs


@dataclass(frozen=True)
class PerFold:
    """A predictor that is a call per fold, which fills one row or several: `do(fold, out)` writes what it found into
    the folder of the unit `<key>-K`, and returns what goes into its result.json. It travels to the workers: a function,
    or a partial. hashed: what its results depend on beside config, items and folds.
    """

    key: str
    rows: Mapping[str, Row]
    folds: Sequence[Fold]
    do: Callable[[Fold, UnitFolder], Json]
    round: int = 0
    hashed: Any = None

    def units(self) -> list[UnitSpec]:
        """A unit for each fold."""
        return [replace(spec, hashed=[self.hashed, spec.hashed]) for spec in fold_units(self.key, self.folds)]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Do a fold."""
        return self.do(self.folds[unit.spec["fold"]], out)


def write_weights(model: torch.nn.Module, learner: Learner, out: UnitFolder) -> None:
    """checkpoint/model.safetensors: the weights, and what the learner found in the training rows as learner.<name>."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    own = {f"learner.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in learner.fitted().items()}
    out.folder.write_bytes("checkpoint/model.safetensors", save({**tensors, **own}))


def search_record(searched: Sequence[Json], folds: Mapping[int, Json], headline: str, about: Json) -> Json:
    """What was tried and chosen in each outer fold, for metrics.json; the inner score beside the outer one shows the
    optimism. searched: that of the manifest. folds: place of a fold -> its number and the metrics of its unit. about:
    settings of the search.
    """
    entries = [
        {
            "fold": fold["fold"],
            "chosen": {**searched[place]["values"], "train.epochs": searched[place]["epochs"]},
            "inner_score": searched[place]["inner_score"],
            "outer_score": fold["metrics"].get(headline),
            "trials": searched[place]["trials"],
        }
        for place, fold in folds.items()
    ]
    return {"metric": headline, **about, "folds": entries}
