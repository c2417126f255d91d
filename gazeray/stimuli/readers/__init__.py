# SPDX-License-Identifier: Apache-2.0
"""Readers of gaze on pictures: from a file to the fixations by picture; each module registers its own."""

from importlib import import_module
from pkgutil import iter_modules

from gazeray.stimuli.readers.base import PICTURE_READERS, Gaze, RawGaze, register_picture_reader

__all__ = ["PICTURE_READERS", "Gaze", "RawGaze", "register_picture_reader"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
