# SPDX-License-Identifier: Apache-2.0
"""Opening a set of pictures: what belongs together, what is rejected, what the declaration may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeray.config import ConfigError
from gazeray.gaze.files import natural
from gazeray.stimuli.dataset import clean_gaze, load_pictures, open_pictures
from gazeray.stimuli.readers import PICTURE_READERS, Gaze, register_picture_reader
from gazeray.stimuli.readers.base import stimulus_id
from gazeray.storage import Folder
from gazeray.tables import DataError
from tests.stimuli.tiny_pictures import CSV, TABLE, declared, encoded, jpegs, opened, photo, reasons, write

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"
FILES = {**jpegs("a.jpg", "b.jpg"), "fixations.csv": CSV}
DETECT = {"sampling_hz": 240, "dispersion_px": 35}
MAPS = {"path": "maps/{stimulus}.png"}
MAP = encoded(photo()[:, :, 0])


@pytest.mark.parametrize("name", ["osie", "salicon", "mit1003", "cat2000"])
def test_declarations_that_come_with_gazeray_are_valid(name: str) -> None:
    spec = load_pictures(CONFIGS / f"{name}.yaml")
    assert spec.name == name
    assert spec.notes


def test_pictures_and_fixations_that_do_not_meet_are_rejected_once_each(tmp_path: Path) -> None:
    files = {**FILES, **jpegs("unseen.jpg"), "fixations.csv": CSV + "gone.jpg,1,1,1\ngone.jpg,2,1,1\n"}
    found = opened(tmp_path, files)
    assert [picture.stimulus for picture in found.pictures] == ["a", "b"]
    assert reasons(found.rejects) == [
        ("fixations.csv", -1, "2 fixations without picture: 'gone.jpg'"),
        ("pictures/unseen.jpg", -1, "a picture without fixations"),
    ]
    assert [reject.trial for reject in found.rejects] == ["gone.jpg", "unseen"]


def test_an_observer_of_missing_pictures_alone_does_not_count(tmp_path: Path) -> None:
    assert opened(tmp_path, {**FILES, "fixations.csv": CSV + "gone.jpg,77,1,1\n"}).observers == ["1", "2", "10"]


def test_two_pictures_of_one_name_are_both_rejected(tmp_path: Path) -> None:
    files = {**FILES, "pictures/a.png": encoded(photo()), "pictures/notes.txt": "no picture"}
    found = opened(tmp_path, files, pictures={"path": "pictures/{stimulus}"})
    assert [picture.stimulus for picture in found.pictures] == ["b"]
    assert reasons(found.rejects) == [
        ("pictures/a.jpg", -1, "duplicate: pictures/a.png has the same name 'a'"),
        ("pictures/a.png", -1, "duplicate: pictures/a.jpg has the same name 'a'"),
        ("fixations.csv", -1, "2 fixations without picture: 'a.jpg'"),
    ]


def test_maps_stand_in_for_fixations(tmp_path: Path) -> None:
    files = {**jpegs("a.jpg", "b.jpg", "c.jpg"), "maps/a.png": MAP, "maps/c.png": MAP, "maps/z.png": MAP}
    found = opened(tmp_path, files, fixations=None, maps=MAPS)
    assert [(picture.stimulus, picture.map_path) for picture in found.pictures] == [
        ("a", "maps/a.png"),
        ("c", "maps/c.png"),
    ]
    assert found.gaze == {}
    assert reasons(found.rejects) == [
        ("maps/z.png", -1, "a map without picture: 'z'"),
        ("pictures/b.jpg", -1, "a picture without fixations and map"),
    ]


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    found = opened(tmp_path, {**FILES, "pictures/._a.jpg": "", ".cache/fixations.csv": "broken"})
    assert (len(found.pictures), found.rejects) == (2, [])


def test_content_changes_with_gaze_pictures_and_declaration_alone(tmp_path: Path) -> None:
    first = opened(tmp_path / "one", FILES).content
    assert opened(tmp_path / "two", {**FILES, "other.txt": "x"}).content == first
    assert opened(tmp_path / "three", {**FILES, "fixations.csv": CSV.replace("5.25", "5.5")}).content != first
    assert opened(tmp_path / "four", {**FILES, **jpegs("c.jpg")}).content != first
    assert open_pictures(declared(px_per_deg=30), Folder(tmp_path / "one")).content != first


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param({"fixations.csv": CSV}, r"no picture matches pictures/\{stimulus\}.jpg", id="no_pictures"),
        pytest.param(jpegs("a.jpg"), "no gaze file matches fixations.csv", id="no_gaze_file"),
        pytest.param(
            {**jpegs("z.jpg"), "fixations.csv": CSV}, "no picture is left; rejected were: 1 x 2 fix", id="none_fits"
        ),
        pytest.param({".hidden": "x"}, "the folder is empty", id="empty"),
    ],
)
def test_set_that_cannot_be_used_is_an_error(tmp_path: Path, files: dict[str, str | bytes], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        opened(tmp_path, files)


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        open_pictures(declared(), Folder(tmp_path / "nowhere"))


def test_fixations_outside_and_not_finite_are_taken_out_and_counted() -> None:
    x = np.array([0, 19.99, 20, -0.01, np.nan, 5, 5, np.inf], np.float32)
    y = np.array([0, 11.99, 5, 5, 5, 12, 11, 1], np.float32)
    gaze = Gaze(x, y, np.arange(8, dtype=np.int32))
    clean, rejects = clean_gaze("pictures/a.jpg", gaze, 20, 12)
    assert clean.observer.tolist() == [0, 1, 6]
    assert reasons(rejects) == [
        ("pictures/a.jpg", -1, "2 of 8 fixations are not finite, the first at (nan, 5) px"),
        ("pictures/a.jpg", -1, "3 of 8 fixations are outside the picture of 20 x 12 px, the first at (20, 5) px"),
    ]
    assert clean_gaze("a", clean, 20, 12) == (clean, [])


def test_names_may_be_what_they_are_but_for_control_characters(tmp_path: Path) -> None:
    names = ("a..b", "100%", "a b;c", "\u00e9\u4e2d")
    files = {**{f"pictures/{name}.jpg": encoded(photo(), "JPEG") for name in (*names, "a\x07b")}}
    rows = "".join(f"{name}.jpg,http://x.org/p?id=7,1,1\n" for name in names)
    found = opened(tmp_path, {**files, "fixations.csv": "image,who,x,y\n" + rows})
    assert sorted(found.gaze) == sorted(names)
    assert found.observers == ["http://x.org/p?id=7"]
    assert reasons(found.rejects) == [("pictures/a\x07b.jpg", -1, "picture: unsafe name: 'a\\x07b'")]


def test_a_reader_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_picture_reader("table")(PICTURE_READERS["table"].read)


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.jpg", "a"), (" a.JPEG ", "a"), ("a.v2", "a.v2"), ("e\u0301.png", "\xe9"), ("1001", "1001"), (".jpg", ".jpg")],
)
def test_a_pictures_name_has_no_picture_suffix(name: str, found: str) -> None:
    assert stimulus_id(name) == found


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["b", "10", "2", "a10", "a9"], key=natural) == ["2", "10", "a9", "a10", "b"]


WRONG: list[Any] = [
    pytest.param(
        {"pictures": {"path": "pictures/x.jpg"}}, r"pictures.path: .* must have \{stimulus\}", id="no_stimulus"
    ),
    pytest.param({"pictures": {"path": "../{stimulus}.jpg"}}, "leaves its folder", id="climbs_out"),
    pytest.param({"pictures": {"path": "{trial}/{stimulus}"}}, r"allowed here: \{stimulus\}, \{category\}", id="trial"),
    pytest.param({"fixations": None}, "declare fixations, maps or both", id="no_gaze"),
    pytest.param(
        {"fixations": {"reader": "csv", "path": "x"}}, "unknown reader .*known: mat_folders, osie", id="reader"
    ),
    pytest.param(
        {"fixations": {"reader": "osie", "path": "x", "columns": {"x": "y"}}}, "no use for columns", id="columns"
    ),
    pytest.param(
        {"fixations": {"reader": "salicon", "path": "{stimulus}.json"}}, "allowed here: none", id="salicon_path"
    ),
    pytest.param({"fixations": {"reader": "mat_folders", "path": "x.mat"}}, r"must have \{stimulus\}", id="mat_path"),
    pytest.param(
        {"fixations": {**TABLE, "columns": {"x_px": "x"}}}, "which holds y_px; stimulus is neither", id="missing"
    ),
    pytest.param(
        {"fixations": {**TABLE, "columns": {**TABLE["columns"], "t": "t"}}}, "t is not a column", id="unknown"
    ),
    pytest.param(
        {"fixations": {**TABLE, "path": "{observer}.csv"}}, "observer comes from the path already", id="observer_twice"
    ),
    pytest.param(
        {"fixations": {"reader": "mat_folders", "path": "{stimulus}.mat", "holds": "samples"}}, "detect", id="no_detect"
    ),
    pytest.param(
        {"fixations": {"reader": "mat_folders", "path": "{observer}/{stimulus}.mat", "holds": "map"}},
        "a map has no observers",
        id="map_of_an_observer",
    ),
    pytest.param(
        {"fixations": {"reader": "mat_folders", "path": "{stimulus}.mat", "holds": "map", "offset_px": -0.5}},
        "a map has whole pixels, whose centres are known",
        id="map_with_offset",
    ),
    pytest.param(
        {"fixations": {"reader": "mat_folders", "path": "{stimulus}.mat", "holds": "map", "skip_first": 1}},
        "a map has no first fixation",
        id="map_with_first",
    ),
    pytest.param(
        {"pictures": {"path": "{category}/{stimulus}.jpg"}, "maps": MAPS}, "maps.path must have the same", id="category"
    ),
    pytest.param({"max_pixels": 10**9}, "max_pixels: .*less than or equal to 89000000", id="max_pixels"),
    pytest.param({"px_per_deg": 0}, "px_per_deg: .*greater than 0", id="px_per_deg"),
    pytest.param({"picture": {}}, "picture: unknown key; did you mean pictures", id="unknown_key"),
]


def test_every_mistake_is_listed_at_once() -> None:
    unused = {"variable": "*", "holds": "maps", "skip_first": -1, "columns": {"x_px": "x"}, "detect": DETECT}
    fixations = {"reader": "osie", "path": "{trial}.mat", **unused, "offset_px": "?", "colour": 1}
    with pytest.raises(ConfigError) as found:
        declared(fixations=fixations, pictures={"path": "x"}, max_pixels=0, unknown=1)
    named = [line.partition(":")[0] for line in str(found.value).splitlines()]
    assert sorted(named) == sorted(
        [
            *("fixations.variable", "fixations.holds", "fixations.skip_first", "fixations.columns"),
            *("fixations.path", "fixations.offset_px", "fixations.colour", "fixations.detect"),
            *("pictures.path", "max_pixels", "unknown"),
        ]
    )


@pytest.mark.parametrize(
    ("reader", "key", "value"),
    [
        *(("salicon", key, value) for key, value in (("offset_px", 0.0), ("variable", "*"), ("delimiter", ","))),
        *(
            ("osie", key, value)
            for key, value in (("columns", {"x_px": "x"}), ("holds", "fixations"), ("detect", DETECT))
        ),
        *(("table", key, value) for key, value in (("skip_first", 0), ("holds", "map"))),
        *(("mat_folders", key, value) for key, value in (("columns", {"x_px": "x"}), ("delimiter", ","))),
    ],
)
def test_a_key_that_the_reader_does_not_use_is_refused(reader: str, key: str, value: Any) -> None:
    path = "{stimulus}.mat" if reader == "mat_folders" else "x.mat"
    base = TABLE if reader == "table" else {"reader": reader, "path": path}
    with pytest.raises(ConfigError, match=rf"^fixations.{key}: the reader {reader} has no use for {key} \(allowed"):
        declared(fixations={**base, key: value})


@pytest.mark.parametrize(("changes", "reason"), WRONG)
def test_declaration_with_a_mistake_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        declared(**changes)


def test_a_set_in_memory_reads_from_its_folder_again(tmp_path: Path) -> None:
    found = open_pictures(declared(), write(tmp_path, FILES))
    assert found.root.read_bytes(found.pictures[0].path) == FILES["pictures/a.jpg"]
