# SPDX-License-Identifier: Apache-2.0
"""The emotion job from end to end on a small simulated study: what it leaves, what it does again, what it refuses."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gazeray.config import load_config
from gazeray.engine.cli import main
from gazeray.report.text_tables import labels_table
from gazeray.storage import Folder
from gazeray.store import Store
from gazeray.studies import EMOTION
from gazeray.studies.emotion.config import EmotionConfig
from gazeray.studies.emotion.study import EmotionStudy, Stores
from gazeray.synth.emotion_parameters import EmotionSimulation
from gazeray.synth.emotion_raw import simulate_raw
from tests.running import CONFIGS, HERE, ROOT, findings, no_report
from tests.studies.here import in_this_process

CONFIG = CONFIGS / "cv_emotion.yaml"
PEOPLE, PICTURES = 6, 8
DATA = [f"data.simulate.people={PEOPLE}", f"data.simulate.pictures={PICTURES}", "folds.outer=2", "signals.samples=61"]
SMALL = [
    *(*DATA, HERE, "train.epochs=2", "train.batch_size=16", "scanpath.side_px=32", "picture.size_px=32"),
    *("model.rows=alone_and_all", "scores.resamples=100", "scores.permutations=99", "augment.views=2"),
    *("controls.shift_ms=[500]", "controls.cut_ms=1000", "controls.shuffle_labels=true", "controls.swap_signals=true"),
    "controls.permute=2",
]
LABELS = ("arousal", "valence")
MODELS = ["series-scanpath-picture", "series", "scanpath", "picture"]
CONTROLS = ["swapped_signals", "shift+500", "cut-1000", "shuffled_labels"]
BASELINES = ["majority", "participant_mean", "picture_mean", "additive", "ridge", "nuisance", "without_gaze"]
UNITS = ["fold", "baselines", *MODELS[1:], *CONTROLS[1:]]
"""What comes before the number of the fold; the row of swapped signals is of the units of the series."""


def job(*words: str, report: Any = no_report) -> int:
    """jobs/cv_emotion.py in this process."""
    return main(
        EMOTION.study, EmotionConfig, "cv_emotion", CONFIG, report, words, table=labels_table, plan=EMOTION.plan
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a small run, with its report."""
    folder = tmp_path_factory.mktemp("runs")
    assert job(f"run.dir={folder}", *SMALL, report=EMOTION.report) == 0
    (run,) = folder.glob("cv_emotion-*")
    return run


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def done_at(run: Path) -> dict[str, int]:
    """The units and when they were finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in run.glob("units/*/result.json")}


# -- what it leaves


def test_every_file_of_the_contract_is_there(finished: Path) -> None:
    names = ["manifest.json", "metrics.json", "predictions.parquet", "channels.parquet", "courses.npz"]
    names += ["augmentation.npz", "rejects.parquet", "quality.parquet", "report.html", "model_card.md"]
    assert [name for name in names if not (finished / name).is_file()] == []
    manifest = read(finished, "manifest.json")
    assert manifest["status"] == "done"
    assert set(manifest["units"].values()) == {"done"}
    assert set(manifest["units"]) == {f"{name}-{fold}" for name in UNITS for fold in (0, 1)}
    assert manifest["branches"] == {"used": ["series", "scanpath", "picture"], "left_out": {}}
    assert [one["name"] for one in manifest["channels"]] == ["x", "y", "pupil_mm", "gsr", "heart_rate"]
    assert [one["name"] for one in manifest["data"]["labels"]] == list(LABELS)
    assert manifest["counts"]["examples"] == PEOPLE * PICTURES
    tested = [set(fold["test"]) for fold in manifest["folds"]]
    assert set.union(*tested) == set(map(str, range(1, 1 + PEOPLE)))
    assert not set.intersection(*tested)


def test_metrics_are_told_by_label_and_flat(finished: Path) -> None:
    metrics = read(finished, "metrics.json")
    assert metrics["model"] == MODELS[0]
    assert metrics["hold_out"] == "participants"
    assert metrics["leaks"] is None
    assert metrics["n"] == {"participants": PEOPLE, "stimuli": PICTURES, "trials": PEOPLE * PICTURES, "rejected": 0}
    assert metrics["metrics_shown"] == ["arousal.balanced_accuracy", "arousal.qwk", "valence.balanced_accuracy",
                                        "valence.qwk"]  # fmt: skip
    assert list(metrics["labels"]) == list(metrics["importance"]) == list(LABELS)
    for label, own in metrics["labels"].items():
        assert own["levels"] == list("1234567")
        assert sum(own["counts"]) == own["n"] == np.sum(own["confusion"]) == PEOPLE * PICTURES
        assert len(own["per_fold"]) == 2
        assert 0 < own["permutation"]["p"] <= 1
        for key, row in own["rows"].items():
            assert metrics["rows"][key][f"{label}.qwk"] == row["qwk"]
        entry = own["rows"][MODELS[0]]["balanced_accuracy"]
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert entry["value"] == own["metrics"]["balanced_accuracy"]["value"]
        gain = entry["gain"]["additive"]
        assert gain["value"] == pytest.approx(entry["value"] - own["rows"]["additive"]["balanced_accuracy"]["value"])
    assert set(metrics["importance"]["arousal"]) == {
        f"{kind}_{name}" for kind in ("without", "permuted") for name in ("x", "y", "pupil_mm", "gsr", "heart_rate")
    }


def test_there_are_rows_of_every_kind_and_what_has_no_mean_says_why(finished: Path) -> None:
    metrics = read(finished, "metrics.json")
    kinds = {kind: [key for key, one in metrics["predictors"].items() if one["kind"] == kind] for kind in
             ("model", "control", "baseline", "ceiling")}  # fmt: skip
    assert sorted(kinds["model"]) == sorted(MODELS)
    assert sorted(kinds["control"]) == sorted(CONTROLS)
    assert sorted(kinds["baseline"]) == sorted(BASELINES)
    assert sorted(kinds["ceiling"]) == ["other_people", "retest"]
    every = {key for keys in kinds.values() for key in keys}
    assert set(metrics["rows"]) == every - {"retest"}, "nobody rated a picture twice"
    for label in LABELS:
        values = {key: row[f"{label}.balanced_accuracy"] for key, row in metrics["rows"].items()}
        nothing = [key for key, entry in values.items() if entry["value"] is None]
        assert sorted(nothing) == ["participant_mean"]
        assert all(values[key]["why"] for key in nothing)


def test_predictions_are_probabilities_of_every_row_and_trial(finished: Path) -> None:
    table = Folder(finished).read_table("predictions.parquet").to_pandas()
    assert len(table) == PEOPLE * PICTURES
    assert not table.duplicated(["participant", "trial"]).any()
    for label in LABELS:
        for key in [*MODELS, *CONTROLS, "additive", "without_gaze", "other_people"]:
            p = np.stack(table[f"{label}:{key}"].to_list())
            assert p.shape == (len(table), 7)
            np.testing.assert_allclose(p.sum(axis=1), 1)
        p = {key: np.stack(table[f"{label}:{key}"].to_list()) for key in [*CONTROLS, "series"]}
        assert all(np.abs(p[key] - p["series"]).max() > 1e-6 for key in CONTROLS)


def test_channels_and_drawings_are_of_every_trial_and_level(finished: Path) -> None:
    channels = Folder(finished).read_table("channels.parquet").to_pandas()
    assert len(channels) == PEOPLE * PICTURES * 5
    with np.load(finished / "courses.npz") as found:
        assert found["times_ms"].shape == (61,)
        assert {name for name in found.files if ":" in name and not name.endswith(":sd")} == {
            f"{label}:{name}" for label in LABELS for name in ("x", "y", "pupil_mm", "gsr", "heart_rate")
        }
        assert found["arousal:pupil_mm"].shape == (7, 61)
    with np.load(finished / "augmentation.npz") as found:
        assert {"before", "after", "gaze_before", "gaze_after"} <= set(found.files)
        assert not np.array_equal(found["before"], found["after"])


def test_report_and_card_speak_of_both_labels_and_every_control(finished: Path) -> None:
    shown = (finished / "report.html").read_text()
    for words in (
        "Arousal",
        "Valence",
        "window 500 ms later",
        "without the last 1000 ms",
        "shuffled within participants",
    ):
        assert words in shown
    card = (finished / "model_card.md").read_text()
    assert "arousal" in card
    assert "valence" in card


def test_run_is_valid_and_the_check_sees_a_damaged_prediction(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validate = runpy.run_path(str(ROOT / "jobs/validate_run.py"))["main"]
    assert validate([str(finished)]) == 0
    assert capsys.readouterr().out == f"{finished}: valid\n"
    copy = Folder(shutil.copytree(finished, tmp_path / finished.name))
    table = copy.read_table("predictions.parquet")
    place = table.column_names.index("valence:series")
    other = table.column("valence:scanpath")
    copy.write_table("predictions.parquet", table.set_column(place, "valence:series", other))
    assert any("predictions.parquet" in line for line in findings(copy))


# -- what it does again


def test_same_command_does_nothing(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, metrics = done_at(finished), (finished / "metrics.json").stat().st_mtime_ns
    assert job(f"run.dir={finished.parent}", *SMALL, report=EMOTION.report) == 0
    shown = "".join(capsys.readouterr())
    assert "nothing has changed" in shown
    assert "the report is kept" in shown
    assert done_at(finished) == before
    assert (finished / "metrics.json").stat().st_mtime_ns == metrics


@pytest.mark.parametrize("unit", ["series-1", "baselines-0"])
def test_a_unit_that_is_gone_is_done_again_alone_and_no_number_changes(unit: str, finished: Path) -> None:
    before, metrics = done_at(finished), (finished / "metrics.json").read_bytes()
    predictions = Folder(finished).read_table("predictions.parquet")
    shutil.rmtree(finished / "units" / unit)
    assert job(f"run.dir={finished.parent}", *SMALL) == 0
    after = done_at(finished)
    assert {name for name in after if after[name] != before.get(name)} == {unit}
    assert set(after) == set(before)
    assert (finished / "metrics.json").read_bytes() == metrics
    assert Folder(finished).read_table("predictions.parquet").equals(predictions)


# -- the raw form


def examples_of(folder: Path, *words: str) -> Stores:
    """What the passes over a data set leave, less pictures."""
    rest = ["model.branches=[series, scanpath]", "data.simulate.drift_ppm=0", "signals.samples=301", *words]
    study = EmotionStudy(load_config(EmotionConfig, CONFIG, [f"run.dir={folder}", *DATA, *rest]))
    return in_this_process(study.passes(study.open(), Folder(folder / "stores")))[0]


def test_raw_form_gives_the_same_series_as_trials_cut_already(tmp_path: Path) -> None:
    """With clocks that run alike, on the published grid: where they drift, an onset may be a sample off, and a filter
    sees the sample behind the last. Where pictures stood is not in the shipped declaration, which is of real ones."""
    cut = examples_of(tmp_path / "cut").examples
    data = tmp_path / "data"
    simulate_raw(Folder(data), EmotionSimulation(people=PEOPLE, pictures=PICTURES, drift_ppm=0))
    (published,) = (tmp_path / "cut/data").glob("*/dataset.yaml")
    declared = yaml.safe_load((CONFIGS / "datasets/emoeye_raw.yaml").read_text())
    declared |= {name: yaml.safe_load(published.read_text())[name] for name in ("screen", "stimulus")}
    (data / "raw.yaml").write_text(yaml.safe_dump(declared))
    raw = examples_of(tmp_path / "raw", f"data.dataset={data / 'raw.yaml'}").examples
    assert len(raw) == len(cut) == PEOPLE * PICTURES
    columns = ["series", "arousal_index", "valence_index"]
    ours, theirs = (by_stimulus(store, columns) for store in (raw, cut))
    assert ours.keys() == theirs.keys()
    for key, found in ours.items():
        for name, values in found.items():
            np.testing.assert_allclose(values, theirs[key][name], rtol=1e-6, err_msg=f"{key} {name}")


def by_stimulus(store: Store, columns: list[str]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(participant, stimulus) -> columns of that trial."""
    found = store.take(np.arange(len(store)), columns)
    keys = zip(store.plain("participant").tolist(), store.plain("stimulus").tolist(), strict=True)
    return {key: {name: np.asarray(found[name][row]) for name in columns} for row, key in enumerate(keys)}


