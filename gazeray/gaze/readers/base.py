# SPDX-License-Identifier: Apache-2.0
"""What a reader is: a function that turns the bytes of one gaze file into a `GazeTable`, registered under a name.

A data set's declaration of its gaze files (`GazeSpec`) names the reader and is what the reader is told. A new format is
one new module here with one `@register_reader` function.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gazeray.config import Pattern, Section
from gazeray.gaze.files import check_placeholders, placeholders
from gazeray.gaze.registry import Registry
from gazeray.storage import Folder, safe_relative
from gazeray.tables import Reject

Kind = Literal["samples", "fixations"]

IDS = ("participant", "trial")
COORDINATES = ("x_px", "y_px")
TIMES: dict[str, tuple[str, ...]] = {"samples": ("timestamp_ms",), "fixations": ("onset_ms", "duration_ms")}
SCREEN = ("width_px", "height_px", "width_mm", "height_mm", "distance_mm")
SCREEN_COLUMNS = {name: name if name == "distance_mm" else f"screen_{name}" for name in SCREEN}
"""Part of the screen -> its column in the trials table, and its name in the header of a `GazeTable`."""

TIME_UNITS_MS = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6}
CHUNK_BYTES = 1 << 20


class ReadError(ValueError):
    """A whole file cannot be used. `source` is its path, `reason` says why."""

    def __init__(self, source: str, reason: str) -> None:
        self.source, self.reason = source, reason
        super().__init__(f"{source}: {reason}")


@dataclass(frozen=True)
class GazeTable:
    """The usable rows of one gaze file, in the order of the file; N of its `n_rows` data rows.

    ids       the (participant, trial) pairs that the file names; some may have no usable row
    codes     (N,) int, which of `ids` a row belongs to
    columns   the times (N,) float64 in ms; x_px and y_px (N,) float64, NaN where lost, still in the unit and origin of
              the file
    rows      (N,) int64, the row of the file, the first data row is 1; blank lines do not count
    rejects   what was left out and why
    header    what the file says about itself: sampling_hz, screen_width_px, screen_height_px, ... (only what it says)
    notes     what a reader of the results should know about the file, such as which eye was used
    """

    ids: list[tuple[str, str]]
    codes: np.ndarray
    columns: dict[str, np.ndarray]
    rows: np.ndarray
    n_rows: int
    rejects: list[Reject] = field(default_factory=list)
    header: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def where(self, keep: np.ndarray) -> GazeTable:
        """The rows of the mask `keep` (N,), without the rejects."""
        if keep.all():
            return replace(self, rejects=[])
        columns = {name: values[keep] for name, values in self.columns.items()}
        return GazeTable(self.ids, self.codes[keep], columns, self.rows[keep], self.n_rows)


class FileSpec(Section):
    """Where a table is and what its columns are called."""

    ids: ClassVar[tuple[str, ...]] = ()
    """The placeholders that the path may have."""

    path: Annotated[str, AfterValidator(safe_relative)] = Field(
        description="path below the data set's root; a .gz behind it makes no difference"
    )
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="default: by suffix, tab or comma")

    @field_validator("path")
    @classmethod
    def _known_placeholders(cls, path: str) -> str:
        check_placeholders(path, cls.ids)
        return path


class MessagesSpec(Section):
    """Messages of the recording software that bracket a trial: regular expressions, searched in the text."""

    start: Pattern = Field(
        description="begins a trial; a named group (?P<trial>...) gives its name, else trials are counted 1, 2, ..."
    )
    end: Pattern | None = Field(None, description="ends a trial; default: the next start, or the end of the file")


class GazeSpec(FileSpec):
    """Gaze files. A {participant} or {trial} in the path gives that id; otherwise a column must."""

    ids = IDS
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
        if cls.kind not in READERS[READERS.check(reader)].kinds:
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
        allowed = dict.fromkeys(TIMES[cls.kind], tuple(TIME_UNITS_MS)) | dict.fromkeys(
            COORDINATES, ("px", "normalised")
        )
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


@dataclass(frozen=True)
class GazeFile:
    """One file to be read.

    data     its raw bytes
    source   its path relative to the data set's folder
    spec     what its columns are called, what they mean, and whether it holds samples or fixations (`spec.kind`)
    fixed    the participant and trial taken from the path
    beside   the bytes of those companions (`Format.companions`) that exist, by path
    """

    data: bytes
    source: str
    spec: GazeSpec
    fixed: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, str]:
        """The participant and the trial that the path gives, "" for what it does not."""
        return self.fixed.get("participant", ""), self.fixed.get("trial", "")


def fetched(root: Folder, path: str) -> bytes:
    """The bytes of a file. Raises ReadError where it is missing or forbidden, OSError when the storage fails."""
    try:
        return root.read_bytes(path)
    except (FileNotFoundError, PermissionError) as error:
        raise ReadError(path, f"cannot be read: {error.strerror or error}") from error


Reader = Callable[[GazeFile], GazeTable]
"""Reads one file. Raises ReadError when nothing of the file can be used."""


@dataclass(frozen=True)
class Format:
    """A registered reader, and what a declaration need not say about its files.

    kinds        what such files can hold
    supplies     ids that the reader finds by itself (trial numbers in messages, ...) unless the path gives them
    described    the format names its columns itself: `columns` and `units` of a declaration may be left out; what is
                 declared wins over what the reader would take
    units        name -> unit of what the reader returns, where that is not ms or px (x_px: normalised)
    companions   paths, relative to the data set's folder, of further files that belong to a file
    """

    read: Reader
    kinds: tuple[Kind, ...] = ("samples", "fixations")
    supplies: tuple[str, ...] = ()
    described: bool = False
    units: Mapping[str, str] = field(default_factory=dict)
    companions: Callable[[str], list[str]] = lambda source: []


READERS = Registry("reader", Format)
register_reader = READERS.register


def unpacked(data: bytes, source: str) -> bytes:
    """The bytes, gunzipped when they start as gzip does, whatever the file is called.

    Raises ReadError for an empty file and for gzip that is truncated or damaged.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ReadError(source, f"truncated or damaged gzip: {error}") from error
    if not data[:CHUNK_BYTES].strip() and not data.strip():
        raise ReadError(source, "the file is empty")
    return data
