# SPDX-License-Identifier: Apache-2.0
"""Examples: what a model is trained and tested on, kept as Parquet shards, one shard per recording.

There are two ways to hold them, shared memory and streaming from the shards, and both visit the same examples in the
same order: a seeded two-level shuffle, first of the shards, then of the rows within a window of shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gazeray.storage import Folder


@dataclass(frozen=True)
class ExampleIndex:
    """Which examples there are.

    table: one row per example in shard order: participant, trial, stimulus, label_index, and the trial's other columns.
    shard: (N,) int64, the shard of each example. offset: (N,) int64, its row there. paths: the shards' files.
    """

    table: pa.Table
    shard: np.ndarray
    offset: np.ndarray
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def participants(self) -> np.ndarray:
        """(N,) str: whose example it is."""
        return np.asarray(self.table.column("participant").to_pylist(), dtype=object).astype(str)

    @property
    def stimuli(self) -> np.ndarray:
        """(N,) str: what was looked at."""
        return np.asarray(self.table.column("stimulus").to_pylist(), dtype=object).astype(str)

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64: the class of each example."""
        return np.asarray(self.table.column("label_index").to_numpy(), dtype=np.int64)


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


class Examples(ABC):
    """The examples of a study behind one interface, wherever they lie."""

    def __init__(self, index: ExampleIndex, window_examples: int) -> None:
        self.index = index
        self.window_examples = window_examples

    @abstractmethod
    def take(self, rows: np.ndarray, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """The tensors of some rows, in that order: {column: (len(rows), ...)}, writable copies."""

    def batches(
        self, rows: np.ndarray, batch_size: int, columns: Sequence[str], seed: int | Sequence[int] | None = None
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """(row numbers, tensors) in batches; the last one is short. With a seed shuffled, else in order."""
        left_rows, left = np.empty(0, np.int64), None
        for window in windows(self.index.shard, rows, self.window_examples, seed):
            block = self.take(window, columns)
            if left is not None:
                window = np.concatenate([left_rows, window])
                block = {name: np.concatenate([left[name], block[name]]) for name in block}
            full = len(window) // batch_size * batch_size
            for start in range(0, full, batch_size):
                stop = start + batch_size
                yield window[start:stop], {name: values[start:stop] for name, values in block.items()}
            left_rows, left = window[full:], {name: values[full:] for name, values in block.items()}
        if left is not None and len(left_rows):
            yield left_rows, left


class SharedExamples(Examples):
    """Examples in one array per tensor column, (N, ...), normally in shared memory and read-only."""

    def __init__(self, index: ExampleIndex, arrays: Mapping[str, np.ndarray], window_examples: int) -> None:
        super().__init__(index, window_examples)
        self.arrays = dict(arrays)

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: self.arrays[name][rows] for name in columns}


class StreamedExamples(Examples):
    """Examples read from their shards as they are needed; memory holds one window."""

    def __init__(self, index: ExampleIndex, folder: Folder, window_examples: int) -> None:
        super().__init__(index, window_examples)
        self.folder = folder

    def take(self, rows: np.ndarray, columns: Sequence[str]) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        shards = self.index.shard[rows]
        for number in np.unique(shards):
            where = np.flatnonzero(shards == number)
            tensors = read_tensors(self.folder, self.index.paths[number], columns)
            for name, values in tensors.items():
                if name not in out:
                    out[name] = np.empty((len(rows), *values.shape[1:]), values.dtype)
                out[name][where] = values[self.index.offset[rows[where]]]
        return out


def tensor_column(values: np.ndarray) -> pa.Array:
    """(N, ...) array as an Arrow fixed-shape tensor column (readable by plain pyarrow)."""
    values = np.ascontiguousarray(values)
    if len(values):
        return pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), values.shape[1:])
    return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))


def tensors_of(table: pa.Table) -> list[str]:
    """The names of a shard's tensor columns."""
    return [column.name for column in table.schema if isinstance(column.type, pa.FixedShapeTensorType)]


def read_tensors(folder: Folder, path: str, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Some tensor columns of one shard: {column: (rows, ...)}."""
    table = folder.read_table(path, columns=list(columns))
    return {name: _to_numpy(table.column(name)) for name in columns}


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    kind = column.type
    combined = column.combine_chunks()
    chunks = combined.chunks if isinstance(combined, pa.ChunkedArray) else [combined]
    parts = [chunk.to_numpy_ndarray() for chunk in chunks if len(chunk)]
    if not parts:
        return np.empty((0, *kind.shape), kind.value_type.to_pandas_dtype())
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def load_shared(index: ExampleIndex, folder: Folder, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Every example's tensors as one array per column, shard by shard: peak memory is the arrays plus one shard."""
    arrays: dict[str, np.ndarray] = {}
    for number in np.unique(index.shard):
        where = np.flatnonzero(index.shard == number)
        for name, values in read_tensors(folder, index.paths[number], columns).items():
            if name not in arrays:
                arrays[name] = np.empty((len(index), *values.shape[1:]), values.dtype)
            arrays[name][where] = values[index.offset[where]]
    return arrays
