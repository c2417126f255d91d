# SPDX-License-Identifier: Apache-2.0
"""The report: complete, self-contained, escaped, honest, and still there when half of the run is not."""

from __future__ import annotations

import base64
import io
import itertools
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread
from scipy.ndimage import label

from gazeray.report import figures, page
from gazeray.storage import Folder
from gazeray.tables import QUALITY, REJECTS
from tests.report import fabricate as made

SMALL = made.Scene(participants=8, trials=12, folds=4, epochs=6, seed=1, effect=1.2)
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
SECTIONS = ["scores", "curves", "participants", "learning", "per-fold", "gallery", "quality", "rejected", "tested",
            "methods", "config"]  # fmt: skip


class Page(HTMLParser):
    """The parsed page: every tag with its attributes, the text, and whether the tags balance."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("td", "th", "tr", "p", "li", "section") else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def read_page(run: Folder) -> Page:
    parsed = Page(run.read_text("report.html"))
    assert not parsed.open
    return parsed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("small") / "run")
    made.fabricate(run, SMALL)
    page.write_report(run)
    return run


@pytest.fixture
def copy(small: Folder, tmp_path: Path) -> Folder:
    """The small run without its maps (they take the time), to be changed."""
    shutil.copytree(small.uri, tmp_path / "copy", ignore=shutil.ignore_patterns("maps", "figures", "report.html"))
    return Folder(tmp_path / "copy")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are set up but not rasterised: for tests of words only."""
    blank = figures._png(figures._figure(1, 1))
    monkeypatch.setattr(figures, "_png", lambda figure: blank)


def change(run: Folder, name: str, edit: Callable[[Any], None]) -> None:
    content = run.read_json(name)
    edit(content)
    run.write_json(name, content)


def test_sections_come_in_order_and_tags_balance(small: Folder) -> None:
    parsed = read_page(small)
    assert [attributes["id"] for attributes in parsed.all("section")] == SECTIONS


def test_every_picture_is_inline_and_equals_its_file(small: Folder) -> None:
    inline = {str(image["src"]) for image in read_page(small).all("img")}
    files = [stat.path for stat in small.list("figures")]
    assert {re.sub(r"figures/|_\d+|\.png", "", path) for path in files} == {
        "roc", "confusion", "participants", "learning_curves", "quality", "example_correct", "example_wrong"
    }  # fmt: skip
    uris = {f"data:image/png;base64,{base64.b64encode(small.read_bytes(path)).decode()}" for path in files}
    assert inline == uris
    assert small.stat("report.html").size < 5_000_000


def test_every_picture_has_alt_text_and_its_true_size(small: Folder) -> None:
    for image in read_page(small).all("img"):
        pixels = imread(io.BytesIO(base64.b64decode(str(image["src"]).split(",")[1])))
        assert (int(str(image["width"])), int(str(image["height"]))) == (pixels.shape[1], pixels.shape[0])
        assert len(str(image["alt"])) > 20


def test_page_asks_for_nothing_outside_itself(small: Folder) -> None:
    html = small.read_text("report.html")
    assert "url(" not in html
    assert "@import" not in html
    for _, attributes in Page(html).tags:
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            assert str(attributes[name]).startswith(("data:image/png;base64,", "#"))


def test_links_within_the_page_lead_somewhere(small: Folder) -> None:
    parsed = read_page(small)
    targets = {str(attributes["id"]) for _, attributes in parsed.tags if "id" in attributes}
    assert {str(link["href"])[1:] for link in parsed.all("a")} <= targets


def test_headline_table_holds_the_numbers_of_metrics_json(small: Folder) -> None:
    entry = small.read_json("metrics.json")["metrics"]["balanced_accuracy"]
    low, high = entry["ci95"]
    simple, gain = entry["baselines"]["logistic_regression"], entry["gain_ci95"]["logistic_regression"]
    signed = [f"{value:+.3f}".replace("-", "−") for value in (entry["value"] - simple, *gain)]
    row = f"{entry['value']:.3f} [{low:.3f}, {high:.3f}] 0.500 0.500 {simple:.3f} "
    words = read_page(small).words
    assert row in words
    assert f"{signed[0]} [{signed[1]}, {signed[2]}]" in words


