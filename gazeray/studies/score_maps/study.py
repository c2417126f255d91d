# SPDX-License-Identifier: Apache-2.0
"""Anybody's saliency maps against a picture set, beside the same baselines and ceilings as our own models."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.numpy import load, save

from gazeray.config import ConfigError, digest
from gazeray.gaze.files import identifier, visible_files
from gazeray.stimuli.decode import PictureError, read_map
from gazeray.stimuli.human_maps import same_aspect
from gazeray.storage import FileStat, Folder, masked
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.pictures.predictors import PictureWork, ScoreTable, Shared, score_predictions
from gazeray.studies.pictures.study import (
    SIMULATED,
    PicturePlan,
    describe_pictures,
    open_dataset,
    plan_pictures,
    prepare_pictures,
    prepared_run,
    score_pictures,
)
from gazeray.studies.pictures.summary import Models
from gazeray.studies.score_maps.config import MapsConfig, ScoreMapsConfig
from gazeray.study import Compared, Pass, Prepared
from gazeray.synth.contrast_maps import write_contrast_maps
from gazeray.tables import DataError, Reject

__all__ = ["ScoreMapsConfig", "ScoreMapsStudy"]

FORMAT = 3
"""Raised when maps that an older version brought to the grid can no longer be used."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")

LEAST_SHARE = 1e-3
"""Of the uniform density, mixed into people's densities."""


class MapError(ValueError):
    """A map cannot be used; says which and why."""


@dataclass(frozen=True)
class MapsPlan:
    """The pictures, and the map of each by its name; what there is no use for."""

    pictures: PicturePlan
    root: Folder
    label: str
    files: dict[str, str]
    stamp: list[list[Any]]
    rejects: list[Reject]


