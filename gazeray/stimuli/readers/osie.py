# SPDX-License-Identifier: Apache-2.0
"""OSIE's fixations.mat: a cell per picture with `img` and `subjects`, each with fix_x, fix_y.

Xu et al. (2014), Journal of Vision. Coordinates are px of the picture and are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from gazeray.gaze.files import identifier
from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.readers.base import FixationsSpec, Gaze, RawGaze, as_px, register_picture_reader
from gazeray.stimuli.readers.matlab import entered, load_mat, matrix
from gazeray.tables import Reject


@register_picture_reader("osie")
def read_osie(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read the file; see `PictureReader`. The observers are the places in `subjects`, 1, 2, ...

    Rejected (row: number of the cell, from 1): cells without name or fixations, a picture that is there again.
    Raises ReadError: not a MATLAB file, no variable `fixations`, no cell of it that can be used.
    """
    cells = load_mat(stream, source).get("fixations")
    if not isinstance(cells, list):
        raise ReadError(source, "no cell array `fixations`: not OSIE's file")
    gaze: dict[str, Gaze] = {}
    rejects: list[Reject] = []
    most = 0
    for row, cell in enumerate(cells, start=1):
        try:
            name, parts = _picture(cell, spec.offset_px)
        except (ValueError, TypeError, KeyError):
            rejects.append(Reject(source, row, "read", "the cell is not a picture with its fixations"))
            continue
        if name in gaze:
            rejects.append(Reject(source, row, "read", f"{name} is there again; the first is used", trial=name))
            continue
        most = max(most, len(parts))
        observer = np.repeat(np.arange(len(parts), dtype=np.int32), [x.size for x, _ in parts])
        x, y = (np.concatenate([part[axis] for part in parts]) for axis in (0, 1))
        gaze[name] = Gaze(x, y, observer)
    if not gaze:
        raise ReadError(source, "no picture with fixations in `fixations`: not OSIE's file")
    return RawGaze(gaze, [str(number + 1) for number in range(most)], rejects)


def _picture(cell: Any, offset_px: float) -> tuple[str, list[tuple[np.ndarray, np.ndarray]]]:
    """The name of a picture, and x and y (N,) px of each subject's fixations."""
    record = entered(cell)
    if not isinstance(record, dict) or not isinstance(record["img"], str):
        raise TypeError("no struct with a name")
    name, parts = identifier(record["img"]), []
    for subject in record["subjects"]:
        one = entered(subject)
        x, y = (as_px(matrix(one[axis], axis, name).reshape(-1), offset_px) for axis in ("fix_x", "fix_y"))
        if x.shape != y.shape:
            raise ValueError("fix_x and fix_y differ in length")
        parts.append((x, y))
    if not name or not parts:
        raise ValueError("no name or no subjects")
    return name, parts
