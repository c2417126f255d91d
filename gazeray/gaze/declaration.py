# SPDX-License-Identifier: Apache-2.0
"""The declaration of a data set: a YAML that says where its files are and what their columns mean. No code.

Names on the left of `columns` are gazeray's, those on the right the file's. A quantity of the geometry is a number that
holds for every trial, or the name of a column of the trials or the participants table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, field_validator

from gazeray.config import ConfigError, Section, parse_yaml, read_yaml, validate
from gazeray.gaze.files import placeholders
from gazeray.gaze.readers import READERS
from gazeray.gaze.readers.base import COORDINATE_UNITS, COORDINATES, IDS, TIME_UNITS_MS, TIMES, Kind
from gazeray.storage import Folder, UnsafePathError, masked, safe_relative, split_uri

PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

SCREEN = ("width_px", "height_px", "width_mm", "height_mm", "distance_mm")
SCREEN_COLUMNS = {name: name if name == "distance_mm" else f"screen_{name}" for name in SCREEN}
"""Part of the screen -> its column in the trials table."""


def plain_number(text: str) -> float | None:
    """The finite number that a cell of a table spells, or None. Unlike float(): no nan, inf or 1_000."""
    text = text.strip()
    value = float(text) if PLAIN_NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def canonical(value: str | int | float) -> str:
    """A label value as it is compared: 0, "0", 0.0 and "0.0" are the same, other text is itself."""
    number = plain_number(str(value))
    return str(value).strip() if number is None else repr(number + 0.0).removesuffix(".0")


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


def _label_values(value: Any) -> dict[str, str]:
    """Raw label value -> class name, with the raw values made canonical. The order is kept."""
    if not isinstance(value, dict):
        raise ValueError("must map each raw value to the name of its class")
    classes: dict[str, str] = {}
    for raw, name in value.items():
        for part in (raw, name):
            if isinstance(part, bool) or part is None or not isinstance(part, str | int | float):
                raise ValueError(f"write {part!r} in quotes: YAML reads yes, no, on, off, true, false, null as no text")
        if canonical(raw) in classes:
            raise ValueError(f"the raw value {raw!r} is there twice")
        classes[canonical(raw)] = str(name)
    if len(set(classes.values())) < 2:
        raise ValueError("needs at least two classes")
    return classes


def notes_of_labels(notes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """The notes of a declaration. Raises ValueError naming those of no declared label."""
    unknown = [name for name in notes if name not in info.data.get("labels", notes)]
    if unknown:
        raise ValueError(f"no such label: {', '.join(unknown)} (declared: {', '.join(info.data['labels'])})")
    return notes


Quantity = Annotated[float | str, PlainValidator(_quantity)]
PositiveQuantity = Annotated[float | str, PlainValidator(_positive_quantity)]
LabelValues = Annotated[dict[str, str], PlainValidator(_label_values)]


class FileSpec(Section):
    """Where a table is and what its columns are called."""

    required: ClassVar[tuple[str, ...]] = ()

    path: str = Field(description="path below the data set's root; a .gz behind it makes no difference")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="default: by suffix, tab or comma")

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        try:
            return safe_relative(path)
        except UnsafePathError as error:
            raise ValueError(str(error)) from error

    @field_validator("path")
    @classmethod
    def _known_placeholders(cls, path: str) -> str:
        allowed = IDS if issubclass(cls, GazeSpec) else ()
        unknown = [name for name in placeholders(path) if name not in allowed]
        if unknown or "{" in re.sub(r"\{[^{}]*\}", "", path):
            known = " and ".join(f"{{{name}}}" for name in allowed) or "none"
            raise ValueError(f"unknown placeholder; allowed here: {known}")
        return path


class TableSpec(FileSpec):
    """The trials or the participants table: csv, tsv or Parquet."""

    columns: dict[str, str] = Field(description="gazeray's name -> the file's name")

    @field_validator("columns")
    @classmethod
    def _has_required(cls, columns: dict[str, str]) -> dict[str, str]:
        missing = [name for name in cls.required if name not in columns]
        if missing:
            raise ValueError(f"must say which column holds {' and which '.join(missing)}")
        return columns


class ParticipantsSpec(TableSpec):
    """One row per participant: what is the same for all trials of a person."""

    required = ("participant",)


class TrialsSpec(TableSpec):
    """One row per trial. `stimulus` is the trial when no column is given for it."""

    required = ("participant", "trial")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


class MessagesSpec(Section):
    """Messages of the recording software that bracket a trial: regular expressions, searched in the text."""

    start: Annotated[str, AfterValidator(_pattern)] = Field(
        description="begins a trial; a named group (?P<trial>...) gives its name, else trials are counted 1, 2, ..."
    )
    end: Annotated[str, AfterValidator(_pattern)] | None = Field(
        None, description="ends a trial; default: the next start, or the end of the file"
    )


class GazeSpec(FileSpec):
    """Gaze files. A {participant} or {trial} in the path gives that id; otherwise a column must."""

    kind: ClassVar[Kind]

    reader: str = Field(description="the format, one of the registered readers")
    columns: dict[str, str] = Field(
        {}, validate_default=True, description="gazeray's name -> the file's name; vendor formats know their own"
    )
    units: dict[str, str] = Field({}, description="column -> ms, s, us, ns (times) or px, normalised (x_px, y_px)")
    missing: list[float] = Field([], description="a coordinate equal to one of these is lost")
    origin: Literal["screen", "stimulus"] = Field("screen", description="what 0, 0 is the top left of")
    eye: Literal["best", "left", "right", "mean"] = Field(
        "best", description="of binocular files; best: the eye with fewer lost samples in the file"
    )
    messages: MessagesSpec | None = Field(None, description="what brackets a trial in files with messages")

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        if reader not in READERS:
            raise ValueError(f"unknown reader (known: {', '.join(sorted(READERS))})")
        if cls.kind not in READERS[reader].kinds:
            raise ValueError(f"such files hold {' and '.join(READERS[reader].kinds)}, not {cls.kind}")
        return reader

    @field_validator("columns")
    @classmethod
    def _all_columns(cls, columns: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        needed = (*TIMES[cls.kind], *COORDINATES)
        known = READERS.get(info.data.get("reader", ""))  # None: an unknown reader, which is named already
        described, supplies = (known.described, known.supplies) if known else (False, ())
        missing = [name for name in needed if name not in columns and not described]
        faults = [f"does not say which column holds {name}" for name in missing]
        faults += [
            f"{name} is not a column of {cls.kind} (allowed: {', '.join((*IDS, *needed))})"
            for name in columns
            if name not in (*IDS, *needed)
        ]
        for name in IDS if "path" in info.data else ():
            in_path = name in placeholders(info.data["path"])
            if in_path and name in columns:
                faults.append(f"{name} comes from the path already")
            if not in_path and name not in columns and name not in supplies:
                faults.append(f"{name} is neither in the path nor in a column")
        if faults:
            raise ValueError("; ".join(faults))
        return columns

    @field_validator("units")
    @classmethod
    def _known_units(cls, units: dict[str, str]) -> dict[str, str]:
        allowed = dict.fromkeys(TIMES[cls.kind], tuple(TIME_UNITS_MS)) | dict.fromkeys(COORDINATES, COORDINATE_UNITS)
        faults = [
            f"{name}: {unit}: no such {'unit' if name in allowed else 'column'}"
            f" (allowed: {', '.join(allowed.get(name, allowed))})"
            for name, unit in units.items()
            if unit not in allowed.get(name, ())
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return units

    def unit(self, name: str) -> str:
        """The unit of a column as the reader returns it: the declared one, else the format's, else ms or px."""
        default = "px" if name in COORDINATES else "ms"
        return self.units.get(name, READERS[self.reader].units.get(name, default))


