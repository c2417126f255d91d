# SPDX-License-Identifier: Apache-2.0
"""The figures of the maps: upright, to scale, symmetric about 0, and drawn even where nothing was measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gazeray.explain.summary import MapSummary
from gazeray.report.sections import explanations

METHODS = ("gradient", "integrated_gradients", "smoothgrad")


def summary(classes: int = 2, count: int = 12, size: tuple[int, int] = (9, 16)) -> MapSummary:
    rng = np.random.default_rng(0)
    per_class = np.full(classes, count // classes)
    dwell = 1000 * rng.random((classes, *size))
    dwell[:, 0, 0] = 5000
    signed = 1e-5 * rng.normal(size=(3, classes, *size))
    curves = np.sort(rng.random((5, 4)))[:, ::-1]
    return MapSummary(
        methods=np.array(METHODS),
        fractions=np.array([0, 0.1, 0.5, 1]),
        count_label=per_class,
        count_predicted=per_class,
        dwell_label=dwell,
        dwell_predicted=dwell,
        signed_label=signed,
        absolute_label=np.abs(signed),
        signed_predicted=signed,
        absolute_predicted=np.abs(signed),
        key=np.arange(count),
        group=np.array([f"P{index % 4}" for index in range(count)]),
        checked=np.ones(count, bool),
        deletion=curves * count,
        area=rng.random((5, count)),
        random_weights=rng.random((3, 2, count)),
        dwell_likeness=rng.random((3, count)),
    )


def unchecked() -> MapSummary:
    """Nothing went through the checks, and nothing is of the second class."""
    whole = summary()
    return dataclasses.replace(
        whole,
        count_label=np.array([12, 0]),
        checked=np.zeros(12, bool),
        deletion=np.zeros((5, 4)),
        area=np.full((5, 12), np.nan),
        random_weights=np.full((3, 0, 12), np.nan),
        dwell_likeness=np.full((3, 12), np.nan),
    )


def panels(figure: Any) -> list[Any]:
    return [axis for axis in figure.axes if axis.images and axis.get_title(loc="left")]


def test_class_means_are_drawn_upright_on_the_axes_of_the_window(drawn: list[Any]) -> None:
    explanations.class_maps(summary(), ["a", "b"], (1280, 720))
    shown = panels(drawn[0])
    assert len(shown) == 8
    for axis in shown:
        assert (axis.get_xlim(), axis.get_ylim()) == ((0, 1280), (720, 0))
        assert axis.images[0].origin == "upper"
    assert [axis.get_title(loc="left") for axis in shown[:3]] == [
        "mean picture: a (n = 6)", "mean picture: b (n = 6)", "mean gradient: a (n = 6)",
    ]  # fmt: skip
    assert shown[0].images[0].get_array()[0, 0] == pytest.approx(5000 / 6)
    assert np.asarray(shown[5].images[0].get_array()) == pytest.approx(summary().signed_label[1, 1] / 6)


def test_rows_share_a_scale_that_is_symmetric_for_maps(drawn: list[Any]) -> None:
    explanations.class_maps(summary(), ["a", "b"], (1280, 720))
    limits = [axis.images[0].get_clim() for axis in panels(drawn[0])]
    assert limits[::2] == limits[1::2]
    assert limits[0] == (0, pytest.approx(5000 / 6))
    for row, (low, high) in enumerate(limits[2::2]):
        assert low == -high
        assert high == pytest.approx(np.percentile(np.abs(summary().signed_label[row] / 6), 99.5))


def test_colour_bars_say_the_unit(drawn: list[Any]) -> None:
    explanations.class_maps(summary(), ["a", "b"], (1280, 720))
    labels = [axis.get_ylabel() for axis in drawn[0].axes if not axis.get_title(loc="left")]
    assert labels == ["ms", "logit per ms, 1e-6", "logit, 1e-6", "logit per ms, 1e-6"]


def test_difference_of_two_classes_is_the_last_minus_the_first(drawn: list[Any]) -> None:
    data = summary()
    explanations.class_differences(data, ["a", "b"], (1280, 720))
    shown = panels(drawn[0])
    assert len(shown) == 4
    assert shown[0].get_title(loc="left") == "mean picture: b − a"
    assert np.asarray(shown[1].images[0].get_array()) == pytest.approx(
        (data.signed_label[0, 1] - data.signed_label[0, 0]) / 6
    )


def test_difference_of_more_classes_is_each_minus_the_mean_of_the_others(drawn: list[Any]) -> None:
    data = summary(3)
    explanations.class_differences(data, ["a", "b", "c"], (1280, 720))
    means = data.dwell_label / 4
    assert np.asarray(panels(drawn[0])[1].images[0].get_array()) == pytest.approx(means[1] - (means[0] + means[2]) / 2)


@pytest.mark.parametrize("window_px", [(1280, 720), (1500, 200), (600, 800)])
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_panels_keep_the_shape_of_the_window(drawn: list[Any], window_px: tuple[int, int], classes: int) -> None:
    explanations.class_maps(summary(classes), [f"a long class name {i}" for i in range(classes)], window_px)
    shown = panels(drawn[0])
    assert len(shown) == 4 * classes
    for axis in shown:
        box = axis.get_window_extent()
        assert box.width / box.height == pytest.approx(window_px[0] / window_px[1], rel=0.35)
    frame = drawn[0].bbox.padded(1)
    for axis in drawn[0].axes:
        for item in (axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label):
            box = item.get_window_extent()
            assert box.width == 0 or (frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0), item
    titles = [axis._left_title.get_window_extent() for axis in shown]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
    bars = [axis.yaxis.label.get_window_extent() for axis in drawn[0].axes if not axis.get_title(loc="left")]
    bars = [box for box in bars if box.width]
    assert not any(a.overlaps(b) for i, a in enumerate(bars) for b in bars[:i])


def test_legend_gives_the_areas(drawn: list[Any]) -> None:
    data = summary()
    explanations.deletion_curves(data)
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    entry = data.figures()["gradient"]
    assert texts[0] == f"gradient, area {entry['deletion_auc']:.3f}"
    assert texts[3] == f"random order, area {entry['deletion_auc_random']:.3f}"
    assert texts[4] == f"order of dwell, area {entry['deletion_auc_dwell']:.3f}"
    lines = drawn[0].axes[0].lines
    assert lines[1].get_xdata().tolist() == [0, 10, 50, 100]
    assert lines[1].get_ydata() == pytest.approx(data.deletion[1] / 12)


def test_boxes_stand_at_the_medians(drawn: list[Any]) -> None:
    data = summary()
    explanations.randomisation(data)
    lines = [np.asarray(line.get_xdata()) for line in drawn[0].axes[0].lines]
    for values in [*data.random_weights, *data.dwell_likeness]:
        assert any(line.size == 2 and np.allclose(line, np.median(values)) for line in lines)


def test_nothing_measured_is_drawn_and_said() -> None:
    data = unchecked()
    for png in (
        explanations.class_maps(data, ["a", "b"], (1280, 720)),
        explanations.class_differences(data, ["a", "b"], (1280, 720)),
        explanations.deletion_curves(data),
        explanations.randomisation(data),
    ):
        assert png.startswith(b"\x89PNG")


def test_flat_maps_are_drawn_without_warning() -> None:
    data = summary()
    flat = dataclasses.replace(data, dwell_label=data.dwell_label * 0, signed_label=data.signed_label * 0)
    assert explanations.class_maps(flat, ["a", "b"], (100, 80)).startswith(b"\x89PNG")
