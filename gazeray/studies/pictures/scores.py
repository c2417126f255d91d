# SPDX-License-Identifier: Apache-2.0
"""Maps against people: every metric of a batch of maps on the grid, and what the pictures' scores add up to."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save

from gazeray.metrics import saliency
from gazeray.metrics.resampling import grid_cells
from gazeray.report.words import counted
from gazeray.storage import Folder
from gazeray.studies.pictures.config import ScoreConfig
from gazeray.studies.pictures.passes import PictureData

MAPS_AT_ONCE = 32

SCORES = "scores.parquet"
MAPS = "maps.safetensors"

IDS = ("stimulus", "fold", "predictor", "n_fixations", "why")
"""The columns of a table of scores that are no metric. why: JSON {metric: why it has no value}, "" where all have."""

EMPTY_MAP = "the map is 0 everywhere"


@dataclass(frozen=True)
class ScoredMap:
    """One map to score against the people who looked at one picture.

    values: (h, w), a log-density (natural log, sums to 1 over the grid) where `density`, else any saliency map.
    cells: (N, 2) the fixations it is scored on. target: (h, w), the human map; None for the fixations of one person,
    whose map is too noisy to compare with.
    px_per_cell: px of the picture in the width of a cell.
    fixated: (M, 2) the cells of the picture's px that the fixations hit, once each, each `share` of a cell; None: the
    cells that they hit.
    """

    stimulus: str
    values: np.ndarray
    density: bool
    cells: np.ndarray
    target: np.ndarray | None
    centre_bias: np.ndarray
    px_per_cell: float = 1.0
    fixated: np.ndarray | None = None
    share: float = 1.0


@dataclass(frozen=True)
class ShuffledNegatives:
    """Fixations of many pictures: relative (M, 2), owner (M,) the stimulus each belongs to.

    Where the data set holds more than `most`, every picture gives its share of them, drawn by seed.
    """

    relative: np.ndarray
    owner: np.ndarray

    @classmethod
    def of(cls, pictures: Iterable[PictureData], total: int, most: int, seed: int) -> ShuffledNegatives:
        """total: fixations of the whole data set."""
        relative, owner = [], []
        for number, picture in enumerate(pictures):
            theirs = picture.relative
            if total > most and len(theirs):
                rng = np.random.default_rng([seed, number])
                share = max(1, round(most * len(theirs) / total))
                theirs = theirs[np.sort(rng.choice(len(theirs), min(share, len(theirs)), replace=False))]
            relative.append(theirs)
            owner.append(np.full(len(theirs), picture.info.stimulus))
        return cls(np.concatenate(relative), np.concatenate(owner))

    @cached_property
    def _numbered(self) -> tuple[dict[str, int], np.ndarray]:
        """A number for each stimulus, and (M,) the owners' numbers: quicker to compare than their names."""
        names, numbers = np.unique(self.owner, return_inverse=True)
        return {str(name): number for number, name in enumerate(names)}, numbers

    def of_others(self, stimulus: str) -> np.ndarray:
        """(M,) bool: which belong to another picture."""
        number_of, numbers = self._numbered
        return numbers != number_of.get(stimulus, -1)


@dataclass(frozen=True)
class Scores:
    """values: {metric: value}, NaN where it is undefined; why: {metric: the reason} of those."""

    values: dict[str, float]
    why: dict[str, str] = field(default_factory=dict)


class Scorer:
    """Scores maps with the metrics of the config."""

    def __init__(self, cfg: ScoreConfig, pool: ShuffledNegatives, seed: int, device: torch.device) -> None:
        self.cfg, self.pool, self.seed, self.device = cfg, pool, seed, device

    def score(self, shown: Sequence[ScoredMap]) -> list[Scores]:
        """The scores of each map, in order."""
        scores: list[Scores] = [Scores({}) for _ in shown]
        groups: dict[tuple[tuple[int, ...], bool, bool], list[int]] = {}
        for number, one in enumerate(shown):
            groups.setdefault((one.values.shape, one.density, one.target is None), []).append(number)
        for numbers in groups.values():
            for start in range(0, len(numbers), MAPS_AT_ONCE):
                some = numbers[start : start + MAPS_AT_ONCE]
                for number, found in zip(some, self._batch([shown[number] for number in some]), strict=True):
                    scores[number] = found
        return scores

    def _batch(self, shown: Sequence[ScoredMap]) -> list[Scores]:
        """The same for maps of one shape and kind."""
        batch = _Batch(shown, self.pool, self.seed, self.device)
        found = [Scores({}, {}) for _ in shown]
        for name in self.cfg.metrics:
            possible = shown[0].target is not None or not MEASURES[name].needs_human_map
            values = MEASURES[name].of(batch).tolist() if possible else [math.nan] * len(shown)
            for one, value, scores in zip(shown, values, found, strict=True):
                scores.values[name] = value
                if math.isnan(value):
                    scores.why[name] = self._why(name, one)
        return found

    def _why(self, name: str, one: ScoredMap) -> str:
        """Why a metric has no value for this map, most general first."""
        if MEASURES[name].needs_human_map:
            if one.target is None:
                return "one left-out person’s fixations make no human map to compare with"
            if name == "cc" and np.ptp(one.target) == 0:
                return "the human map is the same everywhere"
        elif not len(one.cells):
            known = len(self.pool.relative)
            return "the picture has no fixations" if known else "the data set gives human maps and no fixations"
        return MEASURES[name].undefined


