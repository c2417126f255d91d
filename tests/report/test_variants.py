# SPDX-License-Identifier: Apache-2.0
"""The section on variants: the specification curve of few and of many settings, its words, and its table."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from gazeray.engine.variants import overview
from gazeray.report.blocks import Figure, Heading, Table, Text
from gazeray.report.results import Results
from gazeray.report.sections.variants import REFERENCE, curve, exact_words, section, specification_curve
from gazeray.unit import Json

CONFIG: Json = {"run": {"seed": 0}, "events": {"detector": "idt_px"}, "render": {"sigma_px": 40.0}}
DETECTORS, SIGMAS = ("idt_px", "ivt", "adaptive"), (20.0, 40.0)


def point(setting: Json, value: float | None, gain: float, side: str = "above") -> Json:
    found: Json = {"name": "v-1" if setting else "", "setting": setting, "n": {"trials": 90}}
    if value is None:
        return {**found, "why": "no usable trial is left"}
    bounds = [gain - 0.05, gain + 0.05]
    beside = {"over": "without_gaze", "value": gain, "ci95": bounds, "p": 0.01, "side": side}
    score = {"metric": "balanced_accuracy", "value": value, "ci95": [value - 0.06, value + 0.06], "chance": 0.5}
    return {**found, **score, "against_chance": "above", "gain": beside, "gain_over": "the best without gaze"}


def results(points: list[Json]) -> Results:
    predictors = {"without_gaze": {"label": "all without gaze together", "kind": "baseline"}}
    manifest = {"config": CONFIG, "counts": {"trials": 100}}
    return Results(manifest, {"variants": overview(points), "predictors": predictors})


def many(seeds: int, impossible: bool = False) -> list[Json]:
    """Detectors x sigmas x seeds; one detector may be impossible."""
    rng = np.random.default_rng(0)
    points = []
    for detector in DETECTORS:
        for sigma in SIGMAS:
            for seed in range(seeds):
                setting = {"events.detector": detector, "render.sigma_px": sigma, "run.seed": seed}
                own = {"events.detector": "idt_px", "render.sigma_px": 40.0, "run.seed": 0}
                differs = {key: value for key, value in setting.items() if value != own[key]}
                gone = impossible and detector == "adaptive"
                gain = float(rng.normal(0.06, 0.04))
                points.append(point(differs, None if gone else 0.7 + gain, gain, "above" if gain > 0.05 else "none"))
    return points


def words(found: Results) -> list[Text]:
    drawn = section(found)
    assert drawn is not None
    return [block for block in drawn.blocks if isinstance(block, Text)]


def test_no_variants_no_section() -> None:
    assert section(Results({"config": CONFIG}, {})) is None


@pytest.mark.parametrize("seeds", [1, 3, 34])
@pytest.mark.parametrize("impossible", [False, True])
def test_curve_is_laid_out_with_few_and_with_many_settings(drawn: list[Any], seeds: int, impossible: bool) -> None:
    specification_curve(curve(results(many(seeds, impossible))))
    (figure,) = drawn
    scores, gains, matrix = figure.axes
    rows = len(DETECTORS) + len(SIGMAS) + (min(seeds, 12) if seeds > 1 else 0)
    assert len(matrix.get_yticks()) == rows
    sizes = [axis.get_window_extent() for axis in (scores, gains, matrix)]
    assert min(size.width for size in sizes) > 0.6 * figure.bbox.width
    assert min(size.height for size in sizes) > 30
    shown = [label.get_window_extent() for label in matrix.get_yticklabels()]
    assert all(upper.y0 > lower.y0 + 8 for upper, lower in itertools.pairwise(shown)), "labels do not overlap"


def test_a_score_that_is_a_gain_itself_is_drawn_once(drawn: list[Any]) -> None:
    points = [point({}, 0.1, 0.1), point({"run.seed": 1}, 0.2, 0.2)]
    for one in points:
        one |= {"metric": "information_gain", "chance": None, "against_chance": "none", "gain_over": "the centre bias"}
        one["gain"]["ci95"] = one["ci95"]
    found = results(points)
    specification_curve(curve(found))
    assert len(drawn[0].axes) == 2
    told = section(found)
    assert told is not None
    (figure,) = [block for block in told.blocks if isinstance(block, Figure)]
    assert "dashed: the centre bias" in figure.caption
    assert "chance" not in figure.caption


def test_one_setting_is_drawn(drawn: list[Any]) -> None:
    specification_curve(curve(results([point({}, 0.7, 0.1)])))
    assert len(drawn) == 1


def test_columns_go_from_the_lowest_score_to_the_highest_and_what_has_none_comes_last() -> None:
    found = curve(results(many(3, impossible=True)))
    values = found.values[:, 0]
    assert len(values) == 18
    assert np.isnan(values[-6:]).all()
    assert (np.diff(values[:12]) >= 0).all()
    assert found.points[found.own]["setting"] == {}
    detectors, which = found.shown["events.detector"]
    assert {detectors[place] for place in which[-6:]} == {"adaptive"}
    assert detectors[which[found.own]] == "idt_px", "what a setting does not name is as in the config"
    assert list(found.shown)[-1] == "run.seed"


def test_a_gain_that_does_not_hold_everywhere_is_said_first() -> None:
    first, second = words(results([point({}, 0.7, 0.1), point({"run.seed": 1}, 0.6, 0.01, "none")]))[:2]
    assert first.lead == "The gain over the best without gaze holds in 1 of 2 settings."
    assert "+0.010 to +0.100" in first.words
    assert second.words.startswith(
        "The analysis was done in 2 settings, all of which are shown: balanced accuracy runs"
    )
    none = words(results([point({}, 0.7, 0.0, "none")]))[0]
    assert none.lead == "The gain over the best without gaze holds in none of 1 setting."
    everywhere = words(results([point({}, 0.7, 0.1), point({"run.seed": 1}, 0.6, 0.1)]))[0]
    assert everywhere.lead == "The gain over the best without gaze holds in all 2 settings."


def test_a_gain_that_holds_where_there_is_one_is_not_said_to_hold_in_all_settings() -> None:
    points = [point({}, 0.7, 0.1), point({"run.seed": 1}, None, 0.0), point({"run.seed": 2}, 0.7, 0.1)]
    assert words(results(points))[0].lead == (
        "The gain over the best without gaze holds in all of the 2 that have one, of 3 settings."
    )
    points[2] = point({"run.seed": 2}, 0.7, 0.1, "none")
    assert words(results(points))[0].lead.endswith("holds in 1 of the 2 that have one, of 3 settings.")


def test_values_that_differ_are_told_apart() -> None:
    values: list[Any] = [123456.0, 123457.0, 0.1, 1e-5, {"train": "a", "test": "b"}, [], ["x", 0.5], None, True, 7]
    told = [exact_words(value) for value in values]
    assert told == ["123456.0", "123457.0", "0.1", "1e-05", "{train: a, test: b}", "[]", "x, 0.5", "None", "True", "7"]
    sigmas = [point({}, 0.7, 0.1), point({"render.sigma_px": 40.0001}, 0.6, 0.1)]
    assert curve(results(sigmas)).shown["render.sigma_px"][0] == ["40", "40.0001"]


def test_what_changes_no_number_is_said() -> None:
    told = words(results([point({}, 0.7, 0.1), point({"events.detector": "ivt"}, 0.7, 0.1)]))
    assert "events.detector changed no number." in [text.lead for text in told]
    assert any("Different among the 2 points: 1." in text.words for text in told)


def test_seeds_and_what_has_no_score_are_told() -> None:
    told = " ".join(text.words for text in words(results(many(5, impossible=True))))
    assert "10 settings have no score" in told
    assert "With 5 seeds the config’s own setting scores" in told


def test_every_setting_stands_in_the_table_with_its_reason() -> None:
    found = section(results(many(2, impossible=True)))
    assert found is not None
    (table,) = [block for block in found.blocks if isinstance(block, Table)]
    assert len(table.rows) == 12
    assert sum("no usable trial is left" in str(cell) for row in table.rows for cell in row) == 4
    (own,) = table.shaded
    assert table.rows[own][0] == "as in the config"
    (figure,) = [block for block in found.blocks if isinstance(block, Figure)]
    assert "8 settings" not in figure.alt
    assert "12 settings" in figure.alt
    assert any(REFERENCE in str(block) for block in found.blocks)


def test_nothing_scored_gives_words_and_a_table_and_no_curve() -> None:
    found = section(results([{"name": "", "setting": {}, "why": "no headline was scored"}]))
    assert found is not None
    assert not [block for block in found.blocks if isinstance(block, Figure)]
    assert "1 setting has no score" in " ".join(block.words for block in found.blocks if isinstance(block, Text))


def test_trials_that_differ_are_counted_by_reason_once_for_all_seeds() -> None:
    gate = {"quality.max_lost_share": 0.1}
    more = {"left_out": {"lost_share … > quality.max_lost_share 0.1": 12}, "added": {}}
    found = results(
        [point({}, 0.7, 0.1), *({**point({**gate, **seed}, 0.6, 0.1), **more} for seed in ({}, {"run.seed": 1}))]
    )
    found.manifest["config"] = {**CONFIG, "quality": {"max_lost_share": 0.5}}
    drawn = section(found)
    assert drawn is not None
    assert any(isinstance(block, Heading) and "Other trials" in block.words for block in drawn.blocks)
    tables = [block for block in drawn.blocks if isinstance(block, Table)]
    assert tables[1].rows == [
        ["quality.max_lost_share = 0.1", "left out", 12, "lost_share … > quality.max_lost_share 0.1"]
    ]
