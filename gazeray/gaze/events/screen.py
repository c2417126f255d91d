# SPDX-License-Identifier: Apache-2.0
"""The screen that was looked at: from px to degrees of visual angle and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Screen:
    """A flat screen, the eye straight before its centre. NaN = not known.

    Degrees are counted from the centre for each axis on its own, atan2(offset in mm, distance in mm), x to the right,
    y down as in px. The centre is at (width_px / 2, height_px / 2): px are places on the screen, 0 is the outer edge of
    the first pixel (pymovements' pix2deg counts pixel centres and is half a pixel off from this).
    Raises ValueError where a part is not positive (NaN apart).
    """

    width_px: float
    height_px: float
    width_mm: float = math.nan
    height_mm: float = math.nan
    distance_mm: float = math.nan

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not (math.isnan(value) or 0 < value < math.inf):
                raise ValueError(f"screen {part.name} must be positive and finite, not {value}")

    def unknown(self) -> list[str]:
        """The parts that are not known; degrees need all of them."""
        return [part.name for part in fields(self) if math.isnan(getattr(self, part.name))]

    def to_deg(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
        """Places in px, any shape, as deg from the centre of the screen; NaN where the screen or the place is not
        known."""
        x_mm, y_mm = self._to_mm(x_px, y_px)
        return np.degrees(np.arctan2(x_mm, self.distance_mm)), np.degrees(np.arctan2(y_mm, self.distance_mm))

    def angle_deg(self, x0_px: ArrayLike, y0_px: ArrayLike, x1_px: ArrayLike, y1_px: ArrayLike) -> Floats:
        """The angle at the eye between two places on the screen, deg: exact anywhere on it, both axes together."""
        ends = [np.broadcast_arrays(*self._to_mm(x, y), self.distance_mm) for x, y in ((x0_px, y0_px), (x1_px, y1_px))]
        a, b = (np.stack(end, axis=-1).astype(np.float64) for end in ends)
        across = np.linalg.norm(np.cross(a, b), axis=-1)
        return np.asarray(np.degrees(np.arctan2(across, (a * b).sum(axis=-1))))

    def _to_mm(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Floats, Floats]:
        x = (np.asarray(x_px, np.float64) - self.width_px / 2) * (self.width_mm / self.width_px)
        return x, (np.asarray(y_px, np.float64) - self.height_px / 2) * (self.height_mm / self.height_px)
