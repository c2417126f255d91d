# SPDX-License-Identifier: Apache-2.0
"""What a data set declares of its trials beside their gaze: how many words were read, and further circumstances.

Nothing that is read or drawn depends on it; predictors that never see gaze are fitted to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from gazeray.gaze.declaration import NUISANCE_COLUMN, WORDS, DatasetSpec, TrialsSpec
from gazeray.gaze.files import plain_number
from gazeray.gaze.readers.cells import COMMA_NUMBER, MISSING_CELLS
from gazeray.gaze.text_tables import TextTable

CATEGORIES = 50
"""Of a text at most: each is a feature of its own."""

LARGEST = 1e30
"""Larger numbers are mistakes: beside one all others are the same."""


def beside_faults(spec: DatasetSpec, labels: Sequence[str], tables: Sequence[TextTable]) -> list[str]:
    """What is wrong with the declared columns, given those of the labels, the trials and the participants, if any."""
    faults = []
    if WORDS in spec.trials.columns:
        cells = tables[0].find(WORDS) or []
        if not any(1 <= words <= LARGEST for words in _numbers(tables[0], cells)):
            found = next((cell for cell in cells if cell.strip() not in MISSING_CELLS), "nothing")
            faults.append(
                f"trials.columns.{WORDS}: column {spec.trials.column(WORDS)!r} of {tables[0].source} has no number of"
                f" words, 1 or more (it has {found!r})"
            )
    for name in spec.nuisance:
        allowed = [column for table in tables for column in table.columns if not _taken(labels, table, column)]
        table = _table_of(name, tables)
        if table is None or _taken(labels, table, table.spec.column(name)):
            why = "there is no such column" if table is None else "is no circumstance but the label or an id"
            known = f" (allowed: {', '.join(dict.fromkeys(allowed))})" if allowed else ""
            faults.append(f"nuisance: {name!r}: {why}{known}")
            continue
        cells = table.columns[table.spec.column(name)]
        texts = {cell.strip() for cell in cells}.difference(MISSING_CELLS)
        large = next((cell for cell, n in zip(cells, _numbers(table, cells), strict=True) if abs(n) > LARGEST), None)
        if not texts or large is not None:
            why = "has no value" if large is None else f"has a number beyond {LARGEST:g}: {large!r}"
            faults.append(f"nuisance: column {name!r} of {table.source} {why}")
        elif not _numeric(table, cells) and len(texts) > CATEGORIES:
            faults.append(
                f"nuisance: column {name!r} of {table.source} has {len(texts)} different texts (at most {CATEGORIES};"
                " numbers may be any)"
            )
    return faults


def beside_columns(
    spec: DatasetSpec, tables: Sequence[TextTable], cells: Callable[[str], Sequence[str]]
) -> dict[str, np.ndarray]:
    """{column: a value for each row of the trials, (N,)} of what is declared.

    `WORDS`: float64, NaN where not known. `NUISANCE_COLUMN` and a name of `nuisance`: float64 where all cells that are
    there are numbers, else text, None where not known. cells: those of a column by trial, of whichever table has it.
    """
    found = {}
    if WORDS in spec.trials.columns:
        words = np.array(_numbers(tables[0], cells(WORDS)), np.float64)
        found[WORDS] = np.where((words >= 1) & (words <= LARGEST), words, np.nan)
    for name in spec.nuisance:
        table, own = _table_of(name, tables), cells(name)
        assert table is not None, "else there are faults"
        if _numeric(table, table.columns[table.spec.column(name)]):
            found[NUISANCE_COLUMN + name] = np.array(_numbers(table, own), np.float64)
        else:
            texts = [cell.strip() for cell in own]
            found[NUISANCE_COLUMN + name] = np.array(
                [None if cell in MISSING_CELLS else cell for cell in texts], object
            )
    return found


def beside_notes(spec: DatasetSpec, beside: pa.Table) -> list[str]:
    """Notes on what is declared and not known of some trials, tells nothing, or is hardly meant as it is read.

    beside: the columns of `beside_columns`, a row per usable trial.
    """
    notes = []
    for column in beside.column_names:
        values = beside.column(column).to_pylist()
        known = [value for value in values if value is not None and value == value]
        gone = len(values) - len(known)
        if column == WORDS:
            name = spec.trials.column(WORDS)
            notes += [f"{spec.trials.path}: of {gone} trials {name} is no number of words, 1 or more"] if gone else []
            continue
        name = column.removeprefix(NUISANCE_COLUMN)
        notes += [f"nuisance: of {gone} of {len(values)} trials {name} is not known"] if gone else []
        if known and len(set(known)) == 1 and not gone:
            notes.append(f"nuisance: {name} is the same in all trials, which tells nothing")
        notes += _read_as_texts(name, [value for value in known if isinstance(value, str)])
    return notes


def _read_as_texts(name: str, texts: Sequence[str]) -> list[str]:
    """A note where most different texts of a column, each a category, look like numbers."""
    different = list(dict.fromkeys(texts))
    commas = [text for text in different if COMMA_NUMBER.fullmatch(text)]
    plain = [text for text in different if plain_number(text) is not None]
    if 2 * len({*commas, *plain}) <= len(different):
        return []
    odd = next(text for text in different if text in commas or text not in plain)
    hint = "a decimal comma? declare decimal: ','" if odd in commas else "leave empty what is not known"
    return [f"nuisance: {name} is read as {len(different)} categories, since {odd!r} is no number ({hint})"]


def _table_of(name: str, tables: Sequence[TextTable]) -> TextTable | None:
    """The first table with a column, under gazeray's name or the file's."""
    return next((table for table in tables if table.find(name) is not None), None)


def _taken(labels: Sequence[str], table: TextTable, column: str) -> bool:
    """Is a column of a file a label, or names a participant, a trial or a stimulus? A part of a trial's name, such as
    its session, names none."""
    ids = {table.spec.column(name) for name in (*labels, "participant", "stimulus")}
    return column in ids or (isinstance(table.spec, TrialsSpec) and table.spec.trial_columns == [column])


def _numeric(table: TextTable, cells: Sequence[str]) -> bool:
    """Are all cells that are there numbers?"""
    missing = [cell.strip() in MISSING_CELLS for cell in cells]
    values = _numbers(table, cells)
    return all(gone or not math.isnan(value) for gone, value in zip(missing, values, strict=True))


def _numbers(table: TextTable, cells: Sequence[str]) -> list[float]:
    """NaN where a cell is no number; with the decimal sign of the table."""
    if table.spec.decimal != ".":
        cells = [cell.translate({ord("."): "?", ord(","): "."}) for cell in cells]
    values = [plain_number(cell) for cell in cells]
    return [math.nan if value is None else value for value in values]
