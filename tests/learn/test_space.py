# SPDX-License-Identifier: Apache-2.0
"""Which settings a search tries, and which spaces it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError, JobConfig, validate
from gazeray.learn.space import settings_to_try, variant_of, variant_settings, with_setting
from gazeray.studies.heatmap.study import HeatmapConfig
from gazeray.studies.probe_saliency.config import ProbeSaliencyConfig


def config(space: dict[str, Any], **search: Any) -> HeatmapConfig:
    return HeatmapConfig.model_validate({"search": {"space": space, **search}})


def test_without_a_search_the_config_is_the_only_setting() -> None:
    assert settings_to_try(JobConfig()) == [{}]


def test_small_space_of_lists_is_tried_whole() -> None:
    found = settings_to_try(config({"model": {"width": [4, 8]}, "train": {"learning_rate": [0.1, 0.01, 0.001]}}))
    assert len(found) == 6
    assert {(one["model.width"], one["train.learning_rate"]) for one in found} == {
        (width, rate) for width in (4, 8) for rate in (0.1, 0.01, 0.001)
    }


def test_ranges_are_drawn_evenly_and_by_seed() -> None:
    space = {
        "train": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
        "model": {"width": {"low": 4, "high": 9}},
    }
    cfg = config(space, settings=120)
    found = settings_to_try(cfg)
    assert found == settings_to_try(cfg)
    rates = np.log10([one["train.learning_rate"] for one in found])
    assert rates.min() > -4
    assert rates.max() < -1
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [-3.25, -2.5, -1.75], atol=0.25)
    assert {one["model.width"] for one in found} == set(range(4, 10))
    other = config(space, settings=120).model_copy(update={"run": cfg.run.model_copy(update={"seed": 1})})
    assert settings_to_try(other) != found


def test_whole_numbers_of_a_range_are_equally_likely() -> None:
    found = settings_to_try(
        config({"model": {"width": {"low": 1, "high": 4}, "dropout": {"low": 0, "high": 0.5}}}, settings=300)
    )
    counts = np.bincount([one["model.width"] for one in found])[1:]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.06)


def test_setting_replaces_values_of_the_config() -> None:
    changed = with_setting(HeatmapConfig(), {"model.width": 3, "render.sigma_px": 11.0})
    assert (changed.model.width, changed.render.sigma_px, changed.model.dropout) == (3, 11.0, 0.4)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            {"model": {"widht": [1]}},
            "search.space.model.widht: unknown key; did you mean width? (allowed: dropout, width)",
        ),
        ({"model": [1]}, "search.space.model: a section: name the keys in it (allowed: width, dropout)"),
        ({"model": {"width": []}}, "search.space.model.width: an empty list"),
        ({"model": {"width": 4}}, "search.space.model.width: must be a list of values, or low, high and log"),
        ({"model.width": [1, 2]}, "lay the space out as the config, model: {width: ...}"),
        ({"model": {"dropout": [0.1, 2.0]}}, "model.dropout: input should be less than 1"),
        ({"train": {"epochs": [5, 10]}}, "search.space.train.epochs: leave it out"),
        ({"folds": {"outer": [2, 3]}}, "search.space.folds.outer: not a hyper-parameter"),
        ({"train": {"learning_rate": {"low": 0, "high": 1, "log": True}}}, "above 0 with log"),
        ({"train": {"learning_rate": {"low": 2, "high": 1}}}, "low must be below high"),
        ({"train": {"learning_rate": {"low": 1, "high": 2, "step": 1}}}, "unknown key step"),
        ({"train": {"learning_rate": {"low": "a", "high": 2}}}, "low and high must be numbers"),
    ],
)
def test_wrong_space_is_refused_by_name(space: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_to_try(config(space))
    assert any(words in line for line in caught.value.errors), caught.value.errors


def test_every_mistake_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        settings_to_try(config({"model": {"width": [], "heigth": [1]}}))
    assert len(caught.value.errors) == 2


@pytest.mark.parametrize(
    ("render", "keys"),
    [
        ({"height_px": [32, 48]}, ["height_px"]),
        ({"width_px": {"low": 32, "high": 64}, "height_px": [16, 32]}, ["height_px", "width_px"]),
        ({"kind": ["heatmap", "scanpath"]}, ["kind"]),
        ({"kind": ["scanpath"], "scanpath": {"kind": ["a", "b"]}}, ["scanpath.kind"]),
    ],
)
def test_pictures_whose_maps_cannot_be_averaged_are_not_searched_over(render: dict[str, Any], keys: list[str]) -> None:
    cfg = config({"render": render})
    with pytest.raises(ConfigError) as caught:
        settings_to_try(cfg)
    assert [line.partition(": ")[0] for line in caught.value.errors] == [f"search.space.render.{key}" for key in keys]
    assert all("explain.maps=false" in line for line in caught.value.errors)
    without = cfg.model_copy(update={"explain": cfg.explain.model_copy(update={"maps": False})})
    assert len(settings_to_try(without)) > 1


def test_pictures_that_all_settings_draw_alike_may_have_maps() -> None:
    render = {"height_px": [48], "sigma_px": [20, 40], "scanpath": {"kind": ["a", "b"]}}
    assert len(settings_to_try(config({"render": render}))) == 4, "a heatmap is no scanpath"


# -- the settings of a robustness grid


def varied(grid: dict[str, Any], **more: Any) -> HeatmapConfig:
    return HeatmapConfig.model_validate({"variants": {"grid": grid, **more}})


def test_without_variants_the_config_is_the_only_setting() -> None:
    assert variant_settings(HeatmapConfig()) == [{}]


def test_every_value_meets_every_other_and_every_seed_and_the_config_comes_first() -> None:
    found = variant_settings(varied({"render": {"sigma_px": [20, 40.0]}, "model": {"width": [8, 16]}}, seeds=5))
    assert found[:5] == [{}, *({"run.seed": seed} for seed in (1, 2, 3, 4))]
    assert len(found) == 20
    assert {"render.sigma_px": 20.0, "model.width": 8, "run.seed": 3} in found


def test_config_is_there_although_the_grid_lacks_its_value() -> None:
    found = variant_settings(varied({"render": {"sigma_px": [20, 80]}}))
    assert found == [{}, {"render.sigma_px": 20.0}, {"render.sigma_px": 80.0}]


def test_same_setting_written_twice_is_one() -> None:
    assert variant_settings(varied({"render": {"sigma_px": [40, 40.0, 20, 20.0]}})) == [{}, {"render.sigma_px": 20.0}]


def test_a_setting_of_the_grid_is_a_config_without_a_grid() -> None:
    cfg = varied({"events": {"detector": ["ivt"]}}, seeds=2)
    other = variant_of(cfg, {"events.detector": "ivt", "run.seed": 1})
    assert (other.events.detector, other.run.seed, other.variants.asked) == ("ivt", 1, False)


def test_seeds_follow_the_seed_of_the_run() -> None:
    cfg = HeatmapConfig.model_validate({"variants": {"seeds": 3}, "run": {"seed": 7}})
    assert variant_settings(cfg) == [{}, {"run.seed": 8}, {"run.seed": 9}]


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"render": {"sigma": [1]}}, "variants.grid.render.sigma: unknown key; did you mean sigma_px? (allowed: "),
        ({"rendr": {"sigma_px": [1]}}, "variants.grid.rendr: unknown key; did you mean render? (allowed: events, feat"),
        ({"folds": {"unseen": {"test": [[]]}}}, "unknown key: folds.unseen is a value, and is given a list of values"),
        ({"render": [1]}, "variants.grid.render: a section: name the keys in it (allowed: kind, source,"),
        ({"render": {"sigma_px": []}}, "variants.grid.render.sigma_px: an empty list"),
        ({"render": {"sigma_px": 20}}, "variants.grid.render.sigma_px: must be a list of values (got 20)"),
        ({"render": {"sigma_px": {"low": 1, "high": 2}}}, "must be a list of values"),
        ({"render.sigma_px": [1]}, "lay the space out as the config"),
        ({"render": {"sigma_px": [40, -1]}}, "variants.grid: render.sigma_px: input should be greater than 0"),
        ({"events": {"detector": ["ivt", "eye"]}}, "events.detector"),
        ({"render": {"sigma_deg": [1.0]}}, "give one of sigma_px and sigma_deg"),
        ({"run": {"seed": [1, 2]}}, "variants.seeds asks for several seeds"),
        *(({section: {"x": [1]}}, f"variants.grid.{section}.x: no setting of the analysis (allowed: folds, train,")
          for section in ("run", "resources", "storage", "tracking", "variants", "search", "explain", "scores",
                          "data")),
    ],
)  # fmt: skip
def test_grid_that_is_wrong_is_refused_with_the_reason(grid: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        variant_settings(varied(grid))
    assert told in str(error.value)


def test_every_mistake_in_a_grid_is_told_once() -> None:
    with pytest.raises(ConfigError) as error:
        variant_settings(varied({"render": {"sigma_px": [-1, 20]}, "model": {"width": [0, 8]}}, seeds=4))
    assert len(error.value.errors) == 2


def test_more_settings_than_allowed_are_refused_with_their_number() -> None:
    grid = {"model": {"width": list(range(1, 11))}, "render": {"sigma_px": list(range(41, 61))}}
    with pytest.raises(ConfigError, match="make 1005 settings, and"):
        variant_settings(varied(grid, seeds=5))
    assert len(variant_settings(varied(grid, seeds=1, settings=201))) == 201


def test_search_and_variants_are_refused_together() -> None:
    with pytest.raises(ConfigError, match="variants: not together with search"):
        validate(HeatmapConfig, {"search": {}, "variants": {"seeds": 2}})
    assert validate(HeatmapConfig, {"search": {}}).search is not None


def test_scores_alone_take_no_maps() -> None:
    assert HeatmapConfig().explain.maps
    assert not HeatmapConfig().only_scores().explain.maps


def test_what_changes_no_result_is_not_varied() -> None:
    cfg = ProbeSaliencyConfig.model_validate({"variants": {"grid": {"backbone": {"batch_size": [1, 2]}}}})
    with pytest.raises(ConfigError, match=r"variants\.grid\.backbone\.batch_size: changes no result"):
        variant_settings(cfg)
