# SPDX-License-Identifier: Apache-2.0
"""Many people with small recordings: what grows with their number, and how fast.

Everybody leaves one file of some 12 KB: 8 trials of a second at 60 Hz. The heatmap study reads, cross-validates and
scores them as `jobs/cv_heatmap.py` does (2 folds, 1 epoch, no maps, no report), and is then run again with nothing left
to do. Each number of people has two fresh processes, one for the run and one for the rerun.

Prints for each number of people: seconds of the phases of the run (listing and checking the data set, reading, units,
scoring), of opening the store again and of the whole rerun, by the clock and of the processor; the objects below
`stores/`; the peak memory of the process that does the rerun, and with it nothing but the driver's work; and by how
much the last row is above the first. docs/scale.md holds such tables.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console

from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView, Stage
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy

TRIALS, SAMPLES, HZ = 8, 60, 60

DECLARATION = {
    "name": "many people",
    "screen": {"width_px": 1600, "height_px": 1000, "width_mm": 518.4, "height_mm": 324.0, "distance_mm": 650.0},
    "trials": {
        "path": "trials.csv",
        "columns": {"participant": "participant", "trial": "trial", "stimulus": "stimulus"},
    },
    "samples": {
        "reader": "delimited",
        "path": "gaze/{participant}.csv",
        "columns": {"trial": "trial", "timestamp_ms": "t_ms", "x_px": "x_px", "y_px": "y_px"},
        "units": {"timestamp_ms": "ms", "x_px": "px", "y_px": "px"},
    },
    "labels": {"condition": {"a": "left", "b": "right"}},
}

COLUMNS = ("looking at the data", "reading recordings", "units", "scoring", "opening", "rerun", "rerun CPU")


def write_people(root: Path, people: int) -> None:
    """The data set: everybody looks at four places per trial, a little further left in trials of one kind."""
    (root / "gaze").mkdir(parents=True)
    trials = ["participant,trial,stimulus,condition"]
    number, clock = np.repeat(np.arange(1, TRIALS + 1), SAMPLES), np.arange(TRIALS * SAMPLES) * 1000 / HZ
    for person in range(people):
        rng, name = np.random.default_rng(person), f"P{person:07d}"
        kinds = rng.permutation(np.arange(TRIALS) % 2)
        places = rng.uniform((200, 300), (1300, 700), (TRIALS, 4, 2)) + kinds[:, None, None] * (100, 0)
        gaze = np.repeat(places.reshape(-1, 2), SAMPLES // 4, axis=0) + rng.normal(0, 3, (TRIALS * SAMPLES, 2))
        rows = zip(number.tolist(), clock.tolist(), *gaze.T.tolist(), strict=True)
        lines = [f"{trial},{t_ms:.2f},{x:.1f},{y:.1f}" for trial, t_ms, x, y in rows]
        (root / "gaze" / f"{name}.csv").write_text("\n".join(["trial,t_ms,x_px,y_px", *lines]) + "\n")
        trials += [f"{name},{trial + 1},S{trial + 1},{'ab'[kind]}" for trial, kind in enumerate(kinds.tolist())]
    (root / "trials.csv").write_text("\n".join(trials) + "\n")
    (root / "dataset.yaml").write_text(yaml.safe_dump(DECLARATION, sort_keys=False))


class Phases(ProgressView):
    """Shows nothing, and keeps the seconds of each stage."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        began = time.perf_counter()
        with super().stage(name, total) as stage:
            yield stage
        self.seconds[name] += time.perf_counter() - began


def one_run(folder: Path, workers: int) -> dict[str, float]:
    """Run the study in this process: seconds by stage and in all, of the processor too, and the peak memory, MB."""
    cfg = HeatmapConfig.model_validate(
        {
            "data": {"dataset": str(folder / "data" / "dataset.yaml")},
            "train": {"epochs": 1},
            "folds": {"outer": 2},
            "explain": {"maps": False},
            "resources": {"per_unit": {"cpu": 1, "gpu": 0}, "workers": workers},
            "run": {"dir": str(folder / "runs")},
        }
    )
    view, began, busy = Phases(), time.perf_counter(), time.process_time()
    outcome = run(HeatmapStudy(cfg), "many", view)
    if outcome.failed or outcome.metrics is None:
        raise RuntimeError(f"units failed: {outcome.failed}")
    manifest = outcome.run.read_json("manifest.json")
    whole = {"whole": time.perf_counter() - began, "whole CPU": time.process_time() - busy}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {**view.seconds, **whole, "units": sum(manifest["seconds"].values()), "peak_mb": peak_mb}


def measured(people: int, workers: int) -> dict[str, float]:
    """The run and the rerun of so many people, each in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_people(folder / "data", people)
        command = [sys.executable, __file__, "--folder", place, "--workers", str(workers)]
        done = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(2)]
        objects = sum(path.is_file() for path in (folder / "runs" / "stores").rglob("*"))
    first, again = done
    found = {
        "opening": again["reading recordings"],
        "rerun": again["whole"],
        "rerun CPU": again["whole CPU"],
        "peak_mb": again["peak_mb"],
    }
    return {**first, **found, "objects": objects}


def report(rows: Mapping[int, Mapping[str, float]]) -> None:
    """A row per number of people, and the growth from the first to the last."""
    names = {"looking at the data": "looking", "reading recordings": "reading"}
    heads = [*(f"{names.get(name, name)} s" for name in COLUMNS), "objects", "peak MB"]
    print("| people | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for people, row in rows.items():
        cells = [f"{row[name]:.1f}" for name in COLUMNS] + [f"{row['objects']:.0f}", f"{row['peak_mb']:.0f}"]
        print(f"| {people:,} | " + " | ".join(cells) + " |")
    first, last = min(rows), max(rows)
    if first < last:
        growth = [f"{name} {rows[last][name] / rows[first][name]:.1f}" for name in (*COLUMNS, "objects", "peak_mb")]
        print(f"times {last / first:g} people: " + ", ".join(growth), flush=True)


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[1000, 5000], help="(default: 1000 5000)")
    parser.add_argument("--workers", type=int, default=0, help="of the run; 0: in one process, without Ray (default)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if min(options.people) < 6 or options.workers < 0:
        parser.error("--people must be at least 6, --workers 0")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(argv)
    if options.folder is not None:
        print(json.dumps(one_run(options.folder, options.workers)))
        return 0
    cores = len(os.sched_getaffinity(0))
    print(f"{options.workers} workers; {cores} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    report({people: measured(people, options.workers) for people in sorted(set(options.people))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
