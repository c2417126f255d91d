# SPDX-License-Identifier: Apache-2.0
"""One file of each kind is damaged: validation names it, and the same command does it again, says so, and ends with the
numbers of a run that was never harmed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from gazeray.engine import run
from gazeray.engine.cli import main
from gazeray.engine.validate import validate_run
from gazeray.report.results import read_results
from gazeray.storage import Folder
from gazeray.studies import study_of
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.unit import Json, UnitFolder
from tests.engine.toy import Adds, BlobStudy, Says, config, do

READING = [
    *("resources.workers=0", "data.simulate.readers=6", "data.simulate.sentences=4", "folds.outer=2", "folds.inner=2"),
    *("train.epochs=2", "model.width=2", "render.height_px=16", "render.width_px=16", "render.sigma_px=40"),
    *("explain.methods=[gradient]", "explain.random_networks=1", "scores.resamples=100", "scores.permutations=99"),
]


class Job:
    """The heatmap job in one folder, with a report of one line."""

    def __init__(self, folder: Path) -> None:
        self.runs, self.whole = folder / "runs", folder / "whole"
        (folder / "empty.yaml").write_text("")
        self.config = folder / "empty.yaml"
        self.drawn = 0

    @property
    def run(self) -> Folder:
        return Folder(next(self.runs.glob("job-*")))

    def draw(self, run: Folder) -> None:
        self.drawn += 1
        run.write_text("report.html", f"of {run.read_json('manifest.json')['config_hash']}")
        run.write_bytes("figures/roc.png", b"a picture")

    def __call__(self, *words: str) -> int:
        words = (*READING, f"run.dir={self.runs}", *words)
        return main(HeatmapStudy, HeatmapConfig, "job", self.config, self.draw, words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("damage"))
    assert job() == 0
    assert validate_run(job.run, study_of) == []
    shutil.copytree(job.runs, job.whole)
    return job


@pytest.fixture
def job(finished: Job) -> Job:
    """The finished run, as it was."""
    shutil.rmtree(finished.runs)
    shutil.copytree(finished.whole, finished.runs)
    finished.drawn = 0
    return finished


def cut(path: str) -> Callable[[Folder], None]:
    """Half of a file is lost."""

    def harm(run: Folder) -> None:
        data = run.read_bytes(path)
        run.write_bytes(path, data[: len(data) // 2])

    return harm


def flipped(path: str) -> Callable[[Folder], None]:
    """One bit of a file is another."""

    def harm(run: Folder) -> None:
        data = bytearray(run.read_bytes(path))
        data[len(data) // 2] ^= 1
        run.write_bytes(path, bytes(data))

    return harm


def swapped(path: str, other: str) -> Callable[[Folder], None]:
    """A file lies in another's place."""
    return lambda run: run.write_bytes(path, run.read_bytes(other))


def two_rows_less(run: Folder) -> None:
    table = run.read_table("units/fold-0/predictions.parquet")
    run.write_table("units/fold-0/predictions.parquet", table.slice(0, table.num_rows - 2))


def scores_reversed(run: Folder) -> None:
    result = run.read_json("units/fold-0/result.json")
    result["metrics"] = dict(zip(result["metrics"], reversed(result["metrics"].values()), strict=True))
    run.write_json("units/fold-0/result.json", result)


def a_map(run: Folder) -> str:
    return str(run.read_table("maps/index.parquet")["path"][0])


