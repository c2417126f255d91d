# SPDX-License-Identifier: Apache-2.0
"""jobs/validate_run.py finds every way in which a run can be broken; jobs/report.py draws from the run folder alone."""

from __future__ import annotations

import importlib.util
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from pydantic import BaseModel
from rich.console import Console

from gazeray.config import RESULT_FREE, config_hash, digest, load_config, read_yaml
from gazeray.engine.experiment import run as run_study
from gazeray.engine.progress import ProgressView
from gazeray.engine.run_files import value_differences
from gazeray.engine.validate import validate_run, without
from gazeray.gaze.declaration import DatasetSpec
from gazeray.report import figures
from gazeray.report.sections import gallery
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.storage import Folder
from gazeray.storage.seals import unsealed, write_sealed
from gazeray.studies import KNOWN, study_of
from gazeray.studies.heatmap.study import HeatmapConfig
from gazeray.studies.shared import baselines
from gazeray.tables import REJECTS
from tests.report.cards import check_heatmap_model, run_code
from tests.report.crates import check_folder

JOBS = Path(__file__).parents[2] / "jobs"


def job(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READING = [
    *("resources.workers=0", "data.simulate.readers=6", "data.simulate.sentences=4", "folds.outer=3"),
    *("train.epochs=2", "model.width=2", "render.height_px=16", "render.width_px=16", "render.sigma_px=40"),
    *("explain.methods=[gradient]", "explain.random_networks=1", "scores.resamples=100", "scores.permutations=99"),
]
SCENES = [
    *("resources.workers=0", "data.simulate.pictures=12", "data.simulate.width_px=160", "data.simulate.height_px=120"),
    *("folds.outer=3", "baselines.splits=1", "score.longest_px=20", "score.resamples=100", "show.pictures=1"),
]
PROBES = [*SCENES, "backbone.arch=resnet18", "backbone.layers=[layer1, layer3]", "backbone.longest_px=64",
          "probes.kinds=[readout, ridge]", "probes.readout.epochs=2", "probes.readout.longest_px=20"]  # fmt: skip


def make_run(folder: Path, study: str, words: list[str]) -> Folder:
    """A run of the job in this process, its report not drawn."""
    cfg = load_config(KNOWN[study].settings.get(), None, [f"run.dir={folder}", *words])
    outcome = run_study(KNOWN[study].study(cfg), "job", ProgressView(Console(file=io.StringIO())))
    return outcome.run


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A valid run of the heatmap study. Its report's pictures are blank: no test looks at them."""
    run = make_run(tmp_path_factory.mktemp("source"), "heatmap", READING)
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


def result(edit: Callable[[Any], Any], unit: str = "fold-1") -> Callable[[Folder], None]:
    """A result that says of itself that it is whole, as one does that was computed wrongly."""

    def harm(run: Folder) -> None:
        content = unsealed(run.read_json(f"units/{unit}/result.json"))
        edit(content)
        write_sealed(run, f"units/{unit}/result.json", content)

    return harm


def rows(name: str, edit: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Folder], None]:
    return lambda run: edit_rows(run, name, edit)


def text(name: str, content: str) -> Callable[[Folder], None]:
    return lambda run: run.write_text(name, content)


def gone(name: str) -> Callable[[Folder], None]:
    return lambda run: run.delete(name)


def move(fold: dict[str, Any], name: str, start: str, end: str) -> None:
    fold[start].remove(name)
    fold[end].append(name)


def both_predictions(edit: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Folder], None]:
    """Harm the first row of the run's predictions and the same row of its unit's."""

    def harm(run: Folder) -> None:
        edit_rows(run, "predictions.parquet", edit)
        first = run.read_table("predictions.parquet").to_pylist()[0]["trial"]
        edit_rows(
            run, "units/fold-0/predictions.parquet", lambda rows: rows.sort(key=lambda row: row["trial"] != first)
        )
        edit_rows(run, "units/fold-0/predictions.parquet", edit)

    return harm


def swap_prediction(row: dict[str, Any]) -> None:
    row["predicted"] = "control" if row["predicted"] == "pseudoword" else "pseudoword"
    row["scores"] = row["scores"][::-1]


def refuse_first(rows: list[dict[str, Any]]) -> None:
    rows[0]["gate"] = "lost_share 0.9 > quality.max_lost_share 0.5"


