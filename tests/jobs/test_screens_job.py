# SPDX-License-Identifier: Apache-2.0
"""The published protocol (configs/cv_heatmap.paper.yaml) on simulated screens with the published names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gazeray.config import load_config
from gazeray.models.heatmap_cnn import HeatmapCNN
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.synth.reading_parameters import ReadingSimulation
from tests.running import CONFIGS, HERE, findings, run_study
from tests.synth.screens import ScreensSimulation, simulate_screens

PAPER = CONFIGS / "cv_heatmap.paper.yaml"


def test_paper_config_is_the_published_protocol() -> None:
    cfg = load_config(HeatmapConfig, PAPER)
    size = (cfg.render.height_px, cfg.render.width_px)
    assert size == (128, 128)
    model = HeatmapCNN(3, size, cfg.model.width, 2, cfg.model.dropout)
    assert sum(parameter.numel() for parameter in model.parameters()) == 938_242
    assert (cfg.train.optimizer, cfg.train.learning_rate, cfg.train.batch_size, cfg.train.epochs) == (
        "sgd",
        0.01,
        32,
        35,
    )
    assert (cfg.train.momentum, cfg.train.weight_decay, cfg.train.class_weights) == (0.0, 0.0, False)
    assert cfg.folds.outer == 8


@pytest.mark.slow
def test_paper_config_runs_on_simulated_screens(tmp_path: Path) -> None:
    root = Folder(tmp_path / "screens")
    simulate_screens(root, ScreensSimulation(reading=ReadingSimulation(readers=4, sentences=4), looks=("b",)))
    root.write_bytes("scanpaths_fixed/1x_cut_C_b.png", root.read_bytes(root.list("scanpaths_fixed")[0].path)[:500])
    root.write_bytes("scanpaths_fixed/no pattern.png", b"")
    small = ["model.width=4", "train.epochs=2", "folds.outer=2", "scores.resamples=100", "scores.permutations=99"]
    words = [f"data.dataset={root.uri}/scanpaths.yaml", f"data.root={root.uri}", f"run.dir={tmp_path / 'runs'}"]
    outcome, _ = run_study(HeatmapStudy, HeatmapConfig, "cv_heatmap", *words, *small, HERE, config=PAPER.name)
    assert outcome.failed == {}
    assert outcome.metrics is not None
    assert outcome.metrics["n"] == {"participants": 4, "trials": 16, "rejected": 2}
    rejects = outcome.run.read_table("rejects.parquet").to_pylist()
    assert sorted(reject["source"] for reject in rejects) == [
        "scanpaths_fixed/1x_cut_C_b.png",
        "scanpaths_fixed/no pattern.png",
    ]
    index = outcome.run.read_table("maps/index.parquet")
    with np.load(Path(outcome.run.uri) / index["path"][0].as_py()) as maps:
        assert maps["gradient_true"].shape == (128, 128)
    write_report(outcome.run)
    assert findings(outcome.run) == []
    manifest = json.loads(outcome.run.read_text("manifest.json"))
    assert manifest["pictures"] == {"kind": "screens", "channels": 3, "blank": 1.0}
