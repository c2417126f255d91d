# SPDX-License-Identifier: Apache-2.0
"""From vendor files to events and heatmaps, in samples per second: gazeray on Ray against pymovements.

3 million samples of simulated gaze at 1000 Hz (60 recordings of 50 s, 5 trials each, two blinks in a trial), written
as EyeLink .asc and as csv. Both sides find fixations with I-VT, the velocity over the two neighbours of a sample
against the same threshold, the same shortest fixation, nothing merged, no lost sample bridged; and draw one heatmap per
trial with `gazeray.gaze.render.heatmaps`.

pymovements: one process, polars with its own threads, recording after recording: `from_asc` or `from_csv`, `pix2deg`,
`pos2vel("neighbors")`, `detect("ivt")`; pictures and onsets in memory. It may be given fewer recordings; the rates are
per sample. gazeray: the whole of the heatmap study's reader, which also checks the input, finds saccades, measures the
quality, computes features, and writes shards and tables of events. What is paid once (starting Ray, loading the code
in its workers) is left out by first passes.

Prints for each format both rates and their ratio; the number of fixations by both and how far their onsets are apart;
the time of N and 2N recordings; and the memory of the largest worker in the first pass over N and in one over 2N, by
the same workers, so that what they do not give back is seen as well. Returns 1 when 2N recordings take more than 2.1
times the time of N, a worker's memory grows by more than 15 %, or the sides do not find the same fixations (numbers
within 1 %, onsets a median of at most 2 ms apart).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pymovements as pm  # type: ignore[import-untyped]
import ray
import torch
from ingest import (
    FEW_FOLDS,
    LEAST_PEOPLE,
    MOST_GROWTH,
    Input,
    WorkerMemory,
    growth,
    on_ray,
    opened,
    ray_pass,
    rows_read,
)
from known_gaze import simulate_gaze, to_px
from pymovements.gaze.io import from_asc, from_csv  # type: ignore[import-untyped]

from gazeray.gaze.events import Screen
from gazeray.gaze.render import Window, encode, heatmaps, pad_trials, sample_durations
from gazeray.store import Store
from gazeray.studies.heatmap.study import HeatmapConfig

SAMPLING_HZ = 1000
SCREEN = Screen(1280, 1024, 380, 300, 680)
NOISE_DEG = 0.005
"""That of a video-based tracker with its filter on; with more, a velocity over 2 ms says nothing."""

VELOCITY_DEG_S, MIN_DURATION_MS = 30.0, 80
MOST_TIMES, MOST_MS, MOST_MISSED = 2.1, 2.0, 0.01
FORMATS = ("asc", "csv")

Onsets = dict[tuple[str, str], np.ndarray]
"""(participant, trial) -> the onsets of its fixations in order, ms."""

DECLARATION = """
name: simulated-{format}
screen: {{width_px: 1280, height_px: 1024, width_mm: 380, height_mm: 300, distance_mm: 680}}
trials: {{path: trials.csv, columns: {{participant: participant, trial: trial, condition: condition}}}}
samples: {samples}
labels: {{condition: {{0: odd, 1: even}}}}
"""
SAMPLES = {
    "asc": "{reader: eyelink, path: 'asc/{participant}.asc'}",
    "csv": "{reader: delimited, path: 'csv/{participant}.csv', "
    "columns: {trial: trial, timestamp_ms: t_ms, x_px: x_px, y_px: y_px}}",
}

ASC_HEADER = (
    "** VERSION: EYELINK II 1\n** EYELINK II CL v6.14 Mar  6 2020 (EyeLink Portable Duo)\n**\n\n"
    f"MSG\t90 DISPLAY_COORDS 0 0 {SCREEN.width_px - 1:g} {SCREEN.height_px - 1:g}\nMSG\t90 ELCLCFG MTABLER\n"
)


def write_study(root: Path, recordings: int, trials: int, seconds: float, formats: Sequence[str] = FORMATS) -> None:
    """Write 2N recordings in each format, with the same digits, and the table of trials.

    N are simulated; the second N are the same again under other names.
    """
    for name in formats:
        (root / name).mkdir()
        (root / f"{name}.yaml").write_text(DECLARATION.format(format=name, samples=SAMPLES[name]))
    rows = ["participant,trial,condition\n"]
    for number in range(recordings):
        texts = {"asc": [ASC_HEADER], "csv": ["trial,t_ms,x_px,y_px\n"]}
        for trial in range(1, trials + 1):
            start_ms = 1000 + int((trial - 1) * (seconds + 1) * 1000)
            gaze = simulated_trial(number * trials + trial, start_ms, seconds)
            texts["asc"] += asc_trial(trial, *gaze) if "asc" in formats else []
            texts["csv"] += csv_trial(trial, *gaze) if "csv" in formats else []
        for participant in (f"P{number + 1:04d}", f"P{number + 1 + recordings:04d}"):
            rows += [f"{participant},{trial},{trial % 2}\n" for trial in range(1, trials + 1)]
            for name in formats:
                (root / name / f"{participant}.{name}").write_text("".join(texts[name]))
    (root / "trials.csv").write_text("".join(rows))


def simulated_trial(seed: int, start_ms: int, seconds: float) -> tuple[list[int], list[float], list[float]]:
    """Times in ms, x and y in px of the screen; NaN where lost."""
    n_fixations = math.ceil(seconds / 0.3) + 4  # more than fit: one takes 0.34 s, the saccade after it 0.05 s
    gaze = simulate_gaze(seed, SAMPLING_HZ, n_fixations, NOISE_DEG, blinks=2)
    n = round(seconds * SAMPLING_HZ)
    x_px, y_px = to_px(SCREEN, gaze.x_deg[:n], gaze.y_deg[:n])
    return list(range(start_ms, start_ms + len(x_px))), x_px.tolist(), y_px.tolist()


def asc_trial(trial: int, time_ms: list[int], x_px: list[float], y_px: list[float]) -> list[str]:
    """The lines of one trial as edf2asc writes them: one block, right eye, pupil area, flags."""
    first, last = time_ms[0], time_ms[-1]
    gaze = f"GAZE\tRIGHT\tRATE\t{SAMPLING_HZ}.00\tTRACKING\tCR\tFILTER\t2\n"
    head = [
        f"MSG\t{first - 3} RECCFG CR {SAMPLING_HZ} 2 1 R\n",
        f"MSG\t{first - 3} GAZE_COORDS 0.00 0.00 {SCREEN.width_px - 1:.2f} {SCREEN.height_px - 1:.2f}\n",
        f"MSG\t{first - 2} TRIALID {trial}\n",
        f"START\t{first} \tRIGHT\tSAMPLES\tEVENTS\n",
        f"PRESCALER\t1\nVPRESCALER\t1\nPUPIL\tAREA\nEVENTS\t{gaze}SAMPLES\t{gaze}",
    ]
    body = [
        f"{t}\t   .\t   .\t    0.0\t...\n" if math.isnan(x) else f"{t}\t  {x:.1f}\t  {y:.1f}\t 1000.0\t...\n"
        for t, x, y in zip(time_ms, x_px, y_px, strict=True)
    ]
    tail = [f"END\t{last + 1} \tSAMPLES\tEVENTS\tRES\t  38.00\t  38.00\n", f"MSG\t{last + 2} TRIAL_RESULT 0\n"]
    return [*head, *body, *tail]


def csv_trial(trial: int, time_ms: list[int], x_px: list[float], y_px: list[float]) -> list[str]:
    """The rows of one trial: trial, t_ms, x_px, y_px; lost gaze is empty."""
    return [
        f"{trial},{t},,\n" if math.isnan(x) else f"{trial},{t},{x:.1f},{y:.1f}\n"
        for t, x, y in zip(time_ms, x_px, y_px, strict=True)
    ]


def declared(root: Path, kind: str, runs: Path) -> Input:
    """The study over the files of one format."""
    events = {"detector": "ivt", "velocity_deg_s": VELOCITY_DEG_S, "min_duration_ms": MIN_DURATION_MS}
    same = {"velocity_window_ms": 2, "merge_gap_ms": 0, "max_gap_ms": 1.5, "blink_pad_ms": 0}
    cfg = HeatmapConfig.model_validate(
        {
            "run": {"dir": str(runs)},
            "data": {"dataset": str(root / f"{kind}.yaml")},
            "events": events | same,
            "folds": FEW_FOLDS,
        }
    )
    return opened(cfg)


def onsets_of(store: Store) -> Onsets:
    """The fixations that our reader wrote."""
    table = store.table_of("fixations").to_pandas()
    groups = table.groupby(["participant", "trial"], sort=False)["onset_ms"]
    return {(str(who), str(trial)): np.sort(values.to_numpy()) for (who, trial), values in groups}


# -- pymovements


@dataclass
class PymovementsWay:
    """One recording after the other in this process: fixations by pymovements, heatmaps by ours."""

    study: Input
    kind: str
    samples: int = 0

    def run(self, recordings: int) -> Onsets:
        root, found = self.study.root, {}
        for path in sorted((root / self.kind).iterdir())[:recordings]:
            gaze = self.read(path)
            self.samples += len(gaze.samples)
            gaze.pix2deg()
            gaze.pos2vel("neighbors")
            # it counts from the first to the last sample, we one sample more
            gaze.detect("ivt", velocity_threshold=VELOCITY_DEG_S, minimum_duration=MIN_DURATION_MS - 1)
            self.draw(gaze)
            for (trial,), mine in gaze.events.frame.partition_by("trial", as_dict=True).items():
                found[path.stem, str(trial)] = np.sort(mine["onset"].to_numpy().astype(np.float64))
        return found

    def read(self, path: Path) -> pm.Gaze:
        width, height = round(SCREEN.width_px), round(SCREEN.height_px)
        size_cm = SCREEN.width_mm / 10, SCREEN.height_mm / 10, SCREEN.distance_mm / 10
        experiment = pm.Experiment(width, height, *size_cm, origin="upper left", sampling_rate=SAMPLING_HZ)
        if self.kind == "asc":
            patterns = [r"TRIALID (?P<trial>\d+)"]
            return from_asc(path, patterns=patterns, experiment=experiment, trial_columns="trial")
        names = {"time_column": "t_ms", "time_unit": "ms", "pixel_columns": ["x_px", "y_px"]}
        return from_csv(path, experiment, trial_columns="trial", **names)

    def draw(self, gaze: pm.Gaze) -> np.ndarray:
        """The heatmaps of a recording, (N, H, W)."""
        render, trials = self.study.cfg.render, []
        for samples in gaze.samples.partition_by("trial", maintain_order=True):
            x_px, y_px = (samples["pixel"].list.get(axis).to_numpy() for axis in (0, 1))
            valid = np.isfinite(x_px) & np.isfinite(y_px)
            duration_ms = sample_durations(samples["time"].to_numpy().astype(np.float64), valid, render.max_gap_ms)
            trials.append((x_px.astype(np.float32), y_px.astype(np.float32), duration_ms))
        x, y, duration = (pad_trials([trial[axis] for trial in trials]) for axis in range(3))
        windows = torch.tensor([Window(0, 0, SCREEN.width_px, SCREEN.height_px)] * len(trials))
        drawn = heatmaps(x, y, duration, windows, (render.height_px, render.width_px), render.sigma_px or 0.0)
        return encode(drawn[:, 0], render.dtype, render.full_scale_ms)


# -- both


def apart_ms(ours: Onsets, theirs: Onsets) -> float:
    """The median distance from an onset of theirs to the nearest of ours in the same trial, ms; infinite where the
    trial has none."""
    distances: list[float] = []
    for key, onsets in theirs.items():
        mine = ours.get(key, np.empty(0))
        nearest = np.abs(onsets[:, None] - mine[None]).min(axis=1) if mine.size else np.full(len(onsets), math.inf)
        distances.extend(nearest.tolist())
    return statistics.median(distances)


@dataclass(frozen=True)
class OurWay:
    """Our passes over N and 2N recordings: median seconds, the workers' memory; samples of N, and what was found."""

    once_s: float
    twice_s: float
    memory: list[WorkerMemory]
    samples: int
    onsets: Onsets


