# SPDX-License-Identifier: Apache-2.0
"""The benchmark of SALICON's annotations at a tiny size: both sides read the same, and say how much they took."""

from __future__ import annotations

import re

import pytest

from tests.benchmarks.test_benchmarks import _load


def test_both_sides_read_the_same_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert _load("salicon").main(["--pictures", "2"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"(\d+) points, peak", shown) == ["14400", "14400"]
    assert re.search(r"ratio +memory [\d.]+, time [\d.]+", shown)
