# SPDX-License-Identifier: Apache-2.0
"""Delimited text as labs write it, opened: its encoding, what comes before the header, the header, the delimiter."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from gazeray.gaze.files import delimiter_of
from gazeray.gaze.readers.base import CHUNK_BYTES, ReadError, unpacked
from gazeray.gaze.readers.spec import FileSpec

NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
NO_HEADER = "declare the names of the columns, as `names`"
NO_TEXT = {
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "Parquet",
    b"[{": "JSON",
    b'{"': "JSON",
}
"""What a file begins with -> what it is, where people take it for text."""

EXCEL = re.compile(rb"sep=([^\r\n])[\r\n]", re.IGNORECASE)
"""The line by which Excel is told the delimiter."""

ROWS_LOOKED_AT = 20
"""To see how rows end."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class PlainText:
    """Text as UTF-8 `data` without a byte-order mark, its column names, and the lines before the first row; `header`:
    the last of them holds the names."""

    data: bytes
    delimiter: str
    names: list[str]
    skip: int
    header: bool = True


def open_text(data: bytes, source: str, spec: FileSpec) -> PlainText:
    """The text of a file, plain or gzipped, as its declaration describes it.

    Blank lines and lines of # before the header are left out. Raises ReadError: empty, damaged, not in the encoding
    that is declared, nothing behind the header, numbers in the place of a header.
    """
    text = decoded_as(unpacked(data, source), source, spec.encoding)
    said, skip = EXCEL.match(text), _preamble(text, spec.skip_lines)
    delimiter = spec.delimiter or (said[1].decode() if said else delimiter_of(source))
    if delimiter == " ":  # columns of equal width are filled up with blanks
        text = re.sub(rb"(?m)^ +| +$", b"", re.sub(rb" +", b" ", text.replace(b"\r\n", b"\n")))
    if spec.names:
        return PlainText(text, delimiter, as_rows_end(spec.names, text, skip, delimiter), skip, header=False)
    names, lines = header_of(text, source, delimiter, skip)
    if _are_cells(names):
        raise ReadError(source, f"the first line holds numbers ({', '.join(names[:4])}, ...), no names: {NO_HEADER}")
    return PlainText(text, delimiter, as_rows_end(names, text, lines, delimiter), lines)


def as_rows_end(names: Sequence[str], text: bytes, skip: int, delimiter: str) -> list[str]:
    """The names of the columns, with or without a nameless one at the end as the rows (behind `skip` lines) have it:
    not every software that ends rows with a delimiter ends the header so."""
    lines = (line.rstrip(b"\r\n").decode() for line in islice(io.BytesIO(text), skip, None) if line.strip())
    rows = [_cells(line, delimiter) for line in islice(lines, ROWS_LOOKED_AT)]
    if 2 * sum(len(cells) == len(names) + 1 and not cells[-1].strip() for cells in rows) > len(rows):
        return [*names, ""]
    shorter = not names[-1] and 2 * sum(len(cells) == len(names) - 1 for cells in rows) > len(rows)
    return list(names[:-1] if shorter else names)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a row, none where Python's csv cannot tell them."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def row_names_hint(text: PlainText) -> str:
    """What to do where rows begin with a number or name that the header has no name for, as R writes them, as the end
    of a message; "": they do not."""
    row = next((line for line in islice(io.BytesIO(text.data), text.skip, None) if line.strip()), b"").decode()
    if not text.header or len(_cells(row, text.delimiter)) != len(text.names) + 1:
        return ""
    return f"; do rows begin with their number? declare all columns, as `names`, and skip_lines: {text.skip}"


def _are_cells(names: Sequence[str]) -> bool:
    """Are they the cells of a row, numbers and lost ones, instead of names? Columns may be counted: 0, 1, 2, ..."""
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    plain = all(name in numbers or name.lower() in ("", "nan", "na", ".") for name in names)
    return bool(numbers) and plain and not _are_counted([name for name in names if name])


def _are_counted(numbers: Sequence[str]) -> bool:
    """Are they 0, 1, 2, ... or 1, 2, 3, ..., at least two of them?"""
    return len(numbers) > 1 and any(
        list(numbers) == [str(first + at) for at in range(len(numbers))] for first in (0, 1)
    )


