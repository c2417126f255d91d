# SPDX-License-Identifier: Apache-2.0
"""Units on a real cluster: some raise, some kill their worker."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gazeray.config import PerUnit, ResourcesConfig
from gazeray.engine.progress import ProgressView
from gazeray.engine.queue import Unit
from gazeray.engine.units import run_units
from gazeray.storage import Folder

pytestmark = pytest.mark.slow


def make_work(notes: str) -> Any:
    """Work whose units behave as their names say. Defined in here so that it travels to the workers by value."""

    class Work:
        def open(self) -> dict[str, int]:
            return {"shared": 7}

        def run(self, shared: dict[str, int], unit: Any, folder: Any, device: Any) -> dict[str, Any]:
            with (Path(notes) / unit.name).open("a") as times:
                times.write("x")
            if unit.name == "raises":
                raise RuntimeError("this unit is broken")
            if unit.name == "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            return {"value": shared["shared"] + unit.spec["add"], "metrics": {}, "epochs": 1}

    return Work()


def test_units_survive_errors_and_killed_workers(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazeray.engine.units.MAX_DEATHS", 2)
    names = ["a", "raises", "b", "kills", "c"]
    units = [Unit(name, {"add": number}, f"hash-{name}") for number, name in enumerate(names)]
    notes, run = tmp_path / "notes", Folder(tmp_path / "run")
    notes.mkdir()
    resources = ResourcesConfig(per_unit=PerUnit(cpu=1), workers=2)
    text = io.StringIO()

    status = run_units(units, make_work(str(notes)), run, resources, ProgressView(Console(file=text, width=200)))

    assert {name for name, state in status.items() if state == "done"} == {"a", "b", "c"}
    assert status["raises"] == "RuntimeError: this unit is broken"
    assert status["kills"] == "the worker process died 2 times in this unit"
    assert run.read_json("units/c/result.json")["value"] == 11
    assert "this unit is broken" in run.read_json("units/raises/failure.json")["traceback"]
    assert (notes / "kills").read_text() == "xx"
    assert (notes / "raises").read_text() == "x"
    assert not run.exists("ray"), "what Ray writes is scratch"
    assert "raises: failed: RuntimeError: this unit is broken" in text.getvalue()
    assert "kills: its worker died" in text.getvalue()

    times = {path.name: path.read_text() for path in notes.iterdir()}
    again = run_units(units[:1], make_work(str(notes)), run, resources, ProgressView(Console(file=text, width=200)))
    assert again == {"a": "done"}
    assert {path.name: path.read_text() for path in notes.iterdir()} == times, "a finished unit was done again"
