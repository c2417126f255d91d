# SPDX-License-Identifier: Apache-2.0
"""Folds that others have dealt: every layout of their files, and every mistake in them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gazeray.config import ConfigError, FoldsConfig, validate
from gazeray.learn.fold_files import read_folds, read_numbers, unmatched
from gazeray.learn.folds import fold_record, guard, make_folds
from gazeray.study import Fold
from gazeray.tables import DataError

PEOPLE, TEXTS = 6, 4
WHO, WHAT = (part.ravel() for part in np.indices((PEOPLE, TEXTS)))
TABLE = pa.table(
    {
        "participant": [f"0{n}" for n in WHO],
        "trial": [f"{n}" for n in range(len(WHO))],
        "stimulus": [f"T{n}" for n in WHAT],
    }
)
LABELS = (WHO + WHAT) % 2
REGIMES = {
    "sides": {"train": "train", "validation": "val.*", "reader": "new_reader", "text": "new_text", "both": "new_both"},
    "unseen": {"reader": ["participant"], "text": ["stimulus"], "both": ["participant", "stimulus"]},
}

Rows = dict[str, list[Any]]


def published(fold: int) -> Rows:
    """Reader 2 * fold is new, text `fold` is new; reader 5 validates; in rows per trial."""
    rows: Rows = {"participant": [], "trial": [], "side": []}
    for trial, (who, what) in enumerate(zip(WHO.tolist(), WHAT.tolist(), strict=True)):
        reader, text = who == 2 * fold, what == fold
        side = "new_both" if reader and text else "new_reader" if reader else "new_text" if text else "train"
        if side == "train" and who == 5:
            side = "valid"
        rows["participant"].append(f"0{who}")
        rows["trial"].append(str(trial))
        rows["side"].append(side)
    return rows


def joined(*folds: Rows) -> Rows:
    """The rows of several folds, with a column fold."""
    whole: Rows = {name: [value for one in folds for value in one[name]] for name in folds[0]}
    return whole | {"fold": [number for number, one in enumerate(folds) for _ in one["side"]]}


def write_csv(rows: Mapping[str, Sequence[Any]], path: Path) -> None:
    pyarrow.csv.write_csv(pa.table(dict(rows)), path)


def write_parquet(rows: Mapping[str, Sequence[Any]], path: Path) -> None:
    pq.write_table(pa.table(dict(rows)), path)


WRITERS = {"csv": write_csv, "parquet": write_parquet}


def config(path: object, **settings: Any) -> FoldsConfig:
    return FoldsConfig.model_validate({"path": str(path), **REGIMES, **settings})


def rows_of(fold: Fold) -> dict[str, list[int]]:
    sides = {"train": fold.train, "validation": fold.validation.rows, **{one.name: one.rows for one in fold.tests}}
    return {name: rows.tolist() for name, rows in sides.items()}


def expected(fold: int) -> dict[str, list[int]]:
    words = published(fold)["side"]
    names = {"train": "train", "validation": "valid", "reader": "new_reader", "text": "new_text", "both": "new_both"}
    return {name: [row for row, word in enumerate(words) if word == told] for name, told in names.items()}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("files", ["one", "several"])
def test_folds_are_read_from_every_layout_of_files(tmp_path: Path, suffix: str, files: str) -> None:
    parts = [published(0), published(1)]
    if files == "one":
        WRITERS[suffix](joined(*parts), tmp_path / f"folds.{suffix}")
        path = tmp_path / f"folds.{suffix}"
    else:
        for number, rows in enumerate(parts):
            WRITERS[suffix](rows, tmp_path / f"split_{number}.{suffix}")
        WRITERS[suffix]({"nothing": [1]}, tmp_path / f"split_x.{suffix}")
        path = tmp_path / f"split_{{fold}}.{suffix}"
    folds = read_folds(TABLE, config(path), ("participant",))
    assert [fold.fold for fold in folds] == [0, 1]
    assert [rows_of(fold) for fold in folds] == [expected(0), expected(1)]
    claims = {"reader": ("participant",), "text": ("stimulus",), "both": ("participant", "stimulus")}
    assert all({side.name: side.unseen for side in fold.tests} == claims for fold in folds)
    made = make_folds(TABLE, LABELS, config(path), 0)
    assert [rows_of(fold) for fold in made] == [expected(0), expected(1)]
    record = fold_record(made[0], TABLE, config(path))
    assert record["regimes"]["both"] == {"n": 1, "unseen": ["participant", "stimulus"]}


def test_folds_keep_their_numbers_and_come_in_their_order(tmp_path: Path) -> None:
    for number in (10, 9, 2):
        write_csv(published(0), tmp_path / f"{number}.csv")
    folds = read_folds(TABLE, config(tmp_path / "{fold}.csv"), ("participant",))
    assert [fold.fold for fold in folds] == [2, 9, 10]
    write_csv(joined(published(0)) | {"fold": [10] * 12 + [9] * 12}, tmp_path / "one.csv")
    assert [fold.fold for fold in read_folds(TABLE, config(tmp_path / "one.csv"), ("participant",))] == [9, 10]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ids_with_zeros_in_front_are_text(tmp_path: Path, suffix: str) -> None:
    """A file that lists readers alone; 01 is not 1."""
    rows = {"participant": [f"0{n}" for n in range(PEOPLE)], "side": ["train"] * 4 + ["test"] * 2, "fold": [0] * PEOPLE}
    WRITERS[suffix](rows, tmp_path / f"f.{suffix}")
    cfg = FoldsConfig(path=str(tmp_path / f"f.{suffix}"))
    (fold,) = read_folds(TABLE, cfg, ("participant",))
    np.testing.assert_array_equal(fold.test, np.flatnonzero(WHO >= 4))


def test_rows_may_name_stimuli_or_readers_alone(tmp_path: Path) -> None:
    rows = {"stimulus": [f"T{n}" for n in range(3)], "role": ["train", "valid", "test"], "fold": [0] * 3}
    write_csv(rows, tmp_path / "f.csv")
    cfg = FoldsConfig(path=str(tmp_path / "f.csv"), side="role", hold_out="stimuli",
                      sides={"train": "train", "validation": "valid", "test": "test"})  # fmt: skip
    (fold,) = make_folds(TABLE, LABELS, cfg, 0)
    assert set(WHAT[fold.train]) == {0}
    assert set(WHAT[fold.validation.rows]) == {1}
    assert set(WHAT[fold.test]) == {2}, "the fourth text is on no side"
    assert fold.tests[0].unseen == ("stimulus",)


def test_examples_that_nobody_names_are_on_no_side_and_names_without_examples_do_no_harm(tmp_path: Path) -> None:
    rows = published(0)
    strange = {"participant": "nobody", "trial": "0", "side": "train"}
    write_csv({name: [*values[:20], strange[name]] for name, values in rows.items()}, tmp_path / "0.csv")
    (fold,) = read_folds(TABLE, config(tmp_path / "{fold}.csv"), ("participant",))
    seen = np.concatenate([fold.known, fold.test])
    assert sorted(seen.tolist()) == list(range(20))


def test_without_a_validation_side_readers_are_drawn_from_the_training_side(tmp_path: Path) -> None:
    rows = published(0)
    rows["side"] = ["train" if word == "valid" else word for word in rows["side"]]
    write_csv(rows, tmp_path / "0.csv")
    cfg = config(tmp_path / "{fold}.csv", validation=0.4)
    (fold,) = make_folds(TABLE, LABELS, cfg, 3)
    stops, trained = set(WHO[fold.validation.rows]), set(WHO[fold.train])
    assert len(stops) == 2, "two of the five readers of the training side"
    assert not stops & trained
    assert sorted([*fold.train, *fold.validation.rows]) == expected(0)["train"] + expected(0)["validation"]
    assert rows_of(make_folds(TABLE, LABELS, cfg, 3)[0]) == rows_of(fold)
    assert any(rows_of(make_folds(TABLE, LABELS, cfg, seed)[0]) != rows_of(fold) for seed in range(4, 9))


def test_regime_without_an_example_in_a_fold_is_left_out_of_it(tmp_path: Path) -> None:
    rows = published(0)
    rows["side"] = ["new_reader" if word == "new_both" else word for word in rows["side"]]
    write_csv(rows, tmp_path / "0.csv")
    (fold,) = read_folds(TABLE, config(tmp_path / "{fold}.csv"), ("participant",))
    assert [side.name for side in fold.tests] == ["reader", "text"]


def changed(change: Callable[[Rows], object]) -> Rows:
    rows = joined(published(0))
    change(rows)
    return rows


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        pytest.param(changed(lambda r: r["side"].__setitem__(3, "train")), r"on two sides \(participant, reader\): 00",
                     id="leak_is_found_and_named"),
        pytest.param(changed(lambda r: r["side"].__setitem__(3, "valid")), r"on two sides \(participant, reader\): 00",
                     id="leak_into_validation_is_found_and_named"),
        pytest.param(changed(lambda r: r["side"].__setitem__(1, "new_text")), r"on two sides \(stimulus, text\): T1",
                     id="wrong_regime_is_found"),
        pytest.param(changed(lambda r: r["side"].__setitem__(0, "tset")), r"f\.csv, fold 0: side 'tset' is on no side "
                     r"\(folds\.sides: train: train, validation: val\.\*", id="unknown_word_names_the_known_ones"),
        pytest.param(changed(lambda r: r.pop("side")), r"f\.csv, fold 0: lacks column side \(folds\.side\); it has",
                     id="no_column_of_sides"),
        pytest.param(changed(lambda r: [r.pop("participant"), r.pop("trial")]),
                     r"lacks one of the columns participant, trial, stimulus", id="no_column_of_ids"),
        pytest.param(changed(lambda r: r.pop("fold")), r"f\.csv: no column fold, and no \{fold\} in its name",
                     id="no_column_of_folds"),
        pytest.param(changed(lambda r: r["fold"].__setitem__(2, 0.5)), r"a fold is not a whole number: 0\.5",
                     id="fold_is_no_number"),
        pytest.param(changed(lambda r: r.__setitem__("fold", ["a"] * 24)), "a fold is not a whole number",
                     id="fold_is_a_word"),
        pytest.param(changed(lambda r: r.__setitem__("participant", [f"X{n}" for n in range(24)])),
                     "none of its rows names an example of the data set", id="other_ids"),
        pytest.param(changed(lambda r: r.__setitem__("trial", ["0"] * 24)), r"00 0 is on two sides: both, reader",
                     id="row_twice_with_two_sides"),
        pytest.param(changed(lambda r: r.__setitem__("side", ["train"] * 24)), "no example to test on; see folds.path",
                     id="nobody_is_tested"),
        pytest.param(changed(lambda r: r.__setitem__("side", ["new_text"] * 24)), "fold 0 leaves 0 participant",
                     id="nobody_is_trained_on"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, rows: Rows, words: str) -> None:
    write_csv(rows, tmp_path / "f.csv")
    with pytest.raises(DataError, match=words):
        make_folds(TABLE, LABELS, config(tmp_path / "f.csv"), 0)


def test_file_that_is_not_there_or_not_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*nowhere\.csv"):
        read_folds(TABLE, config(tmp_path / "nowhere.csv"), ("participant",))
    with pytest.raises(DataError, match=r"no file is named as .*\{fold\}"):
        read_folds(TABLE, config(tmp_path / "f_{fold}.csv"), ("participant",))
    for name in ("f.parquet", "f.csv"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=rf"{name}: cannot be read"):
            read_folds(TABLE, config(tmp_path / name), ("participant",))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sides": {"train": "[", "test": "test"}}, "train: not a regular expression"),
        ({"sides": {"train": "train", "validation": "val"}}, "at least one test regime"),
        ({"sides": {"test": "test"}}, "name the side train"),
        ({"unseen": {"reader": ["participant"]}}, "reader: no test regime of folds.sides"),
        ({"unseen": {"train": ["participant"]}}, "train: no test regime"),
        ({"unseen": {"test": ["reader"]}}, "'participant' or 'stimulus'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(FoldsConfig, settings)
    assert words in str(caught.value)


# -- folds of pictures


def test_folds_of_pictures_are_read_and_numbered_from_0(tmp_path: Path) -> None:
    rows = {"stimulus": ["001", "b", "c", "d"], "fold": [3, 7, 3, 9]}
    for suffix, write in WRITERS.items():
        write(rows, tmp_path / f"f.{suffix}")
        assert read_numbers(str(tmp_path / f"f.{suffix}"), ["d", "001", "b"], 3).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"stimulus": ["a", "b", "c", "a"], "fold": [0, 1, 2, 1]}, "a is in two folds, 0 and 1"),
        ({"stimulus": ["a", "b"], "fold": [0, 1]}, "1 pictures have no fold, the first is c"),
        ({"stimulus": ["a", "b", "c"], "fold": [0, 1, 1]}, "2 folds, at least 3 are needed"),
        ({"stimulus": ["a", "b", "c"], "fold": ["x", "y", "z"]}, "a fold is not a whole number"),
        ({"picture": ["a"], "fold": [0]}, "no column stimulus; it has picture, fold"),
    ],
)
def test_what_is_wrong_with_folds_of_pictures_is_told(tmp_path: Path, rows: Rows, words: str) -> None:
    write_csv(rows, tmp_path / "f.csv")
    with pytest.raises(DataError, match=words):
        read_numbers(str(tmp_path / "f.csv"), ["a", "b", "c"], 3)


# -- a published benchmark


@pytest.mark.real
@pytest.mark.parametrize("name", ["CopCo_TYP", "PoTeC_RC"])
def test_published_folds_of_a_benchmark_hold_what_they_claim(real_data: Path, tmp_path: Path, name: str) -> None:
    columns = ["fold", "regime", "participant", "stimulus", "trial", "model"]
    source = pq.read_table(real_data / "eyebench_predictions" / f"{name}.parquet", columns=columns)
    first = source["model"][0].as_py()
    source = source.filter(pa.compute.equal(source["model"], first)).drop_columns(["model"])
    ids = ["participant", "trial", "stimulus"]
    trials = source.group_by(ids).aggregate([]).sort_by([(column, "ascending") for column in ids])
    tested = source.rename_columns({"regime": "side"}).to_pylist()
    rows = []
    for fold in sorted({row["fold"] for row in tested}):
        mine = {row["trial"]: row["side"] for row in tested if row["fold"] == fold}
        readers = {row["participant"] for row in tested if row["fold"] == fold and row["side"] != SEEN_READER}
        texts = {row["stimulus"] for row in tested if row["fold"] == fold and row["side"] != SEEN_TEXT}
        for trial in trials.to_pylist():
            known = trial["participant"] not in readers and trial["stimulus"] not in texts
            side = mine.get(trial["trial"]) or ("train" if known else None)
            if side is not None:
                rows.append({**trial, "side": side, "fold": fold})
    write_csv(pa.Table.from_pylist(rows).to_pydict(), tmp_path / "folds.csv")
    cfg = FoldsConfig.model_validate(
        {
            "path": str(tmp_path / "folds.csv"),
            "sides": {"train": "train", "reader": SEEN_TEXT, "text": SEEN_READER, "both": "unseen_subject_unseen_item"},
            "unseen": REGIMES["unseen"],
        }
    )
    folds = read_folds(trials, cfg, ("participant",))
    guard(folds, trials)
    assert [fold.fold for fold in folds] == [0, 1, 2, 3]
    for fold in folds:
        assert [side.name for side in fold.tests] == ["reader", "text", "both"]
        assert len(fold.test) == sum(row["fold"] == fold.fold for row in tested)
        assert len(fold.train)
    wrong = FoldsConfig.model_validate({**cfg.model_dump(), "unseen": {"reader": ["participant", "stimulus"]}})
    with pytest.raises(ValueError, match=r"on two sides \(stimulus, reader\)"):
        guard(read_folds(trials, wrong, ("participant",)), trials)


SEEN_READER, SEEN_TEXT = "seen_subject_unseen_item", "unseen_subject_seen_item"


def test_rows_that_name_nobody_and_examples_that_nobody_names_are_counted(tmp_path: Path) -> None:
    rows = published(0)
    strange = {"participant": "nobody", "trial": "0", "side": "train"}
    write_csv({name: [*values[:20], strange[name]] for name, values in rows.items()}, tmp_path / "0.csv")
    found = unmatched(TABLE, config(tmp_path / "{fold}.csv"))
    assert [(one.participant, one.trial) for one in found if one.reason == "names no usable example"] == [
        ("nobody", "0")
    ]
    lost = [one.trial for one in found if one.reason == "no fold names this example"]
    assert lost == [str(trial) for trial in range(20, 24)]
    assert {one.stage for one in found} == {"folds"}
