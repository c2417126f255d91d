# SPDX-License-Identifier: Apache-2.0
"""Pictures of every kind become RGB, broken ones an error with the reason, and no warning escapes."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from gazeray.stimuli.decode import MID_GREY, PictureError, decode_picture, read_map, read_picture
from tests.stimuli.tiny_pictures import encoded, photo, write

LIMIT = 1_000_000
PHOTO = photo(40, 60)
GREY = PHOTO[:, :, 0]


def decoded(data: bytes, limit: int = LIMIT) -> np.ndarray:
    return decode_picture(data, "a.png", limit)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_rgb_comes_out_as_it_is(form: str) -> None:
    found = decoded(encoded(PHOTO, form))
    assert (found.dtype, found.shape) == (np.uint8, (40, 60, 3))
    np.testing.assert_array_equal(found, PHOTO)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}])
def test_jpeg_agrees_with_opencv(options: dict[str, Any]) -> None:
    data = encoded(PHOTO, "JPEG", **options)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_allclose(decoded(data).astype(int), other.astype(int), atol=3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_grey_becomes_three_equal_channels(form: str) -> None:
    found = decoded(encoded(GREY, form))
    assert (found == found[:, :, :1]).all()
    np.testing.assert_allclose(found[:, :, 0].astype(int), GREY.astype(int), atol=0 if form != "JPEG" else 40)


def test_black_and_white_of_one_bit_is_black_and_white() -> None:
    found = decoded(encoded(Image.fromarray(GREY > 128)))
    np.testing.assert_array_equal(found[:, :, 0], np.where(GREY > 128, 255, 0))


def test_sixteen_bits_are_rounded_to_eight() -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decoded(encoded(wide))
    np.testing.assert_array_equal(found[:, :, 0], np.round(wide / 257).astype(np.uint8))


def test_sixteen_bits_in_colour_are_cut_to_eight() -> None:
    wide = np.random.default_rng(1).integers(0, 65536, (30, 20, 3), dtype=np.uint16)
    data = cv2.imencode(".png", wide)[1].tobytes()
    np.testing.assert_allclose(decoded(data), wide[:, :, ::-1] / 257, atol=1)


def test_cmyk_becomes_rgb() -> None:
    ink = Image.new("CMYK", (20, 12), (0, 255, 255, 0))
    found = decoded(encoded(ink, "JPEG"))
    assert found.shape == (12, 20, 3)
    np.testing.assert_allclose(found.reshape(-1, 3).mean(0), (255, 0, 0), atol=4)


def test_transparent_parts_show_mid_grey_in_proportion() -> None:
    alpha = np.linspace(0, 255, GREY.size).reshape(GREY.shape).astype(np.uint8)
    found = decoded(encoded(np.dstack([PHOTO, alpha])))
    share = alpha[:, :, None] / 255
    np.testing.assert_allclose(found, PHOTO * share + MID_GREY * (1 - share), atol=1)


def test_palette_is_looked_up_and_its_transparent_colour_is_mid_grey() -> None:
    picture = Image.fromarray((GREY // 128).astype(np.uint8), "P")
    picture.putpalette([10, 20, 30, 200, 100, 50])
    plain = decoded(encoded(picture))
    clear = decoded(encoded(picture, transparency=1))
    colours = np.where((GREY > 127)[:, :, None], (200, 100, 50), (10, 20, 30))
    np.testing.assert_array_equal(plain, colours)
    np.testing.assert_array_equal(clear, np.where((GREY > 127)[:, :, None], MID_GREY, colours))


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        (1, PHOTO),
        (2, PHOTO[:, ::-1]),
        (3, PHOTO[::-1, ::-1]),
        (4, PHOTO[::-1]),
        (5, PHOTO.transpose(1, 0, 2)),
        (6, np.rot90(PHOTO, -1)),
        (7, PHOTO[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(PHOTO)),
    ],
)
def test_exif_rotation_is_applied(tag: int, shown: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    np.testing.assert_array_equal(decoded(encoded(PHOTO, "PNG", exif=exif.tobytes())), shown)


def test_first_frame_of_an_animation_and_first_page_of_a_tiff_are_taken() -> None:
    frames = [Image.fromarray(np.full((8, 9), value, np.uint8)) for value in (50, 200)]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(decoded(data), 50, atol=2)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels and whose data are short."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


JPEG = encoded(PHOTO, "JPEG")
PNG = encoded(PHOTO)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty file", id="empty"),
        pytest.param(b"just some text" * 20, "not a picture", id="text"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture", id="postscript"),
        pytest.param(JPEG[: len(JPEG) // 2], "cut off or damaged", id="jpeg_cut_in_the_middle"),
        pytest.param(JPEG[:-200], "cut off or damaged", id="jpeg_cut_near_the_end"),
        pytest.param(JPEG[:20], "not a picture|cut off", id="jpeg_header_alone"),
        pytest.param(PNG[: len(PNG) // 2], "cut off or damaged", id="png_cut"),
        pytest.param(PNG[:100] + b"\x00\x00\x00\x00" + PNG[104:], "cut off or damaged", id="png_damaged"),
        pytest.param(bomb(1001, 1000), "1001 x 1000 px; a picture has 1 to 1000000 pixels", id="too_large"),
        pytest.param(bomb(10_000, 10_000), "more than 1000000 pixels|10000 x 10000 px", id="bomb"),
        pytest.param(bomb(60_000, 60_000), "more than 1000000 pixels", id="greater_bomb"),
        pytest.param(encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "neither 8 nor 16 bits", id="floats"),
    ],
)
def test_picture_that_cannot_be_used_is_an_error_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=rf"a\.png: .*({reason})"):
        decoded(data)


def test_damaged_files_raise_picture_errors_alone() -> None:
    rng = np.random.default_rng(0)
    for data in (
        JPEG,
        PNG,
        encoded(PHOTO, "TIFF"),
        encoded(PHOTO, "WEBP"),
        encoded(GREY, "GIF"),
        encoded(PHOTO, "BMP"),
    ):
        for _ in range(40):
            broken = bytearray(data)
            for at in rng.integers(0, len(data), 8):
                broken[at] = rng.integers(256)
            try:
                assert decoded(bytes(broken[: rng.integers(1, len(data) + 1)])).ndim == 3
            except PictureError:
                continue


def test_missing_file_is_a_picture_error(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"b\.png: cannot be read: No such file"):
        read_picture(write(tmp_path, {"a.png": PNG}), "b.png", LIMIT)


def test_map_keeps_sixteen_bits(tmp_path: Path) -> None:
    wide = np.random.default_rng(2).integers(0, 65536, (8, 9), dtype=np.uint16)
    root = write(tmp_path, {"wide.png": encoded(wide), "grey.png": encoded(GREY), "black.png": encoded(0 * GREY)})
    np.testing.assert_allclose(read_map(root, "wide.png", LIMIT), wide / 65535, rtol=1e-6)
    np.testing.assert_allclose(read_map(root, "grey.png", LIMIT), GREY / 255, rtol=1e-6)
    with pytest.raises(PictureError, match="nothing is drawn"):
        read_map(root, "black.png", LIMIT)


@pytest.mark.parametrize("error", [RuntimeError("no\nidea"), RecursionError("deep"), NotImplementedError("mode")])
def test_whatever_a_decoder_raises_is_the_reason(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    told = f"a.png: cut off or damaged: {type(error).__name__}: {' '.join(str(error).split())}"
    with pytest.raises(PictureError) as found:
        decoded(PNG)
    assert str(found.value) == told


def test_damaged_maps_are_picture_errors_alone(tmp_path: Path) -> None:
    rng, good = np.random.default_rng(0), encoded(GREY)
    folder = write(tmp_path, {"a.png": good})
    for _ in range(100):
        broken = bytearray(good)
        broken[rng.integers(len(broken))] = rng.integers(256)
        (tmp_path / "a.png").write_bytes(broken)
        with contextlib.suppress(PictureError):
            assert read_map(folder, "a.png", LIMIT).shape
