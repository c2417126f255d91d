# SPDX-License-Identifier: Apache-2.0
"""Labels: the three forms of a declaration, several of them at once, and cells that stand for no class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError, validate
from gazeray.gaze.dataset import Dataset, open_dataset
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.labels import Label, UnlabelledError, label_of
from gazeray.gaze.screens import ScreensSpec, open_screens
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import DECLARED, FILES, declared, pairs, reasons, write

SEVEN = {"levels": [1, 2, 3, 4, 5, 6, 7]}
FELT = {"arousal": SEVEN, "valence": SEVEN}
RATED = "participant,trial,arousal,valence\nP1,1,1,7\nP1,2,4,4\nP2,1,7,1\nP2,2,2,6\n"


def label(form: Any, name: str = "mos") -> Label:
    return label_of(declared(labels={name: form}), name)


def rated(
    folder: Path, table: str = RATED, names: Sequence[str] | str | None = ("arousal", "valence"), **changes: Any
) -> Dataset:
    """The tiny data set with other trials, opened for some labels."""
    root = write(folder, {**FILES, "trials.csv": table})
    return open_dataset(declared(**{"labels": FELT, **changes}), root, names)


def test_levels_are_ordered_classes_in_the_order_of_the_declaration() -> None:
    one = label(SEVEN)
    assert (one.column, one.classes, one.ordered) == ("mos", ("1", "2", "3", "4", "5", "6", "7"), True)
    assert [one.index(raw) for raw in ("1", " 7 ", "4.0", "3e0")] == [0, 6, 3, 2]
    words = label({"levels": ["low", "middle", "high"], "column": "felt"})
    assert (words.column, words.classes, words.index("high")) == ("felt", ("low", "middle", "high"), 2)
    assert label({"levels": [7, 4, 1]}).classes == ("7", "4", "1")


def test_threshold_makes_two_classes_of_a_number() -> None:
    one = label({"column": "mos", "at_least": 4}, "good")
    assert (one.name, one.column, one.classes, one.ordered) == ("good", "mos", ("mos < 4", "mos >= 4"), True)
    assert [one.index(raw) for raw in ("3.99", "4", "4.0", " 1e1", "-3")] == [0, 1, 1, 1, 0]
    assert label({"at_least": 2.5}).classes == ("mos < 2.5", "mos >= 2.5")


def test_values_of_a_nominal_label_may_share_a_class_and_have_no_order() -> None:
    one = label({"P": "odd", "C": "even", "F": "even"})
    assert (one.classes, one.ordered, [one.index(raw) for raw in "PCF"]) == (("odd", "even"), False, [0, 1, 1])
    called = label({"levels": "one class", "at_least": "another"})  # raw values that are called as the keys are
    assert [called.index(raw) for raw in ("levels", "at_least")] == [0, 1]


@pytest.mark.parametrize(
    ("form", "raw", "words", "missing"),
    [
        pytest.param(SEVEN, "8", "'8' is not declared (declared: 1, 2, 3, 4, 5, 6, 7)", False, id="beyond_the_levels"),
        pytest.param(SEVEN, "4.5", "'4.5' is not declared", False, id="between_levels"),
        pytest.param(SEVEN, "4,0", "(a decimal comma? declare decimal: ',')", False, id="decimal_comma"),
        pytest.param(SEVEN, "", "'' is not declared", True, id="empty"),
        pytest.param({"at_least": 4}, "n/a", "'n/a' is not a number", True, id="no_number_is_there"),
        pytest.param({"at_least": 4}, "high", "'high' is not a number", False, id="word_for_a_number"),
        pytest.param({"at_least": 4}, "inf", "'inf' is not a number", False, id="infinite"),
        pytest.param({"at_least": 4}, "3,5", "(a decimal comma? declare decimal: ',')", False, id="comma_in_a_number"),
        pytest.param({"C": "a", "P": "b"}, "c", "'c' is not declared (declared: C, P)", False, id="other_capitals"),
    ],
)
def test_cell_that_stands_for_no_class_says_why(form: Any, raw: str, words: str, missing: bool) -> None:
    with pytest.raises(UnlabelledError) as caught:
        label(form).index(raw)
    assert words in str(caught.value)
    assert caught.value.missing is missing


def test_decimal_commas_count_where_the_table_declares_them() -> None:
    assert label(SEVEN).index("4,0", ",") == 3
    assert label({"at_least": 3.5}).index("3,5", ",") == 1
    assert label({1: "no", 2: "yes"}).index("2,0", ",") == 1
    assert label({"1,5": "text", "2": "b"}).index("1,5", ",") == 0  # as it is declared, a text
    for form in (SEVEN, {"at_least": 4}):
        with pytest.raises(UnlabelledError):
            label(form).index("4.000", ",")  # four thousand, or four?


@pytest.mark.parametrize(
    ("form", "words"),
    [
        pytest.param({"levels": 7}, "levels: must be a list", id="one_number"),
        pytest.param({"levels": [1]}, "at least two levels", id="one_level"),
        pytest.param({"levels": [1, 2, "1.0"]}, "the level '1' is there twice", id="level_twice"),
        pytest.param({"levels": [1, 3, 2]}, "must rise or fall, not 1, 3, 2", id="numbers_without_order"),
        pytest.param({"levels": [True, False]}, "in quotes", id="yes_and_no"),
        pytest.param({"levels": [1, 2], "colum": "x"}, "colum: unknown key", id="unknown_key_of_levels"),
        pytest.param({"at_least": 4, "classes": ["a", "b"]}, "classes: unknown key", id="unknown_key_of_a_threshold"),
        pytest.param({"at_least": None}, "at_least: ", id="threshold_that_is_none"),
        pytest.param({"at_least": float("nan")}, "at_least: ", id="threshold_that_is_no_number"),
        pytest.param([1, 2], "must map each raw value", id="list_without_its_key"),
        pytest.param({"C": "same", "P": "same"}, "at least two classes", id="one_class"),
    ],
)
def test_wrong_form_of_a_label_is_an_error(form: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        declared(labels={"mos": form})
    assert caught.value.errors[0].startswith("labels.mos: ")
    assert words in caught.value.errors[0]


def test_declaration_with_every_form_reads_the_same_after_a_round_trip() -> None:
    spec = declared(labels={**FELT, "good": {"column": "mos", "at_least": 4}, "kind": {"a": "A", "b": "B"}})
    assert DatasetSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.model_dump(mode="json")["labels"]["kind"] == {"a": "A", "b": "B"}


def test_every_label_asked_for_has_a_column_of_indices(tmp_path: Path) -> None:
    data = rated(tmp_path)
    assert [one.name for one in data.labels] == ["arousal", "valence"]
    assert (data.label, data.classes) == ("arousal", list("1234567"))
    assert data.trials["arousal_index"].tolist() == data.trials["label_index"].tolist() == [0, 3, 6, 1]
    assert data.trials["valence_index"].tolist() == [6, 3, 0, 5]
    assert data.trials["valence_index"].dtype == np.int64
    assert data.declared["P1", "2"] == "4"
    assert data.rejects == []


def test_one_label_asked_for_by_its_name_adds_no_column(tmp_path: Path) -> None:
    data = rated(tmp_path, names="valence")
    assert [one.name for one in data.labels] == ["valence"]
    assert data.trials["label"].tolist() == ["7", "4", "1", "6"]
    assert not [name for name in data.trials if name in ("arousal_index", "valence_index")]
    alone = rated(tmp_path, names=["valence"])
    assert alone.trials["valence_index"].tolist() == [6, 3, 0, 5]


def test_trial_without_one_of_two_labels_is_kept_for_the_other_and_said_so(tmp_path: Path) -> None:
    table = RATED + "P1,3,5,\nP1,4,n/a,2\n"
    gaze = FILES["gaze/P1.csv"]
    assert isinstance(gaze, str)
    root = write(tmp_path, {**FILES, "trials.csv": table, "gaze/P1.csv": gaze + "3,0,1,1\n4,0,1,1\n"})
    data = open_dataset(declared(labels=FELT), root, ["arousal", "valence"])
    assert data.trials["arousal_index"].tolist() == [0, 3, 6, 1, 4, -1]
    assert data.trials["valence_index"].tolist() == [6, 3, 0, 5, -1, 1]
    assert data.trials["label"].tolist()[-1] == ""
    assert data.trials["label_index"].tolist()[-1] == -1
    assert data.declared["P1", "4"] == ""
    assert reasons(data.rejects) == [
        ("trials.csv", 5, "missing label valence; the trial is kept for arousal"),
        ("trials.csv", 6, "missing label arousal; the trial is kept for valence"),
    ]
    assert {(one.stage, one.participant) for one in data.rejects} == {("labels", "P1")}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("P1,3,,NA", "missing label arousal, valence", id="both_missing"),
        pytest.param("P1,3,8,4", "label arousal: '8' is not declared (declared: 1, 2, 3, 4, 5, 6, 7)", id="beyond"),
        pytest.param("P1,3,,0", "label valence: '0' is not declared (declared: 1, 2, 3, 4, 5, 6, 7)", id="one_of_each"),
    ],
)
def test_trial_without_any_label_or_with_one_outside_the_levels_is_rejected(
    tmp_path: Path, row: str, reason: str
) -> None:
    data = rated(tmp_path, RATED + row + "\n")
    assert pairs(data) == [("P1", "1"), ("P1", "2"), ("P2", "1"), ("P2", "2")]
    assert reasons(data.rejects)[0] == ("trials.csv", 5, reason)


def test_labels_may_be_cut_from_one_column_at_several_thresholds(tmp_path: Path) -> None:
    trials = {**DECLARED["trials"], "columns": {**DECLARED["trials"]["columns"], "mos": "Opinion"}, "decimal": ","}
    labels = {"good": {"column": "mos", "at_least": 4}, "fair": {"column": "mos", "at_least": 2.5}}
    table = 'participant,trial,Opinion\nP1,1,"4,5"\nP1,2,"2,5"\nP2,1,"1,0"\nP2,2,2.5\n'
    data = rated(tmp_path, table, ["good", "fair"], labels=labels, trials=trials)
    assert data.trials["good_index"].tolist() == [1, 0, 0]
    assert data.trials["fair_index"].tolist() == [1, 1, 0]
    assert reasons(data.rejects) == [("trials.csv", 4, "label good: '2.5' is not a number")]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(["arousal", "mood"], "unknown label 'mood' (declared: arousal, valence)", id="unknown"),
        pytest.param(["arousal", "arousal"], "label arousal is named twice", id="twice"),
        pytest.param([], "name the label to use", id="none"),
        pytest.param(None, "name the label to use", id="two_declared_and_none_named"),
    ],
)
def test_labels_that_cannot_be_chosen_are_errors(tmp_path: Path, names: Sequence[str] | None, words: str) -> None:
    with pytest.raises(DataError) as caught:
        rated(tmp_path, names=names)
    assert words in caught.value.errors[0]


def test_label_whose_column_is_taken_must_come_first(tmp_path: Path) -> None:
    labels = {"arousal": SEVEN, "label": {"column": "valence", **SEVEN}}
    with pytest.raises(DataError, match="label label: its column label_index is that of the first label"):
        rated(tmp_path, names=["arousal", "label"], labels=labels)
    assert rated(tmp_path, names=["label", "arousal"], labels=labels).trials["label_index"].tolist() == [6, 3, 0, 5]


def test_label_with_one_class_left_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="label valence: all 2 trials are of one class, '4'"):
        rated(tmp_path, "participant,trial,arousal,valence\nP1,1,1,4\nP1,2,2,4\nP2,1,3,\n")
    with pytest.raises(DataError, match="label valence: no trial is left"):
        rated(tmp_path, "participant,trial,arousal,valence\nP1,1,1,\nP1,2,2,\n")


def test_missing_columns_of_labels_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        rated(tmp_path, labels={"arousal": SEVEN, "valence": {"column": "pleasure", **SEVEN}, "mood": SEVEN},
              names=["arousal", "valence", "mood"])  # fmt: skip
    assert [error.partition(" (")[0] for error in caught.value.errors] == [
        "label valence: no column 'pleasure'",
        "label mood: no column 'mood'",
    ]


def test_a_label_is_no_circumstance_whichever_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nuisance: 'valence': is no circumstance but the label or an id"):
        rated(tmp_path, nuisance=["valence"])


def test_screens_take_levels_from_the_names_of_their_files(tmp_path: Path) -> None:
    values = {"name": "s", "labels": {"felt": {"levels": [1, 2, 3]}}, "pictures": {"path": "*.png"}}
    root = write(tmp_path, {f"{who}r_1_{level}_b.png": b"" for who, level in ((1, "1"), (2, "3"), (3, "4"))})
    data = open_screens(validate(ScreensSpec, values), root)
    assert data.classes == ["1", "2", "3"]
    assert data.trials["label_index"].tolist() == [0, 2]
    assert [one.reason for one in data.rejects] == ["class '4' is not declared (declared: 1, 2, 3)"]
    with pytest.raises(ConfigError, match="column: the class is in the file names"):
        validate(ScreensSpec, {**values, "labels": {"felt": {"levels": [1, 2], "column": "x"}}})
