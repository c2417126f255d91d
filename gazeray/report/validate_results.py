# SPDX-License-Identifier: Apache-2.0
"""The second half of `validate`: predictions, scores, maps and the tables of what was read and rejected."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.metrics.classification import score_all
from gazeray.metrics.statistics import participant_confusions
from gazeray.report.validate_tools import Check, some
from gazeray.tables import REJECTS

TOLERANCE = 1e-9
"""Scores are recomputed from the same counts and may differ by the order of a sum only."""

IDS = ("participant", "trial", "label", "predicted")


def check_results(check: Check, manifest: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> None:
    """Check everything that was made of the units. results: result.json of the units that are done, by name."""
    predictions = _check_predictions(check, manifest, results)
    if predictions is not None:
        _check_metrics(check, manifest, results, predictions)
        _check_maps(check, predictions)
    _check_rejects(check, manifest)
    _check_quality(check, predictions)
    for name in ("fixations.parquet", "saccades.parquet"):
        if name in check.files:
            check.table(name, ("participant", "trial", "onset_ms", "duration_ms"))
    if "explain.npz" in check.files:
        check.read("explain.npz", _open_arrays)


def _check_predictions(
    check: Check, manifest: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]
) -> pa.Table | None:
    """One row per example that was to be tested, by the fold that was to test it; None when it cannot be read."""
    path = "predictions.parquet"
    table = check.table(path, (*IDS, "fold", "scores"))
    if table is None or not _types_fit(check, path, table):
        return None
    keys = Counter(zip(table["participant"].to_pylist(), table["trial"].to_pylist(), strict=True))
    twice = [f"{participant} {trial}" for (participant, trial), count in keys.items() if count > 1]
    if twice:
        check.found(path, f"{len(twice)} examples stand there more than once: {some(twice)}")
    expected = sum(int(result["n"]["test"]) for result in results.values())
    if len(results) == len(manifest["folds"]):
        expected = int(manifest["counts"]["examples"])
    if table.num_rows != expected:
        check.found(path, f"{table.num_rows} rows for {expected} examples")
    _check_sides(check, manifest, table)
    names = sorted({str(name) for column in ("label", "predicted") for name in set(table[column].to_pylist())})
    unknown = [name for name in names if name not in manifest["classes"]]
    if unknown:
        check.found(path, f"{some(unknown)}: none of the classes {', '.join(manifest['classes'])}")
        return None
    return table if _scores_fit(check, manifest["classes"], table) else None


def _types_fit(check: Check, path: str, table: pa.Table) -> bool:
    text = [name for name in IDS if not _is_text(table.schema.field(name).type)]
    wrong = [*text, *(["fold"] if not pa.types.is_integer(table.schema.field("fold").type) else [])]
    wrong += [] if pa.types.is_list(table.schema.field("scores").type) else ["scores"]
    wrong += [name for name in (*IDS, "fold", "scores") if table[name].null_count and name not in wrong]
    if wrong:
        check.found(path, f"wrong type or missing values in column {', '.join(wrong)}")
    return not wrong


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_sides(check: Check, manifest: Mapping[str, Any], table: pa.Table) -> None:
    """Nobody's example was tested by a fold that was not to test it."""
    planned = {fold["fold"]: fold for fold in manifest["folds"]}
    columns = ["participant", "fold", *(["stimulus"] if "stimulus" in table.column_names else [])]
    wrong = set()
    for row in table.select(columns).to_pylist():
        fold = planned.get(row["fold"])
        if fold is None:
            wrong.add(f"fold {row['fold']} is not in the manifest")
        elif any(fold[side] for side in ("train", "validation", "test")) and row["participant"] not in fold["test"]:
            wrong.add(f"participant {row['participant']} was not to be tested in fold {row['fold']}")
        elif fold.get("stimuli") and "stimulus" in row and row["stimulus"] not in fold["stimuli"]["test"]:
            wrong.add(f"stimulus {row['stimulus']} was not to be tested in fold {row['fold']}")
    for line in sorted(wrong)[:20]:
        check.found("predictions.parquet", line)


