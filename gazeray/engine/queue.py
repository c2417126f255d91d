# SPDX-License-Identifier: Apache-2.0
"""The queue of tasks, by name: whose each is, and what is done with those that kill their workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gazeray.unit import Json

MAX_DEATHS = 3
"""How many workers a task may take down with it before it is given up."""

Listener = Callable[[str, str, Json], None]
"""Hears (task, kind, payload) of everything that happens to a task."""


@dataclass
class _Entry:
    name: str
    rank: int | None = None
    deaths: int = 0
    over: bool = False


@dataclass
class TaskQueue:
    """Which task is whose. Lives in the driver; holds no result, so losing it loses nothing.

    A task that was under way when a worker died is a suspect: it is handed out only while no other suspect is under
    way, so that a task that kills its worker does not drag its neighbours along, and is given up after `max_deaths`.
    `listen` hears what happens: started, interrupted, died; and what workers tell.
    """

    names: Sequence[str]
    listen: Listener
    max_deaths: int = MAX_DEATHS
    closed: bool = False
    entries: dict[str, _Entry] = field(init=False)
    clean: deque[_Entry] = field(init=False)
    suspects: list[_Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entries = {name: _Entry(name) for name in self.names}
        self.clean = deque(self.entries.values())

    def is_left(self) -> bool:
        """Is there something to be handed out, now or later?"""
        return not self.closed and bool(self.clean or self.suspects)

    def next(self, rank: int) -> str | None:
        """The next task for this worker; None when nothing is left, or all that is left must wait."""
        if self.closed:
            return None
        is_one_out = any(entry.rank is not None for entry in self.suspects)
        chosen = max(self.suspects, key=lambda entry: entry.deaths) if self.suspects and not is_one_out else None
        if chosen is None and self.clean:
            chosen = self.clean.popleft()
        if chosen is None:
            return None
        chosen.rank = rank
        self.listen(chosen.name, "started", {"rank": rank})
        return chosen.name

    def lost(self, rank: int) -> None:
        """A worker is dead: what it had in hand was cut off."""
        for entry in self.entries.values():
            if entry.rank != rank or entry.over:
                continue
            entry.rank = None
            entry.deaths += 1
            if entry not in self.suspects:
                self.suspects.append(entry)
            self.listen(entry.name, "interrupted", {"deaths": entry.deaths})
            if entry.deaths >= self.max_deaths:
                self.over(entry.name, "died", {"error": f"the worker process died {entry.deaths} times at it"})

    def over(self, name: str, kind: str, payload: Json) -> None:
        """A task is done or has failed."""
        entry = self.entries[name]
        entry.over, entry.rank = True, None
        if entry in self.suspects:
            self.suspects.remove(entry)
        self.listen(name, kind, payload)

    def close(self) -> None:
        """Nothing more is handed out."""
        self.closed = True
