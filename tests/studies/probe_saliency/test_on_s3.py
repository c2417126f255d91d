# SPDX-License-Identifier: Apache-2.0
"""The whole study in an object store (moto's, that loses and delays some answers) gives the numbers of a local one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gazeray.config import load_config
from gazeray.engine.queue import Unit
from gazeray.engine.units import UnitFolder
from gazeray.storage import Folder
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.study import Compared
from tests.chaos.faulty_s3 import faulty_s3
from tests.studies.pictures.picture_set import in_this_process

WORDS = [
    *("data.simulate.pictures=9", "data.simulate.width_px=96", "data.simulate.height_px=64", "folds.outer=3"),
    *("backbone.arch=resnet18", "backbone.layers=[layer1]", "backbone.longest_px=64", "score.longest_px=48"),
    *("probes.readout.epochs=2", "probes.readout.longest_px=24", "probes.pooled.map_px=16"),
    *("baselines.splits=1", "score.resamples=100", "show.pictures=1"),
]


def whole_study(place: str, *words: str) -> Compared:
    """Plan, passes, units and scores in this process."""
    study, run = ProbeSaliencyStudy(), Folder(place).sub("run")
    cfg: Any = load_config(ProbeSaliencyConfig, None, [*WORDS, f"run.dir={place}", *words])
    prepared = study.prepare(cfg, study.plan(cfg), Folder(place), lambda some: some.items and in_this_process(some))
    work = study.work(cfg, prepared, run)
    shared, done = work.open(), {}
    for name, spec in prepared.units.items():
        folder = UnitFolder(run, Unit(name, spec, "hash"))
        folder.finish(work.run(shared, Unit(name, spec, "hash"), folder, torch.device("cpu")))
        done[name] = folder.folder
    return study.score(cfg, prepared, done, [])


def test_object_store_gives_the_numbers_of_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = whole_study(str(tmp_path / "runs"))
    with faulty_s3("probe_saliency") as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        store.share = 0.05
        far = whole_study("s3://saliency/runs")
        kept = {stat.path.partition("/")[0] for stat in Folder("s3://saliency/runs").list()}
    assert far.metrics == near.metrics
    assert far.tables["per_image"].equals(near.tables["per_image"])
    assert far.files.keys() == near.files.keys()
    assert kept == {"data", "pictures", "features", "run"}


def test_features_too_many_for_memory_change_no_number(tmp_path: Path) -> None:
    """With no room to keep anything, every pass reads the shards again."""
    kept, read_again = (whole_study(str(tmp_path / "runs"), f"data.cache_gb={gb}") for gb in (1, 0))
    assert kept.metrics == read_again.metrics
