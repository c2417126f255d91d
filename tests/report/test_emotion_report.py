# SPDX-License-Identifier: Apache-2.0
"""The page of the emotion study: complete, self-contained, and still there when half of the run is not."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save
from torch import nn

from gazeray.models.emotion import Fusion, Head, PictureNet, ScanpathNet, SeriesNet
from gazeray.report.blocks import Figure, Section, Table, Text
from gazeray.report.results import Results, read_results
from gazeray.report.words import number
from gazeray.storage import Folder
from gazeray.studies.emotion import control_section, sections, signal_section
from gazeray.studies.emotion.methods import methods
from gazeray.studies.emotion.report import write_report
from gazeray.studies.emotion.views import views
from tests.report import fabricate_emotion as made
from tests.report.cards import run_code
from tests.report.pages import change, check_self_contained, figure_names, read_page

SECTIONS = ["scores", "branches", "controls", "levels", "calibration", "spread", "signals", "augmentation", "search",
            "learning", "per-fold", "per-fold-2", "tested", "provenance", "flow", "quality", "rejected", "methods",
            "config"]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    run = Folder(tmp_path_factory.mktemp("emotion") / "run")
    made.fabricate(run, made.EmotionScene(searched=True))
    return run


@pytest.fixture
def run(source: Folder, tmp_path: Path, words_only: None) -> Folder:
    """A copy to be changed; figures are blank."""
    shutil.copytree(source.uri, tmp_path / "run")
    return Folder(tmp_path / "run")


def figures_of(section: Section | None) -> dict[str, Figure]:
    assert section is not None
    return {figure.name: figure for figure in section.figures()}


def tables_of(section: Section | None) -> dict[str, Table]:
    assert section is not None
    return {block.label: block for block in section.blocks if isinstance(block, Table)}


def texts(section: Section | None) -> str:
    assert section is not None
    return " ".join(block.words for block in section.blocks if isinstance(block, Text))


def test_page_holds_every_section_and_needs_nothing_else(emotion_report: Folder) -> None:
    check_self_contained(emotion_report)
    assert read_page(emotion_report).sections == SECTIONS
    assert set(figure_names(emotion_report)) == {
        "ladder", "branches", "importance", "confusion-1", "usage-1", "confusion-2", "usage-2", "calibration-1",
        "calibration-2", "people-1", "people-2", "pictures-1", "pictures-2", "courses-1", "courses-2", "augmentation",
        "parallel", "learning_curves",
    }  # fmt: skip
    assert len(emotion_report.read_bytes("report.html")) < 5_000_000
    words = read_page(emotion_report).words
    assert "Telling arousal and valence from signals, scanpath and picture" in words
    assert "the two lines are not to be compared" in words
    card = emotion_report.read_text("model_card.md")
    assert "Not shown: that gaze and body add anything to valence" in card
    assert "## Every row beside every other" in card


def test_every_row_stands_in_the_table_with_the_numbers_of_metrics_json(run: Folder) -> None:
    write_report(run)
    words, metrics = read_page(run).words, run.read_json("metrics.json")
    for label, own in metrics["labels"].items():
        for key, row in own["rows"].items():
            assert metrics["predictors"][key]["label"] in words
            for metric in ("balanced_accuracy", "qwk", "log_loss"):
                if row[metric]["value"] is not None:
                    assert number(row[metric]["value"]) in words, (label, key, metric)
    assert "Participants are held out: participant mean (macro recall" in words


def test_one_label_of_two_classes_from_signals_alone(tmp_path: Path, undrawn: None) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.EmotionScene(two_classes=True, controls=False, signal=0.0))
    write_report(run)
    page = read_page(run)
    assert [name for name in SECTIONS if name not in page.sections] == [
        "controls", "augmentation", "search", "per-fold-2",
    ]  # fmt: skip
    assert "One branch alone was fitted: series." in page.words
    assert "Signals are scaled within each person" in page.words
    assert "Telling mos from signals" in page.words
    assert "Mos (mos < 4, mos >= 4)" not in page.words  # one label needs no heading


def test_page_is_drawn_of_a_run_that_has_only_begun(run: Folder) -> None:
    for name in ("metrics.json", "predictions.parquet", "channels.parquet", "courses.npz", "augmentation.npz",
                 "rejects.parquet"):  # fmt: skip
        run.delete(name)
    write_report(run)
    words = read_page(run).words
    assert "No verdict, because nothing was scored." in words
    assert "No fold was tested: there are no scores." in words


def test_page_is_drawn_where_a_fold_failed_or_nothing_was_predicted(tmp_path: Path, undrawn: None) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.EmotionScene(failed=(1,)))
    write_report(run)
    words = read_page(run).words
    assert "fold-1: failed. ValueError: no trial is left" in words
    assert "Never tested: P02, P05, P08, P11" in words
    run.delete("predictions.parquet")
    write_report(run)
    assert "calibration" not in read_page(run).sections


def test_methods_say_what_was_fitted(run: Folder) -> None:
    results = read_results(run)
    found = texts(methods(results, views(results)))
    assert "moved by one random affine, in 4 of 5 draws on average" in found
    assert "proportional odds" not in found
    results.config["model"]["head"] = "ordinal"
    assert "proportional odds (McCullagh, 1980)" in texts(methods(results, views(results)))


@pytest.mark.parametrize("hold_out", ["stimuli", "both", "neither"])
def test_each_split_says_who_was_tested_where(tmp_path: Path, words_only: None, hold_out: str) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.EmotionScene(hold_out=hold_out, controls=False, people=7))
    write_report(run)
    words = read_page(run).words
    told = {"stimuli": "Everybody is on both sides", "both": "crossed with every group", "neither": "at random: people"}
    assert told[hold_out] in words
    assert ("stimuli tested" in words) == (hold_out != "neither")
    assert ("fold trials: train trials: validation trials: test" in words) == (hold_out == "neither")


def test_a_metric_that_is_not_known_is_named(run: Folder) -> None:
    change(run, "metrics.json", lambda metrics: metrics["labels"]["valence"]["metrics_shown"].append("luck"))
    with pytest.raises(ValueError, match="metric luck is none of"):
        write_report(run)


def test_a_level_that_the_label_does_not_have_is_named(run: Folder) -> None:
    table = run.read_table("predictions.parquet")
    place = table.column_names.index("arousal")
    run.write_table("predictions.parquet", table.set_column(place, "arousal", pa.array(["eight"] * table.num_rows)))
    with pytest.raises(ValueError, match="label eight is none of the classes 1, 2"):
        write_report(run)


def test_the_code_of_the_card_loads_the_network_of_a_fold(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its search chose more than the config has."""
    chosen = {"model.dropout": 0.1, "model.recurrence": "gru", "train.learning_rate": 0.001}
    change(run, "manifest.json", lambda manifest: manifest.update(searched=[{"values": chosen}] * 3))
    built = {"series": SeriesNet(10, 301, "gru"), "scanpath": ScanpathNet(64), "picture": PictureNet(nn.Identity(), 24)}
    network = Fusion(built, {name: Head(7) for name in made.LABELS}, 0.1).eval()
    shares = {f"learner.{kind}.{name}": torch.full((7,), 1 / 7) for kind in ("prior", "trained_prior")
              for name in made.LABELS}  # fmt: skip
    run.write_bytes("units/fold-0/checkpoint/model.safetensors", save({**network.state_dict(), **shares}))
    write_report(run)
    names = run_code(run, monkeypatch)
    with torch.inference_mode():
        told, found = network(names["inputs"]), names["model"](names["inputs"])
    assert set(told) == set(made.LABELS)
    for label, log_p in told.items():
        torch.testing.assert_close(found[label], log_p)


