# SPDX-License-Identifier: Apache-2.0
"""What a Tobii export holds besides gaze: the size of the pupils, skin conductance, and what a declaration names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gazeray.gaze.readers.tobii_columns import key, named
from gazeray.gaze.readers.tobii_parts import Clock, Events
from gazeray.gaze.readers.vendor_tables import Cells, Channels, declared_channels

CHANNELS = {"pupil_left": "mm", "pupil_right": "mm", "pupil": "mm", "gsr": "uS"}
"""Channel -> the unit that the manuals give; the brackets of a column's name may say another."""

NEAR_MS = 1000.0
"""A value of another sensor holds between two of its rows that are no further apart."""


def channels_of(cells: Cells, clock: Clock, ms: np.ndarray, lost: Mapping[str, np.ndarray]) -> Channels:
    """The channels of rows of gaze (N,), NaN elsewhere and where `lost` (by eye, (N,)) says so; `ms` is the time."""
    found = Channels()
    for name, unit in CHANNELS.items():
        if not (theirs := named(cells.sheet, name)):
            continue
        values, tag = cells.values(theirs), key(theirs)[1]
        if name == "gsr":
            values = _along(values, clock, ms)
        else:  # Studio writes -1 for a pupil that is lost
            invalid = lost.get(name.removeprefix("pupil_"), np.zeros(len(values), dtype=bool))
            values = np.where(invalid | (values <= 0), np.nan, values)
        found[name] = values, unit if tag in ("", "gsr", "μs", "µs") else tag
    return found | declared_channels(cells)


def _along(values: np.ndarray, clock: Clock, ms: np.ndarray) -> np.ndarray:
    """The values (N,) of a sensor with rows of its own on the rows of gaze: between two of its rows on the line through
    both, else NaN."""
    found, has = values.copy(), np.isfinite(values) & np.isfinite(ms)
    if has[clock.order].sum() > len(clock.order) / 2:
        return found
    for recording in np.unique(clock.group):
        own = clock.order[clock.group == recording]
        rows = np.flatnonzero(has[own[0] : own[-1] + 1]) + own[0]
        rows = rows[np.argsort(ms[rows], kind="stable")]
        if len(rows) < 2:
            continue
        behind = np.clip(np.searchsorted(ms[rows], ms[own]), 1, len(rows) - 1)
        apart = ms[rows[behind]] - ms[rows[behind - 1]]
        between = (ms[own] >= ms[rows[0]]) & (ms[own] <= ms[rows[-1]]) & (apart <= NEAR_MS)
        found[own] = np.where(between, np.interp(ms[own], ms[rows], values[rows]), np.nan)
    return found


def mean_of_events(channels: Channels, events: Events) -> Channels:
    """The mean of each channel over the rows of a fixation in a presentation, (M,); NaN where it has no value there."""
    found = Channels()
    for name, (values, unit) in channels.items():
        own = values[events.members]
        there = np.isfinite(own)
        n = np.bincount(events.member_of[there], minlength=len(events.rows))
        total = np.bincount(events.member_of[there], weights=own[there], minlength=len(events.rows))
        found[name] = np.where(n > 0, total / np.maximum(n, 1), np.nan), unit
    return found
