# SPDX-License-Identifier: Apache-2.0
"""Readers: from the bytes of a gaze file to a table in ms. `READERS` holds them by name."""

from __future__ import annotations

from gazeray.gaze.readers import bids, delimited, eyelink, gazecom, gazepoint, parquet, pupil, smi, tobii
from gazeray.gaze.readers.base import READERS, GazeTable, ReadError, register_reader

__all__ = [
    "READERS",
    "GazeTable",
    "ReadError",
    "bids",
    "delimited",
    "eyelink",
    "gazecom",
    "gazepoint",
    "parquet",
    "pupil",
    "register_reader",
    "smi",
    "tobii",
]