# -- branches


def test_branches_say_what_each_adds_to_the_others(run: Folder) -> None:
    results = read_results(run)
    told = views(results)
    table = tables_of(sections.branches(results, told))["What each branch adds"]
    gain = told[0].gain(made.ALL, "balanced_accuracy", "scanpath-picture")["value"]
    assert [row[0] for row in table.rows] == ["series", "scanpath", "picture"]
    assert next(iter(table.rows))[2].words == number(gain, 3, True)  # type: ignore[attr-defined]


def test_gains_are_over_rows_that_answer_the_same_question(run: Folder) -> None:
    """A control is compared with the model that it is of, in its own section."""
    results = read_results(run)
    told = views(results)
    over = [row[0] for row in tables_of(sections.table(results, told))["Gains in arousal"].rows]
    assert "participant + picture" in over
    assert not {told[0].label(key) for key in made.CONTROLS} & set(over)


def test_controls_stand_in_the_order_of_their_questions(run: Folder) -> None:
    results = read_results(run)
    rows = tables_of(control_section.section(results, views(results)))["Controls of arousal"].rows
    assert [row[0] for row in rows] == [
        "series, as it is", "window 500 ms later", "without the last 1000 ms", "labels shuffled within participants",
        "signals of somebody else, same picture",
    ]  # fmt: skip


