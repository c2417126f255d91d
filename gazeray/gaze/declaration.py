# SPDX-License-Identifier: Apache-2.0
"""The declaration of a data set: a YAML that says where its files are and what their columns mean. No code.

Names on the left of `columns` are gazeray's, those on the right the file's. A quantity of the geometry is a number that
holds for every trial, or the name of a column of the trials or the participants table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from gazeray.config import ConfigError, Section, StorageConfig, parse_yaml, read_yaml, validate
from gazeray.gaze.files import check_placeholders, placeholders
from gazeray.gaze.labels import LabelledSpec, labels_of
from gazeray.gaze.logs import LOG_MS, LogSpec
from gazeray.gaze.readers.base import IDS, READERS, SCREEN_COLUMNS, TIME_UNITS_MS, Kind
from gazeray.gaze.readers.spec import Column, FileSpec, FixationsSpec, GazeSpec, SamplesSpec
from gazeray.gaze.readers.spec import Path as FilePath
from gazeray.storage import Folder, masked, split_uri

WINDOW_MS = ("start_ms", "end_ms")
"""Columns of the trials table that say when a trial begins and ends, on the clock of the gaze."""

NAMES = "names"
"""Reader of trials that are told by the names of files."""

WORDS = "words"
"""Column of the trials table: how many words what was read in a trial has."""

NUISANCE_COLUMN = "nuisance:"
"""What stands before the name of a column of `nuisance` where it is a column of trials or examples."""


def _quantity(value: Any) -> float | str:
    """A number, or the name of a column."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("must be a number or the name of a column")


def _positive_quantity(value: Any) -> float | str:
    """A number above 0, or the name of a column."""
    value = _quantity(value)
    if isinstance(value, float) and value <= 0:
        raise ValueError("must be greater than 0")
    return value


Quantity = Annotated[float | str, PlainValidator(_quantity)]
PositiveQuantity = Annotated[float | str, PlainValidator(_positive_quantity)]


class TableSpec(FileSpec):
    """The trials or the participants table: csv, tsv or Parquet."""

    needed: ClassVar[tuple[str, ...]] = ()

    columns: dict[str, Column] = Field(
        {}, description="gazeray's name -> the file's name; may be left out where they are the same"
    )

    def column(self, name: str) -> str:
        """The file's name of a column that is one column."""
        return str(self.columns.get(name, name))

    @property
    def needed_columns(self) -> list[str]:
        """The file's names of the columns that are declared or needed, without those that the path gives."""
        own = {name: name for name in self.needed} | dict(self.columns)
        names = [name for named in own.values() for name in ([named] if isinstance(named, str) else named)]
        return [name for name in dict.fromkeys(names) if name not in placeholders(self.path)]

    @field_validator("columns")
    @classmethod
    def _one_column_each(cls, columns: dict[str, Column]) -> dict[str, Column]:
        several = [name for name, own in columns.items() if isinstance(own, list) and (name != "trial" or len(own) < 2)]
        if several:
            raise ValueError(f"{', '.join(several)}: one column, not a list")
        return columns


class ParticipantsSpec(TableSpec):
    """One row per participant: what is the same for all trials of a person."""

    needed = ("participant",)

    @field_validator("path")
    @classmethod
    def _one_file(cls, path: str) -> str:
        check_placeholders(path, ())
        return path