UNIT = "units/fold-0"
RESULT, PREDICTIONS = f"{UNIT}/result.json", f"{UNIT}/predictions.parquet"
HARMED: dict[str, tuple[Callable[[Folder], object], str, str]] = {
    # what is done to the folder; the file that validation names; what the run says in one line
    "result_cut": (cut(RESULT), RESULT, "fold-0: result.json: cut short, or no JSON; done"),
    "result_empty": (lambda run: run.write_text(RESULT, ""), RESULT, "fold-0: result.json: cut short"),
    "result_a_list": (lambda run: run.write_text(RESULT, "[1]"), RESULT, "fold-0: result.json: not a JSON object"),
    "scores_reversed": (scores_reversed, RESULT, "fold-0: result.json: not as it was written: its digest differs"),
    "result_of_another": (swapped(RESULT, "units/fold-1/result.json"), RESULT, "fold-0: result.json: is of unit fold"),
    "predictions_of_another": (
        swapped(PREDICTIONS, "units/fold-1/predictions.parquet"), PREDICTIONS, "fold-0: predictions.parquet: "),
    "predictions_two_rows_less": (two_rows_less, PREDICTIONS, "fold-0: predictions.parquet: "),
    "predictions_with_another_bit": (
        flipped(PREDICTIONS), PREDICTIONS, "fold-0: predictions.parquet: its SHA-256 differs from what was written"),
    "predictions_gone": (
        lambda run: run.delete(PREDICTIONS), PREDICTIONS, "fold-0: predictions.parquet: missing; done again"),
    "explanations_cut": (cut(f"{UNIT}/explain.npz"), f"{UNIT}/explain.npz", "fold-0: explain.npz: "),
    "log_cut": (cut(f"{UNIT}/metrics.jsonl"), f"{UNIT}/metrics.jsonl", "fold-0: metrics.jsonl: "),
    "weights_cut": (
        cut(f"{UNIT}/checkpoint/model.safetensors"), "model.safetensors", "fold-0: checkpoint/model.safetensors: "),
    "map_cut": (lambda run: cut(a_map(run))(run), "maps/", ": maps/"),
    "manifest_cut": (cut("manifest.json"), "", "manifest.json: cut short, or no JSON; written again, units are kept"),
    "metrics_cut": (cut("metrics.json"), "metrics.json", "metrics.json: "),
    "table_cut": (cut("predictions.parquet"), "predictions.parquet", "predictions.parquet: "),
    "quality_cut": (cut("quality.parquet"), "quality.parquet", "quality.parquet: "),
    "report_cut": (cut("report.html"), "report.html", "report.html: "),
    "report_gone": (lambda run: run.delete("report.html"), "report.html", "report.html: missing; drawn again"),
    "figure_cut": (cut("figures/roc.png"), "figures/roc.png", "figures/roc.png: "),
    "crate_cut": (cut("ro-crate-metadata.json"), "ro-crate-metadata.json", "ro-crate-metadata.json: "),
    "crate_with_another_bit": (flipped("ro-crate-metadata.json"), "ro-crate-metadata.json", "its SHA-256 differs"),
    "crate_gone": (lambda run: run.delete("ro-crate-metadata.json"), "ro-crate-metadata.json", "missing; drawn again"),
}  # fmt: skip


@pytest.mark.parametrize("how", HARMED)
def test_damage_is_told_and_mended(job: Job, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    harm, file, told = HARMED[how]
    metrics = job.run.read_bytes("metrics.json")
    harm(job.run)
    if file:  # without a manifest there is nothing to validate
        assert [line for line in validate_run(job.run, study_of) if file in line]
    capsys.readouterr()
    assert job() == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if told in line and "again" in line]) == 1
    assert job.run.read_bytes("metrics.json") == metrics
    assert validate_run(job.run, study_of) == []
    assert job.drawn == 1


def stamps(folder: Folder) -> dict[str, int]:
    return {stat.path: stat.mtime_ns for stat in folder.list()}


