# SPDX-License-Identifier: Apache-2.0
"""What a study must say about itself so that the engine can run it: it is a set of predictors of the same items.

The engine knows clusters and nothing of gaze; a study knows gaze and nothing of clusters. They meet here. A study lists
what there is (`open`), says which passes over the data make stores of tensors of it (`passes`), which items are split
and scored (`items`), and what predicts them: models, baselines and ceilings (`predictors`). A predictor does its work
in units, small pieces that any worker can do; what they leave is put together by the study (`summary`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa

from gazeray.config import (
    FoldsConfig,
    ResourcesConfig,
    RunSettings,
    SearchConfig,
    StorageConfig,
    TrackingConfig,
    TrainConfig,
    VariantsConfig,
)
from gazeray.storage import Folder
from gazeray.store import Column, Store
from gazeray.store.passes import FillShards as FillShards
from gazeray.store.passes import Pass as Pass
from gazeray.tables import Reject
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

if TYPE_CHECKING:
    import torch

D = TypeVar("D")
S = TypeVar("S")


# -- what a study works on


class MemoryConfig(Protocol):
    """What the engine needs of the section `data`."""

    @property
    def cache_gb(self) -> float:
        """How much of the stores is held in shared memory."""


class StudyConfig(Protocol):
    """What the engine needs of the config of any study, a pydantic model."""

    @property
    def data(self) -> MemoryConfig:
        """What is read."""

    def model_dump(self, *, mode: str, exclude: Any = None) -> Json:
        """The settings as plain values."""

    @property
    def resources(self) -> ResourcesConfig:
        """How much of the cluster the job takes."""

    @property
    def run(self) -> RunSettings:
        """Where results go, and the seed."""

    @property
    def storage(self) -> StorageConfig:
        """How object stores are asked."""

    @property
    def tracking(self) -> TrackingConfig:
        """Who else hears of every epoch."""

    @property
    def variants(self) -> VariantsConfig:
        """In which other settings the study is run."""

    def only_scores(self) -> Self:
        """The same without what only people look at: that is how variants are run."""


def no_files(most_bytes: float) -> Sequence[str]:
    """Nothing to say of any file."""
    return ()


@dataclass(frozen=True)
class Source(Generic[D]):
    """What a study found before anything was decoded.

    data: its own. lines: what a run would do, for --dry-run. first: reads the first file of each kind, unless it has
    more than so many bytes, and says what it holds; a `tables.Fault` where it is of no use.
    """

    data: D
    lines: Sequence[str]
    first: Callable[[float], Sequence[str]] = no_files

    def planned(self) -> list[str]:
        """The lines of a dry run: what would be done, and what the first files hold. Raises OSError."""
        return [*self.lines, *self.first(math.inf)]


@dataclass(frozen=True)
class Side:
    """Rows (int64) of the items that are validated or tested, and the columns whose values were never trained on."""

    name: str
    rows: np.ndarray
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """Who is trained on, who stops the training, who is tested in one or more regimes (unseen reader, unseen text)."""

    fold: int
    train: np.ndarray
    validation: Side
    tests: tuple[Side, ...]

    @property
    def test(self) -> np.ndarray:
        """The rows of all test regimes, one after the other."""
        return np.concatenate([np.empty(0, np.int64), *(side.rows for side in self.tests)])

    @property
    def known(self) -> np.ndarray:
        """The rows that are not tested but trained or validated on, sorted."""
        return np.sort(np.concatenate([self.train, self.validation.rows]))

    @property
    def refitted(self) -> Fold:
        """The fold of a fit that nothing stops: everybody who is not tested is trained on, nobody validated."""
        return Fold(self.fold, self.known, Side("validation", np.empty(0, np.int64)), self.tests)


@dataclass(frozen=True)
class Items:
    """What is split and scored.

    table: one row per item: ids, groups and targets. ids: the columns that name an item. folds: see
    `gazeray.learn.folds`. content: SHA-256 of everything that units' results depend on beside the config. manifest:
    entries for manifest.json. rejects: of all steps. tables: further tables for the run folder, by name, made some rows
    at a time when they are written.
    """

    table: pa.Table
    ids: tuple[str, ...]
    folds: Sequence[Fold]
    content: str
    manifest: Json = field(default_factory=dict)
    rejects: Sequence[Reject] = ()
    tables: Mapping[str, Callable[[], Iterable[pa.Table]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)


@dataclass(frozen=True)
class Ready(Generic[D, S]):
    """A study whose data lie ready: what it found, its stores, its items; what a search chose, where one was made."""

    source: Source[D]
    stores: S
    items: Items
    searched: Searched | None = None


# -- predictors and their units


@dataclass(frozen=True)
class Row:
    """One row of the table of scores: what it is called, and what kind of predictor it is. A control is a model that is
    denied what it should need."""

    label: str
    kind: Literal["model", "control", "baseline", "ceiling"]


class Predictor(Protocol):
    """Something that predicts items; travels to the workers."""

    @property
    def rows(self) -> Mapping[str, Row]:
        """Key -> row of the table of scores that it fills; several where one unit fills several."""

    @property
    def round(self) -> int:
        """0, or 1 where its units read those of another predictor: a round begins when the one before is done."""

    def units(self) -> Sequence[UnitSpec]:
        """Its work in small pieces."""

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Do a unit and write its files; returns what goes into its result.json."""


