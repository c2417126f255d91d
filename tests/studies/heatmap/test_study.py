# SPDX-License-Identifier: Apache-2.0
"""The heatmap study in this process: what it reads, what it fits on, what it refuses, and whole runs of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
import torch
import yaml

from gazeray.config import ConfigError, digest, load_config
from gazeray.engine.experiment import Outcome
from gazeray.engine.run import RunFolder
from gazeray.gaze.scanpath_look import ScanpathLook
from gazeray.storage import Folder
from gazeray.store import Shard, Store, write_shard
from gazeray.studies.heatmap.config import PictureKind, RenderConfig
from gazeray.studies.heatmap.learner import HeatmapLearner, map_name
from gazeray.studies.heatmap.report import write_report
from gazeray.studies.heatmap.source import Recordings
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.shared.baselines import baselines, joined
from gazeray.studies.shared.classification import (
    BASELINES,
    class_weights,
    logistic_regression_scores,
    score_predictions,
)
from gazeray.studies.shared.without_gaze import with_nuisance
from gazeray.study import Fold, Items, Ready, Side, Source
from gazeray.tables import DataError
from gazeray.unit import Unit, UnitFolder
from tests.studies.here import faults, in_this_process, whole

READERS, TRIALS = 6, 4


def write_study(folder: Path, screen: dict[str, float], fixations_of: int = READERS) -> Path:
    """Six readers of four trials, with samples for all and fixations for the first few; returns the declaration."""
    rng = np.random.default_rng(0)
    rows = ["participant,trial,text,kind"]
    for reader in range(READERS):
        samples, fixations = ["trial,t,x,y"], ["trial,t,d,x,y"]
        for trial in range(TRIALS):
            rows.append(f"P{reader},{trial},T{trial},{'ab'[(reader + trial) % 2]}")
            place = rng.uniform(200, 800, (3, 2))
            for step in range(90):
                x, y = place[step // 30] + rng.normal(0, 2, 2)
                samples.append(f"{trial},{step * 10},{x:.1f},{y:.1f}")
            fixations += [f"{trial},{n * 300},300,{x:.0f},{y:.0f}" for n, (x, y) in enumerate(place)]
        Folder(folder).write_text(f"gaze/P{reader}.csv", "\n".join(samples) + "\n")
        if reader < fixations_of:
            Folder(folder).write_text(f"fix/P{reader}.csv", "\n".join(fixations) + "\n")
    Folder(folder).write_text("trials.csv", "\n".join(rows) + "\n")
    spec = {
        "name": "six",
        "screen": {"width_px": 1000, "height_px": 1000, **screen},
        "trials": {
            "path": "trials.csv",
            "columns": {"participant": "participant", "trial": "trial", "stimulus": "text"},
        },
        "samples": {
            "reader": "delimited",
            "path": "gaze/{participant}.csv",
            "columns": {"trial": "trial", "timestamp_ms": "t", "x_px": "x", "y_px": "y"},
        },
        "fixations": {
            "reader": "delimited",
            "path": "fix/{participant}.csv",
            "columns": {"trial": "trial", "onset_ms": "t", "duration_ms": "d", "x_px": "x", "y_px": "y"},
        },
        "labels": {"kind": {"a": "first", "b": "second"}},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec))
    return folder / "dataset.yaml"


def config(declaration: Path, *words: str) -> HeatmapConfig:
    small = ["folds.outer=2", "model.width=2", "render.height_px=16", "render.width_px=24", "render.sigma_px=40"]
    here = [f"data.dataset={declaration}", f"run.dir={declaration.parent.parent}/runs", "resources.workers=0"]
    return load_config(HeatmapConfig, None, [*here, *small, *words])


def read_all(cfg: HeatmapConfig) -> Store:
    """The examples."""
    study = HeatmapStudy(cfg)
    store, _ = in_this_process(study.passes(study.open(), Folder(cfg.run.dir)))
    return store


def column(store: Store, name: str) -> np.ndarray:
    """A tensor column of all examples."""
    return np.asarray(store.take(np.arange(len(store)), [name])[name])


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_samples_and_fixations_draw_nearly_the_same_picture(tmp_path: Path, dtype: str) -> None:
    declaration = write_study(tmp_path, {})
    both = []
    for source in ("samples", "fixations"):
        store = read_all(config(declaration, f"render.source={source}", f"render.dtype={dtype}"))
        both.append(column(store, "picture").astype(np.float64))
        assert both[-1].shape == (24, 1, 16, 24)
    assert np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1] > 0.99


def test_trials_without_fixations_are_refused_when_fixations_are_drawn(tmp_path: Path) -> None:
    store = read_all(config(write_study(tmp_path, {}, fixations_of=4), "render.source=fixations"))
    assert store.log is not None
    rejects = [reject for reject in store.log.rejects if reject.stage == "render"]
    assert sorted({reject.participant for reject in rejects}) == ["P4", "P5"]
    assert len(rejects) == 2 * TRIALS
    assert all("no fixations" in reject.reason for reject in rejects)
    assert (column(store, "picture").reshape(16, -1).sum(axis=1) > 0).all()


def test_samples_that_are_not_declared_cannot_be_drawn(tmp_path: Path) -> None:
    declaration = write_study(tmp_path, {})
    spec = yaml.safe_load(declaration.read_text())
    del spec["samples"]
    declaration.write_text(yaml.safe_dump(spec))
    with pytest.raises(ConfigError, match="declares no samples"):
        HeatmapStudy(config(declaration)).open()
    assert len(HeatmapStudy(config(declaration, "render.source=fixations")).open().data.recordings) == READERS


def test_fixations_that_are_not_declared_are_detected_and_drawn(tmp_path: Path) -> None:
    declaration = write_study(tmp_path, {})
    declared = column(read_all(config(declaration, "render.source=fixations")), "picture")
    spec = yaml.safe_load(declaration.read_text())
    del spec["fixations"]
    declaration.write_text(yaml.safe_dump(spec))
    detected = column(read_all(config(declaration, "render.source=fixations")), "picture")
    assert np.corrcoef(declared.ravel().astype(float), detected.ravel().astype(float))[0, 1] > 0.99


def test_features_of_trials_without_fixations_come_from_detected_ones(tmp_path: Path) -> None:
    features = column(read_all(config(write_study(tmp_path, {}, fixations_of=4))), "features")
    assert len(features) == 24
    np.testing.assert_array_equal(features[:, 0], 3)
    np.testing.assert_allclose(features[:, 2], 900, rtol=0.05)


def test_notes_on_recordings_have_one_line_for_each_cause(tmp_path: Path) -> None:
    study = HeatmapStudy(config(write_study(tmp_path / "data", {})))
    source = study.open()
    store, _ = in_this_process(study.passes(source, Folder(study.cfg.run.dir)))
    assert store.log is not None
    store.log.notes.extend(f"gaze/P{reader}.csv: the left eye is used (lost: {reader})" for reader in range(READERS))
    assert study.items(source, store).manifest["notes_on_recordings"] == [
        "the left eye is used: 6 files (gaze/P0.csv, gaze/P1.csv, gaze/P2.csv, ...)"
    ]


def test_sigma_in_degrees_needs_the_geometry_and_agrees_with_px(tmp_path: Path) -> None:
    plain, known = tmp_path / "plain", tmp_path / "known"
    with pytest.raises(DataError, match="sigma_deg: 24 trials"):
        HeatmapStudy(config(write_study(plain, {}), "render.sigma_px=null", "render.sigma_deg=1")).open()
    declaration = write_study(known, {"width_mm": 500, "height_mm": 500, "distance_mm": 600})
    in_deg = read_all(config(declaration, "render.sigma_px=null", "render.sigma_deg=1"))
    sigma = 2 * 600 * np.tan(np.radians(0.5)) * 1000 / 500
    in_px = read_all(config(declaration, f"render.sigma_px={sigma}"))
    np.testing.assert_allclose(column(in_deg, "picture"), column(in_px, "picture"), rtol=2e-3)


def test_other_declaration_is_another_meaning_but_another_place_is_not(tmp_path: Path) -> None:
    one, other = write_study(tmp_path / "one", {}), write_study(tmp_path / "other", {})

    def found(declaration: Path) -> Recordings:
        return HeatmapStudy(config(declaration)).open().data

    first, second = found(one), found(other)
    assert first.meaning == second.meaning
    assert first.fingerprint != second.fingerprint
    spec = yaml.safe_load(one.read_text())
    spec["samples"]["units"] = {"timestamp_ms": "us"}
    one.write_text(yaml.safe_dump(spec))
    changed = found(one)
    assert changed.meaning != first.meaning
    spec["licence"] = "CC0-1.0"
    one.write_text(yaml.safe_dump(spec))
    assert found(one).meaning == changed.meaning


def test_results_of_other_data_are_forgotten(tmp_path: Path) -> None:
    cfg = load_config(HeatmapConfig, None, [f"run.dir={tmp_path}"])
    run = RunFolder(cfg, "job", "heatmap")
    run.note(data={"fingerprint": "before"})
    for name in ("units/fold-0/result.json", "maps/a.npz", "metrics.json", "report.html"):
        run.folder.write_text(name, "old")
    run = RunFolder(cfg, "job", "heatmap")
    run.forget_other_data("before")
    assert run.folder.exists("units/fold-0/result.json")
    run.forget_other_data("after")
    assert [stat.path for stat in run.folder.list()] == ["manifest.json"]


def test_nothing_is_fitted_on_test_people(tmp_path: Path) -> None:
    """Other features and labels of the test people change no score of anybody else's and no fitted baseline."""
    cfg = config(tmp_path / "data" / "dataset.yaml", "explain.maps=false")
    labels = np.arange(24) // TRIALS % 2
    fold = Fold(0, np.arange(12), Side("validation", np.arange(12, 16)), (Side("test", np.arange(16, 24)),))
    pictures = np.random.default_rng(0).random((24, 1, 16, 24)).astype(np.float16)
    learner = HeatmapLearner(cfg.train, cfg, ("first", "second"), PictureKind("heatmap", 1, 0.0))

    def tested(features: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
        ids = {name: [str(n) for n in range(24)] for name in ("participant", "trial", "stimulus")}
        sizes = {"window_width_px": np.ones(24), "window_height_px": np.ones(24)}
        folder = Folder(tmp_path / digest([features.tolist(), labels.tolist()])[:8])
        rows = pa.table({**ids, "label_index": labels, **sizes})
        rows = with_nuisance(rows, np.arange(24), None)
        write_shard(folder, "0", Shard(rows, {"picture": pictures, "features": features}))
        store, out = Store.open(folder, ["0"]), UnitFolder(folder, Unit("fold-0", {}, "hash"))
        prepared = learner.prepare(fold.train, store)
        assert prepared.weights == (1.5, 0.75), "of eight and four training examples"
        torch.manual_seed(0)
        prepared.tested(learner.model().eval(), fold, store, torch.device("cpu"), out)
        beside = UnitFolder(folder, Unit("baselines-0", {}, "hash"))
        items = Items(rows, ("participant", "trial"), [fold], "")
        predictor = baselines(Ready(Source(None, []), store, items), store, learner.classes)
        predictor.do(fold, beside)
        found = joined(*(one.folder.read_table("predictions.parquet") for one in (out, beside)))
        assert set(predictor.rows) == set(BASELINES) - {"reading_speed"}
        return {name: found.column(name).to_pylist() for name in ("scores", *predictor.rows)}

    features = np.random.default_rng(1).normal(0, 1, (24, 23)).astype(np.float32)
    labels = np.array([0, 1, 1] * 8)
    features[:, 3] += labels
    base = tested(features, labels)
    flipped = labels.copy()
    flipped[16:] = 1 - flipped[16:]
    assert tested(features, flipped) == base
    moved = features.copy()
    moved[20:] += 100
    assert tested(moved, labels)["logistic_regression"][:4] == base["logistic_regression"][:4]


def test_class_weights_make_classes_count_the_same(tmp_path: Path) -> None:
    labels = np.array([0] * 9 + [1] * 3)
    np.testing.assert_allclose(class_weights(labels, 3), [12 / (2 * 9), 12 / (2 * 3), 0.0])
    kind = PictureKind("heatmap", 1, 0.0)
    logits = torch.randn((12, 2), generator=torch.Generator().manual_seed(0)).double().numpy()
    for weighted in (True, False):
        cfg = config(tmp_path / "data" / "dataset.yaml", f"train.class_weights={weighted}")
        write_shard(Folder(tmp_path), "0", Shard(pa.table({"label_index": labels}), {}))
        learner = HeatmapLearner(cfg.train, cfg, ("a", "b"), kind).prepare(
            np.arange(12), Store.open(Folder(tmp_path), ["0"])
        )
        assert list(learner.fitted()) == ["class_weights"] * weighted
        loss = learner.metrics({"logits": logits}, {"label_index": labels})["loss"]
        weight = np.where(labels == 0, 12 / 18, 2.0) if weighted else np.ones(12)
        logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        assert loss == pytest.approx(-(weight * logp[np.arange(12), labels]).sum() / weight.sum(), rel=1e-5)


def test_logistic_regression_is_scikit_learns_on_standardised_features() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    train, labels = rng.normal(5, [1, 100, 0.01], (60, 3)), rng.integers(0, 2, 60)
    train[:, 0] += labels
    test = rng.normal(5, [1, 100, 0.01], (7, 3))
    mean, spread = train.mean(axis=0), train.std(axis=0)
    oracle = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-6).fit((train - mean) / spread, labels)
    expected = oracle.predict_proba((test - mean) / spread)
    np.testing.assert_allclose(logistic_regression_scores(train, labels, test, 2), expected, atol=1e-6)


