# SPDX-License-Identifier: Apache-2.0
"""The report on saliency predictors in a real browser: nothing missing, nothing wide, tables that sort."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gazeray.storage import Folder
from gazeray.studies.pictures.report import write_saliency_report
from tests.report.fabricate_saliency import Scene, fabricate
from tests.report.test_browser import NOT_SHOWN, OVERFLOWING, WIDTHS, browser, column

LONG = "COCO_train2014_000000012345 & <b>x</b> " + 60 * "w"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with every section, long names, and a failed unit."""
    run = Folder(tmp_path_factory.mktemp("browser") / "run")
    layers = ("layer3", "features.denseblock4.denselayer16.conv2")
    fabricate(run, Scene(pictures=9, observers=8, folds=3, layers=layers, weights="none", maps=3, first_stimulus=LONG,
                         notes=("A note on " + 40 * "verylong",), rejects=4, size_px=(80, 60),
                         failed=("model:layer3:pooled",)))  # fmt: skip
    write_saliency_report(run)
    return Path(run.uri) / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on PATH")
    with browser.opened(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Any, html: Path) -> Any:
    """The report, opened anew at 1280 px."""
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(html, 1280)
    return tab


@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_complete_quiet_and_asks_for_nothing(page: Any, html: Path, width: int) -> None:
    page.open(html, width)
    assert page.value("document.images.length") == 5 + 9
    assert page.value(NOT_SHOWN) == []
    assert page.complaints == []
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "data"}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no_script"])
def test_page_does_not_scroll_sideways(page: Any, html: Path, width: int, script: bool) -> None:
    page.open(html, width, script=script)
    assert page.value("document.documentElement.scrollWidth") <= page.value("innerWidth")
    assert page.value(OVERFLOWING) == []
    if out := os.environ.get("GAZERAY_SCREENSHOTS"):
        Path(out, f"saliency-{width}-{'script' if script else 'plain'}.png").write_bytes(page.screenshot(whole=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_large_enough_to_read(page: Any, html: Path, width: int) -> None:
    page.open(html, width)
    sizes = page.value("Array.from(document.querySelectorAll('p, td, th, figcaption, li, dd, pre, button, .range'))"
                       ".map(item => parseFloat(getComputedStyle(item).fontSize))")  # fmt: skip
    assert min(sizes) >= 12


def test_all_eight_metrics_are_seen_without_scrolling_on_a_wide_screen(page: Any) -> None:
    assert page.value("(() => { const box = document.querySelector('#scores .scroll');"
                      " return box.scrollWidth - box.clientWidth; })()") <= 0  # fmt: skip


def test_scores_sort_as_numbers_with_undefined_ones_last_in_both_directions(page: Any) -> None:
    for falling in (False, True):
        page.value("document.querySelector('#scores table thead th:nth-child(8) button').click()")
        cells = column(page, "#scores table", 7)
        assert cells[-3:] == ["–"] * 3
        values = [float(text.split()[0].split("[")[0].replace("−", "-")) for text in cells[:-3]]
        assert values == sorted(values, reverse=falling)


def test_predictors_sort_by_kind_and_every_table_can_be_sorted(page: Any) -> None:
    page.value("document.querySelector('#scores table thead th:nth-child(2) button').click()")
    kinds = column(page, "#scores table", 1)
    assert kinds == sorted(kinds)
    assert set(kinds) == {"model", "baseline", "ceiling"}
    assert page.value("document.querySelectorAll('main thead th:not(:has(> button))').length") == 0


def test_paper_shows_whole_tables(page: Any) -> None:
    page.send("Emulation.setEmulatedMedia", media="print")
    try:
        clipped = (
            "Array.from(document.querySelectorAll('.scroll')).filter(box => box.scrollHeight > box.clientHeight + 1)"
        )
        assert page.value(f"{clipped}.length") == 0
    finally:
        page.send("Emulation.setEmulatedMedia", media="")
    assert page.pdf().startswith(b"%PDF")


def test_names_from_the_data_stay_text(page: Any) -> None:
    assert page.value("document.querySelectorAll('main b').length") == page.value(
        "document.querySelectorAll('#methods b').length"
    )
    assert page.value(f"document.body.textContent.includes({LONG!r})")
