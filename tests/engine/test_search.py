# SPDX-License-Identifier: Apache-2.0
"""Nested cross-validation: who is seen by it, what it chooses, that a cut changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gazeray.engine.search import points_here, search
from gazeray.learn.inner_search import InnerSearch, Point, best_epoch, rungs
from gazeray.learn.space import SearchError, settings_to_try, with_setting
from gazeray.storage import Folder
from gazeray.store import Store, write_shard
from gazeray.study import Tried
from gazeray.unit import Json
from tests.engine.toy import BlobConfig, BlobStudy, config, do
from tests.learn.blobs import BlobLearner, blob_shards

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
WORDS = ["search.space.train.learning_rate=[0.003, 0.001]", "search.grace_epochs=2", "search.reduction=2"]


def store_of(folder: Folder) -> Store:
    shards = blob_shards()
    for key, shard in shards.items():
        write_shard(folder, key, shard)
    return Store.open(folder, list(shards))


def search_of(cfg: BlobConfig, run: Folder) -> InnerSearch:
    """The search that a run of blobs does."""
    study, store = BlobStudy(cfg), store_of(run.sub("store"))
    items = study.items(study.open(), store)
    tried = [
        Tried(setting, BlobLearner(with_setting(cfg, setting).train), store, items.content)
        for setting in settings_to_try(cfg)
    ]
    assert cfg.search is not None
    return InnerSearch(
        tried, items.folds, items.table, store.plain("kind"), cfg.folds, cfg.search, cfg.train, 0, "hash", run
    )


def trial_of(work: InnerSearch, point: Point) -> Json:
    trial = work.trial(point)
    assert trial is not None
    return trial


def quiet(record: Json) -> None:
    """Whoever hears of an epoch."""


@pytest.mark.parametrize("hold_out", ["participants", "stimuli", "both"])
def test_nobody_who_is_tested_is_seen_by_the_search(tmp_path: Path, hold_out: str) -> None:
    words = [f"folds.hold_out={hold_out}", "folds.stimuli=2"]
    work = search_of(config(tmp_path, *WORDS, *words), Folder(tmp_path / "run"))
    store = work.tried[0].store
    held = {"participants": ["participant"], "stimuli": ["stimulus"], "both": ["participant", "stimulus"]}[hold_out]
    for number, fold in enumerate(work.folds):
        seen: list[np.ndarray] = []
        for fit in work.fits(Point(number, 0), CPU):
            rows = [fit.task.train, fit.task.validation]
            assert all(len(some) for some in rows)
            assert not np.intersect1d(np.concatenate(rows), fold.test).size
            for column in held:
                groups = store.plain(column)
                train, validation, test = (set(groups[some]) for some in (*rows, fold.test))
                assert not train & validation
                assert not (train | validation) & test
            seen.append(fit.task.validation)
        if hold_out != "both":
            np.testing.assert_array_equal(np.sort(np.concatenate(seen)), fold.known)


def test_point_that_was_cut_off_ends_with_the_same_curve(tmp_path: Path) -> None:
    cfg = config(tmp_path, *WORDS)
    whole, cut = (search_of(cfg, Folder(tmp_path / name)) for name in ("whole", "cut"))
    point = Point(1, 0)
    whole.work(point, 4, CPU, quiet)

    def stop(record: Json) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.work(point, 4, CPU, stop)
    trial = trial_of(cut, point)
    assert (trial["state"], len(trial["curve"])) == ("running", 3)
    reported: list[Json] = []
    cut.work(point, 4, CPU, reported.append)
    assert reported == trial_of(whole, point)["curve"]
    assert all(cut.run.exists(f"units/{unit.name}/result.json") for unit in cut.units(point))
    assert not [stat.path for stat in cut.run.sub("units").list() if stat.path.endswith(".state")]


@pytest.mark.parametrize(("metric", "sign"), [("loss", -1), ("accuracy", 1), ("error", -1)])
def test_score_of_a_point_is_the_mean_of_fresh_inner_models(tmp_path: Path, metric: str, sign: int) -> None:
    cfg = config(tmp_path, *WORDS, f"search.metric={metric}")
    work, point = search_of(cfg, Folder(tmp_path / "run")), Point(0, 0)
    curve: list[Json] = []
    work.work(point, 3, CPU, curve.append)
    values = []
    for fit in search_of(cfg, Folder(tmp_path / "other")).fits(point, CPU):
        assert fit.progress.epoch == 0
        for _ in range(3):
            fit.epoch()
        values.append([record[f"validation_{metric}"] for record in fit.progress.history])
    np.testing.assert_allclose([record[metric] for record in curve], np.mean(values, axis=0), rtol=1e-12)
    assert [record["score"] for record in curve] == [sign * record[metric] for record in curve]


def test_fault_of_the_storage_says_nothing_about_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, point = search_of(config(tmp_path, *WORDS), Folder(tmp_path / "run")), Point(0, 0)

    def full(self: Any, point: Point, until: int, device: Any, report: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(InnerSearch, "work", full)
    with pytest.raises(OSError, match="No space left"):
        work.try_work(point, 2, CPU, quiet)
    assert work.trial(point) is None

    def diverge(self: Any, point: Point, until: int, device: Any, report: Any) -> None:
        raise ArithmeticError("loss is nan")

    monkeypatch.setattr(InnerSearch, "work", diverge)
    for setting in (0, 1):
        work.try_work(Point(0, setting), 2, CPU, quiet)
    assert trial_of(work, point)["error"] == "ArithmeticError: loss is nan"
    assert work.is_missing(point, 2), "what failed is tried again"
    with pytest.raises(SearchError, match="fold-0: every setting of the search failed: ArithmeticError"):
        work.choose(0)


def written(work: InnerSearch, curves: list[list[float] | None]) -> None:
    """Trials of fold 0 whose scores were these; None: the setting failed."""
    for setting, scores in enumerate(curves):
        records = [{"epoch": epoch, "score": score, "loss": -score, "accuracy": score, "error": 0.0}
                   for epoch, score in enumerate(scores or [], 1)]  # fmt: skip
        work.write(Point(0, setting), "failed" if scores is None else "stopped", records, None if scores else "broken")


def test_best_epoch_of_the_best_setting_is_chosen_and_equals_go_to_the_first(tmp_path: Path) -> None:
    words = ["search.space.train.learning_rate=[0.1, 0.01, 0.001, 0.0001]", "search.reduction=2"]
    work = search_of(config(tmp_path, *words), Folder(tmp_path / "run"))
    written(work, [[0.1, 0.3], [0.2, 0.9, 0.9], None, [0.9, 0.1]])
    chosen = work.choose(0)
    assert (chosen.setting, chosen.epochs, chosen.inner_score) == (1, 2, 0.9)
    assert chosen.values == {"train.learning_rate": 0.01}
    assert [row["status"] for row in chosen.trials] == ["stopped early", "stopped early", "failed", "stopped early"]
    assert [row["epochs"] for row in chosen.trials] == [2, 3, 0, 2]
    alive = [Point(0, setting) for setting in range(4)]
    assert work.survivors(alive, 1) == [Point(0, 1), Point(0, 3)], "the best half of those that have a score"
    assert work.survivors(alive, 3) == [Point(0, 1), Point(0, 3)]


def test_trial_of_another_setting_or_other_people_is_not_believed(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    work = search_of(config(tmp_path, *WORDS), run)
    written(work, [[0.1], [0.2]])
    again = search_of(config(tmp_path, *WORDS), run)
    assert trial_of(again, Point(0, 1))["curve"][0]["score"] == 0.2
    other = search_of(config(tmp_path, "search.space.train.learning_rate=[0.003, 0.5]", *WORDS[1:]), run)
    assert other.trial(Point(0, 0)) is not None
    assert other.trial(Point(0, 1)) is None
    assert search_of(config(tmp_path, *WORDS, "folds.outer=3"), run).trial(Point(0, 0)) is None


def test_rungs_grow_to_all_epochs() -> None:
    words = ["search.space.train.learning_rate=[1, 2]", "train.epochs=40", "search.grace_epochs=4"]
    for scheduler, expected in (("halving", [4, 12, 36, 40]), ("asha", [40])):
        cfg = config("nowhere", *words, f"search.scheduler={scheduler}", "resources.workers=1")
        assert cfg.search is not None
        assert rungs(cfg.search, cfg.train) == expected


def test_first_of_equal_epochs_is_the_best() -> None:
    assert best_epoch([{"score": value} for value in (0.1, 0.7, 0.3, 0.7)]) == 2


def test_epochs_whose_metric_is_undefined_are_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correlation with predictions that are all the same is undefined, as those of a first epoch may be."""
    work, point = search_of(config(tmp_path, *WORDS, "search.metric=accuracy"), Folder(tmp_path / "run")), Point(0, 0)
    mean, told = InnerSearch._mean, list[Json]()

    def undefined_at_first(self: Any, records: Any, watched: Any) -> Json:
        first = {"validation_accuracy": float("nan")} if records[0]["epoch"] == 1 else {}
        return mean(self, [{**record, **first} for record in records], watched)

    monkeypatch.setattr(InnerSearch, "_mean", undefined_at_first)
    work.try_work(point, 3, CPU, told.append)
    curve = trial_of(work, point)["curve"]
    assert [record["score"] is None for record in curve] == [True, False, False]
    assert told[0]["score"] == -np.inf, "Tune compares scores"
    assert best_epoch(curve) > 1
    assert work.survivors([point], 3) == [point]
    assert work.survivors([point], 1) == []


