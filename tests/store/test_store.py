# SPDX-License-Identifier: Apache-2.0
"""The store: whatever was written comes back, in the same order from memory and from files."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from gazeray.config import StorageConfig
from gazeray.storage import Folder
from gazeray.store import (
    Column,
    Held,
    LRUCache,
    Shard,
    Store,
    look,
    windows,
    write_column,
    write_shard,
)
from gazeray.store.columns import read_rows
from gazeray.study import FillShards
from gazeray.tables import QUALITY, Reject
from tests.chaos.faulty_s3 import faulty_s3

SIZES = [5, 1, 0, 9, 3, 7]
KEYS = [str(number) for number in range(len(SIZES))]
ROWS = sum(SIZES)


def missing_shards(folder: Folder, keys: list[str]) -> list[str]:
    """The packs that are not complete."""
    notes = look(folder, keys).notes
    return [key for key in keys if key not in notes]


def ragged_of(row: int) -> np.ndarray:
    """(row % 4, 2): what the ragged column of a row holds."""
    return np.full((row % 4, 2), row, np.float32)


def write_six(folder: Folder) -> Store:
    """Six shards of 25 examples in all, one of them empty; every column holds its own row number."""
    row = 0
    for key, size in zip(KEYS, SIZES, strict=True):
        own = np.arange(row, row + size)
        picture = own.astype(np.float16).reshape(size, 1, 1, 1) * np.ones((1, 1, 2, 3), np.float16)
        ids = pa.table({"participant": pa.array([f"P{key}"] * size, pa.string()), "label_index": pa.array(own % 2)})
        ragged = [ragged_of(one) for one in own.tolist()]
        write_shard(folder, key, Shard(ids, {"picture": picture, "ragged": ragged, "byte": own.astype(np.uint8)}))
        row += size
    return Store.open(folder, KEYS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_six(Folder(tmp_path))


@dataclass(frozen=True)
class Shelf:
    """Columns that lie in the memory of this process."""

    held: Held

    def __call__(self) -> Held:
        return self.held


def in_memory(store: Store, *columns: str) -> Store:
    """The same store with some columns in memory, where nobody may write."""
    held = store.read(columns)
    for values in held.values():
        for one in values if isinstance(values, list) else [values]:
            one.flags.writeable = False
    shared = store.select(np.arange(len(store)))
    shared.shared = Shelf(held)
    return shared


def no_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a file of the store from now on fails."""
    for method in ("read_bytes", "read_range"):
        monkeypatch.setattr(Folder, method, lambda self, path, *_: pytest.fail(f"{path} was read"))


# -- batches


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("window", [1, 6, 1000])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_shared_and_streamed_batches_agree(store: Store, seed: int | None, window: int, batch: int) -> None:
    shared = in_memory(store, "picture", "ragged")
    store.window_examples = shared.window_examples = window
    rows = np.flatnonzero(np.arange(ROWS) % 3 != 1)
    columns = ["picture", "ragged", "label_index"]
    ours, theirs = (list(one.batches(rows, batch, columns, seed)) for one in (shared, store))
    assert len(ours) == len(theirs) == -(-len(rows) // batch)
    for (a_rows, a), (b_rows, b) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a_rows, b_rows)
        np.testing.assert_array_equal(a["picture"], b["picture"])
        np.testing.assert_array_equal(a["picture"][:, 0, 0, 0], a_rows)
        np.testing.assert_array_equal(a["label_index"], a_rows % 2)
        for row, one, other in zip(a_rows.tolist(), a["ragged"], b["ragged"], strict=True):
            np.testing.assert_array_equal(one, ragged_of(row))
            np.testing.assert_array_equal(other, ragged_of(row))
    seen = np.concatenate([a_rows for a_rows, _ in ours])
    np.testing.assert_array_equal(np.sort(seen), rows)
    if seed is None:
        np.testing.assert_array_equal(seen, rows)


