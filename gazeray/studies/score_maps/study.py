# SPDX-License-Identifier: Apache-2.0
"""Anybody's saliency maps against a picture set, beside the same baselines and ceilings as our own models."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np

from gazeray.config import ConfigError, digest
from gazeray.gaze.files import identifier, visible_files
from gazeray.storage import FileStat, Folder, masked
from gazeray.store import Store
from gazeray.studies.pictures.passes import PictureData, PictureShards, PicturesReady
from gazeray.studies.pictures.predictors import Everybody, PictureBaselines, score_predictions
from gazeray.studies.pictures.study import (
    PicturePlan,
    describe_pictures,
    open_dataset,
    picture_checked,
    picture_items,
    picture_summary,
    plan_pictures,
    prepare_pictures,
)
from gazeray.studies.pictures.summary import Models
from gazeray.studies.score_maps.config import ScoreMapsConfig
from gazeray.studies.score_maps.passes import FitMaps
from gazeray.studies.shared.declared import SIMULATED
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Row, Source, Summary
from gazeray.synth.contrast_maps import write_contrast_maps
from gazeray.tables import DataError, Reject
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

__all__ = ["ScoreMapsConfig", "ScoreMapsStudy"]

FORMAT = 3
"""Raised when maps that an older version brought to the grid can no longer be used."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")


@dataclass(frozen=True)
class MapsPlan:
    """The pictures, and the map of each by its name; what there is no use for."""

    pictures: PicturePlan
    root: Folder
    label: str
    files: dict[str, str]
    stamp: list[list[object]]
    rejects: list[Reject]


@dataclass(frozen=True)
class Stores:
    """The pictures, of which those with a map are judged, and the maps."""

    pictures: PicturesReady
    shards: PictureShards
    maps: Store


Prepared = Ready[MapsPlan, Stores]


@dataclass(frozen=True)
class ScoreMapsStudy:
    """See `gazeray.study.Study`."""

    cfg: ScoreMapsConfig

    name: ClassVar[str] = "score_maps"

    def open(self) -> Source[MapsPlan]:
        """Look at the pictures and at the names of the maps. Raises ConfigError, DataError."""
        cfg = self.cfg
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
        plan = MapsPlan(pictures, root, label, {name: stat.path for name, stat in files.items()}, stamp, rejects)
        return Source(plan, self._lines(plan))

    def _lines(self, plan: MapsPlan) -> list[str]:
        cfg = self.cfg
        maps = f"maps: {len(plan.files)} of {plan.label} at {plan.root.uri}; without picture or picture without map: "
        return [
            *describe_pictures(cfg, plan.pictures),
            f"{maps}{len(plan.rejects)}",
            f"units: {cfg.folds.outer} of baselines, {cfg.folds.outer} of maps",
        ]

    def passes(self, source: Source[MapsPlan], store: Folder) -> Generator[Pass, Store, Stores]:
        """The pictures, then the maps on their grids."""
        cfg, plan = self.cfg, source.data
        ready = yield from prepare_pictures(cfg, plan.pictures, store)
        shards = ready.shards
        content = digest([FORMAT, ready.content, cfg.score.longest_px, plan.root.uri, plan.stamp, cfg.maps.kind])
        folder = store.sub(f"stores/maps-{content[:16]}")
        read = FitMaps(plan.root, shards, cfg.maps, plan.files)
        pieces = [{"key": key} for key in shards.shards]
        maps = yield Pass.reading("reading maps", pieces, read, folder, memory=("map",))
        used = set(maps.plain("stimulus")) if len(maps) else set()
        if not used:
            rejects = [*plan.rejects, *(maps.log.rejects if maps.log else [])]
            reasons = "; ".join(sorted({reject.reason for reject in rejects})[:10])
            raise DataError([f"maps.path: none of {len(plan.files)} maps can be used: {reasons}"])
        without = frozenset(info.stimulus for info in shards.pictures if info.stimulus not in used)
        return Stores(ready, replace(shards, not_judged=without), maps)

    def items(self, source: Source[MapsPlan], stores: Stores) -> Items:
        """The pictures."""
        plan, maps = source.data, stores.maps
        rejects = [*plan.rejects, *(maps.log.rejects if maps.log else [])]
        about = {"label": plan.label, "root": plan.root.uri, "kind": self.cfg.maps.kind, "used": len(maps)}
        content = digest([stores.pictures.content, maps.folder.uri.rpartition("/")[2]])
        return picture_items(plan.pictures, stores.pictures, stores.shards, content, {"maps": about}, rejects)

    def learning(self, ready: Prepared) -> None:
        """Nothing."""

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """Baselines and ceilings, then the maps."""
        stores, label = ready.stores, ready.source.data.label
        return [PictureBaselines(self.cfg, stores.shards), StoredMaps(self.cfg, stores.shards, stores.maps, label)]

    def summary(self, manifest: Json, finished: Finished, ready: Prepared | None) -> Summary:
        """The table of predictors."""
        models = self._models(manifest["maps"]["label"], finished)
        return picture_summary(self.cfg, manifest, models, finished, ready.stores.shards if ready else None)

    def checked(self, run: Folder, manifest: Json, finished: Finished) -> list[str]:
        """Pictures and their folds."""
        return picture_checked(run, manifest, finished)

    def _models(self, label: str, finished: Finished) -> Models:
        entry = {"density": self.cfg.maps.kind != "saliency"}
        units = [name for name in finished.done if name.startswith("maps-")]
        return Models({f"model:{label}": entry}, {f"model:{label}": units}, {}, {"layers": [], "probes": []})


@dataclass(frozen=True)
class StoredMaps:
    """Scores the maps of a store: a unit per fold."""

    cfg: ScoreMapsConfig
    shards: PictureShards
    maps: Store
    label: str
    round: int = 0

    @property
    def rows(self) -> Mapping[str, Row]:
        """The maps' own."""
        return {f"model:{self.label}": Row(self.label, "model")}

    def units(self) -> list[UnitSpec]:
        """One per fold."""
        return [UnitSpec(f"maps-fold-{fold}", {"fold": fold}) for fold in range(self.shards.folds)]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Score the maps of one fold's pictures."""
        everybody = Everybody.shared(self.cfg, self.shards, worker)
        table = everybody.score_table(worker)
        place = {stimulus: row for row, stimulus in enumerate(self.maps.plain("stimulus").tolist())}

        def read() -> Iterator[tuple[PictureData, np.ndarray]]:
            infos = [info for info in self.shards.judged if info.fold == unit.spec["fold"]]
            for picture in everybody.chosen(infos):
                row = np.array([place[picture.info.stimulus]])
                yield picture, self.maps.take(row, ["map"])["map"][0]

        density = self.cfg.maps.kind != "saliency"
        score_predictions(everybody, table, f"model:{self.label}", read(), density)
        return table.write(out.folder)


def _open_maps(cfg: ScoreMapsConfig) -> tuple[Folder, str]:
    """The folder of the maps and what they are called. Raises ConfigError."""
    if cfg.maps.path is not None:
        folder = Folder(cfg.maps.path, cfg.storage)
        if not folder.exists():
            raise ConfigError([f"maps.path: no such folder: {masked(cfg.maps.path)}"])
        return folder, cfg.maps.label or PurePosixPath(cfg.maps.path.rstrip("/")).name or "maps"
    if cfg.data.dataset != SIMULATED:
        raise ConfigError(["maps.path: which maps? Give the folder with one map per picture"])
    _, root = open_dataset(cfg)
    folder = root.sub("contrast_maps")
    write_contrast_maps(root, folder)
    return folder, cfg.maps.label or "contrast"
