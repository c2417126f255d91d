# SPDX-License-Identifier: Apache-2.0
"""The section on rejects: counts per stage and reason, most first, and the rows one by one, both cut.

Reasons that differ only in their numbers and quoted names are counted together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from gazeray.report.blocks import TEXT, WIDE, Column, Heading, Section, Table, Text, more
from gazeray.report.results import Results

ROWS, REASONS = 200, 30

_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d+(?:\.\d+)?\b")
"""What belongs to one reject alone: a number, a quoted name."""


def section(results: Results, title: str, link: str, read: str) -> Section:
    """The section of a table of rejects (`tables.REJECTS`). read: what was read and used, in words."""
    table = results.rejects
    if not table.num_rows:
        return Section("rejected", title, link, [Text(read), Text("Nothing was rejected.")])
    counts = reject_counts(table)
    rows = [
        [row["source"], "whole file" if row["row"] == -1 else row["row"],
         *(row[name] for name in ("participant", "trial", "stage", "reason"))]
        for row in table.slice(0, ROWS).to_pylist()
    ]  # fmt: skip
    heads = [Column("source", TEXT), Column("row"), Column("participant", TEXT), Column("trial", TEXT)]
    kind = [Column("stage", TEXT), Column("reason", WIDE)]
    blocks = [
        Text(read),
        Table("Reasons for rejection", [Column("rejects"), *kind], counts[:REASONS]),
        *more(len(counts) - REASONS, "reasons", "rejects.parquet"),
        Heading("Row by row"),
        Table("Rejected rows", [*heads, *kind], rows, tall=True, filterable=True),
        *more(table.num_rows - ROWS, "rows", "rejects.parquet in the run folder"),
    ]
    return Section("rejected", title, link, blocks)


def reject_counts(table: pa.Table) -> list[tuple[int, str, str]]:
    """(rejects, stage, reason) of a table of rejects, most first."""
    kinds: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for row in table.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist():
        stage, reason = row["stage"] or "", row["reason"] or ""
        kinds.setdefault((stage, _OWN.sub("…", reason)), []).append((row["count_all"], reason))
    counts = [
        (sum(count for count, _ in rows), stage, shared([reason for _, reason in rows]))
        for (stage, _), rows in kinds.items()
    ]
    return sorted(counts, key=lambda row: (-row[0], *row[1:]))


def shared(reasons: Sequence[str]) -> str:
    """Reasons that differ only in numbers and quoted names as one, with an ellipsis for each that differs."""
    columns = zip(*(_OWN.findall(reason) for reason in reasons), strict=True)
    kept = iter([values[0] if len(set(values)) == 1 else "…" for values in columns])
    return _OWN.sub(lambda _: next(kept), reasons[0])
