# SPDX-License-Identifier: Apache-2.0
"""Progress for people: a live view on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressView:
    """Stages, units done of total, the last validation score and the time left. took: seconds of what is over.

    On a terminal the bars live at the bottom and one line per event scrolls above; elsewhere there are only the lines.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False)
        self.started = time.monotonic()
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._units: TaskID | None = None
        self._unit_starts: dict[str, float] = {}
        self._units_started = 0.0
        self._done_before = self._done = self._total = 0
        self.took: dict[str, float] = {}

    @contextmanager
    def live(self) -> Iterator[ProgressView]:
        """Show the live view (on a terminal) for the time of the block."""
        with self._bars:
            yield self

    def line(self, text: str) -> None:
        """One line, with the time since the start."""
        self.console.print(f"{_clock(time.monotonic() - self.started)}  {text}")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to `took`."""
        began = time.monotonic()
        yield
        self.took[name] = self.took.get(name, 0.0) + time.monotonic() - began

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        """A stage of the job; `total` steps, when they can be counted."""
        stage = Stage(self, name, total)
        with self.timed(name):
            yield stage
        self._bars.remove_task(stage.task)
        self.line(f"{name} done in {time.monotonic() - stage.began:.1f} s{stage.said}")

    def units(self, total: int, done: int) -> None:
        """The units begin: how many there are and how many were done by an earlier run."""
        self._total, self._done, self._done_before = total, done, done
        self._units_started = 0.0
        self._units = self._bars.add_task("units", total=total, completed=done, note="")
        kept = f", {done} done before" if done else ""
        start = "; starting the workers" if done < total else ""
        self.line(f"units: {total} in all{kept}{start}")

    def unit_event(self, name: str, kind: str, payload: Mapping[str, Any]) -> None:
        """Something happened to a unit: started, epoch, note, interrupted, died, failed or done."""
        if kind == "started":
            self._unit_starts[name] = time.monotonic()
            self._units_started = self._units_started or time.monotonic()
            self.line(f"{name}: started")
        elif kind == "epoch":
            self._note(name, payload)
        elif kind == "note":
            self.line(f"{name}: {payload['text']}")
        elif kind == "interrupted":
            self.line(f"{name}: its worker died; it goes on from its last epoch")
        elif kind in ("failed", "died"):
            self._over(f"{name}: failed: {payload['error']}")
        elif kind == "done":
            seconds = time.monotonic() - self._unit_starts.get(name, time.monotonic())
            epochs = f"{payload['epochs']} epochs" if "epochs" in payload else ""
            said = payload.get("said") or "; ".join(part for part in (epochs, _scores(payload)) if part)
            self._over(f"{name}: done in {seconds:.1f} s" + f" ({said})" * bool(said))

    def _note(self, name: str, record: Mapping[str, Any]) -> None:
        text = f"{name} epoch {record['epoch']}: {_scores(record)}"
        if self._units is not None:
            self._bars.update(self._units, note=f"{text}, {self.time_left()}")
        if not self.console.is_terminal and record["epoch"] % 10 == 0:
            self.line(text)

    def _over(self, text: str) -> None:
        self._done += 1
        if self._units is not None:
            self._bars.update(self._units, completed=self._done, note=self.time_left())
        self.line(f"{text}; {self._done} of {self._total}, {self.time_left()}")

    def time_left(self) -> str:
        """The time left at the pace of the units so far, in words."""
        ours = self._done - self._done_before
        if self._done >= self._total:
            return "none left"
        if not ours:
            return "time left unknown yet"
        pace = (time.monotonic() - self._units_started) / ours
        return f"about {_clock(pace * (self._total - self._done))} left"


class Stage:
    """One stage under way."""

    def __init__(self, view: ProgressView, name: str, total: int | None) -> None:
        self.view, self.name, self.total, self.count = view, name, total, 0
        self.began, self.said = time.monotonic(), ""
        self.task = view._bars.add_task(name, total=total, note="")
        view.line(f"{name} ..." if total is None else f"{name}: {total} to do")

    def step(self, count: int = 1) -> None:
        """So many more steps are done."""
        self.count += count
        self.view._bars.update(self.task, completed=self.count)
        tenth = max(1, (self.total or 1) // 10)
        if self.total and not self.view.console.is_terminal and self.count % tenth == 0 and self.count < self.total:
            left = (time.monotonic() - self.began) / self.count * (self.total - self.count)
            self.view.line(f"{self.name}: {self.count} of {self.total}, about {_clock(left)} left")

    def summary(self, text: str) -> None:
        """What to say when the stage ends."""
        self.said = f": {text}"


def headline(record: Mapping[str, Any]) -> dict[str, float]:
    """The scores worth a line: those of validation, and of the test once there are some."""
    scores = {key: value for key, value in record.items() if key.startswith("validation_") and value is not None}
    if not scores and "train_loss" in record:  # a refit: nobody is left to validate on
        scores = {"train_loss": record["train_loss"]}
    scores |= {f"test {key}": value for key, value in record.get("metrics", {}).items() if key == "balanced_accuracy"}
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def _scores(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in headline(record).items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
