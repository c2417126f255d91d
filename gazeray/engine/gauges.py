# SPDX-License-Identifier: Apache-2.0
"""How far a run is, as gauges of Ray: they stand in its dashboard, and where Prometheus reads the cluster, there."""

from __future__ import annotations

import re

from ray.util.metrics import Gauge

from gazeray.engine.tracking import numbers
from gazeray.unit import Json

RUN = ("job", "run")
UNIT = (*RUN, "unit")


class Gauges:
    """gazeray_units_total, _done, _failed of a run (tags job, run); of each unit (tag unit) what its last epoch says.

    That is gazeray_epoch, gazeray_train_loss, gazeray_validation_<metric>. Ray puts `ray_` before all names.
    """

    def __init__(self, job: str, run: str) -> None:
        self.tags = {"job": job, "run": run}
        self.counts = {"total": 0, "done": 0, "failed": 0}
        self._gauges: dict[str, Gauge] = {}

    def units(self, total: int, done: int) -> None:
        """So many more units, of which some were done before."""
        self._count(total=total, done=done, failed=0)

    def unit_event(self, name: str, kind: str, payload: Json) -> None:
        """Something happened to a unit."""
        if kind == "epoch":
            for key, value in numbers(payload):
                self._set(key, f"{key} of a unit's last epoch", value, UNIT, {**self.tags, "unit": name})
        elif kind == "done":
            self._count(done=1)
        elif kind in ("failed", "died"):
            self._count(failed=1)

    def _count(self, **more: int) -> None:
        for key, value in more.items():
            self.counts[key] += value
            self._set(f"units_{key}", f"units of the run: {key}", self.counts[key], RUN, self.tags)

    def _set(self, name: str, what: str, value: float, keys: tuple[str, ...], tags: dict[str, str]) -> None:
        name = re.sub(r"\W", "_", f"gazeray_{name}", flags=re.ASCII)
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, what, keys)
        self._gauges[name].set(value, tags)
