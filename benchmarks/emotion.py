# SPDX-License-Identifier: Apache-2.0
"""Trials per second of training on felt arousal and valence, from files, the published way against ours.

Both sides train the published network (signals, scanpath of 180 px, a frozen VGG16 without learned weights at 256 px)
in batches of 8 on the simulated study in the published layout, on all cores.

The published way (`published_emotion.py`): every item is made from its files in every epoch, and VGG16 sees its picture
again. Nothing is kept, so its rate is measured on `--sample` trials.

Ours: the whole job of the emotion study in a process of its own, workers=0: look at the data, read and draw every trial
once, run VGG16 once per picture, then the epochs of two folds. The first epoch counts from the start of the job to the
end of the first epoch of the first fold, from the second one on an epoch is from the end of the one before, its
validation included. A trial counts where it is trained on.

`--growth` compares the time and the memory of ours with twice the people instead.

Prints both sides, their ratios and where the time goes. Without options 8 people x 20 pictures: minutes on two cores;
the aims (3 times in the first epoch, 10 times from the second on) are for `--people 24 --pictures 60`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from published_emotion import BATCH, PICTURE_PX, SAMPLES, SCANPATH_PX, PublishedWay
from rich.console import Console

from gazeray.config import validate
from gazeray.engine.experiment import run
from gazeray.engine.progress import ProgressView
from gazeray.storage import Folder
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.study import EmotionStudy
from gazeray.synth.emotion import simulate_emotion
from gazeray.synth.emotion_parameters import EmotionSimulation

FIRST, LATER, GROWTH = 3.0, 10.0, 2.1
"""The aims: times faster in the first epoch, and from the second one on; at most so many times the time for twice the
people."""


class EpochClock(ProgressView):
    """Shows nothing, and notes when each unit began and when its epochs ended."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.began = time.perf_counter()
        self.ends: defaultdict[str, list[float]] = defaultdict(list)

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        if kind == "epoch":
            self.ends[name].append(time.perf_counter())
        super().unit_event(name, kind, payload)


