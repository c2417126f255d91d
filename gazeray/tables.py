# SPDX-License-Identifier: Apache-2.0
"""The tables that flow through gazeray: their columns, types and units.

samples      one row per gaze sample; NaN in x_px or y_px means lost
fixations    one row per fixation
trials       one row per trial: who saw what, the labels, the geometry of the screen
rejects      one row per thing that could not be used: where it came from and why
quality      one row per trial that was read: how good its gaze is
channels     one row per trial and channel of its signals: how good it is in the window of time that is used

Coordinates are px with the origin at the top left of the screen, x to the right, y down. Times are ms. Further columns
pass through untouched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

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

CHANNELS = pa.schema(
    [
        ("participant", pa.string()),
        ("trial", pa.string()),
        ("channel", pa.string()),
        ("unit", pa.string()),
        ("lost_share", pa.float64()),
        ("implausible_share", pa.float64()),
        ("longest_gap_ms", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("flat", pa.bool_()),
        ("saturated_share", pa.float64()),
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


_OWN = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d+(?:\.\d+)?\b")
"""What belongs to one reject alone: a number, a quoted name."""


class RejectKind(NamedTuple):
    """Rejects of one stage whose reasons differ in numbers and quoted names only; places: their rows, rising."""

    stage: str
    reason: str
    places: NDArray[np.int64]


def reject_kinds(table: pa.Table) -> list[RejectKind]:
    """The kinds of a table of rejects, most rows first."""
    import numpy as np  # here: nobody else who names tables needs these
    import pyarrow.compute as pc

    columns = [pc.fill_null(table[name], "").combine_chunks().dictionary_encode() for name in ("stage", "reason")]
    stages, reasons = (column.dictionary.to_pylist() for column in columns)
    kinds: dict[tuple[str, str], int] = {}
    plain = [_OWN.sub("…", reason) for reason in reasons]
    pairs = np.stack([column.indices.to_numpy() for column in columns], axis=1)
    distinct, row_of = np.unique(pairs, axis=0, return_inverse=True)
    kind_of = [kinds.setdefault((stages[stage], plain[reason]), len(kinds)) for stage, reason in distinct.tolist()]
    said: list[list[str]] = [[] for _ in kinds]
    for kind, (_, reason) in zip(kind_of, distinct.tolist(), strict=True):
        said[kind].append(reasons[reason])
    row_kinds = np.array(kind_of)[row_of.ravel()]
    parts = np.split(np.argsort(row_kinds, kind="stable"), np.cumsum(np.bincount(row_kinds))[:-1])
    found = [RejectKind(stage, said_alike(said[place]), parts[place]) for (stage, _), place in kinds.items()]
    return sorted(found, key=lambda kind: (-len(kind.places), kind.stage, kind.reason))


def said_alike(reasons: Sequence[str]) -> str:
    """Reasons that differ only in numbers and quoted names as one, with an ellipsis for each that differs."""
    columns = zip(*(_OWN.findall(reason) for reason in reasons), strict=True)
    kept = iter([values[0] if len(set(values)) == 1 else "…" for values in columns])
    return _OWN.sub(lambda _: next(kept), reasons[0])


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
