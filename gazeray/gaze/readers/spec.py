# SPDX-License-Identifier: Apache-2.0
"""How a declaration describes gaze files: where they are, what their columns are called and what their numbers mean.

Every key is checked against the reader: one that means nothing to it is a mistake like any other, never ignored.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from gazeray.config import Pattern, Section
from gazeray.gaze.files import EYE, check_placeholders, placeholders
from gazeray.gaze.readers.base import COORDINATES, IDS, READERS, TIME_UNITS_MS, TIMES, Kind
from gazeray.storage import safe_relative

EYE_COLUMNS = ("x_left_px", "y_left_px", "x_right_px", "y_right_px")
"""Columns of the two eyes, in the place of x_px and y_px."""

VALIDITY = ("validity", "validity_left", "validity_right")
"""Columns that say whether the gaze (of one eye) is valid; `valid` lists the words that mean yes."""

FROM_CENTRE = ("norm", "height")
"""Units of PsychoPy: -1 to 1 from edge to edge; parts of the height of the screen, in x too."""

CHANNEL = re.compile(r"[a-z][a-z0-9_]*")

Column = str | list[str]
"""The name of a column; a list of names for an id that several columns give together."""


def _no_bool(word: Any) -> Any:
    """A word as it stands in a file: YAML reads yes, no, on, off, true, false as no text."""
    if isinstance(word, bool):
        raise ValueError("write it in quotes, as it stands in the file: YAML reads yes, no, true, false as no text")
    return word


Word = Annotated[str | int | float, BeforeValidator(_no_bool)]


def _encoding(name: str) -> str:
    """The name of an encoding that Python knows."""
    try:
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise ValueError("no such encoding (such as utf-8, latin-1, cp1252, utf-16)") from error


Path = Annotated[str, AfterValidator(safe_relative)]
Encoding = Annotated[str, AfterValidator(_encoding)]


class FileSpec(Section):
    """Where a table is, and how its text is written."""

    path: Path = Field(description="path below the data set's root; a .gz behind it makes no difference")
    delimiter: str | None = Field(
        None, min_length=1, max_length=1, validate_default=False, description="default: by suffix, tab or comma"
    )
    encoding: Encoding = Field("utf-8", validate_default=False, description="of the text; UTF-16 is known by its mark")
    names: list[str] = Field(
        [], validate_default=False, description="the names of all columns in order, where the file has no header line"
    )
    skip_lines: int = Field(
        0, ge=0, validate_default=False, description="lines before the header; lines of # there are left out anyway"
    )
    decimal: Literal[".", ","] = Field(".", validate_default=False, description="the decimal sign of numbers")


class MessageFileSpec(FileSpec):
    """A file of messages beside the gaze: one row per message, on the clock of the gaze."""

    columns: dict[Literal["time", "text", "participant"], str] = Field(
        {}, description="time, text, and in a file of several people participant -> the file's name"
    )
    unit: str = Field("ms", description="of the time: ms, s, us, ns or iso (ISO 8601)")

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, unit: str) -> str:
        if unit not in (*TIME_UNITS_MS, "iso"):
            raise ValueError(f"no such unit (allowed: {', '.join((*TIME_UNITS_MS, 'iso'))})")
        return unit

    def column(self, name: Literal["time", "text"]) -> str:
        """The file's name of a column; the same as ours where the declaration does not say."""
        return self.columns.get(name, name)


class MessagesSpec(Section):
    """Messages of the recording software that bracket a trial: regular expressions, searched in the text."""

    start: Pattern = Field(
        description="begins a trial; a named group (?P<trial>...) gives its name, else trials are counted 1, 2, ..."
    )
    end: Pattern | None = Field(None, description="ends a trial; default: the next start, or the end of the file")
    file: MessageFileSpec | None = Field(None, description="where the messages are in a file of their own")


class ChannelSpec(Section):
    """A further column of numbers, such as a pupil's size or skin conductance."""

    column: str = Field(description="the file's name")
    unit: str = Field("", description="such as mm, a.u., uS, bpm; as the report will write it")
    validity: str | None = Field(None, description="the file's column that says whether the value is valid")
    valid: list[Word] = Field([1], description="the words of that column that mean yes")
    missing: list[float] = Field([], description="a value equal to one of these is lost")


class _ReaderFirst(Section):
    """The reader, which is looked at before all other keys."""

    reader: str = Field(description="the format, one of the registered readers")


