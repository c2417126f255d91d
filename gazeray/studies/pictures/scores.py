# SPDX-License-Identifier: Apache-2.0
"""Maps against people: every metric of a batch of maps on the grid, and what the pictures' scores add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save

from gazeray.metrics import saliency
from gazeray.metrics.resampling import grid_cells
from gazeray.storage import Folder
from gazeray.studies.pictures.config import Metric, ScoreConfig
from gazeray.studies.pictures.passes import PictureData

MAPS_AT_ONCE = 32

LEAST_LOG_DENSITY = -1e4
"""A density of 0 is ranked as this."""

SCORES = "scores.parquet"
MAPS = "maps.safetensors"

IDS = ("stimulus", "fold", "predictor", "n_fixations", "why")
"""The columns of a table of scores that are no metric. why: JSON {metric: why it has no value}, "" where all have."""

WITH_HUMAN_MAP = ("cc", "sim", "kl", "emd")
"""The metrics that compare with a human map; the others need fixations."""

ONE_PERSON = "one left-out person’s fixations make no human map to compare with"
NO_FIXATIONS = "the picture has no fixations"
NO_FIXATIONS_AT_ALL = "the data set gives human maps and no fixations"
NO_NEGATIVES = "no other picture has fixations"
ALL_FIXATED = "every cell of the grid is fixated"
FLAT_MAP = "the map is the same everywhere"
FLAT_HUMAN_MAP = "the human map is the same everywhere"
EMPTY_MAP = "the map is 0 everywhere"


@dataclass(frozen=True)
class ScoredMap:
    """One map to score against the people who looked at one picture.

    values: (h, w), a log-density (natural log, sums to 1 over the grid) where `density`, else any saliency map.
    cells: (N, 2) the fixations it is scored on. target: (h, w), the human map; None for the fixations of one person,
    whose map is too noisy to compare with.
    px_per_cell: px of the picture in the width of a cell.
    """

    stimulus: str
    values: np.ndarray
    density: bool
    cells: np.ndarray
    target: np.ndarray | None
    centre_bias: np.ndarray
    px_per_cell: float = 1.0


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

    def others(self, stimulus: str) -> np.ndarray:
        """(M, 2) the relative positions of all other pictures' fixations."""
        return self.relative[self.owner != stimulus]


