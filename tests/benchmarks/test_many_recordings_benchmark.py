# SPDX-License-Identifier: Apache-2.0
"""The benchmark of many small recordings at a tiny size: it runs, and its table holds what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "many_recordings.py"


@pytest.mark.slow
@pytest.mark.nightly
def test_every_number_of_people_has_a_row_and_objects_do_not_grow_with_them() -> None:
    printed = subprocess.run(
        [sys.executable, SCRIPT, "--people", "12", "50"], check=True, capture_output=True, text=True
    ).stdout
    heads = re.findall(r"[^|]+", printed.splitlines()[1])
    rows = [re.findall(r"[^|]+", line) for line in printed.splitlines() if re.match(r"\| \d", line)]
    assert [len(row) for row in rows] == [len(heads)] * 2
    assert [row[0].strip() for row in rows] == ["12", "50"]
    objects = [int(row[-2]) for row in rows]
    assert objects == [12 * 4, 48 * 4], "a note, a file of tables and two columns for each pack"
    assert "times 4.16667 people: " in printed
