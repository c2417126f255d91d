# SPDX-License-Identifier: Apache-2.0
"""A small version of the job on real webcam reading (WebQAmGaze, 68 readers)."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazeray.studies.heatmap.report import write_report
from tests.running import CONFIGS, HERE, run_heatmap

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_task_is_told_from_real_gaze_and_reported_as_confounded(real_data: Path, tmp_path: Path) -> None:
    words = [
        HERE,
        f"data.dataset={CONFIGS / 'datasets/webqamgaze.yaml'}",
        f"data.root={real_data / 'reading_webqamgaze'}",
        *("data.label=label_is", "render.height_px=36", "render.width_px=64", "render.sigma_px=40"),
        *("folds.outer=3", "train.epochs=4", "model.width=8", "explain.maps=false", f"run.dir={tmp_path}"),
    ]
    outcome, _ = run_heatmap(*words)
    assert outcome.failed == {}
    assert outcome.metrics is not None
    assert outcome.metrics["n"] == {"participants": 68, "trials": 680, "rejected": 0}
    auroc = outcome.metrics["metrics"]["auroc"]
    assert auroc["ci95"][0] > 0.5
    assert 0.70 < auroc["baselines"]["logistic_regression"] < 0.90
    assert 0.85 < auroc["baselines"]["stimulus_only"] < 0.93
    assert auroc["baselines"]["nuisance"] > 0.99, "the label goes with the order"
    assert outcome.run.read_json("manifest.json")["counts"]["rows_read"] == 647_713 + 113_766
    first, last = outcome.run.read_json("manifest.json")["flow"]["steps"]
    whole = {"people": 68, "trials": 680, "classes": {"reading": 340, "seeking": 340}, "class_not_known": 0}
    assert (first, last) == ({"step": "declared", **whole}, {"step": "used", **whole})
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert "Confounded with trial order" in page
    assert "“label_is” is a function of trial order" in page
    assert "what can be had without gaze" in page
