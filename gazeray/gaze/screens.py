# SPDX-License-Identifier: Apache-2.0
"""Screen pictures: gaze that comes drawn, as a folder of PNG screens exported by the eye tracker's software.

Who read what is in the file names, `<session>_<item>_<class>_<look>.png`, and is taken from them by a declared pattern.
Such pictures are the input of Ryzhova et al. (2023), doi 10.1145/3588015.3590118. Where the raw gaze exists, use that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gazeray.config import Pattern, Section
from gazeray.gaze.dataset import check_classes, listed_files, safe_key, some_paths
from gazeray.gaze.files import identifier, is_unsafe
from gazeray.gaze.labels import Label, LabelForm, LabelledSpec, UnlabelledError, label_of
from gazeray.gaze.trials import WINDOW_COLUMNS
from gazeray.storage import FileStat, Folder, safe_relative
from gazeray.tables import DataError, Reject

PLAIN_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
NEEDED_GROUPS = ("participant", "item", "class")


class PicturesSpec(Section):
    """Which files are the pictures, and what their names mean."""

    path: Annotated[str, AfterValidator(safe_relative)] = Field(
        description="path below the data set's root; *, ? and [] stand for parts of a name, not for /"
    )
    pattern: Pattern = (
        Field(  # the participant is the first run of digits: 10m23r2_1_C_b is 10, item 1, class C, look b
            r"[^_\d]*(?P<participant>\d+)[^_]*_(?P<item>[^_]+)_(?P<class>[^_]+)_(?P<look>[^_.]+)",
            description="regular expression for the whole name without .png, with the groups participant, item, class; "
            "look where a trial has several pictures",
        )
    )

    @field_validator("pattern")
    @classmethod
    def _groups(cls, pattern: str) -> str:
        groups = re.compile(pattern).groupindex
        faults = [f"has no group (?P<{name}>...)" for name in NEEDED_GROUPS if name not in groups]
        faults += [f"has an unknown group {name}" for name in groups if name not in (*NEEDED_GROUPS, "look")]
        if faults:
            raise ValueError("; ".join(faults))
        return pattern


class ScreensSpec(LabelledSpec):
    """A data set of screen pictures: where they are, what their names say, which part of them is used."""

    labels: dict[str, LabelForm] = Field(description="one label -> class in the name -> class; the last is positive")
    pictures: PicturesSpec
    crop_px: tuple[int, int, int, int] | None = Field(
        None, description="left, upper, right, lower edge of the part that is used, px; default: the whole picture"
    )
    look: str | None = Field(None, min_length=1, description="use the pictures of this look only; default: all")

    @field_validator("labels")
    @classmethod
    def _one_label(cls, labels: dict[str, LabelForm]) -> dict[str, LabelForm]:
        if len(labels) != 1:
            raise ValueError(f"declare one label, the one in the file names, not {len(labels)}")
        if any(not isinstance(form, dict) and form.column for form in labels.values()):
            raise ValueError("column: the class is in the file names, not in a column")
        return labels

    @field_validator("crop_px")
    @classmethod
    def _box(cls, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
            raise ValueError("must be left, upper, right, lower with 0 <= left < right and 0 <= upper < lower")
        return crop

    @field_validator("look")
    @classmethod
    def _look_in_names(cls, look: str | None, info: ValidationInfo) -> str | None:
        pictures = info.data.get("pictures")
        if look is not None and pictures and "look" not in re.compile(pictures.pattern).groupindex:
            raise ValueError("pictures.pattern has no group (?P<look>...) to choose by")
        return look

    @property
    def label(self) -> Label:
        """The label that the class in a file's name is a value of."""
        return label_of(self, next(iter(self.labels)))


@dataclass(frozen=True)
class ScreensRecording:
    """One participant's pictures, plain values. `key` is unique and safe as a file name.

    `pictures` are paths below the root; `trials` says of which trial each of them is.
    """

    key: str
    participants: list[str]
    pictures: list[str]
    trials: list[str]
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class ScreensDataset:
    """A folder of screen pictures that was opened; no picture has been read.

    `trials` has one row per picture: participant, trial (item, class and, where not chosen by `spec.look`, look, joined
    by "_"), stimulus (the item), label (class name), label_index, window_left_px, window_top_px, window_width_px,
    window_height_px (the crop, px of the picture; NaN where the whole picture is used), path, row (number of the file
    among those that match, by path, from 1). `declared` is every (participant, trial) that a name speaks of, with its
    class, "" where that is not declared.
    """

    spec: ScreensSpec
    label: str
    classes: list[str]
    trials: pd.DataFrame
    recordings: list[ScreensRecording]
    rejects: list[Reject]
    declared: dict[tuple[str, str], str]


