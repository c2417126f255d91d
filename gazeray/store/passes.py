# SPDX-License-Identifier: Apache-2.0
"""Passes over the data that fill stores: in pieces that any worker can do, each of which leaves a pack.

What is there and whole is kept; what is not, or not as it was written, is done (again).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gazeray.config import digest
from gazeray.storage import Folder, StorageError
from gazeray.store import DamagedPacks, Look, Shard, Store, Vouched, look, verify, write_pack

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Piece = Mapping[str, Any]
"""A piece of a pass: plain values, among them its `key`."""

PACKS, MOST_SHARDS, MOST_BYTES = 48, 500, 256e6
"""Into how many packs many recordings go; a pack has at most so many of them, and raw bytes."""


@dataclass(frozen=True)
class FillShards:
    """The `make` of a pass that reads: a piece becomes a shard by a function, and several, its `pieces`, a pack."""

    read: Callable[[Piece], Shard]
    folder: Folder

    def __call__(self, device: torch.device) -> Callable[[Piece], None]:
        """Nothing has to be set up."""
        return self.do

    def do(self, piece: Piece) -> None:
        """Read one piece and write its pack."""
        write_pack(self.folder, piece["key"], {one["key"]: self.read(one) for one in piece.get("pieces", [piece])})


@dataclass(frozen=True)
class VerifyPacks:
    """The `make` of a pass that reads what is there and compares it with the notes; what differs counts as not done."""

    folder: Folder

    def __call__(self, device: torch.device) -> Callable[[Piece], None]:
        """Nothing has to be set up."""
        return self.do

    def do(self, piece: Piece) -> None:
        """piece: key, and of each file its path and what is vouched for."""
        with contextlib.suppress(DamagedPacks):  # its note says so from now on
            verify(self.folder, {path: Vouched(*said) for path, *said in piece["files"]})


@dataclass(frozen=True)
class Pass:
    """One pass over the data in pieces, such as decoding pictures or running a frozen network on them: fills a store.

    name: what people see. pieces: what is still to do, one mapping of plain values per piece, each with a `key`. make:
    called with the workers' device; returns the function that does a piece and writes its pack. folder, keys: the
    store that is there afterwards. memory: columns that units read, held in shared memory where they fit. network:
    making it is dear, as a network is, so workers keep it, and have a GPU each where there are GPUs. damaged: {key:
    what is wrong} of packs that were there. redo: from keys of packs to the pass that does them again.
    """

    name: str
    pieces: Sequence[Piece]
    make: Callable[[torch.device], Callable[[Piece], None]]
    folder: Folder
    keys: Sequence[str]
    memory: Sequence[str] = ()
    network: bool = False
    damaged: Mapping[str, str] = field(default_factory=dict)
    redo: Callable[[Sequence[str]], Pass] | None = None

    @classmethod
    def over(
        cls, name: str, keys: Sequence[str], pieces: Callable[[Sequence[str]], Sequence[Piece]],
        make: Callable[[torch.device], Callable[[Piece], None]], folder: Folder, memory: Sequence[str] = (),
        network: bool = False,
    ) -> Pass:  # fmt: skip
        """The pass that leaves these packs. pieces: from keys of packs to what makes them."""

        def again(some: Sequence[str]) -> Pass:
            return cls(name, pieces(some), make, folder, keys, memory, network, redo=again)

        found = look(folder, keys)
        return replace(again([key for key in keys if key not in found.notes]), damaged=damaged_of(found, keys))

    @classmethod
    def reading(
        cls, name: str, pieces: Sequence[Piece], read: Callable[[Piece], Shard], folder: Folder,
        memory: Sequence[str] = (),
    ) -> Pass:  # fmt: skip
        """The usual pass: `read` makes a shard of each piece, many small ones share a pack; packs that are there
        already are left out. A piece may say its `size` in bytes."""
        packs = {str(pack["key"]): pack for pack in packed(pieces)}
        return cls.over(name, list(packs), lambda keys: [packs[key] for key in keys], FillShards(read, folder), folder,
                        memory)  # fmt: skip

    def again(self, keys: Sequence[str]) -> Pass:
        """The pass that does some packs again. Raises StorageError where it cannot."""
        if self.redo is None:
            raise StorageError(f"{self.folder.uri}: damaged: {', '.join(keys)}; delete the folder and run again")
        return self.redo(keys)

    def said_of(self, damaged: Mapping[str, str]) -> str:
        """What people are told of damaged packs: {key: what is wrong}."""
        count = "1 of {} packs is" if len(damaged) == 1 else f"{len(damaged)} of {{}} packs are"
        return f"{self.name}: {count.format(len(self.keys))} damaged ({next(iter(damaged.values()))}): done again"


def packed(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, each alone while they are few, else neighbours together as one piece with their `pieces`.

    The keys of packs are the same for the same pieces.
    """
    size = sum(piece.get("size", 0) for piece in pieces)
    count = min(len(pieces), max(PACKS, -(-len(pieces) // MOST_SHARDS), int(size // MOST_BYTES)))
    if count == len(pieces):
        return list(pieces)
    groups = np.array_split(np.arange(len(pieces)), count)
    packs = [[pieces[number] for number in group] for group in groups]
    names = (digest([piece["key"] for piece in own])[:8] for own in packs)
    return [{"key": f"{place:05d}-{next(names)}", "pieces": own} for place, own in enumerate(packs)]


def damaged_of(found: Look, keys: Sequence[str]) -> dict[str, str]:
    """What is wrong with some packs, in their order."""
    return {key: found.damaged[key] for key in keys if key in found.damaged}


def healed(
    work: Pass, read: Callable[[], T], do: Callable[[Pass], object], say: Callable[[str], object],
    store: Store | None = None,
) -> T:  # fmt: skip
    """What `read` gives of the packs of a pass; those that prove to be damaged are done again first, and `say` says so.

    do: does a pass, and raises its faults. store: what `read` reads, where it was opened before. Raises DamagedPacks
    when what was done again is damaged too, StorageError when it holds other rows.
    """
    try:
        return read()
    except DamagedPacks as error:
        say(work.said_of(error.packs))
        do(work.again(list(error.packs)))
        if store is not None:
            store.renew(list(error.packs))
        return read()


def verified(work: Pass, store: Store, do: Callable[[Pass], object]) -> None:
    """Have the workers compare the columns `memory` of packs that this run has not written with their notes.

    do: as for `healed`, in which this may be called as `read`. Raises DamagedPacks naming all packs that differ.
    """
    written = {piece["key"] for piece in work.pieces}
    kept = {key: files for key, files in store.files_of(work.memory).items() if key not in written}
    pieces = [{"key": key, "files": [[path, *one] for path, one in files.items()]} for key, files in kept.items()]
    if pieces:
        do(Pass(f"{work.name}: comparing", pieces, VerifyPacks(work.folder), work.folder, work.keys))
        found = damaged_of(look(work.folder, list(kept)), list(kept))
        if found:
            raise DamagedPacks(work.folder, found)
