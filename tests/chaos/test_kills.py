# SPDX-License-Identifier: Apache-2.0
"""However a run goes (streamed, more workers, SIGKILL to a worker or to the driver) it ends with the same numbers."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gazeray.config import load_config
from gazeray.engine.cross_validation import cross_validate
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from tests.processes import descendants, gone, wait_until

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "cv_heatmap.yaml"
WORDS = [
    *("data.simulate.readers=8", "data.simulate.sentences=8", "folds.outer=4"),
    *(
        "train.epochs=80",
        "train.patience=80",
        "data.window_examples=20",
        "train.batch_size=8",
        "model.width=8",
        "render.height_px=24",
    ),
    *("scores.resamples=100", "scores.permutations=99"),
]
DEADLINE_S = 240

pytestmark = pytest.mark.slow


def run_here(folder: Path, *words: str) -> str:
    """The job in this process, on the session's cluster; returns what it showed."""
    text = io.StringIO()
    cfg = load_config(HeatmapConfig, CONFIG, [*WORDS, f"run.dir={folder}", *words])
    outcome = cross_validate(HeatmapStudy(), cfg, "cv_heatmap", ProgressView(Console(file=text, width=200)))
    assert outcome.failed == {}
    return text.getvalue()


def run_of(folder: Path) -> Path:
    (run,) = folder.glob("cv_heatmap-*")
    return run


def results(folder: Path) -> dict[str, int]:
    """The finished units and when they were finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("cv_heatmap-*/units/*/result.json")}


def in_the_middle(folder: Path) -> bool:
    """Is one fold done and another in its epochs?"""
    done = results(folder)
    begun = {path.parent.parent.name for path in folder.glob("cv_heatmap-*/units/*/checkpoint/*.safetensors")}
    return bool(done) and len(done) < 4 and bool(begun - set(done))


def train_workers() -> list[int]:
    """Our own Ray Train worker processes."""
    names = {}
    for pid in descendants(os.getpid()):
        try:
            names[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return [pid for pid, name in names.items() if "TrainWorker" in name]


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one worker that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_here(folder, "resources.workers=1")
    return run_of(folder)


def same_numbers(run: Path, reference: Path) -> None:
    assert (run / "metrics.json").read_bytes() == (reference / "metrics.json").read_bytes()
    ours, theirs = ([stat.path for stat in Folder(folder).list("maps")] for folder in (run, reference))
    assert ours == theirs
    for name in ours:
        if name.endswith(".npz"):
            with np.load(run / name) as mine, np.load(reference / name) as other:
                assert all(np.array_equal(mine[key], other[key]) for key in other)


def test_streamed_examples_and_two_workers_give_the_same_numbers(undisturbed: Path, tmp_path: Path) -> None:
    shown = run_here(tmp_path, "data.cache_gb=0", "resources.workers=2")
    assert "streamed from the shards" in shown
    same_numbers(run_of(tmp_path), undisturbed)


def test_killed_worker_changes_no_number(undisturbed: Path, tmp_path: Path) -> None:
    killed: dict[str, object] = {}

    def kill() -> None:
        wait_until(lambda: in_the_middle(tmp_path), "a fold done and another begun")
        killed["before"] = results(tmp_path)
        pid = train_workers()[0]
        os.kill(pid, signal.SIGKILL)
        killed["pid"] = pid

    killer = threading.Thread(target=kill)
    killer.start()
    shown = run_here(tmp_path, "resources.workers=2")
    killer.join()
    assert killed["pid"]
    assert "its worker died; it goes on from its last epoch" in shown
    after = results(tmp_path)
    assert all(after[name] == when for name, when in killed["before"].items())  # type: ignore[attr-defined]
    same_numbers(run_of(tmp_path), undisturbed)


def test_killed_driver_changes_no_number(undisturbed: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "cv_heatmap.py"), *WORDS, f"run.dir={tmp_path}"]
    with (tmp_path / "first.log").open("w") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
        wait_until(lambda: in_the_middle(tmp_path) or driver.poll() is not None, "a fold done and another begun")
        assert driver.poll() is None, (tmp_path / "first.log").read_text()
        below = descendants(driver.pid)
        driver.kill()
        driver.wait()
    wait_until(lambda: gone(below), "the cluster to go with its driver")
    before = results(tmp_path)
    assert 0 < len(before) < 4
    assert not (run_of(tmp_path) / "metrics.json").exists()

    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"4 in all, {len(before)} done before" in second.stdout
    after = results(tmp_path)
    assert len(after) == 4
    assert all(after[name] == when for name, when in before.items()), "a finished fold was done again"
    same_numbers(run_of(tmp_path), undisturbed)
