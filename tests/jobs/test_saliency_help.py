# SPDX-License-Identifier: Apache-2.0
"""What users of the saliency jobs read holds: `--help` and the YAML name every setting; documented words are valid."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gazeray.config import ConfigError, load_config
from gazeray.engine.cli import main, settings_help
from gazeray.stimuli.declaration import load_pictures
from gazeray.stimuli.readers import PICTURE_READERS
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.studies.score_maps.study import ScoreMapsConfig, ScoreMapsStudy
from tests.jobs.test_help import DOCS, LINE, dotted
from tests.running import ROOT, no_report

JOBS: dict[str, tuple[Any, type[BaseModel]]] = {
    "probe_saliency": (ProbeSaliencyStudy, ProbeSaliencyConfig),
    "score_maps": (ScoreMapsStudy, ScoreMapsConfig),
}
COMMANDS = [
    (job, line)
    for path in DOCS
    for block in re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    for line in block.replace("\\\n", " ").splitlines()
    for job in JOBS
    if line.startswith(f"python jobs/{job}.py")
]


@pytest.mark.parametrize("job", JOBS)
def test_help_lists_every_setting_once_with_its_default(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    study, config = JOBS[job]
    with pytest.raises(SystemExit) as ended:
        main(study, config, job, ROOT / "configs" / f"{job}.yaml", no_report, ["--help"])
    assert ended.value.code == 0
    listed = [(key, yaml.safe_load(value)) for key, value, _ in LINE.findall(capsys.readouterr().out)]
    assert len(dict(listed)) == len(listed)
    assert dict(listed) == dotted(config().model_dump(mode="json"))


def test_help_gives_the_type_of_lists_with_limits() -> None:
    lines = list(settings_help(ProbeSaliencyConfig))
    assert "  probes.ridge.penalties=[0.001, 0.01, 0.1, 1.0, 10.0]  (list of number)" in lines


@pytest.mark.parametrize("probe", ["readout", "ridge", "pooled"])
@pytest.mark.parametrize(("values", "reason"), [("[0.1, 1.0, 0.1]", "a penalty is named twice"), ("[]", "at least 1")])
def test_penalties_that_cannot_be_told_apart_are_refused_before_the_run(probe: str, values: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"probes\.{probe}\.penalties: .*{reason}"):
        load_config(ProbeSaliencyConfig, None, [f"probes.{probe}.penalties={values}"])


@pytest.mark.parametrize("job", JOBS)
def test_shipped_config_names_every_setting_with_its_default(job: str) -> None:
    config, text = JOBS[job][1], (ROOT / "configs" / f"{job}.yaml").read_text()
    listed = {key for key, _, _ in LINE.findall("\n".join(settings_help(config)))}
    assert set(dotted(yaml.safe_load(text))) == listed
    assert config.model_validate(yaml.safe_load(text)) == config()


@pytest.mark.parametrize(("job", "command"), COMMANDS)
def test_documented_settings_are_valid(job: str, command: str) -> None:
    words = [word for word in shlex.split(command, comments=True)[2:] if not word.startswith("--")]
    assert load_config(JOBS[job][1], None, words)


def test_both_jobs_are_documented() -> None:
    assert {job for job, _ in COMMANDS} == set(JOBS)


@pytest.mark.parametrize("name", ["osie", "salicon", "mit1003", "cat2000"])
def test_shipped_picture_sets_are_valid(name: str) -> None:
    assert load_pictures(ROOT / "configs" / "datasets" / f"{name}.yaml").name == name


def test_every_reader_of_pictures_is_documented() -> None:
    text = (ROOT / "docs" / "pictures.md").read_text()
    assert set(PICTURE_READERS) <= set(re.findall(r"`(\w+)`", text))


def test_job_scripts_name_their_config() -> None:
    for job in JOBS:
        assert f'"{job}.yaml"' in (ROOT / "jobs" / f"{job}.py").read_text()