@dataclass(frozen=True)
class Finished:
    """What the units left: the folders of those that are done, by name, and the names of those that failed.

    rows: those of all predictors, whether their units are done or not.
    """

    done: Mapping[str, UnitFolder]
    failed: Sequence[str]
    rows: Mapping[str, Row]


@dataclass(frozen=True)
class Headline:
    """The number that a study is remembered by, and what it is held against; what variants are compared in.

    metric, row: where it stands in metrics.json. entry: value, ci95, n, and why where there is no value. chance: of a
    blind guesser, None where there is none. against: what may be claimed of it beside chance. gain: over what can be
    had without gaze, or without a model: over (its row), value, ci95, p, and the claim, `side`; None where it is
    undefined. beside: what the gain is over, in words. See `gazeray.metrics.permutation.Claim` for the claims; `above`
    is better.
    """

    metric: str
    row: str
    entry: Json
    chance: float | None
    against: str
    gain: Json | None
    beside: str


@dataclass(frozen=True)
class Summary:
    """What the units add up to: metrics.json, tables and further files for the run folder, by name.

    metrics: at least `rows`, {key of a row: {metric: entry}}, and `metrics_shown`; the run adds the study's name, the
    failed units, and of each row its label and kind where the study says no more of them (`predictors`). What lies in
    maps/ and is neither among the files nor written by a unit is deleted. headline: None where a study has none, so
    that its variants cannot be compared.
    """

    metrics: Json
    tables: Mapping[str, pa.Table]
    files: Mapping[str, bytes] = field(default_factory=dict)
    headline: Headline | None = None


