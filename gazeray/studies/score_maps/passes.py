# SPDX-License-Identifier: Apache-2.0
"""Maps of any kind, read from files and brought to the grid on which all maps are scored."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.gaze.readers.base import fetched
from gazeray.metrics.resampling import same_aspect, to_grid
from gazeray.stimuli.decode import PictureError, read_map
from gazeray.stimuli.readers.base import in_words
from gazeray.storage import Folder
from gazeray.store import Shard
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.score_maps.config import MapsConfig
from gazeray.tables import Reject

LEAST_SHARE = 1e-3
"""Of the uniform density, mixed into people's densities."""


LARGEST = float(np.finfo(np.float32).max)

HEADER_BYTES = 4096
"""What a .npy file may hold beside its values."""


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
                fitted = fit_to_grid(values, picture, self.cfg)
            except (PictureError, MapError) as error:
                reason = error.reason if isinstance(error, PictureError) else str(error)
                rejects.append(Reject(path, -1, "maps", reason, trial=stimulus))
                continue
            kept.append(np.ascontiguousarray(fitted))
            stimuli.append(stimulus)
        return Shard(pa.table({"stimulus": pa.array(stimuli, pa.string())}), {"map": kept}, rejects)


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


def fit_to_grid(values: np.ndarray, picture: PictureData, cfg: MapsConfig) -> np.ndarray:
    """A map of any size (H, W) on the picture's grid (h, w), float32; densities sum to 1 again, as log-densities.

    A density is mixed with LEAST_SHARE of the uniform one: where it is 0, a fixation would cost infinity.

    Raises MapError: no values, not finite (a log-density may be -inf) or not in float32, in which maps are scored,
    another aspect than the picture's, negative densities.
    """
    if not values.size:
        raise MapError(f"has the shape {values.shape}: no values")
    bad = int(np.isnan(values).sum() + np.isposinf(values).sum())
    bad += 0 if cfg.kind == "log_density" else int(np.isneginf(values).sum())
    if bad:
        raise MapError(f"{bad} of {values.size} values are not finite")
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    if largest > LARGEST:
        raise MapError(f"holds {largest:g}: scores are taken in float32, which ends at {LARGEST:g}")
    height, width = picture.size_px
    if not same_aspect((values.shape[0], values.shape[1]), (height, width)):
        have, want = f"{values.shape[1]} x {values.shape[0]}", f"{width} x {height}"
        raise MapError(f"has {have} px, another aspect than its picture's {want}")
    if cfg.kind == "log_density":
        if np.isneginf(values).all():
            raise MapError("is no density: it is 0 everywhere")
        values = np.exp(values - values.max())
    elif cfg.kind == "density" and values.min() < 0:
        raise MapError(f"is no density: its smallest value is {values.min():g}")
    small = to_grid(values, picture.grid)
    if cfg.kind == "saliency":
        if np.ptp(small) > 0 and np.ptp(small.astype(np.float32)) == 0:
            raise MapError(f"its values, from {small.min():g} to {small.max():g}, are all the same in float32")
        if np.abs(small).sum() > LARGEST:
            raise MapError(f"its values, up to {np.abs(small).max():g}, are too great to be summed in float32")
        return np.asarray(small, np.float32)
    total = small.sum()
    if not total > 0:
        raise MapError("is no density: it is 0 everywhere")
    return np.asarray(np.log((1 - LEAST_SHARE) * small / total + LEAST_SHARE / small.size), np.float32)
