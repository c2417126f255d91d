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
from typing import TYPE_CHECKING, Literal

import numpy as np

from gazeray.gaze.files import Listing
from gazeray.gaze.registry import Registry
from gazeray.storage import Folder
from gazeray.tables import Reject

if TYPE_CHECKING:
    from gazeray.gaze.readers.spec import GazeSpec

Kind = Literal["samples", "fixations"]

IDS = ("participant", "trial")
COORDINATES = ("x_px", "y_px")
TIMES: dict[str, tuple[str, ...]] = {"samples": ("timestamp_ms",), "fixations": ("onset_ms", "duration_ms")}
SCREEN = ("width_px", "height_px", "width_mm", "height_mm", "distance_mm")
SCREEN_COLUMNS = {name: name if name == "distance_mm" else f"screen_{name}" for name in SCREEN}
"""Part of the screen -> its column in the trials table, and its name in the header of a `GazeTable`."""

BEGAN_MS = "began_ms"
"""What the header of a `GazeTable` may hold: the time of day at which its clock was 0, ms since 1970."""

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

    ids       the presentations that the file names, (participant, trial) each, those of a trial in order of time: what
              is shown twice is there twice; some may have no usable row
    codes     (N,) int, which of `ids` a row belongs to. A fixation that lasts over the edge of a presentation has a row
              in each that it lasts into: it is cut to `windows` afterwards
    columns   the times (N,) float64 in ms; x_px and y_px (N,) float64, NaN where lost, still in the unit and origin of
              the file; channels (N,): numbers as float64, NaN where lost or not valid, else str (hand labels)
    rows      (N,) int64, the row of the file, the first data row is 1; blank lines do not count
    rejects   what was left out and why
    header    what the file says about itself: sampling_hz, screen_width_px, screen_height_px, ... (only what it says)
    notes     what a reader of the results should know about the file, such as which eye was used; what differs from
              file to file stands behind the first colon or bracket
    windows   (len(ids), 2) float64, start and end of each presentation in ms on the clock of the file, -inf and inf
              where it does not say; None: it says of none
    units     name -> unit that this file gives: of channels; of x_px and y_px where it is not `GazeSpec.unit`
    origin    what 0, 0 is the top left of, where the file says so: screen, stimulus, scene_camera, or screen_centre
              (its middle); "": as declared
    eye       the one eye that the file holds: left or right; "": both, or it does not say
    accuracy  for each of `ids` what the tracker said of its accuracy before it, such as validation_left_deg; or empty
    """

    ids: list[tuple[str, str]]
    codes: np.ndarray
    columns: dict[str, np.ndarray]
    rows: np.ndarray
    n_rows: int
    rejects: list[Reject] = field(default_factory=list)
    header: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    windows: np.ndarray | None = None
    units: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    eye: str = ""
    accuracy: list[dict[str, float]] = field(default_factory=list)

    def where(self, keep: np.ndarray) -> GazeTable:
        """The rows of the mask (or the indices) `keep`, without the rejects."""
        columns = {name: values[keep] for name, values in self.columns.items()}
        return replace(self, codes=self.codes[keep], columns=columns, rows=self.rows[keep], rejects=[])


@dataclass(frozen=True)
class GazeFile:
    """One file to be read.

    data     its raw bytes
    source   its path relative to the data set's folder
    spec     what its columns are called, what they mean, and whether it holds samples or fixations (`spec.kind`)
    fixed    the participant and trial (and what other placeholders stand for) taken from the path
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
    keys         the keys of a declaration that mean something to it, besides reader, path and origin: columns, units,
                 missing, eye, messages (where its files have messages of their own), channels, delimiter, ...; `eye`
                 for files of two eyes; `y_axis` (and the origin screen_centre) where files differ in it
    companions   paths of the further files of a data set that belong to a file
    trials       what a file says of its trials itself: names of columns, the first of which is trial, and a row each
    """

    read: Reader
    kinds: tuple[Kind, ...] = ("samples", "fixations")
    supplies: tuple[str, ...] = ()
    described: bool = False
    units: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    companions: Callable[[str, Listing], list[str]] = lambda source, files: []
    trials: Callable[[GazeFile], tuple[list[str], list[list[str]]]] | None = None


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
