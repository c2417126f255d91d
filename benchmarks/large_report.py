# SPDX-License-Identifier: Apache-2.0
"""What the report costs with many people: `python benchmarks/large_report.py`.

A small cross-validation is run once, without Ray. Its run folder is then grown to 24, 1,000 and 5,000 people of 8
trials (`--people`, `--trials`, `--folds`, `--rejects`): tables, scores by participant and folds are those of as many,
drawn at random; the maps are those of the small run, named many times. `jobs/report.py` draws each folder in a process
of its own. Prints its CPU seconds and the MB of report.html, and both beside those of the smallest study; exit code 1
when 5,000 people or fewer take more than 15 s or 3 MB.

`--keep FOLDER` leaves the run folders there. `--code FOLDER` draws with another checkout, for both sides of a change.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gazeray.engine import cli
from gazeray.engine.run import read_manifest
from gazeray.storage import Folder
from gazeray.storage.seals import write_sealed
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapStudy
from gazeray.tables import Reject, rejects_table

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS, MOST_MB = 15.0, 3.0
UP_TO = 5000
"""People up to whom the limits hold."""


class Size(NamedTuple):
    """How large a study is. rejects: rows of the table of rejects."""

    people: int
    trials: int = 8
    folds: int = 8
    rejects: int = 5000


class Cost(NamedTuple):
    """What one report took: CPU seconds of the process (user and system), and MB of HTML."""

    seconds: float
    megabytes: float


def small_run(folder: Path) -> Path:
    """Run a small cross-validation in this process; returns its run folder. Raises RuntimeError where it fails."""
    words = [f"run.dir={folder}", "resources.workers=0", "data.simulate.readers=8", "data.simulate.sentences=8",
             "folds.outer=2", "train.epochs=3"]  # fmt: skip
    code = cli.main(
        HeatmapStudy, HeatmapConfig, "cv_heatmap", ROOT / "configs" / "cv_heatmap.yaml", write_report, argv=words
    )
    if code:
        raise RuntimeError(f"the small run ended with exit code {code}")
    (found,) = folder.glob("cv_heatmap-*")
    return found


def grow(small: Path, big: Path, size: Size) -> None:
    """Write a run folder like `small` of as many people, trials, folds and rejects as `size` says."""
    shutil.copytree(small, big, ignore=shutil.ignore_patterns("units", "figures", "report.html"))
    run, rng = Folder(big), np.random.default_rng(0)
    names = np.array([f"R{index + 1:05d}" for index in range(size.people)])
    people = np.repeat(np.arange(size.people), size.trials)
    folds = people % size.folds
    label, scores = _drawn(rng, people, size.people)
    manifest, metrics = read_manifest(run), run.read_json("metrics.json")
    classes = np.array(manifest["classes"])
    old = run.read_table("predictions.parquet")
    rows = pa.array(np.arange(len(people)) % old.num_rows)
    trial = np.tile(np.arange(1, size.trials + 1), size.people).astype(str)
    named = {"participant": names[people], "trial": trial, "fold": folds.astype(np.int32)}
    predicted = {"label": classes[label], "predicted": classes[scores.argmax(axis=1)], "scores": list(scores)}
    run.write_table("predictions.parquet", _replaced(old.take(rows), {**named, **predicted}))
    index = run.read_table("maps/index.parquet")
    rows = pa.array(np.arange(len(people)) % index.num_rows)
    said = {name: predicted[name] for name in ("label", "predicted")}
    run.write_table("maps/index.parquet", _replaced(index.take(rows), {**named, **said}))
    run.write_table("quality.parquet", _quality(rng, run.read_table("quality.parquet"), named, people, size.people))
    run.write_table("rejects.parquet", rejects_table(_reject(row, names) for row in range(size.rejects)))
    confusion = np.zeros((size.people, 2, 2), dtype=int)
    np.add.at(confusion, (people, label, scores.argmax(axis=1)), 1)
    metrics["participants"] = {name: {"confusion": one} for name, one in zip(names, confusion.tolist(), strict=True)}
    _folds(rng, small, run, names, size, manifest, metrics)
    run.write_json("metrics.json", metrics)
    write_sealed(run, "manifest.json", manifest)


def _drawn(rng: np.random.Generator, people: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,), a quarter of them 1, and scores (N, 2) of people who each have a strength of effect of their own."""
    label = (rng.random(len(people)) < 0.25).astype(int)
    strength = rng.normal(0.9, 0.6, count)[people]
    odds = np.exp(strength * (2 * label - 1) + rng.normal(0, 1.2, len(people)))
    return label, np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)


