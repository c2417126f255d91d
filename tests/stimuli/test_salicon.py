# SPDX-License-Identifier: Apache-2.0
"""SALICON's JSON: coordinates, what is rejected, files cut off, and how much memory a point takes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gazeray.stimuli.dataset import PictureSet, clean_gaze
from gazeray.tables import DataError
from tests.stimuli.tiny_pictures import SALICON, annotation, jpegs, opened, reasons, salicon_json, write


def salicon(folder: Path, text: str | bytes, name: str = "fixations.json") -> PictureSet:
    return opened(folder, {**jpegs("a.jpg", "b.jpg"), name: text}, fixations=SALICON)


def test_row_and_column_become_pixel_centres_by_worker(tmp_path: Path) -> None:
    text = salicon_json([annotation(7, 30, [[1, 1], [12, 20]]), annotation(8, 4, [[3, 5]]), annotation(7, 4, [[2, 9]])])
    found = salicon(tmp_path, text)
    assert found.observers == ["4", "30"]
    assert found.gaze["a"].x_px.tolist() == [0.5, 19.5, 8.5]
    assert found.gaze["a"].y_px.tolist() == [0.5, 11.5, 1.5]
    assert found.gaze["a"].observer.tolist() == [1, 1, 0]
    assert (found.gaze["b"].x_px.tolist(), found.gaze["b"].y_px.tolist()) == ([4.5], [2.5])
    assert found.rejects == []


def test_agrees_with_the_whole_file_read_as_lists(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    annotations = [
        annotation(int(rng.choice([7, 8])), int(rng.integers(5)), rng.integers(1, 12, (rng.integers(9), 2)).tolist())
        for _ in range(4000)
    ]
    text = salicon_json(annotations)
    found = salicon(tmp_path, gzip.compress(text.encode()), "fixations.json.gz")
    for stimulus, image in (("a", 7), ("b", 8)):
        own = [one for one in json.loads(text)["annotations"] if one["image_id"] == image]
        rows = [[column - 0.5, row - 0.5, one["worker_id"]] for one in own for row, column in one["fixations"]]
        gaze = found.gaze[stimulus]
        workers = [int(found.observers[code]) for code in gaze.observer]
        assert [list(row) for row in zip(gaze.x_px, gaze.y_px, workers, strict=True)] == rows


def test_annotations_before_images_are_read_too(tmp_path: Path) -> None:
    whole = json.loads(salicon_json([annotation(7, 1, [[1, 2]])]))
    text = json.dumps({"annotations": whole["annotations"], "images": whole["images"]})
    assert salicon(tmp_path, text).gaze["a"].x_px.tolist() == [1.5]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
def test_json_that_is_cut_off_names_the_file_and_the_byte(tmp_path: Path, share: float) -> None:
    text = salicon_json([annotation(7, worker, [[1, 1]] * 50) for worker in range(200)])
    cut = text[: int(share * len(text))]
    with pytest.raises(DataError, match=rf"fixations.json: cut off: the fault is before byte {len(cut)} "):
        salicon(tmp_path, cut)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "cut off", id="empty_file"),
        pytest.param(
            '{"annotations": [{"id": nonsense}]}', "not valid JSON: the fault is before byte 35", id="no_json"
        ),
        pytest.param("[1, 2]", "no annotations", id="another_layout"),
        pytest.param('{"images": []}', "no annotations", id="images_alone"),
        pytest.param(gzip.compress(b"[" * 9999)[:20], "truncated or damaged gzip", id="gzip_cut_off"),
    ],
)
def test_file_without_annotations_is_an_error(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        salicon(tmp_path, text)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([[1, 2, 3]], id="three_numbers"),
        pytest.param([[1, 2], [3]], id="ragged"),
        pytest.param([["one", "two"]], id="words"),
        pytest.param("none", id="text"),
        pytest.param([[[1, 2]]], id="deeper"),
        pytest.param(None, id="null"),
        pytest.param([1, 2], id="flat"),
        pytest.param([{"x": 1, "y": 2}], id="objects"),
    ],
)
def test_annotation_that_is_no_list_of_points_is_rejected_by_number(tmp_path: Path, points: object) -> None:
    found = salicon(tmp_path, salicon_json([annotation(7, 1, [[1, 1]]), annotation(7, 2, points)]))
    assert reasons(found.rejects)[0] == (
        *("fixations.json", 2),
        "annotation: fixations are not a list of [row, column]",
    )
    assert len(found.gaze["a"]) == 1


def test_unclear_image_ids_are_rejected_with_their_fixations(tmp_path: Path) -> None:
    whole = json.loads(salicon_json([annotation(image, 1, [[1, 1]] * 3) for image in (7, 8, 9, 10, 11)]))
    names = [(7, "a.jpg"), (8, "b.jpg"), (8, "c.jpg"), (10, "d.jpg"), (11, "d.jpg")]
    whole["images"] = [{"id": image, "file_name": name} for image, name in names]
    found = salicon(tmp_path, json.dumps(whole))
    assert list(found.gaze) == ["a"]
    assert reasons(found.rejects) == [
        ("fixations.json", -1, "3 fixations: image_id 8 is there twice: b.jpg, c.jpg"),
        ("fixations.json", -1, "3 fixations: image_id 9 is not among the images"),
        ("fixations.json", -1, "3 fixations: d.jpg is there under several ids, 10 is one of them"),
        ("fixations.json", -1, "3 fixations: d.jpg is there under several ids, 11 is one of them"),
        ("pictures/b.jpg", -1, "a picture without fixations"),
    ]


def test_numbers_beyond_float32_are_outside_the_picture(tmp_path: Path) -> None:
    gaze = salicon(tmp_path, salicon_json([annotation(7, 1, [[1e300, 1], [1, 1]])])).gaze["a"]
    clean, rejects = clean_gaze("a", gaze, 20, 12)
    assert (len(clean), len(rejects)) == (1, 1)


MEMORY = """
import pathlib, re, sys
from gazeray.stimuli.dataset import open_pictures
from gazeray.storage import Folder
from tests.stimuli.tiny_pictures import SALICON, declared

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

before = kilobytes("VmRSS")
found = open_pictures(declared(fixations=SALICON), Folder(sys.argv[1]))
print(sum(map(len, found.gaze.values())), (kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_point_takes_at_most_24_bytes_of_memory_at_the_peak(tmp_path: Path) -> None:
    points = np.random.default_rng(0).integers(1, 481, (120, 2)).tolist()
    text = salicon_json([annotation(n % 100, n, points) for n in range(6000)], {n: f"{n}.jpg" for n in range(100)})
    write(tmp_path, {"fixations.json": text, **{f"pictures/{n}.jpg": b"" for n in range(100)}})
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    root = Path(__file__).parents[2]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    n_points, n_bytes = map(int, printed.split())
    assert n_points == 720_000
    assert n_bytes / n_points < 24
