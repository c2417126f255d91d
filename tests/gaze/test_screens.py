# SPDX-License-Identifier: Apache-2.0
"""Screen pictures: names become trials, files become tensors, and whatever is wrong is rejected by name."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from gazeray.config import ConfigError, read_yaml, validate
from gazeray.gaze.readers.base import ReadError
from gazeray.gaze.screen_pictures import MAX_PIXELS, WHITE, ScreensRead, cropped, read_screens
from gazeray.gaze.screens import ScreensDataset, ScreensRecording, ScreensSpec, open_screens
from gazeray.metrics.resampling import resized
from gazeray.stimuli.decode import decode_picture
from gazeray.storage import Folder
from gazeray.tables import DataError

CONFIGS = Path(__file__).parent.parent.parent / "configs"
DECLARED: dict[str, Any] = {
    "name": "tiny",
    "labels": {"condition": {"C": "control", "P": "pseudoword"}},
    "pictures": {"path": "scans/*.png"},
    "crop_px": [10, 5, 50, 35],
}
FOUR = ("10m23r2_1_C_b", "10m23r2_2_P_b", "9f31r1_1_P_b", "9f31r1_2_C_b")


def declared(**changes: Any) -> ScreensSpec:
    return validate(ScreensSpec, {**DECLARED, **changes})


def drawn(seed: int = 0, height: int = 40, width: int = 60) -> np.ndarray:
    """A picture of random colours, (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(picture: np.ndarray | Image.Image, **options: Any) -> bytes:
    """A PNG file, written by Pillow."""
    data = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(data, "PNG", **options)
    return data.getvalue()


def write(folder: Path, *names: str, **files: bytes) -> Folder:
    """Pictures scans/NAME.png, each of its own colours, and files scans/NAME.png with the given bytes."""
    (folder / "scans").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        (folder / "scans" / f"{name}.png").write_bytes(png(drawn(number)))
    for name, data in files.items():
        (folder / "scans" / f"{name.removeprefix('_')}.png").write_bytes(data)
    return Folder(folder)


def reasons(found: ScreensDataset | ScreensRead) -> dict[str, str]:
    return {reject.source.removeprefix("scans/"): reject.reason for reject in found.rejects}


def read_all(root: Folder, spec: ScreensSpec, size: tuple[int, int] = (8, 12)) -> list[ScreensRead]:
    return [read_screens(spec, root, recording, size) for recording in open_screens(spec, root).recordings]


# -- names


def test_names_become_trials(tmp_path: Path) -> None:
    data = open_screens(declared(), write(tmp_path, *FOUR))
    columns = ["participant", "trial", "stimulus", "label", "label_index", "row"]
    assert data.trials[columns].values.tolist() == [
        ["10", "1_C_b", "1", "control", 0, 1],
        ["10", "2_P_b", "2", "pseudoword", 1, 2],
        ["9", "1_P_b", "1", "pseudoword", 1, 3],
        ["9", "2_C_b", "2", "control", 0, 4],
    ]
    window = ["window_left_px", "window_top_px", "window_width_px", "window_height_px"]
    assert data.trials[window].drop_duplicates().values.tolist() == [[10, 5, 40, 30]]
    assert (data.label, data.classes, data.rejects) == ("condition", ["control", "pseudoword"], [])
    assert [recording.key for recording in data.recordings] == ["10", "9"]
    first = data.recordings[0]
    assert first.pictures == ["scans/10m23r2_1_C_b.png", "scans/10m23r2_2_P_b.png"]
    assert first.trials == ["1_C_b", "2_P_b"]
    assert first.size == sum((tmp_path / path).stat().st_size for path in first.pictures)
    assert ScreensRecording(**asdict(first)) == first


def test_participant_is_the_first_digit_run_of_the_session(tmp_path: Path) -> None:
    root = write(tmp_path, "vp07f23r2_1_C_a", "s12_1_P_a", "3_1_C_a")
    assert open_screens(declared(), root).trials["participant"].tolist() == ["3", "12", "07"]


def test_look_chooses_the_pictures_and_leaves_the_trial_name(tmp_path: Path) -> None:
    root = write(tmp_path, *FOUR, "10m23r2_1_C_a", "9f31r1_1_P_c")
    data = open_screens(declared(look="b"), root)
    assert data.trials["trial"].tolist() == ["1_C", "2_P", "1_P", "2_C"]
    assert data.rejects == []
    assert len(open_screens(declared(), root).trials) == 6
    with pytest.raises(DataError, match=r"no picture of look 'd' \(found: a, b, c\)"):
        open_screens(declared(look="d"), root)


def test_own_pattern_reads_other_names(tmp_path: Path) -> None:
    pattern = r"(?P<class>old|new)-(?P<item>\w+)-(?P<participant>[A-Z]+)"
    root = write(tmp_path, "old-tree-AB", "new-house-AB", "new-tree-ab")
    spec = declared(pictures={"path": "scans/*.png", "pattern": pattern}, labels={"age": {"old": "o", "new": "n"}})
    data = open_screens(spec, root)
    assert data.trials[["participant", "trial", "stimulus", "label_index"]].values.tolist() == [
        ["AB", "house_new", "house", 1],
        ["AB", "tree_old", "tree", 0],
    ]
    assert data.recordings[0].key.startswith("AB-")
    assert "does not fit the pattern" in reasons(data)["new-tree-ab.png"]


def test_hidden_files_and_files_that_do_not_match_the_path_do_not_count(tmp_path: Path) -> None:
    root = write(tmp_path, *FOUR, "._10m23r2_1_C_b", ".hidden")
    for other in ("notes.txt", "scans/more/10m23r2_3_C_b.png", "11m23r2_1_C_b.png", "scans/11m23r2_1_C_b.jpg"):
        root.write_bytes(other, png(drawn()))
    data = open_screens(declared(), root)
    assert (len(data.trials), data.rejects) == (4, [])


def test_names_that_cannot_be_used_are_rejected_by_name(tmp_path: Path) -> None:
    bad = ("screenshot", "10m23r2_1_C", "mr_1_C_b", "10m23r2_5_C_b (copy)", "10m23r2_6_C_b.old", "10m23r2_\x07_C_b")
    root = write(tmp_path, *FOUR, *bad, "10m23r2_7_F_b", "10m23r2_8_c_b")
    data = open_screens(declared(), root)
    assert len(data.trials) == 5, "a blank in the look is unusual but readable"
    found = reasons(data)
    for name in ("screenshot", "10m23r2_1_C", "mr_1_C_b", "10m23r2_6_C_b.old"):
        assert "does not fit the pattern" in found.pop(f"{name}.png")
    assert "unsafe name of the item" in found.pop("10m23r2_\x07_C_b.png")
    assert found.pop("10m23r2_7_F_b.png") == "class 'F' is not declared (declared: C, P)"
    assert found.pop("10m23r2_8_c_b.png") == "class 'c' is not declared (declared: C, P)"
    assert not found
    rejected = {reject.source: reject for reject in data.rejects}["scans/10m23r2_7_F_b.png"]
    assert (rejected.participant, rejected.trial, rejected.stage, rejected.row) == ("10", "7_F_b", "labels", -1)


def test_pictures_that_claim_to_be_the_same_are_all_rejected(tmp_path: Path) -> None:
    data = open_screens(declared(), write(tmp_path, *FOUR, "10f40r1_1_C_b", "10f40r1_1_C_a"))
    assert data.trials["trial"].tolist() == ["1_C_a", "2_P_b", "1_P_b", "2_C_b"]
    assert reasons(data) == {
        "10f40r1_1_C_b.png": "duplicate: scans/10m23r2_1_C_b.png claims to be the same picture",
        "10m23r2_1_C_b.png": "duplicate: scans/10f40r1_1_C_b.png claims to be the same picture",
    }


def test_keys_are_unique_where_case_is_ignored_and_safe_as_file_names(tmp_path: Path) -> None:
    pattern = r"(?P<participant>[^_]+)_(?P<item>[^_]+)_(?P<class>[^_]+)"
    root = write(tmp_path, "Ab_1_C", "ab_1_P", "AB_1_C", "é x_1_C", "ab-0123abcd_1_P")
    spec = declared(pictures={"path": "scans/*.png", "pattern": pattern})
    keys = [recording.key for recording in open_screens(spec, root).recordings]
    assert len({key.lower() for key in keys}) == 5
    assert all(key.isascii() and " " not in key for key in keys)
    assert "ab" in keys


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param((), "the folder is empty", id="none"),
        pytest.param(("10m23r2_1_C_b", "9f31r1_2_C_b"), "all 2 pictures are of one class, 'control'", id="one_class"),
        pytest.param(("a_b", "10m23r2_1_F_b"), "no picture is left; rejected were: 1 x ", id="none_left"),
    ],
)
def test_folder_that_makes_a_study_impossible_raises_data_error(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_screens(declared(), write(tmp_path, *names))


def test_missing_folder_raises_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        open_screens(declared(), Folder(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"pictures": {"path": "*.png", "pattern": "(?P<item>x"}}, "not a regular expr", id="pattern"),
        pytest.param({"pictures": {"path": "*.png", "pattern": "(?P<item>x)"}}, r"no group \(\?P<part", id="groups"),
        pytest.param({"pictures": {"path": "../*.png"}}, "leaves its folder", id="path_outside"),
        pytest.param({"crop_px": [10, 5, 10, 35]}, "left < right", id="crop_without_area"),
        pytest.param({"crop_px": [-1, 5, 10, 35]}, "left < right", id="crop_negative"),
        pytest.param({"labels": {}}, "one label", id="no_label"),
        pytest.param({"labels": {"a": {1: "x", 2: "y"}, "b": {1: "x", 2: "y"}}}, "one label", id="two_labels"),
        pytest.param({"notes": {"other": "text"}}, "no such label: other", id="note_without_label"),
        pytest.param({"crop": [0, 0, 1, 1]}, "unknown key; did you mean crop_px", id="unknown_key"),
        pytest.param(
            {"pictures": {"path": "*", "pattern": "(?P<participant>.)(?P<item>.)(?P<class>.)"}, "look": "a"},
            "no group .*look",
            id="look_without_group",
        ),
    ],
)
def test_wrong_declaration_raises_config_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declared(**change)


