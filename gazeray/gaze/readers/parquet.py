# SPDX-License-Identifier: Apache-2.0
"""Parquet files: the same contract as delimited text. Numeric columns may also be stored as text."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gazeray.gaze.readers.base import GazeSpec, GazeTable, ReadError, register_reader, unpacked
from gazeray.gaze.readers.cells import check_columns, gaze_table, wanted_columns


@register_reader("parquet")
def read_parquet(
    data: bytes, source: str, spec: GazeSpec, fixed: Mapping[str, str], beside: Mapping[str, bytes]
) -> GazeTable:
    """Read one Parquet file; see `Reader`.

    Raises ReadError: empty, not Parquet or truncated, no rows, missing column, a column that does not hold numbers.
    """
    wanted = wanted_columns(spec, fixed)
    try:
        file = pq.ParquetFile(io.BytesIO(unpacked(data, source)))
        check_columns(wanted, file.schema_arrow.names, source)
        table = file.read(columns=list(dict.fromkeys(wanted.values())))
    except (pa.ArrowException, OSError) as error:
        raise ReadError(source, f"not a readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise ReadError(source, "a header without rows")
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    return gaze_table(table, rows, table.num_rows, source, spec, fixed)
