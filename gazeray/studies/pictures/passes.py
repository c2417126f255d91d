# SPDX-License-Identifier: Apache-2.0
"""The pictures of a set made ready once: checked, measured, their fixations on the grid, their human maps drawn.

A shard holds a few pictures. Its columns: x_px, y_px, observer (fixations), target (the human map on the grid) and
thumbnail (the picture at the size of the grid, for the report).
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from safetensors.numpy import load, save

from gazeray.config import digest
from gazeray.learn.fold_files import read_numbers
from gazeray.learn.folds import dealt_numbers
from gazeray.metrics.resampling import grid_cells, grid_size
from gazeray.stimuli.dataset import PictureSet, clean_gaze
from gazeray.stimuli.decode import PictureError, read_map, read_picture
from gazeray.stimuli.human_maps import draw_target, map_target
from gazeray.stimuli.readers.base import Gaze
from gazeray.stimuli.recipes import TargetConfig
from gazeray.storage import Folder
from gazeray.store import Shard, Store
from gazeray.studies.pictures.config import PictureFolds
from gazeray.study import FillShards, Pass
from gazeray.tables import DataError, Reject
from gazeray.unit import Json

FORMAT = 4
"""Raised when shards of an older version can no longer be used."""

PICTURES_PER_SHARD = 16

COLUMNS = ("x_px", "y_px", "observer", "target")
"""What the units read."""

CORNER = 0.15
"""Of width and height: fixations that all lie this near the origin may be in another unit than px."""

NOBODY = Gaze(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int32))


@dataclass(frozen=True)
class PictureInfo:
    """One usable picture: where it is, how large, how many fixations it has, which fold tests it."""

    stimulus: str
    path: str
    shard: str
    width_px: int
    height_px: int
    n_fixations: int
    fold: int


@dataclass(frozen=True)
class PictureData:
    """What is known of one picture on the grid (h, w).

    x_px, y_px: (N,) float32, fixations on the picture. observer: (N,) int32. target: (h, w) float32, the human map,
    0..1.
    """

    info: PictureInfo
    x_px: np.ndarray
    y_px: np.ndarray
    observer: np.ndarray
    target: np.ndarray

    @property
    def size_px(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.info.height_px, self.info.width_px

    @property
    def cells(self) -> np.ndarray:
        """(N, 2) int64, row and column of each fixation on the grid."""
        return grid_cells(self.x_px, self.y_px, self.size_px, self.grid)

    @property
    def share(self) -> float:
        """A px of the picture as a part of a cell."""
        return float(np.prod(self.grid) / np.prod(self.size_px))

    def fixated(self, some: np.ndarray | None = None) -> np.ndarray:
        """(M, 2) int64, row and column on the grid of each px that is fixated, once each; some: a mask of fixations."""
        x, y = (values if some is None else values[some] for values in (self.x_px, self.y_px))
        width = self.info.width_px
        pixels = np.unique(np.floor(y).astype(np.int64) * width + np.floor(x).astype(np.int64))
        return grid_cells(pixels % width + 0.5, pixels // width + 0.5, self.size_px, self.grid)

    @property
    def relative(self) -> np.ndarray:
        """(N, 2) float64, x / width and y / height of each fixation, in [0, 1)."""
        return np.stack([self.x_px / np.float64(self.info.width_px), self.y_px / np.float64(self.info.height_px)], 1)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the grid."""
        return self.target.shape[0], self.target.shape[1]


def named(gaze: Gaze) -> dict[str, np.ndarray]:
    """The arrays of a picture's gaze by the names that they have in the shards."""
    columns = {"x_px": (gaze.x_px, np.float32), "y_px": (gaze.y_px, np.float32), "observer": (gaze.observer, np.int32)}
    return {name: np.ascontiguousarray(values, dtype) for name, (values, dtype) in columns.items()}


