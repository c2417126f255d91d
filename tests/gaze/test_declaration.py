# SPDX-License-Identifier: Apache-2.0
"""The declaration of a data set, right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazeray.config import ConfigError, validate
from gazeray.gaze.dataset import load_dataset
from gazeray.gaze.declaration import DatasetSpec
from tests.gaze.tiny_dataset import (
    DECLARED,
    FIXATIONS,
    SAMPLES,
    declared,
)


def test_declaration_is_read_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "name: tiny\nlabels: {answer: {0: wrong, 1: right}}\nscreen: {width_px: 100, height_px: 50}\n"
        "trials: {path: t.csv, columns: {participant: p, trial: n}}\n"
        "samples: {reader: delimited, path: 'g/{participant}.csv', units: {x_px: normalised}, missing: [-1],\n"
        "  columns: {trial: n, timestamp_ms: t, x_px: x, y_px: y}}\n"
    )
    spec = load_dataset(tmp_path / "d.yaml")
    assert spec.labels == {"answer": {"0": "wrong", "1": "right"}}
    assert spec.samples is not None
    assert spec.samples.missing == [-1.0]
    assert spec.fixations is None
    assert DatasetSpec.model_validate(spec.model_dump()) == spec


def test_every_mistake_in_a_declaration_is_reported_after_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "name: tiny\ncolour: blue\nscreen: {width_px: -3}\nlabels: {answer: {0: wrong, '0.0': right}}\n"
        "trials: {path: ../t.csv, columns: {participant: p}, encoding: klingon}\n"
        "samples: {reader: delimited, path: 'g/{who.csv', columns: {timestamp_ms: t}, decimal: ';',\n"
        "  units: {x_px: cm}, origin: moon}\n"
        "fixations: {reader: telepathy, path: 'g/{participant}.csv'}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_dataset(tmp_path / "d.yaml")
    for place, words in {
        "colour": "unknown key",
        "screen.width_px": "greater than 0",
        "labels.answer": "twice",
        "trials.path": "leaves its folder",
        "trials.encoding": "no such encoding",
        "samples.path": "g/{who.csv",
        "samples.columns": "x_px",
        "samples.decimal": "'.' or ','",
        "fixations.reader": "known: ",
        "samples.units": "normalised",
        "samples.origin": "screen",
    }.items():
        assert any(
            line.startswith(f"{tmp_path / 'd.yaml'}: {place}: ") and words in line for line in caught.value.errors
        )


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        pytest.param("samples", None, "declare samples, fixations or both", id="no_gaze"),
        pytest.param(
            "samples", {**SAMPLES, "path": "all.csv"}, "participant is neither in the path", id="no_participant"
        ),
        pytest.param(
            "samples", {**SAMPLES, "path": "{participant}/{trial}.csv"}, "trial comes from the path", id="two_trials"
        ),
        pytest.param("samples", {**SAMPLES, "path": "/etc/{participant}"}, "leaves its folder", id="absolute_path"),
        pytest.param("samples", {**SAMPLES, "units": {"t": "ms"}}, "t: ms: no such column", id="unit_of_no_column"),
        pytest.param("samples", {**SAMPLES, "delimiter": ";;"}, "samples.delimiter", id="long_delimiter"),
        pytest.param("samples", {**SAMPLES, "missing": ["x"]}, "samples.missing.0", id="missing_is_text"),
        pytest.param("fixations", {**FIXATIONS, "columns": {"trial": "n"}}, "onset_ms", id="fixations_without_onset"),
        pytest.param("stimulus", {"width_px": 8, "height_px": 4}, "placed: centred", id="stimulus_without_place"),
        pytest.param(
            "stimulus", {"width_px": 8, "height_px": 4, "left_px": 1}, "both left_px and top_px", id="half_a_place"
        ),
        pytest.param(
            "stimulus",
            {"width_px": 8, "height_px": 4, "left_px": 1, "top_px": 1, "placed": "centred"},
            "either placed",
            id="two_places",
        ),
        pytest.param("screen", {"width_px": True}, "number or the name", id="screen_is_a_bool"),
        pytest.param("labels", {"condition": {False: "a", True: "b"}}, "in quotes", id="yaml_bool_as_label"),
        pytest.param("labels", {"condition": {"C": "a", "P": "a"}}, "two classes", id="one_class_declared"),
        pytest.param("notes", {"other": "text"}, "no such label: other (declared: condition)", id="note_of_no_label"),
        pytest.param(
            "trials",
            {"path": "t.csv", "columns": {"participant": "p", "trial": "n", "screen_widht_px": "w"}},
            "columns that nothing uses: screen_widht_px",
            id="mistyped_column",
        ),
        pytest.param(
            "trials", {**DECLARED["trials"], "path": "{trial}.csv"}, "trial: comes from the path", id="trial_twice"
        ),
    ],
)
def test_wrong_section_is_a_config_error(section: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=section) as caught:
        declared(**{section: value})
    assert len(caught.value.errors) == 1
    assert words in caught.value.errors[0]


def test_declaration_that_cannot_be_read_is_a_config_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", f"file://{tmp_path}/none.yaml"):
        with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
            load_dataset(path)


def test_config_of_webqamgaze_is_valid() -> None:
    spec = load_dataset(Path(__file__).parents[2] / "configs/datasets/webqamgaze.yaml")
    assert list(spec.labels) == ["answer_correct", "label_is"]
    assert spec.fixations is not None
    assert spec.fixations.origin == "stimulus"
    assert "trial order" in spec.notes["label_is"]
    assert validate(DatasetSpec, spec.model_dump()) == spec