def test_search_does_only_what_is_missing(tmp_path: Path) -> None:
    words = ["search.space.train.learning_rate=[0.003, 0.0001]", "search.space.blobs.scale=[1, 0.1]", *WORDS[1:]]
    study = BlobStudy(config(tmp_path, *words))
    outcome, _ = do(study)
    folder, metrics = Path(outcome.run.uri), outcome.run.read_bytes("metrics.json")
    assert outcome.metrics is not None
    for fold in outcome.metrics["search"]["folds"]:
        assert set(fold["chosen"]) == {"train.learning_rate", "blobs.scale", "train.epochs"}
        losses = [trial["loss"] for trial in fold["trials"]]
        chosen = {key: value for key, value in fold["chosen"].items() if key != "train.epochs"}
        assert fold["trials"][int(np.argmin(losses))]["setting"] == chosen
        assert sorted(trial["epochs"] for trial in fold["trials"]) == [2, 2, 4, 4]
        assert {trial["status"] for trial in fold["trials"]} == {"done", "stopped early"}

    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in folder.glob("units/**/*.json")}

    before = stamps()
    (folder / "units/fold-1/setting-0/trial.json").unlink()
    (folder / "units/fold-1/result.json").unlink()
    do(study)
    changed = {Path(path).parent for path, when in stamps().items() if before.get(path) != when}
    again = [folder / f"units/fold-1/setting-0{inner}" for inner in ("", "/inner-0", "/inner-1")]
    assert changed <= {folder / "units/fold-1", *again}
    assert (folder / "metrics.json").read_bytes() == metrics


