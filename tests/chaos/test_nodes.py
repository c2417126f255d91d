# SPDX-License-Identifier: Apache-2.0
"""A cluster of three nodes on this machine loses one while folds are under way, and the numbers are the same.

The cluster lives in a process of its own (this file, run as a script), so that it does not disturb the cluster that
the other tests share.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from gazeray.config import load_config
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from tests.chaos.held import EPOCHS, held
from tests.processes import wait_until
from tests.running import CONFIGS, HERE, ROOT, run_heatmap

FREE = "fold-0"
"""The unit that ends while the others wait in their midst."""
FOLDS = 4
WORDS = [
    *("data.simulate.readers=8", "data.simulate.sentences=8", f"folds.outer={FOLDS}", "explain.maps=false"),
    *("train.epochs=6", "train.patience=6", "train.batch_size=8", "model.width=8", "render.height_px=24"),
    *("scores.resamples=100", "scores.permutations=99"),
]
NODES = 3
DEADLINE_S = 480

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture
def undisturbed(tmp_path: Path) -> bytes:
    """The metrics.json of a run in this process that nobody disturbed."""
    outcome, _ = run_heatmap(*WORDS, HERE, f"run.dir={tmp_path}/undisturbed")
    return outcome.run.read_bytes("metrics.json")


def test_lost_node_changes_no_number(undisturbed: bytes, tmp_path: Path) -> None:
    short = tempfile.mkdtemp(prefix="gr-", dir="/tmp")  # sockets lie below it, and their paths may have 107 bytes
    try:
        with (tmp_path / "log").open("w") as log:
            process = subprocess.run(
                [sys.executable, __file__, str(tmp_path)],
                env={**os.environ, "RAY_TMPDIR": short, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                timeout=DEADLINE_S,
                check=False,
            )
    finally:
        shutil.rmtree(short, ignore_errors=True)
    shown = (tmp_path / "log").read_text()
    assert process.returncode == 0, shown
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["nodes"] == [NODES, NODES - 1]
    assert 0 < len(told["done_before"]) < FOLDS, "the node must be lost in the middle"
    assert "its worker died; it goes on from its last epoch" in shown
    assert told["done_after"].items() >= told["done_before"].items(), "a finished fold was done again"
    (metrics,) = (tmp_path / "disturbed").glob("cv_heatmap-*/metrics.json")
    assert metrics.read_bytes() == undisturbed


# -- the process with the cluster


def results(folder: Path) -> dict[str, int]:
    """The finished units and when they were finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("cv_heatmap-*/units/*/result.json")}


def held_workers(folder: Path) -> int:
    """How many units are held in their midst, when one is done?"""
    histories = folder.glob("cv_heatmap-*/units/*/metrics.jsonl")
    epochs = {path.parent.name: len(path.read_text().splitlines()) for path in histories}
    done = results(folder)
    return sum(count >= EPOCHS for name, count in epochs.items() if name not in done) if done else 0


def pool_workers(node: Any) -> list[int]:
    """The pool workers on this node: children of its raylet."""
    raylet = str(node.all_processes["raylet"][0].process.pid)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            name = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if parent == raylet and b"PoolWorker" in name:
            found.append(int(folder.name))
    return found


def alive() -> int:
    """The nodes that the cluster counts on."""
    return sum(node["Alive"] for node in ray.nodes())


def run_here(folder: Path, gate: Path) -> None:
    """The job in this process, on the cluster it is connected to; it shows its progress on stdout."""
    cfg = load_config(HeatmapConfig, CONFIGS / "cv_heatmap.yaml", [*WORDS, f"run.dir={folder}"])
    study = held(HeatmapStudy, gate, [FREE])(cfg)
    outcome = run(study, "cv_heatmap", ProgressView(Console(file=sys.stdout, width=200)))
    if outcome.failed:
        raise RuntimeError(f"failed units: {outcome.failed}")


def lose_a_node(folder: Path) -> dict[str, Any]:
    """A run on a cluster of three nodes, of which one is lost while folds are under way; tells what was seen."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    done_before: dict[str, int] = {}

    gate = folder.parent / "gate"

    def lose() -> None:
        try:
            wait_until(lambda: held_workers(folder) == NODES, "a fold done and one held on each node")
            done_before.update(results(folder))
            node, workers = next((node, found) for node in cluster.worker_nodes if (found := pool_workers(node)))
            cluster.remove_node(node, allow_graceful=False)
            for pid in workers:  # they would live on for a moment, which they do not when a machine is lost
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            gate.touch()

    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        nodes = [alive()]
        loser = threading.Thread(target=lose)
        loser.start()
        run_here(folder, gate)
        loser.join()
        wait_until(lambda: alive() < NODES, "the cluster to notice the loss")
        nodes.append(alive())
    finally:
        ray.shutdown()
        cluster.shutdown()
    return {"nodes": nodes, "done_before": done_before, "done_after": results(folder)}


if __name__ == "__main__":
    target = Path(sys.argv[1])
    told = lose_a_node(target / "disturbed")
    (target / "told.json").write_text(json.dumps(told))
