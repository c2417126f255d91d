# SPDX-License-Identifier: Apache-2.0
"""The whole job on storage that breaks: same numbers, nothing lost, nothing doubled, or one clear line."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from gazeray.engine.cli import main
from gazeray.engine.faults import storage_fault
from gazeray.storage import StorageError
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from tests.chaos.faulty_s3 import FAULTS, KEY, SECRET, FaultyS3, faulty_s3
from tests.chaos.held import held
from tests.processes import wait_until
from tests.running import CONFIGS, HERE, ROOT, no_report

CONFIG = CONFIGS / "cv_heatmap.yaml"
WORDS = [
    *("data.simulate.readers=6", "data.simulate.sentences=6", "folds.outer=3", "scores.resamples=100"),
    *("train.epochs=4", "train.patience=4", "train.batch_size=8", "model.width=4", "render.height_px=24"),
    *("scores.permutations=99", "explain.methods=[gradient]", "explain.check_share=0"),
]
ON_RAY = "resources.workers=2"
DEADLINE_S = 480
AGAIN = "run the same command again when the storage works: what is done is kept"

pytestmark = pytest.mark.slow


def told_by_a_worker(error: Exception) -> Exception:
    """The error as Ray hands it to the driver: another class, its causes left in the text alone."""
    try:
        try:
            raise error
        except Exception as inner:
            raise RuntimeError("the block failed") from inner
    except RuntimeError as outer:
        text, bare = traceback.format_exc(), RuntimeError(str(outer))
    wrapped: Exception = RayTaskError("work", text, bare).as_instanceof_cause()
    return wrapped


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (StorageError("s3://b/x: access denied"), StorageError, "s3://b/x: access denied"),
        (OSError(28, "No space left on device", "/x"), OSError, "[Errno 28] No space left on device: '/x'"),
        (PermissionError(13, "Permission denied", "/x"), PermissionError, "[Errno 13] Permission denied: '/x'"),
    ],
)
def test_fault_of_a_worker_is_found_in_what_ray_makes_of_it(error: OSError, kind: type[OSError], text: str) -> None:
    for seen in (error, told_by_a_worker(error)):
        fault = storage_fault(seen)
        assert type(fault) is kind
        assert str(fault) == text


def test_error_that_is_no_fault_of_the_storage_stays_what_it_is() -> None:
    assert storage_fault(ValueError("a bug")) is None
    assert storage_fault(told_by_a_worker(ValueError("a bug"))) is None


@pytest.fixture(scope="module")
def store() -> Iterator[FaultyS3]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with faulty_s3() as store:
        yield store


Job = Callable[..., tuple[int, str, str]]


@pytest.fixture
def job(capsys: pytest.CaptureFixture[str]) -> Job:
    """The job in this process, less its report: (exit code, what it printed, what it complained of)."""

    def run(place: str, *words: str, study: Any = HeatmapStudy) -> tuple[int, str, str]:
        argv = [*WORDS, f"run.dir={place}", *words]
        code = main(study, HeatmapConfig, "cv_heatmap", CONFIG, no_report, argv)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a run on a local disk, in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    argv = [*WORDS, HERE, f"run.dir={folder}"]
    assert main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIG, no_report, argv) == 0
    return folder


def local_files(runs: Path) -> dict[str, bytes]:
    return {str(path.relative_to(runs)): path.read_bytes() for path in runs.rglob("*") if path.is_file()}


def stored_files(store: FaultyS3, prefix: str) -> dict[str, bytes]:
    return {key.removeprefix(f"{prefix}/"): data for key, data in store.files(f"{prefix}/").items()}


def same_run(ours: dict[str, bytes], theirs: dict[str, bytes]) -> None:
    """Same numbers, same maps, and not a file more or less."""

    def plain(name: str) -> str:  # another place of the recordings gives the examples another folder
        return re.sub(r"^stores/(\w+)-[0-9a-f]+/", r"stores/\1/", name)

    assert sorted(map(plain, ours)) == sorted(map(plain, theirs))
    for name, data in theirs.items():
        if name.endswith("/metrics.json") or "/maps/" in name or name.startswith("data/"):
            assert ours[name] == data, name


def nothing_shown(files: dict[str, bytes], *texts: str) -> None:
    for secret in (KEY, SECRET):
        assert not [name for name, data in files.items() if secret.encode() in data]
        assert not [text for text in texts if secret in text]


def keys(store: FaultyS3, prefix: str) -> list[str]:
    return [
        item["Key"] for item in store.direct.list_objects_v2(Bucket=store.bucket, Prefix=prefix).get("Contents", [])
    ]


@contextmanager
def meanwhile(
    begun: Callable[[], bool], action: Callable[[], None], gate: Path, then: Callable[[], None] = lambda: None
) -> Iterator[dict[str, bool]]:
    """Beside what the block does: `action` when a unit is held in its midst, let it go on, `then`. Says whether it was
    all done."""
    told = {"done": False}

    def act() -> None:
        try:
            wait_until(begun, "a unit under way")
            action()
        finally:
            gate.touch()
        then()
        told["done"] = True

    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield told
    finally:
        thread.join()


def under_way(store: FaultyS3, prefix: str) -> Callable[[], bool]:
    """Has a unit saved an epoch?"""
    return lambda: any(key.endswith("/metrics.jsonl") for key in keys(store, f"{prefix}/cv_heatmap-"))


def test_data_and_run_in_an_object_store_give_the_numbers_of_a_local_run(
    store: FaultyS3, undisturbed: Path, tmp_path: Path
) -> None:
    (study,) = (undisturbed / "data").iterdir()
    for path in study.rglob("*.*"):
        store.direct.upload_file(str(path), store.bucket, f"clean/study/{path.relative_to(study)}")
    words = [f"data.dataset={store.uri('clean/study/dataset.yaml')}", f"run.dir={store.uri('clean/runs')}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / "cv_heatmap.py"), *WORDS, HERE, *words],
        env={**os.environ, **store.environment()},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = stored_files(store, "clean/runs")
    nothing_shown(files, done.stdout, done.stderr)
    expected = local_files(undisturbed)
    metrics, maps = (
        {Path(name).name: data for name, data in found.items() if kind in name}
        for found, kind in [(files, "/metrics.json"), (files, "/maps/")]
    )
    for name, data in expected.items():
        if name.endswith("/metrics.json"):
            assert metrics["metrics.json"] == data
    assert sorted(maps) == sorted(Path(name).name for name in expected if "/maps/" in name)
    assert not list(tmp_path.iterdir()), "a run in an object store leaves nothing on the disk"


@pytest.mark.nightly
def test_lost_slow_and_refused_answers_change_nothing(
    ray_cluster: None, store: FaultyS3, undisturbed: Path, job: Job
) -> None:
    store.seen.clear()
    store.share = 0.08
    try:
        code, out, err = job(store.uri("flaky", secrets=True), ON_RAY)
    finally:
        store.share = 0.0
    assert code == 0, out + err
    assert all(store.seen[fault] >= 2 for fault in FAULTS), store.seen
    files = stored_files(store, "flaky")
    same_run(files, local_files(undisturbed))
    nothing_shown(files, out, err)


@pytest.mark.nightly
def test_store_dead_for_a_while_changes_nothing(
    ray_cluster: None, store: FaultyS3, undisturbed: Path, job: Job, tmp_path: Path
) -> None:
    study = held(HeatmapStudy, tmp_path / "gate", [])
    with meanwhile(under_way(store, "dead"), store.die, tmp_path / "gate", lambda: store.revive(3.0)) as told:
        code, out, err = job(store.uri("dead", secrets=True), ON_RAY, study=study)
    assert code == 0, out + err
    assert told["done"]
    same_run(stored_files(store, "dead"), local_files(undisturbed))


@pytest.mark.nightly
def test_denied_bucket_is_one_clear_line_and_the_run_goes_on_later(
    ray_cluster: None, store: FaultyS3, undisturbed: Path, job: Job, tmp_path: Path
) -> None:
    place = store.uri("denied", secrets=True)
    try:
        store.denied = [f"/{store.bucket}/denied/stores/"]
        one_line(job(place, HERE), rf"s3://{store.bucket}/denied/stores/\S+: access denied: .*")
        store.denied = []
        deny = partial(store.denied.append, f"/{store.bucket}/denied/cv_")
        with meanwhile(under_way(store, "denied"), deny, tmp_path / "gate") as told:
            outcome = job(place, ON_RAY, study=held(HeatmapStudy, tmp_path / "gate", []))
        assert told["done"]
        one_line(outcome, rf"s3://{store.bucket}/denied/cv_heatmap-\S+: access denied: .*")
    finally:
        store.denied = []
    code, out, err = job(place, HERE)
    assert code == 0, out + err
    assert "6 of 6 packs kept" in out
    files = stored_files(store, "denied")
    same_run(files, local_files(undisturbed))
    nothing_shown(files, out, err)


def one_line(outcome: tuple[int, str, str], pattern: str) -> None:
    """The job ended with exit code 1, a line that says why, a line that says what to do, and nothing else."""
    code, out, err = outcome
    assert code == 1, out + err
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.strip()]
    assert lines[-1] == AGAIN
    assert re.fullmatch(f"error: {pattern}", lines[-2]), err
    nothing_shown({}, out, err)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB of its own."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_full_disk_is_one_clear_line_and_the_run_goes_on_later(
    small_disk: Path, undisturbed: Path, job: Job, tmp_path: Path
) -> None:
    filler, runs = small_disk / "filler", small_disk / "runs"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    fill()
    one_line(job(str(runs), HERE), rf"\[Errno 28\] No space left on device: '{runs}/data/.*'")
    filler.unlink()
    with meanwhile(lambda: bool(list(runs.glob("*/units/*/metrics.jsonl"))), fill, tmp_path / "gate") as told:
        outcome = job(str(runs), HERE, study=held(HeatmapStudy, tmp_path / "gate", []))
    assert told["done"]
    one_line(outcome, rf"\[Errno 28\] No space left on device: '{runs}/.*'")
    filler.unlink()
    code, out, err = job(str(runs), HERE)
    assert code == 0, out + err
    same_run(local_files(runs), local_files(undisturbed))