class _Batch:
    """Maps of one shape and kind as the metrics want them, (B, h, w) float32 on the device.

    values: to be ranked. map: as a saliency map. log_density: as a density. fixations: (N, 3) rows of image, y, x.
    """

    def __init__(self, shown: Sequence[ScoredMap], pool: ShuffledNegatives, seed: int, device: torch.device) -> None:
        self.shown, self.pool, self.seed, self.device = shown, pool, seed, device
        given = self._tensor([one.values for one in shown])
        density = shown[0].density
        self.values = given.clamp(min=-1e4) if density else given  # ranks a density of 0
        self.log_density = given if density else saliency.as_log_density(given)
        self.map = given.exp() if density else given
        self.fixations = self._rows([one.cells for one in shown])

    @cached_property
    def target(self) -> torch.Tensor:
        """The human maps."""
        return self._tensor([one.target for one in self.shown if one.target is not None])

    @cached_property
    def centre_bias(self) -> torch.Tensor:
        """Log-densities."""
        return self._tensor([one.centre_bias for one in self.shown])

    @cached_property
    def px_per_cell(self) -> torch.Tensor:
        """(B,) float64."""
        return torch.tensor([one.px_per_cell for one in self.shown], dtype=torch.float64, device=self.device)

    @cached_property
    def fixated(self) -> torch.Tensor:
        """(M, 3) what takes part in no negative of AUC-Judd."""
        return self._rows([np.unique(one.cells, axis=0) if one.fixated is None else one.fixated for one in self.shown])

    @cached_property
    def share(self) -> torch.Tensor:
        """(B,) float64."""
        return torch.tensor([one.share for one in self.shown], dtype=torch.float64, device=self.device)

    @cached_property
    def negatives(self) -> torch.Tensor:
        """(M, 3) the fixations of other pictures, for each map."""
        height, width = self.shown[0].values.shape
        x, y = self.pool.relative.T
        cells = grid_cells(x, y, (1, 1), (height, width)).astype(np.int32).T.copy()
        of_others = {one.stimulus: self.pool.of_others(one.stimulus) for one in self.shown}
        known = {stimulus: np.compress(kept, cells, axis=1).T for stimulus, kept in of_others.items()}
        return self._rows([known[one.stimulus] for one in self.shown])

    def _rows(self, cells: Sequence[np.ndarray]) -> torch.Tensor:
        """(N, 3) int32 rows of image in batch, y, x."""
        lengths = [len(some) for some in cells]
        columns = np.empty((3, sum(lengths)), dtype=np.int32)  # by column, as the metrics check them
        columns[0] = np.repeat(np.arange(len(cells), dtype=np.int32), lengths)
        np.concatenate([some.reshape(-1, 2).T for some in cells], axis=1, out=columns[1:], casting="same_kind")
        return torch.from_numpy(columns).T.to(self.device)

    def _tensor(self, maps: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(maps)).to(self.device, torch.float32)


@dataclass(frozen=True)
class Measure:
    """A metric: how a batch is scored, (B,) float64, and why it is undefined where there is all that it needs.

    needs_human_map: it compares with a human map; the others need fixations.
    """

    of: Callable[[_Batch], torch.Tensor]
    undefined: str = "the map is the same everywhere"
    needs_human_map: bool = False


