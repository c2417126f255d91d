# SPDX-License-Identifier: Apache-2.0
"""Packs: shards that share files are the same examples in the same order, and what is damaged is done again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gazeray.storage import Folder, StorageError
from gazeray.store import (
    DamagedPacks,
    Shard,
    Store,
    look,
    verify,
    write_column,
    write_pack,
)
from gazeray.store.passes import MOST_SHARDS, PACKS, Pass, healed, packed, verified
from gazeray.tables import QUALITY, Reject

SIZES = [5, 1, 0, 9, 3, 7]
ROWS = sum(SIZES)
KEYS = [f"P{number}" for number in range(len(SIZES))]
COLUMNS = ("picture", "series")


def missing_shards(folder: Folder, keys: list[str]) -> list[str]:
    """The packs that are not complete."""
    notes = look(folder, keys).notes
    return [key for key in keys if key not in notes]


def read(piece: Mapping[str, Any]) -> Shard:
    """One recording: every value follows from the number of the row."""
    number = KEYS.index(piece["key"])
    own = np.arange(sum(SIZES[:number]), sum(SIZES[: number + 1]))
    rows = {"who": pa.array([piece["key"]] * len(own), pa.string()), "x": pa.array(own / 2, pa.float32())}
    picture = own.astype(np.float16).reshape(-1, 1, 1) * np.ones((1, 2, 3), np.float16)
    series = [np.full((row % 4, 2), row, np.float32) for row in own.tolist()]
    quality = dict.fromkeys(QUALITY.names) | {"participant": piece["key"], "n_samples": number}
    return Shard(
        pa.table(rows), {"picture": picture, "series": series}, [Reject(piece["key"], number, "gaze", "too short")],
        pa.Table.from_pylist([quality], schema=QUALITY), f"sha-{number}", 10 + number,
        {"fixations": pa.table({"onset_ms": own.astype(np.float64)})}, [f"note {number}"],
    )  # fmt: skip


def written(folder: Folder, groups: Sequence[Sequence[str]]) -> Store:
    """The six shards in packs of some of them each."""
    for place, keys in enumerate(groups):
        write_pack(folder, f"{place:05d}", {key: read({"key": key}) for key in keys})
    return Store.open(folder, [f"{place:05d}" for place in range(len(groups))])


def streamed(store: Store) -> Store:
    return store


def held(store: Store) -> Store:
    """The same store, its columns in memory."""
    values = store.read(COLUMNS)
    shared = store.select(np.arange(len(store)))
    shared.shared = lambda: values
    return shared


ONE_EACH = [[key] for key in KEYS]
GROUPS = [ONE_EACH, [KEYS], [KEYS[:2], KEYS[2:3], KEYS[3:]], [KEYS[:4], KEYS[4:]]]


def same(one: Any, other: Any) -> bool:
    """Equal values of a column, ragged or not."""
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


# -- several shards in one file


@pytest.mark.parametrize("groups", GROUPS[1:])
@pytest.mark.parametrize("memory", [held, streamed])
@pytest.mark.parametrize("seed", [None, 3])
def test_packs_give_the_batches_of_single_shards(
    tmp_path: Path, groups: Sequence[Sequence[str]], memory: Callable[[Store], Store], seed: int | None
) -> None:
    alone, together = written(Folder(tmp_path / "a"), ONE_EACH), memory(written(Folder(tmp_path / "b"), groups))
    alone.window_examples = together.window_examples = 8
    rows = np.flatnonzero(np.arange(ROWS) % 5 != 1)
    columns = [*COLUMNS, "x", "who"]
    ours, theirs = (list(one.batches(rows, 4, columns, seed)) for one in (together, alone))
    assert len(ours) == len(theirs) == -(-len(rows) // 4)
    for (own_rows, own), (other_rows, other) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(own_rows, other_rows)
        assert all(same(own[name], other[name]) for name in columns)
        np.testing.assert_array_equal(np.asarray(own["picture"])[:, 0, 0], own_rows)


@pytest.mark.parametrize("groups", GROUPS[1:])
@pytest.mark.parametrize("memory", [held, streamed])
def test_packs_are_taken_from_and_selected_as_single_shards(
    tmp_path: Path, groups: Sequence[Sequence[str]], memory: Callable[[Store], Store]
) -> None:
    store = memory(written(Folder(tmp_path), groups))
    rows = np.array([24, 0, 6, 0, 17, 5])
    some = store.select(np.array([1, 4, 5, 17, 24]))
    for asked, found in (
        (rows, store.take(rows, COLUMNS)),
        (np.array([24, 1, 5]), some.take(np.array([4, 0, 2]), COLUMNS)),
    ):
        np.testing.assert_array_equal(np.asarray(found["picture"])[:, 1, 2], asked)
        assert [values.tolist() for values in found["series"]] == [[[row, row]] * (row % 4) for row in asked.tolist()]


@pytest.mark.parametrize("groups", GROUPS[1:])
def test_everything_else_that_shards_say_is_the_same(tmp_path: Path, groups: Sequence[Sequence[str]]) -> None:
    alone, together = written(Folder(tmp_path / "a"), ONE_EACH), written(Folder(tmp_path / "b"), groups)
    assert together.table.equals(alone.table)
    assert together.table.schema.field("x").type == pa.float64()
    np.testing.assert_array_equal(together.shard, alone.shard)
    np.testing.assert_array_equal(together.offset, alone.offset)
    assert (together.keys, together.columns) == (tuple(KEYS), alone.columns)
    assert together.content == alone.content
    assert together.log is not None
    assert alone.log is not None
    assert together.log.rejects == alone.log.rejects
    assert (together.log.contents, together.log.notes) == (alone.log.contents, alone.log.notes)
    assert together.log.rows_read == alone.log.rows_read
    for name in ("fixations", "quality"):
        assert together.table_of(name).equals(alone.table_of(name))


def test_recording_that_is_streamed_reads_its_own_bytes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = written(Folder(tmp_path), [KEYS])
    asked: list[int] = []
    read_range = Folder.read_range

    def counted(self: Folder, path: str, start: int, size: int) -> bytes:
        asked.append(size)
        return read_range(self, path, start, size)

    monkeypatch.setattr(Folder, "read_range", counted)
    monkeypatch.setattr(Folder, "read_bytes", lambda self, path: pytest.fail(f"the whole of {path} was read"))
    store.take(np.array([0, 4]), ["picture"])
    assert asked[1:] == [5 * 6 * 2], "after the header: five pictures of 2 x 3 float16"
    store.take(np.array([6, 7]), ["picture"])
    assert asked[2:] == [9 * 6 * 2], "the header is known"


def test_shards_of_a_pack_must_have_the_same_columns(tmp_path: Path) -> None:
    table = pa.table({"who": ["a"]})
    with pytest.raises(ValueError, match="pack 0: not all shards with examples have the columns one"):
        write_pack(
            Folder(tmp_path), "0",
            {"a": Shard(table, {"one": np.ones((1, 2))}), "b": Shard(table, {"two": np.ones((1, 2))})},
        )  # fmt: skip


def test_few_pieces_stay_alone_and_many_share_packs() -> None:
    few = [{"key": str(number)} for number in range(PACKS)]
    assert packed(few) == few
    many = [{"key": str(number)} for number in range(1001)]
    packs = packed(many)
    assert [piece for pack in packs for piece in pack["pieces"]] == many
    assert len(packs) == len({pack["key"] for pack in packs}) == PACKS
    assert max(len(pack["pieces"]) for pack in packs) - min(len(pack["pieces"]) for pack in packs) <= 1
    assert [pack["key"] for pack in packed(many)] == [pack["key"] for pack in packs]
    assert packed(many[1:])[0]["key"] not in {pack["key"] for pack in packs}
    most = packed([{"key": str(number)} for number in range(PACKS * MOST_SHARDS + 1)])
    assert len(most) == PACKS + 1
    large = packed([{"key": str(number), "size": 200e6} for number in range(100)])
    assert max(len(pack.get("pieces", [pack])) for pack in large) == 2


# -- what is damaged


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    """Another bit in the middle: the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def gone(path: Path) -> None:
    path.unlink()


