# SPDX-License-Identifier: Apache-2.0
"""The report on saliency predictors: complete, escaped, honest, and still there when half of the run is not."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.report import figures, salience_figures
from gazeray.report.salience import chosen_layers, gain_rows, penalty_rows, score_rows, write_salience_report
from gazeray.report.salience_results import read_salience
from gazeray.report.salience_words import caveats, undefined, verdict
from gazeray.report.template import Rejects, shared
from gazeray.storage import Folder
from gazeray.tables import Reject, rejects_table
from tests.report.fabricate_salience import METRICS, Scene, fabricate
from tests.report.test_report import Page

SMALL = Scene(pictures=12, observers=12, folds=3, layers=("layer3", "layer4"), probes=("readout", "ridge"), maps=1,
              size_px=(40, 30), notes=("Labels were guessed.",))  # fmt: skip
SECTIONS = ["scores", "layers", "pictures", "centre", "spread", "penalties", "rejected", "methods", "config"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("salience") / "run")
    fabricate(run, SMALL)
    write_salience_report(run)
    return run


@pytest.fixture
def copy(small: Folder, tmp_path: Path) -> Folder:
    """The small run, not drawn yet, to be changed."""
    shutil.copytree(small.uri, tmp_path / "copy", ignore=shutil.ignore_patterns("figures", "report.html"))
    return Folder(tmp_path / "copy")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are set up but not rasterised: for tests of words only."""
    blank = figures.to_png(figures.new_figure(1, 1))
    monkeypatch.setattr(figures, "to_png", lambda figure: blank)


def read_page(run: Folder) -> Page:
    parsed = Page(run.read_text("report.html"))
    assert not parsed.open
    return parsed


def drawn_page(run: Folder) -> Page:
    write_salience_report(run)
    return read_page(run)


def change(run: Folder, name: str, edit: Callable[[Any], None]) -> None:
    content = run.read_json(name)
    edit(content)
    run.write_json(name, content)


def texts(run: Folder) -> tuple[dict[str, Any], dict[str, Any]]:
    return run.read_json("manifest.json"), run.read_json("metrics.json")


# -- the whole page


def test_sections_come_in_order_with_every_picture_inline(small: Folder) -> None:
    parsed = read_page(small)
    assert [attributes["id"] for attributes in parsed.all("section")] == SECTIONS
    files = {Path(stat.path).stem: small.read_bytes(stat.path) for stat in small.list("figures")}
    assert set(files) == {"layers", "centre", "spread", "ceiling", "penalties", "best_1", "middle_1", "worst_1"}
    inline = {str(image["src"]) for image in parsed.all("img")}
    assert inline == {f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in files.values()}
    assert all(len(str(image["alt"])) > 20 for image in parsed.all("img"))


def test_page_asks_for_nothing_outside_itself_and_its_links_lead_somewhere(small: Folder) -> None:
    parsed = read_page(small)
    assert "url(" not in small.read_text("report.html")
    targets = {str(attributes["id"]) for _, attributes in parsed.tags if "id" in attributes}
    for _, attributes in parsed.tags:
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            value = str(attributes[name])
            assert value.startswith("data:image/png;base64,") or value[1:] in targets


def test_same_run_gives_same_bytes_and_drops_stale_pictures(small: Folder, copy: Folder) -> None:
    copy.write_bytes("figures/best_9.png", b"stale")
    write_salience_report(copy)
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
    rows = score_rows(read_salience(small))
    assert [row["kind"] for row in rows] == 5 * ["model"] + 5 * ["baseline"] + 3 * ["ceiling"]
    values = [row["entries"]["information_gain"]["value"] for row in rows[:5]]
    assert values == sorted(values, reverse=True)
    assert [row["key"] for row in rows if row["best"]] == ["model:layer3:readout"]
    assert [row["key"] for row in rows[5:]] == [
        "uniform", "centre_quarter", "centre", "mean_of_others", "centre_bias",
        "split_half", "other_observers", "gold_standard",
    ]  # fmt: skip


def test_gains_are_those_of_the_run_and_leave_out_what_is_a_gain_already(small: Folder) -> None:
    rows = gain_rows(score_rows(read_salience(small)))
    stored = small.read_json("metrics.json")["rows"]
    assert {row["key"] for row in rows} == set(stored) - {"centre_bias"}
    for row in rows:
        assert "information_gain" not in row["entries"]
        assert row["entries"]["nss"] == stored[row["key"]]["nss"]["gain"]


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
    assert [attributes["id"] for attributes in parsed.all("section")] == [
        name for name in SECTIONS if name not in ("layers", "penalties")
    ]
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
    assert "Incomplete run (5 of 6 units). “layer3, readout”" in top
    assert "not complete (status: failed)" in top
    assert "layer4-ridge: failed. RuntimeError: loss is <nan> in epoch 2" in top
    assert "The run folder holds no maps." in words


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
        write_salience_report(Folder(tmp_path / "nothing"))


