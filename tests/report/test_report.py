# SPDX-License-Identifier: Apache-2.0
"""The report: complete, self-contained, escaped, honest, and still there when half of the run is not."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from gazeray.report.blocks import Figure, Table
from gazeray.report.results import Results, read_results
from gazeray.report.sections import classification, gallery, participants, without_gaze
from gazeray.report.text_tables import classification_table
from gazeray.report.words import number
from gazeray.storage import Folder
from gazeray.studies.heatmap import report as page
from gazeray.studies.heatmap.words import given, verdict
from gazeray.tables import QUALITY, REJECTS
from tests.report import fabricate as made
from tests.report.pages import change, check_self_contained, figure_names, read_page

SMALL = made.Scene(participants=8, trials=12, folds=4, epochs=6, seed=1, effect=1.2)
SECTIONS = ["scores", "curves", "calibration", "participants", "gallery", "learning", "per-fold", "tested",
            "provenance", "flow", "quality", "rejected", "methods", "config"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def short_gallery() -> Iterator[None]:
    """At most two correct and two wrong examples: they are what takes longest to draw."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "EXAMPLES", 2)
        yield


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


def test_sections_come_in_order_and_tags_balance(small: Folder) -> None:
    assert read_page(small).sections == SECTIONS


def test_page_shows_every_figure_and_needs_nothing_else(small: Folder) -> None:
    check_self_contained(small)
    assert {re.sub(r"_\d+", "", name) for name in figure_names(small)} == {
        "roc", "confusion", "calibration", "participants", "learning_curves", "quality", "example_correct",
        "example_wrong",
    }  # fmt: skip
    assert len(small.read_bytes("report.html")) < 5_000_000
    for image in read_page(small).all("img"):
        pixels = imread(io.BytesIO(base64.b64decode(str(image["src"]).split(",")[1])))
        assert (int(str(image["width"])), int(str(image["height"]))) == (pixels.shape[1], pixels.shape[0])


def test_headline_table_holds_the_numbers_of_metrics_json(small: Folder) -> None:
    entry = small.read_json("metrics.json")["metrics"]["balanced_accuracy"]
    low, high = entry["ci95"]
    simple, gain = entry["baselines"]["logistic_regression"], entry["gain_ci95"]["logistic_regression"]
    signed = [f"{value:+.3f}".replace("-", "−") for value in (entry["value"] - simple, *gain)]
    row = f"{entry['value']:.3f} [{low:.3f}, {high:.3f}] 0.500 0.500 {simple:.3f} "
    words = read_page(small).words
    assert row in words
    assert f"{signed[0]} [{signed[1]}, {signed[2]}]" in words


def test_same_run_gives_same_bytes_and_drops_stale_figures(small: Folder, tmp_path: Path) -> None:
    shutil.copytree(small.uri, tmp_path / "again", ignore=shutil.ignore_patterns("figures", "report.html"))
    again = Folder(tmp_path / "again")
    again.write_bytes("figures/example_correct_9.png", b"stale")
    page.write_report(again)
    assert again.read_bytes("report.html") == small.read_bytes("report.html")
    assert not again.exists("figures/example_correct_9.png")


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
    assert figure_names(copy) == ["confusion", "learning_curves", "participants"]


@pytest.mark.usefixtures("undrawn")
def test_many_rejects_are_counted_by_reason_with_three_rows_of_each(copy: Folder) -> None:
    rows = [
        made.Reject(f"gaze/{i}.csv", i, "read", "column x is missing" if i < 150 else "gaze/<b>") for i in range(230)
    ]
    copy.write_table("rejects.parquet", made.rejects_table(rows))
    page.write_report(copy)
    parsed = read_page(copy)
    assert "150 read column x is missing 80 read gaze/<b>" in parsed.words
    assert "The first 3 of each reason" in parsed.words
    assert "And 224 more rows: see rejects.parquet" in parsed.words
    assert re.findall(r"gaze/\d+.csv", parsed.text) == [f"gaze/{row}.csv" for row in (0, 1, 2, 150, 151, 152)]


