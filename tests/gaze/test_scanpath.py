# SPDX-License-Identifier: Apache-2.0
"""Scanpaths against loops over every pixel in float64, against a count of sub-pixels, and against what must change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
import torch

from gazeray.gaze import scanpath
from gazeray.gaze.render import Window, pad_trials
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.scanpath_look import ScanpathLook

Fixations = Sequence[tuple[float, float, float, float]]
Segment = tuple[tuple[float, float], tuple[float, float]]
CHANNELS = ScanpathLook(kind="channels")
SACCADES = ScanpathLook(kind="saccades")
LINE = Window(100, 400, 1400, 200)


def draw(fixations: Fixations, window: Window, size: tuple[int, int], look: ScanpathLook = CHANNELS) -> torch.Tensor:
    """The picture (C, H, W) of one trial given as (x, y, duration, onset) rows."""
    columns = torch.tensor(fixations, dtype=torch.float64).reshape(-1, 4).T[:, None]
    return scanpaths(*columns, torch.tensor([window]), size, look)[0]


def random_fixations(seed: int, n: int, window: Window = LINE, margin_px: float = 20.0) -> Fixations:
    rng = np.random.default_rng(seed)
    x = rng.uniform(window.left_px - margin_px, window.left_px + window.width_px + margin_px, n)
    y = rng.uniform(window.top_px - margin_px, window.top_px + window.height_px + margin_px, n)
    duration = rng.uniform(60, 600, n)
    onset = np.cumsum(duration + 30) - duration
    return [tuple(map(float, row)) for row in np.stack([x, y, duration, onset], axis=1).astype(np.float32)]


def pixels(window: Window, size: tuple[int, int]) -> Iterator[tuple[int, int, float, float]]:
    """Row, column and centre on the screen of every pixel."""
    for row in range(size[0]):
        for column in range(size[1]):
            x = window.left_px + (column + 0.5) * window.width_px / size[1]
            yield row, column, x, window.top_px + (row + 0.5) * window.height_px / size[0]


def share(x: float, y: float, segment: Segment, inner: float, outer: float, pixel: tuple[float, float]) -> float:
    """The definition of coverage, one pixel and one stroke."""
    (x1, y1), (x2, y2) = segment
    dx, dy = x2 - x1, y2 - y1
    place = ((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy) if segment[0] != segment[1] else 0.0
    nearest = min(max(place, 0.0), 1.0)
    off = x - x1 - nearest * dx, y - y1 - nearest * dy
    distance = math.hypot(*off)
    normal = (-dy, dx) if 0 < place < 1 else off
    if normal == (0.0, 0.0):
        normal = (1.0, 1.0)
    length = math.hypot(*normal)
    extent = math.hypot(normal[0] / length * pixel[0], normal[1] / length * pixel[1])
    covered = min(distance + extent / 2, outer) - max(distance - extent / 2, inner)
    return min(max(covered / extent, 0.0), 1.0)


def looped(fixations: Fixations, window: Window, size: tuple[int, int], look: ScanpathLook) -> np.ndarray:
    """The picture from its definition, (3, H, W) float64."""
    pixel = window.width_px / size[1], window.height_px / size[0]
    fixations = sorted(fixations, key=lambda row: row[3])
    start, end = fixations[0][3], max(onset + duration for _, _, duration, onset in fixations)
    centres = [(row[0], row[1]) for row in fixations]
    lines = list(itertools.pairwise(centres))
    half, radii = look.line_px / 2, [look.radius_px * math.sqrt(row[2] / look.radius_at_ms) for row in fixations]
    picture = np.zeros((3, *size))
    for row, column, x, y in pixels(window, size):
        line = max((share(x, y, segment, -half, half, pixel) for segment in lines), default=0.0)
        if look.kind == "channels":
            discs = [share(x, y, (c, c), -r, r, pixel) for c, r in zip(centres, radii, strict=True)]
            time = [(onset + duration - start) / (end - start) for _, _, duration, onset in fixations]
            last = max(disc * when for disc, when in zip(discs, time, strict=True))
            picture[:, row, column] = max(discs), line, last
            continue
        sizes = [look.radius_px] * len(radii) if look.kind == "c" else radii
        circle = max(share(x, y, (c, c), r - half, r + half, pixel) for c, r in zip(centres, sizes, strict=True))
        arrow = max([line, *(share(x, y, barb, -half, half, pixel) for barb in barbs(lines, look.arrow_px))])
        colour = np.ones(3)
        if look.kind != "a":
            colour = colour * (1 - arrow) + np.array([1, 165 / 255, 0]) * arrow
        picture[:, row, column] = colour * (1 - circle) + np.array([0, 1, 1]) * circle
    return picture


def barbs(lines: Sequence[Segment], arrow_px: float) -> list[Segment]:
    """The two barbs of each arrow, by complex numbers: turned back by 25 degrees, at most half the shaft."""
    found = []
    for start, end in lines:
        shaft = complex(*start) - complex(*end)
        for turn in (25, -25):
            turned = (
                shaft
                / abs(shaft)
                * min(arrow_px, abs(shaft) / 2)
                * complex(math.cos(math.radians(turn)), math.sin(math.radians(turn)))
            )
            tip = complex(*end) + turned
            found.append((end, (tip.real, tip.imag)))
    return found


@pytest.mark.parametrize("kind", ["channels", "a", "b", "c"])
@pytest.mark.parametrize(
    ("window", "size"),
    [
        pytest.param(LINE, (16, 40), id="squashed_along_x"),
        pytest.param(Window(-20.5, 130.25, 240, 300), (21, 13), id="narrow_window_off_the_screen"),
    ],
)
def test_scanpath_equals_slow_loop(kind: str, window: Window, size: tuple[int, int]) -> None:
    look = ScanpathLook(kind=kind, line_px=5)
    fixations = random_fixations(1, 9, window)
    drawn = draw(fixations, window, size, look)
    assert drawn.dtype == torch.float32
    np.testing.assert_allclose(drawn.numpy(), looped(fixations, window, size, look), rtol=0, atol=2e-4)


def test_coverage_is_near_the_share_of_sub_pixels_in_the_mark() -> None:
    """10 x 10 points in every pixel, each inside or outside the true disc or line."""
    window, size = Window(0, 0, 300, 120), (24, 30)
    fixations = random_fixations(2, 4, window, margin_px=-20)
    centres = np.array([row[:2] for row in fixations])
    radii = 20 * np.sqrt(np.array([row[2] for row in fixations]) / 250)
    points = np.stack(np.meshgrid(np.arange(300) + 0.5, (np.arange(240) + 0.5) / 2), axis=-1)
    inside = (np.linalg.norm(points[:, :, None] - centres, axis=-1) <= radii).any(-1)
    near = np.any([distances(points, *ends) <= 1.5 for ends in itertools.pairwise(centres)], axis=0)
    expected = np.stack([inside, near]).reshape(2, 24, 10, 30, 10).mean((2, 4))
    error = np.abs(draw(fixations, window, size)[:2].numpy() - expected)
    assert error.mean(axis=(1, 2)).max() < 0.01
    assert np.quantile(error, 0.99) < 0.12


def by_opencv(fixations: Fixations, window: Window, exact: bool) -> np.ndarray:
    """The published way, (180, 180): lines and half-transparent discs painted one after the other by OpenCV, with every
    radius cut to whole pixels as published, or rounded."""
    picture, before = np.zeros((180, 180), np.uint8), None
    for x, y, _, _ in sorted(fixations, key=lambda row: row[3]):
        at = (x - window.left_px) / window.width_px * 180, (y - window.top_px) / window.height_px * 180
        pixel = int(at[0]), int(at[1])
        radius = 0.0
        if before is not None:
            cv2.line(picture, before[1], pixel, 255, 1)
            radius = math.dist(before[0], at) / 5
        over = picture.copy()
        cv2.circle(over, pixel, int(radius) if exact else round(radius), 255, -1)
        picture = cv2.addWeighted(over, 0.5, picture, 0.5, 0)
        before = at, pixel
    return picture.astype(np.float32) / 255


@pytest.mark.parametrize(("exact", "most"), [(True, 0.02), (False, 0.015)])
def test_saccades_at_180_px_are_the_published_picture(exact: bool, most: float) -> None:
    """Up to edges: ours are smooth, and between pixels; what OpenCV fills is within a pixel of what we fill."""
    window = Window(100, 200, 900, 600)
    for seed in range(3):
        fixations = random_fixations(seed, 7, window, margin_px=-40)
        ours, theirs = draw(fixations, window, (180, 180), SACCADES)[0].numpy(), by_opencv(fixations, window, exact)
        assert np.abs(ours - theirs).mean() < most
        kernel = np.ones((5, 5), np.uint8)
        assert (ours >= cv2.erode(theirs, kernel) - 0.01).all(), "what is inside for OpenCV is at least as bright"
        assert (ours <= cv2.dilate(theirs, kernel) + 0.01).all(), "and what is outside is as dark"


def looped_saccades(fixations: Fixations, window: Window, size: tuple[int, int]) -> np.ndarray:
    """The look from its definition, (H, W) float64: in px of a square of 180."""
    square = Window(0, 0, 180, 180)
    pixel = 180 / size[1], 180 / size[0]
    spots = [
        ((x - window.left_px) / window.width_px * 180, (y - window.top_px) / window.height_px * 180)
        for x, y, _, _ in sorted(fixations, key=lambda row: row[3])
    ]
    least = max(1, 180 / max(size)) / 2
    radii = [least] + [max(least, math.dist(*pair) / 5) for pair in itertools.pairwise(spots)]
    picture = np.zeros(size)
    for row, column, x, y in pixels(square, size):
        dark = 1 - max((share(x, y, pair, -0.5, 0.5, pixel) for pair in itertools.pairwise(spots)), default=0.0)
        for spot, radius in zip(spots, radii, strict=True):
            dark *= 1 - share(x, y, (spot, spot), -radius, radius, pixel) / 2
        picture[row, column] = 1 - dark
    return picture


@pytest.mark.parametrize("size", [(64, 64), (23, 41)])
def test_saccades_equal_slow_loop(size: tuple[int, int]) -> None:
    fixations = random_fixations(5, 8)
    drawn = draw(fixations, LINE, size, SACCADES)
    assert drawn.shape == (1, *size)
    np.testing.assert_allclose(drawn[0].numpy(), looped_saccades(fixations, LINE, size), rtol=0, atol=2e-4)


def test_discs_of_saccades_grow_with_the_picture_and_pile_up() -> None:
    """90 px to the right of 180: a radius of 18, and halfway to white; a second disc there halves what is left."""
    window = Window(0, 0, 1800, 600)
    there, back = (450.0, 300.0), (1350.0, 300.0)
    path = [(*there, 100.0, 0.0), (*back, 100.0, 200.0)]
    for side in (180, 360, 720):
        disc = draw(path, window, (side, side), SACCADES)[0]
        tall = (disc[:, side * 3 // 4] > 0.4).sum()
        assert float(tall) / side * 180 == pytest.approx(36, abs=1.1)
        assert float(disc[side * 45 // 100, side * 3 // 4]) == pytest.approx(0.5)
    again = [*path, (*there, 100.0, 400.0), (*back, 100.0, 600.0)]
    assert float(draw(again, window, (180, 180), SACCADES)[0, 81, 135]) == pytest.approx(0.75)


def test_a_lone_fixation_is_a_dim_spot() -> None:
    alone = draw([(800.0, 500.0, 250.0, 0.0)], LINE, (64, 64), SACCADES)[0]
    assert 0.05 < float(alone.max()) < 0.5
    assert float(alone[32, 32]) > 0
    assert int((alone > 0).sum()) <= 4


def distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From points (..., 2) to the segment from start to end."""
    place = np.clip((points - start) @ (end - start) / np.dot(end - start, end - start), 0, 1)
    return np.asarray(np.linalg.norm(points - start - place[..., None] * (end - start), axis=-1))