def test_logistic_regression_survives_one_class_and_an_absent_one() -> None:
    train, test = np.zeros((4, 2)), np.ones((2, 2))
    assert logistic_regression_scores(train, np.array([1, 1, 1, 1]), test, 3).tolist() == [[0, 1, 0]] * 2
    scores = logistic_regression_scores(train, np.array([0, 2, 0, 2]), test, 3)
    assert scores[:, 1].tolist() == [0, 0]
    np.testing.assert_allclose(scores.sum(axis=1), 1)


# -- whole runs in this process


SMALL = ["train.epochs=2", "scores.resamples=100", "scores.permutations=99", "explain.methods=[gradient]",
         "explain.random_networks=1"]  # fmt: skip


def ids_of(table: pa.Table, *more: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in ("participant", "trial", *more)), strict=True))


def folds_file(path: Path) -> None:
    """Two folds: reader 0 or 1 is new with all texts but one, and that text is new to all but two others."""
    rows = ["participant,trial,role,fold"]
    for fold in range(2):
        for reader in range(READERS):
            for trial in range(TRIALS):
                new_reader, new_text = reader == fold, trial == fold
                role = "unseen_reader" if new_reader and not new_text else "unseen_text" if new_text else "train"
                if not (new_reader and new_text):
                    rows.append(f"P{reader},{trial},{role},{fold}")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def on_folds_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[HeatmapStudy, Outcome]:
    """A run on the folds of `folds_file`."""
    folder = tmp_path_factory.mktemp("folds")
    folds_file(folder / "folds.csv")
    words = [
        *(f"folds.path={folder}/folds.csv", "folds.side=role"),
        "folds.sides={train: train, reader: unseen_reader, text: unseen_text}",
        "folds.unseen={reader: [participant], text: [stimulus]}",
    ]
    study = HeatmapStudy(config(write_study(folder / "data", {}), *SMALL, *words))
    return study, whole(study)


