# SPDX-License-Identifier: Apache-2.0
"""Trials told by a log of the stimuli that has a clock of its own, such as those of OpenSesame beside Gazepoint.

The log says when its clock began and how much later each stimulus came; the gaze file says when its own clock began.
Both are local times of day of machines that were perhaps never set to one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field, ValidationInfo, field_validator

from gazeray.config import Section
from gazeray.gaze.files import plain_number
from gazeray.gaze.readers.base import BEGAN_MS, GazeTable, ReadError, unpacked
from gazeray.gaze.readers.plain_text import check_columns, decoded_as
from gazeray.gaze.readers.spec import GazeSpec

if TYPE_CHECKING:
    from gazeray.gaze.declaration import TrialsSpec
    from gazeray.gaze.labels import Label
    from gazeray.gaze.text_tables import TextTable

LOG_MS = "log_ms"
"""Column of the trials: when the clock of its log began, ms since 1970."""

DELIMITERS = ",;"
"""Of logs: which of them, the first line tells."""


class LogSpec(Section):
    """How the rows of a log become trials. Each trial lasts `duration_ms` from its onset."""

    first: int = Field(0, ge=0, description="how many rows come before that of the first trial")
    step: int = Field(1, ge=1, description="rows from one trial to the next")
    response: str | None = Field(None, description="the column of the answers that `below` takes labels from")
    below: dict[str, int] = Field(
        {}, validate_default=False, description="label -> how many rows below that of its trial the answer stands"
    )
    start: str = Field(description="the column that says when the clock of the log began")
    format: str = Field(description="how that is written, as Python's strptime has it: %d/%m/%y %H:%M:%S.%f")
    onset: str = Field(description="the column of the onsets, ms since then")
    duration_ms: float = Field(gt=0, description="how long each trial lasts")
    offset_ms: float = Field(0.0, description="added to every onset: how late the clock of the gaze is")
    most_apart_s: float | None = Field(
        None, gt=0, description="a person whose two clocks began further apart is rejected; null: however far"
    )

    @field_validator("below")
    @classmethod
    def _answers(cls, below: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if below and info.data.get("response") is None:
            raise ValueError("needs the column of the answers, as `response`")
        above = [name for name, rows in below.items() if rows < 0]
        if above:
            raise ValueError(f"{', '.join(above)}: rows below a trial are counted 0, 1, 2, ...; 0 is its own")
        return below

    def check_labels(self, labels: Sequence[Label]) -> None:
        """Raises ValueError where `below` names what is no label, or one that has a column of its own."""
        columns = {label.name: label.column for label in labels}
        strange = [name for name in self.below if name not in columns]
        if strange:
            raise ValueError(f"log.below: no such label: {', '.join(strange)} (declared: {', '.join(columns)})")
        own = [name for name in self.below if columns[name] != name]
        if own:
            raise ValueError(f"log.below: {', '.join(own)}: an answer in the rows below is not in a column of its own")

    @field_validator("format")
    @classmethod
    def _can_be_parsed(cls, written: str) -> str:
        moment = datetime(2019, 12, 31, 23, 58, 59, tzinfo=UTC)
        try:
            whole = datetime.strptime(moment.strftime(written), written).replace(tzinfo=UTC) == moment
        except ValueError as error:
            raise ValueError(f"cannot be read again: {error}") from error
        if not whole:
            raise ValueError("must tell the date and the time of day, as %d/%m/%y %H:%M:%S.%f")
        return written


def with_delimiter(table: TrialsSpec, data: bytes, source: str) -> TrialsSpec:
    """The declaration of a log with the delimiter that the first line of its `data` has more often, unless one is
    declared. Raises ReadError for what is no text."""
    if table.delimiter is not None:
        return table
    text = decoded_as(unpacked(data, source), source, table.encoding)
    first = next((line for line in text.split(b"\n", 20)[:20] if line.strip()), b"").decode()
    return table.model_copy(update={"delimiter": max(DELIMITERS, key=first.count)})


def trials_of_log(table: TextTable, log: LogSpec) -> TextTable:
    """The rows of a log that are trials, with the times of each in start_ms and end_ms, and its labels.

    Times are ms since 1970 by the clock of the log. Where no column names the trial it is its number, 1, 2, ... What is
    no time stays as it stands, for the row to be rejected by. Raises ReadError: a column is missing, no row is a trial,
    the log never says when it began.
    """
    needed = [log.start, log.onset, *([log.response] if log.response else [])]
    check_columns(needed, list(table.columns), table.source)
    picked = range(log.first, len(table.rows), log.step)
    if not picked:
        raise ReadError(table.source, f"{len(table.rows)} rows, the first trial is row {log.first + 1}")
    columns = {name: [cells[at] for at in picked] for name, cells in table.columns.items()}
    began = [_began(cell, log.format) for cell in columns[log.start]]
    if all(moment is None for moment in began):
        cell = next((cell for cell in columns[log.start] if cell), "")
        raise ReadError(table.source, f"column {log.start!r}: {cell!r} is not written as {log.format}")
    onsets = [plain_number(cell.replace(",", ".")) for cell in columns[log.onset]]
    starts, ends = [], []
    for zero, onset, cells in zip(began, onsets, zip(columns[log.start], columns[log.onset], strict=True), strict=True):
        known = zero is not None and onset is not None
        at = zero + onset + log.offset_ms if zero is not None and onset is not None else 0.0
        starts.append(repr(at) if known else " + ".join(cells))
        ends.append(repr(at + log.duration_ms) if known else "")
    columns |= {"start_ms": starts, "end_ms": ends, LOG_MS: ["" if zero is None else repr(zero) for zero in began]}
    if table.spec.decimal != ".":  # as the other numbers of the table are written
        columns |= {name: [cell.replace(".", ",") for cell in columns[name]] for name in ("start_ms", "end_ms", LOG_MS)}
    if "trial" not in table.spec.columns:
        columns["trial"] = [str(number) for number in range(1, len(picked) + 1)]
    for label, rows in log.below.items():
        answers = table.columns[str(log.response)]
        columns[label] = [answers[at + rows] if at + rows < len(answers) else "" for at in picked]
    rows_of = [table.rows[at] for at in picked]
    return replace(table, columns=columns, rows=rows_of, sources=[table.source] * len(rows_of))


def _began(cell: str, written: str) -> float | None:
    """When a clock began, ms since 1970; None for what is not written so."""
    try:
        return datetime.strptime(cell, written).replace(tzinfo=UTC).timestamp() * 1e3
    except ValueError:
        return None


def zero_of_gaze(log: LogSpec, table: GazeTable, spec: GazeSpec, source: str, began: Sequence[float]) -> float:
    """What the clock of a gaze file counts from, ms since 1970; `began` are the times at which the clocks of its logs
    did.

    Raises ReadError where nothing tells it, or where the clocks of log and gaze began further apart than may be.
    """
    dated = {spec.unit(name) for name in ("timestamp_ms", "onset_ms")} & {"iso"}
    zero = 0.0 if dated else table.header.get(BEGAN_MS)
    if zero is None:
        raise ReadError(source, "nothing in the file tells when its clock began, to place the times of the log by")
    times = next(table.columns[name] for name in ("timestamp_ms", "onset_ms") if name in table.columns)
    start = float(times.min()) if dated and len(times) else zero
    apart = [abs(one - start) / 1e3 for one in began]
    if log.most_apart_s is not None and apart and max(apart) > log.most_apart_s:
        other = began[apart.index(max(apart))]
        raise ReadError(
            source,
            f"the clock of the log began at {_written(other)}, that of the gaze at {_written(start)}, {max(apart):.10g}"
            f" s apart: more than trials.log.most_apart_s {log.most_apart_s:g}",
        )
    return zero


def _written(ms: float) -> str:
    """A time of day as people read it."""
    return datetime.fromtimestamp(ms / 1e3, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