def test_finished_run_that_is_whole_is_left_as_it_is(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    before = stamps(job.run)
    capsys.readouterr()
    assert job() == 0
    shown = capsys.readouterr().out
    assert stamps(job.run) == before
    assert "nothing has changed: the scores are kept" in shown
    assert "balanced accuracy" in shown
    assert f"report: {job.run.uri}/report.html" in shown
    assert job.drawn == 0
    assert job("--report") == 0
    assert job.drawn == 1
    assert {path for path, when in stamps(job.run).items() if when != before[path]} == {
        "report.html", "figures/roc.png", "manifest.json", "ro-crate-metadata.json"}  # fmt: skip
    assert validate_run(job.run, study_of) == []


def test_finished_run_starts_no_ray(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray, "put", lambda *_: pytest.fail("Ray was asked to keep something"))
    before = stamps(job.run)
    assert job("resources.workers=2") == 0
    assert stamps(job.run) == before


@pytest.mark.parametrize(("what", "told"), [("versions", {"python": "4"}), ("sources", "edited, and not committed")])
def test_other_code_scores_again_and_fits_nothing(
    job: Job, what: str, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(job.run)
    monkeypatch.setattr(run, what, lambda: told)
    assert job() == 0
    after = stamps(job.run)
    assert after["metrics.json"] != before["metrics.json"]
    assert {path: after[path] for path in after if path.startswith("units/")} == {
        path: before[path] for path in before if path.startswith("units/")}  # fmt: skip
    assert job.drawn == 1
    assert job.run.read_json("manifest.json")[what] == told


def test_map_with_another_bit_is_found_by_validation_alone(job: Job) -> None:
    """A run checks the size of what no number is made of."""
    path = a_map(job.run)
    flipped(path)(job.run)
    assert f"{path}: its SHA-256 differs from what was written" in validate_run(job.run, study_of)
    assert job() == 0
    assert job.drawn == 0


def test_folder_without_a_readable_manifest_keeps_nothing_of_other_data(job: Job) -> None:
    """Of which data it spoke is not known."""
    job.run.write_text("units/fold-7/result.json", "{}")
    job.run.write_text("maps/somebody-else.npz", "old")
    cut("manifest.json")(job.run)
    assert job() == 0
    assert validate_run(job.run, study_of) == []
    assert not job.run.exists("units/fold-7/result.json")
    assert not job.run.exists("maps/somebody-else.npz")


# -- what is under way


def stop_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends in the middle of a fit."""
    save, seen = UnitFolder.save, []

    def stop(self: UnitFolder, state: bytes, history: list[Json]) -> None:
        save(self, state, history)
        seen.append(1)
        if len(seen) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(UnitFolder, "save", stop)


def metrics_of(folder: Path, *words: str) -> bytes:
    return do(BlobStudy(config(folder, *words)))[0].run.read_bytes("metrics.json")


@pytest.mark.parametrize("harm", [cut, flipped])
def test_damaged_checkpoint_begins_the_fit_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[str], Callable[[Folder], None]]
) -> None:
    study = BlobStudy(config(tmp_path / "harmed"))
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            do(study)
    (path,) = (tmp_path / "harmed").glob("toy-*/units/fold-0/checkpoint/*.state")
    harm(path.name)(Folder(path.parent))
    cut("metrics.jsonl")(Folder(path.parents[1]))
    outcome, shown = do(study)
    line = f"fold-0: checkpoint/{path.name} is not what was written; begun anew"
    assert len([one for one in shown.splitlines() if line in one]) == 1
    assert outcome.failed == {}
    assert outcome.run.read_bytes("metrics.json") == metrics_of(tmp_path / "whole")


SEARCH = ["search.space.train.learning_rate=[0.003, 0.001]", "search.grace_epochs=2", "search.reduction=2"]


def test_damaged_curve_of_a_search_is_worked_on_again(tmp_path: Path) -> None:
    study = BlobStudy(config(tmp_path, *SEARCH))
    folder = do(study)[0].run
    metrics, trial = folder.read_bytes("metrics.json"), "units/fold-1/setting-0/trial.json"
    curve = folder.read_bytes(trial)

    def better(run: Folder) -> None:
        run.write_json(trial, {**run.read_json(trial), "curve": [{"score": 1.0}]})

    for harm, told in ((cut(trial), "cut short, or no JSON"), (better, "not as it was written: its digest differs")):
        harm(folder)
        outcome, shown = do(study)
        assert [line for line in shown.splitlines() if f"{trial}: {told}; worked on again" in line]
        assert outcome.run.read_bytes("metrics.json") == metrics
        assert folder.read_bytes(trial) == curve


def test_damaged_failure_says_nothing(tmp_path: Path) -> None:
    """It is read where a unit was not done again: one that it reads has failed."""
    broken = (Says("one", fault=RuntimeError("no such map")), Adds("sum", ("one",)))
    study = BlobStudy(config(tmp_path), broken, fitted=False)
    folder = do(study)[0].run
    cut("units/one/failure.json")(folder)
    folder.write_text("units/sum/failure.json", "{")
    outcome, _ = do(study)
    assert outcome.failed["one"] == "RuntimeError: no such map"
    assert folder.read_json("units/one/failure.json")["error"] == "RuntimeError: no such map"
    assert read_results(folder).failed[1]["error"] == "one, which it reads, is not done"
    assert do(replace(study, more=(Says("one", 1), broken[1])))[0].failed == {}
