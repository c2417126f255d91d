# SPDX-License-Identifier: Apache-2.0
"""Folds as they are dealt, and the guard that checks whatever they claim."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gazeray.config import FoldsConfig
from gazeray.learn.folds import (
    assign_folds,
    dealt_numbers,
    derive_seed,
    draw,
    fold_record,
    group_folds,
    guard,
    held_out,
    inner_seed,
    inner_splits,
    make_folds,
    numbered_folds,
)
from gazeray.study import Fold, Side
from gazeray.tables import DataError


def study(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Participants and labels of some trials each."""
    rng = np.random.default_rng(seed)
    participants = np.repeat([f"P{p:02}" for p in range(people)], rng.integers(3, 12, people))
    return participants, rng.integers(0, 2, len(participants))


def crossed(people: int, stimuli: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Everybody saw nine in ten stimuli; three classes."""
    rng = np.random.default_rng(seed)
    who, what = (part.ravel() for part in np.indices((people, stimuli)))
    keep = rng.random(len(who)) < 0.9
    labels = rng.integers(0, 3, len(who))
    names = {"participant": [f"P{n:02}" for n in who[keep]], "stimulus": [f"S{n}" for n in what[keep]]}
    return pa.table(names), labels[keep]


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def rows_of(fold: Fold) -> list[list[int]]:
    return [side.tolist() for side in (fold.train, fold.validation.rows, fold.test)]


def test_what_was_held_out_is_what_the_config_or_the_regimes_of_a_file_claim() -> None:
    assert held_out(FoldsConfig(hold_out="both"), ["test"]) == ("participant", "stimulus")
    assert held_out(FoldsConfig(hold_out="stimuli"), ["test"]) == ("stimulus",)
    unseen = {"reader": ["participant"], "text": ["stimulus"], "known": []}
    sides = {"train": "a", "validation": "b", "reader": "c", "text": "d", "known": "e", "other": "f"}
    cfg = FoldsConfig(path="folds.csv", sides=sides, unseen=unseen, hold_out="stimuli")
    assert held_out(cfg, ["reader"]) == ("participant",)
    assert held_out(cfg, ["text", "reader"]) == ("participant", "stimulus")
    assert held_out(cfg, ["other"]) == ("stimulus",)
    assert held_out(cfg, ["known"]) == ("participant",), "trials of a person resemble each other all the same"


# -- trials at random


def several_examples(people: int, stimuli: int, seed: int) -> tuple[pa.Table, np.ndarray]:
    """Two examples of every trial, of which one in ten has no label."""
    table, labels = crossed(people, stimuli, seed)
    table = table.append_column("trial", table["stimulus"]).take(np.repeat(np.arange(len(labels)), 2))
    labels = np.where(np.random.default_rng(seed).random(len(labels)) < 0.1, -1, labels)
    return table, np.repeat(labels, 2)


def test_trials_at_random_are_tested_once_and_claim_nothing_unseen() -> None:
    table, labels = several_examples(12, 10, 0)
    cfg = FoldsConfig(hold_out="neither", outer=5)
    folds = make_folds(table, labels, cfg, 3)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(labels)))
    assert held_out(cfg, ["test"]) == ()
    people, stimuli = (np.array(table[name].to_pylist()) for name in ("participant", "stimulus"))
    for fold in folds:
        assert fold.tests[0].unseen == fold.validation.unseen == ()
        sides = [fold.train, fold.validation.rows, fold.test]
        trials = [set(zip(people[rows], stimuli[rows], strict=True)) for rows in sides]
        assert not trials[0] & trials[1] | trials[0] & trials[2] | trials[1] & trials[2], "a trial is on two sides"
        assert set(people[fold.test]) <= set(people[fold.train])
        assert len(fold.train) > len(fold.test) > len(labels) / 6
        record = fold_record(fold, table, cfg)
        assert record["trials"] == dict(zip(("train", "validation", "test"), map(len, sides), strict=True))
        assert record["train"] == record["test"] == []
        assert record["stimuli"] is None
        shares = [np.bincount(labels[rows][labels[rows] >= 0], minlength=3) / len(rows) for rows in sides]
        np.testing.assert_allclose(shares[0], shares[2], atol=0.08)


def test_inner_folds_of_trials_at_random_test_each_once_and_keep_a_trial_together() -> None:
    table, labels = several_examples(8, 9, 1)
    cfg = FoldsConfig(hold_out="neither", outer=4, inner=3)
    rows = make_folds(table, labels, cfg, 0)[0].known
    splits = inner_splits(rows, table, labels, cfg, 5)
    assert sorted(np.concatenate([validation for _, validation in splits])) == sorted(rows)
    names = np.array([f"{who} {what}" for who, what in zip(table["participant"], table["trial"], strict=True)])
    for train, validation in splits:
        assert not set(names[train]) & set(names[validation])
        assert len(train) + len(validation) == len(rows)


def test_fewer_trials_than_folds_are_refused() -> None:
    table, labels = several_examples(2, 2, 0)
    with pytest.raises(DataError, match="4 trials are usable, fewer than"):
        make_folds(table, labels, FoldsConfig(hold_out="neither", outer=9), 0)


@pytest.mark.parametrize("hold_out", ["participants", "stimuli", "both"])
def test_labels_that_are_not_known_are_dealt_as_the_lowest(hold_out: str) -> None:
    table, labels = crossed(12, 12, 2)
    gone = np.where(np.arange(len(labels)) % 5 == 0, -1, labels)
    cfg = FoldsConfig(hold_out=hold_out, outer=3, stimuli=2)
    folds, same = (make_folds(table, own, cfg, 0) for own in (gone, np.maximum(gone, 0)))
    assert [rows_of(fold) for fold in folds] == [rows_of(fold) for fold in same]
    inner = [inner_splits(folds[0].known, table, own, cfg, 0) for own in (gone, np.maximum(gone, 0))]
    assert [[part.tolist() for part in pair] for pair in inner[0]] == [
        [part.tolist() for part in pair] for pair in inner[1]
    ]


# -- dealing


@pytest.mark.parametrize(
    ("hold_out", "seed", "folds", "outer", "inner"),
    [
        ("participants", 0, 4, "fd44d2b8f01cb41b", "de67715fef390171"),
        ("participants", 7, 4, "590ea881b726fdeb", "73aa695a0a6ad689"),
        ("stimuli", 0, 4, "68f656cb7b5151d7", "ef5aaaff94951da8"),
        ("stimuli", 7, 4, "01cbc626dc87bc41", "be0893fe8db6e215"),
        ("both", 0, 12, "1c87af23900187c1", "c870ddec64b096e6"),
        ("both", 7, 12, "12d7b105cc6a1f9d", "a4670df1b0182172"),
    ],
)
def test_same_study_is_dealt_the_folds_of_earlier_versions(
    hold_out: str, seed: int, folds: int, outer: str, inner: str
) -> None:
    """SHA-256 of the rows that the first version dealt: a study that goes on must find its folds again."""
    table, labels = crossed(17, 12, seed)
    cfg = FoldsConfig.model_validate({"outer": 4, "hold_out": hold_out, "stimuli": 3, "validation": 0.3, "inner": 2})
    dealt = make_folds(table, labels, cfg, seed)
    assert [fold.fold for fold in dealt] == list(range(folds))
    assert digest([rows_of(fold) for fold in dealt]) == outer
    splits = [inner_splits(fold.known, table, labels, cfg, inner_seed(seed, fold)) for fold in dealt]
    assert digest([[[side.tolist() for side in split] for split in one] for one in splits]) == inner


def test_same_people_are_dealt_the_groups_of_earlier_versions() -> None:
    table, labels = crossed(17, 12, 3)
    people = np.array(table["participant"].to_pylist())
    assert assign_folds(people, labels, 5, 11) == [
        ["P06", "P14", "P15"],
        ["P03", "P04", "P05", "P09"],
        ["P01", "P08", "P11"],
        ["P00", "P07", "P12"],
        ["P02", "P10", "P13", "P16"],
    ]
    assert draw(people, labels, 4, 11) == ["P00", "P02", "P08", "P15"]
    train, validation, test = group_folds(people, labels, 4, 0.2, 1)[2]
    assert train == ["P00", "P01", "P05", "P06", "P07", "P08", "P09", "P10", "P11", "P16"]
    assert (validation, test) == (["P12", "P13", "P15"], ["P02", "P03", "P04", "P14"])


@pytest.mark.parametrize("hold_out", ["participants", "stimuli", "both"])
def test_every_example_is_tested_once_and_what_is_held_out_is_on_one_side(hold_out: str) -> None:
    table, labels = crossed(13, 11, 2)
    cfg = FoldsConfig.model_validate({"outer": 3, "hold_out": hold_out, "stimuli": 3})
    folds = make_folds(table, labels, cfg, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(len(labels)))
    people, stimuli = (np.array(table[name].to_pylist()) for name in ("participant", "stimulus"))
    for fold in folds:
        if hold_out != "stimuli":
            sides = [set(people[rows]) for rows in (fold.train, fold.validation.rows, fold.test)]
            assert not sides[0] & sides[1]
            assert not sides[2] & (sides[0] | sides[1])
        if hold_out != "participants":
            assert not set(stimuli[fold.test]) & set(stimuli[fold.known])
        (side,) = fold.tests
        assert side.name == "test"
        held = {"participants": ("participant",), "stimuli": ("stimulus",), "both": ("participant", "stimulus")}
        assert side.unseen == held[hold_out]


@pytest.mark.parametrize(("people", "outer"), [(24, 8), (25, 8), (31, 8), (8, 8), (4, 2), (68, 10)])
def test_everybody_is_tested_exactly_once_and_nobody_is_on_two_sides(people: int, outer: int) -> None:
    participants, labels = study(people)
    folds = group_folds(participants, labels, outer, 0.2, seed=1)
    tested = [person for _, _, test in folds for person in test]
    assert sorted(tested) == sorted(set(participants))
    sizes = [len(test) for _, _, test in folds]
    assert max(sizes) - min(sizes) <= 1
    for sides in folds:
        assert all(sides)
        assert sorted(person for side in sides for person in side) == sorted(set(participants))


def test_folds_have_similar_class_shares() -> None:
    participants = np.repeat([f"P{p}" for p in range(40)], 10)
    labels = (np.tile(np.arange(10), 40) < np.repeat(np.arange(40) // 4, 10)).astype(np.int64)
    folds = group_folds(participants, labels, 4, 0.25, seed=0)
    shares = [labels[np.isin(participants, test)].mean() for _, _, test in folds]
    assert np.ptp(shares) < 0.08
    validation = [labels[np.isin(participants, side)].mean() for _, side, _ in folds]
    assert np.ptp(validation) < 0.15


def test_folds_do_not_depend_on_the_order_of_the_examples() -> None:
    participants, labels = study(20)
    order = np.random.default_rng(3).permutation(len(labels))
    assert group_folds(participants, labels, 5, 0.2, 7) == group_folds(participants[order], labels[order], 5, 0.2, 7)


def test_folds_depend_on_the_seed() -> None:
    participants, labels = study(20)
    assert group_folds(participants, labels, 5, 0.2, 7) != group_folds(participants, labels, 5, 0.2, 8)


def test_fewer_participants_than_folds_raises() -> None:
    participants, labels = study(4)
    with pytest.raises(ValueError, match="4 participants cannot fill 5 folds"):
        assign_folds(participants, labels, 5, 0)
    table = pa.table({"participant": participants, "stimulus": participants})
    for hold_out, unit in (("participants", "participants"), ("stimuli", "stimuli")):
        cfg = FoldsConfig.model_validate({"outer": 5, "hold_out": hold_out})
        with pytest.raises(DataError, match=f"4 {unit} have usable trials, fewer than folds.outer = 5"):
            make_folds(table, labels, cfg, 0)


def test_two_participants_cannot_be_split_three_ways() -> None:
    participants, labels = study(2)
    with pytest.raises(ValueError, match="takes two"):
        group_folds(participants, labels, 2, 0.2, 0)


def test_folds_that_nobody_can_be_tested_in_are_refused() -> None:
    """Two lists of stimuli, each seen by half of the readers: crossed folds without an example."""
    people = np.repeat([f"P{n}" for n in range(8)], 8)
    lists = np.concatenate([np.arange(8) + 8 * (n % 2) for n in range(8)])
    table = pa.table({"participant": people, "stimulus": [f"S{n:02}" for n in lists]})
    with pytest.raises(DataError, match="not everybody saw every stimulus"):
        make_folds(table, lists % 2, FoldsConfig(hold_out="both", outer=4, stimuli=4), 0)


@pytest.mark.parametrize(("share", "people"), [(0.1, 2), (0.25, 5), (0.4, 8), (0.45, 9), (0.5, 10)])
def test_validation_share_is_what_was_asked_for(share: float, people: int) -> None:
    participants, labels = study(21)
    for _, validation, _ in group_folds(participants, labels, 21, share, 0):
        assert len(validation) == people


def test_validation_share_is_met_in_large_folds() -> None:
    participants, labels = study(50)
    assert [len(validation) for _, validation, _ in group_folds(participants, labels, 5, 0.25, 0)] == [10] * 5


# -- the guard

PEOPLE = ["P0", "P0", "P1", "P1", "P2", "P2"]
TEXTS = ["a", "b", "a", "b", "a", "c"]
TABLE = pa.table({"participant": PEOPLE, "stimulus": TEXTS, "session": [1, 2, 1, 2, 1, 2]})


def split(train: list[int], validation: list[int], test: list[int], *unseen: str, stops: str | None = None) -> Fold:
    """A fold of rows of TABLE whose test side claims something."""
    sides = Side("validation", np.array(validation, np.int64), (stops,) if stops else ())
    return Fold(2, np.array(train, np.int64), sides, (Side("new", np.array(test, np.int64), unseen),))


@pytest.mark.parametrize(
    "fold",
    [
        pytest.param(split([0, 1], [2, 3], [4, 5], "participant"), id="new_people_may_read_old_texts"),
        pytest.param(split([0, 2], [4], [1, 3], "stimulus"), id="old_people_may_read_new_texts"),
        pytest.param(split([0], [2], [5], "participant", "stimulus"), id="new_people_with_new_texts"),
        pytest.param(split([0, 1], [2, 3], [4, 5], "participant", stops="participant"), id="claim_of_validation"),
        pytest.param(split([0], [], [1]), id="nothing_claimed_nothing_checked"),
        pytest.param(split([0, 2], [], [1, 3], "session"), id="any_column_can_be_claimed"),
    ],
)
def test_claims_that_hold_pass_the_guard(fold: Fold) -> None:
    guard([fold], TABLE)


READER, TEXT = r"fold 2: on two sides \(participant, new\): ", r"fold 2: on two sides \(stimulus, new\): "
TWICE = "fold 2: the same item is on two sides, "


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        pytest.param(split([0, 2], [4], [3], "participant"), f"{READER}P1", id="reader_was_trained_on"),
        pytest.param(split([0], [2], [3], "participant"), f"{READER}P1", id="validation_leaks_as_well"),
        pytest.param(split([0, 1], [2], [4, 5], "stimulus"), f"{TEXT}a", id="text_was_trained_on"),
        pytest.param(split([0], [2], [1], "stimulus", "participant"), f"{READER}P0", id="one_of_two_claims"),
        pytest.param(split([0], [1], [5], stops="participant"), r"\(participant, validation\): P0", id="of_validation"),
        pytest.param(split([0, 1], [2], [1]), f"{TWICE}new", id="item_trained_and_tested"),
        pytest.param(split([0], [2], [2]), f"{TWICE}new", id="item_validated_and_tested"),
        pytest.param(split([0, 2], [2], [4]), f"{TWICE}validation", id="item_trained_and_validated"),
        pytest.param(split([0, 1], [], [4], "session"), r"\(session, new\): 1", id="any_column"),
    ],
)
def test_claims_that_do_not_hold_are_named_by_the_guard(fold: Fold, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        guard([split([0, 1], [2, 3], [4, 5], "participant"), fold], TABLE)


def test_each_regime_is_checked_by_its_own_claim() -> None:
    tests = (Side("reader", np.array([4]), ("participant",)), Side("text", np.array([5]), ("stimulus",)))
    fold = Fold(0, np.array([0, 1]), Side("validation", np.array([2, 3])), tests)
    guard([fold], TABLE)
    swapped = replace(fold, tests=tuple(replace(side, unseen=("stimulus",)) for side in tests))
    with pytest.raises(ValueError, match=r"\(stimulus, reader\): a"):
        guard([swapped], TABLE)


def test_fold_without_a_test_side_has_no_tested_row() -> None:
    assert Fold(0, np.arange(3), Side("validation", np.arange(0)), ()).test.tolist() == []


# -- the record, seeds


def test_record_of_a_fold_names_who_is_where() -> None:
    table, labels = crossed(6, 5, 0)
    for hold_out, people, stimuli in (("participants", True, False), ("stimuli", False, True), ("both", True, True)):
        cfg = FoldsConfig.model_validate({"outer": 2, "hold_out": hold_out, "stimuli": 2})
        fold = make_folds(table, labels, cfg, 0)[1]
        record = fold_record(fold, table, cfg)
        names = np.array(table["participant"].to_pylist())
        assert record["test"] == (sorted(set(names[fold.test])) if people else [])
        assert (record["stimuli"] is not None) == stimuli
        assert "regimes" not in record


def test_seeds_differ_by_name_and_are_stable() -> None:
    assert derive_seed(0, "fold-1") == derive_seed(0, "fold-1")
    assert len({derive_seed(seed, name) for seed in range(5) for name in ("a", "b", "ab")}) == 15
    assert derive_seed(0, "fold-1") == 7826669062940691843


def test_seed_fits_torch() -> None:
    torch.manual_seed(derive_seed(2**31 - 1, "x"))


# -- folds of pictures


@pytest.mark.parametrize(("items", "folds"), [(17, 5), (20, 4), (5, 5)])
def test_pictures_are_dealt_to_folds_that_differ_by_one_at_most(items: int, folds: int) -> None:
    sizes = Counter(dealt_numbers(items, folds, 0).tolist())
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_pictures_are_dealt_as_by_earlier_versions() -> None:
    expected = np.empty(17, np.int64)
    expected[np.random.default_rng([3, 2]).permutation(17)] = np.arange(17) % 5
    assert dealt_numbers(17, 5, 3).tolist() == expected.tolist()


def test_numbered_folds_test_each_item_once_and_train_on_all_others() -> None:
    numbers = np.array([2, 0, 1, 0, 2])
    folds = numbered_folds(numbers, ("stimulus",))
    assert [fold.fold for fold in folds] == [0, 1, 2]
    for fold in folds:
        np.testing.assert_array_equal(fold.test, np.flatnonzero(numbers == fold.fold))
        np.testing.assert_array_equal(fold.train, np.flatnonzero(numbers != fold.fold))
        assert fold.tests[0].unseen == ("stimulus",)
        assert not len(fold.validation.rows)
    guard(folds, pa.table({"stimulus": list("abcde")}))
