# SPDX-License-Identifier: Apache-2.0
"""Folds that somebody else has dealt, such as those of a published benchmark, read from a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gazeray.config import FoldsConfig
from gazeray.storage import Folder, masked, split_uri
from gazeray.study import Fold, Side
from gazeray.tables import DataError, Reject

IDS = ("participant", "trial", "stimulus")
"""The columns of a file that may say which examples a row is about: those that it has, together."""


def read_folds(table: pa.Table, cfg: FoldsConfig, held_out: tuple[str, ...]) -> list[Fold]:
    """The folds of `cfg.path`, on the rows of `table`, which has the columns IDS.

    A row of the file names a side for the examples that agree with it in all of the columns IDS that the file has. One
    file has a column `fold`; with {fold} in its name there is a file per fold. `cfg.sides` says which words of the
    column `cfg.side` mean which side; every side but train and validation is a test regime, and claims unseen what
    `cfg.unseen` says of it, else `held_out`. Examples that no row names are on no side of that fold.

    Raises DataError naming the file: cannot be read, no such columns, an unknown word, an example on two sides.
    """
    assert cfg.path is not None
    folds = []
    for number, source, rows in _files(cfg.path, (*IDS, cfg.side)):
        places = _places(rows, source, cfg, table)
        if not any(len(found) for found in places.values()):
            raise DataError([f"{source}: none of its rows names an example of the data set"])
        tests = [name for name in cfg.sides if name not in ("train", "validation") and len(places[name])]
        sides = tuple(Side(name, places[name], tuple(cfg.unseen.get(name, held_out))) for name in tests)
        validation = Side("validation", places["validation"], ())
        folds.append(Fold(number, places["train"], validation, sides))
    return folds


def unmatched(table: pa.Table, cfg: FoldsConfig) -> list[Reject]:
    """What of a fold file names no example, and the examples that no fold names. table, cfg: as in `read_folds`."""
    assert cfg.path is not None
    rejects: list[Reject] = []
    seen = np.zeros(table.num_rows, bool)
    for _, source, rows in _files(cfg.path, (*IDS, cfg.side)):
        ids = [name for name in IDS if name in rows.column_names]
        ours = list(zip(*(map(str, table.column(name).to_pylist()) for name in ids), strict=True))
        theirs = set(zip(*(_words(rows, name, source) for name in ids), strict=True))
        seen |= np.array([key in theirs for key in ours])
        for key in sorted(theirs - set(ours)):
            named = dict(zip(ids, key, strict=True))
            of = f" of stimulus {named['stimulus']!r}" if "stimulus" in named else ""
            who, what = named.get("participant", ""), named.get("trial", "")
            rejects.append(Reject(masked(source), -1, "folds", f"names no usable example{of}", who, what))
    people, trials = (table.column(name).to_pylist() for name in ("participant", "trial"))
    rejects += [Reject(masked(cfg.path), -1, "folds", "no fold names this example", str(people[row]), str(trials[row]))
                for row in np.flatnonzero(~seen)]  # fmt: skip
    return rejects


def read_numbers(path: str, stimuli: Sequence[str], least: int) -> np.ndarray:
    """(N,) int64, the fold that tests each stimulus, from a CSV or Parquet file with the columns stimulus and fold.

    Raises DataError: cannot be read, no such columns, a stimulus without a fold or with two, fewer folds than `least`.
    """
    root, name = _placed(path)
    rows = _table(root, name, path)
    missing = [column for column in ("stimulus", "fold") if column not in rows.column_names]
    if missing:
        raise DataError([f"{path}: no column {', '.join(missing)}; it has {', '.join(rows.column_names)}"])
    found: dict[str, int] = {}
    for stimulus, fold in zip(_words(rows, "stimulus", path), _numbers(rows, path), strict=True):
        if found.setdefault(stimulus, fold) != fold:
            raise DataError([f"{path}: {stimulus} is in two folds, {found[stimulus]} and {fold}"])
    absent = [stimulus for stimulus in stimuli if stimulus not in found]
    if absent:
        raise DataError([f"{path}: {len(absent)} pictures have no fold, the first is {absent[0]}"])
    known, numbers = np.unique([found[stimulus] for stimulus in stimuli], return_inverse=True)
    if len(known) < least:
        raise DataError([f"{path}: {len(known)} folds, at least {least} are needed"])
    return np.asarray(numbers, np.int64)


def _placed(path: str) -> tuple[Folder, str]:
    """The folder of a file, and its name there."""
    if "://" in path:
        folder, name = split_uri(path)
        return Folder(folder), name
    return Folder(Path(path).parent), Path(path).name


def _files(path: str, columns: Sequence[str]) -> Iterator[tuple[int, str, pa.Table]]:
    """(fold, file, its rows) of each fold, in order. columns: what no row may lack. Raises DataError."""
    root, name = _placed(path)
    if "{fold}" not in name:
        rows = _table(root, name, path)
        if "fold" not in rows.column_names:
            raise DataError([f"{path}: no column fold, and no {{fold}} in its name"])
        for column in set(columns) & set(rows.column_names):  # here, where rows are counted as in the file
            _words(rows, column, path)
        numbers = np.array(_numbers(rows, path))
        for number in np.unique(numbers).tolist():
            yield number, f"{path}, fold {number}", rows.take(np.flatnonzero(numbers == number))
        return
    pattern = re.compile(re.escape(name).replace(re.escape("{fold}"), r"(\d+)"))
    found: dict[int, str] = {}
    for stat in root.list():
        match = pattern.fullmatch(stat.path)
        if match and found.setdefault(int(match[1]), stat.path) != stat.path:
            raise DataError([f"folds.path: {found[int(match[1])]} and {stat.path} are the same fold"])
    if not found:
        raise DataError([f"folds.path: no file is named as {path}, with a number for {{fold}}"])
    for number in sorted(found):
        yield number, found[number], _table(root, found[number], found[number])


def _table(root: Folder, name: str, source: str) -> pa.Table:
    """The rows of a file; of a CSV as text, since an id may begin with zeros."""
    try:
        data = root.read_bytes(name)
    except FileNotFoundError as error:
        raise DataError([f"folds.path: no such file: {source}"]) from error
    try:
        if name.endswith(".parquet"):
            return pq.read_table(io.BytesIO(data))
        header = next(csv.reader(data.decode("utf-8-sig").splitlines()), [])
        text = pa.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))  # 007 is no number
        return pa.csv.read_csv(io.BytesIO(data), convert_options=text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError([f"{source}: cannot be read: {' '.join(str(error).split())[:200]}"]) from error


def _words(rows: pa.Table, name: str, source: str) -> list[str]:
    """A column as text; whole numbers as they are written. Raises DataError where a row has none."""
    found = []
    for row, value in enumerate(rows.column(name).to_pylist(), 1):
        if value is None or value == "" or value != value:
            raise DataError([f"{source}: row {row}: no {name}"])
        found.append(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value))
    return found


def _numbers(rows: pa.Table, source: str) -> list[int]:
    """The column fold. Raises DataError where it is no whole number from 0."""
    words = _words(rows, "fold", source)
    for row, word in enumerate(words, 1):
        if not re.fullmatch(r"\d+(\.0*)?", word):
            raise DataError([f"{source}: row {row}: a fold is not a whole number: {word}"])
    return [int(word.partition(".")[0]) for word in words]


def _places(rows: pa.Table, source: str, cfg: FoldsConfig, table: pa.Table) -> dict[str, np.ndarray]:
    """{side: the rows of `table` that one fold's `rows` put there}."""
    ids = [name for name in IDS if name in rows.column_names]
    if cfg.side not in rows.column_names or not ids:
        wanted = f"one of the columns {', '.join(IDS)}"
        if cfg.side not in rows.column_names:
            wanted = f"column {cfg.side} (folds.side)"
        raise DataError([f"{source}: lacks {wanted}; it has {', '.join(rows.column_names)}"])
    words = _words(rows, cfg.side, source)
    sides = {word: _side(word, source, cfg) for word in set(words)}
    named: dict[tuple[str, ...], str] = {}
    for key, word in zip(zip(*(_words(rows, name, source) for name in ids), strict=True), words, strict=True):
        before = named.setdefault(key, sides[word])
        if before != sides[word]:
            raise DataError([f"{source}: {' '.join(key)} is on two sides: {before}, {sides[word]}"])
    found: dict[str, list[int]] = {name: [] for name in ("train", "validation", *cfg.sides)}
    for row, key in enumerate(zip(*(map(str, table.column(name).to_pylist()) for name in ids), strict=True)):
        if key in named:
            found[named[key]].append(row)
    return {name: np.array(places, np.int64) for name, places in found.items()}


def _side(word: str, source: str, cfg: FoldsConfig) -> str:
    for name, pattern in cfg.sides.items():
        if re.fullmatch(pattern, word):
            return name
    allowed = ", ".join(f"{name}: {pattern}" for name, pattern in cfg.sides.items())
    raise DataError([f"{source}: {cfg.side} {word!r} is on no side (folds.sides: {allowed})"])
