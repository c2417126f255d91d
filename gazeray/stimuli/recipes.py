# SPDX-License-Identifier: Apache-2.0
"""What can be set of the human map of a picture (`gazeray.stimuli.human_maps`): the recipe and its sigma."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gazeray.config import Section

SALICON_SIGMA_PX, SALICON_HEIGHT_PX, TRUNCATE = 19.0, 480, 4.0
"""SALICON: sigma for pictures 480 px high, cut at so many sigma."""

PUBLISHED_SIDE_PX, PUBLISHED_SIGMA_PX = 256, 10.0
"""The published variant: side of the square that every picture is squashed to, and sigma on it."""


class TargetConfig(Section):
    """How the fixations on a picture become its human map.

    gaussian    each fixation a Gaussian of `sigma_px` (or `sigma_deg`; default 4 % of the picture's height), repeats
                add up, nothing is reflected at the edges
    salicon     as SALICON's own code: fixated pixels are 1 however often they were, Gaussian of 19 px at a height of
                480 px, cut at 4 sigma, mirrored at the edges, minimum subtracted
    published   the variant of a published probe of SALICON: counts on the picture squashed to 256 x 256, sigma 10 there
                (at 640 x 480 that is 25 px across and 18.75 px down)
    All are divided by their maximum.
    """

    recipe: Literal["gaussian", "salicon", "published"] = Field("gaussian", description="see docs/pictures.md")
    sigma_px: float | None = Field(None, gt=0, description="gaussian: standard deviation in px of the picture")
    sigma_deg: float | None = Field(
        None, gt=0, description="gaussian: the same in deg; needs px_per_deg of the data set"
    )

    @field_validator("sigma_px", "sigma_deg")
    @classmethod
    def _one_sigma(cls, sigma: float | None, info: ValidationInfo) -> float | None:
        recipe = info.data.get("recipe", "gaussian")
        if sigma is not None and recipe != "gaussian":
            raise ValueError(f"the recipe {recipe} has its own sigma")
        if sigma is not None and info.data.get("sigma_px") is not None:
            raise ValueError("give sigma_px or sigma_deg, not both")
        return sigma

    def sigma_of(self, height_px: int, px_per_deg: float | None = None) -> float:
        """Sigma of a picture `height_px` high, px of the picture (down; published: across it scales with the width).

        Raises ValueError where `sigma_deg` is set and `px_per_deg` is not known.
        """
        if self.recipe == "salicon":
            return SALICON_SIGMA_PX * height_px / SALICON_HEIGHT_PX
        if self.recipe == "published":
            return PUBLISHED_SIGMA_PX * height_px / PUBLISHED_SIDE_PX
        if self.sigma_px is not None:
            return self.sigma_px
        if self.sigma_deg is None:
            return 0.04 * height_px  # 24 px of 600, nearly SALICON's 19 of 480
        if px_per_deg is None:
            raise ValueError("sigma_deg needs px_per_deg in the declaration of the data set")
        return self.sigma_deg * px_per_deg