def test_batches_come_in_the_order_of_earlier_versions(store: Store) -> None:
    """Results depend on it: shards in random order, then the rows of a window of whole shards."""
    store.window_examples = 6
    seen = [rows.tolist() for rows, _ in store.batches(np.arange(ROWS), 8, ["byte"], seed=7)]
    rng = np.random.default_rng(7)
    homes = [list(range(sum(SIZES[:number]), sum(SIZES[: number + 1]))) for number in range(len(SIZES))]
    order = np.array([number for number, size in enumerate(SIZES) if size])
    rng.shuffle(order)
    expected: list[int] = []
    window: list[int] = []
    for place, number in enumerate(order):
        window += homes[number]
        if len(window) >= 6 or place == len(order) - 1:
            block = np.array(window)
            rng.shuffle(block)
            expected += block.tolist()
            window = []
    assert seen == [expected[start : start + 8] for start in range(0, ROWS, 8)]
    assert seen[0] == GOLDEN


GOLDEN = [10, 12, 11, 6, 7, 9, 14, 13]
"""What NumPy's generator gives for seed 7, whatever the code above says."""


def test_shuffle_depends_on_the_seed_only(store: Store) -> None:
    rows = np.arange(ROWS)

    def order(seed: int, chosen: np.ndarray = rows) -> list[int]:
        return np.concatenate(list(windows(store.shard, chosen, 1000, seed))).tolist()

    assert order(1) == order(1)
    assert order(1) == order(1, rows[::-1])
    assert order(1) != order(2)
    assert order(1) != rows.tolist()


def test_window_holds_whole_shards_and_little_more_than_its_size(store: Store) -> None:
    parts = list(windows(store.shard, np.arange(ROWS), 8, 3))
    assert len(parts) > 1
    homes = [set(store.shard[part]) for part in parts]
    assert sum(map(len, homes)) == len(set.union(*homes))
    assert max(map(len, parts)) < 8 + max(SIZES)


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("window", [1, 6, 1000])
def test_rows_that_are_drawn_several_times_come_as_often(store: Store, seed: int | None, window: int) -> None:
    store.window_examples = window
    drawn = np.random.default_rng(0).integers(0, ROWS, 60)
    seen = []
    for rows, batch in store.batches(drawn, 7, ["picture", "ragged", "label_index"], seed):
        np.testing.assert_array_equal(np.asarray(batch["picture"])[:, 0, 0, 0], rows)
        np.testing.assert_array_equal(batch["label_index"], rows % 2)
        for row, values in zip(rows.tolist(), batch["ragged"], strict=True):
            np.testing.assert_array_equal(values, ragged_of(row))
        seen.append(rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.sort(drawn))
    homes = [set(store.shard[part]) for part in windows(store.shard, drawn, window, seed)]
    assert sum(map(len, homes)) == len(set.union(*homes)), "a shard is visited once"


def test_no_rows_give_no_batches(store: Store) -> None:
    assert list(store.batches(np.empty(0, np.int64), 4, ["picture"], 1)) == []


# -- taking


def test_rows_are_taken_in_the_order_that_is_asked_for(store: Store) -> None:
    rows = np.array([24, 0, 6, 0, 17])
    taken = store.take(rows, ["picture", "ragged", "participant", "label_index"])
    np.testing.assert_array_equal(taken["picture"][:, 0, 0, 0], rows)
    for row, values in zip(rows.tolist(), taken["ragged"], strict=True):
        np.testing.assert_array_equal(values, ragged_of(row))
    assert taken["participant"].tolist() == ["P5", "P0", "P3", "P0", "P4"]
    assert taken["label_index"].tolist() == [0, 0, 0, 0, 1]


def test_taken_arrays_can_be_written_to_and_nobody_else_sees_it(store: Store) -> None:
    shared = in_memory(store, "picture")
    taken = shared.take(np.array([3, 1]), ["picture"])["picture"]
    taken += 1
    assert taken[:, 0, 0, 0].tolist() == [4, 2]
    assert shared.take(np.array([3, 1]), ["picture"])["picture"][:, 0, 0, 0].tolist() == [3, 1]


