# SPDX-License-Identifier: Apache-2.0
"""ro-crate-metadata.json: it lists what is there and nothing else, and says what is not known to be not stated."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest

from gazeray.engine.run import draw
from gazeray.report.crate import CRATE, NOT_STATED, crate
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.pictures.report import write_saliency_report
from tests.jobs.test_run_tools import PROBES, READING, SCENES, make_run
from tests.report.crates import check, check_folder, entities

FILES = {
    "metrics.json": {"size": 12, "sha256": "ab" * 32},
    "maps/index.parquet": {"size": 3, "sha256": "cd" * 32},
    CRATE: {"size": 1, "sha256": ""},
}
MANIFEST: dict[str, Any] = {
    "job": "cv_heatmap",
    "study": "heatmap",
    "config": {"data": {"root": "/home/somebody/secret"}, "run": {"dir": "/home/somebody/runs"}},
    "config_hash": "0123456789",
    "command": "python jobs/cv_heatmap.py data.root=/home/somebody/secret",
    "seed": 7,
    "started": "2025-01-01T10:00:00+00:00",
    "finished": "2025-01-02T10:00:00+00:00",
    "earlier": [{"started": "2024-12-31T10:00:00+00:00"}],
    "versions": {"gazeray": "0.1.0", "python": "3.11.7", "torch": "2.8.0"},
    "git": {"commit": "ef" * 20, "dirty": True},
    "sources": "12" * 32,
    "units": {"fold-0": "done", "fold-1": "done"},
    "data": {"dataset": "words", "label": "group", "licence": None, "notes": [], "root": "/home/somebody/secret"},
}


def test_lists_files_and_folders_and_what_made_them() -> None:
    found = check(crate(MANIFEST, FILES))
    assert [one["@id"] for one in found["./"]["hasPart"]] == ["manifest.json", "metrics.json", "maps/", "units/"]
    assert found["metrics.json"]["sha256"] == "ab" * 32
    assert found["metrics.json"]["contentSize"] == "12"
    assert "sha256" not in found["manifest.json"], "it tells the hash of this very file"
    run = found["#run"]
    assert (run["startTime"], run["endTime"]) == ("2024-12-31T10:00:00+00:00", "2025-01-02T10:00:00+00:00")
    assert found["./"]["datePublished"] == "2025-01-02"
    assert run["instrument"] == {"@id": "#gazeray"}
    assert found["#gazeray"]["softwareVersion"] == "0.1.0"
    assert found["#commit"]["value"] == "ef" * 20
    assert "not committed" in found["#commit"]["description"]
    assert found["https://pypi.org/project/torch/"]["softwareVersion"] == "2.8.0"
    assert found["#seed"]["value"] == 7


def test_says_that_what_nobody_stated_is_not_stated() -> None:
    found = check(crate(MANIFEST, FILES))
    assert found["#licence"]["name"] == NOT_STATED
    assert found["#licence-of-the-data"]["name"] == NOT_STATED
    assert not found["#data"].keys() & {"identifier", "url", "version", "description"}
    assert not found["./"].keys() & {"author", "publisher"}
    assert "agent" not in found["#run"]


def test_names_the_data_set_as_its_declaration_does() -> None:
    published = {"doi": "10.1234/abc", "url": "https://example.org/words", "version": "1.2"}
    data = {**MANIFEST["data"], "licence": "CC-BY-4.0", "notes": ["a", "b"]}
    declared = {**data, "declaration": {"study": {"data": published}}}
    found = check(crate({**MANIFEST, "data": declared}, FILES))
    assert found["#licence-of-the-data"]["name"] == "CC-BY-4.0"
    own = found["#data"]
    assert (own["identifier"], own["url"], own["version"]) == ("https://doi.org/10.1234/abc", published["url"], "1.2")
    assert own["description"] == "a b"
    for nothing in ({"study": None}, {"study": {"data": None}}, {}, None):
        assert "identifier" not in check(crate({**MANIFEST, "data": {**data, "declaration": nothing}}, FILES))["#data"]


def test_tells_no_path_of_the_machine() -> None:
    assert "somebody" not in json.dumps(crate(MANIFEST, FILES))


def test_names_units_that_failed_but_not_why() -> None:
    failed = {**MANIFEST, "units": {"fold-0": "failed", "fold-1": "failed"}, "failures": {"fold-0": "/home/somebody/x"}}
    found = check(crate(failed, {}))
    assert found["#run"]["actionStatus"].endswith("FailedActionStatus")
    assert found["#run"]["error"] == "2 of 2 units failed: fold-0, fold-1"
    assert [one["@id"] for one in found["./"]["hasPart"]] == ["manifest.json"]
    assert check(crate(MANIFEST, FILES))["#run"]["actionStatus"].endswith("CompletedActionStatus")


@pytest.mark.nightly
@pytest.mark.slow
def test_archives_validator_finds_nothing(tmp_path: Path) -> None:
    """By roc-validator, whose requirements are at odds with ours: it has an environment of its own."""
    runs = {study: make_run(tmp_path / study, study, words)
            for study, words in (("heatmap", READING), ("score_maps", SCENES), ("probe_saliency", PROBES))}  # fmt: skip
    for study, run in runs.items():
        draw(run, write_report if study == "heatmap" else write_saliency_report)
        check_folder(run)
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [str(tmp_path / "venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "roc-validator==0.13.0"], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "rocrate", "rocrate==0.13.0"], check=True)
    context = tmp_path / "rocrate/rocrate/data/ro-crate.jsonld"  # that of 1.1, which the validator would fetch
    wrong = Folder(tmp_path / "wrong")
    broken = runs["heatmap"].read_json(CRATE)
    del entities(broken)["./"]["license"]
    wrong.write_json(CRATE, broken)

    def said_of(*folders: Folder) -> str:
        words = [context, *(folder.uri for folder in folders)]
        script = [pip[0], Path(__file__).with_name("check_crate.py"), *words]
        return subprocess.run(script, check=True, capture_output=True, text=True, cwd=tmp_path).stdout

    assert said_of(*runs.values()) == ""
    assert "MUST have a `license` property" in said_of(wrong)
