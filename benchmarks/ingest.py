# SPDX-License-Identifier: Apache-2.0
"""From raw csv to examples, in rows per second: gazeray on Ray against a pandas loop.

Every side reads the gaze of a simulated reading study, converts and sorts it into trials, finds the fixations (I-DT),
computes the features, draws one heatmap per trial and writes one file per reader. The sides:

1. pandas + scipy: `pd.read_csv`, a loop over `groupby("trial")`, each heatmap a histogram with one bin per screen pixel
   of the stimulus window, `scipy.ndimage.gaussian_filter`, shrunk by averaging. Detector and features are gazeray's.
2. pandas + gazeray's heatmaps: the same loop, all heatmaps of a reader in one call of `gazeray.gaze.render.heatmaps`.
3. gazeray's reader in a loop: what Ray's workers do, checks of the input and Parquet included, in one process without
   Ray. Against 4 it shows what Ray costs and what its workers bring.
4. gazeray on Ray: the pass of the heatmap study, as many workers as there are cores.

Sides 1 to 3 run in one process and one thread. Side 1 reads fewer readers (--slow-readers), since its rows per second
do not depend on their number. The sides take turns; the medians are compared. What is paid once (starting Ray, loading
code into its workers) stands apart.

Then the peak memory of the largest worker for N, 2N and 4N readers, each on a fresh cluster. Exit code 1 when it grows
by more than 15 % from N to 4N, or when the sides do not draw the same pictures.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import pandas as pd
import ray
import torch
from rich.console import Console
from scipy.ndimage import gaussian_filter

from gazeray.config import ResourcesConfig
from gazeray.engine.executor import Executor
from gazeray.engine.passes import raise_fault
from gazeray.engine.progress import ProgressView
from gazeray.gaze.events import detect
from gazeray.gaze.features import reading_features
from gazeray.gaze.render import Window, encode, heatmaps, pad_trials, sample_durations
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.heatmap.source import Recordings
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.study import Pass, Source
from gazeray.synth.reading import SCREEN_PX, WINDOW_PX

WINDOW = Window((SCREEN_PX[0] - WINDOW_PX[0]) / 2, (SCREEN_PX[1] - WINDOW_PX[1]) / 2, *WINDOW_PX)
"""Where the simulated sentences stand on the screen."""

COLUMNS = ("picture", "features")

FEW_FOLDS, LEAST_PEOPLE = {"outer": 2}, 4
"""Nothing is fitted, but a study that is opened has folds, and few people fill few."""

LEAST_CORRELATION = 0.99
MOST_GROWTH = 0.15
POLL_S = 0.1

Draw = Callable[[HeatmapConfig, list[tuple[np.ndarray, np.ndarray, np.ndarray]]], np.ndarray]
"""Heatmaps (N, H, W) of trials, each x_px, y_px and duration_ms of its samples."""


@dataclass(frozen=True)
class Input:
    """A study that has been opened."""

    study: HeatmapStudy
    source: Source[Recordings]

    @property
    def cfg(self) -> HeatmapConfig:
        """How it is to be read."""
        return self.study.cfg

    @property
    def root(self) -> Path:
        """The folder of the raw files."""
        return Path(self.source.data.root.uri)

    @property
    def recordings(self) -> int:
        """How many there are."""
        return len(self.source.data.recordings)

    def reading(self, out: Path) -> Pass:
        """The pass over all recordings, into a fresh folder."""
        return next(self.study.passes(self.source, Folder(out)))


def opened(cfg: HeatmapConfig) -> Input:
    """The study of a config."""
    study = HeatmapStudy(cfg)
    return Input(study, study.open())


def simulated(folder: Path, readers: int, sentences: int) -> Input:
    """Write the raw study below `folder` and open it."""
    simulate = {"readers": readers, "sentences": sentences}
    sections = {"run": {"dir": str(folder)}, "data": {"simulate": simulate}, "folds": FEW_FOLDS}
    return opened(HeatmapConfig.model_validate(sections))


def pandas_loop(study: Input, readers: int, draw: Draw, out: Path) -> int:
    """Read the first readers one trial after the other, write one .npz for each; returns the rows read."""
    root, max_gap_ms = study.root, study.cfg.render.max_gap_ms
    rows = 0
    for path in sorted((root / "gaze").glob("*.csv"))[:readers]:
        samples = pd.read_csv(path)
        rows += len(samples)
        dwell, features = [], []
        for _, trial in samples.groupby("trial", sort=False):
            time_ms, (x_px, y_px) = trial["t_ms"].to_numpy(), trial[["x_px", "y_px"]].to_numpy(np.float32).T
            found = detect({"timestamp_ms": time_ms, "x_px": x_px, "y_px": y_px}, None, study.cfg.events).fixations
            features.append(reading_features(found, WINDOW, study.cfg.features.columns))
            valid = np.isfinite(x_px) & np.isfinite(y_px)
            dwell.append((x_px, y_px, sample_durations(time_ms, valid, max_gap_ms)))
        picture = draw(study.cfg, dwell).astype(np.float16)
        np.savez(out / f"{path.stem}.npz", picture=picture, features=np.stack(features))
    return rows


def draw_by_scipy(cfg: HeatmapConfig, dwell: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """The usual way, a trial at a time; in ms like ours: scipy's Gaussian has sum 1, ours peak 1."""
    sigma, pictures = cfg.render.sigma_px or 0.0, []
    for x_px, y_px, duration_ms in dwell:
        column, row = np.floor(x_px - WINDOW.left_px), np.floor(y_px - WINDOW.top_px)
        inside = (column >= 0) & (column < WINDOW.width_px) & (row >= 0) & (row < WINDOW.height_px)
        histogram = np.zeros((int(WINDOW.height_px), int(WINDOW.width_px)), np.float32)
        places = row[inside].astype(int), column[inside].astype(int)
        np.add.at(histogram, places, duration_ms[inside].astype(np.float32))
        smooth = gaussian_filter(histogram, sigma, mode="constant", truncate=4)
        small = cv2.resize(smooth, (cfg.render.width_px, cfg.render.height_px), interpolation=cv2.INTER_AREA)
        pictures.append(small * (2 * math.pi * sigma**2))
    return np.stack(pictures)


