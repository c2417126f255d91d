# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: nothing missing, nothing wide, and what can be clicked does what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gazeray.report.sections import gallery
from gazeray.storage import Folder
from gazeray.studies.heatmap import report as report
from tests.report import fabricate as made

browser = pytest.importorskip("tests.report.browser", reason="aiohttp, which comes with ray[default], is not installed")

WIDTHS = [1280, 400]
NOT_SHOWN = (
    "Array.from(document.images).filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)"
)
OVERFLOWING = """Array.from(document.querySelectorAll('main *')).filter(item => !item.closest('.scroll > *') &&
    item.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(item => item.outerHTML.slice(0, 80))"""
SHOWN = "Array.from(document.querySelectorAll('#gallery figure')).filter(item => item.offsetParent !== null)"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with every section, names of all kinds, and rejects enough to be cut."""
    run = Folder(tmp_path_factory.mktemp("browser") / "run")
    made.fabricate(run, made.Scene(participants=12, folds=4, epochs=4, effect=1.0, gate=True, searched=True,
                                   explained=True, rejects=230, first_participant="P1 & <b>x</b> " + 60 * "w",
                                   notes=("labels were guessed",)))  # fmt: skip
    manifest = run.read_json("manifest.json")
    run.write_json("manifest.json", manifest | {"notes_on_recordings": ["P02.asc: " + 40 * "verylong" + " note"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "EXAMPLES", 4)
        report.write_report(run)
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


def column(page: Any, table: str, number: int) -> list[str]:
    return list(page.value(f"Array.from(document.querySelector('{table}').tBodies[0].rows).map(row => "
                           f"row.cells[{number}].textContent.trim())"))  # fmt: skip


def choose(page: Any, select: str, text: str) -> None:
    """Pick an option of a select by its text, as a reader would."""
    page.value(f"""(() => {{ const box = document.getElementById('{select}');
        box.selectedIndex = Array.from(box.options).findIndex(option => option.text === {text!r});
        box.dispatchEvent(new Event('change')); }})()""")


@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_complete_quiet_and_asks_for_nothing(page: Any, html: Path, width: int) -> None:
    page.open(html, width)
    assert page.value("document.images.length") == 17
    assert page.value(NOT_SHOWN) == []
    assert page.value("Array.from(document.images).every(image => image.alt.length > 20)")
    assert page.complaints == []
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "data"}
    assert {address for address in page.requests if address.startswith("file:")} == {html.as_uri()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no_script"])
def test_page_does_not_scroll_sideways(page: Any, html: Path, width: int, script: bool) -> None:
    page.open(html, width, script=script)
    assert page.value("document.documentElement.scrollWidth") <= page.value("innerWidth")
    assert page.value(OVERFLOWING) == []
    if out := os.environ.get("GAZERAY_SCREENSHOTS"):
        Path(out, f"report-{width}-{'script' if script else 'plain'}.png").write_bytes(page.screenshot(whole=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_large_enough_to_read(page: Any, html: Path, width: int) -> None:
    page.open(html, width)
    sizes = page.value("Array.from(document.querySelectorAll('p, td, th, figcaption, li, dd, pre, button'))"
                       ".map(item => parseFloat(getComputedStyle(item).fontSize))")  # fmt: skip
    assert min(sizes) >= 12


def test_header_click_sorts_numbers_as_numbers_and_back(page: Any) -> None:
    table = "#quality .scroll:nth-of-type(2) table"
    page.value(f"document.querySelector('{table} thead th:nth-child(2) button').click()")
    values = [float(text) for text in column(page, table, 1)]
    assert values == sorted(values)
    assert (
        page.value(f"document.querySelector('{table} thead th:nth-child(2)').getAttribute('aria-sort')") == "ascending"
    )
    page.value(f"document.querySelector('{table} thead th:nth-child(2) button').click()")
    assert [float(text) for text in column(page, table, 1)] == sorted(values, reverse=True)
    assert page.value(f"document.querySelectorAll('{table} th[aria-sort]').length") == 1


def test_negative_numbers_sort_below_positive_ones(page: Any) -> None:
    page.value("document.querySelector('#search table thead th:nth-child(5) button').click()")
    values = [float(text.replace("−", "-")) for text in column(page, "#search table", 4)]
    assert values == sorted(values)
    assert values[0] < 0 or values[-1] > 0


def test_what_is_no_number_stays_last_in_both_directions(page: Any) -> None:
    for _ in range(2):
        page.value("document.querySelector('#search table.filterable thead th:nth-child(3) button').click()")
        scores = column(page, "#search table.filterable", 2)
        assert scores[-4:] == ["undefined"] * 4
        assert "undefined" not in scores[:-4]


def test_words_sort_with_their_numbers_in_order(page: Any) -> None:
    table = "#rejected table.filterable"
    page.value(f"document.querySelector('{table} thead th:nth-child(4) button').click()")
    trials = [int(text) for text in column(page, table, 3)]
    assert trials == sorted(trials)


def test_sorting_works_from_the_keyboard(page: Any) -> None:
    table = "#scores table"
    page.value(f"document.querySelector('{table} thead th:nth-child(2) button').focus()")
    page.press("Enter", 13)
    values = [float(text.split()[0].replace("−", "-")) for text in column(page, table, 1)]
    assert values == sorted(values)
    page.press("Tab", 9)
    assert page.value("document.activeElement.closest('th').cellIndex") == 2


def test_every_table_can_be_sorted(page: Any) -> None:
    assert page.value("document.querySelectorAll('main table').length") > 8
    bare = "document.querySelectorAll('main thead th:not(:has(> button))').length"
    assert page.value(bare) == 0


def test_gallery_filters_by_outcome_and_participant(page: Any) -> None:
    everything = page.value(f"{SHOWN}.length")
    choose(page, "show-outcome", "wrong")
    assert set(page.value(f"{SHOWN}.map(item => item.dataset.outcome)")) == {"wrong"}
    assert page.value("document.querySelector('#gallery [data-outcome=correct]').offsetParent === null")
    choose(page, "show-outcome", "correct and wrong")
    names = page.value("Array.from(document.getElementById('show-participant').options).map(option => option.text)")
    assert names[0] == "everybody"
    assert set(names[1:]) == set(page.value(f"{SHOWN}.map(item => item.dataset.participant)"))
    choose(page, "show-participant", names[1])
    assert set(page.value(f"{SHOWN}.map(item => item.dataset.participant)")) == {names[1]}
    shown = page.value(f"{SHOWN}.length")
    assert 0 < shown < everything
    assert (
        page.value("document.querySelector('#gallery [role=status]').textContent") == f"{shown} of {everything} shown"
    )


def test_row_filter_keeps_rows_that_hold_the_text(page: Any) -> None:
    page.value("""(() => { const box = document.querySelector('#rejected input.filter');
        box.value = 'Runs BACK'; box.dispatchEvent(new Event('input')); })()""")
    rows = page.value("Array.from(document.querySelectorAll('#rejected table.filterable tbody tr'))"
                      ".filter(row => row.offsetParent !== null).map(row => row.textContent)")  # fmt: skip
    assert 0 < len(rows) < 200
    assert all("runs back" in row for row in rows)


def test_paper_shows_everything_even_when_the_screen_is_filtered(page: Any) -> None:
    choose(page, "show-outcome", "wrong")
    page.value("""(() => { const box = document.querySelector('#rejected input.filter');
        box.value = 'no such row'; box.dispatchEvent(new Event('input')); })()""")
    page.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.value("Array.from(document.querySelectorAll('#gallery figure, #rejected tr'))"
                          ".every(item => item.offsetHeight > 0)")  # fmt: skip
        assert page.value("Array.from(document.querySelectorAll('.widget')).every(item => item.offsetHeight === 0)")
        clipped = (
            "Array.from(document.querySelectorAll('.scroll')).filter(box => box.scrollHeight > box.clientHeight + 1)"
        )
        assert page.value(f"{clipped}.length") == 0
    finally:
        page.send("Emulation.setEmulatedMedia", media="")
    assert page.pdf().startswith(b"%PDF")


def test_without_script_everything_is_there_and_nothing_is_dead(page: Any, html: Path) -> None:
    figures = page.value(f"{SHOWN}.length")
    page.open(html, 1280, script=False)
    assert page.value(f"{SHOWN}.length") == figures
    assert page.value("document.querySelectorAll('main button, main select, main input').length") == 0
    assert page.value(NOT_SHOWN) == []


def test_names_from_the_data_stay_text(page: Any) -> None:
    assert page.value("document.querySelectorAll('main b').length") == page.value(
        "document.querySelectorAll('#methods b').length"
    )
    assert page.value("document.body.textContent.includes('P1 & <b>x</b> www')")