def test_run_of_baselines_alone_says_that_no_model_was_scored(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=6, layers=(), probes=(), maps=2, rejects=0, size_px=(40, 30)))
    parsed = drawn_page(run)
    assert "No model was scored: the table holds baselines and ceilings alone." in parsed.words
    assert "these are the first pictures, with the centre bias" in parsed.words
    assert {Path(stat.path).stem for stat in run.list("figures")} == {"centre", "spread", "middle_1", "middle_2"}


def test_one_picture_is_reported_without_intervals_and_with_a_warning(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    fabricate(run, Scene(pictures=1, observers=2, folds=1, layers=("layer4",), probes=("readout",), weights="none",
                         maps=1, size_px=(40, 30)))  # fmt: skip
    words = drawn_page(run).words
    assert "There is one picture: no interval" in words
    assert "The network is untrained (weights: none)." in words
    assert "“layer4, readout” of the untrained resnet50 was compared with the centre bias" in words
    assert "There are 2 observers only" in words
    assert "without an interval" in words


@pytest.mark.usefixtures("undrawn")
def test_null_values_are_dashes_and_nothing_is_called_none(copy: Folder) -> None:
    def empty(metrics: dict[str, Any]) -> None:
        for row in metrics["rows"].values():
            for entry in row.values():
                entry.update(value=None, ci95=None, n=0)
                entry.pop("gain", None)

    change(copy, "metrics.json", empty)
    table = copy.read_table("per_image.parquet")
    for name in METRICS:
        if name in table.column_names:
            gone = pa.array([None] * table.num_rows, pa.float64())
            table = table.set_column(table.schema.get_field_index(name), name, gone)
    copy.write_table("per_image.parquet", table)
    words = drawn_page(copy).words
    assert "layer3, readout model – – – – – – – –" in words
    assert "None" not in words
    assert "nan" not in words.lower().split()


def test_unknown_metric_is_an_error_that_lists_the_known_ones(copy: Folder) -> None:
    change(copy, "metrics.json", lambda metrics: metrics["metrics_shown"].append("auc_secret"))
    with pytest.raises(ValueError, match=r"auc_secret is none of information_gain, explained, auc_uniform"):
        write_salience_report(copy)


def test_map_without_its_arrays_is_an_error_that_names_the_file(copy: Folder) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, picture=np.zeros((3, 4, 3), np.uint8), human=np.zeros((3, 4), np.float16))
    copy.write_bytes("maps/0000.npz", buffer.getvalue())
    with pytest.raises(ValueError, match=r"maps/0000\.npz: holds no cells, centre_bias"):
        write_salience_report(copy)


# -- the verdict


@pytest.mark.parametrize(
    ("value", "ci95", "said"),
    [
        pytest.param(0.4, [0.3, 0.5], "better than the centre bias", id="above_the_centre_bias"),
        pytest.param(0.02, [-0.1, 0.14], "cannot be told apart from the centre bias", id="interval_holds_zero"),
        pytest.param(-0.4, [-0.5, -0.3], "worse than the centre bias", id="below_the_centre_bias"),
    ],
)
def test_verdict_follows_the_interval_of_the_information_gain(
    small: Folder, value: float, ci95: list[float], said: str
) -> None:
    manifest, metrics = texts(small)
    metrics["rows"][metrics["best"]]["information_gain"].update(value=value, ci95=ci95)
    assert said in verdict(manifest, metrics)


def test_verdict_turns_round_where_smaller_is_better(small: Folder) -> None:
    manifest, metrics = texts(small)
    entry = {"value": 0.5, "ci95": [0.4, 0.6], "n": 12, "gain": {"over": "centre_bias", "value": -0.3,
                                                               "ci95": [-0.4, -0.2]}}  # fmt: skip
    metrics["rows"][metrics["best"]] = {"kl": entry, "information_gain": {"value": None}}
    text = verdict(manifest, metrics)
    assert (
        "better than the centre bias of the other pictures does: KL 0.50 [0.40, 0.60] nat, −0.30 [−0.40, −0.20]" in text
    )
    entry["gain"].update(value=0.3, ci95=[0.2, 0.4])
    assert "worse than the centre bias" in verdict(manifest, metrics)


