# SPDX-License-Identifier: Apache-2.0
"""The store: examples (trials, pictures, windows of a video) and their named tensors, kept in shards.

A shard is what was found in one piece of the data, such as a recording; which files it lies in, and how they are
vouched for, is told in `gazeray.store.packs`. A column can be added to a store later.

Columns lie in shared memory or are streamed from their files; either way the same examples are visited in the same
order: a seeded two-level shuffle, first of the shards, then of the rows within a window of shards. The packs have no
say in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.config import digest
from gazeray.storage import Folder, StorageError
from gazeray.store.columns import Column, Header, column_of, column_path, read_header, read_rows
from gazeray.store.order import LRUCache, windows
from gazeray.store.packs import (
    FORMAT,
    REJECTS,
    ROWS,
    DamagedPacks,
    Look,
    Shard,
    Vouched,
    concatenated,
    condemn,
    look,
    read_checked,
    rows_and_rejects,
    table_in,
    tables_path,
    verify,
    write_column,
    write_pack,
    write_shard,
)
from gazeray.tables import Reject

__all__ = [
    "FORMAT",
    "Column",
    "DamagedPacks",
    "Held",
    "LRUCache",
    "Log",
    "Look",
    "Packs",
    "Shard",
    "Store",
    "Vouched",
    "column_path",
    "look",
    "verify",
    "windows",
    "write_column",
    "write_pack",
    "write_shard",
]


@dataclass(frozen=True)
class Log:
    """What the notes of the packs say beside the examples.

    contents: SHA-256 per shard. tables: by name, the key of each pack that has the table, and its place there.
    """

    rejects: list[Reject]
    contents: list[str]
    rows_read: int
    notes: list[str]
    tables: dict[str, list[tuple[str, Sequence[int]]]]


@dataclass(frozen=True)
class Packs:
    """Where S shards lie: in which pack (of), from which of its rows on (first), how many rows: (S,) int64 each.

    keys: those of the packs. files: what is vouched for, {} in a worker.
    """

    keys: tuple[str, ...] = ()
    of: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    first: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    files: dict[str, Vouched] = field(default_factory=dict)

    @classmethod
    def of_notes(cls, found: Look, keys: Sequence[str]) -> Packs:
        """Those of some complete packs."""
        rows = [np.array(found.notes[key]["rows"], np.int64) for key in keys]
        of = np.repeat(np.arange(len(keys)), [len(own) for own in rows])
        first = [np.cumsum(own) - own for own in rows]
        nothing = [np.empty(0, np.int64)]
        return cls(tuple(keys), of, np.concatenate(nothing + first), np.concatenate(nothing + rows), found.files)


Held = Mapping[tuple[str, str], Column]
"""Columns in memory by (name, key of the pack)."""


class Store:
    """Examples and their columns, wherever they lie; travels to the workers and holds no tensor on the way.

    table: one row of plain values per example, in the order of the shards. keys: of the shards. shard, offset: (N,)
    int64, the number of each example's shard and its row there. columns: the names of the tensors. packs: where the
    shards lie. log: None in a worker. cache_bytes: how much of what is not in shared memory a process keeps.
    window_examples: see `batches`.
    """

    def __init__(
        self, folder: Folder, keys: Sequence[str], table: pa.Table, shard: np.ndarray, columns: Sequence[str],
        packs: Packs | None = None, log: Log | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.keys, self.table, self.shard, self.log = folder, tuple(keys), table, shard, log
        self.columns, self.packs = tuple(columns), packs or Packs()
        first = np.searchsorted(shard, shard, side="left") if len(shard) else shard
        self.offset = np.arange(len(shard)) - first
        self.shared: Callable[[], Held] | None = None
        self.cache_bytes, self.window_examples = 0.0, 4096
        self._joined: dict[str, tuple[Store, np.ndarray]] = {}
        self._forget()

    def _forget(self) -> None:
        self._held: Held | None = None
        self._recent: LRUCache[tuple[str, int], Column] = LRUCache(self.cache_bytes)
        self._headers: dict[tuple[str, int], Header] = {}
        self._plain: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        nothing = dict.fromkeys(("_held", "_recent", "_headers", "_plain", "log"))
        return {**self.__dict__, **nothing, "packs": replace(self.packs, files={})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __len__(self) -> int:
        return len(self.shard)

    @classmethod
    def open(cls, folder: Folder, keys: Sequence[str]) -> Store:
        """The store of some complete packs. Its columns are those that every pack with examples has.

        Raises DamagedPacks naming the packs that are not complete, or whose tables are not those that were written.
        """
        found = look(folder, keys)
        absent = {key: found.damaged.get(key, f"{key}.json: missing") for key in keys if key not in found.notes}
        if absent:
            raise DamagedPacks(folder, absent)
        notes, packs = [found.notes[key] for key in keys], Packs.of_notes(found, keys)
        tables, rejects = rows_and_rejects(folder, keys, found)
        names = sorted({name for name, _ in found.columns})
        filled = [key for key, note in zip(keys, notes, strict=True) if any(note["rows"])]
        columns = [name for name in names if all((name, key) in found.columns for key in filled)]
        named = dict.fromkeys(name for note in notes for name in note["tables"] if name not in (ROWS, REJECTS))
        log = Log(
            rejects=rejects,
            contents=[content for note in notes for content in note["contents"]],
            rows_read=sum(note["rows_read"] for note in notes),
            notes=[text for note in notes for text in note["notes"]],
            tables={
                name: [(note["key"], note["tables"][name]) for note in notes if name in note["tables"]]
                for name in named
            },
        )
        shards = [key for note in notes for key in note["keys"]]
        shard = np.repeat(np.arange(len(shards)), packs.rows)
        return cls(folder, shards, concatenated(tables), shard, columns, packs, log)

    def with_table(self, table: pa.Table) -> Store:
        """The same examples with other plain columns (N rows)."""
        store = self.select(np.arange(len(self)))
        store.table = table
        return store

    def select(self, rows: np.ndarray) -> Store:
        """Some of the examples; `rows` rises."""
        table = self.table if len(rows) == len(self) else self.table.take(rows)
        store = Store(self.folder, self.keys, table, self.shard[rows], self.columns, self.packs, self.log)
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

    def tables_of(self, name: str) -> Iterator[pa.Table]:
        """A further table, such as the fixations, pack by pack; only where the log is."""
        assert self.log is not None
        for key, place in self.log.tables[name]:
            yield table_in(self.folder.read_range(tables_path(key), *place), place, place[0])

    def table_of(self, name: str) -> pa.Table:
        """The whole of a further table."""
        return pa.concat_tables(self.tables_of(name))

    # -- memory

    def files_of(self, columns: Sequence[str]) -> dict[str, dict[str, Vouched]]:
        """{key of a pack with examples: {path: what is vouched for}} of some columns; only where the log is."""
        keys = [self.packs.keys[number] for number in np.unique(self.packs.of[np.unique(self.shard)])]
        paths = {key: [column_path(name, key) for name in columns] for key in keys}
        return {key: {path: self.packs.files[path] for path in own} for key, own in paths.items()}

    def bytes_of(self, columns: Sequence[str]) -> int:
        """The size of some columns' files."""
        return sum(one.size for own in self.files_of(columns).values() for one in own.values())

    def read(self, columns: Sequence[str]) -> dict[tuple[str, str], Column]:
        """Some columns of all packs with examples, to be held in memory.

        Raises DamagedPacks naming every pack with a file that is not the one that was written.
        """
        held: dict[tuple[str, str], Column] = {}
        faults: dict[str, str] = {}
        for key, files in self.files_of(columns).items():
            for name, (path, one) in zip(columns, files.items(), strict=True):
                data, fault = read_checked(self.folder, path, one)
                if fault is None:
                    held[name, key] = column_of(data)
                else:
                    faults[path] = fault
        if faults:
            raise condemn(self.folder, faults, self.packs.files)
        return held

    def renew(self, keys: Sequence[str]) -> None:
        """Packs were done again, perhaps to other bytes (features of another machine): go by what is said of them now.

        Raises StorageError where one has other rows than before.
        """
        found = look(self.folder, keys)
        for key in keys:
            rows = self.packs.rows[self.packs.of == self.packs.keys.index(key)].tolist()
            if key not in found.notes or found.notes[key]["rows"] != rows:
                raise StorageError(f"{self.folder.uri}: {key} was done again and holds other rows: run again")
        self.packs.files.update({path: one for path, one in found.files.items() if one.key in keys})

    def _whole(self, name: str, pack: int) -> Column | None:
        """One column of one pack where it lies in memory."""
        if self._held is None:
            self._held = self.shared() if self.shared is not None else {}
        return self._held.get((name, self.packs.keys[pack]))

    def values(self, name: str, shard: int) -> Column:
        """One column of one shard, not to be changed: from shared memory, from what was read of late, or its file."""
        pack, first, count = (int(part[shard]) for part in (self.packs.of, self.packs.first, self.packs.rows))
        whole = self._whole(name, pack)
        if whole is not None:
            return whole[first : first + count]
        key = self.packs.keys[pack]

        def read() -> Column:
            if (name, pack) not in self._headers:
                self._headers[name, pack] = read_header(self.folder, name, key)
            return read_rows(self.folder, name, key, self._headers[name, pack], first, count)

        self._recent.most_bytes = self.cache_bytes  # set after the store was opened
        return self._recent.get((name, shard), read, _bytes)

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
        if not len(rows):  # as the first shard with examples has them
            return self.values(name, int(self.shard[0]))[:0] if len(self) else np.empty(0)
        out: Column | None = None
        for where, values, places in self._parts(name, rows):
            if isinstance(values, np.ndarray):
                if out is None:
                    out = np.empty((len(rows), *values.shape[1:]), values.dtype)
                out[where] = values[places]
            else:
                out = [np.empty(0)] * len(rows) if out is None else out
                for at, place in zip(where.tolist(), places.tolist(), strict=True):
                    out[at] = values[place]
        assert out is not None
        return out

    def _parts(self, name: str, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Column, np.ndarray]]:
        """(which of the rows, the values they are among, their places there): by pack in memory, else by shard."""
        shards, places = self.shard[rows], self.offset[rows]
        packs = self.packs.of[shards]
        held = self._whole(name, int(packs[0])) is not None
        homes = packs if held else shards
        order = np.argsort(homes, kind="stable")
        starts = np.flatnonzero(np.diff(homes[order], prepend=-1))
        for where in np.split(order, starts[1:]):
            home = int(homes[where[0]])
            if held:
                whole = self._whole(name, home)
                assert whole is not None
                yield where, whole, self.packs.first[shards[where]] + places[where]
            else:
                yield where, self.values(name, home), places[where]

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


def _concatenated(first: Column, second: Column) -> Column:
    ragged = isinstance(first, list) or isinstance(second, list)
    return [*first, *second] if ragged else np.concatenate([first, second])


def _bytes(values: Column) -> int:
    return values.nbytes if isinstance(values, np.ndarray) else sum(one.nbytes for one in values)


def _keys(table: pa.Table, names: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
