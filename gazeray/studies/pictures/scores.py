# SPDX-License-Identifier: Apache-2.0
"""Maps against people: every metric of a batch of maps on the grid, and what the pictures' scores add up to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gazeray.metrics import saliency
from gazeray.metrics.resampling import grid_cells
from gazeray.metrics.statistics import bootstrap_interval
from gazeray.studies.pictures.config import Metric, ScoreConfig
from gazeray.studies.pictures.passes import PictureData

MAPS_AT_ONCE = 32

LEAST_LOG_DENSITY = -1e4
"""A density of 0 is ranked as this."""


@dataclass(frozen=True)
class ScoredMap:
    """One map to score against the people who looked at one picture.

    values: (h, w), a log-density (natural log, sums to 1 over the grid) where `density`, else any saliency map.
    cells: (N, 2) the fixations it is scored on. target: (h, w), the human map, None where none is to be compared with.
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


class Scorer:
    """Scores maps with the metrics of the config."""

    def __init__(self, cfg: ScoreConfig, pool: ShuffledNegatives, seed: int, device: torch.device) -> None:
        self.cfg, self.pool, self.seed, self.device = cfg, pool, seed, device

    def score(self, shown: Sequence[ScoredMap]) -> list[dict[str, float]]:
        """{metric: value} of each map, in order; NaN where a metric is not defined."""
        scores: list[dict[str, float]] = [{} for _ in shown]
        groups: dict[tuple[tuple[int, ...], bool, bool], list[int]] = {}
        for number, one in enumerate(shown):
            groups.setdefault((one.values.shape, one.density, one.target is None), []).append(number)
        for numbers in groups.values():
            for start in range(0, len(numbers), MAPS_AT_ONCE):
                some = numbers[start : start + MAPS_AT_ONCE]
                values = self._batch([shown[number] for number in some])
                for place, number in enumerate(some):
                    scores[number] = {name: float(column[place]) for name, column in values.items()}
        return scores

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

    def _tensor(self, maps: Sequence[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(maps)).to(self.device, torch.float32)


@dataclass(frozen=True)
class _View:
    """A batch of maps as the metrics want it: values to rank, saliency, log-density."""

    values: torch.Tensor
    map: torch.Tensor
    log_density: torch.Tensor
    fixations: torch.Tensor
    target: torch.Tensor | None


def row(values: np.ndarray, gain_over: np.ndarray | None, gain_name: str | None, draws: np.ndarray) -> dict[str, Any]:
    """One predictor's entry for one metric: mean over pictures, interval, paired gain over another predictor.

    values, gain_over: (P,) per picture, NaN where undefined. draws: (R, P) how often each picture is drawn.
    """
    mean, interval = mean_and_interval(values, draws)
    entry: dict[str, Any] = {"value": mean, "ci95": interval, "n": int(np.isfinite(values).sum())}
    if gain_over is not None:
        gain, gain_interval = mean_and_interval(values - gain_over, draws)
        entry["gain"] = {"over": gain_name, "value": gain, "ci95": gain_interval}
    return entry


def mean_and_interval(values: np.ndarray, draws: np.ndarray) -> tuple[float | None, list[float] | None]:
    """The mean over the pictures where `values` (P,) is defined, and its bootstrap interval. None: undefined."""
    defined = np.isfinite(values)
    if not defined.any():
        return None, None
    kept = np.where(defined, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = (draws @ kept) / (draws @ defined.astype(np.float64))
    interval = bootstrap_interval(replicates) if defined.sum() > 1 else None
    return float(values[defined].mean()), None if interval is None else list(interval)


def ratio_and_interval(
    above: np.ndarray, below: np.ndarray, draws: np.ndarray
) -> tuple[float | None, list[float] | None]:
    """The ratio of two means over the same pictures, and its bootstrap interval; None where `below` is not positive."""
    defined = np.isfinite(above) & np.isfinite(below)
    if not defined.any() or below[defined].mean() <= 0:
        return None, None
    upper, lower = (draws @ np.where(defined, values, 0.0) for values in (above, below))
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = np.where(lower > 0, upper / lower, np.nan)
    interval = bootstrap_interval(replicates) if defined.sum() > 1 else None
    return float(above[defined].mean() / below[defined].mean()), None if interval is None else list(interval)


def picture_draws(n_pictures: int, resamples: int, seed: int) -> np.ndarray:
    """(R, P) float64: how often each picture is drawn in each bootstrap resample."""
    share = np.full(n_pictures, 1.0 / n_pictures)
    return np.random.default_rng(seed).multinomial(n_pictures, share, size=resamples).astype(np.float64)


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several scores per metric, over those that are defined; NaN where none is."""
    names = scores[0] if scores else {}
    columns = {name: np.array([one[name] for one in scores]) for name in names}
    return {
        name: float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
        for name, values in columns.items()
    }
