# SPDX-License-Identifier: Apache-2.0
"""What is one is said to be one: reports of one participant, one trial, one fold; and what words round, tables do not
contradict."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import matplotlib.text
import numpy as np
import pyarrow as pa
import pytest

from gazeray.report import figures
from gazeray.report.blocks import Text, more
from gazeray.report.results import Results
from gazeray.report.sections import gallery, methods, quality
from gazeray.report.words import counted, digits_for, interval, number
from gazeray.storage import Folder
from gazeray.studies.heatmap import words
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.pictures.report import write_saliency_report
from tests.report import fabricate as made
from tests.report import fabricate_saliency

MANY_OF_ONE = re.compile(
    r"(?<![\d.,\N{MINUS SIGN}-])\b1 (?:test |more |other |inner |usable |whole )?(participants|people|trials|folds|"
    r"recordings|examples|rows|stimuli|pictures|observers|fixations|models|maps|epochs|times|units|cores|CPUs|GPUs|"
    r"machines|shuffles|resamples|settings|files|notes|reasons|failures|classes|penalties|predictors|commands|samples)\b"
)  # fmt: skip


def said(run: Folder, drawn: list[Any]) -> str:
    """Everything that a report says: the text, what the pictures are called for those who do not see them, and what
    stands in the figures."""
    page = run.read_text("report.html")
    page = page[page.index("<main>") : page.index("</main>")]
    alternatives = " ".join(re.findall(r'alt="([^"]*)"', page))
    text = html.unescape(re.sub(r"<[^>]+>", " ", page) + alternatives)
    labels = [item.get_text() for figure in drawn for item in figure.findobj(match=matplotlib.text.Text)]
    return " ".join(f"{text} {' '.join(labels)}".split())


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures, kept and not drawn; a picture of one pixel stands for each."""
    png, kept = figures.to_png(figures.new_figure(1, 1)), list[Any]()
    monkeypatch.setattr(figures, "to_png", lambda figure: kept.append(figure) or png)
    monkeypatch.setattr(gallery, "EXAMPLES", 1)
    return kept


def one_of_all(content: Any) -> Any:
    """A manifest in which every count is 1, and every list holds one thing."""
    if isinstance(content, dict):
        return {key: one_of_all(value) for key, value in content.items()}
    if isinstance(content, list):
        return [one_of_all(value) for value in content[:1]]
    return 1 if isinstance(content, int) and not isinstance(content, bool) else content


def test_report_of_one_of_everything_has_no_plural_of_one(tmp_path: Path, blank: list[Any]) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.Scene(participants=1, folds=1, epochs=1, gate=True, explained=True, rejects=1,
                                   maps_per_participant=1))  # fmt: skip
    manifest, metrics = run.read_json("manifest.json"), run.read_json("metrics.json")
    counted_ones = one_of_all({key: manifest[key] for key in ("counts", "machine", "config", "earlier")})
    steps = [one_of_all(manifest["flow"]["steps"][place]) for place in (0, -1)]
    run.write_json("manifest.json", manifest | counted_ones | {"flow": manifest["flow"] | {"steps": steps}})
    metrics["permutation"]["n"] = 1
    metrics["participants"] = {"P01": {"confusion": [[1, 0], [0, 0]]}}
    run.write_json("metrics.json", metrics)
    for name in ("predictions", "quality", "maps/index"):
        run.write_table(f"{name}.parquet", run.read_table(f"{name}.parquet").slice(0, 1))
    write_report(run)
    text = said(run, blank)
    assert "1 participant, 1 trial" in text
    assert "ROC over the 1 test trial" in text
    assert MANY_OF_ONE.findall(text) == []


def test_report_of_one_picture_has_no_plural_of_one(tmp_path: Path, blank: list[Any]) -> None:
    run = Folder(tmp_path / "run")
    fabricate_saliency.fabricate(run, fabricate_saliency.Scene(
        pictures=1, observers=1, folds=1, layers=("layer4",), probes=("ridge",), maps=1, size_px=(40, 30), rejects=1,
    ))  # fmt: skip
    manifest = run.read_json("manifest.json")
    run.write_json("manifest.json", manifest | {"counts": one_of_all(manifest["counts"])})
    write_saliency_report(run)
    text = said(run, blank)
    assert "1 picture, 1 observer, 1 fixation" in text
    assert MANY_OF_ONE.findall(text) == []


