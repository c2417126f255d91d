# SPDX-License-Identifier: Apache-2.0
"""Reports of large studies: distributions and extremes instead of one of each, and no cut without a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.report import many
from gazeray.report.blocks import Cell, Figure, Section, Table
from gazeray.report.results import Results
from gazeray.report.sections import folds, learning, participants, search, spread
from gazeray.report.words import Metric
from gazeray.storage import Folder
from gazeray.studies.heatmap import report as page
from tests.report import fabricate as made
from tests.report.pages import change, read_page

LONG = "<b>" + "participant " * 24 + "&</b>"


def run_of(folder: Path, people: int, first: str = "P01") -> Folder:
    run = Folder(folder / f"people-{people}")
    scene = made.Scene(participants=people, folds=4, epochs=2, maps_per_participant=0, rejects=3 * people,
                       first_participant=first)  # fmt: skip
    made.fabricate(run, scene)
    return run


def html_of(run: Folder) -> str:
    page.write_report(run)
    return run.read_text("report.html")


def tables(section: Section) -> dict[str, Table]:
    return {block.label: block for block in section.blocks if isinstance(block, Table)}


def people_of(right: list[int], test: dict[int, list[str]] | None = None) -> Results:
    """Participants of 10 trials of each class, of whom so many of the second are right."""
    found = {f"P{row:03d}": {"confusion": [[10, 0], [10 - count, count]]} for row, count in enumerate(right)}
    fold_list = [{"fold": fold, "test": names, "metrics": {}} for fold, names in (test or {}).items()]
    return Results({"classes": ["a", "b"]}, {"participants": found, "folds": fold_list})


# -- the page


def test_page_of_hundreds_of_people_is_hardly_larger_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    small, large = run_of(tmp_path, 40), run_of(tmp_path, 150, first=LONG)
    sizes = len(html_of(small)), len(html_of(large))
    assert sizes[1] < 1.25 * sizes[0]
    parsed = read_page(large)
    for said in ("And 130 more participants: see metrics.json", "And 130 more participants: see quality.parquet",
                 "And 441 more rows: see rejects.parquet"):  # fmt: skip
        assert said in parsed.words
    assert LONG in parsed.text
    assert LONG not in large.read_text("report.html")


@pytest.mark.usefixtures("undrawn")
def test_page_of_60_people_shows_each_of_them(tmp_path: Path) -> None:
    html_of(run := run_of(tmp_path, 60))
    words = read_page(run).words
    assert "of each participant, best first" in words
    assert not re.search(r"And \d+ more (participants|folds|names)", words)


@pytest.mark.usefixtures("undrawn")
def test_many_untested_people_and_failed_units_are_counted(tmp_path: Path) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest.update(status="failed", units={f"fold-{fold}": "failed" for fold in range(70)})

    run = run_of(tmp_path, 80)
    change(run, "manifest.json", edit)
    change(run, "metrics.json", lambda metrics: metrics.update(participants={}))
    html_of(run)
    words = read_page(run).words
    assert "fold-17: failed And 60 more that are not done: see manifest.json" in words
    assert "P10 and 70 more" in words


# -- participants


@pytest.mark.usefixtures("undrawn")
def test_best_and_worst_of_many_participants_are_named_with_their_fold() -> None:
    names = [f"P{row:03d}" for row in range(100)]
    results = people_of([row // 10 for row in range(100)], {0: names[:50], 1: names[50:]})
    section = participants.section(results)
    rows = tables(section)["Best and worst participants"].rows
    assert [row[0] for row in rows] == [*range(1, 11), *range(91, 101)]
    assert [row[1] for row in rows] == [*names[90:], *names[:10]]
    assert rows[0][2:] == [1, 20, Cell("0.950", "[0.744, 0.991]")]
    assert rows[-1][2:] == [0, 20, Cell("0.500", "[0.361, 0.639]")]
    words = str(section.blocks)
    assert "10 have the highest score, 10 have the lowest" in words
    assert "And 80 more participants: see metrics.json" in words
    figure = section.blocks[0]
    assert isinstance(figure, Figure)
    assert "median 0.72, quartiles 0.60 and 0.85. 10 of them are at chance or below. Right: those" in figure.caption


@pytest.mark.usefixtures("undrawn")
def test_participants_tested_in_several_folds_are_not_dealt_to_one() -> None:
    names = [f"P{row:03d}" for row in range(61)]
    section = participants.section(people_of([5] * 61, {0: names, 1: names}))
    assert [column.head for column in tables(section)["Best and worst participants"].columns][2] == "test trials"
    assert "Right" not in str(section.blocks)


@pytest.mark.parametrize("groups", [0, 8, 200])
def test_spread_has_a_panel_for_the_groups(groups: int, drawn: list[Any]) -> None:
    values = np.random.default_rng(0).random(600)
    parts = [(str(group), values[group::groups]) for group in range(groups)]
    many.spread(many.Spread(values, "balanced accuracy", "participant", (0, 1), 0.5, parts))
    histogram, *others = drawn[0].axes
    assert sum(patch.get_height() for patch in histogram.patches if patch.get_width() < 0.1) == 600
    assert [axis.get_title(loc="left") for axis in others] == ([f"{groups} folds"] if groups else [])
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels[0] == f"median {np.median(values):.2f}"


# -- folds


def folds_of(count: int) -> Results:
    names = [f"P{row:04d}" for row in range(5 * count)]
    held = [{"fold": fold, "train": names[:9], "validation": names[:70], "test": names[5 * fold : 5 * fold + 5]}
            for fold in range(count)]  # fmt: skip
    scores = [{"fold": fold, "metrics": {"balanced_accuracy": fold / count if fold else None}} for fold in range(count)]
    return Results({"folds": held}, {"folds": scores})


def test_of_many_folds_the_scores_are_spread_out_and_the_extremes_shown() -> None:
    found = tables(section := folds.per_fold(folds_of(100)))
    assert [row[0] for row in found["Scores per fold"].rows] == [*range(99, 89, -1), *range(9, -1, -1)]
    spread_row = ["balanced accuracy", 99, "0.010", "0.255", "0.500", "0.745", "0.990"]
    assert found["Scores over folds"].rows == [spread_row]
    assert "And 80 more folds: see metrics.json" in str(section.blocks)
    assert "Scores over folds" not in tables(folds.per_fold(folds_of(60)))


def test_lists_of_many_people_name_the_first_and_count_the_rest() -> None:
    section = folds.tested(folds_of(61), "participants")
    rows = tables(section)["Participants per fold"].rows
    assert len(rows) == 10
    assert rows[1][1] == "P0005, P0006, P0007, P0008, P0009"
    assert str(rows[1][2]).endswith("P0009 and 60 more")
    assert "And 51 more folds: see manifest.json" in str(section.blocks)
    assert "All names: see manifest.json" in str(section.blocks)


def test_choices_of_many_folds_are_the_best_and_the_worst_with_the_mean_of_all() -> None:
    entries = [{"fold": fold, "chosen": {"a": 1}, "inner_score": 0.5, "outer_score": fold / 100} for fold in range(100)]
    table = search.choices(entries)
    assert [row[0] for row in table.rows] == [*range(99, 89, -1), *range(9, -1, -1)]
    assert table.foot == ["mean", "of 100 folds", "0.500", "0.495", "+0.005"]


def test_many_fits_are_bands_with_how_many_still_fitted(drawn: list[Any]) -> None:
    epochs = {f"fold-{fold}": [{"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch,
                                "validation_balanced_accuracy": 0.5 + epoch / 100} for epoch in range(1, 4 + fold % 2)]
              for fold in range(30)}  # fmt: skip
    units = {name: {"best_epoch": 2, "status": "done"} for name in epochs}
    (figure,) = learning.section(Results({}, units=units, epochs=epochs)).blocks
    assert isinstance(figure, Figure)
    assert "over 30 folds" in figure.caption
    assert "Folds fitted 3 to 4 epochs; the weights of epoch 2" in figure.caption
    *_, last = drawn[0].axes
    assert last.lines[0].get_ydata().tolist() == [30, 30, 30, 15]
    assert [bar.get_height() for bar in last.patches] == [0, 30, 0, 0]


# -- pictures


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("count", "said"), [(300, "One point per picture."), (3000, "at most 400 of the 3000 pictures")]
)
def test_scores_over_many_pictures_say_how_many_are_points(count: int, said: str) -> None:
    scores, names = np.linspace(0, 1, count), [f"{row}.jpg" for row in range(count)]
    per_item = pa.table({"predictor": ["model"] * count + ["people"] * count, "stimulus": [*names, *reversed(names)],
                         "nss": [*scores, *(scores[::-1] / 2)]})  # fmt: skip
    kinds = {"model": {"kind": "model"}, "people": {"kind": "ceiling"}}
    rows = {key: {"nss": {"value": 0.5}} for key in kinds}
    metrics = {"rows": rows, "predictors": kinds, "metrics_shown": ["nss"], "best": "model"}
    results, words = Results({}, metrics, per_item=per_item), {"nss": Metric("NSS")}
    distribution = spread.spread_figure(results, words, "picture", ["nss"], ["model", "people"])
    assert distribution is not None
    assert said in distribution.caption
    scatter = spread.ceiling_figure(results, words, "picture", [("nss", "people")])
    assert scatter is not None
    assert f"above the ceiling on {count - 1} of {count} pictures (correlation over pictures 1.00)" in scatter.caption
    assert ("hexagon" in scatter.caption) == (count > spread.SCATTERED)
