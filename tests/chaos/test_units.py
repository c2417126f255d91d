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
from gazeray.engine.units import Unit, run_units
from gazeray.storage import Folder

pytestmark = pytest.mark.slow


def make_work(notes: str) -> Any:
    """Work whose units behave as their names say. Defined in here so that it travels to the workers by value."""

    class Work:
        def open(self) -> dict[str, int]:
            return {"shared": 7}

        def run(self, shared: dict[str, int], unit: Any, folder: Any, device: Any) -> dict[str, Any]:
            runs = Path(notes) / unit.name
            times = int(runs.read_text()) + 1 if runs.exists() else 1
            runs.write_text(str(times))
            if unit.name == "raises" and not (Path(notes) / "mended").exists():
                raise RuntimeError("this unit is broken")
            if unit.name == "kills-always" or (unit.name == "kills-once" and times == 1):
                os.kill(os.getpid(), signal.SIGKILL)
            return {"value": shared["shared"] + unit.spec["add"], "metrics": {}, "epochs": 1}

    return Work()


def test_units_survive_errors_and_killed_workers(ray_cluster: None, tmp_path: Path) -> None:
    names = ["a", "raises", "kills-once", "b", "kills-always", "c"]
    units = [Unit(name, {"add": number}, f"hash-{name}") for number, name in enumerate(names)]
    notes, run = tmp_path / "notes", Folder(tmp_path / "run")
    notes.mkdir()
    resources = ResourcesConfig(per_unit=PerUnit(cpu=1), workers=2)
    text = io.StringIO()

    status = run_units(units, make_work(str(notes)), run, resources, ProgressView(Console(file=text, width=200)))

    assert {name for name, state in status.items() if state == "done"} == {"a", "b", "c", "kills-once"}
    assert status["raises"] == "RuntimeError: this unit is broken"
    assert "died 3 times" in status["kills-always"]
    assert run.read_json("units/c/result.json")["value"] == 12
    assert "this unit is broken" in run.read_json("units/raises/failure.json")["traceback"]
    assert not run.exists("ray"), "what Ray writes is scratch"
    assert "raises: failed: RuntimeError: this unit is broken" in text.getvalue()
    assert "kills-once: its worker died" in text.getvalue()

    (notes / "mended").touch()
    before = {name: (notes / name).read_text() for name in ("a", "b", "c", "kills-once")}
    again = [unit for unit in units if unit.name != "kills-always"]
    status = run_units(again, make_work(str(notes)), run, resources, ProgressView(Console(file=text, width=200)))
    assert set(status.values()) == {"done"}
    assert {name: (notes / name).read_text() for name in before} == before, "a finished unit was done again"
    assert not run.exists("units/raises/failure.json")

    changed = [Unit("a", {"add": 100}, "another hash")]
    run_units(changed, make_work(str(notes)), run, resources, ProgressView(Console(file=text, width=200)))
    assert run.read_json("units/a/result.json")["value"] == 107