class Study(Protocol[D, S]):
    """One kind of experiment: a frozen dataclass that holds its config; another setting is another study."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def cfg(self) -> StudyConfig:
        """Its settings."""

    def open(self) -> Source[D]:
        """List and check what there is; decode nothing. Raises DataError, ConfigError."""

    def passes(self, source: Source[D], store: Folder) -> Generator[Pass, Store, S]:
        """The passes over the data, one after the other; each is answered by the store that it filled.

        store: the folder below which all stores lie. Raises DataError when nothing usable is left.
        """

    def items(self, source: Source[D], stores: S) -> Items:
        """What is split and scored. Raises DataError when people, stimuli or classes do not suffice."""

    def learning(self, ready: Ready[D, S]) -> Learning | None:
        """What of it is learned by fits that a search can steer; None where nothing is."""

    def predictors(self, ready: Ready[D, S]) -> Sequence[Predictor]:
        """Everything that predicts the items."""

    def summary(self, manifest: Json, finished: Finished, ready: Ready[D, S] | None) -> Summary | None:
        """Put the finished units together; there is at least one. None where those that are done score nothing.

        metrics.json and the tables follow from the manifest (the entries of `items`, and `searched` of a search) and
        the units alone: a run folder is validated by computing them again, with ready None. Files and maps may need it.
        """

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> Iterable[str]:
        """What else is wrong with a run folder, one line each: its folds, who was tested by which of them."""


# -- learning


class Learner(ABC):
    """All that the training loop and the search know of a model; a frozen dataclass, which travels to the workers.

    columns, targets: what it is fed with and what it learns, by the names of the store's columns. watched: metrics of
    validation rows, name -> is more better? Any of them may stop a fit early or steer a search. headline: the one that
    tables show. What is here is what most write alike: nothing is fitted to the training rows beside the weights.
    """

    train: TrainConfig
    columns: Sequence[str]
    targets: Sequence[str]
    watched: Mapping[str, bool] = MappingProxyType({"loss": False})
    headline: str = "loss"

    def with_train(self, train: TrainConfig) -> Self:
        """The same, fitted in another way."""
        return replace(self, train=train)  # type: ignore[type-var]

    def prepare(self, rows: np.ndarray, store: Store) -> Self:
        """Fit scalers, class weights, sampling to the training rows, and to them alone."""
        return self

    def drawn(self, rows: np.ndarray, store: Store, seed: int) -> np.ndarray:
        """Which of its training rows an epoch visits, and how often; seed: of the fit and the epoch."""
        return rows

    def fitted(self) -> Mapping[str, np.ndarray]:
        """What `prepare` found, to be saved with the weights."""
        return {}

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """A fresh model; its random state is the caller's."""

    def optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """AdamW or plain SGD over all parameters, as the config says."""
        import torch  # here, since it takes seconds, and a dry run reads this module but fits nothing

        train, parameters = self.train, model.parameters()
        if train.optimizer == "sgd":
            return torch.optim.SGD(parameters, train.learning_rate, train.momentum, weight_decay=train.weight_decay)
        return torch.optim.AdamW(parameters, train.learning_rate, weight_decay=train.weight_decay)

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor], epoch: int) -> torch.Tensor:
        """The mean loss of a batch of inputs and targets: heads, schedules and augmentation live here and only here."""

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predictions (B, ...) by name. The batch has no targets: nothing can leak into a test."""

    @abstractmethod
    def metrics(self, predicted: Mapping[str, np.ndarray], targets: Mapping[str, Column]) -> dict[str, float]:
        """The metrics `watched` of predictions (N, ...) and targets (N, ...), in the same order."""

    @abstractmethod
    def tested(self, model: torch.nn.Module, fold: Fold, store: Store, device: torch.device, out: UnitFolder) -> Json:
        """Once after the fit: predictions, maps, checks, knock-outs; returns entries for result.json."""


@dataclass(frozen=True)
class Learning:
    """What of a study is learned: by whom, from which store (its rows are the items), split by which rules.

    labels (N,) int: folds get similar shares of them; -1: not known.
    """

    learner: Learner
    store: Store
    labels: np.ndarray
    folds: FoldsConfig
    search: SearchConfig | None


@dataclass(frozen=True)
class Tried:
    """A learner under one setting of a search (dotted key -> value, {} without a search), with its store. content:
    SHA-256 of everything that a fit depends on beside the config."""

    setting: Json
    learner: Learner
    store: Store
    content: str


@dataclass(frozen=True)
class Chosen:
    """What an outer fold is refitted with (the number and values of a setting), and the table of all that was tried."""

    setting: int
    values: Json
    epochs: int
    inner_score: float
    trials: list[Json]


@dataclass(frozen=True)
class Searched:
    """What a search tried and, for each outer fold, chose."""

    tried: Sequence[Tried]
    chosen: Sequence[Chosen]
