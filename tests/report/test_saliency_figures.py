# SPDX-License-Identifier: Apache-2.0
"""The figures of the report on saliency predictors: what they draw, where it lands, and that it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gazeray.studies.pictures import figures


@pytest.mark.parametrize("seed", range(4))
def test_lines_enclose_the_smallest_area_that_holds_their_share(seed: int) -> None:
    density = np.random.default_rng(seed).gamma(0.7, 1.0, (6, 9))
    for share in (0.25, 0.5, 0.75):
        (level,) = figures.mass_levels(density, [share])
        taken: list[float] = []
        for value in sorted(density.ravel().tolist(), reverse=True):
            taken.append(value)
            if sum(taken) >= share * density.sum() - 1e-12:
                break
        assert level == taken[-1]


@pytest.mark.parametrize("density", [np.zeros((4, 5)), np.full((4, 5), 0.3)], ids=["no_mass", "even"])
def test_density_without_a_shape_has_no_lines(density: Any) -> None:
    assert figures.mass_levels(density) == []


def test_corner_fixation_and_prediction_are_drawn_in_their_corner(drawn: list[Any]) -> None:
    density = np.zeros((6, 10))
    density[0, 9] = 1.0
    cells = np.array([[0, 9]])
    figures.overlay(np.zeros((6, 10, 3), np.uint8), density, density, cells)
    panels = drawn[0].axes
    assert [axis.get_title(loc="left") for axis in panels][:3] == ["picture", "human map", "prediction"]
    for axis in panels[1:3]:
        left, right, bottom, top = axis.images[0].get_extent()
        assert (left, right, bottom, top) == (0, 10, 6, 0)
        assert axis.images[0].get_array()[0, 9] == 1.0
    x, y = panels[3].lines[0].get_data()
    assert (x[0], y[0]) == (9.5, 0.5)
    height = panels[3].get_window_extent().height
    shown = panels[3].transData.transform((x[0], y[0])) - panels[3].transAxes.transform((0, 0))
    assert shown[1] > 0.8 * height


def test_layers_without_a_score_leave_a_gap_not_a_zero(drawn: list[Any]) -> None:
    values = {"readout": np.array([[0.4, 0.3, 0.5], [np.nan] * 3, [0.6, 0.5, 0.7]])}
    panel = figures.LayerPanel("NSS", values, {"centre_bias": 0.2})
    figures.layer_chart(["a", "b", "c"], [panel], {"centre_bias": "centre bias", "readout": "read-out"})
    line = drawn[0].axes[0].lines[1]
    assert np.isnan(line.get_ydata()[1])
    assert line.get_ydata()[[0, 2]].tolist() == [0.4, 0.6]
    assert drawn[0].axes[0].lines[0].get_ydata() == [0.2, 0.2]


def test_centre_density_is_normalised_to_an_even_spread_of_one(drawn: list[Any]) -> None:
    left = np.zeros((4, 8))
    left[:, :4] = 3.0
    figures.centre({"gaze": left})
    across, down = (axis for axis in drawn[0].axes if "share of the picture" in axis.get_xlabel())
    assert across.lines[1].get_ydata().tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert down.lines[1].get_ydata().tolist() == [1, 1, 1, 1]
    assert across.get_ylim()[0] == down.get_ylim()[0] == 0
    assert across.get_ylim()[1] > 2


def test_both_marginals_fit_into_their_panels(drawn: list[Any]) -> None:
    low = np.zeros((8, 4))
    low[0] = 1.0
    figures.centre({"gaze": low})
    for axis in drawn[0].axes:
        for line in axis.lines:
            assert np.max(line.get_ydata()) <= axis.get_ylim()[1]


def test_many_long_layer_names_fit_into_the_figure(drawn: list[Any]) -> None:
    layers = [f"encoder.layers.encoder_layer_{index}" for index in range(12)]
    values = {"readout": np.linspace(0, 1, 36).reshape(12, 3)}
    figures.layer_chart(layers, [figures.LayerPanel("NSS", values, {})] * 3, {"readout": "read-out"})
    edge = drawn[0].bbox
    for axis in drawn[0].axes:
        for label in axis.get_xticklabels():
            box = label.get_window_extent()
            assert edge.x0 - 1 <= box.x0 <= box.x1 <= edge.x1 + 1
            assert edge.y0 - 1 <= box.y0


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (60, 24)], ids=["landscape", "portrait", "narrow"])
@pytest.mark.parametrize("name", ["prediction", "centre bias"])
def test_titles_of_an_example_are_whole_and_fit_over_their_panels(
    drawn: list[Any], size: tuple[int, int], name: str
) -> None:
    density = np.full(size, 0.5)
    density[0, 0] = 1.0
    cells = np.zeros((1145, 2), np.int64)
    figures.overlay(np.zeros((*size, 3), np.uint8), density, density, cells, name)
    axes = drawn[0].axes
    assert [axis.get_title(loc="left") for axis in axes] == ["picture", "human map", name, "1145 fixations"]
    for axis in axes:
        assert axis._left_title.get_window_extent().x1 <= axis.get_window_extent().x1 + 4


def test_one_fixation_is_called_one(drawn: list[Any]) -> None:
    density = np.eye(8)
    figures.overlay(np.zeros((8, 8, 3), np.uint8), density, density, np.array([[1, 1]]))
    assert drawn[0].axes[3].get_title(loc="left") == "1 fixation"
