# SPDX-License-Identifier: Apache-2.0
"""Gaze drawn as scanpaths: fixations as discs, saccades as lines, order as time; batched on tensors, on any device.

Every mark is a stroke: the points at a distance of `inner` to `outer` from a line segment (for a disc or a circle the
segment is a point). A stroke is computed only for the pixels of its bounding box, all strokes of a batch in one list of
(stroke, pixel) pairs that is worked off in chunks. A picture pixel takes the greatest value that a stroke gives it, or
a sum in whole numbers, so neither the chunks nor the order of the threads change any value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from gazeray.gaze.render import check_gaze
from gazeray.gaze.scanpath_look import ScanpathLook

CHUNK_PAIRS = 2**19
"""How many (stroke, pixel) pairs are held at once: it bounds the memory and stays near the caches."""

FARTHEST_PX = 1e6
"""Gaze further than this from the screen's origin counts as absent: no screen is so wide, and squares stay finite."""

PUBLISHED_SIDE = 180
"""Of the published pictures of the look "saccades", px: its lengths are px of a picture of this size."""

HALVING = 2**24
"""In the sums of the look "saccades": a disc that covers all of a pixel, and so halves its distance from white."""

ORANGE = (1.0, 165 / 255, 0.0)
CYAN = (0.0, 1.0, 1.0)
ARROW_ANGLE = math.radians(25)
"""Between an arrow's shaft and each of its two barbs."""


@dataclass(frozen=True)
class _Fixations:
    """The fixations that are there, (F,) each, by trial and then by onset. `share`: when it ends, as a share of the
    time from the trial's first onset to its last end, in (0, 1]."""

    trial: Tensor
    x: Tensor
    y: Tensor
    duration: Tensor
    share: Tensor


@dataclass(frozen=True)
class _Strokes:
    """Strokes in screen px, (S,) each: of which trial, a segment from 1 to 2, and how far from it the ink lies."""

    trial: Tensor
    x1: Tensor
    y1: Tensor
    x2: Tensor
    y2: Tensor
    inner: Tensor
    outer: Tensor


@torch.no_grad()
def scanpaths(
    x_px: Tensor,
    y_px: Tensor,
    duration_ms: Tensor,
    onset_ms: Tensor,
    window: Tensor,
    size: tuple[int, int],
    look: ScanpathLook,
) -> Tensor:
    """Scanpaths of B trials, (B, `look.channels`, H, W) float32 in 0..1 on the device of `x_px`.

    With `look.kind` "channels", 0 where nothing is drawn:
      0  discs: radius look.radius_px * sqrt(duration / look.radius_at_ms) around each fixation
      1  lines: look.line_px wide with round ends, from each fixation to the next
      2  time: at a disc, when that fixation ended, as a share of the time from the trial's first onset to its last end;
         where discs overlap, the last one counts. In (0, 1]: the longer ago, the darker; 0 is "never".
    With "a", "b", "c": RGB on white, see ScanpathLook; circles lie above arrows. "saccades": one channel, see there.

    Anti-aliasing: at a pixel whose centre has the distance d from the stroke's segment, the ink covers the share of
    [d - w/2, d + w/2] that lies within [inner, outer]. w is the pixel's extent on the screen across the edge,
    sqrt((nx * pixel width)^2 + (ny * pixel height)^2) with the edge's unit normal n (diagonal where the pixel's centre
    is the segment's end and there is none). For straight edges along the pixel grid this is the exact share of the
    pixel's area; discs much smaller than a pixel come out too dark. Overlapping strokes of one layer do not add up:
    the greatest share counts (time: the greatest product of share and time).

    Args:
        x_px, y_px: fixations on the screen, px, origin top left, y down, (B, N). NaN, infinite or beyond FARTHEST_PX =
            absent; a line then joins its neighbours.
        duration_ms: (B, N), not negative. 0 or NaN = absent, so `render.pad_trials` may pad all four.
        onset_ms: when each began, (B, N), from any origin (float64, or from the trial's start, to keep the ms). It
            gives the order (equal onsets: as they stand). NaN or infinite = absent.
        window: region of the screen that is drawn, [left, top, width, height] in px for each trial, (B, 4). Discs are
            round on the screen, so in a picture with other proportions than the window they are ellipses; those of the
            look "saccades" are round in the picture.
        size: (H, W) of the picture; row 0 is the top of the window, column 0 its left.
        look: what is drawn and how large.

    Memory beyond inputs and outputs stays bounded (CHUNK_PAIRS, and a few numbers per stroke).

    Raises ValueError: shapes that do not fit, a size below 1, a duration that is negative or infinite, a window that
    is not finite or has no area.
    """
    x, y, duration, window = (tensor.to(x_px.device, torch.float32) for tensor in (x_px, y_px, duration_ms, window))
    onset = onset_ms.to(x_px.device, torch.float64)
    check_gaze({"x_px": x, "y_px": y, "duration_ms": duration, "onset_ms": onset}, window, size)
    found = _in_order(x, y, duration, onset)
    if look.kind == "saccades":
        return _saccades(found, window, size)
    if look.kind == "channels":
        discs, time = _layers(_circles(found, look), window, size, found.share)
        (lines,) = _layers(_lines(found, look.line_px), window, size)
        return torch.stack([discs, lines, time], dim=1)
    (circles,) = _layers(_circles(found, look), window, size)
    orange, cyan = (torch.tensor(rgb, device=x.device).view(3, 1, 1) for rgb in (ORANGE, CYAN))
    picture = torch.ones(len(x), 3, *size, device=x.device)
    if look.kind != "a":
        (arrows,) = _layers(_lines(found, look.line_px, look.arrow_px), window, size)
        picture -= arrows[:, None] * (1 - orange)
    return picture.lerp_(cyan.expand_as(picture), circles[:, None].expand_as(picture))


