# SPDX-License-Identifier: Apache-2.0
"""Packs: the files in which shards lie, and what vouches for them.

A pack holds one shard, or many small ones, one after the other: `columns/<name>/<key>.safetensors`, one file per tensor
column; `tables/<key>.arrows`, the rows of plain values, rejects, quality and further tables as Arrow streams; and last
`<key>.json`, the note: which shards with how many rows, where which table begins, and the size and SHA-256 of every
file. A pack whose note can be read and whose files have their sizes is complete. A column that is added later has a
note of its own beside its file, so that two runs that add different columns never write the same file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from gazeray.storage import Folder, StorageError
from gazeray.storage.seals import DamagedError, read_sealed, write_sealed
from gazeray.store.columns import Column, column_path, encoded, joined
from gazeray.tables import QUALITY, Reject, rejects_table

FORMAT = 5
"""Raised when packs of an older version can no longer be used."""

Json = dict[str, Any]
T = TypeVar("T")
V = TypeVar("V")

ROWS, REJECTS, QUALITIES = "rows", "rejects", "quality"
"""Tables that every pack has."""

AT_ONCE = 8
"""Files that are asked for at the same time: an object store takes tens of ms to answer."""


class DamagedPacks(StorageError):
    """Packs are not what their notes say. packs: {key: what is wrong}. They count as not done from now on."""

    def __init__(self, folder: Folder, packs: Mapping[str, str]) -> None:
        self.packs = dict(packs)
        super().__init__(f"{folder.uri}: damaged, to be done again: {'; '.join(self.packs.values())}")


class Vouched(NamedTuple):
    """What is said of a file: its size in bytes, its SHA-256, the note that says so, the pack."""

    size: int
    sha256: str
    note: str
    key: str


@dataclass(frozen=True)
class Shard:
    """What was found in one piece of the data, such as a recording.

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


# -- writing


def write_shard(folder: Folder, key: str, shard: Shard) -> None:
    """Write a pack of one shard."""
    write_pack(folder, key, {key: shard})


def write_pack(folder: Folder, key: str, shards: Mapping[str, Shard]) -> None:
    """Write the shards, by their keys, as one pack: columns, tables, and the note at the end.

    Raises ValueError where their columns do not fit together.
    """
    files: dict[str, tuple[int, str]] = {}

    def write(path: str, data: bytes) -> None:
        folder.write_bytes(path, data)
        files[path] = len(data), hashlib.sha256(data).hexdigest()

    every = list(shards.values())
    filled = [shard for shard in every if shard.rows.num_rows] or every[:1]
    names = sorted(filled[0].columns)
    if any(sorted(shard.columns) != names for shard in filled):
        raise ValueError(f"pack {key}: not all shards with examples have the columns {', '.join(names)}")
    for name in names:
        write(column_path(name, key), encoded(joined([shard.columns[name] for shard in filled])))
    streams, data = {}, b""
    for name, table in _tables(every, filled).items():
        stream = _stream(table)
        streams[name] = [len(data), len(stream)]
        data += stream
    write(tables_path(key), data)
    note = {
        "key": key,
        "keys": list(shards),
        "rows": [shard.rows.num_rows for shard in every],
        "contents": [shard.content for shard in every],
        "rows_read": sum(shard.rows_read for shard in every),
        "columns": names,
        "tables": streams,
        "notes": [text for shard in every for text in shard.notes],
        "files": files,
    }
    write_sealed(folder, f"{key}.json", note)


def write_column(folder: Folder, name: str, key: str, values: Column) -> None:
    """Add a column to a pack: its file, then its own note."""
    data = encoded(values)
    folder.write_bytes(column_path(name, key), data)
    files = {column_path(name, key): (len(data), hashlib.sha256(data).hexdigest())}
    write_sealed(folder, _column_note(name, key), {"key": key, "files": files})


def tables_path(key: str) -> str:
    """The file of the tables of a pack."""
    return f"tables/{key}.arrows"


def _column_note(name: str, key: str) -> str:
    return f"columns/{name}/{key}.json"


def _tables(every: Sequence[Shard], filled: Sequence[Shard]) -> dict[str, pa.Table]:
    """The tables of a pack by name, the rows first. Raises ValueError where a shard's own has the name of another."""
    found = {
        ROWS: concatenated([plain(shard.rows) for shard in filled]),
        REJECTS: rejects_table(reject for shard in every for reject in shard.rejects),
        QUALITIES: plain(pa.concat_tables([shard.quality for shard in every])),
    }
    for name in dict.fromkeys(name for shard in every for name in shard.tables):
        if name in found:
            raise ValueError(f"a table of a shard cannot be called {name}")
        found[name] = pa.concat_tables([shard.tables[name] for shard in every if name in shard.tables])
    return found


def plain(table: pa.Table) -> pa.Table:
    """The table in the types of plain values: int64, float64 with null for what is no number, bool, string."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            column = column.cast(pa.float64())
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))
        elif pa.types.is_integer(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        columns[name] = column
    return pa.table(columns)


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of rows one below the other; a column that only some have is null in the others, ints become floats."""
    filled = [table for table in tables if table.num_rows] or tables[:1]
    return pa.concat_tables(filled, promote_options="permissive").combine_chunks() if filled else pa.table({})


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


