# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest
from rich.console import Console

from gazeray.engine import progress
from gazeray.engine.progress import ProgressView


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def view_of(terminal: bool) -> tuple[ProgressView, io.StringIO]:
    text = io.StringIO()
    return ProgressView(Console(file=text, width=160, force_terminal=terminal, markup=False, highlight=False)), text


def test_plain_lines_say_what_is_done_how_well_and_how_long_it_takes(clock: Clock) -> None:
    view, text = view_of(terminal=False)
    with view.live():
        view.units(total=4, done=1)
        clock.now += 60  # starting the workers is not the pace of the units
        view.unit_event("fold-1", "started", {"rank": 0})
        clock.now += 30
        record = {"epoch": 10, "validation_loss": 0.4321, "validation_balanced_accuracy": 0.75}
        view.unit_event("fold-1", "epoch", record)
        view.unit_event("fold-1", "done", {"epochs": 12, "validation_loss": 0.4, "metrics": {"balanced_accuracy": 0.8}})
        view.unit_event("fold-2", "failed", {"error": "RuntimeError: no"})
    lines = text.getvalue().splitlines()
    assert lines[0] == "0:00  units: 4 in all, 1 done before; starting the workers"
    assert "fold-1 epoch 10: validation loss 0.432, validation balanced accuracy 0.750" in lines[2]
    assert "fold-1: done in 30.0 s (12 epochs" in lines[3]
    assert "test balanced accuracy 0.800); 2 of 4, about 1:00 left" in lines[3]
    assert "fold-2: failed: RuntimeError: no; 3 of 4, about 0:15 left" in lines[4]


def test_stage_tells_its_steps_and_the_time_left(clock: Clock) -> None:
    view, text = view_of(terminal=False)
    with view.live(), view.stage("reading", total=20) as stage:
        for _ in range(20):
            clock.now += 1
            stage.step()
        stage.summary("all well")
    shown = text.getvalue()
    assert "reading: 20 to do" in shown
    assert "reading: 10 of 20, about 0:10 left" in shown
    assert shown.splitlines()[-1] == "0:20  reading done in 20.0 s: all well"


def test_terminal_shows_bars_with_the_last_score() -> None:
    view, text = view_of(terminal=True)
    with view.live():
        view.units(total=2, done=0)
        view.unit_event("fold-0", "started", {"rank": 0})
        view.unit_event("fold-0", "epoch", {"epoch": 1, "validation_loss": 0.5})
    shown = text.getvalue()
    assert "units" in shown
    assert "0/2" in shown
    assert "fold-0 epoch 1: validation loss 0.500" in shown


def test_markup_in_names_is_shown_as_it_is() -> None:
    view, text = view_of(terminal=False)
    view.line("reader [bold]R1[/bold] [/nonsense]")
    assert "reader [bold]R1[/bold] [/nonsense]" in text.getvalue()


def test_stage_that_raises_is_not_called_done() -> None:
    view, text = view_of(terminal=False)
    with pytest.raises(RuntimeError), view.live(), view.stage("reading", total=2):
        raise RuntimeError("broken")
    assert "done" not in text.getvalue()