def test_same_run_gives_same_bytes_and_drops_stale_pictures(copy: Folder) -> None:
    page.write_report(copy)
    first = copy.read_bytes("report.html")
    copy.write_bytes("figures/example_correct_9.png", b"stale")
    page.write_report(copy)
    assert copy.read_bytes("report.html") == first
    assert not copy.exists("figures/example_correct_9.png")


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>"
    run = Folder(tmp_path / "run")
    scene = made.Scene(participants=4, folds=2, epochs=3, effect=0.0, maps_per_participant=1, rejects=2,
                       classes=('"><img src=x onerror=alert(1)>', "$\\frac{&lt;"), first_participant=evil,
                       notes=("</div><script>alert(2)</script>",), failed=())  # fmt: skip
    made.fabricate(run, scene)
    change(run, "manifest.json", lambda manifest: manifest["config"].update(evil="</pre><script>alert(3)</script>"))
    page.write_report(run)
    parsed = read_page(run)
    assert len(parsed.all("script")) == 1
    assert all(str(image["src"]).startswith("data:image/png") for image in parsed.all("img"))
    for text in (evil, scene.classes[0], scene.classes[1], scene.notes[0], "</pre><script>alert(3)</script>"):
        assert text in parsed.text
        assert text not in run.read_text("report.html")


@pytest.mark.usefixtures("undrawn")
def test_failed_fold_is_named_at_the_top_with_the_people_it_leaves_untested(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.Scene(participants=8, folds=4, epochs=3, failed=(2,), maps_per_participant=0))
    page.write_report(run)
    words = read_page(run).words
    top = words[: words.index("Scores on participants")]
    assert "Incomplete run (3 of 4 folds): " in top
    assert "not complete (status: failed)" in top
    assert "fold-2: failed. RuntimeError: loss is <nan> in epoch 2" in top
    assert "Never tested: P03, P07" in top
    assert 'File "fit.py", line 7, in fit' in words
    assert "balanced accuracy" in top


@pytest.mark.usefixtures("undrawn")
def test_run_that_failed_before_scoring_still_gets_a_report(copy: Folder) -> None:
    for name in ("metrics.json", "predictions.parquet", "rejects.parquet", "quality.parquet"):
        copy.delete(name)
    change(copy, "manifest.json", lambda manifest: manifest.update(status="failed", finished=None, units={}))
    page.write_report(copy)
    words = read_page(copy).words
    assert "No verdict, because balanced accuracy is undefined: no fold was tested." in words
    assert "not complete (status: failed)" in words
    assert "there are no scores" in words
    assert copy.list("figures") == []


@pytest.mark.usefixtures("undrawn")
def test_empty_tables_are_said_to_be_empty(copy: Folder) -> None:
    copy.write_table("rejects.parquet", REJECTS.empty_table())
    copy.write_table("quality.parquet", QUALITY.empty_table())
    copy.write_table("predictions.parquet", pa.table({}))
    page.write_report(copy)
    words = read_page(copy).words
    for sentence in ("Nothing was rejected.", "No quality was recorded.", "The run folder holds no maps."):
        assert sentence in words
    assert [stat.path for stat in copy.list("figures")] == [
        f"figures/{name}.png" for name in ("confusion", "learning_curves", "participants")
    ]


@pytest.mark.usefixtures("undrawn")
def test_rejects_are_counted_by_reason_and_cut_at_200_rows(copy: Folder) -> None:
    rows = [
        made.Reject(f"gaze/{i}.csv", i, "read", "column x is missing" if i < 150 else "gaze/<b>") for i in range(230)
    ]
    copy.write_table("rejects.parquet", made.rejects_table(rows))
    page.write_report(copy)
    parsed = read_page(copy)
    assert "150 read column x is missing 80 read gaze/<b>" in parsed.words
    assert "And 30 more rows: see rejects.parquet" in parsed.words
    assert "gaze/199.csv" in parsed.text
    assert "gaze/200.csv" not in parsed.text


