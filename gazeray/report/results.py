# SPDX-License-Identifier: Apache-2.0
"""A run folder in memory: what the report is drawn from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gazeray.storage import Folder


@dataclass(frozen=True)
class Results:
    """A run folder in memory. What the run did not write (yet) is empty."""

    manifest: dict[str, Any]
    metrics: dict[str, Any]
    predictions: pa.Table
    rejects: pa.Table
    quality: pa.Table
    maps: list[dict[str, Any]]
    units: dict[str, dict[str, Any]]
    epochs: dict[str, list[dict[str, Any]]]

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the scores."""
        return list(self.manifest["classes"])


def read_results(run: Folder) -> Results:
    """Read a run folder. Raises FileNotFoundError when there is no manifest.json, ValueError when it is no object."""
    manifest = run.read_json("manifest.json")
    if not isinstance(manifest, dict):
        raise ValueError("manifest.json is not a JSON object")
    present = {stat.path for name in ("units", "maps") for stat in run.list(name)}
    units = {name: {"unit": name, "status": status} for name, status in manifest.get("units", {}).items()}
    epochs: dict[str, list[dict[str, Any]]] = {}
    for name, status in manifest.get("units", {}).items():
        source = f"units/{name}/{'result' if status == 'done' else 'failure'}.json"
        if source in present:
            units[name] |= run.read_json(source)
        if f"units/{name}/metrics.jsonl" in present:
            lines = [json.loads(line) for line in run.read_text(f"units/{name}/metrics.jsonl").splitlines() if line]
            by_epoch = {line["epoch"]: line for line in lines}  # a resumed fit may log an epoch twice: the last counts
            epochs[name] = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    maps = table_or_empty(run, "maps/index.parquet").to_pylist()
    return Results(
        manifest=manifest,
        metrics=run.read_json("metrics.json") if run.exists("metrics.json") else {},
        predictions=table_or_empty(run, "predictions.parquet"),
        rejects=table_or_empty(run, "rejects.parquet"),
        quality=table_or_empty(run, "quality.parquet"),
        maps=[row for row in maps if row["path"] in present],
        units=units,
        epochs=epochs,
    )


def table_or_empty(run: Folder, path: str) -> pa.Table:
    """A Parquet table of the run folder, or one without columns where the run did not write it."""
    return run.read_table(path) if run.exists(path) else pa.table({})
