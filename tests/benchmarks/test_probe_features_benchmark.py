# SPDX-License-Identifier: Apache-2.0
"""The benchmark of cached features at a tiny size: both sides write the same features, and a ratio is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.benchmarks.test_benchmarks import _load, _number

TINY = ["--pictures", "20", "--width", "128", "--height", "96", "--arch", "resnet18", "--longest-px", "64"]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return _load("probe_features")


@pytest.fixture(autouse=True)
def settings_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_worker_niceness", "0")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.nightly
def test_both_sides_write_the_same_features_and_a_ratio_is_printed(
    benchmark: ModuleType, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = benchmark.main([*TINY, "--longest-cells", "8", "--workers", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("20 simulated scenes through resnet18 at 64 x 48 px")
    plain_s = [float(text) for text in re.findall(r"plain loop, \d loading processes .* ([\d.]+) s", printed)]
    ours_s, ratio = _number(r"gazeray on Ray .* ([\d.]+) s", printed), _number(r"ratio: ([\d.]+) times", printed)
    assert len(plain_s) == 2
    assert ours_s / (min(plain_s) + 0.06) - 0.01 <= ratio <= (ours_s + 0.06) / max(min(plain_s) - 0.06, 1e-9) + 0.01
    assert _number(r"of that to begin: ([\d.]+) s", printed) > 0
    assert _number(r"greatest difference: (\S+) of", printed) < 0.01
    assert _number(r"reads ([\d,]+) pictures per second", printed) > 20 / ours_s
    assert code == int(ratio > 1.2) or abs(ratio - 1.2) < 0.006  # it is rounded


def test_features_that_differ_are_told(benchmark: ModuleType, tmp_path: Path) -> None:
    cfg = benchmark.BackboneConfig(arch="resnet18", longest_px=64, longest_cells=8, precision="float32")
    benchmark.simulate_saliency(
        benchmark.Folder(tmp_path / "scenes"),
        benchmark.SaliencySimulation(pictures=3, observers=1, width_px=128, height_px=96),
    )
    benchmark.untrained(tmp_path / "state.safetensors", cfg, ("layer2",))
    pictures = benchmark.found(tmp_path / "scenes", 3)
    job = benchmark.Job(tmp_path / "scenes", pictures, tmp_path / "state.safetensors", cfg, ("layer2",))
    for side in ("ours", "theirs"):
        (tmp_path / side).mkdir()
        benchmark.plain_loop(job, 0, tmp_path / side)
    assert benchmark.greatest_difference(job, tmp_path / "ours", tmp_path / "theirs") == 0
    path = tmp_path / "theirs" / "columns" / "layer2" / "00000.safetensors"
    changed = load_file(path)
    changed["00000001"] = changed["00000001"].copy()
    changed["00000001"][0, 0, 0] += changed["00000001"].max()
    save_file(changed, path)
    assert benchmark.greatest_difference(job, tmp_path / "ours", tmp_path / "theirs") > 0.5
    save_file({"00000001": changed["00000001"]}, path)
    with pytest.raises(RuntimeError, match="differ in pictures or shapes"):
        benchmark.greatest_difference(job, tmp_path / "ours", tmp_path / "theirs")
    path.unlink()
    with pytest.raises(RuntimeError, match="different files"):
        benchmark.greatest_difference(job, tmp_path / "ours", tmp_path / "theirs")
