# SPDX-License-Identifier: Apache-2.0
"""The one flow: rounds, what is done again and what is not, and that it matters not where the work is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from gazeray.config import ConfigError
from gazeray.engine.cli import main
from gazeray.engine.plan import plan_lines
from gazeray.engine.run import LAYOUT
from gazeray.storage import Folder, StorageError
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.study import Source
from gazeray.tables import DataError, Fault
from gazeray.unit import UnitFolder
from tests.engine.toy import SMALL, Adds, BlobConfig, BlobStudy, Says, config, do

SEARCH = ["search.space.blobs.scale=[1, 0.1]", "search.space.train.learning_rate=[0.003, 0.001]",
          "search.grace_epochs=2", "search.reduction=2"]  # fmt: skip


def hashes(folder: Folder) -> dict[str, str]:
    found: dict[str, str] = folder.read_json("manifest.json")["unit_hashes"]
    return found


def stamps(folder: Folder) -> dict[str, int]:
    """When each file of the run was written."""
    return {stat.path: stat.mtime_ns for stat in folder.list()}


# -- rounds


def rounds(folder: Path, *more: Any) -> BlobStudy:
    """Two units that say something, one that adds it up; no network."""
    return BlobStudy(config(folder), (Adds("sum", ("one", "two")), Says("one", 1), Says("two", 2), *more), fitted=False)


def test_unit_of_a_later_round_reads_those_before_it(tmp_path: Path) -> None:
    outcome, shown = do(rounds(tmp_path, Adds("sum of sums", ("sum", "one"), round=2)))
    assert outcome.failed == {}
    assert outcome.metrics is not None
    values = {name: result["value"] for name, result in outcome.metrics["units"].items()}
    assert values == {"one": 1, "two": 2, "sum": 3, "sum of sums": 4}
    assert shown.index("two: done") < shown.index("sum: done") < shown.index("sum of sums: done")


def test_changed_unit_changes_those_that_read_it_and_no_other(tmp_path: Path) -> None:
    study = rounds(tmp_path, Adds("other", ("two",)))
    folder = do(study)[0].run
    before, written = hashes(folder), stamps(folder)
    do(study)
    assert hashes(folder) == before
    units = {path: when for path, when in stamps(folder).items() if path.startswith("units/")}
    assert units == {path: when for path, when in written.items() if path.startswith("units/")}, "nothing is done again"
    other = [Says("one", 5, hashed=5) if "one" in predictor.rows else predictor for predictor in study.more]
    changed = replace(study, more=tuple(other))
    outcome, _ = do(changed)
    assert {name for name, value in hashes(folder).items() if value != before[name]} == {"one", "sum"}
    assert outcome.metrics is not None
    assert outcome.metrics["units"]["sum"]["value"] == 7


def test_failed_unit_fails_those_that_read_it_with_the_reason(tmp_path: Path) -> None:
    broken = (Says("one", fault=RuntimeError("no such map")), Says("two", 2), Adds("sum", ("two", "one")),
              Adds("all", ("sum",), round=2), Adds("other", ("two",)))  # fmt: skip
    study = BlobStudy(config(tmp_path), broken, fitted=False)
    outcome, shown = do(study)
    assert outcome.failed == {
        "one": "RuntimeError: no such map",
        "sum": "one, which it reads, is not done",
        "all": "sum, which it reads, is not done",
    }
    assert outcome.metrics is not None
    assert set(outcome.metrics["units"]) == {"two", "other"}
    assert outcome.metrics["failed"] == ["all", "one", "sum"]
    assert "one: failed: RuntimeError: no such map" in shown
    manifest = outcome.run.read_json("manifest.json")
    assert (manifest["status"], manifest["units"]["sum"]) == ("failed", "failed")
    assert "no such map" in outcome.run.read_json("units/one/failure.json")["traceback"]
    mended = replace(study, more=(Says("one", 1), *broken[1:]))
    outcome, _ = do(mended)
    assert outcome.failed == {}
    assert outcome.run.read_json("metrics.json")["units"]["all"]["value"] == 3
    assert not outcome.run.exists("units/one/failure.json")


def test_nothing_is_scored_where_every_unit_failed(tmp_path: Path) -> None:
    good = BlobStudy(config(tmp_path), (Says("one"),), fitted=False)
    folder = do(good)[0].run
    assert folder.exists("metrics.json")
    outcome, _ = do(replace(good, more=(Says("one", fault=ValueError("no"), hashed=2),)))
    assert outcome.metrics is None
    assert outcome.failed == {"one": "ValueError: no"}
    assert not folder.exists("metrics.json")


def test_two_units_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two units are named one"):
        do(rounds(tmp_path, Says("one")))
    with pytest.raises(ValueError, match="two units are named one"):
        do(rounds(tmp_path, Says("one", round=1)))


def test_unit_may_only_read_units_of_earlier_rounds(tmp_path: Path) -> None:
    for absent in (Adds("late", ("nobody",)), Adds("early", ("one",), round=0), Adds("beside", ("sum",))):
        with pytest.raises(ValueError, match=f"{absent.unit} reads {absent.after[0]}, which is no unit of an earlier"):
            do(rounds(tmp_path, absent))


def test_results_of_other_data_are_forgotten(tmp_path: Path) -> None:
    study = rounds(tmp_path)
    folder = do(study)[0].run
    before = hashes(folder)
    folder.write_text("units/left/over.txt", "old")
    folder.write_text("maps/a.npz", "old")
    do(replace(study, content="other content"))
    assert not set(hashes(folder).values()) & set(before.values())
    assert not folder.exists("units/left/over.txt")
    assert not folder.exists("maps/a.npz")


# -- in this process


def test_local_run_starts_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray, "put", lambda *_: pytest.fail("Ray was asked to keep something"))
    running = ray.is_initialized()
    outcome, shown = do(BlobStudy(config(tmp_path)))
    assert ray.is_initialized() == running
    assert outcome.failed == {}
    assert "in this process, without Ray (resources.workers=0)" in shown
    assert "into shared memory" in shown
    assert "fold-1: done" in shown


def test_local_run_leaves_torch_as_it_was(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    do(BlobStudy(config(tmp_path)))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_examples_too_many_for_memory_change_no_number(tmp_path: Path) -> None:
    kept, shown = do(BlobStudy(config(tmp_path / "kept")))
    streamed, told = do(BlobStudy(config(tmp_path / "streamed", "data.cache_gb=0")))
    assert "into shared memory" in shown
    assert "streamed from the shards (0 left of data.cache_gb)" in told
    assert kept.run.read_bytes("metrics.json") == streamed.run.read_bytes("metrics.json")


@pytest.mark.parametrize("where", [(), ("data.cache_gb=0",)])
@pytest.mark.parametrize("file", ["columns/picture/03.safetensors", "tables/03.arrows"])
def test_damaged_pack_is_done_again_before_a_unit_is(tmp_path: Path, where: tuple[str, ...], file: str) -> None:
    outcome, _ = do(BlobStudy(config(tmp_path, *where)))
    path = tmp_path / "stores" / "blobs-1" / file
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    (Path(outcome.run.uri) / "units" / "fold-1" / "result.json").unlink()
    again, shown = do(BlobStudy(config(tmp_path, *where)))
    told = f"drawing blobs: 1 of 10 packs is damaged ({file}: not the bytes that were written): done again"
    assert shown.count("damaged (") == shown.count(told) == 1
    assert again.metrics == outcome.metrics
    assert path.read_bytes() == before


def test_run_with_nothing_to_do_reads_no_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, _ = do(BlobStudy(config(tmp_path)))
    read, paths = Folder.read_bytes, list[str]()

    def noted(self: Folder, path: str) -> bytes:
        paths.append(path)
        return read(self, path)

    monkeypatch.setattr(Folder, "read_bytes", noted)
    monkeypatch.setattr(Folder, "read_range", lambda *words: pytest.fail(f"{words} was read"))
    again, _ = do(BlobStudy(config(tmp_path)))
    assert again.metrics == outcome.metrics
    assert "tables/03.arrows" in paths
    assert [path for path in paths if path.startswith("columns/")] == []


def test_threads_are_those_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in another order change the last digits, so this process must take what a worker would."""
    import torch

    seen = []
    told = UnitFolder.save

    def save(self: UnitFolder, state: bytes, history: list[Any]) -> None:
        seen.append(torch.get_num_threads())
        told(self, state, history)

    monkeypatch.setattr(UnitFolder, "save", save)
    do(BlobStudy(config(tmp_path, "resources.per_unit.cpu=2", "train.epochs=1", "search.space={}")))
    assert set(seen) == {2}