@dataclass(frozen=True)
class Scores:
    """values: {metric: value}, NaN where it is undefined; why: {metric: the reason} of those."""

    values: Mapping[str, float]
    why: Mapping[str, str] = field(default_factory=dict)


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
                found = self._batch([shown[number] for number in some])
                for place, number in enumerate(some):
                    values = {name: float(column[place]) for name, column in found.items()}
                    why = {name: self._why(name, shown[number]) for name, value in values.items() if np.isnan(value)}
                    scores[number] = Scores(values, why)
        return scores

    def _why(self, name: str, one: ScoredMap) -> str:
        """Why a metric has no value for this map; what `saliency` says of each metric, most general first."""
        if name in WITH_HUMAN_MAP:
            if one.target is None:
                return ONE_PERSON
            return EMPTY_MAP if name != "cc" else FLAT_HUMAN_MAP if np.ptp(one.target) == 0 else FLAT_MAP
        if not len(one.cells):
            return NO_FIXATIONS if len(self.pool.relative) else NO_FIXATIONS_AT_ALL
        return {"auc_shuffled": NO_NEGATIVES, "auc_judd": ALL_FIXATED}.get(name, FLAT_MAP)

    def _batch(self, shown: Sequence[ScoredMap]) -> dict[str, np.ndarray]:
        """The same for maps of one shape and kind: {metric: (B,)}."""
        values = self._tensor([one.values for one in shown])
        fixations = self._rows([one.cells for one in shown])
        log_density = values if shown[0].density else saliency.as_log_density(values)
        view = _View(
            values.clamp(min=LEAST_LOG_DENSITY) if shown[0].density else values,
            log_density.exp() if shown[0].density else values,
            log_density,
            fixations,
            None if shown[0].target is None else self._tensor([one.target for one in shown]),
        )
        return {name: self._metric(name, view, shown).cpu().numpy() for name in self.cfg.metrics}

    def _metric(self, name: Metric, view: _View, shown: Sequence[ScoredMap]) -> torch.Tensor:
        undefined = torch.full((len(shown),), torch.nan, dtype=torch.float64)
        fixations, target = view.fixations, view.target
        if name == "information_gain":
            return saliency.information_gain(
                view.log_density, fixations, self._tensor([one.centre_bias for one in shown])
            )
        if name == "auc_uniform":
            return saliency.auc_uniform(view.values, fixations)
        if name == "auc_judd":
            return saliency.auc_judd(view.values, fixations)
        if name == "auc_borji":
            return saliency.auc_borji(view.values, fixations, seed=self.seed)
        if name == "auc_shuffled":
            return saliency.auc_shuffled(view.values, fixations, self._negatives(shown))
        if name == "nss":
            return saliency.nss(view.map, fixations)
        if target is None:
            return undefined
        if name == "cc":
            return saliency.cc(view.map, target)
        if name == "sim":
            return saliency.sim(view.map, target)
        if name == "kl":
            return saliency.kl(view.map, target)
        px_per_cell = torch.tensor([one.px_per_cell for one in shown], dtype=torch.float64, device=self.device)
        return saliency.emd(view.map, target) * px_per_cell

    def _negatives(self, shown: Sequence[ScoredMap]) -> torch.Tensor:
        """(M, 3) the fixations of other pictures, for each map."""
        known: dict[str, np.ndarray] = {}
        for one in shown:
            if one.stimulus not in known:
                others = self.pool.others(one.stimulus)
                grid = (one.values.shape[0], one.values.shape[1])
                known[one.stimulus] = grid_cells(others[:, 0], others[:, 1], (1, 1), grid)
        return self._rows([known[one.stimulus] for one in shown])

    def _rows(self, cells: Sequence[np.ndarray]) -> torch.Tensor:
        """(N, 3) rows of image in batch, y, x."""
        image = np.repeat(np.arange(len(cells)), [len(some) for some in cells])
        rows = np.concatenate([image[:, None], np.concatenate(cells).reshape(-1, 2)], axis=1)
        return torch.from_numpy(rows.astype(np.int64)).to(self.device)

    def _tensor(self, maps: Sequence[np.ndarray | None]) -> torch.Tensor:
        known = [values for values in maps if values is not None]
        return torch.from_numpy(np.stack(known)).to(self.device, torch.float32)


@dataclass(frozen=True)
class _View:
    """A batch of maps as the metrics want it: values to rank, saliency, log-density."""

    values: torch.Tensor
    map: torch.Tensor
    log_density: torch.Tensor
    fixations: torch.Tensor
    target: torch.Tensor | None


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
        self.add_scores(predictor, picture, mean_scores(self.scorer.score(several)))

    def add_each(self, entries: Sequence[tuple[str, PictureData, ScoredMap]]) -> None:
        """Score one map for each predictor and picture, together."""
        scores = self.scorer.score([one for _, _, one in entries])
        for (predictor, picture, _), own in zip(entries, scores, strict=True):
            self.add_scores(predictor, picture, own)

    def add_scores(self, predictor: str, picture: PictureData, scores: Scores) -> None:
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
        means: dict[str, dict[str, float | None]] = {}
        for predictor in dict.fromkeys(row["predictor"] for row in self.rows):
            theirs = [row for row in self.rows if row["predictor"] == predictor]
            names = [name for name in theirs[0] if name not in IDS]
            mean = mean_scores([Scores({name: row[name] for name in names}) for row in theirs]).values
            means[predictor] = {name: value if np.isfinite(value) else None for name, value in mean.items()}
        pictures = len({row["stimulus"] for row in self.rows})
        return {"pictures": pictures, "means": means, "said": _said(pictures, means)}


def _said(pictures: int, means: Mapping[str, Mapping[str, float | None]]) -> str:
    """A line for the progress: how many pictures, and the first metric of the only (or number of) predictors."""
    if len(means) != 1:
        return f"{pictures} pictures, {len(means)} predictors"
    first, value = next(iter(next(iter(means.values())).items()))
    return f"{pictures} pictures" + ("" if value is None else f", {first.replace('_', ' ')} {value:.3f}")


def scores_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows as a table: the columns IDS, then one float64 column per metric, null where undefined."""
    rows = [
        {name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in row.items()}
        for row in rows
    ]
    text, whole = pa.string(), pa.int32()
    types = dict(zip(IDS, (text, whole, text, whole, text), strict=True))
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(IDS)
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, types.get(name, pa.float64())) for name in names]))