@pytest.mark.usefixtures("undrawn")
def test_undefined_metrics_are_called_undefined_with_their_reason(copy: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        for entry in metrics["metrics"].values():
            entry.update(value=None, ci95=None, chance=None, gain_ci95={"logistic_regression": None})
            entry.update(baselines={"majority": None, "logistic_regression": None}, baselines_ci95={})
        metrics["metrics"]["balanced_accuracy"]["reason"] = "one class only"
        metrics["permutation"] = {"metric": "balanced_accuracy", "value": None, "p": None, "n": 1000,
                                  "null_mean": None, "null_p95": None, "reason": "nothing to shuffle"}  # fmt: skip
        metrics["folds"][0]["metrics"]["auroc"] = None

    change(copy, "metrics.json", edit)
    page.write_report(copy)
    words = read_page(copy).words
    assert "No verdict, because balanced accuracy is undefined: one class only." in words
    assert "balanced accuracy undefined (one class only) undefined undefined undefined undefined" in words
    assert "Permutation test: undefined (nothing to shuffle)." in words
    assert "None" not in words
    assert "nan" not in words.lower().split()


def test_null_epochs_scores_and_qualities_do_not_stop_the_report(copy: Folder) -> None:
    text = re.sub(r'"validation_loss": [^,]+', '"validation_loss": null', copy.read_text("units/fold-0/metrics.jsonl"))
    copy.write_text("units/fold-0/metrics.jsonl", text + text.splitlines()[-1] + "\n")
    table = copy.read_table("predictions.parquet")
    gone = pa.array([None] * table.num_rows, table.schema.field("logistic_regression").type)
    place = table.schema.get_field_index("logistic_regression")
    copy.write_table("predictions.parquet", table.set_column(place, "logistic_regression", gone))
    quality = copy.read_table("quality.parquet")
    place = quality.schema.get_field_index("sampling_hz")
    unknown = pa.array([None] * quality.num_rows, pa.float64())
    copy.write_table("quality.parquet", quality.set_column(place, "sampling_hz", unknown))
    page.write_report(copy)
    assert "sampling rate (Hz) 0 undefined undefined" in read_page(copy).words


def test_prediction_of_an_unknown_class_is_an_error_that_names_it(copy: Folder) -> None:
    change(copy, "manifest.json", lambda manifest: manifest.update(classes=["control", "other"]))
    with pytest.raises(ValueError, match="pseudoword is none of the classes control, other"):
        page.write_report(copy)


def test_three_classes_are_each_drawn_against_the_rest(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    scene = made.Scene(participants=6, folds=3, epochs=2, classes=("read", "seek", "skim"), maps_per_participant=0)
    made.fabricate(run, scene)
    page.write_report(run)
    words = read_page(run).words
    assert "recall of skim" in words
    assert "each class against the rest" in words
    height, width, _ = imread(io.BytesIO(run.read_bytes("figures/roc.png"))).shape
    assert width > 2.5 * height


# -- the verdict


def _verdict(ci95: Any, gain: Any, p: float | None, **more: Any) -> str:
    value = 0.5 if ci95 is None else sum(ci95) / 2
    entry = {"value": value, "ci95": ci95, "chance": 0.5, "baselines": {"logistic_regression": 0.6},
             "gain_ci95": {"logistic_regression": gain}} | more  # fmt: skip
    metrics = {"metrics": {"balanced_accuracy": entry}, "permutation": {"p": p}}
    manifest = {"data": {"label": "task"}, "classes": ["a", "b"]}
    empty = pa.table({})
    return page.verdict(page.Results(manifest, metrics, empty, empty, empty, [], {}, {}))


@pytest.mark.parametrize(
    ("ci95", "gain", "p", "said"),
    [
        pytest.param([0.8, 0.9], [0.02, 0.1], 0.001, "predicts “task” above chance", id="above_chance"),
        pytest.param([0.45, 0.6], [-0.1, 0.1], 0.3, "no clear evidence", id="interval_holds_chance"),
        pytest.param([0.45, 0.6], [-0.1, 0.1], 0.3, "chance 0.50 lies inside the interval", id="says_chance_is_inside"),
        pytest.param([0.52, 0.6], [-0.1, 0.1], 0.2, "evidence is mixed", id="permutation_disagrees"),
        pytest.param([0.3, 0.45], [-0.3, -0.1], 0.99, "worse than chance", id="below_chance"),
        pytest.param(None, None, None, "no clear evidence", id="no_interval"),
        pytest.param(None, None, None, "(no interval)", id="says_there_is_no_interval"),
        pytest.param([0.8, 0.9], [0.02, 0.1], 0.001, "it is better than logistic regression", id="beats_baseline"),
        pytest.param([0.8, 0.9], [-0.02, 0.1], 0.001, "it cannot be told apart from logistic", id="ties_baseline"),
        pytest.param([0.8, 0.9], [-0.2, -0.1], 0.001, "it is worse than logistic regression", id="loses_to_baseline"),
        pytest.param([0.8, 0.9], None, 0.001, "features scores 0.60", id="gain_unknown"),
        pytest.param([0.502, 0.6], [0.0, 0.1], 0.001, "[0.502, 0.600], chance 0.500", id="digits_show_the_difference"),
        pytest.param([0.8, 0.9], None, 0.000999, "permutation p = 0.001", id="p_value"),
        pytest.param([0.8, 0.9], None, 0.0001, "permutation p < 0.001", id="small_p_value"),
    ],
)
def test_verdict_says_what_the_numbers_say(ci95: Any, gain: Any, p: float | None, said: str) -> None:
    sentence = _verdict(ci95, gain, p).replace("\N{NO-BREAK SPACE}", " ")
    assert said.lower() in sentence.lower()
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.12345, False, "0.123"), (-0.5, False, "−0.500"), (0.07, True, "+0.070"), (-0.0001, True, "+0.000"),
     (None, False, "undefined"), (float("nan"), False, "undefined")],
)  # fmt: skip
def test_numbers_have_true_signs_and_no_negative_zero(value: float | None, signed: bool, text: str) -> None:
    assert page.number(value, signed=signed) == text