def test_storage_that_fails_in_a_unit_ends_the_run(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    with pytest.raises(StorageError, match="No space left"):
        do(BlobStudy(config(tmp_path), (Says("one", fault=full), Says("two")), fitted=False))
    (folder,) = tmp_path.glob("toy-*")
    assert not (folder / "units" / "one" / "failure.json").exists(), "no failure of the unit"
    assert not (folder / "metrics.json").exists()


def stop_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """SIGINT after so many epochs; returns what takes it back."""
    told, seen = UnitFolder.save, []

    def save(self: UnitFolder, state: bytes, history: list[Any]) -> None:
        told(self, state, history)
        seen.append(1)
        if len(seen) == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(UnitFolder, "save", save)
    return lambda: monkeypatch.setattr(UnitFolder, "save", told)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    """metrics.json of the study without and with a search."""
    folders = {searched: tmp_path_factory.mktemp("undisturbed") for searched in (False, True)}
    runs = {searched: do(BlobStudy(config(folder, *SEARCH * searched)))[0] for searched, folder in folders.items()}
    assert not any(outcome.failed for outcome in runs.values())
    return {searched: outcome.run.read_bytes("metrics.json") for searched, outcome in runs.items()}


@pytest.mark.parametrize(
    ("searched", "saves"),
    [
        pytest.param(False, 2, id="in_the_first_unit"),
        pytest.param(False, 4, id="at_the_end_of_a_unit"),
        pytest.param(False, 7, id="in_the_second_unit"),
        pytest.param(True, 3, id="in_the_first_rung_of_a_search"),
        pytest.param(True, 36, id="in_its_second_rung"),
    ],
)
def test_run_that_was_stopped_goes_on_to_the_same_numbers(
    undisturbed: dict[bool, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searched: bool, saves: int
) -> None:
    study = BlobStudy(config(tmp_path, *SEARCH * searched))
    go_on = stop_after(saves, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        do(study)
    (folder,) = tmp_path.glob("toy-*")
    assert not (folder / "metrics.json").exists()
    go_on()
    outcome, _ = do(study)
    assert outcome.failed == {}
    assert outcome.run.read_bytes("metrics.json") == undisturbed[searched]
    left = [stat.path for stat in outcome.run.list() if "checkpoint/" in stat.path]
    assert {path.rpartition("/")[2] for path in left} == {"model.safetensors"}


@pytest.mark.slow
def test_search_and_fits_are_the_same_here_and_on_ray(ray_cluster: None, tmp_path: Path) -> None:
    words = ["search.space.train.learning_rate=[0.003, 0.0001]", "search.grace_epochs=4"]
    here, there = (
        do(BlobStudy(config(tmp_path / str(workers), *words, f"resources.workers={workers}")))[0] for workers in (0, 2)
    )
    assert here.failed == there.failed == {}
    assert here.run.read_bytes("metrics.json") == there.run.read_bytes("metrics.json")
    chosen = [fold["chosen"] for fold in json.loads(there.run.read_bytes("metrics.json"))["search"]["folds"]]
    assert [sorted(one) for one in chosen] == [["train.epochs", "train.learning_rate"]] * 2


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_rounds_and_rungs_do_not_depend_on_workers(ray_cluster: None, tmp_path: Path, workers: int) -> None:
    more = (Says("one"), Adds("sum", ("one", "one")))
    here, there = (
        do(BlobStudy(config(tmp_path / str(count), *SEARCH, f"resources.workers={count}"), more))[0]
        for count in (0, workers)
    )
    assert here.failed == there.failed == {}
    assert here.run.read_bytes("metrics.json") == there.run.read_bytes("metrics.json")


# -- the command line


def run_main(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Exit code and the lines of stderr of a job."""
    empty = folder / "empty.yaml"
    empty.write_text("")
    words = (*SMALL, f"run.dir={folder}", *words)
    code = main(BlobStudy, BlobConfig, "toy", empty, lambda run: None, words, table=lambda metrics: "the table")
    return code, capsys.readouterr().err.splitlines()


def test_run_folder_of_another_version_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(tmp_path, capsys) == (0, [])
    (folder,) = tmp_path.glob("toy-*")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("layout") == LAYOUT
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = stamps(Folder(folder))
    code, (line,) = run_main(tmp_path, capsys)
    assert code == 2
    assert line.startswith(f"error: {folder}: a run folder of another version (layout 1, this one writes {LAYOUT})")
    assert stamps(Folder(folder)) == before, "nothing is touched"


def test_asha_without_workers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search.scheduler=asha", "resources.workers=0", "render.sigma_px=40"]
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    assert main(HeatmapStudy, HeatmapConfig, "job", empty, lambda run: None, words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "search.scheduler: asha needs workers; with resources.workers=0 it must be halving" in line


def test_failed_units_are_named_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: BlobStudy, ready: Any) -> list[Any]:
        return [Says("one", fault=RuntimeError("no such map")), Says("two")]

    monkeypatch.setattr(BlobStudy, "predictors", broken)
    code, lines = run_main(tmp_path, capsys)
    assert code == 1
    assert lines == [
        "failed: one: RuntimeError: no such map",
        "run the same command again to retry only what failed",
    ]


def test_stopped_run_ends_with_130_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(1, monkeypatch)
    assert run_main(tmp_path, capsys) == (130, ["stopped; run the same command again: what is done is kept"])


def test_dry_run_says_where_the_work_would_be_done_and_does_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(tmp_path, capsys, "--dry-run")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["empty.yaml"]
    blobs = ["data set: blobs"]
    lines = plan_lines(config(tmp_path), lambda cfg: blobs)
    assert lines == [*blobs, "resources: 1 CPU per unit; units at the same time: one, in this process"]
    assert plan_lines(config(tmp_path, "resources.workers=3"), lambda cfg: blobs)[1].endswith("3")
    assert plan_lines(config(tmp_path, "resources.workers=null"), lambda cfg: blobs)[1].endswith("as many as fit")


class Looked(BlobStudy):
    """Its first file is of no use."""

    def open(self) -> Source[None]:
        """See `BlobStudy.open`."""
        return Source(
            None, ["data set: blobs"], lambda most_bytes: [Fault("first file a: cut off"), "first file b: good"]
        )


def test_first_file_of_no_use_fails_a_dry_run_and_is_a_warning_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.yaml").write_text("")
    words = [f"run.dir={tmp_path}", "--dry-run"]
    assert main(Looked, BlobConfig, "toy", tmp_path / "empty.yaml", lambda run: None, words) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: first file a: cut off\n"
    assert shown.out.splitlines()[:2] == ["data set: blobs", "first file b: good"]
    outcome, told = do(Looked(config(tmp_path), (Says("one", 1),), fitted=False))
    assert outcome.failed == {}
    assert "warning: first file a: cut off" in told
    assert "first file b" not in told


# -- what is impossible


def test_settings_that_leave_other_items_are_refused(tmp_path: Path) -> None:
    words = ["search.space.blobs.examples=[60, 54]"]
    with pytest.raises(DataError, match="leaves 54 usable items, not the 60 of the config"):
        do(BlobStudy(config(tmp_path, *words)))


def test_leaking_folds_are_refused_before_anything_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = BlobStudy.items

    def leaking(self: BlobStudy, source: Any, stores: Any) -> Any:
        found = items(self, source, stores)
        first = found.folds[0]
        tests = tuple(replace(side, rows=side.rows[:-1]) for side in first.tests)
        fold = replace(first, train=[*first.train, first.tests[0].rows[-1]], tests=tests)
        return replace(found, folds=[fold, *found.folds[1:]])

    monkeypatch.setattr(BlobStudy, "items", leaking)
    with pytest.raises(DataError, match=r"fold 0: on two sides \(participant, test\): P\d"):
        do(BlobStudy(config(tmp_path)))
    assert not list(tmp_path.glob("toy-*/units"))


def test_config_that_no_machine_can_serve_is_refused(ray_cluster: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"resources\.per_unit: one unit takes 64 CPU"):
        do(BlobStudy(config(tmp_path, "resources.workers=1", "resources.per_unit.cpu=64")))
    assert os.environ.get("RAY_ADDRESS") is None


def test_unit_is_done_again_where_one_that_it_reads_was(tmp_path: Path) -> None:
    """On a GPU the first may come out differently, and its hash does not tell."""
    study = rounds(tmp_path, Adds("other", ("two",)))
    folder = do(study)[0].run
    before = stamps(folder)
    folder.write_text("units/one/result.json", "{")
    outcome, _ = do(study)
    assert outcome.failed == {}
    after = stamps(folder)
    fresh = {path.split("/")[1] for path, when in after.items() if path.startswith("units/") and when != before[path]}
    assert fresh == {"one", "sum"}