def our_way(study: Input, recordings: int, repeats: int) -> OurWay:
    """Passes over N and 2N recordings in turns, each into a fresh folder; before that one of each that is watched.

    Raises RuntimeError when no worker was seen.
    """
    seconds: dict[int, list[float]] = {recordings: [], 2 * recordings: []}
    memory, found = [], []
    with on_ray() as workers:
        for count in seconds:
            with tempfile.TemporaryDirectory() as out:
                with WorkerMemory() as peak:
                    store = ray_pass(study, count, workers, Path(out))
                found.append((rows_read(store), onsets_of(store)))
            memory.append(peak)
        for _ in range(repeats):
            for count, times in seconds.items():
                with tempfile.TemporaryDirectory() as out:
                    start = time.perf_counter()
                    ray_pass(study, count, workers, Path(out))
                    times.append(time.perf_counter() - start)
    if not all(peak.uss_mib for peak in memory):
        raise RuntimeError("no Ray worker was seen; does RAY_ADDRESS name a cluster that runs elsewhere?")
    once_s, twice_s = (statistics.median(times) for times in seconds.values())
    return OurWay(once_s, twice_s, memory, *found[0])


def compare(study: Input, kind: str, options: argparse.Namespace) -> bool:
    """Measure one format and print it; returns whether all limits hold."""
    ours = our_way(study, options.recordings, options.repeats)
    fewer = min(options.slow_recordings, options.recordings)
    PymovementsWay(study, kind).run(1)  # it loads its code
    theirs, start = PymovementsWay(study, kind), time.perf_counter()
    onsets = theirs.run(fewer)
    their_s = time.perf_counter() - start
    rates = ours.samples / ours.once_s, theirs.samples / their_s
    print(f"{kind}: gazeray on Ray      {rates[0]:12,.0f} samples/s ({ours.samples:,} in {ours.once_s:.2f} s)")
    scaled = "" if fewer == options.recordings else f"; {fewer} of {options.recordings} recordings"
    print(f"{kind}: pymovements         {rates[1]:12,.0f} samples/s ({theirs.samples:,} in {their_s:.2f} s{scaled})")
    print(f"{kind}: ratio {rates[0] / rates[1]:.2f}")
    return all([same_fixations(kind, ours, onsets), scales(kind, ours, options.recordings)])