@pytest.mark.parametrize("kind", ["channels", "b", "saccades"])
@pytest.mark.parametrize(
    ("x_px", "y_px", "corner"),
    [
        pytest.param(110, 405, (0, 0), id="top_left"),
        pytest.param(1490, 405, (0, 39), id="top_right"),
        pytest.param(110, 595, (9, 0), id="bottom_left"),
        pytest.param(1490, 595, (9, 39), id="bottom_right"),
    ],
)
def test_fixation_in_corner_lands_in_corner(kind: str, x_px: float, y_px: float, corner: tuple[int, int]) -> None:
    drawn = draw([(x_px, y_px, 250.0, 0.0)], LINE, (10, 40), ScanpathLook(kind=kind))
    ink = 1 - drawn[0] if kind == "b" else drawn[0]
    assert drawn.shape == (ScanpathLook(kind=kind).channels, 10, 40)
    rows, columns = (ink > 0.05).nonzero().T
    assert abs(rows - corner[0]).max() <= 1
    assert abs(columns - corner[1]).max() <= 1
    assert ink[corner] > 0.05


def test_disc_is_round_on_the_screen_and_its_area_is_proportional_to_the_duration() -> None:
    window = Window(0, 0, 800, 200)
    for duration_ms in (60.0, 250.0, 1000.0):
        discs = draw([(401.0, 99.0, duration_ms, 0.0)], window, (100, 100))[0].double()
        radius_px = 20 * math.sqrt(duration_ms / 250)
        assert float(discs.sum()) * 8 * 2 == pytest.approx(math.pi * radius_px**2, rel=0.04)
        assert float(discs.sum(1).max()) * 8 == pytest.approx(2 * radius_px, rel=0.05)
        assert float(discs.sum(0).max()) * 2 == pytest.approx(2 * radius_px, rel=0.05)


