# SPDX-License-Identifier: Apache-2.0
"""Trackers: what they wrote is read back by their own readers, after a kill, a failure, and when they break."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gazeray.config import ConfigError, TrackingConfig
from gazeray.engine.cli import main
from gazeray.engine.run import RunFolder
from gazeray.engine.tracking import check_tracking, followers, numbers, parameters, place_of
from gazeray.storage import Folder
from gazeray.unit import Unit, UnitFolder
from tests.engine.toy import SMALL, BlobConfig, BlobStudy, Says, config, do

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own

EPOCHS = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow tracks all runs of this module: to make a database takes it seconds."""
    return tmp_path_factory.mktemp("tracking")


@pytest.fixture(params=["tensorboard", "mlflow"])
def tracker(request: pytest.FixtureRequest) -> str:
    """Each of them."""
    return str(request.param)


@pytest.fixture
def store(tracker: str, database: Path, tmp_path: Path) -> Path:
    """Where the tracker keeps a run."""
    return database if tracker == "mlflow" else tmp_path / "tracked"


@dataclass
class Seen:
    """What a tracker shows of a unit: parameters as text, {name: [(step, value)]}, and how it ended."""

    parameters: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    status: str = "open"
    mark: Any = None

    def epochs(self, name: str = "train_loss") -> list[int]:
        return [step for step, _ in self.curves.get(name, [])]


def seen(tracker: str, store: Path, run: Folder) -> dict[str, Seen]:
    """By unit, as the tracker's own reader reads it."""
    return (tensorboard_seen if tracker == "tensorboard" else mlflow_seen)(store, run)


def tensorboard_seen(store: Path, run: Folder) -> dict[str, Seen]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = {}
    for folder in sorted((store / run.uri.rpartition("/")[2]).iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        curves = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        begun = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
        values = metadata.parse_session_start_info_plugin_data(begun).hparams
        kinds = {key: value.WhichOneof("kind") for key, value in values.items()}
        params = {key: str(getattr(value, str(kinds[key]))) for key, value in values.items()}
        status = "open"
        if metadata.SESSION_END_INFO_TAG in events.PluginTagToContent(metadata.PLUGIN_NAME):
            ended = events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
            status = {1: "done", 2: "failed"}[metadata.parse_session_end_info_plugin_data(ended).status]
        found[folder.name] = Seen(params, curves, status, sorted(file.name for file in folder.iterdir()))
    return found


def mlflow_seen(store: Path, run: Folder) -> dict[str, Seen]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    found = {}
    for one in client.search_runs([experiment.experiment_id], f"tags.run_folder = '{run.uri}'"):
        name, id_ = one.data.tags["unit"], one.info.run_id
        assert one.info.run_name == f"{run.uri.rpartition('/')[2]}/{name}"
        assert name not in found, "one run per unit"
        curves = {key: [(m.step, m.value) for m in client.get_metric_history(id_, key)] for key in one.data.metrics}
        status = {"FINISHED": "done", "FAILED": "failed", "KILLED": "killed"}.get(one.info.status, "open")
        found[name] = Seen(dict(one.data.params), curves, status, [id_, one.info.end_time])
    return found


def tracked(tracker: str, store: Path, folder: Path, *more: str) -> BlobConfig:
    return config(folder, f"tracking.tracker={tracker}", f"tracking.dir={store}", *more)


# -- what a tracker is told


def test_each_unit_is_a_run_with_its_epochs_config_and_result(tracker: str, store: Path, tmp_path: Path) -> None:
    cfg = tracked(tracker, store, tmp_path)
    outcome, shown = do(BlobStudy(cfg, (Says("one", 7.5),)))
    assert "tracking stopped" not in shown
    found = seen(tracker, store, outcome.run)
    assert {name: one.status for name, one in found.items()} == dict.fromkeys(["fold-0", "fold-1", "one"], "done")
    for name in ("fold-0", "fold-1"):
        history = [json.loads(line) for line in outcome.run.read_text(f"units/{name}/metrics.jsonl").splitlines()]
        result = outcome.run.read_json(f"units/{name}/result.json")
        for key in history[0]:
            expected = [(record["epoch"], pytest.approx(record[key])) for record in history]
            assert found[name].curves[key] == expected, key
        assert found[name].curves["result/best_epoch"] == [(4, result["best_epoch"])]
        assert found[name].curves["result/n.test"] == [(4, result["n"]["test"])]
    assert found["one"].curves["result/value"] == [(0, 7.5)]
    told = found["one"].parameters
    assert (float(told["train.epochs"]), told["train.optimizer"], told["search"]) == (4, "adamw", "null")
    assert set(told) == {key.replace("|", "_") for key in parameters(cfg.model_dump(mode="json"))}


@pytest.fixture
def killed_in_epoch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BlobStudy], None]:
    """Run a study that is stopped after an epoch of its first unit was kept, before anybody has heard of it."""
    save = UnitFolder.save

    def run_until(epoch: int, study: BlobStudy) -> None:
        def save_or_stop(out: UnitFolder, state: bytes, history: list[Any]) -> None:
            if len(history) < epoch:
                save(out, state, history)
                return
            out.tell = None
            save(out, state, history)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(UnitFolder, "save", save_or_stop)
            with pytest.raises(KeyboardInterrupt):
                do(study)

    return run_until