@pytest.mark.usefixtures("undrawn")
def test_undefined_metrics_are_called_undefined_with_their_reason(copy: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        for entry in metrics["metrics"].values():
            entry.update(value=None, ci95=None, chance=None, gain_ci95={"logistic_regression": None})
            entry.update(baselines={"majority": None, "logistic_regression": None}, baselines_ci95={})
        metrics["metrics"]["balanced_accuracy"]["why"] = "one class only"
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
    words = read_page(copy).words
    assert "lost samples (%) 96" in words
    assert "sampling rate (Hz)" not in words


def test_prediction_of_an_unknown_class_is_an_error_that_names_it(copy: Folder) -> None:
    change(copy, "manifest.json", lambda manifest: manifest.update(classes=["control", "other"]))
    with pytest.raises(ValueError, match="pseudoword is none of the classes control, other"):
        page.write_report(copy)


def test_three_classes_are_each_drawn_against_the_rest(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = Folder(tmp_path / "run")
    scene = made.Scene(participants=6, folds=3, epochs=2, classes=("read", "seek", "skim"), maps_per_participant=0)
    made.fabricate(run, scene)
    roc = classification.roc_figure(read_results(run))
    assert roc is not None
    request.getfixturevalue("undrawn")
    page.write_report(run)
    words = read_page(run).words
    assert "recall of skim" in words
    assert "each class against the rest" in words
    width, height = roc.size_px
    assert width > 2.2 * height


@pytest.mark.usefixtures("undrawn")
def test_bars_are_sorted_and_one_class_participants_are_mentioned(copy: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        metrics["participants"] = {"A": {"confusion": [[4, 0], [0, 0]]}, "B": {"confusion": [[3, 1], [2, 2]]},
                                   "C": {"confusion": [[0, 0], [0, 0]]}}  # fmt: skip

    change(copy, "metrics.json", edit)
    (figure,) = participants.section(read_results(copy)).blocks
    assert isinstance(figure, Figure)
    assert "2 participants: lowest 0.62, median 0.81, highest 1.00" in figure.alt
    assert "Pale: 1 with trials of one class only" in figure.caption


# -- the verdict


def _verdict(
    ci95: Any,
    gain: Any,
    p: float | None,
    held_out: int = 24,
    reason: str = "",
    p_gain: dict[str, float] | None = None,
    blind: list[float] | None = None,
    p_blind: float = 0.001,
    **more: Any,
) -> str:
    value = 0.5 if ci95 is None else sum(ci95) / 2
    entry = {"value": value, "ci95": ci95, "chance": 0.5, "baselines": {"logistic_regression": 0.6},
             "gain_ci95": {"logistic_regression": gain}} | more  # fmt: skip
    test = {"p": p, "p_below": None if p is None else 1.001 - p} | ({"reason": reason} if reason else {})
    test["gain"] = {"logistic_regression": p_gain or {"p": 0.001, "p_below": 0.001}}
    metrics = {"metrics": {"balanced_accuracy": entry}, "permutation": test, "held_out": {"participants": held_out}}
    if blind is not None:
        rows = {
            "stimulus_only": {"value": 0.66},
            "cnn": {"gain": {"stimulus_only": {"value": value - 0.66, "ci95": blind}}},
        }
        metrics |= {"rows": {name: {"balanced_accuracy": row} for name, row in rows.items()},
                    "predictors": {"stimulus_only": {"label": "stimulus alone"}},
                    "without_gaze": {"best": "stimulus_only", "rows": ["majority", "stimulus_only"]}}  # fmt: skip
        test["gain"]["stimulus_only"] = {"p": p_blind, "p_below": 1.001 - p_blind}
    manifest = {"data": {"label": "task"}, "classes": ["a", "b"]}
    return verdict(Results(manifest, metrics))


@pytest.mark.parametrize(
    ("ci95", "gain", "p", "said"),
    [
        pytest.param([0.8, 0.9], [0.02, 0.1], 0.001, "predicts “task” above chance", id="above_chance"),
        pytest.param([0.45, 0.6], [-0.1, 0.1], 0.3, "no clear evidence", id="interval_holds_chance"),
        pytest.param([0.45, 0.6], [-0.1, 0.1], 0.3, "chance 0.50 lies inside the interval", id="says_chance_is_inside"),
        pytest.param([0.52, 0.6], [-0.1, 0.1], 0.2, "evidence is mixed", id="permutation_disagrees"),
        pytest.param([0.52, 0.6], [-0.1, 0.1], 0.03, "evidence is mixed", id="p_is_one_sided"),
        pytest.param([0.3, 0.45], [-0.3, -0.1], 0.999, "worse than chance", id="below_chance"),
        pytest.param([0.3, 0.45], [-0.3, -0.1], 0.999, "permutation p = 0.002", id="below_chance_by_its_own_p"),
        pytest.param([0.3, 0.45], [-0.3, -0.1], 0.95, "no clear evidence", id="below_by_the_interval_alone"),
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
    ("ci95", "p", "blind", "p_blind", "said"),
    [
        pytest.param([0.8, 0.9], 0.001, [0.1, 0.3], 0.001,
                     "above chance in participants it never saw, and better than what", id="better"),
        pytest.param([0.8, 0.9], 0.001, [-0.1, 0.3], 0.001, "never saw, but not clearly better than what", id="ci"),
        pytest.param([0.8, 0.9], 0.001, [0.1, 0.3], 0.03, "never saw, but not clearly better than what", id="p"),
        pytest.param([0.6, 0.62], 0.001, [-0.1, -0.01], 0.999, "never saw, but worse than what", id="worse"),
        pytest.param([0.45, 0.6], 0.3, [-0.2, -0.1], 0.999,
                     "in participants it never saw; it is worse than what", id="no_evidence"),
        pytest.param([0.8, 0.9], 0.001, None, 0.5, "but this run did not ask what", id="run_of_before"),
    ],
)  # fmt: skip
def test_verdict_says_whether_gaze_adds_to_what_can_be_had_without_it(
    ci95: Any, p: float, blind: list[float] | None, p_blind: float, said: str
) -> None:
    sentence = _verdict(ci95, [0.02, 0.1], p, blind=blind, p_blind=p_blind)
    assert f"{said} can be had without gaze" in sentence
    if blind is not None:
        gained = f"{sum(ci95) / 2 - 0.66:+.2f}".replace("-", "−")
        assert f"(stimulus alone: balanced accuracy 0.66, gain {gained} [" in sentence


def test_rows_without_gaze_stand_with_the_gain_of_the_model_over_each(small: Folder) -> None:
    metrics, words = small.read_json("metrics.json"), read_page(small).words
    for key in ("majority", "stimulus_only"):
        gain = metrics["rows"]["cnn"]["balanced_accuracy"]["gain"][key]
        row, value = metrics["predictors"][key]["label"], metrics["rows"][key]["balanced_accuracy"]["value"]
        assert f"{row} {value:.3f} [{value - 0.02:.3f}, {value + 0.02:.3f}]" in words
        assert f"{gain['value']:+.3f} [{gain['ci95'][0]:+.3f}, {gain['ci95'][1]:+.3f}] 0.005" in words
        ranked = metrics["rows"]["cnn"]["auroc"]["gain"][key]
        shown = f"{ranked['value']:+.3f} [{ranked['ci95'][0]:+.3f}, {ranked['ci95'][1]:+.3f}] 0.015"
        assert shown in words, "p of the gain in area under ROC is that of its own test"
    assert "Undefined: participant alone (participants are held out)." in words
    assert "Without gaze are predictors" in words
    assert "Of participant alone there are no scores: participants are held out." in words


def test_run_of_before_has_no_p_of_the_gain_in_area_under_roc(small: Folder) -> None:
    metrics = small.read_json("metrics.json")
    del metrics["permutation"]["auroc"]
    *_, table = without_gaze.blocks(Results(small.read_json("manifest.json"), metrics), "cnn")
    assert isinstance(table, Table)
    assert [(row[4], row[6]) for row in table.rows] == [("0.005", ""), ("0.005", ""), ("", "")]


def test_terminal_shows_rows_without_gaze_and_the_gain_over_the_best(small: Folder) -> None:
    metrics = small.read_json("metrics.json")
    metrics["metrics"]["balanced_accuracy"]["gain_ci95"]["stimulus_only"] = [0.1, 0.2]
    head, *lines = classification_table(metrics).splitlines()
    assert head.split() == ["metric", "value", "95", "%", "interval", "chance", "logistic", "regression", "majority"]
    stimulus, value = (metrics["rows"][key]["balanced_accuracy"]["value"] for key in ("stimulus_only", "cnn"))
    assert any(line.split()[:3] == ["stimulus", "alone", f"{stimulus:.3f}"] for line in lines)
    assert any(line.startswith("participant alone") and line.endswith("participants are held out") for line in lines)
    gain = f"{value - stimulus:+.3f} [0.100, 0.200], p = 0.005"
    assert lines[-1] == f"gain over stimulus alone, balanced accuracy: {gain}"
    assert len(classification_table({**metrics, "without_gaze": None}).splitlines()) == len(lines) - 4


@pytest.mark.usefixtures("undrawn")
def test_run_of_before_has_no_rows_without_gaze(copy: Folder) -> None:
    change(copy, "metrics.json", lambda metrics: metrics.pop("without_gaze"))
    page.write_report(copy)
    words = read_page(copy).words
    assert "but this run did not ask what can be had without gaze" in words
    assert "Without gaze are predictors" not in words


@pytest.mark.parametrize(("gain", "side"), [([0.02, 0.1], "p"), ([-0.2, -0.1], "p_below")])
def test_verdict_calls_no_gain_certain_that_the_exchange_of_labels_does_not_bear_out(
    gain: list[float], side: str
) -> None:
    apart = "it cannot be told apart from logistic"
    unsure = _verdict([0.8, 0.9], gain, 0.001, p_gain={"p": 0.001, "p_below": 0.001} | {side: 0.03})
    assert apart in unsure
    assert apart not in _verdict([0.8, 0.9], gain, 0.001, p_gain={"p": 1.0, "p_below": 1.0} | {side: 0.02})
    assert apart in _verdict([0.8, 0.9], gain, 0.001, held_out=5)


@pytest.mark.parametrize(
    ("held_out", "reason", "said"),
    [
        (5, "", "(5 participants were held out, and a claim takes at least 6)"),
        (24, "the labels of 6 participants can be exchanged", "(the labels of 6 participants can be exchanged)"),
    ],
)
def test_verdict_says_why_nothing_is_claimed_of_too_little(held_out: int, reason: str, said: str) -> None:
    sentence = _verdict([0.8, 0.9], [0.0, 0.1], 0.001, held_out, reason)
    assert (
        f"There is too little to say whether the model predicts “task” in participants it never saw {said}" in sentence
    )
    blind = _verdict([0.8, 0.9], [0.0, 0.1], 0.001, held_out, reason, blind=[0.1, 0.3], p_blind=0.001)
    assert f"{said}, or whether it is better than what can be had without gaze (stimulus alone" in blind


@pytest.mark.usefixtures("undrawn")
def test_what_is_below_chance_without_gaze_is_explained(copy: Folder) -> None:
    page.write_report(copy)
    assert "Below chance:" not in read_page(copy).words
    change(copy, "metrics.json", lambda metrics: metrics["rows"]["stimulus_only"]["balanced_accuracy"].update(
        value=0.2, ci95=[0.1, 0.3]))  # fmt: skip
    page.write_report(copy)
    assert "Below chance: stimulus alone. What is tested leaves its opposite" in read_page(copy).words


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.12345, False, "0.123"), (-0.5, False, "−0.500"), (0.07, True, "+0.070"), (-0.0001, True, "+0.000"),
     (None, False, "undefined"), (float("nan"), False, "undefined")],
)  # fmt: skip
def test_numbers_have_true_signs_and_no_negative_zero(value: float | None, signed: bool, text: str) -> None:
    assert number(value, signed=signed) == text


# -- the gallery


def _rows() -> list[dict[str, Any]]:
    rows = [{"participant": f"P{p}", "trial": str(t), "label": "a"} for p in range(9) for t in range(8)]
    return rows + [{"participant": f"P{p}", "trial": "x", "label": "b"} for p in range(5)]


def _chosen(rows: list[dict[str, Any]], count: int) -> list[Any]:
    strings = pa.schema([(name, pa.string()) for name in ("participant", "trial", "label")])
    return gallery.choose_examples(pa.Table.from_pylist(rows, strings), count)


@pytest.mark.parametrize("count", [1, 6, 40, 99])
def test_gallery_choice_is_that_of_a_plain_loop(count: int) -> None:
    left = sorted(_rows(), key=lambda row: hashlib.sha256(f"{row['participant']}\0{row['trial']}".encode()).hexdigest())
    labels, people, expected = Counter[str](), Counter[str](), []
    while left and len(expected) < count:
        row = min(left, key=lambda item: (labels[item["label"]], people[item["participant"]]))
        left.remove(row)
        labels[row["label"]] += 1
        people[row["participant"]] += 1
        expected.append(row)
    assert _chosen(_rows(), count) == expected


def test_gallery_choice_does_not_depend_on_the_order_of_rows() -> None:
    rows = _rows()
    chosen = _chosen(rows, 6)
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    assert _chosen(shuffled, 6) == chosen


def test_gallery_choice_spreads_over_classes_and_participants() -> None:
    chosen = _chosen(_rows(), 6)
    assert [row["label"] for row in chosen].count("a") == 3
    assert len({row["participant"] for row in chosen}) == 6


def test_gallery_takes_what_there_is_when_there_is_little() -> None:
    rows = _rows()[:2]
    assert sorted(row["trial"] for row in _chosen(rows, 6)) == ["0", "1"]
    assert _chosen([], 6) == []


def test_maps_that_are_gone_leave_the_gallery(small: Folder, tmp_path: Path) -> None:
    shutil.copytree(small.uri, tmp_path / "run")
    run = Folder(tmp_path / "run")
    index = run.read_table("maps/index.parquet").to_pylist()
    for row in index[1:]:
        run.delete(row["path"])
    results = read_results(run)
    (figure,) = gallery.section(run, results, given(results)).figures()
    assert figure.marks == {"outcome": "correct", "participant": index[0]["participant"]}
    assert f"Participant {index[0]['participant']}, trial {index[0]['trial']}" in figure.caption
