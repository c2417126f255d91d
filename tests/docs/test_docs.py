# SPDX-License-Identifier: Apache-2.0
"""What the pages say is there: links and their headings, jobs, settings, and files of this repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.heatmap.config import HeatmapConfig
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig
from gazeray.studies.score_maps.config import ScoreMapsConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*/README.md"))]
CONFIGS: dict[str, type[BaseModel]] = {
    "cv_emotion": EmotionConfig,
    "tune_emotion": EmotionConfig,
    "cv_heatmap": HeatmapConfig,
    "probe_saliency": ProbeSaliencyConfig,
    "score_maps": ScoreMapsConfig,
}

FILES = (".py", ".yaml", ".json", ".npz", ".parquet")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The headings of a page as a browser finds them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pages
def test_files_of_the_repository_are_there(page: Path) -> None:
    named = r"(?<![\w/.<>-])(?:gazeray|jobs|configs|tests|benchmarks|cluster|docs)/[\w/.*-]*\w"
    text = page.read_text()
    if page.name == "new_study.md":  # where the toy's parts would go
        text = re.sub(r"[\w/]*toy[\w/.]*", "", text)
    for path in re.findall(named, text):
        assert list(ROOT.glob(path)), path


def known(model: type[BaseModel], key: str) -> bool:
    """Is it a setting, or a part of one that is a mapping?"""
    node: Any = model()
    for part in key.split("."):
        if isinstance(node, dict) or (node is None and part):
            return True
        if part not in type(node).model_fields:
            return False
        node = getattr(node, part)
    return True


@pages
def test_commands_name_jobs_and_settings_that_exist(page: Path) -> None:
    text = page.read_text().replace("\\\n", " ")
    for job, words in re.findall(r"python (?:-m pdb )?jobs/(\w+)\.py([^\n`]*)", text):
        assert (ROOT / "jobs" / f"{job}.py").is_file(), job
        for key in re.findall(r"(?<![\w/?&.-])([a-z_]+(?:\.[a-z_]+)+)=", words):
            assert known(CONFIGS[job], key), f"{job}: {key}"


@pages
def test_settings_in_the_text_exist(page: Path) -> None:
    """Words such as `folds.hold_out` whose first part is a section of a job's config."""
    sections = {name for model in CONFIGS.values() for name in model.model_fields}
    for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:=[^`]*)?`", page.read_text()):
        if key.partition(".")[0] in sections - {"maps", "show"} and not key.endswith(FILES):
            assert any(known(model, key) for model in CONFIGS.values()) or key == "data.effect", key