def test_line_covers_its_width_at_every_picture_size() -> None:
    """The ink of a saccade is its length times its width, also when it is thinner than a pixel."""
    path = [(150.0, 430.0, 250.0, 0.0), (1450.0, 570.0, 250.0, 300.0)]
    for size in ((200, 1400), (40, 280), (32, 64)):
        area_px2 = LINE.width_px / size[1] * LINE.height_px / size[0]
        ink_px2 = float(draw(path, LINE, size)[1].double().sum()) * area_px2
        assert ink_px2 == pytest.approx(3 * math.hypot(1300, 140), rel=0.03)


def test_time_is_that_of_the_last_visit() -> None:
    """Three fixations that end at 100, 350 and 1000 ms of 1000; the third is where the first was."""
    path = [(300.0, 500.0, 100.0, 0.0), (900.0, 500.0, 200.0, 150.0), (300.0, 500.0, 250.0, 750.0)]
    time = draw(path, LINE, (20, 140))[2]
    assert float(time[10, 20]) == pytest.approx(1.0)
    assert float(time[10, 80]) == pytest.approx(0.35)
    assert float(draw(path[:2], LINE, (20, 140))[2, 10, 20]) == pytest.approx(100 / 350)
    assert float(time[10, 120]) == 0


@pytest.mark.parametrize("kind", ["channels", "b", "c", "saccades"])
def test_order_changes_the_picture_and_comes_from_the_onsets(kind: str) -> None:
    look = ScanpathLook(kind=kind)
    fixations = random_fixations(3, 6, margin_px=-20)
    drawn = draw(fixations, LINE, (40, 280), look)
    onsets = [row[3] for row in fixations]
    reverse = [(*row[:3], onset) for row, onset in zip(fixations, reversed(onsets), strict=True)]
    assert float((draw(reverse, LINE, (40, 280), look) - drawn).abs().max()) > 0.3
    shuffled = [fixations[index] for index in (3, 0, 5, 1, 4, 2)]
    assert torch.equal(draw(shuffled, LINE, (40, 280), look), drawn)


