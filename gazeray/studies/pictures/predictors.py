# SPDX-License-Identifier: Apache-2.0
"""What the workers do with the units of a picture study: predict, score, and write the scores and the maps down.

A unit leaves `scores.parquet` (one row per picture and predictor) and `maps.safetensors` (float16, by
`<predictor>/<stimulus>`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from gazeray.metrics.saliency import as_log_density
from gazeray.studies.pictures.baselines import Counts, baselines, ceilings, shown
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import PictureData, PictureInfo, PictureShards
from gazeray.studies.pictures.scores import ScoredMap, Scorer, ScoreTable, ShuffledNegatives

PICTURES_PER_UNIT = 100
"""Ceilings of many observers take seconds per picture: the units of a large set are so small."""

T = TypeVar("T")


class LRUCache:
    """What was read of late, up to a number of bytes; what was not used for longest goes first."""

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self.entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def get(self, key: str, read: Callable[[], T], size: Callable[[T], int]) -> T:
        """The entry of that key, read where it is not kept."""
        if key in self.entries:
            self.entries.move_to_end(key)
            kept: T = self.entries[key][0]
            return kept
        value = read()
        own = size(value)
        if own <= self.most_bytes:
            self.entries[key] = value, own
            self.bytes += own
            while self.bytes > self.most_bytes:
                _, (_, gone) = self.entries.popitem(last=False)
                self.bytes -= gone
        return value


@dataclass
class Shared:
    """What the units of one worker share."""

    cfg: PictureScoring
    shards: PictureShards
    kept: LRUCache
    counts: Counts
    pool: ShuffledNegatives

    def shard(self, key: str) -> list[PictureData]:
        """The pictures of one shard."""
        return self.kept.get(f"pictures/{key}", lambda: self.shards.load(key), _bytes_of_pictures)

    def pictures(self) -> Iterator[PictureData]:
        """All pictures, shard by shard."""
        for key in self.shards.shards:
            yield from self.shard(key)

    def chosen(self, infos: Sequence[PictureInfo]) -> Iterator[PictureData]:
        """Some pictures, shard by shard."""
        wanted = {info.stimulus for info in infos}
        for key in dict.fromkeys(info.shard for info in infos):
            yield from (picture for picture in self.shard(key) if picture.info.stimulus in wanted)


def _bytes_of_pictures(pictures: Sequence[PictureData]) -> int:
    return sum(one.x_px.nbytes + one.y_px.nbytes + one.observer.nbytes + one.target.nbytes for one in pictures)


def parts_of(shards: PictureShards, fold: int) -> list[list[PictureInfo]]:
    """The judged pictures of a fold in parts, each a unit's work; at least one, which may be empty."""
    infos = [info for info in shards.judged if info.fold == fold]
    count = max(1, -(-len(infos) // PICTURES_PER_UNIT))
    return [infos[part * len(infos) // count : (part + 1) * len(infos) // count] for part in range(count)]


@dataclass(frozen=True)
class PictureWork:
    """What a worker does; see the module. A unit's spec: `kind`, and what that kind needs."""

    cfg: PictureScoring
    shards: PictureShards

    def open(self) -> Shared:
        """Once per worker: the fixations of all pictures, added up."""
        kept = LRUCache(self.cfg.data.cache_gb * 1e9)
        shared = Shared(
            self.cfg, self.shards, kept, Counts(np.empty(0), [], False), ShuffledNegatives(np.empty(0), np.empty(0))
        )
        seed, most = self.cfg.run.seed, self.cfg.score.max_negatives
        total = sum(info.n_fixations for info in self.shards.pictures)
        shared.counts = Counts.of(shared.pictures(), self.cfg.folds.outer, maps=total == 0)
        shared.pool = ShuffledNegatives.of(shared.pictures(), total, most, seed)
        return shared

    def run(self, shared: Shared, unit: Any, folder: Any, device: torch.device) -> dict[str, Any]:
        """Do one unit and write its files; returns what goes into its result."""
        sheet = ScoreTable(Scorer(self.cfg.score, shared.pool, self.cfg.run.seed, device))
        found = self.predict(shared, unit.spec, sheet, folder, device)
        return {**found, **sheet.write(folder.folder)}

    def predict(
        self, shared: Shared, spec: Mapping[str, Any], sheet: ScoreTable, folder: Any, device: torch.device
    ) -> dict[str, Any]:
        """Fill the sheet; returns further entries for the unit's result. Here: baselines and ceilings of a part."""
        cfg, px_per_deg = self.cfg, self.shards.px_per_deg
        for picture in shared.chosen(parts_of(self.shards, spec["fold"])[spec["part"]]):
            drawn = baselines(picture, shared.counts, cfg.targets, px_per_deg)
            sheet.add_each([(name, picture, one) for name, one in drawn.items()])
            bias = drawn["centre_bias"].values
            sheet.keep("centre_bias", picture, bias)
            if not cfg.baselines.observers or not len(picture.x_px):
                continue
            for name, several in ceilings(picture, bias, cfg.targets, px_per_deg, cfg.baselines.splits, cfg.run.seed):
                sheet.add(name, picture, several)
                if name == "gold_standard":
                    mean = np.log(np.mean([np.exp(one.values) for one in several], axis=0))
                    sheet.keep(name, picture, mean)
        return {}


def score_predictions(
    shared: Shared,
    sheet: ScoreTable,
    predictor: str,
    predicted: Iterable[tuple[PictureData, np.ndarray]],
    density: bool,
) -> None:
    """Score one map (h, w) per picture in batches, and keep them as log-densities."""
    waiting: list[tuple[str, PictureData, ScoredMap]] = []
    for picture, values in predicted:
        waiting.append((predictor, picture, shown(picture, values, density, shared.counts.centre_bias(picture))))
        log_density = values if density else as_log_density(torch.from_numpy(values)[None])[0].numpy()
        sheet.keep(predictor, picture, log_density)
        if len(waiting) == 32:
            sheet.add_each(waiting)
            waiting = []
    if waiting:
        sheet.add_each(waiting)
