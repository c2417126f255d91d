# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from gazeray.learn.folds import Fold, assign_folds, derive_seed, participant_folds, split_rows


def study(people: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    participants = np.repeat([f"P{p:02}" for p in range(people)], rng.integers(3, 12, people))
    return participants, rng.integers(0, 2, len(participants))


@pytest.mark.parametrize(("people", "outer"), [(24, 8), (25, 8), (31, 8), (8, 8), (4, 2), (68, 10)])
def test_everybody_is_tested_exactly_once_and_nobody_is_on_two_sides(people: int, outer: int) -> None:
    participants, labels = study(people)
    folds = participant_folds(participants, labels, outer, 0.2, seed=1)
    tested = [person for fold in folds for person in fold.test]
    assert sorted(tested) == sorted(set(participants))
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        sides = [fold.train, fold.validation, fold.test]
        assert all(sides)
        assert sorted(person for side in sides for person in side) == sorted(set(participants))


def test_folds_have_similar_class_shares() -> None:
    participants = np.repeat([f"P{p}" for p in range(40)], 10)
    labels = (np.tile(np.arange(10), 40) < np.repeat(np.arange(40) // 4, 10)).astype(np.int64)
    folds = participant_folds(participants, labels, 4, 0.25, seed=0)
    shares = [labels[np.isin(participants, fold.test)].mean() for fold in folds]
    assert np.ptp(shares) < 0.08
    validation = [labels[np.isin(participants, fold.validation)].mean() for fold in folds]
    assert np.ptp(validation) < 0.15


def test_folds_do_not_depend_on_the_order_of_the_examples() -> None:
    participants, labels = study(20)
    order = np.random.default_rng(3).permutation(len(labels))
    assert participant_folds(participants, labels, 5, 0.2, 7) == participant_folds(
        participants[order], labels[order], 5, 0.2, 7
    )


def test_folds_depend_on_the_seed() -> None:
    participants, labels = study(20)
    assert participant_folds(participants, labels, 5, 0.2, 7) != participant_folds(participants, labels, 5, 0.2, 8)


def test_fewer_participants_than_folds_raises() -> None:
    participants, labels = study(4)
    with pytest.raises(ValueError, match="4 participants cannot fill 5 folds"):
        assign_folds(participants, labels, 5, 0)


def test_two_participants_cannot_be_split_three_ways() -> None:
    participants, labels = study(2)
    with pytest.raises(ValueError, match="takes two"):
        participant_folds(participants, labels, 2, 0.2, 0)


def test_validation_share_is_met() -> None:
    participants, labels = study(50)
    for fold in participant_folds(participants, labels, 5, 0.25, 0):
        assert len(fold.validation) == 10


@pytest.mark.parametrize(("share", "people"), [(0.1, 2), (0.25, 5), (0.4, 8), (0.45, 9), (0.5, 10)])
def test_validation_share_is_what_was_asked_for(share: float, people: int) -> None:
    participants, labels = study(21)
    for fold in participant_folds(participants, labels, 21, share, 0):
        assert len(fold.validation) == people


def test_leaking_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="two sides: P1"):
        split_rows(np.array(["P1", "P2"]), Fold(0, ["P1"], ["P2"], ["P1"]))


def test_seeds_differ_by_name_and_are_stable() -> None:
    assert derive_seed(0, "fold-1") == derive_seed(0, "fold-1")
    assert len({derive_seed(seed, name) for seed in range(5) for name in ("a", "b", "ab")}) == 15
    assert derive_seed(0, "fold-1") == 7826669062940691843


def test_seed_fits_torch() -> None:
    import torch

    torch.manual_seed(derive_seed(2**31 - 1, "x"))
