# SPDX-License-Identifier: Apache-2.0
"""The declaration of a set of pictures that people looked at: a YAML that says where pictures and gaze are. No code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gazeray.config import Section, StorageConfig, validate
from gazeray.gaze.declaration import read_declaration
from gazeray.gaze.files import check_placeholders, placeholders
from gazeray.gaze.study_facts import StudyFacts
from gazeray.stimuli.readers.base import FixationsSpec
from gazeray.storage import safe_relative

PLACES = ("stimulus", "category")
"""Placeholders that together name a picture. The pictures of a category are named <category>_<stimulus>."""


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


class PictureSetSpec(Section):
    """A whole set: its pictures, and who looked where."""

    name: str = Field(min_length=1)
    licence: str | None = None
    study: StudyFacts | None = Field(None, description="who was recorded, and how; for the report alone")
    notes: list[str] = Field([], description="what the report must say about these data")
    pictures: TemplateSpec
    fixations: FixationsSpec | None = None
    maps: TemplateSpec | None = Field(None, description="fixation maps as pictures: targets of pictures without gaze")
    px_per_deg: float | None = Field(None, gt=0, description="px of the picture in a degree of visual angle")
    max_pixels: int = Field(
        50_000_000, ge=1, le=89_000_000, description="a picture with more pixels is refused before it is unpacked"
    )

    @field_validator("fixations", "maps")
    @classmethod
    def _named_alike(cls, spec: FixationsSpec | TemplateSpec | None, info: ValidationInfo) -> Any:
        named = set(placeholders(spec.path)) & set(PLACES) if spec and "pictures" in info.data else set()
        if named and named != set(placeholders(info.data["pictures"].path)):
            what = info.field_name
            raise ValueError(f"{what}.path must have the same of {{stimulus}} and {{category}} as pictures.path")
        return spec

    @field_validator("maps")
    @classmethod
    def _some_target(cls, maps: TemplateSpec | None, info: ValidationInfo) -> TemplateSpec | None:
        if maps is None and info.data.get("fixations", ...) is None:
            raise ValueError("declare fixations, maps or both")
        return maps


def load_pictures(path: str | Path, storage: StorageConfig | None = None) -> PictureSetSpec:
    """Read a declaration of pictures. Raises ConfigError with every mistake, each after the name of the file."""
    return validate(PictureSetSpec, read_declaration(path, storage), str(path))
