# SPDX-License-Identifier: Apache-2.0
"""The heatmap study without a cluster: what it reads, what it fits on, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from gazeray.config import ConfigError, config_hash, load_config
from gazeray.engine.run import RunFolder
from gazeray.storage import Folder
from gazeray.store import ExampleIndex, SharedExamples, _to_numpy
from gazeray.studies.heatmap.study import HeatmapConfig, HeatmapStudy
from gazeray.studies.shared.classification import class_weighted_loss, logistic_regression_scores
from gazeray.study import Plan, Shard, Split
from gazeray.tables import DataError

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
    small = ["folds.outer=2", "model.width=2", "render.height_px=16", "render.width_px=24"]
    return load_config(HeatmapConfig, None, [f"data.dataset={declaration}", "render.sigma_px=40", *small, *words])


def read_all(cfg: HeatmapConfig) -> tuple[Plan, list[Shard]]:
    study = HeatmapStudy()
    plan = study.plan(cfg)
    stage = study.reader(cfg, plan)
    return plan, [stage.fn(recording) for recording in plan.recordings]


def pictures_of(shards: list[Shard]) -> np.ndarray:
    return np.concatenate([_to_numpy(shard.table.column("picture")) for shard in shards])


def features_of(shards: list[Shard]) -> np.ndarray:
    return np.concatenate([_to_numpy(shard.table.column("features")) for shard in shards])


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_samples_and_fixations_draw_nearly_the_same_picture(tmp_path: Path, dtype: str) -> None:
    declaration = write_study(tmp_path, {})
    both = []
    for source in ("samples", "fixations"):
        _, shards = read_all(config(declaration, f"render.source={source}", f"render.dtype={dtype}"))
        both.append(pictures_of(shards).astype(np.float64))
        assert both[-1].shape == (24, 1, 16, 24)
    assert np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1] > 0.99


def test_trials_without_fixations_are_refused_when_fixations_are_drawn(tmp_path: Path) -> None:
    _, shards = read_all(config(write_study(tmp_path, {}, fixations_of=4), "render.source=fixations"))
    rejects = [reject for shard in shards for reject in shard.rejects if reject.stage == "render"]
    assert sorted({reject.participant for reject in rejects}) == ["P4", "P5"]
    assert len(rejects) == 2 * TRIALS
    assert all("no fixations" in reject.reason for reject in rejects)
    assert (pictures_of(shards).reshape(16, -1).sum(axis=1) > 0).all()


def test_samples_that_are_not_declared_cannot_be_drawn(tmp_path: Path) -> None:
    declaration = write_study(tmp_path, {})
    spec = yaml.safe_load(declaration.read_text())
    del spec["samples"]
    declaration.write_text(yaml.safe_dump(spec))
    with pytest.raises(ConfigError, match="declares no samples"):
        HeatmapStudy().plan(config(declaration))
    assert len(HeatmapStudy().plan(config(declaration, "render.source=fixations")).recordings) == READERS


def test_fixations_that_are_not_declared_are_detected_and_drawn(tmp_path: Path) -> None:
    declaration = write_study(tmp_path, {})
    declared = pictures_of(read_all(config(declaration, "render.source=fixations"))[1])
    spec = yaml.safe_load(declaration.read_text())
    del spec["fixations"]
    declaration.write_text(yaml.safe_dump(spec))
    detected = pictures_of(read_all(config(declaration, "render.source=fixations"))[1])
    assert np.corrcoef(declared.ravel().astype(float), detected.ravel().astype(float))[0, 1] > 0.99


def test_features_of_trials_without_fixations_come_from_detected_ones(tmp_path: Path) -> None:
    _, shards = read_all(config(write_study(tmp_path, {}, fixations_of=4)))
    features = features_of(shards)
    assert len(features) == 24
    np.testing.assert_array_equal(features[:, 0], 3)
    np.testing.assert_allclose(features[:, 2], 900, rtol=0.05)


def test_sigma_in_degrees_needs_the_geometry_and_agrees_with_px(tmp_path: Path) -> None:
    plain, known = tmp_path / "plain", tmp_path / "known"
    with pytest.raises(DataError, match="sigma_deg: 24 trials"):
        HeatmapStudy().plan(config(write_study(plain, {}), "render.sigma_px=null", "render.sigma_deg=1"))
    declaration = write_study(known, {"width_mm": 500, "height_mm": 500, "distance_mm": 600})
    _, in_deg = read_all(config(declaration, "render.sigma_px=null", "render.sigma_deg=1"))
    sigma = 2 * 600 * np.tan(np.radians(0.5)) * 1000 / 500
    _, in_px = read_all(config(declaration, f"render.sigma_px={sigma}"))
    np.testing.assert_allclose(pictures_of(in_deg), pictures_of(in_px), rtol=2e-3)


def test_other_declaration_is_another_meaning_but_another_place_is_not(tmp_path: Path) -> None:
    one, other = write_study(tmp_path / "one", {}), write_study(tmp_path / "other", {})
    study = HeatmapStudy()
    first, second = study.plan(config(one)), study.plan(config(other))
    assert first.meaning == second.meaning
    assert first.fingerprint != second.fingerprint
    spec = yaml.safe_load(one.read_text())
    spec["samples"]["units"] = {"timestamp_ms": "us"}
    one.write_text(yaml.safe_dump(spec))
    changed = study.plan(config(one))
    assert changed.meaning != first.meaning
    spec["licence"] = "CC0-1.0"
    one.write_text(yaml.safe_dump(spec))
    assert study.plan(config(one)).meaning == changed.meaning


def test_results_of_other_data_are_forgotten(tmp_path: Path) -> None:
    cfg = load_config(HeatmapConfig, None, [f"run.dir={tmp_path}"])
    run = RunFolder(cfg, "job", "heatmap")
    run.note(data={"fingerprint": "before"})
    for name in ("units/fold-0/result.json", "maps/a.npz", "metrics.json", "report.html"):
        run.folder.write_text(name, "old")
    run.forget_other_data("before")
    assert run.folder.exists("units/fold-0/result.json")
    run.forget_other_data("after")
    assert [stat.path for stat in run.folder.list()] == ["manifest.json"]


def test_nothing_is_fitted_on_test_people(tmp_path: Path) -> None:
    """Other features and labels of the test people change no score of anybody else's and no fitted baseline."""
    cfg = config(write_study(tmp_path, {}), "explain.maps=false")
    plan, shards = read_all(cfg)
    labels = np.arange(24) // TRIALS % 2
    split = Split(np.arange(0, 12), np.arange(12, 16), np.arange(16, 24))

    def tested(features: np.ndarray, labels: np.ndarray) -> dict[str, list[Any]]:
        ids = {name: [str(n) for n in range(24)] for name in ("participant", "trial", "stimulus")}
        sizes = {"window_width_px": np.ones(24), "window_height_px": np.ones(24)}
        table = pa.table({**ids, "label_index": labels, **sizes})
        index = ExampleIndex(table, np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6), ())
        examples = SharedExamples(index, {"picture": pictures_of(shards), "features": features}, 100)
        torch.manual_seed(0)
        model = HeatmapStudy().model(cfg, plan).eval()
        result = HeatmapStudy().test(cfg, plan, model, examples, split, torch.device("cpu"), lambda name, data: None)
        return {name: result.predictions.column(name).to_pylist() for name in ("majority", "logistic_regression")}

    features = np.random.default_rng(1).normal(0, 1, (24, 23)).astype(np.float32)
    features[:, 3] += labels
    base = tested(features, labels)
    flipped = labels.copy()
    flipped[16:] = 1 - flipped[16:]
    assert tested(features, flipped) == base
    moved = features.copy()
    moved[20:] += 100
    assert tested(moved, labels)["logistic_regression"][:4] == base["logistic_regression"][:4]


def test_class_weights_make_classes_count_the_same() -> None:
    labels = np.array([0] * 9 + [1] * 3)
    loss = class_weighted_loss(labels, 3, weighted=True)
    assert isinstance(loss, torch.nn.CrossEntropyLoss)
    np.testing.assert_allclose(loss.weight, [12 / (2 * 9), 12 / (2 * 3), 0.0])
    assert class_weighted_loss(labels, 2, weighted=False).weight is None


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


def test_config_hash_does_not_depend_on_the_process() -> None:
    assert config_hash(HeatmapConfig()) == config_hash(HeatmapConfig())
