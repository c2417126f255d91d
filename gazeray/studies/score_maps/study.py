# SPDX-License-Identifier: Apache-2.0
"""Anybody's saliency maps against a picture set, beside the same baselines and ceilings as our own models."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gazeray.config import digest
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.pictures.predictors import Everybody, PictureBaselines, score_predictions
from gazeray.studies.pictures.study import PictureStores, PictureStudy
from gazeray.studies.pictures.summary import Models
from gazeray.studies.score_maps.config import ScoreMapsConfig
from gazeray.studies.score_maps.passes import FitMaps
from gazeray.studies.score_maps.source import MapsPlan, open_maps
from gazeray.study import Finished, Items, Pass, Predictor, Ready, Row, Source
from gazeray.tables import DataError
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

__all__ = ["ScoreMapsConfig", "ScoreMapsStudy"]

FORMAT = 4
"""Raised when maps that an older version brought to the grid can no longer be used."""


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
        """See `open_maps`. Raises ConfigError, DataError."""
        return open_maps(self.cfg)

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
