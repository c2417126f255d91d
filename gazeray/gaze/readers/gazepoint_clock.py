# SPDX-License-Identifier: Apache-2.0
"""The two clocks of Gazepoint: TIME, which Analysis begins anew with each medium and the Open Gaze API with each
calibration, and TIMETICK, which goes on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from gazeray.gaze.readers.base import BEGAN_MS, TIME_UNITS_MS
from gazeray.gaze.readers.vendor_tables import Cells

AWAY_MS = 100.0
"""TIMETICK runs ahead of TIME by less from row to row, unless TIME begins anew."""

BACK_MS = 200.0
"""A TIME without TIMETICK that steps back by less is out of order."""

BEGAN = re.compile(r"\((\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)(\.\d+)?\)")
"""What the name of the column of TIME has in brackets: the time of day at which it was 0."""


@dataclass(frozen=True)
class Clock:
    """The clock of the N rows of a file.

    ms     (N,) float64, TIME, NaN where it is none
    media  (N,) int, counts the media as they are shown: up with another medium, and where TIME begins anew
    anew   (N,) bool, where TIME begins anew
    ahead  (N,) float64, by how many ms TIMETICK is ahead of TIME since TIME began; NaN without a TIMETICK
    """

    ms: np.ndarray
    media: np.ndarray
    anew: np.ndarray
    ahead: np.ndarray

    def later(self, keys: np.ndarray) -> np.ndarray:
        """(N,) float64, how many ms later than with the first row of the same key (N,) the TIME of a row began; 0 where
        it is the same TIME, or no TIMETICK tells."""
        later = self.ahead - pd.Series(self.ahead).groupby(keys).transform("first").to_numpy()
        return np.where(later > AWAY_MS, later, 0.0)

    def windows(self, later: np.ndarray, dense: bool) -> np.ndarray:
        """(M, 2) float64, when each of `media` began, ms after `later` (N,), and inf: no fixation outlasts its rows.

        Where TIME went on that is its first row, if the file has every sample (`dense`); else nobody knows.
        """
        first = np.unique(self.media, return_index=True)[1]
        went_on = self.ms[first] if dense else np.full(len(first), -np.inf)
        starts = np.where(self.anew[first] | (first == 0), 0.0, np.where(np.isnan(went_on), -np.inf, went_on))
        return np.column_stack([starts + later[first], np.full(len(first), np.inf)])


def began(time: str) -> dict[str, float]:
    """When a clock began, `BEGAN_MS`, for the header of a table, where the name of the column of TIME says so."""
    named = BEGAN.search(time)
    if named is None:
        return {}
    try:
        moment = datetime.strptime(named[1], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # such as 0000/00/00, of a machine that has no date
        return {}
    return {BEGAN_MS: (moment.timestamp() + float(f"0{named[2] or ''}")) * 1e3}


def in_ms(cells: Cells, column: str | None, name: str = "") -> np.ndarray:
    """The times of a column (N,) in ms: of the unit declared for `name`, else of s. NaN for no column.

    Raises ReadError for a unit that is none of a number.
    """
    if column is None:
        return np.full(len(cells.rows), np.nan)
    unit = cells.sheet.file.spec.units.get(name, "s")
    if unit not in TIME_UNITS_MS:
        raise cells.sheet.error(f"{name}: times of Gazepoint are numbers, not {unit}")
    return cells.values(column) * TIME_UNITS_MS[unit]


def clock_of(cells: Cells, ms: np.ndarray, tick: str | None, medium: str | None) -> Clock:
    """The clock of a file: its TIME in ms (N,), and its columns of TIMETICK and of the medium, if it has them.

    TIME begins anew where TIMETICK runs ahead of it, without a TIMETICK where it steps back by more than BACK_MS; and
    where it steps back with another medium. Rows out of order are no new beginning, nor is a wrong cell between others.
    """
    n, anew, back = len(ms), np.zeros(len(ms), dtype=bool), np.zeros(len(ms), dtype=bool)
    ticks = _ticks_ms(cells, ms, tick)
    falls = -ms if ticks is None else ticks - ms
    rows = np.flatnonzero(~np.isnan(falls))
    least = BACK_MS if ticks is None else AWAY_MS
    rows = rows if ticks is None else rows[~_alone(falls[rows], least)]
    anew[rows[1:]] = np.diff(falls[rows]) > least
    back[rows[1:]] = np.diff(ms[rows]) < 0
    code = cells.blocks(medium, anew) if medium else np.zeros(n, dtype=np.int64)
    other = np.append(False, code[1:] != code[:-1])[:n]
    anew |= other & back
    ahead = np.full(n, np.nan)
    if ticks is not None:
        ahead = pd.Series(ticks - ms).groupby(np.cumsum(anew)).transform("median").to_numpy()
    return Clock(ms, np.cumsum(anew | other), anew, ahead)


def _alone(values: np.ndarray, least: float) -> np.ndarray:
    """(N,) bool, single values that stand out from those before and after them by more than `least`."""
    alone, step = np.zeros(len(values), dtype=bool), np.diff(values)
    far = np.abs(step) > least
    alone[1:-1] = far[:-1] & far[1:] & (step[:-1] * step[1:] < 0)
    return alone


def _ticks_ms(cells: Cells, ms: np.ndarray, tick: str | None) -> np.ndarray | None:
    """TIMETICK in ms (N,); None where there is none, or nothing tells its frequency: neither its name nor TIME."""
    if tick is None:
        return None
    ticks, named = cells.values(tick), re.search(r"f=(\d+)", tick)
    if named and int(named[1]):
        return ticks / int(named[1]) * 1e3
    rows = np.flatnonzero(~np.isnan(ticks) & ~np.isnan(ms))
    step, on = np.diff(ms[rows]), np.diff(ticks[rows])
    good = (step > 0) & (on > 0)
    if good.sum() < 10:
        return None
    rate = on[good] / step[good]
    usual = np.abs(rate / np.median(rate) - 1) < 0.05
    return ticks * (step[good][usual].sum() / on[good][usual].sum())
