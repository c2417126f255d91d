# SPDX-License-Identifier: Apache-2.0
"""What users read holds: `--help` and the shipped YAML name every setting; documented commands and YAML are valid."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gazeray.config import load_config, validate
from gazeray.engine.cli import main, settings_help
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.readers import READERS
from gazeray.gaze.screens import ScreensSpec
from gazeray.learn.space import settings_to_try
from gazeray.studies import EMOTION, HEATMAP
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.heatmap.config import HeatmapConfig
from tests.running import CONFIGS, ROOT, no_report

JOBS: dict[str, tuple[Any, Any]] = {
    "cv_heatmap": (HEATMAP.study, HeatmapConfig),
    "cv_emotion": (EMOTION.study, EmotionConfig),
}
"""Those that recordings of people are given to: what makes their studies, and their settings."""

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DECLARED = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [
    line
    for path in DOCS
    for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith(tuple(f"python jobs/{job}.py" for job in JOBS))
]
LINE = re.compile(r"^  ([\w.]+)=(.*?)  \((.+)\)$", re.MULTILINE)


MAPPINGS = ("folds.sides", "folds.unseen", "signals.max_lost_share", "signals.plausible")
"""Settings that are mappings themselves."""


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        nested = isinstance(value, Mapping) and value and key not in MAPPINGS
        found |= dotted(value, f"{key}.") if nested else {key: value}
    return found


@pytest.fixture
def shown(job: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What --help of a job prints."""
    study, settings = JOBS[job]
    with pytest.raises(SystemExit) as ended:
        main(study, settings, job, CONFIGS / f"{job}.yaml", no_report, ["--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("job", JOBS)
def test_help_lists_every_setting_once_with_its_default(job: str, shown: str) -> None:
    defaults = dotted(JOBS[job][1]().model_dump(mode="json"))
    listed = [(key, yaml.safe_load(value)) for key, value, _ in LINE.findall(shown)]
    of_search = {key: value for key, value in listed if key.startswith("search.")}
    assert len(dict(listed)) == len(listed)
    assert dict(listed) == defaults | of_search
    assert of_search.keys() == {f"search.{name}" for name in ("space", "settings", "metric", "scheduler",
                                                              "grace_epochs", "reduction")}  # fmt: skip


@pytest.mark.parametrize("job", ["cv_heatmap"])
@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("render.sigma_px=40.0  (number or null, > 0)", "px of the screen"),
        ("folds.hold_out=participants  (participants | stimuli | both | neither)", "no training example"),
        ("search=null  (a section, or null)", "train with the settings above"),
        ("search.settings=12  (integer, >= 1)", "draws from the space"),
        ("train.class_weights=true  (true or false)", "counted in the training people"),
        ("data.simulate.blink_ms=[100.0, 300.0]  ([number, number])", "gap that a blink leaves"),
        (
            'explain.methods=["gradient", "integrated_gradients", "smoothgrad"]'
            "  (list of gradient | integrated_gradients | smoothgrad)",
            "which maps",
        ),
    ],
)
def test_help_gives_type_limits_and_meaning(shown: str, line: str, below: str) -> None:
    lines = shown.splitlines()
    at = lines.index(f"  {line}")
    meaning = " ".join(text.strip() for text in lines[at + 1 : at + 4] if text.startswith(" " * 6))
    assert below in meaning


@pytest.mark.parametrize("job", JOBS)
def test_help_names_the_exit_codes_and_fits_a_terminal(shown: str) -> None:
    for code in ("0  done", "1  some units failed", "2  bad config or input", "130  stopped"):
        assert code in shown
    assert max(map(len, shown.splitlines())) <= 140


@pytest.mark.parametrize("job", JOBS)
def test_shipped_config_names_every_setting(job: str) -> None:
    listed = {key for key, _, _ in LINE.findall("\n".join(settings_help(JOBS[job][1])))}
    named = dotted(yaml.safe_load((CONFIGS / f"{job}.yaml").read_text()))
    assert set(named) == {key for key in listed if key[:7] != "search."}


def test_shipped_config_of_emotions_has_the_defaults() -> None:
    assert load_config(EmotionConfig, CONFIGS / "cv_emotion.yaml") == EmotionConfig()


def test_shipped_config_explains_how_a_search_is_declared() -> None:
    text = (CONFIGS / "cv_heatmap.yaml").read_text()
    example = text[text.index("search: null") :].splitlines()[1:]
    lines = [line.removeprefix("# ") for line in example if line.startswith("# ")]
    searched = yaml.safe_load("\n".join(lines[lines.index("search:") :]))
    assert HeatmapConfig.model_validate(searched).search is not None


@pytest.mark.parametrize("text", DECLARED)
def test_documented_declaration_is_valid(text: str) -> None:
    values = yaml.safe_load(text)
    if "pictures" in values and "trials" not in values:
        assert validate(ScreensSpec, values).label.classes == ("control", "pseudoword")
        return
    if "name" not in values:  # the gaze alone
        columns = {"participant": "person", "trial": "nr"}
        labels = {"a": {0: "x", 1: "y"}}
        values = {"name": "some", "labels": labels, "trials": {"path": "t.csv", "columns": columns}} | values
        if not values.keys() & {"samples", "fixations"}:  # the trials alone, or the study
            own = (
                values["trials"] if "reader" in values["trials"] else {"reader": "eyelink", "path": "{participant}.asc"}
            )
            values["samples"] = {"reader": own["reader"], "path": own["path"]}
    assert validate(DatasetSpec, values).gaze()


def test_every_reader_is_documented_and_no_other() -> None:
    readme, data = (path.read_text() for path in (ROOT / "README.md", ROOT / "docs" / "data.md"))
    for text in (readme, data):
        table = text[text.index("| `reader` |") :].partition("\n\n")[0]
        first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
        assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == set(READERS)


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_settings_are_valid(command: str) -> None:
    script, *words = shlex.split(command, comments=True)[1:]
    job = Path(script).stem
    path = ROOT / words.pop(words.index("--config") + 1) if "--config" in words else CONFIGS / f"{job}.yaml"
    overrides = [word for word in words if not word.startswith("--")]
    assert settings_to_try(load_config(JOBS[job][1], path, overrides))


def test_readme_submits_as_the_tested_cluster_page_does() -> None:
    lines = [re.findall(r"^ray job submit .*$", (ROOT / name).read_text(), re.MULTILINE) for name in
             ("README.md", "cluster/README.md")]  # fmt: skip
    assert lines[0] == lines[1][:1]


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_to_files_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
