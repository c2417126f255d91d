# SPDX-License-Identifier: Apache-2.0
"""Small networks run on one thread: several would wait for each other wherever the machine is busy."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def small_networks(one_thread: None) -> None:
    """All of them."""