def test_a_plural_of_one_is_found() -> None:
    assert MANY_OF_ONE.findall("Read: 1 recordings of 11 participants, 0.1 trials, and 1 more rows") == [
        "recordings",
        "rows",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [((1, "trial"), "1 trial"), ((0, "trial"), "0 trials"), ((2, "stimulus", "stimuli"), "2 stimuli"),
     ((1, "stimulus", "stimuli"), "1 stimulus"), ((1.0, "GPU"), "1 GPU"), ((0.5, "GPU"), "0.5 GPUs")],
)  # fmt: skip
def test_counted_things_have_the_right_number(words: tuple[Any, ...], expected: str) -> None:
    assert counted(*words) == expected


def test_what_was_cut_is_said_in_the_right_number() -> None:
    assert more(1, "rows", "here") == [Text("And 1 more row: see here.")]
    assert more(2, "rows", "here") == [Text("And 2 more rows: see here.")]


# -- numbers in words


@pytest.mark.parametrize(
    ("value", "bounds", "chance", "gain"),
    [(0.504, [0.501, 0.9], 0.5, [0.1, 0.2]), (0.7, [0.5003, 0.9], 0.5, [0.1, 0.2]),
     (0.7, [0.6, 0.8], 0.5, [0.003, 0.1]), (0.7, [0.6, 0.8], 0.5, [-0.1, 0.0004]),
     (0.877, [0.838, 0.914], 0.5, [0.02, 0.1])],
)  # fmt: skip
def test_verdict_never_rounds_away_what_it_claims(
    value: float, bounds: list[float], chance: float, gain: list[float]
) -> None:
    entry = {"value": value, "ci95": bounds, "chance": chance}
    over = {"blind": {"value": sum(gain) / 2, "ci95": gain, "p": 0.001}}
    metrics = {
        "metrics": {"balanced_accuracy": entry}, "held_out": {"participants": 30},
        "permutation": {"p": 0.001, "p_below": 1.0, "gain": {"blind": {"p": 0.001, "p_below": 1.0}}},
        "rows": {"cnn": {"balanced_accuracy": entry | {"gain": over}}, "blind": {"balanced_accuracy": {"value": 0.6}}},
        "predictors": {"blind": {"label": "blind", "kind": "baseline"}},
        "without_gaze": {"best": "blind", "rows": ["blind"]},
    }  # fmt: skip
    verdict = words.verdict(Results({"data": {"label": "x"}, "classes": ["a", "b"]}, metrics))
    shown = [[float(part) for part in found.replace("\N{MINUS SIGN}", "-").split(", ")]
             for found in re.findall(r"\[([^\]]+)\]", verdict)]  # fmt: skip
    for told, true, nothing in zip(shown, (gain, bounds), (0.0, chance), strict=True):
        for rounded, bound in zip(told, true, strict=True):
            assert np.sign(round(rounded - nothing, 6)) == np.sign(bound - nothing)


@pytest.mark.parametrize(
    ("distances", "digits"), [((0.2, -0.01), 2), ((0.2, 0.004), 3), ((-0.0004,), 4), ((0.0, None, 1e-17), 2)]
)
def test_digits_are_as_many_as_keep_a_distance_visible(distances: tuple[float | None, ...], digits: int) -> None:
    assert digits_for(*distances) == digits


def test_words_and_tables_round_alike() -> None:
    for value in np.random.default_rng(0).uniform(-1, 1, 500):
        assert abs(float(number(value, 2).replace("\N{MINUS SIGN}", "-")) - value) <= 0.005 + 1e-12
    assert interval([0.4999, 0.5], 4) == "[0.4999, 0.5000]"


# -- what says nothing


def test_settings_of_the_simulation_are_shown_for_simulated_data_alone(tmp_path: Path) -> None:
    run = Folder(tmp_path / "run")
    made.fabricate(run, made.Scene(participants=2, folds=2, maps_per_participant=0))
    manifest = run.read_json("manifest.json")
    for dataset, there in (("simulated", True), ("mine.yaml", False)):
        config = {"data": {"dataset": dataset, "simulate": {"readers": 24}}, "seed": 0}
        section = methods.config(Results(manifest | {"config": config}))
        assert ("readers: 24" in str(section.blocks)) == there
        assert f"dataset: {dataset}" in str(section.blocks)
        assert config["data"]["simulate"] == {"readers": 24}  # type: ignore[index]


def test_quality_that_is_0_everywhere_is_a_sentence() -> None:
    table = pa.table({"participant": ["A", "B"], "trial": ["1", "1"], "lost_share": [0.1, 0.2],
                      "off_screen_share": [0.0, 0.0], "longest_gap_ms": [0.0, float("nan")]})  # fmt: skip
    section = quality.section(Results({}, quality=table))
    text = str(section.blocks)
    assert "0 in every trial: gaze off the screen (%), longest gap (ms)." in text
    assert "0 for everybody: gaze off the screen (%), longest gap (ms)." in text
    assert text.count("gaze off the screen") == 2 + 1  # and the histogram, which says it too
