# SPDX-License-Identifier: Apache-2.0
"""The whole study here; in an object store (moto's, that loses and delays some answers) it gives the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazeray.config import load_config
from gazeray.engine.experiment import Outcome
from gazeray.storage import Folder
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.unit import UnitFolder
from tests.chaos.faulty_s3 import faulty_s3
from tests.studies.here import faults, whole

WORDS = [
    *("data.simulate.pictures=6", "data.simulate.width_px=96", "data.simulate.height_px=64", "folds.outer=3"),
    *("backbone.arch=resnet18", "backbone.layers=[layer1]", "backbone.longest_px=64", "score.longest_px=48"),
    *("probes.readout.epochs=2", "probes.readout.longest_px=24", "probes.pooled.map_px=16"),
    *("baselines.splits=1", "score.resamples=100", "show.pictures=1", "resources.workers=0"),
]


def whole_study(place: str, *words: str) -> Outcome:
    """All of it in this process."""
    cfg = load_config(ProbeSaliencyConfig, None, [*WORDS, f"run.dir={place}", *words])
    return whole(ProbeSaliencyStudy(cfg))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """In a local folder."""
    return whole_study(str(tmp_path_factory.mktemp("near")))


def names(folder: Folder) -> set[str]:
    return {stat.path for stat in folder.list()}


@pytest.mark.nightly
def test_object_store_gives_the_numbers_of_a_local_folder(near: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty_s3("saliency") as store:
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        store.share = 0.05
        far = whole_study("s3://saliency/runs")
        assert far.run.read_bytes("metrics.json") == near.run.read_bytes("metrics.json")
        assert far.run.read_table("per_item.parquet").equals(near.run.read_table("per_item.parquet"))
        assert names(far.run) == names(near.run)
        kept = {stat.path.partition("/")[0] for stat in Folder("s3://saliency/runs").list()}
    assert kept == {"data", "stores", near.run.uri.rpartition("/")[2]}


def test_features_too_many_for_memory_change_no_number(near: Outcome, tmp_path: Path) -> None:
    """With no room to keep anything, every unit reads the shards again."""
    read_again = whole_study(str(tmp_path), "data.cache_gb=0")
    assert read_again.run.read_bytes("metrics.json") == near.run.read_bytes("metrics.json")


def test_readout_that_was_stopped_goes_on_to_the_same_numbers(
    near: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = UnitFolder.save

    def save(self: UnitFolder, state: bytes, history: list[Any]) -> None:
        told(self, state, history)
        raise KeyboardInterrupt

    monkeypatch.setattr(UnitFolder, "save", save)
    with pytest.raises(KeyboardInterrupt):
        whole_study(str(tmp_path))
    monkeypatch.setattr(UnitFolder, "save", told)
    outcome = whole_study(str(tmp_path))
    assert outcome.run.read_bytes("metrics.json") == near.run.read_bytes("metrics.json")
    assert len(outcome.run.read_text("units/readout-layer1/metrics.jsonl").splitlines()) == 2


def test_run_is_valid_and_has_a_row_for_each_predictor(near: Outcome) -> None:
    assert faults(near.run) == []
    metrics = near.run.read_json("metrics.json")
    assert set(metrics["rows"]) == set(metrics["predictors"])
    kinds = {entry["kind"] for entry in metrics["predictors"].values()}
    assert kinds == {"model", "baseline", "ceiling"}


def test_variants_of_a_study_on_pictures(tmp_path: Path) -> None:
    outcome = whole_study(str(tmp_path), "probes.kinds=[ridge]", "variants.grid={backbone: {layers: [[layer2]]}}")
    assert outcome.metrics is not None
    found = outcome.metrics["variants"]
    own, other = found["settings"]
    assert (own["metric"], own["row"]) == ("information_gain", outcome.metrics["best"])
    assert own["value"] == own["gain"]["value"] == outcome.metrics["rows"][own["row"]]["information_gain"]["value"]
    assert own["gain"]["over"] == "centre_bias"
    assert (other["setting"], other["row"]) == ({"backbone.layers": ["layer2"]}, "model:layer2:ridge")
    assert found["scored"] == 2
    units = {stat.path.split("/")[1] for stat in outcome.run.list("units")}
    assert {"ridge-layer1", f"{other['name']}-ridge-layer2"} <= units
    assert "ridge-layer2" not in units, "units of a variant lie under its name"
    assert faults(outcome.run) == []
