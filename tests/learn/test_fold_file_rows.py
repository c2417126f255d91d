# SPDX-License-Identifier: Apache-2.0
"""Folds from a file: ids stay what is written, and whatever cannot be meant is named with its file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeray.config import FoldsConfig
from gazeray.learn.fold_files import read_folds, read_numbers
from gazeray.tables import DataError

PEOPLE = ["007", "7", "1e3", "true", "2020-01-01", "x"]
TABLE = pa.table({"participant": PEOPLE, "trial": ["1"] * 6, "stimulus": ["t"] * 6})


def read(path: Path) -> list[list[list[int]]]:
    """Per fold the rows of training, validation and test."""
    folds = read_folds(TABLE, FoldsConfig(path=str(path)), ("participant",))
    return [[fold.train.tolist(), fold.validation.rows.tolist(), fold.test.tolist()] for fold in folds]


def test_ids_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    sides = ["train", "test", "train", "validation", "val", "test"]
    lines = [f"{fold},{person},{side}" for fold in (10, 2) for person, side in zip(PEOPLE, sides, strict=True)]
    (tmp_path / "folds.csv").write_text("\ufefffold,participant,side\n" + "\n".join(lines) + "\n")
    assert read(tmp_path / "folds.csv") == [[[0, 2], [3, 4], [1, 5]]] * 2
    (tmp_path / "pictures.csv").write_text("stimulus,fold\n007,3\n7,1\n1e3,2\n")
    assert read_numbers(str(tmp_path / "pictures.csv"), ["1e3", "7", "007"], 3).tolist() == [1, 0, 2]


def test_whole_numbers_of_a_parquet_file_are_the_ids_that_they_spell(tmp_path: Path) -> None:
    columns = {"fold": [0.0, 0.0], "participant": [7.0, 1000.5], "side": ["train", "test"]}
    pq.write_table(pa.table(columns), tmp_path / "folds.parquet")
    assert read(tmp_path / "folds.parquet") == [[[1], [], []]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fold,participant,side\n0,7,train\n,x,test\n", "folds.csv: row 2: no fold"),
        ("fold,participant,side\n0,7,train\n0.5,x,test\n", r"row 2: a fold is not a whole number: 0\.5"),
        ("fold,participant,side\nfirst,7,train\n", "row 1: a fold is not a whole number: first"),
        ("fold,participant,side\n-1,7,train\n", "row 1: a fold is not a whole number: -1"),
        ("fold,participant,side\n0,7,train\n1,,test\n", "folds.csv: row 2: no participant"),
        ("fold,participant,side\n0,7,train\n1,x,\n", "folds.csv: row 2: no side"),
        ("fold,participant,side\n0,7\n", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "folds.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read(tmp_path / "folds.csv")


def test_two_files_of_one_fold_are_refused(tmp_path: Path) -> None:
    for name in ("fold-1.csv", "fold-01.csv"):
        (tmp_path / name).write_text("participant,side\n7,train\nx,test\n")
    with pytest.raises(DataError, match=r"fold-01\.csv and fold-1\.csv are the same fold"):
        read(tmp_path / "fold-{fold}.csv")
    (tmp_path / "fold-01.csv").unlink()
    assert read(tmp_path / "fold-{fold}.csv") == [[[1], [], [5]]]


def test_numbers_of_pictures_name_file_and_row(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("stimulus,fold\na,0\nb,x\n")
    with pytest.raises(DataError, match=r"folds\.csv: row 2: a fold is not a whole number: x"):
        read_numbers(str(tmp_path / "folds.csv"), ["a", "b"], 2)
    assert np.array_equal(_numbers(tmp_path, "stimulus,fold\na,5\nb,9\n"), [0, 1])


def _numbers(tmp_path: Path, text: str) -> np.ndarray:
    (tmp_path / "folds.csv").write_text(text)
    return read_numbers(str(tmp_path / "folds.csv"), ["a", "b"], 2)
