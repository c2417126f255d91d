# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: nothing missing, nothing wide, and what can be clicked does what it says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gazeray.report.sections import gallery
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.pictures.report import write_saliency_report
from tests.report import fabricate as made
from tests.report import fabricate_saliency

WIDTHS = [1280, 400]
NOT_SHOWN = (
    "Array.from(document.images).filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)"
)
OVERFLOWING = """Array.from(document.querySelectorAll('main *')).filter(item => !item.closest('.scroll > *') &&
    item.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(item => item.outerHTML.slice(0, 80))"""
CLIPPED = "Array.from(document.querySelectorAll('.scroll')).filter(box => box.scrollHeight > box.clientHeight + 1)"
SHOWN = "Array.from(document.querySelectorAll('#gallery figure')).filter(item => item.offsetParent !== null)"


LONG = "COCO_train2014_000000012345 & <b>x</b> " + 60 * "w"
EVIL = "P1 & <b>x</b> " + 60 * "w"
FIGURES = {"heatmap": 19, "saliency": 5 + 9}
NAMES = {"heatmap": EVIL, "saliency": LONG}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of a run on heatmaps and one on saliency, with every section, names of all kinds, long tables."""
    run = Folder(tmp_path_factory.mktemp("heatmap") / "run")
    made.fabricate(run, made.Scene(participants=12, folds=4, epochs=4, effect=1.0, gate=True, searched=True,
                                   explained=True, rejects=230, first_participant=EVIL,
                                   notes=("labels were guessed",)))  # fmt: skip
    manifest = run.read_json("manifest.json")
    run.write_json("manifest.json", manifest | {"notes_on_recordings": ["P02.asc: " + 40 * "verylong" + " note"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "EXAMPLES", 4)
        write_report(run)
    other = Folder(tmp_path_factory.mktemp("saliency") / "run")
    layers = ("layer3", "features.denseblock4.denselayer16.conv2")
    fabricate_saliency.fabricate(other, fabricate_saliency.Scene(
        pictures=9, observers=8, folds=3, layers=layers, weights="none", maps=3, first_stimulus=LONG,
        notes=("A note on " + 40 * "verylong",), rejects=4, size_px=(80, 60), failed=("model:layer3:pooled",),
    ))  # fmt: skip
    write_saliency_report(other)
    return {"heatmap": Path(run.uri) / "report.html", "saliency": Path(other.uri) / "report.html"}


@pytest.fixture(params=["heatmap", "saliency"])
def study(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(tab: Any, html: Path, width: int = 1280, script: bool = True) -> Any:
    """The report, opened anew."""
    tab.complaints.clear()
    tab.requests.clear()
    tab.open(html, width, script=script)
    return tab


@pytest.fixture
def page(tab: Any, reports: dict[str, Path]) -> Any:
    """The report on heatmaps at 1280 px."""
    return opened(tab, reports["heatmap"])


@pytest.fixture
def saliency(tab: Any, reports: dict[str, Path]) -> Any:
    """The report on saliency at 1280 px."""
    return opened(tab, reports["saliency"])


def column(page: Any, table: str, number: int) -> list[str]:
    return list(page.value(f"Array.from(document.querySelector('{table}').tBodies[0].rows).map(row => "
                           f"row.cells[{number}].textContent.trim())"))  # fmt: skip


def choose(page: Any, select: str, text: str) -> None:
    """Pick an option of a select by its text, as a reader would."""
    page.value(f"""(() => {{ const box = document.getElementById('{select}');
        box.selectedIndex = Array.from(box.options).findIndex(option => option.text === {text!r});
        box.dispatchEvent(new Event('change')); }})()""")


# -- every report


@pytest.mark.parametrize("width", WIDTHS)
def test_page_is_complete_quiet_and_asks_for_nothing(
    tab: Any, reports: dict[str, Path], study: str, width: int
) -> None:
    page = opened(tab, reports[study], width)
    assert page.value("document.images.length") == FIGURES[study]
    assert page.value(NOT_SHOWN) == []
    assert page.value("Array.from(document.images).every(image => image.alt.length > 20)")
    assert page.complaints == []
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "data"}
    assert {address for address in page.requests if address.startswith("file:")} == {reports[study].as_uri()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("script", [True, False], ids=["script", "no_script"])
def test_page_does_not_scroll_sideways(
    tab: Any, reports: dict[str, Path], study: str, width: int, script: bool
) -> None:
    page = opened(tab, reports[study], width, script)
    assert page.value("document.documentElement.scrollWidth") <= page.value("innerWidth")
    assert page.value(OVERFLOWING) == []
    if out := os.environ.get("GAZERAY_SCREENSHOTS"):
        name = f"{study}-{width}-{'script' if script else 'plain'}.png"
        Path(out, name).write_bytes(page.screenshot(whole=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_text_is_large_enough_to_read(tab: Any, reports: dict[str, Path], study: str, width: int) -> None:
    page = opened(tab, reports[study], width)
    sizes = page.value("Array.from(document.querySelectorAll('p, td, th, figcaption, li, dd, pre, button, "
                       ".range')).map(item => parseFloat(getComputedStyle(item).fontSize))")  # fmt: skip
    assert min(sizes) >= 12


def test_every_table_can_be_sorted(tab: Any, reports: dict[str, Path], study: str) -> None:
    page = opened(tab, reports[study])
    assert page.value("document.querySelectorAll('main table').length") > 4
    assert page.value("document.querySelectorAll('main thead th:not(:has(> button))').length") == 0


def test_paper_shows_whole_tables(tab: Any, reports: dict[str, Path], study: str) -> None:
    page = opened(tab, reports[study])
    page.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert page.value(f"{CLIPPED}.length") == 0
    finally:
        page.send("Emulation.setEmulatedMedia", media="")
    assert page.pdf().startswith(b"%PDF")


def test_names_from_the_data_stay_text(tab: Any, reports: dict[str, Path], study: str) -> None:
    page = opened(tab, reports[study])
    bold = "document.querySelectorAll('{} b').length"
    assert page.value(bold.format("main")) == page.value(bold.format("#methods"))
    assert page.value(f"document.body.textContent.includes({NAMES[study]!r})")


# -- tables of scores on saliency


def test_all_eight_metrics_are_seen_without_scrolling_on_a_wide_screen(saliency: Any) -> None:
    assert saliency.value("(() => { const box = document.querySelector('#scores .scroll');"
                          " return box.scrollWidth - box.clientWidth; })()") <= 0  # fmt: skip


def test_scores_sort_as_numbers_with_undefined_ones_last_in_both_directions(saliency: Any) -> None:
    for falling in (False, True):
        saliency.value("document.querySelector('#scores table thead th:nth-child(8) button').click()")
        cells = column(saliency, "#scores table", 7)
        assert cells[-3:] == ["–"] * 3
        values = [float(text.split()[0].split("[")[0].replace("−", "-")) for text in cells[:-3]]
        assert values == sorted(values, reverse=falling)


def test_predictors_sort_by_kind(saliency: Any) -> None:
    saliency.value("document.querySelector('#scores table thead th:nth-child(2) button').click()")
    kinds = column(saliency, "#scores table", 1)
    assert kinds == sorted(kinds)
    assert set(kinds) == {"model", "baseline", "ceiling"}


# -- sorting, filters, paper


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
        assert page.value(f"{CLIPPED}.length") == 0
    finally:
        page.send("Emulation.setEmulatedMedia", media="")
    assert page.pdf().startswith(b"%PDF")


def test_without_script_everything_is_there_and_nothing_is_dead(page: Any, reports: dict[str, Path]) -> None:
    figures = page.value(f"{SHOWN}.length")
    page.open(reports["heatmap"], 1280, script=False)
    assert page.value(f"{SHOWN}.length") == figures
    assert page.value("document.querySelectorAll('main button, main select, main input').length") == 0
    assert page.value(NOT_SHOWN) == []
