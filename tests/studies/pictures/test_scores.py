# SPDX-License-Identifier: Apache-2.0
"""Scores of pictures and what they add up to, against slow obvious computations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gazeray.models.fixation_density import centre_bias as other_pictures
from gazeray.stimuli.human_maps import TargetConfig
from gazeray.stimuli.readers.base import NO_OBSERVER
from gazeray.studies.pictures.baselines import Counts, baselines, ceilings, counts_of
from gazeray.studies.pictures.config import PictureScoring, ScoreConfig
from gazeray.studies.pictures.passes import PictureData, PictureInfo
from gazeray.studies.pictures.scores import (
    ScoredMap,
    Scorer,
    ShuffledNegatives,
    mean_and_interval,
    mean_scores,
    picture_draws,
    ratio_and_interval,
    row,
)
from gazeray.studies.pictures.summary import predictor_rows

SIZE, GRID = (60, 80), (30, 40)


def picture(number: int, fold: int = 0, fixations: int = 12, observers: int = 4) -> PictureData:
    """A picture whose fixations gather around one place, which differs between pictures."""
    rng = np.random.default_rng(number)
    centre = rng.uniform([20, 15], [60, 45])
    places = np.clip(rng.normal(centre, 6, (fixations, 2)), 0, [79.9, 59.9]).astype(np.float32)
    target = rng.random(GRID).astype(np.float32)
    info = PictureInfo(f"p{number}", f"p{number}.png", "00000", SIZE[1], SIZE[0], fixations, fold)
    who = (np.arange(fixations) % observers).astype(np.int32)
    return PictureData(info, places[:, 0], places[:, 1], who, target / target.max())


@pytest.fixture
def pictures() -> list[PictureData]:
    return [picture(number, fold=number % 3) for number in range(9)]


def scorer(pictures: list[PictureData], **settings: object) -> Scorer:
    pool = ShuffledNegatives.of(pictures, sum(len(one.x_px) for one in pictures), 10_000, 0)
    return Scorer(ScoreConfig(**settings), pool, 0, torch.device("cpu"))  # type: ignore[arg-type]


def log_density(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).random(GRID) + 0.1
    return np.log(values / values.sum()).astype(np.float32)


def test_scores_equal_slow_loops(pictures: list[PictureData]) -> None:
    bias = log_density(99)
    shown = [
        ScoredMap(one.info.stimulus, log_density(i), True, one.cells, one.target, bias)
        for i, one in enumerate(pictures)
    ]
    for one, data, scores in zip(shown, pictures, scorer(pictures).score(shown), strict=True):
        density = np.exp(one.values.astype(np.float64))
        at = density[data.cells[:, 0], data.cells[:, 1]]
        assert scores["nss"] == pytest.approx(((at - density.mean()) / density.std()).mean(), abs=1e-5)
        assert scores["information_gain"] == pytest.approx(
            np.mean([(one.values[y, x] - bias[y, x]) / np.log(2) for y, x in data.cells]), abs=1e-5
        )
        others = np.concatenate([other.relative for other in pictures if other is not data])
        negative = density[(others[:, 1] * GRID[0]).astype(int), (others[:, 0] * GRID[1]).astype(int)]
        wins = [(value > negative).mean() + 0.5 * (value == negative).mean() for value in at]
        assert scores["auc_shuffled"] == pytest.approx(np.mean(wins), abs=1e-6)
        assert scores["cc"] == pytest.approx(np.corrcoef(density.ravel(), data.target.ravel())[0, 1], abs=1e-5)


def test_score_does_not_depend_on_what_is_scored_with_it(pictures: list[PictureData]) -> None:
    bias = log_density(99)
    maps = [
        ScoredMap(one.info.stimulus, log_density(i), i % 2 == 0, one.cells, one.target, bias)
        for i, one in enumerate(pictures)
    ]
    judge = scorer(pictures)
    together = judge.score(maps)
    alone = [judge.score([one])[0] for one in maps]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-9, nan_ok=True)


def test_density_of_zero_somewhere_is_scored(pictures: list[PictureData]) -> None:
    one = pictures[0]
    values = log_density(0)
    values[0, 0] = -np.inf
    with_zero = scorer(pictures).score([ScoredMap("p0", values, True, one.cells, one.target, log_density(1))])[0]
    assert np.isfinite(with_zero["auc_uniform"])
    assert np.isfinite(with_zero["information_gain"])


def test_map_without_human_map_has_no_cc_and_picture_without_fixations_no_nss(pictures: list[PictureData]) -> None:
    one, nobody = pictures[0], np.empty((0, 2), np.int64)
    without_target = ScoredMap("p0", log_density(0), True, one.cells, None, log_density(1))
    without_gaze = ScoredMap("p0", log_density(0), True, nobody, one.target, log_density(1))
    first, second = scorer(pictures).score([without_target, without_gaze])
    assert all(np.isnan(first[name]) for name in ("cc", "sim", "kl"))
    assert np.isfinite(first["nss"])
    assert all(np.isnan(second[name]) for name in ("nss", "auc_uniform", "information_gain"))
    assert np.isfinite(second["cc"])


def test_pool_takes_every_pictures_share_when_there_are_too_many(pictures: list[PictureData]) -> None:
    total = sum(len(one.x_px) for one in pictures)
    pool = ShuffledNegatives.of(pictures, total, 27, seed=3)
    assert {name: int((pool.owner == name).sum()) for name in np.unique(pool.owner)} == {f"p{i}": 3 for i in range(9)}
    assert "p4" not in pool.owner[np.isin(pool.relative[:, 0], pool.others("p4")[:, 0])]
    again = ShuffledNegatives.of(pictures, total, 27, seed=3)
    assert np.array_equal(pool.relative, again.relative)


def test_baselines_of_a_picture_do_not_depend_on_its_own_gaze(pictures: list[PictureData]) -> None:
    counts = Counts.of(pictures, 3, maps=False)
    moved = picture(0, fold=0)
    moved = PictureData(moved.info, moved.x_px[::-1] * 0 + 1, moved.y_px * 0 + 1, moved.observer, moved.target)
    counts_moved = Counts.of([moved, *pictures[1:]], 3, maps=False)
    targets = TargetConfig(sigma_px=5)
    before, after = (baselines(one, its, targets, None) for one, its in ((pictures[0], counts), (moved, counts_moved)))
    assert set(before) == {"uniform", "centre_quarter", "centre", "mean_of_others", "centre_bias"}
    for name in before:
        assert np.allclose(before[name].values, after[name].values, atol=1e-12), name
        assert before[name].values.shape == GRID
    others = counts.others(pictures[0])
    assert others.sum() == sum(len(one.x_px) for one in pictures[1:])


def test_map_counts_stand_in_where_there_are_no_fixations() -> None:
    one = picture(0, fixations=0)
    counts = counts_of(one, maps=True)
    assert counts.shape == (other_pictures.CELLS, other_pictures.CELLS)
    assert counts.sum() == pytest.approx(1e6, rel=0.02)
    assert counts.min() >= 0


def test_picture_without_fixations_says_nothing_about_where_others_look(pictures: list[PictureData]) -> None:
    with_map_only = Counts.of([*pictures, picture(9, fixations=0)], 3, maps=False)
    assert np.array_equal(with_map_only.folds, Counts.of(pictures, 3, maps=False).folds)


def test_ceilings_judge_each_observer_by_the_others(pictures: list[PictureData]) -> None:
    one = pictures[0]
    bias = Counts.of(pictures, 3, maps=False).centre_bias(one)
    found = dict(ceilings(one, bias, TargetConfig(sigma_px=5), None, splits=2, seed=0))
    assert set(found) == {"gold_standard", "other_observers", "split_half"}
    assert [len(shown.cells) for shown in found["gold_standard"]] == [3, 3, 3, 3]
    assert len(found["split_half"]) == 4
    for first, second in zip(found["split_half"][::2], found["split_half"][1::2], strict=True):
        assert len(first.cells) + len(second.cells) == 12
        assert first.target is not None
        assert np.array_equal(first.target, second.values)


def test_single_observer_has_no_ceilings() -> None:
    one = picture(0, observers=1)
    assert dict(ceilings(one, log_density(0), TargetConfig(sigma_px=5), None, splits=2, seed=0)) == {}


def test_fixations_of_nobody_in_particular_are_no_observers() -> None:
    one = picture(0)
    anonymous = replace(one, observer=np.full(len(one.observer), NO_OBSERVER, np.int32))
    assert dict(ceilings(anonymous, log_density(0), TargetConfig(sigma_px=5), None, splits=2, seed=0)) == {}


def test_mean_and_interval_cover_the_mean_and_skip_what_is_undefined() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])
    draws = picture_draws(4, 500, 0)
    mean, interval = mean_and_interval(values, draws)
    assert mean == 2.0
    assert interval is not None
    assert 1 <= interval[0] < 2 < interval[1] <= 3
    assert mean_and_interval(np.full(4, np.nan), draws) == (None, None)
    assert mean_and_interval(np.array([1.0, np.nan, np.nan, np.nan]), draws) == (1.0, None)


def test_bootstrap_of_the_mean_has_the_textbook_width() -> None:
    values = np.random.default_rng(0).normal(size=400)
    _, interval = mean_and_interval(values, picture_draws(400, 4000, 1))
    assert interval is not None
    assert (interval[1] - interval[0]) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_ratio_is_of_means_over_the_pictures_that_both_have() -> None:
    above, below = np.array([1.0, 2.0, np.nan]), np.array([2.0, 2.0, 5.0])
    value, _ = ratio_and_interval(above, below, picture_draws(3, 200, 0))
    assert value == 0.75
    assert ratio_and_interval(above, -below, picture_draws(3, 200, 0)) == (None, None)


def test_share_of_what_is_not_there_is_undefined() -> None:
    """Where the gold standard is not clearly above the centre bias, there is nothing to explain."""
    draws = picture_draws(9, 200, 0)
    cfg = PictureScoring()
    half = np.full(9, 0.5)
    for gold, share in ((np.ones(9), 0.5), (np.array([1.0, -1, 1, -1, 1, -1, 1, -1, 0.1]), None)):
        columns = {name: dict.fromkeys(cfg.score.metrics, values) for name, values in
                   (("model:a", half), ("gold_standard", gold), ("centre_bias", np.zeros(9)))}  # fmt: skip
        entry = predictor_rows(cfg, columns, "model:a", draws)
        assert entry["explained"]["value"] == share
        assert "gain" in entry["nss"]
        assert "gain" not in entry["auc_shuffled"]


def test_gain_is_paired() -> None:
    values = np.random.default_rng(0).normal(size=50) * 10
    entry = row(values + 1, values, "centre_bias", picture_draws(50, 500, 0))
    assert entry["gain"]["value"] == pytest.approx(1)
    assert entry["gain"]["ci95"] == pytest.approx([1, 1])
    assert entry["ci95"][1] - entry["ci95"][0] > 1
    assert entry["n"] == 50


def test_mean_of_several_scores_skips_what_is_undefined() -> None:
    assert mean_scores([{"nss": 1.0, "cc": np.nan}, {"nss": 3.0, "cc": np.nan}])["nss"] == 2.0
    assert np.isnan(mean_scores([{"nss": 1.0, "cc": np.nan}])["cc"])
