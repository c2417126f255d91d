# SPDX-License-Identifier: Apache-2.0
"""Channels (pupils, skin conductance, heart rate, ...) that the exports of a vendor are known to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gazeray.gaze.readers.vendor_tables import Cells, Channels, Sheet, channel_columns, declared_channels


@dataclass(frozen=True)
class Known:
    """A column that software of a vendor writes.

    unit      of the channel: that of the column times `factor`
    validity  the column that is above 0 where the value is valid; "": there is none
    most      above it half of the values cannot be: then the column has the unit of the channel already
    positive  0 and below stand for no value
    """

    column: str
    unit: str
    validity: str = ""
    factor: float = 1.0
    positive: bool = True
    most: float = np.inf


Vocabulary = Mapping[str, Sequence[Known]]
"""Our name of a channel -> the columns that may hold it; the first that a file has is taken."""


def channels_of(sheet: Sheet, known: Vocabulary) -> tuple[list[str], list[str]]:
    """The columns of text and of numbers to read (as `text` and `channels` of `Sheet.read`) for `channel_values`.

    Raises ReadError when a declared column is not there.
    """
    words, values = channel_columns(sheet)
    for column, validity, _ in _found(sheet, known).values():
        values += [column, *([validity] if validity else [])]
    return words, values


def channel_values(cells: Cells, known: Vocabulary) -> Channels:
    """The channels for `build`: those of `known` that have any valid value, and in their place those declared."""
    channels = Channels()
    for name, (column, validity, one) in _found(cells.sheet, known).items():
        values = cells.values(column)
        lost = np.isnan(values) | (values <= 0 if one.positive else False)
        if validity:
            lost |= ~(cells.values(validity) > 0)
        if not lost.all():
            factor = one.factor if np.median(values[~lost]) * one.factor <= one.most else 1.0
            channels[name] = np.where(lost, np.nan, values * factor), one.unit
    return channels | declared_channels(cells)


def _found(sheet: Sheet, known: Vocabulary) -> dict[str, tuple[str, str, Known]]:
    """Our name -> the column, that of its validity ("": none) and what is known of it, for what is not declared."""
    found = {}
    for name, columns in known.items():
        own = next((one for one in columns if sheet.find(one.column)), None)
        if own is not None and name not in sheet.file.spec.channels:
            found[name] = sheet.find(own.column) or "", (own.validity and sheet.find(own.validity)) or "", own
    return found
