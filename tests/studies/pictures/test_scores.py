# SPDX-License-Identifier: Apache-2.0
"""Scores of pictures and what they add up to, against slow obvious computations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
import torch

from gazeray.metrics.resampling import to_grid
from gazeray.models.fixation_density.centre_bias import CELLS
from gazeray.stimuli.readers.base import NO_OBSERVER
from gazeray.stimuli.recipes import TargetConfig
from gazeray.storage import Folder
from gazeray.studies.pictures.baselines import Counts, baselines, ceilings, counts_of, shown
from gazeray.studies.pictures.config import Metric, PictureScoring, ScoreConfig
from gazeray.studies.pictures.passes import PictureData, PictureInfo
from gazeray.studies.pictures.scores import (
    ScoredMap,
    Scorer,
    Scores,
    ScoreTable,
    ShuffledNegatives,
    commonest,
    mean_scores,
    scores_table,
)
from gazeray.studies.pictures.summary import rows_of

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
    for one, data, found in zip(shown, pictures, scorer(pictures).score(shown), strict=True):
        scores = found.values
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
        assert one.values == pytest.approx(other.values, abs=1e-9, nan_ok=True)


def test_density_of_zero_somewhere_is_scored(pictures: list[PictureData]) -> None:
    one = pictures[0]
    values = log_density(0)
    values[0, 0] = -np.inf
    with_zero = scorer(pictures).score([ScoredMap("p0", values, True, one.cells, one.target, log_density(1))])[0].values
    assert np.isfinite(with_zero["auc_uniform"])
    assert np.isfinite(with_zero["information_gain"])


def test_map_without_human_map_has_no_cc_and_picture_without_fixations_no_nss(pictures: list[PictureData]) -> None:
    one, nobody = pictures[0], np.empty((0, 2), np.int64)
    without_target = ScoredMap("p0", log_density(0), True, one.cells, None, log_density(1))
    without_gaze = ScoredMap("p0", log_density(0), True, nobody, one.target, log_density(1))
    first, second = scorer(pictures).score([without_target, without_gaze])
    assert first.why == dict.fromkeys(
        ("cc", "sim", "kl"), "one left-out person’s fixations make no human map to compare with"
    )
    assert second.why == dict.fromkeys(
        ("information_gain", "auc_uniform", "auc_shuffled", "auc_judd", "nss"), "the picture has no fixations"
    )
    for scores in (first, second):
        assert {name for name, value in scores.values.items() if np.isnan(value)} == set(scores.why)


def test_every_undefined_metric_has_a_reason(pictures: list[PictureData]) -> None:
    one, every = pictures[0], tuple(get_args(Metric))
    everywhere = np.argwhere(np.ones(GRID, bool))
    bias, flat, empty = log_density(1), np.ones(GRID, np.float32), np.zeros(GRID, np.float32)
    judge = scorer(pictures, metrics=every)
    shown = [
        ScoredMap("p0", flat, False, one.cells, one.target, bias),
        ScoredMap("p0", empty, False, one.cells, one.target, bias),
        ScoredMap("p0", log_density(0), True, everywhere, flat, bias),
    ]
    constant, nothing, filled = (scores.why for scores in judge.score(shown))
    assert constant == dict.fromkeys(("nss", "cc"), "the map is the same everywhere")
    assert nothing == constant | dict.fromkeys(("sim", "kl", "emd"), "the map is 0 everywhere")
    assert filled == {"auc_judd": "every pixel is fixated", "cc": "the human map is the same everywhere"}
    alone = scorer([one], metrics=every).score([ScoredMap("p0", bias, True, one.cells, one.target, bias)])[0]
    assert alone.why == {"auc_shuffled": "no other picture has fixations"}
    unseen = replace(shown[0], values=bias, density=True, cells=one.cells[:0])
    told = scorer([picture(0, fixations=0)], metrics=every).score([unseen])[0].why
    assert set(told.values()) == {"the data set gives human maps and no fixations"}


def test_pool_takes_every_pictures_share_when_there_are_too_many(pictures: list[PictureData]) -> None:
    total = sum(len(one.x_px) for one in pictures)
    pool = ShuffledNegatives.of(pictures, total, 27, seed=3)
    assert {name: int((pool.owner == name).sum()) for name in np.unique(pool.owner)} == {f"p{i}": 3 for i in range(9)}
    assert "p4" not in pool.owner[np.isin(pool.relative[:, 0], pool.relative[pool.of_others("p4"), 0])]
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
    assert counts.shape == (CELLS, CELLS)
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


def table(values: dict[str, dict[str, list[float | None]]], why: dict[str, dict[str, str]] | None = None) -> pa.Table:
    """A table of scores: {predictor: {metric: value of p0, p1, ...; None: no row}}; why: {predictor: reasons}."""
    rows = []
    for predictor, metrics in values.items():
        for number in range(len(next(iter(metrics.values())))):
            own = {name: column[number] for name, column in metrics.items()}
            if None not in own.values():
                told = json.dumps(why[predictor]) if why and predictor in why and number == 0 else ""
                ids = {"stimulus": f"p{number}", "fold": 0, "predictor": predictor, "n_fixations": 5, "why": told}
                rows.append({**ids, **own})
    return scores_table(rows)


KINDS = {
    "model:a": {"kind": "model"},
    "gold_standard": {"kind": "ceiling"},
    "centre_bias": {"kind": "baseline"},
}
LOW = "the gold standard’s gain, to divide by, is not clearly above 0"


@pytest.mark.parametrize(
    ("gold", "share", "why"),
    [
        pytest.param([1.0] * 9, 0.5, None, id="all_above"),
        pytest.param([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.1], None, LOW, id="not_clearly_above"),
    ],
)
def test_share_of_what_is_not_there_is_undefined(gold: list[float], share: float | None, why: str | None) -> None:
    """Where the gold standard is not clearly above the centre bias, there is nothing to explain."""
    cfg = PictureScoring()
    columns = {name: dict.fromkeys(cfg.score.metrics, values) for name, values in
               (("model:a", [0.5] * 9), ("gold_standard", gold), ("centre_bias", [0.0] * 9))}  # fmt: skip
    rows = rows_of(cfg, table(columns), [f"p{number}" for number in range(9)], KINDS)
    entry = rows["model:a"]
    assert entry["explained"]["value"] == share
    assert entry["explained"].get("why") == why
    assert entry["nss"]["gain"]["centre_bias"]["value"] == 0.5
    assert "gain" not in entry["auc_shuffled"]
    assert "gain" not in rows["centre_bias"]["nss"]


def test_rows_say_why_pictures_have_no_score() -> None:
    cfg = PictureScoring(score=ScoreConfig(metrics=("information_gain", "cc")))
    values = {
        "model:a": {"information_gain": [1.0, 2.0, None], "cc": [np.nan, 0.5, None]},
        "gold_standard": {"information_gain": [2.0, None, 2.0], "cc": [np.nan, None, np.nan]},
        "centre_bias": {"information_gain": [0.0, 0.0, 0.0], "cc": [0.1, 0.2, 0.3]},
    }
    flat, person = "the map is the same everywhere", "one left-out person’s fixations make no human map to compare with"
    scores = table(values, {"model:a": {"cc": flat}, "gold_standard": {"cc": person}})
    rows = rows_of(cfg, scores, ["p0", "p1", "p2"], KINDS)
    assert (rows["model:a"]["information_gain"]["n"], rows["model:a"]["information_gain"]["why"]) == (
        2,
        "a unit failed",
    )
    assert (rows["model:a"]["cc"]["n"], rows["model:a"]["cc"]["why"]) == (1, flat)
    assert rows["gold_standard"]["information_gain"]["why"] == "too few observers have fixations on the picture"
    assert rows["gold_standard"]["cc"] == {
        "value": None, "ci95": None, "n": 0, "why": person,
        "gain": {"centre_bias": {"value": None, "ci95": None, "p": None}},
    }  # fmt: skip
    assert rows["model:a"]["explained"]["n"] == 1
    assert "why" not in rows["centre_bias"]["cc"]
    assert rows_of(cfg, scores, ["p0", "p1", "p2"], KINDS) == rows


def test_mean_of_several_scores_skips_what_is_undefined() -> None:
    nothing = {"cc": "the map is the same everywhere"}
    several = [Scores({"nss": 1.0, "cc": np.nan}, nothing), Scores({"nss": 3.0, "cc": np.nan}, nothing)]
    found = mean_scores(several)
    assert found.values["nss"] == 2.0
    assert np.isnan(found.values["cc"])
    assert found.why == nothing


def test_commonest_reason_is_the_first_of_equals() -> None:
    assert commonest(["a", "b", "b", None, ""]) == "b"
    assert commonest(["b", "a"]) == "b"
    assert commonest([None, ""]) == ""


def test_unit_writes_why_a_metric_is_undefined_beside_the_scores(pictures: list[PictureData], tmp_path: Path) -> None:
    one, folder = pictures[0], Folder(tmp_path)
    flat = ScoredMap("p0", np.ones(GRID, np.float32), False, one.cells, one.target, log_density(1))
    sheet = ScoreTable(scorer(pictures))
    sheet.add_each([("model:flat", one, flat), ("model:a", one, replace(flat, values=log_density(0), density=True))])
    sheet.write(folder)
    found = folder.read_table("scores.parquet")
    reasons = {"nss": "the map is the same everywhere", "cc": "the map is the same everywhere"}
    assert [json.loads(text) if text else text for text in found["why"].to_pylist()] == [reasons, ""]
    assert found["nss"].to_pylist()[0] is None
    assert found.column_names[:5] == ["stimulus", "fold", "predictor", "n_fixations", "why"]


@pytest.mark.parametrize("observers", [4, 60])
def test_auc_judd_hardly_depends_on_the_grid(observers: int) -> None:
    """Of a smooth map, however densely the picture is fixated: what is left out is px, not cells."""
    rng, (height, width) = np.random.default_rng(0), (120, 160)
    n = observers * 100
    x, y = (np.clip(rng.normal(side / 2, side / 6, n), 0, side - 0.01).astype(np.float32) for side in (width, height))
    down, across = np.mgrid[:height, :width] + 0.5
    smooth = np.exp(-((across - 90) ** 2 + (down - 55) ** 2) / 1800)
    found = []
    for grid in ((30, 40), (60, 80), (height, width)):
        info = PictureInfo("p0", "p0.png", "00000", width, height, n, 0)
        one = PictureData(info, x, y, np.arange(n, dtype=np.int32) % observers, np.ones(grid, np.float32))
        bias = np.full(grid, -np.log(np.prod(grid)), np.float32)
        found.append(scorer([one], metrics=("auc_judd",)).score([shown(one, to_grid(smooth, grid), False, bias)])[0])
    values = [scores.values["auc_judd"] for scores in found]
    fixated = np.zeros((height, width), bool)
    fixated[y.astype(int), x.astype(int)] = True
    free, hit = smooth[~fixated], smooth[y.astype(int), x.astype(int)]
    levels = np.unique(hit)[::-1]
    curve = [(float((free >= level).mean()), float((hit >= level).mean())) for level in levels]
    away, kept = zip(*[(0.0, 0.0), *curve, (1.0, 1.0)], strict=True)
    assert values[-1] == pytest.approx(np.trapezoid(kept, away), abs=1e-9)
    assert values[0] == pytest.approx(values[-1], abs=0.002)
    assert values[1] == pytest.approx(values[-1], abs=0.002)
