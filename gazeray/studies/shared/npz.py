# SPDX-License-Identifier: Apache-2.0
"""Arrays as a compressed .npz."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The file that holds these arrays by name."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
