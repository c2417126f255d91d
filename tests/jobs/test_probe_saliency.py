# SPDX-License-Identifier: Apache-2.0
"""The saliency jobs from end to end on the simulated scenes: scores, contract, resume, and people's own maps."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from gazeray.engine.cli import main
from gazeray.engine.experiment import Outcome
from gazeray.engine.validate import validate_run
from gazeray.report.text_tables import predictors_table
from gazeray.storage import Folder
from gazeray.studies import study_of
from gazeray.studies.pictures.report import write_saliency_report
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy
from tests.chaos.held import EPOCHS
from tests.processes import descendants, gone, wait_until
from tests.running import CONFIGS, HERE, ROOT, no_report, run_probes, run_study

SCENES = ["data.simulate.pictures=20", "data.simulate.width_px=160", "data.simulate.height_px=120", "folds.outer=4"]
SMALL = [
    *SCENES,
    "backbone.arch=resnet18",
    "backbone.layers=[layer1, layer3]",
    "backbone.longest_px=160",
    "probes.readout.epochs=40",
    "probes.readout.penalties=[0.03, 0.3]",
    "probes.readout.learning_rate=0.01",
    "probes.readout.longest_px=40",
    "probes.pooled.map_px=32",
    "baselines.splits=2",
    "score.longest_px=80",
    "score.resamples=200",
    "show.pictures=2",
]

pytestmark = pytest.mark.slow


def run_job(folder: Path, *words: str) -> tuple[Outcome, str]:
    """Run the job in this process; returns how it ended and what it showed."""
    return run_probes(f"run.dir={folder}", *SMALL, *words)


def command_line(*words: str) -> int:
    """Run the job as its script does, less the report; returns the exit code."""
    config = CONFIGS / "probe_saliency.yaml"
    return main(ProbeSaliencyStudy, ProbeSaliencyConfig, "probe_saliency", config, no_report, words)


@pytest.fixture(scope="module")
def finished(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    outcome, shown = run_job(folder)
    write_saliency_report(outcome.run)
    return outcome, shown, folder


def value(outcome: Outcome, predictor: str, metric: str) -> float:
    assert outcome.metrics is not None
    found = outcome.metrics["rows"][predictor][metric]["value"]
    assert found is not None
    return float(found)


def test_predictors_are_in_the_order_that_the_scenes_were_made_for(finished: tuple[Outcome, str, Path]) -> None:
    outcome = finished[0]
    assert outcome.failed == {}
    assert outcome.metrics is not None
    gain = {name: value(outcome, name, "information_gain") for name in outcome.metrics["rows"]}
    assert gain["uniform"] < gain["centre_bias"] == 0.0
    assert gain["centre_bias"] < gain["model:layer1:readout"] < gain["gold_standard"]
    assert gain["model:layer1:pooled"] < gain["model:layer1:readout"]
    models = {name: gain[name] for name in gain if name.startswith("model:")}
    assert outcome.metrics["best"] == max(models, key=lambda name: models[name])
    assert 0.5 < value(outcome, "model:layer1:readout", "auc_shuffled") < 1
    assert value(outcome, "uniform", "auc_uniform") == 0.5
    assert outcome.metrics["rows"]["uniform"]["nss"]["value"] is None


def test_chosen_layer_is_the_best_by_inner_folds_in_each_fold(finished: tuple[Outcome, str, Path]) -> None:
    run, metrics = finished[0].run, finished[0].metrics
    assert metrics is not None
    inner = {
        name: [max(score for _, score in fold) for fold in entry["inner"]]
        for name, entry in metrics["predictors"].items()
        if name.endswith(":readout")
    }
    table = run.read_table("per_item.parquet").to_pandas().set_index(["predictor", "stimulus"])
    for fold, predictor in metrics["predictors"]["chosen"]["folds"].items():
        assert predictor == max(inner, key=lambda name: inner[name][int(fold)])
        theirs = table.loc["chosen"].query(f"fold == {fold}")
        assert len(theirs) == 5
        assert theirs.equals(table.loc[predictor].loc[theirs.index])


def test_run_folder_keeps_its_contract_and_is_valid(finished: tuple[Outcome, str, Path]) -> None:
    run = finished[0].run
    manifest, metrics = run.read_json("manifest.json"), run.read_json("metrics.json")
    assert manifest["status"] == "done"
    assert manifest["counts"]["pictures"] == 20
    assert manifest["counts"]["rejected"] == run.read_table("rejects.parquet").num_rows > 0
    assert manifest["backbone"]["weights"] == "none"
    assert set(manifest["units"].values()) == {"done"}
    assert metrics["metrics_shown"][:2] == ["information_gain", "explained"]
    table = run.read_table("per_item.parquet").to_pandas()
    assert (table.groupby("predictor")["stimulus"].nunique() == 20).all()
    shown = run.read_table("maps/index.parquet").to_pylist()
    assert {row["why"] for row in shown} == {"best", "middle", "worst"}
    with np.load(io.BytesIO(run.read_bytes(shown[0]["path"]))) as maps:
        assert maps["picture"].shape == (60, 80, 3)
        assert np.exp(maps["prediction"].astype(np.float64)).sum() == pytest.approx(1, abs=0.01)
        assert maps["human"].max() == 1
    assert validate_run(run, study_of) == []
    assert "layer1, read-out" in predictors_table(metrics)


def test_features_lie_in_the_store_in_float16_and_are_not_computed_again(finished: tuple[Outcome, str, Path]) -> None:
    _, shown, folder = finished
    assert "computing features: 2 to do" in shown
    (columns,) = (folder / "stores").glob("features-*/columns")
    files = sorted(columns.rglob("*.safetensors"))
    assert [path.parent.name for path in files] == ["layer1", "layer1", "layer3", "layer3"]  # of two shards
    assert {array.dtype for path in files for array in load(path.read_bytes()).values()} == {np.dtype(np.float16)}
    outcome, again = run_job(
        folder, HERE, "probes.readout.epochs=2", "probes.kinds=[ridge]", "baselines.observers=false"
    )
    assert outcome.failed == {}
    assert "computing features: 0 to do" in again
    assert "preparing pictures: 0 to do" in again
    assert outcome.metrics is not None
    assert "gold_standard" not in outcome.metrics["rows"]


def test_rerun_does_only_what_is_missing_and_ends_with_the_same_numbers(finished: tuple[Outcome, str, Path]) -> None:
    outcome, _, folder = finished
    before = outcome.run.read_bytes("metrics.json")
    kept = {stat.path: stat.mtime_ns for stat in outcome.run.list("units") if "ridge-layer3" not in stat.path}
    outcome.run.delete_folder("units/ridge-layer3")
    again, shown = run_job(folder, HERE)
    assert again.run.uri == outcome.run.uri
    assert again.run.read_bytes("metrics.json") == before
    after = {stat.path: stat.mtime_ns for stat in outcome.run.list("units") if "ridge-layer3" not in stat.path}
    assert after == kept
    assert "ridge-layer3: done" in shown
    assert shown.count(": started") == 1


def test_killed_job_goes_on_and_ends_with_the_same_numbers(finished: tuple[Outcome, str, Path], tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "tests/chaos/held.py"), str(tmp_path / "gate"), "ridge-layer1"]
    command = [*script, "probe_saliency", *SMALL, f"run.dir={tmp_path}"]
    with (tmp_path / "first.log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        wait_until(lambda: reading_out(tmp_path) or driver.poll() is not None, "a read-out in its epochs")
        assert driver.poll() is None, (tmp_path / "first.log").read_text()
        below = descendants(driver.pid)
        driver.kill()
        driver.wait()
    wait_until(lambda: gone(below), "the cluster to go with its driver")
    done = {path.parent.name for path in tmp_path.glob("probe_saliency-*/units/*/result.json")}
    assert HELD not in done
    assert not list(tmp_path.glob("probe_saliency-*/metrics.json"))
    again, shown = run_job(tmp_path, HERE)
    assert "preparing pictures: 0 to do" in shown
    assert "computing features: 0 to do" in shown
    assert not done or f"10 in all, {len(done)} done before" in shown
    assert again.run.read_bytes("metrics.json") == finished[0].run.read_bytes("metrics.json")
    history = [json.loads(line) for line in again.run.read_text(f"units/{HELD}/metrics.jsonl").splitlines()]
    assert [record["epoch"] for record in history] == list(range(1, 41))


HELD = "readout-layer1"


def reading_out(folder: Path) -> bool:
    """Has a read-out done some epochs, after which it is held?"""
    histories = folder.glob(f"probe_saliency-*/units/{HELD}/metrics.jsonl")
    return any(len(path.read_text().splitlines()) >= EPOCHS for path in histories)


def test_scores_of_a_fold_do_not_depend_on_its_own_gaze(finished: tuple[Outcome, str, Path], tmp_path: Path) -> None:
    """Move the fixations of fold 0's pictures: its models, fitted on the other folds, predict what they did before."""
    run = finished[0].run
    table = run.read_table("per_item.parquet").to_pandas()
    tested = set(table[table["fold"] == 0]["stimulus"])
    source = Folder(next((finished[2] / "data").iterdir()))
    for stat in source.list():
        (tmp_path / "set" / stat.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / stat.path).write_bytes(source.read_bytes(stat.path))
    lines = (tmp_path / "set" / "fixations.csv").read_text().splitlines()
    moved = [lines[0]]
    for line in lines[1:]:
        cells = line.split(",")
        if cells[0].removesuffix(".jpg") in tested:
            cells[2:4] = ["3.5", "117.5"] if cells[2] and float(cells[2]) > 80 else ["5.5", "110.5"]
        moved.append(",".join(cells))
    (tmp_path / "set" / "fixations.csv").write_text("\n".join(moved) + "\n")
    words = [f"data.dataset={tmp_path}/set/dataset.yaml", "baselines.observers=false", "probes.kinds=[ridge, readout]"]
    outcome, _ = run_job(tmp_path / "runs", HERE, *words)
    assert outcome.failed == {}
    for unit in ("ridge-layer1", "readout-layer3"):
        before, after = (_maps(folder, unit) for folder in (run, outcome.run))
        same = {name: np.array_equal(before[name], after[name]) for name in before}
        assert all(same[name] for name in same if name.rpartition("/")[2] in tested)
        assert not any(same[name] for name in same if name.rpartition("/")[2] not in tested)


