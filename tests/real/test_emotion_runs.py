# SPDX-License-Identifier: Apache-2.0
"""The emotion study on real recordings: what is known of them comes out, and no more than that."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazeray.config import load_config
from gazeray.engine.experiment import Outcome
from gazeray.report.results import read_results
from gazeray.storage import Folder
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.study import EmotionStudy
from gazeray.studies.emotion.views import views
from gazeray.studies.emotion.words import verdict
from tests.gaze.readers.test_gazepoint_simulated import DECLARED, UNITS, kiosk_folder
from tests.running import CONFIGS, HERE
from tests.studies.here import faults, in_this_process, whole

pytestmark = pytest.mark.real

RATE = "train.learning_rate=0.002"
"""As in docs/results.md."""

SIGNALS_ALONE = ("model.branches=[series]", "folds.outer=8", "scores.resamples=500", "scores.permutations=200",
                 "controls.permute=1", HERE)  # fmt: skip


def study_on(name: str, root: Path, *words: str) -> EmotionStudy:
    declared = [f"data.dataset={CONFIGS / f'datasets/{name}.yaml'}", f"data.root={root / f'emotion_{name}'}"]
    return EmotionStudy(load_config(EmotionConfig, CONFIGS / "cv_emotion.yaml", [*declared, *words]))


def rows_of(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The scores of all rows for the first label."""
    assert outcome.metrics is not None
    assert faults(outcome.run) == []
    rows: dict[str, dict[str, Any]] = next(iter(outcome.metrics["labels"].values()))["rows"]
    return rows


def said(outcome: Outcome) -> str:
    results = read_results(outcome.run)
    return verdict(results, views(results))


@pytest.mark.parametrize(("name", "people", "stimuli"), [("ier2023", 24, 1), ("rcqoea", 32, 40)])
def test_no_order_is_made_of_tables_that_are_sorted_by_name(
    real_data: Path, name: str, people: int, stimuli: int
) -> None:
    found = study_on(name, real_data).open()
    assert np.isnan(found.data.order).all()
    assert not any("trial order" in line for line in found.data.notes)
    assert any(line.startswith(f"people: {people}; stimuli: {stimuli};") for line in found.lines)
    assert found.data.branches == ("series",)
    assert set(found.data.left_out) == {"scanpath", "picture"}


def test_every_signal_of_gazepoint_with_biometrics_becomes_examples(tmp_path: Path) -> None:
    """Where people look jumps from sample to sample in this simulation, so that there are no scanpaths."""
    (tmp_path / "kiosk.yaml").write_text(yaml.safe_dump(DECLARED))
    words = [f"data.dataset={tmp_path / 'kiosk.yaml'}", f"data.root={kiosk_folder()}", "model.branches=[series]",
             "signals.samples=41", f"run.dir={tmp_path}"]  # fmt: skip
    study = EmotionStudy(load_config(EmotionConfig, None, words))
    source = study.open()
    eyes = {"x", "y", "pupil_mm"}
    assert eyes | (set(UNITS) - {"pupil_left", "pupil_right"}) <= set(source.data.channels)
    stores, _ = in_this_process(study.passes(source, Folder(tmp_path / "stores")))
    items = study.items(source, stores)
    assert (len(items), items.rejects) == (144, [])
    series = stores.examples.take(np.arange(144), ["series"])["series"]
    there = dict(zip(source.data.channels, np.isfinite(series).mean(axis=(0, 2)), strict=True))
    assert min(there[name] for name in (*eyes, "gsr", "heart_rate")) > 0.95