@pytest.mark.parametrize(("kind", "shows"), [("channels", True), ("a", True), ("b", True), ("c", False)])
def test_duration_changes_the_picture_except_in_look_c(kind: str, shows: bool) -> None:
    look = ScanpathLook(kind=kind)
    short, long = ([(800.0, 500.0, duration, 0.0)] for duration in (100.0, 400.0))
    assert torch.equal(draw(short, LINE, (40, 280), look), draw(long, LINE, (40, 280), look)) is not shows


def test_look_a_has_no_arrows_and_b_points_forward() -> None:
    """A long saccade to the right: orange in b alone, and more of it near its end, where the barbs are."""
    path = [(300.0, 500.0, 250.0, 0.0), (1200.0, 500.0, 250.0, 300.0)]
    looks = [draw(path, LINE, (100, 700), ScanpathLook(kind=kind, radius_px=40)) for kind in ("a", "b")]
    orange = [(1 - picture[2]) * (picture[0] > 0.9) for picture in looks]
    assert not orange[0].any()
    assert float(orange[1][:, 540:552].sum()) > 1.5 * float(orange[1][:, 98:110].sum()) > 0
    np.testing.assert_allclose(looks[1][:, 0, 0], [1, 1, 1])


def test_time_zero_does_not_matter() -> None:
    fixations = random_fixations(4, 8)
    later = [(*row[:3], row[3] + 1e9) for row in fixations]
    np.testing.assert_allclose(draw(later, LINE, (20, 60)), draw(fixations, LINE, (20, 60)), rtol=0, atol=1e-6)