class ScoreMapsStudy:
    """See `gazeray.study.Comparison`."""

    name = "score_maps"
    config = ScoreMapsConfig

    def plan(self, cfg: ScoreMapsConfig) -> MapsPlan:
        """Look at the pictures and at the names of the maps. Raises ConfigError, DataError."""
        pictures = plan_pictures(cfg)
        root, label = _open_maps(cfg)
        found = visible_files(root)
        stimuli = {source.stimulus for source in pictures.found.pictures}
        by_name: dict[str, list[FileStat]] = {}
        for stat in found:
            name = PurePosixPath(stat.path)
            if name.suffix.lower() in SUFFIXES:
                by_name.setdefault(identifier(str(name.with_suffix("")).replace("/", "_")), []).append(stat)
        rejects = [
            Reject(stats[0].path, -1, "maps", "no picture of this name")
            for name, stats in by_name.items()
            if name not in stimuli
        ]
        rejects += [
            Reject(stats[0].path, -1, "maps", f"{len(stats)} maps of this name", trial=name)
            for name, stats in by_name.items()
            if name in stimuli and len(stats) > 1
        ]
        files = {name: stats[0] for name, stats in sorted(by_name.items()) if name in stimuli and len(stats) == 1}
        if not files:
            some = ", ".join(sorted(stimuli)[:3])
            raise DataError([f"maps.path: no map is named as a picture is (such as {some}) with {', '.join(SUFFIXES)}"])
        rejects += [
            Reject(source.path, -1, "maps", "no map of this picture: it is not scored", trial=source.stimulus)
            for source in pictures.found.pictures
            if source.stimulus not in by_name
        ]
        stamp = [[stat.path, stat.size, stat.mtime_ns] for stat in files.values()]
        return MapsPlan(pictures, root, label, {name: stat.path for name, stat in files.items()}, stamp, rejects)

    def describe(self, cfg: ScoreMapsConfig, plan: MapsPlan) -> list[str]:
        """What a run would do."""
        maps = f"maps: {len(plan.files)} of {plan.label} at {plan.root.uri}; without picture or picture without map: "
        return [
            *describe_pictures(cfg, plan.pictures),
            f"{maps}{len(plan.rejects)}",
            f"units: {cfg.folds.outer} of baselines, {cfg.folds.outer} of maps",
        ]

    def prepare(
        self, cfg: ScoreMapsConfig, plan: MapsPlan, store: Folder, go_through: Callable[[Pass], None]
    ) -> Prepared:
        """The pictures, then the maps on their grids."""
        ready = prepare_pictures(cfg, plan.pictures, store, go_through)
        content = digest([FORMAT, ready.content, cfg.score.longest_px, plan.root.uri, plan.stamp, cfg.maps.kind])
        fit = FitMaps(plan.root, store.sub(f"maps/{content[:16]}"), ready.shards, cfg.maps, plan.files)
        present = {stat.path for stat in fit.folder.list()}
        missing = [{"key": shard} for shard in ready.shards.shards if f"{shard}.json" not in present]
        go_through(Pass("reading maps", missing, fit))
        notes = [row for shard in ready.shards.shards for row in fit.folder.read_json(f"{shard}.json")]
        rejects = [*plan.rejects, *(Reject(**row) for row in notes)]
        used = {info.stimulus for info in ready.shards.pictures} & plan.files.keys() - {row["trial"] for row in notes}
        if not used:
            reasons = "; ".join(sorted({reject.reason for reject in rejects})[:10])
            raise DataError([f"maps.path: none of {len(plan.files)} maps can be used: {reasons}"])
        units = {f"maps-fold-{fold}": {"kind": "maps", "fold": fold} for fold in range(cfg.folds.outer)}
        more = {"maps": {"label": plan.label, "root": plan.root.uri, "kind": cfg.maps.kind, "used": len(used)}}
        without = frozenset(info.stimulus for info in ready.shards.pictures if info.stimulus not in used)
        shards = replace(ready.shards, not_judged=without)
        ready = replace(ready, shards=shards, rejects=[*ready.rejects, *rejects])
        return prepared_run(cfg, plan.pictures, ready, units, more, content, (fit.folder, plan.label))

    def work(self, cfg: ScoreMapsConfig, prepared: Prepared, run: Folder) -> MapWork:
        """Baselines, and maps."""
        shards, (maps, label) = prepared.own
        return MapWork(cfg, shards, maps, f"model:{label}")

    def score(
        self, cfg: ScoreMapsConfig, prepared: Prepared, done: Mapping[str, Folder], failed: Sequence[str]
    ) -> Compared:
        """The table of predictors."""
        _, (_, label) = prepared.own
        entry = {"kind": "model", "label": label, "density": cfg.maps.kind != "saliency"}
        unit = [name for name in done if name.startswith("maps-")]
        models = Models({f"model:{label}": entry}, {f"model:{label}": unit}, {}, {"layers": [], "probes": []})
        return score_pictures(cfg, self.name, prepared, models, done, failed)


def _open_maps(cfg: ScoreMapsConfig) -> tuple[Folder, str]:
    """The folder of the maps and what they are called. Raises ConfigError."""
    if cfg.maps.path is not None:
        folder = Folder(cfg.maps.path)
        if not folder.exists():
            raise ConfigError([f"maps.path: no such folder: {masked(cfg.maps.path)}"])
        return folder, cfg.maps.label or PurePosixPath(cfg.maps.path.rstrip("/")).name or "maps"
    if cfg.data.dataset != SIMULATED:
        raise ConfigError(["maps.path: which maps? Give the folder with one map per picture"])
    _, root = open_dataset(cfg.data, cfg.run.dir)
    folder = root.sub("contrast_maps")
    write_contrast_maps(root, folder)
    return folder, cfg.maps.label or "contrast"


@dataclass(frozen=True)
class FitMaps:
    """Reads the maps of a shard of pictures and brings them to the grid. Runs in the workers of a pass.

    Leaves `<key>.safetensors`, the maps by stimulus, and then `<key>.json`, the rejects.
    """

    root: Folder
    folder: Folder
    shards: PictureShards
    cfg: MapsConfig
    files: Mapping[str, str]

    def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        """Nothing has to be set up."""
        return self.do

    def do(self, item: Mapping[str, Any]) -> None:
        """item: the key of the shard."""
        kept, rejects = {}, []
        for picture in self.shards.load(item["key"]):
            path = self.files.get(picture.info.stimulus)
            if path is None:
                continue
            try:
                values = load_map(self.root, path, self.shards.max_pixels)
                kept[f"map/{picture.info.stimulus}"] = np.ascontiguousarray(fit_to_grid(values, picture, self.cfg))
            except PictureError as error:
                rejects.append(Reject(path, -1, "maps", error.reason, trial=picture.info.stimulus))
            except MapError as error:
                rejects.append(Reject(path, -1, "maps", str(error), trial=picture.info.stimulus))
        self.folder.write_bytes(f"{item['key']}.safetensors", save(kept))
        self.folder.write_json(f"{item['key']}.json", [asdict(reject) for reject in rejects])


