# SPDX-License-Identifier: Apache-2.0
"""Which files of a BIDS data set belong to a table, and what its sidecars say together.

Follows "The Inheritance Principle" of the Brain Imaging Data Structure, common principles: a file applies to a table
where it lies in the same folder or above, has the same suffix, and names no entity (sub-01, task-read) that the table
lacks. Sidecars add up, from the root downwards, and in a folder from fewer to more entities; the later one wins, key by
key. Of tables the last one alone applies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gazeray.gaze.files import Listing
from gazeray.gaze.readers.base import GazeFile, ReadError

JSON, TABLES = (".json",), (".tsv", ".tsv.gz")
SUFFIXES = ("physio", "physioevents", "events", "eyetrack")
"""Of files that may belong to a recording. eyetrack: the samples in the first drafts of BEP020, such as OpenNeuro
ds004158 and ds005166."""

ENDS = tuple(f"{suffix}{end}" for suffix in SUFFIXES for end in (*JSON, *TABLES))
ROOT = "dataset_description.json"


def suffix_of(path: str) -> str:
    """physio of sub-01/beh/sub-01_task-read_physio.tsv.gz."""
    return _parts(path)[1]


def _parts(path: str) -> tuple[frozenset[str], str, str]:
    """The entities of a file's name, its suffix and its ending."""
    stem, dot, end = path.rpartition("/")[2].partition(".")
    *entities, suffix = stem.split("_")
    return frozenset(entities), suffix, dot + end


def applicable(source: str, paths: Iterable[str], suffix: str, ends: Sequence[str]) -> list[str]:
    """Those of the paths that have the suffix and apply to the table `source`, the one that wins last."""
    folder, own = source.rpartition("/")[0], _parts(source)[0]
    found = []
    for path in paths:
        entities, its_suffix, end = _parts(path)
        where = path.rpartition("/")[0]
        above = where in ("", folder) or folder.startswith(f"{where}/")
        if its_suffix == suffix and end in ends and entities <= own and above:
            found.append((len(where), len(entities), path))
    return [path for *_, path in sorted(found)]


def companions(source: str, listing: Listing) -> list[str]:
    """The files that belong to a table: its sidecars in all folders up to the root of its BIDS data set, and the table
    of samples, of events of the recording, and of events of the run that apply to it."""
    folder, paths = source.rpartition("/")[0], list[str]()
    while True:
        names = listing.folders.get(folder, {})
        near = [name for first in (*_parts(source)[0], *ENDS) for name in names.get(first, ()) if name.endswith(ENDS)]
        paths += [f"{folder}/{name}".lstrip("/") for name in near]
        if not folder or f"{folder}/{ROOT}" in listing.files:
            break
        folder = folder.rpartition("/")[0]
    found = [path for suffix in SUFFIXES for path in applicable(source, paths, suffix, JSON)]
    for suffix in ("events", "physio" if suffix_of(source) == "physioevents" else "physioevents"):
        found += applicable(source, paths, suffix, TABLES)[-1:]
    return found


def table_beside(file: GazeFile, suffix: str) -> str | None:
    """The path of the table with the suffix that belongs to a file; None: there is none."""
    found = applicable(file.source, file.beside, suffix, TABLES)
    return found[-1] if found else None


def sidecar_of(file: GazeFile, suffix: str) -> dict[str, Any]:
    """All sidecars with the suffix that apply to a file, as one.

    Raises ReadError for one that is not a JSON object, and for two of the same rank that contradict each other.
    """
    merged, said = dict[str, Any](), dict[str, tuple[tuple[int, int], str]]()
    for path in applicable(file.source, file.beside, suffix, JSON):
        rank = path.count("/"), len(_parts(path)[0])
        for key, value in read_object(file.beside[path], file.source, path).items():
            before, other = said.get(key, ((-1, -1), ""))
            if before == rank and merged[key] != value:
                raise ReadError(file.source, f"the sidecars {other} and {path} contradict each other: {key}")
            merged[key], said[key] = value, (rank, path)
    return merged


def read_object(data: bytes, source: str, name: str) -> dict[str, Any]:
    """A JSON object. Raises ReadError when it is none."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ReadError(source, f"the sidecar {name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ReadError(source, f"the sidecar {name} is not a JSON object")
    return found


def part(sidecar: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object within a sidecar; empty where there is none."""
    found = sidecar.get(key)
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float:
    """A finite number, also one written as text; NaN for anything else."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if abs(found) < 1e12 else math.nan


def positive(value: Any) -> float:
    """A number above 0; 0 for anything else."""
    found = number(value)
    return found if found > 0 else 0.0
