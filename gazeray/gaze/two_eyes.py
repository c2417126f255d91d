# SPDX-License-Identifier: Apache-2.0
"""Two files that hold the two eyes of one recording, as one: those whose paths differ in {eye} alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from gazeray.gaze.files import EYE
from gazeray.gaze.readers.base import COORDINATES, GazeTable, ReadError
from gazeray.gaze.readers.spec import GazeSpec

SIDES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
"""What {eye} may stand for, in whatever capitals."""


def side_of(table: GazeTable, ids: Mapping[str, str]) -> str:
    """Which eye a file holds: what it says itself, else what {eye} stands for in its path; "" where neither says."""
    return table.eye or SIDES.get(ids.get(EYE, "").lower(), "")


def one_of_two(files: list[tuple[str, Mapping[str, str], GazeTable]], spec: GazeSpec) -> tuple[str, GazeTable]:
    """The path and the table that stand for the files (path, ids of the path, table) of a recording's eyes.

    best: the eye with fewer lost samples (fixations: that which fixated longer), the first when equal. mean: of samples
    of the same times, where both eyes are there, else the one that is. Raises ReadError: two files of the same eye, no
    file of the eye asked for, more than two files and no eye asked for, a mean of fixations or of eyes whose clocks
    differ.
    """
    path, ids, table = files[0]
    sides = [side_of(own, named) for _, named, own in files]
    own = [index for index, side in enumerate(sides) if side == spec.eye]
    if max(sides.count("left"), sides.count("right")) > 1 or (len(files) > 2 and not own):
        called = ", ".join(side or "an unnamed eye" for side in sides)
        raise ReadError(path, f"{len(files)} files of {called}: not two eyes{'' if own else '; ask for left or right'}")
    if spec.eye in ("left", "right"):
        if not own and any(sides):
            raise ReadError(path, f"no file of the {spec.eye} eye (there: {', '.join(sides)})")
        if not own:
            stands = f"{{eye}} stands for {ids.get(EYE, '')!r}, none of {', '.join(SIDES)}"
            raise ReadError(path, f"which file is of the {spec.eye} eye? {stands}")
        return files[own[0]][0], files[own[0]][2]
    if len(files) == 1:
        return path, table
    first, second = files[0][2], files[1][2]
    if spec.eye == "mean":
        return path, _mean(path, first, second, spec)
    worth = [_worth(own, spec) for own in (first, second)]
    chosen = 0 if worth[0] >= worth[1] else 1
    name = sides[chosen] or files[chosen][1].get(EYE, "")
    note = f"both eyes are there, a file each; the better one is used: {name}"
    return files[chosen][0], replace(files[chosen][2], notes=[*files[chosen][2].notes, note])


def _worth(table: GazeTable, spec: GazeSpec) -> float:
    """How much gaze a file holds: samples that are not lost; of fixations, ms."""
    there = ~np.isnan(table.columns["x_px"])
    return float(there.sum() if spec.kind == "samples" else table.columns["duration_ms"][there].sum())


def _mean(path: str, first: GazeTable, second: GazeTable, spec: GazeSpec) -> GazeTable:
    """The first table with the mean gaze of both; the channels are those of both."""
    if spec.kind != "samples":
        raise ReadError(path, "fixations of two eyes begin at different times and have no mean: ask for one eye")
    same = len(first.rows) == len(second.rows) and np.array_equal(first.rows, second.rows)
    if not same or not np.array_equal(first.columns["timestamp_ms"], second.columns["timestamp_ms"]):
        raise ReadError(path, "the two eyes have other times, and no mean: ask for one eye")
    columns = {**second.columns, **first.columns}
    there = [~(np.isnan(own.columns["x_px"]) | np.isnan(own.columns["y_px"])) for own in (first, second)]
    n = there[0].astype(int) + there[1]
    for name in COORDINATES:
        total = sum(np.where(ok, own.columns[name], 0.0) for ok, own in zip(there, (first, second), strict=True))
        columns[name] = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    notes = [*first.notes, "both eyes are there, a file each; their mean is used"]
    accuracy = first.accuracy or second.accuracy
    if first.accuracy and second.accuracy and first.ids == second.ids:
        accuracy = [{**other, **one} for one, other in zip(first.accuracy, second.accuracy, strict=True)]
    return replace(first, columns=columns, notes=notes, units={**second.units, **first.units}, accuracy=accuracy)
