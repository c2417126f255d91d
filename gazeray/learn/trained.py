# SPDX-License-Identifier: Apache-2.0
"""A learner as a predictor: one unit per fold, fitted on its training rows and tested on those it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save

from gazeray.learn.fit import Fit, Task
from gazeray.learn.folds import derive_seed
from gazeray.study import Chosen, Fold, Learner, Row, Side, Variant
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker


@dataclass(frozen=True)
class Trained:
    """Fits a model per fold. With `chosen` (one per fold, of a search) there are no validation rows: everybody who is
    not tested is trained on, for the chosen number of epochs.

    prefix: of the units' names, `<prefix>-K`. seeds come from the run's seed and that name.
    """

    rows: Mapping[str, Row]
    variants: Sequence[Variant]
    folds: Sequence[Fold]
    seed: int
    chosen: Sequence[Chosen] | None = None
    prefix: str = "fold"
    round: int = 0

    def units(self) -> list[UnitSpec]:
        """A unit for each fold."""
        specs = []
        for place, fold in enumerate(self.folds):
            pick = None
            if self.chosen is not None:
                pick = {"setting": self.chosen[place].setting, "epochs": self.chosen[place].epochs}
            variant = self.variants[pick["setting"] if pick else 0]
            sides = [fold.train.tolist(), *([side.name, side.rows.tolist()] for side in (fold.validation, *fold.tests))]
            hashed = [variant.content, variant.setting, sides]
            specs.append(UnitSpec(f"{self.prefix}-{fold.fold}", {"fold": place, "chosen": pick}, hashed=hashed))
        return specs

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Fit, test, and keep the weights."""
        fold, chosen = self.folds[unit.spec["fold"]], unit.spec["chosen"]
        variant = self.variants[chosen["setting"] if chosen else 0]
        learner = variant.learner
        if chosen:
            fold = Fold(fold.fold, fold.known, Side("validation", np.empty(0, np.int64)), fold.tests)
            learner = with_epochs(learner, chosen["epochs"])
        validation = fold.validation.rows
        fit = Fit(Task(learner, variant.store, fold.train, validation, derive_seed(self.seed, unit.name)),
                  worker.device, out)  # fmt: skip
        model = fit.run()
        out.write_history(fit.progress.history)
        found = fit.learner.tested(model, fold, variant.store, worker.device, out)
        write_weights(model, fit.learner, out)
        stop = learner.train.stop_on
        return {
            "best_epoch": fit.progress.best_epoch,
            "epochs": fit.progress.epoch,
            f"validation_{stop}": fit.progress.best,
            "n": {"train": len(fold.train), "validation": len(validation), "test": len(fold.test)},
            **found,
        }


def with_epochs(learner: Learner, epochs: int) -> Learner:
    """The learner, to be fitted for so many epochs."""
    return learner.with_train(learner.train.model_copy(update={"epochs": epochs}))


def write_weights(model: torch.nn.Module, learner: Learner, out: UnitFolder) -> None:
    """checkpoint/model.safetensors: the weights, and what the learner found in the training rows as learner.<name>."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    own = {f"learner.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in learner.fitted().items()}
    out.folder.write_bytes("checkpoint/model.safetensors", save({**tensors, **own}))


def search_record(chosen: Sequence[Chosen], folds: Mapping[int, Json], headline: str, about: Json) -> Json:
    """What was tried and chosen in each outer fold, for metrics.json; the inner score beside the outer one shows the
    optimism. folds: place of a fold -> its number and the metrics of its unit. about: settings of the search.
    """
    entries = []
    for place, fold in folds.items():
        pick = chosen[place]
        entries.append(
            {
                "fold": fold["fold"],
                "chosen": {**pick.values, "train.epochs": pick.epochs},
                "inner_score": pick.inner_score,
                "outer_score": fold["metrics"].get(headline),
                "trials": pick.trials,
            }
        )
    return {"metric": headline, **about, "folds": entries}
