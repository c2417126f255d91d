# SPDX-License-Identifier: Apache-2.0
"""The section on rejects: counts per stage and reason, most first, and the rows one by one; of many rows, some of each
reason.

Reasons that differ only in their numbers and quoted names are counted together.
"""

from __future__ import annotations

from gazeray.report.blocks import TEXT, WIDE, Column, Heading, Section, Table, Text, more
from gazeray.report.results import Results
from gazeray.tables import reject_kinds

ROWS, REASONS, EACH = 200, 30, 3
"""Rejects that are shown one by one, at most; reasons, at most; rows of each reason where there are more rejects."""


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
