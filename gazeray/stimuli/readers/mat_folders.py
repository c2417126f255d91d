# SPDX-License-Identifier: Apache-2.0
"""One MATLAB file for each picture, or for each picture and observer: MIT1003, CAT2000 and sets laid out like them.

MIT1003 (Judd et al. 2009, ICCV): DATA/<observer>/<picture>.mat, a struct with raw samples in px at 240 Hz.
CAT2000 (Borji & Itti 2015): FIXATIONLOCS/<category>/<picture>.mat, a binary map of all observers' fixations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from gazeray.gaze.events import EventsConfig, detect
from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.readers.base import NO_OBSERVER, FixationsSpec, Gaze, RawGaze, as_px, register_picture_reader
from gazeray.stimuli.readers.matlab import load_mat, matrix, variable


@register_picture_reader(
    "mat_folders",
    keys=("variable", "holds", "detect", "skip_first"),
    in_path=("stimulus", "category", "observer"),
    needed=("stimulus",),
)
def read_mat_folders(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read one file; see `PictureReader`. What `spec.variable` names is, by `spec.holds`:

    fixations   (N, 2 or more): x, y in the first two columns, px
    samples     the same for raw samples, at `spec.detect.sampling_hz`; fixations are found by dispersion
    map         (H, W): a fixation at the centre of every pixel that is not 0; repeated ones cannot be told

    Raises ReadError: not a MATLAB file, no such variable, not a matrix of that shape.
    """
    values = matrix(variable(load_mat(stream, source), spec.variable, source), spec.variable, source)
    if spec.holds == "map":
        rows, columns = np.nonzero(np.nan_to_num(values))
        x, y = columns + 0.5, rows + 0.5
    else:
        if values.size and values.shape[1] < 2:
            raise ReadError(source, f"{spec.variable} has {values.shape[1]} column, not x and y")
        x, y = (values[:, 0], values[:, 1]) if values.size else (np.empty(0), np.empty(0))
        if spec.detect:
            samples = {"timestamp_ms": np.arange(len(x)) * (1e3 / spec.detect.sampling_hz), "x_px": x, "y_px": y}
            found = detect(samples, None, EventsConfig(**spec.detect.model_dump(exclude={"sampling_hz"}))).fixations
            x, y = found["x_px"], found["y_px"]
    x, y = (as_px(part[spec.skip_first :], spec.offset_px) for part in (x, y))
    known = "observer" in fixed
    gaze = Gaze(x, y, np.full(len(x), 0 if known else NO_OBSERVER, np.int32))
    return RawGaze({fixed["stimulus"]: gaze}, [fixed["observer"]] if known else [])