def test_unknown_column_is_an_error(store: Store) -> None:
    with pytest.raises(KeyError, match="nobody"):
        store.take(np.array([0]), ["nobody"])


def test_no_rows_have_the_shape_and_type_of_the_column(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_shard(folder, "0", Shard(pa.table({"name": pa.array([], pa.string())}), {}))
    write_shard(
        folder, "1", Shard(pa.table({"name": ["a"]}), {"map": np.ones((1, 2, 3), np.float16), "list": [np.ones(2)]})
    )
    taken = Store.open(folder, ["0", "1"]).take(np.empty(0, np.int64), ["map", "list", "name"])
    assert (taken["map"].shape, taken["map"].dtype) == ((0, 2, 3), np.float16)  # type: ignore[union-attr]
    assert (len(taken["list"]), len(taken["name"])) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_])
def test_types_and_values_are_kept(tmp_path: Path, dtype: type) -> None:
    folder = Folder(tmp_path)
    values = np.array([[0, 1, 3], [7, 100, 0]]).astype(dtype)
    turned = np.asfortranarray(values)
    columns = {"plain": values, "turned": turned, "ragged": [values[0], values[1, :2]]}
    write_shard(folder, "0", Shard(pa.table({"name": ["a", "b"]}), columns))
    taken = Store.open(folder, ["0"]).take(np.array([0, 1]), ["plain", "turned", "ragged"])
    for found, expected in zip(
        [taken["plain"], taken["turned"], *taken["ragged"]], [values, values, values[0], values[1, :2]], strict=True
    ):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_float16_keeps_what_is_no_number_and_endless(tmp_path: Path) -> None:
    folder, values = Folder(tmp_path), np.array([[np.nan, np.inf, -np.inf, 65504, 6e-8]], np.float16)
    write_shard(folder, "0", Shard(pa.table({"name": ["a"]}), {"x": values}))
    found = Store.open(folder, ["0"]).take(np.array([0]), ["x"])["x"]
    assert np.asarray(found).tobytes() == values.tobytes()


def test_plain_column_of_text_may_hold_anything(tmp_path: Path) -> None:
    names = ["", "ä/ö", "007", "__metadata__", "a b"]
    write_shard(Folder(tmp_path), "0", Shard(pa.table({"name": names, "x": [1.5, None, 2.0, float("nan"), 0.0]}), {}))
    store = Store.open(Folder(tmp_path), ["0"])
    assert store.plain("name").tolist() == names
    np.testing.assert_array_equal(store.plain("x"), [1.5, np.nan, 2.0, np.nan, 0.0])


def test_column_of_a_shard_is_a_plain_safetensors_file(store: Store, tmp_path: Path) -> None:
    found = load_file(tmp_path / "columns" / "picture" / "3.safetensors")
    assert found["values"].shape == (9, 1, 2, 3)


# -- shards


def test_shard_without_a_note_is_missing_and_done_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_six(folder)
    assert missing_shards(folder, [*KEYS, "new"]) == ["new"]
    (tmp_path / "3.json").unlink()  # written last: it was cut off before
    assert missing_shards(folder, KEYS) == ["3"]
    FillShards(lambda piece: Shard(pa.table({"participant": ["P3"]}), {"picture": np.ones((1, 1, 2, 3))}), folder)(
        torch.device("cpu")
    )({"key": "3"})
    assert missing_shards(folder, KEYS) == []
    assert len(Store.open(folder, KEYS)) == ROWS - 9 + 1


def test_shard_that_cannot_be_read_leaves_no_note(tmp_path: Path) -> None:
    def read(piece: object) -> Shard:
        raise ValueError("no such recording")

    with pytest.raises(ValueError, match="no such recording"):
        FillShards(read, Folder(tmp_path)).do({"key": "0"})
    assert list(tmp_path.iterdir()) == []


