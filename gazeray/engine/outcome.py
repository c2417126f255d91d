# SPDX-License-Identifier: Apache-2.0
"""How a run of any study ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gazeray.storage import Folder


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder, its metrics (None when no unit finished), the failed units with reasons."""

    run: Folder
    metrics: dict[str, Any] | None
    failed: dict[str, str]
