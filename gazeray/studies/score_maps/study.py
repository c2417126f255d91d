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
from gazeray.stimuli.dataset import PictureSet
from gazeray.storage import FileStat, Folder, masked
from gazeray.store import Store
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.pictures.predictors import Everybody, PictureBaselines, score_predictions
from gazeray.studies.pictures.study import PictureStores, PictureStudy
from gazeray.studies.pictures.summary import Models
from gazeray.studies.score_maps.config import ScoreMapsConfig
from gazeray.studies.score_maps.passes import FitMaps
from gazeray.studies.shared.declared import SIMULATED
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Row, Source
from gazeray.synth.contrast_maps import write_contrast_maps
from gazeray.tables import DataError, Reject
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

__all__ = ["ScoreMapsConfig", "ScoreMapsStudy"]

FORMAT = 4
"""Raised when maps that an older version brought to the grid can no longer be used."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")


@dataclass(frozen=True)
class MapsPlan:
    """The pictures, and the map of each by its name; what there is no use for."""

    pictures: PictureSet
    root: Folder
    label: str
    files: dict[str, FileStat]
    rejects: list[Reject]


@dataclass(frozen=True)
class Stores(PictureStores):
    """The pictures, of which those with a map are judged, and the maps."""

    maps: Store


Prepared = Ready[MapsPlan, Stores]


@dataclass(frozen=True)
class ScoreMapsStudy(PictureStudy):
    """See `gazeray.study.Study`."""

    cfg: ScoreMapsConfig

    name: ClassVar[str] = "score_maps"

    def open(self) -> Source[MapsPlan]:
        """Look at the pictures and at the names of the maps. Raises ConfigError, DataError."""
        pictures, lines = self.open_pictures()
        root, label = self._open_maps()
        stimuli = {source.stimulus for source in pictures.pictures}
        by_name: dict[str, list[FileStat]] = {}
        for stat in visible_files(root):
            name = PurePosixPath(stat.path)
            if name.suffix.lower() in SUFFIXES:
                by_name.setdefault(identifier(str(name.with_suffix("")).replace("/", "_")), []).append(stat)
        rejects, files = [], {}
        for own, stats in sorted(by_name.items()):
            if own not in stimuli:
                rejects.append(Reject(stats[0].path, -1, "maps", "no picture of this name"))
            elif len(stats) > 1:
                rejects.append(Reject(stats[0].path, -1, "maps", f"{len(stats)} maps of this name", trial=own))
            else:
                files[own] = stats[0]
        if not files:
            some = ", ".join(sorted(stimuli)[:3])
            raise DataError([f"maps.path: no map is named as a picture is (such as {some}) with {', '.join(SUFFIXES)}"])
        rejects += [
            Reject(source.path, -1, "maps", "no map of this picture: it is not scored", trial=source.stimulus)
            for source in pictures.pictures
            if source.stimulus not in by_name
        ]
        folds, left = self.cfg.folds.outer, f"without picture or picture without map: {len(rejects)}"
        lines += [
            f"maps: {len(files)} of {label} at {root.uri}; {left}",
            f"units: {folds} of baselines, {folds} of maps",
        ]
        return Source(MapsPlan(pictures, root, label, files, rejects), lines)

    def _open_maps(self) -> tuple[Folder, str]:
        """The folder of the maps and what they are called. Raises ConfigError."""
        cfg = self.cfg
        if cfg.maps.path is not None:
            folder = Folder(cfg.maps.path, cfg.storage)
            if not folder.exists():
                raise ConfigError([f"maps.path: no such folder: {masked(cfg.maps.path)}"])
            return folder, cfg.maps.label or PurePosixPath(folder.uri).name or "maps"
        if cfg.data.dataset != SIMULATED:
            raise ConfigError(["maps.path: which maps? Give the folder with one map per picture"])
        _, root = self.open_dataset()
        folder = root.sub("contrast_maps")
        write_contrast_maps(root, folder)
        return folder, cfg.maps.label or "contrast"

    def passes(self, source: Source[MapsPlan], store: Folder) -> Generator[Pass, Store, Stores]:
        """The pictures, then the maps on their grids."""
        cfg, plan = self.cfg, source.data
        ready = yield from self.prepare_pictures(plan.pictures, store)
        shards = ready.shards
        stamp = [[stat.path, stat.size, stat.mtime_ns] for stat in plan.files.values()]
        content = digest([FORMAT, ready.content, cfg.score.longest_px, plan.root.uri, stamp, cfg.maps.kind])
        folder = store.sub(f"stores/maps-{content[:16]}")
        read = FitMaps(plan.root, shards, cfg.maps, {name: stat.path for name, stat in plan.files.items()})
        pieces = [{"key": key} for key in shards.shards]
        maps = yield Pass.reading("reading maps", pieces, read, folder, memory=("map",))
        used = set(maps.plain("stimulus")) if len(maps) else set()
        if not used:
            reasons = "; ".join(sorted({reject.reason for reject in (*plan.rejects, *maps.rejects)})[:10])
            raise DataError([f"maps.path: none of {len(plan.files)} maps can be used: {reasons}"])
        without = frozenset(info.stimulus for info in shards.pictures if info.stimulus not in used)
        return Stores(replace(ready, shards=replace(shards, not_judged=without)), maps)

    def items(self, source: Source[MapsPlan], stores: Stores) -> Items:
        """The pictures."""
        plan, maps = source.data, stores.maps
        about = {"label": plan.label, "root": plan.root.uri, "kind": self.cfg.maps.kind, "used": len(maps)}
        content = digest([stores.pictures.content, maps.folder.uri.rpartition("/")[2]])
        rejects = [*plan.rejects, *maps.rejects]
        return self.picture_items(plan.pictures, stores.pictures, content, {"maps": about}, rejects)

    def predictors(self, ready: Prepared) -> list[Predictor]:
        """Baselines and ceilings, then the maps."""
        shards = ready.stores.pictures.shards
        maps = StoredMaps(self.cfg, shards, ready.stores.maps, ready.source.data.label)
        return [PictureBaselines(self.cfg, shards), maps]

    def models(self, manifest: Json, finished: Finished) -> Models:
        """The maps."""
        name, entry = f"model:{manifest['maps']['label']}", {"density": self.cfg.maps.kind != "saliency"}
        units = [name for name in finished.done if name.startswith("maps-")]
        return Models({name: entry}, {name: units}, {}, {"layers": [], "probes": []})


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
