# SPDX-License-Identifier: Apache-2.0
"""Trials that the names of files tell: every file that fits the path is a trial, its placeholders are the columns.

No file is opened for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gazeray.gaze.declaration import DatasetSpec, TrialsSpec
from gazeray.gaze.files import PLACEHOLDER, fits_path, identifier, natural, path_pattern, placeholders
from gazeray.gaze.text_tables import TextTable
from gazeray.storage import FileStat
from gazeray.tables import Reject


def trials_in_names(spec: TrialsSpec, files: Sequence[FileStat]) -> TextTable:
    """The files that fit the path as a table, by their names as people count (2 before 10), one row each; a row has no
    number but a file."""
    paths = sorted((stat.path for stat in files), key=natural)
    said = [ids_in_name(spec, path) for path in paths]
    columns = {name: [ids[name] for ids in said] for name in placeholders(spec.path)}
    return TextTable(spec.path, spec, columns, [-1] * len(paths), paths)


def ids_in_name(spec: TrialsSpec, path: str) -> dict[str, str]:
    """What the placeholders stand for in a path that fits; {} in one that does not.

    Where there are several readings the name of the stimulus may hold what stands between placeholders, the others are
    as short as they can be. Without the stimulus in the path the first are as long as they can be.
    """
    template = spec.path.removesuffix(".gz")
    names, stimulus = PLACEHOLDER.findall(template), spec.column("stimulus")
    short = names.index(stimulus) if stimulus in names else 0
    found = path_pattern(template, short).fullmatch(path.removesuffix(".gz"))
    return {name: identifier(text) for name, text in found.groupdict().items()} if found else {}


def misnamed(spec: DatasetSpec, files: Sequence[FileStat]) -> list[Reject]:
    """A reject for each file that lies where the trials do and ends as they do, but does not fit the path; what is
    declared to be something else is none."""
    path = spec.trials.path.removesuffix(".gz")
    folder = PLACEHOLDER.split(path)[0].rpartition("/")[0]
    ending = PLACEHOLDER.split(path)[-1].rpartition("/")[2].lower()
    others = [table.path for table in spec.tables()] + [gaze.path for gaze in spec.gaze().values()]
    others += [gaze.messages.file.path for gaze in spec.gaze().values() if gaze.messages and gaze.messages.file]
    others += [spec.pictures.path] if spec.pictures else []
    near = [
        stat.path
        for stat in files
        if stat.path.startswith(folder and f"{folder}/") and stat.path.lower().removesuffix(".gz").endswith(ending)
    ]
    odd = [path for path in near if not any(fits_path(other, path) for other in others)]
    return [Reject(path, -1, "trials", f"the name of the file does not fit {spec.trials.path}") for path in odd]