def same_fixations(kind: str, ours: OurWay, theirs: Onsets) -> bool:
    """Print how many fixations each side found in the recordings that both read, and how far apart they begin."""
    people = {who for who, _ in theirs}
    mine = {key: values for key, values in ours.onsets.items() if key[0] in people}
    counts = [sum(len(values) for values in found.values()) for found in (mine, theirs)]
    far_ms = apart_ms(mine, theirs)
    print(
        f"{kind}: fixations in {len(people)} recordings: {counts[0]} by gazeray, {counts[1]} by pymovements; "
        f"onsets a median of {far_ms:g} ms apart"
    )
    return abs(counts[0] - counts[1]) <= MOST_MISSED * counts[1] and far_ms <= MOST_MS


def scales(kind: str, ours: OurWay, recordings: int) -> bool:
    """Print what twice the recordings take: time, and memory of the largest worker."""
    times, grew = ours.twice_s / ours.once_s, growth(*ours.memory)
    print(f"{kind}: twice the recordings: {times:.2f} times the time (at most {MOST_TIMES:g})")
    for count, peak in zip((recordings, 2 * recordings), ours.memory, strict=True):
        sizes = f"{peak.uss_mib:.0f} MiB private, {peak.rss_mib:.0f} MiB resident"
        print(f"{kind}: largest worker, {count:4} recordings: {sizes}")
    print(
        f"{kind}: growth of the largest worker from N to 2N recordings: {grew:+.1%} (at most {MOST_GROWTH:.0%})",
        flush=True,
    )
    return times <= MOST_TIMES and grew <= MOST_GROWTH


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=60, help="N (default: 60); 2N are written")
    parser.add_argument("--trials", type=int, default=5, help="trials of each (default: 5)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a trial (default: 10)")
    parser.add_argument("--slow-recordings", type=int, default=12, help="recordings for pymovements (default: 12)")
    parser.add_argument("--repeats", type=int, default=3, help="our passes over N and over 2N (default: 3)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="(default: both)")
    options = parser.parse_args(argv)
    if min(options.slow_recordings, options.repeats) < 1 or options.trials < 2 or 2 * options.recordings < LEAST_PEOPLE:
        parser.error(
            f"--slow-recordings and --repeats must be at least 1, --trials 2, --recordings {LEAST_PEOPLE // 2}"
        )
    if options.seconds < 1:
        parser.error("--seconds must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would give way to whatever else runs; a loop does not
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, runs = Path(folder) / "data", Path(folder) / "runs"
        root.mkdir()
        write_study(root, options.recordings, options.trials, options.seconds, options.formats)
        cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
        print(
            f"{options.recordings} recordings x {options.trials} trials of {options.seconds:g} s at {SAMPLING_HZ} Hz; "
            f"{cores} cores, load average {load:.1f}; pymovements {pm.__version__} (polars with "
            f"{pl.thread_pool_size()} threads), ray {ray.__version__}",
            flush=True,
        )
        good = [compare(declared(root, kind, runs), kind, options) for kind in options.formats]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
