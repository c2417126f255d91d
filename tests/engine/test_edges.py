# SPDX-License-Identifier: Apache-2.0
"""Edges of the flow: each of these went wrong once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from gazeray.config import ConfigError, FoldsConfig, PerUnit, ResourcesConfig, TrainConfig, config_hash, load_config
from gazeray.engine.executor import Executor
from gazeray.engine.plan import plan_lines
from gazeray.engine.progress import ProgressView
from gazeray.learn.fit import on_device
from gazeray.learn.folds import make_folds
from gazeray.learn.trained import Trained
from gazeray.storage import Folder
from gazeray.store import Shard, Store, write_shard
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.study import Fold, Row, Side, Tried
from gazeray.tables import DataError
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker
from tests.engine.toy import BlobStudy, config, do
from tests.learn.blobs import BlobLearner


class Threads:
    """A predictor that says with how many threads its units are done."""

    rows = {"threads": Row("threads", "model")}  # noqa: RUF012
    round = 0

    def units(self) -> list[UnitSpec]:
        return [UnitSpec("one")]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        return {"threads": torch.get_num_threads()}


def test_units_of_this_process_have_as_many_threads_as_those_of_a_cluster(tmp_path: Path) -> None:
    """Sums in another order change the last digits, and the number of threads is part of the config's hash."""
    resources, run, before = (
        ResourcesConfig(workers=0, per_unit=PerUnit(cpu=2)),
        Folder(tmp_path),
        torch.get_num_threads(),
    )
    unit = Unit("one", {}, "0" * 64)
    with Executor(resources, 1.0, ProgressView()) as workers:
        workers.units({"one": (unit, Threads())}, run, lambda *event: None)
    assert (UnitFolder(run, unit).result() or {})["threads"] == 2
    assert torch.get_num_threads() == before


def two_shards(folder: Folder) -> Store:
    """A shard without examples and columns, and one with both."""
    write_shard(folder, "a", Shard(pa.table({"name": []}), {}))
    column = [np.ones(1), np.ones(2)]
    write_shard(folder, "b", Shard(pa.table({"name": ["x", "y"]}), {"values": np.arange(2.0), "ragged": column}))
    return Store.open(folder, ["a", "b"])


def test_no_rows_are_taken_from_a_store_whose_first_shard_is_empty(tmp_path: Path) -> None:
    taken = two_shards(Folder(tmp_path)).take(np.empty(0, np.int64), ["values", "ragged"])
    assert [len(values) for values in taken.values()] == [0, 0]


def test_store_keeps_what_it_read_once_it_is_told_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = two_shards(Folder(tmp_path))
    store.cache_bytes = 1e6
    store.take(np.arange(2), ["values"])
    monkeypatch.setattr(Folder, "read_bytes", None)
    assert store.take(np.arange(2), ["values"])["values"].tolist() == [0, 1]  # type: ignore[union-attr]


def test_ragged_rows_in_read_only_memory_become_tensors_of_their_own() -> None:
    one = np.ones(3)
    one.flags.writeable = False
    (found,) = on_device({"ragged": [one]}, torch.device("cpu"))["ragged"]
    found += 1
    assert one.tolist() == [1, 1, 1]


def test_fold_of_a_file_that_tests_nobody_is_named(tmp_path: Path) -> None:
    people = ["a", "b", "c"]
    table = pa.table({"participant": people, "trial": ["1"] * 3, "stimulus": ["t"] * 3})
    (tmp_path / "folds.csv").write_text("fold,participant,side\n0,a,train\n0,b,train\n0,c,val\n")
    with pytest.raises(DataError, match="fold 0: no example to test on"):
        make_folds(table, np.zeros(3, np.int64), FoldsConfig(path=str(tmp_path / "folds.csv")), 0)


def test_other_credentials_are_no_other_run() -> None:
    """The manifest masks them: its config must have the hash that names the run."""
    words = ["data.dataset=x.yaml", "render.sigma_px=40"]
    hashes = {
        config_hash(load_config(HeatmapConfig, None, [*words, f"data.root=s3://{user}bucket/x"]))
        for user in ("one:secret@", "other:secret@", "***@")
    }
    assert len(hashes) == 1


def test_study_may_train_several_models(tmp_path: Path) -> None:
    """Each has units and seeds by a name of its own."""
    fold = Fold(0, np.arange(2), Side("validation", np.arange(2, 3)), (Side("test", np.arange(3, 4)),))
    rows, seen = {"lstm": Row("LSTM", "model")}, set()
    for key in ("fold", "lstm"):
        variant = Tried({}, BlobLearner(TrainConfig(epochs=1)), Store(Folder(tmp_path), [], pa.table({}), [], []), "")
        seen |= {spec.name for spec in Trained(rows, [variant], [fold], 0, key=key).units()}
    assert seen == {"fold-0", "lstm-0"}


def test_metric_that_nobody_computes_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.stop_on: no metric 'f1' \(allowed: .*loss"):
        do(BlobStudy(config(tmp_path, "train.stop_on=f1")))


def test_space_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"search\.space\.storage\.filesystem: not a hyper-parameter"):
        plan_lines(config(tmp_path, "search.space.storage.filesystem=[s3fs]"), lambda cfg: pytest.fail("it was read"))