# -- looking


@dataclass(frozen=True)
class Look:
    """What there is of some packs.

    notes: those of complete packs. files: what is vouched for. columns: (name, key) of the columns that are there.
    damaged: {key: what is wrong} of packs that were complete once, or have a column that was.
    """

    notes: Mapping[str, Json]
    files: dict[str, Vouched]
    columns: frozenset[tuple[str, str]]
    damaged: Mapping[str, str]


def look(folder: Folder, keys: Sequence[str]) -> Look:
    """Compare the sizes of all files with the notes of packs; no file but the notes is read."""
    sizes = {stat.path: stat.size for stat in folder.list()}
    wanted = set(keys)
    own = {f"{key}.json": key for key in keys if f"{key}.json" in sizes}
    later = {path: path.rpartition("/")[2].removesuffix(".json") for path in sizes
             if path.startswith("columns/") and path.endswith(".json")}  # fmt: skip
    later = {path: key for path, key in later.items() if key in wanted}
    notes: dict[str, Json] = {}
    files: dict[str, Vouched] = {}
    damaged: dict[str, str] = {}
    for (path, key), read in zip([*own.items(), *later.items()], _notes(folder, {**own, **later}), strict=True):
        if isinstance(read, str):
            damaged.setdefault(key, read)
            continue
        theirs = {name: Vouched(size, sha256, path, key) for name, (size, sha256) in read["files"].items()}
        wrong = (_wrong_size(name, sizes.get(name), one.size) for name, one in theirs.items())
        fault = next(filter(None, wrong), None)
        if fault is not None:
            damaged.setdefault(key, fault)
            continue
        files |= theirs
        if path in own:
            notes[key] = read
    columns = {(place[0].removeprefix("columns/"), one.key) for path, one in files.items()
               if path.startswith("columns/") for place in [path.rpartition("/")]}  # fmt: skip
    return Look(notes, files, frozenset(columns), damaged)


def _wrong_size(path: str, there: int | None, size: int) -> str | None:
    if there is None:
        return f"{path}: missing"
    return None if there == size else f"{path}: {there} bytes, not {size}"


def _notes(folder: Folder, paths: Mapping[str, str]) -> list[Json | str]:
    """Each note, or what is wrong with it."""

    def read(path: str) -> Json | str:
        try:
            note = read_sealed(folder, path)
        except DamagedError:
            return f"{path}: not the note that was written"
        if "damaged" in note:
            return str(note["damaged"])
        return note if note.get("key") == paths[path] else f"{path}: not the note that was written"

    return several(read, paths)


def several(read: Callable[[T], V], things: Iterable[T]) -> list[V]:
    """`read` of each thing, a few at the same time, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(read, things))


def condemn(folder: Folder, faults: Mapping[str, str], files: Mapping[str, Vouched]) -> DamagedPacks:
    """Let packs count as not done. faults: {path of a file: what is wrong}, of `files`. Returns the error to raise."""
    for path, fault in faults.items():
        write_sealed(folder, files[path].note, {"damaged": fault})
    return DamagedPacks(folder, {files[path].key: fault for path, fault in faults.items()})


def fault_of(path: str, data: bytes, vouched: Vouched) -> str | None:
    """What is wrong with a file's bytes; None when they are those that were written."""
    if len(data) != vouched.size:
        return _wrong_size(path, len(data), vouched.size)
    return None if hashlib.sha256(data).hexdigest() == vouched.sha256 else f"{path}: not the bytes that were written"


def read_checked(folder: Folder, path: str, vouched: Vouched) -> tuple[bytes, str | None]:
    """A file's bytes, and what is wrong with them."""
    try:
        data = folder.read_bytes(path)
    except FileNotFoundError:
        return b"", f"{path}: missing"
    return data, fault_of(path, data, vouched)


def verify(folder: Folder, files: Mapping[str, Vouched]) -> None:
    """Read files and compare them with what is said of them. Raises DamagedPacks naming every pack that differs."""
    checked = {path: read_checked(folder, path, one)[1] for path, one in files.items()}
    faults = {path: fault for path, fault in checked.items() if fault is not None}
    if faults:
        raise condemn(folder, faults, files)


# -- reading


def table_in(data: bytes, place: Sequence[int], start: int = 0) -> pa.Table:
    """A table at its place (first byte, bytes) of a file of tables, of which `data` begins at `start`."""
    first, size = place
    return pa.ipc.open_stream(pa.py_buffer(data)[first - start : first - start + size]).read_all()


def rows_and_rejects(folder: Folder, keys: Sequence[str], found: Look) -> tuple[list[pa.Table], list[Reject]]:
    """The rows of each pack, and all rejects. Raises DamagedPacks naming the packs whose tables are not as written."""

    faults: dict[str, str] = {}

    def read(key: str) -> list[pa.Table]:
        path, places = tables_path(key), found.notes[key]["tables"]
        data, fault = read_checked(folder, path, found.files[path])
        if fault is not None:
            faults[path] = fault
            return []
        return [table_in(data, places[name]) for name in (ROWS, REJECTS)]

    parts = several(read, keys)
    if faults:
        raise condemn(folder, faults, found.files)
    return [rows for rows, _ in parts], [Reject(**row) for _, rejects in parts for row in rejects.to_pylist()]
