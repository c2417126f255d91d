# SPDX-License-Identifier: Apache-2.0
"""What a frozen network says of the pictures, computed once and kept: a store with a column per layer, float16.

The features of a layer are shared by all its probes, folds and later runs; further layers are added to the same store.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load as load_tensors

from gazeray.config import digest
from gazeray.metrics.resampling import input_size, pool_to
from gazeray.models.backbone import Backbone, fingerprint
from gazeray.stimuli.decode import PictureError, read_picture
from gazeray.storage import Folder
from gazeray.store import Shard, Store, look, write_column, write_shard
from gazeray.store.passes import damaged_of
from gazeray.studies.pictures.passes import PictureInfo, PictureShards
from gazeray.studies.probe_saliency.config import BackboneConfig
from gazeray.studies.shared.networks import as_halves, at_size, keep_weights
from gazeray.study import Pass
from gazeray.tables import DataError

PRECISION = "precision.txt"
"""Beside the features: float32 or bfloat16, whichever the first worker of a run with precision auto took."""

FORMAT = 4
"""Raised when features of an older version can no longer be used."""


def features_folder(store: Folder, cfg: BackboneConfig, state: str, content: str, seed: int) -> Folder:
    """Where the features of these pictures through this network belong. state: SHA-256 of the weights, or none."""
    parts = [FORMAT, content, cfg.arch, state, cfg.longest_px, cfg.longest_cells, cfg.precision]
    return store.sub(f"stores/features-{digest([*parts, seed if state == 'none' else None])[:16]}")


def precision_of(folder: Folder) -> str | None:
    """What the features were computed in; None where no network ran with precision auto."""
    return folder.read_text(PRECISION) if folder.exists(PRECISION) else None


@dataclass(frozen=True)
class Extract:
    """Runs pictures through the frozen network; see the module. `weights`: a file of the store, None: untrained."""

    root: Folder
    folder: Folder
    cfg: BackboneConfig
    layers: tuple[str, ...]
    max_pixels: int
    seed: int
    weights: tuple[Folder, str] | None

    def __call__(self, device: torch.device) -> Callable[[Mapping[str, Any]], None]:
        """Build the network on the device; returns the function that does a piece."""
        state = None if self.weights is None else load_tensors(self.weights[0].read_bytes(self.weights[1]))
        network = Backbone(self.cfg.arch, self.layers, state, self.seed).to(device)
        network = network.to(memory_format=torch.channels_last)
        before = fingerprint(network)
        bfloat16 = self._precision(device) == "bfloat16"

        def do(piece: Mapping[str, Any]) -> None:
            infos = [PictureInfo(**info) for info in piece["pictures"]]
            kept = self.run(network, device, infos, bfloat16)
            if fingerprint(network) != before:
                raise RuntimeError("the network changed while pictures went through it")
            for layer in piece["layers"]:
                write_column(self.folder, layer, piece["key"], [kept[info.stimulus][layer] for info in infos])
            rows = pa.table({"stimulus": [info.stimulus for info in infos]})
            write_shard(self.folder, piece["key"], Shard(rows, {}))

        return do

    def _precision(self, device: torch.device) -> str:
        """What the network computes in. `auto` is decided once for a folder, so that all its files are alike."""
        if self.cfg.precision != "auto":
            return self.cfg.precision
        if precision_of(self.folder) is None:
            self.folder.write_text(PRECISION, "bfloat16" if device.type == "cuda" else "float32")
        return self.folder.read_text(PRECISION)

    def run(
        self, network: Backbone, device: torch.device, infos: Sequence[PictureInfo], bfloat16: bool
    ) -> dict[str, dict[str, np.ndarray]]:
        """{stimulus: {layer: (C, h, w) float16}} of some pictures; those of the same size go through together."""
        sizes: dict[tuple[int, int], list[PictureInfo]] = {}
        for info in infos:
            sizes.setdefault(input_size(info.height_px, info.width_px, self.cfg.longest_px), []).append(info)
        kept: dict[str, dict[str, np.ndarray]] = {}
        for size, group in sizes.items():
            for start in range(0, len(group), self.cfg.batch_size):
                some = group[start : start + self.cfg.batch_size]
                x = torch.stack([self._input(info, size) for info in some]).to(device, non_blocking=True)
                x = x.float().div_(255).contiguous(memory_format=torch.channels_last)
                with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    found = network(x)
                for layer, values in found.items():
                    small = pool_to(values.float(), self.cfg.longest_cells)
                    halves = as_halves(small, [info.stimulus for info in some], f"layer {layer}")
                    for info, feature in zip(some, halves, strict=True):
                        kept.setdefault(info.stimulus, {})[layer] = feature
        return kept

    def _input(self, info: PictureInfo, size: tuple[int, int]) -> torch.Tensor:
        """(3, h, w) uint8: the picture at the size of the network's input.

        Raises DataError where it is no longer what it was when the set was made ready.
        """
        try:
            picture = read_picture(self.root, info.path, self.max_pixels)
        except PictureError as error:
            raise DataError([f"{error} (it could be read a while ago)"]) from error
        if picture.shape[:2] != (info.height_px, info.width_px):
            raise DataError([f"{info.path}: its size has changed since it was first read; run the job again"])
        return at_size(picture, size)


def features_pass(
    shards: PictureShards, extract: Extract, weights: Mapping[str, torch.Tensor] | None = None
) -> Generator[Pass, Store, Store]:
    """The pass that computes what is missing of the wanted layers; the pictures joined with their features.

    weights: of the network, kept in the file `extract.weights` before the workers need them.
    """
    found = look(extract.folder, shards.shards)

    def over(missing: Mapping[str, Sequence[str]]) -> Pass:
        """The pass that computes these layers of the pictures of each shard."""
        pictures = {key: [shards.pictures[row].__dict__ for row in shards.rows_of(key)] for key in missing}
        pieces = [{"key": key, "layers": list(missing[key]), "pictures": own} for key, own in pictures.items()]
        wanted = {layer for layers in missing.values() for layer in layers}
        if pieces and weights is not None and extract.weights is not None:
            keep_weights(weights, *extract.weights)
        make = replace(extract, layers=tuple(layer for layer in extract.layers if layer in wanted))
        return Pass("computing features", pieces, make, extract.folder, shards.shards, extract.layers, network=True,
                    damaged=damaged_of(found, list(missing)), redo=again)  # fmt: skip

    def again(keys: Sequence[str]) -> Pass:
        return replace(over(dict.fromkeys(keys, extract.layers)), damaged={})

    layers = {
        key: [layer for layer in extract.layers if key not in found.notes or (layer, key) not in found.columns]
        for key in shards.shards
    }
    features = yield over({key: own for key, own in layers.items() if own})
    return shards.store.join(features, ("stimulus",))
