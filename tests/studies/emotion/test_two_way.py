# SPDX-License-Identifier: Apache-2.0
"""Shrunken means of people and pictures: their formula, and that none sees the rating it predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from gazeray.studies.emotion.two_way import (
    PENALTIES,
    Ratings,
    again,
    cross_fitted,
    effects,
    others,
    parts,
    regressed,
    shrunken,
    tells,
)
from tests.studies.emotion.rated import Rated


def ratings(design: Rated, seed: int = 0) -> Ratings:
    table, labels, _ = design.draw(seed)
    people, stimuli = (np.array(table[name].to_pylist()) for name in ("participant", "stimulus"))
    return Ratings.of(people, stimuli, labels, design.levels, design.ordered)


def test_shrunken_means_of_balanced_data_are_those_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 6)) + rng.normal(size=(20, 1))
    found = shrunken(values.reshape(-1, 1), np.repeat(np.arange(20), 6), 20)[:, 0]
    means, within = values.mean(axis=1), values.var(axis=1, ddof=1).mean()
    between = means.var(ddof=1) - within / 6
    np.testing.assert_allclose(found, (means - means.mean()) * between / (between + within / 6))


def test_owners_that_differ_no_more_than_by_chance_have_no_effect_and_those_that_differ_keep_theirs() -> None:
    values = np.tile([0.0, 1.0], 10)[:, None]
    assert not shrunken(values, np.repeat(np.arange(10), 2), 10).any(), "everybody has the same mean"
    alike = np.repeat([0.0, 1.0], 4)[:, None]
    np.testing.assert_allclose(shrunken(alike, np.repeat([0, 1], 4), 3)[:, 0], [-0.5, 0.5, 0.0])


@pytest.mark.parametrize("whose", [np.zeros(6, int), np.arange(6)], ids=["one_owner", "one_value_each"])
def test_where_nothing_tells_how_much_owners_differ_they_have_no_effect(whose: np.ndarray) -> None:
    assert not shrunken(np.arange(6.0)[:, None], whose, 6).any()


def test_two_way_fit_corrects_pictures_for_who_happened_to_rate_them() -> None:
    """Strict people saw the second half of the pictures, mild ones the first; pictures do not differ."""
    who = np.repeat(np.arange(20), 10)
    strict = who >= 10
    what = np.where(strict, 10, 0) + np.tile(np.arange(10), 20)
    what[::5] = (what[::5] + 10) % 20  # some of each saw the others', else nothing could tell
    labels = np.where(strict, 0, 3) + np.random.default_rng(0).integers(0, 3, 200)
    found = Ratings(who, what, labels, 7, True)
    one, both = (
        effects(found, np.arange(200), owners)["stimulus"] for owners in (["stimulus"], ["participant", "stimulus"])
    )
    assert np.abs(both).max() < 0.35 < 0.8 < np.abs(one).max()


@pytest.mark.parametrize(
    ("unseen", "owners"),
    [
        (("participant",), ("stimulus",)),
        (("stimulus",), ("participant",)),
        ((), ("participant", "stimulus")),
    ],
)
def test_what_is_told_of_a_row_does_not_depend_on_its_own_part(
    unseen: tuple[str, ...], owners: tuple[str, ...]
) -> None:
    here = ratings(Rated(people=12, pictures=11, repeats=2))
    known = np.arange(len(here.labels))
    whose = here.owner(unseen[0]) if unseen else here.who * 100 + here.what
    part = parts(here, known, unseen)
    before = cross_fitted(here, known, owners, part)
    own = whose == whose[5]
    changed = replace(here, labels=np.where(own, 4 - here.labels, here.labels))
    after = cross_fitted(changed, known, owners, part)
    for owner in owners:
        np.testing.assert_array_equal(before[owner][own], after[owner][own])
        assert (before[owner][~own] != after[owner][~own]).any()


def test_effects_that_say_the_opposite_tell_nothing() -> None:
    values = np.arange(6.0)[:, None]
    assert tells(values, values)
    assert not tells(-values, values)
    assert not tells(np.zeros((6, 1)), values)


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_ceilings_are_plain_loops_that_leave_out_the_person_or_the_row(levels: int, ordered: bool) -> None:
    here = ratings(Rated(people=6, pictures=5, levels=levels, ordered=ordered, repeats=2, gone=0.3, pull=2.0))
    here = replace(here, labels=np.where(np.arange(len(here.labels)) % 9 == 0, -1, here.labels))
    everybody, retest, values, rated = others(here), again(here), here.values, here.labels >= 0
    assert values.shape[1] == (1 if ordered or levels == 2 else levels - 1)
    trust = []
    for row in range(len(here.labels)):
        own = here.who == here.who[row]
        same = rated & ~own & (here.what == here.what[row])
        twin = rated & own & (here.what == here.what[row]) & (np.arange(len(own)) != row)
        plain = values[same].mean(axis=0) - values[rated & ~own].mean(axis=0)
        trust.append([same.sum(), *(everybody[row] / plain)])
        expected = values[twin].mean(axis=0) - values[rated].mean(axis=0) if twin.any() else np.nan
        np.testing.assert_allclose(retest[row], np.broadcast_to(expected, retest[row].shape))
    n, *shares = np.array(trust).T
    for share in shares:
        assert np.all((share > 0) & (share < 1))
        lot = n / share - n  # within / between, the same everywhere
        np.testing.assert_allclose(lot, lot[0])


def test_picture_that_nobody_else_rated_has_no_ceiling() -> None:
    here = Ratings(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 0, 0]), np.array([1, 0, 1, 0, 1]), 2, True)
    assert np.isnan(others(here)[:, 0]).tolist() == [False, True, False, False, False]
    assert np.isnan(again(here)[:, 0]).tolist() == [True, True, False, False, True]


def test_ridge_regression_tells_each_part_by_the_others_and_takes_the_penalty_that_errs_least() -> None:
    rng = np.random.default_rng(1)
    known, asked, part = rng.normal(size=(60, 3)) * [1, 5, 0] + 2, rng.normal(size=(7, 3)), np.arange(60) % 5
    values = known[:, [0]] - 0.1 * known[:, [1]] + rng.normal(size=(60, 1))
    before, now = regressed(known, values, asked, part)
    scale = np.where(known.std(axis=0) > 0, known.std(axis=0), np.inf)
    left, right = ((own - known.mean(axis=0)) / scale for own in (known, asked))

    def ridge(rows: np.ndarray, on: np.ndarray, penalty: float) -> np.ndarray:
        model = Ridge(penalty * len(rows)).fit(left[rows], values[rows, 0])
        return np.asarray(model.predict(on) - values[rows].mean())[:, None]

    tried = {}
    for penalty in PENALTIES:
        cross = np.zeros_like(values)
        for one in range(5):
            cross[part == one] = ridge(np.flatnonzero(part != one), left[part == one], penalty)
        means = np.array([values[part != one].mean() for one in part])[:, None]
        tried[float(((values - means - cross) ** 2).sum())] = penalty, cross
    penalty, cross = tried[min(tried)]
    np.testing.assert_allclose(before, cross)
    np.testing.assert_allclose(now, ridge(np.arange(60), right, penalty))


def test_ridge_regression_on_nothing_but_one_part_tells_nothing_of_it() -> None:
    before, _ = regressed(np.eye(4), np.arange(4.0)[:, None], np.eye(4), np.zeros(4, int))
    assert not before.any()