def test_note_keeps_rejects_quality_and_what_was_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    quality = dict.fromkeys(QUALITY.names) | {"participant": "P0", "trial": "1", "n_samples": 3}
    for key, reason in (("0", "too short"), ("1", "blank")):
        events = pa.table({"onset_ms": [float(key)]})
        shard = Shard(
            pa.table({"participant": pa.array([], pa.string())}), {}, [Reject(f"{key}.csv", -1, "render", reason)],
            pa.Table.from_pylist([quality | {"lost_share": float("nan")}], schema=QUALITY), f"sha-{key}", 7,
            {"fixations": events} if key == "0" else {"fixations": events, "saccades": events}, [f"note {key}"],
        )  # fmt: skip
        write_shard(folder, key, shard)
    store = Store.open(folder, ["0", "1"])
    assert store.log is not None
    assert [(one.source, one.reason) for one in store.log.rejects] == [("0.csv", "too short"), ("1.csv", "blank")]
    assert store.table_of("quality")["n_samples"].to_pylist() == [3, 3]
    assert store.table_of("quality")["lost_share"].null_count == 2
    assert (store.log.contents, store.log.rows_read, store.log.notes) == (["sha-0", "sha-1"], 14, ["note 0", "note 1"])
    assert store.table_of("fixations")["onset_ms"].to_pylist() == [0.0, 1.0]
    assert store.table_of("saccades")["onset_ms"].to_pylist() == [1.0]
    assert len(store) == 0