@dataclass(frozen=True)
class PictureShards:
    """The pictures that are ready, one per row of the store; travels to the workers, and holds no pixel.

    not_judged: pictures that nothing is scored on; their fixations still count as those of other pictures.
    """

    store: Store
    pictures: tuple[PictureInfo, ...]
    px_per_deg: float | None
    max_pixels: int
    not_judged: frozenset[str] = frozenset()

    @property
    def folds(self) -> int:
        """How many folds there are; they are numbered from 0."""
        return 1 + max(info.fold for info in self.pictures)

    @property
    def judged(self) -> tuple[PictureInfo, ...]:
        """The pictures that are scored."""
        return tuple(info for info in self.pictures if info.stimulus not in self.not_judged)

    @property
    def shards(self) -> list[str]:
        """The keys of the shards with pictures, in order."""
        return sorted({info.shard for info in self.pictures})

    def rows_of(self, shard: str) -> np.ndarray:
        """(n,) int64, the pictures of one shard, in order."""
        return np.flatnonzero([info.shard == shard for info in self.pictures])

    def load(self, shard: str) -> list[PictureData]:
        """The usable pictures of one shard."""
        rows = self.rows_of(shard)
        found = self.store.take(rows, COLUMNS)
        return [PictureData(self.pictures[row], *(found[name][at] for name in COLUMNS)) for at, row in enumerate(rows)]

    def thumbnail(self, info: PictureInfo) -> np.ndarray:
        """The picture at the size of the grid, (h, w, 3) uint8 RGB."""
        row = self.pictures.index(info)
        return self.store.take(np.array([row]), ["thumbnail"])["thumbnail"][0]

    def __iter__(self) -> Iterator[PictureData]:
        for shard in self.shards:
            yield from self.load(shard)