def test_resumed_unit_goes_on_in_its_run_and_misses_no_epoch(
    tracker: str, store: Path, tmp_path: Path, killed_in_epoch: Callable[[int, BlobStudy], None]
) -> None:
    study = BlobStudy(tracked(tracker, store, tmp_path))
    killed_in_epoch(3, study)
    run = Folder(next(tmp_path.glob("toy-*")))
    found = seen(tracker, store, run)
    assert {name: (one.epochs(), one.status) for name, one in found.items()} == {
        "fold-0": ([1, 2], "killed" if tracker == "mlflow" else "open")
    }
    before = found["fold-0"]
    do(study)
    found = seen(tracker, store, run)
    assert {name: (one.epochs(), one.status) for name, one in found.items()} == {
        "fold-0": (EPOCHS, "done"),
        "fold-1": (EPOCHS, "done"),
    }
    assert found["fold-0"].curves["train_loss"][:2] == before.curves["train_loss"]
    do(study)
    again = seen(tracker, store, run)
    assert again == found, "where all is done nothing is told"


def test_tracker_that_is_switched_on_later_is_told_all_of_a_unit_under_way(
    tracker: str, store: Path, tmp_path: Path, killed_in_epoch: Callable[[int, BlobStudy], None]
) -> None:
    killed_in_epoch(4, BlobStudy(config(tmp_path)))
    outcome, _ = do(BlobStudy(tracked(tracker, store, tmp_path)))
    assert seen(tracker, store, outcome.run)["fold-0"].epochs() == EPOCHS, "no epoch was left to do"


def test_failed_unit_is_a_failed_run_until_it_is_done(tracker: str, store: Path, tmp_path: Path) -> None:
    cfg = tracked(tracker, store, tmp_path)
    outcome, _ = do(BlobStudy(cfg, (Says("one", fault=ValueError("no such map")),), fitted=False))
    assert seen(tracker, store, outcome.run)["one"].status == "failed"
    do(BlobStudy(cfg, (Says("one"),), fitted=False))
    (found,) = seen(tracker, store, outcome.run).values()
    assert (found.status, found.curves["result/value"]) == ("done", [(0, 1.0)])


def test_by_default_all_runs_are_tracked_in_one_folder_beside_them(tmp_path: Path) -> None:
    cfg = config(tmp_path, "tracking.tracker=tensorboard")
    outcome, _ = do(BlobStudy(cfg, (Says("one"),), fitted=False))
    assert list(tensorboard_seen(tmp_path / "tracking", outcome.run)) == ["one"]


def test_without_a_tracker_none_is_imported_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "mlflow", "gazeray.engine.trackers", "gazeray.engine.gauges"):
        monkeypatch.setitem(sys.modules, name, None)
    do(BlobStudy(config(tmp_path), (Says("one"),), fitted=False))
    assert not (tmp_path / "tracking").exists()


# -- what goes wrong


