# SPDX-License-Identifier: Apache-2.0
"""What can be set of how pictures and the gaze on them are moved together (`gazeray.gaze.augment`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from gazeray.config import Section


class AugmentConfig(Section):
    """One random affine moves the picture, the gaze, the scanpath and any area of interest. Defaults: the published
    ranges; views 0: nothing is moved."""

    views: int = Field(0, ge=0, description="random views per picture beside the plain one; 0: no augmentation")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    rotate_deg: float = Field(30.0, ge=0, le=180, description="largest rotation, either way")
    scale: tuple[float, float] = Field((1.0, 1.5), description="smallest and largest scale")
    shear_deg: float = Field(10.0, ge=0, lt=90, description="largest shear, either way")
    crop: float = Field(0.0, ge=0, lt=1, description="largest share of either side that a random crop leaves out")
    outside: Literal["keep", "mask"] = Field("keep", description="gaze that leaves the frame: kept as it is, or lost")

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError("the smallest scale is above 0 and not larger than the largest")
        return scale
