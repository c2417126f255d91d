# SPDX-License-Identifier: Apache-2.0
"""The store: examples (trials, pictures, windows of a video) and their named tensors, kept in shards.

A shard is what one piece of a pass leaves: `columns/<name>/<key>.safetensors`, one file per tensor column, further
tables `tables/<name>/<key>.parquet`, and last `<key>.json`, the note: the shard's rows of plain values, rejects,
quality, the SHA-256 of what was read. A shard with a note is complete. A column can be added to a store later.

Columns lie in shared memory or are streamed from their files; either way the same examples are visited in the same
order: a seeded two-level shuffle, first of the shards, then of the rows within a window of shards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from safetensors.numpy import load, save

from gazeray.config import digest
from gazeray.storage import Folder
from gazeray.tables import QUALITY, Reject

FORMAT = 3
"""Raised when shards of an older version can no longer be used."""

Column = np.ndarray | list[np.ndarray]
"""A tensor column of N examples: one array (N, ...), or N arrays whose shapes differ."""

K = TypeVar("K")
V = TypeVar("V")


class LRUCache(Generic[K, V]):
    """What was read of late, up to a number of bytes; what was not used for longest goes first."""

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self.entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K, read: Callable[[], V], size: Callable[[V], int]) -> V:
        """The entry of that key, read where it is not kept."""
        if key in self.entries:
            self.entries.move_to_end(key)
            return self.entries[key][0]
        value = read()
        own = size(value)
        if own <= self.most_bytes:
            self.entries[key] = value, own
            self.bytes += own
            while self.bytes > self.most_bytes:
                _, (_, gone) = self.entries.popitem(last=False)
                self.bytes -= gone
        return value


# -- shards


@dataclass(frozen=True)
class Shard:
    """What one piece of a pass found.

    rows: one row of plain values per example. columns: the tensors by name. quality: rows of the quality table.
    content: SHA-256 of the raw bytes that were read. tables: further tables for the run folder, by name (fixations).
    notes: what should be known about the files.
    """

    rows: pa.Table
    columns: Mapping[str, Column]
    rejects: Sequence[Reject] = ()
    quality: pa.Table = field(default_factory=QUALITY.empty_table)
    content: str = ""
    rows_read: int = 0
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_shard(folder: Folder, key: str, shard: Shard) -> None:
    """Write the columns and tables of a shard, and its note at the end."""
    for name, values in shard.columns.items():
        write_column(folder, name, key, values)
    for name, table in shard.tables.items():
        folder.write_table(f"tables/{name}/{key}.parquet", table)
    note = {
        "key": key,
        "content": shard.content,
        "rows_read": shard.rows_read,
        "rows": [_finite(row) for row in shard.rows.to_pylist()],
        "columns": sorted(shard.columns),
        "tables": sorted(shard.tables),
        "rejects": [asdict(reject) for reject in shard.rejects],
        "quality": [_finite(row) for row in shard.quality.to_pylist()],
        "notes": list(shard.notes),
    }
    folder.write_json(f"{key}.json", note)


def missing_shards(folder: Folder, keys: Sequence[str]) -> list[str]:
    """The shards that are not complete yet."""
    present = {stat.path for stat in folder.list() if stat.path.endswith(".json")}
    return [key for key in keys if f"{key}.json" not in present]


def column_path(name: str, key: str) -> str:
    """The file of a column of a shard."""
    return f"columns/{name}/{key}.safetensors"


def write_column(folder: Folder, name: str, key: str, values: Column) -> None:
    """Write one column of one shard, whole or not at all."""
    if isinstance(values, np.ndarray):
        arrays = {"values": np.ascontiguousarray(values)}
    else:
        arrays = {f"{row}": np.ascontiguousarray(value) for row, value in enumerate(values)}
    folder.write_bytes(column_path(name, key), save(arrays))


def read_column(folder: Folder, name: str, key: str) -> Column:
    """One column of one shard."""
    arrays = load(folder.read_bytes(column_path(name, key)))
    values = arrays.get("values")
    return values if values is not None else [arrays[f"{row}"] for row in range(len(arrays))]


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """The row with NaN as None, since JSON has no NaN."""
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}


# -- the store


@dataclass(frozen=True)
class Log:
    """What the shards' notes say beside the examples.

    contents: SHA-256 per shard. tables: the paths of the further tables, by name.
    """

    rejects: list[Reject]
    quality: pa.Table
    contents: list[str]
    rows_read: int
    notes: list[str]
    tables: dict[str, list[str]]


Held = Mapping[tuple[str, str], Column]
"""Columns in memory by (name, key of the shard)."""


class Store:
    """Examples and their columns, wherever they lie; travels to the workers and holds no tensor on the way.

    table: one row of plain values per example, in the order of the shards. shard, offset: (N,) int64, the number of
    each example's shard and its row there. columns: the names of the tensors. log: None in a worker. cache_bytes: how
    much of what is not in shared memory a process keeps. window_examples: see `batches`.
    """

    def __init__(
        self, folder: Folder, keys: Sequence[str], table: pa.Table, shard: np.ndarray, columns: Sequence[str],
        log: Log | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.keys, self.table, self.shard, self.log = folder, tuple(keys), table, shard, log
        self.columns = tuple(columns)
        first = np.searchsorted(shard, shard, side="left") if len(shard) else shard
        self.offset = np.arange(len(shard)) - first
        self.shared: Callable[[], Held] | None = None
        self.cache_bytes, self.window_examples = 0.0, 4096
        self._joined: dict[str, tuple[Store, np.ndarray]] = {}
        self._forget()

    def _forget(self) -> None:
        self._held: Held | None = None
        self._recent: LRUCache[tuple[str, str], Column] = LRUCache(self.cache_bytes)
        self._plain: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None, "_recent": None, "_plain": None, "log": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.shard)

    @classmethod
    def open(cls, folder: Folder, keys: Sequence[str]) -> Store:
        """The store of some complete shards. Its columns are those that every shard with examples has."""
        notes = [folder.read_json(f"{key}.json") for key in keys]
        there = {stat.path for stat in folder.list("columns")}
        names = sorted({path.removeprefix("columns/").rpartition("/")[0] for path in there})
        filled = [note["key"] for note in notes if note["rows"]]
        columns = [name for name in names if all(column_path(name, key) in there for key in filled)]
        shard = np.repeat(np.arange(len(notes)), np.array([len(note["rows"]) for note in notes], np.int64))
        log = Log(
            rejects=[Reject(**reject) for note in notes for reject in note["rejects"]],
            quality=pa.Table.from_pylist([row for note in notes for row in note["quality"]], schema=QUALITY),
            contents=[note["content"] for note in notes],
            rows_read=sum(note["rows_read"] for note in notes),
            notes=[text for note in notes for text in note["notes"]],
            tables={
                name: [f"tables/{name}/{note['key']}.parquet" for note in notes if name in note["tables"]]
                for name in sorted({name for note in notes for name in note["tables"]})
            },
        )
        rows = [row for note in notes for row in note["rows"]]
        plain = dict.fromkeys(name for row in rows for name in row)
        table = pa.Table.from_pylist([{name: row.get(name) for name in plain} for row in rows])
        return cls(folder, keys, table, shard, columns, log)

    def with_table(self, table: pa.Table) -> Store:
        """The same examples with other plain columns (N rows)."""
        store = self.select(np.arange(len(self)))
        store.table = table
        return store

    def select(self, rows: np.ndarray) -> Store:
        """Some of the examples; `rows` rises."""
        table = self.table if len(rows) == len(self) else self.table.take(rows)
        store = Store(self.folder, self.keys, table, self.shard[rows], self.columns, self.log)
        store.offset = self.offset[rows]
        store.shared, store.cache_bytes, store.window_examples = self.shared, self.cache_bytes, self.window_examples
        store._joined = {name: (other, at[rows]) for name, (other, at) in self._joined.items()}
        store._forget()
        return store

    def join(self, other: Store, on: Sequence[str]) -> Store:
        """This store with the tensor columns of `other`, looked up by equal values of the plain columns `on`.

        So all observers of a picture share its features. Raises ValueError naming an example without a match, or
        with several, or a column that both have.
        """
        theirs = (*other.columns, *other._joined)
        both = sorted(set(theirs) & {*self.columns, *self._joined})
        if both:
            raise ValueError(f"both stores have the columns {', '.join(both)}")
        keys = _keys(other.table, on)
        at = {key: row for row, key in enumerate(keys)}
        if len(at) < len(other):
            twice = next(key for row, key in enumerate(keys) if at[key] != row)
            raise ValueError(f"{twice} is there more than once; {', '.join(on)} must name one example to join")
        wanted = _keys(self.table, on)
        absent = [key for key in wanted if key not in at]
        if absent:
            raise ValueError(f"{len(absent)} examples have nothing to join, the first is {absent[0]}")
        store = self.select(np.arange(len(self)))
        store._joined |= dict.fromkeys(theirs, (other, np.array([at[key] for key in wanted], np.int64)))
        return store

    @property
    def content(self) -> str:
        """SHA-256 of all that was read, whatever the order of the shards; only where the log is."""
        assert self.log is not None
        return digest([FORMAT, sorted(self.log.contents)])

    @property
    def rejects(self) -> list[Reject]:
        """What could not be used; only where the log is."""
        assert self.log is not None
        return self.log.rejects

    def table_of(self, name: str) -> pa.Table:
        """A further table of all shards, such as the fixations; only where the log is."""
        assert self.log is not None
        return pa.concat_tables([self.folder.read_table(path) for path in self.log.tables[name]])

    # -- memory

    def bytes_of(self, columns: Sequence[str]) -> int:
        """The size of some columns' files."""
        wanted = {column_path(name, key) for name in columns for key in self.keys}
        return sum(stat.size for stat in self.folder.list("columns") if stat.path in wanted)

    def read(self, columns: Sequence[str]) -> dict[tuple[str, str], Column]:
        """Some columns of all shards with examples, to be held in memory."""
        filled = [self.keys[number] for number in np.unique(self.shard)]
        return {(name, key): read_column(self.folder, name, key) for name in columns for key in filled}

    def values(self, name: str, shard: int) -> Column:
        """One column of one shard, not to be changed: from shared memory, from what was read of late, or its file."""
        if self._held is None:
            self._held = self.shared() if self.shared is not None else {}
        place = name, self.keys[shard]
        if place in self._held:
            return self._held[place]
        self._recent.most_bytes = self.cache_bytes  # set after the store was opened
        return self._recent.get(place, lambda: read_column(self.folder, *place), _bytes)

    # -- reading

    def plain(self, name: str) -> np.ndarray:
        """(N,) a plain column: numbers, bool, or str."""
        if name not in self._plain:
            column = self.table.column(name)
            text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            values = np.asarray(column.to_pylist(), dtype=object).astype(str) if text else column.to_numpy()
            self._plain[name] = values
        return self._plain[name]

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> dict[str, Column]:
        """Some columns of some rows, in that order; arrays (len(rows), ...) are writable copies, ragged ones are not.

        Raises KeyError for a column that is not there.
        """
        return {name: self._take(name, rows) for name in columns}

    def _take(self, name: str, rows: np.ndarray) -> Column:
        if name in self._joined:
            other, at = self._joined[name]
            return other._take(name, at[rows])
        if name not in self.columns:
            return self.plain(name)[rows]
        shards = self.shard[rows]
        if not len(rows):  # as the first shard with examples has them
            return self.values(name, int(self.shard[0]))[:0] if len(self) else np.empty(0)
        out: Column | None = None
        for number in np.unique(shards):
            where, values = np.flatnonzero(shards == number), self.values(name, int(number))
            offsets = self.offset[rows[where]]
            if isinstance(values, np.ndarray):
                if out is None:
                    out = np.empty((len(rows), *values.shape[1:]), values.dtype)
                out[where] = values[offsets]
            else:
                out = [np.empty(0)] * len(rows) if out is None else out
                for place, offset in zip(where, offsets, strict=True):
                    out[place] = values[offset]
        assert out is not None
        return out

    def batches(
        self, rows: np.ndarray, batch_size: int, columns: Sequence[str], seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, dict[str, Column]]]:
        """(row numbers, columns) in batches; the last one is short. With a seed shuffled, else in order.

        Shuffling visits shards in random order and shuffles the rows of about `window_examples` at a time.
        """
        left_rows, left = np.empty(0, np.int64), None
        for window in windows(self.shard, rows, self.window_examples, seed):
            block = self.take(window, columns)
            if left is not None:
                window = np.concatenate([left_rows, window])
                block = {name: _concatenated(left[name], block[name]) for name in block}
            full = len(window) // batch_size * batch_size
            for start in range(0, full, batch_size):
                stop = start + batch_size
                yield window[start:stop], {name: values[start:stop] for name, values in block.items()}
            left_rows, left = window[full:], {name: values[full:] for name, values in block.items()}
        if left is not None and len(left_rows):
            yield left_rows, left


