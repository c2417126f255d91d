# SPDX-License-Identifier: Apache-2.0
"""The parameters of the simulated free-viewing study (`gazeray.synth.saliency`)."""

from __future__ import annotations

from pydantic import Field

from gazeray.config import Section


class SaliencySimulation(Section):
    """The simulated study. Weights are relative: those of a picture's things, the centre and the rest are rescaled.

    That faces and text draw more gaze than other objects is published (Cerf, Frady & Koch 2009, J Vision 9(12):10), and
    so is the centre bias (Tatler 2007, J Vision 7(14):4); the SIZES are our own assumption. Do not quote them as
    findings.
    """

    pictures: int = Field(60, ge=3, le=9999)
    observers: int = Field(10, ge=1, le=999)
    width_px: int = Field(320, ge=64, le=4000)
    height_px: int = Field(240, ge=64, le=4000)
    fixations: float = Field(8.0, ge=1, le=200, description="mean number per observer and picture; Poisson, at least 1")
    effect: float = Field(
        1.0, ge=0, le=10, description="scales the weight of everything in the picture; 0: gaze does not depend on it"
    )
    objects: float = Field(1.0, ge=0, le=100, description="weight of each object; ours")
    faces: float = Field(3.0, ge=0, le=100, description="weight of each face; ours")
    text: float = Field(2.0, ge=0, le=100, description="weight of each sign with a word; ours")
    centre: float = Field(2.0, gt=0, le=100, description="weight of the picture's centre; ours")
    anywhere: float = Field(0.4, gt=0, le=100, description="weight of the whole picture, evenly; ours")
    observer_cv: float = Field(
        0.4, ge=0, le=2, description="spread between observers of their weights of objects, faces, text, centre; ours"
    )
    noise_px: float = Field(4.0, ge=0, le=200, description="noise of the tracker (standard deviation per axis); ours")
    bad_rows: int = Field(4, ge=0, le=999, description="rows with a place outside the picture or no number, in turn")
    seed: int = Field(0, ge=0, lt=2**31)
