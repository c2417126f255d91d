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
from gazeray.gaze.dataset_files import Companions, GazeFiles, trials_table, without_tables
from gazeray.gaze.declaration import DatasetSpec, load_dataset
from gazeray.gaze.files import Listing, matching_files, placeholders, some_paths, visible_files
from gazeray.gaze.labels import Label, label_of
from gazeray.gaze.readers.base import Kind
from gazeray.gaze.trials import TRIAL_COLUMNS, TrialsReader, index_column
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
    set's root. `refused` lists "participant, line feed, trial" of trials that were rejected before any gaze was read:
    their gaze is left out without a further reject. `state` changes when one of the files, or one that belongs to it,
    does. `beside` has a list for each gaze file to which others belong: its path, and theirs.
    """

    key: str
    participants: list[str]
    samples: list[str]
    fixations: list[str]
    size: int
    mtime_ns: int
    refused: list[str] = field(default_factory=list)
    state: str = ""
    beside: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Dataset:
    """A data set that was opened for one label, or for several.

    `label` and `classes` are those of the first of `labels`; classes are in the declared order, the last is the
    positive one. `trials` has one row per usable trial: participant, trial, stimulus, label (class name), label_index,
    screen_width_px, screen_height_px, screen_width_mm, screen_height_mm, distance_mm (NaN where unknown),
    window_left_px, window_top_px, window_width_px, window_height_px (the region of the screen that the stimulus
    covers), row (in the trials file), and what is declared to be known beside the gaze (`gazeray.gaze.beside`). Where
    labels were asked for as a sequence each has a column `index_column(its name)`, int64, -1 where it is not known.
    `declared` is every (participant, trial) that the tables name, with its class of the first label, "" where that is
    not known.
    """

    spec: DatasetSpec
    label: str
    classes: list[str]
    trials: pd.DataFrame
    recordings: list[Recording]
    rejects: list[Reject]
    declared: dict[tuple[str, str], str]
    labels: list[Label]


def open_dataset(spec: DatasetSpec, root: Folder, label: str | Sequence[str] | None = None) -> Dataset:
    """Read the tables and find the gaze files of a data set; `label` may be left out when one is declared.

    Of several labels a trial needs one: a reject says which others are missing, and for which the trial is kept.

    Raises DataError with every reason found: folder missing or empty, no trials file or gaze file, a column that is
    not there, an unknown label or none named, no trial left, a single class of a label.
    """
    files = listed_files(root)
    errors: list[str] = []
    rejects: list[Reject] = []
    indexed = label is not None and not isinstance(label, str)
    chosen = _chosen_labels(spec, label, errors)
    trials = trials_table(root, files, spec, spec.trials, chosen, errors, rejects)
    people = spec.participants
    participants = trials_table(root, files, spec, people, chosen, errors, rejects) if people else None
    gaze_files = without_tables(spec, files)
    for kind, gaze in spec.gaze().items():
        if not matching_files(gaze.path, gaze_files):
            errors.append(f"{root.uri}: no {kind} file matches {gaze.path} (there are: {some_paths(files)})")
    if trials and chosen and (participants or not spec.participants):
        reader = TrialsReader(spec, chosen, trials, participants, indexed)
        errors += reader.errors()
    if errors or not trials:
        raise DataError(errors)
    frame, named = reader.read()
    rejects += reader.rejects
    found = {kind: GazeFiles(spec, gaze, gaze_files, named, rejects) for kind, gaze in spec.gaze().items()}
    frame, recordings = _recordings(spec, found, Listing.of(files), frame, named, trials.source, rejects)
    for one in chosen:
        indices = frame[index_column(one.name) if indexed else "label_index"].tolist()
        known = [one.classes[index] for index in indices if index >= 0]
        check_classes(known, f"label {one.name}", "trial", rejects)
    return Dataset(spec, chosen[0].name, list(chosen[0].classes), frame, recordings, rejects, named, chosen)


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


def _chosen_labels(spec: DatasetSpec, label: str | Sequence[str] | None, errors: list[str]) -> list[Label]:
    """The labels to use, none after noting an error."""
    if label is None and len(spec.labels) == 1:
        label = next(iter(spec.labels))
    names = [label] if isinstance(label, str) else list(label or ())
    faults = [f"unknown label {name!r}" for name in names if name not in spec.labels]
    faults += [f"label {name} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    faults += [f"label {name}: its column {index_column(name)} is that of the first label: name it first"
               for name in names[1:] if index_column(name) in TRIAL_COLUMNS]  # fmt: skip
    faults += [] if names else ["name the label to use"]
    errors += [f"{spec.name}: {fault} (declared: {', '.join(spec.labels) or 'none'})" for fault in faults]
    return [] if faults else [label_of(spec, name) for name in names]


def _recordings(
    spec: DatasetSpec,
    found: Mapping[Kind, GazeFiles],
    listing: Listing,
    frame: pd.DataFrame,
    named: Mapping[tuple[str, str], str],
    source: str,
    rejects: list[Reject],
) -> tuple[pd.DataFrame, list[Recording]]:
    """The trials that have a gaze file, and the recordings that hold them. `named` is every (participant, trial) of the
    trials file; `source` is that file. What does not fit together goes to `rejects`."""
    deciding = next(iter(found.values()))
    pairs = list(zip(frame["participant"], frame["trial"], strict=True))
    has_file = np.array([bool(deciding.of(pair)) for pair in pairs], dtype=bool)
    without = frame[~has_file]
    for participant, trial, row in zip(without["participant"], without["trial"], without["row"], strict=True):
        reason = f"trial without gaze: no file matches {deciding.gaze.path}"
        rejects.append(Reject(source, int(row), "gaze", reason, participant, trial))
    frame = frame[has_file].reset_index(drop=True)
    usable = set(zip(frame["participant"], frame["trial"], strict=True))
    refused = defaultdict(list)
    for participant, trial in sorted(named.keys() - usable):
        refused[participant].append(f"{participant}\n{trial}")
    by_person: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for pair in zip(frame["participant"].tolist(), frame["trial"].tolist(), strict=True):
        by_person[pair[0]].append(pair)
    beside = Companions(spec, listing)
    recordings = []
    for key, people in _groups(spec, sorted(by_person)).items():
        theirs = [pair for name in people for pair in by_person[name]]
        stats = {kind: files.of_all(theirs) for kind, files in found.items()}
        paths = {"samples": list[str](), "fixations": list[str]()} | {kind: sorted(own) for kind, own in stats.items()}
        every = {path: stat for own in stats.values() for path, stat in own.items()}
        further = [[path, *more] for kind in stats for path in paths[kind] if (more := beside.of(kind, path))]
        decisive = [listing.files[path] for path in sorted({*every, *(own for more in further for own in more)})]
        state = digest([(stat.path, stat.size, stat.mtime_ns) for stat in decisive])
        recordings.append(
            Recording(
                key=key,
                participants=people,
                samples=paths["samples"],
                fixations=paths["fixations"],
                size=sum(stat.size for stat in every.values()),
                mtime_ns=max(stat.mtime_ns for stat in every.values()),
                refused=[pair for name in people for pair in refused[name]],
                state=state,
                beside=further,
            )
        )
    return frame, recordings


def _groups(spec: DatasetSpec, people: list[str]) -> dict[str, list[str]]:
    """Key (see `safe_key`) -> the participants of one recording: each alone, or everybody when a file holds more than
    one of them. Two names that differ in case only both get a hash."""
    if any("participant" not in placeholders(gaze.path) for gaze in spec.gaze().values()):
        return {"all": people} if people else {}
    lower = Counter(name.lower() for name in people)
    is_plain = [PLAIN_KEY.fullmatch(name) is not None and lower[name.lower()] == 1 for name in people]
    return {safe_key(name, plain): [name] for name, plain in zip(people, is_plain, strict=True)}


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
