# SPDX-License-Identifier: Apache-2.0
"""Units: the small pieces in which predictors do their work, where they keep their files, and who does them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gazeray.storage import Folder
from gazeray.storage.seals import DamagedError, Files, damages, read_sealed, write_sealed

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Json = dict[str, Any]
"""An object as JSON knows it."""

ONLY_LOOKED_AT = ("maps/", "figures/")
"""Where in a run folder lies what no number is made of: a run checks its size, validation its SHA-256 too."""

SEAL = hashlib.sha256().digest_size
"""Bytes of the SHA-256 at the end of a checkpoint."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitSpec:
    """One small piece of a predictor's work: a name (also its folder), what it is about (plain values).

    after: units of earlier rounds that it reads. hashed: what its result depends on beside config, data and spec.
    """

    name: str
    spec: Json = field(default_factory=dict)
    after: tuple[str, ...] = ()
    hashed: Any = None


@dataclass(frozen=True)
class Unit:
    """A unit in the queue: its name, what it is about, and the hash of everything that its result depends on."""

    name: str
    spec: Json
    hash: str


class UnitFolder:
    """Where one unit keeps its files: checkpoint, metrics.jsonl, whatever it writes, and result.json at the end.

    What is written through `folder` and `run` is noted, and result.json vouches for it: its size and its SHA-256.
    """

    def __init__(self, run: Folder, unit: Unit, tell: Callable[[str, Json], object] | None = None) -> None:
        """run: the run folder. tell(kind, payload): who hears of epochs and of what had to be begun anew."""
        self._written: Files = {}
        self.unit, self.run, self.tell = unit, run.noting(self._written), tell
        self.folder = self.run.sub(f"units/{unit.name}")
        self._result: Json | None = None
        self._checkpoint = f"checkpoint/{unit.hash[:10]}.state"

    def load(self) -> bytes | None:
        """The state after the last epoch, if there is one for this hash. One that is damaged is told of, not given."""
        try:
            data = self.folder.read_bytes(self._checkpoint)
        except FileNotFoundError:
            return None
        state, seal = data[:-SEAL], data[-SEAL:]
        if hashlib.sha256(state).digest() == seal:
            return state
        text = f"{self._checkpoint} is not what was written; begun anew"
        if self.tell is None:
            _log.warning("%s: %s", self.unit.name, text)
        else:
            self.tell("note", {"text": text})
        return None

    def save(self, state: bytes, history: list[Json]) -> None:
        """Keep the state after an epoch and tell the driver; `history` holds one record per epoch so far."""
        self.folder.write_bytes(self._checkpoint, state + hashlib.sha256(state).digest())
        self.write_history(history)
        if self.tell is not None:
            self.tell("epoch", history[-1])

    def write_history(self, history: list[Json]) -> None:
        """metrics.jsonl: one line per epoch."""
        self.folder.write_text("metrics.jsonl", "".join(json.dumps(one, sort_keys=True) + "\n" for one in history))

    def history(self) -> list[Json]:
        """What metrics.jsonl says; [] where nothing was logged."""
        text = self.folder.read_text("metrics.jsonl") if self.folder.exists("metrics.jsonl") else ""
        return [json.loads(line) for line in text.splitlines()]

    def result(self) -> Json | None:
        """The result, when the unit is done and its hash is still the same; read once. One that is damaged is none."""
        if self._result is None:
            try:
                self._result = self._own(read_sealed(self.folder, "result.json"))
            except (FileNotFoundError, DamagedError):  # `damage` tells of the latter
                return None
        return self._result

    def damage(self, sizes: Mapping[str, int]) -> str | None:
        """Why a result that lies here can't be relied on, `file: what`; None where it can, or where there is none.

        sizes: of the files of the run folder, path -> bytes. Files are read, but for what only people look at.
        """
        if f"{self._place}result.json" not in sizes:
            return None
        try:
            found = read_sealed(self.folder, "result.json")
        except DamagedError as error:
            return f"result.json: {error}"
        if found["unit"] != self.unit.name:
            return f"result.json: is of unit {found['unit']}"
        self._result = self._own(found)
        if self._result is not None:
            for path, what in damages(self.run, found["files"], sizes, ONLY_LOOKED_AT):
                return f"{path.removeprefix(self._place)}: {what}"
        return None

    def forget(self) -> None:
        """What lies here is no result: the unit is to be done."""
        self._result = None
        self.folder.delete("result.json")

    def wrote(self, name: str) -> bool:
        """Did the unit, which is done, write a file of this name into its folder?"""
        return f"{self._place}{name}" in (self.result() or {"files": ()})["files"]

    def finish(self, result: Json) -> None:
        """Write result.json, the mark of a finished unit; what was only there to resume from goes."""
        files = {path: noted for path, noted in self._written.items() if path != f"{self._place}{self._checkpoint}"}
        write_sealed(self.folder, "result.json", {**self._record("done"), **result, "files": files})
        self.folder.delete("failure.json")
        self.folder.delete(self._checkpoint)

    def fail(self, error: str, trace: str) -> None:
        """Write failure.json: why the unit did not finish."""
        write_sealed(self.folder, "failure.json", {**self._record("failed"), "error": error, "traceback": trace})

    def failure(self) -> str | None:
        """Why it did not finish, of failure.json; None where there is none of the same hash that can be read."""
        if self.folder.exists("failure.json"):
            try:
                found = read_sealed(self.folder, "failure.json")
            except DamagedError:  # the unit is done again all the same, and has nothing else to say
                return None
            if found["hash"] == self.unit.hash:
                return str(found["error"])
        return None

    @property
    def _place(self) -> str:
        return f"units/{self.unit.name}/"

    def _own(self, result: Json) -> Json | None:
        return result if result["hash"] == self.unit.hash else None

    def _record(self, status: str) -> Json:
        return {"unit": self.unit.name, "hash": self.unit.hash, "status": status}


@dataclass
class Worker:
    """What a unit finds in the process that does it: a device, the run folder, and what other units left in memory.

    prefix: before the names of all units of the same variant of the study.
    """

    device: torch.device
    run: Folder
    memory: dict[Hashable, Any] = field(default_factory=dict)
    prefix: str = ""

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What all units of this process share, made by the first that asks."""
        if key not in self.memory:
            self.memory[key] = make()
        made: T = self.memory[key]
        return made

    def finished(self, name: str) -> Folder:
        """The folder of a unit of an earlier round, named in `UnitSpec.after`."""
        return self.run.sub(f"units/{self.prefix}{name}")