@pytest.mark.slow
@pytest.mark.nightly
def test_pupils_tell_of_arithmetic_and_so_does_the_length_of_a_recording(real_data: Path, tmp_path: Path) -> None:
    """Known: AUROC 0.63 (all trials) and 0.76 (mean per participant) of a logistic regression on simple features."""
    window = ("signals.start_ms=2000", "signals.duration_ms=38000", "signals.samples=191", "train.epochs=30", RATE)
    outcome = whole(study_on("ier2023", real_data, *SIGNALS_ALONE, *window, f"run.dir={tmp_path}"))
    rows = rows_of(outcome)
    assert 0.58 < rows["ridge"]["auroc"]["value"] < 0.8
    assert rows["series"]["auroc"]["ci95"][0] > 0.5
    assert rows["series"]["auroc"]["value"] > 0.6
    assert rows["nuisance"]["auroc"]["value"] > 0.75
    assert not {"other_people", "retest"} & set(rows), "ratings of the one picture are all ratings"
    words = said(outcome)
    assert "not clearly better than what can be had without gaze and body (duration, rate, loss" in words
    assert "When and how a trial was recorded gives it away (duration, rate, loss alone" in words


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("hold_out", ["participants", "both"])
def test_skin_and_heart_tell_nothing_of_a_rating_that_the_video_explains(
    real_data: Path, tmp_path: Path, hold_out: str
) -> None:
    window = ("signals.duration_ms=29000", "signals.samples=117", "train.epochs=15", RATE, f"folds.hold_out={hold_out}")
    folds = ["folds.outer=4"] if hold_out == "both" else []
    outcome = whole(study_on("rcqoea", real_data, *SIGNALS_ALONE, *window, *folds, f"run.dir={tmp_path}"))
    rows = rows_of(outcome)
    for name in ("series", "ridge"):
        low, high = rows[name]["auroc"]["ci95"]
        assert low <= 0.5 <= high, name
    assert rows["other_people"]["auroc"]["value"] == pytest.approx(0.739, abs=0.02)
    words = said(outcome)
    assert "Mos: there is no clear evidence that the model tells it" in words
    assert "gives it away" not in words
    if hold_out == "both":
        assert rows["picture_mean"]["auroc"]["value"] is None
        assert rows["without_gaze"]["auroc"]["value"] < 0.54
        assert "All of it" not in words
    else:
        assert rows["picture_mean"]["auroc"]["value"] == pytest.approx(0.739, abs=0.02)
        assert "All of it is the stimulus: the mean rating of other people for the same picture alone scores" in words


# -- photographs, and people who like faces

PEOPLE, PLAIN = 8, 47
"""How many people, and how many photographs without a face."""


def rate_photographs(folder: Path, data: Path) -> list[str]:
    """A data set of OSIE's photographs with a face and as many others as `PLAIN`: a rating of 1 to 5 that is about 2
    higher where there is a face, with the style of the person and noise; a pupil that knows nothing. The words of its
    run."""
    with (data / "faces_osie/faces.csv").open() as text:
        faces = {row["image"] for row in csv.DictReader(text)}
    every = sorted(path.stem for path in (data / "saliency_osie/stimuli").glob("*.jpg"))
    shown = sorted(faces) + [name for name in every if name not in faces][:PLAIN]
    rng = np.random.default_rng(0)
    trials, samples = ["participant,trial,rating"], ["participant,trial,timestamp_ms,pupil"]
    for who in (f"p{number}" for number in range(PEOPLE)):
        style = rng.normal(0, 0.4)
        for name in rng.permutation(shown).tolist():
            rating = np.clip(round(2 + 2 * (name in faces) + style + rng.normal(0, 0.5)), 1, 5)
            trials.append(f"{who},{name},{rating:.0f}")
            samples += [f"{who},{name},{100 * at},{rng.normal(4, 0.1):.3f}" for at in range(12)]
    columns = ("participant", "trial", "timestamp_ms")
    declared = {
        "name": "faces",
        "labels": {"liking": {"levels": [1, 2, 3, 4, 5], "column": "rating"}},
        "trials": {"path": "trials.csv"},
        "pictures": {"path": "stimuli/{stimulus}.jpg"},
        "samples": {"reader": "delimited", "path": "samples.csv", "columns": {name: name for name in columns},
                    "channels": {"pupil": {"column": "pupil", "unit": "mm"}}},
    }  # fmt: skip
    (folder / "trials.csv").write_text("\n".join(trials) + "\n")
    (folder / "samples.csv").write_text("\n".join(samples) + "\n")
    (folder / "stimuli").symlink_to(data / "saliency_osie/stimuli")
    (folder / "faces.yaml").write_text(yaml.safe_dump(declared))
    return [f"data.dataset={folder / 'faces.yaml'}", "signals.duration_ms=1100", "signals.samples=12"]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_trained_network_tells_a_rating_of_photographs_by_what_is_on_them_and_an_untrained_one_does_not(
    real_data: Path, real_weights: Path, tmp_path: Path
) -> None:
    declared = rate_photographs(tmp_path, real_data)
    found = {}
    for weights in (str(real_weights / "mobilenet_v2-b0353104.pth"), "none"):
        words = [*declared, f"picture.weights={weights}", "picture.size_px=160", "model.branches=[picture]",
                 "folds.hold_out=stimuli", "folds.outer=5", "train.epochs=15", "controls.of=picture",
                 "scores.resamples=500", "scores.permutations=200", HERE, f"run.dir={tmp_path / 'runs'}"]  # fmt: skip
        outcome = whole(EmotionStudy(load_config(EmotionConfig, CONFIGS / "cv_emotion.yaml", words)))
        found[weights] = rows_of(outcome)["picture"]["spearman"]
    trained, untrained = found.values()
    assert trained["ci95"][0] > max(untrained["value"], 0.0)
    assert trained["value"] > untrained["value"] + 0.2
