# SPDX-License-Identifier: Apache-2.0
"""A run folder that compares saliency predictors, in memory: what its report is drawn from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gazeray.report.results import table_or_empty
from gazeray.storage import Folder

KINDS = ("model", "baseline", "ceiling")

ORDER = ("uniform", "centre_quarter", "centre", "mean_of_others", "centre_bias", "split_half", "other_observers",
         "gold_standard")  # fmt: skip
"""Baselines and ceilings as the report lists them, from what knows least; metrics.json sorts them by name."""


@dataclass(frozen=True)
class SaliencyResults:
    """A run folder in memory. What the run did not write (yet) is empty.

    maps: the rows of maps/index.parquet whose file is there. centre: name -> (48, 64) density.
    """

    manifest: dict[str, Any]
    metrics: dict[str, Any]
    per_image: pa.Table
    rejects: pa.Table
    maps: list[dict[str, Any]]
    centre: dict[str, NDArray[np.floating[Any]]]

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Predictor -> metric -> entry, predictors that were scored only."""
        return dict(self.metrics.get("rows") or {})

    @property
    def shown(self) -> list[str]:
        """The metrics of the score table."""
        return list(self.metrics.get("metrics_shown") or [])

    @property
    def best(self) -> str | None:
        """The key of the best model; None where none was scored."""
        return self.metrics.get("best")

    def of_kind(self, kind: str) -> list[str]:
        """The scored predictors of a kind (`KINDS`): models by layer and probe, the others in `ORDER`."""
        known = self.metrics.get("predictors") or {}
        layers, probes = self.metrics.get("layers") or [], self.metrics.get("probes") or []

        def place(key: str) -> tuple[int, int, int, str]:
            entry = known[key]
            return (_index(ORDER, key), _index(layers, entry.get("layer")), _index(probes, entry.get("probe")), key)

        return sorted((key for key in self.rows if known[key]["kind"] == kind), key=place)

    def label(self, key: str) -> str:
        """A predictor's name in words."""
        return str(self.metrics["predictors"][key]["label"])

    def entry(self, key: str | None, metric: str) -> dict[str, Any]:
        """A predictor's entry for a metric: value, ci95, n, gain; empty where it was not scored."""
        return dict((self.rows.get(key or "") or {}).get(metric) or {})

    def per_picture(self, key: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """stimulus -> {column: value} of one predictor's pictures; columns that are not there are left out."""
        if not self.per_image.num_rows:
            return {}
        theirs = self.per_image.filter(pc.equal(self.per_image["predictor"], key))
        present = [name for name in columns if name in theirs.column_names]
        rows = theirs.select(["stimulus", *present]).to_pylist()
        return {row["stimulus"]: {name: row[name] for name in present} for row in rows}


def _index(values: Sequence[str], value: Any) -> int:
    """Where `value` stands; behind all others when it does not."""
    return list(values).index(value) if value in values else len(values)


def read_saliency(run: Folder) -> SaliencyResults:
    """Read a run folder. Raises FileNotFoundError when there is no manifest.json, ValueError when it is no object."""
    manifest = run.read_json("manifest.json")
    if not isinstance(manifest, dict):
        raise ValueError("manifest.json is not a JSON object")
    present = {stat.path for stat in run.list("maps")}
    centre = {}
    if run.exists("centre.npz"):
        with np.load(io.BytesIO(run.read_bytes("centre.npz")), allow_pickle=False) as stored:
            centre = {name: stored[name] for name in stored.files}
    return SaliencyResults(
        manifest=manifest,
        metrics=run.read_json("metrics.json") if run.exists("metrics.json") else {},
        per_image=table_or_empty(run, "per_image.parquet"),
        rejects=table_or_empty(run, "rejects.parquet"),
        maps=[row for row in table_or_empty(run, "maps/index.parquet").to_pylist() if row["path"] in present],
        centre=centre,
    )