def test_run_on_folds_of_a_file_scores_each_regime(on_folds_of_a_file: tuple[HeatmapStudy, Outcome]) -> None:
    study, outcome = on_folds_of_a_file
    predictions, metrics = outcome.run.read_table("predictions.parquet"), outcome.metrics
    assert metrics is not None
    per_fold = TRIALS - 1 + READERS - 1
    assert predictions.num_rows == 2 * per_fold
    regimes = Counter(zip(predictions["fold"].to_pylist(), predictions["regime"].to_pylist(), strict=True))
    assert regimes == {(fold, name): n for fold in (0, 1) for name, n in (("reader", 3), ("text", 5))}
    for row in predictions.select(["participant", "trial", "fold", "regime"]).to_pylist():
        assert (row["participant"] == f"P{row['fold']}") == (row["regime"] == "reader")
    assert set(metrics["regimes"]) == {"reader", "text"}
    assert {name: one["n"] for name, one in metrics["regimes"].items()} == {"reader": 6, "text": 10}
    for name, one in metrics["regimes"].items():
        rows = predictions.filter(pa.compute.equal(predictions["regime"], name))
        unseen = {"reader": ("participant",), "text": ("stimulus",)}[name]
        again = score_predictions(rows, ("first", "second"), study.cfg.scores, study.cfg.run.seed, unseen)
        assert one == {"n": rows.num_rows, **again}
    assert set(metrics["held_out"]) == {"participants", "stimuli"}
    manifest = outcome.run.read_json("manifest.json")
    assert manifest["folds"][0]["regimes"]["text"] == {"n": 5, "unseen": ["stimulus"]}
    assert faults(outcome.run) == []


