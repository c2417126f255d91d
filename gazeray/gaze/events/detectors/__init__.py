# SPDX-License-Identifier: Apache-2.0
"""The detectors: every module here registers its own in `gazeray.gaze.events.registry.DETECTORS`."""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