def test_verdict_gives_the_share_and_points_at_the_honest_row(small: Folder) -> None:
    manifest, metrics = texts(small)
    rows = metrics["rows"]
    rows[metrics["best"]]["explained"].update(value=0.654, ci95=[0.6, 0.7])
    rows["chosen"]["information_gain"].update(value=0.5, ci95=[0.4, 0.6])
    text = verdict(manifest, metrics)
    assert "explains 65 % [60, 70] of what they know beyond the centre bias" in text
    assert "the best of 4 models" in text
    assert "the row “layer chosen by inner folds”, chosen without the test pictures: 0.50 [0.40, 0.60]." in text


def test_verdict_without_a_gold_standard_says_that_the_share_is_unknown(small: Folder) -> None:
    manifest, metrics = texts(small)
    del metrics["rows"]["gold_standard"]
    for row in metrics["rows"].values():
        row["explained"].update(value=None, ci95=None)
    assert "the share of what could be explained is unknown" in verdict(manifest, metrics)
    (line,) = (line for line in undefined(metrics) if line.startswith("There is no gold standard to divide by: "))
    assert "layer3, readout (explained)" in line


def test_caveats_follow_from_the_run(small: Folder) -> None:
    manifest, metrics = texts(small)
    assert caveats(manifest, metrics) == [
        "There are 12 pictures only: intervals over so few are rough, and too narrow."
    ]
    manifest["counts"].update(pictures=400, observers=0)
    manifest["backbone"]["unchanged"] = False
    metrics["rows"]["model:layer3:readout"]["explained"]["value"] = 1.2
    found = " ".join(caveats(manifest, metrics))
    assert "pictures only" not in found
    assert "tells no observers apart" in found
    assert "The network changed while it was probed" in found
    assert "More than the gold standard is explained by layer3, readout" in found


def test_empty_cells_are_explained_and_partly_scored_rows_named(small: Folder) -> None:
    _, metrics = texts(small)
    metrics["rows"]["model:layer4:ridge"]["cc"]["n"] = 11
    lines = undefined(metrics)
    assert any(line.startswith("One left-out person’s") and line.count("(CC, SIM, KL)") == 2 for line in lines)
    assert "Undefined for a map that is the same everywhere: uniform (CC)." in lines
    assert "Scored on 11 of 12 pictures, undefined on the others: layer4, ridge (CC)." in lines


# -- the tables and pictures


def test_penalties_are_counted_and_ends_of_the_grid_noticed(small: Folder) -> None:
    results = read_salience(small)
    assert chosen_layers(results) == "layer3 (fold 0), layer3 (fold 1), layer3 (fold 2)"
    entry = results.metrics["predictors"]["model:layer3:readout"]
    entry["penalty"] = [1e-5, 1e-3, 1e-1]
    row = penalty_rows(results)[0]
    assert row == {"label": "layer3, readout", "ends": 2, "folds": 3,
                   "chosen": "1e-05 (1 fold), 0.001 (1 fold), 0.1 (1 fold)"}  # fmt: skip
    assert [row["label"] for row in penalty_rows(results)] == [
        "layer3, readout", "layer3, ridge", "layer4, readout", "layer4, ridge"
    ]  # fmt: skip


def test_captions_of_pictures_give_the_scores_of_that_picture(small: Folder) -> None:
    first = small.read_table("maps/index.parquet").to_pylist()[0]
    rows = small.read_table("per_image.parquet").to_pylist()
    mine = next(row for row in rows if row["stimulus"] == first["stimulus"] and row["predictor"] == "gold_standard")
    said = f"{first['stimulus']} (fold {mine['fold']}): information gain {first['value']:.2f} bit per fixation"
    assert f"{said} (gold standard {mine['information_gain']:.2f})" in read_page(small).words


@pytest.mark.parametrize("seed", range(4))
def test_lines_enclose_the_smallest_area_that_holds_their_share(seed: int) -> None:
    density = np.random.default_rng(seed).gamma(0.7, 1.0, (6, 9))
    for share in (0.25, 0.5, 0.75):
        (level,) = salience_figures.mass_levels(density, [share])
        taken: list[float] = []
        for value in sorted(density.ravel().tolist(), reverse=True):
            taken.append(value)
            if sum(taken) >= share * density.sum() - 1e-12:
                break
        assert level == taken[-1]


@pytest.mark.parametrize("density", [np.zeros((4, 5)), np.full((4, 5), 0.3)], ids=["no_mass", "even"])
def test_density_without_a_shape_has_no_lines(density: Any) -> None:
    assert salience_figures.mass_levels(density) == []


