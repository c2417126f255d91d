# SPDX-License-Identifier: Apache-2.0
"""Everything that can be set for scoring maps that were made elsewhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazeray.config import Section
from gazeray.studies.pictures.config import PictureScoring


class MapsConfig(Section):
    """The maps to score."""

    path: str | None = Field(
        None,
        description="folder or URI of the maps: <stimulus>.png, .npy or .npz, any size; null: of the embedded scenes",
    )
    label: str | None = Field(None, min_length=1, description="how the report calls them; default: the folder's name")
    kind: Literal["saliency", "density", "log_density"] = Field(
        "saliency", description="what the values are; saliency maps are read as densities where a metric needs one"
    )


class ScoreMapsConfig(PictureScoring):
    """The config of jobs/score_maps.py."""

    maps: MapsConfig = MapsConfig()
