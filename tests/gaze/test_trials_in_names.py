# SPDX-License-Identifier: Apache-2.0
"""Trials that are told by the names of files: the published layout of EmoEye, and names that do not fit it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError, validate
from gazeray.gaze.dataset import Dataset, load_dataset, open_dataset
from gazeray.gaze.declaration import DatasetSpec
from gazeray.gaze.files import PLACEHOLDER, fits_path, identifier, ids_in_path
from gazeray.gaze.recording import read_recording
from gazeray.gaze.trials_in_names import ids_in_name
from gazeray.storage import Folder
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import pairs, reasons, write

EMOEYE = Path(__file__).parents[2] / "configs/datasets/emoeye.yaml"

HEADER = (
    ",TIME(2021/05/03 11:02:03.456),FPOGX,FPOGY,FPOGID,FPOGV,LPMM,LPMMV,RPMM,RPMMV,GSR,GSRV,HR,HRV,"
    "Image,Arousal,Valence\n"
)
ROWS = (  # the first and the last as they are printed in the published notebooks
    "7573,122.76831,.45358,.50776,224,1,1.67199,0,3.89673,1,262256,1,85,1,Images/dog 7.jpg,4,6\n"
    "7574,122.78465,.45401,.50912,224,1,3.70112,1,3.89571,1,262201,1,85,1,Images/dog 7.jpg,4,6\n"
    "7575,122.80099,.45377,.50843,224,0,3.71005,1,3.90118,1,262150,0,0,0,Images/dog 7.jpg,4,6\n"
    "7873,127.66919,.09130,.56786,233,1,2.21087,0,3.35212,1,243676,1,83,1,Images/dog 7.jpg,4,6\n"
)
EPOCH = HEADER + ROWS

EPOCHS: dict[str, Any] = {
    "name": "epochs",
    "labels": {"arousal": {"levels": [1, 2, 3, 4, 5, 6, 7]}, "valence": {"levels": [1, 2, 3, 4, 5, 6, 7]}},
    "screen": {"width_px": 1000, "height_px": 500},
    "trials": {
        "reader": "names",
        "path": "epochs/{participant}/{seq}_{image}_{arousal}_{valence}.csv",
        "columns": {"trial": ["seq", "image"], "stimulus": "image"},
    },
    "samples": {"reader": "gazepoint", "path": "epochs/{participant}/{seq}_{image}_{arousal}_{valence}.csv"},
}
NAMES = ("1/0_dog 7_4_6", "1/1_falcon 1_4_5", "1/2_koi fish 1_5_1", "2/166_tsarskoe selo 2_1_7", "2/5_big_dog_2_2_2")


def spec_of(**changes: Any) -> DatasetSpec:
    return validate(DatasetSpec, {**EPOCHS, **changes})


def epochs(folder: Path, names: Iterable[str] = NAMES, content: str = EPOCH, **changes: Any) -> tuple[Folder, Dataset]:
    """A folder of epochs, opened for both ratings."""
    root = write(folder, {f"epochs/{name}.csv": content for name in names})
    return root, open_dataset(spec_of(**changes), root, ["arousal", "valence"])


def test_names_of_files_tell_who_saw_what_and_felt_what(tmp_path: Path) -> None:
    _, data = epochs(tmp_path)
    assert pairs(data) == [
        ("1", "0/dog 7"),
        ("1", "1/falcon 1"),
        ("1", "2/koi fish 1"),
        ("2", "5/big_dog_2"),
        ("2", "166/tsarskoe selo 2"),
    ]
    assert data.trials["stimulus"].tolist() == ["dog 7", "falcon 1", "koi fish 1", "big_dog_2", "tsarskoe selo 2"]
    assert data.trials["arousal_index"].tolist() == [3, 3, 4, 1, 0]
    assert data.trials["valence_index"].tolist() == [5, 4, 0, 1, 6]
    assert [(one.key, len(one.samples)) for one in data.recordings] == [("1", 3), ("2", 2)]
    assert data.rejects == []


def test_trials_are_in_the_order_of_their_numbers_not_of_their_letters(tmp_path: Path) -> None:
    _, data = epochs(tmp_path, ["2/10_a_1_1", "2/9_a_2_2", "10/1_a_3_3", "2/100_a_4_4"])
    assert pairs(data) == [("2", "9/a"), ("2", "10/a"), ("2", "100/a"), ("10", "1/a")]


def test_no_file_is_opened_to_list_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Folder, path: str) -> bytes:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(Folder, "read_bytes", read)
    assert len(epochs(tmp_path)[1].trials) == len(NAMES)


def test_published_declaration_reads_the_published_rows(tmp_path: Path) -> None:
    spec, root = load_dataset(EMOEYE), write(tmp_path, {f"epochs/{name}.csv": EPOCH for name in NAMES})
    data = open_dataset(spec, root, list(spec.labels))
    read = [read_recording(spec, root, recording, data.trials) for recording in data.recordings]
    assert [one.rejects for one in read] == [[], []]
    assert [trial.trial for trial in read[0].trials] == ["0/dog 7", "1/falcon 1", "2/koi fish 1"]
    assert [trial.trial for trial in read[1].trials] == ["5/big_dog_2", "166/tsarskoe selo 2"]
    first = read[0].trials[0]
    assert first.samples is not None
    assert first.units == {"pupil_left": "mm", "pupil_right": "mm", "gsr": "ohm", "heart_rate": "bpm"}
    expected = {
        "timestamp_ms": [122768.31, 122784.65, 122800.99, 127669.19],
        "x_px": [0.45358 * 1920, 0.45401 * 1920, np.nan, 0.09130 * 1920],
        "y_px": [0.50776 * 1080, 0.50912 * 1080, np.nan, 0.56786 * 1080],
        "pupil_left": [np.nan, 3.70112, 3.71005, np.nan],
        "pupil_right": [3.89673, 3.89571, 3.90118, 3.35212],
        "gsr": [262256, 262201, np.nan, 243676],
        "heart_rate": [85, 85, np.nan, 83],
    }
    assert list(first.samples) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(first.samples[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        pytest.param("2/dog 7_3_4", "trials", "does not fit epochs/{participant}/{seq}_", id="no_number"),
        pytest.param("2/7_dog 7_3_", "trials", "does not fit epochs/{participant}/{seq}_", id="empty_rating"),
        pytest.param("2/notes", "trials", "does not fit epochs/{participant}/{seq}_", id="another_file"),
        pytest.param("7_dog 7_3_4", "trials", "does not fit epochs/{participant}/{seq}_", id="no_participant"),
        pytest.param("2/old/7_dog 7_3_4", "trials", "does not fit epochs/{participant}/{seq}_", id="too_deep"),
        pytest.param("2/7_dog 7_8_4", "labels", "label arousal: '8' is not declared (declared: 1, 2", id="beyond"),
        pytest.param("2/7_dog 7_4_x", "labels", "label valence: 'x' is not declared", id="no_number_for_a_rating"),
        pytest.param("2/7_dog 7_4_6 (1)", "labels", "label valence: '6 (1)' is not declared", id="copy_of_a_browser"),
    ],
)
def test_bad_name_is_a_reject_that_names_the_file(tmp_path: Path, name: str, stage: str, reason: str) -> None:
    _, data = epochs(tmp_path, [*NAMES, name])
    assert len(data.trials) == len(NAMES)
    assert [(one.source, one.row, one.stage) for one in data.rejects] == [(f"epochs/{name}.csv", -1, stage)]
    assert reason in data.rejects[0].reason


def test_ending_in_capitals_is_a_bad_name_and_what_is_declared_elsewhere_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"epochs/1/9_dog_1_1.CSV": EPOCH, "epochs/people.csv": "participant,age\n1,20\n2,30\n"})
    write(tmp_path, {"epochs/1/readme.txt": "", "other/1_dog_1_1.csv": ""})
    _, data = epochs(tmp_path, participants={"path": "epochs/people.csv"}, nuisance=["age"])
    assert [one.source for one in data.rejects] == ["epochs/1/9_dog_1_1.CSV"]
    assert data.trials["nuisance:age"].tolist() == [20, 20, 20, 30, 30]


def test_rating_that_is_missing_costs_that_label_alone(tmp_path: Path) -> None:
    _, data = epochs(tmp_path, [*NAMES, "2/7_dog 7_NA_4"])
    assert data.trials["arousal_index"].tolist()[-2:] == [-1, 0]
    assert reasons(data.rejects) == [
        ("epochs/2/7_dog 7_NA_4.csv", -1, "missing label arousal; the trial is kept for valence")
    ]


def test_two_files_that_say_different_things_of_a_trial_are_both_rejected(tmp_path: Path) -> None:
    root, data = epochs(tmp_path, [*NAMES, "1/0_dog 7_5_6"])
    assert ("1", "0/dog 7") not in pairs(data)
    both = "epochs/1/0_dog 7_4_6.csv, epochs/1/0_dog 7_5_6.csv contradict each other in arousal"
    assert [(source, both in reason) for source, _, reason in reasons(data.rejects)] == [
        ("epochs/1/0_dog 7_4_6.csv", True),
        ("epochs/1/0_dog 7_5_6.csv", True),
    ]
    read = read_recording(spec_of(), root, data.recordings[0], data.trials)
    assert [trial.trial for trial in read.trials] == ["1/falcon 1", "2/koi fish 1"]
    assert read.rejects == []


def test_names_that_begin_alike_are_not_mixed_up(tmp_path: Path) -> None:
    """0_a_b_4_6 could also be the picture "a" with the rating "b": the longer name of a picture counts."""
    write(tmp_path, {"epochs/1/0_a_4_5.csv": EPOCH.replace(".45358", ".11111")})
    root, data = epochs(tmp_path, ["1/0_a_b_4_6", "1/1_c_5_6"])
    assert pairs(data) == [("1", "0/a"), ("1", "0/a_b"), ("1", "1/c")]
    assert data.rejects == []
    read = read_recording(spec_of(), root, data.recordings[0], data.trials)
    assert read.rejects == []
    x_px = {one.trial: float(one.samples["x_px"][0]) for one in read.trials if one.samples is not None}
    assert x_px == pytest.approx({"0/a": 111.11, "0/a_b": 453.58, "1/c": 453.58})


@pytest.mark.parametrize(
    ("path", "columns", "name", "said"),
    [
        ("{n}_{image}_{a}_{b}.csv", {"stimulus": "image"}, "3_x_y_z_1_2.csv", ["3", "x_y_z", "1", "2"]),
        ("{n}_{stimulus}_{a}.csv", {}, "3_x_y_1.csv.gz", ["3", "x_y", "1"]),
        ("{a}_{b}.csv", {}, "x_y_z.csv", ["x_y", "z"]),
        ("{image}-{a}{b}.csv", {"stimulus": "image"}, "p-q-12.csv", ["p-q", "1", "2"]),
        ("{n}/{image}_*.csv", {"stimulus": "image"}, "3/x_y_z.csv", ["3", "x_y"]),
        ("{n}_{image}.csv", {"stimulus": "image"}, "3.csv", []),
    ],
)
def test_only_the_stimulus_may_hold_what_separates(
    path: str, columns: dict[str, str], name: str, said: list[str]
) -> None:
    first = next(iter(PLACEHOLDER.findall(path)))
    trials = {"reader": "names", "path": path, "columns": {"participant": first, "trial": first, **columns}}
    spec = spec_of(trials=trials, samples={"reader": "gazepoint", "path": "g/{participant}.csv"}).trials
    assert list(ids_in_name(spec, name).values()) == said


def test_gaze_of_any_reader_may_have_all_parts_of_the_name_in_its_path(tmp_path: Path) -> None:
    columns = {"timestamp_ms": "t", "x_px": "x", "y_px": "y"}
    samples = {**EPOCHS["samples"], "reader": "delimited", "columns": columns}
    root, data = epochs(tmp_path, content="t,x,y\n0,1,2\n10,3,4\n", samples=samples)
    assert data.spec.samples is not None
    assert data.spec.samples.path == "epochs/{participant}/{seq}_{trial}_{arousal}_{valence}.csv"
    read = read_recording(data.spec, root, data.recordings[0], data.trials)
    assert [trial.trial for trial in read.trials] == ["0/dog 7", "1/falcon 1", "2/koi fish 1"]


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        pytest.param({"columns": {"trial": ["seq", "nr"]}}, "nr: no such placeholder in epochs/", id="unknown_part"),
        pytest.param({"path": "{seq}_{image}.csv"}, "participant: no such placeholder", id="no_participant"),
        pytest.param({"delimiter": ";", "skip_lines": 1}, "delimiter, skip_lines have no meaning", id="keys_of_text"),
        pytest.param({"reader": "name"}, "files of name do not tell of trials (those of: names, ", id="unknown_reader"),
    ],
)
def test_declaration_that_names_cannot_fulfil_is_an_error(trials: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec_of(trials={**EPOCHS["trials"], **trials})
    assert any(error.startswith("trials") and words in error for error in caught.value.errors)


def test_folder_without_a_file_of_that_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file epochs/[^(]* \(there are: epochs/1/a.csv\)"):
        epochs(tmp_path, ["1/a"])


def slow_readings(parts: list[str], text: str, ids: dict[str, str]) -> list[dict[str, str]]:
    """Every reading, by trying every end of every part."""
    if len(parts) == 1:
        return [ids] if text == parts[0] else []
    if not text.startswith(parts[0]):
        return []
    rest, name, found = text[len(parts[0]) :], parts[1], []
    for end in range(len(rest) + 1):
        value = rest[:end]
        if "/" in value or (name and (not value or ids.get(name, value) != value)):
            continue
        found += slow_readings(parts[2:], rest[end:], ids | ({name: value} if name else {}))
    return found


def test_paths_are_read_as_by_trying_every_reading() -> None:
    rng, template = np.random.default_rng(0), ""
    tokens, letters, several = ["{a}", "{b}", "*", "_", "/", "x", "{c}", "_"], list("x_/-y."), 0
    for number in range(3000):
        template = "".join(rng.choice(tokens, rng.integers(1, 8))) if number % 5 == 0 else template
        path = "".join(rng.choice(letters, rng.integers(0, 9)))
        expected: list[dict[str, str]] = []
        for ids in slow_readings(PLACEHOLDER.split(template), path, {}):
            spelt = {name: identifier(value) for name, value in ids.items()}
            expected += [] if spelt in expected else [spelt]
        assert ids_in_path(template, path) == expected, (template, path)
        assert fits_path(template, path) == bool(expected)
        several += len(expected) > 1
    assert several > 50
