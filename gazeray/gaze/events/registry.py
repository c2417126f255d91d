# SPDX-License-Identifier: Apache-2.0
"""What a detector of events is: a function from the samples of a trial to its events, registered under a name.

A config names its detector. A new one is one new module in `detectors` with one `@register_detector` function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from gazeray.config import Section
from gazeray.gaze.events.samples import Floats, Prepared, Runs
from gazeray.gaze.events.screen import Screen
from gazeray.gaze.registry import Registry

Found = tuple[Runs, Runs, Runs, Floats]
"""Fixations, saccades, oscillations as runs of samples, and the velocity of each sample in deg/s."""

NO_RUNS: Runs = np.zeros((0, 2), np.int64)


class DetectorConfig(Section):
    """What the detectors can be told; each takes what it needs of it."""

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


@dataclass(frozen=True)
class Detector:
    """A registered detector, and what it takes.

    find      finds events in samples that are ready for it; raises ValueError where it cannot work on them
    about     what it does, in a few words: shown by --help
    in_deg    it works in deg: all of the screen must be known, samples beside a blink are lost, and of several samples
              with the same timestamp the first counts (in px all do)
    bridges   lost samples in gaps up to `max_gap_ms` are put on a line; else they stay lost
    """

    find: Callable[[Prepared, Screen, DetectorConfig], Found]
    about: str
    in_deg: bool = True
    bridges: bool = True


DETECTORS = Registry("detector", Detector)
register_detector = DETECTORS.register
