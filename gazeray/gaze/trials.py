# SPDX-License-Identifier: Apache-2.0
"""The trials table of a data set: read, joined with the participants, checked row by row.

Each row comes out as a trial with its class and its geometry in px, or as a reject that says why not.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from gazeray.gaze.beside import beside_columns, beside_faults
from gazeray.gaze.declaration import WINDOW_MS, DatasetSpec
from gazeray.gaze.files import LONGEST_NAME, identifier, name_fault, nth, plain_number, trial_name
from gazeray.gaze.labels import Label, UnlabelledError
from gazeray.gaze.readers.base import SCREEN, SCREEN_COLUMNS
from gazeray.gaze.readers.cells import COMMA_NUMBER, MISSING_CELLS, Decimal, parsed_times, wrong_setting
from gazeray.gaze.text_tables import TextTable
from gazeray.tables import Reject

BIDS_PREFIX = re.compile(r"(?:^|[/_])([a-z]+-)\{participant\}")

WINDOW_COLUMNS = ("window_left_px", "window_top_px", "window_width_px", "window_height_px")
TRIAL_COLUMNS = (
    *("participant", "trial", "stimulus", "label", "label_index"),
    *SCREEN_COLUMNS.values(),
    *WINDOW_COLUMNS,
    "row",
)


class _Unusable(ValueError):
    """Why a row cannot be used, and at which stage that was seen."""

    def __init__(self, stage: str, reason: str) -> None:
        self.stage = stage
        super().__init__(reason)


class TrialsReader:
    """Joins the trials with the participants and judges every row.

    `errors()` says what makes the data set as a whole unusable; only when it is empty may `read()` be called.
    """

    def __init__(
        self,
        spec: DatasetSpec,
        labels: Sequence[Label],
        trials: TextTable,
        participants: TextTable | None,
        indexed: bool = False,
    ) -> None:
        self._spec, self._labels, self._trials, self._participants = spec, labels, trials, participants
        self._indexed = indexed
        self._persons: dict[str, int] = {}
        self.rejects: list[Reject] = []

    @property
    def _tables(self) -> list[TextTable]:
        return [self._trials, *([self._participants] if self._participants else [])]

    def errors(self) -> list[str]:
        """Columns that are declared but not in the file, or needed but nowhere."""
        tables = self._tables
        errors = [
            f"{table.source}: no column {name!r} (present: {', '.join(table.columns)})"
            for table in tables
            for name in table.spec.needed_columns
            if name not in table.columns
        ]
        stimulus = dict(self._spec.stimulus or ()).items()
        named = {f"label {label.name}": label.column for label in self._labels}
        named |= {f"windows: {name}": name for name in WINDOW_MS if self._spec.timed}
        for place, section in (("screen", dict(self._spec.screen).items()), ("stimulus", stimulus)):
            named |= {f"{place}.{key}": name for key, name in section if isinstance(name, str) and key != "placed"}
        for key in ("width_px", "height_px"):
            if self._spec.has_gaze and dict(self._spec.screen)[key] is None:
                named[f"screen.{key} is not declared"] = SCREEN_COLUMNS[key]
        for what, name in named.items():
            if not any(name in table.spec.columns or name in table.columns for table in tables):
                present = "; ".join(f"{table.source}: {', '.join(table.columns)}" for table in tables)
                errors.append(f"{what}: no column {name!r} (present: {present})")
        return errors or beside_faults(self._spec, [label.column for label in self._labels], tables)

    def read(self) -> tuple[pd.DataFrame, dict[tuple[str, str], str]]:
        """The usable trials, columns TRIAL_COLUMNS; and every (participant, trial) that the file names with its class,
        "" where that is not known or its rows contradict each other.

        The rows left out are in `rejects`. Geometry is float64 px or mm, NaN where not known. The label and the class
        are those of the first; where `indexed`, each label has a column `index_column(its name)`, -1 where it is not
        known. Last comes what is declared to be known beside the gaze: see `gazeray.gaze.beside`.
        """
        self._persons = self._unique_participants()
        ids = self._ids()
        hint = "duplicate trial (presented again? say so: trials.repeats)"
        alike = "" if self._spec.trials.repeats == "join" else "duplicate trial"
        duplicate = _repeated(self._trials, [pair[:2] for pair in ids], alike, hint)
        columns = self._resolved()
        cells_of = [self._cells(label.column) for label in self._labels]
        windows = self._windows()
        good, kept, indices = [], [], list[list[int]]()
        for index, (participant, trial, stimulus) in enumerate(ids):
            if duplicate.get(index) == "":
                continue
            try:
                for what, called in (("participant", participant), ("trial", trial), ("stimulus", stimulus)):
                    if not called:
                        raise _Unusable("trials", f"no {what}")
                    if fault := name_fault(called, what):
                        raise _Unusable("trials", fault)
                if index in duplicate:
                    raise _Unusable("trials", duplicate[index])
                if self._participants and participant not in self._persons:
                    reason = f"participant {participant!r} has no usable row in {self._participants.source}"
                    raise _Unusable("trials", reason)
                numbers, partly = self._classes_of([cells[index] for cells in cells_of])
                geometry = self._geometry({column: cells[index] for column, cells in columns.items()})
                if windows and not windows[index][0] < windows[index][1]:
                    raise _Unusable("trials", self._no_window(index))
            except _Unusable as why:
                named = participant[:LONGEST_NAME], trial[:LONGEST_NAME]
                self.rejects.append(self._trials.reject(index, why.stage, str(why), *named))
            else:
                name = self._labels[0].classes[numbers[0]] if numbers[0] >= 0 else ""
                row = (participant, trial, stimulus, name, numbers[0], *geometry, self._trials.rows[index])
                good.append((*row, *windows[index]) if windows else row)
                kept.append(index)
                indices.append(numbers)
                if partly:
                    self.rejects.append(self._trials.reject(index, "labels", partly, participant, trial))
        frame = pd.DataFrame(good, columns=[*TRIAL_COLUMNS, *self._spec.window_columns])
        for name, values in beside_columns(self._spec, self._tables, self._cells).items():
            frame[name] = pd.Series([values[index] for index in kept], dtype=values.dtype)
        for place, label in enumerate(self._labels if self._indexed else ()):
            frame[index_column(label.name)] = pd.Series([numbers[place] for numbers in indices], dtype="int64")
        return frame, self._declared([pair[:2] for pair in ids], cells_of[0])

    def _declared(self, ids: Sequence[tuple[str, str]], cells: Sequence[str]) -> dict[tuple[str, str], str]:
        """(participant, trial) -> its class of the first label, "" where its rows name none, or not the same."""
        label, found = self._labels[0], dict[tuple[str, str], str]()
        decimal = self._decimal(label.column)
        for pair, raw in zip(ids, cells, strict=True):
            try:
                name = label.classes[label.index(raw, decimal)]
            except UnlabelledError:
                name = ""
            found[pair] = name if found.get(pair, name) == name else ""
        return found

    def _windows(self) -> list[tuple[float, ...]]:
        """Start and end of every row in ms (and when its log began), NaN where there is none; no rows where they are
        not declared."""
        if not self._spec.timed:
            return []
        units = self._spec.trials.units
        found = [
            parsed_times(pa.array(self._cells(name)), units.get(name, "ms"), self._decimal(name))[0].tolist()
            for name in self._spec.window_columns
        ]
        return list(zip(*found, strict=True))

    def _no_window(self, index: int) -> str:
        """Why a trial has no time: what stands in its row, and what to declare where that tells it."""
        cells = {name: self._cells(name)[index] for name in WINDOW_MS}
        for name, cell in cells.items():
            unit, decimal = self._spec.trials.units.get(name, "ms"), self._decimal(name)
            bad = parsed_times(pa.array([cell]), unit, decimal)[1]
            hint = bad.any() and wrong_setting(pa.array([cell]), bad, unit, f"units: {{{name}: iso}}", decimal)
            if hint:
                return f"no time from start_ms to end_ms: {name} {hint}"
        return f"no time from start_ms to end_ms: from {cells['start_ms']!r} to {cells['end_ms']!r}"

    def _decimal(self, name: str) -> Decimal:
        """The decimal sign of the table that a column is in."""
        own = self._participants if self._participants and self._trials.find(name) is None else self._trials
        return own.spec.decimal

    def _ids(self) -> list[tuple[str, str, str]]:
        """Participant, trial and stimulus of every row; the stimulus is what the trial is called when no column is
        declared. With `repeats: number` the rows of a trial are its presentations, in order."""
        table, spec = self._trials, self._spec.trials
        people = self._people(table)
        parts = zip(*(map(identifier, table.columns[name]) for name in spec.trial_columns), strict=True)
        trials = [trial_name(own) for own in parts]
        stimuli = table.find("stimulus")
        shown = trials if stimuli is None else list(map(identifier, stimuli))
        if spec.repeats == "number":
            count: Counter[tuple[str, str]] = Counter()
            for index, pair in enumerate(zip(people, trials, strict=True)):
                count[pair] += 1
                trials[index] = nth(pair[1], count[pair]) if pair[1] else ""
        return list(zip(people, trials, shown, strict=True))

    def _people(self, table: TextTable) -> list[str]:
        """The participants of a table. A name that the path of the gaze has behind a BIDS prefix may have it too."""
        names = [identifier(name) for name in table.find("participant") or []]
        paths = [gaze.path for gaze in self._spec.gaze().values()]
        prefixes = tuple(found[1] for path in paths if (found := BIDS_PREFIX.search(path)))
        return [name.split("-", 1)[1] if name.startswith(prefixes) else name for name in names] if prefixes else names

    def _unique_participants(self) -> dict[str, int]:
        """Participant -> its row index in the participants table; contradicting rows are left out."""
        if self._participants is None:
            return {}
        table = self._participants
        names = self._people(table)
        repeated = _repeated(table, names, "duplicate participant", "duplicate participant")
        for index, reason in repeated.items():
            self.rejects.append(table.reject(index, "trials", reason, names[index]))
        return {name: index for index, name in enumerate(names) if index not in repeated}

    def _cells(self, name: str) -> list[str]:
        """A column of the joined tables, one text per trial; the trials table comes first. "" = not known."""
        own = self._trials.find(name)
        if own is not None:
            return own
        other = self._participants.find(name) if self._participants else None
        if other is None:
            return [""] * len(self._trials.rows)
        rows = (self._persons.get(participant) for participant, _, _ in self._ids())
        return ["" if row is None else other[row] for row in rows]

    def _resolved(self) -> dict[str, Sequence[str | float]]:
        """Per trial, every part of the geometry that is declared, or that the tables have a column for."""
        screen = dict(self._spec.screen)
        found = {SCREEN_COLUMNS[key]: SCREEN_COLUMNS[key] if screen[key] is None else screen[key] for key in SCREEN}
        for key, value in dict(self._spec.stimulus or ()).items():
            if value is not None and key != "placed":
                found[f"window_{key}"] = value
        n = len(self._trials.rows)
        return {name: self._numbers(value) if isinstance(value, str) else [value] * n for name, value in found.items()}

    def _numbers(self, name: str) -> list[str]:
        """A column of numbers, with a decimal point whatever sign its table has."""
        if self._decimal(name) == ".":
            return self._cells(name)
        return [cell.translate({ord("."): "?", ord(","): "."}) for cell in self._cells(name)]

    def _classes_of(self, cells: Sequence[str]) -> tuple[list[int], str]:
        """The index of the class of each label, given its cell, -1 where it is missing; and what to say where some are.

        Raises _Unusable where all are missing, or one is not declared.
        """
        numbers, missing = [], []
        for label, raw in zip(self._labels, cells, strict=True):
            try:
                numbers.append(label.index(raw, self._decimal(label.column)))
            except UnlabelledError as why:
                if not why.missing:
                    raise _Unusable("labels", f"label {label.name}: {why}") from None
                numbers.append(-1)
                missing.append(label.name)
        said = f"missing label {', '.join(missing)}" if missing else ""
        if len(missing) == len(self._labels):
            raise _Unusable("labels", said)
        others = [label.name for label in self._labels if label.name not in missing]
        return numbers, said and f"{said}; the trial is kept for {', '.join(others)}"

    def _geometry(self, cells: Mapping[str, str | float]) -> list[float]:
        """Screen and stimulus window of one trial, in the order of SCREEN_COLUMNS and WINDOW_COLUMNS."""
        needed = ("screen_width_px", "screen_height_px", *WINDOW_COLUMNS) if self._spec.has_gaze else ()
        found = {name: _quantity(name, cell, name in needed) for name, cell in cells.items()}
        width, height = found["screen_width_px"], found["screen_height_px"]
        found.setdefault("window_width_px", width)
        found.setdefault("window_height_px", height)
        found.setdefault("window_left_px", (width - found["window_width_px"]) / 2)
        found.setdefault("window_top_px", (height - found["window_height_px"]) / 2)
        return [found[name] for name in (*SCREEN_COLUMNS.values(), *WINDOW_COLUMNS)]


def index_column(label: str) -> str:
    """The column of the trials that holds the index of the class of one of several labels, int64, -1: not known."""
    return f"{label}_index"


def _quantity(name: str, cell: str | float, needed: bool) -> float:
    """A cell of the geometry as a number; NaN when it is empty and not needed."""
    if isinstance(cell, int | float):
        return float(cell)
    if cell.strip() in MISSING_CELLS:
        if needed:
            raise _Unusable("trials", f"missing geometry: no {name}")
        return math.nan
    value = plain_number(cell)
    if value is None:
        hint = " (a decimal comma? declare decimal: ',')" if COMMA_NUMBER.fullmatch(cell.strip()) else ""
        raise _Unusable("trials", f"{name} is not a number: {cell!r}{hint}")
    if abs(value) > 1e6:  # px or mm
        raise _Unusable("trials", f"{name} is larger than any screen: {cell!r}")
    if value <= 0 and name not in ("window_left_px", "window_top_px"):
        raise _Unusable("trials", f"{name} must be greater than 0: {cell!r}")
    return value


def _repeated(table: TextTable, keys: Sequence[object], same: str, different: str) -> dict[int, str]:
    """Row index -> why, for rows that share their key: all but the first when they are the `same` (no reason where that
    is ""), all when they are `different`."""
    groups: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    found: dict[int, str] = {}
    for alike in (group for group in groups.values() if len(group) > 1):
        rows = ", ".join(map(table.place, alike[:10])) + (", ..." if len(alike) > 10 else "")
        differ = [name for name, cells in table.columns.items() if len({cells[index] for index in alike}) > 1]
        if differ:
            contradict = f"{different}: rows {rows} contradict each other in {', '.join(differ[:5])}"
            found |= dict.fromkeys(alike, contradict)
        else:
            found |= dict.fromkeys(alike[1:], same and f"{same}: the same as row {table.place(alike[0])}")
    return found
