# SPDX-License-Identifier: Apache-2.0
"""The trained networks, where there are some."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of the trained networks; the test is skipped where there is none."""
    folder = os.environ.get("GAZERAY_REAL_WEIGHTS")
    if not folder:
        pytest.skip("GAZERAY_REAL_WEIGHTS is not set: no trained networks on this machine")
    return Path(folder)
