# SPDX-License-Identifier: Apache-2.0
"""The figures of the report: upright, to scale, legible when crowded, and drawn even of degenerate input."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.ndimage import label

from gazeray.report import figures
from gazeray.report.sections import classification, learning, participants, quality
from gazeray.report.sections.gallery import example


@pytest.mark.parametrize("window_px", [(1280, 720), (1500, 200), (600, 800)])
@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_hot_corner_of_a_heatmap_is_drawn_in_that_corner(window_px: tuple[int, int], corner: tuple[int, int]) -> None:
    heatmap = np.zeros((4, 8), dtype=np.float16)
    heatmap[corner] = 300
    gradient = np.zeros((4, 8), dtype=np.float32)
    picture = imread(io.BytesIO(example(heatmap, {"predicted": ("a", gradient)}, window_px)))[..., :3]
    pale = np.isclose(picture, np.array([255, 255, 217]) / 255, atol=0.01).all(axis=2)
    dark = np.isclose(picture, np.array([8, 29, 88]) / 255, atol=0.01).all(axis=2)
    top, bottom, left, right = _box(_largest_block(pale))
    panel = dark[top:bottom, max(0, left - 200) : right + 200]
    rows, columns = np.nonzero(_largest_block(panel))
    columns = columns + max(0, left - 200)
    assert (rows.mean() + top < (top + bottom) / 2) == (corner[0] == 0)
    assert (columns.mean() < (left + right) / 2) == (corner[1] == 0)


def _largest_block(mask: np.ndarray) -> np.ndarray:
    parts, _ = label(mask)
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_axes_count_px_rightwards_and_downwards_from_the_top_left(drawn: list[Any]) -> None:
    maps = np.ones((4, 8))
    example(maps, {"predicted": ("a", maps), "true": ("b", maps)}, (1280, 720))
    panels = [axis for axis in drawn[0].axes if axis.get_title(loc="left")]
    assert [(axis.get_xlim(), axis.get_ylim()) for axis in panels] == [((0, 1280), (720, 0))] * 3


def test_gradients_share_one_scale_symmetric_about_zero(drawn: list[Any]) -> None:
    one, two = np.linspace(-1.0, 4.0, 32).reshape(4, 8), np.linspace(-2.0, 0.5, 32).reshape(4, 8)
    example(np.ones((4, 8)), {"predicted": ("a", one), "true": ("b", two)}, (1280, 720))
    limits = [axis.images[0].get_clim() for axis in drawn[0].axes if axis.get_title(loc="left")]
    end = np.percentile(np.abs(np.r_[one.ravel(), two.ravel()]), 99.5)
    assert limits == [(0.0, 1.0), (-end, end), (-end, end)]


def test_window_keeps_its_shape() -> None:
    flat = np.zeros((4, 4))
    for window in ((1280, 720), (1500, 200), (600, 800)):
        picture = imread(io.BytesIO(example(flat, {"predicted": ("a", flat)}, window)))[..., :3]
        pale = np.isclose(picture, np.array([255, 255, 217]) / 255, atol=0.01).all(axis=2)
        top, bottom, left, right = _box(_largest_block(pale))
        assert (right - left) / (bottom - top) == pytest.approx(window[0] / window[1], rel=0.04)


@pytest.mark.parametrize(
    "values",
    [np.zeros((5, 5)), np.full((5, 5), np.nan), np.full((5, 5), 3.0), np.pad([[2.0]], ((0, 4), (0, 4))), [[1.0]]],
    ids=["zero", "nan", "flat", "one_pixel", "smallest"],
)
def test_degenerate_maps_are_drawn_without_warning(values: Any) -> None:
    png = example(np.asarray(values), {"predicted": ("a", values), "true": ("b", values)}, (100, 80))
    assert png.startswith(b"\x89PNG")


def test_crowded_figures_have_no_clipped_and_no_overlapping_labels(drawn: list[Any]) -> None:
    rng = np.random.default_rng(0)
    names = [f"participant {index:03d} of many" for index in range(70)]
    participants.bars(names, rng.random(70), rng.random((70, 2)), rng.integers(5, 200, 70), rng.random(70) < 0.2, 0.5)
    epochs = np.arange(1.0, 41.0)
    curves = [learning.Curve(f"fold {fold}", 30, epochs, 40 / epochs, 50 / epochs, epochs / 40) for fold in range(10)]
    learning.learning_curves(curves)
    classification.confusion(rng.integers(0, 5000, (9, 9)), [f"a long class name {index}" for index in range(9)])
    quality.histograms({"lost samples (%)": rng.random(50), "x": np.array([]), "n": np.ones(4), "w": np.full(9, 1e6)})
    classes = ["first long name of class", "second long name of class", "c", "d"]
    classification.roc(
        rng.integers(0, 4, 90), {"model": rng.random((90, 4)), "logistic_regression": rng.random((90, 4))}, classes
    )
    square = rng.normal(size=(8, 8))
    for window in ((1280, 720), (1500, 200), (12000, 900), (500, 2000)):
        example(square, {"predicted": (classes[0], square), "true": (classes[1], square * 1e-7)}, window)
    assert len(drawn) == 9
    for figure in drawn:
        _check_labels(figure)


def _check_labels(figure: Any) -> None:
    frame = figure.bbox.padded(1)
    for axis in figure.axes:
        for side in (axis.xaxis, axis.yaxis):
            low, high = sorted(side.get_view_interval())
            ticks = [
                tick for tick in side.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
            boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
            boxes.sort(key=lambda box: (box.x0, box.y0))
            rotated = any(tick.label1.get_rotation() % 90 for tick in ticks)
            for one, two in itertools.pairwise(boxes):
                assert rotated or not one.padded(-0.5).overlaps(two.padded(-0.5)), f"{axis.get_xlabel()} overlaps"
            texts = [*(tick.label1.get_window_extent() for tick in ticks), side.label.get_window_extent()]
            for box in texts:
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                assert inside or box.width * box.height == 0, f"{side.label.get_text()} is clipped"


def test_whole_numbers_fall_into_bins_of_equal_count() -> None:
    for high in (1, 9, 30, 500):
        counts, _ = np.histogram(np.arange(0, high + 1), quality.bins(np.arange(0.0, high + 1)))
        assert len(set(counts[:-1])) <= 1
        assert counts.sum() == high + 1
        assert len(counts) <= 24


def test_refits_without_validation_have_one_panel_each(drawn: list[Any]) -> None:
    epochs, nothing = np.arange(1.0, 5.0), np.full(4, np.nan)
    curves = [learning.Curve(f"fold {fold}", 4, epochs, 1 / epochs, nothing, nothing) for fold in range(6)]
    learning.learning_curves(curves)
    assert len(drawn[0].axes) == 6
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == [
        "training",
        "epoch whose weights were tested",
    ]


def test_column_of_equal_values_is_a_sentence(drawn: list[Any]) -> None:
    quality.histograms({"sampling rate (Hz)": 120 + 1e-5 * np.arange(9.0), "lost samples (%)": np.arange(9.0)})
    same, different = drawn[0].axes
    assert [text.get_text() for text in same.texts] == ["120 in all\n9 trials"]
    assert not same.patches
    assert sum(patch.get_height() for patch in different.patches) == 9


@pytest.mark.parametrize(("high", "power"), [(2400, ""), (3e-5, "1e-5")])
def test_ticks_of_a_colour_bar_are_plain_numbers(high: float, power: str) -> None:
    figure = figures.new_figure(3, 2)
    bar = figure.colorbar(figure.subplots().imshow(np.zeros((2, 2)), vmin=0, vmax=high))
    assert figures.scale_bar(bar, 3) == power
    shown = [tick.get_text() for tick in bar.ax.get_yticklabels()]
    assert len(shown) > 1
    assert not any("e" in tick for tick in shown)
