# SPDX-License-Identifier: Apache-2.0
"""Whole jobs in the process of the test, for tests of what a run shows and leaves behind."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from gazeray.config import load_config
from gazeray.engine.experiment import Outcome, run
from gazeray.engine.progress import ProgressView
from gazeray.engine.validate import validate_run
from gazeray.storage import Folder
from gazeray.studies import study_of
from gazeray.studies.emotion.study import EmotionConfig, EmotionStudy
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.study import Study

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"

HERE = "resources.workers=0"
"""Passes and units in this process, without Ray."""


def run_study(
    study: Callable[[Any], Study[Any, Any]], settings: type[BaseModel], job: str, *words: str, config: str = ""
) -> tuple[Outcome, str]:
    """Run a job in this process; returns how it ended and what it showed. config: of configs/, <job>.yaml."""
    text = io.StringIO()
    cfg = load_config(settings, CONFIGS / (config or f"{job}.yaml"), words)
    outcome = run(study(cfg), job, ProgressView(Console(file=text, width=200)))
    return outcome, text.getvalue()


def run_heatmap(*words: str) -> tuple[Outcome, str]:
    """jobs/cv_heatmap.py, less its report."""
    return run_study(HeatmapStudy, HeatmapConfig, "cv_heatmap", *words)


def run_probes(*words: str) -> tuple[Outcome, str]:
    """jobs/probe_saliency.py, less its report."""
    return run_study(ProbeSaliencyStudy, ProbeSaliencyConfig, "probe_saliency", *words)


def run_emotion(*words: str) -> tuple[Outcome, str]:
    """jobs/cv_emotion.py, less its report."""
    return run_study(EmotionStudy, EmotionConfig, "cv_emotion", *words)


def no_report(run: Folder) -> None:
    """Instead of a report, where none is looked at: drawing one takes longer than a small run."""


def findings(run: Folder) -> list[str]:
    """What jobs/validate_run.py finds wrong with a run folder."""
    return validate_run(run, study_of)