@dataclass(frozen=True)
class MapWork(PictureWork):
    """Units of maps beside those of baselines."""

    cfg: ScoreMapsConfig
    maps: Folder
    predictor: str

    def predict(
        self, shared: Shared, spec: Mapping[str, Any], sheet: ScoreTable, folder: Any, device: torch.device
    ) -> dict[str, Any]:
        """Score the maps of one fold's pictures."""
        if spec["kind"] == "baselines":
            return super().predict(shared, spec, sheet, folder, device)

        def read() -> Iterator[tuple[PictureData, np.ndarray]]:
            infos = [info for info in self.shards.judged if info.fold == spec["fold"]]
            maps: dict[str, np.ndarray] = {}
            for key in dict.fromkeys(info.shard for info in infos):
                maps |= load(self.maps.read_bytes(f"{key}.safetensors"))
            for picture in shared.chosen(infos):
                yield picture, maps[f"map/{picture.info.stimulus}"]

        score_predictions(shared, sheet, self.predictor, read(), self.cfg.maps.kind != "saliency")
        return {}


def load_map(root: Folder, path: str, max_pixels: int) -> np.ndarray:
    """A map (H, W) float64 from a picture, .npy or .npz with one array. Raises MapError, PictureError."""
    if not path.lower().endswith((".npy", ".npz")):
        return read_map(root, path, max_pixels).astype(np.float64)
    data = root.read_bytes(path)
    try:
        values = np.squeeze(_array(data, max_pixels))
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"cannot be read: {' '.join(str(error).split())}") from error
    if values.dtype.kind not in "fiub":
        raise MapError(f"holds {values.dtype}, not numbers")
    if values.ndim != 2:
        raise MapError(f"has the shape {values.shape}, not (height, width)")
    return np.asarray(values, np.float64)


def _array(data: bytes, max_pixels: int) -> np.ndarray:
    """The only array of a .npy or .npz file; nothing is unpickled."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        size = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if size > max_pixels * 8 + 4096:
            raise MapError(f"unpacks to {size} bytes, more than {max_pixels} values")
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    if len(found.files) != 1:
        raise MapError(f"holds {len(found.files)} arrays, not one")
    return np.asarray(found[found.files[0]])


def fit_to_grid(values: np.ndarray, picture: PictureData, cfg: MapsConfig) -> np.ndarray:
    """A map of any size (H, W) on the picture's grid (h, w), float32; densities sum to 1 again, as log-densities.

    A density is mixed with LEAST_SHARE of the uniform one: where it is 0, a fixation would cost infinity.

    Raises MapError: not finite (a log-density may be -inf), another aspect than the picture's, negative densities.
    """
    bad = int(np.isnan(values).sum() + np.isposinf(values).sum())
    bad += 0 if cfg.kind == "log_density" else int(np.isneginf(values).sum())
    if bad:
        raise MapError(f"{bad} of {values.size} values are not finite")
    height, width = picture.size_px
    if not same_aspect((values.shape[0], values.shape[1]), (height, width)):
        have, want = f"{values.shape[1]} x {values.shape[0]}", f"{width} x {height}"
        raise MapError(f"has {have} px, another aspect than its picture's {want}")
    if cfg.kind == "log_density":
        values = np.exp(values - values.max())
    elif cfg.kind == "density" and values.min() < 0:
        raise MapError(f"is no density: its smallest value is {values.min():g}")
    rows, columns = picture.grid
    shrinks = rows <= values.shape[0] and columns <= values.shape[1]
    small = cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if cfg.kind == "saliency":
        return np.asarray(small, np.float32)
    total = small.sum()
    if not total > 0:
        raise MapError("is no density: it is 0 everywhere")
    return np.asarray(np.log((1 - LEAST_SHARE) * small / total + LEAST_SHARE / small.size), np.float32)
