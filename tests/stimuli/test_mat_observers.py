# SPDX-License-Identifier: Apache-2.0
"""MATLAB files with several observers in one: every element of a struct array or cell is one, wherever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.gaze.readers.base import ReadError
from gazeray.stimuli.dataset import PictureSet, load_pictures, open_pictures
from gazeray.stimuli.readers.matlab import NOTHING, elements
from gazeray.storage import Folder
from tests.stimuli.test_matlab import cell, structs_of
from tests.stimuli.tiny_pictures import jpegs, mat, opened, reasons

A = jpegs("a.jpg")
SALICON = {"reader": "mat_folders", "path": "{stimulus}.mat", "variable": "gaze.fixations", "offset_px": -0.5}
ONE, TWO, NO = np.array([[1, 2], [3, 4]], np.uint16), np.array([[5.0, 6.0]]), np.empty((0, 0))


def worker(fixations: Any, location: Any = ONE) -> dict[str, Any]:
    return {"location": location, "timestamp": np.arange(2)[:, None], "fixations": fixations}


def read(folder: Path, data: bytes, **changes: Any) -> PictureSet:
    return opened(folder, {**A, "a.mat": data}, fixations={**SALICON, **changes})


def places(found: PictureSet) -> list[tuple[float, float, str]]:
    gaze = found.gaze["a"]
    who = [found.observers[code] if code >= 0 else "" for code in gaze.observer]
    return list(zip(gaze.x_px.tolist(), gaze.y_px.tolist(), who, strict=True))


def test_salicon_case_has_six_fixations_of_three_observers(cases: Path) -> None:
    root = Folder(cases / "salicon-mat")
    found = open_pictures(load_pictures(cases / "salicon-mat" / "dataset.yaml"), root)
    assert len(found.pictures) == 6
    assert all(len(gaze) == 6 and len(np.unique(gaze.observer)) == 3 for gaze in found.gaze.values())
    assert found.observers == ["1", "2", "3"]
    assert found.rejects == []
    numbered = [note for note in found.notes if "numbered by their place" in note]
    assert len(numbered) == 1
    assert numbered[0].endswith("(in 6 files, first: fixations/COCO_train2014_000000000000.mat)")


@pytest.mark.parametrize("turned", [False, True], ids=["column", "row"])
@pytest.mark.parametrize("array", [structs_of, cell], ids=["structs", "cells"])
def test_each_element_is_an_observer_and_an_empty_one_has_no_fixations(
    tmp_path: Path, array: Any, turned: bool
) -> None:
    workers = array(worker(ONE), worker(NO), worker(TWO))
    found = read(tmp_path, mat(gaze=workers.T if turned else workers))
    assert places(found) == [(0.5, 1.5, "1"), (2.5, 3.5, "1"), (4.5, 5.5, "3")]
    assert found.rejects == []


def test_mouse_positions_of_either_edition_are_read_too(tmp_path: Path) -> None:
    found = read(tmp_path, mat(gaze=structs_of(worker(TWO), worker(TWO, TWO))), variable="gaze.location")
    assert places(found) == [(0.5, 1.5, "1"), (2.5, 3.5, "1"), (4.5, 5.5, "2")]


@pytest.mark.parametrize(
    ("variables", "variable"),
    [
        pytest.param({"gaze": cell(ONE, NO, TWO)}, "gaze", id="cell_of_matrices"),
        pytest.param({"gaze": cell(ONE, NO, TWO)}, "*", id="only_variable"),
        pytest.param({"gaze": {"all": cell(worker(ONE), NO, worker(TWO))}}, "gaze.all.fixations", id="empty_cell"),
        pytest.param({"gaze": {"all": cell(ONE, cell(), TWO)}}, "gaze.all", id="cells_in_a_struct"),
        pytest.param({"gaze": cell(cell(ONE, NO, TWO))}, "gaze", id="cell_in_a_cell"),
        pytest.param({"gaze": cell(cell(ONE), cell(NO), cell(TWO))}, "gaze", id="cells_of_single_cells"),
        pytest.param({"gaze": cell(structs_of(worker(ONE), worker(NO), worker(TWO)))}, "gaze.fixations", id="wrapped"),
    ],
)
def test_elements_are_found_wherever_they_are(tmp_path: Path, variables: dict[str, Any], variable: str) -> None:
    found = read(tmp_path, mat(**variables), variable=variable)
    assert places(found) == [(0.5, 1.5, "1"), (2.5, 3.5, "1"), (4.5, 5.5, "3")]


def test_one_element_is_of_nobody_in_particular(tmp_path: Path) -> None:
    found = read(tmp_path, mat(gaze=structs_of(worker(ONE))))
    assert places(found) == [(0.5, 1.5, ""), (2.5, 3.5, "")]
    assert found.notes == [
        "the data do not say which observer a fixation is of: there is no ceiling of other observers"
    ]


def test_samples_and_maps_of_several_elements_are_of_several_observers(tmp_path: Path) -> None:
    samples = [np.tile([[float(x), 5.0]], (48, 1)) for x in (3, 9)]
    detect = {"sampling_hz": 240, "dispersion_px": 3}
    found = read(tmp_path / "samples", mat(gaze=cell(*samples)), variable="*", holds="samples", detect=detect)
    assert places(found) == [(2.5, 4.5, "1"), (8.5, 4.5, "2")]
    maps = np.zeros((12, 20)), np.zeros((12, 20))
    maps[0][2, 3], maps[1][4, 5] = 1, 1
    spec = {key: value for key, value in SALICON.items() if key != "offset_px"} | {"variable": "*", "holds": "map"}
    both = opened(tmp_path / "maps", {**A, "a.mat": mat(gaze=cell(*maps))}, fixations=spec)
    assert places(both) == [(3.5, 2.5, "1"), (5.5, 4.5, "2")]


def test_first_fixations_are_left_out_of_each_observer(tmp_path: Path) -> None:
    found = read(tmp_path, mat(gaze=cell(ONE, TWO)), variable="*", skip_first=1)
    assert places(found) == [(2.5, 3.5, "1")]


def test_files_at_fault_are_refused_by_name_and_the_others_kept(tmp_path: Path) -> None:
    broken = {
        "b": (mat(gaze=cell(cell(ONE, TWO), TWO)), "several elements at two places"),
        "c": (mat(gaze=structs_of(worker(cell(ONE, TWO)), worker(ONE))), "several elements at two places"),
        "d": (
            mat(gaze=structs_of(worker(ONE), worker("text"))),
            "gaze.fixations, element 2 is not a matrix of numbers",
        ),
        "e": (mat(gaze=structs_of(worker(ONE), worker(np.ones((3, 1))))), "element 2 has 1 column, not x and y"),
        "f": (mat(gaze=structs_of(worker(ONE), worker(1j))), "element 2 is not a matrix of numbers"),
        "g": (mat(gaze=cell(worker(ONE), 5.0)), "no field fixations in gaze.fixations (there: no struct)"),
    }
    files = {
        **jpegs(*(f"{name}.jpg" for name in broken)),
        **{f"{name}.mat": data for name, (data, _) in broken.items()},
    }
    found = opened(tmp_path, {**A, **files, "a.mat": mat(gaze=structs_of(worker(ONE)))}, fixations=SALICON)
    assert list(found.gaze) == ["a"]
    told = {source: reason for source, _, reason in reasons(found.rejects) if source.endswith(".mat")}
    assert sorted(told) == [f"{name}.mat" for name in broken]
    for name, (_, reason) in broken.items():
        assert reason in told[f"{name}.mat"]


def test_nobody_in_a_file_is_a_picture_without_fixations(tmp_path: Path) -> None:
    nobody = {"b": NO, "c": structs_of(worker(NO), worker(NO)), "d": cell(), "e": cell(NO, NO), "f": worker(cell())}
    files = {**A, **jpegs(*(f"{name}.jpg" for name in nobody))}
    files |= {f"{name}.mat": mat(gaze=gaze) for name, gaze in {"a": structs_of(worker(ONE)), **nobody}.items()}
    found = opened(tmp_path / "plain", files, fixations=SALICON)
    assert reasons(found.rejects) == [(f"pictures/{n}.jpg", -1, "a picture without fixations") for n in nobody]
    files = {f"eva/{name}" if name.endswith("mat") else name: data for name, data in files.items()}
    found = opened(tmp_path / "eva", files, fixations={**SALICON, "path": "{observer}/{stimulus}.mat"})
    assert reasons(found.rejects) == [(f"pictures/{n}.jpg", -1, "a picture without fixations") for n in nobody]


def test_path_that_names_the_observer_allows_one_that_is_not_empty(tmp_path: Path) -> None:
    spec = {**SALICON, "path": "{observer}/{stimulus}.mat"}
    files = {"eva/a.mat": mat(gaze=cell(worker(ONE), NO)), "bob/a.mat": mat(gaze=cell(worker(ONE), worker(TWO)))}
    found = opened(tmp_path, {**A, **files}, fixations=spec)
    assert places(found) == [(0.5, 1.5, "eva"), (2.5, 3.5, "eva")]
    assert reasons(found.rejects) == [
        ("bob/a.mat", -1, "gaze.fixations has 2 elements where the path names one observer")
    ]


def test_elements_of_a_path() -> None:
    found = {"one": [{"two": [[1.0], [], "x"]}], "flat": [{"x": 1.0}, {"x": [2.0]}], "none": []}
    assert elements(found, "one.two", "a.mat") == [1.0, NOTHING, "x"]
    assert elements(found, "flat.x", "a.mat") == [1.0, 2.0]
    assert elements(found, "none.x", "a.mat") == []
    with pytest.raises(ReadError, match="several elements at two places"):
        elements({"a": [{"x": [1.0, 2.0]}, {"x": 3.0}]}, "a.x", "a.mat")