def test_trial_that_several_folds_test_has_a_map_of_each(on_folds_of_a_file: tuple[HeatmapStudy, Outcome]) -> None:
    _, outcome = on_folds_of_a_file
    predictions = outcome.run.read_table("predictions.parquet")
    maps = outcome.run.read_table("maps/index.parquet")
    twice = [key for key, count in Counter(ids_of(predictions)).items() if count > 1]
    assert twice
    assert len(set(maps["path"].to_pylist())) == len(maps) == predictions.num_rows
    assert all(outcome.run.exists(path) for path in maps["path"].to_pylist())


@pytest.mark.nightly
def test_report_of_a_run_on_folds_of_a_file_is_drawn(on_folds_of_a_file: tuple[HeatmapStudy, Outcome]) -> None:
    _, outcome = on_folds_of_a_file
    write_report(outcome.run)
    page = outcome.run.read_text("report.html")
    assert "fold 1" in page.lower()
    assert "Test regimes" in page
    assert "never saw" not in page, "a file's regimes may hold people who were trained on"


def test_run_on_dealt_folds_knows_one_regime_and_keeps_the_names_of_its_maps(tmp_path: Path) -> None:
    outcome = whole(HeatmapStudy(config(write_study(tmp_path / "data", {}), *SMALL)))
    assert outcome.metrics is not None
    assert "regimes" not in outcome.metrics
    predictions = outcome.run.read_table("predictions.parquet")
    assert sorted(ids_of(predictions)) == [(f"P{p}", f"{t}") for p in range(READERS) for t in range(TRIALS)]
    assert set(predictions["regime"].to_pylist()) == {"test"}
    assert map_name("P0", "1") in {path.rpartition("/")[2] for path in predictions["map"].to_pylist()}
    assert map_name("P0", "1") == "P0-1-6f50d6bb.npz"


