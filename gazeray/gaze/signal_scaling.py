# SPDX-License-Identifier: Apache-2.0
"""Channels of any unit as numbers of about the same size, lost values as 0 beside a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gazeray.gaze.signals_config import SignalsConfig

PUBLISHED = {"x": (0.0, 1.0), "y": (0.0, 1.0), "pupil_mm": (3.0, 0.4), "heart_rate": (80.0, 15.0)}
"""Channel -> what is taken off, and what it is divided by, as published; all others: the mean and the spread that they
have in each trial."""


@dataclass(frozen=True)
class Scaler:
    """What is taken off each channel and what it is then divided by, fitted without any label.

    people   whose row `mean` and `spread` have; none: the one row there is holds for all
    mean     (1 or people, C) float32
    spread   (1 or people, C) float32, above 0
    own      (C,) bool: by its mean and spread in each trial, those above do not count
    """

    people: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    own: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, participants: Sequence[str], names: Sequence[str], cfg: SignalsConfig) -> Self:
        """A scaler for series (N, C, S), NaN = lost, of trials of `participants` (N,).

        With signals.scale "training_people" they are those of the training people alone; with "participant" those of
        all whose trials shall ever be scaled, since each is scaled by mean and spread of the own trials. A channel that
        somebody never has, or that never changes, has spread 1 there.
        """
        nobody = np.zeros(len(names), dtype=bool)
        if cfg.scale == "published":
            constants = np.array([PUBLISHED.get(name, (0.0, 1.0)) for name in names], np.float32).reshape(-1, 2).T
            own = np.array([name not in PUBLISHED for name in names], dtype=bool)
            return cls((), constants[:1], constants[1:], own)
        if cfg.scale == "training_people":
            return cls((), *_moments(values, np.zeros(len(values), dtype=np.intp), 1), nobody)
        people, rows = np.unique(np.asarray(participants, dtype=str), return_inverse=True)
        return cls(tuple(people.tolist()), *_moments(values, rows.ravel(), len(people)), nobody)

    def apply(self, values: Tensor | np.ndarray, participants: Sequence[str] = ()) -> Tensor:
        """Series (B, C, S) as (B, 2 C, S) float32 on their device: the scaled channels with 0 where they are lost, then
        for each its mask, 1 where it is there.

        participants: whose they are, (B,); needed where the scaler has people. Raises ValueError for one it has not.
        """
        series = torch.as_tensor(values)
        there = ~series.isnan()
        mean, spread = (self._rows(table, participants).to(series.device) for table in (self.mean, self.spread))
        if self.own.any():
            mean, spread = self._of_trials(series, there, mean, spread)
        scaled = torch.where(there, (series.float() - mean[:, :, None]) / spread[:, :, None], 0.0)
        return torch.cat([scaled, there.float()], dim=1)

    def _rows(self, table: np.ndarray, participants: Sequence[str]) -> Tensor:
        if not self.people:
            return torch.as_tensor(table)
        row_of = {name: row for row, name in enumerate(self.people)}
        strangers = sorted({name for name in participants if name not in row_of})
        if strangers or not participants:
            raise ValueError(f"signals.scale is participant, and nothing is known of: {', '.join(strangers) or 'whom'}")
        return torch.as_tensor(table[[row_of[name] for name in participants]])

    def _of_trials(self, series: Tensor, there: Tensor, mean: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """`mean` and `spread` (B, C) with those of each trial for the channels that have `own`."""
        own = torch.as_tensor(self.own, device=series.device)
        exact = torch.where(there, series.double(), 0.0)
        count = there.sum(dim=2).clamp(min=1)
        means = exact.sum(dim=2) / count
        spreads = (torch.where(there, exact - means[:, :, None], 0.0).square().sum(dim=2) / count).sqrt()
        spreads = torch.where(spreads > _least(means), spreads, 1.0)
        return torch.where(own, means.float(), mean), torch.where(own, spreads.float(), spread)


def _least(means: Any) -> Any:
    """Spreads up to here are rounding: float32 keeps seven digits."""
    return 1e-6 * abs(means) + 1e-12


def _moments(values: np.ndarray, rows: np.ndarray, many: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population spread of each channel in each group of trials, (many, C) float32. rows: (N,), the group."""
    mean, spread = np.zeros((2, many, values.shape[1]))
    for channel in range(values.shape[1]):
        own = values[:, channel].astype(np.float64)
        there = ~np.isnan(own)
        count = np.maximum(np.bincount(rows, there.sum(axis=1), many), 1)
        mean[:, channel] = np.bincount(rows, np.where(there, own, 0.0).sum(axis=1), many) / count
        apart = np.where(there, own - mean[rows, channel, None], 0.0)
        spread[:, channel] = np.sqrt(np.bincount(rows, np.square(apart).sum(axis=1), many) / count)
    spread[spread <= _least(mean)] = 1.0
    return mean.astype(np.float32), spread.astype(np.float32)
