# SPDX-License-Identifier: Apache-2.0
"""The rules of the house: imports point down, Ray stays in the engine, files stay small."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "gazeray").rglob("*.py")) + sorted((ROOT / "jobs").glob("*.py"))

SCREEN_LINES = 60

FLOORS = {
    "jobs": 8,
    **dict.fromkeys(("engine", "studies"), 7),
    "learn": 6,
    **dict.fromkeys(("report", "synth", "study", "unit"), 5),
    **dict.fromkeys(("store", "gaze", "stimuli", "models", "explain"), 4),
    "weights": 3,
    **dict.fromkeys(("storage", "metrics"), 2),
    **dict.fromkeys(("config", "tables"), 1),
}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "jobs" else parts[1]


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "gazeray" and len(parts) > 1:
            assert FLOORS[parts[1]] <= FLOORS[here], f"{path.name} imports {name}, which is above it"
            assert not (here == "engine" and parts[1] == "studies"), f"the engine knows {name} by name"
            assert not (here == "studies" and parts[1] == "engine"), f"a study knows {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_ray_stays_in_the_engine(path: Path) -> None:
    if room(path) not in ("engine", "jobs"):
        assert not [name for name in imports(path) if name.split(".")[0] == "ray"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_untrusted_is_unpickled(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\bpickle\b|yaml\.load\(|allow_pickle=True", text)
    assert not re.search(r"torch\.load\((?![^()]*(\([^()]*\))?[^()]*weights_only=True)", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_licensed(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    assert not lines or any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_fit_on_a_screen(path: Path) -> None:
    for node in functions(path):
        lines = (node.end_lineno or 0) - node.lineno + 1
        assert lines <= SCREEN_LINES, f"{path.name}: {node.name} has {lines} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_links_of_the_docs_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_readme_names_the_two_commands_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in text
        assert f"\n{command}:" in makefile
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


def test_ci_runs_the_readme_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in wanted} - {project["name"]}
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    assert {name.lower().replace("_", "-") for name in names} <= pinned
