# SPDX-License-Identifier: Apache-2.0
"""What a reader of gaze on pictures is: from one open file to a `RawGaze`, registered under a name.

A declaration of pictures names its reader. A new format is one new module here with one `@register_picture_reader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.tables import Reject

if TYPE_CHECKING:
    from gazeray.stimuli.declaration import FixationsSpec

NO_OBSERVER = -1
"""The observer of a fixation where the file does not say who it was."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""What the name of a picture ends in, in either case."""


@dataclass(frozen=True)
class Gaze:
    """The N fixations on one picture, in the order of the files.

    x_px, y_px  (N,) float32, px of the picture: 0, 0 is its top left corner, so that the first pixel spans 0 to 1
    observer    (N,) int32, index into the names of the observers; NO_OBSERVER where nobody knows
    """

    x_px: np.ndarray
    y_px: np.ndarray
    observer: np.ndarray

    def __len__(self) -> int:
        return len(self.x_px)

    def where(self, keep: np.ndarray) -> Gaze:
        """The fixations of the mask (or the indices) `keep`."""
        return Gaze(self.x_px[keep], self.y_px[keep], self.observer[keep])


def in_picture(gaze: Gaze, size_px: tuple[int, int]) -> np.ndarray:
    """Which fixations are in a picture of (H, W) px, (N,) bool: 0 <= x < W and 0 <= y < H. Not finite: they are not."""
    height, width = size_px
    inside = (gaze.x_px >= 0) & (gaze.x_px < width) & (gaze.y_px >= 0) & (gaze.y_px < height)
    return np.asarray(inside)


@dataclass(frozen=True)
class RawGaze:
    """What one file holds: the gaze by picture, under the names that the file has for them.

    `Gaze.observer` counts into `observers`. Nothing has been compared with the pictures yet.
    """

    gaze: dict[str, Gaze]
    observers: list[str]
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class PictureReader(Protocol):
    """Reads one file.

    `stream` is the file, gunzipped, and `source` its path relative to the data set's folder; `spec` the declaration;
    `fixed` what the path says: stimulus, observer. Raises ReadError when nothing of the file can be used.
    """

    def __call__(self, stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze: ...


@dataclass(frozen=True)
class PictureFormat:
    """A registered reader. `keys` of the declaration mean something to it beside reader, path and offset_px.

    in_path: placeholders that the path may have; needed: those it must have.
    """

    read: PictureReader
    keys: tuple[str, ...] = ()
    in_path: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


def as_px(values: np.ndarray, offset_px: float) -> np.ndarray:
    """Coordinates as float32 px, `offset_px` added. What float32 cannot hold becomes infinite: outside any picture."""
    with np.errstate(over="ignore"):
        return np.asarray(values + offset_px).astype(np.float32)


PICTURE_READERS: dict[str, PictureFormat] = {}


def register_picture_reader(name: str, **about: Any) -> Callable[[PictureReader], PictureReader]:
    """Make a reader known under `name`; `about` are fields of `PictureFormat`. Raises ValueError when it is taken."""

    def register(reader: PictureReader) -> PictureReader:
        if name in PICTURE_READERS:
            raise ValueError(f"a reader of pictures named {name!r} is registered already")
        PICTURE_READERS[name] = PictureFormat(reader, **about)
        return reader

    return register


def stimulus_id(name: str) -> str:
    """A picture's name as it is compared: without blanks around it, Unicode composed, without a picture's suffix.

    "1001.jpg", "1001.JPG" and "1001" are the same picture; "1001.v2" keeps its ending, which is no picture's.
    """
    text = identifier(name)
    suffix = PurePosixPath(text).suffix
    return text[: -len(suffix)] if suffix.lower() in SUFFIXES else text


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key to sort names by, in which 2 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
