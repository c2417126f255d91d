# SPDX-License-Identifier: Apache-2.0
"""Who hears of the units of a run beside the progress view: a tracker (TensorBoard, MLflow) and Ray's gauges.

A unit is a run of the tracker, with the config as its parameters, every epoch a step. All that a tracker shows stands
in metrics.jsonl and result.json too, so one that breaks is told of and left behind, and the run goes on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gazeray.config import ConfigError, TrackingConfig, masked
from gazeray.engine.run import RunFolder
from gazeray.storage import Folder
from gazeray.study import StudyConfig
from gazeray.unit import Json, Unit, UnitFolder

if TYPE_CHECKING:
    from gazeray.engine.gauges import Gauges

NEEDED = {
    "none": (),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),  # of the two the small package mlflow-skinny has none
}
"""The modules that a tracker is made of."""

PACKAGES = {"mlflow": "mlflow-skinny"}
"""What pip calls a module, where that is not its name."""

End = Literal["done", "failed", "died", "stopped"]
"""How a unit ended: it raised, took its workers down too often, or the run was stopped."""

ENDS: dict[str, End] = {"done": "done", "failed": "failed", "died": "died"}
"""The events that end a unit."""


class Tracker(Protocol):
    """Something that keeps curves, a run per unit. May raise whatever it likes."""

    def begin(self, unit: Unit) -> int:
        """The unit begins, or goes on in the run that it has; returns the last epoch that is to stay there, or 0."""

    def log(self, unit: Unit, values: Mapping[str, float], epoch: int) -> None:
        """What an epoch, or the end of the unit, has to say."""

    def end(self, unit: Unit, how: End) -> None:
        """The unit is over."""


# -- before anything is done


def check_tracking(cfg: TrackingConfig, runs: Folder) -> None:
    """Raises ConfigError where the tracker is not installed or cannot write to its place. runs: holds the runs."""
    missing = [PACKAGES.get(name, name) for name in NEEDED[cfg.tracker] if find_spec(name) is None]
    if missing:
        raise ConfigError([f"tracking.tracker: {cfg.tracker} is not installed: pip install {' '.join(missing)}"])
    if cfg.tracker != "none":
        place_of(cfg, runs)


def place_of(cfg: TrackingConfig, runs: Folder) -> str:
    """A local folder, or MLflow's tracking URI. Raises ConfigError where it would be a folder that is not local.

    By default one place for all runs, so that they can be compared. runs: holds them.
    """
    place = cfg.dir
    if cfg.tracker == "mlflow":
        place = place or os.environ.get("MLFLOW_TRACKING_URI")
        if place and "://" in place and not place.startswith("s3://"):
            return place
    folder = Folder(place) if place else runs.sub("tracking")
    if not folder.is_local:
        wanted = "a local folder" if cfg.tracker == "tensorboard" else "a local folder, or the URI of a tracking server"
        raise ConfigError([f"tracking.dir: {cfg.tracker} cannot write to {folder.uri}; name {wanted}"])
    return folder.arrow()[1]


# -- while the units are done


class Followers:
    """Pass on what happens to units. say: shows a line. tracker, gauges: None where there is none."""

    def __init__(self, tracker: Tracker | None, gauges: Gauges | None, say: Callable[[str], object]) -> None:
        self.tracker, self.gauges, self.say = tracker, gauges, say
        self._last: dict[str, int] = {}
        self._open: dict[str, Unit] = {}

    def units(self, total: int, done: int) -> None:
        """So many more units, of which some were done by an earlier run; of those nothing is heard."""
        if self.gauges is not None:
            self.gauges.units(total, done)

    def unit_event(self, out: UnitFolder, kind: str, payload: Json) -> None:
        """What the progress view hears too. Raises nothing that a tracker raises."""
        if self.gauges is not None:
            self.gauges.unit_event(out.unit.name, kind, payload)
        if self.tracker is not None:
            with self._left_alone_when_it_breaks():
                self._track(self.tracker, out, kind, payload)

    def close(self) -> None:
        """No unit is done any longer: what is still open was stopped."""
        if self.tracker is not None:
            with self._left_alone_when_it_breaks():
                for unit in self._open.values():
                    self.tracker.end(unit, "stopped")

    @contextmanager
    def _left_alone_when_it_breaks(self) -> Iterator[None]:
        """Whatever the tracker raises in the block is shown, and it hears nothing from then on."""
        try:
            yield
        except Exception as error:
            self.tracker = None
            reason = masked(" ".join(str(error).split()))[:300]
            self.say(f"tracking stopped, the run goes on without it: {type(error).__name__}: {reason}")

    def _track(self, tracker: Tracker, out: UnitFolder, kind: str, payload: Json) -> None:
        unit = out.unit
        if unit.name not in self._last:  # else it may go on after the death of its worker
            self._last[unit.name], self._open[unit.name] = tracker.begin(unit), unit
        if kind == "epoch":
            self._epochs(tracker, out, payload)
        elif kind == "done":
            self._epochs(tracker, out, None)
            tracker.log(unit, {f"result/{key}": value for key, value in numbers(payload)}, self._last[unit.name])
        if kind in ENDS:
            tracker.end(unit, ENDS[kind])
            del self._open[unit.name]

    def _epochs(self, tracker: Tracker, out: UnitFolder, record: Json | None) -> None:
        """An epoch, None: the last was there already, and those before it that nobody has heard of.

        Those were done under another driver, without a tracker or shortly before a kill.
        """
        name = out.unit.name
        records = [record] if record is not None and record["epoch"] == self._last[name] + 1 else out.history()
        for one in records:
            if one["epoch"] > self._last[name]:
                tracker.log(out.unit, dict(numbers(one)), one["epoch"])
                self._last[name] = one["epoch"]


@contextmanager
def followers(cfg: StudyConfig, folder: RunFolder, say: Callable[[str], object]) -> Iterator[Followers]:
    """Who hears of the units of a run, for the time of the block. Raises ConfigError where the tracker cannot begin."""
    gauges = None
    if cfg.resources.workers != 0:
        from gazeray.engine.gauges import Gauges  # here, since it needs Ray

        gauges = Gauges(folder.manifest["job"], folder.name)
    heard = Followers(tracker_of(cfg.tracking, folder, say), gauges, say)
    try:
        yield heard
    finally:
        heard.close()


def tracker_of(cfg: TrackingConfig, folder: RunFolder, say: Callable[[str], object]) -> Tracker | None:
    """The tracker of a run, None where none is wanted. Raises ConfigError where it cannot be made."""
    if cfg.tracker == "none":
        return None
    from gazeray.engine.trackers import Mlflow, TensorBoard

    place, params = place_of(cfg, folder.store), parameters(folder.manifest["config"])
    say(f"tracking: {cfg.tracker}, {masked(place)}")
    try:
        if cfg.tracker == "tensorboard":
            return TensorBoard(Path(place) / folder.name, params)
        return Mlflow(place, folder.manifest["job"], folder.name, folder.folder.uri, params)
    except Exception as error:  # a place that cannot be written, a URI it does not know, an installation that is broken
        reason = masked(" ".join(str(error).split()))[:300]
        raise ConfigError([f"tracking: {cfg.tracker} cannot begin: {type(error).__name__}: {reason}"]) from error


# -- as trackers take it


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """(dotted key, value) of every finite number in nested mappings; lists are left out."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{key}", float(value)


def parameters(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """A config as {dotted key: value}, without credentials; what is neither number nor text stands as JSON."""
    flat: dict[str, str | float | bool] = {}

    def add(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping) and value:
                add(value, f"{prefix}{key}.")
            else:
                flat[f"{prefix}{key}"] = value if isinstance(value, str | float | int) else json.dumps(value)

    add(json.loads(masked(json.dumps(config))), "")
    return flat
