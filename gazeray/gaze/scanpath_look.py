# SPDX-License-Identifier: Apache-2.0
"""What can be set of how scanpaths are drawn (`gazeray.gaze.scanpath`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazeray.config import Section


class ScanpathLook(Section):
    """How a scanpath is drawn. Lengths are px of the screen, whatever the size of the picture.

    saccades: one channel after the pictures published with EmoEye. On black, white lines from each fixation to the next
    and a disc at each, whose radius is a fifth of the saccade that led to it; a disc leaves what it covers halfway to
    white. Lengths are those of the picture, 180 px high and wide, that the window is squeezed into: the lines are 1 px
    wide there, the smallest disc (of the first fixation) is 1 px across, and never less than a px of the picture drawn;
    all else grows with the picture, and none of the lengths below has a say in it. Unlike the published it is
    anti-aliased, and no radius is cut to whole px.

    channels: what a network is fed with; channel 0 discs, 1 lines, 2 the time of the last visit (see `scanpaths`).

    a, b, c: RGB pictures after those published with Ryzhova et al. (2023), doi 10.1145/3588015.3590118. What is known
    of them: there are three kinds of scanpath picture, called a, b and c, on a white ground, with thin orange arrows
    and cyan circles. The sizes, the exact colours, which of the marks each kind has and whether the circles are filled
    are not known to us, so the following is ours: circles are outlines; a has circles alone, area by duration; b has
    these circles and arrows; c has arrows and circles of one size, as for a fixation of `radius_at_ms`.
    """

    kind: Literal["channels", "a", "b", "c", "saccades"] = "channels"
    radius_px: float = Field(20.0, gt=0, description="radius of the disc of a fixation of radius_at_ms, screen px")
    radius_at_ms: float = Field(250.0, gt=0, description="the area grows in proportion to the duration")
    line_px: float = Field(3.0, gt=0, description="width of the lines and of the circles' outlines, screen px")
    arrow_px: float = Field(14.0, ge=0, description="length of an arrow's barbs (half the saccade at most), screen px")

    @property
    def channels(self) -> int:
        """Channels of a picture."""
        return 1 if self.kind == "saccades" else 3

    @property
    def ground(self) -> float:
        """What a picture holds where nothing is drawn."""
        return 0.0 if self.kind in ("channels", "saccades") else 1.0
