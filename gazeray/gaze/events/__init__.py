# SPDX-License-Identifier: Apache-2.0
"""Fixations, saccades and post-saccadic oscillations out of raw gaze samples."""

from gazeray.gaze.events.config import EventsConfig
from gazeray.gaze.events.detection import (
    DETECTORS,
    FIXATION,
    FIXATIONS,
    LOST,
    OSCILLATION,
    OTHER,
    SACCADE,
    SACCADES,
    Events,
    detect,
)
from gazeray.gaze.events.dispersion import fixations_idt
from gazeray.gaze.events.screen import Screen

__all__ = [
    "DETECTORS",
    "FIXATION",
    "FIXATIONS",
    "LOST",
    "OSCILLATION",
    "OTHER",
    "SACCADE",
    "SACCADES",
    "Events",
    "EventsConfig",
    "Screen",
    "detect",
    "fixations_idt",
]
