# SPDX-License-Identifier: Apache-2.0
"""Pictures, gaze, scanpaths and areas of interest move together, as torchvision would move each of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from gazeray.gaze.augment import move_pictures, move_points, random_affines
from gazeray.gaze.augment_config import AugmentConfig
from gazeray.gaze.scanpath import scanpaths
from gazeray.gaze.scanpath_look import ScanpathLook

STILL = {"flip": 0.0, "rotate_deg": 0.0, "scale": (1.0, 1.0), "shear_deg": 0.0, "crop": 0.0}
SIDE = 64


def only(**settings: object) -> AugmentConfig:
    """Nothing is moved but in these ways."""
    return AugmentConfig(**{**STILL, **settings})


def affines(count: int, cfg: AugmentConfig, seed: int = 0) -> Tensor:
    return torch.from_numpy(random_affines(count, cfg, seed))


def at_pixels(xy: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Row and column of points in -1..1."""
    return ((xy[..., 1] + 1) / 2 * height).floor().long(), ((xy[..., 0] + 1) / 2 * width).floor().long()


def test_a_landmark_stays_under_its_gaze_point_for_1000_transforms() -> None:
    """A bright spot of 5 x 5 pixels; wherever gaze upon it is moved to, the moved picture is bright."""
    count, (height, width) = 1000, (48, 64)
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(4, height - 4, count), rng.integers(4, width - 4, count)
    pictures = torch.zeros(count, 1, height, width)
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        pictures[index, 0, row - 2 : row + 3, column - 2 : column + 3] = 1
    gaze = torch.tensor(np.stack([(columns + 0.5) / width, (rows + 0.5) / height], 1) * 2 - 1).float()
    cfg = AugmentConfig(crop=0.3, scale=(0.8, 1.5))
    moved = affines(count, cfg)
    found, points = move_pictures(pictures, moved)[:, 0], move_points(gaze[:, :, None], moved, "keep")[:, :, 0]
    inside = (points.abs() <= 1).all(1)
    row, column = at_pixels(points[inside], width, height)
    assert 600 < int(inside.sum()) < 1000
    assert float(found[inside, row, column].min()) > 0.9
    gone = found[~inside].flatten(1).sum(1)
    assert float(gone.median()) == 0, "a spot whose centre has left is gone but for its margin"


def test_a_flip_mirrors_x_exactly() -> None:
    xy = torch.randn(4, 2, 50, generator=torch.Generator().manual_seed(0))
    moved = move_points(xy, affines(4, only(flip=1.0)), "keep")
    assert torch.equal(moved[:, 0], -xy[:, 0])
    assert torch.equal(moved[:, 1], xy[:, 1])
    pictures = torch.randint(0, 256, (4, 3, 9, 14), dtype=torch.uint8)
    assert torch.equal(move_pictures(pictures, affines(4, only(flip=1.0))), pictures.flip(3))


def test_where_nothing_is_asked_for_nothing_moves() -> None:
    still = random_affines(5, only(), 3)
    np.testing.assert_array_equal(still, np.broadcast_to(np.eye(2, 3), (5, 2, 3)))
    xy, pictures = torch.randn(5, 2, 9) * 2, torch.rand(5, 3, 17, 23)
    for outside in ("keep", "mask"):
        assert torch.equal(move_points(xy, torch.from_numpy(still), outside), xy)
    torch.testing.assert_close(move_pictures(pictures, torch.from_numpy(still)), pictures, rtol=0, atol=1e-4)


ROTATE = only(rotate_deg=40.0)


