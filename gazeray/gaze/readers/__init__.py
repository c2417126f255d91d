# SPDX-License-Identifier: Apache-2.0
"""Readers: from the bytes of a gaze file to a table in ms. Each module registers its own in `READERS`, by name."""

from importlib import import_module
from pkgutil import iter_modules

from gazeray.gaze.readers.base import READERS, GazeTable, ReadError, register_reader

__all__ = ["READERS", "GazeTable", "ReadError", "register_reader"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