# -- pictures


def test_pictures_are_cropped_resized_rgb(tmp_path: Path) -> None:
    root = write(tmp_path, *FOUR)
    first, second = read_all(root, declared())
    assert first.ids == [("10", "1_C_b"), ("10", "2_P_b")]
    assert (first.pictures.shape, first.pictures.dtype) == ((2, 3, 8, 12), np.uint8)
    assert (first.n, second.n, first.rejects) == (2, 2, [])
    np.testing.assert_array_equal(first.pictures[1].transpose(1, 2, 0), resized(drawn(1)[5:35, 10:50], (8, 12)))


def test_content_hash_changes_with_a_picture_and_with_nothing_else(tmp_path: Path) -> None:
    root = write(tmp_path, *FOUR)
    before = [read.sha256 for read in read_all(root, declared())]
    assert [read.sha256 for read in read_all(root, declared(), (16, 16))] == before
    root.write_bytes("scans/9f31r1_1_P_b.png", png(drawn(99)))
    after = [read.sha256 for read in read_all(root, declared())]
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_files_that_are_no_whole_picture_are_rejected_by_name(tmp_path: Path) -> None:
    whole, jpeg = png(drawn()), io.BytesIO()
    Image.fromarray(drawn()).save(jpeg, "JPEG")
    bomb = bytearray(whole)
    struct.pack_into(">II", bomb, 16, 50_000, 50_000)
    struct.pack_into(">I", bomb, 29, zlib.crc32(bomb[12:29]))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    files = {
        "_9r_1_C_b": b"",
        "_9r_2_C_b": whole[:-4],
        "_9r_3_C_b": whole[: len(whole) // 2],
        "_9r_4_C_b": b"not a picture at all",
        "_9r_5_C_b": jpeg.getvalue(),
        "_9r_6_C_b": bytes(bomb),
        "_9r_7_C_b": bytes(flipped),
        "_9r_8_C_b": png(drawn(0, 30, 45)),
        "_9r_9_C_b": png(np.full((40, 60, 3), 255, np.uint8)),
    }
    (read,) = read_all(write(tmp_path, "9r_0_P_b", **files), declared())
    assert read.ids == [("9", "0_P_b")]
    assert (read.pictures.shape, read.n) == ((1, 3, 8, 12), 10)
    found = reasons(read)
    expected = {
        "9r_1_C_b": "empty file",
        "9r_2_C_b": "cut off or damaged",
        "9r_3_C_b": "cut off or damaged",
        "9r_4_C_b": "not a picture (PNG)",
        "9r_5_C_b": "not a picture (PNG)",
        "9r_6_C_b": f"more than {MAX_PIXELS} pixels",
        "9r_7_C_b": "cut off or damaged",
        "9r_8_C_b": "the crop (10, 5, 50, 35) px reaches outside the picture of 45 x 30 px",
        "9r_9_C_b": "nothing is drawn",
    }
    assert len(found) == len(expected)
    for name, reason in expected.items():
        assert reason in found[f"{name}.png"]
    assert {(reject.participant, reject.trial) for reject in read.rejects} == {("9", f"{n}_C_b") for n in range(1, 10)}


def test_picture_that_is_gone_is_rejected(tmp_path: Path) -> None:
    root, spec = write(tmp_path, *FOUR), declared()
    recording = open_screens(spec, root).recordings[0]
    root.delete(recording.pictures[0])
    read = read_screens(spec, root, recording, (8, 12))
    assert read.ids == [("10", "2_P_b")]
    assert "cannot be read" in read.rejects[0].reason


def decode_png(data: bytes, source: str) -> np.ndarray:
    """As screens are decoded."""
    return decode_picture(data, source, MAX_PIXELS, ("PNG",), WHITE)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA"])
def test_every_kind_of_png_is_read_as_pillow_reads_it(mode: str) -> None:
    picture = Image.fromarray(drawn(3)).convert(mode)
    np.testing.assert_array_equal(decode_png(png(picture), mode), np.asarray(picture.convert("RGB")))


def test_sixteen_bits_are_rounded_to_eight() -> None:
    grey = np.random.default_rng(4).integers(0, 65536, (20, 30), dtype=np.uint16)
    expected = np.round(grey / 65535 * 255).astype(np.uint8)
    decoded = decode_png(png(Image.fromarray(grey)), "deep")
    np.testing.assert_array_equal(decoded, np.stack([expected] * 3, axis=-1))


def test_sixteen_bits_in_colour_are_cut_to_eight() -> None:
    """Eight bits that were spread over sixteen come back; OpenCV reads all sixteen, and this is at most one below."""
    spread = drawn().astype(np.uint16) * 257
    np.testing.assert_array_equal(decode_png(cv2.imencode(".png", spread[:, :, ::-1])[1].tobytes(), "deep"), drawn())
    wide = np.random.default_rng(4).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    decoded = decode_png(cv2.imencode(".png", wide[:, :, ::-1])[1].tobytes(), "deep")
    assert set(np.unique(np.round(wide / 257) - decoded)) <= {-1, 0, 1}


def test_what_is_transparent_shows_white() -> None:
    """Every value with every share, rounded to the nearest."""
    value, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.dstack([value, value, 255 - value, alpha]).astype(np.uint8)
    above, share = rgba[:, :, :3].astype(int), alpha[:, :, None]
    expected = (above * share + 255 * (255 - share) + 127) // 255
    np.testing.assert_array_equal(decode_png(png(rgba), "clear"), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_that_is_declared_transparent_shows_white(dtype: type) -> None:
    top = np.iinfo(dtype).max
    grey = np.array([[0, top // 3, top]], dtype)
    found = decode_png(png(Image.fromarray(grey), transparency=int(grey[0, 1])), "clear")
    assert found[0, :, 0].tolist() == [0, 255, 255]


def test_chunks_that_are_no_part_of_the_picture_change_nothing() -> None:
    """A colour profile, a gamma and a text: what the screen showed is in the pixels."""
    plain = png(drawn())
    gamma = struct.pack(">I4sI", 4, b"gAMA", 220_000)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    np.testing.assert_array_equal(decode_png(plain[:33] + gamma + plain[33:] + b"trailing", "gamma"), drawn())


def test_damaged_bytes_give_a_picture_or_a_read_error() -> None:
    """A fuzz test: any one byte of a file changed, and every cut."""
    whole, rng = png(drawn(0, 6, 7)), np.random.default_rng(6)
    refused = 0
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :]):
            try:
                picture = decode_png(data, "fuzz")
            except ReadError:
                refused += 1
            else:
                np.testing.assert_array_equal(picture, drawn(0, 6, 7))
    assert refused == 2 * len(whole)


@pytest.mark.parametrize("fault", ["overwritten", "short"])
def test_broken_stream_in_chunks_with_valid_checksums_raises_read_error(fault: str) -> None:
    whole = png(drawn())
    at = whole.index(b"IDAT")
    (length,) = struct.unpack_from(">I", whole, at - 4)
    stream = whole[at + 4 : at + 4 + length]
    stream = stream[:300] + (bytes(20) + stream[320:] if fault == "overwritten" else b"")
    chunk = struct.pack(">I", len(stream)) + b"IDAT" + stream + struct.pack(">I", zlib.crc32(b"IDAT" + stream))
    with pytest.raises(ReadError, match="cut off or damaged"):
        decode_png(whole[: at - 4] + chunk + whole[at + 8 + length :], "stream")


def test_crop_is_that_of_pillow() -> None:
    box = (10, 5, 50, 35)
    np.testing.assert_array_equal(cropped(drawn(), box, "x"), np.asarray(Image.fromarray(drawn()).crop(box)))
    np.testing.assert_array_equal(cropped(drawn(), None, "x"), drawn())


@pytest.mark.parametrize("size", [(10, 15), (7, 11), (40, 9)])
def test_shrinking_is_the_mean_over_each_new_pixel(size: tuple[int, int]) -> None:
    """By loops: every new pixel is the mean of the old ones, weighted by how much of them it covers."""
    picture = drawn(7)
    weights = [np.zeros((new, old)) for new, old in zip(size, picture.shape[:2], strict=True)]
    for weight in weights:
        step = weight.shape[1] / weight.shape[0]
        for new, old in np.ndindex(weight.shape):
            weight[new, old] = max(0.0, min((new + 1) * step, old + 1) - max(new * step, old)) / step
    expected = np.einsum("rh,cw,hwk->rck", *weights, picture)
    np.testing.assert_allclose(resized(picture, size), expected, rtol=0, atol=1.01)


def test_an_axis_may_grow_while_the_other_shrinks() -> None:
    ramp = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[:, None, None], 60, axis=1).repeat(3, axis=2)
    grown = resized(ramp, (39, 12))
    assert grown.shape == (39, 12, 3)
    centres = (np.arange(39) + 0.5) * 20 / 39 - 0.5
    np.testing.assert_allclose(grown[:, 5, 0], np.interp(centres, np.arange(20), ramp[:, 0, 0]), atol=1.0)


def test_resizing_stays_near_that_of_torchvision() -> None:
    """A smooth picture: the two filters differ by a few grey levels of 255 at most."""
    y, x = np.mgrid[:200, :1300]
    blobs = sum(np.exp(-(((x - at) / 40) ** 2) - ((y - 100) / 40) ** 2) for at in (200, 420, 900))
    picture = np.stack([255 - 200 * np.minimum(blobs, 1), 255 - 90 * np.minimum(blobs, 1), 255 - 0 * blobs], axis=-1)
    picture = picture.round().astype(np.uint8)
    published = np.asarray(Resize((128, 128))(Image.fromarray(picture))).astype(int)
    assert np.abs(resized(picture, (128, 128)) - published).max() <= 4


# -- the declaration that comes with gazeray


def test_declared_reading_screens_are_valid_and_find_the_published_names(tmp_path: Path) -> None:
    spec = validate(ScreensSpec, read_yaml(CONFIGS / "datasets" / "reading_screens.yaml"))
    root = Folder(tmp_path)
    for name in FOUR:
        root.write_bytes(f"heatmap_fixed/{name}.png", png(drawn()))
    data = open_screens(spec, root)
    assert data.trials["participant"].tolist() == ["10", "10", "9", "9"]
    assert data.classes == ["control", "pseudoword"]
    assert spec.crop_px == (0, 399, 1500, 599)
