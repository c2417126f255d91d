# SPDX-License-Identifier: Apache-2.0
"""What stands beside every model: predictors that never look at the picture, and ceilings from its own observers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from gazeray.metrics.resampling import grid_cells
from gazeray.models.fixation_density import centre_bias, inter_observer
from gazeray.models.fixation_density.centre_bias import CELLS, CentreBias
from gazeray.stimuli.human_maps import draw_target
from gazeray.stimuli.readers.base import NO_OBSERVER, Gaze
from gazeray.stimuli.recipes import TargetConfig
from gazeray.studies.pictures.passes import PictureData
from gazeray.studies.pictures.scores import ScoredMap

BASELINES = {
    "uniform": "uniform",
    "centre_quarter": "centre, sigmas W/4 and H/4",
    "centre": "centre, Gaussian fitted to the other pictures",
    "mean_of_others": "mean map of the other pictures",
    "centre_bias": "centre bias, density of the other pictures",
}
CEILINGS = {
    "other_observers": "map of the other observers",
    "gold_standard": "gold standard, leave one observer out",
    "split_half": "half of the observers by the other half",
}
DENSITIES = {"uniform", "centre_quarter", "centre", "centre_bias", "gold_standard"}


@dataclass(frozen=True)
class Counts:
    """Where people looked on all pictures together, on relative coordinates, (CELLS, CELLS) int64, fold by fold.

    maps: there is no fixation on any picture, and the human maps stand in; else pictures without fixations count for
    nothing.
    """

    folds: np.ndarray
    bias: list[CentreBias]
    maps: bool

    @classmethod
    def of(cls, data: Iterable[PictureData], folds: int, maps: bool) -> Counts:
        """Add up the pictures of each fold, and fit the centre bias to each fold's other folds."""
        counts = np.zeros((folds, CELLS, CELLS), np.int64)
        for picture in data:
            counts[picture.info.fold] += counts_of(picture, maps)
        return cls(counts, centre_bias.fit_centre_bias(counts), maps)

    def others(self, picture: PictureData) -> np.ndarray:
        """The counts of all other pictures."""
        return np.asarray(self.folds.sum(axis=0) - counts_of(picture, self.maps))

    def centre_bias(self, picture: PictureData) -> np.ndarray:
        """The log-density (h, w) of the other pictures, smoothed as suits the other folds."""
        return self.bias[picture.info.fold].log_density(self.others(picture), picture.grid)


def counts_of(picture: PictureData, maps: bool) -> np.ndarray:
    """A picture's fixations, or (`maps`) its human map, which stands for a million, as (CELLS, CELLS) int64 counts."""
    if not maps:
        return centre_bias.relative_counts(picture.x_px, picture.y_px, picture.size_px)
    height, width = picture.grid
    rows, columns = np.indices((CELLS, CELLS))
    spread = picture.target[rows * height // CELLS, columns * width // CELLS].astype(np.float64)
    return np.round(spread / spread.sum() * 1_000_000).astype(np.int64)


def baselines(
    picture: PictureData, counts: Counts, targets: TargetConfig, px_per_deg: float | None
) -> dict[str, ScoredMap]:
    """The maps of BASELINES for one picture."""
    others, grid = counts.others(picture), picture.grid
    sigma_px = targets.sigma_of(picture.size_px[0], px_per_deg)
    bias = counts.centre_bias(picture)
    maps = {
        "uniform": centre_bias.uniform(grid),
        "centre_quarter": centre_bias.centre_quarter(grid),
        "centre": centre_bias.centre_gaussian(others, grid),
        "mean_of_others": centre_bias.mean_of_others(others, picture.size_px, grid, sigma_px),
        "centre_bias": bias,
    }
    return {name: shown(picture, values, name in DENSITIES, bias) for name, values in maps.items()}


def shown(picture: PictureData, values: np.ndarray, density: bool, bias: np.ndarray) -> ScoredMap:
    """A map of a picture against all its fixations and its human map."""
    px_per_cell = picture.info.width_px / picture.grid[1]
    known = picture.info.stimulus, values, density, picture.cells, picture.target, bias, px_per_cell
    return ScoredMap(*known, picture.fixated(), picture.share)


def ceilings(
    picture: PictureData, bias: np.ndarray, targets: TargetConfig, px_per_deg: float | None, splits: int, seed: int
) -> Iterator[tuple[str, list[ScoredMap]]]:
    """The maps of CEILINGS for one picture, several each: their scores are averaged. Left out where undefined.

    Fixations of which nobody knows whose they are take no part.
    """
    known = picture.observer != NO_OBSERVER
    picture = replace(picture, x_px=picture.x_px[known], y_px=picture.y_px[known], observer=picture.observer[known])
    x, y, who, size, grid = picture.x_px, picture.y_px, picture.observer, picture.size_px, picture.grid
    sigma_px = targets.sigma_of(size[0], px_per_deg)
    gold = inter_observer.gold_standard(x, y, who, size, grid, bias)
    if gold is not None:
        yield "gold_standard", _left_out(picture, gold.observers, gold.log_density, True, bias)
    others = inter_observer.other_observers(x, y, who, size, grid, sigma_px)
    if others is not None:
        yield "other_observers", _left_out(picture, *others, False, bias)
    halves = []
    for first, second in inter_observer.split_halves(who, splits, seed):
        for seen, judged in ((first, second), (second, first)):
            gaze = [Gaze(x[part], y[part], who[part]) for part in (seen, judged)]
            maps = [draw_target(one, size, grid, targets, px_per_deg) for one in gaze]
            cells = grid_cells(x[judged], y[judged], size, grid)
            one = shown(picture, maps[0], False, bias)
            halves.append(replace(one, cells=cells, fixated=picture.fixated(judged), target=maps[1]))
    if halves:
        yield "split_half", halves


def _left_out(
    picture: PictureData, who: np.ndarray, maps: np.ndarray, density: bool, bias: np.ndarray
) -> list[ScoredMap]:
    """A map for each observer, against this observer's fixations; one person's map is too noisy to compare with."""
    cells, left_out = picture.cells, []
    for observer, values in zip(who, maps, strict=True):
        theirs = picture.observer == observer
        one = ScoredMap(picture.info.stimulus, values, density, cells[theirs], None, bias)
        left_out.append(replace(one, fixated=picture.fixated(theirs), share=picture.share))
    return left_out