class SamplesSpec(GazeSpec):
    """Files of samples: timestamp_ms, x_px, y_px."""

    kind = "samples"


class FixationsSpec(GazeSpec):
    """Files of fixations: onset_ms, duration_ms, x_px, y_px."""

    kind = "fixations"


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


class DatasetSpec(Section):
    """A whole data set: its tables, its gaze files, the geometry, the labels."""

    name: str = Field(min_length=1)
    licence: str | None = None
    labels: dict[str, LabelValues] = Field({}, description="label -> raw value -> class; the last class is positive")
    notes: dict[str, str] = Field({}, description="label -> what the report must say about it, such as a confound")
    screen: ScreenSpec = ScreenSpec()
    stimulus: StimulusSpec | None = Field(None, description="default: the whole screen")
    participants: ParticipantsSpec | None = None
    trials: TrialsSpec
    samples: SamplesSpec | None = None
    fixations: FixationsSpec | None = None

    @field_validator("notes")
    @classmethod
    def _notes_of_labels(cls, notes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        return notes_of_labels(notes, info)

    @field_validator("participants", "trials")
    @classmethod
    def _columns_that_mean_something(cls, table: TableSpec | None, info: ValidationInfo) -> TableSpec | None:
        used = {"participant", "trial", "stimulus", *SCREEN_COLUMNS.values(), *info.data.get("labels", ())}
        for section in (info.data.get("screen"), info.data.get("stimulus")):
            used |= {value for value in dict(section or ()).values() if isinstance(value, str)}
        unknown = [name for name in (table.columns if table else ()) if name not in used]
        if unknown and {"labels", "screen", "stimulus"} <= info.data.keys():
            raise ValueError(f"columns that nothing uses: {', '.join(unknown)} (known here: {', '.join(sorted(used))})")
        return table

    @field_validator("fixations")
    @classmethod
    def _some_gaze(cls, fixations: FixationsSpec | None, info: ValidationInfo) -> FixationsSpec | None:
        if fixations is None and "samples" in info.data and info.data["samples"] is None:
            raise ValueError("declare samples, fixations or both")
        return fixations

    def tables(self) -> list[TableSpec]:
        """The trials table, and the participants table when one is declared."""
        return [self.trials, *([self.participants] if self.participants else [])]

    def gaze(self) -> dict[Kind, GazeSpec]:
        """The declared kinds of gaze. The first decides whether a trial has gaze."""
        both: Mapping[Kind, GazeSpec | None] = {"samples": self.samples, "fixations": self.fixations}
        return {kind: spec for kind, spec in both.items() if spec is not None}


def read_declaration(path: str | Path) -> dict[str, Any]:
    """The mapping in a declaration, local or s3://, not yet checked. Raises ConfigError naming the file."""
    if "://" not in str(path):
        return read_yaml(path)
    (folder, name), source = split_uri(str(path)), masked(str(path))
    try:
        return parse_yaml(Folder(folder).read_text(name), source)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{source}: cannot be read: {error}"]) from error


def load_dataset(path: str | Path) -> DatasetSpec:
    """Read a declaration of raw gaze. Raises ConfigError with every mistake, each after the name of the file."""
    return validate(DatasetSpec, read_declaration(path), str(path))
