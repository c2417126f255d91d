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
from gazeray.stimuli.readers.base import (
    NO_OBSERVER,
    FixationsSpec,
    Gaze,
    RawGaze,
    as_px,
    checked_name,
    register_picture_reader,
)
from gazeray.tables import Reject

NO_POINTS = np.empty(0)

DEEPEST = 1000
"""How deep the JSON may be nested: what ijson holds grows with the square of it."""

_STEPS = np.zeros(256, np.int8)
_STEPS[[ord(sign) for sign in "[{"]], _STEPS[[ord(sign) for sign in "]}"]] = 1, -1


@dataclass
class _Points:
    """The points on one image so far: x, y as float32 after each other, and how many of them each worker made."""

    xy: bytearray = field(default_factory=bytearray)
    workers: array[int] = field(default_factory=lambda: array("i"))
    counts: array[int] = field(default_factory=lambda: array("i"))

    def add(self, worker: int, row_column: np.ndarray) -> None:
        """row_column: (N, 2)."""
        self.xy += as_px(row_column[:, ::-1], -0.5).tobytes()
        self.workers.append(worker)
        self.counts.append(len(row_column))

    def gaze(self) -> Gaze:
        xy = np.frombuffer(self.xy, np.float32).reshape(-1, 2)
        observer = np.repeat(np.array(self.workers, np.int32), np.array(self.counts, np.int64))
        return Gaze(xy[:, 0].copy(), xy[:, 1].copy(), observer)


class _Tee:
    """A file for ijson that hands what is read from it to a second parser, one for `images`, while that is `open`.

    Reading raises ReadError where the nesting is too deep (brackets in names count, which are few).
    """

    def __init__(self, stream: BinaryIO, source: str) -> None:
        self.stream, self.source, self.n_bytes, self.depth, self.open = stream, source, 0, 0, True
        self.images = ijson.sendable_list()
        self._parser = ijson.items_coro(self.images, "images.item", use_float=True)

    def read(self, size: int = -1) -> bytes:
        chunk = self.stream.read(size)
        self.n_bytes += len(chunk)
        depths = self.depth + np.cumsum(_STEPS[np.frombuffer(chunk, np.uint8)], dtype=np.int32)
        if depths.max(initial=0) > DEEPEST:
            raise ReadError(self.source, f"not SALICON's file: nested deeper than {DEEPEST}")
        self.depth = int(depths[-1]) if len(depths) else self.depth
        if self.open and chunk:
            self._parser.send(chunk)
        return chunk


@register_picture_reader("salicon")
def read_salicon(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read one file; see `PictureReader`. x = column - 0.5, y = row - 0.5: the centres of the pixels.

    Rejected by image: annotations of an id that `images` does not have, or has under two names; images of one name
    under two ids. Rejected one by one (row: number of the annotation, from 1): those that are no list of [row, column]
    or whose image or worker has a name that `checked_name` refuses.
    Raises ReadError: not JSON or cut off (with the byte), no annotations.
    """
    points: dict[str, _Points] = defaultdict(_Points)
    workers: dict[str, int] = {}
    rejects: list[Reject] = []
    tee = _Tee(stream, source)
    number = 0
    for number, annotation in enumerate(_annotations(tee, source), start=1):
        # Annotations have begun: with images found before them, all images were (each of the two is one list).
        tee.open = tee.open and not tee.images
        try:
            image, worker, row_column = _parts(annotation)
        except ValueError as error:
            trial = str(annotation.get("image_id") or "")[:99]
            rejects.append(Reject(source, number, "read", f"annotation: {error}", trial=trial))
            continue
        code = NO_OBSERVER if worker is None else workers.setdefault(worker, len(workers))
        points[image].add(code, row_column)
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


def _parts(annotation: Mapping[str, Any]) -> tuple[str, str | None, np.ndarray]:
    """Image id, worker (None: not said) and points, (N, 2) float64 rows and columns. Raises ValueError."""
    image, worker, fixations = (annotation.get(name) for name in ("image_id", "worker_id", "fixations"))
    if image is None:
        raise ValueError("no image_id")
    names = checked_name(str(image)), None if worker is None else checked_name(str(worker))
    try:
        values = np.array(fixations or np.empty((0, 2)), dtype=np.float64) if isinstance(fixations, list) else NO_POINTS
    except (ValueError, TypeError, OverflowError):
        values = NO_POINTS
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError("fixations are not a list of [row, column]")
    return *names, values


def _names(images: list[Any], points: Mapping[str, _Points], source: str, rejects: list[Reject]) -> dict[str, str]:
    """Image id -> file name, for those that are clear. The others go to `rejects`."""
    named = defaultdict(set)
    for image in images:
        if isinstance(image, dict) and image.get("id") is not None and image.get("file_name"):
            try:
                named[checked_name(str(image["id"]))].add(checked_name(str(image["file_name"])))
            except ValueError as error:
                rejects.append(Reject(source, -1, "read", f"an image among the images: {error}"))
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
