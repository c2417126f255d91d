# SPDX-License-Identifier: Apache-2.0
"""Finding the files of a data set: by listing the folder and matching a path template against the listing.

No path is ever built from a cell of a table, so a malicious name in a table cannot reach a file.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from gazeray.storage import FileStat, Folder
from gazeray.tables import Reject

PLACEHOLDER = re.compile(r"\{([^{}]*)\}|\*")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

EXPONENT = re.compile(r"\d\.\d+[eE]\+[01]\d")

LONGEST_NAME = 1000
"""Characters of the name of a person, a trial or a stimulus; what is longer is text in the wrong column."""

EYE = "eye"
"""The placeholder in which the files of the two eyes of one recording differ."""


@dataclass(frozen=True)
class Listing:
    """The files of a data set by path, and the names in each of its folders ("" is the root) by what stands before
    their first underscore: a folder may hold files of thousands of people."""

    files: Mapping[str, FileStat]
    folders: Mapping[str, Mapping[str, Sequence[str]]]

    @classmethod
    def of(cls, files: Iterable[FileStat]) -> Listing:
        by_path = {stat.path: stat for stat in files}
        folders: dict[str, dict[str, list[str]]] = {}
        for path in by_path:
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, {}).setdefault(name.partition("_")[0], []).append(name)
        return cls(by_path, folders)


def identifier(text: str) -> str:
    """A name as it is compared everywhere: blanks around it removed, Unicode composed (macOS decomposes file names), a
    whole number with an exponent (1.0000000e+00: Matlab, numpy.savetxt) in digits."""
    text = unicodedata.normalize("NFC", text.strip())
    if EXPONENT.fullmatch(text) and float(text).is_integer():
        return str(int(float(text)))
    return text


def plain_number(text: str) -> float | None:
    """The finite number that a cell of a table spells, or None. Unlike float(): no nan, inf or 1_000."""
    text = text.strip()
    value = float(text) if PLAIN_NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def canonical(value: str | int | float) -> str:
    """A word of a table (of a label, say) as it is compared: 0, "0", 0.0, "0.0" are the same, other text is itself."""
    number = plain_number(str(value))
    return str(value).strip() if number is None else repr(number + 0.0).removesuffix(".0")


def is_unsafe(name: str) -> bool:
    """Would the name garble a line or a listing? It may be a URL or a path: no path is ever built from it."""
    return any(unicodedata.category(sign) in ("Cc", "Zl", "Zp", "Cs") for sign in name)


def name_fault(name: str, of: str = "") -> str:
    """What is wrong with the name of a person, a trial or a stimulus (`of`); "": nothing."""
    what = f"name of the {of}" if of else "name"
    if len(name) > LONGEST_NAME:
        return f"{what} longer than {LONGEST_NAME} characters: {name[:20]!r}..."
    return f"unsafe {what}: {name!r}" if is_unsafe(name) else ""


def spelt_there(name: Sequence[str], known: Iterable[Sequence[str]]) -> str:
    """What is known and differs from a name (participant, trial) in capitals or in how its numbers are spelt, as the
    end of a message; "": nothing does."""

    def alike(one: Sequence[str]) -> list[str]:
        return [canonical(part).casefold() for part in one]

    found = next((one for one in known if one != name and alike(one) == alike(name)), None)
    return f"; there it is spelt {', '.join(map(repr, found))}: names are compared as text" if found else ""


def trial_name(parts: Sequence[str]) -> str:
    """The name of a trial that several ids give together (run 2, trial 07: "2/7"); one alone stays as it is.

    Parts that are whole numbers lose leading zeros, so that run-02 of a path is run 2 of a table.
    """
    return parts[0] if len(parts) == 1 else "/".join(plain_part(part) for part in parts)


def plain_part(text: str) -> str:
    """A part of a composed name: whole numbers without leading zeros."""
    return str(int(text)) if re.fullmatch(r"[0-9]{1,18}", text) else text


def nth(trial: str, number: int) -> str:
    """The name of the second, third, ... presentation of a trial where they are told apart: "page2#2"."""
    return trial if number == 1 else f"{trial}#{number}"


def numbered(trial: str) -> tuple[str, int]:
    """The trial and the number of the presentation that a name of `nth` stands for."""
    found = re.fullmatch(r"(.+)#([0-9]{1,9})", trial)
    return (found[1], int(found[2])) if found and int(found[2]) > 1 else (trial, 1)


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key to sort names by, in which 2 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdecimal() and len(part) < 19 else (1, 0, part) for part in parts if part]


def visible_files(root: Folder) -> list[FileStat]:
    """Every file below the root, sorted by path, without those whose name (or folder) begins with a dot."""
    return [stat for stat in root.list() if not any(part.startswith(".") for part in PurePosixPath(stat.path).parts)]


def placeholders(template: str) -> tuple[str, ...]:
    """The names in braces in a path template, each once, in order."""
    return tuple(dict.fromkeys(filter(None, PLACEHOLDER.findall(template))))


def check_placeholders(path: str, allowed: Collection[str] | None = None, needed: Collection[str] = ()) -> None:
    """Raises ValueError naming the placeholders of a path that are unknown (None: any name will do) or missing."""
    found = placeholders(path)
    known = "any name of letters, digits, _" if allowed is None else ", ".join(f"{{{name}}}" for name in allowed)
    wrong = [name for name in found if (not NAME.fullmatch(name) if allowed is None else name not in allowed)]
    if wrong or "{" in re.sub(r"\{[^{}]+\}", "", path) or (allowed is not None and "*" in path):
        raise ValueError(f"unknown placeholder in {path} (allowed here: {known or 'none'})")
    missing = [f"{{{name}}}" for name in needed if name not in found]
    if missing:
        raise ValueError(f"{path} must have {' and '.join(missing)}")


def delimiter_of(path: str) -> str:
    """Tab for .tsv, .tab and .txt (also with .gz behind), else a comma."""
    return "\t" if path.lower().removesuffix(".gz").endswith((".tsv", ".tab", ".txt")) else ","


def ids_in_path(template: str, path: str) -> list[dict[str, str]]:
    """What the placeholders of a template stand for in a path; empty when the path does not match.

    There may be several readings, as of a_b_c under {participant}_{trial}: the caller takes the one it knows. * stands
    for anything but /, also for nothing. A .gz at the end of either makes no difference.
    """
    template, path = template.removesuffix(".gz"), path.removesuffix(".gz")
    shortest, longest = (path_pattern(template, short).fullmatch(path) for short in (len(template), 0))
    if shortest is None or longest is None:
        return []
    if shortest.regs == longest.regs:  # the first and the last reading are one
        return [{name: identifier(value) for name, value in shortest.groupdict().items()}]
    found: list[dict[str, str]] = []
    for reading in _readings(PLACEHOLDER.split(template), path, {}):
        ids = {name: identifier(value) for name, value in reading.items()}
        if ids not in found:
            found.append(ids)
    return found


def matching_files(template: str, files: Iterable[FileStat]) -> list[FileStat]:
    """The files that a template (or a plain path) may mean."""
    return [stat for stat in files if fits_path(template, stat.path)]


def fits_path(template: str, path: str) -> bool:
    """May a template (or a plain path) mean a path?"""
    return path_pattern(template.removesuffix(".gz"), 0).fullmatch(path.removesuffix(".gz")) is not None


def preferred_files(template: str, files: Sequence[FileStat], rejects: list[Reject]) -> list[FileStat]:
    """The files without second copies: of x.csv and x.csv.gz the one spelt as declared stays, the other is rejected."""
    spelt = sorted(files, key=lambda stat: (stat.path.endswith(".gz") != template.endswith(".gz"), stat.path))
    kept: dict[str, FileStat] = {}
    for stat in spelt:
        first = kept.setdefault(stat.path.removesuffix(".gz"), stat)
        if first is not stat:
            rejects.append(Reject(stat.path, -1, "read", f"a second copy: {first.path} is read instead"))
    return sorted(kept.values(), key=lambda stat: stat.path)


def some_paths(files: Sequence[FileStat]) -> str:
    """A few of the paths, for a message."""
    return ", ".join(stat.path for stat in files[:5]) + (" ..." if len(files) > 5 else "")


@lru_cache(maxsize=64)
def path_pattern(template: str, short: int) -> re.Pattern[str]:
    """A template as a regular expression with a group for each placeholder; of these and of *, the first so many are as
    short as they can be, the others as long."""
    parts, names = PLACEHOLDER.split(template), set[str]()
    spelt = [re.escape(parts[0])]
    for place, (name, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        how = "?" if place < short else ""
        new = f"(?P<{name}>[^/]+{how})" if name else f"([^/]*{how})"
        spelt += [f"(?P={name})" if name in names else new, re.escape(text)]
        names |= {name} if name else set()
    return re.compile("".join(spelt))


def _readings(parts: Sequence[Any], text: str, ids: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Every way in which `parts` (text, placeholder, text, ...) spell `text`; `ids` are the values known so far."""
    if not text.startswith(parts[0]):
        return
    text = text[len(parts[0]) :]
    if len(parts) == 1:
        if not text:
            yield dict(ids)
        return
    name, rest = parts[1], parts[2:]  # no name: *
    longest = text.find("/") if "/" in text else len(text)
    for end in range(1 if name else 0, longest + 1):
        value = text[:end]
        if ids.get(name, value) == value and text.startswith(rest[0], end):
            yield from _readings(rest, text[end:], {**ids, name: value} if name else ids)
