# SPDX-License-Identifier: Apache-2.0
"""Maps of any kind, read from files and brought to the grid on which all maps are scored."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.metrics.resampling import same_aspect, to_grid
from gazeray.stimuli.decode import PictureError, read_map
from gazeray.storage import Folder
from gazeray.store import Shard
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.score_maps.config import MapsConfig
from gazeray.tables import Reject

LEAST_SHARE = 1e-3
"""Of the uniform density, mixed into people's densities."""


class MapError(ValueError):
    """A map cannot be used; says which and why."""


@dataclass(frozen=True)
class FitMaps:
    """Reads the maps of a shard of pictures and brings them to the grid: a column `map`. Runs in a pass's workers."""

    root: Folder
    shards: PictureShards
    cfg: MapsConfig
    files: Mapping[str, str]

    def __call__(self, piece: Mapping[str, Any]) -> Shard:
        """piece: the key of the shard."""
        kept: list[np.ndarray] = []
        stimuli: list[str] = []
        rejects: list[Reject] = []
        for picture in self.shards.load(piece["key"]):
            stimulus = picture.info.stimulus
            path = self.files.get(stimulus)
            if path is None:
                continue
            try:
                values = load_map(self.root, path, self.shards.max_pixels)
                kept.append(np.ascontiguousarray(fit_to_grid(values, picture, self.cfg)))
                stimuli.append(stimulus)
            except (PictureError, MapError) as error:
                reason = error.reason if isinstance(error, PictureError) else str(error)
                rejects.append(Reject(path, -1, "maps", reason, trial=stimulus))
        return Shard(pa.table({"stimulus": pa.array(stimuli, pa.string())}), {"map": kept}, rejects)


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


def fit_to_grid(values: np.ndarray, picture: PictureData, cfg: MapsConfig) -> np.ndarray:
    """A map of any size (H, W) on the picture's grid (h, w), float32; densities sum to 1 again, as log-densities.

    A density is mixed with LEAST_SHARE of the uniform one: where it is 0, a fixation would cost infinity.

    Raises MapError: not finite (a log-density may be -inf), another aspect than the picture's, negative densities.
    """
    bad = int(np.isnan(values).sum() + np.isposinf(values).sum())
    bad += 0 if cfg.kind == "log_density" else int(np.isneginf(values).sum())
    if bad:
        raise MapError(f"{bad} of {values.size} values are not finite")
    height, width = picture.size_px
    if not same_aspect((values.shape[0], values.shape[1]), (height, width)):
        have, want = f"{values.shape[1]} x {values.shape[0]}", f"{width} x {height}"
        raise MapError(f"has {have} px, another aspect than its picture's {want}")
    if cfg.kind == "log_density":
        values = np.exp(values - values.max())
    elif cfg.kind == "density" and values.min() < 0:
        raise MapError(f"is no density: its smallest value is {values.min():g}")
    small = to_grid(values, picture.grid)
    if cfg.kind == "saliency":
        return np.asarray(small, np.float32)
    total = small.sum()
    if not total > 0:
        raise MapError("is no density: it is 0 everywhere")
    return np.asarray(np.log((1 - LEAST_SHARE) * small / total + LEAST_SHARE / small.size), np.float32)