# -- what it says without fitting


def test_dry_run_prints_the_plan_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job("--dry-run", f"run.dir={tmp_path}", *SMALL) == 0
    shown = capsys.readouterr().out
    for words in (
        "people: 6; stimuli: 8; recordings: 6; rejected before reading: 0",
        "trials: 48 with arousal; 1: ",
        "trials: 48 with valence; 1: ",
        "channels: x, y, pupil_mm, gsr, heart_rate; branches: series, scanpath, picture",
        "units: 2 folds (held out: participants) x 7 models, each up to 2 epochs",
    ):
        assert words in shown
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_wrong_keys_and_values_are_all_named_with_what_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model.recurence=gru", "model.size=huge", "folds.hold_out=people", "train.stop_on=kappa"]
    assert job(f"run.dir={tmp_path / 'runs'}", *words) == 2
    shown = capsys.readouterr().err
    assert "model.recurence: unknown key; did you mean recurrence?" in shown
    assert re.search(r"model\.size: .*small.*published", shown)
    assert re.search(r"folds\.hold_out: .*participants.*stimuli.*both.*neither", shown)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.stop_on=kappa"], "loss, balanced_accuracy, qwk"),
        (["controls.of=pupil", "controls.cut_ms=500"], "allowed: series, scanpath, picture, series-scanpath"),
        (["data.labels=[arousal, fear]"], "arousal, valence"),
    ],
)
def test_names_that_are_none_are_refused_with_the_allowed_ones(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job(f"run.dir={tmp_path}", *DATA, *words) == 2
    assert told in capsys.readouterr().err
