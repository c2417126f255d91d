# SPDX-License-Identifier: Apache-2.0
"""Parquet files: the same contract as delimited text. Numeric columns may also be stored as text."""

from __future__ import annotations

import numpy as np

from gazeray.gaze.readers.base import TIMES, GazeFile, GazeTable, register_reader
from gazeray.gaze.readers.cells import gaze_table, parquet_columns, wanted_columns


@register_reader("parquet")
def read_parquet(file: GazeFile) -> GazeTable:
    """Read one Parquet file; see `Reader`.

    Raises ReadError: empty, not Parquet or truncated, no rows, missing column, a column that does not hold numbers.
    """
    wanted = wanted_columns(file)
    table = parquet_columns(file.unpacked(), file.source, wanted)
    columns = {ours: (theirs, table[theirs]) for ours, theirs in wanted.items()}
    units = {name: file.spec.unit(name) for name in TIMES[file.spec.kind]}
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return gaze_table(file, columns, units, rows, table.num_rows, missing=file.spec.missing)
