# SPDX-License-Identifier: Apache-2.0
"""pysaliency as a second opinion, for tests and benchmarks: its import, and its metrics on arrays of maps.

pysaliency 0.2 asks for `pkg_resources` and `numpy.trapz`, which current setuptools and NumPy no longer have.
"""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np


def import_pysaliency() -> Any:
    """The module pysaliency, made to import. Raises ImportError where it is not installed."""
    if "pysaliency" in sys.modules:
        return sys.modules["pysaliency"]
    if not hasattr(np, "trapz"):
        setattr(np, "trapz", np.trapezoid)  # noqa: B010
    if "pkg_resources" not in sys.modules:
        stub = ModuleType("pkg_resources")
        stub.resource_string = stub.resource_listdir = _no_resource  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stub
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pysaliency
    return pysaliency


def _no_resource(package: str, name: str) -> None:
    raise FileNotFoundError(f"{name} of {package}: there is no pkg_resources here")


def stimuli_and_fixations(shape: tuple[int, int, int], rows: np.ndarray) -> tuple[Any, Any]:
    """B blank stimuli (each another one) of H x W px, and pysaliency's Fixations at `rows` (N, 3): image, y, x."""
    pysaliency = import_pysaliency()
    n_images, height, width = shape
    pictures = [np.full((height, width), index, dtype=np.int64) for index in range(n_images)]
    image, y, x = (np.asarray(rows)[:, column] for column in range(3))
    with np.errstate(invalid="ignore"):  # it multiplies memory that it has not set by NaN
        fixations = pysaliency.Fixations.create_without_history(x.astype(float), y.astype(float), image)
    return pysaliency.Stimuli(pictures), fixations


def model_of(maps: np.ndarray) -> Any:
    """A saliency map model of pysaliency that answers the maps (B, H, W) to the stimuli of `stimuli_and_fixations`."""
    pysaliency = import_pysaliency()

    class Model(pysaliency.SaliencyMapModel):  # type: ignore[misc, name-defined]
        def _saliency_map(self, stimulus: np.ndarray) -> np.ndarray:
            answer: np.ndarray = maps[int(stimulus[0, 0])]
            return answer

    return Model(caching=False)