@pytest.mark.parametrize(
    "cfg", [ROTATE, only(scale=(0.7, 1.6)), only(shear_deg=15.0), AugmentConfig(flip=0.0)],
    ids=["rotate", "scale", "shear", "all"],
)  # fmt: skip
def test_torchvision_moves_picture_mask_and_key_points_alike(cfg: AugmentConfig) -> None:
    """Of each single transform, the oracle is told its angle, scale and shear."""
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    mask = (torch.nn.functional.interpolate(torch.rand(1, 1, 5, 5), (SIDE, SIDE)) > 0.5).to(torch.uint8)
    for seed in range(6):
        moved = affines(1, cfg, seed)
        matrix = moved[0, :, :2].double().numpy()
        turn = math.atan2(matrix[1, 0], matrix[0, 0])
        scale = float(np.hypot(*matrix[:, 0]))
        shear = math.atan(-float(matrix[:, 1] @ [math.cos(turn), math.sin(turn)]) / scale)
        told = {"angle": math.degrees(turn), "translate": [0, 0], "scale": scale, "shear": [math.degrees(shear), 0.0]}
        bilinear = InterpolationMode.BILINEAR
        theirs = v2.functional.affine(tv_tensors.Image(smooth[0]), **told, interpolation=bilinear)
        ours = move_pictures(smooth, moved)[0]
        assert float((theirs - ours)[:, 3:-3, 3:-3].abs().mean()) < 1e-3
        theirs = v2.functional.affine(tv_tensors.Mask(mask[0]), **told)
        assert float((theirs != move_pictures(mask, moved, nearest=True)[0]).float().mean()) < 0.01
        points = torch.tensor([[10.0, 20.0], [32.0, 32.0], [40.0, 22.0], [25.5, 44.25]])
        keyed = tv_tensors.KeyPoints(points, canvas_size=(SIDE, SIDE))
        theirs = v2.functional.affine(keyed, **told)
        xy = move_points((points.T / SIDE * 2 - 1)[None], moved, "keep")[0]
        torch.testing.assert_close(((xy + 1) / 2 * SIDE).T, theirs.as_subclass(Tensor), rtol=0, atol=1e-2)


def test_torchvision_flips_alike() -> None:
    pictures, moved = torch.rand(1, 3, SIDE, SIDE), affines(1, only(flip=1.0))
    theirs = v2.functional.horizontal_flip(tv_tensors.Image(pictures[0]))
    torch.testing.assert_close(move_pictures(pictures, moved)[0], theirs.as_subclass(Tensor), rtol=0, atol=1e-4)


def test_each_example_has_a_transform_of_its_own_within_the_ranges() -> None:
    cfg = AugmentConfig()
    moved = random_affines(2000, cfg, 7).astype(np.float64)
    sizes = np.linalg.det(moved[:, :, :2])
    assert np.abs(sizes).min() >= 1 - 1e-6
    assert np.abs(sizes).max() <= 1.5**2 + 1e-6
    assert 0.45 < (sizes < 0).mean() < 0.55
    turn = np.degrees(np.arctan2(moved[:, 1, 0], np.abs(moved[:, 0, 0])))
    assert 29 < np.abs(turn).max() <= 30.0001
    assert not moved[:, :, 2].any(), "all is around the centre unless it is cropped"
    np.testing.assert_array_equal(random_affines(2000, cfg, 7), moved.astype(np.float32))
    assert (random_affines(2000, cfg, 8) != moved).any()
    first = random_affines(3, cfg, 7, plain_first=True)
    np.testing.assert_array_equal(first[0], np.eye(2, 3))
    assert not np.array_equal(first[1], first[2])


def test_a_crop_fills_the_frame_with_a_part_of_the_picture() -> None:
    """Every corner of the frame shows a place within the picture, and the part shown is at least 60 % of each side."""
    moved = random_affines(500, only(crop=0.4), 2).astype(np.float64)
    scale, shift = moved[:, [0, 1], [0, 1]], moved[:, :, 2]
    kept = 1 / scale
    assert kept.min() >= 0.6 - 1e-6
    assert kept.max() <= 1
    for corner in (-1, 1):
        assert np.abs((corner - shift) / scale).max() <= 1 + 1e-6
    pictures = torch.ones(500, 1, 16, 16)
    assert float(move_pictures(pictures, torch.from_numpy(moved).float())[:, :, 1:-1, 1:-1].min()) > 0.999