class GazeSpec(FileSpec, _ReaderFirst):
    """Gaze files. A {participant} or {trial} in the path gives that id; otherwise a column must. Other placeholders,
    and *, stand for anything: the files that differ in them alone belong together."""

    kind: ClassVar[Kind]

    sampling_hz: float | None = Field(
        None, gt=0, validate_default=False, description="samples per second of a file without a column of times"
    )
    only: dict[str, list[Word]] = Field(
        {},
        validate_default=False,
        description="the file's column -> its words in the rows that are gaze; others are not",
    )
    valid: list[Word] = Field(
        [], validate_default=False, description="the words of the validity columns that mean valid gaze"
    )
    messages: MessagesSpec | None = Field(None, validate_default=False, description="what brackets a trial")
    windows: Literal["trials"] | None = Field(
        None, description="trials: a trial lasts from start_ms to end_ms of the trials table, on the clock of the gaze"
    )
    channels: dict[str, ChannelSpec] = Field(
        {}, validate_default=False, description="name -> a further column; vendor formats know pupils and the like"
    )
    columns: dict[str, Column] = Field({}, description="gazeray's name -> the file's; vendor formats know their own")
    origin: Literal["screen", "stimulus", "screen_centre", "scene_camera"] = Field(
        "screen",
        description="what 0, 0 is the top left (screen_centre: the middle) of; scene_camera: `screen` is its picture",
    )
    units: dict[str, str] = Field(
        {},
        validate_default=False,
        description="column -> ms, s, us, ns, iso (times) or px, normalised, norm, height (x_px, y_px)",
    )
    missing: list[float] = Field([], validate_default=False, description="a coordinate equal to one of these is lost")
    y_axis: Literal["down", "up"] = Field("down", description="where y grows; up: from the bottom, or from the centre")
    eye: Literal["best", "left", "right", "mean"] = Field(
        "best",
        validate_default=False,
        description="of binocular files; best: the eye with fewer lost samples in the file",
    )

    @field_validator("reader")
    @classmethod
    def _known_reader(cls, reader: str) -> str:
        if cls.kind not in READERS[READERS.check(reader)].kinds:
            raise ValueError(f"such files hold {' and '.join(READERS[reader].kinds)}, not {cls.kind}")
        return reader

    @field_validator("path")
    @classmethod
    def _known_placeholders(cls, path: str) -> str:
        check_placeholders(path)
        return path

    @field_validator(
        *("delimiter", "encoding", "names", "skip_lines", "decimal", "sampling_hz", "only", "valid"),
        *("units", "missing", "eye", "messages", "channels"),
        mode="before",
    )
    @classmethod
    def _means_something(cls, value: Any, info: ValidationInfo) -> Any:
        """Raises ValueError for a key that the reader has no use for."""
        known, key = READERS.get(info.data.get("reader", "")), str(info.field_name)
        if known is None or value == cls.model_fields[key].default:
            return value
        if key in known.keys and not (useless := cls._useless(key, known.described, info.data)):
            return value
        if key == "messages" and isinstance(value, dict) and value.get("file") is not None:
            return value  # a file of messages goes with every reader
        if key == "eye" and EYE in placeholders(info.data.get("path", "")):
            return value  # so does a file for each eye
        if key in known.keys:
            raise ValueError(f"has no meaning here: {useless}")
        more = ": it knows of no messages; name their file as messages.file" if key == "messages" else ""
        raise ValueError(f"the reader {info.data['reader']} has no use for this key{more}")

    @classmethod
    def _useless(cls, key: str, described: bool, data: Mapping[str, Any]) -> str:
        """Why a key that the reader knows means nothing beside the others; "": it does."""
        if key == "missing" and not _has_gaze(data):
            return "no column holds coordinates; a channel has `missing` of its own"
        if key == "sampling_hz" and cls.kind == "fixations":
            return "fixations have times of their own"
        if key == "eye" and not described and not any(name in EYE_COLUMNS for name in data.get("columns", EYE_COLUMNS)):
            return f"no columns of two eyes to choose from ({', '.join(EYE_COLUMNS)})"
        return ""

    @field_validator("columns")
    @classmethod
    def _all_columns(cls, columns: dict[str, Column], info: ValidationInfo) -> dict[str, Column]:
        known = READERS.get(info.data.get("reader", ""))
        if known is None:  # named already
            return columns
        if columns and "columns" not in known.keys:
            raise ValueError(f"the reader {info.data['reader']} has no columns to name")
        needed, allowed = (*TIMES[cls.kind], *COORDINATES), [*IDS, *TIMES[cls.kind], *COORDINATES]
        missing = [name for name in needed if name not in columns]
        if cls.kind == "samples" and "valid" in known.keys:
            allowed += [*EYE_COLUMNS, *VALIDITY]
            if info.data.get("channels", True) and not any(name in columns for name in (*COORDINATES, *EYE_COLUMNS)):
                missing = [name for name in missing if name not in COORDINATES]
            missing = _without_replaced(missing, columns, info)
        faults = [f"does not say which column holds {name}" for name in missing if not known.described]
        faults += [
            f"{name} is not a column of {cls.kind} (allowed: {', '.join(allowed)})"
            for name in columns
            if name not in allowed
        ]
        several = [name for name, own in columns.items() if isinstance(own, list) and name != "trial"]
        faults += [f"{name}: one column, not several" for name in several]
        faults += _validity_faults(columns, info) + _faults_without_gaze(known.described, columns, info)
        faults += _same_column_faults(columns) + _message_faults(info)
        if names := info.data.get("names"):
            spelt = [part for own in columns.values() for part in ([own] if isinstance(own, str) else own)]
            spelt += info.data.get("only") or {}
            faults += [f"{name!r} is not one of names" for name in dict.fromkeys(spelt) if name not in names]
        messages, windows = info.data.get("messages"), info.data.get("windows")
        supplied = (*known.supplies, *(("trial",) if windows or (messages and messages.file) else ()))
        if messages and windows:
            faults.append("trials come from messages or from windows, not from both")
        for name in IDS if "path" in info.data else ():
            in_path = name in placeholders(info.data["path"])
            if in_path and name in columns:
                faults.append(f"{name} comes from the path already")
            if name == "trial" and name in columns and (messages or windows):
                faults.append(f"trial comes from the {'messages' if messages else 'windows'} already")
            if not in_path and name not in columns and name not in supplied:
                faults.append(f"{name} is neither in the path nor in a column")
        if faults:
            raise ValueError("; ".join(faults))
        return columns

    @field_validator("units")
    @classmethod
    def _known_units(cls, units: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        allowed = dict.fromkeys(TIMES[cls.kind], (*TIME_UNITS_MS, "iso")) | {"duration_ms": tuple(TIME_UNITS_MS)}
        allowed |= dict.fromkeys(COORDINATES, ("px", "normalised", *FROM_CENTRE))
        names = (*TIMES[cls.kind], *COORDINATES)
        faults = [
            f"{name}: {unit}: no such {'unit' if name in names else 'column'}"
            f" (allowed: {', '.join(allowed[name] if name in names else names)})"
            for name, unit in units.items()
            if name not in names or unit not in allowed[name]
        ]
        placed = [name for name in COORDINATES if name in units]
        if placed and not _has_gaze(info.data):
            faults.append(f"{', '.join(placed)}: no column holds coordinates")
        centred = [unit for unit in FROM_CENTRE if unit in units.values()]
        if centred and info.data.get("origin") != "screen_centre":
            faults.append(f"{', '.join(centred)}: from the middle of the screen; declare origin: screen_centre")
        if "timestamp_ms" in units and info.data.get("sampling_hz"):
            faults.append("timestamp_ms has no unit beside sampling_hz")
        if faults:
            raise ValueError("; ".join(faults))
        return units

    @field_validator("origin", "y_axis")
    @classmethod
    def _not_told_by_the_format(cls, value: str, info: ValidationInfo) -> str:
        """Raises ValueError for another origin than that of the format's own columns."""
        known = READERS.get(info.data.get("reader", ""))
        if value not in ("screen", "down") and not _has_gaze(info.data):
            raise ValueError(f"{value}: no column holds coordinates")
        if value in ("screen", "down", "stimulus", "scene_camera") or known is None or "y_axis" in known.keys:
            return value
        if "columns" in info.data and "y_px" not in info.data["columns"]:
            reason = "counts downwards from the top left: only columns that are declared may count otherwise"
            raise ValueError(f"{value}: what the reader {info.data['reader']} finds by itself {reason}")
        return value

    @field_validator("channels")
    @classmethod
    def _named_channels(cls, channels: dict[str, ChannelSpec]) -> dict[str, ChannelSpec]:
        taken = (*IDS, *TIMES[cls.kind], *COORDINATES, *EYE_COLUMNS, *VALIDITY)
        faults = [name for name in channels if not CHANNEL.fullmatch(name) or name in taken]
        if faults:
            raise ValueError(
                f"no name for a channel: {', '.join(faults)} (small letters, digits, _; not {', '.join(taken)})"
            )
        return channels

    def unit(self, name: str) -> str:
        """The unit of a column as the reader returns it: the declared one, else the format's, else ms or px."""
        default = "px" if name in COORDINATES else "ms"
        return self.units.get(name, READERS[self.reader].units.get(name, default))

    def column(self, name: str) -> str:
        """The declared column of a name that is one column. Raises KeyError when none is declared."""
        return str(self.columns[name])

    @property
    def has_gaze(self) -> bool:
        """Does it say where people looked? Else there are channels alone."""
        return _has_gaze({"reader": self.reader, "columns": self.columns})

    @property
    def trial_columns(self) -> list[str]:
        """The declared columns that together name the trial; none when none is declared."""
        own = self.columns.get("trial", [])
        return own if isinstance(own, list) else [own]


def _has_gaze(data: Mapping[str, Any]) -> bool:
    """Does a declaration (as far as it is checked) have coordinates: its own, or those that the format knows?"""
    known = READERS.get(data.get("reader", ""))
    if known is None or known.described or "columns" not in data:
        return True
    return any(name in data["columns"] for name in (*COORDINATES, *EYE_COLUMNS))


def _faults_without_gaze(described: bool, columns: dict[str, Column], info: ValidationInfo) -> list[str]:
    """What needs coordinates where a declaration has channels alone."""
    if described or any(name in columns for name in (*COORDINATES, *EYE_COLUMNS)):
        return []
    flags = [name for name in VALIDITY if name in columns]
    faults = [f"{flags[0]} has no meaning without coordinates; a channel has `validity` of its own"] if flags else []
    if EYE in placeholders(info.data.get("path", "")):
        faults.append("{eye} in the path: files of two eyes are told apart by their gaze, and there is none")
    return faults


def _without_replaced(missing: list[str], columns: dict[str, Column], info: ValidationInfo) -> list[str]:
    """The missing columns without those that others stand for: the eyes for gaze, a rate for times."""
    sides = [[name for name in EYE_COLUMNS if side in name and name in columns] for side in ("_left_", "_right_")]
    if any(sides) and not any(name in columns for name in COORDINATES):
        halves = [name for name in EYE_COLUMNS if any(len(side) == 1 for side in sides) and name not in columns]
        missing = [name for name in missing if name not in COORDINATES] + halves
    return [name for name in missing if name != "timestamp_ms" or not info.data.get("sampling_hz")]


def _validity_faults(columns: dict[str, Column], info: ValidationInfo) -> list[str]:
    """What does not fit together of validity columns, the words that mean valid, the rows that count, and the rate."""
    flags, words = [name for name in VALIDITY if name in columns], info.data.get("valid") or []
    faults = [f"{flags[0]} needs the key valid: the words that mean valid gaze"] if flags and not words else []
    faults += ["valid has no meaning without a column of validity"] if words and not flags else []
    eyes = [(f"validity_{side}", f"x_{side}_px") for side in ("left", "right")]
    faults += [f"{flag} has no meaning without {gaze}" for flag, gaze in eyes if flag in flags and gaze not in columns]
    if "timestamp_ms" in columns and info.data.get("sampling_hz"):
        faults.append("timestamp_ms has no place beside sampling_hz: give one of them")
    if info.data.get("only") and info.data.get("sampling_hz"):
        faults.append("only has no place beside sampling_hz, for which every row counts")
    both = [name for name in EYE_COLUMNS if name in columns] and [name for name in COORDINATES if name in columns]
    faults += [f"{', '.join(both)} have no place beside the columns of the eyes"] if both else []
    return faults


def _same_column_faults(columns: dict[str, Column]) -> list[str]:
    """The times and coordinates that are said to be in one column."""
    measures = [name for name in columns if name not in (*IDS, *VALIDITY)]
    same = {str(columns[name]): [other for other in measures if columns[other] == columns[name]] for name in measures}
    return [f"{' and '.join(names)} cannot be one column, {own!r}" for own, names in same.items() if len(names) > 1]


def _message_faults(info: ValidationInfo) -> list[str]:
    """A file of the messages of all people that does not say whose they are."""
    file = info.data["messages"].file if info.data.get("messages") else None
    paths = (info.data.get("path", ""), file.path) if file else ("", "")
    each, own = ("participant" in placeholders(path) for path in paths)
    if file is None or not each or own or "participant" in file.columns:
        return []
    return ["one file of messages for all people: name its column, as messages.file.columns.participant"]


class SamplesSpec(GazeSpec):
    """Files of samples: timestamp_ms, x_px, y_px; of channels alone where no column holds coordinates."""

    kind = "samples"


class FixationsSpec(GazeSpec):
    """Files of fixations: onset_ms, duration_ms, x_px, y_px."""

    kind = "fixations"
