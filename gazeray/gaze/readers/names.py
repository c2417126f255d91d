# SPDX-License-Identifier: Apache-2.0
"""Columns of names (of people, trials, ...) as Arrow has them: text, numbers, dictionaries of either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gazeray.gaze.files import identifier, name_fault, trial_name
from gazeray.gaze.readers.base import ReadError


def different_names(cells: Any) -> tuple[list[str], np.ndarray]:
    """A column of names: the different names, the last of which is "" (none), and (N,) which of them each row has.

    Whole floats read as ints: 3.0 is trial "3". A name that nobody can use (`name_fault`, not UTF-8) is none. Raises
    ValueError for a column of another type.
    """
    encoded = _encoded(cells)
    texts = ["" if name is None or name_fault(name) else name for name in words_of(encoded.dictionary)]
    number = {name: at for at, name in enumerate(dict.fromkeys(filter(None, texts)))}
    code = np.array([number.get(text, len(number)) for text in [*texts, ""]])
    return [*number, ""], code[encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)]


def _encoded(cells: Any) -> Any:
    """A column as one Arrow dictionary array. Raises ValueError for a column of a type without names."""
    cells = cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([cells])
    try:
        encoded = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
    except pa.ArrowNotImplementedError as error:
        raise ValueError(f"has the type {cells.type}, not names") from error
    return pa.chunked_array(encoded.unify_dictionaries().chunks, type=encoded.type).combine_chunks()


def words_of(values: Any) -> list[str | None]:
    """Values of Arrow as a text file would have them: nothing is "", true is "1", whole floats are ints; None for bytes
    that are not UTF-8."""
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    kind = values.type
    if any(is_it(kind) for is_it in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        values = values.cast(pa.large_binary())  # Parquet is not checked for UTF-8 when it is read
    return [_word(value) for value in values.to_pylist()]


def _word(value: Any) -> str | None:
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        try:
            return identifier(value.decode())
        except UnicodeDecodeError:
            return None
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return identifier(text.removesuffix(".0") if isinstance(value, float) else text)


def joined_names(columns: Sequence[Any]) -> Any:
    """The names that several Arrow columns (N,) give together, as one; none where one of them has none."""
    codes, parts = np.zeros(len(columns[0]), dtype=np.int64), [different_names(cells) for cells in columns]
    for names, code in parts:
        codes = codes * len(names) + code
    code, _ = pd.factorize(codes)
    first = np.unique(code, return_index=True)[1]
    rows = [[names[own[row]] for names, own in parts] for row in first.tolist()]
    joined = pa.array([trial_name(row) if all(row) else None for row in rows], pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), joined)


def names_in(source: str, theirs: str, cells: Any) -> tuple[list[str], np.ndarray]:
    """`different_names` of a column of a file. Raises ReadError naming it."""
    try:
        return different_names(cells)
    except ValueError as error:
        raise ReadError(source, f"column {theirs!r} {error}") from error


def unusable_names(source: str, theirs: str, cells: Any) -> np.ndarray | None:
    """(N,) bool, which cells hold a name that nobody can use; None: none of them. Raises ReadError as `names_in`."""
    try:
        encoded = _encoded(cells)
    except ValueError as error:
        raise ReadError(source, f"column {theirs!r} {error}") from error
    bad = [name is None or bool(name_fault(name)) for name in words_of(encoded.dictionary)]
    if not any(bad):
        return None
    return np.array([*bad, False])[encoded.indices.fill_null(len(bad)).to_numpy(zero_copy_only=False)]


def fault_of_name(cells: Any, row: int) -> str:
    """What is wrong with the name in a row."""
    (name,) = words_of(cells[row : row + 1])
    return "not UTF-8 text" if name is None else name_fault(name)
