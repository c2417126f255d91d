# SPDX-License-Identifier: Apache-2.0
"""The report on saliency predictors: complete, escaped, honest, and still there when half of the run is not."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.report.sections import scores
from gazeray.storage import Folder
from gazeray.studies.pictures.report import GAINS, read_saliency, write_saliency_report
from gazeray.studies.pictures.sections import chosen_layers, penalty_rows
from gazeray.studies.pictures.words import METRICS
from tests.report.fabricate_saliency import SMALL, Scene, fabricate
from tests.report.pages import Page, change, check_self_contained, figure_names, read_page

SECTIONS = ["scores", "layers", "pictures", "centre", "spread", "penalties", "provenance", "flow", "rejected",
            "methods", "config"]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("probe_saliency") / "run")
    fabricate(run, SMALL)
    write_saliency_report(run)
    return run


@pytest.fixture
def copy(small: Folder, tmp_path: Path) -> Folder:
    """The small run, not drawn yet, to be changed."""
    shutil.copytree(small.uri, tmp_path / "copy", ignore=shutil.ignore_patterns("figures", "report.html"))
    return Folder(tmp_path / "copy")


def drawn_page(run: Folder) -> Page:
    write_saliency_report(run)
    return read_page(run)


# -- the whole page


def test_sections_come_in_order_with_every_figure_inline(small: Folder) -> None:
    assert read_page(small).sections == SECTIONS
    check_self_contained(small)
    names = {"layers", "centre", "spread", "ceiling", "penalties", "best_1", "middle_1", "worst_1"}
    assert set(figure_names(small)) == names


def test_same_run_gives_same_bytes_and_drops_stale_figures(small: Folder, copy: Folder) -> None:
    copy.write_bytes("figures/best_9.png", b"stale")
    write_saliency_report(copy)
    assert copy.read_bytes("report.html") == small.read_bytes("report.html")
    assert not copy.exists("figures/best_9.png")


def test_score_table_holds_the_numbers_of_metrics_json(small: Folder) -> None:
    words, rows = read_page(small).words, small.read_json("metrics.json")["rows"]
    for key, label in (("model:layer3:readout", "layer3, readout model"), ("centre_bias", "of the other pictures)")):
        cells = []
        for name in ("information_gain", "explained", "auc_uniform"):
            low, high = rows[key][name]["ci95"]
            cells.append(f"{rows[key][name]['value']:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−"))
        assert f"{label} {'baseline ' if key == 'centre_bias' else ''}{' '.join(cells)}" in words


def test_models_stand_first_and_sorted_then_baselines_then_ceilings(small: Folder) -> None:
    results = read_saliency(small)
    keys = scores.ordered(results, METRICS, "information_gain")
    assert [results.predictors[key]["kind"] for key in keys] == 5 * ["model"] + 5 * ["baseline"] + 3 * ["ceiling"]
    values = [results.entry(key, "information_gain")["value"] for key in keys[:5]]
    assert values == sorted(values, reverse=True)
    assert results.best == "model:layer3:readout"
    assert keys[5:] == [
        "uniform", "centre_quarter", "centre", "mean_of_others", "centre_bias",
        "split_half", "other_observers", "gold_standard",
    ]  # fmt: skip
    assert '<tr class="key"><th scope="row" class="name">layer3, readout</th>' in small.read_text("report.html")


def test_gains_are_those_of_the_run_and_leave_out_what_is_a_gain_already(small: Folder) -> None:
    results = read_saliency(small)
    gained = scores.gained_over(results, list(results.rows), GAINS)
    assert set(gained) == set(results.rows) - {"centre_bias"}
    for key, row in gained.items():
        assert "information_gain" not in row
        assert row["nss"] == results.rows[key]["nss"]["gain"]["centre_bias"]


@pytest.mark.usefixtures("undrawn")
def test_gain_with_a_p_value_shows_it(copy: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        gain = {"centre_bias": {"value": 0.5, "ci95": [0.4, 0.6], "p": 0.012}}
        metrics["rows"]["model:layer3:readout"]["nss"]["gain"] = gain

    change(copy, "metrics.json", edit)
    assert "+0.500 [+0.400, +0.600] p = 0.012" in drawn_page(copy).words


def test_markup_and_long_names_from_the_data_stay_text(copy: Folder) -> None:
    evil = "<script>alert('x')</script>" + 80 * "w"

    def rename(metrics: dict[str, Any]) -> None:
        metrics["predictors"]["model:layer3:readout"]["label"] = evil

    change(copy, "metrics.json", rename)
    change(copy, "manifest.json", lambda manifest: manifest["data"].update(dataset="</title><img src=x>", notes=[evil]))
    change(copy, "manifest.json", lambda manifest: manifest["config"].update(evil="</pre><script>alert(3)</script>"))
    index = copy.read_table("maps/index.parquet").to_pylist()
    index[0]["stimulus"] = "$\\frac{<b>bold</b>"
    copy.write_table("maps/index.parquet", pa.Table.from_pylist(index))
    parsed = drawn_page(copy)
    assert len(parsed.all("script")) == 1
    assert all(str(image["src"]).startswith("data:image/png") for image in parsed.all("img"))
    for text in (evil, "</title><img src=x>", "</pre><script>alert(3)</script>", index[0]["stimulus"]):
        assert text in parsed.text
        assert text not in copy.read_text("report.html")


# -- runs that lack something


def test_scored_maps_have_no_layers_and_no_penalties(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=8, models=("deepgaze", "mine"), layers=(), probes=(), maps=1, size_px=(40, 30)))
    parsed = drawn_page(run)
    assert parsed.sections == [name for name in SECTIONS if name not in ("layers", "penalties")]
    assert "Saliency maps against people" in parsed.words
    assert "It is the best of 2 models, picked by these very scores, which flatters it." in parsed.words
    assert "8 maps of “deepgaze”, read as saliency maps." in parsed.words
    assert "Probes." not in parsed.words


@pytest.mark.usefixtures("undrawn")
def test_failed_units_are_named_at_the_top_with_their_reason(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=6, folds=2, layers=("layer3", "layer4"), failed=("model:layer4:ridge",), maps=0))
    words = drawn_page(run).words
    top = words[: words.index("Means over pictures")]
    assert "Incomplete run (7 of 8 units). “layer3, readout”" in top
    assert "not complete (status: failed)" in top
    assert "layer4-ridge: failed. RuntimeError: loss is <nan> in epoch 2" in top
    assert "The run folder holds no maps to draw." in words


def test_failed_unit_of_baselines_leaves_out_only_what_it_would_have_drawn(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, replace(SMALL, maps=4, failed=("baselines-fold-1",)))
    paths = run.read_table("maps/index.parquet")["path"].to_pylist()
    held = [set(np.load(io.BytesIO(run.read_bytes(path))).files) for path in paths]
    assert {"centre_bias" in names for names in held} == {True, False}
    parsed = drawn_page(run)
    names = {f"{why}_{index}" for why in ("best", "middle", "worst") for index in range(1, 5)}
    assert names < set(figure_names(run))
    assert "baselines-fold-1: failed. RuntimeError" in parsed.words
    assert "Scored on 8 of 12 pictures, undefined on the others or in a unit that failed: " in parsed.words
    assert "“layer3, readout” predicts where people look better than the centre bias" in parsed.words


def test_run_whose_baselines_all_failed_shows_its_models(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, replace(SMALL, failed=tuple(f"baselines-fold-{fold}" for fold in range(3))))
    words = drawn_page(run).words
    assert {"best_1", "middle_1", "worst_1", "layers"} <= set(figure_names(run))
    assert "No unit of baselines finished: there are neither baselines nor ceilings." in words
    assert "Gain over the centre bias of the other pictures" not in words
    assert "There is no gold standard to divide by: layer chosen by inner folds (explained); layer3, readout" in words


def test_pictures_without_anything_to_draw_are_left_out(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, replace(SMALL, layers=(), probes=(), maps=4, failed=("baselines-fold-1",)))
    words = drawn_page(run).words
    assert [name for name in figure_names(run) if "middle" in name] == ["middle_1", "middle_2", "middle_3"]
    for stimulus, drawn in (("1001", True), ("1002", False), ("1003", True), ("1004", True)):
        assert (f" {stimulus} (fold " in words) == drawn


@pytest.mark.usefixtures("undrawn")
def test_run_with_nothing_to_draw_says_so(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    failed = ("model:layer3:readout", "baselines-fold-0")
    fabricate(run, Scene(pictures=2, folds=1, layers=("layer3",), probes=("readout",), failed=failed, size_px=(20, 20)))
    words = drawn_page(run).words
    assert "No verdict, because nothing was scored." in words
    assert "The run folder holds no maps to draw." in words


@pytest.mark.usefixtures("undrawn")
def test_pictures_that_could_not_be_sorted_are_called_the_first_ones(copy: Folder) -> None:
    index = [row | {"why": "middle", "value": None} for row in copy.read_table("maps/index.parquet").to_pylist()]
    copy.write_table("maps/index.parquet", pa.Table.from_pylist(index))
    parsed = drawn_page(copy)
    assert "These are the first pictures: they could not be sorted by score." in parsed.words
    assert "undefined bit per fixation" not in parsed.words
    assert "Best, middle and worst pictures" not in parsed.words


@pytest.mark.usefixtures("undrawn")
def test_run_that_failed_before_scoring_still_gets_a_report(copy: Folder) -> None:
    for stat in copy.list():
        if stat.path != "manifest.json":
            copy.delete(stat.path)
    change(copy, "manifest.json", lambda manifest: manifest.update(status="failed", finished=None))
    words = drawn_page(copy).words
    for sentence in ("No verdict, because nothing was scored.", "there are no scores", "holds no maps",
                     "There are no scores per picture.", "Nothing was rejected."):  # fmt: skip
        assert sentence in words
    assert copy.list("figures") == []


@pytest.mark.usefixtures("undrawn")
def test_folder_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_saliency_report(Folder(tmp_path / "nothing"))


def test_run_of_baselines_alone_says_that_no_model_was_scored(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=6, layers=(), probes=(), maps=2, rejects=0, size_px=(40, 30)))
    parsed = drawn_page(run)
    assert "No model was scored: the table holds baselines and ceilings alone." in parsed.words
    assert "these are the first pictures, with the centre bias" in parsed.words
    assert set(figure_names(run)) == {"centre", "spread", "middle_1", "middle_2"}


def test_one_picture_is_reported_without_intervals_and_with_a_warning(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=1, observers=2, folds=1, layers=("layer4",), probes=("readout",), weights="none",
                         maps=1, size_px=(40, 30)))  # fmt: skip
    words = drawn_page(run).words
    assert "There is one picture: no interval" in words
    assert "The network is untrained (weights: none)." in words
    assert "“layer4, readout” of the untrained resnet50 was compared with the centre bias" in words
    assert "There are two observers: the gold standard needs three observers." in words
    assert "1 picture, 2 observers, 20 fixations" in words
    assert "95 % interval over 1 picture." in words
    assert "1 pictures" not in words
    assert "which says too little (1 picture, and a claim takes at least 6)" in words


@pytest.mark.usefixtures("undrawn")
def test_null_values_are_dashes_and_nothing_is_called_none(copy: Folder) -> None:
    def empty(metrics: dict[str, Any]) -> None:
        for row in metrics["rows"].values():
            for entry in row.values():
                entry.update(value=None, ci95=None, n=0)
                entry.pop("gain", None)

    change(copy, "metrics.json", empty)
    table = copy.read_table("per_item.parquet")
    for name in METRICS:
        if name in table.column_names:
            gone = pa.array([None] * table.num_rows, pa.float64())
            table = table.set_column(table.schema.get_field_index(name), name, gone)
    copy.write_table("per_item.parquet", table)
    words = drawn_page(copy).words
    assert "layer3, readout model – – – – – – – –" in words
    assert "None" not in words
    assert "nan" not in words.lower().split()


def test_unknown_metric_is_an_error_that_lists_the_known_ones(copy: Folder) -> None:
    change(copy, "metrics.json", lambda metrics: metrics["metrics_shown"].append("auc_secret"))
    with pytest.raises(ValueError, match=r"auc_secret is none of information_gain, explained, auc_uniform"):
        write_saliency_report(copy)


def test_map_without_its_arrays_is_an_error_that_names_the_file(copy: Folder) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, picture=np.zeros((3, 4, 3), np.uint8), human=np.zeros((3, 4), np.float16))
    copy.write_bytes("maps/0000.npz", buffer.getvalue())
    with pytest.raises(ValueError, match=r"maps/0000\.npz: holds no cells"):
        write_saliency_report(copy)


# -- the methods


@pytest.mark.usefixtures("undrawn")
def test_methods_say_how_the_network_was_watched_and_its_precision(copy: Folder) -> None:
    watched = "each worker compares the SHA-256 of all parameters and buffers before and after each shard of pictures"
    words = drawn_page(copy).words
    assert "its features were computed once in bfloat16" in words
    assert watched in words
    change(copy, "manifest.json", lambda manifest: manifest["backbone"].pop("precision"))
    words = drawn_page(copy).words
    assert "its features were computed once; each worker" in words
    assert watched in words


# -- the tables


def test_penalties_are_counted_and_ends_of_the_grid_noticed(small: Folder) -> None:
    results = read_saliency(small)
    assert chosen_layers(results) == "layer3 (fold 0), layer3 (fold 1), layer3 (fold 2)"
    results.predictors["model:layer3:readout"]["penalty"] = [1e-5, 1e-3, 1e-1]
    rows = penalty_rows(results)
    assert rows[0] == ("layer3, readout", "1e-05 (1 fold), 0.001 (1 fold), 0.1 (1 fold)", 2, 3)
    assert [row[0] for row in rows] == ["layer3, readout", "layer3, ridge", "layer4, readout", "layer4, ridge"]


def test_captions_of_pictures_give_the_scores_of_that_picture(small: Folder) -> None:
    first = small.read_table("maps/index.parquet").to_pylist()[0]
    rows = small.read_table("per_item.parquet").to_pylist()
    mine = next(row for row in rows if row["stimulus"] == first["stimulus"] and row["predictor"] == "gold_standard")
    said = f"{first['stimulus']} (fold {mine['fold']}): information gain {first['value']:.2f} bit per fixation"
    assert f"{said} (gold standard {mine['information_gain']:.2f})" in read_page(small).words


def test_rejects_are_listed_with_their_reason(small: Folder) -> None:
    words = read_page(small).words
    assert "3 read the file ends too early" in words
    assert re.search(r"Folds of pictures: 0 \(4\), 1 \(4\), 2 \(4\)\.", words)