def _in_order(x: Tensor, y: Tensor, duration: Tensor, onset: Tensor) -> _Fixations:
    """The fixations that are there, of all trials one after another, each trial's by onset."""
    present = (x.abs() <= FARTHEST_PX) & (y.abs() <= FARTHEST_PX) & (duration > 0) & torch.isfinite(onset)
    order = torch.where(present, onset, torch.inf).argsort(dim=1, stable=True)
    there = present.gather(1, order)
    trial = there.nonzero()[:, 0]
    x, y, duration, onset = (tensor.gather(1, order)[there] for tensor in (x, y, duration, onset))
    ends = onset + duration
    first = onset.new_full((len(present),), torch.inf).scatter_reduce_(0, trial, onset, "amin")
    last = ends.new_full((len(present),), -torch.inf).scatter_reduce_(0, trial, ends, "amax")
    share = (ends - first[trial]) / (last - first)[trial]
    return _Fixations(trial, x, y, duration, share.to(torch.float32))


def _saccades(found: _Fixations, window: Tensor, size: tuple[int, int]) -> Tensor:
    """The look "saccades", (B, 1, H, W). White stays white and every disc takes half of what is left to it, so that the
    order in which lines and discs are drawn does not matter: 1 - (1 - line) * product over discs of (1 - coverage / 2).
    """
    left, top, width_px, height_px = window[found.trial].unbind(1)
    x, y = ((found.x - left) / width_px * PUBLISHED_SIDE, (found.y - top) / height_px * PUBLISHED_SIDE)
    found = replace(found, x=x, y=y)
    square = torch.tensor([0.0, 0.0, PUBLISHED_SIDE, PUBLISHED_SIDE], device=x.device).expand(len(window), 4)
    length = torch.zeros_like(x)
    length[1:] = torch.hypot(x.diff(), y.diff()) * (found.trial[1:] == found.trial[:-1])
    radius = (length / 5).clamp(min=max(1.0, PUBLISHED_SIDE / max(size)) / 2)
    (line,) = _layers(_lines(found, 1.0), square, size)
    halvings = torch.zeros(line.numel(), dtype=torch.int64, device=x.device)
    discs = _Strokes(found.trial, x, y, x, y, -radius, radius)
    for _, pixel, coverage in _covered(discs, square, size):
        halvings.scatter_add_(0, pixel, (-torch.log2(1 - coverage / 2) * HALVING).round().long())
    dark = torch.exp2(halvings.double() / -HALVING).float().view(line.shape)
    return (1 - (1 - line) * dark)[:, None]


def _circles(found: _Fixations, look: ScanpathLook) -> _Strokes:
    """Filled discs for "channels", outlines for the other looks."""
    radius = look.radius_px * (found.duration / look.radius_at_ms).sqrt()
    if look.kind == "c":
        radius = torch.full_like(radius, look.radius_px)
    if look.kind == "channels":
        inner, outer = -radius, radius
    else:
        inner, outer = radius - look.line_px / 2, radius + look.line_px / 2
    return _Strokes(found.trial, found.x, found.y, found.x, found.y, inner, outer)


def _lines(found: _Fixations, line_px: float, arrow_px: float | None = None) -> _Strokes:
    """The saccades, from each fixation to the next of its trial; as arrows, with two barbs at the end of each."""
    follows = found.trial[1:] == found.trial[:-1]
    trial = found.trial[1:][follows]
    x1, y1, x2, y2 = (part[follows] for part in (found.x[:-1], found.y[:-1], found.x[1:], found.y[1:]))
    segments = [(trial, x1, y1, x2, y2)]
    if arrow_px is not None:
        length = torch.hypot(x2 - x1, y2 - y1)
        scale = (arrow_px / length.clamp(min=1e-6)).clamp(max=0.5)
        for angle in (ARROW_ANGLE, -ARROW_ANGLE):
            back_x = (x1 - x2) * math.cos(angle) - (y1 - y2) * math.sin(angle)
            back_y = (x1 - x2) * math.sin(angle) + (y1 - y2) * math.cos(angle)
            segments.append((trial, x2, y2, x2 + scale * back_x, y2 + scale * back_y))
    trial, x1, y1, x2, y2 = (torch.cat(parts) for parts in zip(*segments, strict=True))
    half = torch.full_like(x1, line_px / 2)
    return _Strokes(trial, x1, y1, x2, y2, -half, half)


