# SPDX-License-Identifier: Apache-2.0
"""The queue of units, by name: the actor that holds it starts without importing PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

WAIT = ""
"""Instead of a name: all that is left must wait."""


@dataclass
class _Entry:
    name: str
    rank: int | None = None
    deaths: int = 0
    over: bool = False


@dataclass
class UnitQueue:
    """Which unit is whose. Runs as an actor; holds no result, so losing it loses nothing.

    A unit that was under way when a worker died is a suspect: it is handed out only while no other suspect is under
    way, so that a unit that kills its worker does not drag its neighbours along, and is given up after `max_deaths`.
    """

    names: Sequence[str]
    max_deaths: int
    entries: dict[str, _Entry] = field(init=False)
    events: list[tuple[str, str, Json]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entries = {name: _Entry(name) for name in self.names}

    def join(self, rank: int, workers: int) -> None:
        """A fresh worker of a group of so many reports: what its rank had in hand was cut off.

        So was what the ranks had in hand that a smaller group no longer has.
        """
        for name, entry in self.entries.items():
            if entry.rank is not None and (entry.rank == rank or entry.rank >= workers) and not entry.over:
                entry.rank = None
                entry.deaths += 1
                self.event(name, "interrupted", {"deaths": entry.deaths})
                if entry.deaths >= self.max_deaths:
                    entry.over = True
                    self.event(name, "died", {"error": f"the worker process died {entry.deaths} times in this unit"})

    def next(self, rank: int) -> str | None:
        """The next unit for this rank, WAIT when all that is left must wait, None when nothing is left."""
        waiting = [entry for entry in self.entries.values() if entry.rank is None and not entry.over]
        if not waiting:
            return None
        suspect_out = any(entry.deaths for entry in self.entries.values() if entry.rank is not None and not entry.over)
        clean = [entry for entry in waiting if not entry.deaths]
        suspects = [] if suspect_out else sorted(waiting, key=lambda entry: -entry.deaths)[:1]
        if not suspects and not clean:
            return WAIT
        chosen = [*suspects, *clean][0]
        chosen.rank = rank
        self.event(chosen.name, "started", {"rank": rank})
        return chosen.name

    def over(self, name: str, kind: str, payload: Json) -> None:
        """A unit is done or has failed."""
        self.entries[name].over = True
        self.event(name, kind, payload)

    def event(self, name: str, kind: str, payload: Json) -> None:
        """Note something for the driver to show."""
        self.events.append((name, kind, payload))

    def drain(self) -> list[tuple[str, str, Json]]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events
