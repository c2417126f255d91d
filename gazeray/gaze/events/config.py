# SPDX-License-Identifier: Apache-2.0
"""What can be set about the detection of fixations and saccades."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gazeray.config import Section


class EventsConfig(Section):
    """How fixations and saccades are found in samples.

    idt_px needs no geometry of the screen; the other detectors work in degrees of visual angle and need all of it.
    """

    detector: Literal["idt_px", "idt", "ivt", "adaptive"] = Field(
        "idt_px", description="dispersion in px; dispersion in deg; fixed velocity; velocity fitted to the noise"
    )
    min_duration_ms: float = Field(80.0, gt=0, description="shortest fixation, ms")
    dispersion_px: float = Field(40.0, gt=0, description="idt_px: largest extent in x plus in y of a fixation, px")
    dispersion_deg: float = Field(1.0, gt=0, description="idt: largest extent in x plus in y of a fixation, deg")
    velocity_deg_s: float = Field(30.0, gt=0, description="ivt, idt: from this velocity on a saccade, deg/s")
    velocity_window_ms: float = Field(20.0, gt=0, description="ivt, idt: time a velocity is taken over, ms")
    adaptive_window_ms: float = Field(8.0, gt=0, description="adaptive: length of the Savitzky-Golay filter, ms")
    max_velocity_deg_s: float = Field(1000.0, gt=0, description="adaptive: what is faster is no eye and lost, deg/s")
    min_saccade_ms: float = Field(10.0, ge=0, description="ivt, idt, adaptive: shortest saccade, ms")
    max_gap_ms: float = Field(
        75.0, gt=0, description="longest time between samples bridged over lost ones (ivt, adaptive: linearly), ms"
    )
    blink_pad_ms: float = Field(
        50.0, ge=0, description="not idt_px: also lost, before and after every loss longer than max_gap_ms, ms"
    )
    merge_gap_ms: float = Field(
        75.0, ge=0, description="ivt: fixations at most this far apart, and merge_deg, are one, ms; 0 = never"
    )
    merge_deg: float = Field(0.5, ge=0, description="ivt: how near two fixations are that may be one, deg")