def _layers(strokes: _Strokes, window: Tensor, size: tuple[int, int], *shades: Tensor) -> list[Tensor]:
    """Pictures (B, H, W): first the ink alone, then one for each of `shades`, (S,) in 0..1, the ink times the shade."""
    canvases = [torch.zeros(len(window) * size[0] * size[1], device=window.device) for _ in range(1 + len(shades))]
    for stroke, pixel, coverage in _covered(strokes, window, size):
        inks = [coverage, *(coverage * shade[stroke] for shade in shades)]
        for canvas, ink in zip(canvases, inks, strict=True):
            canvas.scatter_reduce_(0, pixel, ink, "amax")
    return [canvas.view(len(window), *size) for canvas in canvases]


def _covered(strokes: _Strokes, window: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(stroke, pixel, coverage) in chunks, (P,) each: every pixel in the bounding box of every stroke. `pixel` counts
    through (B, H, W)."""
    height, width = size
    left, top, width_px, height_px = window[strokes.trial].unbind(1)
    pixel_x_px, pixel_y_px = width_px / width, height_px / height  # screen px in a picture pixel, (S,)
    reach = strokes.outer + torch.maximum(pixel_x_px, pixel_y_px) / 2
    first_column, columns = _span(strokes.x1 - left, strokes.x2 - left, reach, pixel_x_px, width)
    first_row, rows = _span(strokes.y1 - top, strokes.y2 - top, reach, pixel_y_px, height)
    ends = (rows * columns).cumsum(0)
    starts = ends - rows * columns
    total = int(ends[-1]) if len(ends) else 0
    for first in range(0, total, CHUNK_PAIRS):
        pair = torch.arange(first, min(first + CHUNK_PAIRS, total), device=window.device)
        stroke = torch.searchsorted(ends, pair, right=True)
        row_in_box = torch.div(pair - starts[stroke], columns[stroke], rounding_mode="floor")
        column = first_column[stroke] + pair - starts[stroke] - row_in_box * columns[stroke]
        row = first_row[stroke] + row_in_box
        pixel_px = pixel_x_px[stroke], pixel_y_px[stroke]
        x = left[stroke] + (column + 0.5) * pixel_px[0]
        y = top[stroke] + (row + 0.5) * pixel_px[1]
        mine = _Strokes(*(getattr(strokes, field.name)[stroke] for field in fields(strokes)))
        yield stroke, (mine.trial * height + row) * width + column, _coverage(mine, x, y, *pixel_px)


def _span(start: Tensor, stop: Tensor, reach: Tensor, pixel_px: Tensor, n_pixels: int) -> tuple[Tensor, Tensor]:
    """First pixel and number of pixels (int64) along one axis whose centres a stroke may reach; from the window's edge.
    Half a pixel more is taken on either side, for rounding."""
    first = ((torch.minimum(start, stop) - reach) / pixel_px - 1).clamp(0, n_pixels).floor().long()
    end = ((torch.maximum(start, stop) + reach) / pixel_px + 1).clamp(0, n_pixels).ceil().long()
    return first, (end - first).clamp(min=0)


def _coverage(strokes: _Strokes, x: Tensor, y: Tensor, pixel_x_px: Tensor, pixel_y_px: Tensor) -> Tensor:
    """The share of the pixel at (x, y) that its stroke covers, as `scanpaths` defines it; (P,) everywhere."""
    along_x, along_y = strokes.x2 - strokes.x1, strokes.y2 - strokes.y1
    length2 = along_x.square() + along_y.square()
    place = ((x - strokes.x1) * along_x + (y - strokes.y1) * along_y) / length2.clamp(min=1e-12)
    beside = (place > 0) & (place < 1)  # the nearest point is inside the segment: its normal is the edge's
    place = place.clamp(0, 1)
    off_x, off_y = x - strokes.x1 - place * along_x, y - strokes.y1 - place * along_y
    distance = torch.hypot(off_x, off_y)
    normal_x, normal_y = torch.where(beside, -along_y, off_x), torch.where(beside, along_x, off_y)
    norm2 = normal_x.square() + normal_y.square()
    extent2 = (normal_x * pixel_x_px).square() + (normal_y * pixel_y_px).square()
    diagonal2 = (pixel_x_px.square() + pixel_y_px.square()) / 2
    extent = torch.where(norm2 > 1e-12, extent2 / norm2.clamp(min=1e-12), diagonal2).sqrt()
    low = torch.maximum(distance - extent / 2, strokes.inner)
    high = torch.minimum(distance + extent / 2, strokes.outer)
    return ((high - low) / extent).clamp(0, 1)