@dataclass(frozen=True)
class PreparePictures:
    """Makes a shard ready; see the module. Runs in the workers of a pass."""

    root: Folder
    folder: Folder
    targets: TargetConfig
    px_per_deg: float | None
    max_pixels: int
    longest_px: int

    def __call__(self, piece: Mapping[str, Any]) -> Shard:
        """piece: key, and the stimulus, path and map_path of every picture."""
        cv2.setNumThreads(1)
        gaze = load(self.folder.read_bytes(f"gaze/{piece['key']}.safetensors"))
        columns: dict[str, list[np.ndarray]] = {name: [] for name in (*COLUMNS, "thumbnail")}
        rows: list[Json] = []
        rejects: list[Reject] = []
        for stimulus, path, map_path in piece["pictures"]:
            theirs = Gaze(*(gaze[f"{name}/{stimulus}"] for name in COLUMNS[:3]))
            try:
                row, arrays = self._one(stimulus, path, map_path, theirs, rejects)
            except PictureError as error:
                rejects.append(Reject(error.source, -1, "pictures", error.reason, trial=stimulus))
                continue
            rows.append(row)
            for name, values in arrays.items():
                columns[name].append(values)
        return Shard(pa.Table.from_pylist(rows), columns, rejects)

    def _one(
        self, stimulus: str, path: str, map_path: str | None, gaze: Gaze, rejects: list[Reject]
    ) -> tuple[Json, dict[str, np.ndarray]]:
        """One picture: its row and its columns; adds to the rejects. Raises PictureError when it cannot be used."""
        picture = read_picture(self.root, path, self.max_pixels)
        height, width = picture.shape[:2]
        grid = grid_size((height, width), self.longest_px)
        kept, refused = clean_gaze(path, gaze, width, height)
        rejects += [replace(one, trial=stimulus) for one in refused]
        if map_path is not None:
            try:
                target = map_target(read_map(self.root, map_path, self.max_pixels), (height, width), grid)
            except ValueError as error:
                raise PictureError(map_path, str(error)) from error
        elif len(kept.x_px) == 0:
            raise PictureError(path, "none of its fixations lies on it")
        else:
            target = draw_target(kept, (height, width), grid, self.targets, self.px_per_deg)
        target = np.ascontiguousarray(target, np.float32)
        small = cv2.resize(picture, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
        row = {
            "stimulus": stimulus,
            "path": path,
            "width_px": width,
            "height_px": height,
            "n_fixations": len(kept.x_px),
            "pixels_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
            "target_sha256": hashlib.sha256(target.tobytes()).hexdigest(),
            "reach_x_px": float(kept.x_px.max(initial=0)),
            "reach_y_px": float(kept.y_px.max(initial=0)),
        }
        return row, {**named(kept), "target": target, "thumbnail": small}


@dataclass(frozen=True)
class PicturesReady:
    """The pictures that can be used, how many observers looked at them, and what was refused.

    content: SHA-256 of gaze, human maps and pictures. pictures: that of the pictures alone, which is all that features
    depend on. notes: what should be known about the fixations.
    """

    shards: PictureShards
    observers: int
    rejects: list[Reject]
    content: str
    pictures: str
    notes: list[str]


def pictures_pass(
    found: PictureSet, prepare: PreparePictures, folds: PictureFolds, seed: int
) -> Generator[Pass, Store, PicturesReady]:
    """The pass that makes the pictures of a set ready, what is done left out; the pictures, dealt to folds.

    Raises DataError with fewer pictures than folds.
    """
    folder = prepare.folder
    groups = {
        f"{start // PICTURES_PER_SHARD:05d}": found.pictures[start : start + PICTURES_PER_SHARD]
        for start in range(0, len(found.pictures), PICTURES_PER_SHARD)
    }

    def pieces(keys: Sequence[str]) -> list[Json]:
        for key in keys:
            gaze = {source.stimulus: named(found.gaze.get(source.stimulus, NOBODY)) for source in groups[key]}
            arrays = {f"{name}/{stimulus}": one for stimulus, own in gaze.items() for name, one in own.items()}
            folder.write_bytes(f"gaze/{key}.safetensors", save(arrays))
        rows = {key: [(one.stimulus, one.path, one.map_path) for one in groups[key]] for key in keys}
        return [{"key": key, "pictures": own} for key, own in rows.items()]

    make = FillShards(prepare, folder)
    store = yield Pass.over("preparing pictures", list(groups), pieces, make, folder, memory=COLUMNS)
    return _ready(store, found, folds, seed)


def _ready(store: Store, found: PictureSet, folds: PictureFolds, seed: int) -> PicturesReady:
    rejects, rows = store.rejects, store.table.to_pylist()
    if len(store) < (folds.outer if folds.path is None else 3):
        lines = some_of([*found.rejects, *rejects])
        raise DataError([f"{len(store)} usable pictures, fewer than folds.outer = {folds.outer}", *lines])
    notes = _suspicious(rows)
    stimuli = [row["stimulus"] for row in rows]
    dealt = folds.path is None
    numbers = dealt_numbers(len(store), folds.outer, seed) if dealt else read_numbers(str(folds.path), stimuli, 3)
    known = ("stimulus", "path", "width_px", "height_px", "n_fixations")
    infos = tuple(
        PictureInfo(**{name: row[name] for name in known}, shard=store.keys[shard], fold=int(number))
        for row, shard, number in zip(rows, store.shard, numbers, strict=True)
    )
    shards = PictureShards(store, infos, found.spec.px_per_deg, found.spec.max_pixels)
    names = ("stimulus", "width_px", "height_px", "pixels_sha256")
    pictures = digest(
        [FORMAT, [[info.shard, *(row[name] for name in names)] for info, row in zip(infos, rows, strict=True)]]
    )
    content = digest([FORMAT, found.content, pictures, [row["target_sha256"] for row in rows], numbers.tolist()])
    return PicturesReady(shards, len(found.observers), rejects, content, pictures, notes)


def some_of(rejects: Sequence[Reject], most: int = 5) -> list[str]:
    """The first few rejects as lines of an error, and how many more there are."""
    lines = [f"{one.source}{'' if one.row < 0 else f', row {one.row}'}: {one.reason}" for one in rejects[:most]]
    return [*lines, f"and {len(rejects) - most} more"] if len(rejects) > most else lines


def _suspicious(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What looks as if the fixations were not px of the picture. Raises DataError where they cannot be."""
    seen = [entry for entry in entries if entry["n_fixations"]]
    if not seen:
        return []
    if max(max(entry["reach_x_px"], entry["reach_y_px"]) for entry in seen) <= 1:
        raise DataError(["all fixations lie in the first px of their pictures: x and y must be px of the picture"])
    reach = [max(one["reach_x_px"] / one["width_px"], one["reach_y_px"] / one["height_px"]) for one in seen]
    if max(reach) < CORNER:
        return [f"All fixations lie in the top left {CORNER:.0%} of their pictures. Are they px of the picture?"]
    return []
