# SPDX-License-Identifier: Apache-2.0
"""What the pages of all studies share: the template environment, their pictures as files, and the rejects section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from gazeray.report.figure import Figure
from gazeray.report.words import interval, metric_name, number, p_value
from gazeray.storage import Folder

REJECT_ROWS, REJECT_REASONS = 200, 30

_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d+(?:\.\d+)?\b")
"""What belongs to one reject alone: a number, a quoted name."""


@dataclass(frozen=True)
class Rejects:
    """What the rejects section shows: counts per stage and reason, most first, and the rows one by one, both cut.

    Reasons that differ only in their numbers and quoted names are counted together.
    """

    counts: list[dict[str, Any]]
    more_reasons: int
    rows: list[dict[str, Any]]
    more_rows: int

    @classmethod
    def of(cls, table: pa.Table) -> Rejects:
        """The section of a table of rejects (`tables.REJECTS`), or of an empty table without columns."""
        counts = _counts(table) if table.num_rows else []
        return cls(
            counts=counts[:REJECT_REASONS],
            more_reasons=max(0, len(counts) - REJECT_REASONS),
            rows=table.slice(0, REJECT_ROWS).to_pylist(),
            more_rows=max(0, table.num_rows - REJECT_ROWS),
        )


def _counts(table: pa.Table) -> list[dict[str, Any]]:
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist():
        kinds.setdefault((row["stage"] or "", _OWN.sub("…", row["reason"] or "")), []).append(row)
    counts = [
        {"stage": stage, "reason": shared([row["reason"] or "" for row in rows]),
         "count_all": sum(row["count_all"] for row in rows)}
        for (stage, _), rows in kinds.items()
    ]  # fmt: skip
    return sorted(counts, key=lambda row: (-row["count_all"], row["stage"], row["reason"]))


def shared(reasons: Sequence[str]) -> str:
    """Reasons that differ only in numbers and quoted names as one, with an ellipsis for each that differs."""
    columns = zip(*(_OWN.findall(reason) for reason in reasons), strict=True)
    kept = iter([values[0] if len(set(values)) == 1 else "…" for values in columns])
    return _OWN.sub(lambda _: next(kept), reasons[0])


def environment() -> Environment:
    """The templates of the report. Whatever comes from the data is escaped; an unknown variable is an error."""
    made = Environment(
        loader=PackageLoader("gazeray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, interval=interval, metric_name=metric_name, p_value=p_value)
    return made


def write_figures(run: Folder, pictures: Iterable[Figure]) -> None:
    """Write figures/<name>.png of every picture, and delete other PNGs that lie there."""
    drawn = {f"figures/{picture.name}.png": picture.png for picture in pictures}
    for path, png in drawn.items():
        run.write_bytes(path, png)
    for old in run.list("figures"):
        if old.path.endswith(".png") and old.path not in drawn:
            run.delete(old.path)


def config_yaml(manifest: dict[str, Any]) -> str:
    """The config of the manifest as YAML, in its own order."""
    return yaml.safe_dump(manifest.get("config", {}), sort_keys=False, allow_unicode=True)
