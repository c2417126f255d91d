# SPDX-License-Identifier: Apache-2.0
"""Is the run folder of a study that compares predictors whole and consistent?

Every unit is the one that the manifest stands for, every picture is in one fold and scored once per predictor, and the
table of metrics.json follows from per_image.parquet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gazeray.report.validate_tools import Check, Open, RunManifest, some

COMPARISONS = ("probe_saliency", "score_maps")
"""The studies whose runs are checked here."""

CLOSE = 1e-9
DERIVED = ("explained",)
"""Metrics that are no mean over the pictures."""

IDS = ("stimulus", "fold", "predictor", "n_fixations")


class PictureCounts(Open):
    """How much was read, used and rejected."""

    pictures: int
    observers: int
    fixations: int
    rejected: int


class PictureFold(Open):
    """A fold, and how many pictures it tests."""

    fold: int
    pictures: int


class PictureEntry(Open):
    """What the run was fed with."""

    dataset: str
    fingerprint: str


class ComparisonManifest(RunManifest):
    """manifest.json of a run that has got as far as having units."""

    data: PictureEntry
    counts: PictureCounts
    folds: list[PictureFold]
    unit_hashes: dict[str, str]


def check_comparison(check: Check, manifest: ComparisonManifest) -> None:
    """Units, tables, scores and maps of the run."""
    if sum(fold.pictures for fold in manifest.folds) != manifest.counts.pictures:
        check.found("manifest.json", f"{manifest.counts.pictures} pictures counted, folds hold another number")
    for name in sorted(set(manifest.units) ^ set(manifest.unit_hashes)):
        check.found("manifest.json", f"{name} is not both in units and in unit_hashes")
    done = [name for name, status in sorted(manifest.units.items()) if _check_unit(check, manifest, name, status)]
    rejects = check.table("rejects.parquet", ("source", "row", "stage", "reason"))
    if rejects is not None and rejects.num_rows != manifest.counts.rejected:
        check.found("rejects.parquet", f"{rejects.num_rows} rows, the manifest counts {manifest.counts.rejected}")
    if not done:
        return
    metrics = check.json("metrics.json", ("study", "n", "failed", "metrics_shown", "predictors", "rows", "best"))
    table = check.table("per_image.parquet", IDS)
    if table is not None:
        n = (metrics or {}).get("n") or {}
        _check_pictures(check, table, n.get("pictures") if manifest.status == "done" else None)
    if metrics is not None:
        _check_metrics(check, manifest, metrics, table)
    _check_maps(check)


def _check_unit(check: Check, manifest: ComparisonManifest, name: str, status: str) -> bool:
    """Check one unit; is it done, and its result readable?"""
    path = f"units/{name}"
    if status == "failed":
        failure = check.json(f"{path}/failure.json", ("unit", "hash", "status", "error")) or {}
        check.found(path, f"failed: {failure.get('error', 'no reason is written down')}")
        return False
    result = check.json(f"{path}/result.json", ("unit", "hash", "status"))
    if result is None:
        return False
    if result["unit"] != name or result["status"] != "done":
        check.found(f"{path}/result.json", f"is of unit {result['unit']}, status {result['status']}")
    if result["hash"] != manifest.unit_hashes.get(name):
        check.found(f"{path}/result.json", "its hash is not the one of config and data in the manifest")
    for file in ("scores.parquet", "maps.safetensors"):
        if not check.files.get(f"{path}/{file}"):
            check.found(f"{path}/{file}", "missing or empty")
    if f"{path}/failure.json" in check.files:
        check.found(f"{path}/failure.json", "left behind in a unit that is done")
    return True


def _check_pictures(check: Check, table: pa.Table, pictures: int | None) -> None:
    """Each picture in one fold, once per predictor; so many pictures, where all units are done."""
    where: dict[str, set[int]] = {}
    seen: set[tuple[str, str]] = set()
    twice = []
    for row in table.select(["stimulus", "fold", "predictor"]).to_pylist():
        where.setdefault(row["stimulus"], set()).add(row["fold"])
        key = row["predictor"], row["stimulus"]
        if key in seen:
            twice.append(f"{row['stimulus']} by {row['predictor']}")
        seen.add(key)
    if twice:
        check.found("per_image.parquet", f"scored twice: {some(twice)}")
    several = sorted(stimulus for stimulus, folds in where.items() if len(folds) > 1)
    if several:
        check.found("per_image.parquet", f"in several folds: {some(several)}")
    if pictures is not None and len(where) != pictures:
        check.found("per_image.parquet", f"{len(where)} pictures, metrics.json counts {pictures}")


def _check_metrics(
    check: Check, manifest: ComparisonManifest, metrics: Mapping[str, Any], table: pa.Table | None
) -> None:
    rows, predictors = metrics["rows"], metrics["predictors"]
    if metrics["study"] != manifest.study:
        check.found("metrics.json", f"is of study {metrics['study']}, the manifest of {manifest.study}")
    failed = sorted(name for name, status in manifest.units.items() if status == "failed")
    if sorted(metrics["failed"]) != failed:
        check.found("metrics.json", f"names as failed: {some(metrics['failed']) or 'none'}; the manifest does not")
    if set(rows) != set(predictors):
        check.found("metrics.json", f"not both in rows and predictors: {some(sorted(set(rows) ^ set(predictors)))}")
    if metrics["best"] is not None and metrics["best"] not in rows:
        check.found("metrics.json", f"the best predictor, {metrics['best']}, has no row")
    if table is None:
        return
    scored = set(table["predictor"].to_pylist())
    if scored != set(rows):
        check.found("metrics.json", f"rows and per_image.parquet differ in {some(sorted(scored ^ set(rows)))}")
    for predictor in sorted(scored & set(rows)):
        theirs = table.filter(pc.equal(table["predictor"], predictor))
        for metric, entry in rows[predictor].items():
            if metric in DERIVED:
                continue
            if metric not in theirs.column_names:
                check.found("metrics.json", f"{predictor}: {metric} is no column of per_image.parquet")
                continue
            values = [value for value in theirs[metric].to_pylist() if value is not None]
            mean = sum(values) / len(values) if values else None
            if not _same(mean, entry.get("value")):
                told = f"{entry.get('value')}, that of per_image.parquet is {mean}"
                check.found("metrics.json", f"{predictor}: {metric} is {told}")


def _same(one: float | None, other: Any) -> bool:
    if one is None or other is None:
        return one is None and other is None
    return isinstance(other, int | float) and math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def _check_maps(check: Check) -> None:
    """The index names every map that is there, and no other."""
    index = check.table("maps/index.parquet", ("stimulus", "path", "why"))
    if index is None:
        return
    named = set(index["path"].to_pylist())
    there = {path for path in check.files if path.startswith("maps/") and path.endswith(".npz")}
    if named - there:
        check.found("maps", f"missing: {some(sorted(named - there))}")
    if there - named:
        check.found("maps", f"not in the index: {some(sorted(there - named))}")
    if not check.files.get("centre.npz"):
        check.found("centre.npz", "missing or empty")
