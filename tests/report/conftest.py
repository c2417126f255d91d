# SPDX-License-Identifier: Apache-2.0
"""What the tests of the report's pictures share."""

from __future__ import annotations

from typing import Any

import pytest

from gazeray.report import figures


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures of the test: laid out, but not written as PNG."""
    kept: list[Any] = []

    def lay_out(figure: Any) -> bytes:
        figure.draw_without_rendering()
        kept.append(figure)
        return b""

    monkeypatch.setattr(figures, "to_png", lay_out)
    return kept
