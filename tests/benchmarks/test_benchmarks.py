# SPDX-License-Identifier: Apache-2.0
"""The benchmarks at tiny sizes: they run, do the same work on both sides, and print both sides and a ratio."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pyarrow as pa
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
def neighbours() -> Iterator[None]:
    """Benchmarks import others of their folder, as scripts in it can."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield
    for name in ("ingest", "exported_pictures", "known_gaze", "published_way", "units"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def cross_validation(neighbours: None) -> ModuleType:
    module = _load("cross_validation")
    cloudpickle.register_pickle_by_value(sys.modules["published_way"])  # a script's folder is on the workers' path
    return module


@pytest.fixture(scope="module")
def units() -> ModuleType:
    return _load("units")


@pytest.fixture(scope="module")
def ingest_vendor(neighbours: None) -> ModuleType:
    pytest.importorskip("pymovements")
    return _load("ingest_vendor")


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
@pytest.mark.nightly
def test_ingest_prints_every_side_its_ratio_and_the_memory(
    ingest: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = ingest.main(["--readers", "4", "--sentences", "3", "--slow-readers", "1", "--repeats", "1"])
    printed = capsys.readouterr().out
    by_loop = _number(r"pandas \+ scipy, one process +([\d,]+)", printed)
    by_ray = _number(r"gazeray on Ray, \d+ workers +([\d,]+)", printed)
    assert _number(r"ratio to pandas \+ scipy, one process: ([\d.]+)", printed) == pytest.approx(
        by_ray / by_loop, rel=0.05, abs=0.006
    )
    assert _number(r"by scipy and by gazeray: at least ([\d.]+)", printed) >= 0.99
    peaks = re.findall(r"largest worker, +(\d+) readers: (\d+) MiB private, (\d+) MiB resident", printed)
    assert [int(readers) for readers, _, _ in peaks] == [4, 8, 16]
    assert all(0 < int(private) < int(resident) for _, private, resident in peaks)
    grew = _number(r"from N to 4N readers: ([+-][\d.]+)%", printed)
    assert code == int(grew > 15) or abs(grew - 15) < 0.06  # it is rounded


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
@pytest.mark.nightly
def test_cross_validation_prints_both_sides_and_their_ratio(
    cross_validation: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cross_validation.main([*TINY, "--seeds", "2"])
    printed = capsys.readouterr().out
    theirs, ours = _number(r"published way: +([\d.]+) s", printed), _number(r"gazeray: +([\d.]+) s", printed)
    assert _number(r"ratio: ([\d.]+) times faster", printed) == pytest.approx(theirs / ours, abs=0.1 / ours + 0.02)
    assert re.findall(r"^seed (\d): .* (\d+) optimiser steps each$", printed, re.MULTILINE) == [
        ("0", "12"),
        ("1", "12"),
    ]
    assert len(re.findall(r"mean test accuracy [01]\.\d{3} \([01]\.\d{3} to [01]\.\d{3} over 2 seeds", printed)) == 2
    assert code == int("NOT within the range" in printed)
    assert _number(r"neither reading nor folds: ([\d.]+) s", printed) > 0
    for phase in ("folds", "read, decode, resize, cache", "after the last fold", "scoring"):
        assert f"{phase} " in printed.partition("gazeray, wall:")[2]


def test_both_sides_take_the_same_steps_without_dropout(
    cross_validation: ModuleType, settings_restored: None, tmp_path: Path
) -> None:
    options = cross_validation.parsed([*TINY, "--dropout", "0", "--workers", "0"])
    pictures = cross_validation.draw_pictures(tmp_path, options.people, options.trials)
    published, ours = cross_validation.both(options, tmp_path, pictures, seed=3)
    assert published.losses.shape == (options.folds, options.epochs)
    np.testing.assert_allclose(ours.losses, published.losses, rtol=1e-4)
    assert ours.accuracy == published.accuracy
    other, _ = cross_validation.both(options, tmp_path, pictures, seed=4)
    assert abs(other.losses - published.losses).max() > 0.01


def test_sides_agree_where_each_mean_is_within_the_range_of_the_other(
    cross_validation: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = {cross_validation.READING: 1.0, cross_validation.FOLDS: 5.0, "start": 2.5}

    def turns(*accuracies: tuple[float, float]) -> list[tuple[object, object]]:
        return [
            tuple(cross_validation.Side(one, np.ones((2, 2)), 4, 8.5, phases) for one in pair) for pair in accuracies
        ]

    assert cross_validation.report(turns((0.6, 0.7), (0.8, 0.7)))
    assert "neither reading nor folds: 2.5 s" in capsys.readouterr().out
    assert not cross_validation.report(turns((0.6, 0.9), (0.8, 0.9)))
    assert "NOT within the range" in capsys.readouterr().out


def test_both_sides_test_every_picture_once_and_validate_on_others(
    cross_validation: ModuleType, tmp_path: Path
) -> None:
    pictures = cross_validation.draw_pictures(tmp_path, 6, 4)
    cfg = cross_validation.job_config(cross_validation.parsed(TINY), "", 0)
    folds = cross_validation.folds_of(cfg, pa.Table.from_pandas(pictures))
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(pictures)))
    people = pictures["participant"].to_numpy()
    for fold in folds:
        assert not {*people[fold.train]} & {*people[fold.test], *people[fold.validation.rows]}
        assert not {*people[fold.validation.rows]} & {*people[fold.test]}


def test_exported_picture_is_white_where_nobody_looked_and_red_at_the_peak() -> None:
    dwell = np.zeros((20, 30), np.float32)
    dwell[5, 7] = 3
    picture = _load("exported_pictures").coloured(dwell)
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


@pytest.mark.slow
@pytest.mark.nightly
def test_units_prints_start_up_and_overhead(
    units: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = units.main(["--units", "3", "--seconds", "0.1"])
    printed = capsys.readouterr().out
    workers = int(_number(r"3 units that sleep 0\.1 s on (\d+) workers?", printed))
    assert _number(r"then ([\d.]+) s to the start of the first unit", printed) > 0
    spent, shut_down = _number(r"units: ([\d.]+) s", printed), _number(r"shut-down ([\d.]+) s", printed)
    least = math.ceil(3 / workers) * 0.1
    assert _number(r"overhead per unit: ([\d.]+) s", printed) == pytest.approx((spent - least) / 3, abs=0.005)
    whole = _number(r"shut-down included ([\d.]+) s", printed)
    assert whole == pytest.approx((spent + shut_down - least) / 3, abs=0.008)
    if abs(whole - 0.1) > 0.001:
        assert code == int(whole > 0.1)


def test_overhead_is_what_exceeds_whole_rounds(units: ModuleType) -> None:
    timing = units.Timing(called=0, began=10, ended=11.8, returned=12.3, workers=2)
    assert timing.overheads(5, 0.5) == pytest.approx((0.06, 0.16))  # three rounds of 0.5 s


def test_time_between_units_is_that_of_one_worker(units: ModuleType) -> None:
    one = [{"process": 1, "began": 0.0, "ended": 1.0}, {"process": 1, "began": 1.3, "ended": 2.0}]
    other = [{"process": 2, "began": 0.5, "ended": 1.1}, {"process": 2, "began": 1.2, "ended": 1.9}]
    assert units.between_units([*one, *other]) == pytest.approx(0.2)
    assert math.isnan(units.between_units([one[0], other[0]]))


def test_sleeping_unit_sleeps_as_long_as_asked(units: ModuleType) -> None:
    result = units.Sleep(1, 0.05).run(None, None, None)
    assert result["ended"] - result["began"] > 0.049


@pytest.mark.slow
@pytest.mark.nightly
def test_vendor_ingest_finds_the_same_fixations_as_pymovements(
    ingest_vendor: ModuleType, ray_cluster: None, settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--recordings", "2", "--trials", "2", "--seconds", "2", "--repeats", "1"]
    ingest_vendor.main(sizes)
    printed = capsys.readouterr().out
    for kind in ("asc", "csv"):
        ours = _number(rf"{kind}: gazeray on Ray +([\d,]+) samples/s \(8,000", printed)
        theirs = _number(rf"{kind}: pymovements +([\d,]+) samples/s \(8,000", printed)
        assert _number(rf"{kind}: ratio ([\d.]+)", printed) == pytest.approx(ours / theirs, rel=0.01, abs=0.006)
        found = _number(rf"{kind}: .* (\d+) by gazeray", printed)
        assert found == _number(rf"{kind}: .* (\d+) by pymovements", printed)
        assert found > 5
        assert _number(rf"{kind}: .* median of ([\d.]+) ms apart", printed) <= 1
        assert _number(rf"{kind}: twice the recordings: ([\d.]+) times", printed) > 0
        assert len(re.findall(rf"{kind}: largest worker, +\d+ recordings: \d+ MiB private", printed)) == 2


def test_both_vendor_formats_hold_the_same_gaze(ingest_vendor: ModuleType, tmp_path: Path) -> None:
    ingest_vendor.write_study(tmp_path, 1, 2, 1.0)
    lines = (tmp_path / "asc" / "P0001.asc").read_text().splitlines()
    asc = [line.split()[:3] for line in lines if line[:1].isdigit()]
    csv = [line.split(",") for line in (tmp_path / "csv" / "P0001.csv").read_text().splitlines()[1:]]
    assert len(asc) == 2000
    assert [[t, *("." if cell == "" else cell for cell in xy)] for _, t, *xy in csv] == asc
    assert (tmp_path / "asc" / "P0002.asc").read_bytes() == (tmp_path / "asc" / "P0001.asc").read_bytes()


def test_onsets_are_compared_within_their_trial(ingest_vendor: ModuleType) -> None:
    ours = {("a", "1"): np.array([100.0, 300]), ("a", "2"): np.array([1000.0])}
    theirs = {("a", "1"): np.array([103.0, 1000]), ("a", "2"): np.array([1001.0])}
    assert ingest_vendor.apart_ms(ours, theirs) == 3
    assert ingest_vendor.apart_ms({}, theirs) == math.inf


@pytest.mark.slow
@pytest.mark.nightly
def test_scaling_prints_the_efficiency_of_two_workers_and_what_nodes_send_each_other() -> None:
    words = ["--readers", "6", "--sentences", "4", "--folds", "4", "--epochs", "1", "--repeats", "1", "--nodes", "2"]
    words += ["--units", "2", "--seconds", "0.2"]
    short = tempfile.mkdtemp(prefix="gr-", dir="/tmp")  # sockets lie below it, and their paths may have 107 bytes
    try:
        done = subprocess.run(
            [sys.executable, str(FOLDER / "scaling.py"), *words],
            env={**os.environ, "RAY_TMPDIR": short},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _number(r"efficiency of two workers: ([\d.]+) \(medians", done.stdout) > 0
    assert re.search(r"^2 workers: folds [\d.]+ s; a fold takes [\d.]+ s$", done.stdout, re.MULTILINE)
    slept = r"2 nodes: 4 units that sleep 0\.2 s on [12] workers?: "
    per_second = _number(slept + r"([\d.]+) units per second", done.stdout)
    assert _number(slept + r".*, (\d+)% of what sleeping allows", done.stdout) == pytest.approx(
        10 * per_second, abs=0.6
    )
    assert _number(slept + r".*; ([\d.]+) ms between units", done.stdout) > 0
    assert _number(slept + r".*; driver ([\d.]+) ms of CPU per unit", done.stdout) > 0
    size, copies, moved = (
        _number(rf"2 nodes: 4 folds done on [12]; {pattern}", done.stdout)
        for pattern in (r"examples of ([\d.]+) MB", r".* in (\d) stores", r".* moved ([\d.]+) MB")
    )
    assert moved == pytest.approx(size * (copies - 1), abs=0.011)


@pytest.mark.slow
@pytest.mark.nightly
def test_report_prints_seconds_and_size_of_each_study(
    settings_restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = _load("large_report")
    benchmark.main(["--people", "24", "100", "--trials", "4", "--folds", "4", "--rejects", "300"])
    printed = capsys.readouterr().out
    costs = re.findall(r"(\d+) people: +([\d.]+) s of CPU, +([\d.]+) MB; ([\d.]+) and ([\d.]+) times", printed)
    assert [people for people, *_ in costs] == ["24", "100"]
    assert costs[0][3:] == ("1.0", "1.0")
    assert all(float(seconds) > 0 and 0.1 < float(megabytes) < 5 for _, seconds, megabytes, *_ in costs)


@pytest.mark.parametrize(("people", "seconds", "megabytes", "code"), [
    (5000, 14.9, 2.9, 0), (5000, 15.1, 2.9, 1), (5000, 14.9, 3.1, 1), (9000, 99.0, 9.0, 0),
])  # fmt: skip
def test_report_beyond_its_limits_is_told_by_the_exit_code(
    people: int, seconds: float, megabytes: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = _load("large_report")
    monkeypatch.setattr(benchmark, "small_run", lambda folder: folder)
    monkeypatch.setattr(benchmark, "grow", lambda small, big, size: None)
    monkeypatch.setattr(benchmark, "drawn", lambda run, checkout: benchmark.Cost(seconds, megabytes))
    assert benchmark.main(["--people", str(people)]) == code