# -- the gallery


def _rows() -> list[dict[str, Any]]:
    rows = [{"participant": f"P{p}", "trial": str(t), "label": "a"} for p in range(9) for t in range(8)]
    return rows + [{"participant": f"P{p}", "trial": "x", "label": "b"} for p in range(5)]


def test_gallery_choice_does_not_depend_on_the_order_of_rows() -> None:
    rows = _rows()
    chosen = page.choose_examples(rows, 6)
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    assert page.choose_examples(shuffled, 6) == chosen


def test_gallery_choice_spreads_over_classes_and_participants() -> None:
    chosen = page.choose_examples(_rows(), 6)
    assert [row["label"] for row in chosen].count("a") == 3
    assert len({row["participant"] for row in chosen}) == 6


def test_gallery_takes_what_there_is_when_there_is_little() -> None:
    rows = _rows()[:2]
    assert sorted(row["trial"] for row in page.choose_examples(rows, 6)) == ["0", "1"]
    assert page.choose_examples([], 6) == []


def test_maps_that_are_gone_leave_the_gallery(small: Folder, tmp_path: Path) -> None:
    shutil.copytree(small.uri, tmp_path / "run")
    run = Folder(tmp_path / "run")
    index = run.read_table("maps/index.parquet").to_pylist()
    for row in index[1:]:
        run.delete(row["path"])
    correct, wrong = page.gallery(run, page.read_results(run))
    assert len(correct) + len(wrong) == 1
    assert f"Participant {index[0]['participant']}, trial {index[0]['trial']}" in (correct + wrong)[0].caption


# -- the pictures


@pytest.mark.parametrize("window_px", [(1280, 720), (1500, 200), (600, 800)])
@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_hot_corner_of_a_heatmap_is_drawn_in_that_corner(window_px: tuple[int, int], corner: tuple[int, int]) -> None:
    heatmap = np.zeros((4, 8), dtype=np.float16)
    heatmap[corner] = 300
    gradient = np.zeros((4, 8), dtype=np.float32)
    picture = imread(io.BytesIO(figures.example(heatmap, {"predicted": ("a", gradient)}, window_px)))[..., :3]
    pale = np.isclose(picture, np.array([255, 255, 217]) / 255, atol=0.01).all(axis=2)
    dark = np.isclose(picture, np.array([8, 29, 88]) / 255, atol=0.01).all(axis=2)
    top, bottom, left, right = _box(_largest_block(pale))
    panel = dark[top:bottom, max(0, left - 200) : right + 200]
    rows, columns = np.nonzero(_largest_block(panel))
    columns = columns + max(0, left - 200)
    assert (rows.mean() + top < (top + bottom) / 2) == (corner[0] == 0)
    assert (columns.mean() < (left + right) / 2) == (corner[1] == 0)


