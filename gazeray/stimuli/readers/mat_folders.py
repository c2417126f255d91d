# SPDX-License-Identifier: Apache-2.0
"""One MATLAB file for each picture, or for each picture and observer: MIT1003, CAT2000, SALICON and sets like them.

MIT1003 (Judd et al. 2009, ICCV): DATA/<observer>/<picture>.mat, a struct with raw samples in px at 240 Hz.
CAT2000 (Borji & Itti 2015): FIXATIONLOCS/<category>/<picture>.mat, a binary map of all observers' fixations.
SALICON (Jiang et al. 2015, CVPR; edition of 2017): <picture>.mat, `gaze` is an array of structs, one per worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from gazeray.gaze.events import EventsConfig, detect
from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.readers.base import NO_OBSERVER, FixationsSpec, Gaze, RawGaze, as_px, register_picture_reader
from gazeray.stimuli.readers.matlab import NOTHING, elements, load_mat, matrix

NO_PLACE = np.empty(0, np.float32)

BY_PLACE = (
    "the observers of a picture are the elements of {variable}, numbered by their place: a number need not be the same "
    "person on another picture"
)


@register_picture_reader(
    "mat_folders",
    keys=("variable", "holds", "detect", "skip_first", "offset_px"),
    in_path=("stimulus", "category", "observer"),
    needed=("stimulus",),
)
def read_mat_folders(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read one file; see `PictureReader`. What `spec.variable` names is, by `spec.holds`:

    fixations   (N, 2 or more): x, y in the first two columns, px
    samples     the same for raw samples, at `spec.detect.sampling_hz`; fixations are found by dispersion
    map         (H, W): a fixation at the centre of every pixel that is not 0; repeated ones cannot be told

    Of a cell or struct array of several elements each is an observer, called by its place: 1, 2, ...; one that is
    empty has no fixations.
    Raises ReadError: not a MATLAB file, no such variable, not a matrix of that shape, several elements that are not
    empty though the path names the observer.
    """
    values = elements(load_mat(stream, source), spec.variable, source)
    several = len(values) > 1
    if "observer" in fixed:
        values = [value for value in values if value is not NOTHING]
        if len(values) > 1:
            raise ReadError(source, f"{spec.variable} has {len(values)} elements where the path names one observer")
        names, several = [fixed["observer"]], False
    else:
        names = [str(place + 1) for place in range(len(values))] if several else []
    what = [f"{spec.variable}, element {place + 1}" if several else spec.variable for place in range(len(values))]
    parts = [_fixations(value, name, spec, source) for value, name in zip(values, what, strict=True)]
    counts = np.array([len(x) for x, _ in parts], np.int64)
    x, y = (np.concatenate([NO_PLACE, *(part[axis] for part in parts)]) for axis in (0, 1))
    codes = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
    codes = codes if names else np.full_like(codes, NO_OBSERVER)
    notes = [BY_PLACE.format(variable=spec.variable)] if several else []
    return RawGaze({fixed["stimulus"]: Gaze(x, y, codes)}, names, notes=notes)


def _fixations(value: Any, what: str, spec: FixationsSpec, source: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y (N,) float32 px of one observer. Raises ReadError."""
    values = matrix(value, what, source)
    if not values.size:
        return NO_PLACE, NO_PLACE
    if spec.holds == "map":
        rows, columns = np.nonzero(np.nan_to_num(values))
        return as_px(columns + 0.5, 0), as_px(rows + 0.5, 0)
    if values.shape[1] < 2:
        raise ReadError(source, f"{what} has {values.shape[1]} column, not x and y")
    x, y = values[:, 0], values[:, 1]
    if spec.detect:
        samples = {"timestamp_ms": np.arange(len(x)) * (1e3 / spec.detect.sampling_hz), "x_px": x, "y_px": y}
        found = detect(samples, None, EventsConfig(**spec.detect.model_dump(exclude={"sampling_hz"}))).fixations
        x, y = found["x_px"], found["y_px"]
    return as_px(x[spec.skip_first :], spec.offset_px), as_px(y[spec.skip_first :], spec.offset_px)
