# SPDX-License-Identifier: Apache-2.0
"""A run folder in memory: what the report is drawn from, whatever the study."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gazeray.storage import Folder

KINDS = ("model", "control", "baseline", "ceiling")

MODEL, SIMPLE, HEADLINE = "cnn", "logistic_regression", "balanced_accuracy"
"""Of runs that tell classes apart: the rows of the model and of the baseline that sees gaze too, and the metric that is
claimed of."""


@dataclass(frozen=True)
class Results:
    """A run folder in memory. What the run did not write (yet) is empty.

    maps: maps/index.parquet, without the rows whose file is gone. units: name -> what its result.json or failure.json
    says, with unit, status and, where it failed, error; without those of variants. epochs: unit -> what its fit logged,
    a mapping per epoch. order: the predictors as the study lists them; those that it does not name follow by key. item:
    the column of per_item that names what was scored.
    """

    manifest: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    predictions: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    per_item: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    rejects: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    quality: pa.Table = field(default_factory=functools.partial(pa.table, {}))
    maps: pa.Table = field(default_factory=functools.partial(pa.table, {}))
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

    def item_scores(self, key: str, columns: Sequence[str]) -> pa.Table:
        """A row for every item of one predictor: the column `item`, then those of the columns that are there."""
        if not self.per_item.num_rows:
            return pa.table({self.item: pa.array([], pa.string())})
        present = [name for name in columns if name in self.per_item.column_names]
        mine = pc.equal(self.per_item["predictor"], key)
        return self.per_item.select([self.item, *present]).filter(mine)

    def item_row(self, key: str, item: str) -> dict[str, Any]:
        """What per_item holds of one predictor on one item; empty where it was not scored."""
        if not self.per_item.num_rows:
            return {}
        mine = [pc.equal(self.per_item[name], value) for name, value in (("predictor", key), (self.item, item))]
        rows = self.per_item.filter(pc.and_(*mine)).to_pylist()
        return dict(rows[0]) if rows else {}


def read_results(run: Folder) -> Results:
    """Read a run folder. Raises FileNotFoundError when there is no manifest.json, ValueError when it is no object."""
    manifest = run.read_json("manifest.json")
    if not isinstance(manifest, dict):
        raise ValueError("manifest.json is not a JSON object")
    present = {stat.path for name in ("units", "maps") for stat in run.list(name)}
    failures = manifest.get("failures") or {}
    units: dict[str, dict[str, Any]] = {}
    epochs: dict[str, list[dict[str, Any]]] = {}
    others = tuple(f"{one['name']}-" for one in manifest.get("variants") or [])
    for name, status in (manifest.get("units") or {}).items():
        if name.startswith(others):
            continue
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
        maps=_there(_table(run, "maps/index.parquet"), present),
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


def _there(index: pa.Table, present: Collection[str]) -> pa.Table:
    """The rows of an index of files whose file is there."""
    if not index.num_rows:
        return index
    paths = index["path"]
    return index.filter(pc.is_in(paths, value_set=pa.array(present, paths.type)))


def _table(run: Folder, path: str) -> pa.Table:
    """A Parquet table of the run folder, or one without columns where the run did not write it."""
    return run.read_table(path) if run.exists(path) else pa.table({})
