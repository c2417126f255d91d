# SPDX-License-Identifier: Apache-2.0
"""Who drives a search's points: Ray Tune on a cluster, a loop in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from gazeray.config import ResourcesConfig
from gazeray.engine.progress import ProgressView
from gazeray.learn.fit import be_deterministic
from gazeray.learn.inner_search import InnerSearch, Point, rungs
from gazeray.study import Chosen

Drive = Callable[[InnerSearch, Sequence[Point], int, Callable[[], None]], None]
"""Works on some points up to an epoch and calls a function for each that has ended."""


def search(work: InnerSearch, drive: Drive, view: ProgressView) -> list[Chosen]:
    """The chosen setting and number of epochs of every outer fold.

    halving: all points of a rung are worked on up to its epochs before the best go on, so that the choice does not
    depend on how many workers ran. asha (Li et al. 2020): Tune's asynchronous scheduler; faster on many workers, and
    what it stops depends on who is first.

    Raises SearchError when every setting of a fold failed or a worker died again and again; StorageError.
    """
    for line in work.forget_damaged():
        view.line(line)
    alive = work.points()
    for until in rungs(work.search, work.train):
        todo = [point for point in alive if work.is_missing(point, until)]
        with view.stage(f"search up to epoch {until}", len(alive)) as stage:
            if len(todo) < len(alive):
                stage.step(len(alive) - len(todo))
            if todo:
                drive(work, todo, until, stage.step)
            failed = sum((work.trial(point) or {}).get("state") == "failed" for point in alive)
            stage.summary(f"{len(alive)} settings in {len(work.folds)} folds" + (f", {failed} failed" * bool(failed)))
        alive = work.survivors(alive, until)
    work.end()
    return [work.choose(fold) for fold in range(len(work.folds))]


def points_here(
    work: InnerSearch, points: Sequence[Point], until: int, device: torch.device, threads: int,
    step: Callable[[], None],
) -> None:  # fmt: skip
    """Work on some points in this process, one after the other."""
    be_deterministic(threads)
    for point in points:
        work.try_work(point, until, device, lambda record: None)
        step()


def points_on_tune(
    work: InnerSearch, points: Sequence[Point], until: int, resources: ResourcesConfig, step: Callable[[], None]
) -> None:
    """Work on some points on a cluster, see `gazeray.engine.tune`. Raises SearchError, StorageError."""
    from gazeray.engine import tune  # here, since it takes a second, and few runs search

    tune.points_on_tune(work, points, until, resources, step)
