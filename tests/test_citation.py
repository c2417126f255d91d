# SPDX-License-Identifier: Apache-2.0
"""CITATION.cff says what pyproject.toml says, and makes nothing up."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gazeray.config import read_yaml

ROOT = Path(__file__).parents[1]

REQUIRED = {"cff-version", "message", "title", "authors"}
"""By the schema of the Citation File Format, 1.2.0; the whole file was checked by cffconvert 2.0.0."""


def test_citation_agrees_with_the_project() -> None:
    cited = read_yaml(ROOT / "CITATION.cff")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited.keys() >= REQUIRED
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert (cited["title"], cited["version"], cited["license"]) == (
        project["name"], project["version"], project["license"])  # fmt: skip
    assert all(author["name"] for author in cited["authors"])
    assert not cited.keys() & {"doi", "url", "identifiers", "repository-code"}, "there are none yet"
