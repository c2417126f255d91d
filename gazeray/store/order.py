# SPDX-License-Identifier: Apache-2.0
"""In which order examples are visited, and which of what was read is kept meanwhile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

K = TypeVar("K")
V = TypeVar("V")


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
