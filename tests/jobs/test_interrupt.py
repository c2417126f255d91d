# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of the units: one line, its own exit code, nothing left running, and what is done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gazeray.engine import cli, experiment
from gazeray.engine.experiment import Outcome
from gazeray.engine.progress import ProgressView
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from tests.processes import descendants, gone, wait_until
from tests.running import CONFIGS, ROOT, no_report

SAID = "stopped; run the same command again: what is done is kept\n"
WORDS = [
    *("data.simulate.readers=6", "data.simulate.sentences=4", "folds.outer=2", "model.width=2"),
    *("train.epochs=1000000", "train.patience=1000000"),  # units that do not end
]


def has_saved(runs: Path) -> bool:
    """Has a unit saved an epoch?"""
    return bool(list(runs.glob("cv_heatmap-*/units/*/checkpoint/*.state")))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A process that is started here heeds SIGINT, even where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupt_while_units_run_ends_the_job_in_one_line(interruptible: None, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, str(ROOT / "jobs" / "cv_heatmap.py"), *WORDS, f"run.dir={tmp_path}/runs"]
    with out.open("w") as shown, err.open("w") as told:
        job = subprocess.Popen(command, stdout=shown, stderr=told, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        try:
            wait_until(lambda: has_saved(tmp_path / "runs") or job.poll() is not None, "a unit in its epochs")
            assert job.poll() is None, err.read_text()
            below = descendants(job.pid)
            job.send_signal(signal.SIGINT)
            assert job.wait(timeout=480) == 130
        finally:
            job.kill()
            job.wait()
    assert err.read_text() == SAID  # and so Ray says nothing of its own, from its start on
    assert len(below) > 2
    wait_until(lambda: gone(below), "the processes of the cluster to end")
    assert "done in" in out.read_text()
    assert list((tmp_path / "runs").rglob("manifest.json"))


class Ending:
    """A run that ends with the last of these errors, each raised while the one before is dealt with."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors

    def run(self, study: object, job: str, view: ProgressView) -> Outcome:
        first, *then = self.errors
        try:
            raise first
        finally:
            for error in then:
                raise error


def ended_by(monkeypatch: pytest.MonkeyPatch, *errors: BaseException) -> int:
    monkeypatch.setattr(experiment, "run", Ending(*errors).run)
    return cli.main(HeatmapStudy, HeatmapConfig, "cv_heatmap", CONFIGS / "cv_heatmap.yaml", no_report, [])


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((KeyboardInterrupt(),), 130),
        ((KeyboardInterrupt(), RuntimeError("the cluster is gone")), 130),
        ((KeyboardInterrupt(), OSError("no file ray")), 130),
        ((FileNotFoundError("no file ray"),), 2),
    ],
)
def test_what_goes_wrong_in_tidying_up_does_not_hide_an_interrupt(
    errors: tuple[BaseException, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended_by(monkeypatch, *errors) == code
    assert (capsys.readouterr().err == SAID) == (code == 130)


def test_an_error_without_an_interrupt_is_still_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        ended_by(monkeypatch, RuntimeError("a bug"))
