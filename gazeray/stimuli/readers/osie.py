# SPDX-License-Identifier: Apache-2.0
"""OSIE's fixations.mat: a cell per picture with `img` and `subjects`, each with fix_x, fix_y.

Xu et al. (2014), Journal of Vision. Coordinates are px of the picture and are taken as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.readers.base import (
    FixationsSpec,
    Gaze,
    RawGaze,
    as_px,
    checked_name,
    in_words,
    register_picture_reader,
)
from gazeray.stimuli.readers.matlab import NOTHING, alone, load_mat
from gazeray.tables import Reject


@register_picture_reader("osie", keys=("offset_px",))
def read_osie(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read the file; see `PictureReader`. The observers are the places in `subjects`, 1, 2, ...

    Rejected (row: number of the cell, from 1): cells without name or fixations, a picture that is there again.
    Raises ReadError: not a MATLAB file, no variable `fixations`, no cell of it that can be used.
    """
    cells = alone(load_mat(stream, source).get("fixations"))
    if not isinstance(cells, (list, dict)):
        raise ReadError(source, "no cell array `fixations`: not OSIE's file")
    gaze: dict[str, Gaze] = {}
    rejects: list[Reject] = []
    most = 0
    for row, cell in enumerate(cells if isinstance(cells, list) else [cells], start=1):
        try:
            name, parts = _picture(alone(cell), spec.offset_px)
        except Exception as error:
            told = str(error) if type(error) is ValueError else in_words(error)
            rejects.append(Reject(source, row, "read", f"the cell is not a picture with its fixations: {told}"))
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


def _picture(record: Any, offset_px: float) -> tuple[str, list[tuple[np.ndarray, np.ndarray]]]:
    """The name of a picture, and x and y (N,) px of each subject's fixations. Raises ValueError."""
    if not isinstance(record, dict) or not isinstance(record.get("img"), str) or "subjects" not in record:
        raise ValueError("no struct with img and subjects")
    name, subjects = checked_name(record["img"]), alone(record["subjects"])
    if isinstance(subjects, dict):
        subjects = [subjects]
    if not isinstance(subjects, list) or not subjects:
        raise ValueError("subjects are no cells or structs")
    parts = [_subject(alone(subject), place, offset_px) for place, subject in enumerate(subjects, start=1)]
    return name, parts


def _subject(subject: Any, place: int, offset_px: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y (N,) px of the fixations of a subject; none of one who is empty. Raises ValueError."""
    if subject is NOTHING or (isinstance(subject, list) and not subject):
        return as_px(np.empty(0), 0), as_px(np.empty(0), 0)
    if not isinstance(subject, dict) or not {"fix_x", "fix_y"} <= set(subject):
        raise ValueError(f"subject {place} is not one struct with fix_x and fix_y")
    x, y = (alone(subject[axis]) for axis in ("fix_x", "fix_y"))
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        raise ValueError(f"fix_x and fix_y of subject {place} are not numbers")
    if x.shape != y.shape or (x.size and x.size != max(x.shape)):
        raise ValueError(f"fix_x and fix_y of subject {place} are not two vectors of one length")
    return as_px(x.reshape(-1), offset_px), as_px(y.reshape(-1), offset_px)
