# SPDX-License-Identifier: Apache-2.0
"""Units on a real cluster: some raise, some kill their worker."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from rich.console import Console

from gazeray.config import JobConfig, ResourcesConfig, RunSettings
from gazeray.engine.experiment import Outcome, run
from gazeray.engine.progress import ProgressView
from gazeray.study import Items, Predictor, Source, Summary
from gazeray.unit import UnitSpec

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class UnitsAlone:
    """A study of no data: a predictor's units are all there is to do."""

    cfg: JobConfig
    predictor: Any

    name: ClassVar[str] = "units"

    def open(self) -> Source[None]:
        return Source(None, [])

    def passes(self, source: Any, store: Any) -> Iterator[Any]:
        yield from ()

    def items(self, source: Any, stores: Any) -> Items:
        return Items(pa.table({"item": ["one"]}), ("item",), [], "content", {"data": {}})

    def learning(self, ready: Any) -> None:
        return None

    def predictors(self, ready: Any) -> list[Predictor]:
        return [self.predictor]

    def summary(self, manifest: Any, finished: Any, ready: Any) -> Summary:
        return Summary({"rows": {}, "metrics_shown": [], "done": sorted(finished.done)}, {})


def predictor_of(names: Sequence[str], notes: str) -> Any:
    """Its units behave as their names say. Defined in here so that it travels to the workers by value."""

    class ByName:
        rows: ClassVar[dict[str, Any]] = {}
        round = 0

        def units(self) -> list[UnitSpec]:
            return [UnitSpec(name, {"add": len(name)}) for name in names]

        def run(self, unit: Any, worker: Any, out: Any) -> dict[str, Any]:
            with (Path(notes) / unit.name).open("a") as times:
                times.write("x")
            if unit.name == "raises":
                raise RuntimeError("this unit is broken")
            if unit.name == "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            return {"value": 7 + unit.spec["add"], "said": "it is over"}

    return ByName()


def test_units_survive_errors_and_killed_workers(ray_cluster: None, tmp_path: Path) -> None:
    notes, text = tmp_path / "notes", io.StringIO()
    notes.mkdir()
    cfg = JobConfig(resources=ResourcesConfig(workers=2), run=RunSettings(dir=str(tmp_path / "runs")))

    def run_them(*names: str) -> Outcome:
        study = UnitsAlone(cfg, predictor_of(names, str(notes)))
        return run(study, "units", ProgressView(Console(file=text, width=200)))  # type: ignore[arg-type]

    outcome = run_them("a", "raises", "b", "kills", "ccc")
    assert outcome.failed == {
        "raises": "RuntimeError: this unit is broken",
        "kills": "the worker process died 3 times at it",
    }
    assert outcome.metrics is not None
    assert outcome.metrics["done"] == ["a", "b", "ccc"]
    assert outcome.metrics["failed"] == ["kills", "raises"]
    assert outcome.run.read_json("units/ccc/result.json")["value"] == 10
    assert "this unit is broken" in outcome.run.read_json("units/raises/failure.json")["traceback"]
    assert (notes / "kills").read_text() == "xxx"
    assert (notes / "raises").read_text() == "x"
    assert not outcome.run.exists("ray"), "what Ray writes is scratch"
    assert "raises: failed: RuntimeError: this unit is broken" in text.getvalue()
    assert "kills: its worker died" in text.getvalue()

    times = {path.name: path.read_text() for path in notes.iterdir()}
    assert run_them("a", "b", "ccc").failed == {}
    assert {path.name: path.read_text() for path in notes.iterdir()} == times, "a finished unit was done again"
