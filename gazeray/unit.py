# SPDX-License-Identifier: Apache-2.0
"""Units: the small pieces in which predictors do their work, where they keep their files, and who does them."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from gazeray.storage import Folder

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

Json = dict[str, Any]
"""An object as JSON knows it."""


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
    """Where one unit keeps its files: checkpoint, metrics.jsonl, whatever it writes, and result.json at the end."""

    def __init__(self, run: Folder, unit: Unit, tell: Callable[[str, Json], object] | None = None) -> None:
        """run: the run folder. tell(kind, payload): who hears of epochs."""
        self.unit, self.run, self.tell = unit, run, tell
        self.folder = run.sub(f"units/{unit.name}")
        self._result: Json | None = None
        self._checkpoint = f"checkpoint/{unit.hash[:10]}.safetensors"

    def load(self) -> bytes | None:
        """The state after the last epoch, if there is one for this hash."""
        return self.folder.read_bytes(self._checkpoint) if self.folder.exists(self._checkpoint) else None

    def save(self, state: bytes, history: list[Json]) -> None:
        """Keep the state after an epoch and tell the driver; `history` holds one record per epoch so far."""
        self.folder.write_bytes(self._checkpoint, state)
        self.write_history(history)
        if self.tell is not None:
            self.tell("epoch", history[-1])

    def write_history(self, history: list[Json]) -> None:
        """metrics.jsonl: one line per epoch."""
        self.folder.write_text("metrics.jsonl", "".join(json.dumps(one, sort_keys=True) + "\n" for one in history))

    def result(self) -> Json | None:
        """The result, when the unit is done and its hash is still the same; read once."""
        if self._result is None and self.folder.exists("result.json"):
            result: Json = self.folder.read_json("result.json")
            self._result = result if result.get("hash") == self.unit.hash else None
        return self._result

    def finish(self, result: Json) -> None:
        """Write result.json, the mark of a finished unit; what was only there to resume from goes."""
        self.folder.write_json("result.json", {**self._record("done"), **result})
        self.folder.delete("failure.json")
        self.folder.delete(self._checkpoint)

    def fail(self, error: str, trace: str) -> None:
        """Write failure.json: why the unit did not finish."""
        self.folder.write_json("failure.json", {**self._record("failed"), "error": error, "traceback": trace})

    def _record(self, status: str) -> Json:
        return {"unit": self.unit.name, "hash": self.unit.hash, "status": status}


@dataclass
class Worker:
    """What a unit finds in the process that does it: a device, the run folder, and what other units left in memory."""

    device: torch.device
    run: Folder
    memory: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What all units of this process share, made by the first that asks."""
        if key not in self.memory:
            self.memory[key] = make()
        made: T = self.memory[key]
        return made

    def finished(self, name: str) -> Folder:
        """The folder of a unit of an earlier round, named in `UnitSpec.after`."""
        return self.run.sub(f"units/{name}")
