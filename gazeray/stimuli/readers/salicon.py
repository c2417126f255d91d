# SPDX-License-Identifier: Apache-2.0
"""SALICON's JSON: gaze (resampled mouse positions) by image and worker. Jiang et al. (2015), CVPR.

The file has `images` (id, file_name) and `annotations` (image_id, worker_id, fixations [[row, column], ...], counted
from 1). It is streamed: what is held is 8 bytes for each point, and one annotation at a time as Python objects.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import ijson
import numpy as np

from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.readers.base import NO_OBSERVER, FixationsSpec, Gaze, RawGaze, as_px, register_picture_reader
from gazeray.tables import Reject


@dataclass
class _Points:
    """The points on one image so far: x, y as float32 after each other, and how many of them each worker made."""

    xy: bytearray = field(default_factory=bytearray)
    workers: array[int] = field(default_factory=lambda: array("i"))
    counts: array[int] = field(default_factory=lambda: array("i"))

    def add(self, worker: int, row_column: np.ndarray, offset_px: float) -> None:
        """row_column: (N, 2)."""
        self.xy += as_px(row_column[:, ::-1], offset_px).tobytes()
        self.workers.append(worker)
        self.counts.append(len(row_column))

    def gaze(self) -> Gaze:
        xy = np.frombuffer(self.xy, np.float32).reshape(-1, 2)
        observer = np.repeat(np.array(self.workers, np.int32), np.array(self.counts, np.int64))
        return Gaze(xy[:, 0].copy(), xy[:, 1].copy(), observer)


class _Tee:
    """A file for ijson that hands what is read from it to a second parser, one for `images`, while that is `open`."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.n_bytes, self.open = stream, 0, True
        self.images = ijson.sendable_list()
        self._parser = ijson.items_coro(self.images, "images.item", use_float=True)

    def read(self, size: int = -1) -> bytes:
        chunk = self.stream.read(size)
        self.n_bytes += len(chunk)
        if self.open and chunk:
            self._parser.send(chunk)
        return chunk


@register_picture_reader("salicon")
def read_salicon(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read one file; see `PictureReader`. x = column - 0.5, y = row - 0.5: the centres of the pixels.

    Rejected by image: annotations of an id that `images` does not have, or has under two names; images of one name
    under two ids. Rejected one by one (row: number of the annotation, from 1): those that are no list of [row, column].
    Raises ReadError: not JSON or cut off (with the byte), no annotations.
    """
    points: dict[str, _Points] = defaultdict(_Points)
    workers: dict[str, int] = {}
    rejects: list[Reject] = []
    tee = _Tee(stream)
    number = 0
    for number, annotation in enumerate(_annotations(tee, source), start=1):
        # Annotations have begun: with images found before them, all images were (each of the two is one list).
        tee.open = tee.open and not tee.images
        image, worker = annotation.get("image_id"), annotation.get("worker_id")
        row_column = _row_column(annotation.get("fixations"))
        if image is None or row_column is None:
            reason = "no image_id" if image is None else "fixations are not a list of [row, column]"
            rejects.append(Reject(source, number, "read", f"annotation: {reason}", trial=str(image or "")))
            continue
        code = NO_OBSERVER if worker is None else workers.setdefault(str(worker), len(workers))
        points[str(image)].add(code, row_column, spec.offset_px - 0.5)
    if not number:
        raise ReadError(source, "no annotations: not a SALICON file of fixations")
    names = _names(tee.images, points, source, rejects)
    gaze = {names[image]: points.pop(image).gaze() for image in list(points) if image in names}
    return RawGaze(gaze, list(workers), rejects)


def _annotations(tee: _Tee, source: str) -> Iterator[dict[str, Any]]:
    """The annotations one by one. Raises ReadError."""
    try:
        for annotation in ijson.items(tee, "annotations.item", use_float=True):
            yield annotation if isinstance(annotation, dict) else {}
    except ijson.JSONError as error:
        reason = str(error).splitlines()[0]
        what = "cut off" if "premature" in reason or "ncomplete" in reason else "not valid JSON"
        raise ReadError(source, f"{what}: the fault is before byte {tee.n_bytes} ({reason})") from error


def _row_column(fixations: Any) -> np.ndarray | None:
    """The points of an annotation, (N, 2) float64, or None where they are something else."""
    if not isinstance(fixations, list):
        return None
    try:
        values = np.array(fixations or np.empty((0, 2)), dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    return values if values.ndim == 2 and values.shape[1] == 2 else None


def _names(images: list[Any], points: Mapping[str, _Points], source: str, rejects: list[Reject]) -> dict[str, str]:
    """Image id -> file name, for those that are clear. The others go to `rejects`."""
    named = defaultdict(set)
    for image in images:
        if isinstance(image, dict) and image.get("id") is not None and image.get("file_name"):
            named[str(image["id"])].add(str(image["file_name"]))
    often = Counter(name for names in named.values() for name in names)
    clear = {}
    for image, found in points.items():
        names = sorted(named.get(image, ()))
        if len(names) == 1 and often[names[0]] == 1:
            clear[image] = names[0]
            continue
        if not names:
            reason = f"image_id {image} is not among the images"
        elif len(names) > 1:
            reason = f"image_id {image} is there twice: {', '.join(names)}"
        else:
            reason = f"{names[0]} is there under several ids, {image} is one of them"
        rejects.append(Reject(source, -1, "read", f"{sum(found.counts)} fixations: {reason}", trial=(names or [""])[0]))
    return clear
