# SPDX-License-Identifier: Apache-2.0
"""The pictures of a set made ready once: checked, measured, their fixations on the grid, their human maps drawn.

A shard holds a few pictures: `<key>.safetensors` (fixations, observers, target), `<key>.thumbs` (the
pictures at the size of the grid, for the report) and, written last, `<key>.json` (sizes, hashes, rejects).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.numpy import load, save

from gazeray.config import digest
from gazeray.models.fixation_density.kernels import grid_cells
from gazeray.stimuli.dataset import PictureSet, clean_gaze
from gazeray.stimuli.decode import PictureError, read_map, read_picture
from gazeray.stimuli.human_maps import TargetConfig, draw_target, grid_size, map_target
from gazeray.stimuli.readers.base import Gaze
from gazeray.storage import Folder
from gazeray.study import Pass
from gazeray.tables import DataError, Reject

FORMAT = 2
"""Raised when shards of an older version can no longer be used."""

PICTURES_PER_SHARD = 16

PIXELS = ("stimulus", "width_px", "height_px", "pixels")
"""What features depend on: which picture, and what it shows."""

INFO = ("stimulus", "path", "width_px", "height_px", "n_fixations")

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
    def relative(self) -> np.ndarray:
        """(N, 2) float64, x / width and y / height of each fixation, in [0, 1)."""
        return np.stack(
            [self.x_px.astype(np.float64) / self.info.width_px, self.y_px / np.float64(self.info.height_px)], 1
        )

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the grid."""
        return self.target.shape[0], self.target.shape[1]


def named(gaze: Gaze) -> dict[str, np.ndarray]:
    """The arrays of a picture's gaze by the names that they have in the shards."""
    columns = {"x": (gaze.x_px, np.float32), "y": (gaze.y_px, np.float32), "observer": (gaze.observer, np.int32)}
    return {name: np.ascontiguousarray(values, dtype) for name, (values, dtype) in columns.items()}


