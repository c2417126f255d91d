# SPDX-License-Identifier: Apache-2.0
"""jobs/validate_run.py finds every way in which a run can be broken; jobs/report.py draws from the run folder alone."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from gazeray.config import config_hash, load_config
from gazeray.report import figures
from gazeray.report.sections import gallery
from gazeray.report.validate import unit_hash, validate_run, without
from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig
from tests.report import fabricate as made

JOBS = Path(__file__).parents[2] / "jobs"


def job(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A valid run with everything in it. Its pictures are blank: no test looks at them."""
    run = Folder(tmp_path_factory.mktemp("source") / "run")
    made.fabricate(
        run, made.Scene(participants=6, trials=12, folds=3, epochs=3, gate=True, effect=1.0, maps_per_participant=12)
    )
    with pytest.MonkeyPatch.context() as patch:
        blank = figures.to_png(figures.new_figure(1, 1))
        patch.setattr(figures, "to_png", lambda figure: blank)
        patch.setattr(gallery, "EXAMPLES", 1)
        assert job("report").main([run.uri]) == 0
    return run


@pytest.fixture
def run(source: Folder, tmp_path: Path) -> Folder:
    shutil.copytree(source.uri, tmp_path / "run")
    return Folder(tmp_path / "run")


def edit_json(run: Folder, name: str, edit: Callable[[Any], Any]) -> None:
    content = run.read_json(name)
    edit(content)
    run.write_json(name, content)


def edit_rows(run: Folder, name: str, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    table = run.read_table(name)
    rows = table.to_pylist()
    edit(rows)
    run.write_table(name, pa.Table.from_pylist(rows, schema=table.schema))


def manifest(edit: Callable[[Any], Any]) -> Callable[[Folder], None]:
    return lambda run: edit_json(run, "manifest.json", edit)


def metrics(edit: Callable[[Any], Any]) -> Callable[[Folder], None]:
    return lambda run: edit_json(run, "metrics.json", edit)


def result(edit: Callable[[Any], Any]) -> Callable[[Folder], None]:
    return lambda run: edit_json(run, "units/fold-1/result.json", edit)


def rows(name: str, edit: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Folder], None]:
    return lambda run: edit_rows(run, name, edit)


def text(name: str, content: str) -> Callable[[Folder], None]:
    return lambda run: run.write_text(name, content)


def gone(name: str) -> Callable[[Folder], None]:
    return lambda run: run.delete(name)


def move(fold: dict[str, Any], name: str, start: str, end: str) -> None:
    fold[start].remove(name)
    fold[end].append(name)


def swap_prediction(row: dict[str, Any]) -> None:
    row["predicted"] = "control" if row["predicted"] == "pseudoword" else "pseudoword"
    row["scores"] = row["scores"][::-1]


def refuse_first(rows: list[dict[str, Any]]) -> None:
    rows[0]["gate"] = "lost_share 0.9 > quality.max_lost_share 0.5"


