# SPDX-License-Identifier: Apache-2.0
"""Starting Ray keeps stderr for what matters: its note on the log level is left out, everything else arrives."""

from __future__ import annotations

import os
import sys

import pytest

from gazeray.engine.cluster import _without_note_on_level

NOTE = b"[2026-01-01 00:00:00,000 I 1 1] logging.cc:303: Set ray log level from environment variable X to 3\n"


def test_all_but_the_note_arrives_on_stderr_in_its_order(capfd: pytest.CaptureFixture[str]) -> None:
    with _without_note_on_level():
        os.write(2, b"first\n" + NOTE)
        os.write(2, b"second, without an end")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "first\nsecond, without an end"
    os.write(2, NOTE)
    assert capfd.readouterr().err == NOTE.decode()


def test_what_was_said_before_an_error_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    def look() -> None:
        os.write(2, NOTE + b"looked for somebody\n")
        raise ConnectionError("nobody")

    with pytest.raises(ConnectionError, match="nobody"), _without_note_on_level():
        look()
    assert capfd.readouterr().err == "looked for somebody\n"


def test_a_closed_stderr_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(os, "dup", lambda fd: pytest.fail("nothing is there to hold back"))
    with _without_note_on_level():
        pass