@dataclass(frozen=True)
class PictureShards:
    """The pictures that are ready; travels to the workers, and holds no pixel.

    not_judged: pictures that nothing is scored on; their fixations still count as those of other pictures.
    """

    folder: Folder
    pictures: tuple[PictureInfo, ...]
    px_per_deg: float | None
    max_pixels: int
    not_judged: frozenset[str] = frozenset()

    @property
    def judged(self) -> tuple[PictureInfo, ...]:
        """The pictures that are scored."""
        return tuple(info for info in self.pictures if info.stimulus not in self.not_judged)

    @property
    def shards(self) -> list[str]:
        """The keys of the shards, in order."""
        return sorted({info.shard for info in self.pictures})

    def of_shard(self, shard: str) -> list[PictureInfo]:
        """The pictures of one shard, in order."""
        return [info for info in self.pictures if info.shard == shard]

    def load(self, shard: str) -> list[PictureData]:
        """The usable pictures of one shard."""
        arrays = load(self.folder.read_bytes(f"{shard}.safetensors"))
        return [
            PictureData(
                info,
                *(arrays[f"{name}/{info.stimulus}"] for name in ("x", "y", "observer", "target")),
            )
            for info in self.of_shard(shard)
        ]

    def thumbnail(self, info: PictureInfo) -> np.ndarray:
        """The picture at the size of the grid, (h, w, 3) uint8 RGB."""
        return load(self.folder.read_bytes(f"{info.shard}.thumbs"))[f"picture/{info.stimulus}"]

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

    def __call__(self, device: torch.device) -> PreparePictures:
        """Nothing has to be set up."""
        cv2.setNumThreads(1)
        return self

    def do(self, item: Mapping[str, Any]) -> None:
        """item: key, and the stimulus, path and map_path of every picture."""
        key = item["key"]
        gaze = load(self.folder.read_bytes(f"gaze/{key}.safetensors"))
        arrays: dict[str, np.ndarray] = {}
        thumbs: dict[str, np.ndarray] = {}
        notes: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for stimulus, path, map_path in item["pictures"]:
            theirs = Gaze(*(gaze[f"{name}/{stimulus}"] for name in ("x", "y", "observer")))
            try:
                notes.append(self._one(stimulus, path, map_path, theirs, arrays, thumbs, rejects))
            except PictureError as error:
                rejects.append(Reject(error.source, -1, "pictures", error.reason, trial=stimulus))
        self.folder.write_bytes(f"{key}.safetensors", save(arrays))
        self.folder.write_bytes(f"{key}.thumbs", save(thumbs))
        note = {"key": key, "pictures": notes, "rejects": [asdict(reject) for reject in rejects]}
        self.folder.write_json(f"{key}.json", note)

    def _one(
        self, stimulus: str, path: str, map_path: str | None, gaze: Gaze,
        arrays: dict[str, np.ndarray], thumbs: dict[str, np.ndarray], rejects: list[Reject],
    ) -> dict[str, Any]:  # fmt: skip
        """One picture; adds its arrays and returns its note. Raises PictureError when it cannot be used."""
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
        arrays |= {f"{name}/{stimulus}": values for name, values in named(kept).items()}
        arrays[f"target/{stimulus}"] = target.astype(np.float32)
        thumbs[f"picture/{stimulus}"] = cv2.resize(picture, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
        return {
            "stimulus": stimulus,
            "path": path,
            "width_px": width,
            "height_px": height,
            "n_fixations": len(kept.x_px),
            "pixels": hashlib.sha256(picture.tobytes()).hexdigest(),
            "target": hashlib.sha256(arrays[f"target/{stimulus}"].tobytes()).hexdigest(),
            "reach_px": [float(kept.x_px.max(initial=0)), float(kept.y_px.max(initial=0))],
        }


@dataclass(frozen=True)
class MakePictures:
    """What a worker of the pass makes: the function that does an item. Plain, so that it travels."""

    prepare: PreparePictures

    def __call__(self, device: torch.device) -> Any:
        return self.prepare(device).do


def pictures_pass(found: PictureSet, prepare: PreparePictures) -> tuple[Pass, list[str]]:
    """The pass that makes the pictures of a set ready, what is done left out; and the keys of all its shards."""
    groups = [
        found.pictures[start : start + PICTURES_PER_SHARD]
        for start in range(0, len(found.pictures), PICTURES_PER_SHARD)
    ]
    present = {stat.path for stat in prepare.folder.list()}
    keys = [f"{number:05d}" for number in range(len(groups))]
    items = []
    for key, group in zip(keys, groups, strict=True):
        if f"{key}.json" in present:
            continue
        arrays: dict[str, np.ndarray] = {}
        for source in group:
            gaze = found.gaze.get(source.stimulus, NOBODY)
            arrays |= {f"{name}/{source.stimulus}": values for name, values in named(gaze).items()}
        prepare.folder.write_bytes(f"gaze/{key}.safetensors", save(arrays))
        items.append({"key": key, "pictures": [(source.stimulus, source.path, source.map_path) for source in group]})
    return Pass("preparing pictures", items, MakePictures(prepare)), keys


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


def open_shards(folder: Folder, keys: Sequence[str], found: PictureSet, folds: int, seed: int) -> PicturesReady:
    """The pictures that are ready, dealt to folds: each in one; folds differ by one picture at most.

    Raises DataError with fewer pictures than folds.
    """
    notes = [folder.read_json(f"{key}.json") for key in keys]
    rejects = [Reject(**reject) for note in notes for reject in note["rejects"]]
    usable = [(note["key"], entry) for note in notes for entry in note["pictures"]]
    if len(usable) < folds:
        raise DataError(
            [f"{len(usable)} usable pictures, fewer than folds.outer = {folds}", *some_of([*found.rejects, *rejects])]
        )
    notes_on_gaze = _suspicious([entry for _, entry in usable])
    order = np.random.default_rng([seed, FORMAT]).permutation(len(usable))
    fold = np.empty(len(usable), np.int64)
    fold[order] = np.arange(len(usable)) % folds
    infos = tuple(
        PictureInfo(**{name: entry[name] for name in INFO}, shard=key, fold=int(number))
        for (key, entry), number in zip(usable, fold, strict=True)
    )
    shards = PictureShards(folder, infos, found.spec.px_per_deg, found.spec.max_pixels)
    pictures = digest([FORMAT, [[key, *(entry[name] for name in PIXELS)] for key, entry in usable]])
    content = digest([FORMAT, found.content, pictures, [entry["target"] for _, entry in usable]])
    return PicturesReady(shards, len(found.observers), rejects, content, pictures, notes_on_gaze)


def some_of(rejects: Sequence[Reject], most: int = 5) -> list[str]:
    """The first few rejects as lines of an error, and how many more there are."""
    lines = [f"{one.source}{'' if one.row < 0 else f', row {one.row}'}: {one.reason}" for one in rejects[:most]]
    return [*lines, f"and {len(rejects) - most} more"] if len(rejects) > most else lines


def _suspicious(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What looks as if the fixations were not px of the picture. Raises DataError where they cannot be."""
    seen = [entry for entry in entries if entry["n_fixations"]]
    if not seen:
        return []
    if max(max(entry["reach_px"]) for entry in seen) <= 1:
        raise DataError(["all fixations lie in the first px of their pictures: x and y must be px of the picture"])
    reach = [max(np.divide(entry["reach_px"], [entry["width_px"], entry["height_px"]])) for entry in seen]
    if max(reach) < CORNER:
        return [f"All fixations lie in the top left {CORNER:.0%} of their pictures. Are they px of the picture?"]
    return []