def draw_by_gazeray(cfg: HeatmapConfig, dwell: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """All trials in one call."""
    x_px, y_px, duration_ms = (pad_trials([trial[axis] for trial in dwell]) for axis in range(3))
    size = (cfg.render.height_px, cfg.render.width_px)
    drawn = heatmaps(x_px, y_px, duration_ms, torch.tensor([WINDOW] * len(dwell)), size, cfg.render.sigma_px or 0.0)
    return encode(drawn[:, 0], cfg.render.dtype, cfg.render.full_scale_ms)


def reader_loop(study: Input, out: Path) -> int:
    """What the workers do, in this process; returns the rows read."""
    work = study.reading(out)
    do = work.make(torch.device("cpu"))
    for piece in work.pieces:
        do(piece)
    return rows_read(Store.open(work.folder, work.keys))


@contextmanager
def on_ray() -> Iterator[Executor]:
    """What does passes on a cluster; the cluster is there."""
    with Executor(ResourcesConfig(), 4.0, ProgressView(Console(quiet=True))) as workers:
        workers.begin()
        yield workers


def ray_pass(study: Input, recordings: int | None, workers: Executor, out: Path) -> Store:
    """One pass over the first recordings (None: all). The processes of the first one do the others too."""
    work = study.reading(out)
    work = replace(work, pieces=work.pieces[:recordings], keys=work.keys[:recordings])
    workers.pieces(work, raise_fault)
    return Store.open(work.folder, work.keys)


def rows_read(store: Store) -> int:
    """The rows of the raw files that the store was made of."""
    return store.log.rows_read if store.log else 0


class Stopwatch:
    """Seconds and rows of each side, one entry per turn; every turn writes into a fresh folder."""

    def __init__(self) -> None:
        self.turns: dict[str, list[tuple[float, int]]] = {}

    def turn(self, side: str, work: Callable[[Path], int]) -> None:
        """Let a side work once; `work` returns the rows it read."""
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            rows = work(Path(out))
            self.turns.setdefault(side, []).append((time.perf_counter() - start, rows))

    def seconds(self, side: str) -> float:
        return statistics.median(seconds for seconds, _ in self.turns[side])

    def rows(self, side: str) -> int:
        return self.turns[side][0][1]


def compare_speed(study: Input, slow_readers: int, repeats: int) -> None:
    """Let the sides take turns and print their rows per second."""
    watch, begin = Stopwatch(), time.perf_counter()
    with on_ray() as workers:
        init_s = time.perf_counter() - begin
        cores = int(ray.cluster_resources()["CPU"])
        watch.turn("first pass", lambda out: rows_read(ray_pass(study, None, workers, out)))
        for _ in range(repeats):
            watch.turn("scipy", lambda out: pandas_loop(study, slow_readers, draw_by_scipy, out))
            watch.turn("heatmaps", lambda out: pandas_loop(study, study.recordings, draw_by_gazeray, out))
            watch.turn("reader", lambda out: reader_loop(study, out))
            watch.turn("ray", lambda out: rows_read(ray_pass(study, None, workers, out)))
    total = watch.rows("ray")
    speed = {side: watch.rows(side) / watch.seconds(side) for side in ("scipy", "heatmaps", "reader", "ray")}
    load_s = watch.seconds("first pass") - watch.seconds("ray")
    print(f"paid once: starting Ray {init_s:.1f} s; first pass {load_s:.1f} s longer (its workers load their code)")
    print(f"{'side':44}{'rows/s':>9}  pass over all rows (median of {repeats})")
    names = {
        "scipy": "pandas + scipy, one process",
        "heatmaps": "pandas + gazeray's heatmaps, one process",
        "reader": "gazeray's reader, one process",
        "ray": f"gazeray on Ray, {cores} workers",
    }
    for side, name in names.items():
        print(f"{name:44}{speed[side]:9,.0f}  {total / speed[side]:.2f} s")
    for side, name in list(names.items())[:3]:
        print(f"ratio to {name}: {speed['ray'] / speed[side]:.2f}")
    whole_s = init_s + watch.seconds("first pass")
    print(
        f"one pass with what is paid once: {whole_s:.1f} s, {total / speed['scipy'] / whole_s:.2f} times the first side"
    )


def least_correlation(study: Input, readers: int) -> float:
    """The least correlation of a trial's picture by scipy with the one by Ray, over the first readers.

    Raises RuntimeError where the sides differ in trials or features.
    """
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs, on_ray() as workers:
        store = ray_pass(study, readers, workers, Path(ours))
        shards = {name: np.asarray(values) for name, values in store.take(np.arange(len(store)), COLUMNS).items()}
        pandas_loop(study, readers, draw_by_scipy, Path(theirs))
        files = [np.load(path) for path in sorted(Path(theirs).glob("*.npz"))]
        pictures, features = (np.concatenate([file[name] for file in files]) for name in COLUMNS)
    if features.shape != shards["features"].shape or not np.allclose(features, shards["features"]):
        raise RuntimeError("the sides differ in trials or features: they do not do the same work")
    pairs = zip(pictures.astype(float), shards["picture"][:, 0].astype(float), strict=True)
    return min(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs)


class WorkerMemory:
    """The peak memory of Ray's worker processes below this one while the block runs, read from /proc every 0.1 s.

    uss_mib: private memory of the largest worker (Private_Clean + Private_Dirty), the greatest value seen. rss_mib: its
    resident memory, shared pages such as code included, at its true peak (VmHWM).
    """

    def __init__(self) -> None:
        self.uss_mib, self.rss_mib = 0.0, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        over = False
        while not over:
            over = self._over.wait(POLL_S)  # and a last look when the block is over, however short it was
            for worker in workers_below(os.getpid()):
                try:
                    private = kilobytes(worker / "smaps_rollup", ("Private_Clean", "Private_Dirty"))
                    peak = kilobytes(worker / "status", ("VmHWM",))
                except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
                    continue
                self.uss_mib, self.rss_mib = max(self.uss_mib, private / 1024), max(self.rss_mib, peak / 1024)


def workers_below(ancestor: int) -> list[Path]:
    """/proc folders of the Ray workers among the descendants of a process."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since it was listed
            continue
        parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])

    def descends(pid: int) -> bool:
        while pid in parents and pid != ancestor:
            pid = parents[pid]
        return pid == ancestor

    return [Path(f"/proc/{pid}") for pid, name in names.items() if name.startswith(b"ray::") and descends(pid)]


def kilobytes(path: Path, fields: Sequence[str]) -> int:
    """The sum of some fields of a /proc file."""
    lines = (line.split() for line in path.read_text().splitlines())
    return sum(int(words[1]) for words in lines if words[0].rstrip(":") in fields)


def peak_memory(study: Input) -> WorkerMemory:
    """The memory of the largest worker in one pass on a fresh cluster. Raises RuntimeError when no worker was seen."""
    with tempfile.TemporaryDirectory() as out, on_ray() as workers, WorkerMemory() as memory:
        ray_pass(study, None, workers, Path(out))
    if not memory.uss_mib:
        raise RuntimeError("no Ray worker was seen; does RAY_ADDRESS name a cluster that runs elsewhere?")
    return memory


def growth(first: WorkerMemory, last: WorkerMemory) -> float:
    """By which share the memory grew, private or resident, whichever grew more."""
    return max(last.uss_mib / first.uss_mib, last.rss_mib / first.rss_mib) - 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--readers", type=int, default=24, help="simulated readers (default: 24)")
    parser.add_argument("--sentences", type=int, default=24, help="sentences that each reads (default: 24)")
    parser.add_argument("--slow-readers", type=int, default=4, help="readers that pandas + scipy reads (default: 4)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side (default: 5)")
    options = parser.parse_args(argv)
    if options.readers < LEAST_PEOPLE or options.sentences < 3 or min(options.slow_readers, options.repeats) < 1:
        parser.error(f"--readers must be at least {LEAST_PEOPLE}, --sentences 3, --slow-readers and --repeats 1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs; a loop does not
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    slow_readers = min(options.slow_readers, options.readers)
    with tempfile.TemporaryDirectory() as folder:
        study, *larger = (simulated(Path(folder), options.readers * times, options.sentences) for times in (1, 2, 4))
        load = os.getloadavg()[0]
        print(f"{options.readers} simulated readers x {options.sentences} sentences; load average {load:.1f}")
        compare_speed(study, slow_readers, options.repeats)
        correlation = least_correlation(study, slow_readers)
        print(f"correlation of the pictures by scipy and by gazeray: at least {correlation:.4f}")
        memory = [peak_memory(each) for each in (study, *larger)]
    for times, peak in zip((1, 2, 4), memory, strict=True):
        readers = options.readers * times
        print(f"largest worker, {readers:4} readers: {peak.uss_mib:.0f} MiB private, {peak.rss_mib:.0f} MiB resident")
    grew = growth(memory[0], memory[-1])
    print(f"growth of the largest worker from N to 4N readers: {grew:+.1%} (at most {MOST_GROWTH:.0%})")
    return 0 if grew <= MOST_GROWTH and correlation >= LEAST_CORRELATION else 1


if __name__ == "__main__":
    sys.exit(main())
