# SPDX-License-Identifier: Apache-2.0
"""Studies whose units stop in their midst until a file is there: what is done to them then hits them on any machine.

Nothing but the time that they take is different: run folder, hashes and numbers are those of the study itself. Run as
a script it is a job: python held.py GATE FREE JOB WORDS..., where FREE names the units that do not wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import cloudpickle

from gazeray.engine.cli import main
from gazeray.studies.emotion.study import EmotionConfig, EmotionStudy
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.probe_saliency.study import ProbeSaliencyConfig, ProbeSaliencyStudy
from gazeray.study import Predictor, Row
from gazeray.unit import Json, Unit, UnitFolder, UnitSpec, Worker

EPOCHS = 2
"""So many are done and saved before a unit waits."""

JOBS: dict[str, tuple[Any, Any]] = {
    "cv_heatmap": (HeatmapStudy, HeatmapConfig),
    "probe_saliency": (ProbeSaliencyStudy, ProbeSaliencyConfig),
    "cv_emotion": (EmotionStudy, EmotionConfig),
}


@dataclass(frozen=True)
class Held:
    """A predictor whose units wait for the gate after some epochs, all but the free ones."""

    inner: Predictor
    gate: str
    free: tuple[str, ...]

    @property
    def rows(self) -> Mapping[str, Row]:
        return self.inner.rows

    @property
    def round(self) -> int:
        return self.inner.round

    def units(self) -> Sequence[UnitSpec]:
        return self.inner.units()

    def run(self, unit: Unit, worker: Worker, out: UnitFolder) -> Json:
        told = out.tell

        def tell(kind: str, payload: Json) -> None:
            if told is not None:
                told(kind, payload)
            if payload.get("epoch") == EPOCHS:
                while not Path(self.gate).exists():
                    time.sleep(0.05)

        if unit.name not in self.free:
            out.tell = tell
        return self.inner.run(unit, worker, out)


def held(study: type[Any], gate: Path, free: Sequence[str]) -> type[Any]:
    """A study like this one, of which only the free units end before there is a file `gate`."""

    class HeldStudy(study):  # type: ignore[misc]
        def predictors(self, ready: Any) -> list[Held]:
            return [Held(one, str(gate), tuple(free)) for one in super().predictors(ready)]

    return HeldStudy


if __name__ == "__main__":
    place, names, job, *argv = sys.argv[1:]
    study, settings = JOBS[job]
    config = Path(__file__).parents[2] / "configs" / f"{job}.yaml"
    sys.exit(main(held(study, Path(place), names.split(",")), settings, job, config, lambda run: None, argv))

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import tests
