# SPDX-License-Identifier: Apache-2.0
"""MATLAB files of version 5 to 7: what is in them as plain values, and how to find a variable in their structs.

Written from MathWorks' description "MAT-File Format" (level 5). Every size and type is checked against the bytes that
are there: scipy.io.loadmat ends the process on some damaged files.

An array of numbers comes out as one, text as str, a cell array as the list of its elements, a struct array as a list
of dicts, both in MATLAB's order (column by column). Sparse and complex arrays, objects and functions come out as None.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from gazeray.gaze.readers.base import ReadError, unpacked
from gazeray.stimuli.readers.base import in_words

HEADER_BYTES, TAG_BYTES = 128, 8
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers, by their code in the file, as NumPy names them."""

TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
CELL, STRUCT, CHAR, NUMERIC, COMPLEX_FLAG = 1, 2, 4, range(6, 16), 0x800
"""Classes of arrays, by their code in the file."""

DEEPEST, LARGEST_BYTES = 32, 2**30
"""How deep cells and structs may be nested, and what one compressed variable may unpack to."""

NOTHING = np.empty((0, 0))
"""What is empty, whatever its class."""


def load_mat(stream: BinaryIO, source: str) -> dict[str, Any]:
    """The variables of a MATLAB file; see the module.

    Raises ReadError: empty, no such file, cut off or damaged, version 7.3 (which is HDF5) or older than 5.
    """
    data = unpacked(stream.read(), source)
    if data[:10] == b"MATLAB 7.3" or data[:4] == b"\x89HDF":
        raise ReadError(source, "a MATLAB 7.3 file; save it with version 7 (save(..., '-v7'))")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if not data.startswith(b"MATLAB 5.0") or order is None:
        raise ReadError(source, "not a MATLAB file of version 5 to 7")
    try:
        return _variables(data[HEADER_BYTES:], order)
    except Exception as error:
        raise ReadError(source, f"a MATLAB file that is cut off or damaged: {in_words(error)}") from error


def elements(found: dict[str, Any], path: str, source: str) -> list[Any]:
    """What stands at `path` (name.field.field) in the variables of a file; * in its place is the only variable.

    Where a cell or a struct array on the way has several elements there is a value for each, in their order, NOTHING
    for one that is empty; no value where it has none; else there is one value.
    Raises ReadError: another thing is there (which is named), several elements at two places of the way.
    """
    first, *fields = path.split(".")
    if first == "*" and len(found) != 1:
        raise ReadError(source, f"{len(found)} variables ({', '.join(sorted(found))}): say which one as `variable`")
    name = next(iter(found)) if first == "*" else first
    if name not in found:
        raise ReadError(source, f"no variable {name} (there: {', '.join(sorted(found))})")
    twice = ReadError(source, f"{path}: several elements at two places of the way, whose is which cannot be told")
    values: list[Any] = [found[name]]
    for field in [None, *fields]:
        inner = [alone(value if field is None else _field(value, field, path, source)) for value in values]
        if len(inner) == 1 and isinstance(inner[0], list):
            inner = [alone(value) for value in inner[0]]
        if any(isinstance(value, list) and value for value in inner):
            raise twice
        values = [NOTHING if isinstance(value, list) else value for value in inner]
    return values


def alone(value: Any) -> Any:
    """The element of a cell or a struct array that has one alone, again and again; other values as they are."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return NOTHING if isinstance(value, np.ndarray) and not value.size else value


def _field(value: Any, field: str, path: str, source: str) -> Any:
    """A field of a struct; NOTHING of what is empty. Raises ReadError naming what is there instead."""
    if value is NOTHING:
        return NOTHING
    there = list(value) if isinstance(value, dict) else []
    if field not in there:
        raise ReadError(source, f"no field {field} in {path} (there: {', '.join(there) or 'no struct'})")
    return value[field]


def matrix(value: Any, what: str, source: str) -> np.ndarray:
    """An array of numbers as float64, (rows, columns). Raises ReadError."""
    if not isinstance(value, np.ndarray) or value.ndim != 2:
        raise ReadError(source, f"{what} is not a matrix of numbers")
    return value.astype(np.float64)


@dataclass
class _Elements:
    """The elements in some bytes, one after another. `at` is where the next one begins."""

    data: memoryview
    order: str
    at: int = 0

    def more(self) -> bool:
        return self.at < len(self.data)

    def next(self, *allowed: int) -> tuple[int, memoryview]:
        """Type and content of the next element. Raises ValueError: cut off, or none of the types `allowed`."""
        if self.at + TAG_BYTES > len(self.data):
            raise ValueError("an element is missing")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        start, end = self.at + TAG_BYTES, self.at + TAG_BYTES + size
        self.at = end if kind == COMPRESSED else end + -size % 8
        if kind >> 16:  # up to 4 bytes, packed into the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, self.at = start - 4, start
            end = start + size
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        if end > len(self.data):
            raise ValueError(f"an element of {size} bytes does not fit in")
        if kind not in allowed:
            raise ValueError(f"an element of type {kind} where {' or '.join(map(str, allowed))} must be")
        return kind, self.data[start:end]

    def numbers(self, *allowed: int) -> np.ndarray:
        """The next element as an array, (N,)."""
        kind, content = self.next(*allowed)
        return np.frombuffer(content, np.dtype(self.order + NUMBERS[kind]))


def _variables(data: bytes, order: str) -> dict[str, Any]:
    found = {}
    elements = _Elements(memoryview(data), order)
    while elements.more():
        kind, content = elements.next(MATRIX, COMPRESSED)
        if kind == COMPRESSED:
            unpacking = zlib.decompressobj()
            plain = unpacking.decompress(content, LARGEST_BYTES)
            if not unpacking.eof:
                raise ValueError(f"a variable is cut off or unpacks to more than {LARGEST_BYTES} bytes")
            _, content = _Elements(memoryview(plain), order).next(MATRIX)
        name, value = _matrix(content, order)
        if name:  # without a name: what MATLAB keeps for its objects
            found[name] = value
    return found


def _matrix(content: memoryview, order: str, depth: int = 0) -> tuple[str, Any]:
    """Name and value of an array. Raises ValueError."""
    if not len(content):
        return "", np.empty((0, 0))
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST}")
    parts = _Elements(content, order)
    flags, size = parts.numbers(UINT32), parts.numbers(INT32)
    if len(flags) != 2 or len(size) < 2 or (size < 0).any():
        raise ValueError("an array without class and size")
    _, name = parts.next(INT8, 16)
    kind, shape = int(flags[0]) & 0xFF, tuple(int(side) for side in size)
    value: Any = None
    if kind in NUMERIC and not int(flags[0]) & COMPLEX_FLAG:
        value = parts.numbers(*NUMBERS).reshape(shape, order="F")
    elif kind == CHAR:
        code, text = parts.next(*TEXTS)
        value = str(text, TEXTS[code] + ("-le" if order == "<" else "-be") * TEXTS[code].startswith("utf-16"))
    elif kind == CELL:
        value = [_child(parts, depth) for _ in range(math.prod(shape))]
    elif kind == STRUCT:
        length, names = int(parts.numbers(INT32)[0]), bytes(parts.next(INT8)[1])
        if length < 1:
            raise ValueError("a struct whose names have no length")
        cut = [names[at : at + length].split(b"\0")[0].decode() for at in range(0, len(names), length)]
        value = [{field: _child(parts, depth) for field in cut} for _ in range(math.prod(shape) if cut else 0)]
    return bytes(name).decode(), value


def _child(parts: _Elements, depth: int) -> Any:
    return _matrix(parts.next(MATRIX)[1], parts.order, depth + 1)[1]
