# SPDX-License-Identifier: Apache-2.0
"""A study's passes, or all of it, in this process."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import torch
from rich.console import Console

from gazeray.engine.experiment import Outcome, run
from gazeray.engine.progress import ProgressView
from gazeray.engine.validate import validate_run
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies import study_of
from gazeray.study import Pass, Study

T = TypeVar("T")


def in_this_process(passes: Generator[Pass, Store, T]) -> tuple[T, list[Pass]]:
    """Do passes one after the other; what they end with, and the passes."""
    seen: list[Pass] = []
    try:
        work = next(passes)
        while True:
            seen.append(work)
            if work.pieces:
                do = work.make(torch.device("cpu"))
                for piece in work.pieces:
                    do(piece)
            work = passes.send(Store.open(work.folder, work.keys))
    except StopIteration as end:
        ended: T = end.value
        return ended, seen


def whole(study: Study[Any, Any], failed: int = 0) -> Outcome:
    """Run a study whose config says workers=0."""
    assert study.cfg.resources.workers == 0
    outcome = run(study, study.name, ProgressView(Console(quiet=True)))
    assert len(outcome.failed) == failed, outcome.failed
    return outcome


def faults(run: Folder) -> list[str]:
    """What is wrong with a run folder whose report is not drawn yet."""
    return [line for line in validate_run(run, study_of) if not line.startswith("report.html: missing")]
