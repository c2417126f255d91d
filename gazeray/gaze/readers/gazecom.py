# SPDX-License-Identifier: Apache-2.0
"""GazeCom: .arff and .coord files of samples.

.arff is the attribute-relation file format of Weka with the geometry in comments, `%@METADATA width_px 1280`, as in
Agtzidis, Startsev and Dorr (2016), "In the pursuit of (ground) truth: A hand-labelling tool for eye movements recorded
during dynamic scene viewing". .coord is the format of Dorr et al. (2010), Journal of Vision 10(10):28: lines `gaze W H`
(px) and `geometry distance D width W height H` (m), then `time x y confidence`. Times are us, coordinates px;
confidence 0 means lost. What people (or a detector) have called the samples stands in further attributes of an .arff,
such as handlabeller_final: numbers or names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from gazeray.gaze.readers.base import SCREEN_COLUMNS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.known_channels import Known, channel_values, channels_of
from gazeray.gaze.readers.plain_text import NUMBER
from gazeray.gaze.readers.vendor_tables import Cells, Channels, Sheet, build, chosen_gaze, decoded, time_units

METADATA = re.compile(r"%\s*@METADATA\s+(\w+)\s+([\d.]+)\s*", re.IGNORECASE)
ATTRIBUTE = re.compile(r"@ATTRIBUTE\s+('[^']*'|\"[^\"]*\"|[^\s{]+)\s*(.*)", re.IGNORECASE)
LABEL = re.compile(r"label|eye_?movement", re.IGNORECASE)
"""In the name of an attribute of numbers that are labels; an attribute of names is a label whatever it is called."""

UNKNOWN = re.compile(r"(^|,)\s*\?\s*(?=,|$)", re.MULTILINE)
"""A cell of ARFF without a value."""

Kinds = list[tuple[str, str]]
"""Name and type of each attribute."""

CHANNELS = {"confidence": (Known("confidence", "", positive=False),)}

KEYS = ("columns", "units", "missing", "channels")


@register_reader("gazecom", kinds=("samples",), described=True, units={"timestamp_ms": "us"}, keys=KEYS)
def read_gazecom(file: GazeFile) -> GazeTable:
    """Read one .arff or .coord file, told apart by what is in it; see `Reader`.

    Labels are channels called label_ and the attribute's name in small letters: float64 where it is one of numbers,
    else str, "" where there is none. The header holds screen_width_px, screen_height_px, screen_width_mm,
    screen_height_mm and distance_mm where the file says them. Rows are counted from the first line of numbers; comments
    do not count. Raises ReadError: empty, neither of the two formats, a column is missing, no rows.
    """
    text, notes = decoded(file)
    lines = [line.strip() for line in text.decode().split("\n")]
    is_arff = any(line[:5].lower() == "@data" for line in lines)
    header, kinds, body = _arff(lines) if is_arff else _coord(lines, file.source)
    if not body:
        raise ReadError(file.source, "a header without rows")
    rows = "\n".join(body)
    rows = UNKNOWN.sub(r"\1", rows) if is_arff and "?" in rows else rows
    sheet = Sheet(file, rows.encode(), "," if is_arff else " ", [name for name, _ in kinds], 0, notes)
    time, pair = sheet.column("timestamp_ms", "time"), (sheet.column("x_px", "x"), sheet.column("y_px", "y"))
    ids, flag = sheet.ids(), sheet.find("confidence")
    names, numbers = _labels(kinds, [*ids.values(), time, *pair])
    words, values = channels_of(sheet, CHANNELS)
    cells = sheet.read([*ids.values(), *names, *words], [time, *pair, flag], [*values, *numbers])
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, {"gaze": ~(cells.values(flag) > 0)} if flag else {})
    columns = cells.columns(timestamp_ms=time) | gaze
    channels = _label_channels(cells, names, numbers) | channel_values(cells, CHANNELS)
    return build(cells, ids, columns, time_units("us", file.spec), header=header, channels=channels)


def _labels(kinds: Kinds, taken: Sequence[str]) -> tuple[list[str], list[str]]:
    """The attributes that are labels and not `taken`: those of names, those of numbers."""
    listed = {name: kind.strip("{} ").split(",") for name, kind in kinds if kind.startswith("{") and name not in taken}
    numbered = [name for name, words in listed.items() if all(NUMBER.fullmatch(word.strip(" '\"")) for word in words)]
    free = [name for name, kind in kinds if kind.lower() == "string" and name not in taken]
    others = [name for name, _ in kinds if LABEL.search(name) and name not in (*listed, *free, *taken)]
    return [*(name for name in listed if name not in numbered), *free], [*numbered, *others]


def _label_channels(cells: Cells, names: list[str], numbers: list[str]) -> Channels:
    """The labels as channels."""
    found = Channels()
    for name in (*names, *numbers):
        text = cells.text[name].fill_null("").to_numpy(zero_copy_only=False) if name in names else None
        called = "label_" + re.sub(r"[^a-z0-9_]", "_", name.lower())
        found[called] = (cells.values(name) if text is None else np.char.strip(text.astype(str), "'\""), "")
    return found


def _arff(lines: list[str]) -> tuple[dict[str, float], Kinds, list[str]]:
    """The geometry, the attributes (name, type), and the lines of data."""
    start = next(index for index, line in enumerate(lines) if line[:5].lower() == "@data")
    found = [match.groups() for line in lines if (match := METADATA.fullmatch(line))]
    header = {SCREEN_COLUMNS[name.lower()]: _number(value) for name, value in found if name.lower() in SCREEN_COLUMNS}
    attributes = [match.groups() for line in lines[:start] if (match := ATTRIBUTE.fullmatch(line))]
    body = [line for line in lines[start + 1 :] if line and not line.startswith("%")]
    kinds = [(name.strip("'\""), kind.strip()) for name, kind in attributes]
    return {name: value for name, value in header.items() if value > 0}, kinds, body


def _coord(lines: list[str], source: str) -> tuple[dict[str, float], Kinds, list[str]]:
    """The geometry, the four columns (name, no type), and the lines of data with one blank between cells."""
    header: dict[str, float] = {}
    body = []
    for words in (line.split() for line in lines if line and not line.startswith("#")):
        if words[0] == "gaze" and len(words) >= 3:
            header |= {"screen_width_px": _number(words[1]), "screen_height_px": _number(words[2])}
        elif words[0] == "geometry":
            for name, value in zip(words[1::2], words[2::2], strict=False):
                key = SCREEN_COLUMNS.get(f"{name}_mm")
                header |= {key: 1e3 * _number(value)} if key else {}
        else:
            body.append(" ".join(words))
    if "screen_width_px" not in header:
        raise ReadError(source, "neither ARFF (no @DATA) nor .coord (no line 'gaze WIDTH HEIGHT')")
    kinds = [(name, "") for name in ("time", "x", "y", "confidence")]
    return {name: value for name, value in header.items() if value > 0}, kinds, body


def _number(text: str) -> float:
    """A plain decimal number, 0 for anything else."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text) else 0.0
