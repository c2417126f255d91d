# SPDX-License-Identifier: Apache-2.0
"""The benchmark of what people wait for: the answers of every job are measured, beside what they do without."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "start.py"


@pytest.mark.slow
@pytest.mark.nightly
def test_every_answer_of_every_job_is_printed() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--repeats", "1"], capture_output=True, text=True, check=False)
    lines = re.findall(r"^(.+?) +[\d.]+ s +[\d.]+ s of CPU, +[\d.]+ of torch and ray$", done.stdout, re.MULTILINE)
    plans = ["--help", "run.sed=1", "--dry-run, no data yet", "--dry-run, again"]
    studies = [f"{job} {words}" for job in ("cv_heatmap", "probe_saliency", "score_maps") for words in plans]
    assert lines == [*studies, "report --help", "validate_run --help", "import of torch and ray"], done.stderr
    assert done.returncode == int("over the aim" in done.stdout)