@pytest.mark.parametrize("broken", ["begin", "log", "end"])
def test_broken_tracker_is_told_of_once_and_changes_no_result(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gazeray.engine.trackers import TensorBoard

    calls: list[Any] = []

    def breaks(*words: Any) -> None:
        calls.append(words)
        raise OSError(28, "No space left on device: http://me:hush-hush@server")

    monkeypatch.setattr(TensorBoard, broken, breaks)
    outcome, shown = do(BlobStudy(config(tmp_path / "a", "tracking.tracker=tensorboard")))
    plain, _ = do(BlobStudy(config(tmp_path / "b")))
    assert outcome.failed == {}
    assert len(calls) == 1
    (line,) = [line for line in shown.splitlines() if "tracking stopped" in line]
    assert "the run goes on without it: OSError: [Errno 28] No space left on device" in line
    assert "hush-hush" not in line
    assert outcome.run.read_bytes("metrics.json") == plain.run.read_bytes("metrics.json")


def run_cli(*words: str) -> int:
    return main(BlobStudy, BlobConfig, "toy", None, lambda run: None, [*SMALL, *words])


@pytest.mark.parametrize(
    ("tracker", "module", "command"),
    [
        ("tensorboard", "tensorboard", "pip install tensorboard"),
        ("mlflow", "mlflow", "pip install mlflow-skinny"),
        ("mlflow", "alembic", "pip install alembic"),
    ],
)
def test_tracker_that_is_not_installed_is_bad_input_before_any_work(
    tracker: str, module: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    for more in ([], ["--dry-run"]):
        assert run_cli(f"run.dir={tmp_path}", f"tracking.tracker={tracker}", *more) == 2
        assert f"tracking.tracker: {tracker} is not installed: {command}\n" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_bad_input_before_any_work(
    tracker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    words = (f"run.dir={tmp_path}/runs", f"tracking.tracker={tracker}", f"tracking.dir={tmp_path}/file/tracking")
    assert run_cli(*words) == 2
    assert f"error: tracking: {tracker} cannot begin: " in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_uri_that_mlflow_does_not_know_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(f"run.dir={tmp_path}", "tracking.tracker=mlflow", "tracking.dir=ftp://me:hush-hush@host/a") == 2
    told = capsys.readouterr()
    assert "error: tracking: mlflow cannot begin: " in told.err
    assert "ftp://***@host/a" in told.out
    assert "hush-hush" not in told.out + told.err


BUCKET = "s3://bucket/runs?endpoint_override=http://127.0.0.1:1&region=us-east-1"


def test_runs_on_s3_need_a_place_for_the_tracker(tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = Folder(BUCKET)
    with pytest.raises(ConfigError, match=rf"tracking.dir: {tracker} cannot write to s3://bucket/runs/tracking; name"):
        check_tracking(TrackingConfig(tracker=tracker), runs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"tracking.dir: {tracker} cannot write to s3://bucket/runs; name a local"):
        check_tracking(TrackingConfig(tracker=tracker, dir=BUCKET), runs)  # type: ignore[arg-type]
    check_tracking(TrackingConfig(tracker=tracker, dir=str(tmp_path)), runs)  # type: ignore[arg-type]


def test_place_of_mlflow_is_that_of_the_config_then_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, server = Folder(tmp_path), "http://server:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert place_of(TrackingConfig(tracker="mlflow"), runs) == f"{tmp_path}/tracking"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert place_of(TrackingConfig(tracker="mlflow"), runs) == server
    assert place_of(TrackingConfig(tracker="mlflow", dir="https://other"), runs) == "https://other"
    assert place_of(TrackingConfig(tracker="tensorboard"), runs) == f"{tmp_path}/tracking"


# -- as trackers take it


def test_numbers_are_the_finite_ones_with_dotted_names() -> None:
    values = {"epoch": 1, "a": {"b": 0.5, "c": {"d": -2}}, "nan": float("nan"), "none": None, "said": "x",
              "flag": True, "list": [1.0]}  # fmt: skip
    assert dict(numbers(values)) == {"epoch": 1.0, "a.b": 0.5, "a.c.d": -2.0}


def test_parameters_are_flat_and_hold_no_credentials() -> None:
    values = {"run": {"dir": "s3://key:secret@bucket/runs"}, "search": None, "options": {}, "layers": ["a", "b"]}
    assert parameters(values) == {
        "run.dir": "s3://***@bucket/runs", "search": "null", "options": "{}", "layers": '["a", "b"]'
    }  # fmt: skip


# -- gauges


def exported() -> dict[tuple[str, str, str], float]:
    """{(gauge, run, unit): value} of the metrics that the node of the cluster offers to Prometheus."""
    import ray

    node = ray.nodes()[0]
    with urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("ray_gazeray_")]
    found = {}
    for line in lines:
        name, _, rest = line.partition("{")
        tags = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        assert tags["job"] == "toy"
        found[name.removeprefix("ray_gazeray_"), tags["run"], tags.get("unit", "")] = float(line.split()[-1])
    return found


def test_prometheus_sees_how_far_a_run_is(ray_cluster: None) -> None:
    from gazeray.engine.gauges import Gauges

    gauges = Gauges("toy", "toy-a")
    gauges.units(3, 1)
    for epoch in EPOCHS:
        record = {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "validation_balanced accuracy": 0.75,
            "validation_auroc": None,
        }
        gauges.unit_event("fold-1", "epoch", record)
    gauges.unit_event("fold-1", "done", {"epochs": 4})
    gauges.unit_event("fold-2", "failed", {"error": "no"})
    gauges.units(2, 0)
    expected = {
        ("units_total", "toy-a", ""): 5.0,
        ("units_done", "toy-a", ""): 2.0,
        ("units_failed", "toy-a", ""): 1.0,
        ("epoch", "toy-a", "fold-1"): 4.0,
        ("train_loss", "toy-a", "fold-1"): 0.25,
        ("validation_balanced_accuracy", "toy-a", "fold-1"): 0.75,
    }
    last = time.monotonic() + 120
    while (found := {key: value for key, value in exported().items() if key[1] == "toy-a"}) != expected:
        assert time.monotonic() < last, f"the node offers {found}"
        time.sleep(1)


def test_gauges_hear_of_units_where_ray_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gazeray.engine.gauges import Gauges

    told: list[Any] = []
    monkeypatch.setattr(Gauges, "_set", lambda gauges, name, what, value, keys, tags: told.append([name, value, tags]))
    do(BlobStudy(config(tmp_path), (Says("one"),), fitted=False))
    assert told == [], "workers=0: no Ray"
    cfg = config(tmp_path, "resources.workers=1")
    run, unit = RunFolder(cfg, "toy", "blobs"), Unit("one", {}, "0" * 64)
    with followers(cfg, run, print) as heard:
        heard.units(1, 0)
        heard.unit_event(UnitFolder(run.folder, unit), "epoch", {"epoch": 1})
    tags = {"job": "toy", "run": run.name}
    assert told == [["units_total", 1, tags], ["units_done", 0, tags], ["units_failed", 0, tags],
                    ["epoch", 1.0, {**tags, "unit": "one"}]]  # fmt: skip
