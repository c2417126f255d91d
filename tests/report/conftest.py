# SPDX-License-Identifier: Apache-2.0
"""What the tests of the report share: drawings that are laid out only, and a tab of a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from gazeray.report import figures
from gazeray.storage import Folder
from gazeray.studies.emotion.report import write_report
from tests.report import fabricate_emotion


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


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are set up but not rasterised: for tests of words only."""
    blank = figures.to_png(figures.new_figure(1, 1))
    monkeypatch.setattr(figures, "to_png", lambda figure: blank)


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is even set up, which is most of the time that a page takes: every one is the same blank."""
    blank = figures.to_png(figures.new_figure(1, 1))
    monkeypatch.setattr(figures, "in_style", lambda draw, style: blank)


@pytest.fixture(scope="session")
def emotion_report(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A run folder of the emotion study with all that a page may show, drawn; a person has a long name."""
    run = Folder(tmp_path_factory.mktemp("drawn") / "run")
    fabricate_emotion.fabricate(run, fabricate_emotion.EmotionScene(searched=True, first_participant="P1_" + 57 * "w"))
    write_report(run)
    return run


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A tab of headless Chromium, where it is installed."""
    browser = pytest.importorskip("tests.report.browser", reason="aiohttp (ray[default]) is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with browser.opened(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page