def a_map(run: Folder) -> str:
    return str(run.read_table("maps/index.parquet")["path"][0])


UNIT = "units/fold-1"
TABLE = "predictions.parquet"
BROKEN: dict[str, tuple[Callable[[Folder], Any], str]] = {
    # the manifest
    "still_running": (manifest(lambda m: m.update(status="running", finished=None)), "status is running"),
    "failed": (manifest(lambda m: m.update(status="failed")), "status is failed"),
    "done_but_not_finished": (manifest(lambda m: m.update(finished=None)), "status is done and finished is None"),
    "unknown_status": (manifest(lambda m: m.update(status="fine")), "manifest.json: status: "),
    "unknown_study": (manifest(lambda m: m.update(study="other")), "study: 'other' is none of heatmap, "),
    "key_missing": (manifest(lambda m: m.pop("folds")), "computed again from the run folder: KeyError: 'folds'"),
    "value_of_wrong_type": (manifest(lambda m: m["counts"].update(examples="many")), "json: counts.examples: "),
    "config_edited": (manifest(lambda m: m["config"]["train"].update(epochs=9)), "config_hash is "),
    "config_no_longer_known": (manifest(lambda m: m["config"]["train"].update(epoch=9)), "train.epoch: unknown"),
    "seed_edited": (manifest(lambda m: m.update(seed=7)), "seed is 7, the config says otherwise"),
    "data_changed": (manifest(lambda m: m["data"].update(fingerprint="c" * 64)), "unit_hashes are not those of this "),
    "one_class": (manifest(lambda m: m.update(classes=["control"])), "at least two different ones"),
    "participants_miscounted": (manifest(lambda m: m["counts"].update(participants=5)), "participants counted, 6 in"),
    # the folds
    "tested_twice": (
        manifest(lambda m: move(m["folds"][0], m["folds"][0]["train"][0], "train", "test")), "is tested in 2 folds"),
    "never_tested": (
        manifest(lambda m: move(m["folds"][0], m["folds"][0]["test"][0], "test", "train")), "is never tested"),
    "on_two_sides": (
        manifest(lambda m: m["folds"][0]["train"].append(m["folds"][0]["test"][0])), "is on two sides: train, test"),
    "validated_and_trained_on": (
        manifest(lambda m: m["folds"][0]["train"].append(m["folds"][0]["validation"][0])), "sides: train, validation"),
    "on_no_side": (manifest(lambda m: m["folds"][0]["train"].pop()), "is on no side"),
    "fold_twice": (manifest(lambda m: m["folds"][1].update(fold=0)), "folds are numbered 0, 0, 2"),
    "fold_without_unit": (manifest(lambda m: m["units"].pop("fold-2")), "fold-2 is not both in units and"),
    "unit_forgotten": (
        manifest(lambda m: (m["units"].pop("fold-2"), m["unit_hashes"].pop("fold-2"))), "fold-2: an orphan"),
    "stimuli_not_there": (
        manifest(lambda m: m["config"]["folds"].update(hold_out="both")), "no stimulus on any side, although"),
    # the units
    "command_gone": (manifest(lambda m: m.pop("command")), "manifest.json: command: "),
    "code_without_a_commit": (manifest(lambda m: m.update(git={"dirty": False})), "manifest.json: git.commit: "),
    "machine_gone": (manifest(lambda m: m["machine"].pop("cpu")), "manifest.json: machine.cpu: "),
    "seconds_gone": (manifest(lambda m: m["seconds"].pop("fold-2")), "fold-2 is not both done and in seconds"),
    "time_ran_back": (manifest(lambda m: m["earlier"].append({"seconds_total": 1e6})), "seconds_total is less than"),
    "declared_elsewhere": (manifest(lambda m: m["data"]["declaration"].update(name="x")), "the declaration is of x, "),
    "unit_failed": (manifest(lambda m: m["units"].update({"fold-1": "failed"})), f"{UNIT}/failure.json: missing"),
    "done_with_failures": (
        manifest(lambda m: m["units"].update({"fold-1": "failed"})), "status is done although units failed"),
    "result_gone": (gone(f"{UNIT}/result.json"), f"{UNIT}/result.json: missing"),
    "result_is_no_json": (text(f"{UNIT}/result.json", "{"), f"{UNIT}/result.json: cannot be read"),
    "result_is_a_list": (text(f"{UNIT}/result.json", "[1]"), f"{UNIT}/result.json: not a JSON object"),
    "result_without_hash": (result(lambda r: r.pop("hash")), f"{UNIT}/result.json: no hash"),
    "result_of_other_config": (result(lambda r: r.update(hash="0" * 64)), "its hash is not the one in the manifest"),
    "result_of_other_unit": (result(lambda r: r.update(unit="fold-2")), "is of unit fold-2"),
    "result_edited": (result(lambda r: r["metrics"].update(accuracy=0.123)), "its metrics are not those of its pred"),
    "result_miscounted": (result(lambda r: r["n"].update(test=99)), "99 examples tested, "),
    "log_gone": (gone(f"{UNIT}/metrics.jsonl"), f"{UNIT}/metrics.jsonl: missing"),
    "log_cut": (text(f"{UNIT}/metrics.jsonl", '{"epoch": 1}\n'), "logs 1 epochs, the result says 2"),
    "log_torn": (text(f"{UNIT}/metrics.jsonl", '{"epoch": 1}\n{"ep'), "metrics.jsonl: cannot be read"),
    "weights_gone": (gone(f"{UNIT}/checkpoint/model.safetensors"), "model.safetensors: missing"),
    "weights_empty": (text(f"{UNIT}/checkpoint/model.safetensors", ""), "model.safetensors: 0 bytes, "),
    "unit_file_gone": (
        result(lambda r: r["files"].update({f"{UNIT}/extra.npz": {"size": 1, "sha256": ""}})), "/extra.npz: missing"),
    "explanations_of_unit_gone": (gone(f"{UNIT}/explain.npz"), f"{UNIT}/explain.npz: missing"),
    "explanations_gone": (gone("explain.npz"), "explain.npz: missing"),
    "explanations_torn": (text("explain.npz", "no archive"), "explain.npz: cannot be read"),
    "failure_left": (text(f"{UNIT}/failure.json", "{}"), "left behind in a unit that is done"),
    "unit_predictions_cut": (rows(f"{UNIT}/{TABLE}", lambda r: r.pop()), f"{TABLE}: 24 rows, the units give 23"),
    "orphan_unit": (text("units/fold-9/result.json", "{}"), "units/fold-9: an orphan"),
    "orphan_setting": (text(f"{UNIT}/setting-0/trial.json", "{}"), "1 orphan settings"),
    "scratch_left": (text("ray/x/progress", "x"), "left behind by a killed run"),
    # the predictions
    "predictions_gone": (gone(TABLE), f"{TABLE}: missing"),
    "predictions_torn": (text(TABLE, "PAR1 but no more"), f"{TABLE}: cannot be read"),
    "example_missing": (rows(TABLE, lambda r: r.pop(3)), "23 rows, the units give 24"),
    "example_twice": (rows(TABLE, lambda r: r.append(dict(r[0]))), "1 examples stand there more than"),
    "tested_by_other_fold": (rows(TABLE, lambda r: r[0].update(fold=1)), "was not to be tested in fold 1"),
    "tested_by_no_fold": (rows(TABLE, lambda r: r[0].update(fold=7)), "fold 7 is not in the manifest"),
    "unknown_class": (rows(TABLE, lambda r: r[0].update(label="x")), "label of row 0 is 'x', the units say"),
    "unknown_class_everywhere": (both_predictions(lambda r: r[0].update(label="x")), "x: none of the classes"),
    "label_missing": (rows(TABLE, lambda r: r[0].update(label=None)), "label of row 0 is None, the units say"),
    "scores_too_few": (both_predictions(lambda r: r[0].update(scores=[1.0])), "must be 2 finite numbers"),
    "scores_not_finite": (
        both_predictions(lambda r: r[0].update(scores=[float("nan"), 1.0])), "must be 2 finite numbers"),
    "predicted_is_not_best": (
        both_predictions(lambda r: r[0].update(scores=r[0]["scores"][::-1])),
        "predicted is not the class with the highest score in 1 rows"),
    "prediction_changed": (rows(TABLE, lambda r: swap_prediction(r[0])), "predicted of row 0 is '"),
    "prediction_changed_everywhere": (
        both_predictions(lambda r: swap_prediction(r[0])), "metrics.json: metrics.accuracy.value is "),
    # the scores
    "metrics_gone": (gone("metrics.json"), "metrics.json: missing"),
    "metrics_key_missing": (metrics(lambda m: m.pop("permutation")), "metrics.json: permutation is missing"),
    "accuracy_edited": (
        metrics(lambda m: m["metrics"]["accuracy"].update(value=0.99)), "metrics.accuracy.value is 0.99, computed "),
    "interval_edited": (
        metrics(lambda m: m["rows"]["cnn"]["accuracy"].update(ci95=[0.8, 0.9])), "rows.cnn.accuracy.ci95[0] is 0.8, "),
    "score_undefined": (metrics(lambda m: m["metrics"]["auroc"].update(value=None)), "auroc.value is null, computed"),
    "baseline_edited": (
        metrics(lambda m: m["metrics"]["auroc"]["baselines"].update(logistic_regression=0.1)),
        "metrics.auroc.baselines.logistic_regression is 0.1"),
    "trials_miscounted": (metrics(lambda m: m["n"].update(trials=71)), "n.trials is 71, computed again 24"),
    "confusion_edited": (
        metrics(lambda m: m["participants"].update(P99={"confusion": [[9, 9], [9, 9]]})),
        "participants.P99 is not to be there"),
    "explanations_edited": (metrics(lambda m: m["explanations"].clear()), "metrics.json: explanations."),
    "fold_score_edited": (
        metrics(lambda m: m["folds"][0]["metrics"].update(accuracy=0.123)), "folds[0].metrics.accuracy is 0.123"),
    "fold_not_scored": (metrics(lambda m: m["folds"].pop(0)), "metrics.json: folds is "),
    "search_of_no_config": (
        metrics(lambda m: m.update(search={"metric": "accuracy", "folds": []})), "search is not to be there"),
    # maps, tables, the page
    "map_gone": (lambda run: run.delete(a_map(run)), ".npz is not there"),
    "map_empty": (lambda run: run.write_text(a_map(run), ""), ".npz: cannot be read"),
    "orphan_map": (text("maps/stranger.npz", "x"), "1 orphans, in no index: maps/stranger.npz"),
    "index_gone": (gone("maps/index.parquet"), "maps/index.parquet: missing"),
    "index_row_missing": (rows("maps/index.parquet", lambda r: r.pop()), "index.parquet: 23 rows, the units give 24"),
    "rejects_gone": (gone("rejects.parquet"), "rejects.parquet: missing"),
    "rejects_miscounted": (manifest(lambda m: m["counts"].update(rejected=3)), "0 rows, the manifest counts 3"),
    "rejects_of_wrong_type": (
        lambda run: run.write_table("rejects.parquet", pa.table({name: pa.array([], "f4") for name in REJECTS.names})),
        "wrong type of column source, "),
    "quality_gone": (gone("quality.parquet"), "quality.parquet: missing"),
    "quality_without_column": (
        lambda run: run.write_table("quality.parquet", pa.table({"participant": ["P01"]})), "its columns are p"),
    "fixations_without_onset": (
        lambda run: run.write_table("fixations.parquet", pa.table({"trial": ["1"]})), "its columns are trial, not"),
    "quality_row_missing": (rows("quality.parquet", lambda r: r.pop(0)), "1 tested trials are missing: "),
    "quality_row_twice": (rows("quality.parquet", lambda r: r.append(dict(r[0]))), "1 trials stand there more than"),
    "refused_and_tested": (rows("quality.parquet", refuse_first), "1 tested trials were refused and tested all the"),
    "report_gone": (gone("report.html"), "report.html: missing"),
    "report_of_other_run": (text("report.html", "<p>"), "report.html: drawn of another run"),
}  # fmt: skip


