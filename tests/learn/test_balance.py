# SPDX-License-Identifier: Apache-2.0
"""Which rows an epoch draws: the published heuristics on the published counts, and what must hold of every way."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from gazeray.learn.balance import Balance, Levels, balanced_weights, drawn, expected, level_counts, pools

WAYS = get_args(Balance)
AROUSAL = [8200, 6300, 5850, 4700, 2700, 800, 600]
VALENCE = [1000, 1300, 3500, 12000, 8200, 2050, 1100]


def labelled(counts: list[int], seed: int, ordered: bool = True) -> Levels:
    """Levels as often as counted, in random order."""
    index = np.repeat(np.arange(len(counts)), counts)
    return Levels(np.random.default_rng(seed).permutation(index), len(counts), ordered)


def published() -> list[Levels]:
    """Both labels with about the published counts."""
    arousal, valence = labelled(AROUSAL, 1), labelled(VALENCE, 2)
    rows = min(len(arousal.index), len(valence.index))
    return [Levels(label.index[:rows], 7, True) for label in (arousal, valence)]


def few(ordered: bool = True) -> list[Levels]:
    """Two labels of 60 rows, some not known, one level of the second absent."""
    first = labelled([30, 20, 8, 2], 3, ordered)
    second = Levels(np.where(first.index == 1, -1, np.arange(60) % 2 * 2), 3, True)
    index = first.index.copy()
    index[:5] = -1
    return [Levels(index, 4, ordered), second]


def counted(labels: list[Levels], how: Balance, seed: int = 0) -> np.ndarray:
    """How often each row is drawn."""
    return np.bincount(drawn(pools(labels, how), seed), minlength=len(labels[0].index))


def test_none_draws_every_row_once() -> None:
    assert counted(few(), "none").tolist() == [1] * 60


def test_published_over_draws_k_of_every_level() -> None:
    """k = min(#arousal 7, #valence 1, #valence 7) rows of each of the 7 + 7 levels, without replacement in a level."""
    labels = published()
    arousal, valence = (label.index for label in labels)
    k = min(np.sum(arousal == 6), np.sum(valence == 0), np.sum(valence == 6))
    often = counted(labels, "published_over")
    assert often.sum() == 14 * k
    assert often.max() == 2, "a row is drawn once for each label at most"
    by_loop = np.zeros(len(arousal), int)
    plan = pools(labels, "published_over")
    for own, count in plan:
        assert count == k
        assert len(np.unique([arousal[own].min(), arousal[own].max()])) == 1 or len(set(valence[own])) == 1
        by_loop[own] += 1
    assert (by_loop == 2).all(), "every row lies in the pool of one level of each label"


def test_published_neutral_draws_all_that_is_rare_and_k_others() -> None:
    """Neutral: arousal 1 to 5 and valence 3 to 5; k = the largest of the counts of the rare levels."""
    labels = published()
    arousal, valence = (label.index + 1 for label in labels)
    neutral = np.isin(arousal, [1, 2, 3, 4, 5]) & np.isin(valence, [3, 4, 5])
    k = max([np.sum(arousal == one) for one in (6, 7)] + [np.sum(valence == one) for one in (1, 2, 6, 7)])
    often = counted(labels, "published_neutral")
    assert (often[~neutral] == 1).all()
    assert often[neutral].sum() == k
    assert often.max() == 1


def test_classes_draws_levels_alike_and_as_many_rows_as_there_are() -> None:
    (first, second), often = few(), np.zeros(60)
    for own, count in pools([first, second], "classes"):
        often[own] += count / len(own)
        levels = {tuple(sorted(set(label.index[own]))) for label in (first, second)}
        assert any(len(level) == 1 for level in levels)
    sizes = [count for _, count in pools([first, second], "classes")]
    assert sum(sizes) == 60
    assert sizes == [8, 8, 7, 7, 15, 15], "half for each label; four levels of one, two of the other that are there"
    assert counted([first], "classes").sum() == 60
    seen = level_counts(first, counted([first], "classes"))
    assert seen.tolist() == [15, 15, 15, 15]


def test_no_row_of_a_level_comes_twice_before_every_other_came_once() -> None:
    often = counted([labelled([50, 5, 3], 0)], "classes")
    index = labelled([50, 5, 3], 0).index
    for level in range(3):
        own = often[index == level]
        assert own.max() - own.min() <= 1


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("ordered", [True, False])
def test_expected_draws_are_the_mean_of_many_epochs(how: Balance, ordered: bool) -> None:
    labels = few(ordered)
    plan = pools(labels, how)
    mean = np.mean([np.bincount(drawn(plan, seed), minlength=60) for seed in range(300)], axis=0)
    np.testing.assert_allclose(mean, expected(plan, 60), atol=0.2)


@pytest.mark.parametrize("how", WAYS)
def test_draws_follow_from_the_seed(how: Balance) -> None:
    plan = pools(few(), how)
    assert np.array_equal(drawn(plan, 5), drawn(plan, 5))
    if how != "none":
        assert not np.array_equal(drawn(plan, 5), drawn(plan, 6))


@pytest.mark.parametrize("how", WAYS)
def test_rows_without_any_label_are_drawn_by_none_alone(how: Balance) -> None:
    first, second = few()
    for label in (first, second):
        label.index[40:50] = -1
    often = counted([first, second], how)
    assert (often[40:50] == (1 if how == "none" else 0)).all()


@pytest.mark.parametrize("how", WAYS)
def test_where_nothing_is_known_every_row_is_drawn(how: Balance) -> None:
    nothing = Levels(np.full(7, -1), 3, True)
    assert counted([nothing, nothing], how).tolist() == [1] * 7


@pytest.mark.parametrize("how", WAYS)
def test_a_level_that_is_absent_or_the_only_one_is_no_fault(how: Balance) -> None:
    only = Levels(np.full(6, 2), 4, True)
    often = counted([only], how)
    assert often.sum() == 6
    absent = Levels(np.array([0, 0, 0, 3, 3, 0]), 4, True)
    assert counted([absent], how).sum() > 0


def test_without_a_rare_level_published_neutral_draws_every_row() -> None:
    assert counted([labelled([10, 10, 10], 0)], "published_neutral").tolist() == [1] * 30


def test_smallest_end_of_a_scale_and_smallest_class_of_a_label_without_order() -> None:
    counts = [9, 2, 7]
    assert [count for _, count in pools([labelled(counts, 0)], "published_over")] == [7, 2, 7]
    assert [count for _, count in pools([labelled(counts, 0, ordered=False)], "published_over")] == [2, 2, 2]


def test_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = labelled([7, 0, 3, 30], 0)
    counts = level_counts(labels, np.ones(len(labels.index)))
    theirs = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels.index)
    np.testing.assert_allclose(balanced_weights(counts)[[0, 2, 3]], theirs)
    assert balanced_weights(counts)[1] == 0
    assert balanced_weights(np.zeros(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(balanced_weights(counts / 100), balanced_weights(counts))
