# SPDX-License-Identifier: Apache-2.0
"""Maps of any kind, read from files and brought to the grid on which all maps are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gazeray.metrics.resampling import same_aspect, to_grid
from gazeray.stimuli.decode import PictureError
from gazeray.storage import Folder
from gazeray.store import Shard
from gazeray.studies.pictures.passes import PictureData, PictureShards
from gazeray.studies.score_maps.config import MapsConfig
from gazeray.studies.score_maps.maps import MapError, load_map
from gazeray.tables import Reject

LEAST_SHARE = 1e-3
"""Of the uniform density, mixed into people's densities."""


LARGEST = float(np.finfo(np.float32).max)


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
