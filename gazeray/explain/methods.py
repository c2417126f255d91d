# SPDX-License-Identifier: Apache-2.0
"""The names of the methods that draw maps (`gazeray.explain.gradients`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

MethodName = Literal["gradient", "integrated_gradients", "smoothgrad"]
METHODS: tuple[MethodName, ...] = ("gradient", "integrated_gradients", "smoothgrad")


def check_methods(methods: Sequence[MethodName]) -> None:
    """Raises ValueError: no method, an unknown one, or one twice."""
    if not set(methods) <= set(METHODS) or len(set(methods)) != len(methods) or not methods:
        raise ValueError(f"methods must be some of {', '.join(METHODS)}, each once, not {methods}")
