# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a picture file to pixels: any common format, checked before it is unpacked."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gazeray.gaze.readers.base import ReadError as PictureError
from gazeray.gaze.readers.base import fetched
from gazeray.stimuli.readers.base import in_words
from gazeray.storage import Folder

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What is tried, by Pillow's names. Formats that call other programs (EPS, WMF) are not."""

MID_GREY = 128
"""What a transparent picture is put upon: neither figure nor ground is favoured, and no edge is at its strongest."""


def read_picture(root: Folder, path: str, max_pixels: int) -> np.ndarray:
    """The picture at `path` below `root`, (H, W, 3) uint8 RGB; see `decode_picture`.

    Raises PictureError, also for a file that is missing or forbidden; OSError when the storage fails otherwise.
    """
    return decode_picture(fetched(root, path), path, max_pixels)


def read_map(root: Folder, path: str, max_pixels: int) -> np.ndarray:
    """The picture of a fixation map, (H, W) float32 from 0 to 1: 16 bits are kept, colours become their luma.

    Raises PictureError, OSError as `read_picture` does; PictureError where nothing is drawn (all pixels are 0).
    """
    data = fetched(root, path)
    with _checked(path, max_pixels, FORMATS):
        image = _opened(data, path, max_pixels, FORMATS)
        if _is_wide(image):
            values = np.asarray(_sixteen_bits(image, path), dtype=np.float32) / 65535
        else:
            values = np.asarray(_flattened(image, path, MID_GREY).convert("L"), dtype=np.float32) / 255
    if not values.any():
        raise PictureError(path, "nothing is drawn: all pixels of the map are 0")
    return values


def decode_picture(
    data: bytes, source: str, max_pixels: int, formats: tuple[str, ...] = FORMATS, ground: int = MID_GREY
) -> np.ndarray:
    """The bytes of a picture as RGB, (H, W, 3) uint8.

    EXIF rotation is applied: H and W are those of the picture as viewers show it. Grey becomes three equal channels, a
    palette is looked up, CMYK is converted without a colour profile (as are all), 16 bits become 8, what is transparent
    shows `ground` (0 to 255), and of an animation or a TIFF of many pages the first one is taken.

    Raises PictureError: empty, none of `formats`, more than `max_pixels` (seen in the header, before anything is
    unpacked), cut off or damaged.
    """
    with _checked(source, max_pixels, formats):
        return np.array(_flattened(_opened(data, source, max_pixels, formats), source, ground))


@contextlib.contextmanager
def _checked(source: str, max_pixels: int, formats: tuple[str, ...]) -> Iterator[None]:
    """Whatever the decoder says about a file as a PictureError, and its warnings not at all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except PictureError:
            raise
        except UnidentifiedImageError as error:
            raise PictureError(source, f"not a picture ({', '.join(formats)})") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise PictureError(source, f"more than {max_pixels} pixels: {error}") from error
        except Exception as error:  # decoders raise whatever a damaged file leads them to
            raise PictureError(source, f"cut off or damaged: {in_words(error)}") from error


def _opened(data: bytes, source: str, max_pixels: int, formats: tuple[str, ...]) -> Image.Image:
    """The unpacked picture, upright. Raises PictureError, and what the decoder raises."""
    if not data:
        raise PictureError(source, "empty file")
    image = Image.open(io.BytesIO(data), formats=formats)
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        raise PictureError(source, f"{width} x {height} px; a picture has 1 to {max_pixels} pixels")
    if image.format == "PNG" and b"\0\0\0\0IEND\xaeB`\x82" not in data:  # the last chunk of all that are whole
        raise PictureError(source, f"cut off or damaged: {len(data)} bytes without an end")
    image.verify()  # checksums of the whole file, of which loading looks at some; nothing can be loaded after it
    image = Image.open(io.BytesIO(data), formats=formats)
    image.load()
    return ImageOps.exif_transpose(image)


def _is_wide(image: Image.Image) -> bool:
    """Is it grey of more than 8 bits?"""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _sixteen_bits(image: Image.Image, source: str) -> np.ndarray:
    """The values of a picture that is wide, (H, W) uint32. Raises PictureError where they are not of 16 bits."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise PictureError(source, "neither 8 nor 16 bits for each channel")
    return values.astype(np.uint32)


def _flattened(image: Image.Image, source: str, ground: int) -> Image.Image:
    """The picture as RGB of 8 bits upon grey `ground`. Raises PictureError, and what the decoder raises."""
    if _is_wide(image):
        wide = _sixteen_bits(image, source)
        clear = wide == image.info.get("transparency", -1)
        values = np.where(clear, ground, (wide + 128) // 257)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    below = Image.new("RGBA", image.size, (ground, ground, ground, 255))
    return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