@pytest.mark.parametrize("held", ["stimuli", "both"])
def test_held_out_stimuli_are_never_trained_on_and_every_trial_is_tested_once(tmp_path: Path, held: str) -> None:
    words = [f"folds.hold_out={held}", "folds.stimuli=2", "train.epochs=1", "explain.maps=false"]
    outcome = whole(HeatmapStudy(config(write_study(tmp_path / "data", {}), *SMALL, *words)))
    predictions = outcome.run.read_table("predictions.parquet")
    assert sorted(ids_of(predictions)) == [(f"P{p}", f"{t}") for p in range(READERS) for t in range(TRIALS)]
    folds = outcome.run.read_json("manifest.json")["folds"]
    assert len(folds) == (2 if held == "stimuli" else 4)
    tested = predictions.select(["participant", "stimulus", "fold"]).to_pylist()
    for fold in folds:
        sides = fold["stimuli"]
        assert not (set(sides["train"]) | set(sides["validation"])) & set(sides["test"])
        assert {row["stimulus"] for row in tested if row["fold"] == fold["fold"]} <= set(sides["test"])
        if held == "both":
            assert not (set(fold["train"]) | set(fold["validation"])) & set(fold["test"])
            assert not set(fold["train"]) & set(fold["validation"])


def leaky_study(folder: Path) -> Path:
    """24 readers whose label is constant and whose style (where they look) is their own; label and style are
    independent, so that only who knows the reader knows the label. Returns the declaration."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.arange(24) % 2)
    rows = ["participant,trial,text,kind"]
    for reader in range(24):
        rows += [f"P{reader:02},{trial},T{trial},{labels[reader]}" for trial in range(6)]
        place = rng.uniform(100, 900, (4, 2))
        lines = ["trial,t,x,y"]
        for trial in range(6):
            for step in range(80):
                x, y = place[step // 20] + rng.normal(0, 8, 2)
                lines.append(f"{trial},{step * 10},{x:.1f},{y:.1f}")
        Folder(folder).write_text(f"gaze/P{reader:02}.csv", "\n".join(lines) + "\n")
    Folder(folder).write_text("trials.csv", "\n".join(rows) + "\n")
    Folder(folder).write_text(
        "dataset.yaml",
        "name: leaky\nscreen: {width_px: 1000, height_px: 1000}\nlabels: {kind: {0: one, 1: other}}\n"
        "trials: {path: trials.csv, columns: {participant: participant, trial: trial, stimulus: text}}\n"
        "samples: {reader: delimited, path: 'gaze/{participant}.csv',"
        " columns: {trial: trial, timestamp_ms: t, x_px: x, y_px: y}}\n",
    )
    return folder / "dataset.yaml"


def test_label_that_is_only_known_from_who_reads_scores_at_chance(tmp_path: Path) -> None:
    declaration = leaky_study(tmp_path / "data")
    words = ["folds.outer=4", "train.epochs=8", "model.width=4", "explain.maps=false"]
    cfg = config(declaration, *[word for word in SMALL if "epochs" not in word], *words, "scores.resamples=500")
    outcome = whole(HeatmapStudy(cfg))
    assert outcome.metrics is not None
    assert outcome.run.read_table("predictions.parquet").num_rows == 24 * 6
    low, high = outcome.metrics["metrics"]["auroc"]["ci95"]
    assert low < 0.5 < high
    # the style is there to be learned: with the reader's own trials in training, the label is known
    store = read_all(cfg)
    pictures, labels = column(store, "picture").reshape(len(store), -1).astype(np.float64), store.plain("label_index")
    train = np.flatnonzero(np.arange(len(store)) % 6 < 4)
    test = np.setdiff1d(np.arange(len(store)), train)
    leaked = logistic_regression_scores(pictures[train], labels[train], pictures[test], 2)
    assert (leaked.argmax(axis=1) == labels[test]).mean() > 0.9


@pytest.mark.parametrize(("look", "channels", "blank"), [("channels", 3, 0.0), ("b", 3, 1.0), ("saccades", 1, 0.0)])
def test_scanpaths_have_the_channels_and_the_ground_of_their_look(look: str, channels: int, blank: float) -> None:
    render = RenderConfig(kind="scanpath", sigma_px=9, scanpath=ScanpathLook.model_validate({"kind": look}))
    assert (render.channels, render.blank) == (channels, blank)