def _scores_fit(check: Check, classes: list[str], table: pa.Table) -> bool:
    """Scores are finite, one per class, and the predicted class is the one with the highest."""
    rows = table["scores"].to_pylist()
    lengths = {len(row) for row in rows}
    if rows and (lengths != {len(classes)} or not np.isfinite(np.array(rows, dtype=np.float64)).all()):
        check.found("predictions.parquet", f"scores must be {len(classes)} finite numbers in every row")
        return False
    best = np.array(classes)[np.array(rows, dtype=np.float64).reshape(-1, len(classes)).argmax(axis=1)]
    wrong = int(np.sum(best != np.array(table["predicted"].to_pylist(), dtype=object)))
    if wrong:
        check.found("predictions.parquet", f"predicted is not the class with the highest score in {wrong} rows")
    return True


# -- scores


def _check_metrics(
    check: Check, manifest: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], predictions: pa.Table
) -> None:
    """metrics.json follows from the predictions."""
    path = "metrics.json"
    metrics = check.json(path, ("study", "n", "metrics", "permutation", "folds", "participants"))
    if metrics is None or not predictions.num_rows:
        return
    classes = list(manifest["classes"])
    lookup = {name: number for number, name in enumerate(classes)}
    labels = np.array([lookup[name] for name in predictions["label"].to_pylist()])
    people = np.array(predictions["participant"].to_pylist())
    columns = {name: _scores(predictions, name, len(classes)) for name in _score_columns(predictions)}
    counted = {"trials": len(labels), "participants": len(set(people)), "rejected": manifest["counts"]["rejected"]}
    for name, value in counted.items():
        if metrics["n"].get(name) != value:
            check.found(path, f"n.{name} is {metrics['n'].get(name)}, not {value}")
    for column, scores in columns.items():
        for name, values in score_all(labels, scores, classes).items():
            entry = metrics["metrics"].get(name) or {}
            stated = entry.get("value") if column == "scores" else (entry.get("baselines") or {}).get(column)
            _compare(check, f"{name} of {column.replace('scores', 'the model')}", stated, float(values[0]))
    confusions = participant_confusions(labels, columns["scores"].argmax(axis=1), people, classes)
    wrong = [name for name in sorted({*confusions, *metrics["participants"]})
             if confusions.get(name) != metrics["participants"].get(name)]  # fmt: skip
    if wrong:
        check.found(path, f"the confusion of {len(wrong)} participants is not that of the predictions: {some(wrong)}")
    _check_fold_scores(check, metrics, results, predictions, labels, columns["scores"], classes)
    _check_search(check, manifest, metrics)


def _score_columns(predictions: pa.Table) -> list[str]:
    return [field.name for field in predictions.schema if pa.types.is_list(field.type)]


def _scores(predictions: pa.Table, column: str, classes: int) -> np.ndarray:
    return np.array(predictions[column].to_pylist(), dtype=np.float64).reshape(-1, classes)


def _compare(check: Check, name: str, stated: float | None, value: float) -> None:
    if (stated is None) != math.isnan(value) or (stated is not None and abs(stated - value) > TOLERANCE):
        check.found("metrics.json", f"{name} is {stated}, the predictions give {value:.6f}")


def _check_fold_scores(
    check: Check,
    metrics: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
    predictions: pa.Table,
    labels: np.ndarray,
    scores: np.ndarray,
    classes: list[str],
) -> None:
    folds = np.array(predictions["fold"].to_pylist())
    stated = {f"fold-{fold['fold']}": fold for fold in metrics["folds"]}
    for name in sorted({*stated, *results}):
        if name not in stated or name not in results:
            check.found("metrics.json", f"{name} is {'not scored' if name in results else 'scored, but not done'}")
            continue
        mine = folds == stated[name]["fold"]
        if not mine.any():
            check.found("metrics.json", f"{name} is scored and has no predictions")
            continue
        for metric, values in score_all(labels[mine], scores[mine], classes).items():
            _compare(check, f"{name}: {metric}", stated[name]["metrics"].get(metric), float(values[0]))
        if results[name]["metrics"] != stated[name]["metrics"]:
            check.found("metrics.json", f"{name}: not the scores that its result.json holds")