def test_importance_lists_channels_then_branches_and_leaves_gaps(run: Folder) -> None:
    entry = {"balanced_accuracy": {"value": 0.2, "ci95": None, "n": 9}}
    change(run, "metrics.json", lambda metrics: metrics["importance"]["arousal"].update(permuted_picture=entry))
    results = read_results(run)
    table = tables_of(control_section.section(results, views(results)))["Importance of channels"]
    assert [row[0] for row in table.rows] == [*made.UNITS, "picture"]
    last = [cell.words for _, cell in table.cells(list(table.rows)[-1])]
    assert last == ["picture", "–", "+0.200", "–", "–"]


# -- signals


def test_quality_counts_what_is_lost_flat_and_refused(run: Folder) -> None:
    results = read_results(run)
    section = signal_section.section(run, results, views(results))
    rows = {row[0]: row for row in tables_of(section)["Quality of the channels"].rows}
    heads = [column.head for column in tables_of(section)["Quality of the channels"].columns]
    places = {head: place for place, head in enumerate(heads)}
    assert rows["gsr"][places["nothing left (trials)"]] == 16
    assert rows["gsr"][places["refused (trials)"]] == 16
    assert rows["heart_rate"][places["flat (trials)"]] == 12
    assert rows["x"][places["nothing left (trials)"]] == 0
    refused = tables_of(section)["Channels refused"].rows
    assert [list(row) for row in refused] == [[16, "lost_share > limit 0.9", 1]]
    lost = next(iter(tables_of(section)["Lost by person"].rows))
    assert (lost[0], lost[list(made.UNITS).index("gsr") + 1]) == ("P02", "100.0")
    assert "1 person has nothing of at least one channel in most trials." in texts(section)


def test_a_channel_that_nobody_has_is_a_dash(run: Folder) -> None:
    table = run.read_table("channels.parquet").to_pandas()
    table.loc[table["channel"] == "gsr", ["low", "high", "saturated_share"]] = np.nan
    table.loc[table["channel"] == "gsr", "lost_share"] = 1.0
    run.write_table("channels.parquet", pa.Table.from_pandas(table, preserve_index=False))
    results = read_results(run)
    rows = {row[0]: row for row in tables_of(signal_section.section(run, results, ()))["Quality of the channels"].rows}
    assert rows["gsr"].count("–") == 3


def test_courses_are_drawn_for_each_label_with_what_they_say(run: Folder) -> None:
    results = read_results(run)
    drawn = figures_of(signal_section.section(run, results, views(results)))
    assert set(drawn) == {"courses-1", "courses-2"}
    assert "gsr (ohm): 2.7" in drawn["courses-1"].alt
    assert "how far each trial is from the mean of its person" in drawn["courses-1"].caption
    assert "at 1, 3.2" in drawn["courses-1"].alt


def test_pairs_that_lack_an_array_are_a_fault_by_name(run: Folder) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, before=np.zeros((1, 4, 4, 3), np.uint8))
    run.write_bytes("augmentation.npz", buffer.getvalue())
    with pytest.raises(ValueError, match=r"augmentation\.npz: holds no after, gaze_before, gaze_after"):
        signal_section.augmentation(run, read_results(run))


def test_a_run_without_signals_or_moved_pictures_has_no_such_section(tmp_path: Path) -> None:
    empty: tuple[Any, ...] = (Folder(tmp_path), Results({"classes": []}))
    assert signal_section.section(*empty, ()) is None
    assert signal_section.augmentation(*empty) is None
