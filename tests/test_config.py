# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from gazeray.config import ConfigError, JobConfig, config_hash, load_config
from gazeray.studies.heatmap.study import HeatmapConfig

CONFIGS = Path(__file__).parent.parent / "configs"


def errors_of(overrides: list[str], path: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(HeatmapConfig, path, overrides)
    return caught.value.errors


def test_unknown_key_names_itself_and_the_allowed_ones() -> None:
    (error,) = errors_of(["train.epoch=3"])
    assert error.startswith("train.epoch: unknown key; did you mean epochs?")
    assert "batch_size" in error


def test_unknown_section_names_itself_and_the_allowed_ones() -> None:
    (error,) = errors_of(["trian.epochs=3"])
    assert "trian: unknown key; did you mean train?" in error
    assert "folds" in error


def test_wrong_value_names_the_allowed_ones() -> None:
    (error,) = errors_of(["train.optimizer=adam"])
    assert error.startswith("train.optimizer:")
    assert "'adamw' or 'sgd'" in error
    assert "'adam'" in error


def test_wrong_type_names_the_key_and_the_value() -> None:
    (error,) = errors_of(["train.epochs=many"])
    assert error.startswith("train.epochs:")
    assert "integer" in error
    assert "many" in error


def test_all_mistakes_are_listed_at_once() -> None:
    errors = errors_of(["train.epochs=0", "folds.outer=1", "nonsense", "run.sede=3", "render.dtype=float64"])
    assert len(errors) == 5


@pytest.mark.parametrize("word", ["train.epochs", "=3", ".epochs=3", "train..epochs=3"])
def test_malformed_word_is_an_error(word: str) -> None:
    assert "must look like section.key=value" in errors_of([word])[0]


def test_value_where_a_section_belongs_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("train: 3\n")
    assert any(error.startswith("train") for error in errors_of(["train.epochs=3"], path))


def test_broken_yaml_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("train: [1, 2\n")
    (error,) = errors_of([], path)
    assert "broken.yaml: not valid YAML" in error


def test_yaml_that_is_a_list_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    assert "must be a mapping" in errors_of([], path)[0]


def test_missing_config_file_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in errors_of([], tmp_path / "no.yaml")[0]


def test_key_that_stands_twice_is_an_error_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("train: {epochs: 3}\ntrain: {batch_size: 2}\n")
    assert "key 'train' stands twice" in errors_of([], path)[0]


@pytest.mark.parametrize("word", ["run.dir=2024-13-45", "train.epochs=[1"])
def test_value_that_yaml_cannot_read_is_an_error(word: str) -> None:
    assert "not valid YAML" in errors_of([word])[0]


def test_python_objects_in_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("run: !!python/object/apply:os.system ['true']\n")
    assert "not valid YAML" in errors_of([], path)[0]


def test_both_sigmas_are_an_error() -> None:
    (error,) = errors_of(["render.sigma_px=20", "render.sigma_deg=1"])
    assert "one of sigma_px and sigma_deg" in error


def test_picture_too_small_for_the_model_is_an_error() -> None:
    (error,) = errors_of(["render.height_px=4", "render.sigma_px=20"])
    assert "render.height_px, render.width_px: too small for the model" in error
    assert "at least (16, 16)" in error


@pytest.mark.parametrize("name", ["cv_heatmap.yaml"])
def test_shipped_configs_are_valid(name: str) -> None:
    assert load_config(HeatmapConfig, CONFIGS / name).folds.outer == 8


def test_shipped_config_repeats_the_defaults() -> None:
    """So that the YAML documents the defaults; what differs is stated there on purpose."""
    assert config_hash(load_config(HeatmapConfig, CONFIGS / "cv_heatmap.yaml")) == config_hash(HeatmapConfig())


def test_hash_ignores_resources_and_place_but_not_results() -> None:
    base = config_hash(JobConfig())
    same = ["resources.workers=2", "resources.per_unit.gpu=0.5", "run.dir=elsewhere", "data.cache_gb=0",
            "storage.filesystem=s3fs", "storage.options={use_ssl: false}",
            "tracking.tracker=mlflow", "tracking.dir=http://server"]  # fmt: skip
    assert config_hash(load_config(JobConfig, None, same)) == base
    for word in ["run.seed=1", "resources.per_unit.cpu=2", "train.epochs=3", "folds.outer=5", "data.window_examples=9"]:
        assert config_hash(load_config(JobConfig, None, [word])) != base


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["storage.options={use_ssl: false}"], "set storage.filesystem to s3fs"),
        (["storage.filesystem=s3fs", "storage.options={key: hush-hush}"], "must not hold credentials (key)"),
        (
            ["storage.filesystem=s3fs", "storage.options={client_kwargs: {aws_secret_access_key: hush-hush}}"],
            "must not hold credentials (aws_secret_access_key)",
        ),
    ],
)
def test_options_of_storage_are_of_s3fs_and_hold_no_credentials(words: list[str], reason: str) -> None:
    (error,) = errors_of(words)
    assert error.startswith("storage.options:")
    assert reason in error
    assert "hush-hush" not in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.stop_on=f1"], "train.stop_on: no metric 'f1' (allowed: loss, balanced_accuracy)"),
        (["search.metric=auc"], "search.metric: no metric 'auc' (allowed: loss, balanced_accuracy)"),
        (["search.scheduler=asha", "resources.workers=0"], "search.scheduler: asha needs workers"),
        (["resources.workers=-1"], "resources.workers: input should be greater than or equal to 0"),
        (["folds.sides={train: a, test: '('}"], "folds.sides.test: not a regular expression"),
        (["folds.sides={train: a}"], "folds.sides: name the side train and at least one test regime"),
        (["folds.unseen={new: [participant]}"], "folds: folds.unseen: new: no test regime of folds.sides"),
        (["folds.unseen={test: [reader]}"], "folds.unseen.test.0: input should be 'participant' or 'stimulus'"),
    ],
)
def test_impossible_setting_is_told_with_what_is_allowed(words: list[str], told: str) -> None:
    assert any(told in error for error in errors_of(words)), errors_of(words)


def test_several_metrics_that_nobody_computes_are_told_together() -> None:
    (error,) = errors_of(["train.stop_on=f1", "search.metric=auc"])
    assert "train.stop_on" in error
    assert "search.metric" in error


def test_where_the_work_is_done_does_not_change_the_hash_and_the_folds_do() -> None:
    base = config_hash(HeatmapConfig())
    assert config_hash(load_config(HeatmapConfig, None, ["resources.workers=0"])) == base
    for word in ("folds.path=f.csv", "folds.side=role", "folds.unseen={test: [stimulus]}"):
        assert config_hash(load_config(HeatmapConfig, None, [word])) != base
    stop = load_config(HeatmapConfig, None, ["train.stop_on=balanced_accuracy"])
    assert config_hash(stop) != base
