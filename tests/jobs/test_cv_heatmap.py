# SPDX-License-Identifier: Apache-2.0
"""The job from end to end on the simulated study: with its effect, and without."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import config_hash, load_config
from gazeray.engine.cli import main
from gazeray.engine.experiment import Outcome
from gazeray.report.results import read_results
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.heatmap.words import verdict
from tests.running import CONFIGS, HERE, no_report, run_heatmap

CONFIG = CONFIGS / "cv_heatmap.yaml"


@pytest.fixture(scope="module")
def finished(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    outcome, shown = run_heatmap(f"run.dir={folder}")
    write_report(outcome.run)
    return outcome, shown, folder


def metrics_of(outcome: Outcome) -> dict[str, Any]:
    assert outcome.metrics is not None
    return outcome.metrics["metrics"]


def test_default_effect_is_found(finished: tuple[Outcome, str, Path]) -> None:
    metrics = metrics_of(finished[0])
    assert finished[0].failed == {}
    assert metrics["balanced_accuracy"]["value"] >= 0.80
    assert metrics["balanced_accuracy"]["ci95"][0] > 0.5
    assert metrics["balanced_accuracy"]["baselines"]["majority"] == 0.5
    assert 0.6 < metrics["balanced_accuracy"]["baselines"]["logistic_regression"] <= 1
    assert finished[0].metrics is not None
    assert finished[0].metrics["permutation"]["p"] < 0.01
    assert "above chance in participants it never saw" in verdict(read_results(finished[0].run))


def test_no_effect_gives_chance(tmp_path: Path) -> None:
    words = ["data.simulate.effect=0", "data.simulate.readers=12", "folds.outer=4", "explain.maps=false"]
    outcome, _ = run_heatmap(f"run.dir={tmp_path}", HERE, *words)
    low, high = metrics_of(outcome)["auroc"]["ci95"]
    assert low < 0.5 < high
    assert outcome.metrics is not None
    assert outcome.metrics["permutation"]["p"] > 0.01


def test_run_folder_keeps_its_contract(finished: tuple[Outcome, str, Path]) -> None:
    run = finished[0].run
    manifest, metrics = run.read_json("manifest.json"), run.read_json("metrics.json")
    assert manifest["status"] == "done"
    assert manifest["counts"]["examples"] == metrics["n"]["trials"] == 288
    assert set(manifest["units"].values()) == {"done"}
    tested = [person for fold in manifest["folds"] for person in fold["test"]]
    assert len(tested) == len(set(tested)) == 24
    predictions = run.read_table("predictions.parquet").to_pandas()
    assert len(predictions) == 288
    assert not predictions.duplicated(["participant", "trial"]).any()
    for fold in manifest["folds"]:
        assert set(predictions[predictions["fold"] == fold["fold"]]["participant"]) == set(fold["test"])
    assert metrics["folds"][0]["test"] == manifest["folds"][0]["test"]
    confusion = np.sum([entry["confusion"] for entry in metrics["participants"].values()], axis=0)
    right = (predictions["label"] == predictions["predicted"]).sum()
    assert confusion.sum() == 288
    assert np.trace(confusion) == right
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx(right / 288)
    for number in range(8):
        result = run.read_json(f"units/fold-{number}/result.json")
        lines = run.read_text(f"units/fold-{number}/metrics.jsonl").splitlines()
        assert len(lines) == result["epochs"]
        assert run.exists(f"units/fold-{number}/checkpoint/model.safetensors")
    for name in ("rejects.parquet", "quality.parquet", "report.html"):
        assert run.exists(name)


def test_gradient_maps_are_kept_for_every_test_example(finished: tuple[Outcome, str, Path]) -> None:
    run = finished[0].run
    index = run.read_table("maps/index.parquet").to_pandas()
    assert len(index) == 288
    assert index["path"].is_unique
    row = index[index["label"] != index["predicted"]].iloc[0]
    with np.load(io.BytesIO(run.read_bytes(row["path"])), allow_pickle=False) as maps:
        assert maps["heatmap"].shape == maps["gradient_true"].shape == maps["gradient_predicted"].shape == (32, 64)
        assert maps["gradient_true"].min() < 0 < maps["gradient_true"].max()
        assert not np.array_equal(maps["gradient_true"], maps["gradient_predicted"])


def test_same_command_again_does_nothing_twice(finished: tuple[Outcome, str, Path]) -> None:
    outcome, _, folder = finished
    before = {stat.path: stat.mtime_ns for stat in outcome.run.list("units")}
    bytes_before = outcome.run.read_bytes("metrics.json")
    again, shown = run_heatmap(f"run.dir={folder}", HERE)
    assert {stat.path: stat.mtime_ns for stat in outcome.run.list("units")} == before
    assert again.run.read_bytes("metrics.json") == bytes_before
    assert "16 in all, 16 done before" in shown
    assert "24 of 24 packs kept" in shown


def test_plain_progress_names_stages_units_scores_and_time_left(finished: tuple[Outcome, str, Path]) -> None:
    shown = finished[1]
    assert "reading recordings: 24 to do" in shown
    assert "units: 16 in all" in shown
    assert "validation loss" in shown
    assert "4 of 16, about" in shown
    assert "16 of 16, none left" in shown


def test_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dry-run", f"run.dir={tmp_path}", "data.simulate.readers=8", "data.simulate.sentences=8"]
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, no_report, words) == 0
    shown = capsys.readouterr().out
    assert "people: 8; recordings: 8" in shown
    assert "trials: 64; label condition: control 48, pseudoword 16" in shown
    assert "units: 8 folds" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_bad_config_lists_every_mistake_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"run.dir={tmp_path / 'runs'}", "train.epochs=0", "folds.uter=3", "data.dataset=nowhere.yaml"]
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, no_report, words) == 2
    shown = capsys.readouterr().err
    assert "train.epochs" in shown
    assert "folds.uter: unknown key; did you mean outer?" in shown
    assert not (tmp_path / "runs").exists()


def test_failed_unit_is_named_and_exits_1_and_is_retried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"run.dir={tmp_path}", HERE, "data.simulate.readers=6", "data.simulate.sentences=4", "folds.outer=2"]
    words += ["train.epochs=2", "model.width=2", "scores.resamples=100", "scores.permutations=99", "explain.maps=false"]
    run = tmp_path / f"cv_heatmap-{config_hash(load_config(HeatmapConfig, CONFIG, words))}"
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, no_report, words) == 0
    unit = json.loads((run / "manifest.json").read_text())["unit_hashes"]["fold-1"]
    obstacle = run / f"units/fold-1/checkpoint/{unit[:10]}.state"
    obstacle.write_bytes(b"no checkpoint" + hashlib.sha256(b"no checkpoint").digest())
    (run / "units/fold-1/result.json").unlink()

    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, write_report, words) == 1
    assert "failed: fold-1: " in capsys.readouterr().err
    assert "Traceback" in json.loads((run / "units/fold-1/failure.json").read_text())["traceback"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert manifest["units"] == {"fold-0": "done", "fold-1": "failed", "baselines-0": "done", "baselines-1": "done"}
    assert [fold["fold"] for fold in json.loads((run / "metrics.json").read_text())["folds"]] == [0]
    assert "fold-1" in (run / "report.html").read_text()
    first = (run / "units/fold-0/result.json").stat().st_mtime_ns

    obstacle.unlink()
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, no_report, words) == 0
    assert (run / "units/fold-0/result.json").stat().st_mtime_ns == first
    assert [fold["fold"] for fold in json.loads((run / "metrics.json").read_text())["folds"]] == [0, 1]
    assert not (run / "units/fold-1/failure.json").exists()