FILES = ["columns/picture/00000.safetensors", "columns/series/00000.safetensors", "tables/00000.arrows", "00000.json"]


def reading(folder: Folder) -> Pass:
    """The pass over the six shards, in two packs."""
    packs = {"00000": KEYS[:4], "00001": KEYS[4:]}

    def pieces(keys: Sequence[str]) -> list[dict[str, Any]]:
        return [{"key": key, "pieces": [{"key": one} for one in packs[key]]} for key in keys]

    def make(device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        return lambda piece: write_pack(folder, piece["key"], {one["key"]: read(one) for one in piece["pieces"]})

    return Pass.over("reading", list(packs), pieces, make, folder, COLUMNS)


class Runs:
    """Does passes in this process and remembers what was done and said."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.said: list[str] = []

    def do(self, work: Pass) -> None:
        make = work.make(torch.device("cpu"))
        for piece in work.pieces:
            make(piece)
            self.done += [piece["key"]] if "files" not in piece else []  # not those that are only compared

    def all(self, folder: Folder, in_memory: bool = True) -> Store:
        """As the engine goes through a pass."""
        work = reading(folder)
        if work.damaged:
            self.said.append(work.said_of(work.damaged))
        self.do(work)
        store = healed(work, lambda: Store.open(folder, work.keys), self.do, self.said.append)
        if in_memory:
            values = healed(work, lambda: store.read(COLUMNS), self.do, self.said.append)
            store.shared = lambda: values
        else:
            healed(work, lambda: verified(work, store, self.do), self.do, self.said.append)
        return store


def everything(store: Store) -> list[Any]:
    taken = store.take(np.arange(len(store)), [*COLUMNS, "x"])
    return [[np.asarray(one).tobytes() for one in taken[name]] for name in taken] + [
        store.table.to_pylist(), store.content, store.table_of("fixations").to_pylist(), store.rejects
    ]  # fmt: skip


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("damage", [cut, flip, gone])
@pytest.mark.parametrize("file", FILES)
def test_damaged_file_is_done_again_and_told_in_one_line(
    tmp_path: Path, file: str, damage: Callable[[Path], None], in_memory: bool
) -> None:
    folder = Folder(tmp_path)
    whole = everything(Runs().all(folder))
    assert missing_shards(folder, ["00000", "00001"]) == []
    damage(tmp_path / file)
    runs = Runs()
    assert everything(runs.all(folder, in_memory)) == whole
    if file.endswith(".json") and damage is gone:  # it was never finished: nothing to tell
        assert runs.said == []
    else:
        (said,) = runs.said
        assert said.startswith(f"reading: 1 of 2 packs is damaged ({file}: ")
        assert said.endswith("): done again")
    again = Runs()
    assert everything(again.all(folder)) == whole
    assert (again.done, again.said) == ([], [])


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("file", FILES)
def test_file_of_another_pack_is_found(tmp_path: Path, file: str, in_memory: bool) -> None:
    """Both packs have as many rows, so that all sizes fit."""
    folder = Folder(tmp_path)

    def three(piece: Mapping[str, Any]) -> Shard:
        values = np.full((3, 2), int(piece["key"]), np.float32)
        return Shard(pa.table({"who": [piece["key"]] * 3}), {"picture": values, "series": list(values)})

    def work() -> Pass:
        return Pass.reading("reading", [{"key": key} for key in ("00000", "00001")], three, folder, COLUMNS)

    runs = Runs()
    runs.do(work())
    shutil.copy(tmp_path / file.replace("00000", "00001"), tmp_path / file)
    again = work()
    if again.damaged:
        runs.said.append(again.said_of(again.damaged))
    runs.do(again)
    store = healed(again, lambda: Store.open(folder, again.keys), runs.do, runs.said.append)
    if in_memory:
        healed(again, lambda: store.read(COLUMNS), runs.do, runs.said.append)
    else:
        healed(again, lambda: verified(again, store, runs.do), runs.do, runs.said.append)
    assert len(runs.said) == 1
    assert f"1 of 2 packs is damaged ({file}: not" in runs.said[0]
    assert np.asarray(store.take(np.arange(6), ["picture"])["picture"])[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert store.plain("who").tolist() == ["00000"] * 3 + ["00001"] * 3


def test_pack_that_was_cut_off_before_its_note_is_done_whole(tmp_path: Path) -> None:
    folder, runs = Folder(tmp_path), Runs()
    whole = everything(Runs().all(folder))
    (tmp_path / "00001.json").unlink()
    cut(tmp_path / "columns/picture/00001.safetensors")
    assert everything(runs.all(folder)) == whole
    assert (runs.done, runs.said) == (["00001"], [])


def test_what_this_run_has_written_is_not_compared_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    Runs().all(folder)
    (tmp_path / "00001.json").unlink()
    work, compared = reading(folder), []
    Runs().do(work)
    verified(work, Store.open(folder, work.keys), lambda some: compared.extend(some.pieces))
    assert [piece["key"] for piece in compared] == ["00000"]
    assert [name for name, *_ in compared[0]["files"]] == FILES[:2]
    assert json.loads(json.dumps(compared[0])) == compared[0], "it travels as plain values"


def test_damage_that_stays_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    store = Runs().all(folder, in_memory=False)
    flip(tmp_path / FILES[0])
    with pytest.raises(DamagedPacks, match=r"damaged, to be done again: columns/picture/00000\.safetensors: not the b"):
        healed(reading(folder), lambda: store.read(COLUMNS), lambda work: None, lambda line: None)
    with pytest.raises(DamagedPacks, match="00000"):
        Store.open(folder, ["00000", "00001"])


def test_column_that_was_added_later_is_vouched_for_too(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    written(folder, [KEYS[:4], KEYS[4:]])
    for key, count in (("00000", 15), ("00001", 10)):
        write_column(folder, "late/one", key, np.full((count, 2), int(key), np.float32))
    store = Store.open(folder, ["00000", "00001"])
    assert "late/one" in store.columns
    flip(tmp_path / "columns/late/one/00001.safetensors")
    with pytest.raises(DamagedPacks) as caught:
        verify(folder, {path: one for files in store.files_of(["late/one"]).values() for path, one in files.items()})
    assert list(caught.value.packs) == ["00001"]
    found = look(folder, ["00000", "00001"])
    assert set(found.notes) == {"00000", "00001"}, "the pack itself is whole"
    assert (("late/one", "00000") in found.columns, ("late/one", "00001") in found.columns) == (True, False)
    assert "late/one" not in Store.open(folder, ["00000", "00001"]).columns
    write_column(folder, "late/one", "00001", np.ones((10, 2), np.float32))
    assert "late/one" in Store.open(folder, ["00000", "00001"]).columns


def bright(rows: int, brightness: float) -> Any:
    """A pack whose content follows from who reads it: features of another machine, or of another version."""

    def read(piece: Mapping[str, Any]) -> Shard:
        values = np.full((rows, 2), brightness, np.float32)
        return Shard(pa.table({"who": [piece["key"]] * rows}), {"picture": values, "series": list(values)})

    return read


def test_pack_that_is_done_again_may_hold_other_bytes_but_no_other_rows(tmp_path: Path) -> None:
    folder, runs = Folder(tmp_path), Runs()

    def work(read: Any) -> Pass:
        return Pass.reading("reading", [{"key": key} for key in ("00000", "00001")], read, folder, COLUMNS)

    runs.do(work(bright(3, 1)))
    store = Store.open(folder, ["00000", "00001"])
    flip(tmp_path / FILES[0])
    read = partial(store.read, COLUMNS)
    held = healed(work(bright(3, 2)), read, runs.do, runs.said.append, store)
    assert [float(np.asarray(held["picture", key]).max()) for key in ("00000", "00001")] == [2, 1]
    flip(tmp_path / FILES[0])
    with pytest.raises(StorageError, match="00000 was done again and holds other rows: run again"):
        healed(work(bright(4, 2)), read, runs.do, runs.said.append, store)