def windows(
    shard: np.ndarray, rows: np.ndarray, window_examples: int, seed: int | Sequence[int] | None
) -> Iterator[np.ndarray]:
    """The chosen rows in visiting order, one array per window of whole shards with about `window_examples` rows.

    shard: (N,) the shard of every example. rows: the chosen ones. seed None keeps the order of the shards and rows;
    otherwise shards are shuffled, then the rows within each window.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    rows = np.sort(rows)
    chosen = np.unique(shard[rows])
    if rng is not None:
        rng.shuffle(chosen)
    starts = np.searchsorted(shard[rows], chosen, side="left")
    stops = np.searchsorted(shard[rows], chosen, side="right")
    window: list[np.ndarray] = []
    size = 0
    for position, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        window.append(rows[start:stop])
        size += stop - start
        if size >= window_examples or position == len(chosen) - 1:
            block = np.concatenate(window)
            if rng is not None:
                rng.shuffle(block)
            yield block
            window, size = [], 0


def _concatenated(first: Column, second: Column) -> Column:
    ragged = isinstance(first, list) or isinstance(second, list)
    return [*first, *second] if ragged else np.concatenate([first, second])


def _bytes(values: Column) -> int:
    return values.nbytes if isinstance(values, np.ndarray) else sum(one.nbytes for one in values)


def _keys(table: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
