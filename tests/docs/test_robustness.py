# SPDX-License-Identifier: Apache-2.0
"""The grid that docs/robustness.md shows runs as it stands there, and every point is reported."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gazeray.config import load_config
from gazeray.learn.space import variant_settings
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.heatmap.study import HeatmapStudy
from tests.running import CONFIGS
from tests.studies.here import faults, whole

PAGE = Path(__file__).parents[2] / "docs" / "robustness.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    return [shlex.split(block.replace("\\\n", " "))[2:] for block in blocks]


def config(*words: str) -> HeatmapConfig:
    return load_config(HeatmapConfig, CONFIGS / "cv_heatmap.yaml", words)


def test_five_seeds_are_one_word() -> None:
    seeds, _ = commands()
    assert len(variant_settings(config(*seeds))) == 5


def test_grid_of_the_page_is_reported_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, grid = commands()
    small = ["model.width=2", "scores.resamples=100", "scores.permutations=99"]
    outcome = whole(HeatmapStudy(config(*grid, *small, f"run.dir={tmp_path}")))
    assert outcome.metrics is not None
    found = outcome.metrics["variants"]
    assert found["count"] == len(found["settings"]) == 8
    strict = [point for point in found["settings"] if point["setting"].get("quality.max_lost_share") == 0.0]
    assert len(strict) == 4
    assert all(point.get("why") or point["left_out"] for point in strict)
    assert faults(outcome.run) == []