def test_corner_fixation_and_prediction_are_drawn_in_their_corner(drawn: list[Any]) -> None:
    density = np.zeros((6, 10))
    density[0, 9] = 1.0
    cells = np.array([[0, 9]])
    salience_figures.example(np.zeros((6, 10, 3), np.uint8), density, density, cells)
    panels = drawn[0].axes
    assert [axis.get_title(loc="left") for axis in panels][:3] == ["picture", "human map", "prediction"]
    for axis in panels[1:3]:
        left, right, bottom, top = axis.images[0].get_extent()
        assert (left, right, bottom, top) == (0, 10, 6, 0)
        assert axis.images[0].get_array()[0, 9] == 1.0
    x, y = panels[3].lines[0].get_data()
    assert (x[0], y[0]) == (9.5, 0.5)
    height = panels[3].get_window_extent().height
    shown = panels[3].transData.transform((x[0], y[0])) - panels[3].transAxes.transform((0, 0))
    assert shown[1] > 0.8 * height


def test_layers_without_a_score_leave_a_gap_not_a_zero(drawn: list[Any]) -> None:
    values = {"readout": np.array([[0.4, 0.3, 0.5], [np.nan] * 3, [0.6, 0.5, 0.7]])}
    panel = salience_figures.LayerPanel("NSS", values, {"centre_bias": 0.2})
    salience_figures.layer_chart(["a", "b", "c"], [panel], {"centre_bias": "centre bias", "readout": "read-out"})
    line = drawn[0].axes[0].lines[1]
    assert np.isnan(line.get_ydata()[1])
    assert line.get_ydata()[[0, 2]].tolist() == [0.4, 0.6]
    assert drawn[0].axes[0].lines[0].get_ydata() == [0.2, 0.2]


def test_centre_density_is_normalised_to_an_even_spread_of_one(drawn: list[Any]) -> None:
    left = np.zeros((4, 8))
    left[:, :4] = 3.0
    salience_figures.centre({"gaze": left})
    across, down = (axis for axis in drawn[0].axes if "share of the picture" in axis.get_xlabel())
    assert across.lines[1].get_ydata().tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    assert down.lines[1].get_ydata().tolist() == [1, 1, 1, 1]
    assert across.get_ylim()[0] == down.get_ylim()[0] == 0
    assert across.get_ylim()[1] > 2


def test_both_marginals_fit_into_their_panels(drawn: list[Any]) -> None:
    low = np.zeros((8, 4))
    low[0] = 1.0
    salience_figures.centre({"gaze": low})
    for axis in drawn[0].axes:
        for line in axis.lines:
            assert np.max(line.get_ydata()) <= axis.get_ylim()[1]


def test_many_long_layer_names_fit_into_the_picture(drawn: list[Any]) -> None:
    layers = [f"encoder.layers.encoder_layer_{index}" for index in range(12)]
    values = {"readout": np.linspace(0, 1, 36).reshape(12, 3)}
    salience_figures.layer_chart(layers, [salience_figures.LayerPanel("NSS", values, {})] * 3, {"readout": "read-out"})
    edge = drawn[0].bbox
    for axis in drawn[0].axes:
        for label in axis.get_xticklabels():
            box = label.get_window_extent()
            assert edge.x0 - 1 <= box.x0 <= box.x1 <= edge.x1 + 1
            assert edge.y0 - 1 <= box.y0


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        pytest.param(["8 fixations without picture: 'a.jpg'", "9 fixations without picture: 'b.jpg'"],
                     "… fixations without picture: …", id="numbers_and_names_that_differ"),
        pytest.param(["share 0.6 is above 0.5", "share 0.7 is above 0.5"], "share … is above 0.5", id="shared_limit"),
        pytest.param(["8 fixations without picture: 'a.jpg'"], "8 fixations without picture: 'a.jpg'", id="alone"),
        pytest.param(["P01.csv is empty", "P01.csv is empty"], "P01.csv is empty", id="same"),
    ],
)  # fmt: skip
def test_reasons_that_differ_in_figures_alone_are_told_as_one(reasons: list[str], said: str) -> None:
    assert shared(reasons) == said


def test_rejects_of_one_kind_are_counted_together() -> None:
    rows = [Reject("a.mat", -1, "gaze", f"{count} fixations outside") for count in (3, 5, 5)]
    counts = Rejects.of(rejects_table([*rows, Reject("b.jpg", -1, "read", "no picture")])).counts
    assert [(row["count_all"], row["stage"], row["reason"]) for row in counts] == [
        (3, "gaze", "… fixations outside"), (1, "read", "no picture")
    ]  # fmt: skip


def test_rejects_are_listed_with_their_reason(small: Folder) -> None:
    words = read_page(small).words
    assert "3 read the file ends too early" in words
    assert re.search(r"Folds of pictures: 0 \(4\), 1 \(4\), 2 \(4\)\.", words)
