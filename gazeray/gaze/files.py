# SPDX-License-Identifier: Apache-2.0
"""Finding the files of a data set: by listing the folder and matching a path template against the listing.

No path is ever built from a cell of a table, so a malicious name in a table cannot reach a file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from gazeray.storage import FileStat, Folder

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def identifier(text: str) -> str:
    """A name as it is compared everywhere: blanks around it removed, Unicode composed (macOS decomposes file names)."""
    return unicodedata.normalize("NFC", text.strip())


def is_unsafe(name: str) -> bool:
    """Could the name leave a folder or garble a listing when used in a path?"""
    return ".." in name or "/" in name or "\\" in name or any(unicodedata.category(sign) == "Cc" for sign in name)


def visible_files(root: Folder) -> list[FileStat]:
    """Every file below the root, sorted by path, without those whose name (or folder) begins with a dot."""
    return [stat for stat in root.list() if not any(part.startswith(".") for part in PurePosixPath(stat.path).parts)]


def placeholders(template: str) -> tuple[str, ...]:
    """The names in braces in a path template, each once, in order."""
    return tuple(dict.fromkeys(PLACEHOLDER.findall(template)))


def check_placeholders(path: str, allowed: Collection[str], needed: Collection[str] = ()) -> None:
    """Raises ValueError naming the placeholders of a path that are unknown or missing."""
    found = placeholders(path)
    if [name for name in found if name not in allowed] or "{" in re.sub(r"\{[^{}]*\}", "", path):
        known = ", ".join(f"{{{name}}}" for name in allowed) or "none"
        raise ValueError(f"unknown placeholder in {path} (allowed here: {known})")
    missing = [f"{{{name}}}" for name in needed if name not in found]
    if missing:
        raise ValueError(f"{path} must have {' and '.join(missing)}")


def delimiter_of(path: str) -> str:
    """Tab for .tsv, .tab and .txt (also with .gz behind), else a comma."""
    return "\t" if path.lower().removesuffix(".gz").endswith((".tsv", ".tab", ".txt")) else ","


def ids_in_path(template: str, path: str) -> list[dict[str, str]]:
    """What the placeholders of a template stand for in a path; empty when the path does not match.

    There may be several readings, as of a_b_c under {participant}_{trial}: the caller takes the one it knows. A .gz at
    the end of either makes no difference.
    """
    parts = PLACEHOLDER.split(template.removesuffix(".gz"))
    readings = _readings(parts, path.removesuffix(".gz"), {})
    return [{name: identifier(value) for name, value in reading.items()} for reading in readings]


def matching_files(template: str, files: Iterable[FileStat]) -> list[FileStat]:
    """The files that a template (or a plain path) may mean."""
    return [stat for stat in files if ids_in_path(template, stat.path)]


def _readings(parts: Sequence[str], text: str, ids: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Every way in which `parts` (text, placeholder, text, ...) spell `text`; `ids` are the values known so far."""
    if not text.startswith(parts[0]):
        return
    text = text[len(parts[0]) :]
    if len(parts) == 1:
        if not text:
            yield dict(ids)
        return
    name, rest = parts[1], parts[2:]
    longest = text.find("/") if "/" in text else len(text)
    for end in range(1, longest + 1):
        value = text[:end]
        if ids.get(name, value) == value and text.startswith(rest[0], end):
            yield from _readings(rest, text[end:], {**ids, name: value})
