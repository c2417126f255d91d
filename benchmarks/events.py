# SPDX-License-Identifier: Apache-2.0
"""Detectors against two human coders on real gaze: Cohen's kappa, sample by sample.

    GAZERAY_REAL_DATA=<folder> python benchmarks/events.py

The recordings are those of `video_lund2013` below the folder (Andersson et al. 2017, "One algorithm to rule them all?",
Behavior Research Methods 49; coders MN and RA): people who watch videos at 500 Hz. Kappa is over all samples that both
sides have, for "is a fixation" and for "is a saccade"; pooled over the recordings that both coders coded. Time is that
of the timestamps: one header's sampling rate contradicts them.

The coders mark smooth pursuit apart from fixation, which none of the detectors knows: while the eye pursues they say
fixation. Fixation is therefore compared twice: as coded, and with pursuit counted as fixation.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from gazeray.gaze.events import DETECTORS, FIXATION, SACCADE, EventsConfig, Screen, detect

SCREEN = Screen(1024, 768, 380, 300, 670)
CODERS = ("MN", "RA")
UNCODED, PURSUIT = -1, 4
"""Codes of the coders beside FIXATION and SACCADE (the same as the detectors'); UNCODED: no label."""
KINDS: dict[str, tuple[int, ...]] = {
    "fixation": (FIXATION,),
    "fixation or pursuit": (FIXATION, PURSUIT),
    "saccade": (SACCADE,),
}
"""What is compared -> the coders' codes that count as it. A detector's OTHER (also 4) is never pursuit."""


@dataclass(frozen=True)
class Recording:
    """timestamp_ms, x_px, y_px (N,); labels: coder -> codes (N,), UNCODED where there is none."""

    name: str
    samples: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]


def read(folder: Path) -> list[Recording]:
    """The recordings in `folder`/video_lund2013/gaze. Raises FileNotFoundError when there is none."""
    paths = sorted((folder / "video_lund2013" / "gaze").glob("[!.]*.csv.gz"))
    if not paths:
        raise FileNotFoundError(f"no recordings in {folder / 'video_lund2013' / 'gaze'}")
    found = []
    for path in paths:
        rows = pd.read_csv(path)
        names = {"timestamp_ms": "t_ms", "x_px": "x_screen_px", "y_px": "y_screen_px"}
        samples = {name: rows[column].to_numpy(np.float64) for name, column in names.items()}
        labels = {coder: rows[f"label_{coder}"].fillna(UNCODED).to_numpy(np.int64) for coder in CODERS}
        found.append(Recording(path.name.removesuffix(".csv.gz"), samples, labels))
    return found


def kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's (1960) kappa of two binary codings (N,) bool: 1 agreement, 0 what chance gives. NaN when both are
    constant and the same."""
    agree = float(np.mean(a == b))
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return (agree - chance) / (1 - chance) if chance < 1 else float("nan")


def codings(recordings: list[Recording]) -> dict[str, list[np.ndarray]]:
    """Coder or detector -> its codes of each recording; detectors with their defaults."""
    found = {coder: [recording.labels[coder] for recording in recordings] for coder in CODERS}
    for name in DETECTORS:
        cfg = EventsConfig.model_validate({"detector": name})
        found[name] = [detect(recording.samples, SCREEN, cfg).codes.astype(np.int64) for recording in recordings]
    return found


def pair_kappa(found: Mapping[str, list[np.ndarray]], one: str, two: str, kind: str, rows: list[int]) -> float:
    """Kappa of two coders or detectors over the samples of some recordings that both have coded."""
    masks = []
    for name in (one, two):
        codes = np.concatenate([found[name][row] for row in rows])
        counted = KINDS[kind] if name in CODERS else KINDS[kind][:1]
        masks.append((np.isin(codes, counted), codes != UNCODED))
    both = masks[0][1] & masks[1][1]
    return kappa(masks[0][0][both], masks[1][0][both]) if both.any() else float("nan")


def coded_by_both(recordings: list[Recording]) -> list[int]:
    """Which recordings have labels of both coders."""
    return [row for row, one in enumerate(recordings) if all((one.labels[coder] != UNCODED).any() for coder in CODERS)]


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--data", default=os.environ.get("GAZERAY_REAL_DATA"), help="folder that holds video_lund2013")
    args = parser.parse_args()
    if not args.data:
        print("give --data or set GAZERAY_REAL_DATA", file=sys.stderr)
        return 2
    recordings = read(Path(args.data))
    found, both = codings(recordings), coded_by_both(recordings)
    console = Console(width=120)
    pairs = [("MN", "RA"), *((name, coder) for name in DETECTORS for coder in CODERS)]
    for kind in KINDS:
        table = Table("pair", *(one.name for one in recordings), "pooled", title=f"Cohen's kappa: {kind}")
        for one, two in pairs:
            if kind == "saccade" and one == "idt_px":
                continue  # it finds none
            each = [pair_kappa(found, one, two, kind, [row]) for row in range(len(recordings))]
            pooled = pair_kappa(found, one, two, kind, both)
            table.add_row(f"{one} - {two}", *("" if np.isnan(value) else f"{value:.3f}" for value in [*each, pooled]))
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