def _maps(run: Folder, unit: str) -> dict[str, Any]:
    return load(run.read_bytes(f"units/{unit}/maps.safetensors"))


def test_example_maps_are_scored_beside_the_same_baselines(finished: tuple[Outcome, str, Path], tmp_path: Path) -> None:
    small = [*SCENES, "score.longest_px=80", "score.resamples=200", "baselines.splits=2", "show.pictures=2"]
    words = [HERE, f"run.dir={finished[2]}", *small]
    outcome, shown = run_study(ScoreMapsStudy, ScoreMapsConfig, "score_maps", *words)
    assert "preparing pictures: 0 to do" in shown
    assert value(outcome, "model:contrast", "information_gain") > 0
    for predictor in ("centre_bias", "gold_standard", "split_half", "other_observers"):
        for metric in ("auc_uniform", "information_gain", "nss"):
            assert value(outcome, predictor, metric) == value(finished[0], predictor, metric)
    write_saliency_report(outcome.run)
    assert validate_run(outcome.run, study_of) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backbone.arch=resnet51"], "did you mean"),
        (["backbone.layers=[layer9]"], "layer4"),
        (["backbone.weights=missing.pth"], "missing.pth"),
        (["probes.kinds=[ridge, ridge]"], "named twice"),
        (["folds.outer=2"], "folds.outer"),
        (["data.dataset=nowhere.yaml"], "no such file"),
        (["targets.sigma_px=5", "targets.sigma_deg=1"], "not both"),
        (["score.metric=[nss]"], "did you mean metrics"),
    ],
)
def test_bad_config_is_named_and_exits_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = [f"run.dir={tmp_path}", "data.simulate.pictures=8", *words]
    code = command_line(*argv)
    error = capsys.readouterr().err
    assert code == 2
    assert told in error
    assert not list(tmp_path.glob("probe_saliency-*"))


def test_dry_run_prints_the_plan_and_starts_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["--dry-run", f"run.dir={tmp_path}", "data.simulate.pictures=8", "backbone.arch=resnet18"]
    code = command_line(*argv)
    shown = capsys.readouterr().out
    assert code == 0
    assert "pictures: 8; observers: 10" in shown
    assert "resnet18, untrained" in shown
    assert not list(tmp_path.glob("probe_saliency-*"))


def test_metrics_file_holds_no_nan(finished: tuple[Outcome, str, Path]) -> None:
    text = finished[0].run.read_text("metrics.json")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in metrics.json"))
