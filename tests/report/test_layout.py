# SPDX-License-Identifier: Apache-2.0
"""The layout of a report in a real browser: nothing is cut, on a desk, on a phone, and on paper.

What is wider than the page lies in a box that scrolls, and that box shows a shadow at the edge where it is cut.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from gazeray.report.blocks import NAME, ROW, Cell, Code, Column, Section, Table, Text
from gazeray.report.page import Page, write_page
from gazeray.report.results import read_results
from gazeray.report.sections import gallery
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from tests.report import fabricate as made

DESK, PHONE, PAPER = 1280, 390, 680
"""Widths, px. Paper: A4 less the margins of the page."""

CLASSES = ("a control sentence without anything odd", "a pseudoword that nobody knows", "what was asked afterwards")
LONG = "P1_" + 57 * "w"

CUT = """Array.from(document.querySelectorAll('main *')).filter(item => item.offsetParent && !item.closest('select') &&
    item.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 &&
    (PAPER || !item.closest('.scroll')))
    .map(item => item.outerHTML.slice(0, 90))"""
"""What reaches beyond the window; on a screen it may within a box that scrolls."""

SPILT = """Array.from(document.querySelectorAll('main :is(th, td, p, li, dd, figcaption, pre)'))
    .filter(item => item.offsetParent && item.scrollWidth > item.clientWidth + 1 && item.clientWidth)
    .map(item => item.outerHTML.slice(0, 90))"""
"""Text that is wider than what holds it: it lies on its neighbour, or is cut."""

HIDDEN = """Array.from(document.querySelectorAll('main *')).filter(item => item.scrollWidth > item.clientWidth + 1 &&
    getComputedStyle(item).overflowX !== 'visible' && !item.matches('.scroll, select, input'))
    .map(item => item.tagName)"""

SCROLLERS = "Array.from(document.querySelectorAll('.scroll')).filter(box => box.scrollWidth > box.clientWidth + 1)"


def wide() -> Table:
    """More columns than any page holds, with all that a cell can hold."""
    heads = [Column("predictor", NAME), *(Column(f"a metric of a long name {number}") for number in range(17))]
    cells = [Cell("−0.123", "[−0.234, −0.012]") for _ in range(17)]
    return Table("Wide", heads, [[LONG, *cells], ["short", *cells]], shaded=[1])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, emotion_report: Folder) -> dict[str, Path]:
    """A report of three classes and a person with long names, one of the emotion study, and a page with a table that
    fits nowhere."""
    run = Folder(tmp_path_factory.mktemp("crowded") / "run")
    made.fabricate(run, made.Scene(participants=6, folds=3, epochs=3, classes=CLASSES, gate=True, searched=True,
                                   explained=True, first_participant=LONG, failed=(2,),
                                   maps_per_participant=1))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "EXAMPLES", 1)
        write_report(run)
    other = Folder(tmp_path_factory.mktemp("wide") / "run")
    made.fabricate(other, made.Scene(participants=2, folds=2, maps_per_participant=0))
    named = Table("Named", [Column("row", ROW), Column("n")], [[LONG, 1], ["short", 2]])
    blocks = [Text(LONG), wide(), named, Code(f"path: /{LONG}/{LONG}/{LONG}")]
    write_page(other, read_results(other), Page("t", "h", [LONG], LONG, [Section("a", LONG, "A", blocks)], [LONG]))
    return {
        name: Path(of.uri) / "report.html"
        for name, of in (("crowded", run), ("emotion", emotion_report), ("wide", other))
    }


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", ["crowded", "emotion", "wide"])
def test_nothing_is_cut_on_a_screen(tab: Any, reports: dict[str, Path], name: str, width: int) -> None:
    tab.open(reports[name], width)
    assert tab.value("document.documentElement.scrollWidth") <= tab.value("innerWidth")
    assert tab.value(CUT.replace("PAPER", "false")) == []
    assert tab.value(SPILT) == []
    assert tab.value(HIDDEN) == []


@pytest.mark.parametrize("name", ["crowded", "emotion"])
def test_no_table_of_a_usual_report_needs_to_scroll_on_a_desk(tab: Any, reports: dict[str, Path], name: str) -> None:
    tab.open(reports[name], DESK)
    assert tab.value(f"{SCROLLERS}.map(box => box.getAttribute('aria-label'))") == []


@pytest.mark.parametrize("name", ["crowded", "emotion", "wide"])
def test_nothing_is_cut_on_paper(tab: Any, reports: dict[str, Path], name: str) -> None:
    tab.open(reports[name], PAPER)
    tab.send("Emulation.setEmulatedMedia", media="print")
    try:
        assert tab.value(CUT.replace("PAPER", "true")) == []
        assert tab.value(SPILT) == []
        assert tab.value(f"{SCROLLERS}.length") == 0
    finally:
        tab.send("Emulation.setEmulatedMedia", media="")


def brightest(tab: Any, box: int, side: str) -> float:
    """The brightest of the last 2 px of a box that scrolls, at its left or right edge, 0 to 1."""
    place = tab.value(f"""(() => {{ const box = {SCROLLERS}[{box}], edge = box.getBoundingClientRect();
        const head = box.matches('.tall') ? box.querySelector('thead').offsetHeight : 0;
        return [edge.left, edge.right, edge.top + scrollY, box.clientHeight, head]; }})()""")
    left, right, top, height, head = place  # a head that stays over its rows hides the shadow
    clip = {"x": left if side == "left" else right - 2, "y": top + head + 2, "width": 2, "height": height - head - 4,
            "scale": 1}  # fmt: skip
    shot = tab.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
    return float(imread(io.BytesIO(base64.b64decode(shot)))[..., :3].mean(axis=2).max())


@pytest.mark.parametrize("name", ["crowded", "wide"])
def test_the_edge_that_is_cut_has_a_shadow_and_the_end_has_none(tab: Any, reports: dict[str, Path], name: str) -> None:
    tab.send("Emulation.setScrollbarsHidden", hidden=True)  # a picture of more than the window has none
    tab.open(reports[name], PHONE)
    try:
        boxes = tab.value(f"{SCROLLERS}.map(box => box.getAttribute('aria-label'))")
        assert len(boxes) > (8 if name == "crowded" else 0)
        tables = tab.value(f"{SCROLLERS}.map(box => !!box.querySelector('table'))")
        for box, (label, table) in enumerate(zip(boxes, tables, strict=True)):
            assert brightest(tab, box, "right") < 0.9, label
            assert brightest(tab, box, "left") > 0.98, label
            tab.value(f"{SCROLLERS}[{box}].scrollLeft = 1e5")
            assert brightest(tab, box, "right") > 0.98, label
            if not table:  # the heads of the rows stay there, with a shadow of their own
                assert brightest(tab, box, "left") < 0.9, label
    finally:
        tab.send("Emulation.setScrollbarsHidden", hidden=False)


def test_heads_of_rows_stay_in_sight_and_leave_room(tab: Any, reports: dict[str, Path]) -> None:
    tab.open(reports["wide"], PHONE)
    tab.value(f"{SCROLLERS}[0].scrollLeft = 400")
    heads = "Array.from(document.querySelectorAll('.scroll table tbody th')).map(head => head.getBoundingClientRect())"
    for left, width in tab.value(f"{heads}.map(head => [head.left, head.width])"):
        assert 0 <= left < 40
        assert width < PHONE / 2


def test_state_of_a_fold_that_failed_is_one_word(tab: Any, reports: dict[str, Path]) -> None:
    tab.open(reports["crowded"], DESK)
    lines = """(() => { const range = document.createRange(), cell = document.querySelector('#per-fold td.failed');
        range.selectNodeContents(cell); return range.getClientRects().length; })()"""
    assert tab.value(lines) == 1


def test_ranges_stand_below_their_values_only_where_there_are_several() -> None:
    table = wide()
    assert table.classes == "sortable stacked broad vast"
    two = table._replace(columns=table.columns[:3], rows=[row[:3] for row in table.rows])
    assert two.classes == "sortable"


def test_columns_that_say_nothing_are_left_out() -> None:
    columns = [Column("row", ROW), Column("empty"), Column("some"), Column("dashes")]
    rows = [["a", "", "", "–"], ["b", None, 0, Cell("–")]]
    filled = Table("t", columns, rows, foot=["mean", "", "", ""]).filled
    assert [column.head for column in filled.columns] == ["row", "some", "dashes"]
    assert [list(row) for row in filled.rows] == [["a", "", "–"], ["b", 0, Cell("–")]]
    assert list(filled.foot) == ["mean", "", ""]
    empty = Table("t", columns, [])
    assert len(empty.filled.columns) == len(columns)
