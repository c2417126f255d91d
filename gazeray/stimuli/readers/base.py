# SPDX-License-Identifier: Apache-2.0
"""What a reader of gaze on pictures is: from one open file to a `RawGaze`, registered under a name.

A declaration of the gaze on pictures (`FixationsSpec`) names the reader and is what the reader is told. A new format is
one new module here with one `@register_picture_reader`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gazeray.config import Section
from gazeray.gaze.files import check_placeholders, identifier, name_fault, placeholders
from gazeray.gaze.registry import Registry
from gazeray.storage import safe_relative
from gazeray.tables import Reject

COLUMNS = ("stimulus", "observer", "x_px", "y_px")
NO_OBSERVER = -1
"""The observer of a fixation where the file does not say who it was."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""What the name of a picture ends in, in either case."""


@dataclass(frozen=True)
class Gaze:
    """The N fixations on one picture, in the order of the files.

    x_px, y_px  (N,) float32, px of the picture: 0, 0 is its top left corner, so that the first pixel spans 0 to 1
    observer    (N,) int32, index into the names of the observers; NO_OBSERVER where nobody knows
    """

    x_px: np.ndarray
    y_px: np.ndarray
    observer: np.ndarray

    def __len__(self) -> int:
        return len(self.x_px)

    def where(self, keep: np.ndarray) -> Gaze:
        """The fixations of the mask (or the indices) `keep`."""
        return Gaze(self.x_px[keep], self.y_px[keep], self.observer[keep])


def in_picture(gaze: Gaze, size_px: tuple[int, int]) -> np.ndarray:
    """Which fixations are in a picture of (H, W) px, (N,) bool: 0 <= x < W and 0 <= y < H. Not finite: they are not."""
    height, width = size_px
    inside = (gaze.x_px >= 0) & (gaze.x_px < width) & (gaze.y_px >= 0) & (gaze.y_px < height)
    return np.asarray(inside)


