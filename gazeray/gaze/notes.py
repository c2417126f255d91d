# SPDX-License-Identifier: Apache-2.0
"""Notes on files, one line for each cause: a thousand files with two eyes each are one thing to know, not a thousand.

A note is `file: cause`, and what follows the cause behind a colon or in brackets is detail of the file: "P1.asc: both
eyes are in the file; the left eye is used (lost samples: left 12, right 30)". Numbers in the cause are of the file too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 3
"""Files that are named with a cause."""

NUMBER = re.compile(r"(?<![\w.-])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")
DETAIL = re.compile(r": | \(")


@dataclass
class _Cause:
    """What was noted of one cause. text: the first. files: by the order of the notes. numbers: of each note's cause."""

    text: str
    files: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    details: set[str] = field(default_factory=set)
    numbers: list[list[str]] = field(default_factory=list)


def by_cause(notes: Iterable[str]) -> list[str]:
    """Notes `file: cause` with one line per cause, those of most files first.

    A cause of several files has how many and the first of them: "both eyes are in the file; the left eye is used: 29
    files (P1.asc, P2.asc, P3.asc, ...)". Numbers that differ become a range, details that differ are left out. A note
    of one file alone stays as it is, and so does what names no file.
    """
    causes: dict[str, _Cause] = {}
    for note in notes:
        file, colon, text = note.partition(": ")
        cut = DETAIL.search(text)
        cause = text[: cut.start()] if cut else text
        one = causes.setdefault(NUMBER.sub("#", cause) if colon else note, _Cause(cause))
        one.files[file] = one.notes[note] = None
        one.details.add(text[len(cause) :])
        one.numbers.append(NUMBER.findall(cause))
    ordered = sorted(causes.values(), key=lambda one: -len(one.files))
    return [line for one in ordered for line in ([_line(one)] if len(one.files) > 1 else one.notes)]


def _line(one: _Cause) -> str:
    ranges = iter([_range(column) for column in zip(*one.numbers, strict=True)])
    cause = NUMBER.sub(lambda _: next(ranges), one.text)
    detail = next(iter(one.details)) if len(one.details) == 1 else ""
    files = ", ".join([*list(one.files)[:SHOWN], *["..."] * (len(one.files) > SHOWN)])
    return f"{cause}{detail}: {len(one.files)} files ({files})"


def _range(numbers: Iterable[str]) -> str:
    """The numbers as they were written: the one, or the least to the largest."""
    ordered = sorted(set(numbers), key=float)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} to {ordered[-1]}"
