# SPDX-License-Identifier: Apache-2.0
"""Tables of fixations on pictures: csv, tsv or Parquet, plain or gzipped, one row per fixation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from gazeray.gaze.readers.base import ReadError, unpacked
from gazeray.gaze.readers.cells import Numbers, as_numbers, parquet_columns, row_rejects
from gazeray.gaze.readers.delimited import DICTIONARY, read_columns
from gazeray.gaze.readers.names import fault_of_name, names_in, unusable_names
from gazeray.gaze.readers.spec import FileSpec
from gazeray.stimuli.readers.base import (
    NO_OBSERVER,
    FixationsSpec,
    Gaze,
    RawGaze,
    as_px,
    register_picture_reader,
)
from gazeray.tables import Reject

NAMES = ("stimulus", "observer")


@register_picture_reader(
    "table", keys=("columns", "delimiter", "offset_px"), in_path=("stimulus", "category", "observer")
)
def read_picture_table(stream: BinaryIO, source: str, spec: FixationsSpec, fixed: Mapping[str, str]) -> RawGaze:
    """Read one table; see `PictureReader`.

    Rejected by row: another number of fields than the header has, no stimulus, no observer where a column holds them, a
    name that `checked_name` refuses, x_px or y_px that is no number.
    Raises ReadError: empty, damaged, not UTF-8, no rows, a column that is missing or does not hold numbers.
    """
    data = unpacked(stream.read(), source)
    wanted = {ours: theirs for ours, theirs in spec.columns.items() if ours not in fixed}
    if data[:4] == b"PAR1":
        table, rejects = parquet_columns(data, source, list(wanted.values())), list[Reject]()
        rows = np.arange(1, table.num_rows + 1)
    else:
        kinds = {theirs: DICTIONARY if ours in NAMES else pa.float64() for ours, theirs in wanted.items()}
        text = FileSpec(path=spec.path, delimiter=spec.delimiter)
        table, rows, _, rejects = read_columns(data, source, text, kinds)
    names: dict[str, list[str]] = {name: [fixed[name]] if name in fixed else [] for name in NAMES}
    codes = {name: np.full(len(rows), 0 if name in fixed else NO_OBSERVER, np.int32) for name in NAMES}
    faulty = np.zeros(len(rows), bool)
    for name in NAMES:
        if name in wanted:
            cells = table[wanted[name]]
            bad = unusable_names(source, wanted[name], cells)
            if bad is not None:
                fault = partial(fault_of_name, cells)
                _reject(source, rows, bad, faulty, lambda at, n=name, f=fault: f"{n}: {f(at)}", rejects)
            (*names[name], _), code = names_in(source, wanted[name], cells)
            codes[name] = np.where(code == len(names[name]), NO_OBSERVER, code).astype(np.int32)
            _reject(source, rows, codes[name] < 0, faulty, lambda index, name=name: f"no {name}", rejects)
    xy = []
    for name in ("x_px", "y_px"):
        try:
            numbers = as_numbers(table[wanted[name]])
        except ValueError as error:
            raise ReadError(source, f"column {wanted[name]!r} {error}") from error
        fault = partial(Numbers.fault, numbers, name=wanted[name])
        _reject(source, rows, numbers.bad, faulty, fault, rejects)
        _reject(source, rows, np.isnan(numbers.values), faulty, lambda at, n=name: f"{wanted[n]}: no value", rejects)
        xy.append(as_px(numbers.values, spec.offset_px))
    return RawGaze(_by_stimulus(names["stimulus"], codes, xy, ~faulty), names["observer"], rejects)


def _reject(
    source: str, rows: np.ndarray, bad: np.ndarray, faulty: np.ndarray, reason: Any, rejects: list[Reject]
) -> None:
    """Add the rows of the mask `bad` to the rejects and to the mask `faulty`, each row once."""
    where = np.flatnonzero(bad & ~faulty)
    faulty |= bad
    rejects += row_rejects(source, rows[where], "read", lambda index: reason(int(where[index])), lambda index: ("", ""))


def _by_stimulus(
    stimuli: list[str], codes: Mapping[str, np.ndarray], xy: list[np.ndarray], keep: np.ndarray
) -> dict[str, Gaze]:
    """The kept rows by stimulus, in the order of the file."""
    x, y = (values[keep] for values in xy)
    stimulus, observer = codes["stimulus"][keep], codes["observer"][keep]
    order = np.argsort(stimulus, kind="stable")
    ends = np.cumsum(np.bincount(stimulus, minlength=len(stimuli)))
    parts = np.split(order, ends[:-1]) if len(stimuli) else []
    return {name: Gaze(x[at], y[at], observer[at]) for name, at in zip(stimuli, parts, strict=True) if len(at)}
