# SPDX-License-Identifier: Apache-2.0
"""What a study must say about itself so that the engine can run it.

The engine knows clusters and nothing of gaze; a study knows gaze and nothing of clusters. They meet here: a study plans
(what is there to read), reads one recording into a shard of examples, builds a model, and tests a fitted one. A new
study is one file in `gazeray/studies`, one YAML and one job script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel

from gazeray.config import JobConfig, digest
from gazeray.storage import Folder
from gazeray.store import Examples
from gazeray.tables import Reject


@dataclass(frozen=True)
class Plan:
    """What a study found before any gaze was read. Travels to the workers.

    trials: one row per trial that may be used, with at least participant, trial, stimulus, label_index (int).
    recordings: one mapping per recording, with at least `key` (unique, safe as a file name) and whatever the study's
        reader needs; plain values only.
    fingerprint: changes when anything that the examples depend on changes, be it only a file's date or place.
    meaning: hash of how files are read and drawn (declaration, settings, version of the code), wherever they lie.
    own: what else the study wants to know later; plain values.
    """

    dataset: str
    licence: str | None
    label: str
    classes: list[str]
    notes: list[str]
    trials: pa.Table
    recordings: list[dict[str, Any]]
    rejects: list[Reject]
    fingerprint: str
    meaning: str
    root: Folder
    own: dict[str, Any] = field(default_factory=dict)

    def fingerprint_of_trials(self) -> str:
        """SHA-256 of the trials table: who saw what, and the labels."""
        return digest([self.classes, self.trials.to_pydict()])


@dataclass(frozen=True)
class Shard:
    """The examples of one recording.

    table: ids (participant, trial), columns that travel along, and one fixed-shape tensor column per input.
    quality: rows of the quality table. content: SHA-256 of the raw bytes that were read. tables: further tables for
    the run folder, by name (fixations, saccades). notes: what should be known about the recording's files.
    """

    table: pa.Table
    rejects: list[Reject]
    quality: pa.Table
    content: str
    rows_read: int
    tables: dict[str, pa.Table] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    """A step of the pipeline: a picklable function from one recording of the plan to its shard."""

    fn: Callable[[Mapping[str, Any]], Shard]
    cpu: float = 1.0


@dataclass(frozen=True)
class Split:
    """Row numbers (int64) of the examples of one fold; nobody is in two of the three."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class FoldResult:
    """What a unit learned about its test examples: predictions (one row each) and headline scores.

    files: by file name, for the unit's own folder; `Study.gather` gets them back.
    """

    predictions: pa.Table
    scores: dict[str, float | None]
    files: dict[str, bytes] = field(default_factory=dict)


class Study(Protocol):
    """One kind of experiment."""

    @property
    def name(self) -> str:
        """Its name in manifests and metrics."""

    @property
    def config(self) -> type[JobConfig]:
        """The pydantic model of its config."""

    @property
    def tensors(self) -> Sequence[str]:
        """The tensor columns of an example that the model is fed with."""

    def plan(self, cfg: Any) -> Plan:
        """Look at what there is, read no gaze. Raises DataError, ConfigError."""

    def reader(self, cfg: Any, plan: Plan) -> Stage:
        """The stage that turns one recording into a shard of examples."""

    def model(self, cfg: Any, plan: Plan) -> torch.nn.Module:
        """A fresh model; its random state is the caller's."""

    def inputs(self, cfg: Any, plan: Plan, batch: Mapping[str, np.ndarray], device: torch.device) -> torch.Tensor:
        """A batch of examples as the model's input, on the device."""

    def loss(self, cfg: Any, plan: Plan, labels: np.ndarray) -> torch.nn.Module:
        """The loss module (logits, labels) -> scalar, weighted by the training labels alone where asked."""

    def test(
        self,
        cfg: Any,
        plan: Plan,
        model: torch.nn.Module,
        examples: Examples,
        split: Split,
        device: torch.device,
        keep: Callable[[str, bytes], None],
    ) -> FoldResult:
        """Predictions of the fitted model, and of the baselines, for the test rows, in their order.

        keep(name, data): writes a map at once to the run's maps/, so that a fold's maps are never held together.
        """

    def score(self, cfg: Any, plan: Plan, predictions: pa.Table) -> dict[str, Any]:
        """The metrics (metrics.json) from everybody's out-of-fold predictions."""

    def gather(
        self, cfg: Any, plan: Plan, files: Sequence[Mapping[str, bytes]]
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What the files of all finished units add up to: entries for metrics.json, and files for the run folder."""


@dataclass(frozen=True)
class Pass:
    """One pass over a data set in pieces, such as decoding the pictures or running a frozen network on them.

    name: what people see. items: what is still to do, one mapping of plain values per piece, each with a `key`. make:
    called with the workers' device; returns the function that does an item and writes its files. network: making it is
    dear, as a network is, so workers keep it, and have a GPU each where there are GPUs.
    """

    name: str
    items: Sequence[Mapping[str, Any]]
    make: Callable[[torch.device], Callable[[Mapping[str, Any]], None]]
    network: bool = False


@dataclass(frozen=True)
class Prepared:
    """What lies ready once the passes are over; plain enough to travel to the workers.

    content: SHA-256 of everything that the units' results depend on beside the config. units: {name: what it is about,
    plain values}. manifest: entries for manifest.json. tables: for the run folder, by name. own: the study's own.
    """

    content: str
    units: dict[str, dict[str, Any]]
    manifest: dict[str, Any]
    tables: dict[str, pa.Table]
    own: Any


@dataclass(frozen=True)
class Compared:
    """What the units add up to: metrics.json, tables and further files for the run folder, by name."""

    metrics: dict[str, Any]
    tables: dict[str, pa.Table]
    files: dict[str, bytes]


class Comparison(Protocol):
    """A study that compares predictors on the same items: models, baselines and ceilings in one table."""

    @property
    def name(self) -> str:
        """Its name in manifests and metrics."""

    @property
    def config(self) -> type[BaseModel]:
        """The pydantic model of its config, with the sections `resources` and `run`."""

    def plan(self, cfg: Any) -> Any:
        """Look at what there is; decode no picture. Raises DataError, ConfigError."""

    def describe(self, cfg: Any, plan: Any) -> list[str]:
        """What a run would do, for --dry-run."""

    def prepare(self, cfg: Any, plan: Any, store: Folder, go_through: Callable[[Pass], None]) -> Prepared:
        """Whatever all units share, made by passes over the data set; what lies in the store already is kept.

        Raises DataError when nothing usable is left.
        """

    def work(self, cfg: Any, prepared: Prepared, run: Folder) -> Any:
        """What the workers do with a unit: see `gazeray.engine.units.Work`."""

    def score(self, cfg: Any, prepared: Prepared, done: Mapping[str, Folder], failed: Sequence[str]) -> Compared:
        """Put the finished units together; done: {name: the unit's folder}."""