@dataclass(frozen=True)
class _Picture:
    """A file and what its name says; `row` counts the files that match, look is "" where the pattern has none."""

    row: int
    stat: FileStat
    participant: str
    trial: str
    item: str
    label: str
    look: str


def open_screens(spec: ScreensSpec, root: Folder) -> ScreensDataset:
    """Find the pictures and read their names. Hidden files (such as the ._ files of macOS) do not count.

    Rejected by name: names that the pattern does not fit, classes that are not declared, and pictures that claim to be
    the same one (same participant, item, class and look), all of them, since nobody knows which is right.
    Raises DataError: no such folder, no picture that matches, none of the chosen look, none left, a single class.
    """
    rejects: list[Reject] = []
    found: dict[tuple[str, str], list[_Picture]] = defaultdict(list)
    looks = set()
    for row, stat in enumerate(_matching(spec, root), start=1):
        picture = _named(spec, row, stat)
        if isinstance(picture, Reject):
            rejects.append(picture)
            continue
        looks.add(picture.look)
        if spec.look in (None, picture.look):
            found[picture.participant, picture.trial].append(picture)
    if looks and spec.look is not None and spec.look not in looks:
        raise DataError([f"{spec.name}: no picture of look {spec.look!r} (found: {', '.join(sorted(looks))})"])
    for ids, same in found.items():
        paths = [picture.stat.path for picture in same]
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(other for other in paths if other != path)
            rejects.append(Reject(path, -1, "read", f"duplicate: {others} claims to be the same picture", *ids))
    kept = sorted((same[0] for same in found.values() if len(same) == 1), key=lambda picture: picture.row)
    check_classes([picture.label for picture in kept], spec.name, "picture", rejects)
    classes = list(spec.label.classes)
    left, top, right, lower = map(float, spec.crop_px or (np.nan,) * 4)
    names = ("participant", "trial", "stimulus", "label", "label_index", *WINDOW_COLUMNS, "path", "row")
    trials = []
    by_person: dict[str, list[_Picture]] = defaultdict(list)
    for one in kept:
        by_person[one.participant].append(one)
        named = one.participant, one.trial, one.item, one.label, classes.index(one.label)
        trials.append((*named, left, top, right - left, lower - top, one.stat.path, one.row))
    recordings = []
    for person, pictures in sorted(by_person.items()):
        key = safe_key(person, PLAIN_KEY.fullmatch(person) is not None)
        paths, own = [one.stat.path for one in pictures], [one.trial for one in pictures]
        size, mtime_ns = sum(one.stat.size for one in pictures), max(one.stat.mtime_ns for one in pictures)
        recordings.append(ScreensRecording(key, [person], paths, own, size, mtime_ns))
    table = pd.DataFrame(trials, columns=names)
    unknown = {(one.participant, one.trial): "" for one in rejects if one.trial}
    declared = unknown | {ids: same[0].label for ids, same in found.items()}
    return ScreensDataset(spec, spec.label.name, classes, table, recordings, rejects, declared)


def _matching(spec: ScreensSpec, root: Folder) -> list[FileStat]:
    """The visible files that the path may mean, by path. Raises DataError when there are none."""
    files = listed_files(root)
    wanted = PurePosixPath(spec.pictures.path).parts
    parts = [PurePosixPath(stat.path).parts for stat in files]
    fits = [len(own) == len(wanted) and all(map(fnmatchcase, own, wanted)) for own in parts]
    if not any(fits):
        raise DataError([f"{root.uri}: no picture matches {spec.pictures.path} (there is: {some_paths(files)})"])
    return [stat for stat, fit in zip(files, fits, strict=True) if fit]


def _named(spec: ScreensSpec, row: int, stat: FileStat) -> _Picture | Reject:
    """What the name of a file says, or why it cannot be used."""
    match = re.fullmatch(spec.pictures.pattern, identifier(PurePosixPath(stat.path).stem))
    if match is None:
        return Reject(stat.path, -1, "read", f"the name does not fit the pattern {spec.pictures.pattern}")
    parts = {name: identifier(value or "") for name, value in match.groupdict().items()}
    participant, item, raw, look = parts["participant"], parts["item"], parts["class"], parts.get("look", "")
    trial = "_".join([item, raw, *([look] if look and spec.look is None else [])])
    for what, text in (("participant", participant), ("item", item), ("trial", trial)):
        if not text or is_unsafe(text):
            return Reject(stat.path, -1, "read", f"unsafe name of the {what}: {text!r}", participant, trial)
    try:
        name = spec.label.classes[spec.label.index(raw)]
    except UnlabelledError as why:
        return Reject(stat.path, -1, "labels", f"class {why}", participant, trial)
    return _Picture(row, stat, participant, trial, item, name, look)
