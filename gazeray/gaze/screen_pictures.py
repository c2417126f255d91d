# SPDX-License-Identifier: Apache-2.0
"""The pictures of one recording of screen pictures (`gazeray.gaze.screens`): read, cropped and shrunk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from gazeray.gaze.readers.base import ReadError, fetched
from gazeray.gaze.screens import ScreensRecording, ScreensSpec
from gazeray.stimuli.decode import decode_picture
from gazeray.storage import Folder
from gazeray.tables import Fault, Reject

MAX_PIXELS = 2**25
"""A picture with more pixels (8K screens have fewer) is refused before it is unpacked."""

WHITE = 255
"""What shows where a screen is transparent: the ground of such screens."""


@dataclass(frozen=True)
class ScreensRead:
    """The pictures of one recording.

    ids: (participant, trial) of each. pictures: (N, 3, H, W) uint8, RGB. sha256: over the raw bytes of all files that
    could be fetched. n: number of files, rejected ones included.
    """

    ids: list[tuple[str, str]]
    pictures: np.ndarray
    rejects: list[Reject]
    sha256: str
    n: int


def read_screens(spec: ScreensSpec, root: Folder, recording: ScreensRecording, size: tuple[int, int]) -> ScreensRead:
    """Read, crop and shrink one participant's pictures to `size` (H, W).

    See `decode_picture` (transparent parts show white) and `resized`. Rejected by name: files that cannot be read, that
    are no whole PNG, that the crop does not fit, and crops of one colour alone (a blank picture is no measurement). One
    picture at a time is unpacked.
    Raises OSError when the storage fails for another reason than a file that is missing or forbidden.
    """
    from gazeray.metrics.resampling import resized  # here: it imports PyTorch, which `first_screen` does without

    hashing, rejects = hashlib.sha256(), []
    ids: list[tuple[str, str]] = []
    pictures = np.empty((len(recording.pictures), 3, *size), np.uint8)
    for path, trial in zip(recording.pictures, recording.trials, strict=True):
        try:
            data = fetched(root, path)
            hashing.update(f"picture {path} {len(data)}\n".encode())
            hashing.update(data)
            picture = _decoded(data, path, spec)
        except ReadError as error:
            rejects.append(Reject(path, -1, "read", error.reason, recording.participants[0], trial))
            continue
        pictures[len(ids)] = resized(picture, size).transpose(2, 0, 1)
        ids.append((recording.participants[0], trial))
    return ScreensRead(ids, pictures[: len(ids)], rejects, hashing.hexdigest(), len(recording.pictures))


def first_screen(spec: ScreensSpec, root: Folder, recording: ScreensRecording) -> str:
    """A line on the first picture of a recording; a Fault where it cannot be used. Raises OSError as `read_screens`."""
    path = recording.pictures[0]
    try:
        height, width = _decoded(fetched(root, path), path, spec).shape[:2]
    except ReadError as error:
        return Fault(f"first picture {path}: {error.reason}")
    return f"first picture {path}: {width} x {height} px of it are used"


def _decoded(data: bytes, source: str, spec: ScreensSpec) -> np.ndarray:
    return cropped(decode_picture(data, source, MAX_PIXELS, ("PNG",), WHITE), spec.crop_px, source)


def cropped(picture: np.ndarray, crop_px: tuple[int, int, int, int] | None, source: str) -> np.ndarray:
    """The part (left, upper, right, lower edge, px) of a picture (H, W, 3); None: all of it.

    Raises ReadError where the box reaches outside the picture, or all of it has one colour.
    """
    height, width = picture.shape[:2]
    left, upper, right, lower = crop_px or (0, 0, width, height)
    if right > width or lower > height:
        box = f"{left}, {upper}, {right}, {lower}"
        raise ReadError(source, f"the crop ({box}) px reaches outside the picture of {width} x {height} px")
    part = picture[upper:lower, left:right]
    if (part == part[0, 0]).all():
        raise ReadError(source, "nothing is drawn: all of the crop has one colour")
    return part
