# SPDX-License-Identifier: Apache-2.0
"""How good the channels of a trial are: the rows of the table `tables.CHANNELS`, and the gate that masks channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gazeray.gaze.signal_grid import Floats


def channels_quality(
    ids: tuple[str, str],
    units: Mapping[str, str],
    time_ms: Floats,
    values: Floats,
    lost: np.ndarray,
    implausible: np.ndarray,
    max_lost_share: Mapping[str, float],
) -> list[dict[str, Any]]:
    """A row of `tables.CHANNELS` for each channel in `units`.

    lost_share         samples that are lost or implausible / samples
    implausible_share  samples that are no lost ones but cannot be / samples; of two eyes, their mean
    longest_gap_ms     the longest time between neighbouring samples that are not lost, or from the first or to the last
                       of all samples
    low, high          the least and the greatest value, with the margins of blinks left out
    flat               all values, of which there are two at least, are the same
    saturated_share    values that are equal to the least or the greatest / values; by nature large for what has few
                       steps, such as a heart rate in whole beats a minute
    gate               why the channel is not used in this trial; "": it is
    All are NaN where there is no sample.

    ids: participant and trial. units: of each channel, by name. time_ms: (N,) of the samples in the window of time.
    values: (C, N), NaN where not there. lost, implausible: (C, N), without margins; the latter 0..1.
    """
    n = max(len(time_ms), 1)
    there = ~np.isnan(values)
    low = np.where(there, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(there, values, -np.inf).max(axis=1, initial=-np.inf)
    count = there.sum(axis=1)
    at_ends = ((values == low[:, None]) | (values == high[:, None])).sum(axis=1)
    measures = np.array(
        [lost.sum(axis=1) / n, implausible.sum(axis=1) / n, longest_gaps_ms(time_ms, ~lost), low, high,
         at_ends / np.maximum(count, 1)]
    )  # fmt: skip
    measures[:, count == 0] = np.where(np.arange(6)[:, None] < 3, measures[:, count == 0], np.nan)
    if not len(time_ms):
        measures[:] = np.nan
    flat = (count > 1) & (low == high)
    rows = []
    for name, (lost_share, wrong, gap, least, most, saturated), same in zip(
        units, measures.T.tolist(), flat.tolist(), strict=True
    ):
        rows.append(
            {
                "participant": ids[0],
                "trial": ids[1],
                "channel": name,
                "unit": units[name],
                "lost_share": lost_share,
                "implausible_share": wrong,
                "longest_gap_ms": gap,
                "low": least,
                "high": most,
                "flat": same,
                "saturated_share": saturated,
                "gate": _gate(name, lost_share, max_lost_share),
            }
        )
    return rows


def longest_gaps_ms(time_ms: Floats, good: np.ndarray) -> Floats:
    """The longest time between neighbouring good samples, or from the first or to the last of all, of each channel
    (C,); `good`: (C, N). NaN where there is no sample."""
    if not len(time_ms):
        return np.full(len(good), np.nan)
    last = np.maximum.accumulate(np.where(good, time_ms, time_ms[0]), axis=1)
    steps = (last[:, 1:] - last[:, :-1]).max(axis=1, initial=0.0)
    return np.asarray(np.maximum(steps, time_ms[-1] - last[:, -1]))


def _gate(name: str, lost_share: float, max_lost_share: Mapping[str, float]) -> str:
    """A loss that is not known passes, as for gaze: then there is nothing to mask."""
    limit = max_lost_share.get(name)
    if limit is None or not lost_share > limit:
        return ""
    return f"lost_share {lost_share:.4g} > signals.max_lost_share.{name} {limit:g}"
