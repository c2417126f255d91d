# SPDX-License-Identifier: Apache-2.0
"""A study of blobs that takes seconds, and predictors that do what a test asks of them."""

from __future__ import annotations

import io
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from rich.console import Console

from gazeray.config import JobConfig, Section, digest, load_config
from gazeray.engine.experiment import Outcome, run
from gazeray.engine.progress import ProgressView
from gazeray.learn.folds import make_folds
from gazeray.learn.trained import Trained, search_record
from gazeray.storage import Folder
from gazeray.store import Shard, Store
from gazeray.study import Finished, Headline, Items, Learning, Pass, Predictor, Ready, Row, Source, Summary, Tried
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker
from tests.learn.blobs import EXAMPLES, BlobLearner, blob_shards


class BlobSettings(Section):
    """How blobs are drawn."""

    scale: float = Field(1.0, description="brightness")
    examples: int = Field(EXAMPLES, description="how many of them are kept")


class BlobConfig(JobConfig):
    """The config of a study of blobs."""

    blobs: BlobSettings = BlobSettings()


SMALL = [
    *("folds.outer=2", "folds.inner=2", "resources.workers=0"),
    *("train.epochs=4", "train.batch_size=16", "train.learning_rate=0.003"),
]
"""In this process, two folds of four epochs."""


def config(folder: Path | str, *words: str) -> BlobConfig:
    """A small run in this process, where the words do not say otherwise."""
    return load_config(BlobConfig, None, [*SMALL, f"run.dir={folder}", *words])


@dataclass(frozen=True)
class DrawBlobs:
    """A shard of blobs."""

    settings: BlobSettings

    def __call__(self, piece: Mapping[str, Any]) -> Shard:
        """piece: the key."""
        return blob_shards(self.settings.scale)[piece["key"]]


@dataclass(frozen=True)
class BlobStudy:
    """See `gazeray.study.Study`. more: predictors beside the network. fitted: is there one? content: of the items."""

    cfg: BlobConfig
    more: tuple[Predictor, ...] = ()
    fitted: bool = True
    content: str = "content"

    name: ClassVar[str] = "blobs"

    def open(self) -> Source[None]:
        """Nothing to look at."""
        return Source(None, ["data set: blobs"])

    def passes(self, source: Source[None], store: Folder) -> Generator[Pass, Store, Store]:
        """Draw them."""
        folder = store.sub(f"stores/blobs-{self.cfg.blobs.scale:g}")
        pieces = [{"key": key} for key in blob_shards()]
        draw = DrawBlobs(self.cfg.blobs)
        drawn = yield Pass.reading("drawing blobs", pieces, draw, folder, memory=("picture", "series"))
        return drawn.select(np.arange(self.cfg.blobs.examples))

    def items(self, source: Source[None], stores: Store) -> Items:
        """The examples."""
        folds = make_folds(stores.table, stores.plain("kind"), self.cfg.folds, self.cfg.run.seed)
        content = digest([self.content, self.cfg.blobs.scale])
        return Items(stores.table, ("participant", "trial"), folds, content, {"data": {"dataset": "blobs"}}, [])

    def learning(self, ready: Ready[None, Store]) -> Learning | None:
        """The network of blobs."""
        if not self.fitted:
            return None
        learner = BlobLearner(self.cfg.train)
        return Learning(learner, ready.stores, ready.stores.plain("kind"), self.cfg.folds, self.cfg.search)

    def predictors(self, ready: Ready[None, Store]) -> Sequence[Predictor]:
        """The network, and whatever the test adds."""
        own, searched = self.learning(ready), ready.searched
        if own is None:
            return self.more
        tried = searched.tried if searched else [Tried({}, own.learner, own.store, ready.items.content)]
        chosen = searched.chosen if searched else None
        rows = {"network": Row("network of blobs", "model")}
        return [Trained(rows, tried, ready.items.folds, self.cfg.run.seed, chosen), *self.more]

    def summary(self, manifest: Json, finished: Finished, ready: Ready[None, Store] | None) -> Summary:
        """Every unit's result, less its seconds."""
        results = {name: unit.result() or {} for name, unit in sorted(finished.done.items())}
        for result in results.values():
            result.pop("seconds")
        metrics: Json = {"study": self.name, "units": results, "failed": list(finished.failed)}
        if "searched" in manifest:
            folds = {place: {"fold": place, "metrics": results.get(f"fold-{place}", {}).get("metrics", {})}
                     for place in range(len(manifest["searched"]))}  # fmt: skip
            metrics["search"] = search_record(manifest["searched"], folds, "accuracy", {})
        accuracies = [result["metrics"]["accuracy"] for result in results.values() if "metrics" in result]
        headline = None
        if accuracies:
            entry = {"value": float(np.mean(accuracies)), "ci95": None}
            headline = Headline("accuracy", "network", entry, 0.5, "none", None, "nothing")
        return Summary(metrics, {} if ready is None else {"items": ready.items.table}, headline=headline)

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        """Nothing."""
        return []


def do(study: BlobStudy) -> tuple[Outcome, str]:
    """Run a study; how it ended and what was shown."""
    shown = io.StringIO()
    outcome = run(study, "toy", ProgressView(Console(file=shown, width=200)))
    return outcome, shown.getvalue()


@dataclass(frozen=True)
class Says:
    """A unit that says a number, or raises."""

    unit: str
    value: float = 1.0
    fault: Exception | None = None
    hashed: Any = None
    round: int = 0

    @property
    def rows(self) -> Mapping[str, Row]:
        """One."""
        return {self.unit: Row(self.unit, "baseline")}

    def units(self) -> list[UnitSpec]:
        """One."""
        return [UnitSpec(self.unit, {"unit": self.unit}, hashed=self.hashed)]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Write the number into a file."""
        if self.fault is not None:
            raise self.fault
        out.folder.write_json("value.json", {"value": self.value})
        return {"value": self.value}


@dataclass(frozen=True)
class Adds:
    """A unit that adds up what others said before it."""

    unit: str
    after: tuple[str, ...]
    round: int = 1

    @property
    def rows(self) -> Mapping[str, Row]:
        """One."""
        return {self.unit: Row(self.unit, "baseline")}

    def units(self) -> list[UnitSpec]:
        """One."""
        return [UnitSpec(self.unit, after=self.after)]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Read their files."""
        value = sum(worker.finished(name).read_json("value.json")["value"] for name in self.after)
        out.folder.write_json("value.json", {"value": value})
        return {"value": value}