def test_absent_fixations_are_skipped_and_their_neighbours_joined() -> None:
    nan, inf = math.nan, math.inf
    kept = [(300.0, 450.0, 200.0, 0.0), (1200.0, 550.0, 300.0, 500.0)]
    absent = [
        (nan, 500.0, 100.0, 210.0),
        (700.0, inf, 100.0, 220.0),
        (700.0, 500.0, 0.0, 230.0),
        (700.0, 500.0, nan, 240.0),
        (700.0, 500.0, 100.0, nan),
        (2e6, 500.0, 100.0, 250.0),
    ]
    drawn = draw([kept[0], *absent, kept[1]], LINE, (20, 60))
    assert torch.equal(drawn, draw(kept, LINE, (20, 60)))
    assert drawn[1, 10, 30] > 0


@pytest.mark.parametrize(("kind", "ground"), [("channels", 0.0), ("a", 1.0), ("b", 1.0), ("c", 1.0), ("saccades", 0.0)])
def test_trials_without_fixations_are_the_empty_ground(kind: str, ground: float) -> None:
    look, window = ScanpathLook(kind=kind), torch.tensor([LINE, LINE])
    for empty in (torch.empty(2, 0), torch.full((2, 3), math.nan)):
        drawn = scanpaths(empty, empty, empty, empty, window, (4, 6), look)
        assert torch.equal(drawn, torch.full((2, look.channels, 4, 6), ground))
        assert look.ground == ground
    none = torch.empty(0, 5)
    assert scanpaths(none, none, none, none, torch.zeros(0, 4), (4, 6), look).shape == (0, look.channels, 4, 6)


@pytest.mark.parametrize("kind", ["channels", "b", "saccades"])
@pytest.mark.parametrize("chunk_pairs", [1, 100, 10_000])
def test_chunks_and_batches_do_not_change_the_picture(
    monkeypatch: pytest.MonkeyPatch, kind: str, chunk_pairs: int
) -> None:
    look, windows = ScanpathLook(kind=kind), [LINE, Window(0, 0, 300, 200), LINE, Window(50, 20, 1500, 1000)]
    trials = [random_fixations(index, n, windows[index]) for index, n in enumerate((2, 0, 4, 3))]
    columns = [pad_trials([np.array(trial).reshape(-1, 4)[:, axis] for trial in trials]) for axis in range(4)]
    whole = scanpaths(*columns, torch.tensor(windows), (5, 9), look)
    monkeypatch.setattr(scanpath, "CHUNK_PAIRS", chunk_pairs)
    assert torch.equal(scanpaths(*columns, torch.tensor(windows), (5, 9), look), whole)
    for picture, trial, window in zip(whole, trials, windows, strict=True):
        assert torch.equal(picture, draw(trial, window, (5, 9), look))


def test_values_stay_within_0_and_1_and_finite_for_extreme_gaze() -> None:
    path = [(-9e5, -9e5, 1e9, 0.0), (9e5, 9e5, 1e-3, 1e9), (9e5, 9e5, 250.0, 2e9), (800.0, 500.0, 250.0, 3e9)]
    for kind in ("channels", "a", "b", "c", "saccades"):
        drawn = draw(path, LINE, (20, 140), ScanpathLook(kind=kind))
        assert torch.isfinite(drawn).all()
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"onset_ms": torch.zeros(2, 4)}, "one shape", id="other_length"),
        pytest.param({"x_px": torch.zeros(3)}, "one shape", id="one_dimensional"),
        pytest.param({"window": torch.ones(1, 4)}, "window must have shape", id="too_few_windows"),
        pytest.param({"window": torch.tensor([[0, 0, 0, 9.0]] * 2)}, "window must be finite", id="flat_window"),
        pytest.param({"size": (4, 0)}, "size", id="no_columns"),
        pytest.param({"duration_ms": torch.full((2, 3), -1.0)}, "duration_ms", id="negative_duration"),
        pytest.param({"duration_ms": torch.full((2, 3), math.inf)}, "duration_ms", id="infinite_duration"),
    ],
)
def test_arguments_that_do_not_fit_raise_value_error(change: dict[str, object], message: str) -> None:
    gaze = {name: torch.ones(2, 3) for name in ("x_px", "y_px", "duration_ms", "onset_ms")}
    arguments = {**gaze, "window": torch.tensor([[0, 0, 9, 9.0]] * 2), "size": (4, 4), "look": CHANNELS, **change}
    with pytest.raises(ValueError, match=message):
        scanpaths(**arguments)  # type: ignore[arg-type]