def test_column_can_be_added_to_a_store_later(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    before = write_six(folder)
    for key, size in zip(KEYS, SIZES, strict=True):
        assert "late" not in Store.open(folder, KEYS).columns, "not before every shard with examples has it"
        if size:
            write_column(folder, "late", key, np.full((size, 2), int(key), np.float32))
    after = Store.open(folder, KEYS)
    assert set(after.columns) == {*before.columns, "late"}
    np.testing.assert_array_equal(after.take(np.arange(ROWS), ["late"])["late"][:, 0], after.shard)


def test_name_of_a_column_may_hold_a_slash_and_dots(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_shard(folder, "a", Shard(pa.table({"name": ["x"]}), {"layer1.0/conv": np.ones((1, 2))}))
    store = Store.open(folder, ["a"])
    assert store.columns == ("layer1.0/conv",)
    assert store.take(np.array([0]), ["layer1.0/conv"])["layer1.0/conv"].shape == (1, 2)  # type: ignore[union-attr]


# -- other views of the same examples


def test_selected_examples_keep_their_columns_and_joins(store: Store) -> None:
    rows = np.array([1, 4, 5, 20, 24])
    some = store.select(rows)
    assert len(some) == 5
    np.testing.assert_array_equal(some.take(np.arange(5), ["byte"])["byte"], rows)
    assert some.plain("participant").tolist() == ["P0", "P0", "P1", "P5", "P5"]
    twice = some.select(np.array([1, 3]))
    np.testing.assert_array_equal(twice.take(np.arange(2), ["byte"])["byte"], [4, 20])
    assert len(store) == ROWS


def test_other_plain_columns_leave_the_tensors_where_they_are(store: Store) -> None:
    other = store.with_table(pa.table({"label_index": np.arange(ROWS)[::-1]}))
    found = other.take(np.array([2]), ["label_index", "byte"])
    assert (found["label_index"][0], found["byte"][0]) == (ROWS - 3, 2)
    assert store.plain("label_index")[2] == 0


def pictures_of(folder: Folder, names: list[str]) -> Store:
    """Two shards of pictures, (2,) each, that hold 10 times their place."""
    half = len(names) // 2
    for key, start, own in (("a", 0, names[:half]), ("b", half, names[half:])):
        values = 10.0 * np.arange(start, start + len(own))[:, None] * np.ones((1, 2))
        write_shard(folder, key, Shard(pa.table({"who": own, "kind": ["x"] * len(own)}), {"features": values}))
    return Store.open(folder, ["a", "b"])


def test_examples_share_the_columns_of_what_they_are_joined_with(store: Store, tmp_path: Path) -> None:
    pictures = pictures_of(Folder(tmp_path / "pictures"), [f"P{number}" for number in (5, 3, 4, 0, 1)])
    asked = store.with_table(store.table.append_column("who", store.table["participant"]))
    joined = asked.join(pictures, ["who"])
    place = {"5": 0, "3": 1, "4": 2, "0": 3, "1": 4}
    expected = [10.0 * place[KEYS[shard]] for shard in store.shard]
    taken = joined.take(np.arange(ROWS), ["features", "byte"])
    np.testing.assert_array_equal(taken["features"][:, 1], expected)
    np.testing.assert_array_equal(taken["byte"], np.arange(ROWS))
    some = joined.select(np.array([24, 6])[::-1])
    np.testing.assert_array_equal(some.take(np.array([1, 0]), ["features"])["features"][:, 0], [0.0, 10.0])
    batches = list(joined.batches(np.arange(ROWS), 10, ["features"], seed=3))
    for rows, batch in batches:
        np.testing.assert_array_equal(batch["features"][:, 0], np.array(expected)[rows])


def test_joins_may_use_several_keys(tmp_path: Path) -> None:
    frames = pa.table({"video": ["u", "u", "v"], "frame": [0, 1, 0]})
    write_shard(Folder(tmp_path / "frames"), "0", Shard(frames, {"frame_features": np.array([[0.0], [1.0], [2.0]])}))
    looks = pa.table({"video": ["v", "u", "u"], "frame": [0, 1, 0], "who": ["a", "a", "b"]})
    write_shard(Folder(tmp_path / "looks"), "0", Shard(looks, {}))
    joined = Store.open(Folder(tmp_path / "looks"), ["0"]).join(
        Store.open(Folder(tmp_path / "frames"), ["0"]), ["video", "frame"]
    )
    assert np.asarray(joined.take(np.arange(3), ["frame_features"])["frame_features"]).ravel().tolist() == [2, 1, 0]


def test_store_that_was_joined_brings_what_it_was_joined_with(tmp_path: Path) -> None:
    stores = []
    for name, column in (("looks", "gaze"), ("frames", "colour"), ("videos", "genre")):
        table = pa.table({"video": ["u"], "frame": [0]})
        write_shard(Folder(tmp_path / name), "0", Shard(table, {column: np.array([[len(name)]])}))
        stores.append(Store.open(Folder(tmp_path / name), ["0"]))
    looks, frames, videos = stores
    joined = looks.join(frames.join(videos, ["video"]), ["video", "frame"])
    found = joined.take(np.array([0]), ["gaze", "colour", "genre"])
    assert [int(np.asarray(values)[0, 0]) for values in found.values()] == [5, 6, 6]
    with pytest.raises(ValueError, match="both stores have the columns colour"):
        joined.join(frames, ["video", "frame"])


def test_plain_column_that_only_some_shards_have_is_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    write_shard(folder, "a", Shard(pa.table({"name": ["x"]}), {}))
    write_shard(folder, "b", Shard(pa.table({"name": ["y"], "kind": [1]}), {}))
    assert Store.open(folder, ["a", "b"]).table["kind"].to_pylist() == [None, 1]


def test_example_without_a_match_or_with_two_is_named(store: Store, tmp_path: Path) -> None:
    asked = store.with_table(store.table.append_column("who", store.table["participant"]))
    few = pictures_of(Folder(tmp_path / "few"), ["P0", "P3", "P4", "P5"])
    with pytest.raises(ValueError, match=r"1 examples have nothing to join, the first is \('P1',\)"):
        asked.join(few, ["who"])
    double = pictures_of(Folder(tmp_path / "double"), ["P0", "P1", "P3", "P4", "P5", "P3"])
    with pytest.raises(ValueError, match=r"\('P3',\) is there more than once"):
        asked.join(double, ["who"])


# -- memory and travel


def test_columns_in_memory_are_not_read_from_files(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = in_memory(store, "picture")
    no_files(store, monkeypatch)
    np.testing.assert_array_equal(shared.take(np.arange(ROWS), ["picture"])["picture"][:, 0, 0, 0], np.arange(ROWS))
    with pytest.raises(pytest.fail.Exception, match="was read"):
        shared.take(np.array([0]), ["byte"])


def test_what_was_read_is_kept_up_to_a_number_of_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    read = read_rows

    def counted(folder: Folder, name: str, key: str, *words: Any) -> Column:
        reads.append(key)
        return read(folder, name, key, *words)

    monkeypatch.setattr("gazeray.store.read_rows", counted)
    rows = np.array([0, 24])
    for _ in range(3):
        store.take(rows, ["byte"])
    assert len(reads) == 6, "nothing is kept where nothing may be"
    keeping = store.select(np.arange(ROWS))
    keeping.cache_bytes = 12.0  # 5 and 7 bytes
    keeping._forget()
    reads.clear()
    for _ in range(3):
        keeping.take(rows, ["byte"])
    assert len(reads) == 2
    keeping.take(np.array([6]), ["byte"])  # 9 bytes more: what was not used for longest goes
    keeping.take(np.array([6]), ["byte"])
    assert len(reads) == 3


def test_travelling_store_holds_no_tensor_and_no_log(store: Store) -> None:
    shared = in_memory(store, "picture")
    shared.shared = None
    shared.cache_bytes = 1e6
    before = len(pickle.dumps(shared))
    shared.take(np.arange(ROWS), ["picture", "byte", "participant"])
    data = pickle.dumps(shared)
    assert len(data) == before
    there = pickle.loads(data)
    assert there.log is None
    assert store.log is not None
    assert len(there) == ROWS
    for (rows, batch), (other_rows, other) in zip(
        there.batches(np.arange(ROWS), 4, ["picture"], 5),
        store.batches(np.arange(ROWS), 4, ["picture"], 5),
        strict=True,
    ):
        np.testing.assert_array_equal(rows, other_rows)
        np.testing.assert_array_equal(batch["picture"], other["picture"])


def test_size_of_columns_is_that_of_their_files(store: Store, tmp_path: Path) -> None:
    files = [path for name in ("picture", "byte") for path in (tmp_path / "columns" / name).iterdir()]
    with_examples = [path for path in files if SIZES[KEYS.index(path.stem)]]
    assert store.bytes_of(["picture", "byte"]) == sum(path.stat().st_size for path in with_examples)


def test_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: LRUCache[str, str] = LRUCache(10)
    made: list[str] = []

    def ask(key: str) -> str:
        def read() -> str:
            made.append(key)
            return key * 4

        return cache.get(key, read, len)

    for key in "ababca":  # c does not fit beside a and b: a goes, as b was used after it
        assert ask(key) == key * 4
    assert made == ["a", "b", "c", "a"]
    assert cache.bytes <= 10
    assert cache.get("large", lambda: "x" * 11, len) == "x" * 11
    assert "large" not in cache.entries


@pytest.mark.parametrize("client", ["pyarrow", "s3fs"])
def test_object_store_holds_the_same_examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, client: Any) -> None:
    near = write_six(Folder(tmp_path))
    with faulty_s3("examples") as bucket:
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        bucket.share = 0.05
        far = write_six(Folder("s3://examples/store", StorageConfig(filesystem=client)))
        assert missing_shards(far.folder, [*KEYS, "new"]) == ["new"]
        assert far.table.equals(near.table)
        assert far.bytes_of(["picture"]) == near.bytes_of(["picture"])
        for ours, theirs in zip(
            *(one.batches(np.arange(ROWS), 4, ["picture", "byte"], 5) for one in (near, far)), strict=True
        ):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1]["picture"], theirs[1]["picture"])
            np.testing.assert_array_equal(ours[1]["byte"], theirs[1]["byte"])
        assert far.read(["picture"]).keys() == near.read(["picture"]).keys()
