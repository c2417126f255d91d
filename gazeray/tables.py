# SPDX-License-Identifier: Apache-2.0
"""The tables that flow through gazeray: their columns, types and units.

samples      one row per gaze sample; NaN in x_px or y_px means lost
fixations    one row per fixation
trials       one row per trial: who saw what, the labels, the geometry of the screen
rejects      one row per thing that could not be used: where it came from and why
quality      one row per trial that was read: how good its gaze is

Coordinates are px with the origin at the top left of the screen, x to the right, y down. Times are ms. Further columns
pass through untouched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("timestamp_ms", pa.float64()),
        ("x_px", pa.float32()),
        ("y_px", pa.float32()),
    ]
)

FIXATIONS = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("onset_ms", pa.float64()),
        ("duration_ms", pa.float32()),
        ("x_px", pa.float32()),
        ("y_px", pa.float32()),
    ]
)

TRIALS = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("stimulus", pa.string()),
        ("screen_width_px", pa.float64()),
        ("screen_height_px", pa.float64()),
    ]
)

REJECTS = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
    ]
)

ACCURACY = (
    "validation_left_deg",
    "validation_left_max_deg",
    "validation_right_deg",
    "validation_right_max_deg",
)
"""What the tracker's last validation before a trial found, of each eye: the mean and the largest error, deg."""

QUALITY = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("n_samples", pa.int64()),
        ("n_fixations", pa.int64()),
        ("duration_ms", pa.float64()),
        ("sampling_hz", pa.float64()),
        ("lost_share", pa.float64()),
        ("outside_share", pa.float64()),
        ("off_screen_share", pa.float64()),
        ("longest_gap_ms", pa.float64()),
        ("rms_s2s_px", pa.float64()),
        ("rms_s2s_deg", pa.float64()),
        ("bcea_px2", pa.float64()),
        ("bcea_deg2", pa.float64()),
        *((name, pa.float64()) for name in ACCURACY),
        ("gate", pa.string()),
    ]
)


@dataclass(frozen=True)
class Reject:
    """Something that was read but cannot be used.

    `row` is the row in the file `source`, counted from 1 after the header (the first data row is 1); -1 means the whole
    file. `stage` names the step that refused it (read, trials, labels, gaze). `participant` and `trial` are empty where
    they are not known.
    """

    source: str
    row: int
    stage: str
    reason: str
    participant: str = ""
    trial: str = ""


class Fault(str):
    """A line of a plan that says what is wrong: the plan goes on, but ends as an error."""


class DataError(ValueError):
    """The recordings make the study impossible. `errors` holds one line per reason."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


def rejects_table(rejects: Iterable[Reject]) -> pa.Table:
    """The rejects as an Arrow table with the schema REJECTS."""
    return pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=REJECTS)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as plain values, as `to_dict("records")` gives them for ten times the price."""
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*(frame[name].tolist() for name in names), strict=True)]


def table_digest(table: pa.Table) -> str:
    """SHA-256 (hex) of the names, types and values of a table of plain values, in their order."""
    import pandas as pd  # here: it takes a while, and most who name tables have no frame

    hashing = hashlib.sha256(repr([(field.name, str(field.type)) for field in table.schema]).encode())
    for name in table.column_names:
        hashing.update(pd.util.hash_array(table.column(name).to_pandas().to_numpy()).tobytes())
    return hashing.hexdigest()
