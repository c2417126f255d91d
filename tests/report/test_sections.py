# SPDX-License-Identifier: Apache-2.0
"""Sections that depend on what a run recorded: quality and its gate, the search, the checks of maps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gazeray.report.blocks import Cell, Section, Table, Text
from gazeray.report.results import Results, read_results
from gazeray.report.sections import classification, explanations, gallery, quality, search
from gazeray.report.sections.gallery import Given
from gazeray.report.words import map_meaning, map_unit, method_name
from gazeray.storage import Folder
from gazeray.studies.heatmap import report as page
from gazeray.studies.heatmap.words import given
from tests.report import fabricate as made
from tests.report.pages import change

RICH = made.Scene(participants=6, trials=12, folds=3, epochs=3, gate=True, searched=True, explained=True,
                  maps_per_participant=1)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("rich") / "run")
    made.fabricate(run, RICH)
    return run


@pytest.fixture
def run(source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Folder:
    """A copy of the rich run to be changed; figures are not rasterised, and one example of a kind is drawn."""
    monkeypatch.setattr(gallery, "EXAMPLES", 1)
    shutil.copytree(source.uri, tmp_path / "run")
    return Folder(tmp_path / "run")


def drawn(run: Folder) -> str:
    """The text of the report without tags, blanks folded."""
    page.write_report(run)
    html = run.read_text("report.html")
    html = html[html.index("<main>") : html.index("</main>")]
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def table(section: Section | None, label: str) -> Table:
    """The table of a section by its label."""
    assert section is not None
    return next(block for block in section.blocks if isinstance(block, Table) and block.label == label)


def heads(of: Table) -> list[str]:
    return [column.head for column in of.columns]


# -- quality


def test_participant_row_holds_medians_and_refused_trials() -> None:
    medians = quality.Medians.of(
        pa.table(
            {
                "participant": ["B", "A", "A", "A"],
                "trial": ["1", "1", "2", "3"],
                "lost_share": [0.5, 0.1, 0.2, 0.9],
                "sampling_hz": [250.0, 500.0, 500.0, None],
                "rms_s2s_px": [1.0, 2.0, 4.0, 6.0],
                "rms_s2s_deg": [float("nan")] * 4,
                "gate": ["", "", None, "lost_share 0.90 > quality.max_lost_share 0.5"],
            }
        )
    )
    people = quality.participants(medians, [0, 1])
    measured = ["lost samples (%)", "sampling rate (Hz)", "RMS-S2S (px)"]
    assert heads(people) == ["participant", "trials read", "trials refused", *measured]
    assert people.rows == [["A", 3, 1, "20.0", "500.0", "4.00"], ["B", 1, 0, "50.0", "250.0", "1.00"]]


def test_distribution_agrees_with_sorted_values() -> None:
    values = np.random.default_rng(0).random(101)
    ordered = sorted(values * 900)
    expected = [f"{ordered[index]:.0f}" for index in (0, 5, 50, 95, 100)]
    columns = quality.measured(pa.table({"longest_gap_ms": values * 900}))
    assert quality.distribution(columns).rows == [["longest gap (ms)", 101, *expected]]


def test_refusals_are_grouped_without_the_trials_own_figures() -> None:
    gates = ["lost_share 0.62 > quality.max_lost_share 0.5", "lost_share 0.91 > quality.max_lost_share 0.5", "",
             "sampling_hz 29.9 < quality.min_sampling_hz 60; lost_share 1 > quality.max_lost_share 0.5"]  # fmt: skip
    assert quality.refusals(pa.table({"participant": ["A", "B", "B", "A"], "gate": gates})) == [
        ("lost_share > quality.max_lost_share 0.5", 3, ["A", "B"]),
        ("sampling_hz < quality.min_sampling_hz 60", 1, ["A"]),
    ]


@pytest.mark.parametrize(
    ("gate", "general"),
    [
        ("rms_s2s_deg 1.2e-05 > quality.max 0.5", "rms_s2s_deg > quality.max 0.5"),
        ("duration_ms nan < quality.min_duration_ms 80", "duration_ms < quality.min_duration_ms 80"),
        ("rms_s2s_deg is not known, quality.max_rms_s2s_deg 1", "rms_s2s_deg is not known, quality.max_rms_s2s_deg 1"),
    ],
)
def test_reason_loses_only_the_measured_figure(gate: str, general: str) -> None:
    assert quality.general_reason(gate) == general


def test_table_without_new_columns_or_with_nothing_measured_is_read(run: Folder) -> None:
    old = pa.table({"participant": ["P01"], "trial": ["1"], "lost_share": [0.25]})
    run.write_table("quality.parquet", old)
    words = drawn(run)
    assert "P01 1 25.0" in words
    assert "Trials refused" not in words
    assert "BCEA" not in words
    run.write_table("quality.parquet", pa.table({"participant": ["P01"], "trial": ["1"], "lost_share": [float("nan")]}))
    assert "1 trial was read; none of their quality could be measured." in drawn(run)
    assert not run.exists("figures/quality.png")


def test_validation_of_the_tracker_is_shown_where_it_is_known(run: Folder) -> None:
    known = {"participant": ["P01", "P01"], "trial": ["1", "2"], "validation_left_deg": [0.2, 0.6]}
    run.write_table("quality.parquet", pa.table(known | {"validation_right_deg": [float("nan")] * 2}))
    words = drawn(run)
    assert "validation, left eye (deg) 2 0.20 0.22 0.40 0.58 0.60" in words
    assert "P01 2 0.40" in words
    assert "in the last validation before the trial" in words
    assert "right eye" not in words
    assert "RMS-S2S" not in words


def test_gated_run_names_reasons_and_refused_trials(run: Folder) -> None:
    table = run.read_table("quality.parquet")
    refused = sum(bool(gate) for gate in table["gate"].to_pylist())
    assert refused
    words = drawn(run)
    assert f"{refused} of {table.num_rows} trials were refused for the study" in words
    assert f"{refused} lost_share &gt; quality.max_lost_share 0.5" in words
    assert "RMS-S2S (deg)" in words
    assert "BCEA, 68 % (deg²)" in words


def test_notes_on_recordings_are_listed_and_cut_at_50(run: Folder) -> None:
    notes = [f"file{number}.asc: <left> eye" for number in range(53)]
    change(run, "manifest.json", lambda manifest: manifest.update(notes_on_recordings=notes))
    words = drawn(run)
    assert "Notes on recordings file0.asc: &lt;left&gt; eye" in words
    assert "file49.asc" in words
    assert "file50.asc" not in words
    assert "And 3 more notes: see manifest.json" in words


def quality_of(count: int) -> Section:
    """The section of people who each lost more than the one before; of the last one nothing was measured."""
    lost = [*(index / 1000 for index in range(count - 1)), None]
    names = [f"P{index:03d}" for index in range(count)]
    return quality.section(Results({}, quality=pa.table({"participant": names, "trial": names, "lost_share": lost})))


def test_up_to_60_participants_have_a_row_each() -> None:
    rows = table(quality_of(60), "Data quality per participant").rows
    assert [row[0] for row in rows] == [f"P{index:03d}" for index in range(60)]
    assert "more participants" not in str(quality_of(60).blocks)


def test_of_many_participants_the_quality_is_spread_out_and_the_extremes_are_named() -> None:
    section = quality_of(205)
    rows = table(section, "Data quality per participant").rows
    assert [row[0] for row in rows] == [f"P{index:03d}" for index in (*range(10), *range(194, 204))]
    assert "By lost samples (%): the 10 lowest, then the 10 highest." in str(section.blocks)
    assert "And 185 more participants: see quality.parquet" in str(section.blocks)
    assert table(section, "Data quality over participants").rows == [
        ["lost samples (%)", 204, "0.0", "1.0", "10.2", "19.3", "20.3"]
    ]


def test_medians_agree_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    groups, values = rng.integers(0, 7, 200), rng.random(200)
    values[rng.random(200) < 0.3] = np.nan
    groups[groups == 3] = 4
    expected = [np.nanmedian(values[groups == group]) if group != 3 else np.nan for group in range(7)]
    np.testing.assert_array_equal(quality.medians(groups, values, 7), expected)


# -- search


def test_optimism_is_inner_minus_outer(run: Folder) -> None:
    chosen = table(search.section(read_results(run)), "Chosen setting per fold")
    folds = run.read_json("metrics.json")["search"]["folds"]
    gaps = [entry["inner_score"] - entry["outer_score"] for entry in folds]
    for row, gap in zip(chosen.rows, gaps, strict=True):
        assert row[1] == "model.width = 16, train.epochs = 12"
        assert row[-1] == f"{gap:+.3f}".replace("-", "−")
    assert chosen.foot[-1] == f"{np.mean(gaps):+.3f}".replace("-", "−")


def test_trials_come_by_fold_and_rank_with_failed_ones_last(run: Folder) -> None:
    rows = table(search.section(read_results(run)), "Settings tried").rows
    assert [row[0] for row in rows] == [fold for fold in range(3) for _ in range(4)]
    losses = [str(row[3]) for row in rows[:4]]
    assert losses[:3] == sorted(losses[:3])
    assert list(rows[3][2:]) == ["undefined", "undefined", 3, 0, Cell("failed", failed=True)]


def test_search_section_shows_space_and_choice(run: Folder) -> None:
    words = drawn(run)
    assert "Search for the setting" in words
    assert "model.width 8, 16 train.learning_rate 0.0001 to 0.01 (logarithmic)" in words
    assert "Cawley, G. C." in words


def test_fold_without_scores_and_long_tables_do_not_stop_the_section(run: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        metrics["search"]["folds"][0].update(inner_score=None, outer_score=None)
        metrics["search"]["folds"][1]["trials"] *= 100

    change(run, "metrics.json", edit)
    section = search.section(read_results(run))
    assert table(section, "Chosen setting per fold").rows[0][-1] == "undefined"
    assert len(table(section, "Settings tried").rows) == 300
    assert "And 108 more" in drawn(run)


def test_settings_are_spelled_by_key() -> None:
    setting = {"train.learning_rate": 0.00012346, "model.width": 16, "render.kind": "both"}
    assert search.setting_words(setting) == "model.width = 16, render.kind = both, train.learning_rate = 0.0001235"


# -- explanations


def test_checks_of_maps_are_a_table_with_the_verdict(run: Folder) -> None:
    words = drawn(run)
    entry = run.read_json("metrics.json")["explanations"]["gradient"]
    assert f"gradient looks the same with random weights: do not read it; {entry['verdict'].split('; ')[1]}" in words
    assert f"{entry['deletion_auc']:.3f} {entry['deletion_auc_random']:.3f} {entry['deletion_auc_dwell']:.3f}" in words
    assert "integrated gradients changes with the weights" in words
    assert "Petsiuk, V." in words


def test_map_summary_becomes_four_figures_with_their_words(run: Folder) -> None:
    groups = explanations.map_figures(run, read_results(run), Given())
    figures = [figure for group in groups.values() for figure in group]
    names = [figure.name for figure in figures]
    assert names == ["deletion_curves", "randomisation", "class_maps", "class_differences"]
    assert all(len(figure.alt) > 30 and figure.caption for figure in figures)
    assert "pseudoword minus control" in figures[3].caption


def test_map_summary_of_other_classes_or_without_window_or_content_is_an_error(run: Folder) -> None:
    results = read_results(run)
    results.manifest["classes"].append("third")
    with pytest.raises(ValueError, match="has 2 classes, not 3"):
        explanations.section(run, results, Given())
    table = run.read_table("predictions.parquet")
    run.write_table("predictions.parquet", table.drop_columns(["window_width_px"]))
    with pytest.raises(KeyError, match="window_width_px"):
        explanations.section(run, read_results(run), Given())
    run.write_bytes("explain.npz", b"no archive")
    with pytest.raises(ValueError, match="not a map summary"):
        explanations.section(run, read_results(run), Given())


def test_commonest_window_gives_the_axes(run: Folder) -> None:
    sizes = [800.0, 800.0, 1024.0]
    table = pa.table({"window_width_px": sizes, "window_height_px": [600.0, 600.0, 768.0]})
    assert explanations.window_px(Results({}, predictions=table)) == (800.0, 600.0)


def test_figures_of_a_check_that_measured_nothing_are_undefined() -> None:
    areas = dict.fromkeys(("deletion_auc", "deletion_auc_random", "deletion_auc_dwell"))
    gains = {key: {"value": None, "ci95": None} for key in ("gain_over_random", "gain_over_dwell")}
    check = {"randomisation_correlation": {"median": None, "iqr": None, "n": 0}}
    metrics = {"explanations": {"smoothgrad": {**areas, **gains, **check, "verdict": "too few"}}}
    rows = explanations.check_rows(Results({}, metrics))
    assert rows == [["SmoothGrad", "too few", *["undefined"] * 3, *[Cell("undefined")] * 3]]


# -- what was held out


def test_sections_without_data_are_not_there(tmp_path: Path, run: Folder) -> None:
    plain = Folder(tmp_path / "plain")
    made.fabricate(plain, made.Scene(participants=4, folds=2, epochs=2, maps_per_participant=0))
    page.write_report(plain)
    html = plain.read_text("report.html")
    for absent in ('id="search"', 'id="explanations"', 'href="#search"', "Trials refused", "Notes on recordings"):
        assert absent not in html


@pytest.mark.parametrize(
    ("hold_out", "said"),
    [("stimuli", "scores speak for new stimuli read by these people"), ("both", "neither a recording of its")],
)
def test_methods_say_what_was_held_out(run: Folder, hold_out: str, said: str) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        manifest["config"]["folds"]["hold_out"] = hold_out
        for fold in manifest["folds"]:
            fold["stimuli"] = {"train": ["s1", "s2"], "validation": ["s3"], "test": [f"t{fold['fold']}"]}
            if hold_out == "stimuli":
                fold.update(train=[], validation=[], test=[])

    change(run, "manifest.json", edit)
    words = drawn(run)
    assert said in words
    assert "0 t0 2 1 t1 2" in words
    assert "Never tested" not in words


def test_config_says_how_the_run_was_made(run: Folder) -> None:
    words = drawn(run)
    assert "command python jobs/cv_heatmap.py &#x27;run.dir=s3://***@lab/runs&#x27;" in words.replace("&#39;", "&#x27;")
    assert f"code git commit {'c0ffee' * 6}abcd, and changes that were not committed" in words
    assert "machine AMD EPYC, 2 cores, 16.5 GB; NVIDIA H100; computed on a GPU; a cluster of 3 machines" in words
    assert "3 machines: 48 CPUs, 3 GPUs (H100)" in words
    assert "time 125.2 s, in 2 commands" in words


def test_config_names_the_machine_that_computed_something_last(run: Folder) -> None:
    def computed_nothing(manifest: dict[str, Any]) -> None:
        computed, nothing = manifest["machine"], {**manifest["machine"], "device": None}
        manifest["earlier"] = [{}, {"machine": computed}, {"machine": nothing}]
        manifest["machine"] = {**nothing, "cpu": "a laptop", "cluster": None}

    change(run, "manifest.json", computed_nothing)
    assert "machine AMD EPYC, 2 cores, 16.5 GB; NVIDIA H100; computed on a GPU; a cluster" in drawn(run)


def test_config_of_an_older_run_says_what_is_known(run: Folder) -> None:
    change(run, "manifest.json", lambda manifest: [manifest.pop(key) for key in made.MADE_BY])
    words = drawn(run)
    assert "config hash" in words
    assert "git commit" not in words


# -- the gallery


def test_gallery_says_how_many_of_how_many_it_shows(run: Folder) -> None:
    index = run.read_table("maps/index.parquet").to_pylist()
    correct = sum(row["label"] == row["predicted"] for row in index)
    words = drawn(run)
    assert f"Shown: 1 of {correct} correct and {min(1, len(index) - correct)} of {len(index) - correct} wrong" in words
    assert "all of them lie in maps/" in words
    assert words.count("(fold ") == 1 + min(1, len(index) - correct)


def test_gallery_draws_another_map_where_there_is_no_gradient() -> None:
    names = ["heatmap", "smoothgrad_true", "smoothgrad_predicted", "integrated_gradients_predicted"]
    assert gallery.map_method(names, "maps/a.npz") == "integrated_gradients"
    assert gallery.map_method([*names, "gradient_predicted"], "maps/a.npz") == "gradient"
    with pytest.raises(ValueError, match="holds no map of the predicted class"):
        gallery.map_method(["heatmap"], "maps/a.npz")


@pytest.mark.parametrize(
    ("kind", "method", "expected"),
    [
        ("heatmap", "gradient", ("gaze heatmap", "ms", "gradient", "logit per ms")),
        ("heatmap", "integrated_gradients", ("gaze heatmap", "ms", "integrated gradients", "logit")),
        ("scanpath", "smoothgrad", ("scanpath", "intensity", "SmoothGrad", "logit per intensity")),
    ],
)
def test_units_follow_picture_and_method(kind: str, method: str, expected: tuple[str, ...]) -> None:
    words = given(Results({"pictures": {"kind": kind}}))
    assert (words.name, words.unit, method_name(method), map_unit(method, words.unit)) == expected


# -- scores: what labels were exchanged, and whole participants


def test_scores_name_the_exchange_of_labels_the_second_question_and_why_nothing_is_claimed(run: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        test = metrics["permutation"] | {"p": 0.04}
        metrics["permutation"] = test | {"reason": "too few", "further": test | {"design": "within stimuli", "p": 0.2}}
        metrics["held_out"] = {"participants": 6, "stimuli": 12}

    change(run, "metrics.json", edit)
    words = drawn(run).replace("\N{NO-BREAK SPACE}", " ")
    assert "Permutation test of balanced accuracy, within participants: p = 0.040" in words
    assert "gain over logistic regression: p = 0.005" in words
    assert "Nothing can be claimed: too few." in words
    assert "A second test of balanced accuracy, within stimuli: p = 0.200" in words
    assert "95 % bootstrap interval over participants and stimuli" in words
    assert "Owen, A. B. (2007)" in words
    assert "Scores per participant" not in words


def test_scores_of_whole_participants_stand_beside_those_of_trials(run: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        entry = {"value": 0.75, "ci95": [0.5, 1.0], "n": 8}
        shown = ("balanced_accuracy", "accuracy", "auroc")
        metrics["per_person"] = {name: dict.fromkeys(shown, entry) for name in metrics["predictors"]}

    change(run, "metrics.json", edit)
    section = classification.scores(read_results(run), "Scores")
    of = table(section, "Scores per participant")
    assert heads(of) == ["predictor", "balanced accuracy", "accuracy", "area under ROC"]
    assert of.rows[0] == ["CNN", *[Cell("0.750", "[0.500, 1.000]")] * 3]


def test_maps_of_a_model_that_is_not_above_chance_say_so(run: Folder) -> None:
    given, section = Given(), explanations.section
    shown = section(run, read_results(run), given)
    assert shown is not None
    assert Text(explanations.UNSHOWN) not in shown.blocks
    change(run, "metrics.json", lambda metrics: metrics["permutation"].update(p=0.5))
    unshown = section(run, read_results(run), given)
    assert unshown is not None
    assert unshown.blocks[0] == Text(explanations.UNSHOWN)


def test_run_of_before_exchanges_were_named_is_still_drawn(run: Folder) -> None:
    def edit(metrics: dict[str, Any]) -> None:
        del metrics["held_out"]
        for key in ("design", "units", "p_below", "gain"):
            del metrics["permutation"][key]

    change(run, "metrics.json", edit)
    words = drawn(run)
    assert "Permutation test of balanced accuracy, within participants" in words
    assert "95 % bootstrap interval over participants." in words


def test_maps_are_called_what_they_are(run: Folder) -> None:
    groups = explanations.map_figures(run, read_results(run), Given())
    caption = next(figure.caption for group in groups.values() for figure in group if figure.name == "class_maps")
    assert "contribution" not in caption
    assert "Gradient: how the logit would change with a little more gaze there (a sensitivity); red: it" in caption
    assert "Integrated gradients: what the gaze there adds to the logit" in caption
    assert map_meaning("smoothgrad", "ink").startswith("SmoothGrad: the mean over noisy copies of how the logit would")
