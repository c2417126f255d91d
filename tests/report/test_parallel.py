# SPDX-License-Identifier: Apache-2.0
"""Parallel coordinates of a search: linear, logarithmic and categorical axes, settings without a score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.report.sections.parallel import axis_of, figure
from gazeray.report.sections.search import value_words


def tried(*settings: tuple[dict[str, Any], float | None]) -> list[dict[str, Any]]:
    return [{"setting": setting, "score": score, "loss": score} for setting, score in settings]


def told(trials: list[dict[str, Any]], key: str = "score") -> Any:
    return figure(trials, lambda name: name == "rate", key, f"inner {key}", value_words)


def test_numbers_lie_between_the_lowest_and_the_highest() -> None:
    axis = axis_of("gamma", [1, 2.0, None, 5], False, value_words)
    np.testing.assert_allclose(axis.places, [0, 0.25, np.nan, 1])
    assert axis.ticks == {0.0: "1", 0.25: "2", 1.0: "5"}


@pytest.mark.parametrize(("values", "asked"), [([1e-4, 1e-3, 1e-2], True), ([1.0, 10.0, 100.0], False)])
def test_an_axis_is_logarithmic_where_the_space_says_so_or_numbers_are_wide_apart(
    values: list[float], asked: bool
) -> None:
    np.testing.assert_allclose(axis_of("rate", values, asked, value_words).places, [0, 0.5, 1])


def test_a_range_that_holds_zero_is_never_logarithmic() -> None:
    np.testing.assert_allclose(axis_of("gamma", [0.0, 50.0, 100.0], True, value_words).places, [0, 0.5, 1])


def test_many_numbers_have_few_ticks_that_do_not_lie_on_each_other() -> None:
    axis = axis_of("rate", np.geomspace(2e-4, 9e-2, 40).tolist(), True, value_words)
    places = sorted(axis.ticks)
    assert 3 <= len(places) <= 6
    assert min(np.diff(places)) > 0.1


def test_categories_are_spread_evenly_by_name_lists_and_switches_too() -> None:
    axis = axis_of("branches", [["series"], ["series", "picture"], None, ["series"]], False, value_words)
    np.testing.assert_allclose(axis.places, [0.25, 0.75, np.nan, 0.25])
    assert axis.ticks == {0.25: "series", 0.75: "series, picture"}
    assert set(axis_of("weights", [True, False], False, value_words).ticks.values()) == {"True", "False"}


def test_best_is_the_highest_score_or_the_lowest_loss(undrawn: None) -> None:
    trials = tried(({"rate": 1e-3}, 0.2), ({"rate": 1e-2}, 0.4), ({"rate": 1e-1}, None))
    assert "Best inner score 0.400: rate 0.01." in told(trials).alt
    assert "Best inner loss 0.200: rate 0.001." in told(trials, "loss").alt
    assert "Grey, dashed: 1 without a score." in told(trials).caption
    assert "lower is better" in told(trials, "loss").caption


def test_what_does_not_vary_has_no_axis(undrawn: None) -> None:
    found = told(tried(({"rate": 1e-3, "width": 8}, 0.2), ({"rate": 1e-2, "width": 8}, 0.4)))
    assert "width" not in found.alt


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([], id="nothing_tried"),
        pytest.param(tried(({"rate": 1e-3}, 0.2), ({"rate": 1e-2}, None)), id="one_score"),
        pytest.param(tried(({"rate": 1e-3}, 0.2), ({"rate": 1e-3}, 0.3)), id="nothing_varies"),
    ],
)
def test_too_little_is_not_drawn(trials: list[dict[str, Any]]) -> None:
    assert told(trials) is None


def test_equal_scores_are_drawn(drawn: list[Any]) -> None:
    assert told(tried(({"rate": 1e-3}, 0.2), ({"rate": 1e-2}, 0.2))) is not None
    assert len(drawn) == 1