def settings(root: Path, runs: str, epochs: int) -> EmotionConfig:
    """The published network and training, two folds of pictures, without what comes after training."""
    return validate(
        EmotionConfig,
        {
            "data": {"dataset": f"{root}/dataset.yaml"},
            "signals": {"samples": SAMPLES, "scale": "published"},
            "scanpath": {"side_px": SCANPATH_PX},
            "picture": {"arch": "vgg16", "weights": "none", "size_px": PICTURE_PX},
            "model": {"rows": "all", "size": "published", "recurrence": "lstm_over_channels"},
            "loss": {"gamma": 3.0, "form": "published"},
            "train": {"epochs": epochs, "patience": epochs, "batch_size": BATCH, "learning_rate": 1e-4},
            "folds": {"outer": 2, "hold_out": "stimuli", "validation": 0.125},
            "scores": {"resamples": 100, "permutations": 99},
            "controls": {"knock_out": False, "permute": 0},
            "resources": {"workers": 0, "per_unit": {"cpu": cores()}},
            "run": {"dir": runs},
        },
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def our_way(root: Path, epochs: int) -> dict[str, Any]:
    """The job: seconds to the end of the first epoch, trials trained on in it, trials per second in later epochs,
    seconds of the whole, of its stages, and the peak of memory in MiB. Raises RuntimeError when a fold fails."""
    with tempfile.TemporaryDirectory() as runs:
        view = EpochClock()
        outcome = run(EmotionStudy(settings(root, runs, epochs)), "benchmark", view)
        whole = time.perf_counter() - view.began
        if outcome.failed:
            raise RuntimeError(f"folds failed: {outcome.failed}")
        trained = {name: outcome.run.read_json(f"units/{name}/result.json")["n"]["train"] for name in view.ends}
    first = next(iter(view.ends))
    later = [trained[name] / (end - before) for name, ends in view.ends.items()
             for before, end in pairwise(ends)]  # fmt: skip
    return {
        "first_s": view.ends[first][0] - view.began, "trials": trained[first], "later": statistics.median(later),
        "whole_s": whole, "took": dict(view.took),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def ours_apart(root: Path, epochs: int) -> dict[str, Any]:
    """`our_way` in a process of its own. Raises RuntimeError when it fails."""
    words = [sys.executable, __file__, "--ours", str(root), "--epochs", str(epochs)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"our side failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def shares(seconds: Mapping[str, float]) -> str:
    """Where time went, the most first."""
    whole = sum(seconds.values())
    return ", ".join(f"{name} {spent:.1f} s ({spent / whole:.0%})"
                     for name, spent in sorted(seconds.items(), key=lambda one: -one[1]))  # fmt: skip


def simulated(folder: str, name: str, people: int, pictures: int) -> Path:
    """A study of so many people and pictures, of 640 x 480 px each."""
    root = Path(folder) / name
    simulate_emotion(Folder(root), EmotionSimulation(people=people, pictures=pictures, picture_px=(640, 480)))
    return root


def both(options: argparse.Namespace, root: Path) -> None:
    """Turn by turn, and what comes out of it."""
    rates: list[float] = []
    firsts: list[float] = []
    laters: list[float] = []
    for turn in range(options.repeats):
        published = PublishedWay(root, options.sample, turn)
        rates.append(published.epoch())
        ours = ours_apart(root, options.epochs)
        firsts.append(ours["trials"] / ours["first_s"])
        laters.append(ours["later"])
        print(f"published way: {rates[-1]:.2f} trials per second in every epoch: {shares(published.spent.seconds)}")
        print(
            f"gazeray: {firsts[-1]:.2f} in the first epoch ({ours['trials']} trials after {ours['first_s']:.1f} s), "
            f"{laters[-1]:.2f} from the second one on; {ours['whole_s']:.1f} s in all: {shares(ours['took'])}",
            flush=True,
        )
    first = statistics.median(one / rate for one, rate in zip(firsts, rates, strict=True))
    later = statistics.median(one / rate for one, rate in zip(laters, rates, strict=True))
    print(f"first epoch: {first:.1f} times faster (aim: {FIRST:g}); from the second on: {later:.1f} (aim: {LATER:g})")


def growth(options: argparse.Namespace, folder: str) -> None:
    """Ours with twice the people."""
    sizes = (options.people, 2 * options.people)
    roots = [simulated(folder, f"people-{people}", people, options.pictures) for people in sizes]
    ratios, peaks = [], []
    for _ in range(options.repeats):
        small, large = (ours_apart(root, options.epochs) for root in roots)
        ratios.append(large["whole_s"] / small["whole_s"])
        peaks.append((small["peak_mib"], large["peak_mib"]))
        print(f"{sizes[0]} people {small['whole_s']:.1f} s, {sizes[1]} people {large['whole_s']:.1f} s", flush=True)
    print(f"twice the people: {statistics.median(ratios):.2f} times the time (aim: at most {GROWTH:g})")
    print(f"peak of memory: {peaks[-1][0]:.0f} and {peaks[-1][1]:.0f} MiB")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--sample", type=int, default=32, help="trials that the published way trains on")
    parser.add_argument("--epochs", type=int, default=3, help="of each of our folds, at least 2")
    parser.add_argument("--repeats", type=int, default=1, help="turns of both sides")
    parser.add_argument("--growth", action="store_true", help="compare ours with twice the people instead")
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.epochs < 2 or options.sample < BATCH:
        parser.error(f"at least 2 epochs, and {BATCH} trials in the sample")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    options = parsed(argv)
    torch.set_num_threads(cores())
    if options.ours:
        print(json.dumps(our_way(options.ours, options.epochs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.growth:
            growth(options, folder)
        else:
            both(options, simulated(folder, "study", options.people, options.pictures))


if __name__ == "__main__":
    main()
