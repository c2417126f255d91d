# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from gazeray.config import ConfigError, JobConfig, Section, config_hash, load_config, parse_yaml, validate
from gazeray.gaze.declaration import DatasetSpec
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
        (["folds.hold_out=nobody"], "folds.hold_out: input should be 'participants', 'stimuli', 'both' or 'neither'"),
        (["folds.hold_out=neither"], "folds.hold_out: 'neither' is not one of participants, stimuli, both"),
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


# -- what YAML 1.1 reads as no text

DECLARATION = """
name: study
screen: {{width_px: 1024, height_px: 768}}
trials: {{path: {path}, columns: {{participant: {column}, trial: trial}}}}
samples: {{reader: delimited, path: "{{participant}}.csv", columns: {{{key}: x, timestamp_ms: t, x_px: x, y_px: y}}}}
labels: {{group: {{1: poor, 2: good}}}}
"""


def declared_errors(path: str = "a.csv", column: str = "p", key: str = "trial") -> list[str]:
    text = DECLARATION.format(path=path, column=column, key=key)
    with pytest.raises(ConfigError) as caught:
        validate(DatasetSpec, parse_yaml(text, "d.yaml"), "d.yaml")
    return caught.value.errors


BARE = {
    **dict.fromkeys(["on", "On", "yes", "true", "off", "NO", "no"], "true or false"),
    **dict.fromkeys(["1", "007", "1.50", "-3", "1_000", ".5"], "a number"),
    "2024-01-01": "a date",
    "2024-01-01 10:00:00": "a date",
    "null": "nothing",
    "~": "nothing",
}


@pytest.mark.parametrize(("word", "kind"), BARE.items())
def test_a_bare_word_that_is_no_text_to_yaml_is_to_be_quoted_as_it_stands(word: str, kind: str) -> None:
    told = f"write '{word}' in quotes, since YAML reads it as {kind}"
    assert declared_errors(path=word) == [f"d.yaml: trials.path: must be text: {told}"]
    assert declared_errors(column=word) == [f"d.yaml: trials.columns.participant: must be text: {told}"]
    key_error = f"d.yaml: samples.columns: a key must be text: {told}"
    assert key_error in declared_errors(key=word)


def test_quoted_words_are_text() -> None:
    text = DECLARATION.format(path="'on'", column='"007"', key="trial")
    spec = validate(DatasetSpec, parse_yaml(text, "d.yaml"))
    assert (spec.trials.path, spec.trials.columns["participant"]) == ("on", "007")


def test_text_that_is_left_out_is_said_to_be_missing() -> None:
    assert declared_errors(path="") == ["d.yaml: trials.path: must be text: nothing stands there"]


def test_a_number_or_a_column_may_be_meant_by_a_truth_value() -> None:
    text = DECLARATION.format(path="a.csv", column="p", key="trial").replace("width_px: 1024", "width_px: yes")
    with pytest.raises(ConfigError, match=r"screen.width_px: must be .* is text meant\? write 'yes' in quotes"):
        validate(DatasetSpec, parse_yaml(text, "d.yaml"))


def test_a_section_of_another_name_is_to_be_quoted_too() -> None:
    assert errors_of_text("on: 3\n") == [
        "config: a key must be text: write 'on' in quotes, since YAML reads it as true or false"
    ]
    assert errors_of_text("train: {yes: 3}\n")[0].startswith("train: a key must be text: write 'yes' in quotes")


def errors_of_text(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(HeatmapConfig, parse_yaml(text, "c.yaml"))
    return caught.value.errors


def test_words_of_the_command_line_are_to_be_quoted_so_that_the_shell_leaves_the_quotes(tmp_path: Path) -> None:
    assert errors_of(["data.label=off"]) == [
        """data.label: must be text: write 'off' in quotes (data.label='"off"'), since YAML reads it as true or false"""
    ]
    assert load_config(HeatmapConfig, None, ['data.label="off"']).data.label == "off"
    path = tmp_path / "c.yaml"
    path.write_text("data: {label: yes}\n")
    assert "write 'no' in quotes" in errors_of(["data.label=no"], path)[0]
    assert "write 'yes' in quotes, since" in errors_of([], path)[0]


def test_what_a_program_put_together_is_written_in_one_of_the_ways() -> None:
    with pytest.raises(ConfigError, match=r"data\.label: must be text: write 'off' in quotes"):
        validate(HeatmapConfig, {"data": {"label": False}})


class Lists(Section):
    """Text, or a list of it."""

    columns: dict[str, str | list[str]]
    also: str | list[str] | None = None


def test_a_bare_word_where_text_or_a_list_of_it_is_meant_is_told_once() -> None:
    text = "columns: {str: on, b: [x, off], c: 7, d: [on], e: {f: 1}}\nalso: 2024-01-01\n"
    with pytest.raises(ConfigError) as caught:
        validate(Lists, parse_yaml(text, "d.yaml"))
    assert [line.partition(", since")[0] for line in caught.value.errors[:4]] == [
        "columns.str: must be text: write 'on' in quotes",
        "columns.b.1: must be text: write 'off' in quotes",
        "columns.c: must be text: write '7' in quotes",
        "columns.d.0: must be text: write 'on' in quotes",
    ]
    assert caught.value.errors[4].startswith("columns.e")
    assert caught.value.errors[-1].startswith("also: must be text: write '2024-01-01' in quotes")


def test_truth_values_stay_truth_values_where_they_are_meant() -> None:
    assert load_config(HeatmapConfig, None, ["train.class_weights=off"]).train.class_weights is False