def decoded_as(data: bytes, source: str, encoding: str) -> bytes:
    """Text as UTF-8 without a byte-order mark. UTF-8 and UTF-16 are known by their mark, whatever is declared.

    Raises ReadError naming the first byte that is not of the encoding.
    """
    for mark, what in NO_TEXT.items():
        if data.startswith(mark):
            raise ReadError(source, f"{what}, no text of rows and columns")
    marked = data.startswith(UTF16_MARKS)
    encoding = "utf-16" if marked else "utf-8" if data.startswith(codecs.BOM_UTF8) else encoding
    if encoding.startswith("utf-16") and not marked and b"\0" not in data[:CHUNK_BYTES]:
        raise ReadError(source, f"not {encoding} text: no byte of it is zero; declare another encoding")
    try:
        plain = data if encoding == "utf-8" else data.decode(encoding).encode()
    except UnicodeError as error:
        raise ReadError(source, f"not {encoding} text: {error}; declare another encoding") from error
    check_utf8(plain, source)
    plain = plain.removeprefix(codecs.BOM_UTF8)
    if not plain.strip(b"\0 \t\r\n"):
        raise ReadError(source, "nothing but zero bytes" if b"\0" in plain else "the file is empty")
    if 4 * plain[:CHUNK_BYTES].count(b"\0") > len(plain[:CHUNK_BYTES]):
        raise ReadError(source, "zero bytes among the text: UTF-16 without its mark? declare encoding: utf-16-le")
    return plain if b"\n" in plain else plain.replace(b"\r", b"\n")


def check_utf8(data: bytes, source: str) -> None:
    """Raises ReadError naming the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), CHUNK_BYTES):
        try:
            decoder.decode(data[start : start + CHUNK_BYTES], final=start + CHUNK_BYTES >= len(data))
        except UnicodeDecodeError as error:
            reason = (
                f"not UTF-8 text: {error.reason} near byte {start + error.start}; declare its encoding (latin-1, ...)"
            )
            raise ReadError(source, reason) from error


def _preamble(data: bytes, declared: int) -> int:
    """How many lines come before the header: those declared, then blank lines, those that begin with #, and Excel's."""
    lines, count, skip = io.BytesIO(data), 0, declared
    while line := lines.readline():
        count += 1
        if count > declared and line.strip():
            if not line.lstrip(b' "\t').startswith(b"#") and not (count == 1 and EXCEL.match(line)):
                break
            skip = count
    return skip


def header_of(data: bytes, source: str, delimiter: str, skip: int = 0) -> tuple[list[str], int]:
    """The column names behind `skip` lines, and how many lines the header ends after.

    Raises ReadError when nothing comes behind it.
    """
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    for _ in range(skip):
        text.readline()
    lines = csv.reader(text, delimiter=delimiter)
    try:
        header = next((cells for cells in lines if cells), None)
    except csv.Error as error:
        raise ReadError(source, f"the header cannot be parsed: {error}") from error
    if header is None:
        raise ReadError(source, "the file is empty")
    if not any(line.strip() for line in text):
        raise ReadError(source, "a header without rows")
    return [cell.strip() for cell in header], skip + lines.line_num


def delimiter_hint(text: PlainText, wanted: Sequence[str]) -> str:
    """Which other delimiter would give the columns that are wanted, as the end of a message; "": none, or they are
    there."""
    if text.header and set(wanted) <= set(text.names):
        return ""
    behind = islice(io.BytesIO(text.data), text.skip - text.header, None)
    line = next((line for line in behind if line.strip()), b"").decode()
    for other in "\t;,| ":
        cells = [cell.strip().strip('"') for cell in line.split(other)]
        fits = set(wanted) <= set(cells) if text.header else len(cells) == len(text.names)
        if other != text.delimiter and fits and len(cells) > 1:
            return f"; declare delimiter: {other!r}, which would give them"
    return ""


def check_columns(wanted: Sequence[str], present: Sequence[str], source: str, hint: str = "") -> None:
    """Raises ReadError naming the columns that are missing (and those present) or there twice, and those that are
    numbers, which are no names; `hint` ends the message of the missing."""
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    numbers = [name for name in present if NUMBER.fullmatch(name)]
    if missing:
        if len(numbers) > len(present) / 2 and not _are_counted(numbers):
            hint = f"; the first line holds numbers: {NO_HEADER}"
        raise ReadError(source, f"no column {', '.join(map(repr, missing))} (present: {', '.join(present)}){hint}")
    taken = [name for name in dict.fromkeys(wanted) if name in numbers]
    if taken and not _are_counted(numbers):
        raise ReadError(source, f"{', '.join(map(repr, taken))} in the first line is a number, no name: {NO_HEADER}")
    twice = [name for name in dict.fromkeys(wanted) if list(present).count(name) > 1]
    if twice:
        raise ReadError(source, f"column {', '.join(map(repr, twice))} is there more than once")