def _check_search(check: Check, manifest: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """The outer scores of a search are those of the folds."""
    search = metrics.get("search")
    if (search is not None) != (manifest["config"].get("search") is not None):
        check.found("metrics.json", f"{'a' if search else 'no'} search, unlike the config says")
    if not search:
        return
    scores = {fold["fold"]: fold["metrics"].get(search["metric"]) for fold in metrics["folds"]}
    outer = {entry["fold"]: entry.get("outer_score") for entry in search["folds"]}
    wrong = [fold for fold in sorted({*scores, *outer}) if scores.get(fold) != outer.get(fold)]
    if wrong:
        check.found("metrics.json", f"the search's outer score is not that of fold {some(wrong)}")


# -- maps and tables


def _check_maps(check: Check, predictions: pa.Table) -> None:
    """The index points at files that are there, one per prediction; no file is in nobody's name."""
    path = "maps/index.parquet"
    files = {name for name in check.files if name.startswith("maps/") and name != path}
    promised = set(predictions["map"].to_pylist()) if "map" in predictions.column_names else set()
    listed: set[str] = set()
    if promised or path in check.files:
        index = check.table(path, ("participant", "trial", "path"))
        if index is None:
            return
        paths = index["path"].to_pylist()
        listed = set(paths)
        keys = [tuple(row[name] for name in ("participant", "trial", "path")) for row in index.to_pylist()]
        columns = ("participant", "trial", "map")
        tested = set(zip(*(predictions[name].to_pylist() for name in columns), strict=True)) if promised else set()
        if len(listed) != len(paths) or (promised and set(keys) != tested):
            check.found(path, "not one row for each prediction")
    for name in sorted(listed - files)[:20]:
        check.found(path, f"{name} is not there")
    empty = sorted(name for name in listed & files if not check.files[name])
    if empty:
        check.found("maps", f"{len(empty)} empty files: {some(empty)}")
    orphans = sorted(files - listed)
    if orphans:
        check.found("maps", f"{len(orphans)} orphans, in no index: {some(orphans)}")


def _check_rejects(check: Check, manifest: Mapping[str, Any]) -> None:
    table = check.table("rejects.parquet", REJECTS.names)
    if table is None:
        return
    wrong = [field.name for field in REJECTS if table.schema.field(field.name).type != field.type]
    if wrong:
        check.found("rejects.parquet", f"wrong type of column {', '.join(wrong)}")
    if table.num_rows != manifest["counts"]["rejected"]:
        check.found("rejects.parquet", f"{table.num_rows} rows, the manifest counts {manifest['counts']['rejected']}")


def _check_quality(check: Check, predictions: pa.Table | None) -> None:
    table = check.table("quality.parquet", ("participant", "trial", "n_samples", "lost_share"))
    if table is None:
        return
    pairs = list(zip(table["participant"].to_pylist(), table["trial"].to_pylist(), strict=True))
    if len(set(pairs)) != len(pairs):
        check.found("quality.parquet", f"{len(pairs) - len(set(pairs))} trials stand there more than once")
    gates = table["gate"].to_pylist() if "gate" in table.column_names else [""] * len(pairs)
    refused = {pair for pair, gate in zip(pairs, gates, strict=True) if gate}
    if predictions is not None and pairs:
        tested = set(zip(predictions["participant"].to_pylist(), predictions["trial"].to_pylist(), strict=True))
        absent = sorted(f"{participant} {trial}" for participant, trial in tested - set(pairs))
        if absent:
            check.found("quality.parquet", f"{len(absent)} tested trials are missing: {some(absent)}")
        both = sorted(f"{participant} {trial}" for participant, trial in tested & refused)
        if both:
            check.found("quality.parquet", f"{len(both)} trials were refused and tested all the same: {some(both)}")


def _open_arrays(data: bytes) -> list[str]:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return [name for name in stored.files if stored[name] is not None]
