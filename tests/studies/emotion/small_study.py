# SPDX-License-Identifier: Apache-2.0
"""A small declared study of two labels, to be damaged: files on the disk, and the whole job on them in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from gazeray.engine.cli import main
from gazeray.studies import EMOTION
from gazeray.studies.emotion.config import EmotionConfig
from tests.running import CONFIGS, HERE, no_report

PEOPLE, PICTURES, SAMPLES, STEP_MS = 6, 6, 41, 50

SMALL = [
    HERE, "folds.outer=2", "train.epochs=1", "signals.duration_ms=2000", "signals.samples=24", "scanpath.side_px=32",
    "picture.size_px=32", "scores.resamples=100", "scores.permutations=99", "controls.knock_out=false",
    "controls.permute=0", "model.rows=all", "model.branches=[series]",
]  # fmt: skip

DECLARATION: dict[str, Any] = {
    "name": "small",
    "screen": {"width_px": 800, "height_px": 600},
    "pictures": {"path": "pictures/{stimulus}.png"},
    "trials": {"path": "trials.csv", "columns": {"stimulus": "picture"}},
    "samples": {
        "reader": "delimited",
        "path": "samples/{participant}.csv",
        "columns": {"trial": "trial", "timestamp_ms": "t_ms", "x_px": "x", "y_px": "y"},
        "channels": {
            "pupil": {"column": "pupil", "unit": "mm"},
            "gsr": {"column": "gsr", "unit": "uS"},
            "heart_rate": {"column": "hr", "unit": "bpm"},
        },
    },
    "labels": {"arousal": {"levels": [1, 2, 3]}, "valence": {"levels": [1, 2, 3]}},
}


class Small:
    """The study below a folder; what is changed in its parts is written by `write`.

    samples: participant -> their samples, of all trials. trials: the table of trials, all text. declared: dataset.yaml.
    """

    def __init__(self, folder: Path, people: int = PEOPLE, pictures: int = PICTURES) -> None:
        rng = np.random.default_rng(1)
        self.folder = folder
        self.declared: dict[str, Any] = yaml.safe_load(yaml.safe_dump(DECLARATION))
        self.samples = {f"P{number}": self._recorded(rng, pictures) for number in range(people)}
        rows = [(who, str(trial), f"pic {trial}") for who in self.samples for trial in range(pictures)]
        self.trials = pd.DataFrame(rows, columns=["participant", "trial", "picture"])
        said = rng.integers(0, 3, (2, len(rows)))
        said[:, :3] = [0, 1, 2][: len(rows)]
        self.trials["arousal"], self.trials["valence"] = (1 + said).astype(str)
        self.pictures = {f"pic {number}": np.full((24, 32, 3), 40 * number, np.uint8) for number in range(pictures)}
        self.damaged: dict[str, bytes] = {}

    @staticmethod
    def _recorded(rng: np.random.Generator, trials: int) -> pd.DataFrame:
        count, fixation = trials * SAMPLES, np.arange(trials * SAMPLES) // 8
        at = rng.uniform(100, 500, (2, fixation[-1] + 1))[:, fixation] + rng.normal(0, 1, (2, count))
        return pd.DataFrame({
            "trial": np.repeat(np.arange(trials), SAMPLES).astype(str),
            "t_ms": np.tile(np.arange(SAMPLES) * float(STEP_MS), trials),
            "x": at[0].round(2), "y": at[1].round(2),
            "pupil": (3 + 0.2 * rng.random(count)).round(3),
            "gsr": (5 + rng.random(count)).round(3), "hr": (70 + 5 * rng.random(count)).round(2),
        })  # fmt: skip

    def write(self) -> None:
        """The files, in a folder that holds none of them."""
        for name in ("samples", "pictures"):
            (self.folder / name).mkdir(parents=True)
        for who, samples in self.samples.items():
            samples.to_csv(self.folder / f"samples/{who}.csv", index=False)
        self.trials.to_csv(self.folder / "trials.csv", index=False)
        for name, picture in self.pictures.items():
            (self.folder / "pictures" / f"{name}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        for path, data in self.damaged.items():
            (self.folder / path).write_bytes(data)
        (self.folder / "dataset.yaml").write_text(yaml.safe_dump(self.declared, sort_keys=False))

    def run(self, *words: str, report: Callable[[Any], None] = no_report) -> int:
        """Write the files and run jobs/cv_emotion.py on them; returns its exit code."""
        self.write()
        place = [f"data.dataset={self.folder / 'dataset.yaml'}", f"run.dir={self.runs}"]
        return main(EMOTION.study, EmotionConfig, "cv_emotion", CONFIGS / "cv_emotion.yaml", report,
                    [*place, *SMALL, *words])  # fmt: skip

    @property
    def runs(self) -> Path:
        """Where the run folders lie."""
        return self.folder.parent / "runs"

    def rows(self, who: str, trial: int | str) -> pd.Index:
        """The index of the samples of a trial."""
        own = self.samples[who]
        return own.index[own["trial"] == str(trial)]
