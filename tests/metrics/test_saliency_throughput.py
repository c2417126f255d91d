# SPDX-License-Identifier: Apache-2.0
"""The benchmark's images per second (what `--device cuda` prints), at a tiny size and on the CPU."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "saliency_metrics.py"


def test_images_per_second_are_printed_for_each_metric(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_saliency_metrics", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    work = module.simulated(n_maps=3, height=24, width=30, n_fixations=6, dtype="float32", seed=0)
    module.print_images_per_second(work, "cpu", repeats=2)
    rows = re.findall(r"^(.+?) +(\d+) images/s$", capsys.readouterr().out, re.MULTILINE)
    assert [name for name, _ in rows] == ["AUC", "shuffled AUC", "NSS", "CC", "SIM", "KL"]
    assert all(int(per_second) > 0 for _, per_second in rows)