def check_declared(run: Folder, spec: type[BaseModel]) -> None:
    """The manifest holds the declaration of the data set as it is validated."""
    data = run.read_json("manifest.json")["data"]
    declared = read_yaml(Path(data["root"]) / "dataset.yaml")
    assert data["declaration"] == spec.model_validate(declared).model_dump(mode="json")


def test_whole_run_is_valid(run: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    check_declared(run, DatasetSpec)
    assert "report.html" in check_folder(run)
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


def test_failed_unit_is_reported_with_its_reason(run: Folder) -> None:
    run.delete(f"{UNIT}/result.json")
    run.write_json(f"{UNIT}/failure.json", {"unit": "", "hash": "", "status": "failed", "error": "loss is <nan>"})
    edit_json(run, "manifest.json", lambda m: m.update(status="failed", units={**m["units"], "fold-1": "failed"}))
    found = validate_run(run, study_of)
    assert "units/fold-1: failed: loss is <nan>" in found
    assert "predictions.parquet: 24 rows, the units give 16" in found


def test_maps_of_a_fold_that_is_not_scored_are_no_orphans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CNN of a fold left its maps; what stands beside it failed, so that the fold is in no table of the run."""
    test = baselines._test

    def fails(*given: Any) -> Any:
        if given[-2].fold == 1:
            raise RuntimeError("no memory")
        return test(*given)

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "_test", fails)
        run = make_run(tmp_path, "heatmap", READING)
    assert len([stat for stat in run.list("maps") if stat.path.endswith(".npz")]) == 24
    assert run.read_table("maps/index.parquet").num_rows == 16
    told = ["manifest.json: status is failed: some units failed", "units/baselines-1: failed: RuntimeError: no memory"]
    assert [line for line in validate_run(run, study_of) if not line.startswith("report.html")] == told
    run.write_text("maps/stranger.npz", "x")
    assert "maps: 1 orphans, in no index: maps/stranger.npz" in validate_run(run, study_of)
    mended = make_run(tmp_path, "heatmap", READING)
    assert [line for line in validate_run(mended, study_of) if not line.startswith("report.html")] == []
    assert mended.read_table("maps/index.parquet").num_rows == 24


def test_run_of_an_older_version_is_refused_in_one_line(run: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    edit_json(run, "manifest.json", lambda m: m.update(layout=1))
    assert job("validate_run").main([run.uri]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["search={space: {train: {learning_rate: [0.001, 0.01]}}, grace_epochs: 1}", "folds.inner=2"],
        ["folds.hold_out=both", "folds.outer=2", "folds.stimuli=2", "data.simulate.sentences=8"],
        ["folds.hold_out=stimuli", "folds.outer=2", "data.simulate.sentences=8", "explain.maps=false"],
        ["folds.path=DEALT", "folds.hold_out=stimuli"],
    ],
    ids=["search", "both", "stimuli", "dealt_elsewhere"],
)
def test_every_kind_of_folds_is_valid(words: list[str], source: Folder, tmp_path: Path) -> None:
    if "folds.path=DEALT" in words:
        deal(source, tmp_path / "folds.csv")
        words = [word.replace("DEALT", str(tmp_path / "folds.csv")) for word in words]
    run = make_run(tmp_path, "heatmap", [*READING, *words])
    assert validate_run(run, study_of) == ["report.html: missing; jobs/report.py draws it"]
    if words[0].startswith("search"):
        edit_json(run, "metrics.json", lambda m: m["search"]["folds"][0].update(outer_score=1.5))
        assert "search.folds[0].outer_score is 1.5, computed again" in " ".join(validate_run(run, study_of))
        return
    kind = "test" if words[0] == "folds.hold_out=both" else "validation"
    edit_json(
        run, "manifest.json", lambda m: m["folds"][0]["stimuli"]["test"].append(m["folds"][0]["stimuli"][kind][0])
    )
    if kind == "validation":
        assert "is on two sides: validation, test" in " ".join(validate_run(run, study_of))


def deal(source: Folder, path: Path) -> None:
    """Two folds by text, the first of which is tested in both of them."""
    stimuli = sorted(set(source.read_table(TABLE)["stimulus"].to_pylist()))
    lines = ["fold,stimulus,side"]
    for fold in range(2):
        sides = dict.fromkeys(stimuli, "train") | {stimuli[1 + fold]: "val", stimuli[0]: "test"}
        lines += [f"{fold},{stimulus},{side}" for stimulus, side in sides.items()]
    path.write_text("\n".join(lines) + "\n")


SCORED: dict[str, tuple[Callable[[Folder], Any], str]] = {
    "row_edited": (metrics(lambda m: m["rows"]["uniform"]["nss"].update(n=99)), "rows.uniform.nss.n is 99, computed "),
    "best_edited": (metrics(lambda m: m.update(best="uniform")), 'best is "uniform", computed again "model:'),
    "pictures_miscounted": (manifest(lambda m: m["folds"][0].update(pictures=1)), "folds hold another number"),
    "picture_scored_twice": (
        rows("per_item.parquet", lambda r: r.append(dict(r[0]))), "per_item.parquet: scored twice: "),
    "picture_in_two_folds": (
        rows("per_item.parquet", lambda r: r[0].update(fold=9)), "per_item.parquet: in several folds: "),
    "flow_does_not_add_up": (
        manifest(lambda m: m["flow"]["steps"][0].update(pictures=999)), "flow: pictures: 999 declared, "),
    "picture_not_scored": (manifest(lambda m: m["judged"].append("x")), "not both judged and scored: x"),
    "scores_of_unit_gone": (gone("units/baselines-fold-0/scores.parquet"), "scores.parquet: missing"),
    "maps_of_unit_gone": (gone("units/baselines-fold-0/maps.safetensors"), "maps.safetensors: missing"),
    "means_edited": (
        result(lambda r: r["means"]["uniform"].update(nss=5), "baselines-fold-0"),
        "its means are not those of scores.parquet"),
    "map_gone": (lambda run: run.delete(a_map(run)), ".npz is not there"),
}  # fmt: skip


@pytest.mark.parametrize(("study", "words"), [("score_maps", SCENES), ("probe_saliency", PROBES)])
def test_comparisons_of_pictures_are_computed_again(
    study: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, study, words)
    assert validate_run(run, study_of) == ["report.html: missing; jobs/report.py draws it"]
    check_declared(run, PictureSetSpec)
    assert "report.html" not in check_folder(run)
    for how, (harm, expected) in SCORED.items():
        copy = Folder(tmp_path / "copies" / how)
        shutil.copytree(run.uri, copy.uri)
        harm(copy)
        assert expected in " ".join(validate_run(copy, study_of)), how
    if study == "probe_saliency":
        check_probes(run, monkeypatch)


def check_probes(run: Folder, patch: pytest.MonkeyPatch) -> None:
    """The code of the model card predicts maps by either kind of probe whose weights are kept."""
    blank = figures.to_png(figures.new_figure(1, 1))
    patch.setattr(figures, "to_png", lambda figure: blank)
    for probe in ("readout", "ridge"):
        edit_json(run, "metrics.json", lambda m, best=f"model:layer1:{probe}": m.update(best=best))
        assert job("report").main([run.uri]) == 0
        found = run_code(run, patch)
        assert found["own"]["weights"].shape == (64,)
        assert ("model" in found) == (probe == "readout")
        if probe == "readout":
            density = found["model"].log_density(found["features"], (15, 20)).exp()
            assert float(density.sum()) == pytest.approx(1)


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
    metadata = run.read_bytes("ro-crate-metadata.json")
    assert job("report").main([run.uri]) == 0
    assert run.read_bytes("report.html") == first
    assert run.read_bytes("ro-crate-metadata.json") == metadata


def test_code_of_the_model_card_loads_the_model_that_was_tested(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    check_heatmap_model(run, monkeypatch)
    edit_json(run, "metrics.json", lambda m: m["rows"].clear())  # the card is drawn of what lies there
    run.delete("units/fold-0/result.json")
    assert job("report").main([run.uri]) == 0
    assert "units/fold-1/checkpoint" in run.read_text("model_card.md")
    run_code(run, monkeypatch)


def test_hash_of_config_agrees_with_the_engines_own() -> None:
    cfg = load_config(HeatmapConfig, None, ["run.dir=elsewhere", "resources.workers=3", "data.cache_gb=1"])
    assert digest(without(cfg.model_dump(mode="json"), RESULT_FREE))[:10] == config_hash(cfg)


def test_many_differences_are_counted() -> None:
    found = value_differences("m.json", {"a": list(range(99))}, {"a": [-1] * 99})
    assert len(found) == 21
    assert found[-1] == "m.json: and 79 more differences"
    assert value_differences("m.json", {"a": 1.0}, {"a": 1 + 1e-12}) == []
    assert value_differences("m.json", {"a": True}, {"a": 1}) == ["m.json: a is true, computed again 1"]
