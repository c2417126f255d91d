# SPDX-License-Identifier: Apache-2.0
"""MATLAB files: OSIE's cell array, folders of one file per picture and observer, broken files.

The OSIE file is tested on the original; the layouts of MIT1003 and CAT2000 on files made here.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.dataset import load_pictures, open_pictures
from gazeray.stimuli.readers.matlab import load_mat
from gazeray.storage import Folder
from gazeray.tables import DataError
from tests.stimuli.tiny_pictures import declared, jpegs, mat, opened, reasons

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"
AB = jpegs("a.jpg", "b.jpg")
OSIE = {"reader": "osie", "path": "fixations.mat"}
OSIE_CELL = "the cell is not a picture with its fixations"


def cell(*items: Any) -> np.ndarray:
    """A column of cells."""
    cells = np.empty((len(items), 1), dtype=object)
    cells[:, 0] = items
    return cells


def structs_of(*items: dict[str, Any]) -> np.ndarray:
    """A struct array, 1 x N."""
    structs = np.empty((1, len(items)), dtype=[(name, object) for name in items[0]])
    for place, item in enumerate(items):
        structs[0, place] = tuple(np.asarray(value) for value in item.values())
    return structs


def osie_picture(name: str, *subjects: tuple[list[float], list[float]]) -> dict[str, Any]:
    return {"img": name, "subjects": cell(*({"fix_x": x, "fix_y": y, "fix_duration": x} for x, y in subjects))}


@pytest.mark.real
def test_osie_mat_and_csv_hold_the_same_fixations(real_data: Path) -> None:
    root, spec = Folder(real_data / "saliency_osie"), load_pictures(CONFIGS / "osie.yaml")
    columns = {"stimulus": "image", "observer": "observer", "x_px": "x_px", "y_px": "y_px"}
    table = declared(
        pictures=spec.pictures.model_dump(), fixations={"reader": "table", "path": "fixations.csv", "columns": columns}
    )
    one, other = open_pictures(spec, root), open_pictures(table, root)
    assert one.observers == other.observers == [str(number) for number in range(1, 16)]
    assert len(one.pictures) == len(one.gaze) == 140
    assert sum(map(len, one.gaze.values())) == 19_852
    for stimulus, gaze in one.gaze.items():
        for column in ("x_px", "y_px", "observer"):
            np.testing.assert_array_equal(getattr(gaze, column), getattr(other.gaze[stimulus], column))
    assert len(one.rejects) == len(other.rejects) == 560
    assert sum(int(reject.reason.split()[0]) for reject in one.rejects) == 98_321 - 19_852


def test_osie_cells_become_pictures_and_observers(tmp_path: Path) -> None:
    pictures = cell(
        osie_picture("a.jpg", ([1.5, 2.5], [3, 4]), ([], []), ([9], [8])), osie_picture("b.jpg", ([7], [6]))
    )
    found = opened(tmp_path, {**AB, "fixations.mat": mat(fixations=pictures)}, fixations=OSIE)
    assert found.observers == ["1", "3"]
    assert found.gaze["a"].x_px.tolist() == [1.5, 2.5, 9.0]
    assert found.gaze["a"].y_px.tolist() == [3.0, 4.0, 8.0]
    assert found.gaze["a"].observer.tolist() == [0, 0, 1]
    assert found.gaze["b"].x_px.tolist() == [7.0]


def test_osie_cells_that_are_no_pictures_are_rejected(tmp_path: Path) -> None:
    good, uneven = osie_picture("a.jpg", ([1], [2])), osie_picture("b.jpg", ([1, 2], [2]))
    data = mat(fixations=cell(good, uneven, {"img": "c.jpg"}, 5.0, osie_picture("a.jpg", ([3], [4]))))
    found = opened(tmp_path, {**AB, "fixations.mat": data}, fixations=OSIE)
    assert [(row, reason) for _, row, reason in reasons(found.rejects)] == [
        (2, f"{OSIE_CELL}: fix_x and fix_y of subject 1 are not two vectors of one length"),
        (3, f"{OSIE_CELL}: no struct with img and subjects"),
        (4, f"{OSIE_CELL}: no struct with img and subjects"),
        (5, "a.jpg is there again; the first is used"),
        (-1, "a picture without fixations"),
    ]
    assert found.gaze["a"].x_px.tolist() == [1.0]


def test_osie_subjects_in_any_array_are_observers_and_empty_ones_have_no_fixations(tmp_path: Path) -> None:
    one, other = {"fix_x": [1.0, 2.0], "fix_y": [3.0, 4.0]}, {"fix_x": [5.0], "fix_y": [6.0]}
    structs = structs_of(one, other)
    for number, subjects in enumerate((cell(one, [], other), cell(structs), structs, cell(cell(one), other))):
        picture = {"img": "a.jpg", "subjects": subjects}
        for fixations in (cell(picture), picture, cell(cell(picture, []))):
            data = mat(fixations=fixations)
            found = opened(tmp_path / f"{number}", {**AB, "fixations.mat": data}, fixations=OSIE)
            assert found.gaze["a"].x_px.tolist() == [1.0, 2.0, 5.0]
            assert found.gaze["a"].observer.tolist() == [0, 0, 1]
            assert found.observers == (["1", "3"] if number == 0 else ["1", "2"])


@pytest.mark.parametrize(
    ("subjects", "reason"),
    [
        pytest.param(np.ones((3, 4)), "subjects are no cells or structs", id="matrix"),
        pytest.param("text", "subjects are no cells or structs", id="text"),
        pytest.param(cell(), "subjects are no cells or structs", id="none"),
        pytest.param(cell({"fix_x": [1.0]}), "subject 1 is not one struct with fix_x and fix_y", id="no_fix_y"),
        pytest.param(cell(5.0, 6.0), "subject 1 is not one struct", id="numbers"),
        pytest.param(cell({"fix_x": "a", "fix_y": "b"}), "fix_x and fix_y of subject 1 are not numbers", id="letters"),
        pytest.param(cell({"fix_x": np.ones((2, 3)), "fix_y": np.ones((2, 3))}), "are not two vectors", id="matrices"),
    ],
)
def test_osie_subjects_that_are_none_reject_their_picture_alone(tmp_path: Path, subjects: Any, reason: str) -> None:
    data = mat(fixations=cell({"img": "a.jpg", "subjects": subjects}, osie_picture("b.jpg", ([1.0], [2.0]))))
    found = opened(tmp_path, {**AB, "fixations.mat": data}, fixations=OSIE)
    assert list(found.gaze) == ["b"]
    assert found.rejects[0].row == 1
    assert reason in found.rejects[0].reason


def test_osie_subject_with_several_structs_is_not_entered(tmp_path: Path) -> None:
    one = {"fix_x": [1.0], "fix_y": [2.0]}
    pictures = cell(
        {"img": "a.jpg", "subjects": cell(structs_of(one, one), one)}, osie_picture("b.jpg", ([1.0], [2.0]))
    )
    found = opened(tmp_path, {**AB, "fixations.mat": mat(fixations=pictures)}, fixations=OSIE)
    assert found.rejects[0].reason == f"{OSIE_CELL}: subject 1 is not one struct with fix_x and fix_y"


BROKEN = [
    pytest.param(b"", "the file is empty", id="empty"),
    pytest.param(b"no mat file at all" * 20, "not a MATLAB file of version 5 to 7", id="text"),
    pytest.param(mat(fixations=np.ones((9, 9)))[:200], "cut off or damaged", id="cut_off"),
    pytest.param(mat(fixations=np.ones((9, 9)))[:140], "cut off or damaged", id="cut_off_early"),
    pytest.param(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(999), "7.3", id="version_7_3"),
]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *BROKEN,
        pytest.param(mat(other=1), "no cell array `fixations`", id="other_variable"),
        pytest.param(mat(fixations=cell(1.0, 2.0)), "no picture with fixations", id="cells_of_numbers"),
    ],
)
def test_osie_file_that_cannot_be_used_is_an_error(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=rf"fixations.mat: .*{reason}"):
        opened(tmp_path, {**AB, "fixations.mat": data}, fixations=OSIE)


VALUES: dict[str, Any] = {
    "doubles": np.random.default_rng(0).random((4, 7)),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "yes": np.array([[True, False]]),
    "longs": np.array([[-(2**40), 2**40]]),
    "cube": np.arange(24.0).reshape(2, 3, 4),
    "nothing": np.empty((0, 0)),
    "word": "gr\xfc\xdfe",
    "cells": cell("a", 2.5, cell(1.0, "b")),
    "one": {"x": np.arange(3.0), "inner": {"y": 5.0, "name": "z"}},
}


def plain(value: Any) -> Any:
    """What scipy.io.loadmat returns in the form of `load_mat`."""
    if value.dtype.names:
        return [{name: plain(record[name]) for name in value.dtype.names} for record in value.reshape(-1, order="F")]
    if value.dtype == object:
        return [plain(item) for item in value.reshape(-1, order="F")]
    return str(value[0]) if value.dtype.kind == "U" else value


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    return one == other if isinstance(one, str) else one.shape == other.shape and bool((one == other).all())


@pytest.mark.parametrize("compressed", [False, True])
def test_values_agree_with_scipy(compressed: bool) -> None:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, VALUES, do_compression=compressed)
    found = load_mat(io.BytesIO(buffer.getvalue()), "a.mat")
    other = {name: plain(value) for name, value in scipy.io.loadmat(buffer).items() if not name.startswith("__")}
    assert sorted(found) == sorted(other) == sorted(VALUES)
    assert all(equal(found[name], other[name]) for name in found)


@pytest.mark.real
def test_osie_file_agrees_with_scipy(real_data: Path) -> None:
    path = real_data / "saliency_osie" / "fixations.mat"
    with path.open("rb") as stream:
        found = load_mat(stream, path.name)
    assert equal(found["fixations"], plain(scipy.io.loadmat(path)["fixations"]))


def test_sparse_arrays_and_complex_numbers_are_left_out() -> None:
    found = load_mat(io.BytesIO(mat(thin=scipy.sparse.eye_array(3), both=np.array([[1 + 2j]]), plain=1.0)), "a.mat")
    assert (found["thin"], found["both"], found["plain"]) == (None, None, 1.0)


def test_damaged_files_raise_read_errors_alone() -> None:
    rng, data = np.random.default_rng(0), mat(**VALUES)
    outcomes = set()
    for length in range(0, len(data), 7):
        for broken in (bytearray(data[:length]), bytearray(data)):
            for at in rng.integers(min(128, len(broken) - 1), len(broken), 2) if broken else ():
                broken[at] = rng.integers(256)
            try:
                outcomes.add(bool(load_mat(io.BytesIO(bytes(broken)), "a.mat")))
            except ReadError:
                outcomes.add(False)
    assert outcomes == {True, False}


def mit_struct(samples: np.ndarray) -> dict[str, Any]:
    return {"DATA": {"eyeData": samples}, "imgName": "a.jpeg"}


def test_mit1003_layout_gives_fixations_from_samples_without_the_first(tmp_path: Path) -> None:
    places = [(10.0, 20.0), (200.0, 30.0), (60.0, 90.0)]
    samples = np.concatenate([np.tile([*place, 0.0], (48, 1)) for place in places])
    files: dict[str, str | bytes] = {
        "ALLSTIMULI/a.jpeg": AB["pictures/a.jpg"],
        "DATA/hp/a.mat": mat(i_a=mit_struct(samples)),
        "DATA/CNG/a.mat": mat(i_a=mit_struct(samples[::-1])),
    }
    spec = load_pictures(CONFIGS / "mit1003.yaml").model_dump(exclude_unset=True)
    found = opened(tmp_path, files, pictures=spec["pictures"], fixations=spec["fixations"])
    assert found.observers == ["CNG", "hp"]
    assert found.gaze["a"].observer.tolist() == [0, 0, 1, 1]
    assert found.gaze["a"].x_px.tolist() == [199.0, 9.0, 199.0, 59.0]
    assert found.gaze["a"].y_px.tolist() == [29.0, 19.0, 29.0, 89.0]


def test_cat2000_layout_gives_pixel_centres_by_category(tmp_path: Path) -> None:
    locations = np.zeros((12, 20), np.uint8)
    locations[0, 19] = locations[11, 0] = locations[4, 7] = 1
    files: dict[str, str | bytes] = {
        "Stimuli/Action/001.jpg": AB["pictures/a.jpg"],
        "Stimuli/Art/001.jpg": AB["pictures/a.jpg"],
        "Stimuli/Art/Output/001_SaliencyMap.jpg": AB["pictures/a.jpg"],
        "FIXATIONLOCS/Action/001.mat": mat(fixLocs=locations),
        "FIXATIONLOCS/Art/001.mat": mat(fixLocs=locations[::-1]),
    }
    spec = load_pictures(CONFIGS / "cat2000.yaml").model_dump(exclude_unset=True)
    found = opened(tmp_path, files, pictures=spec["pictures"], fixations=spec["fixations"])
    assert [picture.stimulus for picture in found.pictures] == ["Action_001", "Art_001"]
    assert found.gaze["Action_001"].x_px.tolist() == [19.5, 7.5, 0.5]
    assert found.gaze["Action_001"].y_px.tolist() == [0.5, 4.5, 11.5]
    assert found.gaze["Art_001"].y_px.tolist() == [0.5, 7.5, 11.5]
    assert found.observers == []
    assert found.rejects == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        *BROKEN,
        pytest.param(mat(one=1, two=2), r"2 variables \(one, two\): say which", id="two_variables"),
        pytest.param(mat(s={"DATA": {"other": 1}}), r"no field eyeData .*there: other", id="other_field"),
        pytest.param(mat(s={"DATA": 4.0}), "no field eyeData .*no struct", id="no_struct"),
        pytest.param(mat(s={"DATA": {"eyeData": "text"}}), "not a matrix of numbers", id="text_inside"),
        pytest.param(mat(s={"DATA": {"eyeData": np.ones((5, 1))}}), "has 1 column", id="one_column"),
    ],
)
def test_mat_file_that_cannot_be_used_is_an_error(tmp_path: Path, data: bytes, reason: str) -> None:
    spec = {"reader": "mat_folders", "path": "DATA/{observer}/{stimulus}.mat", "variable": "*.DATA.eyeData"}
    with pytest.raises(DataError, match=rf"DATA/hp/a.mat: .*{reason}"):
        opened(tmp_path, {**AB, "DATA/hp/a.mat": data}, fixations=spec)
