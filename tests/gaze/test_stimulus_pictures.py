# SPDX-License-Identifier: Apache-2.0
"""The pictures that people looked at: found by a path, missing, not used, or there more than once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazeray.config import ConfigError
from gazeray.gaze.dataset import listed_files
from gazeray.gaze.stimulus_pictures import Pictures, find_pictures
from gazeray.storage import Folder
from gazeray.tables import DataError
from tests.gaze.tiny_dataset import declared, opened, write

STIMULI = ["dog 7", "big_dog", "falcon 1", "dog 7"]


def found(folder: Path, path: str, *names: str, stimuli: list[str] | None = None) -> Pictures:
    """What is found in a folder with files of these names."""
    root = write(folder, dict.fromkeys(names, b"no picture: nobody opens it"))
    return find_pictures(declared(pictures={"path": path}), listed_files(root), STIMULI if stimuli is None else stimuli)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("Images/{stimulus}.jpg", ["Images/dog 7.jpg", "Images/big_dog.jpg", "Images/falcon 1.jpg"]),
        ("{stimulus}.*", ["dog 7.png", "big_dog.jpeg", "falcon 1.JPG"]),
        ("{set}/{stimulus}_{size}.png", ["a/dog 7_s.png", "b/big_dog_s.png", "a/falcon 1_l.png"]),
        ("*/{stimulus}.jpg", ["x/dog 7.jpg", "y/big_dog.jpg", "x/falcon 1.jpg"]),
    ],
)
def test_every_stimulus_has_its_picture(tmp_path: Path, path: str, names: list[str]) -> None:
    pictures = found(tmp_path, path, *names)
    assert pictures.paths == {"big_dog": names[1], "dog 7": names[0], "falcon 1": names[2]}
    assert list(pictures.paths) == ["big_dog", "dog 7", "falcon 1"]
    assert (pictures.missing, pictures.unused, pictures.notes) == ([], [], [])


def test_missing_and_unused_pictures_are_named(tmp_path: Path) -> None:
    pictures = found(tmp_path, "{stimulus}.jpg", "dog 7.jpg", "Falcon 1.jpg", "cat.jpg", "readme.txt")
    assert pictures.paths == {"dog 7": "dog 7.jpg"}
    assert pictures.missing == ["big_dog", "falcon 1"]
    assert pictures.unused == ["Falcon 1.jpg", "cat.jpg"]
    assert pictures.notes == [
        "stimuli without a picture: 2 of 3 (big_dog, falcon 1)",
        "there it is spelt 'Falcon 1', not 'falcon 1': names are compared as text",
        "pictures that no trial uses: 2 (Falcon 1.jpg, cat.jpg)",
    ]


def test_decomposed_letters_of_macos_are_the_same_name(tmp_path: Path) -> None:
    assert found(tmp_path, "{stimulus}.jpg", "ca\u0301t.jpg", stimuli=["c\u00e1t"]).missing == []


def test_stimulus_with_several_pictures_is_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        found(tmp_path, "{stimulus}.*", "dog 7.jpg", "dog 7.png", "big_dog.jpg", "falcon 1.jpg", "cat.jpg", "cat.png")
    assert caught.value.errors == ["pictures: stimulus 'dog 7' has several: dog 7.jpg, dog 7.png"]


def test_no_picture_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file matches Images/\{stimulus\}.jpg \(there are: x.png\)"):
        found(tmp_path / "a", "Images/{stimulus}.jpg", "x.png")
    with pytest.raises(DataError, match="stimuli without a picture: 3 of 3") as caught:
        found(tmp_path / "b", "{stimulus}.png", "x.png")
    assert caught.value.errors[-1] == "pictures that no trial uses: 1 (x.png)"


@pytest.mark.parametrize("path", ["Images/*.jpg", "Images/{picture}.jpg", "../{stimulus}.jpg", "{stimulus}{.jpg"])
def test_path_that_cannot_mean_pictures_is_an_error(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        declared(pictures={"path": path})
    assert caught.value.errors[0].startswith("pictures.path: ")


def test_declared_pictures_are_looked_for_only_where_they_are_wanted(tmp_path: Path) -> None:
    data = opened(tmp_path, pictures={"path": "Images/{stimulus}.jpg"})
    assert len(data.trials) == 4
    assert find_pictures(declared(), listed_files(Folder(tmp_path)), ["1"]) == Pictures({}, [], [], [])
