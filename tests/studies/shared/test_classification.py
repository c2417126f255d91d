# SPDX-License-Identifier: Apache-2.0
"""What metrics.json says of out-of-fold predictions: one table of rows, and beside it the older keys."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from gazeray.metrics.statistics import majority_scores
from gazeray.studies.shared.classification import ScoresConfig, predictions_table, score_predictions

CLASSES = ["control", "pseudoword"]


@pytest.fixture(scope="module")
def predictions() -> pa.Table:
    """Eight people of six trials; the model knows something, the regression a little less."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 0], 16)
    scores = {"majority": majority_scores(labels, 48, CLASSES)}
    for name, effect in (("scores", 2.0), ("logistic_regression", 1.0)):
        positive = 1 / (1 + np.exp(-effect * (labels - 0.5) - rng.normal(size=48)))
        scores[name] = np.stack([1 - positive, positive], axis=1)
    ids = pa.table({"participant": [f"P{number // 6}" for number in range(48)], "trial": list(range(48))})
    return predictions_table(ids, CLASSES, labels, scores)


def test_rows_and_older_keys_are_of_the_same_draws(predictions: pa.Table) -> None:
    found = score_predictions(predictions, CLASSES, ScoresConfig(resamples=100, permutations=99), seed=1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"rows", "metrics_shown", "metrics", "permutation", "participants"}
    assert list(found["rows"]) == ["cnn", "logistic_regression", "majority"]
    assert found["metrics_shown"] == list(found["metrics"])
    for metric, old in found["metrics"].items():
        own = found["rows"]["cnn"][metric]
        assert (own["value"], own["ci95"], own["n"]) == (old["value"], old["ci95"], 48)
        for baseline in ("logistic_regression", "majority"):
            assert own["gain"][baseline]["ci95"] == old["gain_ci95"][baseline]
            assert found["rows"][baseline][metric]["value"] == old["baselines"][baseline]
            assert "gain" not in found["rows"][baseline][metric]


def test_another_seed_draws_other_intervals_around_the_same_values(predictions: pa.Table) -> None:
    cfg = ScoresConfig(resamples=100, permutations=99)
    first, second = (score_predictions(predictions, CLASSES, cfg, seed)["rows"]["cnn"]["auroc"] for seed in (1, 2))
    assert first["value"] == second["value"]
    assert first["ci95"] != second["ci95"]