def _quality(
    rng: np.random.Generator, old: pa.Table, named: dict[str, Any], people: np.ndarray, count: int
) -> pa.Table:
    """A row per trial; people differ in what they lost and in precision, and what lost most was refused."""
    table = old.take(pa.array(rng.integers(0, old.num_rows, len(people))))
    worse = rng.gamma(4, 0.25, count)[people]
    lost = np.clip(rng.beta(2, 30, len(people)) * worse, 0, 0.9)
    refused = lost > 0.35
    gate = [f"lost_share {share:.3g} > quality.max_lost_share 0.35" if gone else ""
            for share, gone in zip(lost, refused, strict=True)]  # fmt: skip
    precision = {name: table[name].to_numpy() * worse for name in ("rms_s2s_px", "rms_s2s_deg")}
    trials = {name: named[name] for name in ("participant", "trial")}
    return _replaced(table, {**trials, "lost_share": lost, "gate": gate, **precision})


def _reject(row: int, names: np.ndarray) -> Reject:
    """Six reasons, of which some name what is their own."""
    name = str(names[row * 7 % len(names)])
    reasons = ("x_px is not a number", f"time runs backwards by {row} ms", "no gaze in the trial",
               f"trial '{row}' is not declared", "label is missing", "fewer than 10 samples")  # fmt: skip
    return Reject(f"gaze/{name}.csv", row * 13, "gaze", reasons[min(row.bit_count(), 5)], name, str(row % 8))


def _folds(
    rng: np.random.Generator, small: Path, run: Folder, names: np.ndarray, size: Size, manifest: Any, metrics: Any
) -> None:
    """The folds of the manifest, their scores, and their units with what their fits logged."""
    log = (small / "units" / "fold-0" / "metrics.jsonl").read_text().splitlines()
    result, place = Folder(small).read_json("units/fold-0/result.json"), np.arange(size.people)
    manifest["folds"], metrics["folds"], units = [], [], {}
    for fold in range(size.folds):
        test = place % size.folds == fold
        validation = ~test & (place // size.folds % 5 == 0)
        sides = {"test": test, "validation": validation, "train": ~test & ~validation}
        held = {side: names[mask].tolist() for side, mask in sides.items()}
        manifest["folds"].append({"fold": fold, "stimuli": None, **held})
        scores = {name: value + rng.normal(0, 0.02) for name, value in result["metrics"].items()}
        metrics["folds"].append({"fold": fold, "test": held["test"], "metrics": scores})
        name, best = f"fold-{fold}", int(rng.integers(1, len(log) + 1))
        counts = {side: len(held[side]) * size.trials for side in held}
        run.write_json(f"units/{name}/result.json", {**result, "unit": name, "best_epoch": best, "n": counts})
        run.write_text(f"units/{name}/metrics.jsonl", "\n".join(log) + "\n")
        units[name] = "done"
    count = size.people * size.trials
    manifest["units"] = units
    manifest["counts"].update(participants=size.people, recordings=size.people, trials=count, examples=count,
                              rejected=size.rejects)  # fmt: skip


def _replaced(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    """The table with these columns in the place of its own."""
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        kind = table.schema.field(name).type
        if isinstance(values, np.ndarray):
            values = values.tolist()
        table = table.set_column(place, name, pa.array(values, kind))
    return table


def drawn(run: Path, code: Path) -> Cost:
    """Draw the report of a run folder with the code below `code`, in a process of its own.

    Raises subprocess.CalledProcessError where that fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, str(code / "jobs" / "report.py"), str(run)]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": str(code)}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, (run / "report.html").stat().st_size / 1e6)


def main(argv: Sequence[str] | None = None) -> int:
    """Grow, draw, print; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--people", type=int, nargs="+", default=[24, 1000, 5000])
    parser.add_argument("--trials", type=int, default=Size(0).trials)
    parser.add_argument("--folds", type=int, default=Size(0).folds)
    parser.add_argument("--rejects", type=int, default=Size(0).rejects)
    parser.add_argument("--keep", type=Path, help="folder for the run folders; default: a temporary one")
    parser.add_argument("--code", type=Path, default=ROOT, help="checkout that draws; default: this one")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        small = small_run(folder / "small")
        costs: list[Cost] = []
        print(f"{args.trials} trials each, {args.folds} folds, {args.rejects} rejects")
        for people in args.people:
            run = folder / f"people-{people}"
            grow(small, run, Size(people, args.trials, args.folds, args.rejects))
            cost = drawn(run, args.code)
            costs.append(cost)
            beside = costs[0]
            print(
                f"{people:6,} people: {cost.seconds:6.1f} s of CPU, {cost.megabytes:5.2f} MB; "
                f"{cost.seconds / beside.seconds:.1f} and {cost.megabytes / beside.megabytes:.1f} times the first",
                flush=True,
            )
    held = [cost for people, cost in zip(args.people, costs, strict=True) if people <= UP_TO]
    return int(any(cost.seconds > MOST_SECONDS or cost.megabytes > MOST_MB for cost in held))


if __name__ == "__main__":
    sys.exit(main())
