# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the ridge probe at a tiny size: both sides do the same work, and a ratio is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ridge.py"
TINY = ["--layers", "2", "--pictures", "6", "--channels", "8", "--height", "4", "--width", "5", "--folds", "3"]


def test_both_sides_agree_and_a_ratio_is_printed() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), *TINY], capture_output=True, text=True, check=False)
    found = re.search(r"greatest difference: (\S+) of", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 1e-6
    assert re.search(r"ratio: [\d.]+ times faster, [\d.]+ times less memory", done.stdout)
    assert done.stdout.startswith("2 layers x 5 penalties, 3 folds")


def test_too_few_folds_are_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--folds", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--folds must be at least 3" in done.stderr
