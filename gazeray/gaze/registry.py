# SPDX-License-Identifier: Apache-2.0
"""Things found by name: readers, detectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E")


class Registry(dict[str, E], Generic[E]):
    """Name -> what is registered under it: an `entry` made of a function and of what is to be known about it."""

    def __init__(self, what: str, entry: Callable[..., E]) -> None:
        super().__init__()
        self.what, self.entry = what, entry

    def register(self, name: str, **about: Any) -> Callable[[F], F]:
        """Make a function known under `name`; `about` are fields of its entry. Raises ValueError: the name is taken."""

        def registered(function: F) -> F:
            if name in self:
                raise ValueError(f"a {self.what} named {name!r} is registered already")
            self[name] = self.entry(function, **about)
            return function

        return registered

    def check(self, name: str) -> str:
        """The name. Raises ValueError with the known ones where it is none of them."""
        if name not in self:
            raise ValueError(f"unknown {self.what} (known: {', '.join(sorted(self))})")
        return name