def test_gaze_that_leaves_the_frame_is_kept_or_lost() -> None:
    """Twice as large: 0.4 stays in, 0.6 leaves; what was outside before is outside still, what was lost is lost."""
    xy = torch.tensor([[[0.4, 0.6, 0.0, 1.2, torch.nan], [0.0, 0.0, -0.9, 0.0, 0.1]]])
    double = affines(1, only(scale=(2.0, 2.0)))
    kept, masked = (move_points(xy, double, outside)[0] for outside in ("keep", "mask"))
    nan = torch.nan
    torch.testing.assert_close(
        kept, torch.tensor([[0.8, 1.2, 0.0, 2.4, nan], [0.0, 0.0, -1.8, 0.0, nan]]), equal_nan=True
    )
    torch.testing.assert_close(
        masked, torch.tensor([[0.8, nan, nan, 2.4, nan], [0.0, nan, nan, 0.0, nan]]), equal_nan=True
    )


def test_scanpath_and_area_of_interest_move_along() -> None:
    """A scanpath that is drawn and then moved is where the moved fixations are; so is the area they lie in."""
    look, window = ScanpathLook(kind="saccades"), torch.tensor([[0.0, 0.0, 200.0, 200.0]] * 8)
    rng = np.random.default_rng(3)
    x, y = (torch.tensor(rng.uniform(70, 130, (8, 5)), dtype=torch.float32) for _ in range(2))
    time, onset = torch.full((8, 5), 100.0), torch.arange(5.0).expand(8, 5) * 100
    moved = affines(8, AugmentConfig())
    xy = move_points(torch.stack([x, y], 1) / 100 - 1, moved, "keep")
    first = move_pictures(scanpaths(x, y, time, onset, window, (SIDE, SIDE), look), moved)
    rigid = affines(8, only(rotate_deg=30.0, flip=0.5))
    turned = move_points(torch.stack([x, y], 1) / 100 - 1, rigid, "keep")
    drawn = scanpaths(*((turned + 1) * 100).unbind(1), time, onset, window, (SIDE, SIDE), look)
    assert (
        float((move_pictures(scanpaths(x, y, time, onset, window, (SIDE, SIDE), look), rigid) - drawn).abs().mean())
        < 0.01
    )
    row, column = at_pixels(xy.transpose(1, 2), SIDE, SIDE)
    assert float(first[torch.arange(8)[:, None], 0, row, column].min()) > 0.1
    area = torch.zeros(8, 1, SIDE, SIDE, dtype=torch.bool)
    area[:, :, 22:43, 22:43] = True
    found = move_pictures(area, moved, nearest=True)
    assert found.dtype == torch.bool
    assert found[torch.arange(8)[:, None], 0, row, column].float().mean() > 0.95


def test_what_the_picture_does_not_reach_is_filled() -> None:
    half = affines(1, only(scale=(0.5, 0.5)))
    found = move_pictures(torch.full((1, 3, 40, 40), 200, dtype=torch.uint8), half, fill=128)
    assert found.dtype == torch.uint8
    assert found[0, 0, 5, 5] == 128
    assert found[0, 0, 20, 20] == 200
    none = torch.zeros(0, 3, 8, 8)
    assert move_pictures(none, torch.zeros(0, 2, 3)).shape == none.shape
    assert random_affines(0, AugmentConfig(), 0).shape == (0, 2, 3)


def test_arguments_that_do_not_fit_raise_value_error() -> None:
    with pytest.raises(ValueError, match=r"xy \(B, 2, T\) and affine \(B, 2, 3\) do not fit: \(4, 3, 9\)"):
        move_points(torch.zeros(4, 3, 9), torch.zeros(4, 2, 3), "keep")
    with pytest.raises(ValueError, match=r"do not fit: \(4, 2, 9\), \(3, 2, 3\)"):
        move_points(torch.zeros(4, 2, 9), torch.zeros(3, 2, 3), "keep")
    with pytest.raises(ValueError, match=r"pictures \(B, C, H, W\) and affine"):
        move_pictures(torch.zeros(3, 9, 9), torch.zeros(3, 2, 3))
    with pytest.raises(ValueError, match="count must not be negative"):
        random_affines(-1, AugmentConfig(), 0)
