# SPDX-License-Identifier: Apache-2.0
"""Opening a data set: its trials, its recordings, and everything that is wrong with it, before any gaze is read."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from gazeray.config import digest
from gazeray.gaze.declaration import DatasetSpec, GazeSpec, TableSpec, load_dataset
from gazeray.gaze.files import ids_in_path, matching_files, placeholders, visible_files
from gazeray.gaze.readers import READERS
from gazeray.gaze.readers.base import IDS, Kind, ReadError
from gazeray.gaze.trials import TextTable, TrialsReader, class_names, read_text_table
from gazeray.storage import FileStat, Folder
from gazeray.tables import DataError, Reject

__all__ = ["DataError", "Dataset", "DatasetSpec", "Recording", "load_dataset", "open_dataset"]

PLAIN_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
HASHED_KEY = re.compile(r".*-[0-9a-f]{8}")


@dataclass(frozen=True)
class Recording:
    """The files that are read together, in the memory of one worker: those of one participant, or all of them when a
    file holds more than one.

    Plain values, so that it travels as a row. `key` is unique and safe as a file name. Paths are relative to the data
    set's root. `refused` lists "participant/trial" of trials that were rejected before any gaze was read: their gaze is
    left out without a further reject. `state` changes when one of the files, or one that belongs to it, does.
    """

    key: str
    participants: list[str]
    samples: list[str]
    fixations: list[str]
    size: int
    mtime_ns: int
    refused: list[str] = field(default_factory=list)
    state: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set that was opened for one label.

    `classes` are in the declared order, the last is the positive class. `trials` has one row per usable trial:
    participant, trial, stimulus, label (class name), label_index, screen_width_px, screen_height_px, screen_width_mm,
    screen_height_mm, distance_mm (NaN where unknown), window_left_px, window_top_px, window_width_px, window_height_px
    (the region of the screen that the stimulus covers), row (in the trials file).
    """

    spec: DatasetSpec
    label: str
    classes: list[str]
    trials: pd.DataFrame
    recordings: list[Recording]
    rejects: list[Reject]


def open_dataset(spec: DatasetSpec, root: Folder, label: str | None = None) -> Dataset:
    """Read the tables and find the gaze files of a data set; `label` may be left out when one is declared.

    Raises DataError with every reason found: folder missing or empty, no trials file or gaze file, a column that is
    not there, an unknown label or none named, no trial left, a single class.
    """
    files = listed_files(root)
    errors: list[str] = []
    rejects: list[Reject] = []
    chosen = _chosen_label(spec, label, errors)
    trials = _table(root, files, spec.trials, errors, rejects)
    participants = _table(root, files, spec.participants, errors, rejects) if spec.participants else None
    gaze_files = [stat for stat in files if not any(ids_in_path(table.path, stat.path) for table in spec.tables())]
    for kind, gaze in spec.gaze().items():
        if not matching_files(gaze.path, gaze_files):
            errors.append(f"{root.uri}: no {kind} file matches {gaze.path} (there are: {some_paths(files)})")
    if trials and chosen and (participants or not spec.participants):
        reader = TrialsReader(spec, chosen, trials, participants)
        errors += reader.errors()
    if errors or not trials:
        raise DataError(errors)
    frame, named = reader.read()
    rejects += reader.rejects
    frame, recordings = _recordings(spec, gaze_files, frame, named, trials.source, rejects)
    check_classes(frame["label"].tolist(), f"label {chosen}", "trial", rejects)
    return Dataset(spec, chosen, class_names(spec, chosen), frame, recordings, rejects)


def listed_files(root: Folder) -> list[FileStat]:
    """The files of the data set. Raises DataError when there are none."""
    try:
        if not root.exists():
            raise DataError([f"{root.uri}: there is no such folder"])
        files = visible_files(root)
    except OSError as error:
        raise DataError([f"{root.uri}: cannot be listed: {error}"]) from error
    if not files:
        raise DataError([f"{root.uri}: the folder is empty"])
    return files


def some_paths(files: Sequence[FileStat]) -> str:
    """A few of the paths, for a message."""
    return ", ".join(stat.path for stat in files[:5]) + (" ..." if len(files) > 5 else "")


