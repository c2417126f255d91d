# SPDX-License-Identifier: Apache-2.0
"""The pictures that people looked at, found by the declared path: which stimulus has which file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import canonical, ids_in_path, some_paths
from gazeray.storage import FileStat
from gazeray.tables import DataError

NAMED = 5
"""Stimuli without a picture that a note names."""


@dataclass(frozen=True)
class Pictures:
    """paths: stimulus -> the path of its picture, below the data set's root, by stimulus. missing: the stimuli without
    one. unused: the paths of pictures that no trial uses. notes: the last two in words."""

    paths: dict[str, str]
    missing: list[str]
    unused: list[str]
    notes: list[str]


def find_pictures(spec: DatasetSpec, files: Sequence[FileStat], stimuli: Iterable[str]) -> Pictures:
    """The pictures of some stimuli (names as in `Dataset.trials`) among the files of a data set; none is opened.

    Where no pictures are declared none is found, and none is missing. Raises DataError: no file matches, a stimulus
    has several pictures, no stimulus has one.
    """
    if spec.pictures is None:
        return Pictures({}, [], [], [])
    wanted = sorted(set(stimuli))
    own, found, every = set(wanted), defaultdict[str, list[str]](list), dict[str, list[str]]()
    for stat in files:
        names = [ids["stimulus"] for ids in ids_in_path(spec.pictures.path, stat.path)]
        if names:
            every[stat.path] = names
        for name in dict.fromkeys(names):
            if name in own:
                found[name].append(stat.path)
    if not every:
        raise DataError([f"pictures: no file matches {spec.pictures.path} (there are: {some_paths(files)})"])
    several = [
        f"pictures: stimulus {name!r} has several: {', '.join(paths[:NAMED])}"
        for name, paths in sorted(found.items())
        if len(paths) > 1
    ]
    missing = [name for name in wanted if name not in found]
    used = {path for paths in found.values() for path in paths}
    unused = [path for path in every if path not in used]
    notes = [f"stimuli without a picture: {len(missing)} of {len(wanted)} ({_some(missing)})"] if missing else []
    notes += _spelt(missing, [name for path in unused for name in every[path]])
    notes += [f"pictures that no trial uses: {len(unused)} ({_some(unused)})"] if unused else []
    if several or not found:
        raise DataError(several or notes)
    return Pictures({name: found[name][0] for name in wanted if name in found}, missing, unused, notes)


def _spelt(missing: Sequence[str], others: Sequence[str]) -> list[str]:
    """A note on the first missing stimulus of which one of the `others` differs in capitals or in how its numbers are
    spelt, if any does."""
    known = {canonical(name).casefold(): name for name in others}
    found = [(name, known[key]) for name in missing if (key := canonical(name).casefold()) in known]
    return [f"there it is spelt {there!r}, not {name!r}: names are compared as text" for name, there in found[:1]]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
