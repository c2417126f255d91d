# SPDX-License-Identifier: Apache-2.0
"""A run folder in memory: what the report is drawn from, whatever the study."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gazeray.storage import Folder

KINDS = ("model", "baseline", "ceiling")


@dataclass(frozen=True)
class Results:
    """A run folder in memory. What the run did not write (yet) is empty.

    maps: the rows of maps/index.parquet whose file is there. units: name -> what its result.json or failure.json says,
    with unit, status and, where it failed, error. epochs: unit -> what its fit logged, a mapping per epoch. order: the
    predictors as the study lists them; those that it does not name follow by key. item: the column of per_item that
    names what was scored.
    """

    manifest: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    per_item: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    rejects: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    quality: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    maps: list[dict[str, Any]] = field(default_factory=list)
    units: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    order: Sequence[str] = ()
    item: str = "stimulus"

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the scores."""
        return list(self.manifest["classes"])

    @property
    def config(self) -> dict[str, Any]:
        """The config of the run; sections that it does not have are empty."""
        return dict(self.manifest.get("config") or {})

    @property
    def counts(self) -> dict[str, Any]:
        """How many of what was read: participants, trials, pictures, rejected ..."""
        return dict(self.manifest.get("counts") or {})

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The units that are not done."""
        return [unit for unit in self.units.values() if unit["status"] != "done"]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Predictor -> metric -> entry, predictors that were scored only."""
        return dict(self.metrics.get("rows") or {})

    @property
    def predictors(self) -> dict[str, dict[str, Any]]:
        """Predictor -> what it is: kind (`KINDS`), label, and what the study adds."""
        return dict(self.metrics.get("predictors") or {})

    @property
    def shown(self) -> list[str]:
        """The metrics of the score table."""
        return list(self.metrics.get("metrics_shown") or [])

    @property
    def best(self) -> str | None:
        """The key of the best model; None where none was scored."""
        return self.metrics.get("best")

    def of_kind(self, kind: str) -> list[str]:
        """The scored predictors of a kind (`KINDS`), in `order`."""
        places = {key: place for place, key in enumerate(self.order)}
        keys = [key for key in self.rows if self.predictors[key]["kind"] == kind]
        return sorted(keys, key=lambda key: (places.get(key, len(places)), key))

    def label(self, key: str) -> str:
        """A predictor's name in words."""
        return str((self.predictors.get(key) or {}).get("label", key))

    def entry(self, key: str | None, metric: str) -> dict[str, Any]:
        """A predictor's entry for a metric: value, ci95, n, gain, why; empty where it was not scored."""
        return dict((self.rows.get(key or "") or {}).get(metric) or {})

    def gain(self, key: str | None, metric: str, over: str) -> dict[str, Any]:
        """A predictor's gain over another one: value, ci95, p; empty where there is none."""
        return dict((self.entry(key, metric).get("gain") or {}).get(over) or {})

    def item_scores(self, key: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """item -> {column: value} of one predictor; columns that are not there are left out."""
        if not self.per_item.num_rows:
            return {}
        theirs = self.per_item.filter(pc.equal(self.per_item["predictor"], key))
        present = [name for name in columns if name in theirs.column_names]
        rows = theirs.select([self.item, *present]).to_pylist()
        return {row[self.item]: {name: row[name] for name in present} for row in rows}


def read_results(run: Folder) -> Results:
    """Read a run folder. Raises FileNotFoundError when there is no manifest.json, ValueError when it is no object."""
    manifest = run.read_json("manifest.json")
    if not isinstance(manifest, dict):
        raise ValueError("manifest.json is not a JSON object")
    present = {stat.path for name in ("units", "maps") for stat in run.list(name)}
    failures = manifest.get("failures") or {}
    units: dict[str, dict[str, Any]] = {}
    epochs: dict[str, list[dict[str, Any]]] = {}
    for name, status in (manifest.get("units") or {}).items():
        units[name] = {"unit": name, "status": status} | ({"error": failures[name]} if name in failures else {})
        source = f"units/{name}/{'result' if status == 'done' else 'failure'}.json"
        if source in present:
            units[name] |= _object(run.read_bytes(source))
        if f"units/{name}/metrics.jsonl" in present:
            lines = [_object(line) for line in run.read_bytes(f"units/{name}/metrics.jsonl").splitlines()]
            # a resumed fit may log an epoch twice: the last counts
            by_epoch = {line["epoch"]: line for line in lines if "epoch" in line}
            epochs[name] = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    tables = {name: _table(run, f"{name}.parquet") for name in ("predictions", "per_item", "rejects", "quality")}
    return Results(
        manifest=manifest,
        metrics=run.read_json("metrics.json") if run.exists("metrics.json") else {},
        maps=[row for row in _table(run, "maps/index.parquet").to_pylist() if row["path"] in present],
        units=units,
        epochs=epochs,
        **tables,
    )


def _object(text: bytes) -> dict[str, Any]:
    """JSON of a unit; an empty object where it cannot be read: the page is drawn without it."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _table(run: Folder, path: str) -> pa.Table:
    """A Parquet table of the run folder, or one without columns where the run did not write it."""
    return run.read_table(path) if run.exists(path) else pa.table({})