def _chosen_label(spec: DatasetSpec, label: str | None, errors: list[str]) -> str:
    """The label to use, "" after noting an error."""
    if label is None and len(spec.labels) == 1:
        return next(iter(spec.labels))
    if label in spec.labels:
        return label
    fault = "name the label to use" if label is None else f"unknown label {label!r}"
    errors.append(f"{spec.name}: {fault} (declared: {', '.join(spec.labels) or 'none'})")
    return ""


def _table(
    root: Folder, files: Sequence[FileStat], spec: TableSpec, errors: list[str], rejects: list[Reject]
) -> TextTable | None:
    """A declared table, or None after noting why it cannot be read."""
    found = preferred_files(spec.path, matching_files(spec.path, files), rejects)
    if not found:
        errors.append(f"{root.uri}: no file {spec.path} (there are: {some_paths(files)})")
        return None
    path = found[0].path
    try:
        table, bad_rows = read_text_table(root.read_bytes(path), path, spec)
    except (ReadError, OSError) as error:
        errors.append(str(error) if isinstance(error, ReadError) else f"{path}: cannot be read: {error}")
        return None
    rejects += bad_rows
    return table


def preferred_files(template: str, files: Sequence[FileStat], rejects: list[Reject]) -> list[FileStat]:
    """The files without second copies: of x.csv and x.csv.gz the one spelt as declared stays, the other is rejected."""
    spelt = sorted(files, key=lambda stat: (stat.path.endswith(".gz") != template.endswith(".gz"), stat.path))
    kept: dict[str, FileStat] = {}
    for stat in spelt:
        first = kept.setdefault(stat.path.removesuffix(".gz"), stat)
        if first is not stat:
            rejects.append(Reject(stat.path, -1, "read", f"a second copy: {first.path} is read instead"))
    return sorted(kept.values(), key=lambda stat: stat.path)


def _recordings(
    spec: DatasetSpec,
    files: Sequence[FileStat],
    frame: pd.DataFrame,
    named: set[tuple[str, str]],
    source: str,
    rejects: list[Reject],
) -> tuple[pd.DataFrame, list[Recording]]:
    """The trials that have a gaze file, and the recordings that hold them. `named` is every (participant, trial) of the
    trials file; `source` is that file. What does not fit together goes to `rejects`."""
    found = {kind: _files_by_ids(gaze, files, named, rejects) for kind, gaze in spec.gaze().items()}
    deciding, gaze = next(iter(spec.gaze().items()))
    has_file = np.array([ids in found[deciding] for ids in _ids_of(frame, placeholders(gaze.path))], dtype=bool)
    without = frame[~has_file]
    for participant, trial, row in zip(without["participant"], without["trial"], without["row"], strict=True):
        reason = f"trial without gaze: no file matches {gaze.path}"
        rejects.append(Reject(source, int(row), "gaze", reason, participant, trial))
    frame = frame[has_file].reset_index(drop=True)
    refused = defaultdict(list)
    for participant, trial in sorted(named - set(_ids_of(frame, IDS))):
        refused[participant].append(f"{participant}/{trial}")
    ids = {kind: _ids_of(frame, placeholders(gaze.path)) for kind, gaze in spec.gaze().items()}
    by_person: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(frame["participant"].tolist()):
        by_person[str(name)].append(row)
    by_path, recordings = {stat.path: stat for stat in files}, []
    for key, people in _groups(spec, sorted(by_person)).items():
        rows = [row for name in people for row in by_person[name]]
        theirs = {kind: [own[row] for row in rows] for kind, own in ids.items()}
        paths, size, mtime_ns, state = _files_of(theirs, spec, found, by_path)
        pairs = [pair for name in people for pair in refused[name]]
        recordings.append(Recording(key, people, paths["samples"], paths["fixations"], size, mtime_ns, pairs, state))
    return frame, recordings


def _groups(spec: DatasetSpec, people: list[str]) -> dict[str, list[str]]:
    """Key (see `safe_key`) -> the participants of one recording: each alone, or everybody when a file holds more than
    one of them. Two names that differ in case only both get a hash."""
    if any("participant" not in placeholders(gaze.path) for gaze in spec.gaze().values()):
        return {"all": people} if people else {}
    lower = Counter(name.lower() for name in people)
    is_plain = [PLAIN_KEY.fullmatch(name) is not None and lower[name.lower()] == 1 for name in people]
    return {safe_key(name, plain): [name] for name, plain in zip(people, is_plain, strict=True)}


