# SPDX-License-Identifier: Apache-2.0
"""The pictures of a classification run as a whole, with their words, from what its run folder holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gazeray.report import figures
from gazeray.report.figure import Figure
from gazeray.report.results import Results
from gazeray.report.sections.gallery import class_indices
from gazeray.report.sections.quality import quality_figure
from gazeray.report.words import number

CURVES = 20


def all_figures(results: Results) -> list[Figure]:
    """Every picture that the run has the data for."""
    drawn = (roc_figure(results), confusion_figure(results), participants_figure(results), curves_figure(results),
             quality_figure(results))  # fmt: skip
    return [picture for picture in drawn if picture is not None]


def _scores(column: pa.ChunkedArray, classes: int) -> NDArray[np.float64]:
    """A list column as (N, K); a missing or wrongly long list becomes NaN."""
    absent = [math.nan] * classes
    rows = [row if row is not None and len(row) == classes else absent for row in column.to_pylist()]
    return np.array(rows, dtype=np.float64).reshape(len(rows), classes)


def roc_figure(results: Results) -> Figure | None:
    """ROC of the model and of logistic regression; None without predictions."""
    table, classes = results.predictions, results.classes
    if not table.num_rows:
        return None
    labels = class_indices(table["label"].to_pylist(), classes)
    columns = {"model": "scores", "logistic_regression": "logistic_regression"}
    present = {name: column for name, column in columns.items() if column in table.column_names}
    scores = {name: _scores(table[column], len(classes)) for name, column in present.items()}
    png = figures.roc(labels, scores, classes)
    areas = results.metrics.get("metrics", {}).get("auroc") or {}
    simple = (areas.get("baselines") or {}).get("logistic_regression")
    alt = f"ROC curves. Area: model {number(areas.get('value'))}, logistic regression {number(simple)}, chance 0.5."
    positive = f"“{classes[-1]}” counts as positive" if len(classes) == 2 else "each class against the rest"
    caption = f"ROC over the {table.num_rows} test trials of all folds together; {positive}. Axes: rates from 0 to 1."
    return Figure("roc", png, alt, caption)


def _confusions(results: Results) -> dict[str, NDArray[np.int64]]:
    people = results.metrics.get("participants") or {}
    matrices = {name: np.array(people[name]["confusion"], dtype=np.int64) for name in sorted(people)}
    return {name: matrix for name, matrix in matrices.items() if matrix.sum()}


def confusion_figure(results: Results) -> Figure | None:
    """The confusion matrix over all participants; None when nobody was tested."""
    matrices, classes = _confusions(results), results.classes
    if not matrices:
        return None
    pooled = np.sum(list(matrices.values()), axis=0)
    hits = "; ".join(f"{name}: {pooled[i, i]} of {pooled[i].sum()} correct" for i, name in enumerate(classes))
    caption = f"Confusion over {pooled.sum()} test trials: number of trials, and share of the true class (%)."
    return Figure("confusion", figures.confusion(pooled, classes), f"Confusion matrix. {hits}.", caption)


def participants_figure(results: Results) -> Figure | None:
    """Balanced accuracy per participant; None when nobody was tested."""
    matrices, classes = _confusions(results), results.classes
    if not matrices:
        return None
    trials = np.array([matrix.sum() for matrix in matrices.values()])
    present = np.array([matrix.sum(axis=1) > 0 for matrix in matrices.values()])
    recalls = np.array([np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1) for matrix in matrices.values()])
    values = (recalls * present).sum(axis=1) / present.sum(axis=1)
    one_class = present.sum(axis=1) == 1
    png = figures.participants(list(matrices), values, trials, one_class, 1 / len(classes), "balanced accuracy")
    alt = (
        f"Balanced accuracy of {len(values)} participants: lowest {values.min():.2f}, median {np.median(values):.2f}, "
        f"highest {values.max():.2f}, chance {1 / len(classes):.2f}."
    )
    caption = "Balanced accuracy (0 to 1) of each participant, best first; number of test trials in brackets."
    if one_class.any():
        caption += f" Pale: {one_class.sum()} with trials of one class only, where it is the recall of that class."
    return Figure("participants", png, alt, caption)


def _curve(unit: str, rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> figures.Curve:
    names = ("epoch", "train_loss", "validation_loss", "validation_balanced_accuracy")
    columns = {name: [math.nan if row.get(name) is None else row[name] for row in rows] for name in names}
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return figures.Curve(unit.replace("-", " "), best_epoch, **arrays)


def curves_figure(results: Results) -> Figure | None:
    """Learning curves of the folds; None when no fit logged an epoch."""

    logged = [name for name, rows in results.epochs.items() if rows]
    curves = [_curve(name, results.epochs[name], results.units[name].get("best_epoch")) for name in logged[:CURVES]]
    if not curves:
        return None
    best = [f"{curve.name}: epoch {curve.best_epoch} of {len(curve.epoch)}" for curve in curves]
    caption = "Loss (cross-entropy, nats) and balanced accuracy (0 to 1) per epoch, one pair of panels per fold."
    if not any(np.isfinite(curve.validation_loss).any() for curve in curves):
        caption = (
            "Loss (cross-entropy, nats) per epoch, one panel per fold; without validation, as the epochs were chosen."
        )
    if len(logged) > CURVES:
        caption += f" The first {CURVES} of {len(logged)} folds; the others are in units/."
    return Figure("learning_curves", figures.learning_curves(curves), f"Learning curves. {'; '.join(best)}.", caption)
