# SPDX-License-Identifier: Apache-2.0
"""Readers of gaze on pictures: from a file to the fixations by picture. `PICTURE_READERS` holds them by name."""

from __future__ import annotations

from gazeray.stimuli.readers import mat_folders, osie, salicon, table
from gazeray.stimuli.readers.base import PICTURE_READERS, Gaze, RawGaze, register_picture_reader

__all__ = [
    "PICTURE_READERS",
    "Gaze",
    "RawGaze",
    "mat_folders",
    "osie",
    "register_picture_reader",
    "salicon",
    "table",
]
