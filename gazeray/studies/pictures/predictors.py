# SPDX-License-Identifier: Apache-2.0
"""Baselines and ceilings of pictures as a predictor, and what every predictor of pictures shares.

A unit leaves `scores.parquet` (one row per picture and predictor) and `maps.safetensors` (float16, by
`<predictor>/<stimulus>`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gazeray.metrics.saliency import as_log_density
from gazeray.studies.pictures.baselines import BASELINES, CEILINGS, Counts, baselines, ceilings, shown
from gazeray.studies.pictures.config import PictureScoring
from gazeray.studies.pictures.passes import PictureData, PictureInfo, PictureShards
from gazeray.studies.pictures.scores import ScoredMap, Scorer, ScoreTable, ShuffledNegatives
from gazeray.study import Row
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

PICTURES_PER_UNIT = 100
"""Ceilings of many observers take seconds per picture: the units of a large set are so small."""


@dataclass(frozen=True)
class Everybody:
    """Where people looked on all pictures: what the units of one worker share."""

    cfg: PictureScoring
    shards: PictureShards
    counts: Counts
    negatives: ShuffledNegatives

    @classmethod
    def shared(cls, cfg: PictureScoring, shards: PictureShards, worker: Worker) -> Everybody:
        """The fixations of all pictures are added up once per worker."""

        def added_up() -> Everybody:
            total = sum(info.n_fixations for info in shards.pictures)
            negatives = ShuffledNegatives.of(shards, total, cfg.score.max_negatives, cfg.run.seed)
            return cls(cfg, shards, Counts.of(shards, shards.folds, maps=total == 0), negatives)

        return worker.once(("everybody", shards.store.folder.uri), added_up)

    def chosen(self, infos: Sequence[PictureInfo]) -> Iterator[PictureData]:
        """Some pictures, shard by shard."""
        wanted = {info.stimulus for info in infos}
        for key in dict.fromkeys(info.shard for info in infos):
            yield from (picture for picture in self.shards.load(key) if picture.info.stimulus in wanted)

    def score_table(self, worker: Worker) -> ScoreTable:
        """An empty table of scores."""
        return ScoreTable(Scorer(self.cfg.score, self.negatives, self.cfg.run.seed, worker.device))


def parts_of(shards: PictureShards, fold: int) -> list[list[PictureInfo]]:
    """The judged pictures of a fold in parts, each a unit's work; at least one, which may be empty."""
    infos = [info for info in shards.judged if info.fold == fold]
    count = max(1, -(-len(infos) // PICTURES_PER_UNIT))
    return [infos[part * len(infos) // count : (part + 1) * len(infos) // count] for part in range(count)]


@dataclass(frozen=True)
class PictureBaselines:
    """Predictors that never look at the picture, and ceilings from its own observers: a unit per part of a fold."""

    cfg: PictureScoring
    shards: PictureShards
    round: int = 0

    @property
    def rows(self) -> Mapping[str, Row]:
        """One for each baseline and ceiling."""
        kinds = {name: Row(label, "baseline") for name, label in BASELINES.items()}
        return kinds | {name: Row(label, "ceiling") for name, label in CEILINGS.items()}

    def units(self) -> list[UnitSpec]:
        """One per fold, several where a fold has many pictures."""
        parts = {fold: len(parts_of(self.shards, fold)) for fold in range(self.shards.folds)}
        return [
            UnitSpec(f"baselines-fold-{fold}" + f"-part-{part}" * (count > 1), {"fold": fold, "part": part})
            for fold, count in parts.items()
            for part in range(count)
        ]

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        """Draw, score and keep the maps of one part."""
        cfg, px_per_deg = self.cfg, self.shards.px_per_deg
        everybody = Everybody.shared(cfg, self.shards, worker)
        table = everybody.score_table(worker)
        for picture in everybody.chosen(parts_of(self.shards, unit.spec["fold"])[unit.spec["part"]]):
            drawn = baselines(picture, everybody.counts, cfg.targets, px_per_deg)
            table.add_each([(name, picture, one) for name, one in drawn.items()])
            bias = drawn["centre_bias"].values
            table.keep("centre_bias", picture, bias)
            if not cfg.baselines.observers or not len(picture.x_px):
                continue
            for name, several in ceilings(picture, bias, cfg.targets, px_per_deg, cfg.baselines.splits, cfg.run.seed):
                table.add(name, picture, several)
                if name == "gold_standard":
                    mean = np.log(np.mean([np.exp(one.values) for one in several], axis=0))
                    table.keep(name, picture, mean)
        return table.write(out.folder)


def score_predictions(
    everybody: Everybody, table: ScoreTable, predictor: str, predicted: Iterable[tuple[PictureData, np.ndarray]],
    density: bool,
) -> None:  # fmt: skip
    """Score one map (h, w) per picture in batches, and keep them as log-densities."""
    waiting: list[tuple[str, PictureData, ScoredMap]] = []
    for picture, values in predicted:
        waiting.append((predictor, picture, shown(picture, values, density, everybody.counts.centre_bias(picture))))
        log_density = values if density else as_log_density(torch.tensor(values)[None])[0].numpy()
        table.keep(predictor, picture, log_density)
        if len(waiting) == 32:
            table.add_each(waiting)
            waiting = []
    if waiting:
        table.add_each(waiting)
