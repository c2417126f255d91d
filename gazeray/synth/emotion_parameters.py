# SPDX-License-Identifier: Apache-2.0
"""The parameters of the simulated study of felt arousal and valence (`gazeray.synth.emotion`).

Where the numbers come from. The directions of all effects are published, at each parameter; so are the layout, the rate
and the shape of the ratings, after a published study of gaze and body on pictures. The SIZES are our own assumption,
and stronger than we expect of real people: they are set so that a few hundred trials are enough to tell that body and
gaze know what the picture and the person alone do not. Do not quote them as findings.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gazeray.config import Section


class EmotionSimulation(Section):
    """Who looks at what, and how much of what is felt shows. A level is a step of the rating scales, 1 to 7."""

    people: int = Field(20, ge=2, le=999, description="people")
    pictures: int = Field(36, ge=4, le=999, description="pictures, each seen by everybody once, in a random order")
    effect: float = Field(1.0, ge=0, le=3, description="scales every effect of what is felt on gaze and body; 0: none")
    seed: int = Field(0, ge=0, lt=2**31, description="of the simulation")

    # What is felt, and what is answered.
    v_shape: float = Field(
        1.3,
        ge=0,
        le=3,
        description="levels of arousal per standard deviation of valence from neutral, either way; the V, steeper on "
        "the unpleasant side: Lang, Greenwald, Bradley & Hamm 1993, Psychophysiology 30:261-273; Kuppens, Tuerlinckx, "
        "Russell & Barrett 2013, Psychol Bull 139:917-940",
    )
    arousal_sd: float = Field(0.4, ge=0, le=2, description="levels by which pictures differ from the V; ours")
    valence_sd: float = Field(1.2, ge=0, le=3, description="spread of the pictures' valence, levels; ours")
    residual_sd: float = Field(
        1.0, ge=0, le=3, description="levels by which what a person feels differs from the picture's mean; ours"
    )
    offset_sd: float = Field(
        0.6,
        ge=0,
        le=3,
        description="spread between people of their mean answer, levels: response styles, Baumgartner & Steenkamp 2001,"
        " J Mark Res 38:143-156; size: ours",
    )
    range_cv: float = Field(0.15, ge=0, le=1, description="spread between people of how far they use the scale; ours")
    preferred_share: float = Field(
        0.2, ge=0, le=1, description="largest share of a person's answers that are their preferred level; ours"
    )

    # How it shows. Each is scaled by `effect`.
    pupil_mm: float = Field(
        0.2,
        ge=0,
        le=1,
        description="dilation per level of felt arousal, from about 1 s on: Bradley, Miccoli, Escrig & Lang 2008, "
        "Psychophysiology 45:602-607",
    )
    scr_share: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="amplitude of the skin conductance response per level of felt arousal, share of the person's "
        "conductance; grows with arousal: Lang et al. 1993; onset 1-3 s: Boucsein 2012, Electrodermal Activity",
    )
    heart_bpm: float = Field(
        1.5,
        ge=0,
        le=10,
        description="deceleration per level of felt valence below neutral: Lang et al. 1993; Bradley, Codispoti, "
        "Cuthbert & Lang 2001, Emotion 1:276-298",
    )
    scanning: float = Field(
        0.08,
        ge=0,
        le=1,
        description="per level of felt arousal, by so much shorter fixations and wider scanning: more fixations and "
        "broader scanning on emotional pictures: Bradley, Houbova, Miccoli, Costa & Lang 2011, Psychophysiology "
        "48:1544-1553",
    )
    avoidance: float = Field(
        0.08,
        ge=0,
        le=1,
        description="share of fixations that leave the things of the picture per level of felt valence below neutral; "
        "ours",
    )

    # What body and tracker do anyway.
    light_mm: float = Field(
        0.5,
        ge=0,
        le=4,
        description="constriction of the pupil by a white picture after a black screen, mm: the light reflex, "
        "Ellis 1981, Br J Ophthalmol 65:754-759; size: ours",
    )
    hippus_mm: float = Field(0.06, ge=0, le=1, description="slow unrest of the pupil, standard deviation; ours")
    body_cv: float = Field(
        0.25, ge=0, le=1, description="spread between people of how strongly their bodies answer; ours"
    )
    spontaneous_per_min: float = Field(
        4.0, ge=0, le=30, description="skin conductance responses to nothing; 1-3 a minute at rest: Boucsein 2012"
    )
    fixation_ms: float = Field(
        290.0,
        ge=100,
        le=1000,
        description="mean fixation duration; 260-330 ms on scenes: Rayner 2009, Q J Exp Psychol 62:1457-1506",
    )
    offset_deg: float = Field(0.5, ge=0, le=5, description="calibration offset per person (standard deviation); ours")
    blinks_per_min: float = Field(
        12.0, ge=0, le=60, description="8-21 per minute with primary gaze: Doughty 2001, Optom Vis Sci 78:712-725"
    )
    one_eye_share: float = Field(
        0.1, ge=0, le=1, description="share of trials in which one eye is not found and its size is wrong; ours"
    )
    bodiless_people: float = Field(
        0.1, ge=0, le=1, description="share of people whose sensor of GSR and heart rate lost contact; ours"
    )
    bodiless_trials: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of their trials without valid GSR and heart rate; up to 70 % in published recordings",
    )

    # Clocks.
    sampling_hz: float = Field(61.2, ge=30, le=500, description="rate of the tracker; samples of a trial: 4.9 s of it")
    jitter_ms: float = Field(0.3, ge=0, le=5, description="of a sampling step, standard deviation; ours")
    drift_ppm: float = Field(
        50.0,
        ge=0,
        le=10_000,
        description="raw form: rate of the log's clock against the tracker's (standard deviation between people); ours",
    )
    strangers: int = Field(0, ge=0, description="raw form: people, the last ones, whose two clocks are hours apart")

    # Pictures.
    picture_px: tuple[int, int] = Field((256, 192), description="width and height of the picture files, 4 to 3")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        width, height = self.picture_px
        if width < 32 or 3 * width != 4 * height:
            raise ValueError(f"picture_px must be 4 to 3, at least 32 px wide, not {width} x {height}")
        if self.strangers > self.people:
            raise ValueError(f"strangers: there are {self.people} people, not {self.strangers}")
        return self

    @property
    def samples(self) -> int:
        """Rows of a trial, 301 at 61.2 Hz: 4.9 s."""
        return round(4.9 * self.sampling_hz) + 1
