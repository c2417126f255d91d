# SPDX-License-Identifier: Apache-2.0
"""The maps that are scored, as files: pictures and arrays of numbers, nothing of which is trusted."""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

from gazeray.gaze.readers.base import fetched
from gazeray.stimuli.decode import read_map
from gazeray.stimuli.readers.base import in_words
from gazeray.storage import Folder

HEADER_BYTES = 4096
"""What a .npy file may hold beside its values."""


class MapError(ValueError):
    """A map cannot be used; says which and why."""


def load_map(root: Folder, path: str, max_pixels: int) -> np.ndarray:
    """A map (H, W) float64 from a picture, .npy or .npz with one array. Raises MapError, PictureError.

    Also OSError, when the storage fails: what the bytes of a file lead a parser to is a MapError.
    """
    if not path.lower().endswith((".npy", ".npz")):
        return read_map(root, path, max_pixels).astype(np.float64)
    data = fetched(root, path)
    try:
        return _numbers(_unzipped(data, max_pixels) if data[:2] == b"PK" else data, max_pixels)
    except MapError:
        raise
    except Exception as error:  # parsers raise whatever a damaged file leads them to
        raise MapError(f"cannot be read: {in_words(error)}") from error


def _unzipped(data: bytes, max_pixels: int) -> bytes:
    """The only file in a .npz. Raises MapError, and what zipfile raises."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) != 1:
            raise MapError(f"holds {len(entries)} arrays, not one")
        if entries[0].file_size > max_pixels * 8 + HEADER_BYTES:
            raise MapError(f"unpacks to {entries[0].file_size} bytes, more than {max_pixels} values")
        return archive.read(entries[0])


def _numbers(data: bytes, max_pixels: int) -> np.ndarray:
    """The array of a .npy file, (H, W) float64; nothing is unpickled, and no more is allocated than there are bytes.

    Raises MapError, and what NumPy raises of a broken header.
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = header(stream)
    if kind.hasobject:
        raise MapError("cannot be read: it holds pickled objects, which may run code")
    if kind.kind not in "fiub":
        raise MapError(f"holds {kind}, not numbers")
    sides = [side for side in shape if side != 1] if len(shape) > 2 else shape
    if len(sides) != 2 or min(sides) < 1:
        raise MapError(f"has the shape {shape}, not (height, width)")
    if math.prod(sides) > max_pixels:
        raise MapError(f"has the shape {shape}, more than {max_pixels} values")
    if math.prod(sides) * kind.itemsize > len(data) - stream.tell():
        raise MapError(f"cannot be read: too few bytes for the shape {shape}")
    stream.seek(0)
    return np.asarray(np.lib.format.read_array(stream, allow_pickle=False).reshape(sides), np.float64)
