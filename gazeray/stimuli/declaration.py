# SPDX-License-Identifier: Apache-2.0
"""The declaration of a set of pictures that people looked at: a YAML that says where pictures and gaze are. No code."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from gazeray.config import Section, validate
from gazeray.gaze.declaration import read_declaration
from gazeray.gaze.files import placeholders
from gazeray.stimuli.readers import PICTURE_READERS
from gazeray.storage import safe_relative

PLACES = ("stimulus", "category")
"""Placeholders that together name a picture. The pictures of a category are named <category>_<stimulus>."""

COLUMNS = ("stimulus", "observer", "x_px", "y_px")


def check_placeholders(path: str, allowed: Collection[str], needed: Collection[str]) -> None:
    """Raises ValueError naming the placeholders of a path that are unknown or missing."""
    found = placeholders(path)
    if [name for name in found if name not in allowed] or "{" in re.sub(r"\{[^{}]*\}", "", path):
        known = ", ".join(f"{{{name}}}" for name in allowed) or "none"
        raise ValueError(f"unknown placeholder in {path} (allowed here: {known})")
    missing = [f"{{{name}}}" for name in needed if name not in found]
    if missing:
        raise ValueError(f"{path} must have {' and '.join(missing)}")


class TemplateSpec(Section):
    """Where pictures, or maps, are."""

    path: Annotated[str, AfterValidator(safe_relative)] = Field(
        description="path below the data set's root with {stimulus}, and {category} where they lie in folders"
    )

    @field_validator("path")
    @classmethod
    def _names_the_picture(cls, path: str) -> str:
        check_placeholders(path, PLACES, ("stimulus",))
        return path


class DetectSpec(Section):
    """How fixations are found in raw samples: by dispersion (I-DT), see `gazeray.gaze.events.fixations_idt`."""

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
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="table: default by suffix")
    variable: str = Field(
        "*", pattern=r"^[^.]+(\.[^.]+)*$", description="mat_folders: field.field of the struct; * is the only variable"
    )
    holds: Literal["fixations", "samples", "map"] = Field("fixations", description="mat_folders: what the variable is")
    detect: DetectSpec | None = Field(None, description="mat_folders: from samples to fixations")
    skip_first: int = Field(0, ge=0, description="mat_folders: fixations left out at the start of each viewing")
    offset_px: float = Field(0.0, description="added to x and y: -0.5 where the first pixel's centre is called 1")

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        if reader not in PICTURE_READERS:
            raise ValueError(f"unknown reader (known: {', '.join(sorted(PICTURE_READERS))})")
        return reader

    @model_validator(mode="after")
    def _fits_the_reader(self) -> Self:
        known = PICTURE_READERS[self.reader]
        check_placeholders(self.path, known.in_path, known.needed)
        unused = sorted(self.model_fields_set - {"reader", "path", "offset_px", *known.keys})
        if unused:
            raise ValueError(f"the reader {self.reader} has no use for {', '.join(unused)}")
        if "columns" in known.keys:
            self._check_columns()
        if (self.holds == "samples") != (self.detect is not None):
            raise ValueError("detect belongs to holds: samples; give both or neither")
        if self.holds == "map" and ("{observer}" in self.path or self.skip_first):
            raise ValueError("a map has no observers and no first fixation: leave out {observer} and skip_first")
        return self

    def _check_columns(self) -> None:
        """Raises ValueError: unknown or missing columns, or a name both in the path and in a column."""
        in_path = placeholders(self.path)
        faults = [
            f"{name} is not a column (allowed: {', '.join(COLUMNS)})" for name in self.columns if name not in COLUMNS
        ]
        faults += [f"columns do not say which holds {name}" for name in ("x_px", "y_px") if name not in self.columns]
        if "stimulus" not in (*self.columns, *in_path):
            faults.append("stimulus is neither in the path nor in a column")
        faults += [f"{name} comes from the path already" for name in self.columns if name in in_path]
        if faults:
            raise ValueError("; ".join(faults))


class PictureSetSpec(Section):
    """A whole set: its pictures, and who looked where."""

    name: str = Field(min_length=1)
    licence: str | None = None
    notes: list[str] = Field([], description="what the report must say about these data")
    pictures: TemplateSpec
    fixations: FixationsSpec | None = None
    maps: TemplateSpec | None = Field(None, description="fixation maps as pictures: targets of pictures without gaze")
    px_per_deg: float | None = Field(None, gt=0, description="px of the picture in a degree of visual angle")
    max_pixels: int = Field(
        50_000_000, ge=1, le=89_000_000, description="a picture with more pixels is refused before it is unpacked"
    )

    @model_validator(mode="after")
    def _some_target(self) -> Self:
        if self.fixations is None and self.maps is None:
            raise ValueError("declare fixations, maps or both")
        in_pictures = set(placeholders(self.pictures.path))
        for what, spec in (("fixations", self.fixations), ("maps", self.maps)):
            named = set(placeholders(spec.path)) & set(PLACES) if spec else set()
            if named and named != in_pictures:
                raise ValueError(f"{what}.path must have the same of {{stimulus}} and {{category}} as pictures.path")
        return self


def load_pictures(path: str | Path) -> PictureSetSpec:
    """Read a declaration of pictures. Raises ConfigError with every mistake, each after the name of the file."""
    return validate(PictureSetSpec, read_declaration(path), str(path))