def test_search_goes_on_where_its_points_were(tmp_path: Path) -> None:
    """Rungs are for all folds together; what a driver has not done before a cut is done after it."""
    from rich.console import Console

    from gazeray.engine.progress import ProgressView

    cfg, view = config(tmp_path, *WORDS), ProgressView(Console(quiet=True))
    calls: list[tuple[int, int]] = []

    def drive(work: InnerSearch, points: Any, until: int, step: Any) -> None:
        calls.append((until, len(points)))
        points_here(work, points, until, CPU, 1, step)

    whole = search(search_of(cfg, Folder(tmp_path / "whole")), drive, view)
    assert calls == [(2, 4), (4, 2)]
    cut = search_of(cfg, Folder(tmp_path / "cut"))
    for point in cut.points()[:3]:
        cut.work(point, 2, CPU, quiet)
    calls.clear()
    assert search(cut, drive, view) == whole
    assert calls == [(2, 1), (4, 2)]


@pytest.mark.nightly
@pytest.mark.slow
def test_asha_chooses_among_the_settings(ray_cluster: None, tmp_path: Path) -> None:
    words = [*WORDS, "search.scheduler=asha", "search.metric=accuracy", "resources.workers=2"]
    outcome, _ = do(BlobStudy(config(tmp_path, *words)))
    assert outcome.metrics is not None
    for fold in outcome.metrics["search"]["folds"]:
        assert fold["inner_score"] == max(trial["score"] for trial in fold["trials"] if trial["score"] is not None)