class TrialsSpec(TableSpec):
    """One row per trial. `stimulus` is the trial when no column is given for it.

    Placeholders in the path make one table of many files, those of the gaze included: then the rows of a trial count as
    one where they say the same.
    """

    needed = IDS

    units: dict[str, str] = Field({}, description="start_ms, end_ms -> ms (default), s, us, ns or iso")
    reader: str | None = Field(
        None,
        description="take the trials from what gaze files say of them (eyelink: TRIAL_VAR), or (names) from what the"
        " placeholders of the path stand for in the names of files; default: a table",
    )
    repeats: Literal["refuse", "number", "join"] = Field(
        "refuse",
        description="a trial that is presented again: refuse it; number: its rows here are its presentations, in order;"
        " join: all its presentations are one trial",
    )
    in_order: bool = Field(
        True, description="the rows of a participant are in the order of presentation; false: that is not known"
    )
    log: LogSpec | None = Field(None, description="the table is a log of stimuli with a clock of its own")

    @model_serializer(mode="wrap")
    def _without_defaults(self, dumped: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As before there were these keys: stores are named by a hash of what is declared."""
        plain = {"log": None, "in_order": True}
        return {name: value for name, value in dumped(self).items() if name not in plain or value != plain[name]}

    @field_validator("path")
    @classmethod
    def _known_placeholders(cls, path: str) -> str:
        check_placeholders(path)
        return path

    @field_validator("reader")
    @classmethod
    def _tells_trials(cls, reader: str | None) -> str | None:
        able = [NAMES, *(name for name, known in READERS.items() if known.trials)]
        if reader is not None and reader not in able:
            raise ValueError(f"files of {reader} do not tell of trials (those of: {', '.join(able)})")
        return reader

    @model_validator(mode="after")
    def _all_in_the_name(self) -> TrialsSpec:
        if self.reader == NAMES and self.needed_columns:
            raise ValueError(f"reader names: {', '.join(self.needed_columns)}: no such placeholder in {self.path}")
        text = [key for key in ("delimiter", "encoding", "names", "skip_lines") if key in self.model_fields_set]
        if self.reader == NAMES and text:
            raise ValueError(f"reader names: no file is opened, {', '.join(text)} have no meaning")
        return self

    @field_validator("units")
    @classmethod
    def _known_units(cls, units: dict[str, str]) -> dict[str, str]:
        allowed = (*TIME_UNITS_MS, "iso")
        wrong = [f"{name}: {unit}" for name, unit in units.items() if name not in WINDOW_MS or unit not in allowed]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: allowed are {' and '.join(WINDOW_MS)} in {', '.join(allowed)}")
        return units

    @property
    def trial_columns(self) -> list[str]:
        """The columns that together name the trial."""
        own = self.columns.get("trial", "trial")
        return own if isinstance(own, list) else [own]


class ScreenSpec(Section):
    """The screen. What is not given here is taken from a column of that name (screen_width_px, ...) if there is one."""

    width_px: PositiveQuantity | None = None
    height_px: PositiveQuantity | None = None
    width_mm: PositiveQuantity | None = None
    height_mm: PositiveQuantity | None = None
    distance_mm: PositiveQuantity | None = Field(None, description="from the eyes to the screen")


class StimulusSpec(Section):
    """The region of the screen, in screen px, that the stimulus covers."""

    width_px: PositiveQuantity
    height_px: PositiveQuantity
    left_px: Quantity | None = None
    top_px: Quantity | None = None
    placed: Literal["centred"] | None = None

    @field_validator("placed")
    @classmethod
    def _one_place(cls, placed: str | None, info: ValidationInfo) -> str | None:
        given = [info.data.get(name) is not None for name in ("left_px", "top_px")]
        if any(given) if placed else not all(given):
            raise ValueError("give either placed: centred, or both left_px and top_px")
        return placed


class StimulusPicturesSpec(Section):
    """Where the pictures are that people looked at."""

    path: FilePath = Field(description="path below the data set's root with {stimulus}, such as Images/{stimulus}.*")

    @field_validator("path")
    @classmethod
    def _names_the_stimulus(cls, path: str) -> str:
        check_placeholders(path, needed=("stimulus",))
        return path


class DatasetSpec(LabelledSpec):
    """A whole data set: its tables, its gaze files, the geometry, the labels."""

    screen: ScreenSpec = ScreenSpec()
    stimulus: StimulusSpec | None = Field(None, description="default: the whole screen")
    nuisance: list[str] = Field(
        [],
        description="columns of the trials or participants that never saw the eye tracker, such as age, session, font",
    )
    participants: ParticipantsSpec | None = None
    pictures: StimulusPicturesSpec | None = Field(None, description="the pictures that people looked at")
    trials: TrialsSpec
    samples: SamplesSpec | None = None
    fixations: FixationsSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _trial_in_the_path(cls, values: Any) -> Any:
        """The gaze whose path has all parts of a trial's name under the names of their columns: the last is {trial}."""
        trials = values.get("trials") if isinstance(values, dict) else None
        columns = trials.get("columns") if isinstance(trials, dict) else None
        own = columns.get("trial") if isinstance(columns, dict) else None
        parts = own if isinstance(own, list) else [own]
        if not parts or not all(isinstance(part, str) for part in parts):
            return values
        found = dict(values)
        for kind in ("samples", "fixations"):
            gaze = values.get(kind)
            path = gaze.get("path") if isinstance(gaze, dict) else None
            if isinstance(path, str) and {*parts} <= {*placeholders(path)} - {"trial"}:
                found[kind] = {**gaze, "path": path.replace(f"{{{parts[-1]}}}", "{trial}")}
        return found

    @field_validator("nuisance")
    @classmethod
    def _different_columns(cls, nuisance: list[str]) -> list[str]:
        twice = sorted({name for name in nuisance if nuisance.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: more than once")
        return nuisance

    @field_validator("participants", "trials")
    @classmethod
    def _columns_that_mean_something(cls, table: TableSpec | None, info: ValidationInfo) -> TableSpec | None:
        labels = [label.column for label in labels_of(info.data.get("labels", {}))]
        used = {"participant", "trial", "stimulus", *WINDOW_MS, *SCREEN_COLUMNS.values(), *labels}
        used |= {*info.data.get("nuisance", ()), *([WORDS] if info.field_name == "trials" else [])}
        for section in (info.data.get("screen"), info.data.get("stimulus")):
            used |= {value for value in dict(section or ()).values() if isinstance(value, str)}
        unknown = [name for name in (table.columns if table else ()) if name not in used]
        if unknown and {"labels", "screen", "stimulus", "nuisance"} <= info.data.keys():
            raise ValueError(f"columns that nothing uses: {', '.join(unknown)} (known here: {', '.join(sorted(used))})")
        if isinstance(table, TrialsSpec) and table.log and "labels" in info.data:
            table.log.check_labels(labels_of(info.data["labels"]))
        given = [name for name in placeholders(table.path) if name in table.columns] if table else []
        if given:
            raise ValueError(f"{', '.join(given)}: comes from the path already")
        return table

    @field_validator("samples", "fixations")
    @classmethod
    def _parts_of_names(cls, gaze: GazeSpec | None, info: ValidationInfo) -> GazeSpec | None:
        """Raises ValueError where the trials table needs more to name a trial than the gaze gives."""
        table = info.data.get("trials")
        if gaze is None or table is None:
            return gaze
        parts, n = parts_in_path(gaze, table), len(table.trial_columns)
        own = len(gaze.trial_columns) or 1
        if table.trial_columns[: len(parts)] != parts or len(parts) + own != n:
            raise ValueError(
                f"trials.columns.trial names {n} columns, {', '.join(table.trial_columns)}: the first of them must be"
                f" placeholders of the path (here: {', '.join(parts) or 'none'}), the others in columns.trial (here:"
                f" {own})"
            )
        if table.log and (gaze.windows is None or "participant" not in placeholders(gaze.path)):
            needed = "needs windows: trials, and {participant} in the path"
            raise ValueError(f"trials.log tells the times of one person's trials: {needed}")
        return gaze

    @field_validator("fixations")
    @classmethod
    def _some_gaze(cls, fixations: FixationsSpec | None, info: ValidationInfo) -> FixationsSpec | None:
        if fixations is None and "samples" in info.data and info.data["samples"] is None:
            raise ValueError("declare samples, fixations or both")
        return fixations

    def tables(self) -> list[TableSpec]:
        """The trials table, and the participants table when one is declared."""
        return [self.trials, *([self.participants] if self.participants else [])]

    @property
    def has_gaze(self) -> bool:
        """Does any file say where people looked, so that the screen must be known?"""
        return any(gaze.has_gaze for gaze in self.gaze().values())

    @property
    def timed(self) -> bool:
        """Does the trials table say when trials begin and end?"""
        return any(gaze.windows for gaze in self.gaze().values())

    @property
    def window_columns(self) -> tuple[str, ...]:
        """The columns of trials that say when they begin and end."""
        return (*WINDOW_MS, *([LOG_MS] if self.trials.log else [])) if self.timed else ()

    def gaze(self) -> dict[Kind, GazeSpec]:
        """The declared kinds of gaze. The first decides whether a trial has gaze."""
        both: Mapping[Kind, GazeSpec | None] = {"samples": self.samples, "fixations": self.fixations}
        return {kind: spec for kind, spec in both.items() if spec is not None}


def parts_in_path(gaze: GazeSpec, table: TrialsSpec) -> list[str]:
    """The placeholders of a gaze file's path that are a part of the name of a trial, in order."""
    several = table.trial_columns if len(table.trial_columns) > 1 else []
    return [name for name in several if name in placeholders(gaze.path) and name not in IDS]


def read_declaration(path: str | Path, storage: StorageConfig | None = None) -> dict[str, Any]:
    """The mapping in a declaration, local or s3://, not yet checked. Raises ConfigError naming the file."""
    if "://" not in str(path):
        return read_yaml(path)
    (folder, name), source = split_uri(str(path)), masked(str(path))
    try:
        return parse_yaml(Folder(folder, storage).read_text(name), source)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{source}: cannot be read: {error}"]) from error


def load_dataset(path: str | Path, storage: StorageConfig | None = None) -> DatasetSpec:
    """Read a declaration of raw gaze. Raises ConfigError with every mistake, each after the name of the file."""
    return validate(DatasetSpec, read_declaration(path, storage), str(path))
