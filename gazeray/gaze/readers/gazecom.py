# SPDX-License-Identifier: Apache-2.0
"""GazeCom: .arff and .coord files of samples.

.arff is the attribute-relation file format of Weka with the geometry in comments, `%@METADATA width_px 1280`, as in
Agtzidis, Startsev and Dorr (2016), "In the pursuit of (ground) truth: A hand-labelling tool for eye movements recorded
during dynamic scene viewing". .coord is the format of Dorr et al. (2010), Journal of Vision 10(10):28: lines `gaze W H`
(px) and `geometry distance D width W height H` (m), then `time x y confidence`. Times are us, coordinates px;
confidence 0 means lost.
"""

from __future__ import annotations

import re

from gazeray.gaze.readers.base import SCREEN_COLUMNS, GazeFile, GazeTable, ReadError, register_reader
from gazeray.gaze.readers.vendor_tables import Sheet, build, chosen_gaze, decoded, time_units

METADATA = re.compile(r"%\s*@METADATA\s+(\w+)\s+([\d.]+)\s*", re.IGNORECASE)
ATTRIBUTE = re.compile(r"@ATTRIBUTE\s+('[^']*'|\"[^\"]*\"|\S+)\s", re.IGNORECASE)


KEYS = ("columns", "units", "missing", "channels")


@register_reader("gazecom", kinds=("samples",), described=True, units={"timestamp_ms": "us"}, keys=KEYS)
def read_gazecom(file: GazeFile) -> GazeTable:
    """Read one .arff or .coord file, told apart by what is in it; see `Reader`.

    The header holds screen_width_px, screen_height_px, screen_width_mm, screen_height_mm and distance_mm where the file
    says them. Rows are counted from the first line of numbers; comments do not count. Raises ReadError: empty, neither
    of the two formats, a column is missing, no rows.
    """
    text, notes = decoded(file)
    lines = [line.strip() for line in text.decode().split("\n")]
    is_arff = any(line[:5].lower() == "@data" for line in lines)
    header, names, body = _arff(lines) if is_arff else _coord(lines, file.source)
    if not body:
        raise ReadError(file.source, "a header without rows")
    sheet = Sheet(file, "\n".join(body).encode(), "," if is_arff else " ", names, 0, notes)
    time, pair = sheet.column("timestamp_ms", "time"), (sheet.column("x_px", "x"), sheet.column("y_px", "y"))
    ids, flag = sheet.ids(), sheet.find("confidence")
    cells = sheet.read(ids.values(), [time, *pair, flag])
    gaze, _ = chosen_gaze(cells, {"gaze": pair}, {"gaze": ~(cells.values(flag) > 0)} if flag else {})
    columns = cells.columns(timestamp_ms=time) | gaze
    return build(cells, ids, columns, time_units("us", file.spec), header=header)


def _arff(lines: list[str]) -> tuple[dict[str, float], list[str], list[str]]:
    """The geometry, the names of the attributes, and the lines of data."""
    start = next(index for index, line in enumerate(lines) if line[:5].lower() == "@data")
    found = [match.groups() for line in lines if (match := METADATA.fullmatch(line))]
    header = {SCREEN_COLUMNS[name.lower()]: _number(value) for name, value in found if name.lower() in SCREEN_COLUMNS}
    attributes = [match.group(1).strip("'\"") for line in lines[:start] if (match := ATTRIBUTE.match(line + " "))]
    body = [line for line in lines[start + 1 :] if line and not line.startswith("%")]
    return {name: value for name, value in header.items() if value > 0}, attributes, body


def _coord(lines: list[str], source: str) -> tuple[dict[str, float], list[str], list[str]]:
    """The geometry, the names of the four columns, and the lines of data with one blank between cells."""
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
    return {name: value for name, value in header.items() if value > 0}, ["time", "x", "y", "confidence"], body


def _number(text: str) -> float:
    """A plain decimal number, 0 for anything else."""
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text) else 0.0
