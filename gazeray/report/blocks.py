# SPDX-License-Identifier: Apache-2.0
"""What a page is made of: sections of blocks. Blocks hold words, numbers and figures; a macro of the template that is
called like the block makes it HTML."""

from __future__ import annotations

import base64
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

ROW, NAME, TEXT, WIDE, NUMBER = "row", "name", "text", "wide", ""
"""Kinds of columns: the head of a row, one that may be long, words, many words, and what is sorted as numbers."""


BROAD, VAST = 9, 15
"""Tables of more columns are smaller, and much smaller, on paper."""


class Column(NamedTuple):
    """The head of a column, and its kind."""

    head: str
    kind: str = NUMBER


class Cell(NamedTuple):
    """A cell with a range beside its value, set softer, or one that tells of a failure."""

    words: str
    range: str = ""
    failed: bool = False


class Figure(NamedTuple):
    """A drawing with its words. marks: data-* attributes by which the page's script finds it."""

    name: str
    png: bytes
    alt: str
    caption: str
    marks: Mapping[str, str] = MappingProxyType({})

    @property
    def uri(self) -> str:
        """The drawing as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) from the PNG header."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height


class FigureRow(NamedTuple):
    """Figures beside each other, as far as the page is wide."""

    figures: Sequence[Figure]


class Examples(NamedTuple):
    """Figures that the reader can show alone. marks: data-* attributes of the group; empty: what stands for none."""

    title: str
    figures: Sequence[Figure]
    marks: Mapping[str, str]
    empty: str


class Text(NamedTuple):
    """A paragraph. lead: its first words, in bold."""

    words: str
    lead: str = ""
    small: bool = False


class Heading(NamedTuple):
    """A heading within a section."""

    words: str


class Listing(NamedTuple):
    """A list with a bullet for each item; without bullets it is small print, such as references."""

    items: Sequence[str]
    bullets: bool = True


class Terms(NamedTuple):
    """Terms with what they mean."""

    pairs: Sequence[tuple[str, str]]


class Code(NamedTuple):
    """Text as it was typed: a config, a traceback."""

    words: str


class Table(NamedTuple):
    """A table that the reader can sort. Cells are in the order of the columns.

    label: for those who cannot see it. shaded: numbers of rows that stand out. foot: a last row that is never sorted.
    tall: it scrolls in a box of its own. filterable: the reader can keep the rows that hold a text. style: further
    classes (compact, scores).
    """

    label: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]
    shaded: Collection[int] = ()
    foot: Sequence[object] = ()
    tall: bool = False
    filterable: bool = False
    style: str = ""

    def cells(self, row: Sequence[object]) -> Iterator[tuple[str, Cell]]:
        """The kind of column and the cell for every value of a row; what is unknown (None) is empty."""
        for column, value in zip(self.columns, row, strict=True):
            yield column.kind, value if isinstance(value, Cell) else Cell("" if value is None else str(value))

    @property
    def classes(self) -> str:
        """How it is set: `style`, ranges below their values where several columns have them, many columns smaller on
        paper."""
        ranged = [any(isinstance(value, Cell) and value.range for value in values)
                  for values in zip(*self.rows, strict=True)]  # fmt: skip
        told = {
            "sortable": True,
            "filterable": self.filterable,
            self.style: True,
            "stacked": sum(ranged) > 2,
            "broad": len(self.columns) > BROAD,
            "vast": len(self.columns) > VAST,
        }
        return " ".join(name for name, is_so in told.items() if name and is_so)

    @property
    def filled(self) -> Table:
        """The table without the columns that say nothing in any row, not even that a value is undefined (a dash)."""
        empty = {place for place, values in enumerate(zip(*self.rows, strict=True)) if set(map(_said, values)) == {""}}

        def kept(values: Sequence[Any]) -> list[Any]:
            return [value for place, value in enumerate(values) if place not in empty]

        rows = [kept(row) for row in self.rows]
        return self._replace(columns=kept(self.columns), rows=rows, foot=kept(self.foot))


Block = Figure | FigureRow | Examples | Text | Heading | Listing | Terms | Code | Table


class Section(NamedTuple):
    """A part of the page. anchor: what links lead to. link: its name in the navigation."""

    anchor: str
    title: str
    link: str
    blocks: Sequence[Block]

    def figures(self) -> Iterator[Figure]:
        """Every figure of the section, in order."""
        for block in self.blocks:
            if isinstance(block, Figure):
                yield block
            elif isinstance(block, FigureRow | Examples):
                yield from block.figures


def _said(value: object) -> str:
    """What a cell says."""
    return "" if value is None else value.words if isinstance(value, Cell) else str(value)


def more(count: int, what: str, where: str) -> list[Block]:
    """What is said where a list was cut; nothing where it was not. what: of things, in the plural, or ""."""
    what = what.removesuffix("s") if count == 1 else what
    return [Text(f"And {count} more{what and ' '}{what}: see {where}.")] if count > 0 else []
