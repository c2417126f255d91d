# SPDX-License-Identifier: Apache-2.0
"""The maps that are scored, from their files: pictures, .npy or .npz. PyTorch is not needed for it."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np

from gazeray.stimuli.decode import read_map
from gazeray.storage import Folder


class MapError(ValueError):
    """A map cannot be used; says which and why."""


def load_map(root: Folder, path: str, max_pixels: int) -> np.ndarray:
    """A map (H, W) float64 from a picture, .npy or .npz with one array. Raises MapError, PictureError."""
    if not path.lower().endswith((".npy", ".npz")):
        return read_map(root, path, max_pixels).astype(np.float64)
    data = root.read_bytes(path)
    try:
        values = np.squeeze(_array(data, max_pixels))
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, MapError):
            raise
        raise MapError(f"cannot be read: {' '.join(str(error).split())}") from error
    if values.dtype.kind not in "fiub":
        raise MapError(f"holds {values.dtype}, not numbers")
    if values.ndim != 2:
        raise MapError(f"has the shape {values.shape}, not (height, width)")
    return np.asarray(values, np.float64)


def _array(data: bytes, max_pixels: int) -> np.ndarray:
    """The only array of a .npy or .npz file; nothing is unpickled."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        size = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if size > max_pixels * 8 + 4096:
            raise MapError(f"unpacks to {size} bytes, more than {max_pixels} values")
    found = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    if len(found.files) != 1:
        raise MapError(f"holds {len(found.files)} arrays, not one")
    return np.asarray(found[found.files[0]])
