# SPDX-License-Identifier: Apache-2.0
"""The benchmarks at tiny sizes: they run, do the same work on both sides, and print both sides and a ratio."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from ray import cloudpickle

FOLDER = Path(__file__).parents[2] / "benchmarks"
TINY = ["--people", "6", "--trials", "4", "--folds", "3", "--epochs", "2", "--size", "32", "--width", "2"]
TINY += ["--batch-size", "8"]


def _load(name: str) -> ModuleType:
    """A benchmark, which is a script, as a module. Its classes travel to Ray's workers by value, as a script's do."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


@pytest.fixture(scope="module")
def ingest() -> ModuleType:
    return _load("ingest")


@pytest.fixture(scope="module")
def cross_validation() -> ModuleType:
    return _load("cross_validation")


@pytest.fixture
def settings_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a benchmark sets for its process, thread counts and Ray's niceness, is put back."""
    monkeypatch.setenv("RAY_worker_niceness", "0")
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in\n{text}"
    return float(found[1].replace(",", ""))


@pytest.mark.slow
def test_ingest_prints_every_side_its_ratio_and_the_memory(
    ingest: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ingest.main(["--readers", "2", "--sentences", "3", "--slow-readers", "1", "--repeats", "1"])
    printed = capsys.readouterr().out
    by_loop = _number(r"pandas \+ scipy, one process +([\d,]+)", printed)
    by_ray = _number(r"gazeray on Ray Data, \d+ workers +([\d,]+)", printed)
    assert _number(r"ratio to pandas \+ scipy, one process: ([\d.]+)", printed) == pytest.approx(
        by_ray / by_loop, rel=0.01, abs=0.006
    )
    assert _number(r"by scipy and by gazeray: at least ([\d.]+)", printed) >= 0.99
    peaks = re.findall(r"largest worker, +(\d+) readers: (\d+) MiB private, (\d+) MiB resident", printed)
    assert [int(readers) for readers, _, _ in peaks] == [2, 4, 8]
    assert all(0 < int(private) < int(resident) for _, private, resident in peaks)
    assert code == int(_number(r"from N to 4N readers: ([+-][\d.]+)%", printed) > 15)


def test_memory_that_grows_by_a_quarter_is_told_from_flat_memory(ingest: ModuleType) -> None:
    small, flat, large = ingest.WorkerMemory(), ingest.WorkerMemory(), ingest.WorkerMemory()
    small.uss_mib, small.rss_mib = 400, 800
    flat.uss_mib, flat.rss_mib = 400, 792
    large.uss_mib, large.rss_mib = 500, 840
    assert ingest.growth(small, flat) == pytest.approx(0)
    assert ingest.growth(small, large) == pytest.approx(0.25)


def test_memory_fields_are_summed_in_kilobytes(ingest: ModuleType, tmp_path: Path) -> None:
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text(
        "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPrivate_Clean: 20 kB\nPrivate_Dirty: 300 kB\n"
    )
    assert ingest.kilobytes(rollup, ("Private_Clean", "Private_Dirty")) == 320


@pytest.mark.slow
def test_cross_validation_prints_both_sides_and_their_ratio(
    cross_validation: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cross_validation.main(TINY) == 0
    printed = capsys.readouterr().out
    theirs, ours = _number(r"published way: +([\d.]+) s", printed), _number(r"gazeray: +([\d.]+) s", printed)
    assert _number(r"ratio: ([\d.]+) times faster", printed) == pytest.approx(theirs / ours, abs=0.1 / ours + 0.02)
    assert len(re.findall(r"mean test accuracy 0\.\d{3}|mean test accuracy 1\.000", printed)) == 2
    assert re.findall(r"(\d+) optimiser steps", printed) == ["12", "12"]  # 3 folds x 2 epochs x 2 batches
    for phase in ("start the workers", "read, decode, resize, cache", "share", "scoring"):
        assert f"{phase} " in printed.partition("gazeray, wall:")[2]


def test_both_sides_test_every_picture_once_and_validate_on_others(
    cross_validation: ModuleType, tmp_path: Path
) -> None:
    pictures = cross_validation.draw_pictures(tmp_path, 6, 4)
    folds = cross_validation.folds_of(cross_validation.parsed(TINY), pictures)
    assert sorted(name for fold in folds for name in fold.test) == sorted(set(pictures["participant"]))
    assert not any(set(fold.train) & {*fold.test, *fold.validation} for fold in folds)


def test_exported_picture_is_white_where_nobody_looked_and_red_at_the_peak(
    cross_validation: ModuleType, tmp_path: Path
) -> None:
    dwell = np.zeros((20, 30), np.float32)
    dwell[5, 7] = 3
    picture = cross_validation.coloured(dwell)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [255, 255, 255]
    red, green, blue = picture[5, 7].tolist()
    assert red == 255
    assert green == blue == 102


def test_decoded_picture_is_rgb_and_square(cross_validation: ModuleType, tmp_path: Path) -> None:
    pictures = cross_validation.draw_pictures(tmp_path, 2, 3)
    data = (tmp_path / pictures["path"][0]).read_bytes()
    screen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert screen.shape == (200, 1500, 3)
    small = cross_validation.decode(data, 50)
    blocks = screen[:, :, ::-1].reshape(50, 4, 50, 30, 3).mean((1, 3))
    np.testing.assert_allclose(small, blocks, atol=0.51)


def test_cuda_without_a_gpu_is_refused(
    cross_validation: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        cross_validation.parsed(["--device", "cuda"])
    assert "torch sees no GPU" in capsys.readouterr().err


def test_published_preset_has_the_published_size(cross_validation: ModuleType) -> None:
    options = cross_validation.parsed(["--preset", "published", "--epochs", "2"])
    assert (options.width, options.size, options.folds, options.batch_size) == (128, 128, 8, 32)
    assert options.people * options.trials == 340
    assert options.epochs == 2
