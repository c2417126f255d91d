# SPDX-License-Identifier: Apache-2.0
"""However a run of the emotion study goes (here, on Ray, killed in the midst of a fit) its numbers are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gazeray.storage import Folder
from tests.chaos.held import EPOCHS
from tests.processes import wait_until
from tests.running import HERE, ROOT, run_emotion

WORDS = [
    *("data.simulate.people=6", "data.simulate.pictures=6", "folds.outer=2", "signals.samples=61", "augment.views=1"),
    *("picture.size_px=32", "scanpath.side_px=32", "model.rows=alone_and_all", "train.epochs=4", "train.patience=4"),
    *("train.batch_size=8", "controls.permute=1", "controls.swap_signals=true", "controls.shuffle_labels=true"),
    *("scores.resamples=100", "scores.permutations=99"),
]
FREE = "fold-0"
"""The unit that ends while the others wait in their midst."""

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def run_of(folder: Path) -> Path:
    (run,) = folder.glob("cv_emotion-*")
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in this process that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    outcome, _ = run_emotion(*WORDS, HERE, f"run.dir={folder}")
    assert outcome.failed == {}
    return run_of(folder)


def same_numbers(run: Path, reference: Path) -> None:
    assert (run / "metrics.json").read_bytes() == (reference / "metrics.json").read_bytes()
    ours, theirs = (Folder(folder).read_table("predictions.parquet") for folder in (run, reference))
    assert ours.equals(theirs)


def test_two_workers_give_the_same_numbers(ray_cluster: None, undisturbed: Path, tmp_path: Path) -> None:
    outcome, _ = run_emotion(*WORDS, "resources.workers=2", f"run.dir={tmp_path}")
    assert outcome.failed == {}
    same_numbers(run_of(tmp_path), undisturbed)


def test_killed_in_the_midst_of_a_fit_it_ends_with_the_same_numbers(undisturbed: Path, tmp_path: Path) -> None:
    words = [*WORDS, HERE, f"run.dir={tmp_path}"]
    script = [sys.executable, str(ROOT / "tests/chaos/held.py"), str(tmp_path / "gate"), FREE]

    def lines(unit: str) -> int:
        found = list(tmp_path.glob(f"cv_emotion-*/units/{unit}/metrics.jsonl"))
        return len(found[0].read_text().splitlines()) if found else 0

    log = tmp_path / "first.log"
    with log.open("w") as shown:
        driver = subprocess.Popen([*script, "cv_emotion", *words], stdout=shown, stderr=subprocess.STDOUT, cwd=ROOT)
        wait_until(lambda: lines("fold-1") >= EPOCHS or driver.poll() is not None, "a fold in its midst")
        assert driver.poll() is None, log.read_text()
        driver.kill()
        driver.wait()
    run = run_of(tmp_path)
    before = {path.parent.name: path.stat().st_mtime_ns for path in run.glob("units/*/result.json")}
    assert list(before) == [FREE]
    assert not (run / "metrics.json").exists()

    outcome, told = run_emotion(*words)
    assert outcome.failed == {}
    assert "12 in all, 1 done before" in told
    assert lines("fold-1") == lines(FREE) == 4
    assert (run / f"units/{FREE}/result.json").stat().st_mtime_ns == before[FREE], "a finished fold was done again"
    same_numbers(run, undisturbed)