MEASURES: dict[str, Measure] = {
    "information_gain": Measure(lambda b: saliency.information_gain(b.log_density, b.fixations, b.centre_bias)),
    "auc_uniform": Measure(lambda b: saliency.auc_uniform(b.values, b.fixations)),
    "auc_judd": Measure(
        lambda b: saliency.auc_judd(b.values, b.fixations, b.fixated, b.share), "every pixel is fixated"
    ),
    "auc_borji": Measure(lambda b: saliency.auc_borji(b.values, b.fixations, seed=b.seed)),
    "auc_shuffled": Measure(
        lambda b: saliency.auc_shuffled(b.values, b.fixations, b.negatives), "no other picture has fixations"
    ),
    "nss": Measure(lambda b: saliency.nss(b.map, b.fixations)),
    "cc": Measure(lambda b: saliency.cc(b.map, b.target), needs_human_map=True),
    "sim": Measure(lambda b: saliency.sim(b.map, b.target), EMPTY_MAP, needs_human_map=True),
    "kl": Measure(lambda b: saliency.kl(b.map, b.target), EMPTY_MAP, needs_human_map=True),
    "emd": Measure(lambda b: saliency.emd(b.map, b.target) * b.px_per_cell, EMPTY_MAP, needs_human_map=True),
}


def mean_scores(several: Sequence[Scores]) -> Scores:
    """The mean of several scores per metric, over those that are defined; the commonest reason where none is."""
    columns = {name: np.array([one.values[name] for one in several]) for name in (several[0].values if several else ())}
    values = {
        name: float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else np.nan
        for name, column in columns.items()
    }
    undefined = [name for name, value in values.items() if np.isnan(value)]
    return Scores(values, {name: commonest(one.why.get(name) for one in several) for name in undefined})


def commonest(reasons: Iterable[str | None]) -> str:
    """The reason that is given most often, the first of those that are as often; "" where none is given."""
    counted = Counter(reason for reason in reasons if reason)
    return counted.most_common(1)[0][0] if counted else ""


@dataclass
class ScoreTable:
    """The scores and maps of a unit, as they come."""

    scorer: Scorer
    rows: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, predictor: str, picture: PictureData, several: Sequence[ScoredMap]) -> None:
        """Score the maps of a predictor for one picture; the picture's score is their mean."""
        self._add(predictor, picture, mean_scores(self.scorer.score(several)))

    def add_each(self, entries: Sequence[tuple[str, PictureData, ScoredMap]]) -> None:
        """Score one map for each predictor and picture, together."""
        scores = self.scorer.score([one for _, _, one in entries])
        for (predictor, picture, _), own in zip(entries, scores, strict=True):
            self._add(predictor, picture, own)

    def _add(self, predictor: str, picture: PictureData, scores: Scores) -> None:
        """One row: who predicted which picture, how well, and why not where a metric is undefined."""
        endless = [name for name, value in scores.values.items() if np.isinf(value)]
        if endless:  # a mean without it would flatter, and one with it says nothing
            raise ValueError(f"{picture.info.stimulus}: {', '.join(endless)} of {predictor} is infinite")
        why = json.dumps(scores.why, ensure_ascii=False) if scores.why else ""
        ids = (picture.info.stimulus, picture.info.fold, predictor, len(picture.x_px), why)
        self.rows.append({**dict(zip(IDS, ids, strict=True)), **scores.values})

    def keep(self, predictor: str, picture: PictureData, log_density: np.ndarray) -> None:
        """A map (h, w) for the unit's folder and the report."""
        self.maps[f"{predictor}/{picture.info.stimulus}"] = log_density.astype(np.float16)

    def write(self, folder: Folder) -> dict[str, Any]:
        """Write both files; returns the mean of each metric of each predictor, for the unit's result."""
        folder.write_bytes(MAPS, save(self.maps))
        folder.write_table(SCORES, scores_table(self.rows))
        means, pictures = means_of(self.rows), len({row["stimulus"] for row in self.rows})
        said = f"{counted(pictures, 'picture')}, {counted(len(means), 'predictor')}"
        if len(means) == 1:
            first, value = next(iter(next(iter(means.values())).items()))
            said = counted(pictures, "picture") + ("" if value is None else f", {first.replace('_', ' ')} {value:.3f}")
        return {"pictures": pictures, "means": means, "said": said}


def means_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """{predictor: {metric: the mean over its pictures}} of the rows of a table of scores; None where undefined."""
    means: dict[str, dict[str, float | None]] = {}
    for predictor in dict.fromkeys(row["predictor"] for row in rows):
        theirs = [row for row in rows if row["predictor"] == predictor]
        names = [name for name in theirs[0] if name not in IDS]
        values = [{name: np.nan if row[name] is None else row[name] for name in names} for row in theirs]
        mean = mean_scores([Scores(one) for one in values]).values
        means[predictor] = {name: value if np.isfinite(value) else None for name, value in mean.items()}
    return means


def scores_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table: the columns IDS, then one float64 column per metric, null where undefined."""
    rows = [
        {name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]
    types = {name: pa.int32() if name in ("fold", "n_fixations") else pa.string() for name in IDS}
    names = list(dict.fromkeys(name for row in rows for name in row)) or IDS
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, types.get(name, pa.float64())) for name in names]))
