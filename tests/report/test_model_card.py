# SPDX-License-Identifier: Apache-2.0
"""model_card.md: what was not found stands first, and every figure is that of the report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gazeray.report.blocks import Column, Figure, FigureRow, Listing, Section, Table, Terms, Text
from gazeray.report.model_card import Card, write_card
from gazeray.report.page import Page
from gazeray.report.results import Results, read_results
from gazeray.storage import Folder
from gazeray.studies.heatmap import card
from gazeray.studies.heatmap.card import card as heatmap_card
from gazeray.studies.heatmap.config import PictureKind
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.words import verdict
from gazeray.studies.pictures.card import card as probe_card
from gazeray.studies.pictures.report import write_saliency_report
from tests.report import fabricate_saliency
from tests.report.fabricate import Scene, fabricate
from tests.report.pages import change


def heatmap(folder: Path, edit: Any = None, **scene: Any) -> Folder:
    """A run folder of the heatmap study. edit: what is done to metrics.json."""
    run = Folder(folder)
    fabricate(run, Scene(participants=12, trials=12, folds=4, maps_per_participant=0, **scene))
    if edit is not None:
        metrics = run.read_json("metrics.json")
        edit(metrics)
        run.write_json("metrics.json", metrics)
    return run


def gain(ci95: list[float], p: float) -> Any:
    """Sets what the model gains over the best without gaze."""

    def edit(metrics: dict[str, Any]) -> None:
        best = metrics["without_gaze"]["best"]
        entry = metrics["rows"]["cnn"]["balanced_accuracy"].setdefault("gain", {})
        entry[best] = {"value": sum(ci95) / 2, "ci95": ci95, "p": p}
        metrics["permutation"].setdefault("gain", {})[best] = {"p": p, "p_below": 1 - p}

    return edit


def first_lines(run: Folder) -> list[str]:
    return [line for line in run.read_text("model_card.md").splitlines() if line][:3]


def test_model_at_chance_is_not_to_be_used_and_says_so_first(tmp_path: Path, undrawn: None) -> None:
    run = heatmap(tmp_path, effect=0.0)
    write_report(run)
    title, warning, said = first_lines(run)
    assert title == "# Predicting “sentence_type” from gaze"
    assert warning.startswith("**Not shown: that this model predicts “sentence_type” above chance")
    as_report = " ".join(verdict(read_results(run)).split()).replace("<", "\\<")
    assert said == as_report, "the card says what the report says"
    assert "- These data are simulated: nobody was recorded" in run.read_text("model_card.md")


def test_model_without_gain_over_what_needs_no_gaze_says_so_first(tmp_path: Path) -> None:
    found = heatmap_card(read_results(heatmap(tmp_path, gain([-0.1, 0.2], 0.3))))
    assert found.unshown[0].startswith("Not shown: that gaze adds anything")
    assert "What is not shown: see the first lines." in found.misuses
    assert not [use for use in found.uses if use.startswith("In a study")]


def test_model_with_gain_may_be_cited_but_not_used_on_a_person(tmp_path: Path) -> None:
    found = heatmap_card(read_results(heatmap(tmp_path, gain([0.1, 0.3], 0.001))))
    assert not found.unshown
    assert [use for use in found.uses if use.startswith("In a study")]
    assert "Decisions about single people" in " ".join(found.misuses)


def test_run_that_never_asked_what_can_be_had_without_gaze_says_so(tmp_path: Path) -> None:
    run = heatmap(tmp_path, lambda metrics: metrics.pop("without_gaze"))
    assert heatmap_card(read_results(run)).unshown[0].startswith("Not asked: ")


def test_run_without_scores_gets_a_card_that_shows_nothing(tmp_path: Path, undrawn: None) -> None:
    run = heatmap(tmp_path)
    run.delete("metrics.json")
    write_report(run)
    assert "Not shown" in first_lines(run)[1]


def test_card_holds_scores_notes_licence_seed_commit_and_command(tmp_path: Path, undrawn: None) -> None:
    run = heatmap(tmp_path, notes=("The label follows the day.",), seed=3)
    write_report(run)
    text, results = run.read_text("model_card.md"), read_results(run)
    entry = results.metrics["metrics"]["balanced_accuracy"]
    low, high = (f"{bound:.3f}".replace("-", "−") for bound in entry["ci95"])
    assert f"| **{entry['value']:.3f} [{low}, {high}]** | **{entry['chance']:.3f}** |" in text
    for words in ("- The label follows the day.", "- seed: 3", "- licence of the data: Apache-2.0", "- command: ",
                  "- code: git commit ", "stimulus alone", "Balanced accuracy of 12 participants: lowest",
                  "No weights lie in this folder."):  # fmt: skip
        assert words in text, words
    assert "```" not in text


def test_markup_of_the_data_stays_text(tmp_path: Path) -> None:
    run = heatmap(tmp_path)
    table = Table("t", [Column("a|b"), Column("c")], [["<b>", None], ["\\<i>", "\\|"]], shaded=[0])
    blocks = [Text("one\n# two", "Lead."), table, Terms([("term", "s3://key:secret@bucket/x")]), Listing(["<i>"]),
              FigureRow([Figure("f", b"", "what it shows", "caption")])]  # fmt: skip
    page = Page("t", "Of <script>", [], "It is <so>.", [Section("scores", "S", "S", blocks), None])
    change(run, "manifest.json", lambda manifest: manifest["data"].update(dataset="lab <img>", notes=["<b>"]))
    write_card(run, read_results(run), page, Card([], [], [], [], [], "No.", ""))
    text = run.read_text("model_card.md")
    assert re.findall(r"(?<!\\)<", text) == []
    assert "# Of \\<script>" in text
    assert "**Lead.** one # two\n" in text
    assert "| a\\|b | c |\n| --- | --- |\n| **\\<b>** |  |" in text
    assert "| \\\\\\<i> | \\\\\\| |" in text, "a backslash of the data takes no other's away"
    assert "what it shows" in text
    assert "secret" not in text


@pytest.mark.parametrize(("low", "shown"), [(0.1, True), (-0.1, False)])
def test_card_of_probes_follows_the_model_that_was_picked_fairly(tmp_path: Path, low: float, shown: bool) -> None:
    run = Folder(tmp_path)
    fabricate_saliency.fabricate(run, fabricate_saliency.SMALL)
    metrics = run.read_json("metrics.json")
    assert metrics["predictors"].get("chosen") is None or "chosen" in metrics["rows"]
    own = "chosen" if "chosen" in metrics["rows"] else metrics["best"]
    metrics["rows"][own]["information_gain"]["ci95"] = [low, 0.9]
    run.write_json("metrics.json", metrics)
    assert (probe_card(read_results(run)).unshown == []) == shown


def test_only_what_was_fitted_has_a_card(tmp_path: Path, undrawn: None) -> None:
    for name, scene in (("maps", fabricate_saliency.Scene(pictures=12, maps=1, models=("mine",))),
                        ("probes", fabricate_saliency.SMALL)):  # fmt: skip
        run = Folder(tmp_path / name)
        fabricate_saliency.fabricate(run, scene)
        write_saliency_report(run)
        assert run.exists("model_card.md") == (name == "probes")


def test_network_is_loaded_as_its_search_had_it_made() -> None:
    chosen = {"render.kind": "both", "render.height_px": 24, "model.width": 3, "train.learning_rate": 0.1}
    config = {"render": {"sigma_px": 40.0, "scanpath": {"kind": "channels"}}, "model": {"width": 16}}
    pictures = {"kind": "heatmap", "channels": 1, "blank": 0.0}
    results = Results({"config": config, "pictures": pictures, "searched": [{"values": {}}, {"values": chosen}]})
    drawn, picture, width = card._made_with(results, 1)
    assert (drawn.height_px, drawn.width_px, picture, width) == (24, 64, PictureKind("both", 4, 0.0), 3)
    drawn, picture, width = card._made_with(results, 0)
    assert (drawn.height_px, picture, width) == (32, PictureKind("heatmap", 1, 0.0), 16)
    screens = Results({"config": config, "pictures": {"kind": "screens", "channels": 3, "blank": 1.0}})
    assert card._made_with(screens, 0)[1].channels == 3
