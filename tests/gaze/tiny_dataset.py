# SPDX-License-Identifier: Apache-2.0
"""A data set of two people with two trials each, small enough to read: screen 1000 x 500 px, stimulus 800 x 400 px."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gazeray.config import validate
from gazeray.gaze.dataset import Dataset, open_dataset
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.recording import RecordingGaze, read_recording
from gazeray.storage import Folder
from gazeray.tables import Reject

TRIALS = "participant,trial,condition\nP1,1,C\nP1,2,P\nP2,1,C\nP2,2,P\n"
GAZE = "trial,t,x,y\n1,0,200,100\n1,10,210,110\n2,0,300,120\n2,10,310,130\n"
FILES: dict[str, str | bytes] = {"trials.csv": TRIALS, "gaze/P1.csv": GAZE, "gaze/P2.csv": GAZE}

SAMPLES: dict[str, Any] = {
    "reader": "delimited",
    "path": "gaze/{participant}.csv",
    "columns": {"trial": "trial", "timestamp_ms": "t", "x_px": "x", "y_px": "y"},
}
FIXATIONS: dict[str, Any] = {
    "reader": "delimited",
    "path": "fixations/{participant}.csv",
    "columns": {"trial": "trial", "onset_ms": "t", "duration_ms": "d", "x_px": "x", "y_px": "y"},
}
DECLARED: dict[str, Any] = {
    "name": "tiny",
    "labels": {"condition": {"C": "control", "P": "pseudoword"}},
    "screen": {"width_px": 1000, "height_px": 500},
    "stimulus": {"width_px": 800, "height_px": 400, "placed": "centred"},
    "trials": {"path": "trials.csv", "columns": {"participant": "participant", "trial": "trial"}},
    "samples": SAMPLES,
}

PEOPLE = {"path": "people.csv", "columns": {"participant": "who", "screen_width_px": "w", "screen_height_px": "h"}}


def declared(**changes: Any) -> DatasetSpec:
    """The declaration with some of its sections replaced."""
    return validate(DatasetSpec, {**DECLARED, **changes})


def write(folder: Path, files: Mapping[str, str | bytes] | None = None, **more: str | bytes) -> Folder:
    """Write the files (default: FILES) and those of `more`; "gaze/P1.csv" is spelt gaze__P1."""
    files = dict(FILES if files is None else files)
    files |= {f"{name.replace('__', '/')}.csv": content for name, content in more.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Folder(folder)


def zipped(text: str | bytes) -> bytes:
    """The text as gzip."""
    return gzip.compress(text.encode() if isinstance(text, str) else text, mtime=0)


def read_all(root: Folder, spec: DatasetSpec, label: str | None = None) -> tuple[Dataset, list[RecordingGaze]]:
    """Open the data set and read every recording."""
    data = open_dataset(spec, root, label)
    return data, [read_recording(spec, root, recording, data.trials) for recording in data.recordings]


def reasons(rejects: list[Reject]) -> list[tuple[str, int, str]]:
    """(file, row, reason) of each reject."""
    return [(reject.source, reject.row, reject.reason) for reject in rejects]


def opened(folder: Path, table: str | None = None, **changes: Any) -> Dataset:
    """Open the data set in a folder: what is there already, else FILES; `table` is what trials.csv is to hold."""
    write(folder, {"trials.csv": table} if (folder / "gaze").exists() and table else {})
    if not (folder / "trials.csv").exists():
        write(folder, {**FILES, "trials.csv": table or TRIALS})
    return open_dataset(declared(**changes), Folder(folder))


def pairs(data: Dataset) -> list[tuple[str, str]]:
    return list(zip(data.trials["participant"], data.trials["trial"], strict=True))
