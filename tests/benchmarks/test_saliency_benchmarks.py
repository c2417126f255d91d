# SPDX-License-Identifier: Apache-2.0
"""The benchmark of the saliency metrics at a tiny size: both sides run, agree, and are printed with their ratio."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "saliency_metrics.py"
HALF_MS = 0.00051
"""The printed times are rounded by as much."""
TINY = ["--maps", "3", "--height", "24", "--width", "30", "--fixations", "6", "--repeats", "1"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saliency_metrics_prints_both_sides_and_a_ratio_for_each_metric(
    dtype: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("pysaliency") is None:
        pytest.skip("pysaliency is not installed")
    spec = importlib.util.spec_from_file_location("benchmark_saliency_metrics", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["saliency_metrics.py", *TINY, "--dtype", dtype])
    threads = torch.get_num_threads()
    try:
        module.main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    for name in ("AUC", "shuffled AUC", "NSS", "CC", "SIM", "KL"):
        row = re.search(rf"^{name} +([\d.]+) ms +([\d.]+) ms +([\d.]+) +\( *\d+\.\d\) +(\S+)$", printed, re.MULTILINE)
        assert row, printed
        theirs_ms, ours_ms, ratio, difference = map(float, row.groups())
        least, most = (theirs_ms - HALF_MS) / (ours_ms + HALF_MS), (theirs_ms + HALF_MS) / (ours_ms - HALF_MS)
        assert least - 0.051 <= ratio <= most + 0.051
        assert difference < (5e-6 if dtype == "float32" else 1e-9)
