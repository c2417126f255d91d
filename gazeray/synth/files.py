# SPDX-License-Identifier: Apache-2.0
"""What all simulations have in common: random streams by purpose, tables, pictures, and a folder written once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import yaml

from gazeray.storage import Folder


def stream(seed: int, *key: int) -> np.random.Generator:
    """An independent random stream for each purpose, which the key numbers."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def refuse_existing(root: Folder, name: str) -> None:
    """Raises FileExistsError when the folder already holds the file that marks a simulation as complete."""
    if root.exists(name):
        raise FileExistsError(f"{root.uri} already holds a {name}; simulate into another folder")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, lines ending in a line feed."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def yaml_text(declaration: dict[str, Any]) -> str:
    """A declaration as YAML, keys in their order."""
    return yaml.safe_dump(declaration, sort_keys=False)


def picture_bytes(suffix: str, picture: np.ndarray, *settings: int) -> bytes:
    """A picture (H, W, 3) uint8 in RGB, or (H, W), as a file; suffix: ".png", ".jpg"; settings: OpenCV's, in pairs."""
    done, data = cv2.imencode(suffix, picture[:, :, ::-1] if picture.ndim == 3 else picture, settings)
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be written as {suffix}")
    return bytes(data)
