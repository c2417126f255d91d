# SPDX-License-Identifier: Apache-2.0
"""Fixations, saccades and post-saccadic oscillations out of raw gaze samples."""

from gazeray.gaze.events.detection import (
    FIXATION,
    FIXATIONS,
    LOST,
    OSCILLATION,
    OTHER,
    SACCADE,
    SACCADES,
    Events,
    EventsConfig,
    detect,
)
from gazeray.gaze.events.registry import DETECTORS, register_detector
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
    "register_detector",
]
