# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gazeray.storage import Folder
from gazeray.store import (
    ExampleIndex,
    SharedExamples,
    StreamedExamples,
    load_shared,
    tensor_column,
    tensors_of,
    windows,
)

SIZES = [5, 1, 0, 9, 3, 7]


@pytest.fixture
def shards(tmp_path: Path) -> tuple[ExampleIndex, Folder]:
    """Six shards of 25 examples in all, whose pictures hold their own row number."""
    folder, row = Folder(tmp_path), 0
    for number, size in enumerate(SIZES):
        picture = np.arange(row, row + size, dtype=np.float16).reshape(size, 1, 1, 1) * np.ones(
            (1, 1, 2, 3), np.float16
        )
        table = pa.table({"participant": [f"P{number}"] * size, "picture": tensor_column(picture)})
        folder.write_table(f"{number}.parquet", table)
        row += size
    shard = np.repeat(np.arange(len(SIZES)), SIZES)
    offset = np.concatenate([np.arange(size) for size in SIZES])
    ids = pa.table({"participant": [f"P{s}" for s in shard], "label_index": pa.array(np.arange(row) % 2)})
    return ExampleIndex(ids, shard, offset, tuple(f"{n}.parquet" for n in range(len(SIZES)))), folder


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("window", [1, 6, 1000])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_shared_and_streamed_examples_agree(
    shards: tuple[ExampleIndex, Folder], seed: int | None, window: int, batch: int
) -> None:
    index, folder = shards
    shared = SharedExamples(index, load_shared(index, folder, ["picture"]), window)
    streamed = StreamedExamples(index, folder, window)
    rows = np.flatnonzero(np.arange(len(index)) % 3 != 1)
    ours = list(shared.batches(rows, batch, ["picture"], seed))
    theirs = list(streamed.batches(rows, batch, ["picture"], seed))
    assert len(ours) == len(theirs) == -(-len(rows) // batch)
    for (a_rows, a), (b_rows, b) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a_rows, b_rows)
        np.testing.assert_array_equal(a["picture"], b["picture"])
        np.testing.assert_array_equal(a["picture"][:, 0, 0, 0], a_rows)
    seen = np.concatenate([a_rows for a_rows, _ in ours])
    np.testing.assert_array_equal(np.sort(seen), rows)
    if seed is None:
        np.testing.assert_array_equal(seen, rows)


def test_shuffle_depends_on_the_seed_only(shards: tuple[ExampleIndex, Folder]) -> None:
    index, _ = shards
    rows = np.arange(len(index))

    def order(seed: int, chosen: np.ndarray = rows) -> list[int]:
        return np.concatenate(list(windows(index.shard, chosen, 1000, seed))).tolist()

    assert order(1) == order(1)
    assert order(1) == order(1, rows[::-1])
    assert order(1) != order(2)
    assert order(1) != rows.tolist()


def test_window_holds_whole_shards_and_little_more_than_its_size(shards: tuple[ExampleIndex, Folder]) -> None:
    index, _ = shards
    parts = list(windows(index.shard, np.arange(len(index)), 8, 3))
    assert len(parts) > 1
    homes = [set(index.shard[part]) for part in parts]
    assert sum(map(len, homes)) == len(set.union(*homes))
    assert max(map(len, parts)) < 8 + max(SIZES)


def test_no_rows_give_no_batches(shards: tuple[ExampleIndex, Folder]) -> None:
    index, folder = shards
    assert list(StreamedExamples(index, folder, 10).batches(np.empty(0, np.int64), 4, ["picture"], 1)) == []


def test_taken_examples_can_be_written_to(shards: tuple[ExampleIndex, Folder]) -> None:
    index, folder = shards
    arrays = load_shared(index, folder, ["picture"])
    arrays["picture"].flags.writeable = False
    taken = SharedExamples(index, arrays, 10).take(np.array([3, 1]), ["picture"])["picture"]
    taken += 1
    assert taken[:, 0, 0, 0].tolist() == [4, 2]


def test_shard_is_readable_by_plain_pyarrow(shards: tuple[ExampleIndex, Folder], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(tmp_path / "3.parquet")
    assert tensors_of(table) == ["picture"]
    assert table.schema.field("picture").type.shape == [1, 2, 3]