def _files_of(
    ids: Mapping[Kind, Sequence[tuple[str, ...]]],
    spec: DatasetSpec,
    found: Mapping[Kind, Mapping[tuple[str, ...], FileStat]],
    files: Mapping[str, FileStat],
) -> tuple[dict[str, list[str]], int, int, str]:
    """The paths, by kind, of the files that one of some trials is in; their size, change time and state.

    ids: of the trials, by kind, in the order of the template's placeholders. files: by path.
    """
    paths: dict[str, list[str]] = {"samples": [], "fixations": []}
    every: dict[str, FileStat] = {}
    beside: set[str] = set()
    for kind, gaze in spec.gaze().items():
        mine = {stat.path: stat for own in set(ids[kind]) if (stat := found[kind].get(own)) is not None}
        paths[kind] = sorted(mine)
        every |= mine
        beside |= {path for name in mine for path in READERS[gaze.reader].companions(name)}
    decisive = [files[path] for path in sorted({*every, *beside}) if path in files]
    state = digest([(stat.path, stat.size, stat.mtime_ns) for stat in decisive])
    return paths, sum(stat.size for stat in every.values()), max(stat.mtime_ns for stat in every.values()), state


def _ids_of(trials: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The named ids of every trial; () for each when there are no names."""
    return list(zip(*(trials[name] for name in names), strict=True)) if names else [()] * len(trials)


def _files_by_ids(
    gaze: GazeSpec, files: Sequence[FileStat], named: set[tuple[str, str]], rejects: list[Reject]
) -> dict[tuple[str, ...], FileStat]:
    """Ids from the path, in the order of the template's placeholders -> the file. A file whose ids the trials file
    (`named`) does not have goes to `rejects`."""
    names = placeholders(gaze.path)
    known = {tuple(dict(zip(IDS, pair, strict=True))[name] for name in names) for pair in named}
    found: dict[tuple[str, ...], FileStat] = {}
    for stat in preferred_files(gaze.path, matching_files(gaze.path, files), rejects):
        readings = [tuple(ids[name] for name in names) for ids in ids_in_path(gaze.path, stat.path)]
        fitting = [ids for ids in readings if ids in known]
        if len(fitting) == 1 and found.setdefault(fitting[0], stat) is stat:
            continue
        ids = dict(zip(names, (fitting or readings)[0], strict=True))
        if not fitting:
            what = " ".join(f"{name} {value!r}" for name, value in ids.items())
            reason = f"{what} is not in the trials table"
        elif len(fitting) > 1:
            reason = f"the name of the file fits more than one of them: {fitting}"
        else:
            reason = f"{found[fitting[0]].path} is read for the same {' and '.join(names)}"
        rejects.append(Reject(stat.path, -1, "read", reason, ids.get("participant", ""), ids.get("trial", "")))
    return found


def safe_key(name: str, is_plain: bool) -> str:
    """A name where it is plain (and does not look like one with a hash), else with a hash behind it: safe as a file
    name and unique, also where file systems do not tell capitals apart."""
    if is_plain and not HASHED_KEY.fullmatch(name):
        return name
    slug = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:60]
    return f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_classes(classes: Sequence[str], what: str, noun: str, rejects: Sequence[Reject]) -> None:
    """`classes` are those of the trials (or pictures: `noun`) that are left, one each.

    Raises DataError when none or a single class is left, with the reasons for which the others were rejected.
    """
    if len(set(classes)) > 1:
        return
    one = f"all {len(classes)} {noun}s are of one class, {classes[0]!r}" if len(classes) else f"no {noun} is left"
    raise DataError([f"{what}: {one}{why_rejected(rejects)}"])


def why_rejected(rejects: Sequence[Reject]) -> str:
    """The most frequent reasons, for the end of a message; "" without rejects."""
    counts = Counter(reject.reason for reject in rejects).most_common(5)
    return "; rejected were: " + ", ".join(f"{count} x {reason}" for reason, count in counts) if counts else ""