BROKEN = {
    # the manifest
    "still_running": (manifest(lambda m: m.update(status="running", finished=None)), "status is running"),
    "failed": (manifest(lambda m: m.update(status="failed")), "status is failed"),
    "done_but_not_finished": (manifest(lambda m: m.update(finished=None)), "status is done and finished is None"),
    "unknown_status": (manifest(lambda m: m.update(status="fine")), "manifest.json: status: "),
    "key_missing": (manifest(lambda m: m.pop("folds")), "manifest.json: folds: "),
    "value_of_wrong_type": (manifest(lambda m: m["counts"].update(examples="many")), "json: counts.examples: "),
    "config_edited": (manifest(lambda m: m["config"]["train"].update(epochs=9)), "config_hash is "),
    "seed_edited": (manifest(lambda m: m.update(seed=7)), "seed is 7, the config says otherwise"),
    "one_class": (manifest(lambda m: m.update(classes=["control"])), "at least two different ones"),
    "participants_miscounted": (manifest(lambda m: m["counts"].update(participants=5)), "participants counted, 6 in"),
    # the folds
    "tested_twice": (
        manifest(lambda m: move(m["folds"][0], m["folds"][0]["train"][0], "train", "test")), "is tested in folds 0, "),
    "never_tested": (
        manifest(lambda m: move(m["folds"][0], m["folds"][0]["test"][0], "test", "train")), "is never tested"),
    "on_two_sides": (
        manifest(lambda m: m["folds"][0]["train"].append(m["folds"][0]["test"][0])), "is on two sides: train, test"),
    "on_no_side": (manifest(lambda m: m["folds"][0]["train"].pop()), "is on no side"),
    "fold_twice": (manifest(lambda m: m["folds"][1].update(fold=0)), "folds are numbered 0, 0, 2"),
    "fold_without_unit": (manifest(lambda m: m["units"].pop("fold-2")), "fold-2: no unit"),
    "stimuli_not_there": (
        manifest(lambda m: m["config"]["folds"].update(hold_out="both")), "no stimuli, although both are held out"),
    # the units
    "unit_failed": (manifest(lambda m: m["units"].update({"fold-1": "failed"})), "units/fold-1/failure.json: missing"),
    "done_with_failures": (
        manifest(lambda m: m["units"].update({"fold-1": "failed"})), "status is done although units failed"),
    "result_gone": (gone("units/fold-1/result.json"), "units/fold-1/result.json: missing"),
    "result_is_no_json": (text("units/fold-1/result.json", "{"), "units/fold-1/result.json: cannot be read"),
    "result_is_a_list": (text("units/fold-1/result.json", "[1]"), "units/fold-1/result.json: not a JSON object"),
    "result_without_hash": (result(lambda r: r.pop("hash")), "units/fold-1/result.json: no hash"),
    "result_of_other_config": (result(lambda r: r.update(hash="0" * 64)), "its hash is not the one of config"),
    "result_of_other_unit": (result(lambda r: r.update(unit="fold-2")), "is of unit fold-2"),
    "data_changed": (manifest(lambda m: m["data"].update(fingerprint="c" * 64)), "its hash is not the one of config"),
    "log_gone": (gone("units/fold-1/metrics.jsonl"), "units/fold-1/metrics.jsonl: missing"),
    "log_cut": (text("units/fold-1/metrics.jsonl", '{"epoch": 1}\n'), "logs 1 epochs, the result says 3"),
    "log_torn": (text("units/fold-1/metrics.jsonl", '{"epoch": 1}\n{"ep'), "metrics.jsonl: cannot be read"),
    "weights_gone": (gone("units/fold-1/checkpoint/model.safetensors"), "model.safetensors: missing"),
    "weights_empty": (text("units/fold-1/checkpoint/model.safetensors", ""), "model.safetensors: empty"),
    "unit_file_gone": (result(lambda r: r.update(files=["extra.npz"])), "units/fold-1/extra.npz: missing or empty"),
    "explanations_gone": (result(lambda r: r.update(files=["explain.npz"])), "explain.npz: missing, although"),
    "fixations_without_onset": (
        lambda run: run.write_table("fixations.parquet", pa.table({"trial": ["1"]})), "parquet: no column"),
    "failure_left": (text("units/fold-1/failure.json", "{}"), "left behind in a unit that is done"),
    "unit_predictions_cut": (
        rows("units/fold-1/predictions.parquet", lambda r: r.pop()), "23 rows, 24 examples were tested"),
    "orphan_unit": (text("units/fold-9/result.json", "{}"), "units/fold-9: an orphan"),
    "orphan_setting": (text("units/fold-1/setting-0/trial.json", "{}"), "1 orphan settings"),
    "scratch_left": (text("ray/x/progress", "x"), "left behind by a killed run"),
    # the predictions
    "predictions_gone": (gone("predictions.parquet"), "predictions.parquet: missing"),
    "predictions_torn": (text("predictions.parquet", "PAR1 but no more"), "predictions.parquet: cannot be read"),
    "example_missing": (rows("predictions.parquet", lambda r: r.pop(3)), "71 rows for 72 examples"),
    "example_twice": (rows("predictions.parquet", lambda r: r.append(dict(r[0]))), "1 examples stand there more than"),
    "tested_by_other_fold": (
        rows("predictions.parquet", lambda r: r[0].update(fold=1)), "was not to be tested in fold 1"),
    "tested_by_no_fold": (rows("predictions.parquet", lambda r: r[0].update(fold=7)), "fold 7 is not in the manifest"),
    "unknown_class": (rows("predictions.parquet", lambda r: r[0].update(label="x")), "x: none of the classes"),
    "label_missing": (rows("predictions.parquet", lambda r: r[0].update(label=None)), "missing values in column label"),
    "scores_too_few": (rows("predictions.parquet", lambda r: r[0].update(scores=[1.0])), "must be 2 finite numbers"),
    "scores_not_finite": (
        rows("predictions.parquet", lambda r: r[0].update(scores=[float("nan"), 1.0])), "must be 2 finite numbers"),
    "predicted_is_not_best": (
        rows("predictions.parquet", lambda r: r[0].update(scores=r[0]["scores"][::-1])),
        "predicted is not the class with the highest score in 1 rows"),
    "prediction_changed": (
        rows("predictions.parquet", lambda r: swap_prediction(r[0])), "metrics.json: accuracy of the model is "),
    # the scores
    "metrics_gone": (gone("metrics.json"), "metrics.json: missing"),
    "metrics_key_missing": (metrics(lambda m: m.pop("permutation")), "metrics.json: no permutation"),
    "accuracy_edited": (
        metrics(lambda m: m["metrics"]["accuracy"].update(value=0.99)), "accuracy of the model is 0.99, "),
    "score_undefined": (metrics(lambda m: m["metrics"]["auroc"].update(value=None)), "auroc of the model is None"),
    "baseline_edited": (
        metrics(lambda m: m["metrics"]["auroc"]["baselines"].update(logistic_regression=0.1)),
        "auroc of logistic_regression is 0.1"),
    "trials_miscounted": (metrics(lambda m: m["n"].update(trials=71)), "n.trials is 71, not 72"),
    "confusion_edited": (
        metrics(lambda m: m["participants"].update(P02={"confusion": [[9, 9], [9, 9]]})),
        "the confusion of 1 participants"),
    "fold_score_edited": (
        metrics(lambda m: m["folds"][0]["metrics"].update(accuracy=0.123)), "fold-0: accuracy is 0.123"),
    "fold_not_scored": (metrics(lambda m: m["folds"].pop(0)), "fold-0 is not scored"),
    "search_of_no_config": (metrics(lambda m: m.update(search={"metric": "accuracy", "folds": []})), "a search, "),
    # maps, tables, the page
    "map_gone": (gone("maps/0001.npz"), "maps/0001.npz is not there"),
    "map_empty": (text("maps/0001.npz", ""), "1 empty files: maps/0001.npz"),
    "orphan_map": (text("maps/stranger.npz", "x"), "1 orphans, in no index: maps/stranger.npz"),
    "index_gone": (gone("maps/index.parquet"), "maps/index.parquet: missing"),
    "index_row_missing": (rows("maps/index.parquet", lambda r: r.pop()), "not one row for each prediction"),
    "rejects_gone": (gone("rejects.parquet"), "rejects.parquet: missing"),
    "rejects_miscounted": (rows("rejects.parquet", lambda r: r.pop()), "2 rows, the manifest counts 3"),
    "rejects_of_wrong_type": (
        lambda run: run.write_table("rejects.parquet", pa.table({name: ["x"] * 3 for name in made.REJECT_COLUMNS})),
        "wrong type of column row"),
    "quality_gone": (gone("quality.parquet"), "quality.parquet: missing"),
    "quality_without_column": (
        lambda run: run.write_table("quality.parquet", pa.table({"participant": ["P01"]})), "parquet: no column"),
    "quality_row_missing": (rows("quality.parquet", lambda r: r.pop(0)), "1 tested trials are missing: P01 1"),
    "quality_row_twice": (rows("quality.parquet", lambda r: r.append(dict(r[0]))), "1 trials stand there more than"),
    "refused_and_tested": (rows("quality.parquet", refuse_first), "were refused and tested all the same: P01 1"),
    "explanations_torn": (text("explain.npz", "no archive"), "explain.npz: cannot be read"),
    "report_gone": (gone("report.html"), "report.html: missing"),
    "report_of_other_run": (text("report.html", "<p>"), "report.html: drawn of another run"),
}  # fmt: skip


