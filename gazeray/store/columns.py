# SPDX-License-Identifier: Apache-2.0
"""The file of a tensor column of a pack: safetensors, written at once, read whole or some rows of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from gazeray.storage import Folder

Column = np.ndarray | list[np.ndarray]
"""A tensor column of N examples: one array (N, ...), or N arrays whose shapes differ."""

HEADER_BYTES = 4096
"""Read first of a column's file: more than enough for the header of a column of one shape."""

TYPES = {
    **{"BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32},
    **{"I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64},
}
"""As safetensors names them."""

Header = tuple[int, dict[str, dict[str, Any]]]
"""Where the data of a column's file begin, and the type, shape and place of each of its arrays."""


def column_path(name: str, key: str) -> str:
    """The file of a column of a pack."""
    return f"columns/{name}/{key}.safetensors"


def joined(parts: Sequence[Column]) -> Column:
    """The columns of some shards one below the other."""
    if any(isinstance(part, list) for part in parts):
        return [row for part in parts for row in part]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def encoded(values: Column) -> bytes:
    """The bytes of a column's file."""
    if isinstance(values, np.ndarray):
        arrays = {"values": np.ascontiguousarray(values)}
    else:  # in the order of their names in the file: neighbours lie side by side
        arrays = {f"{row:08d}": np.ascontiguousarray(value) for row, value in enumerate(values)}
    return bytes(save(arrays))


def column_of(data: bytes) -> Column:
    """The column in the bytes of its file."""
    arrays = load(data)
    values = arrays.get("values")
    return values if values is not None else [arrays[name] for name in sorted(arrays)]


def read_header(folder: Folder, name: str, key: str) -> Header:
    """The header of a column's file, with which some of its rows can be read."""
    path = column_path(name, key)
    data = folder.read_range(path, 0, HEADER_BYTES)
    begin = 8 + int.from_bytes(data[:8], "little")
    if begin > len(data):
        data += folder.read_range(path, len(data), begin - len(data))
    header: dict[str, dict[str, Any]] = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    return begin, header


def read_rows(folder: Folder, name: str, key: str, header: Header, first: int, count: int) -> Column:
    """`count` rows of a column of a pack from row `first` on: nothing else of the file is read."""
    begin, arrays = header
    path = column_path(name, key)
    whole = arrays.get("values")
    if whole is not None:
        dtype, shape = np.dtype(TYPES[whole["dtype"]]), whole["shape"][1:]
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        data = folder.read_range(path, begin + whole["data_offsets"][0] + first * size, count * size)
        return np.frombuffer(data, dtype).reshape(count, *shape)
    own = [arrays[f"{row:08d}"] for row in range(first, first + count)]
    start = min((one["data_offsets"][0] for one in own), default=0)
    stop = max((one["data_offsets"][1] for one in own), default=0)
    data = folder.read_range(path, begin + start, stop - start)
    return [
        np.frombuffer(data[one["data_offsets"][0] - start : one["data_offsets"][1] - start], TYPES[one["dtype"]])
        .reshape(one["shape"]) for one in own
    ]  # fmt: skip