def _largest_block(mask: np.ndarray) -> np.ndarray:
    parts, _ = label(mask)
    return np.asarray(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def test_axes_count_px_rightwards_and_downwards_from_the_top_left(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    maps = np.ones((4, 8))
    figures.example(maps, {"predicted": ("a", maps), "true": ("b", maps)}, (1280, 720))
    panels = [axis for axis in drawn[0].axes if axis.get_title(loc="left")]
    assert [(axis.get_xlim(), axis.get_ylim()) for axis in panels] == [((0, 1280), (720, 0))] * 3


def test_gradients_share_one_scale_symmetric_about_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    one, two = np.linspace(-1.0, 4.0, 32).reshape(4, 8), np.linspace(-2.0, 0.5, 32).reshape(4, 8)
    figures.example(np.ones((4, 8)), {"predicted": ("a", one), "true": ("b", two)}, (1280, 720))
    limits = [axis.images[0].get_clim() for axis in drawn[0].axes if axis.get_title(loc="left")]
    end = np.percentile(np.abs(np.r_[one.ravel(), two.ravel()]), 99.5)
    assert limits == [(0.0, 1.0), (-end, end), (-end, end)]


def test_window_keeps_its_shape() -> None:
    flat = np.zeros((4, 4))
    for window in ((1280, 720), (1500, 200), (600, 800)):
        picture = imread(io.BytesIO(figures.example(flat, {"predicted": ("a", flat)}, window)))[..., :3]
        pale = np.isclose(picture, np.array([255, 255, 217]) / 255, atol=0.01).all(axis=2)
        top, bottom, left, right = _box(_largest_block(pale))
        assert (right - left) / (bottom - top) == pytest.approx(window[0] / window[1], rel=0.04)


@pytest.mark.parametrize(
    "values",
    [np.zeros((5, 5)), np.full((5, 5), np.nan), np.full((5, 5), 3.0), np.pad([[2.0]], ((0, 4), (0, 4))), [[1.0]]],
    ids=["zero", "nan", "flat", "one_pixel", "smallest"],
)
def test_degenerate_maps_are_drawn_without_warning(values: Any) -> None:
    png = figures.example(np.asarray(values), {"predicted": ("a", values), "true": ("b", values)}, (100, 80))
    assert png.startswith(b"\x89PNG")


def test_crowded_pictures_have_no_clipped_and_no_overlapping_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    draw = figures._png
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or draw(figure))
    rng = np.random.default_rng(0)
    names = [f"participant {index:03d} of many" for index in range(70)]
    figures.participants(
        names, rng.random(70), rng.integers(5, 200, 70), rng.random(70) < 0.2, 0.5, "balanced accuracy"
    )
    epochs = np.arange(1.0, 41.0)
    curves = [figures.Curve(f"fold {fold}", 30, epochs, 40 / epochs, 50 / epochs, epochs / 40) for fold in range(10)]
    figures.learning_curves(curves)
    figures.confusion(rng.integers(0, 5000, (9, 9)), [f"a long class name {index}" for index in range(9)])
    figures.histograms({"lost samples (%)": rng.random(50), "x": np.array([]), "n": np.ones(4), "w": np.full(9, 1e6)})
    classes = ["first long name of class", "second long name of class", "c", "d"]
    figures.roc(
        rng.integers(0, 4, 90), {"model": rng.random((90, 4)), "logistic_regression": rng.random((90, 4))}, classes
    )
    square = rng.normal(size=(8, 8))
    for window in ((1280, 720), (1500, 200), (12000, 900), (500, 2000)):
        figures.example(square, {"predicted": (classes[0], square), "true": (classes[1], square * 1e-7)}, window)
    assert len(drawn) == 9
    for figure in drawn:
        _check_labels(figure)


def _check_labels(figure: Any) -> None:
    frame = figure.bbox.padded(1)
    for axis in figure.axes:
        for side in (axis.xaxis, axis.yaxis):
            low, high = sorted(side.get_view_interval())
            ticks = [
                tick for tick in side.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
            boxes = [tick.label1.get_window_extent() for tick in ticks if tick.label1.get_text()]
            boxes.sort(key=lambda box: (box.x0, box.y0))
            rotated = any(tick.label1.get_rotation() % 90 for tick in ticks)
            for one, two in itertools.pairwise(boxes):
                assert rotated or not one.padded(-0.5).overlaps(two.padded(-0.5)), f"{axis.get_xlabel()} overlaps"
            texts = [*(tick.label1.get_window_extent() for tick in ticks), side.label.get_window_extent()]
            for box in texts:
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                assert inside or box.width * box.height == 0, f"{side.label.get_text()} is clipped"


def test_whole_numbers_fall_into_bins_of_equal_count() -> None:
    for high in (1, 9, 30, 500):
        counts, _ = np.histogram(np.arange(0, high + 1), figures._bins(np.arange(0.0, high + 1)))
        assert len(set(counts[:-1])) <= 1
        assert counts.sum() == high + 1
        assert len(counts) <= 24


@pytest.mark.usefixtures("undrawn")
def test_bars_are_sorted_and_one_class_participants_are_mentioned(copy: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        metrics["participants"] = {"A": {"confusion": [[4, 0], [0, 0]]}, "B": {"confusion": [[3, 1], [2, 2]]},
                                   "C": {"confusion": [[0, 0], [0, 0]]}}  # fmt: skip

    change(copy, "metrics.json", edit)
    picture = page.participants_picture(page.read_results(copy))
    assert picture is not None
    assert "2 participants: lowest 0.62, median 0.81, highest 1.00" in picture.alt
    assert "Pale: 1 with trials of one class only" in picture.caption
