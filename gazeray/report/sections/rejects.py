# SPDX-License-Identifier: Apache-2.0
"""The section on rejects: counts per stage and reason, most first, and the rows one by one; of many rows, some of each
reason.

Reasons that differ only in their numbers and quoted names are counted together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report.blocks import TEXT, WIDE, Column, Heading, Section, Table, Text, more
from gazeray.report.results import Results

ROWS, REASONS, EACH = 200, 30, 3
"""Rejects that are shown one by one, at most; reasons, at most; rows of each reason where there are more rejects."""

_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d+(?:\.\d+)?\b")
"""What belongs to one reject alone: a number, a quoted name."""


def section(results: Results, title: str, link: str, read: str) -> Section:
    """The section of a table of rejects (`tables.REJECTS`). read: what was read and used, in words."""
    table = results.rejects
    if not table.num_rows:
        return Section("rejected", title, link, [Text(read), Text("Nothing was rejected.")])
    kinds = reject_kinds(table)
    places, words = list(range(table.num_rows)), "Row by row"
    if table.num_rows > ROWS:
        places = [place for kind in kinds[:REASONS] for place in kind.places[:EACH]]
        words = f"The first {EACH} of each reason"
    rows = [
        [row["source"], "whole file" if row["row"] == -1 else row["row"],
         *(row[name] for name in ("participant", "trial", "stage", "reason"))]
        for row in table.take(places).to_pylist()
    ]  # fmt: skip
    heads = [Column("source", TEXT), Column("row"), Column("participant", TEXT), Column("trial", TEXT)]
    columns = [Column("stage", TEXT), Column("reason", WIDE)]
    counts = [[len(kind.places), kind.stage, kind.reason] for kind in kinds[:REASONS]]
    blocks = [
        Text(read),
        Table("Reasons for rejection", [Column("rejects"), *columns], counts),
        *more(len(kinds) - REASONS, "reasons", "rejects.parquet"),
        Heading(words),
        Table("Rejected rows", [*heads, *columns], rows, tall=True, filterable=True),
        *more(table.num_rows - len(rows), "rows", "rejects.parquet in the run folder"),
    ]
    return Section("rejected", title, link, blocks)


class Kind(NamedTuple):
    """Rejects of one stage whose reasons differ in numbers and quoted names only; places: their rows, rising."""

    stage: str
    reason: str
    places: NDArray[np.int64]


def reject_kinds(table: pa.Table) -> list[Kind]:
    """The kinds of a table of rejects, most rows first."""
    columns = [pc.fill_null(table[name], "").combine_chunks().dictionary_encode() for name in ("stage", "reason")]
    stages, reasons = (column.dictionary.to_pylist() for column in columns)
    kinds: dict[tuple[str, str], int] = {}
    plain = [_OWN.sub("…", reason) for reason in reasons]
    pairs = np.stack([column.indices.to_numpy() for column in columns], axis=1)
    distinct, row_of = np.unique(pairs, axis=0, return_inverse=True)
    kind_of = [kinds.setdefault((stages[stage], plain[reason]), len(kinds)) for stage, reason in distinct.tolist()]
    said: list[list[str]] = [[] for _ in kinds]
    for kind, (_, reason) in zip(kind_of, distinct.tolist(), strict=True):
        said[kind].append(reasons[reason])
    row_kinds = np.array(kind_of)[row_of.ravel()]
    parts = np.split(np.argsort(row_kinds, kind="stable"), np.cumsum(np.bincount(row_kinds))[:-1])
    found = [Kind(stage, shared(said[place]), parts[place]) for (stage, _), place in kinds.items()]
    return sorted(found, key=lambda kind: (-len(kind.places), kind.stage, kind.reason))


def shared(reasons: Sequence[str]) -> str:
    """Reasons that differ only in numbers and quoted names as one, with an ellipsis for each that differs."""
    columns = zip(*(_OWN.findall(reason) for reason in reasons), strict=True)
    kept = iter([values[0] if len(set(values)) == 1 else "…" for values in columns])
    return _OWN.sub(lambda _: next(kept), reasons[0])
