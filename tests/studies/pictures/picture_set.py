# SPDX-License-Identifier: Apache-2.0
"""A picture set that the tests of the saliency studies write, and its passes in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gazeray.stimuli.dataset import PictureSet
from gazeray.stimuli.recipes import TargetConfig
from gazeray.storage import Folder
from gazeray.studies.pictures.config import PictureFolds
from gazeray.studies.pictures.passes import PicturesReady, PreparePictures, pictures_pass
from tests.stimuli.tiny_pictures import encoded, opened, photo
from tests.studies.here import in_this_process

Row = tuple[str, int, float, float]
"""The name of a picture, the number of an observer, x and y in px."""

GRID_PX = 40


def table(rows: Sequence[Row]) -> str:
    """The rows as the file that `tiny_pictures.TABLE` declares."""
    return "image,who,x,y\n" + "".join(f"{name},{who},{x},{y}\n" for name, who, x, y in rows)


def somewhere(names: Sequence[str], width: int, height: int, seed: int = 0) -> list[Row]:
    """Three observers, four fixations each, on pictures of one size."""
    rng = np.random.default_rng(seed)
    return [
        (name, who, float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        for name in names
        for who in range(3)
        for _ in range(4)
    ]


def plain_set(folder: Path, count: int, width: int = 64, height: int = 48) -> PictureSet:
    """So many JPEGs of one size: a00, a01, ..."""
    names = [f"a{number:02d}" for number in range(count)]
    files: dict[str, str | bytes] = {
        f"pictures/{name}.jpg": encoded(photo(height, width, seed), "JPEG") for seed, name in enumerate(names)
    }
    return opened(folder, files | {"fixations.csv": table(somewhere(names, width, height))})


def prepared(
    found: PictureSet, folder: Path, folds: int = 3, seed: int = 0, max_pixels: int = 100_000, path: str | None = None
) -> tuple[PicturesReady, list[str]]:
    """The pictures of a set made ready, and the keys of the shards that had to be done."""
    prepare = PreparePictures(found.root, Folder(folder), TargetConfig(), None, max_pixels, GRID_PX)
    ready, (work,) = in_this_process(pictures_pass(found, prepare, PictureFolds(outer=folds, path=path), seed))
    return ready, [str(piece["key"]) for piece in work.pieces]
