# SPDX-License-Identifier: Apache-2.0
"""What every study that tells classes apart has in common: baselines under the same folds, and the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from gazeray.config import Section
from gazeray.metrics.classification import score_all
from gazeray.metrics.statistics import participant_confusions, permutation_test, resampled, rows, summarise

BASELINES = ("majority", "logistic_regression")
"""Predictors that stand beside the model; each is a column of scores in predictions.parquet."""

MODEL = "cnn"

COLUMNS = {MODEL: "scores"} | {name: name for name in BASELINES}
"""The column of predictions.parquet in which each predictor's scores are."""

PREDICTORS = {
    MODEL: {"kind": "model", "label": "CNN"},
    "logistic_regression": {"kind": "baseline", "label": "logistic regression"},
    "majority": {"kind": "baseline", "label": "majority class"},
}


class ScoresConfig(Section):
    """How sure the numbers are."""

    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the participants")
    permutations: int = Field(1000, ge=99, description="shuffles of the labels within participants")


def class_weighted_loss(labels: np.ndarray, classes: int, weighted: bool) -> torch.nn.Module:
    """Cross-entropy of logits (B, K) and labels (B,); weighted: each class counts the same whatever its size.

    The weight of a class is N / (K_present * N_class), as scikit-learn's "balanced"; a class that is absent from
    `labels` (N,) weighs nothing.
    """
    counts = np.bincount(labels, minlength=classes)
    if not weighted:
        return torch.nn.CrossEntropyLoss()
    weights = np.where(counts > 0, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 0.0)
    return torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float32))


def logistic_regression_scores(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int, penalty: float = 1.0
) -> np.ndarray:
    """Class probabilities (N_test, K) of a ridge-penalised logistic regression on standardised features.

    train (N, F) and labels (N,) fit both the scaler and the regression; test (N_test, F) is only predicted. Classes
    weigh the same. A class that is absent from `labels` gets probability 0.
    """
    # Here, since every worker that only reads recordings would pay two seconds for the import.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000, tol=1e-6)
    )
    scores = np.zeros((len(test), classes))
    present = np.unique(labels)
    if len(present) == 1:
        scores[:, present[0]] = 1.0
        return scores
    model.fit(train.astype(np.float64), labels)
    scores[:, present] = model.predict_proba(test.astype(np.float64))
    return scores


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (N, K) float64 of logits (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def predictions_table(
    ids: pa.Table, classes: Sequence[str], labels: np.ndarray, scores: dict[str, np.ndarray]
) -> pa.Table:
    """One row per test example: its ids, label, predicted class, and the scores of the model and of the baselines.

    ids: the columns that come first. labels (N,). scores: {"scores": the model's (N, K), baseline: (N, K)}.
    """
    names = np.asarray(classes)
    table = ids.append_column("label", pa.array(names[labels].tolist()))
    table = table.append_column("predicted", pa.array(names[scores["scores"].argmax(axis=1)].tolist()))
    for name, values in scores.items():
        table = table.append_column(name, pa.array(values.tolist(), pa.list_(pa.float64())))
    return table


def fold_scores(labels: np.ndarray, scores: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    """The metrics of one fold; None where undefined."""
    values = score_all(labels, scores, classes)
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def score_predictions(predictions: pa.Table, classes: Sequence[str], cfg: ScoresConfig, seed: int) -> dict[str, Any]:
    """Everything metrics.json says about out-of-fold predictions: rows, metrics, permutation test, confusions.

    predictions: as `predictions_table` makes it, with a column participant.
    """
    lookup = {name: number for number, name in enumerate(classes)}
    labels = np.array([lookup[name] for name in predictions.column("label").to_pylist()])
    participants = np.array(predictions.column("participant").to_pylist())
    scores = {name: _scores(predictions, column) for name, column in COLUMNS.items()}
    model, found = scores[MODEL], rows(resampled(labels, scores, participants, classes, cfg.resamples, seed), MODEL)
    return {
        "predictors": PREDICTORS,
        "rows": {name: found[name] for name in PREDICTORS},
        "metrics_shown": list(found[MODEL]),
        "metrics": summarise(labels, classes, found, MODEL),
        "permutation": permutation_test(labels, model, participants, classes, n=cfg.permutations, seed=seed),
        "participants": participant_confusions(labels, model.argmax(axis=1), participants, classes),
    }


def _scores(predictions: pa.Table, column: str) -> np.ndarray:
    return np.array(predictions.column(column).to_pylist(), dtype=np.float64)
