# SPDX-License-Identifier: Apache-2.0
"""The files of a run folder under examination: what cannot be read becomes a line, and so does what differs."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gazeray.storage import Folder
from gazeray.storage.seals import DamagedError, damages, unsealed
from gazeray.unit import Json

T = TypeVar("T")

TOLERANCE = 1e-9
"""Computed again from the same numbers, a float may differ by the order of a sum only."""

MOST = 20
"""Differences that are told of one file; the others are counted."""


class RunFiles:
    """sizes: path -> bytes. found: what is wrong, a line each."""

    def __init__(self, run: Folder) -> None:
        self.run, self.sizes = run, {stat.path: stat.size for stat in run.list()}
        self.found: list[str] = []

    def say(self, *lines: str) -> None:
        """Something is wrong."""
        self.found += lines

    def read(self, path: str, parse: Callable[[bytes], T]) -> T | None:
        """A parsed file; None (and a line) when it is missing or cannot be parsed. OSError of the storage passes."""
        if path not in self.sizes:
            self.say(f"{path}: missing")
            return None
        data = self.run.read_bytes(path)
        try:
            return parse(data)
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            # pyarrow says OSError for a broken Parquet file
            self.say(f"{path}: cannot be read: {type(error).__name__}: {str(error)[:200]}")
            return None

    def json(self, path: str, keys: Sequence[str]) -> Json | None:
        """A JSON object with these keys; None (and a line) otherwise."""
        value = self.read(path, json.loads)
        missing = [key for key in keys if key not in value] if isinstance(value, dict) else []
        if isinstance(value, dict) and not missing:
            return value
        if value is not None:
            self.say(f"{path}: no {', '.join(missing)}" if missing else f"{path}: not a JSON object")
        return None

    def sealed(self, path: str, keys: Sequence[str]) -> tuple[Json, bool] | None:
        """`json` of a file that carries the digest of its content, and whether that is right (a line where not)."""
        value = self.json(path, keys)
        if value is None:
            return None
        try:
            return unsealed(value), True
        except DamagedError as error:
            self.say(f"{path}: {error}")
            return value, False

    def verify(self, files: Mapping[str, Json]) -> None:
        """A line for each file that is not what was written."""
        self.say(*(f"{path}: {what}" for path, what in damages(self.run, files, self.sizes)))

    def table(self, path: str) -> pa.Table | None:
        """A Parquet table; None (and a line) otherwise."""
        return self.read(path, lambda data: pq.read_table(io.BytesIO(data)))

    def open_all(self) -> bool:
        """A line for every table, archive of arrays and JSON file that is empty or cannot be opened; was there none?"""
        before = len(self.found)
        for path in self.sizes:
            if path.endswith(".parquet"):
                self.table(path)
            elif path.endswith(".npz"):
                self.read(path, lambda data: list(np.load(io.BytesIO(data), allow_pickle=False).values()))
            elif path.endswith(".json"):
                self.read(path, json.loads)
        return len(self.found) == before


def some(names: Iterable[Any], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


# -- differences


def value_differences(path: str, there: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Where a JSON object is not what is computed again."""
    found = [line.removeprefix(".") for line in _unlike("", dict(there), dict(again))]
    lines = [f"{path}: {line}" for line in found[:MOST]]
    return [*lines, f"{path}: and {len(found) - MOST} more differences"] if len(found) > MOST else lines


def _unlike(place: str, there: Any, again: Any) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(again, dict):
        for key in sorted({*there, *again}):
            if (key in there) != (key in again):
                yield f"{place}.{key} is {'not to be there' if key in there else 'missing'}"
            else:
                yield from _unlike(f"{place}.{key}", there[key], again[key])
    elif isinstance(there, list) and isinstance(again, list) and len(there) == len(again):
        for number, (one, other) in enumerate(zip(there, again, strict=True)):
            yield from _unlike(f"{place}[{number}]", one, other)
    elif not _same(there, again):
        yield f"{place} is {_short(there)}, computed again {_short(again)}"


def _same(one: Any, other: Any) -> bool:
    numbers = [value for value in (one, other) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == 2:
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(one) is type(other) and bool(one == other)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def table_differences(path: str, there: pa.Table, again: pa.Table) -> Iterator[str]:
    """Where a table of the run is not what the units' own tables give."""
    if there.column_names != again.column_names:
        yield f"{path}: its columns are {', '.join(there.column_names)}; the units give {', '.join(again.column_names)}"
        return
    if there.num_rows != again.num_rows:
        yield f"{path}: {there.num_rows} rows, the units give {again.num_rows}"
        return
    for name in again.column_names:
        rows = zip(there[name].to_pylist(), again[name].to_pylist(), strict=True)
        wrong = [(row, one, other) for row, (one, other) in enumerate(rows) if repr(one) != repr(other)]
        if wrong:
            row, one, other = wrong[0]
            yield f"{path}: {name} of row {row} is {one!r}, the units say {other!r} ({len(wrong)} rows differ)"