@dataclass(frozen=True)
class RawGaze:
    """What one file holds: the gaze by picture, under the names that the file has for them.

    `Gaze.observer` counts into `observers`. Nothing has been compared with the pictures yet.
    """

    gaze: dict[str, Gaze]
    observers: list[str]
    rejects: list[Reject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class DetectSpec(Section):
    """How fixations are found in raw samples: by dispersion, as detector idt_px does it."""

    sampling_hz: float = Field(gt=0, description="samples per second")
    dispersion_px: float = Field(gt=0, description="largest extent in x plus in y of a fixation, px")
    min_duration_ms: float = Field(80.0, gt=0, description="shortest fixation, ms")


class FixationsSpec(Section):
    """The files of gaze on pictures. {stimulus} and {observer} in the path give these names, else the file must."""

    reader: str = Field(description="the format, one of the registered readers of pictures")
    path: Annotated[str, AfterValidator(safe_relative)] = Field(
        description="path below the data set's root; a .gz behind it makes no difference"
    )
    columns: dict[str, str] = Field({}, description="table: gazeray's name -> the file's name")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, validate_default=False, description="table: default by suffix"
    )
    variable: str = Field(
        "*",
        pattern=r"^[^.]+(\.[^.]+)*$",
        validate_default=False,
        description="mat_folders: field.field of the struct; * is the only variable",
    )
    holds: Literal["fixations", "samples", "map"] = Field(
        "fixations", validate_default=False, description="mat_folders: what the variable is"
    )
    detect: DetectSpec | None = Field(None, description="mat_folders: from samples to fixations")
    skip_first: int = Field(
        0, ge=0, validate_default=False, description="mat_folders: fixations left out at the start of each viewing"
    )
    offset_px: float = Field(
        0.0, validate_default=False, description="added to x and y: -0.5 where the first pixel's centre is called 1"
    )

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        return PICTURE_READERS.check(reader)

    @field_validator("path")
    @classmethod
    def _names_what_the_reader_needs(cls, path: str, info: ValidationInfo) -> str:
        if known := PICTURE_READERS.get(info.data.get("reader", "")):
            check_placeholders(path, known.in_path, known.needed)
        return path

    @field_validator("delimiter", "variable", "holds", "skip_first", "offset_px", mode="before")
    @classmethod
    def _means_something(cls, value: Any, info: ValidationInfo) -> Any:
        known, key = PICTURE_READERS.get(info.data.get("reader", "")), str(info.field_name)
        if known is not None and key not in known.keys:  # None: an unknown reader, which is named already
            raise ValueError(_unused(info.data["reader"], key))
        return value

    @field_validator("columns")
    @classmethod
    def _all_columns(cls, columns: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        known = PICTURE_READERS.get(info.data.get("reader", ""))
        if columns and known and "columns" not in known.keys:
            raise ValueError(_unused(info.data["reader"], "columns"))
        if known is None or "columns" not in known.keys:
            return columns
        faults = [f"{name} is not a column (allowed: {', '.join(COLUMNS)})" for name in columns if name not in COLUMNS]
        faults += [f"columns do not say which holds {name}" for name in ("x_px", "y_px") if name not in columns]
        if "path" in info.data:
            in_path = placeholders(info.data["path"])
            if "stimulus" not in (*columns, *in_path):
                faults.append("stimulus is neither in the path nor in a column")
            faults += [f"{name} comes from the path already" for name in columns if name in in_path]
        if faults:
            raise ValueError("; ".join(faults))
        return columns

    @field_validator("holds")
    @classmethod
    def _maps_are_of_everybody(cls, holds: str, info: ValidationInfo) -> str:
        if holds == "map" and "{observer}" in info.data.get("path", ""):
            raise ValueError("a map has no observers: leave out {observer} in the path")
        return holds

    @field_validator("detect")
    @classmethod
    def _samples_need_it(cls, detect: DetectSpec | None, info: ValidationInfo) -> DetectSpec | None:
        known = PICTURE_READERS.get(info.data.get("reader", ""))
        if detect and known and "detect" not in known.keys:
            raise ValueError(_unused(info.data["reader"], "detect"))
        if "holds" in info.data and (info.data["holds"] == "samples") != (detect is not None):
            raise ValueError("detect belongs to holds: samples; give both or neither")
        return detect

    @field_validator("skip_first", "offset_px")
    @classmethod
    def _not_of_a_map(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("holds") == "map":
            why = {"skip_first": "no first fixation", "offset_px": "whole pixels, whose centres are known"}
            raise ValueError(f"a map has {why[str(info.field_name)]}: leave out {info.field_name}")
        return value


def _unused(reader: str, key: str) -> str:
    """Why a key is refused that means nothing to a reader."""
    return f"the reader {reader} has no use for {key} (allowed: {', '.join(PICTURE_READERS[reader].used)})"


PictureReader = Callable[[BinaryIO, str, FixationsSpec, Mapping[str, str]], RawGaze]
"""Reads one file, gunzipped, of a path relative to the data set's folder, as declared; the mapping is what the path
says: stimulus, observer. Raises ReadError when nothing of the file can be used."""


@dataclass(frozen=True)
class PictureFormat:
    """A registered reader. `keys` of the declaration mean something to it beside reader and path.

    in_path: placeholders that the path may have; needed: those it must have.
    """

    read: PictureReader
    keys: tuple[str, ...] = ()
    in_path: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """All keys that mean something to it."""
        return "reader", "path", *self.keys


def as_px(values: np.ndarray, offset_px: float) -> np.ndarray:
    """Coordinates as float32 px, `offset_px` added. What float32 cannot hold becomes infinite: outside any picture."""
    with np.errstate(over="ignore"):
        return np.asarray(values + offset_px).astype(np.float32)


PICTURE_READERS = Registry("reader", PictureFormat)
register_picture_reader = PICTURE_READERS.register


def stimulus_id(name: str) -> str:
    """A picture's name as it is compared: without blanks around it, Unicode composed, without a picture's suffix.

    "1001.jpg", "1001.JPG" and "1001" are the same picture; "1001.v2" keeps its ending, which is no picture's.
    """
    text = identifier(name)
    suffix = PurePosixPath(text).suffix
    return text[: -len(suffix)] if suffix.lower() in SUFFIXES else text


def checked_name(name: str) -> str:
    """A name of a picture or an observer as it is compared. It may be a URL or a path: names never become paths.

    Raises ValueError: empty, or what `name_fault` finds.
    """
    text = identifier(name)
    if fault := name_fault(text):
        raise ValueError(fault)
    if not text:
        raise ValueError("an empty name")
    return text


def in_words(error: Exception) -> str:
    """What a parser raised of a file, in one line: the name of the exception and its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
