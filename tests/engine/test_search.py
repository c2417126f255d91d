# SPDX-License-Identifier: Apache-2.0
"""Nested cross-validation: who is seen by it, what it chooses, that a cut changes nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gazeray.engine.cross_validation import cross_validate, plan_folds, split_rows
from rich.console import Console

from gazeray.config import load_config
from gazeray.engine.progress import ProgressView
from gazeray.engine.search import InnerSearch, Point, SearchError, _choose, _work_on_point, best_epoch, rungs
from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.tables import DataError
from tests.engine.local import predictions_here, read_here, variants_here

CPU = torch.device("cpu")
SMALL = [
    *("data.simulate.readers=6", "data.simulate.sentences=8", "folds.outer=2", "folds.inner=2", "train.epochs=6"),
    *("render.height_px=16", "render.width_px=24", "model.width=2", "search.grace_epochs=2", "search.reduction=2"),
    *("scores.resamples=100", "scores.permutations=99", "explain.maps=false"),
]


def config(folder: Path, *words: str) -> HeatmapConfig:
    return load_config(HeatmapConfig, None, [*SMALL, "render.sigma_px=40", f"run.dir={folder}", *words])


def search_of(cfg: HeatmapConfig, run: Folder) -> InnerSearch:
    variants, folds = variants_here(HeatmapStudy(), cfg, run.sub("examples"))
    return InnerSearch(HeatmapStudy(), cfg, "hash", variants, folds, run)


def test_nobody_who_is_tested_is_seen_by_the_search(tmp_path: Path) -> None:
    work = search_of(config(tmp_path, "search.space.model.width=[1, 2]"), Folder(tmp_path / "run"))
    index = work.variants[0].source.cache.index
    for number, fold in enumerate(work.folds):
        test = split_rows(index.participants, fold).test
        seen: list[np.ndarray] = []
        for fit in work._fits(Point(number, 0), CPU):
            train, validation = (set(index.participants[rows]) for rows in (fit.task.train, fit.task.validation))
            assert not train & validation
            assert not (train | validation) & set(fold.test)
            seen.append(fit.task.validation)
        everyone_else = np.setdiff1d(np.arange(len(index)), test)
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), everyone_else)


def test_point_that_was_cut_off_ends_with_the_same_curve(tmp_path: Path) -> None:
    cfg = config(tmp_path, "search.space.model.width=[2]")
    whole, cut = (search_of(cfg, Folder(tmp_path / name)) for name in ("whole", "cut"))
    point = Point(1, 0)
    whole.work(point, 6, CPU, lambda record: None)

    def stop(record: dict[str, float]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.work(point, 6, CPU, stop)
    trial = cut.trial(point)
    assert trial is not None
    assert (trial["state"], len(trial["curve"])) == ("running", 3)
    reported: list[dict[str, float]] = []
    cut.work(point, 6, CPU, reported.append)
    assert reported == whole.trial(point)["curve"]  # type: ignore[index]
    assert all(cut.run.exists(f"units/{unit.name}/result.json") for unit in cut.units(point))
    assert not [stat.path for stat in cut.run.sub("units").list() if stat.path.endswith(".safetensors")]


def test_score_of_a_point_is_the_mean_of_fresh_inner_models(tmp_path: Path) -> None:
    work = search_of(config(tmp_path, "search.space.model.width=[2]"), Folder(tmp_path / "run"))
    point = Point(0, 0)
    curve: list[dict[str, float]] = []
    work.work(point, 3, CPU, curve.append)
    other = search_of(config(tmp_path, "search.space.model.width=[2]"), Folder(tmp_path / "other"))
    losses = []
    for fit in other._fits(point, CPU):
        assert fit.progress.epoch == 0
        for _ in range(3):
            fit.epoch()
        losses.append([record["validation_loss"] for record in fit.progress.history])
    np.testing.assert_allclose([record["loss"] for record in curve], np.mean(losses, axis=0), rtol=1e-12)


def test_fault_of_the_storage_says_nothing_about_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = search_of(config(tmp_path, "search.space.model.width=[2]"), Folder(tmp_path / "run"))
    told = {"point": (0, 0), "until": 2, "cpu": 1.0}

    def full(self: Any, point: Point, until: int, device: Any, report: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(InnerSearch, "work", full)
    with pytest.raises(OSError, match="No space left"):
        _work_on_point(told, work)
    assert work.trial(Point(0, 0)) is None

    def diverge(self: Any, point: Point, until: int, device: Any, report: Any) -> None:
        raise ArithmeticError("loss is nan")

    monkeypatch.setattr(InnerSearch, "work", diverge)
    _work_on_point(told, work)
    assert work.trial(Point(0, 0))["error"] == "ArithmeticError: loss is nan"  # type: ignore[index]
    with pytest.raises(SearchError, match="every setting of the search failed: ArithmeticError"):
        _choose(work, 0)


def test_folds_that_nobody_can_be_tested_in_are_refused(tmp_path: Path) -> None:
    """Two lists of stimuli, each seen by half of the readers: crossed folds without an example."""
    people = np.repeat([f"P{n}" for n in range(8)], 8)
    lists = np.concatenate([np.arange(8) + 8 * (n % 2) for n in range(8)])
    stimuli = np.array([f"S{n:02}" for n in lists])
    labels = lists % 2
    cfg = config(tmp_path, "folds.hold_out=both", "folds.outer=4", "folds.stimuli=4", "search=null")
    plan = HeatmapStudy().plan(cfg)
    with pytest.raises(DataError, match="not everybody saw every stimulus"):
        plan_folds(cfg, plan, people, stimuli, labels)


def test_rungs_grow_to_all_epochs() -> None:
    words = ["search.space.model.width=[1, 2]", "render.sigma_px=40", "train.epochs=40", "search.grace_epochs=4"]
    assert rungs(load_config(HeatmapConfig, None, words)) == [4, 12, 36, 40]
    assert rungs(load_config(HeatmapConfig, None, [*words, "search.scheduler=asha"])) == [40]


def test_first_of_equal_epochs_is_the_best() -> None:
    assert best_epoch([{"score": value} for value in (0.1, 0.7, 0.3, 0.7)]) == 2


def run_here(folder: Path, *words: str) -> Path:
    cfg = config(folder, "search.space.model.width=[1, 3]", "search.space.render.sigma_px=[30, 60]", *words)
    view = ProgressView(Console(file=io.StringIO(), width=200))
    outcome = cross_validate(HeatmapStudy(), cfg, "cv_heatmap", view)
    assert outcome.failed == {}
    return Path(outcome.run.uri)


@pytest.mark.slow
def test_nested_run_does_not_depend_on_workers_and_does_only_what_is_missing(ray_cluster: None, tmp_path: Path) -> None:
    one = run_here(tmp_path / "one", "resources.workers=1")
    two = run_here(tmp_path / "two", "resources.workers=2")
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()
    record: dict[str, Any] = json.loads((one / "metrics.json").read_text())["search"]
    assert [fold["fold"] for fold in record["folds"]] == [0, 1]
    for fold in record["folds"]:
        assert set(fold["chosen"]) == {"model.width", "render.sigma_px", "train.epochs"}
        scores = [-trial["loss"] for trial in fold["trials"] if trial["loss"] is not None]
        chosen = {key: value for key, value in fold["chosen"].items() if key != "train.epochs"}
        best = fold["trials"][int(np.argmax(scores))]
        assert best["setting"] == chosen
        assert {trial["status"] for trial in fold["trials"]} == {"done", "stopped early"}

    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in two.glob("units/**/*.json")}

    before = stamps()
    trial = two / "units/fold-1/setting-0/trial.json"
    trial.unlink()
    (two / "units/fold-1/result.json").unlink()
    run_here(tmp_path / "two", "resources.workers=2")
    changed = {path for path, when in stamps().items() if before.get(path) != when}
    assert {Path(path).parent for path in changed} <= {
        two / "units/fold-1",
        *(two / f"units/fold-1/setting-0{inner}" for inner in ("", "/inner-0", "/inner-1")),
    }
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()


@pytest.mark.slow
def test_asha_chooses_among_the_settings(ray_cluster: None, tmp_path: Path) -> None:
    run = run_here(tmp_path, "search.scheduler=asha", "search.metric=balanced_accuracy")
    record = json.loads((run / "metrics.json").read_text())["search"]
    for fold in record["folds"]:
        best = max(trial["score"] for trial in fold["trials"] if trial["score"] is not None)
        assert fold["inner_score"] == best


def leaky_study(folder: Path) -> Path:
    """24 readers whose label is constant and whose style (where they look) is their own; label and style are
    independent, so that only who knows the reader knows the label. Returns the declaration."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.arange(24) % 2)
    rows = ["participant,trial,text,kind"]
    for reader in range(24):
        rows += [f"P{reader:02},{trial},T{trial},{labels[reader]}" for trial in range(6)]
        place = rng.uniform(100, 900, (4, 2))
        lines = ["trial,t,x,y"]
        for trial in range(6):
            for step in range(80):
                x, y = place[step // 20] + rng.normal(0, 8, 2)
                lines.append(f"{trial},{step * 10},{x:.1f},{y:.1f}")
        Folder(folder).write_text(f"gaze/P{reader:02}.csv", "\n".join(lines) + "\n")
    Folder(folder).write_text("trials.csv", "\n".join(rows) + "\n")
    Folder(folder).write_text(
        "dataset.yaml",
        "name: leaky\nscreen: {width_px: 1000, height_px: 1000}\nlabels: {kind: {0: one, 1: other}}\n"
        "trials: {path: trials.csv, columns: {participant: participant, trial: trial, stimulus: text}}\n"
        "samples: {reader: delimited, path: 'gaze/{participant}.csv',"
        " columns: {trial: trial, timestamp_ms: t, x_px: x, y_px: y}}\n",
    )
    return folder / "dataset.yaml"


def test_label_that_is_only_known_from_who_reads_scores_at_chance(tmp_path: Path) -> None:
    declaration = leaky_study(tmp_path / "data")
    words = [f"data.dataset={declaration}", "folds.outer=4", "train.epochs=8", "model.width=4", "scores.resamples=500"]
    cfg = config(tmp_path / "runs", *words)
    predictions = predictions_here(HeatmapStudy(), cfg, Folder(tmp_path / "run"))
    assert predictions.num_rows == 24 * 6
    plan, cache = read_here(HeatmapStudy(), cfg, Folder(tmp_path / "again"))
    metrics = HeatmapStudy().score(cfg, plan, predictions)["metrics"]
    low, high = metrics["auroc"]["ci95"]
    assert low < 0.5 < high
    # the style is there to be learned: with the reader's own trials in training, the label is known
    examples, index = read_leaky(cache), cache.index
    train = np.flatnonzero(np.arange(len(index)) % 6 < 4)
    test = np.setdiff1d(np.arange(len(index)), train)
    from gazeray.studies.shared.classification import logistic_regression_scores

    leaked = logistic_regression_scores(examples[train], index.labels[train], examples[test], 2)
    assert (leaked.argmax(axis=1) == index.labels[test]).mean() > 0.9


def read_leaky(cache: Any) -> np.ndarray:
    """The pictures as plain vectors."""
    from gazeray.store import StreamedExamples

    pictures = StreamedExamples(cache.index, cache.folder, 1000).take(np.arange(len(cache.index)), ["picture"])
    return np.asarray(pictures["picture"].reshape(len(cache.index), -1), np.float64)


@pytest.mark.parametrize("held", ["stimuli", "both"])
def test_held_out_stimuli_are_never_trained_on_and_every_trial_is_tested_once(tmp_path: Path, held: str) -> None:
    words = [f"folds.hold_out={held}", "folds.stimuli=3", "train.epochs=1", "search=null"]
    cfg = config(tmp_path / "runs", *words)
    run = Folder(tmp_path / "run")
    predictions = predictions_here(HeatmapStudy(), cfg, run)
    ids = list(zip(predictions["participant"].to_pylist(), predictions["trial"].to_pylist(), strict=True))
    assert len(ids) == len(set(ids)) == 6 * 8
    variants, folds = variants_here(HeatmapStudy(), cfg, run.sub("examples"))
    index = variants[0].source.cache.index
    assert len(folds) == (2 if held == "stimuli" else 6)
    for fold in folds:
        split = split_rows(index.participants, fold, index.stimuli)
        known = np.concatenate([split.train, split.validation])
        assert not set(index.stimuli[known]) & set(index.stimuli[split.test])
        if held == "both":
            assert not set(index.participants[known]) & set(index.participants[split.test])
            assert not set(index.participants[split.train]) & set(index.participants[split.validation])
