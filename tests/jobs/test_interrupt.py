# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of the units: one line, its own exit code, nothing left running, and what is done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gazeray.config import Section
from gazeray.engine.cli import CROSS_VALIDATION, Flow, main, table
from gazeray.engine.outcome import Outcome
from gazeray.engine.progress import ProgressView
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy
from tests.jobs.test_help import CONFIG, ROOT
from tests.processes import descendants, gone, wait_until

SAID = "stopped; run the same command again: what is done is kept\n"
WORDS = [
    *("data.simulate.pictures=24", "data.simulate.width_px=160", "data.simulate.height_px=120", "folds.outer=3"),
    *("score.longest_px=120", "baselines.splits=500"),  # units of many seconds
]


@pytest.mark.slow
def test_an_interrupt_while_units_run_ends_the_job_in_one_line(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, str(ROOT / "jobs" / "score_maps.py"), *WORDS, f"run.dir={tmp_path}/runs"]
    with out.open("w") as shown, err.open("w") as told:
        job = subprocess.Popen(command, stdout=shown, stderr=told, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
        try:
            wait_until(lambda: "started" in out.read_text() or job.poll() is not None, "a unit")
            assert job.poll() is None
            below = descendants(job.pid)
            job.send_signal(signal.SIGINT)
            assert job.wait(timeout=60) == 130
        finally:
            job.kill()
            job.wait()
    assert err.read_text() == SAID  # and so Ray says nothing of its own, from its start on
    assert len(below) > 2
    wait_until(lambda: gone(below), "the processes of the cluster to end", deadline_s=20)
    assert "done in" in out.read_text()
    assert list((tmp_path / "runs").rglob("manifest.json"))


class Ending:
    """A run that ends with the last of these errors, each raised while the one before is dealt with."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = errors

    def run(self, study: object, cfg: Section, job: str, view: ProgressView) -> Outcome:
        first, *then = self.errors
        try:
            raise first
        finally:
            for error in then:
                raise error


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
    errors: tuple[BaseException, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = Flow(CROSS_VALIDATION.plan_lines, Ending(*errors).run, table)
    assert main(HeatmapStudy(), "cv_heatmap", CONFIG, write_report, [], flow) == code
    assert (capsys.readouterr().err == SAID) == (code == 130)


def test_an_error_without_an_interrupt_is_still_raised() -> None:
    flow = Flow(CROSS_VALIDATION.plan_lines, Ending(RuntimeError("a bug")).run, table)
    with pytest.raises(RuntimeError, match="a bug"):
        main(HeatmapStudy(), "cv_heatmap", CONFIG, write_report, [], flow)
