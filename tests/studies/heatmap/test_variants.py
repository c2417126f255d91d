# SPDX-License-Identifier: Apache-2.0
"""A robustness grid of the heatmap study, here: what is reported, what is done again, and what of it can be checked.

The labels have nothing to do with where people look: a gain over what is had without gaze must hold in no setting.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gazeray.config import validate
from gazeray.engine.experiment import Outcome
from gazeray.engine.variants import left_unsaid
from gazeray.report import figures
from gazeray.report.text_tables import classification_table
from gazeray.storage import Folder
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.unit import Json
from tests.report.pages import read_page
from tests.studies.heatmap.test_study import config, write_study
from tests.studies.here import faults, whole

WORDS = ["train.epochs=2", "scores.resamples=200", "scores.permutations=199", "explain.methods=[gradient]"]
GRID = "variants.grid={quality: {min_duration_ms: [null, 100000]}, render: {sigma_px: [40, 20]}}"


def stamps(run: Folder) -> dict[str, int]:
    """When each file was written."""
    return {stat.path: stat.mtime_ns for stat in run.list()}


@pytest.fixture(scope="module")
def declaration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("six") / "data", {})


def run(declaration: Path, *words: str) -> Outcome:
    return whole(HeatmapStudy(config(declaration, *WORDS, *words)))


@pytest.fixture(scope="module")
def plain(declaration: Path) -> tuple[Json, dict[str, int], dict[str, str]]:
    """The run without variants: its metrics, when its files were written, the hashes of its units."""
    outcome = run(declaration)
    assert outcome.metrics is not None
    return outcome.metrics, stamps(outcome.run), outcome.run.read_json("manifest.json")["unit_hashes"]


@pytest.fixture
def varied(declaration: Path, plain: tuple[Json, dict[str, int], dict[str, str]]) -> Outcome:
    """The same run, asked for variants; after the first test there is nothing to do."""
    return run(declaration, "variants.seeds=2", GRID)


def points(outcome: Outcome) -> list[Json]:
    assert outcome.metrics is not None
    found: list[Json] = outcome.metrics["variants"]["settings"]
    return found


def test_every_setting_is_reported_the_impossible_ones_too(varied: Outcome) -> None:
    settings = [point["setting"] for point in points(varied)]
    assert settings == [
        {**setting, **seed}
        for setting in (
            {}, {"render.sigma_px": 20.0}, {"quality.min_duration_ms": 100000.0},
            {"quality.min_duration_ms": 100000.0, "render.sigma_px": 20.0},
        )
        for seed in ({}, {"run.seed": 1})
    ]  # fmt: skip
    for point in points(varied):
        if "quality.min_duration_ms" in point["setting"]:
            assert "no usable trial is left" in point["why"]
            assert "value" not in point
        else:
            assert 0 <= point["value"] <= 1
            assert len(point["ci95"]) == 2
            assert point["gain"]["over"] in ("majority", "stimulus_only", "nuisance", "without_gaze")
    assert varied.metrics is not None
    found = varied.metrics["variants"]
    assert (found["count"], found["scored"], found["seeds"]["n"]) == (8, 4, 2)


def test_numbers_and_units_of_the_run_itself_stay(
    varied: Outcome, plain: tuple[Json, dict[str, int], dict[str, str]]
) -> None:
    metrics, written, hashes = plain
    assert varied.metrics is not None
    assert {key: value for key, value in varied.metrics.items() if key != "variants"} == metrics
    now = varied.run.read_json("manifest.json")["unit_hashes"]
    assert {name: now[name] for name in hashes} == hashes
    kept = {path: when for path, when in written.items() if re.match(r"units/|maps/.*\.npz", path)}
    assert kept.items() <= stamps(varied.run).items(), "no unit of the run itself is done again"
    own = points(varied)[0]
    assert own["value"] == metrics["rows"]["cnn"]["balanced_accuracy"]["value"]


def test_variant_without_maps_scores_as_a_run_of_its_own(varied: Outcome, declaration: Path, tmp_path: Path) -> None:
    (there,) = [point for point in points(varied) if point["setting"] == {"render.sigma_px": 20.0, "run.seed": 1}]
    alone = run(declaration, "render.sigma_px=20", "run.seed=1", f"run.dir={tmp_path}")
    assert alone.metrics is not None
    assert there["value"] == alone.metrics["rows"]["cnn"]["balanced_accuracy"]["value"]
    assert there["ci95"] == alone.metrics["rows"]["cnn"]["balanced_accuracy"]["ci95"]
    maps = [path for path in stamps(varied.run) if path.startswith("maps/")]
    assert len(maps) == 24 + 1, "variants have none"


def test_labels_that_have_nothing_to_do_with_gaze_gain_in_no_setting(varied: Outcome) -> None:
    assert varied.metrics is not None
    assert varied.metrics["variants"]["gain_holds"] == {"n": 0, "of": 4, "share": 0.0}


def test_second_call_does_nothing_and_more_seeds_only_what_is_new(varied: Outcome, declaration: Path) -> None:
    before = stamps(varied.run)
    assert stamps(run(declaration, "variants.seeds=2", GRID).run) == before
    more = run(declaration, "variants.seeds=3", GRID)
    assert len(points(more)) == 12
    after = stamps(more.run)
    units = {path: when for path, when in before.items() if path.startswith("units/")}
    assert units.items() <= after.items()
    assert len({path.split("/")[1] for path in after if path.startswith("units/")}) == 2 * 2 * 2 * 3
    assert faults(more.run) == []


def test_what_a_kill_left_undone_is_done_and_nothing_else(varied: Outcome, declaration: Path) -> None:
    metrics, (name, *_) = varied.metrics, [one["name"] for one in varied.run.read_json("manifest.json")["variants"]]
    before = stamps(varied.run)
    varied.run.delete(f"units/{name}-fold-1/result.json")
    again = run(declaration, "variants.seeds=2", GRID)
    assert again.metrics == metrics
    changed = {path for path, when in stamps(again.run).items() if before.get(path) != when}
    assert {path.split("/")[1] for path in changed if path.startswith("units/")} == {f"{name}-fold-1"}


def test_run_is_valid_and_a_changed_variant_is_found(varied: Outcome) -> None:
    assert faults(varied.run) == []
    metrics = varied.run.read_json("metrics.json")
    name = metrics["variants"]["settings"][1]["name"]
    metrics["variants"]["settings"][1]["value"] += 0.125
    metrics["variants"]["settings"][2]["left_out"] = {"no reason": 3}
    varied.run.write_json("metrics.json", metrics)
    told = "\n".join(faults(varied.run))
    assert "metrics.json: variants.settings[1].value is" in told
    assert "metrics.json: variants.settings[2].left_out.no reason" in told
    varied.run.delete_folder(f"units/{name}-fold-0")
    assert f"units/{name}-fold-0/result.json: missing" in "\n".join(faults(varied.run))


def test_setting_that_was_left_out_of_the_manifest_is_found(varied: Outcome) -> None:
    manifest = varied.run.read_json("manifest.json")
    gone = manifest["variants"].pop(1)
    told = list(left_unsaid(HeatmapStudy(validate(HeatmapConfig, manifest["config"])), manifest))
    assert told == [
        f"manifest.json: variants are not the 7 that the config asks for: without {json.dumps(gone['setting'])}"
    ]


def test_report_says_first_in_how_many_settings_the_gain_holds(
    varied: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = figures.to_png(figures.new_figure(1, 1))
    monkeypatch.setattr(figures, "to_png", lambda figure: blank)
    write_report(varied.run)
    page = read_page(varied.run)
    assert "variants" in page.sections
    start = page.words[page.words.rindex("Other settings, other seeds") :]
    assert re.match(
        r"Other settings, other seeds The gain over .* holds in none of the 4 that have one, of 8 settings\.", start
    )
    assert "4 settings have no score" in start
    assert "no usable trial is left" in start
    assert "fold-0" not in start, "units of variants are none of the run itself"
    assert varied.metrics is not None
    shown = classification_table(varied.metrics).splitlines()
    start = shown.index("variants: 8 settings, 4 of them scored")
    said = " ".join(" ".join(shown[start:]).split())
    assert "balanced accuracy 0." in said
    assert "gain over the best that can be had without gaze holds in 0 of 4" in said
    assert "2 seeds: mean 0." in said
    assert max(map(len, shown[start:])) <= 80


def test_without_variants_only_their_units_stay_and_nothing_speaks_of_them(
    varied: Outcome, declaration: Path, plain: tuple[Json, dict[str, int], dict[str, str]]
) -> None:
    units = {path: when for path, when in stamps(varied.run).items() if path.startswith("units/v-")}
    assert units
    again = run(declaration)
    assert again.metrics == plain[0]
    there = stamps(again.run)
    assert {path: when for path, when in there.items() if path.startswith("units/v-")} == units
    assert not [path for path in there if path == "variants.parquet"]
    assert again.run.read_json("manifest.json")["unit_hashes"] == plain[2]
    assert faults(again.run) == []
    back = run(declaration, "variants.seeds=2", GRID)
    assert back.metrics == varied.metrics
    assert units.items() <= stamps(back.run).items(), "nothing but scoring is done"


def test_damaged_unit_of_a_setting_that_is_not_asked_for_is_found(varied: Outcome, declaration: Path) -> None:
    (name, *_) = [one["name"] for one in varied.run.read_json("manifest.json")["variants"]]
    again = run(declaration)
    again.run.write_text(f"units/{name}-fold-1/metrics.jsonl", "")
    again.run.write_text("units/v-1-fold-0/result.json", "{}")
    found = {line.partition(":")[0] for line in faults(again.run)}
    assert found == {f"units/{name}-fold-1/metrics.jsonl", "units/v-1-fold-0"}
    back = run(declaration, "variants.seeds=2", GRID)
    assert back.metrics == varied.metrics
    assert not back.run.exists("units/v-1-fold-0/result.json"), "no name of a variant"
    assert faults(back.run) == []
