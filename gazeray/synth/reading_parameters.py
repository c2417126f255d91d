# SPDX-License-Identifier: Apache-2.0
"""The parameters of the simulated reading study.

Where the numbers come from. The sizes of ordinary reading follow the literature named at each parameter. That readers
fixate pseudowords and novel words longer and more often, and return to them, is published (Chaffin, Morris & Seely
2001, J Exp Psychol Learn Mem Cogn 27:225-235; Lowell & Morris 2014, Atten Percept Psychophys 76:179-189; Rau, Moll,
Snowling & Landerl 2015, J Exp Child Psychol 130:92-105; Pellicer-Sanchez 2016, Stud Second Lang Acquis 38:97-130). The
SIZES of these effects are our own assumption, and stronger than we expect of real readers: with `effect` 1 the dwell on
a pseudoword is about four times that on the same word in the control version (which is skipped at times). They are set
so that a single trial can be told apart as well as in the heatmap study's literature; do not quote them as findings.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gazeray.config import Section


class ReadingSimulation(Section):
    """The simulated study. `effect` scales every pseudoword effect; the other values are those of ordinary reading."""

    readers: int = Field(24, ge=2, le=999)
    sentences: int = Field(12, ge=2, le=999)
    pseudoword_share: float = Field(
        0.25, gt=0, lt=1, description="share of each reader's sentences with a pseudoword, rounded to whole sentences"
    )
    effect: float = Field(1.0, ge=0, le=3, description="scales every pseudoword effect; 0: the label leaves no trace")
    sampling_hz: float = Field(120.0, ge=30, le=2000)
    seed: int = Field(0, ge=0, lt=2**31)

    pseudoword_slowing: float = Field(
        0.5, ge=0, le=3, description="fixations on a pseudoword last longer by this share; Rau et al. 2015; size: ours"
    )
    pseudoword_refixations: float = Field(
        1.5, ge=0, le=10, description="mean further refixations of a pseudoword; Lowell & Morris 2014; size: ours"
    )
    pseudoword_returns: float = Field(
        0.1,
        ge=0,
        le=1,
        description="further probability, after each later word, to go back to it; Chaffin et al. 2001",
    )
    pseudoword_rereading: float = Field(
        0.7, ge=0, le=1, description="further probability to go back from it; Clifton, Staub & Rayner 2007; size: ours"
    )
    pseudoword_skipping: float = Field(
        1.0, ge=0, le=1, description="a pseudoword is skipped less often by this share; ours"
    )

    fixation_ms: float = Field(
        230.0, ge=100, le=600, description="mean fixation duration; 200-250 ms in silent reading, Rayner 1998, 2009"
    )
    fixation_cv: float = Field(
        0.3, gt=0, le=1, description="coefficient of variation of a reader's fixation durations (gamma); ours"
    )
    reader_cv: float = Field(
        0.1, ge=0, le=0.5, description="spread between readers of fixation duration and saccade noise; ours"
    )
    word_cv: float = Field(
        0.1, ge=0, le=1, description="spread of the fixation time that one reader needs for one word (log-normal); ours"
    )
    skipping: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="probability of skipping a 3-letter word; falls to 0.15 at 7-8 letters, 0.02 at 12; short words "
        "are mostly skipped, long ones rarely: Rayner 1998; Rayner, Slattery, Drieghe & Liversedge 2011; sizes: ours",
    )
    refixations: float = Field(
        0.2,
        ge=0,
        le=2,
        description="mean refixations of a 7-letter word, proportional to length; Rayner 1998; ours",
    )
    regressions: float = Field(
        0.12, ge=0, le=0.5, description="probability of going back to a word; 10-15 % of saccades: Rayner 1998, 2009"
    )
    landing_sd_letters: float = Field(
        1.5,
        ge=0,
        le=5,
        description="spread of landing places around the word's preferred place, a little left of its middle; normal: "
        "McConkie, Kerr, Reddix & Zola 1988, Vision Research 28:1107-1118; size: ours",
    )
    noise_deg: float = Field(
        0.12, ge=0, le=2, description="white noise of a sample per axis (standard deviation), of a remote tracker; ours"
    )
    offset_deg: float = Field(0.3, ge=0, le=2, description="calibration offset per reader (standard deviation); ours")
    drift_deg: float = Field(
        0.15, ge=0, le=2, description="further offset per trial, and drift within a trial (standard deviations); ours"
    )
    blinks_per_min: float = Field(
        10.0, ge=0, le=60, description="1.4-14.4 per minute in reading: Doughty 2001, Optom Vis Sci 78:712-725"
    )
    blink_ms: tuple[float, float] = Field(
        (100.0, 300.0), description="shortest and longest gap that a blink leaves; ours"
    )
    lost_share: float = Field(0.01, ge=0, le=0.5, description="share of single samples that the tracker loses; ours")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 0 < self.pseudoword_trials < self.sentences:
            raise ValueError(
                f"pseudoword_share {self.pseudoword_share} of {self.sentences} sentences must leave each reader at "
                "least one sentence with and one without a pseudoword"
            )
        if not 0 <= self.blink_ms[0] <= self.blink_ms[1] <= 2000:
            raise ValueError(f"blink_ms must be two rising durations within 0-2000 ms, not {self.blink_ms}")
        return self

    @property
    def pseudoword_trials(self) -> int:
        """Sentences with a pseudoword that each reader sees."""
        return round(self.pseudoword_share * self.sentences)
