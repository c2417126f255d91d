# SPDX-License-Identifier: Apache-2.0
"""Is an RO-Crate whole: does every id lead somewhere, and is it what lies in its folder?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gazeray.report.crate import ABOUT, CRATE
from gazeray.storage import Folder


def entities(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {entity["@id"]: entity for entity in of["@graph"]}
    assert len(found) == len(of["@graph"]), "an id stands for one thing"
    return found


def references(value: object) -> list[str]:
    """Every id that a value points to."""
    if isinstance(value, dict):
        return [value["@id"]] if value.keys() == {"@id"} else [one for own in value.values() for one in references(own)]
    return [one for own in value for one in references(own)] if isinstance(value, list) else []


def check(of: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its entities, once all that they point to is known to be there."""
    found = entities(of)
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert {one for entity in found.values() for one in references(entity)} <= found.keys() | outside
    root = found["./"]
    assert all(root[key] for key in ("name", "description", "datePublished", "license"))
    parts = {one["@id"] for one in root["hasPart"]}
    assert parts == {one for one, entity in found.items() if "name" in entity and entity["name"] == one}
    assert {one["@id"] for one in found["#run"]["result"]} == parts
    return found


def check_folder(run: Folder) -> dict[str, dict[str, Any]]:
    """The crate of a run folder: what it lists is there, all that is there is listed, and no word leads elsewhere."""
    found = check(run.read_json(CRATE))
    parts = {one["@id"] for one in found["./"]["hasPart"]}
    there = {stat.path for stat in run.list()} - {CRATE}
    assert parts == {path if "/" not in path else f"{path.partition('/')[0]}/" for path in there}
    assert parts <= ABOUT.keys(), "everything is described"
    for path in parts - {"manifest.json"}:
        assert path.endswith("/") or found[path]["sha256"] == run.sha256(path)
    assert str(Path(run.uri).parent) not in run.read_text(CRATE)
    return found
