# SPDX-License-Identifier: Apache-2.0
"""Rows as plain values, and digests that tell tables apart."""

from __future__ import annotations

import math

import pandas as pd
import pyarrow as pa
import pytest

from gazeray.tables import plain_rows, table_digest

TABLE = pa.table({"name": ["a", None, "b"], "x": [1.5, None, 2.0], "n": [1, 2, 3], "yes": [True, False, True]})


def test_rows_are_those_of_pandas_in_the_same_types() -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "x": [0.5, math.inf], "n": [1, 2], "none": [None, "c"]})
    found, expected = plain_rows(frame), frame.to_dict("records")
    assert found == expected
    assert [[type(value) for value in row.values()] for row in found] == [
        [type(value) for value in row.values()] for row in expected
    ]
    assert plain_rows(frame[:0]) == []


def test_digest_does_not_depend_on_chunks() -> None:
    parts = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    assert table_digest(parts) == table_digest(TABLE)


@pytest.mark.parametrize(
    "other",
    [
        TABLE.set_column(0, "name", pa.array(["a", "b", None])),
        TABLE.set_column(1, "x", pa.array([1.5, None, 2.0000000000000004])),
        TABLE.set_column(2, "n", pa.array([1, 3, 2])),
        TABLE.set_column(2, "n", pa.array([1.0, 2.0, 3.0])),
        TABLE.set_column(3, "yes", pa.array([True, True, True])),
        TABLE.rename_columns(["name", "x", "n", "no"]),
        TABLE.slice(0, 2),
        TABLE.select(["x", "name", "n", "yes"]),
    ],
)
def test_digest_changes_with_every_value_name_type_and_order(other: pa.Table) -> None:
    assert table_digest(other) != table_digest(TABLE)
