# SPDX-License-Identifier: Apache-2.0
"""Readers: from the bytes of a gaze file to a table in ms. `READERS` holds them by name."""

from __future__ import annotations

from gazeray.gaze.readers import delimited, parquet
from gazeray.gaze.readers.base import READERS, GazeTable, ReadError, register_reader

__all__ = ["READERS", "GazeTable", "ReadError", "delimited", "parquet", "register_reader"]
