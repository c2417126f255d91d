# SPDX-License-Identifier: Apache-2.0
"""Delimited text as labs write it, opened: its encoding, what comes before the header, the header, the delimiter."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gazeray.gaze.files import delimiter_of
from gazeray.gaze.readers.base import CHUNK_BYTES, ReadError, unpacked
from gazeray.gaze.readers.spec import FileSpec

NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class PlainText:
    """Text as UTF-8 `data` without a byte-order mark, its column names, and the lines before the first row."""

    data: bytes
    delimiter: str
    names: list[str]
    skip: int


def open_text(data: bytes, source: str, spec: FileSpec) -> PlainText:
    """The text of a file, plain or gzipped, as its declaration describes it.

    Blank lines and lines of # before the header are left out. Raises ReadError: empty, damaged, not in the encoding
    that is declared, nothing behind the header, numbers in the place of a header.
    """
    text = decoded_as(unpacked(data, source), source, spec.encoding)
    delimiter, skip = spec.delimiter or delimiter_of(source), _preamble(text, spec.skip_lines)
    if spec.names:
        return PlainText(text, delimiter, list(spec.names), skip)
    names, lines = header_of(text, source, delimiter, skip)
    if all(NUMBER.fullmatch(name) for name in names) and names != [str(at) for at in range(len(names))]:
        first = ", ".join(names[:4])
        raise ReadError(source, f"the first line holds numbers ({first} ...), no names: give the columns' as `names`")
    return PlainText(text, delimiter, names, lines)


def decoded_as(data: bytes, source: str, encoding: str) -> bytes:
    """Text as UTF-8 without a byte-order mark. UTF-16 is known by its mark, whatever is declared.

    Raises ReadError naming the first byte that is not of the encoding.
    """
    if data.startswith(UTF16_MARKS):
        encoding = "utf-16"
    try:
        plain = data if encoding == "utf-8" else data.decode(encoding).encode()
    except UnicodeError as error:
        raise ReadError(source, f"not {encoding} text: {error}") from error
    check_utf8(plain, source)
    plain = plain.removeprefix(codecs.BOM_UTF8)
    if not plain.strip():
        raise ReadError(source, "the file is empty")
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
    """How many lines come before the header: those declared, then those that begin with #."""
    lines = io.BytesIO(data)
    for _ in range(declared):
        lines.readline()
    count = declared
    while (line := lines.readline()).lstrip(b' "').startswith(b"#"):
        count += 1
    return count if line else declared


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


def check_columns(wanted: Sequence[str], present: Sequence[str], source: str) -> None:
    """Raises ReadError naming the columns that are missing (and those present) or there twice."""
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if missing:
        numbers = sum(NUMBER.fullmatch(name) is not None for name in present) > len(present) / 2
        hint = "; the first line holds numbers: give the names of the columns as `names`" if numbers else ""
        names = f"no column {', '.join(map(repr, missing))} (present: {', '.join(present)})"
        raise ReadError(source, names + hint)
    twice = [name for name in dict.fromkeys(wanted) if list(present).count(name) > 1]
    if twice:
        raise ReadError(source, f"column {', '.join(map(repr, twice))} is there more than once")
