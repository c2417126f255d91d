# SPDX-License-Identifier: Apache-2.0
"""Degrees of visual angle against trigonometry by hand and against pymovements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.known_gaze import to_px
from gazeray.gaze.events import Screen

SCREEN = Screen(1600, 1200, 400, 300, 600)


def test_centre_is_zero_and_the_right_edge_is_the_angle_of_half_the_width() -> None:
    x, y = SCREEN.to_deg([800, 1600], [600, 0])
    assert x.tolist() == pytest.approx([0, math.degrees(math.atan(200 / 600))])
    assert y.tolist() == pytest.approx([0, -math.degrees(math.atan(150 / 600))])


def test_there_and_back_is_the_same_place() -> None:
    place = np.random.default_rng(0).uniform(-500, 2500, (2, 50))
    np.testing.assert_allclose(to_px(SCREEN, *SCREEN.to_deg(*place)), place)


def test_angle_between_places_agrees_with_the_cosine_of_their_directions() -> None:
    rng = np.random.default_rng(0)
    for x0, y0, x1, y1 in rng.uniform(0, 1200, (20, 4)):
        a, b = ([(x - 800) * 0.25, (y - 600) * 0.25, 600.0] for x, y in ((x0, y0), (x1, y1)))
        cosine = sum(p * q for p, q in zip(a, b, strict=True)) / math.dist(a, [0] * 3) / math.dist(b, [0] * 3)
        assert float(SCREEN.angle_deg(x0, y0, x1, y1)) == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-4)


def test_degrees_agree_with_pymovements_but_for_its_pixel_centres() -> None:
    transforms = pytest.importorskip("pymovements.transforms")
    polars = pytest.importorskip("polars")
    place = np.random.default_rng(0).uniform(0, 1200, (50, 2))
    frame = polars.DataFrame({"pixel": place.tolist()})
    theirs = frame.select(
        transforms.pix2deg(
            screen_resolution=(1600, 1200), screen_size=(40.0, 30.0), distance=60.0, origin="upper left", n_components=2
        )
    )
    ours = np.stack(SCREEN.to_deg(*(place + 0.5).T), axis=1)
    np.testing.assert_allclose(ours, np.array(theirs["position"].to_list()), atol=1e-9)


def test_unknown_parts_are_named_and_give_nan() -> None:
    screen = Screen(1600, 1200, 400)
    assert screen.unknown() == ["height_mm", "distance_mm"]
    assert np.isnan(screen.to_deg([1.0], [2.0])).all()


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_impossible_part_raises_value_error(value: float) -> None:
    with pytest.raises(ValueError, match="screen distance_mm must be positive"):
        Screen(1600, 1200, 400, 300, value)
