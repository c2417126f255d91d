# SPDX-License-Identifier: Apache-2.0
"""The benchmark of page faults: with the environment of workers there are none to speak of."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "page_faults.py"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the environment of workers is glibc's")
@pytest.mark.nightly
def test_workers_have_no_page_faults_to_speak_of() -> None:
    words = [sys.executable, str(SCRIPT), "--steps", "6", "--repeats", "1"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    faults = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) page faults a step", printed)]
    assert len(faults) == 2
    assert faults[1] < 100  # a plain process has thousands, or none: that depends on where its memory happens to lie
    assert re.search(r"^ratio: [\d.]+ times the CPU time of a worker$", printed, re.MULTILINE)
