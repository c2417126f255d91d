# SPDX-License-Identifier: Apache-2.0
"""However a run goes (here or on Ray, streamed, SIGKILL to a worker or to the driver) it ends with the same numbers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from tests.chaos.held import EPOCHS, held
from tests.processes import descendants, gone, wait_until
from tests.running import HERE, ROOT, run_heatmap, run_study

WORDS = [
    *("data.simulate.readers=6", "data.simulate.sentences=6", "folds.outer=3", "data.window_examples=20"),
    *("train.epochs=5", "train.patience=5", "train.batch_size=8", "model.width=4", "render.height_px=24"),
    *("scores.resamples=100", "scores.permutations=99"),
]
FREE = "fold-0"
"""The unit that ends while the others wait in their midst."""

pytestmark = pytest.mark.slow


def run_of(folder: Path) -> Path:
    (run,) = folder.glob("cv_heatmap-*")
    return run


def results(folder: Path) -> dict[str, int]:
    """The finished units and when they were finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("cv_heatmap-*/units/*/result.json")}


def in_the_middle(folder: Path) -> bool:
    """Is one fold done, and has another been held after some epochs?"""
    epochs = [len(path.read_text().splitlines()) for path in folder.glob("cv_heatmap-*/units/*/metrics.jsonl")
              if path.parent.name != FREE]  # fmt: skip
    return list(results(folder)) == [FREE] and max(epochs, default=0) >= EPOCHS


def pool_workers() -> list[int]:
    """Our own Ray pool worker processes."""
    names = {}
    for pid in descendants(os.getpid()):
        try:
            names[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return [pid for pid, name in names.items() if "PoolWorker" in name]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in this process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome, _ = run_heatmap(*WORDS, HERE, f"run.dir={folder}")
    assert outcome.failed == {}
    return run_of(folder)


def same_numbers(run: Path, reference: Path) -> None:
    assert (run / "metrics.json").read_bytes() == (reference / "metrics.json").read_bytes()
    ours, theirs = ([stat.path for stat in Folder(folder).list("maps")] for folder in (run, reference))
    assert ours == theirs
    for name in ours:
        if name.endswith(".npz"):
            with np.load(run / name) as mine, np.load(reference / name) as other:
                assert all(np.array_equal(mine[key], other[key]) for key in other)


def test_streamed_examples_give_the_same_numbers(undisturbed: Path, tmp_path: Path) -> None:
    outcome, shown = run_heatmap(*WORDS, HERE, f"run.dir={tmp_path}", "data.cache_gb=0")
    assert outcome.failed == {}
    assert "streamed from the shards" in shown
    same_numbers(run_of(tmp_path), undisturbed)


def test_killed_worker_of_two_changes_no_number(ray_cluster: None, undisturbed: Path, tmp_path: Path) -> None:
    killed: dict[str, int] = {}
    before: dict[str, int] = {}

    def kill() -> None:
        try:
            wait_until(lambda: in_the_middle(tmp_path), "a fold done and another held")
            before.update(results(tmp_path))
            killed["pid"] = pool_workers()[0]
            os.kill(killed["pid"], signal.SIGKILL)
            wait_until(lambda: gone([killed["pid"]]), "the worker to end")
        finally:
            (tmp_path / "gate").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    study = held(HeatmapStudy, tmp_path / "gate", [FREE])
    words = [*WORDS, f"run.dir={tmp_path}", "resources.workers=2"]
    outcome, shown = run_study(study, HeatmapConfig, "cv_heatmap", *words)
    killer.join()
    assert outcome.failed == {}
    assert killed["pid"]
    assert "its worker died; it goes on from its last epoch" in shown
    after = results(tmp_path)
    assert list(before) == [FREE]
    assert after[FREE] == before[FREE]
    same_numbers(run_of(tmp_path), undisturbed)


@pytest.mark.nightly
def test_killed_driver_changes_no_number(ray_cluster: None, undisturbed: Path, tmp_path: Path) -> None:
    words = [*WORDS, f"run.dir={tmp_path}"]
    script = [sys.executable, str(ROOT / "tests/chaos/held.py"), str(tmp_path / "gate"), FREE]
    log = tmp_path / "first.log"
    with log.open("w") as shown:
        driver = subprocess.Popen([*script, "cv_heatmap", *words], stdout=shown, stderr=subprocess.STDOUT, cwd=ROOT)
        wait_until(lambda: in_the_middle(tmp_path) or driver.poll() is not None, "a fold done and another held")
        assert driver.poll() is None, log.read_text()
        below = descendants(driver.pid)
        driver.kill()
        driver.wait()
    wait_until(lambda: gone(below), "the cluster to go with its driver")
    before = results(tmp_path)
    assert list(before) == [FREE]
    assert not (run_of(tmp_path) / "metrics.json").exists()

    outcome, told = run_heatmap(*words, HERE)
    assert outcome.failed == {}
    assert "6 in all, 1 done before" in told
    after = results(tmp_path)
    assert len(after) == 6
    assert after[FREE] == before[FREE], "a finished fold was done again"
    same_numbers(run_of(tmp_path), undisturbed)
