# SPDX-License-Identifier: Apache-2.0
"""What can be set of how signals are cleaned and put onto a grid of times (`gazeray.gaze.signals`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from gazeray.config import Section

PLAUSIBLE: dict[str, tuple[float | None, float | None]] = {
    "pupil_mm": (1.5, 9.0),
    "heart_rate": (30.0, 220.0),
    "gsr": (0.0, None),
}
"""Channel -> lowest and highest value that a body can have, in the channel's unit; the ends are implausible themselves
where they are 0."""


class SignalsConfig(Section):
    """From the samples of a trial to channels on a fixed grid of times. Times are ms from the trial's first sample."""

    channels: list[str] | None = Field(
        None, min_length=1, description="which channels are used; null: all that the data set has"
    )
    start_ms: float = Field(0.0, description="where the window begins")
    duration_ms: float = Field(4900.0, gt=0, description="how long it is; later samples are clipped")
    samples: int = Field(301, ge=8, le=20_000, description="points of the grid, from the first to the last ms")
    min_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the grid that a channel must be there for; trials without any such channel are rejected",
    )
    max_gap_ms: float = Field(500.0, ge=0, description="longer losses are not interpolated but masked")
    blink_margin_ms: float = Field(50.0, ge=0, description="pupil: also lost, before and after every loss")
    baseline_ms: float | None = Field(
        None, gt=0, description="pupil: minus its mean over so many first ms of the trial"
    )
    plausible: dict[str, tuple[float | None, float | None]] = Field(
        PLAUSIBLE, description="channel -> lowest and highest value; what is outside is lost"
    )
    max_lost_share: dict[str, float] = Field(
        {}, description="channel -> largest share of lost samples; a channel above it is masked in that trial"
    )
    eda: Literal["raw", "tonic_phasic"] = Field(
        "raw", description="gsr as it is, or parted into gsr_tonic and gsr_phasic, uS (pip install 'gazeray[eda]')"
    )
    scale: Literal["participant", "training_people", "published"] = Field(
        "participant",
        description="mean and spread of each participant's own trials, without labels; of the training people; or the "
        "published constants",
    )

    @field_validator("plausible")
    @classmethod
    def _low_below_high(
        cls, plausible: dict[str, tuple[float | None, float | None]]
    ) -> dict[str, tuple[float | None, float | None]]:
        wrong = [
            name for name, (low, high) in plausible.items() if low is not None and high is not None and low >= high
        ]
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: the lowest value is not below the highest")
        return plausible

    @field_validator("eda")
    @classmethod
    def _fast_enough_to_part(cls, eda: str, info: ValidationInfo) -> str:
        points, duration_ms = info.data.get("samples", 10), info.data.get("duration_ms", 1.0)
        if eda == "tonic_phasic" and (points < 10 or duration_ms >= 1e4 * (points - 1)):
            raise ValueError("tonic_phasic needs a grid of 10 points at least, more than one in 10 s")
        return eda