def test_whole_run_is_valid(run: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    assert job("validate_run").main([run.uri]) == 0
    assert capsys.readouterr().out == f"{run.uri}: valid\n"


@pytest.mark.parametrize("how", BROKEN)
def test_broken_run_is_found_out(run: Folder, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    harm, expected = BROKEN[how]
    harm(run)
    assert job("validate_run").main([run.uri]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if expected in line], lines
    assert all(": " in line for line in lines)


def test_failed_unit_is_reported_with_its_reason(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.Scene(participants=6, trials=12, folds=3, epochs=3, failed=(2,), maps_per_participant=12))
    found = [str(finding) for finding in validate_run(run)]
    assert "units/fold-2: failed: RuntimeError: loss is <nan> in epoch 2" in found
    assert not [line for line in found if line.startswith(("metrics.json", "predictions", "maps"))]


def test_searched_run_is_valid_and_its_outer_scores_are_checked(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(
        run, made.Scene(participants=6, trials=12, folds=3, epochs=3, searched=True, maps_per_participant=12)
    )
    run.write_text("units/fold-1/setting-0/trial.json", "{}")
    assert [finding.where for finding in validate_run(run)] == ["report.html"]
    edit_json(run, "metrics.json", lambda m: m["search"]["folds"][0].update(outer_score=1.5))
    assert "the search's outer score is not that of fold 0" in " ".join(map(str, validate_run(run)))


def test_stimuli_on_two_sides_are_found(run: Folder) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["config"]["folds"]["hold_out"] = "stimuli"
        for fold in content["folds"]:
            fold["stimuli"] = {"train": ["a", "b"], "validation": [], "test": ["b"]}

    edit_json(run, "manifest.json", edit)
    found = " ".join(map(str, validate_run(run)))
    assert "stimulus b is on two sides: " in found
    assert "stimulus a is never tested" in found


@pytest.mark.parametrize("content", [None, "{", "[]"])
@pytest.mark.parametrize("name", ["validate_run", "report"])
def test_what_is_no_run_folder_exits_2(
    tmp_path: Path, name: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert job(name).main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert job(name).main(["nosuchscheme://x"]) == 2


def test_report_is_drawn_again_from_the_folder_alone(source: Folder, tmp_path: Path) -> None:
    shutil.copytree(source.uri, tmp_path / "run", ignore=shutil.ignore_patterns("report.html", "figures", "maps"))
    run = Folder(tmp_path / "run")
    assert job("report").main([run.uri]) == 0
    first = run.read_bytes("report.html")
    assert run.exists("figures/roc.png")
    assert job("report").main([run.uri]) == 0
    assert run.read_bytes("report.html") == first


def test_hash_of_config_agrees_with_the_engines_own() -> None:
    from gazeray.config import RESULT_FREE, digest

    cfg = load_config(HeatmapConfig, None, ["run.dir=elsewhere", "resources.workers=3", "data.cache_gb=1"])
    assert digest(without(cfg.model_dump(mode="json"), RESULT_FREE))[:10] == config_hash(cfg)


def test_hash_of_a_unit_agrees_with_the_engines_own() -> None:
    from types import SimpleNamespace as Plain

    from gazeray.engine import cross_validation
    from gazeray.learn.folds import Fold

    fold = Fold(1, ["a"], ["b"], ["c"])
    variant = Plain(source=Plain(cache=Plain(content="f" * 64)), setting={})
    run: Any = Plain(manifest={"config_hash": "0123456789"})
    unit = cross_validation._unit(run, [variant], fold, None)
    manifest = {"config_hash": "0123456789", "data": {"fingerprint": "f" * 64}}
    assert unit_hash(manifest, fold.__dict__) == unit.hash
