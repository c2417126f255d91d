# SPDX-License-Identifier: Apache-2.0
"""The parameters of the simulated study of felt arousal and valence (`gazeray.synth.emotion`)."""

from __future__ import annotations

from pydantic import Field

from gazeray.config import Section


class EmotionSimulation(Section):
    """Who looks at what, and how much of what is felt shows."""

    people: int = Field(20, ge=2, description="people")
    pictures: int = Field(40, ge=4, description="pictures, each seen by everybody once")
    effect: float = Field(1.0, ge=0, description="scales every effect of what is felt on gaze and body; 0: none")
    seed: int = Field(0, ge=0, lt=2**31, description="of the simulation")
