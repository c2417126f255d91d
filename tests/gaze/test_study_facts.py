# SPDX-License-Identifier: Apache-2.0
"""The section `study` of a declaration, right and wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gazeray.config import ConfigError, parse_yaml, validate
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.screens import ScreensSpec
from gazeray.gaze.study_facts import StudyFacts
from gazeray.stimuli.declaration import PictureSetSpec
from gazeray.synth.saliency import DECLARATION
from tests.gaze.tiny_dataset import DECLARED

DATASETS = sorted((Path(__file__).parents[2] / "configs/datasets").glob("*.yaml"))
FACTS: dict[str, Any] = {
    "population": {"who": "students", "asked": 40, "took_part": 32},
    "data": {"doi": "https://doi.org/10.5281/zenodo.1234", "url": "https://osf.io/abcde"},
    "tracker": {"make": "SR Research", "rate_hz": 1000},
}


def test_facts_are_read_and_a_doi_is_kept_without_its_resolver() -> None:
    spec = validate(DatasetSpec, {**DECLARED, "study": FACTS})
    assert spec.study is not None
    assert spec.study.data.doi == "10.5281/zenodo.1234"
    assert spec.study.tracker.rate_hz == 1000
    assert spec.study.sampling is None
    assert validate(DatasetSpec, spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    "before",
    ["", "doi:", "DOI: ", "DOI ", "doi.org/", "https://doi.org/", "http://dx.doi.org/", "https://www.doi.org/"],
)
def test_doi_is_known_however_it_is_written(before: str) -> None:
    doi = "10.1002/(SICI)1097-4571(199806)49:8<693::AID-ASI4>3.0.CO;2-O"
    assert StudyFacts.model_validate({"data": {"doi": before + doi}}).data.doi == doi


def test_every_kind_of_data_set_takes_them() -> None:
    screens = {"name": "s", "labels": {"c": {"C": "control", "P": "pseudoword"}}, "pictures": {"path": "*.png"}}
    for model, values in ((ScreensSpec, screens), (PictureSetSpec, DECLARATION)):
        assert validate(model, {**values, "study": FACTS}).study == StudyFacts.model_validate(FACTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{populaton: {}}", "study.populaton: unknown key; did you mean population?"),
        ("{tracker: {hz: 4}}", "allowed: eyes, filter, head_support, latency_ms, make, model, rate_hz"),
        ("{tracker: {rate_hz: 0}}", "study.tracker.rate_hz: input should be greater than 0"),
        ("{tracker: {rate_hz: 1 kHz}}", "study.tracker.rate_hz"),
        ("{tracker: {rate_hz: yes}}", "study.tracker.rate_hz: must be a number"),
        ("{tracker: {rate_hz: .inf}}", "study.tracker.rate_hz: input should be a finite number"),
        ("{calibration: {points: true}}", "study.calibration.points: must be a number"),
        ("{population: [students]}", "study.population: must be keys with values"),
        ("{data: {doi: 10.5281/zenodo.1.}}", "study.data.doi: must be a DOI"),
        ("{population: {asked: 3.5}}", "study.population.asked"),
        ("{preregistration: no}", "study.preregistration: must be text: write 'no' in quotes"),
        ("{ethics: '  '}", "study.ethics"),
        ("{data: {doi: zenodo.1234}}", "study.data.doi: must be a DOI"),
        ("{data: {doi: https://zenodo.org/10.5281/zenodo.1}}", "study.data.doi: must be a DOI"),
        ("{data: {doi: 10.5281/}}", "study.data.doi: must be a DOI"),
        ("{data: {paper: 10.5281/a b}}", "study.data.paper: must be a DOI"),
        ("{data: {url: osf.io/abcde}}", "study.data.url: must be an address"),
        ("{data: {url: 'https://lab'}}", "study.data.url: must be an address"),
        ("{data: {url: 'https://me:secret@osf.io/abcde'}}", "study.data.url: must be an address"),
    ],
)
def test_mistakes_name_themselves_and_what_is_allowed(text: str, said: str) -> None:
    values = parse_yaml(f"study: {text}", "d.yaml")
    values.update(DECLARED)
    with pytest.raises(ConfigError) as caught:
        validate(DatasetSpec, values, "d.yaml")
    assert len(caught.value.errors) == 1
    assert said in caught.value.errors[0]


def test_example_of_the_docs_states_every_fact() -> None:
    text = (Path(__file__).parents[2] / "docs/data.md").read_text()
    (example,) = re.findall(r"^```yaml\n(study:.*?)^```", text, re.DOTALL | re.MULTILINE)
    facts = validate(DatasetSpec, {**DECLARED, **yaml.safe_load(example)}).study
    assert facts is not None
    told = facts.model_dump()
    assert None not in told.values()
    assert all(None not in part.values() for part in told.values() if isinstance(part, dict))


@pytest.mark.parametrize("path", DATASETS, ids=lambda path: path.stem)
def test_shipped_data_sets_state_what_is_known(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    model: Any = DatasetSpec if "trials" in values else ScreensSpec if "labels" in values else PictureSetSpec
    study = validate(model, values, path.name).study
    assert study not in (None, StudyFacts())
